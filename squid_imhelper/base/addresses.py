"""IP addresses as a policy and the catalogue write them: single ones, CIDRs, netmasks and ranges, IPv4 and IPv6."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from squid_imhelper.base.memo import memoised
from squid_imhelper.base.model import Interval
from squid_imhelper.base.urls import ipv4_number, normalise_address

if TYPE_CHECKING:
    import ipaddress

MAX_PORT: Final = 65535
_MAPPED_BITS: Final = 96  # of ::ffff:0:0/96, in which IPv4 addresses stand

_SITE_PREFIX: Final = {4: 24, 6: 48}
_PORT_DIGITS: Final = 5
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_ALL_IPV4: Final = 0xFFFFFFFF
_SIX_TO_FOUR: Final = 0x2002
_LOOPBACK: Final = 1  # `::1`, which is no IPv4 address, and neither is `::`
_IPV4_BEHIND: Final = (0x64FF9B << 64, 0xFFFF << 16, 0)  # 64:ff9b::/96, ::ffff:0:0:0/96, ::/96


def parse_interval(text: str) -> tuple[Interval, str]:
    """Reads `a.b.c.d`, `a.b.c.d/24`, `a.b.c.d/255.255.255.0` or `first-last`, and the same for IPv6.

    Returns:
        The addresses, and a note where host bits were set and have been cleared ("" else).

    Raises:
        ValueError: it is none of these; the message is a sentence.
    """
    import ipaddress

    first_text, dash, last_text = (part.strip() for part in text.partition("-"))
    if dash:
        first, last = _address(first_text), _address(last_text)
        if first.version != last.version:
            raise ValueError(f"'{text}' runs from IPv{first.version} to IPv{last.version}")
        if int(first) > int(last):
            raise ValueError(f"'{text}' runs backwards")
        return (first.version, int(first), int(last)), ""
    if "/" not in text:
        address = _address(text.strip())
        return (address.version, int(address), int(address)), ""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"'{text}' is no network") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= _MAPPED_BITS:
        network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - _MAPPED_BITS}")
    given = normalise_address(text.partition("/")[0].strip())
    note = "" if given == str(network.network_address) else f"'{text}' has host bits set and is taken as {network}"
    return (network.version, int(network.network_address), int(network.broadcast_address)), note


def parse_network(text: str) -> "ipaddress.IPv4Network | ipaddress.IPv6Network":
    """Reads a CIDR without host bits.

    Raises:
        ValueError: it is none; the message is a sentence.
    """
    import ipaddress  # here and below: a helper that meets IPv4 only does without

    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    interval, note = parse_interval(text)
    raise ValueError(note or f"'{text}' is no CIDR (IPv{interval[0]})")


def leading_bits(network: str) -> tuple[int, int, int]:
    """Returns (4 or 6, prefix length, so many leading bits as a number) of a CIDR that `parse_network` has accepted."""
    address, _, length = network.partition("/")
    for version, bits, number in ((4, 32, ipv4_number(address)), (6, 128, _ipv6_number(address))):
        if number is not None and length.isdecimal() and int(length) <= bits:
            return version, int(length), number >> bits - int(length)
    parsed = parse_network(network)
    return parsed.version, parsed.prefixlen, int(parsed.network_address) >> parsed.max_prefixlen - parsed.prefixlen


def _ipv6_number(text: str) -> int | None:
    """The number of an IPv6 address of nothing but groups; None for any other, be it one or none."""
    before, gap, behind = text.partition("::")
    first, last = before.split(":") if before else [], behind.split(":") if behind else []
    groups = [*first, *["0"] * (8 - len(first) - len(last) if gap else 0), *last]
    plain = len(groups) == 8 and all(len(group) <= 4 and set(group) <= _HEX and group for group in groups)
    return int("".join(group.zfill(4) for group in groups), 16) if plain else None


def parse_ports(item: str | int) -> tuple[int, ...]:
    """Reads a port, or a range of them as `"6660-6669"`.

    Raises:
        ValueError: it is none; the message is a sentence.
    """
    first, dash, last = str(item).partition("-")
    ends = (first, last if dash else first)
    if not all(
        end.isascii() and end.isdigit() and len(end) <= _PORT_DIGITS and 0 < int(end) <= MAX_PORT for end in ends
    ):
        raise ValueError(f"'{item}' is no port and no range of ports")
    if int(ends[0]) > int(ends[1]):
        raise ValueError(f"'{item}' runs backwards")
    return tuple(range(int(ends[0]), int(ends[1]) + 1))


def merge(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Returns the same addresses as sorted intervals that neither overlap nor touch."""
    merged: list[Interval] = []
    for version, first, last in sorted(intervals):
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            merged[-1] = (version, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((version, first, last))
    return tuple(merged)


@memoised
def as_number(address: str) -> tuple[int, int]:
    """Returns (4 or 6, number) of an address in any spelling; (0, 0) for what is none."""
    number = ipv4_number(address)
    if number is not None:
        return 4, number
    if ":" not in address:
        return 0, 0
    import ipaddress

    try:
        return 6, int(ipaddress.IPv6Address(address))
    except ValueError:
        return 0, 0


def embedded_ipv4(address: str) -> str:
    """Returns the IPv4 address to which an IPv6 one leads, or "".

    NAT64 (RFC 6052, 64:ff9b::/96), 6to4 (RFC 3056), IPv4-translated and -compatible (RFC 2765, RFC 4291).
    """
    if ":" not in address:
        return ""
    import ipaddress

    number = as_number(address)[1]
    if number >> 112 == _SIX_TO_FOUR:
        return str(ipaddress.IPv4Address(number >> 80 & _ALL_IPV4))
    if number >> 32 in _IPV4_BEHIND and number & _ALL_IPV4 > _LOOPBACK:
        return str(ipaddress.IPv4Address(number & _ALL_IPV4))
    return ""


def client_network(address: str) -> str:
    """Returns the network of a client that tells the site and not the person: /24, or /48 for IPv6."""
    import ipaddress

    version, _ = as_number(address)
    return str(ipaddress.ip_network(f"{address.partition('%')[0]}/{_SITE_PREFIX[version]}", strict=False))


def _address(text: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address":
    import ipaddress

    normal = normalise_address(text)
    if normal is None or "[" in text or "%" in text:
        raise ValueError(f"'{text}' is no IP address")
    return ipaddress.ip_address(normal)
