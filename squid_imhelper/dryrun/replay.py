"""A dry run over recorded logs, by one process or several.

Each block is counted by itself, and the tallies are added up in the order of the log: the numbers are the same to the
last digit, however many processes there are. No more blocks than two for each process are in memory at a time.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from mmap import mmap
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Final, NamedTuple

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.dryrun.counting import Counter
from squid_imhelper.dryrun.tally import Tally
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.logs.logfiles import BLOCK, UNKNOWN, LogFile, Logs, Progress, follow, format_of

AHEAD: Final = 2
"""Blocks that each process may have: the one that it counts, and the next one."""


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
    """Ctrl-C, a terminal that is closed, a request to end: taken between two tallies and not in the middle of one."""

    def __init__(self) -> None:
        self.signal = 0
        self._holding = 0
        self._pending = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Turns the signals into KeyboardInterrupt."""
        self.signal = 0
        before = {number: signal.signal(number, self._handle) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lets them wait until what is inside has been done."""
        self._holding += 1
        try:
            yield
        finally:
            self._holding -= 1
        if self._pending and not self._holding:
            self._pending = False
            raise KeyboardInterrupt

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        if not self._holding:
            raise KeyboardInterrupt
        self._pending = True


_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERRUPTS: Final = Interrupts()
"""A process has its signals once."""


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
    try:
        with _INTERRUPTS.caught():
            for task, tally in counting(_tasks(logs, outcome, progress, grows=grows)):
                with _INTERRUPTS.held():
                    outcome.tally.add(tally)
                    outcome.files[task.file].lines += tally.lines
                    outcome.files[task.file].skipped += sum(tally.skipped.values())
                    watch(outcome, tally)
    except KeyboardInterrupt:
        outcome.ended_by = _INTERRUPTS.signal or signal.SIGINT
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


class Workers:
    """Processes that count. They are started at once, before anything else has threads, and end with this one.

    Blocks go to them through memory that they share with this process, AHEAD pieces of it each, so that the next block
    is there when one has been counted.
    """

    def __init__(self, jobs: int, make_counter: Callable[[], Counter]) -> None:
        context = get_context("fork")
        self._processes = []
        connections: list[Connection] = []
        memory = [[mmap(-1, BLOCK + 1) for _ in range(AHEAD)] for _ in range(jobs)]
        for own in memory:
            ours, its = context.Pipe()
            connections.append(ours)
            process = context.Process(target=_work, args=(its, list(connections), own, make_counter), daemon=True)
            process.start()
            its.close()
            self._processes.append(process)
        self._free = deque(
            _Slot(connection, number, own[number])
            for number in range(AHEAD)
            for connection, own in zip(connections, memory, strict=True)
        )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def count(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Tally]]:
        """Counts in all of them, and yields the tallies in the order of the tasks. When stopped, it ends what is begun.

        Raises:
            ImhelperError: a process has been killed.
        """
        begun: deque[_Begun] = deque()
        busy: _Busy = {}
        try:
            try:
                yield from self._counted(tasks, begun, busy)
            except KeyboardInterrupt:
                yield from self._rest(begun, busy)
                raise
        except (EOFError, ConnectionError):
            raise ImhelperError("a process that counted has been killed; is there too little memory?") from None

    def _counted(self, tasks: Iterable[Task], begun: deque["_Begun"], busy: "_Busy") -> Iterator[tuple[Task, Tally]]:
        for task in tasks:
            with _INTERRUPTS.held():  # half a message would be waited for
                self._begin(task, begun, busy)
            self._collect(busy, 0)
            yield from _finished(begun)
            while not self._free or len(begun) >= AHEAD * len(self._processes):
                self._collect(busy)
                yield from _finished(begun)
        yield from self._rest(begun, busy)

    def _begin(self, task: Task, begun: deque["_Begun"], busy: "_Busy") -> None:
        slot, size = self._free.popleft(), len(task.block)
        slot.memory[:size] = task.block
        begun.append(_Begun(task._replace(block=b""), slot))
        busy.setdefault(slot.connection, deque()).append(begun[-1])
        slot.connection.send((slot.number, size, begun[-1].task))

    def _rest(self, begun: deque["_Begun"], busy: "_Busy") -> Iterator[tuple[Task, Tally]]:
        while busy:
            self._collect(busy)
        yield from _finished(begun)

    def _collect(self, busy: "_Busy", seconds: float | None = None) -> None:
        """Takes the tallies that are there, or waits for one."""
        for connection in set(busy).intersection(wait(list(busy), seconds)):
            with _INTERRUPTS.held():
                done = busy[connection].popleft()  # a process counts one block after the other
                if not busy[connection]:
                    del busy[connection]
                done.tally = connection.recv()
                self._free.append(done.slot)


class _Slot(NamedTuple):
    """A place for a block: whose it is, which one of his, and the memory."""

    connection: Connection
    number: int
    memory: mmap


@dataclass(slots=True)
class _Begun:
    """A task without its block, which is in a slot, and its tally when there is one."""

    task: Task
    slot: _Slot
    tally: Tally | None = None


_Busy = dict[Connection, deque[_Begun]]


def _finished(begun: deque[_Begun]) -> Iterator[tuple[Task, Tally]]:
    """What is done, up to the first task that is not."""
    while begun and begun[0].tally is not None:
        yield begun[0].task, begun.popleft().tally  # type: ignore[misc]


def _work(
    connection: Connection, others: list[Connection], memory: Sequence[mmap], make_counter: Callable[[], Counter]
) -> None:
    """Counts until the other end is closed. Signals go to all processes; the one that reads the log sees to them."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    for other in others:
        other.close()
    counter = make_counter()
    with suppress(EOFError, ConnectionError):
        while True:
            slot, size, task = connection.recv()
            connection.send(counter.count(memory[slot][:size], task.log_format, task.path, task.before))
