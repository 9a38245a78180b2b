"""How long from start to the first answer, and how long does a request wait while a new policy is taken up?

python benchmarks/reloading.py [--domains N] [--runs N]

A helper is started behind a socket, as Squid does it: with the built-in policy, with conf/policy.toml, with the program
compiled from that, and with a program and a policy that have a list of N made-up domains. The last two are then
replaced while requests go in one after the other; each answer is checked, and the longest wait is told.
"""

import argparse
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLICY = Path(__file__).parent.parent / "conf/policy.toml"
WORDS = ("news", "shop", "mail", "maps", "static", "cdn", "images", "video", "api", "login", "media", "weather", "bank")
QUERY = b"192.168.1.77 GET http://%s/ - -\n"


def write_policy(folder: Path, version: int) -> Path:
    """Writes a policy that blocks a list and names its version in each answer."""
    rule = f'[[rule]]\nname = "v{version}"\nsites = ["many"]\naction = "block"\n'
    new = folder / "new.toml"
    new.write_text(f'[sites]\nmany = {{ file = "domains.txt" }}\n{rule}', encoding="utf-8")
    return new.replace(folder / "policy.toml")


def write_domains(folder: Path, count: int) -> None:
    """Writes so many domains, and one that is asked for."""
    pick = random.Random(2006)  # noqa: S311  # the same list every time
    with (folder / "domains.txt").open("w", encoding="utf-8") as file:
        file.write("www.asked.example\n")
        for number in range(count - 1):
            file.write(f"{pick.choice(WORDS)}{number}.{pick.choice(WORDS)}-{pick.choice(WORDS)}.example\n")


def compile_policy(policy: Path, program: Path) -> None:
    """Writes the program of a policy."""
    command: list[str | Path] = [sys.executable, "-m", "squid_imhelper", "compile", "--policy", policy, "-o", program]
    subprocess.run(command, check=True)  # noqa: S603  # our own program


class Peer:
    """The other end of a helper's socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._file = end.makefile("rb")

    def ask(self, host: bytes) -> bytes:
        """Asks about one host."""
        self._end.sendall(QUERY % host)
        return self._file.readline()

    def close(self) -> None:
        """Ends the helper."""
        self._file.close()
        self._end.close()


@contextmanager
def helper(policy: str | Path) -> Iterator[Peer]:
    """Starts a helper."""
    ours, its = socket.socketpair()
    command = [sys.executable, "-m", "squid_imhelper", "acl", "--no-channel-id", "--policy", str(policy)]
    with subprocess.Popen(command, stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.DEVNULL):  # noqa: S603  # our own program
        its.close()
        peer = Peer(ours)
        yield peer
        peer.close()


def first_answer(policy: str | Path, host: bytes, runs: int) -> float:
    """Returns the median of the seconds from start to the first answer."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        with helper(policy) as peer:
            answer = peer.ask(host)
            seconds.append(time.perf_counter() - start)
            if not answer.startswith(b"OK"):
                raise SystemExit(f"a wrong answer: {answer!r}")
    return statistics.median(seconds)


def waits(folder: Path, policy: Path) -> tuple[list[float], list[float], float]:
    """Returns how long requests wait before and while a new version is taken up, and how long that took."""
    with helper(policy) as peer:
        peer.ask(b"www.asked.example")  # which waits for the start
        calm = [_timed(peer, b"v1") for _ in range(5000)]
        start = time.perf_counter()
        write_policy(folder, 2)
        if policy.suffix != ".toml":
            compile_policy(folder / "policy.toml", policy)
        busy: list[float] = []
        while time.perf_counter() - start < 300:
            begun = time.perf_counter()
            answer = peer.ask(b"www.asked.example")
            busy.append(time.perf_counter() - begun)
            if b"log=v2" in answer:
                return calm, busy, time.perf_counter() - start
            if b"log=v1" not in answer:
                raise SystemExit(f"a wrong answer: {answer!r}")
    raise SystemExit("the new version was not taken up")


def _timed(peer: Peer, version: bytes) -> float:
    begun = time.perf_counter()
    if b"log=" + version not in peer.ask(b"www.asked.example"):
        raise SystemExit("a wrong answer")
    return time.perf_counter() - begun


def _told(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e6:.0f} us (longest {max(seconds) * 1e3:.1f} ms)"


def main() -> int:
    """Measures, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, medians of {options.runs} starts")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compile_policy(POLICY, folder / "shipped.program")
        for what, policy in (
            ("built-in policy", "built-in"),
            ("conf/policy.toml", POLICY),
            ("the program compiled from it", folder / "shipped.program"),
        ):
            seconds = first_answer(policy, b"www.meebo.com", options.runs)
            print(f"start to first answer, {what}: {seconds * 1000:.0f} ms")
        write_domains(folder, options.domains)
        source, program = write_policy(folder, 1), folder / "many.program"
        begun = time.perf_counter()
        compile_policy(source, program)
        size = program.stat().st_size / 1e6
        print(f"compiling {options.domains:,} domains: {time.perf_counter() - begun:.1f} s, {size:.1f} MB")
        seconds = first_answer(program, b"www.asked.example", options.runs)
        print(f"start to first answer, program with {options.domains:,} domains: {seconds * 1000:.0f} ms")
        for what, policy in (("program", program), ("policy", source)):
            write_policy(folder, 1)
            compile_policy(source, program)
            calm, busy, took = waits(folder, policy)
            print(f"a {what} replaced: in force after {took:.1f} s")
            print(f"  a request waited {_told(calm)} before, {_told(busy)} meanwhile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
