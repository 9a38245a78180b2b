"""Shadows: a rule that is said to be hidden is never asked, whatever the request; and most that are, are found."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Final

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import ACTIONS, FLAGS, Circumstances, Interval, Policy, Request, Rule, Schedule, SiteList
from squid_imhelper.base.schedule import parse_days, parse_hours, week_stretches
from squid_imhelper.matching.engine import Engine
from squid_imhelper.offline.check import build_request
from squid_imhelper.offline.shadows import covers
from squid_imhelper.sources.catalogue import load_catalogue
from squid_imhelper.sources.compiler import compile_policy

CATALOGUE: Final = load_catalogue()
BRUSSELS: Final = "Europe/Brussels"


# ---- a small policy -------------------------------------------------------------------------------------------------


def schedule(name: str, days: str, *hours: str, zone: str = BRUSSELS) -> Schedule:
    return Schedule(name, zone, week_stretches(parse_days(days), [parse_hours(text) for text in hours]))


SCHEDULES: Final = {
    own.name: own
    for own in (
        schedule("always", "mon-sun", "00:00-24:00"),
        schedule("office", "mon-fri", "08:00-18:00"),
        schedule("mornings", "mon-fri", "08:00-12:00"),
        schedule("split", "mon-fri", "08:00-12:00", "13:00-18:00"),
        schedule("monday", "mon", "00:00-24:00"),
        schedule("nights", "mon-sun", "22:00-06:00"),
        schedule("friday night", "fri", "22:00-06:00"),
        schedule("first half", "mon-sun", "00:00-12:00"),
        schedule("second half", "mon-sun", "12:00-24:00"),
        schedule("mornings in New York", "mon-fri", "08:00-12:00", zone="America/New_York"),
        schedule("mornings in Amsterdam", "mon-fri", "08:00-12:00", zone="Europe/Amsterdam"),
        schedule("never", "mon"),
    )
}
SITES: Final = {
    sites.name: sites
    for sites in (
        SiteList("a", domains=("a.example",)),
        SiteList("b", domains=("b.example",)),
        SiteList("both", domains=("a.example", "b.example")),
        SiteList("telegram", domains=("t.me",)),
        SiteList("chats", regex=(r"//chat[0-9]\.",), ports=(5222,)),
    )
}


def policy(*rules: Rule) -> Policy:
    return Policy("test", rules, sites=SITES, schedules=SCHEDULES)


def engine(*rules: Rule) -> Engine:
    return Engine(compile_policy(policy(*rules), CATALOGUE))


def hides(earlier: Rule, later: Rule) -> bool:
    return covers(earlier, later, policy(earlier, later))


def at(text: str) -> float:
    """An instant, by the clock of Brussels in winter."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone(timedelta(hours=1))).timestamp()


def get(url: str, **circumstances: str) -> Request:
    return build_request(url, Circumstances(**circumstances))


def connect(host: str, **circumstances: str) -> Request:
    return build_request(f"{host}:443", Circumstances(method="CONNECT", **circumstances))


def intervals(*literals: str) -> tuple[Interval, ...]:
    return merge(parse_interval(literal)[0] for literal in literals)


def ids(*names: str) -> frozenset[str]:
    return frozenset(names)


def block(**conditions: object) -> Rule:
    return Rule("rule", "block", **conditions)


def allow(**conditions: object) -> Rule:
    return Rule("rule", "allow", **conditions)


def monitor(**conditions: object) -> Rule:
    return Rule("rule", "monitor", **conditions)


MONDAY_10: Final = at("2026-11-23T10:00")
PLAIN: Final = get("http://example.org/")
TELEGRAM: Final = get("https://t.me/x", client="192.0.2.9", user="ann", user_agent="Mozilla (MSIE 6.0)")
FBCDN: Final = get("https://x.fbcdn.net/")
"""Shared: WhatsApp and Messenger both use it."""
AIM: Final = get("http://64.12.25.1/")
"""Stale: an address that AIM once had."""
LAN: Final = intervals("192.0.2.0/24")
CHATS: Final = ids("telegram", "whatsapp")


# ---- pairs of rules -------------------------------------------------------------------------------------------------

HIDDEN: Final = [
    pytest.param(block(), block(), PLAIN, id="no conditions"),
    pytest.param(
        block(), block(clients=LAN, users=ids("ann"), services=CHATS, sites=("telegram",)), TELEGRAM, id="all"
    ),
    pytest.param(block(clients=LAN), block(clients=LAN), TELEGRAM, id="clients: the same"),
    pytest.param(block(clients=LAN), block(clients=intervals("192.0.2.9")), TELEGRAM, id="clients: one of them"),
    pytest.param(
        block(clients=intervals("198.51.100.0/24", "192.0.2.0/24")),
        block(clients=intervals("192.0.2.0/28", "198.51.100.7")),
        TELEGRAM,
        id="clients: several, each in one",
    ),
    pytest.param(
        block(clients=intervals("2001:db8::/32")),
        block(clients=intervals("2001:db8::/48")),
        PLAIN._replace(client="2001:db8::1"),
        id="clients: IPv6",
    ),
    pytest.param(block(users=ids("ann", "bob")), block(users=ids("ann")), TELEGRAM, id="users: one of them"),
    pytest.param(block(), block(users=ids("ann")), TELEGRAM, id="users: some of all"),
    pytest.param(block(services=CHATS), block(services=ids("telegram")), TELEGRAM, id="services: one of them"),
    pytest.param(
        block(services=CHATS, include=ids("shared")), block(services=CHATS), TELEGRAM, id="services: more flags"
    ),
    pytest.param(
        block(services=ids("whatsapp", "messenger"), include=ids("shared", "stale")),
        block(services=ids("messenger"), include=ids("shared")),
        connect("x.fbcdn.net", sni="web.whatsapp.com"),
        id="services: a shared name, first known as another's",
    ),
    pytest.param(block(), block(services=CHATS, include=ids("shared")), FBCDN, id="services: some of all"),
    pytest.param(block(user_agents=("MSIE",)), block(user_agents=("MSIE 6",)), TELEGRAM, id="agents: a longer text"),
    pytest.param(
        block(user_agents=("MSIE", "Trident/")),
        block(user_agents=("(MSIE 6", "Trident/7")),
        TELEGRAM,
        id="agents: each",
    ),
    pytest.param(block(), block(user_agents=("MSIE",)), TELEGRAM, id="agents: some of all"),
    pytest.param(block(sites=("telegram", "a")), block(sites=("telegram",)), TELEGRAM, id="sites: one of them"),
    pytest.param(
        block(sites=("a", "telegram")), block(sites=("telegram", "a")), TELEGRAM, id="sites: in another order"
    ),
    pytest.param(block(), block(sites=("telegram",)), TELEGRAM, id="sites: some of all"),
    pytest.param(block(), block(except_sites=("a",)), PLAIN, id="exceptions of the later one"),
    pytest.param(
        block(except_sites=("a",)), block(except_sites=("b", "a")), PLAIN, id="exceptions: more of the later one"
    ),
    pytest.param(block(), block(schedules=("office",)), PLAIN, id="schedule: some of all time"),
    pytest.param(block(schedules=("office",)), block(schedules=("office",)), PLAIN, id="schedule: the same"),
    pytest.param(block(schedules=("office",)), block(schedules=("mornings",)), PLAIN, id="schedule: a part"),
    pytest.param(block(schedules=("office",)), block(schedules=("split",)), PLAIN, id="schedule: two parts"),
    pytest.param(block(schedules=("always",)), block(schedules=("office",)), PLAIN, id="schedule: a part of always"),
    pytest.param(
        block(schedules=("nights", "office")),
        block(schedules=("mornings", "friday night")),
        PLAIN,
        id="schedules: each",
    ),
    pytest.param(block(), block(start=at("2026-11-01"), end=at("2026-12-01")), PLAIN, id="dates: some of all time"),
    pytest.param(
        block(start=at("2026-11-01"), end=at("2026-12-01")),
        block(start=at("2026-11-01"), end=at("2026-12-01")),
        PLAIN,
        id="dates: the same",
    ),
    pytest.param(
        block(start=at("2026-11-01"), end=at("2026-12-01")),
        block(start=at("2026-11-20"), end=at("2026-11-30")),
        PLAIN,
        id="dates: a part",
    ),
    pytest.param(block(start=at("2026-11-01")), block(start=at("2026-11-02")), PLAIN, id="dates: begins later"),
    pytest.param(block(end=at("2026-12-02")), block(end=at("2026-12-01")), PLAIN, id="dates: ends earlier"),
    pytest.param(allow(), block(), PLAIN, id="allow hides block"),
    pytest.param(allow(clients=LAN, users=ids("ann")), block(clients=LAN, users=ids("ann")), TELEGRAM, id="allow: who"),
    pytest.param(allow(), block(services=CHATS, sites=("telegram",)), TELEGRAM, id="allow: all hides what"),
    pytest.param(
        allow(except_sites=("a",)), block(except_sites=("a",)), PLAIN, id="allow: exceptions are alike for both"
    ),
    pytest.param(allow(services=CHATS), allow(services=ids("telegram")), TELEGRAM, id="allow hides allow, by service"),
    pytest.param(allow(sites=("telegram", "a")), allow(sites=("telegram",)), TELEGRAM, id="allow hides allow, by site"),
    pytest.param(block(services=CHATS), allow(services=ids("telegram")), TELEGRAM, id="block hides allow, by service"),
    pytest.param(block(sites=("telegram", "a")), allow(sites=("telegram",)), TELEGRAM, id="block hides allow, by site"),
    pytest.param(monitor(services=CHATS), block(services=CHATS), TELEGRAM, id="monitor hides block, by service"),
    pytest.param(
        monitor(sites=("a",)), block(sites=("a",)), connect("a.example", sni="x.example"), id="and by any name"
    ),
    pytest.param(block(services=CHATS), monitor(services=CHATS), TELEGRAM, id="block hides monitor"),
]


@pytest.mark.parametrize(("earlier", "later", "request_"), HIDDEN)
def test_hidden(earlier: Rule, later: Rule, request_: Request) -> None:
    """Shown by a request that meets the later rule, on a Monday morning, and is decided by the earlier one."""
    earlier, later = earlier._replace(name="earlier"), later._replace(name="later")
    assert hides(earlier, later)
    assert engine(later).decide(request_, MONDAY_10).rule == "later"
    assert engine(earlier, later).decide(request_, MONDAY_10).rule == "earlier"


NOT_HIDDEN: Final = [
    pytest.param(block(clients=LAN), block(), PLAIN, id="clients: others"),
    pytest.param(
        block(clients=LAN),
        block(clients=intervals("192.0.0.0/16")),
        PLAIN._replace(client="192.0.3.1"),
        id="clients: more",
    ),
    pytest.param(
        block(clients=intervals("192.0.2.0-192.0.2.8", "192.0.2.10-192.0.2.20")),
        block(clients=intervals("192.0.2.0-192.0.2.20")),
        TELEGRAM,
        id="clients: one between",
    ),
    pytest.param(
        block(clients=intervals("0.0.0.0/0")),
        block(clients=intervals("::/0")),
        PLAIN._replace(client="2001:db8::1"),
        id="clients: IPv6",
    ),
    pytest.param(block(clients=intervals("::/0")), block(clients=LAN), TELEGRAM, id="clients: IPv4"),
    pytest.param(block(clients=intervals("0.0.0.0/0", "::/0")), block(), PLAIN, id="clients: one who is not known"),
    pytest.param(block(users=ids("bob")), block(users=ids("ann", "bob")), TELEGRAM, id="users: another"),
    pytest.param(block(users=ids("ann")), block(), PLAIN, id="users: nobody known"),
    pytest.param(block(users=ids("ann")), block(users=ids("Ann")), TELEGRAM._replace(user="Ann"), id="users: the case"),
    pytest.param(block(services=ids("telegram")), block(services=CHATS), get("http://wa.me/"), id="services: another"),
    pytest.param(block(services=CHATS), block(), PLAIN, id="services: none"),
    pytest.param(
        block(services=CHATS), block(services=CHATS, include=ids("shared")), FBCDN, id="services: a flag more"
    ),
    pytest.param(
        block(services=ids("aim"), include=ids("self_hosted")),
        block(services=ids("aim"), include=ids("stale")),
        AIM,
        id="services: another flag",
    ),
    pytest.param(block(services=CHATS), block(sites=("a",)), get("http://a.example/"), id="a service and a site"),
    pytest.param(block(user_agents=("MSIE 7",)), block(user_agents=("MSIE",)), TELEGRAM, id="agents: a shorter text"),
    pytest.param(block(user_agents=("msie",)), block(user_agents=("MSIE",)), TELEGRAM, id="agents: the case"),
    pytest.param(
        block(user_agents=("Trident/",)), block(user_agents=("Trident/", "MSIE")), TELEGRAM, id="agents: another"
    ),
    pytest.param(block(user_agents=("MSIE",)), block(), PLAIN, id="agents: none known"),
    pytest.param(block(sites=("a",)), block(sites=("a", "telegram")), TELEGRAM, id="sites: another"),
    pytest.param(block(sites=("a",)), block(), PLAIN, id="sites: none"),
    pytest.param(block(except_sites=("a",)), block(), get("http://a.example/"), id="exceptions of the earlier one"),
    pytest.param(
        block(except_sites=("a", "b")), block(except_sites=("a",)), get("http://b.example/"), id="exceptions: one more"
    ),
    pytest.param(
        block(sites=("both",), except_sites=("a",)),
        block(sites=("both",)),
        get("http://a.example/"),
        id="an excepted site",
    ),
    pytest.param(
        block(schedules=("mornings",)), block(schedules=("always",)), "2026-11-23T07:59", id="schedule: before"
    ),
    pytest.param(
        block(schedules=("mornings",)), block(schedules=("office",)), "2026-11-23T12:00", id="schedule: after"
    ),
    pytest.param(block(schedules=("split",)), block(schedules=("office",)), "2026-11-23T12:30", id="schedule: between"),
    pytest.param(block(schedules=("office",)), block(), "2026-11-22T10:00", id="schedule: another day"),
    pytest.param(
        block(schedules=("monday",)), block(schedules=("nights",)), "2026-11-24T00:00", id="schedule: midnight"
    ),
    pytest.param(
        block(schedules=("friday night",)),
        block(schedules=("nights",)),
        "2026-11-29T00:00",
        id="schedule: another night",
    ),
    pytest.param(
        block(schedules=("mornings", "nights")),
        block(schedules=("office", "mornings")),
        "2026-11-23T15:00",
        id="schedules",
    ),
    pytest.param(
        block(schedules=("mornings",)),
        block(schedules=("mornings in New York",)),
        "2026-11-23T17:00",
        id="schedule: the same hours elsewhere",
    ),
    pytest.param(block(schedules=("never",)), block(schedules=("mornings",)), "2026-11-23T10:00", id="schedule: never"),
    pytest.param(block(end=at("2026-11-01")), block(), "2026-11-01T00:00", id="dates: the earlier one ends"),
    pytest.param(block(start=at("2026-11-24")), block(), "2026-11-23T10:00", id="dates: the earlier one begins"),
    pytest.param(
        block(end=at("2026-11-23")),
        block(end=at("2026-11-24")),
        "2026-11-23T00:00",
        id="dates: the earlier one ends first",
    ),
    pytest.param(
        block(start=at("2026-11-23")), block(start=at("2026-11-22")), "2026-11-22T23:59", id="dates: it begins after it"
    ),
    pytest.param(
        block(start=at("2026-01-01"), end=at("2026-02-01")),
        block(start=at("2026-01-15"), end=at("2026-02-15")),
        "2026-02-10T10:00",
        id="dates: they overlap",
    ),
    pytest.param(
        allow(services=CHATS),
        block(services=CHATS),
        connect("t.me", sni="slack.com"),
        id="allow: all names must be those services', for a block one is enough",
    ),
    pytest.param(
        allow(services=CHATS),
        monitor(services=ids("telegram")),
        connect("slack.com", sni="t.me"),
        id="allow: the same for monitor, by the second name",
    ),
    pytest.param(
        allow(sites=("a", "b")),
        block(sites=("a",)),
        connect("a.example", sni="x.example"),
        id="allow: all names must be on the list, for a block one is enough",
    ),
    pytest.param(
        allow(services=CHATS),
        block(services=CHATS, sites=("telegram",)),
        connect("t.me", sni="slack.com"),
        id="allow: by service, though the later one asks more",
    ),
]


@pytest.mark.parametrize(("earlier", "later", "witness"), NOT_HIDDEN)
def test_not_hidden(earlier: Rule, later: Rule, witness: Request | str) -> None:
    """Shown by a request, or a time, for which the later rule decides."""
    earlier, later = earlier._replace(name="earlier"), later._replace(name="later")
    request, now = (PLAIN, at(witness)) if isinstance(witness, str) else (witness, MONDAY_10)
    assert engine(earlier, later).decide(request, now).rule == "later"
    assert not hides(earlier, later)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(
            block(schedules=("first half", "second half")), block(schedules=("office",)), id="two schedules together"
        ),
        pytest.param(
            block(schedules=("mornings",)), block(schedules=("mornings in Amsterdam",)), id="two zones with one clock"
        ),
        pytest.param(block(schedules=("always",)), block(), id="a schedule that is always"),
        pytest.param(block(sites=("both",)), block(sites=("a",)), id="a list with all entries of the other"),
        pytest.param(block(services=ids("telegram")), block(sites=("telegram",)), id="a site that is a service's"),
    ],
)
def test_what_is_hidden_by_more_than_one_condition_is_not_found(earlier: Rule, later: Rule) -> None:
    """The limits that the module names; who finds more may move a line to the table above."""
    assert not hides(earlier, later)


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(block(clients=()), id="clients"),
        pytest.param(block(users=frozenset()), id="users"),
        pytest.param(block(services=frozenset()), id="services"),
        pytest.param(block(user_agents=()), id="agents"),
        pytest.param(block(sites=()), id="sites"),
        pytest.param(block(schedules=()), id="schedules"),
    ],
)
def test_a_condition_that_nothing_meets_hides_nothing(later: Rule) -> None:
    """Neither does it hold for what has no such condition, nor is it mistaken for a rule without it."""
    assert not hides(later, block())
    assert hides(block(), later)


# ---- any two rules --------------------------------------------------------------------------------------------------

CLIENTS: Final = (
    LAN,
    intervals("192.0.2.0/28"),
    intervals("192.0.2.9"),
    intervals("192.0.2.9", "2001:db8::/32"),
    intervals("0.0.0.0/0", "::/0"),
    intervals("::/0"),
    (),
)
USERS: Final = (ids("ann"), ids("ann", "bob"), ids())
SERVICES: Final = ("whatsapp", "messenger", "telegram", "aim", "icq", "matrix_element", "skype", "microsoft_teams")
AGENTS: Final = ("MSIE", "MSIE 6", "SIE", "WhatsApp/", "")
INSTANTS: Final = (at("2026-11-01"), MONDAY_10, at("2026-11-28T02:00"))

CONDITIONS: Final[dict[str, st.SearchStrategy[object]]] = {
    "action": st.sampled_from(ACTIONS),
    "clients": st.none() | st.sampled_from(CLIENTS),
    "users": st.none() | st.sampled_from(USERS),
    "services": st.none() | st.frozensets(st.sampled_from(SERVICES), max_size=4),
    "include": st.frozensets(st.sampled_from(FLAGS)),
    "user_agents": st.none() | st.lists(st.sampled_from(AGENTS), max_size=2, unique=True).map(tuple),
    "sites": st.none() | st.lists(st.sampled_from(sorted(SITES)), max_size=3, unique=True).map(tuple),
    "except_sites": st.just(()) | st.lists(st.sampled_from(sorted(SITES)), max_size=2, unique=True).map(tuple),
    "schedules": st.none() | st.lists(st.sampled_from(sorted(SCHEDULES)), max_size=2, unique=True).map(tuple),
    "start": st.none() | st.sampled_from(INSTANTS),
    "end": st.none() | st.sampled_from(INSTANTS),
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Rule, Rule]:
    """A rule with a few conditions, and one that differs from it in a few."""
    names = st.sets(st.sampled_from(sorted(CONDITIONS)), max_size=4)
    conditions = {name: draw(CONDITIONS[name]) for name in sorted(draw(names))}
    changes = {name: draw(CONDITIONS[name]) for name in sorted(draw(names))}
    plain = Rule("earlier", draw(CONDITIONS["action"]))
    earlier = plain._replace(**conditions)
    return earlier, earlier._replace(name="later", **changes)


TARGETS: Final = (
    PLAIN,
    get("https://t.me/x"),
    get("http://a.example/"),
    get("http://chat7.b.example/"),
    get("http://chat7.example:5222/"),
    get("https://matrix.a.example/_matrix/client/v3/sync"),
    FBCDN,
    AIM,
    connect("t.me"),
    connect("x.fbcdn.net", sni="t.me"),
    connect("t.me", sni="web.whatsapp.com"),
    connect("web.whatsapp.com", sni="x.fbcdn.net"),
    connect("www.messenger.com", sni="x.fbcdn.net"),
    connect("teams.microsoft.com", sni="x.skype.com"),
    connect("a.example", sni="b.example"),
    connect("a.example", sni="x.example"),
    connect("x.example", sni="t.me"),
    connect("a.example", sni="t.me"),
    connect("192.0.2.7", sni="a.example"),
    connect("64.12.25.1", sni="a.example"),
    connect("64.12.25.1", sni="x.fbcdn.net"),
)
OF_CLIENTS: Final = ("192.0.2.9", "192.0.2.99", "2001:db8::1", "198.51.100.1", None)
OF_USERS: Final = ("ann", "bob", "eve", None)
OF_AGENTS: Final = ("Mozilla (MSIE 6.0)", "MSIE 7", "WhatsApp/2.24", "curl", None)
TIMES: Final = (
    *INSTANTS,
    *(at(f"2026-11-{text}") for text in ("23T08:00", "23T12:00", "23T12:30", "23T17:00", "23T23:00", "29T12:00")),
)


def requests_about(earlier: Rule, later: Rule) -> Iterator[tuple[Request, float]]:
    """Yields all requests that differ in something that either of the rules asks for."""
    rules = (earlier, later)
    clients = OF_CLIENTS if any(rule.clients is not None for rule in rules) else (None,)
    users = OF_USERS if any(rule.users is not None for rule in rules) else (None,)
    asks_agent = any(rule.user_agents is not None or rule.services is not None for rule in rules)
    timed = any((rule.schedules, rule.start, rule.end) != (None, None, None) for rule in rules)
    for target, client, user, agent in product(TARGETS, clients, users, OF_AGENTS if asks_agent else (None,)):
        for now in TIMES if timed else (MONDAY_10,):
            yield target._replace(client=client, user=user, user_agent=agent), now


@settings(max_examples=300)
@given(pairs())
def test_a_rule_that_is_said_to_be_hidden_never_decides(rules: tuple[Rule, Rule]) -> None:
    earlier, later = rules
    assume(hides(earlier, later))
    both, alone = engine(earlier, later), engine(later)
    asked = 0
    for request, now in requests_about(earlier, later):
        assert both.decide(request, now).rule != "later", (request, now)
        asked += alone.decide(request, now).rule == "later"
    event(f"the later one alone decides: {bool(asked)}")


@given(pairs(), st.sampled_from(ACTIONS))
def test_a_rule_hides_its_equal_unless_it_allows_what_the_other_blocks(rules: tuple[Rule, Rule], action: str) -> None:
    earlier, later = rules[0], rules[0]._replace(name="later", action=action)
    by_names = earlier.services is not None or earlier.sites is not None
    assert hides(earlier, later) is not (earlier.action == "allow" != action and by_names)
