"""The command: `python -m benchmarks [--check] [--list] [--runs N] [NAME ...]`."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.definitions import HERE, Definition, Result, read_definitions
from benchmarks.ground import Ground
from benchmarks.problems import Missing, Problem
from benchmarks.record import show, write
from benchmarks.tables import README, refresh


def main(words: Sequence[str] | None = None) -> int:
    """Runs benchmarks, and says in one sentence what stands in the way."""
    options = _parser().parse_args(words)
    definitions = read_definitions(options.definitions)
    if options.list:
        print("".join(f"{d.name:20} {d.title}\n" for d in definitions), end="")
        return 0
    unknown = set(options.names) - {definition.name for definition in definitions}
    if unknown:
        print(f"benchmarks: there is no benchmark {sorted(unknown)[0]!r}; see --list", file=sys.stderr)
        return 2
    wanted = [definition for definition in definitions if definition.name in options.names or not options.names]
    folder = options.folder / ("check" if options.check else "full")
    bench = Bench(Ground(folder.resolve(), options.check))
    failures, results = 0, {}
    for definition in wanted:
        own = definition.small() if options.check else replace(definition, runs=options.runs or definition.runs)
        try:
            results[own] = run(bench, own)
        except Missing as reason:
            print(f"{own.name}: left out: {reason}", flush=True)
        except (Problem, OSError, subprocess.CalledProcessError) as problem:
            failures += 1
            print(f"{own.name}: failed: {problem}", file=sys.stderr, flush=True)
            bench.left_out[own.name] = f"failed: {problem}"
    for name, why in bench.left_out.items():
        print(f"left out: {name}: {why}")
    if not options.check and (options.record or not options.names):
        record = write(results, bench.left_out, options.records, added=bool(options.names))
        refresh(record, options.readme)
    return 1 if failures else 0


def run(bench: Bench, definition: Definition) -> Result:
    """Runs one benchmark, and shows what came out; where answers are checked only, that they were right."""
    bench.say(f"{definition.name}: {definition.title}")
    result: Result = import_module(f"benchmarks.measures.{definition.measure}").measure(bench, definition)
    if bench.check:
        print(f"{definition.name}: every answer right ({', '.join(result.samples)})", flush=True)
    else:
        show(definition, result)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks; all of them")
    parser.add_argument("--list", action="store_true", help="tell their names")
    parser.add_argument("--check", action="store_true", help="each once and small: are the answers right? No timing")
    parser.add_argument("--runs", type=int, help="how often each contender takes its turn")
    parser.add_argument(
        "--record", action="store_true", help="add these benchmarks to the record of today; all: always"
    )
    parser.add_argument("--folder", type=Path, default=HERE / "build", help="for what is made (benchmarks/build)")
    parser.add_argument("--records", type=Path, default=HERE / "records", help="for the record (benchmarks/records)")
    parser.add_argument("--readme", type=Path, default=README, help="the text with the tables (benchmarks/README.md)")
    parser.add_argument("--definitions", type=Path, default=HERE / "definitions.toml", help="another definitions.toml")
    return parser


if __name__ == "__main__":
    sys.exit(main())
