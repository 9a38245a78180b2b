r"""The administrator's own regular expressions: run only where one of their literals is seen, and never for long.

Any match of `^https?://chat[0-9]+\.example\.net/` holds `.example.net/`. Such literals of all expressions are searched
at once, and an expression none of whose literals is there is not run. Which literals an expression requires is read off
the syntax tree of Python's own `re`; where `re` cannot read it, or might read it otherwise than `regex`, it has none
and is always run.

An expression that takes longer than TIMEOUT is put aside for REST seconds, so that it can cost no more than a fiftieth
of the helper's time, whoever sends what. As long as it rests, a URL with one of its literals is one that could not be
looked at.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import ahocorasick
import regex

from squid_imhelper.base.errors import ImhelperError

TIMEOUT: Final = 0.05
"""Seconds that one expression may take for one URL."""
REST: Final = 2.5
"""Seconds for which an expression that took too long is not tried again."""

_SHORTEST: Final = 2
"""Characters; a single one is in nearly every URL."""
_MAX_ALTERNATIVES: Final = 50

# What `regex` reads otherwise than `re`: braces that are no count (fuzzy matching, named lists), groups and flags of
# its own, and POSIX classes.
_OTHERWISE: Final = re.compile(r"\{(?!\d+(?:,\d*)?\})|\(\?(?![:=!>]|i[:)]|<[=!]|P<)|\[:[^\]]*:\]")

Literals = frozenset[str]


class ExpressionTimeoutError(ImhelperError):
    """An expression took too long, or rests because it has."""


class Expressions:
    """Some expressions, searched in one URL after the other."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._compiled = [regex.compile(pattern) for pattern in patterns]
        self._rests_until = [0.0] * len(patterns)
        self._always: list[int] = []
        by_literal: defaultdict[str, list[int]] = defaultdict(list)
        for number, pattern in enumerate(patterns):
            literals = required_literals(pattern)
            if not literals:
                self._always.append(number)
            for literal in literals:
                by_literal[literal].append(number)
        self._literals = ahocorasick.Automaton()
        for literal, numbers in by_literal.items():
            self._literals.add_word(literal, tuple(numbers))
        if by_literal:
            self._literals.make_automaton()
        self._searched = bool(by_literal)

    def search(self, url: str, now: float) -> str | None:
        """Returns the first expression that is found in a URL.

        Raises:
            ExpressionTimeoutError: one of them could not be tried, and none of the others is found.
        """
        slow = ""
        for number in self._candidates(url):
            if now < self._rests_until[number] <= now + REST:
                slow = self._compiled[number].pattern
                continue
            try:
                if self._compiled[number].search(url, timeout=TIMEOUT):
                    return str(self._compiled[number].pattern)
            except (TimeoutError, MemoryError):  # left recursion ends in the latter
                self._rests_until[number] = now + REST
                slow = self._compiled[number].pattern
        if slow:
            raise ExpressionTimeoutError(f"the expression '{slow}' took too long")
        return None

    def _candidates(self, url: str) -> Iterable[int]:
        if not url.isascii():  # case is more than lower() there
            return range(len(self._compiled))
        if not self._searched:
            return self._always
        seen = {number for _, numbers in self._literals.iter(url.lower()) for number in numbers}
        return sorted(seen.union(self._always)) if seen else self._always


def required_literals(pattern: str) -> Literals:
    """Returns texts in lower case, one of which at least is in the lower case of every ASCII text that matches.

    Empty where nothing is known.
    """
    if _OTHERWISE.search(pattern):
        return frozenset()
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
