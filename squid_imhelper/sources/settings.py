"""What a policy says about answers, logs and the router: the tables `[response]`, `[audit]` and `[firewall]`."""

import re
from typing import Final, Literal

from squid_imhelper.base.addresses import parse_ports
from squid_imhelper.base.errors import suggest
from squid_imhelper.base.model import AuditSettings, FirewallSettings, Response
from squid_imhelper.base.templates import PLACEHOLDERS, encode_html, expand, stray_brace, unknown_placeholders
from squid_imhelper.base.urls import UrlError, parse_connect, parse_url
from squid_imhelper.sources.catalogue import Catalogue
from squid_imhelper.sources.tomlfile import Table

MAX_TEXT: Final = 1000
"""Bytes of a template (a message as HTML), and a tenth of it for a name: a reply to Squid has 4 KB for all, encoded."""
MAX_LOG_PREFIX: Final = 29
"""Characters that iptables keeps of a log prefix (xt_LOG.h has 30 bytes with the final zero)."""
PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")

_PRINTABLE_ASCII: Final = re.compile(r"[\x21-\x7e]*")
_NOT_IN_A_URL: Final = re.compile(r"[\"\\<>^`|]")

_ON_ERROR: Final[tuple[Literal["allow", "block"], ...]] = ("allow", "block")
_DEFAULTS: Final[tuple[Literal["accept", "drop"], ...]] = ("accept", "drop")
_SCHEDULES: Final[tuple[Literal["always", "never", "refuse"], ...]] = ("always", "never", "refuse")
_LOG_URLS: Final[tuple[Literal["full", "host", "none"], ...]] = ("full", "host", "none")
_LOG_CLIENTS: Final[tuple[Literal["full", "network", "none"], ...]] = ("full", "network", "none")


def read_template(key: str, table: Table, default: str = "") -> str:
    """Reads a text with placeholders."""
    text = table.text(key, default)
    if len((encode_html(text) if key == "message" else text).encode()) > MAX_TEXT or not PRINTABLE.fullmatch(text):
        table.error(key, f"'{key}' is one line of at most {MAX_TEXT} bytes")
    if stray_brace(text):
        table.error(key, f"'{key}' has a brace without its partner", text)
    for word in unknown_placeholders(text):
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        table.error(key, f"unknown placeholder {{{word}}}; there are {known}", suggestion=suggest(word, PLACEHOLDERS))
    return text


def read_response(table: Table) -> Response:
    """Reads `[response]`."""
    standard = Response()
    response = Response(
        redirect=read_redirect(table, standard.redirect),
        message=read_template("message", table, standard.message),
        connect=_read_connect(table),
        on_error=table.choice("on_error", _ON_ERROR, standard.on_error),
        dry_run=table.flag("dry_run"),
    )
    table.finish()
    return response


def read_redirect(table: Table, default: str = "") -> str:
    """Reads where a blocked request is sent: an http or https URL with a fixed host and port."""
    redirect = read_template("redirect", table, default)
    if not redirect and not table.has("redirect"):
        return ""
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


def read_audit(table: Table) -> AuditSettings:
    """Reads `[audit]`."""
    standard = AuditSettings()
    settings = AuditSettings(
        log_urls=table.choice("log_urls", _LOG_URLS, standard.log_urls),
        log_clients=table.choice("log_clients", _LOG_CLIENTS, standard.log_clients),
    )
    table.finish()
    return settings


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


def read_firewall(table: Table, catalogue: Catalogue) -> FirewallSettings:
    """Reads `[firewall]`."""
    standard = FirewallSettings()
    prefixes = table.table("log_prefix")
    log_prefix = tuple((service, prefixes.text(service)) for service in prefixes.data)
    for service, prefix in log_prefix:
        if service not in catalogue.services:
            prefixes.error(service, f"unknown service '{service}'", None, suggest(service, catalogue.services))
        if len(prefix) > MAX_LOG_PREFIX or not re.fullmatch(r"[\x20-\x7e]*", prefix):
            prefixes.error(service, f"a log prefix has at most {MAX_LOG_PREFIX} characters of ASCII", prefix)
    admin_ports = table.parsed("admin_ports", table.texts_or_integers("admin_ports"), parse_ports)
    settings = FirewallSettings(
        wan=table.text("wan"),
        lan=table.text("lan"),
        default=table.choice("default", _DEFAULTS, standard.default),
        reject=table.flag("reject"),
        admin_ports=tuple(port for ports in admin_ports for port in ports),
        schedules=table.choice("schedules", _SCHEDULES, standard.schedules),
        log_prefix=log_prefix,
    )
    table.finish()
    return settings
