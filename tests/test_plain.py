"""Plain lines: what their columns say is what reading them says, and what is odd is left."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Match
from squid_imhelper.base.urls import normalise_path
from squid_imhelper.logs.accesslog import LogFormat, UnreadableError, reader, to_request
from squid_imhelper.logs.plain import PathText, PlainLines, plain_lines

SQUID, OWN = LogFormat("squid"), LogFormat("imhelper")
PATHS = frozenset(
    {
        PathText("/data", Match.EXACT),
        PathText("/gateway/gateway.dll", Match.EXACT),
        PathText("/_api/", Match.PREFIX),
        PathText("/Bind", Match.SEGMENT),
        PathText("im/chat", Match.SUBSTRING),
    }
)
LINE = "1773619603.004     17 10.0.0.1 TCP_MISS/200 512 GET http://a.example/x.js - HIER_DIRECT/192.0.2.1 text/html"
OWN_LINE = LINE + ' "Mozilla/5.0%20(X)" "-" - -'


def plain(log_format: LogFormat = SQUID, *, whole_queries: bool = False) -> PlainLines:
    found = plain_lines(log_format, PATHS, whole_queries=whole_queries)
    assert found is not None
    return found


def cells(line: str, log_format: LogFormat = SQUID, *, whole_queries: bool = False) -> tuple[bytes | None, ...]:
    columns = plain(log_format, whole_queries=whole_queries).columns(f"{line}\n".encode("utf-8", "surrogateescape"))
    return tuple(column[0] for column in columns if column)


def test_the_columns_of_a_line() -> None:
    assert cells(LINE) == (b"1773619603.004", b"10.0.0.1 TCP_MISS/200", b"a.example", b"-")
    assert cells(OWN_LINE, OWN)[2:] == (b"a.example", b"-", b"Mozilla/5.0%20(X)", b"-")


def test_each_line_has_its_place_in_every_column() -> None:
    lines = [LINE, "odd", "", LINE.replace("GET http://a.example/x.js", "CONNECT b.example:443"), "x" * 9000]
    columns = plain().columns("".join(f"{line}\n" for line in lines).encode())
    assert columns.target == [b"a.example", None, None, b"b.example:443", None]
    assert {len(column) for column in columns if column} == {5}


INSTEAD = [
    ("http://a.example/x.js", "https://a.example:8443/"),
    ("http://a.example/x.js", "http://a.example/a/b%20c/%C3%BC.d?%64=//.."),
    ("http://a.example/x.js", "http://a.example/database"),  # and is as odd as /data, which costs nothing but time
    ("http://a.example/x.js", "http://a.example/%64ata"),
    ("http://a.example/x.js", "http://a.example//DATA"),
    ("http://a.example/x.js", "http://a.example/Gateway//gateway.dll"),
    ("http://a.example/x.js", "http://a.example/x/../data"),
    ("http://a.example/x.js", "http://a.example/./data"),
    ("http://a.example/x.js", "http://a.example/x%2E./data"),
    ("http://a.example/x.js", "http://a.example/bind/x"),
    ("http://a.example/x.js", "http://a.example/xim//CHATx"),
    ("http://a.example/x.js", "http://a.example/x?im/chat"),
    ("http://a.example/x.js", "http://u@a.example/"),
    ("http://a.example/x.js", "http://a.example\\b/"),
    ("http://a.example/x.js", "a.example:443"),
    ("GET http://a.example/x.js", "CONNECT a.example:443"),
    ("GET http://a.example/x.js", "CONNECT a.example/x:443"),
    ("GET http://a.example/x.js", "CONNECT http://a.example/"),
    ("GET http://a.example/x.js", "GET CONNECT a.example:443"),
    ("GET http://a.example/x.js", "NONE error:invalid-request"),
    ("TCP_MISS/200", "UDP_MISS/000"),
    ("10.0.0.1 TCP", "TCP"),
    ("1773619603.004", "1773619603"),
    ("1773619603.004", "177361960.004"),
    ("1773619603.004", "9773619603.004"),
    (" - ", " a b "),
    (" - ", " a%20b "),
    (" - ", " ann "),
    (" ", "\t"),
    ("     17", "-1"),
    ("HIER_DIRECT/192.0.2.1", "HIER_DIRECT"),
    ("text/html", "text/html\r"),
    ("x.js", "%5Bslug%5d/a%2Fb%3a%40%60%7B%7f"),
    ("x.js", "a%41"),
    ("x.js", "a%5a"),
    ("x.js", "a%7E"),
    ("x.js", "a%5f"),
]
PLAIN_ONES = {0, 1, 11, 15, 27, 32}


@pytest.mark.parametrize("number", range(len(INSTEAD)))
def test_which_lines_are_plain(number: int) -> None:
    line = LINE.replace(*INSTEAD[number])
    assert line != LINE
    assert (cells(line)[0] is not None) == (number in PLAIN_ONES)


def test_cut_off_queries_are_odd_where_they_matter() -> None:
    for query, is_plain in (("", True), ("?", False), ("?a", True), ("?a?", False), ("??", False)):
        line = LINE.replace("x.js", f"x.js{query}")
        assert cells(line)[0] is not None
        assert (cells(line, whole_queries=True)[0] is not None) is is_plain


@pytest.mark.parametrize("name", ["combined", "common", "json", "tsv", "pairs", "logformat"])
def test_other_formats_have_none(name: str) -> None:
    assert plain_lines(LogFormat(name), PATHS, whole_queries=False) is None


def test_where_every_path_matters_no_line_is_plain() -> None:
    assert plain_lines(SQUID, {PathText("/", Match.PREFIX)}, whole_queries=False) is None


WORDS = [
    *(
        "http://a.example",
        "https://b.example:81",
        "/",
        "//",
        "/.",
        "..",
        "%2e",
        "%64",
        "%20",
        "%2F",
        "%5b",
        "%7E",
        "%3A",
        "data",
        "DATA",
        "?",
        "#",
        "=",
        "\\",
    ),
    *(
        "CONNECT ",
        "GET ",
        " ",
        "  ",
        "\t",
        "-",
        "TCP_DENIED/407",
        "NONE/000",
        "10.0.0.9",
        "::1",
        '"',
        "\r",
        "\x00",
        "\udcff",
    ),
    *("im/chat", "gateway", "_api", "bind", "[::1]", "@", ":", ";", "x", "HIER_NONE/-", "1773619603.999", "7"),
]
odd_lines = st.tuples(
    st.sampled_from([LINE, OWN_LINE]),
    st.lists(st.tuples(st.integers(0, 160), st.integers(0, 25), st.sampled_from(WORDS)), max_size=3),
)


def changed(line: str, changes: list[tuple[int, int, str]]) -> str:
    for place, size, word in changes:
        line = line[:place] + word + line[place + size :]
    return line


@settings(max_examples=1500)
@given(odd_lines, st.sampled_from([SQUID, OWN]))
def test_what_is_plain_is_read_to_the_same_effect(
    odd: tuple[str, list[tuple[int, int, str]]], log_format: LogFormat
) -> None:
    line = changed(*odd)
    found = cells(line, log_format)
    if found[0] is None:
        return
    _, who, target, user, *headers = found
    raw = line.encode("utf-8", "surrogateescape")
    record = reader(log_format)(raw)
    assert (record.time, record.duration) == plain_times(raw, log_format)
    assert (record.by_cache, record.repeated, record.intercepted) == (False, False, False)
    assert record.fields.get("client", b"-") == (who or b"").partition(b" ")[0]
    assert record.fields.get("user", b"-") == user
    assert (b"DENIED" in (who or b"") or b"407" in (who or b"")) >= record.denied
    assert ("user_agent" in record.fields, "content_type" in record.fields) == is_there(headers)
    url = record.fields["url"]
    assert url.removeprefix(b"http://").removeprefix(b"https://").startswith(target or b"?")
    check_path(record.fields["url"], record)


def plain_times(line: bytes, log_format: LogFormat) -> tuple[float, float]:
    written, began = plain(log_format).times(line)
    duration = int(line.split()[1]) / 1000
    assert began == written - duration or len(line.split()[1]) >= 12
    return written, duration if len(line.split()[1]) < 12 else 0.0


def is_there(headers: list[bytes | None]) -> tuple[bool, bool]:
    kind, other = headers or (b"-", b"-")
    return kind not in (b"-", b"%2D", b"%2d"), other not in (b"-", b"%2D", b"%2d")


def check_path(url: bytes, record: object) -> None:
    """None of the texts stands in a path that is plain, however it is normalised."""
    try:
        path = to_request(record)[0].target.path  # type: ignore[arg-type]
    except ImhelperError:
        return
    if path is not None:
        assert path == normalise_path(path)
        assert not re.search(r"^/(data$|gateway/gateway\.dll$|_api/|bind(/|$))|im/chat", path, re.IGNORECASE), url


@given(st.sampled_from([SQUID, OWN]), st.integers(1_000_000_000, 8_999_999_999), st.integers(0, 999))
def test_instants_are_those_of_the_reader(log_format: LogFormat, seconds: int, milliseconds: int) -> None:
    line = (LINE if log_format is SQUID else OWN_LINE).replace("1773619603.004", f"{seconds}.{milliseconds:03}")
    [time, *_] = cells(line, log_format)
    assert time is not None
    assert plain(log_format).instant(time) == reader(log_format)(line.encode()).time


def test_a_line_that_cannot_be_read_is_not_plain() -> None:
    with pytest.raises(UnreadableError):
        reader(OWN)(LINE.encode())
    assert cells(LINE, OWN)[0] is None
