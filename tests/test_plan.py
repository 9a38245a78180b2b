"""What a firewall does of a policy: each sentence of it a row, and everything that is refused, all at once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from arbitrary import CATALOGUE, FIREWALL_SITES, firewall_policies
from hypothesis import HealthCheck, given, settings

import squid_imhelper
from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.model import FirewallSettings, Interval, Policy, Rule
from squid_imhelper.firewall.destinations import each_port
from squid_imhelper.firewall.plan import Plan, Refusal, plan_firewall
from squid_imhelper.sources.policy import read_policy

PROJECT = Path(squid_imhelper.__file__).parents[1]
Write = Callable[[str], Path]

DEFINITIONS = """
[clients]
boss = ["192.168.1.16"]
desk = ["192.168.1.20-192.168.1.29"]
six = ["2001:db8:1::/64"]

[schedules]
office = { hours = ["08:00-18:00"], timezone = "UTC" }

[sites]
names = { domains = ["chat.example"] }
mixed = { urls = ["chat.example/x"], networks = ["192.0.2.0/24"] }
networks = { networks = ["149.154.160.0/22"] }
irc = { ports = [6667] }
"""
ALL = '[[rule]]\nname = "all"\nservices = ["all"]\naction = "block"\n'
WAY_OUT = "'firewall = false' in that rule says that it is for Squid only"
SCHEDULES = f"say schedules = 'always' or 'never' in [firewall]; or {WAY_OUT}"
NO_ZONE = "has times, and no firewall knows a time zone with daylight saving"
CANNOT_TELL = "rule 'x' lets through what a firewall cannot tell"
BY_ALL = "and a firewall would block it by rule 'all'"


def rule(action: str, *conditions: str, name: str = "x") -> str:
    return "\n".join(["[[rule]]", f'name = "{name}"', f'action = "{action}"', *conditions, ""])


def plan_of(path: Path, max_log_prefix: int = 29) -> Plan:
    return plan_firewall(read_policy(path, CATALOGUE).policy, CATALOGUE, max_log_prefix)


@pytest.fixture
def plan(policy_file: Write) -> Callable[..., Plan]:
    def make(text: str, max_log_prefix: int = 29) -> Plan:
        return plan_of(policy_file(DEFINITIONS + text), max_log_prefix)

    return make


# ---- refused --------------------------------------------------------------------------------------------------------

REFUSED = [
    pytest.param(
        rule("block", 'clients = ["desk"]'),
        "rule 'x' would cut off everything, DNS and mail too",
        f"name 'services' or 'sites'; or {WAY_OUT}",
        id="block-everything",
    ),
    pytest.param(
        rule("block", 'services = ["aim"]', 'schedule = "office"'), f"rule 'x' {NO_ZONE}", SCHEDULES, id="schedule"
    ),
    pytest.param(
        rule("block", 'services = ["aim"]', "until = 2030-01-01"), f"rule 'x' {NO_ZONE}", SCHEDULES, id="until"
    ),
    pytest.param(rule("block", 'sites = ["irc"]', "from = 2030-01-01"), f"rule 'x' {NO_ZONE}", SCHEDULES, id="from"),
    pytest.param(
        rule("block", 'services = ["aim"]', 'except_sites = ["irc", "mixed", "names"]'),
        "rule 'x' spares what a firewall cannot tell: names of mixed, names",
        "an 'allow' for them in front of it, with 'firewall = false', in place of 'except_sites'",
        id="block-spares-names",
    ),
    pytest.param(
        rule("allow", 'users = ["ann"]', 'services = ["telegram"]') + ALL,
        f"{CANNOT_TELL} (users), {BY_ALL}",
        WAY_OUT,
        id="allow-users",
    ),
    pytest.param(
        rule("allow", 'users = ["ann"]') + ALL, f"{CANNOT_TELL} (users), {BY_ALL}", WAY_OUT, id="allow-users-all"
    ),
    pytest.param(
        rule("monitor", 'user_agents = ["MSIE"]', "from = 2026-01-01", 'except_sites = ["irc"]') + ALL,
        f"{CANNOT_TELL} (user agents, its times, the sites it spares), {BY_ALL}",
        WAY_OUT,
        id="monitor-several",
    ),
    pytest.param(
        rule("allow", 'services = ["telegram"]', 'schedule = "office"') + ALL,
        f"{CANNOT_TELL} (its times), {BY_ALL}",
        WAY_OUT,
        id="allow-schedule",
    ),
    pytest.param(
        rule("allow", 'sites = ["names"]') + ALL, f"{CANNOT_TELL} (names of names), {BY_ALL}", WAY_OUT, id="allow-names"
    ),
    pytest.param(
        rule("allow", 'users = ["ann"]', 'sites = ["irc"]') + ALL,
        f"{CANNOT_TELL} (users), {BY_ALL}",
        WAY_OUT,
        id="allow-a-port",
    ),
    pytest.param(
        rule("allow", 'users = ["ann"]', 'clients = ["desk"]')
        + rule("block", 'services = ["aim"]', 'clients = ["boss"]', name="boss")
        + rule("block", 'services = ["qq"]', 'clients = ["192.168.1.0/24"]', name="b")
        + rule("block", 'sites = ["irc"]', name="c"),
        f"{CANNOT_TELL} (users), and a firewall would block it by rule 'b', 'c'",
        WAY_OUT,
        id="allow-and-those-who-share-clients",
    ),
    pytest.param(
        rule("allow", 'services = ["xmpp"]')
        + rule("block", 'services = ["whatsapp"]', 'include = ["shared"]', name="all"),
        f"rule 'x' lets through services by what is off by default, {BY_ALL}",
        f"the same 'include' in both rules; or {WAY_OUT}",
        id="allow-without-what-is-off",
    ),
]


@pytest.mark.parametrize(("text", "message", "suggestion"), REFUSED)
def test_what_cannot_be_said_safely_is_refused(
    plan: Callable[..., Plan], text: str, message: str, suggestion: str
) -> None:
    assert plan(text).refusals == (Refusal(("rule", 0), message, suggestion),)


SETTINGS = [
    pytest.param(
        'default = "drop"',
        ("firewall",),
        "default = 'drop' lets the LAN reach the proxy, and 'lan' is not said",
        id="drop-without-lan",
    ),
    pytest.param(
        'intercept = "redirect"',
        ("firewall",),
        "interception takes what comes from the LAN, and 'lan' is not said",
        id="intercept-without-lan",
    ),
    pytest.param(
        'lan = "eth1"\nmasquerade = true',
        ("firewall",),
        "masquerade = true is for what leaves by the WAN, and 'wan' is not said",
        id="masquerade-without-wan",
    ),
    pytest.param(
        'lan = "eth1"\nwan = "eth1"', ("firewall", "wan"), "'wan' and 'lan' are the same interface", id="one-interface"
    ),
    pytest.param(
        'lan = "eth1"\nintercept = "tproxy"\nproxy_ports = [3130]',
        ("firewall", "proxy_ports"),
        "port 3130 of Squid cannot be one for interception and one for clients that know it",
        id="one-port",
    ),
    pytest.param(
        f'log_prefix = {{ aim = "{"x" * 30}" }}',
        ("firewall", "log_prefix", "aim"),
        "iptables would cut the log prefix after 29 bytes; this one has 30",
        id="log-prefix",
    ),
]


@pytest.mark.parametrize(("text", "where", "message"), SETTINGS)
def test_settings_that_do_not_fit_each_other_are_refused(
    plan: Callable[..., Plan], text: str, where: tuple[str, ...], message: str
) -> None:
    assert [(r.where, r.message) for r in plan(f"[firewall]\n{text}\n").refusals] == [(where, message)]


def test_a_rule_for_everybody_and_everything_and_a_stance_that_drops_are_refused(plan: Callable[..., Plan]) -> None:
    text = rule("allow") + '[firewall]\nlan = "eth1"\ndefault = "drop"\n'
    message = "rule 'x' lets everybody go everywhere, and default = 'drop' does not"
    assert plan(text).refusals == (Refusal(("rule", 0), message, WAY_OUT),)
    assert plan(text.replace("drop", "accept")).refusals == ()


def test_all_reasons_come_at_once(plan: Callable[..., Plan]) -> None:
    refusals = plan(
        rule("block", 'except_sites = ["names"]', 'schedule = "office"')
        + rule("allow", 'users = ["ann"]', name="y")
        + ALL
        + '[firewall]\ndefault = "drop"\nmasquerade = true\n'
    ).refusals
    assert [refusal.where for refusal in refusals] == [("rule", 0)] * 3 + [("rule", 1), ("firewall",), ("firewall",)]
    assert [refusal.message for refusal in refusals[:3]] == [
        "rule 'x' would cut off everything, DNS and mail too",
        "rule 'x' spares what a firewall cannot tell: names of names",
        f"rule 'x' {NO_ZONE}",
    ]


@pytest.mark.parametrize(("length", "longest", "refused"), [(29, 29, 0), (30, 29, 1), (30, 127, 0), (127, 127, 0)])
def test_a_log_prefix_is_as_long_as_the_language_can_write(
    plan: Callable[..., Plan], length: int, longest: int, refused: int
) -> None:
    found = plan(f'{ALL}[firewall]\nlog_prefix = {{ aim = "{"x" * length}" }}\n', longest)
    assert len(found.refusals) == refused
    assert {target.key: target.log_prefix for target in found.blocked_targets}["aim"] == "x" * length


SAFE = [
    pytest.param(rule("allow", 'users = ["ann"]', "firewall = false") + ALL, id="for-squid-only"),
    pytest.param(ALL + rule("allow", 'users = ["ann"]'), id="behind-the-block"),
    pytest.param(rule("allow", 'users = ["ann"]', 'services = ["slack"]') + ALL, id="nothing-a-firewall-blocks"),
    pytest.param(
        rule("allow", 'users = ["ann"]', 'clients = ["desk"]')
        + ALL.replace("[[rule]]", '[[rule]]\nclients = ["boss"]'),
        id="other-clients",
    ),
    pytest.param(
        rule("allow", 'users = ["ann"]', 'clients = ["six"]') + ALL.replace("[[rule]]", '[[rule]]\nclients = ["boss"]'),
        id="clients-of-the-other-family",
    ),
    pytest.param(
        rule("allow", 'users = ["ann"]', 'services = ["telegram"]') + rule("block", 'services = ["tox"]', name="y"),
        id="other-services",
    ),
    pytest.param(
        rule("allow", 'users = ["ann"]') + rule("block", 'user_agents = ["x"]', name="y"), id="no-block-at-all"
    ),
    pytest.param(rule("allow", 'services = ["all"]', 'clients = ["desk"]') + ALL, id="the-same-services"),
    pytest.param(rule("monitor", 'services = ["all"]') + ALL, id="the-same-services-monitored"),
    pytest.param(
        rule("allow", 'services = ["xmpp"]', 'include = ["shared"]')
        + rule("block", 'services = ["whatsapp"]', 'include = ["shared"]', name="all"),
        id="the-same-include",
    ),
]


@pytest.mark.parametrize("text", SAFE)
def test_what_changes_nothing_is_not_refused(plan: Callable[..., Plan], text: str) -> None:
    assert plan(text).refusals == ()


# ---- left out -------------------------------------------------------------------------------------------------------

NOTHING = "what it names shows neither addresses nor ports of its own"
LEFT_OUT = [
    pytest.param(
        rule("block", 'user_agents = ["MSIE"]'), ["it asks for user agents, which only HTTP shows"], id="agents"
    ),
    pytest.param(
        rule("block", 'user_agents = ["MSIE"]', 'users = ["ann"]', 'services = ["aim"]'),
        ["it asks for users and user agents, which only HTTP shows"],
        id="users-and-agents",
    ),
    pytest.param(rule("block", 'sites = ["names"]'), [NOTHING], id="names"),
    pytest.param(rule("block", 'sites = ["mixed"]'), ["names, URLs and expressions of mixed"], id="mixed"),
    pytest.param(rule("block", 'services = ["slack"]'), [NOTHING], id="service"),
    pytest.param(
        rule("block", 'services = ["slack", "aim", "discord"]'),
        ["what has neither addresses nor ports of its own: discord, slack"],
        id="services",
    ),
    pytest.param(rule("block", 'services = ["e_messenger"]'), [NOTHING], id="stale-addresses-only"),
    pytest.param(rule("block", 'services = ["e_messenger"]', 'include = ["stale"]'), [], id="stale-included"),
    pytest.param(rule("allow", 'services = ["slack"]'), [NOTHING], id="allow"),
    pytest.param(rule("allow", 'users = ["ann"]'), ["a firewall cannot tell users"], id="allow-users"),
    pytest.param(rule("allow", 'sites = ["names"]'), [NOTHING], id="allow-names"),
    pytest.param(rule("monitor", 'sites = ["mixed"]'), ["names, URLs and expressions of mixed"], id="monitor-mixed"),
    pytest.param(
        rule("allow", 'sites = ["mixed"]', 'except_sites = ["irc"]'),
        ["a firewall cannot tell the sites it spares, names of mixed"],
        id="allow-and-spares",
    ),
    pytest.param(
        rule("block", 'services = ["aim"]', "firewall = false"),
        ["it says so itself (firewall = false)"],
        id="for-squid",
    ),
    pytest.param(rule("block", 'services = ["aim"]'), [], id="nothing-left-out"),
]


@pytest.mark.parametrize(("text", "expected"), LEFT_OUT)
def test_what_is_left_out_is_said(plan: Callable[..., Plan], text: str, expected: list[str]) -> None:
    found = plan(text)
    assert found.refusals == ()
    assert found.left_out == tuple(f'rule "x": {reason}' for reason in expected)


def test_a_rule_for_nobody_is_left_out() -> None:
    """A policy file cannot say it, and a mistake elsewhere must not make it one for everybody."""
    nobody = Rule("x", "block", clients=(), services=frozenset(["aim"]))
    found = plan_firewall(Policy("p", (nobody,)), CATALOGUE, 29)
    assert (found.steps, found.left_out) == ((), ('rule "x": it is for nobody',))


TIMED = rule("block", 'services = ["aim"]', 'schedule = "office"')
SPARES = rule("block", 'services = ["aim"]', 'schedule = "office"', 'except_sites = ["names"]')
TIMES = [
    pytest.param(TIMED, "always", 1, ['rule "x": its times; it blocks always (schedules = always)'], 0, id="always"),
    pytest.param(TIMED, "never", 0, ['rule "x": it does not hold at all times (schedules = never)'], 0, id="never"),
    pytest.param(TIMED, "refuse", 0, [], 1, id="refuse"),
    pytest.param(SPARES, "always", 0, [], 1, id="always-and-names-spared"),
    pytest.param(
        SPARES, "never", 0, ['rule "x": it does not hold at all times (schedules = never)'], 0, id="never-spares"
    ),
    pytest.param(SPARES, "refuse", 0, [], 2, id="refuse-twice"),
]


@pytest.mark.parametrize(("text", "setting", "steps", "left_out", "refusals"), TIMES)
def test_a_scheduled_block_follows_the_setting(
    plan: Callable[..., Plan], text: str, setting: str, steps: int, left_out: list[str], refusals: int
) -> None:
    found = plan(f'{text}[firewall]\nschedules = "{setting}"\n')
    assert (len(found.steps), list(found.left_out), len(found.refusals)) == (steps, left_out, refusals)


# ---- steps ----------------------------------------------------------------------------------------------------------


def told(plan: Plan) -> list[tuple[int, str, list[str]]]:
    return [(step.number, step.rule.action, [target.key for target in step.targets]) for step in plan.steps]


def test_steps_are_the_rules_in_their_order(plan: Callable[..., Plan]) -> None:
    found = plan(
        rule("allow", 'clients = ["boss"]', name="a")
        + rule("block", 'user_agents = ["x"]', name="b")
        + rule("monitor", 'services = ["tox"]', name="c")
        + rule("block", 'services = ["tox", "aim", "slack"]', 'except_sites = ["irc"]', name="d")
        + rule("block", 'sites = ["irc", "mixed"]', 'clients = ["desk", "six"]', name="e")
    )
    assert told(found) == [
        (1, "allow", ["all"]), (3, "monitor", ["tox"]), (4, "block", ["tox", "aim"]), (5, "block", ["site4", "site2"]),
    ]  # fmt: skip
    assert [step.number for step in found.blocks] == [4, 5]
    assert [step.number for step in found.passes] == [1, 3]
    assert [target.key for target in found.blocked_targets] == ["tox", "aim", "site4", "site2"]
    assert [len(step.exceptions) for step in found.steps] == [0, 0, 1, 0]
    assert found.steps[3].clients == merge(
        parse_interval(text)[0] for text in ("192.168.1.20-192.168.1.29", "2001:db8:1::/64")
    )


def test_a_port_is_in_one_target_only(plan: Callable[..., Plan]) -> None:
    """So that a packet goes to one chain: AIM and ICQ share 5190."""
    (step,) = plan(rule("block", 'services = ["icq", "aim", "telegram"]')).steps
    found = [(target.key, p) for target in step.targets for d in target.destinations for p in each_port(d.ports)]
    ports = [port for _, port in found]
    assert ("aim", 5190) in found
    assert sorted(ports) == sorted(set(ports))
    assert [target.key for target in step.targets] == ["telegram", "aim"]


def test_services_and_sites_together_are_what_both_hold(plan: Callable[..., Plan]) -> None:
    (step,) = plan(rule("block", 'services = ["telegram", "irc_web"]', 'sites = ["networks", "irc"]')).steps
    telegram, irc = (target.destinations for target in step.targets)
    network = parse_interval("149.154.160.0/22")[0]
    assert [(d.networks, d.ports) for d in telegram[:1]] == [((network,), ())]
    assert telegram[1].ports == irc[-1].ports == ((6667, 6667),)
    assert telegram[1].networks
    assert [(d.networks, d.protocol) for d in irc] == [((network,), "tcp"), (None, "tcp")]


def clients(*words: str) -> tuple[Interval, ...]:
    return merge(parse_interval(word)[0] for word in words)


EXEMPT = [
    pytest.param(rule("allow", 'clients = ["boss"]') + ALL, clients("192.168.1.16"), id="allowed-everything"),
    pytest.param(
        rule("allow", 'clients = ["boss"]') + rule("allow", 'clients = ["six"]', name="y") + ALL,
        clients("192.168.1.16", "2001:db8:1::/64"),
        id="two-rules",
    ),
    pytest.param(ALL + rule("allow", 'clients = ["boss"]'), (), id="behind-a-block"),
    pytest.param(rule("allow", 'clients = ["boss"]', 'services = ["all"]') + ALL, (), id="only-messengers"),
    pytest.param(rule("allow", 'clients = ["boss"]', 'schedule = "office"') + ALL, (), id="at-times"),
    pytest.param(rule("allow", 'clients = ["boss"]', 'except_sites = ["irc"]') + ALL, (), id="not-everything"),
    pytest.param(rule("allow", 'clients = ["boss"]', "firewall = false") + ALL, (), id="for-squid-only"),
    pytest.param(rule("monitor", 'clients = ["boss"]') + ALL, (), id="monitored"),
    pytest.param(
        rule("monitor", 'services = ["xmpp"]') + rule("allow", 'clients = ["boss"]', name="y") + ALL,
        (),
        id="behind-a-monitor-of-everybody",
    ),
    pytest.param(
        rule("block", 'clients = ["six"]', 'services = ["aim"]') + rule("allow", 'clients = ["boss"]', name="y") + ALL,
        clients("192.168.1.16"),
        id="behind-a-block-of-others",
    ),
    pytest.param(rule("allow") + ALL, (), id="everybody"),
]


@pytest.mark.parametrize(("text", "expected"), EXEMPT)
def test_exempt_is_who_is_allowed_everything_before_anything_is_blocked(
    plan: Callable[..., Plan], text: str, expected: tuple[Interval, ...]
) -> None:
    assert plan(text).exempt == expected


# ---- log prefixes ---------------------------------------------------------------------------------------------------


def test_every_service_has_its_own_log_prefix_which_no_language_cuts() -> None:
    rules = tuple(
        Rule(id_, "block", services=frozenset([id_]), include=frozenset(["stale", "shared", "self_hosted"]))
        for id_ in CATALOGUE.services
    )
    targets = plan_firewall(Policy("p", rules), CATALOGUE, 29).blocked_targets
    prefixes = [target.log_prefix for target in targets]
    assert len(prefixes) > 30
    assert len(set(prefixes)) == len(prefixes)
    assert [prefix for prefix in prefixes if not prefix.isascii() or len(prefix) > 29] == []
    assert [prefix for prefix in prefixes if not prefix.startswith("MESSENGER ") or not prefix.endswith(" > ")] == []


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        pytest.param("irc", "SITES IRC > ", id="plain"),
        pytest.param('a"b\\c', "SITES A?B?C > ", id="quotes"),
        pytest.param("a\nb", "SITES A?B > ", id="newline"),
        pytest.param("é", "SITES ? > ", id="accent"),
        pytest.param("x" * 40, f"SITES {'X' * 16} > ", id="long"),
    ],
)
def test_a_site_list_is_logged_by_its_name(name: str, prefix: str) -> None:
    site = FIREWALL_SITES["six"]._replace(name=name)
    found = plan_firewall(Policy("p", (Rule("x", "block", sites=(name,)),), sites={name: site}), CATALOGUE, 29)
    assert [target.log_prefix for target in found.blocked_targets] == [prefix]


# ---- the same again -------------------------------------------------------------------------------------------------


@given(policy=firewall_policies())
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_policy_is_the_same_plan(policy: Policy) -> None:
    assert plan_firewall(policy, CATALOGUE, 29) == plan_firewall(policy, CATALOGUE, 29)


@pytest.mark.parametrize("setting", ["", "reject", "allow"])
@pytest.mark.parametrize("intercept", ["no", "redirect", "tproxy"])
def test_quic_is_rejected_where_squid_intercepts(setting: str, intercept: str) -> None:
    firewall = FirewallSettings(lan="eth1", intercept=intercept, quic=setting)  # type: ignore[arg-type]
    found = plan_firewall(Policy("p", (), firewall=firewall), CATALOGUE, 29)
    assert found.rejects_quic is (setting == "reject" or (setting == "" and intercept != "no"))


def test_the_order_in_which_python_keeps_sets_does_not_show(policy_file: Write) -> None:
    path = policy_file(DEFINITIONS + rule("monitor", 'services = ["@im"]') + ALL)
    for backend in ("iptables", "ip6tables"):
        words = [sys.executable, "-m", "squid_imhelper", "firewall", "--policy", str(path), "--backend", backend]
        texts = {
            subprocess.run(
                words, env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE,
                check=True, timeout=60,
            ).stdout
            for seed in ("1", "2", "3")
        }  # fmt: skip
        assert len(texts) == 1
