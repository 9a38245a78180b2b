"""Request targets: from what a client, a log or Squid wrote to one spelling of host, port, path and query.

The URL standard (https://url.spec.whatwg.org/) says what a browser would make of a URL, and can-ada does what it says:
case, userinfo, percent-encoded and internationalised hosts, numbers as addresses, backslashes, dot segments. Four
things come on top, because a filter asks "where does this go?" and not "is this well-formed?":

1. All trailing dots of a host go, and an IPv4 address inside an IPv6 one comes out: `[::ffff:1.2.3.4]` is `1.2.3.4`.
2. A host that the standard refuses may still pass through Squid (`xn--a.web.whatsapp.com`). It is cleaned label by
   label, so that a suffix of it is still found; it is never let through for being odd.
3. In a path, escapes of unreserved characters are undone once and empty segments collapse: `//%61` is `/a`.
4. What is not ASCII is held percent-encoded, byte by byte, whatever its encoding was.

Everything here is idempotent: what has been normalised stays as it is when it is normalised again.
"""

import re
from typing import Final, NamedTuple

import can_ada

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.memo import memoised

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}
CONNECT_PORT: Final = 443

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*):(//|[/\\]+)")
_NON_ASCII: Final = re.compile(rb"[\x80-\xff]")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_BLANKS: Final = "".join(map(chr, range(0x21))) + "\x7f"
_UNRESERVED: Final = re.compile(r"%(?:2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])")
_DIGITS: Final = re.compile(r"[0-9]{1,9}(?![0-9])")
_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_EMPTY_SEGMENTS: Final = re.compile(r"//+")
_NOT_IN_A_LABEL: Final = re.compile(r"[^a-z0-9_.!$&'()*+,;=~-]")
_HOST_END: Final = re.compile(r"[/\\?#@:]")
_BRACKETS: Final = re.compile(r"%5([bBdD])")
_MAX_PORT: Final = 65535
_ROUNDS: Final = 8
"""Looks at a host until it settles; nearly all do at the first."""
_LONGEST_NAME: Final = 1024
"""Characters of a host that are looked at. DNS has 253; one that is not ASCII may have four times as many, escaped."""


class UrlError(ImhelperError):
    """The text has no host in it."""


class Target(NamedTuple):
    """What a request points at.

    `host` is an A-label, lower case, or an address (IPv6 without brackets); "" where it is not known.
    `path` is None where it is unknown, as in CONNECT; `scheme` is "" there. `port` is None where none can be told.
    """

    scheme: str
    host: str
    port: int | None
    path: str | None
    query: str

    @property
    def authority(self) -> str:
        """`host`, or `host:port` where the port is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        plain = self.port is None or self.port == DEFAULT_PORTS.get(self.scheme)
        return host if plain else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The normalised URL; `host:port` for CONNECT."""
        if self.path is None:
            return self.authority
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{self.path}{query}"


NOWHERE: Final = Target("", "", None, None, "")


def to_text(raw: bytes) -> str:
    """Returns `raw` as ASCII text, every other byte percent-encoded: to the URL standard that is the same URL."""
    if not raw.isascii():
        raw = _NON_ASCII.sub(lambda m: b"%%%02X" % m[0][0], raw)
    return raw.decode("ascii")


def unquote(raw: bytes) -> bytes:
    """Undoes percent-encoding, once; what is no escape stays as it is."""
    return _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()), raw) if b"%" in raw else raw


def parse_url(text: str) -> Target:
    """Reads a URL as people and logs write it; without a scheme it is one of http.

    Raises:
        UrlError: no host can be found in it.
    """
    text = _ascii(text.strip(_BLANKS))
    scheme = _SCHEME.match(text)
    name = scheme[1].lower() if scheme else ""
    if scheme is None or (scheme[2] != "//" and name not in DEFAULT_PORTS):
        return _parse_without_scheme(text)
    if name in DEFAULT_PORTS:
        return _parse_http(f"{name}://{text[scheme.end() :]}")
    if text.startswith("/", scheme.end()):
        raise UrlError(f"no host in {_shown(text)}")
    # The standard leaves hosts of other schemes as they are; Squid resolves them like any other.
    target = _parse_http("http" + text[len(name) :])
    return target._replace(scheme=name, port=None if target.port == DEFAULT_PORTS["http"] else target.port)


def _parse_without_scheme(text: str) -> Target:
    if _as_ipv6(text):
        text = f"[{text.strip('[]')}]"
    authority = re.split(r"[/\\?#]", text, maxsplit=1)[0]
    target = _parse_http(f"http://{text}") if authority and authority[0] != ":" else NOWHERE
    if not target.host or target.port is None or _BLANK.search(authority):
        raise UrlError(f"no host in {_shown(text)}")
    return target


def parse_squid_url(text: str) -> Target:
    """Reads a URL as Squid writes it: to Squid a backslash is a character like any other, and so part of a host's name.

    Raises:
        UrlError: no host can be found in it.
    """
    before, mark, query = text.partition("?")
    return parse_url(before.replace("\\", "%5C") + mark + query)


@memoised
def parse_connect(text: str) -> Target:
    """Reads the target of a CONNECT: `host:port`, `host`, or (ssl_bump step 1 of Squid) `://host:port`.

    All that stands before the last colon is the host to Squid, whatever it is: `a/.example.com` is a sub-domain of
    `example.com`.

    Raises:
        UrlError: no host can be found in it.
    """
    text = _ascii(text.strip(_BLANKS))
    host, port = _split_authority(text.removeprefix("://").rpartition("@")[2], CONNECT_PORT)
    name = normalise_host(host)
    if not name:
        raise UrlError(f"no host in {_shown(text)}")
    return Target("", name, port, None, "")


def target_from_parts(scheme: str | None, host: str, port: int | None, path: str | None) -> Target:
    """Builds a target from the parts that Squid can send one by one; what it does not send stays unknown."""
    name = normalise_host(host)
    if path is None:
        return Target("", name, port, None, "")
    scheme = scheme or ("https" if port == CONNECT_PORT else "http")
    pathname, query = _parse_path(path)
    return Target(scheme, name, port if port is not None else DEFAULT_PORTS.get(scheme), pathname, query)


def _parse_http(text: str) -> Target:
    try:
        url = can_ada.parse(text)
    except ValueError:
        return _parse_loosely(text)
    scheme = url.protocol[:-1]
    port = int(url.port) if url.port else DEFAULT_PORTS[scheme]
    host = normalise_host(url.hostname)
    if not host:
        raise UrlError(f"no host in {_shown(text)}")
    return Target(scheme, host, port, normalise_path(url.pathname), url.search[1:])


def _parse_loosely(text: str) -> Target:
    """Reads a URL that the standard refuses: Squid may not."""
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    end = re.search(r"[/\\?#]", rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    host, port = _split_authority(authority.rpartition("@")[2], DEFAULT_PORTS[scheme])
    name = normalise_host(host)
    if not name:
        raise UrlError(f"no host in {_shown(text)}")
    pathname, query = _parse_path(tail)
    return Target(scheme, name, port, pathname, query)


def _split_authority(authority: str, default_port: int) -> tuple[str, int | None]:
    """Returns host and port; None for a port that is none. A colon with a dot behind it is part of the host."""
    authority = _BRACKETS.sub(lambda m: "[" if m[1] in "bB" else "]", authority)
    if _as_ipv6(authority):
        return authority, default_port
    host, colon, port = authority.rpartition(":")
    if not colon or "." in port or "]" in port:
        return authority, default_port
    if not port:
        return host, default_port
    digits = _DIGITS.match(port)
    return host, int(digits[0]) if digits and int(digits[0]) <= _MAX_PORT else None


def _parse_path(tail: str) -> tuple[str, str]:
    tail = _ascii(tail)
    url = can_ada.parse(f"http://host{tail}" if tail[:1] in ("/", "?", "#", "\\") else f"http://host/{tail}")
    return normalise_path(url.pathname), url.search[1:]


def normalise_path(path: str) -> str:
    """Returns a path, as the standard leaves it, with unreserved escapes undone once and empty segments collapsed."""
    if "%" in path:
        path = _BARE_PERCENT.sub("%25", path)  # or undoing what is behind it would make an escape of it
        path = _UNRESERVED.sub(lambda m: chr(int(m[0][1:], 16)), path)
    return _EMPTY_SEGMENTS.sub("/", path) if "//" in path else path


@memoised
def normalise_host(name: str) -> str:
    """Returns the one spelling of a host name or address; anything is accepted, an SNI may hold anything.

    The result is ASCII without blanks, without trailing dots, IPv6 without brackets; "" for a name of nothing but dots.
    """
    for _ in range(_ROUNDS):
        settled = _normalise_once(name)
        if settled == name:
            break
        name = settled
    return name


def _normalise_once(name: str) -> str:
    if address := _as_ipv6(name):
        return address
    name = _last_labels(_ascii(name)).lstrip("[").rstrip("].")
    if not name or _HOST_END.search(name) or _BLANK.search(name):
        return _clean_labels(name)
    try:
        parsed = can_ada.parse(f"http://{name}/").hostname
    except ValueError:
        return _clean_labels(name)
    return _as_ipv6(parsed) or parsed


def _last_labels(name: str) -> str:
    """Returns the end of a name that is longer than any can be, from a label's beginning: an SNI may have 64 KB."""
    if len(name) <= _LONGEST_NAME:
        return name
    end = name[-_LONGEST_NAME:]
    return end.partition(".")[2] or end


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    try:
        return to_text(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return to_text(text.encode("utf-8", "replace"))


def _as_ipv6(name: str) -> str:
    """Returns the shortest spelling of an IPv6 address, of the IPv4 address inside it, or ""."""
    if ":" not in name:
        return ""
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    import ipaddress  # here and below: what few names need, a helper does not wait for when it starts

    try:
        address, _, zone = name.partition("%")
        found = ipaddress.IPv6Address(address if ":" not in zone else name)
    except ValueError:
        return ""
    return str(found.ipv4_mapped or found)


def _clean_labels(name: str) -> str:
    """Cleans a host that the standard refuses, label by label, so that its suffix can still be told."""
    import unicodedata

    text = unquote(name.encode()).decode("utf-8", "surrogateescape")
    text = unicodedata.normalize("NFKC", text).lower().replace("\u3002", ".")
    return ".".join(map(_clean_label, text.lstrip("[").rstrip("].").split(".")))


def _clean_label(label: str) -> str:
    raw = label.encode("utf-8", "surrogateescape")
    if not label.isascii() and not _NOT_IN_A_LABEL.search(label.encode("ascii", "ignore").decode()):
        try:
            return can_ada.parse(f"http://{to_text(raw)}/").hostname
        except ValueError:
            pass
    return _NOT_IN_A_LABEL.sub(lambda m: f"%{ord(m[0]):02X}", raw.decode("latin-1"))


@memoised
def normalise_address(text: str) -> str | None:
    """Returns an IP address in its shortest spelling (IPv4 inside IPv6 comes out), or None where it is none."""
    if ":" in text:
        return _as_ipv6(text) or None
    return None if ipv4_number(text) is None else text


def ipv4_number(text: str) -> int | None:
    """Returns the number of an IPv4 address in its one spelling: four decimals without leading zeros; None for none."""
    parts = text.split(".")
    if len(parts) != 4:
        return None
    number = 0
    for part in parts:
        if not part.isdecimal() or str(octet := int(part[:4])) != part or octet > 255:
            return None
        number = number << 8 | octet
    return number


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
