"""The command line as a user meets it: help, exit status, one sentence for each error, and streams that break."""

import argparse
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from squid_imhelper import __version__
from squid_imhelper.cli import UsageError, build_parser, main

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., subprocess.Popen[bytes]]

OPTIONS = {
    "acl": "--policy --format --no-channel-id --intercepted --on-error --dry-run --audit --metrics --metrics-period",
    "rewrite": "--policy --extras --no-channel-id --on-error --dry-run --audit --metrics --metrics-period",
    "check": "--policy --client --user --at --user-agent --method --content-type --sni --json --explain --exit-code",
    "replay": "--policy --against --log-format --with --json --html --jobs --follow",
    "compile": "--policy",
    "lint": "--policy",
    "services": "--json",
    "firewall": "--policy --backend --chains --conntrack",
    "squid-conf": "--policy --mode --with --tls-cert --squid-version",
}


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def sentence(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line that a failed command leaves on stderr, and nothing on stdout."""
    assert done.returncode == 2, done
    assert done.stdout == b""
    text = done.stderr.decode()
    assert "Traceback" not in text
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    assert text.startswith("squid-imhelper: ")
    return text.removeprefix("squid-imhelper: ").strip()


def test_these_are_the_commands() -> None:
    assert set(subcommands()) == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_help_of_a_command_names_its_options(run_cli: Run, name: str) -> None:
    done = run_cli(name, "--help")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(re.findall(r"(?<![\w-])--[a-z-]+", text)) == {*OPTIONS[name].split(), "--help"}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_explained(name: str) -> None:
    parser = subcommands()[name]
    unexplained = [action.dest for action in parser._actions if not action.help]
    assert unexplained == []


def test_help_lists_every_command_with_a_sentence(run_cli: Run) -> None:
    text = run_cli("--help", env={"COLUMNS": "200"}).stdout.decode()
    for name in subcommands():
        assert re.search(rf"^ +{name}( {{2,}}|\n {{4,}})\S+", text, re.MULTILINE), name


def test_version(run_cli: Run) -> None:
    assert run_cli("--version").stdout.decode() == f"squid-imhelper {__version__}\n"


BAD_USAGE = [
    pytest.param([], "COMMAND", id="no-command"),
    pytest.param(["chek"], "invalid choice: 'chek'", id="unknown-command"),
    pytest.param(["check", "--jsn", "a.example"], "unrecognized arguments: --jsn", id="unknown-option"),
    pytest.param(["check"], "URL", id="no-url"),
    pytest.param(["check", "--policy", "built-in", ""], "no URL", id="blank-url"),
    pytest.param(["check", "--policy", "built-in", "  ", "\t"], "no URL", id="blank-urls"),
    pytest.param(["check", "--client", "10.0.0.300", "a.example"], "'10.0.0.300' is no IP address", id="bad-ip"),
    pytest.param(["check", "--client", "", "a.example"], "is no IP address", id="empty-ip"),
    pytest.param(["check", "--policy", "gone.toml", "a.example"], "cannot read gone.toml: No such", id="no-policy"),
    pytest.param(["check", "--policy", ".", "a.example"], "cannot read .: Is a directory", id="policy-directory"),
    pytest.param(
        ["check", "--policy", "/dev/null/x", "a.example"], "cannot read /dev/null/x", id="policy-below-a-file"
    ),
    pytest.param(["check", "--policy", "latin1.toml", "a.example"], "latin1.toml is not UTF-8 text", id="not-utf-8"),
    pytest.param(["services", "telegrm"], "unknown service 'telegrm', did you mean 'telegram'?", id="unknown-service"),
    pytest.param(["services", "@imm"], "unknown group '@imm', did you mean '@im'?", id="unknown-group"),
    pytest.param(["services", "xyzxyzxyz"], "unknown service 'xyzxyzxyz'", id="unknown-without-suggestion"),
    pytest.param(["check", "--at", "2026-13-01", "a.example"], "'2026-13-01' is no time in ISO 8601", id="bad-month"),
    pytest.param(["check", "--at", "tomorrow", "a.example"], "'tomorrow' is no time in ISO 8601", id="bad-time"),
    pytest.param(["check", "--at", "", "a.example"], "'' is no time in ISO 8601", id="empty-time"),
    pytest.param(["check", "--at", "2026-11-23T09:30+25:00", "a.example"], "is no time in ISO 8601", id="bad-offset"),
    pytest.param(["check", "--at", "0001-01-01", "a.example"], "the year 1 is not between 1970", id="early-time"),
    pytest.param(["check", "--at", "9999-12-31T23:59:59-14:00", "a.example"], "the year 9999 is not", id="late-time"),
    pytest.param(["check", "--at", "9" * 5000, "a.example"], "is no time in ISO 8601", id="long-time"),
    pytest.param(["check", "--at"], "expected one argument", id="no-time"),
    pytest.param(["compile"], "required: -o", id="compile-to-nowhere"),
    pytest.param(["compile", "-o", "program", "--policy", "gone.toml"], "cannot read gone.toml", id="compile-nothing"),
    pytest.param(["lint", "--policy", "gone.toml"], "cannot read gone.toml: No such file", id="lint-no-policy"),
    pytest.param(["lint", "--policy", "."], "cannot read .: Is a directory", id="lint-directory"),
    pytest.param(["lint", "--policy", "latin1.toml"], "latin1.toml is not UTF-8 text", id="lint-not-utf-8"),
    pytest.param(["firewall"], "required: --backend", id="firewall-for-what"),
    pytest.param(["firewall", "--backend", "pf"], "invalid choice: 'pf'", id="firewall-unknown"),
    pytest.param(
        ["firewall", "--backend", "iptables", "--chains", "--conntrack"], "not allowed with", id="firewall-two-answers"
    ),
    pytest.param(
        ["firewall", "--backend", "nftables", "--policy", "gone.toml"], "cannot read gone", id="firewall-no-policy"
    ),
    pytest.param(["squid-conf", "--policy", "gone.toml"], "cannot read gone.toml", id="squid-conf-no-policy"),
    pytest.param(["squid-conf", "--mode", "x"], "--mode", id="squid-conf-mode"),
    pytest.param(["squid-conf", "--squid-version", "3"], "--squid-version", id="squid-conf-version"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD_USAGE)
def test_bad_input_is_exit_status_2_and_one_sentence(
    run_cli: Run, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "latin1.toml").write_bytes(b"# caf\xe9\n")
    assert words in sentence(run_cli(*arguments))


@pytest.mark.parametrize("name", ["check", "squid-conf", "compile"])
def test_problems_of_a_policy_are_shown_with_their_place(
    run_cli: Run, policy_file: Callable[[str], Path], name: str
) -> None:
    path = policy_file('[[rule]]\naction = "blok"\n')
    more = {"check": ["a.example"], "compile": ["-o", "program"]}.get(name, [])
    done = run_cli(name, "--policy", path, *more)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"{path}:2: error: 'action' is one of block, allow, monitor".encode() in done.stderr
    assert b"did you mean 'block'?" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_policy_with_numbers_beyond_all_bounds_gets_no_traceback(
    run_cli: Run, policy_file: Callable[[str], Path]
) -> None:
    done = run_cli("check", "--policy", policy_file(f"[response]\nredirect = 0x{'f' * 6000}\n"), "a.example")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_an_option_is_not_taken_for_a_longer_one() -> None:
    """What scripts could come to depend on is fixed: no `--exit` for `--exit-code`."""
    with pytest.raises(UsageError):
        build_parser().parse_args(["check", "--exit", "a.example"])


def test_main_returns_what_the_program_exits_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--policy", "built-in", "--exit-code", "--json", "https://web.whatsapp.com/"]) == 1
    assert json.loads(capsys.readouterr().out)["action"] == "block"


STREAMS = [
    pytest.param(["check", "--policy", "built-in", "a.example"], id="check"),
    pytest.param(["check", "--policy", "built-in", "--json", "a.example"], id="check-json"),
    pytest.param(["lint", "--policy", "built-in"], id="lint"),
    pytest.param(["services"], id="services"),
    pytest.param(["services", "--json"], id="services-json"),
    pytest.param(["firewall", "--policy", "built-in", "--backend", "iptables"], id="firewall"),
    pytest.param(["services", "whatsapp"], id="service"),
    pytest.param(["--help"], id="help"),
    pytest.param(["--version"], id="version"),
]


def without_fault(done: subprocess.CompletedProcess[bytes]) -> bool:
    """Neither a traceback nor what the interpreter says when it cannot write at exit."""
    return done.returncode in (0, 2) and not re.search(rb"Traceback|Exception ignored|Error\b.*:", done.stderr)


@pytest.mark.parametrize("arguments", STREAMS)
def test_a_full_disk_is_told_without_traceback(run_cli: Run, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run_cli(*arguments, stdout=full)
    assert without_fault(done), done
    assert done.stderr == b"squid-imhelper: No space left on device\n"
    assert done.returncode == 2


def close_stdout() -> None:
    os.close(1)


def close_stdin() -> None:
    os.close(0)


@pytest.mark.parametrize("arguments", STREAMS)
def test_a_closed_stdout_ends_without_traceback(run_cli: Run, arguments: list[str]) -> None:
    done = run_cli(*arguments, stdout=None, preexec_fn=close_stdout)
    assert without_fault(done), done


def test_a_closed_stdin_has_no_urls(run_cli: Run) -> None:
    done = run_cli("check", "--policy", "built-in", "-", stdin=None, preexec_fn=close_stdin)
    assert without_fault(done), done
    assert done.returncode == 2


@pytest.mark.parametrize("arguments", STREAMS)
def test_a_reader_that_has_gone_is_no_error(run_cli: Run, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = run_cli(*arguments, stdout=pipe)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_stops_after_the_first_line_is_no_error(command: Start, tmp_path: Path) -> None:
    urls = tmp_path / "urls"
    urls.write_text("https://web.whatsapp.com/\n" * 20_000)
    with urls.open("rb") as stdin, command("check", "--policy", "built-in", "-", stdin=stdin) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"block")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_control_c_is_exit_status_130_without_traceback(command: Start) -> None:
    with command("check", "--policy", "built-in", "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"https://web.whatsapp.com/\n" * 300)  # enough for a first block of output
        process.stdin.flush()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == b""
        assert process.wait(60) == 130


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["check", "--policy", "built-in", "http://例え.example/ä"], id="check"),
        pytest.param(["services", "slack"], id="service"),
        pytest.param(["services"], id="services"),
    ],
)
def test_a_terminal_that_lacks_a_character_gets_no_traceback(run_cli: Run, encoding: str, arguments: list[str]) -> None:
    done = run_cli(*arguments, env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


@pytest.mark.parametrize("name", ["acl", "rewrite"])
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--nonsense"], id="unknown-option"),
        pytest.param(["--policy", "gone.toml"], id="no-policy"),
        pytest.param(["--on-error", "perhaps"], id="bad-choice"),
        pytest.param(["--policy", "built-in", "--format", "%nonsense", "--extras", "%x"], id="bad-token"),
    ],
)
def test_a_helper_does_not_end_over_its_options(run_cli: Run, name: str, arguments: list[str]) -> None:
    done = run_cli(name, *arguments, stdin=b"0 whatever\n1 whatever\n")
    assert (done.returncode, done.stdout) == (0, b"0 ERR\n1 ERR\n")
    assert b"squid-imhelper[" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["acl", "rewrite"])
def test_control_c_on_a_helper_leaves_no_traceback(command: Start, name: str) -> None:
    """A Squid in the foreground shares its terminal with its helpers."""
    with command(name, "--policy", "built-in", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"0 whatever\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"0 ERR\n"
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "--policy", "", "http://x/"], b"argument --policy: it is empty"),
        (["acl", "--policy", ""], b"argument --policy: it is empty"),
        (["acl", "--metrics-period", "often"], b"'often' is no number of seconds"),
        (["acl", "--metrics-period", "0"], b"1 to 3600 seconds"),
    ],
)
def test_an_option_without_sense_is_told(
    arguments: list[str], said: bytes, run_cli: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    done = run_cli(*arguments)
    assert said in done.stderr
    assert done.returncode == (0 if arguments[0] == "acl" else 2)
