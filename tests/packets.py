"""What happens to a packet, told twice: by a policy's rules, slowly, and by the text for iptables-restore.

The first half knows nothing of plans, steps or chains. The second knows nothing of policies: it walks chains as the
kernel does, and stops at every word that it does not know.
"""

import ipaddress
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from squid_imhelper.base.model import Kind, Policy, Rule, SiteList
from squid_imhelper.sources.catalogue import Catalogue

LAN: Final = "eth1"
WAN: Final = "eth0"


class Packet(NamedTuple):
    """A packet that is forwarded, or comes to the router, with what conntrack and the sockets know of it.

    `flag` is the one flag of TCP that is set, or the type of an ICMP message; `over` means that its source sends more
    than any limit lets it.
    """

    source: str
    destination: str
    protocol: str = "tcp"
    port: int = 0
    came_by: str = LAN
    leaves_by: str = WAN
    state: str = "NEW"
    direction: str = "ORIGINAL"
    flag: str = "SYN"
    mark: int = 0
    local: bool = False
    transparent: bool = False
    over: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return ipaddress.ip_address(self.destination).version


# ---- by the rules of a policy ---------------------------------------------------------------------------------------


def fates(policy: Policy, catalogue: Catalogue, packet: Packet) -> set[str]:
    """Returns what the policy may want of a packet: "block", "allow", "monitor" or "" for what nothing names.

    What a router cannot see may be so or not; with one answer, it does not matter.
    """
    found = set()
    for rule in policy.rules:
        holds = rule_holds(rule, policy, catalogue, packet)
        if holds is not False:
            found.add(str(rule.action))
        if holds:
            return found
    return found | {""}


def decided(policy: Policy, catalogue: Catalogue, packet: Packet) -> str:
    """The action of the first rule that surely holds, and "" where none does."""
    for rule in policy.rules:
        if rule_holds(rule, policy, catalogue, packet):
            return str(rule.action)
    return ""


def rule_holds(rule: Rule, policy: Policy, catalogue: Catalogue, packet: Packet) -> bool | None:
    """Whether a rule holds for a packet; None is unknown."""
    hidden = rule.users is not None or rule.user_agents is not None
    timed = rule.schedules is not None or rule.start is not None or rule.end is not None
    always = {"always": True, "never": False, "refuse": None}[policy.firewall.schedules]
    answers = [
        rule.firewall,
        rule.clients is None or any(inside(packet.source, interval) for interval in rule.clients),
        None if hidden else True,
        True if not timed else always if rule.action == "block" else None,
        rule.services is None or any(service_fits(id_, rule, catalogue, packet) for id_ in rule.services),
        rule.sites is None or any_of([site_fits(policy.sites[name], packet) for name in rule.sites]),
        opposite(any_of([site_fits(policy.sites[name], packet) for name in rule.except_sites])),
    ]
    return opposite(any_of([opposite(answer) for answer in answers]))


def any_of(answers: list[bool | None]) -> bool | None:
    """True if one is, else unknown if one is."""
    return True if True in answers else None if None in answers else False


def opposite(answer: bool | None) -> bool | None:
    """Not what it is; the opposite of unknown is unknown."""
    return None if answer is None else not answer


def service_fits(id_: str, rule: Rule, catalogue: Catalogue, packet: Packet) -> bool:
    """Whether a signature that counts for a rule fits a packet, or a UDP port does."""
    service = catalogue.services[id_]
    counting = [s for s in service.signatures if s.flag == "" or s.flag in rule.include]
    return (
        any(in_network(packet.destination, s.value) for s in counting if s.kind is Kind.NETWORK)
        or (packet.protocol == "tcp" and any(s.kind is Kind.PORT and int(s.value) == packet.port for s in counting))
        or (packet.protocol == "udp" and packet.port in service.udp_ports)
    )


def site_fits(site: SiteList, packet: Packet) -> bool | None:
    """Whether a packet goes to a site list; unknown if it may by a name."""
    if any(inside(packet.destination, interval) for interval in site.networks):
        return True
    if packet.protocol == "tcp" and packet.port in site.ports:
        return True
    return None if site.domains or site.hosts or site.urls or site.regex else False


def inside(address: str, interval: tuple[int, int, int]) -> bool:
    """Whether an address is from the first to the last one."""
    version, first, last = interval
    parsed = ipaddress.ip_address(address)
    return parsed.version == version and first <= int(parsed) <= last


def in_network(address: str, network: str) -> bool:
    """Whether an address is in a CIDR, which has no host bits."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


# ---- by the text for iptables-restore -------------------------------------------------------------------------------

MAX_CHAIN_NAME: Final = 28  # xt_entry: XT_EXTENSION_MAXNAMELEN, with the final zero
MAX_MULTIPORT: Final = 15
VERDICTS: Final = {"ACCEPT", "DROP", "REJECT", "RETURN", "REDIRECT", "MASQUERADE", "TPROXY"}
GO_ON: Final = {"LOG", "MARK"}
MODULES: Final = {"conntrack", "limit", "hashlimit", "multiport", "mark", "addrtype", "socket"}
OF_TARGET: Final = {"--log-prefix", "--reject-with", "--to-ports", "--on-port", "--tproxy-mark", "--set-xmark"}
OF_LIMIT: Final = {"--limit", "--limit-burst", "--hashlimit-burst", "--hashlimit-mode", "--hashlimit-name"}


@dataclass
class RestoreTable:
    """A table as it was read: policies of the built-in chains that are declared, and the rules of every chain."""

    policies: dict[str, str] = field(default_factory=dict)
    chains: dict[str, list[list[str]]] = field(default_factory=dict)


class Journey(NamedTuple):
    """What became of a packet, the chain in which it was decided ("" for a policy), and prefixes of lines logged."""

    verdict: str
    chain: str
    logged: tuple[str, ...]


def read_restore(text: str) -> dict[str, RestoreTable]:
    """Reads a text as -restore does; what it would refuse is an AssertionError."""
    tables: dict[str, RestoreTable] = {}
    table: RestoreTable | None = None
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("#"):
            continue
        if line.startswith("*"):
            assert table is None, "COMMIT is missing"
            assert line[1:] not in tables
            table = tables[line[1:]] = RestoreTable()
            continue
        assert table is not None, f"outside of a table: {line}"
        if line == "COMMIT":
            table = None
        elif line.startswith(":"):
            declare(table, line)
        else:
            words = shlex.split(line)
            assert words[0] == "-A", line
            if words[1] not in table.chains:
                assert not words[1].startswith("IMH-"), f"not declared: {line}"
                table.chains[words[1]] = []
            table.chains[words[1]].append(words[2:])
    assert table is None, "COMMIT is missing"
    return tables


def declare(table: RestoreTable, line: str) -> None:
    """Notes a chain and its policy."""
    name, policy, _counters = line[1:].split(" ")
    assert name not in table.chains, f"declared twice: {line}"
    assert len(name) <= MAX_CHAIN_NAME
    assert (policy == "-") == name.startswith("IMH-")
    table.chains[name] = []
    if policy != "-":
        table.policies[name] = policy


def travel(table: RestoreTable, chain: str, packet: Packet) -> Journey:
    """Sends a packet through a built-in chain."""
    logged: list[str] = []
    decided = walk(table, chain, packet, logged)
    verdict, where = decided if decided else (table.policies.get(chain, "ACCEPT"), "")
    return Journey(verdict, where, tuple(logged))


def walk(table: RestoreTable, chain: str, packet: Packet, logged: list[str]) -> tuple[str, str] | None:
    """Sends a packet through a chain; None if it comes out at the end."""
    for words in table.chains[chain]:
        matches, options = fits(words, packet)
        target = options["-j"]
        if not matches:
            assert target in VERDICTS | GO_ON | set(table.chains), target
        elif target == "RETURN":
            return None
        elif target in VERDICTS:
            return target, chain
        elif target == "LOG":
            logged.append(options["--log-prefix"])
        elif target != "MARK" and (decided := walk(table, target, packet, logged)):
            return decided
    return None


def fits(words: list[str], packet: Packet) -> tuple[bool, dict[str, str]]:
    """Whether a rule is for a packet, and its options."""
    options: dict[str, str] = {}
    answer = True
    for negated, option, value in options_of(words):
        assert option == "-m" or option not in options, f"twice: {words}"
        options[option] = value
        if option == "-m":
            assert value in MODULES, words
        elif option not in OF_TARGET | OF_LIMIT | {"-j"}:
            answer &= option_fits(option, value, packet) is not negated
    return answer, options


def options_of(words: list[str]) -> Iterator[tuple[bool, str, str]]:
    """Yields whether an option is negated, its word, and its value."""
    rest = list(words)
    while rest:
        negated = rest[0] == "!"
        option = rest.pop(1 if negated else 0)
        del rest[: int(negated)]
        count = {"--syn": 0, "--transparent": 0, "--tcp-flags": 2}.get(option, 1)
        values, rest = rest[:count], rest[count:]
        assert len(values) == count, words
        yield negated, option, " ".join(values)


def option_fits(option: str, value: str, packet: Packet) -> bool:
    """Whether one match is for a packet."""
    answers = {
        "-s": lambda: in_network(packet.source, value),
        "-d": lambda: in_network(packet.destination, value),
        "-p": lambda: value == packet.protocol,
        "-i": lambda: value == packet.came_by,
        "-o": lambda: value == packet.leaves_by,
        "--dport": lambda: port_fits(value, packet.port),
        "--dports": lambda: ports_fit(value, packet.port),
        "--ctstate": lambda: packet.state in value.split(","),
        "--ctdir": lambda: packet.direction == value,
        "--syn": lambda: packet.flag == "SYN",
        "--tcp-flags": lambda: packet.flag in value.split(" ")[1],
        "--icmp-type": lambda: value == packet.flag,
        "--icmpv6-type": lambda: value == packet.flag,
        "--hashlimit-above": lambda: packet.over,
        "--mark": lambda: mark_fits(value, packet.mark),
        "--dst-type": lambda: packet.local,
        "--transparent": lambda: packet.transparent,
    }
    return answers[option]()


def port_fits(value: str, port: int) -> bool:
    """Whether a port is one, or in a range."""
    first, _, last = value.partition(":")
    assert 0 < int(first) <= int(last or first) <= 65535
    return int(first) <= port <= int(last or first)


def ports_fit(value: str, port: int) -> bool:
    """Whether a port is one of several, which are as many as a match holds at most."""
    several = value.split(",")
    assert len(several) + sum(":" in one for one in several) <= MAX_MULTIPORT
    return any(port_fits(one, port) for one in several)


def mark_fits(value: str, mark: int) -> bool:
    """Whether the masked mark is the wanted one."""
    wanted, _, mask = value.partition("/")
    return mark & int(mask, 16) == int(wanted, 16)
