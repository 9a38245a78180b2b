"""What a firewall does of a policy, in whatever language it is written: steps, what is left out, and what is refused.

A firewall sees addresses and ports. A block that asks for what only HTTP shows is left out, with a comment. A rule that
lets through, and asks for such a thing, would be as if it were not there, and a block behind it would hit what the
policy allows: that is refused, as is all else that would not do what the policy says.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from squid_imhelper.base.addresses import merge
from squid_imhelper.base.model import FLAGS, FirewallSettings, Flag, Interval, Policy, Rule
from squid_imhelper.firewall.destinations import (
    ANYWHERE,
    Destination,
    destinations_of,
    destinations_of_site,
    each_port,
    has_names,
    intersection,
    overlap,
    without_ports,
)
from squid_imhelper.firewall.refusals import Refusal, check_router
from squid_imhelper.firewall.wellknown import HTTP, HTTPS
from squid_imhelper.sources.catalogue import Catalogue

Clients = tuple[Interval, ...] | None
"""Who: None is everybody, and nothing is nobody, never everybody."""

_WAY_OUT: Final = "'firewall = false' in that rule says that it is for Squid only"
_NOTHING_TOLD: Final = "what it names shows neither addresses nor ports of its own"
_EVERY_FLAG: Final[tuple[Flag, ...]] = ("", *FLAGS)
_PREFIX_ROOM: Final = 16  # of 29 bytes, beside "MESSENGER " and " > "


@dataclass(frozen=True, slots=True)
class Target:
    """A service, a site list, or everything: how its chain is called, its title, and where its packets go."""

    key: str
    title: str
    log_prefix: str
    destinations: tuple[Destination, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A rule of the policy, as far as a firewall can tell. It does not hold for the exceptions.

    `number` counts the policy's rules from 1.
    """

    number: int
    rule: Rule
    targets: tuple[Target, ...]
    exceptions: tuple[Destination, ...] = ()

    @property
    def clients(self) -> Clients:
        """For whom it holds."""
        return self.rule.clients

    @property
    def blocks(self) -> bool:
        """Whether it blocks; it lets through else, and a monitor writes into the log besides."""
        return self.rule.action == "block"

    @property
    def for_all(self) -> bool:
        """Whether it lets everybody go everywhere, so that no rule behind it is asked."""
        return not self.blocks and self.clients is None and self.targets[0].destinations == (ANYWHERE,)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a back end needs. `exempt` are the clients to whom everything is allowed before anything is blocked.

    `left_out` are sentences for comments. A plan with refusals is not to be rendered.
    """

    policy: str
    settings: FirewallSettings
    steps: tuple[Step, ...]
    exempt: tuple[Interval, ...]
    left_out: tuple[str, ...]
    refusals: tuple[Refusal, ...]

    @property
    def blocks(self) -> tuple[Step, ...]:
        """The steps that block."""
        return tuple(step for step in self.steps if step.blocks)

    @property
    def passes(self) -> tuple[Step, ...]:
        """The steps that let through."""
        return tuple(step for step in self.steps if not step.blocks)

    @property
    def blocked_targets(self) -> tuple[Target, ...]:
        """What has a chain that logs and drops, each once, in the order of the steps."""
        return tuple({target.key: target for step in self.blocks for target in step.targets}.values())

    @property
    def intercepted(self) -> tuple[tuple[int, int], ...]:
        """Ports of the Web, and those of Squid to which they are brought."""
        return (HTTP, self.settings.intercept_http), (HTTPS, self.settings.intercept_https)

    @property
    def rejects_quic(self) -> bool:
        """Whether browsers are sent back to TCP."""
        return (self.settings.quic or ("allow" if self.settings.intercept == "no" else "reject")) == "reject"


@dataclass(frozen=True, slots=True)
class _Unsaid:
    """What lets through and cannot be said in full: by whom, where to, why, and what mends it."""

    step: Step
    reach: tuple[Destination, ...]
    reason: str
    way_out: str = _WAY_OUT


def plan_firewall(policy: Policy, catalogue: Catalogue, max_log_prefix: int) -> Plan:
    """Reads the rules in their order; every reason to refuse is in the plan. Prefixes have so many bytes at most."""
    planner = _Planner(policy, catalogue)
    for number, rule in enumerate(policy.rules, 1):
        planner.read(number, rule)
    refusals = [*planner.refusals, *planner.shadowed(), *_policy_refusals(policy, planner.steps)]
    refusals += check_router(policy.firewall, max_log_prefix)
    return Plan(
        policy.path,
        policy.firewall,
        tuple(planner.steps),
        _exempt(policy.rules),
        tuple(planner.left_out),
        tuple(sorted(refusals, key=lambda refusal: [str(part).zfill(6) for part in refusal.where])),
    )


class _Planner:
    """Reads one rule after the other."""

    def __init__(self, policy: Policy, catalogue: Catalogue) -> None:
        self._policy = policy
        self._catalogue = catalogue
        self._prefixes = dict(policy.firewall.log_prefix)
        self._numbers = {name: n for n, name in enumerate(policy.sites, 1)}
        self._unsaid: list[_Unsaid] = []
        self._blocks: list[Step] = []  # those that are refused, too: all reasons are told at once
        self.steps: list[Step] = []
        self.left_out: list[str] = []
        self.refusals: list[Refusal] = []

    def read(self, number: int, rule: Rule) -> None:
        step = Step(number, rule, tuple(self._targets(rule)), tuple(self._exceptions(rule)))
        if not rule.firewall:
            self._leave_out(rule, "it says so itself (firewall = false)")
        elif rule.clients == ():
            self._leave_out(rule, "it is for nobody")
        elif rule.action == "block":
            self._read_block(step)
        else:
            self._read_pass(step)

    def shadowed(self) -> Iterator[Refusal]:
        """Yields what would be blocked although an earlier rule lets it through."""
        for unsaid in self._unsaid:
            rule = unsaid.step.rule
            hit = [
                repr(step.rule.name)
                for step in self._blocks
                if step.number > unsaid.step.number and _meet(unsaid, step)
            ]
            if hit:
                message = f"rule '{rule.name}' lets through {unsaid.reason}, and a firewall would block it by rule "
                yield Refusal(_where(unsaid.step), message + ", ".join(hit), unsaid.way_out)

    # ---- blocks

    def _read_block(self, step: Step) -> None:
        rule = step.rule
        if hidden := _asks_for(rule):
            self._leave_out(rule, f"it asks for {hidden}, which only HTTP shows")
        elif rule.timed and self._policy.firewall.schedules == "never":
            self._leave_out(rule, "it does not hold at all times (schedules = never)")
        elif not step.targets:
            self._leave_out(rule, _NOTHING_TOLD)
        else:
            against = list(self._against(rule))
            for message, suggestion in against:
                self._refuse(step, message, suggestion)
            if not against:
                self._add(step)
            self._blocks.append(step)

    def _against(self, rule: Rule) -> Iterator[tuple[str, str]]:
        """Yields why a block cannot be written, and what mends it."""
        if rule.services is None and rule.sites is None:
            suggestion = f"name 'services' or 'sites'; or {_WAY_OUT}"
            yield "would cut off everything, DNS and mail too", suggestion
        if names := self._named(rule.except_sites):
            suggestion = "an 'allow' for them in front of it, with 'firewall = false', in place of 'except_sites'"
            yield f"spares what a firewall cannot tell: names of {names}", suggestion
        if rule.timed and self._policy.firewall.schedules == "refuse":
            suggestion = f"say schedules = 'always' or 'never' in [firewall]; or {_WAY_OUT}"
            yield "has times, and no firewall knows a time zone with daylight saving", suggestion

    def _add(self, step: Step) -> None:
        rule = step.rule
        if rule.timed:
            self.left_out.append(f"{_title(rule)}: its times; it blocks always (schedules = always)")
        if names := self._named(rule.sites or ()):
            self.left_out.append(f"{_title(rule)}: names, URLs and expressions of {names}")
        self.left_out += self._told_by_nothing(step)
        self.steps.append(step)

    def _told_by_nothing(self, step: Step) -> Iterator[str]:
        told = {target.key for target in step.targets}
        unseen = [id_ for id_ in self._catalogue.services if id_ in (step.rule.services or ()) and id_ not in told]
        unseen = [id_ for id_ in unseen if not self._told(id_, ("", *step.rule.include))]
        if unseen:
            yield f"{_title(step.rule)}: what has neither addresses nor ports of its own: {', '.join(unseen)}"

    # ---- what lets through

    def _read_pass(self, step: Step) -> None:
        rule = step.rule
        names = self._named(rule.sites or ())
        reasons = {_asks_for(rule): True, "its times": rule.timed, "the sites it spares": rule.except_sites}
        hidden = [word for word, holds in reasons.items() if word and holds]
        unseen = ", ".join([*hidden, f"names of {names}"] if names else hidden)
        if unseen:
            reach = self._reach(rule, _EVERY_FLAG)
            self._unsaid.append(_Unsaid(step, reach, f"what a firewall cannot tell ({unseen})"))
        elif reach := tuple(self._off_by_default(step)):
            way_out = f"the same 'include' in both rules; or {_WAY_OUT}"
            self._unsaid.append(_Unsaid(step, reach, "services by what is off by default", way_out))
        if hidden:
            self._leave_out(rule, f"a firewall cannot tell {unseen}")
        elif not step.targets:
            self._leave_out(rule, _NOTHING_TOLD)
        else:
            self._add(step)

    def _off_by_default(self, step: Step) -> Iterator[Destination]:
        """Yields where its services may be besides, without the ports that it lets through by what is on."""
        let_through = (destination for target in step.targets for destination in target.destinations)
        own: set[tuple[str, int]] = {
            (destination.protocol, port)
            for destination in let_through
            if destination.networks is None
            for port in each_port(destination.ports)
        }
        for destination in self._reach(step.rule, set(FLAGS) - step.rule.include):
            if left := without_ports(destination, own):
                yield left

    def _reach(self, rule: Rule, flags: Collection[Flag]) -> tuple[Destination, ...]:
        """Where a rule may let through at most, with these flags of its services; a name may be anywhere."""
        services = [d for id_ in sorted(rule.services or ()) for d in self._told(id_, flags)]
        if rule.services is None:
            services = [ANYWHERE] if "" in flags else []
        if rule.sites is None or self._named(rule.sites):
            return tuple(services)
        return tuple(_crossed(services, self._sites_of(rule)))

    # ---- what both ask

    def _targets(self, rule: Rule) -> Iterator[Target]:
        """Yields what a rule names, ports that an earlier target has left out: a packet goes to one chain only."""
        seen: set[tuple[str, int]] = set()
        for target in self._named_targets(rule):
            left = (without_ports(destination, seen) for destination in target.destinations)
            if destinations := tuple(destination for destination in left if destination):
                yield Target(target.key, target.title, target.log_prefix, destinations)

    def _named_targets(self, rule: Rule) -> Iterator[Target]:
        if rule.services is not None:
            for service in self._catalogue.services.values():
                if service.id in rule.services:
                    told = self._told(service.id, ("", *rule.include))
                    told = told if rule.sites is None else tuple(_crossed(told, self._sites_of(rule)))
                    yield Target(service.id, service.name, self._prefixes.get(service.id, _prefix(service.id)), told)
        elif rule.sites is not None:
            for name in rule.sites:
                told = destinations_of_site(self._policy.sites[name])
                yield Target(f"site{self._numbers[name]}", f"site list {name}", _prefix(name, "SITES"), told)
        else:
            yield Target("all", "everything", "MONITOR > ", (ANYWHERE,))

    def _told(self, service: str, flags: Collection[Flag]) -> tuple[Destination, ...]:
        return destinations_of(self._catalogue.services[service], flags)

    def _sites_of(self, rule: Rule) -> list[Destination]:
        return [d for name in rule.sites or () for d in destinations_of_site(self._policy.sites[name])]

    def _exceptions(self, rule: Rule) -> Iterator[Destination]:
        for name in rule.except_sites:
            yield from destinations_of_site(self._policy.sites[name])

    def _named(self, names: tuple[str, ...]) -> str:
        """Those of some site lists that hold names."""
        return ", ".join(name for name in names if has_names(self._policy.sites[name]))

    def _leave_out(self, rule: Rule, reason: str) -> None:
        self.left_out.append(f"{_title(rule)}: {reason}")

    def _refuse(self, step: Step, message: str, suggestion: str) -> None:
        self.refusals.append(Refusal(_where(step), f"rule '{step.rule.name}' {message}", suggestion))


def _meet(unsaid: _Unsaid, step: Step) -> bool:
    """Whether a step can block what an earlier rule lets through.

    Services are compared by networks, or by ports: nobody expects the port of one in the network of another.
    """
    crossing = unsaid.step.rule.services is None
    return overlap(unsaid.step.clients, step.clients) and any(
        intersection(reach, destination) and (crossing or (reach.networks is None) == (destination.networks is None))
        for reach in unsaid.reach
        for target in step.targets
        for destination in target.destinations
    )


def _asks_for(rule: Rule) -> str:
    conditions = {"users": rule.users, "user agents": rule.user_agents}
    return " and ".join(word for word, condition in conditions.items() if condition is not None)


def _crossed(first: Iterable[Destination], second: Sequence[Destination]) -> Iterator[Destination]:
    """Yields what is in one of the first and in one of the second."""
    for one in first:
        for other in second:
            if common := intersection(one, other):
                yield common


def _where(step: Step) -> tuple[str | int, ...]:
    return "rule", step.number - 1


def _title(rule: Rule) -> str:
    return f'rule "{rule.name}"'


def _prefix(name: str, word: str = "MESSENGER") -> str:
    """What the log lines of a service begin with: MESSENGER MSN > ."""
    brand = name.removesuffix("_messenger")
    short = (brand if len(brand) > 1 else name).upper().replace("_", " ")
    safe = "".join(c if c.isascii() and (c.isalnum() or c in " .-") else "?" for c in short)
    return f"{word} {safe[:_PREFIX_ROOM].strip()} > "


def _exempt(rules: tuple[Rule, ...]) -> tuple[Interval, ...]:
    """The clients of the rules that allow them everything, unless an earlier rule may do something else to them."""
    found: list[Interval] = []
    others: list[Rule] = []
    for rule in rules:
        conditions = (rule.users, rule.services, rule.user_agents, rule.sites, rule.schedules, rule.start, rule.end)
        if rule.action != "allow":
            others.append(rule)
        elif rule.firewall and not rule.except_sites and set(conditions) == {None}:
            found += () if any(overlap(rule.clients, other.clients) for other in others) else rule.clients or ()
    return merge(found)


def _policy_refusals(policy: Policy, steps: list[Step]) -> Iterator[Refusal]:
    """Yields what does not go together with the policy as a whole."""
    if policy.response.dry_run:
        message = "dry_run = true blocks nothing, and a firewall would"
        yield Refusal(("response", "dry_run"), message, "'--dry-run' at the helper holds for Squid alone")
    for step in steps:
        if step.for_all and policy.firewall.default == "drop":
            message = f"rule '{step.rule.name}' lets everybody go everywhere, and default = 'drop' does not"
            yield Refusal(_where(step), message, _WAY_OUT)
