"""conf/iptables-bootstrap.sh as time goes by: what comes back unless it is confirmed, and what lasts."""

import fcntl
import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from machine import SLEEP, TPROXY, WHY_NOT, Box, box, iptables, make_box, nftables
from real_squid import CONF, wait_for

__all__ = ["box", "iptables", "make_box", "nftables"]
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
SCRIPT = CONF / "iptables-bootstrap.sh"
FOR_GOOD = ("--apply", "--within", "0")


@pytest.mark.parametrize("confirmed", [None, "aim"], ids=["nothing before", "others before"])
def test_what_was_loaded_comes_back_unless_confirmed(box: Box, confirmed: str | None) -> None:
    if confirmed:
        box.prints(confirmed, 5190)
        box.run("--apply")
        box.run("--confirm")
    theirs, before = box.others(), box.loaded()
    box.prints()
    said = box.run("--apply")
    assert "within 60 seconds" in said
    assert f'{SCRIPT}" --confirm' in said
    log = box.folder / "state of a test" / "rollback.log"
    assert said.endswith(f"of which {log} tells\n")
    box.let_pass(60)
    assert not box.blocks(1863)
    assert box.blocks(5190) == bool(confirmed)
    assert box.others() == theirs
    assert not confirmed or box.loaded() == before
    assert "not confirmed within 60 s: what was loaded before is back" in log.read_text()
    assert "nothing waits" in box.run("--confirm", status=1)


def test_what_is_confirmed_stays(box: Box) -> None:
    """Even when another --apply, with a shorter time, waits next: what comes back is what was confirmed."""
    box.run("--apply")
    box.run("--confirm")
    box.prints("aim", 5190)
    box.run("--apply", "--within", "30")
    assert box.blocks(5190)
    box.let_pass(30)
    assert box.blocks(1863)
    assert not box.blocks(5190)
    assert "nothing waits" in box.run("--confirm", status=1)


def test_who_has_waited_in_vain_touches_nothing(box: Box) -> None:
    """Not even when something else waits by then; and not before it has the lock, since somebody may just confirm."""
    box.run("--apply", "--within", "30")
    with (box.folder / "state of a test" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        box.passed(30).touch()
        wait_for(box.waits_for_lock, "the end of the time")
        assert box.blocks(1863)
        (box.folder / "state of a test" / "waiting").write_text("another")
        pid = box.waits_for_lock()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "its end")
    assert box.blocks(1863)
    assert box.waits


def test_the_end_of_the_login_does_not_end_the_way_back(box: Box) -> None:
    with box.start("--apply") as process:
        assert process.wait(60) == 0
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):  # it should find nobody
                os.killpg(process.pid, number)
    assert box.blocks(1863)
    box.let_pass(60)
    assert not box.blocks(1863)


def test_what_can_be_put_back_is_even_when_something_cannot(iptables: Box) -> None:
    iptables.run("--apply")
    iptables.put_in_place_of(f"{iptables.variant}-restore", "exit 1")
    iptables.let_pass(60)
    assert "IMH-msn" in iptables.tool(f"{iptables.variant}-save")
    assert "IMH-msn" not in iptables.tool(f"{iptables.variant.replace('ip', 'ip6', 1)}-save")
    assert "NOT ALL" in (iptables.folder / "state of a test" / "rollback.log").read_text()
    (iptables.folder / "bin" / f"{iptables.variant}-restore").unlink()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_a_script_that_loses_its_terminal_half_way(iptables: Box, number: int) -> None:
    """Between the families, since the second tool stops until the signal was sent: deaf, or dead and made good."""
    stop, there = iptables.folder / "stop", iptables.folder / "there"
    stop.touch()
    tool = f"{iptables.variant.replace('ip', 'ip6', 1)}-restore"
    halt = f'case $* in *--test*) ;; *) echo >"{there}"; while [ -e "{stop}" ]; do {SLEEP} 0.05; done ;; esac'
    iptables.put_in_place_of(tool, f'{halt}\nexec {shutil.which(tool)} "$@"')
    with iptables.start("--apply") as process:
        wait_for(there.exists, "the second family")
        assert iptables.blocks(1863)
        os.kill(process.pid, number)
        assert process.stderr
        process.stderr.close()
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        stop.unlink()
        assert process.wait(60) == (-number if number == signal.SIGKILL else 0)
    iptables.let_pass(60)
    assert not iptables.blocks(1863)


def test_the_time_runs_from_when_all_is_loaded(iptables: Box) -> None:
    """Who waits does not count before: it wants the lock first, which --apply has until then."""
    stop, there = iptables.folder / "stop", iptables.folder / "there"
    stop.touch()
    tool = f"{iptables.variant.replace('ip', 'ip6', 1)}-restore"
    halt = f'case $* in *--test*) ;; *) echo >"{there}"; while [ -e "{stop}" ]; do {SLEEP} 0.05; done ;; esac'
    iptables.put_in_place_of(tool, f'{halt}\nexec {shutil.which(tool)} "$@"')
    with iptables.start("--apply") as process:
        try:
            wait_for(there.exists, "the second family")
            wait_for(iptables.waits_for_lock, "who waits")
        finally:
            stop.unlink()
        assert process.wait(60) == 0
    assert iptables.waits
    assert iptables.blocks(1863)
    iptables.let_pass(60)
    assert not iptables.blocks(1863)


def test_after_a_restart_nothing_waits(box: Box) -> None:
    """What is in the file is then of another start of the machine."""
    waiting = box.folder / "state of a test" / "waiting"
    box.run("--apply")
    marker = waiting.read_text()
    box.let_pass(60)
    waiting.write_text(marker)  # as when who waited was killed
    assert "is not confirmed" in box.run("--apply", status=1)
    waiting.write_text("another" + marker)
    assert "nothing waits" in box.run("--confirm", status=1)
    box.run("--apply")
    box.let_pass(60)
    assert not box.blocks(1863)


class TestWhatLasts:
    def test_netfilter_persistent_saves_it(self, iptables: Box) -> None:
        plugin = iptables.folder / "root/usr/share/netfilter-persistent/plugins.d/15-ip4tables"
        plugin.parent.mkdir(parents=True)
        (iptables.folder / "root/etc/sysconfig").mkdir(parents=True)  # that of something else
        iptables.put_in_place_of("netfilter-persistent", f'echo "$*" >"{iptables.folder}/said"')
        assert "nor /etc/sysconfig" in iptables.run("--persist", status=1, IMHELPER_ROOT=str(iptables.folder / "none"))
        plugin.touch()
        iptables.run("--persist")
        assert (iptables.folder / "said").read_text() == "save\n"
        iptables.put_in_place_of("netfilter-persistent", "exit 1")
        assert "could not save" in iptables.run("--persist", status=1)

    def test_sysconfig_gets_both_families(self, iptables: Box) -> None:
        folder = iptables.folder / "root/etc/sysconfig"
        folder.mkdir(parents=True)
        (folder / "iptables").write_text("what was there before\n")
        iptables.run(*FOR_GOOD)
        iptables.run("--persist")
        loaded = iptables.loaded()
        assert sorted(path.name for path in folder.iterdir()) == ["ip6tables", "iptables"]
        iptables.restart()
        assert not iptables.blocks(1863)
        for name in ("iptables", "ip6tables"):
            tool = iptables.variant.replace("iptables", name)
            iptables.tool(f"{tool}-restore", stdin=(folder / name).read_text())
        assert iptables.loaded() == loaded

    @pytest.fixture
    def lasting(self, box: Box) -> Box:
        """Where --persist has been, and other rules are to be loaded and saved next."""
        for name in ("sysconfig", "nftables.d"):
            (box.folder / "root/etc" / name).mkdir(parents=True)
        (box.folder / "root/etc/nftables.conf").touch()
        box.run(*FOR_GOOD)
        box.run("--persist")
        box.prints("aim", 5190)
        return box

    def texts(self, box: Box) -> dict[str, str]:
        return {str(path): path.read_text() for path in (box.folder / "root").rglob("*") if path.is_file()}

    @pytest.mark.parametrize("action", [["--persist"], [*FOR_GOOD]], ids=["persist", "apply"])
    def test_half_of_what_is_loaded_is_not_taken_for_all(self, lasting: Box, action: list[str]) -> None:
        """From tools that are content although their text is cut off."""
        loaded, written = lasting.loaded(), self.texts(lasting)
        name = "nft" if lasting.is_nft else f"{lasting.variant}-save"
        tool = f'{shutil.which(name)} "$@"'
        lasting.put_in_place_of(
            name, f'case "$*" in "" | "-s list table"*) {tool} | grep -vxE "COMMIT|}}" ;; *) {tool} ;; esac'
        )
        said = lasting.run(*action, status=1)
        (lasting.folder / "bin" / name).unlink()
        assert "cannot be read as a whole" in said
        assert (lasting.loaded(), self.texts(lasting)) == (loaded, written)

    def test_with_a_full_disk_what_was_saved_stays(self, lasting: Box) -> None:
        lasting.run(*FOR_GOOD)
        written, full = self.texts(lasting), lasting.folder / "full"
        full.mkdir()
        fill = f'mount -t tmpfs -o size=64k none "{full}" && {{ cat /dev/zero >"{full}/x"; exec sh "$@"; }}'
        lasting.shell = ["unshare", "--mount", "sh", "-c", fill, "sh"]
        assert "cannot be read as a whole" in lasting.run("--persist", status=1, TMPDIR=str(full))
        lasting.shell = ["sh"]
        assert self.texts(lasting) == written
        lasting.run("--persist")
        assert self.texts(lasting) != written

    @pytest.mark.parametrize("name", ["etc/nftables.conf", "etc/sysconfig/nftables.conf", "etc/nftables.nft"])
    def test_nftables_conf_includes_our_table(self, nftables: Box, name: str) -> None:
        """Once, without a word changed of what others have there; and after --revert what is included is nothing."""
        conf = nftables.folder / "root" / name
        conf.parent.mkdir(parents=True)
        theirs = "#!/usr/sbin/nft -f\nflush ruleset\ntable inet others {\n}"
        conf.write_text(theirs)
        nftables.run(*FOR_GOOD)
        for _ in range(2):
            nftables.run("--persist")
        assert conf.read_text().startswith(theirs + "\n")
        assert conf.read_text().count("\ninclude ") == 1
        ours = nftables.tool("nft", "-s", "list", "table", "inet", "squid_imhelper")
        nftables.restart()
        for _ in range(2):
            nftables.tool("nft", "-f", conf)
            assert nftables.tool("nft", "-s", "list", "table", "inet", "squid_imhelper") == ours
        nftables.run("--revert")
        nftables.run("--persist")
        nftables.tool("nft", "-f", conf)
        assert not nftables.blocks(1863)

    @pytest.fixture
    def unnamed(self, box: Box) -> Box:
        """Where both back ends could save something, and --persist is not told of which."""
        etc = box.folder / "root/etc"
        for name in ("sysconfig", "nftables.d", "squid-imhelper"):
            (etc / name).mkdir(parents=True)
        (etc / "squid-imhelper/policy.toml").touch()
        (etc / "nftables.conf").write_text("flush ruleset\n")
        box.run(*FOR_GOOD)
        box.named = False
        return box

    def written(self, box: Box) -> dict[str, bool]:
        """The files that --persist writes, and whether something of ours is in each."""
        folder = box.folder / "root/etc"
        files = [path for name in ("sysconfig", "nftables.d") for path in (folder / name).iterdir()]
        return {path.name: bool(re.search(r"^:IMH-|^\t+type ", path.read_text(), re.MULTILINE)) for path in files}

    def files(self, box: Box, *, ours: bool) -> dict[str, bool]:
        return dict.fromkeys(["squid-imhelper.nft"] if box.is_nft else ["iptables", "ip6tables"], ours)

    def test_without_a_back_end_what_is_loaded_is_saved(self, unnamed: Box) -> None:
        """Of the other back end nothing; and after --revert it is what lies in files that is made good."""
        unnamed.run("--persist")
        assert self.written(unnamed) == self.files(unnamed, ours=True)
        unnamed.run("--revert")
        assert self.written(unnamed) == self.files(unnamed, ours=True)
        unnamed.run("--persist")
        assert self.written(unnamed) == self.files(unnamed, ours=False)
        assert "nothing to do" in unnamed.run("--persist")

    def test_what_is_loaded_in_both_is_saved_in_both(self, unnamed: Box) -> None:
        unnamed.run(*FOR_GOOD, "--backend", "iptables" if unnamed.is_nft else "nftables")
        unnamed.run("--persist")
        assert self.written(unnamed) == dict.fromkeys(["squid-imhelper.nft", "iptables", "ip6tables"], True)

    def test_with_a_back_end_only_that_is_saved(self, unnamed: Box) -> None:
        unnamed.run(*FOR_GOOD, "--backend", "iptables" if unnamed.is_nft else "nftables")
        unnamed.named = True
        unnamed.run("--persist")
        assert self.written(unnamed) == self.files(unnamed, ours=True)

    def test_what_netfilter_persistent_has_saved_counts_too(self, iptables: Box) -> None:
        root, said = iptables.folder / "root", iptables.folder / "said"
        for name in ("usr/share/netfilter-persistent/plugins.d/15-ip4tables", "etc/iptables/rules.v6"):
            (root / name).parent.mkdir(parents=True)
            (root / name).touch()
        iptables.put_in_place_of("netfilter-persistent", f'echo "$*" >"{said}"')
        iptables.named = False
        assert "nothing to do" in iptables.run("--persist")
        assert not said.exists()
        (root / "etc/iptables/rules.v6").write_text("*filter\n:IMH-FORWARD - [0:0]\nCOMMIT\n")
        iptables.run("--persist")
        assert said.read_text() == "save\n"

    def test_rules_that_cannot_be_read_are_not_taken_for_none(self, unnamed: Box) -> None:
        unnamed.put_in_place_of("nft", "exit 1")
        said = unnamed.run("--persist", status=1)
        (unnamed.folder / "bin" / "nft").unlink()
        assert "the nftables rules of now cannot be read" in said
        assert self.written(unnamed) == {}

    def test_without_nftables_conf_nothing_is_written(self, nftables: Box) -> None:
        nftables.run(*FOR_GOOD)
        assert "there is no /etc/nftables.conf" in nftables.run("--persist", status=1)
        assert list((nftables.folder / "root").iterdir()) == []

    def test_the_routing_of_tproxy_is_named_since_nobody_saves_it(self, iptables: Box) -> None:
        (iptables.folder / "root/etc/sysconfig").mkdir(parents=True)
        iptables.run(*FOR_GOOD)
        assert "ip [-6] rule add" not in iptables.run("--persist")
        iptables.prints(more=TPROXY["iptables"])
        iptables.run(*FOR_GOOD)
        assert "ip [-6] rule add" in iptables.run("--persist")
