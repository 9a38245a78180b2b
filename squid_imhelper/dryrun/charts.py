"""The charts of a report, as SVG for a page: drawn by pygal, and cut down to shapes, labels and the page's own classes.

Colours, fonts and the words that go with a chart are the page's. Of pygal's drawing only the geometry is kept, not its
styles, its script, its ids, and its comments with the date in them: the same numbers give the same bytes.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from squid_imhelper.base.schedule import on_the_wall
from squid_imhelper.dryrun.tally import OTHERS, Tally
from squid_imhelper.offline.check import printable

SERIES: Final = ("blocked", "monitored", "other")
MOST_BARS: Final = 105
"""Bars of a timeline; a thousand years in decades."""


class Size(NamedTuple):
    """How large a chart is, in the units of its labels, and how much goes onto it."""

    width: int
    height: int
    font: int
    ticks: int
    letters: int


WIDE: Final = Size(width=960, height=250, font=12, ticks=12, letters=32)
NARROW: Final = Size(width=400, height=250, font=13, ticks=4, letters=17)
"""For phones, where the wide one could not be read."""


class Series(NamedTuple):
    """One colour of a chart: what it stands for, which is its class as well, and a number for each bar."""

    name: str
    values: tuple[int, ...]

    @property
    def total(self) -> int:
        """All bars together."""
        return sum(self.values)


# ---- time -----------------------------------------------------------------------------------------------------------


class Unit(NamedTuple):
    """What one bar of a timeline stands for: how it begins and goes on, and how it is called."""

    name: str
    seconds: int
    floor: Callable[[datetime], datetime]
    following: Callable[[datetime], datetime]
    label: str
    tick: Callable[[datetime], str]
    round_at: Callable[[datetime], bool]
    steps: tuple[int, ...]


def _hours(number: int, steps: tuple[int, ...]) -> Unit:
    return Unit(
        name="hour" if number == 1 else f"{number} hours",
        seconds=number * 3600,
        floor=lambda wall: wall.replace(hour=wall.hour // number * number, minute=0, second=0),
        following=lambda wall: wall + timedelta(hours=number),
        label="%a %Y-%m-%d %H:00",
        tick=lambda wall: f"{wall:%H:%M}" if wall.hour else f"{wall:%a} {wall.day} {wall:%b}",
        round_at=lambda wall: wall.hour == 0,
        steps=steps,
    )


def _days(number: int, name: str, label: str, steps: tuple[int, ...]) -> Unit:
    return Unit(
        name=name,
        seconds=number * 86_400,
        floor=lambda wall: _midnight(wall) - timedelta(wall.weekday() if number > 1 else 0),
        following=lambda wall: wall + timedelta(number),
        label=label,
        tick=lambda wall: f"{wall.day} {wall:%b}",
        round_at=lambda wall: wall.weekday() == 0,
        steps=steps,
    )


def _years(number: int, name: str) -> Unit:
    return Unit(
        name=name,
        seconds=number * 365 * 86_400,
        floor=lambda wall: _midnight(wall).replace(year=wall.year // number * number, month=1, day=1),
        following=lambda wall: wall.replace(year=wall.year + number),
        label="%Y",
        tick=lambda wall: f"{wall:%Y}",
        round_at=lambda wall: wall.year % (10 * number) == 0,
        steps=(1, 2, 5, 10, 20, 50),
    )


def _midnight(wall: datetime) -> datetime:
    return wall.replace(hour=0, minute=0, second=0)


_MONTH: Final = Unit(
    name="month",
    seconds=28 * 86_400,
    floor=lambda wall: _midnight(wall).replace(day=1),
    following=lambda wall: (wall + timedelta(31)).replace(day=1),
    label="%Y-%m",
    tick=lambda wall: f"{wall:%b %Y}",
    round_at=lambda wall: wall.month == 1,
    steps=(1, 2, 3, 6, 12, 24, 48),
)
UNITS: Final = (
    _hours(1, (1, 2, 4, 6, 8, 12, 24, 48)),
    _hours(2, (1, 2, 3, 6, 12, 24)),
    _days(1, "day", "%a %Y-%m-%d", (1, 2, 7, 14, 28, 56)),
    _days(7, "week", "week from %Y-%m-%d", (1, 2, 4, 13, 26, 52)),
    _MONTH,
    _years(1, "year"),
    _years(10, "decade"),
)
"""The first one that needs not too many bars is taken."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Numbers over time: when each bar begins, by the clock on the wall, without a gap, and the series."""

    unit: Unit
    starts: tuple[datetime, ...]
    series: tuple[Series, ...]

    @property
    def highest(self) -> int:
        """The number of the highest column."""
        return max(map(sum, zip(*(each.values for each in self.series), strict=True)), default=0)

    @property
    def labels(self) -> list[str]:
        """What each bar is called."""
        return [format(start, self.unit.label) for start in self.starts]

    def only(self, names: Collection[str]) -> "Timeline":
        """The same time with fewer series."""
        return replace(self, series=tuple(each for each in self.series if each.name in names))

    def rows(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Each bar's label and numbers, those without any left out."""
        for label, numbers in zip(self.labels, zip(*(each.values for each in self.series), strict=True), strict=True):
            if any(numbers):
                yield label, numbers

    def ticks(self, most: int) -> list[str]:
        """What stands below each bar: a short text below some of them, at round times, "" below the others."""
        anchor = next((n for n, start in enumerate(self.starts) if self.unit.round_at(start)), 0)
        steps = self.unit.steps
        step = next((step for step in steps if len(self.starts) <= step * most), steps[-1])
        return [self.unit.tick(start) if (n - anchor) % step == 0 else "" for n, start in enumerate(self.starts)]


def make_timeline(tally: Tally, zone: str) -> Timeline | None:
    """Puts hours together until there are not too many bars: what is blocked, monitored, and all other requests.

    Hours are those of UTC: where the clock on the wall is half an hour off, one counts for the bar that it begins in.

    Returns:
        The timeline, by the clock of this zone, or None where no request has a time.
    """
    blocked, monitored = (tally.outcomes[name].by_hour for name in ("blocked", "monitored"))
    walls = {key: on_the_wall(float(key), zone).replace(tzinfo=None) for key in tally.by_hour.keys() - {OTHERS}}
    if not walls:
        return None
    first, last = min(walls.values()), max(walls.values())
    unit = next((unit for unit in UNITS if (last - first).total_seconds() <= (MOST_BARS - 2) * unit.seconds), UNITS[-1])
    starts = [unit.floor(first)]
    while (following := unit.following(starts[-1])) <= last:
        starts.append(following)
    sums = {start: [0, 0, 0] for start in starts}
    for key, wall in walls.items():
        known = blocked.get(key, 0), monitored.get(key, 0)
        for place, number in enumerate((*known, max(tally.by_hour[key] - sum(known), 0))):
            sums[unit.floor(wall)][place] += number
    series = (Series(name, values) for name, values in zip(SERIES, zip(*sums.values(), strict=True), strict=True))
    return Timeline(unit, tuple(starts), tuple(series))


# ---- drawing --------------------------------------------------------------------------------------------------------


def draw_timeline(timeline: Timeline, caption: str, size: Size) -> str:
    """Stacked columns over time; on a wide chart each one tells its number to whoever points at it."""
    labels = timeline.labels
    sums = ", ".join(f"{each.total:,} {each.name}" for each in timeline.series)
    told = f"{caption}, from {labels[0]} to {labels[-1]}: {sums}"
    tree = _pygal("StackedBar", timeline.series, timeline.ticks(size.ticks), size, size.height)
    return _picture(tree, timeline.series, told, labels if size is WIDE else None)


def draw_bars(names: Sequence[str], series: Sequence[Series], caption: str, size: Size) -> str:
    """Stacked horizontal bars, the first one on top, each with its name before it and its sum behind it."""
    sums = map(sum, zip(*(each.values for each in series), strict=True))
    told = f"{caption}: " + ", ".join(f"{name} {number:,}" for name, number in zip(names, sums, strict=True))
    short = [_shortened(name, size.letters) for name in names]
    backwards = [each._replace(values=each.values[::-1]) for each in series]
    height = round(len(names) * 2.2 * size.font) + 3 * size.font
    tree = _pygal("HorizontalStackedBar", backwards, short[::-1], size, height)
    return _picture(tree, backwards, told, names[::-1] if size is WIDE else None, horizontal=True)


def _pygal(kind: str, series: Sequence[Series], labels: list[str], size: Size, height: int) -> Element:
    import pygal  # type: ignore[import-untyped]  # takes a tenth of a second, and is needed by a page only
    from pygal.etree import etree  # type: ignore[import-untyped]
    from pygal.style import Style  # type: ignore[import-untyped]

    etree.to_etree()
    chart: Any = getattr(pygal, kind)(
        style=Style(label_font_size=size.font, major_label_font_size=size.font),
        width=size.width,
        height=height,
        margin=size.font,
        margin_right=size.font * (4 if kind.startswith("Horizontal") else 1),
        spacing=size.font // 2,
        show_legend=False,
        truncate_label=-1,
        order_min=0,
        min_scale=1,
        max_scale=min(size.ticks, 5),
        value_formatter=lambda value: f"{value:,.0f}",
        js=[],
    )
    chart.x_labels = labels
    for each in series:
        chart.add(each.name, list(each.values))
    tree: Element = chart.render_tree()
    return tree


def _picture(
    tree: Element, series: Sequence[Series], told: str, labels: Sequence[str] | None, *, horizontal: bool = False
) -> str:
    """Keeps the axes and the bars: with titles where there are labels, and with sums behind horizontal ones."""
    plot = tree.find("./g/g[@class='plot']")
    if plot is None:
        raise AssertionError("pygal has changed: there is no plot in its drawing")
    attributes = {"viewBox": tree.attrib["viewBox"], "role": "img", "aria-label": printable(told)}
    picture = Element("svg", attributes)
    inner = SubElement(picture, "g", transform=_rounded(plot.attrib["transform"]))
    ends: dict[int, Element] = {}
    for group in plot.findall("g"):
        words = group.attrib["class"].split()
        if words[0] == "axis":
            lines = words[1] == ("x" if horizontal else "y")
            SubElement(inner, "g", {"class": f"axis {words[1]}"}).extend(_axis(group, lines=lines))
            continue
        colour = series[int(words[1].removeprefix("serie-"))]
        drawn = SubElement(inner, "g", {"class": colour.name})
        for number, bar in enumerate(group.iter("rect")):
            if colour.values[number]:
                ends[number] = _bar(drawn, bar, f"{labels[number]}: " if labels else "", colour, number)
    if horizontal:
        SubElement(inner, "g", {"class": "sums"}).extend(_sums(ends, series))
    return tostring(picture, encoding="unicode")


def _axis(group: Element, *, lines: bool) -> Iterator[Element]:
    for guide in group.findall("g"):
        path, text = guide.find("path"), guide.find("text")
        if lines and path is not None:
            yield Element("path", d=_rounded(path.attrib["d"]))
        if text is not None and text.text:
            label = Element("text", x=_rounded(text.attrib["x"]), y=_rounded(text.attrib["y"]))
            label.text = text.text
            yield label


def _bar(parent: Element, bar: Element, prefix: str, colour: Series, number: int) -> Element:
    sides = {side: _rounded(bar.attrib[side]) for side in ("x", "y", "width", "height")}
    drawn = SubElement(parent, "rect", sides)
    if prefix:
        SubElement(drawn, "title").text = f"{printable(prefix)}{colour.values[number]:,} {colour.name}"
    return drawn


def _sums(ends: Mapping[int, Element], series: Iterable[Series]) -> Iterator[Element]:
    """Behind the last rectangle of each bar."""
    for number, bar in ends.items():
        x, y, width, height = (float(bar.attrib[side]) for side in ("x", "y", "width", "height"))
        text = Element("text", x=_rounded(str(x + width + 6)), y=_rounded(str(y + height / 2)))
        text.text = f"{sum(each.values[number] for each in series):,}"
        yield text


def _shortened(name: str, letters: int) -> str:
    name = printable(name)
    return name if len(name) <= letters else f"{name[: letters - 3].rstrip()}..."


def _rounded(text: str) -> str:
    """One digit behind the point is a tenth of a pixel."""
    return _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), text)


_NUMBER: Final = re.compile(r"\d+\.\d+")
