"""The wire: every captured line is read alike however it arrives, and every reply is read by Squid as it was meant."""

import re
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ProtocolError
from squid_imhelper.base.model import Decision, Request, Response
from squid_imhelper.base.templates import PLACEHOLDERS
from squid_imhelper.base.urls import NOWHERE, parse_connect, parse_url
from squid_imhelper.squid.layout import parse_extras, parse_format
from squid_imhelper.squid.wire import (
    ACL,
    DEFAULT_EXTRAS,
    DEFAULT_FORMAT,
    MAX_LINE,
    MAX_REPLY,
    REWRITE,
    Answer,
    LineBuffer,
    Query,
    encode_acl,
    encode_parameter,
    encode_quoted,
    encode_rewrite,
    encode_value,
    reply,
    split_channel,
    template_values,
)

# ---- lines of Squid 5.7 and 7.6 -------------------------------------------------------------------------------------

WIDE = (
    "%>a %un %>rm %>ru %ru %>rd %>rP %>rp %>rs %{User-Agent}>h %{Referer}>h %#ssl::>sni %ssl::<cert_errors %>eui %ue "
    "%et %ea %la %lp %>la %>lp %ACL %DATA"
)
LEGACY = (
    "%SRC %METHOD %URI %PROTO %DST %PORT %PATH %MYADDR %MYPORT %SRCPORT %LOGIN %EXT_USER %EXT_LOG %>{User-Agent} %ACL"
)
BUMP = "%>a %>rm %>ru %ru %>rd %>rP %#ssl::>sni %et %ea %ACL %>la %>lp"
PARTS = "%>a %>rm %>rd %>rP %>rp %>rs"
TAIL = b" - - - 00:00:00:00:00:00 - - - 127.0.0.1 3128 127.0.0.1 3128 A - "
LOCAL = {"client": "127.0.0.1", "method": "GET"}
CURL = LOCAL | {"user_agent": "curl/7.88.1"}
STEP = {"client": "10.99.0.1", "method": "CONNECT"}


def acl(layout, line, url, /, **parts):
    return ACL, layout, line, url, parts


def rewrite(layout, line, url, /, **parts):
    return REWRITE, layout, line, url, parts


CASES = [
    # an external ACL, as captured
    pytest.param(
        *acl(
            WIDE,
            b"127.0.0.1 - GET http://origin.test/plain http://origin.test/plain origin.test 80 /plain http "
            b"curl/7.88.1" + TAIL,
            "http://origin.test/plain",
            **CURL,
        ),
        id="get",
    ),
    pytest.param(
        *acl(
            WIDE,
            b"127.0.0.1 - GET http://origin.test/a%20b/%25x/%zz?q=%22x%22&y=%3Cz%3E%7C%7B%7D%5B%5D%5E%60%5C%7E "
            b"http://origin.test/a%20b/%25x/%zz? origin.test 80 /a%20b/%25x/%zz http curl/7.88.1" + TAIL,
            "http://origin.test/a%20b/%25x/%25zz?q=%22x%22&y=%3Cz%3E%7C%7B%7D%5B%5D%5E%60%5C%7E",
            **CURL,
        ),
        id="get-weird",
    ),
    pytest.param(
        *acl(
            WIDE,
            b"127.0.0.1 - GET http://origin.test/noua http://origin.test/noua origin.test 80 /noua http -" + TAIL,
            "http://origin.test/noua",
            **LOCAL,
        ),
        id="get-without-an-agent",
    ),
    pytest.param(
        *acl(
            WIDE,
            b"127.0.0.1 - CONNECT origin.test:443 origin.test:443 origin.test 443 - - curl/7.88.1" + TAIL,
            "origin.test:443",
            **CURL | {"method": "CONNECT"},
        ),
        id="connect",
    ),
    pytest.param(
        *acl(
            WIDE,
            b"127.0.0.1 - GET http://%5Bfd99::1%5D/v6 http://[fd99::1]/v6 %5Bfd99::1%5D 80 /v6 http curl/7.88.1" + TAIL,
            "http://[fd99::1]/v6",
            **CURL,
        ),
        id="get-ipv6",
    ),
    pytest.param(
        *acl(
            WIDE,
            b"127.0.0.1 - CONNECT %5Bfd99::1%5D:443 [fd99::1]:443 %5Bfd99::1%5D 443 - - curl/7.88.1" + TAIL,
            "[fd99::1]:443",
            **CURL | {"method": "CONNECT"},
        ),
        id="connect-ipv6",
    ),
    pytest.param(
        *acl(
            LEGACY,
            b"127.0.0.1 GET http://origin.test/plain http origin.test 80 /plain 127.0.0.1 3128 56874 "
            b"- - - curl/7.88.1 OLD - ",
            "http://origin.test/plain",
            **CURL,
        ),
        id="legacy-words",
    ),
    pytest.param(
        *acl(
            "%>ru %{User-Agent}>h",
            b"http://origin.test/ua Moz/5.0%20(X11;%20%22q%22%20%20%20%5C%20back a1 a2 ",
            "http://origin.test/ua",
            user_agent='Moz/5.0 (X11; "q"   \\ back',
            arguments=("a1", "a2"),
        ),
        id="protocol-2.5",
    ),
    pytest.param(
        *acl("%>ru %>rd", b"http://origin.test/ origin.test -", "http://origin.test/"), id="no-arguments-data-appended"
    ),
    pytest.param(
        *acl(
            "%>ru %>rd",
            b"http://origin.test/ origin.test foo b%2520ar %C3%BCn%C3%AF",
            "http://origin.test/",
            arguments=("foo", "b", "ar", "\u00fcn\u00ef"),
        ),
        id="arguments-escaped-one-by-one",
    ),
    pytest.param(
        *acl("%>ru %#DATA", b"http://h/ whatsapp%20@legacy_im", "http://h/", arguments=("whatsapp", "@legacy_im")),
        id="arguments-as-one-token",
    ),
    pytest.param(
        *acl(
            "%>a %DATA %>ru",
            b"10.0.0.1 whatsapp signal http://h/",
            "http://h/",
            client="10.0.0.1",
            arguments=("whatsapp", "signal"),
        ),
        id="arguments-in-the-middle",
    ),
    pytest.param(
        *acl("%>a %DATA %>ru", b"10.0.0.1 - http://h/", "http://h/", client="10.0.0.1"), id="none-in-the-middle"
    ),
    # ssl_bump, as captured
    pytest.param(
        *acl(
            BUMP,
            b":: NONE ://10.99.0.1:443 ://10.99.0.1:443 10.99.0.1 443 - - - bu1 10.99.0.1 443 step1",
            "10.99.0.1:443",
            client="::",
            method="NONE",
            arguments=("step1",),
        ),
        id="bump-step-1",
    ),
    pytest.param(
        *acl(
            BUMP,
            b"10.99.0.1 CONNECT 10.99.0.1:443 10.99.0.1:443 10.99.0.1 443 - - - haext 10.99.0.1 443 -",
            "10.99.0.1:443",
            **STEP,
        ),
        id="bump-http-access-1",
    ),
    pytest.param(
        *acl(
            BUMP,
            b"10.99.0.1 CONNECT 10.99.0.1:443 10.99.0.1:443 10.99.0.1 443 web.whatsapp.com - - bu2 10.99.0.1 443 step2",
            "10.99.0.1:443",
            names=("10.99.0.1", "web.whatsapp.com"),
            arguments=("step2",),
            **STEP,
        ),
        id="bump-step-2",
    ),
    pytest.param(
        *acl(
            BUMP,
            b"10.99.0.1 CONNECT web.whatsapp.com:443 web.whatsapp.com:443 web.whatsapp.com 443 web.whatsapp.com "
            b"- - haext 10.99.0.1 443 -",
            "web.whatsapp.com:443",
            **STEP,
        ),
        id="bump-http-access-2",
    ),
    pytest.param(
        *acl(
            "%>a %>rm %>ru %#ssl::>sni %ssl::<cert_errors %{User-Agent}>h",
            b"10.99.0.1 GET https://web.whatsapp.com/tls?q=1 web.whatsapp.com "
            b"X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT@depth=0 curl/7.88.1 -",
            "https://web.whatsapp.com/tls?q=1",
            client="10.99.0.1",
            method="GET",
            user_agent="curl/7.88.1",
        ),
        id="bumped-get",
    ),
    pytest.param(
        *acl(
            "%>ru %#ssl::>sni",
            b"10.99.0.1:443 x.com%0Aboom%20y -",
            "10.99.0.1:443",
            names=("10.99.0.1", "x.com%0Aboom%20y"),
        ),
        id="sni-with-a-newline",
    ),
    pytest.param(
        *acl(
            "%>ru %#ssl::>sni",
            b"10.99.0.1:443 WEB.WhatsApp.COM. -",
            "10.99.0.1:443",
            names=("10.99.0.1", "web.whatsapp.com"),
        ),
        id="sni-is-normalised",
    ),
    pytest.param(
        *acl("%>ru %#ssl::>sni", b"10.99.0.1:443 %FF.example -", "10.99.0.1:443", names=("10.99.0.1", "%FF.example")),
        id="sni-that-is-no-utf-8",
    ),
    # an external ACL, otherwise
    pytest.param(
        *acl(
            DEFAULT_FORMAT,
            b"10.0.0.1 POST http://h/a%2520b Mozilla/5.0%20(X11) text/plain;%20a=b -",
            "http://h/a%20b",
            client="10.0.0.1",
            method="POST",
            user_agent="Mozilla/5.0 (X11)",
            content_type="text/plain; a=b",
        ),
        id="default-format",
    ),
    pytest.param(
        *acl(
            DEFAULT_FORMAT,
            b"::ffff:10.0.0.1 GET http://h/ %FF%C3%BC - -",
            "http://h/",
            client="10.0.0.1",
            method="GET",
            user_agent="\udcff\u00fc",
        ),
        id="default-format-bytes",
    ),
    pytest.param(*acl("%>a", b"10.0.0.1 -", None, client="10.0.0.1"), id="no-url-at-all"),
    pytest.param(
        *acl(PARTS, b"10.0.0.1 GET h 81 /p?q http -", "http://h:81/p?q", client="10.0.0.1", method="GET"), id="parts"
    ),
    pytest.param(
        *acl(PARTS, b"10.0.0.1 CONNECT %5Bfd99::1%5D 443 - - -", "[fd99::1]:443", client="10.0.0.1", method="CONNECT"),
        id="parts-connect",
    ),
    pytest.param(*acl("%>rd", b"H. -", "h"), id="parts-only-a-host"),
    pytest.param(*acl("%>rd %>la %>lp", b"h 149.154.167.99 443 -", "h"), id="local-address-is-no-destination"),
    pytest.param(*acl("%#un %>ru", b"DOM%5Cj%20doe http://h/ -", "http://h/", user="DOM\\j doe"), id="user"),
    pytest.param(*acl("%>rd", b"h -\r", "h"), id="cr-at-the-end"),
    # a rewriter, as captured
    pytest.param(
        *rewrite(
            DEFAULT_EXTRAS,
            b"http://origin.test/plain 127.0.0.1/localhost - GET myip=127.0.0.1 myport=3128",
            "http://origin.test/plain",
            **LOCAL,
        ),
        id="rewrite-get",
    ),
    pytest.param(
        *rewrite(
            DEFAULT_EXTRAS,
            b'http://origin.test/a%20b/%25x/%zz?q="x"&y=<z>|{}[]^`\\~ 127.0.0.1/localhost - GET '
            b"myip=127.0.0.1 myport=3128",
            "http://origin.test/a%20b/%25x/%25zz?q=%22x%22&y=%3Cz%3E|{}[]^`\\~",
            **LOCAL,
        ),
        id="rewrite-get-raw",
    ),
    pytest.param(
        *rewrite(
            DEFAULT_EXTRAS,
            b"origin.test:443 127.0.0.1/localhost - CONNECT myip=127.0.0.1 myport=3128",
            "origin.test:443",
            **LOCAL | {"method": "CONNECT"},
        ),
        id="rewrite-connect",
    ),
    pytest.param(
        *rewrite(
            DEFAULT_EXTRAS,
            b"http://[fd99::1]/v6 127.0.0.1/localhost - GET myip=- myport=-",
            "http://[fd99::1]/v6",
            **LOCAL,
        ),
        id="rewrite-ipv6",
    ),
    pytest.param(
        *rewrite(
            "%>a %>A %un %>rm %et sni=%#ssl::>sni %ea",
            b"http://origin.test/space\xc3\xbc\xff 127.0.0.1 localhost - GET - sni=- -",
            "http://origin.test/space%C3%BC%FF",
            **LOCAL,
        ),
        id="rewrite-8-bit",
    ),
    pytest.param(
        *rewrite(
            "%>a/%>A %un %>rm myip=%la myport=%lp sni=%#ssl::>sni",
            b"10.99.0.1:443 10.99.0.1/origin.test - CONNECT myip=- myport=- sni=-",
            "10.99.0.1:443",
            **STEP,
        ),
        id="rewrite-bump-1",
    ),
    pytest.param(
        *rewrite(
            DEFAULT_EXTRAS,
            b"http://h/a b  c 10.0.0.1/pc j GET myip=- myport=-",
            "http://h/a%20b%20%20c",
            client="10.0.0.1",
            method="GET",
            user="j",
        ),
        id="rewrite-blanks-in-the-url",
    ),
]


def feed(pieces):
    buffer = LineBuffer()
    blocks = [buffer.feed(piece) for piece in pieces]
    assert all(block.endswith(b"\n") for block in blocks if block), "a line comes out whole"
    return b"".join(blocks).split(b"\n")[:-1], buffer.rest()


def check(interface, layout, line, url, parts, channel):
    """Holds one line, however it arrived, against what it means."""
    found = split_channel(line, expected=bool(channel))
    assert found is not None
    assert found[0] == channel
    query = interface.decode(found[1], interface.parse_layout(layout), False)
    parts = dict(parts)
    assert query.arguments == parts.pop("arguments", ())
    request = query.request
    assert request.target.url == url if url else request.target == NOWHERE
    host = request.target.host
    assert request.names == parts.pop("names", (host,) if host else ())
    told = {key: value for key, value in request._asdict().items() if value is not None}
    assert {key: value for key, value in told.items() if key not in ("target", "names")} == parts
    assert query.asked.isascii()


@pytest.mark.parametrize("channel", [b"", b"12"], ids=["no-id", "id"])
@pytest.mark.parametrize("chunks", ["whole", "bytes", "trailing"])
@pytest.mark.parametrize(("interface", "layout", "line", "url", "parts"), CASES)
def test_a_line_is_read_alike_however_it_arrives(interface, layout, line, url, parts, chunks, channel):
    sent = (channel + b" " if channel else b"") + line
    pieces, rest = [sent + b"\n"], b""
    if chunks == "bytes":
        pieces = [bytes([byte]) for byte in pieces[0]]
    elif chunks == "trailing":
        rest = b"13 the next li"
        pieces = [pieces[0] + rest]
    lines, kept = feed(pieces)
    assert (lines, kept) == ([sent], rest)
    check(interface, layout, lines[0], url, parts, channel)


MALFORMED = [
    pytest.param(ACL, DEFAULT_FORMAT, b"", id="empty"),
    pytest.param(ACL, DEFAULT_FORMAT, b"10.0.0.1 GET http://h/ -", id="too-few"),
    pytest.param(ACL, DEFAULT_FORMAT, b"nobody GET http://h/ - - -", id="client"),
    pytest.param(ACL, DEFAULT_FORMAT, b"10.0.0.1 GET http:// - - -", id="no-host"),
    pytest.param(ACL, DEFAULT_FORMAT, b"10.0.0.1 GET http://[.]/ - - -", id="no-host-in-brackets"),
    pytest.param(ACL, DEFAULT_FORMAT, b"10.0.0.1 CONNECT :443 - - -", id="connect-no-host"),
    pytest.param(ACL, DEFAULT_FORMAT, b"10.0.0.1 CONNECT ..:443 - - -", id="connect-only-dots"),
    pytest.param(REWRITE, DEFAULT_EXTRAS, b"", id="rewrite-empty"),
    pytest.param(REWRITE, DEFAULT_EXTRAS, b"http://h/", id="rewrite-only-a-url"),
    pytest.param(REWRITE, DEFAULT_EXTRAS, b"127.0.0.1/x - GET myip=- myport=-", id="rewrite-no-url"),
    pytest.param(REWRITE, DEFAULT_EXTRAS, b"http://h/ 127.0.0.1 - GET myip=- myport=-", id="rewrite-other-extras"),
]


@pytest.mark.parametrize(("interface", "layout", "line"), MALFORMED)
def test_a_line_that_does_not_fit_is_an_error_of_the_protocol(interface, layout, line):
    with pytest.raises(ProtocolError):
        interface.decode(line, interface.parse_layout(layout), False)


def test_the_destination_is_known_where_traffic_is_intercepted():
    line = b"10.0.0.1 149.154.167.99 443 149.154.167.99:443 -"
    request = ACL.decode(line, parse_format("%>a %>la %>lp %>ru"), True).request
    assert (request.names, request.destination_port) == (("149.154.167.99",), 443)


@given(st.binary(max_size=80))
@pytest.mark.parametrize(
    "layout", [DEFAULT_FORMAT, WIDE, PARTS, "%>ru %#ssl::>sni", "%>ru %/{User-Agent}>h", "%'{User-Agent}>h"]
)
def test_any_line_is_a_query_or_an_error_of_the_protocol(layout, line):
    """Filled up to its number of fields, so that the fields themselves are read."""
    filled = b"10.0.0.1 GET http://h/ " + line
    for text in (line, filled, filled + b" -" * 25):
        with suppress(ProtocolError):
            ACL.decode(text, parse_format(layout), True)


@given(st.binary(max_size=80), st.binary(max_size=20))
def test_any_line_of_a_rewriter_is_a_query_or_an_error_of_the_protocol(url, agent):
    with suppress(ProtocolError):
        REWRITE.decode(url + b" 10.0.0.1/x - GET myip=- myport=-", parse_extras(DEFAULT_EXTRAS), False)
    with suppress(ProtocolError):
        REWRITE.decode(url + b" " + agent, parse_extras("%#{User-Agent}>h"), False)


# ---- channel-IDs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(b"7 rest of it", (b"7", b"rest of it"), id="plain"),
        pytest.param(b"0 x", (b"0", b"x"), id="zero"),
        pytest.param(b"007 x", (b"007", b"x"), id="leading-zeros-are-kept"),
        pytest.param(b"18446744073709551615 x", (b"18446744073709551615", b"x"), id="64-bit"),
        pytest.param(b"123456789012345678901234567890 x", (b"123456789012345678901234567890", b"x"), id="more-digits"),
        pytest.param(b"  7 x", (b"7", b"x"), id="leading-blanks"),
        pytest.param(b"\t7\tx", (b"7", b"x"), id="tabs"),
        pytest.param(b"7   x", (b"7", b"x"), id="blanks-behind"),
        pytest.param(b"7", (b"7", b""), id="nothing-behind"),
        pytest.param(b"7 ", (b"7", b""), id="a-blank-behind"),
        pytest.param(b"7 8 x", (b"7", b"8 x"), id="two"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b" ", None, id="blank"),
        pytest.param(b"7ERR", None, id="glued"),
        pytest.param(b"7\x00x", None, id="nul"),
        pytest.param(b"10.0.0.1 GET", None, id="address"),
        pytest.param(b"-1 x", None, id="negative"),
        pytest.param(b"+1 x", None, id="plus"),
        pytest.param(b"\xd9\xa1 x", None, id="arabic-digit"),
        pytest.param(b"http://h/ 7", None, id="url-first"),
    ],
)
def test_a_channel_id_is_digits_and_a_blank(line, expected):
    assert split_channel(line, expected=True) == expected


def test_a_channel_id_is_never_guessed():
    assert split_channel(b"7 x", expected=False) == (b"", b"7 x")


# ---- the line buffer ------------------------------------------------------------------------------------------------


def test_lines_come_out_in_order_and_once():
    assert feed([b"a\nb", b"b\n\n", b"", b"c\nd"]) == ([b"a", b"bb", b"", b"c"], b"d")


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), min_size=1))
def test_pieces_make_no_difference(data, sizes):
    pieces, at = [], 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    *lines, rest = data.split(b"\n")
    assert feed(pieces) == (lines, rest)


def test_the_rest_is_taken_once():
    buffer = LineBuffer()
    buffer.feed(b"half")
    assert (buffer.rest(), buffer.rest()) == (b"half", b"")


@pytest.mark.parametrize("over", [-1, 0, 1, 5_000_000])
@pytest.mark.parametrize("size", [1 << 18, MAX_LINE, 1 << 25])
def test_an_overlong_line_comes_out_once_cut_off_and_the_next_is_whole(over, size):
    data = b"x" * (MAX_LINE + over) + b"\n2 next\n3 half"
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert feed(pieces) == ([b"x" * min(MAX_LINE, MAX_LINE + over), b"2 next"], b"3 half")


def test_an_endless_line_in_small_pieces_takes_bounded_memory():
    """Linear in time too: a megabyte byte by byte ends within the test's time limit."""
    buffer = LineBuffer()
    tracemalloc.start()
    try:
        for _ in range(MAX_LINE):
            buffer.feed(b"x")
        _, at_first = tracemalloc.get_traced_memory()
        for _ in range(1000):
            buffer.feed(b"y" * 65536)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < at_first + (1 << 20)
    assert buffer.feed(b"\n1 x\n") == b"x" * MAX_LINE + b"\n1 x\n"


# ---- replies, read as helper/Reply.cc reads them --------------------------------------------------------------------


def squid_reads(line, channels):
    """Returns channel-ID, result and pairs of a reply, by the grammar of Squid: a small reader of its own."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    text, at = line[:-1], 0
    channel = None
    if channels:
        found = re.match(rb" *([0-9]+)(?:[ \t]+|$)", text)
        assert found, "Squid aborts"
        channel, at = found[1], found.end()
    found = re.compile(rb"(OK|ERR)(?: |$)").match(text, at)
    assert found, "an unknown result"
    at = found.end()
    pairs = []
    while at < len(text):
        key = re.compile(rb"([A-Za-z0-9_-]+)=").match(text, at)
        assert key, "what follows is lost"
        value, at = squid_reads_value(text, key.end())
        pairs.append((key[1].decode(), value))
    return channel, found[1].decode(), pairs


def squid_reads_value(text, at):
    value = bytearray()
    if text[at : at + 1] == b'"':
        at += 1
        while text[at] != ord('"'):
            if text[at] == ord("\\"):
                at += 1
                value += {ord("n"): b"\n", ord("r"): b"\r"}.get(text[at], text[at : at + 1])
            else:
                value.append(text[at])
            at += 1
        at += 1
        assert text[at : at + 1] in (b"", b" ")
        return bytes(value), at + 1
    while at < len(text) and text[at] not in b" \t":
        assert text[at] != ord('"'), "a quote inside toggles quoting"
        if text[at : at + 2] == b"%%":
            value += b"%"
            at += 2
        elif re.fullmatch(rb"%[0-9A-Fa-f]{2}", text[at : at + 3]):
            value.append(int(text[at + 1 : at + 3], 16))
            at += 3
        else:
            value.append(text[at])
            at += 1
    return bytes(value), at + 1


NOW = 1_795_426_200.0


def answer(
    action="block", *, service="whatsapp", rule="r 1", message="no {service}", redirect="", asked="http://h/", **rest
):
    decision = Decision(action, service, rule, None, message, redirect)
    target = parse_connect(asked) if rest.get("connect") else parse_url(asked)
    query = Query(Request(target, (target.host,), client="10.0.0.1"), asked)
    rest.setdefault("response", Response(redirect="http://blk/?s={service}&r={rule}&c={client}&u={url}"))
    return Answer(decision, template_values(decision, query, "WhatsApp", NOW), **rest)


CONNECT_TO = Response(redirect="http://blk/", connect="blk:443")
REPLIES = [
    pytest.param(encode_acl, b"", answer("allow"), b"ERR\n", id="acl-allow"),
    pytest.param(encode_acl, b"7", answer("allow"), b"7 ERR\n", id="acl-allow-id"),
    pytest.param(encode_acl, b"", answer(), b"OK tag=whatsapp log=r%201 message=no%20whatsapp\n", id="acl-block"),
    pytest.param(encode_acl, b"007", answer(message=""), b"007 OK tag=whatsapp log=r%201\n", id="acl-block-no-message"),
    pytest.param(encode_acl, b"", answer(dry_run=True), b"ERR tag=whatsapp log=r%201\n", id="acl-dry-run"),
    pytest.param(encode_acl, b"", answer("monitor"), b"ERR tag=whatsapp log=r%201\n", id="acl-monitor"),
    pytest.param(encode_acl, b"", answer(service=None, message=""), b"OK log=r%201\n", id="acl-no-service-no-tag"),
    pytest.param(encode_acl, b"", answer(rule=None, message=""), b"OK tag=whatsapp\n", id="acl-no-rule-no-log"),
    pytest.param(encode_acl, b"", answer(service=None, rule=None, message=""), b"OK\n", id="acl-on-error-block"),
    pytest.param(
        encode_acl,
        b"",
        answer(message="{service_name} {rule} {client} {host} {url} {", asked="http://h/%20?a=b"),
        b"OK tag=whatsapp log=r%201 message=WhatsApp%20r%201%2010.0.0.1%20h%20http%3A%2F%2Fh%2F%2520%3Fa%3Db%20%7B\n",
        id="acl-message",
    ),
    pytest.param(encode_rewrite, b"7", answer("allow"), b"7 ERR\n", id="rewrite-allow"),
    pytest.param(
        encode_rewrite,
        b"7",
        answer(),
        b'7 OK status=302 url="http://blk/?s=whatsapp&r=r%201&c=10.0.0.1&u=http%3A%2F%2Fh%2F" tag=whatsapp log=r%201\n',
        id="rewrite-block",
    ),
    pytest.param(
        encode_rewrite,
        b"",
        answer(service=None, rule=None),
        b'OK status=302 url="http://blk/?s=-&r=-&c=10.0.0.1&u=http%3A%2F%2Fh%2F"\n',
        id="rewrite-unknown-is-a-dash",
    ),
    pytest.param(
        encode_rewrite,
        b"",
        answer(redirect="https://own:8443/{rule}/?{service_name}&{url}", asked='http://h/?"{service}"', rule='r"\\'),
        b'OK status=302 url="https://own:8443/r%22%5C/?WhatsApp&http%3A%2F%2Fh%2F%3F%22%7Bservice%7D%22" '
        b"tag=whatsapp log=r%22%5C\n",
        id="rewrite-redirect-of-the-rule",
    ),
    pytest.param(
        encode_rewrite,
        b"",
        answer(redirect="http://own/", asked="h:443", connect=True, response=CONNECT_TO),
        b'OK rewrite-url="blk:443" tag=whatsapp log=r%201\n',
        id="rewrite-connect-with-a-redirect-of-the-rule",
    ),
    pytest.param(encode_rewrite, b"", answer(dry_run=True), b"ERR tag=whatsapp log=r%201\n", id="rewrite-dry-run"),
    pytest.param(encode_rewrite, b"", answer("monitor"), b"ERR tag=whatsapp log=r%201\n", id="rewrite-monitor"),
    pytest.param(
        encode_rewrite,
        b"",
        answer(asked="h:443", connect=True),
        b'OK status=302 url="http://blk/?s=whatsapp&r=r%201&c=10.0.0.1&u=h%3A443" tag=whatsapp log=r%201\n',
        id="rewrite-connect-redirected",
    ),
    pytest.param(
        encode_rewrite,
        b"",
        answer(asked="h:443", connect=True, response=CONNECT_TO),
        b'OK rewrite-url="blk:443" tag=whatsapp log=r%201\n',
        id="rewrite-connect-tunnelled-elsewhere",
    ),
    pytest.param(
        encode_rewrite,
        b"",
        answer(response=CONNECT_TO),
        b'OK status=302 url="http://blk/" tag=whatsapp log=r%201\n',
        id="rewrite-get-is-not-tunnelled",
    ),
]


@pytest.mark.parametrize(("encode", "channel", "given_answer", "expected"), REPLIES)
def test_a_reply_byte_by_byte(encode, channel, given_answer, expected):
    assert encode(channel, given_answer) == expected
    squid_reads(expected, bool(channel))


@pytest.fixture
def kathmandu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is 5:45 hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("kathmandu")
def test_a_text_tells_the_time_by_the_clock_of_the_machine() -> None:
    given_answer = answer(message="since {time}", redirect="http://own/?t={time}")
    assert b"message=since%202026-11-23%2015%3A15%3A00%20%2B0545\n" in encode_acl(b"", given_answer)
    assert b'url="http://own/?t=2026-11-23%2015%3A15%3A00%20%2B0545"' in encode_rewrite(b"", given_answer)


def test_every_placeholder_has_its_value() -> None:
    decision = Decision("block", "whatsapp", "a rule")
    query = Query(Request(parse_url("http://H.example/x"), ("h.example",), client="10.0.0.1"), "http://H.example/x")
    values = template_values(decision, query, "WhatsApp", NOW)
    assert values.keys() == set(PLACEHOLDERS)
    assert {key: value for key, value in values.items() if key != "time"} == {
        "service": "whatsapp",
        "service_name": "WhatsApp",
        "rule": "a rule",
        "client": "10.0.0.1",
        "url": "http://H.example/x",
        "host": "h.example",
    }


ALL_BYTES = [bytes([b]).decode("utf-8", "surrogateescape") for b in range(256)]


@pytest.mark.parametrize("text", [pytest.param(text, id=f"{b:02X}") for b, text in enumerate(ALL_BYTES)])
def test_squid_reads_every_byte_of_a_value(text):
    line = reply(b"7", "OK", (("message", encode_value(f"a{text}b")), ("tag", "x")))
    message = f"a{text}b".encode("utf-8", "surrogateescape")
    assert squid_reads(line, True) == (b"7", "OK", [("message", message), ("tag", b"x")])
    assert re.fullmatch(r"a(?:[A-Za-z0-9._-]|(?:%[0-9A-F]{2})+)b", encode_value(f"a{text}b"))


@given(st.text(st.characters(codec="utf-8")))
def test_squid_reads_every_value(text):
    line = reply(b"", "ERR", (("log", encode_value(text)),))
    assert squid_reads(line, False) == (None, "ERR", [("log", text.encode())])


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_squid_reads_every_quoted_url_as_it_stands(text):
    line = reply(b"7", "OK", (("url", encode_quoted(text)), ("tag", "x")))
    assert squid_reads(line, True) == (b"7", "OK", [("url", text.encode()), ("tag", b"x")])


@pytest.mark.parametrize("text", ALL_BYTES[:128])
def test_a_parameter_holds_nothing_that_means_something_in_a_url(text):
    encoded = encode_parameter(text)
    assert encoded == text if re.fullmatch(r"[A-Za-z0-9_.~-]", text) else encoded == f"%{ord(text):02X}"


@pytest.mark.parametrize("asked", ["http://h/" + "x" * 8000, "http://h/?" + '"&%\\' * 2000, "http://h/" + "%FF" * 2700])
@pytest.mark.parametrize("encode", [encode_acl, encode_rewrite])
@pytest.mark.parametrize("channel", [b"", b"18446744073709551615"])
def test_a_reply_stays_small_and_whole_however_long_the_url(encode, asked, channel):
    response = Response(redirect="http://blk/?s={service}&u={url}&v={url}")
    line = encode(channel, answer(message="{service}: {url} " * 50, asked=asked, response=response))
    assert len(line) <= MAX_REPLY < 4096
    _, word, pairs = squid_reads(line, bool(channel))
    assert word == "OK"
    assert ("tag", b"whatsapp") in pairs


@given(
    st.text(max_size=1000),
    st.text("{}urlhostevic_nam", max_size=300),
    st.text(st.characters(codec="utf-8"), max_size=60),
)
@settings(deadline=None)
def test_any_text_of_a_policy_makes_one_whole_reply(rule, message, service):
    rule, service = rule.encode("utf-8", "replace").decode()[:25], service[:10]
    given_answer = answer(rule=rule, service=service, message=message)
    for encode in (encode_acl, encode_rewrite):
        line = encode(b"7", given_answer)
        assert len(line) <= MAX_REPLY
        channel, word, pairs = squid_reads(line, True)
        assert (channel, word) == (b"7", "OK")
        assert [value for key, value in pairs if key == "log"] == ([rule.encode()] if rule else [])
