"""What is seen of each messenger and by whom, what stays hidden, and what else is hit: `docs/services.md`."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final, Literal

from squid_imhelper.base.addresses import merge
from squid_imhelper.base.model import FLAGS, Flag, Kind, Service
from squid_imhelper.matching.matcher import is_below
from squid_imhelper.sources.catalogue import Catalogue

Means = Literal["proxy", "sni", "decrypted", "firewall"]
MEANS: Final[tuple[Means, ...]] = ("proxy", "sni", "decrypted", "firewall")

YES: Final = "yes"
IN_PART: Final = "in part"
NO: Final = "no"

_HEAD: Final = """\
<!-- Written from the catalogue by `pytest tests/test_visibility.py --update-golden`. -->
# What is seen of each messenger

The signatures themselves are shown by `squid-imhelper services NAME`.

| column | who looks | what shows |
|---|---|---|
| proxy | Squid that clients know as their proxy | host and port of a CONNECT; all of plain HTTP |
| SNI | Squid that intercepts and splices (`squid-conf --mode intercept`) | address, and the name in a ClientHello; \
all of plain HTTP |
| decrypted | Squid that decrypts, which this project does not set up | the whole URL and all headers |
| firewall | the router (`squid-imhelper firewall`) | addresses and ports |

- **yes**: told apart from everything else, wherever it sends its name or goes to its own networks. Where anybody can
  run a server (Matrix, XMPP, IRC, Mattermost ...) or a relay (Signal, Session, SimpleX, Tox), that is the public ones.
- **in part**: some of it is told apart. To Squid, the rest is only a path on a name that serves other things too. To
  the router, it is the service's own ports; nearly every client that finds them closed goes on to 80 and 443, where
  only Squid can tell. Those of Matrix and XMPP are between servers.
- **with `shared`**: only by a rule with `include = ["shared"]`, which also hits whatever else uses that name, address
  or port. With `stale`: addresses that somebody else has today.
- **no**: not at all. The router still helps: it hands such traffic to Squid (`[firewall] intercept`), or keeps in what
  does not ask the proxy (`default = "drop"`).

For scripts there is `services --json`: true is *yes* or *in part*, false the rest.

Some things nobody here sees:

- what is no TLS on port 443 and goes to an address that is nobody's own. The remarks below the tables name the apps
  that do so; Squid ends or tunnels it, as `on_unsupported_protocol` says;
- UDP, as far as Squid is concerned. The router refuses QUIC (UDP 443), so that browsers come back to TCP, and the ports
  of calls, where `[firewall]` says so (`quic`, `calls`); a call from one client to another may take any port;
- the name in a ClientHello that is encrypted (ECH), where Squid sees that of a front for many. `encrypted_dns` in
  `[firewall]` keeps clients from fetching the keys for it past the resolver of the network;
- a messenger behind a VPN, somebody's own relay or server, or a bridge to another messenger.
"""


def mark(service: Service, means: Means) -> str:
    """Returns `yes`, `in part`, `no`, or the flags with which it would be seen."""
    if service.visible[means]:
        partly = _only_ports(service) if means == "firewall" else means != "decrypted" and _has_foreign_paths(service)
        return IN_PART if partly else YES
    flags = [flag for flag in FLAGS if service.visible_with(flag)[means]]
    return ", ".join(flags) or NO


def as_markdown(catalogue: Catalogue) -> str:
    """The whole page."""
    services = catalogue.services.values()
    parts = [_HEAD, "\n".join(_summary(services))]
    for group, title in catalogue.groups.items():
        of_group = [service for service in services if service.group == group]
        parts += [f"## {title}\n", "\n".join(_table(of_group)), "\n".join(_remarks(of_group))]
    return "\n".join(parts)


def _summary(services: Collection[Service]) -> Iterator[str]:
    counts = (f"{sum(service.visible[means] for service in services)} by {_TITLES[means]}" for means in MEANS)
    yield f"Told apart, at least in part, of {len(services)} services: {', '.join(counts)}.\n"
    by_decryption = [service for service in services if [m for m in MEANS if service.visible[m]] == ["decrypted"]]
    unseen = [service for service in services if not any(service.visible.values())]
    yield f"By decryption only: {_names(by_decryption)}. Not even then: {_names(unseen)}.\n"


def _names(services: Iterable[Service]) -> str:
    return ", ".join(service.name for service in services) or "none"


_TITLES: Final[dict[Means, str]] = {
    "proxy": "an explicit proxy",
    "sni": "SNI",
    "decrypted": "a proxy that decrypts",
    "firewall": "a firewall",
}


def _table(services: Iterable[Service]) -> Iterator[str]:
    yield "| service | id | proxy | SNI | decrypted | firewall |"
    yield "|---|---|---|---|---|---|"
    for service in services:
        year = f" {service.year}" if service.year else ""
        status = "" if service.status == "active" else f" ({service.status}{year})"
        cells = [f"{service.name}{status}", f"`{service.id}`", *(_cell(service, means) for means in MEANS)]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _cell(service: Service, means: Means) -> str:
    text = mark(service, means)
    if text not in (YES, IN_PART, NO):
        return "with " + ", ".join(f"`{flag}`" for flag in text.split(", "))
    evidence = _evidence(service) if means == "firewall" else ""
    return f"{text}: {evidence}" if evidence else text


def _evidence(service: Service) -> str:
    """What a firewall goes by."""
    tcp = _ranges(int(value) for value in _values(service, Kind.PORT))
    udp = _ranges(service.udp_ports)
    found = (
        "networks" if _values(service, Kind.NETWORK) else "",
        f"TCP {tcp}" if tcp else "",
        f"UDP {udp}" if udp else "",
    )
    return "; ".join(text for text in found if text)


def _remarks(services: Iterable[Service]) -> Iterator[str]:
    """What the table cannot say, a paragraph for each service of which there is something to say."""
    for service in services:
        texts = {"Stays hidden": service.hidden, "Also hit": service.collateral}
        said = [f"*{title}:* {text}" for title, text in texts.items() if text]
        if said:
            yield f"- **{service.name}.** {' '.join(said)}"
    yield ""


def _only_ports(service: Service) -> bool:
    return not _values(service, Kind.NETWORK)


def _has_foreign_paths(service: Service) -> bool:
    """Whether some of a service is a path on a host that is not its own by name."""
    hosts, domains = _values(service, Kind.HOST), _values(service, Kind.DOMAIN)
    places = {s.url.host or s.url.domain for s in service.signatures if s.url and not s.flag} - {""}
    return not all(place in hosts or any(is_below(place, domain) for domain in domains) for place in places)


def _values(service: Service, kind: Kind, flag: Flag = "") -> set[str]:
    return {s.value for s in service.signatures if s.kind is kind and s.flag == flag}


def _ranges(ports: Iterable[int]) -> str:
    merged = merge((0, port, port) for port in ports)
    return ", ".join(str(first) if first == last else f"{first}-{last}" for _, first, last in merged)
