"""The options of a helper: one table, from which a command line is read and the help is made.

Squid waits while a helper starts, and `argparse` takes longer than opening a program. So a command line that is plainly
right is read here; any other is left to `argparse`, which reads it all the same or says what is wrong.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from squid_imhelper.base.model import BUILT_IN
from squid_imhelper.loading import DEFAULT_POLICY
from squid_imhelper.squid.wire import ACL, REWRITE, Interface

HELPERS: Final[dict[str, Interface]] = {"acl": ACL, "rewrite": REWRITE}

_SHORTEST_PERIOD: Final = 1
_LONGEST_PERIOD: Final = 3600


class Given(NamedTuple):
    """What a command line asks for; `layout` are the words of FORMAT or of the extras."""

    policy: str | None = None
    no_channel_id: bool = False
    on_error: Literal["allow", "block"] | None = None
    audit: str = ""
    metrics: str = ""
    metrics_period: float = 15.0
    dry_run: bool = False
    layout: Sequence[str] | None = None
    intercepted: bool = False


def not_empty(text: str) -> str:
    """Returns a text that is one.

    Raises:
        ValueError: it is empty.
    """
    if not text:
        raise ValueError("it is empty")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is no number of seconds") from None
    if not _SHORTEST_PERIOD <= seconds <= _LONGEST_PERIOD:
        raise ValueError(f"{_SHORTEST_PERIOD} to {_LONGEST_PERIOD} seconds")
    return seconds


class Option(NamedTuple):
    """One option, and the field of `Given` that it sets.

    Without `metavar` and `choices` it is a flag; `many` stands for one word or more; `read` raises ValueError, with a
    sentence, for a word that means nothing.
    """

    name: str
    field: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False
    read: Callable[[str], Any] = str

    @property
    def is_flag(self) -> bool:
        """Whether no word follows it."""
        return not self.metavar and not self.choices


POLICY: Final = Option(
    "--policy",
    "policy",
    f"a policy, a compiled program, or the word {BUILT_IN} (default: {DEFAULT_POLICY}; without that, {BUILT_IN}, but "
    "for the helpers)",
    metavar="FILE",
    read=not_empty,
)
_OF_BOTH: Final = (
    POLICY,
    Option("--no-channel-id", "no_channel_id", "squid.conf has concurrency=0, or none for an ACL"),
    Option(
        "--on-error",
        "on_error",
        "the answer where none can be found (default: the policy's, or allow)",
        choices=("allow", "block"),
    ),
    Option("--audit", "audit", "append a JSON line for each block and monitor, or syslog:", metavar="FILE"),
    Option("--metrics", "metrics", "write counters there, for Prometheus", metavar="FILE"),
    Option(
        "--metrics-period",
        "metrics_period",
        f"how often (default: {Given().metrics_period})",
        metavar="SECONDS",
        read=_seconds,
    ),
    Option("--dry-run", "dry_run", "block nothing; tag= and log= show what would have been"),
)
OPTIONS: Final[dict[str, tuple[Option, ...]]] = {
    "acl": (
        *_OF_BOTH,
        Option(
            "--format",
            "layout",
            f"the FORMAT of external_acl_type (default: {ACL.default_layout})",
            metavar="TOKEN",
            many=True,
        ),
        Option("--intercepted", "intercepted", "%>la and %>lp are the destination"),
    ),
    "rewrite": (
        *_OF_BOTH,
        Option(
            "--extras", "layout", f"url_rewrite_extras (default: {REWRITE.default_layout})", metavar="TOKEN", many=True
        ),
    ),
}
"""By command, in the order of its help."""


def is_helper(arguments: Sequence[str]) -> bool:
    """Whether Squid means to start a helper, however wrong the rest may be; its help is for people."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command not in HELPERS and arguments[:1] and arguments[0].startswith("-"):
        command = next((word for word in arguments if word in HELPERS), "")
    return command in HELPERS and list(arguments[1:]) not in (["-h"], ["--help"])


def read_options(arguments: Sequence[str]) -> Given | None:
    """Reads a command line that begins with a helper's name, each option spelt in full; None for any other."""
    if arguments[0] not in OPTIONS:
        return None
    options = {option.name: option for option in OPTIONS[arguments[0]]}
    values: dict[str, Any] = {}
    rest = list(arguments[:0:-1])  # backwards: the next word is the last one
    while rest:
        option = options.get(rest.pop())
        if option is None:
            return None
        words = []
        while rest and not rest[-1].startswith("-"):
            words.append(rest.pop())
        try:
            values[option.field] = _value(option, words)
        except ValueError:
            return None
    return Given(**values)


def _value(option: Option, words: Sequence[str]) -> Any:
    """The value of an option with the words behind it, as `argparse` reads it.

    Raises:
        ValueError: they do not fit.
    """
    if option.is_flag:
        if words:
            raise ValueError(words)
        return True
    if not words or (option.choices and words[0] not in option.choices):
        raise ValueError(words)
    if option.many:
        return [option.read(word) for word in words]
    (word,) = words
    return option.read(word)
