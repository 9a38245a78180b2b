"""conf/iptables-bootstrap.sh and the system around it: whoever starts it, and the shells that read it."""

import re
import shutil
import subprocess
import sys

import pytest
from machine import CHAINS, POLICY, REAL, SLEEP, WHY_NOT, Box, box, iptables, make_box, nftables
from real_squid import CONF, wait_for

__all__ = ["box", "iptables", "make_box", "nftables"]
SCRIPT = CONF / "iptables-bootstrap.sh"
FOR_GOOD = ("--apply", "--within", "0")
needs_root = [pytest.mark.root, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}


def test_shellcheck_finds_nothing() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck is installed (apt-get install shellcheck)")
    result = subprocess.run(["shellcheck", "-s", "sh", SCRIPT], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--aply"], "unknown: --aply", id="option"),
        pytest.param(["policy.toml"], "unknown: policy.toml", id="word"),
        pytest.param(["--policy"], "--policy needs a value", id="no value"),
        pytest.param(["--backend", "ipset"], "--backend ipset: iptables or nftables", id="backend"),
        pytest.param(["--within", "1m"], "--within 1m: whole seconds", id="unit"),
        pytest.param(["--within", ""], "--within : whole seconds", id="no seconds"),
        pytest.param(["--within", "-1"], "--within -1: whole seconds", id="negative"),
        pytest.param(["--within", "99999"], "--within 99999: whole seconds, up to 9999", id="long"),
        pytest.param(["--check", "--apply"], "--check and --apply: one at a time", id="two actions"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    result = subprocess.run(["sh", SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"iptables-bootstrap: {said}")
    assert "--help" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_usage_names_every_option(shell: list[str]) -> None:
    if not shutil.which(shell[0]):
        pytest.skip(f"no {shell[0]} is installed")
    result = subprocess.run([*shell, SCRIPT, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    taken = {
        word for line in re.findall(r"^ {12}(--.*)\)", SCRIPT.read_text(), re.MULTILINE) for word in line.split(" | ")
    }
    named = {*re.findall(r"--[a-z-]+", result.stdout)}
    assert taken - named == {"--watch"}  # which is how it starts itself
    assert named <= taken


class TestAsRoot:
    pytestmark = needs_root

    @pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
    def test_a_round_in_each_shell(self, box: Box, shell: list[str]) -> None:
        if not shutil.which(shell[0]):
            pytest.skip(f"no {shell[0]} is installed")
        box.shell = shell
        box.put_in_place_of("sh", f'exec {" ".join(shell)} "$@"')  # by which it starts who waits
        box.run("--check")
        box.run("--apply")
        assert box.blocks(1863)
        box.run("--confirm")
        before = box.loaded()
        box.prints("aim", 5190)
        (box.folder / "bin" / "sleep").unlink()
        box.run("--apply", "--within", "3")
        assert box.blocks(5190)
        wait_for(lambda: not box.waits, "what was loaded before")
        assert box.loaded() == before
        box.run("--revert")
        assert not box.blocks(1863)

    @pytest.mark.parametrize("action", ["--check", "--apply", "--confirm", "--revert", "--persist"])
    def test_who_is_not_root_is_told_so(self, iptables: Box, action: str) -> None:
        before = iptables.loaded()
        iptables.shell = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh"]
        assert f"{action} must run as root" in iptables.run(action, status=1)
        assert iptables.loaded() == before

    def test_help_says_who_must_be_root(self, iptables: Box) -> None:
        lines = re.findall(r"^  (--[a-z-]+)  (.*)$", iptables.run("--help"), re.MULTILINE)
        actions = [name for name, _ in lines][: len(lines) - 1]
        assert actions == ["--dry-run", "--check", "--apply", "--confirm", "--revert", "--persist"]
        assert "needs root, as do the next four" in dict(lines)["--check"]

    def test_only_its_own_folder_is_closed_to_others(self, iptables: Box) -> None:
        state = iptables.folder / "lib" / "squid-imhelper" / "firewall"
        iptables.run(*FOR_GOOD, IMHELPER_STATE=str(state))
        assert [path.stat().st_mode & 0o777 for path in (state.parents[1], state.parent, state)] == [
            0o755,
            0o755,
            0o700,
        ]

    def test_printing_needs_no_root(self, iptables: Box) -> None:
        as_root = iptables.run()
        for folder in (iptables.folder, *iptables.folder.parents[:2]):
            folder.chmod(0o755)
        iptables.shell = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh"]
        as_nobody = iptables.run()
        for text in (as_root, as_nobody):
            assert [line for line in text.splitlines() if line.startswith("-A IMH-")] == 2 * [
                line for line in CHAINS.format(service="msn", port=1863).splitlines() if line.startswith("-A IMH-")
            ]

    def test_where_ipv6_is_off_only_ipv4_is_loaded(self, iptables: Box) -> None:
        """As after `ipv6.disable=1`: then there is no such folder, and ip6tables fails."""
        (iptables.folder / "ip6tables--chains").unlink()
        hide = 'mount -t tmpfs none /proc/sys/net && exec sh "$@"'
        iptables.shell = ["unshare", "--mount", "sh", "-c", hide, "sh"]
        iptables.run(*FOR_GOOD)
        assert iptables.loaded().count("--dport 1863 -j DROP") == 1
        iptables.run("--revert")
        assert not iptables.blocks(1863)

    def test_it_may_be_started_from_another_folder(self, iptables: Box) -> None:
        """Who waits, and what is to be typed, must not depend on where one was."""
        (iptables.folder / "here").mkdir()
        shutil.copy(SCRIPT, iptables.folder / "here")
        iptables.script, iptables.here = "here/iptables-bootstrap.sh", iptables.folder
        said = iptables.run("--apply")
        assert f'sh "{iptables.folder}/here/iptables-bootstrap.sh" --confirm' in said
        iptables.let_pass(60)
        assert not iptables.blocks(1863)

    def test_what_is_typed_as_it_says_confirms(self, box: Box) -> None:
        said = box.run("--apply")
        typed = next(line.split(": ", 1)[1] for line in said.splitlines() if line.endswith("--confirm"))
        assert (
            "confirmed"
            in subprocess.run(
                [*box.prefix, "sh", "-c", typed], stderr=subprocess.PIPE, text=True, check=True, cwd="/"
            ).stderr
        )
        assert not box.waits


class TestThePolicy:
    pytestmark = needs_root

    @pytest.mark.parametrize("action", [["--dry-run"], ["--check"], [*FOR_GOOD]], ids=["dry-run", "check", "apply"])
    def test_without_a_policy_nothing_is_loaded(self, box: Box, action: list[str]) -> None:
        """The built-in one, which blocks every messenger for everybody, is taken only by name."""
        before, box.named = box.loaded(), False
        policy, other = box.folder / "root/etc/squid-imhelper/policy.toml", box.folder / "none.toml"
        for words, path in (([], policy), (["--policy", str(other)], other)):
            said = box.run(*action, *words, status=1, **REAL)
            assert f"cannot read {path}; name the policy: --policy FILE" in said
        assert box.loaded() == before
        assert "from built-in:" in box.run(*action, "--policy", "built-in", **REAL)
        policy.parent.mkdir(parents=True)
        shutil.copy(CONF / "policy.toml", policy)
        assert f"from {policy}:" in box.run(*action, **REAL)

    @pytest.mark.parametrize("action", [["--dry-run"], ["--check"], [*FOR_GOOD]], ids=["dry-run", "check", "apply"])
    def test_what_the_policy_leaves_out_is_said_once(self, box: Box, action: list[str]) -> None:
        """By the program, at the head of its text: on stdout where that is what is printed, and on stderr otherwise."""
        policy = box.folder / "policy.toml"
        policy.write_text(POLICY.format("no").replace('"telegram"', '"whatsapp", "signal"'))
        with box.start(*action, "--policy", str(policy), **REAL) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        text, other = (out, err) if "--dry-run" in action else (err, out)
        families = 1 if box.is_nft else 2
        assert text.count(f"# Rules of squid-imhelper, from {policy}: ") == families
        times = families if "--dry-run" in action else 1
        assert text.count("# Left out:\n") == times
        sentence = '# - rule "all": what has neither addresses nor ports of its own: whatsapp, signal\n'
        assert text.count(sentence) == times
        assert "Left out" not in other
        assert "# MSN Messenger" not in err  # a remark further down


class TestOpenConnections:
    pytestmark = needs_root
    END = (
        "# what the policy blocks\nconntrack -D -p udp --orig-port-dst 1863\nconntrack -D -p udp --orig-port-dst 5190\n"
    )

    @pytest.fixture
    def followed(self, iptables: Box) -> Box:
        """With two connections: the kernel follows them only where a rule asks for that."""
        iptables.tool(iptables.variant, *["-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW"])
        for port in (1863, 4000):
            code = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))"
            iptables.tool(sys.executable, "-c", code)
        assert self.ports(iptables) == {"1863", "4000"}
        for kind in ("iptables", "ip6tables"):
            (iptables.folder / f"{kind}--conntrack").write_text(self.END)
        return iptables

    def ports(self, box: Box) -> set[str]:
        return set(re.findall(r"dport=(\d+) \[UNREPLIED", box.tool("conntrack", "-L")))

    def test_those_that_the_policy_blocks_are_ended(self, followed: Box) -> None:
        followed.run(*FOR_GOOD)
        assert self.ports(followed) == {"1863", "4000"}
        followed.run(*FOR_GOOD, "--end-connections")
        assert self.ports(followed) == {"4000"}

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param("touch {}", id="another program"),
            pytest.param("conntrack -D -p nothing;touch {}", id="two commands"),
            pytest.param("conntrack -D -p $(touch {})", id="substitution"),
            pytest.param("conntrack -D -p nothing >{}", id="redirection"),
        ],
    )
    def test_nothing_but_conntrack_is_run(self, followed: Box, line: str) -> None:
        (followed.folder / "iptables--conntrack").write_text(line.format(followed.folder / "x") + "\n")
        followed.run(*FOR_GOOD, "--end-connections", status=int(line.startswith("conntrack")))
        assert not (followed.folder / "x").exists()
        assert self.ports(followed) == {"4000"}

    def test_what_conntrack_cannot_do_is_said_and_the_rest_is_done(self, followed: Box) -> None:
        (followed.folder / "iptables--conntrack").write_text("conntrack -D -p nothing\n")
        said = followed.run(*FOR_GOOD, "--end-connections", status=1)
        assert "conntrack -D -p nothing: " in said
        assert "the rules are loaded, but" in said
        assert followed.blocks(1863)
        assert self.ports(followed) == {"4000"}

    def test_to_confirm_need_not_wait_for_that(self, followed: Box) -> None:
        stop, there = followed.folder / "stop", followed.folder / "there"
        stop.touch()
        followed.put_in_place_of("conntrack", f'echo >"{there}"; while [ -e "{stop}" ]; do {SLEEP} 0.05; done')
        with followed.start("--apply", "--end-connections") as process:
            wait_for(there.exists, "conntrack")
            with followed.start("--confirm") as confirm:
                try:
                    assert confirm.wait(20) == 0
                finally:
                    stop.unlink()
            assert process.wait(60) == 0

    def test_without_a_list_of_them_nothing_is_loaded(self, followed: Box) -> None:
        (followed.folder / "ip6tables--conntrack").unlink()
        assert "nothing is loaded" in followed.run(*FOR_GOOD, "--end-connections", status=1)
        assert not followed.blocks(1863)
        assert self.ports(followed) == {"1863", "4000"}
