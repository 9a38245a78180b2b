"""The tables and plots of README.md, from a record."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.definitions import HERE
from benchmarks.record import Record

README: Final = HERE / "README.md"
PERCENT: Final = "percentile of the requests"
UNITS: Final = {
    "lines_per_second": "lines/s",
    "requests_per_second": "requests/s",
    "cpu_us": "µs CPU a request",
    "helper_cpu_us": "µs CPU of the helper a request",
    "median_us": "µs median",
    "p99_us": "µs 99th percentile",
    "seconds": "s in all",
    "first_answer_ms": "ms to the first answer",
    "rss_mb": "MB resident",
    "pss_mb": "MB proportional",
    "private_dirty_mb": "MB private and written to",
    "program_mb": "MB program",
    "compile_seconds": "s to compile",
    "compile_gb": "GB to compile",
    "start_ms": "ms to the first answer",
    "us_office": "µs CPU a request, office",
    "us_new_hosts": "µs CPU a request, every host new",
    "longest_at_rest_ms": "ms longest wait at rest",
    "longest_ms": "ms longest wait meanwhile",
    "in_force_s": "s until in force",
}
"""How figures are told to people."""


def refresh(record: Record, readme: Path = README) -> None:
    """Writes tables and plots of a record."""
    from benchmarks.plots import draw

    readme.write_text(filled(readme.read_text(encoding="utf-8"), record), encoding="utf-8")
    for name, svg in draw(record).items():
        (readme.parent / name).write_text(svg, encoding="utf-8")


def filled(text: str, record: Record) -> str:
    """Replaces what stands between the markers of a text."""
    for name, table in _TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text = marked.sub(lambda found, table=table: found[1] + table(record) + found[2], text)  # type: ignore[misc]
    return text


def _goals(record: Record) -> str:
    rows = ["| what | came out | must | aim | |", "|---|---|---|---|---|"]
    for benchmark in record["benchmarks"].values():
        for goal in benchmark["goals"]:
            limits = (_limit(goal, goal[name]) for name in ("must", "aim"))
            value = "-" if goal["value"] is None else f"{_number(goal['value'])} {goal['unit']}"
            rows.append(f"| {goal['what']} | {value} | {' | '.join(limits)} | {goal['verdict']} |")
    return "\n".join(rows) + "\n"


def _limit(goal: Mapping[str, Any], limit: float | None) -> str:
    return "" if limit is None else f"{'≥' if goal['better'] == 'more' else '≤'} {limit:g}"


def _figures(record: Record) -> str:
    return "".join(_benchmark(name, benchmark) for name, benchmark in record["benchmarks"].items())


def _benchmark(name: str, benchmark: Mapping[str, Any]) -> str:
    runs = "median of one run" if benchmark["runs"] == 1 else f"medians of {benchmark['runs']} runs"
    about = "; ".join([f"`{name}`", runs, *benchmark["notes"]])
    return f"**{benchmark['title']}** ({about})\n\n" + "".join(_rows(benchmark["figures"])) + "\n"


def _rows(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    names = list(dict.fromkeys(figure for own in figures.values() for figure in own))
    yield "| | " + " | ".join(UNITS.get(name, name) for name in names) + " |\n|---" * 1 + "|---" * len(names) + "|\n"
    for contender, own in figures.items():
        cells = (_number(own[name]["median"]) if name in own else "" for name in names)
        yield f"| {contender} | {' | '.join(cells)} |\n"


def _number(value: float) -> str:
    """Three digits are all that a measurement is worth."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def _machine(record: Record) -> str:
    own, versions = record["machine"], record["versions"]
    programs = ", ".join(f"{name} {version}" for name, version in versions.items())
    left_out = "".join(f"\nLeft out: {name} ({reason}).\n" for name, reason in record["left_out"].items())
    return (
        f"Measured on {record['date']}: {own['cpu']}, {own['cores']} cores, {own['memory_gb']} GB, "
        f"Linux {own['kernel']}, {own['system']}. {programs}.\n{left_out}"
    )


_TABLES: Final[Mapping[str, Callable[[Record], str]]] = {"goals": _goals, "figures": _figures, "machine": _machine}
