"""What rule sets say about themselves, in comments: the same in every back end."""

import textwrap
from collections.abc import Iterator
from typing import Final

from squid_imhelper.base.model import Rule
from squid_imhelper.firewall.plan import Plan

_WIDTH: Final = 116

WHY_LIMITS: Final = (
    "The recipe of 2006 accepted SYN, RST and ping, up to one a second from everybody together, in rules of their own:",
    "what fitted went anywhere, past every rule behind them, and one browser tab was enough to stop the others.",
    "Here nothing is accepted: what is over the limit is dropped, each source for itself, and the rest goes on.",
)


STANCE_IS_THEIRS: Final = (
    "default = drop and admin_ports: what is not named is left to the rules that are there already"
)


def head(plan: Plan, how: str, replaces: str, *, chains_only: bool = False) -> Iterator[str]:
    """Yields what stands above everything: from what, for what, and what is not in it."""
    yield f"Rules of squid-imhelper, from {printable(plan.policy)}: for `{how}`."
    yield replaces
    left_out = plan.left_out
    if chains_only and plan.settings.default == "drop":
        left_out = (STANCE_IS_THEIRS, *left_out)
    if left_out:
        yield "Left out:"
        for sentence in left_out:
            yield from textwrap.wrap(
                printable(sentence), _WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
            )


def about(rule: Rule) -> str:
    """What stands above what a rule of the policy has become."""
    line = f" (line {rule.line})" if rule.line else ""
    return f'rule "{rule.name}"{line}: {rule.action}'


def printable(text: str) -> str:
    """A text that stays in its line, whatever names the administrator has given."""
    return "".join(c if c.isprintable() else "?" for c in text)
