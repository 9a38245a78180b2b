"""A list of millions of domains: what compiling it takes, and what it costs a helper beside the list of a thousand.

With SQUID_IMHELPER_SAMPLES set, it is the union list of the samples; else as many are made of real names. What the
longer list blocks besides is found by looking up each host, and the domains above it, in a set of Python's.
"""

import os
import shutil
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.asked import Asked
from benchmarks.bench import Bench
from benchmarks.contenders import Contender, ours_with
from benchmarks.definitions import Definition, Result, Samples
from benchmarks.ground import HELPER, POLICY, Ground
from benchmarks.measures.memory import size_behind
from benchmarks.measures.ping_pong import ask_one_by_one
from benchmarks.measures.pipe import pass_lines
from benchmarks.names import combined, parents
from benchmarks.policies import EXTRA
from benchmarks.problems import Problem
from benchmarks.running import run
from benchmarks.workloads import Workload

SAMPLE: Final = "domains/domains_union.txt.zst"
KEPT: Final = 200
Pair = tuple[str, str]
"""A helper's line, and the answer to it."""

SPEEDS: Final = {"office": "us_office", "new_hosts": "us_new_hosts"}


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures compiling, program size, start, private memory, and time a request."""
    ground, settings = bench.ground, definition.settings
    names, source = _names(ground, settings["domains"])
    pairs = {name: _first_pairs(bench.workload(name), settings["lines"]) for name in SPEEDS}
    names = without_asked(names, [pair for some in pairs.values() for pair in some])
    policy = _policy(ground, names)
    program, samples = policy.with_suffix(".program"), Samples()
    for _ in range(settings["compilings"]):
        cost = run((HELPER, "compile", "--policy", policy, "-o", program), policy, ground.folder / "said.txt")
        megabytes = program.stat().st_size / 1e6
        figures = {"compile_seconds": cost.seconds, "compile_gb": cost.megabytes / 1024, "program_mb": megabytes}
        bench.note(samples, "many", figures)
    asked = {name: _with_more(bench.workload(name), pairs[name], set(names), ground.folder) for name in SPEEDS}
    _compare(bench, definition, program, asked, samples)
    notes = [
        f"{len(names):,} domains: {source}, without most of those that are asked for",
        "starts are taken off the µs",
    ]
    return Result(samples, notes=notes)


def without_asked(names: Sequence[str], pairs: Iterable[Pair]) -> list[str]:
    """Leaves out the names that block a request, but for some that block one each.

    Else the longer list would be measured by what it costs to block.

    Raises:
        Problem: there are none, so that no answer would show that the list is looked at.
    """
    listed = set(names)
    hit = Counter(name for pair in pairs if _is_let_through(pair) for name in parents(_host(pair)) if name in listed)
    kept = sorted(name for name, times in hit.items() if times == 1)[:KEPT]
    if not kept:
        raise Problem("no request goes to a name of the long list alone")
    left_out = hit.keys() - set(kept)
    return [name for name in names if name not in left_out]


def _compare(bench: Bench, definition: Definition, program: Path, asked: dict[str, Workload], samples: Samples) -> None:
    """Has helpers with either list take turns."""
    few, many = (
        ours_with(bench.ground.program_path, "few"),
        replace(ours_with(program, "many"), expected="more.expected"),
    )
    added: dict[str, list[float]] = {"start_ms": [], "private_dirty_mb": []}
    for _ in bench.turns(definition):
        found = {one.name: _figures(bench, one, asked, definition.settings["lines"]) for one in (few, many)}
        for name, figures in found.items():
            bench.note(samples, name, figures)
        for figure, values in added.items():
            values.append(found["many"][figure] - found["few"][figure])
    samples["added"] = {figure: [statistics.median(values)] for figure, values in added.items()}


def _figures(bench: Bench, one: Contender, asked: dict[str, Workload], lines: int) -> dict[str, float]:
    folder, office = bench.ground.folder, asked["office"]
    firsts = [ask_one_by_one(bench, one, office, 0, 1, -1)[2] / 1e6 for _ in range(1 if bench.check else 5)]
    figures = {"start_ms": statistics.median(firsts)}
    figures["private_dirty_mb"] = size_behind(bench, one, office, min(lines, 10_000))["private_dirty_mb"]
    for name, figure in SPEEDS.items():
        start = pass_lines(folder, one, asked[name], 1)["cpu_us"]
        figures[figure] = (pass_lines(folder, one, asked[name], lines)["cpu_us"] * lines - start) / lines
    return figures


def _names(ground: Ground, count: int) -> tuple[list[str], str]:
    """Returns the domains, and where they come from."""
    samples = os.environ.get("SQUID_IMHELPER_SAMPLES")
    if samples and not ground.check:
        from backports import zstd

        with zstd.open(Path(samples) / SAMPLE, "rt", encoding="ascii", errors="ignore") as file:
            return [name for name in map(str.strip, file) if "." in name], "the union list of the samples"
    asked_for = ground.names[:: 2 if ground.check else 20]
    made = combined(ground.names, 2_000 if ground.check else 2_000_000, count - len(asked_for))
    return asked_for + made, "first labels of real names below others"


def _policy(ground: Ground, names: Iterable[str]) -> Path:
    path = ground.policy_path.with_name("many.toml")
    with path.with_suffix(".txt").open("w", encoding="ascii") as file:
        file.writelines(f"{name}\n" for name in names)
    sites = '[sites]\nmore = { file = "many.txt", format = "domains" }\n'
    path.write_text(POLICY.replace("[sites]\n", sites) + EXTRA.format(condition='sites = ["more"]'), encoding="ascii")
    return path


def _first_pairs(own: Workload, lines: int) -> list[Pair]:
    with own.path("acl.txt").open(encoding="ascii") as asked, own.path("acl.expected").open(encoding="ascii") as told:
        return list(islice(zip(asked, told, strict=False), lines))


def _with_more(own: Workload, pairs: Sequence[Pair], names: set[str], folder: Path) -> Workload:
    """Writes what must be answered when the long list counts as well, and returns the shortened workload."""
    target = folder / "workloads" / f"{own.folder.name}-more"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (target / "acl.txt").write_text("".join(line for line, _ in pairs), encoding="ascii")
    (target / "acl.expected").write_text("".join(answer for _, answer in pairs), encoding="ascii")
    (target / "more.expected").write_text("".join(answers(pairs, names)), encoding="ascii")
    return replace(own, folder=target, lines=len(pairs))


def answers(pairs: Iterable[Pair], names: set[str]) -> Iterator[str]:
    """Yields what must be answered: lines come with the answer that counts without the list of these names."""
    for pair in pairs:
        is_listed = _is_let_through(pair) and not names.isdisjoint(parents(_host(pair)))
        yield pair[1].replace(" ERR\n", " OK log=more\n") if is_listed else pair[1]


def _is_let_through(pair: Pair) -> bool:
    return pair[1].endswith(" ERR\n")


def _host(pair: Pair) -> str:
    """The host that a helper's line asks for."""
    _, client, method, url, *_ = pair[0].split(" ")
    return Asked(client, method, url).host
