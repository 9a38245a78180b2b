"""Which format is it? Told by the first lines, whatever stands between them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.logs.accesslog import LogFormat, UnreadableError, reader
from squid_imhelper.logs.recognition import SAMPLE, first_time, recognise, table_format

DATA = Path(__file__).parent / "data" / "logs"
AT = 1773623203.0

SQUID = b"1773623203.004      0 10.0.0.1 TCP_MISS/200 512 GET http://a.example/ - HIER_DIRECT/192.0.2.1 text/html\n"
IMHELPER = SQUID[:-1] + b' "curl/8" "-" - -\n'
COMMON = b'10.0.0.1 - - [16/Mar/2026:02:06:43 +0100] "GET http://a.example/ HTTP/1.1" 200 512 TCP_MISS:DIRECT\n'
COMBINED = b'10.0.0.1 - - [16/Mar/2026:02:06:43 +0100] "GET http://a.example/ HTTP/1.1" 200 5 "-" "a" TCP_MISS:DIRECT\n'
JSON = b'{"time": 1773623203, "client": "10.0.0.1", "url": "http://a.example/"}\n'
PAIRS = b"10.0.0.1 http://a.example/\n"
ROW = b"1773623203.004\t10.0.0.1\tGET\thttp://a.example/\tMozilla/4.0 (compatible)\n"
HEADER = b"time\tclient\tmethod\turl\tuser_agent\n"
FOREIGN = b"Unmatched! The rat the cat the dog chased killed ate the malt!\n"
CACHE_LOG = b"2026/03/16 01:06:43 kid1| Starting Squid Cache version 5.7 for x86_64-pc-linux-gnu...\n"
ZEEK = (
    b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#path\thttp\n#open\t2026-03-16-01-06-43\n"
    b"#fields\tts\tuid\tid.orig_h\tid.orig_p\tmethod\thost\turi\tuser_agent\n"
    b"#types\ttime\tstring\taddr\tport\tstring\tstring\tstring\tstring\n"
)
ZEEK_ROW = b"1773623203.004\tCabc\t10.0.0.1\t5123\tGET\ta.example\t/x\tcurl/8\n"

KNOWN = [
    pytest.param(SQUID, "squid", id="squid"),
    pytest.param(IMHELPER, "imhelper", id="imhelper"),
    pytest.param(COMMON, "common", id="common"),
    pytest.param(COMBINED, "combined", id="combined"),
    pytest.param(JSON, "json", id="json"),
    pytest.param(PAIRS, "pairs", id="pairs"),
    pytest.param(HEADER + ROW, "tsv", id="tsv"),
    pytest.param(b"#" + HEADER + ROW, "tsv", id="tsv-behind-a-hash"),
    pytest.param(b"\xef\xbb\xbf" + HEADER + ROW, "tsv", id="tsv-behind-a-bom"),
    pytest.param(ZEEK + ZEEK_ROW, "tsv", id="zeek"),
    pytest.param(ROW * 3, "table", id="table"),
    pytest.param(b"Mar 16 02:06:43 proxy squid[812]: " + SQUID, "squid", id="syslog"),
    pytest.param(SQUID.replace(b" ", b"\t"), "squid", id="squid-with-tabs"),
    pytest.param(SQUID.replace(b"1773623203.004", b"2026-03-16T01:06:43.004"), "squid", id="squid-with-dates"),
    pytest.param(SQUID[:-1], "squid", id="no-end-at-the-end"),
]


@pytest.mark.parametrize(("lines", "name"), KNOWN)
@pytest.mark.parametrize(
    ("before", "ends"),
    [
        pytest.param(b"", b"\n", id="at-once"),
        pytest.param(b"\n\n", b"\n", id="behind-blank-lines"),
        pytest.param(b"# a comment\n", b"\n", id="behind-a-comment"),
        pytest.param(FOREIGN * 3 + CACHE_LOG * 40, b"\n", id="behind-foreign-lines"),
        pytest.param(FOREIGN, b"\r\n", id="dos"),
    ],
)
def test_a_log_is_known_by_its_lines(lines: bytes, name: str, before: bytes, ends: bytes) -> None:
    found = recognise((before + lines).replace(b"\n", ends), "Europe/Brussels")
    assert found is not None
    assert (found.name, found.zone) == (name, "Europe/Brussels")


@pytest.mark.parametrize("name", ["squid.log", "imhelper.log", "combined.log", "common.log", "json.log", "office.tsv"])
def test_a_recorded_log_is_known(name: str) -> None:
    """As soon as it has one line, and at every line from there."""
    lines = (DATA / name).read_bytes().splitlines(keepends=True)
    head = lines[:1] if name.endswith(".tsv") else []
    for start in range(len(head), 40):
        found = recognise(b"".join([*head, *lines[start : start + 20]]), "UTC")
        assert found is not None
        assert found.name == name.replace("office.tsv", "tsv").removesuffix(".log")


@pytest.mark.parametrize(
    ("more", "fewer", "name"),
    [(SQUID, COMBINED, "squid"), (COMBINED, SQUID, "combined"), (JSON, SQUID, "json"), (COMMON, JSON, "common")],
)
def test_most_lines_count(more: bytes, fewer: bytes, name: str) -> None:
    """The log of a Squid whose access_log was changed yesterday."""
    found = recognise(fewer * 4 + more * 5, "UTC")
    assert found is not None
    assert found.name == name


NOTHING = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\n\n \n", id="blank"),
    pytest.param(b"# nothing but\n# comments\n", id="comments"),
    pytest.param(FOREIGN * 10, id="prose"),
    pytest.param(CACHE_LOG * 10, id="cache-log"),
    pytest.param(bytes(range(256)) * 40, id="every-byte"),
    pytest.param(b"\0" * SAMPLE, id="zeros"),
    pytest.param(b"\t" * SAMPLE, id="tabs"),
    pytest.param(b"\t\n" * 1000, id="lines-of-tabs"),
    pytest.param(b"\x7fELF\x02\x01\x01\x00\x00\x00\n\x00\x01\t\x02\t\x03\t\x04\t\x05\n", id="a-program"),
    pytest.param(b"a\tb\tc\td\te\n" * 5, id="a-table-of-something"),
    pytest.param(b"1773623203.004\t10.0.0.1\tGET\t200\t512\n" * 5, id="a-table-that-tells-not-where-requests-go"),
    pytest.param(b'{"message": "hello"}\n' * 5, id="json-of-something"),
    pytest.param(b"[1, 2]\n7\nnull\n", id="json-without-objects"),
    pytest.param(b"root:x:0:0:root:/root:/bin/bash\n", id="passwd"),
]


@pytest.mark.parametrize("sample", NOTHING)
def test_what_is_no_access_log_is_none(sample: bytes) -> None:
    assert recognise(sample, "UTC") is None


def test_a_table_without_a_header_is_known_by_what_is_in_it() -> None:
    rows = [
        b"1773623203.%03d\t10.0.0.%d\tCONNECT\tTCP_DENIED/407\ttalk.example\t/\t443\t-\tno\tMozilla/5.0 (x)" % (n, n)
        for n in range(20)
    ]
    found = recognise(b"\n".join(rows), "UTC")
    assert found is not None
    assert found.columns == ("time", "client", "method", "tag", "host", "path", "port", "", "", "useragent")
    record = reader(found)(rows[7])
    assert record.fields == {
        "client": b"10.0.0.7", "method": b"CONNECT", "host": b"talk.example", "path": b"/", "port": b"443",
        "user_agent": b"Mozilla/5.0 (x)",
    }  # fmt: skip
    assert (record.time, record.denied, record.challenged) == (AT + 0.007, True, True)


def test_a_value_that_is_odd_now_and_then_does_not_spoil_a_column() -> None:
    rows = [ROW] * 19 + [ROW.replace(b"10.0.0.1", b"unknown")]
    found = recognise(b"".join(rows), "UTC")
    assert found is not None
    assert found.columns == ("time", "client", "method", "url", "useragent")


def test_numbers_are_no_times_and_ports_stand_behind_hosts() -> None:
    found = recognise(b"512\t80\t10.0.0.1\ta.example\t8080\n" * 5, "UTC")
    assert found is not None
    assert found.columns == ("", "", "client", "host", "port")


@pytest.mark.parametrize("sample", [ROW * 2, HEADER, HEADER + ROW, ZEEK])
def test_a_table_is_looked_for_where_one_is_asked_for(sample: bytes) -> None:
    found = table_format(sample, "UTC")
    assert found is not None
    assert {"url", "host"} & set(found.columns)


@pytest.mark.parametrize("sample", [b"", SQUID, JSON, FOREIGN, b"a\tb\n"])
def test_what_is_no_table_is_none(sample: bytes) -> None:
    assert table_format(sample, "UTC") is None


@pytest.mark.parametrize(
    ("sample", "log_format", "time"),
    [
        pytest.param(SQUID, LogFormat("squid"), AT + 0.004, id="squid"),
        pytest.param(
            FOREIGN + b"\n" + SQUID.replace(b"\n", b"\r\n"), LogFormat("squid"), AT + 0.004, id="behind-others"
        ),
        pytest.param(b'{"url": "x"}\n' + JSON, LogFormat("json"), AT, id="behind-one-that-has-none"),
        pytest.param(COMMON, LogFormat("common"), AT, id="common"),
        pytest.param(PAIRS, LogFormat("pairs"), None, id="pairs"),
        pytest.param(FOREIGN, LogFormat("squid"), None, id="foreign"),
        pytest.param(b"", LogFormat("squid"), None, id="empty"),
    ],
)
def test_the_first_time_is_that_of_the_first_line_that_has_one(
    sample: bytes, log_format: LogFormat, time: float | None
) -> None:
    assert first_time(sample, log_format) == time


def test_a_long_line_at_the_end_of_the_sample_spoils_nothing() -> None:
    """It is cut off there."""
    found = recognise(SQUID * 5 + b"1773623203.004 0 10.0.0.1 TCP_MISS/200 5 GET http://a/" + b"x" * 2 * SAMPLE, "UTC")
    assert found is not None
    assert found.name == "squid"


lines = st.one_of(
    st.sampled_from([SQUID, IMHELPER, COMMON, COMBINED, JSON, PAIRS, ROW, HEADER, ZEEK, FOREIGN]),
    st.binary(max_size=30),
    st.lists(st.sampled_from([b"\t", b"url", b"host", b"10.0.0.1", b"a.b", b"-", b"7"]), max_size=12).map(b"".join),
)


@given(st.lists(lines, max_size=8).map(b"".join))
def test_any_sample_is_a_format_that_reads_one_of_its_lines_or_none(sample: bytes) -> None:
    found = recognise(sample, "UTC")
    first = first_time(sample, found) if found else None
    assert first is None or first >= 0
    if found is not None:
        assert any(is_read(line.strip(b"\r"), found) for line in sample.split(b"\n"))


def is_read(line: bytes, log_format: LogFormat) -> bool:
    try:
        return bool(reader(log_format)(line))
    except UnreadableError:
        return False


@pytest.mark.parametrize("rubbish", [b"rubbish\n" * 250, b"x" * 100_000 + b"\n", b"\0" * 70_000 + b"\n"])
def test_rubbish_at_the_beginning_does_not_hide_a_log(rubbish: bytes) -> None:
    line = b"1773623203.004 9 10.0.0.1 TCP_MISS/200 512 GET http://a.example/ - HIER_DIRECT/192.0.2.1 -\n"
    found = recognise(rubbish + line * 3, "UTC")
    assert found == LogFormat("squid")
    assert first_time(rubbish + line, found) == 1773623203.004
