"""Times as logs write them, to instants: seconds since 1970, UTC."""

import re
from datetime import datetime
from functools import lru_cache
from typing import Final

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.schedule import instant_of

SQUID_TIME: Final = "%d/%b/%Y:%H:%M:%S %z"
"""Of %tl, where a logformat does not say otherwise (format/Format.cc)."""

_EPOCH: Final = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,12})?")
_SQUID_TIME: Final = re.compile(r"\[?[0-9]{1,2}/[A-Z][a-z]{2}/[0-9]{4}:")
_MILLISECONDS: Final = 1e11
"""From here on (in the year 5138) a number is one of milliseconds, and from a million times that of nanoseconds."""
_LAST: Final = 32_503_680_000.0
"""The year 3000: what would be later is no time."""


class TimeError(ImhelperError):
    """The text is no time."""


def parse_time(text: str, zone: str) -> float:
    """Reads seconds (or milli-, micro-, nanoseconds) since 1970, ISO 8601, or the time of the common log format.

    Args:
        text: as it stands in the log.
        zone: what counts where the text has no offset from UTC (IANA name).

    Raises:
        TimeError: it is none of these.
    """
    if _EPOCH.fullmatch(text):
        return _seconds(text)
    return _parse_date(text, "", zone)


def parse_formatted(text: str, time_format: str, zone: str) -> float:
    """Reads a time as `strftime` wrote it, with Squid's own format where none is given.

    Raises:
        TimeError: it does not fit.
    """
    return _parse_date(text, time_format or SQUID_TIME, zone)


def _seconds(text: str) -> float:
    number = float(text)
    while number >= _MILLISECONDS:
        number /= 1000
    return _checked(number, text)


def _checked(instant: float, text: str) -> float:
    if not 0 <= instant < _LAST:
        raise TimeError(f"{text[:40]!r} is no time")
    return instant


@lru_cache(1024)
def _parse_date(text: str, time_format: str, zone: str) -> float:
    """Remembered, since many lines are of the same second, and reading a date takes longer than all the rest."""
    try:
        if time_format or _SQUID_TIME.match(text):
            moment = datetime.strptime(text.strip("[]"), time_format or SQUID_TIME)
        else:
            moment = datetime.fromisoformat(_iso(text))
        return _checked(instant_of(moment, zone), text)
    except (ValueError, OverflowError, ImhelperError):
        raise TimeError(f"{text[:40]!r} is no time") from None


def _iso(text: str) -> str:
    for name in (" GMT", " UTC"):
        text = text.replace(name, "+00:00")
    return text.strip("[]").replace(",", ".").replace(" +", "+")
