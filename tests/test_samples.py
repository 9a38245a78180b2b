"""Real access logs: every line is accounted for, and what is counted is what plain Python counts.

The logs are other people's and not part of this tree; SQUID_IMHELPER_SAMPLES names the folder above them.
"""

import os
from collections import Counter as Count
from collections.abc import Iterator
from pathlib import Path

import pytest

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.dryrun.counting import Counter
from squid_imhelper.dryrun.tally import Tally
from squid_imhelper.loading import load_engine
from squid_imhelper.logs.accesslog import LogFormat, Record, UnreadableError, is_no_request, reader, to_request
from squid_imhelper.logs.logfiles import Logs

SAMPLES = os.environ.get("SQUID_IMHELPER_SAMPLES", "")
LOGS = sorted(path for path in Path(SAMPLES, "access").glob("*.*") if path.is_file()) if SAMPLES else []
NEEDS_SAMPLES = pytest.mark.skipif(not LOGS, reason="SQUID_IMHELPER_SAMPLES names no folder with access logs")
EVERY_LOG = pytest.mark.parametrize("path", LOGS, ids=[path.name for path in LOGS])
NOW = 1773623203.0


def blocks(path: Path) -> tuple[LogFormat, list[bytes]]:
    logs = Logs(None)
    [found] = logs.in_time_order([str(path)], None, "UTC")
    assert found.problem == ""
    assert found.log_format is not None
    return found.log_format, list(logs.blocks(found))


def counted(path: Path) -> Tally:
    """What the dry run counts, under the built-in policy."""
    log_format, several = blocks(path)
    counter, tally = Counter(load_engine("built-in", print).program, None, NOW), Tally()
    for block in several:
        tally.add(counter.count(block, log_format, str(path), tally.lines))
    return tally


# ---- the same in plain Python ----------------------------------------------------------------------------------------


def plain_lines(path: Path) -> list[str]:
    return path.read_bytes().decode("latin-1").replace("\r", "").removesuffix("\n").split("\n")


def words_of_native(line: str) -> list[str]:
    """Log tag and status, bytes, method and URL: the first word with a capital and a slash begins them."""
    words = line.split()
    starts = [n for n, word in enumerate(words[:6]) if word[:1].isupper() and word.count("/") == 1 and n > 1]
    return (
        words[starts[0] : starts[0] + 4] if starts and words[starts[0] + 1 :][:1] and is_number(words, starts) else []
    )


def is_number(words: list[str], starts: list[int]) -> bool:
    return words[starts[0] + 1].isdigit() and words[0][:1].isdigit() and len(words) > starts[0] + 3


def host_of(method: str, url: str) -> str:
    authority = url if method == "CONNECT" and "://" not in url else url.partition("://")[2]
    authority = authority.partition("/")[0].partition("?")[0].rpartition("@")[2]
    name = authority.partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
    return name.strip("[").rstrip(".").lower()


Plain = tuple[bool, str]
"""Whether Squid had denied it, and the host; "" where there is none."""


def plainly(path: Path) -> Iterator[Plain]:
    """Every request of a log."""
    for line in plain_lines(path):
        cells = line.split("\t")
        if "msn" in path.name and not line.startswith("#") and line.strip():
            yield False, host_of("GET", f"http://{line.split()[1]}")
        elif path.suffix == ".tsv" and cells[0].count(":") == 2:  # some times are damaged
            yield "DENIED" in cells[3], cells[5].lower()
        elif words := words_of_native(line):
            no_request = words[3].startswith(("error:", "/")) or words[0].startswith("UDP_")
            yield "DENIED" in words[0], "" if no_request else host_of(words[2], words[3])


def records(path: Path) -> Iterator[Record]:
    log_format, several = blocks(path)
    read = reader(log_format)
    for line in b"".join(several).split(b"\n"):
        try:
            yield read(line.rstrip(b"\r"))
        except UnreadableError:
            continue


def host_in(record: Record) -> str:
    try:
        return "" if is_no_request(record) else to_request(record)[0].target.host
    except ImhelperError:
        return ""


@NEEDS_SAMPLES
@EVERY_LOG
def test_every_line_of_a_real_log_is_accounted_for(path: Path) -> None:
    tally, lines = counted(path), plain_lines(path)
    assert tally.lines == len(lines)
    assert tally.requests + sum(tally.skipped.values()) == len(lines)
    assert tally.skipped.get("blank", 0) == sum(not line.strip() for line in lines)
    assert tally.skipped.get("comment", 0) == sum(line.startswith("#") for line in lines)
    assert all(example.reason for example in tally.malformed)


@NEEDS_SAMPLES
@EVERY_LOG
def test_a_real_log_is_read_as_plain_python_reads_it(path: Path) -> None:
    plain, read = list(plainly(path)), list(records(path))
    assert plain
    assert len(read) == len(plain)
    assert sum(record.denied for record in read) == sum(denied for denied, _ in plain)
    assert Count(map(host_in, read)) == Count(host for _, host in plain)


@NEEDS_SAMPLES
@EVERY_LOG
def test_a_real_log_is_counted_as_it_is_read(path: Path) -> None:
    tally, plain = counted(path), list(plainly(path))
    assert tally.requests == len(plain)
    assert tally.denied == sum(denied for denied, host in plain if host)
    assert tally.without_request + tally.failed == sum(not host for _, host in plain)


@NEEDS_SAMPLES
def test_the_gateway_of_2006_is_blocked() -> None:
    """Five requests of MSN Messenger, as somebody recorded them that year."""
    [path] = [path for path in LOGS if "msn_http_gateway" in path.name]
    tally = counted(path)
    assert tally.requests == sum("gateway.dll" in line for line in plain_lines(path)) == 5
    assert tally.outcomes["blocked"].by_service == {"msn_messenger": 5}
