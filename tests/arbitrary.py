"""Policies and requests for properties: any conditions, with values that often enough fit each other."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from packets import LAN, WAN, Packet

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import (
    FLAGS,
    Circumstances,
    FirewallSettings,
    Interval,
    Kind,
    Limits,
    Policy,
    Response,
    Rule,
    Schedule,
    SiteList,
)
from squid_imhelper.base.schedule import week_stretches
from squid_imhelper.sources.catalogue import load_catalogue

CATALOGUE = load_catalogue()
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
"""A Monday."""
DAY = 86_400

SITES = {
    own.name: own
    for own in (
        SiteList("com", domains=("com",)),
        SiteList("https", ports=(443,)),
        SiteList("paths", urls=("facebook.com/messages", "example.org/x")),
        SiteList("networks", networks=merge([parse_interval("149.154.160.0/20")[0]])),
        SiteList("expression", regex=(r"^https?://[a-z]+\.whatsapp",)),
    )
}
SCHEDULES = {
    "day": Schedule("day", "Europe/Brussels", week_stretches(range(5), [(8 * 3600, 18 * 3600)])),
    "night": Schedule("night", "Europe/Brussels", week_stretches(range(7), [(22 * 3600, 30 * 3600)])),
}
AGENTS = ("MSMSGS", "Mozilla/5.0 (MSIE 6.0)", "Telegram/1", "x Slack/4", "Slackbot Slack/1")
CLIENTS = ("192.0.2.1", "192.0.2.200", "2001:db8::1")
USERS = ("ann", "bob", 'e"ve')


@cache
def targets() -> tuple[tuple[str, str], ...]:
    """Method and target of each line of the conformance table."""
    lines = (Path(__file__).parent / "data" / "decisions.txt").read_text(encoding="utf-8").splitlines()
    words = (line.split(" | ")[0].split() for line in lines if line and not line.startswith("#"))
    return tuple((method, target) for _, _, method, target in words)


def some(values: object, least: int = 1) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(sorted(values)), min_size=least, max_size=3, unique=True).map(tuple)  # type: ignore[call-overload]


def or_none(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), st.none(), strategy)


ids = or_none(
    st.one_of(
        st.just(frozenset(CATALOGUE.services)),
        some(CATALOGUE.services).map(frozenset),
        some(["whatsapp", "telegram", "msn_messenger", "slack", "meebo", "messenger", "aim"]).map(frozenset),
    )
)
intervals = or_none(
    some(["192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "198.51.100.1-198.51.100.9"]).map(
        lambda words: merge(parse_interval(word)[0] for word in words)
    )
)
instants = or_none(st.integers(-3, 3).map(lambda days: NOON + days * DAY / 2))


@st.composite
def rules(draw: st.DrawFn, number: int) -> Rule:
    services = draw(ids)
    return Rule(
        f"rule {number}",
        draw(st.sampled_from(["block", "block", "allow", "monitor"])),
        clients=draw(intervals),
        users=draw(or_none(some(USERS).map(frozenset))),
        services=services,
        include=draw(st.sets(st.sampled_from(FLAGS)).map(frozenset)) if services else frozenset(),
        user_agents=draw(or_none(some(["MSIE", "Slack", "T"]))),
        sites=draw(or_none(some(SITES))),
        except_sites=draw(st.one_of(st.just(()), some(SITES))),
        schedules=draw(or_none(some(SCHEDULES))),
        start=draw(instants),
        end=draw(instants),
        line=number,
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    several = tuple(draw(rules(number)) for number in range(1, draw(st.integers(0, 4)) + 1))
    response = Response(
        redirect=draw(st.sampled_from(["http://blocked.invalid/", "https://web.whatsapp.com/"])),
        on_error=draw(st.sampled_from(["allow", "block"])),
        dry_run=draw(st.booleans()),
    )
    return Policy("policy.toml", several, response, sites=SITES, schedules=SCHEDULES)


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, Circumstances]:
    """What is asked, and in which circumstances."""
    method, url = draw(st.sampled_from(targets()))
    circumstances = Circumstances(
        client=draw(st.sampled_from([None, *CLIENTS])),
        user=draw(st.sampled_from([None, *USERS])),
        method=None if method == "-" else method,
        user_agent=draw(st.sampled_from([None, *AGENTS])),
        content_type=draw(st.sampled_from([None, "application/x-icq"])),
        sni=draw(st.sampled_from([None, None, "www.example.org", "web.whatsapp.com"])),
    )
    return url, circumstances


times = st.integers(-8, 8).map(lambda n: NOON + n * DAY / 8)


# ---- policies for a helper that remembers what it has answered ------------------------------------------------------

MORE_SITES = {
    **SITES,
    **{
        own.name: own
        for own in (
            SiteList("mixed", domains=("com", "probe.invalid"), ports=(443, 5190), urls=("nobody.test/aaaaaaa",)),
            SiteList("hosts", hosts=("example.org", "server1", "149.154.167.99"), ports=(8443,)),
            SiteList("chat", regex=(r"chat[0-9]", r"/x/y$")),
            SiteList("digit", regex=(r"[0-9]$",)),
            SiteList("escaped", regex=(r"a'b|c%3E",), domains=("test",)),
        )
    },
}
_UNSEARCHED = [name for name, own in MORE_SITES.items() if not own.regex]
_WITHOUT_URLS = [name for name in _UNSEARCHED if not MORE_SITES[name].urls]
TEXTS = (
    "", "", "", "blocked", "{service_name}: {service}, {rule}", "{host} <b>", "{time}", "{client} {host}", "{url}",
    "{service_name} {time}", "{rule}" * 99, "a" * 3000 + "{host}",
)  # fmt: skip
REDIRECTS = ("", "", *(f"http://blocked.invalid/?x={{{name}}}" for name in ("url", "host", "time", "client", "rule")))


_LAST_RULES = (
    [],
    [Rule("all", "block", services=frozenset(CATALOGUE.services), include=frozenset(FLAGS), line=9)],
    [Rule("rest", "block", line=9)],
)


@st.composite
def _remembered_rules(draw: st.DrawFn, number: int, lists: list[str]) -> Rule:
    """Rules that speak up, and now and then ask for one thing only."""
    rule = draw(rules(number))
    if draw(st.integers(0, 2)):
        only = draw(some(["clients", "users", "services", "user_agents", "sites"]))
        rule = Rule(rule.name, rule.action, line=number)._replace(**{name: getattr(rule, name) for name in only})
    return rule._replace(
        sites=draw(some(lists)) if rule.sites else None,
        except_sites=draw(st.one_of(st.just(()), st.just(()), some(lists))),
        message=draw(st.sampled_from(TEXTS)),
        redirect=draw(st.sampled_from(REDIRECTS)),
    )


@st.composite
def helper_policies(draw: st.DrawFn) -> Policy:
    """Policies whose answers show what they may, with expressions and URL lists in some of them only."""
    policy = draw(policies())
    lists = draw(st.sampled_from([list(MORE_SITES), _UNSEARCHED, _WITHOUT_URLS, _WITHOUT_URLS]))
    several = [draw(_remembered_rules(number, lists)) for number in range(1, draw(st.integers(1, 4)) + 1)]
    several += draw(st.sampled_from(_LAST_RULES))
    response = policy.response._replace(
        message=draw(st.sampled_from(TEXTS)), connect=draw(st.sampled_from(["", "blocked.invalid:443"]))
    )
    response = response._replace(dry_run=draw(st.integers(0, 5)) == 5)
    return policy._replace(rules=tuple(several), response=response, sites=MORE_SITES)


# ---- policies for a firewall, and packets near the edges of what they name ------------------------------------------

FIREWALL_SERVICES = (
    "telegram", "microsoft_teams", "viber", "qq", "tox", "irc_web", "msn_messenger", "aim", "icq", "yahoo_messenger",
    "e_messenger", "xmpp", "whatsapp", "slack", "kakaotalk", "matrix_element",
)  # fmt: skip


def _intervals(*words: str) -> tuple[Interval, ...]:
    return merge(parse_interval(word)[0] for word in words)


FIREWALL_SITES = {
    own.name: own
    for own in (
        SiteList("names", domains=("example.org",)),
        SiteList("mixed", domains=("example.net",), networks=_intervals("149.154.160.0/22")),
        SiteList("networks", networks=_intervals("149.154.162.0-149.154.170.6", "2001:67c:4e8::/49")),
        SiteList("six", networks=_intervals("2603:1063::/40")),
        SiteList("ports", ports=(5190, 6660, 6661, 6662, 8448)),
        SiteList("odd", networks=_intervals("52.112.0.0/15"), ports=tuple(range(5001, 5200, 7))),
    )
}
FIREWALL_CLIENTS = (
    _intervals("192.168.1.16"),
    _intervals("192.168.1.0/24"),
    _intervals("192.168.1.9-192.168.1.22"),
    _intervals("2001:db8:1::/64"),
    _intervals("192.168.1.200", "2001:db8:1::16"),
    (),
)


def seldom(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.integers(0, 11).flatmap(lambda number: strategy if number == 11 else st.none())


@st.composite
def firewall_rules(draw: st.DrawFn, number: int) -> Rule:
    """What a router can mostly tell, and now and then what it cannot."""
    services = draw(st.one_of(some(FIREWALL_SERVICES).map(frozenset), st.just(frozenset(FIREWALL_SERVICES)), st.none()))
    sites = draw(some(FIREWALL_SITES) if services is None else or_none(some(FIREWALL_SITES)))
    action = draw(st.sampled_from(["block", "block", "allow", "monitor"]))
    if action != "block" and draw(st.integers(0, 3)) == 0:
        services = sites = None
    return Rule(
        f"rule {number}",
        action,
        clients=draw(st.one_of(st.none(), st.sampled_from(FIREWALL_CLIENTS))),
        users=draw(seldom(st.just(frozenset(["ann"])))),
        services=services,
        include=draw(st.sampled_from([frozenset(), frozenset(FLAGS), frozenset(["stale"])]))
        if services
        else frozenset(),
        sites=sites,
        except_sites=draw(st.one_of(st.just(()), some(["networks", "ports", "six"]))) if action == "block" else (),
        schedules=draw(seldom(st.just(("day",)))),
        firewall=draw(st.integers(0, 11)) < 11,
        line=number,
    )


def _without_contradiction(drawn: FirewallSettings) -> FirewallSettings:
    """What needs an interface that is not said is not asked for."""
    if not drawn.lan:
        drawn = drawn._replace(default="accept", intercept="no")
    return drawn if drawn.wan else drawn._replace(masquerade=False)


def _settings(**given: object) -> FirewallSettings:
    """What `st.builds` would make of a record has values in all of its fields."""
    return FirewallSettings(**given)  # type: ignore[arg-type]


firewall_settings = st.builds(
    _settings,
    wan=st.sampled_from(["", WAN]),
    lan=st.sampled_from(["", LAN]),
    default=st.sampled_from(["accept", "accept", "drop"]),
    reject=st.booleans(),
    admin_ports=st.sampled_from([(), (22,), tuple(range(8000, 8100, 3))]),
    proxy_ports=st.sampled_from([(3128,), (3128, 8080)]),
    schedules=st.sampled_from(["always", "never", "refuse"]),
    log_prefix=st.sampled_from([(), (("telegram", "T > "),)]),
    intercept=st.sampled_from(["no", "redirect", "tproxy"]),
    intercept_exempt=st.booleans(),
    quic=st.sampled_from(["", "allow", "reject"]),
    encrypted_dns=st.sampled_from(["allow", "reject"]),
    calls=st.sampled_from(["allow", "reject"]),
    masquerade=st.booleans(),
    limits=st.sampled_from([Limits(), Limits(0, 0, 0), Limits(0, 1, 10_000)]),
).map(_without_contradiction)


@st.composite
def firewall_policies(draw: st.DrawFn) -> Policy:
    several = tuple(draw(firewall_rules(number)) for number in range(1, draw(st.integers(0, 5)) + 1))
    return Policy("policy.toml", several, firewall=draw(firewall_settings), sites=FIREWALL_SITES, schedules=SCHEDULES)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """New ones from the LAN: to the first and last addresses and ports of what is named, and to those beside them."""
    version = draw(st.sampled_from([4, 6]))
    protocol = draw(st.sampled_from(["tcp", "tcp", "udp", "icmp" if version == 4 else "ipv6-icmp"]))
    return Packet(
        draw(st.sampled_from(_edges(version, of_clients=True))),
        draw(st.sampled_from(_edges(version, of_clients=False))),
        protocol,
        draw(st.sampled_from(_port_edges())) if protocol in ("tcp", "udp") else 0,
        flag="SYN" if protocol == "tcp" else "",
    )


@cache
def _edges(version: int, *, of_clients: bool) -> list[str]:
    if of_clients:
        named: Iterable[Interval] = [interval for clients in FIREWALL_CLIENTS for interval in clients]
    else:
        named = [interval for site in FIREWALL_SITES.values() for interval in site.networks]
        named += [
            parse_interval(signature.value)[0]
            for id_ in FIREWALL_SERVICES
            for signature in CATALOGUE.services[id_].signatures
            if signature.kind is Kind.NETWORK
        ]
        named += [
            parse_interval(word)[0] for word in ("203.0.113.9", "1.1.1.1", "2001:db8:9::9", "2606:4700:4700::1111")
        ]
    edges = {edge for v, first, last in named if v == version for edge in (first - 1, first, last, last + 1)}
    address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return [str(address(edge)) for edge in sorted(edges)]


@cache
def _port_edges() -> list[int]:
    named = {port for site in FIREWALL_SITES.values() for port in site.ports} | {53, 80, 443, 853, 3478, 19302}
    for id_ in FIREWALL_SERVICES:
        service = CATALOGUE.services[id_]
        named |= {int(s.value) for s in service.signatures if s.kind is Kind.PORT} | set(service.udp_ports)
    return sorted({port + more for port in named for more in (-1, 0, 1)})
