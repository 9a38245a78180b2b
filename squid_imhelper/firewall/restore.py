"""Tables as `iptables-restore` and `ip6tables-restore` read them, and the matches that both know.

All that is ours stands in chains of our own, `IMH-...`, to which a built-in chain has one jump. Whole tables have what
the built-in chains need besides; without that, the chains and their jumps go into a router that has rules already.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

from squid_imhelper.base.model import FirewallSettings, Interval
from squid_imhelper.firewall.destinations import Destination, Family, PortRange
from squid_imhelper.firewall.plan import Clients
from squid_imhelper.firewall.remarks import printable

BUILT_IN: Final = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
}
_MAX_MULTIPORT: Final = 15  # xt_multiport.h; a range counts for two
_MAX_COMMENT: Final = 500  # -restore cuts lines after 10 KB, and would read the rest of a comment as a rule


class Table:
    """A table that is being written: our chains, and what the built-in ones need besides."""

    def __init__(self, name: str, family: Family, settings: FirewallSettings) -> None:
        self.name = name
        self.family = family
        self.lan = f"-i {settings.lan}" if settings.lan else ""
        self.stances: dict[str, str] = {}
        self._chains: dict[str, list[str]] = {}
        self._base: list[str] = []

    def __contains__(self, chain: str) -> bool:
        return chain in self._chains

    def open(self, *chains: str) -> None:
        """Makes chains of ours, in this order."""
        for chain in chains:
            self._chains.setdefault(chain, [])

    def add(self, chain: str, *parts: str) -> None:
        """Appends a rule to a chain, of ours or built in."""
        rules = self._base if chain in BUILT_IN[self.name] else self._chains.setdefault(chain, [])
        rules.append(_rule(chain, *parts))

    def remark(self, chain: str, *texts: str) -> None:
        """Appends comments."""
        rules = self._base if chain in BUILT_IN[self.name] else self._chains.setdefault(chain, [])
        rules.extend(f"# {printable(text[:_MAX_COMMENT])}" for text in texts)

    def lines(self, *, chains_only: bool) -> Iterator[str]:
        """Yields the table, or only what is ours in it; nothing if there is nothing."""
        if not self._chains:
            return
        yield f"*{self.name}"
        if not chains_only:
            yield from (f":{chain} {self.stances.get(chain, 'ACCEPT')} [0:0]" for chain in BUILT_IN[self.name])
        yield from (f":{chain} - [0:0]" for chain in self._chains)
        yield from (_rule(chain, f"-j IMH-{chain}") for chain in BUILT_IN[self.name] if f"IMH-{chain}" in self)
        if not chains_only:
            yield from self._base
        for rules in self._chains.values():
            yield from rules
        yield "COMMIT"

    def sources(self, clients: Clients) -> list[str]:
        """The matches for clients, one of which holds; none where no client is of this family."""
        return [""] if clients is None else [f"-s {network}" for network in cidrs(clients, self.family)]

    def to(self, destination: Destination) -> list[str]:
        """The matches for a destination, one of which holds; none where nothing of it is of this family."""
        networks = [""]
        if destination.networks is not None:
            networks = [f"-d {network}" for network in cidrs(destination.networks, self.family)]
        return [_joined(network, ports) for network, ports in product(networks, _ports(destination))]


def quoted(text: str) -> str:
    """A text as `-restore` reads it back."""
    return f'"{text}"'


def _rule(chain: str, *parts: str) -> str:
    return _joined("-A", chain, *parts)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def cidrs(intervals: Iterable[Interval], family: Family) -> Iterator[str]:
    """Yields the networks of a family that make up the same addresses."""
    address = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
    for version, first, last in intervals:
        if version == family:
            yield from map(str, ipaddress.summarize_address_range(address(first), address(last)))


def _ports(destination: Destination) -> list[str]:
    """The matches for protocol and ports, as many as it takes."""
    if not destination.protocol:
        return [""]
    if len(destination.ports) == 1:
        return [f"-p {destination.protocol} --dport {_range(destination.ports[0])}"]
    return [
        f"-p {destination.protocol} -m multiport --dports {','.join(map(_range, ports))}"
        for ports in _groups(destination.ports)
    ]


def _groups(ports: Iterable[PortRange]) -> Iterator[list[PortRange]]:
    """Yields the ports in groups that fit into a match."""
    group: list[PortRange] = []
    room = _MAX_MULTIPORT
    for first, last in ports:
        size = 1 if first == last else 2
        if size > room:
            yield group
            group, room = [], _MAX_MULTIPORT
        group.append((first, last))
        room -= size
    if group:
        yield group


def _range(ports: PortRange) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}:{last}"
