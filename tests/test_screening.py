"""The screen: what is nothing by its parts is never blocked and never recorded, at any time."""

import pytest
from arbitrary import AGENTS, CATALOGUE, CLIENTS, NOON, USERS, policies, times
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.memo import LONGEST
from squid_imhelper.base.model import Policy, Request, Rule, SiteList
from squid_imhelper.base.urls import Target
from squid_imhelper.dryrun import screening
from squid_imhelper.dryrun.screening import Known, Screen
from squid_imhelper.matching.engine import Engine
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import built_in_policy

BUILT_IN = Screen(Engine(compile_policy(built_in_policy(CATALOGUE), CATALOGUE)))


def screen(*rules: Rule, **sites: SiteList) -> Screen:
    return Screen(Engine(compile_policy(Policy("policy.toml", rules, sites=sites), CATALOGUE)))


def target(name: str, port: int = 80) -> Target:
    return Target("http", name, port, "/", "")


names = st.sampled_from(
    ["example.org", "www.example.com", "web.whatsapp.com", "facebook.com", "149.154.167.99", "192.0.2.9", "2001:db8::1"]
)
requests = st.builds(
    lambda name, port, path, **rest: Request(Target("http", name, port, path, ""), (name,), **rest),
    names,
    st.sampled_from([80, 443, 1863, 5222]),
    st.sampled_from(["/", "/x", "/messages", "/chat/y", None]),
    method=st.sampled_from(["GET", "POST", None]),
    client=st.sampled_from([None, *CLIENTS]),
    user=st.sampled_from([None, *USERS]),
    user_agent=st.sampled_from([None, *AGENTS]),
    content_type=st.sampled_from([None, "application/x-icq", "text/plain"]),
)


def is_nothing(found: Screen, request: Request) -> bool:
    return (
        found.is_of_use
        and found.is_no_target(request.target)
        and found.is_no_agent(request.user_agent)
        and (request.content_type is None or found.is_no_content_type(request.content_type))
        and found.is_no_client(request.client)
        and found.is_no_user(request.user)
    )


@settings(max_examples=200)
@given(policies(), st.lists(requests, min_size=10, max_size=20), times)
def test_what_is_nothing_is_let_through(own: Policy, several: list[Request], now: float) -> None:
    engine = Engine(compile_policy(own, CATALOGUE))
    found = Screen(engine)
    assert {engine.decide(own, now).action for own in several if is_nothing(found, own)} <= {"allow"}


@settings(max_examples=200)
@given(policies(), st.lists(requests, min_size=5, max_size=10), times)
def test_paths_that_are_alike_change_nothing(own: Policy, several: list[Request], now: float) -> None:
    engine = Engine(compile_policy(own, CATALOGUE))
    found = Screen(engine)
    for request in several:
        if request.target.path is not None and found.is_no_path(request.target):
            others = [
                request._replace(target=request.target._replace(path=path)) for path in ("/", "/messages", "/a/b")
            ]
            assert {engine.decide(other, now) for other in others} == {engine.decide(request, now)}


SIGNS = [
    pytest.param("example.org", 80, True, id="nobody"),
    pytest.param("web.whatsapp.com", 80, False, id="a host"),
    pytest.param("x.whatsapp.com", 80, False, id="below a domain"),
    pytest.param("www.facebook.com", 80, False, id="paths of it"),
    pytest.param("149.154.167.99", 80, False, id="a network"),
    pytest.param("192.0.2.9", 443, True, id="an address"),
    pytest.param("example.org", 1863, False, id="a port"),
]


@pytest.mark.parametrize(("name", "port", "nothing"), SIGNS)
def test_which_hosts_are_nothing(name: str, port: int, nothing: bool) -> None:
    assert BUILT_IN.is_no_target(target(name, port)) is nothing


def test_lists_of_rules_that_block_are_signs() -> None:
    own = SiteList("own", domains=("example.org",), urls=("example.net/x",), ports=(81,))
    blocking, allowing = (screen(Rule("own", action, sites=("own",)), own=own) for action in ("block", "allow"))
    asked = [target("example.org"), target("a.example.net"), target("example.com", 81), target("example.com")]
    assert [blocking.is_no_target(each) for each in asked] == [False, False, False, True]
    assert [allowing.is_no_target(each) for each in asked] == [True, True, True, True]
    assert [allowing.is_no_path(each) for each in asked] == [True, False, True, True]


def test_agents_and_types() -> None:
    rule = Rule("old", "block", user_agents=("MSIE",))
    assert [screen(rule).is_no_agent(text) for text in (None, "Mozilla/5.0", "x MSIE 6")] == [True, True, False]
    assert [BUILT_IN.is_no_agent(text) for text in ("x MSIE 6", "MSMSGS")] == [True, False]
    assert [BUILT_IN.is_no_content_type(text) for text in ("text/html", "application/x-icq")] == [True, False]
    assert not screen(Rule("any", "block", user_agents=("",))).is_of_use


def test_who_asks_is_a_sign_only_where_that_is_enough() -> None:
    client = Rule("one", "block", clients=((4, 1, 1),), users=frozenset({"ann"}))
    user = Rule("two", "monitor", users=frozenset({"bob"}))
    own = screen(client, user)
    assert (own.asks_who, BUILT_IN.asks_who) == (True, False)
    assert [own.is_no_client(text) for text in ("0.0.0.1", "0.0.0.2", None)] == [False, True, True]
    assert [own.is_no_user(text) for text in ("ann", "bob", None)] == [True, False, True]


def test_clients_are_alike_to_whom_the_same_rules_apply() -> None:
    own = screen(
        Rule("one", "block", clients=((4, 1, 2),)), Rule("two", "allow", clients=((4, 2, 9),)), Rule("all", "block")
    )
    asked = [own.rules_of_client(text) for text in ("0.0.0.1", "0.0.0.2", "0.0.0.3", "0.0.1.0", None)]
    assert asked == [(True, False), (True, True), (False, True), (False, False), (False, False)]


def test_nothing_is_nothing_where_a_rule_holds_for_all() -> None:
    assert BUILT_IN.is_of_use
    assert not screen(Rule("all", "block")).is_of_use
    assert not screen(Rule("later", "block", start=NOON)).is_of_use
    assert screen(Rule("all", "allow")).is_of_use
    expression = SiteList("own", regex=("^x",))
    assert not screen(Rule("own", "block", sites=("own",)), own=expression).is_of_use
    assert screen(Rule("own", "allow", sites=("own",)), own=expression).is_of_use


# ---- what is remembered ---------------------------------------------------------------------------------------------


def test_what_is_known_is_asked_for_once_and_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "ENTRIES", 3)
    asked = []
    known = Known(lambda value: bool(asked.append(value)) or len(value) == 1)
    assert [known[value] for value in (b"a", b"bb", b"a", b"bb")] == [True, False, True, False]
    assert asked == [b"a", b"bb"]
    long = b"x" * (LONGEST + 1)
    assert not known[long]
    assert not known[long]
    assert asked == [b"a", b"bb", long, long]
    for number in range(10):
        assert known[b"%d" % number]
        assert len(known) <= 3
    assert asked.count(b"7") == 1


def test_nothing_holds_for_what_could_not_be_read() -> None:
    assert list(map(Known(lambda _: True).__getitem__, [b"", None, b"x"])) == [True, False, True]  # type: ignore[list-item]
