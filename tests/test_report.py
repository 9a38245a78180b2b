"""What a report says besides its numbers: each note where it matters, and nowhere else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from arbitrary import CATALOGUE, NOON

from squid_imhelper.base.model import BUILT_IN
from squid_imhelper.dryrun.counting import Counter
from squid_imhelper.dryrun.replay import Outcome
from squid_imhelper.dryrun.report import Report, make_report
from squid_imhelper.dryrun.tally import OTHERS, Case, Tally
from squid_imhelper.loading import load_engine
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.matching.program import Program

SQUID, PAIRS, JSON = LogFormat("squid"), LogFormat("pairs"), LogFormat("json")

NATIVE = "1795435200.000 1 192.0.2.1 TCP_MISS/200 5 GET {} {} HIER_DIRECT/- -\n"
WHATSAPP = NATIVE.format("http://web.whatsapp.com/", "ann")
PLAIN = NATIVE.format("http://example.org/", "ann")
NO_USER = NATIVE.format("http://example.org/", "-")
NAMED = PLAIN.replace("192.0.2.1", "pc7.example")
UNKNOWN = PLAIN.replace("192.0.2.1", "-")
CUT_OFF = NATIVE.format("http://api.aol.com/aim/fetchEvents?", "ann")
DENIED = PLAIN.replace("TCP_MISS/200", "TCP_DENIED/403")
DENIED_MESSENGER = WHATSAPP.replace("TCP_MISS/200", "TCP_DENIED/403")
NO_HOST = NATIVE.format("http:///", "ann")
NOT_ASKED = NATIVE.format("error:invalid-request", "-")
PAIR = "192.0.2.1 http://example.org/\n"
FULL = json.dumps(
    {
        "time": 1795435200,
        "client": "192.0.2.1",
        "url": "http://example.org/",
        "user": "ann",
        "user_agent": "x",
        "content_type": "text/html",
    }
)


def rule(conditions: str, name: str = "no") -> str:
    return f'[[rule]]\nname = "{name}"\naction = "block"\n{conditions}\n'


OFFICE = '[schedules]\noffice = { days = "mon-fri", timezone = "UTC" }\n'
SITES = '[sites]\nown = { domains = ["example.com"] }\n'
PLAIN_RULE = SITES + rule('sites = ["own"]')
"""A rule to which nothing matters but the URL."""

AGENTS, TYPES = "The log does not tell the user agent of", "The log does not tell the content type of"
ADDRESSES, NAMES = (
    "The log does not tell the client of",
    "The log does not tell the client's address, only its name, of",
)
USERS, QUERY, TIME = "The log does not tell the user of", "would be blocked if the query was", "no time in the log"
TUNNELS, DENIALS, FAILED = "Each request is decided for", "denied by Squid itself", "could not be decided"
CONNECTIONS, DRY, RARE = (
    "nothing that could be decided",
    "The policy says dry_run = true",
    "the rare ones are counted together",
)
ALL = (AGENTS, TYPES, ADDRESSES, NAMES, USERS, QUERY, TIME, TUNNELS, DENIALS, FAILED, CONNECTIONS, DRY, RARE)

WHATSAPP_RULE = rule('services = ["whatsapp"]')
AIM = rule('services = ["aim"]')
ICQ = rule('services = ["icq"]')
CLIENTS = SITES + rule('clients = ["192.0.2.0/24"]\nsites = ["own"]')
USER = SITES + rule('users = ["ann"]\nsites = ["own"]')
AGENT = SITES + rule('user_agents = ["MSIE"]')
TIMED = OFFICE + SITES + rule('sites = ["own"]\nschedule = "office"')
DATED = SITES + rule('sites = ["own"]\nuntil = 2027-01-01')

NOTES = [
    pytest.param(PLAIN_RULE, SQUID, [WHATSAPP, PLAIN, NO_USER, NAMED, UNKNOWN], set(), id="nothing-matters"),
    pytest.param(BUILT_IN, SQUID, [], set(), id="no-log"),
    pytest.param(BUILT_IN, SQUID, [PLAIN], {AGENTS, TYPES}, id="built-in"),
    pytest.param(BUILT_IN, JSON, [FULL], set(), id="everything-is-told"),
    pytest.param(BUILT_IN, JSON, [FULL.replace("user_agent", "x")], {AGENTS}, id="no-user-agent"),
    pytest.param(BUILT_IN, JSON, [FULL.replace("content_type", "x")], {TYPES}, id="no-content-type"),
    pytest.param(WHATSAPP_RULE, SQUID, [WHATSAPP], set(), id="a-service-without-user-agent"),
    pytest.param(ICQ, SQUID, [PLAIN], {AGENTS, TYPES}, id="a-service-with-both"),
    pytest.param(AGENT, SQUID, [PLAIN], {AGENTS}, id="a-rule-for-user-agents"),
    pytest.param(AGENT, JSON, [FULL], set(), id="a-rule-for-user-agents-and-they-are-told"),
    pytest.param(CLIENTS, SQUID, [PLAIN], set(), id="clients"),
    pytest.param(CLIENTS, SQUID, [PLAIN, NAMED], {NAMES}, id="a-name-for-a-client"),
    pytest.param(CLIENTS, SQUID, [PLAIN, UNKNOWN], {ADDRESSES}, id="no-client"),
    pytest.param(USER, SQUID, [PLAIN], set(), id="users"),
    pytest.param(USER, SQUID, [PLAIN, NO_USER], {USERS}, id="no-user"),
    pytest.param(AIM, SQUID, [CUT_OFF], {AGENTS, TYPES, QUERY}, id="a-query-cut-off"),
    pytest.param(WHATSAPP_RULE, SQUID, [CUT_OFF], set(), id="a-query-that-does-not-matter"),
    pytest.param(TIMED, SQUID, [PLAIN], {TUNNELS}, id="a-schedule"),
    pytest.param(DATED, SQUID, [PLAIN], {TUNNELS}, id="a-date"),
    pytest.param(TIMED, PAIRS, [PAIR], {TUNNELS, TIME}, id="a-schedule-and-no-time"),
    pytest.param(PLAIN_RULE, PAIRS, [PAIR], set(), id="no-time-and-no-schedule"),
    pytest.param(PLAIN_RULE, SQUID, [DENIED], {DENIALS}, id="denied"),
    pytest.param(WHATSAPP_RULE, SQUID, [DENIED_MESSENGER], {DENIALS}, id="denied-by-us"),
    pytest.param(PLAIN_RULE, SQUID, [NO_HOST], {FAILED}, id="no-host"),
    pytest.param(PLAIN_RULE, SQUID, [NOT_ASKED], {CONNECTIONS}, id="nothing-asked"),
    pytest.param(PLAIN_RULE + "[response]\ndry_run = true\n", SQUID, [PLAIN], {DRY}, id="dry-run"),
    pytest.param(PLAIN_RULE, SQUID, ["rubbish\n", "\n"], set(), id="rubbish"),
]


@pytest.fixture
def load(policy_file: Callable[[str], Path]) -> Callable[[str], Program]:
    return lambda text: load_engine(BUILT_IN if text == BUILT_IN else str(policy_file(text)), pytest.fail).program


def tally_of(program: Program, log_format: LogFormat, lines: list[str]) -> Tally:
    return Counter(program, None, NOON).count("".join(lines).encode(), log_format, "access.log", 0)


def report_of(program: Program, tally: Tally, against: str = "") -> Report:
    return make_report(Outcome(tally), program, "policy.toml", against, "UTC", CATALOGUE.services)


@pytest.mark.parametrize(("policy", "log_format", "lines", "expected"), NOTES)
def test_a_note_stands_where_it_matters(
    load: Callable[[str], Program], policy: str, log_format: LogFormat, lines: list[str], expected: set[str]
) -> None:
    program = load(policy)
    notes = report_of(program, tally_of(program, log_format, lines)).notes
    assert {phrase for phrase in ALL if any(phrase in note for note in notes)} == expected
    assert len(notes) == len(expected), "each note is one of these"
    assert all(note.endswith((".", ":")) for note in notes)


WORDS = [
    pytest.param(BUILT_IN, [PLAIN], "of any request: what gives itself away by that alone is not counted (", id="any"),
    pytest.param(CLIENTS, [PLAIN, NAMED], "of 1 of 2 requests: rule 'no' cannot hold.", id="some"),
    pytest.param(CLIENTS, [NAMED, NOT_ASKED], "of any request: rule 'no' cannot hold.", id="connections-aside"),
    pytest.param(CLIENTS + rule('clients = ["192.0.2.1"]\nsites = ["own"]', "too"), [NAMED],
                 "rules 'no', 'too' cannot hold.", id="two-rules"),
    pytest.param(SITES + "".join(rule('users = ["ann"]\nsites = ["own"]', f"r{n}") for n in range(8)), [NO_USER],
                 "rules 'r0', 'r1', 'r2', 'r3', 'r4', 'r5' and 2 more cannot hold.", id="many-rules"),
    pytest.param(AGENT + rule('services = ["icq"]', "im"), [PLAIN],
                 "(ICQ), and rule 'no' cannot hold.", id="services-and-rules"),
    pytest.param(WHATSAPP_RULE, [DENIED], "1 request was denied by Squid itself", id="one-denied"),
    pytest.param(WHATSAPP_RULE, [DENIED], "would block none.", id="none-of-them"),
    pytest.param(WHATSAPP_RULE, [DENIED, DENIED_MESSENGER], "would block 1 (its own work", id="one-of-them"),
    pytest.param(WHATSAPP_RULE, [DENIED_MESSENGER] * 1200, "1,200 requests were denied by", id="thousands"),
    pytest.param(WHATSAPP_RULE, [DENIED_MESSENGER] * 1200, "would block 1,200 (", id="thousands-of-them"),
    pytest.param(PLAIN_RULE, [NO_HOST], "1 request could not be decided and was answered as on_error says: allow.",
                 id="one-failed"),
    pytest.param('[response]\non_error = "block"\n' + PLAIN_RULE, [NO_HOST] * 2,
                 "2 requests could not be decided and were answered as on_error says: block.", id="two-failed"),
    pytest.param(PLAIN_RULE, [NOT_ASKED], "1 line asks for nothing", id="one-connection"),
    pytest.param(AIM, [CUT_OFF], "1 request would be blocked if", id="one-query"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "lines", "words"), WORDS)
def test_notes_say_how_many(load: Callable[[str], Program], policy: str, lines: list[str], words: str) -> None:
    program = load(policy)
    notes = report_of(program, tally_of(program, SQUID, lines)).notes
    assert [note for note in notes if words in note], notes


@pytest.mark.parametrize(
    ("number", "words"), [(1, "1 request has no time in the log: "), (2, "2 requests have no time in the log: ")]
)
def test_requests_without_a_time_are_counted(load: Callable[[str], Program], number: int, words: str) -> None:
    program = load(TIMED)
    notes = report_of(program, tally_of(program, PAIRS, [PAIR] * number)).notes
    assert [note for note in notes if note.startswith(words)]


def test_it_is_said_that_rare_ones_are_counted_together(load: Callable[[str], Program]) -> None:
    tally = Tally()
    tally.outcomes["newly_blocked"].by_host.count(OTHERS)
    assert [note for note in report_of(load(PLAIN_RULE), tally).notes if RARE in note]


def test_a_service_of_which_a_rule_leaves_out_nothing_is_named_and_others_are_not(
    load: Callable[[str], Program],
) -> None:
    program = load(ICQ)
    notes = report_of(program, tally_of(program, SQUID, [PLAIN])).notes
    assert all("(ICQ)" in note for note in notes)


# ---- what else is hit -----------------------------------------------------------------------------------------------


def test_what_else_is_hit_is_told_of_the_services_that_are_blocked(load: Callable[[str], Program]) -> None:
    program, tally = load(BUILT_IN), Tally()
    quiet = next(own.id for own in CATALOGUE.services.values() if not own.collateral)
    for service, times in {"whatsapp": 1, "telegram": 3, quiet: 2, "-": 4, "no_such_service": 1}.items():
        for _ in range(times):
            tally.outcomes["blocked"].count(Case(service, "r", "c", "h"), "", "", None)
    for other in ("monitored", "denied", "newly_blocked", "newly_allowed"):
        tally.outcomes[other].count(Case("slack", "r", "c", "h"), "", "", None)
    assert [(own.service, own.name, own.count, own.text) for own in report_of(program, tally).collateral] == [
        (id_, CATALOGUE.services[id_].name, times, CATALOGUE.services[id_].collateral)
        for id_, times in (("telegram", 3), ("whatsapp", 1))
    ]


def test_services_are_called_by_their_names(load: Callable[[str], Program]) -> None:
    report = report_of(load(PLAIN_RULE), Tally(), "old.toml")
    assert [report.name_of(own) for own in ("whatsapp", "-", OTHERS)] == ["WhatsApp", "-", OTHERS]
    assert (report.policy, report.against, report.zone) == ("policy.toml", "old.toml", "UTC")


def test_a_report_of_a_program_without_a_catalogue_entry_tells_nothing_else(load: Callable[[str], Program]) -> None:
    program = load(BUILT_IN)
    tally = tally_of(program, SQUID, [WHATSAPP])
    assert make_report(Outcome(tally), program, "p", "", "UTC", {}).collateral == ()
    bare = CATALOGUE.services["whatsapp"]._replace(collateral="")
    assert make_report(Outcome(tally), program, "p", "", "UTC", {"whatsapp": bare}).collateral == ()


@pytest.mark.parametrize(
    ("gap", "number", "words"),
    [
        ("query_for_expressions", 1, "1 request has lost its query to Squid's strip_query_terms"),
        ("query_for_expressions", 1200, "1,200 requests have lost their queries"),
        ("who_denied", 1, "1 of the newly allowed requests was denied when the log was written"),
        ("who_denied", 2, "2 of the newly allowed requests were denied when the log was written"),
    ],
)
def test_what_only_the_log_could_tell_is_said(
    load: Callable[[str], Program], gap: str, number: int, words: str
) -> None:
    program, tally = load(PLAIN_RULE), Tally(requests=number)
    assert not any(words in note for note in report_of(program, tally).notes)
    tally.gaps.count(gap, number)
    assert any(words in note for note in report_of(program, tally).notes)


def test_cases_that_were_left_out_are_told(load: Callable[[str], Program]) -> None:
    program, tally = load(PLAIN_RULE), Tally(requests=1)
    tally.outcomes["blocked"].rows_left_out = True
    assert any("leave out rare ones" in note for note in report_of(program, tally).notes)
