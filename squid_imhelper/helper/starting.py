"""Starting a helper: from the words in squid.conf to the loop.

Squid takes a helper that ends before its first answer for broken, and ends itself over a few of them (helper.cc,
"helpers are crashing too rapidly"). So nothing that is wrong with the options or the policy ends one: it is said on
stderr, and every line is answered as `--on-error` says until Squid closes.
"""

import gc
import os
import signal
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import BUILT_IN
from squid_imhelper.helper.answering import Helper, Options
from squid_imhelper.helper.audit import Sink, open_sink
from squid_imhelper.helper.chores import Chores
from squid_imhelper.helper.counters import Counters, MetricsFile
from squid_imhelper.helper.notices import Notices
from squid_imhelper.helper.options import HELPERS, Given, read_options
from squid_imhelper.helper.reloading import EngineSource
from squid_imhelper.helper.serve import guard_descriptors, serve
from squid_imhelper.loading import DEFAULT_POLICY, build_program, default_exists
from squid_imhelper.matching.program import Program
from squid_imhelper.squid.wire import Interface


class Setup(NamedTuple):
    """What a command line asks for; `policy` is None where it cannot be read, `audit` and `metrics` "" for none."""

    options: Options
    policy: str | None = None
    audit: str = ""
    metrics: str = ""
    metrics_period: float = 0.0


def start_helper(arguments: list[str], parse: Callable[[list[str]], Given]) -> int:
    """Answers Squid until it closes.

    Args:
        arguments: the command line; one of its words is one of HELPERS.
        parse: reads it where `read_options` does not, and raises ImhelperError where it cannot either.
    """
    write_fd = guard_descriptors()
    notices = Notices("squid-imhelper")
    interface = next(HELPERS[word] for word in arguments if word in HELPERS)
    setup = _read_setup(arguments, parse, interface, notices)
    counters = Counters()
    policy = setup.policy or BUILT_IN
    path = "" if policy == BUILT_IN else policy
    source = EngineSource(path, lambda warn: _build_for_helper(policy, warn), notices, counters)
    audit = open_sink(setup.audit, partial(notices.say_at_times, "audit")) if setup.audit else None
    metrics = _open_metrics(setup, counters, notices) if setup.metrics else None
    chores = _make_chores(source if setup.policy else None, audit, metrics, counters, notices)
    chores.install()
    gc.freeze()  # modules stay for good: the collector need not look at them, which would also copy them in children
    gc.enable()
    if setup.policy:
        source.start()
    try:
        serve(Helper(interface, source, setup.options, notices, counters, audit), 0, write_fd, chores)
    finally:
        source.stop()
        chores.stop()
    if metrics:
        metrics.write()
    return 0


def _open_metrics(setup: Setup, counters: Counters, notices: Notices) -> MetricsFile:
    from pathlib import Path  # a helper whose counters nobody reads does without

    complain = partial(notices.say_at_times, "metrics")
    return MetricsFile(Path(setup.metrics), setup.metrics_period, counters, complain)


def _make_chores(
    source: EngineSource | None, audit: Sink | None, metrics: MetricsFile | None, counters: Counters, notices: Notices
) -> Chores:
    def take_up() -> None:
        if source:
            source.check()

    def every_second() -> None:
        take_up()
        if audit:
            audit.reopen()
        if metrics:
            metrics.write_if_due()

    def on_hangup() -> None:
        if source:
            source.reload()
        if audit:
            audit.reopen()

    chores = {
        signal.SIGALRM: every_second,
        signal.SIGCHLD: take_up,
        signal.SIGHUP: on_hangup,
        signal.SIGUSR1: lambda: notices.say(counters.summary(os.getpid())),
    }
    return Chores(chores, partial(notices.say_at_times, "chore"))


def _read_setup(
    arguments: list[str], parse: Callable[[list[str]], Given], interface: Interface, notices: Notices
) -> Setup:
    try:
        given = read_options(arguments) or parse(arguments)
    except (ImhelperError, SystemExit) as error:  # argparse ends for --help and --version
        problem = error if isinstance(error, ImhelperError) else "--help among other options"
        notices.say(f"{problem}; every request is answered as --on-error says")
        return Setup(_salvaged_options(arguments))
    return Setup(
        options=_helper_options(given, interface, notices),
        policy=DEFAULT_POLICY if given.policy is None else given.policy,
        audit=given.audit,
        metrics=given.metrics,
        metrics_period=given.metrics_period,
    )


def _helper_options(given: Given, interface: Interface, notices: Notices) -> Options:
    try:
        layout = interface.parse_layout(" ".join(given.layout) if given.layout else interface.default_layout)
        if layout.warning:
            notices.say(layout.warning)
    except ImhelperError as error:
        notices.say(f"{error}; every request is answered as --on-error says")
        layout = None
    return Options(
        layout=layout,
        channels=not given.no_channel_id,
        intercepted=given.intercepted,
        on_error=given.on_error,
        dry_run=given.dry_run,
    )


def _salvaged_options(arguments: list[str]) -> Options:
    """What can be told from a command line that cannot be understood."""
    given = [
        value for option, value in pairwise(" ".join(arguments).replace("=", " ").split()) if option == "--on-error"
    ]
    on_error: Literal["block"] | None = "block" if given[-1:] == ["block"] else None
    return Options(None, "--no-channel-id" not in arguments, on_error=on_error, dry_run="--dry-run" in arguments)


def _build_for_helper(policy: str, warn: Callable[[str], None]) -> Program:
    """Where the policy is the default one and is not there, the helper waits; other commands take the built-in one."""
    if policy == DEFAULT_POLICY and not default_exists():
        raise ImhelperError(f"there is no {DEFAULT_POLICY}, and no other --policy was given")
    return build_program(policy, warn)
