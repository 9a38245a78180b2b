"""`check`: single requests decided by the engine that answers Squid, each told in a line."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.model import Circumstances
from squid_imhelper.loading import BUILT_IN, load_engine
from squid_imhelper.matching.engine import Engine
from squid_imhelper.offline.check import as_json, as_text, build_request, check, check_all

KEYS = ["url", "host", "port", "client", "action", "service", "rule", "signature", "dry_run", "error"]
WHATSAPP = "https://web.whatsapp.com/"
UNKNOWN = Circumstances()
NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def built_in() -> Engine:
    return load_engine(BUILT_IN, pytest.fail)


@pytest.fixture
def engine(policy_file: Callable[[str], Path]) -> Callable[[str], Engine]:
    return lambda text: load_engine(str(policy_file(text)), pytest.fail)


def told(engine: Engine, url: str, circumstances: Circumstances = UNKNOWN, now: float = NOW) -> dict[str, object]:
    line = as_json(check(engine, url, circumstances, now), dry_run=engine.program.response.dry_run)
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line)
    assert list(found) == KEYS
    assert found["url"] == url
    return found


def test_what_is_blocked_is_told_in_full(built_in: Engine) -> None:
    assert told(built_in, WHATSAPP, Circumstances(client="10.0.0.1")) == {
        "url": WHATSAPP,
        "host": "web.whatsapp.com",
        "port": 443,
        "client": "10.0.0.1",
        "action": "block",
        "service": "whatsapp",
        "rule": "built-in",
        "signature": {"kind": "host", "value": "web.whatsapp.com"},
        "dry_run": False,
        "error": None,
    }


def test_what_is_unknown_is_null(built_in: Engine) -> None:
    assert told(built_in, "http://intranet.example/") == {
        "url": "http://intranet.example/",
        "host": "intranet.example",
        "port": 80,
        "client": None,
        "action": "allow",
        "service": None,
        "rule": None,
        "signature": None,
        "dry_run": False,
        "error": None,
    }


TARGETS = [
    pytest.param("WEB.WhatsApp.com.", None, "web.whatsapp.com", 80, id="bare-host"),
    pytest.param("web.whatsapp.com/x", None, "web.whatsapp.com", 80, id="bare-host-and-path"),
    pytest.param("web.whatsapp.com:443", None, "web.whatsapp.com", 443, id="host-and-port-is-http"),
    pytest.param("web.whatsapp.com:443", "CONNECT", "web.whatsapp.com", 443, id="connect"),
    pytest.param("web.whatsapp.com:8443", "CONNECT", "web.whatsapp.com", 8443, id="connect-other-port"),
    pytest.param("[2001:DB8::1]:443", "CONNECT", "2001:db8::1", 443, id="connect-v6"),
    pytest.param("http://[2001:DB8:0::1]/", None, "2001:db8::1", 80, id="v6"),
    pytest.param("http://[::ffff:192.0.2.1]:81/", None, "192.0.2.1", 81, id="v4-in-v6"),
    pytest.param("https://bücher.example/", None, "xn--bcher-kva.example", 443, id="a-label"),
    pytest.param("http://%80.whatsapp.com/", None, "%80.whatsapp.com", 80, id="byte-that-is-no-utf-8"),
    pytest.param("ftp://a.example/", None, "a.example", 21, id="ftp"),
    pytest.param("  http://a.example/ ", None, "a.example", 80, id="blanks-around"),
]


@pytest.mark.parametrize(("url", "method", "host", "port"), TARGETS)
def test_host_and_port_are_normalised(built_in: Engine, url: str, method: str | None, host: str, port: int) -> None:
    found = told(built_in, url, Circumstances(method=method))
    assert (found["host"], found["port"], found["error"]) == (host, port, None)


NO_URLS = [
    pytest.param("/path", None, id="path"),
    pytest.param("http://", None, id="no-host"),
    pytest.param("http:///", None, id="only-slashes"),
    pytest.param("?", None, id="question-mark"),
    pytest.param(":443", "CONNECT", id="connect-no-host"),
    pytest.param("a b", "CONNECT", id="connect-blank"),
]


@pytest.mark.parametrize("on_error", ["allow", "block"])
@pytest.mark.parametrize(("url", "method"), NO_URLS)
def test_where_no_host_is_found_on_error_decides(
    engine: Callable[[str], Engine], url: str, method: str | None, on_error: str
) -> None:
    policy = f'[[rule]]\naction = "allow"\n[response]\non_error = "{on_error}"\n'
    found = told(engine(policy), url, Circumstances(method=method))
    assert found["action"] == on_error
    assert "no host in" in str(found["error"])
    assert [found[key] for key in ("host", "port", "service", "rule", "signature")] == [None] * 5


@pytest.mark.parametrize("on_error", ["allow", "block"])
def test_an_expression_that_takes_too_long_is_an_error(engine: Callable[[str], Engine], on_error: str) -> None:
    """What it is asked about is told all the same."""
    slow = engine(
        "[sites.s]\nregex = ['^http://example\\.org/(?:a|a|aa)+$']\n"
        f"[[rule]]\naction = \"block\"\nsites = ['s']\n[response]\non_error = '{on_error}'\n"
    )
    found = told(slow, "http://example.org/" + "a" * 60 + "b")
    assert (found["action"], found["host"], found["rule"]) == (on_error, "example.org", None)
    assert "took too long" in str(found["error"])


CLIENTS = '[[rule]]\nname = "r"\naction = "block"\nclients = ["10.0.0.0/8"]\n'
AGENTS = '[[rule]]\nname = "r"\naction = "block"\nuser_agents = ["MSIE"]\n'
USERS = '[[rule]]\nname = "r"\naction = "block"\nusers = ["ann", "DOM\\\\bob"]\n'
MONITOR = '[[rule]]\nname = "r"\naction = "monitor"\nservices = ["whatsapp"]\n'

CONDITIONS = [
    pytest.param(CLIENTS, Circumstances(), ("allow", None), id="client-unknown"),
    pytest.param(CLIENTS, Circumstances(client="10.1.2.3"), ("block", "r"), id="client-in"),
    pytest.param(CLIENTS, Circumstances(client="11.1.2.3"), ("allow", None), id="client-out"),
    pytest.param(AGENTS, Circumstances(), ("allow", None), id="agent-unknown"),
    pytest.param(AGENTS, Circumstances(user_agent="x MSIE 6"), ("block", "r"), id="agent"),
    pytest.param(AGENTS, Circumstances(user_agent="x msie 6"), ("allow", None), id="agent-other-case"),
    pytest.param(USERS, Circumstances(), ("allow", None), id="user-unknown"),
    pytest.param(USERS, Circumstances(user="ann"), ("block", "r"), id="user"),
    pytest.param(USERS, Circumstances(user="DOM\\bob"), ("block", "r"), id="user-of-a-domain"),
    pytest.param(USERS, Circumstances(user="Ann"), ("allow", None), id="user-other-case"),
    pytest.param(MONITOR, Circumstances(), ("monitor", "r"), id="monitor"),
]


@pytest.mark.parametrize(("policy", "circumstances", "expected"), CONDITIONS)
def test_a_condition_on_what_is_unknown_is_not_met(
    engine: Callable[[str], Engine], policy: str, circumstances: Circumstances, expected: tuple[str, str | None]
) -> None:
    found = told(engine(policy), WHATSAPP, circumstances)
    assert (found["action"], found["rule"]) == expected
    assert found["service"] == "whatsapp", "what it is does not depend on what the rules do with it"


OFFICE = """
[schedules]
office = { days = "mon-fri", hours = ["08:00-12:00"], timezone = "Europe/Brussels" }
[[rule]]
name = "office"
action = "block"
schedule = "office"
[[rule]]
name = "old"
action = "monitor"
until = 2026-11-22T00:00:00Z
"""


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        pytest.param("2026-11-23T08:00+01:00", ("block", "office"), id="in"),
        pytest.param("2026-11-23T06:59:59+00:00", ("allow", None), id="before"),
        pytest.param("2026-11-23T12:00+01:00", ("allow", None), id="behind"),
        pytest.param("2026-11-21T12:00+01:00", ("monitor", "old"), id="another-day"),
    ],
)
def test_it_is_decided_as_at_the_time_given(
    engine: Callable[[str], Engine], time: str, expected: tuple[str, str | None]
) -> None:
    found = told(engine(OFFICE), WHATSAPP, now=datetime.fromisoformat(time).timestamp())
    assert (found["action"], found["rule"]) == expected


def test_all_inputs_are_decided_as_at_one_time(engine: Callable[[str], Engine]) -> None:
    one = engine(OFFICE)
    found = [finding.decision.rule for finding in check_all(one, ["a.example", "b.example"], UNKNOWN, NOW)]
    assert found == ["office", "office"]
    assert [finding.decision.rule for finding in check_all(one, ["a.example"], UNKNOWN, NOW + 6 * 3600)] == [None]


def test_the_sni_counts_as_a_name(built_in: Engine) -> None:
    found = told(built_in, "192.0.2.1:443", Circumstances(method="CONNECT", sni="web.WhatsApp.com"))
    assert (found["action"], found["service"], found["host"]) == ("block", "whatsapp", "192.0.2.1")


def test_dry_run_is_told_and_the_action_is_what_it_would_be(engine: Callable[[str], Engine]) -> None:
    found = told(engine('[[rule]]\naction = "block"\n[response]\ndry_run = true\n'), WHATSAPP)
    assert (found["dry_run"], found["action"]) == (True, "block")


def test_inputs_are_decided_in_order_and_blank_ones_skipped(built_in: Engine) -> None:
    urls = ["b.example", "", " \t", "/", "a.example"]
    assert [finding.url for finding in check_all(built_in, urls, UNKNOWN, NOW)] == ["b.example", "/", "a.example"]


def test_names_are_listed_once() -> None:
    assert build_request("http://a.example/", Circumstances(sni="A.example")).names == ("a.example",)


TEXTS = [
    pytest.param(
        WHATSAPP, f'block   whatsapp                {WHATSAPP}  (host web.whatsapp.com, rule "built-in")', id="b"
    ),
    pytest.param("http://a.example/", "allow   -                       http://a.example/", id="allowed"),
    pytest.param("/", "allow   -                       /  (no host in '/')", id="error"),
]


@pytest.mark.parametrize(("url", "line"), TEXTS)
def test_the_text_is_one_line(built_in: Engine, url: str, line: str) -> None:
    assert as_text(check(built_in, url, UNKNOWN, NOW)) == line


@given(
    st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.sampled_from([None, "CONNECT"])
)
@settings(max_examples=300)
def test_any_input_is_a_finding(built_in: Engine, url: str, method: str | None) -> None:
    finding = check(built_in, url, Circumstances(method=method), NOW)
    assert json.loads(as_json(finding, dry_run=False))["url"] == url
    as_text(finding).encode()


@pytest.mark.parametrize(
    "url", ["web.whatsapp.com:443", "https://web.whatsapp.com/", "https://web.whatsapp.com:443/a?b"]
)
def test_a_connect_may_be_written_as_a_url(built_in: Engine, url: str) -> None:
    found = told(built_in, url, Circumstances(method="CONNECT"))
    assert (found["host"], found["port"], found["service"]) == ("web.whatsapp.com", 443, "whatsapp")
