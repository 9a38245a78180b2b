"""The records: what can be read off them."""

import pytest

from squid_imhelper.base.model import Flag, Kind, Match, Rule, Service, Signature, UrlPattern, names_of
from squid_imhelper.base.urls import Target


def service(*signatures: tuple[Kind, Flag], udp_ports: tuple[int, ...] = ()) -> Service:
    made = tuple(Signature(kind, "x", "chat", flag) for kind, flag in signatures)
    return Service("chat", "Chat", "im", "active", None, "", "", "", made, udp_ports=udp_ports)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.HOST, "proxy sni decrypted"),
        (Kind.DOMAIN, "proxy sni decrypted"),
        (Kind.URL, "decrypted"),
        (Kind.USER_AGENT, "decrypted"),
        (Kind.CONTENT_TYPE, "decrypted"),
        (Kind.NETWORK, "proxy firewall"),
        (Kind.PORT, "proxy firewall"),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else "",
)
def test_visible(kind: Kind, expected: str) -> None:
    """A signature makes its service visible in some ways, unless it is off by default."""
    visible = service((kind, "")).visible
    assert [way for way in visible if visible[way]] == expected.split()
    assert not any(service((kind, "shared"), (kind, "stale"), (kind, "self_hosted")).visible.values())


def test_visible_with_a_flag_is_by_what_has_the_flag_alone() -> None:
    made = service((Kind.HOST, ""), (Kind.PORT, "shared"), udp_ports=(3478,))
    assert [way for way, seen in made.visible_with("shared").items() if seen] == ["proxy", "firewall"]
    assert not any(made.visible_with("stale").values())


def test_visible_of_several_signatures() -> None:
    assert all(service((Kind.HOST, ""), (Kind.PORT, "")).visible.values())


def test_udp_ports_are_seen_by_the_firewall_only() -> None:
    visible = service(udp_ports=(3478,)).visible
    assert [way for way in visible if visible[way]] == ["firewall"]


@pytest.mark.parametrize(
    ("pattern", "bound"),
    [
        pytest.param(UrlPattern("/", Match.EXACT), False, id="any host"),
        pytest.param(UrlPattern("/", Match.EXACT, query="x", method="GET"), False, id="query and method"),
        pytest.param(UrlPattern("/", Match.EXACT, host="a.example"), True, id="host"),
        pytest.param(UrlPattern("/", Match.EXACT, domain="a.example"), True, id="domain"),
        pytest.param(UrlPattern("/", Match.EXACT, in_networks=True), True, id="networks"),
    ],
)
def test_url_pattern_is_bound_to_certain_hosts(pattern: UrlPattern, bound: bool) -> None:
    assert pattern.bound is bound


def test_matches_stand_from_precise_to_loose() -> None:
    assert [match.value for match in Match] == ["exact", "prefix", "segment", "word", "substring"]


@pytest.mark.parametrize(
    "record", [Signature(Kind.HOST, "x", "chat"), UrlPattern("/", Match.EXACT), Rule("r", "block")]
)
def test_records_cannot_be_changed(record: Signature | UrlPattern | Rule) -> None:
    for name in record._fields:
        with pytest.raises(AttributeError):
            setattr(record, name, "changed")


def test_a_rule_without_conditions() -> None:
    """None is a condition that is not there; nothing is included and nothing excepted."""
    rule = Rule("r", "block")
    assert (rule.clients, rule.users, rule.services, rule.user_agents, rule.sites) == (None,) * 5
    assert (rule.include, rule.except_sites) == (frozenset(), ())


@pytest.mark.parametrize(
    ("host", "sni", "expected"),
    [
        pytest.param("a.example", "b.example", ("a.example", "b.example"), id="the host first"),
        pytest.param("a.example", "a.example", ("a.example",), id="each once"),
        pytest.param("a.example", "", ("a.example",), id="no SNI"),
        pytest.param("", "b.example", ("b.example",), id="no host"),
        pytest.param("", "", (), id="neither"),
    ],
)
def test_names_of(host: str, sni: str, expected: tuple[str, ...]) -> None:
    assert names_of(Target("", host, 443, None, ""), sni) == expected
