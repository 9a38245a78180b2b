"""Tables as `-restore` reads them: matches for addresses and ports, and what stands where."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import MAX_MULTIPORT, ports_fit

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import FirewallSettings, Interval
from squid_imhelper.firewall.destinations import ANYWHERE, Destination, Family, port_ranges
from squid_imhelper.firewall.restore import Table, cidrs, quoted


def table(name: str = "filter", family: Family = 4) -> Table:
    return Table(name, family, FirewallSettings(lan="eth1"))


def intervals(*words: str) -> tuple[Interval, ...]:
    return merge(parse_interval(word)[0] for word in words)


CIDRS = [
    pytest.param(["192.0.2.1"], ["192.0.2.1/32"], id="address"),
    pytest.param(["192.0.2.0/24"], ["192.0.2.0/24"], id="network"),
    pytest.param(["192.168.1.20-192.168.1.29"], ["192.168.1.20/30", "192.168.1.24/30", "192.168.1.28/31"], id="range"),
    pytest.param(["192.0.2.0/25", "192.0.2.128/25"], ["192.0.2.0/24"], id="neighbours"),
    pytest.param(["0.0.0.0/0", "::1"], ["0.0.0.0/0"], id="all"),
    pytest.param(["2001:db8::/32"], [], id="nothing-of-this-family"),
    pytest.param([], [], id="nobody"),
]


@pytest.mark.parametrize(("words", "expected"), CIDRS)
def test_addresses_become_networks_of_a_family(words: list[str], expected: list[str]) -> None:
    assert list(cidrs(intervals(*words), 4)) == expected


def test_the_other_family_has_its_own() -> None:
    words = ["192.0.2.1", "2001:db8::1", "2001:db8:1::/64"]
    assert list(cidrs(intervals(*words), 6)) == ["2001:db8::1/128", "2001:db8:1::/64"]


@given(ends=st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2).map(sorted))
def test_a_range_of_addresses_is_the_same_as_networks(ends: list[int]) -> None:
    found = [ipaddress.IPv4Network(text) for text in cidrs([(4, ends[0], ends[1])], 4)]
    assert sum(network.num_addresses for network in found) == ends[1] - ends[0] + 1
    assert (int(found[0][0]), int(found[-1][-1])) == (ends[0], ends[1])


def test_nobody_is_no_match_and_everybody_is_the_empty_one() -> None:
    """One empty match is a rule for all packets; no match is no rule."""
    assert table().sources(None) == [""]
    assert table().sources(()) == []
    assert table().sources(intervals("2001:db8::1")) == []
    assert table(family=6).sources(intervals("2001:db8::1")) == ["-s 2001:db8::1/128"]


TO = [
    pytest.param(ANYWHERE, [""], id="anywhere"),
    pytest.param(Destination(intervals("192.0.2.0/24")), ["-d 192.0.2.0/24"], id="network"),
    pytest.param(Destination(intervals("::1")), [], id="nothing-of-this-family"),
    pytest.param(Destination(None, "tcp", ((80, 80),)), ["-p tcp --dport 80"], id="port"),
    pytest.param(Destination(None, "udp", ((80, 90),)), ["-p udp --dport 80:90"], id="range"),
    pytest.param(Destination(None, "tcp", ((80, 80), (90, 99))), ["-p tcp -m multiport --dports 80,90:99"], id="ports"),
    pytest.param(
        Destination(intervals("192.0.2.1", "192.0.2.3"), "tcp", ((80, 80),)),
        ["-d 192.0.2.1/32 -p tcp --dport 80", "-d 192.0.2.3/32 -p tcp --dport 80"],
        id="both",
    ),
]


@pytest.mark.parametrize(("destination", "expected"), TO)
def test_matches_for_a_destination(destination: Destination, expected: list[str]) -> None:
    assert table().to(destination) == expected


@given(ports=st.frozensets(st.integers(1, 65535) | st.integers(1, 60), min_size=1, max_size=60))
def test_ports_are_in_one_match_and_each_match_has_room(ports: frozenset[int]) -> None:
    matches = table().to(Destination(None, "tcp", port_ranges(ports)))
    values = [match.rpartition(" ")[2] for match in matches]
    for port in ports | {port + 1 for port in ports}:
        assert sum(ports_fit(value, port) for value in values) == (port in ports)
    if len(values) > 1:
        assert all(len(value.replace(":", ",").split(",")) >= MAX_MULTIPORT - 1 for value in values[:-1])


def test_a_table_without_chains_of_ours_is_not_written() -> None:
    assert list(table().lines(chains_only=False)) == []
    assert list(table("nat").lines(chains_only=True)) == []


def written() -> Table:
    made = table()
    made.open("IMH-FORWARD")
    made.add("FORWARD", "-o eth0", "", "-j ACCEPT")
    made.add("IMH-x", "-j DROP")
    made.add("IMH-FORWARD", "-j IMH-x")
    made.remark("IMH-x", "one", "two")
    made.stances = {"FORWARD": "DROP"}
    return made


def test_the_whole_table() -> None:
    assert list(written().lines(chains_only=False)) == [
        "*filter", ":INPUT ACCEPT [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]",
        ":IMH-FORWARD - [0:0]", ":IMH-x - [0:0]",
        "-A FORWARD -j IMH-FORWARD", "-A FORWARD -o eth0 -j ACCEPT",
        "-A IMH-FORWARD -j IMH-x", "-A IMH-x -j DROP", "# one", "# two", "COMMIT",
    ]  # fmt: skip


def test_only_what_is_ours() -> None:
    assert list(written().lines(chains_only=True)) == [
        "*filter", ":IMH-FORWARD - [0:0]", ":IMH-x - [0:0]", "-A FORWARD -j IMH-FORWARD",
        "-A IMH-FORWARD -j IMH-x", "-A IMH-x -j DROP", "# one", "# two", "COMMIT",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["a\n-A FORWARD -j ACCEPT", "a\r-A x", "a\u2028b", "\0", "x" * 11_000 + "-A FORWARD -j ACCEPT"]
)
def test_a_comment_is_one_line_that_restore_reads_whole(text: str) -> None:
    made = table()
    made.remark("IMH-x", text)
    (line,) = (line for line in made.lines(chains_only=True) if line.startswith("#"))
    assert line.isprintable()
    assert len(line) < 1000


def test_a_prefix_is_quoted_with_its_blank() -> None:
    assert quoted("MESSENGER MSN > ") == '"MESSENGER MSN > "'


def test_a_table_knows_its_chains() -> None:
    made = written()
    assert "IMH-x" in made
    assert "IMH-y" not in made
