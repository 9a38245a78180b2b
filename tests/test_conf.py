"""The files in conf/: they are used as they stand, so they are held to what the code reads."""

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from squid_imhelper.base.errors import SourceError
from squid_imhelper.base.model import ACTIONS, FLAGS
from squid_imhelper.offline.lint import lint
from squid_imhelper.sources.catalogue import load_catalogue
from squid_imhelper.sources.listfiles import FORMATS
from squid_imhelper.sources.policy import read_policy
from squid_imhelper.sources.tomlfile import Table

CONF = Path(__file__).parent.parent / "conf"
SCHEMA = json.loads((CONF / "policy.schema.json").read_text(encoding="utf-8"))
CATALOGUE = load_catalogue()
NOW = 1_795_000_000.0  # 2026-11-18

EVERYTHING = """
"$schema" = "./policy.schema.json"

[clients]
lan = ["192.168.1.0/24"]

[schedules]
office = { days = "mon-fri", hours = ["08:00-18:00"], timezone = "Europe/Brussels" }

[sites]
inline = { domains = ["a.ex"], urls = ["b.example/c"], regex = ["d"], networks = ["::1"], ports = [80, "6660-6669"] }
file = { file = "list.txt", format = "domains" }

[[rule]]
name = "everything"
action = "block"
clients = ["lan"]
users = { names = ["alice"], file = "users.txt" }
services = ["all", "-@random_chat", "-slack"]
include = ["stale", "shared", "self_hosted"]
user_agents = ["MSIE"]
sites = ["inline"]
except_sites = ["file"]
schedule = ["office"]
from = 2026-01-01
until = 2026-12-31T12:00:00
message = "{service}"
redirect = "http://proxy.example/?u={url}"
firewall = false

[[rule]]
action = "monitor"
users = ["alice"]
schedule = "office"

[response]
redirect = "http://proxy.example/?u={url}"
message = "{service_name}"
connect = "proxy.example:443"
on_error = "allow"
dry_run = true

[audit]
log_urls = "full"
log_clients = "full"

[firewall]
wan = "eth0"
lan = "eth1"
default = "accept"
reject = true
admin_ports = [22]
schedules = "refuse"
log_prefix = { msn_messenger = "MESSENGER MSN > " }
proxy_ports = [3128, "8080-8081"]
intercept = "redirect"
intercept_ports = { http = 3129, https = 3130 }
intercept_exempt = true
quic = "allow"
encrypted_dns = "reject"
calls = "reject"
masquerade = true
limits = { syn = 100, rst = 50, ping = 5 }

[[expect]]
url = "http://a.example/"
action = "allow"
service = ""
client = "192.0.2.1"
user = "alice"
method = "GET"
user_agent = "x"
content_type = "text/html"
sni = "a.example"
at = 2026-11-23T09:00:00
"""


@pytest.fixture
def everything(policy_file: Callable[[str], Path], tmp_path: Path) -> Path:
    """A policy with every key that there is."""
    (tmp_path / "list.txt").write_text("c.example\n", encoding="utf-8")
    (tmp_path / "users.txt").write_text("bob\n", encoding="utf-8")
    return policy_file(EVERYTHING)


def errors_by_schema(text: str) -> list[str]:
    data = json.loads(json.dumps(tomllib.loads(text), default=date.isoformat))
    return [error.message for error in Draft7Validator(SCHEMA).iter_errors(data)]


# ---- the example policies -------------------------------------------------------------------------------------------


def test_the_example_policy_lints_clean() -> None:
    assert lint(str(CONF / "policy.toml"), CATALOGUE, NOW).problems == ()


def test_what_is_commented_out_in_the_example_policy_is_right_too(tmp_path: Path) -> None:
    text = (CONF / "policy.toml").read_text(encoding="utf-8")
    full = re.sub(r"^# (?=(\[\[rule\]\]|[a-z_]+ = ))", "", text, flags=re.MULTILINE)
    assert full.count("[[rule]]") == text.count("\n[[rule]]") + 1
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat/domains.gz").write_text("chat.example\n", encoding="utf-8")
    (tmp_path / "users.txt").write_text("# a name a line\nbob\n", encoding="utf-8")
    path = tmp_path / "policy.toml"
    path.write_text(full, encoding="utf-8")
    said = [problem.message for problem in lint(str(path), CATALOGUE, NOW).problems]
    assert said == ["site list 'public_list' is used by no rule"]


def test_the_example_policy_shows_each_feature() -> None:
    """Each key stands in it at least once, commented out or not; the schema has them all."""
    text = (CONF / "policy.toml").read_text(encoding="utf-8")
    properties = SCHEMA["properties"]
    tables = [properties["rule"]["items"], properties["response"], properties["audit"], properties["expect"]["items"]]
    tables += [properties["schedules"]["additionalProperties"], properties["sites"]["additionalProperties"]]
    tables += [properties["firewall"]]
    keys = {key for table in tables for key in table["properties"]} - {"user", "user_agent", "content_type", "sni"}
    assert {key for key in keys if not re.search(rf"\b{key} = ", text)} == set()


def test_the_recipe_of_2006_has_no_error_and_its_host_bits_are_told() -> None:
    problems = lint(str(CONF / "recipe-2006.toml"), CATALOGUE, NOW).problems
    assert [problem.severity for problem in problems] == ["warning", "warning"]
    assert all("has host bits set" in problem.message for problem in problems)


# ---- the schema -----------------------------------------------------------------------------------------------------


def shape(where: tuple[str | int, ...]) -> str:
    """`rule.users` for the users of the third rule; a name that the administrator gives becomes a star."""
    parts = [part for part in where if isinstance(part, str)]
    return ".".join("*" if n == 1 and parts[0] in ("schedules", "sites") else part for n, part in enumerate(parts))


def test_the_schema_has_the_keys_that_the_code_asks_for(everything: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: defaultdict[str, set[str]] = defaultdict(set)
    finish = Table.finish

    def spy(table: Table) -> None:
        asked[shape(table.where)] |= table._asked
        finish(table)

    monkeypatch.setattr(Table, "finish", spy)
    read_policy(everything, CATALOGUE)
    properties = SCHEMA["properties"]
    firewall = properties["firewall"]
    by_schema = {
        "": SCHEMA,
        "schedules.*": properties["schedules"]["additionalProperties"],
        "sites.*": properties["sites"]["additionalProperties"],
        "rule": properties["rule"]["items"],
        "rule.users": properties["rule"]["items"]["properties"]["users"]["anyOf"][1],
        "response": properties["response"],
        "audit": properties["audit"],
        "firewall": firewall,
        "firewall.intercept_ports": firewall["properties"]["intercept_ports"],
        "firewall.limits": firewall["properties"]["limits"],
        "expect": properties["expect"]["items"],
    }
    assert {where: set(table["properties"]) for where, table in by_schema.items()} == dict(asked)
    assert all(table["additionalProperties"] is False for table in by_schema.values())


def test_the_schema_has_the_words_that_the_code_knows() -> None:
    rule = SCHEMA["properties"]["rule"]["items"]["properties"]
    words = ["all", *(f"@{group}" for group in CATALOGUE.groups), *CATALOGUE.services]
    assert SCHEMA["definitions"]["service"]["enum"] == [word for name in words for word in (name, f"-{name}")]
    assert tuple(rule["action"]["enum"]) == ACTIONS
    assert tuple(rule["include"]["items"]["enum"]) == FLAGS
    site_list = SCHEMA["properties"]["sites"]["additionalProperties"]["properties"]
    assert site_list["format"]["enum"] == list(FORMATS)
    assert SCHEMA["properties"]["expect"]["items"]["properties"]["service"]["enum"] == ["", *CATALOGUE.services]


@pytest.mark.parametrize("name", ["policy.toml", "recipe-2006.toml"])
def test_the_schema_accepts_the_example_policies(name: str) -> None:
    assert errors_by_schema((CONF / name).read_text(encoding="utf-8")) == []


def test_schema_and_code_accept_everything(everything: Path) -> None:
    assert errors_by_schema(EVERYTHING) == []
    assert read_policy(everything, CATALOGUE).policy.rules


CHANGES = [
    pytest.param('action = "block"', 'action = "deny"', id="action"),
    pytest.param('action = "block"\n', "", id="no-action"),
    pytest.param('clients = ["lan"]', "clients = []", id="no-clients"),
    pytest.param('services = ["all",', 'services = ["slak",', id="service"),
    pytest.param('include = ["stale",', 'include = ["old",', id="include"),
    pytest.param('days = "mon-fri"', "days = 5", id="days"),
    pytest.param('hours = ["08:00-18:00"]', 'hours = ["morning"]', id="hours"),
    pytest.param('format = "domains"', 'format = "txt"', id="format"),
    pytest.param("ports = [80,", "ports = [70000,", id="port"),
    pytest.param("until = 2026-12-31T12:00:00", 'until = "soon"', id="until"),
    pytest.param('connect = "proxy.example:443"', 'connect = "proxy.example"', id="connect"),
    pytest.param('redirect = "http://proxy', 'redirect = "ftp://proxy', id="redirect"),
    pytest.param('on_error = "allow"', 'on_error = "BH"', id="on_error"),
    pytest.param("dry_run = true", 'dry_run = "yes"', id="dry_run"),
    pytest.param('log_urls = "full"', 'log_urls = "all"', id="log_urls"),
    pytest.param('log_clients = "full"', 'log_clients = "some"', id="log_clients"),
    pytest.param('default = "accept"', 'default = "deny"', id="default"),
    pytest.param('"MESSENGER MSN > "', f'"{"A PREFIX " * 15}"', id="log_prefix"),
    pytest.param("msn_messenger = ", "msn_mesenger = ", id="log_prefix-service"),
    pytest.param("firewall = false", 'firewall = "no"', id="rule-firewall"),
    pytest.param('lan = "eth1"', 'lan = "eth1 -j ACCEPT"', id="interface"),
    pytest.param('wan = "eth0"', 'wan = "an-interface-that-is-long"', id="interface-long"),
    pytest.param("proxy_ports = [3128,", "proxy_ports = [0,", id="proxy_ports"),
    pytest.param("admin_ports = [22]", "admin_ports = []", id="admin_ports"),
    pytest.param('intercept = "redirect"', 'intercept = "yes"', id="intercept"),
    pytest.param("http = 3129", "http = 70000", id="intercept_ports"),
    pytest.param("https = 3130", "ssl = 3130", id="intercept_ports-key"),
    pytest.param("intercept_exempt = true", 'intercept_exempt = "true"', id="intercept_exempt"),
    pytest.param('quic = "allow"', 'quic = "drop"', id="quic"),
    pytest.param('encrypted_dns = "reject"', "encrypted_dns = true", id="encrypted_dns"),
    pytest.param('calls = "reject"', 'calls = "block"', id="calls"),
    pytest.param("masquerade = true", "masquerade = 1", id="masquerade"),
    pytest.param("syn = 100", "syn = 10001", id="limit"),
    pytest.param("ping = 5", "ping = -1", id="limit-below"),
    pytest.param("rst = 50", "fin = 50", id="limit-key"),
    pytest.param('schedules = "refuse"', 'schedules = "maybe"', id="schedules"),
    pytest.param('service = ""', 'service = "slak"', id="expected-service"),
    pytest.param('url = "http://a.example/"\n', "", id="no-url"),
    pytest.param('user_agents = ["MSIE"]', 'user_agent = ["MSIE"]', id="unknown-key"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_schema_and_code_refuse_the_same(old: str, new: str, everything: Path) -> None:
    text = EVERYTHING.replace(old, new, 1)
    assert text != EVERYTHING
    everything.write_text(text, encoding="utf-8")
    assert errors_by_schema(text)
    with pytest.raises(SourceError):
        read_policy(everything, CATALOGUE)
