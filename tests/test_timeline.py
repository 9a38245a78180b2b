"""Stretches of time: never more than asked for, and each request in exactly one of them."""

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from squid_imhelper.base.schedule import load_zone
from squid_imhelper.dryrun.replay import Outcome
from squid_imhelper.dryrun.report import Report
from squid_imhelper.dryrun.tally import OTHERS, Case, Tally
from squid_imhelper.dryrun.timeline import Bucket, timeline

CASE = Case("whatsapp", "no messengers", "192.0.2.1", "web.whatsapp.com")
ZONES = [
    *("UTC", "Europe/Brussels", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"),
    *("Pacific/Apia", "Antarctica/Casey", "Pacific/Kiritimati", "Etc/GMT+12"),
]
YEAR = 365.25 * 86_400
outcomes = st.sampled_from(["blocked", "monitored", ""])


def report_of(seen: list[tuple[float | None, str]], zone: str) -> Report:
    tally = Tally()
    for time, outcome in seen:
        tally.requests += 1
        tally.see(time)
        if outcome:
            tally.outcomes[outcome].count(CASE, "", "", time)
    return Report(Outcome(tally), "policy.toml", "", zone, {}, (), ())


def at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=load_zone(zone)).timestamp()


def sums(buckets: list[Bucket]) -> tuple[int, int, int]:
    return tuple(sum(getattr(own, name) for own in buckets) for name in ("requests", "blocked", "monitored"))  # type: ignore[return-value]


@given(
    zone=st.sampled_from(ZONES),
    start=st.floats(0, 60 * YEAR),
    length=st.sampled_from([0.0, 1.0, 3599.0, 7200.0, 86_400.0, 8 * 86_400.0, YEAR, 10 * YEAR, 900 * YEAR]),
    parts=st.lists(st.tuples(st.none() | st.floats(0, 1), outcomes), min_size=1, max_size=12),
    most=st.integers(3, 60),
)
@example("Antarctica/Casey", 1267714800.0 - 1000, 2000.0, [(0.0, "blocked"), (1.0, "")], 24)  # the clock goes back 3 h
@example("Pacific/Apia", 1325239200.0 - 1000, 2000.0, [(0.0, "blocked"), (1.0, "")], 24)  # a day that was not there
def test_every_request_is_in_one_of_few_stretches(
    zone: str, start: float, length: float, parts: list[tuple[float | None, str]], most: int
) -> None:
    seen = [(None if part is None else start + part * length, outcome) for part, outcome in parts]
    buckets = timeline(report_of(seen, zone), most)
    dated = [outcome for time, outcome in seen if time is not None]
    assert sums(buckets) == (len(dated), dated.count("blocked"), dated.count("monitored"))
    assert len(buckets) <= most
    assert bool(buckets) == bool(dated)


def test_a_log_without_times_has_none() -> None:
    assert timeline(report_of([(None, "blocked")], "UTC"), 24) == []
    assert timeline(report_of([], "UTC"), 24) == []


DAY = "2026-11-23"
LENGTHS = [
    pytest.param("2026-11-23T09:30", "2026-11-23T09:30:01", ["Mon 11-23 09:00"], id="a second"),
    pytest.param("2026-11-23T09:59:59", "2026-11-23T10:00", ["Mon 11-23 09:00", "Mon 11-23 10:00"], id="two hours"),
    pytest.param("2026-11-23T22:10", "2026-11-24T00:10", ["Mon 11-23 22:00", "Mon 11-23 23:00", "Tue 11-24 00:00"],
                 id="over midnight"),
    pytest.param("2026-11-23T09:00", "2026-11-23T17:00", [f"Mon 11-23 {n:02}:00" for n in range(9, 18)],
                 id="as many as fit"),
    pytest.param("2026-11-23T09:00", "2026-11-23T18:30", [f"Mon 11-23 {n:02}:00" for n in range(8, 20, 2)],
                 id="even hours"),
    pytest.param("2026-11-23T09:00", "2026-11-26T09:00", [f"{d} 00:00" if h == 0 else f"{d} 12:00"
                 for d in ("Mon 11-23", "Tue 11-24", "Wed 11-25", "Thu 11-26") for h in (0, 12)][:7], id="half days"),
    pytest.param("2026-11-23T09:00", "2026-11-29T09:00", [f"{d} 2026-11-{n}" for n, d in
                 enumerate(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], 23)], id="days"),
]  # fmt: skip


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Europe/Brussels"])
@pytest.mark.parametrize(("first", "last", "labels"), LENGTHS)
def test_stretches_begin_where_a_clock_would_have_them_begin(
    zone: str, first: str, last: str, labels: list[str]
) -> None:
    buckets = timeline(report_of([(at(first, zone), ""), (at(last, zone), "")], zone), 10)
    assert [own.label for own in buckets] == labels
    assert buckets[0].requests >= 1
    assert sums(buckets) == (2, 0, 0)


def test_the_hour_that_comes_twice_is_one_stretch() -> None:
    """25 October 2026, Brussels: 2:30 comes twice."""
    times = [at("2026-10-25T01:30", "Europe/Brussels") + 3600 * n for n in range(4)]
    buckets = timeline(report_of([(time, "blocked") for time in times], "Europe/Brussels"), 24)
    assert [(own.label[-5:], own.blocked) for own in buckets] == [("01:00", 1), ("02:00", 2), ("03:00", 1)]


def test_the_hour_that_is_skipped_is_empty() -> None:
    """29 March 2026, Brussels: there is no 2:30."""
    times = [at("2026-03-29T01:30", "Europe/Brussels") + 3600 * n for n in range(2)]
    buckets = timeline(report_of([(time, "blocked") for time in times], "Europe/Brussels"), 24)
    assert [(own.label[-5:], own.blocked) for own in buckets] == [("01:00", 1), ("02:00", 0), ("03:00", 1)]


def test_hours_that_were_put_together_are_in_no_stretch() -> None:
    report = report_of([(at("2026-11-23T09:30", "UTC"), "blocked")], "UTC")
    report.outcome.tally.by_hour.count(OTHERS, 5)
    assert sums(timeline(report, 24)) == (1, 1, 0)
