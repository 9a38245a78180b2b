"""Commands that make the kernel forget connections: those that a rule set blocks, or now brings to Squid."""

from collections.abc import Iterator
from itertools import product
from typing import Final

from squid_imhelper.firewall.bypass import ways_around
from squid_imhelper.firewall.destinations import Destination, Family, each_port
from squid_imhelper.firewall.plan import Clients, Plan
from squid_imhelper.firewall.restore import cidrs
from squid_imhelper.firewall.wellknown import HTTP, HTTPS

_MOST_CLIENTS: Final = 16
"""Where a rule is for more, everybody's connections are forgotten: a command for each would take minutes."""
_NAMES: Final[dict[Family, str]] = {4: "ipv4", 6: "ipv6"}


def render(plan: Plan, families: tuple[Family, ...]) -> str:
    """Returns a command a line. One that finds nothing to forget says so and exits with 1.

    None can spare anybody: what exempt clients have open is forgotten too, which ends it where it is masqueraded.
    """
    commands = [command for family in families for command in _commands(plan, family)]
    return "".join(f"{command}\n" for command in dict.fromkeys(commands))


def _commands(plan: Plan, family: Family) -> Iterator[str]:
    for step in plan.blocks:
        for target in step.targets:
            for destination in target.destinations:
                yield from _forget(family, step.clients, destination)
    for way in ways_around(plan):
        yield from _forget(family, None, way.destination)
    if plan.settings.intercept != "no":
        web = Destination(None, "tcp", ((HTTP, HTTP), (HTTPS, HTTPS)))
        yield from _forget(family, None, web)


def _forget(family: Family, clients: Clients, destination: Destination) -> Iterator[str]:
    sources = [""] if clients is None else [f" -s {source}" for source in cidrs(clients, family)]
    if len(sources) > _MOST_CLIENTS:
        sources = [""]
    networks = [""]
    if destination.networks is not None:
        networks = [f" -d {network}" for network in cidrs(destination.networks, family)]
    ports = [f" -p {destination.protocol} --dport {port}" for port in each_port(destination.ports)] or [""]
    for parts in product(sources, networks, ports):
        yield f"conntrack -D -f {_NAMES[family]}{''.join(parts)}"
