"""The rules of a plan for `nft -f`: one table of our own for IPv4 and IPv6, which takes its former version's place.

The chains are those of the other back ends, by the same names: `IMH-...`, and one for each hook that jumps to ours. The
table is declared, deleted and written anew in one transaction; nft 1.0.6 knows no shorter way to say so.
"""

from collections.abc import Iterator
from typing import Final

from squid_imhelper.firewall.bypass import Way, resolvers, ways_around
from squid_imhelper.firewall.destinations import ANYWHERE, Destination, Family, port_ranges
from squid_imhelper.firewall.nfttable import FAMILIES, TABLE, Table, interface, one_of, ports_to
from squid_imhelper.firewall.plan import Plan, Step, Target
from squid_imhelper.firewall.remarks import WHY_LIMITS, about, head
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

_MARKED: Final = f"meta mark & {MARK:#x} == {MARK:#x}"
_SET_MARK: Final = f"meta mark set meta mark | {MARK:#x}"
_ESTABLISHED: Final = "ct state established,related"
_DNS: Final = f"meta l4proto {{ tcp, udp }} th dport {DNS}"
_REFUSALS: Final = {"tcp": "reject with tcp reset", "udp": "reject with icmpx port-unreachable"}


def render(plan: Plan, *, chains_only: bool = False) -> str:
    """Returns the text: the whole table, or the table without what drops or accepts everything else."""
    table = Table()
    for chains in _CHAINS:
        chains(plan, table)
    replaces = f"The table {TABLE} takes the place of its former version; other tables stay as they are."
    lines = [f"# {line}" for line in head(plan, "nft -f", replaces, chains_only=chains_only)]
    return "\n".join([*lines, *table.lines(chains_only=chains_only)]) + "\n"


# ---- what is forwarded, and what comes to the router itself ---------------------------------------------------------


def _forward(plan: Plan, table: Table) -> None:
    """What is forwarded goes through the messengers first."""
    way = _lan(plan) or "ct direction original"
    table.hook("INPUT", "type filter hook input priority filter")
    table.hook("FORWARD", "type filter hook forward priority filter")
    table.open("IMH-INPUT", "IMH-FORWARD", "IMH-messengers")
    table.remark("IMH-FORWARD", "Before anything that accepts what is established: a block also ends what is open.")
    for refused in ways_around(plan):
        if not refused.spares_exempt:
            _refuse(refused, table, "IMH-FORWARD", way)
    table.add("IMH-FORWARD", way, "jump IMH-messengers")
    if any(_limits_of(plan)):
        table.add("IMH-FORWARD", "jump IMH-limits")


def _messengers(plan: Plan, table: Table) -> None:
    chain = "IMH-messengers"
    jumps: set[str] = set()
    for step in plan.steps:
        table.remark(chain, about(step.rule))
        lines = list(_block(step, table) if step.blocks else _pass(step, table))
        for parts in lines:
            table.add(*parts)
        if step.for_all:
            break
        if not lines:
            table.remark(chain, "  nothing: its clients and its addresses are of different families")
        jumps |= {parts[-1] for parts in lines}
    if any(way.spares_exempt for way in ways_around(plan)):
        table.remark(chain, "What no rule has let through goes around the proxy no other way, either.")
        table.add(chain, "jump IMH-bypass")
    for target in plan.blocked_targets:
        if f"jump IMH-{target.key}" in jumps:
            _log_and_drop(target, plan, table)


def _block(step: Step, table: Table) -> Iterator[tuple[str, ...]]:
    """Yields rules as chain and parts; exceptions need a chain of their own."""
    chain, clients, name = "IMH-messengers", step.clients, f"IMH-rule-{step.number}"
    if step.exceptions:
        yield from ((chain, match, f"jump {name}") for match in table.between(clients, ANYWHERE, name))
        chain, clients = name, None
        for exception in step.exceptions:
            yield from ((chain, match, "return") for match in table.between(None, exception, f"{name}-except"))
    for target, destination in _each(step):
        for match in table.between(clients, destination, name, f"IMH-{target.key}"):
            yield chain, match, f"jump IMH-{target.key}"


def _pass(step: Step, table: Table) -> Iterator[tuple[str, ...]]:
    """Yields rules as chain and parts: for whom it holds, nothing behind it does."""
    for target, destination in _each(step):
        for match in table.between(step.clients, destination, f"IMH-rule-{step.number}", f"IMH-{target.key}"):
            if step.rule.action == "monitor":
                yield "IMH-messengers", match, "ct state new", _log(target)
            if not step.for_all:
                yield "IMH-messengers", match, "return"


def _log_and_drop(target: Target, plan: Plan, table: Table) -> None:
    chain = f"IMH-{target.key}"
    table.remark(chain, target.title)
    table.add(chain, _log(target))
    if plan.settings.reject:
        table.add(chain, "meta l4proto tcp", _REFUSALS["tcp"])
    table.add(chain, _REFUSALS["udp"] if plan.settings.reject else "drop")


def _bypass(plan: Plan, table: Table) -> None:
    for way in ways_around(plan):
        if way.spares_exempt:
            _refuse(way, table, "IMH-bypass")


def _refuse(way: Way, table: Table, chain: str, *parts: str) -> None:
    table.remark(chain, way.title)
    for match in table.between(None, way.destination, "", "IMH-resolvers"):
        table.add(chain, *parts, match, _REFUSALS[way.destination.protocol])


def _limits(plan: Plan, table: Table) -> None:
    limits = list(_limits_of(plan))
    if limits:
        table.remark("IMH-limits", *WHY_LIMITS)
    for name, rate, matches in limits:
        for family, match in matches.items():
            each = f"{FAMILIES[family].word} saddr limit rate over {rate}/second burst {BURST * rate} packets"
            table.add("IMH-limits", match, f"update @{table.counting_set(f'IMH-{name}', family)} {{ {each} }} drop")


def _limits_of(plan: Plan) -> Iterator[tuple[str, int, dict[Family, str]]]:
    """Yields name, packets a second, and a match for each family."""
    limits = plan.settings.limits
    for name, rate, matches in (
        ("syn", limits.syn, dict.fromkeys(FAMILIES, "tcp flags & (fin | syn | rst | ack) == syn")),
        ("rst", limits.rst, dict.fromkeys(FAMILIES, "tcp flags & rst == rst")),
        ("ping", limits.ping, dict(zip(FAMILIES, ("icmp type echo-request", "icmpv6 type echo-request"), strict=True))),
    ):
        if rate:
            yield name, rate, matches


def _input(plan: Plan, table: Table) -> None:
    """What comes to the router; Squid's ports for interception take nothing that was sent to them."""
    chain, settings = "IMH-INPUT", plan.settings
    table.remark(chain, "Squid talks to its helpers by way of the loopback interface.")
    table.add(chain, 'iifname "lo" return')
    if any(_limits_of(plan)):
        table.add(chain, "jump IMH-limits")
    if settings.intercept != "no":
        table.remark(chain, "Who speaks to these ports directly would make Squid ask itself, for ever.")
        redirected = "ct status & dnat == 0" if settings.intercept == "redirect" else ""
        table.add(chain, _intercept_ports(plan), redirected, "drop")


def _stance(plan: Plan, table: Table) -> None:
    """What becomes of everything else."""
    table.add("FORWARD", _ESTABLISHED, "accept")
    if plan.settings.default == "drop":
        table.stances = {"INPUT": "drop", "FORWARD": "drop"}
        _let_in(plan, table)
        _let_out(plan, table)


def _let_in(plan: Plan, table: Table) -> None:
    """What has to reach the router, whatever else is dropped."""
    lan = _lan(plan)
    table.add("INPUT", 'iifname "lo" accept')
    table.add("INPUT", _ESTABLISHED, "accept")
    table.add("INPUT", "icmp type echo-request accept")
    table.add("INPUT", f"icmpv6 type {one_of((*ICMPV6_ERRORS, ICMPV6_PING, *ICMPV6_NEIGHBOURS))} accept")
    table.add("INPUT", lan, f"meta nfproto ipv4 udp dport {DHCP_SERVER} accept")
    table.add("INPUT", lan, f"meta nfproto ipv6 udp dport {DHCPV6_SERVER} accept")
    table.add("INPUT", f"ip6 saddr fe80::/10 udp dport {DHCPV6_CLIENT} accept")
    table.add("INPUT", lan, _DNS, "accept")
    table.add("INPUT", lan, ports_to("tcp", port_ranges(plan.settings.proxy_ports)), "accept")
    if plan.settings.intercept == "redirect":
        table.add("INPUT", lan, _intercept_ports(plan), "accept")
    elif plan.settings.intercept == "tproxy":
        table.add("INPUT", f"meta l4proto tcp {_MARKED} accept")
    if plan.settings.admin_ports:
        table.add("INPUT", ports_to("tcp", port_ranges(plan.settings.admin_ports)), "accept")


def _let_out(plan: Plan, table: Table) -> None:
    """What is forwarded, whatever else is dropped: DNS, and what the policy's rules let through."""
    table.add("FORWARD", f"icmpv6 type {one_of(ICMPV6_ERRORS)} accept")
    lan, out = _lan(plan), f"oifname {interface(plan.settings.wan)}" if plan.settings.wan else ""
    table.add("FORWARD", lan, out, _DNS, "accept")
    for step in plan.passes:
        table.remark("FORWARD", about(step.rule))
        for target, destination in _each(step):
            for match in table.between(step.clients, destination, f"IMH-rule-{step.number}", f"IMH-{target.key}"):
                table.add("FORWARD", lan, out, match, "accept")


# ---- interception ---------------------------------------------------------------------------------------------------


def _redirect(plan: Plan, table: Table) -> None:
    if plan.settings.intercept == "redirect":
        table.hook("PREROUTING", "type nat hook prerouting priority dstnat")
        _spare(plan, table)
        for port, squid in plan.intercepted:
            table.add("IMH-PREROUTING", f"tcp dport {port} redirect to :{squid}")


def _masquerade(plan: Plan, table: Table) -> None:
    if plan.settings.masquerade:
        table.hook("POSTROUTING", "type nat hook postrouting priority srcnat")
        table.add("IMH-POSTROUTING", f"oifname {interface(plan.settings.wan)} meta nfproto ipv4 masquerade")


def _tproxy(plan: Plan, table: Table) -> None:
    if plan.settings.intercept == "tproxy":
        table.hook("PREROUTING", "type filter hook prerouting priority mangle")
        table.open("IMH-PREROUTING")
        table.remark("IMH-PREROUTING", "What belongs to a connection of Squid's, that with a server included.")
        table.add("IMH-PREROUTING", "meta l4proto tcp socket wildcard 0 socket transparent 1 jump IMH-divert")
        table.add("IMH-divert", _SET_MARK, "accept")
        _spare(plan, table)
        for port, squid in plan.intercepted:
            table.add("IMH-PREROUTING", f"tcp dport {port} tproxy to :{squid} {_SET_MARK} accept")


def _spare(plan: Plan, table: Table) -> None:
    """What is not intercepted: what does not come from the LAN, exempt clients, and what is for the router itself."""
    chain = "IMH-PREROUTING"
    table.add(chain, f"iifname != {interface(plan.settings.lan)} return")
    if not plan.settings.intercept_exempt:
        for match in table.between(plan.exempt, ANYWHERE, "IMH-exempt"):
            table.add(chain, match, "return")
    table.add(chain, "fib daddr type local return")
    if plan.settings.encrypted_dns == "reject":
        table.remark(chain, "DNS over HTTPS is refused where it is forwarded.")
        refused = Destination(resolvers(), "tcp", ((HTTPS, HTTPS),))
        for match in table.between(None, refused, "", "IMH-resolvers"):
            table.add(chain, match, "return")


def _intercept_ports(plan: Plan) -> str:
    return ports_to("tcp", port_ranges(port for _, port in plan.intercepted))


# ---- parts ----------------------------------------------------------------------------------------------------------


def _lan(plan: Plan) -> str:
    return f"iifname {interface(plan.settings.lan)}" if plan.settings.lan else ""


def _log(target: Target) -> str:
    return f'limit rate {LOG_RATE}/minute burst {LOG_BURST} packets log prefix "{target.log_prefix}"'


def _each(step: Step) -> Iterator[tuple[Target, Destination]]:
    for target in step.targets:
        for destination in target.destinations:
            yield target, destination


_CHAINS: Final = (_forward, _messengers, _bypass, _limits, _input, _stance, _redirect, _masquerade, _tproxy)
