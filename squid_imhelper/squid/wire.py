"""Squid's helper protocol, without I/O: bytes in, queries out; decisions in, bytes out.

What Squid sends (external_acl.cc, redirect.cc) and what becomes of it here:

    [channel-ID SP] field SP field ... SP %DATA LF      an external ACL; the fields are those of its FORMAT
    [channel-ID SP] URL SP extra SP extra ... LF        a URL rewriter; the extras are those of url_rewrite_extras

and what goes back (helper/Reply.cc): `[channel-ID SP] OK|ERR [SP key=value ...] LF`.

Rules that keep Squid alive:

1. One line in, one line out, always; never `BH`, which Squid asks again and then takes as 403 (ACL) or lets through
   (rewriter).
2. Where channel-IDs are expected, a line without one gets no answer: any answer would abort Squid (an assert in
   helper.cc, helperHandleRead). Whether they are expected is said by configuration and never guessed.
3. A channel-ID is opaque and goes back byte by byte.
4. Values are percent-encoded down to [A-Za-z0-9._-], since Squid decodes `%0d%0a` to a real CR LF and ends the list of
   keys at the first word that is none. Only `url=` and `rewrite-url=` are quoted instead: a decoded URL is another URL.
5. A reply stays below 4 KB: a long value kills Squid (String.cc, 64 KB), and no log line is the better for one.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from squid_imhelper.base.errors import ProtocolError
from squid_imhelper.base.model import Decision, Request, Response, names_of
from squid_imhelper.base.templates import encode_html, expand, placeholders
from squid_imhelper.base.urls import (
    NOWHERE,
    Target,
    UrlError,
    normalise_address,
    normalise_host,
    parse_connect,
    parse_squid_url,
    target_from_parts,
    to_text,
    unquote,
)
from squid_imhelper.squid.layout import (
    ABSENT,
    Field,
    Fields,
    Layout,
    parse_extras,
    parse_format,
    read_fields,
    split_words,
)

DEFAULT_FORMAT: Final = "%>a %>rm %#>ru %#{User-Agent}>h %#{Content-Type}>h"
DEFAULT_EXTRAS: Final = "%>a/%>A %un %>rm myip=%la myport=%lp"
"""What Squid sends to a rewriter when url_rewrite_extras is not set (cf.data.pre, url_rewrite_extras)."""

MAX_LINE: Final = 1 << 20
"""Bytes of a line that are kept. Squid sets no limit for an ACL's line; 650 KB have been seen from it."""
MAX_REPLY: Final = 4000
"""Bytes of a reply with its channel-ID and LF."""

_CHANNEL: Final = re.compile(rb"[ \t]*([0-9]{1,100})(?:[ \t]+|$)")
"""Squid counts in 64 bits, so that twenty digits are the most that it sends."""


# ---- lines ----------------------------------------------------------------------------------------------------------


class LineBuffer:
    """Puts what was read together to whole lines.

    Of a line longer than MAX_LINE the beginning comes out, and the rest of it up to its LF is dropped: it is answered,
    and the next line is a line again.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Returns the lines that are complete now, each with its LF."""
        if not self._size and data.endswith(b"\n") and len(data) <= MAX_LINE:  # as Squid nearly always sends them
            return data
        head, newline, rest = data.partition(b"\n")
        self._keep(head)
        if not newline:
            return b""
        first = self.rest()
        block, newline, rest = rest.rpartition(b"\n")
        self._keep(rest)
        if len(block) > MAX_LINE:
            block = b"\n".join(line[:MAX_LINE] for line in block.split(b"\n"))
        return b"%b\n%b%b" % (first, block, newline)

    def rest(self) -> bytes:
        """Returns what stands behind the last LF: at the end of input, a line cut off."""
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return line

    def _keep(self, data: bytes) -> None:
        if data and self._size < MAX_LINE:
            self._pieces.append(data[: MAX_LINE - self._size])
            self._size += len(self._pieces[-1])


def split_channel(line: bytes, *, expected: bool) -> tuple[bytes, bytes] | None:
    """Returns channel-ID and the rest of a line; None where an ID is expected and there is none."""
    if not expected:
        return b"", line
    found = _CHANNEL.match(line)
    return (found[1], line[found.end() :]) if found else None


# ---- queries --------------------------------------------------------------------------------------------------------


class Query(NamedTuple):
    """One line from Squid: what is asked, the URL as it was asked for, and the arguments of the ACL."""

    request: Request
    asked: str
    arguments: tuple[str, ...] = ()


def decode_acl(line: bytes, layout: Layout, intercepted: bool = False) -> Query:
    """Reads a line of an external ACL, without its channel-ID.

    Raises:
        ProtocolError: the line does not fit the FORMAT, or no host can be found in it.
    """
    words = split_words(line.strip(b" \r\n"), layout)
    count, given = len(layout.words), len(words)
    if given < count:
        raise ProtocolError(f"a line of {given} fields, where --format has {count}: {layout.text}")
    behind = count - layout.data
    data = words[layout.data : given - behind]
    fields = read_fields(words[: layout.data] + words[given - behind :], layout)
    request, asked = build_request(fields, intercepted=intercepted)
    arguments = b" ".join(data)
    if arguments in (b"", ABSENT):
        return Query(request, asked)
    # %#DATA escapes the blanks between the arguments and their own escapes once more; a name holds neither.
    names = unquote(unquote(arguments)).decode("utf-8", "replace").split()
    return Query(request, asked, tuple(names))


def decode_rewrite(line: bytes, layout: Layout, intercepted: bool = False) -> Query:
    """Reads a line of a URL rewriter, without its channel-ID. The URL may hold blanks (uri_whitespace allow).

    Raises:
        ProtocolError: the line does not fit the extras, or no host can be found in it.
    """
    words = line.strip(b" \r\n").split(b" ")
    count = len(layout.words)
    if len(words) <= count:
        raise ProtocolError(f"a line of {len(words)} words, where a URL and --extras have {count + 1}: {layout.text}")
    fields = read_fields(words[len(words) - count :], layout)
    fields["url"] = b"%20".join(words[: len(words) - count])
    request, asked = build_request(fields, intercepted=intercepted)
    return Query(request, asked)


def build_request(fields: Fields, *, intercepted: bool = False) -> tuple[Request, str]:
    """Builds a request from decoded fields.

    Returns:
        The request, and the URL as it was asked for (ASCII).

    Raises:
        ProtocolError: a field cannot be what it should be, or there is no host in the URL.
    """
    method = _text(fields.get("method"))
    target, asked = _read_target(fields, method)
    sni = normalise_host(_text(fields["sni"]) or "") if "sni" in fields else ""
    destination = _read_address(fields, "destination") if intercepted else None
    return (
        Request(
            target=target,
            names=names_of(target, sni, destination),
            method=method,
            client=_read_address(fields, "client"),
            user=_text(fields.get("user")),
            user_agent=_text(fields.get("user_agent")),
            content_type=_text(fields.get("content_type")),
            destination_port=_read_port(fields, "destination_port") if intercepted else None,
        ),
        asked,
    )


def _read_target(fields: Fields, method: str | None) -> tuple[Target, str]:
    url, host = fields.get("url"), fields.get("host")
    if url is not None:
        text = to_text(url)
        # Squid writes a scheme for everything but CONNECT, which it writes as host:port, or ://host:port at step 1.
        connect = method == "CONNECT" or "://" not in text or text.startswith("://")
        try:
            return (parse_connect(text) if connect else parse_squid_url(text)), text
        except UrlError as error:
            raise ProtocolError(str(error)) from None
    if host is None:
        return NOWHERE, "-"
    path = fields.get("path")
    target = target_from_parts(
        scheme=_text(fields.get("scheme")),
        host=to_text(host),
        port=_read_port(fields, "port"),
        path=to_text(path) if path is not None and method != "CONNECT" else None,
    )
    return target, target.url


def _read_address(fields: Fields, field: Field) -> str | None:
    text = _text(fields.get(field))
    if text is None:
        return None
    address = normalise_address(text)
    if address is None:
        raise ProtocolError(f"{field} {text[:60]!r} is no IP address")
    return address


def _read_port(fields: Fields, field: Field) -> int | None:
    text = fields.get(field, b"")
    return int(text) if text.isdigit() and len(text) < 10 else None


def _text(value: bytes | None) -> str | None:
    """Headers have no declared encoding (RFC 9110, 5.5): bytes that are no UTF-8 are kept as they are."""
    return None if value is None else value.decode("utf-8", "surrogateescape")


# ---- replies --------------------------------------------------------------------------------------------------------

_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._-]")
Pair = tuple[str, str]


def encode_value(text: str) -> str:
    """Percent-encodes every byte outside [A-Za-z0-9._-]."""
    raw = text.encode("utf-8", "surrogateescape")
    return _UNSAFE.sub(lambda m: b"%%%02X" % m[0][0], raw).decode("ascii")


def encode_quoted(text: str) -> str:
    r"""Quotes a URL for url= and rewrite-url=: within quotes Squid undoes `\"` and `\\` and no percent-encoding."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def reply(channel: bytes, word: Literal["OK", "ERR"], pairs: tuple[Pair, ...] = ()) -> bytes:
    """Builds one line; the values of the pairs are encoded already."""
    text = " ".join((word, *(f"{key}={value}" for key, value in pairs)))
    prefix = channel + b" " if channel else b""
    return prefix + text.encode("ascii") + b"\n"


def template_values(decision: Decision, query: Query, service_name: str, now: float) -> dict[str, str]:
    """What can stand in a message or a redirect; the time as the machine's clock shows it."""
    host = query.request.target.host
    return {
        "service": decision.service or "",
        "service_name": service_name or host,
        "rule": decision.rule or "",
        "client": query.request.client or "",
        "url": query.asked,
        "host": host,
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now)),
    }


def fitting(build: Callable[[int], bytes]) -> bytes:
    """Returns the longest line below MAX_REPLY that `build` makes when it keeps so many characters of each value."""
    for keep in (2048, 1024, 512, 256, 128, 64):
        line = build(keep)
        if len(line) <= MAX_REPLY:
            return line
    return build(0)


class Answer(NamedTuple):
    """What goes into a reply: the decision, what can stand in its texts, and how this policy answers what."""

    decision: Decision
    values: Mapping[str, str]
    response: Response
    connect: bool = False
    dry_run: bool = False

    @property
    def stops(self) -> bool:
        """Whether the request is really blocked."""
        return self.decision.action == "block" and not self.dry_run

    @property
    def notes(self) -> tuple[Pair, ...]:
        """What Squid's log shows: `tag=` (%et) and `log=` (%ea); those of a rewriter as %{tag}note and %{log}note."""
        if self.decision.action == "allow":
            return ()
        named = (("tag", self.decision.service), ("log", self.decision.rule))
        return tuple((key, encode_value(value)) for key, value in named if value)


def values_in_acl(answer: Answer) -> frozenset[str]:
    """Returns the names of the values that the answer of an external ACL shows besides service and rule."""
    return placeholders(answer.decision.message) if answer.stops else frozenset()


def encode_acl(channel: bytes, answer: Answer) -> bytes:
    """The answer of an external ACL: OK is "yes, a messenger that is blocked"."""
    if not answer.stops:
        return reply(channel, "ERR", answer.notes)

    def build(keep: int) -> bytes:
        message = expand(encode_html(answer.decision.message), _shortened(answer.values, keep), encode_html)
        text = (("message", encode_value(message)),) if message else ()
        return reply(channel, "OK", (*answer.notes, *text))

    return fitting(build)


def values_in_rewrite(answer: Answer) -> frozenset[str]:
    """Returns the names of the values that the answer of a URL rewriter shows besides service and rule."""
    if not answer.stops or (answer.connect and answer.response.connect):
        return frozenset()
    return placeholders(answer.decision.redirect or answer.response.redirect)


def encode_rewrite(channel: bytes, answer: Answer) -> bytes:
    """The answer of a URL rewriter: OK is "go there instead"."""
    if not answer.stops:
        return reply(channel, "ERR", answer.notes)
    response = answer.response
    if answer.connect and response.connect:
        return reply(channel, "OK", (("rewrite-url", encode_quoted(response.connect)), *answer.notes))

    def build(keep: int) -> bytes:
        url = expand(answer.decision.redirect or response.redirect, _shortened(answer.values, keep), encode_parameter)
        return reply(channel, "OK", (("status", "302"), ("url", encode_quoted(url)), *answer.notes))

    return fitting(build)


def _shortened(values: Mapping[str, str], keep: int) -> dict[str, str]:
    return {key: value[:keep] for key, value in values.items()}


def encode_parameter(text: str) -> str:
    """Encodes a value for the query of a URL."""
    from urllib.parse import quote

    return quote(text.encode("utf-8", "surrogateescape"), safe="")


# ---- the two interfaces ---------------------------------------------------------------------------------------------


class Interface(NamedTuple):
    """One of the two ways in which Squid asks: how its lines are laid out, read and answered.

    `values_in` tells which values of the request an answer shows.
    """

    default_layout: str
    parse_layout: Callable[[str], Layout]
    decode: Callable[[bytes, Layout, bool], Query]
    encode: Callable[[bytes, Answer], bytes]
    values_in: Callable[[Answer], frozenset[str]]


ACL: Final = Interface(DEFAULT_FORMAT, parse_format, decode_acl, encode_acl, values_in_acl)
REWRITE: Final = Interface(DEFAULT_EXTRAS, parse_extras, decode_rewrite, encode_rewrite, values_in_rewrite)
