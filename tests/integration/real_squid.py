"""A real Squid with a helper, an origin behind it, and clients in front of it.

Everything runs below one folder in /tmp that the user `proxy` may read, and, as root, in a network namespace of its own
in which the exempt host's address exists. Without root the tests run on the loopback interface as it is, and those that
need another address skip by name.
"""

import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HELPER = Path(sys.executable).with_name("squid-imhelper")
SQUID = shutil.which("squid", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
CONF = Path(__file__).resolve().parents[2] / "conf"
EXEMPT = "192.168.1.16"
IS_ROOT = os.geteuid() == 0
_numbers = itertools.count(1)
_ports = iter(range(20000 + os.getpid() % 5000, 32000))


def why_not() -> str:
    """Why nothing can run behind a Squid here, or ""."""
    if SQUID is None:
        return "no squid is installed (apt-get install squid-openssl)"
    if shutil.which("curl") is None:
        return "no curl is installed"
    if not HELPER.exists():
        return f"{HELPER} is not installed (pip install .)"
    if (
        IS_ROOT
        and subprocess.run(
            ["runuser", "-u", "proxy", "--", str(HELPER), "--version"], capture_output=True, check=False
        ).returncode
    ):
        return f"the user proxy cannot run {HELPER}: install below /opt"
    return ""


def with_openssl() -> bool:
    return (
        SQUID is not None
        and "--with-openssl" in subprocess.run([SQUID, "-v"], capture_output=True, text=True, check=False).stdout
    )


@dataclass
class Reply:
    """What a client got."""

    status: int
    connect: int
    location: str
    body: str
    code: int


@dataclass
class Network:
    """Where processes run."""

    folder: Path
    prefix: list[str] = field(default_factory=list)

    def start(self, *command: object, **kwargs: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self.prefix, *map(str, command)], **kwargs)  # type: ignore[call-overload,no-any-return]

    def run(self, *command: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [*self.prefix, *map(str, command)], capture_output=True, text=True, timeout=60, check=False, **kwargs
        )


def new_namespace(name: str) -> list[str]:
    """Makes a network namespace; returns what runs a command in it, or nothing where there can be none."""
    prefix = ["ip", "netns", "exec", name]
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return []
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        subprocess.run(["ip", "netns", "del", name], check=True)
        return []
    return prefix


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    folder = Path(tempfile.mkdtemp(prefix="imhelper-test-", dir="/tmp"))
    folder.chmod(0o755)
    name = f"imhelper{os.getpid()}"
    prefix = new_namespace(name) if IS_ROOT and shutil.which("ip") else []
    for words in ("link set lo up", f"addr add {EXEMPT}/32 dev lo") if prefix else ():
        subprocess.run([*prefix, "ip", *words.split()], check=True)
    yield Network(folder, prefix)
    if prefix:
        subprocess.run(["ip", "netns", "del", name], check=True)
    shutil.rmtree(folder)


ORIGIN = """
import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = (sys.argv[2] + " " + self.command + " " + self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_CONNECT(self):
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
        self.close_connection = False  # what comes next is for the server behind the tunnel
    do_GET = do_POST = do_HEAD = do_PUT = answer
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size = 128
    daemon_threads = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    """A port that no other call has got: what is free here may be taken in the namespace in which the tests run.

    Below those that connections get by themselves, for the same reason.
    """
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is left")


def listening(network: Network, port: int) -> bool:
    """Whether somebody listens, asked where the tests run."""
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
    return network.run(sys.executable, "-c", code).returncode == 0


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def origin(network: Network) -> Iterator[int]:
    """A parent proxy, and all servers behind it, that every allowed request reaches."""
    yield from _origin(network, "origin")


@pytest.fixture(scope="session")
def other_origin(network: Network) -> Iterator[int]:
    """Another one."""
    yield from _origin(network, "other")


def _origin(network: Network, name: str) -> Iterator[int]:
    port = free_port()
    process = network.start(sys.executable, "-c", ORIGIN, port, name)
    wait_for(lambda: listening(network, port), "the origin")
    yield port
    process.kill()
    process.wait()


RAW_CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) as client:
    client.sendall(bytes.fromhex(sys.argv[2]) + b" HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    while data := client.recv(1 << 16):
        print(data.hex(), end="")
"""


@dataclass
class Squid:
    """A running Squid."""

    network: Network
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    _read: int = 0

    def get(self, url: str, *, method: str = "GET", client: str = "", headers: dict[str, str] | None = None) -> Reply:
        """Sends one request through the proxy; CONNECT opens a tunnel and sends plain HTTP through it."""
        words: list[object] = ["curl", "-s", "-g", "--path-as-is", "-m", "20", "-x", f"127.0.0.1:{self.port}"]
        words += ["--noproxy", "", "-w", "\n%{http_code} %{http_connect} %{redirect_url}"]
        if client:
            words += ["--interface", client]
        if method == "CONNECT":
            words += ["-p"]
            url = f"http://{url}/"
        elif method == "POST":
            words += ["--data", "x"]
        for name, value in (headers or {}).items():
            words += ["-H", f"{name}: {value}"]
        result = self.network.run(*words, url, errors="replace")
        body, _, last = result.stdout.rpartition("\n")
        status, connect, *location = last.split(" ", 2)
        return Reply(int(status), int(connect), "".join(location), body, result.returncode)

    def send(self, request_line: bytes) -> tuple[str, str]:
        """Sends a request line, byte by byte as it is; returns head and body of the answer."""
        words = (sys.executable, "-c", RAW_CLIENT, self.port, request_line.hex())
        head, _, body = bytes.fromhex(self.network.run(*words).stdout).partition(b"\r\n\r\n")
        return head.decode(errors="surrogateescape"), body.decode(errors="surrogateescape")

    def log(self) -> list[list[str]]:
        """The log lines, in words, since the last call; at least one."""
        path = self.folder / "access.log"
        wait_for(lambda: path.stat().st_size > self._read, "a line in access.log")
        with path.open(errors="replace") as log:
            log.seek(self._read)
            text = log.read()
        self._read += len(text.encode(errors="replace"))
        return [line.split(" ") for line in text.splitlines()]

    @property
    def cache_log(self) -> str:
        path = self.folder / "cache.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def accepts(self) -> bool:
        """Whether it has said that it takes connections: somebody else may listen on its port."""
        return "connections at conn" in self.cache_log and f":{self.port} " in self.cache_log

    def control(self, word: str) -> None:
        assert SQUID
        self.network.run(SQUID, "-n", self.folder.name, "-f", self.folder / "squid.conf", "-k", word)


def helpers_of(squid: Squid) -> set[str]:
    """Process numbers of the helpers that a Squid has started (`ip netns exec` becomes what it starts)."""
    found = children_of(str(squid.process.pid))
    return {pid for pid in found if b"squid-imhelper" in _command_line(pid)}


def children_of(parent: str) -> set[str]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # one that has just ended
            if (process / "stat").read_text().rpartition(")")[2].split()[1] == parent:
                found.add(process.name)
    return found


def _command_line(pid: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


BASE = """
http_port 127.0.0.1:{port}{port_options}
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
coredump_dir {folder}
visible_hostname test.example
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
cache_peer 127.0.0.1 parent {origin} 0 no-query no-digest
{direct}
{lines}
http_access allow all
"""


@pytest.fixture(scope="module")
def start_squid(network: Network, origin: int) -> Iterator[Callable[..., Squid]]:
    """Starts Squids; all are stopped in the end, at once, since each takes a second or two for it."""
    squids: list[Squid] = []

    def start(lines: str, *, port_options: str = "", direct: str = "never_direct allow all") -> Squid:
        squids.append(new_squid(network, origin, lines, port_options, direct))
        return squids[-1]

    try:
        yield start
        dead = [squid.cache_log[-3000:] for squid in squids if squid.process.poll() is not None]
    finally:
        for squid in squids:
            squid.process.terminate()
        for squid in squids:
            squid.process.wait(60)
    assert dead == []


def new_squid(network: Network, origin: int, lines: str, port_options: str, direct: str) -> Squid:
    folder = network.folder / f"imh{os.getpid()}x{next(_numbers)}"
    folder.mkdir(mode=0o755)
    port = free_port()
    lines = lines.replace("/var/log/squid/imhelper.log", f"{folder}/access.log").replace("FOLDER", str(folder))
    (folder / "access.log").touch()
    (folder / "squid.conf").write_text(
        BASE.format(port=port, folder=folder, origin=origin, lines=lines, port_options=port_options, direct=direct)
    )
    if IS_ROOT:
        for path in (folder, folder / "access.log"):
            shutil.chown(path, "proxy", "proxy")
    assert SQUID
    process = network.start(SQUID, "-N", "-n", folder.name, "-f", folder / "squid.conf", stderr=subprocess.DEVNULL)
    squid = Squid(network, folder, port, process)
    wait_for(lambda: process.poll() is not None or squid.accepts, "Squid")
    assert process.poll() is None, squid.cache_log[-3000:]
    return squid


@pytest.fixture(scope="session")
def policies(network: Network) -> Path:
    """The shipped policies, where `proxy` can read them."""
    folder = network.folder / "conf"
    shutil.copytree(CONF, folder)
    folder.chmod(0o755)
    return folder


def rendered(policy: object, *, interface: str = "acl", options: str = "", concurrency: int = 500) -> str:
    """What `squid-conf` prints, with answers not cached, more options for the helper, and another concurrency."""
    command = [str(HELPER), "squid-conf", "--policy", str(policy), "--with", interface]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = re.sub(r" ttl=\d+ negative_ttl=\d+ ", " ttl=0 negative_ttl=0 cache=0 ", text)
    text = text.replace("access_log daemon:/var/log/squid/access.log squid\n", "")
    if concurrency != 500:
        text = text.replace("concurrency=500", f"concurrency={concurrency}")
    if concurrency == 0:
        options += " --no-channel-id"
    return text.replace(f"--policy {policy}", f"--policy {policy}{options}")


ANSWERS_ERR = """#!/bin/sh
while read -r channel rest; do echo "$channel ERR"; done
"""


def with_control(text: str, network: Network) -> str:
    """The same lines, asking a helper that answers ERR to everything."""
    control = network.folder / "answers-err"
    control.write_text(ANSWERS_ERR)
    control.chmod(0o755)
    return "\n".join(
        line[: line.index(str(HELPER))] + str(control) if str(HELPER) in line else line for line in text.splitlines()
    )
