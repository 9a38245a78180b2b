"""A Squid that intercepts, the rules that bring it what it is to see, and a client that knows of neither."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hosts import certificate
from lab import (
    CHAT,
    CHAT6,
    CLIENT,
    CLIENT6,
    EXEMPT,
    EXEMPT_FIRST,
    MSN,
    NAMES,
    NEWS,
    NEWS6,
    RESOLVER,
    RESOLVER6,
    ROUTER,
    ROUTER6,
    TELEGRAM,
    TELEGRAM6,
    WAN,
    WAN6,
    Lab,
    Rules,
    laboratory,
    squid_on,
    why_no_lab,
)
from probes import ANSWERED, REFUSED, SILENT, certificate_of, expect, get, tcp, udp
from real_squid import Network, Squid, wait_for, with_openssl

pytestmark = [
    pytest.mark.root,
    pytest.mark.squid,
    pytest.mark.skipif(why_no_lab() != "", reason=why_no_lab()),
    pytest.mark.skipif(not with_openssl(), reason="Squid without OpenSSL (apt-get install squid-openssl)"),
]

POLICY = (
    EXEMPT_FIRST
    + """
[[rule]]
name = "no messengers"
services = ["all"]
action = "block"

[firewall]
wan = "eth0"
lan = "eth1"
"""
)
PORTS = {"redirect": (3128, 3129, 3130), "tproxy": (4128, 4129, 4130)}
"""Ports of the two Squids: for clients that know it, for HTTP, for TLS."""
RULE = "no%20messengers"
GATEWAY = "/gateway/gateway.dll?Action=open&Server=NS&IP=messenger.hotmail.com"


def policy(mode: str) -> str:
    proxy, http, https = PORTS[mode]
    ports = f"intercept_ports = {{ http = {http}, https = {https} }}\nproxy_ports = [{proxy}]\n"
    return f'{POLICY}intercept = "{mode}"\n{ports}'


@pytest.fixture(scope="module")
def lab(network: Network) -> Iterator[Lab]:
    with laboratory(network.folder) as built:
        # By this, packets that TPROXY has marked find the router itself.
        for flag in ("-4", "-6"):
            built.router.run("ip", flag, "rule", "add", "fwmark", "0x100/0x100", "lookup", "3129")
            built.router.run("ip", flag, "route", "add", "local", "default", "dev", "lo", "table", "3129")
        yield built


@pytest.fixture(scope="module")
def squids(lab: Lab) -> Iterator[dict[str, Squid]]:
    pem = certificate(lab.folder, "squid")
    with ExitStack() as stack:
        yield {
            mode: stack.enter_context(
                squid_on(lab, policy(mode), "--mode", "intercept", "--tls-cert", pem, port=ports[0])
            )
            for mode, ports in PORTS.items()
        }


@pytest.fixture(params=PORTS)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Log:
    """What a Squid has written since a test began."""

    def __init__(self, squid: Squid) -> None:
        self._path = squid.folder / "access.log"
        self._start = self._path.stat().st_size

    def clients(self) -> set[str]:
        return {line.split()[2] for line in self._lines()}

    def shows(self, client: str, address: str, service: str = "-", rule: str = "-") -> None:
        """Waits for a line about a client and an address, with service and rule at its end."""

        def is_there() -> bool:
            lines = [line.split() for line in self._lines()]
            return any(line[2] == client and line[-4] == address and line[-2:] == [service, rule] for line in lines)

        wait_for(is_there, f"{client} {address} {service} {rule}")

    def _lines(self) -> list[str]:
        return self._path.read_text()[self._start :].splitlines()


@pytest.fixture
def log(squids: dict[str, Squid], mode: str) -> Log:
    return Log(squids[mode])


@pytest.fixture(scope="module")
def origin_certificate(lab: Lab) -> str:
    text = lab.pem.read_text()
    return text[text.index("-----BEGIN CERTIFICATE-----") :]


def seen(client: str, address: str) -> str:
    """A client as it is seen at an address, of IPv4 or IPv6."""
    return {CLIENT: CLIENT6, WAN: WAN6}[client] if ":" in address else client


def asks(mode: str) -> str:
    """Who asks for the client: Squid in its own name, or in the client's."""
    return {"redirect": WAN, "tproxy": CLIENT}[mode]


@pytest.mark.parametrize("stance", ["accept", "drop"])
@pytest.mark.parametrize("address", [NEWS, NEWS6])
def test_pages_flow(rules: Rules, lab: Lab, log: Log, mode: str, address: str, stance: str) -> None:
    rules.load(policy(mode) + f'default = "{stance}"\n')
    page = get(lab.client, f"http://{NAMES[address]}/today", address)
    assert page.startswith("HTTP/1.1 200 ")
    assert page.endswith(f"\r\n\r\nGET /today at {address} for {seen(asks(mode), address)}")
    log.shows(seen(CLIENT, address), address)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        pytest.param(f"http://{MSN}{GATEWAY}", MSN, id="address"),
        pytest.param(f"http://gateway.messenger.hotmail.com{GATEWAY}", MSN, id="name"),
        pytest.param(f"http://[{NEWS6}]{GATEWAY}", NEWS6, id="IPv6"),
    ],
)
def test_the_gateway_of_msn_is_caught(rules: Rules, lab: Lab, log: Log, mode: str, url: str, address: str) -> None:
    assert get(lab.client, url, address, method="POST").endswith(
        f"POST {GATEWAY} at {address} for {seen(CLIENT, address)}"
    )
    rules.load(policy(mode))
    assert get(lab.client, url, address, method="POST").startswith("HTTP/1.1 403 ")
    log.shows(seen(CLIENT, address), address, "msn_messenger", RULE)


@pytest.mark.parametrize("stance", ["accept", "drop"])
@pytest.mark.parametrize("address", [NEWS, NEWS6])
def test_tls_to_others_is_not_touched(
    rules: Rules, lab: Lab, log: Log, mode: str, address: str, origin_certificate: str, stance: str
) -> None:
    rules.load(policy(mode) + f'default = "{stance}"\n')
    assert certificate_of(lab.client, address, NAMES[address]) == origin_certificate
    log.shows(seen(CLIENT, address), address)


@pytest.mark.parametrize(
    ("address", "name", "service"),
    [
        pytest.param(CHAT, NAMES[CHAT], "whatsapp", id="name"),
        pytest.param(CHAT6, NAMES[CHAT6], "whatsapp", id="name-IPv6"),
        pytest.param(TELEGRAM, None, "telegram", id="network"),
        pytest.param(TELEGRAM6, None, "telegram", id="network-IPv6"),
    ],
)
def test_tls_to_messengers_is_ended(
    rules: Rules, lab: Lab, log: Log, mode: str, address: str, name: str, service: str, origin_certificate: str
) -> None:
    assert certificate_of(lab.client, address, name) == origin_certificate
    rules.load(policy(mode))
    assert certificate_of(lab.client, address, name) == ""
    log.shows(seen(CLIENT, address), address, service, RULE)


def test_the_exempt_host_passes_by(rules: Rules, lab: Lab, log: Log, mode: str, origin_certificate: str) -> None:
    rules.load(policy(mode))
    page = get(lab.exempt, f"http://{MSN}{GATEWAY}", MSN, method="POST")
    assert page.endswith(f"POST {GATEWAY} at {MSN} for {EXEMPT}")
    for address in (CHAT, CHAT6, TELEGRAM6):
        assert certificate_of(lab.exempt, address, "web.whatsapp.com") == origin_certificate
    get(lab.client, "http://news.example/", NEWS)
    log.shows(CLIENT, NEWS)
    assert log.clients() == {CLIENT}


def test_the_exempt_host_may_be_taken_in(rules: Rules, lab: Lab, log: Log, mode: str) -> None:
    rules.load(policy(mode) + "intercept_exempt = true\n")
    assert get(lab.exempt, f"http://{MSN}{GATEWAY}", MSN, method="POST").startswith("HTTP/1.1 200 ")
    log.shows(EXEMPT, MSN)


def test_what_squid_cannot_see_is_stopped(rules: Rules, lab: Lab, mode: str) -> None:
    quic, native = udp((443,), NEWS, NEWS6, CHAT6), tcp((1863, 5242), NEWS, NEWS6) + tcp((5222,), TELEGRAM, TELEGRAM6)
    rules.stop(lab.client, quic, policy(mode), REFUSED)
    rules.stop(lab.client, native, policy(mode), SILENT)
    expect(lab.exempt, quic + native, ANSWERED)
    expect(lab.client, tcp((22, 5222, 7777), NEWS, NEWS6), ANSWERED)


@pytest.mark.usefixtures("squids")
def test_nobody_can_make_squid_ask_itself(rules: Rules, lab: Lab, mode: str) -> None:
    for host, addresses in ((lab.client, (ROUTER, ROUTER6, WAN)), (lab.servers, (WAN, WAN6))):
        rules.stop(host, tcp(PORTS[mode][1:], *addresses), policy(mode), SILENT)


def test_resolvers_that_hide_questions_in_tls_are_refused(rules: Rules, lab: Lab, mode: str) -> None:
    hidden = tcp((443, 853), RESOLVER, RESOLVER6)
    rules.stop(lab.client, hidden, policy(mode) + 'encrypted_dns = "reject"\n', REFUSED)
    expect(lab.exempt, hidden, ANSWERED)
