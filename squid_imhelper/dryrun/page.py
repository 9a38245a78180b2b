"""The report as one page of HTML that needs nothing but itself: no network, no other file, and no script to be read.

Attributes hold the page's own words and numbers, and URLs are text, never links. The page's Content-Security-Policy
allows its own script, by its digest, and nothing else.
"""

import base64
import hashlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from string import Template
from typing import Final

from squid_imhelper.base.schedule import on_the_wall
from squid_imhelper.dryrun.charts import NARROW, WIDE, Size, draw_bars, draw_timeline
from squid_imhelper.dryrun.markup import Column, Html, escaped, make_table, tag
from squid_imhelper.dryrun.report import Report
from squid_imhelper.dryrun.tally import NOTHING, OTHERS, OUTCOMES, Counts
from squid_imhelper.dryrun.timeline import Series, make_timeline
from squid_imhelper.logs.logfiles import STDIN, LogFile

CASES: Final = 2_000
RANKED: Final = 25
CHANGED: Final = 10
CHARTED: Final = 12
MOST_BARS: Final = 105
"""Rows of the table of cases, of those of clients and hosts, of those about changes; services in a chart; its bars."""
_NAMED: Final = 3
_LOW: Final = 3  # what is so much lower than all gets a chart of its own
_BY_SERVICE: Final = "Requests by service"
_OUTCOMES: Final = {name: name.replace("_", " ").replace("denied", "denied by Squid") for name in OUTCOMES}
_CHANGES: Final = {
    "newly_blocked": "let through so far, and would be blocked",
    "newly_allowed": "blocked so far, and would be let through",
}
_HIT: Final = ("blocked", "monitored")
_NONE: Final = {"Service": "no messenger", "Rule": "no rule", "Client": "not told", "Host": "none"}


def render_page(report: Report, version: str) -> str:
    """Returns the page: the same for the same report, and text that UTF-8 can hold, whatever the log does."""
    made = [(title, slug, list(make(report))) for slug, (title, make) in _SECTIONS.items()]
    sections = [(title, slug, content) for title, slug, content in made if any(content)]
    links = (tag("li", tag("a", title, href=f"#{slug}")) for title, slug, _ in sections)
    body = (
        tag("header", *_head(report)),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *(tag("section", tag("h2", title), *content, id=slug) for title, slug, content in sections)),
        tag("footer", f"Made by squid-imhelper {version}. This page needs no network, and sends nothing."),
    )
    script = _part("page.js")
    return Template(_part("page.html")).substitute(
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=escaped(f"Dry run of {report.policy}"),
        style=_part("page.css"),
        body="\n".join(body),
        script=script,
    )


def _part(name: str) -> str:
    return (pkgutil.get_data("squid_imhelper.dryrun", name) or b"").decode()


def _share(part: int, whole: int) -> str:
    """In per cent; little is not shown as nothing, and nearly all not as all."""
    if not 0 < part < whole:
        return "100%" if part and whole else "0%"
    share = f"{100 * part / whole:.1f}%"
    return {"0.0%": "<0.1%", "100.0%": ">99.9%"}.get(share, share)


def _number(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _known(counts: Counts) -> str:
    """How many different values there are."""
    return f"{len(counts.keys() - {NOTHING, OTHERS}):,}" + (" and more" if OTHERS in counts else "")


def _when(instant: float | None, report: Report) -> str:
    return "" if instant is None else f"{on_the_wall(instant, report.zone):%Y-%m-%d %H:%M:%S}"


def _value(kind: str, value: str, report: Report) -> str:
    """A value as people know it: a service by its name and its id; in place of none, words that say so."""
    if value == NOTHING:
        return tag("span", _NONE[kind], class_="none")
    if kind == "Service" and value in report.names:
        return Html(f"{escaped(report.names[value])} {tag('code', value)}")
    return value


# ---- tables ---------------------------------------------------------------------------------------------------------


def _bar(part: int, whole: int) -> Html:
    filled = tag("i", style=f"width:{100 * part / max(whole, 1):.1f}%")
    return Html(tag("span", filled, class_="bar", aria_hidden="true") + escaped(_share(part, whole)))


Details = Mapping[Column, Callable[[str], str]]
"""More columns of a ranking, and what stands in them for a value."""


def _ranking(kind: str, report: Report, outcomes: Sequence[str], most: int, details: Details) -> Html:
    """Services, rules, clients or hosts, the most frequent first; those that are not shown are one row at the end.

    They are ranked by the first outcome; the others are columns where there is something in them.
    """
    parts = [_counts(report, outcome, kind) for outcome in outcomes]
    parts = [parts[0], *filter(None, parts[1:])]
    both = _added(parts)
    if not both:
        return Html()
    keys = sorted(both.keys() - {OTHERS}, key=lambda key: (-parts[0].get(key, 0), -both[key], key))[:most]
    total = sum(parts[0].values())

    def cells(numbers: Sequence[int]) -> list[str]:
        return [f"{numbers[0]:,}", _bar(numbers[0], total), *(f"{number:,}" for number in numbers[1:])]

    first, *others = (_OUTCOMES[outcome].capitalize() for outcome in outcomes[: len(parts)])
    columns = [Column(kind), Column(first, "n"), Column("Share", "s"), *(Column(other, "n") for other in others)]
    rows = [
        [_value(kind, key, report), *cells([part.get(key, 0) for part in parts]), *(d(key) for d in details.values())]
        for key in keys
    ]
    last: list[str] = []
    if len(both) > len(keys):
        rest = [sum(part.values()) - sum(part.get(key, 0) for key in keys) for part in parts]
        last = ["all others", *cells(rest), *("" for _ in details)]
    caption = f"{_number(len(both), kind.lower())}, {_number(total, 'request')} {_OUTCOMES[outcomes[0]]}"
    return make_table(caption, [*columns, *details], rows, last)


def _added(parts: Iterable[Counts]) -> Counts:
    both = Counts()
    for part in parts:
        both.add(part)
    return both


def _counts(report: Report, outcome: str, kind: str) -> Counts:
    counts: Counts = getattr(report.outcome.tally.outcomes[outcome], f"by_{kind.lower()}")
    return counts


# ---- sections -------------------------------------------------------------------------------------------------------


def _head(report: Report) -> Iterator[Html]:
    tally, files = report.outcome.tally, report.outcome.files
    yield tag("p", "squid-imhelper", class_="muted")
    yield tag("h1", f"Dry run of {report.policy}")
    yield tag("p", _in_short(report), class_="lead")
    if report.outcome.ended_by:
        yield tag("p", "The dry run was ended early: all numbers are of what had been read by then.", class_="warning")
    yield from (tag("p", file.problem, class_="warning") for file in files if file.problem)
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(tally.skipped.items()))
    facts = {
        "Compared with": report.against,
        "From": _when(tally.first, report) or "not told by the logs",
        "To": _when(tally.last, report),
        "Time zone": report.zone,
        "Lines": f"{tally.lines:,}" + (f", of which no requests: {reasons}" if reasons else ""),
    }
    pairs = (Html(tag("dt", name) + tag("dd", value)) for name, value in facts.items() if value)
    yield tag("dl", *pairs, class_="facts")
    columns = (Column("Log"), Column("Format"), Column("Lines", "n"), Column("Skipped", "n"))
    rows = ((*_log(file.log), f"{file.lines:,}", f"{file.skipped:,}") for file in files)
    yield tag(
        "details", tag("summary", _number(len(files), "log")), make_table("The logs that were read", columns, rows)
    )


def _log(log: LogFile) -> tuple[str, str]:
    known = log.log_format.description if log.log_format else "not recognised"
    return "standard input" if log.path == STDIN else log.path, known


def _in_short(report: Report) -> str:
    tally, blocked = report.outcome.tally, report.outcome.tally.outcomes["blocked"]
    if not tally.requests:
        return "There is no request in the logs."
    every = len(tally.by_client.keys() - {NOTHING, OTHERS})
    of_all = f"{_known(tally.by_client)} {'client' if every == 1 else 'clients'}"
    clients = f", from {_known(blocked.by_client)} of {of_all}" if every else ""
    some = f"{blocked.total:,} ({_share(blocked.total, tally.requests)}){clients}"
    text = f"Of {_number(tally.requests, 'request')}, this policy would block {some if blocked.total else 'none'}."
    if report.against:
        more, less = (tally.outcomes[name].total for name in _CHANGES)
        text += f" Compared with {report.against}, it newly blocks {more:,} and newly allows {less:,}."
    return text


def _summary(report: Report) -> Iterator[Html]:
    tally = report.outcome.tally
    totals = {name: part.total for name, part in tally.outcomes.items()}
    blocked, clients = tally.outcomes["blocked"], _known(tally.by_client)
    cards = [
        ("Requests", f"{tally.requests:,}", f"of {clients} clients", "plain"),
        ("Blocked", f"{blocked.total:,}", f"{_share(blocked.total, tally.requests)} of all", "blocked"),
        ("Monitored", f"{totals['monitored']:,}", "let through and recorded", "monitored"),
        ("Denied by Squid", f"{tally.denied:,}", f"{totals['denied']:,} of them blocked as well", "plain"),
    ]
    if report.against:
        cards.append(("Newly blocked", f"{totals['newly_blocked']:,}", "let through so far", "blocked"))
        cards.append(("Newly allowed", f"{totals['newly_allowed']:,}", "blocked so far", "plain"))
    cards += [
        ("Services hit", _known(blocked.by_service), "blocked at least once", "plain"),
        ("Clients hit", _known(blocked.by_client), f"of {clients}", "plain"),
    ]
    boxes = (
        tag("div", tag("dt", a), tag("dd", b), tag("dd", c, class_="more"), class_=kind) for a, b, c, kind in cards
    )
    yield tag("dl", *boxes, class_="cards")


def _time(report: Report) -> Iterator[Html]:
    tally = report.outcome.tally
    timeline = make_timeline(tally, report.zone, MOST_BARS)
    if timeline is None:
        return
    per, hit = f"per {timeline.unit.name}", timeline.only(_HIT)
    charts = [(f"All requests {per}", timeline)]
    if 0 < hit.highest < timeline.highest / _LOW:
        names = " and ".join(each.name for each in hit.series if each.total)
        charts.insert(0, (f"{names.capitalize()} requests {per}", hit))
    for caption, shown in charts:
        yield _figure(caption, shown.series, partial(draw_timeline, shown, caption))
    columns = [Column("From"), *(Column(series.name.capitalize(), "n") for series in timeline.series)]
    rows = ([label, *(f"{number:,}" for number in numbers)] for label, numbers in timeline.rows())
    table = make_table(
        f"Times in {report.zone}; other requests are let through, or denied by Squid itself", columns, rows
    )
    yield tag("details", tag("summary", "The numbers as a table"), table)
    if OTHERS in tally.by_hour:
        yield tag("p", f"Hours with few requests are not shown ({tally.by_hour[OTHERS]:,} requests).", class_="muted")


def _figure(caption: str, series: Iterable[Series], draw: Callable[[Size], str]) -> Html:
    """A chart, twice: for wide windows and for narrow ones."""
    legend = tag("ul", *(tag("li", each.name, class_=each.name) for each in series if each.total), class_="legend")
    charts = (tag("div", Html(draw(size)), class_=name) for name, size in (("wide", WIDE), ("narrow", NARROW)))
    return tag("figure", tag("figcaption", caption, legend), *charts)


def _services(report: Report) -> Iterator[Html]:
    both = _added(_counts(report, outcome, "Service") for outcome in _HIT)
    if not both:
        return
    ids = [id_ for id_, _ in both.top(CHARTED)]
    names = [_NONE["Service"] if id_ == NOTHING else report.name_of(id_) for id_ in ids]
    series = [Series(name, tuple(_counts(report, name, "Service").get(id_, 0) for id_ in ids)) for name in _HIT]
    yield _figure(_BY_SERVICE, series, partial(draw_bars, names, series, _BY_SERVICE))
    yield _ranking("Service", report, _HIT, len(both), {Column("Rules"): _companions(report, "service", "rule")})


def _companions(report: Report, of: str, what: str) -> Callable[[str], str]:
    """Tells what came together with a value: the rules of a service, the services of a host."""
    found: dict[str, Counts] = {}
    for outcome in _HIT:
        for case, row in report.outcome.tally.outcomes[outcome].rows.items():
            found.setdefault(getattr(case, of), Counts()).count(getattr(case, what), row.count)

    def describe(value: str) -> str:
        names = [name if what != "service" else report.name_of(name) for name, _ in found.get(value, Counts()).top(99)]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return ", ".join(name for name in names[:_NAMED] if name != NOTHING) + more

    return describe


def _rules(report: Report) -> Iterator[Html]:
    yield _ranking("Rule", report, _HIT, CASES, {})


def _clients(report: Report) -> Iterator[Html]:
    every, blocked = report.outcome.tally.by_client, _counts(report, "blocked", "Client")
    details: Details = {
        Column("All its requests", "n"): lambda client: f"{every.get(client, 0):,}",
        Column("Blocked of these", "n"): lambda client: _share(blocked.get(client, 0), every.get(client, 0)),
    }
    yield _ranking("Client", report, _HIT, RANKED, details)


def _hosts(report: Report) -> Iterator[Html]:
    yield _ranking("Host", report, _HIT, RANKED, {Column("Services"): _companions(report, "host", "service")})


def _changes(report: Report) -> Iterator[Html]:
    if not report.against:
        return
    for outcome, what in _CHANGES.items():
        part = report.outcome.tally.outcomes[outcome]
        yield tag("h3", f"{_OUTCOMES[outcome].capitalize()}: {_number(part.total, 'request')}")
        if part.total:
            kinds = ("Service", "Client", "Host")
            yield tag("div", *(_ranking(kind, report, [outcome], CHANGED, {}) for kind in kinds), class_="columns")
            columns = [*map(Column, kinds), Column("Requests", "n"), Column("Told by"), Column("For example", "u")]
            rows = (
                (
                    _value("Service", case.service, report),
                    case.client,
                    case.host,
                    f"{row.count:,}",
                    row.evidence,
                    row.url,
                )
                for case, row in part.top_rows(CHANGED)
            )
            yield make_table(f"Examples of what is {what}", columns, rows)


def _collateral(report: Report) -> Iterator[Html]:
    if report.collateral:
        names = (tag("strong", _value("Service", each.service, report)) for each in report.collateral)
        texts = (f": {each.count:,} blocked. {each.text}" for each in report.collateral)
        yield tag("ul", *map(partial(tag, "li"), names, texts), class_="plain")


def _notes(report: Report) -> Iterator[Html]:
    if report.notes:
        yield tag("ul", *(tag("li", note) for note in report.notes), class_="plain")


def _lines(report: Report) -> Iterator[Html]:
    tally = report.outcome.tally
    columns = (Column("Place"), Column("What is wrong"), Column("The line begins with", "u"))
    for number, what, done, examples in (
        (tally.skipped.get("malformed", 0), "line", "read", tally.malformed),
        (tally.failed, "request", "decided", tally.failures),
    ):
        if examples:
            first = f", the first {len(examples)} of them" if number > len(examples) else ""
            rows = ((f"{one.path}:{one.line}", one.reason, one.text) for one in examples)
            yield make_table(f"{_number(number, what)} could not be {done}{first}", columns, rows)


def _cases(report: Report) -> Iterator[Html]:
    parts = report.outcome.tally.outcomes
    found = [(name, case, row) for name in OUTCOMES for case, row in parts[name].top_rows(CASES)]
    if not found:
        return
    found = sorted(found, key=lambda each: -each[2].count)[:CASES]
    found.sort(key=lambda each: OUTCOMES.index(each[0]))
    rows = (
        (_OUTCOMES[name], report.name_of(case.service), *case[1:], f"{row.count:,}", *times, row.evidence, row.url)
        for name, case, row in found
        for times in [(_when(row.first, report), _when(row.last, report))]
    )
    known = sum(len(parts[name].rows) for name in OUTCOMES)
    shown = f"The {CASES:,} most frequent of {known:,} cases" if known > CASES else _number(known, "case")
    yield make_table(f"{shown}, times in {report.zone}", _CASE_COLUMNS, rows)


_CASE_COLUMNS: Final = (
    *map(Column, ("Outcome", "Service", "Rule", "Client", "Host")),
    *(Column("Count", "n"), Column("First", "t"), Column("Last", "t"), Column("Told by"), Column("For example", "u")),
)
_SECTIONS: Final[Mapping[str, tuple[str, Callable[[Report], Iterator[Html]]]]] = {
    "summary": ("Summary", _summary),
    "time": ("When", _time),
    "services": ("Services", _services),
    "rules": ("Rules", _rules),
    "clients": ("Clients", _clients),
    "hosts": ("Hosts", _hosts),
    "changes": ("What would change", _changes),
    "collateral": ("What else is hit", _collateral),
    "notes": ("What to know", _notes),
    "lines": ("Lines in question", _lines),
    "cases": ("All cases", _cases),
}
