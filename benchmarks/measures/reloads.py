"""How long a request waits at the longest while a policy with a long list, or its program, is replaced."""

import tempfile
from pathlib import Path

from benchmarks import reloading
from benchmarks.bench import Bench
from benchmarks.definitions import Definition, Result, Samples
from benchmarks.problems import WrongAnswer


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures the longest wait at rest and meanwhile, and how long it takes until the new version is in force."""
    domains = definition.settings["domains"]
    samples: Samples = {}
    for _ in bench.turns(definition):
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            reloading.write_domains(folder, domains)
            source, program = folder / "policy.toml", folder / "many.program"
            for name, policy in (("program", program), ("policy", source)):
                reloading.write_policy(folder, 1)
                reloading.compile_policy(source, program)
                try:
                    calm, busy, took = reloading.waits(folder, policy)
                except SystemExit as wrong:
                    raise WrongAnswer(f"{name} replaced: {wrong}") from None
                figures = {"longest_at_rest_ms": max(calm) * 1e3, "longest_ms": max(busy) * 1e3, "in_force_s": took}
                bench.note(samples, name, figures)
    return Result(samples, notes=[f"a list of {domains:,} domains"])
