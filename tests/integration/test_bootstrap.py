"""conf/iptables-bootstrap.sh with the kernel's own tools: what it loads, what it leaves alone, and the way back."""

import shutil
from collections.abc import Callable

import pytest
from machine import (
    CHAINS,
    POLICY,
    REAL,
    REFUSED_BY_THE_KERNEL,
    REFUSED_BY_THE_TOOLS,
    TABLE,
    TPROXY,
    WHY_NOT,
    Box,
    box,
    iptables,
    make_box,
    nftables,
)
from real_squid import CONF

__all__ = ["box", "iptables", "make_box", "nftables"]
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
FOR_GOOD = ("--apply", "--within", "0")


@pytest.mark.parametrize("intercept", [None, "no", "redirect", "tproxy"])
def test_only_our_own_part_is_loaded_and_loading_it_twice_changes_nothing(box: Box, intercept: str | None) -> None:
    """With what the tests print, and with what squid-imhelper does."""
    arguments = FOR_GOOD
    if intercept:
        policy = box.folder / "policy.toml"
        policy.write_text(POLICY.format(intercept))
        arguments += ("--policy", str(policy))
    program = REAL if intercept else {}
    theirs = box.others()
    assert "IMH-FORWARD" in "".join(theirs) or box.is_nft
    box.run(*arguments, **program)
    once = box.loaded()
    assert "1863" in once
    assert len(box.routing()) == (4 if intercept == "tproxy" else 0)
    assert box.others() == theirs
    for chain in ("INPUT", "FORWARD") if "*filter" in once else ():
        first = next(line for line in once.splitlines() if line.startswith(f"-A {chain} "))
        assert first == f"-A {chain} -j IMH-{chain}"  # before what others accept
    box.run(*arguments, **program)
    assert box.loaded() == once
    box.run("--revert")
    assert box.routing() == []
    assert box.others() == theirs
    assert "IMH-" not in box.loaded().replace('-j IMH-FORWARD"', "")
    assert "squid_imhelper" not in box.loaded()


@pytest.mark.parametrize("action", [[], ["--dry-run"], ["--check"]], ids=["nothing said", "dry-run", "check"])
def test_printing_and_checking_load_nothing(box: Box, action: list[str]) -> None:
    before = box.loaded()
    said = box.run(*action)
    assert box.loaded() == before
    assert "accepted" in said if "--check" in action else said.count("1863") == (1 if box.is_nft else 4)
    assert not (box.folder / "state of a test").exists()


def test_what_is_printed_is_what_is_loaded(iptables: Box) -> None:
    """Also the second time, when the chains that go and the jumps that stay are part of it."""
    for service in ("msn", "aim"):
        iptables.prints(service)
        v4, _, v6 = iptables.run("--dry-run").partition("# ip6tables\n")
        for tool, text in ((iptables.variant, v4), (iptables.variant.replace("ip", "ip6", 1), v6)):
            iptables.tool(f"{tool}-restore", "--noflush", stdin=text)
        by_hand = iptables.loaded()
        iptables.run(*FOR_GOOD)
        assert iptables.loaded() == by_hand
        assert f":IMH-{service} " in by_hand
    assert ":IMH-msn " not in by_hand


def test_what_the_new_rules_no_longer_have_goes(box: Box) -> None:
    box.run(*FOR_GOOD)
    box.prints("aim", 5190, ip6tables=CHAINS.format(service="aim", port=5190).partition("*nat")[0])
    box.run(*FOR_GOOD)
    assert box.blocks(5190)
    assert not box.blocks(1863)
    assert "msn" not in box.loaded()
    if not box.is_nft:
        v4, v6 = (box.tool(f"{tool}-save") for tool in (box.variant, box.variant.replace("ip", "ip6", 1)))
        assert ("IMH-PREROUTING" in v4, "IMH-PREROUTING" in v6) == (True, False)


def test_a_jump_stays_where_somebody_has_moved_it_and_is_there_once(iptables: Box) -> None:
    tool = iptables.variant
    iptables.run(*FOR_GOOD)
    for words in ("-D FORWARD -j IMH-FORWARD", "-A FORWARD -j IMH-FORWARD"):
        iptables.tool(tool, *words.split())
    moved = iptables.loaded()
    iptables.tool(tool, *["-A", "FORWARD", "-j", "IMH-FORWARD"])
    iptables.run(*FOR_GOOD)
    assert iptables.loaded() == moved


def test_a_jump_of_others_to_a_chain_of_ours_goes_only_with_that_chain(iptables: Box) -> None:
    iptables.run(*FOR_GOOD)
    staying = ["-A DOCKER-USER -j IMH-FORWARD", "-A FORWARD -i eth5 -j IMH-FORWARD", "-A OUTPUT -j IMH-INPUT"]
    going = "-A DOCKER-USER -s 192.0.2.1/32 -g IMH-msn"
    for line in (*staying, going):
        iptables.tool(iptables.variant, *line.split())
    before = iptables.loaded()
    iptables.run(*FOR_GOOD)
    assert iptables.loaded() == before
    iptables.prints("aim", 5190)
    iptables.run("--apply")
    lines = iptables.loaded().splitlines()
    assert [line for line in (*staying, going) if line in lines] == staying
    iptables.let_pass(60)
    assert {*staying, going} <= {*iptables.loaded().splitlines()}


def test_many_rules_are_loaded_in_their_order(iptables: Box) -> None:
    rules = [f"-A IMH-many -p tcp -m tcp --dport {port} -j DROP" for port in range(1, 2001)]
    text = "\n".join(["*filter", ":IMH-many - [0:0]", *rules, "COMMIT", ""])
    iptables.prints(iptables=CHAINS.format(service="msn", port=1) + text)
    iptables.run(*FOR_GOOD)
    assert [line for line in iptables.loaded().splitlines() if line.startswith("-A IMH-many ")] == rules


@pytest.mark.parametrize("action", ["--apply", "--persist"])
def test_what_must_not_be_done_while_something_waits(box: Box, action: str) -> None:
    box.run("--apply")
    before = box.loaded()
    box.prints("aim", 5190)
    assert "is not confirmed" in box.run(action, status=1)
    assert box.loaded() == before
    box.run("--confirm")


def test_of_two_at_once_one_waits_for_the_other(box: Box) -> None:
    both = [box.start("--apply") for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    assert box.blocks(1863)
    box.run("--confirm")


def test_taking_out_ends_what_waits_and_may_be_done_again(box: Box) -> None:
    theirs = box.others()
    box.prints("aim", 5190)
    box.run(*FOR_GOOD)
    box.prints()
    box.run("--apply")
    for _ in range(2):
        box.run("--revert")
        assert not box.waits
        assert box.others() == theirs
        assert not box.blocks(1863)
    assert "nothing waits" in box.run("--confirm", status=1)


@pytest.mark.parametrize("family", ["iptables", "ip6tables"])
@pytest.mark.parametrize(
    ("rules", "said"),
    [(REFUSED_BY_THE_KERNEL, ": what was loaded before is back"), (REFUSED_BY_THE_TOOLS, "nothing is loaded")],
    ids=["kernel", "tools"],
)
@pytest.mark.parametrize("before", [None, "aim"], ids=["nothing before", "ours before"])
def test_of_refused_rules_nothing_is_loaded(
    iptables: Box, family: str, rules: str, said: str, before: str | None
) -> None:
    """Neither of the one family nor of the other, and not the table before the refused one."""
    if before:
        iptables.prints(before, 5190)
        iptables.run(*FOR_GOOD)
    theirs, loaded = iptables.others(), iptables.loaded()
    nat = CHAINS.format(service="msn", port=7).partition("*nat")
    iptables.prints(**{family: f"*nat{nat[2]}{rules.partition('*nat')[0]}"})
    assert said in iptables.run("--apply", status=1)
    assert not iptables.waits
    assert not iptables.blocks(1863)
    assert iptables.others() == theirs
    if before:
        assert iptables.loaded() == loaded


def test_of_a_refused_table_nothing_is_loaded(nftables: Box) -> None:
    nftables.run(*FOR_GOOD)
    before = nftables.loaded()
    nftables.prints(nftables=TABLE.format(service="aim", port=5190).replace("@aim", "@msn"))
    assert "are refused" in nftables.run("--apply", status=1)
    assert nftables.loaded() == before


FOREIGN = {
    "stance": ("iptables", ":FORWARD DROP [0:0]"),
    "rule": ("ip6tables", "-A FORWARD -j DROP"),
    "chain": ("iptables", ":DOCKER-USER - [0:0]"),
    "rule without a target of ours": ("iptables", "-A FORWARD -s 192.0.2.1"),
    "nothing": ("ip6tables", None),
    "only a remark": ("both", "# nothing to do"),
    "ruleset": ("nftables", "flush ruleset"),
    "table": ("nftables", "table inet others {\n}"),
    "nothing for nftables": ("nftables", None),
    "only a remark for nftables": ("nftables", "# nothing to do"),
}


@pytest.mark.parametrize(("kind", "line"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_not_about_our_own_part_is_not_loaded(
    make_box: Callable[[str], Box], kind: str, line: str | None
) -> None:
    box = make_box("nftables" if kind == "nftables" else "iptables-nft")
    form = TABLE if box.is_nft else CHAINS
    remark = line is not None and line.startswith("#")
    text = (
        "" if line is None else line + "\n" if remark else form.format(service="msn", port=1).replace("# the s", line)
    )
    if line and not remark:
        text = form.format(service="msn", port=1).replace("# a rule set\n", "") + ("" if box.is_nft else "*filter\n")
        text += line + "\n" + ("" if box.is_nft else "COMMIT\n")
    before = box.loaded()
    box.prints(**dict.fromkeys(("iptables", "ip6tables") if kind == "both" else (kind,), text))
    for action in ("--apply", "--check", "--dry-run"):
        assert "nothing is loaded" in box.run(action, status=1)
    assert box.loaded() == before


def test_a_program_that_refuses_or_is_not_there_loads_nothing(box: Box) -> None:
    before = box.loaded()
    policy = box.folder / "a policy.toml"
    policy.write_text("[[rule]]\n")
    assert "nothing is loaded" in box.run("--apply", "--policy", str(policy), status=1, **REAL)
    assert "there is no /no where" in box.run("--apply", status=1, SQUID_IMHELPER="/no where")
    assert box.loaded() == before


def test_a_policy_may_have_blanks_in_its_name(box: Box) -> None:
    policy = box.folder / "a policy of mine.toml"
    shutil.copy(CONF / "policy.toml", policy)
    assert "accepted" in box.run("--check", "--policy", str(policy), **REAL)


def test_rules_are_taken_out_whichever_variant_has_loaded_them(iptables: Box) -> None:
    other = next(variant for variant in ("iptables-nft", "iptables-legacy") if variant != iptables.variant)
    iptables.run(*FOR_GOOD)
    assert iptables.blocks(1863)
    iptables.run("--revert", IPTABLES=other)
    assert not iptables.blocks(1863)
    assert ":IMH-" not in iptables.loaded()


def test_where_ipv6_is_switched_off_tproxy_needs_no_routing_for_it(box: Box) -> None:
    box.tool("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    box.prints(more=TPROXY["nftables" if box.is_nft else "iptables"])
    box.run(*FOR_GOOD)
    assert len(box.routing()) == 2
    box.run("--revert")
    assert box.routing() == []


def test_rules_of_ours_in_the_other_back_end_are_named(iptables: Box) -> None:
    assert "note:" not in iptables.run(*FOR_GOOD)
    assert "rules of ours in iptables count, too" in iptables.run(*FOR_GOOD, "--backend", "nftables")
    assert "rules of ours in nftables count, too" in iptables.run(*FOR_GOOD)
    iptables.run("--revert")
    assert not iptables.blocks(1863)
    assert "squid_imhelper" not in iptables.tool("nft", "list", "tables")


def test_tproxy_gets_its_routing(box: Box) -> None:
    """A rule and a route for IPv4, and the same for IPv6: as long as there are rules that need them, and once."""
    box.prints(more=TPROXY["nftables" if box.is_nft else "iptables"])
    assert "ip [-6] rule add" in box.run("--dry-run")
    assert box.routing() == []
    box.run("--apply")
    assert len(box.routing()) == 4
    box.let_pass(60)
    assert box.routing() == []
    for _ in range(2):
        box.run(*FOR_GOOD)
        assert len(box.routing()) == 4
    box.prints()
    box.run("--apply")
    assert box.routing() == []
    box.let_pass(60)
    assert len(box.routing()) == 4
    box.run("--revert")
    assert box.routing() == []


@pytest.mark.parametrize(
    ("switch", "more", "warned"),
    [
        pytest.param("1", TPROXY, True, id="bridge"),
        pytest.param("0", TPROXY, False, id="off"),
        pytest.param("1", {"iptables": "", "nftables": ""}, False, id="no TPROXY"),
    ],
)
def test_a_bridge_that_keeps_tproxy_from_its_connections_is_named(
    box: Box, switch: str, more: dict[str, str], warned: bool
) -> None:
    """As with br_netfilter loaded; what hides the switches of the machine hides those of IPv6, too."""
    box.prints(more=more["nftables" if box.is_nft else "iptables"])
    bridge = "/proc/sys/net/bridge"
    switches = f"mount -t tmpfs none /proc/sys/net && mkdir {bridge} && echo {switch} >{bridge}/bridge-nf-call-iptables"
    box.shell = ["unshare", "--mount", "sh", "-c", f'{switches} && exec sh "$@"', "sh"]
    for action in (["--check"], [*FOR_GOOD]):
        assert ("net.bridge.bridge-nf-call-iptables is 0" in box.run(*action)) == (warned and "--apply" in action)


@pytest.mark.parametrize("part", ["-4 rule add", "-4 route replace", "-6 rule add", "-6 route replace"])
def test_without_the_routing_that_tproxy_needs_nothing_is_loaded(box: Box, part: str) -> None:
    box.prints(more=TPROXY["nftables" if box.is_nft else "iptables"])
    box.put_in_place_of("ip", f'case "$*" in "{part} "*) exit 2 ;; esac\nexec {shutil.which("ip")} "$@"')
    assert ": what was loaded before is back" in box.run(*FOR_GOOD, status=1)
    assert not box.blocks(1863)
    assert box.routing() == []
