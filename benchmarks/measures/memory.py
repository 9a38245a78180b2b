"""The memory of one helper at work, as the kernel accounts for it."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench
from benchmarks.contenders import Contender
from benchmarks.definitions import Definition, Result, Samples
from benchmarks.measures.pipe import shortened
from benchmarks.workloads import Workload

_FIGURES: Final = {"Rss": "rss_mb", "Pss": "pss_mb", "Private_Dirty": "private_dirty_mb"}


def measure(bench: Bench, definition: Definition) -> Result:
    """Measures megabytes behind some lines: proportional, resident, and private ones that were written to."""
    workload = bench.workload(definition.workload)
    samples: Samples = {}
    taking_part = bench.contenders(definition.contenders)
    lines = min(definition.settings["lines"], workload.lines)
    for _ in bench.turns(definition):
        for one in taking_part:
            bench.note(samples, one.name, size_behind(bench, one, workload, lines))
    notes = [
        f"behind {lines:,} lines of {definition.workload}",
        "the interpreter's pages are shared with the benchmark, as helpers share them",
    ]
    return Result(samples, notes=notes)


def size_behind(bench: Bench, one: Contender, workload: Workload, lines: int) -> dict[str, float]:
    """Has a helper answer lines, verifies the answers, and looks at its memory."""
    asked = shortened(workload, one.asked, lines).read_bytes()
    with helper(one) as (pid, ours):
        answers = exchange(ours, asked, lines)
        figures = megabytes(pid)
    kept = bench.ground.folder / "answers.txt"
    kept.write_bytes(answers)
    one.verify(kept, workload, lines)
    return figures


@contextmanager
def helper(one: Contender) -> Iterator[tuple[int, socket.socket]]:
    """Starts one behind a socket, as Squid does, and yields its process number and our end of the socket."""
    ours, its = socket.socketpair()
    with subprocess.Popen(one.command, stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.DEVNULL) as process:  # noqa: S603
        its.close()
        yield process.pid, ours
        ours.close()


def exchange(ours: socket.socket, asked: bytes, lines: int) -> bytes:
    """Sends lines, and returns as many answers."""
    sender = threading.Thread(target=ours.sendall, args=(asked,))
    sender.start()
    pieces, missing = [], lines
    while missing > 0 and (piece := ours.recv(1 << 18)):
        pieces.append(piece)
        missing -= piece.count(b"\n")
    sender.join()
    return b"".join(pieces)


def megabytes(pid: int) -> dict[str, float]:
    """What /proc says about a process, in MB of a million bytes."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        key, value, _ = line.split()
        if key[:-1] in _FIGURES:
            found[_FIGURES[key[:-1]]] = int(value) * 1024 / 1e6
    return found
