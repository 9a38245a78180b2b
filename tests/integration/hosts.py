"""Network namespaces as hosts, and small servers in them.

Sockets belong to the namespace of the thread that makes them, so clients and servers are functions that run on threads
which have entered a namespace; only the tools under test are programs.
"""

import ctypes
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer, ThreadingTCPServer
from typing import Any, TypeVar

from real_squid import Network, new_namespace

T = TypeVar("T")

SINK = 9
"""The port of those who take connections, many of them, and close them."""


def _enter(name: str) -> None:
    """Moves this thread into a namespace (`os.setns` comes with Python 3.12)."""
    with Path(f"/run/netns/{name}").open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), f"cannot enter {name}")


class Host:
    """A network namespace: programs run in it, and so do functions."""

    def __init__(self, name: str, folder: Path) -> None:
        prefix = new_namespace(name)
        assert prefix, f"cannot make {name}"
        self.name = name
        self.network = Network(folder, prefix)
        self._threads = ThreadPoolExecutor(48, name, initializer=_enter, initargs=(name,))

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        return self._threads.submit(function, *arguments)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        return self.submit(function, *arguments).result(60)

    def run(self, *command: object, stdin: str = "") -> str:
        """Runs a program that must succeed; returns what it wrote."""
        done = self.network.run(*command, input=stdin)
        assert done.returncode == 0, f"{command}: {done.stderr}\n{stdin}"
        return done.stdout

    def ip(self, *lines: str) -> None:
        self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def sysctl(self, *settings: str) -> None:
        """Sets what there is; what a module would bring that is not loaded is left out."""
        self.run("sysctl", "-q", "-e", "-w", *settings)

    def remove(self) -> None:
        self._threads.shutdown()
        subprocess.run(["ip", "netns", "del", self.name], check=True)


class _DualStack:
    """What servers here have in common: both families, any address, many connections."""

    address_family: int = socket.AF_INET6
    request_queue_size = 4096
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    socket: socket.socket

    def server_bind(self) -> None:
        """Binds; http.server would ask the DNS for its own name as well."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)  # type: ignore[arg-type]

    def handle_error(self, *_: object) -> None:
        """A client that goes away is nothing to report."""


class _Echo(BaseRequestHandler):
    def handle(self) -> None:
        with suppress(OSError):
            while data := self.request.recv(1 << 16):
                self.request.sendall(data)


class Page(BaseHTTPRequestHandler):
    """Answers with what was asked for, where, and by whom."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        here, there = (str(end[0]).removeprefix("::ffff:") for end in (self.request.getsockname(), self.client_address))
        body = f"{self.command} {self.path} at {here} for {there}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """No log."""


class Tcp(_DualStack, ThreadingTCPServer):
    """A thread for each connection."""


class Sink(Tcp):
    """Takes connections, and closes them."""

    def process_request(self, request: Any, client_address: object) -> None:
        self.shutdown_request(request)


class Http(_DualStack, ThreadingHTTPServer):
    """Likewise, for HTTP."""


class Https(Http):
    """The handshake is made by the thread of the connection, not by the one that waits for the next."""

    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as inside:
            Page(inside, client_address, self)


class UdpEcho:
    """Sends back what comes, from the address to which it was sent: the host has many."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self.socket.bind(("::", port))
        self._ends = False

    def serve_forever(self) -> None:
        while select.select([self.socket], [], []) and not self._ends:
            with suppress(OSError):
                data, ancillary, _, source = self.socket.recvmsg(1 << 12, 1 << 8)
                self.socket.sendmsg([data], ancillary, 0, source)

    def shutdown(self) -> None:
        self._ends = True
        with suppress(OSError):  # a socket that is not connected says so, and wakes the thread all the same
            self.socket.shutdown(socket.SHUT_RD)

    def server_close(self) -> None:
        self.socket.close()


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate and its key, in one file."""
    path = folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", "-", "-out", "-"]
    made = subprocess.run(command, capture_output=True, check=True)
    path.write_bytes(made.stdout)
    path.chmod(0o644)
    return path


@contextmanager
def serving(host: Host, servers: Callable[[], list[Any]]) -> Iterator[None]:
    """Servers that are made in a namespace, each on a thread of its own until the end."""
    running = host.call(servers)
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in running]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        with ThreadPoolExecutor(len(running)) as pool:  # each looks up only twice a second
            list(pool.map(lambda server: server.shutdown(), running))
        for thread in threads:
            thread.join()
        for server in running:
            server.server_close()


def echoes(tcp: Iterable[int] = (), udp: Iterable[int] = ()) -> list[Any]:
    """Servers that send back what they get."""
    return [*(Tcp(("::", port), _Echo) for port in tcp), *map(UdpEcho, udp)]


def web(port: int, kind: type[Http] = Http) -> Any:
    """A server that answers requests with what it was asked."""
    return kind(("::", port), Page)
