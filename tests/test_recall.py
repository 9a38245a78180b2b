"""Memory changes no answer: what a helper remembers, whatever it was asked before, is what it would find out again.

A helper that lives through several batches, times and policies is held against one that takes each line by itself and
remembers nothing: byte for byte, with what they count and what they log.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace

import pytest
from arbitrary import CATALOGUE, NOON, helper_policies, times
from helping import Fixed, ListSink, QuietNotices
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lines import ASKINGS, PATTERNS, QUERIES, Asking, Part, blocks, paths_around, written

from squid_imhelper.base.addresses import merge, parse_interval
from squid_imhelper.base.memo import LONGEST
from squid_imhelper.base.model import FLAGS, Policy, Response, Rule, SiteList
from squid_imhelper.helper import answering, recall
from squid_imhelper.helper.answering import Helper, Options
from squid_imhelper.helper.counters import Counters
from squid_imhelper.matching.engine import Engine, open_sites
from squid_imhelper.matching.expressions import Unlimited
from squid_imhelper.matching.matcher import Matcher
from squid_imhelper.matching.program import Program
from squid_imhelper.sources.compiler import compile_policy
from squid_imhelper.squid.wire import MAX_LINE, LineBuffer

askings = pytest.mark.parametrize("asking", ASKINGS.values(), ids=ASKINGS.keys())


@contextmanager
def at(now: float) -> Iterator[None]:
    """Lets it be another time for whoever answers."""
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(time=lambda: now, perf_counter=time.perf_counter)
        patch.setattr(answering, "time", clock)
        yield


def engine_of(program: Program, matcher: Matcher) -> Engine:
    """An engine that knows nothing yet, and gives expressions the time that they need."""
    return Engine(program, matcher, open_sites(program, Unlimited()))


@dataclass
class Seen:
    """What is seen of a helper."""

    helper: Helper
    source: Fixed
    counters: Counters
    sink: ListSink | None

    def all_but_answers(self) -> tuple[object, ...]:
        return self.counters.decisions, self.counters.errors, self.counters.requests, self.sink and self.sink.lines


@dataclass
class Twins:
    """A helper that remembers, and one that does not."""

    asking: Asking
    audited: bool = False
    options: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.remembers = self._make()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(answering, "rows_of", lambda *_, **__: None)
            self.forgets = self._make()
        self._engines: dict[int, tuple[Program, Matcher, Engine]] = {}

    def _make(self) -> Seen:
        interface, text, channels, intercepted = self.asking
        source, counters, sink = Fixed(None), Counters(), ListSink() if self.audited else None
        options = Options(interface.parse_layout(text), channels, intercepted, **self.options)  # type: ignore[arg-type]
        return Seen(Helper(interface, source, options, QuietNotices(), counters, sink), source, counters, sink)

    def ask(self, program: Program, block: bytes, now: float) -> bytes:
        """Asks both, the one that forgets with an engine that has never been asked; returns what both say."""
        if id(program) not in self._engines:
            matcher = Matcher(program)
            self._engines[id(program)] = program, matcher, engine_of(program, matcher)
        _, matcher, engine = self._engines[id(program)]
        self.remembers.source.engine = engine
        self.forgets.source.engine = engine_of(program, matcher)
        with at(now):
            remembered, found = (seen.helper.answer_all(block) for seen in (self.remembers, self.forgets))
        for seen in (self.remembers, self.forgets):
            seen.helper.write_audit()
        for line, one, other in zip(block.splitlines(), remembered.splitlines(), found.splitlines(), strict=False):
            assert one == other, f"{line!r}: {one!r}, not {other!r}"
        assert remembered == found
        assert self.remembers.all_but_answers() == self.forgets.all_but_answers()
        return remembered


def program_of(*rules: Rule, sites: tuple[SiteList, ...] = (), **response: object) -> Program:
    policy = Policy("policy.toml", rules, Response(**response), sites={own.name: own for own in sites})  # type: ignore[arg-type]
    return compile_policy(policy, CATALOGUE)


ALL = Rule("all", "block", services=frozenset(CATALOGUE.services))

# ---- anything -------------------------------------------------------------------------------------------------------

programs = helper_policies().map(lambda policy: compile_policy(policy, CATALOGUE))
instants = st.builds(float.__add__, times, st.sampled_from([0.0, 0.0, 0.4, 0.9, 1.0, 2.5, 61.0]))
usual = settings(max_examples=40, phases=set(Phase) - {Phase.explain}, suppress_health_check=list(HealthCheck))


def converse(twins: Twins, data: st.DataObject, most: int = 6) -> None:
    """Several batches, whose lines come again, at times that go on and back, under one of two policies."""
    several = data.draw(st.lists(programs, min_size=1, max_size=2), label="programs")
    lines: list[bytes] = []
    for step in range(data.draw(st.integers(1, most), label="batches")):
        new = data.draw(blocks(twins.asking), label=f"block {step}")
        again = data.draw(st.integers(0, 2), label="again")
        lines = [*new, *lines] if again == 0 else [*lines, *new, *lines] if again == 1 else new
        program = several[data.draw(st.integers(0, len(several) - 1), label="program")]
        twins.ask(program, b"".join(line + b"\n" for line in lines), data.draw(instants, label="now"))


@askings
@usual
@given(data=st.data(), audited=st.booleans(), dry_run=st.sampled_from([False, False, True]))
def test_what_is_remembered_is_what_would_be_found(
    asking: Asking, data: st.DataObject, audited: bool, dry_run: bool
) -> None:
    on_error = data.draw(st.sampled_from([None, "allow", "block"]))
    converse(Twins(asking, audited, {"dry_run": dry_run, "on_error": on_error}), data)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("asking", [ASKINGS["default"], ASKINGS["intercepted"], ASKINGS["rewriter"]], ids=str)
@usual
@given(data=st.data())
def test_who_forgets_all_the_time_says_the_same(asking: Asking, size: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "ENTRIES", size)
        patch.setattr(recall, "PLACES", size)
        converse(Twins(asking), data)


@pytest.mark.parametrize("asking", [ASKINGS["default"], ASKINGS["no channels"], ASKINGS["rewriter"]], ids=str)
@usual
@given(data=st.data())
def test_wherever_a_block_is_cut_the_answers_are_the_same(asking: Asking, data: st.DataObject) -> None:
    program = data.draw(programs)
    sent = b"".join(line + b"\n" for line in data.draw(blocks(asking)) * 2)
    cuts = data.draw(
        st.one_of(
            st.just(range(len(sent) + 1)),
            st.lists(st.integers(0, len(sent)), max_size=20).map(lambda found: [0, *sorted(found), len(sent)]),
        )
    )
    whole, pieces, buffer = Twins(asking), Twins(asking), LineBuffer()
    expected = whole.ask(program, sent, NOON)
    answers = []
    for start, end in itertools.pairwise(cuts):
        if block := buffer.feed(sent[start:end]):
            answers.append(pieces.ask(program, block, NOON))
    assert b"".join(answers) == expected
    assert pieces.remembers.counters.decisions == whole.remembers.counters.decisions


# ---- what could be taken for something else -------------------------------------------------------------------------

COM = SiteList("com", domains=("com",))
MIXED = SiteList("mixed", domains=("com",), ports=(443,))
CHAT = SiteList("chat", regex=("chat",))
PATHS = SiteList("paths", urls=("nobody.test/aaaaaaa/x",))
ONLY_COM = (Rule("ok", "allow", sites=("com",)), Rule("rest", "block"))
PLAIN = Asking(ASKINGS["default"].interface, "%#>ru", channels=False)
RAW = PLAIN._replace(fields="%>ru")
NAMED = PLAIN._replace(fields="%#>ru %#ssl::>sni")
NAMED_BEFORE = PLAIN._replace(fields="%#ssl::>sni %#>ru")
METHOD = PLAIN._replace(fields="%>rm %#>ru")
LEGACY = (*(Rule("old", "block", services=frozenset(CATALOGUE.services), include=frozenset(FLAGS)),),)
GATEWAY = b"/gateway/gateway.dll?Action=open"


@pytest.mark.parametrize(
    ("asking", "rules", "sites", "first", "second"),
    [
        pytest.param(NAMED, ONLY_COM, (COM,), b"203.0.113.9:443 y.com", b"server1:443 y.com", id="address, name"),
        pytest.param(
            NAMED, ONLY_COM, (COM,), b"203.0.113.9:5190 y.com", b"nobody.test:5190 y.com", id="address, name, port"
        ),
        pytest.param(NAMED, ONLY_COM, (COM,), b"a.com:443 -", b"a.com:443 probe.invalid", id="the name of a probe"),
        pytest.param(NAMED, ONLY_COM, (COM,), b"a.com:443 -", b"a.com:443 PROBE.invalid.", id="the same, spelt so"),
        pytest.param(NAMED, ONLY_COM, (COM,), b"a.com:443 -", b"a.com:443 %70robe.invalid", id="the same, escaped"),
        pytest.param(NAMED_BEFORE, ONLY_COM, (COM,), b"- a.com:443", b"probe.invalid a.com:443", id="in front"),
        pytest.param(
            NAMED,
            (Rule("ok", "allow", sites=("mixed",)), Rule("rest", "block")),
            (MIXED,),
            b"a.com:443 y.org",
            b"a.com:8443 y.org",
            id="a list of domains and ports",
        ),
        pytest.param(NAMED, ONLY_COM, (COM,), b"a.com:443 y.org", b"a.com:443 203.0.113.9", id="an SNI that is none"),
        pytest.param(METHOD, (ALL,), (), b"GET http://slack.com/", b"CONNECT http://slack.com/", id="CONNECT to a URL"),
        pytest.param(
            METHOD,
            (ALL,),
            (),
            b"CONNECT http://nobody.test/aaaaaaa",
            b"CONNECT http://nobody.test/aaaaaaa.slack.com:443",
            id="CONNECT to a host that looks like a URL",
        ),
        pytest.param(
            PLAIN._replace(fields="%#>ru %>rm"),
            (ALL,),
            (),
            b"http://nobody.test/aaaaaaa CONNECT",
            b"http://nobody.test/aaaaaaa.slack.com:443 CONNECT",
            id="the same, CONNECT behind",
        ),
        pytest.param(PLAIN, (ALL,), (), b"nobody.test:5190", b"nobody.test:1863", id="ports of two services"),
        pytest.param(METHOD, (ALL,), (), b"GET slack.com:443", b"CONNECT slack.com:443", id="GET of a tunnel"),
        pytest.param(
            METHOD,
            (Rule("chat", "block", sites=("paths",)),),
            (PATHS,),
            b"CONNECT http://nobody.test/aaaaaaa/x",
            b"GET http://nobody.test/aaaaaaa/x",
            id="the URL of a CONNECT",
        ),
        *(
            pytest.param(
                asking, LEGACY, (), b"http://a.test/aaaaaaa", b"http://a.test/aaaaaaa/" + turn + GATEWAY, id=name
            )
            for asking, turn, name in [
                (PLAIN, b"..", "dots"),
                (PLAIN, b".%252e", "a dot escaped"),
                (PLAIN, b"%252E%252e", "dots escaped"),
                (PLAIN, b".%2E", "a dot that Squid never escapes"),
                (PLAIN, b".%09.", "a tab between"),
                (PLAIN, b"%0D%2e%0A%252e", "all of it"),
                (RAW, b"%2e%2E", "dots as the client escaped them"),
                (RAW, b".%2e", "one dot as the client escaped it"),
            ]
        ),
        pytest.param(
            PLAIN, LEGACY, (), b"http://a.test/", b"http://a.test/%0Agateway/gateway.dll?Action=open", id="LF"
        ),
        pytest.param(PLAIN, LEGACY, (), b"http://a.test/x", b"http://a.test//gateway/gateway.dll?Action=open", id="//"),
        pytest.param(
            PLAIN, LEGACY, (), b"http://a.test/gateway", b"http://a.test/GATEWAY/gateway.dll?Action=open", id="capitals"
        ),
        pytest.param(
            PLAIN, LEGACY, (), b"http://a.test/monitorx", b"http://a.test/monitor#?sid=" + b"0af9" * 8, id="a fragment"
        ),
        pytest.param(
            PLAIN, LEGACY, (), b"http://a.test/data", b"http://a.test/data?sid=" + b"0" * 32 + b"&seq=1", id="?"
        ),
        *(
            pytest.param(
                PLAIN,
                (Rule("c", "block", sites=("chat",)),),
                (CHAT,),
                b"http://a.test/aaaaaaa?x",
                b"http://" + url,
                id=name,
            )
            for url, name in [
                (b"a.test/aaaaaaa?chat", "a literal in the query"),
                (b"a.test/aaaaaaa?CHAT", "one in capitals"),
                (b"a.test/aaaaaaa?%63hat", "one that is escaped"),
                (b"a.test/aaaaaaa/cha%2574", "one in an escaped path"),
                (b"a.test/aaaaaaa?ch%09at", "one with a tab in it"),
                (b"chat.test/aaaaaaa?x", "one in the host"),
                (b"a.test/ch/./at", "none for all its dots"),
            ]
        ),
        pytest.param(
            PLAIN._replace(fields="%#>ru %>a %un"),
            (ALL,),
            (),
            b"http://a.test/ - -",
            b"http://a.test/ b - -",
            id="blanks",
        ),
        pytest.param(
            PLAIN._replace(interface=ASKINGS["rewriter"].interface, fields="%>a"),
            LEGACY,
            (),
            b"http://a.test/aaaaaaa/x -",
            b"http://a.test/aaaaaaa/x /../.." + GATEWAY + b" -",
            id="a URL with blanks",
        ),
        pytest.param(
            PLAIN._replace(interface=ASKINGS["rewriter"].interface, fields="%>a %DATA"),
            LEGACY,
            (),
            b"http://a.test/aaaaaaa x -",
            b"http://a.test/aaaaaaa /../.." + GATEWAY + b" -",
            id="extras with arguments",
        ),
    ],
)
@pytest.mark.parametrize("times", [1, 20], ids=["few", "many"])
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_what_looks_alike(
    asking: Asking,
    rules: tuple[Rule, ...],
    sites: tuple[SiteList, ...],
    first: bytes,
    second: bytes,
    turned: bool,
    times: int,
) -> None:
    """The second line is answered by itself, though the first one is known, and the other way round."""
    if asking.interface is ASKINGS["default"].interface:
        first, second = first + b" -", second + b" -"
    twins, program = Twins(asking), program_of(*rules, sites=sites)
    one, other = (second, first) if turned else (first, second)
    twins.ask(program, (one + b"\n") * times, NOON)
    for _ in range(2):
        twins.ask(program, (one + b"\n") * times + (other + b"\n") * times, NOON)


def test_the_time_in_a_message_is_that_of_the_line() -> None:
    """Within a second it is remembered; and a clock may be put back."""
    twins, program = Twins(PLAIN), program_of(Rule("rest", "block"), message="{time}")
    seen = {}
    for now in (
        NOON,
        NOON + 0.5,
        NOON + 5.2,
        NOON + 5.9,
        NOON + 6,
        NOON + 2,
        NOON + 5.2,
        NOON - 9,
        NOON - 8.5,
        NOON + 86_400,
    ):
        seen[int(now)] = twins.ask(program, b"http://a.test/ -\n" * 2, now)
    assert len(set(seen.values())) == len(seen), "the second is shown"


@pytest.mark.parametrize("template", ["{host}", "{service_name}", "{client}", "{url}", "{rule}", "{service}", "{time}"])
@pytest.mark.parametrize("command", ["default", "rewriter"])
def test_what_an_answer_shows_is_of_its_own_line(command: str, template: str) -> None:
    redirect = f"http://blocked.invalid/?x={template}"
    program = program_of(ALL, Rule("rest", "block"), message=template, redirect=redirect)
    twins = Twins(ASKINGS[command])
    fronts = (b"7 10.0.0.%d GET " % n if command == "default" else b"7 " for n in itertools.cycle([1, 2, 3]))
    end = b" - - -\n" if command == "default" else b" 10.0.0.9/- - GET myip=- myport=-\n"
    hosts = [b"a.test", b"b.test", b"slack.com", b"SLACK.com", b"a.slack.com", b"203.0.113.9", b"203.0.113.8"]
    block = b"".join(
        front + b"http://" + host + b"/aaaaaaa" + end for front, host in zip(fronts, hosts * 3, strict=False)
    )
    twins.ask(program, block, NOON)
    twins.ask(program, block, NOON + 0.5)


def test_a_policy_that_is_replaced_is_forgotten() -> None:
    twins = Twins(PLAIN)
    one, other = program_of(Rule("rest", "block")), program_of()
    answers = [twins.ask(program, b"http://a.test/ -\n" * 3, NOON) for program in (one, other, one)]
    assert answers[0] == answers[2] != answers[1]


@pytest.mark.parametrize("length", [LONGEST - 30, LONGEST, LONGEST + 30, 5000, MAX_LINE])
def test_long_parts_are_answered_like_short_ones(length: int) -> None:
    program = program_of(ALL, Rule("rest", "block"), message="{url}")
    asking = ASKINGS["users"]
    long = b"x" * length
    block = b"".join(
        line[:MAX_LINE] + b"\n"
        for line in (
            b"7 10.0.0.1 GET http://a.test/ " + long + b" - - -",
            b"7 10.0.0.1 GET http://" + long + b".test/ - - - -",
            b"7 10.0.0.1 GET http://a.test/" + long + b" - - - -",
            b"7 10.0.0.1 GET http://a.test/aaaaaaa/" + long + b"/../../gateway/gateway.dll - - - -",
            b"7 10.0.0.1 " + long + b" http://a.test/ - - - -",
            b"7 10.0.0.1 GET http://a.test/ - - - " + long,
            b"7 " + long,
        )
    )
    twins = Twins(asking)
    twins.ask(program, block * 2, NOON)
    twins.ask(program, block[::-1].replace(b"\n", b"", 1) + b"\n", NOON)


def test_a_batch_in_which_nothing_repeats_is_answered_too() -> None:
    """More hosts, clients and agents than are remembered, and more traits."""
    lists = SiteList("com", domains=("com",))
    program = program_of(Rule("com", "block", sites=("com",)), sites=(lists,), message="{host}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "ENTRIES", 50)
        patch.setattr(recall, "PLACES", 50)
        twins = Twins(ASKINGS["default"])
        lines = [b"7 10.0.0.%d GET http://h%d.com/%d Mozilla/%d - -\n" % (n % 99, n, n, n) for n in range(400)]
        twins.ask(program, b"".join(lines), NOON)
        twins.ask(program, b"".join(lines[::-1]), NOON)
        for line in lines[:200]:
            twins.ask(program, line, NOON)


def test_clients_are_told_apart_by_the_rules_that_name_them() -> None:
    clients = merge(parse_interval(word)[0] for word in ("192.0.2.0/25",))
    rules = (Rule("c", "block", clients=clients), Rule("u", "block", users=frozenset(["ann"])))
    program = program_of(*rules, Rule("a", "block", user_agents=("MSIE",)))
    block = b"".join(
        b"7 %b GET http://a.test/ %b - %b -\n" % (client, agent, user)
        for client in (b"192.0.2.1", b"192.0.2.200", b"-", b"2001:db8::1")
        for agent in (b"-", b"x", b"MSIE", b"%4DSIE")
        for user in (b"-", b"ann", b"bob", b"%61nn")
    )
    Twins(ASKINGS["users"]).ask(program, block * 2, NOON)


@pytest.mark.parametrize("logged", [(7, 8), (8, 16, 40), (3, 64, 65, 130), tuple(range(0, 200, 7))], ids=str)
def test_the_log_has_the_order_of_the_lines(logged: tuple[int, ...]) -> None:
    """Whatever was remembered, and so answered first."""
    twins, program = Twins(ASKINGS["default"], audited=True), program_of(ALL)
    lines = [
        b"7 10.0.0.1 GET http://%b/%d - - -\n" % (b"slack.com" if n in logged else b"a.test", n) for n in range(200)
    ]
    twins.ask(program, b"".join(lines), NOON)
    twins.ask(program, b"".join(lines), NOON)
    assert len(twins.forgets.sink.lines) == 2 * len(logged)


@pytest.mark.parametrize("times", [1, 20], ids=["few", "many"])
def test_an_argument_is_part_of_the_question(times: int) -> None:
    twins, program = Twins(ASKINGS["default"]), program_of(ALL)
    lines = [
        b"7 10.0.0.1 GET http://slack.com/ - - %b\n" % word for word in (b"-", b"slack", b"whatsapp", b"", b"no-such")
    ]
    for order in (lines, lines[::-1]):
        for line in order:
            twins.ask(program, lines[0] * times + line * times, NOON)


@pytest.mark.parametrize("times", [1, 20], ids=["few", "many"])
def test_rules_begin_and_end_to_the_instant(times: int) -> None:
    """Also those that concern what nobody would remark."""
    rest = Rule("rest", "block", start=NOON, end=NOON + 10)
    twins, program = Twins(ASKINGS["default"]), program_of(rest)
    seen = [
        twins.ask(program, b"7 10.0.0.1 GET http://a.test/aaaaaaa - - -\n" * times, now).startswith(b"7 OK")
        for now in (NOON - 1, NOON, NOON + 9.9, NOON + 10, NOON + 5, NOON - 0.1, NOON + 20, NOON + 0.1)
    ]
    assert seen == [False, True, True, False, True, False, False, True]


@pytest.mark.parametrize("times", [1, 20], ids=["few", "many"])
@pytest.mark.parametrize("asking", [ASKINGS["users"], ASKINGS["composite words"]], ids=["apart", "together"])
def test_a_rule_may_ask_for_what_stands_on_both_sides_of_a_url(asking: Asking, times: int) -> None:
    clients = merge([parse_interval("192.0.2.1")[0]])
    rule = Rule("both", "block", clients=clients, users=frozenset(["ann"]), except_sites=("com",))
    twins, program = Twins(asking), program_of(rule, sites=(COM,))
    if asking is ASKINGS["users"]:
        form = b"7 %b GET http://a.test/aaaaaaa - - %b -\n"
    else:
        form = b"7 ip=%b GET/%b http://a.test/aaaaaaa ua=- -\n"
    lines = [form % (client, user) for client in (b"192.0.2.1", b"192.0.2.2", b"-") for user in (b"ann", b"bob", b"-")]
    for order in (lines, lines[::-1]):
        twins.ask(program, b"".join(line * times for line in order), NOON)


# ---- URLs of messengers ---------------------------------------------------------------------------------------------

URLS = [signature.url for service in CATALOGUE.services.values() for signature in service.signatures if signature.url]
BOUND = sorted({url.host or url.domain for url in URLS} - {""})
METHODS = (b"GET", b"POST", b"CONNECT", b"get", b"-")
URL_ASKINGS = (
    "default",
    "URLs as they are",
    "method behind",
    "URLs only",
    "names in front",
    "rewriter",
    "other extras",
)


def urls_of(chooser: Random) -> list[bytes]:
    """URLs of few hosts and few paths, so that each path is asked for on hosts to which it is bound and on others."""
    known = chooser.sample(BOUND, 2)
    hosts = [*known, f"www.{known[0]}", known[1].upper(), "nobody.test", "slack.com", "149.154.167.99"]
    places = [f"{scheme}://{host}".encode() for host in hosts for scheme in ("http", "https")]
    places += [b"http://" + known[0].encode() + b":8080", b"http://nobody.test:5190"]
    own = [url.path for url in URLS if (url.host or url.domain) in {*known, ""}]
    near = [path for own_path in chooser.sample([*own, *PATTERNS], 3) for path in paths_around(own_path.encode())[3:]]
    ends = [*chooser.sample(near, 8), *(path.encode() for path in chooser.sample(own, 3)), b"/aaaaaaa", b""]
    queries = [query.encode() for query in chooser.sample(QUERIES, 4)]
    return [chooser.choice(places) + chooser.choice(ends) + chooser.choice(queries) for _ in range(40)]


def line_for(asking: Asking, url: bytes, method: bytes, **parts: bytes) -> bytes:
    return written(asking, b"7", {"arguments": b"-", "method": method, **parts}, Part(url, tunnel=False)) + b"\n"


@pytest.mark.parametrize("name", URL_ASKINGS)
@settings(usual, max_examples=60)
@given(chooser=st.randoms(use_true_random=True), most=st.sampled_from([3, 60]), strict=st.booleans())
def test_urls_of_messengers_are_known_by_their_path(name: str, chooser: Random, most: int, strict: bool) -> None:
    """In batches of a few lines and of many, and over and over again."""
    asking = ASKINGS[name]
    program = program_of(*(LEGACY if strict else (ALL,)), message="{host} {service} {rule}")
    twins, urls = Twins(asking), urls_of(chooser)
    lines = [
        line_for(asking, url, chooser.choice(METHODS[:3]), sni=chooser.choice([b"-", b"-", b"y.com", b"facebook.com"]))
        for url in urls * 2
    ]
    for _ in range(2):
        for several in itertools.zip_longest(*[iter(lines)] * most, fillvalue=b""):
            twins.ask(program, b"".join(several), NOON)
        chooser.shuffle(lines)


@pytest.mark.parametrize("name", URL_ASKINGS)
@pytest.mark.parametrize("most", [1, 200])
def test_every_url_of_a_messenger_is_told_from_what_is_nearly_it(name: str, most: int) -> None:
    """All that the catalogue knows, with and without what its query and its method must be."""
    asking, program = ASKINGS[name], program_of(*LEGACY)
    ends = ("?Action=open", "?SessionID=1.2", "?sid=" + "0af9" * 8, "?sid=" + "0af9" * 8 + "&seq=7", "", "/x", "x")
    lines = [
        line_for(asking, f"http://{host}{path}{end}".encode(), method)
        for url in URLS
        for host in (url.host or url.domain or "nobody.test", "other.test")
        for path in (url.path, url.path.upper())
        for end in (*(ends if not url.bound else ("", "x")), "?aimsid=1&fmnumber=2&src=ymsgr")
        for method in METHODS[:3]
    ]
    twins = Twins(asking)
    for _ in range(2):
        for start in range(0, len(lines), most):
            twins.ask(program, b"".join(lines[start : start + most]), NOON)
        lines.reverse()
    assert twins.forgets.counters.decisions_of("block", "messenger", "old")[0], "some of them are blocked"


@pytest.mark.parametrize("times", [1, 2, recall.FEW, 20])
@pytest.mark.parametrize("fields", ["%>rm %#>ru", "%#>ru %>rm", "%>rm %>a %#>ru", "%#>ru"])
def test_connect_to_a_url_is_not_taken_for_what_it_looks_like(fields: str, times: int) -> None:
    """Squid never writes it; its host is read otherwise."""
    asking = PLAIN._replace(fields=fields)
    urls = (
        b"http://nobody.test/aaaaaaa", b"http://slack.com/", b"http://slack.com/aaaaaaa", b"nobody.test:443",
        b"slack.com:443", b"http://nobody.test/aaaaaaa.slack.com:443", b"http://a.test" + GATEWAY,
        b"http://www.facebook.com/messages",
    )  # fmt: skip
    for first, second in itertools.permutations(itertools.product(urls[:5], (b"GET", b"CONNECT")), 2):
        twins, program = Twins(asking), program_of(ALL)
        one, other = (line_for(asking, *found) for found in (first, second))
        twins.ask(program, one * times + other * times, NOON)
    twins, program = Twins(asking), program_of(*LEGACY)
    lines = [line_for(asking, url, method) * times for url in urls for method in METHODS]
    for order in (lines, lines[::-1]):
        for block in (*order, b"".join(order)):
            twins.ask(program, block, NOON)


@pytest.mark.parametrize("times", [1, 20], ids=["few", "many"])
def test_a_user_agent_of_a_rule_is_never_quiet(times: int) -> None:
    """Neither known nor new, nor beside what is quiet."""
    twins, program = Twins(ASKINGS["default"]), program_of(Rule("a", "block", user_agents=("MSIE", "Opera")))
    agents = (b"-", b"Mozilla", b"MSIE", b"x%20MSIE%206", b"%4DSIE", b"msie", b"Opera", b"Oper", b"MSI", b"Mozilla")
    lines = [b"7 10.0.0.1 GET http://a.test/aaaaaaa %b - -\n" % agent for agent in agents]
    for order in (lines, lines[::-1], lines):
        twins.ask(program, b"".join(line * times for line in order), NOON)
    assert twins.forgets.counters.decisions_of("block", None, "a")[0] == 3 * times * 4


def test_what_is_forgotten_is_forgotten_for_good() -> None:
    """Texts that were quiet, too: where a memo is full there is no trait for them, and no answer without one."""
    quiet = recall.Memo(2, int, lambda trait: trait == 0)
    for text in (b"0", b"00"):
        quiet.learn(text)
    assert quiet.quiet == {b"0", b"00"} == set(quiet.traits)
    quiet.learn(b"1")
    assert (quiet.quiet, quiet.traits) == (set(), {b"1": 1})
    quiet.learn(b"000")
    assert quiet.quiet == {b"000"}
    quiet.forget()
    assert not quiet.quiet
    assert not quiet.traits


@pytest.mark.parametrize("size", [1, 3])
def test_no_memo_outgrows_its_size(size: int) -> None:
    memo = recall.Memo(size, len, lambda trait: trait % 2 == 0)
    for n in range(20):
        memo.learn(b"x" * n)
        assert len(memo.traits) <= size
        assert memo.quiet <= set(memo.traits)
    assert memo.learn(b"x" * (LONGEST + 1)) is None
    assert b"x" * (LONGEST + 1) not in memo.traits
