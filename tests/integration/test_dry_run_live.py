"""A dry run behind a real Squid blocks nothing; what its logs say would have been is what `replay` says of them."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_squid import EXEMPT, HELPER, IS_ROOT, Network, Squid, rendered, wait_for

pytestmark = pytest.mark.squid

POLICY = f"""
[clients]
boss = ["{EXEMPT}"]

[sites]
own = {{ domains = ["chat.example"], regex = ['^http://[^/]+/talk\\?room=[0-9]+$'] }}
safe = {{ domains = ["intranet.example"] }}

[schedules]
always = {{ days = "mon-sun", hours = ["00:00-24:00"], timezone = "Europe/Brussels" }}
never = {{ days = "mon", hours = ["00:00-00:01"], timezone = "Pacific/Kiritimati" }}

[[rule]]
name = "the boss may chat"
clients = ["boss"]
action = "allow"

[[rule]]
name = "we watch Slack"
services = ["slack"]
action = "monitor"

[[rule]]
name = "our own"
sites = ["own"]
action = "block"

[[rule]]
name = "never at night"
services = ["all"]
schedule = "never"
action = "monitor"

[[rule]]
name = "no messengers"
services = ["all"]
schedule = "always"
action = "block"

[[rule]]
name = "old browsers: safe sites only"
user_agents = ["MSIE"]
except_sites = ["safe"]
action = "block"
"""

MSIE = {"User-Agent": "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("http://www.meebo.com/", {}),
    ("http://WWW.Meebo.com./index.html?a=1&b=%20x", {}),
    ("http://notmeebo.com/", {}),
    ("http://search.example/?q=http://www.meebo.com/", {}),
    ("web.whatsapp.com:443", {"method": "CONNECT"}),
    ("web.telegram.org:443", {"method": "CONNECT"}),
    ("www.bank.example:443", {"method": "CONNECT"}),
    ("http://207.46.4.31/gateway/gateway.dll?Action=open&Server=NS", {"method": "POST"}),
    ("http://news.example/", {"headers": {"User-Agent": "MSMSGS"}}),
    ("http://news.example/", {"headers": {"User-Agent": 'Odd "agent" \\ 100 %'}}),
    ("http://news.example/", {"headers": MSIE}),
    ("http://intranet.example/", {"headers": MSIE}),
    ("http://gate.example/", {"method": "POST", "headers": {"Content-Type": "application/x-msn-messenger"}}),
    ("http://app.slack.com/client", {}),
    ("http://www.chat.example/a", {}),
    ("http://forum.example/talk?room=17", {}),
    ("http://forum.example/talk?room=none", {}),
    *(
        [("http://www.meebo.com/", {"client": EXEMPT}), ("discord.com:443", {"method": "CONNECT", "client": EXEMPT})]
        * IS_ROOT
    ),
]
WHAT_A_REWRITER_CANNOT_SEE = 3
"""Requests that only an agent or a content type gives away."""


@pytest.fixture
def policy(network: Network) -> Path:
    path = network.folder / "dry-run.toml"
    path.write_text(POLICY)
    return path


def replayed(squid: Squid, policy: Path, *options: str) -> dict[str, Any]:
    words = [HELPER, "replay", "--json", "--policy", policy, *options, squid.folder / "access.log"]
    found: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return found


def sent(squid: Squid) -> int:
    """Sends every request; all of them must go through."""
    for url, how in REQUESTS:
        reply = squid.get(url, **how)
        assert reply.status == 200, (url, how, reply)
    return len(REQUESTS)


def audited(squid: Squid, number: int) -> list[dict[str, Any]]:
    log = squid.folder / "audit.log"
    wait_for(lambda: log.read_bytes().count(b"\n") >= number, "the audit log")
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_what_would_have_been_is_in_both_logs_and_replay_says_the_same(
    start_squid: Callable[..., Squid], policy: Path, interface: str
) -> None:
    lines = rendered(policy, interface=interface, options=" --dry-run --audit FOLDER/audit.log")
    squid = start_squid(lines)
    number = sent(squid)
    wait_for(lambda: (squid.folder / "access.log").read_bytes().count(b"\n") >= number, "the access log")
    logged = [line[-2:] for line in squid.log()]
    told = Counter(
        (tag, rule.replace("%20", " ").replace("%3A", ":")) for tag, rule in logged if (tag, rule) != ("-", "-")
    )
    audit = audited(squid, sum(told.values()))
    assert told == Counter((line["service"] or "-", line["rule"]) for line in audit)
    assert all(line["dry_run"] for line in audit)

    found = replayed(squid, policy, "--with", interface)
    blocked = [line for line in audit if line["action"] == "block"]
    assert found["requests"] == found["lines"] == number
    assert found["denied"] == found["failed"] == 0
    assert found["blocked"] == len(blocked) > 5
    assert found["monitored"] == len(audit) - len(blocked) == 1
    assert found["by_service"] == Counter(line["service"] or "-" for line in blocked)
    assert found["by_rule"] == Counter(line["rule"] for line in blocked)
    assert found["by_client"] == Counter(line["client"] for line in blocked)


def test_the_log_of_a_rewriter_tells_what_an_acl_would_block_more(
    start_squid: Callable[..., Squid], policy: Path
) -> None:
    squid = start_squid(rendered(policy, interface="rewrite", options=" --dry-run"))
    number = sent(squid)
    wait_for(lambda: (squid.folder / "access.log").read_bytes().count(b"\n") >= number, "the access log")
    as_rewriter, as_acl = (replayed(squid, policy, "--with", interface) for interface in ("rewrite", "acl"))
    assert as_acl["blocked"] - as_rewriter["blocked"] == WHAT_A_REWRITER_CANNOT_SEE
    assert (
        as_acl["blocked"]
        == as_rewriter["blocked"]
        + as_acl["by_service"]["msn_messenger"]
        - as_rewriter["by_service"]["msn_messenger"]
        + as_acl["by_rule"]["old browsers: safe sites only"]
    )


def test_what_a_policy_has_denied_comes_out_the_same(start_squid: Callable[..., Squid], policy: Path) -> None:
    """Not as something that Squid had itself denied; and a policy without rules would let all of it through."""
    squid = start_squid(rendered(policy, options=" --audit FOLDER/audit.log"))
    for url, how in REQUESTS:
        squid.get(url, **how)
    wait_for(lambda: (squid.folder / "access.log").read_bytes().count(b"\n") >= len(REQUESTS), "the access log")
    found = replayed(squid, policy)
    blocked = [line for line in audited(squid, 1) if line["action"] == "block"]
    assert found["blocked"] == len(blocked) > 5
    assert found["denied"] == 0
    nothing = policy.with_name("nothing.toml")
    nothing.write_text("[clients]\n")
    changed = replayed(squid, nothing, "--against", str(policy))
    assert (changed["blocked"], changed["newly_blocked"], changed["newly_allowed"]) == (0, 0, len(blocked))
