"""Counting a block of a log: the numbers are those of a slow count that shares no code with it but `check`."""

import itertools
import json
import random
import tracemalloc
from collections import Counter as Counted
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
from arbitrary import AGENTS, CATALOGUE, NOON, SCHEDULES, SITES, USERS, policies, targets
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Circumstances, Policy, Response, Rule, SiteList
from squid_imhelper.dryrun.counting import SHOWN, Counter
from squid_imhelper.dryrun.tally import MOST_EXAMPLES, OUTCOMES, Case, Tally
from squid_imhelper.logs.accesslog import DESCRIPTIONS, MAX_LINE, LogFormat
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.program import Program
from squid_imhelper.offline.check import check
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import built_in_policy

SQUID = LogFormat("squid")
JSON = LogFormat("json")
NOW = NOON + 40 * 86_400
"""When lines without a time are decided: not in the time of any log here."""

EVERYTHING = frozenset(CATALOGUE.services)
WHATSAPP = b"http://web.whatsapp.com/"
MEEBO = b"http://www.meebo.com/"
PLAIN = b"http://example.org/"
NO_HOST = b"http:///"


def program(*rules: Rule, **response: Any) -> Program:
    policy = Policy("policy.toml", rules, Response(**response), sites=SITES, schedules=SCHEDULES)
    return compile_policy(policy, CATALOGUE)


def block(name: str = "no", **conditions: Any) -> Rule:
    return Rule(name, "block", **({"services": EVERYTHING} | conditions))


BUILT_IN = compile_policy(built_in_policy(CATALOGUE), CATALOGUE)


def native(
    url: bytes,
    time: float | bytes = NOON,
    *,
    duration: int = 0,
    client: bytes = b"192.0.2.1",
    result: bytes = b"TCP_MISS/200",
    method: bytes = b"GET",
    user: bytes = b"-",
) -> bytes:
    written = time if isinstance(time, bytes) else b"%.3f" % time
    return b"%s %6d %s %s 512 %s %s %s HIER_DIRECT/- text/html\n" % (
        written,
        duration,
        client,
        result,
        method,
        url,
        user,
    )


def count(own: Program, *lines: bytes, against: Program | None = None, log_format: LogFormat = SQUID) -> Tally:
    return Counter(own, against, NOW).count(b"".join(lines), log_format, "access.log", 0)


# ---- the slow count -------------------------------------------------------------------------------------------------

CLIENTS = {
    "192.0.2.1": "192.0.2.1",
    "192.0.2.200": "192.0.2.200",
    "::ffff:192.0.2.1": "192.0.2.1",
    "2001:DB8:0:0::1": "2001:db8::1",
    "198.51.100.7": "198.51.100.7",
    "pc7.office.example": None,
}
"""Clients as logs write them, and as they are known; None is one whose address is not known."""

RESULTS = {
    "TCP_MISS/200": (False, False),
    "TCP_TUNNEL/200": (False, False),
    "NONE_NONE/503": (False, False),
    "TCP_DENIED/403": (True, False),
    "TCP_DENIED_REPLY/403": (True, False),
    "TCP_DENIED/407": (True, True),
    "TCP_MISS/407": (False, True),
}
"""Tag and status: whether Squid had denied it, and whether for want of a name."""

JUNK = {"": "blank", " \t ": "blank", "\r": "blank", "# words": "comment", "no log": "malformed", "1 2": "malformed"}
NOBODY_ASKED = ("error:invalid-request", "/", "error:transaction-end-before-headers")


@dataclass
class Entry:
    """One request as it is written down, whatever the format."""

    time: float
    duration: int
    client: str
    result: str
    method: str
    url: str
    user: str | None
    agent: str | None
    content_type: str | None

    def in_native_format(self) -> str:
        who = (self.user or "-", "HIER_DIRECT/192.0.2.9")
        words = (self.client, self.result, "512", self.method, self.url, *who, "text/html")
        return f"{self.time:.3f} {self.duration:>6} {' '.join(words)}"

    def in_json(self) -> str:
        tag, status = self.result.split("/")
        found = {"time": f"{self.time:.3f}", "duration": self.duration, "client": self.client, "tag": tag}
        found |= {"status": int(status), "method": self.method, "url": self.url, "user": self.user or "-"}
        found |= {"user_agent": self.agent or "", "content_type": self.content_type}
        return json.dumps(found)


@cache
def asked() -> tuple[tuple[str, str], ...]:
    """Methods and targets, without those that to Squid are others than to a browser."""
    return tuple(("GET" if method == "-" else method, target) for method, target in targets() if "\\" not in target)


odd = st.sampled_from([("GET", url) for url in (NO_HOST.decode(), "http://:80/x", *NOBODY_ASKED)])


@st.composite
def entries(draw: st.DrawFn, pool: list[tuple[str, str]]) -> Entry:
    method, url = draw(st.sampled_from(pool))
    return Entry(
        time=NOON + draw(st.integers(-48, 48)) * 7200 + draw(st.sampled_from([0, 0, 1, -1, 1_234_567])) / 1000,
        duration=draw(st.sampled_from([0, 0, 1, 999, 3_600_000, 43_200_000])),
        client=draw(st.sampled_from(sorted(CLIENTS))),
        result=draw(st.sampled_from(["TCP_MISS/200", *RESULTS])),
        method=method,
        url=url,
        user=draw(st.sampled_from([None, *USERS])),
        agent=draw(st.sampled_from([None, *AGENTS])),
        content_type=draw(st.sampled_from([None, "application/x-icq"])),
    )


@st.composite
def logs(draw: st.DrawFn) -> list[Entry | str]:
    """Lines of which many are alike: what is remembered of one must not count for another."""
    pool = draw(st.lists(st.one_of(*[st.sampled_from(asked())] * 4, odd), min_size=1, max_size=5))
    lines = draw(st.lists(st.one_of(*[entries(pool)] * 4, st.sampled_from(sorted(JUNK))), max_size=25))
    again = draw(st.lists(st.tuples(st.integers(0, 24), st.integers(-30, 30)), max_size=25))
    for number, hours in again:
        if number < len(lines) and isinstance(entry := lines[number], Entry):
            lines.append(replace(entry, time=entry.time + hours * 3600))
    return lines


@dataclass
class Slow:
    """The same numbers, one line after the other."""

    facts: Counted[str] = field(default_factory=Counted)
    skipped: Counted[str] = field(default_factory=Counted)
    gaps: Counted[str] = field(default_factory=Counted)
    by_client: Counted[str] = field(default_factory=Counted)
    by_hour: Counted[str] = field(default_factory=Counted)
    times: list[float] = field(default_factory=list)
    cases: dict[str, list[tuple[Case, str]]] = field(default_factory=lambda: {name: [] for name in OUTCOMES})


def slow_count(lines: list[str], read: Any, engine: Engine, in_force: Engine | None, *, rewriter: bool) -> Slow:
    slow = Slow()
    for line in lines:
        slow.facts["lines"] += 1
        if line in JUNK:
            slow.skipped[JUNK[line]] += 1
            continue
        entry = read(line)
        slow.facts["requests"] += 1
        slow.times.append(entry.time)
        slow.by_hour[hour(entry)] += 1
        if entry.url in NOBODY_ASKED:
            slow.facts["without_request"] += 1
        else:
            slow_decide(slow, entry, engine, in_force, rewriter=rewriter)
    return slow


def hour(entry: Entry) -> str:
    return str(int(entry.time) - int(entry.time) % 3600)


def slow_decide(slow: Slow, entry: Entry, engine: Engine, in_force: Engine | None, *, rewriter: bool) -> None:
    known = Circumstances(
        client=CLIENTS[entry.client],
        user=entry.user,
        method=entry.method,
        user_agent=None if rewriter else entry.agent,
        content_type=None if rewriter else entry.content_type,
    )
    at = entry.time - entry.duration / 1000
    found = check(engine, entry.url, known, at)
    denied, challenged = RESULTS[entry.result]
    client = known.client or entry.client
    slow.by_client[client] += 1
    slow.facts["denied"] += denied
    slow.facts["failed"] += found.request is None

    def note(outcome: str, decision: Any) -> None:
        host = found.request.target.host if found.request else "-"
        slow.cases[outcome].append((Case(decision.service or "-", decision.rule or "-", client, host), hour(entry)))

    action = found.decision.action
    if action == "block":
        note("denied" if denied else "blocked", found.decision)
    if action == "monitor" and not denied:
        note("monitored", found.decision)
    if in_force is not None:
        before = check(in_force, entry.url, known, at).decision
        if action == "block" and before.action != "block" and not denied:
            note("newly_blocked", found.decision)
        if action != "block" and before.action == "block" and not challenged:
            note("newly_allowed", before)
            if denied:
                slow.gaps["who_denied"] += 1
    if found.request is not None:
        missing = {"user": known.user, "user_agent": known.user_agent, "content_type": known.content_type}
        if rewriter:
            missing = {"user": known.user, "acl_only": None}
        missing["client_name"] = known.client
        slow.gaps.update(name for name, value in missing.items() if value is None)


def assert_equal(tally: Tally, slow: Slow) -> None:
    assert {name: getattr(tally, name) for name in ("lines", "requests", "without_request", "denied", "failed")} == {
        name: slow.facts[name] for name in ("lines", "requests", "without_request", "denied", "failed")
    }
    assert tally.lines == tally.requests + sum(tally.skipped.values())
    assert (dict(tally.skipped), dict(tally.by_client)) == (dict(slow.skipped), dict(slow.by_client))
    assert dict(tally.by_hour) == dict(slow.by_hour)
    assert {gap: n for gap, n in tally.gaps.items() if gap != "query"} == dict(slow.gaps)
    assert (tally.first, tally.last) == ((min(slow.times), max(slow.times)) if slow.times else (None, None))
    for name in OUTCOMES:
        own, cases = tally.outcomes[name], slow.cases[name]
        assert own.total == len(cases), name
        assert dict(own.by_service) == Counted(case.service for case, _ in cases)
        assert dict(own.by_rule) == Counted(case.rule for case, _ in cases)
        assert dict(own.by_client) == Counted(case.client for case, _ in cases)
        assert dict(own.by_host) == Counted(case.host for case, _ in cases)
        assert dict(own.by_hour) == Counted(hour for _, hour in cases)
        assert {case: row.count for case, row in own.rows.items()} == Counted(case for case, _ in cases)


def read_native(line: str) -> Entry:
    time, duration, client, result, _, method, url, user, *_ = line.split()
    return Entry(float(time), int(duration), client, result, method, url, None if user == "-" else user, None, None)


def read_json(line: str) -> Entry:
    own = json.loads(line)
    result = next(result for result in RESULTS if result == f"{own['tag']}/{own['status']:03}")
    user = None if own["user"] == "-" else own["user"]
    return Entry(
        float(own["time"]), own["duration"], own["client"], result, own["method"], own["url"], user,
        own["user_agent"] or None, own["content_type"],
    )  # fmt: skip


@settings(max_examples=200)
@given(policies(), st.none() | policies(), logs())
def test_the_numbers_are_those_of_a_slow_count(own: Policy, other: Policy | None, log: list[Entry | str]) -> None:
    candidate = compile_policy(own, CATALOGUE)
    in_force = compile_policy(other, CATALOGUE) if other else None
    lines = [entry if isinstance(entry, str) else entry.in_native_format() for entry in log]
    tally = Counter(candidate, in_force, NOW).count(whole(lines), SQUID, "access.log", 0)
    engine = Engine(in_force) if in_force else None
    assert_equal(tally, slow_count(lines, read_native, Engine(candidate), engine, rewriter=False))


@settings(max_examples=200)
@given(policies(), st.none() | policies(), logs(), st.booleans())
def test_with_user_agents_and_content_types_too(
    own: Policy, other: Policy | None, log: list[Entry | str], rewriter: bool
) -> None:
    candidate = compile_policy(own, CATALOGUE)
    in_force = compile_policy(other, CATALOGUE) if other else None
    lines = [entry if isinstance(entry, str) else entry.in_json() for entry in log]
    tally = Counter(candidate, in_force, NOW, rewriter=rewriter).count(whole(lines), JSON, "access.log", 0)
    engine = Engine(in_force) if in_force else None
    assert_equal(tally, slow_count(lines, read_json, Engine(candidate), engine, rewriter=rewriter))


def whole(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize("seed", range(3))
def test_a_long_log_of_few_requests_over_several_days(seed: int) -> None:
    """What is remembered of a request must not count for one at another time, or that Squid denied."""
    own = program(
        block("at night", schedules=("night",), users=frozenset({"ann", "bob"})),
        Rule("watch", "monitor", sites=("com",), clients=((4, 0, 2**32 - 1),), start=NOON),
        block("at work", schedules=("day",)),
        on_error="block",
    )
    in_force = program(block("before", end=NOON), block("at dusk", schedules=("night",)))
    chosen = random.Random(seed)
    pool = [
        ("GET", "http://web.whatsapp.com/"),
        ("CONNECT", "web.telegram.org:443"),
        ("GET", "http://www.example.org/"),
    ]
    pool += [("GET", "http:///"), ("GET", "error:invalid-request")]
    lines = [
        Entry(
            NOON + chosen.randrange(-200, 200) * 1800 + chosen.choice([0, 0.001, -0.001]),
            chosen.choice([0, 1, 3_600_000]),
            chosen.choice(["192.0.2.1", "2001:DB8:0:0::1", "pc7.office.example"]),
            chosen.choice(sorted(RESULTS)),
            *chosen.choice(pool),
            chosen.choice([None, "ann", "eve"]),
            None,
            None,
        ).in_native_format()
        for _ in range(1500)
    ]
    tally = Counter(own, in_force, NOW).count(whole(lines), SQUID, "access.log", 0)
    assert_equal(tally, slow_count(lines, read_native, Engine(own), Engine(in_force), rewriter=False))
    assert all(breakdown.total > 20 for breakdown in tally.outcomes.values())


# ---- in parts -------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(logs(), st.lists(st.integers(0, 40)), st.sampled_from([b"", b"\n"]))
def test_any_way_to_cut_a_log_gives_the_same(log: list[Entry | str], cuts: list[int], end: bytes) -> None:
    """Examples and where they stand included."""
    own = program(block(schedules=("day",)), Rule("watch", "monitor", sites=("com",)), on_error="block")
    counter = Counter(own, BUILT_IN, NOW)
    lines = [entry if isinstance(entry, str) else entry.in_native_format() for entry in log]
    edges = sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})
    total = Tally()
    for first, last in itertools.pairwise(edges):
        total.add(counter.count(whole(lines[first:last]), SQUID, "access.log", first))
    assert total == counter.count(whole(lines), SQUID, "access.log", 0)
    if lines and lines[-1].strip():  # the line feed behind the last line may be missing
        assert total == counter.count(whole(lines).removesuffix(b"\n") + end, SQUID, "access.log", 0)


# ---- anything at all ------------------------------------------------------------------------------------------------

PIECES = [
    *(native(WHATSAPP), native(b"\xff\xfe" * 9), b"\x00", b"\n", b"\r\n", b"\xef\xbb\xbf", b'{"url": "x"}', b"{"),
    *(b"\t", b"1e308", b"-1", b"9" * 19, b"#", b'"', b"http://[::", b" TCP_DENIED/403 ", b"\xed\xa0\x80", b"[" * 3000),
]
rubbish = st.lists(st.sampled_from(PIECES) | st.binary(max_size=40)).map(b"".join)
formats = [*map(LogFormat, set(DESCRIPTIONS) - {"logformat", "tsv", "table"})]
formats += [LogFormat("logformat", "%tl %>a %ru %{User-Agent}>h"), LogFormat("tsv", columns=("time", "url", "client"))]
formats += [LogFormat("table", columns=("host", "", "method"))]


@settings(max_examples=60)
@pytest.mark.parametrize("log_format", sorted(formats, key=str), ids=lambda own: own.name)
@given(text=rubbish)
def test_anything_is_counted_and_every_line_is_a_request_or_skipped(log_format: LogFormat, text: bytes) -> None:
    tally = Counter(BUILT_IN, program(block(users=frozenset())), NOW).count(text, log_format, "access.log", 0)
    assert tally.lines == text.count(b"\n") + (text[-1:] not in (b"", b"\n"))
    assert tally.lines == tally.requests + sum(tally.skipped.values())
    assert set(tally.skipped) <= {"blank", "comment", "header", "malformed"}
    assert len(tally.malformed) == min(tally.skipped.get("malformed", 0), MOST_EXAMPLES)
    json.dumps([tally.malformed, tally.failures])


# ---- what a line is decided by --------------------------------------------------------------------------------------

EDGE = NOON - 5 * 3600
"""8:00 in Brussels, when the schedule `day` begins."""

TIMES = [
    pytest.param(EDGE, 0, 1, id="as it begins"),
    pytest.param(EDGE - 0.001, 0, 0, id="a millisecond before"),
    pytest.param(EDGE + 10, 9_000, 1, id="begun and ended in it"),
    pytest.param(EDGE + 10, 11_000, 0, id="begun before"),
    pytest.param(EDGE + 12 * 3600, 0, 0, id="ended"),
    pytest.param(EDGE + 12 * 3600, 3 * 3600_000, 1, id="begun before it ended"),
    pytest.param(EDGE + 6 * 86_400, 0, 0, id="on a Sunday"),
]


@pytest.mark.parametrize(("time", "duration", "blocked"), TIMES)
def test_a_request_is_decided_for_when_it_began(time: float, duration: int, blocked: int) -> None:
    tally = count(program(block(schedules=("day",))), native(WHATSAPP, time, duration=duration))
    assert tally.outcomes["blocked"].total == blocked
    assert (tally.first, tally.last) == (time, time)


@pytest.mark.parametrize(("now", "blocked"), [(EDGE, 1), (EDGE - 1, 0)])
def test_a_line_without_a_time_is_decided_as_now(now: float, blocked: int) -> None:
    line = b"192.0.2.1 http://web.whatsapp.com/\n"
    own = program(block(schedules=("day",)))
    tally = Counter(own, None, now).count(line, LogFormat("pairs"), "access.log", 0)
    assert tally.outcomes["blocked"].total == blocked
    assert (tally.first, tally.last, tally.by_hour, tally.outcomes["blocked"].by_hour) == (None, None, {}, {})
    assert tally.gaps["time"] == 1


ALLOWING, BLOCKING = program(), program(block())
WATCHING = program(Rule("watch", "monitor", services=EVERYTHING))
CHANGES = [
    pytest.param(BLOCKING, ALLOWING, b"TCP_MISS/200", (1, 0), id="blocked now"),
    pytest.param(BLOCKING, WATCHING, b"TCP_MISS/200", (1, 0), id="monitored and blocked now"),
    pytest.param(ALLOWING, BLOCKING, b"TCP_MISS/200", (0, 1), id="allowed now"),
    pytest.param(WATCHING, BLOCKING, b"TCP_MISS/200", (0, 1), id="blocked and monitored now"),
    pytest.param(WATCHING, ALLOWING, b"TCP_MISS/200", (0, 0), id="let through by both"),
    pytest.param(BLOCKING, BLOCKING, b"TCP_MISS/200", (0, 0), id="the same"),
    pytest.param(BLOCKING, ALLOWING, b"TCP_DENIED/403", (0, 0), id="denied anyway"),
    pytest.param(ALLOWING, BLOCKING, b"TCP_DENIED/403", (0, 1), id="denied by the one in force"),
    pytest.param(ALLOWING, BLOCKING, b"TCP_DENIED/407", (0, 0), id="denied for want of a name"),
]


@pytest.mark.parametrize(("own", "other", "result", "changes"), CHANGES)
def test_what_changes(own: Program, other: Program, result: bytes, changes: tuple[int, int]) -> None:
    outcomes = count(own, native(WHATSAPP, result=result), against=other).outcomes
    assert (outcomes["newly_blocked"].total, outcomes["newly_allowed"].total) == changes


def test_what_changes_is_told_by_the_policy_that_blocks() -> None:
    own, other = program(block("new", services=frozenset({"meebo"}))), program(block("old"))
    outcomes = count(own, native(MEEBO), native(WHATSAPP), against=other).outcomes
    assert outcomes["newly_blocked"].rows == {}
    assert list(outcomes["newly_allowed"].rows) == [Case("whatsapp", "old", "192.0.2.1", "web.whatsapp.com")]


CUT_OFF = b"http://api.aol.com/aim/fetchEvents?"
QUERIES = [
    pytest.param(CUT_OFF, {}, 1, id="cut off"),
    pytest.param(CUT_OFF.rstrip(b"?"), {}, 0, id="never there"),
    pytest.param(CUT_OFF + b"a=1", {}, 0, id="told"),
    pytest.param(CUT_OFF + b"aimsid=1", {}, 0, id="blocked by it"),
    pytest.param(b"http://api.aol.com/index.html?", {}, 0, id="another path"),
    pytest.param(b"http://web.whatsapp.com/aim/fetchEvents?", {}, 0, id="blocked anyway"),
    pytest.param(CUT_OFF, {"services": frozenset({"meebo"})}, 0, id="not asked for"),
    pytest.param(CUT_OFF, {"schedules": ("night",)}, 0, id="at another time"),
    pytest.param(CUT_OFF, {"clients": ((4, 0, 9),)}, 0, id="of another client"),
]


@pytest.mark.parametrize(("url", "conditions", "number"), QUERIES)
def test_queries_that_would_matter(url: bytes, conditions: dict[str, Any], number: int) -> None:
    assert count(program(block(**conditions)), native(url)).gaps.get("query", 0) == number


def test_the_first_example_of_a_case_stands() -> None:
    rows = (
        count(BUILT_IN, native(WHATSAPP + b"a", NOON + 9), native(WHATSAPP + b"b", NOON), native(MEEBO))
        .outcomes["blocked"]
        .rows
    )
    row = rows[Case("whatsapp", "built-in", "192.0.2.1", "web.whatsapp.com")]
    assert (row.count, row.url, row.evidence) == (2, "http://web.whatsapp.com/a", "host web.whatsapp.com")
    assert (row.first, row.last) == (NOON, NOON + 9)
    assert len(rows) == 2


REPEATED = [
    pytest.param(program(block(schedules=("day",))), None, {"blocked": 2}, id="a schedule"),
    pytest.param(program(), program(block(schedules=("day",))), {"newly_allowed": 2}, id="a schedule in force"),
    pytest.param(
        program(block()), program(block(start=EDGE)), {"blocked": 6, "newly_blocked": 3}, id="a date in force"
    ),
]


@pytest.mark.parametrize("blocks", [1, 6])
@pytest.mark.parametrize(("own", "other", "expected"), REPEATED)
def test_the_same_request_is_decided_anew_at_another_time(
    own: Program, other: Program | None, expected: dict[str, int], blocks: int
) -> None:
    counter, total = Counter(own, other, NOW), Tally()
    times = [EDGE - 9, EDGE, EDGE - 9, EDGE + 12 * 3600, EDGE + 9, EDGE - 9]
    lines = [native(WHATSAPP, time) for time in times]
    for part in lines if blocks > 1 else [b"".join(lines)]:
        total.add(counter.count(part, SQUID, "access.log", 0))
    assert {name: breakdown.total for name, breakdown in total.outcomes.items() if breakdown.total} == expected


@pytest.mark.parametrize("order", [1, -1])
def test_the_same_request_counts_as_what_squid_made_of_it(order: int) -> None:
    lines = [native(WHATSAPP, result=result.encode()) for result in RESULTS][::order]
    found = count(BLOCKING, *lines, against=ALLOWING).outcomes
    assert (found["blocked"].total, found["denied"].total, found["newly_blocked"].total) == (4, 3, 4)
    assert count(ALLOWING, *lines, against=BLOCKING).outcomes["newly_allowed"].total == 5


# ---- what is wrong with lines ---------------------------------------------------------------------------------------


def test_lines_that_are_no_requests_are_told_apart() -> None:
    lines = b"\n \t\r\n# a comment\n\xef\xbb\xbf# another\nrubbish\n" + native(PLAIN).replace(b"\n", b"\r\n")
    tally = count(BUILT_IN, lines)
    assert (tally.lines, tally.requests, tally.skipped) == (6, 1, {"blank": 2, "comment": 2, "malformed": 1})
    assert [(own.path, own.line, own.text) for own in tally.malformed] == [("access.log", 5, "rubbish")]
    assert "native format" in tally.malformed[0].reason


def test_lines_are_numbered_from_the_beginning_of_the_file() -> None:
    tally = Counter(BUILT_IN, None, NOW).count(b"\nrubbish\n" + native(NO_HOST), SQUID, "access.log", 41)
    assert [own.line for own in tally.malformed] == [43]
    assert [own.line for own in tally.failures] == [44]


def test_a_header_is_no_request() -> None:
    columns = ("time", "client", "url")
    text = b"time\tclient\turl\n1764000000\t192.0.2.1\thttp://web.whatsapp.com/\ntime\tclient\turl\n"
    tally = count(BUILT_IN, text, log_format=LogFormat("tsv", columns=columns))
    assert (tally.requests, tally.skipped, tally.malformed) == (1, {"header": 2}, [])
    assert tally.outcomes["blocked"].total == 1


@pytest.mark.parametrize(("size", "requests"), [(MAX_LINE - 1, 1), (MAX_LINE, 0)])
def test_a_line_may_be_long_and_not_longer(size: int, requests: int) -> None:
    line = native(WHATSAPP + b"%s").rstrip(b"\n")
    tally = count(BUILT_IN, line.replace(b"%s", b"a" * (size - len(line) + 2)) + b"\n")
    assert (tally.lines, tally.requests) == (1, requests)
    assert [own.reason for own in tally.malformed] == [f"it is longer than {MAX_LINE} bytes"] * (1 - requests)


def test_examples_are_few_and_short() -> None:
    tally = count(BUILT_IN, (b"\xff\x1b[31m" * 500 + b"\n") * 30, native(NO_HOST) * 30)
    assert (len(tally.malformed), len(tally.failures)) == (MOST_EXAMPLES, MOST_EXAMPLES)
    assert tally.malformed[0].text.startswith("\\xff\x1b[31m\\xff")
    assert {len(own.text.replace("\\xff", "?")) for own in tally.malformed} == {SHOWN}


def everything_that_is_kept(tally: Tally) -> Iterator[str]:
    for own in tally.outcomes.values():
        yield from (*own.by_service, *own.by_rule, *own.by_client, *own.by_host)
        yield from (text for case, row in own.rows.items() for text in (*case, row.url, row.evidence))
    yield from tally.by_client


@pytest.mark.parametrize("url", [PLAIN, WHATSAPP, NO_HOST, b"http://%s.whatsapp.com/" % (b"a" * 5000)])
def test_nothing_long_is_kept(url: bytes) -> None:
    """A client may be a name, and then anything."""
    own = program(block(), on_error="block")
    line = native(url + b"/" * 5000, client=b"c" * 5000, user=b"u" * 100)
    tally = count(own, line, against=program(), log_format=SQUID)
    assert max(map(len, everything_that_is_kept(tally))) <= SHOWN


# ---- requests without an answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["allow", "block"])
def test_a_request_without_a_host_is_answered_as_on_error_says(on_error: str) -> None:
    own = program(block(), on_error=on_error)
    tally = count(own, native(NO_HOST, client=b"::ffff:192.0.2.7"), native(PLAIN, client=b"192.0.2.7"))
    blocked = tally.outcomes["blocked"]
    assert (tally.requests, tally.failed, blocked.total) == (2, 1, int(on_error == "block"))
    assert dict(blocked.by_client) == ({"192.0.2.7": 1} if on_error == "block" else {})
    assert dict(tally.by_client) == {"192.0.2.7": 2}
    assert [own.reason for own in tally.failures] == ["no host in 'http:///'"]


@pytest.mark.parametrize("on_error", ["allow", "block"])
def test_a_policy_that_fails_answers_as_on_error_says(on_error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImhelperError("an expression took too long")

    monkeypatch.setattr(Engine, "decide", fail)
    tally = count(program(block(), on_error=on_error), native(WHATSAPP), against=program(on_error="block"))
    assert (tally.failed, tally.outcomes["blocked"].total) == (1, int(on_error == "block"))
    assert tally.outcomes["newly_allowed"].total == int(on_error == "allow")
    assert [own.reason for own in tally.failures] == ["an expression took too long"]


def test_a_name_in_place_of_a_client_holds_no_rule_for_clients() -> None:
    addresses = program(block(clients=((4, 0, 2**32 - 1),)))
    tally = count(addresses, native(WHATSAPP), native(WHATSAPP, client=b"pc7.example"), native(WHATSAPP, client=b"-"))
    assert tally.outcomes["blocked"].total == 1
    assert (tally.gaps["client_name"], tally.gaps["client"]) == (1, 1)
    assert dict(tally.by_client) == {"192.0.2.1": 1, "pc7.example": 1, "-": 1}


def test_a_rewriter_sees_no_user_agent_and_no_content_type() -> None:
    line = b'{"time": 1764000000, "url": "http://example.org/", "user_agent": "MSMSGS", "content_type": "%s"}\n'
    seen = [Counter(BUILT_IN, None, NOW, rewriter=own).count(line, JSON, "a", 0) for own in (False, True)]
    assert [own.outcomes["blocked"].total for own in seen] == [1, 0]
    assert [own.gaps.get("acl_only", 0) for own in seen] == [0, 1]
    assert [own.gaps.keys() & {"user_agent", "content_type"} for own in seen] == [set(), set()]


def test_a_dry_run_of_the_policy_is_counted_as_what_it_would_block() -> None:
    dry = BLOCKING._replace(response=BLOCKING.response._replace(dry_run=True))
    assert count(dry, native(WHATSAPP)).outcomes == count(BLOCKING, native(WHATSAPP)).outcomes


@pytest.mark.parametrize("url", [b"http://example.org/%d/%s", b"http://%d.example.org/%s", b"http:///%d%s"])
def test_what_is_remembered_of_long_lines_is_small(url: bytes) -> None:
    counter = Counter(BUILT_IN, BUILT_IN, NOW)
    long = b"x" * (1 << 19)
    counter.count(native(url % (0, long)), SQUID, "access.log", 0)
    tracemalloc.start()
    try:
        for number in range(40):
            counter.count(native(url % (number, long)), SQUID, "access.log", number)
        assert tracemalloc.get_traced_memory()[0] < len(long)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("url", "gap"),
    [
        (b"http://portal.example/x?", 1),
        (b"http://portal.example/x", 0),
        (b"http://portal.example/x?chat=1", 0),  # is blocked
        (b"http://portal.example/x?chat=2", 0),
    ],
)
def test_a_query_that_was_cut_off_is_told_where_there_are_expressions(url: bytes, gap: int) -> None:
    own = SiteList("own", regex=("[?&]chat=1",))
    policy = Policy("policy.toml", (Rule("own", "block", sites=("own",)),), sites={"own": own})
    tally = count(compile_policy(policy, CATALOGUE), native(url))
    assert tally.gaps.get("query_for_expressions", 0) == gap


def test_how_much_time_expressions_took_changes_nothing() -> None:
    """An account of a helper would be overdrawn: no time goes by in this log."""
    own = SiteList("own", regex=(r"^https?://chat[0-9]+\.example\.net/(a|b|ab)*$",))
    policy = Policy("policy.toml", (Rule("own", "block", sites=("own",)),), sites={"own": own})
    program = compile_policy(policy, CATALOGUE)
    lines = b"".join(b"10.0.0.1 chat%d.example.net/%b\n" % (n, b"ab" * 200) for n in range(20_000))
    tally = Counter(program, program, NOW).count(lines, LogFormat("pairs"), "a", 0)
    assert (tally.outcomes["blocked"].total, tally.failed) == (20_000, 0)
    assert (tally.outcomes["newly_blocked"].total, tally.outcomes["newly_allowed"].total) == (0, 0)
