"""Requests that went through a real Squid: the day that office.py records, read back from its log."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.asked import Asked
from benchmarks.problems import Problem
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.logs.accesslog import is_no_request, named_format, reader, to_request

SHIPPED: Final = Path(__file__).parent.parent / "tests/data/logs/imhelper.log"
"""Four hundred lines, for where there is no time to record."""
SEED: Final = 2006


def record(folder: Path, requests: int) -> Path:
    """Records a day of so many requests, unless that has been done, and returns its log with URLs and headers.

    Raises:
        Problem: it cannot be recorded here.
    """
    log = folder / f"day-{requests}" / "imhelper.log"
    if not log.exists():
        script = Path(__file__).with_name("office.py")
        words: list[str | Path] = [
            sys.executable,
            script,
            "--requests",
            str(requests),
            "--seed",
            str(SEED),
            "--out",
            log.parent,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
        if done.returncode:
            raise Problem(f"no day can be recorded here: {done.stderr.strip().splitlines()[-1]}")
    return log


def read_log(path: Path) -> Iterator[Asked]:
    """Yields what was asked for, lines that are no request left out."""
    read = reader(named_format("imhelper", "UTC"))
    for line in path.read_bytes().splitlines():
        record = read(line)
        if is_no_request(record):
            continue
        try:
            request, url, client = to_request(record)
        except ImhelperError:
            continue
        if request.target.host and request.method in ("CONNECT", "DELETE", "GET", "HEAD", "POST", "PUT"):
            yield Asked(client, request.method, url, request.user_agent or "", request.content_type or "")
