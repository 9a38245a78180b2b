"""Lines that are plain and nothing, counted many at once; what is left of a block goes line by line.

Of requests that are nothing there is only to count how many there were of whom and when, and what the log does not tell
of them. So no request is built: the fields of many lines are taken as columns, the hosts (user agents, ...) of all of
them are looked up in what is known, and what is kept is counted by what Python has for that.
"""

import re
from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress, count
from operator import and_, not_
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.memo import ENTRIES, memoised
from squid_imhelper.base.urls import DEFAULT_PORTS, Target, normalise_address, parse_connect, parse_squid_url
from squid_imhelper.dryrun.screening import Known, Screen
from squid_imhelper.dryrun.tally import NOTHING, SHOWN, Tally
from squid_imhelper.logs.accesslog import LogFormat, denial
from squid_imhelper.logs.plain import Columns, PathText, PlainLines, plain_lines
from squid_imhelper.matching.engine import Engine

PIECE: Final = 1 << 17
"""Bytes that are taken apart at a time: what comes of them should stay in the processor's cache."""
ABSENT: Final = b"-"
HOUR: Final = 3600


class Who(NamedTuple):
    """Who asked, by what stands in a log: as he is shown, and his address if that is known.

    `denied` is whether Squid denied it, `challenged` whether only for want of a name.
    """

    shown: str
    address: str | None
    denied: bool
    challenged: bool

    @property
    def gap(self) -> Literal["", "client", "client_name"]:
        """What is not known of the client."""
        if self.address is not None:
            return ""
        return "client" if self.shown == NOTHING else "client_name"


class Alike(NamedTuple):
    """A line for which its path is of no account: what was asked for, who asked, and the rest that decides about it.

    Lines of the same parts are decided alike at the same time, whoever asked.
    """

    parts: tuple[Hashable, ...]
    who: Who
    url: bytes


class Line(NamedTuple):
    """A line that is left, its number, and what tells which others it is like."""

    number: int
    text: bytes
    alike: Alike | None = None


@dataclass(slots=True)
class _Kept:
    """What is counted of the lines of a block that are nothing: `absent` is how often a field was not there."""

    times: list[bytes] = field(default_factory=list)
    who: Counted[bytes] = field(default_factory=Counted)
    absent: Counted[str] = field(default_factory=Counted)

    def add(self, columns: Columns, flags: Sequence[bool]) -> None:
        """Adds the lines that are flagged."""
        times = list(compress(columns.time, flags))
        self.times += times
        self.who.update(compress(columns.who, flags))
        for name in ("user", "user_agent", "content_type"):
            column = getattr(columns, name)
            self.absent[name] += list(compress(column, flags)).count(ABSENT) if column else len(times)


class Bulk:
    """Counts what is nothing to all of some engines."""

    def __init__(self, engines: Sequence[Engine], *, rewriter: bool, whole_queries: bool) -> None:
        """Takes the engines.

        Args:
            engines: that of the policy to be tried, and of the one to compare with.
            rewriter: whether user agent and content type do not count.
            whole_queries: whether queries that have been cut off are to be left.
        """
        self._screens = [Screen(engine) for engine in engines]
        self._is_of_use = all(screen.is_of_use for screen in self._screens)
        self._rewriter = rewriter
        self._whole_queries = whole_queries
        self._formats: dict[LogFormat, tuple[PlainLines | None, PlainLines | None]] = {}
        queries = frozenset[str]().union(*(screen.queries for screen in self._screens))
        self._queries = [re.compile(query) for query in sorted(queries)]
        self._is_no_path = Known(self._paths_are_alike)
        self._kind_of = memoised(self._read_kind)
        self._checks = {"target": Known(self._is_no_target)}
        if not rewriter:
            self._checks |= {
                "user_agent": Known(self._is_no_agent),
                "content_type": Known(self._is_no_content_type),
            }
        if any(screen.asks_who for screen in self._screens):
            self._checks |= {"who": Known(self._is_no_client), "user": Known(self._is_no_user)}

    def count(self, block: bytes, log_format: LogFormat, tally: Tally) -> Iterator[Line]:
        """Counts the lines of a block that are plain and nothing, as it yields the others, numbered from 0."""
        plain = self.plain(log_format)
        if block and not block.endswith(b"\n"):
            block += b"\n"
        if plain is None:
            yield from map(Line, count(), block.split(b"\n")[:-1])
            return
        kept, number = _Kept(), 0
        for piece in _pieces(block):
            columns = plain.columns(piece)
            flags = self._flags(columns)
            kept.add(columns, flags)
            if not all(flags):
                lines = piece.split(b"\n")
                for place in compress(count(), map(not_, flags)):
                    if columns.time[place] is None and (nothing := self._without_query(lines[place], log_format)):
                        kept.add(nothing, [True])
                    else:
                        yield self._left(number + place, lines[place], [column[place] for column in columns if column])
            number += len(flags)
        self._add(kept, tally, plain.instant)

    def _without_query(self, line: bytes, log_format: LogFormat) -> Columns | None:
        """Returns what a line says that has a path of some signature, and not the query for it, and so is nothing."""
        of_any_query = self._formats[log_format][1]
        query = _PLAIN_QUERY.match(line)
        if not (of_any_query and query) or any(own.search(query[1].decode()) for own in self._queries):
            return None
        columns = of_any_query.columns(line + b"\n")
        return columns if self._flags(columns)[0] else None

    def _left(self, number: int, line: bytes, cells: Sequence[bytes]) -> Line:
        _, who, target, *others = cells
        if not target:
            return Line(number, line)
        *_, method, url, _ = line.split(None, 7)
        if method != b"CONNECT" and not self._is_no_path[target]:
            return Line(number, line)
        parts = (method, url.partition(b":")[0], target, self._kind_of(who), *others)
        return Line(number, line, Alike(parts, read_who(who), url))

    def plain(self, log_format: LogFormat) -> PlainLines | None:
        """Returns what takes the plain lines of a format apart, if any can be counted here."""
        if log_format not in self._formats:
            paths = self._plain_lines(log_format, (screen.paths for screen in self._screens))
            of_any_query = self._plain_lines(log_format, (screen.paths_of_any_query for screen in self._screens))
            self._formats[log_format] = paths, of_any_query if self._queries else None
        return self._formats[log_format][0]

    def _plain_lines(self, log_format: LogFormat, paths: Iterable[frozenset[PathText]]) -> PlainLines | None:
        if not self._is_of_use:
            return None
        return plain_lines(log_format, frozenset[PathText]().union(*paths), whole_queries=self._whole_queries)

    def _flags(self, columns: Columns) -> list[bool]:
        """Whether each line is nothing."""
        flags = list(map(self._checks["target"].__getitem__, columns.target))
        for name, check in self._checks.items():
            if name != "target" and (column := getattr(columns, name)):
                flags = list(map(and_, flags, map(check.__getitem__, column)))
        return flags

    def _add(self, kept: _Kept, tally: Tally, instant: Callable[[bytes], float]) -> None:
        kept.times.sort()
        tally.lines += len(kept.times)
        tally.requests += len(kept.times)
        if kept.times:
            tally.see_all(instant(kept.times[0]), instant(kept.times[-1]), dict(_by_hour(kept.times)))
        for value, times in kept.who.items():
            who = read_who(value)
            tally.by_client.count(who.shown, times)
            tally.denied += times * who.denied
            if who.gap:
                tally.gaps.count(who.gap, times)
        gaps = Counted({"user": kept.absent["user"], "acl_only": len(kept.times)}) if self._rewriter else kept.absent
        tally.gaps.add(+gaps)

    def _read_kind(self, value: bytes) -> Hashable:
        """All of whoever asked that anything hangs on, but for how he is shown."""
        who = read_who(value)
        return who.denied, who.challenged, who.gap, *(screen.rules_of_client(who.address) for screen in self._screens)

    def _paths_are_alike(self, value: bytes) -> bool:
        targets = read_targets(value)
        return bool(targets) and all(screen.is_no_path(own) for own in targets for screen in self._screens)

    def _is_no_target(self, value: bytes) -> bool:
        targets = read_targets(value)
        return bool(targets) and all(screen.is_no_target(own) for own in targets for screen in self._screens)

    def _is_no_agent(self, value: bytes) -> bool:
        if value == ABSENT:
            return True
        text = unquote_to_bytes(value).decode("utf-8", "surrogateescape")
        return text not in ("", NOTHING) and all(screen.is_no_agent(text) for screen in self._screens)

    def _is_no_content_type(self, value: bytes) -> bool:
        if value == ABSENT:
            return True
        text = unquote_to_bytes(value).decode("utf-8", "surrogateescape")
        return text not in ("", NOTHING) and all(screen.is_no_content_type(text) for screen in self._screens)

    def _is_no_client(self, value: bytes) -> bool:
        return bool(value) and all(screen.is_no_client(read_who(value).address) for screen in self._screens)

    def _is_no_user(self, value: bytes) -> bool:
        user = None if value == ABSENT else value.decode()
        return all(screen.is_no_user(user) for screen in self._screens)


_PLAIN_QUERY: Final = re.compile(rb" *(?:[^ ]++ ++){6}https?://[^ ?#\n]++\?([0-9A-Za-z=&._-]++) ")
"""A query that is there, and needs no normalising."""
_PORT: Final = re.compile(r"[1-9][0-9]{0,3}")
_PLAIN_NAME: Final = re.compile(r"(?!.*xn--)(?:[a-z0-9-]{1,63}\.){1,10}[a-z][a-z-]{0,62}")
"""A name that is its own normalised spelling, whatever it is written in."""


def read_targets(value: bytes) -> tuple[Target, ...]:
    """Reads a host with or without a port, whether it stood in a URL or behind CONNECT: all that it may be; () if none.

    The paths are of no account.
    """
    text = value.decode()
    name, _, port = text.partition(":")
    if _PLAIN_NAME.fullmatch(name) and (not port or _PORT.fullmatch(port)):
        ports = (int(port),) if port else (DEFAULT_PORTS["http"], DEFAULT_PORTS["https"])
        return tuple([Target("http", name, each, "/", "") for each in ports])
    try:
        return parse_connect(text), parse_squid_url(f"http://{text}/"), parse_squid_url(f"https://{text}/")
    except ImhelperError:
        return ()


@lru_cache(ENTRIES)
def read_who(value: bytes) -> Who:
    """Reads what a column tells of who asked."""
    client, _, result = value.partition(b" ")
    tag, _, status = result.partition(b"/")
    address = normalise_address(client.decode())
    return Who((address or client.decode())[:SHOWN], address, *denial(tag, status))


def _pieces(block: bytes) -> Iterator[bytes]:
    """Cuts a block into pieces of whole lines."""
    start = 0
    while start < len(block):
        end = block.rfind(b"\n", start, start + PIECE) + 1 or block.index(b"\n", start) + 1
        yield block[start:end]
        start = end


def _by_hour(times: Sequence[bytes]) -> Iterator[tuple[str, int]]:
    """How many sorted times of ten digits there are in each hour."""
    at = 0
    while at < len(times):
        hour = int(times[at][:10]) // HOUR * HOUR
        following = bisect_left(times, b"%d" % (hour + HOUR), at)
        yield str(hour), following - at
        at = following
