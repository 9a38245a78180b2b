"""Site lists in files: what is taken from a line, what is left out and why, and that nothing is lost without a word."""

import bz2
import gzip
import lzma
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Circumstances
from squid_imhelper.base.urls import normalise_address, normalise_host
from squid_imhelper.matching.engine import Engine
from squid_imhelper.offline.check import check
from squid_imhelper.sources.catalogue import Catalogue
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.listfiles import FORMATS, Entry, ListFile, read_list
from squid_imhelper.sources.policy import read_policy

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
except ImportError:
    from backports import zstd

NO_SERVICES = Catalogue({}, {})

TOP_LEVEL = "a whole top-level domain, or a bare host name"
NO_NAME = "no host name"
MORE = "more than a host name"
ADDRESS = "an address in the place of a name"
NOT_BLOCKED = "a name that is sent to a real address, and not blocked"
OTHER_SERVER = "a name that is asked of another server, and not blocked"
QUERY = "a query, which is not compared"
NO_URL = "no URL of http or https"
CONDITION = "a condition that a proxy cannot see"
PATTERN = "a pattern that is no name at the beginning of a host"
PAGE = "a rule about what is shown of a page"


def read(folder: Path, format_name: str, text: str | bytes) -> ListFile:
    path = folder / "list"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    return read_list(path, format_name)


def entries(found: ListFile) -> list[Entry]:
    return [(kind, value) for kind, values in found.entries.items() for value in values]


def decide(folder: Path, format_name: str, file: Path, urls: Sequence[str], method: str | None = None) -> list[bool]:
    """Whether a policy that blocks the sites of a file blocks each URL."""
    policy = folder / "policy.toml"
    policy.write_text(
        f'[sites]\nlist = {{ file = "{file}", format = "{format_name}" }}\n'
        '[[rule]]\naction = "block"\nsites = ["list"]\n'
    )
    engine = Engine(compile_policy(read_policy(policy, NO_SERVICES).policy, NO_SERVICES))
    return [check(engine, url, Circumstances(method=method), 0).decision.action == "block" for url in urls]


# ---- what is taken --------------------------------------------------------------------------------------------------


def domain(*names: str) -> list[Entry]:
    return [("domains", name) for name in names]


def host(*names: str) -> list[Entry]:
    return [("hosts", name) for name in names]


def url(*values: str) -> list[Entry]:
    return [("urls", value) for value in values]


def network(value: str) -> list[Entry]:
    return [("networks", value)]


def expression(value: str) -> list[Entry]:
    return [("regex", value)]


TAKEN = [
    pytest.param("domains", "example.com", domain("example.com"), id="domain"),
    pytest.param("domains", "  example.com\t", domain("example.com"), id="domain-blanks-around"),
    pytest.param("domains", "example.com # why", domain("example.com"), id="domain-comment"),
    pytest.param("domains", "example.com\t#why", domain("example.com"), id="domain-comment-behind-a-tab"),
    pytest.param("domains", "WWW.Example.COM", domain("www.example.com"), id="domain-upper-case"),
    pytest.param("domains", "example.com.", domain("example.com"), id="domain-trailing-dot"),
    pytest.param("domains", "example.com..", domain("example.com"), id="domain-trailing-dots"),
    pytest.param("domains", ".example.com", domain("example.com"), id="domain-leading-dot"),
    pytest.param("domains", "*.example.com", domain("example.com"), id="domain-asterisk"),
    pytest.param("domains", "_srv.a_b.example.com", domain("_srv.a_b.example.com"), id="domain-underscore"),
    pytest.param("domains", "a--b-.example.com", domain("a--b-.example.com"), id="domain-hyphens"),
    pytest.param("domains", "münchen.example", domain("xn--mnchen-3ya.example"), id="domain-unicode"),
    pytest.param("domains", "MÜNCHEN.example.", domain("xn--mnchen-3ya.example"), id="domain-unicode-upper-case"),
    pytest.param("domains", "xn--mnchen-3ya.example", domain("xn--mnchen-3ya.example"), id="domain-a-label"),
    pytest.param("domains", "XN--MNCHEN-3YA.EXAMPLE", domain("xn--mnchen-3ya.example"), id="domain-a-label-upper"),
    pytest.param("domains", "xn--a.example.com", domain("xn--a.example.com"), id="domain-a-label-of-nothing"),
    pytest.param("domains", "192.0.2.1", host("192.0.2.1"), id="domain-ipv4"),
    pytest.param("domains", "2001:DB8:0::1", host("2001:db8::1"), id="domain-ipv6"),
    pytest.param("domains", "::ffff:192.0.2.1", host("192.0.2.1"), id="domain-ipv4-in-ipv6"),
    pytest.param("domains", "192.0.2.0/24", network("192.0.2.0/24"), id="domain-cidr"),
    pytest.param("domains", "2001:db8::/32", network("2001:db8::/32"), id="domain-cidr-ipv6"),
    pytest.param("domains", "192.0.2.1-192.0.2.9", network("192.0.2.1-192.0.2.9"), id="domain-range"),
    pytest.param("urls", "example.com/chat", url("example.com/chat"), id="url"),
    pytest.param("urls", "http://example.com/chat", url("example.com/chat"), id="url-http"),
    pytest.param("urls", "HTTPS://Example.COM./Chat", url("example.com/Chat"), id="url-https-upper-case"),
    pytest.param("urls", "example.com/chat/", url("example.com/chat"), id="url-trailing-slash"),
    pytest.param("urls", "www.example.com/chat", url("www.example.com/chat"), id="url-www"),
    pytest.param("urls", ".example.com/chat", url("example.com/chat"), id="url-leading-dot"),
    pytest.param("urls", "example.com:8080/chat", url("example.com:8080/chat"), id="url-port"),
    pytest.param("urls", "example.com/%63hat//x/../y", url("example.com/chat/y"), id="url-odd-path"),
    pytest.param("urls", "münchen.example/ü", url("xn--mnchen-3ya.example/%C3%BC"), id="url-unicode"),
    pytest.param("urls", "192.0.2.1/chat", url("192.0.2.1/chat"), id="url-ipv4"),
    pytest.param("urls", "[2001:DB8::1]/chat", url("[2001:db8::1]/chat"), id="url-ipv6"),
    pytest.param("urls", "example.com/chat # why", url("example.com/chat"), id="url-comment"),
    pytest.param("squidguard", "example.com", domain("example.com"), id="squidguard-domain"),
    pytest.param("squidguard", "example.com/chat", url("example.com/chat"), id="squidguard-url"),
    pytest.param("squidguard", "www.example.com/chat", url("example.com/chat"), id="squidguard-url-www"),
    pytest.param("squidguard", "web3.example.com/chat", url("example.com/chat"), id="squidguard-url-web"),
    pytest.param("squidguard", "www.example.com", domain("www.example.com"), id="squidguard-domain-keeps-www"),
    pytest.param("hosts", "0.0.0.0 example.com", host("example.com"), id="hosts"),
    pytest.param("hosts", "127.0.0.1\t\texample.com", host("example.com"), id="hosts-tabs"),
    pytest.param("hosts", "127.0.53.53 example.com", host("example.com"), id="hosts-other-loopback"),
    pytest.param("hosts", ":: example.com", host("example.com"), id="hosts-ipv6-nowhere"),
    pytest.param("hosts", "::1 example.com", host("example.com"), id="hosts-ipv6-loopback"),
    pytest.param("hosts", "0:0:0:0:0:0:0:0 example.com", host("example.com"), id="hosts-ipv6-long"),
    pytest.param("hosts", "0.0.0.0 a.example b.example # why", host("a.example", "b.example"), id="hosts-names"),
    pytest.param("hosts", "0.0.0.0 WWW.Example.COM.", host("www.example.com"), id="hosts-upper-case"),
    pytest.param("hosts", "0.0.0.0 a_b.example", host("a_b.example"), id="hosts-underscore"),
    pytest.param("hosts", "0.0.0.0 münchen.example", host("xn--mnchen-3ya.example"), id="hosts-unicode"),
    pytest.param("hosts", "127.0.0.1 localhost.localdomain", host("localhost.localdomain"), id="hosts-own"),
    pytest.param("dnsmasq", "address=/example.com/0.0.0.0", domain("example.com"), id="dnsmasq-zeros"),
    pytest.param("dnsmasq", "address=/example.com/127.0.0.1", domain("example.com"), id="dnsmasq-loopback"),
    pytest.param("dnsmasq", "address=/example.com/::", domain("example.com"), id="dnsmasq-ipv6"),
    pytest.param("dnsmasq", "address=/example.com/#", domain("example.com"), id="dnsmasq-hash"),
    pytest.param("dnsmasq", "address=/example.com/", domain("example.com"), id="dnsmasq-nothing"),
    pytest.param("dnsmasq", "address=/a.example/b.example/0.0.0.0", domain("a.example", "b.example"), id="dnsmasq-two"),
    pytest.param("dnsmasq", "address=/a.example/b.example/#", domain("a.example", "b.example"), id="dnsmasq-two-hash"),
    pytest.param("dnsmasq", "server=/example.com/", domain("example.com"), id="dnsmasq-no-server"),
    pytest.param("dnsmasq", "local=/example.com/", domain("example.com"), id="dnsmasq-local"),
    pytest.param("dnsmasq", "address=/.Example.COM./#", domain("example.com"), id="dnsmasq-dots"),
    pytest.param("dnsmasq", "address=/*.example.com/#", domain("example.com"), id="dnsmasq-asterisk"),
    pytest.param("dnsmasq", "address=/example.com/# # why", domain("example.com"), id="dnsmasq-comment"),
    pytest.param("dnsmasq", " address=/example.com/0.0.0.0 #why", domain("example.com"), id="dnsmasq-blanks"),
    pytest.param("adblock", "||example.com^", domain("example.com"), id="adblock"),
    pytest.param("adblock", "||Example.COM.^", domain("example.com"), id="adblock-upper-case"),
    pytest.param("adblock", "||example.com", domain("example.com"), id="adblock-bare"),
    pytest.param("adblock", "||example.com^|", domain("example.com"), id="adblock-end"),
    pytest.param("adblock", "||example.com/", domain("example.com"), id="adblock-slash"),
    pytest.param("adblock", "||example.com^$important", domain("example.com"), id="adblock-important"),
    pytest.param("adblock", "||example.com^$all,document", domain("example.com"), id="adblock-all"),
    pytest.param("adblock", "||example.com/chat", url("example.com/chat"), id="adblock-path"),
    pytest.param("adblock", "||example.com/chat^", url("example.com/chat"), id="adblock-path-end"),
    pytest.param("adblock", "||192.0.2.1^", host("192.0.2.1"), id="adblock-address"),
    pytest.param("adblock", "||münchen.example^", domain("xn--mnchen-3ya.example"), id="adblock-unicode"),
    pytest.param("squid", ".example.com", domain("example.com"), id="squid-dot"),
    pytest.param("squid", "example.com", host("example.com"), id="squid-no-dot"),
    pytest.param("squid", ".Example.COM.", domain("example.com"), id="squid-upper-case"),
    pytest.param("squid", ".a.example b.example # why", [*domain("a.example"), *host("b.example")], id="squid-two"),
    pytest.param("squid", "acl x dstdomain .a.example .b.example", domain("a.example", "b.example"), id="squid-acl"),
    pytest.param("squid", "192.0.2.1", host("192.0.2.1"), id="squid-address"),
    pytest.param("squid", "2001:db8::1", host("2001:db8::1"), id="squid-ipv6"),
    pytest.param("regex", r"^https?://chat[0-9]+\.", expression(r"^https?://chat[0-9]+\."), id="regex"),
    pytest.param("regex", "  chat # no comment  ", expression("chat # no comment"), id="regex-hash"),
    pytest.param("regex", "-i\nchat", expression("(?i)chat"), id="regex-ignore-case"),
    pytest.param("regex", "-i\n+i\nchat", expression("chat"), id="regex-ignore-case-off"),
]


@pytest.mark.parametrize(("format_name", "line", "expected"), TAKEN)
def test_what_is_taken_from_a_line(tmp_path: Path, format_name: str, line: str, expected: list[Entry]) -> None:
    found = read(tmp_path, format_name, f"{line}\n")
    assert entries(found) == expected
    assert found.left_out == []


# ---- what is not ----------------------------------------------------------------------------------------------------

LEFT_OUT = [
    pytest.param("domains", "com", TOP_LEVEL, id="domain-top-level"),
    pytest.param("domains", ".com", TOP_LEVEL, id="domain-top-level-dot"),
    pytest.param("domains", "*.com", TOP_LEVEL, id="domain-top-level-asterisk"),
    pytest.param("domains", "localhost", TOP_LEVEL, id="domain-bare"),
    pytest.param("domains", "a..example.com", NO_NAME, id="domain-empty-label"),
    pytest.param("domains", "a b.example", NO_NAME, id="domain-blank"),
    pytest.param("domains", "127.0.0.1 example.com", NO_NAME, id="domain-of-a-hosts-file"),
    pytest.param("domains", "||example.com^", NO_NAME, id="domain-of-adblock"),
    pytest.param("domains", "example.com#why", NO_NAME, id="domain-comment-without-a-blank"),
    pytest.param("domains", "; why", NO_NAME, id="domain-other-comment"),
    pytest.param("domains", "*", NO_NAME, id="domain-everything"),
    pytest.param("domains", "ex\x01ample.com", NO_NAME, id="domain-control-character"),
    pytest.param("domains", "m\udcfcnchen.example", NO_NAME, id="domain-latin-1"),
    pytest.param("domains", "http://example.com/", MORE, id="domain-url"),
    pytest.param("domains", "example.com/chat", MORE, id="domain-path"),
    pytest.param("domains", "example.com:80", MORE, id="domain-port"),
    pytest.param("domains", "0xc0.0.2.1", ADDRESS, id="domain-hexadecimal-address"),
    pytest.param("domains", "3221225985", ADDRESS, id="domain-address-as-a-number"),
    pytest.param("urls", "example.com/chat?room=1", QUERY, id="url-query"),
    pytest.param("urls", "example.com/#chat", QUERY, id="url-fragment"),
    pytest.param("urls", "/chat", NO_URL, id="url-no-host"),
    pytest.param("urls", "ftp://example.com/x", NO_URL, id="url-ftp"),
    pytest.param("urls", "example.com/a b", NO_URL, id="url-blank"),
    pytest.param("urls", "example.com:99999/x", NO_URL, id="url-no-port"),
    pytest.param("urls", "http://http://example.com/", NO_URL, id="url-twice"),
    pytest.param("urls", "*.example.com/x", NO_NAME, id="url-asterisk"),
    pytest.param("squidguard", "example.com/chat?room=1", QUERY, id="squidguard-query"),
    pytest.param("squidguard", "com", TOP_LEVEL, id="squidguard-top-level"),
    pytest.param("hosts", "127.0.0.1 localhost", TOP_LEVEL, id="hosts-localhost"),
    pytest.param("hosts", "::1 ip6-localhost ip6-loopback", TOP_LEVEL, id="hosts-ip6-localhost"),
    pytest.param("hosts", "255.255.255.255 broadcasthost", NOT_BLOCKED, id="hosts-broadcast"),
    pytest.param("hosts", "fe80::1%lo0 localhost", NOT_BLOCKED, id="hosts-link-local"),
    pytest.param("hosts", "ff02::1 ip6-allnodes", NOT_BLOCKED, id="hosts-multicast"),
    pytest.param("hosts", "192.168.1.2 printer.example", NOT_BLOCKED, id="hosts-real-address"),
    pytest.param("hosts", "0.0.0.0 0.0.0.0", ADDRESS, id="hosts-address"),
    pytest.param("hosts", "0.0.0.0", "no address with names behind it", id="hosts-no-name"),
    pytest.param("hosts", "example.com", "no address with names behind it", id="hosts-no-address"),
    pytest.param("hosts", "0.0.0.0,example.com", "no address with names behind it", id="hosts-comma"),
    pytest.param("hosts", "0.0.0.0 *.example.com", NO_NAME, id="hosts-asterisk"),
    pytest.param("hosts", "0.0.0.0 http://example.com/", MORE, id="hosts-url"),
    pytest.param("dnsmasq", "address=/example.com/192.0.2.1", NOT_BLOCKED, id="dnsmasq-real-address"),
    pytest.param("dnsmasq", "server=/example.com/8.8.8.8", OTHER_SERVER, id="dnsmasq-server"),
    pytest.param("dnsmasq", "server=/example.com/#", NOT_BLOCKED, id="dnsmasq-usual-server"),
    pytest.param("dnsmasq", "server=8.8.8.8", "another option of dnsmasq", id="dnsmasq-upstream"),
    pytest.param("dnsmasq", "no-resolv", "another option of dnsmasq", id="dnsmasq-option"),
    pytest.param("dnsmasq", "address=/com/#", TOP_LEVEL, id="dnsmasq-top-level"),
    pytest.param("dnsmasq", "address=/#/0.0.0.0", NO_NAME, id="dnsmasq-everything"),
    pytest.param("adblock", "@@||example.com^", "an exception (put it into a list of its own", id="adblock-exception"),
    pytest.param("adblock", "||example.com^$third-party", CONDITION, id="adblock-third-party"),
    pytest.param("adblock", "||example.com^$document,third-party", CONDITION, id="adblock-two-options"),
    pytest.param("adblock", "||example.com^$domain=a.example", CONDITION, id="adblock-on-a-domain"),
    pytest.param("adblock", "||example.com/x.js$script", CONDITION, id="adblock-script"),
    pytest.param("adblock", "##.ad", PAGE, id="adblock-cosmetic-everywhere"),
    pytest.param("adblock", "example.com##.ad", PAGE, id="adblock-cosmetic"),
    pytest.param("adblock", "example.com#@#.ad", PAGE, id="adblock-cosmetic-exception"),
    pytest.param("adblock", "example.com#?#p:has(a)", PAGE, id="adblock-cosmetic-extended"),
    pytest.param("adblock", "example.com#$#body { }", PAGE, id="adblock-css"),
    pytest.param("adblock", "example.com#%#//scriptlet('x')", PAGE, id="adblock-scriptlet"),
    pytest.param("adblock", "||*.example.com^", PATTERN, id="adblock-asterisk"),
    pytest.param("adblock", "||example.com/ad*", PATTERN, id="adblock-path-asterisk"),
    pytest.param("adblock", "/banner[0-9]+/", PATTERN, id="adblock-regex"),
    pytest.param("adblock", "-banner-", PATTERN, id="adblock-anywhere"),
    pytest.param("adblock", "|https://example.com/", PATTERN, id="adblock-start"),
    pytest.param("adblock", "0.0.0.0 example.com", PATTERN, id="adblock-of-a-hosts-file"),
    pytest.param("adblock", "||example.com/?ad=1", QUERY, id="adblock-query"),
    pytest.param("adblock", "||com^", TOP_LEVEL, id="adblock-top-level"),
    pytest.param("domains", "0.0.0.0/0", "a network wider than any that is one site's", id="domains-all"),
    pytest.param("domains", "10.0.0.0/7", "a network wider than any that is one site's", id="domains-wider-than-any"),
    pytest.param("domains", "2001::/15", "a network with host bits set", id="domains-host-bits-v6"),
    pytest.param("domains", "::/0", "a network wider than any that is one site's", id="domains-all-v6"),
    pytest.param("squid", "192.0.2.1/24", "a network with host bits set", id="squid-host-bits"),
    pytest.param("adblock", "||example.com:8080^", MORE, id="adblock-port"),
    pytest.param("squid", ".com", TOP_LEVEL, id="squid-top-level"),
    pytest.param("squid", 'acl x dstdomain "/etc/list"', MORE, id="squid-file-in-a-file"),
    pytest.param("squid", "acl x url_regex chat", "another type of ACL", id="squid-other-acl"),
    pytest.param("squid", "-n", "an option of dstdomain", id="squid-option"),
    pytest.param("squid", ".192.0.2.1", ADDRESS, id="squid-dot-address"),
    pytest.param("regex", "chat(", "no regular expression", id="regex-bracket"),
    pytest.param("regex", "a{2,1}", "no regular expression", id="regex-backwards"),
    pytest.param("regex", "(?au)x", "no regular expression", id="regex-flags-that-exclude-each-other"),
    pytest.param("regex", "*", "no regular expression", id="regex-nothing-repeated"),
    pytest.param("regex", "(" * 3000 + ")" * 3000, "no regular expression", id="regex-too-deep"),
]


@pytest.mark.parametrize(("format_name", "line", "reason"), LEFT_OUT)
def test_what_is_left_out_has_its_line_and_its_reason(tmp_path: Path, format_name: str, line: str, reason: str) -> None:
    found = read(tmp_path, format_name, f"\n{line}\n\n")
    (left_out,) = found.left_out
    assert entries(found) == []
    assert left_out[:3] == (str(tmp_path / "list"), 2, line[:200])
    assert left_out.reason.startswith(reason)


@pytest.mark.parametrize(
    ("format_name", "line", "expected", "reason"),
    [
        pytest.param("hosts", "0.0.0.0 a.example b^d c.example", host("a.example", "c.example"), NO_NAME, id="hosts"),
        pytest.param("hosts", "0.0.0.0 localhost a.example", host("a.example"), TOP_LEVEL, id="hosts-localhost"),
        pytest.param("hosts", "0.0.0.0 b^d com a.example", host("a.example"), NO_NAME, id="hosts-first-of-two-reasons"),
        pytest.param("dnsmasq", "address=/a.example/com/#", domain("a.example"), TOP_LEVEL, id="dnsmasq"),
        pytest.param("squid", ".a.example b^d .c.example", domain("a.example", "c.example"), NO_NAME, id="squid"),
        pytest.param(
            "squid", "acl x dstdomain -n .a.example", domain("a.example"), "an option of dstdomain", id="squid-option"
        ),
    ],
)
def test_of_several_names_a_bad_one_is_told_and_the_others_are_taken(
    tmp_path: Path, format_name: str, line: str, expected: list[Entry], reason: str
) -> None:
    found = read(tmp_path, format_name, line)
    assert entries(found) == expected
    assert [(left_out.line, left_out.reason) for left_out in found.left_out] == [(1, reason)]


LONG = f"{'A' * 1200}."


@pytest.mark.parametrize(
    ("format_name", "line"),
    [
        pytest.param("domains", f"{LONG}example.com", id="domains"),
        pytest.param("domains", f"{LONG.lower()}example.com", id="domains-lower-case"),
        pytest.param("urls", f"{LONG}example.com/chat", id="urls"),
        pytest.param("urls", f"{'A' * 1200}.com/chat", id="urls-one-label"),
        pytest.param("hosts", f"0.0.0.0 {LONG}example.com", id="hosts"),
        pytest.param("dnsmasq", f"address=/{LONG}example.com/#", id="dnsmasq"),
        pytest.param("adblock", f"||{LONG}example.com^", id="adblock"),
        pytest.param("squid", f".{LONG}example.com", id="squid"),
    ],
)
def test_a_name_too_long_to_be_one_is_left_out(tmp_path: Path, format_name: str, line: str) -> None:
    """What is left of it when its beginning is cut off would be a wider entry than the line."""
    found = read(tmp_path, format_name, line)
    assert entries(found) == []
    assert len(found.left_out) == 1


@pytest.mark.parametrize("line", ["com", "com/", "com/chat", "localhost/chat", "-"])
@pytest.mark.parametrize("format_name", ["urls", "squidguard"])
def test_a_top_level_domain_is_left_out_of_urls_too(tmp_path: Path, format_name: str, line: str) -> None:
    """`com/chat` would hold for every site below .com."""
    found = read(tmp_path, format_name, line)
    assert entries(found) == []
    assert [left_out.reason for left_out in found.left_out] == [TOP_LEVEL]


@pytest.mark.parametrize(
    ("format_name", "lines"),
    [
        pytest.param("domains", ["", "  ", "# why", "  # why", "#why", "\t#"], id="domains"),
        pytest.param("urls", ["", "# why", "# http://example.com/x"], id="urls"),
        pytest.param("squidguard", ["", "# why", "# example.com/x"], id="squidguard"),
        pytest.param("hosts", ["", "# why", "#0.0.0.0 example.com"], id="hosts"),
        pytest.param(
            "dnsmasq", ["", "# why", "#address=/example.com/#", "# address=/example.com/0.0.0.0"], id="dnsmasq"
        ),
        pytest.param("adblock", ["", "! why", "!#if adguard", "[Adblock Plus 2.0]", "!||example.com^"], id="adblock"),
        pytest.param("squid", ["", "# why", "# acl x dstdomain .example.com"], id="squid"),
        pytest.param("regex", ["", "# why", "  #why", "-i", "+i"], id="regex"),
    ],
)
def test_what_says_nothing_is_not_told(tmp_path: Path, format_name: str, lines: list[str]) -> None:
    found = read(tmp_path, format_name, "\n".join(lines))
    assert entries(found) == []
    assert found.left_out == []


def test_a_long_line_is_kept_in_part(tmp_path: Path) -> None:
    (left_out,) = read(tmp_path, "domains", "x" * 10_000).left_out
    assert left_out.text == "x" * 200


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a.example\r\nb.example\r\n", id="crlf"),
        pytest.param(b"\xef\xbb\xbfa.example\nb.example\n", id="bom"),
        pytest.param(b"a.example\nb.example", id="no-end"),
        pytest.param(b"# caf\xe9\na.example # caf\xe9\nb.example\n", id="latin-1-in-comments"),
        pytest.param(b"b.example\na.example\nB.EXAMPLE.\na.example\n", id="twice"),
    ],
)
def test_a_site_list_has_each_entry_once_and_sorted(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, "domains", content)
    assert found.site_list("name").domains == ("a.example", "b.example")
    assert found.left_out == []


def test_a_site_list_has_its_networks_merged(tmp_path: Path) -> None:
    found = read(tmp_path, "domains", "192.0.2.128/25\n192.0.2.0/25\n")
    first = 192 << 24 | 2 << 8
    assert found.site_list("name").networks == ((4, first, first + 255),)


def test_the_option_for_case_is_that_of_its_own_file(tmp_path: Path) -> None:
    assert entries(read(tmp_path, "regex", "-i\na\n")) == expression("(?i)a")
    assert entries(read(tmp_path, "regex", "a\n")) == expression("a")


# ---- folders of squidGuard ------------------------------------------------------------------------------------------


def category(folder: Path, **files: str) -> Path:
    path = folder / "category"
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_a_folder_is_a_category(tmp_path: Path) -> None:
    """With the other files that lie in it (`usage`, what squidGuard has built) left alone."""
    folder = category(
        tmp_path,
        domains="a.example\n\ncom\n",
        urls="www.b.example/x\n",
        expressions="chat[0-9]\n(\n",
        usage="chat\n",
    )
    found = read_list(folder, "squidguard")
    assert [kind for kind, _ in entries(found)] == ["domains", "urls", "regex"]
    assert found.site_list("x").urls == ("b.example/x",)
    assert [left_out[:3] for left_out in found.left_out] == [
        (str(folder / "domains"), 3, "com"),
        (str(folder / "expressions"), 2, "("),
    ]
    assert found.files == [str(folder / name) for name in ("domains", "urls", "expressions")]


@pytest.mark.parametrize("name", ["domains", "urls", "expressions"])
def test_a_category_need_not_have_all_of_its_files(tmp_path: Path, name: str) -> None:
    folder = category(tmp_path, **{name: "a.example/x\n" if name == "urls" else "a.example\n"})
    found = read_list(folder, "squidguard")
    assert len(entries(found)) == 1
    assert found.files == [str(folder / name)]


def test_a_folder_without_any_of_the_three_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImhelperError, match="there is no domains, urls, expressions in this folder"):
        read_list(category(tmp_path, readme="domains\n"), "squidguard")


@pytest.mark.parametrize("format_name", [name for name in FORMATS if name != "squidguard"])
def test_a_folder_is_no_list_in_other_formats(tmp_path: Path, format_name: str) -> None:
    with pytest.raises(ImhelperError, match="no regular file"):
        read_list(category(tmp_path, domains="a.example\n"), format_name)


# ---- nothing is lost ------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *(
            "example.com",
            "a.example",
            "com",
            "www.",
            "xn--mnchen-3ya.example",
            "münchen.example",
            "192.0.2.1",
            "caf\udce9",
        ),
        *(
            "0.0.0.0",
            "127.0.0.1",
            "::",
            "::1",
            "fe80::1%lo0",
            "/",
            "/24",
            "/x",
            "//",
            "?",
            "#",
            "##",
            " #",
            "# ",
            "!",
            "@@",
        ),
        *(
            "||",
            "^",
            "$",
            "$third-party",
            "|",
            "*",
            ".",
            "..",
            "-i",
            "+i",
            "-n",
            "acl x dstdomain ",
            "acl",
            "address=/",
        ),
        *(
            "server=/",
            "local=/",
            "/#",
            "/0.0.0.0",
            "/8.8.8.8",
            "[",
            "]",
            "(",
            ")",
            "{",
            "http://",
            "https://",
            ":",
            ":80",
        ),
        *(" ", "\t", "\x0b", "\x1f", "\xa0", "\u2028", "\\", "'", '"', "%", "%41", "=", ",", ";", "_", "-"),
    ]
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"), max_size=20)
LINE = st.lists(WORDS, max_size=6).map("".join) | ANY_TEXT
FORMAT = st.sampled_from(sorted(FORMATS))


def says_nothing(format_name: str, line: str) -> bool:
    """A blank line, a comment, a header, or an option for the lines behind it."""
    text = line.strip()
    if format_name == "adblock":
        return not text or text.startswith("!") or (text[0] == "[" and text[-1] == "]")
    if format_name == "regex" and text in ("-i", "+i"):
        return True
    if format_name == "squid" and re.fullmatch(r"acl\s+\S+\s+dstdomain(\s+#.*)?", text):
        return True
    return not text or text.startswith("#")


@given(FORMAT, LINE)
@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("dnsmasq", "# address=/example.com/#")
@example("squid", "acl x dstdomain # none")
@example("adblock", "[x")
def test_a_line_is_an_entry_or_says_nothing_or_is_left_out(tmp_path: Path, format_name: str, line: str) -> None:
    found = read(tmp_path, format_name, f"{line}\n")
    assert [left_out.line for left_out in found.left_out] in ([], [1])
    assert bool(entries(found) or found.left_out) != says_nothing(format_name, line)


@given(st.sampled_from([name for name in FORMATS if name != "regex"]), st.lists(LINE, max_size=8))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_is_what_its_lines_are(tmp_path: Path, format_name: str, lines: list[str]) -> None:
    """Each line counts by itself, wherever it stands."""
    alone = [read(tmp_path, format_name, f"{line}\n") for line in lines]
    found = read(tmp_path, format_name, "".join(f"{line}\n" for line in lines))
    assert Counter(entries(found)) == Counter(entry for one in alone for entry in entries(one))
    assert [(one.line, one.reason) for one in found.left_out] == [
        (number, left_out.reason) for number, one in enumerate(alone, 1) for left_out in one.left_out
    ]


@given(FORMAT, st.binary(max_size=80) | st.lists(LINE, max_size=5).map(lambda lines: os.fsencode("\n".join(lines))))
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_list_or_an_error_of_ours(tmp_path: Path, format_name: str, content: bytes) -> None:
    with suppress(ImhelperError):
        read(tmp_path, format_name, content).site_list("x")


@given(FORMAT, LINE)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_entries_are_in_the_spelling_in_which_they_are_looked_up(tmp_path: Path, format_name: str, line: str) -> None:
    for kind, value in entries(read(tmp_path, format_name, line)):
        if kind in ("domains", "hosts"):
            assert normalise_host(value) == value
            assert "." in value or ":" in value
        if kind == "domains":
            assert normalise_address(value) is None


# ---- what the entries do --------------------------------------------------------------------------------------------

DECISIONS = [
    pytest.param("domains", "example.com", "http://example.com/x?y", True, id="domain"),
    pytest.param("domains", "example.com", "https://a.b.Example.COM.:8443/", True, id="domain-sub-domain"),
    pytest.param("domains", "example.com", "http://notexample.com/", False, id="domain-suffix"),
    pytest.param("domains", "example.com", "http://example.com.evil.example/", False, id="domain-prefix"),
    pytest.param("domains", "example.com", "http://a.example/?http://example.com/", False, id="domain-in-a-query"),
    pytest.param("domains", "www.example.com", "http://example.com/", False, id="domain-www-is-a-label"),
    pytest.param("domains", "münchen.example", "http://www.m%C3%BCnchen.example/", True, id="domain-unicode"),
    pytest.param("domains", "192.0.2.1", "http://192.0.2.1/", True, id="domain-address"),
    pytest.param("domains", "192.0.2.1", "http://3221225985/", True, id="domain-address-as-a-number"),
    pytest.param("domains", "192.0.2.1", "http://192.0.2.10/", False, id="domain-other-address"),
    pytest.param("domains", "2001:db8::1", "http://[2001:DB8:0::1]:81/", True, id="domain-ipv6"),
    pytest.param("domains", "192.0.2.0/24", "http://192.0.2.255/", True, id="domain-cidr"),
    pytest.param("domains", "192.0.2.0/24", "http://192.0.3.0/", False, id="domain-cidr-outside"),
    pytest.param("hosts", "0.0.0.0 example.com", "http://EXAMPLE.com./", True, id="hosts"),
    pytest.param("hosts", "0.0.0.0 example.com", "http://www.example.com/", False, id="hosts-sub-domain"),
    pytest.param("squid", ".example.com", "http://www.example.com/", True, id="squid-dot"),
    pytest.param("squid", ".example.com", "http://example.com/", True, id="squid-dot-itself"),
    pytest.param("squid", "example.com", "http://example.com/", True, id="squid-no-dot"),
    pytest.param("squid", "example.com", "http://www.example.com/", False, id="squid-no-dot-sub-domain"),
    pytest.param("dnsmasq", "address=/example.com/#", "http://www.example.com/", True, id="dnsmasq"),
    pytest.param("adblock", "||example.com^", "http://www.example.com/x", True, id="adblock"),
    pytest.param("adblock", "||example.com/chat^", "http://www.example.com/chat/x", True, id="adblock-path"),
    pytest.param("adblock", "||example.com/chat^", "http://www.example.com/", False, id="adblock-other-path"),
    pytest.param("adblock", "@@||example.com^", "http://example.com/", False, id="adblock-exception"),
    pytest.param("urls", "example.com/chat", "http://example.com/chat", True, id="url"),
    pytest.param("urls", "example.com/chat", "https://www.example.com/chat/x?y", True, id="url-below"),
    pytest.param("urls", "example.com/chat", "http://example.com//%63hat/", True, id="url-odd-spelling"),
    pytest.param("urls", "example.com/chat", "http://example.com/chatter", False, id="url-segment"),
    pytest.param("urls", "example.com/chat", "http://example.com/x/chat", False, id="url-deeper"),
    pytest.param("urls", "example.com:8080/chat", "http://example.com:8080/chat", True, id="url-port"),
    pytest.param("urls", "example.com:8080/chat", "http://example.com/chat", False, id="url-other-port"),
    pytest.param("urls", "[2001:db8::1]/chat", "http://[2001:db8::1]/chat", True, id="url-ipv6"),
    pytest.param("urls", "example.com", "http://www.example.com/x", True, id="url-whole-site"),
    pytest.param("squidguard", "www.example.com/chat", "http://example.com/chat", True, id="squidguard-www"),
    pytest.param("regex", "Chat[0-9]", "http://example.com/Chat7", True, id="regex"),
    pytest.param("regex", "Chat[0-9]", "http://example.com/chat7", False, id="regex-case"),
    pytest.param("regex", "-i\nChat[0-9]", "http://example.com/chat7", True, id="regex-ignore-case"),
]


@pytest.mark.parametrize(("format_name", "line", "asked", "blocked"), DECISIONS)
def test_entries_decide_requests_as_the_list_means_it(
    tmp_path: Path, format_name: str, line: str, asked: str, blocked: bool
) -> None:
    """A second entry keeps the list from being empty."""
    spare = {"hosts": "0.0.0.0 b.test", "dnsmasq": "local=/b.test/", "adblock": "||b.test^"}.get(format_name, "b.test")
    file = tmp_path / "list"
    file.write_text(f"{line}\n{spare}\n")
    assert decide(tmp_path, format_name, file, [asked]) == [blocked]


@pytest.mark.parametrize(
    ("format_name", "line"),
    [
        pytest.param("domains", "example.com", id="domains"),
        pytest.param("hosts", "0.0.0.0 example.com", id="hosts"),
        pytest.param("urls", "example.com", id="urls"),
        pytest.param("urls", "https://example.com/", id="urls-with-a-slash"),
        pytest.param("squidguard", "example.com/", id="squidguard"),
    ],
)
def test_a_whole_site_is_found_by_connect_too(tmp_path: Path, format_name: str, line: str) -> None:
    """A URL without a path is the site, and of a site behind TLS a proxy sees nothing but CONNECT."""
    file = tmp_path / "list"
    file.write_text(f"{line}\n")
    assert decide(tmp_path, format_name, file, ["example.com:443"], "CONNECT") == [True]


LABEL = st.text("abzABZ09_-", min_size=1, max_size=6) | st.sampled_from(["münchen", "MÜNCHEN", "xn--a", "ß", "例え"])
NAME = st.lists(LABEL, min_size=2, max_size=4).map(".".join)


@given(NAME, st.sampled_from(["", ".", "*."]), st.sampled_from(["", ".", " # why"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_domain_stands_for_its_sub_domains_and_a_host_for_itself(
    tmp_path: Path, name: str, before: str, behind: str
) -> None:
    assume(entries(read(tmp_path, "domains", name))[:1] == domain(normalise_host(name)))
    urls = [f"http://{prefix}{name}/" for prefix in ("", "sub.", "not")]
    file = tmp_path / "names"
    file.write_text(f"{before}{name}{behind}\n")
    assert decide(tmp_path, "domains", file, urls) == [True, True, False]
    file.write_text(f"0.0.0.0 {name}{behind}\n")
    assert decide(tmp_path, "hosts", file, urls) == [True, False, False]


# ---- beside squidGuard ----------------------------------------------------------------------------------------------

SQUIDGUARD = shutil.which("squidGuard")

CATEGORY = {
    "domains": "example.com\nwww.sub.example\nUPPER.example\nunder_score.example\nxn--mnchen-3ya.example\n192.0.2.7\n",
    "urls": (
        "urls.example/chat\nslash.example/dir/\nport.example/x\nwhole.example\n192.0.2.9/addr\n"
        "www.own.example/chat\nMixed.example/Path\n"
    ),
    "expressions": "chat[0-9]+\\.exp\\.example\n/Upper[.]html\n(^|[-.?/])lower\n",
}

ALIKE = {
    "http://example.com/": True,
    "http://www.example.com/a": True,
    "http://EXAMPLE.com./": True,
    "http://example.com:8080/": True,
    "http://user@example.com/": True,
    "example.com:443": True,
    "http://notexample.com/": False,
    "http://example.com.evil.test/": False,
    "http://a.test/?x=http://example.com/": False,
    "http://sub.example/": False,
    "http://www.sub.example/": True,
    "http://a.www.sub.example/": True,
    "http://upper.example/": True,
    "http://under_score.example/": True,
    "http://xn--mnchen-3ya.example/": True,
    "http://192.0.2.7/": True,
    "http://192.0.2.80/": False,
    "http://urls.example/chat": True,
    "http://urls.example/chat/x": True,
    "http://urls.example/chat?x": True,
    "http://urls.example//chat": True,
    "http://urls.example/%63hat": True,
    "https://urls.example:8080/chat": True,
    "http://urls.example/other": False,
    "http://urls.example/x/chat": False,
    "http://www.urls.example/chat": True,
    "http://www2.urls.example/chat": True,
    "http://web.urls.example/chat": True,
    "http://ftp.urls.example/chat": True,
    "urls.example:443": False,
    "http://slash.example/dir/": True,
    "http://slash.example/dir/a": True,
    "http://slash.example/dirt": False,
    "http://whole.example/": True,
    "http://whole.example/x": True,
    "whole.example:443": True,
    "http://192.0.2.9/addr": True,
    "http://www.own.example/chat": True,
    "http://mixed.example/Path": True,
    "http://chat7.exp.example/": True,
    "http://CHAT7.EXP.example/": True,
    "http://a.test/Upper.html": True,
    "http://a.test/upper.html": True,
    "http://a.test/lower": True,
    "http://a.test/LOWER": True,
    "http://lower.test/": True,
    "lower.test:443": True,
}
"""URLs, and whether both block them."""

DIFFERENT = {
    "http://urls.example/chatter": True,  # it compares the beginning, and not whole segments
    "http://urls.example/CHAT": True,  # and in lower case
    "http://a.urls.example/chat": False,  # to us a URL's host is a domain
    "http://own.example/chat": False,  # it strips www. of what is asked for, and not of what is listed
    "http://slash.example/dir": False,  # to us the folder is the same with and without its slash
    "http://192.0.2.70/": True,  # it takes an address for the beginning of others
    "http://3221225991/": False,  # it does not know addresses by another spelling
}
"""URLs, and whether squidGuard blocks them, where we do the opposite."""


def ask_squidguard(folder: Path, urls: Sequence[str]) -> list[bool]:
    """Whether squidGuard blocks each URL; it answers OK, or with a URL, where it does, and ERR, or nothing, else."""
    config = folder / "squidGuard.conf"
    config.write_text(
        f"dbhome {folder}\nlogdir {folder}\n"
        "dest c { domainlist category/domains\nurllist category/urls\nexpressionlist category/expressions\n}\n"
        "acl { default { pass !c all\nredirect http://blocked.invalid/\n} }\n"
    )
    lines = "".join(f"{asked} 10.0.0.1/- - {method_of(asked) or 'GET'}\n" for asked in urls)
    answers = subprocess.run(
        [str(SQUIDGUARD), "-c", str(config)], input=lines, capture_output=True, text=True, timeout=60, check=True
    ).stdout.splitlines()
    assert len(answers) == len(urls)
    return [answer.strip() not in ("", "ERR") for answer in answers]


def method_of(asked: str) -> str | None:
    return None if "://" in asked else "CONNECT"


def ask_us(folder: Path, urls: Sequence[str]) -> Iterator[bool]:
    for asked in urls:
        yield from decide(folder, "squidguard", folder / "category", [asked], method_of(asked))


@pytest.mark.skipif(SQUIDGUARD is None, reason="squidGuard is not installed")
@pytest.mark.parametrize("urls", [pytest.param(ALIKE, id="alike"), pytest.param(DIFFERENT, id="different")])
def test_the_tables_say_what_squidguard_does(tmp_path: Path, urls: dict[str, bool]) -> None:
    category(tmp_path, **CATEGORY)
    assert dict(zip(urls, ask_squidguard(tmp_path, list(urls)), strict=True)) == urls


def test_a_category_blocks_what_it_blocks_in_squidguard(tmp_path: Path) -> None:
    category(tmp_path, **CATEGORY)
    assert dict(zip(ALIKE, ask_us(tmp_path, list(ALIKE)), strict=True)) == ALIKE


def test_where_we_differ_from_squidguard_is_known(tmp_path: Path) -> None:
    category(tmp_path, **CATEGORY)
    opposite = {asked: not blocked for asked, blocked in DIFFERENT.items()}
    assert dict(zip(DIFFERENT, ask_us(tmp_path, list(DIFFERENT)), strict=True)) == opposite


# ---- real lists -----------------------------------------------------------------------------------------------------

SAMPLES = os.environ.get("SQUID_IMHELPER_SAMPLES", "")
SAMPLE_LISTS = sorted(path for path in Path(SAMPLES, "domains").glob("*.*") if path.is_file()) if SAMPLES else []
LOOKED_AT = 200
NEEDS_SAMPLES = pytest.mark.skipif(not SAMPLE_LISTS, reason="SQUID_IMHELPER_SAMPLES names no folder with lists")


def format_of(lines: Sequence[str]) -> str:
    """What a list is written in, by its first lines."""
    marks = (("dnsmasq", "address=/"), ("hosts", "0.0.0.0 "), ("adblock", "||"))
    return next((name for name, mark in marks if any(line.startswith(mark) for line in lines)), "domains")


def plain_name(format_name: str, line: str) -> str:
    """The name on a line, as plainly as it can be had."""
    if format_name == "dnsmasq":
        line = line.removeprefix("address=/").removesuffix("/#")
    return line.removeprefix("0.0.0.0 ").strip(".").lower()


OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstd.open}


def lines_of(path: Path) -> Iterator[str]:
    with OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8", errors="surrogateescape") as file:
        yield from (line.rstrip("\n") for line in file)


def first_columns(path: Path, folder: Path) -> Path:
    """A list of names of its own, for a table whose lines go on behind a tab."""
    names = folder / "names"
    with names.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{line.partition(chr(9))[0]}\n" for line in lines_of(path))
    return names


@NEEDS_SAMPLES
@pytest.mark.parametrize("path", SAMPLE_LISTS, ids=range(len(SAMPLE_LISTS)))
def test_every_line_of_a_real_list_is_accounted_for(tmp_path: Path, path: Path) -> None:
    head = [line for _, line in zip(range(LOOKED_AT), lines_of(path), strict=False)]
    if all("\t" in line for line in head):
        path = first_columns(path, tmp_path)
    format_name = format_of(head)
    found = read_list(path, format_name)
    names, lines, silent = set[str](), 0, 0
    for line in lines_of(path):
        lines += 1
        if line.startswith("#") or not line.strip():
            silent += 1
        else:
            names.add(plain_name(format_name, line))
    taken = [value for values in found.entries.values() for value in values]
    left_out = {plain_name(format_name, line.text) for line in found.left_out}
    assert len(taken) + len(found.left_out) + silent == lines
    assert len(taken) > lines * 0.9
    assert set(taken) | left_out == names
    assert set(taken).isdisjoint(left_out)


@NEEDS_SAMPLES
def test_a_real_list_at_work(tmp_path: Path) -> None:
    """Names from it are blocked, and what only begins with them is not."""
    path = min(SAMPLE_LISTS, key=lambda sample: sample.stat().st_size)
    lines = [line for line in lines_of(path) if line and not line.startswith("#")]
    format_name = format_of(lines[:LOOKED_AT])
    names = [plain_name(format_name, line) for line in lines[:10_000:100]]
    assert all(decide(tmp_path, format_name, path, [f"http://{name}/" for name in names]))
    assert not any(decide(tmp_path, format_name, path, [f"http://{name}.not-listed.test/" for name in names]))
