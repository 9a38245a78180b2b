"""`services`: the catalogue as a table, one service in full, or all of it as JSON."""

import json
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from squid_imhelper.base.model import FLAGS, Kind, Service, Signature
from squid_imhelper.offline.visibility import MEANS, NO, YES, Means, mark
from squid_imhelper.sources.catalogue import Catalogue


def as_json(services: Iterable[Service]) -> str:
    """One array."""
    return json.dumps(
        [
            {
                "id": service.id,
                "name": service.name,
                "group": service.group,
                "status": service.status,
                "year": service.year,
                "visible": service.visible,
                "hidden": service.hidden,
                "collateral": service.collateral,
            }
            for service in services
        ],
        indent=1,
    )


def print_table(services: Iterable[Service], console: Console) -> None:
    """All services, a line each."""
    table = Table(box=None, pad_edge=False)
    for title in ("id", "name", "group", "status", "proxy", "sni", "decrypted", "firewall"):
        table.add_column(title, overflow="fold", justify="center" if title in MEANS else "left")
    for service in services:
        status = f"{service.status} {service.year}" if service.year else service.status
        table.add_row(service.id, service.name, service.group, status, *(_cell(service, means) for means in MEANS))
    console.print(table)


def print_service(service: Service, catalogue: Catalogue, console: Console) -> None:
    """One service with everything that is known of it."""
    year = f" {service.year}" if service.year else ""
    lines = [
        f"{service.name} ({service.id}), {service.status}{year}",
        f"  group {service.group}: {catalogue.groups[service.group]}",
        *(f"  {text}" for text in (service.note,) if text),
        "  told apart by: " + (", ".join(_told_by(service)) or "nothing"),
        *(f"  stays hidden: {text}" for text in (service.hidden,) if text),
        *(f"  also hit when blocked: {text}" for text in (service.collateral,) if text),
    ]
    lines += [f"  {line}" for line in _signature_lines(service)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _cell(service: Service, means: Means) -> str:
    text = mark(service, means)
    return "-" if text == NO else text


def _told_by(service: Service) -> Iterable[str]:
    for means in MEANS:
        text = mark(service, means)
        if text != NO:
            yield means if text == YES else f"{means} ({text})"


def _signature_lines(service: Service) -> Iterable[str]:
    for flag in ("", *FLAGS):
        for kind in Kind:
            values = [_shown(s) for s in service.signatures if s.flag == flag and s.kind is kind]
            if values:
                title = f"{kind.value}, {flag} (off by default)" if flag else kind.value
                yield f"{title}: {', '.join(values)}"
    if service.exceptions:
        yield f"exceptions: {', '.join(service.exceptions)}"
    if service.udp_ports:
        yield f"udp port: {', '.join(map(str, service.udp_ports))}"


def _shown(signature: Signature) -> str:
    if signature.url is None:
        return signature.value
    method = f"{signature.url.method} " if signature.url.method else ""
    query = f" with query {signature.url.query}" if signature.url.query else ""
    return f"{method}{signature.value}{query}"
