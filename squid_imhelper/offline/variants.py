"""What would be decided if: the engine's answers under other rules, other lists, or in other circumstances.

Whatever `explain` says comes from here, and so from the code that answers Squid. To ask often must not change the
answer to what is really asked: expressions are tried on an account of their own, and once for each request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from squid_imhelper.base.model import Decision, Evidence, Flag, Request, Rule, Signature
from squid_imhelper.matching.engine import Engine, Holds
from squid_imhelper.matching.expressions import BURST, Account, ExpressionTimeoutError
from squid_imhelper.matching.matcher import Matcher
from squid_imhelper.matching.program import Program, SiteTables
from squid_imhelper.matching.sites import Sites
from squid_imhelper.sources.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Variant:
    """Something else that might be: a request at a time, the rules that it meets, and site lists that are new."""

    request: Request
    now: float
    rules: tuple[Rule, ...]
    sites: Mapping[str, SiteTables] = field(default_factory=dict)


MATCHERS: Final = 16
"""Matchers that are kept, each for other signatures that are included; each remembers thousands of names."""

_Included = frozenset[tuple[Flag, str]]
_Key = tuple[str, object, str]
_Memory = dict[_Key, Evidence | ExpressionTimeoutError | None]


class _Remembered(Sites):
    """A site list that looks at nothing twice, as long as it remembers."""

    def __init__(self, name: str, tables: SiteTables, account: Account, memory: _Memory) -> None:
        super().__init__(tables, account)
        self._name = name
        self._memory = memory

    def evidence(self, request: Request, name: str, now: float) -> Evidence | None:
        key = (self._name, request.target, name)
        if key not in self._memory:
            try:
                self._memory[key] = super().evidence(request, name, now)
            except ExpressionTimeoutError as error:
                self._memory[key] = error
        found = self._memory[key]
        if isinstance(found, ExpressionTimeoutError):
            raise found
        return found


class Variants:
    """A program, and the engines of what it might be."""

    def __init__(self, program: Program, catalogue: Catalogue) -> None:
        """Takes the catalogue for the signatures that no rule of the program counts."""
        self.program = program
        known = dict.fromkeys(s for service in catalogue.services.values() for s in service.signatures)
        self.signatures: tuple[Signature, ...] = tuple(known | dict.fromkeys(program.signatures))
        """All of the catalogue, and those of a program that was compiled from another one."""
        self.everything = Matcher(program._replace(signatures=self.signatures))
        self._counting = frozenset(program.signatures)
        self._memory: _Memory = {}
        self._matcher = lru_cache(MATCHERS)(self._new_matcher)
        self._trying = self._open(program.sites)
        self.engine = self._build(program.rules, self._open(program.sites))
        """Decides as the program itself does; to be asked first about a request."""
        self._trial = self._build(program.rules, self._trying)

    def forget(self) -> None:
        """Makes ready for the next request."""
        self._memory.clear()

    def counts(self, signature: Signature) -> bool:
        """Whether a signature is in the program: it counts by itself, or in some rule."""
        return signature in self._counting

    def holds(self, rule: Rule, request: Request, now: float) -> Holds | None:
        """As `Engine.holds`, of the program as it is.

        Raises:
            ExpressionTimeoutError: an expression took too long.
        """
        return self._trial.holds(rule, request, now)

    def decide(self, variant: Variant) -> Decision:
        """Returns what would be decided.

        Raises:
            ExpressionTimeoutError: an expression took too long.
        """
        if variant.rules == self.program.rules and not variant.sites:
            return self._trial.decide(variant.request, variant.now)
        sites = {**self._trying, **self._open(variant.sites)}
        return self._build(variant.rules, sites, variant.sites).decide(variant.request, variant.now)

    def _open(self, tables: Mapping[str, SiteTables]) -> dict[str, Sites]:
        account = Account(BURST)
        return {name: _Remembered(name, own, account, self._memory) for name, own in tables.items()}

    def _build(
        self, rules: tuple[Rule, ...], sites: Mapping[str, Sites], new: Mapping[str, SiteTables] | None = None
    ) -> Engine:
        included = frozenset((f, service) for rule in rules for f in rule.include for service in rule.services or ())
        signatures, matcher = self._matcher(included)
        tables = {**self.program.sites, **(new or {})}
        return Engine(self.program._replace(rules=rules, signatures=signatures, sites=tables), matcher, sites)

    def _new_matcher(self, included: _Included) -> tuple[tuple[Signature, ...], Matcher]:
        """The signatures that count where these are included, as the compiler chooses them."""
        signatures = tuple(
            s for s in self.signatures if ((s.flag, s.service) in included if s.flag else s in self._counting)
        )
        return signatures, Matcher(self.program._replace(signatures=signatures))
