"""Tallies of parts add up to that of the whole, however they are put together, and stay small."""

from copy import deepcopy
from functools import reduce
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.dryrun import tally as tallies
from squid_imhelper.dryrun.tally import (
    MOST_EXAMPLES,
    OTHERS,
    OUTCOMES,
    Breakdown,
    Case,
    Counts,
    Example,
    Row,
    Tally,
    hour_of,
)

cases = st.sampled_from([Case("a", "a", "a", "a"), Case("a", "b", "a", "b"), Case("b", "b", "a", "a")])
instants = st.none() | st.floats(0, 1e9)


@st.composite
def tally_of_a_part(draw: st.DrawFn) -> Tally:
    """What some lines could have given, each request in at most one outcome of its kind."""
    tally = Tally()
    for time, case in draw(st.lists(st.tuples(instants, cases), max_size=4)):
        tally.lines += 1
        tally.requests += 1
        tally.see(time)
        tally.by_client.count(case.client)
        tally.outcomes[draw(st.sampled_from(OUTCOMES))].count(case, draw(st.sampled_from("xyz")), "host h", time)
    for number in range(draw(st.integers(0, MOST_EXAMPLES))):
        tally.lines += 1
        tally.skipped.count("malformed")
        tally.malformed.append(Example("a", draw(st.integers(0, 99)), "reason", str(number)))
    tally.gaps.count("user", draw(st.integers(1, 3)))
    tally.failures += [Example("a", 1, "reason", "text")] * draw(st.integers(0, 2))
    return tally


def added(*parts: Tally) -> Tally:
    """The sum; the parts stay as they are."""
    total = Tally()
    for part in parts:
        total.add(deepcopy(part))
    return total


@given(tally_of_a_part(), tally_of_a_part(), tally_of_a_part())
def test_it_does_not_matter_what_is_added_up_first(one: Tally, two: Tally, three: Tally) -> None:
    assert added(added(one, two), three) == added(one, added(two, three)) == added(one, two, three)


@given(tally_of_a_part())
def test_nothing_changes_nothing(one: Tally) -> None:
    assert added(Tally(), one) == one == added(one, Tally())


@given(st.lists(tally_of_a_part(), max_size=5))
def test_sums_are_sums(parts: list[Tally]) -> None:
    total = added(*parts)
    assert total.lines == sum(part.lines for part in parts) == total.requests + sum(total.skipped.values())
    for name in OUTCOMES:
        own = total.outcomes[name]
        assert own.total == sum(part.outcomes[name].total for part in parts)
        for counts in (own.by_service, own.by_rule, own.by_client, own.by_host):
            assert sum(counts.values()) == own.total
        assert sum(row.count for row in own.rows.values()) == own.total
    assert (total.malformed, total.failures) == (
        [own for part in parts for own in part.malformed][:MOST_EXAMPLES],
        [own for part in parts for own in part.failures][:MOST_EXAMPLES],
    )


@given(st.lists(st.tuples(cases, instants, st.sampled_from("xyz")), min_size=1), st.data())
def test_a_breakdown_of_parts_is_that_of_the_whole(
    seen: list[tuple[Case, float | None, str]], data: st.DataObject
) -> None:
    """The first example of a case is that of its first part, and its times are the earliest and the latest."""
    cut = data.draw(st.integers(0, len(seen)))
    whole, first, second = Breakdown(), Breakdown(), Breakdown()
    for number, (case, time, url) in enumerate(seen):
        for own in (whole, first if number < cut else second):
            own.count(case, url, "host h", time)
    first.add(second)
    assert first == whole
    for case, row in whole.rows.items():
        times = [time for other, time, _ in seen if other == case and time is not None]
        assert row.url == next(url for other, _, url in seen if other == case)
        assert (row.first, row.last) == (min(times, default=None), max(times, default=None))
        assert row.count == sum(other == case for other, _, _ in seen)


# ---- limits ---------------------------------------------------------------------------------------------------------

numbers = st.lists(
    st.dictionaries(st.text(st.characters(max_codepoint=120), max_size=2), st.integers(1, 9), max_size=9)
)


@given(numbers, st.integers(1, 5))
def test_values_beyond_the_limit_are_counted_together(parts: list[dict[str, int]], limit: int) -> None:
    counts, again = Counts(), Counts()
    for part in parts:
        counts.add(part, limit)
        assert len(counts) <= 2 * limit + 1
    assert sum(counts.values()) == sum(sum(part.values()) for part in parts)
    for part in parts:  # the same parts in the same order
        again.add(part, limit)
    assert list(again.items()) == list(counts.items())
    for key, number in counts.items():
        assert key == OTHERS or number <= sum(part.get(key, 0) for part in parts)


def test_nothing_is_put_together_before_the_limit() -> None:
    counts = Counts()
    for key in ("a", "b", "c", "d"):
        counts.add({key: 1}, 2)
    assert counts == {"a": 1, "b": 1, "c": 1, "d": 1}
    counts.add({"d": 1, "e": 3}, 2)
    assert counts == {"e": 3, "d": 2, OTHERS: 3}
    counts.add({"a": 5}, 2)
    assert counts == {"e": 3, "d": 2, OTHERS: 3, "a": 5}


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=8))
def test_cases_beyond_the_limit_are_left_out_and_totals_stay(parts: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallies, "MOST_ROWS", 3)
        whole, biggest = Breakdown(), max(map(len, parts), default=0)
        for part in parts:
            own = Breakdown()
            for number in part:
                own.count(Case("s", "r", "c", f"h{number:02}"), "url", "", None)
            whole.add(own)
            assert len(whole.rows) <= 2 * 3
    assert whole.total == sum(map(len, parts)) == sum(whole.by_host.values())
    assert biggest <= whole.total
    for case, row in whole.rows.items():
        assert row.count <= whole.by_host[case.host]


def test_the_most_frequent_cases_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MOST_ROWS", 2)
    whole, own = Breakdown(), Breakdown()
    for host, times in {"e": 1, "d": 2, "c": 3, "b": 1, "a": 3}.items():
        for _ in range(times):
            own.count(Case("s", "r", "c", host), "url", "", None)
    whole.add(own)
    assert [(case.host, row.count) for case, row in whole.rows.items()] == [("a", 3), ("c", 3)]
    assert whole.total == 10


# ---- single numbers -------------------------------------------------------------------------------------------------


def test_the_most_frequent_come_first_and_then_by_name() -> None:
    counts = Counts({"b": 2, "a": 2, OTHERS: 99, "c": 5})
    assert counts.top(2) == [("c", 5), ("a", 2)]
    assert counts.top(9) == [("c", 5), ("a", 2), ("b", 2)]
    assert Counts().top(3) == []


@pytest.mark.parametrize(
    ("time", "hour"), [(0.0, "0"), (3599.999, "0"), (3600.0, "3600"), (1795435200.5, "1795435200"), (-0.5, "-3600")]
)
def test_hours_begin_on_the_hour(time: float, hour: str) -> None:
    assert hour_of(time) == hour


@given(st.lists(instants, max_size=6))
def test_what_is_seen(times: list[float | None]) -> None:
    tally = Tally()
    for time in times:
        tally.see(time)
    known = [time for time in times if time is not None]
    assert (tally.first, tally.last) == (min(known, default=None), max(known, default=None))
    assert sum(tally.by_hour.values()) == len(known)


def test_rows_add_up_in_any_order() -> None:
    rows = [Row(1, "first", "e", 5.0, 5.0), Row(2, "second", "f", None, None), Row(3, "third", "g", 1.0, 9.0)]
    total = reduce(lambda one, other: one.add(other) or one, deepcopy(rows))  # type: ignore[func-returns-value]
    assert total == Row(6, "first", "e", 1.0, 9.0)
    assert list(accumulate(row.count for row in rows))[-1] == total.count
