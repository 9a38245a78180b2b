"""When: schedules by the clock on the wall, and the instants at which they change.

A schedule is a set of stretches of the week, and holds whenever the clock on the wall of its time zone shows a time in
one of them. So an hour that a change to summer time skips holds for nobody, and one that comes twice counts twice.

An instant is seconds since 1970, UTC. Who asks once and remembers until `next_change` needs no clock in between.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable
from functools import cache
from typing import TYPE_CHECKING, Final

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Schedule

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY: Final = 86_400
WEEK: Final = 7 * DAY

_YEARS: Final = range(1970, 3000)
_LAST_MINUTE: Final = 59
_LOCALTIME: Final = "/etc/localtime"
_HOURS: Final = r"(\d{1,2}):(\d\d)(?::(\d\d))?\s*-\s*(\d{1,2}):(\d\d)(?::(\d\d))?"


def parse_days(text: str) -> frozenset[int]:
    """Reads `mon-fri`, `sat,sun`, `fri-mon`; 0 is Monday.

    Raises:
        ValueError: it is none of these; the message is a sentence.
    """
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip().lower() for word in part.partition("-"))
        ends = (first, last if dash else first)
        if not all(end in DAYS for end in ends):
            raise ValueError(f"'{part.strip()}' is no day and no range of days: {', '.join(DAYS)}")
        start = DAYS.index(ends[0])
        days |= {(start + n) % 7 for n in range((DAYS.index(ends[1]) - start) % 7 + 1)}
    return frozenset(days)


def parse_hours(text: str) -> tuple[int, int]:
    """Reads `08:00-12:30`, `22:00-06:00` (over midnight), `00:00-24:00`, with or without seconds.

    Returns:
        Start and end in seconds since the midnight before; the end is later than the start.

    Raises:
        ValueError: it is none of these; the message is a sentence.
    """
    found = re.fullmatch(_HOURS, text.strip(), re.ASCII)
    if found is None:
        raise ValueError(f"'{text}' is no range of hours, as in 08:00-17:30")
    hour, minute, second, *till = (int(group or 0) for group in found.groups())
    start, end = hour * 3600 + minute * 60 + second, till[0] * 3600 + till[1] * 60 + till[2]
    if start >= DAY or end > DAY or max(minute, second, *till[1:]) > _LAST_MINUTE:
        raise ValueError(f"'{text}': a day has the hours 00:00 to 24:00")
    if start == end:
        raise ValueError(f"'{text}' is no time at all; a whole day is 00:00-24:00")
    return (start, end) if start < end else (start, end + DAY)


def week_stretches(days: Iterable[int], hours: Collection[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Returns the hours of these days as stretches of the week; what runs over midnight belongs to the day before."""
    cut: list[tuple[int, int]] = []
    for day in days:
        for start, end in hours:
            first, last = day * DAY + start, day * DAY + end
            cut.append((first, min(last, WEEK)))
            if last > WEEK:
                cut.append((0, last - WEEK))
    merged: list[tuple[int, int]] = []
    for first, last in sorted(cut):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


@cache
def load_zone(name: str) -> "tzinfo":
    """Returns a time zone by its IANA name.

    Raises:
        ImhelperError: there is none of this name.
    """
    if name == "UTC":
        from datetime import UTC  # here and below: a policy without schedules does without

        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; a path; a folder, like "Europe"
        raise ImhelperError(f"unknown time zone '{name[:60]}'") from None


def local_zone_name() -> str:
    """The IANA name of this machine's time zone, from TZ or /etc/localtime; "UTC" where neither tells one."""
    link = os.path.realpath(_LOCALTIME)
    for name in (os.environ.get("TZ", "").lstrip(":"), link.partition("/zoneinfo/")[2]):
        try:
            load_zone(name)
        except ImhelperError:
            continue
        return name
    return "UTC"


def common_zone(schedules: Iterable[Schedule]) -> str:
    """The zone of all schedules; the machine's where there are none, or where they differ."""
    zones = {own.zone for own in schedules}
    return zones.pop() if len(zones) == 1 else local_zone_name()


def parse_instant(text: str, zone: str) -> float:
    """Reads a date and a time in ISO 8601; without an offset it is in this zone.

    Raises:
        ImhelperError: it is none.
    """
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ImhelperError(
            f"'{text[:60]}' is no time in ISO 8601, as in 2026-11-23T09:30 or ...T09:30+01:00"
        ) from None
    return instant_of(moment, zone)


def instant_of(moment: "datetime", zone: str) -> float:
    """Returns the instant of a date and a time; without an offset it is in this zone.

    Raises:
        ImhelperError: the year is out of bounds, or there is no such zone.
    """
    if moment.year not in _YEARS:
        raise ImhelperError(f"the year {moment.year} is not between {_YEARS[0]} and {_YEARS[-1]}")
    return (moment if moment.tzinfo else moment.replace(tzinfo=load_zone(zone))).timestamp()


def on_the_wall(instant: float, zone: str) -> "datetime":
    """What a clock in this zone shows, to the second."""
    from datetime import datetime

    return datetime.fromtimestamp(instant // 1, load_zone(zone))


def holds(schedule: Schedule, instant: float) -> bool:
    """Whether an instant is in a schedule."""
    second = _second_of_week(on_the_wall(instant, schedule.zone))
    return any(first <= second < last for first, last in schedule.stretches)


def next_change(schedule: Schedule, instant: float) -> float:
    """Returns a later instant up to which `holds` stays as it is: at most a day later, and never past a change."""
    now = instant // 1
    second = _second_of_week(on_the_wall(now, schedule.zone))
    edges = sorted({edge for stretch in schedule.stretches for edge in stretch if edge} | {WEEK})
    edge = edges[bisect_right(edges, second)]
    return _until_the_clock_jumps(schedule.zone, now, now + min(edge - second, DAY))


def _second_of_week(wall: "datetime") -> int:
    return wall.weekday() * DAY + wall.hour * 3600 + wall.minute * 60 + wall.second


def _until_the_clock_jumps(zone: str, start: float, end: float) -> float:
    """Returns the first second at which the offset from UTC is not that of `start`, or `end` if that comes first."""
    offset = on_the_wall(start, zone).utcoffset()
    if on_the_wall(end, zone).utcoffset() == offset:
        return end
    before, after = start, end
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if on_the_wall(middle, zone).utcoffset() == offset else (before, middle)
    return after
