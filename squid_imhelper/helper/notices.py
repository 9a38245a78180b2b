"""What a helper says on stderr, which is Squid's cache.log."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

NOTICE_PERIOD: Final = 60.0
"""Seconds in which the same kind of notice is written once; a client can make any number of bad requests."""


class Notices:
    """One line on stderr for what somebody should know; a flood is only counted."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix = f"{name}[{os.getpid()}]: "
        self._clock = clock
        self._next: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Writes a line, now."""
        line = self._prefix + text.replace("\n", f"\n{self._prefix}") + "\n"
        with suppress(OSError):  # a log that cannot be written must cost no answer
            os.write(2, line.encode("utf-8", "backslashreplace"))

    def say_at_times(self, kind: str, text: str) -> None:
        """Writes a line unless one of this kind was written a short time ago."""
        now = self._clock()
        if now < self._next.get(kind, 0.0):
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return
        self._next[kind] = now + NOTICE_PERIOD
        held_back = self._held_back.pop(kind, 0)
        self.say(text + (f" (and {held_back} more like this)" if held_back else ""))
