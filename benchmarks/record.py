"""The record of a run: what came out, on which machine, of which versions. One JSON file a day, below records/."""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions, requires, version
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.definitions import HERE, Definition, Result

Record = dict[str, Any]
"""As json.loads has it."""

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VERSIONS: Final[Mapping[str, tuple[Sequence[str], str]]] = {
    "Squid": (("squid", "-v"), r"Version (\S+)"),
    "squidGuard": (("squidGuard", "-v"), r"SquidGuard: (\S+)"),
    "gcc": (("gcc", "--version"), r"(\S+)\n"),
}


def show(definition: Definition, result: Result) -> None:
    """Prints what came out of a benchmark."""
    for name, figures in result.samples.items():
        told = "  ".join(f"{figure} {median(values):,.4g}" for figure, values in figures.items())
        print(f"  {name:12} {told}")
    for goal in definition.goals:
        value = goal.value(result.samples)
        shown = "-" if value is None else f"{value:.3g} {goal.unit}".strip()
        limits = "" if goal.must is None else f" (must {goal.must:g}, aim {goal.aim:g}: {goal.verdict(value)})"
        print(f"  {goal.what}: {shown}{limits}", flush=True)


def told(definition: Definition, result: Result) -> Record:
    """Returns what a record keeps of one benchmark."""
    return {
        "title": definition.title,
        "runs": definition.runs,
        "notes": result.notes,
        "figures": {
            name: {figure: _summary(values) for figure, values in figures.items()}
            for name, figures in result.samples.items()
        },
        "series": result.series,
        "goals": [
            {
                "what": goal.what,
                "value": None if (value := goal.value(result.samples)) is None else float(f"{value:.4g}"),
                "unit": goal.unit or "x",
                "must": goal.must,
                "aim": goal.aim,
                "better": goal.better,
                "verdict": goal.verdict(value),
            }
            for goal in definition.goals
        ],
    }


def _summary(values: Sequence[float]) -> Record:
    named = {"median": median(values), "least": min(values), "most": max(values)}
    return {**{name: float(f"{value:.5g}") for name, value in named.items()}, "runs": len(values)}


def machine() -> Record:
    """Says where it was measured."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory = re.search(r"MemTotal: *(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[1]) / 1e6) if memory else None,
        "kernel": platform.release().partition("-")[0],
        "system": release,
    }


def versions() -> Record:
    """Says what was measured: programs, and the packages of the environment."""
    found: Record = {"Python": platform.python_version()}
    for name, (command, pattern) in _VERSIONS.items():
        program = shutil.which(command[0], path=_PATH)
        if program:
            done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)  # noqa: S603
            shown = re.search(pattern, done.stdout + done.stderr)
            found[name] = shown[1] if shown else "?"
    return {**found, **{name: version(name) for name in ("squid-imhelper", *_required("squid-imhelper"))}}


def _required(package: str) -> list[str]:
    """The packages that one needs to run, as far as they are installed."""
    wanted = [re.match(r"[\w.-]+", text) for text in requires(package) or () if "extra ==" not in text]
    here = {_plain(own.metadata["Name"]) for own in distributions()}
    return sorted(name[0] for name in wanted if name and _plain(name[0]) in here)


def _plain(name: str) -> str:
    """One spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write(results: Mapping[Definition, Result], left_out: Mapping[str, str], folder: Path, *, added: bool) -> Record:
    """Writes the record of today; `added`: to what is in it already."""
    path = folder / f"{datetime.now(UTC):%Y-%m-%d}.json"
    folder.mkdir(exist_ok=True)
    record: Record = json.loads(path.read_text(encoding="utf-8")) if added and path.exists() else {"benchmarks": {}}
    record["date"] = path.stem
    record["machine"], record["versions"], record["left_out"] = machine(), versions(), dict(left_out)
    record["benchmarks"].update({definition.name: told(definition, result) for definition, result in results.items()})
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def newest(folder: Path = HERE / "records") -> Record | None:
    """Returns the newest record, if there is one."""
    paths = sorted(folder.glob("????-??-??.json"))
    return json.loads(paths[-1].read_text(encoding="utf-8")) if paths else None
