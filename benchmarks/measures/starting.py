"""From the start of a helper to its first answer: Squid waits for that at every reconfigure."""

import subprocess
import sys
import time
from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.definitions import Definition, Result, Samples
from benchmarks.measures.ping_pong import ask_one_by_one

SCALES: Mapping[str, list[str]] = {"python": [sys.executable, "-c", "pass"]}
"""What is no helper and answers nothing, to be compared with: its start and end."""


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures milliseconds to the first answer."""
    workload = bench.workload(definition.workload)
    taking_part = bench.contenders([name for name in definition.contenders if name not in SCALES])
    samples: Samples = {}
    for _ in bench.turns(definition):
        for one in taking_part:
            _, _, first = ask_one_by_one(bench, one, workload, 0, 1, -1)
            bench.note(samples, one.name, {"first_answer_ms": first / 1e6})
        for name in SCALES.keys() & set(definition.contenders):
            begun = time.perf_counter()
            subprocess.run(SCALES[name], check=True)  # noqa: S603
            bench.note(samples, name, {"first_answer_ms": (time.perf_counter() - begun) * 1e3})
    return Result(samples, notes=["of python: start and end of `python -c pass`"])
