"""`check --explain`: what is found out is what the engine decides, and what would change it does."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from arbitrary import CATALOGUE, policies, questions, times
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import BUILT_IN, Circumstances, Policy, Request, SiteList
from squid_imhelper.loading import load_engine
from squid_imhelper.matching.engine import Engine
from squid_imhelper.offline.check import check
from squid_imhelper.offline.explain import Explainer, Explanation
from squid_imhelper.offline.rendering import as_json, as_text
from squid_imhelper.sources.compiler import compile_policy

NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC).timestamp()
"""A Monday, 9:30 in Brussels."""

OFFICE = """
[clients]
boss = ["192.168.1.16"]
[schedules]
office = { days = "mon-fri", hours = ["08:00-12:00", "13:00-18:00"], timezone = "Europe/Brussels" }
[sites]
company = { domains = ["intranet.example"], networks = ["198.51.100.0/24"] }
[[rule]]
name = "the boss may chat"
clients = ["boss"]
action = "allow"
[[rule]]
name = "our own sites"
sites = ["company"]
action = "allow"
[[rule]]
name = "no messengers at work"
services = ["all", "-slack"]
schedule = "office"
action = "block"
[[rule]]
name = "old browsers"
user_agents = ["MSIE "]
except_sites = ["company"]
action = "monitor"
"""


@pytest.fixture
def explain(policy_file: Callable[[str], Path]) -> Callable[..., Explanation]:
    """Explains a URL under a policy given as text, or under the built-in one."""

    def explained(policy: str, url: str, now: float = NOW, **circumstances: str) -> Explanation:
        name = policy if policy == BUILT_IN else str(policy_file(policy))
        program = load_engine(name, pytest.fail).program
        explainer = Explainer(program, CATALOGUE, "" if policy == BUILT_IN else "policy.toml")
        return explainer.explain(url, Circumstances(**circumstances), now)

    return explained


# ---- what decides ---------------------------------------------------------------------------------------------------

WINNERS = [
    pytest.param(
        OFFICE, "http://meebo.com/", {}, "no messengers at work", "blocks meebo, told by domain meebo.com", id="block"
    ),
    pytest.param(
        OFFICE,
        "http://meebo.com/",
        {"client": "192.168.1.16"},
        "the boss may chat",
        "allows meebo, told by domain meebo.com",
        id="allow",
    ),
    pytest.param(
        OFFICE,
        "http://www.intranet.example/",
        {},
        "our own sites",
        "allows it for its site intranet.example",
        id="a site",
    ),
    pytest.param(
        OFFICE,
        "http://a.example/",
        {"user_agent": "MSIE 6"},
        "old browsers",
        "lets through and records it for its user_agent MSIE ",
        id="monitor",
    ),
    pytest.param(
        OFFICE,
        "http://slack.com/",
        {"user_agent": "MSIE 6"},
        "old browsers",
        "lets through and records slack for its user_agent MSIE ",
        id="for another reason than what it is",
    ),
    pytest.param(
        OFFICE, "http://a.example/", {}, None, "no rule holds, and it is no messenger that is known", id="nothing"
    ),
    pytest.param(
        OFFICE,
        "http://fbcdn.net/",
        {},
        None,
        "no rule holds, and all that is seen of messengers is off by default",
        id="shared",
    ),
    pytest.param(OFFICE, "http://app.slack.com/", {}, None, "it is slack, and no rule blocks that", id="left out"),
    pytest.param(OFFICE, "/", {}, None, "no host in '/'; on_error says allow", id="no host"),
    pytest.param(
        OFFICE,
        "http://blocked.invalid/x",
        {},
        None,
        "blocked requests are sent there, so it is open before any rule is asked",
        id="the block page",
    ),
    pytest.param('[[rule]]\naction = "block"', "http://a/", {}, "rule 1", "blocks it, whatever it is", id="all"),
    pytest.param(BUILT_IN, "http://meebo.com/", {}, BUILT_IN, "blocks meebo, told by domain meebo.com", id="built-in"),
]


@pytest.mark.parametrize(("policy", "url", "circumstances", "rule", "reason"), WINNERS)
def test_who_decides_and_why(
    explain: Callable[..., Explanation],
    policy: str,
    url: str,
    circumstances: dict[str, str],
    rule: str | None,
    reason: str,
) -> None:
    winner = explain(policy, url, **circumstances).winner
    assert (winner.rule.name if winner.rule else None, winner.reason) == (rule, reason)


def test_outside_of_its_hours_no_rule_that_blocks_holds(explain: Callable[..., Explanation]) -> None:
    explanation = explain(OFFICE, "http://meebo.com/", NOW + 3 * 3600)
    assert explanation.winner.reason == "it is meebo, and no rule that blocks it holds"
    assert explanation.winner.schedules == ()


def test_a_schedule_that_holds_is_told_with_its_end(explain: Callable[..., Explanation]) -> None:
    (lasting,) = explain(OFFICE, "http://meebo.com/").winner.schedules
    assert lasting == ("office", datetime(2026, 11, 23, 11, 0, tzinfo=UTC).timestamp())


def test_on_the_way_to_the_block_page_no_rule_is_asked(explain: Callable[..., Explanation]) -> None:
    explanation = explain('[[rule]]\naction = "block"\n[[rule]]\naction = "allow"\n', "http://blocked.invalid/")
    assert [verdict.state for verdict in explanation.rules] == ["not asked", "not asked"]
    assert explanation.remedies == ()


SLOW = """
[sites]
slow = { regex = ['^http://example\\.org/(?:a|a|aa)+$'] }
[[rule]]
name = "slow"
sites = ["slow"]
action = "block"
[[rule]]
name = "behind it"
action = "ACTION"
"""
TOO_LONG = "http://example.org/" + "a" * 60 + "b"


def test_an_expression_that_takes_too_long_is_explained(explain: Callable[..., Explanation]) -> None:
    explanation = explain(SLOW.replace("ACTION", "allow"), TOO_LONG)
    assert "took too long; on_error says allow" in explanation.winner.reason
    assert [verdict.state for verdict in explanation.rules] == ["does not hold", "holds"]
    assert "took too long" in explanation.rules[0].failed[0].found
    assert explanation.remedies == ()


def test_a_rule_that_blocks_decides_behind_a_slow_expression(explain: Callable[..., Explanation]) -> None:
    explanation = explain(SLOW.replace("ACTION", "block"), TOO_LONG)
    assert [verdict.state for verdict in explanation.rules] == ["does not hold", "decides"]


# ---- what was seen, and what is not known ---------------------------------------------------------------------------


def seen(explanation: Explanation) -> list[tuple[str, bool, str]]:
    return [
        (f"{s.service} {s.kind.value} {s.value}", identity, note.partition(" (")[0])
        for s, identity, note in explanation.seen
    ]


INCLUDED = '[[rule]]\nname = "r"\nservices = ["aim"]\ninclude = ["stale"]\naction = "ACTION"\n'


@pytest.mark.parametrize(
    ("policy", "url", "circumstances", "expected"),
    [
        pytest.param(
            BUILT_IN,
            "http://web.whatsapp.com:5222/",
            {},
            [
                ("whatsapp host web.whatsapp.com", True, ""),
                ("whatsapp domain whatsapp.com", False, ""),
            ],
            id="the strongest is the identity",
        ),
        pytest.param(
            BUILT_IN, "http://64.12.25.3/", {}, [("aim network 64.12.24.0/22", False, "off: stale")], id="stale"
        ),
        pytest.param(
            INCLUDED.replace("ACTION", "block"),
            "http://64.12.25.3/",
            {},
            [("aim network 64.12.24.0/22", True, 'counts only in rules that include stale: "r"')],
            id="included",
        ),
        pytest.param(
            BUILT_IN,
            "http://chat.example/_matrix/client/v3/sync",
            {},
            [("matrix_element url /_matrix/client", False, "off: self_hosted")],
            id="self-hosted",
        ),
        pytest.param(
            BUILT_IN,
            "http://a.example/",
            {"user_agent": "MSMSGS"},
            [("msn_messenger user_agent MSMSGS", True, "")],
            id="agent",
        ),
    ],
)
def test_what_was_seen(
    explain: Callable[..., Explanation],
    policy: str,
    url: str,
    circumstances: dict[str, str],
    expected: list[tuple[str, bool, str]],
) -> None:
    found = seen(explain(policy, url, **circumstances))
    assert found[: len(expected)] == expected
    assert sum(identity for _, identity, _ in found) == any(identity for _, identity, _ in expected)


def test_what_is_off_by_default_hides_no_near_miss(explain: Callable[..., Explanation]) -> None:
    """That of facebook.com is shared: it says nothing about the messenger below /messages."""
    explanation = explain(BUILT_IN, "https://www.facebook.com/marketplace")
    assert seen(explanation) == [("messenger domain facebook.com", False, "off: shared")]
    assert [(s.service, s.value) for s, _ in explanation.near] == [("messenger", "facebook.com/messages")]


def test_a_program_of_another_catalogue_is_told_to_be_compiled_again() -> None:
    program = compile_policy(Policy("p", ()), type(CATALOGUE)({}, {}))
    explanation = Explainer(program, CATALOGUE).explain("http://meebo.com/", Circumstances(), NOW)
    assert [note for _, _, note in explanation.seen] == ["not in this program: compile it again"]


@pytest.mark.parametrize(
    ("policy", "url", "circumstances", "unknown"),
    [
        pytest.param(BUILT_IN, "http://a/", {}, ["user agent", "content type", "method"], id="nobody asks"),
        pytest.param(OFFICE, "http://a/", {}, ["client", "user agent", "content type", "method"], id="one does"),
        pytest.param(
            '[[rule]]\nusers = ["ann"]\naction = "block"',
            "http://a/",
            {"user_agent": "", "content_type": "x"},
            ["user", "method"],
            id="users, and what is known to be empty",
        ),
        pytest.param(
            BUILT_IN, "a:443", {"method": "CONNECT"}, ["user agent", "content type", "path", "SNI"], id="a tunnel"
        ),
        pytest.param(
            BUILT_IN,
            "a:443",
            {"method": "CONNECT", "sni": "b", "user_agent": "x", "content_type": "x"},
            ["path"],
            id="with an SNI",
        ),
    ],
)
def test_what_is_not_known_is_told_where_it_matters(
    explain: Callable[..., Explanation], policy: str, url: str, circumstances: dict[str, str], unknown: list[str]
) -> None:
    assert [what for what, _ in explain(policy, url, **circumstances).unknown] == unknown


# ---- where rules stand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "compiled", "place"),
    [
        pytest.param("policy.toml", False, "policy.toml:8", id="policy"),
        pytest.param("policy.program", True, "policy.program, line 8 of its policy", id="program"),
        pytest.param("", False, "", id="built-in"),
    ],
)
def test_where_a_rule_stands(policy_file: Callable[[str], Path], policy: str, compiled: bool, place: str) -> None:
    program = load_engine(str(policy_file(OFFICE)), pytest.fail).program
    explanation = Explainer(program, CATALOGUE, policy, compiled=compiled).explain("a", Circumstances(), NOW)
    assert explanation.place(program.rules[0]) == place


# ---- typical ones ---------------------------------------------------------------------------------------------------

GOLDEN = [
    pytest.param("explain_blocked.txt", OFFICE, "http://www.meebo.com/", {"client": "10.0.0.5"}, id="blocked"),
    pytest.param(
        "explain_allowed.txt",
        OFFICE,
        "web.whatsapp.com:443",
        {"method": "CONNECT", "client": "192.168.1.16", "sni": "web.whatsapp.com"},
        id="allowed",
    ),
    pytest.param("explain_near.txt", BUILT_IN, "http://notmeebo.com/messages?u=http://t.me/", {}, id="near"),
    pytest.param("explain_shared.txt", OFFICE, "https://static.xx.fbcdn.net/", {"method": "GET"}, id="shared"),
    pytest.param("explain_site.txt", OFFICE, "http://intranet.example/", {"user_agent": "MSIE 6.0"}, id="site"),
    pytest.param("explain_slow.txt", SLOW.replace("ACTION", "allow"), TOO_LONG, {}, id="slow"),
]


@pytest.mark.parametrize(("name", "policy", "url", "circumstances"), GOLDEN)
def test_explanations_that_are_read(
    explain: Callable[..., Explanation],
    golden: Callable[[str, str], None],
    name: str,
    policy: str,
    url: str,
    circumstances: dict[str, str],
) -> None:
    golden(name, as_text(explain(policy, url, **circumstances)) + "\n")


# ---- properties -----------------------------------------------------------------------------------------------------

Question = tuple[str, Circumstances]


def request_of(explanation: Explanation) -> Request:
    assert explanation.finding.request is not None
    return explanation.finding.request


@given(policies(), questions(), times)
@settings(max_examples=150)
def test_what_is_explained_is_what_is_decided(policy: Policy, question: Question, now: float) -> None:
    program = compile_policy(policy, CATALOGUE)
    explanation = Explainer(program, CATALOGUE, "policy.toml").explain(*question, now)
    assert explanation.finding == check(Engine(program), *question, now)
    decision = explanation.finding.decision
    assert (explanation.winner.rule.name if explanation.winner.rule else None) == decision.rule
    states = [verdict.state for verdict in explanation.rules]
    at = states.index("decides") if "decides" in states else 0 if "not asked" in states else len(states)
    assert all(state == "does not hold" for state in states[:at])
    assert all(state == "not asked" for state in states[at + 1 :])
    assert all(verdict.failed for verdict in explanation.rules[:at])
    assert not any(verdict.failed for verdict in explanation.rules if verdict.state == "decides")
    marked = [(s.service, s.kind.value, s.value) for s, identity, _ in explanation.seen if identity]
    assert [service for service, _, _ in marked] == [decision.service] * (decision.service is not None)
    if marked and decision.evidence and decision.evidence.kind not in ("site", "regex", "user_agent"):
        assert marked[0][1:] == decision.evidence


@given(policies(), questions(), times)
@settings(max_examples=150)
def test_a_rule_alone_holds_when_no_condition_of_it_fails(policy: Policy, question: Question, now: float) -> None:
    """And so the conditions that are tried one by one are all that a rule has."""
    program = compile_policy(policy, CATALOGUE)
    explanation = Explainer(program, CATALOGUE).explain(*question, now)
    request = request_of(explanation)
    open_target = Engine(program).is_open(request)
    for verdict in explanation.rules:
        decision = Engine(program._replace(rules=(verdict.rule,))).decide(request, now)
        assert open_target or (decision.rule == verdict.rule.name) == (not verdict.failed)


@given(policies(), questions(), times)
@settings(max_examples=150)
def test_every_remedy_changes_the_outcome(policy: Policy, question: Question, now: float) -> None:
    """Tried with a policy that is compiled anew."""
    explanation = Explainer(compile_policy(policy, CATALOGUE), CATALOGUE).explain(*question, now)
    blocked = explanation.finding.decision.action == "block"
    for remedy in explanation.remedies:
        variant = remedy.variant
        lists = {**policy.sites, **{name: SiteList(name) for name in variant.sites}}
        program = compile_policy(policy._replace(rules=variant.rules, sites=lists), CATALOGUE)
        program = program._replace(sites={**program.sites, **variant.sites})
        decision = Engine(program).decide(variant.request, variant.now)
        assert decision == remedy.decision
        assert (decision.action == "block") is not blocked


@given(policies(), questions(), times)
@settings(max_examples=60)
def test_explaining_one_changes_nothing_for_the_next(policy: Policy, question: Question, now: float) -> None:
    program = compile_policy(policy, CATALOGUE)
    explainer = Explainer(program, CATALOGUE)
    first = as_json(explainer.explain(*question, now))
    explainer.explain("http://www.meebo.com/", Circumstances(), now)
    assert as_json(explainer.explain(*question, now)) == first


texts = st.one_of(st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.text(max_size=30))
BUILT = Explainer(load_engine(BUILT_IN, print).program, CATALOGUE)


@given(texts, st.sampled_from([None, "CONNECT", "POST"]), *[st.one_of(st.none(), texts)] * 4)
@settings(max_examples=300)
def test_any_input_can_be_explained(
    url: str, method: str | None, user: str | None, agent: str | None, kind: str | None, sni: str | None
) -> None:
    circumstances = Circumstances(user=user, method=method, user_agent=agent, content_type=kind, sni=sni)
    try:
        explanation = BUILT.explain(url, circumstances, NOW)
    except ImhelperError as error:  # pragma: no cover
        pytest.fail(str(error))
    line = as_json(explanation)
    assert line.isascii()
    assert json.loads(line)["url"] == url
    text = as_text(explanation)
    assert text.encode()
    assert all(c.isprintable() for c in text.replace("\n", ""))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.facebook.com/messages/t/1", ("allow", None)),  # only the path tells
        ("wss://www.facebook.com/messages/t/1", ("allow", None)),
        ("http://www.facebook.com/messages/t/1", None),  # nothing is encrypted
        ("https://web.whatsapp.com/", None),  # the host tells
    ],
)
def test_what_only_decryption_shows_is_told(url: str, expected: tuple[str, str | None] | None) -> None:
    program = load_engine("built-in", pytest.fail).program
    found = Explainer(program, CATALOGUE).explain(url, Circumstances(), NOW)
    assert found.finding.decision.action == "block"
    assert (found.tunnel and (found.tunnel.action, found.tunnel.service)) == expected
    assert ("where TLS is not decrypted" in as_text(found)) == (expected is not None)
