"""Files of logs: every byte of them, in blocks that depend on nothing else, and files that grow."""

import bz2
import gzip
import io
import lzma
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.logs import logfiles
from squid_imhelper.logs.accesslog import LogFormat
from squid_imhelper.logs.logfiles import STDIN, Blocks, Logs, follow

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
except ImportError:
    from backports import zstd

COMPRESSIONS = {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}
SMALL = 16


def line(second: int) -> bytes:
    return b"17736232%02d.004      0 10.0.0.1 TCP_MISS/200 5 GET http://a.example/%d - DIRECT/- -\n" % (second, second)


def log(*seconds: int) -> bytes:
    return b"".join(map(line, seconds))


def order(folder: Path, *names: str) -> list[str]:
    logs = Logs(None).in_time_order([str(folder / name) for name in names], None, "UTC")
    return [Path(log.path).name for log in logs]


# ---- blocks ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfiles, "BLOCK", SMALL)
        patch.setattr(logfiles, "_PIECE", 7)
        patch.setattr(logfiles, "_PAUSE", 0.005)
        yield


def blocks_of(content: bytes, sizes: list[int]) -> list[bytes]:
    cutter, blocks, at = Blocks(), [], 0
    for size in [*sizes, len(content)]:
        blocks += cutter.feed(content[at : at + size])
        at += size
    return [*blocks, cutter.rest()]


def slowly(content: bytes) -> list[bytes]:
    """The same, line by line: a block has as many whole lines as fit; one that is longer is cut off."""
    blocks, block = [], b""
    lines = content.split(b"\n")
    ends = [b"\n"] * (len(lines) - 1) + [b""]
    for text, end in zip(lines, ends, strict=True):
        whole = text + end
        if block and len(block) + len(whole) > SMALL - (not end):
            blocks.append(block)
            block = b""
        if len(whole) > SMALL or (len(whole) == SMALL and not end):
            blocks.append(text[:SMALL] + b"\n")
        else:
            block += whole
            if len(block) == SMALL:
                blocks.append(block)
                block = b""
    return [*blocks, block]


contents = st.lists(st.sampled_from([b"\n", b"a", b"bcd\n", b"x" * 15, b"x" * 16, b"y" * 40, b"\0\r\n"])).map(b"".join)


@given(contents, st.lists(st.integers(0, 50)))
def test_blocks_depend_on_nothing_but_the_content(content: bytes, sizes: list[int]) -> None:
    assert blocks_of(content, sizes) == slowly(content)


@given(contents)
def test_short_lines_come_through_and_long_ones_are_cut_and_marked(content: bytes) -> None:
    blocks = blocks_of(content, [])
    lines = content.split(b"\n")
    read = b"".join(blocks).split(b"\n")
    assert all(len(block) <= SMALL + 1 for block in blocks)
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert read[: len(lines)] == [text[:SMALL] for text in lines]
    assert read[len(lines) :] in ([], [b""])


def test_whole_lines_are_taken_before_a_block_is_full() -> None:
    cutter = Blocks()
    assert list(cutter.feed(b"a\nb\nc")) == []
    assert cutter.whole_lines() == b"a\nb\n"
    assert cutter.whole_lines() == b""
    assert list(cutter.feed(b"d\n")) == []
    assert cutter.whole_lines() == b"cd\n"
    assert cutter.rest() == b""


# ---- files ----------------------------------------------------------------------------------------------------------


def read(logs: Logs, path: str) -> tuple[bytes, str]:
    """What is in a log, and what is wrong with it."""
    [found] = logs.in_time_order([path], None, "UTC")
    pieces = []
    try:
        for block in logs.blocks(found):
            pieces.append(block)  # noqa: PERF402  # what came before an error counts
    except ImhelperError as error:
        return b"".join(pieces), str(error)
    return b"".join(pieces), ""


LINES = log(*range(60))


@pytest.fixture
def _usual_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "BLOCK", 1 << 10)


@pytest.mark.usefixtures("_usual_blocks")
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("content", [LINES, LINES[:-1], b""], ids=["whole", "no-end-at-the-end", "empty"])
def test_a_file_is_read_to_its_end(tmp_path: Path, compression: str, content: bytes) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(COMPRESSIONS[compression](content))
    assert read(Logs(None), str(path)) == (content, "")


@pytest.mark.usefixtures("_usual_blocks")
@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_what_stands_before_the_end_of_a_file_that_is_cut_off_counts(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "access.log"
    noise = b"".join(b"%s %s\n" % (line(n)[:-1], os.urandom(300).hex().encode()) for n in range(60))
    whole = COMPRESSIONS[compression](noise)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    content, problem = read(Logs(None), str(path))
    assert noise.startswith(content)
    assert problem == f"cannot read {path}: the file is cut off"
    assert compression in ("bz2", "zst") or content


@pytest.mark.usefixtures("_usual_blocks")
@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_file_that_is_damaged_is_told(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "access.log"
    whole = bytearray(COMPRESSIONS[compression](LINES))
    whole[-10] ^= 0xFF
    path.write_bytes(whole)
    _, problem = read(Logs(None), str(path))
    assert problem.startswith(f"cannot read {path}: ")


@pytest.mark.usefixtures("_usual_blocks")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_standard_input_is_read_once(compression: str) -> None:
    stdin = io.BufferedReader(io.BytesIO(COMPRESSIONS[compression](LINES)))  # type: ignore[arg-type]
    logs = Logs(stdin)
    [found] = logs.in_time_order([STDIN], None, "UTC")
    assert (found.log_format, found.first, found.size) == (LogFormat("squid"), 1773623200.004, 0)
    assert b"".join(logs.blocks(found)) == LINES


def test_standard_input_that_is_closed_is_told() -> None:
    [found] = Logs(None).in_time_order([STDIN], None, "UTC")
    assert found.problem == "stdin is closed"


@pytest.mark.usefixtures("_usual_blocks")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it stays open until the process ends
def test_a_fifo_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(LINES),))
    writer.start()
    assert read(Logs(None), str(path)) == (LINES, "")
    writer.join()


@pytest.mark.usefixtures("_usual_blocks")
def test_progress_is_told_in_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(gzip.compress(LINES))
    logs, told = Logs(None), []
    [found] = logs.in_time_order([str(path)], None, "UTC")
    assert b"".join(logs.blocks(found, told.append)) == LINES
    assert told == sorted(told)
    assert told[-1] == found.size == path.stat().st_size


# ---- which files, and in which order --------------------------------------------------------------------------------


def test_rotated_files_are_put_in_time_order(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_bytes(log(50, 51))
    (tmp_path / "access.log.1").write_bytes(log(40, 41))
    (tmp_path / "access.log.2.gz").write_bytes(gzip.compress(log(20, 30)))
    (tmp_path / "access.log.10.xz").write_bytes(lzma.compress(log(3)))
    expected = ["access.log.10.xz", "access.log.2.gz", "access.log.1", "access.log"]
    assert order(tmp_path, "access.log", "access.log.1", "access.log.10.xz", "access.log.2.gz") == expected
    assert order(tmp_path, *expected) == expected


def test_files_of_several_formats_are_put_in_time_order(tmp_path: Path) -> None:
    (tmp_path / "json").write_bytes(b'{"ts": 1773623230, "url": "http://a/"}\n')
    (tmp_path / "common").write_bytes(b'10.0.0.1 - - [16/Mar/2026:01:06:50 +0000] "GET http://a/ HTTP/1.1" 200 5\n')
    (tmp_path / "squid").write_bytes(log(1))
    assert order(tmp_path, "json", "common", "squid") == ["squid", "common", "json"]


def test_a_file_without_a_time_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(log(50))
    (tmp_path / "old").write_bytes(log(10))
    (tmp_path / "pairs").write_bytes(b"10.0.0.1 http://a.example/\n")
    assert order(tmp_path, "new", "pairs", "missing", "old") == ["old", "pairs", "missing", "new"]


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(lambda _: None, "cannot read {}: No such file or directory", id="missing"),
        pytest.param(make_folder, "cannot read {}: it is no regular file", id="folder"),
        pytest.param(
            lambda path: path.write_bytes(b"\x1f\x8b\x08"), "cannot read {}: the file is cut off", id="cut-off"
        ),
        pytest.param(
            lambda path: path.write_bytes(b"hello\n"),
            "{}: it looks like no access log; --log-format says what stands in it",
            id="no-log",
        ),
        pytest.param(lambda path: path.write_bytes(b""), "", id="empty"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, make: Callable[[Path], object], problem: str) -> None:
    """And the others are read all the same."""
    path, other = tmp_path / "log", tmp_path / "other"
    make(path)
    other.write_bytes(log(1))
    found, whole = Logs(None).in_time_order([str(path), str(other)], None, "UTC")
    assert (found.log_format, found.problem) == (None, problem.format(path))
    assert (whole.log_format, whole.problem) == (LogFormat("squid"), "")


@pytest.mark.parametrize("content", [b"\n\n", b"# only\n# comments", b"\t\r\n"])
def test_blank_lines_and_comments_are_read_as_any_format_would(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    (found,) = Logs(None).in_time_order([str(tmp_path / "log")], None, "Asia/Tokyo")
    assert (found.log_format, found.problem) == (LogFormat("squid", zone="Asia/Tokyo"), "")


@pytest.mark.parametrize("again", ["a", "./a", "link"])
def test_a_file_that_is_named_twice_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(ImhelperError, match="is named twice"):
        Logs(None).in_time_order(["a", "b", again], None, "UTC")


def test_the_format_that_is_asked_for_is_not_doubted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"hello\n" + log(1))
    asked = LogFormat("combined", zone="Asia/Tokyo")
    [found] = Logs(None).in_time_order([str(path)], asked, "UTC")
    assert (found.log_format, found.first, found.problem) == (asked, None, "")


def test_the_columns_of_a_table_are_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"time\turl\n1773623203\thttp://a/\n")
    [found] = Logs(None).in_time_order([str(path)], LogFormat("tsv"), "UTC")
    assert found.log_format == LogFormat("tsv", columns=("time", "url"))
    assert found.first == 1773623203.0


# ---- a file that grows ----------------------------------------------------------------------------------------------


class Reader:
    """Follows a file in a thread, and shows what has come so far."""

    def __init__(self, path: Path) -> None:
        self.read = b""
        self.problem = ""
        self._ended = False
        self._thread = threading.Thread(target=self._run, args=(str(path),))
        self._thread.start()

    def _run(self, path: str) -> None:
        try:
            for block in follow(path):
                self.read += block
                if self._ended:
                    return
        except ImhelperError as error:
            self.problem = str(error)

    def wait_for(self, expected: bytes) -> None:
        """Waits until that has come, which is soon, and fails when it does not within ten seconds."""
        for _ in range(2000):
            if self.read == expected:
                return
            time.sleep(0.005)
        assert self.read == expected

    def wait_for_problem(self) -> str:
        self._thread.join(10)
        return self.problem

    def end(self, path: Path) -> None:
        self._ended = True
        with suppress(FileNotFoundError), path.open("ab") as file:
            file.write(b"the end\n")
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def following(path: Path) -> Iterator[Reader]:
    reader = Reader(path)
    try:
        yield reader
    finally:
        reader.end(path)


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.write_bytes(b"one\n")
    return path


def test_lines_come_as_they_are_written(growing: Path) -> None:
    with following(growing) as reader:
        reader.wait_for(b"one\n")
        append(growing, b"two\nthree\n")
        reader.wait_for(b"one\ntwo\nthree\n")
        append(growing, b"x" * 12 + b"\n" + b"y" * 12 + b"\n")
        reader.wait_for(b"one\ntwo\nthree\nxxxxxxxxxxxx\nyyyyyyyyyyyy\n")


def test_half_a_line_waits_for_its_other_half(growing: Path) -> None:
    with following(growing) as reader:
        append(growing, b"tw")
        reader.wait_for(b"one\n")
        append(growing, b"o\nth")
        reader.wait_for(b"one\ntwo\n")
        append(growing, b"ree\n")
        reader.wait_for(b"one\ntwo\nthree\n")


def test_a_file_that_is_rotated_is_read_to_its_end(growing: Path) -> None:
    """`squid -k rotate` renames it, writes on for a moment, and opens a new one."""
    with following(growing) as reader:
        reader.wait_for(b"one\n")
        old = growing.rename(growing.with_suffix(".1"))
        append(old, b"two\n")
        reader.wait_for(b"one\ntwo\n")
        growing.write_bytes(b"three\n")
        reader.wait_for(b"one\ntwo\nthree\n")
        append(growing, b"four\n")
        reader.wait_for(b"one\ntwo\nthree\nfour\n")


def test_what_is_written_right_before_a_rotation_is_read(growing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "_PAUSE", 0.1)
    with following(growing) as reader:
        reader.wait_for(b"one\n")
        append(growing, b"two\n")
        growing.rename(growing.with_suffix(".1"))
        growing.write_bytes(b"three\n")
        reader.wait_for(b"one\ntwo\nthree\n")


def test_a_file_that_is_cut_off_is_read_from_its_beginning(growing: Path) -> None:
    """The copytruncate of logrotate."""
    with following(growing) as reader:
        append(growing, b"two\n")
        reader.wait_for(b"one\ntwo\n")
        os.truncate(growing, 0)
        append(growing, b"3\n")
        reader.wait_for(b"one\ntwo\n3\n")


def test_a_file_that_is_removed_is_waited_for(growing: Path) -> None:
    with following(growing) as reader:
        reader.wait_for(b"one\n")
        growing.unlink()
        growing.write_bytes(b"two\n")
        reader.wait_for(b"one\ntwo\n")


def test_an_empty_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"")
    with following(path) as reader:
        append(path, b"one\n")
        reader.wait_for(b"one\n")


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_file_is_not_followed(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(COMPRESSIONS[compression](LINES))
    assert Reader(path).wait_for_problem() == f"cannot follow {path}: it is compressed, and so does not grow"


def test_a_file_that_is_missing_is_not_followed(tmp_path: Path) -> None:
    assert "No such file" in Reader(tmp_path / "missing").wait_for_problem()
