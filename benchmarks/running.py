"""Starting a contender, waiting for its end, and what the kernel says that it took."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.problems import Problem


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process from start to end: seconds on the clock and on the processor, and its largest size in MB."""

    seconds: float
    cpu: float
    megabytes: float


def run(command: Sequence[str | Path], stdin: Path, stdout: Path) -> Cost:
    """Runs a program from file to file, nothing in between.

    Raises:
        Problem: it did not end well.
    """
    with stdin.open("rb") as source, stdout.open("wb") as target, tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdin=source, stdout=target, stderr=said)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            told = said.read().decode("utf-8", "replace").strip().splitlines()
            raise Problem(f"{Path(command[0]).name} ended with {process.returncode}: {' '.join(told[-1:])[-300:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
