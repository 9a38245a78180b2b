"""The rules, one by one: which of its conditions hold for a request, what each asks for, and what it finds.

A condition is tried by giving the engine a rule that has no other one, so that nothing here can judge otherwise than
`decide` does.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from typing import Final, Literal, NamedTuple

from squid_imhelper.base import schedule
from squid_imhelper.base.addresses import as_number
from squid_imhelper.base.model import Decision, Interval, Request, Rule, Signature
from squid_imhelper.matching.engine import Holds
from squid_imhelper.matching.expressions import ExpressionTimeoutError
from squid_imhelper.offline.variants import Variants

State = Literal["decides", "does not hold", "not asked", "holds"]
"""A rule that holds and does not decide stands behind one that could not be looked at."""

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "clients": ("clients",),
    "users": ("users",),
    "services": ("services", "include"),
    "user_agents": ("user_agents",),
    "sites": ("sites",),
    "except_sites": ("except_sites",),
    "schedule": ("schedules",),
    "from": ("start",),
    "until": ("end",),
}
"""The conditions as a policy names them, and the fields of a rule in which they stand."""

_BARE: Final = Rule("", "block")

SHOWN: Final = 4
"""Values of a condition that are named."""
_HORIZON: Final = schedule.WEEK + schedule.DAY


class Condition(NamedTuple):
    """One condition of a rule: whether it holds, what it asks for, and what is there."""

    name: str
    holds: bool
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """One rule for one request. `number` counts from 1."""

    number: int
    rule: Rule
    state: State
    conditions: tuple[Condition, ...]

    @property
    def failed(self) -> tuple[Condition, ...]:
        """The conditions that do not hold."""
        return tuple(condition for condition in self.conditions if not condition.holds)


@dataclass(frozen=True, slots=True)
class Case:
    """A request at a time, and the signatures that it carries, whether they count or not."""

    variants: Variants
    request: Request
    now: float
    seen: Sequence[Signature]

    @property
    def zone(self) -> str:
        """The time zone in which times are told."""
        return schedule.common_zone(self.variants.program.schedules.values())

    def clock(self, instant: float) -> str:
        """A time as people say it."""
        return f"{schedule.on_the_wall(instant, self.zone):%a %Y-%m-%d %H:%M} {self.zone}"


def judge(case: Case, decision: Decision, *, asked: bool = True) -> tuple[RuleVerdict, ...]:
    """Judges every rule, in order, those behind the one that decides too.

    Args:
        case: the request.
        decision: what was decided for it.
        asked: whether any rule was asked for that.
    """
    verdicts = []
    for number, rule in enumerate(case.variants.program.rules, 1):
        conditions = judge_rule(case, rule)
        state: State = "holds" if all(condition.holds for condition in conditions) else "does not hold"
        if not asked:
            state = "not asked"
        elif rule.name == decision.rule:
            state, asked = "decides", False
        verdicts.append(RuleVerdict(number, rule, state, conditions))
    return tuple(verdicts)


def judge_rule(case: Case, rule: Rule) -> tuple[Condition, ...]:
    """Judges the conditions of one rule, those only that it has."""
    return tuple(_judge(case, name, alone(rule, name)) for name in FIELDS if has(rule, name))


def has(rule: Rule, condition: str) -> bool:
    """Whether a rule has a condition."""
    field = FIELDS[condition][0]
    return bool(getattr(rule, field) != getattr(_BARE, field))


def alone(rule: Rule, condition: str) -> Rule:
    """Returns a rule that has only one of its conditions."""
    return _BARE._replace(action=rule.action, **{field: getattr(rule, field) for field in FIELDS[condition]})


def without(rule: Rule, condition: str) -> Rule:
    """Returns a rule without one of its conditions."""
    return rule._replace(**{field: getattr(_BARE, field) for field in FIELDS[condition]})


def turns(case: Case, own: Rule) -> float | None:
    """Returns when the schedules and dates of a rule begin or end to hold; None where they do not within a week."""
    engine, instant = case.variants.engine, case.now
    timed = _BARE._replace(schedules=own.schedules, start=own.start, end=own.end)
    now = _holds(case, timed)
    while (instant := engine.next_change(instant)) <= case.now + _HORIZON:
        if (case.variants.holds(timed, case.request, instant) is None) == bool(now):
            return instant
    return None


def _judge(case: Case, name: str, rule: Rule) -> Condition:
    try:
        holds = _holds(case, rule)
    except ExpressionTimeoutError as error:
        lists = rule.sites or rule.except_sites
        return Condition(name, False, _names(lists, len(lists)), str(error))
    return Condition(name, holds is not None, *_TOLD[name](case, rule, holds))


def _holds(case: Case, rule: Rule) -> Holds | None:
    return case.variants.holds(rule, case.request, case.now)


# ---- what is asked for, and what is there ---------------------------------------------------------------------------

Told = tuple[str, str]


def _clients(case: Case, rule: Rule, _holds: Holds | None) -> Told:
    client = case.request.client
    clients = rule.clients or ()
    return _names(map(interval_text, clients), len(clients)), f"the client is {client or 'unknown'}"


def _users(case: Case, rule: Rule, _holds: Holds | None) -> Told:
    user = case.request.user
    users = rule.users or ()
    return _names(nsmallest(SHOWN, users), len(users)), f"the user is {'unknown' if user is None else user}"


def _services(case: Case, rule: Rule, holds: Holds | None) -> Told:
    services = sorted(rule.services or ())
    wanted = _names(services, len(services)) if len(services) <= SHOWN else f"any of {len(services)}"
    return wanted, _service_found(case, rule, holds)


def _service_found(case: Case, rule: Rule, holds: Holds | None) -> str:
    services = rule.services or frozenset()
    if holds and holds.signature:
        flag = f", included as {holds.signature.flag}" if holds.signature.flag else ""
        return f"it is {holds.signature.service}{flag}"
    known = next((s.service for s in case.seen if not s.flag and case.variants.counts(s)), None)
    if known is not None and known in services:
        return f"it is {known}, but shows the name of another messenger too"
    if known is not None:
        return f"it is {known}"
    off = next((s for s in case.seen if s.service in services), None)
    if off is None:
        return "it is no messenger that is known" if not case.seen else "it is none of them"
    return f"only {off.kind.value} {off.value} of {off.service} is seen, which does not count by itself ({off.flag})"


def _user_agents(case: Case, rule: Rule, holds: Holds | None) -> Told:
    agent = case.request.user_agent
    texts = rule.user_agents or ()
    if holds and holds.evidence:
        found = f"'{holds.evidence.value}' is in it"
    elif agent is None:
        found = "the user agent is unknown"
    elif any(text.lower() in agent.lower() for text in texts):
        found = f"it is there in another case only: {agent}"
    else:
        found = f"the user agent is {agent}"
    return _names((f"'{text}'" for text in texts), len(texts)), found


def _sites(case: Case, rule: Rule, holds: Holds | None) -> Told:
    if holds and holds.evidence:
        found = f"it is on the list: {holds.evidence.kind} {holds.evidence.value}"
    elif _holds(case, rule._replace(action="block")):
        found = f"not every name of it is on the list: {', '.join(case.request.names)}"
    elif any(case.variants.program.sites[name].networks for name in rule.sites or ()) and not any(
        as_number(name) != (0, 0) for name in case.request.names
    ):
        found = "it is not on the list; networks hold for addresses only, and names are not resolved"
    else:
        found = "it is not on the list"
    return _names(rule.sites or (), len(rule.sites or ())), found


def _except_sites(case: Case, rule: Rule, holds: Holds | None) -> Told:
    found = "it is not on the list"
    if holds is None:
        on = _holds(case, _BARE._replace(action="allow", sites=rule.except_sites))
        found = f"it is on the list: {on.evidence.kind} {on.evidence.value}" if on and on.evidence else "it is on it"
    return _names(rule.except_sites, len(rule.except_sites)), found


def _schedule(case: Case, rule: Rule, holds: Holds | None) -> Told:
    turn = turns(case, rule)
    if holds:
        found = f"it holds until {case.clock(turn)}" if turn is not None else "it holds"
    else:
        found = f"it does not hold before {case.clock(turn)}" if turn is not None else "it does not hold this week"
    return _names(rule.schedules or (), len(rule.schedules or ())), found


def _dates(case: Case, rule: Rule, _holds: Holds | None) -> Told:
    instant = rule.start if rule.start is not None else rule.end
    return case.clock(instant or 0.0), f"it is {case.clock(case.now)}"


_TOLD: Final[Mapping[str, Callable[[Case, Rule, Holds | None], Told]]] = {
    "clients": _clients,
    "users": _users,
    "services": _services,
    "user_agents": _user_agents,
    "sites": _sites,
    "except_sites": _except_sites,
    "schedule": _schedule,
    "from": _dates,
    "until": _dates,
}


def interval_text(interval: Interval) -> str:
    """Returns addresses as a policy may write them: one, a network, or a range."""
    version, *ends = interval
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    first, last = (kind(end) for end in ends)
    if first == last:
        return str(first)
    networks = list(ipaddress.summarize_address_range(first, last))
    return str(networks[0]) if len(networks) == 1 else f"{first}-{last}"


def _names(first: Iterable[str], number: int) -> str:
    """The first few of some values, and how many more there are."""
    more = f" and {number - SHOWN} more" if number > SHOWN else ""
    return (", ".join(islice(first, SHOWN)) or "nothing") + more
