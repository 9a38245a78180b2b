"""The audit log: what a line says, and that nothing that happens to the log costs more than lines."""

import fcntl
import ipaddress
import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import squid_imhelper
from squid_imhelper.base.model import AuditSettings, Decision, Evidence, Request
from squid_imhelper.base.urls import parse_url
from squid_imhelper.helper import audit
from squid_imhelper.helper.audit import MAX_TEXT, FileSink, Sink, SyslogSink, audit_line, open_sink

ROOT = Path(squid_imhelper.__file__).parents[1]
OPEN = Path("/proc/self/fd")
DEADLINE = 20.0
NOW = 1_795_447_801.25
URL = "http://web.whatsapp.com/chat?with=ann"
KEYS = ["time", "action", "dry_run", "client", "user", "method", "host", "url", "service", "rule", "signature"]

BLOCKED = Decision("block", "whatsapp", "no messengers", Evidence("domain", "whatsapp.com"))


def request(url: str = URL, **values: Any) -> Request:
    target = parse_url(url)
    given = {"method": "GET", "client": "192.0.2.77", "user": "ann", **values}
    return Request(target=target, names=(target.host,), **given)


def line_of(
    settings: AuditSettings | None = None,
    asked: Request | None = None,
    url: str = URL,
    decision: Decision = BLOCKED,
    dry_run: bool = False,
) -> dict[str, Any]:
    text = audit_line(settings or AuditSettings(), asked or request(), url, decision, NOW, dry_run=dry_run)
    assert text.isascii()
    assert "\n" not in text
    found = json.loads(text)
    assert list(found) == KEYS
    return cast(dict[str, Any], found)


# ---- what a line says -----------------------------------------------------------------------------------------------


def test_a_line_says_who_asked_for_what_and_why_not() -> None:
    assert line_of() == {
        "time": "2026-11-23T15:30:01.250Z",
        "action": "block",
        "dry_run": False,
        "client": "192.0.2.77",
        "user": "ann",
        "method": "GET",
        "host": "web.whatsapp.com",
        "url": URL,
        "service": "whatsapp",
        "rule": "no messengers",
        "signature": {"kind": "domain", "value": "whatsapp.com"},
    }


@pytest.mark.parametrize(
    ("log_urls", "host", "url"),
    [("full", "web.whatsapp.com", URL), ("host", "web.whatsapp.com", None), ("none", None, None)],
)
@pytest.mark.parametrize(
    ("log_clients", "client", "user"),
    [("full", "192.0.2.77", "ann"), ("network", "192.0.2.0/24", None), ("none", None, None)],
)
def test_a_line_tells_no_more_than_the_policy_allows(
    log_urls: Any, host: str | None, url: str | None, log_clients: Any, client: str | None, user: str | None
) -> None:
    found = line_of(AuditSettings(log_urls, log_clients))
    assert (found["host"], found["url"]) == (host, url)
    assert (found["client"], found["user"]) == (client, user)
    assert found["service"] == "whatsapp"
    told = json.dumps(found)
    assert ("with=ann" in told) == (url is not None)
    assert ("192.0.2.77" in told) == (log_clients == "full")


@pytest.mark.parametrize(("log_urls", "told"), [("full", True), ("host", True), ("none", False)])
def test_an_entry_of_a_site_list_is_where_somebody_went(log_urls: Any, told: bool) -> None:
    decision = Decision("block", None, "own", Evidence("site", "secret.example"))
    found = line_of(AuditSettings(log_urls), decision=decision)
    assert found["signature"] == {"kind": "site", "value": "secret.example" if told else None}


@pytest.mark.parametrize(
    ("evidence", "value"),
    [
        pytest.param(Evidence("site", "partner.example/webchat/room5"), "partner.example", id="site"),
        pytest.param(Evidence("url", "facebook.com/messages"), "facebook.com", id="url"),
        pytest.param(Evidence("user_agent", "a/b"), "a/b", id="user-agent"),
    ],
)
def test_where_hosts_may_be_told_paths_are_not(evidence: Evidence, value: str) -> None:
    found = line_of(AuditSettings("host"), decision=Decision("block", None, "own", evidence))
    assert found["signature"] == {"kind": evidence.kind, "value": value}


@pytest.mark.parametrize(
    ("log_clients", "client", "told"),
    [
        pytest.param("full", None, None, id="unknown"),
        pytest.param("network", None, None, id="network-of-unknown"),
        pytest.param("full", "2001:db8:1:2::3", "2001:db8:1:2::3", id="ipv6"),
        pytest.param("network", "2001:db8:1:2::3", "2001:db8:1::/48", id="network-of-ipv6"),
        pytest.param("network", "fe80::1%eth0", "fe80::/48", id="network-of-link-local"),
        pytest.param("network", "::1", "::/48", id="network-of-loopback"),
    ],
)
def test_a_client_is_an_address_or_its_network(log_clients: Any, client: str | None, told: str | None) -> None:
    assert line_of(AuditSettings("full", log_clients), request(client=client))["client"] == told


@given(st.ip_addresses(), st.integers(0, 2**128 - 1))
def test_neighbours_cannot_be_told_apart_by_their_network(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, other: int
) -> None:
    """All of a /24, or of a /48: the bits behind them are gone."""
    settings = AuditSettings("none", "network")
    bits = 8 if address.version == 4 else 80
    neighbour = type(address)(int(address) >> bits << bits | other & (1 << bits) - 1)
    one, two = (line_of(settings, request(client=str(each)))["client"] for each in (address, neighbour))
    assert one == two == str(ipaddress.ip_network((int(address) >> bits << bits, address.max_prefixlen - bits)))


@pytest.mark.parametrize(
    ("now", "text"),
    [
        pytest.param(0.0, "1970-01-01T00:00:00.000Z", id="epoch"),
        pytest.param(1.9996, "1970-01-01T00:00:01.999Z", id="never-rounded-up"),
        pytest.param(1_774_746_000.001, "2026-03-29T01:00:00.001Z", id="utc-though-clocks-are-changed"),
        pytest.param(4_102_444_800.0, "2100-01-01T00:00:00.000Z", id="far"),
    ],
)
def test_the_time_is_utc_to_the_millisecond(now: float, text: str) -> None:
    line = audit_line(AuditSettings(), request(), URL, BLOCKED, now, dry_run=False)
    assert json.loads(line)["time"] == text
    assert abs(datetime.fromisoformat(text).astimezone(UTC).timestamp() - now) < 0.001


def test_a_monitored_request_that_is_no_messenger() -> None:
    found = line_of(decision=Decision("monitor", None, "watch", None), dry_run=True)
    assert (found["action"], found["dry_run"], found["service"], found["signature"]) == ("monitor", True, None, None)


# ---- what clients send ----------------------------------------------------------------------------------------------

_hostile = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\r\0\x1b\u2028\u2029,{}'))
_bytes = st.binary(max_size=50).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(user=_hostile, method=_hostile, agent=_hostile, rule=_hostile, url=_hostile)
def test_any_text_makes_one_line(user: str, method: str, agent: str, rule: str, url: str) -> None:
    decision = Decision("block", "whatsapp", rule, Evidence("user_agent", agent))
    found = line_of(asked=request(user=user, method=method), url=url, decision=decision)
    assert (found["user"], found["method"], found["rule"], found["url"]) == (user, method, rule, url)
    assert found["signature"]["value"] == agent


@given(user=_bytes, method=_bytes)
def test_bytes_that_are_no_text_make_a_line_that_every_reader_takes(user: str, method: str) -> None:
    r"""A lone surrogate, as `\udcff`, is refused by strict readers of JSON (RFC 8259, 8.2), and with it the line."""
    found = line_of(asked=request(user=user, method=method))
    for key in ("user", "method"):
        found[key].encode("utf-8")


@pytest.mark.parametrize("piece", ["x", "\u00fc", "\U0001f600", '"', "\0"])
def test_a_line_stays_small_whatever_is_sent(piece: str) -> None:
    long = piece * (1 << 20)
    asked = request(user=long, method=long)
    asked = asked._replace(target=asked.target._replace(host=long))
    found = line_of(asked=asked, url=long)
    assert [found[key] for key in ("url", "host", "user", "method")] == [piece * MAX_TEXT] * 4
    assert len(json.dumps(found)) < 12 * 4 * MAX_TEXT + 1000


# ---- the file -------------------------------------------------------------------------------------------------------


class Said(list[str]):
    """Complaints."""


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def opened() -> Iterator[Callable[..., FileSink]]:
    sinks: list[FileSink] = []

    def make(path: Path, complain: Callable[[str], None] = pytest.fail) -> FileSink:
        sinks.append(FileSink(str(path), complain))
        return sinks[-1]

    yield make
    for sink in sinks:
        sink._close()


Open = Callable[..., FileSink]


def test_lines_are_appended(log: Path, opened: Open) -> None:
    log.write_text("before\n")
    sink = opened(log)
    assert sink.write(["one", "two"]) == 0
    assert sink.write(["three"]) == 0
    assert log.read_text() == "before\none\ntwo\nthree\n"


def test_a_new_log_is_for_its_owner_and_group(log: Path, opened: Open) -> None:
    before = os.umask(0)
    try:
        opened(log)
    finally:
        os.umask(before)
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


def test_a_batch_is_one_write(log: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux appends it as a whole, whoever else appends."""
    sink = opened(log)
    pieces: list[bytes] = []
    monkeypatch.setattr(audit.os, "write", lambda fd, data: pieces.append(data) or len(data))
    sink.write(["x" * 5000] * 1000)
    assert len(pieces) == 1


def test_a_log_that_stays_where_it_is_stays_open(log: Path, opened: Open) -> None:
    sink = opened(log)
    before = sink._fd
    for _ in range(3):
        sink.reopen()
    assert sink._fd == before


def test_rotated_by_rename(log: Path, opened: Open) -> None:
    sink = opened(log)
    sink.write(["one"])
    log.rename(log.with_suffix(".1"))
    assert sink.write(["two"]) == 0
    sink.reopen()
    sink.write(["three"])
    assert (log.with_suffix(".1").read_text(), log.read_text()) == ("one\ntwo\n", "three\n")


def test_rotated_by_rename_and_made_anew(log: Path, opened: Open) -> None:
    sink = opened(log)
    sink.write(["one"])
    log.rename(log.with_suffix(".1"))
    log.touch(0o600)
    sink.reopen()
    sink.write(["two"])
    assert (log.with_suffix(".1").read_text(), log.read_text()) == ("one\n", "two\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_rotated_by_copying_and_truncating(log: Path, opened: Open) -> None:
    """There is no hole where the copied lines were."""
    sink = opened(log)
    sink.write(["one"])
    os.truncate(log, 0)
    sink.write(["two"])
    sink.reopen()
    sink.write(["three"])
    assert log.read_bytes() == b"two\nthree\n"


def test_unlinked(log: Path, opened: Open) -> None:
    sink = opened(log)
    sink.write(["one"])
    log.unlink()
    sink.reopen()
    assert sink.write(["two"]) == 0
    assert log.read_text() == "two\n"


def test_a_folder_that_vanishes_costs_lines_until_it_is_back(log: Path, opened: Open, said: Said) -> None:
    folder = log.parent / "logs"
    folder.mkdir()
    sink = opened(folder / "audit.log", said.append)
    sink.write(["one"])
    (folder / "audit.log").unlink()
    folder.rmdir()
    sink.reopen()
    assert sink.write(["two", "three"]) == 2
    sink.reopen()
    assert said == [f"cannot open the audit log {folder}/audit.log: No such file or directory"] * 2
    folder.mkdir()
    sink.reopen()
    assert sink.write(["four"]) == 0
    assert (folder / "audit.log").read_text() == "four\n"
    assert len(said) == 2


def test_a_log_whose_folder_was_moved_away_is_written_on(log: Path, opened: Open, said: Said) -> None:
    folder = log.parent / "logs"
    folder.mkdir()
    sink = opened(folder / "audit.log", said.append)
    sink.write(["one"])
    folder.rename(log.parent / "moved")
    sink.reopen()
    assert sink.write(["two"]) == 0
    assert (log.parent / "moved" / "audit.log").read_text() == "one\ntwo\n"
    assert len(said) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("missing/log", "No such file or directory", id="missing-folder"),
        pytest.param("file/log", "Not a directory", id="below-a-file"),
        pytest.param("folder", "Is a directory", id="folder"),
        pytest.param("fifo", "No such device or address", id="fifo-that-nobody-reads"),
        pytest.param("x" * 300, "File name too long", id="long-name"),
    ],
)
def test_a_log_that_cannot_be_opened_costs_lines(
    name: str, words: str, tmp_path: Path, opened: Open, said: Said
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    sink = opened(tmp_path / name, said.append)
    assert sink.write(["one", "two"]) == 2
    sink.reopen()
    assert len(said) == 2
    assert all(words in line and "\n" not in line for line in said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_log_that_may_not_be_written_costs_lines(log: Path, opened: Open, said: Said) -> None:
    log.touch(0o400)
    assert opened(log, said.append).write(["one"]) == 1
    assert "Permission denied" in said[0]


def test_a_full_disk_costs_lines(opened: Open, said: Said) -> None:
    sink = opened(Path("/dev/full"), said.append)
    assert sink.write(["one", "two"]) == 2
    assert said == ["cannot write the audit log /dev/full: No space left on device"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Makes every write beyond a size fail, the one that reaches it in part: as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


_batches = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 60)), max_size=12)


@given(_batches)
def test_a_disk_that_fills_up_and_is_cleared_costs_the_lines_that_are_counted(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[int, int]]
) -> None:
    """A line is there as a whole, or counted as lost; and one that was cut off spoils no other.

    One that lacks nothing but its end is counted, and ended by the next.
    """
    log = tmp_path_factory.mktemp("full") / "log"
    sink = FileSink(str(log), lambda text: None)
    sent: list[str] = []
    lost = without_end = 0
    for number, (count, room) in enumerate(batches):
        lines = [f"<{number}.{n}>{'x' * n}" for n in range(count)]
        sent += lines
        with files_of_at_most(log.stat().st_size + room):
            lost += sink.write(lines)
        last = log.read_text().rpartition("\n")[2]
        without_end += last in lines
    sink._close()
    whole = [line for line in log.read_text().split("\n") if line in sent]
    assert len(sent) - len(whole) == lost - without_end
    assert whole == [line for line in sent if line in whole], "each once, in their order"


def test_a_log_that_nobody_reads_any_more_costs_lines(log: Path, opened: Open, said: Said) -> None:
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    sink = opened(log, said.append)
    assert sink.write(["one"]) == 0
    assert os.read(reader, 100) == b"one\n"
    os.close(reader)
    assert sink.write(["two"]) == 1
    assert said == [f"cannot write the audit log {log}: Broken pipe"]
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    assert sink.write(["three"]) == 0, "and another reader may come"
    os.close(reader)


@pytest.mark.timeout(20)
def test_a_reader_that_is_slow_costs_lines_and_no_time(log: Path, opened: Open, said: Said) -> None:
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    sink = opened(log, said.append)
    lost = sum(sink.write([f"{n}.{'x' * 500}" for n in range(4)]) for _ in range(10))
    received = os.read(reader, 1 << 16)
    os.close(reader)
    assert received.count(b"\n") == 40 - lost
    assert lost
    assert said


def test_a_fifo_that_is_read_at_last_is_written_at_last(log: Path, opened: Open, said: Said) -> None:
    os.mkfifo(log)
    sink = opened(log, said.append)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    sink.reopen()
    assert sink.write(["one"]) == 0
    os.close(reader)


def test_no_descriptor_is_left_behind_by_a_rotation(log: Path, opened: Open) -> None:
    sink = opened(log)
    before = len(list(OPEN.iterdir()))
    for n in range(50):
        log.rename(log.with_suffix(f".{n}"))
        sink.reopen()
        sink.write(["x"])
    assert len(list(OPEN.iterdir())) == before


# ---- several children -----------------------------------------------------------------------------------------------

CHILD = """
import sys
from squid_imhelper.helper.audit import FileSink
sink = FileSink(sys.argv[1], sys.exit)
number, lines = sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
sent = lost = 0
while sent < lines:
    batch = [f'{{"child": {number}, "line": {sent + n}, "text": "{"x" * (sent % 900)}"}}' for n in range(sent % 5 + 1)]
    lost += sink.write(batch[: lines - sent])
    sent += len(batch[: lines - sent])
    sink.reopen()
sys.exit(lost)
"""


@pytest.mark.parametrize("rotations", [0, 20], ids=["left-alone", "rotated"])
def test_children_append_whole_lines_to_one_log(rotations: int, log: Path) -> None:
    count = 2000
    children = []
    for n in range(8):
        words = [sys.executable, "-c", CHILD, log, str(n), str(count)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        children.append(subprocess.Popen(words, cwd=ROOT, text=True, **pipes))  # type: ignore[call-overload]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for n in range(rotations):
        if log.exists():
            log.rename(log.with_suffix(f".{n}"))
        time.sleep(0.005)
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0, "nothing was lost"
    found = [json.loads(line) for path in log.parent.iterdir() for line in path.read_text().splitlines()]
    assert sorted((line["child"], line["line"]) for line in found) == [(c, n) for c in range(8) for n in range(count)]


# ---- syslog ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[socket.socket]:
    """A syslog daemon that does not read unless it is told to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as own:
        own.bind(str(tmp_path / "log"))
        yield own


@pytest.fixture
def syslog() -> Iterator[Callable[..., Sink]]:
    sinks: list[SyslogSink] = []

    def make(path: Path | str, complain: Callable[[str], None] = pytest.fail) -> Sink:
        sink = open_sink(f"syslog:{path}", complain)
        assert isinstance(sink, SyslogSink)
        sinks.append(sink)
        return sink

    yield make
    for sink in sinks:
        sink._socket.close()


Syslog = Callable[..., Sink]
_RFC_3164 = re.compile(
    rb"<(\d+)>(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 1-3]\d \d\d:\d\d:\d\d (\S+)\[(\d+)\]: (.*)",
    re.DOTALL,
)


def test_each_line_is_a_message_to_syslog(daemon: socket.socket, syslog: Syslog) -> None:
    sink = syslog(daemon.getsockname())
    line = audit_line(AuditSettings(), request(user='a\n"b'), URL, BLOCKED, NOW, dry_run=False)
    assert sink.write([line, "two"]) == 0
    sink.reopen()
    for expected in (line, "two"):
        found = _RFC_3164.fullmatch(daemon.recv(1 << 16))
        assert found
        assert (int(found[1]) >> 3, int(found[1]) & 7) == (16, 6), "local0.info"
        assert (found[2], int(found[3])) == (b"squid-imhelper", os.getpid())
        assert found[4].decode() == expected
    with pytest.raises(BlockingIOError):
        daemon.recv(1)


def test_the_longest_line_is_one_message(daemon: socket.socket, syslog: Syslog) -> None:
    long = "\U0001f600" * (1 << 20)
    asked = request(user=long, method=long)
    line = audit_line(AuditSettings(), asked, long, BLOCKED, NOW, dry_run=False)
    assert syslog(daemon.getsockname()).write([line]) == 0
    assert daemon.recv(1 << 20).endswith(line.encode())


def test_syslog_without_a_path_is_that_of_the_machine(
    daemon: socket.socket, syslog: Syslog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audit._DEV_LOG == "/dev/log"
    monkeypatch.setattr(audit, "_DEV_LOG", daemon.getsockname())
    assert syslog("").write(["one"]) == 0
    assert daemon.recv(100).endswith(b": one")


@pytest.mark.timeout(20)
def test_a_syslog_that_does_not_read_costs_lines_and_no_time(daemon: socket.socket, syslog: Syslog, said: Said) -> None:
    sink = syslog(daemon.getsockname(), said.append)
    sent = lost = 0
    while not lost:
        lost += sink.write(["x" * 1000] * 10)
        sent += 10
    lost += sink.write(["y"] * 5)
    sent += 5
    received = 0
    while sent - lost > received:
        assert daemon.recv(2000)
        received += 1
    with pytest.raises(BlockingIOError):
        daemon.recv(1)
    assert sink.write(["z"]) == 0, "and it may read again"
    assert all(line.startswith("cannot write the audit log to ") for line in said)


def test_a_syslog_that_is_not_there_costs_lines_until_it_is(tmp_path: Path, syslog: Syslog, said: Said) -> None:
    sink = syslog(tmp_path / "log", said.append)
    assert sink.write(["one", "two"]) == 2
    assert "No such file or directory" in said[0]
    for number in range(2):  # it is also started anew
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.bind(str(tmp_path / "log"))
            assert sink.write([str(number)]) == 0
            assert own.recv(100).endswith(f": {number}".encode())
        assert sink.write(["lost"]) == 1
        assert "Connection refused" in said[-1]
        (tmp_path / "log").unlink()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("x" * 200, "too long", id="long-path"),
        pytest.param("file", "Connection refused", id="a-file"),
        pytest.param("stream", "Protocol wrong type for socket", id="a-stream"),
    ],
)
def test_what_is_no_syslog_costs_lines(name: str, words: str, tmp_path: Path, syslog: Syslog, said: Said) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(str(tmp_path / "stream"))
        assert syslog(tmp_path / name, said.append).write(["one"]) == 1
    assert words in said[0]


@pytest.mark.parametrize("name", ["log", "x/syslog:y", "SYSLOG:x"])
def test_any_other_name_is_a_file(name: str, tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / name), lambda text: None)
    assert isinstance(sink, FileSink)
    sink._close()


# ---- live helpers ---------------------------------------------------------------------------------------------------

Start = Callable[..., subprocess.Popen[bytes]]
POLICY = """
[[rule]]
name = "watched"
services = ["telegram"]
action = "monitor"
[[rule]]
name = "blocked"
services = ["all"]
action = "block"
[audit]
log_clients = "network"
"""


def ask(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + b"\n")
    process.stdin.flush()
    return process.stdout.readline()


def end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(DEADLINE) == 0


def test_a_helper_logs_what_it_blocks_and_what_it_watches(
    command: Start, policy_file: Callable[[str], Path], log: Path
) -> None:
    policy = policy_file(POLICY)
    words = ["--policy", policy, "--audit", log]
    with (
        command("acl", *words, stdin=subprocess.PIPE) as acl,
        command("rewrite", *words, stdin=subprocess.PIPE) as rewrite,
    ):
        assert ask(acl, b"1 10.0.0.1 GET http://web.whatsapp.com/a%5c%22b - - -").startswith(b"1 OK")
        assert ask(acl, b"2 10.0.0.1 CONNECT web.telegram.org:443 - - -").startswith(b"2 ERR tag=telegram")
        assert ask(acl, b"3 10.0.0.1 GET http://example.org/ - - -") == b"3 ERR\n"
        assert ask(acl, b"4 10.0.0.1 GET http://web.whatsapp.com/ - - whatsapp").startswith(b"4 OK")
        url = b"http://web.whatsapp.com/" + b"x" * (1 << 20)
        assert ask(rewrite, b"5 " + url[: (1 << 20) - 60] + b" 10.0.0.1/- ann GET myip=- myport=-").startswith(b"5 OK")
        end(acl)
        end(rewrite)
    first, second, third = map(json.loads, log.read_text(encoding="ascii").splitlines())
    assert (first["action"], first["rule"], first["url"]) == ("block", "blocked", 'http://web.whatsapp.com/a\\"b')
    assert (second["action"], second["method"], second["url"]) == ("monitor", "CONNECT", "web.telegram.org:443")
    assert (third["action"], len(third["url"])) == ("block", MAX_TEXT)
    assert {line["client"] for line in (first, second, third)} == {"10.0.0.0/24"}
    assert {line["user"] for line in (first, second, third)} == {None}
    assert abs(datetime.fromisoformat(first["time"]).timestamp() - time.time()) < 3600


class Loaded(threading.Thread):
    """Asks a helper for one URL after the other, ten at a time, and counts the answers that block."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, count: int) -> None:
        super().__init__()
        self.urls = [f"http://web.whatsapp.com/{name}/{n}" for n in range(count)]
        self.blocked = 0
        self._process = process

    def run(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for first in range(0, len(self.urls), 10):
            urls = self.urls[first : first + 10]
            self._process.stdin.write("".join(f"7 10.0.0.1 GET {url} - - -\n" for url in urls).encode())
            self._process.stdin.flush()
            self.blocked += sum(self._process.stdout.readline().startswith(b"7 OK tag=whatsapp") for _ in urls)


def test_live_helpers_lose_no_line_when_their_log_is_rotated(command: Start, log: Path) -> None:
    """Each answer that blocks has its line, in one of the files, though the log is moved away under load."""
    words = ["acl", "--policy", "built-in", "--audit", log]
    with ExitStack() as stack:
        helpers = [
            stack.enter_context(command(*words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)) for _ in range(3)
        ]
        loads = [Loaded(helper, str(n), 3000) for n, helper in enumerate(helpers)]
        for helper, load in zip(helpers, loads, strict=True):
            assert ask(helper, b"1 10.0.0.1 GET http://example.org/ - - -") == b"1 ERR\n"
            load.start()
        rotations = rotate_while(loads, helpers, log)
        for helper in helpers:
            end(helper)
    assert rotations > 1
    assert [load.blocked for load in loads] == [3000] * 3
    found = [json.loads(line)["url"] for path in log.parent.iterdir() for line in path.read_text().splitlines()]
    assert sorted(found) == sorted(url for load in loads for url in load.urls)


def rotate_while(loads: list[Loaded], helpers: list[subprocess.Popen[bytes]], log: Path) -> int:
    """Moves the log away again and again, as long as there is load; returns how often."""
    rotations = 0
    while any(load.is_alive() for load in loads):
        if log.exists():
            log.rename(log.with_suffix(f".{rotations}"))
            rotations += 1
        for helper in helpers:
            helper.send_signal(signal.SIGHUP)  # as logrotate does; without it, they look a second later
        time.sleep(0.02)
    for load in loads:
        load.join()
    return rotations


def test_a_log_that_vanishes_costs_a_live_helper_lines_and_is_counted(command: Start, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "audit.log"
    blocked = b"1 10.0.0.1 GET http://web.whatsapp.com/ - - -"
    with command("acl", "--policy", "built-in", "--audit", log, stdin=subprocess.PIPE) as process:
        assert ask(process, blocked).startswith(b"1 OK")
        log.unlink()
        folder.rmdir()
        assert said_before(process, b"cannot open the audit log")  # a second later
        for _ in range(5):
            assert ask(process, blocked).startswith(b"1 OK")
        process.send_signal(signal.SIGUSR1)
        assert said_before(process, b"audit_lost_total").endswith(b" 5\n")
        folder.mkdir()
        deadline = time.monotonic() + DEADLINE
        while not log.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert ask(process, blocked).startswith(b"1 OK")
        end(process)
    assert len(log.read_text().splitlines()) == 1


def said_before(process: subprocess.Popen[bytes], words: bytes) -> bytes:
    """Reads on until something is said; the test's own timeout ends it otherwise."""
    assert process.stderr is not None
    while line := process.stderr.readline():
        if words in line:
            return line
    return b""


def test_a_full_disk_costs_a_live_helper_lines_that_are_counted(command: Start) -> None:
    blocked = b"1 10.0.0.1 GET http://web.whatsapp.com/ - - -"
    with command("acl", "--policy", "built-in", "--audit", "/dev/full", stdin=subprocess.PIPE) as process:
        for _ in range(7):
            assert ask(process, blocked).startswith(b"1 OK")
        process.send_signal(signal.SIGUSR1)
        assert said_before(process, b"cannot write the audit log /dev/full")
        assert said_before(process, b"audit_lost_total").endswith(b" 7\n")
        end(process)
