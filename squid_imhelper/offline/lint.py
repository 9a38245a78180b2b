"""`lint`: what is wrong with a policy, and what is legal and probably not meant, all at once and each at its line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squid_imhelper.base import schedule
from squid_imhelper.base.errors import Problem, SourceError
from squid_imhelper.base.model import BUILT_IN, Kind, Policy, Rule, Schedule
from squid_imhelper.firewall.backends import BACKENDS
from squid_imhelper.firewall.plan import plan_firewall
from squid_imhelper.matching.engine import Engine
from squid_imhelper.offline.expectations import note_failures
from squid_imhelper.offline.shadows import covers
from squid_imhelper.sources.catalogue import Catalogue
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import ReadPolicy, left_out_problems, read_for_lint
from squid_imhelper.squid.squidconf import TIMED_TTL

SHOWN_LINES: Final = 10
"""Lines of a list that are shown for each reason for which lines were left out."""
SHOWN_SERVICES: Final = 5

_SEEN_OUTSIDE_OF_TLS: Final = frozenset({Kind.HOST, Kind.DOMAIN, Kind.NETWORK, Kind.PORT})


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found, and a few lines about the whole."""

    problems: tuple[Problem, ...]
    summary: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        """The number of errors, which keep a policy from being used."""
        return sum(problem.severity == "error" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at, the instant at which, and the numbers of rules that were not read rightly."""

    read: ReadPolicy
    catalogue: Catalogue
    now: float
    broken: frozenset[int] = frozenset()

    @property
    def policy(self) -> Policy:
        """The policy."""
        return self.read.policy

    def warn(self, where: tuple[str | int, ...], message: str, value: object = None, suggestion: str = "") -> None:
        """Notes a warning at a place of the policy."""
        self.read.document.warning(where, message, value, suggestion)

    def rules(self) -> list[tuple[int, Rule]]:
        """The rules that were read rightly, with their numbers."""
        return [(number, rule) for number, rule in enumerate(self.policy.rules) if number not in self.broken]

    def blocking(self) -> list[tuple[int, Rule]]:
        """Those of them that block."""
        return [(number, rule) for number, rule in self.rules() if rule.action == "block"]


def lint(name: str, catalogue: Catalogue, now: float) -> Report:
    """Looks at a policy file, or at the built-in policy.

    Raises:
        ImhelperError: it cannot be read at all.
    """
    if name == BUILT_IN:
        return Report((), (f"{BUILT_IN}: no errors, no warnings",))
    try:
        read = read_for_lint(Path(name), catalogue)
    except SourceError as error:  # no TOML
        return Report(error.problems, (f"{name}: {_counts(error.problems)}",))
    subject = Subject(read, catalogue, now, _broken_rules(read))
    for look in _LOOKS:
        look(subject)
    if not read.document.wrong:
        note_failures(Engine(compile_policy(read.policy, catalogue)), read.expectations, read.document, now)
    left_out = left_out_problems(read.definitions.left_out, SHOWN_LINES)
    problems = (*SourceError(read.document.problems).problems, *left_out)
    return Report(problems, tuple(_summary(name, read, problems)))


def _broken_names(read: ReadPolicy) -> frozenset[str]:
    """The client groups, schedules and site lists that were not read rightly."""
    return frozenset(str(where[1]) for where in read.document.wrong if len(where) > 1 and where[0] != "rule")


def _broken_rules(read: ReadPolicy) -> frozenset[int]:
    """The rules that were not read rightly, or that name what was not."""
    names = _broken_names(read)
    broken = {where[1] for where in read.document.wrong if len(where) > 1 and where[0] == "rule"}
    for number, rule in enumerate(_raw_rules(read)):
        if names & {word for key in ("clients", "schedule", "sites", "except_sites") for word in _words(rule, key)}:
            broken.add(number)
    return frozenset(number for number in broken if isinstance(number, int))


def _raw_rules(read: ReadPolicy) -> list[dict[str, object]]:
    """The rules as they stand in the file, where what is wrong has been told already."""
    rules = read.document.data.get("rule")
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def _words(rule: dict[str, object], key: str) -> list[str]:
    value = rule.get(key)
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]


def _counts(problems: Sequence[Problem]) -> str:
    numbers = {kind: sum(problem.severity == kind for problem in problems) for kind in ("error", "warning")}
    return ", ".join(f"{number or 'no'} {kind}{'s' * (number != 1)}" for kind, number in numbers.items())


def _summary(name: str, read: ReadPolicy, problems: Sequence[Problem]) -> Iterator[str]:
    policy = read.policy
    services = frozenset[str]().union(*(rule.services or () for rule in policy.rules))
    entries = sum(len(s.domains) + len(s.hosts) + len(s.urls) + len(s.regex) for s in policy.sites.values())
    parts = (
        (len(policy.rules), "rule"), (len(services), "service"), (len(policy.sites), "site list"),
        (entries, "site"), (len(read.expectations), "expectation"),
    )  # fmt: skip
    yield f"{name}: {_counts(problems)}; " + ", ".join(f"{n:,} {what}{'s' * (n != 1)}" for n, what in parts)
    if any(rule.timed for rule in policy.rules):
        yield "What a schedule does not do: a tunnel that is open when it begins stays open, and Squid keeps an answer"
        yield f"for its ttl ({TIMED_TTL} seconds in the lines of 'squid-conf'); the firewall can cut what is open."


# ---- rules and times ------------------------------------------------------------------------------------------------


def _shadowed(subject: Subject) -> None:
    rules = subject.rules()
    for place, (number, rule) in enumerate(rules):
        before = next((other for _, other in rules[:place] if covers(other, rule, subject.policy)), None)
        if before:
            subject.warn(
                ("rule", number),
                f"rule '{rule.name}' is never asked: whatever meets its conditions meets those of '{before.name}' "
                f"(line {before.line}) too",
            )


def _without_effect(subject: Subject) -> None:
    """What no rule blocks is allowed anyhow: a rule that allows has an effect on rules behind it only."""
    rules = subject.policy.rules
    last = max((number for number, rule in enumerate(rules) if rule.action != "allow"), default=-1)
    for number in range(last + 1, len(rules)):
        subject.warn(
            ("rule", number),
            f"rule '{rules[number].name}' changes nothing: no rule behind it blocks",
            suggestion="exceptions stand before the rule that they are exceptions to" if last >= 0 else "",
        )


def _never_true(subject: Subject) -> None:
    for number, rule in subject.rules():
        if rule.sites is not None and set(rule.sites) <= set(rule.except_sites):
            subject.warn(
                ("rule", number, "except_sites"), f"rule '{rule.name}' can never apply: it excepts its own sites"
            )
        if rule.end is not None and rule.end <= subject.now:
            subject.warn(("rule", number, "until"), f"rule '{rule.name}' has expired")
        elif rule.schedules is not None and not _ever_scheduled(rule, subject.policy):
            subject.warn(
                ("rule", number, "schedule"),
                f"rule '{rule.name}' can never apply: its schedule is not between its dates",
            )


def _ever_scheduled(rule: Rule, policy: Policy) -> bool:
    """Whether a schedule of the rule holds at any time between its dates; within a week all of them do."""
    if rule.start is None or rule.end is None or rule.end - rule.start >= schedule.WEEK:
        return True
    for name in rule.schedules or ():
        own, instant = policy.schedules[name], rule.start
        while instant < rule.end:
            if schedule.holds(own, instant):
                return True
            instant = schedule.next_change(own, instant)
    return False


def _too_fine(subject: Subject) -> None:
    for name, own in subject.policy.schedules.items():
        if name not in _broken_names(subject.read) and any(length <= TIMED_TTL for length in _lengths(own)):
            subject.warn(
                ("schedules", name),
                f"schedule '{name}' changes within {TIMED_TTL} seconds, for which Squid keeps an answer: "
                "nobody will notice",
            )


def _lengths(own: Schedule) -> Iterator[int]:
    """The lengths of the stretches, and of the gaps between them, that over the end of the week included."""
    stretches = list(own.stretches)
    if len(stretches) > 1 and stretches[0][0] == 0 and stretches[-1][1] == schedule.WEEK:  # one over the week's end
        stretches[0] = (stretches.pop()[0] - schedule.WEEK, stretches[0][1])
    for (start, end), (next_start, _) in zip(stretches, (*stretches[1:], stretches[0]), strict=True):
        yield end - start
        gap = (next_start - end) % schedule.WEEK
        if gap:
            yield gap


# ---- definitions ----------------------------------------------------------------------------------------------------


def _unused(subject: Subject) -> None:
    definitions = subject.read.definitions
    tables = (
        ("clients", "client group", definitions.clients, ("clients",)),
        ("schedules", "schedule", definitions.schedules, ("schedule",)),
        ("sites", "site list", definitions.sites, ("sites", "except_sites")),
    )
    for table, kind, defined, keys in tables:
        used = {word for rule in _raw_rules(subject.read) for key in keys for word in _words(rule, key)}
        for name in defined:
            if name not in used and name not in _broken_names(subject.read):
                subject.warn((table, name), f"{kind} '{name}' is used by no rule")


# ---- what is hit and what is not ------------------------------------------------------------------------------------


def _unseen(subject: Subject) -> None:
    for number, rule in subject.blocking():
        kinds = {id_: _kinds(subject.catalogue, id_, rule) for id_ in sorted(rule.services or ())}
        silent = [id_ for id_, own in kinds.items() if not own]
        if silent and len(silent) == len(kinds):
            subject.warn(("rule", number, "services"), f"rule '{rule.name}' can never apply: no signature of it counts")
        elif silent:
            subject.warn(
                ("rule", number, "services"),
                f"{', '.join(silent)}: no signature counts unless the rule includes it",
                suggestion="leave it out, or see 'squid-imhelper services NAME'",
            )
        inside = [id_ for id_, own in kinds.items() if own and not own & _SEEN_OUTSIDE_OF_TLS]
        if inside:
            subject.warn(
                ("rule", number, "services"),
                f"{', '.join(inside)}: cannot be seen without TLS interception",
                suggestion="leave it out, or see 'squid-imhelper services NAME'",
            )


def _kinds(catalogue: Catalogue, id_: str, rule: Rule) -> set[Kind]:
    return {s.kind for s in catalogue.services[id_].signatures if not s.flag or s.flag in rule.include}


def _collateral(subject: Subject) -> None:
    for number, rule in subject.blocking():
        if "shared" not in rule.include:
            continue
        services = [subject.catalogue.services[id_] for id_ in sorted(rule.services or ())]
        hit = [service for service in services if any(s.flag == "shared" for s in service.signatures)]
        for service in hit[:SHOWN_SERVICES]:
            text = service.collateral.partition("Shared: ")[2] or service.collateral
            subject.warn(("rule", number, "include"), f"more than {service.name} is blocked: {text}", "shared")
        if hit[SHOWN_SERVICES:]:
            more = ", ".join(service.id for service in hit[SHOWN_SERVICES:])
            subject.warn(("rule", number, "include"), f"more is blocked than these messengers, too: {more}", "shared")


def _firewall(subject: Subject) -> None:
    """What `firewall` would refuse, where a policy says that it is for a router, too."""
    if "firewall" in subject.read.document.data and not subject.read.document.wrong:
        strictest = min(backend.max_log_prefix for backend in BACKENDS.values())
        for refusal in plan_firewall(subject.policy, subject.catalogue, strictest).refusals:
            subject.warn(refusal.where, f"'firewall' refuses this: {refusal.message}", None, refusal.suggestion)


_LOOKS: Final[tuple[Callable[[Subject], None], ...]] = (
    _shadowed, _without_effect, _never_true, _too_fine, _unused, _unseen, _collateral, _firewall,
)  # fmt: skip
