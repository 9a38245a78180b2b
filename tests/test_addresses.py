"""Addresses and ports as people write them: what is meant is read, what cannot be meant is refused in a sentence."""

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.addresses import (
    as_number,
    embedded_ipv4,
    leading_bits,
    merge,
    parse_interval,
    parse_network,
    parse_ports,
)


def interval(first, last):
    ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
    return ends[0].version, int(ends[0]), int(ends[1])


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        pytest.param("10.0.0.1", "10.0.0.1", "10.0.0.1", id="address"),
        pytest.param(" 10.0.0.1 ", "10.0.0.1", "10.0.0.1", id="blanks"),
        pytest.param("192.168.1.0/24", "192.168.1.0", "192.168.1.255", id="cidr"),
        pytest.param("192.168.1.0/255.255.255.0", "192.168.1.0", "192.168.1.255", id="netmask"),
        pytest.param("10.0.0.1/32", "10.0.0.1", "10.0.0.1", id="one-address-network"),
        pytest.param("0.0.0.0/0", "0.0.0.0", "255.255.255.255", id="everything"),
        pytest.param("192.168.2.10-192.168.2.20", "192.168.2.10", "192.168.2.20", id="range"),
        pytest.param("192.168.2.10 - 192.168.2.20", "192.168.2.10", "192.168.2.20", id="range-with-blanks"),
        pytest.param("10.0.0.1-10.0.0.1", "10.0.0.1", "10.0.0.1", id="range-of-one"),
        pytest.param("2001:db8:1::/48", "2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff", id="ipv6-cidr"),
        pytest.param("2001:DB8::1", "2001:db8::1", "2001:db8::1", id="ipv6"),
        pytest.param("fd00::1-fd00::9", "fd00::1", "fd00::9", id="ipv6-range"),
        pytest.param("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1", id="mapped"),
        pytest.param("::ffff:10.0.0.1-::ffff:10.0.0.9", "10.0.0.1", "10.0.0.9", id="mapped-range"),
        pytest.param("::ffff:10.0.0.0/120", "10.0.0.0", "10.0.0.255", id="mapped-network"),
    ],
)
def test_an_interval_is_read(text, first, last):
    """A client is known by its shortest address, IPv4 inside IPv6 by the IPv4 one: a policy must mean the same."""
    assert parse_interval(text) == (interval(first, last), "")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("64.12.25.0/22", "64.12.24.0/22"),
        ("192.168.1.7/255.255.255.0", "192.168.1.0/24"),
        ("2001:db8::1/64", "2001:db8::/64"),
    ],
)
def test_host_bits_are_cleared_and_noted(text, network):
    found, note = parse_interval(text)
    network = ipaddress.ip_network(network)
    assert found == interval(network[0], network[-1])
    assert str(network) in note
    assert text in note


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "/24",
        "10.0.0.1-",
        "-10.0.0.1",
        "10.0.0.9-10.0.0.1",
        "10.0.0.1-fd00::1",
        "10.0.0.1-10.0.0.5-10.0.0.9",
        "10.0.0.0/24-10.0.0.9",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/255.0.255.0",
        "fd00::/129",
        "10.0.0",
        "10.0.0.256",
        "010.0.0.1",
        "10.0.0.1%24",
        "[10.0.0.1",
        "example.org",
        "10.0.0.0/24/24",
    ],
)
def test_what_is_no_interval_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match=r"is no |runs ") as caught:
        parse_interval(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "fd00::/8", "10.0.0.1", "192.168.0.0/255.255.0.0"])
def test_a_network_is_read(text):
    assert parse_network(text) == ipaddress.ip_network(text)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "fd00::1/8", "10.0.0.1-10.0.0.2", "x", ""])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match="'"):
        parse_network(text)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(5190, (5190,), id="integer"),
        pytest.param("5190", (5190,), id="text"),
        pytest.param("6660-6662", (6660, 6661, 6662), id="range"),
        pytest.param("80-80", (80,), id="range-of-one"),
        pytest.param(1, (1,), id="first"),
        pytest.param(65535, (65535,), id="last"),
    ],
)
def test_ports_are_read(item, expected):
    assert parse_ports(item) == expected


@pytest.mark.parametrize(
    "item",
    [
        0,
        -1,
        65536,
        "",
        "-",
        "80-",
        "-80",
        "x",
        "1.5",
        "0x50",
        "\u0661",
        "90-80",
        "1-2-3",
        "80 ",
        "0000065536",
        "1000080",
    ],
)
def test_what_is_no_port_is_refused(item):
    with pytest.raises(ValueError, match=r"is no port|runs backwards"):
        parse_ports(item)


@pytest.mark.parametrize(
    ("given_intervals", "merged"),
    [
        pytest.param([], (), id="none"),
        pytest.param([(4, 5, 9)], ((4, 5, 9),), id="one"),
        pytest.param([(4, 5, 9), (4, 1, 3)], ((4, 1, 3), (4, 5, 9)), id="apart"),
        pytest.param([(4, 1, 3), (4, 4, 9)], ((4, 1, 9),), id="touching"),
        pytest.param([(4, 1, 9), (4, 2, 3)], ((4, 1, 9),), id="inside"),
        pytest.param([(4, 1, 5), (4, 3, 9), (4, 9, 9)], ((4, 1, 9),), id="overlapping"),
        pytest.param([(6, 1, 3), (4, 1, 9), (6, 4, 9)], ((4, 1, 9), (6, 1, 9)), id="two-families"),
        pytest.param([(4, 0, 2**32 - 1), (6, 0, 1)], ((4, 0, 2**32 - 1), (6, 0, 1)), id="the-end-of-one"),
    ],
)
def test_intervals_are_merged(given_intervals, merged):
    assert merge(given_intervals) == merged


_intervals = st.builds(
    lambda version, first, size: (version, first, first + size),
    st.sampled_from([4, 6]),
    st.integers(0, 60),
    st.integers(0, 12),
)


@given(st.lists(_intervals))
def test_merging_keeps_every_address_and_adds_none(intervals):
    def addresses(of):
        return {(version, n) for version, first, last in of for n in range(first, last + 1)}

    merged = merge(intervals)
    assert addresses(merged) == addresses(intervals)
    assert merge(merged) == merged
    assert all(a[0] < b[0] or a[2] + 1 < b[1] for a, b in pairwise(merged))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0.0.0.1", (4, 1)),
        ("::1", (6, 1)),
        ("FD00::0", (6, 0xFD << 120)),
        ("", (0, 0)),
        ("h", (0, 0)),
        ("1.2.3", (0, 0)),
    ],
)
def test_an_address_is_a_number(address, expected):
    assert as_number(address) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("64:ff9b::9596:a732", "149.150.167.50"),
        ("2002:959a:a732::", "149.154.167.50"),
        ("::ffff:0:149.154.167.50", "149.154.167.50"),
        ("::149.154.167.50", "149.154.167.50"),
        ("::1", ""),
        ("::", ""),
        ("2001:db8::1", ""),
        ("10.0.0.1", ""),
        ("a.example", ""),
    ],
)
def test_an_ipv4_address_inside_of_an_ipv6_address_is_found(address: str, expected: str) -> None:
    assert embedded_ipv4(address) == expected


ALMOST_ADDRESSES = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{0,4}){2,4}", fullmatch=True),
    st.from_regex(r"[0-9a-fA-F:.%]{1,12}", fullmatch=True),
    st.text("0123456789.:\u0663\u00b2 +-_", max_size=12),
)


@given(ALMOST_ADDRESSES)
def test_numbers_are_those_that_python_reads(text):
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        assert as_number(text) == (0, 0)
    else:
        assert as_number(text) == (parsed.version, int(parsed))


@given(st.ip_addresses(), st.integers(0, 128), st.booleans())
def test_leading_bits_are_those_of_the_network(address, length, exploded):
    network = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    assert leading_bits(network.exploded if exploded else str(network)) == (network.version, network.prefixlen, bits)


@pytest.mark.parametrize("text", ["10.0.0.0/255.0.0.0", "10.0.0.1", "::ffff:10.0.0.0/120", "1::/16", "::/0"])
def test_leading_bits_of_other_spellings(text):
    network = ipaddress.ip_network(text)
    bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    assert leading_bits(text) == (network.version, network.prefixlen, bits)
