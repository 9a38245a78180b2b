"""The tables of settings: answers, the audit log, the router; each mistake told once, where it stands."""

from collections.abc import Callable

import pytest

from squid_imhelper.base.errors import Problem
from squid_imhelper.base.model import AuditSettings, FirewallSettings, Limits, Response, Service
from squid_imhelper.base.templates import PLACEHOLDERS
from squid_imhelper.sources.catalogue import Catalogue
from squid_imhelper.sources.settings import (
    MAX_LOG_PREFIX,
    MAX_TEXT,
    read_audit,
    read_firewall,
    read_redirect,
    read_response,
    read_template,
)
from squid_imhelper.sources.tomlfile import Document, Table

HERE = "»"
"""Marks, in the cases below, the character at which a problem must be shown."""

CATALOGUE = Catalogue(
    {"whatsapp": Service("whatsapp", "WhatsApp", "im", "active", None, "", "", "", ())}, {"im": "Messengers"}
)

READERS: dict[str, Callable[[Table], object]] = {
    "response": read_response,
    "audit": read_audit,
    "firewall": lambda table: read_firewall(table, CATALOGUE),
}


def settings_of(text: str) -> tuple[dict[str, object], list[Problem]]:
    """Reads the three tables of a policy."""
    document = Document("policy.toml", text)
    root = document.root
    return {name: read(root.table(name)) for name, read in READERS.items()}, document.problems


def place(marked: str) -> tuple[int, int]:
    before = marked[: marked.index(HERE)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


CASES = [
    # [response]
    pytest.param("response = »5\n", "'response' must be a table", "", id="response-no-table"),
    pytest.param(
        '[response]\n»redirect = "proxy.example/blocked"\n', "a whole URL of http or https", "", id="redirect-no-scheme"
    ),
    pytest.param('[response]\n»redirect = ""\n', "a whole URL", "", id="redirect-empty"),
    pytest.param('[response]\n»redirect = "http://"\n', "a whole URL", "", id="redirect-no-host"),
    pytest.param('[response]\n»redirect = "ftp://a.example/"\n', "a whole URL", "", id="redirect-ftp"),
    pytest.param('[response]\n»redirect = "http://a:99999/"\n', "a whole URL", "", id="redirect-bad-port"),
    pytest.param(
        '[response]\n»redirect = "http://{host}/"\n',
        "host and port of 'redirect' are fixed",
        "",
        id="redirect-any-host",
    ),
    pytest.param('[response]\n»redirect = "http://a.example:{time}/"\n', "a whole URL", "", id="redirect-any-port"),
    pytest.param(
        "[response]\n»redirect = 'http://a.example/ x'\n",
        "a character that a URL cannot hold",
        "percent-encode it",
        id="redirect-blank",
    ),
    pytest.param(
        "[response]\n»redirect = 'http://a.example/\"'\n",
        "a character that a URL cannot hold",
        "percent-encode it",
        id="redirect-quote",
    ),
    pytest.param(
        '[response]\n»redirect = "http://a.example/é"\n',
        "a character that a URL cannot hold",
        "percent-encode it",
        id="redirect-accent",
    ),
    pytest.param(
        '[response]\n»redirect = "http://a.example/{urll}"\n',
        "unknown placeholder {urll}; there are {service}, {service_name}, {rule}, {client}, {url}, {host}, {time}",
        "did you mean 'url'?",
        id="redirect-placeholder",
    ),
    pytest.param('[response]\nmessage = "»{host"\n', "a brace without its partner", "", id="message-brace"),
    pytest.param('[response]\n»message = "a\\nb"\n', "'message' is one line", "", id="message-two-lines"),
    pytest.param(
        f'[response]\n»message = "{"é" * (MAX_TEXT // 2 + 1)}"\n', "at most 1000 bytes", "", id="message-long"
    ),
    pytest.param('[response]\n»message = "{}"\n', "unknown placeholder {}", "", id="message-placeholder-empty"),
    pytest.param("[response]\nmessage = »5\n", "'message' must be a string", "", id="message-number"),
    pytest.param('[response]\nconnect = "»proxy.example"\n', "'connect' is host:port", "", id="connect-no-port"),
    pytest.param('[response]\nconnect = "»a.example:x"\n', "'connect' is host:port", "", id="connect-bad-port"),
    pytest.param('[response]\nconnect = "»http://p:1"\n', "'connect' is host:port", "", id="connect-url"),
    pytest.param('[response]\nconnect = "»a b:1"\n', "'connect' is host:port", "", id="connect-blank"),
    pytest.param(
        '[response]\non_error = "»alow"\n',
        "'on_error' is one of allow, block",
        "did you mean 'allow'?",
        id="on-error",
    ),
    pytest.param('[response]\ndry_run = "»false"\n', "'dry_run' must be true or false", "", id="dry-run-text"),
    pytest.param("[response]\ndry_run = »1\n", "'dry_run' must be true or false", "", id="dry-run-number"),
    pytest.param(
        '[response]\n»redirct = "http://a.example/"\n',
        "unknown key 'redirct'",
        "did you mean 'redirect'?",
        id="response-key",
    ),
    # [audit]
    pytest.param('audit = "»full"\n', "'audit' must be a table", "", id="audit-no-table"),
    pytest.param(
        '[audit]\nlog_urls = "»hosts"\n',
        "'log_urls' is one of full, host, none",
        "did you mean 'host'?",
        id="log-urls",
    ),
    pytest.param('[audit]\nlog_urls = "»"\n', "'log_urls' is one of", "", id="log-urls-empty"),
    pytest.param("[audit]\nlog_urls = »false\n", "'log_urls' must be a string", "", id="log-urls-flag"),
    pytest.param(
        '[audit]\nlog_clients = "»networks"\n',
        "'log_clients' is one of full, network, none",
        "did you mean 'network'?",
        id="log-clients",
    ),
    pytest.param(
        '[audit]\n»log_client = "none"\n', "unknown key 'log_client'", "did you mean 'log_clients'?", id="audit-key"
    ),
    # [firewall]
    pytest.param("»firewall = [1]\n", "'firewall' must be a table", "", id="firewall-no-table"),
    pytest.param(
        '[firewall]\ndefault = "»dorp"\n',
        "'default' is one of accept, drop",
        "did you mean 'drop'?",
        id="firewall-default",
    ),
    pytest.param('[firewall]\nreject = "»yes"\n', "must be true or false", "", id="firewall-reject"),
    pytest.param("[firewall]\nwan = »0\n", "'wan' must be a string", "", id="firewall-wan"),
    pytest.param("[firewall]\nadmin_ports = [22, »70000]\n", "is no port", "", id="firewall-port"),
    pytest.param('[firewall]\nadmin_ports = ["»ssh"]\n', "is no port", "", id="firewall-port-name"),
    pytest.param(
        '[firewall]\nschedules = "»alway"\n',
        "one of always, never, refuse",
        "did you mean 'always'?",
        id="firewall-schedules",
    ),
    pytest.param(
        '[firewall.log_prefix]\n»whatsap = "WA > "\n',
        "unknown service 'whatsap'",
        "did you mean 'whatsapp'?",
        id="log-prefix-service",
    ),
    pytest.param(
        f'[firewall.log_prefix]\nwhatsapp = "»{"1" * (MAX_LOG_PREFIX + 1)}"\n',
        "1 to 127 characters",
        "",
        id="log-prefix-long",
    ),
    pytest.param('[firewall]\nlog_prefix = { whatsapp = "»" }\n', "1 to 127 characters", "", id="log-prefix-empty"),
    pytest.param('[firewall]\nlog_prefix = { whatsapp = "»é" }\n', "characters of ASCII", "", id="log-prefix-accent"),
    pytest.param("[firewall.log_prefix]\nwhatsapp = »5\n", "must be a string", "", id="log-prefix-number"),
    pytest.param("[firewall.log_prefix]\nwhatsapp = '»a\"b'\n", 'none of " $', "", id="log-prefix-quote"),
    pytest.param("[firewall.log_prefix]\nwhatsapp = '»a$b'\n", 'none of " $', "", id="log-prefix-dollar"),
    pytest.param("[firewall.log_prefix]\nwhatsapp = '»a\\b'\n", 'none of " $', "", id="log-prefix-backslash"),
    pytest.param('[firewall.log_prefix]\nwhatsapp = "»a\\nb"\n', "characters of ASCII", "", id="log-prefix-newline"),
    *(
        pytest.param(f'[firewall]\nlan = "»{name}"\n', "'lan' is an interface", "", id=f"interface-{word}")
        for word, name in {
            "blank": "eth0 -j ACCEPT",
            "option": "-j",
            "negation": "!",
            "long": "x" * 16,
            "slash": "a/b",
            "plus": "+",
            "inner-plus": "a+b",
            "quote": "a'b",
            "dot": ".",
            "accent": "é",
            "only-in-nft": "a*",
        }.items()
    ),
    pytest.param('[firewall]\nwan = "»eth0\\n-A x"\n', "'wan' is an interface", "", id="interface-newline"),
    pytest.param("[firewall]\n»admin_ports = []\n", "'admin_ports' is empty", "leave it out", id="admin-ports-empty"),
    pytest.param("[firewall]\n»proxy_ports = []\n", "'proxy_ports' is empty", "leave it out", id="proxy-ports-empty"),
    pytest.param("[firewall]\nproxy_ports = [»0]\n", "is no port", "", id="proxy-port"),
    pytest.param('[firewall]\nproxy_ports = ["»9-8"]\n', "runs backwards", "", id="proxy-ports-backwards"),
    pytest.param(
        '[firewall]\nintercept = "»tprox"\n', "one of no, redirect, tproxy", "did you mean 'tproxy'?", id="intercept"
    ),
    pytest.param("[firewall]\nintercept = »true\n", "'intercept' must be a string", "", id="intercept-flag"),
    pytest.param("[firewall]\nintercept_ports = { http = »0 }\n", "'0' is no port", "", id="intercept-port"),
    pytest.param(
        "[firewall]\nintercept_ports = { https = »65536 }\n", "'65536' is no port", "", id="intercept-port-high"
    ),
    pytest.param('[firewall]\nintercept_ports = { http = "»80" }\n', "must be", "", id="intercept-port-text"),
    pytest.param("[firewall]\n»intercept_ports = [3129]\n", "must be a table", "", id="intercept-ports-list"),
    pytest.param(
        "[firewall]\nintercept_ports = { »htp = 1 }\n", "unknown key", "did you mean 'http'?", id="intercept-key"
    ),
    pytest.param(
        "[firewall]\n»intercept_ports = { http = 3130 }\n", "intercepted by two ports", "", id="intercept-one-port"
    ),
    pytest.param("[firewall]\nintercept_exempt = »1\n", "must be true or false", "", id="intercept-exempt"),
    pytest.param('[firewall]\nquic = "»drop"\n', "'quic' is one of allow, reject", "", id="quic"),
    pytest.param('[firewall]\nquic = "»"\n', "'quic' is one of allow, reject", "", id="quic-empty"),
    pytest.param('[firewall]\nencrypted_dns = "»block"\n', "'encrypted_dns' is one of", "", id="encrypted-dns"),
    pytest.param("[firewall]\ncalls = »false\n", "'calls' must be a string", "", id="calls"),
    pytest.param('[firewall]\nmasquerade = "»yes"\n', "must be true or false", "", id="masquerade"),
    pytest.param("[firewall]\nlimits = { syn = »-1 }\n", "at most 10000; 0 for no limit", "", id="limit-below"),
    pytest.param("[firewall]\nlimits = { rst = »10001 }\n", "at most 10000; 0 for no limit", "", id="limit-above"),
    pytest.param("[firewall]\nlimits = { »ping = 1.5 }\n", "'ping' must be", "", id="limit-fraction"),
    pytest.param("[firewall]\nlimits = { »sny = 1 }\n", "unknown key 'sny'", "did you mean 'syn'?", id="limit-key"),
    pytest.param('[firewall]\n»wann = "eth0"\n', "unknown key 'wann'", "did you mean 'wan'?", id="firewall-key"),
]


@pytest.mark.parametrize(("marked", "message", "suggestion"), CASES)
def test_a_problem_is_told_once_at_its_line_and_column(marked: str, message: str, suggestion: str) -> None:
    _, problems = settings_of(marked.replace(HERE, ""))
    assert [(p.line, p.column, p.severity) for p in problems] == [(*place(marked), "error")], problems
    assert message in problems[0].message
    assert problems[0].suggestion == suggestion


def test_every_setting_that_is_wrong_is_told() -> None:
    _, problems = settings_of(
        '[response]\non_error = "x"\ndry_run = 1\n[audit]\nlog_urls = 1\nlog_clients = 1\n[firewall]\nreject = 1\n'
    )
    assert [p.line for p in problems] == [2, 3, 5, 6, 8]


@pytest.mark.parametrize(
    ("table", "warned"),
    [
        pytest.param('default = "drop"\n', True, id="nobody-gets-in"),
        pytest.param('default = "drop"\nadmin_ports = [22]\n', False, id="by-ssh"),
        pytest.param('default = "accept"\n', False, id="everybody-does"),
    ],
)
def test_who_shuts_himself_out_is_warned(table: str, warned: bool) -> None:
    _, problems = settings_of("[firewall]\n" + table)
    told = [(p.line, p.severity, p.suggestion) for p in problems]
    assert told == ([(2, "warning", "say admin_ports = [22], for ssh")] if warned else [])


def test_what_is_not_said_is_the_standard() -> None:
    assert settings_of("") == (
        {"response": Response(), "audit": AuditSettings(), "firewall": FirewallSettings()},
        [],
    )


def test_what_is_said_counts() -> None:
    found, problems = settings_of("""
[response]
redirect = "https://proxy.example:81/blocked?service={service}&url={url}"
message = "{service_name}: no, says {rule}"
connect = "proxy.example:443"
on_error = "block"
dry_run = true

[audit]
log_urls = "host"
log_clients = "network"

[firewall]
wan = "eth0"
lan = "eth1"
default = "drop"
reject = true
admin_ports = [22, "8000-8002"]
schedules = "never"
log_prefix = { whatsapp = "12345678901234567890 WHATSAPP" }
proxy_ports = [3128, "8080-8081"]
intercept = "tproxy"
intercept_ports = { http = 4129, https = 4130 }
intercept_exempt = true
quic = "allow"
encrypted_dns = "reject"
calls = "reject"
masquerade = true
limits = { syn = 10000, rst = 0 }
""")
    assert problems == []
    assert found == {
        "response": Response(
            "https://proxy.example:81/blocked?service={service}&url={url}",
            "{service_name}: no, says {rule}",
            "proxy.example:443",
            "block",
            dry_run=True,
        ),
        "audit": AuditSettings("host", "network"),
        "firewall": FirewallSettings(
            wan="eth0",
            lan="eth1",
            default="drop",
            reject=True,
            admin_ports=(22, 8000, 8001, 8002),
            schedules="never",
            log_prefix=(("whatsapp", "12345678901234567890 WHATSAPP"),),
            proxy_ports=(3128, 8080, 8081),
            intercept="tproxy",
            intercept_http=4129,
            intercept_https=4130,
            intercept_exempt=True,
            quic="allow",
            encrypted_dns="reject",
            calls="reject",
            masquerade=True,
            limits=Limits(syn=10_000, rst=0, ping=5),
        ),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Proxy.Example.:443", "proxy.example:443", id="normal-form"),
        pytest.param("192.0.2.1:443", "192.0.2.1:443", id="address"),
        pytest.param("[2001:DB8::1]:443", "[2001:db8::1]:443", id="ipv6"),
        pytest.param("", "", id="none"),
    ],
)
def test_connect_is_a_host_and_a_port(text: str, expected: str) -> None:
    found, problems = settings_of(f'[response]\nconnect = "{text}"\n')
    assert problems == []
    assert found["response"] == Response(connect=expected)


@pytest.mark.parametrize("word", PLACEHOLDERS)
def test_every_placeholder_may_stand_in_a_message_and_in_a_redirect(word: str) -> None:
    text = f"{{{word}}} and {{{word}}}"
    url = f"http://proxy.example/{{{word}}}?x={{{word}}}"
    found, problems = settings_of(f'[response]\nmessage = "{text}"\nredirect = "{url}"\n')
    assert problems == []
    assert found["response"] == Response(message=text, redirect=url)


def test_a_redirect_that_is_not_there_is_that_of_the_response() -> None:
    document = Document("policy.toml", "[x]\n[y]\nredirect = 'http://a.example/'\n")
    assert read_redirect(document.root.table("x")) == ""
    assert read_redirect(document.root.table("x"), "http://b.example/") == "http://b.example/"
    assert read_redirect(document.root.table("y"), "http://b.example/") == "http://a.example/"
    assert document.problems == []


@pytest.mark.parametrize("length", [MAX_TEXT, MAX_TEXT + 1])
def test_a_template_has_a_longest_length(length: int) -> None:
    document = Document("policy.toml", f"message = '{'x' * length}'\n")
    read_template("message", document.root)
    assert bool(document.problems) == (length > MAX_TEXT)


@pytest.mark.parametrize("name", ["eth0", "ppp+", "br-lan", "eth0.100", "wg_0", "veth1@if2", "x" * 15, "0", ""])
def test_an_interface_is_a_name(name: str) -> None:
    found, problems = settings_of(f'[firewall]\nlan = "{name}"\n')
    assert (found["firewall"], problems) == (FirewallSettings(lan=name), [])
