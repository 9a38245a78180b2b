"""The squid.conf lines that put the helper to work: rendered text, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import BUILT_IN, Rule
from squid_imhelper.squid.wire import DEFAULT_FORMAT

TTL: Final = 60
"""Seconds for which Squid keeps an answer. Its own default, 3600, would hide a new policy for an hour."""

EXTRAS: Final = "%>a %>rm"
"""What a policy can use of a request and Squid can send to a rewriter safely: not the user agent, since a line of
more than 9,216 bytes costs the request, and not %>A, which costs a reverse DNS lookup."""

LOG_FORMATS: Final = {
    "acl": "%et %ea",
    "rewrite": "%{tag}note %{log}note",
}
_LOG: Final = '%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %>ru %#un %Sh/%<a %mt "%#{User-Agent}>h" "%#{Content-Type}>h"'


@dataclass(frozen=True, slots=True)
class Installation:
    """Where things are, as absolute paths; `error_page` is "" where there is none. `policy` may be "built-in"."""

    helper: str
    policy: str
    error_page: str


def render(
    installation: Installation, rules: Sequence[Rule], interface: Literal["acl", "rewrite"], squid_version: int
) -> str:
    """Returns the lines for explicit mode, to be included before the first `http_access allow`.

    Raises:
        ImhelperError: a path cannot stand in a squid.conf.
    """
    for path in (installation.helper, installation.policy, installation.error_page):
        if any(character in " \t\"'\\#%" or not character.isprintable() for character in path):
            raise ImhelperError(f"{path!r}: Squid cannot start or read what has such characters in its path")
    wants_users = any(rule.users is not None for rule in rules)
    lines = (
        _acl_lines(installation, wants_users=wants_users)
        if interface == "acl"
        else _rewrite_lines(installation, wants_users=wants_users)
    )
    head = [
        f"# squid-imhelper, Squid {squid_version}: put these lines before the first 'http_access allow' of squid.conf.",
        f"# Squid keeps an answer for {TTL} seconds and leaves open tunnels open: a new policy shows after that.",
        "",
    ]
    if installation.policy == BUILT_IN:
        head.insert(2, "# There is no policy file: every messenger is blocked for everybody.")
    log = [
        "",
        "# Service and rule of what is blocked (in a dry run: of what would be) are the last two fields.",
        f"logformat imhelper {log_format(interface)}",
        "access_log stdio:/var/log/squid/imhelper.log imhelper",
        "# The first access_log line ends Squid's own log, so that this one goes on with it.",
        "access_log daemon:/var/log/squid/access.log squid",
    ]
    return "\n".join(head + lines + log) + "\n"


def log_format(interface: str) -> str:
    """Returns the logformat, in which the log of a dry run tells what would have been blocked."""
    return f"{_LOG} {LOG_FORMATS[interface]}"


def _acl_lines(installation: Installation, *, wants_users: bool) -> list[str]:
    layout = f"{DEFAULT_FORMAT} %#un" if wants_users else DEFAULT_FORMAT
    command = f"{installation.helper} acl --policy {installation.policy}"
    if wants_users:
        command += f' --format "{layout}"'
    options = f"ttl={TTL} negative_ttl={TTL} grace=0 children-max=4 children-startup=1 concurrency=500 queue-size=2000"
    lines = [
        f"external_acl_type imhelper {options} {layout} {command}",
        "acl messenger external imhelper",
    ]
    if installation.error_page:
        lines += [
            "# Squid looks for error pages below a folder of its own; the dots lead out of it.",
            f"deny_info ../../../../../../../..{installation.error_page} messenger",
        ]
    if wants_users:
        lines.append(
            "# No name is known before 'http_access deny !authenticated', which has to stand above these lines."
        )
    return [*lines, "http_access deny messenger"]


def _rewrite_lines(installation: Installation, *, wants_users: bool) -> list[str]:
    extras = f"{EXTRAS} %#un" if wants_users else EXTRAS
    return [
        "# A rewriter sees no user agent and no content type; it redirects to the page that the policy names.",
        f'url_rewrite_program {installation.helper} rewrite --policy {installation.policy} --extras "{extras}"',
        f'url_rewrite_extras "{extras}"',
        "url_rewrite_children 4 startup=1 idle=1 concurrency=500 queue-size=2000 on-persistent-overload=ERR",
        "url_rewrite_access allow all",
    ]
