"""What a helper says on stderr: lines that can be told apart, never a flood, and never in the way of an answer."""

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.helper.notices import NOTICE_PERIOD, Notices


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kept(Notices):
    """Notices that keep what they would have written."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("test", clock)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_every_line_says_who_speaks(capfd: pytest.CaptureFixture[str]) -> None:
    Notices("test").say("one\ntwo")
    assert capfd.readouterr().err == f"test[{os.getpid()}]: one\ntest[{os.getpid()}]: two\n"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        pytest.param("\u00fc", "\u00fc".encode(), id="non-ascii"),
        pytest.param("\udcff", rb"\udcff", id="bytes-that-are-no-utf-8"),
        pytest.param("", b"", id="nothing"),
        pytest.param("x" * 100_000, b"x" * 100_000, id="long"),
    ],
)
def test_any_text_can_be_said(text: str, written: bytes, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Notices("test").say(text)
    assert capfdbinary.readouterr().err == b"test[%d]: %b\n" % (os.getpid(), written)


def test_what_is_said_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several children write to one cache.log."""
    pieces: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda fd, data: pieces.append(data) or len(data))
    Notices("test").say("one\ntwo")
    assert len(pieces) == 1


# ---- a log that cannot be written -----------------------------------------------------------------------------------


@contextmanager
def stderr_is(fd: int) -> Iterator[None]:
    kept = os.dup(2)
    os.dup2(fd, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_a_full_disk_harms_nothing() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, stderr_is(full.fileno()):
        Notices("test").say("lost")


def test_a_closed_stderr_harms_nothing() -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        Notices("test").say("lost")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    read_fd, write_fd = os.pipe2(os.O_NONBLOCK)
    fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with stderr_is(write_fd):
            for _ in range(100):
                Notices("test").say("x" * 1000)
        assert len(os.read(read_fd, 1 << 20)) <= 4096
    finally:
        os.close(read_fd)
        os.close(write_fd)


# ---- floods ---------------------------------------------------------------------------------------------------------


def test_notices_of_one_kind_are_held_back_and_counted() -> None:
    clock = Clock()
    notices = Kept(clock)
    for _ in range(5):
        notices.say_at_times("a", "first")
    notices.say_at_times("b", "other")
    clock.now += NOTICE_PERIOD - 1
    notices.say_at_times("a", "early")
    clock.now += 1
    notices.say_at_times("a", "later")
    notices.say_at_times("b", "other again")
    assert notices.said == ["first", "other", "later (and 5 more like this)", "other again"]


def test_what_is_said_at_once_is_never_held_back() -> None:
    notices = Kept(Clock())
    notices.say_at_times("a", "x")
    notices.say("x")
    notices.say("x")
    assert notices.said == ["x"] * 3


_events = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100)))


@given(_events)
def test_a_notice_is_said_when_a_minute_has_passed_since_the_last_one(events: list[tuple[str, int]]) -> None:
    """Kind by kind; and every one that was not said stands in a count, but for those since the last one."""
    clock = Clock()
    notices = Kept(clock)
    expected: list[str] = []
    last: dict[str, float] = {}
    held: Counter[str] = Counter()
    for kind, pause in events:
        clock.now += pause
        notices.say_at_times(kind, kind)
        if kind in last and clock.now - last[kind] < NOTICE_PERIOD:
            held[kind] += 1
            continue
        last[kind] = clock.now
        expected.append(kind + (f" (and {held[kind]} more like this)" if held[kind] else ""))
        held[kind] = 0
    assert notices.said == expected
