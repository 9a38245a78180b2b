"""Explanations as text and as JSON: what is long is cut, what is odd escaped, and each part stands in its place."""

import json

import pytest
from arbitrary import CATALOGUE, policies, questions, times
from hypothesis import given, settings

from squid_imhelper.base.addresses import parse_interval
from squid_imhelper.base.model import Circumstances, Policy, Response, Rule
from squid_imhelper.offline import check
from squid_imhelper.offline.explain import Explainer, Explanation
from squid_imhelper.offline.rendering import LONGEST_TEXT, SHOWN_NEAR, SHOWN_RULES, SHOWN_SEEN, WIDTH, as_json, as_text
from squid_imhelper.sources.compiler import compile_policy

NOW = 1795423800.0
BLOCK = Rule("no meebo", "block", services=frozenset({"meebo"}), line=3)


def explain(
    *rules: Rule, url: str = "http://meebo.com/", response: Response | None = None, policy: str = "p", **more: str
) -> Explanation:
    program = compile_policy(Policy("p", rules, response or Response()), CATALOGUE)
    return Explainer(program, CATALOGUE, policy).explain(url, Circumstances(**more), NOW)


def section(text: str, title: str) -> list[str]:
    """The lines of a section, its title cut off."""
    lines: list[str] = []
    for line in text.splitlines()[1:]:
        if line[2:10].strip() == title or (lines and not line[2:10].strip()):
            lines.append(line[10:])
        elif lines:
            break
    return lines


def test_the_first_line_is_that_of_check() -> None:
    explanation = explain(BLOCK)
    assert as_text(explanation).splitlines()[0] == check.as_text(explanation.finding)


def test_json_is_that_of_check_with_one_more_key() -> None:
    explanation = explain(BLOCK)
    found = json.loads(as_json(explanation))
    more = found.pop("explanation")
    assert found == json.loads(check.as_json(explanation.finding))
    assert list(more) == ["request", "seen", "near", "rules", "winner", "tunnel", "remedies"]


def test_the_parts_of_an_explanation() -> None:
    more = json.loads(as_json(explain(BLOCK, url="http://meebo.com/?u=t.me", client="10.0.0.1")))["explanation"]
    assert more["request"]["host"] == "meebo.com"
    assert more["request"]["query"] == "u=t.me"
    assert more["request"]["client"] == "10.0.0.1"
    assert more["request"]["user"] is None
    assert more["request"]["unknown"]["method"] == "what asks for it counts as met"
    assert more["seen"] == [
        {"kind": "domain", "value": "meebo.com", "service": "meebo", "flag": "", "identity": True, "note": ""}
    ]
    assert [(miss["service"], miss["kind"], miss["value"]) for miss in more["near"]] == [("telegram", "domain", "t.me")]
    assert more["rules"] == [
        {
            "number": 1,
            "name": "no meebo",
            "action": "block",
            "place": "p:3",
            "state": "decides",
            "conditions": [{"name": "services", "holds": True, "wanted": "meebo", "found": "it is meebo"}],
        }
    ]
    assert more["winner"] == {
        "rule": "no meebo",
        "place": "p:3",
        "action": "block",
        "reason": "blocks meebo, told by domain meebo.com",
        "evidence": {"kind": "domain", "value": "meebo.com"},
        "schedules": {},
        "dry_run": False,
    }
    assert {"change": 'without rule "no meebo" (line 3)', "action": "allow", "rule": None} in more["remedies"]


def test_what_is_no_request_is_null() -> None:
    more = json.loads(as_json(explain(BLOCK, url="/")))["explanation"]
    assert (more["request"], more["seen"], more["near"], more["rules"], more["remedies"]) == (None, [], [], [], [])
    assert more["winner"]["reason"] == "no host in '/'; on_error says allow"
    assert as_text(explain(BLOCK, url="/")).count("\n") == 1


def test_a_dry_run_is_told() -> None:
    explanation = explain(BLOCK, response=Response(dry_run=True))
    assert json.loads(as_json(explanation))["explanation"]["winner"]["dry_run"] is True
    assert "dry run: it is let through, and only recorded" in section(as_text(explanation), "why")
    allowed = explain(response=Response(dry_run=True))
    assert json.loads(as_json(allowed))["explanation"]["winner"]["dry_run"] is False
    assert "dry run" not in as_text(allowed)


def test_what_is_blocked_is_let_through_and_the_other_way_round() -> None:
    assert section(as_text(explain(BLOCK)), "change")[0] == "to let it through:"
    assert section(as_text(explain()), "change")[0] == "to block it:"
    assert section(as_text(explain(BLOCK, policy="")), "change")[0] == "to let it through, in a policy of your own:"


def test_a_change_after_which_it_is_recorded_says_so() -> None:
    rule = Rule("m", "monitor", users=frozenset({"ann"}))
    assert '- for user ann: rule "m" records it then' in section(as_text(explain(rule, BLOCK)), "change")


CLIENTS = (parse_interval("192.0.2.1")[0],)


@pytest.mark.parametrize(
    ("before", "shown"), [(0, 0), (SHOWN_RULES - 1, SHOWN_RULES - 1), (SHOWN_RULES, SHOWN_RULES - 1), (50, 19)]
)
def test_of_many_rules_the_first_and_the_last_are_shown(before: int, shown: int) -> None:
    rules = [Rule(f"before {n}", "allow", clients=CLIENTS, line=n) for n in range(before)]
    behind = [Rule("behind", "block"), Rule("behind it", "block")]
    lines = section(as_text(explain(*rules, BLOCK, *behind)), "rules")
    assert sum('"before ' in line for line in lines) == shown
    assert sum('->  block   "no meebo"' in line for line in lines) == 1
    assert [line for line in lines if " more" in line] == ([f"no  {before - shown} more"] if before > shown else [])
    assert lines[-1] == "..  2 rules behind it not asked"


def test_of_many_near_misses_the_first_are_shown() -> None:
    url = "http://a.example/?" + "&".join(
        ("meebo.com", "t.me", "slack.com", "wa.me", "line.me", "discord.com", "x.icq.com")
    )
    explanation = explain(BLOCK, url=url)
    lines = section(as_text(explanation), "near")
    assert sum("does not count" in line for line in lines) == SHOWN_NEAR
    assert lines[-1] == f"and {len(explanation.near) - SHOWN_NEAR} more"
    assert len(json.loads(as_json(explanation))["explanation"]["near"]) == len(explanation.near) > SHOWN_NEAR


def test_of_many_signatures_the_first_are_shown() -> None:
    agent = "WhatsApp/ Instagram Viber Line/ MicroMessenger/ QQ/ KakaoTalk/ Snapchat/ Zalo/ Kik/ OKiOS/ DingTalk/"
    explanation = explain(BLOCK, url="http://a.example/", user_agent=agent.replace(" ", "1 "))
    lines = section(as_text(explanation), "seen")
    assert len(lines) == SHOWN_SEEN + 1
    assert lines[-1] == f"and {len(explanation.seen) - SHOWN_SEEN} more"


ODD = [
    pytest.param("\x1b[31mred", "\\x1b[31mred", id="escape sequence"),
    pytest.param("a\nb\rc\td", "a\\nb\\rc\\td", id="lines"),
    pytest.param("\udcff", "\\udcff", id="lone surrogate"),
    pytest.param("\u202egnp", "\\u202egnp", id="direction"),
]


@pytest.mark.parametrize(("odd", "shown"), ODD)
def test_what_cannot_be_printed_is_escaped(odd: str, shown: str) -> None:
    explanation = explain(BLOCK, user_agent=odd, user=odd, content_type=odd)
    text = as_text(explanation)
    assert f"user agent {shown}" in text
    assert text.isascii()
    assert json.loads(as_json(explanation))["explanation"]["request"]["user_agent"] == odd


def test_what_is_long_is_cut_in_the_text_and_whole_in_json() -> None:
    path, agent = "/" + "x" * 10**6, "word " * 10**5
    explanation = explain(BLOCK, url=f"http://www.facebook.com{path}", user_agent=agent)
    first, *rest = as_text(explanation).splitlines()
    assert len(first) > 10**6
    assert sum(map(len, rest)) < 20 * LONGEST_TEXT
    assert max(map(len, rest)) < 2 * WIDTH
    found = json.loads(as_json(explanation))["explanation"]["request"]
    assert (found["path"], found["user_agent"]) == (path, agent)


@given(policies(), questions(), times)
@settings(max_examples=80)
def test_lines_are_no_wider_than_a_terminal(policy: Policy, question: tuple[str, Circumstances], now: float) -> None:
    """Where a word is not; and the parts stand in the same order."""
    explainer = Explainer(compile_policy(policy, CATALOGUE), CATALOGUE, "policy.toml")
    lines = as_text(explainer.explain(*question, now)).splitlines()
    assert all(len(line) <= WIDTH or max(map(len, line.split())) > WIDTH / 2 for line in lines[1:])
    titles = [title for line in lines[1:] if (title := line[2:10].strip())]
    order = ["why", "request", "seen", "near", "rules", "change"]
    assert titles == [title for title in order if title in titles]


def test_a_rule_is_named_where_it_stands() -> None:
    explanation = explain(BLOCK)
    assert section(as_text(explanation), "why") == ['rule "no meebo" (p:3) blocks meebo, told by domain meebo.com']
    nowhere = explain(BLOCK._replace(line=0))
    assert section(as_text(nowhere), "why") == ['rule "no meebo" blocks meebo, told by domain meebo.com']
