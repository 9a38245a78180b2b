"""What is told apart when there is no URL: CONNECT, SNI, bare addresses, ports, and where intercepted traffic goes.

Every case is asked for in each way in which it can come about: by `check`, by a helper behind a forward port that looks
into TLS, and by one behind an intercepting port. They are started as a user and as Squid start them.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from real_squid import HELPER

from squid_imhelper.squid.intercepting import FORWARD_FORMAT, INTERCEPTED_FORMAT

NOBODY, NOBODY6 = "203.0.113.7", "2001:db8::7"
TELEGRAM, TELEGRAM6 = "149.154.167.50", "2001:67c:4e8:f002::a"
OWN = "192.168.1.1"
"""Squid's own address, which a forward port has for %>la."""

CONNECTS = {
    "host": ("web.whatsapp.com:443", "", "whatsapp"),
    "host-and-the-same-name": ("web.whatsapp.com:443", "web.whatsapp.com", "whatsapp"),
    "host-and-an-innocent-name": ("web.whatsapp.com:443", "www.news.example", "whatsapp"),
    "innocent-host-and-a-name": ("www.news.example:443", "web.whatsapp.com", "whatsapp"),
    "two-messengers": ("discord.com:443", "t.me", "discord"),
    "two-messengers-the-more-precise-first": ("whatsapp.com:443", "web.telegram.org", "telegram"),
    "innocent-host-and-name": ("www.news.example:443", "www.news.example", None),
    "innocent-host-without-a-name": ("www.news.example:443", "", None),
    "address-and-a-name": (f"{NOBODY}:443", "web.telegram.org", "telegram"),
    "address-and-a-domain": (f"{NOBODY}:443", "a.b.t.me", "telegram"),
    "address-and-an-innocent-name": (f"{NOBODY}:443", "www.news.example", None),
    "address-and-a-name-that-ends-alike": (f"{NOBODY}:443", "notweb-telegram.org", None),
    "address-without-a-name": (f"{NOBODY}:443", "", None),
    "ipv6-address-and-a-name": (f"[{NOBODY6}]:443", "gateway.discord.gg", "discord"),
    "ipv6-address-without-a-name": (f"[{NOBODY6}]:443", "", None),
    "mapped-address-and-a-name": (f"[::ffff:{NOBODY}]:443", "gateway.discord.gg", "discord"),
    "name-in-capitals": (f"{NOBODY}:443", "WEB.Telegram.ORG", "telegram"),
    "name-with-a-dot": (f"{NOBODY}:443", "web.telegram.org.", "telegram"),
    "name-with-a-line": (f"{NOBODY}:443", "a.example\nb OK.t.me", "telegram"),
    "name-is-an-address": (f"{NOBODY}:443", TELEGRAM, "telegram"),
    "name-is-only-dots": (f"{NOBODY}:443", "...", None),
    "name-of-sixty-kilobytes": (f"{NOBODY}:443", "a." * 30_000 + "t.me", "telegram"),
    "telegrams-address": (f"{TELEGRAM}:443", "", "telegram"),
    "telegrams-address-and-an-innocent-name": (f"{TELEGRAM}:443", "www.news.example", "telegram"),
    "telegrams-address-and-an-excepted-name": (f"{TELEGRAM}:443", "core.telegram.org", "telegram"),
    "telegrams-address-port-80": (f"{TELEGRAM}:80", "", "telegram"),
    "telegrams-address-port-5222": (f"{TELEGRAM}:5222", "", "telegram"),
    "telegrams-ipv6": (f"[{TELEGRAM6}]:443", "", "telegram"),
    "telegrams-ipv6-port-5222": (f"[{TELEGRAM6}]:5222", "", "telegram"),
    "telegrams-ipv6-spelt-out": ("[2001:067C:04E8:F002:0:0:0:000A]:443", "", "telegram"),
    "telegrams-mapped": (f"[::ffff:{TELEGRAM}]:443", "", "telegram"),
    "telegrams-mapped-in-hex": ("[::ffff:959a:a732]:443", "", "telegram"),
    "telegrams-nat64": ("[64:ff9b::959a:a732]:443", "", "telegram"),
    "telegrams-6to4": ("[2002:959a:a732::1]:443", "", "telegram"),
    "telegrams-neighbour": ("149.154.176.0:443", "", None),
    "telegrams-ipv6-neighbour": ("[2001:67c:4e9::1]:443", "", None),
    "microsoft-teams-address": ("52.113.194.132:443", "", "microsoft_teams"),
    "port-of-msn": (f"{NOBODY}:1863", "", "msn_messenger"),
    "port-of-aim": (f"{NOBODY}:5190", "", "aim"),
    "port-of-yahoo": (f"{NOBODY}:5050", "", "yahoo_messenger"),
    "port-of-viber": (f"{NOBODY}:5242", "", "viber"),
    "port-of-irc": (f"{NOBODY}:6697", "", "irc_web"),
    "port-of-gadu-gadu": (f"[{NOBODY6}]:8074", "", "gadu_gadu"),
    "port-of-xmpp-servers": (f"{NOBODY}:5269", "", "xmpp"),
    "port-that-many-share": (f"{NOBODY}:5222", "", None),
    "port-that-apple-shares": (f"{NOBODY}:5223", "", None),
    "shared-port-and-a-name": (f"{NOBODY}:5222", "e3.whatsapp.net", "whatsapp"),
    "shared-port-and-a-host": ("talk1110an.kik.com:5223", "", "kik"),
    "name-before-port": (f"{NOBODY}:1863", "web.telegram.org", "telegram"),
    "port-whatever-the-name": (f"{NOBODY}:1863", "www.news.example", "msn_messenger"),
}  # fmt: skip
"""A CONNECT, an SNI, and the service."""

REQUESTS = {
    "post-to-telegrams-api": ("POST", f"http://{TELEGRAM}/api", "telegram"),
    "get-from-telegram": ("GET", f"http://{TELEGRAM}/", "telegram"),
    "post-to-telegrams-ipv6-api": ("POST", f"http://[{TELEGRAM6}]/api", "telegram"),
    "post-to-somebodys-api": ("POST", f"http://{NOBODY}/api", None),
    "post-to-somebodys-ipv6-api": ("POST", f"http://[{NOBODY6}]/api", None),
    "mapped": ("POST", f"http://[::ffff:{TELEGRAM}]/api", "telegram"),
    "number": ("GET", "http://2509940530/", "telegram"),
    "address-with-telegrams-port": ("GET", f"http://{TELEGRAM}:443/", "telegram"),
    "address-with-a-port-of-msn": ("GET", f"http://{NOBODY}:1863/", "msn_messenger"),
    "msn-by-http": ("POST", f"http://{NOBODY}/gateway/gateway.dll?SessionID=1.2", "msn_messenger"),
    "anything": ("GET", f"http://{NOBODY}/", None),
}
"""A request to a bare address, and the service."""

DESTINATIONS = {
    "innocent-host-at-telegram": ("GET", "http://www.news.example/", "", TELEGRAM, 80, "telegram"),
    "innocent-host-at-telegram-ipv6": ("GET", "http://www.news.example/", "", TELEGRAM6, 80, "telegram"),
    "innocent-host-at-telegram-nat64": ("GET", "http://www.news.example/", "", "64:ff9b::959a:a732", 80, "telegram"),
    "telegrams-api-under-a-name": ("POST", "http://www.news.example/api", "", TELEGRAM, 80, "telegram"),
    "innocent-host-at-a-port-of-msn": ("GET", "http://www.news.example/", "", NOBODY, 1863, "msn_messenger"),
    "innocent-host-at-nobodys": ("GET", "http://www.news.example/", "", NOBODY, 80, None),
    "host-at-nobodys": ("GET", "http://web.whatsapp.com/", "", NOBODY, 80, "whatsapp"),
    "host-at-somebody-elses": ("GET", "http://web.whatsapp.com/", "", TELEGRAM, 80, "whatsapp"),
    "tls-after-the-name-is-known": ("CONNECT", "www.news.example:443", "www.news.example", TELEGRAM, 443, "telegram"),
    "tls-at-a-shared-port": ("CONNECT", f"{NOBODY}:5222", "", NOBODY, 5222, None),
}  # fmt: skip
"""What only an intercepting port shows: where the client had connected, whatever the host."""


class Helper:
    """An external ACL helper, asked line by line."""

    def __init__(self, layout: str, *options: str) -> None:
        command = [str(HELPER), "acl", *options, "--format", layout]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._asked = 0

    def service(self, *fields: str) -> str | None:
        """The service for which a request is blocked; the fields as Squid sends them."""
        assert self.process.stdin
        assert self.process.stdout
        self._asked += 1
        words = (quote(field, safe=".") if field else "-" for field in fields)
        self.process.stdin.write(f"{self._asked} {' '.join(words)} - - -\n")
        self.process.stdin.flush()
        channel, word, *pairs = self.process.stdout.readline().split()
        assert int(channel) == self._asked
        values = dict(pair.split("=", 1) for pair in pairs)
        return values["tag"] if word == "OK" else None

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture(scope="module")
def forward() -> Iterator[Helper]:
    helper = Helper(FORWARD_FORMAT, "--policy", "built-in")
    yield helper
    helper.close()


@pytest.fixture(scope="module")
def intercepted() -> Iterator[Helper]:
    helper = Helper(INTERCEPTED_FORMAT, "--policy", "built-in", "--intercepted")
    yield helper
    helper.close()


def checked(target: str, *options: str) -> str | None:
    """The service for which `check` blocks a request."""
    command = [str(HELPER), "check", "--policy", "built-in", "--json", *options, target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert found["error"] is None
    assert (found["action"] == "block") == bool(found["service"])
    service: str | None = found["service"]
    return service


def is_address(target: str) -> bool:
    """Whether a CONNECT is one to an address, as all are that an intercepting port sees."""
    return target.startswith(("[", NOBODY, TELEGRAM)) or target[:1].isdigit()


@pytest.mark.parametrize(("target", "name", "service"), CONNECTS.values(), ids=CONNECTS)
def test_a_tunnel_is_told_by_host_name_address_and_port(
    forward: Helper, intercepted: Helper, target: str, name: str, service: str | None
) -> None:
    assert checked(target, "--method", "CONNECT", *(("--sni", name) if name else ())) == service
    assert forward.service("192.168.1.77", "CONNECT", target, name) == service
    if is_address(target):
        host, _, port = target.rpartition(":")
        address = host.strip("[]")
        assert intercepted.service("192.168.1.77", "CONNECT", target, name, address, port) == service


@pytest.mark.parametrize(("method", "url", "service"), REQUESTS.values(), ids=REQUESTS)
def test_http_to_an_address(forward: Helper, intercepted: Helper, method: str, url: str, service: str | None) -> None:
    """An intercepting port names Squid's own port for none of these: what they say is in the URL."""
    assert checked(url, "--method", method) == service
    assert forward.service("192.168.1.77", method, url, "") == service
    assert intercepted.service("192.168.1.77", method, url, "", NOBODY, "80") == service


@pytest.mark.parametrize(
    ("method", "url", "name", "address", "port", "service"), DESTINATIONS.values(), ids=DESTINATIONS
)
def test_where_intercepted_traffic_goes_counts(
    forward: Helper, intercepted: Helper, method: str, url: str, name: str, address: str, port: int, service: str | None
) -> None:
    assert intercepted.service("192.168.1.77", method, url, name, address, str(port)) == service


def test_a_forward_port_shows_no_destination() -> None:
    """What stands for it there is Squid itself, and nobody's network or port."""
    helper = Helper(INTERCEPTED_FORMAT, "--policy", "built-in")
    try:
        assert helper.service("192.168.1.77", "GET", "http://www.news.example/", "", OWN, "1863") is None
        assert helper.service("192.168.1.77", "GET", "http://www.news.example/", "", TELEGRAM, "3128") is None
    finally:
        helper.close()


POLICY = """
[sites]
ours = { domains = ["telegram.org", "news.example"], networks = ["149.154.167.99"] }
[[rule]]
services = ["whatsapp"]
action = "allow"
[[rule]]
sites = ["ours"]
action = "allow"
[[rule]]
services = ["all"]
action = "block"
"""


@pytest.mark.parametrize(
    ("target", "name", "address", "service"),
    [
        pytest.param(f"{NOBODY}:443", "web.whatsapp.com", NOBODY, None, id="allowed"),
        pytest.param(f"{TELEGRAM}:443", "web.whatsapp.com", TELEGRAM, "whatsapp", id="anothers-address"),
        pytest.param("web.whatsapp.com:443", "web.whatsapp.com", TELEGRAM, "whatsapp", id="anothers-address-later"),
        pytest.param(f"{NOBODY}:443", "discord.com", NOBODY, "discord", id="another"),
        pytest.param(f"{NOBODY}:443", "web.telegram.org", NOBODY, None, id="site-at-nobodys"),
        pytest.param(f"{TELEGRAM}:443", "web.telegram.org", TELEGRAM, "telegram", id="site-at-a-messengers"),
        pytest.param(f"{TELEGRAM}:443", "www.news.example", TELEGRAM, "telegram", id="innocent-site-at-a-messengers"),
        pytest.param("149.154.167.99:443", "oauth.telegram.org", "149.154.167.99", None, id="site-and-its-address"),
    ],
)
def test_what_is_let_through_is_let_through_by_every_name(
    tmp_path: Path, target: str, name: str, address: str, service: str | None
) -> None:
    """A messenger's address counts like a name. What is not let through is told by its strongest sign."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    helper = Helper(INTERCEPTED_FORMAT, "--policy", str(path), "--intercepted")
    try:
        assert helper.service("192.168.1.77", "CONNECT", target, name, address, "443") == service
    finally:
        helper.close()
