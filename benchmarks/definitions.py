"""The definitions of the benchmarks, and the figures that come out of one."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

HERE: Final = Path(__file__).parent

Samples = dict[str, dict[str, list[float]]]
"""What was measured: by contender and figure (`lines_per_second`, `cpu_us` ...), a value for each run."""

Series = dict[str, list[tuple[float, float]]]
"""What is plotted: by name, points."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of a contender, or how many times that of another it is, and its limits; no limits: told only."""

    what: str
    figure: str
    of: str
    better: Literal["more", "less"]
    against: str = ""
    must: float | None = None
    aim: float | None = None
    unit: str = ""

    def value(self, samples: Samples) -> float | None:
        """Returns what came out, of medians; None where one of the contenders was not there."""
        medians = [median(samples.get(name, {}).get(self.figure) or [0.0]) for name in (self.of, self.against) if name]
        if not all(medians):
            return None
        return medians[0] / medians[1] if self.against else medians[0]

    def holds(self, value: float, limit: float) -> bool:
        """Whether a value is within a limit."""
        return value >= limit if self.better == "more" else value <= limit

    def verdict(self, value: float | None) -> str:
        """For people."""
        if value is None:
            return "not measured"
        if self.must is None or self.aim is None:
            return ""
        if not self.holds(value, self.must):
            return "not met"
        return "met, and the aim" if self.holds(value, self.aim) else "met"


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """One benchmark; the head of definitions.toml tells the fields."""

    name: str
    title: str
    measure: str
    workload: str
    contenders: Sequence[str]
    runs: int
    goals: Sequence[Goal]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def small(self) -> "Definition":
        """The same, once, and so small that answers are all that it tells."""
        return Definition(
            self.name,
            self.title,
            self.measure,
            self.workload,
            self.contenders,
            1,
            self.goals,
            {**self.settings, **self.settings.get("checked", {})},
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of one benchmark. `notes` say what has to be known about it, such as which list was used."""

    samples: Samples
    series: Series = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_definitions(path: Path = HERE / "definitions.toml") -> list[Definition]:
    """Reads the definitions."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))["benchmark"]
    return [Definition(**{**data, "goals": [Goal(**goal) for goal in data["goals"]]}) for data in found]
