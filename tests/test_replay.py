"""Whole logs: the same numbers however many processes count, and what is wrong with a log ends in a sentence."""

import bz2
import gzip
import io
import lzma
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from arbitrary import CATALOGUE, NOON
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.dryrun.counting import Counter
from squid_imhelper.dryrun.replay import Counting, Outcome, Task, Workers, counted_here, replay
from squid_imhelper.dryrun.tally import Tally
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.logs.logfiles import BLOCK, LogFile, Logs
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import built_in_policy

DATA = Path(__file__).parent / "data" / "logs"
SQUID = LogFormat("squid")
BUILT_IN = compile_policy(built_in_policy(CATALOGUE), CATALOGUE)
make_counter = partial(Counter, BUILT_IN, None, NOON)


def line(number: int, host: str = "web.whatsapp.com") -> bytes:
    return b"%d.000 1 192.0.2.%d TCP_MISS/200 5 GET http://%s/%d - HIER_DIRECT/- -\n" % (
        NOON + number,
        number % 250,
        host.encode(),
        number,
    )


def many_lines(size: int) -> bytes:
    """Lines of which one in three is blocked, and some are none, of so many bytes at least."""
    hosts = ("web.whatsapp.com", "example.org", "www.example.net")
    lines, total, number = [], 0, 0
    while total < size:
        lines.append(b"rubbish %d\n" % number if number % 101 == 0 else line(number, hosts[number % 3]))
        total += len(lines[-1])
        number += 1
    return b"".join(lines)


def nobody(*_: object) -> None:
    """Nobody looks."""


def replayed(
    *paths: Path, counting: Counting | None = None, log_format: LogFormat | None = None, stdin: bytes = b""
) -> Outcome:
    logs = Logs(io.BufferedReader(io.BytesIO(stdin)))  # type: ignore[arg-type]
    files = logs.in_time_order([*map(str, paths)] or ["-"], log_format, "UTC")
    return replay(logs, files, counting or counted_here(make_counter()), nobody, nobody)


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_every_block_is_counted_once(write: Callable[[str, bytes], Path]) -> None:
    content = many_lines(3 * BLOCK)
    outcome = replayed(write("access.log", content))
    assert outcome.tally == make_counter().count(content, SQUID, str(outcome.files[0].log.path), 0)
    assert (outcome.files[0].lines, outcome.problems, outcome.ended_by) == (content.count(b"\n"), [], 0)


@pytest.mark.parametrize("jobs", [2, 3, 5])
def test_the_numbers_are_the_same_however_many_processes_count(jobs: int, write: Callable[[str, bytes], Path]) -> None:
    """Examples, and the order in which everything came up, included."""
    content = many_lines(3 * BLOCK)
    half = content.index(b"\n", len(content) // 2) + 1
    paths = [write("a.log.gz", gzip.compress(content[:half], 1)), write("b.log", content[half:])]
    alone = replayed(*paths)
    with Workers(jobs, make_counter) as workers:
        together = replayed(*paths, counting=workers.count)
    assert together == alone
    assert repr(together) == repr(alone)
    assert alone.tally.lines == content.count(b"\n")


def test_no_more_blocks_than_needed_are_read_ahead() -> None:
    """So memory stays flat, however fast a log is read."""
    read = 0

    def tasks() -> Iterator[Task]:
        nonlocal read
        for number in range(20):
            read += 1
            yield Task(0, "a", SQUID, line(number), number)

    with Workers(2, make_counter) as workers:
        for done, (task, tally) in enumerate(workers.count(tasks()), 1):
            assert read - done <= 2 * 2
            assert (task.before, task.block, tally.lines) == (done - 1, b"", 1)
    assert read == 20


@settings(max_examples=25)
@given(st.lists(st.sampled_from([b"x\n", b"\n", line(1), line(2)[:-1], b"\xff" * 99, b"#\n"]), max_size=30))
def test_it_does_not_matter_what_a_log_is_packed_in(pieces: list[bytes]) -> None:
    content = line(0) + b"".join(pieces)
    expected = replayed(stdin=content, log_format=SQUID)
    for pack in (gzip.compress, bz2.compress, lzma.compress, zstd.compress):
        assert replayed(stdin=pack(content), log_format=SQUID) == expected
    assert expected.tally.lines == content.count(b"\n") + (not content.endswith(b"\n"))


def test_lines_are_counted_by_file(write: Callable[[str, bytes], Path]) -> None:
    paths = [write("old.log", line(0) + b"no\n\n"), write("new.log", line(100) + b"no")]
    outcome = replayed(*paths)
    assert [(Path(own.log.path).name, own.lines, own.skipped) for own in outcome.files] == [
        ("old.log", 3, 2),
        ("new.log", 2, 1),
    ]
    assert [(Path(own.path).name, own.line) for own in outcome.tally.malformed] == [("old.log", 2), ("new.log", 2)]


def test_rotated_logs_are_read_in_the_order_of_time(write: Callable[[str, bytes], Path]) -> None:
    """The first example of a case is the earliest then."""
    names = ["access.log", "access.log.1", "access.log.2"]
    paths = [write(name, line(100 - number)) for number, name in enumerate(names)]
    outcome = replayed(*paths)
    assert [Path(own.log.path).name for own in outcome.files] == names[::-1]


@pytest.mark.parametrize("name", ["squid.log", "combined.log", "common.log", "imhelper.log", "json.log", "office.tsv"])
@pytest.mark.parametrize("size", [700, 4096, 1 << 20])
def test_recorded_logs_come_out_the_same_in_any_blocks(name: str, size: int) -> None:
    """A log is cut elsewhere when its first lines are others; what is counted of the rest is the same."""
    whole = replayed(DATA / name)
    log_format = whole.files[0].log.log_format
    assert log_format is not None
    counter, total, before = make_counter(), Tally(), 0
    content = (DATA / name).read_bytes()
    while content:
        end = content.rfind(b"\n", 0, size) + 1 or content.find(b"\n") + 1 or len(content)
        total.add(counter.count(content[:end], log_format, str(DATA / name), before))
        before += content[:end].count(b"\n")
        content = content[end:]
    assert total == whole.tally


def test_progress_never_goes_back_and_ends_at_the_end(write: Callable[[str, bytes], Path]) -> None:
    paths = [write("a.log", many_lines(3 * BLOCK)), write("b.log.gz", gzip.compress(many_lines(BLOCK)))]
    logs, told = Logs(None), []
    files = logs.in_time_order([*map(str, paths)], None, "UTC")
    replay(logs, files, counted_here(make_counter()), told.append, nobody)
    assert told == sorted(told)
    assert len(told) > 4
    assert told[-1] == sum(path.stat().st_size for path in paths)


def test_who_watches_sees_each_tally_and_the_sum() -> None:
    seen = []

    def watch(outcome: Outcome, tally: Tally) -> None:
        seen.append((outcome.tally.lines, tally.lines))

    logs = Logs(io.BufferedReader(io.BytesIO(many_lines(2 * BLOCK))))  # type: ignore[arg-type]
    outcome = replay(logs, logs.in_time_order(["-"], None, "UTC"), counted_here(make_counter()), nobody, watch)
    assert [total for total, _ in seen] == [sum(own for _, own in seen[: n + 1]) for n in range(len(seen))]
    assert seen[-1][0] == outcome.tally.lines
    assert len(seen) > 1


# ---- logs with something wrong --------------------------------------------------------------------------------------


def test_a_log_that_is_cut_off_is_counted_as_far_as_it_goes(write: Callable[[str, bytes], Path]) -> None:
    packed = gzip.compress(many_lines(4 * BLOCK), 1)
    path, other = write("cut.gz", packed[: len(packed) // 2]), write("b.log", line(10**6))
    outcome = replayed(path, other)
    assert outcome.problems == [f"cannot read {path}: the file is cut off"]
    assert outcome.files[0].lines * 90 > BLOCK
    assert outcome.files[1].lines == 1


def test_a_damaged_log_is_told(write: Callable[[str, bytes], Path]) -> None:
    packed = bytearray(gzip.compress(many_lines(2 * BLOCK)))
    packed[len(packed) // 2 : len(packed) // 2 + 40] = bytes(40)
    outcome = replayed(write("bad.gz", bytes(packed)))
    assert len(outcome.problems) == 1
    assert outcome.problems[0].startswith("cannot read ")
    assert "\n" not in outcome.problems[0]


def test_a_log_that_has_gone_since_it_was_found_is_told(write: Callable[[str, bytes], Path]) -> None:
    path, other = write("a.log", line(0)), write("b.log", line(1))
    logs = Logs(None)
    files = logs.in_time_order([str(path), str(other)], None, "UTC")
    path.unlink()
    outcome = replay(logs, files, counted_here(make_counter()), nobody, nobody)
    assert outcome.problems == [f"cannot read {path}: No such file or directory"]
    assert (outcome.tally.lines, outcome.files[1].lines) == (1, 1)


def test_a_log_in_no_format_is_told_and_the_others_counted(write: Callable[[str, bytes], Path]) -> None:
    paths = write("bin.log", bytes(range(256)) * 50), write("a.log", line(0)), write("empty.log", b"")
    outcome = replayed(*paths)
    assert [Path(problem.partition(":")[0]).name for problem in outcome.problems] == ["bin.log"]
    assert outcome.tally.lines == 1


def test_a_line_of_several_megabytes_is_one_line() -> None:
    outcome = replayed(stdin=line(0) + b"GET " * (BLOCK + 7) + b"\n" + line(1), log_format=SQUID)
    assert (outcome.tally.lines, outcome.tally.requests) == (3, 2)
    assert [own.line for own in outcome.tally.malformed] == [2]


@settings(max_examples=50)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_read_or_told(first: bytes, second: bytes) -> None:
    for log_format in (None, SQUID):
        outcome = replayed(stdin=first + second, log_format=log_format)
        assert outcome.tally.lines == outcome.tally.requests + sum(outcome.tally.skipped.values())
        assert outcome.problems or outcome.files[0].log.log_format or not (first + second).strip()


# ---- signals, and processes that are killed -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_between_two_tallies(number: signal.Signals) -> None:
    """What has been counted until then stays; whoever handled signals before does so again."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    watched = []

    def watch(outcome: Outcome, _: Tally) -> None:
        os.kill(os.getpid(), number)
        watched.append(outcome.tally.lines)  # what was begun is done

    content = many_lines(3 * BLOCK)
    logs = Logs(io.BufferedReader(io.BytesIO(content)))  # type: ignore[arg-type]
    outcome = replay(logs, logs.in_time_order(["-"], None, "UTC"), counted_here(make_counter()), nobody, watch)
    assert outcome.ended_by == number
    assert watched == [outcome.tally.lines]
    assert 0 < outcome.tally.lines < content.count(b"\n")
    assert outcome.tally.lines == outcome.files[0].lines
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_while_a_log_is_read_ends_it() -> None:
    def counting(tasks: Iterable[Task]) -> Iterator[tuple[Task, Tally]]:
        for task in tasks:
            yield task, make_counter().count(task.block, task.log_format, task.path, task.before)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    outcome = replayed(counting=counting, stdin=many_lines(2 * BLOCK))
    assert outcome.ended_by == signal.SIGINT
    assert outcome.tally.lines == outcome.files[0].lines > 0


def test_a_process_that_was_killed_is_told_in_a_sentence(write: Callable[[str, bytes], Path]) -> None:
    ours = os.getpid()

    class Suicidal(Counter):
        def count(self, block: bytes, log_format: LogFormat, path: str, before: int) -> Tally:
            if before and os.getpid() != ours:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().count(block, log_format, path, before)

    path = write("a.log", many_lines(4 * BLOCK))
    with (
        Workers(2, partial(Suicidal, BUILT_IN, None, NOON)) as workers,
        pytest.raises(ImhelperError, match=r"^a process that counted has been killed; is there too little memory\?$"),
    ):
        replayed(path, counting=workers.count)


def children() -> set[int]:
    """Those of this process, of all its threads."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(word) for task in tasks for word in task.read_text(encoding="ascii").split()}


def test_workers_leave_no_process_and_no_thread_behind() -> None:
    threads, others = threading.active_count(), children()  # other tests may have left some behind
    with Workers(3, make_counter) as workers:
        ours = children() - others
        assert len(ours) == 3
        assert replayed(counting=workers.count, stdin=line(0)).tally.lines == 1
    assert not children() & ours
    assert threading.active_count() == threads


def test_logs_with_a_problem_are_told_in_their_order() -> None:
    outcome = Outcome()
    assert outcome.problems == []
    files = [LogFile("a", None, None, 0, "first"), LogFile("b", SQUID, None, 0), LogFile("c", None, None, 0, "second")]
    outcome = replay(Logs(None), files, counted_here(make_counter()), nobody, nobody)
    assert outcome.problems[0::2] == ["first", "second"]
    assert outcome.problems[1] == "cannot read b: No such file or directory"
