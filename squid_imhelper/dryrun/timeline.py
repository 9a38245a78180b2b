"""Requests over time: hours put together to as many bars as can be looked at, with no bar missing between them."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from squid_imhelper.base.schedule import on_the_wall
from squid_imhelper.dryrun.tally import OTHERS, Tally

SERIES: Final = ("blocked", "monitored", "other")


class Series(NamedTuple):
    """One colour of a chart: what it stands for, which is its class as well, and a number for each bar."""

    name: str
    values: tuple[int, ...]

    @property
    def total(self) -> int:
        """All bars together."""
        return sum(self.values)


class Unit(NamedTuple):
    """What one bar of a timeline stands for: how it begins and goes on, and how it is called."""

    name: str
    seconds: int
    floor: Callable[[datetime], datetime]
    following: Callable[[datetime], datetime]
    label: str
    tick: Callable[[datetime], str]
    round_at: Callable[[datetime], bool]
    steps: tuple[int, ...]


def _hours(number: int, steps: tuple[int, ...]) -> Unit:
    return Unit(
        name="hour" if number == 1 else f"{number} hours",
        seconds=number * 3600,
        floor=lambda wall: wall.replace(hour=wall.hour // number * number, minute=0, second=0),
        following=lambda wall: wall + timedelta(hours=number),
        label="%a %Y-%m-%d %H:00",
        tick=lambda wall: f"{wall:%H:%M}" if wall.hour else f"{wall:%a} {wall.day} {wall:%b}",
        round_at=lambda wall: wall.hour == 0,
        steps=steps,
    )


def _days(number: int, name: str, label: str, steps: tuple[int, ...]) -> Unit:
    return Unit(
        name=name,
        seconds=number * 86_400,
        floor=lambda wall: _midnight(wall) - timedelta(wall.weekday() if number > 1 else 0),
        following=lambda wall: wall + timedelta(number),
        label=label,
        tick=lambda wall: f"{wall.day} {wall:%b}",
        round_at=lambda wall: wall.weekday() == 0,
        steps=steps,
    )


def _years(number: int, name: str) -> Unit:
    return Unit(
        name=name,
        seconds=number * 365 * 86_400,
        floor=lambda wall: _midnight(wall).replace(year=wall.year // number * number, month=1, day=1),
        following=lambda wall: wall.replace(year=wall.year + number),
        label="%Y",
        tick=lambda wall: f"{wall:%Y}",
        round_at=lambda wall: wall.year % (10 * number) == 0,
        steps=(1, 2, 5, 10, 20, 50),
    )


def _midnight(wall: datetime) -> datetime:
    return wall.replace(hour=0, minute=0, second=0)


_MONTH: Final = Unit(
    name="month",
    seconds=28 * 86_400,
    floor=lambda wall: _midnight(wall).replace(day=1),
    following=lambda wall: (wall + timedelta(31)).replace(day=1),
    label="%Y-%m",
    tick=lambda wall: f"{wall:%b %Y}",
    round_at=lambda wall: wall.month == 1,
    steps=(1, 2, 3, 6, 12, 24, 48),
)
UNITS: Final = (
    _hours(1, (1, 2, 4, 6, 8, 12, 24, 48)),
    _hours(2, (1, 2, 3, 6, 12, 24)),
    _days(1, "day", "%a %Y-%m-%d", (1, 2, 7, 14, 28, 56)),
    _days(7, "week", "week from %Y-%m-%d", (1, 2, 4, 13, 26, 52)),
    _MONTH,
    _years(1, "year"),
    _years(10, "decade"),
)
"""The first one that needs not too many bars is taken."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Numbers over time: when each bar begins, by the clock on the wall, without a gap, and the series."""

    unit: Unit
    starts: tuple[datetime, ...]
    series: tuple[Series, ...]

    @property
    def highest(self) -> int:
        """The number of the highest column."""
        return max(map(sum, zip(*(each.values for each in self.series), strict=True)), default=0)

    @property
    def labels(self) -> list[str]:
        """What each bar is called."""
        return [format(start, self.unit.label) for start in self.starts]

    def only(self, names: Collection[str]) -> "Timeline":
        """The same time with fewer series."""
        return replace(self, series=tuple(each for each in self.series if each.name in names))

    def rows(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Each bar's label and numbers, those without any left out."""
        for label, numbers in zip(self.labels, zip(*(each.values for each in self.series), strict=True), strict=True):
            if any(numbers):
                yield label, numbers

    def ticks(self, most: int) -> list[str]:
        """What stands below each bar: a short text below some of them, at round times, "" below the others."""
        anchor = next((n for n, start in enumerate(self.starts) if self.unit.round_at(start)), 0)
        steps = self.unit.steps
        step = next((step for step in steps if len(self.starts) <= step * most), steps[-1])
        return [self.unit.tick(start) if (n - anchor) % step == 0 else "" for n, start in enumerate(self.starts)]


def make_timeline(tally: Tally, zone: str, most: int) -> Timeline | None:
    """Puts hours together until there are at most so many bars: what is blocked, monitored, and all other requests.

    Hours are those of UTC: where the clock on the wall is half an hour off, one counts for the bar that it begins in.
    A thousand years are a hundred decades, however many bars are asked for.

    Returns:
        The timeline, by the clock of this zone, or None where no request has a time.
    """
    blocked, monitored = (tally.outcomes[name].by_hour for name in ("blocked", "monitored"))
    walls = {key: on_the_wall(float(key), zone).replace(tzinfo=None) for key in tally.by_hour.keys() - {OTHERS}}
    if not walls:
        return None
    first, last = min(walls.values()), max(walls.values())
    unit = next((unit for unit in UNITS if (last - first).total_seconds() <= (most - 2) * unit.seconds), UNITS[-1])
    starts = [unit.floor(first)]
    while (following := unit.following(starts[-1])) <= last:
        starts.append(following)
    sums = {start: [0, 0, 0] for start in starts}
    for key, wall in walls.items():
        known = blocked.get(key, 0), monitored.get(key, 0)
        for place, number in enumerate((*known, max(tally.by_hour[key] - sum(known), 0))):
            sums[unit.floor(wall)][place] += number
    series = (Series(name, values) for name, values in zip(SERIES, zip(*sums.values(), strict=True), strict=True))
    return Timeline(unit, tuple(starts), tuple(series))
