"""Policies beside that of the workloads: one more list, however long, that changes no answer or that is known to."""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.ground import POLICY, Ground, compile_policy

EXTRA = """
[[rule]]
name = "more"
{condition}
action = "block"
"""


def program_with_sites(ground: Ground, name: str, key: str, entries: Iterable[str]) -> Path:
    """Compiles the policy of the workloads with a third rule about a list of sites.

    Args:
        ground: where the policy comes from.
        name: of the program's file.
        key: `domains` or `urls`.
        entries: of the list.
    """
    folder = ground.policy_path.parent
    file = folder / f"{name}.txt"
    with file.open("w", encoding="utf-8") as list_:
        list_.writelines(f"{entry}\n" for entry in entries)
    sites = f'[sites]\nmore = {{ file = "{file.name}", format = "{key}" }}\n'
    text = POLICY.replace("[sites]\n", sites) + EXTRA.format(condition='sites = ["more"]')
    return _compiled(folder, name, text)


def program_with_agents(ground: Ground, name: str, agents: Iterable[str]) -> Path:
    """Compiles the policy of the workloads with a third rule about parts of user agents."""
    listed = ", ".join(f'"{agent}"' for agent in agents)
    return _compiled(ground.policy_path.parent, name, POLICY + EXTRA.format(condition=f"user_agents = [{listed}]"))


def _compiled(folder: Path, name: str, text: str) -> Path:
    policy = folder / f"{name}.toml"
    policy.write_text(text, encoding="utf-8")
    return compile_policy(policy, folder / f"{name}.program")
