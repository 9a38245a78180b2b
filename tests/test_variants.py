"""What would be decided if: the same engine, and no trace left in what is really decided."""

import pytest
from arbitrary import CATALOGUE, NOON, SCHEDULES, SITES, policies, questions, rules
from hypothesis import given, settings

from squid_imhelper.base.model import Circumstances, Policy, Rule, SiteList
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.expressions import TIMEOUT, ExpressionTimeoutError
from squid_imhelper.matching.sites import Sites, compile_site_list
from squid_imhelper.offline.check import build_request
from squid_imhelper.offline.variants import MATCHERS, Variant, Variants
from squid_imhelper.sources.compiler import compile_policy

MEEBO = build_request("http://www.meebo.com/", Circumstances())
BLOCK = Rule("r", "block", services=frozenset({"meebo"}))
EXPRESSION = SiteList("s", regex=(r"^http://example\.org/(?:a|a|aa)+$",))
SLOW = Policy("p", (Rule("r", "block", sites=("s",)),), sites={"s": EXPRESSION})
TOO_LONG = build_request("http://example.org/" + "a" * 60 + "b", Circumstances())


def variants_of(policy: Policy) -> Variants:
    return Variants(compile_policy(policy, CATALOGUE), CATALOGUE)


@given(policies(), questions(), rules(9))
@settings(max_examples=80)
def test_a_variant_is_decided_as_its_policy_would_be(
    policy: Policy, question: tuple[str, Circumstances], rule: Rule
) -> None:
    """Whatever the new rule includes, and whatever list it names."""
    variants, request = variants_of(policy), build_request(*question)
    other = policy._replace(rules=(rule, *policy.rules), sites=SITES, schedules=SCHEDULES)
    missing = {name: compile_site_list(SITES[name]) for name in SITES if name not in variants.program.sites}
    schedules = set(rule.schedules or ())
    if not schedules <= set(variants.program.schedules):  # a variant names those of the program only
        return
    expected = Engine(compile_policy(other, CATALOGUE)).decide(request, NOON)
    assert variants.decide(Variant(request, NOON, other.rules, missing)) == expected


def test_a_new_list_is_used_by_the_rules_that_name_it() -> None:
    own = compile_site_list(SiteList("own", domains=("meebo.com",)))
    excepted = Variant(MEEBO, NOON, (BLOCK._replace(except_sites=("own",)),), {"own": own})
    variants = variants_of(Policy("p", (BLOCK,)))
    assert variants.decide(Variant(MEEBO, NOON, (BLOCK,))).action == "block"
    assert variants.decide(excepted).action == "allow"
    assert variants.engine.decide(MEEBO, NOON).action == "block"


def test_signatures_are_all_of_the_catalogue_and_those_of_the_program() -> None:
    variants = variants_of(Policy("p", (BLOCK,)))
    all_signatures = [s for service in CATALOGUE.services.values() for s in service.signatures]
    assert set(variants.signatures) == set(all_signatures)
    assert {s for s in variants.signatures if variants.counts(s)} == {s for s in all_signatures if not s.flag}
    old = Variants(compile_policy(Policy("p", (BLOCK,)), CATALOGUE), type(CATALOGUE)({}, {}))
    assert [s.service for s in old.everything.signatures(MEEBO)] == ["meebo"]


def test_an_expression_is_tried_once_for_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    evidence = Sites.evidence

    def counted(self: Sites, *arguments: object) -> object:
        asked.append("")
        return evidence(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Sites, "evidence", counted)
    variants = variants_of(SLOW)
    for _ in range(2):
        with pytest.raises(ExpressionTimeoutError):
            variants.engine.decide(TOO_LONG, NOON)
        with pytest.raises(ExpressionTimeoutError):
            variants.holds(SLOW.rules[0], TOO_LONG, NOON)
        with pytest.raises(ExpressionTimeoutError):
            variants.decide(Variant(TOO_LONG, NOON, SLOW.rules))
    assert len(asked) == 1
    variants.forget()
    with pytest.raises(ExpressionTimeoutError):
        variants.engine.decide(TOO_LONG, NOON)
    assert len(asked) == 2


def test_what_is_tried_does_not_put_an_expression_aside_for_what_is_asked() -> None:
    """Each account would be overdrawn by the first try; the engine has its own."""
    variants = variants_of(SLOW)
    with pytest.raises(ExpressionTimeoutError):
        variants.holds(SLOW.rules[0], TOO_LONG, NOON)
    variants.forget()
    quick = build_request("http://example.org/aaa", Circumstances())
    with pytest.raises(ExpressionTimeoutError):  # it rests after what was tried
        variants.holds(SLOW.rules[0], quick, NOON + TIMEOUT)
    variants.forget()
    assert variants.engine.decide(quick, NOON + TIMEOUT).action == "block"


def test_only_so_many_matchers_are_kept() -> None:
    variants = variants_of(Policy("p", (BLOCK,)))
    for service in list(CATALOGUE.services)[: 2 * MATCHERS]:
        rule = Rule("new", "block", services=frozenset({service}), include=frozenset({"shared"}))
        variants.decide(Variant(MEEBO, NOON, (rule, BLOCK)))
    assert variants._matcher.cache_info().currsize <= MATCHERS
