"""The squid.conf lines that put the helper to work: rendered text, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import BUILT_IN, Rule
from squid_imhelper.squid.wire import DEFAULT_FORMAT

Interface = Literal["acl", "rewrite"]

TTL: Final = 60
"""Seconds for which Squid keeps an answer. Its own default, 3600, would hide a new policy for an hour."""
TIMED_TTL: Final = 15
"""The same where a rule has a schedule or a date, which is at most that late."""

EXTRAS: Final = "%>a %>rm"
"""What a policy can use of a request and Squid can send to a rewriter safely: not the user agent, since a line of
more than 9,216 bytes costs the request, and not %>A, which costs a reverse DNS lookup."""

LOG_FORMATS: Final = {
    "acl": "%et %ea",
    "rewrite": "%{tag}note %{log}note",
}
_LOG: Final = '%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %>ru %#un %Sh/%<a %mt "%#{User-Agent}>h" "%#{Content-Type}>h"'
_LOG_INTERCEPTED: Final = "%#ssl::>sni %ssl::bump_mode %{imhelper_intercepted}note %>la %>lp"
"""The address is that of the server only where the note stands, which marks what came through an intercepting port."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where things are, as absolute paths; `error_page` is "" where there is none. `policy` may be "built-in"."""

    helper: str
    policy: str
    error_page: str


def render(installation: Installation, rules: Sequence[Rule], interface: Interface, squid_version: int) -> str:
    """Returns the lines for explicit mode, to be included before the first `http_access allow`.

    Raises:
        ImhelperError: a path cannot stand in a squid.conf.
    """
    check_paths(installation.helper, installation.policy, installation.error_page)
    lines = [
        f"# squid-imhelper, Squid {squid_version}: put these lines before the first 'http_access allow' of squid.conf.",
        *notes(installation, rules, cached=interface == "acl"),
        "",
        *(_acl_lines(installation, rules) if interface == "acl" else _rewrite_lines(installation, rules)),
        *log_lines(log_format(interface)),
    ]
    return "\n".join(lines) + "\n"


def check_paths(*paths: str) -> None:
    """Refuses a path that cannot stand in a squid.conf.

    Raises:
        ImhelperError: it has a blank, or a character that Squid takes for something else.
    """
    for path in paths:
        if any(character in " \t\"'\\#%" or not character.isprintable() for character in path):
            raise ImhelperError(f"{path!r}: Squid cannot start or read what has such characters in its path")


def notes(installation: Installation, rules: Sequence[Rule], *, cached: bool) -> list[str]:
    """Returns what whoever reads the lines has to know of any mode."""
    if cached:
        late = " or schedule" if is_timed(rules) else ""
        when = f"Squid keeps an answer for {ttl_of(rules)} seconds"
        shows = f"a new policy{late} shows after that"
    else:
        when, shows = "Squid asks a rewriter each time", "a new policy shows with the next request"
    lines = [f"# {when} and leaves open tunnels open: {shows}."]
    if installation.policy == BUILT_IN:
        lines.append("# There is no policy file: every messenger is blocked for everybody.")
    return lines


def is_timed(rules: Sequence[Rule]) -> bool:
    """Whether what is decided changes with time."""
    return any(rule.timed for rule in rules)


def ttl_of(rules: Sequence[Rule]) -> int:
    """Returns the seconds for which Squid may keep an answer."""
    return TIMED_TTL if is_timed(rules) else TTL


def wants_users(rules: Sequence[Rule]) -> bool:
    """Whether a rule asks for a user's name."""
    return any(rule.users is not None for rule in rules)


def with_user(layout: str, rules: Sequence[Rule]) -> str:
    """Adds the user's name to a FORMAT where a rule asks for it."""
    return f"{layout} %#un" if wants_users(rules) else layout


def log_format(interface: Interface, *, intercepted: bool = False) -> str:
    """Returns the logformat, in which the log of a dry run tells what would have been blocked."""
    return " ".join((_LOG, *((_LOG_INTERCEPTED,) if intercepted else ()), LOG_FORMATS[interface]))


def log_lines(layout: str) -> list[str]:
    """Returns the lines for a log of our own beside Squid's."""
    return [
        "",
        "# Service and rule of what is blocked (in a dry run: of what would be) are the last two fields.",
        f"logformat imhelper {layout}",
        "access_log stdio:/var/log/squid/imhelper.log imhelper",
        "# The first access_log line ends Squid's own log, so that this one goes on with it.",
        "access_log daemon:/var/log/squid/access.log squid",
    ]


def acl_type(name: str, layout: str, command: str, rules: Sequence[Rule], *, startup: int = 1) -> str:
    """Returns an external_acl_type line."""
    seconds = ttl_of(rules)
    options = (
        f"ttl={seconds} negative_ttl={seconds} grace=0 children-max=4 children-startup={startup}"
        " concurrency=500 queue-size=2000"
    )
    return f"external_acl_type {name} {options} {layout} {command}"


def acl_command(installation: Installation, layout: str, *, intercepted: bool = False) -> str:
    """Returns what Squid starts; the FORMAT is named where it is not the helper's own."""
    words = [installation.helper, "acl", "--policy", installation.policy]
    if intercepted:
        words.append("--intercepted")
    if layout != DEFAULT_FORMAT:
        words.append(f'--format "{layout}"')
    return " ".join(words)


def error_page_lines(installation: Installation, *acls: str) -> list[str]:
    """Returns the lines that show our own page for what these ACLs deny."""
    if not installation.error_page:
        return []
    return [
        "# Squid looks for error pages below a folder of its own; the dots lead out of it.",
        *(f"deny_info ../../../../../../../..{installation.error_page} {acl}" for acl in acls),
    ]


def rewriter_lines(installation: Installation, rules: Sequence[Rule]) -> list[str]:
    """Returns the lines that start a rewriter; which requests it is asked about comes behind them."""
    extras = with_user(EXTRAS, rules)
    return [
        "# A rewriter sees no user agent and no content type; it redirects to the page that the policy names.",
        f'url_rewrite_program {installation.helper} rewrite --policy {installation.policy} --extras "{extras}"',
        f'url_rewrite_extras "{extras}"',
        "url_rewrite_children 4 startup=1 idle=1 concurrency=500 queue-size=2000 on-persistent-overload=ERR",
    ]


def _acl_lines(installation: Installation, rules: Sequence[Rule]) -> list[str]:
    layout = with_user(DEFAULT_FORMAT, rules)
    lines = [
        acl_type("imhelper", layout, acl_command(installation, layout), rules),
        "acl messenger external imhelper",
        *error_page_lines(installation, "messenger"),
    ]
    if wants_users(rules):
        lines.append(
            "# No name is known before 'http_access deny !authenticated', which has to stand above these lines."
        )
    return [*lines, "http_access deny messenger"]


def _rewrite_lines(installation: Installation, rules: Sequence[Rule]) -> list[str]:
    return [*rewriter_lines(installation, rules), "url_rewrite_access allow all"]
