"""Which format is it? Each one is tried on the first lines, and the one that reads most of them is taken."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.urls import normalise_address
from squid_imhelper.logs.accesslog import LogFormat, UnreadableError, is_no_request, reader, to_request
from squid_imhelper.logs.columns import header_of, split_tabs
from squid_imhelper.logs.logtime import TimeError, parse_time

SAMPLE: Final = 1 << 18
"""Bytes that are looked at."""
_LINES: Final = 200
_MOST_LINES: Final = 2_000
"""Lines that are tried, so many at a time until one of them is read."""
_LONGEST: Final = 1 << 16
"""Bytes of a line by which a format is told."""
_NAMES: Final = ("imhelper", "squid", "combined", "common", "json", "pairs")
"""Formats that need no more than a name. Where two read as much, the first one says more."""

_FEWEST_COLUMNS: Final = 4
_MOST_COLUMNS: Final = 200
_MOST: Final = 0.9
"""The share of the values of a column that must look like it."""
_METHOD: Final = re.compile(rb"GET|POST|HEAD|PUT|CONNECT|OPTIONS|DELETE|PATCH|PROPFIND|PURGE|TRACE|NONE")
_TAG: Final = re.compile(rb"[A-Z][A-Z_0-9]*/[0-9]{3}")
_HOST: Final = re.compile(rb"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.[A-Za-z][A-Za-z0-9-]{1,62}\.?")
_AGENT: Final = re.compile(rb"Mozilla/[45]\.0 .*")


def recognise(sample: bytes, zone: str) -> LogFormat | None:
    """Returns the format of a log by its first lines; None where no format reads any of them."""
    lines = [line.strip(b"\r") for line in sample.split(b"\n") if len(line) <= _LONGEST]
    candidates = [*_tables(lines, zone), *(LogFormat(name, zone=zone) for name in _NAMES)]
    candidates.sort(key=lambda candidate: candidate.name == "table")  # which is a guess
    told = [line for line in lines if line.strip() and not line.startswith(b"#")]
    for start in range(0, min(len(told), _MOST_LINES), _LINES):
        some = told[start : start + _LINES]
        scores = [sum(_is_read(candidate, line) for line in some) for candidate in candidates]
        if best := max(scores):
            return candidates[scores.index(best)]
    return None


def first_time(sample: bytes, log_format: LogFormat) -> float | None:
    """Returns the time of the first line that has one."""
    read = reader(log_format)
    for line in sample.split(b"\n"):
        if len(line) > _LONGEST:
            continue
        try:
            record = read(line.strip(b"\r"))
        except UnreadableError:
            continue
        if record.time is not None:
            return record.time
    return None


def table_format(sample: bytes, zone: str) -> LogFormat | None:
    """Returns the format of tab-separated columns, by their header or else by what is in them."""
    return next(_tables([line.strip(b"\r") for line in sample[:SAMPLE].split(b"\n")], zone), None)


def _is_read(log_format: LogFormat, line: bytes) -> bool:
    try:
        record = reader(log_format)(line)
        return is_no_request(record) or bool(to_request(record))
    except ImhelperError:
        return False


def _tables(lines: Sequence[bytes], zone: str) -> Iterator[LogFormat]:
    rows = [line for line in lines if line.count(b"\t") >= 1]
    header = next((columns for line in rows[:5] if (columns := header_of(line))), ())
    if header:
        yield LogFormat("tsv", columns=header, zone=zone)
        return
    cells = [split_tabs(line) for line in rows[:_LINES] if line.count(b"\t") >= _FEWEST_COLUMNS]
    if cells:
        columns = _guessed(cells)
        if {"url", "host"} & set(columns):
            yield LogFormat("table", columns=columns, zone=zone)


def _guessed(rows: Sequence[Sequence[bytes]]) -> tuple[str, ...]:
    """Names each column by what its values look like; "" for one that looks like nothing."""
    names: list[str] = []
    for number in range(min(_MOST_COLUMNS, *map(len, rows))):
        values = [row[number] for row in rows if row[number] not in (b"", b"-")]
        names.append(next((name for name in _LOOKS if name not in names and _looks_like(name, values, names)), ""))
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def _looks_like(name: str, values: Sequence[bytes], before: Sequence[str]) -> bool:
    if not values or (name == "port" and "host" not in before):
        return False
    return sum(map(_LOOKS[name], values)) >= _MOST * len(values)


def _is_time(value: bytes) -> bool:
    if value.isdigit() and len(value) < 9:  # before 1973: a number of something else
        return False
    try:
        parse_time(value.decode("latin-1"), "UTC")
    except TimeError:
        return False
    return True


_LOOKS: Final[dict[str, Callable[[bytes], bool]]] = {
    "time": _is_time,
    "client": lambda value: normalise_address(value.decode("latin-1")) is not None,
    "method": lambda value: bool(_METHOD.fullmatch(value)),
    "tag": lambda value: bool(_TAG.fullmatch(value)),
    "url": lambda value: b"://" in value,
    "host": lambda value: bool(_HOST.fullmatch(value)) or normalise_address(value.decode("latin-1")) is not None,
    "path": lambda value: value.startswith(b"/"),
    "port": lambda value: value.isdigit() and 0 < int(value[:9]) < 65536,
    "useragent": lambda value: bool(_AGENT.fullmatch(value)),
}
