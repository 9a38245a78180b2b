"""Policies and requests for properties: any conditions, with values that often enough fit each other."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import FLAGS, Circumstances, Policy, Response, Rule, Schedule, SiteList
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
