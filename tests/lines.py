"""Lines of Squid's for properties: near each other, and near the edges of what a helper may remember of one.

A block is made of few parts, so that they meet again in other company. The bytes of a part are those that Squid writes
with `#`, where a client's own `%` is `%25`; and some that it never writes.
"""

import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

from arbitrary import CATALOGUE
from hypothesis import strategies as st

from squid_imhelper.squid.intercepting import FORWARD_FORMAT, INTERCEPTED_FORMAT
from squid_imhelper.squid.layout import TOKEN
from squid_imhelper.squid.wire import ACL, DEFAULT_EXTRAS, DEFAULT_FORMAT, REWRITE, Interface


class Asking(NamedTuple):
    """How Squid asks: which interface, with which fields, and whether with channel-IDs and of intercepted traffic."""

    interface: Interface
    fields: str
    channels: bool = True
    intercepted: bool = False


ASKINGS = {
    "default": Asking(ACL, DEFAULT_FORMAT),
    "no channels": Asking(ACL, DEFAULT_FORMAT, channels=False),
    "users": Asking(ACL, f"{DEFAULT_FORMAT} %#un"),
    "forward": Asking(ACL, FORWARD_FORMAT),
    "intercepted": Asking(ACL, INTERCEPTED_FORMAT, intercepted=True),
    "names in front": Asking(ACL, "%#ssl::>sni %>la %>ru %>lp", channels=False, intercepted=True),
    "URLs as they are": Asking(ACL, "%>a %>rm %>ru %{User-Agent}>h"),
    "method behind": Asking(ACL, "%#>ru %>rm %>a %un", channels=False),
    "URLs only": Asking(ACL, "%#>ru", channels=False),
    "arguments said": Asking(ACL, "%>a %>rm %#>ru %#ssl::>sni %#DATA"),
    "arguments in the middle": Asking(ACL, "%>a %DATA %>rm %#>ru"),
    "composite words": Asking(ACL, "ip=%>a %>rm/%un %#>ru ua=%#{User-Agent}>h"),
    "a composite URL": Asking(ACL, "%>a %>rm url=%#>ru"),
    "quoted": Asking(ACL, '%>a %>rm %#>ru %"{User-Agent}>h'),
    "like a shell": Asking(ACL, "%>a %>rm %#>ru %/{User-Agent}>h %#{Content-Type}>h"),
    "parts": Asking(ACL, "%>a %>rm %>rs %>rd %>rP %>rp"),
    "rewriter": Asking(REWRITE, DEFAULT_EXTRAS),
    "other extras": Asking(REWRITE, "%>a %>rm %#un %#{User-Agent}>h", channels=False),
    "extras with names": Asking(REWRITE, "%>a %#ssl::>sni %>la %>lp", intercepted=True),
    "extras with the destination": Asking(REWRITE, "%>a %>rm %>la %>lp", intercepted=True),
    "extras with a URL": Asking(REWRITE, "%>a %>ru"),
    "a host beside the URL": Asking(ACL, "%>a %>rm %>rd %#>ru %>rp"),
    "one extra": Asking(REWRITE, "%>rm"),
    "extras with arguments": Asking(REWRITE, "%>a %DATA", channels=False),
}


def encoded(*values: str) -> tuple[bytes, ...]:
    return tuple(value.encode() for value in values)


# ---- where to -------------------------------------------------------------------------------------------------------

HOSTS = (
    "example.org", "www.example.org", "example.com", "a-b.example.com", "a_b.example.com", "-a.example.com",
    "nobody.test", "web.whatsapp.com", "whatsapp.com", "slack.com", "sub.slack.com", "notslack.com", "facebook.com",
    "www.facebook.com", "mail.google.com", "web.telegram.org", "http.proxy.icq.com", "blocked.invalid",
    "probe.invalid", "x.probe.invalid", "149.154.167.99", "2509940579", "0x959aa763", "149.154.42851", "203.0.113.9",
    "203.0.113.300", "1.2.3", "host", "server1", "server.9", "xn--whtsapp-4qa.com", "xn--a.web.whatsapp.com",
    "%25E2%2584%25AAakao.com", "w%C3%A4b.test", "%5B2001:67c:4e8::1%5D", "%5B::ffff:149.154.167.99%5D", "%5B::1%5D",
    "%5Bfd00::9%5D", "2001:67c:4e8::1", f"{'a' * 300}.slack.com", f"{'a.' * 200}example.com", "a..slack.com",
    "..slack.com", ".", "", "slack.com.", "SLACK.com..", "chat7.test", "x.chat", "c.7",
)  # fmt: skip
PORTS = ("", "", "", ":80", ":443", ":8443", ":5190", ":8448", ":0", ":99999", ":", ":x", ":080", ":443:443")
SCHEMES = ("http", "http", "http", "https", "HTTP", "Https", "ftp", "ws", "gopher", "")
ODD_TUNNELS = (
    "a/.slack.com:443", "host", ":443", "a:443/.x", "a:443/.slack.com", "://slack.com:443", "u@slack.com:443",
    "slack.com", "1:2:3:4:5:6:7:8", "2001:67c:4e8::1:443", "-", "http:80", "https:", "slack.com:443/",
    "a?b.slack.com:443", "%2e:443",
)  # fmt: skip


def spelt_otherwise(host: bytes) -> list[bytes]:
    """The spellings of a host, itself first and most often."""
    first = b"%02X" % host[0] if host else b""
    return [
        *[host] * 4,
        host.upper(),
        host.title(),
        host + b".",
        host + b"..",
        b"%25" + first + host[1:],
        b"%" + first + host[1:],
        b"u:p@" + host,
        b"www." + host,
        b"a%5C." + host,
    ]


def place(chooser: Random) -> bytes:
    """Scheme and authority of a URL, or a tunnel."""
    host = chooser.choice(spelt_otherwise(chooser.choice(HOSTS).encode())) + chooser.choice(PORTS).encode()
    if chooser.random() < 0.6:
        return chooser.choice(SCHEMES).encode() + b"://" + host
    return host if chooser.random() < 0.8 else chooser.choice(ODD_TUNNELS).encode()


PATTERNS = sorted({s.url.path for service in CATALOGUE.services.values() for s in service.signatures if s.url})
QUERIES = (
    "", "?", "?Action=open", "?action=open", "?SessionID=1.2&x", "?sid=" + "0af9" * 8,
    "?sid=" + "0af9" * 8 + "&seq=7", "#", "?aimsid=", "#?Action=open", "?x=%09&Action=poll", "?a=chat7", "?a=%63hat7",
    "?a=%2563hat7", "?a=cha%09t7", "?%3Fchat7", "?/../chat7", "?a'b<c>chat7",
)  # fmt: skip
PATH_EDGES = (
    "", "/", "//", "/a", "/aaaaa", "/aaaaaa", "/aaaaaaa", "/x", "/x/y", "/chat", "/chat/", "/chat7", "/CHAT7",
    "/cha%74x", "/c%68at7", "/messages", "/messages/", "/messagesx", "/?x", "?x", "#x", "/a b", "/%20", "/%", "/%zz",
    "/%00", "/%ff", "/\\", "\\gateway\\gateway.dll", "/abcdef7", "/7", "/a/7", "/a.7",
)  # fmt: skip


def paths_around(path: bytes) -> list[bytes]:
    """Ways to write a path, ways to come to it, and what is nearly it."""
    first, rest = path[1:2], path[2:]
    return [
        *[path] * 4,
        path.upper(),
        path.swapcase(),
        b"/" + path,
        b"/%%25%02X%b" % (first[0], rest),
        b"/%%%02X%b" % (first[0], rest),
        b"/." + path,
        b"/a/.." + path,
        b"/aaaaaa/.." + path,
        b"/aaaaaaa/.." + path,
        b"/aaaaa/.." + path,
        b"/aaaaaaa/%2e%2e" + path,
        b"/aaaaaaa/.%2E" + path,
        b"/aaaaaaa/%252e%252E" + path,
        b"/aaaaaaa/.%252e" + path,
        b"/aaaaaaa/.%09." + path,
        b"/x/%09..%0A" + path,
        b"/aaaaaaa%0D/.%0D." + path,
        b"/aaaaaaa%5C..%5C" + path,
        b"/aaaaaaa\\..\\" + path,
        b"/aaaaaaa/..;" + path,
        b"/aaaaaaa/.." + b"/.." * 3 + path,
        b"/aaaaaaa" + path,
        path + b"/",
        path + b"x",
        path + b"/x",
        path + b"/../x",
        path[:-1],
        path[:6],
        path[:7],
        path[:8],
    ]


def end_of_url(chooser: Random) -> bytes:
    """Path and query."""
    path = chooser.choice(PATH_EDGES).encode()
    if chooser.random() < 0.7:
        known = chooser.choice((*PATTERNS, *("/gateway/gateway.dll", "/data", "/monitor", "/x", "/x/y") * 5))
        path = chooser.choice(paths_around(known.encode()))
    return path + chooser.choice(("", *QUERIES)).encode()


# ---- who, and with what ---------------------------------------------------------------------------------------------

AGENTS = (
    "-", "-", "Mozilla/5.0%20(X11)", "Mozilla/5.0%20(MSIE%206.0)", "MSMSGS", "%4DSMSGS", "x%20Slack/4",
    "Slackbot%20Slack/1", "Telegram/1", "%ff%00", "\u00e4", '"a b"', "MSN%20Messenger", "probe.invalid",
)  # fmt: skip
NAMES = (
    "-", "-", "-", "web.whatsapp.com", "www.example.org", "WWW.example.com.", "nobody.test", "y.com",
    "149.154.167.99", "203.0.113.9", "server1", "facebook.com", "probe.invalid", "%70robe.invalid", "PROBE.INVALID.",
    "blocked.invalid", "a%20b",
)  # fmt: skip
FIELDS: Mapping[str, tuple[bytes, ...]] = {
    "client": encoded("192.0.2.1", "192.0.2.200", "2001:db8::1", "2001:DB8:0::1", "::ffff:192.0.2.1", "-", "x", "::"),
    "user": encoded("-", "-", "ann", "bob", "e%22ve", "an%6e", 'e"ve', "%ff"),
    "user_agent": encoded(*AGENTS),
    "content_type": encoded(
        "-", "-", "text/html", "application/x-icq", "APPLICATION/x-icq;%20a", "text/x-msnmsgr", "%"
    ),
    "sni": encoded(*NAMES),
    "destination": encoded("-", "203.0.113.9", "149.154.167.99", "2001:67c:4e8::1", "::ffff:149.154.167.99", "x"),
    "destination_port": encoded("-", "443", "5190", "8448", "x", "0443"),
    "arguments": encoded(
        "-", "-", "-", "", "whatsapp", "all -whatsapp", "no-such", "@im", "-  ", "whats%2561pp", "- -"
    ),
    "method": encoded("", "", "", "", "", "GET", "POST", "CONNECT", "-", "get"),
}
"""An empty method is the one that goes with the target."""

_FIELD_OF = {
    ">a": "client", "un": "user", ">rm": "method", "ssl::>sni": "sni", ">la": "destination", ">lp": "destination_port",
}  # fmt: skip


class Part(NamedTuple):
    """A target, path and query put on."""

    text: bytes
    tunnel: bool


def written(asking: Asking, channel: bytes, parts: Mapping[str, bytes], target: Part) -> bytes:
    """A line as Squid writes it, if Squid writes such parts."""
    usual = b"CONNECT" if target.tunnel else b"GET"

    def value(token: re.Match[str]) -> str:
        code, header = token["code"], (token["before"] or token["after"] or "").strip("{}").lower()
        field = {"user-agent": "user_agent", "content-type": "content_type"}.get(header) or _FIELD_OF.get(code, "")
        found = parts.get(field, b"-")
        if code == ">ru":
            found = target.text
        elif field == "method" and not found:
            found = usual
        return found.decode("latin-1")

    words = [
        parts["arguments"].decode("latin-1") if word.endswith("DATA") else TOKEN.sub(value, word)
        for word in asking.fields.split()
    ]
    if asking.interface is REWRITE:
        words.insert(0, target.text.decode("latin-1"))
    elif "DATA" not in asking.fields:
        words.append(parts["arguments"].decode("latin-1"))
    line = " ".join(words).encode("latin-1")
    return channel + b" " + line if asking.channels else line


Change = Callable[[bytes, int], bytes]
CHANGES: tuple[Change, ...] = (
    lambda line, at: b" " * (at % 3 + 1) + line,
    lambda line, at: line + b" " * (at % 3 + 1),
    lambda line, at: line + b"\r",
    lambda line, at: line + b" \r",
    lambda line, at: line.replace(b" ", b"  ", at % 4 + 1),
    lambda line, at: line.replace(b" ", b"\t", at % 4 + 1),
    lambda line, at: line.rpartition(b" ")[0],
    lambda line, at: line.rpartition(b" ")[0].rpartition(b" ")[0],
    lambda line, at: line + b" surplus",
    lambda line, at: line[: at % (len(line) + 1)],
    lambda line, at: b"",
    lambda line, at: line[: at % (len(line) + 1)] + bytes([at % 256]) + line[at % (len(line) + 1) :],
    lambda line, at: line[: at % (len(line) + 1)] + b" " + line[at % (len(line) + 1) :],
    lambda line, at: line.replace(b"GET", b"GET%20"),
    lambda line, at: line.partition(b" ")[2],
    lambda line, at: line + b"x" * 600,
    lambda line, at: line.replace(b"/", b"/" + b"y" * 600, 1),
)
CHANNELS = (b"0", b"7", b"%d" % (2**64 - 1)) * 3 + (b"1" * 21, b"1" * 100, b"1" * 101, b"", b" 7", b"7 ", b"x")


def some(make: Callable[[Random], object], chooser: Random) -> list[Any]:
    return [make(chooser) for _ in range(chooser.randint(1, 4))]


def lines_of(asking: Asking, chooser: Random, most: int = 30) -> list[bytes]:
    """Returns lines without their LF."""
    company = some(lambda chooser: {field: chooser.choice(values) for field, values in FIELDS.items()}, chooser)
    company += [{**company[0], field: chooser.choice(FIELDS[field])} for field in chooser.sample(list(FIELDS), 2)]
    places, ends = some(place, chooser), [b"/aaaaaaa", *some(end_of_url, chooser)]
    lines = []
    for _ in range(chooser.randint(1, most)):
        target = chooser.choice(places)
        tunnel = b"://" not in target
        if not tunnel or chooser.random() < 0.05:
            target += chooser.choice(ends)
        channel = chooser.choice(CHANNELS) if asking.channels else b""
        line = written(asking, channel, chooser.choice(company), Part(target, tunnel))
        if chooser.random() < 0.1:
            line = chooser.choice(CHANGES)(line, chooser.randrange(10_000))
        lines.append(line.replace(b"\n", b"\r"))
    return lines


def blocks(asking: Asking) -> st.SearchStrategy[list[bytes]]:
    """Blocks of lines: drawn as one number, so that there are many of them."""
    return st.randoms(use_true_random=True).map(lambda chooser: lines_of(asking, chooser))
