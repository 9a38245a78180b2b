"""The recipe of 2006, row by row, through a real Squid that asks with `conf/recipe-2006.toml`.

A blocked row is seen in Squid's own log, with service and rule; and each blocked row fails, as a test, with a helper
that answers ERR: it is the helper that blocks, and not Squid.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from real_squid import EXEMPT, Network, Reply, Squid, rendered, with_control

pytestmark = pytest.mark.squid
NATIVE = "MSN, AIM/ICQ and Yahoo"
WEB = "web messengers"
IE = "Internet Explorer: safe sites only"
MSIE = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"
TRIDENT = "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Row(NamedTuple):
    """One request, and what must be blocked about it."""

    method: str
    url: str
    service: str
    rule: str
    agent: str = FIREFOX
    content_type: str = ""


BLOCKED = {
    "gateway-open": Row(
        "POST",
        "http://gateway.messenger.hotmail.com/gateway/gateway.dll?Action=open&Server=NS&IP=messenger.hotmail.com",
        "msn_messenger",
        NATIVE,
    ),
    "gateway-bare-address": Row(
        "POST", "http://207.46.25.15/gateway/gateway.dll?SessionID=1047611159.2422", "msn_messenger", NATIVE
    ),
    "gateway-any-host": Row(
        "POST", "http://somewhere.example/gateway/gateway.dll?SessionID=1.2", "msn_messenger", NATIVE
    ),
    "gateway-poll": Row(
        "POST",
        "http://207.46.109.14/gateway/gateway.dll?Action=poll&SessionID=785192002.25263",
        "msn_messenger",
        NATIVE,
        MSIE,
    ),
    "connect-name": Row("CONNECT", "messenger.hotmail.com:1863", "msn_messenger", NATIVE),
    "connect-address": Row("CONNECT", "207.46.4.31:1863", "msn_messenger", NATIVE),
    "aim-hello": Row("GET", "http://aimhttp.oscar.aol.com/hello", "aim", NATIVE),
    "aim-connect": Row("CONNECT", "login.oscar.aol.com:5190", "aim", NATIVE),
    "aim-network": Row("CONNECT", "64.12.25.7:443", "aim", NATIVE),
    "icq-hello": Row("GET", "http://http.proxy.icq.com/hello", "icq", NATIVE),
    "icq-data": Row("POST", f"http://10.9.9.9/data?sid={'0a' * 16}&seq=7", "icq", NATIVE),
    "icq-connect": Row("CONNECT", "login.icq.com:443", "icq", NATIVE),
    "yahoo-notify": Row("POST", "http://shttp.msg.yahoo.com/notify/", "yahoo_messenger", NATIVE),
    "yahoo-notify-old": Row("POST", "http://http.pager.yahoo.com/notify", "yahoo_messenger", NATIVE),
    "yahoo-connect": Row("CONNECT", "scs.msg.yahoo.com:5050", "yahoo_messenger", NATIVE),
    "yahoo-network": Row("GET", "http://216.155.193.9/", "yahoo_messenger", NATIVE),
    "web-e-messenger": Row("GET", "http://www.e-messenger.net/", "e_messenger", WEB),
    "web-193.238.160": Row("GET", "http://193.238.160.62/", "e_messenger", WEB),
    "web-meebo": Row("GET", "http://www.meebo.com/rooms", "meebo", WEB),
    "web-messenger.msn": Row("GET", "http://webmessenger.msn.com/default.aspx?pop=true", "msn_web_messenger", WEB),
    "messenger.msn": Row("GET", "http://messenger.msn.com/", "msn_messenger", NATIVE),
    "web-clientless": Row("GET", "http://clientless.net/", "clientless", WEB),
    "web-wbmsn": Row("GET", "http://www.wbmsn.net/", "wbmsn", WEB),
    "web-msn2go": Row("GET", "http://www.msn2go.com:8080/msn2goproxy", "msn2go", WEB),
    "web-64.92.173": Row("GET", "http://64.92.173.122/", "msn2go", WEB),
    "web-iloveim": Row("GET", "http://www.iloveim.com/", "iloveim", WEB),
    "web-info.sytes": Row("GET", "http://info.sytes.net/", "info_sytes", WEB),
    "web-chatenabled": Row("GET", "http://chatenabled.mail.google.com/mail/images/cleardot.gif", "google_talk", WEB),
}
# A rewriter sees neither user agent nor content type.
HEADERS = {
    "agent-msmsgs": Row("GET", "http://www.news.example/", "msn_messenger", NATIVE, "MSMSGS"),
    "agent-msn-messenger": Row(
        "GET", "http://www.news.example/", "msn_messenger", NATIVE, "Mozilla/4.0 (MSN Messenger 7.5)"
    ),
    "mime-type": Row("POST", "http://any.example/", "msn_messenger", NATIVE, FIREFOX, "application/x-msn-messenger"),
    "ie-msie": Row("GET", "http://www.news.example/", "-", IE, MSIE),
    "ie-trident": Row("GET", "http://www.news.example/a", "-", IE, TRIDENT),
}
ALLOWED = {
    "ordinary": Row("GET", "http://www.news.example/", "", ""),
    "ordinary-connect": Row("CONNECT", "www.news.example:443", "", ""),
    "ie-safe-site": Row("GET", "http://download.windowsupdate.com/v6", "", "", MSIE),
    "no-label-boundary": Row("GET", "http://notmeebo.com/", "", ""),
    "the-messenger.net": Row("GET", "http://the-messenger.net/", "", ""),
    "setinfo.sytes.net": Row("GET", "http://setinfo.sytes.net/", "", ""),
    "url-in-query": Row("GET", "http://search.example/?q=http://www.meebo.com/", "", ""),
    "next-network": Row("GET", "http://193.238.161.62/", "", ""),
    "digits-as-a-name": Row("GET", "http://193.238.1600.example/", "", ""),
    "gateway-elsewhere": Row("POST", "http://erp.example/gateway/gateway.dll?op=report", "", "", FIREFOX, "text/xml"),
    "gateway-in-news": Row("GET", "http://news.example/2006/05/how-gateway.dll-works.html", "", ""),
    "agent-with-more": Row("GET", "http://news.example/", "", "", "MSMSGS-archive-bot/1.0"),
    "gmail": Row("GET", "http://mail.google.com/mail/", "", ""),
}


def send(squid: Squid, row: Row, client: str = "") -> tuple[Reply, list[str]]:
    headers = {"User-Agent": row.agent}
    if row.content_type:
        headers["Content-Type"] = row.content_type
    reply = squid.get(row.url, method=row.method, client=client, headers=headers)
    return reply, squid.log()[0]


def assert_blocked_by_acl(squid: Squid, row: Row) -> None:
    reply, log = send(squid, row)
    assert log[-2:] == [row.service, row.rule.replace(" ", "%20")]
    assert "TCP_DENIED/403" in log
    assert (reply.connect if row.method == "CONNECT" else reply.status) == 403


def assert_blocked_by_rewriter(squid: Squid, row: Row) -> None:
    reply, log = send(squid, row)
    assert log[-2:] == [row.service, row.rule.replace(" ", "%20")]
    assert "TCP_REDIRECT/302" in log
    assert (reply.connect if row.method == "CONNECT" else reply.status) == 302
    if row.method != "CONNECT":
        assert reply.location.startswith(f"http://blocked.invalid/?service={row.service}&rule=")


@pytest.fixture(scope="module")
def recipe(policies: Path) -> Path:
    return policies / "recipe-2006.toml"


@pytest.fixture(scope="module")
def acl(start_squid: Callable[..., Squid], recipe: Path) -> Squid:
    return start_squid(rendered(recipe))


@pytest.fixture(scope="module")
def rewriter(start_squid: Callable[..., Squid], recipe: Path) -> Squid:
    return start_squid(rendered(recipe, interface="rewrite"))


@pytest.fixture(scope="module")
def acl_control(start_squid: Callable[..., Squid], recipe: Path, network: Network) -> Squid:
    return start_squid(with_control(rendered(recipe), network))


@pytest.fixture(scope="module")
def rewriter_control(start_squid: Callable[..., Squid], recipe: Path, network: Network) -> Squid:
    return start_squid(with_control(rendered(recipe, interface="rewrite"), network))


def rows(table: dict[str, Row]) -> list[object]:
    return [pytest.param(row, id=name) for name, row in table.items()]


@pytest.mark.parametrize("row", rows(BLOCKED | HEADERS))
def test_acl_blocks(acl: Squid, acl_control: Squid, row: Row) -> None:
    assert_blocked_by_acl(acl, row)
    with pytest.raises(AssertionError):
        assert_blocked_by_acl(acl_control, row)


@pytest.mark.parametrize("row", rows(BLOCKED))
def test_rewriter_blocks(rewriter: Squid, rewriter_control: Squid, row: Row) -> None:
    assert_blocked_by_rewriter(rewriter, row)
    with pytest.raises(AssertionError):
        assert_blocked_by_rewriter(rewriter_control, row)


@pytest.mark.parametrize("row", rows(ALLOWED))
def test_everything_else_is_allowed(acl: Squid, rewriter: Squid, row: Row) -> None:
    for squid in (acl, rewriter):
        reply, log = send(squid, row)
        assert (reply.status, log[-2:]) == (200, ["-", "-"])
        assert reply.body.startswith("origin ")


@pytest.mark.root
@pytest.mark.parametrize("row", rows(BLOCKED | HEADERS))
def test_the_exempt_host_is_allowed_everything(acl: Squid, rewriter: Squid, row: Row) -> None:
    if not acl.network.prefix:
        pytest.skip(f"needs root for a network namespace in which {EXEMPT} exists")
    for squid in (acl, rewriter):
        reply, log = send(squid, row, client=EXEMPT)
        assert (reply.status, log[-2:]) == (200, ["-", "-"])
        assert EXEMPT in log


@pytest.mark.parametrize("name", ["web-193.238.160", "web-64.92.173"])
def test_stale_addresses_are_allowed_by_the_default_policy(
    start_squid: Callable[..., Squid], policies: Path, name: str
) -> None:
    squid = start_squid(rendered(policies / "policy.toml"))
    reply, log = send(squid, BLOCKED[name])
    assert (reply.status, log[-2:]) == (200, ["-", "-"])


def test_the_error_page_names_service_and_rule(acl: Squid) -> None:
    body = acl.get("http://www.meebo.com/", headers={"User-Agent": FIREFOX}).body
    assert "Meebo is blocked on this network (rule: web messengers)" in body
    assert "<dd>meebo</dd>" in body
    assert "<dd>web messengers</dd>" in body
    acl.log()
