"""Plain lines: those that a log is nearly all made of, taken apart many at once by one expression.

A line is plain where nothing about it is odd: an instant with milliseconds, one blank between fields, a host and a path
that need no normalising, a user without escapes. The expression leaves out whole fields, and says of a path only that
it is none of those that it is told to look for. What is not plain, it hands back as it stands; reading it is
`accesslog`'s, which reads plain lines to the same effect.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from squid_imhelper.base.model import Match
from squid_imhelper.logs.accesslog import LogFormat, milliseconds
from squid_imhelper.logs.logtime import parse_time

Column = Sequence[bytes]


class Columns(NamedTuple):
    """What plain lines say, a tuple for each field with a value for each line: b"-" stands for nothing, as in the log.

    `who` is client, log tag and status, as in `10.0.0.1 TCP_MISS/200`; `target` a host, with a port if there
    is one, whether it stands in a URL of HTTP or behind CONNECT. All values of a line that is not plain are None.
    """

    time: Column
    who: Column
    target: Column
    user: Column
    user_agent: Column = ()
    content_type: Column = ()


@dataclass(frozen=True, slots=True)
class PlainLines:
    """Takes plain lines apart. `instant` turns a value of `time` into seconds since 1970, as reading the line does."""

    pattern: re.Pattern[bytes]
    instant: Callable[[bytes], float]

    def columns(self, lines: bytes) -> Columns:
        """Returns the fields of lines, each of which ends in LF."""
        # Nothing stands between the matches; so a split returns nothing but groups, without a tuple for each line.
        cells, width = self.pattern.split(lines), self.pattern.groups + 1
        return Columns(*(cells[place::width] for place in range(1, width)))

    def times(self, line: bytes) -> tuple[float, float]:
        """Returns when a plain line was written, and when its request began."""
        time, duration, _ = line.split(None, 2)
        written = self.instant(time)
        return written, written - milliseconds(duration)


class PathText(NamedTuple):
    """A text that is looked for in paths, in whatever case, and where it stands there."""

    text: str
    match: Match


# Each way to go on is told by what comes next, so that what does not fit is given up at once. Only classes are
# possessive: Python 3.11.2 loses its place in groups that are. Times have ten digits, so that they sort as they are.
_TIME: Final = rb"([1-8][0-9]{9}\.[0-9]{3}) ++[0-9]{1,12}+ "
_WHO: Final = rb"([0-9A-Za-z.:_-]{1,256}+ (?!UDP_)[A-Z][A-Z_]*+/[0-9]{3}) [0-9]++ "
_TARGET: Final = rb"(?:CONNECT (?=[^ /\n]++ )|(?!CONNECT )[A-Z]++ https?://)([0-9A-Za-z.:_-]{1,256}+)"
_PART_OF_PATH: Final = rb"[A-Za-z0-9_~!$&'()*+,;=:@/-]*+"
_IN_PATH: Final = rb"(?:(?<!/)\.|%(?:[0189A-Fa-f][0-9A-Fa-f]|2[0-9A-CFa-cf]|3[A-Fa-f]|[46]0|5[B-Eb-e]|7[B-DFb-df]))"
"""A dot that makes no dot segment, and an escape of what is not unreserved, which stays."""
_USER_AND_PEER: Final = rb" ([!-$&-\[\]-~]{1,256}+) [A-Z][A-Z_]*+/[!-~]{0,256}+"
_TAILS: Final[Mapping[str, bytes]] = {
    "squid": rb" [!-~]{1,256}+",
    "imhelper": rb' [!#-~]{1,256}+ "([!#-~]{1,512}+)" "([!#-~]{1,256}+)" - -',
}


def plain_lines(log_format: LogFormat, paths: Collection[PathText], *, whole_queries: bool) -> PlainLines | None:
    """Returns what takes the plain lines of a format apart; None where no line is known to be plain.

    Args:
        log_format: the format.
        paths: what makes a line not plain if it stands in its path.
        whole_queries: whether a line is not plain either where its query has been cut off.
    """
    if log_format.name not in _TAILS or not all(path.text.strip("/") for path in paths):
        return None
    query = rb"\?[!-~]{1,8192}+(?<!\?)" if whole_queries else rb"\?[!-~]{0,8192}+"
    path = rb"/" + _PART_OF_PATH + rb"(?:" + _IN_PATH + _PART_OF_PATH + rb")*(?:(?= )|" + query + rb")"
    behind = rb"(?:(?= )|" + _none_of(paths) + path + rb")" + _USER_AND_PEER + _TAILS[log_format.name]
    pattern = re.compile(rb"(?:" + _TIME + _WHO + _TARGET + behind + rb"|[^\n]*+)\n")
    return PlainLines(pattern, _INSTANTS[log_format.name])


def _none_of(paths: Collection[PathText]) -> bytes:
    """What a path must not begin with, and not hold."""
    by_letter: dict[str, list[bytes]] = {}
    for text in sorted({path.text.lower().strip("/") for path in paths if path.match in _AT_THE_START}):
        by_letter.setdefault(text[:1], []).append(_spelt(text[1:]))
    starts = [_spelt(letter) + rb"(?:" + rb"|".join(rests) + rb")" for letter, rests in by_letter.items()]
    ways = [rb"/+(?:" + rb"|".join(starts) + rb")"] if starts else []
    inside = sorted({path.text.lower() for path in paths if path.match not in _AT_THE_START})
    ways += [rb"[^ ?\n]*?" + _spelt(text) for text in inside]
    return rb"(?!" + rb"|".join(ways) + rb")" if ways else b""


_AT_THE_START: Final = (Match.EXACT, Match.PREFIX, Match.SEGMENT)


def _spelt(text: str) -> bytes:
    """A pattern for all ways to spell a text. Classes of one letter are told apart faster than letters under a flag."""
    return b"".join(map(_spelt_character, text.lower()))


def _spelt_character(character: str) -> bytes:
    if character == "/":
        return rb"/+"
    own, other = character.encode(), character.upper().encode()
    return b"[" + own + other + b"]" if own.isalpha() else re.escape(own)


def _whole_instant(text: bytes) -> float:
    return parse_time(text.decode(), "UTC")


def _parted_instant(text: bytes) -> float:
    """To the last bit what a logformat's `%ts.%03tu` comes to, whose parts are read by themselves."""
    seconds, _, milliseconds = text.partition(b".")
    return parse_time(seconds.decode(), "UTC") + int(milliseconds) / 1000


_INSTANTS: Final[Mapping[str, Callable[[bytes], float]]] = {"squid": _whole_instant, "imhelper": _parted_instant}
