"""What a helper does besides answering, done while it waits for Squid and never in the middle of a batch.

Signals wake it: a timer once a second, the end of a child, SIGHUP and SIGUSR1. So nothing is polled for between two
batches, and what is due when a batch comes in is done behind it. Python runs a handler between two steps of the main
program, and resumes the read that was interrupted (PEP 475).
"""

import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Final

PERIOD: Final = 1.0
"""Seconds between two rounds of what is done again and again."""

Chore = Callable[[], None]


class Chores:
    """Runs what belongs to a signal as soon as nobody waits for an answer.

    A chore that fails is told to `complain`, and neither ends the helper nor keeps the others from their turn.
    """

    def __init__(self, of_signal: Mapping[signal.Signals, Chore], complain: Callable[[str], None]) -> None:
        self._of_signal = of_signal
        self._complain = complain
        self._due: list[int] = []
        self._waiting = False

    def install(self) -> None:
        """Takes over the signals, and starts the timer; only a main thread can."""
        for number in self._of_signal:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._of_signal)
        signal.setitimer(signal.ITIMER_REAL, PERIOD, PERIOD)

    def stop(self) -> None:
        """Hears no more: Python, when it ends, gives signals back their own way, and most of these would kill."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in self._of_signal:
            signal.signal(number, signal.SIG_IGN)

    def begin_waiting(self) -> None:
        """From now on signals are heeded at once; those that came in before are heeded now."""
        self._waiting = True
        if self._due:
            self._run()

    def end_waiting(self) -> None:
        """From now on signals are noted only."""
        self._waiting = False

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number not in self._due:
            self._due.append(number)
        if self._waiting:
            self._run()

    def _run(self) -> None:
        self._waiting = False  # a signal that comes now is heeded by this very loop
        while self._due:
            try:
                self._of_signal[signal.Signals(self._due.pop(0))]()
            except Exception as error:
                self._complain(f"internal fault, please report: {error!r}")
        self._waiting = True


def deafen_child() -> None:
    """Undoes `install` in a child; what is sent to all processes of the helper's name is not meant for it."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
