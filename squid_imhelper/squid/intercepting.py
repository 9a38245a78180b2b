"""The squid.conf lines for clients that know of no proxy: their HTTP and TLS is redirected to ports of Squid's.

Nothing is decrypted. Squid peeks at the ClientHello (step 1), asks the helper by address and SNI (step 2), and cuts the
connection or passes it on as it is. So a tunnel that is looked into is never denied by `http_access`: to show its page
for that, Squid would decrypt it, or write HTTP into what is TLS.

There is one `external_acl_type` for what is intercepted, where %>la and %>lp are the server's address, and one for
forward ports, where they are Squid's own. Its helper starts when a forward port is used for the first time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from squid_imhelper.base.model import FirewallSettings, Rule
from squid_imhelper.squid.squidconf import (
    Installation,
    Interface,
    acl_command,
    acl_type,
    check_paths,
    error_page_lines,
    log_format,
    log_lines,
    notes,
    rewriter_lines,
    wants_users,
    with_user,
)

MAKE_CERTIFICATE: Final = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=squid-imhelper -keyout {path} -out {path}"
)
CERTIFICATE: Final = "/etc/squid/imhelper.pem"
"""Where one might lie. Squid wants one for such a port, and shows it to nobody whose connection is passed on or cut."""

_HEADERS: Final = "%#{User-Agent}>h %#{Content-Type}>h"
INTERCEPTED_FORMAT: Final = f"%>a %>rm %#>ru %#ssl::>sni %>la %>lp {_HEADERS}"
FORWARD_FORMAT: Final = f"%>a %>rm %#>ru %#ssl::>sni {_HEADERS}"

_PORT_ACLS: Final = (
    "acl imhelper_intercepted myportname imhelper_http imhelper_https",
    "acl imhelper_peeking myportname imhelper_https imhelper_forward",
    "acl imhelper_tunnel all-of imhelper_peeking CONNECT",
    "acl imhelper_ports any-of imhelper_intercepted imhelper_peeking",
    "acl imhelper_step1 at_step SslBump1",
    "acl imhelper_step2 at_step SslBump2",
)
_DENIALS: Final = (
    "# A tunnel that is looked into is cut below: a denial here would decrypt it.",
    "http_access deny imhelper_intercepted !imhelper_tunnel messenger_intercepted",
    "http_access deny !imhelper_intercepted !imhelper_tunnel messenger",
)
_NO_DECRYPTION: Final = (
    "# A denial of yours would decrypt a redirected tunnel, too, to show its page: end such by 'ssl_bump terminate'.",
    "# All else that is redirected needs an 'http_access allow' of yours, as for clients that know of the proxy.",
    "http_access allow imhelper_intercepted imhelper_tunnel",
)
_CUTS: Final = (
    "ssl_bump terminate imhelper_step2 imhelper_intercepted messenger_intercepted",
    "ssl_bump terminate imhelper_step2 !imhelper_intercepted messenger",
    "ssl_bump peek imhelper_step1",
    "ssl_bump splice all",
    "# What is neither HTTP nor TLS cannot be told apart, and ends here.",
    "on_unsupported_protocol respond imhelper_ports",
)


@dataclass(frozen=True, slots=True)
class Interception:
    """Squid's intercepting ports, how packets reach them, and the certificate that Squid wants for that of TLS."""

    tls_cert: str
    http_port: int
    https_port: int
    how: Literal["intercept", "tproxy"] = "intercept"


def interception_of(settings: FirewallSettings, tls_cert: str) -> Interception:
    """Returns what the firewall's settings say: the ports are those to which it sends the packets."""
    how: Literal["intercept", "tproxy"] = "tproxy" if settings.intercept == "tproxy" else "intercept"
    return Interception(tls_cert, settings.intercept_http, settings.intercept_https, how)


def render_intercepting(
    installation: Installation,
    rules: Sequence[Rule],
    interface: Interface,
    squid_version: int,
    interception: Interception,
) -> str:
    """Returns the lines for intercepted traffic; forward ports, which stand elsewhere, are covered too.

    Raises:
        ImhelperError: a path cannot stand in a squid.conf.
    """
    paths = (installation.helper, installation.policy, installation.error_page, interception.tls_cert)
    check_paths(*paths)
    lines = [
        f"# squid-imhelper, Squid {squid_version}, intercepting: put these lines before the first 'http_access allow',",
        "# 'ssl_bump' and 'on_unsupported_protocol' of squid.conf.",
        *notes(installation, rules, cached=True),
        "# Clients and Squid must ask the same resolver: TLS for a name that leads elsewhere for Squid is ended (409).",
        "",
        *_port_lines(interception),
        *_PORT_ACLS,
        "",
        *(_acl_lines(installation, rules) if interface == "acl" else _rewrite_lines(installation, rules)),
        *_NO_DECRYPTION,
        *_CUTS,
        "",
        "# Marks where %>la %>lp are the server's address. A tunnel that is passed on has two lines in the log.",
        "note imhelper_intercepted yes imhelper_intercepted",
        *log_lines(log_format(interface, intercepted=True))[1:],
    ]
    return "\n".join(lines) + "\n"


def _port_lines(interception: Interception) -> list[str]:
    how, tls = interception.how, f"ssl-bump tls-cert={interception.tls_cert} generate-host-certificates=off"
    return [
        f"http_port {interception.http_port} {how} name=imhelper_http",
        f"https_port {interception.https_port} {how} {tls} name=imhelper_https",
        "# To see the names in TLS on a forward port too (tunnels of anything else end then), open it as",
        f"#   http_port 3128 {tls} name=imhelper_forward",
    ]


def _type_lines(installation: Installation, rules: Sequence[Rule]) -> list[str]:
    intercepted, forward = with_user(INTERCEPTED_FORMAT, rules), with_user(FORWARD_FORMAT, rules)
    command = acl_command(installation, intercepted, intercepted=True)
    return [
        acl_type("imhelper_intercepted", intercepted, command, rules),
        "acl messenger_intercepted external imhelper_intercepted",
        acl_type("imhelper", forward, acl_command(installation, forward), rules, startup=0),
        "acl messenger external imhelper",
    ]


def _acl_lines(installation: Installation, rules: Sequence[Rule]) -> list[str]:
    lines = [
        *_type_lines(installation, rules),
        *error_page_lines(installation, "messenger_intercepted", "messenger"),
    ]
    if wants_users(rules):
        lines += [
            "# Forward ports know no name before 'http_access deny !imhelper_intercepted !authenticated', which",
            "# has to stand above these lines. Who is intercepted cannot be asked for one.",
        ]
    return [*lines, *_DENIALS]


def _rewrite_lines(installation: Installation, rules: Sequence[Rule]) -> list[str]:
    return [
        *rewriter_lines(installation, rules),
        "# A tunnel that is looked into is cut below: a redirect would decrypt it.",
        "url_rewrite_access deny imhelper_tunnel",
        "url_rewrite_access allow all",
        *_type_lines(installation, rules),
    ]
