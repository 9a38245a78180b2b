"""The day of an office that a real Squid has recorded (benchmarks/office.py): all its formats tell the same story."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from squid_imhelper.base.model import Circumstances
from squid_imhelper.dryrun.counting import Counter as LineCounter
from squid_imhelper.dryrun.replay import Outcome, counted_here, replay
from squid_imhelper.dryrun.summary import as_json
from squid_imhelper.loading import load_engine
from squid_imhelper.logs.logfiles import Logs, no_progress
from squid_imhelper.offline.check import check

LOGS = Path(__file__).parent / "data" / "logs"
EXPECTED = json.loads((LOGS / "expected.json").read_text())
NAMES = ["squid.log", "combined.log", "common.log", "imhelper.log", "json.log", "office.tsv"]
TELL_ALL = ["imhelper.log", "json.log"]
"""The others lack content types; squid.log and common.log user agents as well; and all but the table queries."""
HEADERS = {"office.tsv": 1}
ENGINE = load_engine("built-in", pytest.fail)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return {name: json.loads(as_json(counted(LOGS / name), compared=False)) for name in NAMES}


def counted(path: Path) -> Outcome:
    logs = Logs(None)
    files = logs.in_time_order([str(path)], None, "UTC")
    counter = LineCounter(ENGINE.program, None, 0.0)
    return replay(logs, files, counted_here(counter), no_progress, lambda _, __: None)


def test_all_files_are_there() -> None:
    assert sorted(path.name for path in LOGS.iterdir()) == sorted([*NAMES, "expected.json"])


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_accounted_for(name: str, found: dict[str, dict[str, Any]]) -> None:
    told = found[name]
    assert told["lines"] == (LOGS / name).read_bytes().count(b"\n") == EXPECTED["lines"] + HEADERS.get(name, 0)
    assert told["skipped"] == HEADERS.get(name, 0)
    assert told["requests"] - told["without_request"] == EXPECTED["requests"]
    assert told["without_request"] == EXPECTED["malformed"]
    assert told["denied"] == EXPECTED["denied"]
    assert told["failed"] == 0


@pytest.mark.parametrize("name", TELL_ALL)
def test_a_log_that_tells_all_gives_what_was_sent(name: str, found: dict[str, dict[str, Any]]) -> None:
    told = found[name]
    assert told["by_service"] == EXPECTED["by_service"]
    assert told["by_client"] == EXPECTED["by_client"]
    assert told["blocked"] == sum(EXPECTED["by_service"].values())
    assert told["denied_and_blocked"] == sum(EXPECTED["denied_by_service"].values())


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(TELL_ALL)))
def test_a_log_that_tells_less_gives_less_and_nothing_else(name: str, found: dict[str, dict[str, Any]]) -> None:
    told = found[name]
    assert Counter(told["by_service"]) < Counter(EXPECTED["by_service"])
    assert Counter(told["by_client"]) < Counter(EXPECTED["by_client"])
    assert bool(told["unknown"].get("query")) == (name != "office.tsv")  # which alone has whole URLs


def test_the_native_log_counted_by_hand(found: dict[str, dict[str, Any]]) -> None:
    """Cut into words at blanks, each URL asked by itself."""
    services: Counter[str] = Counter()
    hours: Counter[int] = Counter()
    for line in (LOGS / "squid.log").read_text().split("\n")[:-1]:
        time, _, client, tag, _, method, url, *_ = line.split()
        if "DENIED" in tag or ("://" not in url and method != "CONNECT"):
            continue
        decision = check(ENGINE, url, Circumstances(client=client, method=method), float(time)).decision
        if decision.action == "block":
            services[decision.service or "-"] += 1
            hours[int(float(time)) // 3600] += 1
    assert found["squid.log"]["by_service"] == services
    assert list(found["squid.log"]["by_hour"].values()) == [hours[hour] for hour in sorted(hours)]
