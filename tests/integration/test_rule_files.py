"""Every rule file that the tests hold as golden, and every policy in conf/, read by the tools that load such files.

A file says in its first line which command it is for; the two back ends of iptables are two tools. Each file is loaded
into a network namespace of its own, where nothing else is.
"""

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_squid import HELPER, IS_ROOT, new_namespace

from squid_imhelper.base.model import FLAGS, FirewallSettings, Policy, Rule
from squid_imhelper.firewall import iptables, nftables
from squid_imhelper.firewall.plan import plan_firewall
from squid_imhelper.sources.catalogue import load_catalogue
from squid_imhelper.sources.policy import read_policy

pytestmark = pytest.mark.root

PROJECT = Path(__file__).parent.parent.parent
GOLDEN = PROJECT / "tests" / "golden"
CATALOGUE = load_catalogue()
FIRST_LINE = re.compile(r"# .*: for `(nft -f|ip6?tables-restore)( --noflush)?`\.")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Tool:
    """What reads a kind of rule files: how it checks one, how it loads one, and how it shows what is loaded."""

    reads: str
    check: str
    load: str
    show: str


TOOLS = {
    "nft": Tool("nft -f", "nft -c -f", "nft -f", "nft list ruleset"),
    "iptables-nft": Tool(
        "iptables-restore", "iptables-nft-restore --test", "iptables-nft-restore", "iptables-nft-save"
    ),
    "iptables-legacy": Tool(
        "iptables-restore", "iptables-legacy-restore --test", "iptables-legacy-restore", "iptables-legacy-save"
    ),
    "ip6tables-nft": Tool(
        "ip6tables-restore", "ip6tables-nft-restore --test", "ip6tables-nft-restore", "ip6tables-nft-save"
    ),
    "ip6tables-legacy": Tool(
        "ip6tables-restore", "ip6tables-legacy-restore --test", "ip6tables-legacy-restore", "ip6tables-legacy-save"
    ),
}


@dataclass(frozen=True)
class RuleFile:
    """A text, and the command that it names."""

    text: str
    reader: str
    noflush: bool


def rule_file(text: str) -> RuleFile:
    found = FIRST_LINE.match(text)
    assert found, text.partition("\n")[0]
    return RuleFile(text, found[1], bool(found[2]))


class Place:
    """A network namespace without rules."""

    def __init__(self, prefix: list[str]) -> None:
        self.prefix = prefix

    def run(self, command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        words = [*self.prefix, *command.split()]
        if command.startswith("nft") and text is not None:
            words.append("-")
        return subprocess.run(words, input=text or "", capture_output=True, text=True, timeout=60, check=False)

    def accepts(self, command: str, file: RuleFile) -> None:
        done = self.run(command + (" --noflush" if file.noflush else ""), file.text)
        assert (done.returncode, done.stderr) == (0, ""), (command, done.stderr)

    def rules(self, tool: Tool) -> str:
        """What is loaded, without the comments and counters of the moment."""
        shown = self.run(tool.show)
        assert shown.returncode == 0, shown.stderr
        lines = (line for line in shown.stdout.splitlines() if not line.startswith("#"))
        return re.sub(r"\[\d+:\d+\]", "[0:0]", "\n".join(lines))


@pytest.fixture
def place() -> Iterator[Place]:
    name = f"imhnft{os.getpid()}n{next(_numbers)}"
    prefix = new_namespace(name) if IS_ROOT and shutil.which("ip") else []
    if not prefix:
        pytest.skip("network namespaces need root and iproute2")
    yield Place(prefix)
    subprocess.run(["ip", "netns", "del", name], check=True)


def need(tool: Tool) -> Tool:
    for command in (tool.load, tool.show):
        program = command.split()[0]
        if shutil.which(program) is None:
            pytest.skip(
                f"{program} is not installed (apt-get install {'nftables' if program == 'nft' else 'iptables'})"
            )
    return tool


def files() -> Iterator[object]:
    """Every golden rule file with each tool that reads it."""
    for path in sorted(GOLDEN.iterdir()):
        text = path.read_text(encoding="utf-8")
        if FIRST_LINE.match(text):
            for name, tool in TOOLS.items():
                if tool.reads == rule_file(text).reader:
                    yield pytest.param(rule_file(text), tool, id=f"{path.name} {name}")


FILES = list(files())


def test_there_are_golden_files_for_every_tool() -> None:
    assert {tool.reads for _, tool in (case.values for case in FILES)} == {tool.reads for tool in TOOLS.values()}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("file", "tool"), FILES)
def test_a_golden_file_is_read_by_the_real_parser(place: Place, file: RuleFile, tool: Tool) -> None:
    place.accepts(need(tool).check, file)
    assert "IMH-" not in place.rules(tool)


@pytest.mark.parametrize(("file", "tool"), FILES)
def test_a_golden_file_can_be_loaded_and_loaded_again(place: Place, file: RuleFile, tool: Tool) -> None:
    """Nothing changes then. What goes between rules of others has its jumps twice, which its loader sees to."""
    place.accepts(need(tool).load, file)
    once = place.rules(tool).splitlines()
    assert any("IMH-FORWARD" in line for line in once)
    place.accepts(tool.load, file)
    again = place.rules(tool).splitlines()
    if file.noflush:
        assert again != once
        once, again = list(dict.fromkeys(once)), list(dict.fromkeys(again))
    assert again == once


def test_tables_of_others_stay_as_they_are(place: Place) -> None:
    tool = need(TOOLS["nft"])
    others = (
        "table inet other {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n"
    )
    assert place.run("nft -f", others).returncode == 0
    before = place.rules(tool)
    file = rule_file((GOLDEN / "nft-everything.nft").read_text(encoding="utf-8"))
    place.accepts(tool.load, file)
    assert before in place.rules(tool)
    assert place.run("nft delete table inet squid_imhelper").returncode == 0
    assert place.rules(tool) == before


# ---- rules of policies -----------------------------------------------------------------------------------------------

EVERY_SERVICE = Policy(
    "every service, by whatever it is told",
    tuple(
        Rule(service, "block", services=frozenset({service}), include=frozenset(FLAGS))
        for service in CATALOGUE.services
    ),
)
POLICIES = {
    "recipe-2006": read_policy(PROJECT / "conf" / "recipe-2006.toml", CATALOGUE).policy,
    "policy": read_policy(PROJECT / "conf" / "policy.toml", CATALOGUE).policy,
    "every service": EVERY_SERVICE,
}
SETTINGS = {
    "plain": {},
    "reject and drop": {"reject": True, "default": "drop", "admin_ports": (22,), "calls": "reject"},
    "redirect": {"intercept": "redirect", "encrypted_dns": "reject", "masquerade": True},
    "tproxy": {"intercept": "tproxy", "default": "drop", "encrypted_dns": "reject"},
}


def written(policy: Policy, settings: dict[str, object], tool: Tool, *, chains_only: bool) -> RuleFile:
    firewall = FirewallSettings(wan="eth0", lan="eth1", schedules="always", **settings)  # type: ignore[arg-type]
    plan = plan_firewall(policy._replace(firewall=firewall), CATALOGUE, iptables.MAX_LOG_PREFIX)
    assert plan.refusals == ()
    if tool.reads == "nft -f":
        return rule_file(nftables.render(plan, chains_only=chains_only))
    return rule_file(iptables.render(plan, 4 if tool.reads == "iptables-restore" else 6, chains_only=chains_only))


@pytest.mark.parametrize("chains_only", [False, True], ids=["whole", "chains"])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", TOOLS)
def test_what_is_written_can_be_read(place: Place, name: str, policy: str, settings: str, chains_only: bool) -> None:
    tool = need(TOOLS[name])
    file = written(POLICIES[policy], SETTINGS[settings], tool, chains_only=chains_only)
    place.accepts(tool.check, file)
    place.accepts(tool.load, file)


REFUSALS = [
    pytest.param("tcp", "tpc", "check", id="an unknown word"),
    pytest.param("IMH-limits", "IMH-nowhere", "load", id="a chain that is not there"),
]


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize(("old", "new", "how"), REFUSALS)
def test_a_parser_refuses_what_is_no_rule(place: Place, name: str, old: str, new: str, how: str) -> None:
    """So that the tests of this file can fail; iptables-nft-restore --test does not ask where a jump leads."""
    tool = need(TOOLS[name])
    text = written(POLICIES["recipe-2006"], {}, tool, chains_only=False).text
    assert old in text
    assert place.run(tool.check if how == "check" else tool.load, text.replace(old, new, 1)).returncode != 0
    assert "IMH-" not in place.rules(tool)


COMMANDS = [
    pytest.param("iptables", "iptables-nft", id="iptables"),
    pytest.param("ip6tables", "ip6tables-nft", id="ip6tables"),
    pytest.param("nftables", "nft", id="nftables"),
]


@pytest.mark.parametrize(("backend", "name"), COMMANDS)
def test_what_the_program_prints_can_be_loaded(place: Place, backend: str, name: str) -> None:
    tool = need(TOOLS[name])
    done = subprocess.run(
        [HELPER, "firewall", "--policy", PROJECT / "conf" / "recipe-2006.toml", "--backend", backend],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place.accepts(tool.load, rule_file(done.stdout))
    assert "IMH-FORWARD" in place.rules(tool)
