"""What a policy says, as clients of a real Squid see it: schedules, lists, texts, redirects, expressions."""

import gzip
import html
import json
import re
import string
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

import pytest
from load import Load, log_lines, read_metrics, send_all, wait_until_ready, with_four_helpers
from real_squid import Network, Squid, rendered, wait_for

pytestmark = pytest.mark.squid
Start = Callable[..., Squid]


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_what_is_monitored_passes_and_is_recorded(start_squid: Start, network: Network, interface: str) -> None:
    policy = network.folder / f"monitor-{interface}.toml"
    policy.write_text('[[rule]]\nname = "we watch, only"\nservices = ["slack"]\naction = "monitor"\n')
    squid = start_squid(rendered(policy, interface=interface, options=" --audit FOLDER/audit.log"))
    assert squid.get("http://app.slack.com/a?b").status == 200
    assert squid.log()[0][-2:] == ["slack", "we%20watch,%20only"]
    assert squid.get("http://www.news.example/").status == 200
    assert squid.log()[0][-2:] == ["-", "-"]
    log = squid.folder / "audit.log"
    wait_for(lambda: log.exists() and log.read_bytes().endswith(b"\n"), "the audit log")
    (line,) = log.read_text().splitlines()
    entry = json.loads(line)
    assert [entry[key] for key in ("action", "service", "rule", "url")] == [
        "monitor", "slack", "we watch, only", "http://app.slack.com/a?b",
    ]  # fmt: skip


# ---- when -----------------------------------------------------------------------------------------------------------


def clock(instant: int) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%H:%M:%S}"


def test_rules_begin_and_end_on_the_second(start_squid: Start, network: Network) -> None:
    """By the clock that the clients have too: what was answered before the boundary, and what was asked behind it."""
    boundary = ceil(time.time()) + 5
    date = f"{datetime.fromtimestamp(boundary, UTC):%Y-%m-%dT%H:%M:%SZ}"
    hour = 3600
    policy = network.folder / "schedules.toml"
    policy.write_text(f"""
[schedules]
now = {{ hours = ["{clock(boundary - hour)}-{clock(boundary)}"], timezone = "UTC" }}
later = {{ hours = ["{clock(boundary)}-{clock(boundary + hour)}"], timezone = "UTC" }}
[[rule]]
name = "now"
services = ["telegram"]
schedule = "now"
action = "block"
[[rule]]
name = "later"
services = ["telegram"]
schedule = "later"
action = "monitor"
[[rule]]
name = "until"
services = ["discord"]
until = {date}
action = "monitor"
[[rule]]
name = "from"
services = ["discord"]
from = {date}
action = "block"
""")
    squid = start_squid(rendered(policy))
    with Load(squid, ["http://web.telegram.org/", "http://discord.com/"], rate=200) as load:
        wait_for(lambda: time.time() > boundary + 0.5, "the boundary")
        answers = load.stop()
    rule_of = {line.url: line.rule for line in log_lines(squid, len(answers))}
    seen = set()
    for answer in answers:
        before, behind = ("now", "later") if "telegram" in answer.url else ("until", "from")
        rule = rule_of[answer.url]
        assert answer.status == (403 if rule in ("now", "from") else 200)
        if answer.ended < boundary:
            assert rule == before
        elif answer.begun >= boundary:
            assert rule == behind
        seen.add(rule)
    assert seen == {"now", "later", "until", "from"}


# ---- what -----------------------------------------------------------------------------------------------------------


def test_a_list_of_a_hundred_thousand_domains(start_squid: Start, network: Network) -> None:
    names = [f"host{n * 7919 % 100_003}.list{n % 97}.example" for n in range(100_000)]
    with gzip.open(network.folder / "domains.gz", "wt") as file:
        file.writelines(f"{name}\n" for name in names)
    policy = network.folder / "long-list.toml"
    policy.write_text('[sites]\nlong = { file = "domains.gz" }\n[[rule]]\nsites = ["long"]\naction = "block"\n')
    squid = start_squid(with_four_helpers(policy))
    wait_until_ready(squid)
    listed = [*names[::199], *(f"www.{name}" for name in names[1::199])]
    others = [*(f"x{name}" for name in names[::1999]), *(f"{name}.com" for name in names[1::1999]), "list1.example"]
    answers = send_all(squid, [f"http://{name}/" for name in listed + others], len(listed + others))
    blocked = {urlsplit(answer.url).hostname for answer in answers if answer.status == 403}
    assert blocked == set(listed)
    assert len(answers) == len(listed + others)


@pytest.mark.parametrize(("on_error", "status"), [("allow", 200), ("block", 403)])
def test_a_slow_expression_holds_up_nobody_and_counts(
    start_squid: Start, network: Network, on_error: str, status: int
) -> None:
    """Who is sent to its URL is answered as on_error says; for all others everything is as it was."""
    policy = network.folder / f"slow-{on_error}.toml"
    policy.write_text(f"""
[sites]
slow = {{ regex = ['^http://slow\\.example/(a|aa)+$'] }}
[[rule]]
name = "slow"
sites = ["slow"]
action = "block"
[[rule]]
name = "no Telegram"
services = ["telegram"]
action = "block"
[response]
on_error = "{on_error}"
""")
    squid = start_squid(with_four_helpers(policy))
    wait_until_ready(squid)
    slow = f"http://slow.example/{'a' * 200}!"
    answers = send_all(squid, [slow, *["http://web.telegram.org/"] * 18, "http://www.news.example/"], 2000)
    assert len(answers) == 2000
    for answer in answers:
        expected = status if "slow" in answer.url else 403 if "telegram" in answer.url else 200
        assert answer.status == expected, answer.url
    wait_for(lambda: counted(squid, "requests_total") == 2000, "the counters")
    assert counted(squid, 'errors_total{kind="expression"}') == 100
    assert "took too long; answered as on_error says" in squid.cache_log
    wait_for(lambda: "<dd>slow</dd>" in squid.get("http://slow.example/aaa").body, "the expression to be tried again")


def counted(squid: Squid, name: str) -> float:
    return sum(counters[name] for counters in read_metrics(squid).values())


# ---- what is said ---------------------------------------------------------------------------------------------------

PATHS = [
    pytest.param(b"", id="plain"),
    pytest.param(b"a?b=c&d=e+f", id="query"),
    pytest.param(b"\"quoted\" 'too'".replace(b" ", b"%20"), id="quotes"),
    pytest.param(b'"', id="one-quote"),
    pytest.param(b"back\\slash\\", id="backslashes"),
    pytest.param(b"100%&%zz", id="percent"),
    pytest.param(b"a%20b", id="blank"),
    pytest.param(b"%0d%0aSet-Cookie:%20a=b", id="newline"),
    pytest.param(b"<script>alert(1)</script>", id="html"),
    pytest.param("zoë/小明".encode(), id="utf-8"),
    pytest.param(b"\xff\xfe", id="no-utf-8"),
    pytest.param(b"{url}{rule}|^`~", id="braces"),
    pytest.param(b"?url=http://evil.example/&rule=x", id="parameters-of-our-own"),
    pytest.param(b"x" * 6000, id="long"),
]
RULE = "R&D \"lab\": 100 %, 'now'"
TEXTS = f"""
[[rule]]
name = '''{RULE}'''
services = ["telegram"]
action = "block"
message = "{{service_name}} ({{service}}); {{rule}}; {{host}}; {{client}}; {{time}}; {{url}}"
redirect = "http://page.example:8080/t?s={{service}}&n={{service_name}}&r={{rule}}&c={{client}}&h={{host}}&t={{time}}&u={{url}}"
[[rule]]
name = "others"
services = ["all"]
action = "block"
[response]
redirect = "https://other.example/?{{url}}"
"""
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}")


@pytest.fixture(scope="module")
def texts(network: Network) -> Path:
    path = network.folder / "texts.toml"
    path.write_text(TEXTS)
    return path


@pytest.fixture(scope="module")
def rewriter(start_squid: Start, texts: Path) -> Squid:
    return start_squid(rendered(texts, interface="rewrite"))


@pytest.fixture(scope="module")
def acl(start_squid: Start, texts: Path) -> Squid:
    return start_squid(rendered(texts))


def location(head: str) -> str:
    (line,) = [line for line in head.split("\r\n") if line.lower().startswith("location:")]
    return line.partition(": ")[2]


@pytest.mark.parametrize("path", PATHS)
def test_a_redirect_of_a_rule_tells_everything_in_its_parameters(rewriter: Squid, path: bytes) -> None:
    url = b"http://web.telegram.org/" + path
    head, _ = rewriter.send(b"GET " + url)
    assert " 302 " in head
    assert "\r\nset-cookie" not in head.lower()
    split = urlsplit(location(head))
    assert (split.scheme, split.netloc, split.path, split.fragment) == ("http", "page.example:8080", "/t", "")
    values = parse_qsl(split.query, strict_parsing=True)
    assert [key for key, _ in values] == ["s", "n", "r", "c", "h", "t", "u"]
    told = dict(values)
    assert told["s"] == "telegram"
    assert told["n"] == "Telegram"
    assert told["r"] == RULE
    assert told["c"] == "127.0.0.1"
    assert told["h"] == "web.telegram.org"
    assert TIME.fullmatch(told["t"])
    asked = quote(url, safe=string.printable)  # what is no ASCII goes through a line of ASCII
    assert told["u"] == asked if len(url) < 1000 else asked.startswith(told["u"])


def test_other_rules_have_the_redirect_of_the_policy(rewriter: Squid) -> None:
    head, _ = rewriter.send(b"GET http://discord.com/?a=b")
    assert location(head) == "https://other.example/?http%3A%2F%2Fdiscord.com%2F%3Fa%3Db"


@pytest.mark.parametrize("path", PATHS)
def test_a_message_is_text_in_the_error_page(acl: Squid, path: bytes) -> None:
    url = b"http://web.telegram.org/" + path
    head, body = acl.send(b"GET " + url)
    assert " 403 " in head
    assert "<script" not in body
    (message,) = re.findall("<h1>(.*?)</h1>", body)
    assert "<" not in message
    assert '"' not in message
    service, rule, host, client, at, *asked = html.unescape(message).split("; ")
    assert [service, rule, host, client] == ["Telegram (telegram)", RULE, "web.telegram.org", "127.0.0.1"]
    assert TIME.fullmatch(at)
    # Squid escapes some characters of a URL before it asks an ACL, and % is not one of them: nothing is escaped twice.
    told = unquote_to_bytes("; ".join(asked))
    assert told == unquote_to_bytes(url) if len(url) < 1000 else unquote_to_bytes(url).startswith(told)


def test_a_message_in_an_error_page_cannot_be_forged_by_a_host(acl: Squid) -> None:
    for host in (b"<script>.web.telegram.org", b"%3cscript%3e.web.telegram.org", b"a\"b'c&d.web.telegram.org"):
        head, body = acl.send(b"GET http://" + host + b"/")
        assert " 403 " in head
        assert "<script" not in body


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        pytest.param("web messengers", "Not here, please.", id="plain"),
        pytest.param("R&D lab", "See <intranet> & ask.", id="html"),
        pytest.param("Büro", "C'est bloqué; 禁止", id="utf-8"),
    ],
)
def test_the_error_page_shows_what_the_administrator_wrote(
    start_squid: Start, network: Network, rule: str, message: str
) -> None:
    policy = network.folder / "written.toml"
    policy.write_text(f'[[rule]]\nname = "{rule}"\nservices = ["all"]\naction = "block"\nmessage = "{message}"\n')
    _, body = start_squid(rendered(policy)).send(b"GET http://discord.com/")
    assert html.unescape(re.findall("<h1>(.*?)</h1>", body)[0]) == message
    shown = re.findall("<dd>(.*?)</dd>", body)[2]
    assert html.unescape(shown) == rule
    assert "<" not in shown
