r"""Lines as rows: a batch taken apart in one pass, as far as its lines are of the usual kind.

    7 192.168.1.77 GET http://www.example.com/a/page.html?x=1 Mozilla/5.0%20(...) - -
    | |                |                     |      |         |
    | before           place                 head   rest      after                      and the channel-ID in front

A row is what a line says, unread: nothing is decoded. `place` is scheme and authority of a URL, or the host:port of a
tunnel, without any character that could be escaped; `head` the first HEAD characters of the path, `rest` what follows
of it. A line of any other kind comes out whole, as `odd`, and so the rows of a batch are its lines in their order.

Who wants to know what one part means asks for a probe: a line with this part in its place and nothing else in it,
which is read as any other line is.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from squid_imhelper.squid.layout import ABSENT, TOKEN, Blanks, Field, Layout

HEAD: Final = 7
"""Characters of a path, its slash among them, that stand apart."""

_WORD: Final = rb"[!-~]++ "
_AUTHORITY: Final = rb"[0-9A-Za-z._-]++(?::[0-9]++)?"
_PLACE: Final = rb"((?<!CONNECT )https?://" + _AUTHORITY + rb"|" + _AUTHORITY + rb"(?= ))"
_PATH: Final = rb"(/[!-~]{0,%d}+|(?= ))([!-~]*+)" % (HEAD - 1)

# The URL standard takes an escaped dot for a dot, and leaves out tabs and line ends. Squid's # escapes percent signs,
# which may be the client's, and what no URL should have in it; anything else it would not have escaped.
_TURNING: Final = re.compile(rb"\.\.|%2[eE]")
_ESCAPED_TURNING: Final = re.compile(rb"\.\.|%(?!25(?!2[eE])|2[0237]|3[CE]|5[B-E]|60|7[B-F]|[89A-F][0-9A-F])")

_PLAIN: Final = re.compile(
    r"^(?:(https?)://)?((?:(?!xn--)[a-z0-9_-]+\.)+(?!xn--)[a-z][a-z0-9_-]*)(?(1)(?!:80$|:443$))(?::([1-9][0-9]{0,3}))?$|^.*$",
    re.MULTILINE | re.ASCII,
)
_PORTS: Final = {"": 0, "http": 80, "https": 443}

_OTHER_TARGETS: Final[frozenset[Field]] = frozenset({"host", "port", "path", "scheme"})
Row = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""channel, before, place, head, rest, after; or six empty ones and odd."""


class Probe(NamedTuple):
    """The parts of a line but for its channel-ID and its path, absent where nothing else is said."""

    before: bytes
    after: bytes

    def line(self, before: bytes | None = None, place: bytes = ABSENT, after: bytes | None = None) -> bytes:
        """Returns a line, without a channel-ID."""
        return b"%b%b %b" % (
            self.before if before is None else before,
            place,
            self.after if after is None else after,
        )


class Rows:
    """How the lines of a layout are taken apart."""

    def __init__(self, before: Sequence[str], after: Sequence[str], *, channels: bool, escaped: bool) -> None:
        """Takes the words of the layout before and behind the URL; those behind it with the one of %DATA.

        Args:
            before: words.
            after: words.
            channels: whether lines begin with a channel-ID.
            escaped: whether Squid has escaped the URL, its percent signs among the rest.
        """
        self.guarded = before[-1:] in (["%>rm"], ["%rm"], ["%METHOD"], ["%#>rm"])
        """Whether the method stands before the URL, so that a CONNECT to a URL, which Squid never writes, is odd."""
        self.turning = (_ESCAPED_TURNING if escaped else _TURNING).search
        """Finds what may lead a path back to before where it began (`/a/../b`), and what is escaped oddly."""
        self.behind_channel = b" " if channels else b""
        self.probe = Probe(*(b" ".join(TOKEN.sub("-", word).encode() for word in words) for words in (before, after)))
        if before:
            self.probe = self.probe._replace(before=self.probe.before + b" ")
        self._words_after = len(after)
        channel = rb"([0-9]{1,20}+) " if channels else rb"()"
        usual = channel + rb"(%b)" % (_WORD * len(before)) + _PLACE + _PATH + rb" (.*+)"
        self._pattern = re.compile(rb"%b\n|(.*+)\n" % usual)

    def read(self, block: bytes) -> list[Row]:
        """Returns the rows of a block of whole lines."""
        return self._pattern.findall(block)

    def fits(self, after: bytes) -> bool:
        """Whether what stands behind a URL has as many words as it should; else the URL may have held blanks."""
        return after.rstrip(b" \r").count(b" ") + 1 == self._words_after


def rows_of(layout: Layout, *, channels: bool, rewriter: bool) -> Rows | None:
    """Returns how lines of a layout are taken apart; None where that cannot be done.

    The URL must be a word of its own, and all that says where a request goes; no word may hold blanks.

    Args:
        layout: FORMAT, or the extras of a rewriter.
        channels: whether lines begin with a channel-ID.
        rewriter: whether the URL stands in front of the layout, and there is no %DATA behind it.
    """
    words = layout.text.split()
    if len(layout.words) != layout.data or layout.blanks is not Blanks.NOWHERE:
        return None
    if rewriter:
        usual = len(words) == len(layout.words) and layout.cells.keys().isdisjoint(_OTHER_TARGETS)
        return Rows((), words, channels=channels, escaped=False) if usual and "sni" not in layout.cells else None
    cell = layout.cells.get("url")
    if cell is None or layout.words[cell.word] is not None or not layout.cells.keys().isdisjoint(_OTHER_TARGETS):
        return None
    words = [word for word in words if not word.endswith("DATA")]
    escaped = cell.decode(b"%25") == b"%"
    return Rows(words[: cell.word], [*words[cell.word + 1 :], "-"], channels=channels, escaped=escaped)


def plain_targets(places: Sequence[bytes]) -> list[tuple[str, int]]:
    """Returns host and port of each place; ("", 0) where it is not spelt as it would be normalised, which is rare."""
    found = _PLAIN.findall(b"\n".join(places).decode("ascii")) if places else []
    targets = [(host, int(port) if port else _PORTS[scheme]) for scheme, host, port in found]
    return [target if target[1] else ("", 0) for target in targets]
