"""Records what a real Squid writes into its access logs on a day of an office in small, in six formats at once.

python benchmarks/office.py --out FOLDER [--requests N] [--seed N]

office/day.toml says who is there and what they do. A Squid in a network namespace of its own gets their requests, one
after the other, each from its client's address, and an origin behind it answers all that it lets through. libfaketime
moves the clock of that Squid through the day while it has nothing to do. The same seed and number give the same
requests, and logs that differ in milliseconds and durations only.

Beside the logs stands expected.json: how many lines there are in each, how many are no request, how many Squid denied,
and as what requests should be recognised by the built-in policy where user agent and whole URL are known. A request
that is not answered as day.toml says, and a line too few or too many, end the recording.

Needs root, Debian's packages squid-openssl (or squid), libfaketime and iproute2, and squid_imhelper on Python's path.
"""

import argparse
import base64
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from string import Template
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from squid_imhelper.squid.squidconf import Installation, render

FOLDER: Final = Path(__file__).with_name("office")
ZONE: Final = "Europe/Brussels"
DAY: Final = datetime(2026, 3, 16, tzinfo=ZoneInfo(ZONE)).timestamp()  # a Monday
SQUID_ADDRESSES: Final = {4: "10.20.0.1", 6: "2001:db8:20::1"}
ORIGIN: Final = ("192.0.2.1", 8080)
PORT: Final = 3128
PATIENCE: Final = 20.0  # seconds for which anything is waited for
SQUID: Final = Path("/usr/sbin/squid")
AUTH: Final = Path("/usr/lib/squid/basic_fake_auth")
FAKETIME: Final = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketime.so.1")
IP: Final = Path("/usr/bin/ip")
PACKAGES: Final = {SQUID: "squid-openssl", AUTH: "squid-openssl", FAKETIME: "libfaketime", IP: "iproute2"}

LOGS: Final = ("squid.log", "combined.log", "common.log", "imhelper.log", "json.log", "office.tsv")
TABLE: Final = '%ts.%03tu %>a %un %rm %>ru %Ss/%03>Hs %<st %"{User-Agent}>h'.replace(" ", "\t")
TABLE_HEAD: Final = "time client user method url status bytes user_agent".replace(" ", "\t")


class Problem(Exception):  # noqa: N818  # one sentence for whoever started this
    """Something is missing on this machine, or Squid did not do what day.toml says."""


# ---- the day, as data -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One row of [activities]; the head of day.toml tells the fields."""

    url: str = ""
    method: str = "GET"
    agent: str = ""
    type: str = ""
    service: str = ""
    answer: int = 200
    denied: bool = False
    reply: str = "text/html"
    size: int = 4000
    keep: int = 0
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody in the office: `does` has a weight for each activity, `hours` two times of the day."""

    address: str
    agent: str
    hours: tuple[str, str]
    share: int
    does: Mapping[str, int]
    user: str = ""

    def moment(self, pick: random.Random) -> int:
        """Returns a second of the day."""
        first, last = (int(text[:2]) * 3600 + int(text[3:]) * 60 for text in self.hours)
        return pick.randrange(first, last)


@dataclass(frozen=True, slots=True)
class Office:
    """All of day.toml."""

    words: Sequence[str]
    agents: Mapping[str, str]
    clients: Sequence[Client]
    activities: Mapping[str, Sequence[Row]]


class Event(NamedTuple):
    """One request: the second of the day, who sends it, the row it was made from, its bytes, how long the reply is."""

    moment: int
    client: Client
    row: Row
    sent: bytes
    size: int


def read_office() -> Office:
    """Reads office/day.toml."""
    data: dict[str, Any] = tomllib.loads((FOLDER / "day.toml").read_text(encoding="utf-8"))
    return Office(
        data["words"],
        data["agents"],
        [Client(**client) for client in data["clients"]],
        {name: [Row(**row) for row in rows] for name, rows in data["activities"].items()},
    )


def plan(office: Office, requests: int, seed: int) -> list[Event]:
    """Makes the day: each row once, as far as there is room, then rows as often as the clients use them."""
    pick = random.Random(seed)  # noqa: S311  # the same day every time
    drawn = [
        (pick.choice([client for client in office.clients if name in client.does]), row)
        for name, rows in office.activities.items()
        for row in rows
    ]
    pick.shuffle(drawn)
    shares = [client.share for client in office.clients]
    for client in pick.choices(office.clients, shares, k=max(0, requests - len(drawn))):
        (activity,) = pick.choices(list(client.does), list(client.does.values()))
        drawn.append((client, pick.choice(office.activities[activity])))
    events = [build(office, client, row, pick) for client, row in drawn[:requests]]
    return sorted(events, key=lambda event: event.moment)


def build(office: Office, client: Client, row: Row, pick: random.Random) -> Event:
    """Fills in one request."""
    moment = client.moment(pick)
    if row.raw:
        return Event(moment, client, row, row.raw.encode("latin-1"), 0)
    size = pick.randint(row.size // 2, row.size * 3 // 2) if row.size > 100 else row.size
    values: dict[str, Callable[[], object]] = {
        "{n}": lambda: pick.randrange(10_000),
        "{hex}": lambda: f"{pick.getrandbits(128):032x}",
        "{word}": lambda: pick.choice(office.words),
    }
    url = re.sub("|".join(values), lambda found: str(values[found[0]]()), row.url)
    name = base64.b64encode(f"{client.user}:any password".encode()).decode()
    body = b"x" * 64 if row.method in ("POST", "PUT") else b""
    headers = {
        "Host": url.partition("://")[2].partition("/")[0] or url,
        "User-Agent": office.agents[row.agent or client.agent],
        "Content-Type": row.type,
        "Content-Length": str(len(body)) if body else "",
        "Proxy-Authorization": f"Basic {name}" if client.user and row.answer != 407 else "",
        "Connection": "close",
        "X-Date": formatdate(DAY + moment, usegmt=True),
        "X-Answer": f"{row.answer} {size} {row.keep} {row.reply}",
    }
    lines = [f"{row.method if '://' in url else 'CONNECT'} {url} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    return Event(moment, client, row, "\r\n".join([*lines, "", ""]).encode() + body, size)


def expected(events: Sequence[Event]) -> dict[str, object]:
    """What a replay should count: `by_service` and `by_client` are of what Squid let through."""
    known = [event for event in events if not event.row.raw]
    passed = [event for event in known if event.row.service and not event.row.denied]
    return {
        "lines": len(events),
        "malformed": len(events) - len(known),
        "requests": len(known),
        "denied": sum(event.row.denied for event in known),
        "by_service": Counter(event.row.service for event in passed),
        "by_client": Counter(event.client.address for event in passed),
        "denied_by_service": Counter(event.row.service for event in known if event.row.service and event.row.denied),
    }


# ---- the network, the origin, the clock, and Squid ------------------------------------------------------------------


def require() -> None:
    """Looks for what a recording needs, and raises a Problem where it is missing."""
    if os.geteuid() != 0:
        raise Problem("needs root, for a network namespace with the clients' addresses")
    for path, package in PACKAGES.items():
        if not path.exists():
            raise Problem(f"there is no {path} (apt-get install {package})")


def enter_namespace(addresses: Sequence[str]) -> None:
    """Moves this process into a network namespace of its own, which ends with it and with what it starts."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        raise Problem(f"no network namespace can be made here: {os.strerror(ctypes.get_errno())}")
    words = ["link set lo up", *(f"addr add {address} dev lo" for address in addresses)]
    try:
        subprocess.run([IP, "-batch", "-"], input="\n".join(words), text=True, capture_output=True, check=True)  # noqa: S603
    except subprocess.CalledProcessError:
        raise Problem("the namespace cannot have the clients' addresses (is there no IPv6?)") from None


class Answers(socketserver.StreamRequestHandler):
    """A parent proxy and all servers behind it: answers as X-Answer says, in a tunnel with so many bytes."""

    def handle(self) -> None:
        """Answers one request."""
        method = self.rfile.readline().partition(b" ")[0]
        headers = dict(line.split(b": ", 1) for line in iter(lambda: self.rfile.readline().strip(), b""))
        if method == b"CONNECT":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self.wfile.write(bytes(int(self.rfile.readline() or 0)))
        elif method:  # else Squid only looked whether somebody listens
            self.rfile.read(int(headers.get(b"Content-Length", 0)))
            status, size, keep, reply = headers[b"X-Answer"].decode().split(" ", 3)
            control = f"max-age={keep}\r\nDate: {headers[b'X-Date'].decode()}" if int(keep) else "no-store"
            length = "" if status in ("204", "304") else f"Content-Length: {size}\r\n"
            head = f"HTTP/1.1 {status} -\r\nContent-Type: {reply}\r\nCache-Control: {control}\r\nConnection: close\r\n"
            self.wfile.write(f"{head}{length}\r\n".encode())
            self.wfile.write(bytes(int(size)) if length and method != b"HEAD" else b"")


def start_origin() -> None:
    """Starts to answer behind Squid, in threads that end with this process."""
    origin = socketserver.ThreadingTCPServer(ORIGIN, Answers)
    origin.daemon_threads = True
    threading.Thread(target=origin.serve_forever, daemon=True).start()


class Clock:
    """The clock that Squid sees, by way of a file with the seconds by which it is ahead of the real one."""

    def __init__(self, path: Path, start: float) -> None:
        self.path = path
        self._ahead = float("-inf")
        self.forward_to(start)

    def forward_to(self, instant: float) -> None:
        """Moves it forward to an instant; where it is later already it just goes on."""
        ahead = instant - time.time()
        if ahead > self._ahead:
            self._ahead = ahead
            new = self.path.with_suffix(".new")
            new.write_text(f"{ahead:+.6f}", encoding="ascii")
            new.replace(self.path)


def squid_conf(folder: Path, office: Office) -> str:
    """Fills in squid.conf."""
    printed = render(Installation("/helper", "/policy", ""), (), "acl", 5).splitlines()
    values = {
        "folder": folder,
        "port": PORT,
        "origin": f"{ORIGIN[0]} parent {ORIGIN[1]}",
        "auth": AUTH,
        "asked": " ".join(client.address for client in office.clients if client.user),
        "logformat_imhelper": next(line for line in printed if line.startswith("logformat imhelper ")),
        "table": TABLE,
    }
    return Template((FOLDER / "squid.conf").read_text(encoding="ascii")).substitute(values)


@contextmanager
def running_squid(folder: Path, office: Office, clock: Clock) -> Iterator[None]:
    """Squid, which has written all its lines when this ends."""
    folder.chmod(0o755)
    (folder / "squid.conf").write_text(squid_conf(folder, office), encoding="ascii")
    (folder / "office.tsv").write_text(TABLE_HEAD + "\n", encoding="ascii")
    for path in (folder, folder / "office.tsv"):
        shutil.chown(path, "proxy", "proxy")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock.path),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": ZONE,
    }
    squid = subprocess.Popen(  # noqa: S603  # as the user that Debian's Squid becomes anyway
        [SQUID, "-N", "-n", f"office{os.getpid()}", "-f", folder / "squid.conf"],
        env=environment,
        stderr=subprocess.DEVNULL,
        user="proxy",
        group="proxy",
        extra_groups=(),
    )
    try:
        wait_for_squid(squid, folder / "cache.log")
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C must not leave it behind
            signal.signal(number, signal.SIG_IGN)
        squid.terminate()
        squid.wait()


def wait_for_squid(squid: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until Squid says that it takes connections: a connection to try it would be a line in the logs."""
    end = time.monotonic() + PATIENCE
    said = ""
    while "Accepting HTTP Socket connections" not in said:
        if squid.poll() is not None or time.monotonic() > end:
            raise Problem(f"Squid does not start: {said[-500:]}")
        time.sleep(0.05)
        said = log.read_text(errors="replace") if log.exists() else ""


# ---- recording ------------------------------------------------------------------------------------------------------


def send(event: Event) -> int:
    """Sends one request, reads all that comes back, and returns the status, 0 for no answer."""
    source = event.client.address
    squid = (SQUID_ADDRESSES[6 if ":" in source else 4], PORT)
    with socket.create_connection(squid, PATIENCE, source_address=(source, 0)) as client:
        client.sendall(event.sent)
        if event.row.raw:
            client.shutdown(socket.SHUT_WR)
        data = client.recv(1 << 16)
        status = int(data[9:12]) if data else 0
        if event.sent.startswith(b"CONNECT ") and status == 200:
            client.sendall(b"%d\n" % event.size)
        while data:
            data = client.recv(1 << 16)
    return status


def run_day(events: Sequence[Event], clock: Clock) -> None:
    """Sends all requests, one after the other: so the lines stand in the same order every time."""
    for number, event in enumerate(events, 1):
        clock.forward_to(DAY + event.moment)
        status = send(event)
        if status != event.row.answer:
            raise Problem(f"{event.row.url or event.row.raw!r}: answered {status} and not {event.row.answer}")
        if number % 1000 == 0 or number == len(events):
            print(f"{number} of {len(events)} requests", file=sys.stderr, flush=True)


def record(out: Path, requests: int, seed: int) -> None:
    """Records a day into a folder."""
    require()
    office = read_office()
    events = plan(office, requests, seed)
    enter_namespace([*SQUID_ADDRESSES.values(), ORIGIN[0], *(client.address for client in office.clients)])
    with tempfile.TemporaryDirectory(prefix="office-", dir="/tmp") as name:  # `proxy` must get there
        folder = Path(name)
        clock = Clock(folder / "clock", DAY)
        start_origin()
        with running_squid(folder, office, clock):
            run_day(events, clock)
        out.mkdir(parents=True, exist_ok=True)
        for file in LOGS:
            lines = (folder / file).read_bytes().count(b"\n") - (file == "office.tsv")
            if lines != len(events):
                raise Problem(f"{file} has {lines} lines for {len(events)} requests")
            shutil.copyfile(folder / file, out / file)
    told = json.dumps({"seed": seed, **expected(events)}, indent=2, sort_keys=True)
    (out / "expected.json").write_text(told + "\n", encoding="ascii")


def main() -> int:
    """Records, and tells in a sentence what stands in the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=600, help="how many (600)")
    parser.add_argument("--seed", type=int, default=1, help="another one is another day (1)")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the logs and expected.json")
    options = parser.parse_args()
    if options.requests < 1:
        parser.error("--requests: at least one")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        record(options.out, options.requests, options.seed)
    except (Problem, OSError) as problem:
        print(f"office.py: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\noffice.py: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
