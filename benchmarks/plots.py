"""The plots of README.md: what one would rather look at than read in a table."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.record import Record

SCALING: Final = {"scaling-domains": "domains", "scaling-urls": "URLs", "scaling-agents": "user agents"}
LONGEST: Final = 4_600_000
TICKS: Final = [factor * 10**power for power in range(6) for factor in (1, 2, 5)]
"""Of a logarithmic scale."""


def draw(record: Record) -> dict[str, str]:
    """Returns SVG by file name, as far as the record has what is needed."""
    found = {}
    scaling = {
        what: record["benchmarks"][name]["series"] for name, what in SCALING.items() if name in record["benchmarks"]
    }
    if scaling:
        points = {what: list(next(iter(series.values()))) for what, series in scaling.items()}
        if "big-list" in record["benchmarks"] and "domains" in points:
            points["domains"].append(_longest(record["benchmarks"]["big-list"]["figures"]))
        found["scaling.svg"] = _scaling(points)
    if "ping-pong" in record["benchmarks"]:
        found["latency.svg"] = _latency(record["benchmarks"]["ping-pong"]["series"])
    return found


def _longest(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> tuple[float, float]:
    """The point of the longest list, asked the same lines."""
    return LONGEST, figures["many"]["us_new_hosts"]["median"]


def _scaling(series: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Lines a second that one core decides, against how many entries the policy has."""
    sizes = sorted({size for points in series.values() for size, _ in points})
    chart = _line("Requests that one core decides in a second, against entries in the policy")
    chart.x_labels = [f"{size:,.0f}" for size in sizes]
    for name, points in series.items():
        rates = {size: 1e6 / cost for size, cost in points}
        chart.add(name, [rates.get(size) for size in sizes])
    return _text(chart)


def _latency(series: dict[str, Sequence[Sequence[float]]]) -> str:
    """Percentiles of round trips, on a logarithmic scale."""
    chart = _line("Round trip of one request in µs, by percentile", logarithmic=True)
    chart.x_labels = [f"{percent:g}" for percent, _ in next(iter(series.values()))]
    times = [time for points in series.values() for _, time in points]
    chart.y_labels = [tick for tick in TICKS if min(times) / 2 <= tick <= max(times) * 2]
    for name, points in series.items():
        chart.add(name, [time for _, time in points])
    return _text(chart)


def _line(title: str, **options: object) -> Any:  # pygal has no types
    import pygal  # type: ignore[import-untyped]
    from pygal.style import CleanStyle  # type: ignore[import-untyped]

    white, grey = "#ffffff", "#dddddd"
    style = CleanStyle(
        background=white,
        plot_background=white,
        font_family="sans-serif",
        title_font_size=16,
        label_font_size=12,
        major_label_font_size=12,
        guide_stroke_color=grey,
        major_guide_stroke_color=grey,
        colors=("#005f9e", "#c1440e", "#2e7d32"),
    )
    chart = pygal.Line(
        style=style, title=title, width=900, height=360, js=(), legend_at_bottom=True, no_prefix=True, **options
    )
    chart.value_formatter = lambda value: f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
    if not options:
        chart.include_x_axis = True
    return chart


def _text(chart: Any) -> str:
    """As text, without what changes from one drawing to the next, and without addresses of other machines."""
    text: str = chart.render(is_unicode=True, disable_xml_declaration=True)
    return re.sub(r"<!--.*?-->|<script.*?</script>", "", text, flags=re.DOTALL) + "\n"
