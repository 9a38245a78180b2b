"""What a policy expects of itself: told at its line where it does not come true, at whatever time that is."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import Problem, SourceError
from squid_imhelper.base.model import Circumstances, Kind, Match, Service, Signature
from squid_imhelper.base.schedule import WEEK
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.expressions import Expressions, ExpressionTimeoutError
from squid_imhelper.offline.check import check
from squid_imhelper.offline.expectations import note_failures
from squid_imhelper.sources.catalogue import Catalogue
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import ReadPolicy, read_policy

Write = Callable[[str], Path]

HERE = "»"
"""Marks, in the cases below, the character at which a problem must be shown."""

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()
"""A Monday, 11:00 in Brussels."""

HALF_HOUR = 1800


def service(name: str, *signatures: Signature) -> Service:
    return Service(name, name.title(), "im", "active", None, "", "", "", signatures)


CATALOGUE = Catalogue(
    {
        "whatsapp": service("whatsapp", Signature(Kind.DOMAIN, "whatsapp.example", "whatsapp")),
        "telegram": service(
            "telegram",
            Signature(Kind.DOMAIN, "telegram.example", "telegram"),
            Signature(Kind.USER_AGENT, "Telegram/", "telegram", match=Match.PREFIX),
            Signature(Kind.CONTENT_TYPE, "application/x-telegram", "telegram"),
        ),
    },
    {"im": "Messengers"},
)


@pytest.fixture(autouse=True)
def machine_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def load(path: Path) -> tuple[ReadPolicy, Engine]:
    read = read_policy(path, CATALOGUE)
    return read, Engine(compile_policy(read.policy, CATALOGUE))


def failures(path: Path, now: float = NOW) -> tuple[Problem, ...]:
    """What is told about the expectations of a policy."""
    read, engine = load(path)
    note_failures(engine, read.expectations, read.document, now)
    return SourceError(read.document.problems).problems if read.document.wrong else ()


def place(marked: str) -> tuple[int, int]:
    before = marked[: marked.index(HERE)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


RULES = """\
[clients]
lan = ["10.0.0.0/8"]

[schedules]
office = { days = "mon-fri", hours = ["08:00-12:00", "13:00-18:00"], timezone = "Europe/Brussels" }

[[rule]]
name = "ann"
users = ["ann"]
action = "allow"

[[rule]]
name = "whatsapp at work"
clients = ["lan"]
services = ["whatsapp"]
schedule = "office"
action = "block"

[[rule]]
name = "telegram"
services = ["telegram"]
action = "monitor"

[[rule]]
name = "old"
user_agents = ["MSIE"]
action = "block"

[[expect]]
"""

LAN = 'client = "10.0.0.1"\n'
BLOCKED = 'url = "https://web.whatsapp.example/x"\nclient = "10.0.0.1"\n'

TRUE = [
    pytest.param(BLOCKED + 'at = 2026-11-23T09:00:00\naction = "block"\n', id="in-the-schedule"),
    pytest.param(BLOCKED + 'at = 2026-11-23T12:30:00\naction = "allow"\n', id="outside-of-it"),
    pytest.param(BLOCKED + 'at = 2026-11-23T07:59:59\naction = "allow"\n', id="a-second-before"),
    pytest.param(BLOCKED + 'at = 2026-11-23T08:00:00\naction = "block"\n', id="the-first-second"),
    pytest.param(BLOCKED + 'at = 2026-11-23T18:00:00\naction = "allow"\n', id="the-end-is-not-in-it"),
    pytest.param(BLOCKED + 'at = 2026-11-23T08:00:00Z\naction = "block"\n', id="an-offset"),
    pytest.param(BLOCKED + 'at = 2026-11-23T06:30:00Z\naction = "allow"\n', id="an-offset-before"),
    pytest.param(BLOCKED + 'at = 2026-11-22\naction = "allow"\n', id="a-date-is-its-midnight"),
    pytest.param(BLOCKED + 'at = "2026-11-23T09:00"\naction = "block"\n', id="a-string"),
    pytest.param(BLOCKED + 'at = 1999-11-22T09:00:00\naction = "block"\n', id="long-ago"),
    pytest.param(BLOCKED + 'service = "whatsapp"\n', id="the-service-whatever-the-rules-do"),
    pytest.param(BLOCKED + 'at = 2026-11-23T09:00:00\naction = "block"\nservice = "whatsapp"\n', id="both"),
    pytest.param('url = "web.whatsapp.example"\nclient = "10.0.0.1"\nuser = "ann"\naction = "allow"\n', id="user"),
    pytest.param('url = "web.whatsapp.example"\naction = "allow"\n', id="an-unknown-client-is-in-no-group"),
    pytest.param('url = "http://t.telegram.example/"\naction = "monitor"\nservice = "telegram"\n', id="monitor"),
    pytest.param('url = "t.telegram.example:443"\nmethod = "connect"\naction = "monitor"\n', id="connect"),
    pytest.param('url = "192.0.2.1:443"\nmethod = "CONNECT"\nsni = "telegram.example"\naction = "monitor"\n', id="sni"),
    pytest.param('url = "a.example"\nuser_agent = "Telegram/1"\nservice = "telegram"\n', id="user-agent"),
    pytest.param('url = "a.example"\nuser_agent = "Mozilla (MSIE 6)"\naction = "block"\nservice = ""\n', id="ie"),
    pytest.param(
        'url = "a.example"\ncontent_type = "application/x-telegram"\nservice = "telegram"\n', id="content-type"
    ),
    pytest.param('url = "http://www.example.com/"\naction = "allow"\nservice = ""\n', id="no-service"),
]


@pytest.mark.parametrize("expectation", TRUE)
def test_what_comes_true_is_not_told(policy_file: Write, expectation: str) -> None:
    assert failures(policy_file(RULES + expectation)) == ()


FALSE = [
    pytest.param(
        'url = "»http://www.example.com/"\naction = "block"\n',
        "expected block, and it is allow now (without 'at' it must hold at any time of the week), since no rule holds",
        id="no-rule",
    ),
    pytest.param(
        'url = "»a.whatsapp.example"\nclient = "10.0.0.1"\nat = 2026-11-23T09:00:00\naction = "allow"\n',
        "expected allow, and it is block by rule 'whatsapp at work'",
        id="by-a-rule",
    ),
    pytest.param(
        'url = "»a.telegram.example"\nat = 2026-11-23\naction = "block"\n',
        "expected block, and it is monitor by rule 'telegram'",
        id="monitor-is-no-block",
    ),
    pytest.param(
        'url = "»a.telegram.example"\nat = 2026-11-23\nservice = "whatsapp"\n',
        "expected whatsapp, and it is telegram by rule 'telegram'",
        id="another-service",
    ),
    pytest.param(
        'url = "»a.telegram.example"\nat = 2026-11-23\nservice = ""\n',
        "expected no service, and it is telegram by rule 'telegram'",
        id="a-service-after-all",
    ),
    pytest.param(
        'url = "»http://www.example.com/"\nat = 2026-11-23\nservice = "whatsapp"\n',
        "expected whatsapp, and it is none, since no rule holds",
        id="no-service-after-all",
    ),
    pytest.param(
        'url = "»a.telegram.example"\nat = 2026-11-23\naction = "monitor"\nservice = "whatsapp"\n',
        "expected whatsapp, and it is telegram by rule 'telegram'",
        id="the-action-alone-is-right",
    ),
    pytest.param(
        'url = "»/x"\nat = 2026-11-23\naction = "allow"\n',
        "expected a decision: no host in '/x', since no rule holds",
        id="no-host",
    ),
    pytest.param(
        'url = "»a b"\nat = 2026-11-23\nmethod = "CONNECT"\nservice = ""\n',
        "expected a decision: no host in 'a b', since no rule holds",
        id="no-host-connect",
    ),
    pytest.param(
        'url = "»"\nat = 2026-11-23\naction = "allow"\n',
        "expected a decision: no host in '', since no rule holds",
        id="no-url",
    ),
]


@pytest.mark.parametrize(("marked", "message"), FALSE)
def test_what_does_not_come_true_is_told_at_its_url(policy_file: Write, marked: str, message: str) -> None:
    (problem,) = failures(policy_file((RULES + marked).replace(HERE, "")))
    assert (problem.line, problem.column) == place(RULES + marked)
    assert (problem.severity, problem.message) == ("error", message)


@pytest.mark.parametrize(
    ("now", "action", "when"),
    [
        pytest.param("2026-11-23T11:00", "block", "Mon 2026-11-23 12:00", id="the-next-end"),
        pytest.param("2026-11-23T12:30", "allow", "Mon 2026-11-23 13:00", id="the-next-beginning"),
        pytest.param("2026-11-27T18:00", "allow", "Mon 2026-11-30 08:00", id="after-the-week-end"),
        pytest.param("2026-10-23T18:00", "allow", "Mon 2026-10-26 08:00", id="after-the-clock-was-put-back"),
        pytest.param("2026-03-27T18:00", "allow", "Mon 2026-03-30 08:00", id="after-the-clock-was-put-forward"),
    ],
)
def test_without_a_time_it_must_hold_at_every_change_of_the_coming_week(
    policy_file: Write, now: str, action: str, when: str
) -> None:
    """And the first one at which it does not is told, by the clock on the wall."""
    instant = datetime.fromisoformat(now).replace(tzinfo=ZoneInfo("Europe/Brussels")).timestamp()
    (problem,) = failures(policy_file(RULES + BLOCKED + f'action = "{action}"\n'), instant)
    assert f" on {when} Europe/Brussels (without 'at' it must hold at any time of the week)" in problem.message


@pytest.mark.parametrize(
    ("dates", "action", "when"),
    [
        pytest.param("until = 2026-11-24", "block", "Wed 2026-11-25 00:00 UTC", id="until"),
        pytest.param("from = 2026-11-26", "allow", "Thu 2026-11-26 00:00 UTC", id="from"),
        pytest.param("from = 2026-11-24\nuntil = 2026-11-24", "allow", "Tue 2026-11-24 00:00 UTC", id="a-day"),
    ],
)
def test_the_dates_of_a_rule_are_changes_too(policy_file: Write, dates: str, action: str, when: str) -> None:
    """Without its time such a message would say what `check` shows to be wrong today."""
    rule = f'[[rule]]\naction = "block"\n{dates}\n'
    (problem,) = failures(policy_file(f'{rule}[[expect]]\nurl = "a.example"\naction = "{action}"\n'))
    assert f" on {when} (without 'at' it must hold at any time of the week)" in problem.message


@pytest.mark.parametrize("dates", ["until = 2026-12-24", "from = 2026-12-24"])
def test_what_changes_later_than_in_a_week_is_not_looked_at(policy_file: Write, dates: str) -> None:
    action = "block" if dates.startswith("until") else "allow"
    rule = f'[[rule]]\naction = "block"\n{dates}\n'
    assert failures(policy_file(f'{rule}[[expect]]\nurl = "a.example"\naction = "{action}"\n')) == ()


def test_a_policy_that_never_changes_names_no_time(policy_file: Write) -> None:
    text = '[[rule]]\nname = "r"\naction = "block"\n[[expect]]\nurl = "a.example"\naction = "allow"\n'
    (problem,) = failures(policy_file(text))
    assert problem.message == "expected allow, and it is block by rule 'r'"


def test_schedules_in_several_zones_are_told_by_the_clock_of_the_machine(policy_file: Write) -> None:
    text = """\
[schedules]
a = { hours = ["08:00-12:00"], timezone = "Europe/Brussels" }
b = { hours = ["08:00-12:00"], timezone = "Asia/Tokyo" }
[[rule]]
action = "block"
schedule = ["a", "b"]
[[expect]]
url = "a.example"
action = "allow"
"""
    (problem,) = failures(policy_file(text), NOW + 2 * 3600)
    assert " on Mon 2026-11-23 23:00 UTC " in problem.message


def test_an_expression_that_takes_too_long_is_no_decision(policy_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_: object) -> None:
        raise ExpressionTimeoutError("the expression 'x' took too long")

    monkeypatch.setattr(Expressions, "search", give_up)
    text = """\
[sites]
own = { regex = ['x'] }
[[rule]]
sites = ["own"]
action = "block"
[[expect]]
url = "http://a.example/x"
action = "allow"
"""
    (problem,) = failures(policy_file(text))
    assert (problem.line, problem.severity) == (7, "error")
    assert problem.message.startswith("expected a decision: the expression 'x' took too long")


def test_all_that_fail_are_told_at_once_and_each_once(policy_file: Write) -> None:
    """Though one that holds at no time fails at each change."""
    text = RULES + BLOCKED + 'action = "monitor"\n\n[[expect]]\n' + BLOCKED + 'service = "telegram"\n'
    text += '\n[[expect]]\nurl = "a.example"\naction = "allow"\n\n[[expect]]\nurl = "a.example"\naction = "block"\n'
    lines = [number for number, line in enumerate(text.split("\n"), 1) if line.startswith("url = ")]
    assert [problem.line for problem in failures(policy_file(text))] == [lines[0], lines[1], lines[3]]


def test_warnings_about_the_policy_alone_fail_nothing(policy_file: Write) -> None:
    text = '[[rule]]\nclients = ["10.0.0.1/8"]\naction = "block"\n[[expect]]\nurl = "a.example"\naction = "allow"\n'
    assert failures(policy_file(text)) == ()


def test_a_failure_is_told_with_the_warnings_about_the_policy(policy_file: Write) -> None:
    text = '[[rule]]\nclients = ["10.0.0.1/8"]\naction = "block"\n[[expect]]\nurl = "a.example"\naction = "block"\n'
    assert [(p.line, p.severity) for p in failures(policy_file(text))] == [(2, "warning"), (5, "error")]


HALF_HOURS = st.integers(0, 48).map(lambda n: f"{n // 2:02}:{n % 2 * 30:02}")
HOURS = st.tuples(HALF_HOURS, HALF_HOURS).filter(lambda pair: pair[0] != pair[1] and pair[0] != "24:00").map("-".join)
ZONES = st.sampled_from(["UTC", "Europe/Brussels", "America/St_Johns"])
NOWS = st.integers(0, 400 * 48).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC).timestamp() + n * HALF_HOUR)


@given(st.lists(HOURS, min_size=1, max_size=2), st.sampled_from(["mon-fri", "sun", "sat-mon"]), ZONES, NOWS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_fails_when_any_half_hour_of_the_week_says_so(
    policy_file: Write, hours: list[str], days: str, zone: str, now: float
) -> None:
    path = policy_file(
        f'[schedules]\ns = {{ days = "{days}", hours = {hours}, timezone = "{zone}" }}\n'
        '[[rule]]\naction = "block"\nschedule = "s"\n'
        '[[expect]]\nurl = "a.example"\naction = "block"\n[[expect]]\nurl = "b.example"\naction = "allow"\n'
    )
    _, engine = load(path)
    instants = [now + n * HALF_HOUR for n in range(WEEK // HALF_HOUR)]
    actions = {check(engine, "a.example", Circumstances(), instant).decision.action for instant in instants}
    failing = {problem.source for problem in failures(path, now)}
    assert failing == {f'url = "{"b" if action == "block" else "a"}.example"' for action in actions}
