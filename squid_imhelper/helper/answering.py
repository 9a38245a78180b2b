"""Answers: from one line of Squid's to the line that goes back, whatever comes in."""

import time
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, Protocol

from squid_imhelper.base.errors import ImhelperError, ProtocolError
from squid_imhelper.base.model import Decision, Request, Response
from squid_imhelper.helper.audit import Sink, audit_line
from squid_imhelper.helper.counters import Counters
from squid_imhelper.helper.notices import Notices
from squid_imhelper.helper.recall import Answered, Recall, Reply
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.expressions import ExpressionTimeoutError
from squid_imhelper.squid.layout import Layout
from squid_imhelper.squid.rows import rows_of
from squid_imhelper.squid.wire import REWRITE, Answer, Interface, Query, reply, split_channel, template_values


class Options(NamedTuple):
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
    """Answers lines. Whatever comes in, each line gets one answer, and nothing is raised."""

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
        self._recall: Recall | None = None
        self._recalls: Engine | None = None
        layout = options.layout
        self._rows = layout and rows_of(layout, channels=options.channels, rewriter=interface is REWRITE)

    def answer_all(self, block: bytes) -> bytes:
        """Returns the answers to a batch: whole lines, each with its LF."""
        if not block:
            return b""
        begun = time.perf_counter()
        self._now = time.time()
        engine = self._source.engine
        if engine is not self._recalls:
            self._recalls = engine
            self._recall = self._make_recall(engine)
        if self._recall is None:
            answers = list(map(self.answer, block.split(b"\n")[:-1]))
        else:
            answers = self._recall.answer(block, self._now)
        self._counters.batch(len(answers), time.perf_counter() - begun)
        return b"".join(answers)

    def _make_recall(self, engine: Engine | None) -> Recall | None:
        layout, decode, intercepted = self._options.layout, self._interface.decode, self._options.intercepted
        if engine is None or layout is None or self._rows is None:
            return None
        quiet = Reply(self._rows.behind_channel + reply(b"", "ERR"), self._counters.decisions_of("allow", None, None))
        return Recall(self._rows, engine, lambda line: decode(line, layout, intercepted), self._answer, quiet)

    def write_audit(self) -> None:
        """Writes what the last batch left for the audit log."""
        if self._audit is not None and self._audit_lines:
            self._counters.audit_lost += self._audit.write(self._audit_lines)
            self._audit_lines.clear()

    def answer(self, line: bytes) -> bytes:
        """Returns one line; nothing where a channel-ID is expected and missing."""
        return self._answer(line).reply

    def _answer(self, line: bytes) -> Answered:
        split = split_channel(line, expected=self._options.channels)
        if split is None:
            self._count_error(
                "channel",
                "a line without a channel-ID gets no answer, since any would abort Squid: "
                "set concurrency= in squid.conf, or start the helper with --no-channel-id",
            )
            return Answered(b"")
        channel, rest = split
        engine = self._source.engine
        layout = self._options.layout
        if engine is None or layout is None:
            self._counters.errors["no policy" if engine is None else "no layout"] += 1
            return Answered(self._failed(channel, engine))
        try:
            return self._answer_query(channel, rest, engine, layout)
        except ImhelperError as error:
            self._count_error(_KINDS.get(type(error), "policy"), f"{error}; answered as on_error says")
        except Exception as error:  # a fault of ours must not become an outage of the proxy
            self._count_error("fault", f"internal fault, please report: {error!r}; answered as on_error says")
        return Answered(self._failed(channel, engine))

    def _answer_query(self, channel: bytes, line: bytes, engine: Engine, layout: Layout) -> Answered:
        query = self._interface.decode(line, layout, self._options.intercepted)
        request, arguments = query.request, query.arguments
        if arguments:
            decision = _decide_services(engine, request, arguments)
            action = "matched" if decision.action == "block" else "allow"
        else:
            decision = engine.decide(request, self._now)
            action = decision.action
        counted = self._counters.decisions_of(action, decision.service, decision.rule)
        counted[0] += 1
        lasting = not arguments
        if decision.action == "allow":
            return Answered(reply(channel, "ERR"), request, counted if lasting else None)
        if self._audit is not None and not arguments:
            self._audit_lines.append(self._audit_line(engine, query, decision))
            lasting = False
        values = template_values(decision, query, engine.service_name(decision.service), self._now)
        answer = self._answer_to(decision, values, engine, connect=request.method == "CONNECT")
        shows = self._interface.values_in(answer) - ({"service_name"} if decision.service else set())
        return Answered(self._interface.encode(channel, answer), request, counted if lasting else None, shows)

    def _audit_line(self, engine: Engine, query: Query, decision: Decision) -> str:
        dry_run = self._options.dry_run or engine.program.response.dry_run
        settings = engine.program.audit
        return audit_line(settings, query.request, query.asked, decision, self._now, dry_run=dry_run)

    def _count_error(self, kind: str, text: str) -> None:
        self._counters.errors[kind] += 1
        self._notices.say_at_times(kind, text)

    def _failed(self, channel: bytes, engine: Engine | None) -> bytes:
        decision = Decision(self._options.on_error or (engine.program.response.on_error if engine else "allow"))
        return self._interface.encode(channel, self._answer_to(decision, {}, engine))

    def _answer_to(
        self, decision: Decision, values: Mapping[str, str], engine: Engine | None, *, connect: bool = False
    ) -> Answer:
        response = engine.program.response if engine else Response()
        return Answer(decision, values, response, connect, self._options.dry_run or response.dry_run)


_KINDS: Final[Mapping[type, str]] = {ProtocolError: "protocol", ExpressionTimeoutError: "expression"}


def _decide_services(engine: Engine, request: Request, words: tuple[str, ...]) -> Decision:
    try:
        return engine.decide_services(request, words)
    except ImhelperError as error:
        hint = "an argument of the ACL; or --format has fewer fields than squid.conf"
        raise ProtocolError(f"{error} ({hint})") from None
