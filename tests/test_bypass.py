"""The ways around a proxy, and which settings close them."""

from dataclasses import replace

import pytest

from squid_imhelper.base.model import FirewallSettings
from squid_imhelper.firewall.bypass import resolvers, ways_around
from squid_imhelper.firewall.destinations import each_port
from squid_imhelper.firewall.plan import Plan

PLAN = Plan("policy.toml", FirewallSettings(), (), (), (), ())
CASES = [
    pytest.param({}, [], id="nothing"),
    pytest.param({"intercept": "redirect"}, [("udp", [80, 443])], id="quic-where-intercepted"),
    pytest.param({"intercept": "tproxy", "quic": "allow"}, [], id="quic-unless-told"),
    pytest.param({"quic": "reject"}, [("udp", [80, 443])], id="quic"),
    pytest.param(
        {"encrypted_dns": "reject"}, [("tcp", [853]), ("udp", [853]), ("tcp", [443]), ("udp", [443])], id="dns"
    ),
    pytest.param(
        {"calls": "reject"},
        [(p, [3478, 3479, 3480, 3481, 5349, 5350, *range(19302, 19310)]) for p in ("tcp", "udp")],
        id="calls",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), CASES)
def test_what_is_closed(changes: dict[str, str], expected: list[tuple[str, list[int]]]) -> None:
    plan = replace(PLAN, settings=FirewallSettings()._replace(**changes))  # type: ignore[arg-type]
    found = list(ways_around(plan))
    assert [(way.destination.protocol, list(each_port(way.destination.ports))) for way in found] == expected
    assert len({way.title for way in found}) == len(found)
    assert all(way.title.isprintable() for way in found)
    assert all(way.spares_exempt for way in found)


def test_who_is_intercepted_although_exempt_has_no_quic_and_the_rest() -> None:
    settings = FirewallSettings(
        lan="eth1", intercept="redirect", intercept_exempt=True, encrypted_dns="reject", calls="reject"
    )
    found = list(ways_around(replace(PLAN, settings=settings)))
    assert [way.title.split(",")[0] for way in found if not way.spares_exempt] == ["QUIC"]
    assert not found[0].spares_exempt
    assert len(found) == 7


def test_only_dns_over_https_asks_for_addresses() -> None:
    plan = replace(PLAN, settings=FirewallSettings(encrypted_dns="reject", calls="reject", quic="reject"))
    named = {way.title: way.destination.networks for way in ways_around(plan)}
    assert {title for title, networks in named.items() if networks} == {
        "DNS over HTTPS/2, to resolvers that are known", "DNS over HTTPS/3, to resolvers that are known",
    }  # fmt: skip
    assert set(named.values()) == {None, resolvers()}


def test_resolvers_have_both_families() -> None:
    assert {version for version, _, _ in resolvers()} == {4, 6}
