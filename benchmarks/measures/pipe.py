"""Throughput through a pipe: a file of lines in, a file of answers out, the start of the process included."""

import hashlib
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contenders import Contender, first_lines
from benchmarks.definitions import Definition, Result, Samples
from benchmarks.running import run
from benchmarks.workloads import Workload


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures lines a second, and CPU time a line."""
    workload = bench.workload(definition.workload)
    taking_part = bench.contenders(definition.contenders)
    fewer = definition.settings.get("lines", {})
    samples: Samples = {}
    for _ in bench.turns(definition):
        for one in taking_part:
            lines = min(workload.lines, fewer.get(one.name, workload.lines))
            figures = pass_lines(bench.ground.folder, one, workload, lines)
            bench.note(samples, one.name, figures)
    with workload.path("acl.expected").open("rb") as answers:
        digest = hashlib.file_digest(answers, "sha256").hexdigest()
    notes = [
        f"{workload.lines:,} lines, {workload.different:,} of them different",
        f"SHA-256 of the answers {digest[:16]}",
    ]
    return Result(samples, notes=notes)


def pass_lines(folder: Path, one: Contender, workload: Workload, lines: int) -> dict[str, float]:
    """Has one contender answer the first lines of a workload, and verifies its answers."""
    asked, answers = shortened(workload, one.asked, lines), folder / "answers.txt"
    cost = run(one.command, asked, answers)
    one.verify(answers, workload, lines)
    return {"lines_per_second": lines / cost.seconds, "cpu_us": cost.cpu / lines * 1e6, "seconds": cost.seconds}


def shortened(workload: Workload, name: str, lines: int) -> Path:
    """Returns a file with the first lines of one of a workload's."""
    path = workload.path(name)
    if lines >= workload.lines:
        return path
    short = path.with_name(f"{lines}-{name}")
    if not short.exists():
        short.write_bytes(first_lines(path, lines))
    return short
