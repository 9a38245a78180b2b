"""The loop: whatever Squid sends and whatever breaks, each line gets one answer, and nothing else reaches the wire."""

import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import squid_imhelper
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Action, Decision, Request
from squid_imhelper.helper.chores import Chores
from squid_imhelper.helper.counters import Counters
from squid_imhelper.helper.notices import Notices
from squid_imhelper.helper.serve import Helper, Options, serve
from squid_imhelper.loading import load_engine
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.expressions import ExpressionTimeoutError
from squid_imhelper.squid.layout import parse_extras, parse_format
from squid_imhelper.squid.wire import ACL, DEFAULT_EXTRAS, DEFAULT_FORMAT, MAX_LINE, REWRITE

ROOT = Path(squid_imhelper.__file__).parents[1]
LAYOUTS = {"acl": parse_format(DEFAULT_FORMAT), "rewrite": parse_extras(DEFAULT_EXTRAS)}
INTERFACES = {"acl": ACL, "rewrite": REWRITE}

BLOCKED = {
    "acl": b"10.0.0.1 GET http://web.whatsapp.com/ - - -",
    "rewrite": b"http://web.whatsapp.com/ 10.0.0.1/- - GET myip=- myport=-",
}
ALLOWED = {
    "acl": b"10.0.0.1 GET http://example.org/ - - -",
    "rewrite": b"http://example.org/ 10.0.0.1/- - GET myip=- myport=-",
}
REDIRECT = b'OK status=302 url="http://blocked.invalid/?service=%s&rule=%s&url=%s"'
YES = {
    "acl": b"OK tag=whatsapp log=built-in message=WhatsApp%20is%20blocked%20here",
    "rewrite": REDIRECT % (b"whatsapp", b"built-in", b"http%3A%2F%2Fweb.whatsapp.com%2F")
    + b" tag=whatsapp log=built-in",
}
NEWLINE = b"\n"
UNKNOWN_YES = {"acl": b"OK", "rewrite": REDIRECT % (b"-", b"-", b"-")}


@dataclass
class Fixed:
    """An engine that somebody else puts there."""

    engine: Engine | None


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine("built-in", pytest.fail)


def make_helper(
    command: str,
    engine: Engine | None,
    notices: Notices | None = None,
    counters: Counters | None = None,
    audit: "ListSink | None" = None,
    **options: object,
) -> Helper:
    return Helper(
        INTERFACES[command],
        Fixed(engine),
        Options(LAYOUTS[command], **options),  # type: ignore[arg-type]
        notices or Notices("test"),
        counters or Counters(),
        audit,
    )


class ListSink:
    """Keeps what is written to an audit log, and loses as much of it as it is told to."""

    def __init__(self, loses: int = 0) -> None:
        self.lines: list[str] = []
        self._loses = loses

    def write(self, lines: list[str]) -> int:
        self.lines += lines
        return self._loses

    def reopen(self) -> None:
        raise AssertionError("this is not asked for between two batches")


# ---- answers --------------------------------------------------------------------------------------------------------

both = pytest.mark.parametrize("command", ["acl", "rewrite"])


@both
def test_the_built_in_policy_blocks_a_messenger_and_nothing_else(command: str, engine: Engine) -> None:
    helper = make_helper(command, engine)
    assert helper.answer(b"7 " + BLOCKED[command]) == b"7 " + YES[command] + b"\n"
    assert helper.answer(b"8 " + ALLOWED[command]) == b"8 ERR\n"


@both
def test_a_batch_is_answered_in_order(command: str, engine: Engine) -> None:
    lines = [b"1 " + BLOCKED[command], b"2", b"3 " + ALLOWED[command]]
    expected = b"1 " + YES[command] + b"\n2 ERR\n3 ERR\n"
    assert make_helper(command, engine).answer_all(lines) == expected


@both
def test_a_dry_run_blocks_nothing_and_shows_what_it_would(command: str, engine: Engine) -> None:
    helper = make_helper(command, engine, channels=False, dry_run=True)
    assert helper.answer(BLOCKED[command]) == b"ERR tag=whatsapp log=built-in\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(b"whatsapp", b"OK tag=whatsapp ", id="service"),
        pytest.param(b"signal telegram whatsapp", b"OK tag=whatsapp ", id="several"),
        pytest.param(b"@im", b"OK tag=whatsapp ", id="group"),
        pytest.param(b"all -whatsapp", b"ERR\n", id="left-out"),
        pytest.param(b"signal", b"ERR\n", id="another"),
        pytest.param(b"whatsap", b"OK\n", id="unknown"),
    ],
)
def test_the_arguments_of_an_acl_narrow_the_question(arguments: bytes, expected: bytes, engine: Engine) -> None:
    helper = make_helper("acl", engine, channels=False, on_error="block")
    reply = helper.answer(BLOCKED["acl"].removesuffix(b"-") + arguments)
    assert reply.startswith(expected)
    assert b"log=" not in reply


_pieces = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b" ", b"-", b"10.0.0.1", b"GET", b"CONNECT", b"http://", b"web.whatsapp.com", b":443", b"%", b"\t", b"7"]
    ),
)
_lines = st.one_of(
    st.lists(_pieces, max_size=12).map(b"".join),
    st.lists(_pieces, min_size=6, max_size=7).map(b" ".join),
    st.builds(b"10.0.0.1 GET http://%b/%b %b -".__mod__, st.tuples(_pieces, _pieces, _pieces)),
).map(lambda line: line.replace(b"\n", b"\r"))
_REPLY = re.compile(rb"(?:([0-9]+) )?(?:OK|ERR)(?: [a-z-]+=[\x21-\x7e]+)*\n")


@pytest.mark.parametrize("channel", [b"", b"18446744073709551615"])
@both
@settings(max_examples=400, deadline=None)
@given(line=_lines)
def test_any_bytes_get_one_answer(command: str, channel: bytes, engine: Engine, line: bytes) -> None:
    helper = make_helper(command, engine, SilentNotices(), channels=bool(channel))
    found = _REPLY.fullmatch(helper.answer(channel + b" " + line if channel else line))
    assert found
    assert found[1] == (channel or None)


@both
@settings(max_examples=400, deadline=None)
@given(line=_lines)
def test_silence_only_where_an_expected_id_is_missing(command: str, engine: Engine, line: bytes) -> None:
    reply = make_helper(command, engine, SilentNotices()).answer(line)
    has_id = re.match(rb"[ \t]*([0-9]+)(?:[ \t]|\Z)", line)
    assert bool(reply) == bool(has_id)
    if has_id:
        assert _REPLY.fullmatch(reply)[1] == has_id[1]


class SilentNotices(Notices):
    """Notices that keep what they would have written, and fail on a fault of the program."""

    def __init__(self) -> None:
        super().__init__("test")

    def say(self, text: str) -> None:
        assert "internal fault" not in text


class BrokenEngine(Engine):
    """An engine with a fault in it."""

    def __init__(self, sound: Engine, fault: Exception) -> None:
        super().__init__(sound.program)
        self._fault = fault

    def decide(self, request: Request, now: float) -> Decision:
        raise self._fault


@pytest.mark.parametrize(
    ("option", "in_policy", "dry_run", "blocks"),
    [
        pytest.param(None, "allow", False, False, id="policy-allow"),
        pytest.param(None, "block", False, True, id="policy-block"),
        pytest.param("allow", "block", False, False, id="option-allow-wins"),
        pytest.param("block", "allow", False, True, id="option-block-wins"),
        pytest.param("block", "block", True, False, id="dry-run"),
    ],
)
@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("a\nb"),
        ImhelperError("no"),
        MemoryError(),
        RecursionError(),
        UnicodeDecodeError("x", b"", 0, 0, ""),
        ExpressionTimeoutError("too long"),
    ],
    ids=lambda fault: type(fault).__name__,
)
@both
def test_a_fault_is_answered_as_on_error_says(
    command: str,
    engine: Engine,
    fault: Exception,
    option: str | None,
    in_policy: str,
    dry_run: bool,
    blocks: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    program = replace(engine.program, response=replace(engine.program.response, on_error=in_policy))
    broken = BrokenEngine(Engine(program), fault)
    helper = make_helper(command, broken, on_error=option, dry_run=dry_run)
    expected = b"7 " + (UNKNOWN_YES[command] if blocks else b"ERR") + b"\n"
    assert [helper.answer(b"7 " + ALLOWED[command]) for _ in range(3)] == [expected] * 3
    said = capfd.readouterr().err
    assert said.count("on_error says") == 1
    assert "Traceback" not in said


@both
def test_a_line_that_does_not_fit_is_answered_as_on_error_says(
    command: str, engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert make_helper(command, engine, on_error="block").answer(b"7 x") == b"7 " + UNKNOWN_YES[command] + b"\n"
    assert make_helper(command, engine).answer(b"7 x") == b"7 ERR\n"
    assert "on_error says" in capfd.readouterr().err


def test_a_line_without_an_expected_id_gets_silence_and_one_hint(
    engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    helper = make_helper("acl", engine)
    assert helper.answer_all([BLOCKED["acl"], b"OK", b"", b"9 " + BLOCKED["acl"]]) == b"9 " + YES["acl"] + b"\n"
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "concurrency=" in said
    assert "--no-channel-id" in said


def test_a_notice_quotes_a_bounded_part_of_what_it_got(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    helper = make_helper("acl", engine, channels=False)
    helper.answer(b"x" * MAX_LINE)
    helper.answer(b"10.0.0.1 GET http://h/ - - " + b"%1B[2J" + b"x" * MAX_LINE)
    said = capfd.readouterr().err
    assert len(said) < 2000
    assert "\x1b" not in said


MEGABYTES = [
    pytest.param("10.0.0.1 GET http://{}/ - - -", b"a.", id="labels"),
    pytest.param("10.0.0.1 GET http://h/{} - - -", b"a/", id="segments"),
    pytest.param("10.0.0.1 GET http://h/{} - - -", b"../%2e%2e/%%32e", id="dots"),
    pytest.param("10.0.0.1 GET http://h/?{} - - -", b"a=b&", id="query"),
    pytest.param("10.0.0.1 GET http://h/ {} - -", b"MSIE(;%20", id="agent"),
    pytest.param("10.0.0.1 GET http://h/ - {} -", b"a/", id="content-type"),
    pytest.param("10.0.0.1 GET http://h/ - - {}", b"whatsapp ", id="arguments"),
    pytest.param("10.0.0.1 GET http://h/ - - {}", b"whatsapp", id="argument"),
    pytest.param("10.0.0.1 CONNECT {}:443 - - -", b":", id="colons"),
    pytest.param("{}", b" ", id="blanks"),
    pytest.param("{}", b"7", id="digits"),
]


@pytest.mark.timeout(30)  # a watchdog: what takes time in the square of the length takes minutes
@pytest.mark.parametrize(("template", "piece"), MEGABYTES)
def test_a_megabyte_of_one_thing_is_answered(template: str, piece: bytes, engine: Engine) -> None:
    before, after = template.encode().split(b"{}")
    line = before + piece * ((MAX_LINE - len(template)) // len(piece)) + after
    helper = make_helper("acl", engine, SilentNotices(), channels=False)
    assert _REPLY.fullmatch(helper.answer(line))


def test_a_reply_stays_small_however_long_the_channel_id(engine: Engine) -> None:
    """Squid counts with 64 bits: what is longer is no ID of its own, and to answer to it could only harm."""
    assert len(make_helper("acl", engine).answer(b"7" * MAX_LINE)) < 4096


# ---- where the engine comes from ------------------------------------------------------------------------------------


@both
def test_without_an_engine_every_line_is_answered(command: str, engine: Engine) -> None:
    source = Fixed(None)
    counters = Counters()
    options = Options(LAYOUTS[command], on_error="block")
    helper = Helper(INTERFACES[command], source, options, Notices("test"), counters)
    assert helper.answer_all([b"7 " + ALLOWED[command]]) == b"7 " + UNKNOWN_YES[command] + b"\n"
    source.engine = engine
    assert helper.answer_all([b"8 " + ALLOWED[command]]) == b"8 ERR\n"
    assert counters.errors == {"no policy": 1}


@both
def test_a_policys_own_texts_count_as_soon_as_it_is_there(command: str, engine: Engine) -> None:
    """And those of the one before do not, not even in part."""
    program = engine.program
    other = Engine(replace(program, response=replace(program.response, message="other", redirect="http://other.test/")))
    source = Fixed(engine)
    helper = Helper(INTERFACES[command], source, Options(LAYOUTS[command]), Notices("test"), Counters())
    before = helper.answer_all([b"1 " + BLOCKED[command]])
    source.engine = other
    after = helper.answer_all([b"1 " + BLOCKED[command]])
    assert before == b"1 " + YES[command] + b"\n"
    assert after.startswith(b"1 OK ")
    assert b"other" in after
    assert b"blocked" not in after


# ---- what is counted and logged -------------------------------------------------------------------------------------


def test_every_line_is_counted_by_what_became_of_it(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    counters = Counters()
    helper = make_helper("acl", engine, counters=counters)
    helper.answer_all([b"1 " + BLOCKED["acl"], b"2 " + ALLOWED["acl"], b"3 " + BLOCKED["acl"]])
    helper.answer_all([])
    helper.answer_all(
        [b"4 x", BLOCKED["acl"], b"5 " + BLOCKED["acl"][:-1] + b"@im", b"6 " + ALLOWED["acl"][:-1] + b"no"]
    )
    assert counters.requests == 7
    assert counters.decisions == {
        ("block", "whatsapp", "built-in"): 2,
        ("allow", None, None): 1,
        ("matched", "whatsapp", None): 1,
    }
    assert counters.errors == {"protocol": 2, "channel": 1}
    (sizes,) = [line for line in counters.series(1)["batch_lines"] if "_count" in line]
    assert sizes.endswith(" 2"), "an empty batch is none"
    assert capfd.readouterr().err.count("on_error says") == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(RuntimeError("x"), "fault", id="a-fault-of-ours"),
        pytest.param(ExpressionTimeoutError("x"), "expression", id="a-slow-expression"),
        pytest.param(ImhelperError("x"), "policy", id="another-sentence"),
    ],
)
def test_an_error_is_counted_by_its_kind(fault: Exception, kind: str, engine: Engine) -> None:
    counters = Counters()
    make_helper("acl", BrokenEngine(engine, fault), QuietNotices(), counters).answer(b"1 " + ALLOWED["acl"])
    assert counters.errors == {kind: 1}
    assert not counters.decisions


class QuietNotices(Notices):
    """Notices that nobody reads."""

    def __init__(self) -> None:
        super().__init__("test")

    def say(self, text: str) -> None:
        pass


def with_action(engine: Engine, action: Action) -> Engine:
    program = engine.program
    return Engine(replace(program, rules=tuple(replace(rule, action=action) for rule in program.rules)))


@pytest.mark.parametrize(
    ("action", "arguments", "dry_run", "logged"),
    [
        pytest.param("block", b"-", False, ("block", False), id="block"),
        pytest.param("block", b"-", True, ("block", True), id="block-in-a-dry-run"),
        pytest.param("monitor", b"-", False, ("monitor", False), id="monitor"),
        pytest.param("allow", b"-", False, None, id="allow"),
        pytest.param("block", b"whatsapp", False, None, id="an-acls-question-decides-nothing"),
    ],
)
def test_what_is_blocked_or_monitored_is_logged(
    action: Action, arguments: bytes, dry_run: bool, logged: tuple[str, bool] | None, engine: Engine
) -> None:
    sink = ListSink()
    helper = make_helper("acl", with_action(engine, action), audit=sink, dry_run=dry_run)
    helper.answer_all([b"1 " + BLOCKED["acl"].removesuffix(b"-") + arguments, b"2 " + ALLOWED["acl"], b"3 x"])
    assert not sink.lines, "the log comes behind the answers"
    helper.write_audit()
    helper.write_audit()
    found = [(line["action"], line["dry_run"]) for line in map(json.loads, sink.lines)]
    assert found == ([logged] if logged else [])


def test_a_policys_own_dry_run_is_logged_as_one(engine: Engine) -> None:
    program = engine.program
    sink = ListSink()
    dry = Engine(replace(program, response=replace(program.response, dry_run=True)))
    helper = make_helper("acl", dry, audit=sink)
    assert helper.answer_all([b"1 " + BLOCKED["acl"]]).startswith(b"1 ERR")
    helper.write_audit()
    assert [json.loads(line)["dry_run"] for line in sink.lines] == [True]


def test_lines_that_the_log_lost_are_counted(engine: Engine) -> None:
    counters = Counters()
    helper = make_helper("acl", engine, counters=counters, audit=ListSink(loses=2))
    for _ in range(3):
        helper.answer_all([b"1 " + BLOCKED["acl"]] * 2)
        helper.write_audit()
    assert counters.audit_lost == 6


def test_the_log_is_written_behind_the_answers_and_before_the_chores(engine: Engine) -> None:
    """Squid waits for the first, and for nothing else."""
    ours, theirs = socket.socketpair()
    events: list[str] = []

    class Sink(ListSink):
        def write(self, lines: list[str]) -> int:
            events.append(f"log behind {ours.recv(1 << 16).count(NEWLINE)} answers")
            return 0

    class Seen(Chores):
        def begin_waiting(self) -> None:
            events.append("chores")

    with ours, theirs:
        ours.sendall(b"1 " + BLOCKED["acl"] + b"\n2 " + BLOCKED["acl"] + b"\n")
        ours.shutdown(socket.SHUT_WR)
        serve(make_helper("acl", engine, audit=Sink()), theirs.fileno(), theirs.fileno(), Seen({}, pytest.fail))
    assert events == ["chores", "log behind 2 answers", "chores"]


def test_what_was_decided_is_logged_though_squid_has_gone(engine: Engine) -> None:
    ours, theirs = socket.socketpair()
    sink = ListSink()
    with theirs:
        with ours:
            ours.sendall(b"1 " + BLOCKED["acl"] + b"\n")
            ours.shutdown(socket.SHUT_RD)
        serve(make_helper("acl", engine, audit=sink), theirs.fileno(), theirs.fileno(), Chores({}, pytest.fail))
    assert len(sink.lines) == 1


# ---- the process ----------------------------------------------------------------------------------------------------


def command_line(command: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "squid_imhelper", command, "--policy", "built-in", *options]


def run(arguments: list[str], sent: bytes) -> tuple[bytes, str]:
    """Runs a helper to its end; returns what it answered and what it said."""
    done = subprocess.run(arguments, input=sent, capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    return done.stdout, done.stderr.decode()


@both
def test_the_end_of_input_ends_the_helper(command: str) -> None:
    extras = ["--extras", "%>a %>rm"] if command == "rewrite" else []
    assert run(command_line(command, *extras), b"") == (b"", "")


@both
def test_a_line_that_the_end_of_input_cuts_off_is_answered(command: str) -> None:
    assert run(command_line(command), b"1 " + BLOCKED[command] + b"\n2 " + ALLOWED[command][:20])[0] == (
        b"1 " + YES[command] + b"\n2 ERR\n"
    )


@pytest.mark.parametrize("words", [["%>rm", "%>a", "%#>ru"], ["%>rm %>a %#>ru"]])
def test_the_format_is_one_word_or_several(words: list[str]) -> None:
    sent = b"GET 10.0.0.1 http://web.whatsapp.com/ -\n"
    assert run(command_line("acl", "--no-channel-id", "--format", *words), sent) == (YES["acl"] + b"\n", "")


STRAY = """
import os, sys
from squid_imhelper import cli
from squid_imhelper.helper import serve
answer = serve.Helper.answer
def noisy(helper, line):
    print("stray print", flush=True)
    os.write(1, b"stray write\\n")
    os.system("echo stray child")
    return answer(helper, line)
serve.Helper.answer = noisy
print("stray before", file=sys.stderr)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_stray_print_does_not_reach_the_wire() -> None:
    arguments = [sys.executable, "-c", STRAY, *command_line("acl")[3:]]
    answered, said = run(arguments, b"1 " + BLOCKED["acl"] + b"\n")
    assert answered == b"1 " + YES["acl"] + b"\n"
    assert sorted(said.splitlines()) == ["stray before", "stray child", "stray print", "stray write"]


@pytest.mark.parametrize(
    ("closed", "answers"),
    [
        pytest.param("<&-", False, id="stdin"),
        pytest.param(">&-", False, id="stdout"),
        pytest.param("2>&-", True, id="stderr"),
        pytest.param("<&- >&-", False, id="stdin-and-stdout"),
        pytest.param(">&- 2>&-", False, id="stdout-and-stderr"),
        pytest.param("<&- >&- 2>&-", False, id="all"),
    ],
)
def test_a_closed_descriptor_harms_nothing(closed: str, answers: bool) -> None:
    arguments = ["sh", "-c", f'exec "$@" {closed}', "sh", *command_line("acl")]
    with suppress(BrokenPipeError):
        answered, said = run(arguments, b"1 " + BLOCKED["acl"] + b"\n1\n")
        assert answered == (b"1 " + YES["acl"] + b"\n1 ERR\n" if answers else b"")
        assert "Error" not in said


End = socket.socket | BinaryIO


@contextmanager
def started(
    arguments: list[str], transport: str = "socketpair", *, blocking: bool = True
) -> Iterator[tuple[subprocess.Popen[bytes], list[End]]]:
    """Starts a helper; gives the process and the descriptors to write to and to read from."""
    if transport == "socketpair":
        ours, theirs = socket.socketpair()
        ends: list[End] = [ours]
        given_ends: list[End] = [theirs]
        write_fd = read_fd = ours.fileno()
        stdin = stdout = theirs.fileno()
    else:
        stdin, write_fd = os.pipe()
        read_fd, stdout = os.pipe()
        ends = [os.fdopen(write_fd, "wb", 0), os.fdopen(read_fd, "rb", 0)]
        given_ends = [os.fdopen(stdin, "rb", 0), os.fdopen(stdout, "wb", 0)]
    os.set_blocking(stdin, blocking)
    os.set_blocking(stdout, blocking)
    process = subprocess.Popen(arguments, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT)
    for end in given_ends:
        end.close()
    try:
        yield process, ends
    finally:
        for end in ends:
            end.close()
        process.kill()
        process.stderr.close()
        process.wait(60)


def close_input(ends: list[End]) -> None:
    if isinstance(ends[0], socket.socket):
        ends[0].shutdown(socket.SHUT_WR)
    else:
        ends[0].close()


def read_lines(end: End, count: int) -> bytes:
    data = b""
    while data.count(b"\n") < count:
        piece = os.read(end.fileno(), 1 << 16)
        assert piece, "the helper has closed its side"
        data += piece
    return data


transports = pytest.mark.parametrize("transport", ["socketpair", "pipes"])


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "nonblocking"])
@transports
def test_each_line_is_answered_at_once(transport: str, blocking: bool) -> None:
    with started(command_line("acl"), transport, blocking=blocking) as (process, ends):
        for n in (b"1", b"2"):
            os.write(ends[0].fileno(), n + b" 10.0.0.1 GET http://web.wh")
            os.write(ends[0].fileno(), b"atsapp.com/ - - -\n")
            assert read_lines(ends[-1], 1) == n + b" " + YES["acl"] + b"\n"
        assert process.poll() is None
        close_input(ends)
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


@transports
def test_a_reader_that_goes_away_ends_the_helper_in_peace(transport: str) -> None:
    with started(command_line("acl"), transport) as (process, ends):
        os.write(ends[0].fileno(), b"1\n")
        read_lines(ends[-1], 1)
        ends[-1].close()
        if transport == "pipes":
            os.write(ends[0].fileno(), b"2\n")
        assert process.wait(60) == 0
        assert b"Traceback" not in process.stderr.read()


def test_an_endless_line_is_answered_once() -> None:
    sent = b"1 " + b"x" * (3 * MAX_LINE) + b"\n2 " + BLOCKED["acl"] + b"\n"
    assert run(command_line("acl"), sent)[0] == b"1 ERR\n2 " + YES["acl"] + b"\n"


# ---- a million lines of anything ------------------------------------------------------------------------------------

PLAUSIBLE = {
    "acl": [
        b"",
        b"-",
        b"10.0.0.1 GET http://",
        b"10.0.0.1 CONNECT ",
        b"10.0.0.1 GET http://web.whatsapp.com/",
        b"10.0.0.1",
        b":: NONE ://",
        BLOCKED["acl"],
        ALLOWED["acl"] + b" whatsapp ",
        b"fd99::1 POST http://%5B",
    ],
    "rewrite": [b"", b"http://", b"://", BLOCKED["rewrite"], b"http://h/ 10.0.0.1/- - GET myip="],
}
ENDINGS = {
    "acl": [b"", b" - - -", b":443 - - -"],
    "rewrite": [b"", b" 10.0.0.1/- - GET myip=- myport=-", b":443 10.0.0.1/pc - CONNECT myip=- myport=-"],
}
BATCH = 10_000


def anything(command: str, seed: int) -> Iterator[bytes]:
    """Lines of plausible beginnings and random bytes, in many ways filled up to the number of fields."""
    chooser = random.Random(seed)
    endings = ENDINGS[command]
    no_newline = bytes.maketrans(b"\n", b" ")
    while True:
        middle = chooser.randbytes(chooser.randrange(24)).translate(no_newline)
        yield chooser.choice(PLAUSIBLE[command]) + middle + chooser.choice(endings)


def feed(ends: list[End], command: str, seed: int, count: int, *, channels: bool) -> None:
    lines = anything(command, seed)
    with suppress(BrokenPipeError, ConnectionResetError):
        for first in range(1, count + 1, BATCH):
            numbered = (b"%d " % n if channels else b"" for n in range(first, first + BATCH))
            data = memoryview(b"".join(number + next(lines) + b"\n" for number in numbered))
            while data:
                data = data[os.write(ends[0].fileno(), data) :]
        close_input(ends)


@pytest.mark.parametrize(
    ("command", "transport", "channels", "count"),
    [
        pytest.param("acl", "socketpair", True, 1_000_000, id="acl-socketpair-ids"),
        pytest.param("acl", "pipes", False, 1_000_000, id="acl-pipes-no-ids"),
        pytest.param("rewrite", "socketpair", True, 100_000, id="rewrite-socketpair-ids"),
        pytest.param("rewrite", "pipes", False, 100_000, id="rewrite-pipes-no-ids"),
    ],
)
def test_as_many_answers_as_lines_whatever_the_lines(command: str, transport: str, channels: bool, count: int) -> None:
    arguments = command_line(command, *([] if channels else ["--no-channel-id"]))
    with started(arguments, transport, blocking=False) as (process, ends):
        feeder = threading.Thread(target=feed, args=(ends, command, 2006, count), kwargs={"channels": channels})
        feeder.start()
        answered, rest = 0, b""
        while data := os.read(ends[-1].fileno(), 1 << 18):
            *replies, rest = (rest + data).split(b"\n")
            for reply in replies:
                answered += 1
                words = reply.split(b" ", 2)
                assert not channels or words.pop(0) == b"%d" % answered
                assert words[0] in (b"OK", b"ERR")
        feeder.join()
        assert (answered, rest) == (count, b"")
        assert process.wait(60) == 0
        said = process.stderr.read().decode()
    assert "Traceback" not in said
    assert "internal fault" not in said
