"""The squid.conf lines: golden, refused where Squid could not read them, and accepted by a real Squid."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Rule
from squid_imhelper.squid.layout import parse_extras, parse_format
from squid_imhelper.squid.squidconf import EXTRAS, TIMED_TTL, TTL, Installation, Interface, render
from squid_imhelper.squid.wire import DEFAULT_FORMAT

SQUID = shutil.which("squid", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
CONF = Path(__file__).parents[1] / "conf"

PLACES = Installation("/usr/bin/squid-imhelper", "/etc/squid-imhelper/policy.toml", "/usr/share/imhelper/ERR_MESSENGER")
PLAIN = (Rule("all", "block"),)
USERS = (Rule("all", "block"), Rule("ann", "allow", users=frozenset({"ann"})))
TIMED = (Rule("all", "block", schedules=("office",)),)
NO_PAGE = replace(PLACES, error_page="")

CASES = [
    pytest.param(PLACES, PLAIN, "acl", "squid-acl.conf", id="acl"),
    pytest.param(PLACES, USERS, "acl", "squid-acl-users.conf", id="acl-users"),
    pytest.param(NO_PAGE, PLAIN, "acl", "squid-acl-no-page.conf", id="acl-no-page"),
    pytest.param(PLACES, TIMED, "acl", "squid-acl-timed.conf", id="acl-timed"),
    pytest.param(PLACES, PLAIN, "rewrite", "squid-rewrite.conf", id="rewrite"),
    pytest.param(PLACES, USERS, "rewrite", "squid-rewrite-users.conf", id="rewrite-users"),
]


def quoted(line: str) -> str:
    """What stands in the last pair of double quotes of a line."""
    return line.rsplit('"', 2)[1]


@pytest.mark.parametrize(("places", "rules", "interface", "name"), CASES)
def test_the_lines_are_these(
    golden: Callable[[str, str], None], places: Installation, rules: tuple[Rule, ...], interface: Interface, name: str
) -> None:
    golden(name, render(places, rules, interface, 5))


@pytest.mark.parametrize(("places", "rules", "interface", "name"), CASES)
def test_the_same_policy_gives_the_same_lines(
    places: Installation, rules: tuple[Rule, ...], interface: Interface, name: str
) -> None:
    assert render(places, rules, interface, 5) == render(places, rules, interface, 5), name


@pytest.mark.parametrize("version", [5, 6, 7])
def test_the_lines_name_the_version_they_are_for(version: int) -> None:
    assert f"Squid {version}" in render(PLACES, PLAIN, "acl", version).split("\n")[0]


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
@pytest.mark.parametrize("field", ["helper", "policy", "error_page"])
@pytest.mark.parametrize("character", list(" \t\n\r\"'\\#%\x00\x7f"))
def test_a_path_that_squid_would_misread_is_refused(interface: Interface, field: str, character: str) -> None:
    places = replace(PLACES, **{field: f"/opt/my{character}files/x"})
    with pytest.raises(ImhelperError, match="characters in its path"):
        render(places, PLAIN, interface, 5)


def test_users_are_sent_where_a_rule_asks_for_them() -> None:
    """In the same words to Squid and to the helper."""
    for policy, expected in ((PLAIN, DEFAULT_FORMAT), (USERS, f"{DEFAULT_FORMAT} %#un")):
        (line,) = (x for x in render(PLACES, policy, "acl", 5).split("\n") if x.startswith("external_acl_type"))
        assert f" {expected} {PLACES.helper} acl" in line
        assert ("--format" in line) == (policy is USERS)
        assert policy is PLAIN or quoted(line) == expected
    assert "user" in parse_format(f"{DEFAULT_FORMAT} %#un").cells


def test_the_rewriter_is_told_the_extras_that_squid_sends() -> None:
    for policy, expected in ((PLAIN, EXTRAS), (USERS, f"{EXTRAS} %#un")):
        lines = render(PLACES, policy, "rewrite", 5).split("\n")
        told = [quoted(line) for line in lines if line.startswith(("url_rewrite_program", "url_rewrite_extras"))]
        assert told == [expected, expected]
        assert parse_extras(expected).cells.keys() >= {"client", "method"}


@pytest.mark.parametrize(
    ("rules", "seconds", "shows"),
    [
        pytest.param(PLAIN, TTL, "a new policy shows", id="always"),
        pytest.param(TIMED, TIMED_TTL, "a new policy or schedule shows", id="schedule"),
        pytest.param((Rule("all", "block", start=1.0),), TIMED_TTL, "a new policy or schedule shows", id="from"),
        pytest.param((*PLAIN, Rule("x", "allow", end=1.0)), TIMED_TTL, "a new policy or schedule shows", id="until"),
    ],
)
def test_squid_keeps_no_answer_for_longer_than_a_policy_can_wait(
    rules: tuple[Rule, ...], seconds: int, shows: str
) -> None:
    assert 0 < TIMED_TTL < TTL <= 60
    text = render(PLACES, rules, "acl", 5)
    assert f" ttl={seconds} negative_ttl={seconds} " in text
    assert f"for {seconds} seconds and leaves open tunnels open: {shows} after that." in text


def test_squid_keeps_no_answer_of_a_rewriter() -> None:
    text = render(PLACES, TIMED, "rewrite", 5)
    assert "ttl" not in text
    assert "a new policy shows with the next request" in text


def test_no_port_is_opened() -> None:
    assert "http_port" not in render(PLACES, PLAIN, "acl", 5) + render(PLACES, PLAIN, "rewrite", 5)


@pytest.mark.squid
@pytest.mark.skipif(SQUID is None, reason="squid is not installed")
@pytest.mark.parametrize(("places", "rules", "interface", "name"), CASES)
def test_a_real_squid_accepts_the_lines(
    tmp_path: Path, places: Installation, rules: tuple[Rule, ...], interface: Interface, name: str
) -> None:
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\nexec cat\n")
    helper.chmod(0o755)
    lines = render(replace(places, helper=str(helper)), rules, interface, 5)
    conf = tmp_path / name
    conf.write_text(
        f"http_port 127.0.0.1:3999\npid_filename {tmp_path}/pid\ncache_log {tmp_path}/cache.log\n"
        f"{lines}http_access allow all\n"
    )
    assert_squid_accepts(conf)


def assert_squid_accepts(conf: Path) -> None:
    service = f"imh{uuid.uuid4().hex[:12]}"
    done = subprocess.run(
        [str(SQUID), "-n", service, "-k", "parse", "-f", str(conf)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not [line for line in said.split("\n") if "ERROR" in line or "FATAL" in line or "WARNING" in line], said


SHIPPED = Installation(
    "/opt/squid-imhelper/bin/squid-imhelper",
    "/etc/squid-imhelper/policy.toml",
    "/opt/squid-imhelper/share/squid-imhelper/ERR_MESSENGER",
)


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_the_shipped_examples_hold_what_is_printed(interface: Interface) -> None:
    assert render(SHIPPED, PLAIN, interface, 5) in (CONF / f"squid-{interface}.conf").read_text()


@pytest.mark.squid
@pytest.mark.skipif(SQUID is None, reason="squid is not installed")
@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_a_real_squid_accepts_the_shipped_examples(tmp_path: Path, interface: Interface) -> None:
    """As they are, but for the helper, which need not be installed where they say."""
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\nexec cat\n")
    helper.chmod(0o755)
    conf = tmp_path / "squid.conf"
    conf.write_text((CONF / f"squid-{interface}.conf").read_text().replace(SHIPPED.helper, str(helper)))
    assert_squid_accepts(conf)
