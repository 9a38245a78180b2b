"""`replay` over an access log in Squid's native format, whole process, against squidGuard fed the same requests."""

import json

from benchmarks.bench import Bench
from benchmarks.definitions import Definition, Result, Samples
from benchmarks.ground import HELPER
from benchmarks.measures.pipe import pass_lines, shortened
from benchmarks.problems import WrongAnswer
from benchmarks.running import run
from benchmarks.workloads import Workload

JOBS = {"replay": 1, "replay_2": 2}


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures lines a second."""
    workload = bench.workload(definition.workload)
    others = bench.contenders([name for name in definition.contenders if name not in JOBS])
    samples: Samples = {}
    for _ in bench.turns(definition):
        for name in definition.contenders:
            if name in JOBS:
                bench.note(samples, name, replay(bench, workload, JOBS[name]))
        for one in others:
            bench.note(samples, one.name, pass_lines(bench.ground.folder, one, workload, workload.lines))
    return Result(samples, notes=[f"{workload.lines:,} lines, {workload.logged:,} of them blocked"])


def replay(bench: Bench, workload: Workload, jobs: int) -> dict[str, float]:
    """Replays the log with so many processes.

    Raises:
        WrongAnswer: it does not find as many blocked requests as there are.
    """
    log, told = shortened(workload, "access.log", workload.lines), bench.ground.folder / "replay.json"
    command = (HELPER, "replay", "--policy", bench.ground.program_path, "--json", "--jobs", str(jobs), log)
    cost = run(command, bench.ground.policy_path, told)
    found = json.loads(told.read_bytes())
    given, wanted = (
        (found["lines"], found["requests"], found["blocked"]),
        (workload.lines, workload.lines, workload.logged),
    )
    if given != wanted:
        raise WrongAnswer(f"replay --jobs {jobs}: lines, requests and blocked are {given}, and must be {wanted}")
    return {"lines_per_second": workload.lines / cost.seconds, "cpu_us": cost.cpu / workload.lines * 1e6}
