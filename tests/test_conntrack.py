"""The commands that end what is open: as narrow as what is blocked, and nothing for what is let through."""

import re

import pytest
from arbitrary import CATALOGUE, FIREWALL_SITES

from squid_imhelper.base.addresses import parse_interval
from squid_imhelper.base.model import FirewallSettings, Policy, Rule
from squid_imhelper.firewall.conntrack import render
from squid_imhelper.firewall.destinations import Family
from squid_imhelper.firewall.plan import plan_firewall

ONE = (parse_interval("192.168.1.20")[0],)
SIX = (parse_interval("2001:db8:1::/64")[0],)
VIBER = frozenset(["viber"])
PORTS = [("tcp", port) for port in (5242, 5243, 7985)] + [("udp", port) for port in (5242, 5243, 7985)]


def commands(*rules: Rule, families: tuple[Family, ...] = (4,), **settings: object) -> list[str]:
    firewall = FirewallSettings(wan="eth0", lan="eth1", **settings)  # type: ignore[arg-type]
    plan = plan_firewall(Policy("p", rules, firewall=firewall, sites=FIREWALL_SITES), CATALOGUE, 29)
    assert plan.refusals == ()
    text = render(plan, families)
    assert text == "" or text.endswith("\n")
    return text.splitlines()


CASES = [
    pytest.param(
        [Rule("x", "block", services=VIBER)],
        [f"conntrack -D -f ipv4 -p {protocol} --dport {port}" for protocol, port in PORTS],
        id="ports",
    ),
    pytest.param(
        [Rule("x", "block", services=VIBER, clients=ONE)],
        [f"conntrack -D -f ipv4 -s 192.168.1.20/32 -p {protocol} --dport {port}" for protocol, port in PORTS],
        id="clients",
    ),
    pytest.param([Rule("x", "block", services=VIBER, clients=SIX)], [], id="clients-of-the-other-family"),
    pytest.param([Rule("x", "block", services=VIBER, clients=())], [], id="nobody"),
    pytest.param(
        [Rule("x", "block", services=frozenset(["aim"]), sites=("networks",)), Rule("y", "block", sites=("mixed",))],
        [
            f"conntrack -D -f ipv4 -d {network} -p tcp --dport {port}"
            for network in ("149.154.162.0/23", "149.154.164.0/22", "149.154.168.0/23", "149.154.170.0/30",
                            "149.154.170.4/31", "149.154.170.6/32")
            for port in (5190, 9898)
        ]
        + ["conntrack -D -f ipv4 -d 149.154.160.0/22"],
        id="networks-and-ports",
    ),
    pytest.param(
        [Rule("x", "block", services=VIBER), Rule("y", "block", services=VIBER)],
        [f"conntrack -D -f ipv4 -p {protocol} --dport {port}" for protocol, port in PORTS],
        id="each-once",
    ),
    pytest.param([Rule("x", "allow", services=VIBER), Rule("y", "monitor", services=VIBER)], [], id="let-through"),
    pytest.param([], [], id="nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "expected"), CASES)
def test_what_is_forgotten(rules: list[Rule], expected: list[str]) -> None:
    assert commands(*rules) == expected


def test_ways_around_and_what_is_intercepted_are_forgotten_too() -> None:
    assert commands(intercept="redirect") == [
        "conntrack -D -f ipv4 -p udp --dport 80", "conntrack -D -f ipv4 -p udp --dport 443",
        "conntrack -D -f ipv4 -p tcp --dport 80", "conntrack -D -f ipv4 -p tcp --dport 443",
    ]  # fmt: skip
    assert commands(encrypted_dns="reject", families=(6,))[:3] == [
        "conntrack -D -f ipv6 -p tcp --dport 853", "conntrack -D -f ipv6 -p udp --dport 853",
        "conntrack -D -f ipv6 -d 2606:4700:4700::1001/128 -p tcp --dport 443",
    ]  # fmt: skip


def test_each_family_has_its_commands() -> None:
    found = commands(Rule("x", "block", services=frozenset(CATALOGUE.services)), families=(4, 6))
    word = r"conntrack -D -f ipv[46]( -s \S+)?( -d \S+)?( -p (tcp|udp) --dport \d+)?"
    assert [line for line in found if not re.fullmatch(word, line)] == []
    assert [line for line in found if (":" in line) and "ipv4" in line] == []
    assert len(set(found)) == len(found)
    assert {line.split()[3] for line in found} == {"ipv4", "ipv6"}


def test_nothing_forgets_everything() -> None:
    """A command without a destination would end every connection there is."""
    found = commands(Rule("x", "block", services=frozenset(CATALOGUE.services), clients=ONE), intercept="redirect")
    assert found
    assert [line for line in found if " -d " not in line and " --dport " not in line] == []
