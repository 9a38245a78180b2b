"""Where the engine comes from, and how a new one takes its place.

A policy is compiled in a child process, whatever its lists hold, and the helper goes on answering; what comes back is a
program in memory that is mapped and put in force between two batches, which takes a few milliseconds. A program file is
mapped straight away. So what answers Squid never reads a source, and never waits for one.

A file is looked at once a second. One that has been replaced is read at once; one that is being written in place, when
it has rested for a second. What cannot be used is said once, and the old engine stays.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import BUILT_IN
from squid_imhelper.helper.chores import restore_signals
from squid_imhelper.helper.counters import Counters
from squid_imhelper.helper.notices import Notices
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.program import Program
from squid_imhelper.matching.programfile import is_program, load_program, map_program, write_program

FAULT: Final = "internal fault, please report"

FIRST_RETRY: Final = 10.0
LAST_RETRY: Final = 600.0
"""Seconds behind which a policy that was refused is tried again, though its file is the same; doubled each time."""

Stamp = tuple[int, int, int, int]
"""Inode, modified, changed, size."""
Stamps = list[Stamp | None]
Builder = Callable[[Callable[[str], None]], Program]
"""Compiles a policy, hands its warnings to a function, and raises ImhelperError where it cannot be used."""


class Build:
    """A child that compiles a policy. Its messages and its program come back through memory that has no name."""

    def __init__(self, build: Builder) -> None:
        self._program = _memory("program")
        self._messages = _memory("messages")
        self._pid = os.fork()
        if self._pid == 0:
            _compile_and_exit(build, self._program, self._messages)

    def result(self, *, wait: bool) -> tuple[Program | None, str] | None:
        """Returns the program, if there is one, and what is to be said; None while the child is at work.

        Raises:
            ImhelperError: the child has ended in a way that it could not explain.
        """
        pid, status = os.waitpid(self._pid, 0 if wait else os.WNOHANG)
        if pid == 0:
            return None
        with self._messages, self._program:
            self._messages.seek(0)
            said = self._messages.read().decode("utf-8", "surrogateescape").rstrip("\n")
            if status == 0:
                return map_program(self._program, "the compiled policy"), said
        if os.WIFSIGNALED(status):
            raise ImhelperError(f"what compiles the policy was ended by signal {os.WTERMSIG(status)}")
        return None, said


def _memory(name: str) -> BinaryIO:
    return os.fdopen(os.memfd_create(name), "w+b")


def _compile_and_exit(build: Builder, file: BinaryIO, messages: BinaryIO) -> None:
    status = 1
    try:
        restore_signals()
        _let_go_of_squid(file, messages)
        with messages, file:

            def say(text: str) -> None:
                messages.write(f"{text}\n".encode("utf-8", "surrogateescape"))

            try:
                write_program(build(say), file)
                status = 0
            except ImhelperError as error:
                say(str(error))
            except Exception as error:
                say(f"{FAULT}: {error!r}")
    finally:
        os._exit(status)


def _let_go_of_squid(*keep: BinaryIO) -> None:
    """Closes what the helper talks to Squid through: Squid waits for the last one to close it."""
    kept = {0, 1, 2, *(file.fileno() for file in keep)}
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # and 1 is stderr already
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in kept:
            with suppress(OSError):
                os.close(int(entry.name))


class EngineSource:
    """The engine in force: none until a policy can be used, and from then on always one."""

    def __init__(self, path: str, build: Builder, notices: Notices, counters: Counters) -> None:
        self._path = path
        self._build_program = build
        self._notices = notices
        self._counters = counters
        self._watched = [path] if path else []
        self._tried: Stamps = []
        self._seen: Stamps = []
        self._build: Build | None = None
        self._said = ""
        self._retry_at = float("inf")
        self._patience = FIRST_RETRY
        self.engine: Engine | None = None

    def start(self) -> None:
        """Takes up the policy, and waits until it is there or refused."""
        self._begin()
        self._finish(wait=True)

    def check(self) -> None:
        """Takes a step: takes over what a child has compiled, or begins anew when a file has changed."""
        if self._build is not None:
            self._finish(wait=False)
        elif self._is_due():
            self._begin()

    def reload(self) -> None:
        """Takes up the policy anew, changed or not."""
        if self._build is None:
            self._begin()
        else:
            self._tried = []  # and once more behind the one at work

    def _is_due(self) -> bool:
        stamps = [_stamp(path) for path in self._watched]
        if stamps == self._tried:
            return time.monotonic() >= self._retry_at
        if self.engine is not None and None in stamps:  # what vanishes changes nothing
            return False
        resting = stamps == self._seen
        self._seen = stamps
        return resting or _all_replaced(self._tried, stamps)

    def _begin(self) -> None:
        self._tried = self._seen = [_stamp(path) for path in self._watched]
        self._retry_at = float("inf")
        try:
            if self._path and is_program(Path(self._path)):
                self._take(load_program(Path(self._path)))
            else:
                self._build = Build(self._build_program)
        except Exception as error:  # a helper that ends takes Squid down
            self._refuse(_sentence(error))

    def _finish(self, *, wait: bool) -> None:
        if self._build is None:
            return
        try:
            result = self._build.result(wait=wait)
            if result is None:
                return
            self._build = None
            program, said = result
            if not wait and not _all_replaced(self._tried, [_stamp(path) for path in self._watched]):
                return  # it may have been read while it was written: the next step begins anew
            if program is None:
                self._refuse(said)
                return
            if said:
                self._notices.say(said)
            self._take(program)
        except Exception as error:
            self._build = None
            self._refuse(_sentence(error))

    def _take(self, program: Program) -> None:
        engine = Engine(program)
        if self.engine is not None or self._said:
            self._counters.reloads["taken"] += 1
            self._notices.say(f"{self._path or BUILT_IN} is in force now")
        self.engine = engine
        self._said = ""
        self._counters.policy_loaded = time.time()
        if self._path:
            self._watched = [self._path, *program.files]
            self._tried = self._seen = [*self._tried[:1], *(_stamp(path) for path in program.files)]

    def _refuse(self, reason: str) -> None:
        """Says why, once; what stands in the way may be in another file, so it is tried again."""
        self._patience = min(2 * self._patience, LAST_RETRY) if reason == self._said else FIRST_RETRY
        self._retry_at = time.monotonic() + self._patience
        if reason == self._said:
            return
        self._said = reason
        self._counters.reloads["refused"] += 1
        state = (
            "no policy is in force"
            if self.engine is None
            else f"{self._path} is refused, and the old policy stays in force"
        )
        self._notices.say(f"{state}: {reason}")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot start what compiles the policy: {error.strerror}"
    return str(error) if isinstance(error, ImhelperError) else f"{FAULT}: {error!r}"


def _stamp(path: str) -> Stamp | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _all_replaced(before: Stamps, now: Stamps) -> bool:
    """Whether every file that has changed, if any, is another file: then it has been put there as a whole."""
    if len(before) != len(now):
        return False
    changed = [(old, new) for old, new in zip(before, now, strict=True) if old != new]
    return all(old is None or new is None or old[0] != new[0] for old, new in changed)
