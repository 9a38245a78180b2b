"""The languages in which rule sets are written, as a table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from squid_imhelper.firewall import iptables, nftables
from squid_imhelper.firewall.restore import Family


@dataclass(frozen=True, slots=True)
class Backend:
    """One language: the families for which one text counts, the bytes of a log prefix, and what writes a plan in it."""

    families: tuple[Family, ...]
    max_log_prefix: int
    write: Callable[..., str]


BACKENDS: Final = {
    "iptables": Backend((4,), iptables.MAX_LOG_PREFIX, partial(iptables.render, family=4)),
    "ip6tables": Backend((6,), iptables.MAX_LOG_PREFIX, partial(iptables.render, family=6)),
    "nftables": Backend((4, 6), nftables.MAX_LOG_PREFIX, nftables.render),
}
