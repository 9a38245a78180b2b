"""`squid-conf --mode intercept` behind a real router: what is cut, what passes untouched, and what a lost helper does.

A client that knows of no proxy, a router whose iptables sends ports 80 and 443 to Squid, servers behind it. Whatever is
said to be cut passes when the same Squid asks a helper that answers ERR to everything.
"""

import json
import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from intercepting import CUT, DENIED, HTTP, OTHERS, PASSED, TLS, Attempt, Router, http, new_router, tls
from lab import CHAT, CLIENT, CLIENT6, NEWS, NEWS6, TELEGRAM, Lab, laboratory, why_no_lab
from probes import get, talk
from real_squid import HELPER, Network, helpers_of, wait_for, with_openssl

from squid_imhelper.squid.intercepting import MAKE_CERTIFICATE

pytestmark = [pytest.mark.squid, pytest.mark.root]

POLICY = """
[clients]
exempt = ["192.168.1.16", "2001:db8:1::16"]
[[rule]]
name = "who may"
clients = ["exempt"]
action = "allow"
[[rule]]
name = "all of them"
services = ["all"]
action = "block"
"""
TIMED = """
[schedules]
always = { days = "mon-sun", hours = ["00:00-24:00"], timezone = "Europe/Brussels" }
[[rule]]
services = ["whatsapp"]
schedule = "always"
action = "block"
[[rule]]
services = ["telegram"]
from = 2199-01-01
action = "block"
"""


@pytest.fixture(scope="module")
def lab(network: Network) -> Iterator[Lab]:
    reason = why_no_lab() or ("" if with_openssl() else "this squid has no OpenSSL (apt-get install squid-openssl)")
    if reason:
        pytest.skip(reason)
    folder = network.folder / "intercept"
    folder.mkdir()
    folder.chmod(0o755)
    with laboratory(folder) as made:
        yield made


@pytest.fixture(scope="module")
def pem(lab: Lab) -> Path:
    """Made by the command that the program tells, readable for root only."""
    path = lab.folder / "imhelper.pem"
    subprocess.run(shlex.split(MAKE_CERTIFICATE.format(path=path)), check=True, capture_output=True)
    path.chmod(0o600)
    return path


Start = Callable[..., Router]


@pytest.fixture(scope="module")
def start(lab: Lab, pem: Path) -> Iterator[Start]:
    """Starts a Squid in the router; all end with the module."""
    routers: list[Router] = []

    def start_one(policy: str = POLICY, interface: str = "acl", answer: str = "", ttl: int = 60, **more: str) -> Router:
        routers.append(new_router(lab, pem, policy, interface, answer, ttl, **more))
        return routers[-1]

    try:
        yield start_one
        assert [router.squid.cache_log[-3000:] for router in routers if router.squid.process.poll() is not None] == []
    finally:
        for router in routers:
            router.squid.process.terminate()
        for router in routers:
            router.squid.process.wait(60)


@pytest.fixture(scope="module", params=["acl", "rewrite"])
def blocking(request: pytest.FixtureRequest, start: Start) -> Router:
    return start(interface=request.param)


@pytest.fixture(scope="module")
def letting(blocking: Router, start: Start) -> Router:
    """The same Squid with a helper that answers ERR."""
    return start(interface=blocking.interface, answer="ERR")


@pytest.mark.parametrize("attempt", TLS.values(), ids=TLS)
def test_tls_to_a_messenger_is_cut(blocking: Router, letting: Router, attempt: Attempt) -> None:
    for router, outcome in ((letting, PASSED), (blocking, CUT)):
        router.redirect()
        assert attempt(router, router.lab.client) == outcome


@pytest.mark.parametrize("attempt", HTTP.values(), ids=HTTP)
def test_http_to_a_messenger_is_denied(blocking: Router, letting: Router, attempt: Attempt) -> None:
    for router, outcome in ((letting, PASSED), (blocking, DENIED)):
        router.redirect()
        assert attempt(router, router.lab.client) == outcome


@pytest.mark.parametrize("attempt", OTHERS.values(), ids=OTHERS)
def test_everything_else_passes_untouched(blocking: Router, attempt: Attempt) -> None:
    blocking.redirect()
    assert attempt(blocking, blocking.lab.client) == PASSED


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_a_denial_of_the_administrators_decrypts_nothing(start: Start, interface: str) -> None:
    """Squid would do it, to show its page: Debian's own squid.conf denies whatever is not allowed by name."""
    router = start(interface=interface, access="http_access deny all")
    router.redirect()
    outcomes = {name: OTHERS[name](router, router.lab.client) for name in ("tls", "tls-without-a-name", "tls-ipv6")}
    assert set(outcomes.values()) == {PASSED}
    assert TLS["name"](router, router.lab.client) == CUT
    assert "403" in http_of_anybody(router)


def http_of_anybody(router: Router) -> str:
    return get(router.lab.client, "http://www.news.example/", NEWS).partition("\r\n")[0]


def test_http_to_a_messengers_address_is_denied_whatever_the_host(start: Start, blocking: Router) -> None:
    """A rewriter is told the URL only."""
    attempt = partial(http, TELEGRAM, "http://www.innocent.example/")
    blocking.redirect()
    assert attempt(blocking, blocking.lab.client) == (DENIED if blocking.interface == "acl" else PASSED)


@pytest.mark.parametrize("attempt", [TLS["name"], TLS["address-without-a-name"], HTTP["host"]])
def test_an_exempt_client_is_let_through(blocking: Router, attempt: Attempt) -> None:
    blocking.redirect()
    assert attempt(blocking, blocking.lab.exempt) == PASSED


# ---- what is no TLS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [80, 443])
@pytest.mark.parametrize("address", [NEWS, TELEGRAM])
def test_what_is_neither_http_nor_tls_goes_nowhere(letting: Router, address: str, port: int) -> None:
    """Even with a helper that lets everything through: nobody could tell what it is."""
    letting.redirect()
    answer = talk(letting.lab.client, address, port, "\x01\x02 no protocol that anybody knows\n\n")
    assert " at " not in answer
    assert address not in {line[8].partition("/")[2] for line in letting.squid.log()}


def test_a_name_that_leads_elsewhere_for_squid_ends(letting: Router) -> None:
    """Which is why clients and Squid ask the same resolver."""
    log = letting.squid.folder / "access.log"
    letting.redirect()
    assert tls(NEWS, "www.innocent.example", letting, letting.lab.client) == CUT
    wait_for(lambda: "/409 " in log.read_text(), "the line that says why")


# ---- helpers that are lost ------------------------------------------------------------------------------------------


def test_a_killed_helper_costs_nothing(start: Start) -> None:
    router = start()
    router.redirect()
    client = router.lab.client
    assert TLS["name"](router, client) == CUT
    killed = helpers_of(router.squid)
    for helper in killed:
        os.kill(int(helper), 9)
    wait_for(lambda: not killed & helpers_of(router.squid), "the end of the helpers")
    assert OTHERS["tls"](router, client) == PASSED
    wait_for(lambda: TLS["name"](router, client) == CUT, "a helper that knows messengers again")


def test_a_helper_that_cannot_answer_lets_tls_pass(start: Start) -> None:
    router = start(answer="BH")
    router.redirect()
    for attempt in (TLS["name"], TLS["address-without-a-name"], OTHERS["tls"]):
        assert attempt(router, router.lab.client) == PASSED


def test_a_new_configuration_is_read_without_a_gap(start: Start) -> None:
    """The key is root's own, and Squid is `proxy` by then."""
    router = start()
    router.redirect()
    client = router.lab.client
    assert TLS["name"](router, client) == CUT
    opened = router.squid.cache_log.count("Accepting NAT intercepted SSL bumped HTTPS")
    router.squid.control("reconfigure")
    wait_for(
        lambda: router.squid.cache_log.count("Accepting NAT intercepted SSL bumped HTTPS") > opened, "the port for TLS"
    )
    assert TLS["name"](router, client) == CUT
    assert OTHERS["tls"](router, client) == PASSED


# ---- TPROXY ---------------------------------------------------------------------------------------------------------


def test_tproxy_shows_the_same_and_the_servers_see_the_client(start: Start) -> None:
    router = start(policy=POLICY + '[firewall]\nintercept = "tproxy"\n')
    client = router.lab.client
    with router.transparent():
        for name in ("name", "name-ipv6", "address-without-a-name", "address-without-a-name-ipv6"):
            assert TLS[name](router, client) == CUT, name
        for name in ("host", "host-ipv6", "bare-address", "bare-address-ipv6"):
            assert HTTP[name](router, client) == DENIED, name
        for name in ("tls", "tls-ipv6", "tls-without-a-name", "http", "http-ipv6"):
            assert OTHERS[name](router, client) == PASSED, name
        assert TLS["name"](router, router.lab.exempt) == PASSED
        for address, name, own in ((NEWS, "www", CLIENT), (NEWS6, "ipv6", CLIENT6)):
            assert get(client, f"http://{name}.news.example/", address).endswith(f" at {address} for {own}")


# ---- policies with a time, and logs ---------------------------------------------------------------------------------


def test_schedules_hold_for_what_is_intercepted(start: Start) -> None:
    router = start(policy=TIMED, ttl=15)
    router.redirect()
    assert TLS["name"](router, router.lab.client) == CUT
    assert HTTP["host"](router, router.lab.client) == DENIED
    assert tls(CHAT, "web.telegram.org", router, router.lab.client) == PASSED


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_a_replay_of_the_log_blocks_what_was_blocked(start: Start, interface: str) -> None:
    router = start(interface=interface)
    router.redirect()
    client = router.lab.client
    blocked = [*TLS.values(), *HTTP.values()]
    if interface == "acl":
        blocked.append(partial(http, TELEGRAM, "http://www.innocent.example/"))
    outcomes = [attempt(router, client) for attempt in (*blocked, *OTHERS.values())]
    assert outcomes.count(PASSED) == len(OTHERS)
    log = router.squid.folder / "access.log"
    wait_for(lambda: log.read_text().count("TCP_TUNNEL") == 6, "the lines of tunnels")
    told = [line.split()[-2:] for line in log.read_text().splitlines() if not line.endswith(" - -")]
    assert [rule for _, rule in told] == ["all%20of%20them"] * len(blocked)
    command = [str(HELPER), "replay", "--policy", str(router.squid.folder / "policy.toml"), "--json", str(log)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["blocked"] == len(blocked)
    assert found["requests"] - found["without_request"] == len(outcomes)
    assert found["by_service"] == Counter(service for service, _ in told)
