"""Tallies and timelines that several test files make."""

from squid_imhelper.dryrun.tally import Case, Tally
from squid_imhelper.dryrun.timeline import Timeline, make_timeline

MOST_BARS = 105
CASE = Case("whatsapp", "no messengers", "10.0.0.1", "web.whatsapp.com")


def tally_of(*requests: tuple[float, str]) -> Tally:
    """Requests by their times and what became of them."""
    tally = Tally()
    for time, outcome in requests:
        tally.requests += 1
        tally.see(time)
        if outcome != "other":
            tally.outcomes[outcome].count(CASE, "", "", time)
    return tally


def timeline_of(*requests: tuple[float, str], zone: str = "UTC") -> Timeline:
    timeline = make_timeline(tally_of(*requests), zone, MOST_BARS)
    assert timeline is not None
    return timeline


def values(timeline: Timeline) -> dict[str, tuple[int, ...]]:
    return {series.name: series.values for series in timeline.series}
