"""One request at a time over a socket pair, as Squid asks for a single client: round trips, and the helper's CPU time.

A driver in C (contenders/pingpong.c) asks, so that its own time is small and the same for all; driver and helper share
one core, so that no second one hides what the switch between them costs.
"""

import os
import subprocess
from array import array
from collections import defaultdict
from statistics import median

from benchmarks.bench import Bench
from benchmarks.contenders import Contender, compiled
from benchmarks.definitions import Definition, Result, Samples, Series
from benchmarks.measures.pipe import shortened
from benchmarks.problems import Problem
from benchmarks.workloads import Workload

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9)


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures the median and the 99th percentile of round trips, and CPU time a request."""
    workload = bench.workload(definition.workload)
    warm, requests = definition.settings["warm"], definition.settings["requests"]
    taking_part = bench.contenders(definition.contenders)
    samples: Samples = {}
    everything: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
    for _ in bench.turns(definition):
        for one in taking_part:
            times, cpu, _ = ask_one_by_one(bench, one, workload, warm, requests, last_core())
            ordered = sorted(times)
            everything[one.name] += times
            figures = {
                "median_us": median(ordered) / 1e3,
                "p99_us": percentile(ordered, 99),
                "cpu_us": cpu / requests / 1e3,
            }
            bench.note(samples, one.name, figures)
    return Result(samples, distribution(everything), [f"{requests} requests in each run, behind {warm} to warm up"])


def last_core() -> int:
    """The core on which it is measured."""
    return max(os.sched_getaffinity(0))


def ask_one_by_one(
    bench: Bench, one: Contender, workload: Workload, warm: int, requests: int, core: int
) -> tuple["array[int]", int, int]:
    """Asks, and verifies the answers.

    Returns:
        The round trips, the helper's CPU time for them, and the time from start to first answer, in nanoseconds.

    Raises:
        Problem: the driver or the helper has ended.
    """
    folder = bench.ground.folder
    asked = shortened(workload, one.asked, warm + requests)
    times, answers = folder / "times.bin", folder / "answers.txt"
    driver = compiled(bench.ground, "pingpong")
    done = subprocess.run(  # noqa: S603  # our own program
        [driver, str(core), str(warm), asked, times, answers, *one.command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Problem(f"{one.name}, one request at a time: {done.stderr.strip()[-300:]}")
    one.verify(answers, workload, warm + requests)
    found = array("I")
    found.frombytes(times.read_bytes())
    cpu, first = map(int, done.stdout.split())
    return found, cpu, first


def percentile(ordered: list[int], percent: float) -> float:
    """Returns one in microseconds."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] / 1e3


def distribution(everything: "dict[str, array[int]]") -> Series:
    """Returns, by contender, percentiles of all its round trips in microseconds."""
    found: Series = {}
    for name, times in everything.items():
        ordered = sorted(times)
        found[name] = [(percent, percentile(ordered, percent)) for percent in PERCENTILES]
    return found
