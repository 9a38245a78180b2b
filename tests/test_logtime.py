"""Times in logs: each way in which they are written, and nothing that is no time."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.logs.logtime import TimeError, parse_formatted, parse_time

MARCH_16 = datetime(2026, 3, 16, 1, 6, 43, tzinfo=UTC).timestamp()
HOUR = 3600

TIMES = [
    pytest.param("1773623203", MARCH_16, id="seconds"),
    pytest.param("1773623203.004", MARCH_16 + 0.004, id="squid"),
    pytest.param("1773623203004", MARCH_16 + 0.004, id="milliseconds"),
    pytest.param("1773623203004000", MARCH_16 + 0.004, id="microseconds"),
    pytest.param("1773623203004000000", MARCH_16 + 0.004, id="nanoseconds"),
    pytest.param("0", 0.0, id="1970"),
    pytest.param("2026-03-16T01:06:43Z", MARCH_16, id="iso-z"),
    pytest.param("2026-03-16T01:06:43.004Z", MARCH_16 + 0.004, id="iso-milliseconds"),
    pytest.param("2026-03-16 01:06:43,004Z", MARCH_16 + 0.004, id="iso-comma"),
    pytest.param("2026-03-16T02:06:43+01:00", MARCH_16, id="iso-offset"),
    pytest.param("2026-03-16T02:06:43+0100", MARCH_16, id="iso-offset-without-colon"),
    pytest.param("2026-03-16 02:06:43 +0100", MARCH_16, id="iso-offset-behind-a-blank"),
    pytest.param("2026-03-15T20:06:43-0500", MARCH_16, id="iso-west"),
    pytest.param("2026-03-16T01:06:43 GMT", MARCH_16, id="iso-gmt"),
    pytest.param("2026-03-16T01:06:43 UTC", MARCH_16, id="iso-utc"),
    pytest.param("16/Mar/2026:02:06:43 +0100", MARCH_16, id="common-log"),
    pytest.param("[16/Mar/2026:02:06:43 +0100]", MARCH_16, id="common-log-in-brackets"),
]


@pytest.mark.parametrize(("text", "instant"), TIMES)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_a_time_that_says_its_zone_is_the_same_everywhere(text: str, instant: float, zone: str) -> None:
    assert parse_time(text, zone) == pytest.approx(instant, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        pytest.param("2026-03-16T01:06:43", "UTC", MARCH_16, id="utc"),
        pytest.param("2026-03-16 02:06:43", "Europe/Brussels", MARCH_16, id="winter"),
        pytest.param("2026-07-16 02:06:43", "Europe/Brussels", MARCH_16 + 122 * 24 * HOUR - HOUR, id="summer"),
        pytest.param("2026-03-16T10:06:43", "Asia/Tokyo", MARCH_16, id="tokyo"),
    ],
)
def test_a_time_without_an_offset_is_of_the_zone(text: str, zone: str, instant: float) -> None:
    assert parse_time(text, zone) == instant


NO_TIMES = [
    "", "-", "yesterday", "-1", "-1773623203.004", "1e9", "99999999999999999999", "1.2.3", "2026-13-01T00:00:00Z",
    "2026-02-30 00:00:00", "16/Mar/2026", "16/Foo/2026:01:06:43 +0000", "16/Mar/2026:01:06:43",
    "[16/Mar/2026:25:00:00 +0000]",
    "0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "3001-01-01T00:00:00Z", "9999-12-31T23:59:59-2359",
    "\0", "\ud800", "1773623203\n", "[" * 1000, "9" * 100_000, "\u0661\u0667\u0667",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_TIMES, ids=range(len(NO_TIMES)))
def test_what_is_no_time_is_told_in_a_sentence(text: str) -> None:
    with pytest.raises(TimeError, match="is no time") as caught:
        parse_time(text, "UTC")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "time_format", "instant"),
    [
        pytest.param("16/Mar/2026:02:06:43 +0100", "", MARCH_16, id="squids-own"),
        pytest.param("2026-03-16T02:06:43+0100", "%Y-%m-%dT%H:%M:%S%z", MARCH_16, id="with-offset"),
        pytest.param("16.03.2026 02:06:43", "%d.%m.%Y %H:%M:%S", MARCH_16, id="without-offset"),
        pytest.param("1773623203", "%s", None, id="what-python-cannot-read"),
        pytest.param("02:06", "%Y-%m-%d", None, id="another-format"),
        pytest.param("", "%Y", None, id="empty"),
    ],
)
def test_a_time_is_read_as_strftime_wrote_it(text: str, time_format: str, instant: float | None) -> None:
    if instant is None:
        with pytest.raises(TimeError):
            parse_formatted(text, time_format, "Europe/Brussels")
    else:
        assert parse_formatted(text, time_format, "Europe/Brussels") == instant


MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2900, 1, 1))
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(MOMENTS, OFFSETS)
def test_every_way_to_write_an_instant_is_read_back(naive: datetime, offset: timezone) -> None:
    moment = naive.replace(tzinfo=offset, microsecond=naive.microsecond // 1000 * 1000)
    instant, second = moment.timestamp(), moment.replace(microsecond=0).timestamp()
    assert parse_time(f"{instant:.3f}", "Asia/Tokyo") == pytest.approx(instant, abs=1e-4)
    assert parse_time(moment.isoformat(), "Asia/Tokyo") == pytest.approx(instant, abs=1e-4)
    assert parse_time(moment.strftime("%d/%b/%Y:%H:%M:%S %z"), "Asia/Tokyo") == second
    assert parse_formatted(moment.strftime("%Y%m%d%H%M%S%z"), "%Y%m%d%H%M%S%z", "Asia/Tokyo") == second


@given(st.text(max_size=40), st.one_of(st.just(""), st.text(max_size=10)))
def test_any_text_is_a_time_or_is_told(text: str, time_format: str) -> None:
    for read in (lambda: parse_time(text, "UTC"), lambda: parse_formatted(text, time_format, "UTC")):
        with suppress(TimeError):
            assert 0 <= read() < 40_000_000_000
