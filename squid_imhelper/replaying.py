"""`replay`: from the options of the command line to a report of what a policy makes of recorded logs.

The report goes to stdout; what is wrong with a log goes to stderr too, a sentence for each, and the status is then 2.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, Final

from squid_imhelper import __version__
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.loading import load_engine, policy_name

if TYPE_CHECKING:
    from squid_imhelper.dryrun.replay import Counting, Outcome, Watcher
    from squid_imhelper.dryrun.report import Report
    from squid_imhelper.dryrun.tally import Tally
    from squid_imhelper.logs.logfiles import LogFile, Progress

_BAD_INPUT: Final = 2
_BY_SIGNAL: Final = 128
_WIDTH: Final = 120
"""Columns of a report that goes into a file."""


def run_replay(options: argparse.Namespace) -> int:
    """Decides what stands in recorded logs, and tells what came out."""
    from squid_imhelper.base.schedule import common_zone
    from squid_imhelper.dryrun.counting import Counter
    from squid_imhelper.dryrun.replay import replay
    from squid_imhelper.dryrun.report import make_report
    from squid_imhelper.logs.accesslog import named_format
    from squid_imhelper.logs.logfiles import Logs
    from squid_imhelper.sources.catalogue import load_catalogue

    policy = policy_name(options.policy)
    program = load_engine(policy, _warn).program
    in_force = load_engine(options.against, _warn).program if options.against else None
    zone = common_zone(program.schedules.values())
    log_format = named_format(options.log_format, zone) if options.log_format else None
    if options.html:
        _check_writable(Path(options.html), [*options.logs, policy, options.against or ""])
    logs = Logs(io.BufferedReader(io.FileIO(0, closefd=False)) if sys.stdin else None)
    files = logs.in_time_order(options.logs, log_format, zone)
    if options.follow:
        _check_growing(files[-1].path)
    make_counter = partial(Counter, program, in_force, time.time(), rewriter=options.interface == "rewrite")
    with _counting(options, make_counter) as counting, _watching(options, files, zone) as (progress, watch):
        outcome = replay(logs, files, counting, progress, watch, grows=options.follow)
    if options.follow and outcome.ended_by == SIGINT:  # the usual end
        outcome.ended_by = 0
    if len(outcome.problems) == len(files) and not outcome.tally.lines:
        raise ImhelperError("; ".join(outcome.problems))
    report = make_report(outcome, program, policy, options.against or "", zone, load_catalogue().services)
    _tell(report, options)
    return _status(outcome)


@contextmanager
def _counting(options: argparse.Namespace, make_counter: Callable[[], object]) -> "Iterator[Counting]":
    from squid_imhelper.dryrun.replay import Workers, counted_here

    if options.jobs == 1 or options.follow:
        yield counted_here(make_counter())  # type: ignore[arg-type]
        return
    with Workers(options.jobs, make_counter) as workers:  # type: ignore[arg-type]
        yield workers.count


@contextmanager
def _watching(options: argparse.Namespace, files: "list[LogFile]", zone: str) -> "Iterator[tuple[Progress, Watcher]]":
    """What is seen while logs are read: new decisions of a log that grows, or else a bar on a terminal."""
    if options.follow:
        yield lambda _: None, (_ignore if options.json else partial(_print_news, zone))
    elif sys.stderr is not None and sys.stderr.isatty():
        from squid_imhelper.dryrun.progress import show_progress

        with show_progress(sum(file.size for file in files), sys.stderr) as both:
            yield both
    else:
        yield lambda _: None, _ignore


def _ignore(_: "Outcome", __: "Tally") -> None:
    """Nobody looks."""


def _print_news(zone: str, _: "Outcome", tally: "Tally") -> None:
    from squid_imhelper.dryrun.terminal import news

    for line in news(tally, zone):
        print(line, flush=True)


def _tell(report: "Report", options: argparse.Namespace) -> None:
    from squid_imhelper.dryrun.summary import as_json
    from squid_imhelper.dryrun.terminal import print_report

    if options.html:
        from squid_imhelper.dryrun.page import render_page

        _write(Path(options.html), render_page(report, __version__))
    if options.json:
        print(as_json(report.outcome, compared=bool(report.against)))
    else:
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else _WIDTH, markup=False, highlight=False)
        with console.capture() as text:  # and not straight away: rich has its own way to end when a reader has gone
            print_report(report, console)
        print("\n".join(line.rstrip() for line in text.get().split("\n")), end="")
    for problem in report.outcome.problems:
        _warn(f"squid-imhelper: {problem}")


def _status(outcome: "Outcome") -> int:
    """A log that could not be read is bad input; so are logs in which no line is a request."""
    if outcome.ended_by:
        return _BY_SIGNAL + outcome.ended_by
    malformed = outcome.tally.skipped.get("malformed", 0)
    if malformed and not outcome.tally.requests and not outcome.problems:
        raise ImhelperError(f"no line is a request that could be read; {malformed:,} are none at all")
    return _BAD_INPUT if outcome.problems else 0


def _check_growing(path: str) -> None:
    from squid_imhelper.logs.logfiles import STDIN

    if path == STDIN or (Path(path).exists() and not Path(path).is_file()):
        raise ImhelperError(f"cannot follow {path}: it is no regular file; without --follow it is read to its end")


def _check_writable(path: Path, inputs: Sequence[str]) -> None:
    """Says before a long log is read that the report has no place, or that of something that it is made of."""
    if path.exists() and any(Path(other).exists() and path.samefile(other) for other in inputs):
        raise ImhelperError(f"cannot write {path}: it is a log or a policy itself")
    if path.is_dir():
        raise ImhelperError(f"cannot write {path}: it is a folder")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise ImhelperError(f"cannot write {path}: there is no such folder, or no permission")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ImhelperError(f"cannot write {path}: {error.strerror}") from None


def _warn(text: str) -> None:
    if sys.stderr is not None:
        print(text, file=sys.stderr)
