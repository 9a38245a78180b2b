"""Counts by hour, put together to as many stretches of time as can be looked at."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from squid_imhelper.base.schedule import on_the_wall
from squid_imhelper.dryrun.report import Report
from squid_imhelper.dryrun.tally import OTHERS

_STEPS: Final = (1, 2, 4, 6, 12, 24, 48, 168, 336, 744, 1488, 4464, 8784)
"""Hours, up to a year."""
_A_DAY: Final = 24


class Bucket(NamedTuple):
    """A stretch of time: its beginning on the wall's clock, and what was counted in it."""

    label: str
    requests: int
    blocked: int
    monitored: int


def timeline(report: Report, most: int) -> list[Bucket]:
    """Returns at most so many stretches, from the first request to the last; none where the log has no times."""
    tally = report.outcome.tally
    if tally.first is None or tally.last is None:
        return []
    start = on_the_wall(tally.first, report.zone).replace(minute=0, second=0, tzinfo=None)
    end = on_the_wall(tally.last, report.zone).replace(tzinfo=None)
    step = next((hours for hours in _STEPS if (end - start) / timedelta(hours=hours) <= most - 2), 0)
    step = step or -(-int((end - start).total_seconds() / 3600) // (most - 2))
    start = start.replace(hour=start.hour // step * step if step < _A_DAY else 0)
    number = max(1, int((end - start) / timedelta(hours=step)) + 1)  # a clock that is put back may end before it began
    counted = [_counted(counts, report.zone, start, step, number) for counts in _kinds(report)]
    labels = [_label(start + timedelta(hours=step * n), step) for n in range(number)]
    return [Bucket(label, *numbers) for label, *numbers in zip(labels, *counted, strict=True)]


def _kinds(report: Report) -> list[Mapping[str, int]]:
    tally = report.outcome.tally
    return [tally.by_hour, tally.outcomes["blocked"].by_hour, tally.outcomes["monitored"].by_hour]


def _counted(counts: Mapping[str, int], zone: str, start: datetime, step: int, number: int) -> list[int]:
    found = [0] * number
    for hour, count in counts.items():
        if hour != OTHERS:
            wall = on_the_wall(float(hour), zone).replace(tzinfo=None)
            found[max(0, min(number - 1, int((wall - start) / timedelta(hours=step))))] += count
    return found


def _label(moment: datetime, step: int) -> str:
    return f"{moment:%a %Y-%m-%d}" if step >= _A_DAY else f"{moment:%a %m-%d %H:00}"
