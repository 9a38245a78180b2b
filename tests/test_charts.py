"""Timelines: which unit, and that no request gets lost. Drawings: shapes that are the numbers, and no more."""

from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.schedule import instant_of
from squid_imhelper.dryrun.charts import (
    MOST_BARS,
    NARROW,
    SERIES,
    WIDE,
    Series,
    Timeline,
    draw_bars,
    draw_timeline,
    make_timeline,
)
from squid_imhelper.dryrun.tally import OTHERS, Case, Tally

HOUR, DAY, YEAR = 3600, 86_400, 365 * 86_400
MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
LAST = 32_503_680_000 - 1
CASE = Case("whatsapp", "no messengers", "10.0.0.1", "web.whatsapp.com")
ELEMENTS = {
    "svg": {"viewBox", "role", "aria-label"},
    "g": {"transform", "class"},
    "path": {"d"},
    "rect": {"x", "y", "width", "height"},
    "text": {"x", "y"},
    "title": set(),
}


def tally_of(*requests: tuple[float, str]) -> Tally:
    """Requests by their times and what became of them."""
    tally = Tally()
    for time, outcome in requests:
        tally.requests += 1
        tally.see(time)
        if outcome != "other":
            tally.outcomes[outcome].count(CASE, "", "", time)
    return tally


def timeline_of(*requests: tuple[float, str], zone: str = "UTC") -> Timeline:
    timeline = make_timeline(tally_of(*requests), zone)
    assert timeline is not None
    return timeline


def values(timeline: Timeline) -> dict[str, tuple[int, ...]]:
    return {series.name: series.values for series in timeline.series}


def parsed(svg: str) -> ElementTree.Element:
    """The drawing, of which every element and attribute is known."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        assert set(element.attrib) <= ELEMENTS[element.tag], element.tag
    return root


def bars(root: ElementTree.Element, series: str) -> list[dict[str, float]]:
    group = root.find(f"./g/g[@class='{series}']")
    return [] if group is None else [{k: float(v) for k, v in bar.attrib.items()} for bar in group.findall("rect")]


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
    assert make_timeline(Tally(), "UTC") is None
    assert make_timeline(tally, "UTC") is None


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


@given(requests_made, st.sampled_from(["UTC", "Europe/Brussels", "Asia/Kathmandu", "Australia/Lord_Howe"]))
def test_no_request_gets_lost(requests: list[tuple[float, str]], zone: str) -> None:
    timeline = timeline_of(*requests, zone=zone)
    assert len(timeline.starts) == len(timeline.labels) == len(timeline.ticks(4)) <= MOST_BARS
    assert len(set(timeline.starts)) == len(timeline.starts)
    for series in timeline.series:
        assert series.total == sum(outcome == series.name for _, outcome in requests)
    assert sum(sum(numbers) for _, numbers in timeline.rows()) == len(requests)


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_columns_are_as_high_as_their_numbers_and_stand_on_each_other(size: object) -> None:
    requests = [(MONDAY, "blocked")] * 30 + [(MONDAY + HOUR, "blocked")] * 10 + [(MONDAY, "monitored")] * 20
    root = parsed(draw_timeline(timeline_of(*requests), "Requests", WIDE if size is WIDE else NARROW))
    (high, low), (upper,) = bars(root, "blocked"), bars(root, "monitored")
    assert high["height"] == pytest.approx(3 * low["height"], abs=0.5)
    assert upper["height"] == pytest.approx(2 * low["height"], abs=0.5)
    assert upper["y"] + upper["height"] == pytest.approx(high["y"], abs=0.2)
    assert upper["x"] == high["x"] < low["x"]
    assert bars(root, "other") == []


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**6)), min_size=1, max_size=12), st.booleans())
def test_bars_stay_on_their_chart(numbers: list[tuple[int, int]], narrow: bool) -> None:
    size = NARROW if narrow else WIDE
    series = [Series(name, values) for name, values in zip(SERIES, zip(*numbers, strict=True), strict=False)]
    root = parsed(draw_bars([f"service {n}" for n in range(len(numbers))], series, "Requests", size))
    for each in series:
        drawn = bars(root, each.name)
        assert len(drawn) == sum(value > 0 for value in each.values)
        assert all(bar["x"] >= 0 and bar["x"] + bar["width"] <= size.width for bar in drawn)
    sums = {element.text for element in root.findall("./g/g[@class='sums']/text")}
    assert sums == {f"{sum(pair):,}" for pair in numbers if any(pair)}


def test_bars_stand_in_order_with_their_names_before_them() -> None:
    root = parsed(draw_bars(["first", "second"], [Series("blocked", (9, 3))], "Requests", WIDE))
    names = {text.text: float(text.attrib["y"]) for text in root.findall("./g/g[@class='axis y']/text")}
    assert names["first"] < names["second"]
    titles = {title.text: bar for bar in root.iter("rect") for title in bar}
    assert float(titles["first: 9 blocked"].attrib["y"]) < float(titles["second: 3 blocked"].attrib["y"])


def test_a_chart_tells_its_numbers_to_who_cannot_see_it() -> None:
    timeline = timeline_of((MONDAY, "blocked"), (MONDAY + HOUR, "other"))
    label = parsed(draw_timeline(timeline, "Requests per hour", NARROW)).attrib["aria-label"]
    assert label == (
        "Requests per hour, from Mon 2026-11-23 00:00 to Mon 2026-11-23 01:00: 1 blocked, 0 monitored, 1 other"
    )
    label = parsed(draw_bars(["a", "b"], [Series("blocked", (1200, 3))], "Requests", NARROW)).attrib["aria-label"]
    assert label == "Requests: a 1,200, b 3"


def test_only_a_wide_chart_has_titles_to_point_at() -> None:
    timeline = timeline_of((MONDAY, "blocked"))
    titles = [title.text for title in parsed(draw_timeline(timeline, "Requests", WIDE)).iter("title")]
    assert titles == ["Mon 2026-11-23 00:00: 1 blocked"]
    assert list(parsed(draw_timeline(timeline, "Requests", NARROW)).iter("title")) == []


def test_long_names_are_cut_where_there_is_no_room() -> None:
    name = "A service with a name that nobody can remember"
    root = parsed(draw_bars([name], [Series("blocked", (1,))], "Requests", NARROW))
    shown = [text.text for text in root.findall("./g/g[@class='axis y']/text")]
    assert shown == ["A service with..."]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><rect x="0"/>', "a\x00b\x1b", "\udc80", "\u202egpj.exe"]
)
def test_a_name_is_only_text(name: str) -> None:
    svg = draw_bars([name], [Series("blocked", (1,))], "Requests", WIDE)
    root = parsed(svg)
    assert svg.encode()
    assert svg.isprintable()
    assert len(list(root.iter("rect"))) == 1


def test_nothing_to_draw_is_drawn_as_nothing() -> None:
    assert bars(parsed(draw_bars([], [Series("blocked", ())], "Requests", WIDE)), "blocked") == []
    empty = timeline_of((MONDAY, "other")).only(("blocked",))
    assert bars(parsed(draw_timeline(empty, "Requests", WIDE)), "blocked") == []


def test_the_same_numbers_give_the_same_bytes() -> None:
    timeline = timeline_of((MONDAY, "blocked"), (MONDAY + 30 * DAY, "other"))
    assert draw_timeline(timeline, "Requests", WIDE) == draw_timeline(timeline, "Requests", WIDE)
    assert draw_bars(["a"], [Series("blocked", (1,))], "x", WIDE) == draw_bars(
        ["a"], [Series("blocked", (1,))], "x", WIDE
    )
