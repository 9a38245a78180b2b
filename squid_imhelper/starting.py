"""Starting a helper: from the words in squid.conf to the loop.

Squid takes a helper that ends before its first answer for broken, and ends itself over a few of them (helper.cc,
"helpers are crashing too rapidly"). So nothing that is wrong with the options or the policy ends one: it is said on
stderr, and every line is answered as `--on-error` says until Squid closes.
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from squid_imhelper.engine import Engine
from squid_imhelper.errors import ImhelperError
from squid_imhelper.loading import DEFAULT_POLICY, default_exists, load_engine
from squid_imhelper.model import BUILT_IN
from squid_imhelper.serve import EngineSource, Helper, Notices, Options, guard_descriptors, serve
from squid_imhelper.wire import ACL, REWRITE, Interface

HELPERS: Final[dict[str, Interface]] = {"acl": ACL, "rewrite": REWRITE}


def start_helper(arguments: list[str], parse: Callable[[list[str]], argparse.Namespace]) -> int:
    """Answers Squid until it closes.

    Args:
        arguments: the command line; one of its words is one of HELPERS.
        parse: reads it, and raises ImhelperError where it cannot.
    """
    write_fd = guard_descriptors()
    notices = Notices("squid-imhelper")
    interface = next(HELPERS[word] for word in arguments if word in HELPERS)
    try:
        parsed = parse(arguments)
    except (ImhelperError, SystemExit) as error:  # argparse ends for --help and --version
        problem = error if isinstance(error, ImhelperError) else "--help among other options"
        notices.say(f"{problem}; every request is answered as --on-error says")
        source = EngineSource(None, None, notices)
        helper = Helper(interface, source, _salvaged_options(arguments), notices)
    else:
        watched = (
            None if parsed.policy == BUILT_IN else Path(DEFAULT_POLICY if parsed.policy is None else parsed.policy)
        )
        source = EngineSource(lambda: _load_for_helper(parsed.policy, notices), watched, notices)
        helper = Helper(interface, source, _helper_options(parsed, interface, notices), notices)
    serve(helper, 0, write_fd)
    return 0


def _helper_options(parsed: argparse.Namespace, interface: Interface, notices: Notices) -> Options:
    words = parsed.format if interface is ACL else parsed.extras
    try:
        layout = interface.parse_layout(" ".join(words) if words else interface.default_layout)
        if layout.warning:
            notices.say(layout.warning)
    except ImhelperError as error:
        notices.say(f"{error}; every request is answered as --on-error says")
        layout = None
    return Options(
        layout=layout,
        channels=not parsed.no_channel_id,
        intercepted=interface is ACL and parsed.intercepted,
        on_error=parsed.on_error,
        dry_run=parsed.dry_run,
    )


def _salvaged_options(arguments: list[str]) -> Options:
    """What can be told from a command line that cannot be understood."""
    given = [
        value for option, value in pairwise(" ".join(arguments).replace("=", " ").split()) if option == "--on-error"
    ]
    on_error: Literal["block"] | None = "block" if given[-1:] == ["block"] else None
    return Options(None, "--no-channel-id" not in arguments, on_error=on_error, dry_run="--dry-run" in arguments)


def _load_for_helper(policy: str | None, notices: Notices) -> Engine:
    if policy is None and not default_exists():
        raise ImhelperError(f"there is no --policy, and no {DEFAULT_POLICY}")
    return load_engine(policy, notices.say)
