"""Decisions: what a policy says about a request. No files, no state but memos, no clock but for slow expressions."""

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
        return n >= 0 and address <= self._ends[n]


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

    def evidence(self, request: Request, views: "Views") -> Holds | None:
        """Returns why the rule holds for a request, or None where it does not.

        Raises:
            RegexTimeoutError: an expression took too long.
        """
        rule = self.rule
        if rule.users is not None and request.user not in rule.users:
            return None
        if self._clients is not None and (request.client is None or as_number(request.client) not in self._clients):
            return None
        signature = None if rule.services is None else self._signature(views, rule.services)
        if rule.services is not None and signature is None:
            return None
        agent = next((text for text in rule.user_agents or () if text in (request.user_agent or "")), None)
        if rule.user_agents is not None and agent is None:
            return None
        site = None if self._sites is None else self._site(self._sites, request, views)
        if self._sites is not None and site is None:
            return None
        if self._except_sites and _every(self._except_sites, request, views):
            return None
        return Holds(signature, site or (Evidence("user_agent", agent) if agent else None))

    def _site(self, lists: Sequence[Sites], request: Request, views: "Views") -> Evidence | None:
        """Who is let through must be let through by every name he shows; who is blocked, by any."""
        return _every(lists, request, views) if self.rule.action == "allow" else _any(lists, request)

    def _signature(self, views: "Views", services: frozenset[str]) -> Signature | None:
        """Returns what makes a request one of these services.

        To be let through, a request must be none of the others by any name that it shows; to be blocked, one name is
        enough.
        """
        overall = self._identity(views.all)
        by_name = [signature for own in views.by_name if (signature := self._identity(own))]
        if self.rule.action == "allow":
            others = any(signature.service not in services for signature in by_name)
            return overall if overall and overall.service in services and not others else None
        return next((s for s in (overall, *by_name) if s and s.service in services), None)

    def _identity(self, signatures: Sequence[Signature]) -> Signature | None:
        """Returns the strongest signature that counts for this rule.

        One that is off by default counts only for the services of a rule that includes it.
        """
        rule = self.rule
        for signature in signatures:
            if not signature.flag or (signature.flag in rule.include and signature.service in (rule.services or ())):
                return signature
        return None


class Views(NamedTuple):
    """The signatures of a request: all of them, and those that each of its names has by itself."""

    all: Sequence[Signature]
    by_name: Sequence[Sequence[Signature]]


def _any(lists: Sequence[Sites], request: Request) -> Evidence | None:
    for name in request.names:
        for sites in lists:
            if found := sites.evidence(request, name):
                return found
    return None


def _every(lists: Sequence[Sites], request: Request, views: Views) -> Evidence | None:
    """Every name must be on a list; but an address beside a name, if it is nobody's, is just where that name is."""
    names = request.names
    if len(names) > 1:
        names = tuple(n for n, own in zip(names, views.by_name, strict=True) if own or as_number(n) == (0, 0)) or names
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
            RegexTimeoutError: an expression of the policy took too long, and no other rule blocks.
        """
        views = self._views(request)
        known = views.all[0] if views.all else None
        if self._is_open(request, views):
            return self._decision("allow", None, known, None)
        slow: RegexTimeoutError | None = None
        for rule in self._rules:
            try:
                holds = rule.evidence(request, views)
            except RegexTimeoutError as error:  # whoever can slow one expression down must not switch off the others
                slow = error
                continue
            if holds and slow and rule.rule.action != "block":
                break
            if holds:
                evidence = None if holds.signature else holds.evidence
                return self._decision(rule.rule.action, rule.rule, holds.signature or known, evidence)
        if slow:
            raise slow
        return self._decision("allow", None, known, None)

    def decide_services(self, request: Request, words: tuple[str, ...]) -> Decision:
        """Returns whether a request is one of the services named, whatever the rules say.

        Raises:
            ImhelperError: a word names no service and no group, or leaves out of nothing.
        """
        wanted = self._select(words)
        views = self._views(request)
        if self._is_open(request, views):
            return Decision("allow")
        known = [next((s for s in view if not s.flag), None) for view in (views.all, *views.by_name)]
        asked = next((signature for signature in known if signature and signature.service in wanted), None)
        return self._decision("block" if asked else "allow", None, asked or known[0], None)

    def service_name(self, service: str | None) -> str:
        """The name by which people know a service; "" for none."""
        return self.program.services[service].name if service else ""

    def _views(self, request: Request) -> Views:
        everything = self._matcher.signatures(request)
        if len(request.names) <= 1:
            return Views(everything, ())
        return Views(everything, [self._matcher.signatures_of_name(name) for name in request.names])

    def _is_open(self, request: Request, views: Views) -> bool:
        """Whether it goes to where blocked requests are sent, shows no other name, and goes to nobody's network."""
        if (request.target.host, request.target.port) not in self.program.open_targets:
            return False
        others = zip(request.names[1:], views.by_name[1:], strict=True)
        return all(as_number(name) != (0, 0) and not own for name, own in others)

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
