"""The rules one by one: each condition, holding and failing, and what is said of it."""

from datetime import UTC, datetime

import pytest
from arbitrary import CATALOGUE
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import Circumstances, Decision, Policy, Rule, Schedule, SiteList
from squid_imhelper.base.schedule import parse_hours, week_stretches
from squid_imhelper.offline.check import build_request
from squid_imhelper.offline.variants import Variants
from squid_imhelper.offline.verdicts import FIELDS, Case, alone, has, interval_text, judge, judge_rule, turns, without
from squid_imhelper.sources.compiler import compile_policy

NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC).timestamp()
"""A Monday, 9:30 in Brussels."""
HOUR = 3600
SCHEDULES = {
    "office": Schedule("office", "Europe/Brussels", week_stretches(range(5), [parse_hours("08:00-12:00")])),
    "sunday": Schedule("sunday", "Europe/Brussels", week_stretches([6], [parse_hours("00:00-24:00")])),
    "always": Schedule("always", "Europe/Brussels", week_stretches(range(7), [parse_hours("00:00-24:00")])),
}
SITES = {
    "own": SiteList("own", domains=("intranet.example",)),
    "networks": SiteList("networks", networks=(parse_interval("198.51.100.0/24")[0],)),
    "slow": SiteList("slow", regex=(r"^http://example\.org/(?:a|a|aa)+$",)),
}
ALL = frozenset(CATALOGUE.services)
FIVE = frozenset({"slack", "aim", "icq", "telegram", "signal"})
NETS_TEXT = "192.0.2.0/24, 198.51.100.1-198.51.100.9"
NETS = merge(parse_interval(text)[0] for text in NETS_TEXT.split(", "))


def case_of(rule: Rule, url: str, **circumstances: str) -> Case:
    program = compile_policy(Policy("p", (rule,), sites=SITES, schedules=SCHEDULES), CATALOGUE)
    variants = Variants(program, CATALOGUE)
    request = build_request(url, Circumstances(**circumstances))
    return Case(variants, request, NOW, variants.everything.signatures(request))


def clock(hours: int) -> str:
    return f"Mon 2026-11-23 {9 + hours:02}:30 Europe/Brussels"


CONDITIONS = [
    pytest.param({"clients": NETS}, {"client": "192.0.2.7"}, True, f"clients {NETS_TEXT}: the client is 192.0.2.7"),
    pytest.param({"clients": NETS}, {"client": "192.0.3.7"}, False, f"clients {NETS_TEXT}: the client is 192.0.3.7"),
    pytest.param({"clients": NETS}, {}, False, f"clients {NETS_TEXT}: the client is unknown"),
    pytest.param({"clients": ()}, {}, False, "clients nothing: the client is unknown"),
    pytest.param({"users": frozenset({"bob", "ann"})}, {"user": "ann"}, True, "users ann, bob: the user is ann"),
    pytest.param({"users": frozenset({"bob", "ann"})}, {"user": "Ann"}, False, "users ann, bob: the user is Ann"),
    pytest.param({"users": frozenset("abcdef")}, {}, False, "users a, b, c, d and 2 more: the user is unknown"),
    pytest.param({"services": frozenset({"slack"})}, {"url": "http://slack.com/"}, True, "services slack: it is slack"),
    pytest.param({"services": frozenset({"slack"})}, {"url": "http://t.me/"}, False, "services slack: it is telegram"),
    pytest.param({"services": frozenset({"slack"})}, {}, False, "services slack: it is no messenger that is known"),
    pytest.param({"services": FIVE}, {"url": "http://t.me/"}, True, "services any of 5: it is telegram"),
    pytest.param({"services": FIVE}, {"url": "http://fbcdn.net/"}, False, "services any of 5: it is none of them"),
    pytest.param(
        {"services": frozenset({"aim"})},
        {"url": "http://64.12.25.3/"},
        False,
        "services aim: only network 64.12.24.0/22 of aim is seen, which does not count by itself (stale)",
    ),
    pytest.param(
        {"services": frozenset({"aim"}), "include": frozenset({"stale"})},
        {"url": "http://64.12.25.3/"},
        True,
        "services aim: it is aim, included as stale",
    ),
    pytest.param(
        {"services": frozenset({"slack"}), "action": "allow"},
        {"url": "http://slack.com/", "sni": "t.me"},
        False,
        "services slack: it is slack, but shows the name of another messenger too",
    ),
    pytest.param(
        {"user_agents": ("MSIE ", "Opera")},
        {"user_agent": "x MSIE 6"},
        True,
        "user_agents 'MSIE ', 'Opera': 'MSIE ' is in it",
    ),
    pytest.param({"user_agents": ("MSIE ",)}, {}, False, "user_agents 'MSIE ': the user agent is unknown"),
    pytest.param(
        {"user_agents": ("MSIE ",)}, {"user_agent": "curl/8"}, False, "user_agents 'MSIE ': the user agent is curl/8"
    ),
    pytest.param(
        {"user_agents": ("MSIE ",)},
        {"user_agent": "msie 6"},
        False,
        "user_agents 'MSIE ': it is there in another case only: msie 6",
    ),
    pytest.param(
        {"sites": ("own",)},
        {"url": "http://a.intranet.example/"},
        True,
        "sites own: it is on the list: site intranet.example",
    ),
    pytest.param({"sites": ("own",)}, {}, False, "sites own: it is not on the list"),
    pytest.param(
        {"sites": ("own",), "action": "allow"},
        {"url": "http://intranet.example/", "sni": "b.example"},
        False,
        "sites own: not every name of it is on the list: intranet.example, b.example",
    ),
    pytest.param(
        {"sites": ("networks",)},
        {},
        False,
        "sites networks: it is not on the list; networks hold for addresses only, and names are not resolved",
    ),
    pytest.param(
        {"sites": ("networks",)}, {"url": "http://192.0.2.1/"}, False, "sites networks: it is not on the list"
    ),
    pytest.param(
        {"sites": ("slow",)},
        {"url": f"http://example.org/{'a' * 60}b"},
        False,
        r"sites slow: the expression '^http://example\.org/(?:a|a|aa)+$' took too long",
    ),
    pytest.param({"except_sites": ("own",)}, {}, True, "except_sites own: it is not on the list"),
    pytest.param(
        {"except_sites": ("own",)},
        {"url": "http://intranet.example/"},
        False,
        "except_sites own: it is on the list: site intranet.example",
    ),
    pytest.param(
        {"schedules": ("office",)}, {}, True, "schedule office: it holds until Mon 2026-11-23 12:00 Europe/Brussels"
    ),
    pytest.param(
        {"schedules": ("sunday",)},
        {},
        False,
        "schedule sunday: it does not hold before Sun 2026-11-29 00:00 Europe/Brussels",
    ),
    pytest.param({"schedules": ("always",)}, {}, True, "schedule always: it holds"),
    pytest.param({"schedules": ()}, {}, False, "schedule nothing: it does not hold this week"),
    pytest.param({"start": NOW - HOUR}, {}, True, f"from {clock(-1)}: it is {clock(0)}"),
    pytest.param({"start": NOW + HOUR}, {}, False, f"from {clock(1)}: it is {clock(0)}"),
    pytest.param({"end": NOW + HOUR}, {}, True, f"until {clock(1)}: it is {clock(0)}"),
    pytest.param({"end": NOW - HOUR}, {}, False, f"until {clock(-1)}: it is {clock(0)}"),
]


@pytest.mark.parametrize(("fields", "circumstances", "holds", "text"), CONDITIONS)
def test_a_condition_and_what_is_said_of_it(
    fields: dict[str, object], circumstances: dict[str, str], holds: bool, text: str
) -> None:
    rule = Rule(**{"name": "r", "action": "block", "schedules": None, **fields})  # type: ignore[arg-type]
    given_ = {**circumstances}
    case = case_of(_with_a_zone(rule), given_.pop("url", "http://example.org/"), **given_)
    (condition,) = judge_rule(case, rule)
    assert f"{condition.name} {condition.wanted}: {condition.found}" == text
    assert condition.holds is holds


def _with_a_zone(rule: Rule) -> Rule:
    """The rule of the program: with a schedule, so that times are told in its zone whatever the machine's is."""
    return Rule("z", "block", include=rule.include, services=rule.services or frozenset(), sites=tuple(SITES),
                schedules=tuple(SCHEDULES))  # fmt: skip


def test_every_condition_is_in_the_table_holding_and_failing() -> None:
    told = {(case.values[3].split(" ")[0], case.values[2]) for case in CONDITIONS}  # type: ignore[union-attr]
    assert told == {(name, holds) for name in FIELDS for holds in (True, False)}


def test_the_conditions_are_all_that_a_rule_has() -> None:
    no_conditions = {"name", "action", "message", "redirect", "firewall", "line"}
    fields = {field for several in FIELDS.values() for field in several}
    assert fields | no_conditions == set(Rule._fields)
    assert not fields & no_conditions


FULL = Rule(
    "r", "allow", NETS, frozenset("u"), FIVE, frozenset({"stale"}), ("x",), ("own",), ("own",), ("office",), 1, 2
)


@pytest.mark.parametrize("condition", FIELDS)
def test_a_rule_with_one_condition_and_without_it(condition: str) -> None:
    one, rest = alone(FULL, condition), without(FULL, condition)
    assert [name for name in FIELDS if has(one, name)] == [condition]
    assert [name for name in FIELDS if has(rest, name)] == [name for name in FIELDS if name != condition]
    assert (one.action, rest.action) == ("allow", "allow")


RULES = (
    Rule("first", "allow", clients=NETS),
    Rule("second", "block", services=frozenset({"meebo"})),
    Rule("third", "block"),
)


@pytest.mark.parametrize(
    ("decided", "asked", "states"),
    [
        pytest.param("second", True, ["does not hold", "decides", "not asked"], id="by the second"),
        pytest.param(None, False, ["not asked"] * 3, id="none is asked"),
        pytest.param(None, True, ["does not hold", "holds", "holds"], id="an error"),
    ],
)
def test_the_part_of_each_rule(decided: str | None, asked: bool, states: list[str]) -> None:
    variants = Variants(compile_policy(Policy("p", RULES), CATALOGUE), CATALOGUE)
    request = build_request("http://meebo.com/", Circumstances())
    case = Case(variants, request, NOW, variants.everything.signatures(request))
    verdicts = judge(case, Decision("block", rule=decided), asked=asked)
    assert [verdict.state for verdict in verdicts] == states
    assert [verdict.number for verdict in verdicts] == [1, 2, 3]
    assert [len(verdict.failed) for verdict in verdicts] == [1, 0, 0]


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        pytest.param({"schedules": ("office",)}, 2.5, id="until noon"),
        pytest.param({"schedules": ("sunday",)}, 5 * 24 + 14.5, id="until Sunday begins"),
        pytest.param({"schedules": ("always",)}, None, id="never"),
        pytest.param({"schedules": ("office",), "end": NOW + HOUR}, 1.0, id="a date comes first"),
        pytest.param({"start": NOW + 30 * 24 * HOUR}, None, id="not this week"),
    ],
)
def test_when_a_rule_begins_or_ends(fields: dict[str, object], hours: float | None) -> None:
    rule = Rule("r", "block", **fields)  # type: ignore[arg-type]
    turn = turns(case_of(rule, "http://a.example/"), rule)
    assert turn == (None if hours is None else NOW + hours * HOUR)


@pytest.mark.parametrize(
    "text",
    ["192.0.2.1", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "192.0.2.1-192.0.2.2", "2001:db8::1-2001:db8::3"],
)
def test_addresses_are_told_as_a_policy_writes_them(text: str) -> None:
    assert interval_text(parse_interval(text)[0]) == text


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_addresses_that_are_told_are_read_as_the_same(one: object, other: object) -> None:
    first, last = sorted((int(one), int(other)))  # type: ignore[call-overload]
    assert parse_interval(interval_text((4, first, last)))[0] == (4, first, last)
