"""Lines of access logs: what each format gives, what it refuses, and that no line does harm."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.logs.accesslog import (
    DESCRIPTIONS,
    MAX_LINE,
    NAMES,
    HeaderError,
    LogFormat,
    Record,
    UnreadableError,
    is_no_request,
    named_format,
    reader,
    to_request,
)
from squid_imhelper.squid.squidconf import log_format

SQUID: Final = LogFormat("squid")
COMMON: Final = LogFormat("common")
COMBINED: Final = LogFormat("combined")
IMHELPER: Final = LogFormat("imhelper")
JSON: Final = LogFormat("json")
PAIRS: Final = LogFormat("pairs")
AT: Final = 1773623203.0
"""16 March 2026, 01:06:43 UTC."""

Told = dict[str, object]


def told(line: bytes, log_format: LogFormat) -> Told:
    """What a line gives, by name, without what it does not tell."""
    record = reader(log_format)(line)
    values: Told = dict(record.fields)
    values |= {"time": record.time, "duration": record.duration, "denied": record.denied}
    values |= {"challenged": record.challenged, "repeated": record.repeated, "intercepted": record.intercepted}
    return {name: value for name, value in values.items() if value not in (None, False, 0.0)}


def a_get(**more: object) -> Told:
    """What most of the lines here give; None leaves out."""
    usual = {"client": b"10.0.0.1", "method": b"GET", "url": b"http://a.example/", "time": AT + 0.004}
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


# ---- Squid's native format ------------------------------------------------------------------------------------------

HEAD: Final = b"1773623203.004      0 10.0.0.1 "
GET: Final = b" 512 GET http://a.example/ - "

NATIVE = [
    pytest.param(b"1773623203.004    123 10.0.0.1 TCP_MISS/200 512 GET http://a.example/ - DIRECT/192.0.2.1 text/html",
                 a_get(duration=0.123), id="2.5"),
    pytest.param(b"1773623203.004 123 10.0.0.1 TCP_MISS/200 512 GET http://a.example/ - DIRECT/a.example text/html -",
                 a_get(duration=0.123), id="3.x-without-padding"),
    pytest.param(b"  1773623203.004  123\t10.0.0.1 TCP_MISS/200 512 GET http://a.example/ - HIER_DIRECT/1 - \t",
                 a_get(duration=0.123), id="blanks-and-tabs"),
    pytest.param(b"1773623203    123 10.0.0.1 TCP_MISS/200 512 GET http://a.example/ - HIER_DIRECT/192.0.2.1 -",
                 a_get(time=AT, duration=0.123), id="whole-seconds"),
    pytest.param(HEAD + b"TCP_HIT/200" + GET + b"NONE/- text/html [Host: a%0d%0a] [HTTP/1.0 200 OK%0d%0a]",
                 a_get(), id="log_mime_hdrs"),
    pytest.param(HEAD + b"TCP_MISS/200" + GET + b"HIER_DIRECT/192.0.2.1 - extra \"fields\" [behind] a/b 7",
                 a_get(), id="fields-behind"),
    pytest.param(HEAD + b"TCP_MISS/200 512 GET http://a.example/", a_get(), id="cut-off-behind-the-url"),
    pytest.param(b"1773623203.004 -5 10.0.0.1 TCP_MISS/200 -1 GET http://a.example/ - DIRECT/- -", a_get(),
                 id="a-clock-that-was-put-back"),
    pytest.param(b"1773623203.004 99999999999999999999 10.0.0.1 TCP_MISS/200 1 GET http://a.example/ - DIRECT/- -",
                 a_get(), id="duration-beyond-belief"),
    pytest.param(b"1773623203.004 60000 10.0.0.1 TCP_MISS_ABORTED/000 0 GET http://a.example/ - HIER_NONE/- -",
                 a_get(duration=60.0), id="aborted"),
    pytest.param(b"1773623203.004 7 10.0.0.1 ERR_CONNECT_FAIL/503 1 GET http://a.example/ - DIRECT/192.0.2.1 -",
                 a_get(duration=0.007), id="err-2.5"),
    pytest.param(b"1773623203.004 0 10.0.0.1 UDP_MISS/000 60 ICP_QUERY http://a.example/ - HIER_NONE/- -",
                 a_get(method=b"ICP_QUERY"), id="udp"),
    pytest.param(b"1773623203.004 0 10.0.0.1 TCP_DENIED/403 1 GET http://a.example/ - HIER_NONE/- text/html",
                 a_get(denied=True), id="denied"),
    pytest.param(b"1773623203.004 0 10.0.0.1 TCP_DENIED/407 1 GET http://a.example/ - HIER_NONE/- text/html",
                 a_get(denied=True, challenged=True), id="challenged"),
    pytest.param(b"1773623203.004 0 10.0.0.1 TCP_DENIED/401 1 GET http://a.example/ joe NONE/- text/html",
                 a_get(denied=True, user=b"joe"), id="denied-401"),
    pytest.param(b"1773623203.004 0 10.0.0.1 TCP_DENIED_REPLY/403 1 GET http://a.example/ - HIER_NONE/- text/html",
                 a_get(denied=True), id="denied-reply"),
    pytest.param(b"1773623203.004 0 10.0.0.1 TCP_DENIED_ABORTED/403 1 GET http://a.example/ - HIER_NONE/- -",
                 a_get(denied=True), id="denied-aborted"),
    pytest.param(b"1773623203.004 0 10.0.0.1 UDP_DENIED/000 1 GET http://a.example/ - NONE/- -",
                 a_get(), id="udp-denied"),
    pytest.param(b"1773623203.004 9 10.0.0.1 TCP_MISS/407 1 GET http://a.example/ - FIRSTUP_PARENT/192.0.2.1 -",
                 a_get(duration=0.009, challenged=True), id="a-parent-asked-for-a-name"),
    pytest.param(b"1773623203.004 9 10.0.0.1 TCP_MISS/403 1 GET http://a.example/ - HIER_DIRECT/192.0.2.1 -",
                 a_get(duration=0.009), id="the-origin-said-no"),
    pytest.param(b"1773623203.004 9 10.0.0.1 TCP_TUNNEL/200 39 CONNECT a.example:443 - HIER_DIRECT/192.0.2.1 -",
                 a_get(duration=0.009, method=b"CONNECT", url=b"a.example:443"), id="tunnel"),
    pytest.param(b"1773623203.004 9 fd00::7 TCP_TUNNEL/200 39 CONNECT [2001:db8::1]:443 - HIER_DIRECT/2001:db8::1 -",
                 a_get(client=b"fd00::7", duration=0.009, method=b"CONNECT", url=b"[2001:db8::1]:443"), id="ipv6"),
    pytest.param(b"1773623203.004 9 10.0.0.1 TCP_MISS/200 39 POST https://a.example/x?y= - PINNED/192.0.2.1 text/plain",
                 a_get(duration=0.009, method=b"POST", url=b"https://a.example/x?y="), id="bumped"),
    pytest.param(b"1773623203.004 9 10.0.0.1 NONE/200 0 CONNECT 192.0.2.1:443 - HIER_NONE/- -",
                 a_get(duration=0.009, method=b"CONNECT", url=b"192.0.2.1:443"), id="intercepted-3.5"),
    pytest.param(b"1773623203.004 9 10.0.0.1 TAG_NONE/503 0 CONNECT a.example:443 - HIER_NONE/- -",
                 a_get(duration=0.009, method=b"CONNECT", url=b"a.example:443"), id="tag-none"),
    pytest.param(HEAD + b"NONE/400 3500 NONE error:invalid-request - HIER_NONE/- text/html",
                 a_get(method=b"NONE", url=b"error:invalid-request"), id="invalid-3.x"),
    pytest.param(HEAD + b"NONE_NONE/000 0 - error:transaction-end-before-headers - HIER_NONE/- -",
                 a_get(method=None, url=b"error:transaction-end-before-headers"), id="no-method"),
    pytest.param(HEAD + b"TCP_MISS/200 1 PROPFIND ftp://joe@a.example/x%20y - HIER_DIRECT/- -",
                 a_get(method=b"PROPFIND", url=b"ftp://joe@a.example/x%20y"), id="ftp"),
    pytest.param(HEAD + b"TCP_HIT/200 1 GET cache_object://localhost/counters - NONE/- text/plain",
                 a_get(url=b"cache_object://localhost/counters"), id="cache-manager"),
    pytest.param(HEAD + b"TCP_MISS/- 1 GET http://a.example/ - HIER_DIRECT/- -", a_get(), id="no-status"),
    pytest.param(b"1773623203.004 9 pc-7.lan TCP_MISS/200 39 GET http://a.example/ - DIRECT/192.0.2.1 -",
                 a_get(client=b"pc-7.lan", duration=0.009), id="log_fqdn"),
    pytest.param(b"1773623203.004 9 TCP_MISS/200 39 GET http://a.example/ - DIRECT/192.0.2.1 - 10.0.0.1",
                 a_get(client=None, duration=0.009), id="no-client"),
    pytest.param(b"2026-03-16T01:06:43.004 9 10.0.0.1 TCP_MISS/200 39 GET http://a.example/ - DIRECT/- -",
                 a_get(duration=0.009), id="iso-date"),
    pytest.param(b"2026-03-16 02:06:43.004 +0100 9 10.0.0.1 TCP_MISS/200 39 GET http://a.example/ - DIRECT/- -",
                 a_get(duration=0.009), id="iso-date-offset"),
    pytest.param(b"16/Mar/2026:02:06:43 +0100   380 10.0.0.1 TCP_MISS/301 666 GET http://a.example/ - HIER_DIRECT/- -",
                 a_get(time=AT, duration=0.38), id="common-date"),
    pytest.param(b"[16/Mar/2026:02:06:43 +0100] 0 10.0.0.1 TCP_MISS/301 666 GET http://a.example/ - HIER_DIRECT/- -",
                 a_get(time=AT), id="common-date-in-brackets"),
    pytest.param(b"Mar 16 02:06:43 proxy squid[812]: " + HEAD + b"TCP_MISS/200" + GET + b"DIRECT/- -", a_get(),
                 id="syslog"),
    pytest.param(b"<134>Mar 16 02:06:43 proxy (squid-1): " + HEAD + b"TCP_MISS/200" + GET + b"DIRECT/- -", a_get(),
                 id="syslog-priority"),
    pytest.param(b"2026-03-16T02:06:43.1+01:00 proxy squid: " + HEAD + b"TCP_MISS/200" + GET + b"DIRECT/- -", a_get(),
                 id="syslog-iso"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), NATIVE)
def test_a_native_line_gives(line: bytes, expected: Told) -> None:
    assert told(line, SQUID) == expected


# Users as Squid 5.7 writes them in its own formats; 2.x escapes the blank, and nothing else that a user has.
USERS = [
    pytest.param(b"joe", b"joe", id="plain"),
    pytest.param(b"joe@EXAMPLE.ORG", b"joe@EXAMPLE.ORG", id="kerberos"),
    pytest.param(rb"DOMAIN\\user", rb"DOMAIN\user", id="ntlm"),
    pytest.param(rb"DOMAIN\user", rb"DOMAIN\user", id="ntlm-2.x"),
    pytest.param(b"joe blow", b"joe blow", id="blank"),
    pytest.param(b"joe%20blow", b"joe blow", id="blank-2.x"),
    pytest.param(b"a b c d", b"a b c d", id="blanks"),
    pytest.param(b'a b%5bc%5d"d"', b'a b[c]"d"', id="brackets"),
    pytest.param(b"100%25", b"100%", id="percent"),
    pytest.param(b"%c3%bc", "ü".encode(), id="8-bit"),
    pytest.param("ü".encode(), "ü".encode(), id="8-bit-raw"),
]


@pytest.mark.parametrize(("written", "user"), USERS)
@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        pytest.param(SQUID, HEAD + b"TCP_MISS/200 5 GET http://a.example/ %b HIER_NONE/- text/html", id="squid"),
        pytest.param(
            COMMON, b'10.0.0.1 - %b [16/Mar/2026:01:06:43 +0000] "GET / HTTP/1.1" 2 5 TCP_HIT:NONE', id="common"
        ),
        pytest.param(
            COMBINED, b'10.0.0.1 - %b [16/Mar/2026:01:06:43 +0000] "GET / HTTP/1.1" 2 5 "-" "-"', id="combined"
        ),
    ],
)
def test_a_user_is_read_as_squid_knew_it(log_format: LogFormat, line: bytes, written: bytes, user: bytes) -> None:
    assert told(line.replace(b"%b", written), log_format)["user"] == user


LOG_TAGS = [
    "TCP_HIT", "TCP_MISS", "TCP_REFRESH_HIT", "TCP_REFRESH_MISS", "TCP_REF_FAIL_HIT", "TCP_REFRESH_UNMODIFIED",
    "TCP_REFRESH_MODIFIED", "TCP_REFRESH_FAIL", "TCP_REFRESH_FAIL_OLD", "TCP_REFRESH_FAIL_ERR", "TCP_CLIENT_REFRESH",
    "TCP_CLIENT_REFRESH_MISS", "TCP_SWAPFAIL", "TCP_SWAPFAIL_MISS", "TCP_IMS_HIT", "TCP_IMS_MISS", "TCP_NEGATIVE_HIT",
    "TCP_MEM_HIT", "TCP_OFFLINE_HIT", "TCP_INM_HIT", "TCP_TUNNEL", "TCP_REDIRECT", "TCP_STALE_HIT", "TCP_ASYNC_HIT",
    "TCP_ASYNC_MISS", "TCP_MISS_ABORTED", "TCP_MISS_TIMEDOUT", "TCP_HIT_ABORTED", "TCP_CF_HIT",
    "TCP_CF_REFRESH_UNMODIFIED", "TCP_INM_MISS_ABORTED_TIMEOUT", "NONE", "NONE_ABORTED", "NONE_NONE", "TAG_NONE",
    "TCP_NONE", "UDP_HIT", "UDP_HIT_OBJ", "UDP_MISS", "UDP_MISS_NOFETCH", "UDP_INVALID", "UDP_RELOADING", "UDP_DENIED",
    "ICP_QUERY",
    "ERR_READ_TIMEOUT", "ERR_LIFETIME_EXP", "ERR_NO_CLIENTS_BIG_OBJ", "ERR_READ_ERROR", "ERR_CLIENT_ABORT",
    "ERR_CONNECT_FAIL", "ERR_INVALID_URL",
]  # fmt: skip
DENIED_TAGS = [
    "TCP_DENIED", "TCP_DENIED_REPLY", "TCP_DENIED_ABORTED", "TCP_CF_DENIED",
]  # fmt: skip


@pytest.mark.parametrize("tag", LOG_TAGS + DENIED_TAGS)
def test_every_log_tag_is_known_for_one(tag: str) -> None:
    for hierarchy in ("DIRECT", "HIER_DIRECT", "TIMEOUT_FIRSTUP_PARENT", "PINNED", "NONE", "HIER_NONE"):
        line = HEAD + f"{tag}/200 512 GET http://a.example/ - {hierarchy}/192.0.2.1 -".encode()
        assert told(line, SQUID) == (a_get(denied=True) if tag in DENIED_TAGS else a_get())


FOREIGN = [
    pytest.param(b"", id="empty"),
    pytest.param(b"Unmatched! The rat the cat the dog chased killed ate the malt!", id="prose"),
    pytest.param(b"2026/03/16 01:06:43| Starting Squid Cache version 5.7", id="cache-log"),
    pytest.param(
        b"2026-03-16 01:06:43 [26] Request(default/x/-) a.example:443 10.0.0.1/- - CONNECT REDIRECT", id="squidguard"
    ),
    pytest.param(
        b"1773623203.004 RELEASE -1 FFFFFFFF 0123 200 1773623203 -1 -1 text/html 1/1 GET http://a.example/", id="store"
    ),
    pytest.param(b'10.0.0.1 - - [16/Mar/2026:01:06:43 +0000] "GET http://a.example/ HTTP/1.1" 200 1', id="common"),
    pytest.param(HEAD + b"TCP_MISS/2000 5 GET http://a.example/ - DIRECT/- -", id="status-of-four-digits"),
    pytest.param(HEAD + b"tcp_miss/200 5 GET http://a.example/ - DIRECT/- -", id="tag-in-lower-case"),
    pytest.param(HEAD + b"TCP_MISS/200 many GET http://a.example/ - DIRECT/- -", id="no-size"),
    pytest.param(HEAD + b"TCP_MISS/200 5 GET", id="no-url"),
    pytest.param(HEAD + b"TCP_MISS/200 5 GET http://a.example/ - DIRECT", id="cut-off-in-the-hierarchy"),
    pytest.param(
        b"99999999999.004 0 10.0.0.1 TCP_MISS/200 5 GET http://a.example/ - DIRECT/- -", id="time-beyond-belief"
    ),
    pytest.param(b"2026-02-30T01:06:43 0 10.0.0.1 TCP_MISS/200 5 GET http://a.example/ - DIRECT/- -", id="no-such-day"),
]


@pytest.mark.parametrize("line", FOREIGN)
def test_a_line_that_is_no_native_one_is_told(line: bytes) -> None:
    with pytest.raises(UnreadableError) as caught:
        reader(SQUID)(line)
    assert str(caught.value).isprintable()


# ---- common and combined --------------------------------------------------------------------------------------------

NCSA: Final = b"10.0.0.1 - - [16/Mar/2026:02:06:43 +0100] "
PLAIN: Final = b'"GET http://a.example/ HTTP/1.1" 200 512'

WEB = [
    pytest.param(COMMON, PLAIN + b" TCP_MISS:HIER_DIRECT", {}, id="squid"),
    pytest.param(COMMON, PLAIN, {}, id="apache"),
    pytest.param(COMMON, PLAIN + b' "-" "curl/8" TCP_MISS:DIRECT', {"user_agent": b"curl/8"}, id="combined-as-common"),
    pytest.param(COMMON, b'"GET http://a.example/" 200 -', {}, id="http-0.9"),
    pytest.param(COMMON, b'"GET http://a.example/ ICAP/1.0" 200 5', {}, id="another-protocol"),
    pytest.param(COMMON, b'"GET http://a.example/ HTTP/1.0" - - NONE:NONE', {}, id="no-status"),
    pytest.param(COMMON, b'"CONNECT a.example:443 HTTP/1.1" 200 5 TCP_TUNNEL:HIER_DIRECT',
                 {"method": b"CONNECT", "url": b"a.example:443"}, id="connect"),
    pytest.param(COMMON, b'"GET http://a.example/a[1]\'"<>{}|^~ HTTP/1.1" 200 5 TCP_MISS:HIER_DIRECT',
                 {"url": b"http://a.example/a[1]'\"<>{}|^~"}, id="url-as-the-client-wrote-it"),
    pytest.param(COMMON, b'"GET http://a.example/ HTTP/1.1" 403 5 TCP_DENIED:HIER_NONE', {"denied": True}, id="denied"),
    pytest.param(COMMON, b'"GET http://a.example/ HTTP/1.1" 403 5', {}, id="a-403-of-whoever"),
    pytest.param(COMMON, b'"GET http://a.example/ HTTP/1.1" 407 5 TCP_DENIED:HIER_NONE',
                 {"denied": True, "challenged": True}, id="challenged"),
    pytest.param(COMMON, b'"GET http://a.example/ HTTP/1.1" 407 5', {"denied": True, "challenged": True},
                 id="challenged-without-a-tag"),
    pytest.param(COMMON, b'"NONE error:invalid-request HTTP/0.0" 400 5 NONE:HIER_NONE',
                 {"method": b"NONE", "url": b"error:invalid-request"}, id="invalid"),
    pytest.param(COMBINED, PLAIN + b' "-" "-" TCP_MISS:DIRECT', {}, id="no-agent"),
    pytest.param(COMBINED, PLAIN + b' "" ""', {}, id="empty-headers"),
    pytest.param(COMBINED, PLAIN + b' "http://r.example/" "Mozilla/4.0 (compatible; MSIE 6.0)" TCP_MISS:DIRECT',
                 {"user_agent": b"Mozilla/4.0 (compatible; MSIE 6.0)"}, id="agent"),
    pytest.param(COMBINED, PLAIN + b' "-" "Moz "q" \\ back [b] 100%25 \xc3\xbc\ttab" TCP_DENIED:HIER_NONE',
                 {"user_agent": b'Moz "q" \\ back [b] 100%25 \xc3\xbc\ttab', "denied": True},
                 id="squids-own-escapes-nothing"),
    pytest.param(COMBINED, PLAIN + rb' "-" "Moz \"q\" \\ back" TCP_MISS:DIRECT',
                 {"user_agent": rb'Moz "q" \ back'}, id="the-definition-escapes"),
    pytest.param(COMBINED, PLAIN + rb' "http://r/?\" \"x" "a \" \" b" TCP_MISS:DIRECT',
                 {"user_agent": b'a " " b'}, id="the-definition-escapes-what-would-end-the-referrer"),
    pytest.param(COMBINED, PLAIN + b' "r" "a" "b" TCP_MISS:DIRECT', {"user_agent": b'a" "b'},
                 id="the-first-end-counts"),
    pytest.param(COMBINED, PLAIN + b' "-" "a" TCP_MISS:DIRECT" TCP_MISS:DIRECT', {"user_agent": b'a" TCP_MISS:DIRECT'},
                 id="the-last-end-counts"),
    pytest.param(COMBINED, PLAIN + b' "-" "\xff\x00" TCP_MISS:DIRECT', {"user_agent": b"\xff\x00"}, id="no-text"),
]  # fmt: skip


@pytest.mark.parametrize(("log_format", "line", "more"), WEB)
def test_a_line_of_the_web_formats_gives(log_format: LogFormat, line: bytes, more: Told) -> None:
    assert told(NCSA + line, log_format) == a_get(**{"time": AT, **more})


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        pytest.param(COMBINED, NCSA + PLAIN + b" TCP_MISS:DIRECT", id="combined-without-an-agent"),
        pytest.param(COMMON, b"10.0.0.1 - - 16/Mar/2026:02:06:43 +0100 " + PLAIN, id="no-brackets"),
        pytest.param(COMMON, b"10.0.0.1 - - [yesterday] " + PLAIN, id="no-date"),
        pytest.param(COMMON, NCSA + b'"-" 408 0', id="no-request"),
        pytest.param(COMMON, NCSA + b'"GET http://a.example/ HTTP/1.1 200 5', id="no-end"),
        pytest.param(COMMON, NCSA + PLAIN + b" and more", id="more-behind"),
    ],
)
def test_a_line_that_is_none_of_the_web_formats_is_told(log_format: LogFormat, line: bytes) -> None:
    with pytest.raises(UnreadableError):
        reader(log_format)(line)


# ---- the other formats ----------------------------------------------------------------------------------------------

OWN: Final = b"1773623203.004      7 10.0.0.1 %b/403 12 GET http://a.example/ joe%%20blow HIER_NONE/- text/html"


@pytest.mark.parametrize(
    ("line", "more"),
    [
        pytest.param(OWN % b"TCP_MISS" + b' "-" "-" - -', {}, id="nothing"),
        pytest.param(OWN % b"TCP_MISS" + b' "a%20%22b%22%5C" "application/x-icq" - -',
                     {"user_agent": rb'a "b"\ '.strip(), "content_type": b"application/x-icq"}, id="headers"),
        pytest.param(OWN % b"TCP_DENIED" + b' "-" "-" - -', {"denied": True}, id="denied-by-squid"),
        pytest.param(OWN % b"TCP_DENIED" + b' "-" "-" whatsapp no%20chat', {}, id="denied-by-a-helper"),
        pytest.param(OWN % b"TCP_DENIED" + b' "-" "-" - no%20chat', {}, id="denied-by-a-rule-alone"),
    ],
)  # fmt: skip
def test_the_format_of_squid_conf_gives(line: bytes, more: Told) -> None:
    assert told(line, IMHELPER) == a_get(user=b"joe blow", duration=0.007, **more)
    assert told(line, LogFormat("logformat", log_format("acl"))) == told(line, IMHELPER)
    assert told(line, LogFormat("logformat", log_format("rewrite"))) == told(line, IMHELPER)


PEEKED: Final = b'1773623203.004      7 10.0.0.1 %b - HIER_NONE/- - "-" "-" '
FROM_ROUTER: Final = {"destination": b"192.0.2.7", "destination_port": b"443", "intercepted": True}
FROM_FORWARD: Final = {"destination": b"10.0.0.254", "destination_port": b"3128"}
TUNNEL: Final = {"method": b"CONNECT", "url": b"192.0.2.7:443", "duration": 0.007}
NAMED: Final = {**TUNNEL, "url": b"a.example:443"}
CONNECT: Final = b"0 CONNECT 192.0.2.7:443"


@pytest.mark.parametrize(
    ("line", "more"),
    [
        pytest.param(PEEKED % (b"NONE_NONE/000 " + CONNECT) + b"t.me terminate yes 192.0.2.7 443 telegram all",
                     {**TUNNEL, **FROM_ROUTER, "sni": b"t.me"}, id="cut"),
        pytest.param(PEEKED % (b"NONE_NONE/000 " + CONNECT) + b"a%20%22b%0a terminate yes 192.0.2.7 443 telegram all",
                     {**TUNNEL, **FROM_ROUTER, "sni": b'a "b\n'}, id="a-forged-name"),
        pytest.param(PEEKED % (b"NONE_NONE/000 " + CONNECT) + b"a.example splice yes 192.0.2.7 443 - -",
                     {**TUNNEL, **FROM_ROUTER, "sni": b"a.example", "repeated": True}, id="looked-into"),
        pytest.param(PEEKED % b"TCP_TUNNEL/200 9 CONNECT a.example:443" + b"a.example splice yes 192.0.2.7 443 - -",
                     {**NAMED, **FROM_ROUTER, "sni": b"a.example"}, id="passed-on"),
        pytest.param(PEEKED % b"NONE_NONE/409 9 CONNECT a.example:443" + b"a.example - yes 192.0.2.7 443 - -",
                     {**NAMED, **FROM_ROUTER, "sni": b"a.example"}, id="another-address"),
        pytest.param(PEEKED % (b"NONE_NONE/200 " + CONNECT) + b"- splice - 10.0.0.254 3128 - -",
                     {**TUNNEL, **FROM_FORWARD, "repeated": True}, id="forward-looked-into"),
        pytest.param(PEEKED % (b"NONE_NONE/200 " + CONNECT) + b"- peek - 10.0.0.254 3128 - -",
                     {**TUNNEL, **FROM_FORWARD}, id="no-tls"),
        pytest.param(PEEKED % b"TCP_DENIED/403 9 GET http://a.example/" + b"- - yes 192.0.2.7 443 - -",
                     {**FROM_ROUTER, "duration": 0.007, "denied": True}, id="denied-by-squid"),
        pytest.param(PEEKED % b"TCP_DENIED/403 9 GET http://a.example/" + b"- - yes 192.0.2.7 443 telegram all",
                     {**FROM_ROUTER, "duration": 0.007}, id="denied-by-a-helper"),
    ],
)  # fmt: skip
def test_the_format_of_an_intercepting_squid_gives(line: bytes, more: Told) -> None:
    assert told(line, IMHELPER) == a_get(**more)
    for interface in ("acl", "rewrite"):
        definition = log_format(interface, intercepted=True)  # type: ignore[arg-type]
        assert told(line, LogFormat("logformat", definition)) == told(line, IMHELPER)
    assert is_no_request(reader(IMHELPER)(line)) == bool(more.get("repeated"))


def test_only_what_is_intercepted_goes_to_the_address_in_the_log() -> None:
    """For what comes through a forward port, it is Squid's own."""
    for mark, names in ((b"yes", ("192.0.2.7", "t.me", "10.0.0.254")), (b"-", ("192.0.2.7", "t.me"))):
        line = PEEKED % (b"NONE_NONE/200 " + CONNECT) + b"t.me terminate " + mark + b" 10.0.0.254 3128 - -"
        request, asked, _ = to_request(reader(IMHELPER)(line))
        assert (request.names, asked) == (names, "192.0.2.7:443")
        assert request.destination_port == (3128 if mark == b"yes" else None)


@pytest.mark.parametrize(
    ("values", "more"),
    [
        pytest.param(
            {"ts": 1773623203.004, "src_ip": "10.0.0.1", "method": "GET", "url": "http://a.example/"}, {}, id="flat"
        ),
        pytest.param(
            {
                "@timestamp": "2026-03-16T01:06:43.004Z", "source": {"ip": "10.0.0.1"},
                "url": {"full": "http://a.example/"}, "user_agent": {"original": "a b"},
                "http": {"request": {"method": "GET"}, "response": {"status_code": 200}},
            },
            {"user_agent": b"a b"},
            id="nested",
        ),
        pytest.param(
            {"time": "16/Mar/2026:01:06:43 +0000", "client": "10.0.0.1", "method": "GET", "url": "http://a.example/",
             "status": "TCP_DENIED/407", "duration": 7, "user": "joe", "user_agent": "-"},
            {"time": AT, "denied": True, "challenged": True, "duration": 0.007, "user": b"joe"},
            id="tag-and-status-in-one",
        ),
        pytest.param(
            {"time": "1773623203.004", "client": "10.0.0.1", "method": "GET", "url": "http://a.example/",
             "tag": "TCP_DENIED", "service": "whatsapp"},
            {},
            id="denied-by-a-helper",
        ),
    ],
)  # fmt: skip
def test_a_json_line_gives(values: dict[str, object], more: Told) -> None:
    assert told(json.dumps(values).encode(), JSON) == a_get(**more)


TSV: Final = LogFormat("tsv", columns=("time", "client", "method", "url", "useragent"))


def test_a_row_of_a_table_gives() -> None:
    row = b"1773623203.004\t10.0.0.1\tGET\thttp://a.example/\tMozilla/4.0 (a; b)"
    assert told(row, TSV) == a_get(user_agent=b"Mozilla/4.0 (a; b)")
    assert told(row.rpartition(b"\t")[0], TSV) == a_get()
    assert told(row + b"\tmore\tcells", TSV) == a_get(user_agent=b"Mozilla/4.0 (a; b)")


@pytest.mark.parametrize("mark", [b"", b"#", b"\xef\xbb\xbf", b"#fields\t"])
def test_a_header_is_no_request(mark: bytes) -> None:
    with pytest.raises(HeaderError):
        reader(TSV)(mark + b"time\tclient\tmethod\turl\tuser-agent")


def test_a_row_that_begins_as_the_header_does_is_a_row() -> None:
    columns = LogFormat("tsv", columns=("url", "client"))
    assert told(b"url\t10.0.0.1", columns) == {"url": b"url", "client": b"10.0.0.1"}


@pytest.mark.parametrize(
    ("line", "client", "url"),
    [
        (b"10.0.0.1 http://a.example/", b"10.0.0.1", b"http://a.example/"),
        (b"1.10   a.example/gateway.dll?x", b"1.10", b"a.example/gateway.dll?x"),
        (b"fd00::1\ta.example:443 ", b"fd00::1", b"a.example:443"),
    ],
)
def test_a_pair_gives(line: bytes, client: bytes, url: bytes) -> None:
    assert told(line, PAIRS) == {"client": client, "url": url}


def test_a_time_without_an_offset_is_of_the_zone_that_is_asked_for() -> None:
    line = b"2026-03-16T01:06:43 9 10.0.0.1 TCP_MISS/200 39 GET http://a.example/ - DIRECT/- -"
    assert told(line, LogFormat("squid", zone="Europe/Brussels"))["time"] == AT - 3600


@pytest.mark.parametrize(
    ("definition", "line"),
    [
        pytest.param("[%tl] %ru", b"[16/Mar/2026:02:06:43 +0100] u", id="tl"),
        pytest.param("[%tg] %ru", b"[16/Mar/2026:01:06:43] u", id="tg"),
        pytest.param("%{%Y-%m-%d %H:%M:%S}tl %ru", b"2026-03-16 02:06:43 u", id="tl-strftime"),
        pytest.param("%{%Y-%m-%d %H:%M:%S}tg %ru", b"2026-03-16 01:06:43 u", id="tg-strftime"),
        pytest.param("%{%Y-%m-%dT%H:%M:%S%z}tl %ru", b"2026-03-16T02:06:43+0100 u", id="tl-offset"),
        pytest.param("%ts %ru", b"1773623203 u", id="ts"),
        pytest.param("%ts %tg %ru", b"1773623203 16/Mar/2026:09:09:09 u", id="seconds-count-first"),
    ],
)
def test_the_times_of_a_definition_are_of_the_zone_or_of_utc(definition: str, line: bytes) -> None:
    assert told(line, LogFormat("logformat", definition, zone="Europe/Brussels")) == {"url": b"u", "time": AT}


@pytest.mark.parametrize("definition", ["[%tl] %ru", "[%tg] %ru", "%ts %ru"])
def test_a_time_that_is_none_is_told(definition: str) -> None:
    line = definition.replace("%tl", "yesterday").replace("%tg", "yesterday").replace("%ts", "9" * 11)
    with pytest.raises(UnreadableError):
        reader(LogFormat("logformat", definition))(line.encode())


# ---- from lines to requests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "client", "name", "asked"),
    [
        pytest.param(
            {"client": b"10.0.0.1", "url": b"http://A.example"},
            "10.0.0.1",
            "10.0.0.1",
            "http://A.example",
            id="address",
        ),
        pytest.param(
            {"client": b"::ffff:10.0.0.1", "url": b"http://a/"}, "10.0.0.1", "10.0.0.1", "http://a/", id="mapped"
        ),
        pytest.param({"client": b"pc.lan", "url": b"http://a/"}, None, "pc.lan", "http://a/", id="name"),
        pytest.param({"client": b"\xff", "url": b"http://a/"}, None, "\ufffd", "http://a/", id="no-text"),
        pytest.param({"url": b"http://a/"}, None, "-", "http://a/", id="nobody"),
        pytest.param({"url": b"a.example/x"}, None, "-", "http://a.example/x", id="no-scheme"),
        pytest.param({"url": b"a.example:443", "method": b"CONNECT"}, None, "-", "a.example:443", id="connect"),
        pytest.param(
            {"host": b"a.example", "path": b"/x", "port": b"8080"}, None, "-", "http://a.example:8080/x", id="parts"
        ),
    ],
)
def test_a_record_becomes_a_request(fields: dict[str, bytes], client: str | None, name: str, asked: str) -> None:
    request, url, who = to_request(Record(fields, None, 0.0, False, False))  # type: ignore[arg-type]
    assert (request.client, who, url) == (client, name, asked)
    assert request.target.host in ("a", "a.example")


@pytest.mark.parametrize("url", [b"http://", b"", b"http:///", b"http://:80/"])
def test_without_a_host_there_is_no_request(url: bytes) -> None:
    with pytest.raises(ImhelperError):
        to_request(Record({"url": url}, None, 0.0, False, False))


@pytest.mark.parametrize(
    ("url", "expected"),
    [(b"error:invalid-request", True), (b"/index.html", True), (b"http://a/error:x", False), (b"a.example:443", False)],
)
def test_what_asks_for_nothing_is_no_request(url: bytes, expected: bool) -> None:
    assert is_no_request(Record({"url": url}, None, 0.0, False, False)) is expected


# ---- which format ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_format_is_asked_for_by_name(name: str) -> None:
    assert named_format(name, "Europe/Brussels") == LogFormat(name, zone="Europe/Brussels")
    assert LogFormat(name).description == DESCRIPTIONS[name]


def test_a_definition_is_asked_for_as_it_is() -> None:
    definition = "%ts.%03tu %>a %ru"
    assert named_format(definition, "UTC") == LogFormat("logformat", definition)
    assert told(b"1773623203.004 10.0.0.1 http://a/", named_format(definition, "UTC"))["url"] == b"http://a/"


@pytest.mark.parametrize(
    ("text", "hint"),
    [("squidd", "did you mean 'squid'?"), ("xml", "or the definition of a logformat"), ("", "squid"), ("%zz", "%zz")],
)
def test_a_format_that_there_is_not_is_told_in_a_sentence(text: str, hint: str) -> None:
    with pytest.raises(ImhelperError) as caught:
        named_format(text, "UTC")
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- what a real Squid recorded -------------------------------------------------------------------------------------

DATA = Path(__file__).parent / "data" / "logs"
ALIKE = {
    "squid": "squid.log",
    "imhelper": "imhelper.log",
    "combined": "combined.log",
    "common": "common.log",
    "json": "json.log",
}


@pytest.mark.parametrize("name", ALIKE)
def test_every_line_of_a_recorded_log_is_read(name: str) -> None:
    """All of them are of the same requests: what one tells and another tells too, they tell alike."""
    lines, own = ((DATA / ALIKE[which]).read_bytes().splitlines() for which in (name, "imhelper"))
    assert len(lines) == len(own) > 100
    for line, better in zip(lines, own, strict=True):
        record, whole = reader(LogFormat(name))(line), reader(IMHELPER)(better)
        alike = record.fields.keys() - {"url"}
        assert {"client", "url"} <= record.fields.keys()
        assert {field: record.fields[field] for field in alike} == {field: whole.fields.get(field) for field in alike}
        assert record.time == pytest.approx(whole.time, abs=1)
        assert where(record) == where(whole)


def where(record: Record) -> object:
    """Where a request goes, or why that cannot be told."""
    try:
        return to_request(record)[0].names
    except ImhelperError as error:
        return str(error)


# ---- hostile lines --------------------------------------------------------------------------------------------------

FORMATS = [
    SQUID, COMMON, COMBINED, IMHELPER, JSON, PAIRS, TSV,
    LogFormat("table", columns=("time", "", "client", "host", "path", "port")),
    LogFormat("logformat", "%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt"),
    LogFormat("logformat", "[%tl] %>a \"%{User-Agent}>h\" %/{Content-Type}>h %ru"),
]  # fmt: skip
HEADS = [
    b"", HEAD, HEAD + b"TCP_MISS/200" + GET, NCSA, NCSA + PLAIN + b' "', b"Mar 16 02:06:43 proxy squid[1]: ",
    b'{"url": "', b"10.0.0.1 x", b"x ",
]  # fmt: skip
FILLS = [
    b" ",
    b"\t",
    b'"',
    b'" ',
    b'" "',
    b"[",
    b"]",
    b"/",
    b"\\",
    b'\\"',
    b"\0",
    b"\xff",
    b"%",
    b"{",
    b'{"a":',
    b"[[",
    b"a ",
    b"A/1 ",
]
LINE: Final = 1 << 16


@pytest.mark.parametrize("log_format", FORMATS, ids=lambda log_format: log_format.definition or log_format.name)
@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_a_line_of_rubbish_is_a_request_or_told(log_format: LogFormat, head: bytes) -> None:
    read, outcomes = reader(log_format), []
    for fill in FILLS:
        try:
            outcomes.append(bool(read((head + fill * LINE)[:LINE])))
        except UnreadableError as error:
            outcomes.append(len(str(error)) < 300)
    assert all(outcomes)


@pytest.mark.parametrize("log_format", FORMATS, ids=lambda log_format: log_format.definition or log_format.name)
def test_a_megabyte_of_blanks_is_told(log_format: LogFormat) -> None:
    for blank in (b" ", b"\t"):
        with pytest.raises(UnreadableError):
            reader(log_format)((b"10.0.0.1 x" + blank * MAX_LINE)[: MAX_LINE - 1] + b"x")


snippets = st.sampled_from([
    *HEADS, PLAIN, b" ", b"\t", b'"', b"[", b"]", b"http://a/", b"http://[", b"CONNECT", b":443", b"-",
    b"TCP_DENIED/407", b"16/Mar/2026:02:06:43 +0100", b"9999999999999999999", b'{"url": ',
    b'{"time": "x", "host": "h"}', b"\xff", b"\0", b"%ff",
])  # fmt: skip
rubbish = st.one_of(st.binary(max_size=80), st.lists(snippets | st.binary(max_size=5), max_size=8).map(b"".join))


@pytest.mark.parametrize("log_format", FORMATS, ids=lambda log_format: log_format.definition or log_format.name)
@given(rubbish)
def test_any_line_is_a_request_or_an_error_of_ours(log_format: LogFormat, line: bytes) -> None:
    with suppress(UnreadableError):
        record = reader(log_format)(line)
        assert record.time is None or record.time >= 0
        assert record.duration >= 0
        with suppress(ImhelperError):
            request, asked, name = to_request(record)
            assert asked.isascii()
            assert name
            assert request.target.host


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"UDP_MISS/000 60 ICP_QUERY http://www.meebo.com/ - HIER_NONE/- -", True),
        (b"UDP_HIT/000 60 HTCP_TST http://www.meebo.com/ - HIER_NONE/- -", True),
        (b"UDP_DENIED/000 60 ICP_QUERY http://www.meebo.com/ - NONE/- -", True),
        (b"NONE_NONE/400 60 - error:invalid-request - HIER_NONE/- -", True),
        (b"NONE_NONE/400 60 - / - HIER_NONE/- -", True),
        (b"TCP_MISS/200 60 GET http://www.meebo.com/ - HIER_DIRECT/192.0.2.1 -", False),
        (b"TCP_DENIED/403 60 GET http://www.meebo.com/ - HIER_NONE/- -", False),
    ],
)
def test_what_no_helper_is_asked_about(line: bytes, expected: bool) -> None:
    """Squid asks none about what other caches ask for, and about what it could not understand."""
    assert is_no_request(reader(SQUID)(HEAD + line)) is expected


@pytest.mark.parametrize("digits", [b"1" * 400, b"9" * 5000])
def test_any_number_of_digits_is_a_time_or_none(digits: bytes) -> None:
    own = named_format("%ts.%03tu %6tr %>a %Ss/%03>Hs %rm %ru", "UTC")
    found = reader(own)(b"1773623203.%b 9 10.0.0.1 TCP_MISS/200 GET http://a.example/" % digits)
    assert found.time == 1773623203


@pytest.mark.parametrize("start", ["", "logformat office ", "  logformat\toffice  "])
def test_a_definition_may_stand_as_in_squid_conf(start: str) -> None:
    assert named_format(f"{start}%ts %>a %ru", "UTC").definition == "%ts %>a %ru"
