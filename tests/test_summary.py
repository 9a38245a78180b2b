"""The numbers for machines: keys that scripts may rely on, and times in ISO 8601."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.dryrun.replay import FileTally, Outcome
from squid_imhelper.dryrun.summary import as_json, iso
from squid_imhelper.dryrun.tally import OTHERS, OUTCOMES, Case, Tally
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.logs.logfiles import LogFile

NOON = 1795435200.0
CASE = Case("whatsapp", "no messengers", "192.0.2.1", "web.whatsapp.com")

FIXED = [
    *("lines", "requests", "skipped", "denied", "blocked", "monitored"),
    *("by_service", "by_rule", "by_client", "by_hour", "first", "last"),
    *("skipped_by_reason", "without_request", "denied_and_blocked", "failed", "unknown", "interrupted", "files"),
]
COMPARED = [
    f"{name}{by}" for name in ("newly_blocked", "newly_allowed") for by in ("", "_by_service", "_by_client", "_by_host")
]


def told(outcome: Outcome, *, compared: bool = False) -> dict[str, Any]:
    text = as_json(outcome, compared=compared)
    assert text.isascii()
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_nothing_at_all() -> None:
    found = told(Outcome())
    assert list(found) == FIXED
    assert (found["lines"], found["by_service"], found["first"], found["last"], found["files"]) == (
        0,
        {},
        None,
        None,
        [],
    )
    assert found["interrupted"] is False


def test_what_would_change_is_told_where_two_policies_were_compared() -> None:
    assert list(told(Outcome(), compared=True)) == FIXED + COMPARED


def test_every_number_is_where_it_belongs() -> None:
    tally = Tally(lines=90, requests=80, without_request=3, denied=7, failed=2, first=NOON, last=NOON + 0.25)
    tally.skipped.update({"malformed": 4, "blank": 6})
    tally.gaps.update({"user": 9})
    for number, name in enumerate(OUTCOMES, 1):
        for _ in range(number):
            tally.outcomes[name].count(CASE, "http://web.whatsapp.com/", "host web.whatsapp.com", NOON)
    log = LogFile("a.log", LogFormat("squid"), NOON, 99)
    files = [FileTally(log, 90, 10), FileTally(LogFile("b.log", None, None, 0), problem="cannot read b.log: why")]
    found = told(Outcome(tally, files, ended_by=2), compared=True)
    assert found == {
        "lines": 90,
        "requests": 80,
        "skipped": 10,
        "denied": 7,
        "blocked": 1,
        "monitored": 2,
        "by_service": {"whatsapp": 1},
        "by_rule": {"no messengers": 1},
        "by_client": {"192.0.2.1": 1},
        "by_hour": {"2026-11-23T12:00:00Z": 1},
        "first": "2026-11-23T12:00:00Z",
        "last": "2026-11-23T12:00:00.250Z",
        "skipped_by_reason": {"blank": 6, "malformed": 4},
        "without_request": 3,
        "denied_and_blocked": 3,
        "failed": 2,
        "unknown": {"user": 9},
        "interrupted": True,
        "files": [
            {"path": "a.log", "format": "squid", "lines": 90, "skipped": 10, "problem": None},
            {"path": "b.log", "format": None, "lines": 0, "skipped": 0, "problem": "cannot read b.log: why"},
        ],
        "newly_blocked": 4,
        "newly_blocked_by_service": {"whatsapp": 4},
        "newly_blocked_by_client": {"192.0.2.1": 4},
        "newly_blocked_by_host": {"web.whatsapp.com": 4},
        "newly_allowed": 5,
        "newly_allowed_by_service": {"whatsapp": 5},
        "newly_allowed_by_client": {"192.0.2.1": 5},
        "newly_allowed_by_host": {"web.whatsapp.com": 5},
    }


def test_the_most_frequent_come_first() -> None:
    outcome = Outcome()
    for client in ("b", "a", "c", "c"):
        outcome.tally.outcomes["blocked"].count(CASE._replace(client=client), "", "", None)
    assert list(told(outcome)["by_client"]) == ["c", "a", "b"]


@pytest.mark.parametrize("text", ["\x1b[31m", "\ud800", "é\u202e", '"', "\x00", "<b>"])
def test_what_comes_from_a_log_is_escaped(text: str) -> None:
    outcome = Outcome()
    outcome.tally.outcomes["blocked"].count(CASE._replace(client=text), "", "", None)
    assert list(told(outcome)["by_client"]) == [text]


def test_hours_come_in_the_order_of_time() -> None:
    """Also over September 2001, when seconds since 1970 got another digit; hours beyond the limit come last."""
    outcome = Outcome()
    for time in (1_000_000_800.0, 0.0, NOON, 999_997_200.0):
        outcome.tally.outcomes["blocked"].count(CASE, "", "", time)
    outcome.tally.outcomes["blocked"].by_hour.count(OTHERS, 3)
    hours = told(outcome)["by_hour"]
    assert list(hours) == [
        *("1970-01-01T00:00:00Z", "2001-09-09T01:00:00Z", "2001-09-09T02:00:00Z", "2026-11-23T12:00:00Z"),
        OTHERS,
    ]
    assert hours[OTHERS] == 3


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00Z"),
        (NOON, "2026-11-23T12:00:00Z"),
        (NOON + 0.001, "2026-11-23T12:00:00.001Z"),
        (NOON + 0.9996, "2026-11-23T12:00:01Z"),
        (1773619603.004, "2026-03-16T00:06:43.004Z"),
        (32_503_679_999.0, "2999-12-31T23:59:59Z"),
    ],
)
def test_instants(instant: float | None, text: str | None) -> None:
    assert iso(instant) == text


@given(st.integers(0, 4_102_444_800_000))
def test_an_instant_is_read_back_to_the_millisecond(milliseconds: int) -> None:
    """Up to the year 2100."""
    text = iso(milliseconds / 1000)
    assert text is not None
    assert text.endswith("Z")
    read = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    assert round(read.total_seconds() * 1000) == milliseconds
