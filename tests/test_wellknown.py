"""Numbers: they are what they are called, and lists are in an order that every back end can use."""

import ipaddress
from pathlib import Path

import pytest

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.firewall import wellknown
from squid_imhelper.firewall.wellknown import (
    CALLS,
    ICMPV6_ERRORS,
    ICMPV6_NEIGHBOURS,
    ICMPV6_PING,
    MARK,
    QUIC,
    RESOLVERS,
)

PROJECT = Path(__file__).resolve().parent.parent


def test_resolvers_are_networks_without_host_bits_and_each_is_there_once() -> None:
    networks = [ipaddress.ip_network(text) for text in RESOLVERS]
    assert len(set(networks)) == len(networks)
    assert all(network.is_global for network in networks)
    intervals = [parse_interval(text)[0] for text in RESOLVERS]
    assert sum(last - first + 1 for _, first, last in merge(intervals)) == sum(n.num_addresses for n in networks)


def test_ports_are_sorted_ranges() -> None:
    for ranges in (CALLS, QUIC):
        ends = [port for pair in ranges for port in pair]
        assert ends == sorted(ends)


def test_what_ipv6_needs_is_in_one_list_only() -> None:
    assert {1, 2, 3, 4} == set(ICMPV6_ERRORS)
    assert {133, 134, 135, 136} <= set(ICMPV6_NEIGHBOURS)
    assert not {ICMPV6_PING, *ICMPV6_ERRORS} & set(ICMPV6_NEIGHBOURS)


def test_the_mark_is_one_bit() -> None:
    assert MARK & (MARK - 1) == 0 < MARK


@pytest.mark.parametrize("page", ["conf/iptables-bootstrap.sh", "docs/network.md"])
def test_who_routes_what_is_marked_knows_the_mark(page: str) -> None:
    assert f"fwmark {MARK:#x}/{MARK:#x} lookup" in (PROJECT / page).read_text(encoding="utf-8")


def test_the_rate_of_the_log_has_a_burst() -> None:
    assert (wellknown.LOG_RATE, wellknown.LOG_BURST) == (10, 5)
