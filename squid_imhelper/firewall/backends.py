"""The languages in which rule sets are written, as a table."""

from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from squid_imhelper.firewall import iptables, nftables
from squid_imhelper.firewall.destinations import Family
from squid_imhelper.firewall.plan import Plan
from squid_imhelper.sources.settings import MAX_LOG_PREFIX


class Writer(Protocol):
    """Writes a plan: whole, or our own chains only."""

    def __call__(self, plan: Plan, *, chains_only: bool = False) -> str:
        """Returns the text."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One language: the families for which one text counts, the bytes of a log prefix, and what writes a plan in it."""

    families: tuple[Family, ...]
    max_log_prefix: int
    write: Writer


BACKENDS: Final = {
    "iptables": Backend((4,), iptables.MAX_LOG_PREFIX, partial(iptables.render, family=4)),
    "ip6tables": Backend((6,), iptables.MAX_LOG_PREFIX, partial(iptables.render, family=6)),
    "nftables": Backend((4, 6), MAX_LOG_PREFIX, nftables.render),
}
