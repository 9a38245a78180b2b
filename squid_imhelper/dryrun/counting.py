"""One block of a log: each line read, decided as Squid's would be, and counted. No files, no processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.memo import ENTRIES, LONGEST
from squid_imhelper.base.model import Decision, Request
from squid_imhelper.base.urls import normalise_address
from squid_imhelper.dryrun.bulk import Alike, Bulk, Line
from squid_imhelper.dryrun.tally import MOST_EXAMPLES, NOTHING, SHOWN, Case, Example, Tally
from squid_imhelper.logs.accesslog import (
    MAX_LINE,
    HeaderError,
    LogFormat,
    Reader,
    Record,
    UnreadableError,
    is_no_request,
    reader,
    to_request,
)
from squid_imhelper.logs.plain import PlainLines
from squid_imhelper.matching.engine import Engine, open_sites
from squid_imhelper.matching.expressions import Unlimited
from squid_imhelper.matching.matcher import Automaton
from squid_imhelper.matching.program import Program
from squid_imhelper.squid.layout import Field

Gap = Literal[
    "time", "client", "client_name", "user", "acl_only", "user_agent", "content_type", "query", "query_for_expressions",
    "who_denied",
]  # fmt: skip
"""What a log does not tell of a request. `client_name` is a name in place of an address, `acl_only` what a rewriter
does not see (user agent and content type), `query` one that is cut off and on which the decision hangs, or may hang
where there are expressions, `who_denied` whether it was the policy in force that denied what would be allowed."""


class Note(NamedTuple):
    """What a request counts as, and how it is shown."""

    outcome: str
    case: Case
    url: str
    evidence: str


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What there is to count of a request, and of all that are alike but for the time."""

    client: str
    notes: tuple[Note, ...]
    gaps: tuple[Gap, ...]
    error: str = ""


class Counter:
    """Counts what a policy makes of lines; with another policy in force, what it changes, too.

    Requests repeat, in a log even more than before a helper: verdicts are remembered as long as the same rules apply.
    """

    def __init__(self, program: Program, in_force: Program | None, now: float, *, rewriter: bool = False) -> None:
        """Takes the policy to be tried.

        Args:
            program: the policy to be tried.
            in_force: the one to compare with.
            now: the instant for lines that do not tell theirs.
            rewriter: whether only what a rewriter would see counts, no user agent and no content type.
        """
        self._engine = _engine(program)
        self._in_force = _engine(in_force) if in_force else None
        self._whatever_query = _WhateverQuery(program)
        self._has_expressions = any(tables.regex for tables in program.sites.values())
        engines = [engine for engine in (self._engine, self._in_force) if engine]
        self._bulk = Bulk(engines, rewriter=rewriter, whole_queries=self._has_expressions)
        self._now = now
        self._unseen: tuple[Field, ...] = ("user_agent", "content_type") if rewriter else ()
        self._remembered: dict[object, Verdict] = {}
        self._by_parts: dict[object, Verdict] = {}

    def count(self, block: bytes, log_format: LogFormat, path: str, before: int) -> Tally:
        """Returns the tally of a block of whole lines, behind so many lines of a file."""
        tally = Tally()
        plain = self._bulk.plain(log_format)
        read = reader(log_format)
        gaps: dict[tuple[Gap, ...], int] = {}
        for line in self._bulk.count(block, log_format, tally):
            tally.lines += 1
            verdict = plain and line.alike and self._count_known(line.text, line.alike, plain, tally)
            if not verdict:
                verdict = self._count_line(line, read, tally, _Place(path, before + line.number + 1))
            if verdict:
                gaps[verdict.gaps] = gaps.get(verdict.gaps, 0) + 1
        for kinds, times in gaps.items():
            for gap in kinds:
                tally.gaps.count(gap, times)
        return tally

    def _count_line(self, line: Line, read: Reader, tally: Tally, place: "_Place") -> Verdict | None:
        record = _read(line.text, read)
        if isinstance(record, _Skipped):
            tally.skipped.count(record.kind)
            if record.reason and len(tally.malformed) < MOST_EXAMPLES:
                tally.malformed.append(place.example(record.reason, line.text))
            return None
        tally.requests += 1
        tally.see(record.time)
        if is_no_request(record):
            tally.without_request += 1
            return None
        tally.denied += record.denied
        verdict = self._verdict(record, keep=len(line.text) <= LONGEST)
        tally.by_client.count(verdict.client)
        for note in verdict.notes:
            tally.outcomes[note.outcome].count(note.case, note.url, note.evidence, record.time)
        if verdict.error:
            tally.failed += 1
            if len(tally.failures) < MOST_EXAMPLES:
                tally.failures.append(place.example(verdict.error, line.text))
        elif line.alike:
            if len(self._by_parts) >= ENTRIES:
                self._by_parts.clear()
            self._by_parts[line.alike.parts] = verdict
        return verdict

    def _count_known(self, line: bytes, alike: Alike, plain: PlainLines, tally: Tally) -> Verdict | None:
        """Counts a line that is like one before but for time, path and client, as long as the same rules apply."""
        verdict = self._by_parts.get(alike.parts)
        if verdict is None:
            return None
        time, began = plain.times(line)
        if not self._is_settled(began):
            return None
        tally.requests += 1
        tally.see(time)
        tally.denied += alike.who.denied
        tally.by_client.count(alike.who.shown)
        for note in verdict.notes:
            case = note.case._replace(client=alike.who.shown)
            tally.outcomes[note.outcome].count(case, alike.url[:SHOWN].decode(), note.evidence, time)
        return verdict

    def _verdict(self, record: Record, *, keep: bool) -> Verdict:
        now = self._now if record.time is None else record.time - record.duration
        if not self._is_settled(now):
            self._remembered.clear()
            self._by_parts.clear()
        key = (tuple(record.fields.items()), record.denied, record.challenged, record.time is None, record.intercepted)
        verdict = self._remembered.get(key)
        if verdict is None:
            verdict = self._decided(record, now)
            if keep:
                if len(self._remembered) >= ENTRIES:
                    self._remembered.clear()
                self._remembered[key] = verdict
        return verdict

    def _is_settled(self, now: float) -> bool:
        return self._engine.is_settled(now) and (self._in_force is None or self._in_force.is_settled(now))

    def _decided(self, record: Record, now: float) -> Verdict:
        for field in self._unseen:
            record.fields.pop(field, b"")
        name = record.fields.get("client", NOTHING.encode()).decode("utf-8", "replace")
        try:
            request, asked, client = to_request(record)
        except ImhelperError as error:
            seen, wrong = _Seen(None, "", (normalise_address(name) or name)[:SHOWN]), str(error)
        else:
            seen, wrong = _Seen(request, asked, client[:SHOWN]), ""
        decision, slow = _decide(self._engine, seen.request, now)
        before = _decide(self._in_force, seen.request, now)[0] if self._in_force else decision
        notes = (*_outcome(decision, seen, record), *_changes(before, decision, seen, record))
        gaps = [*self._gaps(seen, decision, record, now)]
        if record.denied and any(note.outcome == "newly_allowed" for note in notes):
            gaps.append("who_denied")
        return Verdict(seen.client, notes, tuple(gaps), wrong or slow)

    def _gaps(self, seen: "_Seen", decision: Decision, record: Record, now: float) -> Iterator[Gap]:
        request = seen.request
        if request is None:
            return
        if record.time is None:
            yield "time"
        if request.client is None:
            yield "client" if seen.client == NOTHING else "client_name"
        if request.user is None:
            yield "user"
        if self._unseen:
            yield "acl_only"
        elif request.user_agent is None:
            yield "user_agent"
        if not self._unseen and request.content_type is None:
            yield "content_type"
        if seen.asked.endswith("?") and decision.action != "block":
            yield from self._query_gaps(request, now)

    def _query_gaps(self, request: Request, now: float) -> Iterator[Gap]:
        if self._whatever_query.blocks(request, now):
            yield "query"
        elif self._has_expressions:
            yield "query_for_expressions"


_OUTCOMES: Final = {"block": "blocked", "monitor": "monitored"}


def _outcome(decision: Decision, seen: "_Seen", record: Record) -> Iterator[Note]:
    if record.denied and decision.action == "block":
        yield _note("denied", seen, decision)
    elif not record.denied and decision.action != "allow":
        yield _note(_OUTCOMES[decision.action], seen, decision)


def _changes(before: Decision, after: Decision, seen: "_Seen", record: Record) -> Iterator[Note]:
    """What becomes other than it is. What was denied already is newly allowed if the policy may have denied it."""
    blocked_before, blocked = before.action == "block", after.action == "block"
    if blocked and not blocked_before and not record.denied:
        yield _note("newly_blocked", seen, after)
    if blocked_before and not blocked and not record.challenged:
        yield _note("newly_allowed", seen, before)


class _Seen(NamedTuple):
    """A request as it is shown; without one where there is no host in the URL."""

    request: Request | None
    asked: str
    client: str


def _note(outcome: str, seen: _Seen, decision: Decision) -> Note:
    host = seen.request.target.host if seen.request else ""
    case = Case(decision.service or NOTHING, decision.rule or NOTHING, seen.client, host[:SHOWN] or NOTHING)
    evidence = f"{decision.evidence.kind} {decision.evidence.value}" if decision.evidence else ""
    return Note(outcome, case, seen.asked[:SHOWN], evidence[:SHOWN])


@dataclass(frozen=True, slots=True)
class _Skipped:
    """A line that is no request; with a reason only where that needs to be told."""

    kind: str
    reason: str = ""


_BLANK: Final = _Skipped("blank")
_COMMENT: Final = _Skipped("comment")
_HEADER: Final = _Skipped("header")
_TOO_LONG: Final = _Skipped("malformed", f"it is longer than {MAX_LINE} bytes")


def _read(line: bytes, read: Reader) -> Record | _Skipped:
    line = line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r")
    if not line.strip():
        return _BLANK
    if line.startswith(b"#"):
        return _COMMENT
    if len(line) >= MAX_LINE:
        return _TOO_LONG
    try:
        return read(line)
    except HeaderError:
        return _HEADER
    except UnreadableError as error:
        return _Skipped("malformed", str(error))


def _engine(program: Program) -> Engine:
    """One that gives its expressions the time they need: how long others took must not change an answer."""
    return Engine(program, sites=open_sites(program, Unlimited()))


def _decide(engine: Engine, request: Request | None, now: float) -> tuple[Decision, str]:
    """Returns what the policy says, and why it cannot where it cannot."""
    on_error = engine.program.response.on_error
    if request is None:
        return Decision(on_error), ""
    try:
        return engine.decide(request, now), ""
    except ImhelperError as error:
        return Decision(on_error), str(error)


class _Place(NamedTuple):
    """Where a line stands."""

    path: str
    number: int

    def example(self, reason: str, line: bytes) -> Example:
        return Example(self.path, self.number, reason, line[:SHOWN].decode("utf-8", "backslashreplace"))


class _WhateverQuery:
    """The same policy, if every query were what signatures ask for."""

    def __init__(self, program: Program) -> None:
        asking = {s: s._replace(url=s.url._replace(query="")) for s in program.signatures if s.url and s.url.query}
        self._paths = Automaton((s, s.url.path.lower()) for s in asking.values() if s.url)
        self._engine = _engine(program._replace(signatures=tuple(asking.get(s, s) for s in program.signatures)))

    def blocks(self, request: Request, now: float) -> bool:
        """Whether a request would be blocked."""
        path = request.target.path
        return (
            bool(path and self._paths.search(path.lower())) and _decide(self._engine, request, now)[0].action == "block"
        )
