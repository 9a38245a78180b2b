"""The charts of a report, as SVG for a page: drawn by pygal, and cut down to shapes, labels and the page's own classes.

Colours, fonts and the words that go with a chart are the page's. Of pygal's drawing only the geometry is kept, not its
styles, its script, its ids, and its comments with the date in them: the same numbers give the same bytes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from squid_imhelper.dryrun.timeline import Series, Timeline
from squid_imhelper.offline.check import printable


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
