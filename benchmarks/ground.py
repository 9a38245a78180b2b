"""What all benchmarks stand on: names, a recorded day, a policy, and its program; made once and kept in a folder."""

import random
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from benchmarks import names, recording
from benchmarks.asked import Asked
from benchmarks.names import combined, free_of, listed_names, parents
from benchmarks.oracle_answers import LISTED, MESSENGERS
from benchmarks.problems import Problem
from squid_imhelper.base.model import Kind
from squid_imhelper.loading import build_program
from squid_imhelper.matching.program import Program
from squid_imhelper.matching.programfile import verify_program

HERE: Final = Path(__file__).parent
HELPER: Final = Path(sys.executable).with_name("squid-imhelper")
"""The console script of the environment that runs the benchmarks."""

POLICY: Final = f"""\
[sites]
listed = {{ file = "listed.txt" }}

[[rule]]
name = "{MESSENGERS}"
services = ["all", "-@random_chat"]
action = "block"

[[rule]]
name = "{LISTED}"
sites = ["listed"]
action = "block"
"""


@dataclass(frozen=True)
class Ground:
    """The folder, and whether everything in it is small: enough to see that answers are right."""

    folder: Path
    check: bool
    making: dict[str, Any] = field(default_factory=lambda: _read()["making"])
    workloads: dict[str, dict[str, Any]] = field(default_factory=lambda: _read()["workloads"])

    @cached_property
    def recorded(self) -> list[Asked]:
        """The requests of a day behind a real Squid."""
        return list(recording.read_log(self.recorded_log))

    @cached_property
    def recorded_log(self) -> Path:
        """Their log."""
        return recording.SHIPPED if self.check else recording.record(self.folder, self.making["recorded"])

    @cached_property
    def names(self) -> list[str]:
        """Real names, none of them a messenger's or on the list of sites; in no order."""
        mixed = [name for name in self._all_names if self._is_no_messenger(name)]
        is_free = free_of(self.listed)
        return [name for name in mixed if is_free(name)]

    @cached_property
    def listed(self) -> list[str]:
        """The domains of the list of sites, none below another."""
        found: dict[str, None] = {}
        for name in filter(self._is_no_messenger, self._all_names):
            if len(found) < self.making["listed"] and free_of(found)(name):
                found[name] = None
        return list(found)

    @cached_property
    def _all_names(self) -> list[str]:
        if self.check:
            recorded = sorted({asked.host for asked in self.recorded if asked.host[-1:].isalpha()})
            found = recorded + combined(recorded, 0, 4000)
        else:
            found = listed_names(self.folder / names.PACKAGE)
        random.Random(2006).shuffle(found)  # noqa: S311  # the same order every time
        return found

    @cached_property
    def _is_no_messenger(self) -> Callable[[str], bool]:
        return free_of(self.messenger_names)

    @cached_property
    def messenger_names(self) -> list[str]:
        """All hosts and domains of the catalogue that count by themselves, be the service blocked or not."""
        kinds = (Kind.HOST, Kind.DOMAIN)
        return sorted({s.value for s in self._built_in.signatures if s.kind in kinds})

    @cached_property
    def blocked_names(self) -> list[str]:
        """The hosts and domains that the policy blocks, as a blocker of domains can be given them.

        None is below another: squidGuard finds nothing below a name that has one listed below it.
        """
        kinds, services = (Kind.HOST, Kind.DOMAIN), self.program.rules[0].services or ()
        own = {s.value for s in self.program.signatures if s.kind in kinds and s.service in services}
        every = own | set(self.listed)
        return sorted(name for name in every if every.isdisjoint(list(parents(name))[1:]))

    @cached_property
    def _built_in(self) -> Program:
        return build_program("built-in", lambda _: None)

    @cached_property
    def policy_path(self) -> Path:
        """The policy of the workloads, as TOML."""
        path = self.folder / "policy.toml"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "listed.txt").write_text("".join(f"{name}\n" for name in self.listed), encoding="ascii")
        path.write_text(POLICY, encoding="ascii")
        return path

    @cached_property
    def program_path(self) -> Path:
        """The program that the helpers open."""
        return compile_policy(self.policy_path, self.folder / "policy.program")

    @cached_property
    def program(self) -> Program:
        """The same, for the oracle."""
        return verify_program(self.program_path)


def compile_policy(policy: Path, program: Path) -> Path:
    """Compiles a policy with the command that is measured, and returns the program.

    Raises:
        Problem: it cannot be compiled.
    """
    done = subprocess.run(  # noqa: S603  # our own program
        [HELPER, "compile", "--policy", policy, "-o", program], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Problem(f"{policy} cannot be compiled: {done.stderr.strip()}")
    return program


def _read() -> dict[str, Any]:
    return tomllib.loads((HERE / "workloads.toml").read_text(encoding="utf-8"))
