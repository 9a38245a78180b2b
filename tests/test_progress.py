"""The bar that is seen while long logs are read."""

import io
import re

import pytest

from squid_imhelper.dryrun.progress import show_progress
from squid_imhelper.dryrun.replay import Outcome
from squid_imhelper.dryrun.tally import Tally


class Terminal(io.StringIO):
    """What a terminal was sent."""

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def test_it_shows_how_far_and_how_fast(terminal: Terminal) -> None:
    with show_progress(2000, terminal) as (advance, watch):
        advance(500)
        watch(Outcome(Tally(lines=12_345)), Tally())
    assert re.search(r" 25 % .* 12,345 lines, [0-9,]+/s", terminal.shown)


def test_it_is_gone_when_all_is_read(terminal: Terminal) -> None:
    """The report has the terminal to itself: the cursor is shown again, and the line of the bar is cleared."""
    with show_progress(2000, terminal) as (advance, _):
        advance(2000)
    assert "100 %" in terminal.shown
    assert terminal.getvalue().rindex("\x1b[2K") > terminal.getvalue().rindex("100 %")
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")


def test_the_end_is_not_known_of_a_pipe(terminal: Terminal) -> None:
    with show_progress(0, terminal) as (advance, watch):
        advance(0)
        watch(Outcome(Tally(lines=7)), Tally())
    assert "7 lines" in terminal.shown
    assert "100 %" not in terminal.shown


def test_it_is_gone_when_something_goes_wrong(terminal: Terminal) -> None:
    bar = show_progress(10, terminal)
    bar.__enter__()
    assert bar.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None) is False
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
