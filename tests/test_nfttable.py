"""Matches, sets and chains as nft reads them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import Interval
from squid_imhelper.firewall.destinations import ANYWHERE, Destination, Protocol
from squid_imhelper.firewall.nfttable import Table, interface, one_of, ports_to

MSN = Destination(None, "tcp", ((1863, 1863),))


def addresses(*texts: str) -> tuple[Interval, ...]:
    return merge(parse_interval(text)[0] for text in texts)


BETWEEN = [
    pytest.param(None, ANYWHERE, [""], id="everything"),
    pytest.param(None, MSN, ["tcp dport 1863"], id="a port, for both families"),
    pytest.param((), ANYWHERE, [], id="nobody is not anybody"),
    pytest.param((), MSN, [], id="nobody goes to no port"),
    pytest.param(None, Destination(()), [], id="nowhere is not everywhere"),
    pytest.param(addresses("10.0.0.1"), ANYWHERE, ["ip saddr 10.0.0.1"], id="a client"),
    pytest.param(addresses("2001:db8::1"), MSN, ["ip6 saddr 2001:db8::1 tcp dport 1863"], id="a client of IPv6"),
    pytest.param(
        addresses("10.0.0.1", "2001:db8::1"), ANYWHERE,
        ["ip saddr 10.0.0.1", "ip6 saddr 2001:db8::1"], id="both families",
    ),
    pytest.param(
        addresses("10.0.0.1"), Destination(addresses("2001:db8::/32")), [], id="of different families, there is nothing"
    ),
    pytest.param(
        addresses("10.0.0.1"), Destination(addresses("192.0.2.0/24", "2001:db8::/32")),
        ["ip saddr 10.0.0.1 ip daddr 192.0.2.0/24"], id="the family that both have",
    ),
    pytest.param(
        None, Destination(addresses("192.0.2.0/24"), "udp", ((1, 3), (5, 5))),
        ["ip daddr 192.0.2.0/24 udp dport { 1-3, 5 }"], id="networks and ports",
    ),
    pytest.param(addresses("10.0.0.1-10.0.0.3"), ANYWHERE, ["ip saddr 10.0.0.1-10.0.0.3"], id="a range"),
    pytest.param(addresses("0.0.0.0/0"), ANYWHERE, ["ip saddr 0.0.0.0/0"], id="all of IPv4"),
    pytest.param(
        addresses("10.0.0.1", "10.0.0.3", "10.0.0.5", "10.0.0.7"), ANYWHERE,
        ["ip saddr { 10.0.0.1, 10.0.0.3, 10.0.0.5, 10.0.0.7 }"], id="few stand in the rule",
    ),
    pytest.param(
        addresses("10.0.0.1", "10.0.0.3", "10.0.0.5", "10.0.0.7", "10.0.0.9", "::1"), ANYWHERE,
        ["ip saddr @from-v4", "ip6 saddr ::1"], id="many are a set",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("clients", "to", "expected"), BETWEEN)
def test_between(clients: tuple[Interval, ...] | None, to: Destination, expected: list[str]) -> None:
    assert list(Table().between(clients, to, "from", "to")) == expected


@given(
    st.lists(
        st.tuples(st.sampled_from([4, 6]), st.integers(0, 2**32 - 1), st.integers(0, 300)), min_size=1, max_size=30
    )
)
def test_a_set_holds_these_addresses_and_no_others(parts: list[tuple[int, int, int]]) -> None:
    intervals = merge((version, first, min(first + more, 2**32 - 1)) for version, first, more in parts)
    table = Table()
    matches = list(table.between(intervals, ANYWHERE, "x"))
    text = " ".join(line.strip() for line in (*matches, *table.lines(chains_only=True)))
    words = text.replace("{", " ").replace("}", " ").replace(",", " ").split()
    found = merge(parse_interval(word)[0] for word in words if _is_address(word))
    assert found == intervals


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word.partition("-")[0].partition("/")[0])
    except ValueError:
        return False
    return True


def test_long_sets_go_on_in_the_next_line() -> None:
    table = Table()
    many = addresses(*(f"10.0.{number}.1" for number in range(100)))
    assert list(table.between(many, ANYWHERE, "x")) == ["ip saddr @x-v4"]
    lines = list(table.lines(chains_only=True))
    assert max(map(len, lines)) < 120
    assert sum(line.count("10.0.") for line in lines) == 100
    assert lines[-2:] == ["\t}", "}"]
    assert lines[-3].endswith(" }")


PORTS = [
    pytest.param("tcp", [(80, 80)], "tcp dport 80", id="one"),
    pytest.param("udp", [(5000, 5010)], "udp dport 5000-5010", id="a range"),
    pytest.param("tcp", [(80, 80), (443, 443), (6660, 6669)], "tcp dport { 80, 443, 6660-6669 }", id="several"),
]


@pytest.mark.parametrize(("protocol", "ports", "expected"), PORTS)
def test_ports(protocol: Protocol, ports: list[tuple[int, int]], expected: str) -> None:
    assert ports_to(protocol, ports) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("eth0", '"eth0"'), ("ppp+", '"ppp*"'), ("br-lan.5", '"br-lan.5"'), ("vlan@2", '"vlan@2"')]
)
def test_interface(name: str, expected: str) -> None:
    assert interface(name) == expected


def test_one_of() -> None:
    assert one_of([1]) == "1"
    assert one_of([1, "2-3"]) == "{ 1, 2-3 }"


def small() -> Table:
    table = Table()
    table.hook("INPUT", "type filter hook input priority filter")
    table.stances = {"INPUT": "drop"}
    table.open("IMH-INPUT")
    table.add("INPUT", "ct state established", "accept")
    table.remark("IMH-INPUT", "two\nlines")
    table.add("IMH-INPUT", "", "tcp dport 22", "", "accept")
    table.counting_set("IMH-syn", 6)
    return table


def test_lines() -> None:
    assert "\n".join(small().lines(chains_only=False)).split("\n") == [
        "table inet squid_imhelper",
        "delete table inet squid_imhelper",
        "table inet squid_imhelper {",
        "\tset IMH-syn-v6 {",
        "\t\ttype ipv6_addr",
        "\t\tsize 65536",
        "\t\tflags dynamic, timeout",
        "\t\ttimeout 1m",
        "\t}",
        "\tchain INPUT {",
        "\t\ttype filter hook input priority filter; policy drop;",
        "\t\tjump IMH-INPUT",
        "\t\tct state established accept",
        "\t}",
        "\tchain IMH-INPUT {",
        "\t\t# two?lines",
        "\t\ttcp dport 22 accept",
        "\t}",
        "}",
    ]


def test_without_a_stance_there_is_a_jump_and_nothing_else() -> None:
    lines = list(small().lines(chains_only=True))
    start = lines.index("\tchain INPUT {")
    assert lines[start + 1 : start + 4] == [
        "\t\ttype filter hook input priority filter; policy accept;",
        "\t\tjump IMH-INPUT",
        "\t}",
    ]
