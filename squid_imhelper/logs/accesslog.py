"""Lines of access logs: what each format says, and what becomes of it.

A `LogFormat` names one way to write a line; `reader` returns what reads it. Squid's own format is read with more
patience than its definition asks for: whole seconds, dates in place of seconds, no client, names with blanks, fields
behind the last one, the prefix of syslog, the log tags of all versions.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple, cast

from squid_imhelper.base.errors import ImhelperError, suggest
from squid_imhelper.base.model import Request
from squid_imhelper.base.urls import normalise_address
from squid_imhelper.logs.columns import column_name, fields_of, flatten, header_of, read_json, split_tabs
from squid_imhelper.logs.logtime import TimeError, parse_formatted, parse_time
from squid_imhelper.squid.layout import Field, decoder_of
from squid_imhelper.squid.logformat import LogField, LogLayout, parse_logformat
from squid_imhelper.squid.squidconf import log_format
from squid_imhelper.squid.wire import build_request

MAX_LINE: Final = 1 << 20
"""Bytes of a line that are looked at; Squid's own lines have a few hundred."""

_TIME: Final = (
    rb"(\d{1,19}(?:\.\d{1,9})?"
    rb"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d| GMT| UTC)?"
    rb"|\[?\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]?)"
)
_B: Final = rb"[ \t]++"
_WORDS: Final = rb"\S(?:.{0,254}?\S)??"
"""What may hold blanks. It ends in none, so that a megabyte of blanks is not looked at again and again."""
_SQUID: Final = re.compile(
    rb"[ \t]*+" + _TIME + _B + rb"(-?\d++)" + _B + rb"(?:(\S++)" + _B + rb")?([A-Z][A-Z_0-9]*+)/(\d{1,3}|-)"
    + _B + rb"(?:-?\d++|-)" + _B + rb"(\S++)" + _B + rb"(\S++)"
    rb"(?:" + _B + rb"(" + _WORDS + rb")" + _B + rb"[A-Z][A-Z_0-9]*+/\S*+(?:" + _B + rb".*+)?)?[ \t]*+",
    re.DOTALL,
)  # fmt: skip
_SQUID_FIELDS: Final[tuple[LogField, ...]] = ("client", "tag", "status", "method", "url", "user")
_SYSLOG: Final = re.compile(rb"(?:<\d{1,3}>)?[^:]{0,40}(?::\d\d){0,2}\S{0,40} [^ ]{1,255} \(?squid[^ ]{0,80}: ++")
# Squid's own `combined` escapes nothing in URL, referrer and user agent (log/FormatHttpdCombined.cc): the referrer
# ends at the first `" "`, the others at the last mark.
_COMMON: Final = re.compile(
    rb"[ \t]*+(\S++)" + _B + _WORDS + _B + rb"(" + _WORDS + rb")" + _B + rb"(\[[^\]]{1,64}\])" + _B
    + rb'"([^ \t"]++)' + _B + rb"(\S*)(?:" + _B + rb'[A-Z]++/[0-9.]*+)?"'
    + _B + rb"(\d{1,3}|-)" + _B + rb"(?:-?\d++|-)"
    rb"(?:" + _B + rb'(?>".{0,8192}?"' + _B + rb'")(.*)")?(?:' + _B + rb"([A-Z][A-Z_0-9]*+):\S*+)?[ \t]*+",
    re.DOTALL,
)  # fmt: skip
_PAIR: Final = re.compile(rb"[ \t]*+([0-9A-Fa-f.:]{3,45})" + _B + rb"((?:[a-z+.-]{2,20}://)?[^\s/.:]*+[.:]\S*+)[ \t]*+")

_DEFINED: Final = re.compile(r"\s*logformat\s+[^\s%]+\s+")
"""What stands before a definition in squid.conf."""

DENIED: Final = b"DENIED"
PROXY_AUTH_REQUIRED: Final = b"407"


class UnreadableError(ImhelperError):
    """A line that does not fit its format; the message says why."""


class HeaderError(UnreadableError):
    """A line that names the columns, and is no request."""


class Record(NamedTuple):
    """What a line tells, before any of it is normalised.

    `time` is when it was written, in seconds since 1970, None where it does not say; `duration` how long the request
    took, in seconds. `denied` is whether Squid had itself denied it, and `challenged` whether only for want of a name.
    `by_cache` is whether another cache asked what is in this one (ICP, HTCP); `repeated` whether another line tells the
    same: Squid looked into a tunnel, and goes on to log how it passed it on. `intercepted` is whether the client knew
    of no proxy.
    """

    fields: dict[Field, bytes]
    time: float | None
    duration: float
    denied: bool
    challenged: bool
    by_cache: bool = False
    repeated: bool = False
    intercepted: bool = False


Reader = Callable[[bytes], Record]


@dataclass(frozen=True, slots=True)
class LogFormat:
    """A format: its name, the definition of a logformat, the columns of a table, and the zone of times without one."""

    name: str
    definition: str = ""
    columns: tuple[str, ...] = ()
    zone: str = "UTC"

    @property
    def description(self) -> str:
        """For people."""
        return DESCRIPTIONS.get(self.name, self.name)


DESCRIPTIONS: Final[Mapping[str, str]] = {
    "squid": "Squid's native format",
    "imhelper": "the logformat of squid-conf",
    "combined": "combined log format",
    "common": "common log format",
    "json": "JSON lines",
    "tsv": "tab-separated columns",
    "table": "tab-separated columns without a header, told by what is in them",
    "pairs": "client and URL",
    "logformat": "the logformat given",
}
NAMES: Final = ("squid", "imhelper", "combined", "common", "json", "tsv")
"""What `--log-format` takes besides the definition of a logformat."""


def named_format(text: str, zone: str) -> LogFormat:
    """Returns the format that `--log-format` asks for.

    Raises:
        ImhelperError: it is no name of one, and no definition that can be read.
    """
    if "%" in text:
        text = _DEFINED.sub("", text)
        parse_logformat(text)
        return LogFormat("logformat", text, zone=zone)
    if text not in NAMES:
        hint = suggest(text, NAMES) or f"{', '.join(NAMES)}, or the definition of a logformat: '%ts.%03tu %6tr %>a ...'"
        raise ImhelperError(f"unknown log format {text[:60]!r}: {hint}")
    return LogFormat(text, zone=zone)


@cache
def reader(log_format: LogFormat) -> Reader:
    """Returns what reads the lines of a format; it raises UnreadableError for one that does not fit, or Header."""
    return _READERS[log_format.name](log_format)


def to_request(record: Record) -> tuple[Request, str, str]:
    """Builds the request that was logged, by the code that builds those that Squid asks about.

    Returns:
        The request, its URL as it was asked for, and who asked: an address, or a name where the log has names.

    Raises:
        ImhelperError: there is no host in it.
    """
    fields = record.fields
    url, client = fields.get("url"), fields.get("client")
    if url is not None and b"://" not in url and fields.get("method") != b"CONNECT":
        fields["url"] = b"http://" + url
    name = "-"
    if client is not None:
        name = client.decode("utf-8", "replace")
        address = normalise_address(name)
        if address is None:
            del fields["client"]
        name = address or name
    request, asked = build_request(fields, intercepted=record.intercepted)
    return request, asked, name


def is_no_request(record: Record) -> bool:
    """Whether a client asked for nothing that the line would tell: no helper is asked about it either."""
    return record.by_cache or record.repeated or record.fields.get("url", b"").startswith((b"error:", b"/"))


def denial(tag: bytes, status: bytes) -> tuple[bool, bool]:
    """Whether Squid had itself denied a request by its log tag and status, and whether for want of a name."""
    challenged = PROXY_AUTH_REQUIRED in (status or tag)
    return DENIED in tag or DENIED in status or (challenged and not tag), challenged


def _record(fields: dict[LogField, bytes], time: float | None, duration: float = 0.0) -> Record:
    """Parts what belongs to the request from what the log says about it."""
    tag, status = fields.pop("tag", b""), fields.pop("status", b"")
    service, rule = fields.pop("service", b""), fields.pop("rule", b"")
    denied, challenged = denial(tag, status)
    by_cache = tag.startswith(b"UDP_") or status.startswith(b"UDP_")
    denied = denied and not (service or rule or by_cache)
    repeated = fields.pop("bump_mode", b"") == b"splice" and tag.startswith(b"NONE")
    intercepted = bool(fields.pop("intercepted", b""))
    told = cast(dict[Field, bytes], fields)
    return Record(told, time, duration, denied, challenged, by_cache, repeated, intercepted)


def _time(text: bytes, zone: str) -> float:
    try:
        return parse_time(text.decode("latin-1"), zone)
    except TimeError as error:
        raise UnreadableError(str(error)) from None


def _read_squid(log_format: LogFormat) -> Reader:
    zone = log_format.zone

    def read(line: bytes) -> Record:
        found = _SQUID.fullmatch(line)
        if found is None and (prefix := _SYSLOG.match(line)):
            found = _SQUID.fullmatch(line, prefix.end())
        if found is None:
            raise UnreadableError("it does not look like a line of Squid's native format")
        time, duration, *values = found.groups()
        fields = {field: value for field, value in zip(_SQUID_FIELDS, values, strict=True) if value and value != b"-"}
        return _record(_with_user(fields), _time(time, zone), milliseconds(duration))

    return read


def _with_user(fields: dict[LogField, bytes]) -> dict[LogField, bytes]:
    """Undoes what Squid's own formats do to a user name (format/Quoting.cc, QuoteUrlEncodeUsername)."""
    if "user" in fields:
        fields["user"] = decoder_of("user", "[")(fields["user"])
    return fields


def _read_common(log_format: LogFormat) -> Reader:
    zone = log_format.zone

    def read(line: bytes) -> Record:
        found = _COMMON.fullmatch(line)
        if found is None:
            raise UnreadableError(f"it does not look like a line of the {log_format.name} log format")
        client, user, time, method, url, status, agent, tag = found.groups()
        if agent is None and log_format.name == "combined":
            raise UnreadableError("it has no user agent, as the combined log format has")
        values: dict[LogField, bytes | None] = {
            "client": client, "user": user, "method": method, "url": _unescaped(url), "status": status,
            "user_agent": _unescaped(agent or b""), "tag": tag,
        }  # fmt: skip
        fields = {field: v for field, v in values.items() if v and v != b"-"}
        return _record(_with_user(fields), _time(time, zone))

    return read


def _unescaped(text: bytes) -> bytes:
    """Undoes what Apache escapes; a backslash before anything else is one that Squid has left alone."""
    return text.replace(b'\\"', b'"').replace(b"\\\\", b"\\") if b"\\" in text else text


def _read_layout(log_format: LogFormat) -> Reader:
    layout = parse_logformat(log_format.definition)

    def read(line: bytes) -> Record:
        fields = layout.read(line)
        if fields is None:
            raise UnreadableError("it does not fit the logformat")
        return _record(fields, _logged_time(fields, layout, log_format.zone), milliseconds(fields.pop("duration", b"")))

    return read


def _read_own(own: LogFormat) -> Reader:
    """Reads the logformats of both modes of squid-conf: each line tells which one it is."""
    explicit, intercepting = (
        _read_layout(LogFormat("logformat", log_format("acl", intercepted=intercepted), zone=own.zone))
        for intercepted in (False, True)
    )

    def read(line: bytes) -> Record:
        try:
            return explicit(line)
        except UnreadableError:
            return intercepting(line)

    return read


def _logged_time(fields: dict[LogField, bytes], layout: LogLayout, zone: str) -> float | None:
    seconds, rest, local = (fields.pop(name, b"") for name in ("seconds", "milliseconds", "local_time"))
    if seconds:
        return _time(seconds, zone) + milliseconds(rest)
    zone = "UTC" if layout.in_utc else zone
    try:
        return parse_formatted(local.decode("latin-1"), layout.time_format, zone) if local else None
    except TimeError as error:
        raise UnreadableError(str(error)) from None


def milliseconds(text: bytes) -> float:
    """Returns the seconds of a duration as Squid writes it; 0 where it is none."""
    return int(text) / 1000 if text.isdigit() and len(text) < 12 else 0.0


def _read_pairs(log_format: LogFormat) -> Reader:
    def read(line: bytes) -> Record:
        found = _PAIR.fullmatch(line)
        if found is None:
            raise UnreadableError("it is no client and URL")
        return _record({"client": found[1], "url": found[2]}, None)

    return read


def _read_json(log_format: LogFormat) -> Reader:
    def read(line: bytes) -> Record:
        try:
            return _of_columns(flatten(read_json(line)).items(), log_format.zone)
        except ValueError as error:
            raise UnreadableError(str(error)) from None

    return read


def _read_tsv(log_format: LogFormat) -> Reader:
    columns = log_format.columns

    def read(line: bytes) -> Record:
        cells = split_tabs(line)
        if _is_header(line, cells, columns):
            raise HeaderError("the names of the columns")
        try:
            return _of_columns(zip(columns, cells, strict=False), log_format.zone)
        except ValueError as error:
            raise UnreadableError(str(error)) from None

    return read


def _is_header(line: bytes, cells: Sequence[bytes], columns: tuple[str, ...]) -> bool:
    first = cells[0].decode("latin-1").lstrip("#\xef\xbb\xbf")
    return column_name(first) in (columns[0], "fields") and header_of(line) == columns


def _of_columns(values: Iterable[tuple[str, bytes]], zone: str) -> Record:
    fields = fields_of(values)
    text, duration = fields.pop("time", None), milliseconds(fields.pop("duration", b""))
    return _record(cast(dict[LogField, bytes], fields), None if text is None else _time(text, zone), duration)


_READERS: Final[Mapping[str, Callable[[LogFormat], Reader]]] = {
    "squid": _read_squid,
    "imhelper": _read_own,
    "combined": _read_common,
    "common": _read_common,
    "json": _read_json,
    "tsv": _read_tsv,
    "table": _read_tsv,
    "pairs": _read_pairs,
    "logformat": _read_layout,
}
