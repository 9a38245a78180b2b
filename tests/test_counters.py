"""Counters: a text that Prometheus can read, in a file that is whole at any time and belongs to several children."""

import fcntl
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import squid_imhelper
from squid_imhelper.helper import counters as module
from squid_imhelper.helper.counters import BATCH_BOUNDS, PREFIX, SECONDS_BOUNDS, Counters, MetricsFile, render

ROOT = Path(squid_imhelper.__file__).parents[1]
DEADLINE = 20.0
HOSTILE = 'a\\b"c\nd}e{f=,\u00fc\u2028g\U0001f600 # TYPE x counter'


# ---- a strict reader ------------------------------------------------------------------------------------------------

_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Labels = frozenset[tuple[str, str]]


class Family(NamedTuple):
    """A metric: its type, and its samples by name and labels."""

    kind: str
    samples: dict[tuple[str, Labels], float]


def parse(text: str) -> dict[str, Family]:
    """Reads the text format, version 0.0.4, and refuses whatever stands otherwise than it should."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    helps: set[str] = set()
    name = ""
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helps, line
            helps.add(name)
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            assert typed == name, "HELP and TYPE of a family stand together"
            assert typed not in families, line
            families[typed] = Family(kind, {})
        else:
            read_sample(line, name, families[name])
    for own_name, family in families.items():
        if family.kind == "histogram":
            check_histogram(own_name, family)
    return families


def read_sample(line: str, family_name: str, family: Family) -> None:
    found = _SAMPLE.fullmatch(line)
    assert found, line
    name, labels, value = found.groups()
    suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
    assert name in [family_name + suffix for suffix in suffixes], f"{line} stands below {family_name}"
    pairs = [(key, unescaped(text)) for key, text, _ in _LABEL.findall(labels)]
    assert len(dict(pairs)) == len(pairs), "a label stands once"
    key = (name, frozenset(pairs))
    assert key not in family.samples, f"twice: {line}"
    family.samples[key] = float(value)


def unescaped(text: str) -> str:
    return re.sub(r'\\[\\"n]', lambda found: _ESCAPES[found[0]], text)


def check_histogram(name: str, family: Family) -> None:
    of_series: dict[Labels, dict[float, float]] = {}
    for (sample, labels), value in family.samples.items():
        if sample == f"{name}_bucket":
            (bound,) = [text for key, text in labels if key == "le"]
            of_series.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), {})[float(bound)] = value
    for labels, buckets in of_series.items():
        counts = [buckets[bound] for bound in sorted(buckets)]
        assert counts == sorted(counts), "buckets are cumulative"
        assert buckets[float("inf")] == family.samples[f"{name}_count", labels]
        assert (f"{name}_sum", labels) in family.samples
    assert len(family.samples) == sum(len(buckets) + 2 for buckets in of_series.values())


def values(families: dict[str, Family], name: str, pid: int) -> dict[tuple[tuple[str, str], ...], float]:
    """The samples of one process by their other labels, sorted."""
    return {
        tuple(sorted(pair for pair in labels if pair[0] != "pid")): value
        for (_, labels), value in families[PREFIX + name].samples.items()
        if ("pid", str(pid)) in labels
    }


def pids(text: str) -> set[int]:
    families = parse(text)
    return {int(dict(labels)["pid"]) for family in families.values() for _, labels in family.samples}


def requests_in(text: str) -> dict[int, float]:
    samples = parse(text)[f"{PREFIX}requests_total"].samples
    return {int(dict(labels)["pid"]): value for (_, labels), value in samples.items()}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("# HELP a b\n# TYPE a counter\na{} 1", id="no-end"),
        pytest.param('# HELP a b\n# TYPE a counter\na{x="y} 1\n', id="a-quote-is-missing"),
        pytest.param('# HELP a b\n# TYPE a counter\na{x="\\q"} 1\n', id="unknown-escape"),
        pytest.param('# HELP a b\n# TYPE a counter\na{x="1"} 1\na{x="1"} 2\n', id="twice"),
        pytest.param("# HELP a b\n# TYPE a counter\nb{} 1\n", id="another-family"),
        pytest.param('# HELP a b\n# TYPE a histogram\na_bucket{le="+Inf"} 1\na_sum{} 1\na_count{} 2\n', id="count"),
        pytest.param('# HELP a b\n# TYPE a histogram\na_bucket{le="1"} 1\na_sum{} 1\na_count{} 1\n', id="no-inf"),
    ],
)
def test_the_reader_of_these_tests_is_strict(text: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        parse(text)


# ---- the text -------------------------------------------------------------------------------------------------------

_text = st.text(min_size=1, max_size=6) | st.just(HOSTILE)
_decisions = st.dictionaries(
    st.tuples(st.sampled_from(["block", "allow", "monitor", "matched"]), st.none() | _text, st.none() | _text),
    st.integers(1, 10**12),
    max_size=4,
)


@given(_decisions, st.dictionaries(_text, st.integers(1, 100), max_size=3), st.integers(0, 10**15))
@example({("block", HOSTILE, HOSTILE): 1}, {HOSTILE: 1}, 0)
def test_what_was_counted_can_be_read(
    decisions: dict[tuple[str, str | None, str | None], int], errors: dict[str, int], requests: int
) -> None:
    counters = Counters()
    for decision, count in decisions.items():
        counters.decisions_of(*decision)[0] += count
    counters.errors.update(errors)
    counters.requests = counters.audit_lost = requests
    counters.policy_loaded = 1.8e9 + 0.25
    counters.reloads["taken"] = 7
    families = parse(render([counters.series(1)]))
    assert values(families, "decisions_total", 1) == {
        (("action", action), ("rule", rule or ""), ("service", service or "")): count
        for (action, service, rule), count in decisions.items()
    }
    assert values(families, "errors_total", 1) == {(("kind", kind),): count for kind, count in errors.items()}
    assert values(families, "requests_total", 1) == values(families, "audit_lost_total", 1) == {(): requests}
    assert values(families, "reloads_total", 1) == {(("result", "taken"),): 7, (("result", "refused"),): 0}
    assert values(families, "policy_loaded_timestamp_seconds", 1) == {(): 1.8e9 + 0.25}


def test_what_has_not_happened_yet_is_a_zero() -> None:
    """A series that appears with its first error has no rate."""
    families = parse(render([Counters().series(1)]))
    assert {name for name, family in families.items() if not family.samples} == {
        f"{PREFIX}decisions_total",
        f"{PREFIX}errors_total",
    }
    assert all(value == 0 for family in families.values() for value in family.samples.values())


def test_bytes_that_are_no_text_do_not_break_the_text() -> None:
    counters = Counters()
    counters.decisions_of("block", None, "\udcff")[0] += 1
    text = render([counters.series(1)])
    assert parse(text.encode("utf-8").decode("utf-8"))


_batches = st.lists(
    st.tuples(st.integers(1, 5000), st.floats(0, 50, allow_subnormal=False)),
    max_size=20,
)


@given(_batches)
@example([(bound, bound * seconds) for bound in BATCH_BOUNDS for seconds in SECONDS_BOUNDS])
def test_batches_are_sorted_into_buckets(batches: list[tuple[int, float]]) -> None:
    """Each by the number of its lines; each line by its share of the time. A bound belongs to its bucket."""
    counters = Counters()
    for lines, seconds in batches:
        counters.batch(lines, seconds)
    families = parse(render([counters.series(1)]))
    shares = [(seconds / lines, lines) for lines, seconds in batches]
    sizes = families[f"{PREFIX}batch_lines"].samples
    times = families[f"{PREFIX}request_seconds"].samples
    for bound in (*BATCH_BOUNDS, float("inf")):
        assert bucket(sizes, bound) == sum(lines <= bound for lines, _ in batches)
    for bound in (*SECONDS_BOUNDS, float("inf")):
        assert bucket(times, bound) == sum(lines for share, lines in shares if share <= bound)
    assert values(families, "requests_total", 1) == {(): sum(lines for lines, _ in batches)}
    own = frozenset({("pid", "1")})
    assert sizes[f"{PREFIX}batch_lines_sum", own] == sum(lines for lines, _ in batches)
    assert times[f"{PREFIX}request_seconds_sum", own] == pytest.approx(sum(seconds for _, seconds in batches))


def bucket(samples: dict[tuple[str, Labels], float], bound: float) -> float:
    (found,) = [
        value
        for (name, labels), value in samples.items()
        if name.endswith("_bucket") and float(dict(labels)["le"]) == bound
    ]
    return found


def test_a_summary_is_the_text_without_its_buckets() -> None:
    counters = Counters()
    counters.batch(3, 0.5)
    counters.decisions_of("block", "whatsapp", HOSTILE)[0] += 1
    lines = counters.summary(7).splitlines()
    assert 'requests_total{pid="7"} 3' in lines
    assert 'request_seconds_sum{pid="7"} 0.5' in lines
    assert not any("_bucket" in line or line.startswith("#") for line in lines)


def test_every_line_of_a_summary_is_a_sample() -> None:
    """Whatever a rule is called: it is written to a log."""
    counters = Counters()
    counters.decisions_of("block", "whatsapp", HOSTILE)[0] += 1
    assert all(_SAMPLE.fullmatch(line) for line in counters.summary(7).split("\n"))


# ---- the file -------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.prom"


def own_file(path: Path, requests: int = 0, complain: Callable[[str], None] = pytest.fail) -> MetricsFile:
    counters = Counters()
    counters.requests = requests
    return MetricsFile(path, 15.0, counters, complain)


@pytest.fixture(scope="module")
def dead_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def series_of(pid: int, requests: int, rule: str = "r") -> dict[str, list[str]]:
    counters = Counters()
    counters.batch(requests, 0.1)
    counters.decisions_of("block", "whatsapp", rule)[0] += 1
    counters.errors["protocol"] += 2
    return counters.series(pid)


def test_a_child_takes_over_what_the_others_have_counted(path: Path, dead_pid: int) -> None:
    """And not what those counted that are no more: nobody would ever take it away."""
    alive = os.getppid()
    path.write_text(render([series_of(alive, 5), series_of(dead_pid, 6), series_of(os.getpid(), 7)]))
    own_file(path, 8).write()
    families = parse(path.read_text())
    assert pids(path.read_text()) == {alive, os.getpid()}
    assert values(families, "requests_total", alive) == {(): 5}
    assert values(families, "requests_total", os.getpid()) == {(): 8}
    for name, kept in parse(render([series_of(alive, 5)])).items():
        assert kept.samples.items() <= families[name].samples.items()


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param('a\\b"c\nd}e{f=,\u00fc\U0001f600 # TYPE x counter', id="escapes"),
        pytest.param('pid="1"', id="a-label"),
        pytest.param("x} 5", id="a-value"),
        pytest.param("a\u2028b", id="line-separator"),
        pytest.param("a\u2029b", id="paragraph-separator"),
    ],
)
def test_whatever_a_rule_is_called_another_child_takes_it_over(rule: str, path: Path) -> None:
    alive = os.getppid()
    path.write_text(render([series_of(alive, 5, rule)]), encoding="utf-8")
    for _ in range(3):
        own_file(path).write()
    text = path.read_bytes().decode()
    before = parse(render([series_of(alive, 5, rule)]))[f"{PREFIX}decisions_total"]
    assert parse(text)[f"{PREFIX}decisions_total"].samples == before.samples


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe\x00", id="no-text"),
        pytest.param(b'other_total 5\nother{pid="1"} 6\nsquid_imhelper_\n# HELP x\n', id="of-another-make"),
        pytest.param(b'squid_imhelper_requests_total{pid="x"} 1\n', id="a-pid-that-is-none"),
        pytest.param(b'squid_imhelper_unknown_total{pid="1"} 1\n', id="a-metric-of-another-version"),
    ],
)
def test_what_else_stands_in_the_file_does_not_stay(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    own_file(path, 3).write()
    assert pids(path.read_text()) == {os.getpid()}


def test_the_file_is_for_others_to_read_and_nothing_is_left_beside_it(path: Path) -> None:
    before = os.umask(0o077)
    try:
        for _ in range(3):
            own_file(path).write()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".metrics.prom.lock", "metrics.prom"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Makes every write beyond a size fail, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    own_file(path, 5).write()
    said: list[str] = []
    with files_of_at_most(100):
        own_file(path, 6, said.append).write()
    assert said == [f"cannot write the metrics to {path}: File too large"]
    assert values(parse(path.read_text()), "requests_total", os.getpid()) == {(): 5}
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".metrics.prom.lock", "metrics.prom"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("missing/metrics", "No such file or directory", id="missing-folder"),
        pytest.param("file/metrics", "Not a directory", id="below-a-file"),
        pytest.param("folder", "folder", id="a-folder"),
        pytest.param("x" * 300, "File name too long", id="long-name"),
        pytest.param("nul\0", "null byte", id="nul"),
    ],
)
def test_what_cannot_be_written_is_only_told(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    said: list[str] = []
    own_file(tmp_path / name, complain=said.append).write()
    assert len(said) == 1
    assert words in said[0]
    assert "\n" not in said[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written_is_only_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o555)
    said: list[str] = []
    own_file(tmp_path / "folder" / "metrics", complain=said.append).write()
    assert "Permission denied" in said[0]


def test_it_is_written_when_it_is_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    file = own_file(path)
    written = []
    for second in range(32):
        now = 1000.0 + second
        file.write_if_due()
        if path.exists():
            written.append(second)
            path.unlink()
    assert written == [0, 15, 30]


def test_what_cannot_be_written_is_tried_again_a_period_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    said: list[str] = []
    file = own_file(tmp_path / "missing" / "metrics", complain=said.append)
    for second in range(31):
        now = 1000.0 + second
        file.write_if_due()
    assert len(said) == 3
    (tmp_path / "missing").mkdir()
    now += 15
    file.write_if_due()
    assert len(said) == 3
    assert (tmp_path / "missing" / "metrics").exists()


def test_who_finds_another_child_at_it_does_not_wait(path: Path) -> None:
    file = own_file(path, 5)
    with (path.parent / f".{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.write_if_due()
        assert not path.exists()
    file.write_if_due()
    assert path.exists(), "and takes the next chance"


# ---- several children -----------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from squid_imhelper.helper.counters import Counters, MetricsFile
counters = Counters()
file = MetricsFile(Path(sys.argv[1]), 0.0, counters, sys.exit)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    counters.batch(1, 0.001)
    counters.decisions_of("block", "whatsapp", f"rule {number % 7}")[0] += 1
    file.write()
print("done", flush=True)
for line in sys.stdin:
    file.write()
    print("written", flush=True)
"""


def test_children_do_not_overwrite_each_other_and_a_reader_sees_a_whole_file(path: Path) -> None:
    count = 300
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, path, str(count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    texts: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            if path.exists():
                texts.append(path.read_text())

    reader = threading.Thread(target=read)
    try:
        for child in children:
            assert say(child, "") == "ready"
        reader.start()
        for child in children:
            tell(child, "go")
        assert [say(child, "") for child in children] == ["done"] * 4
        assert [say(child, "write") for child in children] == ["written"] * 4  # one that found another at it, too
        stop.set()
        reader.join()
        families = parse(path.read_text())
        for child in children:
            assert values(families, "requests_total", child.pid) == {(): count}
            assert sum(values(families, "decisions_total", child.pid).values()) == count
        counted = [requests_in(text) for text in dict.fromkeys(texts)]
        assert len(counted) > 1
        for before, after in pairwise(counted):
            assert all(after.get(pid, 0) >= requests for pid, requests in before.items()), "nothing is lost on the way"
    finally:
        stop.set()
        for child in children:
            child.communicate()
    own_file(path).write()
    assert pids(path.read_text()) == {os.getpid()}


def tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()


def say(child: subprocess.Popen[str], line: str) -> str:
    """Tells a child something, and returns what it says."""
    if line:
        tell(child, line)
    assert child.stdout is not None
    return child.stdout.readline().strip()


# ---- a live helper --------------------------------------------------------------------------------------------------

Start = Callable[..., subprocess.Popen[bytes]]
MESSENGER = b"10.0.0.1 GET http://web.whatsapp.com/ - - -\n"
OTHER = b"10.0.0.1 GET http://example.org/ - - -\n"


def ask(process: subprocess.Popen[bytes], lines: list[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    for line in lines:
        process.stdin.write(b"1 " + line)
        process.stdin.flush()
        assert process.stdout.readline()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_signal_makes_a_helper_tell_its_counts(command: Start) -> None:
    with command("acl", "--policy", "built-in", stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        ask(process, [MESSENGER, MESSENGER, OTHER])
        process.send_signal(signal.SIGUSR1)
        own = f'{{pid="{process.pid}"'
        wanted = {
            f"requests_total{own}}} 3",
            f'decisions_total{own},action="block",service="whatsapp",rule="built-in"}} 2',
            f'decisions_total{own},action="allow",service="",rule=""}} 1',
            f"batch_lines_count{own}}} 3",
        }
        said: list[str] = []
        while wanted - set(said):  # the test's own timeout ends this
            line = process.stderr.readline().decode()
            assert line.startswith(f"squid-imhelper[{process.pid}]: ")
            said.append(line.partition(": ")[2].rstrip("\n"))
        ask(process, [OTHER])
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(DEADLINE) == 0


def test_helpers_write_their_counters_while_they_live_and_when_they_end(command: Start, path: Path) -> None:
    words = ("acl", "--policy", "built-in", "--metrics", path, "--metrics-period", "1")
    with (
        command(*words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as one,
        command(*words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as other,
    ):
        ask(one, [MESSENGER] * 3)
        ask(other, [MESSENGER] * 4)
        wait_for(lambda: path.exists() and requests_in(path.read_text()) == {one.pid: 3, other.pid: 4})
        ask(one, [b"no\n"])
        one.stdin.close()  # type: ignore[union-attr]
        assert one.wait(DEADLINE) == 0
        wait_for(lambda: requests_in(path.read_text()) == {other.pid: 4})
        ask(other, [OTHER])
        other.stdin.close()  # type: ignore[union-attr]
        assert other.wait(DEADLINE) == 0
    assert requests_in(path.read_text()) == {other.pid: 5}, "the last one leaves what it has counted"


@pytest.mark.parametrize("odd", ["fifo", "link", "folder"])
def test_whatever_stands_at_the_path_of_the_lock_is_not_waited_for(odd: str, tmp_path: Path) -> None:
    lock, elsewhere = tmp_path / ".m.prom.lock", tmp_path / "elsewhere"
    {"fifo": os.mkfifo, "link": lambda path: path.symlink_to(elsewhere), "folder": os.mkdir}[odd](lock)
    complaints: list[str] = []
    MetricsFile(tmp_path / "m.prom", 15.0, Counters(), complaints.append).write()
    assert bool(complaints) == (odd != "fifo")
    assert not elsewhere.exists()
