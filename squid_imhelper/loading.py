"""From the word behind `--policy` to an engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from squid_imhelper.engine import Engine
from squid_imhelper.model import BUILT_IN

DEFAULT_POLICY: Final = Path("/etc/squid-imhelper/policy.toml")


def load_engine(policy: str | None, warn: Callable[[str], None]) -> Engine:
    """Builds the engine of a policy file or of the built-in policy, and hands every warning about it to `warn`.

    Raises:
        ImhelperError: the policy cannot be used.
    """
    # What reads sources is not imported at start: a helper with a compiled policy has no use for it.
    from squid_imhelper.catalogue import load_catalogue
    from squid_imhelper.compiler import compile_policy
    from squid_imhelper.policy import built_in_policy, read_policy

    catalogue = load_catalogue()
    name = policy_name(policy)
    if name == BUILT_IN:
        return Engine(compile_policy(built_in_policy(catalogue), catalogue))
    read = read_policy(Path(name), catalogue)
    for warning in read.warnings:
        warn(str(warning))
    return Engine(compile_policy(read.policy, catalogue))


def policy_name(policy: str | None) -> str:
    """What `--policy` stands for when it is not given."""
    if policy is not None:
        return policy
    return str(DEFAULT_POLICY) if default_exists() else BUILT_IN


def default_exists() -> bool:
    """Whether there is a policy in the default place, as far as one is allowed to know."""
    try:
        return DEFAULT_POLICY.exists()
    except OSError:
        return False
