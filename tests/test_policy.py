"""The policy file: what it means, and every problem of it told where it is."""

import ipaddress
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError, Problem, SourceError
from squid_imhelper.base.model import FirewallSettings, Interval, Policy, Response, Rule, Service, SiteList
from squid_imhelper.sources.catalogue import Catalogue, load_catalogue
from squid_imhelper.sources.policy import MAX_TEXT, built_in_policy, read_policy

Write = Callable[[str], Path]

HERE = "»"
"""Marks, in the cases below, the character at which a problem must be shown."""


def service(name: str, group: str) -> Service:
    return Service(name, name.title(), group, "active", None, "", "", "", ())


CATALOGUE = Catalogue(
    {
        s.id: s
        for s in (
            service("whatsapp", "im"),
            service("telegram", "im"),
            service("slack", "work_chat"),
            service("chatroulette", "random_chat"),
        )
    },
    {"im": "Messengers", "work_chat": "Work", "random_chat": "Strangers"},
)


def problems(path: Path) -> tuple[Problem, ...]:
    try:
        return read_policy(path, CATALOGUE).warnings
    except SourceError as error:
        return error.problems


def policy(path: Path) -> Policy:
    return read_policy(path, CATALOGUE).policy


def addresses(text: str) -> Interval:
    network = ipaddress.ip_network(text)
    return network.version, int(network[0]), int(network[-1])


def place(text: str) -> tuple[int, int]:
    before = text[: text.index(HERE)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


RULE = '[[rule]]\naction = "block"\n'

CASES = [
    # [clients]
    pytest.param("clients = »5\n", "error", "'clients' must be a table", "", id="clients-no-table"),
    pytest.param("[clients]\n»lan = []\n", "error", "client group 'lan' is empty", "", id="clients-empty"),
    pytest.param('[clients]\nlan = "»10.0.0.1"\n', "error", "'lan' must be a list of strings", "", id="clients-string"),
    pytest.param('[clients]\nlan = ["10.0.0.1", »5]\n', "error", "'lan' holds strings only", "", id="clients-number"),
    pytest.param('[clients]\n»lan = [""]\n', "error", "none that is empty", "", id="clients-empty-string"),
    pytest.param(
        '[clients]\n»"10.0.0.9" = ["10.0.0.1"]\n', "error", "is an address, and no name", "", id="clients-address-name"
    ),
    pytest.param('[clients]\nlan = ["»10.0.0.300"]\n', "error", "'10.0.0.300' is no IP address", "", id="bad-address"),
    pytest.param('[clients]\nlan = ["»10.0.0.0/33"]\n', "error", "'10.0.0.0/33' is no network", "", id="bad-network"),
    pytest.param(
        '[clients]\nlan = [\n  "10.0.0.1",\n  "»10.0.0.9-10.0.0.2",\n]\n', "error", "runs backwards", "", id="backwards"
    ),
    pytest.param('[clients]\nlan = ["»10.0.0.1-2001:db8::1"]\n', "error", "from IPv4 to IPv6", "", id="mixed-range"),
    pytest.param(
        '[clients]\nlan = ["»64.12.25.0/22"]\n', "warning", "is taken as 64.12.24.0/22", "", id="host-bits-set"
    ),
    # [sites]
    pytest.param("[sites]\nown = »5\n", "error", "'own' must be a table", "", id="sites-no-table"),
    pytest.param("»[sites.own]\n", "error", "site list 'own' is empty", "", id="sites-empty"),
    pytest.param(
        '[sites.own]\ndomains = ["»*.example.org"]\n',
        "error",
        "stands for its sub-domains too",
        "write 'example.org'",
        id="domain-asterisk",
    ),
    pytest.param(
        '[sites.own]\ndomains = ["a.example", "»b.example/x"]\n',
        "error",
        "'b.example/x' is no domain",
        "a URL goes into 'urls', an address into 'networks'",
        id="domain-url",
    ),
    pytest.param(
        '[sites.own]\ndomains = ["»192.0.2.1"]\n', "error", "is an address", "it goes into 'networks'", id="domain-ip"
    ),
    pytest.param('[sites.own]\ndomains = ["»a b.example"]\n', "error", "is no domain", "", id="domain-blank"),
    pytest.param('[sites.own]\ndomains = ["»..."]\n', "error", "is no domain", "", id="domain-dots"),
    pytest.param('[sites.own]\ndomains = ["»com"]\n', "warning", "a whole top-level domain", "", id="domain-top-level"),
    pytest.param(
        '[sites.own]\nurls = ["»http://a.example/x"]\n',
        "error",
        "without its scheme",
        "write 'a.example/x'",
        id="url-scheme",
    ),
    pytest.param(
        '[sites.own]\nurls = ["»a.example/x?y"]\n',
        "error",
        "a query is not compared",
        "a 'regex' can look at it",
        id="url-query",
    ),
    pytest.param('[sites.own]\nurls = ["»/x"]\n', "error", "no host in '/x'", "", id="url-no-host"),
    pytest.param("[sites.own]\nregex = ['»a(b']\n", "error", "bad regular expression", "", id="regex-bad"),
    pytest.param('[sites.own]\nnetworks = ["»1.2.3"]\n', "error", "'1.2.3' is no IP address", "", id="sites-network"),
    pytest.param(
        '[sites.own]\nnetworks = ["»10.0.0.1/8"]\n', "warning", "taken as 10.0.0.0/8", "", id="sites-host-bits"
    ),
    pytest.param("[sites.own]\nports = [80, »65536]\n", "error", "'65536' is no port", "", id="port-too-big"),
    pytest.param("[sites.own]\nports = [»0]\n", "error", "'0' is no port", "", id="port-zero"),
    pytest.param('[sites.own]\nports = ["»90-80"]\n', "error", "'90-80' runs backwards", "", id="port-backwards"),
    pytest.param("[sites.own]\n»ports = [true]\n", "error", "numbers and ranges only", "", id="port-true"),
    pytest.param("[sites.own]\nports = »80\n", "error", "'ports' must be a list", "", id="ports-no-list"),
    pytest.param(
        '[sites.own]\nports = [80]\n»domain = ["a.example"]\n',
        "error",
        "unknown key 'domain'",
        "did you mean 'domains'?",
        id="sites-unknown-key",
    ),
    # [[rule]]
    pytest.param("rule = »5\n", "error", "'rule' must be a list of tables", "", id="rule-no-list"),
    pytest.param("»rule = [5]\n", "error", "'rule' must be a list of tables", "", id="rule-of-numbers"),
    pytest.param('»[[rule]]\nname = "x"\n', "error", "'action' is missing", "", id="action-missing"),
    pytest.param(
        '[[rule]]\naction = "»blok"\n',
        "error",
        "'action' is one of block, allow, monitor",
        "did you mean 'block'?",
        id="action-unknown",
    ),
    pytest.param('[[rule]]\naction = "»"\n', "error", "'action' is one of", "", id="action-empty"),
    pytest.param("[[rule]]\naction = »5\n", "error", "'action' must be a string", "", id="action-number"),
    pytest.param(RULE + "»clients = []\n", "error", "'clients' is empty", "leave it out for 'any'", id="list-empty"),
    pytest.param(RULE + "»users = []\n", "error", "'users' is empty", "leave it out for 'any'", id="users-empty"),
    pytest.param(RULE + "»services = []\n", "error", "'services' is empty", "leave it out for 'any'", id="none-named"),
    pytest.param(
        '[clients]\nboss = ["10.0.0.1"]\n' + RULE + 'clients = ["»bos"]\n',
        "error",
        "unknown client group 'bos'",
        "did you mean 'boss'?",
        id="client-group-unknown",
    ),
    pytest.param(RULE + 'clients = ["»clients"]\n', "error", "unknown client group", "", id="value-like-its-key"),
    pytest.param(
        RULE + 'clients = [\n  # boss is gone\n  "»boss",\n]\n', "error", "unknown client", "", id="value-in-a-comment"
    ),
    pytest.param(RULE + 'clients = ["»10.0.0.300"]\n', "error", "is no IP address", "", id="client-literal"),
    pytest.param(RULE + 'clients = ["»10.0.0.1/8"]\n', "warning", "host bits", "", id="client-host-bits"),
    pytest.param(
        RULE + 'services = ["whatsapp", "»telegrm"]\n',
        "error",
        "unknown service 'telegrm'",
        "did you mean 'telegram'?",
        id="service-unknown",
    ),
    pytest.param(
        RULE + 'services = ["»@work_chats"]\n',
        "error",
        "unknown group '@work_chats'",
        "did you mean '@work_chat'?",
        id="service-group-unknown",
    ),
    pytest.param(
        RULE + 'services = ["all", "»-slak"]\n',
        "error",
        "unknown service 'slak'",
        "did you mean 'slack'?",
        id="service-left-out-unknown",
    ),
    pytest.param(RULE + '»services = ["-slack"]\n', "error", "leaves out of nothing", "", id="service-minus-first"),
    pytest.param(RULE + '»services = ["slack", "-slack"]\n', "error", "nothing is left", "", id="service-none-left"),
    pytest.param(
        RULE + 'services = ["all"]\ninclude = ["»stael"]\n',
        "error",
        "'include' knows stale, shared, self_hosted",
        "did you mean 'stale'?",
        id="include-unknown",
    ),
    pytest.param(RULE + '»include = ["stale"]\n', "error", "the rule names none", "", id="include-without-services"),
    pytest.param(
        "[sites.safe]\nports = [1]\n" + RULE + 'sites = ["»save"]\n',
        "error",
        "unknown site list 'save'",
        "did you mean 'safe'?",
        id="site-list-unknown",
    ),
    pytest.param(
        "[sites.safe]\nports = [1]\n" + RULE + 'except_sites = ["»save"]\n',
        "error",
        "unknown site list 'save'",
        "did you mean 'safe'?",
        id="except-site-list-unknown",
    ),
    pytest.param(f'[[rule]]\n»name = "{"x" * 101}"\naction = "allow"\n', "error", "at most 100 bytes", "", id="name"),
    pytest.param('[[rule]]\n»name = "a\\nb"\naction = "allow"\n', "error", "one line", "", id="name-two-lines"),
    pytest.param(
        '[[rule]]\nname = "a"\naction = "allow"\n[[rule]]\n»name = "a"\naction = "block"\n',
        "error",
        "two rules are named 'a', also line 1",
        "",
        id="name-twice",
    ),
    pytest.param(
        RULE + '»message = "{servce} is blocked"\n',
        "error",
        "unknown placeholder {servce}",
        "did you mean 'service'?",
        id="placeholder",
    ),
    pytest.param(RULE + f'»message = "{"x" * (MAX_TEXT + 1)}"\n', "error", "at most 1000", "", id="message-too-long"),
    pytest.param(RULE + '»message = "a\\tb"\n', "error", "'message' is one line", "", id="message-control-character"),
    pytest.param(
        RULE + '»service = ["all"]\n', "error", "unknown key 'service'", "did you mean 'services'?", id="rule-key"
    ),
    pytest.param(
        'rule = [\n  { action = "block" },\n  { action = "block", »color = 1 },\n]\n',
        "error",
        "unknown key 'color'",
        "",
        id="rule-inline",
    ),
    # [response]
    pytest.param(
        '[response]\n»redirect = "proxy.example/blocked"\n', "error", "a whole URL of http or https", "", id="redirect"
    ),
    pytest.param('[response]\n»redirect = "http://"\n', "error", "a whole URL", "", id="redirect-no-host"),
    pytest.param('[response]\n»redirect = "http://a:99999/"\n', "error", "a whole URL", "", id="redirect-bad-port"),
    pytest.param(
        '[response]\n»redirect = "http://{host}/"\n', "error", "host and port of 'redirect' are fixed", "", id="fixed"
    ),
    pytest.param(
        "[response]\n»redirect = 'http://a.example/ x'\n",
        "error",
        "a character that a URL cannot hold",
        "percent-encode it",
        id="redirect-character",
    ),
    pytest.param(
        '[response]\n»redirect = "http://a.example/{urll}"\n',
        "error",
        "unknown placeholder {urll}",
        "did you mean 'url'?",
        id="redirect-placeholder",
    ),
    pytest.param('[response]\nconnect = "»proxy.example"\n', "error", "'connect' is host:port", "", id="connect"),
    pytest.param('[response]\nconnect = "»a.example:x"\n', "error", "'connect' is host:port", "", id="connect-port"),
    pytest.param(
        '[response]\non_error = "»alow"\n',
        "error",
        "'on_error' is one of allow, block",
        "did you mean 'allow'?",
        id="on-error",
    ),
    pytest.param('[response]\ndry_run = "»no"\n', "error", "'dry_run' must be true or false", "", id="dry-run"),
    pytest.param("[response]\ndry_run = »0\n", "error", "'dry_run' must be true or false", "", id="dry-run-number"),
    pytest.param(
        '[response]\n»redirects = "http://a.example/"\n',
        "error",
        "unknown key 'redirects'",
        "did you mean 'redirect'?",
        id="response-key",
    ),
    pytest.param(f"[response]\nredirect = »0x{'f' * 6000}\n", "error", "must be a string", "", id="huge-number"),
    # [firewall]
    pytest.param("[firewall]\nwan = »5\n", "error", "'wan' must be a string", "", id="firewall-wan"),
    pytest.param(
        '[firewall]\ndefault = "»dorp"\n',
        "error",
        "'default' is one of accept, drop",
        "did you mean 'drop'?",
        id="firewall-default",
    ),
    pytest.param('[firewall]\nreject = "»yes"\n', "error", "must be true or false", "", id="firewall-reject"),
    pytest.param("[firewall]\nadmin_ports = [22, »70000]\n", "error", "is no port", "", id="firewall-port"),
    pytest.param(
        '[firewall]\nschedules = "»alway"\n',
        "error",
        "one of always, never, refuse",
        "did you mean 'always'?",
        id="sch",
    ),
    pytest.param(
        '[firewall.log_prefix]\n»whatsap = "WA > "\n',
        "error",
        "unknown service 'whatsap'",
        "did you mean 'whatsapp'?",
        id="log-prefix-service",
    ),
    pytest.param(
        '[firewall.log_prefix]\nwhatsapp = "»123456789012345678901234567890"\n',
        "error",
        "at most 29 characters",
        "",
        id="log-prefix-long",
    ),
    pytest.param(
        '[firewall]\nlog_prefix = { whatsapp = "»é" }\n', "error", "characters of ASCII", "", id="log-prefix-accent"
    ),
    pytest.param("[firewall.log_prefix]\nwhatsapp = »5\n", "error", "must be a string", "", id="log-prefix-number"),
    pytest.param('[firewall]\n»wann = "eth0"\n', "error", "unknown key 'wann'", "did you mean 'wan'?", id="fw-key"),
    # the file
    pytest.param("\n»colour = 1\n", "error", "unknown key 'colour'", "", id="unknown-key"),
    pytest.param(
        '\n»[[rules]]\naction = "block"\n', "error", "unknown key 'rules'", "did you mean 'rule'?", id="rules"
    ),
    pytest.param(
        '\n»[client]\nlan = ["10.0.0.1"]\n', "error", "unknown key 'client'", "did you mean 'clients'?", id="table"
    ),
    pytest.param(
        "[response]\n»[site.own]\nports = [1]\n", "error", "unknown key 'site'", "did you mean 'sites'?", id="sub-table"
    ),
    pytest.param("[clients]\nlan = »\n", "error", "not valid TOML", "", id="syntax"),
]


@pytest.mark.parametrize(("marked", "severity", "message", "suggestion"), CASES)
def test_a_problem_is_told_once_at_its_line_and_column(
    policy_file: Write, marked: str, severity: str, message: str, suggestion: str
) -> None:
    text = marked.replace(HERE, "")
    path = policy_file(text)
    (problem,) = problems(path)
    line, column = place(marked)
    assert (problem.line, problem.column) == (line, column), str(problem)[:300]
    assert message in problem.message
    assert (problem.severity, problem.suggestion) == (severity, suggestion)
    assert (problem.path, problem.source) == (str(path), text.split("\n")[line - 1])


def test_all_problems_are_told_at_once_from_top_to_bottom(
    policy_file: Write, golden: Callable[[str, str], None]
) -> None:
    text = """\
[response]
on_error = "never"
redirect = "nowhere"

[clients]
lan = ["10.0.0.0/8", "10.0.0.999"]
old = ["64.12.25.0/22"]

[[rule]]
name = "twice"
clients = ["lann"]
services = ["telegrm"]
action = "blok"

[[rule]]
name = "twice"
action = "allow"
sites = ["none"]
"""
    with pytest.raises(SourceError) as caught:
        read_policy(policy_file(text), CATALOGUE)
    found = caught.value.problems
    assert [(p.line, p.column) for p in found] == sorted((p.line, p.column) for p in found)
    golden("problems.txt", str(caught.value).replace(str(policy_file(text)), "policy.toml") + "\n")


def test_an_empty_site_list_is_an_error_whatever_else_was_found(policy_file: Write) -> None:
    path = policy_file('[clients]\nlan = ["10.0.0.1/8"]\n\n[sites.empty]\n')
    assert [(p.severity, p.line) for p in problems(path)] == [("warning", 2), ("error", 4)]


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        pytest.param("(" * 4000 + ")" * 4000, "bad regular expression", id="nested-too-deeply"),
        pytest.param("a{2,1}", "bad regular expression", id="backwards"),
        pytest.param("(?P<a>x)(?P=b)", "bad regular expression", id="unknown-group"),
    ],
)
def test_an_expression_that_cannot_be_compiled_is_a_problem(policy_file: Write, expression: str, problem: str) -> None:
    (found,) = problems(policy_file(f"[sites.own]\nregex = ['{expression}']\n"))
    assert (found.line, found.severity) == (2, "error")
    assert problem in found.message


EVERYTHING = r"""
[clients]
lan = ["192.168.1.0/24", "2001:db8:1::/48", "192.168.2.10-192.168.2.20"]
boss = ["192.168.1.16"]

[sites.safe]
domains = ["Intranet.Example.", ".windowsupdate.com"]

[sites.own]
urls = ["example.org:8080/a//%62", "chat.example"]
regex = ['^https?://chat[0-9]+\.example\.net/']
networks = ["198.51.100.0/24"]
ports = [1863, "6660-6662"]

[[rule]]
name = "the boss may chat"
clients = ["boss", "192.168.9.0/255.255.255.0"]
action = "allow"

[[rule]]
name = "no messengers at work"
clients = ["lan"]
users = ["ann", "bob"]
services = ["all", "-slack"]
include = ["stale", "shared"]
action = "block"
message = "{service} is blocked"

[[rule]]
user_agents = ["MSIE", "Trident/"]
sites = ["own"]
except_sites = ["safe"]
action = "monitor"

[response]
redirect = "http://proxy.example:81/blocked?service={service}&url={url}"
message = "{service_name}: no"
connect = "proxy.example:443"
on_error = "block"
dry_run = true

[firewall]
wan = "eth0"
lan = "eth1"
default = "drop"
reject = true
admin_ports = [22]
schedules = "never"
log_prefix = { whatsapp = "MESSENGER WA > " }
"""


def test_a_policy_with_everything_becomes_these_records(policy_file: Write) -> None:
    path = policy_file(EVERYTHING)
    read = read_policy(path, CATALOGUE)
    safe = SiteList("safe", domains=("intranet.example", "windowsupdate.com"))
    own = SiteList(
        "own",
        urls=(("example.org", 8080, "/a/b"), ("chat.example", None, "/")),
        regex=(r"^https?://chat[0-9]+\.example\.net/",),
        networks=(addresses("198.51.100.0/24"),),
        ports=(1863, 6660, 6661, 6662),
    )
    first, last = int(ipaddress.ip_address("192.168.2.10")), int(ipaddress.ip_address("192.168.2.20"))
    lan = (addresses("192.168.1.0/24"), (4, first, last), addresses("2001:db8:1::/48"))
    rules = (
        Rule(
            "the boss may chat",
            "allow",
            clients=(addresses("192.168.1.16/32"), addresses("192.168.9.0/24")),
            line=15,
        ),
        Rule(
            "no messengers at work",
            "block",
            clients=lan,
            users=frozenset({"ann", "bob"}),
            services=frozenset({"whatsapp", "telegram", "chatroulette"}),
            include=frozenset({"stale", "shared"}),
            message="{service} is blocked",
            line=20,
        ),
        Rule("rule 3", "monitor", user_agents=("MSIE", "Trident/"), sites=(own,), except_sites=(safe,), line=29),
    )
    response = Response(
        "http://proxy.example:81/blocked?service={service}&url={url}",
        "{service_name}: no",
        "proxy.example:443",
        "block",
        dry_run=True,
    )
    firewall = FirewallSettings("eth0", "eth1", "drop", True, (22,), "never", (("whatsapp", "MESSENGER WA > "),))
    assert read.warnings == ()
    assert read.policy == Policy(str(path), rules, response, firewall)


def test_an_empty_policy_has_no_rules_and_the_standard_answers(policy_file: Write) -> None:
    path = policy_file("")
    assert policy(path) == Policy(str(path), ())


@pytest.mark.parametrize(
    ("literal", "intervals"),
    [
        pytest.param("192.168.1.16", [addresses("192.168.1.16/32")], id="address"),
        pytest.param("192.168.1.0/24", [addresses("192.168.1.0/24")], id="cidr"),
        pytest.param("192.168.1.0/255.255.255.0", [addresses("192.168.1.0/24")], id="netmask"),
        pytest.param("192.168.1.77/24", [addresses("192.168.1.0/24")], id="host-bits"),
        pytest.param("10.0.0.0-10.0.0.255", [addresses("10.0.0.0/24")], id="range"),
        pytest.param("2001:db8::/32", [addresses("2001:db8::/32")], id="v6-cidr"),
        pytest.param("2001:DB8:0:0::1", [addresses("2001:db8::1/128")], id="v6-long-spelling"),
        pytest.param("2001:db8::-2001:db8::f", [addresses("2001:db8::/124")], id="v6-range"),
        pytest.param("::ffff:10.0.0.1", [addresses("10.0.0.1/32")], id="v4-in-v6"),
    ],
)
def test_clients_are_written_in_these_ways(policy_file: Write, literal: str, intervals: list[Interval]) -> None:
    """In a group and in a rule itself."""
    path = policy_file(f'[clients]\ng = ["{literal}"]\n{RULE}clients = ["g"]\n{RULE}clients = ["{literal}"]\n')
    assert [list(rule.clients or ()) for rule in policy(path).rules] == [intervals, intervals]


def test_warnings_alone_leave_a_policy_usable(policy_file: Write) -> None:
    path = policy_file('[clients]\nlan = ["10.0.0.1/8"]\n[sites.a]\ndomains = ["com"]\n')
    assert [(w.line, w.severity) for w in read_policy(path, CATALOGUE).warnings] == [(2, "warning"), (4, "warning")]


@given(st.lists(st.sampled_from(["block", "allow", "monitor"]), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rules_keep_the_order_in_which_they_stand(policy_file: Write, actions: list[str]) -> None:
    text = "".join(f'[[rule]]\nname = "r{n}"\naction = "{action}"\n' for n, action in enumerate(actions))
    rules = policy(policy_file(text)).rules
    assert [(rule.name, rule.action, rule.line) for rule in rules] == [
        (f"r{n}", action, 3 * n + 1) for n, action in enumerate(actions)
    ]


def test_built_in_blocks_every_service_but_random_chat() -> None:
    (rule,) = built_in_policy(CATALOGUE).rules
    assert rule == Rule("built-in", "block", services=frozenset({"whatsapp", "telegram", "slack"}))


SNIPPETS = st.sampled_from(
    [
        *("[clients]\n", "[sites]\n", "[sites.a]\n", "[[rule]]\n", "[response]\n", "[firewall]\n", "\n", "[", "]", "{"),
        *("action = ", "clients = ", "services = ", "domains = ", "urls = ", "regex = ", "networks = ", "ports = "),
        *("redirect = ", "connect = ", "a = ", "include = ", "sites = ", "name = ", "}", ", ", '"', "'", "rule = "),
        *('["all"]\n', '["lan", "10.0.0.1/8"]\n', '["-"]\n', '["("]\n', '["http://%"]\n', "[1, 70000]\n", '"block"\n'),
        *('"http://{a"\n', '["[::1]:0"]\n', '["\\u0000"]\n', "{}\n", "[[]]\n", "true\n", "1.5\n", "1979-05-27\n", "#"),
    ]
)


@given(st.lists(SNIPPETS, max_size=15).map("".join) | st.text())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_policy_or_an_error_of_ours(policy_file: Write, text: str) -> None:
    path = policy_file(text.encode("utf-8", "ignore").decode())
    with suppress(ImhelperError):
        read_policy(path, CATALOGUE)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = ("clients", "users", "services", "include", "user_agents", "sites", "except_sites")


@given(st.dictionaries(st.sampled_from(("domains", "urls", "regex", "networks", "ports")), st.lists(TEXTS, max_size=3)))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_site_list_is_one_or_an_error_of_ours(policy_file: Write, lists: dict[str, list[str]]) -> None:
    lines = "".join(f"{key} = {toml_list(values)}\n" for key, values in lists.items())
    with_problems = problems(policy_file(f"[sites.a]\n{lines}"))
    assert all(problem.line >= 1 for problem in with_problems)


def toml_list(texts: list[str]) -> str:
    quoted = ("".join(f"\\U{ord(c):08x}" for c in text) for text in texts)
    return "[" + ", ".join(f'"{text}"' for text in quoted) + "]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            '[[rule]]\nservices = ["facebook", "WhatsApp", "@imm"]\naction = "block"\n',
            ["'facebook'", "'WhatsApp'", "'@imm'"],
            id="services",
        ),
        pytest.param('[response]\nconnect = "http://p:1"\n', ["'connect' is host:port"], id="connect-is-no-url"),
        pytest.param('[response]\nmessage = "{host"\n', ["a brace without its partner"], id="stray-brace"),
        pytest.param('[sites]\na = { domains = ["foo..com"] }\n', ["'foo..com' is no domain"], id="empty-label"),
    ],
)
def test_each_mistake_is_told(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(SourceError) as caught:
        read_policy(path, CATALOGUE)
    assert len(caught.value.problems) == len(words)
    for word in words:
        assert word in str(caught.value)


def test_a_policy_without_a_rule_is_told(tmp_path: Path) -> None:
    """A file that was cut off while it was saved would let everything through without a word."""
    path = tmp_path / "policy.toml"
    path.write_text("# nothing\n")
    (warning,) = read_policy(path, CATALOGUE).warnings
    assert "everything is allowed" in warning.message


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "policy.toml")
    with pytest.raises(ImhelperError, match="no regular file"):
        read_policy(tmp_path / "policy.toml", CATALOGUE)


def test_a_long_line_is_shown_in_part(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    many = '"slack", ' * 5000
    path.write_text(f'[[rule]]\nservices = [{many}"slak"]\naction = "block"\n')
    with pytest.raises(SourceError) as caught:
        read_policy(path, CATALOGUE)
    assert "did you mean 'slack'?" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "warned"), [("policy.toml", []), ("recipe-2006.toml", ["64.12.25.0/22", "216.155.193.0/22"])]
)
def test_the_shipped_policies_can_be_used(name: str, warned: list[str]) -> None:
    """The recipe keeps its two networks as they stood, host bits and all, and is told about them."""
    read = read_policy(Path(__file__).parents[1] / "conf" / name, load_catalogue())
    assert read.policy.rules
    assert len(read.warnings) == len(warned)
    for warning, network in zip(read.warnings, warned, strict=True):
        assert f"'{network}' has host bits set" in warning.message
