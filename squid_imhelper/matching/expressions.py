r"""The administrator's own regular expressions: run only where one of their literals is seen, and never for long.

Any match of `^https?://chat[0-9]+\.example\.net/` holds `.example.net/`. Such literals of all expressions are searched
at once, and an expression none of whose literals is there is not run. Which literals an expression requires is read off
the syntax tree of Python's own `re`; where `re` cannot read it, or might read it otherwise than `regex`, it has none
and is always run.

An expression that takes longer than TIMEOUT, for one URL or for many little by little, is put aside for REST seconds,
and all of them are when they have taken BURST together. So whoever sends what, they cost a small share of the helper's
time. As long as one rests, a URL with its literal is one that could not be looked at.
"""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import ahocorasick

from squid_imhelper.base.errors import ImhelperError

TIMEOUT: Final = 0.05
"""Seconds that one expression may take for one URL."""
REST: Final = 2.5
"""Seconds for which an expression that took too long is not tried again."""
SHARE: Final = TIMEOUT / REST
"""The part of the helper's time that an expression may take in the long run."""
BURST: Final = 5 * TIMEOUT
"""Seconds that all expressions together may take before all of them rest."""

_SHORTEST: Final = 2
"""Characters; a single one is in nearly every URL."""
_MAX_ALTERNATIVES: Final = 50

_NEVER_ESCAPED: Final = re.compile(r"[a-z0-9._~/:?=&+,;@!$()*-]+")
"""What Squid and the URL standard leave as it is, so that it is seen in a URL without reading that."""

# What `regex` reads otherwise than `re`: braces that are no count (fuzzy matching, named lists), groups and flags of
# its own, and POSIX classes.
_OTHERWISE: Final = r"\{(?!\d+(?:,\d*)?\})|\(\?(?![:=!>]|i[:)]|<[=!]|P<)|\[:[^\]]*:\]"

if TYPE_CHECKING:
    import regex

Literals = frozenset[str]


class ExpressionTimeoutError(ImhelperError):
    """An expression took too long, or rests because it has."""


class Account:
    """Time that was spent, which is forgiven at SHARE of the time that goes by. Overdrawn, it is closed for REST."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._spent = 0.0
        self._at = 0.0
        self._closed_until = 0.0

    def is_closed(self, now: float) -> bool:
        """Whether nothing can be spent at this instant; who has gone back behind the closing may spend again."""
        return now < self._closed_until <= now + REST

    def close(self, now: float) -> None:
        """Lets nothing more be spent for REST."""
        self._spent = 0.0
        self._closed_until = now + REST

    def of_one(self) -> "Account":
        """The account of a single expression."""
        return Account(TIMEOUT)

    def spend(self, seconds: float, now: float) -> None:
        """Takes note of time that was spent."""
        self._spent = max(0.0, self._spent - max(0.0, now - self._at) * SHARE) + seconds
        self._at = now
        if self._spent >= self._limit:
            self.close(now)


class Unlimited(Account):
    """For who has the time: each expression is tried for each URL, and what comes out depends on nothing else."""

    def __init__(self) -> None:
        super().__init__(float("inf"))

    def is_closed(self, now: float) -> bool:
        """Never."""
        return False

    def of_one(self) -> Account:
        """The same for each expression."""
        return self


class Expressions:
    """Some expressions, searched in one URL after the other.

    Each has its own account, so that a slow one rests and the others go on; together they have the one of the engine.
    """

    def __init__(self, patterns: Sequence[tuple[str, Sequence[str]]], account: Account) -> None:
        """Takes expressions, each with the literals that it requires (`required_literals`)."""
        self._patterns = [pattern for pattern, _ in patterns]
        self._compiled: dict[int, regex.Pattern[str]] = {}  # as they are needed: a list may have thousands
        self._account = account
        self._accounts = [account.of_one() for _ in patterns]
        self._always = [number for number, (_, literals) in enumerate(patterns) if not literals]
        by_literal: defaultdict[str, list[int]] = defaultdict(list)
        for number, (_, literals) in enumerate(patterns):
            for literal in literals:
                by_literal[literal].append(number)
        self._literals = ahocorasick.Automaton()
        for literal, numbers in by_literal.items():
            self._literals.add_word(literal, tuple(numbers))
        if by_literal:
            self._literals.make_automaton()
        self._searched = bool(by_literal)
        self._plain = all(map(_NEVER_ESCAPED.fullmatch, by_literal))

    def search(self, url: str, now: float) -> str | None:
        """Returns the first expression that is found in a URL.

        Raises:
            ExpressionTimeoutError: one of them could not be tried, and none of the others is found.
        """
        slow = ""
        for number in self._candidates(url):
            if self._account.is_closed(now) or self._accounts[number].is_closed(now):
                slow = self._patterns[number]
                continue
            begun = time.perf_counter()
            try:
                if self._pattern(number).search(url, timeout=TIMEOUT):
                    return self._patterns[number]
            except (TimeoutError, MemoryError):  # left recursion ends in the latter
                slow = self._patterns[number]
                self._accounts[number].close(now)
            finally:
                spent = time.perf_counter() - begun
                self._accounts[number].spend(spent, now)
                self._account.spend(spent, now)
        if slow:
            raise ExpressionTimeoutError(f"the expression '{slow}' took too long")
        return None

    def may_hold(self, url: str) -> bool:
        """Whether an expression may be found in an ASCII URL: whether it would be tried at all."""
        if self._always or not self._plain:
            return True
        return self._searched and next(self._literals.iter(url.lower()), None) is not None

    def _pattern(self, number: int) -> "regex.Pattern[str]":
        if number not in self._compiled:
            import regex  # most helpers never need it

            self._compiled[number] = regex.compile(self._patterns[number])
        return self._compiled[number]

    def _candidates(self, url: str) -> Iterable[int]:
        if not url.isascii():  # case is more than lower() there
            return range(len(self._patterns))
        if not self._searched:
            return self._always
        seen = {number for _, numbers in self._literals.iter(url.lower()) for number in numbers}
        return sorted(seen.union(self._always)) if seen else self._always


def required_literals(pattern: str) -> Literals:
    """Returns texts in lower case, one of which at least is in the lower case of every ASCII text that matches.

    Empty where nothing is known.
    """
    if re.search(_OTHERWISE, pattern):
        return frozenset()
    import warnings

    # The parser has no public name; its tree has been the same for twenty years, and a test holds us to it.
    from re import _parser  # type: ignore[attr-defined]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what `re` may once read otherwise
            tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError, Warning):
        return frozenset()
    return _required(tree)


def _required(tree: Iterable[tuple[Any, Any]]) -> Literals:
    """The best of all texts that a sequence requires: literals side by side, or what a part of it requires."""
    best: Literals = frozenset()
    run = ""
    for op, value in _flat(tree):
        name = str(op)
        if name == "LITERAL" and value < 128:  # ASCII
            run += chr(value).lower()
            continue
        if name == "AT":  # between two characters
            continue
        best, run = _better(best, _of_run(run)), ""
        if name == "BRANCH":
            best = _better(best, _of_branches(value[1]))
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and value[0] > 0:
            best = _better(best, _required(value[2]))
        elif name == "ATOMIC_GROUP":
            best = _better(best, _required(value))
    return _better(best, _of_run(run))


def _flat(tree: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
    """The items of a sequence, with those of its groups in their places."""
    for op, value in tree:
        if str(op) == "SUBPATTERN":
            yield from _flat(value[3])
        else:
            yield op, value


def _of_run(run: str) -> Literals:
    return frozenset({run}) if len(run) >= _SHORTEST else frozenset()


def _of_branches(branches: Iterable[Any]) -> Literals:
    """One of the branches holds, so all of their texts are needed; one branch without any spoils it."""
    each = [_required(branch) for branch in branches]
    union = frozenset().union(*each)
    return union if all(each) and len(union) <= _MAX_ALTERNATIVES else frozenset()


def _better(one: Literals, other: Literals) -> Literals:
    """The one whose shortest text is longer: it is seen more rarely."""
    return max(one, other, key=lambda literals: min(map(len, literals), default=0))
