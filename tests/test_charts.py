"""Timelines: which unit, and that no request gets lost. Drawings: shapes that are the numbers, and no more."""

from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallies import timeline_of

from squid_imhelper.dryrun.charts import (
    NARROW,
    WIDE,
    draw_bars,
    draw_timeline,
)
from squid_imhelper.dryrun.timeline import SERIES, Series

HOUR, DAY, YEAR = 3600, 86_400, 365 * 86_400
MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
LAST = 32_503_680_000 - 1
ELEMENTS = {
    "svg": {"viewBox", "role", "aria-label"},
    "g": {"transform", "class"},
    "path": {"d"},
    "rect": {"x", "y", "width", "height"},
    "text": {"x", "y"},
    "title": set(),
}


def parsed(svg: str) -> ElementTree.Element:
    """The drawing, of which every element and attribute is known."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        assert set(element.attrib) <= ELEMENTS[element.tag], element.tag
    return root


def bars(root: ElementTree.Element, series: str) -> list[dict[str, float]]:
    group = root.find(f"./g/g[@class='{series}']")
    return [] if group is None else [{k: float(v) for k, v in bar.attrib.items()} for bar in group.findall("rect")]


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
