"""A request as a client makes it, and the line that each program is told about it.

The same request is one line to an external ACL, one to squidGuard and one of an access log: what they say must come
from here, and from nothing that is measured.
"""

import re
from typing import Final, NamedTuple

# rfc1738.c calls these unsafe, and `%#` in a FORMAT escapes the percent sign as well.
_UNSAFE: Final = re.compile(rb"[\x00-\x20\x7f-\xff<>\"#{}|\\^~\[\]`']")
_UNSAFE_OR_PERCENT: Final = re.compile(rb"[\x00-\x20\x7f-\xff<>\"#{}|\\^~\[\]`'%]")


class Asked(NamedTuple):
    """One request. `url` is `host:port` for CONNECT; a header that is not there is empty."""

    client: str
    method: str
    url: str
    agent: str = ""
    content_type: str = ""

    @property
    def place(self) -> str:
        """Where a URL points, with the port if it has one; of CONNECT without."""
        return (
            self.url.rpartition(":")[0] if self.method == "CONNECT" else self.url.partition("://")[2].partition("/")[0]
        )

    @property
    def host(self) -> str:
        """The host as it stands in the URL, without a port; of an address of IPv6 only the bracket."""
        return self.place.partition(":")[0]


def _escaped(text: str, unsafe: re.Pattern[bytes]) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return unsafe.sub(lambda found: b"%%%02X" % found[0][0], raw)


def escape_all(text: str) -> bytes:
    """As `%#` has it: one decoding gives back what there was. A blank or nothing would be no field."""
    return _escaped(text, _UNSAFE_OR_PERCENT) or b"-"


def acl_line(number: int, asked: Asked) -> bytes:
    """What Squid sends for the FORMAT of conf/squid-acl.conf, `%>a %>rm %#>ru %#{User-Agent}>h %#{Content-Type}>h`.

    In front stands the channel-ID, behind it all the `-` of an ACL without arguments.
    """
    return b"%d %s %s %s %s %s -\n" % (
        number,
        asked.client.encode(),
        asked.method.encode(),
        escape_all(asked.url),
        escape_all(asked.agent),
        escape_all(asked.content_type),
    )


def rewriter_line(asked: Asked) -> bytes:
    """What Squid sends to a rewriter without channel-IDs: `URL client/name user method`."""
    return b"%s %s/- - %s\n" % (_escaped(asked.url, _UNSAFE), asked.client.encode(), asked.method.encode())


def log_line(time: float, asked: Asked) -> bytes:
    """A line of an access log in Squid's native format."""
    tag = b"TCP_TUNNEL/200" if asked.method == "CONNECT" else b"TCP_MISS/200"
    return b"%.3f    142 %s %s 4321 %s %s - HIER_DIRECT/192.0.2.1 %s\n" % (
        time,
        asked.client.encode(),
        tag,
        asked.method.encode(),
        _escaped(asked.url, _UNSAFE),
        b"-" if asked.method == "CONNECT" else b"text/html",
    )
