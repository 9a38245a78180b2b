"""Answers: each line gets one, whatever comes in and whatever breaks; what became of it is counted and logged."""

import json
import re

import pytest
from helping import (
    ALLOWED,
    BLOCKED,
    INTERFACES,
    LAYOUTS,
    UNKNOWN_YES,
    YES,
    Fixed,
    ListSink,
    QuietNotices,
    block_of,
    make_helper,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Action, Decision, Request
from squid_imhelper.helper.answering import Helper, Options
from squid_imhelper.helper.counters import Counters
from squid_imhelper.helper.notices import Notices
from squid_imhelper.loading import load_engine
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.expressions import ExpressionTimeoutError
from squid_imhelper.squid.wire import MAX_LINE


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine("built-in", pytest.fail)


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
    assert make_helper(command, engine).answer_all(block_of(*lines)) == expected


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
    program = engine.program._replace(response=engine.program.response._replace(on_error=in_policy))
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
    assert helper.answer_all(block_of(BLOCKED["acl"], b"OK", b"", b"9 " + BLOCKED["acl"])) == b"9 " + YES["acl"] + b"\n"
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
    assert helper.answer_all(block_of(b"7 " + ALLOWED[command])) == b"7 " + UNKNOWN_YES[command] + b"\n"
    source.engine = engine
    assert helper.answer_all(block_of(b"8 " + ALLOWED[command])) == b"8 ERR\n"
    assert counters.errors == {"no policy": 1}


@both
def test_a_policys_own_texts_count_as_soon_as_it_is_there(command: str, engine: Engine) -> None:
    """And those of the one before do not, not even in part."""
    program = engine.program
    other = Engine(program._replace(response=program.response._replace(message="other", redirect="http://other.test/")))
    source = Fixed(engine)
    helper = Helper(INTERFACES[command], source, Options(LAYOUTS[command]), Notices("test"), Counters())
    before = helper.answer_all(block_of(b"1 " + BLOCKED[command]))
    source.engine = other
    after = helper.answer_all(block_of(b"1 " + BLOCKED[command]))
    assert before == b"1 " + YES[command] + b"\n"
    assert after.startswith(b"1 OK ")
    assert b"other" in after
    assert b"blocked" not in after


# ---- what is counted and logged -------------------------------------------------------------------------------------


def test_every_line_is_counted_by_what_became_of_it(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    counters = Counters()
    helper = make_helper("acl", engine, counters=counters)
    helper.answer_all(block_of(b"1 " + BLOCKED["acl"], b"2 " + ALLOWED["acl"], b"3 " + BLOCKED["acl"]))
    helper.answer_all(b"")
    helper.answer_all(
        block_of(b"4 x", BLOCKED["acl"], b"5 " + BLOCKED["acl"][:-1] + b"@im", b"6 " + ALLOWED["acl"][:-1] + b"no")
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


def with_action(engine: Engine, action: Action) -> Engine:
    program = engine.program
    return Engine(program._replace(rules=tuple(rule._replace(action=action) for rule in program.rules)))


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
    helper.answer_all(block_of(b"1 " + BLOCKED["acl"].removesuffix(b"-") + arguments, b"2 " + ALLOWED["acl"], b"3 x"))
    assert not sink.lines, "the log comes behind the answers"
    helper.write_audit()
    helper.write_audit()
    found = [(line["action"], line["dry_run"]) for line in map(json.loads, sink.lines)]
    assert found == ([logged] if logged else [])


def test_a_policys_own_dry_run_is_logged_as_one(engine: Engine) -> None:
    program = engine.program
    sink = ListSink()
    dry = Engine(program._replace(response=program.response._replace(dry_run=True)))
    helper = make_helper("acl", dry, audit=sink)
    assert helper.answer_all(block_of(b"1 " + BLOCKED["acl"])).startswith(b"1 ERR")
    helper.write_audit()
    assert [json.loads(line)["dry_run"] for line in sink.lines] == [True]


def test_lines_that_the_log_lost_are_counted(engine: Engine) -> None:
    counters = Counters()
    helper = make_helper("acl", engine, counters=counters, audit=ListSink(loses=2))
    for _ in range(3):
        helper.answer_all(block_of(b"1 " + BLOCKED["acl"]) * 2)
        helper.write_audit()
    assert counters.audit_lost == 6
