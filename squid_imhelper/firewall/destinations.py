"""Where packets go, as a firewall sees it: addresses and ports, of services and of site lists."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import Flag, Interval, Kind, Service, SiteList

Protocol = Literal["", "tcp", "udp"]
Family = Literal[4, 6]
"""IPv4 or IPv6."""
PortRange = tuple[int, int]
"""Ports from one to another, both included."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Packets to some addresses, to some ports of a protocol, or both.

    `networks` is None for any address. Without a protocol there are no ports, and every packet will do.
    """

    networks: tuple[Interval, ...] | None = None
    protocol: Protocol = ""
    ports: tuple[PortRange, ...] = ()


ANYWHERE: Final = Destination()
DEFAULT: Final[tuple[Flag, ...]] = ("",)
"""The flag of what counts by itself."""


def destinations_of(service: Service, flags: Collection[Flag] = DEFAULT) -> tuple[Destination, ...]:
    """What a service is told by on a firewall, by its signatures with one of these flags."""
    counting = [s for s in service.signatures if s.flag in flags]
    networks = merge(parse_interval(s.value)[0] for s in counting if s.kind is Kind.NETWORK)
    tcp = port_ranges(int(s.value) for s in counting if s.kind is Kind.PORT)
    udp = port_ranges(service.udp_ports if "" in flags else ())
    found = (Destination(networks), Destination(protocol="tcp", ports=tcp), Destination(protocol="udp", ports=udp))
    return tuple(d for d in found if d.networks or d.ports)


def destinations_of_site(site: SiteList) -> tuple[Destination, ...]:
    """What of a site list a firewall can tell; ports are those of TCP, as Squid sees them."""
    found = (Destination(merge(site.networks)), Destination(protocol="tcp", ports=port_ranges(site.ports)))
    return tuple(d for d in found if d.networks or d.ports)


def has_names(site: SiteList) -> bool:
    """Whether a site list has what only HTTP shows."""
    return bool(site.domains or site.hosts or site.urls or site.regex)


def intersection(first: Destination, second: Destination) -> Destination | None:
    """The packets that go to both, or None."""
    networks = _common(first.networks, second.networks)
    if networks is not None and not networks:
        return None
    if not first.protocol or not second.protocol:
        return replace(first if first.protocol else second, networks=networks)
    ports = port_ranges(set(each_port(first.ports)) & set(each_port(second.ports)))
    if first.protocol != second.protocol or not ports:
        return None
    return Destination(networks, first.protocol, ports)


def overlap(first: tuple[Interval, ...] | None, second: tuple[Interval, ...] | None) -> bool:
    """Whether an address can be in both; None is any."""
    common = _common(first, second)
    return common is None or bool(common)


def without_ports(destination: Destination, seen: set[tuple[str, int]]) -> Destination | None:
    """The same without ports that have been seen, which the others join; None if nothing is left."""
    if destination.networks is not None or not destination.protocol:
        return destination
    ports = {port for port in each_port(destination.ports) if (destination.protocol, port) not in seen}
    seen |= {(destination.protocol, port) for port in ports}
    return replace(destination, ports=port_ranges(ports)) if ports else None


def port_ranges(ports: Iterable[int]) -> tuple[PortRange, ...]:
    """The same ports as sorted ranges that do not touch."""
    ranges: list[PortRange] = []
    for port in sorted(set(ports)):
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1] = (ranges[-1][0], port)
        else:
            ranges.append((port, port))
    return tuple(ranges)


def each_port(ranges: Iterable[PortRange]) -> Iterator[int]:
    """Yields every port of some ranges."""
    for first, last in ranges:
        yield from range(first, last + 1)


def _common(first: tuple[Interval, ...] | None, second: tuple[Interval, ...] | None) -> tuple[Interval, ...] | None:
    """The addresses in both, None being any: one walk over the two, as they are sorted and do not overlap."""
    if first is None or second is None:
        return second if first is None else first
    found: list[Interval] = []
    one = two = 0
    while one < len(first) and two < len(second):
        start, end = max(first[one][:2], second[two][:2]), min(_end(first[one]), _end(second[two]))
        if start <= end:
            found.append((*start, end[1]))
        if _end(first[one]) <= _end(second[two]):
            one += 1
        else:
            two += 1
    return tuple(found)


def _end(interval: Interval) -> tuple[int, int]:
    return interval[0], interval[2]
