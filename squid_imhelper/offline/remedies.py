"""What would change the outcome: what lets a blocked request through, and what blocks one that is allowed.

A change is tried before it is told: the engine decides again, with the rules, the lists, the request or the time
changed, and only what comes out otherwise is a remedy.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from squid_imhelper.base.addresses import as_number
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Action, Decision, Rule, Signature, SiteList
from squid_imhelper.matching.program import SiteTables
from squid_imhelper.matching.sites import compile_site_list
from squid_imhelper.offline.variants import Variant
from squid_imhelper.offline.verdicts import Case, Condition, RuleVerdict, interval_text, without

MOST: Final = 8
"""Remedies that are told."""
_TRIED: Final = 5
"""Values of a condition that are tried."""
_DOES: Final = {"block": "blocks", "allow": "allows", "monitor": "records"}
_CHANGES: Final = 200
"""Instants of the next days that are tried."""
_AHEAD: Final = 8 * 86_400
_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_-]+(\.[a-z0-9_-]+)+")


class Proposal(NamedTuple):
    """A change, in words, and what is to be tried for it. Of several with one key, the first that works is told."""

    change: str
    variant: Variant
    key: str = ""


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change that was tried, and what is decided with it."""

    change: str
    decision: Decision
    variant: Variant


@dataclass(frozen=True, slots=True)
class Subject:
    """What was decided for a request, and by which verdicts."""

    case: Case
    decision: Decision
    verdicts: tuple[RuleVerdict, ...]

    @property
    def blocked(self) -> bool:
        """Whether it is blocked; the aim is the contrary."""
        return self.decision.action == "block"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the program."""
        return self.case.variants.program.rules

    @property
    def winner(self) -> RuleVerdict | None:
        """The rule that decides."""
        return next((verdict for verdict in self.verdicts if verdict.state == "decides"), None)

    def with_rules(self, rules: tuple[Rule, ...], **more: object) -> Variant:
        """The same request under other rules."""
        return replace(Variant(self.case.request, self.case.now, rules), **more)  # type: ignore[arg-type]

    def with_rule(self, number: int, rule: Rule | None, **more: object) -> Variant:
        """The same request with another rule in the place of one (None: without it); places count from 1."""
        rules = self.rules
        return self.with_rules((*rules[: number - 1], *((rule,) if rule else ()), *rules[number:]), **more)

    def with_first(self, rule: Rule, **more: object) -> Variant:
        """The same request with a rule before all others."""
        return self.with_rules((rule, *self.rules), **more)

    def with_request(self, **changes: str) -> Variant:
        """Another request under the same rules."""
        return self.with_rules(self.rules, request=self.case.request._replace(**changes))  # type: ignore[arg-type]


def remedies(subject: Subject) -> tuple[Remedy, ...]:
    """Returns changes after which the request is blocked where it is not now, or is no longer."""
    found: dict[str, Remedy] = {}
    for propose in _TO_LET_THROUGH if subject.blocked else _TO_BLOCK:
        for proposal in propose(subject):
            key = proposal.key or proposal.change
            if len(found) < MOST and key not in found and (remedy := _try(subject, proposal)):
                found[key] = remedy
    return tuple(found.values())


def _named(rule: Rule) -> str:
    line = f" (line {rule.line})" if rule.line else ""
    return f'rule "{rule.name}"{line}'


def _try(subject: Subject, proposal: Proposal) -> Remedy | None:
    try:
        decision = subject.case.variants.decide(proposal.variant)
    except ImhelperError:  # an expression takes too long
        return None
    if (decision.action == "block") == subject.blocked:
        return None
    return Remedy(proposal.change + _by(subject, decision, proposal.change), decision, proposal.variant)


def _by(subject: Subject, decision: Decision, change: str) -> str:
    """The rule that decides then, if that has not been said."""
    rule = next((rule for rule in subject.rules if rule.name == decision.rule), None)
    if rule is None or _named(rule) in change:
        return ""
    return f": {_named(rule)} {_DOES[rule.action]} it then"


# ---- rules that hold but for one condition --------------------------------------------------------------------------


def _nearly(subject: Subject) -> Iterator[Proposal]:
    """What meets the one condition by which a rule fails that would turn the outcome."""
    for verdict in subject.verdicts:
        turns_it = (verdict.rule.action == "block") != subject.blocked
        if turns_it and len(verdict.failed) == 1 and (meet := _MEET.get(verdict.failed[0].name)):
            yield from meet(subject, verdict, verdict.failed[0])


def _meet_clients(subject: Subject, verdict: RuleVerdict, failed: Condition) -> Iterator[Proposal]:
    for version, first, last in (verdict.rule.clients or ())[:_TRIED]:
        text = interval_text((version, first, last))
        one = first + ("/" in text)  # the first of a network is nobody's
        client = interval_text((version, one, one))
        change = f"for client {client}" + (f", one of {text}" if text != client else "")
        yield _elsewhere(subject, verdict, failed, change, client=client)


def _meet_users(subject: Subject, verdict: RuleVerdict, failed: Condition) -> Iterator[Proposal]:
    for user in sorted(verdict.rule.users or ())[:_TRIED]:
        yield _elsewhere(subject, verdict, failed, f"for user {user}", user=user)


def _meet_agents(subject: Subject, verdict: RuleVerdict, failed: Condition) -> Iterator[Proposal]:
    for text in (verdict.rule.user_agents or ())[:_TRIED]:
        yield _elsewhere(subject, verdict, failed, f"with '{text}' in the user agent", user_agent=text)


def _elsewhere(subject: Subject, verdict: RuleVerdict, failed: Condition, change: str, **changes: str) -> Proposal:
    return Proposal(change, subject.with_request(**changes), f"{verdict.number} {failed.name}")


def _meet_services(subject: Subject, verdict: RuleVerdict, _: Condition) -> Iterator[Proposal]:
    rule, services = verdict.rule, verdict.rule.services or frozenset()
    for signature in subject.case.seen:
        if signature.flag and signature.service in services and signature.flag not in rule.include:
            changed = rule._replace(include=rule.include | {signature.flag})
            text = f'{_named(rule)} with include = [..., "{signature.flag}"]'
            variant = subject.with_rule(verdict.number, changed)
            yield Proposal(text + _hits_more(signature), variant, f"{verdict.number} {signature.flag}")
    service = subject.decision.service
    if service and service not in services:
        changed = rule._replace(services=services | {service})
        text = f'{_named(rule)} with services = [..., "{service}"]'
        yield Proposal(text, subject.with_rule(verdict.number, changed))


def _hits_more(signature: Signature) -> str:
    if signature.flag != "shared":
        return ""
    return f" (hits more than that: see 'squid-imhelper services {signature.service}')"


def _meet_sites(subject: Subject, verdict: RuleVerdict, _: Condition) -> Iterator[Proposal]:
    own = _list_of_names(subject)
    if own and verdict.rule.sites:
        name = verdict.rule.sites[0]
        rules = tuple(_with_list(rule, name, own.name) for rule in subject.rules)
        yield Proposal(f"with {_entries(own)} on the list {name}", subject.with_rules(rules, sites=_tables(own)))


def _without_condition(subject: Subject, verdict: RuleVerdict, failed: Condition) -> Iterator[Proposal]:
    changed = without(verdict.rule, failed.name)
    yield Proposal(f"{_named(verdict.rule)} without {failed.name}", subject.with_rule(verdict.number, changed))


_MEET: Final[Mapping[str, Callable[[Subject, RuleVerdict, Condition], Iterator[Proposal]]]] = {
    "clients": _meet_clients,
    "users": _meet_users,
    "services": _meet_services,
    "user_agents": _meet_agents,
    "sites": _meet_sites,
    "except_sites": _without_condition,
    "until": _without_condition,
}
"""What else fails is a matter of time."""


def _at_another_time(subject: Subject) -> Iterator[Proposal]:
    case = subject.case
    instant, instants = case.now, set[float]()
    while (instant := case.variants.engine.next_change(instant)) <= case.now + _AHEAD and len(instants) < _CHANGES:
        instants.add(instant)
    instants |= {at for rule in subject.rules for at in (rule.start, rule.end) if at is not None and at > case.now}
    for instant in sorted(instants):
        variant = subject.with_rules(subject.rules, now=instant)
        yield Proposal(f"later, from {case.clock(instant)} on", variant, "time")


# ---- letting through ------------------------------------------------------------------------------------------------


def _without_service(subject: Subject) -> Iterator[Proposal]:
    winner, service = subject.winner, subject.decision.service
    if winner is None or service is None or service not in (winner.rule.services or ()):
        return
    name, left = _named(winner.rule), (winner.rule.services or frozenset()) - {service}
    for flag in sorted({s.flag for s in subject.case.seen if s.service == service} & winner.rule.include):
        changed = winner.rule._replace(include=winner.rule.include - {flag})
        yield Proposal(f'{name} without "{flag}" in include', subject.with_rule(winner.number, changed))
    if left:
        changed = winner.rule._replace(services=left)
        yield Proposal(f'{name} with services = [..., "-{service}"]', subject.with_rule(winner.number, changed), "out")
        yield Proposal(
            f'each rule that blocks it with services = [..., "-{service}"]', _nowhere(subject, service), "out"
        )
    else:
        yield Proposal(f"without {name}", subject.with_rule(winner.number, None))


def _nowhere(subject: Subject, service: str) -> Variant:
    """A service left out of all rules that block it."""
    return subject.with_rules(
        tuple(
            rule._replace(services=rule.services - {service}) if rule.services and rule.action == "block" else rule
            for rule in subject.rules
        )
    )


def _except(subject: Subject) -> Iterator[Proposal]:
    winner, own = subject.winner, _list_of_names(subject)
    if winner and own:
        changed = winner.rule._replace(except_sites=(*winner.rule.except_sites, own.name))
        text = f'{_named(winner.rule)} with except_sites = [..., "{own.name}"]; {_definition(own)}'
        yield Proposal(text, subject.with_rule(winner.number, changed, sites=_tables(own)))


def _allow_before(subject: Subject) -> Iterator[Proposal]:
    request, service = subject.case.request, subject.decision.service
    own = None if service else _list_of_names(subject)
    if service:
        rule, what = Rule("new", "allow", services=frozenset({service})), f'services = ["{service}"]'
    elif own:
        rule, what = Rule("new", "allow", sites=(own.name,)), f'sites = ["{own.name}"]'
    else:
        return
    tables, more = (_tables(own), f"; {_definition(own)}") if own else ({}, "")
    if request.client is not None:
        version, number = as_number(request.client)
        first = subject.with_first(rule._replace(clients=((version, number, number),)), sites=tables)
        client = interval_text((version, number, number))
        yield Proposal(f'a new rule at the top: clients = ["{client}"], {what}, action = "allow"{more}', first)
    if request.user and request.user.isprintable():
        first = subject.with_first(rule._replace(users=frozenset({request.user})), sites=tables)
        user = json.dumps(request.user, ensure_ascii=False)
        yield Proposal(f'a new rule at the top: users = [{user}], {what}, action = "allow"{more}', first)
    yield from _rule_for_site(subject, "allow")


# ---- blocking -------------------------------------------------------------------------------------------------------


def _without_winner(subject: Subject) -> Iterator[Proposal]:
    winner = subject.winner
    if winner is None:
        return
    if winner.rule.action == "monitor":
        changed = winner.rule._replace(action="block")
        yield Proposal(f'{_named(winner.rule)} with action = "block"', subject.with_rule(winner.number, changed))
    yield Proposal(f"without {_named(winner.rule)}", subject.with_rule(winner.number, None))


def _block_before(subject: Subject) -> Iterator[Proposal]:
    service = subject.decision.service
    if service is not None:
        rule = Rule("new", "block", services=frozenset({service}))
        yield Proposal(f'a new rule at the top: services = ["{service}"], action = "block"', subject.with_first(rule))
        return
    for signature in subject.case.seen:
        if signature.flag:
            rule = Rule("new", "block", services=frozenset({signature.service}), include=frozenset({signature.flag}))
            words = f'services = ["{signature.service}"], include = ["{signature.flag}"]'
            text = f'a new rule at the top: {words}, action = "block"'
            yield Proposal(text + _hits_more(signature), subject.with_first(rule), "include")
    yield from _rule_for_site(subject, "block")


def _rule_for_site(subject: Subject, action: Action) -> Iterator[Proposal]:
    if own := _list_of_names(subject):
        rule = Rule("new", action, sites=(own.name,))
        text = f'a new rule at the top: sites = ["{own.name}"], action = "{action}"; {_definition(own)}'
        yield Proposal(text, subject.with_first(rule, sites=_tables(own)))


# ---- a site list for the request ------------------------------------------------------------------------------------


def _list_of_names(subject: Subject) -> SiteList | None:
    """A new list with the names of the request; None where one is such that a policy cannot hold it."""
    names = subject.case.request.names
    addresses = [(name, as_number(name)) for name in names if as_number(name) != (0, 0)]
    domains = [name for name in names if as_number(name) == (0, 0)]
    if not names or any("%" in name for name, _ in addresses) or not all(_NAME.fullmatch(name) for name in domains):
        return None
    taken = subject.case.variants.program.sites
    name = next(name for n in range(len(taken) + 1) if (name := f"own_{n}" if n else "own") not in taken)
    networks = tuple((version, number, number) for _, (version, number) in addresses)
    return SiteList(name, domains=tuple(domains), networks=networks)


def _with_list(rule: Rule, name: str, more: str) -> Rule:
    """A rule for which one list has the entries of another, too."""
    sites = (*rule.sites, more) if rule.sites and name in rule.sites else rule.sites
    except_sites = (*rule.except_sites, more) if name in rule.except_sites else rule.except_sites
    return rule._replace(sites=sites, except_sites=except_sites)


def _tables(own: SiteList) -> dict[str, SiteTables]:
    return {own.name: compile_site_list(own)}


def _entries(own: SiteList) -> str:
    return " and ".join((*own.domains, *map(interval_text, own.networks)))


def _definition(own: SiteList) -> str:
    """A list as it stands in a policy."""
    keys = {"domains": own.domains, "networks": tuple(map(interval_text, own.networks))}
    inner = ", ".join(f"{key} = {json.dumps(values)}" for key, values in keys.items() if values)
    return f"below [sites]: {own.name} = {{ {inner} }}"


_TO_LET_THROUGH: Final = (_at_another_time, _without_service, _allow_before, _except, _nearly)
_TO_BLOCK: Final = (_nearly, _at_another_time, _without_winner, _block_before)
