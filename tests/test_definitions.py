"""Client groups, schedules and site lists: what their definitions mean, and each mistake told once, where it stands."""

import bz2
import gzip
import ipaddress
import lzma
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import Problem
from squid_imhelper.base.model import Interval, Schedule, SiteList
from squid_imhelper.base.schedule import DAY, WEEK
from squid_imhelper.sources.definitions import Definitions, read_definitions
from squid_imhelper.sources.listfiles import FORMATS
from squid_imhelper.sources.tomlfile import Document

HERE = "»"
"""Marks, in the cases below, the character at which a problem must be shown."""

NOBODY = 65534
HOUR = 3600


def define(text: str, folder: Path = Path()) -> tuple[Definitions, list[Problem]]:
    document = Document("policy.toml", text)
    return read_definitions(document.root, folder), document.problems


def place(marked: str) -> tuple[int, int]:
    before = marked[: marked.index(HERE)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def addresses(text: str) -> Interval:
    network = ipaddress.ip_network(text)
    return network.version, int(network[0]), int(network[-1])


# ---- mistakes -------------------------------------------------------------------------------------------------------

UTC = 'timezone = "UTC"'

CASES = [
    # [clients]
    pytest.param("clients = »5\n", "error", "'clients' must be a table", "", id="clients-no-table"),
    pytest.param("[clients]\n»lan = []\n", "error", "client group 'lan' is empty", "", id="clients-empty"),
    pytest.param('[clients]\nlan = "»10.0.0.1"\n', "error", "'lan' must be a list of strings", "", id="clients-string"),
    pytest.param('[clients]\nlan = ["10.0.0.1", »5]\n', "error", "'lan' holds strings only", "", id="clients-number"),
    pytest.param('[clients]\n»lan = [""]\n', "error", "none that is empty", "", id="clients-empty-string"),
    pytest.param(
        '[clients]\n»"10.0.0.9" = ["10.0.0.1"]\n', "error", "is an address, and no name", "", id="clients-address-name"
    ),
    pytest.param('[clients]\nlan = ["»10.0.0.300"]\n', "error", "'10.0.0.300' is no IP address", "", id="bad-address"),
    pytest.param('[clients]\nlan = ["»10.0.0.0/33"]\n', "error", "'10.0.0.0/33' is no network", "", id="bad-network"),
    pytest.param(
        '[clients]\nlan = [\n  "10.0.0.1",\n  "»10.0.0.9-10.0.0.2",\n]\n', "error", "runs backwards", "", id="backwards"
    ),
    pytest.param('[clients]\nlan = ["»10.0.0.1-2001:db8::1"]\n', "error", "from IPv4 to IPv6", "", id="mixed-range"),
    pytest.param(
        '[clients]\nlan = ["»64.12.25.0/22"]\n', "warning", "is taken as 64.12.24.0/22", "", id="host-bits-set"
    ),
    # [schedules]
    pytest.param("schedules = »5\n", "error", "'schedules' must be a table", "", id="schedules-no-table"),
    pytest.param('[schedules]\noffice = "»mon-fri"\n', "error", "'office' must be a table", "", id="schedule-no-table"),
    pytest.param(
        f'[schedules]\na = {{ days = "»mon-freitag", {UTC} }}\n',
        "error",
        "'mon-freitag' is no day and no range of days: mon, tue",
        "",
        id="days-unknown",
    ),
    pytest.param(
        f"[schedules]\na = {{ days = »1, {UTC} }}\n", "error", "'days' must be a string", "", id="days-number"
    ),
    pytest.param(
        f'[schedules]\na = {{ »days = "", {UTC} }}\n',
        "error",
        "'days' is empty and would never hold",
        "leave it out for any time",
        id="days-empty",
    ),
    pytest.param(
        f"[schedules]\na = {{ »days = [], {UTC} }}\n", "error", "'days' must be a string", "", id="days-empty-list"
    ),
    pytest.param(
        f'[schedules]\na = {{ hours = ["08:00-12:00", "»8-17"], {UTC} }}\n',
        "error",
        "'8-17' is no range of hours",
        "",
        id="hours-without-minutes",
    ),
    pytest.param(
        f'[schedules]\na = {{ hours = "»08:00-12:00", {UTC} }}\n',
        "error",
        "'hours' must be a list of strings",
        "",
        id="hours-string",
    ),
    pytest.param(
        f'[schedules]\na = {{ hours = ["»08:00-25:00"], {UTC} }}\n', "error", "00:00 to 24:00", "", id="hours-25"
    ),
    pytest.param(
        f'[schedules]\na = {{ hours = ["»08:00-08:00"], {UTC} }}\n', "error", "no time at all", "", id="hours-none"
    ),
    pytest.param(
        f"[schedules]\na = {{ »hours = [], {UTC} }}\n",
        "error",
        "'hours' is empty and would never hold",
        "leave it out for any time",
        id="hours-empty",
    ),
    pytest.param(
        '[schedules]\na = { timezone = "»Europe/Bruxelles" }\n',
        "error",
        "unknown time zone 'Europe/Bruxelles'",
        'a name like "Europe/Brussels"',
        id="zone-unknown",
    ),
    pytest.param('[schedules]\na = { timezone = "»../UTC" }\n', "error", "unknown time zone", "a name", id="zone-path"),
    pytest.param(
        '[schedules]\na = { timezone = "»Europe" }\n', "error", "unknown time zone", "a name", id="zone-folder"
    ),
    pytest.param(
        f'[schedules.a]\n{UTC}\n»hour = ["08:00-12:00"]\n',
        "error",
        "unknown key 'hour'",
        "did you mean 'hours'?",
        id="schedule-key",
    ),
    # [sites]
    pytest.param("[sites]\nown = »5\n", "error", "'own' must be a table", "", id="sites-no-table"),
    pytest.param("»[sites.own]\n", "error", "site list 'own' is empty", "", id="sites-empty"),
    pytest.param("[sites]\n»own = { domains = [] }\n", "error", "site list 'own' is empty", "", id="sites-empty-key"),
    pytest.param(
        '[sites.own]\ndomains = ["»*.example.org"]\n',
        "error",
        "stands for its sub-domains too",
        "write 'example.org'",
        id="domain-asterisk",
    ),
    pytest.param(
        '[sites.own]\ndomains = ["a.example", "»b.example/x"]\n',
        "error",
        "'b.example/x' is no domain",
        "a URL goes into 'urls', an address into 'networks'",
        id="domain-url",
    ),
    pytest.param(
        '[sites.own]\ndomains = ["»192.0.2.1"]\n', "error", "is an address", "it goes into 'networks'", id="domain-ip"
    ),
    pytest.param('[sites.own]\ndomains = ["»a b.example"]\n', "error", "is no domain", "", id="domain-blank"),
    pytest.param('[sites.own]\ndomains = ["»a..example"]\n', "error", "is no domain", "", id="domain-empty-label"),
    pytest.param('[sites.own]\ndomains = ["»..."]\n', "error", "is no domain", "", id="domain-dots"),
    pytest.param('[sites.own]\ndomains = ["»com"]\n', "warning", "a whole top-level domain", "", id="domain-top-level"),
    pytest.param(
        '[sites.own]\nurls = ["»http://a.example/x"]\n',
        "error",
        "without its scheme",
        "write 'a.example/x'",
        id="url-scheme",
    ),
    pytest.param(
        '[sites.own]\nurls = ["»a.example/x?y"]\n',
        "error",
        "a query is not compared",
        "a 'regex' can look at it",
        id="url-query",
    ),
    pytest.param('[sites.own]\nurls = ["»/x"]\n', "error", "no host in '/x'", "", id="url-no-host"),
    pytest.param("[sites.own]\nregex = ['»a(b']\n", "error", "bad regular expression", "", id="regex-bad"),
    pytest.param("[sites.own]\nregex = ['»a{2,1}']\n", "error", "bad regular expression", "", id="regex-backwards"),
    pytest.param(
        "[sites.own]\nregex = ['»(?au)x']\n",
        "error",
        "bad regular expression",
        "",
        id="regex-flags-that-exclude-each-other",
    ),
    pytest.param(
        "[sites.own]\nregex = ['»(?P<a>x)(?P=b)']\n", "error", "bad regular expression", "", id="regex-unknown-group"
    ),
    pytest.param(
        f"[sites.own]\nregex = ['»{'(' * 4000}{')' * 4000}']\n", "error", "bad regular", "", id="regex-too-deep"
    ),
    pytest.param('[sites.own]\nnetworks = ["»1.2.3"]\n', "error", "'1.2.3' is no IP address", "", id="sites-network"),
    pytest.param(
        '[sites.own]\nnetworks = ["»10.0.0.1/8"]\n', "warning", "taken as 10.0.0.0/8", "", id="sites-host-bits"
    ),
    pytest.param("[sites.own]\nports = [80, »65536]\n", "error", "'65536' is no port", "", id="port-too-big"),
    pytest.param("[sites.own]\nports = [»0]\n", "error", "'0' is no port", "", id="port-zero"),
    pytest.param('[sites.own]\nports = ["»90-80"]\n', "error", "'90-80' runs backwards", "", id="port-backwards"),
    pytest.param("[sites.own]\n»ports = [true]\n", "error", "numbers and ranges only", "", id="port-true"),
    pytest.param("[sites.own]\nports = »80\n", "error", "'ports' must be a list", "", id="ports-no-list"),
    pytest.param(
        '[sites.own]\nports = [80]\n»domain = ["a.example"]\n',
        "error",
        "unknown key 'domain'",
        "did you mean 'domains'?",
        id="sites-unknown-key",
    ),
    # [sites] from files; `list` is one of domains
    pytest.param('[sites]\n»own = { format = "hosts" }\n', "error", "'file' is missing", "", id="format-without-file"),
    pytest.param("[sites]\nown = { file = »5 }\n", "error", "'file' must be a string", "", id="file-number"),
    pytest.param(
        '[sites]\nown = { »file = "", domains = ["a.example"] }\n', "error", "'file'", "", id="file-empty-beside-others"
    ),
    pytest.param('[sites]\n»own = { file = "" }\n', "error", "site list 'own' is empty", "", id="file-empty"),
    pytest.param(
        '[sites]\nown = { file = "list", format = "»host" }\n',
        "error",
        "'format' is one of domains, urls, squidguard, hosts, dnsmasq, adblock, squid, regex",
        "did you mean 'hosts'?",
        id="format-unknown",
    ),
    pytest.param(
        '[sites]\nown = { file = "list", format = »5 }\n', "error", "must be a string", "", id="format-number"
    ),
    pytest.param('[sites]\nown = { file = "»none" }\n', "error", "No such file", "", id="file-missing"),
    pytest.param('[sites]\nown = { file = "»list/x" }\n', "error", "Not a directory", "", id="file-below-a-file"),
    pytest.param(f'[sites]\nown = {{ file = "»{"x" * 5000}" }}\n', "error", "name too long", "", id="file-name-long"),
    pytest.param('[sites]\nown = { file = "»a\\u0000b" }\n', "error", "cannot read", "", id="file-nul"),
]


@pytest.mark.parametrize(("marked", "severity", "message", "suggestion"), CASES)
def test_a_problem_is_told_once_at_its_line_and_column(
    tmp_path: Path, marked: str, severity: str, message: str, suggestion: str
) -> None:
    (tmp_path / "list").write_text("a.example\n")
    _, problems = define(marked.replace(HERE, ""), tmp_path)
    assert [(p.line, p.column, p.severity) for p in problems] == [(*place(marked), severity)], problems
    assert message in problems[0].message
    assert problems[0].suggestion.startswith(suggestion)
    assert suggestion or not problems[0].suggestion


# ---- list files that cannot be read ---------------------------------------------------------------------------------

LINES = b"a.example\nb.example\n" * 50

UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "No such file"),
    "fifo": (os.mkfifo, "no regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "link to itself": (lambda path: path.symlink_to(path), "symbolic links"),
    "empty": (lambda path: path.touch(), "there is nothing in list"),
    "comments only": (lambda path: path.write_bytes(b"# a\n\n"), "there is nothing in list"),
    "rubbish": (lambda path: path.write_bytes(bytes(range(1, 256)).replace(b"#", b"")), "there is nothing in list"),
    "zeros": (lambda path: path.write_bytes(bytes(500)), "no text"),
    "utf-16": (lambda path: path.write_bytes(LINES.decode().encode("utf-16")), "no text"),
    "gzip cut off": (lambda path: path.write_bytes(gzip.compress(LINES)[:-9]), "cut off"),
    "bzip2 cut off": (lambda path: path.write_bytes(bz2.compress(LINES)[:-9]), "cut off"),
    "xz cut off": (lambda path: path.write_bytes(lzma.compress(LINES)[:-9]), "cut off"),
    "zstd cut off": (lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd"), "cut off"),
    "gzip of rubbish": (lambda path: path.write_bytes(b"\x1f\x8b\x08\x00" + b"x" * 100), "cannot read"),
}


@pytest.mark.parametrize(
    ("what", "format_name"),
    [
        pytest.param(what, format_name, id=f"{what}-{format_name}".replace(" ", "-"))
        for what in UNREADABLE
        for format_name in FORMATS
        if (what, format_name) != ("rubbish", "regex")  # nearly any text is an expression
    ],
)
def test_a_list_that_is_none_is_one_error_at_its_file(tmp_path: Path, what: str, format_name: str) -> None:
    make, message = UNREADABLE[what]
    make(tmp_path / "list")
    found, problems = define(f'[sites]\na = {{ file = "list", format = "{format_name}" }}\n', tmp_path)
    assert [(p.line, p.column, p.severity) for p in problems] == [(2, 15, "error")]
    assert message in problems[0].message
    assert found.sites == {"a": SiteList("a")}


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_list_that_one_may_not_read_is_one_error_at_its_file(tmp_path: Path, format_name: str) -> None:
    """Lists are often written for root, and Squid's helpers run as somebody else."""
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "list").write_bytes(LINES)
    closed.chmod(0)
    try:
        with as_nobody():
            _, problems = define(f'[sites]\na = {{ file = "closed/list", format = "{format_name}" }}\n', tmp_path)
    finally:
        closed.chmod(0o700)
    assert [(p.line, p.column, p.severity) for p in problems] == [(2, 15, "error")]
    assert "Permission denied" in problems[0].message


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_folder_with_nothing_of_a_list_is_one_error_at_its_file(tmp_path: Path, format_name: str) -> None:
    (tmp_path / "list" / "domains").mkdir(parents=True)
    _, problems = define(f'[sites]\na = {{ file = "list", format = "{format_name}" }}\n', tmp_path)
    assert [(p.line, p.column, p.severity) for p in problems] == [(2, 15, "error")]


def test_a_list_of_which_all_is_left_out_is_an_error_and_the_lines_are_told(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("||a.example^\n||b.example^\n")
    found, problems = define('[sites]\na = { file = "list" }\n', tmp_path)
    assert "there is nothing in list that a site list of format 'domains' can hold" in problems[0].message
    assert [line.line for line in found.left_out] == [1, 2]


def test_every_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    text = "".join(f'[sites.s{n}]\nfile = "none{n}"\n' for n in range(4))
    _, problems = define(text, tmp_path)
    assert [p.line for p in problems] == [2, 4, 6, 8]


# ---- what they mean -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literal", "intervals"),
    [
        pytest.param("192.168.1.16", [addresses("192.168.1.16/32")], id="address"),
        pytest.param("192.168.1.0/24", [addresses("192.168.1.0/24")], id="cidr"),
        pytest.param("192.168.1.0/255.255.255.0", [addresses("192.168.1.0/24")], id="netmask"),
        pytest.param("192.168.1.77/24", [addresses("192.168.1.0/24")], id="host-bits"),
        pytest.param("10.0.0.0-10.0.0.255", [addresses("10.0.0.0/24")], id="range"),
        pytest.param("2001:db8::/32", [addresses("2001:db8::/32")], id="v6-cidr"),
        pytest.param("2001:DB8:0:0::1", [addresses("2001:db8::1/128")], id="v6-long-spelling"),
        pytest.param("2001:db8::-2001:db8::f", [addresses("2001:db8::/124")], id="v6-range"),
        pytest.param("::ffff:10.0.0.1", [addresses("10.0.0.1/32")], id="v4-in-v6"),
    ],
)
def test_clients_are_written_in_these_ways(literal: str, intervals: list[Interval]) -> None:
    assert list(define(f'[clients]\ng = ["{literal}"]\n')[0].clients["g"]) == intervals


def test_a_group_is_the_union_of_what_it_lists() -> None:
    found, problems = define(
        '[clients]\ng = ["10.0.0.128/25", "10.0.0.0/25", "10.0.0.7", "2001:db8::1"]\nh = ["10.0.0.7"]\n'
    )
    assert found.clients == {
        "g": (addresses("10.0.0.0/24"), addresses("2001:db8::1/128")),
        "h": (addresses("10.0.0.7/32"),),
    }
    assert problems == []


def test_a_bad_member_leaves_the_others_in_their_group() -> None:
    found, problems = define('[clients]\ng = ["10.0.0.1", "10.0.0.999"]\n')
    assert found.clients["g"] == (addresses("10.0.0.1/32"),)
    assert len(problems) == 1


MORNING, LATE = (8 * HOUR, 12 * HOUR), (22 * HOUR, 24 * HOUR)


def daily(stretch: tuple[int, int], *days: int) -> tuple[tuple[int, int], ...]:
    return tuple((day * DAY + stretch[0], day * DAY + stretch[1]) for day in days)


@pytest.mark.parametrize(
    ("definition", "stretches"),
    [
        pytest.param("", ((0, WEEK),), id="any-time"),
        pytest.param('days = "sat,sun"', ((5 * DAY, WEEK),), id="days"),
        pytest.param('hours = ["08:00-12:00"]', daily(MORNING, *range(7)), id="hours"),
        pytest.param('days = "mon,wed"\nhours = ["08:00-12:00"]', daily(MORNING, 0, 2), id="days-and-hours"),
        pytest.param(
            'days = "tue"\nhours = ["22:00-24:00", "08:00-12:00"]',
            (*daily(MORNING, 1), *daily(LATE, 1)),
            id="two-ranges",
        ),
        pytest.param('days = "mon"\nhours = ["22:00-06:00"]', ((22 * HOUR, DAY + 6 * HOUR),), id="over-midnight"),
        pytest.param(
            'days = "sun"\nhours = ["22:00-06:00"]', ((0, 6 * HOUR), (WEEK - 2 * HOUR, WEEK)), id="over-the-week-end"
        ),
        pytest.param('days = "fri-mon"', ((0, DAY), (4 * DAY, WEEK)), id="days-over-the-week-end"),
    ],
)
def test_a_schedule_is_stretches_of_the_week(definition: str, stretches: tuple[tuple[int, int], ...]) -> None:
    found, problems = define(f'[schedules.s]\ntimezone = "Europe/Brussels"\n{definition}\n')
    assert found.schedules == {"s": Schedule("s", "Europe/Brussels", stretches)}
    assert problems == []


def test_a_schedule_without_a_zone_is_in_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert define("[schedules.s]\n")[0].schedules["s"].zone == "Asia/Tokyo"


SITES = r"""
[sites.own]
domains = ["Example.ORG.", ".dotted.example", "münchen.example", "a_b.example"]
urls = ["example.org:8080/a//%62", "Chat.example", ".dotted.example/x/"]
regex = ['^https?://chat[0-9]+\.example\.net/']
networks = ["198.51.100.128/25", "198.51.100.0/25"]
ports = [1863, "6660-6662"]
"""


def test_a_site_list_holds_what_it_lists_in_normal_form() -> None:
    found, problems = define(SITES)
    assert found.sites == {
        "own": SiteList(
            "own",
            domains=("example.org", "dotted.example", "xn--mnchen-3ya.example", "a_b.example", "chat.example"),
            urls=("example.org:8080/a/b", "dotted.example/x"),
            regex=(r"^https?://chat[0-9]+\.example\.net/",),
            networks=(addresses("198.51.100.0/24"),),
            ports=(1863, 6660, 6661, 6662),
        )
    }
    assert problems == []


def test_a_file_adds_to_what_stands_in_the_policy(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "squid").write_text(".b.example\nc.example\n10.0.0.0/24\ncom\n")
    found, problems = define(
        '[sites.own]\ndomains = ["a.example"]\nnetworks = ["10.0.1.0/24"]\nports = [1]\n'
        'file = "lists/squid"\nformat = "squid"\n',
        tmp_path,
    )
    assert found.sites["own"] == SiteList(
        "own",
        domains=("a.example", "b.example"),
        hosts=("c.example",),
        networks=(addresses("10.0.0.0/23"),),
        ports=(1,),
    )
    assert found.files == (str(tmp_path / "lists" / "squid"),)
    assert [(line.line, line.text) for line in found.left_out] == [(4, "com")]
    assert problems == []


def test_a_file_is_one_of_domains_unless_it_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a.example\n")
    found, _ = define('[sites]\na = { file = "list" }\n', tmp_path)
    assert found.sites["a"] == SiteList("a", domains=("a.example",))


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("a.example\n")
    found, _ = define(f'[sites]\na = {{ file = "{path}" }}\n', tmp_path / "elsewhere")
    assert found.files == (str(path),)


def test_a_relative_path_is_noted_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper watches it, from wherever it has been started."""
    (tmp_path / "list").write_text("a.example\n")
    monkeypatch.chdir(tmp_path)
    found, _ = define('[sites]\na = { file = "list" }\n', Path())
    assert found.files == (str(tmp_path / "list"),)


def test_nothing_is_defined_by_an_empty_file() -> None:
    assert define("") == (Definitions({}, {}, {}, (), ()), [])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SITE_KEYS = st.sampled_from(("domains", "urls", "regex", "networks", "ports", "file", "format"))
SCHEDULE_KEYS = st.sampled_from(("days", "hours", "timezone"))


def toml_text(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


def toml_value(value: str | list[str]) -> str:
    return toml_text(value) if isinstance(value, str) else "[" + ", ".join(map(toml_text, value)) + "]"


VALUES = (TEXTS | st.lists(TEXTS, max_size=3)).map(toml_value)
ENTRIES = st.tuples(st.just("sites"), st.dictionaries(SITE_KEYS, VALUES)) | st.tuples(
    st.just("schedules"), st.dictionaries(SCHEDULE_KEYS, VALUES)
)


@given(ENTRIES)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_there_is_defined_or_told(tmp_path: Path, entry: tuple[str, dict[str, str]]) -> None:
    table, values = entry
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    _, problems = define(f"[{table}.a]\n{lines}", tmp_path)
    assert all(1 <= problem.line <= len(values) + 1 for problem in problems)
