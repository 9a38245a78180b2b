"""The loop: what Squid sends is answered at once and in order, and nothing else reaches the wire."""

import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from helping import ALLOWED, BLOCKED, YES, ListSink, make_helper

import squid_imhelper
from squid_imhelper.helper.chores import Chores
from squid_imhelper.helper.serve import serve
from squid_imhelper.loading import load_engine
from squid_imhelper.matching.engine import Engine
from squid_imhelper.squid.wire import MAX_LINE

ROOT = Path(squid_imhelper.__file__).parents[1]
NEWLINE = b"\n"
both = pytest.mark.parametrize("command", ["acl", "rewrite"])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine("built-in", pytest.fail)


# ---- one batch after the other --------------------------------------------------------------------------------------


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
from squid_imhelper.helper.answering import Helper
answer = Helper.answer_all
def noisy(helper, block):
    print("stray print", flush=True)
    os.write(1, b"stray write\\n")
    os.system("echo stray child")
    return answer(helper, block) if block else b""
Helper.answer_all = noisy
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
