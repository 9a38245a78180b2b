"""CPU time a request against the number of domains, URLs or user agents in the policy; none of them decides anything.

The time of a start is taken off, measured with the same program and a single line.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contenders import ours_with
from benchmarks.definitions import Definition, Result, Samples, Series
from benchmarks.ground import Ground
from benchmarks.measures.pipe import pass_lines
from benchmarks.names import combined, free_of
from benchmarks.policies import program_with_agents, program_with_sites
from benchmarks.workloads import Workload


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures microseconds a request for each size."""
    workload = bench.workload(definition.workload)
    settings = definition.settings
    lines = min(settings["lines"], workload.lines)
    sizes: Sequence[int] = settings["sizes"]
    programs = {size: _program(bench.ground, settings["of"], size, workload) for size in sizes}
    samples: Samples = {}
    for _ in bench.turns(definition):
        for size, program in programs.items():
            one = ours_with(program, f"{size:,}")
            start = pass_lines(bench.ground.folder, one, workload, 1)["cpu_us"]
            whole = pass_lines(bench.ground.folder, one, workload, lines)["cpu_us"] * lines
            bench.note(samples, f"{size}", {"cpu_us": (whole - start) / lines})
    series: Series = {
        settings["of"]: [(size, sorted(samples[f"{size}"]["cpu_us"])[definition.runs // 2]) for size in sizes]
    }
    return Result(samples, series, [f"{lines} lines of {definition.workload}"])


def _program(ground: Ground, of: str, size: int, workload: Workload) -> Path:
    """Compiles a policy with so many entries."""
    names = islice(_unasked(ground, workload), size)
    if of == "agents":
        return program_with_agents(
            ground, f"agents-{size}", (f"{name.partition('.')[0]}/{n}." for n, name in enumerate(names))
        )
    if of == "urls":
        words = ("login", "chat", "api/v1", "messages", "app")
        urls = [f"{name}/{words[n % len(words)]}" for n, name in enumerate(names)]
        return program_with_sites(ground, f"urls-{size}", "urls", urls)
    return program_with_sites(ground, f"domains-{size}", "domains", names)


def _unasked(ground: Ground, workload: Workload) -> Iterator[str]:
    """Yields names that no request of a workload goes to, real ones and what is made of them."""
    with workload.path("rewriter.txt").open(encoding="ascii") as file:
        hosts = {line.partition("://")[2].partition("/")[0] or line.partition(" ")[0] for line in file}
    is_free = free_of(host.partition(":")[0] for host in hosts)
    everything = list(reversed(ground.names))
    seen: set[str] = set()
    for name in (*everything, *combined(everything, 0, 200_000)):
        if name not in seen and is_free(name):
            seen.add(name)
            yield name
