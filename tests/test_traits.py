"""Traits: requests with the same traits are decided alike, and what has none is what must be looked at each time."""

import pytest
from arbitrary import AGENTS, CATALOGUE, CLIENTS, NOON, USERS, helper_policies
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lines import PATTERNS

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import FLAGS, Decision, Policy, Request, Rule, SiteList, names_of
from squid_imhelper.base.urls import NOWHERE, Target, UrlError, parse_squid_url
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.traits import Traits
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.squid.rows import HEAD

ALL = Rule("all", "block", services=frozenset(CATALOGUE.services), include=frozenset(FLAGS))


def engine_of(*rules: Rule, sites: tuple[SiteList, ...] = ()) -> Engine:
    return Engine(compile_policy(Policy("policy.toml", rules, sites={own.name: own for own in sites}), CATALOGUE))


# ---- equal traits, equal decisions ----------------------------------------------------------------------------------

HOSTS = (
    "nobody.test", "other.test", "example.org", "www.example.org", "example.com", "a.com", "slack.com", "a.slack.com",
    "web.whatsapp.com", "facebook.com", "149.154.167.99", "149.154.167.98", "203.0.113.9", "203.0.113.8",
    "2001:67c:4e8::1", "2001:db8::9", "server1", "server2", "blocked.invalid", "x.com", "web.telegram.org",
    "probe.invalid",
)  # fmt: skip
PORTS = (80, 443, 8443, 5190, 1863, None)

PATHS_OF_URLS = ("/aaaaaaa/y", *PATTERNS, *(pattern.upper() for pattern in PATTERNS[:5]), "/gateway/gateway.dll")
QUERIES_OF_URLS = ("", "Action=open", "sid=" + "0af9" * 8, "sid=" + "0af9" * 8 + "&seq=1")

targets = st.builds(
    lambda host, port, tunnel, path, query: (
        Target("", host, port, None, "") if tunnel else Target("http", host, port, path, query)
    ),
    st.sampled_from(HOSTS),
    st.sampled_from(PORTS),
    st.booleans(),
    st.sampled_from(PATHS_OF_URLS),
    st.sampled_from(QUERIES_OF_URLS),
)
rests = st.builds(
    Request,
    target=st.just(NOWHERE),
    names=st.lists(st.sampled_from(HOSTS), max_size=2).map(tuple),
    method=st.sampled_from([None, "GET", "POST"]),
    client=st.sampled_from([None, *CLIENTS]),
    user=st.sampled_from([None, *USERS]),
    user_agent=st.sampled_from([None, *AGENTS]),
    content_type=st.sampled_from([None, "text/html", "application/x-icq"]),
    destination_port=st.sampled_from([None, 443, 5190]),
)


def decided(engine: Engine, target: Target, rest: Request) -> tuple[str, str | None, str | None] | str:
    method = "CONNECT" if target.path is None else rest.method
    request = rest._replace(target=target, names=names_of(target, *rest.names), method=method)
    try:
        decision: Decision = engine.decide(request, NOON)
    except ImhelperError as error:
        return str(error)
    return decision.action, decision.service, decision.rule


def trait_of_rest(traits: Traits, rest: Request, target: Target) -> int | None:
    """As it is found out: beside a target that is nobody's."""
    beside = NOWHERE._replace(host="nothing.invalid")
    method = "CONNECT" if target.path is None else rest.method
    return traits.of_rest(rest._replace(target=beside, names=names_of(beside, *rest.names), method=method))


def trait_of_path(traits: Traits, where: int, target: Target, rest: Request) -> int | None:
    """Where the path can matter: for this host, or on all of them."""
    if target.path is None:
        return None
    head = target.path + ("?" + target.query if target.query else "")
    if where not in traits.by_path and traits.is_plain_path(head[:HEAD], whole=len(head) < HEAD):
        return None
    return traits.of_path(rest._replace(target=target, names=(target.host,)))


@settings(max_examples=60)
@given(
    policy=helper_policies(),
    places=st.lists(targets, min_size=2, max_size=25),
    rests=st.lists(rests, min_size=1, max_size=8),
)
def test_what_has_the_same_traits_is_decided_alike(policy: Policy, places: list[Target], rests: list[Request]) -> None:
    engine = Engine(compile_policy(policy, CATALOGUE))
    traits = Traits(engine)
    seen: dict[tuple[int, int, int | None], tuple[object, Target, Request]] = {}
    for target in places:
        where = traits.of_target(target.host, target.port, tunnel=target.path is None)
        for rest in rests:
            what = trait_of_rest(traits, rest, target)
            if where is None or what is None or traits.may_hold(target.url):
                continue
            path = trait_of_path(traits, where, target, rest)
            if path is not None and what in traits.with_names:
                continue
            found = decided(engine, target, rest)
            known = seen.setdefault((where, what, path), (found, target, rest))
            assert found == known[0], (known[1:], target, rest)


def test_the_trait_of_one_host_is_no_others() -> None:
    engine = engine_of(ALL)
    traits = Traits(engine)
    hosts: dict[int, set[str]] = {}
    for host in HOSTS:
        for port in PORTS:
            for tunnel in (True, False):
                trait = traits.of_target(host, port, tunnel=tunnel)
                if trait is not None:
                    hosts.setdefault(trait, set()).add(host)
    assert traits.of_one_host
    assert all(len(hosts[trait]) == 1 for trait in traits.of_one_host)
    assert any(len(several) > 3 for several in hosts.values()), "nearly all hosts are alike"


# ---- targets --------------------------------------------------------------------------------------------------------

PATHS = SiteList("paths", urls=("example.net/x", "example.com:8443/y"))
COM = SiteList("com", domains=("com",))
LISTED = engine_of(
    Rule("paths", "block", sites=("paths",)), Rule("com", "block", sites=("com",)), ALL, sites=(PATHS, COM)
)


@pytest.mark.parametrize(
    ("host", "port", "tunnel"),
    [
        pytest.param("", 80, False, id="no-host"),
        pytest.param("", 443, True, id="a-tunnel-to-no-host"),
        pytest.param("blocked.invalid", 80, False, id="where-blocked-requests-go"),
        pytest.param("blocked.invalid", 80, True, id="a-tunnel-there"),
        pytest.param("example.net", 80, False, id="a-host-on-a-list-of-URLs"),
        pytest.param("a.example.net", 80, False, id="a-host-below-one"),
        pytest.param("example.com", 80, False, id="one-with-a-port-on-it"),
    ],
)
def test_a_target_without_a_trait(host: str, port: int, tunnel: bool) -> None:
    assert Traits(LISTED).of_target(host, port, tunnel=tunnel) is None


@pytest.mark.parametrize("host", ["www.facebook.com", "mail.google.com", "149.154.167.99"])
def test_a_host_with_signatures_of_its_own_is_told_by_its_path(host: str) -> None:
    traits = Traits(LISTED)
    trait = traits.of_target(host, 80, tunnel=False)
    tunnel = traits.of_target(host, 443, tunnel=True)
    assert trait in traits.by_path
    assert trait not in traits.quiet
    assert tunnel not in traits.by_path
    assert traits.of_target("nobody.test", 80, tunnel=False) not in traits.by_path


@pytest.mark.parametrize(
    "host", ["www.facebook.com", "mail.google.com", "149.154.167.99", "example.net", "slack.com", "nobody.test"]
)
def test_a_tunnel_has_no_path_that_could_matter(host: str) -> None:
    assert Traits(LISTED).of_target(host, 443, tunnel=True) is not None


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param(("nobody.test", 80, False), ("other.test", 80, False), True, id="nobody"),
        pytest.param(("nobody.test", 80, False), ("other.test", 443, False), True, id="nobody-on-another-port"),
        pytest.param(("nobody.test", 80, False), ("nobody.test", 80, True), False, id="a-tunnel"),
        pytest.param(("nobody.test", 80, False), ("nobody.test", 5190, False), False, id="a-port-of-somebody"),
        pytest.param(("nobody.test", 80, False), ("a.com", 80, False), False, id="a-host-on-a-list"),
        pytest.param(("a.com", 80, False), ("b.com", 80, False), False, id="two-hosts-on-a-list"),
        pytest.param(("slack.com", 80, False), ("slack.com", 80, False), True, id="the-same-host"),
        pytest.param(("slack.com", 80, False), ("a.slack.com", 80, False), False, id="two-hosts-of-somebody"),
        pytest.param(("203.0.113.9", 80, False), ("203.0.113.8", 80, False), True, id="addresses-of-nobody"),
        pytest.param(("203.0.113.9", 80, False), ("server1", 80, False), False, id="an-address-and-a-name"),
        pytest.param(("203.0.113.9", 5190, False), ("nobody.test", 5190, False), False, id="the-same-on-a-port"),
    ],
)
def test_which_targets_are_alike(one: tuple[str, int, bool], other: tuple[str, int, bool], alike: bool) -> None:
    traits = Traits(LISTED)
    found = [traits.of_target(host, port, tunnel=tunnel) for host, port, tunnel in (one, other)]
    assert None not in found
    assert (found[0] == found[1]) == alike


# ---- the rest -------------------------------------------------------------------------------------------------------

NOBODY = Request(NOWHERE._replace(host="h"), ("h",))
RULES = (Rule("u", "block", users=frozenset(["ann"])), Rule("a", "block", user_agents=("MSIE", "Opera")))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param({"user": "bob"}, {"user": "eve"}, True, id="users-of-no-rule"),
        pytest.param({"user": "ann"}, {"user": "bob"}, False, id="a-user-of-a-rule"),
        pytest.param({"client": "10.0.0.1"}, {"client": None}, True, id="clients-of-no-rule"),
        pytest.param({"user_agent": "x"}, {"user_agent": "y"}, True, id="agents-of-nobody"),
        pytest.param({"user_agent": "x"}, {"user_agent": "MSMSGS"}, False, id="an-agent-of-somebody"),
        pytest.param({"user_agent": "x"}, {"user_agent": "x MSIE"}, False, id="an-agent-of-a-rule"),
        pytest.param({"content_type": "x"}, {"content_type": "application/x-icq"}, False, id="a-type-of-somebody"),
        pytest.param({"method": "GET"}, {"method": "POST"}, False, id="methods"),  # which URL signatures ask for
        pytest.param({"method": "GET"}, {"method": None}, False, id="no-method"),
        pytest.param({"method": "GET"}, {"method": "CONNECT"}, False, id="CONNECT"),
        pytest.param({"destination_port": 443}, {"destination_port": 5190}, False, id="a-port-of-somebody"),
        pytest.param({"names": ("h", "a.test")}, {"names": ("h", "b.test")}, True, id="names-of-nobody"),
        pytest.param({"names": ("h", "a.test")}, {"names": ("h",)}, False, id="a-name-and-none"),
        pytest.param({"names": ("h", "a.test")}, {"names": ("h", "a.test", "b.test")}, False, id="one-name-and-two"),
        pytest.param({"names": ("h", "a.test")}, {"names": ("h", "203.0.113.9")}, False, id="an-address-of-nobody"),
        pytest.param({"names": ("h", "a.test")}, {"names": ("h", "slack.com")}, False, id="a-name-of-somebody"),
        pytest.param({"names": ("h", "a.com")}, {"names": ("h", "b.com")}, False, id="names-on-a-list"),
    ],
)
def test_which_requests_are_alike_otherwise(one: dict[str, object], other: dict[str, object], alike: bool) -> None:
    engine = engine_of(*RULES, Rule("com", "block", sites=("com",)), ALL, sites=(COM,))
    traits = Traits(engine)
    found = [traits.of_rest(NOBODY._replace(**parts)) for parts in (one, other)]
    assert None not in found
    assert (found[0] == found[1]) == alike


def test_a_name_for_which_paths_matter_has_no_trait() -> None:
    traits = Traits(LISTED)
    assert traits.of_rest(NOBODY._replace(names=("h", "www.facebook.com"))) is None
    assert traits.of_rest(NOBODY._replace(names=("h", "example.net"))) is None
    own = Request(NOWHERE._replace(host="example.net"), ("example.net",))
    assert traits.of_rest(own) is not None, "the first is the target's"


def test_names_in_which_an_expression_may_be_found_have_no_trait() -> None:
    chat = SiteList("chat", regex=("chat",))
    traits = Traits(engine_of(Rule("chat", "block", sites=("chat",)), sites=(chat,)))
    assert traits.expressions
    assert traits.of_rest(NOBODY._replace(names=("h", "a.test"))) is None
    assert traits.of_rest(NOBODY._replace(names=("h",))) is not None
    assert traits.may_hold("http://a.test/CHAT")
    assert not traits.may_hold("http://a.test/talk")
    assert not Traits(LISTED).expressions


# ---- paths ----------------------------------------------------------------------------------------------------------

EVERYTHING = engine_of(ALL)
GATEWAY = "/gateway/gateway.dll?Action=open"
_beginnings = st.one_of(
    st.sampled_from(PATTERNS),
    st.sampled_from(PATTERNS).map(str.upper),
    st.text("/abdgmtw.-_?#%", max_size=12).map("/{}".format),
)
_following = st.text("/abdgmtw-_?#=&", max_size=20)


@settings(max_examples=400)
@given(beginning=_beginnings, following=_following)
@example(beginning="/gateway/gateway.dll", following="?Action=open")
@example(beginning="/data", following="?sid=" + "0af9" * 8 + "&seq=1")
@example(beginning="/monitor", following="?sid=" + "0af9" * 8)
def test_behind_a_plain_beginning_no_signature_holds(beginning: str, following: str) -> None:
    """On a host to which no URL signature is bound, and as long as nothing leads back to before the beginning."""
    traits, matcher = Traits(EVERYTHING), EVERYTHING.matcher
    path = (beginning + following).replace("..", "")
    for length in (*range(len(path)), HEAD):
        head, rest = path[:length], path[length:]
        if (len(head) < HEAD and rest) or not traits.is_plain_path(head, whole=len(head) < HEAD):
            continue
        try:
            target = parse_squid_url("http://nobody.test" + path)
        except UrlError:
            continue
        request = Request(target, (target.host,))
        assert not matcher.signatures(request), (head, rest)


@pytest.mark.parametrize("path", PATTERNS)
def test_no_signature_of_any_host_begins_plainly(path: str) -> None:
    """Every way to cut it, in any case, and with what may follow."""
    unbound = {pattern.path for pattern in EVERYTHING.matcher.unbound_patterns}
    traits = Traits(EVERYTHING)
    for spelt in (path, path.upper(), path + "/x", path + "?x", path + "#"):
        plain = traits.is_plain_path(spelt[:HEAD], whole=len(spelt) < HEAD)
        exact = any(p.path == path and p.match.value == "exact" for p in EVERYTHING.matcher.unbound_patterns)
        if path in unbound and not (exact and spelt == path + "/x"):
            assert not plain, spelt


@pytest.mark.parametrize(
    ("head", "whole", "plain"),
    [
        pytest.param("", True, True, id="none"),
        pytest.param("/", True, True, id="root"),
        pytest.param("/index", True, True, id="short"),
        pytest.param("/images", False, True, id="long"),
        pytest.param("/gatewa", False, False, id="the-beginning-of-a-signature"),
        pytest.param("/GATEWA", False, False, id="in-capitals"),
        pytest.param("/gate", True, True, id="all-that-there-is"),
        pytest.param("/data?s", False, False, id="a-signature-and-its-query"),
        pytest.param("/data", True, False, id="a-signature"),
        pytest.param("/dat?xy", False, True, id="nearly"),
        pytest.param("/%67ate", False, False, id="escaped"),
        pytest.param("//gatew", False, False, id="an-empty-segment"),
        pytest.param("/./gate", False, False, id="a-dot"),
        pytest.param("/a\\gate", False, False, id="a-backslash"),
    ],
)
def test_which_beginnings_are_plain(head: str, whole: bool, plain: bool) -> None:
    assert Traits(EVERYTHING).is_plain_path(head, whole=whole) == plain


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param("http://a.test/x", "http://a.test/y?z", True, id="of-nobody"),
        pytest.param("http://a.test/x", "http://b.test/y", True, id="of-nobody-elsewhere"),
        pytest.param("http://a.test/x", f"http://a.test{GATEWAY}", False, id="of-somebody"),
        pytest.param(f"http://a.test{GATEWAY}", f"http://b.test{GATEWAY}", True, id="the-same-elsewhere"),
        pytest.param(f"http://a.test{GATEWAY}", f"http://a.test{GATEWAY}&x=1", True, id="with-more-behind-it"),
        pytest.param("http://a.test/x", "http://a.test/data?sid=" + "0" * 32 + "&seq=1", False, id="of-somebody-else"),
    ],
)
def test_which_paths_are_alike(one: str, other: str, alike: bool) -> None:
    """Those for which the same URL signatures hold."""
    traits = Traits(EVERYTHING)
    targets = [parse_squid_url(url) for url in (one, other)]
    found = [traits.of_path(Request(target, (target.host,), "POST")) for target in targets]
    assert (found[0] == found[1]) == alike


def test_what_has_a_trait_of_path_is_not_taken_for_a_part_of_another_kind() -> None:
    traits = Traits(EVERYTHING)
    target = parse_squid_url(f"http://a.test{GATEWAY}")
    path = traits.of_path(Request(target, (target.host,), "GET"))
    assert path not in {traits.of_target(host, 80, tunnel=tunnel) for host in HOSTS for tunnel in (True, False)}
    assert path not in traits.quiet
    assert path != traits.of_rest(NOBODY)


# ---- what is quiet --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "quiet"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"user_agent": "x", "content_type": "text/html", "client": "10.0.0.1"}, True, id="of-nobody"),
        pytest.param({"names": ("h", "a.test")}, False, id="another-name"),
        pytest.param({"user_agent": "MSMSGS"}, False, id="an-agent-of-somebody"),
        pytest.param({"user_agent": "x MSIE"}, False, id="an-agent-of-a-rule"),
        pytest.param({"content_type": "application/x-icq"}, False, id="a-type-of-somebody"),
        pytest.param({"destination_port": 5190}, False, id="a-port-of-somebody"),
        pytest.param({"user": "ann"}, False, id="a-user-of-a-rule"),
        pytest.param({"user": "bob"}, True, id="another-user"),
    ],
)
def test_what_is_quiet(parts: dict[str, object], quiet: bool) -> None:
    """What meets no condition of any rule."""
    traits = Traits(engine_of(*RULES, ALL))
    assert (traits.of_rest(NOBODY._replace(**parts)) in traits.quiet) == quiet


def test_who_is_somebody_to_a_rule_is_not_quiet_whatever_else_it_asks_for() -> None:
    """A rule for a user and clients, of which a part shows only one."""
    clients = merge([parse_interval("192.0.2.1")[0]])
    traits = Traits(engine_of(Rule("both", "block", clients=clients, users=frozenset(["ann"]))))
    both = [{"client": "192.0.2.1"}, {"user": "ann"}]
    assert not all(traits.of_rest(NOBODY._replace(**parts)) in traits.quiet for parts in both)
    assert traits.of_rest(NOBODY._replace(client="192.0.2.1", user="ann")) not in traits.quiet
    assert traits.of_rest(NOBODY._replace(client="192.0.2.2")) in traits.quiet


def test_without_signatures_of_any_host_every_beginning_is_plain() -> None:
    one = engine_of(Rule("slack", "block", services=frozenset(["slack"])))
    bare = Engine(one.program._replace(signatures=()))
    assert Traits(bare).is_plain_path("/gatewa", whole=False)
