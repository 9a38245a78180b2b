"""Decisions: the table of `data/decisions.txt`, and what the conditions of a rule mean."""

import ipaddress
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import FLAGS, Evidence, Flag, Interval, Kind, Policy, Request, Response, Rule, SiteList
from squid_imhelper.base.urls import NOWHERE
from squid_imhelper.matching.engine import AddressSet, Engine, RegexTimeoutError
from squid_imhelper.matching.program import UnknownNameError
from squid_imhelper.offline.check import Circumstances, build_request
from squid_imhelper.sources.catalogue import load_catalogue
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import built_in_policy

CATALOGUE = load_catalogue()
ALL = frozenset(CATALOGUE.services)
CASES = Path(__file__).parent / "data" / "decisions.txt"
NUMBER_OF_CASES = 338


# ---- the table ------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One line of the table."""

    line: int
    action: str
    service: str | None
    request: Request
    include: frozenset[Flag]


def read_cases() -> Iterator[Case]:
    for number, text in enumerate(CASES.read_text(encoding="utf-8").splitlines(), 1):
        if text and not text.startswith("#"):
            try:
                yield read_case(number, text)
            except Exception as error:
                raise ValueError(f"{CASES.name}:{number}: {text}") from error


def read_case(number: int, text: str) -> Case:
    head, *options = text.split(" | ")
    action, service, method, target = head.split()
    more = dict(option.split(": ", 1) for option in options)
    assert more.keys() <= {"agent", "type", "sni", "destination", "include", "why"}, more
    circumstances = Circumstances(
        method=None if method == "-" else method,
        user_agent=more.get("agent"),
        content_type=more.get("type"),
        sni=more.get("sni"),
    )
    request = build_request(target, circumstances)
    if "destination" in more:
        address, port = more["destination"].split()
        request = request._replace(names=(*request.names, address), destination_port=int(port))
    words = more.get("include", "").split()
    assert set(words) <= set(FLAGS), words
    include = frozenset(flag for flag in FLAGS if flag in words)
    return Case(number, action, None if service == "-" else service, request, include)


@cache
def engine_with(include: frozenset[Flag]) -> Engine:
    """The built-in policy; or one that blocks all, with the signatures that are off by default."""
    if not include:
        return Engine(compile_policy(built_in_policy(CATALOGUE), CATALOGUE))
    return engine(Rule("all", "block", services=ALL, include=include))


def test_decisions() -> None:
    """Every line of the table is decided as it says."""
    checked, wrong = 0, []
    for case in read_cases():
        decision = engine_with(case.include).decide(case.request, NOW)
        if (decision.action, decision.service) != (case.action, case.service):
            wrong.append(f"{CASES.name}:{case.line}: {decision.action} {decision.service}, by {decision.evidence}")
        checked += 1
    assert not wrong, "\n".join(wrong)
    assert checked == NUMBER_OF_CASES


def test_every_service_is_in_the_table() -> None:
    """Each service that is recognised by default is recognised in at least one line that includes nothing."""
    by_default = {service.id for service in CATALOGUE.services.values() if any(not s.flag for s in service.signatures)}
    assert by_default - {case.service for case in read_cases() if not case.include} == set()


def test_no_line_is_in_the_table_twice() -> None:
    lines = [text for text in CASES.read_text(encoding="utf-8").splitlines() if text and text[0] != "#"]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("service", sorted(ALL))
def test_each_name_is_its_service(service: str) -> None:
    """A CONNECT to any name of a service is that service, and one to a name that ends alike is not."""
    for signature in CATALOGUE.services[service].signatures:
        if signature.kind in (Kind.HOST, Kind.DOMAIN) and not signature.flag:
            assert engine_with(frozenset()).decide(connect(signature.value), NOW).service == service
            assert engine_with(frozenset()).decide(connect(f"{signature.value}.evil.example"), NOW).service is None


# ---- helpers --------------------------------------------------------------------------------------------------------


def engine(*rules: Rule, response: Response | None = None) -> Engine:
    return Engine(compile_policy(Policy("test", rules, response or Response()), CATALOGUE))


def get(url: str, **rest: object) -> Request:
    return build_request(url, Circumstances())._replace(**rest)


def connect(host: str, port: int = 443, sni: str | None = None, **rest: object) -> Request:
    return build_request(f"{host}:{port}", Circumstances(method="CONNECT", sni=sni))._replace(**rest)


def intervals(*literals: str) -> tuple[Interval, ...]:
    return merge(parse_interval(literal)[0] for literal in literals)


def ids(*names: str) -> frozenset[str]:
    return frozenset(names)


TELEGRAM = get("https://t.me/x")
PLAIN = get("http://example.org/")


# ---- rules ----------------------------------------------------------------------------------------------------------


def test_the_first_rule_that_holds_decides() -> None:
    rules = [
        Rule("other", "block", services=ids("slack")),
        Rule("first", "monitor", services=ids("telegram")),
        Rule("second", "block", services=ids("telegram")),
    ]
    decision = engine(*rules).decide(TELEGRAM, NOW)
    assert (decision.action, decision.rule, decision.service) == ("monitor", "first", "telegram")
    assert decision.evidence == Evidence("domain", "t.me")


def test_without_a_rule_that_holds_it_is_allowed_and_still_known() -> None:
    decision = engine(Rule("other", "block", services=ids("slack"))).decide(TELEGRAM, NOW)
    assert (decision.action, decision.rule, decision.service) == ("allow", None, "telegram")


def test_a_policy_without_rules_allows_all() -> None:
    assert engine().decide(TELEGRAM, NOW).action == "allow"


def test_a_rule_without_conditions_holds_for_all() -> None:
    decision = engine(Rule("all", "block")).decide(PLAIN, NOW)
    assert (decision.action, decision.rule, decision.service, decision.evidence) == ("block", "all", None, None)


CONDITIONS: dict[str, dict[str, object]] = {
    "clients": {"clients": intervals("192.0.2.0/24", "2001:db8::/32")},
    "users": {"users": ids("ann", "bob")},
    "services": {"services": ids("telegram", "slack")},
    "user_agents": {"user_agents": ("MSIE", "Trident/")},
    "sites": {"sites": (SiteList("a", domains=("t.me",)), SiteList("b", ports=(8080,)))},
}
FITTING = TELEGRAM._replace(client="192.0.2.9", user="ann", user_agent="Mozilla (MSIE 6.0)")
NOT_FITTING = {
    "clients": FITTING._replace(client="198.51.100.9"),
    "users": FITTING._replace(user="eve"),
    "services": FITTING._replace(target=PLAIN.target, names=PLAIN.names),
    "user_agents": FITTING._replace(user_agent="Mozilla (msie 6.0)"),
    "sites": FITTING._replace(target=get("https://wa.me/").target, names=("wa.me",)),
}
UNKNOWN = {
    "clients": FITTING._replace(client=None),
    "users": FITTING._replace(user=None),
    "user_agents": FITTING._replace(user_agent=None),
    "sites": FITTING._replace(target=NOWHERE, names=()),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_one_condition(condition: str) -> None:
    """It holds for what fits, and neither for what does not nor for what is not known."""
    one = engine(Rule("rule", "block", **CONDITIONS[condition]))
    assert one.decide(FITTING, NOW).rule == "rule"
    assert one.decide(NOT_FITTING[condition], NOW).rule is None
    if condition in UNKNOWN:
        assert one.decide(UNKNOWN[condition], NOW).rule is None


@pytest.mark.parametrize("left_out", CONDITIONS)
def test_conditions_must_all_hold(left_out: str) -> None:
    everything = {key: value for condition in CONDITIONS.values() for key, value in condition.items()}
    one = engine(Rule("rule", "block", **everything))
    assert one.decide(FITTING, NOW).rule == "rule"
    assert one.decide(NOT_FITTING[left_out], NOW).rule is None


@pytest.mark.parametrize(
    ("rule", "request_"),
    [
        pytest.param(Rule("r", "block", **CONDITIONS["clients"]), PLAIN._replace(client="2001:db8::1"), id="clients"),
        pytest.param(Rule("r", "block", **CONDITIONS["users"]), PLAIN._replace(user="bob"), id="users"),
        pytest.param(Rule("r", "block", **CONDITIONS["services"]), get("https://slack.com/"), id="services"),
        pytest.param(
            Rule("r", "block", **CONDITIONS["user_agents"]), PLAIN._replace(user_agent="Trident/7"), id="user agents"
        ),
        pytest.param(Rule("r", "block", **CONDITIONS["sites"]), get("http://example.org:8080/"), id="sites"),
    ],
)
def test_of_the_values_of_a_condition_one_is_enough(rule: Rule, request_: Request) -> None:
    assert engine(rule).decide(request_, NOW).rule == "r"


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(Rule("r", "block", clients=()), id="clients"),
        pytest.param(Rule("r", "block", users=frozenset()), id="users"),
        pytest.param(Rule("r", "block", services=frozenset()), id="services"),
        pytest.param(Rule("r", "block", user_agents=()), id="user agents"),
        pytest.param(Rule("r", "block", sites=()), id="sites"),
    ],
)
def test_an_empty_condition_is_met_by_nothing(rule: Rule) -> None:
    assert engine(rule).decide(FITTING, NOW).rule is None


def test_a_method_that_is_not_known_counts_as_met() -> None:
    one = engine(Rule("r", "block", services=ids("msn_messenger")))
    poll = get("http://192.0.2.7/gateway/gateway.dll?SessionID=1.2")
    actions = [one.decide(poll._replace(method=method), NOW).action for method in (None, "POST", "GET")]
    assert actions == ["block", "block", "allow"]


def test_message_of_the_rule_or_of_the_policy() -> None:
    rules = [
        Rule("a", "block", services=ids("slack"), message="not here"),
        Rule("b", "block", services=ids("telegram")),
    ]
    one = engine(*rules, response=Response(message="no"))
    assert one.decide(get("https://slack.com/"), NOW).message == "not here"
    assert one.decide(TELEGRAM, NOW).message == "no"


# ---- user agents ----------------------------------------------------------------------------------------------------

BROWSERS = Rule(
    "safe sites only",
    "block",
    user_agents=("MSIE", "Trident/"),
    except_sites=(SiteList("safe", domains=("intranet.example", "windowsupdate.com")),),
)


@pytest.mark.parametrize(
    ("request_", "action", "service", "evidence"),
    [
        pytest.param(
            PLAIN._replace(user_agent="x MSIE 6.0"), "block", None, Evidence("user_agent", "MSIE"), id="blocked"
        ),
        pytest.param(PLAIN._replace(user_agent="x Firefox"), "allow", None, None, id="another browser"),
        pytest.param(get("http://a.intranet.example/", user_agent="MSIE"), "allow", None, None, id="a safe site"),
        pytest.param(get("http://notintranet.example/", user_agent="MSIE"), "block", None, None, id="ends alike"),
        pytest.param(connect("intranet.example", user_agent="MSIE"), "allow", None, None, id="a safe tunnel"),
        pytest.param(
            connect("intranet.example", sni="evil.example", user_agent="MSIE"),
            "block",
            None,
            None,
            id="only one name safe",
        ),
        pytest.param(
            connect("evil.example", sni="intranet.example", user_agent="MSIE"),
            "block",
            None,
            None,
            id="only the SNI safe",
        ),
        pytest.param(
            connect("a.intranet.example", sni="windowsupdate.com", user_agent="MSIE"),
            "allow",
            None,
            None,
            id="both safe",
        ),
        pytest.param(
            connect("192.0.2.7", sni="intranet.example", user_agent="MSIE"),
            "allow",
            None,
            None,
            id="an address and its SNI",
        ),
        pytest.param(TELEGRAM._replace(user_agent="MSIE"), "block", "telegram", None, id="a messenger is named"),
    ],
)
def test_user_agent_rule(request_: Request, action: str, service: str | None, evidence: Evidence | None) -> None:
    """A rule about agents blocks what is no service; the decision says so."""
    decision = engine(BROWSERS).decide(request_, NOW)
    assert (decision.action, decision.service) == (action, service)
    assert evidence in (None, decision.evidence)


# ---- sites ----------------------------------------------------------------------------------------------------------

CHAT_NUMBERED = r"^https?://chat[0-9]+\.example\.net/"
SITE_CASES = [
    ({"domains": ("example.org",)}, get("http://a.example.org/"), "site example.org"),
    ({"domains": ("example.org",)}, get("http://aexample.org/"), None),
    ({"domains": ("example.org",)}, get("http://example.org.evil.example/"), None),
    ({"domains": ("example.org",)}, connect("example.org"), "site example.org"),
    ({"domains": ("example.org",)}, connect("192.0.2.1", sni="www.example.org"), "site example.org"),
    ({"urls": (("example.org", None, "/chat"),)}, get("http://a.example.org/chat/x"), "site example.org/chat"),
    ({"urls": (("example.org", None, "/chat"),)}, get("http://example.org/chatter"), None),
    ({"urls": (("example.org", None, "/chat"),)}, get("http://example.org/x?/chat"), None),
    ({"urls": (("example.org", None, "/chat"),)}, get("http://aexample.org/chat"), None),
    ({"urls": (("example.org", None, "/"),)}, get("http://example.org/any"), "site example.org/"),
    ({"urls": (("example.org", None, "/chat"),)}, connect("example.org"), None),
    ({"urls": (("example.org", 8080, "/chat"),)}, get("http://example.org:8080/chat"), "site example.org/chat"),
    ({"urls": (("example.org", 8080, "/chat"),)}, get("http://example.org/chat"), None),
    ({"networks": intervals("192.0.2.0/24")}, get("http://192.0.2.9/"), "site 192.0.2.9"),
    ({"networks": intervals("192.0.2.0/24")}, get("http://[::ffff:192.0.2.9]/"), "site 192.0.2.9"),
    ({"networks": intervals("192.0.2.0/24")}, get("http://192.0.3.9/"), None),
    ({"networks": intervals("::/0", "0.0.0.0/0")}, get("http://example.org/"), None),
    ({"ports": (1863,)}, connect("192.0.2.9", 1863), "site 1863"),
    ({"ports": (1863,)}, connect("192.0.2.9", 1864), None),
    ({"regex": (CHAT_NUMBERED,)}, get("HTTP://Chat7.EXAMPLE.net:80/x"), f"regex {CHAT_NUMBERED}"),
    ({"regex": (CHAT_NUMBERED,)}, get("http://x/?u=http://chat7.example.net/"), None),
    ({"regex": (r"\?x=1$",)}, get("http://example.net/a?x=1#f"), r"regex \?x=1$"),
    ({"regex": ("^a:443$",)}, connect("A."), "regex ^a:443$"),
    ({"regex": ("^a:443$",)}, connect("192.0.2.9", sni="a"), "regex ^a:443$"),
    ({"regex": (r"^\[::a\]:443$",)}, connect("[0::000A]"), r"regex ^\[::a\]:443$"),
    ({"regex": ("nothing", "a+")}, get("http://a/"), "regex a+"),
    ({"regex": ("example",)}, get("http://192.0.2.1/"), None),
]


@pytest.mark.parametrize(
    ("entries", "request_", "evidence"),
    [pytest.param(*case, id=f"{case[0]} {case[1].target.url}") for case in SITE_CASES],
)
def test_site_list(entries: dict[str, tuple[object, ...]], request_: Request, evidence: str | None) -> None:
    """Any one entry puts a request on the list; an expression sees the normalised URL, or host:port of a CONNECT."""
    decision = engine(Rule("own", "block", sites=(SiteList("s", **entries),))).decide(request_, NOW)
    assert decision.action == ("block" if evidence else "allow")
    assert (" ".join(decision.evidence) if decision.evidence else None) == evidence


@pytest.mark.parametrize("entry", range(2))
def test_of_the_entries_of_a_site_list_one_is_enough(entry: int) -> None:
    sites = SiteList("s", domains=("example.org",), ports=(8080,))
    request_ = (get("http://example.org/"), get("http://example.net:8080/"))[entry]
    assert engine(Rule("own", "block", sites=(sites,))).decide(request_, NOW).action == "block"


OFFICE = (SiteList("a", domains=("intranet.example",)), SiteList("b", domains=("partner.example",)))


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        pytest.param(connect("intranet.example"), True, id="the host"),
        pytest.param(connect("intranet.example", sni="intranet.example"), True, id="both the same"),
        pytest.param(connect("intranet.example", sni="partner.example"), True, id="each on a list"),
        pytest.param(connect("intranet.example", sni="t.me"), False, id="only the host"),
        pytest.param(connect("t.me", sni="intranet.example"), False, id="only the SNI"),
        pytest.param(connect("192.0.2.7", sni="intranet.example"), True, id="an address has the SNI for its name"),
        pytest.param(connect("192.0.2.7", sni="t.me"), False, id="an address and another SNI"),
        pytest.param(connect("192.0.2.7"), False, id="an address alone"),
    ],
)
def test_allow_needs_every_name(request_: Request, allowed: bool) -> None:
    rules = [Rule("own sites", "allow", sites=OFFICE), Rule("nothing else", "block")]
    assert (engine(*rules).decide(request_, NOW).action == "allow") is allowed


@pytest.mark.parametrize(
    ("host", "sni", "action"),
    [
        pytest.param("app.slack.com", "app.slack.com", "allow", id="both"),
        pytest.param("app.slack.com", "example.org", "allow", id="the other is no service"),
        pytest.param("web.whatsapp.com", "app.slack.com", "block", id="the host is another service"),
        pytest.param("e3.whatsapp.net", "app.slack.com", "block", id="the SNI is an exact host, the host is not"),
        pytest.param("149.154.167.51", "app.slack.com", "block", id="the address is another service"),
    ],
)
def test_an_sni_does_not_let_another_service_through(host: str, sni: str, action: str) -> None:
    """Anybody can write the name of an allowed service into his SNI; the connection goes to the host."""
    rules = [Rule("slack", "allow", services=ids("slack")), Rule("others", "block", services=ALL)]
    assert engine(*rules).decide(connect(host, sni=sni), NOW).action == action


@pytest.mark.parametrize("action", ["block", "monitor"])
@pytest.mark.parametrize(("host", "sni"), [("intranet.example", "t.me"), ("t.me", "intranet.example")])
def test_block_and_monitor_need_one_name(action: str, host: str, sni: str) -> None:
    assert engine(Rule("own", action, sites=OFFICE)).decide(connect(host, sni=sni), NOW).rule == "own"


CATASTROPHE = r"^http://example\.org/(?:a|a|aa)+$"


@pytest.mark.parametrize("key", ["sites", "except_sites"])
def test_an_expression_that_takes_too_long_raises(key: str) -> None:
    rule = Rule("own", "block", **{key: (SiteList("s", regex=(CATASTROPHE,)),)})
    with pytest.raises(RegexTimeoutError, match="took too long"):
        engine(rule).decide(get("http://example.org/" + "a" * 60 + "b"), NOW)
    assert engine(rule).decide(get("http://example.org/ab"), NOW).action in ("allow", "block")


# ---- include --------------------------------------------------------------------------------------------------------


def test_include_counts_only_for_the_services_of_its_rule() -> None:
    rules = [
        Rule("with", "block", services=ids("qq"), include=frozenset({"shared"})),
        Rule("without", "block", services=ids("kakaotalk", "aim")),
    ]
    one = engine(*rules)
    decided = [
        one.decide(connect(host), NOW).rule for host in ("www.qq.com", "www.kakao.com", "talk.kakao.com", "aim.com")
    ]
    assert decided == ["with", None, "without", None]


def test_include_of_one_rule_does_not_count_for_another() -> None:
    """What rule 2 includes is no reason for rule 1, though both are about the service."""
    rules = [
        Rule("strong only", "monitor", services=ids("aim")),
        Rule("stale", "block", services=ids("aim"), include=frozenset({"stale"}), clients=intervals("192.0.2.0/24")),
    ]
    one = engine(*rules)
    stale = get("http://64.12.25.1/")
    assert one.decide(stale, NOW).rule is None
    assert one.decide(stale._replace(client="192.0.2.1"), NOW).rule == "stale"
    assert one.decide(connect("login.oscar.aol.com"), NOW).rule == "strong only"


def test_a_signature_that_does_not_count_hides_none_that_does() -> None:
    """A shared name of one service is stronger than the agent of another, and is passed over where it is off."""
    rules = [
        Rule("shared", "block", services=ids("qq"), include=frozenset({"shared"}), users=ids("nobody")),
        Rule("strong", "block", services=ids("msn_messenger")),
    ]
    decision = engine(*rules).decide(get("http://www.qq.com/", user_agent="MSMSGS"), NOW)
    assert (decision.rule, decision.service, decision.evidence) == (
        "strong",
        "msn_messenger",
        Evidence("user_agent", "MSMSGS"),
    )


def test_what_another_rule_includes_hides_nothing() -> None:
    """Both rules include what is shared, each for its own service: the second passes over what the first counts."""
    rules = [
        Rule("first", "block", services=ids("qq"), include=frozenset({"shared"}), users=ids("nobody")),
        Rule("second", "block", services=ids("msn_messenger"), include=frozenset({"shared"})),
    ]
    assert engine(*rules).decide(get("http://www.qq.com/", user_agent="MSMSGS"), NOW).rule == "second"


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_is_for_itself(flag: Flag) -> None:
    one = engine(Rule("r", "block", services=ALL, include=frozenset({flag})))
    hits = {
        "stale": get("http://64.92.173.122/"),
        "shared": connect("www.qq.com"),
        "self_hosted": get("https://example.org/_matrix/client/v3/sync"),
    }
    assert {name for name, request in hits.items() if one.decide(request, NOW).action == "block"} == {flag}


# ---- open targets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirect", "request_", "action"),
    [
        pytest.param("http://t.me/blocked?url={url}", get("http://t.me/blocked?url=x"), "allow", id="the page"),
        pytest.param("http://t.me/blocked", get("http://T.ME./logo.png"), "allow", id="its images"),
        pytest.param("http://t.me/blocked", get("https://t.me/blocked"), "block", id="another port"),
        pytest.param("http://t.me/blocked", get("http://www.t.me/blocked"), "block", id="another host"),
        pytest.param("https://t.me/blocked", connect("t.me"), "allow", id="its tunnel"),
        pytest.param("http://t.me:8080/blocked", get("http://t.me:8080/"), "allow", id="its port"),
        pytest.param("http://t.me:8080/blocked", get("http://t.me/"), "block", id="not the port"),
    ],
)
def test_the_block_page_is_always_open(redirect: str, request_: Request, action: str) -> None:
    one = engine(Rule("all", "block"), response=Response(redirect=redirect))
    assert one.decide(request_, NOW).action == action


def test_the_name_of_the_block_page_opens_no_other_address() -> None:
    """Intercepted traffic goes to the address the client chose, whatever its Host header says."""
    one = engine(Rule("all", "block", services=ALL), response=Response(redirect="http://proxy.example/"))
    names = ("proxy.example", "149.154.167.51")
    request_ = get("http://proxy.example/api", method="POST", names=names, destination_port=80)
    assert one.decide(request_, NOW).action == "block"


def test_the_block_page_is_open_for_acl_arguments_too() -> None:
    one = engine(Rule("all", "block"), response=Response(redirect="http://t.me/"))
    assert one.decide_services(get("http://t.me/"), ("telegram",)).action == "allow"


# ---- ACL arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "request_", "action", "service"),
    [
        pytest.param(("telegram",), TELEGRAM, "block", "telegram", id="a service"),
        pytest.param(("whatsapp", "telegram"), TELEGRAM, "block", "telegram", id="one of two"),
        pytest.param(("@im",), TELEGRAM, "block", "telegram", id="a group"),
        pytest.param(("all",), TELEGRAM, "block", "telegram", id="all"),
        pytest.param(("all", "-telegram"), TELEGRAM, "allow", "telegram", id="all but this"),
        pytest.param(("slack",), TELEGRAM, "allow", "telegram", id="another"),
        pytest.param(("all",), PLAIN, "allow", None, id="no service"),
        pytest.param(
            ("all",), get("https://www.omegle.com/"), "block", "omegle", id="a group that the policy leaves out"
        ),
        pytest.param(("all",), connect("www.qq.com"), "allow", None, id="shared is off"),
        pytest.param(("all",), get("http://64.12.25.1/"), "allow", None, id="stale is off"),
        pytest.param(
            ("all",), get("http://www.qq.com/", user_agent="MSMSGS"), "block", "msn_messenger", id="behind shared"
        ),
    ],
)
def test_acl_arguments(words: tuple[str, ...], request_: Request, action: str, service: str | None) -> None:
    """Is it one of these? Rules, clients and what rules include are aside, and no rule is named."""
    rules = [
        Rule("anybody may", "allow"),
        Rule("included", "block", services=ALL, include=frozenset(FLAGS)),
    ]
    decision = engine(*rules).decide_services(request_, words)
    assert (decision.action, decision.service, decision.rule) == (action, service, None)


@pytest.mark.parametrize("words", [("telegrm",), ("@nothing",), ("telegram", "-slak"), ("",)])
def test_acl_arguments_that_name_nothing(words: tuple[str, ...]) -> None:
    one = engine()
    for _ in range(2):
        with pytest.raises(UnknownNameError):
            one.decide_services(PLAIN, words)


def test_an_acl_argument_that_leaves_out_of_nothing() -> None:
    with pytest.raises(ImhelperError, match="leaves out of nothing"):
        engine().decide_services(PLAIN, ("-telegram",))


def test_names_of_services() -> None:
    one = engine()
    assert [one.service_name(service) for service in ("telegram", None)] == ["Telegram", ""]


# ---- properties -----------------------------------------------------------------------------------------------------

PROPERTY_REQUESTS = [case.request for case in read_cases()]
actions = st.sampled_from(["block", "allow", "monitor"])
some_services = st.sets(st.sampled_from(sorted(ALL)), min_size=1).map(frozenset)
rules_ = st.builds(
    lambda name, action, services, agents, clients, sites: Rule(
        f"rule {name}", action, services=services, user_agents=agents, clients=clients, sites=sites
    ),
    st.integers(),
    actions,
    st.one_of(st.none(), some_services),
    st.sampled_from([None, None, ("MSIE",), ("Mozilla",)]),
    st.sampled_from([None, None, intervals("192.0.2.0/24"), intervals("0.0.0.0/0")]),
    st.sampled_from([None, None, (SiteList("s", domains=("com",)),), (SiteList("s", ports=(443,)),)]),
)
asked_ = st.builds(
    lambda request, client: request._replace(client=client),
    st.sampled_from(PROPERTY_REQUESTS),
    st.sampled_from([None, "192.0.2.1", "2001:db8::1"]),
)


@given(st.lists(rules_, max_size=3), rules_, asked_)
@settings(max_examples=150, deadline=None)
def test_a_rule_at_the_end_changes_no_decision_of_an_earlier_one(
    rules: list[Rule], last: Rule, request_: Request
) -> None:
    before = engine(*rules).decide(request_, NOW)
    after = engine(*rules, last).decide(request_, NOW)
    if before.rule is not None:
        assert after == before
    else:
        assert after.rule in (None, last.name)


@given(st.lists(rules_, max_size=3), st.sets(st.sampled_from(FLAGS)).map(frozenset), asked_)
@settings(max_examples=100, deadline=None)
def test_what_a_rule_at_the_end_includes_changes_no_action(
    rules: list[Rule], include: frozenset[Flag], request_: Request
) -> None:
    """What an allowed or blocked request is called may become more; what is done with it does not."""
    last = Rule("last", "block", services=ALL, include=include)
    before = engine(*rules).decide(request_, NOW)
    after = engine(*rules, last).decide(request_, NOW)
    if before.rule is not None:
        assert (after.action, after.rule) == (before.action, before.rule)
        assert before.service in (None, after.service)


@given(rules_, asked_)
@settings(max_examples=100, deadline=None)
def test_a_second_question_gets_the_same_answer(rule: Rule, request_: Request) -> None:
    one = engine(rule)
    assert one.decide(request_, NOW) == one.decide(request_, NOW)


numbers = st.integers(0, 20)
spans = st.builds(lambda version, a, b: (version, min(a, b), max(a, b)), st.sampled_from([4, 6]), numbers, numbers)


@given(st.lists(spans, max_size=5), st.sampled_from([0, 4, 6]), numbers)
def test_address_set_is_a_loop_over_its_intervals(given_: list[Interval], version: int, number: int) -> None:
    expected = any(v == version and first <= number <= last for v, first, last in given_)
    assert ((version, number) in AddressSet(merge(given_))) is expected


@pytest.mark.parametrize(
    ("address", "inside"),
    [("255.255.255.255", True), ("0.0.0.0", False), ("::", True), ("::ffff", False), ("ffff::", False)],
)
def test_address_set_at_the_borders_of_the_versions(address: str, inside: bool) -> None:
    parsed = ipaddress.ip_address(address)
    assert ((parsed.version, int(parsed)) in AddressSet(intervals("255.0.0.0/8", "::/120"))) is inside


def test_decisions_do_not_depend_on_each_other() -> None:
    """Memos do not leak from one request into the next."""
    one = engine_with(frozenset())
    first = [one.decide(request, NOW) for request in PROPERTY_REQUESTS]
    second = [one.decide(request, NOW) for request in reversed(PROPERTY_REQUESTS)]
    assert first == second[::-1]


# ---- several names --------------------------------------------------------------------------------------------------

AGENT = "Slack/4.0 (Windows)"


@pytest.mark.parametrize(
    ("rules_", "request_", "action", "service"),
    [
        pytest.param(
            [Rule("t", "block", services=ids("telegram"))],
            connect("wa.me", sni="t.me"),
            "block",
            "telegram",
            id="one name is enough to block",
        ),
        pytest.param(
            [Rule("s", "allow", services=ids("slack")), Rule("all", "block", services=ALL)],
            connect("203.0.113.9", sni="app.slack.com"),
            "allow",
            "slack",
            id="an address of nobody does not count against a name",
        ),
        pytest.param(
            [Rule("m", "allow", services=ids("microsoft_teams")), Rule("all", "block", services=ALL)],
            get("http://teams.microsoft.com/", user_agent=AGENT, names=("teams.microsoft.com", "9.9.9.9")),
            "allow",
            "microsoft_teams",
            id="what the agent says is not said by the address",
        ),
        pytest.param(
            [Rule("all", "block", services=ALL)],
            connect("64:ff9b::149.154.167.50"),
            "block",
            "telegram",
            id="an IPv4 address behind NAT64",
        ),
    ],
)
def test_requests_that_show_several_names(rules_: list[Rule], request_: Request, action: str, service: str) -> None:
    decision = engine(*rules_).decide(request_, NOW)
    assert (decision.action, decision.service) == (action, service)


def test_the_block_page_is_not_opened_by_another_name_in_the_client_hello() -> None:
    one = engine(Rule("all", "block", services=ALL), response=Response(redirect="https://proxy.example/"))
    assert one.decide(connect("proxy.example", sni="web.whatsapp.com"), NOW).action == "block"
    assert one.decide(connect("proxy.example", sni="proxy.example"), NOW).action == "allow"


def test_a_slow_expression_does_not_switch_off_the_other_rules() -> None:
    slow = SiteList("slow", regex=(r"(a|aa)+$",))
    one = engine(Rule("slow", "allow", sites=(slow,)), Rule("all", "block", services=ALL))
    assert one.decide(get("http://web.whatsapp.com/" + "a" * 5000 + "!"), NOW).action == "block"
