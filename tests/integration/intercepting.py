"""Squids that intercept, in the router of the laboratory, and what a client can try against them."""

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hosts import Host
from lab import CHAT, CHAT6, NEWS, NEWS6, ROUTER, TELEGRAM, TELEGRAM6, Lab
from probes import LONG, certificate_of, get
from real_squid import HELPER, SQUID, Squid, free_port, wait_for

NAMES = {
    "www.news.example": NEWS,
    "ipv6.news.example": NEWS6,
    "www.innocent.example": TELEGRAM,
    "web.whatsapp.com": CHAT,
    "web.telegram.org": CHAT,
    "gateway.discord.gg": CHAT6,
}
"""What Squid's resolver answers; it takes one address a name from a file. Clients say address and name themselves."""
TPROXY_WAY = ("rule add fwmark 0x100/0x100 lookup 3129", "route add local default dev lo table 3129")
CONF = """
http_port {forward}
http_port {peeking} ssl-bump tls-cert={pem} generate-host-certificates=off name=imhelper_forward
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
coredump_dir {folder}
visible_hostname test.example
hosts_file {folder}/hosts
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
{lines}
{access}
"""


@dataclass
class Router:
    """The router with one Squid, which is the lab's while it is used."""

    lab: Lab
    squid: Squid
    ports: dict[str, int]
    interface: str

    def redirect(self) -> None:
        """Has the router send this Squid what goes to 80 and 443."""
        rules = "\n".join(
            f"-A PREROUTING -i eth1 -p tcp --dport {port} -j REDIRECT --to-ports {self.ports[name]}"
            for port, name in ((80, "http"), (443, "https"))
        )
        self._load(f"*nat\n{rules}\nCOMMIT\n")

    @contextmanager
    def transparent(self) -> Iterator[None]:
        """Has the router do so by TPROXY: to the servers, it is the client itself that comes."""
        rules = "\n".join(
            f"-A PREROUTING -i eth1 -p tcp --dport {port} -j TPROXY --tproxy-mark 0x100/0x100"
            f" --on-port {self.ports[name]}"
            for port, name in ((80, "http"), (443, "https"))
        )
        divert = "-A PREROUTING -p tcp -m socket --transparent -j DIVERT\n-A DIVERT -j MARK --set-mark 0x100/0x100"
        ways = [f"{family} {line}" for family in ("-4", "-6") for line in TPROXY_WAY]
        self._load(f"*nat\nCOMMIT\n*mangle\n:DIVERT - [0:0]\n{divert}\n-A DIVERT -j ACCEPT\n{rules}\nCOMMIT\n")
        # Else rules see the packet while it is still in the bridge, behind which TPROXY's choice is forgotten.
        with suppress(AssertionError):  # where the module of bridges is not loaded
            self.lab.router.sysctl("net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")
        for way in ways:
            self.lab.router.run("ip", *way.split())
        try:
            yield
        finally:
            for way in ways:
                self.lab.router.run("ip", *way.replace(" add ", " del ").split())
            self._load("*mangle\nCOMMIT\n")

    def _load(self, rules: str) -> None:
        for tool in ("iptables-restore", "ip6tables-restore"):
            self.lab.router.run(tool, stdin=rules)


def new_router(
    lab: Lab, pem: Path, policy: str, interface: str, answer: str, ttl: int, access: str = "http_access allow all"
) -> Router:
    ports = {name: free_port() for name in ("forward", "peeking", "http", "https")}
    folder = lab.folder / f"imh{os.getpid()}p{ports['forward']}"
    folder.mkdir(mode=0o755)
    path = folder / "policy.toml"
    firewall = f"intercept_ports = {{ http = {ports['http']}, https = {ports['https']} }}\n"
    path.write_text(policy + ("" if "[firewall]" in policy else "[firewall]\n") + firewall)
    lines = printed(path, pem, interface, ttl).replace("/var/log/squid/imhelper.log", f"{folder}/access.log")
    if answer:
        script = folder / "helper"
        script.write_text(f'#!/bin/sh\nwhile read -r channel rest; do echo "$channel {answer}"; done\n')
        script.chmod(0o755)
        lines = re.sub(rf"{re.escape(str(HELPER))} .*", str(script), lines)
    (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in NAMES.items()))
    (folder / "squid.conf").write_text(CONF.format(folder=folder, pem=pem, lines=lines, access=access, **ports))
    (folder / "access.log").touch()
    for made in (folder, folder / "access.log"):
        shutil.chown(made, "proxy", "proxy")
    assert SQUID
    process = lab.router.network.start(
        SQUID, "-N", "-n", folder.name, "-f", folder / "squid.conf", stderr=subprocess.DEVNULL
    )
    squid = Squid(lab.router.network, folder, ports["https"], process)
    wait_for(lambda: process.poll() is not None or squid.accepts, "Squid")
    assert process.poll() is None, squid.cache_log[-3000:]
    return Router(lab, squid, ports, interface)


def printed(policy: Path, pem: Path, interface: str, ttl: int) -> str:
    """What `squid-conf` prints, with answers not cached."""
    command = [str(HELPER), "squid-conf", "--policy", str(policy), "--mode", "intercept"]
    command += ["--tls-cert", str(pem), "--with", interface]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text, count = re.subn(rf"ttl={ttl} negative_ttl={ttl} ", "ttl=0 negative_ttl=0 cache=0 ", done.stdout)
    assert count == 2
    return text.replace("access_log daemon:/var/log/squid/access.log squid\n", "")


# ---- what a client can try ------------------------------------------------------------------------------------------

PASSED, CUT, DENIED = "passed", "cut", "denied"
Attempt = Callable[[Router, Host], str]


def tls(address: str, name: str | None, router: Router, client: Host) -> str:
    """TLS to an address. It has passed when the client sees the certificate of the server itself."""
    return judged(router, certificate_of(client, address, name))


def judged(router: Router, shown: str) -> str:
    if not shown:
        return CUT
    return PASSED if shown.strip() in router.lab.pem.read_text() else "Squid's own certificate"


def http(address: str, url: str, router: Router, client: Host, method: str = "GET") -> str:
    """HTTP to an address, the Host header being the URL's."""
    return answered(router, get(client, url, address, method=method))


def forward(url: str, router: Router, client: Host) -> str:
    """HTTP through the forward port."""
    return answered(router, get(client, url, ROUTER, router.ports["forward"]))


def answered(router: Router, answer: str) -> str:
    status, _, rest = answer.partition("\r\n")
    if status.split()[1:2] == ["200"] and " at " in rest:
        return PASSED
    refusal = {"acl": "403", "rewrite": "302"}[router.interface]
    return DENIED if status.split()[1:2] == [refusal] else answer


def connect(target: str, router: Router, client: Host) -> str:
    """CONNECT to a forward port that does not look into TLS."""
    answer = client.call(_connect, router.ports["forward"], target)
    return PASSED if answer.startswith("HTTP/1.1 200") else answered(router, answer)


def _connect(port: int, target: str) -> str:
    with socket.create_connection((ROUTER, port), LONG) as client:
        client.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        return client.recv(1000).decode()


def tunnel(target: str, name: str | None, router: Router, client: Host) -> str:
    """TLS in a CONNECT to a forward port that looks into it."""
    return judged(router, client.call(_certificate_in, router.ports["peeking"], target, name))


def _certificate_in(port: int, target: str, name: str | None) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(ConnectionError, ssl.SSLError), socket.create_connection((ROUTER, port), LONG) as client:
        client.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        with context.wrap_socket(client, server_hostname=name) as inside:
            return ssl.DER_cert_to_PEM_cert(inside.getpeercert(binary_form=True) or b"")
    return ""


TLS = {
    "name": partial(tls, CHAT, "web.whatsapp.com"),
    "name-ipv6": partial(tls, CHAT6, "gateway.discord.gg"),
    "address-without-a-name": partial(tls, TELEGRAM, None),
    "address-without-a-name-ipv6": partial(tls, TELEGRAM6, None),
    "address-with-a-harmless-name": partial(tls, TELEGRAM, "www.innocent.example"),
    "forward-address-with-a-name": partial(tunnel, f"{CHAT}:443", "web.whatsapp.com"),
    "forward-address-with-a-name-spelt-oddly": partial(tunnel, f"{CHAT}:443", "WEB.Telegram.ORG."),
    "forward-host-with-another-name": partial(tunnel, "web.whatsapp.com:443", "www.news.example"),
    "forward-host-without-a-name": partial(tunnel, "gateway.discord.gg:443", None),
    "forward-address-without-a-name": partial(tunnel, f"{TELEGRAM}:443", None),
}
"""What is cut."""
HTTP = {
    "host": partial(http, CHAT, "http://web.whatsapp.com/"),
    "host-ipv6": partial(http, CHAT6, "http://gateway.discord.gg/"),
    "bare-address": partial(http, TELEGRAM, f"http://{TELEGRAM}/api", method="POST"),
    "bare-address-ipv6": partial(http, TELEGRAM6, f"http://[{TELEGRAM6}]/"),
    "forward": partial(forward, "http://web.telegram.org/"),
    "forward-address": partial(forward, f"http://{TELEGRAM}/"),
    "forward-connect": partial(connect, "web.whatsapp.com:443"),
    "forward-connect-address": partial(connect, f"{TELEGRAM}:443"),
}
"""What is denied, or redirected."""
OTHERS = {
    "tls": partial(tls, NEWS, "www.news.example"),
    "tls-ipv6": partial(tls, NEWS6, "ipv6.news.example"),
    "tls-without-a-name": partial(tls, NEWS, None),
    "http": partial(http, NEWS, "http://www.news.example/"),
    "http-ipv6": partial(http, NEWS6, "http://ipv6.news.example/"),
    "forward": partial(forward, "http://www.news.example/"),
    "forward-connect": partial(connect, "www.news.example:443"),
    "forward-tls": partial(tunnel, "www.news.example:443", "www.news.example"),
    "forward-tls-without-a-name": partial(tunnel, f"{NEWS}:443", None),
}
