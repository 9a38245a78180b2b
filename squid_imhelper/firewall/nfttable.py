"""A table as `nft -f` reads it: sets, chains and matches.

Names begin with `IMH-`, so that none of them is a word of nft's. Addresses stand in a set where there are many.
"""

import ipaddress
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from squid_imhelper.base.model import Interval
from squid_imhelper.firewall.destinations import Destination, Family, PortRange
from squid_imhelper.firewall.plan import Clients
from squid_imhelper.firewall.remarks import printable

TABLE: Final = "inet squid_imhelper"

_FEW: Final = 4
"""Addresses that are written into a rule; more of them are a set."""
_SOURCES: Final = 65536
"""Sources that a limit counts at once; who comes above that is not limited."""
_FORGET: Final = "1m"
_WIDTH: Final = 112


@dataclass(frozen=True, slots=True)
class _FamilyWords:
    """How a family of addresses is called in a match and as the type of a set."""

    word: str
    type: str


FAMILIES: Final[dict[Family, _FamilyWords]] = {4: _FamilyWords("ip", "ipv4_addr"), 6: _FamilyWords("ip6", "ipv6_addr")}


class Table:
    """A table that is being written."""

    def __init__(self) -> None:
        self.stances: dict[str, str] = {}
        self._sets: dict[str, list[str]] = {}
        self._set_names: dict[tuple[Interval, ...], str] = {}
        self._hooks: dict[str, str] = {}
        self._chains: dict[str, list[str]] = {}
        self._base: dict[str, list[str]] = {}

    def hook(self, chain: str, where: str) -> None:
        """Makes a chain through which packets go by themselves; it jumps to the one of ours that is called after it."""
        self._hooks[chain] = where
        self._base[chain] = []

    def open(self, *chains: str) -> None:
        """Makes chains of ours, in this order."""
        for chain in chains:
            self._chains.setdefault(chain, [])

    def add(self, chain: str, *parts: str) -> None:
        """Appends a rule to a chain."""
        self._rules(chain).append(_joined(*parts))

    def remark(self, chain: str, *texts: str) -> None:
        """Appends comments."""
        self._rules(chain).extend(f"# {printable(text)}" for text in texts)

    def between(self, clients: Clients, to: Destination, from_name: str, to_name: str = "") -> Iterator[str]:
        """Yields matches for packets from clients to a destination: one for each family that both have.

        Where neither names an address, one match does for both families. The names are for sets.
        """
        ports = ports_to(to.protocol, to.ports) if to.protocol else ""
        if clients is None and to.networks is None:
            yield ports
            return
        for family in FAMILIES:
            source = self._address("saddr", clients, family, from_name)
            destination = self._address("daddr", to.networks, family, to_name)
            if source is not None and destination is not None:
                yield _joined(source, destination, ports)

    def counting_set(self, name: str, family: Family) -> str:
        """Makes a set of sources that rules fill, and returns its name."""
        name = f"{name}-v{family}"
        kind = FAMILIES[family].type
        self._sets[name] = [f"type {kind}", f"size {_SOURCES}", "flags dynamic, timeout", f"timeout {_FORGET}"]
        return name

    def lines(self, *, chains_only: bool) -> Iterator[str]:
        """Yields the whole transaction."""
        yield from (f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{")
        for name, content in self._sets.items():
            yield from _block(f"set {name}", content)
        for chain, where in self._hooks.items():
            policy = "accept" if chains_only else self.stances.get(chain, "accept")
            rules = [] if chains_only else self._base[chain]
            yield from _block(f"chain {chain}", [f"{where}; policy {policy};", f"jump IMH-{chain}", *rules])
        for chain, rules in self._chains.items():
            yield from _block(f"chain {chain}", rules)
        yield "}"

    def _rules(self, chain: str) -> list[str]:
        return self._base[chain] if chain in self._base else self._chains.setdefault(chain, [])

    def _address(self, side: str, intervals: Clients, family: Family, name: str) -> str | None:
        """The match for addresses; empty for any, None where none is of this family."""
        if intervals is None:
            return ""
        found = tuple(interval for interval in intervals if interval[0] == family)
        if not found:
            return None
        if len(found) > _FEW:
            value = f"@{self._set_of(found, family, name)}"
        else:
            value = one_of([_text(interval) for interval in found])
        return f"{FAMILIES[family].word} {side} {value}"

    def _set_of(self, intervals: tuple[Interval, ...], family: Family, name: str) -> str:
        """Returns the name of the set that holds these addresses; the same ones are the same set, whoever asks."""
        if intervals not in self._set_names:
            wanted = f"{name}-v{family}"
            unused = wanted
            number = 1
            while unused in self._sets:
                number += 1
                unused = f"{wanted}-{number}"
            elements = textwrap.wrap(
                ", ".join(map(_text, intervals)) + " }",
                _WIDTH,
                initial_indent="elements = { ",
                subsequent_indent="    ",
            )
            self._set_names[intervals] = unused
            self._sets[unused] = [f"type {FAMILIES[family].type}", "flags interval", "auto-merge", *elements]
        return self._set_names[intervals]


def ports_to(protocol: str, ports: Iterable[PortRange]) -> str:
    """The match for a protocol and some of its ports."""
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in ports]
    return f"{protocol} dport {one_of(texts)}"


def one_of(texts: Sequence[str | int]) -> str:
    """A value, or several of them in braces."""
    return str(texts[0]) if len(texts) == 1 else f"{{ {', '.join(map(str, texts))} }}"


def interface(name: str) -> str:
    """The name of an interface; what ends in + for iptables ends in * for nft."""
    return f'"{name[:-1]}*"' if name.endswith("+") else f'"{name}"'


def _block(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"\t{title} {{"
    yield from (f"\t\t{line}" for line in lines)
    yield "\t}"


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _text(interval: Interval) -> str:
    """An address, a network, or a range of addresses."""
    version, first, last = interval
    make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    if first == last:
        return str(make(first))
    networks = list(ipaddress.summarize_address_range(make(first), make(last)))
    return str(networks[0]) if len(networks) == 1 else f"{make(first)}-{make(last)}"
