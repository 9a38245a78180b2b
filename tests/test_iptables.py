"""The rules for `iptables-restore` and `ip6tables-restore`: held to the policy packet by packet, and as they are read.

`tests/integration/test_rule_files.py` gives the golden files to the real programs.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from arbitrary import CATALOGUE, FIREWALL_SITES, firewall_policies, packets
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from packets import LAN, MAX_CHAIN_NAME, WAN, Journey, Packet, decided, fates, read_restore, travel

from squid_imhelper.base.addresses import parse_interval
from squid_imhelper.base.model import ACTIONS, Action, FirewallSettings, Limits, Policy, Rule, SiteList
from squid_imhelper.firewall.destinations import Family
from squid_imhelper.firewall.iptables import MAX_LOG_PREFIX, render
from squid_imhelper.firewall.plan import Plan, plan_firewall
from squid_imhelper.sources.policy import read_policy

CONF = Path(__file__).parents[1] / "conf"
FAMILIES: tuple[Family, ...] = (4, 6)
NAMES = {4: "iptables", 6: "ip6tables"}

ARBITRARY = settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])

MSN = Packet("192.168.1.77", "203.0.113.9", "tcp", 1863)
WEB = Packet("192.168.1.77", "203.0.113.9", "tcp", 443)
MSN_6 = MSN._replace(source="2001:db8:1::77", destination="2001:db8:9::9")
WEB_6 = WEB._replace(source="2001:db8:1::77", destination="2001:db8:9::9")
EXEMPT = {"source": "192.168.1.16"}
ALL = frozenset(CATALOGUE.services)
BOSS = Rule("the boss", "allow", clients=(parse_interval("192.168.1.16")[0],))
BLOCK = Rule("messengers", "block", services=ALL)
WIRES = FirewallSettings(wan=WAN, lan=LAN)


def planned(policy: Policy) -> Plan:
    plan = plan_firewall(policy, CATALOGUE, MAX_LOG_PREFIX)
    assert plan.refusals == ()
    return plan


def policy_of(*rules: Rule, firewall: FirewallSettings = WIRES) -> Policy:
    return Policy("policy.toml", rules, firewall=firewall, sites=FIREWALL_SITES)


def sent(packet: Packet, policy: Policy, chain: str = "FORWARD", table: str = "filter") -> Journey:
    """What becomes of a packet on a router that has nothing but the whole rule set."""
    text = render(planned(policy), 4 if packet.family == 4 else 6)
    return travel(read_restore(text)[table], chain, packet)


def verdict(packet: Packet, policy: Policy, chain: str = "FORWARD", table: str = "filter") -> str:
    return sent(packet, policy, chain, table).verdict


# ---- the policy and the rules say the same --------------------------------------------------------------------------


@given(policy=firewall_policies(), several=st.lists(packets(), min_size=1, max_size=12), chains_only=st.booleans())
@ARBITRARY
def test_a_packet_is_blocked_if_and_only_if_the_policy_surely_blocks_it(
    policy: Policy, several: list[Packet], chains_only: bool
) -> None:
    """What is not refused blocks all that it can, and nothing that the policy might let through."""
    plan = plan_firewall(policy, CATALOGUE, MAX_LOG_PREFIX)
    assume(not plan.refusals)
    tables = {family: read_restore(render(plan, family, chains_only=chains_only)) for family in FAMILIES}
    for packet in several:
        wanted = fates(policy, CATALOGUE, packet)
        journey = travel(tables[packet.family]["filter"], "IMH-FORWARD", packet)
        blocked = journey.chain not in ("", "IMH-bypass")
        assert blocked == (wanted == {"block"}), (packet, wanted, journey)
        open_already = travel(tables[packet.family]["filter"], "FORWARD", packet._replace(state="ESTABLISHED"))
        assert (open_already.verdict in ("DROP", "REJECT")) == (journey.verdict in ("DROP", "REJECT"))


@given(policy=firewall_policies(), several=st.lists(packets(), min_size=1, max_size=12))
@ARBITRARY
def test_where_all_else_is_dropped_only_what_is_allowed_by_name_and_dns_pass(
    policy: Policy, several: list[Packet]
) -> None:
    quiet = policy.firewall._replace(lan=LAN, default="drop", quic="allow", encrypted_dns="allow", calls="allow")
    policy = policy._replace(firewall=quiet)
    plan = plan_firewall(policy, CATALOGUE, MAX_LOG_PREFIX)
    assume(not plan.refusals)
    tables = {family: read_restore(render(plan, family)) for family in FAMILIES}
    for packet in several:
        action = decided(policy, CATALOGUE, packet)
        passes = travel(tables[packet.family]["filter"], "FORWARD", packet).verdict == "ACCEPT"
        assert passes == (action in ("allow", "monitor") or (action == "" and packet.port == 53)), (packet, action)


@given(policy=firewall_policies(), packet=packets(), chains_only=st.booleans())
@ARBITRARY
def test_an_exempt_client_is_neither_blocked_nor_refused(policy: Policy, packet: Packet, chains_only: bool) -> None:
    exempt = Rule("exempt", "allow", clients=(parse_interval(packet.source)[0],))
    free = policy.firewall._replace(intercept_exempt=False, default="accept")
    policy = policy._replace(rules=(exempt, *policy.rules), firewall=free)
    plan = plan_firewall(policy, CATALOGUE, MAX_LOG_PREFIX)
    assume(not plan.refusals)
    tables = read_restore(render(plan, 4 if packet.family == 4 else 6, chains_only=chains_only))
    assert travel(tables["filter"], "FORWARD", packet) == Journey("ACCEPT", "", ())
    for table in ("nat", "mangle"):
        if table in tables and "PREROUTING" in tables[table].chains:
            assert travel(tables[table], "PREROUTING", packet) == Journey("ACCEPT", "", ())


@given(policy=firewall_policies(), packet=packets(), action=st.sampled_from(ACTIONS))
@ARBITRARY
def test_a_rule_for_nobody_changes_no_packet(policy: Policy, packet: Packet, action: Action) -> None:
    """Above all it is no rule for everybody."""
    assume(not plan_firewall(policy, CATALOGUE, MAX_LOG_PREFIX).refusals)
    nobody = Rule("nobody", action, clients=(), services=ALL)
    assert sent(packet, policy._replace(rules=(nobody, *policy.rules))) == sent(packet, policy)


@given(policy=firewall_policies(), chains_only=st.booleans(), family=st.sampled_from(FAMILIES))
@ARBITRARY
def test_only_our_own_chains_are_written_without_the_others(policy: Policy, chains_only: bool, family: Family) -> None:
    plan = plan_firewall(policy, CATALOGUE, MAX_LOG_PREFIX)
    assume(not plan.refusals)
    text = render(plan, family, chains_only=chains_only)
    assert text == render(plan, family, chains_only=chains_only)
    for name, table in read_restore(text).items():
        built_in = {chain: rules for chain, rules in table.chains.items() if not chain.startswith("IMH-")}
        if chains_only:
            assert table.policies == {}, name
            assert built_in == {chain: [["-j", f"IMH-{chain}"]] for chain in built_in}
        else:
            assert set(table.policies) == set(built_in)
        jumps = {rule[rule.index("-j") + 1] for rules in table.chains.values() for rule in rules}
        assert {chain for chain in table.chains if chain.startswith("IMH-")} - jumps == set()


# ---- one sentence, one row ------------------------------------------------------------------------------------------

DROP = WIRES._replace(default="drop", admin_ports=(22, 8000))
REDIRECT = WIRES._replace(intercept="redirect")
TPROXY = WIRES._replace(intercept="tproxy")
FORWARDED = [
    pytest.param(MSN, WIRES, "DROP", id="native-port"),
    pytest.param(MSN_6, WIRES, "DROP", id="native-port-6"),
    pytest.param(MSN._replace(**EXEMPT), WIRES, "ACCEPT", id="exempt"),
    pytest.param(MSN._replace(state="ESTABLISHED"), WIRES, "DROP", id="open-already"),
    pytest.param(MSN._replace(came_by=WAN, leaves_by=LAN), WIRES, "ACCEPT", id="from-outside"),
    pytest.param(MSN._replace(direction="REPLY"), FirewallSettings(), "ACCEPT", id="answer-without-interfaces"),
    pytest.param(MSN, FirewallSettings(), "DROP", id="question-without-interfaces"),
    pytest.param(MSN, WIRES._replace(reject=True), "REJECT", id="reject"),
    pytest.param(MSN._replace(protocol="udp", port=8000), WIRES._replace(reject=True), "REJECT", id="reject-udp"),
    pytest.param(WEB, WIRES, "ACCEPT", id="web"),
    pytest.param(WEB, DROP, "DROP", id="web-and-drop"),
    pytest.param(WEB._replace(**EXEMPT), DROP, "ACCEPT", id="exempt-and-drop"),
    pytest.param(WEB._replace(came_by="eth9"), DROP, "DROP", id="not-from-the-lan"),
    pytest.param(WEB._replace(state="ESTABLISHED"), DROP, "ACCEPT", id="established-and-drop"),
    pytest.param(WEB._replace(protocol="udp", port=53), DROP, "ACCEPT", id="dns"),
    pytest.param(WEB._replace(protocol="tcp", port=53), DROP, "ACCEPT", id="dns-tcp"),
    pytest.param(WEB_6._replace(protocol="udp", port=53), DROP, "ACCEPT", id="dns-6"),
    pytest.param(WEB_6._replace(protocol="ipv6-icmp", port=0, flag="2"), DROP, "ACCEPT", id="packet-too-big"),
    pytest.param(WEB_6._replace(protocol="ipv6-icmp", port=0, flag="135"), DROP, "DROP", id="neighbours-stay-home"),
    pytest.param(WEB._replace(over=True), WIRES, "DROP", id="too-many-syn"),
    pytest.param(WEB._replace(over=True, flag="RST"), WIRES, "DROP", id="too-many-rst"),
    pytest.param(WEB._replace(over=True, flag="ACK"), WIRES, "ACCEPT", id="as-many-others-as-you-like"),
    pytest.param(
        WEB._replace(over=True, protocol="icmp", flag="echo-request"), WIRES, "DROP", id="too-many-pings"
    ),
    pytest.param(
        WEB_6._replace(over=True, protocol="ipv6-icmp", flag="128"), WIRES, "DROP", id="too-many-pings-6"
    ),
    pytest.param(WEB._replace(over=True), WIRES._replace(limits=Limits(0, 0, 0)), "ACCEPT", id="no-limit"),
    pytest.param(WEB._replace(protocol="udp"), WIRES, "ACCEPT", id="quic"),
    pytest.param(WEB._replace(protocol="udp"), WIRES._replace(quic="reject"), "REJECT", id="quic-rejected"),
    pytest.param(WEB._replace(protocol="udp"), REDIRECT, "REJECT", id="quic-and-redirect"),
    pytest.param(WEB_6._replace(protocol="udp"), TPROXY, "REJECT", id="quic-and-tproxy"),
    pytest.param(WEB._replace(protocol="udp"), TPROXY._replace(quic="allow"), "ACCEPT", id="quic-allowed"),
    pytest.param(WEB._replace(protocol="udp", **EXEMPT), REDIRECT, "ACCEPT", id="quic-of-the-exempt"),
    pytest.param(
        WEB._replace(protocol="udp", **EXEMPT),
        REDIRECT._replace(intercept_exempt=True),
        "REJECT",
        id="quic-of-the-exempt-who-are-intercepted",
    ),
    pytest.param(
        WEB._replace(port=853, **EXEMPT),
        REDIRECT._replace(intercept_exempt=True, encrypted_dns="reject"),
        "ACCEPT",
        id="dot-of-the-exempt-who-are-intercepted",
    ),
    pytest.param(WEB._replace(port=853), WIRES._replace(encrypted_dns="reject"), "REJECT", id="dot"),
    pytest.param(
        WEB._replace(port=853, protocol="udp"), WIRES._replace(encrypted_dns="reject"), "REJECT", id="doq"
    ),
    pytest.param(
        WEB._replace(destination="1.1.1.1"), WIRES._replace(encrypted_dns="reject"), "REJECT", id="doh"
    ),
    pytest.param(
        WEB_6._replace(destination="2606:4700:4700::1111", protocol="udp"),
        WIRES._replace(encrypted_dns="reject"),
        "REJECT",
        id="doh3-6",
    ),
    pytest.param(WEB._replace(destination="1.1.1.1"), WIRES, "ACCEPT", id="doh-allowed"),
    pytest.param(WEB, WIRES._replace(encrypted_dns="reject"), "ACCEPT", id="web-and-no-doh"),
    pytest.param(WEB._replace(port=3478, protocol="udp"), WIRES._replace(calls="reject"), "REJECT", id="stun"),
    pytest.param(WEB._replace(port=5349), WIRES._replace(calls="reject"), "REJECT", id="turns"),
    pytest.param(WEB._replace(port=19309, protocol="udp"), WIRES._replace(calls="reject"), "REJECT", id="meet"),
    pytest.param(WEB._replace(port=3478, protocol="udp"), WIRES, "ACCEPT", id="calls"),
]  # fmt: skip


@pytest.mark.parametrize(("packet", "firewall", "expected"), FORWARDED)
def test_what_is_forwarded(packet: Packet, firewall: FirewallSettings, expected: str) -> None:
    assert verdict(packet, policy_of(BOSS, BLOCK, firewall=firewall)) == expected


HERE = {"destination": "192.168.1.1", "leaves_by": "", "local": True}
HERE_6 = {**HERE, "destination": "2001:db8:1::1", "source": "2001:db8:1::77"}
LOOP = {**HERE, "came_by": "lo", "source": "127.0.0.1", "destination": "127.0.0.1"}
TOLD = [
    pytest.param(WEB._replace(**LOOP, port=40000), DROP, "ACCEPT", id="loopback"),
    pytest.param(WEB._replace(**LOOP, port=40000, over=True), DROP, "ACCEPT", id="loopback-without-limit"),
    pytest.param(
        WEB_6._replace(**{**LOOP, "source": "::1", "destination": "::1"}, port=40000), DROP, "ACCEPT", id="loopback-6"
    ),
    pytest.param(WEB._replace(**HERE, port=40000, state="ESTABLISHED"), DROP, "ACCEPT", id="established"),
    pytest.param(WEB._replace(**HERE, port=40000), DROP, "DROP", id="anything"),
    pytest.param(WEB._replace(**HERE, port=40000), WIRES, "ACCEPT", id="anything-accepted"),
    pytest.param(WEB._replace(**HERE, port=3128), DROP, "ACCEPT", id="proxy"),
    pytest.param(WEB_6._replace(**HERE_6, port=3128), DROP, "ACCEPT", id="proxy-6"),
    pytest.param(WEB._replace(**HERE, port=8080), DROP._replace(proxy_ports=(3128, 8080)), "ACCEPT", id="proxy-two"),
    pytest.param(WEB._replace(**{**HERE, "came_by": WAN}, port=3128), DROP, "DROP", id="proxy-from-outside"),
    pytest.param(WEB._replace(**HERE, port=22), DROP, "ACCEPT", id="admin"),
    pytest.param(WEB_6._replace(**HERE_6, port=8000), DROP, "ACCEPT", id="admin-6"),
    pytest.param(WEB._replace(**{**HERE, "came_by": WAN}, port=22), DROP, "ACCEPT", id="admin-from-outside"),
    pytest.param(WEB._replace(**HERE, port=53, protocol="udp"), DROP, "ACCEPT", id="dns"),
    pytest.param(WEB_6._replace(**HERE_6, port=53), DROP, "ACCEPT", id="dns-tcp-6"),
    pytest.param(
        WEB._replace(**{**HERE, "came_by": WAN}, port=53, protocol="udp"), DROP, "DROP", id="dns-from-outside"
    ),
    pytest.param(WEB._replace(**HERE, port=67, protocol="udp"), DROP, "ACCEPT", id="dhcp"),
    pytest.param(WEB_6._replace(**HERE_6, port=547, protocol="udp"), DROP, "ACCEPT", id="dhcp-6"),
    *(
        pytest.param(
            WEB_6._replace(**HERE_6, port=0, protocol="ipv6-icmp", flag=kind), DROP, "ACCEPT", id=f"icmpv6-{kind}"
        )
        for kind in ("1", "2", "3", "4", "133", "134", "135", "136")
    ),
    pytest.param(WEB._replace(**HERE, protocol="icmp", flag="echo-request"), DROP, "ACCEPT", id="ping"),
    pytest.param(WEB._replace(**HERE, protocol="icmp", flag="echo-request", over=True), DROP, "DROP", id="flood"),
    pytest.param(WEB._replace(**HERE, port=3129, state="NEW"), REDIRECT, "DROP", id="intercept-port-spoken-to"),
    pytest.param(WEB._replace(**HERE, port=3130, state="DNAT"), REDIRECT, "ACCEPT", id="intercept-port"),
    pytest.param(
        WEB._replace(**HERE, port=3130, state="DNAT"),
        REDIRECT._replace(default="drop"),
        "ACCEPT",
        id="intercept-and-drop",
    ),
    pytest.param(WEB._replace(**HERE, port=3129), TPROXY, "DROP", id="tproxy-port-spoken-to"),
    pytest.param(WEB._replace(mark=0x100), TPROXY._replace(default="drop"), "ACCEPT", id="tproxy-and-drop"),
    pytest.param(WEB, TPROXY._replace(default="drop"), "DROP", id="tproxy-without-mark"),
]  # fmt: skip


@pytest.mark.parametrize(("packet", "firewall", "expected"), TOLD)
def test_what_comes_to_the_router(packet: Packet, firewall: FirewallSettings, expected: str) -> None:
    assert verdict(packet, policy_of(BOSS, BLOCK, firewall=firewall), "INPUT") == expected


INTERCEPTED = [
    pytest.param(WEB, {}, True, id="https"),
    pytest.param(WEB._replace(port=80), {}, True, id="http"),
    pytest.param(WEB_6, {}, True, id="https-6"),
    pytest.param(WEB._replace(port=8443), {}, False, id="another-port"),
    pytest.param(WEB._replace(protocol="udp"), {}, False, id="udp"),
    pytest.param(WEB._replace(came_by=WAN), {}, False, id="not-from-the-lan"),
    pytest.param(WEB._replace(local=True), {}, False, id="to-the-router"),
    pytest.param(WEB._replace(**EXEMPT), {}, False, id="exempt"),
    pytest.param(WEB._replace(**EXEMPT), {"intercept_exempt": True}, True, id="exempt-and-told-otherwise"),
    pytest.param(WEB._replace(destination="1.1.1.1"), {}, True, id="doh"),
    pytest.param(WEB._replace(destination="1.1.1.1"), {"encrypted_dns": "reject"}, False, id="doh-refused-elsewhere"),
]  # fmt: skip


@pytest.mark.parametrize(("packet", "changes", "expected"), INTERCEPTED)
@pytest.mark.parametrize(("firewall", "table"), [(REDIRECT, "nat"), (TPROXY, "mangle")], ids=["redirect", "tproxy"])
def test_what_is_intercepted(
    packet: Packet, changes: dict[str, object], expected: bool, firewall: FirewallSettings, table: str
) -> None:
    policy = policy_of(BOSS, BLOCK, firewall=firewall._replace(**changes))  # type: ignore[arg-type]
    wanted = {"nat": "REDIRECT", "mangle": "TPROXY"}[table] if expected else "ACCEPT"
    assert verdict(packet, policy, "PREROUTING", table) == wanted


def test_what_a_rule_lets_through_goes_whatever_way() -> None:
    """Calls of a service that somebody may use are not refused to him as a way around the proxy."""
    boss = (parse_interval("192.168.1.16")[0],)
    allow = Rule("a", "allow", clients=boss, services=frozenset({"telegram"}))
    block = Rule("b", "block", services=frozenset({"telegram"}))
    policy = policy_of(allow, block, firewall=WIRES._replace(quic="reject", calls="reject"))
    telegram = WEB._replace(destination="149.154.167.50", protocol="udp")
    for port in (443, 3478):
        assert verdict(telegram._replace(port=port, **EXEMPT), policy) == "ACCEPT"
        assert verdict(telegram._replace(port=port), policy) == "DROP"
        assert verdict(WEB._replace(protocol="udp", port=port, **EXEMPT), policy) == "REJECT"


def test_what_everybody_may_closes_no_less() -> None:
    """A last rule that allows the rest is the same as none."""
    block, rest, never = Rule("b", "block", services=frozenset({"aim"})), Rule("r", "allow"), Rule("n", "block")
    policy = policy_of(block, rest, never._replace(services=frozenset({"telegram"})), firewall=REDIRECT)
    assert verdict(WEB._replace(protocol="udp"), policy) == "REJECT"
    assert verdict(WEB._replace(port=5190), policy) == "DROP"
    assert verdict(WEB._replace(destination="149.154.167.50"), policy) == "ACCEPT"
    assert verdict(WEB._replace(protocol="udp"), policy_of(block, rest)) == "ACCEPT"
    monitored = sent(WEB._replace(protocol="udp"), policy_of(rest._replace(action="monitor"), firewall=REDIRECT))
    assert monitored == Journey("REJECT", "IMH-bypass", ("MONITOR > ",))


def test_what_belongs_to_a_connection_of_squids_is_handed_to_it() -> None:
    """Answers of servers come by the WAN interface, to an address that is not the router's."""
    answer = WEB._replace(came_by=WAN, transparent=True, port=40000, state="ESTABLISHED")
    assert sent(answer, policy_of(BLOCK, firewall=TPROXY), "PREROUTING", "mangle") == Journey(
        "ACCEPT", "IMH-divert", ()
    )


def test_masquerading_is_for_ipv4_and_what_leaves_by_the_wan() -> None:
    policy = policy_of(BLOCK, firewall=WIRES._replace(masquerade=True))
    assert verdict(WEB, policy, "POSTROUTING", "nat") == "MASQUERADE"
    assert verdict(WEB._replace(leaves_by=LAN), policy, "POSTROUTING", "nat") == "ACCEPT"
    assert "nat" not in read_restore(render(planned(policy), 6))


def test_a_drop_is_logged_with_the_prefix_of_the_service() -> None:
    firewall = WIRES._replace(log_prefix=(("msn_messenger", "MESSENGER MSN > "),))
    assert sent(MSN, policy_of(BLOCK, firewall=firewall)) == Journey("DROP", "IMH-msn_messenger", ("MESSENGER MSN > ",))
    assert sent(MSN._replace(port=5050), policy_of(BLOCK)).logged == ("MESSENGER YAHOO > ",)


def test_a_monitor_logs_what_is_new_and_lets_it_through() -> None:
    policy = policy_of(BLOCK._replace(action="monitor"), BLOCK)
    assert sent(MSN, policy) == Journey("ACCEPT", "", ("MESSENGER MSN > ",))
    assert sent(MSN._replace(state="ESTABLISHED"), policy) == Journey("ACCEPT", "FORWARD", ())


def test_every_line_in_the_log_is_limited() -> None:
    text = render(planned(policy_of(BLOCK._replace(action="monitor"), BLOCK)), 4)
    lines = [line for line in text.split("\n") if "-j LOG" in line]
    assert lines
    assert [line for line in lines if "-m limit --limit 10/min --limit-burst 5 -j LOG" not in line] == []


# ---- what must not happen -------------------------------------------------------------------------------------------


def test_a_service_whose_last_rule_is_of_the_other_family_has_its_chain() -> None:
    teams = Rule("teams", "block", services=frozenset(["microsoft_teams"]))
    policy = policy_of(teams, teams._replace(name="six", sites=("six",)))
    assert verdict(WEB._replace(destination="52.112.0.1"), policy) == "DROP"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_service_has_a_chain_of_its_own_with_a_name_that_fits(family: Family) -> None:
    flagged = BLOCK._replace(include=frozenset(["stale", "shared", "self_hosted"]))
    rules = [flagged._replace(name=id_, services=frozenset([id_])) for id_ in sorted(ALL)]
    chains = read_restore(render(planned(policy_of(*rules)), family))["filter"].chains
    assert len(chains) > 30
    assert {name for name in chains if len(name) > MAX_CHAIN_NAME} == set()
    assert {f"IMH-{id_}" for id_ in ALL} & {"IMH-INPUT", "IMH-FORWARD", "IMH-messengers", "IMH-bypass"} == set()
    assert {f"IMH-{id_}" for id_ in ALL} & {"IMH-limits", "IMH-divert", "IMH-all"} == set()


FORGED = "x\n-A FORWARD -j ACCEPT"


@pytest.mark.parametrize("name", [FORGED, f'"{FORGED}"', FORGED.replace("\n", "\r\n"), "x" * 10_227 + FORGED[2:]])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_name_forges_a_line(name: str, family: Family) -> None:
    """Not by its characters, and not by its length: -restore reads a line of 10 KB, and the rest as another one."""
    site = SiteList(name, networks=(parse_interval("192.0.2.0/24")[0], parse_interval("2001:db8::/32")[0]))
    rules = tuple(Rule(name, action, sites=(name,)) for action in ("block", "monitor", "allow"))  # type: ignore[arg-type]
    timed = Rule(name, "allow", start=0.0, services=frozenset())
    policy = Policy(name, (*rules, timed), firewall=WIRES, sites={name: site})
    text = render(planned(policy), family)
    plain = render(planned(policy._replace(path="x", sites={"x": site._replace(name="x")}, rules=tuple(
        rule._replace(name="x", sites=("x",) if rule.sites else None) for rule in policy.rules
    ))), family)  # fmt: skip
    rules_only = [line for line in plain.split("\n") if not line.startswith("#") and "LOG" not in line]
    assert [line for line in text.split("\n") if not line.startswith("#") and "LOG" not in line] == rules_only
    assert max(map(len, text.split("\n"))) < 10_000 or name == policy.path


def test_a_changed_limit_is_another_table_of_the_kernels() -> None:
    """Under the same name the kernel would go on with the rate that it had."""
    for rate in (1, 100, 10_000):
        text = render(planned(policy_of(BLOCK, firewall=WIRES._replace(limits=Limits(syn=rate)))), 4)
        burst = f"--hashlimit-above {rate}/sec --hashlimit-burst {3 * rate} --hashlimit-mode srcip"
        assert f"-p tcp --syn -m hashlimit {burst} --hashlimit-name imh-syn-{rate} -j DROP" in text


def test_the_base_protections_accept_nothing() -> None:
    """Those of the recipe did."""
    for firewall in (WIRES, DROP, REDIRECT, TPROXY):
        text = render(planned(policy_of(BLOCK, firewall=firewall)), 4)
        limits = read_restore(text)["filter"].chains["IMH-limits"]
        assert len(limits) == 3
        assert {rule[-1] for rule in limits} == {"DROP"}
        assert "The recipe of 2006 accepted SYN, RST and ping" in text


# ---- golden files ---------------------------------------------------------------------------------------------------

EVERYTHING = """
[clients]
boss = ["192.168.1.16", "2001:db8:1::16"]
desk = ["192.168.1.20-192.168.1.29"]
six = ["2001:db8:1:2::/64"]

[sites]
servers = { networks = ["149.154.167.50", "2001:67c:4e8::10"], ports = [7070] }
many = { networks = ["192.0.2.0-192.0.2.6"], ports = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, "25-27", 29, 31] }
names = { domains = ["chat.example"], networks = ["198.51.100.0/24"] }

[[rule]]
name = "the boss"
clients = ["boss"]
action = "allow"

[[rule]]
name = "Slack is for Squid"
services = ["slack"]
users = ["ann"]
action = "allow"
firewall = false

[[rule]]
name = "the desk talks on IRC"
clients = ["desk"]
services = ["irc_web"]
action = "monitor"

[[rule]]
name = "Telegram's servers, by IPv6 only"
clients = ["six"]
services = ["telegram"]
sites = ["servers"]
action = "allow"

[[rule]]
name = "messengers"
services = ["telegram", "viber", "irc_web", "msn_messenger", "aim", "microsoft_teams"]
except_sites = ["servers"]
include = ["stale"]
action = "block"

[[rule]]
name = "for two groups"
clients = ["desk", "six"]
sites = ["many", "names"]
action = "block"

[[rule]]
name = "at night"
services = ["qq"]
from = 2026-01-01
action = "block"

[[rule]]
name = "old browsers"
user_agents = ["MSIE"]
action = "block"
"""
WIRED = '[firewall]\nwan = "eth0"\nlan = "eth1"\nschedules = "always"\n'
ALL_ON = 'default = "drop"\nadmin_ports = [22, "8000-8002"]\nproxy_ports = [3128, 8080]\ncalls = "reject"\n'
ALL_ON += 'encrypted_dns = "reject"\nmasquerade = true\nlog_prefix = { telegram = "T > " }\n'
SIX = '[[rule]]\nname = "six"\nclients = ["2001:db8::/32"]\nservices = ["telegram"]\naction = "block"\n'

POLICIES = {
    "recipe": (CONF / "recipe-2006.toml").read_text(encoding="utf-8"),
    "policy": (CONF / "policy.toml").read_text(encoding="utf-8"),
    "drop": EVERYTHING + WIRED + ALL_ON + 'intercept = "redirect"\n',
    "tproxy": EVERYTHING + WIRED + 'reject = true\nintercept = "tproxy"\nintercept_exempt = true\n',
    "chains": EVERYTHING + WIRED + ALL_ON + 'intercept = "redirect"\nreject = true\n',
    "nothing": SIX + "[firewall]\nlimits = { syn = 0, rst = 0, ping = 0 }\n",
}
GOLDEN = [
    "iptables-recipe.rules", "ip6tables-recipe.rules", "iptables-policy.rules", "ip6tables-policy.rules",
    "iptables-drop.rules", "ip6tables-drop.rules", "iptables-tproxy.rules", "ip6tables-tproxy.rules",
    "iptables-chains.rules", "ip6tables-chains.rules", "iptables-nothing.rules", "ip6tables-nothing.rules",
]  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_the_rules_are_these(name: str, golden: Callable[[str, str], None], policy_file: Callable[[str], Path]) -> None:
    program, _, word = name.removesuffix(".rules").partition("-")
    read = read_policy(policy_file(POLICIES[word]), CATALOGUE)
    plan = planned(read.policy._replace(path="policy.toml"))
    text = render(plan, 4 if program == "iptables" else 6, chains_only=word == "chains")
    assert read_restore(text)
    golden(name, text)
