"""The report of a dry run for a terminal: tables, bars and a timeline; plain text where there is none."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from squid_imhelper.base.schedule import on_the_wall
from squid_imhelper.dryrun.report import Report
from squid_imhelper.dryrun.tally import OTHERS, Breakdown, Counts, Example, Tally
from squid_imhelper.dryrun.timeline import make_timeline
from squid_imhelper.offline.check import printable

_MOST: Final = 10
"""Lines of a table; the HTML report and `--json` have the rest."""
_BAR: Final = 24
_MOST_BARS: Final = 32
_COLUMN: Final = 60
"""Characters of a host or a URL that are shown."""
_STYLES: Final = {"blocked": "red", "monitored": "yellow", "newly_blocked": "red", "newly_allowed": "green"}


def print_report(report: Report, console: Console) -> None:
    """Prints all of it, the numbers first and what has to be known about them last."""
    tally = report.outcome.tally
    for part in _head(report):
        console.print(part, soft_wrap=isinstance(part, Text))
    if not tally.requests:
        console.print(Text("  There is no request to decide."))
    blocked = tally.outcomes["blocked"]
    sections: list[tuple[str, RenderableType | None]] = [
        ("Timeline", _timeline(report) if blocked.total or tally.outcomes["monitored"].total else None),
        ("Blocked, by service", _counted("service", blocked.by_service, blocked.total, report)),
        ("Blocked, by rule", _counted("rule", blocked.by_rule, blocked.total)),
        ("Blocked, by client", _clients(blocked, tally.by_client)),
        ("Blocked, by host", _counted("host", blocked.by_host, blocked.total)),
        ("Monitored", _cases(tally.outcomes["monitored"], report)),
    ]
    if report.against:
        for name in ("newly_blocked", "newly_allowed"):
            change = tally.outcomes[name]
            title = f"{name.replace('_', ' ').capitalize()}: {change.total:,}"
            sections.append((title, _cases(change, report) or Text("  nothing")))
    sections += [
        ("Also hit when these are blocked", _collateral(report)),
        ("To be known", _notes(report.notes)),
        ("Lines that could not be read", _examples(tally.malformed, tally.skipped.get("malformed", 0))),
        ("Requests that could not be decided", _examples(tally.failures, tally.failed)),
    ]
    for title, body in sections:
        if body is not None:
            console.print()
            console.print(Text(title, style="bold"))
            console.print(body)


def news(tally: Tally, zone: str) -> Iterator[str]:
    """Yields a line for each case that has just come up, as `--follow` shows them."""
    for outcome in ("blocked", "monitored"):
        for case, row in tally.outcomes[outcome].rows.items():
            when = f"{on_the_wall(row.last, zone):%Y-%m-%d %H:%M:%S}" if row.last is not None else "-"
            times = f"  x{row.count}" if row.count > 1 else ""
            yield printable(
                f"{when}  {outcome:<9}  {case.client:<15}  {case.service:<20}  {row.url}{times}  ({case.rule})"
            )


def _head(report: Report) -> Iterator[RenderableType]:
    tally = report.outcome.tally
    against = f", against {report.against}" if report.against else ""
    yield Text(printable(f"Dry run of {report.policy}{against}"), style="bold")
    for file in report.outcome.files:
        parts = [file.log.log_format.description] if file.log.log_format else []
        parts += [f"{file.lines:,} lines"] if file.lines or not file.problem else []
        parts += [f"{file.skipped:,} skipped"] if file.skipped else []
        problem = file.problem.removeprefix(f"{file.log.path}: ")
        yield Text(printable(f"  {file.log.path}: {', '.join([*parts, problem] if problem else parts)}"))
    if tally.first is not None and tally.last is not None:
        first, last = (f"{on_the_wall(time, report.zone):%a %Y-%m-%d %H:%M:%S}" for time in (tally.first, tally.last))
        yield Text(f"  {first} to {last} ({report.zone})")
    if report.outcome.ended_by:
        yield Text("  interrupted: the numbers are of what was read until then", style="yellow")
    yield ""
    yield _totals(report)


def _totals(report: Report) -> Table:
    tally = report.outcome.tally
    blocked, monitored = (tally.outcomes[name] for name in ("blocked", "monitored"))
    clients, too = blocked.by_client.known, tally.outcomes["denied"].total
    more = "more than " if OTHERS in blocked.by_client else ""
    share = _share(blocked.total, tally.requests)
    rows = [
        ("requests", tally.requests, ""),
        ("blocked", blocked.total, f"{share}, {more}{clients:,} {_plural('client', clients)}"),
        ("monitored", monitored.total, "let through and recorded"),
        ("denied", tally.denied, f"by Squid itself; of these, the policy would block {too:,}"),
        ("skipped", sum(tally.skipped.values()), ", ".join(f"{n:,} {kind}" for kind, n in tally.skipped.top(9))),
    ]
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=11)
    table.add_column(justify="right")
    table.add_column()
    for name, number, remark in rows:
        if number or name in ("requests", "blocked"):
            style = _STYLES.get(name, "") if number else ""
            table.add_row(Text(f"  {name}"), Text(f"{number:,}", style=style), Text(remark, style="dim"))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=True, padding=(0, 1))
    for name in columns:
        right, bar = name in ("blocked", "requests", "count", "share", "of these"), not name
        justify: Literal["left", "right"] = "right" if right else "left"
        overflow: Literal["crop", "fold"] = "crop" if bar else "fold"
        table.add_column(name, justify=justify, overflow=overflow, no_wrap=right or bar, header_style="dim")
    return table


def _counted(what: str, counts: Counts, total: int, report: Report | None = None) -> RenderableType | None:
    if not counts:
        return None
    table = _table(what, "blocked", "share", "")
    for key, number in counts.top(_MOST):
        name = f"{report.name_of(key)} ({key})" if report and report.name_of(key) != key else key
        table.add_row(_text(name), f"{number:,}", _share(number, total), _bar(number, total, "blocked"))
    return Group(table, *_left_out(counts))


def _clients(blocked: Breakdown, requests: Counts) -> RenderableType | None:
    if not blocked.by_client:
        return None
    table = _table("client", "blocked", "requests", "of these", "")
    for client, number in blocked.by_client.top(_MOST):
        of = requests.get(client, 0)
        share = _share(number, of) if of else ""
        table.add_row(_text(client), f"{number:,}", f"{of:,}", share, _bar(number, blocked.total, "blocked"))
    return Group(table, *_left_out(blocked.by_client))


def _cases(breakdown: Breakdown, report: Report) -> RenderableType | None:
    """The cases with their first examples."""
    if not breakdown.total:
        return None
    table = _table("count", "service", "client", "host", "told by", "example")
    for case, row in breakdown.top_rows(_MOST):
        service = report.name_of(case.service)
        table.add_row(f"{row.count:,}", *map(_text, (service, case.client, case.host, row.evidence, row.url)))
    services = ", ".join(f"{report.name_of(key)} {n:,}" for key, n in breakdown.by_service.top(_MOST))
    clients = ", ".join(f"{key} {n:,}" for key, n in breakdown.by_client.top(5))
    lines = [Text(printable(f"  services: {services}")), Text(printable(f"  clients: {clients}"))]
    return Group(*lines, table, *_and_more(len(breakdown.rows) - _MOST))


def _timeline(report: Report) -> RenderableType | None:
    timeline = make_timeline(report.outcome.tally, report.zone, _MOST_BARS)
    if timeline is None:
        return None
    table = _table(f"{timeline.unit.name} from", "requests", "blocked", "")
    for label, (blocked, monitored, other) in timeline.rows():
        requests = blocked + monitored + other
        table.add_row(label, f"{requests:,}", f"{blocked:,}", _stacked(blocked, monitored, requests, timeline.highest))
    return table


def _stacked(blocked: int, monitored: int, requests: int, most: int) -> Text:
    marked = [_at_least_one(_BAR * number / most, number) for number in (blocked, monitored)]
    text = Text("█" * marked[0], style=_STYLES["blocked"])
    text.append("▓" * marked[1], style=_STYLES["monitored"])
    return text.append("░" * max(0, round(_BAR * requests / most) - sum(marked)), style="dim")


def _bar(number: int, total: int, outcome: str) -> Text:
    return Text("█" * _at_least_one(_BAR * number / total if total else 0, number), style=_STYLES[outcome])


def _at_least_one(width: float, number: int) -> int:
    return max(1, round(width)) if number else 0


def _collateral(report: Report) -> RenderableType | None:
    if not report.collateral:
        return None
    lines = [f"{own.name} ({own.count:,} blocked): {own.text}" for own in report.collateral[:_MOST]]
    return Group(_bullets(lines), *_and_more(len(report.collateral) - _MOST))


def _notes(notes: Sequence[str]) -> RenderableType | None:
    return _bullets(notes) if notes else None


def _bullets(lines: Iterable[str]) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for line in lines:
        table.add_row("  -", Text(printable(line)))
    return table


def _examples(examples: Sequence[Example], number: int) -> RenderableType | None:
    if not examples:
        return None
    lines = [f"  {own.path}:{own.line}: {own.reason}: {_cut(own.text)}" for own in examples[:_MOST]]
    return Group(*(Text(printable(line)) for line in lines), *_and_more(number - len(lines)))


def _left_out(counts: Counts) -> Iterator[Text]:
    yield from _and_more(counts.known - _MOST)
    if number := counts.get(OTHERS):
        yield Text(f"  and {number:,} requests of {OTHERS}", style="dim")


def _and_more(number: int) -> Iterator[Text]:
    if number > 0:
        yield Text(f"  and {number:,} more", style="dim")


def _text(value: str) -> Text:
    return Text(printable(_cut(value)))


def _cut(value: str) -> str:
    return value if len(value) <= _COLUMN else f"{value[: _COLUMN - 1]}…"


def _share(number: int, total: int) -> str:
    return f"{100 * number / total:.1f} %" if total else "-"


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"
