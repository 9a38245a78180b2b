"""What would change the outcome: each kind of change, in words, tried and true."""

from datetime import UTC, datetime

import pytest
from arbitrary import CATALOGUE

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import Circumstances, Policy, Response, Rule, Schedule, SiteList
from squid_imhelper.base.schedule import parse_hours, week_stretches
from squid_imhelper.offline.check import build_request
from squid_imhelper.offline.remedies import MOST, Remedy, Subject, remedies
from squid_imhelper.offline.variants import Variants
from squid_imhelper.offline.verdicts import Case, judge
from squid_imhelper.sources.compiler import compile_policy

NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC).timestamp()
"""A Monday, 9:30 in Brussels."""
DAY = 86_400
SCHEDULES = {
    "office": Schedule("office", "Europe/Brussels", week_stretches(range(5), [parse_hours("08:00-12:00")])),
    "evening": Schedule("evening", "Europe/Brussels", week_stretches(range(7), [parse_hours("18:00-22:00")])),
}
SITES = {
    "company": SiteList("company", domains=("intranet.example",)),
    "own": SiteList("own", domains=("chat.example",)),
}
BOSS = merge([parse_interval("192.0.2.1")[0]])


def ids(*names: str) -> frozenset[str]:
    return frozenset(names)


def found(rules: tuple[Rule, ...], url: str, **circumstances: str) -> tuple[Remedy, ...]:
    program = compile_policy(Policy("p", rules, Response(), sites=SITES, schedules=SCHEDULES), CATALOGUE)
    variants = Variants(program, CATALOGUE)
    request = build_request(url, Circumstances(**circumstances))
    case = Case(variants, request, NOW, variants.everything.signatures(request))
    decision = variants.engine.decide(request, NOW)
    return remedies(Subject(case, decision, judge(case, decision)))


MEEBO = "http://meebo.com/"
BLOCK = Rule("b", "block", services=ids("meebo", "slack"), line=7)
ONLY = Rule("b", "block", services=ids("meebo"))
OFFICE = Rule("office", "block", services=ids("meebo"), schedules=("office",))
EVENING = Rule("evening", "block", services=ids("meebo"), schedules=("evening",))
BEHIND = Rule("behind", "block", services=ids("meebo", "aim"))

CASES = [
    # what lets a blocked request through
    pytest.param((BLOCK,), MEEBO, {}, 'rule "b" (line 7) with services = [..., "-meebo"]', id="leave it out"),
    pytest.param((ONLY,), MEEBO, {}, 'without rule "b"', id="nothing would be left"),
    pytest.param(
        (BLOCK, BEHIND), MEEBO, {}, 'each rule that blocks it with services = [..., "-meebo"]', id="two rules block it"
    ),
    pytest.param(
        (Rule("b", "block", services=ids("aim", "icq"), include=ids("stale")),),
        "http://64.12.25.3/",
        {},
        'rule "b" without "stale" in include',
        id="include less",
    ),
    pytest.param(
        (BLOCK,),
        MEEBO,
        {"client": "10.0.0.5"},
        'a new rule at the top: clients = ["10.0.0.5"], services = ["meebo"], action = "allow"',
        id="for this client",
    ),
    pytest.param(
        (Rule("all", "block"),),
        "http://a.example/",
        {"user": 'e"ve'},
        'a new rule at the top: users = ["e\\"ve"], sites = ["own"], action = "allow"; '
        'below [sites]: own = { domains = ["a.example"] }',
        id="for this user",
    ),
    pytest.param(
        (Rule("ours", "block", sites=("own",)), BLOCK),
        "meebo.com:443",
        {"method": "CONNECT", "sni": "www.meebo.com"},
        'a new rule at the top: sites = ["own_1"], action = "allow"; '
        'below [sites]: own_1 = { domains = ["meebo.com", "www.meebo.com"] }',
        id="for these names, in a list whose name is free",
    ),
    pytest.param(
        (Rule("all", "block"),),
        "http://[2001:db8::1]/",
        {},
        'a new rule at the top: sites = ["own"], action = "allow"; below [sites]: own = { networks = ["2001:db8::1"] }',
        id="for an address",
    ),
    pytest.param(
        (BLOCK,),
        MEEBO,
        {},
        'rule "b" (line 7) with except_sites = [..., "own"]; below [sites]: own = { domains = ["meebo.com"] }',
        id="except it",
    ),
    pytest.param((OFFICE,), MEEBO, {}, "later, from Mon 2026-11-23 12:00 Europe/Brussels on", id="another time"),
    pytest.param(
        (Rule("boss", "allow", clients=BOSS), BLOCK),
        MEEBO,
        {},
        'for client 192.0.2.1: rule "boss" allows it then',
        id="another client",
    ),
    pytest.param(
        (Rule("ann", "monitor", users=ids("ann")), BLOCK),
        MEEBO,
        {},
        'for user ann: rule "ann" records it then',
        id="another user",
    ),
    pytest.param(
        (Rule("kiosk", "allow", user_agents=("Kiosk",)), BLOCK),
        MEEBO,
        {},
        "with 'Kiosk' in the user agent: rule \"kiosk\" allows it then",
        id="another user agent",
    ),
    pytest.param(
        (Rule("ours", "allow", sites=("company",)), BLOCK),
        MEEBO,
        {},
        'with meebo.com on the list company: rule "ours" allows it then',
        id="on a list",
    ),
    pytest.param(
        (Rule("old", "allow", services=ids("meebo"), end=NOW - DAY), BLOCK),
        MEEBO,
        {},
        'rule "old" without until',
        id="a rule that has expired",
    ),
    pytest.param(
        (Rule("lan", "allow", clients=merge([parse_interval("10.0.0.0/8")[0]])), BLOCK),
        MEEBO,
        {},
        'for client 10.0.0.1, one of 10.0.0.0/8: rule "lan" allows it then',
        id="a client of a network",
    ),
    # what blocks a request that is allowed
    pytest.param(
        (EVENING,), MEEBO, {},
        'later, from Mon 2026-11-23 18:00 Europe/Brussels on: rule "evening" blocks it then',
        id="later",
    ),
    pytest.param(
        (Rule("new", "block", start=NOW + 90 * DAY), EVENING),
        "http://a.example/", {},
        'later, from Sun 2027-02-21 09:30 Europe/Brussels on: rule "new" blocks it then',
        id="much later",
    ),
    pytest.param(
        (Rule("b", "block", services=ids("slack")),), MEEBO, {}, 'rule "b" with services = [..., "meebo"]', id="name it"
    ),
    pytest.param(
        (Rule("b", "block", services=ids("aim")),), "http://64.12.25.3/", {}, 'rule "b" with include = [..., "stale"]',
        id="include more",
    ),
    pytest.param(
        (Rule("b", "block", services=ids("whatsapp")),), "http://fbcdn.net/", {},
        "rule \"b\" with include = [..., \"shared\"] (hits more than that: see 'squid-imhelper services whatsapp')",
        id="include what is shared",
    ),
    pytest.param(
        (Rule("guests", "block", services=ids("meebo"), clients=BOSS),), MEEBO, {"client": "10.0.0.1"},
        'for client 192.0.2.1: rule "guests" blocks it then',
        id="a client that is blocked",
    ),
    pytest.param(
        (Rule("b", "block", except_sites=("company",)),), "http://intranet.example/", {},
        'rule "b" without except_sites',
        id="no exception",
    ),
    pytest.param(
        (Rule("b", "block", sites=("own",)),), "http://a.example/", {},
        'with a.example on the list own: rule "b" blocks it then',
        id="on a list that is blocked",
    ),
    pytest.param(
        (Rule("rest", "monitor", except_sites=("own",)), Rule("b", "block", sites=("own",))), "http://a.example/", {},
        'with a.example on the list own: rule "b" blocks it then',
        id="on a list that is an exception, too",
    ),
    pytest.param(
        (Rule("ok", "allow", services=ids("meebo")), BLOCK), MEEBO, {},
        'without rule "ok": rule "b" (line 7) blocks it then',
        id="without the rule that allows",
    ),
    pytest.param(
        (Rule("m", "monitor", services=ids("meebo")),), MEEBO, {}, 'rule "m" with action = "block"',
        id="block what is recorded",
    ),
    pytest.param((), MEEBO, {}, 'a new rule at the top: services = ["meebo"], action = "block"', id="no rule asks"),
    pytest.param(
        (), "http://64.12.25.3/", {},
        'a new rule at the top: services = ["aim"], include = ["stale"], action = "block"',
        id="what is off",
    ),
    pytest.param(
        (), "http://a.example/", {},
        'a new rule at the top: sites = ["own"], action = "block"; below [sites]: own = { domains = ["a.example"] }',
        id="nothing that is known",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "url", "circumstances", "change"), CASES)
def test_a_change_and_what_comes_of_it(
    rules: tuple[Rule, ...], url: str, circumstances: dict[str, str], change: str
) -> None:
    assert change in [remedy.change for remedy in found(rules, url, **circumstances)]


NONE = [
    pytest.param((OFFICE, BEHIND), MEEBO, {}, "later", id="another rule blocks it at any time"),
    pytest.param((BLOCK, BEHIND), MEEBO, {}, 'rule "b" (line 7) with', id="another rule blocks it, too"),
    pytest.param(
        (Rule("m", "monitor", services=ids("meebo")), Rule("boss", "block", clients=BOSS)),
        MEEBO,
        {},
        "for client",
        id="a rule before it lets through",
    ),
    pytest.param(
        (Rule("boss", "allow", clients=BOSS, users=ids("ann")), BLOCK), MEEBO, {}, "for ", id="two conditions fail"
    ),
    pytest.param((BLOCK,), "http://meebo.com/", {"user": "a\nb"}, "a new rule at the top: users", id="no such name"),
    pytest.param(
        (Rule("all", "block"),), "http://%80.example/", {}, "a new rule at the top: sites", id="no name for a list"
    ),
    pytest.param((), "http://blocked.invalid/", {}, "", id="the block page is open"),
]


@pytest.mark.parametrize(("rules", "url", "circumstances", "beginning"), NONE)
def test_what_would_change_nothing_is_not_told(
    rules: tuple[Rule, ...], url: str, circumstances: dict[str, str], beginning: str
) -> None:
    assert [r.change for r in found(rules, url, **circumstances) if r.change.startswith(beginning)] == []


def test_only_so_many_are_told() -> None:
    rules = (*(Rule(f"r{n}", "allow", users=ids(f"u{n}")) for n in range(20)), BLOCK)
    assert len(found(rules, MEEBO, client="10.0.0.1", user="x")) == MOST


def test_of_several_values_the_first_that_helps_is_told() -> None:
    clients = merge(parse_interval(text)[0] for text in ("192.0.2.1", "198.51.100.7"))
    rules = (Rule("not he", "block", clients=BOSS), Rule("some", "allow", clients=clients), BLOCK)
    changes = [remedy.change for remedy in found(rules, MEEBO)]
    assert [change for change in changes if change.startswith("for client")] == [
        'for client 198.51.100.7: rule "some" allows it then'
    ]


def test_a_flag_is_told_once_for_a_rule() -> None:
    """Though two of its services have a shared sign in the request."""
    changes = [
        r.change for r in found((Rule("b", "block", services=ids("whatsapp", "messenger")),), "http://fbcdn.net/")
    ]
    assert sum(change.startswith('rule "b" with include') for change in changes) == 1


def test_a_longer_list_is_longer_for_every_rule_that_names_it() -> None:
    """So what one rule lets through and another then blocks is no remedy."""
    rules = (
        Rule("blocked", "block", sites=("company",)),
        Rule("ours", "allow", sites=("company",)),
        Rule("all", "block"),
    )
    assert [r.change for r in found(rules, "http://a.example/") if "on the list" in r.change] == []
