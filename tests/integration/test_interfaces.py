"""Both interfaces behind a real Squid: concurrency, dry run, arguments, today's messengers, SNI."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from real_squid import HELPER, Network, Squid, free_port, listening, rendered, wait_for, with_openssl

pytestmark = pytest.mark.squid
Start = Callable[..., Squid]

TODAY = {
    "web.whatsapp.com": "whatsapp",
    "web.telegram.org": "telegram",
    "discord.com": "discord",
    "gateway.discord.gg": "discord",
    "chat.signal.org": "signal",
    "app.slack.com": "slack",
    "teams.microsoft.com": "microsoft_teams",
    "www.messenger.com": "messenger",
    "edge-chat.facebook.com": "messenger",
    "web.wechat.com": "wechat",
    "wx.qq.com": "wechat",
    "work.weixin.qq.com": "wecom",
    "legy-jp.line-apps.com": "line",
    "www.viber.com": "viber",
    "chat.zalo.me": "zalo",
    "web.threema.ch": "threema",
    "app.element.io": "matrix_element",
    "talk.kakao.com": "kakaotalk",
    "web.snapchat.com": "snapchat",
    "chat.google.com": "google_chat",
}
BUILT_IN = "built-in"


@pytest.fixture(scope="module")
def built_in(start_squid: Start) -> Squid:
    return start_squid(rendered(BUILT_IN))


@pytest.mark.parametrize(("host", "service"), TODAY.items())
def test_todays_messengers_as_get_and_as_connect(built_in: Squid, host: str, service: str) -> None:
    assert built_in.get(f"http://{host}/").status == 403
    assert built_in.log()[0][-2:] == [service, BUILT_IN]
    assert built_in.get(f"{host}:443", method="CONNECT").connect == 403
    assert built_in.log()[0][-2:] == [service, BUILT_IN]


@pytest.mark.parametrize("spelling", ["http://WEB.WhatsApp.COM/", "http://web.whatsapp.com./", "http://x@web.whatsapp.com/",
                                      "http://web.whatsapp.com:8080/", "http://web.what%73app.com/"])  # fmt: skip
def test_spellings_of_a_host_do_not_help(built_in: Squid, spelling: str) -> None:
    assert built_in.get(spelling).status == 403
    assert built_in.log()[0][-2] == "whatsapp"


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
@pytest.mark.parametrize("concurrency", [0, 1, 10])
def test_every_request_gets_its_own_answer(start_squid: Start, interface: str, concurrency: int) -> None:
    squid = start_squid(rendered(BUILT_IN, interface=interface, concurrency=concurrency))
    hosts = ["www.meebo.com", "www.news.example", "discord.com", "notmeebo.com"] * 25

    def status(number: int) -> int:
        return squid.get(f"http://{hosts[number]}/{number}").status

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(status, range(len(hosts))))
    refused = 403 if interface == "acl" else 302
    assert answers == [refused, 200, refused, 200] * 25


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
@pytest.mark.parametrize("how", ["option", "policy"])
def test_a_dry_run_blocks_nothing_and_shows_what_it_would_have(
    start_squid: Start, network: Network, interface: str, how: str
) -> None:
    policy = network.folder / f"dry-{interface}-{how}.toml"
    dry = "[response]\ndry_run = true\n" if how == "policy" else ""
    policy.write_text(f'[[rule]]\nname = "all of them"\nservices = ["all"]\naction = "block"\n{dry}')
    squid = start_squid(rendered(policy, interface=interface, options=" --dry-run" if how == "option" else ""))
    assert squid.get("http://www.meebo.com/").status == 200
    assert squid.log()[0][-2:] == ["meebo", "all%20of%20them"]
    assert squid.get("web.whatsapp.com:443", method="CONNECT").connect == 200
    assert squid.log()[0][-2:] == ["whatsapp", "all%20of%20them"]
    assert squid.get("http://notmeebo.com/").status == 200
    assert squid.log()[0][-2:] == ["-", "-"]


def test_monitored_requests_pass_and_are_logged(start_squid: Start, network: Network) -> None:
    policy = network.folder / "monitor.toml"
    policy.write_text('[[rule]]\nname = "watch"\nservices = ["slack"]\naction = "monitor"\n')
    squid = start_squid(rendered(policy))
    assert squid.get("http://app.slack.com/").status == 200
    assert squid.log()[0][-2:] == ["slack", "watch"]


def test_arguments_ask_whether_it_is_one_of_these_services(start_squid: Start) -> None:
    lines = rendered(BUILT_IN).replace(
        "acl messenger external imhelper", "acl messenger external imhelper whatsapp @web_messenger"
    )
    squid = start_squid(lines)
    expected = {
        "http://web.whatsapp.com/": (403, ["whatsapp", "-"]),
        "http://www.meebo.com/": (403, ["meebo", "-"]),
        "http://discord.com/": (200, ["-", "-"]),
        "http://www.facebook.com/": (200, ["-", "-"]),
    }
    for url, (status, annotations) in expected.items():
        assert squid.get(url).status == status, url
        assert squid.log()[0][-2:] == annotations


def test_squids_own_acls_can_carry_the_policy(start_squid: Start) -> None:
    lines = rendered(BUILT_IN).replace(
        "acl messenger external imhelper", "acl messenger external imhelper all\nacl lunch port 8080"
    )
    squid = start_squid(lines.replace("http_access deny messenger", "http_access deny messenger !lunch"))
    assert squid.get("http://discord.com/").status == 403
    assert squid.get("http://discord.com:8080/").status == 200


@pytest.mark.parametrize(
    "tokens",
    [
        "%SRC %METHOD %URI",
        "%>ru %>rm %>a",
        "%>a %>rm %ru",
        "%>a %>rm %>rs %>rd %>rP %>rp",
        "%>a %>rd",
        "%ea %>a %#>rd %>rP %#un",
        "%SRC %DST %PORT",
        "%>a %>rm %#>ru %#DATA",
        "%>a %>ru %DATA",
        "%>a %#>ru %'{User-Agent}>h",
        '%>a %#>ru %"{User-Agent}>h',
        "%>a %#>ru %[{User-Agent}>h",
        "%/{User-Agent}>h %>a %#>ru",
    ],
)
def test_any_format_in_any_order(start_squid: Start, tokens: str) -> None:
    lines = rendered(BUILT_IN)
    default = "%>a %>rm %#>ru %#{User-Agent}>h %#{Content-Type}>h"
    quoted = tokens.replace('"', '\\"')
    lines = lines.replace(default, tokens).replace(f"{HELPER} acl", f'{HELPER} acl --format "{quoted}"')
    squid = start_squid(lines)
    assert squid.get("http://www.meebo.com/").status == 403
    assert squid.log()[0][-2:] == ["meebo", BUILT_IN]
    assert squid.get("web.whatsapp.com:443", method="CONNECT").connect == 403
    assert squid.log()[0][-2:] == ["whatsapp", BUILT_IN]
    agent = 'Mozilla/5.0 (X11; "quoted" %41 \\ back)'
    assert squid.get("http://notmeebo.com/a%20b?c=%25", headers={"User-Agent": agent}).status == 200
    if "User-Agent" in tokens:
        assert squid.get("http://notmeebo.com/", headers={"User-Agent": "x; MSN Messenger 7"}).status == 403


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_user_names_reach_a_policy_that_asks_for_them(start_squid: Start, network: Network, interface: str) -> None:
    policy = network.folder / "users.toml"
    policy.write_text(
        '[[rule]]\nname = "ann may"\nusers = ["ann"]\naction = "allow"\n'
        '[[rule]]\nname = "nobody else"\nservices = ["all"]\naction = "block"\n'
    )
    login = network.folder / "login"
    login.write_text('#!/bin/sh\nwhile read -r channel rest; do echo "$channel OK"; done\n')
    login.chmod(0o755)
    authentication = (
        f"auth_param basic program {login}\nauth_param basic children 1 concurrency=5\nacl known proxy_auth REQUIRED\n"
        "http_access deny !known\n"
    )
    squid = start_squid(authentication + rendered(policy, interface=interface))
    refused = 403 if interface == "acl" else 302
    for credentials, status in (("Basic YW5uOng=", 200), ("Basic Ym9iOng=", refused)):
        assert squid.get("http://www.meebo.com/", headers={"Proxy-Authorization": credentials}).status == status


def test_a_rewriter_sends_a_connect_where_the_policy_says(
    start_squid: Start, network: Network, other_origin: int
) -> None:
    policy = network.folder / "connect.toml"
    policy.write_text(
        f'[[rule]]\nservices = ["all"]\naction = "block"\n[response]\nconnect = "127.0.0.1:{other_origin}"\n'
    )
    squid = start_squid(rendered(policy, interface="rewrite"), direct="always_direct allow all")
    assert squid.get("web.whatsapp.com:443", method="CONNECT").body.startswith("other GET")
    assert squid.get("http://www.meebo.com/").status == 302


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_the_block_page_does_not_block_itself(start_squid: Start, network: Network, interface: str) -> None:
    policy = network.folder / "own-page.toml"
    policy.write_text(
        '[[rule]]\nservices = ["all"]\naction = "block"\n[response]\nredirect = "http://blocked.meebo.com:8081/?s={service}&u={url}"\n'
    )
    squid = start_squid(rendered(policy, interface=interface))
    assert squid.get("http://blocked.meebo.com:8081/?s=x").status == 200
    assert squid.get("http://blocked.meebo.com/").status == (403 if interface == "acl" else 302)
    if interface == "rewrite":
        location = squid.get("http://www.meebo.com/?a=b&c=%22").location
        assert location == "http://blocked.meebo.com:8081/?s=meebo&u=http%3A%2F%2Fwww.meebo.com%2F%3Fa%3Db%26c%3D%2522"


# ---- SNI ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def peeking(start_squid: Start, network: Network) -> Squid:
    """A Squid that peeks at the ClientHello of a CONNECT and cuts what the helper knows by its SNI."""
    if not with_openssl():
        pytest.skip("this squid has no OpenSSL (apt-get install squid-openssl)")
    pem = network.folder / "proxy.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=proxy.example",
         "-keyout", pem, "-out", pem.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + pem.with_suffix(".crt").read_text())
    pem.chmod(0o644)
    tokens = "%>a %>rm %#>ru %#ssl::>sni"
    lines = (
        rendered(BUILT_IN)
        .replace("%>a %>rm %#>ru %#{User-Agent}>h %#{Content-Type}>h", tokens)
        .replace(f"{HELPER} acl", f'{HELPER} acl --format "{tokens}"')
        .replace("http_access deny messenger", "acl s1 at_step SslBump1\nacl s2 at_step SslBump2\n"
                 "ssl_bump terminate s2 messenger\nssl_bump peek s1\nssl_bump splice all")
    )  # fmt: skip
    return start_squid(
        lines, port_options=f" ssl-bump tls-cert={pem} generate-host-certificates=off", direct="always_direct allow all"
    )


TLS_SERVER = """
import ssl, socket, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        try:
            with context.wrap_socket(server.accept()[0], server_side=True) as client:
                client.recv(100)
                client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nsecret")
        except OSError:
            pass
"""


@pytest.fixture(scope="module")
def tls_origin(network: Network, peeking: Squid) -> Iterator[int]:

    port = free_port()
    process = network.start(sys.executable, "-c", TLS_SERVER, port, network.folder / "proxy.pem")
    wait_for(lambda: listening(network, port), "the TLS server")
    yield port
    process.kill()
    process.wait()


def tls_through(squid: Squid, port: int, sni: str) -> bool:
    """Whether TLS to an address gets through with this SNI."""
    words = ["curl", "-s", "-k", "-m", "20", "-x", f"127.0.0.1:{squid.port}", "--noproxy", "",
             "--connect-to", f"{sni}:443:127.0.0.1:{port}", f"https://{sni}/"]  # fmt: skip
    return "secret" in squid.network.run(*words).stdout


@pytest.mark.parametrize(
    "host", ["web.whatsapp.com", "WEB.Telegram.org", "discord.com", "teams.microsoft.com", "chat.zalo.me"]
)
def test_the_sni_of_a_connect_to_an_address_is_seen(peeking: Squid, tls_origin: int, host: str) -> None:
    assert not tls_through(peeking, tls_origin, host)
    service = TODAY.get(host.lower())
    assert any(line[-2:] == [service, BUILT_IN] for line in peeking.log())


def test_other_names_are_spliced(peeking: Squid, tls_origin: int) -> None:
    assert tls_through(peeking, tls_origin, "www.news.example")


def client_hello(name: bytes) -> bytes:
    """A ClientHello with any bytes for a name (RFC 6066, 3): record, handshake, one cipher, one extension."""
    entry = b"\x00" + len(name).to_bytes(2) + name
    names = len(entry).to_bytes(2) + entry
    extension = b"\x00\x00" + len(names).to_bytes(2) + names
    body = (
        b"\x03\x03" + b"r" * 32 + b"\x00" + b"\x00\x02\xc0\x2f" + b"\x01\x00" + len(extension).to_bytes(2) + extension
    )
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(handshake).to_bytes(2) + handshake


HELLO = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) as client:
    client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\\r\\n\\r\\n" % int(sys.argv[2]))
    client.recv(1000)
    client.sendall(bytes.fromhex(sys.argv[3]))
    client.settimeout(3)
    try:
        client.recv(1000)
    except OSError:
        pass
"""


@pytest.mark.parametrize(
    "name", [b"a.example\n99 OK", b"x.example\nboom y", b"\n", b"web.whatsapp.com\n1 ERR", b" 7 OK ", b"\xff\x00\r\n"]
)
def test_hazard_0_2_an_sni_cannot_forge_a_line(peeking: Squid, tls_origin: int, name: bytes) -> None:
    peeking.network.run(sys.executable, "-c", HELLO, peeking.port, tls_origin, client_hello(name).hex())
    assert "unexpected reply" not in peeking.cache_log
    assert "without a channel-ID" not in peeking.cache_log
    assert peeking.process.poll() is None
    assert not tls_through(peeking, tls_origin, "web.whatsapp.com")
    assert tls_through(peeking, tls_origin, "www.news.example")


# ---- hosts that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT a\\.slack.com:443",
        b"CONNECT a/.slack.com:443",
        b"CONNECT a?.slack.com:443",
        b"CONNECT a#.slack.com:443",
        b"CONNECT a%5c.slack.com:443",
        b"CONNECT a\x0b.slack.com:443",
        b"CONNECT \xff.slack.com:443",
        b"GET http://a\\.slack.com/",
        b"GET http://a%5c.slack.com/",
        b"GET http://a:b:c.slack.com/",
        b"GET http://[a:b.slack.com]/",
        b"GET http://\xff.slack.com/",
        b"GET http://xn--a.slack.com/",
    ],
)
def test_a_host_that_no_standard_knows_is_no_way_round(built_in: Squid, line: bytes) -> None:
    """Squid would resolve each of them, and a wildcard or a client's own zone would answer."""
    head, _ = built_in.send(line)
    assert head.split(" ")[1] == "403"
    assert built_in.log()[0][-2:] == ["slack", BUILT_IN]
