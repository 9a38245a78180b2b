"""Where packets go: what of services and site lists a firewall can tell, and what two destinations have in common."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import FLAGS, Flag, Interval, Kind, Service, Signature, SiteList
from squid_imhelper.firewall.destinations import (
    ANYWHERE,
    Destination,
    destinations_of,
    destinations_of_site,
    each_port,
    has_names,
    intersection,
    overlap,
    port_ranges,
    without_ports,
)


def intervals(*words: str) -> tuple[Interval, ...]:
    return merge(parse_interval(word)[0] for word in words)


def to(*words: str) -> Destination:
    """`192.0.2.0/24`, `tcp 80 443`, or both."""
    networks = [word for word in words if "." in word or ":" in word]
    rest = [word for word in words if word not in networks]
    protocol, ports = (rest[0], rest[1:]) if rest else ("", [])
    return Destination(intervals(*networks) if networks else None, protocol, port_ranges(map(int, ports)))  # type: ignore[arg-type]


SIGNATURES: list[tuple[Kind, str, Flag]] = [
    (Kind.HOST, "chat.example", ""),
    (Kind.NETWORK, "192.0.2.0/25", ""),
    (Kind.NETWORK, "192.0.2.128/25", ""),
    (Kind.NETWORK, "2001:db8::/32", ""),
    (Kind.NETWORK, "198.51.100.0/24", "stale"),
    (Kind.NETWORK, "203.0.113.0/24", "shared"),
    (Kind.PORT, "5190", ""),
    (Kind.PORT, "5191", ""),
    (Kind.PORT, "5222", "shared"),
    (Kind.PORT, "8443", "self_hosted"),
    (Kind.USER_AGENT, "Chatty/", ""),
]
CHAT = Service(
    "chat", "Chat", "im", "active", None, "", "", "",
    tuple(Signature(kind, value, "chat", flag) for kind, value, flag in SIGNATURES), udp_ports=(3478, 5190),
)  # fmt: skip
USUAL = (to("192.0.2.0/24", "2001:db8::/32"), to("tcp", "5190", "5191"), to("udp", "3478", "5190"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param([""], USUAL, id="by-itself"),
        pytest.param(
            ["", "stale"], (to("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"), *USUAL[1:]), id="stale-if-included"
        ),
        pytest.param(["stale"], (to("198.51.100.0/24"),), id="stale-alone"),
        pytest.param(["shared"], (to("203.0.113.0/24"), to("tcp", "5222")), id="shared-alone"),
        pytest.param(["self_hosted"], (to("tcp", "8443"),), id="self-hosted-alone"),
        pytest.param([], (), id="nothing"),
    ],
)
def test_a_service_is_told_by_its_counting_signatures(flags: list[Flag], expected: tuple[Destination, ...]) -> None:
    assert destinations_of(CHAT, flags) == expected


def test_without_flags_what_counts_by_itself_counts() -> None:
    assert destinations_of(CHAT) == USUAL


@pytest.mark.parametrize(
    ("site", "expected", "names"),
    [
        pytest.param(SiteList("x", domains=("a.example",)), (), True, id="domain"),
        pytest.param(SiteList("x", hosts=("a.example",)), (), True, id="host"),
        pytest.param(SiteList("x", urls=("a.example/x",)), (), True, id="url"),
        pytest.param(SiteList("x", regex=("x",)), (), True, id="expression"),
        pytest.param(SiteList("x", networks=intervals("::1")), (to("::1"),), False, id="network"),
        pytest.param(SiteList("x", ports=(7, 9, 8, 8)), (to("tcp", "7", "8", "9"),), False, id="ports"),
        pytest.param(
            SiteList("x", domains=("a.example",), networks=intervals("192.0.2.1"), ports=(7,)),
            (to("192.0.2.1"), to("tcp", "7")),
            True,
            id="all",
        ),
    ],
)
def test_a_site_list_is_told_by_networks_and_ports(
    site: SiteList, expected: tuple[Destination, ...], names: bool
) -> None:
    assert destinations_of_site(site) == expected
    assert has_names(site) is names


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        pytest.param([], (), id="none"),
        pytest.param([80], ((80, 80),), id="one"),
        pytest.param([82, 80, 81, 81], ((80, 82),), id="in-a-row"),
        pytest.param([80, 82], ((80, 80), (82, 82)), id="apart"),
        pytest.param([1, 65535], ((1, 1), (65535, 65535)), id="ends"),
    ],
)
def test_ports_become_ranges(ports: list[int], expected: tuple[tuple[int, int], ...]) -> None:
    assert port_ranges(ports) == expected
    assert list(each_port(expected)) == sorted(set(ports))


COMMON = [
    pytest.param(ANYWHERE, to("192.0.2.0/24"), to("192.0.2.0/24"), id="anywhere"),
    pytest.param(ANYWHERE, to("tcp", "80"), to("tcp", "80"), id="anywhere-and-a-port"),
    pytest.param(to("192.0.2.0/24"), to("192.0.2.128/25"), to("192.0.2.128/25"), id="inside"),
    pytest.param(to("192.0.2.0/24"), to("198.51.100.0/24"), None, id="apart"),
    pytest.param(to("192.0.2.0/24"), to("2001:db8::/32"), None, id="other-family"),
    pytest.param(to("0.0.0.0/0"), to("::/0"), None, id="other-family-as-a-whole"),
    pytest.param(
        to("192.0.2.0-192.0.2.9", "192.0.2.20"), to("192.0.2.5-192.0.2.30"), to("192.0.2.5-192.0.2.9", "192.0.2.20"),
        id="several",
    ),
    pytest.param(to("192.0.2.0/24"), to("tcp", "80"), to("192.0.2.0/24", "tcp", "80"), id="network-and-port"),
    pytest.param(to("tcp", "80", "81"), to("tcp", "81", "82"), to("tcp", "81"), id="ports"),
    pytest.param(to("tcp", "80"), to("tcp", "81"), None, id="other-ports"),
    pytest.param(to("tcp", "80"), to("udp", "80"), None, id="other-protocol"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "expected"), COMMON)
def test_what_two_destinations_have_in_common(
    first: Destination, second: Destination, expected: Destination | None
) -> None:
    assert intersection(first, second) == expected
    assert intersection(second, first) == expected


near = st.integers(0, 12).map(lambda n: int(ipaddress.ip_address("192.0.2.0")) + n)
networks = st.lists(st.tuples(near, near), max_size=4).map(lambda pairs: merge((4, min(p), max(p)) for p in pairs))
ranges = st.frozensets(st.integers(1, 9)).map(port_ranges)
somewhere = st.one_of(
    networks.filter(bool).map(Destination),
    st.builds(Destination, st.one_of(st.none(), networks.filter(bool)), st.sampled_from(["tcp", "udp"]), ranges),
)


def holds(destination: Destination | None, address: int, protocol: str, port: int) -> bool:
    return destination is not None and (
        (destination.networks is None or any(first <= address <= last for _, first, last in destination.networks))
        and (not destination.protocol or (protocol == destination.protocol and port in each_port(destination.ports)))
    )


@given(
    first=somewhere, second=somewhere, address=near, protocol=st.sampled_from(["tcp", "udp"]), port=st.integers(1, 9)
)
def test_a_packet_is_in_the_intersection_if_it_is_in_both(
    first: Destination, second: Destination, address: int, protocol: str, port: int
) -> None:
    both = holds(first, address, protocol, port) and holds(second, address, protocol, port)
    assert holds(intersection(first, second), address, protocol, port) is both


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(None, None, True, id="any-any"),
        pytest.param(None, intervals("192.0.2.1"), True, id="any"),
        pytest.param(None, (), False, id="any-and-nobody"),
        pytest.param((), intervals("0.0.0.0/0"), False, id="nobody"),
        pytest.param(intervals("192.0.2.0/30"), intervals("192.0.2.3"), True, id="edge"),
        pytest.param(intervals("192.0.2.0/30"), intervals("192.0.2.4"), False, id="beside"),
        pytest.param(intervals("::/0"), intervals("192.0.2.4"), False, id="other-family"),
    ],
)
def test_an_address_can_be_in_both(
    first: tuple[Interval, ...] | None, second: tuple[Interval, ...] | None, expected: bool
) -> None:
    assert overlap(first, second) is expected
    assert overlap(second, first) is expected


def test_ports_that_have_been_seen_are_left_out() -> None:
    seen: set[tuple[str, int]] = set()
    assert without_ports(to("tcp", "80", "81"), seen) == to("tcp", "80", "81")
    assert without_ports(to("tcp", "81", "82"), seen) == to("tcp", "82")
    assert without_ports(to("tcp", "80"), seen) is None
    assert without_ports(to("udp", "80"), seen) == to("udp", "80")
    assert without_ports(to("192.0.2.1", "tcp", "80"), seen) == to("192.0.2.1", "tcp", "80")
    assert without_ports(to("192.0.2.1"), seen) == to("192.0.2.1")


def test_all_flags_together_are_all_signatures() -> None:
    found = destinations_of(CHAT, ("", *FLAGS))
    assert [len(list(each_port(destination.ports))) for destination in found] == [0, 4, 2]
    assert found[0].networks == intervals("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
