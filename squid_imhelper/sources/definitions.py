"""What rules refer to by name: the tables `[clients]`, `[schedules]` and `[sites]` of a policy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import regex

from squid_imhelper.base import schedule
from squid_imhelper.base.addresses import merge, parse_interval, parse_ports
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Interval, Schedule, SiteList
from squid_imhelper.base.urls import UrlError, normalise_address, normalise_host, parse_url
from squid_imhelper.sources.listfiles import FORMATS, LeftOut, has_port, read_list, site_url
from squid_imhelper.sources.tomlfile import Table

_MIN_LABELS: Final = 2
_EVERY_DAY: Final = "mon-sun"
_ALL_DAY: Final = "00:00-24:00"


@dataclass(frozen=True, slots=True)
class Definitions:
    """The named things of a policy, the files that were read for them, and what was left out of those."""

    clients: dict[str, tuple[Interval, ...]]
    schedules: dict[str, Schedule]
    sites: dict[str, SiteList]
    files: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def read_definitions(root: Table, folder: Path) -> Definitions:
    """Reads the three tables; paths in them are relative to a folder."""
    clients = _read_clients(root.table("clients"))
    schedules = {name: _read_schedule(name, entry) for name, entry in root.table("schedules").rest()}
    reader = _FileReader(folder)
    sites = {name: _read_site_list(name, entry, reader) for name, entry in root.table("sites").rest()}
    return Definitions(clients, schedules, sites, tuple(reader.files), tuple(reader.left_out))


# ---- clients --------------------------------------------------------------------------------------------------------


def _read_clients(table: Table) -> dict[str, tuple[Interval, ...]]:
    groups = {}
    for name in table.data:
        literals = table.texts(name)
        if table.data[name] == []:
            table.error(name, f"client group '{name}' is empty: it would mean nobody, never anybody")
        if _is_interval(name):
            table.error(name, f"'{name}' is an address, and no name for a group", name)
        groups[name] = merge(read_intervals(name, literals, table))
    return groups


def read_intervals(key: str, literals: list[str], table: Table) -> list[Interval]:
    """Reads addresses, networks and ranges that stand at a key."""

    def parse(literal: str) -> Interval:
        interval, note = parse_interval(literal)
        if note:
            table.document.warning(table.at(key), note, literal)
        return interval

    return table.parsed(key, literals, parse)


def _is_interval(text: str) -> bool:
    try:
        parse_interval(text)
    except ValueError:
        return False
    return True


# ---- schedules ------------------------------------------------------------------------------------------------------


def _read_schedule(name: str, entry: Table) -> Schedule:
    days_text = entry.text("days", _EVERY_DAY)
    days = entry.parsed("days", [days_text] if days_text else [], schedule.parse_days)
    hours = entry.parsed("hours", entry.texts("hours") or [_ALL_DAY], schedule.parse_hours)
    for key, empty in (("days", ""), ("hours", [])):
        if entry.data.get(key) == empty:
            entry.error(key, f"'{key}' is empty and would never hold", suggestion="leave it out for any time")
    zone = entry.text("timezone") or schedule.local_zone_name()
    try:
        schedule.load_zone(zone)
    except ImhelperError as error:
        entry.error("timezone", str(error), zone, 'a name like "Europe/Brussels"')
        zone = "UTC"
    entry.finish()
    return Schedule(name, zone, schedule.week_stretches(frozenset().union(*days), hours))


# ---- site lists -----------------------------------------------------------------------------------------------------


def _read_site_list(name: str, entry: Table, reader: "_FileReader") -> SiteList:
    urls = [_read_site_url(text, entry) for text in entry.texts("urls")]
    whole = [url for url in urls if "/" not in url and not has_port(url)]  # without a path: CONNECT too
    sites = SiteList(
        name,
        domains=(*(_read_domain(text, entry) for text in entry.texts("domains")), *whole),
        urls=tuple(url for url in urls if url not in whole),
        regex=tuple(_read_regex(text, entry) for text in entry.texts("regex")),
        networks=merge(read_intervals("networks", entry.texts("networks"), entry)),
        ports=tuple(
            port for ports in entry.parsed("ports", entry.texts_or_integers("ports"), parse_ports) for port in ports
        ),
    )
    if entry.has("file") or entry.has("format"):
        sites = _joined(sites, reader.read(name, entry))
    entry.finish()
    if not any(entry.data.values()):
        entry.document.error(entry.where, f"site list '{name}' is empty")
    return sites


def _joined(one: SiteList, other: SiteList) -> SiteList:
    return SiteList(
        one.name,
        domains=one.domains + other.domains,
        hosts=one.hosts + other.hosts,
        urls=one.urls + other.urls,
        regex=one.regex + other.regex,
        networks=merge(one.networks + other.networks),
        ports=one.ports + other.ports,
    )


def _read_domain(text: str, entry: Table) -> str:
    name = normalise_host(text.removeprefix("."))
    if "*" in text:
        entry.error("domains", "a domain stands for its sub-domains too", text, f"write '{text.lstrip('*.')}'")
    elif "/" in text or ":" in text:
        entry.error("domains", f"'{text}' is no domain", text, "a URL goes into 'urls', an address into 'networks'")
    elif normalise_address(name):
        entry.error("domains", f"'{text}' is an address", text, "it goes into 'networks'")
    elif not all(name.split(".")) or "%" in name or " " in text:
        entry.error("domains", f"'{text}' is no domain", text)
    elif len(name.split(".")) < _MIN_LABELS:
        entry.document.warning(entry.at("domains"), f"'{text}' is a whole top-level domain, or a bare host name", text)
    return name


def _read_site_url(text: str, entry: Table) -> str:
    if "://" in text:
        rest = text.partition("://")[2]
        entry.error("urls", "a URL of a site list is written without its scheme", text, f"write '{rest}'")
        return ""
    if "?" in text or "#" in text:
        entry.error("urls", f"'{text}': a query is not compared", text, "a 'regex' can look at it")
        return ""
    try:
        target = parse_url(text.removeprefix("."))
    except UrlError as error:
        entry.error("urls", str(error), text)
        return ""
    return site_url(target, with_port=has_port(text))


def _read_regex(text: str, entry: Table) -> str:
    try:
        regex.compile(text)
    except (regex.error, ValueError, RecursionError, OverflowError) as error:
        entry.error("regex", f"bad regular expression: {error}", text)
    return text


class _FileReader:
    """Reads list files, and keeps in mind which, and what was left out of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: list[str] = []
        self.left_out: list[LeftOut] = []

    def read(self, name: str, entry: Table) -> SiteList:
        """Reads the file that an entry names."""
        format_name = entry.choice("format", tuple(FORMATS), "domains")
        text = entry.text("file", required=True)
        if not text:
            if entry.data.get("file") == "" and any(entry.data.values()):
                entry.error("file", "'file' is empty")
            return SiteList(name)
        try:
            found = read_list(self._folder / text, format_name)
        except ImhelperError as error:
            entry.error("file", str(error), text)
            return SiteList(name)
        self.files += found.files
        self.left_out += found.left_out
        if not any(found.entries.values()):
            entry.error("file", f"there is nothing in {text} that a site list of format '{format_name}' can hold", text)
        return found.site_list(name)
