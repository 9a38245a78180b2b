"""The offline commands, run as a user runs them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from squid_imhelper import commands
from squid_imhelper.cli import main
from squid_imhelper.sources.catalogue import load_catalogue

Run = Callable[..., subprocess.CompletedProcess[bytes]]

BUILT_IN = ("--policy", "built-in")
WHATSAPP = "https://web.whatsapp.com/"
OPEN = "http://intranet.example/"

TYPES = {
    "url": str,
    "host": str | None,
    "port": int | None,
    "client": str | None,
    "action": str,
    "service": str | None,
    "rule": str | None,
    "signature": dict | None,
    "dry_run": bool,
    "error": str | None,
}


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    assert done.stdout.isascii()
    found = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    for item in found:
        assert item.keys() == TYPES.keys()
        assert all(isinstance(item[key], kind) for key, kind in TYPES.items())
    return found


def test_check_prints_one_object_a_line_in_input_order(run_cli: Run) -> None:
    done = run_cli("check", *BUILT_IN, "--json", WHATSAPP, "  ", "/", "http://bücher.example/", OPEN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [item["url"] for item in objects(done)] == [WHATSAPP, "/", "http://bücher.example/", OPEN]
    assert [item["host"] for item in objects(done)][2] == "xn--bcher-kva.example"


STDIN = [
    pytest.param(f"{WHATSAPP}\n\n \n{OPEN}\n".encode(), [WHATSAPP, OPEN], id="blank-lines"),
    pytest.param(f"{WHATSAPP}\r\n\r\n{OPEN}".encode(), [WHATSAPP, OPEN], id="crlf-and-no-end"),
    pytest.param(
        b"http://a.example/\xff\xfe\n", [b"http://a.example/\xff\xfe".decode("utf-8", "surrogateescape")], id="bytes"
    ),
    pytest.param(b"http://a.example/\0\n", ["http://a.example/\0"], id="nul"),
    pytest.param("http://a.example/\u2028x\n".encode(), ["http://a.example/\u2028x"], id="line-separator"),
]


@pytest.mark.parametrize(("stdin", "urls"), STDIN)
def test_check_reads_lines_from_stdin(run_cli: Run, stdin: bytes, urls: list[str]) -> None:
    done = run_cli("check", *BUILT_IN, "--json", "-", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [item["url"] for item in objects(done)] == urls


def test_check_prints_bytes_that_are_no_text(run_cli: Run) -> None:
    done = run_cli("check", *BUILT_IN, "-", b"http://b.example/\xff", stdin=b"http://a.example/\xff\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 2


def test_stdin_stands_where_it_is_named(run_cli: Run) -> None:
    done = run_cli("check", *BUILT_IN, "--json", "a.example", "-", "c.example", stdin=b"b.example\n")
    assert [item["url"] for item in objects(done)] == ["a.example", "b.example", "c.example"]


@pytest.mark.parametrize("method", ["CONNECT", "connect"])
def test_check_of_a_tunnel(run_cli: Run, method: str) -> None:
    (found,) = objects(run_cli("check", *BUILT_IN, "--json", "--method", method, "web.whatsapp.com:443"))
    assert (found["host"], found["port"], found["action"]) == ("web.whatsapp.com", 443, "block")


@pytest.mark.parametrize(
    ("client", "shown", "action"),
    [
        pytest.param([], None, "allow", id="unknown"),
        pytest.param(["--client", "10.0.0.1"], "10.0.0.1", "block", id="in"),
        pytest.param(["--client", "::ffff:10.0.0.1"], "10.0.0.1", "block", id="in-as-v6"),
        pytest.param(["--client", "11.0.0.1"], "11.0.0.1", "allow", id="out"),
    ],
)
def test_a_rule_with_clients_holds_for_them_only(
    run_cli: Run, policy_file: Callable[[str], Path], client: list[str], shown: str | None, action: str
) -> None:
    path = policy_file('[[rule]]\naction = "block"\nclients = ["10.0.0.0/8"]\n')
    (found,) = objects(run_cli("check", "--policy", path, "--json", *client, OPEN))
    assert (found["client"], found["action"]) == (shown, action)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(["--exit-code", OPEN, WHATSAPP], 1, id="blocked"),
        pytest.param(["--exit-code", OPEN], 0, id="allowed"),
        pytest.param([WHATSAPP], 0, id="not-asked-for"),
        pytest.param(["--json", "--exit-code", WHATSAPP], 1, id="json"),
        pytest.param(["--exit-code", "/", OPEN], 0, id="error-is-allowed"),
    ],
)
def test_exit_status_1_means_something_is_blocked(arguments: list[str], status: int) -> None:
    assert main(["check", *BUILT_IN, *arguments]) == status


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        pytest.param(["-"], b"", id="empty-stdin"),
        pytest.param(["-"], b"\n \n", id="blank-stdin"),
        pytest.param([""], b"", id="blank-argument"),
    ],
)
def test_no_url_at_all_is_exit_status_2(run_cli: Run, arguments: list[str], stdin: bytes) -> None:
    done = run_cli("check", *BUILT_IN, "--json", *arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1


def test_nothing_that_could_be_checked_is_exit_status_2_and_still_told(run_cli: Run) -> None:
    done = run_cli("check", *BUILT_IN, "--json", "/", "?")
    assert done.returncode == 2
    assert [item["error"] is None for item in objects(done)] == [False, False]
    assert done.stderr.count(b"\n") == 1


def test_warnings_about_a_policy_go_to_stderr(run_cli: Run, policy_file: Callable[[str], Path]) -> None:
    path = policy_file('[clients]\nlan = ["10.0.0.1/8"]\n')
    done = run_cli("check", "--policy", path, "--json", OPEN)
    assert done.returncode == 0
    assert b":2: warning: '10.0.0.1/8' has host bits set" in done.stderr
    assert len(objects(done)) == 1


SERVICE_TYPES = {
    "id": str,
    "name": str,
    "group": str,
    "status": str,
    "year": int | None,
    "visible": dict,
    "collateral": str,
}


def listed(run_cli: Run, *names: str) -> list[dict[str, object]]:
    done = run_cli("services", "--json", *names)
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    for item in found:
        assert item.keys() == SERVICE_TYPES.keys()
        assert all(isinstance(item[key], kind) for key, kind in SERVICE_TYPES.items())
        assert list(item["visible"]) == ["proxy", "sni", "decrypted", "firewall"]
        assert all(isinstance(value, bool) for value in item["visible"].values())
    return found


def test_services_lists_the_whole_catalogue(run_cli: Run) -> None:
    assert [item["id"] for item in listed(run_cli)] == list(load_catalogue().services)


def test_services_of_a_group(run_cli: Run) -> None:
    expected = [s.id for s in load_catalogue().services.values() if s.group == "work_chat"]
    assert [item["id"] for item in listed(run_cli, "@work_chat")] == expected


def test_services_by_name_come_once(run_cli: Run) -> None:
    assert {item["id"] for item in listed(run_cli, "telegram", "whatsapp", "telegram")} == {"telegram", "whatsapp"}
    assert len(listed(run_cli, "telegram", "@im", "@im")) == len(listed(run_cli, "@im"))


@pytest.mark.parametrize(
    ("names", "full"),
    [
        pytest.param([], False, id="all"),
        pytest.param(["@im"], False, id="group"),
        pytest.param(["whatsapp"], True, id="one"),
        pytest.param(["whatsapp", "telegram"], True, id="two"),
        pytest.param(["whatsapp", "whatsapp"], True, id="twice"),
    ],
)
def test_services_named_one_by_one_are_shown_in_full(
    capsys: pytest.CaptureFixture[str], names: list[str], full: bool
) -> None:
    assert main(["services", *names]) == 0
    out = capsys.readouterr().out
    assert out.startswith("id ") is not full
    assert ("told apart by:" in out) is full


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The console script as it lies in an installation without an error page."""
    script = tmp_path / "squid-imhelper"
    script.touch()
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(commands, "__file__", str(tmp_path / "squid_imhelper/commands.py"))
    monkeypatch.chdir(tmp_path)
    return script


def test_squid_conf_names_absolute_paths(
    capsys: pytest.CaptureFixture[str], installed: Path, policy_file: Callable[[str], Path]
) -> None:
    path = policy_file("")
    assert main(["squid-conf", "--policy", path.name]) == 0
    assert f" {installed} acl --policy {path}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param([], "acl messenger external imhelper", id="acl"),
        pytest.param(["--with", "acl", "--mode", "explicit"], "http_access deny messenger", id="explicit"),
        pytest.param(["--with", "rewrite"], "url_rewrite_access allow all", id="rewrite"),
    ],
)
def test_squid_conf_prints_the_lines(
    capsys: pytest.CaptureFixture[str], installed: Path, arguments: list[str], line: str
) -> None:
    assert main(["squid-conf", *BUILT_IN, *arguments]) == 0
    out = capsys.readouterr().out
    assert line in out.split("\n")
    assert f"{installed} {'rewrite' if 'rewrite' in arguments else 'acl'} --policy built-in" in out
    assert "deny_info" not in out


def test_squid_conf_names_the_error_page_of_the_installation(
    capsys: pytest.CaptureFixture[str], installed: Path
) -> None:
    page = installed.parent / "share/squid-imhelper/ERR_MESSENGER"
    page.parent.mkdir(parents=True)
    page.touch()
    assert main(["squid-conf", *BUILT_IN]) == 0
    assert f"..{page} messenger\n" in capsys.readouterr().out


def test_squid_conf_tells_what_is_odd_in_the_policy(
    capsys: pytest.CaptureFixture[str], installed: Path, policy_file: Callable[[str], Path]
) -> None:
    path = policy_file('[clients]\nlan = ["10.0.0.1/8"]\n')
    assert main(["squid-conf", "--policy", str(path)]) == 0
    assert "warning: '10.0.0.1/8' has host bits set" in capsys.readouterr().err, installed


def test_squid_conf_without_an_installation_says_so(
    capsys: pytest.CaptureFixture[str], installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.unlink()
    monkeypatch.setattr(sys, "executable", str(installed.with_name("python3")))
    assert main(["squid-conf", *BUILT_IN]) == 2
    assert "install the package first" in capsys.readouterr().err
