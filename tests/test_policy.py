"""The policy file: what it means, and every problem of it told where it is."""

import ipaddress
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError, Problem, SourceError
from squid_imhelper.base.model import (
    AuditSettings,
    Circumstances,
    Expectation,
    FirewallSettings,
    Interval,
    Policy,
    Response,
    Rule,
    Service,
    SiteList,
)
from squid_imhelper.sources.catalogue import Catalogue, load_catalogue
from squid_imhelper.sources.listfiles import LeftOut
from squid_imhelper.sources.policy import built_in_policy, left_out_problems, read_policy
from squid_imhelper.sources.settings import MAX_TEXT

Write = Callable[[str], Path]

HERE = "»"
"""Marks, in the cases below, the character at which a problem must be shown."""


def service(name: str, group: str) -> Service:
    return Service(name, name.title(), group, "active", None, "", "", "", ())


CATALOGUE = Catalogue(
    {
        s.id: s
        for s in (
            service("whatsapp", "im"),
            service("telegram", "im"),
            service("slack", "work_chat"),
            service("chatroulette", "random_chat"),
        )
    },
    {"im": "Messengers", "work_chat": "Work", "random_chat": "Strangers"},
)


def problems(path: Path) -> tuple[Problem, ...]:
    try:
        return read_policy(path, CATALOGUE).warnings
    except SourceError as error:
        return error.problems


def policy(path: Path) -> Policy:
    return read_policy(path, CATALOGUE).policy


def addresses(text: str) -> Interval:
    network = ipaddress.ip_network(text)
    return network.version, int(network[0]), int(network[-1])


def place(text: str) -> tuple[int, int]:
    before = text[: text.index(HERE)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


RULE = '[schedules]\noffice = { timezone = "UTC" }\n[[rule]]\naction = "block"\n'
EXPECT = '[[expect]]\nurl = "a.example"\n'

CASES = [
    # [[rule]]
    pytest.param("rule = »5\n", "error", "'rule' must be a list of tables", "", id="rule-no-list"),
    pytest.param("»rule = [5]\n", "error", "'rule' must be a list of tables", "", id="rule-of-numbers"),
    pytest.param('»[[rule]]\nname = "x"\n', "error", "'action' is missing", "", id="action-missing"),
    pytest.param(
        '[[rule]]\naction = "»blok"\n',
        "error",
        "'action' is one of block, allow, monitor",
        "did you mean 'block'?",
        id="action-unknown",
    ),
    pytest.param('[[rule]]\naction = "»"\n', "error", "'action' is one of", "", id="action-empty"),
    pytest.param("[[rule]]\naction = »5\n", "error", "'action' must be a string", "", id="action-number"),
    pytest.param(RULE + "»clients = []\n", "error", "'clients' is empty", "leave it out for 'any'", id="list-empty"),
    pytest.param(RULE + "»users = []\n", "error", "'users' is empty", "leave it out for 'any'", id="users-empty"),
    pytest.param(RULE + "»services = []\n", "error", "'services' is empty", "leave it out for 'any'", id="none-named"),
    pytest.param(
        '[clients]\nboss = ["10.0.0.1"]\n' + RULE + 'clients = ["»bos"]\n',
        "error",
        "unknown client group 'bos'",
        "did you mean 'boss'?",
        id="client-group-unknown",
    ),
    pytest.param(RULE + 'clients = ["»clients"]\n', "error", "unknown client group", "", id="value-like-its-key"),
    pytest.param(
        RULE + 'clients = [\n  # boss is gone\n  "»boss",\n]\n', "error", "unknown client", "", id="value-in-a-comment"
    ),
    pytest.param(RULE + 'firewall = "»no"\n', "error", "'firewall' must be true or false", "", id="firewall-text"),
    pytest.param(RULE + "firewall = »0\n", "error", "'firewall' must be true or false", "", id="firewall-number"),
    pytest.param(RULE + 'clients = ["»10.0.0.300"]\n', "error", "is no IP address", "", id="client-literal"),
    pytest.param(RULE + 'clients = ["»10.0.0.1/8"]\n', "warning", "host bits", "", id="client-host-bits"),
    pytest.param(
        RULE + 'services = ["whatsapp", "»telegrm"]\n',
        "error",
        "unknown service 'telegrm'",
        "did you mean 'telegram'?",
        id="service-unknown",
    ),
    pytest.param(
        RULE + 'services = ["»@work_chats"]\n',
        "error",
        "unknown group '@work_chats'",
        "did you mean '@work_chat'?",
        id="service-group-unknown",
    ),
    pytest.param(
        RULE + 'services = ["all", "»-slak"]\n',
        "error",
        "unknown service 'slak'",
        "did you mean 'slack'?",
        id="service-left-out-unknown",
    ),
    pytest.param(RULE + '»services = ["-slack"]\n', "error", "leaves out of nothing", "", id="service-minus-first"),
    pytest.param(RULE + '»services = ["slack", "-slack"]\n', "error", "nothing is left", "", id="service-none-left"),
    pytest.param(
        RULE + 'services = ["all"]\ninclude = ["»stael"]\n',
        "error",
        "'include' knows stale, shared, self_hosted",
        "did you mean 'stale'?",
        id="include-unknown",
    ),
    pytest.param(RULE + '»include = ["stale"]\n', "error", "the rule names none", "", id="include-without-services"),
    pytest.param(
        "[sites.safe]\nports = [1]\n" + RULE + 'sites = ["»save"]\n',
        "error",
        "unknown site list 'save'",
        "did you mean 'safe'?",
        id="site-list-unknown",
    ),
    pytest.param(
        "[sites.safe]\nports = [1]\n" + RULE + 'except_sites = ["»save"]\n',
        "error",
        "unknown site list 'save'",
        "did you mean 'safe'?",
        id="except-site-list-unknown",
    ),
    pytest.param(f'[[rule]]\n»name = "{"x" * 101}"\naction = "allow"\n', "error", "at most 100 bytes", "", id="name"),
    pytest.param('[[rule]]\n»name = "a\\nb"\naction = "allow"\n', "error", "one line", "", id="name-two-lines"),
    pytest.param(
        '[[rule]]\nname = "a"\naction = "allow"\n[[rule]]\n»name = "a"\naction = "block"\n',
        "error",
        "two rules are named 'a', also line 1",
        "",
        id="name-twice",
    ),
    pytest.param(
        RULE + '»message = "{servce} is blocked"\n',
        "error",
        "unknown placeholder {servce}",
        "did you mean 'service'?",
        id="placeholder",
    ),
    pytest.param(RULE + f'»message = "{"x" * (MAX_TEXT + 1)}"\n', "error", "at most 1000", "", id="message-too-long"),
    pytest.param(RULE + '»message = "a\\tb"\n', "error", "'message' is one line", "", id="message-control-character"),
    pytest.param(
        RULE + '»service = ["all"]\n', "error", "unknown key 'service'", "did you mean 'services'?", id="rule-key"
    ),
    pytest.param(
        'rule = [\n  { action = "block" },\n  { action = "block", »color = 1 },\n]\n',
        "error",
        "unknown key 'color'",
        "",
        id="rule-inline",
    ),
    # [[rule]]: when
    pytest.param(
        RULE + 'schedule = "»ofice"\n',
        "error",
        "unknown schedule 'ofice'",
        "did you mean 'office'?",
        id="schedule-unknown",
    ),
    pytest.param(
        RULE + 'schedule = ["office", "»night"]\n', "error", "unknown schedule 'night'", "", id="schedule-in-a-list"
    ),
    pytest.param(RULE + 'schedule = "»"\n', "error", "unknown schedule ''", "", id="schedule-empty"),
    pytest.param(
        RULE + "»schedule = []\n", "error", "'schedule' is empty", "leave it out for 'any'", id="schedule-empty-list"
    ),
    pytest.param(RULE + "schedule = »5\n", "error", "'schedule' must be a list", "", id="schedule-number"),
    pytest.param(RULE + 'from = "»tomorrow"\n', "error", "'from' must be a date, as in", "", id="from-word"),
    pytest.param(RULE + 'from = "»2026-13-01"\n', "error", "'from' must be a date", "", id="from-month-13"),
    pytest.param(RULE + 'until = "»"\n', "error", "'until' must be a date", "", id="until-empty"),
    pytest.param(RULE + "until = »20261224\n", "error", "'until' must be a date", "", id="until-number"),
    pytest.param(RULE + "until = »07:30:00\n", "error", "'until' must be a date", "", id="until-time-without-a-date"),
    pytest.param(RULE + "»from = 1969-12-31\n", "error", "the year 1969 is not between", "", id="from-too-early"),
    pytest.param(RULE + "»until = 3000-01-01\n", "error", "the year 3000 is not between", "", id="until-too-late"),
    pytest.param(RULE + "»until = 9999-12-31\n", "error", "", "", id="until-for-ever"),
    pytest.param(
        RULE + "from = 2026-12-25\n»until = 2026-12-24\n",
        "error",
        "'until' is before 'from'",
        "",
        id="until-before-from",
    ),
    pytest.param(
        RULE + "from = 2026-12-24T10:00:00Z\n»until = 2026-12-24T11:00:00+01:00\n",
        "error",
        "'until' is before 'from'",
        "",
        id="until-the-same-instant",
    ),
    # [[rule]]: redirect, users
    pytest.param(RULE + '»redirect = "/blocked"\n', "error", "a whole URL of http or https", "", id="redirect"),
    pytest.param(RULE + '»redirect = ""\n', "error", "a whole URL of http or https", "", id="redirect-empty"),
    pytest.param(
        RULE + '»redirect = "http://a.example/{usr}"\n',
        "error",
        "unknown placeholder {usr}",
        "did you mean 'url'?",
        id="redirect-word",
    ),
    pytest.param(RULE + 'users = "»ann"\n', "error", "'users' must be a list of strings", "", id="users-string"),
    pytest.param(RULE + 'users = ["ann", »5]\n', "error", "'users' holds strings only", "", id="users-number"),
    pytest.param(RULE + "»users = {}\n", "error", "'users' is empty", "leave it out for 'any'", id="users-empty-table"),
    pytest.param(
        RULE + "»users = { names = [] }\n", "error", "'users' is empty", "leave it out for 'any'", id="users-no-names"
    ),
    pytest.param(
        RULE + 'users = { »name = ["ann"] }\n', "error", "unknown key 'name'", "did you mean 'names'?", id="users-key"
    ),
    pytest.param(RULE + 'users = { names = "»ann" }\n', "error", "'names' must be a list", "", id="users-names-string"),
    pytest.param(RULE + 'users = { file = "»nobody" }\n', "error", "No such file", "", id="users-no-file"),
    pytest.param(RULE + 'users = { file = "»." }\n', "error", "no regular file", "", id="users-folder"),
    pytest.param(RULE + "users = { file = »5 }\n", "error", "'file' must be a string", "", id="users-file-number"),
    # [[expect]]
    pytest.param("expect = »5\n", "error", "'expect' must be a list of tables", "", id="expect-no-list"),
    pytest.param('»[[expect]]\naction = "block"\n', "error", "'url' is missing", "", id="expect-no-url"),
    pytest.param(
        '\n»[[expect]]\nurl = "a.example"\n',
        "error",
        "says which 'action' or which 'service' it expects",
        "",
        id="expect-nothing",
    ),
    pytest.param(
        EXPECT + 'action = "»blocked"\n',
        "error",
        "'action' is one of block, allow, monitor",
        "did you mean 'block'?",
        id="expect-action",
    ),
    pytest.param(
        EXPECT + 'service = "»whatsap"\n',
        "error",
        "unknown service 'whatsap'",
        "did you mean 'whatsapp'?",
        id="expect-service",
    ),
    pytest.param(EXPECT + 'service = "»@im"\n', "error", "unknown service '@im'", "", id="expect-group"),
    pytest.param(
        EXPECT + 'action = "block"\nclient = "»lan"\n', "error", "'lan' is no IP address", "", id="expect-client-group"
    ),
    pytest.param(
        EXPECT + 'action = "block"\nclient = "»10.0.0.0/8"\n', "error", "is no IP address", "", id="expect-network"
    ),
    pytest.param(EXPECT + 'action = "block"\nat = "»noon"\n', "error", "'at' must be a date", "", id="expect-at"),
    pytest.param(
        EXPECT + 'action = "block"\n»agent = "x"\n',
        "error",
        "unknown key 'agent'",
        "did you mean 'user_agent'?",
        id="expect-key",
    ),
    # the file
    pytest.param("\n»colour = 1\n", "error", "unknown key 'colour'", "", id="unknown-key"),
    pytest.param(
        '\n»[[rules]]\naction = "block"\n', "error", "unknown key 'rules'", "did you mean 'rule'?", id="rules"
    ),
    pytest.param(
        '\n»[client]\nlan = ["10.0.0.1"]\n', "error", "unknown key 'client'", "did you mean 'clients'?", id="table"
    ),
    pytest.param(
        "[response]\n»[site.own]\nports = [1]\n", "error", "unknown key 'site'", "did you mean 'sites'?", id="sub-table"
    ),
    pytest.param("[clients]\nlan = »\n", "error", "not valid TOML", "", id="syntax"),
]


@pytest.mark.parametrize(("marked", "severity", "message", "suggestion"), CASES)
def test_a_problem_is_told_once_at_its_line_and_column(
    policy_file: Write, marked: str, severity: str, message: str, suggestion: str
) -> None:
    text = marked.replace(HERE, "")
    path = policy_file(text)
    (problem,) = problems(path)
    line, column = place(marked)
    assert (problem.line, problem.column) == (line, column), str(problem)[:300]
    assert message in problem.message
    assert (problem.severity, problem.suggestion) == (severity, suggestion)
    assert (problem.path, problem.source) == (str(path), text.split("\n")[line - 1])


def test_all_problems_are_told_at_once_from_top_to_bottom(
    policy_file: Write, golden: Callable[[str, str], None]
) -> None:
    text = """\
[response]
on_error = "never"
redirect = "nowhere"

[clients]
lan = ["10.0.0.0/8", "10.0.0.999"]
old = ["64.12.25.0/22"]

[[rule]]
name = "twice"
clients = ["lann"]
services = ["telegrm"]
action = "blok"

[[rule]]
name = "twice"
action = "allow"
sites = ["none"]
"""
    with pytest.raises(SourceError) as caught:
        read_policy(policy_file(text), CATALOGUE)
    found = caught.value.problems
    assert [(p.line, p.column) for p in found] == sorted((p.line, p.column) for p in found)
    golden("problems.txt", str(caught.value).replace(str(policy_file(text)), "policy.toml") + "\n")


EVERYTHING = r"""
"$schema" = "policy.schema.json"

[clients]
lan = ["192.168.1.0/24", "2001:db8:1::/48", "192.168.2.10-192.168.2.20"]
boss = ["192.168.1.16"]

[schedules]
office = { days = "mon-fri", hours = ["08:00-18:00"], timezone = "Europe/Brussels" }
night = { hours = ["22:00-06:00"], timezone = "Europe/Brussels" }

[sites.safe]
domains = ["intranet.example"]

[sites.own]
ports = [1863]

[[rule]]
name = "the boss may chat"
clients = ["boss", "192.168.9.0/255.255.255.0"]
action = "allow"

[[rule]]
name = "no messengers at work"
clients = ["lan"]
users = ["ann", "bob"]
services = ["all", "-slack"]
include = ["stale", "shared"]
schedule = ["office", "night"]
from = 2026-01-01
until = 2026-12-31
action = "block"
message = "{service} is blocked"
redirect = "http://proxy.example/no?{service}"

[[rule]]
user_agents = ["MSIE", "Trident/"]
sites = ["own"]
except_sites = ["safe"]
schedule = "office"
action = "monitor"

[response]
message = "{service_name}: no"

[audit]
log_urls = "host"

[firewall]
wan = "eth0"

[[expect]]
url = "https://web.whatsapp.com/"
client = "2001:DB8:1:0::5"
user = "ann"
user_agent = "UA"
method = "connect"
content_type = "text/html"
sni = "web.whatsapp.com"
at = 2026-11-23T09:00:00
action = "block"
service = "whatsapp"

[[expect]]
url = "www.example.com"
service = ""
"""

BRUSSELS = ZoneInfo("Europe/Brussels")


@pytest.mark.parametrize(("text", "expected"), [("", True), ("firewall = true\n", True), ("firewall = false\n", False)])
def test_a_rule_may_be_for_squid_only(policy_file: Write, text: str, expected: bool) -> None:
    (rule,) = policy(policy_file(RULE + text)).rules
    assert rule.firewall is expected


def test_a_policy_with_everything_becomes_these_records(policy_file: Write) -> None:
    path = policy_file(EVERYTHING)
    read = read_policy(path, CATALOGUE)
    first, last = int(ipaddress.ip_address("192.168.2.10")), int(ipaddress.ip_address("192.168.2.20"))
    lan = (addresses("192.168.1.0/24"), (4, first, last), addresses("2001:db8:1::/48"))
    rules = (
        Rule(
            "the boss may chat",
            "allow",
            clients=(addresses("192.168.1.16/32"), addresses("192.168.9.0/24")),
            line=18,
        ),
        Rule(
            "no messengers at work",
            "block",
            clients=lan,
            users=frozenset({"ann", "bob"}),
            services=frozenset({"whatsapp", "telegram", "chatroulette"}),
            include=frozenset({"stale", "shared"}),
            schedules=("office", "night"),
            start=datetime(2026, 1, 1, tzinfo=BRUSSELS).timestamp(),
            end=datetime(2027, 1, 1, tzinfo=BRUSSELS).timestamp(),
            message="{service} is blocked",
            redirect="http://proxy.example/no?{service}",
            line=23,
        ),
        Rule(
            "rule 3",
            "monitor",
            user_agents=("MSIE", "Trident/"),
            sites=("own",),
            except_sites=("safe",),
            schedules=("office",),
            line=36,
        ),
    )
    assert read.warnings == ()
    assert read.definitions.left_out == ()
    assert read.policy == Policy(
        str(path),
        rules,
        Response(message="{service_name}: no"),
        FirewallSettings(wan="eth0"),
        AuditSettings(log_urls="host"),
        sites={"safe": SiteList("safe", domains=("intranet.example",)), "own": SiteList("own", ports=(1863,))},
        schedules=read.definitions.schedules,
    )
    assert list(read.policy.schedules) == ["office", "night"]
    assert read.expectations == (
        Expectation(
            "https://web.whatsapp.com/",
            Circumstances(
                client="2001:db8:1::5",
                user="ann",
                method="CONNECT",
                user_agent="UA",
                content_type="text/html",
                sni="web.whatsapp.com",
            ),
            action="block",
            service="whatsapp",
            at=datetime(2026, 11, 23, 9, tzinfo=BRUSSELS).timestamp(),
        ),
        Expectation("www.example.com", Circumstances(), service=""),
    )


def test_a_policy_without_rules_has_the_standard_answers(policy_file: Write) -> None:
    path = policy_file("[response]")
    assert policy(path) == Policy(str(path), ())


def test_clients_are_groups_and_literals(policy_file: Write) -> None:
    path = policy_file('[clients]\ng = ["10.0.0.0/25"]\n' + RULE + 'clients = ["10.0.0.128/25", "g", "2001:db8::1"]\n')
    (rule,) = policy(path).rules
    assert rule.clients == (addresses("10.0.0.0/24"), addresses("2001:db8::1/128"))


# ---- when -----------------------------------------------------------------------------------------------------------


def utc(*date: int) -> float:
    return datetime(*date, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]  # year, month, day ...


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        pytest.param("from", "2026-12-24", utc(2026, 12, 24), id="from-date"),
        pytest.param("until", "2026-12-24", utc(2026, 12, 25), id="until-date-includes-the-day"),
        pytest.param("until", "2026-12-31", utc(2027, 1, 1), id="until-the-end-of-the-year"),
        pytest.param("until", "2028-02-28", utc(2028, 2, 29), id="until-a-leap-day"),
        pytest.param("from", "2026-12-24T10:30:00", utc(2026, 12, 24, 10, 30), id="from-time"),
        pytest.param("until", "2026-12-24T10:30:00", utc(2026, 12, 24, 10, 30), id="until-time"),
        pytest.param("until", "2026-12-24 10:30:00", utc(2026, 12, 24, 10, 30), id="until-time-with-a-blank"),
        pytest.param("from", "2026-12-24T10:30:00Z", utc(2026, 12, 24, 10, 30), id="from-time-utc"),
        pytest.param("from", "2026-12-24T10:30:00+02:00", utc(2026, 12, 24, 8, 30), id="from-time-offset"),
        pytest.param("from", '"2026-12-24"', utc(2026, 12, 24), id="from-string"),
        pytest.param("until", '"2026-12-24"', utc(2026, 12, 25), id="until-string"),
        pytest.param("until", '"2026-12-24T10:30"', utc(2026, 12, 24, 10, 30), id="until-string-time"),
        pytest.param("until", '"2026-12-24T10:30+02:00"', utc(2026, 12, 24, 8, 30), id="until-string-offset"),
    ],
)
def test_a_date_or_a_time_is_an_instant(policy_file: Write, key: str, value: str, expected: float) -> None:
    (rule,) = policy(policy_file(RULE + f'schedule = "office"\n{key} = {value}\n')).rules
    assert (rule.start, rule.end) == ((expected, None) if key == "from" else (None, expected))


TOKYO = 'tokyo = { timezone = "Asia/Tokyo" }\n'


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        pytest.param("", "America/New_York", id="none-that-of-the-machine"),
        pytest.param('schedule = "tokyo"\n', "Asia/Tokyo", id="that-of-the-schedule"),
        pytest.param('schedule = ["tokyo", "office"]\n', "Asia/Tokyo", id="that-of-the-first"),
    ],
)
def test_a_date_is_one_by_the_clock_of_the_rule(
    policy_file: Write, monkeypatch: pytest.MonkeyPatch, schedule: str, zone: str
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    path = policy_file(RULE.replace("office =", f"{TOKYO}office =") + f"{schedule}from = 2026-07-01\n")
    (rule,) = policy(path).rules
    assert rule.start == datetime(2026, 7, 1, tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("first", "last", "hours"),
    [
        pytest.param("2026-03-29", "2026-03-29", 23, id="to-summer-time"),
        pytest.param("2026-10-25", "2026-10-25", 25, id="from-summer-time"),
        pytest.param("2026-11-23", "2026-11-23", 24, id="any-other-day"),
        pytest.param("2026-03-01", "2026-03-31", 31 * 24 - 1, id="a-month"),
    ],
)
def test_a_day_is_as_long_as_it_is_on_the_wall(policy_file: Write, first: str, last: str, hours: int) -> None:
    path = policy_file(
        f'[schedules]\nb = {{ timezone = "Europe/Brussels" }}\n'
        f'[[rule]]\naction = "block"\nschedule = "b"\nfrom = {first}\nuntil = {last}\n'
    )
    (rule,) = policy(path).rules
    assert rule.start is not None
    assert rule.end is not None
    assert rule.end - rule.start == hours * 3600


def test_a_rule_without_dates_has_none(policy_file: Write) -> None:
    (rule,) = policy(policy_file(RULE)).rules
    assert (rule.schedules, rule.start, rule.end) == (None, None, None)


# ---- users ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        pytest.param('["ann", "bob", "ann"]', {"ann", "bob"}, id="list"),
        pytest.param('{ names = ["ann"] }', {"ann"}, id="names"),
        pytest.param('{ file = "users" }', {"carol", "DOM\\dave", "eve smith"}, id="file"),
        pytest.param('{ names = ["ann"], file = "users" }', {"ann", "carol", "DOM\\dave", "eve smith"}, id="both"),
    ],
)
def test_users_are_named_or_stand_in_a_file(policy_file: Write, tmp_path: Path, users: str, expected: set[str]) -> None:
    """A name a line, as Squid writes it: case, blanks and domain count."""
    (tmp_path / "users").write_bytes(b"\xef\xbb\xbf# who\r\n\r\n carol \r\nDOM\\dave\r\neve smith\r\n#frank\r\n")
    read = policy(policy_file(RULE + f"users = {users}\n"))
    assert read.rules[0].users == frozenset(expected)
    assert read.files == ((str(tmp_path / "users"),) if "file" in users else ())


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# ann\n"], ids=["empty", "blank", "comment"])
@pytest.mark.parametrize("before", ["", '[clients]\nlan = ["10.0.0.1/8"]\n'], ids=["alone", "behind-a-warning"])
def test_a_file_without_users_is_an_error(policy_file: Write, tmp_path: Path, before: str, content: bytes) -> None:
    """Such a rule would never hold, whatever else was found in the policy."""
    (tmp_path / "users").write_bytes(content)
    found = problems(policy_file(before + RULE + 'users = { file = "users" }\n'))
    assert [p.message for p in found if p.severity == "error"] == ["'users' is empty and would never hold"]


def test_a_policy_knows_every_file_that_it_was_read_from(policy_file: Write, tmp_path: Path) -> None:
    """The helper watches them."""
    for name, text in (("list", "a.example\n"), ("users", "ann\n")):
        (tmp_path / name).write_text(text)
    path = policy_file('[sites]\na = { file = "list" }\n' + RULE + 'sites = ["a"]\nusers = { file = "users" }\n')
    assert policy(path).files == (str(tmp_path / "list"), str(tmp_path / "users"))


# ---- lists in files -------------------------------------------------------------------------------------------------


def test_lines_that_were_left_out_are_warnings_counted_by_list_and_reason(policy_file: Write, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a.example\ncom\nb^d.example\nnet\norg\n")
    (tmp_path / "two").write_text("a.example\norg\n")
    read = read_policy(
        policy_file('[sites]\na = { file = "one" }\nb = { file = "two" }\n' + RULE + 'sites = ["a", "b"]\n'), CATALOGUE
    )
    top_level = "left out: a whole top-level domain, or a bare host name"
    assert [(Path(w.path).name, w.line, w.message, w.source) for w in read.warnings] == [
        ("one", 2, f"{top_level} (and 2 more lines like this)", "com"),
        ("one", 3, "left out: no host name", "b^d.example"),
        ("two", 2, top_level, "org"),
    ]
    assert {w.severity for w in read.warnings} == {"warning"}
    assert len(read.definitions.left_out) == 5


def test_left_out_lines_are_shown_so_that_a_terminal_stays_as_it_is(policy_file: Write, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.example\n\x1b[2Jx\xe9\xff\n")
    (warning,) = read_policy(policy_file('[sites]\na = { file = "list" }\n' + RULE), CATALOGUE).warnings
    assert str(warning).isprintable() or str(warning).replace("\n", "").isprintable()
    assert warning.source == "\ufffd[2Jx\ufffd\ufffd"


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 5))
def test_of_each_reason_so_many_lines_are_shown_and_the_others_counted(reasons: list[str], shown: int) -> None:
    lines = [LeftOut("list", number, "text", reason) for number, reason in enumerate(reasons, 1)]
    told = list(left_out_problems(lines, shown))
    for reason in set(reasons):
        places = [line.line for line in lines if line.reason == reason]
        of_reason = [problem for problem in told if problem.message.startswith(f"left out: {reason}")]
        assert [problem.line for problem in of_reason] == places[:shown]
        more = [problem.message.partition("(and ")[2].partition(" ")[0] for problem in of_reason]
        hidden = len(places) - len(of_reason)
        assert more == [""] * (len(of_reason) - 1) + [str(hidden) if hidden else ""]


# ---- the whole ------------------------------------------------------------------------------------------------------


def test_warnings_alone_leave_a_policy_usable(policy_file: Write) -> None:
    path = policy_file('[clients]\nlan = ["10.0.0.1/8"]\n[sites.a]\ndomains = ["com"]\n')
    assert [(w.line, w.severity) for w in read_policy(path, CATALOGUE).warnings] == [(2, "warning"), (4, "warning")]


@given(st.lists(st.sampled_from(["block", "allow", "monitor"]), min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rules_keep_the_order_in_which_they_stand(policy_file: Write, actions: list[str]) -> None:
    text = "".join(f'[[rule]]\nname = "r{n}"\naction = "{action}"\n' for n, action in enumerate(actions))
    rules = policy(policy_file(text)).rules
    assert [(rule.name, rule.action, rule.line) for rule in rules] == [
        (f"r{n}", action, 3 * n + 1) for n, action in enumerate(actions)
    ]


def test_built_in_blocks_every_service_but_random_chat() -> None:
    (rule,) = built_in_policy(CATALOGUE).rules
    assert rule == Rule("built-in", "block", services=frozenset({"whatsapp", "telegram", "slack"}))


SNIPPETS = st.sampled_from(
    [
        *("[clients]\n", "[sites]\n", "[sites.a]\n", "[[rule]]\n", "[response]\n", "[firewall]\n", "\n", "[", "]", "{"),
        *("action = ", "clients = ", "services = ", "domains = ", "urls = ", "regex = ", "networks = ", "ports = "),
        *("redirect = ", "connect = ", "a = ", "include = ", "sites = ", "name = ", "}", ", ", '"', "'", "rule = "),
        *('["all"]\n', '["lan", "10.0.0.1/8"]\n', '["-"]\n', '["("]\n', '["http://%"]\n', "[1, 70000]\n", '"block"\n'),
        *('"http://{a"\n', '["[::1]:0"]\n', '["\\u0000"]\n', "{}\n", "[[]]\n", "true\n", "1.5\n", "1979-05-27\n", "#"),
    ]
)


@given(st.lists(SNIPPETS, max_size=15).map("".join) | st.text())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_policy_or_an_error_of_ours(policy_file: Write, text: str) -> None:
    path = policy_file(text.encode("utf-8", "ignore").decode())
    with suppress(ImhelperError):
        read_policy(path, CATALOGUE)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
RULE_KEYS = st.sampled_from(
    [
        *("name", "clients", "users", "services", "include", "user_agents", "sites", "except_sites", "schedule"),
        *("from", "until", "message", "redirect", "url", "at", "client", "service", "method", "sni"),
    ]
)
MOMENTS = st.dates().map(str) | st.datetimes().map(datetime.isoformat)


def toml_text(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


def toml_list(texts: list[str]) -> str:
    return "[" + ", ".join(map(toml_text, texts)) + "]"


VALUES = TEXTS.map(toml_text) | st.lists(TEXTS, max_size=2).map(toml_list) | MOMENTS | MOMENTS.map(toml_text)


@given(st.sampled_from(["rule", "expect"]), st.dictionaries(RULE_KEYS, VALUES))
@example("rule", {"until": "9999-12-31"})
@example("expect", {"url": '"a"', "at": "0001-01-01"})
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rule_is_one_or_an_error_of_ours(policy_file: Write, table: str, values: dict[str, str]) -> None:
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    found = problems(policy_file(f'[[{table}]]\naction = "block"\n{lines}'))
    assert all(1 <= problem.line <= len(values) + 2 for problem in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            '[[rule]]\nservices = ["facebook", "WhatsApp", "@imm"]\naction = "block"\n',
            ["'facebook'", "'WhatsApp'", "'@imm'"],
            id="services",
        ),
        pytest.param(
            '[[expect]]\nclient = "lan"\nservice = "x"\n', ["'url' is missing", "no IP address", "'x'"], id="expect"
        ),
        pytest.param(
            '[schedules]\na = { days = "x", hours = ["y"], timezone = "z" }\n',
            ["'x' is no day", "'y' is no range", "unknown time zone 'z'"],
            id="schedule",
        ),
        pytest.param(
            '[[rule]]\naction = "block"\nschedule = ["a", "b"]\nfrom = "c"\nuntil = 1\n',
            ["unknown schedule 'a'", "unknown schedule 'b'", "'from' must be", "'until' must be"],
            id="when",
        ),
    ],
)
def test_each_mistake_is_told(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(SourceError) as caught:
        read_policy(path, CATALOGUE)
    assert len(caught.value.problems) == len(words)
    for word in words:
        assert word in str(caught.value)


def test_a_policy_without_a_rule_is_told(tmp_path: Path) -> None:
    """A file that was cut off while it was saved would let everything through without a word."""
    path = tmp_path / "policy.toml"
    path.write_text("[clients]\n")
    (warning,) = read_policy(path, CATALOGUE).warnings
    assert "everything is allowed" in warning.message


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n"])
def test_an_empty_policy_is_refused(text: str, policy_file: Write) -> None:
    """What a full disk leaves of a file would let everything through."""
    with pytest.raises(SourceError, match="the file is empty"):
        read_policy(policy_file(text), CATALOGUE)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "policy.toml")
    with pytest.raises(ImhelperError, match="no regular file"):
        read_policy(tmp_path / "policy.toml", CATALOGUE)


def test_a_long_line_is_shown_in_part(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    many = '"slack", ' * 5000
    path.write_text(f'[[rule]]\nservices = [{many}"slak"]\naction = "block"\n')
    with pytest.raises(SourceError) as caught:
        read_policy(path, CATALOGUE)
    assert "did you mean 'slack'?" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "warned"), [("policy.toml", []), ("recipe-2006.toml", ["64.12.25.0/22", "216.155.193.0/22"])]
)
def test_the_shipped_policies_can_be_used(name: str, warned: list[str]) -> None:
    """The recipe keeps its two networks as they stood, host bits and all, and is told about them."""
    read = read_policy(Path(__file__).parents[1] / "conf" / name, load_catalogue())
    assert read.policy.rules
    assert len(read.warnings) == len(warned)
    for warning, network in zip(read.warnings, warned, strict=True):
        assert f"'{network}' has host bits set" in warning.message
