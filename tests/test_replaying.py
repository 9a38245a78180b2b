"""`replay` as a user starts it: what goes to stdout and stderr, and how it ends, whatever it is given."""

import gzip
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from squid_imhelper.base.model import BUILT_IN

DATA = Path(__file__).parent / "data" / "logs"
NOON = 1795435200
PATIENCE = 60

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., subprocess.Popen[bytes]]


def line(number: int, url: str = "http://web.whatsapp.com/") -> bytes:
    return f"{NOON + number}.000 1 192.0.2.{number % 250} TCP_MISS/200 5 GET {url} - HIER_DIRECT/- -\n".encode()


def many_lines(number: int, first: int = 0) -> bytes:
    urls = ["http://web.whatsapp.com/", "http://example.org/", "https://www.example.net/"]
    urls += [f"http://example.com/{n}" for n in range(50)]
    found = [b"rubbish\n" if n % 101 == 0 else line(n, urls[n % 53]) for n in range(first, first + number)]
    return b"".join(found)


@pytest.fixture
def replay(run_cli: Run) -> Run:
    """Replays under the built-in policy, which does not depend on the machine."""

    def run(*arguments: str | bytes | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
        return run_cli("replay", "--policy", BUILT_IN, *arguments, **options)

    return run


def numbers(result: subprocess.CompletedProcess[bytes], status: int = 0) -> dict[str, Any]:
    assert (result.returncode, result.stderr.count(b"Traceback")) == (status, 0), result.stderr.decode()
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["lines"] == found["requests"] + found["skipped"]
    assert found["skipped"] == sum(found["skipped_by_reason"].values())
    assert found["blocked"] == sum(found["by_rule"].values()) == sum(found["by_service"].values())
    return found


# ---- recorded logs --------------------------------------------------------------------------------------------------


def test_what_was_recorded_is_recognised(replay: Run) -> None:
    """The numbers are those with which benchmarks/office.py recorded the logs; this format tells user agents."""
    expected = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
    found = numbers(replay("--json", DATA / "json.log"))
    assert found["by_service"] == expected["by_service"]
    assert found["by_client"] == expected["by_client"]
    assert (found["denied"], found["lines"]) == (expected["denied"], expected["lines"])
    assert found["denied_and_blocked"] == sum(expected["denied_by_service"].values())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("squid.log", "Squid's native format, 400 lines"),
        ("combined.log", "combined log format, 400 lines"),
        ("common.log", "common log format, 400 lines"),
        ("imhelper.log", "the logformat of squid-conf, 400 lines"),
        ("json.log", "JSON lines, 400 lines"),
        ("office.tsv", "tab-separated columns, "),
    ],
)
def test_the_format_is_recognised_and_named(replay: Run, name: str, words: str) -> None:
    result = replay(DATA / name)
    assert (result.returncode, result.stderr) == (0, b"")
    assert f"{name}: {words}" in result.stdout.decode()
    found = numbers(replay("--json", DATA / name))
    assert found["denied"] == 10
    assert found["first"].startswith("2026-03-16T00:06:43")


def test_a_format_may_be_given(replay: Run, write: Callable[[str, bytes], Path]) -> None:
    path = write("own.log", b"GET|http://web.whatsapp.com/|192.0.2.9\n")
    found = numbers(replay("--json", "--log-format", "%rm|%>ru|%>a", path))
    assert (found["blocked"], found["by_client"]) == (1, {"192.0.2.9": 1})


def test_a_report_in_a_file_is_plain(replay: Run) -> None:
    text = replay(DATA / "squid.log").stdout.decode()
    assert "\x1b" not in text
    assert [own for own in text.splitlines() if own != own.rstrip() or len(own) > 120] == []
    assert text.endswith("\n")


def test_a_rewriter_sees_no_user_agents(replay: Run) -> None:
    both = [numbers(replay("--json", "--with", own, DATA / "json.log")) for own in ("acl", "rewrite")]
    assert both[0]["blocked"] > both[1]["blocked"] > 0
    assert both[1]["unknown"]["acl_only"] == both[1]["requests"] - both[1]["without_request"]


def test_two_policies_are_compared(replay: Run, policy_file: Callable[[str], Path]) -> None:
    other = policy_file('[[rule]]\nname = "watch"\naction = "monitor"\nservices = ["whatsapp"]\n')
    found = numbers(replay("--json", "--against", other, DATA / "json.log"))
    assert (found["newly_blocked"], found["newly_allowed"]) == (found["blocked"], 0)
    assert found["newly_blocked_by_service"] == found["by_service"]
    same = numbers(replay("--json", "--against", BUILT_IN, DATA / "json.log"))
    assert (same["newly_blocked"], same["newly_allowed"]) == (0, 0)
    assert "newly_blocked" not in numbers(replay("--json", DATA / "json.log"))
    text = replay("--against", other, DATA / "json.log").stdout.decode()
    assert f"Newly blocked: {found['blocked']}\n" in text
    assert "Newly allowed: 0\n  nothing\n" in text


def test_stdin_is_a_log_too(replay: Run, write: Callable[[str, bytes], Path]) -> None:
    content = many_lines(300)
    expected = numbers(replay("--json", write("a.log", content)))
    for stdin in (content, gzip.compress(content)):
        found = numbers(replay("--json", "-", stdin=stdin))
        assert found.pop("files")[0]["path"] == "-"
        assert found == {key: value for key, value in expected.items() if key != "files"}


def test_rotated_logs_are_told_in_the_order_of_time(replay: Run, write: Callable[[str, bytes], Path]) -> None:
    write("access.log", line(200))
    write("access.log.1", line(100))
    write("access.log.2.gz", gzip.compress(line(0)))
    found = numbers(replay("--json", "access.log", "access.log.1", "access.log.2.gz"))
    assert [own["path"] for own in found["files"]] == ["access.log.2.gz", "access.log.1", "access.log"]
    assert (found["first"], found["last"]) == ("2026-11-23T12:00:00Z", "2026-11-23T12:03:20Z")


# ---- what cannot be read --------------------------------------------------------------------------------------------

BAD = [
    pytest.param(["nope.log"], "cannot read nope.log: No such file or directory", id="missing"),
    pytest.param(["."], "cannot read .: it is no regular file", id="folder"),
    pytest.param(["rubbish.log"], "rubbish.log: it looks like no access log; --log-format says what", id="binary"),
    pytest.param(["cut.gz"], "cannot read cut.gz: the file is cut off", id="cut-off"),
    pytest.param(["--log-format", "squid", "rubbish.log"], "is a request that could be read", id="none-is-read"),
    pytest.param(["a.log", "nope.log"], "cannot read nope.log: No such file or directory", id="one-of-two"),
    pytest.param(["a.log", "a.log"], "a.log is named twice", id="twice"),
    pytest.param(["-", "-"], "- is named twice", id="stdin-twice"),
    pytest.param(["--log-format", "quid", "a.log"], "unknown log format 'quid': did you mean 'squid'?", id="format"),
    pytest.param(["--log-format", "%zz", "a.log"], "Squid knows no format code %zz", id="definition"),
    pytest.param(["--html", "no/such/folder.html", "a.log"], "cannot write no/such/folder.html", id="html"),
    pytest.param(["--html", ".", "a.log"], "cannot write .", id="html-folder"),
    pytest.param(["--html", "", "a.log"], "argument --html: it is empty", id="html-empty"),
    pytest.param(["--jobs", "0", "a.log"], "argument --jobs: 1 to 256 processes", id="no-jobs"),
    pytest.param(["--jobs", "257", "a.log"], "argument --jobs: 1 to 256 processes", id="too-many-jobs"),
    pytest.param(["--jobs", "two", "a.log"], "argument --jobs: 1 to 256 processes", id="jobs-in-words"),
    pytest.param(["--with", "icap", "a.log"], "argument --with: invalid choice: 'icap'", id="interface"),
    pytest.param(["--policy", "no.toml", "a.log"], "cannot read no.toml: No such file or directory", id="policy"),
    pytest.param(["--policy", "wrong.toml", "a.log"], "wrong.toml:1: error: ", id="wrong-policy"),
    pytest.param(["--against", "no.toml", "a.log"], "cannot read no.toml: No such file or directory", id="against"),
    pytest.param(["--follow", "-"], "cannot follow -: it is no regular file", id="follow-stdin"),
    pytest.param(["--follow", "a.gz"], "cannot follow a.gz: it is compressed", id="follow-packed"),
    pytest.param(["--follow", "nope.log"], "cannot read nope.log: No such file or directory", id="follow-missing"),
    pytest.param([], "the following arguments are required: LOG", id="no-log"),
]


@pytest.mark.parametrize("json_", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize(("arguments", "sentence"), BAD)
def test_what_cannot_be_done_is_told_in_a_sentence(
    replay: Run, write: Callable[[str, bytes], Path], arguments: list[str], sentence: str, json_: list[str]
) -> None:
    write("a.log", line(0))
    write("a.gz", gzip.compress(line(0)))
    write("rubbish.log", bytes(range(256)) * 99)
    write("wrong.toml", b"rules = 1\n")
    packed = gzip.compress(os.urandom(999).hex().encode() + many_lines(5000))
    write("cut.gz", packed[: len(packed) // 2])
    result = replay(*json_, *arguments)
    error = result.stderr.decode()
    assert result.returncode == 2
    assert sentence in error
    assert "Traceback" not in error + result.stdout.decode()
    assert error.count("squid-imhelper: ") == 1


@pytest.mark.parametrize("content", [b"", b"\n \n\n"], ids=["empty", "blank"])
def test_an_empty_log_has_an_empty_report(replay: Run, write: Callable[[str, bytes], Path], content: bytes) -> None:
    path = write("empty.log", content)
    found = numbers(replay("--json", path))
    assert (found["requests"], found["first"], found["last"], found["by_client"]) == (0, None, None, {})
    result = replay(path)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"There is no request to decide." in result.stdout


def test_what_was_read_before_a_log_was_cut_off_counts(replay: Run, write: Callable[[str, bytes], Path]) -> None:
    packed = gzip.compress(many_lines(60_000), 1)
    write("cut.gz", packed[: len(packed) // 2])
    result = replay("--json", "cut.gz")
    found = numbers(result, status=2)
    assert 20_000 < found["lines"] < 40_000
    assert found["files"][0]["problem"] == "cannot read cut.gz: the file is cut off"


def test_a_line_of_a_megabyte_is_no_request(replay: Run, write: Callable[[str, bytes], Path]) -> None:
    path = write("a.log", line(0) + line(1, "http://web.whatsapp.com/" + "a" * (1 << 20)) + line(2) + b"\x00" * 10)
    found = numbers(replay("--json", path))
    assert (found["requests"], found["skipped_by_reason"]) == (2, {"malformed": 2})
    text = replay(path).stdout
    assert b"it is longer than 1048576 bytes" in text
    assert len(text) < 10_000


def test_a_log_that_cannot_be_read_by_its_owner_is_told(replay: Run) -> None:
    assert b"cannot read /proc/self/mem: " in replay("/proc/self/mem").stderr


def test_without_stdin(replay: Run) -> None:
    def close() -> None:
        os.close(0)

    result = replay("--json", "-", stdin=None, preexec_fn=close)
    assert (result.returncode, result.stderr) == (2, b"squid-imhelper: stdin is closed\n")


def test_without_stdout(replay: Run) -> None:
    def close() -> None:
        os.close(1)

    result = replay(DATA / "squid.log", preexec_fn=close)
    assert (result.returncode, result.stderr) == (2, b"squid-imhelper: stdout is closed\n")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_full_disk_is_told(replay: Run, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        result = replay(*arguments, DATA / "squid.log", stdout=full)
    assert (result.returncode, result.stderr) == (2, b"squid-imhelper: No space left on device\n")


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--jobs", "2"]])
def test_a_reader_that_has_seen_enough_is_no_error(replay: Run, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = replay(*arguments, DATA / "squid.log", stdout=writer)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")


# ---- several processes ----------------------------------------------------------------------------------------------


def test_any_number_of_processes_gives_the_same_bytes(replay: Run, write: Callable[[str, bytes], Path]) -> None:
    write("a.log", many_lines(30_000))
    write("b.log.gz", gzip.compress(many_lines(15_000, 30_000), 1))
    write("c.log", many_lines(2_000, 45_000)[:-1])
    for form in (["--json"], []):
        results = [replay(*form, "--jobs", jobs, "c.log", "a.log", "b.log.gz") for jobs in ("1", "2", "3", "5")]
        assert {result.returncode for result in results} == {0}
        assert len({result.stdout for result in results}) == 1
        assert {result.stderr for result in results} == {b""}
    assert b"47,000" not in results[0].stdout
    assert b"30,000 lines" in results[0].stdout


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    words = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    return [int(word) for word in words]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.02)


@pytest.fixture
def slow(command: Start) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a replay of stdin that has been given many lines and waits for more."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, lines: int = 60_000) -> subprocess.Popen[bytes]:
        process = command(
            "replay", "--policy", BUILT_IN, *arguments, "-", stdin=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        assert process.stdin
        process.stdin.write(many_lines(lines))
        process.stdin.flush()
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream
            with suppress(BrokenPipeError):
                stream.close()


ENDINGS = [
    pytest.param(number, group, jobs, id=f"{number.name}-{'group' if group else 'process'}-{jobs}")
    for number in (signal.SIGINT, signal.SIGTERM)
    for group in (False, True)
    for jobs in ("1", "3")
]


@pytest.mark.parametrize(("number", "group", "jobs"), ENDINGS)
def test_a_signal_ends_it_with_a_report_of_what_was_read(
    slow: Callable[..., subprocess.Popen[bytes]], number: signal.Signals, group: bool, jobs: str
) -> None:
    process = slow("--json", "--jobs", jobs, lines=150_000)
    time.sleep(0.5)  # whatever it is doing then
    children = children_of(process)
    (os.killpg if group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + number, b"")
    found = json.loads(out)
    assert found["interrupted"] is True
    assert found["lines"] == found["requests"] + found["skipped"] == found["files"][0]["lines"]
    assert 0 < found["lines"] <= 150_000
    assert len(children) == (int(jobs) if jobs != "1" else 0)
    wait_for(lambda: not any(map(is_alive, children)))


def test_the_report_says_that_it_was_interrupted(slow: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = slow()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert b"interrupted: the numbers are of what was read until then" in out


def test_a_process_that_was_killed_is_told(slow: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = slow("--jobs", "2")
    children = children_of(process)
    os.kill(children[0], signal.SIGKILL)
    with suppress(BrokenPipeError):
        process.stdin.write(many_lines(60_000))  # type: ignore[union-attr]
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, b"")
    assert err == b"squid-imhelper: a process that counted has been killed; is there too little memory?\n"
    wait_for(lambda: not any(map(is_alive, children)))


def test_no_process_outlives_the_first(slow: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = slow("--jobs", "3")
    children = children_of(process)
    assert len(children) == 3
    process.kill()
    wait_for(lambda: not any(map(is_alive, children)))


def peak_memory(start: Start, *arguments: str | Path) -> int:
    """The most memory that a replay, or a process of it, has had, in KB."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    with start("replay", "--help") as process:
        words = list(process.args)[:3]  # type: ignore[call-overload]
        process.communicate()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    whole = [sys.executable, "-c", code, *words, "replay", "--policy", BUILT_IN, *map(str, arguments)]
    return int(subprocess.run(whole, env=environment, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_memory_does_not_grow_with_the_log(command: Start, write: Callable[[str, bytes], Path], jobs: str) -> None:
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    piece = many_lines(20_000)
    short, long = write("short.log", piece), write("long.log", piece * 20)
    peaks = [peak_memory(command, "--jobs", jobs, path) for path in (short, long)]
    assert peaks[1] < 1.3 * peaks[0] + 10_000


# ---- logs that grow -------------------------------------------------------------------------------------------------


def read_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    return process.stdout.readline().decode()


@pytest.mark.parametrize("first", [b"", line(0)], ids=["empty", "begun"])
def test_new_decisions_are_told_as_they_come(command: Start, write: Callable[[str, bytes], Path], first: bytes) -> None:
    path = write("access.log", first)
    with command("replay", "--policy", BUILT_IN, "--follow", "access.log", env={"TZ": "UTC"}) as process:
        if first:
            assert " 12:00:00  blocked    192.0.2.0" in read_line(process)
        with path.open("ab") as log:
            for number in (1, 2, 3):
                time.sleep(0.3)
                half = line(number)
                log.write(half[:30])
                log.flush()
                time.sleep(0.3)
                log.write(half[30:] + line(number, "http://example.org/"))
                log.flush()
                told = read_line(process)
                assert f" 12:00:0{number}  blocked    192.0.2.{number} " in told
                assert told.endswith("whatsapp              http://web.whatsapp.com/  (built-in)\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, b"")
    assert f"access.log: Squid's native format, {6 + bool(first)} lines" in out.decode()
    assert b"interrupted" not in out


def test_another_signal_is_told_by_the_status(command: Start, write: Callable[[str, bytes], Path]) -> None:
    write("access.log", line(0))
    with command("replay", "--policy", BUILT_IN, "--follow", "access.log") as process:
        assert "blocked" in read_line(process)
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + signal.SIGTERM, b"")
    assert b"interrupted: " in out


def test_what_grows_is_told_in_json_at_the_end_only(command: Start, write: Callable[[str, bytes], Path]) -> None:
    write("old.log", line(-9))
    write("access.log", line(0) + b"half a li")
    with command("replay", "--policy", BUILT_IN, "--json", "--follow", "access.log", "old.log") as process:
        wait_for(lambda: sleeps(process))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err, out.count(b"\n")) == (0, b"", 1)
    assert json.loads(out)["blocked"] == 2


def sleeps(process: subprocess.Popen[bytes]) -> bool:
    """Whether it looks at its log, and not for the first time."""
    files = Path(f"/proc/{process.pid}/fd")
    names = [str(own.readlink()) for own in files.iterdir() if own.is_symlink()]
    if not any(name.endswith("/access.log") for name in names):
        return False
    time.sleep(1)
    return True


def test_what_a_client_sends_is_escaped_when_it_is_told(command: Start, write: Callable[[str, bytes], Path]) -> None:
    write("access.log", line(0, "http://web.whatsapp.com/\x1b[31m\u202e"))
    with command("replay", "--policy", BUILT_IN, "--follow", "access.log") as process:
        told = read_line(process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    assert told.isascii()
    assert told.rstrip("\n").isprintable()
    assert b"\x1b" not in out


def test_a_reader_of_a_growing_log_may_go(command: Start, write: Callable[[str, bytes], Path]) -> None:
    path = write("access.log", line(0))
    with command("replay", "--policy", BUILT_IN, "--follow", "access.log") as process:
        assert "blocked" in read_line(process)
        assert process.stdout
        process.stdout.close()
        with path.open("ab") as log:
            log.write(line(1))
        assert process.wait(PATIENCE) == 0
        assert process.stderr
        assert process.stderr.read() == b""


# ---- on a terminal --------------------------------------------------------------------------------------------------


def test_a_terminal_shows_a_bar_and_colours(command: Start, write: Callable[[str, bytes], Path]) -> None:
    write("a.log", many_lines(20_000))
    master, slave = os.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": ""}
    with command("replay", "--policy", BUILT_IN, "a.log", stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        shown = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            while piece := os.read(master, 65536):
                shown += piece
    os.close(master)
    assert process.returncode == 0
    assert b"100 %" in shown
    assert b"lines, " in shown
    assert shown.index(b"100 %") < shown.index(b"Dry run of built-in")
    assert b"\x1b[31m" in shown


def test_a_socket_for_stdout_is_no_terminal(command: Start) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, command("replay", "--policy", BUILT_IN, "--json", DATA / "squid.log", stdout=theirs) as process:
        theirs.close()
        received = b""
        while piece := ours.recv(65536):
            received += piece
    assert process.returncode == 0
    assert json.loads(received)["lines"] == 400


@pytest.mark.parametrize("of", ["log", "policy", "against", "link"])
def test_a_report_overwrites_nothing_that_it_is_made_of(
    run_cli: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path, of: str
) -> None:
    paths = {name: tmp_path / name for name in ("log", "policy", "against", "link")}
    paths["log"].write_bytes((DATA / "squid.log").read_bytes())
    for name in ("policy", "against"):
        paths[name].write_text('[[rule]]\nname = "no"\nservices = ["meebo"]\naction = "block"\n')
    paths["link"].symlink_to("log")
    before = {name: path.read_bytes() for name, path in paths.items()}
    words = ["--policy", paths["policy"], "--against", paths["against"], "--html", paths[of], paths["log"]]
    done = run_cli("replay", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"squid-imhelper: cannot write {paths[of]}: it is a log or a policy itself\n"
    assert {name: path.read_bytes() for name, path in paths.items()} == before


def test_the_page_is_written_though_nobody_reads_the_report(
    command: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        words = ["replay", "--policy", "built-in", "--html", tmp_path / "report.html", DATA / "squid.log"]
        with command(*words, stdout=full) as process:
            process.communicate(timeout=60)
    assert b"</html>" in (tmp_path / "report.html").read_bytes()


def test_what_is_no_regular_file_cannot_be_followed(
    run_cli: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    done = run_cli("replay", "--policy", "built-in", "--follow", "/dev/null")
    assert done.returncode == 2
    assert b"cannot follow /dev/null: it is no regular file" in done.stderr
