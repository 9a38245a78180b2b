"""The loop between Squid and the engine: read a batch, answer each line, write once.

This is the only module that touches the wire's file descriptors. Squid gives a helper one socket as fd 0 and fd 1
(ipc.cc) and cache.log as fd 2. fd 1 is put aside at once and pointed at stderr, so that no stray print can reach Squid,
to which it would be fatal. The helper ends when Squid closes its side, and for no other reason.
"""

import os
import select
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from squid_imhelper.base.errors import ImhelperError, ProtocolError
from squid_imhelper.base.model import Decision, Request, Response
from squid_imhelper.helper.audit import Sink, audit_line
from squid_imhelper.helper.chores import Chores
from squid_imhelper.helper.counters import Counters
from squid_imhelper.helper.notices import Notices
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.expressions import ExpressionTimeoutError
from squid_imhelper.squid.layout import Layout
from squid_imhelper.squid.wire import Answer, Interface, LineBuffer, Query, reply, split_channel, template_values

READ_SIZE: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Options:
    """How a helper was started. Without a layout nothing can be read; without `on_error` the policy's own counts."""

    layout: Layout | None
    channels: bool = True
    intercepted: bool = False
    on_error: Literal["allow", "block"] | None = None
    dry_run: bool = False


class Engines(Protocol):
    """Where the engine comes from; another one may be there for the next batch."""

    @property
    def engine(self) -> Engine | None:
        """The engine in force; None where there is no policy that can be used."""


class Helper:
    """Answers lines. Whatever comes in, `answer` returns one answer and raises nothing."""

    def __init__(
        self,
        interface: Interface,
        source: Engines,
        options: Options,
        notices: Notices,
        counters: Counters,
        audit: Sink | None = None,
    ) -> None:
        self._interface = interface
        self._source = source
        self._options = options
        self._notices = notices
        self._counters = counters
        self._audit = audit
        self._audit_lines: list[str] = []
        self._now = 0.0

    def answer_all(self, lines: list[bytes]) -> bytes:
        """Returns the answers to a batch."""
        if not lines:
            return b""
        begun = time.perf_counter()
        self._now = time.time()
        answers = b"".join(map(self.answer, lines))
        self._counters.batch(len(lines), time.perf_counter() - begun)
        return answers

    def write_audit(self) -> None:
        """Writes what the last batch left for the audit log."""
        if self._audit is not None and self._audit_lines:
            self._counters.audit_lost += self._audit.write(self._audit_lines)
            self._audit_lines.clear()

    def answer(self, line: bytes) -> bytes:
        """Returns one line; nothing where a channel-ID is expected and missing."""
        split = split_channel(line, expected=self._options.channels)
        if split is None:
            self._count_error(
                "channel",
                "a line without a channel-ID gets no answer, since any would abort Squid: "
                "set concurrency= in squid.conf, or start the helper with --no-channel-id",
            )
            return b""
        channel, rest = split
        engine = self._source.engine
        layout = self._options.layout
        if engine is None or layout is None:
            self._counters.errors["no policy" if engine is None else "no layout"] += 1
            return self._failed(channel, engine)
        try:
            return self._answer_query(channel, rest, engine, layout)
        except ImhelperError as error:
            self._count_error(_KINDS.get(type(error), "policy"), f"{error}; answered as on_error says")
        except Exception as error:  # a fault of ours must not become an outage of the proxy
            self._count_error("fault", f"internal fault, please report: {error!r}; answered as on_error says")
        return self._failed(channel, engine)

    def _answer_query(self, channel: bytes, line: bytes, engine: Engine, layout: Layout) -> bytes:
        query = self._interface.decode(line, layout, self._options.intercepted)
        request, arguments = query.request, query.arguments
        if arguments:
            decision = _decide_services(engine, request, arguments)
            action = "matched" if decision.action == "block" else "allow"
        else:
            decision = engine.decide(request, self._now)
            action = decision.action
        self._counters.decisions[action, decision.service, decision.rule] += 1
        if decision.action == "allow":
            return reply(channel, "ERR")
        if self._audit is not None and not arguments:
            self._audit_lines.append(self._audit_line(engine, query, decision))
        values = template_values(decision, query, engine.service_name(decision.service), self._now)
        return self._encode(channel, decision, values, engine, connect=request.method == "CONNECT")

    def _audit_line(self, engine: Engine, query: Query, decision: Decision) -> str:
        dry_run = self._options.dry_run or engine.program.response.dry_run
        settings = engine.program.audit
        return audit_line(settings, query.request, query.asked, decision, self._now, dry_run=dry_run)

    def _count_error(self, kind: str, text: str) -> None:
        self._counters.errors[kind] += 1
        self._notices.say_at_times(kind, text)

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


_KINDS: Final[Mapping[type, str]] = {ProtocolError: "protocol", ExpressionTimeoutError: "expression"}


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


def serve(helper: Helper, read_fd: int, write_fd: int, chores: Chores) -> None:
    """Answers until the other side closes."""
    buffer = LineBuffer()
    try:
        chores.begin_waiting()
        while data := _read(read_fd):
            chores.end_waiting()
            _answer(helper, buffer.feed(data), write_fd)
            chores.begin_waiting()
        chores.end_waiting()
        if rest := buffer.rest():
            _answer(helper, [rest], write_fd)
    except OSError:
        chores.end_waiting()  # Squid is gone, and nobody waits for an answer


def _answer(helper: Helper, lines: list[bytes], write_fd: int) -> None:
    """Answers a batch; the log comes second, so that nobody waits for it."""
    try:
        _write(write_fd, helper.answer_all(lines))
    finally:
        helper.write_audit()


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
