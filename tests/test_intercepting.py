"""The squid.conf lines for interception: golden, safe in their order, and accepted by a real Squid."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from squid_imhelper import commands
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import BUILT_IN, FirewallSettings, Rule
from squid_imhelper.cli import main
from squid_imhelper.offline import installed
from squid_imhelper.offline.installed import FoundSquid
from squid_imhelper.squid.intercepting import (
    CERTIFICATE,
    FORWARD_FORMAT,
    INTERCEPTED_FORMAT,
    MAKE_CERTIFICATE,
    Interception,
    interception_of,
    render_intercepting,
)
from squid_imhelper.squid.layout import parse_format
from squid_imhelper.squid.squidconf import Installation, Interface

SQUID = shutil.which("squid", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
CONF = Path(__file__).parents[1] / "conf"

PLACES = Installation("/usr/bin/squid-imhelper", "/etc/squid-imhelper/policy.toml", "/usr/share/imhelper/ERR_MESSENGER")
SHIPPED = Installation(
    "/opt/squid-imhelper/bin/squid-imhelper",
    "/etc/squid-imhelper/policy.toml",
    "/opt/squid-imhelper/share/squid-imhelper/ERR_MESSENGER",
)
PLAIN = (Rule("all", "block"),)
USERS = (Rule("all", "block"), Rule("ann", "allow", users=frozenset({"ann"})))
TIMED = (Rule("all", "block", start=1.0),)
USUAL = interception_of(FirewallSettings(), CERTIFICATE)
TPROXY = Interception("/etc/proxy.pem", 3081, 3443, "tproxy")

CASES = [
    pytest.param(PLACES, PLAIN, "acl", USUAL, "squid-intercept-acl.conf", id="acl"),
    pytest.param(replace(PLACES, error_page=""), USERS, "acl", USUAL, "squid-intercept-acl-users.conf", id="users"),
    pytest.param(replace(PLACES, policy=BUILT_IN), TIMED, "acl", TPROXY, "squid-intercept-tproxy.conf", id="tproxy"),
    pytest.param(PLACES, PLAIN, "rewrite", USUAL, "squid-intercept-rewrite.conf", id="rewrite"),
    pytest.param(PLACES, USERS, "rewrite", TPROXY, "squid-intercept-rewrite-users.conf", id="rewrite-users"),
]


def directives(text: str, name: str) -> list[str]:
    """What stands behind a directive, line by line."""
    return [line.removeprefix(f"{name} ") for line in text.splitlines() if line.startswith(f"{name} ")]


@pytest.mark.parametrize(("places", "rules", "interface", "interception", "name"), CASES)
def test_the_lines_are_these(
    golden: Callable[[str, str], None],
    places: Installation,
    rules: tuple[Rule, ...],
    interface: Interface,
    interception: Interception,
    name: str,
) -> None:
    golden(name, render_intercepting(places, rules, interface, 5, interception))


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_the_helper_is_told_the_format_that_squid_sends(interface: Interface) -> None:
    """The destination means something for what is intercepted, and there only."""
    for rules, more in ((PLAIN, ""), (USERS, " %#un")):
        text = render_intercepting(PLACES, rules, interface, 5, USUAL)
        intercepted, forward = directives(text, "external_acl_type")
        for line, layout in ((intercepted, INTERCEPTED_FORMAT + more), (forward, FORWARD_FORMAT + more)):
            assert f" queue-size=2000 {layout} {PLACES.helper} acl " in line
            assert line.endswith(f' --format "{layout}"')
            assert {"client", "url", "sni"} <= parse_format(layout).cells.keys()
        assert " --intercepted " in intercepted
        assert " --intercepted " not in forward
        assert ("destination" in parse_format(INTERCEPTED_FORMAT).cells) > (
            "destination" in parse_format(FORWARD_FORMAT).cells
        )


@pytest.mark.parametrize("interface", ["acl", "rewrite"])
def test_nothing_is_ever_decrypted(interface: Interface) -> None:
    text = render_intercepting(PLACES, PLAIN, interface, 5, USUAL)
    rules = directives(text, "ssl_bump")
    assert {rule.split()[0] for rule in rules} == {"terminate", "peek", "splice"}
    assert all("imhelper_step2" in rule for rule in rules if rule.startswith("terminate"))
    assert [rule.split()[0] for rule in rules][-2:] == ["peek", "splice"]
    assert all("generate-host-certificates=off" in port for port in directives(text, "https_port"))
    *denials, last = directives(text, "http_access")
    assert all(rule.startswith("deny ") and "!imhelper_tunnel" in rule for rule in denials)
    assert last == "allow imhelper_intercepted imhelper_tunnel"
    access = directives(text, "url_rewrite_access")
    assert access == ([] if interface == "acl" else ["deny imhelper_tunnel", "allow all"])


@pytest.mark.parametrize(("rules", "ttl"), [(PLAIN, 60), (TIMED, 15)])
def test_answers_are_kept_as_long_as_the_policy_allows(rules: tuple[Rule, ...], ttl: int) -> None:
    types = directives(render_intercepting(PLACES, rules, "acl", 5, USUAL), "external_acl_type")
    assert [f" ttl={ttl} negative_ttl={ttl} " in line for line in types] == [True, True]
    assert ["children-startup=1" in line for line in types] == [True, False]


@pytest.mark.parametrize("version", [5, 6, 7])
def test_the_lines_name_the_version_they_are_for(version: int) -> None:
    assert f"Squid {version}, intercepting" in render_intercepting(PLACES, PLAIN, "acl", version, USUAL).split("\n")[0]


@pytest.mark.parametrize("character", list(" \t\n\r\"'\\#%\x00"))
def test_a_certificate_that_squid_would_misread_is_refused(character: str) -> None:
    with pytest.raises(ImhelperError, match="characters in its path"):
        render_intercepting(PLACES, PLAIN, "acl", 5, replace(USUAL, tls_cert=f"/etc/a{character}b"))


@pytest.mark.parametrize(("how", "expected"), [("no", "intercept"), ("redirect", "intercept"), ("tproxy", "tproxy")])
def test_the_ports_are_those_of_the_firewall(how: Literal["no", "redirect", "tproxy"], expected: str) -> None:
    settings = FirewallSettings(intercept=how, intercept_http=8081, intercept_https=8443)
    text = render_intercepting(PLACES, PLAIN, "acl", 5, interception_of(settings, "/a.pem"))
    assert directives(text, "http_port") == [f"8081 {expected} name=imhelper_http"]
    assert directives(text, "https_port")[0].startswith(f"8443 {expected} ssl-bump tls-cert=/a.pem ")


# ---- a real Squid ---------------------------------------------------------------------------------------------------

needs_squid = pytest.mark.skipif(
    SQUID is None or shutil.which("openssl") is None, reason="squid or openssl is not installed"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One made by the command that people are told."""
    path = tmp_path_factory.mktemp("pem") / "imhelper.pem"
    subprocess.run(MAKE_CERTIFICATE.format(path=path).split(), check=True, capture_output=True)
    return path


def assert_squid_accepts(text: str, folder: Path, helper: str) -> None:
    script = folder / "helper"
    script.write_text("#!/bin/sh\nexec cat\n")
    script.chmod(0o755)
    conf = folder / "squid.conf"
    conf.write_text(text.replace(helper, str(script)))
    command = [str(SQUID), "-n", f"imh{uuid.uuid4().hex[:12]}", "-k", "parse", "-f", str(conf)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not [line for line in said.split("\n") if "ERROR" in line or "FATAL" in line or "WARNING" in line], said


@pytest.mark.squid
@needs_squid
@pytest.mark.parametrize(("places", "rules", "interface", "interception", "name"), CASES)
def test_a_real_squid_accepts_the_lines(
    tmp_path: Path,
    certificate: Path,
    places: Installation,
    rules: tuple[Rule, ...],
    interface: Interface,
    interception: Interception,
    name: str,
) -> None:
    lines = render_intercepting(places, rules, interface, 5, replace(interception, tls_cert=str(certificate)))
    forward = next(line.removeprefix("#   ") for line in lines.splitlines() if line.startswith("#   http_port"))
    head = f"pid_filename {tmp_path}/pid\ncache_log {tmp_path}/{name}.log\n"
    assert_squid_accepts(f"{head}{forward}\n{lines}http_access allow all\n", tmp_path, places.helper)


def test_the_shipped_example_holds_what_is_printed() -> None:
    text = (CONF / "squid-intercept.conf").read_text()
    assert render_intercepting(SHIPPED, PLAIN, "acl", 5, USUAL) in text
    assert MAKE_CERTIFICATE.format(path=CERTIFICATE) in text


@pytest.mark.squid
@needs_squid
def test_a_real_squid_accepts_the_shipped_example(tmp_path: Path, certificate: Path) -> None:
    text = (CONF / "squid-intercept.conf").read_text().replace(CERTIFICATE, str(certificate))
    assert_squid_accepts(text, tmp_path, SHIPPED.helper)


# ---- the command ----------------------------------------------------------------------------------------------------

INTERCEPT = ("squid-conf", "--mode", "intercept")
Found = Callable[[FoundSquid | None], None]


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    """An installation, and the Squid that is found on its machine."""
    script = tmp_path / "squid-imhelper"
    script.touch()
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setattr(commands, "DEFAULT_POLICY", tmp_path / "none.toml")
    monkeypatch.chdir(tmp_path)

    def find(squid: FoundSquid | None) -> None:
        monkeypatch.setattr(installed, "find_squid", lambda: squid)

    find(FoundSquid("/usr/sbin/squid", 5, True))
    return find


def test_without_a_certificate_it_says_how_to_make_one(capsys: pytest.CaptureFixture[str], found: Found) -> None:
    assert main([*INTERCEPT, "--policy", BUILT_IN]) == 2, found
    out, err = capsys.readouterr()
    assert out == ""
    assert MAKE_CERTIFICATE.format(path=CERTIFICATE) in err
    assert err.count("\n") == 1


PEM_KEY, PEM_CERTIFICATE = "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(PEM_KEY + PEM_CERTIFICATE, "", id="fine"),
        pytest.param(PEM_KEY, "--tls-cert: {path} holds no certificate\n", id="no-certificate"),
        pytest.param(None, "--tls-cert: there is no {path} yet; this makes one: {make}\n", id="gone"),
    ],
)  # fmt: skip
def test_a_certificate_that_squid_cannot_use_is_told_and_the_lines_are_printed(
    capsys: pytest.CaptureFixture[str], found: Found, tmp_path: Path, text: str | None, problem: str
) -> None:
    path = tmp_path / "proxy.pem"
    if text is not None:
        path.write_text(text)
    assert main([*INTERCEPT, "--policy", BUILT_IN, "--tls-cert", path.name]) == 0, found
    out, err = capsys.readouterr()
    assert f" tls-cert={path} " in out
    assert err == problem.format(path=path, make=MAKE_CERTIFICATE.format(path=path))


@pytest.mark.parametrize(
    ("squid", "arguments", "version", "said"),
    [
        pytest.param(None, [], 5, "", id="none"),
        pytest.param(FoundSquid("/s", 6, True), [], 6, "", id="found"),
        pytest.param(FoundSquid("/s", 6, True), ["--squid-version", "7"], 7, "", id="told"),
        pytest.param(FoundSquid("/s", 4, True), [], 5, "/s is Squid 4: these lines are for Squid 5\n", id="old"),
        pytest.param(FoundSquid("/s", 8, True), [], 7, "/s is Squid 8: these lines are for Squid 7\n", id="new"),
        pytest.param(FoundSquid("/s", 5, False), [], 5, "/s was built without OpenSSL", id="no-openssl"),
        pytest.param(FoundSquid("/s", 5, False), ["--squid-version", "6"], 6, "/s was built without OpenSSL",
                     id="told-no-openssl"),
    ],
)  # fmt: skip
def test_the_lines_are_for_the_squid_that_is_found(
    capsys: pytest.CaptureFixture[str],
    found: Found,
    tmp_path: Path,
    squid: FoundSquid | None,
    arguments: list[str],
    version: int,
    said: str,
) -> None:
    found(squid)
    path = tmp_path / "proxy.pem"
    path.write_text(PEM_KEY + PEM_CERTIFICATE)
    assert main([*INTERCEPT, "--policy", BUILT_IN, "--tls-cert", str(path), *arguments]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"# squid-imhelper, Squid {version}, ")
    assert err.startswith(said)
    assert bool(err) == bool(said)
    assert main(["squid-conf", "--policy", BUILT_IN, *arguments]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"# squid-imhelper, Squid {version}: ")
    assert "OpenSSL" not in err


def test_a_policy_names_the_ports_and_a_program_those_that_are_usual(
    capsys: pytest.CaptureFixture[str], found: Found, policy_file: Callable[[str], Path]
) -> None:
    path = policy_file('[firewall]\nintercept = "tproxy"\nintercept_ports = { http = 8081, https = 8443 }\n')
    pem = path.with_name("proxy.pem")
    pem.write_text(PEM_KEY + PEM_CERTIFICATE)
    assert main(["compile", "--policy", str(path), "-o", "program"]) == 0, found
    ports = {}
    for name in (path.name, "program"):
        assert main([*INTERCEPT, "--policy", name, "--tls-cert", str(pem)]) == 0
        ports[name] = directives(capsys.readouterr().out, "http_port")
    assert ports == {
        path.name: ["8081 tproxy name=imhelper_http"],
        "program": ["3129 intercept name=imhelper_http"],
    }
