"""A router that drops what nothing lets through, and what it must let through all the same, with a Squid on it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from hosts import Host, echoes, serving
from lab import (
    CLIENT,
    CLIENT6,
    EXEMPT_FIRST,
    FAR,
    FAR6,
    NARROW,
    NEWS,
    NEWS6,
    PROXY,
    ROUTER,
    ROUTER6,
    WAN,
    WAN6,
    Lab,
    Rules,
    laboratory,
    squid_on,
    why_no_lab,
)
from probes import (
    ANSWERED,
    LONG,
    PATIENCE,
    SILENT,
    Connection,
    Listener,
    broadcast,
    expect,
    get,
    is_told,
    multicast,
    ping,
    tcp,
    udp,
)
from real_squid import Network, Squid

pytestmark = [pytest.mark.root, pytest.mark.squid, pytest.mark.skipif(why_no_lab() != "", reason=why_no_lab())]

RULES = (
    EXEMPT_FIRST
    + """
[[rule]]
name = "no messengers"
services = ["all"]
action = "block"
"""
)
DROP = RULES + '\n[firewall]\nwan = "eth0"\nlan = "eth1"\ndefault = "drop"\nadmin_ports = [22]\n'

OUTSIDE = [*tcp((22, 80, 443, 5222, 7777), NEWS, NEWS6), *udp((443, 7777), NEWS, NEWS6)]
"""What is behind the router, and nobody's sign."""
ON_THE_ROUTER = [*tcp((2222,), ROUTER, ROUTER6), *udp((7777,), ROUTER, ROUTER6)]
"""What the router has besides, and is for nobody."""
DNS = [*udp((53,), ROUTER, ROUTER6, NEWS, NEWS6), *tcp((53,), ROUTER, ROUTER6)]


@pytest.fixture(scope="module")
def lab(network: Network) -> Iterator[Lab]:
    with ExitStack() as stack:
        built = stack.enter_context(laboratory(network.folder))
        stack.enter_context(serving(built.router, lambda: echoes((22, 53, 2222), (53, 7777))))
        stack.enter_context(serving(built.client, lambda: echoes((7777,), (7777,))))
        yield built


@pytest.fixture(scope="module")
def squid(lab: Lab) -> Iterator[Squid]:
    with squid_on(lab, RULES) as running:
        yield running


def test_the_lan_reaches_the_router_for_what_it_needs_and_nothing_else(rules: Rules, lab: Lab, squid: Squid) -> None:
    rules.stop(lab.client, OUTSIDE + ON_THE_ROUTER, DROP, SILENT)
    expect(lab.client, DNS + tcp((22, PROXY), ROUTER, ROUTER6), ANSWERED)


def test_the_exempt_host_goes_out(rules: Rules, lab: Lab) -> None:
    rules.stop(lab.exempt, ON_THE_ROUTER, DROP, SILENT)
    expect(lab.exempt, OUTSIDE + DNS, ANSWERED)


def test_nobody_outside_comes_in_but_to_administer(rules: Rules, lab: Lab, squid: Squid) -> None:
    inside = [*tcp((7777,), CLIENT, CLIENT6), *udp((7777,), CLIENT, CLIENT6)]
    router = [*tcp((53, 2222, PROXY), WAN, WAN6), *udp((53, 7777), WAN, WAN6)]
    rules.stop(lab.servers, inside + router, DROP, SILENT)
    expect(lab.servers, tcp((22,), WAN, WAN6), ANSWERED)


@pytest.mark.parametrize(("target", "target6"), [(ROUTER, ROUTER6), (NEWS, NEWS6)], ids=["router", "server"])
def test_what_is_established_goes_on(rules: Rules, lab: Lab, target: str, target6: str) -> None:
    rules.load(DROP)  # the kernel follows connections only where a rule asks for it
    with closing(Connection(lab.exempt, target, 22)) as one, closing(Connection(lab.exempt, target6, 22)) as other:
        rules.load(DROP.replace("[22]", "[2022]").replace("1.16", "1.17").replace("::16", "::17"))
        assert (one.alive(), other.alive()) == (ANSWERED, ANSWERED)
        expect(lab.exempt, tcp((22,), target, target6), SILENT)


def test_the_router_talks_to_itself_and_goes_out(rules: Rules, lab: Lab) -> None:
    rules.load(DROP)
    expect(lab.router, [*tcp((2222,), "127.0.0.1", "::1"), *udp((7777,), "127.0.0.1", "::1")], ANSWERED)
    expect(lab.router, OUTSIDE + udp((53,), NEWS, NEWS6), ANSWERED)


@pytest.mark.parametrize("proxy", [ROUTER, ROUTER6])
def test_squid_and_its_helper_work(rules: Rules, lab: Lab, squid: Squid, proxy: str) -> None:
    rules.load(DROP)
    page = get(lab.client, "http://news.example/", proxy, PROXY)
    assert page.startswith("HTTP/1.1 200 ")
    assert page.endswith((f" for {WAN}", f" for {WAN6}"))
    assert get(lab.client, "http://www.meebo.com/", proxy, PROXY).startswith("HTTP/1.1 403 ")
    assert squid.log()[-1][-2:] == ["meebo", "no%20messengers"]


def test_squid_can_be_started_behind_the_rules(rules: Rules, lab: Lab) -> None:
    rules.load(DROP + f"proxy_ports = [{PROXY}, 8080]\n")
    with squid_on(lab, RULES, port=8080) as squid:
        assert get(lab.client, "http://www.meebo.com/", ROUTER6, 8080).startswith("HTTP/1.1 403 ")
        assert squid.log()[-1][-2:] == ["meebo", "no%20messengers"]


def test_neighbours_find_each_other(rules: Rules, lab: Lab) -> None:
    rules.load(DROP)
    for host in (lab.client, lab.exempt, lab.router, lab.servers):
        host.ip("neigh flush all")
    expect(lab.client, tcp((22,), ROUTER, ROUTER6), ANSWERED)
    expect(lab.exempt, tcp((7777,), NEWS, NEWS6), ANSWERED)


@pytest.mark.parametrize("address", [FAR, FAR6])
def test_the_path_may_be_narrower_than_the_link(rules: Rules, lab: Lab, address: str) -> None:
    rules.load(DROP)
    flag = "-6" if ":" in address else "-4"
    lab.exempt.run("ip", flag, "route", "flush", "cache")
    assert "mtu" not in lab.exempt.run("ip", flag, "route", "get", address)
    with closing(Connection(lab.exempt, address, 7777)) as connection:
        assert connection.carries(1 << 18)
    assert f"mtu {NARROW}" in lab.exempt.run("ip", flag, "route", "get", address)


def test_packet_too_big_reaches_the_router_whoever_sends_it(rules: Rules, lab: Lab) -> None:
    rules.load(DROP)
    assert is_told(lab.router, lab.servers, WAN6)


def test_pings_are_answered(rules: Rules, lab: Lab) -> None:
    rules.load(DROP)
    assert [ping(lab.client, address, 3) for address in (ROUTER, ROUTER6)] == [3, 3]


@pytest.mark.parametrize(
    ("ask", "port"), [pytest.param(broadcast, 67, id="DHCP"), pytest.param(multicast, 547, id="DHCPv6")]
)
def test_addresses_are_handed_out(rules: Rules, lab: Lab, ask: Callable[[Host, int], None], port: int) -> None:
    with closing(Listener(lab.router, port)) as listener, closing(Listener(lab.router, 2000)) as other:
        assert listener.hears(ask, lab.client, LONG)
        assert other.hears(ask, lab.client, LONG)
        rules.load(DROP)
        assert listener.hears(ask, lab.client, LONG)
        assert not other.hears(ask, lab.client, PATIENCE)
