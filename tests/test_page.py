"""The page: what is on it, that its numbers are those of the tally, and that what a log holds is text and no more."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import squid_imhelper.dryrun
from squid_imhelper.dryrun.page import CASES, RANKED, render_page
from squid_imhelper.dryrun.replay import FileTally, Outcome
from squid_imhelper.dryrun.report import Collateral, Report
from squid_imhelper.dryrun.tally import OTHERS, Case, Example, Tally
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.logs.logfiles import LogFile
from squid_imhelper.offline.check import printable

MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp()
CASE = Case("whatsapp", "no messengers", "10.0.0.1", "web.whatsapp.com")
VOID = {"meta", "link"}
ATTRIBUTES: dict[str, set[str]] = {
    "html": {"lang"},
    "meta": {"charset", "name", "content", "http-equiv"},
    "link": {"rel", "href"},
    "svg": {"viewbox", "role", "aria-label"},
    "g": {"transform", "class"},
    "path": {"d"},
    "rect": {"x", "y", "width", "height"},
    "text": {"x", "y"},
    "a": {"href"},
    "nav": {"aria-label"},
    "section": {"id"},
    "th": {"scope", "class"},
    "i": {"style"},
    "span": {"class", "aria-hidden"},
    **{name: {"class"} for name in ("p", "dl", "dd", "div", "ul", "li", "table")},
    **{name: set() for name in ("head", "title", "style", "script", "body", "header", "main", "footer")},
    **{name: set() for name in ("h1", "h2", "h3", "dt", "details", "summary", "figure", "figcaption")},
    **{name: set() for name in ("caption", "thead", "tbody", "tfoot", "tr", "td", "code", "strong")},
}
"""All elements of a page with their attributes. What is missing here is none of ours."""

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</script><script>alert(1)</script>",
    "</style></title></textarea></svg><b>",
    "<!-- ", "]]>", "<![CDATA[", "<?xml ?>",
    "&lt;b&gt;&#60;script&#62;",
    "\u202egpj.exe\u2066\u200f\ufeff",
    "a\x00b\x1b[31mc\x7f\x85\r\n\t\u2028",
    "\ud800\udc80\udfff",
    "$body ${script} %s {0} {options}",
    "x" * 5_000,
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u7fa4\u804a",
]  # fmt: skip


class Page(HTMLParser):
    """A page, taken apart; what is not well-formed, or no element of ours, fails."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= ATTRIBUTES[tag], tag
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.stack
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.stack), data))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"a processing instruction: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")

    @property
    def sections(self) -> list[str]:
        return [value for tag, name, value in self.attributes if (tag, name) == ("section", "id")]


def words(fragment: str) -> str:
    """The text of a piece of markup."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", fragment)).strip())


def section(html: str, slug: str) -> str:
    return html.split(f'<section id="{slug}">')[1].partition("</section>")[0]


def rows(fragment: str) -> list[list[str]]:
    """The cells of the rows of all tables."""
    found = re.findall(r"<tr>(.*?)</tr>", fragment, re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in found]


def cards(html: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", section(html, "summary")))


def make_report(tally: Tally, **changes: object) -> Report:
    log = LogFile("access.log", LogFormat("squid"), MONDAY, 100)
    outcome = Outcome(tally, [FileTally(log, tally.lines)])
    names = {"whatsapp": "WhatsApp", "slack": "Slack"}
    return replace(Report(outcome, "policy.toml", "", "Europe/Brussels", names, (), ()), **changes)  # type: ignore[arg-type]


def count(
    tally: Tally, outcome: str, case: Case = CASE, time: float | None = MONDAY, url: str = "", told: str = ""
) -> None:
    """Counts one request as a dry run does."""
    tally.lines += 1
    tally.requests += 1
    tally.see(time)
    tally.by_client.count(case.client)
    if outcome != "other":
        tally.outcomes[outcome].count(case, url, told, time)


def hostile_report(text: str) -> Report:
    """A report with the same text in every place that can hold one."""
    tally = Tally(failed=1)
    for n, outcome in enumerate(("blocked", "monitored", "denied", "newly_blocked", "newly_allowed")):
        count(tally, outcome, Case(text, text, text, text), MONDAY + n * 3600, text, text)
    count(tally, "blocked", Case("whatsapp", text, "10.0.0.9", text), MONDAY, text, text)
    tally.skipped.count("malformed")
    tally.skipped.count(text)
    tally.malformed.append(Example(text, 1, text, text))
    tally.failures.append(Example(text, 2, text, text))
    files = [
        FileTally(LogFile(text, LogFormat(text), MONDAY, 1, text), 7, 1, text),
        FileTally(LogFile("-", None, None, 0)),
    ]
    return Report(
        outcome=Outcome(tally, files, 2),
        policy=text,
        against=text,
        zone="UTC",
        names={text: text, "whatsapp": text},
        notes=(text, text),
        collateral=(Collateral(text, text, 3, text),),
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_log_holds_is_text_wherever_it_stands(text: str) -> None:
    html = render_page(hostile_report(text), text)
    page = Page(html)
    assert page.elements == Page(render_page(hostile_report("harmless"), "1")).elements
    body = [shown for where, shown in page.texts if "body" in where and "script" not in where]
    shown = [each for each in body if printable(text) in each]
    assert len(shown) > 30
    assert all(each.replace("\n", "").isprintable() for each in body)
    assert html.encode()


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(), min_size=1, max_size=40))
def test_no_text_breaks_the_markup(text: str) -> None:
    assume(text not in {"-", OTHERS, "malformed", "whatsapp", "10.0.0.9"} and text.strip())
    html = render_page(hostile_report(text), "1")
    page, harmless = Page(html), Page(render_page(hostile_report("harmless"), "1"))
    assert page.elements == harmless.elements
    assert html.encode().decode() == html
    told = {(tag, name) for tag, name, value in page.attributes if printable(text) in value}
    assert told - {(tag, name) for tag, name, value in harmless.attributes if printable(text) in value} <= {
        ("svg", "aria-label")
    }


def test_urls_are_no_links_and_nothing_is_fetched() -> None:
    page = Page(render_page(hostile_report("http://evil.example/x.js"), "1"))
    links = {value for _, name, value in page.attributes if name in {"href", "src", "action", "style", "content"}}
    assert not [link for link in links if "//" in link]
    assert {link for link in links if link.startswith(("#", "data:"))} == {"data:,", *(f"#{s}" for s in page.sections)}
    style = next(text for where, text in page.texts if where[-1:] == ("style",))
    assert not re.findall(r"url\(|@import|//", style)


def test_the_policy_of_the_page_allows_its_own_script_only() -> None:
    page = Page(render_page(hostile_report("<script>alert(1)</script>"), "1"))
    scripts = [text for where, text in page.texts if where[-1:] == ("script",)]
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def with_everything() -> Report:
    tally = Tally()
    count(tally, "blocked")
    count(tally, "newly_blocked")
    tally.skipped.count("malformed")
    tally.malformed.append(Example("access.log", 3, "it is too short", "GET"))
    collateral = (Collateral("whatsapp", "WhatsApp", 1, "Click-to-chat buttons stop."),)
    return make_report(tally, against="old.toml", notes=("A note.",), collateral=collateral)


def without_times() -> Report:
    tally = Tally()
    count(tally, "blocked", time=None)
    return make_report(tally)


def without_clients() -> Report:
    tally = Tally()
    for outcome in ("blocked", "other", "other"):
        count(tally, outcome, CASE._replace(client="-"))
    return make_report(tally)


def without_a_hit() -> Report:
    tally = Tally()
    count(tally, "other")
    return make_report(tally)


HITS = ["services", "rules", "clients", "hosts"]


@pytest.mark.parametrize(
    ("report", "sections"),
    [
        (lambda: make_report(Tally()), ["summary"]),
        (without_a_hit, ["summary", "time"]),
        (without_times, ["summary", *HITS, "cases"]),
        (with_everything, ["summary", "time", *HITS, "changes", "collateral", "notes", "lines", "cases"]),
    ],
)
def test_sections_are_there_when_there_is_something_in_them(report: Callable[[], Report], sections: list[str]) -> None:
    html = render_page(report(), "1")
    assert Page(html).sections == sections
    assert re.findall(r'<a href="#(.*?)">', html) == sections


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (lambda: make_report(Tally()), "There is no request in the logs."),
        (without_a_hit, "Of 1 request, this policy would block none."),
        (without_times, "Of 1 request, this policy would block 1 (100%), from 1 of 1 client."),
        (without_clients, "Of 3 requests, this policy would block 1 (33.3%)."),
        (
            with_everything,
            (
                "Of 2 requests, this policy would block 1 (50.0%), from 1 of 1 client. "
                "Compared with old.toml, it newly blocks 1 and newly allows 0."
            ),
        ),
    ],
)
def test_the_page_begins_with_what_matters(report: Callable[[], Report], sentence: str) -> None:
    assert f'<p class="lead">{sentence}</p>' in render_page(report(), "1")


def test_the_head_tells_what_was_read() -> None:
    tally = Tally(lines=12, requests=10)
    tally.skipped.count("comment", 2)
    tally.see(MONDAY)
    tally.see(MONDAY + 90)
    log = LogFile("access.log", LogFormat("squid"), MONDAY, 100)
    bad = LogFile("other.bin", None, None, 100, "other.bin: it looks like no access log")
    outcome = Outcome(tally, [FileTally(log, 12, 2), FileTally(bad, problem=bad.problem)], 2)
    html = render_page(make_report(tally, outcome=outcome, against="old.toml"), "1").split("<nav")[0]
    assert re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", html) == [
        ("Compared with", "old.toml"),
        ("From", "2026-11-23 09:00:00"),
        ("To", "2026-11-23 09:01:30"),
        ("Time zone", "Europe/Brussels"),
        ("Lines", "12, of which no requests: 2 comment"),
    ]
    assert re.findall('class="warning">(.*?)<', html) == [
        "The dry run was ended early: all numbers are of what had been read by then.",
        "other.bin: it looks like no access log",
    ]
    logs = [["access.log", LogFormat("squid").description, "12", "2"], ["other.bin", "not recognised", "0", "0"]]
    assert rows(html)[1:] == logs


def test_the_timeline_is_drawn_twice_and_told_in_a_table() -> None:
    tally = Tally()
    for n, outcome in enumerate(["blocked", "blocked", "monitored", "other", *["other"] * 20]):
        count(tally, outcome, time=MONDAY + n // 4 * 3600)
    part = section(render_page(make_report(tally), "1"), "time")
    assert rows(part)[:3] == [
        ["From", "Blocked", "Monitored", "Other"],
        ["Mon 2026-11-23 09:00", "2", "1", "1"],
        ["Mon 2026-11-23 10:00", "0", "0", "4"],
    ]
    assert part.count("<svg") == 2
    assert part.count("<figcaption") == 1


def test_what_would_be_lost_beside_all_requests_has_a_chart_of_its_own() -> None:
    tally = Tally()
    for outcome in ["blocked", *["other"] * 20]:
        count(tally, outcome)
    part = section(render_page(make_report(tally), "1"), "time")
    captions = re.findall("<figcaption>(.*?)<ul", part)
    assert captions == ["Blocked requests per hour", "All requests per hour"]


def test_a_service_has_name_id_and_rules() -> None:
    tally = Tally()
    for rule, number in (("first", 3), ("second", 2), ("third", 1), ("fourth", 1)):
        for _ in range(number):
            count(tally, "blocked", CASE._replace(rule=rule))
    count(tally, "monitored", CASE._replace(service="-", rule="sites"))
    assert rows(section(render_page(make_report(tally), "1"), "services"))[1:] == [
        ["WhatsApp whatsapp", "7", "100%", "0", "first, second, fourth and 1 more"],
        ["no messenger", "0", "0%", "1", "sites"],
    ]


def test_a_client_is_shown_with_all_its_requests() -> None:
    tally = Tally()
    for outcome, client in (("blocked", "10.0.0.1"), ("other", "10.0.0.1"), ("blocked", "-"), ("other", "10.0.0.7")):
        count(tally, outcome, CASE._replace(client=client))
    assert rows(section(render_page(make_report(tally), "1"), "clients")) == [
        ["Client", "Blocked", "Share", "All its requests", "Blocked of these"],
        ["not told", "1", "50.0%", "1", "100%"],
        ["10.0.0.1", "1", "50.0%", "2", "50.0%"],
    ]


def test_what_is_not_shown_is_one_row() -> None:
    tally = Tally()
    for n in range(RANKED + 3):
        for _ in range(RANKED + 3 - n):
            count(tally, "blocked", CASE._replace(host=f"{n:02}.example"))
    tally.outcomes["blocked"].by_host.count(OTHERS, 10)
    found = rows(section(render_page(make_report(tally), "1"), "hosts"))[1:]
    assert len(found) == RANKED + 1
    assert found[0][:2] == ["00.example", "28"]
    assert found[-1][:2] == ["all others", "16"]


def test_the_most_frequent_cases_are_shown() -> None:
    tally = Tally()
    for n in range(CASES + 5):
        count(
            tally, "monitored", CASE._replace(host=f"{n}.example"), MONDAY + n, f"http://{n}.example/", "domain example"
        )
    count(tally, "blocked")
    count(tally, "blocked", time=MONDAY + 60)
    part = section(render_page(make_report(tally), "1"), "cases")
    found = rows(part)[1:]
    assert len(found) == CASES
    assert "The 2,000 most frequent of 2,006 cases" in part
    first, last = "2026-11-23 09:00:00", "2026-11-23 09:01:00"
    assert found[0] == ["blocked", "WhatsApp", *CASE[1:], "2", first, last, "", ""]
    assert found[1] == [
        "monitored",
        "WhatsApp",
        *CASE[1:3],
        "0.example",
        "1",
        first,
        first,
        "domain example",
        "http://0.example/",
    ]


@pytest.mark.parametrize(("failed", "more"), [(1, ""), (40, ", the first 1 of them")])
def test_examples_of_lines_tell_how_many_there_are(failed: int, more: str) -> None:
    tally = Tally(failed=failed)
    tally.failures.append(Example("access.log", 7, "an expression took too long", "1.0 x"))
    part = section(render_page(make_report(tally), "1"), "lines")
    assert f"{failed} request{'' if failed == 1 else 's'} could not be decided{more}</caption>" in part
    assert rows(part)[1:] == [["access.log:7", "an expression took too long", "1.0 x"]]


@pytest.mark.parametrize(
    ("part", "whole", "share"),
    [
        (0, 0, "0%"),
        (0, 9, "0%"),
        (1, 3, "33.3%"),
        (1, 100_000, "&lt;0.1%"),
        (99_999, 100_000, "&gt;99.9%"),
        (9, 9, "100%"),
    ],
)
def test_shares(part: int, whole: int, share: str) -> None:
    tally = Tally(requests=whole)
    tally.outcomes["blocked"].total = part
    assert f'<dd class="more">{share} of all</dd>' in render_page(make_report(tally), "1")


services = st.sampled_from(["whatsapp", "slack", "-"])
requests_made = st.lists(
    st.tuples(
        st.sampled_from(["blocked", "monitored", "denied", "newly_blocked", "newly_allowed", "other"]),
        st.builds(
            Case, services, st.sampled_from(["a", "b"]), st.sampled_from(["10.0.0.1", "-"]), st.just("h.example")
        ),
        st.floats(MONDAY, MONDAY + 300 * 86_400),
    ),
    max_size=30,
)


@settings(max_examples=50)
@given(requests_made)
def test_every_number_is_that_of_the_tally(requests: list[tuple[str, Case, float]]) -> None:
    tally = Tally()
    for outcome, case, time in requests:
        count(tally, outcome, case, time)
    html = render_page(make_report(tally, against="old.toml"), "1")
    totals = {name: part.total for name, part in tally.outcomes.items()}
    shown = cards(html)
    assert shown["Requests"] == str(len(requests))
    for title, name in (("Blocked", "blocked"), ("Newly blocked", "newly_blocked"), ("Newly allowed", "newly_allowed")):
        assert shown[title] == str(totals[name])
    sections = Page(html).sections
    for slug, kind in (("services", "service"), ("rules", "rule"), ("clients", "client"), ("hosts", "host")):
        counts = getattr(tally.outcomes["blocked"], f"by_{kind}")
        found = [row[1] for row in rows(section(html, slug))[1:]] if slug in sections else []
        assert sorted(n for n in found if n != "0") == sorted(map(str, counts.values()))
    if requests:
        hours = [list(map(int, row[1:])) for row in rows(section(html, "time"))[1:]]
        rest = len(requests) - totals["blocked"] - totals["monitored"]
        assert [sum(column) for column in zip(*hours, strict=True)] == [totals["blocked"], totals["monitored"], rest]
    if "cases" in sections:
        assert sum(int(row[5]) for row in rows(section(html, "cases"))[1:]) == sum(totals.values())


def test_tables_and_charts_are_told_to_who_cannot_see_them() -> None:
    page = Page(render_page(with_everything(), "1"))
    assert page.elements.count("caption") == page.elements.count("table") > 8
    assert page.elements.count("svg") == sum(name == "aria-label" and tag == "svg" for tag, name, _ in page.attributes)
    assert page.elements.count("th") == sum(name == "scope" for _, name, _ in page.attributes)
    assert page.elements.count("h1") == page.elements.count("main") == 1
    assert ("html", "lang", "en") in page.attributes


@pytest.mark.parametrize("years", [0, 3])
def test_the_same_report_gives_the_same_bytes(years: int) -> None:
    tally = Tally()
    count(tally, "blocked")
    count(tally, "blocked", time=MONDAY + years * 365 * 86_400)
    assert render_page(make_report(tally), "1") == render_page(make_report(tally), "1")


def test_a_report_of_an_office_is_small() -> None:
    tally = Tally()
    for n in range(500):
        case = Case("whatsapp", "no messengers at work", f"192.168.1.{n % 60}", f"{n}.whatsapp.net")
        count(tally, "blocked", case, MONDAY + n * 3600, f"https://{n}.whatsapp.net/", "domain whatsapp.net")
    assert len(render_page(make_report(tally), "1").encode()) < 300_000


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", css))


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_can_be_told_from_the_paper(scheme: int) -> None:
    css = (Path(squid_imhelper.dryrun.__file__).parent / "page.css").read_text()
    both = css.split("@media screen and (prefers-color-scheme: dark)")
    own = colours(both[scheme].partition("}")[0])
    for ground in (own["paper"], own["card"], own["tint"]):
        assert min(contrast(own[name], ground) for name in ("text", "muted", "link")) >= 4.5
    for ground in (own["paper"], own["card"]):
        assert min(contrast(own[name], ground) for name in ("blocked", "monitored")) >= 4.5
        assert contrast(own["other"], ground) >= 2.5
