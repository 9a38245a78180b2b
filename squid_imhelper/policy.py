"""The policy: `policy.toml` read, checked and resolved against the catalogue, with every problem told at its line."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import regex

from squid_imhelper.addresses import merge, parse_interval, parse_ports
from squid_imhelper.catalogue import Catalogue
from squid_imhelper.errors import ImhelperError, Problem, suggest
from squid_imhelper.model import (
    ACTIONS,
    BUILT_IN,
    FLAGS,
    FirewallSettings,
    Flag,
    Interval,
    Policy,
    Response,
    Rule,
    SiteList,
)
from squid_imhelper.places import Where
from squid_imhelper.program import UnknownNameError, select_services
from squid_imhelper.templates import PLACEHOLDERS, expand, stray_brace, unknown_placeholders
from squid_imhelper.tomlfile import Document, Table, read_document
from squid_imhelper.urls import UrlError, normalise_address, normalise_host, normalise_path, parse_connect, parse_url

LEFT_OUT: Final = "random_chat"
"""The group that the built-in policy does not block: sites to meet strangers on are no messengers."""

MAX_TEXT: Final = 1000
"""Bytes of a template, and a tenth of it for a name: a reply to Squid has 4 KB for all of them, encoded."""
MAX_LOG_PREFIX: Final = 29
"""Characters that iptables keeps of a log prefix (xt_LOG.h has 30 bytes with the final zero)."""

_PRINTABLE_ASCII: Final = re.compile(r"[\x21-\x7e]*")
_PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")
_NOT_IN_A_URL: Final = re.compile(r"[\"\\<>^`|]")
_MIN_LABELS: Final = 2

_ON_ERROR: Final[tuple[Literal["allow", "block"], ...]] = ("allow", "block")
_DEFAULTS: Final[tuple[Literal["accept", "drop"], ...]] = ("accept", "drop")
_SCHEDULES: Final[tuple[Literal["always", "never", "refuse"], ...]] = ("always", "never", "refuse")


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """A policy that can be used, and the warnings about it."""

    policy: Policy
    warnings: tuple[Problem, ...]


def built_in_policy(catalogue: Catalogue) -> Policy:
    """Every service blocked for everybody, all groups but `random_chat`."""
    blocked = frozenset(service.id for service in catalogue.services.values() if service.group != LEFT_OUT)
    return Policy(BUILT_IN, (Rule(BUILT_IN, "block", services=blocked),))


def read_policy(path: Path, catalogue: Catalogue) -> ReadPolicy:
    """Reads a policy file.

    Raises:
        SourceError: with every problem in it.
        ImhelperError: it cannot be read at all.
    """
    document = read_document(path)
    root = document.root
    clients = _read_clients(root.table("clients"))
    sites = _read_sites(root.table("sites"))
    reader = _RuleReader(catalogue, clients, sites)
    rules = tuple(reader.read(number, table) for number, table in enumerate(root.tables("rule"), 1))
    _check_names(rules, document)
    response = _read_response(root.table("response"))
    firewall = _read_firewall(root.table("firewall"), catalogue)
    root.finish()
    if not rules and not document.problems:
        document.warning((), "there is no rule: everything is allowed")
    document.check()
    return ReadPolicy(Policy(str(path), rules, response, firewall), tuple(document.problems))


def _read_clients(table: Table) -> dict[str, tuple[Interval, ...]]:
    groups = {}
    for name in table.data:
        literals = table.texts(name)
        if table.data[name] == []:
            table.error(name, f"client group '{name}' is empty: it would mean nobody, never anybody")
        if _is_interval(name):
            table.error(name, f"'{name}' is an address, and no name for a group", name)
        groups[name] = merge(_read_intervals(literals, table.document, table.at(name)))
    return groups


def _read_intervals(literals: list[str], document: Document, where: Where) -> list[Interval]:
    found = []
    for literal in literals:
        try:
            interval, note = parse_interval(literal)
        except ValueError as error:
            document.error(where, str(error), literal)
            continue
        if note:
            document.warning(where, note, literal)
        found.append(interval)
    return found


def _is_interval(text: str) -> bool:
    try:
        parse_interval(text)
    except ValueError:
        return False
    return True


def _read_sites(table: Table) -> dict[str, SiteList]:
    return {name: _read_site_list(name, entry) for name, entry in table.rest()}


def _read_site_list(name: str, entry: Table) -> SiteList:
    sites = SiteList(
        name,
        domains=tuple(_read_domain(text, entry) for text in entry.texts("domains")),
        urls=tuple(_read_site_url(text, entry) for text in entry.texts("urls")),
        regex=tuple(_read_regex(text, entry) for text in entry.texts("regex")),
        networks=merge(_read_intervals(entry.texts("networks"), entry.document, entry.at("networks"))),
        ports=tuple(_read_ports("ports", entry)),
    )
    entry.finish()
    if not any(entry.data.values()):
        entry.document.error(entry.where, f"site list '{name}' is empty")
    return sites


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


def _read_site_url(text: str, entry: Table) -> tuple[str, int | None, str]:
    if "://" in text:
        rest = text.partition("://")[2]
        entry.error("urls", "a URL of a site list is written without its scheme", text, f"write '{rest}'")
        return "", None, ""
    if "?" in text or "#" in text:
        entry.error("urls", f"'{text}': a query is not compared", text, "a 'regex' can look at it")
        return "", None, ""
    try:
        target = parse_url(text.removeprefix("."))
    except UrlError as error:
        entry.error("urls", str(error), text)
        return "", None, ""
    port = target.port if re.match(r"[^/]*:\d+(/|$)", text) else None
    return target.host, port, normalise_path(target.path or "/")


def _read_regex(text: str, entry: Table) -> str:
    try:
        regex.compile(text)
    except (regex.error, RecursionError) as error:
        entry.error("regex", f"bad regular expression: {error}", text)
    return text


def _read_ports(key: str, table: Table) -> list[int]:
    ports: list[int] = []
    for item in table.texts_or_integers(key):
        try:
            ports += parse_ports(item)
        except ValueError as error:
            table.error(key, str(error), item)
    return ports


class _RuleReader:
    """Reads rules, whose names for clients and sites stand elsewhere in the file."""

    def __init__(
        self, catalogue: Catalogue, clients: dict[str, tuple[Interval, ...]], sites: dict[str, SiteList]
    ) -> None:
        self._groups = {service.id: service.group for service in catalogue.services.values()}
        self._clients = clients
        self._sites = sites

    def read(self, number: int, table: Table) -> Rule:
        rule = Rule(
            name=self._name(number, table),
            action=table.choice("action", ACTIONS, "block", required=True),
            clients=self._read_clients(table),
            users=frozenset(users) if (users := self._list("users", table)) is not None else None,
            services=self._read_services(table),
            include=self._read_include(table),
            user_agents=tuple(agents) if (agents := self._list("user_agents", table)) is not None else None,
            sites=self._read_sites("sites", table),
            except_sites=self._read_sites("except_sites", table) or (),
            message=_template("message", table),
            line=table.document.line(table.where),
        )
        table.finish()
        return rule

    @staticmethod
    def _name(number: int, table: Table) -> str:
        name = table.text("name") or f"rule {number}"
        if len(name.encode()) > MAX_TEXT // 10 or not _PRINTABLE.fullmatch(name):
            table.error("name", f"a rule's name is one line of at most {MAX_TEXT // 10} bytes")
        return name

    @staticmethod
    def _list(key: str, table: Table) -> list[str] | None:
        """Returns a list, or None where the condition is not there; a list that is there must not be empty."""
        items = table.texts(key)
        if not table.has(key):
            return None
        if table.data[key] == []:
            table.error(key, f"'{key}' is empty and would never hold", suggestion="leave it out for 'any'")
        return items

    def _read_clients(self, table: Table) -> tuple[Interval, ...] | None:
        words = self._list("clients", table)
        if words is None:
            return None
        intervals: list[Interval] = []
        for word in words:
            if word in self._clients:
                intervals += self._clients[word]
            elif any(c in word for c in ".:/"):
                intervals += _read_intervals([word], table.document, table.at("clients"))
            else:
                table.error("clients", f"unknown client group '{word}'", word, suggest(word, self._clients))
        return merge(intervals)

    def _read_services(self, table: Table) -> frozenset[str] | None:
        words = self._list("services", table)
        if words is None:
            return None
        for word in words:
            try:
                select_services(("all", word), self._groups)
            except UnknownNameError as error:
                table.error("services", str(error), error.word, error.suggestion or "see 'squid-imhelper services'")
        try:
            chosen = select_services(words, self._groups)
        except UnknownNameError:  # told above
            return frozenset()
        except ImhelperError as error:
            table.error("services", str(error))
            return frozenset()
        if words and not chosen:
            table.error("services", "nothing is left of these services")
        return chosen

    def _read_include(self, table: Table) -> frozenset[Flag]:
        words = self._list("include", table) or []
        for word in words:
            if word not in FLAGS:
                table.error("include", f"'include' knows {', '.join(FLAGS)}", word, suggest(word, FLAGS))
        if words and not table.has("services"):
            table.error("include", "'include' adds signatures of the rule's services, and the rule names none")
        return frozenset(flag for flag in FLAGS if flag in words)

    def _read_sites(self, key: str, table: Table) -> tuple[SiteList, ...] | None:
        words = self._list(key, table)
        if words is None:
            return None
        for word in words:
            if word not in self._sites:
                table.error(key, f"unknown site list '{word}'", word, suggest(word, self._sites))
        return tuple(self._sites[word] for word in words if word in self._sites)


def _check_names(rules: tuple[Rule, ...], document: Document) -> None:
    """A rule is known by its name in Squid's log."""
    seen: dict[str, int] = {}
    for number, rule in enumerate(rules):
        if rule.name in seen:
            document.error(("rule", number, "name"), f"two rules are named '{rule.name}', also line {seen[rule.name]}")
        seen.setdefault(rule.name, rule.line)


def _template(key: str, table: Table, default: str = "") -> str:
    text = table.text(key, default)
    if len(text.encode()) > MAX_TEXT or not _PRINTABLE.fullmatch(text):
        table.error(key, f"'{key}' is one line of at most {MAX_TEXT} bytes")
    if stray_brace(text):
        table.error(key, f"'{key}' has a brace without its partner", text)
    for word in unknown_placeholders(text):
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        table.error(key, f"unknown placeholder {{{word}}}; there are {known}", suggestion=suggest(word, PLACEHOLDERS))
    return text


def _read_response(table: Table) -> Response:
    standard = Response()
    response = Response(
        redirect=_read_redirect(table, standard.redirect),
        message=_template("message", table, standard.message),
        connect=_read_connect(table),
        on_error=table.choice("on_error", _ON_ERROR, standard.on_error),
        dry_run=table.flag("dry_run"),
    )
    table.finish()
    return response


def _read_redirect(table: Table, default: str) -> str:
    redirect = _template("redirect", table, default)
    authority = redirect.partition("://")[2].partition("/")[0]
    try:
        target = parse_url(expand(redirect, {}, str))
    except UrlError:
        target = None
    if not redirect.startswith(("http://", "https://")) or target is None or target.port is None:
        table.error("redirect", "'redirect' is a whole URL of http or https")
        return default
    if "{" in authority.partition("?")[0]:
        table.error("redirect", "host and port of 'redirect' are fixed: they are what is never blocked")
    if not _PRINTABLE_ASCII.fullmatch(redirect) or _NOT_IN_A_URL.search(redirect):
        table.error("redirect", "'redirect' holds a character that a URL cannot hold", suggestion="percent-encode it")
    return redirect


def _read_connect(table: Table) -> str:
    text = table.text("connect")
    if not text:
        return ""
    try:
        target = parse_connect(text)
    except UrlError:
        target = None
    if target is None or target.port is None or not re.fullmatch(r"[^/\s]{1,253}:\d+", text):
        table.error("connect", "'connect' is host:port, as in \"proxy.example:443\"", text)
        return ""
    return target.url


def _read_firewall(table: Table, catalogue: Catalogue) -> FirewallSettings:
    standard = FirewallSettings()
    prefixes = table.table("log_prefix")
    log_prefix = tuple((service, prefixes.text(service)) for service in prefixes.data)
    for service, prefix in log_prefix:
        if service not in catalogue.services:
            prefixes.error(service, f"unknown service '{service}'", None, suggest(service, catalogue.services))
        if len(prefix) > MAX_LOG_PREFIX or not re.fullmatch(r"[\x20-\x7e]*", prefix):
            prefixes.error(service, f"a log prefix has at most {MAX_LOG_PREFIX} characters of ASCII", prefix)
    settings = FirewallSettings(
        wan=table.text("wan"),
        lan=table.text("lan"),
        default=table.choice("default", _DEFAULTS, standard.default),
        reject=table.flag("reject"),
        admin_ports=tuple(_read_ports("admin_ports", table)),
        schedules=table.choice("schedules", _SCHEDULES, standard.schedules),
        log_prefix=log_prefix,
    )
    table.finish()
    return settings
