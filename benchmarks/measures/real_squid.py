"""Requests a second of a real Squid that asks a helper about each of them, or has its own lists.

Squid has a core of its own; helper and clients share another one. Nothing is remembered: each request is a question.
Squid answers all by itself, with one small page for what is blocked and another one for the rest, so that the status
tells what was decided, and each is checked.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from benchmarks.bench import Bench
from benchmarks.contenders import compiled
from benchmarks.definitions import Definition, Result, Samples
from benchmarks.ground import HELPER, Ground
from benchmarks.names import parents
from benchmarks.namespace import network_namespace
from benchmarks.problems import Missing, Problem, WrongAnswer
from benchmarks.workloads import Workload

PORT: Final = 3128
BLOCKED: Final = 403
LET_THROUGH: Final = 410
PATIENCE: Final = 20.0
SQUID: Final = shutil.which("squid", path="/usr/sbin:/usr/local/sbin:/usr/bin")
FORMAT: Final = "%>a %>rm %#>ru %#{User-Agent}>h %#{Content-Type}>h"

CONF: Final = """\
http_port 127.0.0.1:{port}
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
access_log none
coredump_dir {folder}
visible_hostname bench.example
pinger_enable off
shutdown_lifetime 0 seconds
cache deny all
client_persistent_connections on
{rules}
acl rest src all
deny_info {let_through}:{folder}/PAGE rest
http_access deny rest
"""
ASKS: Final = """\
external_acl_type imhelper ttl=0 negative_ttl=0 cache=0 grace=0 children-max=1 children-startup=1 concurrency=500 \
queue-size=2000 {format} /usr/bin/taskset -c {core} {helper}
acl blocked external imhelper
"""
BLOCKS: Final = "deny_info {blocked}:{folder}/PAGE blocked\nhttp_access deny blocked\n"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests, and by contender the status that each must get."""

    requests: Sequence[bytes]
    statuses: dict[str, Sequence[int]]


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures requests a second, and CPU time of the helper a request."""
    if SQUID is None:
        raise Missing("Squid is not installed (apt-get install squid-openssl)")
    settings = definition.settings
    traffic = make_traffic(
        bench.ground, bench.workload(definition.workload), settings["requests"], settings["patterns"]
    )
    samples: Samples = {}
    with network_namespace() as prefix:
        for _ in bench.turns(definition):
            for name in definition.contenders:
                fewer = min(settings.get("fewer", {}).get(name, len(traffic.requests)), len(traffic.requests))
                bench.note(samples, name, one_run(bench.ground, prefix, name, traffic, fewer, settings))
    notes = [f"{settings['connections']} connections; each answer 403 or 410 as it must be"]
    return Result(samples, notes=notes)


def make_traffic(ground: Ground, workload: Workload, count: int, patterns: int) -> Traffic:
    """Makes requests of the first lines of a workload that are GET and have no content type."""
    requests: list[bytes] = []
    ours: list[int] = []
    urls: list[str] = []
    with workload.path("acl.txt").open(encoding="ascii") as lines, workload.path("acl.expected").open("rb") as answers:
        for line, answer in zip(lines, answers, strict=True):
            _, _, method, url, agent, content_type, _ = line.split(" ")
            if method == "GET" and content_type == "-":
                urls.append(unquote(url))
                requests.append(_request(urls[-1], "" if agent == "-" else unquote(agent)))
                ours.append(BLOCKED if b" OK" in answer else LET_THROUGH)
            if len(requests) == count:
                break
    names = set(_names(ground, patterns))
    listed = [LET_THROUGH if names.isdisjoint(_above(url)) else BLOCKED for url in urls]
    own = {"ours": ours, "floor": [LET_THROUGH] * len(requests)}
    return Traffic(requests, {**own, **dict.fromkeys(_LISTS, listed)})


def _request(url: str, agent: str) -> bytes:
    head = f"User-Agent: {agent}\r\n" if agent else ""
    return f"GET {url} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\n{head}\r\n\0".encode()


def _above(url: str) -> Iterator[str]:
    return parents(url.split("/")[2].partition(":")[0])


def _names(ground: Ground, count: int) -> list[str]:
    """Returns so many of the names that are blocked, each time the same."""
    return random.Random(1).sample(ground.blocked_names, min(count, len(ground.blocked_names)))  # noqa: S311


def one_run(
    ground: Ground, prefix: Sequence[str], name: str, traffic: Traffic, count: int, settings: Mapping[str, int]
) -> dict[str, float]:
    """Starts a Squid, warms it up, and sends it the traffic.

    Raises:
        WrongAnswer: a request got another answer than it must.
    """
    with tempfile.TemporaryDirectory(prefix="imhelper-bench-", dir="/tmp") as text:  # `proxy` must get there
        folder = Path(text)
        folder.chmod(0o755)
        (folder / "PAGE").write_text("no\n", encoding="ascii")
        conf = _conf(ground, folder, name, settings["patterns"])
        (folder / "squid.conf").write_text(conf, encoding="utf-8")
        with _squid(prefix, folder) as squid:
            load = (ground, prefix, folder, settings["connections"])
            _send(*load, traffic.requests[: settings["warm"]])
            before = _helper_cpu(squid.pid)
            seconds, statuses = _send(*load, traffic.requests[:count])
            cpu = _helper_cpu(squid.pid) - before
    verify(name, statuses, traffic.statuses[name][:count])
    figures = {"requests_per_second": count / seconds}
    return {**figures, "helper_cpu_us": cpu / count / 1e3} if cpu else figures


def verify(name: str, given: Sequence[int], wanted: Sequence[int]) -> None:
    """Holds the statuses that were given to those that must be.

    Raises:
        WrongAnswer: one is another.
    """
    for number, (one, other) in enumerate(zip(given, wanted, strict=True), 1):
        if one != other:
            raise WrongAnswer(f"Squid with {name}: request {number} got status {one}, and must get {other}")


def _conf(ground: Ground, folder: Path, name: str, patterns: int) -> str:
    names = _names(ground, patterns)
    if name in _LISTS:
        rules = _LISTS[name](names, folder / "list")
    else:
        rules = ASKS.format(format=FORMAT, core=_cores()[-1], helper=_helper(ground, folder, name))
    rules += BLOCKS.format(blocked=BLOCKED, folder=folder)
    return CONF.format(port=PORT, folder=folder, rules=rules, let_through=LET_THROUGH)


def _expression(name: str) -> str:
    """What blocks a name and all below it, and nothing else."""
    return rf"^[a-z]+://([^/]*\.)?{re.escape(name)}[:/]"


def _as_lines(names: Sequence[str], _: Path) -> str:
    """A line of squid.conf for each: Squid tries one expression after the other."""
    return "".join(f"acl blocked url_regex {_expression(name)}\n" for name in names)


def _in_a_file(names: Sequence[str], path: Path) -> str:
    """Those of a file are joined by Squid to a few long expressions."""
    path.write_text("".join(f"{_expression(name)}\n" for name in names), encoding="ascii")
    return f'acl blocked url_regex "{path}"\n'


def _as_domains(names: Sequence[str], path: Path) -> str:
    """With -n the DNS is not asked for the names of addresses."""
    path.write_text("".join(f".{name}\n" for name in names), encoding="ascii")
    return f'acl blocked dstdomain -n "{path}"\n'


_LISTS: Final[Mapping[str, Callable[[Sequence[str], Path], str]]] = {
    "url_regex": _as_lines,
    "url_regex_file": _in_a_file,
    "dstdomain": _as_domains,
}


def _helper(ground: Ground, folder: Path, name: str) -> str:
    """Returns the command of a helper that the user `proxy` can run."""
    if name == "floor":
        shutil.copy(compiled(ground, "floor"), folder / "floor")
        return str(folder / "floor")
    shutil.copy(ground.program_path, folder / "policy.program")
    (folder / "policy.program").chmod(0o644)
    return f"{HELPER} acl --policy {folder}/policy.program"


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


@contextmanager
def _squid(prefix: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    shutil.chown(folder, "proxy", "proxy")
    words = [*prefix, "/usr/bin/taskset", "-c", str(_cores()[0]), str(SQUID), "-N", "-f", str(folder / "squid.conf")]
    words += ["-n", f"bench{os.getpid()}"]
    squid = subprocess.Popen(words, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        _wait_for(squid, folder / "cache.log")
        yield squid
    finally:
        squid.send_signal(signal.SIGTERM)
        squid.wait()


def _wait_for(squid: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    said = ""
    while "Accepting HTTP Socket connections" not in said:
        if squid.poll() is not None or time.monotonic() > end:
            raise Problem(f"Squid does not start: {said.strip()[-300:]}")
        time.sleep(0.05)
        said = log.read_text(errors="replace") if log.exists() else ""


def _send(
    ground: Ground, prefix: Sequence[str], folder: Path, connections: int, requests: Sequence[bytes]
) -> tuple[float, Sequence[int]]:
    """Sends requests, and returns the seconds that it took, and the status of each."""
    asked, statuses = folder / "requests", folder / "statuses"
    asked.write_bytes(b"".join(requests))
    words: list[str | Path] = [*prefix, "/usr/bin/taskset", "-c", str(_cores()[-1]), compiled(ground, "load")]
    done = subprocess.run(  # noqa: S603
        [*words, str(PORT), str(connections), asked, statuses], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Problem(f"the load has ended: {done.stderr.strip()[-300:]}")
    found = array("H")
    found.frombytes(statuses.read_bytes())
    return int(done.stdout.split()[0]) / 1e9, found


def _helper_cpu(squid: int) -> int:
    """The nanoseconds that Squid's helpers were on the processor; 0 where it has none."""
    children = Path(f"/proc/{squid}/task/{squid}/children").read_text().split()
    return sum(int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) for child in children)
