"""The loop between Squid and the engine: read a batch, answer each line, write once.

This is the only module that touches the wire's file descriptors. Squid gives a helper one socket as fd 0 and fd 1
(ipc.cc) and cache.log as fd 2. fd 1 is put aside at once and pointed at stderr, so that no stray print can reach Squid,
to which it would be fatal. The helper ends when Squid closes its side, and for no other reason.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from squid_imhelper.engine import Engine
from squid_imhelper.errors import ImhelperError, ProtocolError
from squid_imhelper.layout import Layout
from squid_imhelper.model import Decision, Request, Response
from squid_imhelper.wire import Answer, Interface, LineBuffer, reply, split_channel, template_values

READ_SIZE: Final = 1 << 18
NOTICE_PERIOD: Final = 60.0
"""Seconds in which the same kind of notice is written once; a client can make any number of bad requests."""


class Notices:
    """One line on stderr, which is Squid's cache.log, for what somebody should know; a flood is only counted."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix = f"{name}[{os.getpid()}]: "
        self._clock = clock
        self._next: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Writes a line, now."""
        line = self._prefix + text.replace("\n", f"\n{self._prefix}") + "\n"
        with suppress(OSError):  # a log that cannot be written must cost no answer
            os.write(2, line.encode("utf-8", "backslashreplace"))

    def say_at_times(self, kind: str, text: str) -> None:
        """Writes a line unless one of this kind was written a short time ago."""
        now = self._clock()
        if now < self._next.get(kind, 0.0):
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return
        self._next[kind] = now + NOTICE_PERIOD
        held_back = self._held_back.pop(kind, 0)
        self.say(text + (f" (and {held_back} more like this)" if held_back else ""))


Stamp = tuple[int, int, int, int]


class EngineSource:
    """Where the engine comes from: built at start, or, where the policy is broken then, as soon as it is mended."""

    def __init__(self, load: Callable[[], Engine] | None, watched: Path | None, notices: Notices) -> None:
        self._load = load
        self._watched = watched
        self._notices = notices
        self._stamp: Stamp | None = None
        self.engine: Engine | None = None
        if load is not None:
            self._try(load)

    def refresh(self) -> None:
        """Tries again when there is no engine and the policy file has changed since."""
        if self.engine is not None or self._load is None or self._watched is None:
            return
        if _stamp(self._watched) != self._stamp:
            self._try(self._load)
            if self.engine is not None:
                self._notices.say(f"{self._watched} is in force now")

    def _try(self, load: Callable[[], Engine]) -> None:
        self._stamp = _stamp(self._watched) if self._watched else None
        try:
            self.engine = load()
        except ImhelperError as error:
            self._notices.say(f"no policy is in force: {error}")
        except Exception as error:  # a helper that ends before its first answer takes Squid down
            self._notices.say(f"no policy is in force: internal fault, please report: {error!r}")


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


@dataclass(frozen=True, slots=True)
class Options:
    """How a helper was started. Without a layout nothing can be read; without `on_error` the policy's own counts."""

    layout: Layout | None
    channels: bool = True
    intercepted: bool = False
    on_error: Literal["allow", "block"] | None = None
    dry_run: bool = False


class Helper:
    """Answers lines. Whatever comes in, `answer` returns one answer and raises nothing."""

    def __init__(self, interface: Interface, source: EngineSource, options: Options, notices: Notices) -> None:
        self._interface = interface
        self._source = source
        self._options = options
        self._notices = notices

    def answer_all(self, lines: list[bytes]) -> bytes:
        """Returns the answers to a batch."""
        self._source.refresh()
        return b"".join(map(self.answer, lines))

    def answer(self, line: bytes) -> bytes:
        """Returns one line; nothing where a channel-ID is expected and missing."""
        split = split_channel(line, expected=self._options.channels)
        if split is None:
            self._notices.say_at_times(
                "channel",
                "a line without a channel-ID gets no answer, since any would abort Squid: "
                "set concurrency= in squid.conf, or start the helper with --no-channel-id",
            )
            return b""
        channel, rest = split
        engine = self._source.engine
        layout = self._options.layout
        if engine is None or layout is None:
            return self._failed(channel, engine)
        try:
            return self._answer_query(channel, rest, engine, layout)
        except ImhelperError as error:
            kind = "protocol" if isinstance(error, ProtocolError) else "policy"
            self._notices.say_at_times(kind, f"{error}; answered as on_error says")
        except Exception as error:  # a fault of ours must not become an outage of the proxy
            self._notices.say_at_times("fault", f"internal fault, please report: {error!r}; answered as on_error says")
        return self._failed(channel, engine)

    def _answer_query(self, channel: bytes, line: bytes, engine: Engine, layout: Layout) -> bytes:
        query = self._interface.decode(line, layout, self._options.intercepted)
        request, arguments = query.request, query.arguments
        decision = _decide_services(engine, request, arguments) if arguments else engine.decide(request)
        if decision.action == "allow":
            return reply(channel, "ERR")
        values = template_values(decision, query, engine.service_name(decision.service))
        return self._encode(channel, decision, values, engine, connect=request.method == "CONNECT")

    def _failed(self, channel: bytes, engine: Engine | None) -> bytes:
        decision = Decision(self._options.on_error or (engine.program.response.on_error if engine else "allow"))
        return self._encode(channel, decision, {}, engine)

    def _encode(
        self,
        channel: bytes,
        decision: Decision,
        values: Mapping[str, str],
        engine: Engine | None,
        *,
        connect: bool = False,
    ) -> bytes:
        response = engine.program.response if engine else Response()
        dry_run = self._options.dry_run or response.dry_run
        return self._interface.encode(channel, Answer(decision, values, response, connect, dry_run))


def _decide_services(engine: Engine, request: Request, words: tuple[str, ...]) -> Decision:
    try:
        return engine.decide_services(request, words)
    except ImhelperError as error:
        hint = "an argument of the ACL; or --format has fewer fields than squid.conf"
        raise ProtocolError(f"{error} ({hint})") from None


def guard_descriptors() -> int:
    """Takes stdout for the wire and points everything else that writes there at stderr.

    Returns:
        The descriptor to answer on.
    """
    for fd in (0, 1, 2):  # one that is closed would be given to the next file that is opened
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    wire = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return wire


def serve(helper: Helper, read_fd: int, write_fd: int) -> None:
    """Answers until the other side closes."""
    buffer = LineBuffer()
    try:
        while data := _read(read_fd):
            _write(write_fd, helper.answer_all(buffer.feed(data)))
        if rest := buffer.rest():
            _write(write_fd, helper.answer_all([rest]))
    except OSError:
        pass  # Squid is gone, and nobody waits for an answer


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, READ_SIZE)
        except BlockingIOError:
            select.select([fd], [], [])


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])
