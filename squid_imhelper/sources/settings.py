"""What a policy says about answers, logs and the router: the tables `[response]`, `[audit]` and `[firewall]`."""

import re
from typing import Final, Literal

from squid_imhelper.base.addresses import MAX_PORT, parse_ports
from squid_imhelper.base.errors import suggest
from squid_imhelper.base.model import AuditSettings, FirewallSettings, Limits, Response
from squid_imhelper.base.templates import PLACEHOLDERS, encode_html, expand, stray_brace, unknown_placeholders
from squid_imhelper.base.urls import UrlError, parse_connect, parse_url
from squid_imhelper.sources.catalogue import Catalogue
from squid_imhelper.sources.tomlfile import Table

MAX_TEXT: Final = 1000
"""Bytes of a template (a message as HTML), and a tenth of it for a name: a reply to Squid has 4 KB for all, encoded."""
MAX_LOG_PREFIX: Final = 127
"""Characters that the kernel keeps of a log prefix (nf_log.h: NF_LOG_PREFIXLEN, with the final zero); iptables: 29."""
MAX_RATE: Final = 10_000
"""Packets a second: what xt_hashlimit and nft count without rounding."""
PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")

_PRINTABLE_ASCII: Final = re.compile(r"[\x21-\x7e]*")
_LOG_PREFIX: Final = re.compile(r"[\x20\x21\x23\x25-\x5b\x5d-\x7e]*")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\+?")
_MAX_INTERFACE: Final = 15  # IFNAMSIZ, with the final zero
_NOT_IN_A_URL: Final = re.compile(r"[\"\\<>^`|]")

_ON_ERROR: Final[tuple[Literal["allow", "block"], ...]] = ("allow", "block")
_DEFAULTS: Final[tuple[Literal["accept", "drop"], ...]] = ("accept", "drop")
_SCHEDULES: Final[tuple[Literal["always", "never", "refuse"], ...]] = ("always", "never", "refuse")
_INTERCEPT: Final[tuple[Literal["no", "redirect", "tproxy"], ...]] = ("no", "redirect", "tproxy")
_REJECT: Final[tuple[Literal["allow", "reject"], ...]] = ("allow", "reject")
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
    http, https = _read_intercept_ports(table.table("intercept_ports"), standard)
    settings = FirewallSettings(
        wan=_read_interface("wan", table),
        lan=_read_interface("lan", table),
        default=table.choice("default", _DEFAULTS, standard.default),
        reject=table.flag("reject"),
        admin_ports=_read_ports("admin_ports", table),
        proxy_ports=_read_ports("proxy_ports", table) or standard.proxy_ports,
        schedules=table.choice("schedules", _SCHEDULES, standard.schedules),
        log_prefix=_read_log_prefixes(table.table("log_prefix"), catalogue),
        intercept=table.choice("intercept", _INTERCEPT, standard.intercept),
        intercept_http=http,
        intercept_https=https,
        intercept_exempt=table.flag("intercept_exempt"),
        quic=table.choice("quic", _REJECT, standard.quic),
        encrypted_dns=table.choice("encrypted_dns", _REJECT, standard.encrypted_dns),
        calls=table.choice("calls", _REJECT, standard.calls),
        masquerade=table.flag("masquerade"),
        limits=_read_limits(table.table("limits")),
    )
    if settings.default == "drop" and not settings.admin_ports:
        message = "default = 'drop' without 'admin_ports': nobody will get in to the router to change it"
        table.document.warning(table.at("default"), message, "drop", "say admin_ports = [22], for ssh")
    table.finish()
    return settings


def _read_interface(key: str, table: Table) -> str:
    name = table.text(key)
    if name and (len(name) > _MAX_INTERFACE or not _INTERFACE.fullmatch(name)):
        table.error(key, f'\'{key}\' is an interface, as in "eth0" or "ppp+"', name)
        return ""
    return name


def _read_ports(key: str, table: Table) -> tuple[int, ...]:
    """Reads ports; a list that is there must not be empty."""
    if table.data.get(key) == []:
        table.error(key, f"'{key}' is empty", suggestion="leave it out")
    ranges = table.parsed(key, table.texts_or_integers(key), parse_ports)
    return tuple(sorted({port for ports in ranges for port in ports}))


def _read_intercept_ports(table: Table, standard: FirewallSettings) -> tuple[int, int]:
    ports = []
    for key, default in (("http", standard.intercept_http), ("https", standard.intercept_https)):
        port = table.integer(key)
        if port is not None and not 0 < port <= MAX_PORT:
            table.error(key, f"'{port}' is no port", port)
        ports.append(default if port is None else port)
    if ports[0] == ports[1]:
        table.document.error(table.where, "http and https are intercepted by two ports of Squid")
    table.finish()
    return ports[0], ports[1]


def _read_limits(table: Table) -> Limits:
    rates = {}
    for name, default in Limits()._asdict().items():
        rate = table.integer(name)
        if rate is not None and not 0 <= rate <= MAX_RATE:
            table.error(name, f"'{name}' is a number of packets a second, at most {MAX_RATE}; 0 for no limit", rate)
        rates[name] = default if rate is None else rate
    table.finish()
    return Limits(**rates)


def _read_log_prefixes(table: Table, catalogue: Catalogue) -> tuple[tuple[str, str], ...]:
    prefixes = tuple((service, table.text(service)) for service in table.data)
    for service, prefix in prefixes:
        if service not in catalogue.services:
            table.error(service, f"unknown service '{service}'", None, suggest(service, catalogue.services))
        if not isinstance(table.data[service], str):
            continue  # told by the table
        if not 0 < len(prefix) <= MAX_LOG_PREFIX or not _LOG_PREFIX.fullmatch(prefix):
            message = f'a log prefix has 1 to {MAX_LOG_PREFIX} characters of ASCII, and none of " $ \\'
            table.error(service, message, prefix)
    return prefixes
