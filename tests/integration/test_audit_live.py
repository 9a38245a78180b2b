"""The audit log and the counters, written by four helpers of a busy Squid at once, and held against Squid's own log."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import pytest
from load import (
    CHILDREN,
    Exchange,
    Load,
    LogLine,
    log_lines,
    read_metrics,
    send_all,
    wait_until_ready,
    with_four_helpers,
)
from real_squid import IS_ROOT, Network, Squid, helpers_of, wait_for

pytestmark = pytest.mark.squid
Start = Callable[..., Squid]

POLICY = """
[sites]
own = { domains = ["chat.example"] }

[[rule]]
name = "no Telegram"
services = ["telegram"]
action = "block"

[[rule]]
name = 'say "no", 100 %'
services = ["discord"]
action = "block"

[[rule]]
name = "our own"
sites = ["own"]
action = "block"

[[rule]]
name = "we watch Slack"
services = ["slack"]
action = "monitor"
"""
MIX = [
    *["http://web.telegram.org/a/"] * 6,
    *["http://discord.com/b/"] * 4,
    *["http://www.chat.example/c/"] * 4,
    "http://app.slack.com/d/",
    "http://www.news.example/e/",
]
"""Both of what is let through cost more time than all the rest: they go to an origin."""
SHARE = 15 / 16
"""Of the mix, what is blocked or monitored."""


@pytest.fixture(scope="module")
def policy(network: Network) -> Path:
    path = network.folder / "audited.toml"
    path.write_text(POLICY)
    return path


def check_answers(answers: list[Exchange]) -> None:
    """Every request was answered as the policy says."""
    for answer in answers:
        let_through = "slack" in answer.url or "news" in answer.url
        assert answer.status == (200 if let_through else 403), answer


def decided(squid: Squid, count: int) -> list[LogLine]:
    """The lines of Squid's log that name a rule."""
    return [line for line in log_lines(squid, count) if line.rule != "-"]


def as_logged(line: LogLine) -> tuple[str, str | None, str, str]:
    return line.url, None if line.tag == "-" else line.tag, line.rule, "block" if line.status == 403 else "monitor"


def as_audited(line: bytes) -> tuple[str, str | None, str, str]:
    entry = json.loads(line)
    assert (entry["client"], entry["method"], entry["dry_run"]) == ("127.0.0.1", "GET", False)
    return entry["url"], entry["service"], entry["rule"], entry["action"]


def lines_of(*files: Path) -> list[bytes]:
    return [line for file in files if file.exists() for line in file.read_bytes().splitlines()]


def lost(squid: Squid) -> float:
    return sum(counters["audit_lost_total"] for counters in read_metrics(squid).values())


def test_every_decision_is_in_the_log_once_over_two_rotations(start_squid: Start, policy: Path) -> None:
    squid = start_squid(with_four_helpers(policy, " --audit FOLDER/audit.log"))
    pids = wait_until_ready(squid)
    log = squid.folder / "audit.log"
    rotated = [log.with_suffix(".1"), log.with_suffix(".2")]
    with Load(squid, MIX, rate=2000) as load:
        for number, path in enumerate(rotated):
            wait_for(lambda: len(lines_of(log)) > 500, "lines in the log")
            log.rename(path)
            for pid in pids if number else ():  # the first time they find out by themselves
                os.kill(int(pid), signal.SIGHUP)
        wait_for(lambda: len(lines_of(log)) > 500, "lines in the last log")
        answers = load.stop()
    check_answers(answers)
    expected = Counter(map(as_logged, decided(squid, len(answers))))
    wait_for(lambda: len(lines_of(log, *rotated)) >= expected.total(), "the last lines of the log")
    lines = lines_of(log, *rotated)
    assert Counter(map(as_audited, lines)) == expected
    assert set(expected.values()) == {1}
    check_times(lines, answers)
    assert lost(squid) == 0
    assert helpers_of(squid) == pids


def check_times(lines: list[bytes], answers: list[Exchange]) -> None:
    """Each line says when its request was there, to the millisecond."""
    of_url = {answer.url: answer for answer in answers}
    for line in lines:
        entry = json.loads(line)
        answer = of_url[entry["url"]]
        milliseconds = round(datetime.fromisoformat(entry["time"]).timestamp() * 1000)
        assert int(answer.begun * 1000) <= milliseconds <= int(answer.ended * 1000)


def test_the_counters_of_all_helpers_are_those_of_squids_log(start_squid: Start, policy: Path) -> None:
    squid = start_squid(with_four_helpers(policy))
    pids = wait_until_ready(squid)
    with Load(squid, MIX) as load:
        for _ in range(200):  # whenever it is looked at, the file is there as a whole
            metrics = read_metrics(squid)
            assert set(metrics) == pids
            assert all("request_seconds_count" in counters for counters in metrics.values())
        answers = load.stop()
    check_answers(answers)
    wait_for(lambda: total(squid, "requests_total") >= len(answers), "the last counters")
    assert total(squid, "requests_total") == len(answers)
    assert total(squid, "batch_lines_sum") == total(squid, "request_seconds_count") == len(answers)
    lines = log_lines(squid, len(answers))
    for action, service, rule, status in (
        ("block", "telegram", "no Telegram", 403),
        ("block", "discord", 'say "no", 100 %', 403),
        ("block", "", "our own", 403),
        ("monitor", "slack", "we watch Slack", 200),
        ("allow", "", "", 200),
    ):
        labels = f'action="{action}",service="{service}",rule="{rule}"'.replace('"no"', r"\"no\"")
        logged = sum((line.tag, line.rule, line.status) == (service or "-", rule or "-", status) for line in lines)
        assert total(squid, f"decisions_total{{{labels}}}") == logged > 0
    assert helpers_of(squid) == pids


def total(squid: Squid, name: str) -> float:
    return sum(counters[name] for counters in read_metrics(squid).values())


# ---- a log that cannot be written costs lines, and no answers -------------------------------------------------------


def check_lost(squid: Squid, answers: list[Exchange], written: Callable[[], int], whole_after_all: int = 0) -> None:
    """What is not in the log has been counted as lost."""
    check_answers(answers)
    expected = len(decided(squid, len(answers)))
    wait_for(lambda: total(squid, "requests_total") == len(answers), "the counters")
    wait_for(lambda: written() + lost(squid) >= expected, "the last lines")
    assert expected <= written() + lost(squid) <= expected + whole_after_all
    assert len(helpers_of(squid)) == CHILDREN


def test_a_full_disk_costs_every_line_and_no_answer(start_squid: Start, policy: Path) -> None:
    squid = start_squid(with_four_helpers(policy, " --audit /dev/full"))
    wait_until_ready(squid)
    answers = send_all(squid, MIX, 2000)
    check_lost(squid, answers, lambda: 0)
    notices = [line for line in squid.cache_log.splitlines() if "squid-imhelper[" in line]
    assert 1 <= len(notices) <= CHILDREN  # and not one for each request
    assert all("cannot write the audit log /dev/full: No space left on device" in line for line in notices)


@pytest.fixture
def small_disk(network: Network) -> Iterator[Path]:
    """A file system of 128 KB; what is mounted before a Squid is started is there for it too."""
    folder = network.folder / "small-disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=777", "imhelper-test", folder]
    if not IS_ROOT or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("needs root that may mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.root
def test_a_disk_that_fills_costs_the_lines_that_do_not_fit(start_squid: Start, policy: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(64 << 10))
    log = small_disk / "audit.log"
    squid = start_squid(with_four_helpers(policy, f" --audit {log}"))
    wait_until_ready(squid)
    with Load(squid, MIX, rate=2000) as load:
        wait_for(lambda: lost(squid) > 0, "a full disk")
        full = log.stat().st_size
        ballast.unlink()
        wait_for(lambda: log.stat().st_size > full + (32 << 10), "lines behind those that were lost")
        answers = load.stop()
    # It was full twice; a line without its LF is lost to the helper that wrote it, and whole once another line follows.
    check_lost(squid, answers, lambda: len(whole_lines(log)), whole_after_all=2)
    lines = [as_audited(line) for line in whole_lines(log)]
    assert len(set(lines)) == len(lines)
    assert set(lines) <= set(map(as_logged, decided(squid, len(answers))))


def whole_lines(log: Path) -> list[bytes]:
    """The lines that were not cut off."""
    whole = []
    for line in lines_of(log):
        with suppress(ValueError):
            json.loads(line)
            whole.append(line)
    return whole


def test_a_folder_that_vanishes_costs_lines_and_no_answers(start_squid: Start, policy: Path) -> None:
    """It is not there at first, comes, goes, and comes again."""
    squid = start_squid(with_four_helpers(policy, " --audit FOLDER/logs/audit.log"))
    wait_until_ready(squid)
    folder = squid.folder / "logs"
    log = folder / "audit.log"
    with Load(squid, MIX, rate=2000) as load:
        wait_for(lambda: lost(squid) > 0, "lines that are lost")
        make_folder(folder)
        wait_for(lambda: len(lines_of(log)) > 200, "lines in the log")
        before = lost(squid)
        with log.open("rb") as removed:  # some lines may still go into it
            shutil.rmtree(folder)
            wait_for(lambda: lost(squid) > before, "lines that are lost again")
            make_folder(folder)
            wait_for(lambda: len(lines_of(log)) > 200, "lines in the new log")
            answers = load.stop()

            def written() -> int:
                removed.seek(0)
                return len(removed.read().splitlines()) + len(lines_of(log))

            check_lost(squid, answers, written)
            removed.seek(0)
            lines = [as_audited(line) for line in (*removed.read().splitlines(), *lines_of(log))]
    assert set(lines) <= set(map(as_logged, decided(squid, len(answers))))


def make_folder(folder: Path) -> None:
    """Makes one in which a helper may write."""
    new = folder.with_suffix(".new")
    new.mkdir()
    if IS_ROOT:
        shutil.chown(new, "proxy", "proxy")
    new.rename(folder)


def test_syslog_gets_what_it_takes_and_the_rest_is_counted(start_squid: Start, policy: Path, network: Network) -> None:
    path = network.folder / "syslog.socket"
    with syslog(path) as received:
        squid = start_squid(with_four_helpers(policy, f" --audit syslog:{path}"))
        wait_until_ready(squid)
        answers = send_all(squid, MIX, 2000)
        check_lost(squid, answers, lambda: len(received))
        lines = [as_audited(line.partition(b"]: ")[2]) for line in received]
    assert lines
    assert set(lines) <= set(map(as_logged, decided(squid, len(answers))))


@contextmanager
def syslog(path: Path) -> Iterator[list[bytes]]:
    """Collects what is sent to a socket."""
    received: list[bytes] = []

    def collect() -> None:
        while line := server.recv(1 << 16):
            received.append(line)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        path.chmod(0o666)
        thread = threading.Thread(target=collect)
        thread.start()
        try:
            yield received
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"", str(path))
            thread.join()
