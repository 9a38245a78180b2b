"""The offline commands, run as a user runs them."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
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


# ---- check: why ------------------------------------------------------------------------------------------------------


def test_an_explanation_begins_with_the_line_of_check_and_ends_with_an_empty_one(run_cli: Run) -> None:
    plain = run_cli("check", *BUILT_IN, WHATSAPP, OPEN).stdout.decode().splitlines()
    done = run_cli("check", *BUILT_IN, "--explain", WHATSAPP, " ", OPEN)
    assert (done.returncode, done.stderr) == (0, b"")
    blocks = done.stdout.decode().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [*plain, ""]
    assert "in a policy of your own" in blocks[0]


def test_an_explanation_is_one_more_key_in_json(run_cli: Run) -> None:
    plain = run_cli("check", *BUILT_IN, "--json", WHATSAPP, "/").stdout.splitlines()
    done = run_cli("check", *BUILT_IN, "--json", "--explain", "-", stdin=f"{WHATSAPP}\n/\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(item.pop("explanation").keys() == EXPLANATION for item in found)
    assert found == [json.loads(line) for line in plain]


EXPLANATION = {"request", "seen", "near", "rules", "winner", "tunnel", "remedies"}


@pytest.mark.parametrize("compiled", [False, True], ids=["policy", "program"])
def test_an_explanation_says_where_a_rule_stands(
    run_cli: Run, policy_file: Callable[[str], Path], tmp_path: Path, compiled: bool
) -> None:
    path = policy_file('\n\n[[rule]]\nname = "r"\naction = "block"\n')
    place = f"{path}:3"
    if compiled:
        program = tmp_path / "policy.program"
        assert run_cli("compile", "--policy", path, "-o", program).returncode == 0
        path, place = program, f"{program}, line 3 of its policy"
    done = run_cli("check", "--policy", path, "--explain", "--json", OPEN)
    assert json.loads(done.stdout)["explanation"]["winner"]["place"] == place


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(["--exit-code", OPEN, WHATSAPP], 1, id="blocked"),
        pytest.param(["--exit-code", OPEN, "/"], 0, id="allowed"),
        pytest.param([WHATSAPP], 0, id="not-asked-for"),
        pytest.param(["/"], 2, id="nothing-that-could-be-checked"),
    ],
)
def test_an_explanation_has_the_exit_status_of_check(arguments: list[str], status: int) -> None:
    assert main(["check", *BUILT_IN, "--explain", *arguments]) == status


def test_an_explanation_takes_all_that_is_known(run_cli: Run, policy_file: Callable[[str], Path]) -> None:
    known = {
        "--client": "10.0.0.1", "--user": "ann", "--method": "POST", "--user-agent": "MSMSGS", "--content-type": "a/b",
        "--sni": "b.example", "--at": "2026-11-23T09:30+00:00",
    }  # fmt: skip
    path = policy_file('[[rule]]\naction = "block"\nuntil = 2026-11-24T00:00:00Z\nusers = ["eve"]\n')
    options = [word for pair in known.items() for word in pair]
    done = run_cli("check", "--policy", path, "--explain", "--json", *options, OPEN)
    request = json.loads(done.stdout)["explanation"]["request"]
    told = [request[key] for key in ("client", "user", "method", "user_agent", "content_type", "sni")]
    assert told == list(known.values())[:-1]
    assert datetime.fromisoformat(request["at"]) == datetime.fromisoformat(known["--at"])
    assert request["unknown"] == {}


# ---- check: when and who --------------------------------------------------------------------------------------------

OFFICE = """
[schedules]
office = { days = "mon-fri", hours = ["08:00-12:00"], timezone = "Europe/Brussels" }
[[rule]]
name = "office"
action = "block"
schedule = "office"
"""
NEW_YEAR = """
[[rule]]
name = "new year"
action = "block"
from = 2027-01-01
"""
TWO_ZONES = (
    OFFICE
    + """
[schedules.new_york]
hours = ["08:00-09:00"]
timezone = "America/New_York"
[[rule]]
name = "new york"
action = "monitor"
schedule = "new_york"
"""
)
TIMES = [
    pytest.param(OFFICE, "2026-11-23T08:00", "office", id="the-clock-of-the-schedule"),
    pytest.param(OFFICE, "2026-11-23T07:59:59", None, id="a-second-before"),
    pytest.param(OFFICE, "2026-11-23T12:00", None, id="the-end"),
    pytest.param(OFFICE, "2026-11-22T09:00", None, id="a-sunday"),
    pytest.param(OFFICE, "2026-11-23T08:00+00:00", "office", id="an-offset"),
    pytest.param(OFFICE, "2026-11-23T08:00+02:00", None, id="another-offset"),
    pytest.param(OFFICE, "2026-11-23T07:00Z", "office", id="zulu"),
    pytest.param(OFFICE, "2026-11-23 08:00", "office", id="a-blank"),
    pytest.param(OFFICE, "2026-11-23", None, id="midnight"),
    pytest.param(OFFICE, "2026-06-22T08:00", "office", id="summer"),
    pytest.param(OFFICE, "2026-06-22T06:00Z", "office", id="summer-zulu"),
    pytest.param(NEW_YEAR, "2027-01-01T00:00", "new year", id="without-schedules-the-clock-of-the-machine"),
    pytest.param(NEW_YEAR, "2026-12-31T15:00Z", "new year", id="which-is-9-hours-ahead"),
    pytest.param(NEW_YEAR, "2026-12-31T14:59:59Z", None, id="and-no-more"),
    pytest.param(TWO_ZONES, "2026-11-23T16:00", "office", id="of-two-zones-neither"),
    pytest.param(TWO_ZONES, "2026-11-23T22:00", "new york", id="of-two-zones-neither-again"),
]


@pytest.mark.parametrize(("policy", "time", "rule"), TIMES)
@pytest.mark.parametrize("compiled", [False, True], ids=["policy", "program"])
def test_check_at_a_time(
    policy_file: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
    time: str,
    rule: str | None,
    compiled: bool,
) -> None:
    """Without an offset by the clock of the schedules; in Tokyo, which has no summer time, by that of the machine."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    path = policy_file(policy)
    if compiled:
        assert main(["compile", "--policy", str(path), "-o", f"{path}.program"]) == 0
        path = path.with_name(f"{path.name}.program")
    assert main(["check", "--policy", str(path), "--json", "--at", time, OPEN]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] == rule


def test_check_without_a_time_is_now(policy_file: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    policy = (
        '[[rule]]\nname = "past"\naction = "block"\nuntil = 2020-01-01\n'
        '[[rule]]\nname = "present"\naction = "block"\nfrom = 2020-01-02\nuntil = 2900-01-01\n'
    )
    assert main(["check", "--policy", str(policy_file(policy)), "--json", OPEN]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] == "present"


@pytest.mark.parametrize(
    ("user", "rule"),
    [
        pytest.param([], None, id="unknown"),
        pytest.param(["--user", "ann"], "sales", id="named"),
        pytest.param(["--user", "Bøb"], "sales", id="from-the-file"),
        pytest.param(["--user", "eve"], None, id="somebody-else"),
        pytest.param(["--user", ""], None, id="empty"),
    ],
)
def test_check_of_a_user(run_cli: Run, policy_file: Callable[[str], Path], user: list[str], rule: str | None) -> None:
    policy = '[[rule]]\nname = "sales"\naction = "block"\nusers = { names = ["ann"], file = "sales.txt" }\n'
    path = policy_file(policy)
    path.with_name("sales.txt").write_text("# the team\nBøb\n\n", encoding="utf-8")
    (found,) = objects(run_cli("check", "--policy", path, "--json", *user, OPEN))
    assert found["rule"] == rule


# ---- compile --------------------------------------------------------------------------------------------------------

FULL = r"""
[clients]
lan = ["10.0.0.0/8", "2001:db8::/32"]

[schedules]
office = { days = "mon-fri", hours = ["08:00-12:00", "22:00-02:00"], timezone = "Europe/Brussels" }

[sites]
own = { domains = ["Bücher.example"], urls = ["example.org/webchat", "example.org:8080/x"], ports = [1863] }
addresses = { networks = ["198.51.100.0/24"] }
chats = { regex = ['^https?://chat[0-9]+\.example\.net/'] }
file = { file = "list.txt", format = "hosts" }
safe = { domains = ["safe.example"] }

[[rule]]
name = "the boss"
clients = ["10.0.0.1"]
action = "allow"

[[rule]]
name = "own"
sites = ["own", "addresses", "chats", "file"]
action = "block"
redirect = "https://own.example:8443/?{url}"

[[rule]]
name = "office"
clients = ["lan"]
services = ["all", "-slack"]
include = ["stale", "shared"]
schedule = "office"
action = "block"
message = "{service_name} since {time}"

[[rule]]
name = "christmas"
from = 2026-12-24
until = 2026-12-26
services = ["@im"]
action = "monitor"

[[rule]]
name = "sales"
users = ["ann"]
user_agents = ["MSIE"]
except_sites = ["safe"]
action = "block"

[response]
redirect = "http://page.example/"
on_error = "block"
dry_run = true

[audit]
log_urls = "host"

[[expect]]
url = "http://example.org/webchat/1"
action = "block"
"""
URLS = """\
https://web.whatsapp.com/
https://app.slack.com/
http://www.bücher.example/
http://example.org/webchat/1
http://example.org/webchatter
http://example.org:8080/x
http://example.org/x
http://198.51.100.7/
http://192.0.2.1:1863/
http://chat7.example.net/
http://listed.example/
http://a.listed.example/
http://safe.example/
https://www.qq.com/
http://64.12.25.1/
https://own.example:8443/
http://page.example/
http://other.example/
/
"""
CIRCUMSTANCES = [
    [],
    ["--client", "10.0.0.1"],
    ["--client", "10.0.0.2", "--at", "2026-11-23T09:00"],
    ["--client", "10.0.0.2", "--at", "2026-11-24T01:59"],
    ["--client", "10.0.0.2", "--at", "2026-11-23T12:00"],
    ["--client", "2001:db8::7", "--at", "2026-11-23T09:00+01:00"],
    ["--at", "2026-12-25"],
    ["--user", "ann", "--user-agent", "x MSIE 6.0", "--at", "2026-11-22"],
    ["--method", "CONNECT", "--sni", "web.whatsapp.com", "--client", "10.0.0.2", "--at", "2026-11-23T09:00"],
]


@pytest.fixture
def full(policy_file: Callable[[str], Path], tmp_path: Path) -> Path:
    """A policy with something of everything, and its list."""
    (tmp_path / "list.txt").write_text("0.0.0.0 listed.example\n")
    return policy_file(FULL)


def test_a_program_decides_as_its_policy(
    full: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when what it was compiled from has gone."""

    def decided(path: Path) -> list[str]:
        urls = URLS.splitlines()
        for more in CIRCUMSTANCES:
            assert main(["check", "--policy", str(path), "--json", *more, *urls]) == 0
        return capsys.readouterr().out.splitlines()

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    expected = decided(full)
    program = full.with_name("program")
    assert main(["compile", "--policy", str(full), "-o", str(program)]) == 0
    full.unlink()
    full.with_name("list.txt").unlink()
    assert decided(program) == expected
    rules = {json.loads(line)["rule"] for line in expected}
    assert rules == {None, "the boss", "own", "office", "christmas", "sales"}, "each rule is in it"


def test_compile_is_silent_and_leaves_one_file_that_squid_can_read(run_cli: Run, full: Path) -> None:
    before = set(full.parent.iterdir())
    done = run_cli("compile", "--policy", full, "-o", "program")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert set(full.parent.iterdir()) - before == {full.with_name("program")}
    assert stat.S_IMODE(full.with_name("program").stat().st_mode) == 0o644


def test_the_same_policy_is_compiled_to_the_same_bytes(run_cli: Run, full: Path) -> None:
    for seed in ("1", "2"):
        assert run_cli("compile", "--policy", full, "-o", seed, env={"PYTHONHASHSEED": seed}).returncode == 0
    assert full.with_name("1").read_bytes() == full.with_name("2").read_bytes()


def test_the_built_in_policy_can_be_compiled(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    program = str(tmp_path / "program")
    assert main(["compile", *BUILT_IN, "-o", program]) == 0
    for policy in (program, "built-in"):
        assert main(["check", "--policy", policy, "--json", WHATSAPP, OPEN, "https://www.omegle.com/"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == lines[3:]


def test_a_program_is_replaced_by_a_newer_one(
    policy_file: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    program = str(tmp_path / "program")
    for action in ("monitor", "block"):
        path = policy_file(f'[[rule]]\naction = "{action}"\n')
        assert main(["compile", "--policy", str(path), "-o", program]) == 0
        assert main(["check", "--policy", program, "--json", OPEN]) == 0
        assert json.loads(capsys.readouterr().out)["action"] == action


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        pytest.param('[[rule]]\naction = "blok"\n', "'action' is one of block, allow, monitor", id="an-error"),
        pytest.param(
            '[[rule]]\naction = "block"\n[[expect]]\nurl = "a.example"\naction = "allow"\n',
            "expected allow, and it is block",
            id="an-expectation",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_leaves_the_old_program(
    policy_file: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    policy: str,
    words: str,
) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"the old one")
    assert main(["compile", "--policy", str(policy_file(policy)), "-o", str(program)]) == 2
    assert words in capsys.readouterr().err
    assert program.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.toml", "program"]


def refused(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one sentence of a command that did nothing."""
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1, done.stderr
    return done.stderr.decode().removeprefix("squid-imhelper: ").rstrip("\n")


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("policy.toml", id="by-name"),
        pytest.param("./folder/../policy.toml", id="by-another-name"),
        pytest.param("symlink", id="symlink"),
        pytest.param("hardlink", id="hard-link"),
    ],
)
def test_compile_does_not_write_over_its_policy(
    run_cli: Run, policy_file: Callable[[str], Path], tmp_path: Path, output: str
) -> None:
    path = policy_file('[[rule]]\naction = "block"\n')
    before = path.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "symlink").symlink_to(path)
    (tmp_path / "hardlink").hardlink_to(path)
    assert "is the policy itself" in refused(run_cli("compile", "--policy", path, "-o", output))
    assert path.read_bytes() == before


def test_compile_does_not_write_over_a_list_of_its_policy(run_cli: Run, full: Path) -> None:
    """It would be read as an empty list the next time, or as no list at all."""
    refused(run_cli("compile", "--policy", full, "-o", "list.txt"))
    assert full.with_name("list.txt").read_text() == "0.0.0.0 listed.example\n"


@pytest.mark.parametrize("output", ["again", "program"])
def test_a_program_is_not_compiled_again(run_cli: Run, tmp_path: Path, output: str) -> None:
    assert run_cli("compile", *BUILT_IN, "-o", "program").returncode == 0
    before = (tmp_path / "program").read_bytes()
    assert "program is a program already" in refused(run_cli("compile", "--policy", "program", "-o", output))
    assert [path.name for path in tmp_path.iterdir()] == ["program"]
    assert (tmp_path / "program").read_bytes() == before


@pytest.mark.parametrize(
    ("output", "words"),
    [
        pytest.param("gone/program", "cannot write gone/program: No such file or directory", id="missing-folder"),
        pytest.param("/proc/program", "cannot write /proc/program: ", id="folder-that-takes-no-file"),
        pytest.param("policy.toml/program", "cannot write policy.toml/program: Not a directory", id="below-a-file"),
        pytest.param(".", "cannot write .: it is no regular file", id="folder"),
        pytest.param("", "cannot write .: it is no regular file", id="empty"),
        pytest.param("/dev/null", "cannot write /dev/null: it is no regular file", id="dev-null"),
        pytest.param("/dev/full", "cannot write /dev/full: it is no regular file", id="dev-full"),
        pytest.param("pipe", "cannot write pipe: it is no regular file", id="pipe"),
    ],
)
def test_compile_says_where_it_cannot_write(
    run_cli: Run, policy_file: Callable[[str], Path], tmp_path: Path, output: str, words: str
) -> None:
    path = policy_file('[[rule]]\naction = "block"\n')
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    assert refused(run_cli("compile", "--policy", path, "-o", output)).startswith(words)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_compile_into_a_folder_of_somebody_else(
    run_cli: Run, policy_file: Callable[[str], Path], tmp_path: Path
) -> None:
    path = policy_file('[[rule]]\naction = "block"\n')
    (tmp_path / "folder").mkdir(0o500)
    said = refused(run_cli("compile", "--policy", path, "-o", "folder/program"))
    assert said == "cannot write folder/program: Permission denied"


@pytest.mark.parametrize("there", [False, True])
def test_compile_says_which_policy_is_missing(run_cli: Run, tmp_path: Path, there: bool) -> None:
    """Also where there is an old program."""
    if there:
        (tmp_path / "program").write_bytes(b"the old one")
    said = refused(run_cli("compile", "--policy", "gone.toml", "-o", "program"))
    assert said == "cannot read gone.toml: No such file or directory"


def test_compile_tells_what_is_odd_in_the_policy(run_cli: Run, policy_file: Callable[[str], Path]) -> None:
    done = run_cli("compile", "--policy", policy_file('[clients]\nlan = ["10.0.0.1/8"]\n'), "-o", "program")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b":2: warning: '10.0.0.1/8' has host bits set" in done.stderr


# ---- lint -----------------------------------------------------------------------------------------------------------

LINTED = [
    pytest.param('[[rule]]\nservices = ["telegram"]\naction = "block"\n', 0, "no errors, no warnings", id="clean"),
    pytest.param('[clients]\nlan = ["10.0.0.1/8"]\n[[rule]]\naction = "allow"\n', 0, ":2: warning: ", id="warnings"),
    pytest.param("", 1, "error: the file is empty", id="empty"),
    pytest.param("[clients]\n", 0, "warning: there is no rule", id="no-rule"),
    pytest.param('[[rule]]\naction = "blok"\n', 1, ":2: error: ", id="an-error"),
    pytest.param('[[rule]]\naction = "blok"\nx = 1\n', 1, ":3: error: ", id="two-errors"),
    pytest.param("[[rule]\n", 1, ":1: error: ", id="no-toml"),
    pytest.param(
        '[[rule]]\naction = "block"\n[[expect]]\nurl = "a.example"\naction = "allow"\n',
        1,
        "expected allow, and it is block",
        id="an-expectation",
    ),
]


@pytest.mark.parametrize(("policy", "status", "words"), LINTED)
def test_lint_prints_what_it_finds_and_errors_are_exit_status_1(
    run_cli: Run, policy_file: Callable[[str], Path], policy: str, status: int, words: str
) -> None:
    path = policy_file(policy)
    done = run_cli("lint", "--policy", path)
    assert (done.returncode, done.stderr) == (status, b"")
    assert words in done.stdout.decode()
    assert done.stdout.decode().splitlines()[-1].startswith(f"{path}: ")


def test_lint_of_the_built_in_policy(run_cli: Run) -> None:
    done = run_cli("lint", *BUILT_IN)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"built-in: no errors, no warnings\n", b"")


@pytest.fixture
def damaged(run_cli: Run, full: Path) -> str:
    """A program with another byte in a site list, which its header does not tell."""
    assert run_cli("compile", "--policy", full, "-o", "program").returncode == 0
    program = full.with_name("program")
    program.write_bytes(program.read_bytes()[:-1] + b"?")
    return program.name


def test_lint_of_a_program(run_cli: Run, full: Path) -> None:
    assert run_cli("compile", "--policy", full, "-o", "program").returncode == 0
    done = run_cli("lint", "--policy", "program")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"program: every digest fits\n", b"")


def test_lint_verifies_the_lists_of_a_program(run_cli: Run, damaged: str) -> None:
    """Which a helper does not do at its start."""
    assert "program is damaged: the digest of site list" in refused(run_cli("lint", "--policy", damaged))


def test_a_damaged_list_in_a_program_gets_no_traceback(run_cli: Run, damaged: str) -> None:
    assert "damaged" in refused(run_cli("check", "--policy", damaged, OPEN))


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
    "hidden": str,
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


ROUTER = """
[clients]
boss = ["192.168.1.16"]

[[rule]]
name = "the boss"
clients = ["boss"]
action = "allow"

[[rule]]
name = "messengers"
services = ["telegram", "msn_messenger"]
action = "block"

[firewall]
wan = "eth0"
lan = "eth1"
"""
RULES = [
    pytest.param("iptables", [], "-A IMH-messengers -d 149.154.160.0/20 -j IMH-telegram", id="iptables"),
    pytest.param("iptables", [], ":FORWARD ACCEPT [0:0]", id="iptables-whole"),
    pytest.param("iptables", ["--chains"], "-A FORWARD -j IMH-FORWARD", id="iptables-chains"),
    pytest.param("ip6tables", [], "-A IMH-messengers -d 2001:67c:4e8::/48 -j IMH-telegram", id="ip6tables"),
    pytest.param("nftables", [], "delete table inet squid_imhelper", id="nftables"),
    pytest.param("nftables", ["--chains"], "delete table inet squid_imhelper", id="nftables-chains"),
    pytest.param("iptables", ["--conntrack"], "conntrack -D -f ipv4 -d 149.154.160.0/20", id="conntrack"),
    pytest.param("ip6tables", ["--conntrack"], "conntrack -D -f ipv6 -d 2001:67c:4e8::/48", id="conntrack-6"),
    pytest.param("nftables", ["--conntrack"], "conntrack -D -f ipv6 -d 2001:67c:4e8::/48", id="conntrack-both"),
]


@pytest.mark.parametrize(("backend", "more", "line"), RULES)
def test_firewall_prints_rules_and_nothing_else(
    run_cli: Run, policy_file: Callable[[str], Path], backend: str, more: list[str], line: str
) -> None:
    done = run_cli("firewall", "--policy", policy_file(ROUTER), "--backend", backend, *more)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode("ascii").split("\n")
    assert line in lines
    assert (":FORWARD ACCEPT [0:0]" in lines) is (backend != "nftables" and more == [])
    if "--conntrack" in more:
        assert {line[:15] for line in lines if line and not line.startswith("#")} == {"conntrack -D -f"}


@pytest.mark.parametrize("backend", ["iptables", "ip6tables", "nftables"])
def test_firewall_of_the_built_in_policy(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    assert main(["firewall", *BUILT_IN, "--backend", backend]) == 0
    assert 'rule "built-in": block' in capsys.readouterr().out


def test_firewall_tells_what_is_odd_beside_the_rules(run_cli: Run, policy_file: Callable[[str], Path]) -> None:
    path = policy_file(ROUTER.replace("192.168.1.16", "192.168.1.16/24"))
    done = run_cli("firewall", "--policy", path, "--backend", "iptables")
    assert done.returncode == 0
    assert b":3: warning: '192.168.1.16/24' has host bits set" in done.stderr
    assert done.stdout.startswith(b"# Rules of squid-imhelper")
    assert b"warning" not in done.stdout


REFUSED = """[[rule]]
name = "ann"
users = ["ann"]
action = "allow"

[[rule]]
name = "messengers"
services = ["all"]
action = "block"

[[rule]]
name = "all"
action = "block"

[firewall]
default = "drop"
log_prefix = { telegram = "A PREFIX OF THIRTY BYTES OR MO" }
"""


def test_firewall_refuses_with_all_reasons_at_their_lines(run_cli: Run, policy_file: Callable[[str], Path]) -> None:
    path = policy_file(REFUSED)
    done = run_cli("firewall", "--policy", path, "--backend", "iptables")
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b"")
    assert [int(line) for line in re.findall(rf"{path}:(\d+): error: ", text)] == [1, 11, 15, 17]
    assert "rule 'ann' lets through what a firewall cannot tell (users), and a firewall would block it by" in text
    assert "'firewall = false' in that rule says that it is for Squid only" in text
    assert "rule 'all' would cut off everything" in text
    assert "and 'lan' is not said" in text
    assert "iptables would cut the log prefix after 29 bytes; this one has 30" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(("backend", "status"), [("iptables", 2), ("ip6tables", 2), ("nftables", 0)])
def test_only_iptables_refuses_a_log_prefix_of_more_than_29_bytes(
    capsys: pytest.CaptureFixture[str], policy_file: Callable[[str], Path], backend: str, status: int
) -> None:
    path = policy_file(f'{ROUTER}log_prefix = {{ telegram = "{"x" * 30}" }}\n')
    assert main(["firewall", "--policy", str(path), "--backend", backend]) == status
    assert (f'"{"x" * 30}"' in capsys.readouterr().out) is (status == 0)


def test_firewall_of_a_policy_that_fails_its_own_tests(
    capsys: pytest.CaptureFixture[str], policy_file: Callable[[str], Path]
) -> None:
    path = policy_file(f'{ROUTER}[[expect]]\nurl = "https://web.telegram.org/"\naction = "allow"\n')
    assert main(["firewall", "--policy", str(path), "--backend", "iptables"]) == 2
    assert capsys.readouterr().out == ""


def test_firewall_of_a_program_says_what_to_name(
    capsys: pytest.CaptureFixture[str], policy_file: Callable[[str], Path], tmp_path: Path
) -> None:
    program = tmp_path / "policy.program"
    assert main(["compile", "--policy", str(policy_file(ROUTER)), "-o", str(program)]) == 0
    assert main(["firewall", "--policy", str(program), "--backend", "iptables"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "is a program, which has no [firewall]: name the policy that it was compiled from" in shown.err


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
    path = policy_file("[response]")
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


def test_squid_conf_of_a_program(
    capsys: pytest.CaptureFixture[str], installed: Path, policy_file: Callable[[str], Path]
) -> None:
    """Squid is to start the helper with the program, and with the fields that its rules need."""
    path = policy_file('[[rule]]\naction = "block"\nusers = ["ann"]\n')
    assert main(["compile", "--policy", str(path), "-o", "program"]) == 0
    assert main(["squid-conf", "--policy", "program"]) == 0
    out = capsys.readouterr().out
    assert f" {installed} acl --policy {path.with_name('program')} " in out
    assert "%#un" in out


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
