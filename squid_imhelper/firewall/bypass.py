"""The ways around a proxy that a firewall can close: what they are, and where they go."""

from collections.abc import Iterator
from typing import NamedTuple

from squid_imhelper.base.addresses import parse_interval
from squid_imhelper.base.model import Interval
from squid_imhelper.firewall.destinations import Destination, Protocol
from squid_imhelper.firewall.plan import Plan
from squid_imhelper.firewall.wellknown import CALLS, ENCRYPTED_DNS, HTTPS, QUIC, RESOLVERS

_BOTH: tuple[Protocol, ...] = ("tcp", "udp")


class Way(NamedTuple):
    """One way: what it is, where it goes, and whether who is let through by a rule may take it all the same."""

    title: str
    destination: Destination
    spares_exempt: bool = True


def ways_around(plan: Plan) -> Iterator[Way]:
    """Yields what is refused, so that clients come back at once; first what is refused to exempt clients, too."""
    if plan.rejects_quic:
        title = "QUIC, which Squid cannot see: browsers come back to TCP"
        yield Way(title, Destination(None, "udp", QUIC), not plan.settings.intercept_exempt)
    if plan.settings.encrypted_dns == "reject":
        for protocol in _BOTH:
            ports = ((ENCRYPTED_DNS, ENCRYPTED_DNS),)
            yield Way(f"DNS over {'TLS' if protocol == 'tcp' else 'QUIC'}", Destination(None, protocol, ports))
        for protocol in _BOTH:
            title = f"DNS over HTTPS/{'2' if protocol == 'tcp' else '3'}, to resolvers that are known"
            yield Way(title, Destination(resolvers(), protocol, ((HTTPS, HTTPS),)))
    if plan.settings.calls == "reject":
        for protocol in _BOTH:
            title = f"STUN and TURN over {protocol.upper()}, by which calls find their way"
            yield Way(title, Destination(None, protocol, CALLS))


def resolvers() -> tuple[Interval, ...]:
    """The addresses of the resolvers that are known."""
    return tuple(parse_interval(text)[0] for text in RESOLVERS)
