"""Decisions: what a policy says about a request at a time. No files, no clock; no state but memos and what applies."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from squid_imhelper.base import schedule
from squid_imhelper.base.addresses import as_number
from squid_imhelper.base.memo import ENTRIES
from squid_imhelper.base.model import Action, Decision, Evidence, Request, Rule, Signature
from squid_imhelper.matching.expressions import BURST, Account, ExpressionTimeoutError
from squid_imhelper.matching.matcher import Matcher, Texts
from squid_imhelper.matching.program import Program, select_services
from squid_imhelper.matching.sites import AddressSet, Sites, any_evidence


class Holds(NamedTuple):
    """Why a rule holds: by what the request is, or by another condition."""

    signature: Signature | None
    evidence: Evidence | None


class CompiledRule:
    """One rule, its conditions indexed, the cheap ones asked first."""

    def __init__(self, rule: Rule, sites: Mapping[str, Sites]) -> None:
        self.rule = rule
        self._clients = None if rule.clients is None else AddressSet(rule.clients)
        self._agents = Texts(rule.user_agents or ())
        self._sites = None if rule.sites is None else [sites[name] for name in rule.sites]
        self._except_sites = [sites[name] for name in rule.except_sites]

    @property
    def lists(self) -> list[Sites]:
        """The site lists that it asks."""
        return [*(self._sites or ()), *self._except_sites]

    @property
    def needs_evidence(self) -> bool:
        """Whether it asks for more than who makes a request."""
        return (self.rule.services, self.rule.sites, self.rule.user_agents) != (None, None, None)

    def fits_user(self, user: str | None) -> bool:
        """Whether the condition on users is met."""
        return self.rule.users is None or user in self.rule.users

    def fits_client(self, client: str | None) -> bool:
        """Whether the condition on clients is met."""
        return self._clients is None or (client is not None and as_number(client) in self._clients)

    def fits_person(self, client: str | None, user: str | None) -> bool:
        """Whether a rule that needs no evidence may hold for a client, or for a user where it asks for no clients."""
        return self.fits_client(client) if self._clients is not None else self.fits_user(user)

    def part_of_agent(self, agent: str | None) -> str | None:
        """Returns the first text of the condition on user agents that is in one, or None."""
        return self._agents.first_in(agent or "")

    def evidence(self, request: Request, views: "Views", now: float) -> Holds | None:
        """Returns why the rule holds for a request, or None where it does not; when it applies is not asked here.

        Raises:
            ExpressionTimeoutError: an expression took too long.
        """
        rule = self.rule
        if not (self.fits_user(request.user) and self.fits_client(request.client)):
            return None
        signature = None if rule.services is None else self._signature(views, rule.services)
        if rule.services is not None and signature is None:
            return None
        agent = self.part_of_agent(request.user_agent)
        if rule.user_agents is not None and agent is None:
            return None
        site = None if self._sites is None else self._site(self._sites, request, views, now)
        if self._sites is not None and site is None:
            return None
        if self._except_sites and _every(self._except_sites, request, views, now):
            return None
        return Holds(signature, site or (Evidence("user_agent", agent) if agent else None))

    def _site(self, lists: Sequence[Sites], request: Request, views: "Views", now: float) -> Evidence | None:
        """Who is let through must be let through by every name he shows; who is blocked, by any."""
        return _every(lists, request, views, now) if self.rule.action == "allow" else _any(lists, request, now)

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


def _any(lists: Sequence[Sites], request: Request, now: float) -> Evidence | None:
    return next((found for name in request.names if (found := any_evidence(lists, request, name, now))), None)


def _every(lists: Sequence[Sites], request: Request, views: Views, now: float) -> Evidence | None:
    """Every name must be on a list; but an address beside a name, if it is nobody's, is just where that name is."""
    names = request.names
    if len(names) > 1:
        names = tuple(n for n, own in zip(names, views.by_name, strict=True) if own or as_number(n) == (0, 0)) or names
    found: Evidence | None = None
    for name in names:
        found = any_evidence(lists, request, name, now)
        if found is None:
            return None
    return found


def open_sites(program: Program, account: Account | None = None) -> dict[str, Sites]:
    """Opens the site lists of a program; they share an account of the time that expressions take."""
    account = account or Account(BURST)
    return {name: Sites(tables, account) for name, tables in program.sites.items()}


class Engine:
    """A program at work. It is never changed: a new policy is a new engine.

    Which rules apply at a time is worked out when it changes, and not for each request.
    """

    def __init__(
        self, program: Program, matcher: Matcher | None = None, sites: Mapping[str, Sites] | None = None
    ) -> None:
        """Puts a program to work. Who tries variants of one hands in what they have in common."""
        self.program = program
        self.matcher = matcher or Matcher(program)
        self._sites = open_sites(program) if sites is None else sites
        self.rules = [CompiledRule(rule, self._sites) for rule in program.rules]
        self._groups = {service: name.group for service, name in program.services.items()}
        self._select = lru_cache(ENTRIES)(lambda words: select_services(words, self._groups))
        self._in_force: list[CompiledRule] = []
        self._since = self._until = 0.0
        self._put_in_force(0.0)  # a time zone that this machine does not know is told now

    def decide(self, request: Request, now: float) -> Decision:
        """Returns what the policy says: the first rule whose every condition holds decides; none: allow.

        Args:
            request: what is asked.
            now: the instant for which it is asked, in seconds since 1970.

        Raises:
            ExpressionTimeoutError: an expression of the policy took too long, and no other rule blocks.
        """
        self.settle(now)
        views = self._views(request)
        known = views.all[0] if views.all else None
        if self._is_open(request, views):
            return self._decision("allow", None, known, None)
        slow: ExpressionTimeoutError | None = None
        for rule in self._in_force:
            try:
                holds = rule.evidence(request, views, now)
            except ExpressionTimeoutError as error:  # who can slow one expression down must not switch off the others
                slow = error
                continue
            if not holds:
                continue
            if slow and rule.rule.action != "block":
                raise slow
            evidence = None if holds.signature else holds.evidence
            return self._decision(rule.rule.action, rule.rule, holds.signature or known, evidence)
        if slow:
            raise slow
        return self._decision("allow", None, known, None)

    def next_change(self, now: float) -> float:
        """Returns a later instant up to which the same rules apply as at this one; infinity where nothing changes."""
        rules = self.program.rules
        dates = (at for rule in rules for at in (rule.start, rule.end) if at is not None and at > now)
        changes = (schedule.next_change(own, now) for own in self.program.schedules.values())
        return min((*dates, *changes), default=float("inf"))

    def holds(self, rule: Rule, request: Request, now: float) -> Holds | None:
        """Returns why a rule, be it one of the program or not, holds for a request at a time, or None.

        It may name site lists and schedules of the program. What stands before it is not asked.

        Raises:
            ExpressionTimeoutError: an expression took too long.
        """
        held = {name for name in rule.schedules or () if schedule.holds(self.program.schedules[name], now)}
        if not _applies(rule, held, now):
            return None
        return CompiledRule(rule, self._sites).evidence(request, self._views(request), now)

    def is_open(self, request: Request) -> bool:
        """Whether a request goes to where blocked ones are sent, so that no rule is asked."""
        return self._is_open(request, self._views(request))

    def is_settled(self, now: float) -> bool:
        """Whether the rules that applied to the last decision are those that apply at this instant."""
        return self._since <= now < self._until

    def settle(self, now: float) -> tuple[float, float]:
        """Puts in force the rules that apply at an instant.

        Returns:
            From when on, and until when, the same rules apply; the second one not included.
        """
        if not self.is_settled(now):
            self._put_in_force(now)
        return self._since, self._until

    def _put_in_force(self, now: float) -> None:
        held = {name for name, own in self.program.schedules.items() if schedule.holds(own, now)}
        self._in_force = [rule for rule in self.rules if _applies(rule.rule, held, now)]
        self._since, self._until = now, self.next_change(now)

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
        everything = self.matcher.signatures(request)
        if len(request.names) <= 1:
            return Views(everything, ())
        return Views(everything, [self.matcher.signatures_of_name(name) for name in request.names])

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
            redirect=(rule.redirect if rule else "") or self.program.response.redirect,
        )


def _applies(rule: Rule, held: set[str], now: float) -> bool:
    """Whether it is time for a rule, when these schedules hold."""
    if (rule.start is not None and now < rule.start) or (rule.end is not None and now >= rule.end):
        return False
    return rule.schedules is None or not held.isdisjoint(rule.schedules)
