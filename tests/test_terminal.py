"""The report for a terminal: golden files, and nothing from a log that a terminal would obey."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT

import pytest
from arbitrary import CATALOGUE, NOON
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from squid_imhelper.base.model import BUILT_IN
from squid_imhelper.dryrun.counting import Counter
from squid_imhelper.dryrun.replay import FileTally, Outcome, counted_here, replay
from squid_imhelper.dryrun.report import Report, make_report
from squid_imhelper.dryrun.tally import OUTCOMES, Case, Example, Tally
from squid_imhelper.dryrun.terminal import news, print_report
from squid_imhelper.loading import load_engine
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.logs.logfiles import LogFile, Logs

OFFICE = """
[clients]
boss = ["192.0.2.16"]
[schedules]
office = { days = "mon-fri", hours = ["08:00-18:00"], timezone = "Europe/Brussels" }
[sites]
company = { domains = ["intranet.example"] }
[[rule]]
name = "the boss may chat"
clients = ["boss"]
action = "allow"
[[rule]]
name = "no messengers at work"
services = ["whatsapp", "telegram", "icq"]
schedule = "office"
action = "block"
[[rule]]
name = "our own sites"
sites = ["company"]
action = "monitor"
"""


def line(minutes: int, url: str, client: str = "192.0.2.7", result: str = "TCP_MISS/200", method: str = "GET") -> str:
    return f"{NOON + 60 * minutes:.3f} 250 {client} {result} 5 {method} {url} - HIER_DIRECT/- -\n"


DAY = "".join(
    [
        *(line(n, "http://web.whatsapp.com/", f"192.0.2.{7 + n % 3}") for n in range(0, 300, 25)),
        *(line(n, "web.telegram.org:443", "pc7.example", "TCP_TUNNEL/200", "CONNECT") for n in (30, 400)),
        *(line(n, "http://www.meebo.com/") for n in (31, 32)),
        *(line(n, "http://intranet.example/wiki") for n in (33, 34)),
        *(line(n, "http://example.org/") for n in range(0, 600, 20)),
        line(90, "http://web.whatsapp.com/", "192.0.2.16"),
        line(91, "http://web.whatsapp.com/", result="TCP_DENIED/403"),
        line(92, "http:///"),
        line(93, "error:invalid-request"),
        "# a comment\n",
        "\n",
        "no such line\n",
    ]
)
HOSTILE = "".join(
    [
        line(0, "http://web.whatsapp.com/\x1b[2J\x9b31m", "evil\x1b]0;title\x07"),
        line(1, "http://web.whatsapp.com/\u202egnp.exe", "\u2066pc\u2069"),
        line(2, "http://web.whatsapp.com/[red]x[/red]", "[bold]"),
        "rubbish \x1b[31m \x00 \u202e \ud800\n",
    ]
)


def plain(report: Report, width: int = 120) -> str:
    """As it comes out in a file."""
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False, force_terminal=False)
    with console.capture() as text:
        print_report(report, console)
    return "\n".join(own.rstrip() for own in text.get().split("\n"))


def coloured(report: Report, width: int = 100) -> str:
    console = Console(
        file=io.StringIO(), width=width, markup=False, highlight=False, force_terminal=True, color_system="standard"
    )
    with console.capture() as text:
        print_report(report, console)
    return text.get()


@pytest.fixture
def make(tmp_path: Path, policy_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Replays a log as `access.log`, and puts the report together."""
    monkeypatch.chdir(tmp_path)

    def made(policy: str, log: str, against: str = "", zone: str = "Europe/Brussels", ended_by: int = 0) -> Report:
        Path("access.log").write_bytes(log.encode("utf-8", "surrogatepass"))
        program = load_engine(BUILT_IN if policy == BUILT_IN else str(policy_file(policy)), pytest.fail).program
        in_force = load_engine(against, pytest.fail).program if against else None
        logs = Logs(None)
        files = logs.in_time_order(["access.log"], None, zone)
        counting = counted_here(Counter(program, in_force, NOON))
        outcome = replay(logs, files, counting, lambda _: None, lambda *_: None)
        outcome.ended_by = ended_by
        name = BUILT_IN if policy == BUILT_IN else "policy.toml"
        return make_report(outcome, program, name, against, zone, CATALOGUE.services)

    return made


# ---- golden files ---------------------------------------------------------------------------------------------------


def test_two_policies_over_a_day(make: Callable[..., Report], golden: Callable[[str, str], None]) -> None:
    golden("replay_against.txt", plain(make(OFFICE, DAY, BUILT_IN)))


def test_the_built_in_policy_over_what_clients_make_up(
    make: Callable[..., Report], golden: Callable[[str, str], None]
) -> None:
    golden("replay_hostile.txt", plain(make(BUILT_IN, HOSTILE, zone="Asia/Kolkata")))


def test_nothing_to_tell(make: Callable[..., Report], golden: Callable[[str, str], None]) -> None:
    golden("replay_nothing.txt", plain(make(OFFICE, "", ended_by=SIGINT)))


def test_a_narrow_terminal_has_all_numbers(make: Callable[..., Report]) -> None:
    report = make(OFFICE, DAY, BUILT_IN)
    clients, narrow = r"^ (192\.0\.2\.\d+|pc7\.example) +(\d+) +(\d+) +[0-9.]+ %", plain(report, 60)
    assert re.findall(clients, narrow, re.MULTILINE) == re.findall(clients, plain(report), re.MULTILINE)
    assert len(re.findall(clients, narrow, re.MULTILINE)) == 4


def test_colours_are_all_that_a_terminal_has_more(make: Callable[..., Report]) -> None:
    report = make(OFFICE, DAY, BUILT_IN)
    shown = coloured(report, 120)
    assert "\x1b[31m" in shown
    without = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\n".join(own.rstrip() for own in without.split("\n")) == plain(report)


# ---- what comes from a log ------------------------------------------------------------------------------------------

DANGEROUS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")
"""Anything that moves a cursor, turns the direction of text, cannot be seen or cannot be written; but a line feed."""

texts = st.text(st.characters() | st.sampled_from("\x1b\r\n\t\x9b\u202e\u2066\ud800[]\\\0"), max_size=90)


@given(texts, texts, texts, texts, texts)
def test_nothing_that_a_terminal_obeys_comes_from_a_log(rule: str, client: str, host: str, url: str, path: str) -> None:
    """From its name neither, nor from what is wrong with it."""
    tally = Tally(lines=3, requests=2)
    for name in OUTCOMES:
        tally.outcomes[name].count(Case("whatsapp", rule, client, host), url, url, NOON)
    tally.malformed.append(Example(path, 1, url, host))
    tally.failures.append(Example(path, 1, client, url))
    files = [FileTally(LogFile(path, LogFormat("squid"), None, 0), 3, 1, problem=f"{path}: {url}")]
    report = Report(Outcome(tally, files), path, client, "UTC", {}, (rule,), ())
    shown = plain(report)
    assert DANGEROUS.sub("?", shown) == shown
    codes = re.sub(r"\x1b\[[0-9;]*m", "", coloured(report))
    assert DANGEROUS.sub("?", codes) == codes
    for told in news(tally, "Asia/Tokyo"):
        assert told.isprintable()
    assert shown.count("\n") < 200


def test_markup_is_text(make: Callable[..., Report]) -> None:
    report = make(BUILT_IN, HOSTILE)
    assert "[bold]" in plain(report)
    assert "[bold]" in coloured(report)


# ---- single sections ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "present", "absent"),
    [
        pytest.param((OFFICE, DAY), ["Blocked, by service", "Monitored", "Timeline", "  denied "],
                     ["Newly blocked", "interrupted"], id="one policy"),
        pytest.param((OFFICE, DAY, BUILT_IN), ["Newly blocked: 0\n  nothing", "Newly allowed: 4"], [],
                     id="two policies"),
        pytest.param((OFFICE, line(0, "http://example.org/")), ["  blocked    0  0.0 %, 0 clients", "To be known"],
                     ["Timeline", "Blocked, by", "Monitored", "  denied ", "  skipped ", "Also hit"],
                     id="nothing blocked"),
        pytest.param((OFFICE, DAY), ["Lines that could not be read\n  access.log:55: it does not look like"], [],
                     id="malformed"),
        pytest.param((OFFICE, DAY), ["Requests that could not be decided\n  access.log:51: no host in 'http:///'"], [],
                     id="undecided"),
        pytest.param((OFFICE, DAY), ["  skipped     3  1 blank, 1 comment, 1 malformed"], [], id="skipped"),
    ],
)  # fmt: skip
def test_a_section_stands_where_there_is_something_in_it(
    make: Callable[..., Report], arguments: tuple[str, ...], present: list[str], absent: list[str]
) -> None:
    shown = plain(make(*arguments))
    assert [words for words in present if words not in shown] == []
    assert [words for words in absent if words in shown] == []


def test_long_tables_say_how_much_is_left_out(make: Callable[..., Report]) -> None:
    log = "".join(line(n, f"http://h{n}.whatsapp.com/", f"192.0.2.{n}") for n in range(30, 55))
    shown = plain(make(OFFICE, log))
    assert shown.count("  and 15 more\n") == 2  # clients and hosts
    assert sum("192.0.2." in own for own in shown.splitlines()) == 10


def test_bars_are_as_long_as_their_numbers_say(make: Callable[..., Report]) -> None:
    log = "".join(line(n, "http://web.whatsapp.com/", f"192.0.2.{n // 40}") for n in range(50))
    shown = plain(make(OFFICE, log)).splitlines()
    bars = [own.count("█") for own in shown if own.lstrip().startswith(("192.0.2.0 ", "192.0.2.1 "))]
    assert bars == [19, 5]  # 40 and 10 of 50, of 24


def test_what_has_just_come_up_is_told_in_lines() -> None:
    tally = Tally()
    for _ in range(3):
        tally.outcomes["blocked"].count(Case("whatsapp", "no", "192.0.2.7", "h"), "http://h/", "host h", NOON)
    tally.outcomes["monitored"].count(Case("-", "watch", "192.0.2.70", "i"), "http://i/", "site s", None)
    tally.outcomes["denied"].count(Case("-", "watch", "192.0.2.70", "i"), "http://i/", "site s", None)
    assert list(news(tally, "Asia/Tokyo")) == [
        "2026-11-23 21:00:00  blocked    192.0.2.7        whatsapp              http://h/  x3  (no)",
        "-  monitored  192.0.2.70       -                     http://i/  (watch)",
    ]
