"""What a policy and the catalogue become at run time."""

import pytest

from squid_imhelper.base.model import (
    FLAGS,
    AuditSettings,
    Flag,
    Kind,
    Policy,
    Response,
    Rule,
    Schedule,
    Service,
    Signature,
    SiteList,
)
from squid_imhelper.matching.program import ServiceName
from squid_imhelper.matching.sites import compile_site_list
from squid_imhelper.sources.catalogue import Catalogue, load_catalogue
from squid_imhelper.sources.compiler import compile_policy

CATALOGUE = load_catalogue()


def service(id_: str) -> Service:
    """A service with a signature of each kind of flag."""
    signatures = tuple(Signature(Kind.DOMAIN, f"{flag or 'strong'}.{id_}.example", id_, flag) for flag in ("", *FLAGS))
    exceptions, bots = (f"docs.{id_}.example",), (f"{id_}bot",)
    return Service(id_, id_.upper(), "im", "active", None, "", "", "", signatures, exceptions, bots)


SMALL = Catalogue({"one": service("one"), "two": service("two")}, {"im": "Messengers"})


def rule(name: str, *services: str, include: tuple[Flag, ...] = ()) -> Rule:
    return Rule(name, "block", services=frozenset(services) if services else None, include=frozenset(include))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([], "strong.one strong.two", id="no rule: what counts by itself"),
        pytest.param([rule("a", "one")], "strong.one strong.two", id="a rule without include"),
        pytest.param(
            [rule("a", "one", include=("stale",))], "strong.one stale.one strong.two", id="for its service only"
        ),
        pytest.param(
            [rule("a", "one", "two", include=("stale",))], "strong.one stale.one strong.two stale.two", id="for both"
        ),
        pytest.param(
            [rule("a", "one", include=("stale",)), rule("b", "two", include=("self_hosted", "shared"))],
            "strong.one stale.one strong.two shared.two self_hosted.two",
            id="each rule for itself",
        ),
        pytest.param([rule("a", include=("stale",))], "strong.one strong.two", id="a rule that names no services"),
    ],
)
def test_signatures_that_no_rule_includes_are_left_out(rules: list[Rule], expected: str) -> None:
    """And the others stand in the catalogue's order."""
    program = compile_policy(Policy("test", tuple(rules)), SMALL)
    assert [s.value.removesuffix(".example") for s in program.signatures] == expected.split()


def test_tables() -> None:
    """All services have their names, exceptions and crawlers, whatever the rules name."""
    rules = (rule("a", "one"),)
    program = compile_policy(Policy("test", rules, Response(message="no")), SMALL)
    assert program.services == {"one": ServiceName("ONE", "im"), "two": ServiceName("TWO", "im")}
    assert program.exceptions == (("docs.one.example", "one"), ("docs.two.example", "two"))
    assert program.bots == (("onebot", "one"), ("twobot", "two"))
    assert program.rules == rules
    assert program.response.message == "no"


@pytest.mark.parametrize(
    ("redirect", "target"),
    [
        pytest.param("http://proxy.example/blocked?url={url}", ("proxy.example", 80), id="http"),
        pytest.param("https://Proxy.Example./{service}", ("proxy.example", 443), id="https, in its normal form"),
        pytest.param("http://proxy.example:8080/", ("proxy.example", 8080), id="a port"),
        pytest.param("http://[2001:DB8::1]/", ("2001:db8::1", 80), id="IPv6"),
        pytest.param(Response().redirect, ("blocked.invalid", 80), id="the standard one"),
    ],
)
def test_open_targets(redirect: str, target: tuple[str, int]) -> None:
    program = compile_policy(Policy("test", (), Response(redirect=redirect)), SMALL)
    assert program.open_targets == {target}


def test_the_targets_of_all_rules_are_open() -> None:
    """Whatever their action and their time: who was sent there must see the page."""
    rules = (
        Rule("a", "block", redirect="http://a.example/{url}"),
        Rule("b", "monitor", redirect="https://b.example:8443/"),
        Rule("c", "block", redirect="http://a.example/other", end=0.0),
        Rule("d", "allow"),
    )
    program = compile_policy(Policy("test", rules, Response(redirect="http://c.example/")), SMALL)
    assert program.open_targets == {("a.example", 80), ("b.example", 8443), ("c.example", 80)}


SITES = {name: SiteList(name, domains=(f"{name}.example",)) for name in ("unused", "two", "one", "three")}
SCHEDULES = {name: Schedule(name, "UTC", ((0, 1),)) for name in ("unused", "two", "one")}


def test_lists_and_schedules_that_no_rule_names_are_left_out() -> None:
    """An unused list may have a million lines."""
    rules = (
        Rule("a", "block", sites=("two", "three"), schedules=("two",)),
        Rule("b", "block", except_sites=("one",), sites=("two",), schedules=("one", "two")),
    )
    program = compile_policy(Policy("test", rules, sites=SITES, schedules=SCHEDULES), SMALL)
    assert program.sites == {name: compile_site_list(SITES[name]) for name in ("one", "two", "three")}
    assert list(program.sites) == sorted(program.sites), "the order of the file does not hang on that of a set"
    assert program.schedules == {name: SCHEDULES[name] for name in ("one", "two")}


def test_what_is_no_rule_is_handed_on() -> None:
    audit = AuditSettings(log_urls="none")
    program = compile_policy(Policy("test", (), audit=audit, files=("/etc/list", "/etc/users")), SMALL)
    assert (program.audit, program.files) == (audit, ("/etc/list", "/etc/users"))


def test_the_same_policy_makes_the_same_program() -> None:
    rules = (rule("a", "telegram", "aim", include=FLAGS), Rule("b", "block", sites=("one", "two"), schedules=("one",)))
    policy = Policy("test", rules, sites=SITES, schedules=SCHEDULES)
    assert compile_policy(policy, CATALOGUE) == compile_policy(policy, CATALOGUE)


def test_the_catalogue_is_not_changed() -> None:
    before = SMALL.services["one"]
    compile_policy(Policy("test", (rule("a", "one", include=FLAGS),)), SMALL)
    assert SMALL.services["one"] is before
    assert before == service("one")
