"""What a dry run counts. Tallies of parts add up to that of the whole, and stay small however long the log is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MOST_KEYS: Final = 100_000
"""Values that are counted one by one, the most frequent ones of each kind. An office has not that many clients."""
MOST_ROWS: Final = 50_000
MOST_EXAMPLES: Final = 10
SHOWN: Final = 200
"""Characters of a line, a URL or a name that are kept."""
OTHERS: Final = "(others)"
NOTHING: Final = "-"
"""Stands for a service, rule or client that there is not, as in Squid's logs."""


class Counts(dict[str, int]):
    """How often each value came up. What is beyond the limit is counted together, as `(others)`."""

    def count(self, key: str, number: int = 1) -> None:
        """Adds to one value."""
        self[key] = self.get(key, 0) + number

    def add(self, other: Mapping[str, int], limit: int = MOST_KEYS) -> None:
        """Adds another count; at twice the limit the rare values are put together."""
        for key, number in other.items():
            self.count(key, number)
        if len(self) > 2 * limit:
            kept = {key for key, _ in self.top(limit)}
            rare = [key for key in self if key not in kept and key != OTHERS]
            self.count(OTHERS, sum(self.pop(key) for key in rare))

    @property
    def known(self) -> int:
        """How many values are counted one by one; there are more where some are counted together."""
        return len(self) - (OTHERS in self)

    def top(self, number: int) -> list[tuple[str, int]]:
        """Returns the most frequent values with their counts, `(others)` aside."""
        ranked = sorted(self.items(), key=lambda item: (-item[1], item[0]))
        return [(key, count) for key, count in ranked if key != OTHERS][:number]


class Case(NamedTuple):
    """What a decision was about; what there is not is `-`."""

    service: str
    rule: str
    client: str
    host: str


@dataclass(slots=True)
class Row:
    """How often a case came up, with the first example of it: its URL, and what it was told by."""

    count: int
    url: str
    evidence: str
    first: float | None
    last: float | None

    def add(self, other: "Row") -> None:
        """Adds a later one."""
        self.count += other.count
        self.first = _earlier(self.first, other.first)
        self.last = _later(self.last, other.last)


@dataclass(slots=True)
class Breakdown:
    """One outcome (blocked, monitored ...) by service, rule, client, host and hour (seconds since 1970, as text)."""

    total: int = 0
    by_service: Counts = field(default_factory=Counts)
    by_rule: Counts = field(default_factory=Counts)
    by_client: Counts = field(default_factory=Counts)
    by_host: Counts = field(default_factory=Counts)
    by_hour: Counts = field(default_factory=Counts)
    rows: dict[Case, Row] = field(default_factory=dict)
    rows_left_out: bool = False

    def count(self, case: Case, url: str, evidence: str, time: float | None) -> None:
        """Counts one request."""
        self.total += 1
        self.by_service.count(case.service)
        self.by_rule.count(case.rule)
        self.by_client.count(case.client)
        self.by_host.count(case.host)
        if time is not None:
            self.by_hour.count(hour_of(time))
        row = self.rows.get(case)
        if row is None:
            self.rows[case] = Row(1, url, evidence, time, time)
        else:
            row.add(Row(1, "", "", time, time))

    def add(self, other: "Breakdown") -> None:
        """Adds that of a later part."""
        self.total += other.total
        for name in ("by_service", "by_rule", "by_client", "by_host", "by_hour"):
            getattr(self, name).add(getattr(other, name))
        for case, row in other.rows.items():
            if case in self.rows:
                self.rows[case].add(row)
            else:
                self.rows[case] = row
        if len(self.rows) > 2 * MOST_ROWS:
            self.rows, self.rows_left_out = dict(self.top_rows(MOST_ROWS)), True

    def top_rows(self, number: int) -> list[tuple[Case, Row]]:
        """Returns the most frequent cases."""
        return sorted(self.rows.items(), key=lambda item: (-item[1].count, item[0]))[:number]


class Example(NamedTuple):
    """A line with which something is wrong: where it stands, what it is, and how it begins."""

    path: str
    line: int
    reason: str
    text: str


OUTCOMES: Final = ("blocked", "monitored", "denied", "newly_blocked", "newly_allowed")
"""What is broken down. `denied` are requests that Squid had itself denied and the policy would block, too."""


@dataclass(slots=True)
class Tally:
    """All that is counted of some lines.

    `lines` = `requests` + the sum of `skipped` (by reason: blank, comment, header, malformed). `denied` are requests
    that Squid had itself denied; they are in `requests`, and in no outcome but `denied`. `without_request` are lines
    about connections on which nothing was asked for; they are in `requests` too. `failed` are requests for which the
    policy has no answer but `on_error`. `gaps` counts requests of which the log does not tell something, by what it is.
    """

    lines: int = 0
    requests: int = 0
    skipped: Counts = field(default_factory=Counts)
    without_request: int = 0
    denied: int = 0
    failed: int = 0
    first: float | None = None
    last: float | None = None
    by_hour: Counts = field(default_factory=Counts)
    by_client: Counts = field(default_factory=Counts)
    gaps: Counts = field(default_factory=Counts)
    malformed: list[Example] = field(default_factory=list)
    failures: list[Example] = field(default_factory=list)
    outcomes: dict[str, Breakdown] = field(default_factory=lambda: {name: Breakdown() for name in OUTCOMES})

    def see(self, time: float | None) -> None:
        """Takes note of the time of a request."""
        if time is None:
            return
        if self.first is None or time < self.first:
            self.first = time
        if self.last is None or time > self.last:
            self.last = time
        self.by_hour.count(hour_of(time))

    def see_all(self, first: float, last: float, by_hour: Mapping[str, int]) -> None:
        """Takes note of the times of many requests: the first and the last one, and how many there are in each hour."""
        self.first, self.last = _earlier(self.first, first), _later(self.last, last)
        self.by_hour.add(by_hour)

    def add(self, other: "Tally") -> None:
        """Adds the tally of the lines that come next."""
        for name in ("malformed", "failures"):
            setattr(self, name, (getattr(self, name) + getattr(other, name))[:MOST_EXAMPLES])
        for name in ("lines", "requests", "without_request", "denied", "failed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("skipped", "by_hour", "by_client", "gaps"):
            getattr(self, name).add(getattr(other, name))
        self.first, self.last = _earlier(self.first, other.first), _later(self.last, other.last)
        for name, breakdown in other.outcomes.items():
            self.outcomes[name].add(breakdown)


def hour_of(time: float) -> str:
    """The key of an hour: its beginning, in seconds since 1970."""
    return str(int(time // 3600) * 3600)


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((time for time in (one, other) if time is not None), default=None)


def _later(one: float | None, other: float | None) -> float | None:
    return max((time for time in (one, other) if time is not None), default=None)
