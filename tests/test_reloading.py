"""A policy that is replaced while the helper answers: taken up whole, or not at all, and never in the way of an answer.

Where the engine comes from is tried with a builder that reads a small file of orders, then with the helper itself and
real policies and programs, under load.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

import squid_imhelper
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Response, Rule, SiteList
from squid_imhelper.helper import reloading
from squid_imhelper.helper.counters import Counters
from squid_imhelper.helper.notices import Notices
from squid_imhelper.helper.reloading import FIRST_RETRY, GONE, LAST_RETRY, Build, EngineSource
from squid_imhelper.loading import build_program
from squid_imhelper.matching.program import Program
from squid_imhelper.matching.programfile import save_program
from squid_imhelper.matching.sites import compile_site_list

ROOT = Path(squid_imhelper.__file__).parents[1]
DEADLINE = 30.0

Warn = Callable[[str], None]


# ---- a builder that does as it is told ------------------------------------------------------------------------------


def small_program(version: str, files: tuple[str, ...] = ()) -> Program:
    sites = {"own": compile_site_list(SiteList("own", domains=("marker.example",)))}
    rules = (Rule(version, "block", sites=("own",)),)
    return Program({}, (), (), (), rules, Response(), frozenset(), sites=sites, files=files)


def build_from(path: Path, warn: Warn) -> Program:
    """Reads orders, a line each: `is`, `warn`, `refuse`, `fault`, `read`, `pause`, `kill` ...

    It works in a child: what it changes outside of its files, nobody sees.
    """
    try:
        orders = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ImhelperError(f"cannot read {path}: {error.strerror}") from None
    version, files = "", []
    for order in sorted(orders, key=lambda order: order.startswith("later ")):
        word, _, rest = order.removeprefix("later ").partition(" ")
        if word == "is":
            version = rest
        elif word == "read":
            files.append(rest)
            version += f"+{Path(rest).read_text()}" if Path(rest).exists() else "+nothing"
        else:
            DONE[word](rest, warn)
    return small_program(version, tuple(files))


def refuse(text: str, _: Warn) -> None:
    raise ImhelperError(text)


def fault(text: str, _: Warn) -> None:
    raise RuntimeError(text)


def send_signal(number: str, _: Warn) -> None:
    os.kill(os.getpid(), int(number))


def leave(how: str, _: Warn) -> None:
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[how]


def pause(path: str, _: Warn) -> None:
    Path(f"{path}.paused").touch()
    wait_until(Path(f"{path}.go").exists)


def replace_another(text: str, _: Warn) -> None:
    path, content = text.split(" ")
    if Path(path).read_text() != content:
        Path(f"{path}.another").write_text(content)
        Path(f"{path}.another").replace(path)


def tell_descriptors(_: str, warn: Warn) -> None:
    for entry in sorted(Path("/proc/self/fd").iterdir(), key=lambda entry: int(entry.name)):
        try:
            warn(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:  # the folder itself
            continue


DONE: dict[str, Callable[[str, Warn], None]] = {
    "warn": lambda text, warn: warn(text),
    "refuse": refuse,
    "fault": fault,
    "kill": send_signal,
    "exit": leave,
    "pause": pause,
    "then": replace_another,
    "descriptors": tell_descriptors,
}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.002)


@contextmanager
def paused(rig: "Rig", orders: str) -> Iterator[None]:
    """Has a child read such orders, and lets it go on when the block ends."""
    mark = rig.path.with_name(f"{next(_ages)}")
    replace(rig.path, f"{orders}\npause {mark}")
    rig.source.check()
    wait_until(Path(f"{mark}.paused").exists)
    yield
    Path(f"{mark}.go").touch()


_ages = iter(range(1_000_000_000, 2_000_000_000))


def overwrite(path: Path, text: str) -> None:
    """Writes a file in place; its time is always another one, however coarse the clock of the file system."""
    path.write_text(text)
    os.utime(path, ns=(0, next(_ages)))


def replace(path: Path, text: str) -> None:
    """Puts another file in the place of this one; the old one lives on, so that its inode is not given out again."""
    if path.exists():
        path.with_name(f"{path.name}.{next(_ages)}").hardlink_to(path)
    new = path.with_name(f"{path.name}.new")
    overwrite(new, text)
    new.replace(path)


class Kept(Notices):
    """Notices that keep what they would have written."""

    def __init__(self) -> None:
        super().__init__("test")
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Rig:
    """A source of engines, its file, and what it says and counts."""

    def __init__(
        self, path: Path, build: Callable[[Path, Warn], Program] = build_from, name: str | None = None
    ) -> None:
        self.path = path
        self.notices = Kept()
        self.counters = Counters()
        self.children = 0

        def count(warn: Warn) -> Program:
            return build(path, warn)

        self.source = EngineSource(str(path) if name is None else name, count, self.notices, self.counters)

    @property
    def version(self) -> str:
        """The version in force; "" for none."""
        return self.source.engine.program.rules[0].name if self.source.engine else ""

    @property
    def counts(self) -> tuple[int, int]:
        """Policies taken up after the first one, and refused."""
        return self.counters.reloads["taken"], self.counters.reloads["refused"]

    def said(self) -> list[str]:
        """What has been said since this was asked last."""
        said, self.notices.said = self.notices.said, []
        return said

    def settle(self) -> None:
        """Checks as often as it takes, and then some more."""
        for _ in range(4):
            self.source.check()
            self.finish()

    def finish(self) -> None:
        """Waits for the child that is at work, if there is one."""

        def done() -> bool:
            if self.source._build is not None:
                self.source.check()
            return self.source._build is None

        wait_until(done)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy"


@pytest.fixture
def rig(path: Path) -> Rig:
    """A source that has taken up its first policy."""
    replace(path, "is one")
    rig = Rig(path)
    rig.source.start()
    assert (rig.version, rig.said(), rig.counts) == ("one", [], (0, 0))
    return rig


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Build]:
    """The children that were started."""
    started: list[Build] = []

    class Counted(Build):
        def __init__(self, build: reloading.Builder) -> None:
            super().__init__(build)
            started.append(self)

    monkeypatch.setattr(reloading, "Build", Counted)
    return started


# ---- when a policy is taken up --------------------------------------------------------------------------------------


def test_a_file_that_was_replaced_is_taken_up_at_once(rig: Rig, path: Path) -> None:
    before = rig.source.engine
    replace(path, "is two")
    rig.source.check()
    assert rig.source.engine is before, "while the child works, the old one is in force"
    rig.finish()
    assert rig.version == "two"
    assert rig.source.engine is not before
    assert rig.said() == [f"{path} is in force now"]
    assert rig.counts == (1, 0)


def test_a_file_that_has_not_changed_is_not_read_again(rig: Rig, builds: list[Build]) -> None:
    rig.settle()
    assert (rig.said(), rig.counts, builds) == ([], (0, 0), [])


def test_a_file_that_is_written_in_place_is_read_when_it_has_rested(rig: Rig, path: Path, builds: list[Build]) -> None:
    for text in ("refuse half", "refuse nearly", "is two"):
        overwrite(path, text)
        rig.source.check()
        assert builds == [], "it has only just been written"
    rig.source.check()
    rig.finish()
    assert (rig.version, len(builds), rig.counts) == ("two", 1, (1, 0))


def test_the_program_of_the_child_is_used_and_not_a_second_one(rig: Rig, path: Path, builds: list[Build]) -> None:
    replace(path, "is two")
    rig.settle()
    assert len(builds) == 1


def test_on_demand_a_policy_is_taken_up_though_it_has_not_changed(rig: Rig, path: Path) -> None:
    before = rig.source.engine
    rig.source.reload()
    rig.finish()
    assert rig.source.engine is not before
    assert (rig.version, rig.said(), rig.counts) == ("one", [f"{path} is in force now"], (1, 0))


def test_what_is_demanded_while_a_child_works_is_done_behind_it(rig: Rig, builds: list[Build]) -> None:
    with paused(rig, "is two"):
        rig.source.reload()
        rig.source.reload()
        assert len(builds) == 1
    rig.settle()
    assert (rig.version, len(builds)) == ("two", 2)


def test_a_file_that_is_replaced_while_a_child_works_is_taken_up_next(rig: Rig, path: Path) -> None:
    """What the child has read is a whole file, though not the last one."""
    with paused(rig, "is two"):
        replace(path, "is three")
        rig.source.check()
    seen: list[str] = []
    wait_until(lambda: rig.source.check() or seen.append(rig.version) or rig.version == "three")
    assert list(dict.fromkeys(seen)) == ["one", "two", "three"]
    rig.settle()
    assert rig.version == "three"


def test_a_file_that_is_replaced_all_the_time_is_taken_up_now_and_then(rig: Rig, path: Path) -> None:
    for number in range(10):
        with paused(rig, f"is {number}"):
            replace(path, f"is {number} and a half")
        rig.finish()
        assert rig.version == str(number)


def test_a_change_in_place_while_a_child_works_has_to_rest_too(rig: Rig, path: Path, builds: list[Build]) -> None:
    """What the child has read may be the old file, the new one, or both."""
    with paused(rig, "is two"):
        overwrite(path, "is three")
    rig.finish()
    rig.source.check()
    assert (rig.version, len(builds)) == ("one", 1)
    rig.settle()
    assert (rig.version, len(builds)) == ("three", 2)


@pytest.mark.parametrize("change", [overwrite, replace], ids=["in-place", "replaced"])
def test_what_was_refused_while_the_file_changed_is_not_told(
    change: Callable[[Path, str], None], rig: Rig, path: Path
) -> None:
    """It may be half a file, or half of the old lists and half of the new; what stands there now is tried next."""
    with paused(rig, "later refuse half a file"):
        change(path, "is three")
    rig.settle()
    assert (rig.version, rig.counts) == ("three", (1, 0))
    assert rig.said() == [f"{path} is in force now"]


def test_the_built_in_policy_is_built_anew_on_demand_only(tmp_path: Path, builds: list[Build]) -> None:
    rig = Rig(tmp_path / "nothing", lambda _, warn: small_program("built-in"), name="")
    rig.source.start()
    rig.settle()
    assert (rig.version, len(builds)) == ("built-in", 1)
    rig.source.reload()
    rig.settle()
    assert (rig.version, len(builds)) == ("built-in", 2)


def test_when_a_policy_was_taken_up_is_told(rig: Rig, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rig.counters.policy_loaded == pytest.approx(time.time(), abs=600)
    monkeypatch.setattr(reloading.time, "time", lambda: 5.0)
    replace(path, "refuse")
    rig.settle()
    assert rig.counters.policy_loaded != 5.0
    replace(path, "is two")
    rig.settle()
    assert rig.counters.policy_loaded == 5.0


# ---- what cannot be used --------------------------------------------------------------------------------------------


def test_a_broken_policy_leaves_the_old_one(rig: Rig, path: Path) -> None:
    before = rig.source.engine
    replace(path, "refuse line 5: no\nis two")
    rig.settle()
    assert rig.source.engine is before
    assert rig.said() == [f"{path} is refused, and the old policy stays in force: line 5: no"]
    assert rig.counts == (0, 1)
    replace(path, "is two")
    rig.settle()
    assert rig.version == "two"
    assert rig.said() == [f"{path} is in force now"]
    assert rig.counts == (1, 1)


def test_what_is_wrong_is_said_once(rig: Rig, path: Path) -> None:
    for _ in range(3):
        replace(path, "refuse the same")
        rig.settle()
    assert len(rig.said()) == 1
    replace(path, "refuse something else")
    rig.settle()
    assert len(rig.said()) == 1
    replace(path, "is one")
    rig.settle()
    replace(path, "refuse something else")
    rig.settle()
    assert len(rig.said()) == 2, "and again, when it was right in between"


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        pytest.param("fault oh", "internal fault, please report: RuntimeError('oh')", id="a-fault"),
        pytest.param("kill 9", "was ended by signal 9", id="killed"),
        pytest.param("kill 15", "was ended by signal 15", id="terminated"),
        pytest.param("kill 11", "was ended by signal 11", id="crashed"),
        pytest.param("exit SystemExit", "", id="an-exit"),
        pytest.param("exit KeyboardInterrupt", "", id="interrupted"),
        pytest.param("warn look\nrefuse no", "look\nno", id="a-warning-and-an-error"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["at-the-start", "later"])
def test_however_a_child_fails_it_is_told_and_counted(orders: str, words: str, first: bool, path: Path) -> None:
    replace(path, orders if first else "is one")
    rig = Rig(path)
    rig.source.start()
    if not first:
        replace(path, orders)
        rig.settle()
    assert rig.version == ("" if first else "one")
    (said,) = rig.said()
    assert said.startswith("no policy is in force: " if first else f"{path} is refused, and the old policy stays")
    assert words in said
    assert rig.counts == (0, 1)
    replace(path, "is two")
    rig.settle()
    assert rig.version == "two"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_is_meant_for_all_helpers_does_not_end_what_compiles(
    number: signal.Signals, rig: Rig, path: Path
) -> None:
    """`pkill -HUP squid-imhelper` and a second one reach the child too, which has the same name."""
    replace(path, f"kill {number.value}\nis two")
    rig.settle()
    assert (rig.version, rig.counts) == ("two", (1, 0))


def test_warnings_come_through_and_the_policy_holds(rig: Rig, path: Path) -> None:
    replace(path, "warn first\nwarn second\nis two")
    rig.settle()
    assert rig.version == "two"
    assert rig.said() == ["first\nsecond", f"{path} is in force now"]


def test_a_warning_may_hold_anything(rig: Rig) -> None:
    rig.source._build_program = lambda warn: warn("\udcff\u00fc\0") or small_program("two")
    rig.source.reload()
    rig.finish()
    assert rig.said()[0] == "\udcff\u00fc\0"


def test_what_was_refused_is_tried_again_more_and_more_rarely(
    rig: Rig, path: Path, builds: list[Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the way may be another file than those that are looked at."""
    now = 0.0
    monkeypatch.setattr(reloading.time, "monotonic", lambda: now)
    other = Path(f"{path}.other")

    def needs_another(warn: Warn) -> Program:
        if not other.exists():
            raise ImhelperError("another file is missing")
        return small_program("two")

    rig.source._build_program = needs_another
    replace(path, "new")
    tried: list[float] = []
    while now < 5000:
        before = len(builds)
        checked(rig)
        tried += [now] * (len(builds) - before)
        now += 1
    pauses = [FIRST_RETRY]
    while len(pauses) < len(tried) - 1:
        pauses.append(min(2 * pauses[-1], LAST_RETRY))
    assert tried[0] == 0
    assert [later - earlier for earlier, later in pairwise(tried)] == pauses
    assert LAST_RETRY in pauses
    assert len(rig.said()) == 1
    assert (rig.version, rig.counts) == ("one", (0, 1))
    other.touch()
    now += LAST_RETRY
    checked(rig)
    assert (rig.version, rig.counts) == ("two", (1, 1))
    now += 10 * LAST_RETRY
    before = len(builds)
    checked(rig)
    assert len(builds) == before, "what is in force is not tried again"


def test_what_is_refused_for_another_reason_is_tried_again_as_soon_as_at_first(
    rig: Rig, path: Path, builds: list[Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(reloading.time, "monotonic", lambda: now)
    replace(path, "refuse one")
    for _ in range(5):
        checked(rig)
        now += LAST_RETRY
    replace(path, "refuse two")
    checked(rig)
    before = len(builds)
    now += FIRST_RETRY - 1
    checked(rig)
    assert len(builds) == before
    now += 1
    checked(rig)
    assert len(builds) == before + 1


def checked(rig: Rig) -> None:
    """One check, and the end of what it began. The clock stands still, so there is no deadline but the test's own."""
    rig.source.check()
    while rig.source._build is not None:
        rig.source.check()


def test_a_child_that_cannot_be_started_leaves_the_old_one(
    rig: Rig, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(reloading.os, "fork", no_more)
    replace(path, "is two")
    rig.settle()
    assert rig.version == "one"
    assert "Resource temporarily unavailable" in rig.said()[0]
    monkeypatch.undo()
    rig.source.reload()
    rig.finish()
    assert rig.version == "two"


# ---- files that vanish ----------------------------------------------------------------------------------------------


def test_a_file_that_vanishes_changes_nothing(rig: Rig, path: Path, builds: list[Build]) -> None:
    before = rig.source.engine
    path.unlink()
    rig.settle()
    assert rig.source.engine is before
    assert (rig.said(), rig.counts, builds) == ([], (0, 0), [])
    replace(path, "is two")
    rig.settle()
    assert rig.version == "two"


def test_on_demand_a_file_that_has_vanished_is_told_and_the_old_one_stays(rig: Rig, path: Path) -> None:
    path.unlink()
    rig.source.reload()
    rig.finish()
    assert rig.version == "one"
    (said,) = rig.said()
    assert "is refused, and the old policy stays in force: cannot read" in said


def test_a_file_that_is_missing_at_the_start_is_taken_up_when_it_comes(path: Path, builds: list[Build]) -> None:
    rig = Rig(path)
    rig.source.start()
    rig.settle()
    assert (rig.version, len(builds), rig.counts) == ("", 1, (0, 1))
    assert rig.said() == [f"no policy is in force: cannot read {path}: No such file or directory"]
    replace(path, "is one")
    rig.source.check()
    rig.finish()
    assert rig.version == "one"
    assert rig.said() == [f"{path} is in force now"]


@pytest.mark.parametrize("before", ["refuse no", "fault", "kill 9"])
def test_a_file_that_was_broken_at_the_start_is_taken_up_when_it_is_mended(before: str, path: Path) -> None:
    replace(path, before)
    rig = Rig(path)
    rig.source.start()
    rig.settle()
    overwrite(path, "refuse still")
    rig.settle()
    assert (rig.version, len(rig.said())) == ("", 2)
    overwrite(path, "is one")
    rig.settle()
    assert rig.version == "one"


@pytest.mark.parametrize("odd", ["directory", "fifo", "long", "nul"])
@pytest.mark.timeout(30)
def test_a_path_that_is_no_file_harms_nothing(odd: str, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    path = tmp_path / {"long": "x" * 300, "nul": "nul\0"}.get(odd, odd)

    def build(path: Path, warn: Warn) -> Program:
        raise ImhelperError(f"{odd} is no policy")

    rig = Rig(path, build)
    rig.source.start()
    rig.settle()
    assert (rig.version, len(rig.said())) == ("", 1)


# ---- list files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def with_list(path: Path) -> Rig:
    """A source whose policy reads a list."""
    replace(path.with_name("list"), "a")
    replace(path, f"is one\nread {path.with_name('list')}")
    rig = Rig(path)
    rig.source.start()
    rig.settle()
    assert rig.version == "one+a"
    rig.said()
    return rig


def test_a_list_that_changes_makes_a_new_policy(with_list: Rig, path: Path) -> None:
    with_list.settle()
    assert with_list.said() == []
    replace(path.with_name("list"), "b")
    with_list.source.check()
    with_list.finish()
    assert with_list.version == "one+b"
    overwrite(path.with_name("list"), "c")
    with_list.source.check()
    with_list.finish()
    assert with_list.version == "one+b"
    with_list.settle()
    assert with_list.version == "one+c"


def test_a_list_that_vanishes_changes_nothing(with_list: Rig, path: Path, builds: list[Build]) -> None:
    path.with_name("list").unlink()
    with_list.settle()
    assert (with_list.version, with_list.said(), builds) == ("one+a", [], [])
    replace(path.with_name("list"), "b")
    with_list.settle()
    assert with_list.version == "one+b"


def test_a_list_that_the_new_policy_reads_is_looked_at_too(rig: Rig, path: Path) -> None:
    replace(path.with_name("list"), "a")
    replace(path, f"is two\nread {path.with_name('list')}")
    rig.settle()
    assert rig.version == "two+a"
    replace(path.with_name("list"), "b")
    rig.settle()
    assert rig.version == "two+b"


def test_a_list_that_the_new_policy_does_not_read_any_more_may_go(with_list: Rig, path: Path) -> None:
    """Both at once: the line that named it, and the list."""
    replace(path, "is two")
    path.with_name("list").unlink()
    with_list.settle()
    assert with_list.version == "two"


@pytest.mark.parametrize("start", [True, False], ids=["at-the-start", "later"])
def test_a_list_that_changes_behind_the_child_that_read_it_is_read_again(start: bool, path: Path) -> None:
    """It is not looked at before the policy that names it is in force."""
    changed = path.with_name("list")
    replace(changed, "a")
    orders = f"is one\nread {changed}\nthen {changed} b"
    replace(path, orders if start else "is zero")
    rig = Rig(path)
    rig.source.start()
    if not start:
        replace(path, orders)
    rig.settle()
    assert changed.read_text() == "b"
    assert rig.version == "one+b"


def test_a_list_that_is_replaced_while_a_child_works_is_read_again(with_list: Rig, path: Path) -> None:
    own_list = path.with_name("list")
    with paused(with_list, f"is two\nread {own_list}"):
        replace(own_list, "b")
    with_list.settle()
    assert with_list.version == "two+b"


# ---- programs -------------------------------------------------------------------------------------------------------


def save(version: str, path: Path, files: tuple[str, ...] = ()) -> None:
    """Writes a program; the one before keeps its inode."""
    if path.exists():
        path.with_name(f"{path.name}.{next(_ages)}").hardlink_to(path)
    save_program(small_program(version, files), path)


def test_a_program_is_opened_without_a_child(path: Path, builds: list[Build]) -> None:
    save("one", path)
    rig = Rig(path)
    rig.source.start()
    assert (rig.version, rig.counts) == ("one", (0, 0))
    save("two", path)
    rig.source.check()
    assert rig.version == "two"
    rig.source.reload()
    assert rig.version == "two"
    assert (builds, rig.counts) == ([], (2, 0))
    assert rig.said() == [f"{path} is in force now"] * 2


def test_a_policy_gives_way_to_a_program_and_the_other_way_round(rig: Rig, path: Path, builds: list[Build]) -> None:
    for round_ in range(3):
        save(f"program {round_}", path)
        rig.settle()
        assert rig.version == f"program {round_}"
        replace(path, f"is policy {round_}")
        rig.settle()
        assert rig.version == f"policy {round_}"
    assert len(builds) == 3
    assert rig.counts == (6, 0)


def test_a_damaged_program_leaves_the_old_one(rig: Rig, path: Path) -> None:
    save("two", path)
    os.truncate(path, 100)
    rig.settle()
    assert rig.version == "one"
    (said,) = rig.said()
    assert "is no whole program: it has 100 of " in said
    save("three", path)
    rig.settle()
    assert (rig.version, rig.counts) == ("three", (1, 1))


def test_a_program_that_is_copied_into_place_bit_by_bit(rig: Rig, path: Path, tmp_path: Path) -> None:
    save("two", tmp_path / "elsewhere")
    data = (tmp_path / "elsewhere").read_bytes()
    for end in range(0, len(data) + 1000, 1000):
        path.write_bytes(data[:end])
        os.utime(path, ns=(0, next(_ages)))
        rig.source.check()
        assert rig.version == "one"
    assert (rig.said(), rig.counts) == ([], (0, 0))
    rig.settle()
    assert rig.version == "two"


@pytest.mark.parametrize("missing", [False, True], ids=["there", "elsewhere"])
def test_a_program_does_not_need_the_lists_that_are_in_it(missing: bool, path: Path) -> None:
    """It may have been compiled on another machine, and is changed by another program only."""
    own_list = path.with_name("list")
    if not missing:
        replace(own_list, "a")
    save("one", path, (str(own_list),))
    rig = Rig(path)
    rig.source.start()
    if not missing:
        replace(own_list, "b")
        rig.settle()
        assert rig.counts == (0, 0), "the lists that it was made of are not its own any more"
    save("two", path, (str(own_list),))
    rig.settle()
    assert (rig.version, rig.counts) == ("two", (1, 0))


# ---- what is left behind --------------------------------------------------------------------------------------------


def open_files() -> list[str]:
    """What the descriptors of this process lead to."""
    gc.collect()
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # the folder itself
            continue
    return sorted(found)


def mappings() -> int:
    """How many files are mapped into the memory of this process."""
    return sum("/" in line for line in Path("/proc/self/maps").read_text().splitlines())


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_hundred_policies_leave_no_descriptor_and_no_child(rig: Rig, path: Path) -> None:
    before, children_before = open_files(), children()
    for number in range(100):
        replace(path, ["refuse no", "kill 9", f"is {number}", f"is {number}"][number % 4])
        rig.source.check()
        rig.finish()
    rig.settle()
    assert rig.version == "99"
    assert len(open_files()) == len(before)
    assert children() == children_before


def test_a_hundred_programs_leave_no_descriptor_and_no_memory_mapped(path: Path) -> None:
    save("start", path)
    rig = Rig(path)
    rig.source.start()
    before, mapped = open_files(), mappings()
    for number in range(100):
        save(str(number), path)
        rig.source.check()
        assert rig.version == str(number)
    assert len(open_files()) == len(before)
    assert mappings() == mapped


def test_what_compiles_has_nothing_open_but_its_own(rig: Rig, path: Path, tmp_path: Path) -> None:
    """Squid's socket above all; a log, a lock or another program neither."""
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "log").open("wb"):
        replace(path, "descriptors\nis two")
        rig.settle()
    found = dict(line.split(" ", 1) for line in rig.said()[0].splitlines())
    assert found.pop("0") == "/dev/null"
    assert {"1", "2"} < set(found)
    rest = {target for number, target in found.items() if number not in ("1", "2")}
    assert {target.partition(" ")[0] for target in rest} == {"/memfd:program", "/memfd:messages"}


def test_what_compiles_does_none_of_the_chores(rig: Rig) -> None:
    heeded: list[int] = []
    before = signal.signal(signal.SIGCHLD, lambda number, _: heeded.append(number))

    def build(warn: Warn) -> Program:
        signal.raise_signal(signal.SIGCHLD)
        warn(f"heeded {len(heeded)}, {signal.getsignal(signal.SIGALRM)!s}")
        return small_program("two")

    rig.source._build_program = build
    try:
        rig.source.reload()
        rig.finish()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert rig.said()[0] == f"heeded 0, {signal.SIG_IGN!s}"


# ---- a live helper --------------------------------------------------------------------------------------------------

MESSENGER = b"10.0.0.1 GET http://web.whatsapp.com/ - - -"

SLOW_SECOND_BUILD = """
import os, sys, time
from squid_imhelper import cli
from squid_imhelper.helper import starting
build = starting.build_program
begun = 0
class Source(starting.EngineSource):
    def _begin(self):
        global begun
        begun += 1
        super()._begin()
def slow(policy, warn):
    if begun > 1:
        os.write(2, b"compiling %d\\n" % os.getpid())
        time.sleep(60)
    return build(policy, warn)
starting.build_program, starting.EngineSource = slow, Source
sys.exit(cli.main(sys.argv[1:]))
"""


def test_what_compiles_does_not_hold_on_to_squids_socket() -> None:
    """Squid must see the end of a helper though its child still works; and it gets its answers until then."""
    ours, theirs = socket.socketpair()
    arguments = [sys.executable, "-c", SLOW_SECOND_BUILD, "acl", "--policy", "built-in"]
    with ours, subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT) as process:
        theirs.close()
        assert process.stderr is not None
        child = 0
        try:
            ours.settimeout(DEADLINE)
            ours.sendall(b"1 " + MESSENGER + b"\n")
            assert ours.recv(1000).startswith(b"1 OK ")
            process.send_signal(signal.SIGHUP)
            said = process.stderr.readline()
            assert said.startswith(b"compiling ")
            child = int(said.split()[1])
            ours.sendall(b"2 " + MESSENGER + b"\n")
            assert ours.recv(1000).startswith(b"2 OK "), "it answers while it compiles"
            process.kill()
            assert ours.recv(100) == b"", "nobody else has Squid's socket open"
            os.kill(child, 0)  # it was still at work
        finally:
            process.kill()
            if child:
                os.kill(child, signal.SIGKILL)


def test_what_compiles_ends_with_its_helper() -> None:
    ours, theirs = socket.socketpair()
    arguments = [sys.executable, "-c", SLOW_SECOND_BUILD, "acl", "--policy", "built-in"]
    with ours, subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT) as process:
        theirs.close()
        assert process.stderr is not None
        ours.settimeout(DEADLINE)
        ours.sendall(b"1 " + MESSENGER + b"\n")
        assert ours.recv(1000).startswith(b"1 OK ")
        process.send_signal(signal.SIGHUP)
        child = int(process.stderr.readline().split()[1])
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(DEADLINE) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def test_a_policy_that_is_gone_for_a_while_is_told_once(rig: Rig, path: Path) -> None:
    """It changes nothing until the helper is started again, and then everything."""
    path.unlink()
    for _ in range(GONE - 1):
        rig.source.check()
    assert rig.said() == []
    for _ in range(GONE):
        rig.source.check()
    assert rig.said() == [f"{path} is gone; the policy stays in force, but not behind the next start"]
    assert (rig.version, rig.counts) == ("one", (0, 0))


FASTER = """
import sys
from squid_imhelper import cli
from squid_imhelper.helper import chores
chores.PERIOD = 0.02
sys.exit(cli.main(sys.argv[1:]))
"""
"""A helper that looks at its policy fifty times a second, so that a test with many policies does not take minutes."""

RATE = 2000
"""Requests in a second."""


class Load:
    """A helper under load: requests come at RATE, whether the ones before have been answered or not."""

    def __init__(self, process: subprocess.Popen[bytes], ours: socket.socket, said: Path) -> None:
        self.process = process
        self.said = said
        self.sent = 0
        self.seconds = 0.0
        self.answers: list[bytes] = []
        self._ours = ours
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._feed), threading.Thread(target=self._read)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _feed(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - begun) * RATE) - self.sent
            lines = (b"%d %b\n" % (n, ASKED[n % len(ASKED)]) for n in range(self.sent, self.sent + due))
            self._ours.sendall(b"".join(lines))
            self.sent += due
            time.sleep(0.002)
        self.seconds = time.monotonic() - begun
        self._ours.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        rest = b""
        while data := self._ours.recv(1 << 18):
            *answers, rest = (rest + data).split(b"\n")
            self.answers += answers
        if rest:
            self.answers.append(b"cut off: " + rest)

    def latest(self) -> int:
        """The version of the last answer; -1 while there is none, or none yet by a policy."""
        answers = self.answers
        return version_of(answers[-1]) if answers else -1

    def wait_for(self, version: int) -> None:
        wait_until(lambda: self.latest() == version)

    def stop(self) -> None:
        """Ends the load and waits for the last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)


ASKED = [
    MESSENGER,
    b"10.0.0.2 GET http://www.marker.example/path - - -",
    b"10.0.0.3 CONNECT unknown.example:443 - - -",
]


def versioned(version: int) -> str:
    """A policy of which each answer shows the version, in each of its parts."""
    return f"""
[sites]
own = {{ domains = ["marker.example", "v{version}.example"], regex = ["^http://v{version}[.]"] }}
[[rule]]
name = "v{version}"
services = ["whatsapp"]
action = "block"
[[rule]]
name = "sites-v{version}"
sites = ["own"]
action = "block"
[response]
message = "text-v{version}"
"""


def expected(number: int, version: int) -> bytes:
    return (
        b"%d " % number
        + [
            b"OK tag=whatsapp log=v%d message=text-v%d" % (version, version),
            b"OK log=sites-v%d message=text-v%d" % (version, version),
            b"ERR",
        ][number % len(ASKED)]
    )


def version_of(answer: bytes) -> int:
    """The version that an answer shows; -1 where it does not."""
    found = answer.rpartition(b"text-v")
    return int(found[2]) if found[1] and found[2].isdigit() else -1


@contextmanager
def loaded(policy: Path, tmp_path: Path) -> Iterator[Load]:
    ours, theirs = socket.socketpair()
    said = tmp_path / "said"
    arguments = [sys.executable, "-c", FASTER, "acl", "--policy", policy]
    with (
        ours,
        said.open("wb") as stderr,
        subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=stderr, cwd=ROOT) as process,
    ):
        theirs.close()
        load = Load(process, ours, said)
        load.start()
        try:
            yield load
        finally:
            load.stop()
            process.kill()


def check_answers(load: Load, last: int) -> None:
    """Each line was answered once, by one version as a whole, and no version came back."""
    load.stop()
    assert load.process.wait(DEADLINE) == 0
    assert len(load.answers) == load.sent
    version = 0
    seen = set()
    for number, answer in enumerate(load.answers):
        now = version_of(answer)
        if now >= 0:
            assert now >= version, f"version {now} behind version {version}"
            version = now
            seen.add(version)
        assert answer == expected(number, version)
    assert seen == set(range(last + 1)), "each version has answered"
    assert load.sent > 1000 * load.seconds, "too little load to show anything"
    said = load.said.read_text()
    assert said.count("is in force now") == last
    assert "internal fault" not in said


def check_children_and_descriptors(load: Load) -> None:
    """The last child has been waited for, and what is not in force any more is let go, if not at once."""
    own = Path(f"/proc/{load.process.pid}")
    wait_until(lambda: not (own / "task" / str(load.process.pid) / "children").read_text())
    assert len(list((own / "fd").iterdir())) < 50


def put(text: str, path: Path) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def test_under_load_each_answer_belongs_to_one_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    put(versioned(0), path)
    with loaded(path, tmp_path) as load:
        load.wait_for(0)
        for version in range(1, 65):
            put(versioned(version), path)
            load.wait_for(version)
        check_children_and_descriptors(load)
        check_answers(load, 64)


def test_under_load_broken_policies_change_nothing(tmp_path: Path) -> None:
    """Of several kinds; each is told once, and between them sound ones are taken up."""
    broken = [
        "[[rule]\n",
        versioned(99).replace('"whatsapp"', '"whatsap"'),
        versioned(99) + '[[expect]]\nurl = "http://web.whatsapp.com/"\naction = "allow"\n',
        versioned(99).replace("[sites]", '[sites]\nmissing = { file = "missing" }'),
        "squid-imhelper\r\n",
        "\0",
    ]
    path = tmp_path / "policy.toml"
    put(versioned(0), path)
    with loaded(path, tmp_path) as load:
        load.wait_for(0)
        for version, text in enumerate(broken * 2, 1):
            put(text, path)
            wait_until(lambda: load.said.read_text().count(" is refused, ") == version)  # noqa: B023
            put(versioned(version), path)
            load.wait_for(version)
        check_answers(load, len(broken) * 2)


def test_under_load_each_answer_belongs_to_one_program(tmp_path: Path) -> None:
    path, policy = tmp_path / "program", tmp_path / "policy.toml"

    def compile_version(version: int) -> None:
        policy.write_text(versioned(version))
        save_program(build_program(str(policy), pytest.fail), path)

    compile_version(0)
    with loaded(path, tmp_path) as load:
        load.wait_for(0)
        for version in range(1, 101):
            compile_version(version)
            load.wait_for(version)
        check_children_and_descriptors(load)
        check_answers(load, 100)


def test_under_load_policies_and_programs_take_turns_though_they_come_too_fast(tmp_path: Path) -> None:
    """Faster than they can be compiled: some are passed over, and none comes back."""
    path = tmp_path / "policy"
    put(versioned(0), path)
    with loaded(path, tmp_path) as load:
        load.wait_for(0)
        for version in range(1, 201):
            if version % 3:
                put(versioned(version), path)
            else:
                (tmp_path / "source.toml").write_text(versioned(version))
                save_program(build_program(str(tmp_path / "source.toml"), pytest.fail), path)
            time.sleep(0.01 * (version % 5))
        load.wait_for(200)
        load.stop()
        assert load.process.wait(DEADLINE) == 0
        assert len(load.answers) == load.sent
        versions = [version_of(answer) for answer in load.answers]
        shown = [version for version in versions if version >= 0]
        assert all(before <= after for before, after in pairwise(shown))
        current = 0
        for number, (answer, version) in enumerate(zip(load.answers, versions, strict=True)):
            current = max(current, version)
            assert answer == expected(number, current)
        assert "refused" not in load.said.read_text()


def test_a_program_that_is_cut_off_in_place_costs_no_answer(tmp_path: Path) -> None:
    """As `cp` does over one that is there: the memory into which it is mapped goes with it."""
    path, policy = tmp_path / "program", tmp_path / "policy.toml"
    policy.write_text(versioned(0))
    save_program(build_program(str(policy), pytest.fail), path)
    arguments = [sys.executable, "-m", "squid_imhelper", "acl", "--policy", path]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in (1, 4):
            process.stdin.write(b"%d %b\n" % (number, ASKED[1]))
            process.stdin.flush()
            assert process.stdout.readline() == expected(number, 0) + b"\n"
            os.truncate(path, 100)
