"""Starting: nothing that is wrong with the options or the policy ends a helper, since that would take Squid down."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import squid_imhelper

ROOT = Path(squid_imhelper.__file__).parents[1]
POLICY = '[[rule]]\nname = "r"\naction = "block"\nservices = ["whatsapp"]\n'

ASKED = {
    "acl": b"10.0.0.1 GET http://web.whatsapp.com/ - - -",
    "rewrite": b"http://web.whatsapp.com/ 10.0.0.1/- - GET myip=- myport=-",
}
ALLOW = b"ERR\n"
BLOCK = {
    "acl": b"OK\n",
    "rewrite": b'OK status=302 url="http://blocked.invalid/?service=-&rule=-&url=-"\n',
}
BLOCK_BY_RULE = {
    "acl": b"OK tag=whatsapp log=r message=WhatsApp%20is%20blocked%20here\n",
    "rewrite": b'OK status=302 url="http://blocked.invalid/?service=whatsapp&rule=r&'
    b'url=http%3A%2F%2Fweb.whatsapp.com%2F" tag=whatsapp log=r\n',
}


DEADLINE = 20.0
"""Seconds for what takes one or two; a helper looks at its policy once a second."""


def module(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "squid_imhelper", *arguments]


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """Sends one line and waits for its answer, as Squid does."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + b"\n")
    process.stdin.flush()
    return process.stdout.readline()


def ask_until(process: subprocess.Popen[bytes], line: bytes, before: bytes, after: bytes) -> None:
    """Asks again and again: the answer is one and then the other, and nothing else."""
    deadline = time.monotonic() + DEADLINE
    while (answer := ask(process, line)) == before:
        assert time.monotonic() < deadline, "it has not been taken up"
        time.sleep(0.02)
    assert answer == after


def finish(process: subprocess.Popen[bytes]) -> str:
    """Closes the input; returns what was said, after an exit that Squid takes for a good one."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.close()
    assert process.stdout.read() == b""
    said = process.stderr.read().decode()
    assert process.wait(60) == 0
    assert "Traceback" not in said
    return said


# Options that are wrong, and what is said about them. {dir} stands for a directory with odd policies in it.
WRONG = [
    pytest.param(["acl", "--bogus"], "--bogus", id="unknown-option"),
    pytest.param(["acl", "stray"], "stray", id="stray-word"),
    pytest.param(["acl", "--policy"], "--policy", id="option-without-a-value"),
    pytest.param(["acl", "--intercepted=yes"], "--intercepted", id="value-for-a-flag"),
    pytest.param(["acl", "--extras", "%>a"], "--extras", id="option-of-the-other-helper"),
    pytest.param(["acl", "--policy", "built-in", "--format"], "--format", id="format-of-nothing"),
    pytest.param(["acl", "--policy", "built-in", "--format", "%>a", "%FOO"], "%FOO", id="unknown-token"),
    pytest.param(["acl", "--policy", "built-in", "--format", "%ssl::>sni"], "%#ssl::>sni", id="unsafe-token"),
    pytest.param(["acl", "--policy", "built-in", "--format", " "], "--format", id="blank-format"),
    pytest.param(["acl", "--policy", "{dir}/missing.toml"], "missing.toml", id="policy-missing"),
    pytest.param(["acl", "--policy", "{dir}/missing/p.toml"], "p.toml", id="policy-in-a-missing-directory"),
    pytest.param(["acl", "--policy", "{dir}"], "{dir}", id="policy-is-a-directory"),
    pytest.param(["acl", "--policy", "{dir}/syntax.toml"], "syntax.toml:2", id="policy-of-bad-syntax"),
    pytest.param(["acl", "--policy", "{dir}/words.toml"], "whatsap", id="policy-of-unknown-words"),
    pytest.param(["acl", "--policy", "{dir}/bytes.toml"], "bytes.toml", id="policy-that-is-no-text"),
    pytest.param(["acl", "--policy", "{dir}/file/x"], "file", id="policy-below-a-file"),
    pytest.param(["acl", "--metrics-period", "0"], "--metrics-period", id="metrics-period-of-nothing"),
    pytest.param(["acl", "--metrics-period", "nan"], "--metrics-period", id="metrics-period-that-is-no-number"),
    pytest.param(["acl", "--audit"], "--audit", id="audit-without-a-file"),
    pytest.param(["acl", "--policy", "{dir}/program"], "no whole program", id="program-cut-off"),
    pytest.param(["rewrite", "--bogus"], "--bogus", id="rewrite-unknown-option"),
    pytest.param(["rewrite", "--format", "%>a"], "--format", id="rewrite-option-of-the-other-helper"),
    pytest.param(["rewrite", "--policy", "built-in", "--extras", "%FOO"], "%FOO", id="rewrite-unknown-token"),
    pytest.param(["rewrite", "--policy", "built-in", "--extras", "%'{X}>h"], "--extras", id="rewrite-unsafe-token"),
    pytest.param(["rewrite", "--policy", "{dir}/missing.toml"], "missing.toml", id="rewrite-policy-missing"),
    pytest.param(["rewrite", "--policy", "{dir}/words.toml"], "whatsap", id="rewrite-policy-of-unknown-words"),
]
ON_ERROR = [
    pytest.param([], False, id="default"),
    pytest.param(["--on-error", "allow"], False, id="allow"),
    pytest.param(["--on-error", "block"], True, id="block"),
    pytest.param(["--on-error=block"], True, id="block-as-one-word"),
    pytest.param(["--on-error", "block", "--dry-run"], False, id="block-in-a-dry-run"),
]


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    (tmp_path / "syntax.toml").write_text("[response]\non_error = \n")
    (tmp_path / "words.toml").write_text(POLICY.replace('"whatsapp"', '"whatsap"'))
    (tmp_path / "bytes.toml").write_bytes(bytes(range(256)))
    (tmp_path / "file").write_text("")
    (tmp_path / "program").write_bytes(b"squid-imhelper\r\n" + bytes(10))
    return tmp_path


def check_degraded(process: subprocess.Popen[bytes], command: str, blocks: bool, *, channels: bool = True) -> str:
    """Holds a helper that has something wrong with it: it answers, stays, and ends with its input."""
    number = b"7 " if channels else b""
    expected = number + (BLOCK[command] if blocks else ALLOW)
    for line in (ASKED[command], b"", b"\xff\x00"):
        assert ask(process, number + line) == expected
    assert process.poll() is None
    return finish(process)


@pytest.mark.parametrize(("option", "blocks"), ON_ERROR)
@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_what_is_wrong_is_said_and_answered_as_on_error_says(
    arguments: list[str], said: str, option: list[str], blocks: bool, policies: Path
) -> None:
    command, *rest = [word.replace("{dir}", str(policies)) for word in arguments]
    with started(module(command, *option, *rest)) as process:
        notices = check_degraded(process, command, blocks)
    assert said.replace("{dir}", str(policies)) in notices
    assert all(line.startswith("squid-imhelper[") for line in notices.splitlines())
    assert notices.count("\n") == 1 or ".toml:" in notices, "one sentence; a policy's problems have a place each"


@pytest.mark.parametrize(
    "arguments", [["--on-error", "maybe"], ["--on-error"], ["--on-error=", "--policy", "built-in"]]
)
@pytest.mark.parametrize("command", ["acl", "rewrite"])
def test_an_on_error_that_means_nothing_is_allow(command: str, arguments: list[str]) -> None:
    with started(module(command, *arguments)) as process:
        assert "--on-error" in check_degraded(process, command, blocks=False)


@pytest.mark.parametrize("wrong", [["--bogus"], ["--policy", "{dir}/missing.toml"], ["--policy", "{dir}/words.toml"]])
@pytest.mark.parametrize("command", ["acl", "rewrite"])
def test_whether_ids_are_expected_is_heeded_whatever_else_is_wrong(
    command: str, wrong: list[str], policies: Path
) -> None:
    words = [word.replace("{dir}", str(policies)) for word in wrong]
    with started(module(command, "--no-channel-id", "--on-error", "block", *words)) as process:
        check_degraded(process, command, blocks=True, channels=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_policy_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.toml"
    path.write_text(POLICY)
    path.chmod(0)
    with started(module("acl", "--policy", str(path), "--on-error", "block")) as process:
        assert "secret.toml" in check_degraded(process, "acl", blocks=True)


@pytest.mark.parametrize(
    "before", [None, "broken [", POLICY.replace("block", "blok")], ids=["missing", "syntax", "words"]
)
@pytest.mark.parametrize("command", ["acl", "rewrite"])
def test_a_policy_that_comes_later_is_taken_up(command: str, before: str | None, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    if before is not None:
        path.write_text(before)
    with started(module(command, "--policy", str(path))) as process:
        assert ask(process, b"1 " + ASKED[command]) == b"1 " + ALLOW
        new = tmp_path / "new"
        new.write_text(POLICY)
        new.replace(path)
        ask_until(process, b"2 " + ASKED[command], b"2 " + ALLOW, b"2 " + BLOCK_BY_RULE[command])
        said = finish(process)
    assert "no policy is in force" in said
    assert "policy.toml is in force now" in said


DEFAULT_POLICY_ELSEWHERE = """
import sys
from squid_imhelper import cli, loading
from squid_imhelper.helper import starting
starting.DEFAULT_POLICY = loading.DEFAULT_POLICY = sys.argv.pop(1)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["acl", "rewrite"])
def test_without_any_policy_the_helper_waits_for_the_default_one(command: str, tmp_path: Path) -> None:
    """The built-in policy is never taken unasked: it would block messengers that nobody meant to."""
    path = tmp_path / "policy.toml"
    with started([sys.executable, "-c", DEFAULT_POLICY_ELSEWHERE, str(path), command]) as process:
        assert ask(process, b"1 " + ASKED[command]) == b"1 " + ALLOW
        (tmp_path / "new").write_text(POLICY)
        (tmp_path / "new").replace(path)
        ask_until(process, b"2 " + ASKED[command], b"2 " + ALLOW, b"2 " + BLOCK_BY_RULE[command])
        assert str(path) in finish(process)


@pytest.mark.parametrize(
    ("in_policy", "option", "blocks"),
    [
        pytest.param("block", [], True, id="policy"),
        pytest.param("block", ["--on-error", "allow"], False, id="option-allow-wins"),
        pytest.param("allow", ["--on-error", "block"], True, id="option-block-wins"),
    ],
)
@pytest.mark.parametrize("command", ["acl", "rewrite"])
def test_the_policys_on_error_counts_where_the_option_is_not_given(
    command: str, in_policy: str, option: list[str], blocks: bool, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'[response]\non_error = "{in_policy}"\n')
    with started(module(command, "--policy", str(path), *option)) as process:
        assert ask(process, b"7 does not fit") == b"7 " + (BLOCK[command] if blocks else ALLOW)
        finish(process)


def test_a_warning_about_a_policy_is_said_and_the_policy_holds(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY + 'clients = ["10.0.0.7/24"]\n')
    with started(module("acl", "--policy", str(path))) as process:
        assert ask(process, b"1 " + ASKED["acl"]) == b"1 " + BLOCK_BY_RULE["acl"]
        said = finish(process)
    assert "10.0.0.0/24" in said
    assert "no policy is in force" not in said


# ---- logs and counters ----------------------------------------------------------------------------------------------


@pytest.fixture
def odd_places(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


@pytest.mark.parametrize(
    ("option", "said"),
    [
        pytest.param(["--audit", "{dir}/missing/log"], "audit log", id="audit-in-a-missing-folder"),
        pytest.param(["--audit", "{dir}/folder"], "audit log", id="audit-is-a-folder"),
        pytest.param(["--audit", "{dir}/file/log"], "audit log", id="audit-below-a-file"),
        pytest.param(["--audit", "{dir}/fifo"], "audit log", id="audit-is-a-fifo-that-nobody-reads"),
        pytest.param(["--audit", "/dev/full"], "audit log", id="audit-on-a-full-disk"),
        pytest.param(["--audit", "syslog:{dir}/missing"], "audit log", id="audit-to-no-syslog"),
        pytest.param(["--metrics", "{dir}/missing/metrics"], "metrics", id="metrics-in-a-missing-folder"),
        pytest.param(["--metrics", "{dir}/folder"], "metrics", id="metrics-is-a-folder"),
        pytest.param(["--metrics", "{dir}/file/metrics"], "metrics", id="metrics-below-a-file"),
    ],
)
@pytest.mark.parametrize("command", ["acl", "rewrite"])
def test_a_log_that_cannot_be_written_costs_no_answer(
    command: str, option: list[str], said: str, odd_places: Path
) -> None:
    policy = odd_places / "policy.toml"
    policy.write_text(POLICY)
    words = [word.replace("{dir}", str(odd_places)) for word in option]
    with started(module(command, "--policy", str(policy), *words)) as process:
        for number in (b"1 ", b"2 "):
            assert ask(process, number + ASKED[command]) == number + BLOCK_BY_RULE[command]
        notices = finish(process)
    assert [said in line for line in notices.splitlines()].count(True) == 1


@pytest.mark.timeout(60)
def test_metrics_into_a_fifo_that_nobody_writes_to_stop_nothing(odd_places: Path) -> None:
    """To read one, as the counters of the other children are read, would be to wait for ever."""
    with started(module("acl", "--policy", "built-in", "--metrics", str(odd_places / "fifo"))) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + 2.5  # it is written a second behind the start
        asked = ASKED["acl"]
        while time.monotonic() < deadline:
            process.stdin.write(b"1 " + asked + b"\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            assert select.select([process.stdout], [], [], 10)[0], "no answer: the helper hangs"
            assert process.stdout.readline().startswith(b"1 OK ")
            time.sleep(0.05)


# ---- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD])
@pytest.mark.parametrize("policy", ["built-in", ""], ids=["with-a-policy", "without"])
def test_no_signal_ends_a_helper_or_costs_an_answer(number: signal.Signals, policy: str) -> None:
    with started(module("acl", "--policy", policy)) as process:
        first = ask(process, b"1 " + ASKED["acl"])
        for _ in range(20):
            process.send_signal(number)
            assert ask(process, b"1 " + ASKED["acl"]) == first
        finish(process)


BUSY = """
import sys
from squid_imhelper import cli
from squid_imhelper.helper import chores
chores.PERIOD = 0.0005
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("run", range(3))
def test_its_own_timer_does_not_end_a_helper_that_ends(run: int) -> None:
    """While the interpreter is taken down, it has no handlers any more."""
    with started([sys.executable, "-c", BUSY, "acl", "--policy", "built-in"]) as process:
        assert ask(process, b"1 " + ASKED["acl"]).startswith(b"1 OK ")
        finish(process)
