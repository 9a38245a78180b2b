"""How far a dry run has come, on a terminal: a bar, lines a second, and the time that is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from squid_imhelper.dryrun.replay import Outcome, Watcher
from squid_imhelper.dryrun.tally import Tally
from squid_imhelper.logs.logfiles import Progress as Position


class _Rate(ProgressColumn):
    """Lines a second since the start."""

    def render(self, task: Task) -> Text:
        lines, elapsed = task.fields["lines"], task.elapsed or 0.0
        return Text(f"{lines:,} lines, {lines / elapsed:,.0f}/s" if elapsed and lines else "")


@contextmanager
def show_progress(size: int, stream: TextIO) -> Iterator[tuple[Position, Watcher]]:
    """Shows a bar while logs of so many bytes are read; yields what is to be told of the position and of tallies."""
    console = Console(file=stream, markup=False, highlight=False)
    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=size or None, lines=0)

        def advance(position: int) -> None:
            progress.update(bar, completed=position)

        def watch(outcome: Outcome, _: Tally) -> None:
            progress.update(bar, lines=outcome.tally.lines)

        yield advance, watch
