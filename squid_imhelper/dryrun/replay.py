"""A dry run over recorded logs, by one process or several.

Each block is counted by itself, and the tallies are added up in the order of the log: the numbers are the same to the
last digit, however many processes there are. No more blocks than two for each process are in memory at a time.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from types import FrameType
from typing import Final, NamedTuple

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.dryrun.counting import Counter
from squid_imhelper.dryrun.tally import Tally
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.logs.logfiles import UNKNOWN, LogFile, Logs, Progress, follow, format_of

AHEAD: Final = 2
"""Blocks for each process that are read before they are asked for."""
_PATIENCE: Final = 1.0
"""Seconds behind which is asked whether the processes are still there."""


@dataclass(slots=True)
class FileTally:
    """What became of one log."""

    log: LogFile
    lines: int = 0
    skipped: int = 0
    problem: str = ""


@dataclass(slots=True)
class Outcome:
    """All that a dry run has found out so far. `ended_by` is the signal that ended it early, 0 for none."""

    tally: Tally = field(default_factory=Tally)
    files: list[FileTally] = field(default_factory=list)
    ended_by: int = 0

    @property
    def problems(self) -> list[str]:
        """What is wrong with the logs, a sentence for each."""
        return [file.problem for file in self.files if file.problem]


class Task(NamedTuple):
    """A block, the log that it is from, and how many lines of that stand before it."""

    file: int
    path: str
    log_format: LogFormat
    block: bytes
    before: int


Counting = Callable[[Iterable[Task]], Iterator[tuple[Task, Tally]]]
Watcher = Callable[[Outcome, Tally], None]
"""Is told the outcome so far, and the tally that was added last."""


class Interrupts:
    """Ctrl-C and a request to end, taken between two tallies and not in the middle of one."""

    def __init__(self) -> None:
        self.signal = 0
        self._held = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Turns both signals into KeyboardInterrupt."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lets them wait until what is inside has been done."""
        self._held = True
        yield
        self._held = False
        if self.signal:
            raise KeyboardInterrupt

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        if not self._held:
            raise KeyboardInterrupt


def replay(
    logs: Logs, files: Sequence[LogFile], counting: Counting, progress: Progress, watch: Watcher, *, grows: bool = False
) -> Outcome:
    """Counts every line of the logs. Signals end it early, with what has been counted until then.

    Args:
        logs: where the logs are read from.
        files: in the order in which they are to be read.
        counting: `counted_here`, or that of `Workers`.
        progress: is told how many bytes of the files on disk have been read.
        watch: is called behind each block.
        grows: whether the last file is to be followed, until a signal comes.
    """
    outcome = Outcome(files=[FileTally(log, problem=log.problem) for log in files])
    interrupts = Interrupts()
    try:
        with interrupts.caught():
            for task, tally in counting(_tasks(logs, outcome, progress, grows=grows)):
                with interrupts.held():
                    outcome.tally.add(tally)
                    outcome.files[task.file].lines += tally.lines
                    outcome.files[task.file].skipped += sum(tally.skipped.values())
                    watch(outcome, tally)
    except KeyboardInterrupt:
        outcome.ended_by = interrupts.signal or signal.SIGINT
    return outcome


def _tasks(logs: Logs, outcome: Outcome, progress: Progress, *, grows: bool) -> Iterator[Task]:
    read_before = 0
    for number, file in enumerate(outcome.files):
        path = file.log.path
        followed = grows and number == len(outcome.files) - 1
        if file.problem or (file.log.log_format is None and not followed):
            continue
        blocks = follow(path) if followed else logs.blocks(file.log, partial(_advance, progress, read_before))
        lines = 0
        try:
            for block in blocks:
                if file.log.log_format is None:
                    file.log = _recognised(file.log, block)
                if file.log.log_format is not None:
                    yield Task(number, path, file.log.log_format, block, lines)
                lines += block.count(b"\n")
        except ImhelperError as error:
            file.problem = str(error)
        read_before += file.log.size
        progress(read_before)


def _recognised(log: LogFile, block: bytes) -> LogFile:
    """Looks at the first lines of a log that was empty at the start."""
    log_format = format_of(block, None, log.zone)
    if log_format is None and block.strip():
        raise ImhelperError(f"{log.path}: {UNKNOWN}")
    return replace(log, log_format=log_format)


def _advance(progress: Progress, before: int, read: int) -> None:
    progress(before + read)


def counted_here(counter: Counter) -> Counting:
    """Counts in this process."""

    def count(tasks: Iterable[Task]) -> Iterator[tuple[Task, Tally]]:
        for task in tasks:
            yield task, counter.count(task.block, task.log_format, task.path, task.before)

    return count


_counter: Counter


class Workers:
    """Processes that count. They are started at once, before anything else has threads."""

    def __init__(self, jobs: int, make_counter: Callable[[], Counter]) -> None:
        self._jobs = jobs
        self._pool = ProcessPoolExecutor(jobs, get_context("fork"), _start_worker, (make_counter,))
        self._pool.submit(int)
        # Python 3.11.2 waits for ever, behind a process that was killed, to have its block taken: but for this end of
        # their pipe, which only they need, there is nobody left who could.
        self._pool._call_queue._reader.close()  # type: ignore[attr-defined]

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for process in active_children():  # a pool that broke while it was given a task may leave some behind
            process.terminate()

    def count(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Tally]]:
        """Counts in all of them, and yields the tallies in the order of the tasks.

        Raises:
            ImhelperError: a process has been killed.
        """
        waiting: deque[tuple[Task, Future[Tally]]] = deque()
        try:
            for task in tasks:
                waiting.append((task, self._pool.submit(_count, task)))
                while waiting and (len(waiting) >= AHEAD * self._jobs or waiting[0][1].done()):
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)
        except BrokenProcessPool:
            raise ImhelperError("a process that counted has been killed; is there too little memory?") from None

    def _next(self, waiting: deque[tuple[Task, Future[Tally]]]) -> tuple[Task, Tally]:
        task, future = waiting.popleft()
        while not wait((future,), _PATIENCE).done:
            self._pool.submit(int)  # raises where the pool broke, and forgot what it had just been given
        return task._replace(block=b""), future.result()


def _start_worker(make_counter: Callable[[], Counter]) -> None:
    """Ctrl-C goes to all processes of a terminal; the one that reads the log sees to it."""
    global _counter  # noqa: PLW0603  # a process of a pool has no other place
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()
    _counter = make_counter()


def _end_with_parent() -> None:
    """A process of a pool whose parent was killed would wait for ever."""
    if parent := parent_process():
        parent.join()
    signal.raise_signal(signal.SIGTERM)


def _count(task: Task) -> Tally:
    return _counter.count(task.block, task.log_format, task.path, task.before)
