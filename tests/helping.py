"""Helpers with an engine of the tests' own, and lines of which the answer is known."""

from dataclasses import dataclass

from squid_imhelper.helper.answering import Helper, Options
from squid_imhelper.helper.counters import Counters
from squid_imhelper.helper.notices import Notices
from squid_imhelper.matching.engine import Engine
from squid_imhelper.squid.layout import parse_extras, parse_format
from squid_imhelper.squid.wire import ACL, DEFAULT_EXTRAS, DEFAULT_FORMAT, REWRITE

LAYOUTS = {"acl": parse_format(DEFAULT_FORMAT), "rewrite": parse_extras(DEFAULT_EXTRAS)}
INTERFACES = {"acl": ACL, "rewrite": REWRITE}

BLOCKED = {
    "acl": b"10.0.0.1 GET http://web.whatsapp.com/ - - -",
    "rewrite": b"http://web.whatsapp.com/ 10.0.0.1/- - GET myip=- myport=-",
}
ALLOWED = {
    "acl": b"10.0.0.1 GET http://example.org/ - - -",
    "rewrite": b"http://example.org/ 10.0.0.1/- - GET myip=- myport=-",
}
REDIRECT = b'OK status=302 url="http://blocked.invalid/?service=%s&rule=%s&url=%s"'
YES = {
    "acl": b"OK tag=whatsapp log=built-in message=WhatsApp%20is%20blocked%20here",
    "rewrite": REDIRECT % (b"whatsapp", b"built-in", b"http%3A%2F%2Fweb.whatsapp.com%2F")
    + b" tag=whatsapp log=built-in",
}
UNKNOWN_YES = {"acl": b"OK", "rewrite": REDIRECT % (b"-", b"-", b"-")}


@dataclass
class Fixed:
    """An engine that somebody else puts there."""

    engine: Engine | None


def block_of(*lines: bytes) -> bytes:
    """Lines as they come from Squid, each with its LF."""
    return b"".join(line + b"\n" for line in lines)


def make_helper(
    command: str,
    engine: Engine | None,
    notices: Notices | None = None,
    counters: Counters | None = None,
    audit: "ListSink | None" = None,
    **options: object,
) -> Helper:
    return Helper(
        INTERFACES[command],
        Fixed(engine),
        Options(LAYOUTS[command], **options),  # type: ignore[arg-type]
        notices or Notices("test"),
        counters or Counters(),
        audit,
    )


class ListSink:
    """Keeps what is written to an audit log, and loses as much of it as it is told to."""

    def __init__(self, loses: int = 0) -> None:
        self.lines: list[str] = []
        self._loses = loses

    def write(self, lines: list[str]) -> int:
        self.lines += lines
        return self._loses

    def reopen(self) -> None:
        raise AssertionError("this is not asked for between two batches")


class QuietNotices(Notices):
    """Notices that nobody reads."""

    def __init__(self) -> None:
        super().__init__("test")

    def say(self, text: str) -> None:
        pass
