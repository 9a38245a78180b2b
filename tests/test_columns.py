"""JSON lines and tables: which name means what, and what of it makes a request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.logs.columns import (
    FIELD_OF_COLUMN,
    column_name,
    fields_of,
    flatten,
    header_of,
    read_json,
    split_tabs,
)

NAMES = [
    ("User-Agent", "user_agent"), ("user_agent", "user_agent"), ("userAgent", "user_agent"), ("UA", "user_agent"),
    ("cs(User-Agent)", "user_agent"), ("http_user_agent", "user_agent"), ("Content-Type", "content_type"),
    ("client_ip", "client"), ("clientIP", "client"), ("src_ip", "client"), ("c-ip", "client"), ("id.orig_h", "client"),
    ("%>a", "client"), ('"remote_addr"', "client"), ("@timestamp", "time"), (" ts ", "time"), ("request_url", "url"),
    ("cs-uri", "url"), ("%ru", "url"), ("url.original", "url"), ("cs-host", "host"), ("dest_host", "host"),
    ("dest_port", "port"), ("cs-uri-stem", "path"), ("cs-uri-query", "query"), ("cs-method", "method"),
    ("cs-username", "user"), ("sc-status", "status"), ("status_code", "status"), ("Log-Tag", "tag"),
    ("s-action", "tag"), ("time-taken", "duration"), ("%ssl::>sni", "sni"), ("bytes", None), ("referer", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "field"), NAMES, ids=[name for name, _ in NAMES])
def test_a_column_is_known_by_its_name(name: str, field: str | None) -> None:
    assert FIELD_OF_COLUMN.get(column_name(name)) == field


def test_no_name_means_two_things() -> None:
    assert all(column_name(name) == name for name in FIELD_OF_COLUMN)


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        pytest.param(b"time\tclient\turl", ("time", "client", "url"), id="plain"),
        pytest.param(b"#fields\tts\tid.orig_h\thost\turi", ("ts", "id.origh", "host", "uri"), id="zeek"),
        pytest.param(b"#time\tclient\thost", ("time", "client", "host"), id="hash"),
        pytest.param(b"\xef\xbb\xbftime\turl", ("time", "url"), id="bom"),
        pytest.param(b'"time"\t"url"\t"x y"', ("time", "url", "xy"), id="quoted"),
        pytest.param(b"time\tclient\tbytes", (), id="tells-not-where-requests-go"),
        pytest.param(b"url\tbytes\treferer", (), id="one-known-column"),
        pytest.param(b"url", (), id="one-column"),
        pytest.param(b"1773623203.004\t10.0.0.1\thttp://a.example/", (), id="a-request"),
        pytest.param(b"", (), id="empty"),
        pytest.param(b"\xff\xfe\t\0", (), id="rubbish"),
    ],
)
def test_a_header_is_known_by_two_columns(line: bytes, columns: tuple[str, ...]) -> None:
    assert header_of(line) == columns


REQUESTS = [
    pytest.param({"url": b"http://a/"}, {"url": b"http://a/"}, id="url"),
    pytest.param(
        {"url": b"http://a/", "host": b"b", "port": b"1", "path": b"/c"}, {"url": b"http://a/"}, id="url-alone"
    ),
    pytest.param({"uri": b"http://a/", "url": b"http://b/"}, {"url": b"http://a/"}, id="first-of-two"),
    pytest.param({"url": b"-", "host": b"h"}, {"host": b"h", "path": b"/"}, id="no-url-but-a-host"),
    pytest.param({"host": b"h", "uri": b"/p?q"}, {"host": b"h", "path": b"/p?q"}, id="zeek"),
    pytest.param({"uri": b"/p"}, {"url": b"/p"}, id="a-path-without-a-host"),
    pytest.param(
        {"cshost": b"h", "csuristem": b"/p", "csuriquery": b"a=1"}, {"host": b"h", "path": b"/p?a=1"}, id="w3c"
    ),
    pytest.param({"host": b"h", "path": b"/p", "query": b"?a"}, {"host": b"h", "path": b"/p?a"}, id="question-mark"),
    pytest.param({"host": b"h", "path": b"/p?a", "query": b"a"}, {"host": b"h", "path": b"/p?a"}, id="query-twice"),
    pytest.param({"host": b"h:8080"}, {"host": b"h", "port": b"8080", "path": b"/"}, id="authority"),
    pytest.param({"host": b"[fd00::1]:80"}, {"host": b"[fd00::1]", "port": b"80", "path": b"/"}, id="authority-ipv6"),
    pytest.param({"host": b"fd00::1"}, {"host": b"fd00::1", "path": b"/"}, id="bare-ipv6"),
    pytest.param({"host": b"h:80", "port": b"81"}, {"host": b"h:80", "port": b"81", "path": b"/"}, id="port-twice"),
    pytest.param({"url": b"h:443", "bytes": b"7"}, {"url": b"h:443"}, id="connect"),
    pytest.param({"url": b"http://a/", "user": b"-", "ua": b""}, {"url": b"http://a/"}, id="nothing-is-left-out"),
]


@pytest.mark.parametrize(("values", "fields"), REQUESTS)
def test_what_is_known_of_a_request_is_put_together(values: dict[str, bytes], fields: dict[str, bytes]) -> None:
    assert fields_of(values.items()) == fields


@pytest.mark.parametrize("values", [{}, {"client": b"10.0.0.1"}, {"url": b""}, {"url": b"-", "host": b"-"}])
def test_without_a_host_there_is_no_request(values: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="it has no URL and no host"):
        fields_of(values.items())


@pytest.mark.parametrize(
    ("line", "values"),
    [
        pytest.param(b'{"url": "http://a/"}', {"url": b"http://a/"}, id="flat"),
        pytest.param(b'{"url": {"original": "x", "port": 80}}', {"url.original": b"x", "url.port": b"80"}, id="nested"),
        pytest.param(b'{"Client": {"IP-Addr": "x"}}', {"client.ipaddr": b"x"}, id="names-are-made-one"),
        pytest.param(b'{"a": 1.5, "b": 7, "c": ""}', {"a": b"1.5", "b": b"7"}, id="numbers"),
        pytest.param(b'{"a": true, "b": null, "c": ["x"]}', {}, id="what-is-no-text"),
        pytest.param(b'{"a": "\xff"}', {"a": b"\xff"}, id="no-utf-8"),
        pytest.param(b'{"a": "\\ud800"}', {"a": b"\xed\xa0\x80"}, id="half-a-character"),
        pytest.param(b'{"a": "1", "A": "2"}', {"a": b"2"}, id="twice"),
        pytest.param(b'{"a":{"b":{"c":{"d":{"e":"1","f":{"g":"2"}}}}}}', {"a.b.c.d.e": b"1"}, id="too-deep"),
    ],
)
def test_an_object_is_flattened(line: bytes, values: dict[str, bytes]) -> None:
    assert flatten(read_json(line)) == values


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"", "it is no JSON", id="empty"),
        pytest.param(b"{", "it is no JSON", id="cut-off"),
        pytest.param(b'{"a": 1} x', "it is no JSON", id="more-behind"),
        pytest.param(b"\0", "it is no JSON", id="nul"),
        pytest.param(b"\xff", "it is no JSON", id="no-text"),
        pytest.param(b"[" * 100_000, "it is no JSON", id="deep-list"),
        pytest.param(b'{"a":' * 100_000, "it is no JSON", id="deep-object"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "it is no JSON", id="deep-and-whole"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "it is no JSON", id="huge-number"),
        pytest.param(b"[1]", "it is no JSON object", id="list"),
        pytest.param(b'"x"', "it is no JSON object", id="string"),
        pytest.param(b"null", "it is no JSON object", id="null"),
        pytest.param(b"1773623203.004", "it is no JSON object", id="number"),
    ],
)
def test_what_is_no_object_is_told(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        read_json(line)


def test_cells_are_without_the_blanks_around_them() -> None:
    assert split_tabs(b"a\t b \t\tc\t") == [b"a", b"b", b"", b"c", b""]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(sorted(FIELD_OF_COLUMN)) | st.text(), json_values, max_size=5))
def test_any_object_is_flattened_to_texts(values: dict[str, object]) -> None:
    line = json.dumps(values).encode()
    flat = flatten(read_json(line))
    assert all(flat.values())
    texts = {column_name(key): value for key, value in values.items() if isinstance(value, str)}
    if len({column_name(key) for key in values}) == len(values) and not any(
        isinstance(v, dict) for v in values.values()
    ):
        expected = {name: text.encode("utf-8", "surrogatepass") for name, text in texts.items() if text}
        assert expected.items() <= flat.items()
