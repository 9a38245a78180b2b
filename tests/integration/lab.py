"""A laboratory of network namespaces: two clients on a LAN, a router with the rules under test, servers behind it.

client  192.168.1.77  2001:db8:1::77 --+
                                       eth1  router  eth0 -- servers -- far
exempt  192.168.1.16  2001:db8:1::16 --+
"""

import itertools
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from socketserver import BaseRequestHandler
from typing import Any, Final

import pytest
from hosts import SINK, Host, Https, Sink, certificate, echoes, serving, web
from probes import ANSWERED, Probe, expect, tcp
from real_squid import HELPER, IS_ROOT, SQUID, Squid, new_namespace, wait_for

CLIENT, CLIENT6 = "192.168.1.77", "2001:db8:1::77"
EXEMPT, EXEMPT6 = "192.168.1.16", "2001:db8:1::16"
ROUTER, ROUTER6 = "192.168.1.1", "2001:db8:1::1"
WAN, WAN6 = "203.0.113.1", "2001:db8:f::1"
NEWS, NEWS6 = "203.0.113.10", "2001:db8:f::10"
"""An ordinary server."""
CHAT, CHAT6 = "203.0.113.20", "2001:db8:f::20"
"""A messenger's server that only its name tells."""
TELEGRAM, TELEGRAM6 = "149.154.167.50", "2001:67c:4e8::10"
AIM = "64.12.24.10"
YAHOO = "216.155.193.10"
MSN = "207.46.25.15"
RESOLVER, RESOLVER6 = "9.9.9.9", "2620:fe::fe"
"""One that everybody knows, who also answers by HTTPS."""
SERVERS = (NEWS, CHAT, TELEGRAM, AIM, YAHOO, MSN, RESOLVER)
SERVERS6 = (NEWS6, CHAT6, TELEGRAM6, RESOLVER6)
FAR, FAR6 = "198.51.100.10", "2001:db8:e::10"
"""A server behind a narrow link."""
NARROW: Final = 1300

TCP_PORTS = (22, 25, 853, 1863, 5050, 5190, 5222, 5242, 7777)
UDP_PORTS = (53, 443, 853, 3478, 5242, 7777)
_numbers = itertools.count(1)


EXEMPT_FIRST = """
[clients]
exempt = ["192.168.1.16", "2001:db8:1::16"]

[[rule]]
name = "the exempt host"
clients = ["exempt"]
action = "allow"
"""
"""The exempt host may do everything; what follows is for the others."""


def why_no_lab() -> str:
    """Why there can be no laboratory here, or ""."""
    if not IS_ROOT:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "sysctl", "openssl") if shutil.which(tool) is None]
    if missing:
        return f"missing: {', '.join(missing)} (apt-get install iproute2 procps openssl)"
    name = f"imhlab{os.getpid()}try"
    if not new_namespace(name):
        return "no network namespaces can be made here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@cache
def printed(policy: Path, text: str, *options: str) -> str:
    """What `firewall` prints for a policy; its text is asked for because the file may change."""
    command = [str(HELPER), "firewall", "--policy", str(policy), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + text
    return done.stdout


@dataclass(frozen=True)
class Backend:
    """A kind of packet filter: what the program prints, by which tool that is loaded, and what removes it."""

    name: str
    loads: tuple[tuple[str, str], ...]
    empty: str

    @property
    def missing(self) -> str:
        return ", ".join(tool.split()[0] for _, tool in self.loads if shutil.which(tool.split()[0]) is None)

    def load(self, router: Host, policy: Path) -> None:
        for name, tool in self.loads:
            router.run(*tool.split(), stdin=printed(policy, policy.read_text(), "--backend", name))

    def flush(self, router: Host) -> None:
        for _, tool in self.loads:
            router.run(*tool.split(), stdin=self.empty)


EMPTY = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*nat\nCOMMIT\n*mangle\nCOMMIT\n"
BACKENDS = (
    *(
        Backend(
            f"iptables-{kind}",
            (("iptables", f"iptables-{kind}-restore"), ("ip6tables", f"ip6tables-{kind}-restore")),
            EMPTY,
        )
        for kind in ("nft", "legacy")
    ),
    Backend("nftables", (("nftables", "nft -f -"),), "flush ruleset\n"),
)


@dataclass
class Lab:
    """The hosts; `pem` is the certificate of all the servers."""

    folder: Path
    pem: Path
    client: Host
    exempt: Host
    router: Host
    servers: Host
    far: Host


class Rules:
    """The rules of a policy in the router, by one back end."""

    def __init__(self, lab: Lab, backend: Backend) -> None:
        self.lab = lab
        self.backend = backend

    def load(self, policy: str | Path) -> None:
        """Loads the rules of a policy, given as a file or as its text."""
        path = policy if isinstance(policy, Path) else self.lab.folder / "policy.toml"
        if isinstance(policy, str):
            path.write_text(policy)
        self.backend.load(self.lab.router, path)

    def flush(self) -> None:
        self.backend.flush(self.lab.router)

    def stop(self, host: Host, probes: Iterable[Probe], policy: str | Path, outcome: str) -> None:
        """Whatever is said to be stopped arrives without the rules, and does not with them."""
        probes = list(probes)
        self.flush()
        expect(host, probes, ANSWERED)
        self.load(policy)
        expect(host, probes, outcome)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def rules(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Rules]:
    backend: Backend = request.param
    if backend.missing:
        pytest.skip(f"missing: {backend.missing}")
    yield Rules(lab, backend)
    backend.flush(lab.router)


SQUID_CONF = """
http_port {port}
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
coredump_dir {folder}
visible_hostname lab.example
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
hosts_file {folder}/hosts
dns_nameservers 127.0.0.1
{lines}
http_access allow all
"""
PROXY = 3128
HOSTS = {
    "news.example": NEWS,
    "news6.example": NEWS6,
    "web.whatsapp.com": CHAT,
    "v.whatsapp.net": CHAT6,
    "gateway.messenger.hotmail.com": MSN,
}
"""What names mean to Squid, which takes only one address of each from a file."""
NAMES = {address: name for name, address in HOSTS.items()}


@contextmanager
def squid_on(lab: Lab, policy: str, *options: object, port: int = PROXY) -> Iterator[Squid]:
    """A Squid on the router, with the lines that `squid-conf` prints for a policy, until the end."""
    folder = lab.folder / f"router{next(_numbers)}"
    folder.mkdir(mode=0o755)
    (folder / "policy.toml").write_text(policy)
    (folder / "access.log").touch()
    (folder / "hosts").write_text("".join(f"{address} {name}\n" for address, name in NAMES.items()))
    for path in (folder, folder / "access.log"):
        shutil.chown(path, "proxy", "proxy")
    command = [str(HELPER), "squid-conf", "--policy", str(folder / "policy.toml"), *map(str, options)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = lines.replace("access_log daemon:/var/log/squid/access.log squid\n", "")
    lines = lines.replace("/var/log/squid/imhelper.log", f"{folder}/access.log")
    (folder / "squid.conf").write_text(SQUID_CONF.format(port=port, folder=folder, lines=lines))
    words = (SQUID, "-N", "-n", f"lab{os.getpid()}{folder.name}", "-f", folder / "squid.conf")
    process = lab.router.network.start(*words, stderr=subprocess.DEVNULL)
    try:
        squid = Squid(lab.router.network, folder, port, process)
        wait_for(lambda: process.poll() is not None or squid.accepts, "Squid")
        assert process.poll() is None, squid.cache_log[-3000:]
        yield squid
        assert process.poll() is None, squid.cache_log[-3000:]
    finally:
        process.terminate()
        process.wait(60)


def _servers(pem: Path) -> list[Any]:
    https = web(443, Https)
    https.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    https.context.load_cert_chain(pem)
    return [*echoes(TCP_PORTS, UDP_PORTS), Sink(("::", SINK), BaseRequestHandler), web(80), https]


@contextmanager
def laboratory(folder: Path) -> Iterator[Lab]:
    """Builds all of it, and removes all of it."""
    with ExitStack() as stack:
        hosts = {}
        for name in ("client", "exempt", "router", "servers", "far"):
            hosts[name] = Host(f"imhlab{os.getpid()}{name}", folder)
            stack.callback(hosts[name].remove)
            hosts[name].sysctl("net.ipv6.conf.default.dad_transmits=0", "net.ipv6.conf.default.accept_ra=0")
            hosts[name].ip("link set lo up")
        lab = Lab(folder, certificate(folder, "origin"), **hosts)
        _connect(lab)
        stack.enter_context(serving(lab.servers, lambda: _servers(lab.pem)))
        stack.enter_context(serving(lab.far, lambda: echoes(TCP_PORTS)))
        for host in (lab.client, lab.exempt):  # a hundred packets at once do not wait until all know their neighbours
            expect(host, tcp(TCP_PORTS, NEWS, NEWS6), ANSWERED)
        yield lab


def _connect(lab: Lab) -> None:
    """Links, addresses and routes; no address waits until it is known to be nobody else's."""
    router, servers = lab.router, lab.servers
    router.ip("link add eth1 type bridge mcast_snooping 0", "link set eth1 up")
    for number, (host, v4, v6) in enumerate([(lab.client, CLIENT, CLIENT6), (lab.exempt, EXEMPT, EXEMPT6)]):
        router.ip(
            f"link add lan{number} type veth peer name eth0 netns {host.name}", f"link set lan{number} master eth1 up"
        )
        host.ip("link set eth0 up", f"addr add {v4}/24 dev eth0", f"addr add {v6}/64 dev eth0 nodad")
        host.ip(f"route add default via {ROUTER}", f"route add default via {ROUTER6}")
    router.ip(f"link add eth0 type veth peer name eth0 netns {servers.name}", "link set eth0 up")
    servers.ip("link set eth0 up", f"link add eth1 type veth peer name eth0 netns {lab.far.name}")
    servers.ip(f"link set eth1 mtu {NARROW} up")
    lab.far.ip("link set eth0 up")
    for host, device, v4, v6 in (
        (router, "eth1", ROUTER, ROUTER6),
        (router, "eth0", WAN, WAN6),
        (servers, "eth1", "198.51.100.1", "2001:db8:e::1"),
        (lab.far, "eth0", FAR, FAR6),
    ):
        host.ip(f"addr add {v4}/24 dev {device}", f"addr add {v6}/64 dev {device} nodad")
    servers.ip(*(f"addr add {address}/24 dev eth0" for address in SERVERS))
    servers.ip(*(f"addr add {address}/64 dev eth0 nodad" for address in SERVERS6))
    for host, v4, v6 in ((router, NEWS, NEWS6), (servers, WAN, WAN6)):
        host.ip(f"route add default via {v4}", f"route add default via {v6}")
    # It knows that its link is narrow, and asks others for packets that do not fit.
    wide = f"mtu {NARROW} advmss 1400"
    lab.far.ip(f"route add default via 198.51.100.1 {wide}", f"route add default via 2001:db8:e::1 {wide}")
    # Errors by ICMP are limited to a few a second for a peer; here every probe is to get its own.
    unlimited = ("net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
    # With br_netfilter the bridge asks the rules already, and the socket that TPROXY finds there is lost on the way.
    router.sysctl("net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")
    for host in (router, servers):
        host.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", *unlimited)
