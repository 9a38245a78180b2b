"""What is done between two batches: heeded at once while the helper waits, and otherwise behind the batch.

`install` takes over the process, its alarm timer too, and so is tried in processes of its own.
"""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import squid_imhelper
from squid_imhelper.helper.chores import Chores
from squid_imhelper.helper.serve import serve

ROOT = Path(squid_imhelper.__file__).parents[1]
HUP, USR1, USR2 = signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2

Handle = Callable[[Mapping[signal.Signals, Callable[[], None]]], Chores]


@pytest.fixture
def handle() -> Iterator[Handle]:
    """Makes chores and lets them have the signals; the timer stays with the test runner."""
    before: dict[signal.Signals, object] = {}

    def make(of_signal: Mapping[signal.Signals, Callable[[], None]]) -> Chores:
        chores = Chores(of_signal, pytest.fail)
        before.update({number: signal.signal(number, chores._on_signal) for number in of_signal})
        return chores

    yield make
    for number, handler in before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]


# ---- when -----------------------------------------------------------------------------------------------------------


def test_a_signal_is_heeded_at_once_while_the_helper_waits(handle: Handle) -> None:
    done: list[str] = []
    chores = handle({HUP: lambda: done.append("hup")})
    chores.begin_waiting()
    signal.raise_signal(HUP)
    assert done == ["hup"]
    signal.raise_signal(HUP)
    assert done == ["hup"] * 2


def test_a_signal_in_a_batch_is_heeded_behind_it(handle: Handle) -> None:
    done: list[str] = []
    chores = handle({HUP: lambda: done.append("hup")})
    chores.begin_waiting()
    chores.end_waiting()
    signal.raise_signal(HUP)
    assert done == []
    chores.begin_waiting()
    assert done == ["hup"]
    chores.end_waiting()
    chores.begin_waiting()
    assert done == ["hup"], "once only"


def test_before_the_helper_waits_for_the_first_time_signals_are_noted(handle: Handle) -> None:
    done: list[str] = []
    chores = handle({HUP: lambda: done.append("hup"), USR1: lambda: done.append("usr1")})
    signal.raise_signal(USR1)
    signal.raise_signal(HUP)
    signal.raise_signal(USR1)
    assert done == []
    chores.begin_waiting()
    assert done == ["usr1", "hup"], "each once, in the order in which they came"


def test_a_signal_that_comes_while_a_chore_is_done_is_heeded_behind_it(handle: Handle) -> None:
    done: list[str] = []

    def first() -> None:
        done.append("begins")
        signal.raise_signal(USR1)
        signal.raise_signal(USR2)
        done.append("ends")

    chores = handle({HUP: first, USR1: lambda: done.append("usr1"), USR2: lambda: done.append("usr2")})
    chores.begin_waiting()
    signal.raise_signal(HUP)
    assert done == ["begins", "ends", "usr1", "usr2"]
    signal.raise_signal(USR1)
    assert done[4:] == ["usr1"], "and it waits as before"


def test_a_chore_that_is_asked_for_by_itself_is_done_once_more(handle: Handle) -> None:
    done: list[int] = []

    def again() -> None:
        done.append(len(done))
        if len(done) < 3:
            signal.raise_signal(HUP)

    chores = handle({HUP: again})
    chores.begin_waiting()
    signal.raise_signal(HUP)
    assert done == [0, 1, 2]


_EVENTS = ["begin", "end", HUP, USR1, USR2]


@given(st.lists(st.sampled_from(_EVENTS)))
def test_each_signal_is_heeded_in_its_turn(events: list[str | signal.Signals]) -> None:
    """At once where somebody waits; otherwise when somebody does, in the order in which they came, each once."""
    done: list[signal.Signals] = []
    chores = Chores({number: lambda number=number: done.append(number) for number in (HUP, USR1, USR2)}, pytest.fail)
    expected: list[signal.Signals] = []
    noted: list[signal.Signals] = []
    waiting = False
    for event in events:
        if event == "begin":
            chores.begin_waiting()
            waiting = True
        elif event == "end":
            chores.end_waiting()
            waiting = False
        else:
            chores._on_signal(event, None)  # type: ignore[arg-type]
            if event not in noted:
                noted.append(event)  # type: ignore[arg-type]
        if waiting:
            expected += noted
            noted.clear()
        assert done == expected


class Batch:
    """A helper into whose answers a signal falls."""

    def __init__(self, events: list[str]) -> None:
        self._events = events

    def answer_all(self, block: bytes) -> bytes:
        if block:
            signal.raise_signal(HUP)
            self._events.append("answered")
        return b"1 ERR\n" * block.count(b"\n")

    def write_audit(self) -> None:
        self._events.append("logged")


def test_a_batch_is_answered_before_anything_else_is_done(handle: Handle) -> None:
    ours, theirs = socket.socketpair()
    events: list[str] = []

    def chore() -> None:
        events.append(f"behind {ours.recv(100)!r}")

    with ours, theirs:
        ours.sendall(b"1 a\n2 b\n")
        ours.shutdown(socket.SHUT_WR)
        serve(Batch(events), theirs.fileno(), theirs.fileno(), handle({HUP: chore}))  # type: ignore[arg-type]
    assert events == ["answered", "logged", "behind b'1 ERR\\n1 ERR\\n'"]


@pytest.mark.parametrize("gone", [False, True], ids=["closed", "gone"])
def test_when_squid_has_closed_nothing_more_is_done(gone: bool, handle: Handle) -> None:
    """The line that was cut off is the last batch."""
    ours, theirs = socket.socketpair()
    events: list[str] = []
    chores = handle({HUP: lambda: events.append("late")})
    with theirs, ours:
        ours.sendall(b"1 a")
        ours.shutdown(socket.SHUT_WR)
        if gone:
            ours.close()
        serve(Batch(events), theirs.fileno(), theirs.fileno(), chores)  # type: ignore[arg-type]
    signal.raise_signal(HUP)
    assert events == ["logged", "answered", "logged"], "a piece of a line is a batch of none"


# ---- chores that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(28, "full"), MemoryError(), RecursionError()], ids=repr)
def test_a_chore_that_fails_is_told_and_harms_nothing(error: Exception) -> None:
    done: list[str] = []
    said: list[str] = []

    def broken() -> None:
        raise error

    chores = Chores({HUP: broken, USR1: lambda: done.append("usr1")}, said.append)
    for number in (HUP, USR1, HUP):
        chores._on_signal(number, None)
    chores.begin_waiting()
    assert done == ["usr1"], "the others have their turn"
    chores._on_signal(HUP, None)
    assert said == [f"internal fault, please report: {error!r}"] * 2
    chores._on_signal(USR1, None)
    assert done == ["usr1"] * 2, "and signals are heeded as before"


# ---- a whole process ------------------------------------------------------------------------------------------------


def run(script: str) -> str:
    """Runs a script to its end."""
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


TIMER = """
import os, signal
from squid_imhelper.helper import chores
chores.PERIOD = 0.01
read_fd, write_fd = os.pipe()
rounds = 0
def every_period():
    global rounds
    rounds += 1
    if rounds == 5:
        os.write(write_fd, b"enough")
own = chores.Chores({signal.SIGALRM: every_period}, print)
own.install()
own.begin_waiting()
print(os.read(read_fd, 100), rounds >= 5)
own.stop()
print(signal.getitimer(signal.ITIMER_REAL))
"""


def test_a_timer_gives_the_chores_their_turn_and_a_read_goes_on() -> None:
    assert run(TIMER) == "b'enough' True\n(0.0, 0.0)\n"


BLOCKED = """
import os, signal
from squid_imhelper.helper.chores import Chores
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGUSR1])
own = Chores({signal.SIGHUP: lambda: print("heeded")}, print)
own.install()
signal.setitimer(signal.ITIMER_REAL, 0)
own.begin_waiting()
os.kill(os.getpid(), signal.SIGHUP)
print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR1})
"""


def test_signals_that_the_parent_had_blocked_are_heeded() -> None:
    """A mask is inherited, and Squid's is its own affair; what is not taken over stays as it is."""
    assert run(BLOCKED) == "heeded\nTrue\n"


CHILD = """
import os, signal, sys
from squid_imhelper.helper import chores
chores.PERIOD = 0.01
numbers = [signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD]
own = chores.Chores({number: lambda: None for number in numbers}, print)
own.install()
pid = os.fork()
if pid == 0:
    chores.deafen_child()
    deaf = [number for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
    os.write(1, f"{deaf == numbers[:3]} {signal.getitimer(signal.ITIMER_REAL)}\\n".encode())
    os.kill(os.getpid(), signal.SIGHUP)
    os._exit(0)
print("ended with", os.waitpid(pid, 0)[1])
print("and the parent keeps its timer", signal.getitimer(signal.ITIMER_REAL)[1] > 0)
own.stop()
"""


def test_a_child_is_rid_of_the_chores() -> None:
    expected = ["True (0.0, 0.0)", "ended with 0", "and the parent keeps its timer True"]
    assert run(CHILD).splitlines() == expected


STORM = """
import os, signal, sys
from squid_imhelper.helper import chores
chores.PERIOD = 0.0005
counts = dict.fromkeys([signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD], 0)
inside = False
def count(number):
    global inside
    assert not inside, "two at a time"
    inside = True
    counts[number] += 1
    sum(range(500))
    inside = False
own = chores.Chores({number: lambda number=number: count(number) for number in counts}, print)
own.install()
for _ in range(200_000):
    own.begin_waiting()
    own.end_waiting()
own.begin_waiting()
signal.setitimer(signal.ITIMER_REAL, 0)
before = dict(counts)
for number in counts:
    os.kill(os.getpid(), number)
print(all(counts[number] > before[number] for number in counts), before[signal.SIGALRM] > 0)
"""


def test_signals_at_any_moment_are_heeded_one_at_a_time() -> None:
    assert run(STORM) == "True True\n"
