"""Rules for nft: golden files, a table of policies with the rules they become, and what holds for every policy."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from arbitrary import firewall_policies, packets
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from nftpackets import read_nft, travel
from packets import Packet, fates, read_restore
from packets import travel as travel_restored

from squid_imhelper.base.model import Kind, Policy, Service, Signature
from squid_imhelper.firewall import iptables
from squid_imhelper.firewall.nftables import render
from squid_imhelper.firewall.nfttable import FAMILIES
from squid_imhelper.firewall.plan import plan_firewall
from squid_imhelper.sources.catalogue import Catalogue, load_catalogue
from squid_imhelper.sources.policy import read_policy
from squid_imhelper.sources.settings import MAX_LOG_PREFIX

CONF = Path(__file__).parent.parent / "conf"
WriteFile = Callable[[str], Path]
Golden = Callable[[str, str], None]


def made(service: str, *signatures: tuple[Kind, str], udp_ports: tuple[int, ...] = ()) -> Service:
    signs = tuple(Signature(kind, value, service) for kind, value in signatures)
    return Service(service, service.title(), "im", "active", None, "", "", "", signs, udp_ports=udp_ports)


NETWORKS = [
    "91.105.192.0/23",
    "91.108.4.0/22",
    "95.161.64.0/20",
    "149.154.160.0/20",
    "185.76.151.0/24",
    "2001:67c:4e8::/48",
]
CATALOGUE = Catalogue(
    {
        "msn": made("msn", (Kind.PORT, "1863"), (Kind.PORT, "6891"), (Kind.PORT, "6892"), (Kind.DOMAIN, "msn.example")),
        "gram": made("gram", *((Kind.NETWORK, network) for network in NETWORKS)),
        "six": made("six", (Kind.NETWORK, "2001:db8:6::/48")),
        "talk": made("talk", (Kind.PORT, "5242"), udp_ports=(5242, 7985)),
        "web": made("web", (Kind.DOMAIN, "web.example")),
    },
    {"im": "Messengers"},
)  # fmt: skip

PEOPLE = """
[clients]
boss = ["192.168.1.16", "2001:db8:1::16"]
desk = ["192.168.1.20-192.168.1.29", "192.168.2.0/24"]
many = ["10.0.0.1", "10.0.0.3", "10.0.0.5", "10.0.0.7", "10.0.0.9"]
six = ["2001:db8:1:2::/64"]

[sites]
servers = { networks = ["149.154.167.50", "2001:67c:4e8::10"], ports = [7070] }
names = { domains = ["chat.example"] }
"ours\\n}" = { networks = ["192.0.2.0/24"] }
"""
WIRES = 'wan = "eth0"\nlan = "eth1"\n'
BLOCK = '[[rule]]\nservices = ["all"]\naction = "block"\n'


def block(conditions: str, settings: str = WIRES) -> str:
    return f'[[rule]]\nname = "x"\naction = "block"\n{conditions}\n[firewall]\n{settings}'


def rules_of(path: Path, catalogue: Catalogue = CATALOGUE, *, chains_only: bool = False) -> str:
    policy = read_policy(path, catalogue).policy._replace(path="policy.toml")
    plan = plan_firewall(policy, catalogue, MAX_LOG_PREFIX)
    assert plan.refusals == ()
    return render(plan, chains_only=chains_only)


def chain(text: str, name: str) -> list[str]:
    """The rules of a chain, or the lines of a set; nothing where there is none."""
    found = re.search(rf"^\t(?:chain|set) {re.escape(name)} {{\n(.*?)^\t}}$", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in found[1].splitlines()] if found else []


# ---- golden files: tests/integration/test_rule_files.py loads them ---------------------------------------------------

EVERYTHING = """
[[rule]]
name = "the boss may chat"
clients = ["boss"]
action = "allow"

[[rule]]
name = "seen at the desk"
clients = ["desk"]
services = ["msn"]
action = "monitor"

[[rule]]
name = "all but our servers"
clients = ["many", "six"]
services = ["gram", "talk"]
except_sites = ["servers"]
action = "block"

[[rule]]
name = "no messengers"
services = ["all"]
action = "block"

[firewall]
wan = "eth0"
lan = "eth1"
default = "drop"
reject = true
admin_ports = [22, 8443]
encrypted_dns = "reject"
calls = "reject"
masquerade = true
log_prefix = { msn = "MESSENGER MSN > " }
"""

GOLDEN = [
    pytest.param("nft-everything.nft", EVERYTHING + 'intercept = "redirect"\n', False, id="everything"),
    pytest.param("nft-chains.nft", EVERYTHING + 'intercept = "redirect"\n', True, id="without a stance"),
    pytest.param("nft-tproxy.nft", block('services = ["msn"]', WIRES + 'intercept = "tproxy"\n'), False, id="tproxy"),
    pytest.param(
        "nft-nothing.nft", block('services = ["web"]', "limits = { syn = 0, rst = 0, ping = 0 }"), False, id="nothing"
    ),
]


@pytest.mark.parametrize(("name", "policy", "chains_only"), GOLDEN)
def test_golden(golden: Golden, policy_file: WriteFile, name: str, policy: str, chains_only: bool) -> None:
    golden(name, rules_of(policy_file(PEOPLE + policy), chains_only=chains_only))


def test_the_recipe(golden: Golden) -> None:
    golden("nft-recipe.nft", rules_of(CONF / "recipe-2006.toml", load_catalogue()))


# ---- what a policy becomes -------------------------------------------------------------------------------------------

LOGGED = 'limit rate 10/minute burst 5 packets log prefix "MESSENGER MSN > "'

MESSENGERS = [
    pytest.param(block('services = ["msn"]'), ["tcp dport { 1863, 6891-6892 } jump IMH-msn"], id="ports"),
    pytest.param(
        block('services = ["talk"]'),
        ["tcp dport 5242 jump IMH-talk", "udp dport { 5242, 7985 } jump IMH-talk"],
        id="TCP and UDP",
    ),
    pytest.param(
        block('services = ["gram"]'),
        ["ip daddr @IMH-gram-v4 jump IMH-gram", "ip6 daddr 2001:67c:4e8::/48 jump IMH-gram"],
        id="many networks are a set, few stand in the rule",
    ),
    pytest.param(
        block('services = ["msn"]\nclients = ["boss"]'),
        [
            "ip saddr 192.168.1.16 tcp dport { 1863, 6891-6892 } jump IMH-msn",
            "ip6 saddr 2001:db8:1::16 tcp dport { 1863, 6891-6892 } jump IMH-msn",
        ],
        id="clients of both families",
    ),
    pytest.param(
        block('services = ["six", "gram"]\nclients = ["desk"]'),
        ["ip saddr { 192.168.1.20-192.168.1.29, 192.168.2.0/24 } ip daddr @IMH-gram-v4 jump IMH-gram"],
        id="IPv4 clients never go to IPv6 networks",
    ),
    pytest.param(
        block('services = ["six"]\nclients = ["desk"]'),
        ["#   nothing: its clients and its addresses are of different families"],
        id="no family in common",
    ),
    pytest.param(
        block('services = ["msn"]\nclients = ["many"]'),
        ["ip saddr @IMH-rule-1-v4 tcp dport { 1863, 6891-6892 } jump IMH-msn"],
        id="many clients are a set",
    ),
    pytest.param(block('services = ["web"]'), [], id="names are for Squid"),
    pytest.param(
        block('services = ["six"]\nexcept_sites = ["servers"]'), ["jump IMH-rule-1"], id="exceptions are a chain"
    ),
    pytest.param(
        block('services = ["msn"]\nclients = ["boss"]\nexcept_sites = ["servers"]'),
        ["ip saddr 192.168.1.16 jump IMH-rule-1", "ip6 saddr 2001:db8:1::16 jump IMH-rule-1"],
        id="exceptions for some clients",
    ),
    pytest.param(
        block('sites = ["servers"]'),
        [
            "ip daddr 149.154.167.50 jump IMH-site1",
            "ip6 daddr 2001:67c:4e8::10 jump IMH-site1",
            "tcp dport 7070 jump IMH-site1",
        ],
        id="a site list",
    ),
    pytest.param(
        '[[rule]]\nname = "b"\nclients = ["boss"]\naction = "allow"\n' + block('services = ["msn"]'),
        [
            "ip saddr 192.168.1.16 return",
            "ip6 saddr 2001:db8:1::16 return",
            "tcp dport { 1863, 6891-6892 } jump IMH-msn",
        ],
        id="exempt clients first",
    ),
    pytest.param(
        '[[rule]]\nname = "b"\nservices = ["msn"]\naction = "monitor"\n' + block('services = ["talk"]'),
        [
            f"tcp dport {{ 1863, 6891-6892 }} ct state new {LOGGED}",
            "tcp dport { 1863, 6891-6892 } return",
            "tcp dport 5242 jump IMH-talk",
            "udp dport { 5242, 7985 } jump IMH-talk",
        ],
        id="monitored is logged once a connection",
    ),
]


@pytest.mark.parametrize(("policy", "expected"), MESSENGERS)
def test_messengers(policy_file: WriteFile, policy: str, expected: list[str]) -> None:
    rules = chain(rules_of(policy_file(PEOPLE + policy)), "IMH-messengers")
    assert [rule for rule in rules if not rule.startswith("# rule")] == expected


DROP = 'default = "drop"\n'
REDIRECT = 'intercept = "redirect"\n'
TPROXY = 'intercept = "tproxy"\n'
ALLOW = '[[rule]]\nname = "b"\nclients = ["boss"]\naction = "allow"\n'
RESET = "reject with tcp reset"
UNREACHABLE = "reject with icmpx port-unreachable"

CHAINS = [
    pytest.param(
        "",
        WIRES,
        "IMH-msn",
        ["# Msn", LOGGED, "drop"],
        id="drop",
    ),
    pytest.param(
        "",
        'reject = true\nlog_prefix = { msn = "M > " }',
        "IMH-msn",
        ["# Msn", 'limit rate 10/minute burst 5 packets log prefix "M > "', f"meta l4proto tcp {RESET}", UNREACHABLE],
        id="reject",
    ),
    pytest.param(
        "",
        WIRES,
        "IMH-gram-v4",
        [
            "type ipv4_addr",
            "flags interval",
            "auto-merge",
            "elements = { 91.105.192.0/23, 91.108.4.0/22, 95.161.64.0/20, 149.154.160.0/20, 185.76.151.0/24 }",
        ],
        id="a set",
    ),
    pytest.param(
        "",
        WIRES,
        "FORWARD",
        [
            "type filter hook forward priority filter; policy accept;",
            "jump IMH-FORWARD",
            "ct state established,related accept",
        ],
        id="a stance that accepts",
    ),
    pytest.param(
        "",
        WIRES,
        "INPUT",
        ["type filter hook input priority filter; policy accept;", "jump IMH-INPUT"],
        id="a stance that accepts, to the router",
    ),
    pytest.param(
        "",
        WIRES + DROP,
        "INPUT",
        [
            "type filter hook input priority filter; policy drop;",
            "jump IMH-INPUT",
            'iifname "lo" accept',
            "ct state established,related accept",
            "icmp type echo-request accept",
            "icmpv6 type { 1, 2, 3, 4, 128, 130, 131, 132, 133, 134, 135, 136, 137, 143 } accept",
            'iifname "eth1" meta nfproto ipv4 udp dport 67 accept',
            'iifname "eth1" meta nfproto ipv6 udp dport 547 accept',
            "ip6 saddr fe80::/10 udp dport 546 accept",
            'iifname "eth1" meta l4proto { tcp, udp } th dport 53 accept',
            'iifname "eth1" tcp dport 3128 accept',
        ],
        id="a stance that drops, to the router",
    ),
    pytest.param(
        ALLOW,
        WIRES + DROP,
        "FORWARD",
        [
            "type filter hook forward priority filter; policy drop;",
            "jump IMH-FORWARD",
            "ct state established,related accept",
            "icmpv6 type { 1, 2, 3, 4 } accept",
            'iifname "eth1" oifname "eth0" meta l4proto { tcp, udp } th dport 53 accept',
            '# rule "b" (line 12): allow',
            'iifname "eth1" oifname "eth0" ip saddr 192.168.1.16 accept',
            'iifname "eth1" oifname "eth0" ip6 saddr 2001:db8:1::16 accept',
        ],
        id="a stance that drops, what is forwarded",
    ),
    pytest.param(
        "",
        "",
        "IMH-FORWARD",
        [
            "# Before anything that accepts what is established: a block also ends what is open.",
            "ct direction original jump IMH-messengers",
            "jump IMH-limits",
        ],
        id="no LAN is named",
    ),
    pytest.param("", WIRES + "limits = { syn = 0, rst = 0, ping = 0 }", "IMH-limits", [], id="no limits"),
    pytest.param(
        "",
        WIRES + "limits = { syn = 7, rst = 0, ping = 0 }",
        "IMH-syn-v6",
        ["type ipv6_addr", "size 65536", "flags dynamic, timeout", "timeout 1m"],
        id="a set for a limit",
    ),
    pytest.param("", WIRES, "IMH-bypass", [], id="no way around is closed"),
    pytest.param(
        ALLOW,
        WIRES + 'quic = "reject"',
        "IMH-bypass",
        [
            "# QUIC, which Squid cannot see: browsers come back to TCP",
            f"udp dport {{ 80, 443 }} {UNREACHABLE}",
        ],
        id="QUIC",
    ),
    pytest.param(
        "",
        WIRES,
        "IMH-INPUT",
        [
            "# Squid talks to its helpers by way of the loopback interface.",
            'iifname "lo" return',
            "jump IMH-limits",
        ],
        id="nothing is let in by our own chains",
    ),
    pytest.param("", WIRES, "PREROUTING", [], id="no interception"),
    pytest.param(
        "",
        WIRES + REDIRECT,
        "PREROUTING",
        ["type nat hook prerouting priority dstnat; policy accept;", "jump IMH-PREROUTING"],
        id="redirect hooks into nat",
    ),
    pytest.param(
        ALLOW,
        WIRES + REDIRECT,
        "IMH-PREROUTING",
        [
            'iifname != "eth1" return',
            "ip saddr 192.168.1.16 return",
            "ip6 saddr 2001:db8:1::16 return",
            "fib daddr type local return",
            "tcp dport 80 redirect to :3129",
            "tcp dport 443 redirect to :3130",
        ],
        id="redirect",
    ),
    pytest.param(
        ALLOW,
        WIRES + REDIRECT + "intercept_exempt = true\n",
        "IMH-PREROUTING",
        [
            'iifname != "eth1" return',
            "fib daddr type local return",
            "tcp dport 80 redirect to :3129",
            "tcp dport 443 redirect to :3130",
        ],
        id="exempt clients too",
    ),
    pytest.param(
        "",
        WIRES + TPROXY,
        "PREROUTING",
        ["type filter hook prerouting priority mangle; policy accept;", "jump IMH-PREROUTING"],
        id="tproxy hooks into mangle",
    ),
    pytest.param(
        "",
        WIRES + TPROXY,
        "IMH-divert",
        ["meta mark set meta mark | 0x100 accept"],
        id="tproxy: what is Squid's already",
    ),
    pytest.param(
        "",
        'lan = "eth+"\n' + REDIRECT,
        "IMH-PREROUTING",
        [
            'iifname != "eth*" return',
            "fib daddr type local return",
            "tcp dport 80 redirect to :3129",
            "tcp dport 443 redirect to :3130",
        ],
        id="interfaces by the beginning of their names",
    ),
    pytest.param("", WIRES, "POSTROUTING", [], id="no masquerade"),
    pytest.param(
        "",
        WIRES + "masquerade = true",
        "IMH-POSTROUTING",
        ['oifname "eth0" meta nfproto ipv4 masquerade'],
        id="masquerade",
    ),
    pytest.param(
        '[[rule]]\nname = "s"\nsites = ["ours\\n}"]\naction = "block"\n',
        WIRES,
        "IMH-site3",
        ["# site list ours?}", 'limit rate 10/minute burst 5 packets log prefix "SITES OURS?? > "', "drop"],
        id="a name of several lines",
    ),
]


@pytest.mark.parametrize(("rules", "settings", "name", "expected"), CHAINS)
def test_chain(policy_file: WriteFile, rules: str, settings: str, name: str, expected: list[str]) -> None:
    policy = PEOPLE + rules + block('services = ["msn", "gram"]', settings)
    assert chain(rules_of(policy_file(policy)), name) == expected


INPUT_PORTS = [
    pytest.param(
        REDIRECT,
        "tcp dport 3129-3130 ct status & dnat == 0 drop",
        'iifname "eth1" tcp dport 3129-3130 accept',
        id="redirect",
    ),
    pytest.param(TPROXY, "tcp dport 3129-3130 drop", "meta l4proto tcp meta mark & 0x100 == 0x100 accept", id="tproxy"),
    pytest.param(
        REDIRECT + "intercept_ports = { http = 81, https = 8443 }\n",
        "tcp dport { 81, 8443 } ct status & dnat == 0 drop",
        'iifname "eth1" tcp dport { 81, 8443 } accept',
        id="other ports",
    ),
]


@pytest.mark.parametrize(("settings", "dropped", "accepted"), INPUT_PORTS)
def test_what_may_reach_the_ports_for_interception(
    policy_file: WriteFile, settings: str, dropped: str, accepted: str
) -> None:
    text = rules_of(policy_file(block('services = ["msn"]', WIRES + DROP + settings)))
    assert chain(text, "IMH-INPUT")[4:] == [dropped]
    assert chain(text, "INPUT")[-1] == accepted


def test_limits_are_by_source_and_family(policy_file: WriteFile) -> None:
    text = rules_of(policy_file(block('services = ["msn"]', WIRES + "limits = { syn = 100, rst = 50, ping = 5 }")))
    flags = "tcp flags & (fin | syn | rst | ack) == syn"
    assert [rule for rule in chain(text, "IMH-limits") if not rule.startswith("#")] == [
        f"{flags} update @IMH-syn-v4 {{ ip saddr limit rate over 100/second burst 300 packets }} drop",
        f"{flags} update @IMH-syn-v6 {{ ip6 saddr limit rate over 100/second burst 300 packets }} drop",
        "tcp flags & rst == rst update @IMH-rst-v4 { ip saddr limit rate over 50/second burst 150 packets } drop",
        "tcp flags & rst == rst update @IMH-rst-v6 { ip6 saddr limit rate over 50/second burst 150 packets } drop",
        "icmp type echo-request update @IMH-ping-v4 { ip saddr limit rate over 5/second burst 15 packets } drop",
        "icmpv6 type echo-request update @IMH-ping-v6 { ip6 saddr limit rate over 5/second burst 15 packets } drop",
    ]


def test_exceptions_stand_before_what_is_blocked(policy_file: WriteFile) -> None:
    text = rules_of(policy_file(PEOPLE + block('services = ["six"]\nexcept_sites = ["servers"]')))
    assert chain(text, "IMH-rule-1") == [
        "ip daddr 149.154.167.50 return",
        "ip6 daddr 2001:67c:4e8::10 return",
        "tcp dport 7070 return",
        "ip6 daddr 2001:db8:6::/48 jump IMH-six",
    ]


def test_without_a_stance_nothing_is_dropped_but_what_the_policy_blocks(policy_file: WriteFile) -> None:
    path = policy_file(PEOPLE + EVERYTHING)
    whole, chains = rules_of(path), rules_of(path, chains_only=True)
    for hook in ("INPUT", "FORWARD"):
        assert "policy drop" in chain(whole, hook)[0]
        assert "policy accept" in chain(chains, hook)[0]
        assert chain(chains, hook)[1:] == [f"jump IMH-{hook}"]
    assert whole[whole.index("\tchain IMH-") :] == chains[chains.index("\tchain IMH-") :]


def test_a_block_stands_before_what_is_established(policy_file: WriteFile) -> None:
    forward = chain(rules_of(policy_file(PEOPLE + EVERYTHING)), "FORWARD")
    assert forward.index("jump IMH-FORWARD") < forward.index("ct state established,related accept")


def test_the_same_addresses_are_one_set(policy_file: WriteFile) -> None:
    rules = "".join(
        f'[[rule]]\nname = "{n}"\nclients = ["{who}"]\nservices = ["gram"]\naction = "block"\n'
        for n, who in enumerate(("boss", "desk"))
    )
    text = rules_of(policy_file(PEOPLE + rules))
    assert re.findall(r"set (\S+-v4) ", text)[:2] == ["IMH-gram-v4", "IMH-syn-v4"]


def test_other_addresses_of_the_same_service_are_another_set(policy_file: WriteFile) -> None:
    few = [f"91.105.192.{number}" for number in (1, 3, 5, 7, 9)]
    sites = f"[sites]\nfew = {{ networks = {few} }}\n"
    text = rules_of(
        policy_file(
            sites
            + '[[rule]]\nname = "a"\nservices = ["gram"]\nsites = ["few"]\naction = "block"\n'
            + block('services = ["gram"]')
        )
    )
    assert chain(text, "IMH-messengers")[1] == "ip daddr @IMH-gram-v4 jump IMH-gram"
    assert "ip daddr @IMH-gram-v4-2 jump IMH-gram" in chain(text, "IMH-messengers")
    assert chain(text, "IMH-gram-v4") != chain(text, "IMH-gram-v4-2") != []


# ---- what holds for every policy -------------------------------------------------------------------------------------

POLICIES = [
    *(pytest.param(PEOPLE + case.values[1], CATALOGUE, id=f"golden {case.id}") for case in GOLDEN),  # type: ignore[operator]
    *(pytest.param(PEOPLE + case.values[0], CATALOGUE, id=case.id) for case in MESSENGERS),  # type: ignore[operator]
    pytest.param(
        block('services = ["all"]\ninclude = ["stale", "shared"]'), load_catalogue(), id="the whole catalogue"
    ),
]


@pytest.mark.parametrize(("policy", "catalogue"), POLICIES)
def test_what_is_named_is_there(policy_file: WriteFile, policy: str, catalogue: Catalogue) -> None:
    text = rules_of(policy_file(policy), catalogue)
    chains, sets = (
        re.findall(r"^\tchain (\S+) {$", text, re.MULTILINE),
        re.findall(r"^\tset (\S+) {$", text, re.MULTILINE),
    )
    rules = "".join(line for line in text.splitlines(keepends=True) if "#" not in line)
    assert set(re.findall(r"jump (\S+)", rules)) == {name for name in chains if name.startswith("IMH-")}
    assert set(re.findall(r"@(\S+)", rules)) == set(sets)
    assert len(chains) == len(set(chains))
    assert len(sets) == len(set(sets))


@pytest.mark.parametrize(("policy", "catalogue"), POLICIES)
def test_the_same_policy_is_the_same_text(policy_file: WriteFile, policy: str, catalogue: Catalogue) -> None:
    path = policy_file(policy)
    assert rules_of(path, catalogue) == rules_of(path, catalogue)


@pytest.mark.parametrize(("policy", "catalogue"), POLICIES)
def test_each_line_is_a_rule_a_comment_or_a_frame(policy_file: WriteFile, policy: str, catalogue: Catalogue) -> None:
    """Nothing that a policy says gets out of its line."""
    frame = r"table inet squid_imhelper(?: {)?|delete table inet squid_imhelper|\t(?:chain|set) [\w-]+ {|\t}|}"
    for line in rules_of(policy_file(policy), catalogue).splitlines():
        assert re.fullmatch(rf"# .*|\t\t\S.*|\t\t    \S.*|{frame}", line), line


@given(policy=firewall_policies(), several=st.lists(packets(), min_size=1, max_size=12), chains_only=st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_a_packet_is_dropped_if_and_only_if_the_policy_surely_blocks_it(
    policy: Policy, several: list[Packet], chains_only: bool
) -> None:
    plan = plan_firewall(policy, load_catalogue(), MAX_LOG_PREFIX)
    assume(not plan.refusals)
    table = read_nft(render(plan, chains_only=chains_only))
    for packet in several:
        wanted = fates(policy, load_catalogue(), packet)
        journey = travel(table, "IMH-FORWARD", packet)
        blocked = journey.chain not in ("", "IMH-bypass")
        assert blocked == (wanted == {"block"}), (packet, wanted, journey)
        assert journey.verdict in (("DROP", "REJECT") if blocked else ("ACCEPT", "REJECT")), journey


@given(
    policy=firewall_policies(),
    chains_only=st.booleans(),
    several=st.lists(
        st.tuples(
            packets(),
            st.booleans(),
            st.sampled_from(["INPUT", "FORWARD", "PREROUTING"]),
            st.sampled_from(["eth0", "eth1", "lo"]),
            st.sampled_from(["NEW", "ESTABLISHED"]),
            st.sampled_from([0, 0x100]),
        ),
        min_size=1,
        max_size=12,
    ),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_both_languages_say_the_same(
    policy: Policy, chains_only: bool, several: list[tuple[Packet, bool, str, str, str, int]]
) -> None:
    """Through each hook, whatever conntrack and the sockets know: what iptables does to a packet, nft does too."""
    plan = plan_firewall(policy, load_catalogue(), iptables.MAX_LOG_PREFIX)
    assume(not plan.refusals)
    nft = read_nft(render(plan, chains_only=chains_only))
    restored = {family: read_restore(iptables.render(plan, family, chains_only=chains_only)) for family in FAMILIES}
    for packet, known, hook, came_by, state, mark in several:
        sent = packet._replace(came_by=came_by, state=state, mark=mark, over=known, local=known, transparent=known)
        tables = [table for table in restored[sent.family].values() if f"IMH-{hook}" in table.chains]
        assert bool(tables) == (hook in nft.chains), hook
        for table in tables:
            expected, found = travel_restored(table, hook, sent), travel(nft, hook, sent)
            assert (found.verdict, found.chain) == (expected.verdict, expected.chain), (sent, hook)
            assert found.logged == expected.logged
