"""Requests over time: which unit, where bars begin, and that no request gets lost."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tallies import MOST_BARS, tally_of, timeline_of, values

from squid_imhelper.base.schedule import instant_of
from squid_imhelper.dryrun.tally import OTHERS, Tally
from squid_imhelper.dryrun.timeline import SERIES, Series, make_timeline

HOUR, DAY, YEAR = 3600, 86_400, 365 * 86_400
MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
LAST = 32_503_680_000 - 1


@pytest.mark.parametrize(
    ("seconds", "unit", "number"),
    [
        (0, "hour", 1),
        (23 * HOUR, "hour", 24),
        (4 * DAY, "hour", 97),
        (5 * DAY, "2 hours", 61),
        (7 * DAY, "2 hours", 85),
        (10 * DAY, "day", 11),
        (30 * DAY, "day", 31),
        (365 * DAY, "week", 53),
        (3 * YEAR, "month", 37),
        (30 * YEAR, "year", 31),
        (300 * YEAR, "decade", 31),
    ],
)
def test_a_timeline_takes_the_finest_unit_that_fits(seconds: int, unit: str, number: int) -> None:
    timeline = timeline_of((MONDAY, "blocked"), (MONDAY + seconds, "other"))
    assert (timeline.unit.name, len(timeline.starts)) == (unit, number)


def test_all_times_that_a_log_can_have_fit() -> None:
    timeline = timeline_of((0, "other"), (LAST, "blocked"), zone="Pacific/Kiritimati")
    assert len(timeline.starts) <= MOST_BARS
    assert sum(map(sum, values(timeline).values())) == 2


def test_there_is_no_timeline_without_times() -> None:
    tally = Tally(requests=3)
    tally.by_hour.count(OTHERS, 3)
    assert make_timeline(Tally(), "UTC", MOST_BARS) is None
    assert make_timeline(tally, "UTC", MOST_BARS) is None


def test_what_is_neither_blocked_nor_monitored_is_other() -> None:
    timeline = timeline_of((MONDAY, "blocked"), (MONDAY, "other"), (MONDAY, "denied"), (MONDAY + 2 * HOUR, "monitored"))
    assert values(timeline) == {"blocked": (1, 0, 0), "monitored": (0, 0, 1), "other": (2, 0, 0)}
    assert timeline.highest == 3
    assert [name for name, _ in timeline.rows()] == ["Mon 2026-11-23 00:00", "Mon 2026-11-23 02:00"]
    assert timeline.only(("monitored",)).series == (Series("monitored", (0, 0, 1)),)


@pytest.mark.parametrize(
    ("zone", "label"),
    [
        ("UTC", "Mon 2026-11-23 00:00"),
        ("Europe/Brussels", "Mon 2026-11-23 01:00"),
        ("America/Los_Angeles", "Sun 2026-11-22 16:00"),
        ("Asia/Kolkata", "Mon 2026-11-23 05:00"),
    ],
)
def test_labels_are_by_the_clock_on_the_wall(zone: str, label: str) -> None:
    assert timeline_of((MONDAY, "blocked"), zone=zone).labels == [label]


@pytest.mark.parametrize(
    ("day", "hours", "numbers"),
    [
        ("2026-10-25", 25, {2: 2}),  # the hour from two to three comes twice
        ("2026-03-29", 23, {2: 0}),  # and does not come at all
    ],
)
def test_when_the_clocks_change(day: str, hours: int, numbers: dict[int, int]) -> None:
    midnight = instant_of(datetime.fromisoformat(day), "Europe/Brussels")
    timeline = timeline_of(*((midnight + n * HOUR, "blocked") for n in range(hours)), zone="Europe/Brussels")
    assert values(timeline)["blocked"] == tuple(numbers.get(hour, 1) for hour in range(24))


@pytest.mark.parametrize(
    ("seconds", "most", "shown"),
    [
        (30 * HOUR, 12, {"00:00": False, "04:00": True, "Mon 23 Nov": True, "Tue 24 Nov": True, "05:00": False}),
        (3 * DAY, 4, {"Mon 23 Nov": True, "Thu 26 Nov": True, "12:00": False}),
        (30 * DAY, 12, {"23 Nov": True, "30 Nov": True, "24 Nov": False}),
        (3 * YEAR, 4, {"Jan 2027": True, "Jan 2028": True, "Nov 2026": False}),
        (60 * YEAR, 12, {"2030": True, "2031": False}),
    ],
)
def test_ticks_are_at_round_times(seconds: int, most: int, shown: dict[str, bool]) -> None:
    ticks = timeline_of((MONDAY, "blocked"), (MONDAY + seconds, "blocked")).ticks(most)
    assert {text: text in ticks for text in shown} == shown
    assert 1 < len(list(filter(None, ticks))) <= most + 1


requests_made = st.lists(
    st.tuples(st.floats(0, LAST) | st.floats(MONDAY, MONDAY + 40 * DAY), st.sampled_from(SERIES)), min_size=1
)


ZONES = ["UTC", "Europe/Brussels", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Antarctica/Casey"]


@given(requests_made, st.sampled_from(ZONES))
@example([(1267714800 - 1000, "blocked"), (1267714800 + 1000, "other")], "Antarctica/Casey")  # the clock goes back 3 h
@example([(1325239200 - 1000, "blocked"), (1325239200 + 1000, "other")], "Pacific/Apia")  # a day that was not there
def test_no_request_gets_lost(requests: list[tuple[float, str]], zone: str) -> None:
    timeline = timeline_of(*requests, zone=zone)
    assert len(timeline.starts) == len(timeline.labels) == len(timeline.ticks(4)) <= MOST_BARS
    assert len(set(timeline.starts)) == len(timeline.starts)
    for series in timeline.series:
        assert series.total == sum(outcome == series.name for _, outcome in requests)
    assert sum(sum(numbers) for _, numbers in timeline.rows()) == len(requests)


@pytest.mark.parametrize("most", [3, 24, 32, 200])
@pytest.mark.parametrize("seconds", [0, HOUR, 30 * HOUR, 9 * DAY, 200 * DAY, 20 * YEAR])
def test_there_are_no_more_bars_than_asked_for(most: int, seconds: int) -> None:
    timeline = make_timeline(tally_of((MONDAY, "blocked"), (MONDAY + seconds, "other")), "Europe/Brussels", most)
    assert timeline is not None
    assert len(timeline.starts) <= max(most, 4)
