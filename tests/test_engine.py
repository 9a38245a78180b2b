"""Decisions: the table of `data/decisions.txt`, and what the conditions of a rule mean."""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import (
    FLAGS,
    Circumstances,
    Evidence,
    Flag,
    Interval,
    Kind,
    Policy,
    Request,
    Response,
    Rule,
    Schedule,
    SiteList,
)
from squid_imhelper.base.schedule import DAY, WEEK, parse_days, parse_hours, week_stretches
from squid_imhelper.base.urls import NOWHERE
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.expressions import REST, ExpressionTimeoutError
from squid_imhelper.matching.program import UnknownNameError
from squid_imhelper.offline.check import build_request
from squid_imhelper.sources.catalogue import Catalogue, load_catalogue
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import built_in_policy
from squid_imhelper.squid.wire import Answer, Query, encode_rewrite, template_values

CATALOGUE = load_catalogue()
ALL = frozenset(CATALOGUE.services)
NONE = Catalogue({}, {})
NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC).timestamp()
"""Any time; where it matters, the test says which."""
CASES = Path(__file__).parent / "data" / "decisions.txt"
NUMBER_OF_CASES = 338


# ---- the table ------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One line of the table."""

    line: int
    action: str
    service: str | None
    request: Request
    include: frozenset[Flag]


def read_cases() -> Iterator[Case]:
    for number, text in enumerate(CASES.read_text(encoding="utf-8").splitlines(), 1):
        if text and not text.startswith("#"):
            try:
                yield read_case(number, text)
            except Exception as error:
                raise ValueError(f"{CASES.name}:{number}: {text}") from error


def read_case(number: int, text: str) -> Case:
    head, *options = text.split(" | ")
    action, service, method, target = head.split()
    more = dict(option.split(": ", 1) for option in options)
    assert more.keys() <= {"agent", "type", "sni", "destination", "include", "why"}, more
    circumstances = Circumstances(
        method=None if method == "-" else method,
        user_agent=more.get("agent"),
        content_type=more.get("type"),
        sni=more.get("sni"),
    )
    request = build_request(target, circumstances)
    if "destination" in more:
        address, port = more["destination"].split()
        request = request._replace(names=(*request.names, address), destination_port=int(port))
    words = more.get("include", "").split()
    assert set(words) <= set(FLAGS), words
    include = frozenset(flag for flag in FLAGS if flag in words)
    return Case(number, action, None if service == "-" else service, request, include)


@cache
def engine_with(include: frozenset[Flag]) -> Engine:
    """The built-in policy; or one that blocks all, with the signatures that are off by default."""
    if not include:
        return Engine(compile_policy(built_in_policy(CATALOGUE), CATALOGUE))
    return engine(Rule("all", "block", services=ALL, include=include))


def test_decisions() -> None:
    """Every line of the table is decided as it says."""
    checked, wrong = 0, []
    for case in read_cases():
        decision = engine_with(case.include).decide(case.request, NOW)
        if (decision.action, decision.service) != (case.action, case.service):
            wrong.append(f"{CASES.name}:{case.line}: {decision.action} {decision.service}, by {decision.evidence}")
        checked += 1
    assert not wrong, "\n".join(wrong)
    assert checked == NUMBER_OF_CASES


def test_every_service_is_in_the_table() -> None:
    """Each service that is recognised by default is recognised in at least one line that includes nothing."""
    by_default = {service.id for service in CATALOGUE.services.values() if any(not s.flag for s in service.signatures)}
    assert by_default - {case.service for case in read_cases() if not case.include} == set()


def test_no_line_is_in_the_table_twice() -> None:
    lines = [text for text in CASES.read_text(encoding="utf-8").splitlines() if text and text[0] != "#"]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("service", sorted(ALL))
def test_each_name_is_its_service(service: str) -> None:
    """A CONNECT to any name of a service is that service, and one to a name that ends alike is not."""
    for signature in CATALOGUE.services[service].signatures:
        if signature.kind in (Kind.HOST, Kind.DOMAIN) and not signature.flag:
            assert engine_with(frozenset()).decide(connect(signature.value), NOW).service == service
            assert engine_with(frozenset()).decide(connect(f"{signature.value}.evil.example"), NOW).service is None


# ---- helpers --------------------------------------------------------------------------------------------------------


def engine(*rules: Rule, response: Response | None = None, sites: Iterable[SiteList] = ()) -> Engine:
    named = {own.name: own for own in sites}
    return Engine(compile_policy(Policy("test", rules, response or Response(), sites=named), CATALOGUE))


def get(url: str, **rest: object) -> Request:
    return build_request(url, Circumstances())._replace(**rest)


def connect(host: str, port: int = 443, sni: str | None = None, **rest: object) -> Request:
    return build_request(f"{host}:{port}", Circumstances(method="CONNECT", sni=sni))._replace(**rest)


def intervals(*literals: str) -> tuple[Interval, ...]:
    return merge(parse_interval(literal)[0] for literal in literals)


def ids(*names: str) -> frozenset[str]:
    return frozenset(names)


TELEGRAM = get("https://t.me/x")
PLAIN = get("http://example.org/")


# ---- rules ----------------------------------------------------------------------------------------------------------


def test_the_first_rule_that_holds_decides() -> None:
    rules = [
        Rule("other", "block", services=ids("slack")),
        Rule("first", "monitor", services=ids("telegram")),
        Rule("second", "block", services=ids("telegram")),
    ]
    decision = engine(*rules).decide(TELEGRAM, NOW)
    assert (decision.action, decision.rule, decision.service) == ("monitor", "first", "telegram")
    assert decision.evidence == Evidence("domain", "t.me")


def test_without_a_rule_that_holds_it_is_allowed_and_still_known() -> None:
    decision = engine(Rule("other", "block", services=ids("slack"))).decide(TELEGRAM, NOW)
    assert (decision.action, decision.rule, decision.service) == ("allow", None, "telegram")


def test_a_time_zone_that_this_machine_does_not_know_is_told_before_anything_is_decided() -> None:
    """And not with the first request, when the engine has taken the place of another one."""
    program = compile_policy(Policy("p", (Rule("r", "block"),)), CATALOGUE)
    broken = program._replace(schedules={"s": Schedule("s", "Nowhere/Land", ((0, 60),))})
    with pytest.raises(ImhelperError, match="unknown time zone"):
        Engine(broken)


def test_a_policy_without_rules_allows_all() -> None:
    assert engine().decide(TELEGRAM, NOW).action == "allow"


def test_a_rule_without_conditions_holds_for_all() -> None:
    decision = engine(Rule("all", "block")).decide(PLAIN, NOW)
    assert (decision.action, decision.rule, decision.service, decision.evidence) == ("block", "all", None, None)


CONDITIONS: dict[str, dict[str, object]] = {
    "clients": {"clients": intervals("192.0.2.0/24", "2001:db8::/32")},
    "users": {"users": ids("ann", "bob")},
    "services": {"services": ids("telegram", "slack")},
    "user_agents": {"user_agents": ("MSIE", "Trident/")},
    "sites": {"sites": ("telegram", "other port")},
}
LISTS = (SiteList("telegram", domains=("t.me",)), SiteList("other port", ports=(8080,)))
FITTING = TELEGRAM._replace(client="192.0.2.9", user="ann", user_agent="Mozilla (MSIE 6.0)")
NOT_FITTING = {
    "clients": FITTING._replace(client="198.51.100.9"),
    "users": FITTING._replace(user="eve"),
    "services": FITTING._replace(target=PLAIN.target, names=PLAIN.names),
    "user_agents": FITTING._replace(user_agent="Mozilla (msie 6.0)"),
    "sites": FITTING._replace(target=get("https://wa.me/").target, names=("wa.me",)),
}
UNKNOWN = {
    "clients": FITTING._replace(client=None),
    "users": FITTING._replace(user=None),
    "user_agents": FITTING._replace(user_agent=None),
    "sites": FITTING._replace(target=NOWHERE, names=()),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_one_condition(condition: str) -> None:
    """It holds for what fits, and neither for what does not nor for what is not known."""
    one = engine(Rule("rule", "block", **CONDITIONS[condition]), sites=LISTS)
    assert one.decide(FITTING, NOW).rule == "rule"
    assert one.decide(NOT_FITTING[condition], NOW).rule is None
    if condition in UNKNOWN:
        assert one.decide(UNKNOWN[condition], NOW).rule is None


@pytest.mark.parametrize("left_out", CONDITIONS)
def test_conditions_must_all_hold(left_out: str) -> None:
    everything = {key: value for condition in CONDITIONS.values() for key, value in condition.items()}
    one = engine(Rule("rule", "block", **everything), sites=LISTS)
    assert one.decide(FITTING, NOW).rule == "rule"
    assert one.decide(NOT_FITTING[left_out], NOW).rule is None


@pytest.mark.parametrize(
    ("rule", "request_"),
    [
        pytest.param(Rule("r", "block", **CONDITIONS["clients"]), PLAIN._replace(client="2001:db8::1"), id="clients"),
        pytest.param(Rule("r", "block", **CONDITIONS["users"]), PLAIN._replace(user="bob"), id="users"),
        pytest.param(Rule("r", "block", **CONDITIONS["services"]), get("https://slack.com/"), id="services"),
        pytest.param(
            Rule("r", "block", **CONDITIONS["user_agents"]), PLAIN._replace(user_agent="Trident/7"), id="user agents"
        ),
        pytest.param(Rule("r", "block", **CONDITIONS["sites"]), get("http://example.org:8080/"), id="sites"),
    ],
)
def test_of_the_values_of_a_condition_one_is_enough(rule: Rule, request_: Request) -> None:
    assert engine(rule, sites=LISTS).decide(request_, NOW).rule == "r"


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(Rule("r", "block", clients=()), id="clients"),
        pytest.param(Rule("r", "block", users=frozenset()), id="users"),
        pytest.param(Rule("r", "block", services=frozenset()), id="services"),
        pytest.param(Rule("r", "block", user_agents=()), id="user agents"),
        pytest.param(Rule("r", "block", sites=()), id="sites"),
        pytest.param(Rule("r", "block", schedules=()), id="schedules"),
    ],
)
def test_an_empty_condition_is_met_by_nothing(rule: Rule) -> None:
    assert engine(rule).decide(FITTING, NOW).rule is None


def test_a_method_that_is_not_known_counts_as_met() -> None:
    one = engine(Rule("r", "block", services=ids("msn_messenger")))
    poll = get("http://192.0.2.7/gateway/gateway.dll?SessionID=1.2")
    actions = [one.decide(poll._replace(method=method), NOW).action for method in (None, "POST", "GET")]
    assert actions == ["block", "block", "allow"]


# ---- user agents ----------------------------------------------------------------------------------------------------

BROWSERS = Rule(
    "safe sites only",
    "block",
    user_agents=("MSIE", "Trident/"),
    except_sites=("safe",),
)
SAFE = SiteList("safe", domains=("intranet.example", "windowsupdate.com"))


@pytest.mark.parametrize(
    ("request_", "action", "service", "evidence"),
    [
        pytest.param(
            PLAIN._replace(user_agent="x MSIE 6.0"), "block", None, Evidence("user_agent", "MSIE"), id="blocked"
        ),
        pytest.param(PLAIN._replace(user_agent="x Firefox"), "allow", None, None, id="another browser"),
        pytest.param(get("http://a.intranet.example/", user_agent="MSIE"), "allow", None, None, id="a safe site"),
        pytest.param(get("http://notintranet.example/", user_agent="MSIE"), "block", None, None, id="ends alike"),
        pytest.param(connect("intranet.example", user_agent="MSIE"), "allow", None, None, id="a safe tunnel"),
        pytest.param(
            connect("intranet.example", sni="evil.example", user_agent="MSIE"),
            "block",
            None,
            None,
            id="only one name safe",
        ),
        pytest.param(
            connect("evil.example", sni="intranet.example", user_agent="MSIE"),
            "block",
            None,
            None,
            id="only the SNI safe",
        ),
        pytest.param(
            connect("a.intranet.example", sni="windowsupdate.com", user_agent="MSIE"),
            "allow",
            None,
            None,
            id="both safe",
        ),
        pytest.param(
            connect("192.0.2.7", sni="intranet.example", user_agent="MSIE"),
            "allow",
            None,
            None,
            id="an address and its SNI",
        ),
        pytest.param(TELEGRAM._replace(user_agent="MSIE"), "block", "telegram", None, id="a messenger is named"),
    ],
)
def test_user_agent_rule(request_: Request, action: str, service: str | None, evidence: Evidence | None) -> None:
    """A rule about agents blocks what is no service; the decision says so."""
    decision = engine(BROWSERS, sites=[SAFE]).decide(request_, NOW)
    assert (decision.action, decision.service) == (action, service)
    assert evidence in (None, decision.evidence)


# ---- sites ----------------------------------------------------------------------------------------------------------

CHAT_NUMBERED = r"^https?://chat[0-9]+\.example\.net/"
SITE_CASES = [
    ({"domains": ("example.org",)}, get("http://a.example.org/"), "site example.org"),
    ({"domains": ("example.org",)}, get("http://aexample.org/"), None),
    ({"domains": ("example.org",)}, get("http://example.org.evil.example/"), None),
    ({"domains": ("example.org",)}, connect("example.org"), "site example.org"),
    ({"domains": ("example.org",)}, connect("192.0.2.1", sni="www.example.org"), "site example.org"),
    ({"urls": ("example.org/chat",)}, get("http://a.example.org/chat/x"), "site example.org/chat"),
    ({"urls": ("example.org/chat",)}, get("http://example.org/chatter"), None),
    ({"urls": ("example.org/chat",)}, get("http://example.org/x?/chat"), None),
    ({"urls": ("example.org/chat",)}, get("http://aexample.org/chat"), None),
    ({"urls": ("example.org",)}, get("http://example.org/any"), "site example.org"),
    ({"urls": ("example.org/chat",)}, connect("example.org"), None),
    ({"urls": ("example.org:8080/chat",)}, get("http://example.org:8080/chat"), "site example.org:8080/chat"),
    ({"urls": ("example.org:8080/chat",)}, get("http://example.org/chat"), None),
    ({"hosts": ("www.example.org",)}, get("http://www.example.org/"), "site www.example.org"),
    ({"hosts": ("www.example.org",)}, get("http://a.www.example.org/"), None),
    ({"hosts": ("192.0.2.9",)}, connect("[::ffff:192.0.2.9]"), "site 192.0.2.9"),
    ({"networks": intervals("192.0.2.0/24")}, get("http://192.0.2.9/"), "site 192.0.2.9"),
    ({"networks": intervals("192.0.2.0/24")}, get("http://[::ffff:192.0.2.9]/"), "site 192.0.2.9"),
    ({"networks": intervals("192.0.2.0/24")}, get("http://192.0.3.9/"), None),
    ({"networks": intervals("::/0", "0.0.0.0/0")}, get("http://example.org/"), None),
    ({"ports": (1863,)}, connect("192.0.2.9", 1863), "site 1863"),
    ({"ports": (1863,)}, connect("192.0.2.9", 1864), None),
    ({"regex": (CHAT_NUMBERED,)}, get("HTTP://Chat7.EXAMPLE.net:80/x"), f"regex {CHAT_NUMBERED}"),
    ({"regex": (CHAT_NUMBERED,)}, get("http://x/?u=http://chat7.example.net/"), None),
    ({"regex": (r"\?x=1$",)}, get("http://example.net/a?x=1#f"), r"regex \?x=1$"),
    ({"regex": ("^a:443$",)}, connect("A."), "regex ^a:443$"),
    ({"regex": ("^a:443$",)}, connect("192.0.2.9", sni="a"), "regex ^a:443$"),
    ({"regex": (r"^\[::a\]:443$",)}, connect("[0::000A]"), r"regex ^\[::a\]:443$"),
    ({"regex": ("nothing", "a+")}, get("http://a/"), "regex a+"),
    ({"regex": ("example",)}, get("http://192.0.2.1/"), None),
]


@pytest.mark.parametrize(
    ("entries", "request_", "evidence"),
    [pytest.param(*case, id=f"{case[0]} {case[1].target.url}") for case in SITE_CASES],
)
def test_site_list(entries: dict[str, tuple[object, ...]], request_: Request, evidence: str | None) -> None:
    """Any one entry puts a request on the list; an expression sees the normalised URL, or host:port of a CONNECT."""
    decision = engine(Rule("own", "block", sites=("s",)), sites=[SiteList("s", **entries)]).decide(request_, NOW)
    assert decision.action == ("block" if evidence else "allow")
    assert (" ".join(decision.evidence) if decision.evidence else None) == evidence


@pytest.mark.parametrize("entry", range(2))
def test_of_the_entries_of_a_site_list_one_is_enough(entry: int) -> None:
    sites = SiteList("s", domains=("example.org",), ports=(8080,))
    request_ = (get("http://example.org/"), get("http://example.net:8080/"))[entry]
    assert engine(Rule("own", "block", sites=("s",)), sites=[sites]).decide(request_, NOW).action == "block"


OWN = (SiteList("a", domains=("intranet.example",)), SiteList("b", domains=("partner.example",)))


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        pytest.param(connect("intranet.example"), True, id="the host"),
        pytest.param(connect("intranet.example", sni="intranet.example"), True, id="both the same"),
        pytest.param(connect("intranet.example", sni="partner.example"), True, id="each on a list"),
        pytest.param(connect("intranet.example", sni="t.me"), False, id="only the host"),
        pytest.param(connect("t.me", sni="intranet.example"), False, id="only the SNI"),
        pytest.param(connect("192.0.2.7", sni="intranet.example"), True, id="an address has the SNI for its name"),
        pytest.param(connect("192.0.2.7", sni="t.me"), False, id="an address and another SNI"),
        pytest.param(connect("192.0.2.7"), False, id="an address alone"),
    ],
)
def test_allow_needs_every_name(request_: Request, allowed: bool) -> None:
    rules = [Rule("own sites", "allow", sites=("a", "b")), Rule("nothing else", "block")]
    assert (engine(*rules, sites=OWN).decide(request_, NOW).action == "allow") is allowed


@pytest.mark.parametrize(
    ("host", "sni", "action"),
    [
        pytest.param("app.slack.com", "app.slack.com", "allow", id="both"),
        pytest.param("app.slack.com", "example.org", "allow", id="the other is no service"),
        pytest.param("web.whatsapp.com", "app.slack.com", "block", id="the host is another service"),
        pytest.param("e3.whatsapp.net", "app.slack.com", "block", id="the SNI is an exact host, the host is not"),
        pytest.param("149.154.167.51", "app.slack.com", "block", id="the address is another service"),
    ],
)
def test_an_sni_does_not_let_another_service_through(host: str, sni: str, action: str) -> None:
    """Anybody can write the name of an allowed service into his SNI; the connection goes to the host."""
    rules = [Rule("slack", "allow", services=ids("slack")), Rule("others", "block", services=ALL)]
    assert engine(*rules).decide(connect(host, sni=sni), NOW).action == action


@pytest.mark.parametrize("action", ["block", "monitor"])
@pytest.mark.parametrize(("host", "sni"), [("intranet.example", "t.me"), ("t.me", "intranet.example")])
def test_block_and_monitor_need_one_name(action: str, host: str, sni: str) -> None:
    one = engine(Rule("own", action, sites=("a", "b")), sites=OWN)
    assert one.decide(connect(host, sni=sni), NOW).rule == "own"


def test_two_rules_may_name_the_same_list() -> None:
    rules = [
        Rule("telegram", "block", services=ids("telegram"), except_sites=("a",)),
        Rule("own", "monitor", sites=("a",)),
    ]
    one = engine(*rules, sites=[SiteList("a", domains=("t.me",))])
    assert [one.decide(connect(host), NOW).rule for host in ("t.me", "telegram.org")] == ["own", "telegram"]


# ---- expressions that take too long --------------------------------------------------------------------------------

CATASTROPHE = r"^http://example\.org/(?:a|a|aa)+$"
SLOW = SiteList("slow", regex=(CATASTROPHE,))
TOO_LONG = get("http://example.org/" + "a" * 60 + "b")


@pytest.mark.parametrize("key", ["sites", "except_sites"])
def test_an_expression_that_takes_too_long_raises_and_rests(key: str) -> None:
    """A URL that cannot be one of its own is decided meanwhile; the others are when it has rested."""
    one = engine(Rule("own", "block", **{key: ("slow",)}), sites=[SLOW])
    harmless = get("http://example.org/ab")
    with pytest.raises(ExpressionTimeoutError, match="took too long"):
        one.decide(TOO_LONG, NOW)
    with pytest.raises(ExpressionTimeoutError):
        one.decide(harmless, NOW + REST - 0.1)
    other = get("http://example.net/ab")
    assert one.decide(other, NOW + REST - 0.1) == one.decide(other, NOW + REST)
    for rested in (NOW + REST, NOW - 1):  # the other one in a replay of logs that are not in order
        assert one.decide(harmless, rested).action == ("allow" if key == "sites" else "block")


def test_an_expression_that_is_not_asked_for_cannot_be_slow() -> None:
    rule = Rule("own", "block", sites=("slow",), clients=intervals("192.0.2.0/24"))
    assert engine(rule, sites=[SLOW]).decide(TOO_LONG._replace(client="198.51.100.1"), NOW).action == "allow"


@pytest.mark.parametrize("action", ["block", "allow", "monitor"])
def test_a_slow_expression_does_not_switch_off_the_other_rules(action: str) -> None:
    """Who slows one rule down is still blocked by the next; nothing but a block is sure to be right."""
    slow = SiteList("slow", regex=(r"(a|aa)+$",))
    rules = [Rule("slow", action, sites=("slow",)), Rule("all", "block", services=ALL)]
    request_ = get("http://web.whatsapp.com/" + "a" * 5000 + "!")
    assert engine(*rules, sites=[slow]).decide(request_, NOW).rule == "all"


@pytest.mark.parametrize("action", ["allow", "monitor"])
def test_behind_a_slow_expression_only_a_block_decides(action: str) -> None:
    """What would be let through by a later rule might have been blocked by this one."""
    rules = [Rule("slow", "block", sites=("slow",)), Rule("rest", action), Rule("never reached", "block")]
    with pytest.raises(ExpressionTimeoutError):
        engine(*rules, sites=[SLOW]).decide(TOO_LONG, NOW)


# ---- times ----------------------------------------------------------------------------------------------------------


def at(text: str) -> float:
    """An instant; without an offset by the clock in Brussels."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo("Europe/Brussels"))).timestamp()


class Written(NamedTuple):
    """A schedule as somebody writes it."""

    zone: str
    days: str
    hours: tuple[str, ...]

    def schedule(self, name: str) -> Schedule:
        return Schedule(name, self.zone, week_stretches(parse_days(self.days), [*map(parse_hours, self.hours)]))

    def holds(self, instant: float) -> bool:
        """By the clock on the wall, hour by hour, with the night before."""
        wall = datetime.fromtimestamp(instant // 1, ZoneInfo(self.zone))
        second = wall.hour * 3600 + wall.minute * 60 + wall.second
        today, yesterday = wall.weekday(), (wall.weekday() - 1) % 7
        days, hours = parse_days(self.days), [parse_hours(text) for text in self.hours]
        return any(
            (today in days and start <= second < end) or (yesterday in days and start <= second + DAY < end)
            for start, end in hours
        )


OFFICE = Written("Europe/Brussels", "mon-fri", ("08:00-12:00", "13:00-18:00"))
NIGHT = Written("Europe/Brussels", "sat", ("22:00-06:00",))


def timed(*rules: Rule, **schedules: Written) -> Engine:
    """An engine without services, which is built quickly."""
    named = {name: written.schedule(name) for name, written in schedules.items()}
    return Engine(compile_policy(Policy("test", rules, schedules=named), NONE))


WEEK_OF_RULES = [
    Rule("exam", "monitor", start=at("2026-11-24T10:00"), end=at("2026-11-24T12:30")),
    Rule("office", "block", schedules=("office",)),
    Rule("night", "block", schedules=("night",)),
    Rule("old", "monitor", end=at("2026-11-23T08:00")),
    Rule("new", "monitor", start=at("2026-11-30T00:00")),
]
MOMENTS = [
    ("2026-11-22T23:00", "old"),  # a Sunday
    ("2026-11-23T07:59:59.999", "old"),
    ("2026-11-23T08:00", "office"),
    ("2026-11-23T11:59:59.5", "office"),
    ("2026-11-23T12:00", None),
    ("2026-11-23T13:00", "office"),
    ("2026-11-23T17:00Z", None),
    ("2026-11-24T09:59:59", "office"),
    ("2026-11-24T10:00", "exam"),
    ("2026-11-24T12:29:59", "exam"),
    ("2026-11-24T12:30", None),
    ("2026-11-28T21:59", None),  # a Saturday
    ("2026-11-28T22:00", "night"),
    ("2026-11-29T05:59", "night"),
    ("2026-11-29T06:00", None),
    ("2026-11-29T23:59:59", None),
    ("2026-11-30T00:00", "new"),
    ("2026-11-30T08:00", "office"),
]


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_which_rules_are_in_force(order: str) -> None:
    """One engine answers for any time, as a replay of logs that are not in order asks it."""
    one = timed(*WEEK_OF_RULES, office=OFFICE, night=NIGHT)
    moments = {"forwards": MOMENTS, "backwards": MOMENTS[::-1]}.get(order) or random.Random(1).sample(
        MOMENTS * 3, 3 * len(MOMENTS)
    )
    assert [(text, one.decide(PLAIN, at(text)).rule) for text, _ in moments] == moments


def test_of_several_schedules_one_is_enough() -> None:
    one = timed(Rule("r", "block", schedules=("office", "night")), office=OFFICE, night=NIGHT)
    decided = [
        one.decide(PLAIN, at(text)).rule for text in ("2026-11-23T09:00", "2026-11-28T23:00", "2026-11-28T12:00")
    ]
    assert decided == ["r", "r", None]


def test_a_schedule_and_dates_must_both_hold() -> None:
    rule = Rule("r", "block", schedules=("office",), start=at("2026-11-24T00:00"), end=at("2026-11-25T00:00"))
    one = timed(rule, office=OFFICE)
    times = ["2026-11-23T09:00", "2026-11-24T07:00", "2026-11-24T09:00", "2026-11-25T09:00"]
    assert [one.decide(PLAIN, at(text)).rule for text in times] == [None, None, "r", None]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("2026-03-29T01:59:59+01:00", None, id="before the hour that is skipped"),
        pytest.param("2026-03-29T03:00:00+02:00", "r", id="behind it"),
        pytest.param("2026-10-25T02:29:59+02:00", None, id="before it begins"),
        pytest.param("2026-10-25T02:30:00+02:00", "r", id="in the first of two hours"),
        pytest.param("2026-10-25T02:29:59+01:00", None, id="the clock is put back"),
        pytest.param("2026-10-25T02:30:00+01:00", "r", id="in the second"),
        pytest.param("2026-10-25T03:30:00+01:00", None, id="the end"),
    ],
)
@pytest.mark.parametrize("before", ["2026-03-29T00:00Z", "2026-10-24T23:00Z", "2026-12-01T00:00Z"])
def test_when_the_clock_changes(before: str, text: str, rule: str | None) -> None:
    """Whatever has been asked before."""
    one = timed(Rule("r", "block", schedules=("s",)), s=Written("Europe/Brussels", "sun", ("02:30-03:30",)))
    one.decide(PLAIN, at(before))
    assert one.decide(PLAIN, at(text)).rule == rule


def test_acl_arguments_know_no_time() -> None:
    rules = [Rule("r", "block", services=ids("telegram"), end=0.0)]
    assert engine(*rules).decide_services(TELEGRAM, ("telegram",)).action == "block"


ZONES = ["UTC", "Europe/Brussels", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
HALF_HOURS = [f"{n // 2:02}:{n % 2 * 30:02}" for n in range(48)]
some_hours = st.lists(st.sampled_from(HALF_HOURS), min_size=2, max_size=2, unique=True).map("-".join)
writtens = st.builds(
    Written,
    st.sampled_from(ZONES),
    st.sampled_from(["mon-sun", "mon-fri", "sat,sun", "sun", "sun-mon", "mon"]),
    st.lists(st.one_of(some_hours, st.just("00:00-24:00")), min_size=1, max_size=2).map(tuple),
)
DAYS = [at(f"{day}T00:00Z") for day in ("2026-03-28", "2026-04-04", "2026-06-01", "2026-10-24", "2026-11-01")]
instants = st.builds(
    lambda day, half_hours, delta: day + half_hours * 1800 + delta,
    st.sampled_from(DAYS),
    st.integers(0, 2 * 48),
    st.sampled_from([0, 0, -1, 1, -0.001, 0.5, 700]),
)
dates = st.one_of(st.none(), st.none(), instants)


@st.composite
def timed_rules(draw: st.DrawFn) -> tuple[dict[str, Written], list[Rule]]:
    """Rules for everybody, and others for one user each."""
    schedules = dict(zip(("one", "two"), draw(st.lists(writtens, min_size=2, max_size=2)), strict=True))
    named = st.sampled_from([None, ("one",), ("two",), ("one", "two")])
    rules = [
        Rule(f"rule {n}", "block", users=ids(f"user {n}"), schedules=draw(named), start=draw(dates), end=draw(dates))
        for n in range(draw(st.integers(1, 3)))
    ]
    return schedules, rules


def in_force(one: Engine, instant: float) -> list[str]:
    """The rules that apply at an instant: each one is the only one for its user."""
    asked = [one.decide(PLAIN._replace(user=f"user {n}"), instant).rule for n in range(len(one.program.rules))]
    return [rule for rule in asked if rule]


def written_in_force(schedules: dict[str, Written], rules: list[Rule], instant: float) -> list[str]:
    """The same, by the clock on the wall."""
    return [
        rule.name
        for rule in rules
        if (rule.start is None or rule.start <= instant)
        and (rule.end is None or instant < rule.end)
        and (rule.schedules is None or any(schedules[name].holds(instant) for name in rule.schedules))
    ]


@given(timed_rules(), st.lists(instants, min_size=1, max_size=12))
@settings(max_examples=300)
def test_one_engine_decides_at_any_time_as_a_new_one_would(
    policy: tuple[dict[str, Written], list[Rule]], asked: list[float]
) -> None:
    schedules, rules = policy
    one = timed(*rules, **schedules)
    for instant in asked:
        expected = written_in_force(schedules, rules, instant)
        assert in_force(timed(*rules, **schedules), instant) == expected
        assert in_force(one, instant) == expected


@given(timed_rules(), instants, st.lists(st.floats(0, 1, exclude_max=True), max_size=6))
@settings(max_examples=300)
def test_nothing_changes_before_the_next_change(
    policy: tuple[dict[str, Written], list[Rule]], now: float, parts: list[float]
) -> None:
    schedules, rules = policy
    one = timed(*rules, **schedules)
    until = one.next_change(now)
    assert until > now
    last = min(until, now + WEEK)
    expected = written_in_force(schedules, rules, now)
    for later in [*(now + part * (last - now) for part in parts), last - 1, last - 0.01]:
        if now <= later < until:
            assert written_in_force(schedules, rules, later) == expected


@given(timed_rules(), instants)
@settings(max_examples=100)
def test_from_change_to_change_a_week_takes_few_steps(
    policy: tuple[dict[str, Written], list[Rule]], now: float
) -> None:
    """Else the helper would be asking the calendar all day."""
    schedules, rules = policy
    one = timed(*rules, **schedules)
    steps, instant = 0, now
    while instant < now + WEEK:
        instant = one.next_change(instant)
        steps += 1
    edges = sum(len(one.program.schedules[name].stretches) * 2 + 9 for name in one.program.schedules)
    assert steps <= edges + 2 * len(rules) + 1


def test_without_schedules_and_dates_nothing_ever_changes() -> None:
    assert timed(Rule("r", "block")).next_change(NOW) == float("inf")


@pytest.mark.parametrize(
    ("text", "change"),
    [
        pytest.param("2026-11-23T00:00", "2026-11-24T00:00", id="before"),
        pytest.param("2026-11-24T00:00", "2026-11-25T00:00", id="from the start"),
        pytest.param("2026-11-25T00:00", None, id="from the end"),
    ],
)
def test_dates_are_changes(text: str, change: str | None) -> None:
    one = timed(Rule("r", "block", start=at("2026-11-24T00:00"), end=at("2026-11-25T00:00")))
    assert one.next_change(at(text)) == (at(change) if change else float("inf"))


# ---- messages and redirects -----------------------------------------------------------------------------------------

ANSWERS = [
    Rule("own texts", "block", services=ids("slack"), message="not {service}", redirect="http://own.example/?u={url}"),
    Rule("own message", "block", services=ids("zalo"), message="neither"),
    Rule("own redirect", "monitor", services=ids("viber"), redirect="https://own.example:8443/{rule}"),
    Rule("no texts", "block", services=ids("telegram")),
]
GENERAL = Response(redirect="http://general.example/?r={rule}", message="no")


@pytest.mark.parametrize(
    ("request_", "message", "redirect"),
    [
        pytest.param(connect("slack.com"), "not {service}", "http://own.example/?u={url}", id="both"),
        pytest.param(connect("chat.zalo.me"), "neither", "http://general.example/?r={rule}", id="message"),
        pytest.param(connect("viber.com"), "no", "https://own.example:8443/{rule}", id="redirect"),
        pytest.param(TELEGRAM, "no", "http://general.example/?r={rule}", id="neither"),
        pytest.param(PLAIN, "no", "http://general.example/?r={rule}", id="no rule"),
    ],
)
def test_texts_of_the_rule_or_of_the_policy(request_: Request, message: str, redirect: str) -> None:
    decision = engine(*ANSWERS, response=GENERAL).decide(request_, NOW)
    assert (decision.message, decision.redirect) == (message, redirect)


def test_acl_arguments_have_the_texts_of_the_policy() -> None:
    """They are no rule's."""
    decision = engine(*ANSWERS, response=GENERAL).decide_services(connect("slack.com"), ("slack",))
    assert (decision.message, decision.redirect) == (GENERAL.message, GENERAL.redirect)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(
            'https://slack.com/a?b="c"&d',
            b'7 OK status=302 url="http://own.example/?u=https%3A%2F%2Fslack.com%2Fa%3Fb%3D%22c%22%26d" '
            b"tag=slack log=own%20texts\n",
            id="own",
        ),
        pytest.param(
            "https://t.me/x",
            b'7 OK status=302 url="http://general.example/?r=no%20texts" tag=telegram log=no%20texts\n',
            id="general",
        ),
        pytest.param("https://viber.com/", b"7 ERR tag=viber log=own%20redirect\n", id="monitored"),
    ],
)
def test_what_the_rewriter_sends(url: str, expected: bytes) -> None:
    one = engine(*ANSWERS, response=GENERAL)
    query = Query(get(url), url)
    decision = one.decide(query.request, NOW)
    values = template_values(decision, query, one.service_name(decision.service), NOW)
    assert encode_rewrite(b"7", Answer(decision, values, GENERAL)) == expected


# ---- include --------------------------------------------------------------------------------------------------------


def test_include_counts_only_for_the_services_of_its_rule() -> None:
    rules = [
        Rule("with", "block", services=ids("qq"), include=frozenset({"shared"})),
        Rule("without", "block", services=ids("kakaotalk", "aim")),
    ]
    one = engine(*rules)
    decided = [
        one.decide(connect(host), NOW).rule for host in ("www.qq.com", "www.kakao.com", "talk.kakao.com", "aim.com")
    ]
    assert decided == ["with", None, "without", None]


def test_include_of_one_rule_does_not_count_for_another() -> None:
    """What rule 2 includes is no reason for rule 1, though both are about the service."""
    rules = [
        Rule("strong only", "monitor", services=ids("aim")),
        Rule("stale", "block", services=ids("aim"), include=frozenset({"stale"}), clients=intervals("192.0.2.0/24")),
    ]
    one = engine(*rules)
    stale = get("http://64.12.25.1/")
    assert one.decide(stale, NOW).rule is None
    assert one.decide(stale._replace(client="192.0.2.1"), NOW).rule == "stale"
    assert one.decide(connect("login.oscar.aol.com"), NOW).rule == "strong only"


def test_a_signature_that_does_not_count_hides_none_that_does() -> None:
    """A shared name of one service is stronger than the agent of another, and is passed over where it is off."""
    rules = [
        Rule("shared", "block", services=ids("qq"), include=frozenset({"shared"}), users=ids("nobody")),
        Rule("strong", "block", services=ids("msn_messenger")),
    ]
    decision = engine(*rules).decide(get("http://www.qq.com/", user_agent="MSMSGS"), NOW)
    assert (decision.rule, decision.service, decision.evidence) == (
        "strong",
        "msn_messenger",
        Evidence("user_agent", "MSMSGS"),
    )


def test_what_another_rule_includes_hides_nothing() -> None:
    """Both rules include what is shared, each for its own service: the second passes over what the first counts."""
    rules = [
        Rule("first", "block", services=ids("qq"), include=frozenset({"shared"}), users=ids("nobody")),
        Rule("second", "block", services=ids("msn_messenger"), include=frozenset({"shared"})),
    ]
    assert engine(*rules).decide(get("http://www.qq.com/", user_agent="MSMSGS"), NOW).rule == "second"


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_is_for_itself(flag: Flag) -> None:
    one = engine(Rule("r", "block", services=ALL, include=frozenset({flag})))
    hits = {
        "stale": get("http://64.92.173.122/"),
        "shared": connect("www.qq.com"),
        "self_hosted": get("https://example.org/_matrix/client/v3/sync"),
    }
    assert {name for name, request in hits.items() if one.decide(request, NOW).action == "block"} == {flag}


# ---- open targets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirect", "request_", "action"),
    [
        pytest.param("http://t.me/blocked?url={url}", get("http://t.me/blocked?url=x"), "allow", id="the page"),
        pytest.param("http://t.me/blocked", get("http://T.ME./logo.png"), "allow", id="its images"),
        pytest.param("http://t.me/blocked", get("https://t.me/blocked"), "block", id="another port"),
        pytest.param("http://t.me/blocked", get("http://www.t.me/blocked"), "block", id="another host"),
        pytest.param("https://t.me/blocked", connect("t.me"), "allow", id="its tunnel"),
        pytest.param("http://t.me:8080/blocked", get("http://t.me:8080/"), "allow", id="its port"),
        pytest.param("http://t.me:8080/blocked", get("http://t.me/"), "block", id="not the port"),
    ],
)
def test_the_block_page_is_always_open(redirect: str, request_: Request, action: str) -> None:
    one = engine(Rule("all", "block"), response=Response(redirect=redirect))
    assert one.decide(request_, NOW).action == action


@pytest.mark.parametrize(
    ("url", "action"),
    [
        pytest.param("http://one.example/logo.png", "allow", id="of a rule"),
        pytest.param("https://two.example:8443/", "allow", id="of a rule that is not in force"),
        pytest.param("http://general.example/", "allow", id="of the policy"),
        pytest.param("https://one.example/", "block", id="another port"),
        pytest.param("http://three.example/", "block", id="another host"),
    ],
)
def test_every_block_page_is_open(url: str, action: str) -> None:
    """For all requests, not only for those that its own rule sends there."""
    rules = [
        Rule("first", "block", redirect="http://one.example/{service}"),
        Rule("expired", "block", redirect="https://two.example:8443/?{url}", end=0.0),
    ]
    one = engine(*rules, response=Response(redirect="http://general.example/"))
    assert one.decide(get(url), NOW).action == action


def test_the_name_of_the_block_page_opens_no_other_address() -> None:
    """Intercepted traffic goes to the address the client chose, whatever its Host header says."""
    one = engine(Rule("all", "block", services=ALL), response=Response(redirect="http://proxy.example/"))
    names = ("proxy.example", "149.154.167.51")
    request_ = get("http://proxy.example/api", method="POST", names=names, destination_port=80)
    assert one.decide(request_, NOW).action == "block"


def test_the_block_page_is_open_for_acl_arguments_too() -> None:
    one = engine(Rule("all", "block"), response=Response(redirect="http://t.me/"))
    assert one.decide_services(get("http://t.me/"), ("telegram",)).action == "allow"


# ---- ACL arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "request_", "action", "service"),
    [
        pytest.param(("telegram",), TELEGRAM, "block", "telegram", id="a service"),
        pytest.param(("whatsapp", "telegram"), TELEGRAM, "block", "telegram", id="one of two"),
        pytest.param(("@im",), TELEGRAM, "block", "telegram", id="a group"),
        pytest.param(("all",), TELEGRAM, "block", "telegram", id="all"),
        pytest.param(("all", "-telegram"), TELEGRAM, "allow", "telegram", id="all but this"),
        pytest.param(("slack",), TELEGRAM, "allow", "telegram", id="another"),
        pytest.param(("all",), PLAIN, "allow", None, id="no service"),
        pytest.param(
            ("all",), get("https://www.omegle.com/"), "block", "omegle", id="a group that the policy leaves out"
        ),
        pytest.param(("all",), connect("www.qq.com"), "allow", None, id="shared is off"),
        pytest.param(("all",), get("http://64.12.25.1/"), "allow", None, id="stale is off"),
        pytest.param(
            ("all",), get("http://www.qq.com/", user_agent="MSMSGS"), "block", "msn_messenger", id="behind shared"
        ),
    ],
)
def test_acl_arguments(words: tuple[str, ...], request_: Request, action: str, service: str | None) -> None:
    """Is it one of these? Rules, clients and what rules include are aside, and no rule is named."""
    rules = [
        Rule("anybody may", "allow"),
        Rule("included", "block", services=ALL, include=frozenset(FLAGS)),
    ]
    decision = engine(*rules).decide_services(request_, words)
    assert (decision.action, decision.service, decision.rule) == (action, service, None)


@pytest.mark.parametrize("words", [("telegrm",), ("@nothing",), ("telegram", "-slak"), ("",)])
def test_acl_arguments_that_name_nothing(words: tuple[str, ...]) -> None:
    one = engine()
    for _ in range(2):
        with pytest.raises(UnknownNameError):
            one.decide_services(PLAIN, words)


def test_an_acl_argument_that_leaves_out_of_nothing() -> None:
    with pytest.raises(ImhelperError, match="leaves out of nothing"):
        engine().decide_services(PLAIN, ("-telegram",))


def test_names_of_services() -> None:
    one = engine()
    assert [one.service_name(service) for service in ("telegram", None)] == ["Telegram", ""]


# ---- properties -----------------------------------------------------------------------------------------------------

PROPERTY_REQUESTS = [case.request for case in read_cases()]
actions = st.sampled_from(["block", "allow", "monitor"])
some_services = st.sets(st.sampled_from(sorted(ALL)), min_size=1).map(frozenset)
rules_ = st.builds(
    lambda name, action, services, agents, clients, sites: Rule(
        f"rule {name}", action, services=services, user_agents=agents, clients=clients, sites=sites
    ),
    st.integers(),
    actions,
    st.one_of(st.none(), some_services),
    st.sampled_from([None, None, ("MSIE",), ("Mozilla",)]),
    st.sampled_from([None, None, intervals("192.0.2.0/24"), intervals("0.0.0.0/0")]),
    st.sampled_from([None, None, ("com",), ("https",), ("com", "https")]),
)
SITES = (SiteList("com", domains=("com",)), SiteList("https", ports=(443,)))
asked_ = st.builds(
    lambda request, client: request._replace(client=client),
    st.sampled_from(PROPERTY_REQUESTS),
    st.sampled_from([None, "192.0.2.1", "2001:db8::1"]),
)


@given(st.lists(rules_, max_size=3), rules_, asked_)
@settings(max_examples=150, deadline=None)
def test_a_rule_at_the_end_changes_no_decision_of_an_earlier_one(
    rules: list[Rule], last: Rule, request_: Request
) -> None:
    before = engine(*rules, sites=SITES).decide(request_, NOW)
    after = engine(*rules, last, sites=SITES).decide(request_, NOW)
    if before.rule is not None:
        assert after == before
    else:
        assert after.rule in (None, last.name)


@given(st.lists(rules_, max_size=3), st.sets(st.sampled_from(FLAGS)).map(frozenset), asked_)
@settings(max_examples=100, deadline=None)
def test_what_a_rule_at_the_end_includes_changes_no_action(
    rules: list[Rule], include: frozenset[Flag], request_: Request
) -> None:
    """What an allowed or blocked request is called may become more; what is done with it does not."""
    last = Rule("last", "block", services=ALL, include=include)
    before = engine(*rules, sites=SITES).decide(request_, NOW)
    after = engine(*rules, last, sites=SITES).decide(request_, NOW)
    if before.rule is not None:
        assert (after.action, after.rule) == (before.action, before.rule)
        assert before.service in (None, after.service)


@given(rules_, asked_)
@settings(max_examples=100, deadline=None)
def test_a_second_question_gets_the_same_answer(rule: Rule, request_: Request) -> None:
    one = engine(rule, sites=SITES)
    assert one.decide(request_, NOW) == one.decide(request_, NOW)


def test_decisions_do_not_depend_on_each_other() -> None:
    """Memos do not leak from one request into the next."""
    one = engine_with(frozenset())
    first = [one.decide(request, NOW) for request in PROPERTY_REQUESTS]
    second = [one.decide(request, NOW) for request in reversed(PROPERTY_REQUESTS)]
    assert first == second[::-1]


# ---- one rule at a time ----------------------------------------------------------------------------------------------


@given(rules_, st.lists(rules_, max_size=2), asked_)
@settings(max_examples=100, deadline=None)
def test_a_rule_asked_for_by_itself_holds_where_it_would_decide_alone(
    rule: Rule, others: list[Rule], request_: Request
) -> None:
    """Whatever rules the engine has."""
    holds = engine(rule, *others, sites=SITES).holds(rule, request_, NOW)
    alone = engine(rule, sites=SITES).decide(request_, NOW)
    assert (holds is not None) == (alone.rule == rule.name)
    if holds and holds.signature:
        assert holds.signature.service == alone.service


@pytest.mark.parametrize(("text", "holds"), [("2026-11-23T07:59", False), ("2026-11-23T08:00", True)])
def test_a_rule_asked_for_by_itself_holds_at_its_time_only(text: str, holds: bool) -> None:
    rule = Rule("r", "block", schedules=("office",))
    assert (timed(rule, office=OFFICE).holds(rule, PLAIN, at(text)) is not None) is holds
    assert timed(rule, office=OFFICE).holds(rule._replace(start=at("2026-11-24T00:00")), PLAIN, at(text)) is None


def test_whether_a_request_goes_to_the_block_page() -> None:
    one = engine(Rule("all", "block"), response=Response(redirect="https://proxy.example/"))
    assert one.is_open(connect("proxy.example"))
    assert not one.is_open(connect("proxy.example", 80))
    assert not one.is_open(connect("proxy.example", sni="web.whatsapp.com"))


# ---- several names --------------------------------------------------------------------------------------------------

AGENT = "Slack/4.0 (Windows)"


@pytest.mark.parametrize(
    ("rules_", "request_", "action", "service"),
    [
        pytest.param(
            [Rule("t", "block", services=ids("telegram"))],
            connect("wa.me", sni="t.me"),
            "block",
            "telegram",
            id="one name is enough to block",
        ),
        pytest.param(
            [Rule("s", "allow", services=ids("slack")), Rule("all", "block", services=ALL)],
            connect("203.0.113.9", sni="app.slack.com"),
            "allow",
            "slack",
            id="an address of nobody does not count against a name",
        ),
        pytest.param(
            [Rule("m", "allow", services=ids("microsoft_teams")), Rule("all", "block", services=ALL)],
            get("http://teams.microsoft.com/", user_agent=AGENT, names=("teams.microsoft.com", "9.9.9.9")),
            "allow",
            "microsoft_teams",
            id="what the agent says is not said by the address",
        ),
        pytest.param(
            [Rule("all", "block", services=ALL)],
            connect("64:ff9b::149.154.167.50"),
            "block",
            "telegram",
            id="an IPv4 address behind NAT64",
        ),
    ],
)
def test_requests_that_show_several_names(rules_: list[Rule], request_: Request, action: str, service: str) -> None:
    decision = engine(*rules_).decide(request_, NOW)
    assert (decision.action, decision.service) == (action, service)


def test_the_block_page_is_not_opened_by_another_name_in_the_client_hello() -> None:
    one = engine(Rule("all", "block", services=ALL), response=Response(redirect="https://proxy.example/"))
    assert one.decide(connect("proxy.example", sni="web.whatsapp.com"), NOW).action == "block"
    assert one.decide(connect("proxy.example", sni="proxy.example"), NOW).action == "allow"
