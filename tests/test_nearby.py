"""Near misses: each kind, why it is none, and what is too far to be near."""

from datetime import UTC, datetime

import pytest
from arbitrary import CATALOGUE, questions
from hypothesis import given, settings

from squid_imhelper.base.model import Circumstances, Policy, Rule
from squid_imhelper.matching.matcher import Matcher
from squid_imhelper.offline import nearby
from squid_imhelper.offline.check import build_request
from squid_imhelper.offline.nearby import LOOSENINGS, Nearby
from squid_imhelper.sources.compiler import compile_policy

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC).timestamp()
PROGRAM = compile_policy(Policy("p", ()), CATALOGUE)
NEARBY = Nearby(PROGRAM, CATALOGUE)
MATCHER = Matcher(PROGRAM)

GATEWAY_PATH = "/gateway/gateway.dll"
GATEWAY = f"http://192.0.2.9{GATEWAY_PATH}"

CASES = [
    # names
    pytest.param(
        "http://core.telegram.org/",
        {},
        ["telegram domain telegram.org: core.telegram.org is an exception of telegram"],
        id="exception",
    ),
    pytest.param(
        "http://a.whatsapp.fbsbx.com/",
        {},
        ["whatsapp host whatsapp.fbsbx.com: it stands for this very host, and not for what is below it"],
        id="below an exact host",
    ),
    pytest.param(
        "http://notmeebo.com/",
        {},
        ["meebo domain meebo.com: notmeebo.com ends in it in the middle of a label"],
        id="ends in the middle of a label",
    ),
    pytest.param(
        "http://www.not-meebo.com/",
        {},
        ["meebo domain meebo.com: www.not-meebo.com ends in it in the middle of a label"],
        id="a hyphen is no boundary",
    ),
    pytest.param(
        "http://meebo.com.evil.example/",
        {},
        ["meebo domain meebo.com: it is in meebo.com.evil.example, but not at its end"],
        id="not at the end",
    ),
    pytest.param(
        "http://www.meebo.com.evil.example/",
        {},
        ["meebo domain meebo.com: it is in www.meebo.com.evil.example, but not at its end"],
        id="a sub-domain, not at the end",
    ),
    pytest.param(
        "http://search.example/?q=http%3A%2F%2FWWW.Meebo.com%2F",
        {},
        ["meebo domain meebo.com: www.meebo.com stands in the query, and only the host is compared"],
        id="query",
    ),
    pytest.param(
        "http://archive.example/http:/meebo.com/x",
        {},
        ["meebo domain meebo.com: meebo.com stands in the path, and only the host is compared"],
        id="path",
    ),
    pytest.param("http://meebo.example/", {}, [], id="another top-level domain is far"),
    pytest.param("http://search.example/?q=notmeebo.com", {}, [], id="two things"),
    # URLs
    pytest.param(
        "https://www.facebook.com/messagesx",
        {},
        ["messenger url facebook.com/messages: the host fits; the path is /messagesx, and not at or below /messages"],
        id="the host fits and the path does not",
    ),
    pytest.param(
        "http://notmeebo.com/mcmd",
        {},
        ["meebo domain meebo.com: notmeebo.com ends in it in the middle of a label"],
        id="of several reasons the nearest",
    ),
    pytest.param(
        "http://a.test/ajax/chat/x",
        {},
        ["messenger url facebook.com/ajax/chat: the path fits; the host is a.test, and not facebook.com or below it"],
        id="the path fits and the host does not",
    ),
    pytest.param(
        "https://www.facebook.com/Messages",
        {},
        ["messenger url facebook.com/messages: the path is there in another case"],
        id="path in another case",
    ),
    pytest.param(
        f"{GATEWAY}?Action=close",
        {},
        [f"msn_messenger url {GATEWAY_PATH}: the path fits; in the query there is no (^|&)Action=(open|poll)(&|$)"],
        id="query does not fit",
    ),
    pytest.param(
        f"{GATEWAY}?Action=poll",
        {"method": "GET"},
        ["msn_messenger url /gateway/gateway.dll: the URL fits; the method is GET, and not POST"],
        id="method does not fit",
    ),
    pytest.param(f"{GATEWAY}?Action=close", {"method": "GET"}, [], id="neither query nor method"),
    pytest.param(
        "www.facebook.com:443",
        {"method": "CONNECT"},
        ["messenger url facebook.com/messages: the host fits; of a tunnel no path is seen, and it asks for /messages"],
        id="a tunnel has no path",
    ),
    pytest.param("http://192.0.2.9/api", {"method": "POST"}, [], id="a path that is bound to networks says nothing"),
    # headers
    pytest.param(
        "http://a.example/",
        {"user_agent": "telegram/1"},
        ["telegram user_agent Telegram/: in the user agent it is there in another case"],
        id="agent in another case",
    ),
    pytest.param(
        "http://a.example/",
        {"user_agent": "MySlack/1"},
        ["slack user_agent Slack/: in the user agent it is not where it has to be"],
        id="agent not at a word's beginning",
    ),
    pytest.param(
        "http://a.example/",
        {"user_agent": "MSMSGS/2"},
        ["msn_messenger user_agent MSMSGS: in the user agent it is not where it has to be"],
        id="agent is more than that",
    ),
    pytest.param(
        "http://a.example/",
        {"user_agent": "Slackbot Slack/1"},
        ["slack user_agent Slack/: the user agent is a crawler of slack"],
        id="crawler",
    ),
    pytest.param(
        "http://a.example/",
        {"content_type": "application/x-icq-2"},
        ["icq content_type application/x-icq: the content type is more than that"],
        id="content type",
    ),
    # addresses and ports
    pytest.param(
        "http://149-154-167-50.dsl.example/",
        {},
        [
            "telegram network 149.154.160.0/20: 149.154.167.50 is part of a name, and names are not resolved"
        ],
        id="an address in a name",
    ),
    pytest.param(
        "http://a.example:8000/",
        {},
        ["qq port 8000: the port is one of qq over UDP only, which passes no proxy"],
        id="a port over UDP",
    ),
    # nothing, and what is seen
    pytest.param("http://www.example.org/", {}, [], id="nothing is near"),
    pytest.param("http://meebo.com/?u=www.meebo.com", {}, [], id="what is seen is not near"),
    pytest.param("http://notfbcdn.net/", {}, [], id="what is off by default is not near"),
]  # fmt: skip


def misses(url: str, **circumstances: str) -> list[str]:
    request = build_request(url, Circumstances(**circumstances))
    found = NEARBY.misses(request, MATCHER.signatures(request))
    return [f"{s.service} {s.kind.value} {s.value}: {reason}" for s, reason in found]


@pytest.mark.parametrize(("url", "circumstances", "expected"), CASES)
def test_what_is_near_and_why_it_does_not_count(url: str, circumstances: dict[str, str], expected: list[str]) -> None:
    assert misses(url, **circumstances) == expected


def test_what_is_off_is_near_where_a_rule_includes_it() -> None:
    rule = Rule("r", "block", services=frozenset({"whatsapp"}), include=frozenset({"shared"}))
    program = compile_policy(Policy("p", (rule,)), CATALOGUE)
    request = build_request("http://notfbcdn.net/", Circumstances())
    (miss,) = Nearby(program, CATALOGUE).misses(request, [])
    assert (miss.signature.service, miss.signature.flag) == ("whatsapp", "shared")


def test_each_service_is_named_once_and_the_nearest_first() -> None:
    found = misses("http://notmeebo.com/messages?u=http://t.me/&v=meebo.com")
    assert [line.split(" ")[0] for line in found] == ["meebo", "telegram", "messenger", "odnoklassniki", "x_chat"]


@pytest.mark.parametrize("place", range(len(LOOSENINGS)))
def test_each_loosening_is_needed(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, some line of the table comes out otherwise."""
    monkeypatch.setattr(nearby, "LOOSENINGS", LOOSENINGS[:place] + LOOSENINGS[place + 1 :])
    less = Nearby(PROGRAM, CATALOGUE)

    def is_other(url: str, circumstances: dict[str, str]) -> bool:
        request = build_request(url, Circumstances(**circumstances))
        return less.misses(request, MATCHER.signatures(request)) != NEARBY.misses(request, MATCHER.signatures(request))

    assert any(is_other(*case.values[:2]) for case in CASES)  # type: ignore[arg-type]


LONG = [
    pytest.param("a." * 30_000 + "meebo.com.evil.example", id="labels"),
    pytest.param("x" * 60_000 + "meebo.com", id="one label"),
    pytest.param("http://a.example/" + "meebo.com/" * 100_000, id="path"),
    pytest.param("http://a.example/?" + "&u=a.b" * 150_000, id="query"),
    pytest.param("http://a.example/%ff%00%5c..%2e" + "%" * 5000, id="escapes"),
]


@pytest.mark.parametrize("url", LONG)
def test_what_is_very_long_is_looked_at_in_part(url: str) -> None:
    assert len(misses(url, user_agent="telegram " * 10_000)) <= len(CATALOGUE.services)


@given(questions())
@settings(max_examples=150)
def test_nothing_that_counts_is_near(question: tuple[str, Circumstances]) -> None:
    request = build_request(*question)
    counting = MATCHER.signatures(request)
    found = NEARBY.misses(request, counting)
    services = [signature.service for signature, _ in found]
    assert len(services) == len(set(services))
    assert not set(services) & {signature.service for signature in counting}
    assert all(reason and "{" not in reason.replace("{32}", "") for _, reason in found)
