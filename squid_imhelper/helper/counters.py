"""What a helper counts of its own work, and the file in the text format of Prometheus that tells it.

Several children write the same file. Each of them has its own series, told apart by the label `pid`: it takes over
those of the other children that still live, and puts the whole file into place at once.
"""

import os
import re
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PREFIX: Final = "squid_imhelper_"

BATCH_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Lines that Squid had sent when the helper read."""
SECONDS_BOUNDS: Final = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 0.1, 1.0)
"""Seconds for one request: those of its batch, shared out evenly."""

_FAMILIES: Final = (
    ("requests_total", "counter", "Lines that were answered."),
    (
        "decisions_total",
        "counter",
        "Decisions by action, service and rule; matched: an ACL's argument named the service.",
    ),
    ("errors_total", "counter", "Lines that could not be decided, by kind of reason."),
    ("reloads_total", "counter", "Policies taken up after the first one, and policies refused."),
    ("audit_lost_total", "counter", "Lines that could not be written to the audit log."),
    ("policy_loaded_timestamp_seconds", "gauge", "When the policy in force was taken up; 0 for none."),
    ("batch_lines", "histogram", "Lines in a batch."),
    ("request_seconds", "histogram", "Time for a request."),
)
_SERIES: Final = r'([a-z_]+?)(?:_bucket|_sum|_count)?\{pid="(\d+)"'

_BATCHES: Final = 1000
"""Batches that are counted together."""

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Observations sorted into buckets."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def lines(self, name: str, pid: int) -> Iterator[str]:
        """The series of this histogram."""
        total = 0
        for bound, count in zip((*map(_number, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield _line(f"{name}_bucket", pid, (("le", bound),), total)
        yield _line(f"{name}_sum", pid, (), self._sum)
        yield _line(f"{name}_count", pid, (), total)


class Counters:
    """The counts of one helper."""

    def __init__(self) -> None:
        self.requests = 0
        self._batches: list[tuple[int, float]] = []
        self._decisions: dict[tuple[str, str | None, str | None], list[int]] = {}
        self.errors: Counter[str] = Counter()
        self.reloads: Counter[str] = Counter()
        self.audit_lost = 0
        self.policy_loaded = 0.0
        self.batch_lines = Histogram(BATCH_BOUNDS)
        self.request_seconds = Histogram(SECONDS_BOUNDS)

    def decisions_of(self, action: str, service: str | None, rule: str | None) -> list[int]:
        """Returns the count of such decisions: a list of one number, to which whoever asked may go on to add."""
        return self._decisions.setdefault((action, service, rule), [0])

    @property
    def decisions(self) -> dict[tuple[str, str | None, str | None], int]:
        """The decisions so far, by action, service and rule."""
        return {decision: count for decision, (count,) in self._decisions.items() if count}

    def batch(self, lines: int, seconds: float) -> None:
        """Counts a batch; into its buckets it is put later, since a batch of one line should cost little."""
        self.requests += lines
        self._batches.append((lines, seconds))
        if len(self._batches) >= _BATCHES:
            self._sort_batches()

    def _sort_batches(self) -> None:
        for lines, seconds in self._batches:
            self.batch_lines.observe(lines)
            self.request_seconds.observe(seconds / lines, lines)
        self._batches.clear()

    def series(self, pid: int) -> dict[str, list[str]]:
        """The lines of each family."""
        self._sort_batches()
        lines: dict[str, list[str]] = {}
        lines["requests_total"] = [_line("requests_total", pid, (), self.requests)]
        lines["decisions_total"] = [
            _line("decisions_total", pid, (("action", a), ("service", s or ""), ("rule", r or "")), count)
            for (a, s, r), count in self.decisions.items()
        ]
        lines["errors_total"] = [_line("errors_total", pid, (("kind", k),), n) for k, n in self.errors.items()]
        lines["reloads_total"] = [
            _line("reloads_total", pid, (("result", r),), self.reloads[r]) for r in ("taken", "refused")
        ]
        lines["audit_lost_total"] = [_line("audit_lost_total", pid, (), self.audit_lost)]
        loaded = "policy_loaded_timestamp_seconds"
        lines[loaded] = [_line(loaded, pid, (), self.policy_loaded)]
        lines["batch_lines"] = list(self.batch_lines.lines("batch_lines", pid))
        lines["request_seconds"] = list(self.request_seconds.lines("request_seconds", pid))
        return lines

    def summary(self, pid: int) -> str:
        """The counts without the buckets, a line each."""
        lines = (line for own in self.series(pid).values() for line in own if "_bucket{" not in line)
        return "\n".join(line.removeprefix(PREFIX) for line in lines)


def render(series: Iterable[dict[str, list[str]]]) -> str:
    """Returns the series of some helpers as one text."""
    all_series = list(series)
    lines = []
    for name, kind, text in _FAMILIES:
        lines += [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} {kind}"]
        lines += [line for own in all_series for line in own.get(name, ())]
    return "\n".join(lines) + "\n"


class MetricsFile:
    """Writes the counters to a file, so many seconds apart."""

    def __init__(self, path: "Path", period: float, counters: Counters, complain: Callable[[str], None]) -> None:
        self._path = path
        self._period = period
        self._counters = counters
        self._complain = complain
        self._due_at = 0.0

    def write_if_due(self) -> None:
        """Writes when it is time."""
        if time.monotonic() >= self._due_at:
            self.write()

    def write(self) -> None:
        """Writes now; where another child is at it, at the next chance."""
        try:
            _update(self._path, self._counters)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._complain(f"cannot write the metrics to {self._path}: {getattr(error, 'strerror', None) or error}")
        self._due_at = time.monotonic() + self._period


def _update(path: "Path", counters: Counters) -> None:
    import fcntl  # a helper that counts for nobody does without
    import tempfile

    if path.exists() and not path.is_file():  # a FIFO would be waited for
        raise ValueError("it is no regular file")
    # Whatever else stands at the lock's path is neither waited for nor followed.
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path.parent / f".{path.name}.lock", flags, 0o644), "r+b", buffering=0) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        others = _series_of_others(path)
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = path.parent / name
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(render([*others, counters.series(os.getpid())]))
                os.fchmod(file.fileno(), 0o644)  # mkstemp's is for its owner only; a collector must read it
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _series_of_others(path: "Path") -> list[dict[str, list[str]]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    by_pid: dict[int, dict[str, list[str]]] = {}
    for line in lines:
        found = re.match(_SERIES, line.removeprefix(PREFIX))
        if found and line.startswith(PREFIX):
            by_pid.setdefault(int(found[2]), {}).setdefault(found[1], []).append(line)
    return [series for pid, series in by_pid.items() if pid != os.getpid() and _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _line(name: str, pid: int, labels: Labels, value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in (("pid", str(pid)), *labels))
    return f"{PREFIX}{name}{{{pairs}}} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    """As the text format has it; what is no UTF-8 is replaced."""
    clean = text.encode("utf-8", "replace").decode()
    return clean.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
