"""Counting in bulk: what comes out is what comes out line by line, for any policy, format, mixture and cut of a log."""

import itertools
from collections.abc import Callable

import pytest
from arbitrary import AGENTS, CATALOGUE, NOON, SCHEDULES, SITES, USERS, policies, targets
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Policy, Rule, SiteList
from squid_imhelper.base.urls import parse_connect, parse_squid_url
from squid_imhelper.dryrun import bulk
from squid_imhelper.dryrun.bulk import read_targets, read_who
from squid_imhelper.dryrun.counting import Counter
from squid_imhelper.dryrun.tally import SHOWN, Tally
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.matching.program import Program
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.sources.policy import built_in_policy

SQUID, OWN = LogFormat("squid"), LogFormat("imhelper")
BUILT_IN = compile_policy(built_in_policy(CATALOGUE), CATALOGUE)
NOW = NOON + 40 * 86_400
CHANGES_OF_CLOCK = (1_774_746_000, 1_792_890_000)
"""29 March and 25 October 2026 in Brussels: an hour that is not there, and one that comes twice."""


def program(*rules: Rule) -> Program:
    return compile_policy(Policy("policy.toml", rules, sites=SITES, schedules=SCHEDULES), CATALOGUE)


def line_by_line(counter: Counter) -> Counter:
    """The same counter without the short cut."""
    counter._bulk._is_of_use = False
    return counter


# ---- logs -----------------------------------------------------------------------------------------------------------

PATHS = (
    "", "/", "/index.html", "/a/b.js?x=1", "/a?", "/a??", "//data", "/data", "/DATA?sid=1", "/x/../data", "/x/./y",
    "/.data", "/%64ata", "/a%20b", "/%2e%2e/data", "/a/%2E/b", "/gateway//gateway.dll?Action=open",
    "/Gateway/gateway.dll", "/gateway/gateway.dll?", "/gateway/gateway.dll?op=x", "/gateway/gateway.dll?a&Action=poll",
    "/gateway/gateway.dll?SessionID=1.2", "/gateway/gateway.dll?#Action=open", "/data?op=x", "/%5Bdata%5d",
    "/messages", "/_matrix/client/x", "/%zz", "/a#b", "/\\data", "/x'y\"", "/api", "/chat[1]", "/a%2Fb%c3%bc.",
    "/a;b=..",
)  # fmt: skip
HOSTS = (
    "example.org", "www.example.org:80", "example.org:1863", "web.whatsapp.com", "facebook.com", "WWW.Example.ORG.",
    "10.1.2.3", "149.154.167.99", "[2001:db8::1]", "a_b.example", "xn--bcher-kva.example", "xn--a.example",
    "1.2.3.4.5",
    "example.org:", "example.org:99999", "example.org:0443", "us%65r.example", "u@example.org", "blocked.invalid",
    "localhost",
    "chat1.whatsapp.com", "www.yahoo.com", "n" * 300 + ".example", "example.org:x", "-a.example-", "a..example",
    "0x7f.1",
)  # fmt: skip
RESULTS = (
    "TCP_MISS/200", "TCP_DENIED/403", "TCP_DENIED/407", "TCP_MISS/407", "UDP_HIT/000", "NONE_NONE/000",
    "TCP_TUNNEL/200", "NONE/-", "tcp_miss/200", "TCP_MISS_ABORTED/000",
)  # fmt: skip
ODD = (
    b"", b" ", b"\r", b"# comment", b"\xef\xbb\xbf# mark", b"no log at all", b"\x00", b"\xff\xfe", b'{"url": "http://a.example/"}',
    b"Mar 16 08:00:00 proxy (squid-1): 1773619603.004 1 192.0.2.1 TCP_MISS/200 1 GET http://a.example/ - HIER_NONE/- -",
)  # fmt: skip


@st.composite
def moments(draw: st.DrawFn) -> str:
    around = draw(st.sampled_from([int(NOON), int(NOON), *CHANGES_OF_CLOCK]))
    second = around + draw(
        st.sampled_from([0, 1, -1, 3599, 3600, -3600, 86_400, 7 * 3600]) | st.integers(-90_000, 90_000)
    )
    form = draw(st.sampled_from(["{}.000", "{}.999", "{}.004", "{}.1", "{}", "0000000012.500", "9999999999.000"]))
    return form.format(second)


@st.composite
def requests(draw: st.DrawFn) -> str:
    """Method and URL; mostly of the same few hosts, so that what is remembered is asked for."""
    if draw(st.integers(0, 3)) == 0:
        method, url = draw(st.sampled_from(targets()))
        return f"{'GET' if method == '-' else method} {url}"
    host = draw(st.sampled_from(HOSTS[:6]) | st.sampled_from(HOSTS))
    if draw(st.booleans()):
        method, port = draw(st.sampled_from(["CONNECT", "GET"])), draw(st.sampled_from(["", ":443", ":443/x"]))
        return f"{method} {host}{port}"
    scheme = draw(st.sampled_from(["http://", "http://", "https://", "ftp://", "HTTP://", ""]))
    method = draw(st.sampled_from(["GET", "POST", "CONNECT", "get"]))
    return f"{method} {scheme}{host}{draw(st.sampled_from(PATHS))}"


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(ODD) | st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")))
    who = draw(
        st.sampled_from(["192.0.2.1", "192.0.2.200", "::ffff:192.0.2.1", "pc7.example", "-", "2001:DB8::1", "p%637"])
    )
    user = draw(st.sampled_from(["-", "-", "-", "ann", "bob", "a%6e", "John Smith", "http://u?a=1", *USERS]))
    peer = draw(st.sampled_from(["HIER_DIRECT/192.0.2.9", "HIER_NONE/-", "DIRECT/", "x"]))
    head = f"{draw(moments())} {draw(st.sampled_from(['0', '     7', '3600000', '-1', '123456789012']))} {who}"
    text = f"{head} {draw(st.sampled_from(RESULTS))} 512 {draw(requests())} {user} {peer}"
    text += draw(st.sampled_from([" text/html", " -", "", " a b", " text/html\r"]))
    if draw(st.booleans()):
        agent = draw(st.sampled_from(["-", "", "%2D", "Mozilla/5.0", "a b", *(a.replace(" ", "%20") for a in AGENTS)]))
        kind = draw(st.sampled_from(["-", "-", "application/x-icq", "text/plain"]))
        text += f' "{agent}" "{kind}" {draw(st.sampled_from(["- -", "- -", "whatsapp no"]))}'
    whole = text.encode("utf-8", "surrogateescape")
    return draw(st.sampled_from([whole] * 9 + [whole.replace(b" ", b"\t"), whole[: len(whole) // 2], whole + b"\x00"]))


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    some = draw(st.lists(lines(), min_size=1, max_size=12))
    return draw(st.lists(st.sampled_from(some), max_size=40)) + some


formats = st.sampled_from([SQUID, OWN, LogFormat("squid", zone="Europe/Brussels"), LogFormat("combined")])


@settings(max_examples=300)
@given(policies(), st.none() | policies(), logs(), formats, st.booleans(), st.sampled_from([b"", b"\n"]))
def test_nothing_changes_but_the_speed(
    own: Policy, other: Policy | None, log: list[bytes], log_format: LogFormat, rewriter: bool, end: bytes
) -> None:
    in_force = compile_policy(other, CATALOGUE) if other else None
    counters = [Counter(compile_policy(own, CATALOGUE), in_force, NOW, rewriter=rewriter) for _ in range(2)]
    block = b"\n".join(log) + end
    quick, slow = counters[0], line_by_line(counters[1])
    for before in (0, len(log)):  # and what has been learned counts for more of it
        assert quick.count(block, log_format, "access.log", before) == slow.count(
            block, log_format, "access.log", before
        )


@settings(max_examples=200)
@given(logs(), formats, st.lists(st.integers(0, 60)), st.sampled_from([1, 300, 1 << 17]))
def test_it_does_not_matter_how_a_log_is_cut(
    log: list[bytes], log_format: LogFormat, cuts: list[int], piece: int
) -> None:
    own = program(
        Rule("day", "block", services=frozenset(CATALOGUE.services), schedules=("day",)),
        Rule("watch", "monitor", sites=("com",)),
    )
    counter, total = Counter(own, BUILT_IN, NOW), Tally()
    edges = sorted({0, len(log), *(cut for cut in cuts if cut < len(log))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "PIECE", piece)
        for first, last in itertools.pairwise(edges):
            block = b"".join(line + b"\n" for line in log[first:last])
            total.add(counter.count(block, log_format, "access.log", first))
    whole = b"".join(line + b"\n" for line in log)
    assert total == line_by_line(Counter(own, BUILT_IN, NOW)).count(whole, log_format, "access.log", 0)


edges = st.integers(-30, 30).flatmap(
    lambda hours: st.sampled_from([-1, 0, 1, 3599]).map(lambda more: hours * 3600 + more)
)


@settings(max_examples=200)
@given(st.lists(st.tuples(edges, st.integers(0, 2), st.sampled_from(["-", "ann"]), st.sampled_from(RESULTS[:4]))))
def test_times_and_clients_of_what_is_nothing(some: list[tuple[int, int, str, str]]) -> None:
    """In a log without anything odd, in any order."""
    form = "{}.000 0 192.0.2.{} {} 9 GET http://a.example/ {} HIER_NONE/- -\n"
    block = "".join(form.format(int(NOON) + at, client, result, user) for at, client, user, result in some).encode()
    quick, slow = Counter(BUILT_IN, None, NOW), line_by_line(Counter(BUILT_IN, None, NOW))
    assert quick.count(block, SQUID, "access.log", 0) == slow.count(block, SQUID, "access.log", 0)


# ---- it is a short cut ----------------------------------------------------------------------------------------------

PLAIN = b"%d.004    120 192.0.2.1 TCP_MISS/200 512 GET http://www.example.org/%d/x.js?y=%%20 - HIER_DIRECT/- text/html"
OTHERS = [
    pytest.param(PLAIN, SQUID, id="native"),
    pytest.param(PLAIN + b' "Mozilla/5.0%%20(x)" "-" - -', OWN, id="own"),
    pytest.param(
        PLAIN.replace(b"GET http://www.example.org/%d/x.js?y=%%20 -", b"CONNECT www.example.org:443 ann%d"),
        SQUID,
        id="tunnel",
    ),
]


def left(own: Program, block: bytes, log_format: LogFormat) -> int:
    return len(list(Counter(own, None, NOW)._bulk.count(block, log_format, Tally())))


@pytest.mark.parametrize(("form", "log_format"), OTHERS)
def test_what_is_nothing_is_counted_in_bulk(form: bytes, log_format: LogFormat) -> None:
    block = b"".join(form % (NOON + number, number) + b"\n" for number in range(100))
    assert left(BUILT_IN, block, log_format) == 0
    assert left(BUILT_IN, block.replace(b"example.org", b"whatsapp.com"), log_format) == 100


@pytest.mark.parametrize(
    ("path", "user", "number"),
    [
        ("/gateway/gateway.dll?op=x", "-", 0),
        ("/gateway/gateway.dll?Action=open", "-", 1),
        ("/gateway/gateway.dll?op=x&SessionID=1.2", "-", 1),
        ("/gateway/gateway.dll?%41ction=open", "-", 1),
        ("/gateway/gateway.dll?", "-", 1),
        ("/gateway/gateway.dll?", "http://u?a=1", 1),
        ("/gateway/gateway.dll", "http://u?a=1", 1),
    ],
)
def test_paths_of_signatures_are_nothing_where_the_query_is_another(path: str, user: str, number: int) -> None:
    for form, log_format in ((PLAIN, SQUID), (PLAIN + b' "Mozilla/5.0%%20(x)" "-" - -', OWN)):
        line = (form % (NOON, 1)).replace(b"/1/x.js?y=%20 -", f"{path} {user}".encode()) + b"\n"
        assert left(BUILT_IN, line, log_format) == number


REST = [
    pytest.param(Rule("all", "block"), 2, id="everybody"),
    pytest.param(Rule("all", "allow"), 0, id="nobody"),
    pytest.param(Rule("one", "block", clients=((4, 0xC0000201, 0xC0000201),)), 1, id="a client"),
    pytest.param(Rule("one", "monitor", users=frozenset({"ann"})), 1, id="a user"),
    pytest.param(Rule("one", "block", sites=("com",)), 0, id="a site"),
    pytest.param(Rule("one", "block", sites=("expression",)), 2, id="an expression"),
    pytest.param(Rule("one", "block", user_agents=("MSIE",)), 0, id="a user agent"),
]


@pytest.mark.parametrize(("rule", "number"), REST)
def test_what_a_rule_may_hold_for_goes_line_by_line(rule: Rule, number: int) -> None:
    lines = (
        PLAIN % (NOON, 1)
        + b"\n"
        + (PLAIN % (NOON, 2)).replace(b"192.0.2.1 ", b"192.0.2.2 ").replace(b" - ", b" bob ")
        + b"\n"
    )
    assert left(program(rule), lines.replace(b" - HIER", b" ann HIER"), SQUID) == number


def test_lists_of_urls_are_asked_for_their_hosts_only() -> None:
    sites = {"own": SiteList("own", urls=("www.example.org/chat",))}
    policy = Policy("policy.toml", (Rule("own", "block", sites=("own",)),), sites=sites)
    own = compile_policy(policy, CATALOGUE)
    block = PLAIN % (NOON, 1) + b"\n" + (PLAIN % (NOON, 1)).replace(b"example.org", b"example.net") + b"\n"
    assert left(own, block, SQUID) == 1


# ---- parts ----------------------------------------------------------------------------------------------------------

hosts = st.sampled_from(HOSTS) | st.from_regex(r"[0-9A-Za-z.:_-]{1,30}", fullmatch=True)


def host_and_port(parse: Callable[[str], object], text: str) -> object:
    try:
        found = parse(text)
    except ImhelperError:
        return None
    return found.host, found.port  # type: ignore[attr-defined]


@settings(max_examples=500)
@given(hosts)
def test_a_host_is_read_as_it_would_be_in_each_place(text: str) -> None:
    read = {(own.host, own.port) for own in read_targets(text.encode())}
    asked = [(parse_connect, text), (parse_squid_url, f"http://{text}/a?b"), (parse_squid_url, f"https://{text}/")]
    each = {host_and_port(parse, way) for parse, way in asked}
    assert not read or each <= read | {None}


@pytest.mark.parametrize(
    ("value", "who"),
    [
        (b"192.0.2.1 TCP_MISS/200", ("192.0.2.1", "192.0.2.1", False, "")),
        (b"::ffff:192.0.2.1 TCP_DENIED/403", ("192.0.2.1", "192.0.2.1", True, "")),
        (b"pc7 TCP_MISS/407", ("pc7", None, False, "client_name")),
        (b"- NONE/000", ("-", None, False, "client")),
        (b"n" * 256 + b" TCP_DENIED/407", ("n" * SHOWN, None, True, "client_name")),
    ],
)
def test_who_asked(value: bytes, who: tuple[object, ...]) -> None:
    found = read_who(value)
    assert (found.shown, found.address, found.denied, found.gap) == who


def test_what_is_remembered_of_a_host_holds_for_clients_that_are_alike() -> None:
    some = Rule("some", "block", services=frozenset(CATALOGUE.services), clients=((4, 0xC0000200, 0xC000027F),))
    counter = Counter(program(some), None, NOW)
    form = b"%d.000 0 %s 1 CONNECT web.whatsapp.com:443 - HIER_NONE/- -\n"
    known = [b"192.0.2.1 TCP_MISS/200", b"192.0.2.2 TCP_MISS/200", b"192.0.2.2 TCP_DENIED/403"]
    others = [b"192.0.2.200 TCP_MISS/200", b"pc7 TCP_MISS/200", b"- TCP_MISS/200"]
    tally = counter.count(b"".join(form % (NOON, who) for who in known + others + known), SQUID, "a", 0)
    assert tally.outcomes["blocked"].by_client == {"192.0.2.1": 2, "192.0.2.2": 2}
    assert tally.outcomes["denied"].by_client == {"192.0.2.2": 2}
    assert tally.by_client == {"192.0.2.1": 2, "192.0.2.2": 4, "192.0.2.200": 1, "pc7": 1, "-": 1}
    assert (tally.denied, tally.gaps["client"], tally.gaps["client_name"]) == (2, 1, 1)


def test_what_is_remembered_of_a_host_holds_while_the_same_rules_apply() -> None:
    own = program(Rule("day", "block", services=frozenset(CATALOGUE.services), schedules=("day",)))
    counter = Counter(own, None, NOW)
    form = b"%d.000 0 192.0.2.1 TCP_MISS/200 1 GET http://web.whatsapp.com/%d - HIER_NONE/- -\n"
    block = b"".join(form % (NOON + hours * 3600, hours) for hours in (0, 1, 12, 0, 12, 13, 0, 1))
    blocked = counter.count(block, SQUID, "a", 0).outcomes["blocked"]
    assert blocked.total == 5
    [row] = blocked.rows.values()
    assert (row.url, row.count) == ("http://web.whatsapp.com/0", 5)
    later = counter.count(form % (NOON + 3600, 77), SQUID, "a", 8).outcomes["blocked"]
    assert [own.url for own in later.rows.values()] == ["http://web.whatsapp.com/77"]
