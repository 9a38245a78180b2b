"""Decisions: what a policy says about a request. Pure: no clock, no files, no state but memos."""

import bisect
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import regex

from squid_imhelper.addresses import as_number
from squid_imhelper.errors import ImhelperError
from squid_imhelper.matcher import Matcher, suffixes
from squid_imhelper.memo import ENTRIES
from squid_imhelper.model import Action, Decision, Evidence, Interval, Request, Rule, Signature, SiteList
from squid_imhelper.program import Program, select_services

REGEX_TIMEOUT: Final = 0.05
"""Seconds that one expression of the administrator's may take for one URL."""


class RegexTimeoutError(ImhelperError):
    """An expression took too long."""


class AddressSet:
    """Addresses as sorted intervals that do not overlap, searched by halving."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self._starts = [interval[:2] for interval in intervals]
        self._ends = [(interval[0], interval[2]) for interval in intervals]

    def __contains__(self, address: tuple[int, int]) -> bool:
        n = bisect.bisect_right(self._starts, address) - 1
        return n >= 0 and self._starts[n][0] == address[0] and address <= self._ends[n]


class Sites:
    """One site list, indexed."""

    def __init__(self, sites: SiteList) -> None:
        self._domains = frozenset(sites.domains)
        self._urls: dict[str, list[tuple[int | None, str]]] = {}
        for host, port, path in sites.urls:
            self._urls.setdefault(host, []).append((port, path))
        self._regex = [regex.compile(pattern) for pattern in sites.regex]
        self._networks = AddressSet(sites.networks)
        self._ports = frozenset(sites.ports)

    def evidence(self, request: Request, name: str) -> Evidence | None:
        """Returns what puts a request for this name on the list, or None.

        Raises:
            RegexTimeoutError: an expression took too long.
        """
        target = request.target
        for suffix in suffixes(name):
            if suffix in self._domains:
                return Evidence("site", suffix)
            for port, path in self._urls.get(suffix, ()):
                if port in (None, target.port) and _path_holds(path, target.path):
                    return Evidence("site", suffix + path)
        if as_number(name) in self._networks:
            return Evidence("site", name)
        if target.port in self._ports:
            return Evidence("site", str(target.port))
        return self._search(target._replace(host=name).url)

    def _search(self, url: str) -> Evidence | None:
        for pattern in self._regex:
            try:
                if pattern.search(url, timeout=REGEX_TIMEOUT):
                    return Evidence("regex", pattern.pattern)
            except TimeoutError:
                raise RegexTimeoutError(f"the expression '{pattern.pattern}' took too long") from None
        return None


def _path_holds(wanted: str, path: str | None) -> bool:
    """On a segment boundary; nothing holds for an unknown path."""
    return path is not None and (path == wanted or path.startswith(wanted.rstrip("/") + "/"))


class Holds(NamedTuple):
    """Why a rule holds: by what the request is, or by another condition."""

    signature: Signature | None
    evidence: Evidence | None


class CompiledRule:
    """One rule, its conditions indexed, the cheap ones asked first."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._clients = None if rule.clients is None else AddressSet(rule.clients)
        self._sites = None if rule.sites is None else [Sites(sites) for sites in rule.sites]
        self._except_sites = [Sites(sites) for sites in rule.except_sites]

    def evidence(self, request: Request, signatures: Sequence[Signature]) -> Holds | None:
        """Returns why the rule holds for a request, or None where it does not."""
        rule = self.rule
        if rule.users is not None and request.user not in rule.users:
            return None
        if self._clients is not None and (request.client is None or as_number(request.client) not in self._clients):
            return None
        signature = self.identity(signatures)
        if rule.services is not None and (signature is None or signature.service not in rule.services):
            return None
        agent = next((text for text in rule.user_agents or () if text in (request.user_agent or "")), None)
        if rule.user_agents is not None and agent is None:
            return None
        site = None
        if self._sites is not None:
            # Who is let through must be let through by every name he shows; who is blocked, by any.
            names = _every if rule.action == "allow" else _any
            site = names(self._sites, request)
            if site is None:
                return None
        if self._except_sites and _every(self._except_sites, request):
            return None
        if rule.services is None:
            fallback = None if agent is None else Evidence("user_agent", agent)
            return Holds(None, site or fallback)
        return Holds(signature, None)

    def identity(self, signatures: Sequence[Signature]) -> Signature | None:
        """Returns the strongest signature that counts for this rule.

        One that is off by default counts only for the services of a rule that includes it.
        """
        rule = self.rule
        for signature in signatures:
            if not signature.flag or (signature.flag in rule.include and signature.service in (rule.services or ())):
                return signature
        return None


def _any(lists: Sequence[Sites], request: Request) -> Evidence | None:
    for name in request.names:
        for sites in lists:
            if found := sites.evidence(request, name):
                return found
    return None


def _every(lists: Sequence[Sites], request: Request) -> Evidence | None:
    """Every name must be on one of the lists; an address does not count beside an SNI, which is its name."""
    names = request.names
    if len(names) > 1 and as_number(names[0]) != (0, 0):
        names = names[1:]
    found: Evidence | None = None
    for name in names:
        found = next((evidence for sites in lists if (evidence := sites.evidence(request, name))), None)
        if found is None:
            return None
    return found


class Engine:
    """A program at work. It is never changed: a new policy is a new engine."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._matcher = Matcher(program)
        self._rules = [CompiledRule(rule) for rule in program.rules]
        self._groups = {service: name.group for service, name in program.services.items()}
        self._select = lru_cache(ENTRIES)(lambda words: select_services(words, self._groups))

    def decide(self, request: Request) -> Decision:
        """Returns what the policy says: the first rule whose every condition holds decides; none: allow.

        Raises:
            RegexTimeoutError: an expression of the policy took too long.
        """
        signatures = self._matcher.signatures(request)
        known = signatures[0] if signatures else None
        if self._is_open(request):
            return self._decision("allow", None, known, None)
        for rule in self._rules:
            if holds := rule.evidence(request, signatures):
                return self._decision(rule.rule.action, rule.rule, holds.signature or known, holds.evidence)
        return self._decision("allow", None, known, None)

    def decide_services(self, request: Request, words: tuple[str, ...]) -> Decision:
        """Returns whether a request is one of the services named, whatever the rules say.

        Raises:
            UnknownNameError: a word names no service and no group.
        """
        wanted = self._select(words)
        for signature in () if self._is_open(request) else self._matcher.signatures(request):
            if not signature.flag:
                return self._decision("block" if signature.service in wanted else "allow", None, signature, None)
        return Decision("allow")

    def service_name(self, service: str | None) -> str:
        """The name by which people know a service; "" for none."""
        return self.program.services[service].name if service else ""

    def _is_open(self, request: Request) -> bool:
        return (request.target.host, request.target.port) in self.program.open_targets

    def _decision(
        self, action: Action, rule: Rule | None, signature: Signature | None, evidence: Evidence | None
    ) -> Decision:
        if evidence is None and signature is not None:
            evidence = Evidence(signature.kind.value, signature.value)
        return Decision(
            action=action,
            service=signature.service if signature else None,
            rule=rule.name if rule else None,
            evidence=evidence,
            message=(rule.message if rule else "") or self.program.response.message,
        )
