"""Definitions of logformat: what Squid writes by one is read back by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.errors import ProtocolError
from squid_imhelper.squid.logformat import parse_logformat
from squid_imhelper.squid.squidconf import LOG_FORMATS, log_format

# cf.data.pre, logformat
SQUID = "%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt"
COMMON = '%>a %[ui %[un [%tl] "%rm %ru HTTP/%rv" %>Hs %<st %Ss:%Sh'
COMBINED = '%>a %[ui %[un [%tl] "%rm %ru HTTP/%rv" %>Hs %<st "%{Referer}>h" "%{User-Agent}>h" %Ss:%Sh'

# ---- a slow Squid (format/Format.cc, assemble; format/Quoting.cc; lib/rfc1738.c) ------------------------------------

UNSAFE = frozenset(b"<>\"#{}|\\^~[]`' ") | frozenset(range(0x20)) | frozenset(range(0x7F, 0x100))
IN_QUOTES = {0x0A: b"\\n", 0x0D: b"\\r", 0x09: b"\\t", 0x22: b'\\"', 0x5C: b"\\\\"}
IN_SHELL = {0x0A: b"\\n", 0x0D: b"\\r", 0x22: b'\\"', 0x5C: b"\\\\"}
IN_MIME = frozenset(range(0x20)) | frozenset(range(0x7F, 0x100)) | frozenset(b"%[]")


def as_url(value: bytes) -> bytes:
    return b"".join(b"%%%02X" % byte if byte in UNSAFE else bytes([byte]) for byte in value)


def as_url_wholly(value: bytes) -> bytes:
    return b"%25".join(map(as_url, value.split(b"%")))


def as_mime(value: bytes) -> bytes:
    escaped = (b"%%%02x" % byte if byte in IN_MIME else bytes([byte]) for byte in value)
    return b"".join(escaped).replace(b"\\", b"\\\\")


def in_quotes(value: bytes) -> bytes:
    return b"".join(IN_QUOTES.get(byte, bytes([byte])) for byte in value)


def for_shell(value: bytes) -> bytes:
    word = b"".join(IN_SHELL.get(byte, bytes([byte])) for byte in value)
    return b'"' + word + b'"' if b" " in value else word


def as_is(value: bytes) -> bytes:
    return value


QUOTINGS: dict[str, Callable[[bytes], bytes]] = {
    '"': in_quotes, "[": as_mime, "#": as_url_wholly, "/": for_shell, "'": as_is
}  # fmt: skip
ESCAPED_ANYWAY = ("{User-Agent}>h", "{Content-Type}>h", ">ru", "rm", ">rm")
"""Codes that Squid escapes as a URL where the definition asks for no quoting."""
NUMBERS = (">Hs", "tu", "tr", "<st")


@dataclass(frozen=True)
class Token:
    """A token, its value, and the text that stands directly around it: nothing, `"` and `"`, or `[` and `]`."""

    code: str
    value: bytes
    modifier: str = ""
    around: str = ""
    width: str = ""

    @property
    def definition(self) -> str:
        before, after = self.around or ("", "")
        return f"{before}%{self.modifier}{self.width}{self.code}{after}"

    @property
    def read(self) -> bytes:
        """What can be known of the value: a URL that Squid has escaped, as a URL is, stays so."""
        return as_url(self.value) if self.code == ">ru" and not self.modifier and not self.around else self.value

    def write(self) -> bytes:
        quoting = self.modifier or self.around[:1]
        quote = QUOTINGS.get(quoting, as_url if self.code in ESCAPED_ANYWAY else as_is)
        text = quote(self.value)
        least = int(self.width.lstrip("-0") or 0)
        if self.width.startswith("-"):
            text = text.ljust(least)
        elif self.width.startswith("0") and self.code in NUMBERS:
            text = text.rjust(least, b"0")
        else:
            text = text.rjust(least)
        before, after = self.around or ("", "")
        return before.encode() + text + after.encode()


# ---- definitions and lines ------------------------------------------------------------------------------------------

SEPARATORS = (" ", "  ", "|", " | ", "\t", " - ", " ~ ", "|x=")
PARTS = "".join(SEPARATORS).encode()


def stripped(least: int = 1) -> st.SearchStrategy[bytes]:
    values = st.binary(min_size=least, max_size=20) | st.text(max_size=12).map(
        lambda text: text.encode("utf-8", "replace")
    )
    return values.map(lambda value: value.strip(b" \t\r\n\0")).filter(lambda value: value not in (b"", b"-"))


def without(characters: bytes, least: int = 1) -> st.SearchStrategy[bytes]:
    table = bytes(byte for byte in range(256) if byte not in characters)
    return st.lists(st.sampled_from(table), min_size=least, max_size=15).map(bytes).filter(lambda value: value != b"-")


WORDS = without(b"\r\n\t \0" + PARTS + b'"\\%[]')
ANYTHING = {
    '"': stripped(),
    "[": stripped()
    .map(lambda value: value.replace(b"\r", b"").replace(b"\n", b""))
    .filter(lambda v: v not in (b"", b"-")),
    "#": stripped(),
    "/": stripped().map(lambda value: value.translate(None, b"\r\n\t|-~x")).map(bytes.strip).filter(bool),
    "'": WORDS,
}
"""What a value may hold where Squid quotes it so that it can be read back; the separators where it does not."""
FIELDS = {
    "{User-Agent}>h": "user_agent", "{Content-Type}>h": "content_type", "un": "user", ">a": "client", "rm": "method",
    ">ru": "url", "ru": "url",
}  # fmt: skip


@st.composite
def texts(draw: st.DrawFn, code: str) -> Token:
    """A token with text for a value, or with none."""
    modifier, around = draw(st.sampled_from(["", "", *QUOTINGS])), draw(st.sampled_from(["", "", '""', "[]"]))
    quoting = modifier or around[:1]
    bare = quoting in ('"', "[") and around[:1] != quoting  # nothing tells where it ends
    absent = code != "ru" and code != ">ru" and draw(st.integers(0, 5)) == 0
    value = b"-" if absent else draw(ANYTHING[quoting] if quoting and not bare and not (modifier and around) else WORDS)
    width = draw(st.sampled_from(["", "", "", "5", "-12", "012"])) if around == "" and quoting != "/" else ""
    return Token(code, value, modifier, around, width)


@st.composite
def logs(draw: st.DrawFn) -> tuple[str, bytes, dict[str, bytes]]:
    """A definition, a line by it, and what stands in it."""
    codes = ["{User-Agent}>h", "{Content-Type}>h", "un", ">a", "rm"]
    several = [draw(texts(code)) for code in draw(st.lists(st.sampled_from(codes), unique=True))]
    url = draw(texts(draw(st.sampled_from(["ru", ">ru"]))))
    expected = {FIELDS[token.code]: token.read for token in [url, *several] if token.value != b"-"}
    cells = [(token.definition, token.write()) for token in [url, *several]]
    for definition, line, values in draw(st.lists(st.sampled_from(FIXED), unique_by=lambda fixed: fixed[0])):
        cells.append((definition, line))
        expected |= values
    definition, line = "", b""
    for number, (one, other) in enumerate(draw(st.permutations(cells))):
        separator = draw(st.sampled_from(SEPARATORS)) if number else ""
        definition, line = definition + separator + one, line + separator.encode() + other
    return definition, line, expected


FIXED: tuple[tuple[str, bytes, dict[str, bytes]], ...] = (
    ("%ts.%03tu", b"1773623203.004", {"seconds": b"1773623203", "milliseconds": b"004"}),
    ("%6tr", b"   123", {"duration": b"123"}),
    ("%Ss/%03>Hs", b"TCP_DENIED/407", {"tag": b"TCP_DENIED", "status": b"407"}),
    ("[%tl]", b"[16/Mar/2026:01:06:43 +0000]", {"local_time": b"16/Mar/2026:01:06:43 +0000"}),
    ("%<st", b"512", {}),
    ("%Sh/%<a", b"HIER_DIRECT/192.0.2.1", {}),
    ("100%%", b"100%", {}),
    ("%mt", b"text/html", {}),
)


@given(logs())
def test_what_squid_writes_by_a_definition_is_read_back(log: tuple[str, bytes, dict[str, bytes]]) -> None:
    definition, line, expected = log
    assert parse_logformat(definition).read(line) == expected


HEADERS = stripped().filter(lambda value: b"\n" not in value)


@pytest.mark.parametrize(
    "definition",
    [
        '"%{User-Agent}>h" %>a %ru', '%>a %ru "%{User-Agent}>h"', "%>a [%#{User-Agent}>h] %ru",
        "%#{User-Agent}>h %>a|%ru",
        '%ru %>a %"{User-Agent}>h"', '%>a "%"{User-Agent}>h" %ru', '%>a %ru "%#{User-Agent}>h"',
    ],
)  # fmt: skip
@given(HEADERS)
def test_whatever_a_client_sends_shifts_no_field(definition: str, agent: bytes) -> None:
    quoted = as_url_wholly(agent) if "#" in definition else in_quotes(agent)
    token = next(word for word in ('%"{User-Agent}>h', "%#{User-Agent}>h", "%{User-Agent}>h") if word in definition)
    line = definition.replace("%>a", "10.0.0.1").replace("%ru", "http://a/").encode()
    line = line.replace(token.encode(), quoted)
    expected = {"client": b"10.0.0.1", "url": b"http://a/", "user_agent": agent}
    assert parse_logformat(definition).read(line) == expected


# ---- the definitions that everybody has -----------------------------------------------------------------------------

COMMON_FIELDS = {
    "client": b"10.0.0.1", "local_time": b"16/Mar/2026:01:06:43 +0000", "method": b"GET", "url": b"http://a.example/x",
    "status": b"403", "tag": b"TCP_DENIED",
}  # fmt: skip
OWN = b"1773623203.004      7 10.0.0.1 TCP_DENIED/403 3407 GET http://a.example/x "
OWN_FIELDS = {
    "seconds": b"1773623203", "milliseconds": b"004", "duration": b"7", "client": b"10.0.0.1", "tag": b"TCP_DENIED",
    "status": b"403", "method": b"GET", "url": b"http://a.example/x",
}  # fmt: skip
WEB = b'10.0.0.1 - %b [16/Mar/2026:01:06:43 +0000] "GET http://a.example/x HTTP/1.1" 403 3407'

NAMED = [
    pytest.param(SQUID, OWN + b"- HIER_NONE/- text/html", OWN_FIELDS, id="squid"),
    pytest.param(SQUID, OWN + b"joe blow HIER_NONE/- -", {**OWN_FIELDS, "user": b"joe blow"}, id="squid-blank"),
    pytest.param(SQUID, OWN + rb"domain\\user HIER_NONE/- -", {**OWN_FIELDS, "user": rb"domain\user"}, id="squid-ntlm"),
    pytest.param(SQUID, OWN + b'a b%5bc%5d"d" HIER_NONE/- -', {**OWN_FIELDS, "user": b'a b[c]"d"'}, id="squid-[]"),
    pytest.param(COMMON, WEB % b"-" + b" TCP_DENIED:HIER_NONE", COMMON_FIELDS, id="common"),
    pytest.param(
        COMMON, WEB % b"joe blow" + b" TCP_DENIED:HIER_NONE", {**COMMON_FIELDS, "user": b"joe blow"}, id="common-blank"
    ),
    pytest.param(COMBINED, WEB % b"-" + b' "-" "-" TCP_DENIED:HIER_NONE', COMMON_FIELDS, id="combined-nothing"),
    pytest.param(
        COMBINED,
        WEB % b"-" + b' "-" "Moz \\"q\\" \\\\ back [b] 100%25 \xc3\xbcn\xc3\xaf\\ttab" TCP_DENIED:HIER_NONE',
        {**COMMON_FIELDS, "user_agent": b'Moz "q" \\ back [b] 100%25 \xc3\xbcn\xc3\xaf\ttab'},
        id="combined-agent",
    ),
    *(
        pytest.param(
            log_format(interface),
            OWN + b'joe%20blow HIER_NONE/- text/html "a%20%22b%22" "application/x-icq" msn_messenger no%20chat',
            {
                **OWN_FIELDS, "user": b"joe blow", "user_agent": b'a "b"', "content_type": b"application/x-icq",
                "service": b"msn_messenger", "rule": b"no chat",
            },
            id=f"squid-conf-{interface}",
        )
        for interface in LOG_FORMATS
    ),
]  # fmt: skip


@pytest.mark.parametrize(("definition", "line", "expected"), NAMED)
def test_a_well_known_definition_gives(definition: str, line: bytes, expected: dict[str, bytes]) -> None:
    assert parse_logformat(definition).read(line) == expected


# ---- what Squid 5.7 wrote -------------------------------------------------------------------------------------------

AGENT: Final = 'Moz "q" \\ back [b] 100%25 \u00fcn\u00ef\ttab'.encode()
CAPTURES = [
    pytest.param('"%{User-Agent}>h"',
                 b'"Moz \\"q\\" \\\\ back [b] 100%25 \xc3\xbcn\xc3\xaf\\ttab"', AGENT, id="quotes"),
    pytest.param("[%{User-Agent}>h]",
                 b'[Moz "q" \\\\ back %5bb%5d 100%2525 %c3%bcn%c3%af%09tab]', AGENT, id="brackets"),
    pytest.param("%/{User-Agent}>h", b'"Moz \\"q\\" \\\\ back [b] 100%25 \xc3\xbcn\xc3\xaf\ttab"', AGENT, id="shell"),
    pytest.param("%/{User-Agent}>h", b"ab", b"ab", id="shell-word"),
    pytest.param("%#{User-Agent}>h",
                 b"Moz%20%22q%22%20%5C%20back%20%5Bb%5D%20100%2525%20%C3%BCn%C3%AF%09tab", AGENT, id="url"),
    pytest.param("%'{User-Agent}>h", b'Moz "q" \\ back [b] 100%25 \xc3\xbcn\xc3\xaf\ttab', AGENT, id="raw"),
    pytest.param('%"{User-Agent}>h', b'Moz \\"q\\" \\\\ back [b] 100%25 \xc3\xbcn\xc3\xaf\\ttab', AGENT, id="quoted"),
    pytest.param("%[{User-Agent}>h", b'Moz "q" \\\\ back %5bb%5d 100%2525 %c3%bcn%c3%af%09tab', AGENT, id="mime"),
    pytest.param('"a [%{User-Agent}>h] b"', b'"a [Moz \\"q\\" \\\\ back [b] 100%25 \xc3\xbcn\xc3\xaf\\ttab] b"', AGENT,
                 id="the-outer-quotes-count"),
    pytest.param("%{User-Agent}>h", b"Moz%20%22q%22%20%5C%20back%20%5Bb%5D%20100%25%20%C3%BCn%C3%AF%09tab",
                 AGENT.replace(b"%25", b"%"), id="none-which-loses-the-clients-own-escapes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("modifier", "around", "number"),
    [("", '""', 0), ("", "[]", 1), ("/", "", 2), ("#", "", 4), ("'", "", 5), ('"', "", 6), ("[", "", 7), ("", "", 9)],
)
def test_the_slow_squid_writes_what_the_real_one_wrote(modifier: str, around: str, number: int) -> None:
    definition, written, _ = CAPTURES[number].values
    token = Token("{User-Agent}>h", AGENT, modifier, around)
    assert (token.definition, token.write()) == (definition, written)


@pytest.mark.parametrize(("token", "written", "meant"), CAPTURES)
@pytest.mark.parametrize("separator", ["|", " | ", "|r|"])
def test_a_captured_field_is_read_back(token: str, written: bytes, meant: bytes, separator: str) -> None:
    definition = separator.join(["%>a", token, "%ru"])
    line = separator.encode().join([b"127.0.0.1", written, b"http://a.test/"])
    expected = {"client": b"127.0.0.1", "user_agent": meant, "url": b"http://a.test/"}
    assert parse_logformat(definition).read(line) == expected


@pytest.mark.parametrize(
    ("definition", "line", "expected"),
    [
        pytest.param("<%6tr> %ru", b"<     1> u", {"duration": b"1"}, id="width"),
        pytest.param("<%-6tr> %ru", b"<1     > u", {"duration": b"1"}, id="left"),
        pytest.param("<%06tr> %ru", b"<000001> u", {"duration": b"000001"}, id="zeros"),
        pytest.param("<%-10>a> %ru", b"<127.0.0.1 > u", {"client": b"127.0.0.1"}, id="text-left"),
        pytest.param("<%010>a> %ru", b"< 127.0.0.1> u", {"client": b"127.0.0.1"}, id="text-knows-no-zeros"),
        pytest.param("<%20>a> %ru", b"<           127.0.0.1> u", {"client": b"127.0.0.1"}, id="text-right"),
        pytest.param('"%20rm" %ru', b'"                 GET" u', {"method": b"GET"}, id="inside-quotes"),
        pytest.param("%-20rm %ru", b"GET                  u", {"method": b"GET"}, id="before-a-blank"),
        pytest.param("%ru %20>a", b"u            127.0.0.1", {"client": b"127.0.0.1"}, id="behind-a-blank"),
        pytest.param('%ru %"-12rm', b"u GET         ", {"method": b"GET"}, id="at-the-end-in-quotes"),
        pytest.param("%ru %'-12{User-Agent}>h", b"u -           ", {}, id="at-the-end-absent"),
        pytest.param("%4.6Ss %ru", b"TCP_DE u", {"tag": b"TCP_DE"}, id="cut-off"),
        pytest.param("%ts.%03tu %ru", b"1795459800.939 u", {"seconds": b"1795459800", "milliseconds": b"939"},
                     id="time"),
        pytest.param("%tl %ru", b"23/Nov/2026:18:50:00 +0000 u", {"local_time": b"23/Nov/2026:18:50:00 +0000"},
                     id="tl"),
        pytest.param("%{%Y-%m-%dT%H:%M}tl %ru", b"2026-11-23T18:50 u", {"local_time": b"2026-11-23T18:50"},
                     id="strftime"),
        pytest.param("%tl{%H:%M} %ru", b"18:50 u", {"local_time": b"18:50"}, id="strftime-behind"),
        pytest.param("%dt %<st %ru", b"- 3407 u", {}, id="numbers-that-are-none"),
        pytest.param("%ru", b"u", {}, id="alone"),
        pytest.param("  %ru  ", b" \tu \t", {}, id="blanks-around"),
        pytest.param(r"%>a\t%ru", rb"127.0.0.1\tu", {"client": b"127.0.0.1"}, id="backslashes-stay-what-they-are"),
        pytest.param("%>a\t%ru", b"127.0.0.1\tu", {"client": b"127.0.0.1"}, id="tab"),
        pytest.param("%http::>a %http::ru", b"127.0.0.1 u", {"client": b"127.0.0.1"}, id="http-in-front"),
        pytest.param("%ru %ssl::>sni", b"u a.example", {"sni": b"a.example"}, id="sni"),
        pytest.param("%ru %tls::>sni", b"u -", {}, id="sni-absent"),
        pytest.param('{"url": "%ru", "ua": "%{User-Agent}>h"}', b'{"url": "u", "ua": "a \\"b\\""}',
                     {"user_agent": b'a "b"'}, id="json-by-hand"),
        pytest.param("url=%ru;agent='%'{User-Agent}>h'", b"url=u;agent='a b'", {"user_agent": b"a b"},
                     id="apostrophes"),
        pytest.param("%rm\udcff%ru", b"GET\xffu", {"method": b"GET"}, id="a-byte-that-is-no-text"),
        pytest.param("%ru 100%% %rm", b"u 100% GET", {"method": b"GET"}, id="percent-sign"),
        pytest.param("%ru %{Referer}>h %{X}<h %{a}note", b"u - - -", {}, id="what-tells-nothing"),
    ],
)  # fmt: skip
def test_a_line_is_taken_apart(definition: str, line: bytes, expected: dict[str, bytes]) -> None:
    assert parse_logformat(definition).read(line) == {"url": b"u", **expected}


@pytest.mark.parametrize(
    ("definition", "line", "expected"),
    [
        pytest.param("%ru %>ru", b"cut whole", {"url": b"whole"}, id="url"),
        pytest.param("%>ru %ru", b"whole cut", {"url": b"whole"}, id="url-first"),
        pytest.param("%ru %Hs %>Hs", b"u 1 2", {"url": b"u", "status": b"2"}, id="status"),
        pytest.param("%>rd %>rP %>rp", b"h 80 /", {"host": b"h", "port": b"80", "path": b"/"}, id="parts"),
        pytest.param("%DST %SRC", b"h 10.0.0.1", {"host": b"h", "client": b"10.0.0.1"}, id="old-names"),
    ],
)
def test_of_two_that_tell_the_same_the_better_counts(definition: str, line: bytes, expected: dict[str, bytes]) -> None:
    assert parse_logformat(definition).read(line) == expected


@pytest.mark.parametrize(
    ("definition", "line"),
    [
        pytest.param("%>a %ru", b"10.0.0.1", id="too-little"),
        pytest.param("%>a %ru", b"10.0.0.1 u more", id="too-much"),
        pytest.param("%>a|%ru", b"10.0.0.1 u", id="another-separator"),
        pytest.param('"%ru"', b'"u', id="no-end"),
        pytest.param("%ts %ru", b"yesterday u", id="no-number"),
        pytest.param(SQUID, b"", id="empty"),
        pytest.param(SQUID, b"\0\xff", id="rubbish"),
    ],
)
def test_a_line_that_does_not_fit_gives_nothing(definition: str, line: bytes) -> None:
    assert parse_logformat(definition).read(line) is None


RUBBISH = [
    ("%>a;%'{User-Agent}>h;%'{X}>h;%'{Y}>h;%ru", b"10.0.0.1", b";"),
    ('%>a "%{A}>h;%{B}>h;%{C}>h;%{D}>h" %ru', b'10.0.0.1 "', b";"),
    ("%>a|%un|%ul|%ue|%{A}>h|%{B}>h|%ru", b"10.0.0.1", b"|"),
    ("%>a [%{A}>h [%{B}>h [%{C}>h] %ru", b"10.0.0.1 ", b"[ "),
    (SQUID, OWN + b"- ", b"/"),
    (log_format("acl"), OWN + b"- ", b"/"),
    (COMBINED, b"10.0.0.1 x", b" \t"),
]


@pytest.mark.parametrize(("definition", "start", "rubbish"), RUBBISH, ids=range(len(RUBBISH)))
def test_a_line_of_separators_is_not_tried_in_every_way(definition: str, start: bytes, rubbish: bytes) -> None:
    """It would take longer than the world stands."""
    assert parse_logformat(definition).read(start + rubbish * 10_000 + b" x y") is None


@pytest.mark.parametrize(
    ("definition", "line", "expected"),
    [
        ("%>a|%ru|%>Hs|%un", b"10.0.0.1|http://a/?x=A|B|C|200|joe", {"url": b"http://a/?x=A|B|C", "user": b"joe"}),
        ('"%rm %ru HTTP/%rv" %>Hs', b'"GET http://a/\\"x\\"|y HTTP/1.1" 200', {"url": b'http://a/"x"|y'}),
        ("%>a un=%un %ru", b"10.0.0.1 un=joe http://a/", {"url": b"http://a/", "user": b"joe"}),
        ("%ts %'{User-Agent}>h %ru", b"1773623203 a b c http://a/", {"url": b"http://a/", "user_agent": b"a b c"}),
    ],
)  # fmt: skip
def test_a_value_may_hold_what_parts_values_if_the_rest_still_fits(
    definition: str, line: bytes, expected: dict[str, bytes]
) -> None:
    fields = parse_logformat(definition).read(line)
    assert fields is not None
    assert expected.items() <= fields.items()


# ---- bad definitions ------------------------------------------------------------------------------------------------

REFUSED = [
    pytest.param("%>a %rm", "%ru", id="no-url"),
    pytest.param("", "%ru", id="empty"),
    pytest.param("squid", "%ru", id="no-token"),
    pytest.param("%ru %FOOBAR", "%FOOBAR", id="unknown"),
    pytest.param("%ru %>zz", "%>zz", id="unknown-with-an-arrow"),
    pytest.param("%ru 100%", "%", id="percent-sign-at-the-end"),
    pytest.param("%ru % x", "% x", id="percent-sign-before-a-blank"),
    pytest.param("%ru %", "%", id="percent-sign-alone"),
    pytest.param("%ru %{User-Agent", "%{User-Agent", id="open-brace"),
    pytest.param("%ru %{User-Agent}", "%{User-Agent}", id="no-code-behind-the-brace"),
    pytest.param("%>a%ru", "%ru", id="nothing-between"),
    pytest.param("%ru %>a%{User-Agent}>h", "%{User-Agent}>h", id="nothing-between-at-the-end"),
    pytest.param("%ru %" + "x" * 10_000, "%x", id="long"),
    pytest.param("%ru %\0", "", id="nul"),
]


@pytest.mark.parametrize(("definition", "named"), REFUSED)
def test_a_definition_that_cannot_be_read_back_is_told_in_a_sentence(definition: str, named: str) -> None:
    with pytest.raises(ProtocolError, match="--log-format: ") as caught:
        parse_logformat(definition)
    message = str(caught.value)
    assert named in message
    assert "\n" not in message
    assert len(message) < 300


def test_a_percent_sign_parts_two_fields() -> None:
    assert parse_logformat("%ru%%%>a").read(b"u%10.0.0.1") == {"url": b"u", "client": b"10.0.0.1"}


WORDS_OF_DEFINITIONS = ["%ru", "%>a", '"', "[", "]", " ", "|", "%{", "}", "%#un", "%tl", "%%", "%5", "\\t", "\udcff"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS_OF_DEFINITIONS)).map("".join))
def test_any_text_is_a_definition_or_an_error_of_ours(text: str) -> None:
    try:
        layout = parse_logformat(text)
    except ProtocolError:
        return
    assert {"url", "host"} & layout.cells.keys()
    for line in (b"", b"\0", text.encode("utf-8", "surrogateescape"), b'a "b" [c] d'):
        fields = layout.read(line)
        assert fields is None or all(fields.values())
