"""Clients that keep a Squid busy, and write down every answer.

Many connections, on each of them one request behind the other, each for a URL of its own: so a request that is lost,
answered twice or answered for another one shows. The clients run as a program of their own, where the Squid runs.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from real_squid import Squid

CHILDREN = 4
CONNECTIONS = 24
_PATIENCE = 20.0
"""Seconds without any answer, behind which those that are missing are lost."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_COUNTER = re.compile(r'squid_imhelper_(\w+)\{pid="(\d+)",?(.*)\} (\S+)')
_PARTS = re.compile(r"<(?:h1|dd)>(.*?)</(?:h1|dd)>", re.DOTALL)


class Exchange(NamedTuple):
    """A request and its answer; status 0 for none. The times are those of the wall clock."""

    url: str
    status: int
    body: str
    begun: float
    ended: float

    @property
    def message(self) -> str:
        """What the error page says."""
        return _PARTS.findall(self.body)[0]

    @property
    def rule(self) -> str:
        """The rule that the error page names."""
        return _PARTS.findall(self.body)[3]


class LogLine(NamedTuple):
    """A line of Squid's log; `tag` and `rule` are "-" for none."""

    url: str
    status: int
    user: str
    tag: str
    rule: str


def log_lines(squid: "Squid", count: int) -> list[LogLine]:
    """All lines of Squid's log, once there are so many."""
    from real_squid import wait_for

    path = squid.folder / "access.log"
    wait_for(lambda: path.read_bytes().count(b"\n") >= count, f"{count} lines in access.log")
    lines = [line.split() for line in path.read_text(errors="replace").splitlines()]
    return [LogLine(w[6], int(w[3].rpartition("/")[2]), w[7], w[-2], unquote(w[-1])) for w in lines]


Metrics = dict[str, defaultdict[str, float]]


def read_metrics(squid: "Squid") -> Metrics:
    """The counters of each process, by name and labels; 0 for what it does not tell."""
    path = squid.folder / "metrics.prom"
    metrics: Metrics = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        if found := _COUNTER.fullmatch(line):
            name, pid, labels, value = found.groups()
            metrics.setdefault(pid, defaultdict(float))[f"{name}{{{labels}}}" if labels else name] = float(value)
    return metrics


def with_four_helpers(policy: Path, options: str = "") -> str:
    """The lines for squid.conf, with four helpers from the start that tell their counters every second."""
    from real_squid import rendered

    lines = rendered(policy, options=f"{options} --metrics FOLDER/metrics.prom --metrics-period 1")
    return lines.replace("children-startup=1", f"children-startup={CHILDREN}")


def wait_until_ready(squid: "Squid") -> set[str]:
    """Waits until all helpers have their policy, and returns their process numbers."""
    from real_squid import helpers_of, wait_for

    def ready() -> bool:
        metrics = read_metrics(squid)
        loaded = {pid for pid in metrics if metrics[pid]["policy_loaded_timestamp_seconds"]}
        return len(loaded) == CHILDREN and loaded == helpers_of(squid)

    wait_for(ready, "the helpers")
    return helpers_of(squid)


class Load:
    """Clients at work. `prefixes` are URLs to which each request adds its number.

    They go on unless there is a count, and as fast as they are answered unless there is a rate, in requests a second.
    """

    def __init__(self, squid: "Squid", prefixes: Sequence[str], *, count: int = 0, rate: int = 0) -> None:
        self._answers = tempfile.TemporaryFile()  # noqa: SIM115  # a pipe would be full soon
        arguments = json.dumps([squid.port, prefixes, count, rate])
        self._process = squid.network.start(
            sys.executable, Path(__file__), arguments, stdin=subprocess.PIPE, stdout=self._answers
        )

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._answers.close()

    def stop(self) -> list[Exchange]:
        """Lets what has begun come to its end, and returns all answers."""
        self._process.communicate(timeout=10 * _PATIENCE)
        assert self._process.returncode == 0
        self._answers.seek(0)
        return [Exchange(*json.loads(line)) for line in self._answers]


def rate(answers: Sequence[Exchange]) -> int:
    """Requests a second."""
    return round(len(answers) / (max(answer.ended for answer in answers) - min(answer.begun for answer in answers)))


def send_all(squid: "Squid", prefixes: Sequence[str], count: int) -> list[Exchange]:
    """Sends so many requests, as fast as they are answered."""
    with Load(squid, prefixes, count=count) as load:
        return load.stop()


# ---- the program ----------------------------------------------------------------------------------------------------


async def _client(port: int, gap: float, urls: Iterator[str], answers: list[Exchange], stopped: asyncio.Event) -> None:
    writer: asyncio.StreamWriter | None = None
    due = time.monotonic()
    for url in urls:
        if stopped.is_set():
            break
        await asyncio.sleep(due - time.monotonic() if gap else 0)
        due += gap
        begun, status, body = time.time(), 0, b""
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            status = int(head.split(b" ", 2)[1])
            if _CLOSES.search(head) or not length:
                writer.close()
                writer = None
        except (OSError, asyncio.IncompleteReadError):
            writer = None
        finally:  # one that waits in vain is ended, and counts
            answers.append(Exchange(url, status, body.decode(errors="replace"), begun, time.time()))
    if writer is not None:
        writer.close()


async def _main(port: int, prefixes: Sequence[str], count: int, rate: int) -> list[Exchange]:
    answers: list[Exchange] = []
    stopped = asyncio.Event()
    if not count:
        asyncio.get_running_loop().add_reader(sys.stdin, stopped.set)
    urls = _urls(prefixes, count)
    gap = CONNECTIONS / rate if rate else 0.0
    clients = {asyncio.create_task(_client(port, gap, urls, answers, stopped)) for _ in range(CONNECTIONS)}
    at_work, before = clients, -1
    while at_work and len(answers) > before:
        before = len(answers)
        _, at_work = await asyncio.wait(at_work, timeout=_PATIENCE)
    for task in at_work:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return answers


def _urls(prefixes: Sequence[str], count: int) -> Iterator[str]:
    number = 0
    while not count or number < count:
        yield f"{prefixes[number % len(prefixes)]}{number}"
        number += 1


def _print(answers: Iterable[Exchange]) -> None:
    sys.stdout.writelines(json.dumps(answer) + "\n" for answer in answers)


if __name__ == "__main__":
    _print(asyncio.run(_main(*json.loads(sys.argv[1]))))
