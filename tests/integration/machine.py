"""A machine on which conf/iptables-bootstrap.sh runs: a network namespace in which others have loaded rules, too."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from real_squid import CONF, HELPER, IS_ROOT, new_namespace, wait_for

TOOLS = ("iptables-nft", "iptables-legacy", "nft", "conntrack", "ip", "flock", "setsid", "sysctl")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]
WHY_NOT = "" if IS_ROOT and not MISSING else f"needs root and {' '.join(MISSING or TOOLS)}"

VARIANTS = ("iptables-nft", "iptables-legacy", "nftables")
_numbers = count(1)

# What others have loaded: stances, the way Docker jumps, quoted comments that look like jumps of ours, other tables.
THEIRS = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER-USER - [0:0]
:IMHO - [0:0]
-A INPUT -i lo -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -m comment --comment "a -j IMH-FORWARD" -j ACCEPT
-A FORWARD -p tcp -m tcp --dport 9 -j LOG --log-prefix "x -j IMH-FORWARD"
-A DOCKER-USER -j RETURN
-A IMHO -j DROP
COMMIT
"""
THEIR_TABLE = """table inet others { # handle 1
    set networks { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }
    chain forward { type filter hook forward priority 0; policy drop; ip daddr @networks accept; }
}
"""

CHAINS = """# a rule set
*filter
:IMH-FORWARD - [0:0]
:IMH-INPUT - [0:0]
:IMH-{service} - [0:0]
-A FORWARD -j IMH-FORWARD
-A INPUT -j IMH-INPUT
# the service
-A IMH-FORWARD -j IMH-{service}
-A IMH-{service} -p tcp --dport {port} -m limit --limit 5/min -j LOG --log-prefix "MESSENGER MSN > "
-A IMH-{service} -p tcp --dport {port} -j DROP
COMMIT
*nat
:IMH-PREROUTING - [0:0]
-A PREROUTING -j IMH-PREROUTING
-A IMH-PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 3129
COMMIT
"""
TABLE = """# a rule set
table inet squid_imhelper
delete table inet squid_imhelper
table inet squid_imhelper {{
    set {service} {{
        type ipv4_addr; flags interval
        elements = {{ 198.51.100.0/24, 203.0.113.7 }}
    }}
    chain forward {{
        type filter hook forward priority filter - 10
        tcp dport {port} ip daddr @{service} log prefix "MESSENGER MSN > " drop
    }}
}}
"""
TPROXY = {
    "iptables": "*mangle\n:IMH-PREROUTING - [0:0]\n-A PREROUTING -j IMH-PREROUTING\n"
    "-A IMH-PREROUTING -p tcp --dport 80 -j TPROXY --on-port 3129 --tproxy-mark 0x100/0x100\nCOMMIT\n",
    "nftables": "table inet squid_imhelper {\n\tchain divert {\n\t\ttype filter hook prerouting priority mangle;\n"
    "\t\tmeta nfproto ipv4 tcp dport 80 tproxy ip to :3129 meta mark set 0x100\n\t}\n}\n",
}
POLICY = """
[firewall]
wan = "eth0"
lan = "eth1"
intercept = "{}"
[[rule]]
name = "all"
action = "block"
services = ["msn_messenger", "telegram"]
"""
REAL = {"SQUID_IMHELPER": str(HELPER)}
# A loop: the tools take it as it is, the kernel does not.
REFUSED_BY_THE_KERNEL = CHAINS.format(service="msn", port=1).replace("-A INPUT", "-A IMH-msn -j IMH-FORWARD\n-A INPUT")
REFUSED_BY_THE_TOOLS = CHAINS.format(service="msn", port=1).replace("--dport", "--dbort")

STUB = """#!/bin/sh
while [ $# -gt 1 ]; do
    [ "$1" != --backend ] || backend=$2
    shift
done
exec cat "{folder}/$backend$1"
"""


# Time passes when a test says so: with a file for so many seconds, or for all at its end.
SLEEP = shutil.which("sleep")
NO_SLEEP = f"""i=0
while [ $i -lt 3000 ] && [ ! -e "{{folder}}/over" ] && [ ! -e "{{folder}}/passed-$1" ]; do
    {SLEEP} 0.02
    i=$((i + 1))
done"""


@dataclass
class Box:
    """A machine with rules of others, the script, and a program that prints what a test has told it to."""

    folder: Path
    prefix: list[str]
    variant: str
    shell: list[str] = field(default_factory=lambda: ["sh"])
    script: str = str(CONF / "iptables-bootstrap.sh")
    here: Path = Path("/")
    named: bool = True
    """Whether --policy and --backend are given."""

    @property
    def is_nft(self) -> bool:
        return self.variant == "nftables"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "SQUID_IMHELPER": str(self.folder / "program of a test"),
            "IMHELPER_STATE": str(self.folder / "state of a test"),
            "IMHELPER_ROOT": str(self.folder / "root"),
            "IPTABLES": "iptables" if self.is_nft else self.variant,
        }

    @property
    def words(self) -> list[str]:
        options = ["--policy", str(self.policy), "--backend", "nftables" if self.is_nft else "iptables"]
        return [*self.prefix, *self.shell, self.script, *(options if self.named else [])]

    @property
    def policy(self) -> Path:
        """A policy that need only be there: what the program prints does not come from it."""
        return self.folder / "the policy.toml"

    def tool(self, *words: object, stdin: str = "") -> str:
        command = [*self.prefix, *map(str, words)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=60).stdout

    def start(self, *arguments: str, **changed: str) -> subprocess.Popen[str]:
        """Starts the script, in a session of its own, as a login would."""
        return subprocess.Popen(
            [*self.words, *arguments],
            env={**self.environment, **changed},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.here,
            start_new_session=True,
        )

    def run(self, *arguments: str, status: int = 0, **changed: str) -> str:
        """Runs the script to its end; returns what it said."""
        with self.start(*arguments, **changed) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == status, out + err
        return out + err

    def prints(self, service: str = "msn", port: int = 1863, *, more: str = "", **texts: str) -> None:
        """Says what the program prints from now on: this for all kinds, and `texts` for one."""
        for kind, form in (("iptables", CHAINS), ("ip6tables", CHAINS), ("nftables", TABLE)):
            text = texts.get(kind, form.format(service=service, port=port) + more)
            (self.folder / f"{kind}--chains").write_text(text)

    def loaded(self) -> str:
        """All that is loaded, without counters and times."""
        if self.is_nft:
            return self.tool("nft", "-s", "list", "ruleset")
        tool = self.variant.removeprefix("ip")
        texts = [self.tool(f"ip{number}{tool}-save") for number in ("", "6")]
        texts = [re.sub(r"^#.*\n|\[\d+:\d+\]", "", text, flags=re.MULTILINE) for text in texts]
        # The order of the tables is that in which they were first used.
        return "".join("".join(sorted(re.split(r"^(?=\*)", text, flags=re.MULTILINE))) for text in texts)

    def others(self) -> list[str]:
        """What is loaded, without ours and without tables in which nobody has anything."""
        text = self.loaded()
        if self.is_nft:
            return re.sub(
                r"^table inet squid_imhelper \{.*?^\}\n", "", text, flags=re.MULTILINE | re.DOTALL
            ).splitlines()
        empty = r"^\*(?:mangle|nat|raw)\n(?:\n|:[A-Z]+ ACCEPT \n)*COMMIT\n"
        text = re.sub(r"^:IMH-.*\n|^-A IMH-.*\n|^-A .* -j IMH-[A-Za-z]+\n", "", text, flags=re.MULTILINE)
        return [line for line in re.sub(empty, "", text, flags=re.MULTILINE).splitlines() if line]

    def blocks(self, port: int) -> bool:
        return f"dport {port} " in self.loaded()

    def routing(self) -> list[str]:
        """The rules and routes that only TPROXY needs."""
        tables = [self.tool("ip", family, "rule") for family in ("-4", "-6")]
        tables += [self.tool("ip", family, "route", "show", "table", "all") for family in ("-4", "-6")]
        return [line for table in tables for line in table.splitlines() if " 3129" in line]

    def restart(self) -> None:
        """Forgets all that is loaded; files stay."""
        subprocess.run(["ip", "netns", "del", self.prefix[-1]], check=True)
        new_namespace(self.prefix[-1])

    @property
    def waits(self) -> bool:
        """Whether somebody waits to put back what was loaded."""
        return (self.folder / "state of a test" / "waiting").exists()

    def waits_for_lock(self) -> str:
        """The process, if any, that waits until no other run of the script is at work."""
        inode = (self.folder / "state of a test" / "lock").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            if "->" in line and f":{inode} " in line:
                flock = line.split()[5]
                return Path(f"/proc/{flock}/stat").read_text().rpartition(")")[2].split()[1]
        return ""

    def passed(self, seconds: int) -> Path:
        """The file with which so many seconds have passed for who waits so long."""
        return self.folder / f"passed-{seconds}"

    def let_pass(self, seconds: int) -> None:
        """Lets the time pass in which nobody has confirmed, until what was loaded before is back."""
        self.passed(seconds).touch()
        wait_for(lambda: not self.waits, "what was loaded before")
        self.passed(seconds).unlink()

    def put_in_place_of(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


def new_box(folder: Path, variant: str) -> Box:
    box = Box(folder, new_namespace(f"imhboot{os.getpid()}x{next(_numbers)}"), variant)
    for name in ("bin", "root"):
        (folder / name).mkdir()
    box.policy.touch()
    program = folder / "program of a test"
    program.write_text(STUB.format(folder=folder))
    program.chmod(0o755)
    box.put_in_place_of("sleep", NO_SLEEP.format(folder=folder))
    box.prints()
    return box


@pytest.fixture
def make_box(tmp_path: Path) -> Iterator[Callable[[str], Box]]:
    boxes: list[Box] = []

    def make(variant: str) -> Box:
        boxes.append(new_box(tmp_path, variant))
        box = boxes[-1]
        box.tool("ip", "link", "set", "lo", "up")
        if box.is_nft:
            box.tool("nft", "-f", "-", stdin=THEIR_TABLE)
        else:
            for tool in (variant, variant.replace("ip", "ip6", 1)):
                box.tool(f"{tool}-restore", stdin=THEIRS)
        return box

    yield make
    for box in boxes:
        box.shell = ["sh"]
        (box.folder / "over").touch()
        try:
            box.run("--revert")  # ends what waits
        finally:
            subprocess.run(["ip", "netns", "del", box.prefix[-1]], check=True)


@pytest.fixture(params=VARIANTS)
def box(request: pytest.FixtureRequest, make_box: Callable[[str], Box]) -> Box:
    return make_box(request.param)


@pytest.fixture(params=VARIANTS[:2])
def iptables(request: pytest.FixtureRequest, make_box: Callable[[str], Box]) -> Box:
    return make_box(request.param)


@pytest.fixture
def nftables(make_box: Callable[[str], Box]) -> Box:
    return make_box("nftables")
