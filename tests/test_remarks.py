"""What rule sets say about themselves: on lines of their own, whatever is in the names."""

from dataclasses import replace
from typing import Literal

import pytest

from squid_imhelper.base.model import FirewallSettings, Rule
from squid_imhelper.firewall.plan import Plan
from squid_imhelper.firewall.remarks import WHY_LIMITS, about, head


def plan(policy: str = "policy.toml", *left_out: str) -> Plan:
    return Plan(policy, FirewallSettings(), (), (), left_out, ())


def test_the_head_says_from_what_for_what_and_what_it_replaces() -> None:
    assert list(head(plan(), "nft -f", "It replaces x.")) == [
        "Rules of squid-imhelper, from policy.toml: for `nft -f`.",
        "It replaces x.",
    ]


def test_what_is_left_out_stands_in_the_head() -> None:
    lines = list(head(plan("p", 'rule "a": ' + "long words " * 20, "short"), "x", "y"))
    assert lines[2] == "Left out:"
    assert lines[3].startswith('- rule "a": long words')
    assert lines[4].startswith("  ")
    assert lines[-1] == "- short"
    assert max(map(len, lines)) <= 116
    assert " ".join(line[2:] for line in lines[3:-1]).split() == ["rule", '"a":', *["long", "words"] * 20]


@pytest.mark.parametrize("default", ["accept", "drop"])
@pytest.mark.parametrize("chains_only", [False, True])
def test_own_chains_leave_the_stance_to_others(default: Literal["accept", "drop"], chains_only: bool) -> None:
    stands = replace(plan(), settings=FirewallSettings(lan="eth1", default=default))
    told = "default = drop" in "\n".join(head(stands, "x", "y", chains_only=chains_only))
    assert told == (default == "drop" and chains_only)


@pytest.mark.parametrize("text", ["a\n-A FORWARD -j ACCEPT", "a\r\nb", "\x1b[0m", "a\u2028b", "\0"])
def test_no_name_gets_out_of_its_line(text: str) -> None:
    lines = list(head(plan(text, f'rule "{text}": x'), "x", "y"))
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(Rule("a b", "block", line=12), 'rule "a b" (line 12): block', id="line"),
        pytest.param(Rule("a", "monitor"), 'rule "a": monitor', id="no-line"),
    ],
)
def test_above_what_a_rule_has_become_stands_the_rule(rule: Rule, expected: str) -> None:
    assert about(rule) == expected


def test_it_is_said_what_was_changed_of_the_recipe_and_why() -> None:
    text = " ".join(WHY_LIMITS)
    assert "The recipe of 2006 accepted SYN, RST and ping" in text
    assert "each source for itself" in text
