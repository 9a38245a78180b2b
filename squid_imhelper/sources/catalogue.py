"""The catalogue: what is known of each messenger, read from `services/*.toml`, one file a group, and checked.

A service is a table. Its signatures stand in it by kind (`domains`, `hosts`, `urls`, `user_agents`, `content_types`,
`networks`, `tcp_ports`); those that count only where a rule includes them stand in the tables `stale`, `shared` and
`self_hosted` below it, written in the same way.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from squid_imhelper.base.addresses import parse_network, parse_ports
from squid_imhelper.base.errors import ImhelperError, SourceError
from squid_imhelper.base.model import FLAGS, Flag, Kind, Match, Service, Signature, UrlPattern
from squid_imhelper.base.urls import normalise_address, normalise_host, normalise_path
from squid_imhelper.sources.tomlfile import Document, Table, read_document

SERVICES_DIR: Final = Path(__file__).parent / "services"
STATUSES: Final[tuple[Literal["active", "legacy", "retired"], ...]] = ("active", "legacy", "retired")
_ID: Final = re.compile(r"[a-z][a-z0-9_]*")
_CONTENT_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+\*?")
_METHOD: Final = re.compile(r"[A-Z]*")
_NAME_KINDS: Final = (Kind.DOMAIN, Kind.HOST)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All services by id, in the order in which they stand, and the titles of their groups."""

    services: dict[str, Service]
    groups: dict[str, str]


@cache
def load_catalogue(directory: Path = SERVICES_DIR) -> Catalogue:
    """Reads every group.

    Raises:
        SourceError: with every problem of every file.
        ImhelperError: there is no file, or one cannot be read.
    """
    services: dict[str, Service] = {}
    groups: dict[str, str] = {}
    problems = []
    claimed: dict[tuple[Kind, str], str] = {}
    for path in sorted(directory.glob("*.toml")):
        document = read_document(path)
        root = document.root
        groups[path.stem] = root.text("title", required=True)
        for name, table in root.rest():
            service = _read_service(name, path.stem, table)
            if name in services:
                document.error((name,), f"service '{name}' is in two groups, also in {services[name].group}")
            services[name] = service
            _check_claims(service, claimed, document)
        problems += document.problems
    if problems:
        raise SourceError(problems)
    if not services:
        raise ImhelperError(f"there is no catalogue in {directory}, or it cannot be read")
    return Catalogue(services, groups)


def _check_claims(service: Service, claimed: dict[tuple[Kind, str], str], document: Document) -> None:
    """A name that identifies by itself can identify one service only."""
    for signature in service.signatures:
        if signature.flag or signature.kind not in _NAME_KINDS:
            continue
        owner = claimed.setdefault((signature.kind, signature.value), service.id)
        if owner != service.id:
            where = (service.id, f"{signature.kind.value}s")
            document.error(where, f"{signature.kind.value} in two services, also in '{owner}'", signature.value)


def _read_service(name: str, group: str, table: Table) -> Service:
    if not _ID.fullmatch(name):
        table.document.error(table.where, f"'{name}' is no service id: lower-case letters, digits and _ only")
    signatures = list(_read_signatures(name, "", table))
    for flag in FLAGS:
        below = table.table(flag)
        signatures += _read_signatures(name, flag, below)
        below.finish()
    service = Service(
        id=name,
        name=table.text("name", required=True),
        group=group,
        status=table.choice("status", STATUSES, "active", required=True),
        year=table.integer("year"),
        note=table.text("note"),
        collateral=table.text("collateral"),
        hidden=table.text("hidden"),
        signatures=tuple(signatures),
        exceptions=tuple(_names("exceptions", table)),
        bots=tuple(table.texts("bots")),
        udp_ports=tuple(_ports("udp_ports", table)),
    )
    table.finish()
    return service


def _read_signatures(service: str, flag: Flag, table: Table) -> Iterator[Signature]:
    """Yields the signatures of one table, in the order in which they are tried."""
    for name in _names("hosts", table):
        yield Signature(Kind.HOST, name, service, flag)
    for name in _names("domains", table):
        yield Signature(Kind.DOMAIN, name, service, flag)
    for entry in table.tables("urls"):
        pattern = _read_url(entry)
        yield Signature(
            Kind.URL, (pattern.host or pattern.domain) + pattern.path, service, flag, pattern.match, pattern
        )
    for value in table.texts("content_types"):
        match = Match.PREFIX if value.endswith("*") else Match.EXACT
        if not _CONTENT_TYPE.fullmatch(value):
            table.error("content_types", f"content_types: '{value}' is none, nor the beginning of one and a *", value)
        yield Signature(Kind.CONTENT_TYPE, value.rstrip("*").lower(), service, flag, match)
    for entry in table.tables("user_agents"):
        match, value = _read_match(entry, tuple(m for m in Match if m is not Match.SEGMENT))
        entry.finish()
        yield Signature(Kind.USER_AGENT, value, service, flag, match)
    for value in table.texts("networks"):
        try:
            yield Signature(Kind.NETWORK, str(parse_network(value)), service, flag)
        except ValueError as error:
            table.error("networks", str(error), value)
    for port in _ports("tcp_ports", table):
        yield Signature(Kind.PORT, str(port), service, flag)


def _read_url(entry: Table) -> UrlPattern:
    match, path = _read_match(entry, (Match.EXACT, Match.PREFIX, Match.SEGMENT))
    if path and not (path.startswith("/") and normalise_path(path) == path):
        entry.error(match.value, "a path starts with a slash and is written in its normal form", path)
    query = entry.text("query")
    try:
        re.compile(query)
    except re.error as error:
        entry.error("query", f"bad regular expression: {error}", query)
    pattern = UrlPattern(
        path=path,
        match=match,
        host=entry.text("host"),
        domain=entry.text("domain"),
        in_networks=entry.flag("in_networks"),
        query=query,
        method=entry.text("method"),
        ignore_case=entry.flag("ignore_case"),
    )
    if not _METHOD.fullmatch(pattern.method):
        entry.error("method", f"a method is written in capitals, {pattern.method.upper()}", pattern.method)
    for key in ("host", "domain"):
        name = entry.text(key)
        if name != normalise_host(name):
            entry.error(key, f"'{name}' is not in its normal form, {normalise_host(name)}", name)
    if bool(pattern.host) + bool(pattern.domain) + pattern.in_networks > 1:
        entry.document.error(entry.where, "only one of host, domain and in_networks can be given")
    entry.finish()
    return pattern


def _read_match(entry: Table, allowed: tuple[Match, ...]) -> tuple[Match, str]:
    """Reads the one key of a table that says how its value is compared."""
    given = [match for match in allowed if entry.has(match.value)]
    texts = [entry.text(match.value) for match in allowed if match in given]
    if len(given) != 1 or not texts[0]:
        words = ", ".join(match.value for match in allowed)
        entry.document.error(entry.where, f"exactly one of {words} must be given")
        return allowed[0], ""
    return given[0], texts[0]


def _names(key: str, table: Table) -> Iterator[str]:
    for name in table.texts(key):
        if name != normalise_host(name) or "." not in name or normalise_address(name):
            table.error(key, f"'{name}' is no host name in its normal form", name)
        yield name


def _ports(key: str, table: Table) -> Iterator[int]:
    for item in table.texts_or_integers(key):
        try:
            yield from parse_ports(item)
        except ValueError as error:
            table.error(key, str(error), item)
