"""FORMAT: every token that Squid documents is read, skipped or refused for a reason, and each quoting is undone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.errors import ProtocolError
from squid_imhelper.squid.layout import (
    TOKEN,
    Blanks,
    code_of,
    decoder_of,
    field_of,
    is_known,
    parse_extras,
    parse_format,
    read_fields,
    split_words,
)
from squid_imhelper.squid.wire import DEFAULT_EXTRAS, DEFAULT_FORMAT


def read(layout_text, line):
    """The fields of a line that ends with its last field."""
    layout = parse_format(layout_text)
    return read_fields(split_words(line, layout)[: len(layout.words)], layout)


TOKENS = [
    ("%>a", "client"),
    ("%SRC", "client"),
    ("%#>a", "client"),
    ("%>rm", "method"),
    ("%rm", "method"),
    ("%METHOD", "method"),
    ("%>ru", "url"),
    ("%#>ru", "url"),
    ("%ru", "url"),
    ("%URI", "url"),
    ("%>rd", "host"),
    ("%DST", "host"),
    ("%#>rd", "host"),
    ("%>rP", "port"),
    ("%PORT", "port"),
    ("%>rp", "path"),
    ("%PATH", "path"),
    ("%>rs", "scheme"),
    ("%PROTO", "scheme"),
    ("%un", "user"),
    ("%#un", "user"),
    ("%ul", "user"),
    ("%LOGIN", "user"),
    ("%ue", "user"),
    ("%EXT_USER", "user"),
    ("%#ssl::>sni", "sni"),
    ("%/ssl::>sni", "sni"),
    ("%#tls::>sni", "sni"),
    ("%>la", "destination"),
    ("%>lp", "destination_port"),
    ("%{User-Agent}>h", "user_agent"),
    ("%#{User-Agent}>h", "user_agent"),
    ("%{user-agent}>h", "user_agent"),
    ("%>h{User-Agent}", "user_agent"),
    ("%#>h{User-Agent}", "user_agent"),
    ("%>{User-Agent}", "user_agent"),
    ("%{User-Agent}>ha", "user_agent"),
    ("%>ha{User-Agent}", "user_agent"),
    ('%"{User-Agent}>h', "user_agent"),
    ("%'{User-Agent}>h", "user_agent"),
    ("%[{User-Agent}>h", "user_agent"),
    ("%/{User-Agent}>h", "user_agent"),
    ("%{Content-Type}>h", "content_type"),
    ("%#>h{Content-Type}", "content_type"),
    ("%http::>ru", "url"),
    ("%#{User-Agent}http::>h", "user_agent"),
]


@pytest.mark.parametrize(("token", "field"), [pytest.param(*case, id=case[0]) for case in TOKENS])
def test_a_token_tells_a_field(token, field):
    assert read(f"%sn {token}", b"12 value") == {field: b"value"}


SKIPPED = [
    "%>p", "%SRCPORT", "%>A", "%<a", "%<A", "%>eui", "%SRCEUI48", "%SRCEUI64", "%la", "%lp", "%MYADDR", "%MYPORT",
    "%et", "%ea", "%EXT_TAG", "%TAG", "%EXT_LOG", "%ACL", "%sn", "%ts", "%tu", "%tl", "%tg", "%tr", "%dt", "%mt",
    "%>st", "%<st", "%>Hs", "%Ss", "%Sh", "%ui", "%IDENT", "%>rv", "%<rd", "%err_code", "%err_detail", "%credentials",
    "%{key}note", "%master_xaction", "%request_attempts", "%busy_time", "%{2}byte", "%byte{2}", "%>h", "%{Referer}>h",
    "%>h{Cookie}", "%>{Referer}", "%<{Via}", "%{Via}<h", "%<h{Via}", "%USER_CERT_CN", "%USER_CA_CERT_CN",
    "%CA_CERT_CN", "%>handshake", "%transport::>connection_id", "%http::>st", "%ssl::<cert_errors",
    "%#ssl::<cert_subject", "%ssl::bump_mode", "%ssl::>negotiated_version", "%#tls::<cert_issuer", "%icap::tt",
    "%adapt::sum_trs", "%{X-Next}adapt::<last_h", "%{User-Agent:member}>h", "%proxy_protocol::>h{0x21}",
]  # fmt: skip


@pytest.mark.parametrize("token", SKIPPED)
def test_a_token_that_tells_nothing_is_skipped(token):
    assert read(f"%>a {token} %>rm", b"10.0.0.1 whatever GET") == {"client": b"10.0.0.1", "method": b"GET"}


REFUSED = [
    pytest.param("", id="empty"),
    pytest.param("  ", id="blanks"),
    pytest.param("%DATA", id="only-data"),
    pytest.param("%FOOBAR", id="unknown-word"),
    pytest.param("%foo", id="unknown"),
    pytest.param("%>zz", id="unknown-with-an-arrow"),
    pytest.param("%", id="a-percent-sign"),
    pytest.param("%#", id="a-modifier"),
    pytest.param("%>", id="an-arrow"),
    pytest.param("%>a%", id="a-percent-sign-behind"),
    pytest.param("%{User-Agent", id="open-brace"),
    pytest.param("%{User-Agent}", id="header-without-a-code"),
    pytest.param("%5>a", id="width"),
    pytest.param("%-15>a", id="width-left"),
    pytest.param("%.3>a", id="width-max"),
    pytest.param("%ssl::>sni", id="sni"),
    pytest.param('%"ssl::>sni', id="sni-quoted"),
    pytest.param("%'ssl::>sni", id="sni-raw"),
    pytest.param("%[ssl::>sni", id="sni-mime"),
    pytest.param("%tls::>sni", id="sni-by-its-other-name"),
    pytest.param("x=%ssl::>sni", id="sni-inside-a-word"),
    pytest.param('%"{User-Agent}>h %>a', id="quoted-not-last"),
    pytest.param("%'{User-Agent}>h %>a", id="raw-not-last"),
    pytest.param("%[{User-Agent}>h %>a", id="mime-not-last"),
    pytest.param('%"{Content-Type}>h %"{User-Agent}>h', id="two-quoted"),
    pytest.param('x=%"{User-Agent}>h', id="quoted-inside-a-word"),
    pytest.param("x=%/{User-Agent}>h", id="shell-inside-a-word"),
    pytest.param("%>a%>rm", id="nothing-between-two"),
]


@pytest.mark.parametrize("text", REFUSED)
def test_a_format_that_cannot_be_read_back_is_refused(text):
    with pytest.raises(ProtocolError) as caught:
        parse_format(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", ['%"{X}>h', "%'{X}>h", "%[{X}>h", "%/{X}>h"])
def test_extras_hold_no_blanks_since_the_url_before_them_may(token):
    with pytest.raises(ProtocolError, match="--extras"):
        parse_extras(f"%>a {token}")


@pytest.mark.parametrize(
    "text", ["%>rm %>a %#>ru", "%#>ru %>rm %>a", "%SRC %URI %METHOD", "%sn %#>ru %et %>a %ACL %>rm %ea"]
)
def test_fields_stand_in_any_order(text):
    values = {"%>rm": b"GET", "%METHOD": b"GET", "%>a": b"10.0.0.1", "%SRC": b"10.0.0.1"}
    values |= {"%#>ru": b"http://h/", "%URI": b"http://h/"}
    line = b" ".join(values.get(word, b"-") for word in text.split())
    assert read(text, line) == {"client": b"10.0.0.1", "method": b"GET", "url": b"http://h/"}


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        pytest.param("%ru %>ru", b"cut whole", {"url": b"whole"}, id="url"),
        pytest.param("%>ru %ru", b"whole cut", {"url": b"whole"}, id="url-first"),
        pytest.param("%ue %un", b"external any", {"user": b"any"}, id="user"),
        pytest.param("%rm %>rm", b"rewritten GET", {"method": b"GET"}, id="method"),
    ],
)
def test_of_two_that_tell_the_same_the_better_counts(text, line, expected):
    assert read(text, line) == expected


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        pytest.param("%>a/%>A", b"10.0.0.1/pc.lan", {"client": b"10.0.0.1"}, id="slash"),
        pytest.param("%>a/%>A", b"10.0.0.1/-", {"client": b"10.0.0.1"}, id="slash-absent"),
        pytest.param("%>a/%>A", b"fd99::1/a/b", {"client": b"fd99::1"}, id="slash-twice"),
        pytest.param("myip=%la", b"myip=10.0.0.9", {}, id="literal-skipped"),
        pytest.param("ua=%#{User-Agent}>h", b"ua=curl%207", {"user_agent": b"curl 7"}, id="literal"),
        pytest.param("sni=%#ssl::>sni", b"sni=-", {}, id="literal-absent"),
        pytest.param("%>rs://%>rd", b"http://h", {"scheme": b"http", "host": b"h"}, id="two-fields"),
        pytest.param("[%>a]", b"[10.0.0.1]", {"client": b"10.0.0.1"}, id="literals-around"),
        pytest.param("100%%:%>a", b"100%:10.0.0.1", {"client": b"10.0.0.1"}, id="percent-sign"),
    ],
)
def test_a_word_of_several_parts_is_taken_apart(text, line, expected):
    assert read(text, line) == expected


@pytest.mark.parametrize("line", [b"10.0.0.1", b"10.0.0.1-pc", b""])
def test_a_word_that_does_not_fit_its_parts_is_an_error(line):
    with pytest.raises(ProtocolError):
        read("%>a/%>A", line)


@pytest.mark.parametrize(
    ("text", "words", "data"),
    [
        pytest.param("%>a %>rd", 2, 2, id="appended"),
        pytest.param("%>a %>rd %DATA", 2, 2, id="explicit"),
        pytest.param("%>a %DATA %>rd", 2, 1, id="middle"),
        pytest.param("%DATA %>a %>rd", 2, 0, id="first"),
        pytest.param("%>a %>rd %#DATA", 2, 2, id="one-token"),
        pytest.param(DEFAULT_FORMAT, 5, 5, id="default"),
    ],
)
def test_data_stands_where_the_format_says(text, words, data):
    layout = parse_format(text)
    assert (len(layout.words), layout.data) == (words, data)


def test_the_default_extras_are_those_of_squid():
    assert parse_extras(DEFAULT_EXTRAS).blanks is Blanks.NOWHERE


# ---- what Squid 5.7 and 7.6 made of one header ---------------------------------------------------------------------

AGENT = 'Moz/5.0 (X11; "q" %20 \\ back [b] \u00fcn\u00ef\ttab)'.encode()
CAPTURES = [
    pytest.param(
        "%#{User-Agent}>h",
        rb"Moz/5.0%20(X11;%20%22q%22%20%2520%20%5C%20back%20%5Bb%5D%20%C3%BCn%C3%AF%09tab)",
        AGENT,
        id="url",
    ),
    pytest.param(
        "%{User-Agent}>h",
        rb"Moz/5.0%20(X11;%20%22q%22%20%20%20%5C%20back%20%5Bb%5D%20%C3%BCn%C3%AF%09tab)",
        AGENT.replace(b"%20", b" "),
        id="none-which-loses-the-clients-own-escapes",
    ),
    pytest.param(
        '%"{User-Agent}>h',
        b'Moz/5.0 (X11; \\"q\\" %20 \\\\ back [b] \xc3\xbcn\xc3\xaf\\ttab)',
        AGENT,
        id="quoted",
    ),
    pytest.param(
        "%[{User-Agent}>h",
        rb'Moz/5.0 (X11; "q" %2520 \\ back %5bb%5d %c3%bcn%c3%af%09tab)',
        AGENT,
        id="mime",
    ),
    pytest.param(
        "%/{User-Agent}>h",
        b'"Moz/5.0 (X11; \\"q\\" %20 \\\\ back [b] \xc3\xbcn\xc3\xaf\ttab)"',
        AGENT,
        id="shell",
    ),
    pytest.param("%'{User-Agent}>h", AGENT, AGENT, id="raw"),
    pytest.param("%/{User-Agent}>h", b"curl/7.88.1", b"curl/7.88.1", id="shell-without-blanks"),
    pytest.param("%/{User-Agent}>h", rb"a\"b\\c", rb'a"b\c', id="shell-without-blanks-escaped"),
    pytest.param("%#>ru", b"/a%2520b/%2525x/%25zz", b"/a%20b/%25x/%zz", id="url-of-a-url"),
    pytest.param("%>ru", b"/a%20b/%25x/%zz", b"/a%20b/%25x/%zz", id="none-of-a-url"),
]


@pytest.mark.parametrize(("token", "sent", "meant"), CAPTURES)
def test_a_captured_field_is_read_back(token, sent, meant):
    [value] = read(token, sent + b" -").values() if token[1] in "\"'[" else read(token, sent).values()
    assert value == meant


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        pytest.param(
            "%/{User-Agent}>h %>rm", b'"a b" GET -', {"user_agent": b"a b", "method": b"GET"}, id="shell-then-more"
        ),
        pytest.param(
            "%/{User-Agent}>h %>rm",
            rb'"a \" GET" POST -',
            {"user_agent": b'a " GET', "method": b"POST"},
            id="shell-quote-inside",
        ),
        pytest.param(
            '%>a %"{User-Agent}>h', b"10.0.0.1 a  b -", {"client": b"10.0.0.1", "user_agent": b"a  b"}, id="last"
        ),
        pytest.param("%>a %'{User-Agent}>h", b"10.0.0.1 - -", {"client": b"10.0.0.1"}, id="last-absent"),
    ],
)
def test_blanks_inside_a_field_part_nothing(text, line, expected):
    assert read(text, line) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("%/{User-Agent}>h %>rm %'{Content-Type}>h", b'"x GET y" POST text/plain -', id="shell-before-raw"),
        pytest.param("%DATA %>rm %'{User-Agent}>h", b"- POST x GET y", id="data-before-raw"),
    ],
)
def test_a_client_cannot_shift_fields_with_blanks(text, line):
    """Either the layout is refused, or the method is the one that Squid sent."""
    try:
        layout = parse_format(text)
    except ProtocolError:
        return
    words = split_words(line, layout)
    behind = len(layout.words) - layout.data
    fields = read_fields(words[: layout.data] + words[len(words) - behind :], layout)
    assert fields["method"] == b"POST"
    assert fields.get("user_agent", b"x GET y") == b"x GET y"


def squid_quotes_url(value):
    return "".join(chr(b) if chr(b).isalnum() and b < 0x80 else f"%{b:02X}" for b in value).encode()


def squid_quotes_string(value):
    escapes = {0x0A: b"\\n", 0x0D: b"\\r", 0x09: b"\\t", 0x22: b'\\"', 0x5C: b"\\\\"}
    return b"".join(escapes.get(b, bytes([b])) for b in value)


def squid_quotes_shell(value):
    escapes = {0x0A: b"\\n", 0x0D: b"\\r", 0x22: b'\\"', 0x5C: b"\\\\"}
    word = b"".join(escapes.get(b, bytes([b])) for b in value)
    return b'"' + word + b'"' if b" " in value else word


_headers = st.binary(min_size=1, max_size=30).filter(lambda v: b"\n" not in v and v != b"-" and v.strip(b" \r") == v)


@pytest.mark.parametrize(
    ("quote_mark", "encode"), [("#", squid_quotes_url), ("/", squid_quotes_shell), ('"', squid_quotes_string)]
)
@given(_headers)
def test_what_squid_quotes_is_read_back_exactly(quote_mark, encode, value):
    layout = parse_format(f"%>a %{quote_mark}{{User-Agent}}>h")
    words = split_words(b"10.0.0.1 " + encode(value) + b" -", layout)
    assert words[-1] == b"-"
    assert read_fields(words[:2], layout) == {"client": b"10.0.0.1", "user_agent": value}


# ---- tokens by themselves, as a logformat has them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "quote", "width", "name", "code", "field"),
    [
        ("%>a", "", "", None, ">a", "client"),
        ("%06tr", "", "06", None, "tr", None),
        ("%-10.20>a", "", "-10.20", None, ">a", "client"),
        ("%.3>a", "", ".3", None, ">a", "client"),
        ('%"20un', '"', "20", None, "un", "user"),
        ("%#{User-Agent}>h", "#", "", "{User-Agent}", ">h", "user_agent"),
        ("%{X}>h", "", "", "{X}", ">h", None),
        ("%<{User-Agent}", "", "", None, "<", None),
        ("%http::>ru", "", "", None, ">ru", "url"),
        ("%tls::>sni", "", "", None, "ssl::>sni", "sni"),
        ("%03>Hs", "", "03", None, ">Hs", None),
    ],
)
def test_a_token_is_taken_apart(text, quote, width, name, code, field):
    token = TOKEN.fullmatch(text)
    assert (token["quote"], token["width"], token["before"]) == (quote, width, name)
    assert (code_of(token), field_of(token), is_known(token)) == (code, field, True)


@pytest.mark.parametrize("text", ["%foo", "%>zz", "%{User-Agent}x", "%>", "%>_"])
def test_a_token_of_nobody_is_not_known(text):
    assert not is_known(TOKEN.fullmatch(text))


@pytest.mark.parametrize(
    ("field", "quote", "value", "meant"),
    [
        ("url", "", b"a%20b", b"a%20b"),
        ("url", "#", b"a%2520b", b"a%20b"),
        ("user", "", b"a%20b", b"a%20b"),
        ("user", "[", rb"DOM\\a%5b", rb"DOM\a["),
        ("user_agent", "", b"a%20b", b"a b"),
        ("user_agent", '"', rb"a\"\t\\", b'a"\t\\'),
        ("user_agent", "/", rb'"a \"b"', b'a "b'),
        (None, "", b"a%20b", b"a b"),
        (None, "'", rb"a\t%20", rb"a\t%20"),
    ],
)
def test_a_decoder_undoes_a_quoting(field, quote, value, meant):
    assert decoder_of(field, quote)(value) == meant
