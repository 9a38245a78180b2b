"""From the word behind `--policy` to a program that can be used.

What reads sources is imported when it is needed only: the process that Squid starts needs none of it, since it is given
a compiled program, or has a child compile one.
"""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from squid_imhelper.base.model import BUILT_IN
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.program import Program
from squid_imhelper.matching.programfile import is_program, verify_program

if TYPE_CHECKING:
    from pathlib import Path

    from squid_imhelper.sources.policy import ReadPolicy

DEFAULT_POLICY: Final = "/etc/squid-imhelper/policy.toml"


def load_engine(policy: str | None, warn: Callable[[str], None]) -> Engine:
    """Builds the engine of a policy file, of a program or of the built-in policy, and hands warnings to `warn`.

    For commands, which have the time to verify all of a program.

    Raises:
        ImhelperError: the policy cannot be used.
    """
    name = policy_name(policy)
    if name != BUILT_IN and is_program(name):
        return Engine(verify_program(name))
    return Engine(build_program(name, warn))


def build_program(name: str, warn: Callable[[str], None]) -> Program:
    """Compiles a policy file, or the built-in policy, and holds it to its own expectations.

    Raises:
        ImhelperError: the policy cannot be used.
    """
    from pathlib import Path

    from squid_imhelper.sources.catalogue import load_catalogue
    from squid_imhelper.sources.compiler import compile_policy
    from squid_imhelper.sources.policy import built_in_policy, read_policy

    catalogue = load_catalogue()
    if name == BUILT_IN:
        return compile_policy(built_in_policy(catalogue), catalogue)
    read = read_policy(Path(name), catalogue)
    for warning in read.warnings:
        warn(str(warning))
    program = compile_policy(read.policy, catalogue)
    _hold_to_expectations(read, program)
    return program


def read_checked_policy(path: "Path", warn: Callable[[str], None]) -> "ReadPolicy":
    """Reads a policy file that is to be used, and holds it to its own expectations.

    Raises:
        ImhelperError: the policy cannot be used.
    """
    from squid_imhelper.sources.catalogue import load_catalogue
    from squid_imhelper.sources.compiler import compile_policy
    from squid_imhelper.sources.policy import read_policy

    read = read_policy(path, load_catalogue())
    for warning in read.warnings:
        warn(str(warning))
    if read.expectations:
        _hold_to_expectations(read, compile_policy(read.policy, load_catalogue()))
    return read


def _hold_to_expectations(read: "ReadPolicy", program: Program) -> None:
    if read.expectations:
        from squid_imhelper.offline.expectations import note_failures

        note_failures(Engine(program), read.expectations, read.document, time.time())
        read.document.check()


def policy_name(policy: str | None) -> str:
    """What `--policy` stands for when it is not given."""
    if policy is not None:
        return policy
    return DEFAULT_POLICY if default_exists() else BUILT_IN


def default_exists() -> bool:
    """Whether there is a policy in the default place, as far as one is allowed to know."""
    return os.path.exists(DEFAULT_POLICY)  # noqa: PTH110  # without pathlib, for the sake of the helper's start
