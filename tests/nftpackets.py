"""What happens to a packet, by the text for nft: it walks chains as the kernel does, and stops at unknown words."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from packets import Journey, Packet, inside, mark_fits

from squid_imhelper.base.addresses import parse_interval

TYPES: Final = {4: "ip", 6: "ip6"}
ECHO: Final = {"icmp": "echo-request", "ipv6-icmp": "128"}
VALUE: Final = r"(\{ .*? \}|@\S+|\S+)"


@dataclass
class NftTable:
    """A table as it was read: the first word of each chain that packets go through by themselves, chains, and sets."""

    policies: dict[str, str] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, list[str]] = field(default_factory=dict)


def read_nft(text: str) -> NftTable:
    """Reads a text as `nft -f` does; what does not belong there is an AssertionError."""
    lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    name = "table inet squid_imhelper"
    assert lines[:3] == [name, f"delete {name}", f"{name} {{"]
    assert lines[-1] == "}"
    table = NftTable()
    inner: list[str] = []
    for line in lines[3:-1]:
        if title := re.fullmatch(r"(chain|set) ([A-Za-z][\w-]*) {", line):
            kind = table.chains if title[1] == "chain" else table.sets
            assert title[2] not in kind, f"declared twice: {line}"
            inner = kind[title[2]] = []
        elif hook := re.fullmatch(r"type (?:filter|nat) hook \w+ priority \w+; policy (accept|drop);", line):
            table.policies[next(reversed(table.chains))] = hook[1].upper()
        elif line != "}":
            inner.append(line)
    return table


def travel(table: NftTable, chain: str, packet: Packet) -> Journey:
    """Sends a packet through a chain; what comes out at the end meets its policy, if it has one."""
    logged: list[str] = []
    decided = walk(table, chain, packet, logged)
    verdict, where = decided if decided else (table.policies.get(chain, "ACCEPT"), "")
    return Journey(verdict, where, tuple(logged))


def walk(table: NftTable, chain: str, packet: Packet, logged: list[str]) -> tuple[str, str] | None:
    """Sends a packet through a chain; None if it comes out at the end."""
    for rule in table.chains[chain]:
        matches, action = fits(table, rule, packet)
        kind, _, rest = action.partition(" ")
        assert kind != "jump" or rest in table.chains, rule
        if not matches or kind == "mark":
            continue
        if kind == "return":
            return None
        if kind == "log":
            logged.append(rest)
        elif kind == "jump":
            if decided := walk(table, rest, packet, logged):
                return decided
        else:
            return kind.upper(), chain
    return None


def fits(table: NftTable, rule: str, packet: Packet) -> tuple[bool, str]:
    """Whether a rule is for a packet, and what it does then."""
    rest, answer = rule, True
    while True:
        for pattern, action in ACTIONS:
            if found := re.fullmatch(pattern, rest):
                return answer, found.expand(action)
        for pattern, holds in MATCHES:
            if found := re.match(pattern + " ", rest):
                answer &= holds(table, packet, found[1])
                rest = rest[found.end() :]
                break
        else:
            raise AssertionError(f"unknown words: {rest}")


def elements(table: NftTable, value: str) -> list[str]:
    """The texts of one value, of several in braces, or of a set."""
    if value.startswith("@"):
        value = " ".join(table.sets[value[1:]]).partition("elements = ")[2]
    return [text.strip() for text in value.strip("{} ").split(",")]


def address_fits(table: NftTable, packet: Packet, words: str) -> bool:
    """Whether `ip daddr @set` is the packet's destination."""
    family, side, value = words.split(" ", 2)
    if value.startswith("@"):
        assert f"type {'ipv4_addr' if family == 'ip' else 'ipv6_addr'}" in table.sets[value[1:]]
    address = packet.source if side == "saddr" else packet.destination
    intervals = [parse_interval(text)[0] for text in elements(table, value)]
    assert {TYPES[version] for version, _, _ in intervals} == {family}
    return any(inside(address, interval) for interval in intervals)


def port_in(table: NftTable, value: str, packet: Packet) -> bool:
    """Whether a port is one of some ports and ranges."""
    ranges = [text.partition("-") for text in elements(table, value)]
    return any(int(first) <= packet.port <= int(last or first) for first, _, last in ranges)


def is_flag(packet: Packet, flag: str) -> bool:
    """Whether a segment has this flag."""
    return packet.protocol == "tcp" and packet.flag == flag


def is_type6(table: NftTable, packet: Packet, value: str) -> bool:
    """Whether a message of ICMPv6 has one of these types."""
    return packet.protocol == "ipv6-icmp" and packet.flag in elements(table, value)


def of_family(table: NftTable, packet: Packet, words: str) -> bool:
    """Whether a packet can be counted in a set: of its own family, in a set that is declared as such."""
    name, _, family, _ = words.removeprefix("@").split(" ")
    assert f"type {'ipv4_addr' if family == 'ip' else 'ipv6_addr'}" in table.sets[name]
    return TYPES[packet.family] == family


ACTIONS: Final = [
    (r"(?:meta mark set meta mark \| 0x100 )?(accept|drop|return)", r"\1"),
    (r"(jump \S+)", r"\1"),
    (r"limit rate \d+/minute burst \d+ packets log prefix \"([^\"$]*)\"", r"log \1"),
    (r"reject with (?:tcp reset|icmpx port-unreachable)", "reject"),
    (r"redirect to :\d+", "redirect"),
    (r"masquerade", "masquerade"),
    (r"tproxy to :\d+ meta mark set meta mark \| 0x100 accept", "tproxy"),
]

MATCHES: Final[list[tuple[str, Callable[[NftTable, Packet, str], bool]]]] = [
    (r'iifname "(\S+)"', lambda _, packet, name: packet.came_by == name),
    (r'iifname != "(\S+)"', lambda _, packet, name: packet.came_by != name),
    (r'oifname "(\S+)"', lambda _, packet, name: packet.leaves_by == name),
    (rf"(ip6? [sd]addr {VALUE})", address_fits),
    (rf"tcp dport {VALUE}", lambda table, packet, value: packet.protocol == "tcp" and port_in(table, value, packet)),
    (rf"udp dport {VALUE}", lambda table, packet, value: packet.protocol == "udp" and port_in(table, value, packet)),
    (rf"th dport {VALUE}", lambda table, packet, value: port_in(table, value, packet)),
    (rf"meta l4proto {VALUE}", lambda table, packet, value: packet.protocol in elements(table, value)),
    (r"meta nfproto ipv(\d)", lambda _, packet, version: packet.family == int(version)),
    (r"ct state (\S+)", lambda _, packet, states: packet.state.lower() in states.split(",")),
    (r"ct direction (\w+)", lambda _, packet, direction: packet.direction.lower() == direction),
    (r"ct status & (dnat) == 0", lambda _, packet, __: packet.state != "DNAT"),
    (r"meta mark & (0x\w+) == 0x\w+", lambda _, packet, mark: mark_fits(f"{mark}/{mark}", packet.mark)),
    (r"socket wildcard 0 socket (transparent) 1", lambda _, packet, __: packet.transparent),
    (r"fib daddr type (local)", lambda _, packet, __: packet.local),
    (r"tcp flags & \(fin \| syn \| rst \| ack\) == (syn)", lambda _, packet, __: is_flag(packet, "SYN")),
    (r"tcp flags & rst == (rst)", lambda _, packet, __: is_flag(packet, "RST")),
    (r"icmp type (echo-request)", lambda _, packet, name: packet.protocol == "icmp" and packet.flag == name),
    (r"icmpv6 type (echo-request)", lambda _, packet, __: packet.protocol == "ipv6-icmp" and packet.flag == "128"),
    (rf"icmpv6 type {VALUE}", is_type6),
    (
        r"update (@IMH-\w+-v\d { ip6? saddr) limit rate over \d+/second burst \d+ packets }",
        lambda table, packet, words: of_family(table, packet, words) and packet.over,
    ),
]
