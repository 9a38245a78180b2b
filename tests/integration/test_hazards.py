"""What a helper can do to a Squid, and this one does not.

The hazards are those of Squid's helper protocol: a stray byte on stdout aborts Squid, a helper that dies at start takes
it down, `BH` means 403, a missing answer hangs a client for ever. Hazard 0.2, the forged SNI, is in test_interfaces.py,
since it needs TLS.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real_squid import HELPER, IS_ROOT, Network, Squid, helpers_of, listening, rendered, wait_for

pytestmark = pytest.mark.squid
Start = Callable[..., Squid]
BUILT_IN = "built-in"


def own_helper(network: Network, name: str, text: str) -> Path:
    """A program that `proxy` can run, with the interpreter of the installed helper."""
    path = network.folder / name
    path.write_text(f"#!{HELPER.with_name('python')}\n{text}")
    path.chmod(0o755)
    return path


PRINTS = """
import sys
from squid_imhelper import cli
from squid_imhelper.matching import engine
decide = engine.Engine.decide
def noisy(self, request, now):
    print("a stray line")
    sys.stdout.write("and half of one")
    sys.stdout.flush()
    sys.__stdout__.write("7 OK\\n")
    sys.__stdout__.flush()
    return decide(self, request, now)
engine.Engine.decide = noisy
sys.exit(cli.main())
"""


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_hazard_0_1_a_stray_print_does_not_reach_squid(start_squid: Start, network: Network, interface: str) -> None:
    noisy = own_helper(network, f"noisy-{interface}", PRINTS)
    squid = start_squid(rendered(BUILT_IN, interface=interface).replace(str(HELPER), str(noisy)))
    refused = 403 if interface == "acl" else 302
    for host, status in (("www.meebo.com", refused), ("notmeebo.com", 200), ("discord.com", refused)):
        assert squid.get(f"http://{host}/").status == status
    assert "a stray line" in squid.cache_log


def test_hazard_0_1_a_line_without_an_id_gets_no_answer(start_squid: Start) -> None:
    """Squid without concurrency, a helper that expects IDs: the client waits, but Squid lives and its log says why."""
    squid = start_squid(rendered(BUILT_IN).replace("concurrency=500", "concurrency=0"))
    result = squid.network.run("curl", "-s", "-m", "2", "-x", f"127.0.0.1:{squid.port}", "http://www.meebo.com/")
    assert result.returncode == 28
    assert "without a channel-ID" in squid.cache_log
    assert "concurrency=" in squid.cache_log
    assert "--no-channel-id" in squid.cache_log
    assert squid.process.poll() is None


RAISES = """
import sys
from squid_imhelper import cli
from squid_imhelper.matching import engine
def broken(self, request, now):
    raise ZeroDivisionError
engine.Engine.decide = broken
sys.exit(cli.main())
"""


@pytest.mark.parametrize(
    ("interface", "on_error", "status"),
    [("acl", "allow", 200), ("acl", "block", 403), ("rewrite", "allow", 200), ("rewrite", "block", 302)],
)
def test_hazard_0_3_a_fault_is_answered_as_on_error_says(
    start_squid: Start, network: Network, interface: str, on_error: str, status: int
) -> None:
    """And never with BH, which would be 403 from an ACL and a pass from a rewriter, whatever the policy wants."""
    broken = own_helper(network, f"broken-{interface}-{on_error}", RAISES)
    lines = rendered(BUILT_IN, interface=interface, options=f" --on-error {on_error}").replace(str(HELPER), str(broken))
    squid = start_squid(lines)
    assert squid.get("http://www.news.example/").status == status
    assert "internal fault" in squid.cache_log
    assert "Traceback" not in squid.cache_log
    assert "attempt" not in squid.cache_log


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_hazard_0_4_without_ids_verdicts_stay_with_their_requests(start_squid: Start, interface: str) -> None:
    """Odd requests among the others, one helper: one line too many would shift every later answer."""
    lines = rendered(BUILT_IN, interface=interface, concurrency=0).replace("children-max=4", "children-max=1")
    squid = start_squid(lines.replace("url_rewrite_children 4", "url_rewrite_children 1"))
    refused = 403 if interface == "acl" else 302
    odd = [
        "http://xn--a.example/",
        "http://www.example/%0a%0d%00",
        "http://a%20b.example/",
        "http://1.2.3.4.5/",
        "http://[::1]/",
    ]

    def status(number: int) -> tuple[int, int]:
        if number % 3 == 2:
            squid.get(odd[number % len(odd)], headers={"User-Agent": "\x0b\x7f %0aOK"})
            return 0, 0
        host = ("www.meebo.com", "www.news.example")[number % 3]
        return number % 3, squid.get(f"http://{host}/{number}").status

    with ThreadPoolExecutor(6) as clients:
        answers = set(clients.map(status, range(90)))
    assert answers - {(0, 0)} == {(0, refused), (1, 200)}


def test_hazard_0_5_huge_and_odd_requests_are_answered(start_squid: Start) -> None:
    squid = start_squid(rendered(BUILT_IN))
    odd_agents = ("<" * 60_000, "\x01MSMSGS\x02", "\xff\xfe", "%00%0a", "")
    for headers in ({"Content-Type": "x" * 30_000}, *({"User-Agent": agent} for agent in odd_agents)):
        assert squid.get("http://www.news.example/", headers=headers).status == 200
    assert squid.get("http://www.meebo.com/" + "a" * 8000).status == 403
    assert "Traceback" not in squid.cache_log


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
@pytest.mark.parametrize(
    "mistake",
    [
        "--policy /nonexistent/policy.toml",
        "--policy /tmp",
        "--no-such-option",
        "--on-error maybe",
        "--format %FOO",
        "words too many",
    ],
)
def test_hazard_0_6_no_mistake_at_start_takes_squid_down(start_squid: Start, interface: str, mistake: str) -> None:
    """A helper that ends before its first answer would: Squid starts it again a few times, and then ends."""
    lines = rendered(BUILT_IN, interface=interface).replace("--policy built-in", mistake)
    if interface == "rewrite":
        lines = lines.replace("--format", "--extras")
    squid = start_squid(lines)
    assert squid.get("http://www.meebo.com/").status == 200  # on_error is allow
    assert "squid-imhelper[" in squid.cache_log
    assert "Traceback" not in squid.cache_log
    squid.control("reconfigure")
    time.sleep(1)
    wait_for(lambda: listening(squid.network, squid.port), "Squid to listen again")
    assert squid.process.poll() is None
    assert squid.get("http://www.meebo.com/").status == 200


def test_hazard_0_6_a_broken_policy_is_taken_up_when_mended(start_squid: Start, network: Network) -> None:
    policy = network.folder / "mended.toml"
    good = '[[rule]]\nservices = ["all"]\naction = "block"\n'
    policy.write_text(good)
    lines = rendered(policy)
    policy.write_text(good.replace("all", "wahtsapp"))
    squid = start_squid(lines)
    assert squid.get("http://www.meebo.com/").status == 200
    assert "did you mean 'whatsapp'?" in squid.cache_log
    policy.write_text(good)
    wait_for(lambda: squid.get("http://www.meebo.com/").status == 403, "the mended policy")


def test_hazard_0_7_a_blocked_connect_is_never_rewritten_to_a_url(start_squid: Start) -> None:
    squid = start_squid(rendered(BUILT_IN, interface="rewrite"))
    assert squid.get("web.whatsapp.com:443", method="CONNECT").connect == 302
    line = squid.log()[0]
    assert "web.whatsapp.com:443" in line
    assert "http:443" not in " ".join(line)
    assert "TCP_REDIRECT/302" in line


def test_hazard_0_8_squid_has_nothing_to_say_about_our_keys(start_squid: Start) -> None:
    for interface in ("acl", "rewrite"):
        squid = start_squid(rendered(BUILT_IN, interface=interface))
        squid.get("http://www.meebo.com/")
        squid.get("http://notmeebo.com/")
        assert "Unknown" not in squid.cache_log
        about_keys = [line for line in squid.cache_log.splitlines() if "WARNING" in line and "key" in line]
        assert about_keys == []


def test_helpers_end_with_squid_and_on_reconfigure(start_squid: Start, network: Network) -> None:
    """Squid sends no signal: a helper ends when its input does."""
    squid = start_squid(rendered(BUILT_IN).replace("children-startup=1", "children-startup=3"))
    squid.get("http://www.meebo.com/")
    before = helpers_of(squid)
    assert len(before) >= 3
    squid.control("reconfigure")
    wait_for(lambda: not before & helpers_of(squid), "the old helpers to end")
    wait_for(lambda: listening(network, squid.port), "Squid to listen again")
    assert squid.get("http://www.meebo.com/").status == 403


@pytest.mark.skipif(not IS_ROOT, reason="as root only does Squid start helpers as another user")
def test_the_helper_runs_as_proxy_and_takes_a_ctrl_c_calmly(start_squid: Start) -> None:
    squid = start_squid(rendered(BUILT_IN))
    squid.get("http://www.meebo.com/")
    (pid,) = helpers_of(squid)
    assert Path(f"/proc/{pid}").owner() == "proxy"
    os.kill(int(pid), signal.SIGINT)
    wait_for(lambda: pid not in helpers_of(squid), "the helper to end")
    assert "Traceback" not in squid.cache_log
    assert squid.get("http://www.meebo.com/").status == 403
