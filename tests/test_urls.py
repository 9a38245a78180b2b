"""Request targets: all spellings of a host lead to one, and what is odd is still told by its suffix."""

import re
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.urls import (
    NOWHERE,
    Target,
    UrlError,
    normalise_address,
    normalise_host,
    normalise_path,
    parse_connect,
    parse_squid_url,
    parse_url,
    target_from_parts,
    to_text,
    unquote,
)

HOSTS = [
    pytest.param("web.whatsapp.com", "web.whatsapp.com", id="plain"),
    pytest.param("WEB.WhatsApp.COM", "web.whatsapp.com", id="case"),
    pytest.param("web.whatsapp.com.", "web.whatsapp.com", id="trailing-dot"),
    pytest.param("web.whatsapp.com...", "web.whatsapp.com", id="trailing-dots"),
    pytest.param("web.whatsapp.com%2e", "web.whatsapp.com", id="trailing-dot-escaped"),
    pytest.param("web.whatsapp.com\u3002", "web.whatsapp.com", id="trailing-ideographic-dot"),
    pytest.param("a..b", "a..b", id="empty-label-inside"),
    pytest.param("localhost", "localhost", id="one-label"),
    pytest.param("a_b.example", "a_b.example", id="underscore"),
    pytest.param("web.what%73app.com", "web.whatsapp.com", id="escaped-letter"),
    pytest.param("web%2Ewhatsapp.com", "web.whatsapp.com", id="escaped-dot"),
    pytest.param("%57EB.whatsapp.com", "web.whatsapp.com", id="escaped-capital"),
    pytest.param("a%5C.web.whatsapp.com", "a%5C.web.whatsapp.com", id="escaped-backslash"),
    pytest.param("a%2F%3F.web.whatsapp.com", "a%2F%3F.web.whatsapp.com", id="escaped-slash"),
    pytest.param("a%0B.web.whatsapp.com", "a%0B.web.whatsapp.com", id="escaped-control"),
    pytest.param("a%3Ab%3Ac.web.whatsapp.com", "a%3Ab%3Ac.web.whatsapp.com", id="escaped-colons"),
    pytest.param("b\u00fccher.example", "xn--bcher-kva.example", id="idna"),
    pytest.param("B\u00dcCHER.example", "xn--bcher-kva.example", id="idna-capital"),
    pytest.param("b%C3%BCcher.example", "xn--bcher-kva.example", id="idna-escaped"),
    pytest.param("xn--bcher-kva.example", "xn--bcher-kva.example", id="a-label"),
    pytest.param("XN--BCHER-KVA.example", "xn--bcher-kva.example", id="a-label-capital"),
    pytest.param("fa\u00df.example", "xn--fa-hia.example", id="idna-2008-sharp-s"),
    pytest.param("\uff57\uff45\uff42.whatsapp.com", "web.whatsapp.com", id="full-width-letters"),
    pytest.param("web\u3002whatsapp\uff0ecom", "web.whatsapp.com", id="full-width-dots"),
    pytest.param("web\uff61whatsapp\uff61com", "web.whatsapp.com", id="half-width-dots"),
    pytest.param("2130706433", "127.0.0.1", id="decimal"),
    pytest.param("84281096", "5.6.7.8", id="decimal-2"),
    pytest.param("0x05060708", "5.6.7.8", id="hex"),
    pytest.param("0x5.0x6.0x7.0x8", "5.6.7.8", id="hex-octets"),
    pytest.param("05.06.07.010", "5.6.7.8", id="octal-octets"),
    pytest.param("5.6.1800", "5.6.7.8", id="short-three"),
    pytest.param("5.395016", "5.6.7.8", id="short-two"),
    pytest.param("5.6.7.8.", "5.6.7.8", id="address-trailing-dot"),
    pytest.param("[::1]", "::1", id="ipv6"),
    pytest.param("::1", "::1", id="ipv6-bare"),
    pytest.param("[FD99:0:0::0001]", "fd99::1", id="ipv6-shortest"),
    pytest.param("[::ffff:5.6.7.8]", "5.6.7.8", id="mapped-dotted"),
    pytest.param("[::ffff:506:708]", "5.6.7.8", id="mapped-hex"),
    pytest.param("::FFFF:5.6.7.8", "5.6.7.8", id="mapped-bare"),
    pytest.param("[fe80::1%eth0]", "fe80::1", id="zone"),
    pytest.param("[www.meebo.com]", "www.meebo.com", id="name-in-brackets"),
    pytest.param("xn--a.web.whatsapp.com", "xn--a.web.whatsapp.com", id="refused-bad-a-label"),
    pytest.param("XN--A.Web.WhatsApp.com.", "xn--a.web.whatsapp.com", id="refused-bad-a-label-case"),
    pytest.param("1.2.3.4.5", "1.2.3.4.5", id="refused-five-numbers"),
    pytest.param("256.1.1.1", "256.1.1.1", id="refused-big-octet"),
    pytest.param("0x100000000", "0x100000000", id="refused-big-number"),
    pytest.param("a%00b.whatsapp.com", "a%00b.whatsapp.com", id="refused-nul"),
    pytest.param("a b.whatsapp.com", "a%20b.whatsapp.com", id="refused-blank"),
    pytest.param("a\tb.whatsapp.com", "a%09b.whatsapp.com", id="refused-tab"),
    pytest.param("a\nb.whatsapp.com", "a%0Ab.whatsapp.com", id="refused-newline"),
    pytest.param("x@y.whatsapp.com", "x%40y.whatsapp.com", id="refused-at"),
    pytest.param("x/y.whatsapp.com", "x%2Fy.whatsapp.com", id="refused-slash"),
    pytest.param("%2577eb.whatsapp.com", "%2577eb.whatsapp.com", id="escaped-twice-is-not-undone"),
    pytest.param("%FF.whatsapp.com", "%FF.whatsapp.com", id="refused-no-utf8-escaped"),
    pytest.param("\udcff.whatsapp.com", "%FF.whatsapp.com", id="refused-no-utf8-raw"),
    pytest.param("", "", id="empty"),
    pytest.param("...", "", id="only-dots"),
]


@pytest.mark.parametrize(("name", "expected"), HOSTS)
def test_a_host_has_one_spelling(name, expected):
    assert normalise_host(name) == expected
    assert normalise_host(expected) == expected


# A blank, a slash or an at-sign ends what is the host in a URL.
_STAND_IN_A_URL = [case for case in HOSTS if case.values[1] and not re.search(r"[\s/@]", case.values[0])]


@pytest.mark.parametrize(("name", "expected"), _STAND_IN_A_URL)
def test_a_url_and_a_connect_find_the_same_host(name, expected):
    host = f"[{name}]" if ":" in name and not name.startswith("[") else name
    assert parse_url(f"http://{host}/").host == expected
    assert parse_connect(host).host == expected


URLS = [
    pytest.param("http://h/", ("http", "h", 80, "/", ""), id="http"),
    pytest.param("HTTPS://H/", ("https", "h", 443, "/", ""), id="scheme-case"),
    pytest.param("ftp://h/", ("ftp", "h", 21, "/", ""), id="ftp"),
    pytest.param("ws://h/", ("ws", "h", 80, "/", ""), id="ws"),
    pytest.param("wss://h/", ("wss", "h", 443, "/", ""), id="wss"),
    pytest.param("h", ("http", "h", 80, "/", ""), id="bare-host"),
    pytest.param("h/p?q", ("http", "h", 80, "/p", "q"), id="bare-host-path"),
    pytest.param("h:8080/p", ("http", "h", 8080, "/p", ""), id="bare-host-port"),
    pytest.param("  http://h/ \r\n", ("http", "h", 80, "/", ""), id="blanks-around"),
    pytest.param("http://h", ("http", "h", 80, "/", ""), id="no-slash"),
    pytest.param("http://h?x=1", ("http", "h", 80, "/", "x=1"), id="no-slash-query"),
    pytest.param("http://h#f", ("http", "h", 80, "/", ""), id="no-slash-fragment"),
    pytest.param("http://h/p?q#f", ("http", "h", 80, "/p", "q"), id="fragment"),
    pytest.param("http://h/?", ("http", "h", 80, "/", ""), id="empty-query"),
    pytest.param("http://h:80/", ("http", "h", 80, "/", ""), id="default-port"),
    pytest.param("http://h:/", ("http", "h", 80, "/", ""), id="empty-port"),
    pytest.param("http://h:0443/", ("http", "h", 443, "/", ""), id="port-leading-zero"),
    pytest.param("https://h:80/", ("https", "h", 80, "/", ""), id="other-schemes-port"),
    pytest.param("https://h:99999/", ("https", "h", None, "/", ""), id="port-overflow"),
    pytest.param("gopher://h/x", ("gopher", "h", None, "/x", ""), id="other-scheme"),
    pytest.param("gopher://2130706433:70/x", ("gopher", "127.0.0.1", 70, "/x", ""), id="other-scheme-is-normalised"),
    pytest.param("http://user:pw@h/", ("http", "h", 80, "/", ""), id="userinfo"),
    pytest.param("http://good.example@bad@h/", ("http", "h", 80, "/", ""), id="userinfo-two-at"),
    pytest.param("http://good.example%2f@h/", ("http", "h", 80, "/", ""), id="userinfo-escaped-slash"),
    pytest.param("user:pw@h/x", ("http", "h", 80, "/x", ""), id="userinfo-no-scheme"),
    pytest.param("http://x@xn--a.h:81/", ("http", "xn--a.h", 81, "/", ""), id="userinfo-refused-host"),
    pytest.param("http:\\\\h\\p", ("http", "h", 80, "/p", ""), id="backslashes"),
    pytest.param("http://h\\@evil.example/", ("http", "h", 80, "/@evil.example/", ""), id="backslash-ends-the-host"),
    pytest.param("http:/h/p", ("http", "h", 80, "/p", ""), id="one-slash"),
    pytest.param("http:////h/p", ("http", "h", 80, "/p", ""), id="many-slashes"),
    pytest.param("http://[fd99::1]/v6", ("http", "fd99::1", 80, "/v6", ""), id="ipv6"),
    pytest.param("http://%5Bfd99::1%5D/v6", ("http", "fd99::1", 80, "/v6", ""), id="ipv6-as-squid-escapes-it"),
    pytest.param("http://%5bfd99::1%5d:81/v6", ("http", "fd99::1", 81, "/v6", ""), id="ipv6-escaped-port"),
    pytest.param("http://[::ffff:5.6.7.8]:81/", ("http", "5.6.7.8", 81, "/", ""), id="mapped-port"),
    pytest.param("http://1.2.3.4.5:81/a?b", ("http", "1.2.3.4.5", 81, "/a", "b"), id="refused-with-everything"),
    pytest.param("http://h//a/./b/../c", ("http", "h", 80, "/a/c", ""), id="path-dots"),
    pytest.param("http://h/../../a", ("http", "h", 80, "/a", ""), id="path-above-the-root"),
    pytest.param("http://h/%2e%2E/a", ("http", "h", 80, "/a", ""), id="path-escaped-dots"),
    pytest.param("http://h/%6d%4D%7e%5F", ("http", "h", 80, "/mM~_", ""), id="path-unreserved"),
    pytest.param("http://h/a%2fb%20c", ("http", "h", 80, "/a%2fb%20c", ""), id="path-reserved-stays"),
    pytest.param("http://h/%256d", ("http", "h", 80, "/%256d", ""), id="path-escaped-twice-stays"),
    pytest.param("http://h/\u00fc?\u00fc", ("http", "h", 80, "/%C3%BC", "%C3%BC"), id="path-not-ascii"),
    pytest.param("http://h/?u=http://x.org/", ("http", "h", 80, "/", "u=http://x.org/"), id="url-in-query"),
    pytest.param("http://h/http://x//y", ("http", "h", 80, "/http:/x/y", ""), id="url-in-path"),
    pytest.param("localhost:8080", ("http", "localhost", 8080, "/", ""), id="a-port-is-no-scheme"),
]


@pytest.mark.parametrize(("text", "expected"), URLS)
def test_a_url_is_read(text, expected):
    assert tuple(parse_url(text)) == expected


CONNECTS = [
    pytest.param("h:443", ("h", 443), id="plain"),
    pytest.param("h", ("h", 443), id="no-port"),
    pytest.param("h:", ("h", 443), id="empty-port"),
    pytest.param("h:5190", ("h", 5190), id="port"),
    pytest.param("h:99999", ("h", None), id="port-overflow"),
    pytest.param("h:x", ("h", None), id="port-of-letters"),
    pytest.param("H.:443", ("h", 443), id="case-and-dot"),
    pytest.param("://10.99.0.1:443", ("10.99.0.1", 443), id="ssl-bump-step-1"),
    pytest.param("u:p@h:5190", ("h", 5190), id="userinfo"),
    pytest.param("2130706433:443", ("127.0.0.1", 443), id="decimal"),
    pytest.param("[fd99::1]:443", ("fd99::1", 443), id="ipv6"),
    pytest.param("[fd99::1]", ("fd99::1", 443), id="ipv6-no-port"),
    pytest.param("fd99::1", ("fd99::1", 443), id="ipv6-bare"),
    pytest.param("%5Bfd99::1%5D:8443", ("fd99::1", 8443), id="ipv6-as-squid-escapes-it"),
    pytest.param("[::ffff:5.6.7.8]:443", ("5.6.7.8", 443), id="mapped"),
    pytest.param("://[fd99::1]:443", ("fd99::1", 443), id="ssl-bump-step-1-ipv6"),
    pytest.param("b%C3%BCcher.example:443", ("xn--bcher-kva.example", 443), id="idna"),
    pytest.param("h:443/x?y", ("h", 443), id="path-is-dropped"),
]


@pytest.mark.parametrize(("text", "expected"), CONNECTS)
def test_a_connect_is_read(text, expected):
    target = parse_connect(text)
    assert (target.host, target.port) == expected
    assert (target.scheme, target.path, target.query) == ("", None, "")


NO_HOST = [
    pytest.param(text, id=name)
    for text, name in [
        ("", "empty"),
        (" \t\n", "blanks"),
        (".", "a-dot"),
        ("..", "dots"),
        ("\u3002", "an-ideographic-dot"),
        ("%2e", "an-escaped-dot"),
        ("[", "a-bracket"),
        ("]", "a-closing-bracket"),
        ("[]", "empty-brackets"),
        ("[.]", "a-dot-in-brackets"),
        (":443", "only-a-port"),
        ("@", "an-at-sign"),
    ]
]
NO_URL = [
    pytest.param(text, id=text) for text in ("a b", "/path", "?q", "#f", "://a", "javascript:alert(1)", "urn:a:b")
]


@pytest.mark.parametrize("text", NO_HOST)
@pytest.mark.parametrize("prefix", ["", "http://", "gopher://"])
def test_a_url_without_a_host_is_an_error(prefix, text):
    with pytest.raises(UrlError):
        parse_url(prefix + text)


@pytest.mark.parametrize("text", NO_URL)
def test_what_has_no_scheme_must_look_like_a_host(text):
    with pytest.raises(UrlError):
        parse_url(text)


@pytest.mark.parametrize("text", NO_HOST)
@pytest.mark.parametrize("prefix", ["", "://"])
def test_a_connect_without_a_host_is_an_error(prefix, text):
    with pytest.raises(UrlError):
        parse_connect(prefix + text)


@pytest.mark.parametrize("odd", ["\\", "/", "?", "#", "\x0b", "\x0c", ":", "@", "[", "%5c", "%2f", "a b", "\xff"])
def test_squid_tunnels_to_odd_hosts_and_their_domain_is_seen(odd):
    """Seen behind Squid 5.7 with a resolver that answers for any name: `CONNECT a/.slack.com:443` reaches slack.com."""
    assert parse_connect(f"a{odd}.slack.com:443").host.endswith(".slack.com")
    assert parse_connect(f"intranet.example{odd}.evil.test:443").host.endswith(".evil.test")


@pytest.mark.parametrize("odd", ["\\", "%5c", ":b:c", "[", "\x0b", "%0b", "%2f", "%40"])
def test_squid_asks_for_odd_hosts_and_their_domain_is_seen(odd):
    assert parse_squid_url(f"http://a{odd}.slack.com/").host.endswith(".slack.com")


def test_an_endless_name_is_looked_at_from_its_end():
    assert normalise_host("a." * 30000 + "web.whatsapp.com").endswith(".web.whatsapp.com")
    assert len(normalise_host("\ufdfa" * 20000 + ".slack.com")) < 2000


@pytest.mark.parametrize("text", ["://1.2.3.4:443", "h:x", "h:70000"])
def test_what_is_no_url_is_an_error(text):
    with pytest.raises(UrlError):
        parse_url(text)


def test_an_error_shows_a_long_text_shortened():
    with pytest.raises(UrlError) as caught:
        parse_url("?" + "x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("target", "url"),
    [
        pytest.param(Target("http", "h", 80, "/", ""), "http://h/", id="default-port"),
        pytest.param(Target("http", "h", 443, "/", "q"), "http://h:443/?q", id="port-and-query"),
        pytest.param(Target("https", "h", None, "/p", ""), "https://h/p", id="unknown-port"),
        pytest.param(Target("http", "fd99::1", 81, "/", ""), "http://[fd99::1]:81/", id="ipv6"),
        pytest.param(Target("", "h", 443, None, ""), "h:443", id="connect"),
        pytest.param(Target("", "fd99::1", 443, None, ""), "[fd99::1]:443", id="connect-ipv6"),
        pytest.param(Target("", "h", None, None, ""), "h", id="connect-unknown-port"),
    ],
)
def test_a_target_is_written(target, url):
    assert target.url == url


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param(("http", "H.", 80, "/a?b"), ("http", "h", 80, "/a", "b"), id="all"),
        pytest.param((None, "h", 443, "/"), ("https", "h", 443, "/", ""), id="scheme-from-port"),
        pytest.param((None, "h", None, "/"), ("http", "h", 80, "/", ""), id="port-from-scheme"),
        pytest.param((None, "h", 443, None), ("", "h", 443, None, ""), id="connect"),
        pytest.param((None, "h", None, None), ("", "h", None, None, ""), id="only-a-host"),
        pytest.param(("http", "[fd99::1]", 80, "//a/../b"), ("http", "fd99::1", 80, "/b", ""), id="path-is-normalised"),
        pytest.param(("http", "h", 80, "?q"), ("http", "h", 80, "/", "q"), id="only-a-query"),
        pytest.param(("http", "h", 80, "*"), ("http", "h", 80, "/*", ""), id="star"),
        pytest.param(("http", "h", 80, "/@x:y"), ("http", "h", 80, "/@x:y", ""), id="no-authority-in-the-path"),
        pytest.param(("http", "h", 80, "//x/y"), ("http", "h", 80, "/x/y", ""), id="no-host-in-the-path"),
    ],
)
def test_a_target_is_built_from_parts(parts, expected):
    assert tuple(target_from_parts(*parts)) == expected


@pytest.mark.parametrize("path", ["/%%36%31", "/%%32e%2e/x", "/%25%36%31", "/a%2"])
def test_a_path_is_settled_at_the_first_look(path):
    """Undoing an escape must not make another one that the next look would undo."""
    target = parse_url(f"http://h{path}")
    assert parse_url(target.url) == target


def test_nowhere_has_no_host():
    assert (NOWHERE.host, NOWHERE.port, NOWHERE.path) == ("", None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("192.168.1.1", "192.168.1.1", id="ipv4"),
        pytest.param("[FD99::0001]", "fd99::1", id="ipv6"),
        pytest.param("::ffff:5.6.7.8", "5.6.7.8", id="mapped"),
        pytest.param("fe80::1%eth0", "fe80::1", id="zone"),
        pytest.param("::", "::", id="unspecified"),
        pytest.param("", None, id="empty"),
        pytest.param("example.org", None, id="name"),
        pytest.param("1.2.3", None, id="short"),
        pytest.param("01.2.3.4", None, id="octal"),
        pytest.param("1.2.3.4%24", None, id="zone-of-ipv4"),
        pytest.param("[::1", None, id="half-a-bracket"),
        pytest.param("1.2.3.4/24", None, id="network"),
    ],
)
def test_an_address_is_read_strictly(text, expected):
    assert normalise_address(text) == expected


def test_bytes_become_ascii_text_that_means_the_same():
    assert to_text(b"http://h/\xc3\xbc\xff") == "http://h/%C3%BC%FF"
    assert parse_url(to_text("http://b\u00fccher.example/".encode())).host == "xn--bcher-kva.example"


# ---- properties -----------------------------------------------------------------------------------------------------

# The characters on which the readers branch, and some that fold to them.
_ODD = "aA1x-n.%05d[]:@/\\?#\u00e9\u00df\uff57\uff0e\u3002\u200d\u212a\uff20\uff0f\ud800\udc80\udcff \t\x00"
_odd = st.text(_ODD, max_size=20)
_any = st.text(st.characters(exclude_categories=[]), max_size=20)
_suffixed = st.builds("{}.{}".format, _odd, st.sampled_from(["web.whatsapp.com", "xn--a.b", "1.2.3.4", "com.", "0x7f"]))
_texts = st.one_of(_odd, _any, _suffixed)
_urls = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "http://", "https:\\", "ftp://", "x://", "://"]),
    _texts,
    st.one_of(st.just(""), st.builds("/{}".format, _texts)),
)
_BLANK = re.compile(r"[\x00-\x20\x7f]")
thorough = settings(max_examples=1500, deadline=None)


@thorough
@given(_texts)
def test_a_host_is_normalised_once_and_for_all(text):
    host = normalise_host(text)
    assert host.isascii()
    assert not _BLANK.search(host)
    assert not host.endswith(".")
    assert normalise_host(host) == host


@thorough
@given(st.one_of(_texts, st.text("%2345678aeEfF.~/", max_size=12)))
def test_a_path_is_normalised_once_and_for_all(text):
    path = target_from_parts("http", "h", 80, to_text(text.encode("utf-8", "surrogatepass"))).path
    assert normalise_path(path) == path


@thorough
@given(_urls)
def test_a_url_that_was_read_is_read_again_as_the_same(text):
    try:
        target = parse_url(text)
    except UrlError:
        return
    assert target.host
    assert target.url.isascii()
    assert not _BLANK.search(target.url)
    if target.port is not None:
        assert parse_url(target.url) == target


@thorough
@given(_urls)
def test_a_connect_that_was_read_is_read_again_as_the_same(text):
    try:
        target = parse_connect(text)
    except UrlError:
        return
    assert target.host
    assert target.url.isascii()
    assert not _BLANK.search(target.url)
    if target.port is not None:
        assert parse_connect(target.url) == target


@thorough
@given(st.binary(max_size=40), st.sampled_from([b"", b"http://", b"://", b"http://h/", b"http://h?"]))
def test_any_bytes_are_read_or_refused(raw, prefix):
    text = to_text(prefix + raw)
    for read in (parse_url, parse_connect):
        with suppress(UrlError):
            assert read(text).host


_label = st.text("aA1x-n.%05d\u00e9\u00df\uff57\uff0e\u3002\u200d\u212a\ud800\udc80\udcff \t\x00", max_size=20)


@thorough
@given(_label)
def test_no_label_hides_the_name_behind_it(label):
    host = normalise_host(f"{label}.web.whatsapp.com")
    assert host == "web.whatsapp.com" or host.endswith(".web.whatsapp.com")


@given(st.one_of(st.binary(max_size=20), st.from_regex(rb"(%[0-9a-fA-FxG]{0,3}|.){0,8}", fullmatch=True)))
def test_escapes_are_undone_as_python_does(raw: bytes) -> None:
    assert unquote(raw) == unquote_to_bytes(raw)
