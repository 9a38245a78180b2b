"""Where the engine comes from, and how a new one takes its place.

A policy is compiled in a child process, whatever its lists hold, and the helper goes on answering; what comes back is a
program in memory that is mapped and put in force between two batches, which takes a few milliseconds. A program file is
mapped straight away. So what answers Squid never reads a source, and never waits for one.

A file is looked at once a second. One that has been replaced is read at once; one that is being written in place, when
it has rested for a second. What cannot be used is said once, and the old engine stays.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import BinaryIO, Final

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import BUILT_IN
from squid_imhelper.helper.chores import deafen_child
from squid_imhelper.helper.counters import Counters
from squid_imhelper.helper.notices import Notices
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.program import Program
from squid_imhelper.matching.programfile import is_program, load_program, map_program, write_program

FAULT: Final = "internal fault, please report"

FIRST_RETRY: Final = 10.0
LAST_RETRY: Final = 60.0
"""Seconds behind which a policy that was refused is tried again, though its file is the same; doubled each time."""

GONE: Final = 10
"""Seconds behind which it is told that a policy is gone; who edits one may put it away for a moment."""

Stamp = tuple[int, int, int, int]
"""Inode, modified, changed, size."""
NO_STAMP: Final[Stamp] = (0, 0, 0, 0)
Stamps = dict[str, Stamp | None]
"""By path; None for a file that is not there."""
Builder = Callable[[Callable[[str], None]], Program]
"""Compiles a policy, hands its warnings to a function, and raises ImhelperError where it cannot be used."""


class Build:
    """A child that compiles a policy. Its messages and its program come back through memory that has no name."""

    def __init__(self, build: Builder) -> None:
        self._program = _memory("program")
        self._messages = _memory("messages")
        try:
            self._pid = os.fork()
        except OSError:
            self._program.close()
            self._messages.close()
            raise
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
        return None, said or "what compiles the policy has ended without a word"

    def kill(self) -> None:
        """Ends the child."""
        with suppress(OSError):  # it has ended by itself
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._program.close()
        self._messages.close()


def _memory(name: str) -> BinaryIO:
    return os.fdopen(os.memfd_create(name), "w+b")


def _compile_and_exit(build: Builder, file: BinaryIO, messages: BinaryIO) -> None:
    status = 1
    try:
        deafen_child()
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
    kept = [2, *sorted(file.fileno() for file in keep), os.sysconf("SC_OPEN_MAX")]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # and 1 is stderr already
    for before, after in pairwise(kept):
        os.closerange(before + 1, after)


class EngineSource:
    """The engine in force: none until a policy can be used, and from then on always one."""

    def __init__(self, path: str, build: Builder, notices: Notices, counters: Counters) -> None:
        self._path = path
        self._build_program = build
        self._notices = notices
        self._counters = counters
        self._tried: Stamps = {path: None} if path else {}
        self._seen: Stamps = {}
        self._begun = 0.0
        self._rounds_gone = 0
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
            self._tried = dict.fromkeys(self._tried, NO_STAMP)  # and once more behind the one at work

    def stop(self) -> None:
        """Ends the child that is at work, if there is one."""
        if self._build is not None:
            self._build.kill()
            self._build = None

    def _is_due(self) -> bool:
        stamps = self._stamps()
        if stamps == self._tried:
            return time.monotonic() >= self._retry_at
        if self.engine is not None and stamps[self._path] is None:  # what vanishes changes nothing
            self._rounds_gone += 1
            if self._rounds_gone == GONE:
                self._notices.say(f"{self._path} is gone; the policy stays in force, but not behind the next start")
            return False
        self._rounds_gone = 0
        resting = stamps == self._seen
        self._seen = stamps
        return resting or _all_replaced(self._tried, stamps)

    def _stamps(self) -> Stamps:
        """The stamps of the policy, and of its lists; a list that has vanished counts as unchanged."""
        lists = {path: _stamp(path) or before for path, before in self._tried.items()}
        return {**lists, self._path: _stamp(self._path)} if self._path else {}

    def _begin(self) -> None:
        self._tried = self._seen = self._stamps()
        self._begun = time.time()
        self._retry_at = float("inf")
        try:
            if self._path and is_program(self._path):
                self._take(load_program(self._path), ())
            else:
                self._build = Build(self._build_program)
        except Exception as error:  # a helper that ends takes Squid down
            if self._stamps() == self._tried:  # else it was replaced meanwhile, and the next step begins anew
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
            stamps = self._stamps()
            if not wait and (stamps != self._tried if program is None else not _all_replaced(self._tried, stamps)):
                return  # it may have been read while it was written: the next step begins anew
            if program is None:
                self._refuse(said)
                return
            if said:
                self._notices.say(said)
            self._take(program, program.files)
        except Exception as error:
            self._build = None
            self._refuse(_sentence(error))

    def _take(self, program: Program, files: Sequence[str]) -> None:
        """Puts a program in force, and watches the files that it was made of."""
        engine = Engine(program)
        if self.engine is not None or self._said:
            self._counters.reloads["taken"] += 1
            self._notices.say(f"{self._path or BUILT_IN} is in force now")
        self.engine = engine
        self._said = ""
        self._counters.policy_loaded = time.time()
        watched = [self._path, *files] if self._path else []
        self._tried = self._seen = {path: self._tried.get(path) or self._stamp_before(path) for path in watched}

    def _stamp_before(self, path: str) -> Stamp:
        """The stamp of a list that was read just now; of one that may have changed since, none that it can have."""
        stamp = _stamp(path)
        return stamp if stamp and stamp[2] < (self._begun - 1) * 1e9 else NO_STAMP

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
        status = os.stat(path)  # noqa: PTH116  # without pathlib, for the sake of the start
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _all_replaced(before: Stamps, now: Stamps) -> bool:
    """Whether every file that has changed, if any, is another file: then it has been put there as a whole."""
    changed = [(before[path], stamp) for path, stamp in now.items() if before[path] != stamp]
    return all(old is None or new is None or old[0] != new[0] for old, new in changed)
