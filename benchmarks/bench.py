"""What a measure works with: the ground, workloads, contenders, and turns."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.contenders import Contender, contender
from benchmarks.definitions import Definition, Samples
from benchmarks.ground import Ground
from benchmarks.problems import Missing
from benchmarks.workloads import Workload, workload


@dataclass
class Bench:
    """Keeps what has been made for one benchmark for those behind it. `left_out` are contenders, and why."""

    ground: Ground
    left_out: dict[str, str] = field(default_factory=dict)
    _workloads: dict[str, Workload] = field(default_factory=dict)

    @property
    def check(self) -> bool:
        """Whether answers are all that counts."""
        return self.ground.check

    def workload(self, name: str) -> Workload:
        """Returns a workload."""
        if name not in self._workloads:
            self.say(f"making the workload {name!r}")
            self._workloads[name] = workload(self.ground, name)
        return self._workloads[name]

    def contenders(self, names: Sequence[str]) -> list[Contender]:
        """Returns those that are here, and remembers who is not."""
        found = []
        for name in names:
            try:
                found.append(contender(self.ground, name))
            except Missing as reason:
                self.left_out[name] = str(reason)
        return found

    def turns(self, definition: Definition) -> Iterator[int]:
        """Yields a number for each run."""
        for number in range(definition.runs):
            self.say(f"  run {number + 1} of {definition.runs}")
            yield number

    @staticmethod
    def note(samples: Samples, name: str, figures: Mapping[str, float]) -> None:
        """Adds what a contender has done in one run."""
        for figure, value in figures.items():
            samples.setdefault(name, {}).setdefault(figure, []).append(value)

    def say(self, text: str) -> None:
        """Tells how far it has come."""
        if not self.check:
            print(text, file=sys.stderr, flush=True)
