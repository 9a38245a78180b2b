"""The rules of a plan for `iptables-restore` and `ip6tables-restore`."""

from collections.abc import Iterator
from itertools import product
from typing import Final

from squid_imhelper.firewall.bypass import Way, resolvers, ways_around
from squid_imhelper.firewall.destinations import Destination, Family, port_ranges
from squid_imhelper.firewall.plan import Plan, Step, Target
from squid_imhelper.firewall.remarks import WHY_LIMITS, about, head
from squid_imhelper.firewall.restore import BUILT_IN, Table, quoted
from squid_imhelper.firewall.wellknown import (
    BURST,
    DHCP_SERVER,
    DHCPV6_CLIENT,
    DHCPV6_SERVER,
    DNS,
    HTTPS,
    ICMPV6_ERRORS,
    ICMPV6_NEIGHBOURS,
    ICMPV6_PING,
    LOG_BURST,
    LOG_RATE,
    MARK,
)

MAX_LOG_PREFIX: Final = 29
"""Bytes that the LOG target keeps of a prefix (xt_LOG.h: 30 with the final zero); iptables cuts what is longer."""

_MARK: Final = f"{MARK:#x}/{MARK:#x}"
_ESTABLISHED: Final = "-m conntrack --ctstate ESTABLISHED,RELATED"


def render(plan: Plan, family: Family, *, chains_only: bool = False) -> str:
    """Returns the text for IPv4 or IPv6: whole tables, or our own chains and the jumps to them."""
    tables = [Table(name, family, plan.settings) for name in BUILT_IN]
    for table in tables:
        for chains in _CHAINS[table.name]:
            chains(plan, table)
    texts = [list(table.lines(chains_only=chains_only)) for table in tables]
    names = ", ".join(table.name for table, lines in zip(tables, texts, strict=True) if lines)
    program = "iptables-restore" if family == 4 else "ip6tables-restore"
    how, replaces = program, f"They take the place of all that stands in: {names}."
    if chains_only:
        how, replaces = (
            f"{program} --noflush",
            f"Only our own chains, and a jump to them from each built-in one ({names}).",
        )
    lines = [f"# {line}" for line in head(plan, how, replaces, chains_only=chains_only)]
    return "\n".join([*lines, *(line for text in texts for line in text)]) + "\n"


# ---- filter: what is forwarded, and what comes to the router itself -------------------------------------------------


def _forward(plan: Plan, table: Table) -> None:
    """What is forwarded goes through the messengers first."""
    way = table.lan or "-m conntrack --ctdir ORIGINAL"
    table.open("IMH-INPUT", "IMH-FORWARD", "IMH-messengers")
    table.remark("IMH-FORWARD", "Before anything that accepts what is established: a block also ends what is open.")
    for refused in ways_around(plan):
        if not refused.spares_exempt:
            _refuse(refused, table, "IMH-FORWARD", way)
    table.add("IMH-FORWARD", way, "-j IMH-messengers")
    if any(_limits_of(plan, table)):
        table.add("IMH-FORWARD", "-j IMH-limits")


def _messengers(plan: Plan, table: Table) -> None:
    used: set[str] = set()
    for step in plan.steps:
        table.remark("IMH-messengers", about(step.rule))
        rules = list(_block(step, table) if step.blocks else _pass(step, table))
        for parts in rules:
            table.add(*parts)
            used.add(parts[-1])
        if step.for_all:
            break
        if not rules:
            table.remark("IMH-messengers", f"  nothing of it is IPv{table.family}")
    if any(way.spares_exempt for way in ways_around(plan)):
        table.remark("IMH-messengers", "What no rule has let through goes around the proxy no other way, either.")
        table.add("IMH-messengers", "-j IMH-bypass")
    for target in plan.blocked_targets:
        if _jump(target) in used:
            _log_and_drop(target, plan, table)


def _block(step: Step, table: Table) -> Iterator[tuple[str, ...]]:
    """Yields rules as chain and parts; several clients, or exceptions, are a chain of their own."""
    sources = table.sources(step.clients)
    hits = [(to, _jump(target)) for target in step.targets for to in _all_to(target.destinations, table)]
    if not sources or not hits:
        return
    if len(sources) == 1 and not step.exceptions:
        yield from (("IMH-messengers", sources[0], to, jump) for to, jump in hits)
        return
    chain = f"IMH-rule-{step.number}"
    yield from (("IMH-messengers", source, f"-j {chain}") for source in sources)
    yield from ((chain, to, "-j RETURN") for to in _all_to(step.exceptions, table))
    yield from ((chain, to, jump) for to, jump in hits)


def _pass(step: Step, table: Table) -> Iterator[tuple[str, ...]]:
    """Yields rules as chain and parts: for whom it holds, nothing behind it does.

    What holds for all ends the chain, and the ways around the proxy stay closed.
    """
    for source, target in product(table.sources(step.clients), step.targets):
        for to in _all_to(target.destinations, table):
            if step.rule.action == "monitor":
                yield "IMH-messengers", source, to, "-m conntrack --ctstate NEW", _log(target)
            if not step.for_all:
                yield "IMH-messengers", source, to, "-j RETURN"


def _log_and_drop(target: Target, plan: Plan, table: Table) -> None:
    chain = f"IMH-{target.key}"
    table.remark(chain, target.title)
    table.add(chain, _log(target))
    if plan.settings.reject:
        table.add(chain, "-p tcp", _REFUSALS["tcp"])
    table.add(chain, _REFUSALS["udp"] if plan.settings.reject else "-j DROP")


def _bypass(plan: Plan, table: Table) -> None:
    for way in ways_around(plan):
        if way.spares_exempt:
            _refuse(way, table, "IMH-bypass")


def _refuse(way: Way, table: Table, chain: str, *parts: str) -> None:
    table.remark(chain, way.title)
    for to in table.to(way.destination):
        table.add(chain, *parts, to, _REFUSALS[way.destination.protocol])


def _limits(plan: Plan, table: Table) -> None:
    limits = list(_limits_of(plan, table))
    if limits:
        table.remark("IMH-limits", *WHY_LIMITS)
    for name, rate, match in limits:
        over = f"-m hashlimit --hashlimit-above {rate}/sec --hashlimit-burst {BURST * rate}"
        # A table of this name that is in use keeps its former rate: the rate is part of the name.
        each = f"--hashlimit-mode srcip --hashlimit-name imh-{name}-{rate}"
        table.add("IMH-limits", match, over, each, "-j DROP")


def _limits_of(plan: Plan, table: Table) -> Iterator[tuple[str, int, str]]:
    limits = plan.settings.limits
    ping = "-p icmp --icmp-type echo-request" if table.family == 4 else f"-p ipv6-icmp --icmpv6-type {ICMPV6_PING}"
    for name, rate, match in (
        ("syn", limits.syn, "-p tcp --syn"),
        ("rst", limits.rst, "-p tcp --tcp-flags RST RST"),
        ("ping", limits.ping, ping),
    ):
        if rate:
            yield name, rate, match


def _input(plan: Plan, table: Table) -> None:
    """What comes to the router; Squid's ports for interception take nothing that was sent to them."""
    chain, settings = "IMH-INPUT", plan.settings
    table.remark(chain, "Squid talks to its helpers by way of the loopback interface.")
    table.add(chain, "-i lo -j RETURN")
    if any(_limits_of(plan, table)):
        table.add(chain, "-j IMH-limits")
    if settings.intercept != "no":
        table.remark(chain, "Who speaks to these ports directly would make Squid ask itself, for ever.")
        redirected = "-m conntrack ! --ctstate DNAT" if settings.intercept == "redirect" else ""
        for to in table.to(_intercept_ports(plan)):
            table.add(chain, to, redirected, "-j DROP")


def _stance(plan: Plan, table: Table) -> None:
    """What the built-in chains need besides; of no effect on a router that has rules already."""
    if plan.settings.default == "drop":
        table.stances = {"INPUT": "DROP", "FORWARD": "DROP"}
        _let_in(plan, table)
    table.add("FORWARD", _ESTABLISHED, "-j ACCEPT")
    if plan.settings.default == "drop":
        _let_out(plan, table)


def _let_in(plan: Plan, table: Table) -> None:
    """What has to reach the router, whatever else is dropped."""
    table.add("INPUT", "-i lo -j ACCEPT")
    table.add("INPUT", _ESTABLISHED, "-j ACCEPT")
    if table.family == 4:
        table.add("INPUT", "-p icmp --icmp-type echo-request -j ACCEPT")
        table.add("INPUT", table.lan, f"-p udp --dport {DHCP_SERVER} -j ACCEPT")
    else:
        for kind in (*ICMPV6_ERRORS, ICMPV6_PING, *ICMPV6_NEIGHBOURS):
            table.add("INPUT", f"-p ipv6-icmp --icmpv6-type {kind} -j ACCEPT")
        table.add("INPUT", table.lan, f"-p udp --dport {DHCPV6_SERVER} -j ACCEPT")
        table.add("INPUT", f"-s fe80::/10 -p udp --dport {DHCPV6_CLIENT} -j ACCEPT")
    for protocol in ("udp", "tcp"):
        table.add("INPUT", table.lan, f"-p {protocol} --dport {DNS} -j ACCEPT")
    for to in table.to(Destination(None, "tcp", port_ranges(plan.settings.proxy_ports))):
        table.add("INPUT", table.lan, to, "-j ACCEPT")
    if plan.settings.intercept == "redirect":
        for to in table.to(_intercept_ports(plan)):
            table.add("INPUT", table.lan, to, "-j ACCEPT")
    elif plan.settings.intercept == "tproxy":
        table.add("INPUT", f"-p tcp -m mark --mark {_MARK} -j ACCEPT")
    if plan.settings.admin_ports:
        for to in table.to(Destination(None, "tcp", port_ranges(plan.settings.admin_ports))):
            table.add("INPUT", to, "-j ACCEPT")


def _let_out(plan: Plan, table: Table) -> None:
    """What is forwarded, whatever else is dropped: DNS, and what the policy's rules let through by name."""
    if table.family == 6:
        for kind in ICMPV6_ERRORS:
            table.add("FORWARD", f"-p ipv6-icmp --icmpv6-type {kind} -j ACCEPT")
    out = f"-o {plan.settings.wan}" if plan.settings.wan else ""
    for protocol in ("udp", "tcp"):
        table.add("FORWARD", table.lan, out, f"-p {protocol} --dport {DNS} -j ACCEPT")
    for step in plan.passes:
        table.remark("FORWARD", about(step.rule))
        for source, target in product(table.sources(step.clients), step.targets):
            for to in _all_to(target.destinations, table):
                table.add("FORWARD", table.lan, out, source, to, "-j ACCEPT")


# ---- nat and mangle: interception -----------------------------------------------------------------------------------


def _redirect(plan: Plan, table: Table) -> None:
    if plan.settings.intercept == "redirect":
        _spare(plan, table)
        for port, squid in plan.intercepted:
            table.add("IMH-PREROUTING", f"-p tcp --dport {port} -j REDIRECT --to-ports {squid}")


def _masquerade(plan: Plan, table: Table) -> None:
    if plan.settings.masquerade and table.family == 4:
        table.add("IMH-POSTROUTING", f"-o {plan.settings.wan} -j MASQUERADE")


def _tproxy(plan: Plan, table: Table) -> None:
    if plan.settings.intercept == "tproxy":
        table.open("IMH-PREROUTING")
        table.remark("IMH-PREROUTING", "What belongs to a connection of Squid's, that with a server included.")
        table.add("IMH-PREROUTING", "-p tcp -m socket --transparent -j IMH-divert")
        table.add("IMH-divert", f"-j MARK --set-xmark {_MARK}")
        table.add("IMH-divert", "-j ACCEPT")
        _spare(plan, table)
        for port, squid in plan.intercepted:
            how = f"-j TPROXY --on-port {squid} --tproxy-mark {_MARK}"
            table.add("IMH-PREROUTING", f"-p tcp --dport {port}", how)


def _spare(plan: Plan, table: Table) -> None:
    """What is not intercepted: what does not come from the LAN, exempt clients, and what is for the router itself."""
    chain = "IMH-PREROUTING"
    table.add(chain, f"! {table.lan} -j RETURN")
    if not plan.settings.intercept_exempt:
        for source in table.sources(plan.exempt):
            table.add(chain, source, "-j RETURN")
    table.add(chain, "-m addrtype --dst-type LOCAL -j RETURN")
    if plan.settings.encrypted_dns == "reject":
        table.remark(chain, "DNS over HTTPS is refused where it is forwarded.")
        for to in table.to(Destination(resolvers(), "tcp", ((HTTPS, HTTPS),))):
            table.add(chain, to, "-j RETURN")


def _intercept_ports(plan: Plan) -> Destination:
    return Destination(None, "tcp", port_ranges(port for _, port in plan.intercepted))


# ---- parts ----------------------------------------------------------------------------------------------------------

_REFUSALS: Final = {"tcp": "-j REJECT --reject-with tcp-reset", "udp": "-j REJECT"}


def _jump(target: Target) -> str:
    return f"-j IMH-{target.key}"


def _log(target: Target) -> str:
    rate = f"-m limit --limit {LOG_RATE}/min --limit-burst {LOG_BURST}"
    return f"{rate} -j LOG --log-prefix {quoted(target.log_prefix)}"


def _all_to(destinations: tuple[Destination, ...], table: Table) -> list[str]:
    return [to for destination in destinations for to in table.to(destination)]


_CHAINS: Final = {
    "filter": (_forward, _messengers, _bypass, _limits, _input, _stance),
    "nat": (_redirect, _masquerade),
    "mangle": (_tproxy,),
}
