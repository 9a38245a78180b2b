"""Rules in a router between two clients and the servers, by each back end: what arrives with them and without."""

import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from lab import (
    AIM,
    CLIENT,
    EXEMPT_FIRST,
    MSN,
    NEWS,
    NEWS6,
    RESOLVER,
    RESOLVER6,
    TELEGRAM,
    TELEGRAM6,
    WAN,
    YAHOO,
    Lab,
    Rules,
    laboratory,
    why_no_lab,
)
from probes import (
    ANSWERED,
    REFUSED,
    SILENT,
    Connection,
    Probe,
    connect_many,
    connect_many_here,
    expect,
    get,
    ping,
    reset_many,
    tcp,
    udp,
)
from real_squid import CONF, Network

pytestmark = [pytest.mark.root, pytest.mark.skipif(why_no_lab() != "", reason=why_no_lab())]

RECIPE = CONF / "recipe-2006.toml"
ROUTER = '\n[firewall]\nwan = "eth0"\nlan = "eth1"\n'
NO_MESSENGERS = """
[[rule]]
name = "no messengers"
services = ["msn_messenger", "aim", "yahoo_messenger", "telegram", "viber"]
action = "block"
"""
POLICY = EXEMPT_FIRST + NO_MESSENGERS + ROUTER

NATIVE = [
    *tcp((1863, 5050, 5190, 5242), NEWS, NEWS6),
    *udp((5242,), NEWS, NEWS6),
    *tcp((80, 443, 5222, 7777), TELEGRAM, TELEGRAM6),
    *udp((443, 7777), TELEGRAM, TELEGRAM6),
]
"""What only a messenger does: the ports of four, and the networks of the fifth, on whatever port."""
ORDINARY = [
    *tcp((22, 25, 80, 443, 5222, 7777), NEWS, NEWS6),
    *udp((53, 443, 3478, 7777), NEWS, NEWS6),
    *tcp((443, 853), RESOLVER, RESOLVER6),
    *tcp((80, 443, 7777), MSN, AIM),
]
"""What is nobody's sign, or was one long ago."""


@pytest.fixture(scope="module")
def lab(network: Network) -> Iterator[Lab]:
    with laboratory(network.folder) as built:
        yield built


# What is blocked, and for whom


def test_messengers_are_stopped_and_nothing_else(rules: Rules, lab: Lab) -> None:
    rules.stop(lab.client, NATIVE, POLICY, SILENT)
    expect(lab.exempt, NATIVE, ANSWERED)
    expect(lab.client, ORDINARY, ANSWERED)


SECTIONS = {
    "msn": tcp((1863,), NEWS),
    "aim-icq": [*tcp((5190,), NEWS), *tcp((80, 443, 7777), AIM)],
    "yahoo": [*tcp((5050,), NEWS), *tcp((80, 443, 7777), YAHOO)],
}
"""What each section of the recipe stops, but for the exempt host; docs/network.md has the same rows."""


@pytest.mark.parametrize("section", SECTIONS)
def test_the_recipe_of_2006(rules: Rules, lab: Lab, section: str) -> None:
    rules.stop(lab.client, SECTIONS[section], RECIPE, SILENT)
    expect(lab.exempt, SECTIONS[section], ANSWERED)


def test_the_recipe_of_2006_stops_nothing_else(rules: Rules, lab: Lab) -> None:
    rules.stop(lab.client, tcp((1863, 5050, 5190), NEWS6), RECIPE, SILENT)
    expect(lab.exempt, tcp((1863,), NEWS6), SILENT)  # its exempt host has no address of IPv6
    expect(lab.client, set(ORDINARY) - set(tcp((80, 443, 7777), AIM)), ANSWERED)


def test_rejected_ones_are_told_at_once(rules: Rules, lab: Lab) -> None:
    rules.stop(lab.client, NATIVE, POLICY + "reject = true\n", REFUSED)
    expect(lab.exempt, NATIVE, ANSWERED)
    expect(lab.client, ORDINARY, ANSWERED)


CONDITIONS = {
    "for some clients": (
        (
            '[clients]\npupils = ["192.168.1.64/26", "2001:db8:1::77"]\n'
            '[[rule]]\nname = "x"\nclients = ["pupils"]\nservices = ["telegram"]\naction = "block"\n'
        ),
        tcp((443,), TELEGRAM, TELEGRAM6),
        [],
        tcp((443,), TELEGRAM, TELEGRAM6),
    ),
    "but for some sites": (
        (
            '[sites]\nours = { networks = ["149.154.167.0/24"], ports = [5222] }\n'
            '[[rule]]\nname = "x"\nservices = ["telegram"]\nexcept_sites = ["ours"]\naction = "block"\n'
        ),
        tcp((443, 7777), TELEGRAM6),
        tcp((443, 5222), TELEGRAM) + tcp((5222,), TELEGRAM6),
        [],
    ),
    "after an allowed service": (
        (
            '[[rule]]\nname = "x"\nservices = ["telegram"]\naction = "allow"\n'
            '[[rule]]\nname = "y"\nservices = ["viber", "telegram"]\naction = "block"\n'
        ),
        tcp((5242,), NEWS, NEWS6) + udp((5242,), NEWS, NEWS6),
        tcp((443, 5242), TELEGRAM, TELEGRAM6) + udp((5242,), TELEGRAM, TELEGRAM6),
        [],
    ),
    "by stale networks": (
        '[[rule]]\nname = "x"\nservices = ["aim"]\ninclude = ["stale"]\naction = "block"\n',
        tcp((80, 443), AIM),
        tcp((80, 443), NEWS),
        [],
    ),
    "by networks and ports of one's own": (
        (
            '[sites]\nours = { networks = ["203.0.113.0/28", "2001:db8:f::/120"], ports = [5222] }\n'
            '[[rule]]\nname = "x"\nsites = ["ours"]\naction = "block"\n'
        ),
        tcp((80,), NEWS, NEWS6) + udp((7777,), NEWS, NEWS6) + tcp((5222,), TELEGRAM, TELEGRAM6),
        tcp((80,), TELEGRAM, TELEGRAM6, MSN),
        [],
    ),
}
"""A policy, what it stops for the client, what not, and what not for the other client."""


@pytest.mark.parametrize(("policy", "stopped", "open_", "open_for_other"), CONDITIONS.values(), ids=CONDITIONS)
def test_conditions(
    rules: Rules, lab: Lab, policy: str, stopped: list[Probe], open_: list[Probe], open_for_other: list[Probe]
) -> None:
    rules.stop(lab.client, stopped, policy + ROUTER, SILENT)
    for host, probes in ((lab.client, open_), (lab.exempt, open_for_other)):
        if probes:
            expect(host, probes, ANSWERED)


@pytest.mark.parametrize(("reject", "outcome"), [("false", SILENT), ("true", REFUSED)])
def test_what_is_open_ends_too(rules: Rules, lab: Lab, reject: str, outcome: str) -> None:
    with (
        closing(Connection(lab.client, NEWS, 1863)) as blocked,
        closing(Connection(lab.client, NEWS6, 1863)) as blocked6,
        closing(Connection(lab.client, NEWS, 7777)) as ordinary,
        closing(Connection(lab.exempt, NEWS6, 1863)) as exempt,
    ):
        everything = (blocked, blocked6, ordinary, exempt)
        assert [connection.alive() for connection in everything] == [ANSWERED] * 4
        rules.load(POLICY + f"reject = {reject}\n")
        assert [connection.alive() for connection in everything] == [outcome, outcome, ANSWERED, ANSWERED]
        rules.flush()
        if outcome == SILENT:  # it was only held up by the rules
            assert (blocked.wakes(), blocked6.wakes()) == (ANSWERED, ANSWERED)


# Ways around


@pytest.mark.parametrize(
    ("setting", "probes"),
    [
        pytest.param('quic = "reject"\n', udp((443,), NEWS, NEWS6, MSN), id="QUIC"),
        pytest.param(
            'encrypted_dns = "reject"\n',
            tcp((853,), NEWS, NEWS6) + udp((853,), NEWS, NEWS6) + tcp((443,), RESOLVER, RESOLVER6),
            id="encrypted DNS",
        ),
        pytest.param('calls = "reject"\n', udp((3478,), NEWS, NEWS6), id="calls"),
    ],
)
def test_ways_around_the_proxy_are_refused_at_once(rules: Rules, lab: Lab, setting: str, probes: list[Probe]) -> None:
    rules.stop(lab.client, probes, POLICY + setting, REFUSED)
    expect(lab.exempt, probes, ANSWERED)
    expect(lab.client, set(ORDINARY) - set(probes) - set(tcp((853,), RESOLVER, RESOLVER6)), ANSWERED)


def test_masquerading(rules: Rules, lab: Lab) -> None:
    rules.load(POLICY)
    assert get(lab.client, "http://news.example/", NEWS).endswith(f" for {CLIENT}")
    rules.load(POLICY + "masquerade = true\n")
    assert get(lab.client, "http://news.example/", NEWS).endswith(f" for {WAN}")
    expect(lab.client, ORDINARY, ANSWERED)


# The kernel's log


@pytest.fixture
def kernel_log(lab: Lab) -> Iterator["KernelLog"]:
    switch = Path("/proc/sys/net/netfilter/nf_log_all_netns")
    try:
        before = switch.read_text()
        switch.write_text("1")
        log = KernelLog(lab)
    except OSError as error:
        pytest.skip(f"the kernel's log cannot be read: {error}")
    yield log
    log.close()
    switch.write_text(before)


class KernelLog:
    """What the kernel writes about packets of the client; those of other laboratories have other hardware addresses."""

    def __init__(self, lab: Lab) -> None:
        self._hardware = lab.client.run("cat", "/sys/class/net/eth0/address").strip()
        self._descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def lines(self) -> list[str]:
        found = []
        with suppress(BlockingIOError):
            while record := os.read(self._descriptor, 1 << 13).decode(errors="replace"):
                found.append(record.partition(";")[2].splitlines()[0])
        return [line for line in found if self._hardware in line]

    def close(self) -> None:
        os.close(self._descriptor)


def test_every_drop_is_logged_under_its_name(rules: Rules, lab: Lab, kernel_log: KernelLog) -> None:
    rules.load(RECIPE)
    expect(lab.client, tcp((1863, 5050, 5190), NEWS) + tcp((1863,), NEWS6), SILENT)
    expect(lab.client, ORDINARY[:3], ANSWERED)
    found = {
        (match[1], match[2], int(match[3]))
        for line in kernel_log.lines()
        if (match := re.fullmatch(r"(.*?)IN=eth1 OUT=eth0 .*SRC=(\S+) .*PROTO=TCP .*DPT=(\d+) .*", line))
    }
    assert found == {
        ("MESSENGER MSN > ", CLIENT, 1863),
        ("MESSENGER MSN > ", "2001:0db8:0001:0000:0000:0000:0000:0077", 1863),
        ("MESSENGER YAHOO > ", CLIENT, 5050),
        ("MESSENGER AIM/ICQ > ", CLIENT, 5190),
    }


def test_a_flood_of_drops_is_few_lines(rules: Rules, lab: Lab, kernel_log: KernelLog) -> None:
    rules.load(POLICY)
    assert connect_many(lab.client, TELEGRAM, 100, 0.8) == 0
    assert 1 <= len(kernel_log.lines()) <= 10


def test_what_is_monitored_passes_and_is_logged(rules: Rules, lab: Lab, kernel_log: KernelLog) -> None:
    rules.load(POLICY.replace('"block"', '"monitor"'))
    expect(lab.client, tcp((1863,), NEWS), ANSWERED)
    (line,) = kernel_log.lines()
    assert f"SRC={CLIENT} DST={NEWS} " in line


# Limits

FLOOD, MANY = 1000, 600
"""So many, of which fewer than so many are let through in the time that it takes, and more without a limit."""


@pytest.mark.parametrize("address", [NEWS, NEWS6])
def test_browsing_is_within_the_limits(rules: Rules, lab: Lab, address: str) -> None:
    rules.load(NO_MESSENGERS + ROUTER)
    assert connect_many(lab.client, address, 100) == 100


@pytest.mark.parametrize("address", [NEWS, NEWS6])
def test_a_flood_is_cut_and_hurts_nobody_else(rules: Rules, lab: Lab, address: str) -> None:
    rules.load(NO_MESSENGERS + ROUTER)
    flood = lab.client.submit(connect_many_here, address, FLOOD, 1.0)
    assert connect_many(lab.exempt, address, 100) == 100
    assert 100 <= flood.result() <= MANY
    assert connect_many(lab.exempt, address, 100) == 100


@pytest.mark.parametrize("address", [NEWS, NEWS6])
def test_pings_and_resets_are_cut_for_each_source(rules: Rules, lab: Lab, address: str) -> None:
    rules.load(NO_MESSENGERS + ROUTER + "limits = { syn = 0 }\n")
    assert 1 <= ping(lab.client, address, 200) <= 100
    assert ping(lab.exempt, address, 3) == 3
    assert 50 <= reset_many(lab.client, lab.servers, address, FLOOD) <= MANY


@pytest.mark.parametrize("address", [NEWS, NEWS6])
def test_without_limits_nothing_is_cut(rules: Rules, lab: Lab, address: str) -> None:
    rules.load(NO_MESSENGERS + ROUTER + "limits = { syn = 0, rst = 0, ping = 0 }\n")
    assert connect_many(lab.client, address, FLOOD) > MANY
    assert ping(lab.client, address, 200) > 100
    assert reset_many(lab.client, lab.servers, address, FLOOD) > MANY
