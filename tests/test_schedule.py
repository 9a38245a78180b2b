"""Schedules: what is read, what a clock on the wall makes of it, and that no change is slept through.

The oracle marks the minutes (or seconds) of a week in a set, one after the other, and looks at the clock on the wall.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from math import nextafter
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from squid_imhelper.base import schedule as schedule_module
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Schedule
from squid_imhelper.base.schedule import (
    DAY,
    DAYS,
    WEEK,
    common_zone,
    holds,
    instant_of,
    load_zone,
    local_zone_name,
    next_change,
    on_the_wall,
    parse_days,
    parse_hours,
    parse_instant,
    week_stretches,
)

HOUR: Final = 3600
BRUSSELS: Final = "Europe/Brussels"
KATHMANDU: Final = "Asia/Kathmandu"


# ---- days -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("mon", {0}, id="one"),
        pytest.param("sun", {6}, id="the last one"),
        pytest.param("mon-fri", {0, 1, 2, 3, 4}, id="a range"),
        pytest.param("mon-sun", {0, 1, 2, 3, 4, 5, 6}, id="all"),
        pytest.param("sun-sat", {0, 1, 2, 3, 4, 5, 6}, id="all, from Sunday"),
        pytest.param("fri-mon", {4, 5, 6, 0}, id="over the end of the week"),
        pytest.param("sun-mon", {6, 0}, id="two days over the end of the week"),
        pytest.param("wed-wed", {2}, id="a range of one"),
        pytest.param("sat,sun", {5, 6}, id="a list"),
        pytest.param("mon-wed,fri,sun", {0, 1, 2, 4, 6}, id="ranges and days"),
        pytest.param("mon-wed,tue-thu,tue", {0, 1, 2, 3}, id="overlapping"),
        pytest.param(" Mon - FRI , sun ", {0, 1, 2, 3, 4, 6}, id="blanks and capitals"),
    ],
)
def test_days(text: str, expected: set[int]) -> None:
    assert parse_days(text) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("", "''", id="empty"),
        pytest.param("mon,", "''", id="nothing behind a comma"),
        pytest.param("mon,,fri", "''", id="nothing between commas"),
        pytest.param("-", "'-'", id="a dash"),
        pytest.param("mon-", "'mon-'", id="no last day"),
        pytest.param("-fri", "'-fri'", id="no first day"),
        pytest.param("mon-wed-fri", "'mon-wed-fri'", id="two dashes"),
        pytest.param("monday", "'monday'", id="a whole name"),
        pytest.param("mon fri", "'mon fri'", id="no comma"),
        pytest.param("mon;fri", "'mon;fri'", id="another separator"),
        pytest.param("mon\u2013fri", "'mon\u2013fri'", id="a dash of typographers"),
        pytest.param("\uff4don", "'\uff4don'", id="a full-width letter"),
        pytest.param("\u017fun", "'\u017fun'", id="a long s"),
        pytest.param("0-4", "'0-4'", id="numbers"),
        pytest.param("lun", "'lun'", id="another language"),
        pytest.param("mon, caturday", "'caturday'", id="the second one"),
    ],
)
def test_what_is_no_days_is_told(text: str, named: str) -> None:
    with pytest.raises(ValueError, match="is no day and no range of days: mon, tue") as raised:
        parse_days(text)
    assert str(raised.value).startswith(named)


# ---- hours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        pytest.param("08:00-12:30", 8 * HOUR, 12.5 * HOUR, id="plain"),
        pytest.param("8:00-9:05", 8 * HOUR, 9 * HOUR + 300, id="one digit"),
        pytest.param("00:00-24:00", 0, DAY, id="a whole day"),
        pytest.param("23:59-24:00", DAY - 60, DAY, id="the last minute"),
        pytest.param("00:00-00:01", 0, 60, id="the first minute"),
        pytest.param("12:00:00-12:00:01", 12 * HOUR, 12 * HOUR + 1, id="a second"),
        pytest.param("12:00-12:00:30", 12 * HOUR, 12 * HOUR + 30, id="seconds at one end"),
        pytest.param("23:59:59-24:00:00", DAY - 1, DAY, id="the last second"),
        pytest.param("22:00-06:00", 22 * HOUR, DAY + 6 * HOUR, id="over midnight"),
        pytest.param("22:00-00:00", 22 * HOUR, DAY, id="until midnight, written as the next day's"),
        pytest.param("00:01-00:00", 60, DAY, id="all but a minute"),
        pytest.param("12:00-11:59:59", 12 * HOUR, DAY + 12 * HOUR - 1, id="all but a second, over midnight"),
        pytest.param("  08:00 -  12:30\n", 8 * HOUR, 12.5 * HOUR, id="blanks"),
    ],
)
def test_hours(text: str, start: float, end: float) -> None:
    assert parse_hours(text) == (start, end)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "is no range of hours", id="empty"),
        pytest.param("08:00", "is no range of hours", id="no end"),
        pytest.param("08:00-", "is no range of hours", id="nothing behind the dash"),
        pytest.param("8-17", "is no range of hours", id="no minutes"),
        pytest.param("08:0-17:00", "is no range of hours", id="a digit missing"),
        pytest.param("008:00-17:00", "is no range of hours", id="a digit too many"),
        pytest.param("08.00-17.00", "is no range of hours", id="points"),
        pytest.param("08:00-12:00-17:00", "is no range of hours", id="two dashes"),
        pytest.param("08:00-12:00,13:00-17:00", "is no range of hours", id="two ranges"),
        pytest.param("-1:00-17:00", "is no range of hours", id="below zero"),
        pytest.param("08:00am-05:00pm", "is no range of hours", id="half a day"),
        pytest.param("08:00:00.5-17:00", "is no range of hours", id="a fraction"),
        pytest.param("08:00\u201317:00", "is no range of hours", id="a dash of typographers"),
        pytest.param("\u0660\u0668:\u0660\u0660-17:00", "is no range of hours", id="Arabic digits"),
        pytest.param("\uff10\uff18:00-17:00", "is no range of hours", id="full-width digits"),
        pytest.param("0\u00b2:00-17:00", "is no range of hours", id="a superscript"),
        pytest.param("24:00-24:00", "00:00 to 24:00", id="a start at 24:00"),
        pytest.param("24:00-08:00", "00:00 to 24:00", id="over midnight from 24:00"),
        pytest.param("08:00-24:01", "00:00 to 24:00", id="a minute past 24:00"),
        pytest.param("08:00-24:00:01", "00:00 to 24:00", id="a second past 24:00"),
        pytest.param("08:00-25:00", "00:00 to 24:00", id="25:00"),
        pytest.param("99:99-99:99", "00:00 to 24:00", id="nines"),
        pytest.param("08:60-17:00", "00:00 to 24:00", id="60 minutes"),
        pytest.param("08:00-17:60", "00:00 to 24:00", id="60 minutes at the end"),
        pytest.param("08:00:60-17:00", "00:00 to 24:00", id="60 seconds"),
        pytest.param("08:00-17:00:60", "00:00 to 24:00", id="60 seconds at the end"),
        pytest.param("08:00-08:00", "is no time at all; a whole day is 00:00-24:00", id="nothing"),
        pytest.param("00:00-00:00", "is no time at all; a whole day is 00:00-24:00", id="nothing at midnight"),
        pytest.param("08:00-8:00:00", "is no time at all; a whole day is 00:00-24:00", id="nothing, in two spellings"),
    ],
)
def test_what_is_no_hours_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        parse_hours(text)
    assert str(raised.value).startswith(f"'{text}'")


@given(st.text() | st.text("0123456789:- ,montuewdhfrisa"))
@pytest.mark.parametrize("parse", [parse_days, parse_hours])
def test_any_text_is_read_or_refused_in_a_sentence(parse: Callable[[str], object], text: str) -> None:
    try:
        read, refused = parse(text), ""
    except ValueError as error:
        read, refused = None, str(error)
    assert read or refused.startswith("'")


# ---- the week -------------------------------------------------------------------------------------------------------


def stretches(days: str, *hours: str) -> tuple[tuple[int, int], ...]:
    return week_stretches(parse_days(days), [parse_hours(text) for text in hours])


@pytest.mark.parametrize(
    ("days", "hours", "expected"),
    [
        pytest.param("tue", ["08:00-12:00"], [(32, 36)], id="one"),
        pytest.param("mon", ["00:00-24:00"], [(0, 24)], id="Monday"),
        pytest.param("sun", ["00:00-24:00"], [(144, 168)], id="Sunday"),
        pytest.param("mon-sun", ["00:00-24:00"], [(0, 168)], id="always"),
        pytest.param("mon,wed", ["08:00-12:00", "13:00-18:00"], [(8, 12), (13, 18), (56, 60), (61, 66)], id="several"),
        pytest.param("mon", ["13:00-18:00", "08:00-12:00"], [(8, 12), (13, 18)], id="sorted"),
        pytest.param("mon", ["08:00-12:00", "12:00-18:00"], [(8, 18)], id="touching ones are one"),
        pytest.param("mon", ["08:00-12:00", "09:00-18:00"], [(8, 18)], id="overlapping ones are one"),
        pytest.param("mon", ["08:00-18:00", "09:00-12:00", "17:00-20:00"], [(8, 20)], id="one inside another"),
        pytest.param("mon-tue", ["00:00-24:00"], [(0, 48)], id="two days touch"),
        pytest.param("mon-tue", ["22:00-06:00"], [(22, 30), (46, 54)], id="over midnight"),
        pytest.param(
            "mon-tue", ["22:00-06:00", "05:00-08:00"], [(5, 8), (22, 32), (46, 54)], id="a night and a morning"
        ),
        pytest.param("sun", ["22:00-06:00"], [(0, 6), (166, 168)], id="over the end of the week"),
        pytest.param("sun", ["22:00-24:00"], [(166, 168)], id="until the end of the week"),
        pytest.param("sun-mon", ["22:00-06:00"], [(0, 6), (22, 30), (166, 168)], id="Sunday and Monday night"),
        pytest.param("sun,mon", ["00:00-23:00", "23:00-00:00"], [(0, 24), (144, 168)], id="a day in two parts"),
        pytest.param("sun", ["12:00-11:00"], [(0, 11), (156, 168)], id="nearly a day, over the end of the week"),
        pytest.param("mon-sun", ["22:00-24:00", "00:00-22:00"], [(0, 168)], id="always, in parts"),
        pytest.param("mon", [], [], id="no hours"),
    ],
)
def test_stretches_of_the_week(days: str, hours: list[str], expected: list[tuple[int, int]]) -> None:
    assert stretches(days, *hours) == tuple((first * HOUR, last * HOUR) for first, last in expected)


@given(
    days=st.frozensets(st.integers(0, 6)),
    hours=st.lists(st.tuples(st.integers(0, 47), st.integers(0, 48)).filter(lambda h: h[0] != h[1]), max_size=4),
)
def test_stretches_are_the_marked_half_hours_and_do_not_touch(
    days: frozenset[int], hours: list[tuple[int, int]]
) -> None:
    """An end that is not later than its start is on the day after; by halves of hours many ranges meet."""
    half = HOUR // 2
    cut = week_stretches(days, [(start * half, end * half + DAY * (end < start)) for start, end in hours])
    inside = {(n // 48, n % 48) for n in range(7 * 48) if any(first <= n * half < last for first, last in cut)}
    assert inside == marks(days, hours, half)
    edges = [edge for stretch in cut for edge in stretch]
    assert edges == sorted(set(edges))
    assert not edges or (edges[0] >= 0 and edges[-1] <= WEEK)


# ---- zones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["UTC", BRUSSELS, KATHMANDU, "Etc/GMT+5", "America/Argentina/Ushuaia"])
def test_a_zone_is_loaded_by_its_name(name: str) -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert noon.astimezone(load_zone(name)).isoformat() == noon.astimezone(ZoneInfo(name)).isoformat()


NO_ZONES: Final = [
    pytest.param("", id="empty"),
    pytest.param(" ", id="a blank"),
    pytest.param("Mars/Phobos", id="unknown"),
    pytest.param("Europe", id="a folder"),
    pytest.param("Europe/", id="a folder with a slash"),
    pytest.param(".", id="the folder of all"),
    pytest.param("Europe/Brussels/Ixelles", id="below a zone"),
    pytest.param("../etc", id="above the folder"),
    pytest.param("../../etc/passwd", id="a file above the folder"),
    pytest.param("Europe/../Europe/Brussels", id="a way round"),
    pytest.param("/etc/localtime", id="a path"),
    pytest.param("/usr/share/zoneinfo/Europe/Brussels", id="the path of a zone"),
    pytest.param("tzdata.zi", id="a file that is no zone"),
    pytest.param("CET-1CEST,M3.5.0,M10.5.0/3", id="a rule of POSIX"),
    pytest.param("Europe/Brussels\0", id="a NUL"),
    pytest.param("\ud800", id="half a surrogate pair"),
    pytest.param("Europe/" + "x" * 5000, id="very long"),
]


@pytest.mark.parametrize("name", NO_ZONES)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ImhelperError) as raised:
        load_zone(name)
    assert str(raised.value) == f"unknown time zone '{name[:60]}'"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets TZ, and where /etc/localtime points to; None for a file or a variable that is not there."""
    localtime = tmp_path / "localtime"
    monkeypatch.setattr(schedule_module, "_LOCALTIME", str(localtime))

    def is_in(tz: str | None, link: str | None) -> None:
        if tz is None:
            monkeypatch.delenv("TZ", raising=False)
        else:
            monkeypatch.setenv("TZ", tz)
        if link is not None:
            localtime.symlink_to(link)

    return is_in


@pytest.mark.parametrize(
    ("tz", "link", "expected"),
    [
        pytest.param(BRUSSELS, "/usr/share/zoneinfo/Asia/Tokyo", BRUSSELS, id="TZ comes first"),
        pytest.param(f":{BRUSSELS}", None, BRUSSELS, id="TZ with a colon"),
        pytest.param("UTC", "/usr/share/zoneinfo/Asia/Tokyo", "UTC", id="TZ is UTC"),
        pytest.param(None, "/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo", id="the link"),
        pytest.param(None, "../usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo", id="a relative link"),
        pytest.param("", "/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo", id="TZ is empty"),
        pytest.param("rubbish", "/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo", id="TZ is rubbish"),
        pytest.param("Europe", "/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo", id="TZ is a folder"),
        pytest.param("CET-1CEST", "/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo", id="TZ is a rule of POSIX"),
        pytest.param("../../etc/passwd", None, "UTC", id="TZ is a path"),
        pytest.param("rubbish", "/usr/share/zoneinfo/Mars/Phobos", "UTC", id="both are rubbish"),
        pytest.param(None, "/usr/share/zoneinfo", "UTC", id="the link points to a folder"),
        pytest.param(None, "/usr/share/zoneinfo/", "UTC", id="the link points to a folder, with a slash"),
        pytest.param(None, "/var/lib/localtime", "UTC", id="the link points elsewhere"),
        pytest.param(None, None, "UTC", id="neither"),
    ],
)
def test_the_zone_of_the_machine(machine: Callable[..., None], tz: str | None, link: str | None, expected: str) -> None:
    machine(tz, link)
    assert local_zone_name() == expected


def test_a_localtime_that_is_a_file_tells_no_name(machine: Callable[..., None], tmp_path: Path) -> None:
    machine(None, None)
    (tmp_path / "localtime").write_bytes(b"TZif")
    assert local_zone_name() == "UTC"


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        pytest.param([], "Asia/Tokyo", id="none"),
        pytest.param([BRUSSELS], BRUSSELS, id="one"),
        pytest.param([BRUSSELS, BRUSSELS], BRUSSELS, id="two alike"),
        pytest.param([BRUSSELS, KATHMANDU], "Asia/Tokyo", id="two that differ"),
    ],
)
def test_the_common_zone(machine: Callable[..., None], zones: list[str], expected: str) -> None:
    machine("Asia/Tokyo", None)
    assert common_zone(Schedule(str(n), zone, ()) for n, zone in enumerate(zones)) == expected


# ---- instants -------------------------------------------------------------------------------------------------------


def at(text: str) -> float:
    """An instant by a date and a time with an offset."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo
    return moment.timestamp()


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        pytest.param("2026-11-23T09:30", BRUSSELS, "2026-11-23T08:30Z", id="in winter"),
        pytest.param("2026-07-23T09:30", BRUSSELS, "2026-07-23T07:30Z", id="in summer"),
        pytest.param("2026-11-23T09:30", KATHMANDU, "2026-11-23T03:45Z", id="a quarter of an hour"),
        pytest.param("2026-11-23T09:30", "UTC", "2026-11-23T09:30Z", id="UTC"),
        pytest.param("2026-11-23T09:30+01:00", KATHMANDU, "2026-11-23T08:30Z", id="an offset"),
        pytest.param("2026-11-23T09:30-03:30", BRUSSELS, "2026-11-23T13:00Z", id="a negative offset"),
        pytest.param("2026-11-23T09:30Z", BRUSSELS, "2026-11-23T09:30Z", id="Z"),
        pytest.param("2026-11-23 09:30:15.5", BRUSSELS, "2026-11-23T08:30:15.5Z", id="a blank and a fraction"),
        pytest.param("2026-11-23", BRUSSELS, "2026-11-22T23:00Z", id="a date is its midnight"),
        pytest.param("20261123T0930", BRUSSELS, "2026-11-23T08:30Z", id="without separators"),
        pytest.param("2026-W48-1T09:30", BRUSSELS, "2026-11-23T08:30Z", id="a week"),
        pytest.param("2026-03-29T01:59:59", BRUSSELS, "2026-03-29T00:59:59Z", id="before an hour that is skipped"),
        pytest.param("2026-03-29T02:30", BRUSSELS, "2026-03-29T01:30Z", id="in an hour that is skipped"),
        pytest.param("2026-03-29T03:00", BRUSSELS, "2026-03-29T01:00Z", id="behind an hour that is skipped"),
        pytest.param("2026-10-25T02:30", BRUSSELS, "2026-10-25T00:30Z", id="an hour that comes twice is the first"),
        pytest.param("2026-10-25T02:30+01:00", BRUSSELS, "2026-10-25T01:30Z", id="the second has its offset"),
        pytest.param("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T22:00Z", id="a day that is skipped"),
        pytest.param("1970-01-01", "UTC", "1970-01-01T00:00Z", id="the first year"),
        pytest.param("1970-01-01", KATHMANDU, "1969-12-31T18:30Z", id="the first year begins earlier in the east"),
        pytest.param("2999-12-31T23:59:59", "UTC", "2999-12-31T23:59:59Z", id="the last year"),
    ],
)
def test_an_instant_is_read(text: str, zone: str, expected: str) -> None:
    assert parse_instant(text, zone) == at(expected)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "is no time in ISO 8601", id="empty"),
        pytest.param("tomorrow", "is no time in ISO 8601", id="a word"),
        pytest.param("09:30", "is no time in ISO 8601", id="no date"),
        pytest.param("1795426200", "is no time in ISO 8601", id="seconds"),
        pytest.param("23/11/2026", "is no time in ISO 8601", id="another order"),
        pytest.param("2026-02-30", "is no time in ISO 8601", id="no such day"),
        pytest.param("2026-11-23T25:00", "is no time in ISO 8601", id="no such hour"),
        pytest.param("2026-11-23T09:30 Europe/Brussels", "is no time in ISO 8601", id="a zone behind it"),
        pytest.param("2026-11-23T09:30+24:00", "is no time in ISO 8601", id="no such offset"),
        pytest.param("\u0662\u0660\u0662\u0666-11-23", "is no time in ISO 8601", id="Arabic digits"),
        pytest.param("2026-11-23\0", "is no time in ISO 8601", id="a NUL"),
        pytest.param("2026-11-23\ud800", "is no time in ISO 8601", id="half a surrogate pair"),
        pytest.param("1969-12-31T23:59:59", "the year 1969 is not between 1970 and 2999", id="before the first year"),
        pytest.param("3000-01-01", "the year 3000 is not between 1970 and 2999", id="after the last year"),
        pytest.param("0001-01-01T00:00+23:59", "the year 1 is not between", id="the first year of all"),
        pytest.param("9999-12-31T23:59:59-23:59", "the year 9999 is not between", id="the last year of all"),
    ],
)
def test_what_is_no_instant_is_refused(text: str, why: str) -> None:
    with pytest.raises(ImhelperError, match=why):
        parse_instant(text, BRUSSELS)


def test_an_unknown_zone_is_refused_where_it_is_needed() -> None:
    assert parse_instant("2026-11-23T09:30Z", "Mars/Phobos") == at("2026-11-23T09:30Z")
    with pytest.raises(ImhelperError, match="unknown time zone 'Mars/Phobos'"):
        parse_instant("2026-11-23T09:30", "Mars/Phobos")


def test_of_a_long_text_the_beginning_is_told() -> None:
    with pytest.raises(ImhelperError) as raised:
        parse_instant("x" * 5000, "UTC")
    assert str(raised.value).startswith(f"'{'x' * 60}' is no time")


@given(st.text() | st.text("0123456789:-+.TWZ ", min_size=8))
@example("2026-11-23T09:30\ud800")
def test_any_text_is_an_instant_or_is_refused(text: str) -> None:
    try:
        instant = parse_instant(text, "UTC")
    except ImhelperError:
        return
    assert at("1969-12-31T00:00Z") <= instant <= at("3000-01-02T00:00Z")


def test_the_second_of_two_equal_times_is_told_by_its_fold() -> None:
    moment = datetime(2026, 10, 25, 2, 30)
    assert instant_of(moment, BRUSSELS) == at("2026-10-25T02:30+02:00")
    assert instant_of(moment.replace(fold=1), BRUSSELS) == at("2026-10-25T02:30+01:00")


# ---- the oracle -----------------------------------------------------------------------------------------------------

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ZONES: Final = (
    BRUSSELS,
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    KATHMANDU,  # none, and a quarter of an hour from the others
    "Africa/Casablanca",  # around Ramadan
    "America/St_Johns",  # until 2011 a minute past midnight, so back into the day before
    "Asia/Gaza",
    "Asia/Tehran",  # in 2014 from a Monday back into the week before
    "Pacific/Apia",  # where the last Friday of 2011 was skipped
    "UTC",
)
YEARS: Final = (*range(2010, 2016), *range(2024, 2029))


def marks(days: frozenset[int], hours: list[tuple[int, int]], unit: int) -> set[tuple[int, int]]:
    """Marks the parts of a week one by one: (day, part of the day), each part so many seconds long."""
    marked = set()
    for day in days:
        for start, end in hours:
            today, part = day, start
            while part != end:
                marked.add((today, part))
                part += 1
                if part == DAY // unit != end:
                    today, part = (today + 1) % 7, 0
    return marked


class Week(NamedTuple):
    """What an administrator wrote, in numbers: hours are pairs of units (minutes or seconds) of the day."""

    zone: str
    days: frozenset[int]
    hours: list[tuple[int, int]]
    unit: int

    def schedule(self) -> Schedule:
        """What is to be tested."""
        texts = [f"{clock(start * self.unit)}-{clock(end * self.unit)}" for start, end in self.hours]
        days = parse_days(",".join(DAYS[day] for day in self.days))
        return Schedule("own", self.zone, week_stretches(days, [parse_hours(text) for text in texts]))

    def oracle(self) -> Callable[[float], bool]:
        """What the clock on the wall shows must be marked."""
        marked = marks(self.days, self.hours, self.unit)

        def is_marked(instant: float) -> bool:
            wall = wall_at(instant, self.zone)
            return (wall.weekday(), second_of_day(wall) // self.unit) in marked

        return is_marked


def clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def second_of_day(wall: datetime) -> int:
    return wall.hour * 3600 + wall.minute * 60 + wall.second


def wall_at(instant: float, zone: str) -> datetime:
    return (EPOCH + timedelta(seconds=int(instant))).astimezone(ZoneInfo(zone))


@cache
def changes(zone: str) -> list[int]:
    """The instants at which a zone changes its offset, found by looking at it day by day, then minute by minute."""

    def offset(instant: int) -> timedelta | None:
        return wall_at(instant, zone).utcoffset()

    ends = [(int(at(f"{year}-01-01T00:00Z")), int(at(f"{year + 1}-01-01T00:00Z"))) for year in YEARS]
    days = [day for first, last in ends for day in range(first, last, DAY) if offset(day) != offset(day + DAY)]
    return [next(t for t in range(day, day + DAY + 1, 60) if offset(t) != offset(day)) for day in days]


def test_the_oracle_knows_when_clocks_change() -> None:
    assert int(at("2026-03-29T01:00Z")) in changes(BRUSSELS)
    assert int(at("2026-10-25T01:00Z")) in changes(BRUSSELS)
    assert int(at("2011-12-30T10:00Z")) in changes("Pacific/Apia")
    assert int(at("2010-11-07T02:31Z")) in changes("America/St_Johns")
    assert changes(KATHMANDU) == changes("UTC") == []


def instants_near(week: Week, anchor: int) -> st.SearchStrategy[float]:
    """Around a change of the clock, and around the edges of a schedule in those days."""
    day = wall_at(anchor, week.zone).replace(tzinfo=None, hour=0, minute=0, second=0)
    at_edges = st.builds(
        lambda date, unit, fold, more: (
            (date + timedelta(seconds=unit * week.unit)).replace(tzinfo=ZoneInfo(week.zone), fold=fold).timestamp()
            + more
        ),
        st.sampled_from([day + timedelta(days=n) for n in range(-2, 3)]),
        st.sampled_from([edge for pair in week.hours for edge in pair]),
        st.sampled_from((0, 1)),
        st.integers(-2, 2),
    )
    whole = (
        at_edges
        | st.integers(-2, 2).map(lambda more: anchor + more)
        | st.sampled_from((-DAY, DAY)).map(lambda more: anchor + more)
        | st.integers(-3 * HOUR, 3 * HOUR).map(lambda more: anchor + more)
        | st.integers(-4 * DAY, 4 * DAY).map(lambda more: anchor + more)
    )
    return st.builds(lambda t, fraction: int(t) + fraction, whole, st.sampled_from((0.0, 0.25, 0.999)))


@st.composite
def weeks(draw: st.DrawFn, unit: int) -> tuple[Week, float]:
    """A schedule with edges near a change of the clock, and an instant near both."""
    zone = draw(st.sampled_from(ZONES))
    anchor = draw(st.sampled_from(changes(zone) or [int(at("2026-11-23T00:00Z")), int(at("2026-11-29T18:15Z"))]))
    walls = [wall_at(anchor - 1, zone), wall_at(anchor, zone)]
    near_days = sorted({(wall.weekday() + more) % 7 for wall in walls for more in (-1, 0, 1)})
    days = st.frozensets(st.sampled_from(near_days), min_size=1, max_size=4)
    hours = st.lists(st.sampled_from(walls).flatmap(lambda wall: ranges_near(wall, unit)), min_size=1, max_size=3)
    week = Week(zone, draw(days), draw(hours), unit)
    return week, draw(instants_near(week, anchor))


def ranges_near(wall: datetime, unit: int) -> st.SearchStrategy[tuple[int, int]]:
    """Ranges of hours with ends near a time of the day, and anywhere; those in seconds are short ones."""
    per_day, now = DAY // unit, second_of_day(wall) // unit
    near = st.sampled_from((-120, -90, -60, -30, -15, -1, 0, 1, 2, 15, 30, 60, 90, 120)).map(
        lambda more: (now + more) % per_day
    )
    if unit == 1:
        return st.builds(lambda start, more: (start, (start + more) % per_day), near, st.integers(1, 300))
    ends = st.tuples(near | st.integers(0, per_day - 1), near | st.integers(0, per_day))
    return ends.filter(lambda pair: pair[0] != pair[1])


@given(weeks(60) | weeks(1))
def test_it_holds_when_the_clock_on_the_wall_shows_a_marked_time(case: tuple[Week, float]) -> None:
    week, instant = case
    assert holds(week.schedule(), instant) is week.oracle()(instant)


@settings(max_examples=200)
@given(weeks(60))
def test_nothing_changes_before_the_next_change(case: tuple[Week, float]) -> None:
    """Looked at in every minute: offsets and edges are on whole ones."""
    week, instant = case
    own, is_marked = week.schedule(), week.oracle()
    until = next_change(own, instant)
    assert instant < until <= instant + DAY
    looked_at = (instant, *range(int(instant // 60) * 60 + 60, int(until), 60), nextafter(until, 0))
    assert {(holds(own, t), is_marked(t)) for t in looked_at if t < until} == {(holds(own, instant),) * 2}


@given(weeks(1), st.lists(st.floats(0, 1, exclude_max=True), max_size=30))
def test_nothing_changes_before_the_next_change_by_the_second(case: tuple[Week, float], parts: list[float]) -> None:
    """Looked at in the seconds at both ends, and here and there between."""
    week, instant = case
    own, is_marked = week.schedule(), week.oracle()
    until = next_change(own, instant)
    assert instant < until <= instant + DAY
    ends = [*range(int(instant) + 1, int(instant) + 100), *range(int(until) - 100, int(until))]
    looked_at = (instant, nextafter(until, 0), *ends, *(instant + part * (until - instant) for part in parts))
    assert {(holds(own, t), is_marked(t)) for t in looked_at if instant <= t < until} == {(holds(own, instant),) * 2}


@given(weeks(60), st.integers(1, 4 * DAY))
def test_who_asks_at_each_change_knows_as_much_as_who_asks_each_time(case: tuple[Week, float], later: int) -> None:
    """As the engine does; and it is not asked much more often than there are changes."""
    week, instant = case
    own = week.schedule()
    known, until, asked = holds(own, instant), next_change(own, instant), 1
    while until <= instant + later:
        known, until, asked = holds(own, until), next_change(own, until), asked + 1
    assert known is week.oracle()(instant + later)
    days = 4 + 1
    assert asked <= 2 * days * (2 * len(week.hours) + 2)


@given(st.sampled_from(ZONES).flatmap(lambda zone: st.tuples(st.just(zone), times_near_changes(zone))))
def test_what_the_wall_shows_is_read_back(case: tuple[str, int]) -> None:
    """With its offset as a text; without one by its fold, which tells the first of two equal times from the second."""
    zone, instant = case
    wall = on_the_wall(instant + 0.5, zone)
    assert wall.isoformat() == wall_at(instant, zone).isoformat()
    assert parse_instant(wall.isoformat(), "Mars/Phobos") == instant
    assert instant_of(wall.replace(tzinfo=None), zone) == instant


def times_near_changes(zone: str) -> st.SearchStrategy[int]:
    anywhere = st.integers(DAY, int(at("2999-12-31T00:00Z")))
    near = [t + more for t in changes(zone) for more in (-HOUR, -60, -1, 0, 1, 60, HOUR - 1, HOUR)]
    return anywhere | st.sampled_from(near) if near else anywhere


# ---- nights on which the clock changes ------------------------------------------------------------------------------


def spells(own: Schedule, first: float, last: float, step: Callable[[float], float]) -> Iterator[tuple[str, str]]:
    """Yields from when to when a schedule holds between two instants, looked at step by step."""
    began, now = None, first
    while now < last:
        if holds(own, now) and began is None:
            began = now
        elif not holds(own, now) and began is not None:
            yield in_utc(began), in_utc(now)
            began = None
        now = step(now)
    if began is not None:
        yield in_utc(began), "open"


def in_utc(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat()


NIGHTS: Final[dict[tuple[str, str], list[tuple[str, str, str]]]] = {
    (BRUSSELS, "2026-03-29"): [
        ("inside the hour that is skipped", "sun 02:10-02:50", ""),
        ("just that hour", "sun 02:00-03:00", ""),
        ("starts in the gap", "sun 02:30-04:00", "29T03:00+02:00/29T04:00+02:00"),
        ("ends in the gap", "sun 01:30-02:30", "29T01:30+01:00/29T02:00+01:00"),
        ("spans the gap", "sun 01:00-04:00", "29T01:00+01:00/29T04:00+02:00"),
        ("the gap left out", "sun 01:00-02:00 03:00-04:00", "29T01:00+01:00/29T04:00+02:00"),
        ("over midnight, into the change", "sat 22:00-06:00", "28T22:00+01:00/29T06:00+02:00"),
        ("over midnight, ends in the gap", "sat 22:00-02:30", "28T22:00+01:00/29T02:00+01:00"),
        ("over midnight, after the change", "sun 22:00-06:00", "29T22:00+02:00/30T06:00+02:00"),
    ],
    (BRUSSELS, "2026-04-05"): [
        ("the same a week later", "sun 02:10-02:50", "05T02:10+02:00/05T02:50+02:00"),
    ],
    (BRUSSELS, "2026-10-25"): [
        ("the hour that comes twice", "sun 02:00-03:00", "25T02:00+02:00/25T03:00+01:00"),
        ("inside that hour, twice", "sun 02:15-02:45", "25T02:15+02:00/25T02:45+02:00 25T02:15+01:00/25T02:45+01:00"),
        ("up to that hour, once", "sun 01:00-02:00", "25T01:00+02:00/25T02:00+02:00"),
        ("from behind that hour, once", "sun 03:00-04:00", "25T03:00+01:00/25T04:00+01:00"),
        ("ends in that hour", "sun 01:00-02:30", "25T01:00+02:00/25T02:30+02:00 25T02:00+01:00/25T02:30+01:00"),
        ("starts in that hour", "sun 02:30-04:00", "25T02:30+02:00/25T03:00+02:00 25T02:30+01:00/25T04:00+01:00"),
        ("spans that hour", "sun 01:00-04:00", "25T01:00+02:00/25T04:00+01:00"),
        ("over midnight, into the change", "sat 22:00-06:00", "24T22:00+02:00/25T06:00+01:00"),
        (
            "over midnight, ends in that hour",
            "sat 22:00-02:30",
            "24T22:00+02:00/25T02:30+02:00 25T02:00+01:00/25T02:30+01:00",
        ),
        ("over midnight, after the change", "sun 22:00-06:00", "25T22:00+01:00/26T06:00+01:00"),
    ],
    ("America/New_York", "2026-03-08"): [
        ("inside the gap", "sun 02:10-02:50", ""),
        ("spans the gap", "sat 23:00-03:30", "07T23:00-05:00/08T03:30-04:00"),
    ],
    ("America/New_York", "2026-11-01"): [
        ("twice", "sun 01:15-01:45", "01T01:15-04:00/01T01:45-04:00 01T01:15-05:00/01T01:45-05:00"),
    ],
    ("Australia/Lord_Howe", "2026-10-03"): [
        ("the half hour that is skipped", "sun 02:00-02:30", ""),
        ("starts in it", "sun 02:10-03:00", "04T02:30+11:00/04T03:00+11:00"),
    ],
    ("Australia/Lord_Howe", "2026-04-04"): [
        ("the half hour that comes twice", "sun 01:30-02:00", "05T01:30+11:00/05T02:00+10:30"),
        ("inside it, twice", "sun 01:40-01:50", "05T01:40+11:00/05T01:50+11:00 05T01:40+10:30/05T01:50+10:30"),
    ],
    ("America/St_Johns", "2010-11-07"): [
        ("Sunday begins twice", "sun 00:00-00:30", "07T00:00-02:30/07T00:01-02:30 07T00:00-03:30/07T00:30-03:30"),
        ("Saturday ends twice", "sat 23:00-24:00", "06T23:00-02:30/07T00:00-02:30 06T23:01-03:30/07T00:00-03:30"),
    ],
    ("Asia/Tehran", "2014-09-21"): [
        ("from Monday back into the week before", "sun 23:00-24:00", "21T23:00+04:30/22T00:00+03:30"),
        ("Monday begins once", "mon 00:00-01:00", "22T00:00+03:30/22T01:00+03:30"),
        (
            "over a midnight that comes later",
            "sun 23:30-00:30",
            "21T23:30+04:30/22T00:00+04:30 21T23:30+03:30/22T00:30+03:30",
        ),
    ],
    ("Pacific/Apia", "2011-12-30"): [
        ("the Friday that is skipped", "fri 00:00-24:00", ""),
        ("the night before it ends at midnight", "thu 22:00-06:00", "29T22:00-10:00/31T00:00+14:00"),
        ("its night begins at midnight", "fri 22:00-06:00", "31T00:00+14:00/31T06:00+14:00"),
    ],
    (KATHMANDU, "2026-03-29"): [
        ("nothing changes", "sun 02:10-02:50", "29T02:10+05:45/29T02:50+05:45"),
    ],
    (BRUSSELS, "2026-11-28"): [
        ("Friday night ends on Saturday", "fri 22:00-06:00", "27T22:00+01:00/28T06:00+01:00"),
        ("Saturday night ends on Sunday", "sat 22:00-06:00", "28T22:00+01:00/29T06:00+01:00"),
    ],
    (BRUSSELS, "2026-11-29"): [
        ("Sunday night ends on Monday", "sun 22:00-06:00", "29T22:00+01:00/30T06:00+01:00"),
    ],
    (BRUSSELS, "2026-11-30"): [
        ("Sunday night is not Monday's", "sun 22:00-06:00", "29T22:00+01:00/30T06:00+01:00"),
    ],
    (BRUSSELS, "2026-11-23"): [
        ("Sunday to Monday without a seam", "sun,mon 00:00-24:00", "22T13:00+01:00/24T00:00+01:00"),
    ],
}


@pytest.mark.parametrize(
    ("zone", "date", "hours", "expected"),
    [
        pytest.param(zone, date, hours, expected, id=f"{zone} {date}: {name}")
        for (zone, date), rows in NIGHTS.items()
        for name, hours, expected in rows
    ],
)
def test_a_night(zone: str, date: str, hours: str, expected: str) -> None:
    """From noon (UTC) of the day before to noon of the day after, from change to change and minute by minute."""
    own = Schedule("own", zone, stretches(*hours.split()))
    first = at(f"{date}T12:00Z") - DAY
    wanted = [tuple(in_utc(at(date[:8] + end)) for end in spell.split("/")) for spell in expected.split()]
    assert list(spells(own, first, first + 2 * DAY, lambda now: next_change(own, now))) == wanted
    assert list(spells(own, first, first + 2 * DAY, lambda now: now + 60)) == wanted


# ---- the next change ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "hours", "now", "expected"),
    [
        pytest.param("mon-fri", ["08:00-12:00"], "2026-11-23T07:59:59", "2026-11-23T08:00", id="a second before"),
        pytest.param("mon-fri", ["08:00-12:00"], "2026-11-23T07:59:59.9", "2026-11-23T08:00", id="a tenth before"),
        pytest.param("mon-fri", ["08:00-12:00"], "2026-11-23T08:00", "2026-11-23T12:00", id="at the start"),
        pytest.param("mon-fri", ["08:00-12:00"], "2026-11-23T08:00:00.1", "2026-11-23T12:00", id="a tenth after"),
        pytest.param("mon-fri", ["08:00-12:00"], "2026-11-23T12:00", "2026-11-24T08:00", id="at the end"),
        pytest.param("mon-fri", ["08:00-12:00"], "2026-11-27T13:30", "2026-11-28T13:30", id="a day later at most"),
        pytest.param("fri", ["22:00-06:00"], "2026-11-27T22:00", "2026-11-28T06:00", id="over midnight"),
        pytest.param("mon-sun", ["00:00-24:00"], "2026-11-24T10:00", "2026-11-25T10:00", id="always"),
        pytest.param("mon", ["08:00:30-08:00:31"], "2026-11-23T08:00", "2026-11-23T08:00:30", id="seconds"),
        pytest.param("mon", ["08:00:30-08:00:31"], "2026-11-23T08:00:30", "2026-11-23T08:00:31", id="one second"),
        pytest.param("sun", ["12:00-13:00"], "2026-03-29T00:00", "2026-03-29T03:00+02:00", id="the clock goes on"),
        pytest.param("sun", ["12:00-13:00"], "2026-10-25T00:00", "2026-10-25T02:00+01:00", id="the clock goes back"),
        pytest.param("sun", ["12:00-13:00"], "2026-03-29T03:00", "2026-03-29T12:00", id="behind the change"),
    ],
)
def test_the_next_change(days: str, hours: list[str], now: str, expected: str) -> None:
    own = Schedule("own", BRUSSELS, stretches(days, *hours))
    found = next_change(own, parse_instant(now, BRUSSELS))
    assert in_utc(found) == in_utc(parse_instant(expected, BRUSSELS))


def test_a_schedule_without_stretches_never_holds_and_is_asked_once_a_day() -> None:
    own = Schedule("own", "UTC", ())
    assert not any(holds(own, at("2026-11-23T00:00Z") + n * HOUR) for n in range(168))
    assert next_change(own, at("2026-11-23T10:00Z")) == at("2026-11-24T10:00Z")
