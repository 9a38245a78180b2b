"""`lint`: each finding at its line, with its severity and its hint, and nothing about what is in order."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squid_imhelper.base import schedule
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import (
    ACTIONS,
    BUILT_IN,
    Flag,
    Kind,
    Match,
    Schedule,
    Service,
    Signature,
    UrlPattern,
)
from squid_imhelper.offline.lint import SHOWN_LINES, SHOWN_SERVICES, Report, lint
from squid_imhelper.sources.catalogue import Catalogue, load_catalogue
from squid_imhelper.squid.squidconf import TIMED_TTL

Write = Callable[[str], Path]

HERE = "»"
"""Marks, in the cases below, the character at which a problem must be shown."""

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
"""A Monday."""

HOUR = 3600


def domain(id_: str, flag: Flag = "") -> Signature:
    return Signature(Kind.DOMAIN, f"{flag or 'www'}.{id_}.example", id_, flag)


def service(id_: str, *signatures: Signature, group: str = "im", collateral: str = "") -> Service:
    return Service(id_, id_.title(), group, "active", None, "", collateral, "", signatures)


INSIDE = (
    Signature(Kind.URL, "/chat", "inside", url=UrlPattern("/chat", Match.PREFIX)),
    Signature(Kind.USER_AGENT, "Inside/", "inside", match=Match.PREFIX),
    Signature(Kind.CONTENT_TYPE, "text/x-inside", "inside"),
)

CATALOGUE = Catalogue(
    {
        s.id: s
        for s in (
            service("whatsapp", domain("whatsapp")),
            service("slack", domain("slack"), domain("slack", "shared"), collateral="Slack. Shared: all of its CDN."),
            service("inside", *INSIDE),
            service("gone", domain("gone", "stale")),
            *(
                service(
                    f"wide{n}", domain(f"wide{n}"), domain(f"wide{n}", "shared"), group="wide", collateral=f"Brand {n}."
                )
                for n in range(SHOWN_SERVICES + 2)
            ),
        )
    },
    {"im": "Messengers", "wide": "Brands"},
)


@pytest.fixture(autouse=True)
def machine_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def report(path: Path, now: float = NOW) -> Report:
    return lint(str(path), CATALOGUE, now)


def rendered(found: Report, folder: Path) -> str:
    """As the command prints it, without the folder."""
    text = "".join(f"{line}\n" for line in (*found.problems, *found.summary))
    return text.replace(f"{folder}/", "")


def place(marked: str) -> tuple[int, int]:
    before = marked[: marked.index(HERE)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


# ---- each finding, and where there is none --------------------------------------------------------------------------

BLOCK = '[[rule]]\nname = "block"\nservices = ["whatsapp"]\naction = "block"\n'
BLOCK_ALL = '[[rule]]\nname = "all"\naction = "block"\n'
SITES = '[sites]\none = { domains = ["one.example"] }\ntwo = { domains = ["two.example"] }\n'
SEE = "leave it out, or see 'squid-imhelper services NAME'"


def shadow(earlier: str, later: str) -> str:
    return f'[[rule]]\nname = "a"\n{earlier}\naction = "block"\n{HERE}[[rule]]\nname = "b"\n{later}\naction = "block"\n'


NEVER_ASKED = "rule 'b' is never asked: whatever meets its conditions meets those of 'a' (line 1) too"

FOUND = [
    # rules behind others
    pytest.param(shadow("", ""), NEVER_ASKED, "", id="shadowed-by-the-same"),
    pytest.param(shadow('services = ["@wide"]', 'services = ["wide1"]'), NEVER_ASKED, "", id="shadowed-by-a-group"),
    pytest.param(shadow("", 'clients = ["10.0.0.1"]\nusers = ["ann"]'), NEVER_ASKED, "", id="shadowed-by-everything"),
    pytest.param(
        '[[rule]]\nname = "a"\naction = "allow"\n»[[rule]]\nname = "b"\naction = "block"\n',
        NEVER_ASKED,
        "",
        id="shadowed-by-an-allowing-rule",
    ),
    pytest.param(
        '[[rule]]\nname = "a"\naction = "monitor"\n»[[rule]]\nname = "b"\naction = "block"\n',
        NEVER_ASKED,
        "",
        id="shadowed-by-a-watching-rule",
    ),
    # rules without effect
    pytest.param(
        BLOCK + '»[[rule]]\nname = "late"\nservices = ["slack"]\naction = "allow"\n',
        "rule 'late' changes nothing: no rule behind it blocks",
        "exceptions stand before the rule that they are exceptions to",
        id="allows-behind-the-last-block",
    ),
    pytest.param(
        '»[[rule]]\nname = "only"\nservices = ["slack"]\naction = "allow"\n',
        "rule 'only' changes nothing: no rule behind it blocks",
        "",
        id="allows-what-nothing-blocks",
    ),
    pytest.param(
        SITES + '[[rule]]\nname = "r"\nsites = ["one"]\n»except_sites = ["two", "one"]\naction = "block"\n',
        "rule 'r' can never apply: it excepts its own sites",
        "",
        id="excepts-its-own-sites",
    ),
    # times
    pytest.param(
        '[[rule]]\nname = "r"\n»until = 2026-11-22\naction = "block"\n', "rule 'r' has expired", "", id="expired"
    ),
    pytest.param(
        '[[rule]]\nname = "r"\n»until = 2026-11-23T12:00:00Z\naction = "block"\n',
        "rule 'r' has expired",
        "",
        id="expired-this-second",
    ),
    pytest.param(
        '[[rule]]\nname = "r"\n»until = "2026-11-01"\naction = "allow"\n' + BLOCK,
        "rule 'r' has expired",
        "",
        id="expired-exception",
    ),
    pytest.param(
        '[schedules]\nweekend = { days = "sat,sun", timezone = "UTC" }\n[[rule]]\nname = "r"\n'
        '»schedule = "weekend"\nfrom = 2026-11-30\nuntil = 2026-12-04\naction = "block"\n',
        "rule 'r' can never apply: its schedule is not between its dates",
        "",
        id="schedule-outside-of-the-dates",
    ),
    pytest.param(
        f'[schedules]\n»s = {{ hours = ["08:00:00-08:00:{TIMED_TTL - 1}"], timezone = "UTC" }}\n'
        '[[rule]]\nschedule = "s"\naction = "block"\n',
        f"schedule 's' changes within {TIMED_TTL} seconds, for which Squid keeps an answer: nobody will notice",
        "",
        id="schedule-too-fine",
    ),
    pytest.param(
        '[schedules]\n»s = { hours = ["08:00:00-08:00:15"], timezone = "UTC" }\n'
        '[[rule]]\nschedule = "s"\naction = "block"\n',
        f"schedule 's' changes within {TIMED_TTL} seconds",
        "",
        id="schedule-of-just-the-ttl",
    ),
    pytest.param(
        '[schedules]\n»s = { hours = ["08:00-12:00", "12:00:15-13:00"], timezone = "UTC" }\n'
        '[[rule]]\nschedule = "s"\naction = "block"\n',
        f"schedule 's' changes within {TIMED_TTL} seconds",
        "",
        id="gap-too-short",
    ),
    pytest.param(
        '[schedules]\n»s = { hours = ["00:00:00-23:59:50"], timezone = "UTC" }\n'
        '[[rule]]\nschedule = "s"\naction = "block"\n',
        f"schedule 's' changes within {TIMED_TTL} seconds",
        "",
        id="gap-too-short-at-midnight",
    ),
    # definitions
    pytest.param(
        '[clients]\nlan = ["10.0.0.0/8"]\n»old = ["10.0.0.1"]\n'
        '[[rule]]\nclients = ["lan", "10.0.0.1"]\naction = "block"\n',
        "client group 'old' is used by no rule",
        "",
        id="clients-unused",
    ),
    pytest.param(
        f'[schedules]\n»s = {{ days = "mon", timezone = "UTC" }}\n{BLOCK}',
        "schedule 's' is used by no rule",
        "",
        id="schedule-unused",
    ),
    pytest.param(
        '[sites]\n»one = { domains = ["one.example"] }\n' + BLOCK,
        "site list 'one' is used by no rule",
        "",
        id="sites-unused",
    ),
    pytest.param(
        "»[sites.one]\nports = [1]\n" + BLOCK, "site list 'one' is used by no rule", "", id="sites-unused-table"
    ),
    # what cannot be seen
    pytest.param(
        '[[rule]]\n»services = ["whatsapp", "inside"]\naction = "block"\n',
        "inside: cannot be seen without TLS interception",
        SEE,
        id="unseen",
    ),
    pytest.param(
        '[[rule]]\n»services = ["whatsapp", "gone"]\naction = "block"\n',
        "gone: no signature counts unless the rule includes it",
        SEE,
        id="silent",
    ),
    pytest.param(
        '[[rule]]\nname = "r"\n»services = ["gone"]\naction = "block"\n',
        "rule 'r' can never apply: no signature of it counts",
        "",
        id="all-silent",
    ),
    # what is hit too
    pytest.param(
        '[[rule]]\nservices = ["whatsapp", "slack"]\ninclude = ["stale", "»shared"]\naction = "block"\n',
        "more than Slack is blocked: all of its CDN.",
        "",
        id="collateral-of-what-is-shared",
    ),
    pytest.param(
        '[[rule]]\nservices = ["wide1"]\ninclude = ["»shared"]\naction = "block"\n',
        "more than Wide1 is blocked: Brand 1.",
        "",
        id="collateral-as-a-whole",
    ),
    # what the reader says
    pytest.param(
        '[[rule]]\nclients = ["»10.0.0.1/8"]\naction = "block"\n',
        "host bits set and is taken as 10.0.0.0/8",
        "",
        id="host-bits",
    ),
]


@pytest.mark.parametrize(("marked", "message", "suggestion"), FOUND)
def test_a_finding_is_a_warning_at_its_line(policy_file: Write, marked: str, message: str, suggestion: str) -> None:
    text = marked.replace(HERE, "")
    path = policy_file(text)
    (problem,) = report(path).problems
    assert (problem.path, problem.line, problem.column) == (str(path), *place(marked)), problem
    assert (problem.severity, problem.suggestion, problem.source) == (
        "warning",
        suggestion,
        text.split("\n")[problem.line - 1],
    )
    assert message in problem.message


def scheduled(hours: str, days: str = "mon-sun") -> str:
    return (
        f'[schedules]\ns = {{ days = "{days}", hours = {hours}, timezone = "UTC" }}\n'
        '[[rule]]\nschedule = "s"\naction = "block"\n'
    )


IN_ORDER = [
    pytest.param(BLOCK, id="a-rule"),
    pytest.param(shadow('services = ["slack"]', 'services = ["@im", "-inside", "-gone"]'), id="narrow-before-wide"),
    pytest.param(shadow('clients = ["10.0.0.1"]', ""), id="an-exception-for-a-client"),
    pytest.param('[[rule]]\nservices = ["slack"]\naction = "allow"\n' + BLOCK_ALL, id="an-exception-before-its-rule"),
    pytest.param(
        '[[rule]]\nservices = ["slack"]\naction = "allow"\n[[rule]]\nservices = ["slack"]\naction = "block"\n',
        id="allowed-by-every-name-is-not-blocked-by-any",
    ),
    pytest.param(BLOCK + '[[rule]]\nservices = ["slack"]\naction = "monitor"\n', id="watches-behind-the-last-block"),
    pytest.param(
        SITES + '[[rule]]\nsites = ["one", "two"]\nexcept_sites = ["two"]\naction = "block"\n',
        id="excepts-some-of-its-sites",
    ),
    pytest.param('[[rule]]\nuntil = 2026-11-23\naction = "block"\n', id="expires-today"),
    pytest.param('[[rule]]\nuntil = 2026-11-23T12:00:01Z\naction = "block"\n', id="expires-in-a-second"),
    pytest.param('[[rule]]\nfrom = 2027-01-01\nuntil = 2027-01-02\naction = "block"\n', id="begins-later"),
    pytest.param(
        '[schedules]\nweekend = { days = "sat,sun", timezone = "UTC" }\n[[rule]]\nschedule = "weekend"\n'
        'from = 2026-11-30\nuntil = 2026-12-05\naction = "block"\n',
        id="schedule-on-the-last-of-its-days",
    ),
    pytest.param(scheduled('["08:00:00-08:01:01"]'), id="longer-than-the-ttl"),
    pytest.param(scheduled('["08:00-12:00", "12:02-13:00"]'), id="gap-longer-than-the-ttl"),
    pytest.param(scheduled('["08:00-12:00", "12:00-13:00"]'), id="no-gap"),
    pytest.param(scheduled('["00:00-24:00"]'), id="all-day"),
    pytest.param(scheduled('["18:00-00:01"]'), id="a-minute-over-midnight"),
    pytest.param(scheduled('["23:59-06:00"]'), id="a-minute-before-midnight"),
    pytest.param(scheduled('["23:59-06:00"]', "sun"), id="a-minute-before-the-week-ends"),
    pytest.param('[clients]\nlan = ["10.0.0.0/8"]\n[[rule]]\nclients = ["lan"]\naction = "block"\n', id="clients-used"),
    pytest.param(
        '[schedules]\na = { days = "mon", timezone = "UTC" }\nb = { days = "tue", timezone = "UTC" }\n'
        '[[rule]]\nschedule = ["a", "b"]\naction = "block"\n',
        id="schedules-used",
    ),
    pytest.param(
        SITES + '[[rule]]\nsites = ["one"]\nexcept_sites = ["two"]\naction = "block"\n', id="sites-used-as-exceptions"
    ),
    pytest.param('[[rule]]\nservices = ["whatsapp", "slack"]\naction = "block"\n', id="seen"),
    pytest.param('[[rule]]\nservices = ["inside"]\naction = "monitor"\n', id="unseen-but-only-watched"),
    pytest.param('[[rule]]\nservices = ["gone"]\ninclude = ["stale"]\naction = "block"\n', id="silent-but-included"),
    pytest.param('[[rule]]\nservices = ["slack"]\ninclude = ["stale"]\naction = "block"\n', id="shared-not-included"),
    pytest.param('[[rule]]\nservices = ["whatsapp"]\ninclude = ["shared"]\naction = "block"\n', id="nothing-shared"),
    pytest.param(
        '[[rule]]\nservices = ["slack"]\ninclude = ["shared"]\naction = "monitor"\n', id="shared-but-only-watched"
    ),
]


@pytest.mark.parametrize("text", IN_ORDER)
def test_what_is_in_order_is_not_found(policy_file: Write, text: str) -> None:
    assert [str(problem) for problem in report(policy_file(text.replace(HERE, ""))).problems] == []


def test_a_rule_expires_while_time_goes_by(policy_file: Write) -> None:
    path = policy_file('[[rule]]\nname = "r"\nuntil = 2026-12-24\naction = "block"\n')
    end = datetime(2026, 12, 25, tzinfo=UTC).timestamp()
    assert report(path, end - 1).problems == ()
    assert [p.message for p in report(path, end).problems] == ["rule 'r' has expired"]


def test_of_many_services_with_collateral_some_are_explained_and_the_others_named(policy_file: Write) -> None:
    path = policy_file('[[rule]]\nservices = ["@wide"]\ninclude = ["shared"]\naction = "block"\n')
    messages = [problem.message for problem in report(path).problems]
    assert messages == [
        *(f"more than Wide{n} is blocked: Brand {n}." for n in range(SHOWN_SERVICES)),
        "more is blocked than these messengers, too: wide5, wide6",
    ]


def test_lines_left_out_of_a_list_are_shown_and_counted(policy_file: Write, tmp_path: Path) -> None:
    """What is no name stands between what is a top-level domain: each reason has its own count."""
    (tmp_path / "list").write_text("a.example\n" + "com\nb^d\n" * (SHOWN_LINES + 3) + "org\n")
    path = policy_file('[sites]\nown = { file = "list" }\n[[rule]]\nsites = ["own"]\naction = "block"\n')
    found = report(path)
    top, bad = (
        [p for p in found.problems if text in p.message] for text in ("a whole top-level domain", "no host name")
    )
    assert [p.line for p in top] == [2 * n + 2 for n in range(SHOWN_LINES)]
    assert [p.line for p in bad] == [2 * n + 3 for n in range(SHOWN_LINES)]
    assert "(and 4 more lines like this)" in top[-1].message
    assert "(and 3 more lines like this)" in bad[-1].message
    assert {(p.path, p.severity) for p in found.problems} == {(str(tmp_path / "list"), "warning")}
    assert found.errors == 0


# ---- everything at once ---------------------------------------------------------------------------------------------

EVERYTHING_WRONG = """\
color = "blue"

[clients]
lan = ["10.0.0.0/8", "10.0.0.999"]
old = ["64.12.25.0/22"]
none = []

[schedules]
office = { days = "mon-freitag", hours = ["8-17"], timezone = "Europe/Bruxelles" }

[sites]
missing = { file = "nowhere.txt", format = "domains" }
folder = { file = "folder", format = "hosts" }
empty = { file = "empty.txt", format = "adblok" }
cut = { file = "cut.gz", format = "hosts" }
own = { domains = ["*.example.com"], urls = ["http://example.com/x"], regex = ["a(b"], ports = [0] }

[[rule]]
name = "twice"
clients = ["lann"]
users = { file = "no-users" }
services = ["whatsap", "@imm"]
schedule = "ofice"
from = 2026-12-25
until = 2026-12-24
action = "blok"

[[rule]]
name = "twice"
sites = ["onw"]
message = "{servce}"
redirect = "nowhere"
action = "block"

[response]
on_error = "never"
connect = "proxy"

[audit]
log_urls = "some"

[firewall]
schedules = "sometimes"

[[expect]]
client = "lan"
at = "noon"
"""


def test_every_error_is_told_at_once(policy_file: Write, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "cut.gz").write_bytes(b"\x1f\x8b\x08\x00")
    found = report(policy_file(EVERYTHING_WRONG))
    assert [p.line for p in found.problems] == sorted(p.line for p in found.problems)
    assert found.errors > len(found.problems) // 2
    golden("lint-errors.txt", rendered(found, tmp_path))


EVERYTHING_ODD = """\
[clients]
lan = ["10.0.0.1/8"]
old = ["10.9.9.9"]

[schedules]
blink = { hours = ["12:00:00-12:00:10"], timezone = "Europe/Brussels" }
weekend = { days = "sat,sun", timezone = "Europe/Brussels" }
unused = { timezone = "Europe/Brussels" }

[sites]
ads = { file = "ads.txt", format = "adblock" }
names = { file = "names.txt" }
unused = { ports = [1] }

[[rule]]
name = "blink and you miss it"
schedule = "blink"
sites = ["ads", "names"]
action = "block"

[[rule]]
name = "last year"
until = 2025-12-31
action = "allow"

[[rule]]
name = "never on a weekday"
schedule = "weekend"
from = 2026-11-30
until = 2026-12-04
action = "block"

[[rule]]
name = "nothing left"
sites = ["ads"]
except_sites = ["ads"]
action = "block"

[[rule]]
name = "messengers"
clients = ["lan"]
services = ["whatsapp", "slack", "inside", "gone"]
include = ["shared"]
action = "block"

[[rule]]
name = "messengers, again"
clients = ["10.1.0.0/16"]
services = ["slack"]
action = "monitor"

[[rule]]
name = "too late"
services = ["slack"]
action = "allow"

[[expect]]
url = "https://www.whatsapp.example/"
client = "10.1.2.3"
action = "block"
service = "whatsapp"
"""


def test_every_warning_is_told_at_once(policy_file: Write, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    (tmp_path / "ads.txt").write_text(
        "[Adblock Plus 2.0]\n! why\n||ads.example^\n@@||good.example^\n||a.example^$third-party\n##.ad\n"
    )
    (tmp_path / "names.txt").write_text("a.example\ncom\n\x1b[31mred.example\n" + "org\n" * 12)
    found = report(policy_file(EVERYTHING_ODD))
    assert {problem.severity for problem in found.problems} == {"warning"}
    golden("lint-warnings.txt", rendered(found, tmp_path))


def test_an_expectation_that_fails_is_an_error_among_the_warnings(policy_file: Write) -> None:
    path = policy_file(
        '[clients]\nunused = ["10.0.0.1"]\n' + BLOCK + '[[expect]]\nurl = "www.whatsapp.example"\naction = "allow"\n'
    )
    found = report(path)
    assert [(p.line, p.severity, p.message) for p in found.problems] == [
        (2, "warning", "client group 'unused' is used by no rule"),
        (8, "error", "expected allow, and it is block by rule 'block'"),
    ]
    assert found.errors == 1
    assert found.summary[0].startswith(f"{path}: 1 error, 1 warning; ")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        pytest.param(
            BLOCK, "no errors, no warnings; 1 rule, 1 service, 0 site lists, 0 sites, 0 expectations", id="one-of-each"
        ),
        pytest.param(
            SITES
            + BLOCK
            + '[[rule]]\nservices = ["whatsapp", "slack"]\nsites = ["one", "two"]\naction = "block"\n'
            + '[[expect]]\nurl = "a.example"\naction = "allow"\n',
            "no errors, no warnings; 2 rules, 2 services, 2 site lists, 2 sites, 1 expectation",
            id="several",
        ),
        pytest.param(
            '[[rule]]\nservices = ["whatsapp", "gone"]\naction = "block"\nclients = ["10.0.0.1/8"]\n',
            "no errors, 2 warnings; 1 rule, 2 services, 0 site lists, 0 sites, 0 expectations",
            id="warnings",
        ),
    ],
)
def test_the_last_line_counts(policy_file: Write, text: str, summary: str) -> None:
    path = policy_file(text)
    assert report(path).summary == (f"{path}: {summary}",)


@pytest.mark.parametrize(
    ("when", "told"),
    [("", False), ('schedule = "s"', True), ("from = 2026-11-23", True), ("until = 2026-12-24", True)],
)
def test_what_a_schedule_does_not_do_is_said_where_there_is_one(policy_file: Write, when: str, told: bool) -> None:
    text = f'[schedules]\ns = {{ days = "mon", timezone = "UTC" }}\n[[rule]]\n{when}\naction = "block"\n'
    summary = " ".join(report(policy_file(text)).summary)
    assert ("a tunnel that is open when it begins stays open" in summary) == told
    assert (f"its ttl ({TIMED_TTL} seconds" in summary) == told


def test_the_built_in_policy_is_in_order() -> None:
    assert lint(BUILT_IN, CATALOGUE, NOW) == Report((), ("built-in: no errors, no warnings",))


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImhelperError, match="cannot read"):
        report(tmp_path / "none.toml")


def test_the_shipped_recipe_has_host_bits_set_and_nothing_else() -> None:
    found = lint(str(Path(__file__).parents[1] / "conf" / "recipe-2006.toml"), load_catalogue(), NOW)
    assert [(p.severity, p.message.partition(" and is")[0]) for p in found.problems] == [
        ("warning", "'64.12.25.0/22' has host bits set"),
        ("warning", "'216.155.193.0/22' has host bits set"),
    ]


# ---- any policy -----------------------------------------------------------------------------------------------------

DEFINITIONS = """\
[clients]
lan = ["10.0.0.0/8"]
boss = ["10.0.0.1"]
[schedules]
day = { hours = ["08:00-18:00"], timezone = "Europe/Brussels" }
sun = { days = "sun", timezone = "UTC" }
[sites]
one = { domains = ["one.example"] }
two = { domains = ["two.example"], ports = [8080] }
"""

CONDITIONS = {
    "clients": ['["lan"]', '["boss"]', '["lan", "boss"]'],
    "users": ['["ann"]', '["ann", "bob"]'],
    "services": ['["all"]', '["slack"]', '["gone"]', '["@wide", "inside"]'],
    "user_agents": ['["MSIE"]', '["MSIE 6", "Trident/"]'],
    "sites": ['["one"]', '["one", "two"]'],
    "except_sites": ['["two"]', '["one", "two"]'],
    "schedule": ['"day"', '["day", "sun"]'],
    "from": ["2026-11-25", "2026-12-24T10:00:00Z"],
    "until": ["2026-11-01", "2026-11-26", "2027-01-01"],
}


@st.composite
def rule_text(draw: st.DrawFn) -> str:
    keys = draw(st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=5, unique=True))
    lines = [f"{key} = {draw(st.sampled_from(CONDITIONS[key]))}" for key in keys]
    if "services" in keys and draw(st.booleans()):
        lines.append('include = ["shared", "stale"]')
    return "\n".join(["[[rule]]", *lines, f'action = "{draw(st.sampled_from(ACTIONS))}"', ""])


@given(st.lists(rule_text(), max_size=4).map("".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_policy_is_looked_at_and_what_is_found_stands_in_it(policy_file: Write, rules: str) -> None:
    text = DEFINITIONS + rules
    found = report(policy_file(text))
    assert all(problem.source == text.split("\n")[problem.line - 1] for problem in found.problems)
    assert len({(p.line, p.column, p.message) for p in found.problems}) == len(found.problems)
    assert found.errors == 0 or "is before 'from'" in str(found.problems)
    unused = {p.message.split("'")[1] for p in found.problems if "is used by no rule" in p.message}
    names = ("lan", "boss", "day", "sun", "one", "two")
    assert found.errors or unused == {name for name in names if f'"{name}"' not in rules}


HALF_HOURS = st.integers(0, 47).map(lambda n: n * 1800)


@given(
    st.tuples(HALF_HOURS, HALF_HOURS).filter(lambda pair: pair[0] < pair[1]),
    st.sets(st.integers(0, 6), min_size=1, max_size=3),
    st.integers(1, 13),
    st.integers(1, 14),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_rule_that_never_applies_is_found_by_trying_every_half_hour(
    policy_file: Write, hours: tuple[int, int], days: set[int], first: int, length: int
) -> None:
    """In days around the one on which the clock is put back, with dates by the same clock."""
    named = ",".join(schedule.DAYS[day] for day in sorted(days))
    clock = "-".join(f"{second // HOUR:02}:{second % HOUR // 60:02}" for second in hours)
    path = policy_file(
        f'[schedules]\ns = {{ days = "{named}", hours = ["{clock}"], timezone = "Europe/Brussels" }}\n'
        f'[[rule]]\nschedule = "s"\nfrom = 2026-10-{first + 13}\nuntil = "{date_after(first + 13, length)}"\n'
        'action = "block"\n'
    )
    own = Schedule("s", "Europe/Brussels", schedule.week_stretches(days, [hours]))
    start = schedule.parse_instant(f"2026-10-{first + 13}T00:00", own.zone)
    end = schedule.parse_instant(f"{date_after(first + 13, length + 1)}T00:00", own.zone)
    tried = any(schedule.holds(own, start + n * 1800) for n in range(int(end - start) // 1800))
    before = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
    messages = [problem.message for problem in report(path, before).problems]
    assert messages == ([] if tried else ["rule 'rule 1' can never apply: its schedule is not between its dates"])


def date_after(day: int, days: int) -> str:
    return str(datetime.fromordinal(datetime(2026, 10, day).toordinal() + days - 1).date())


@pytest.mark.parametrize(
    "text",
    ['[[rule]]\naction = "block"\nclients = [1]\n', 'rule = "x"\n', '[[rule]]\naction = "block"\nschedule = [2]\n'],
)
def test_what_is_wrong_is_told_once(text: str, policy_file: Write) -> None:
    errors = [(p.line, p.message) for p in report(policy_file(text)).problems if p.severity == "error"]
    assert errors
    assert len(set(errors)) == len(errors)
