"""How many lines of a log does `replay` decide in a second, by one process and by two? Whole commands, start included.

python benchmarks/replay.py [--log FILE] [--lines N] [--runs N]

The log is repeated until it has so many lines. Without one it is the recorded day of tests/data/logs; office.py records
longer ones. Both ways must find as many blocked requests as there are in the log, times the repetitions.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent.parent / "tests/data/logs/imhelper.log"
JOBS = (1, 2)


def timed(log: Path, jobs: int) -> tuple[float, dict[str, Any]]:
    """Returns the seconds that a dry run takes, and what it finds."""
    command = [sys.executable, "-m", "squid_imhelper", "replay", "--policy", "built-in", "--json", "--jobs", str(jobs)]
    start = time.perf_counter()
    done = subprocess.run([*command, str(log)], check=True, stdout=subprocess.PIPE)  # noqa: S603
    return time.perf_counter() - start, json.loads(done.stdout)


def main() -> None:
    """Prints medians of some runs, the two ways taking turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, default=RECORDED)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    once = options.log.read_bytes()
    times = -(-options.lines // once.count(b"\n"))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        log.write_bytes(once * times)
        expected = timed(options.log, 1)[1]["blocked"] * times
        taken: dict[int, list[float]] = {jobs: [] for jobs in JOBS}
        for _ in range(options.runs):
            for jobs in JOBS:
                seconds, found = timed(log, jobs)
                if found["blocked"] != expected:
                    sys.exit(f"--jobs {jobs}: {found['blocked']} blocked, and not {expected}")
                taken[jobs].append(found["lines"] / seconds)
    medians = {jobs: statistics.median(rates) for jobs, rates in taken.items()}
    for jobs, rate in medians.items():
        print(f"--jobs {jobs}: {rate:,.0f} lines/s, {rate / medians[1]:.2f} times one process")


if __name__ == "__main__":
    main()
