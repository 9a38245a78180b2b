"""Identification: the tables and automata find what the slow loop of `oracle` finds, and each step has its cases."""

import ipaddress
import string
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import identify, url_fits

from squid_imhelper.base.model import FLAGS, Kind, Match, Policy, Request, Rule, Signature, UrlPattern, names_of
from squid_imhelper.base.urls import Target, normalise_host, normalise_path, parse_connect, parse_url
from squid_imhelper.matching.matcher import END, MAX_NAME, START, Matcher, is_below, suffixes
from squid_imhelper.matching.program import Program
from squid_imhelper.sources.catalogue import load_catalogue
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import built_in_policy

CATALOGUE = load_catalogue()
EVERYTHING = Policy("test", (Rule("all", "block", services=frozenset(CATALOGUE.services), include=frozenset(FLAGS)),))
WHOLE = compile_policy(EVERYTHING, CATALOGUE)
DEFAULT = compile_policy(built_in_policy(CATALOGUE), CATALOGUE)
MATCHER = Matcher(WHOLE)
DEFAULT_MATCHER = Matcher(DEFAULT)

HEX = "0123456789abcdef0123456789abcdef"


def of_kind(kind: Kind) -> list[Signature]:
    return [signature for signature in WHOLE.signatures if signature.kind is kind]


# ---- requests that are likely to hit the shipped catalogue ----------------------------------------------------------

NAMES = sorted(
    {s.value for s in WHOLE.signatures if s.kind in (Kind.HOST, Kind.DOMAIN)}
    | {domain for domain, _ in WHOLE.exceptions}
    | {name for s in of_kind(Kind.URL) if s.url for name in (s.url.host, s.url.domain) if name}
)
NAME_MUTATIONS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: f"www.{name}",
    lambda name: f"a.b.{name}",
    lambda name: f"x{name}",
    lambda name: f"x-{name}",
    lambda name: f"{name}x",
    lambda name: f"{name}.evil.example",
    lambda name: f"{name}.{name}",
    lambda name: name[1:],
    lambda name: name[:-1],
    lambda name: name.partition(".")[2],
    lambda name: name.replace(".", "-", 1),
)
QUERIES = (
    "",
    "Action=open&Server=NS&IP=messenger.hotmail.com",
    "Action=poll&SessionID=1.2",
    "x=1&SessionID=12.34",
    "SessionID=12",
    "action=poll",
    "fmnumber=1",
    "aimsid=1",
    f"sid={HEX}",
    f"sid={HEX}&seq=1",
    f"x=1&sid={HEX}&seq=1",
    f"sid={HEX.upper()}",
    f"sid={HEX}0",
    "token=",
    "src=ymsgr",
    "src=ymsgrx",
    "ver=8.0",
)
PATH_MUTATIONS: tuple[Callable[[str], str], ...] = (
    lambda path: path,
    lambda path: path + "/",
    lambda path: path + "/t/100",
    lambda path: path + "x",
    lambda path: path + ".x",
    lambda path: path[:-1] or "/",
    lambda path: "/x" + path,
    str.upper,
    str.title,
)


def mutated(values: list[str], mutations: tuple[Callable[[str], str], ...]) -> st.SearchStrategy[str]:
    return st.builds(lambda value, mutate: mutate(value), st.sampled_from(values), st.sampled_from(mutations))


def around(value: str) -> list[str]:
    """The first and last addresses of a network, and their neighbours outside."""
    network = ipaddress.ip_network(value)
    first, last = network.network_address, network.broadcast_address
    inside = [first, last, first + (int(last) - int(first)) // 2]
    return [str(address) for address in [*inside, first - 1, last + 1]]


addresses = st.sampled_from([address for s in of_kind(Kind.NETWORK) for address in around(s.value)])
names = mutated(NAMES, NAME_MUTATIONS).map(normalise_host).filter(bool)
hosts = st.one_of(names, names, addresses, st.sampled_from(["example.org", "192.0.2.1", "2001:db8::1", "localhost"]))
ports = st.one_of(
    st.sampled_from([80, 443, 8080]),
    st.sampled_from([int(s.value) + near for s in of_kind(Kind.PORT) for near in (-1, 0, 0, 1)]),
    st.none(),
)
paths = st.one_of(
    st.none(),
    st.just("/"),
    mutated([s.url.path for s in of_kind(Kind.URL) if s.url], PATH_MUTATIONS),
    mutated([s.url.path for s in of_kind(Kind.URL) if s.url], (lambda path: path,)),
)
AGENT_TEXTS = [s.value for s in of_kind(Kind.USER_AGENT)] + [text for text, _ in WHOLE.bots]
agents = st.one_of(
    st.none(),
    st.sampled_from(AGENT_TEXTS),
    st.lists(
        st.one_of(
            st.sampled_from(AGENT_TEXTS),
            mutated(AGENT_TEXTS, (lambda text: text[:-1], lambda text: text[1:], str.lower, str.upper)),
            st.sampled_from(
                [START, END, " ", "(", ";", "; ", "/", "x", "Mozilla/5.0 (", "8.0)", "\x00", "\udcff", "é"]
            ),
        ),
        max_size=5,
    ).map("".join),
)
CONTENT_TYPES = [s.value for s in of_kind(Kind.CONTENT_TYPE)]
content_types = st.one_of(
    st.none(),
    mutated(
        CONTENT_TYPES,
        (
            lambda value: value,
            lambda value: f"{value}; charset=utf-8",
            lambda value: f" {value} ;",
            str.upper,
            lambda value: f"{value}p2p",
            lambda value: f"x{value}",
            lambda value: f"text/html; name={value}",
        ),
    ),
    st.sampled_from(["text/html", "", ";", " "]),
)
methods = st.sampled_from([None, "GET", "POST", "CONNECT", "post"])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    host = draw(hosts)
    sni = draw(st.one_of(st.just(""), st.just(""), hosts))
    path = draw(paths)
    target = Target("" if path is None else "http", host, draw(ports), path, draw(st.sampled_from(QUERIES)))
    return Request(
        target=target,
        names=names_of(target, sni, draw(st.one_of(st.none(), st.none(), addresses))),
        method=draw(methods),
        user_agent=draw(agents),
        content_type=draw(content_types),
        destination_port=draw(st.one_of(st.none(), st.none(), ports)),
    )


def own_host(signature: Signature) -> st.SearchStrategy[str]:
    """Hosts to which a URL signature is bound, or nearly."""
    pattern = signature.url
    assert pattern is not None
    if pattern.host:
        return st.sampled_from([pattern.host, f"x.{pattern.host}", f"x{pattern.host}"])
    if pattern.domain:
        return st.sampled_from([pattern.domain, f"x.{pattern.domain}", f"x{pattern.domain}"])
    return st.one_of(addresses, st.just("example.org"))


@st.composite
def url_requests(draw: st.DrawFn) -> Request:
    """A URL signature with its own host, its path or nearly, and any query."""
    signature = draw(st.sampled_from(of_kind(Kind.URL)))
    assert signature.url is not None
    path = draw(mutated([signature.url.path], PATH_MUTATIONS))
    request = draw(requests())
    host = draw(own_host(signature))
    query = draw(st.sampled_from(QUERIES))
    return request._replace(target=Target("http", host, 80, path, query), names=(host, *request.names[1:]))


def found(matcher: Matcher, request: Request) -> list[Signature]:
    return list(dict.fromkeys(matcher.signatures(request)))


@given(requests())
@settings(max_examples=1200, deadline=None)
def test_whole_catalogue_agrees_with_the_oracle(request_: Request) -> None:
    assert found(MATCHER, request_) == identify(WHOLE, request_)


@given(url_requests())
@settings(max_examples=700, deadline=None)
def test_urls_of_the_catalogue_agree_with_the_oracle(request_: Request) -> None:
    assert found(MATCHER, request_) == identify(WHOLE, request_)


@given(requests())
@settings(max_examples=300, deadline=None)
def test_default_program_agrees_with_the_oracle(request_: Request) -> None:
    assert found(DEFAULT_MATCHER, request_) == identify(DEFAULT, request_)


@given(requests())
@settings(max_examples=200, deadline=None)
def test_a_second_look_tells_the_same(request_: Request) -> None:
    """What has been kept in a memo is what would be found again."""
    assert MATCHER.signatures(request_) == Matcher(WHOLE).signatures(request_)


def test_every_signature_can_be_found() -> None:
    """The shipped catalogue has no signature that a request made for it does not carry."""
    for signature in WHOLE.signatures:
        assert signature in MATCHER.signatures(made_for(signature)), signature


def made_for(signature: Signature) -> Request:
    """The plainest request that carries a signature."""
    plain = ask("http://example.org/")
    value = signature.value
    if signature.kind in (Kind.HOST, Kind.DOMAIN):
        return ask(f"{value}:443", method="CONNECT")
    if signature.kind is Kind.NETWORK:
        address = str(ipaddress.ip_network(value).network_address)
        return plain._replace(names=(address,), target=plain.target._replace(host=address))
    if signature.kind is Kind.PORT:
        return plain._replace(target=plain.target._replace(port=int(value)))
    if signature.kind is Kind.USER_AGENT:
        return plain._replace(user_agent=value)
    if signature.kind is Kind.CONTENT_TYPE:
        return plain._replace(content_type=value)
    pattern = signature.url
    assert pattern is not None
    host = pattern.host or pattern.domain or ("149.154.167.51" if pattern.in_networks else "example.org")
    plausible = [ask(f"http://{host}{pattern.path}?{query}", method=pattern.method) for query in QUERIES]
    return next(request for request in plausible if url_fits(WHOLE, request, signature))


# ---- small catalogues over a small alphabet -------------------------------------------------------------------------

small = st.text("ab", min_size=1, max_size=2)
small_names = st.lists(small, min_size=1, max_size=4).map(".".join)
small_paths = st.text("ab/", max_size=5).map(lambda text: normalise_path("/" + text))
small_paths_any_case = st.text("aBb/", max_size=5).map(lambda text: normalise_path("/" + text))
small_texts = st.text(f"ab {START}{END}(", min_size=1, max_size=4)
small_ports = st.integers(1, 4)
small_v4 = st.integers(0, 15).map(lambda n: f"10.0.0.{n}")
small_v6 = st.integers(0, 15).map(lambda n: str(ipaddress.ip_address(int(ipaddress.ip_address("2001:db8::")) + n)))
small_networks = st.one_of(
    st.builds(
        lambda a, length: str(ipaddress.ip_network(f"{a}/{length}", strict=False)), small_v4, st.integers(28, 32)
    ),
    st.builds(
        lambda a, length: str(ipaddress.ip_network(f"{a}/{length}", strict=False)), small_v6, st.integers(124, 128)
    ),
    st.just("0.0.0.0/0"),
)
services = st.sampled_from(["one", "two", "three"])
text_matches = st.sampled_from([match for match in Match if match is not Match.SEGMENT])
path_matches = st.sampled_from([Match.EXACT, Match.PREFIX, Match.SEGMENT])


@st.composite
def small_urls(draw: st.DrawFn) -> Signature:
    match = draw(path_matches)
    pattern = UrlPattern(
        path=draw(small_paths_any_case),
        match=match,
        method=draw(st.sampled_from(["", "", "POST"])),
        query=draw(st.sampled_from(["", "", "a", "^b$"])),
        ignore_case=draw(st.booleans()),
    )
    bound = draw(st.sampled_from(["", "host", "domain", "in_networks"]))
    if bound == "in_networks":
        pattern = pattern._replace(in_networks=True)
    elif bound:
        pattern = pattern._replace(**{bound: draw(small_names)})
    value = (pattern.host or pattern.domain) + pattern.path
    return Signature(Kind.URL, value, draw(services), match=match, url=pattern)


def bare_signature(kind: Kind, value: str, service: str) -> Signature:
    """What `st.builds` would make of a record has values in all of its fields."""
    return Signature(kind, value, service)


small_signatures = st.one_of(
    st.builds(bare_signature, st.sampled_from([Kind.HOST, Kind.DOMAIN]), small_names, services),
    small_urls(),
    small_urls(),
    st.builds(
        lambda value, service, match: Signature(Kind.USER_AGENT, value, service, match=match),
        small_texts,
        services,
        text_matches,
    ),
    st.builds(
        lambda value, service, match: Signature(Kind.CONTENT_TYPE, value, service, match=match),
        small_names,
        services,
        st.sampled_from([Match.EXACT, Match.PREFIX]),
    ),
    st.builds(bare_signature, st.just(Kind.NETWORK), small_networks, services),
    st.builds(bare_signature, st.just(Kind.PORT), small_ports.map(str), services),
)
small_programs = st.builds(
    lambda signatures, exceptions, bots: WHOLE._replace(
        signatures=tuple(signatures), exceptions=tuple(exceptions), bots=tuple(bots)
    ),
    st.lists(small_signatures, max_size=12, unique=True),
    st.lists(st.tuples(small_names, services), max_size=2),
    st.lists(st.tuples(small_texts, services), max_size=1),
)


@st.composite
def small_requests(draw: st.DrawFn) -> Request:
    given_names = draw(st.lists(st.one_of(small_names, small_names, small_v4, small_v6), max_size=2, unique=True))
    path = draw(st.one_of(st.none(), small_paths, small_paths_any_case))
    return Request(
        target=Target(
            "http", given_names[0] if given_names else "", draw(small_ports), path, draw(st.text("ab", max_size=2))
        ),
        names=tuple(given_names),
        method=draw(st.sampled_from([None, "GET", "POST"])),
        user_agent=draw(st.one_of(st.none(), st.text(f"ab {START}{END}(;", max_size=8))),
        content_type=draw(st.one_of(st.none(), small_names, small_names.map(lambda name: f" {name.upper()} ;a"))),
        destination_port=draw(st.one_of(st.none(), small_ports)),
    )


@given(small_programs, st.lists(small_requests(), min_size=1, max_size=6))
@settings(max_examples=500, deadline=None)
def test_small_catalogues_agree_with_the_oracle(program: Program, asked: list[Request]) -> None:
    matcher = Matcher(program)
    for request_ in asked:
        assert found(matcher, request_) == identify(program, request_)


# ---- names ----------------------------------------------------------------------------------------------------------


@given(small_names, small_names)
@example("a.b", "a.b")
@example("aa.b", "a.b")
def test_suffixes_and_is_below_mean_the_same(name: str, domain: str) -> None:
    assert (domain in list(suffixes(name))) == is_below(name, domain)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("a.b.c", ["a.b.c", "b.c", "c"], id="longest first"),
        pytest.param("localhost", ["localhost"], id="one label"),
        pytest.param("2001:db8::1", ["2001:db8::1"], id="IPv6 has no parents"),
    ],
)
def test_suffixes(name: str, expected: list[str]) -> None:
    assert list(suffixes(name)) == expected


@pytest.mark.parametrize("name", ["a." * 40_000 + "b.c", "." * 80_000 + "b.c", "a" * 80_000 + ".b.c"])
def test_parents_longer_than_any_name_are_left_out(name: str) -> None:
    """An SNI has up to 64 KB; a list of all its parents would have gigabytes."""
    first, *rest = suffixes(name)
    assert first == name
    assert rest[-2:] == ["b.c", "c"]
    assert len(rest[0]) <= MAX_NAME


@given(st.text("ab.", min_size=MAX_NAME - 20, max_size=MAX_NAME + 60))
def test_no_parent_that_is_a_name_is_left_out(name: str) -> None:
    parents = [name[n + 1 :] for n in range(len(name)) if name[n] == "."]
    assert list(suffixes(name)) == [name, *(parent for parent in parents if len(parent) <= MAX_NAME)]


# ---- named cases ----------------------------------------------------------------------------------------------------


def ask(url: str, method: str | None = None, sni: str = "", destination: str = "", **rest: object) -> Request:
    target = parse_connect(url) if method == "CONNECT" else parse_url(url)
    return Request(target=target, names=names_of(target, sni, destination), method=method or None)._replace(**rest)


def one(
    signatures: list[Signature], exceptions: tuple[tuple[str, str], ...] = (), bots: tuple[tuple[str, str], ...] = ()
) -> Matcher:
    return Matcher(WHOLE._replace(signatures=tuple(signatures), exceptions=exceptions, bots=bots))


def url_signature(service: str, path: str, match: Match = Match.EXACT, **rest: object) -> Signature:
    pattern = UrlPattern(path, match)._replace(**rest)
    return Signature(Kind.URL, (pattern.host or pattern.domain) + path, service, match=match, url=pattern)


LADDER = [
    Signature(Kind.PORT, "81", "port"),
    Signature(Kind.NETWORK, "192.0.2.0/24", "network"),
    Signature(Kind.USER_AGENT, "agent", "user_agent", match=Match.SUBSTRING),
    Signature(Kind.CONTENT_TYPE, "chat/x", "content_type"),
    url_signature("any_url", "/chat"),
    Signature(Kind.DOMAIN, "example.org", "domain"),
    url_signature("bound_url", "/chat", domain="example.org"),
    Signature(Kind.HOST, "www.example.org", "host"),
]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(
            ask("http://www.example.org:81/chat", user_agent="agent", content_type="chat/x", destination="192.0.2.1"),
            ["host", "bound_url", "domain", "any_url", "content_type", "user_agent", "network", "port"],
            id="all eight steps",
        ),
        pytest.param(ask("http://a.example.org/chat"), ["bound_url", "domain", "any_url"], id="no exact host"),
        pytest.param(
            ask("http://example.net:81/chat", user_agent="agent"), ["any_url", "user_agent", "port"], id="any host"
        ),
        pytest.param(ask("http://192.0.2.1:81/"), ["network", "port"], id="an address"),
        pytest.param(
            ask("192.0.2.1:81", "CONNECT", sni="www.example.org"), ["host", "domain", "network", "port"], id="SNI"
        ),
        pytest.param(ask("www.example.org:443", "CONNECT"), ["host", "domain"], id="CONNECT has no path"),
        pytest.param(ask("http://example.net/"), [], id="nothing"),
    ],
)
def test_precedence(request_: Request, expected: list[str]) -> None:
    """The steps come in their order, whatever the order of the catalogue."""
    assert [s.service for s in one(LADDER).signatures(request_)] == expected


def agent(value: str, match: Match, service: str = "x") -> Signature:
    return Signature(Kind.USER_AGENT, value, service, match=match)


AGENT_CASES = [
    (Match.EXACT, "MSMSGS", True),
    (Match.EXACT, "MSMSGS ", False),
    (Match.EXACT, "msmsgs", False),
    (Match.EXACT, f"{START}MSMSGS{END}", False),
    (Match.EXACT, f"x{START}MSMSGS{END}x", False),
    (Match.PREFIX, "MSMSGS-archive", True),
    (Match.PREFIX, f"x{START}MSMSGS", False),
    (Match.PREFIX, " MSMSGS", False),
    (Match.WORD, "MSMSGS/1", True),
    (Match.WORD, "Mozilla MSMSGS/1", True),
    (Match.WORD, "Mozilla (MSMSGS", True),
    (Match.WORD, "Mozilla (x;MSMSGS", True),
    (Match.WORD, "Mozilla-MSMSGS", False),
    (Match.WORD, "xMSMSGS", False),
    (Match.WORD, f"x{START}MSMSGS", False),
    (Match.SUBSTRING, "xMSMSGSx", True),
    (Match.SUBSTRING, f"MSM{START}SGS", False),
    (Match.SUBSTRING, "MSMSG", False),
]


@pytest.mark.parametrize(
    ("match", "header", "holds"), [pytest.param(*c, id=f"{c[0].value} {c[1]!r}") for c in AGENT_CASES]
)
def test_user_agent(match: Match, header: str, holds: bool) -> None:
    """A header can hold the automaton's sentinels; they are no text of a signature."""
    matcher = one([agent("MSMSGS", match)])
    assert bool(matcher.signatures(ask("http://example.org/", user_agent=header))) is holds


PATH_CASES = [
    (Match.EXACT, "/chat", "/chat", True),
    (Match.EXACT, "/chat", "/chat?x", True),
    (Match.EXACT, "/chat", "/chat/", False),
    (Match.EXACT, "/chat", "/Chat", False),
    (Match.EXACT, "/chat", "/x/chat", False),
    (Match.EXACT, "/chat", "/chat%01", False),
    (Match.PREFIX, "/chat", "/chatter", True),
    (Match.PREFIX, "/chat", "/chat", True),
    (Match.PREFIX, "/chat", "/x/chat", False),
    (Match.SEGMENT, "/chat", "/chat", True),
    (Match.SEGMENT, "/chat", "/chat/", True),
    (Match.SEGMENT, "/chat", "/chat/a", True),
    (Match.SEGMENT, "/chat", "/chatter", False),
    (Match.SEGMENT, "/chat", "/chat-a", False),
    (Match.SEGMENT, "/chat/", "/chat", False),
    (Match.SEGMENT, "/chat/", "/chat/a", True),
    (Match.SEGMENT, "/", "/anything", True),
]


@pytest.mark.parametrize(
    ("match", "wanted", "path", "holds"),
    [pytest.param(*case, id=f"{case[0].value} {case[1]} in {case[2]}") for case in PATH_CASES],
)
def test_path(match: Match, wanted: str, path: str, holds: bool) -> None:
    matcher = one([url_signature("x", wanted, match)])
    assert bool(matcher.signatures(ask(f"http://example.org{path}"))) is holds


URL_CASES = [
    ({"method": "POST"}, "http://a.example/c", "POST", True),
    ({"method": "POST"}, "http://a.example/c", "GET", False),
    ({"method": "POST"}, "http://a.example/c", None, True),
    ({"query": "^sid=1$"}, "http://a.example/c?sid=1", "GET", True),
    ({"query": "^sid=1$"}, "http://a.example/c?sid=12", "GET", False),
    ({"query": "^sid=1$"}, "http://a.example/c", "GET", False),
    ({"ignore_case": True}, "http://a.example/C", "GET", True),
    ({"host": "a.example"}, "http://a.example/c", "GET", True),
    ({"host": "a.example"}, "http://b.a.example/c", "GET", False),
    ({"domain": "a.example"}, "http://b.a.example/c", "GET", True),
    ({"domain": "a.example"}, "http://ba.example/c", "GET", False),
    ({"domain": "a.example"}, "http://a.example.org/c", "GET", False),
    ({"in_networks": True}, "http://192.0.2.9/c", "GET", True),
    ({"in_networks": True}, "http://198.51.100.9/c", "GET", False),
    ({"in_networks": True}, "http://203.0.113.9/c", "GET", False),
]


@pytest.mark.parametrize(
    ("more", "url", "method", "holds"), [pytest.param(*c, id=f"{c[0]} {c[1]} {c[2]}") for c in URL_CASES]
)
def test_url_conditions(more: dict[str, object], url: str, method: str | None, holds: bool) -> None:
    """Method, query, case and host must all hold; networks must be the service's own."""
    signatures = [
        url_signature("x", "/c", **more),
        Signature(Kind.NETWORK, "192.0.2.0/24", "x"),
        Signature(Kind.NETWORK, "198.51.100.0/24", "y"),
    ]
    assert any(s.kind is Kind.URL for s in one(signatures).signatures(ask(url, method))) is holds


def test_url_bound_to_a_host_holds_for_the_sni() -> None:
    matcher = one([url_signature("x", "/c", host="a.example")])
    assert matcher.signatures(ask("https://192.0.2.1/c", sni="a.example"))


@pytest.mark.parametrize(
    ("signatures", "request_", "expected"),
    [
        pytest.param(
            [
                agent("ab", Match.SUBSTRING, "substring"),
                agent("ab", Match.WORD, "word"),
                agent("ab", Match.PREFIX, "prefix"),
                agent("ab", Match.EXACT, "exact"),
            ],
            ask("http://example.org/", user_agent="ab"),
            ["exact", "prefix", "word", "substring"],
            id="the more precise match",
        ),
        pytest.param(
            [
                agent("a", Match.PREFIX, "short"),
                agent("abc", Match.PREFIX, "long"),
                agent("abcd", Match.SUBSTRING, "loose"),
            ],
            ask("http://example.org/", user_agent="abcd"),
            ["long", "short", "loose"],
            id="then the longer text",
        ),
        pytest.param(
            [agent("a", Match.PREFIX, "first"), agent("a", Match.PREFIX, "second")],
            ask("http://example.org/", user_agent="a"),
            ["first", "second"],
            id="then the order of the catalogue",
        ),
        pytest.param(
            [Signature(Kind.DOMAIN, "b.example", "outer"), Signature(Kind.DOMAIN, "a.b.example", "inner")],
            ask("http://x.a.b.example/"),
            ["inner", "outer"],
            id="the longer domain",
        ),
        pytest.param(
            [Signature(Kind.NETWORK, "192.0.0.0/16", "wide"), Signature(Kind.NETWORK, "192.0.2.0/24", "narrow")],
            ask("http://192.0.2.1/"),
            ["narrow", "wide"],
            id="the longer prefix",
        ),
        pytest.param(
            [Signature(Kind.PORT, "5190", "aim"), Signature(Kind.PORT, "5190", "icq")],
            ask("192.0.2.1:5190", "CONNECT"),
            ["aim", "icq"],
            id="a port of two",
        ),
        pytest.param(
            [
                Signature(Kind.DOMAIN, "longer.example", "of the SNI"),
                Signature(Kind.DOMAIN, "a.example", "of the host"),
            ],
            ask("a.example:443", "CONNECT", sni="longer.example"),
            ["of the host", "of the SNI"],
            id="the host before the SNI: that is where the connection goes",
        ),
        pytest.param(
            [Signature(Kind.DOMAIN, "a.example", "domain of the host"), Signature(Kind.HOST, "b.example", "SNI")],
            ask("a.example:443", "CONNECT", sni="b.example"),
            ["SNI", "domain of the host"],
            id="the step before the name",
        ),
    ],
)
def test_order_within_a_step(signatures: list[Signature], request_: Request, expected: list[str]) -> None:
    assert [s.service for s in one(signatures).signatures(request_)] == expected


EXCEPTED = [
    Signature(Kind.DOMAIN, "b.example", "outer"),
    Signature(Kind.DOMAIN, "a.b.example", "inner"),
    Signature(Kind.HOST, "c.a.b.example", "outer"),
    url_signature("outer", "/chat", domain="b.example"),
    agent("Outer/", Match.PREFIX, "outer"),
]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(ask("http://b.example/"), [("domain", "outer")], id="above the exception"),
        pytest.param(ask("http://xa.b.example/"), [("domain", "outer")], id="beside it"),
        pytest.param(ask("http://a.b.example/"), [("domain", "inner")], id="another service's domain counts"),
        pytest.param(ask("http://x.a.b.example/"), [("domain", "inner")], id="below it"),
        pytest.param(ask("http://a.b.example/chat"), [("url", "outer"), ("domain", "inner")], id="the path counts"),
        pytest.param(
            ask("http://a.b.example/", user_agent="Outer/1"),
            [("domain", "inner"), ("user_agent", "outer")],
            id="the agent",
        ),
        pytest.param(ask("http://c.a.b.example/"), [("host", "outer"), ("domain", "inner")], id="an exact host counts"),
        pytest.param(
            ask("a.b.example:443", "CONNECT", sni="b.example"),
            [("domain", "inner"), ("domain", "outer")],
            id="only for the name it is about",
        ),
    ],
)
def test_exceptions_take_away_domains_of_their_service_only(request_: Request, expected: list[tuple[str, str]]) -> None:
    matcher = one(EXCEPTED, exceptions=(("a.b.example", "outer"),))
    assert [(s.kind.value, s.service) for s in matcher.signatures(request_)] == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param("Chat/1", ["chat", "other"], id="a client"),
        pytest.param("Chatbot Chat/1", ["other"], id="a crawler of the one is a client of the other"),
        pytest.param("Chatbot", [], id="a crawler"),
    ],
)
def test_bots_take_away_agents_of_their_service_only(header: str, expected: list[str]) -> None:
    signatures = [agent("Chat/", Match.WORD, "chat"), agent("Chat/", Match.SUBSTRING, "other")]
    matcher = one(signatures, bots=(("Chatbot", "chat"),))
    assert [s.service for s in matcher.signatures(ask("http://example.org/", user_agent=header))] == expected


def test_a_bot_does_not_take_away_the_name() -> None:
    matcher = one([Signature(Kind.DOMAIN, "chat.example", "chat")], bots=(("Chatbot", "chat"),))
    assert matcher.signatures(ask("http://chat.example/", user_agent="Chatbot"))


CONTENT_TYPE_CASES = [
    ("chat/x", True),
    ("Chat/X", True),
    ("chat/x; charset=utf-8", True),
    (" chat/x ;a=b;c", True),
    ("chat/xy", False),
    ("text/html; chat/x", False),
    ("", False),
    (None, False),
]


@pytest.mark.parametrize(("value", "holds"), CONTENT_TYPE_CASES)
def test_content_type_is_compared_without_case_and_parameters(value: str | None, holds: bool) -> None:
    matcher = one([Signature(Kind.CONTENT_TYPE, "chat/x", "chat")])
    assert bool(matcher.signatures(ask("http://example.org/", content_type=value))) is holds


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        ("192.0.2.0", True),
        ("192.0.2.255", True),
        ("192.0.1.255", False),
        ("192.0.3.0", False),
        ("[2001:db8::]", True),
        ("[2001:db8:0:ffff:ffff:ffff:ffff:ffff]", True),
        ("[2001:db8:1::]", False),
        ("[::ffff:192.0.2.7]", True),
        ("192.0.2.1.example.org", False),
    ],
)
def test_networks(address: str, holds: bool) -> None:
    matcher = one([Signature(Kind.NETWORK, "192.0.2.0/24", "x"), Signature(Kind.NETWORK, "2001:db8::/48", "x")])
    assert bool(matcher.signatures(ask(f"http://{address}/"))) is holds


def test_the_widest_networks() -> None:
    matcher = one([Signature(Kind.NETWORK, "0.0.0.0/0", "v4"), Signature(Kind.NETWORK, "::/0", "v6")])
    assert [s.service for s in matcher.signatures(ask("http://192.0.2.1/"))] == ["v4"]
    assert [s.service for s in matcher.signatures(ask("http://[2001:db8::1]/"))] == ["v6"]
    assert matcher.signatures(ask("http://example.org/")) == []


def test_destination_of_intercepted_traffic() -> None:
    """Address and port to which a connection went count beside the name that it claims."""
    matcher = one([Signature(Kind.NETWORK, "192.0.2.0/24", "network"), Signature(Kind.PORT, "5190", "port")])
    request_ = ask("http://example.org/", destination="192.0.2.1", destination_port=5190)
    assert [s.service for s in matcher.signatures(request_)] == ["network", "port"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("http://weixin.qq.com/", "wechat", id="WeChat"),
        pytest.param("http://work.weixin.qq.com/", "wecom", id="WeCom inside WeChat"),
        pytest.param("http://open.work.weixin.qq.com/", "wecom", id="below WeCom"),
        pytest.param("http://mp.weixin.qq.com/", None, id="an exception of WeChat"),
        pytest.param("http://x.messenger.live.com/", "windows_live_messenger", id="Windows Live Messenger"),
        pytest.param("http://gateway.messenger.live.com/", "skype", id="Skype inside it"),
        pytest.param("http://db3.gateway.messenger.live.com/", "skype", id="below Skype"),
        pytest.param("http://xgateway.messenger.live.com/", "windows_live_messenger", id="beside Skype"),
    ],
)
def test_nested_names_of_the_catalogue(url: str, expected: str | None) -> None:
    found_ = DEFAULT_MATCHER.signatures(ask(url))
    assert (found_[0].service if found_ else None) == expected


def test_an_empty_program_knows_nothing() -> None:
    request_ = ask("http://example.org/chat", user_agent=string.printable, content_type="a/b")
    assert one([]).signatures(request_) == []
