"""Text files, plain or compressed: all of their lines, or one sentence about why not."""

import bz2
import gzip
import io
import lzma
import os
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.sources import compressed
from squid_imhelper.sources.compressed import is_packed, open_content, read_lines, told_in_a_sentence, unpacked

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
except ImportError:
    from backports import zstd

NOBODY = 65534

Compress = Callable[[bytes], bytes]


def with_checksum(raw: bytes) -> bytes:
    """As the command `zstd` does it."""
    return bytes(zstd.compress(raw, options={zstd.CompressionParameter.checksum_flag: True}))


COMPRESSIONS = [
    pytest.param(gzip.compress, id="gz"),
    pytest.param(bz2.compress, id="bz2"),
    pytest.param(lzma.compress, id="xz"),
    pytest.param(with_checksum, id="zst"),
]
LONGEST_MAGIC = 6

TEXT = "".join(f"{number * number}.example\n" for number in range(100)).encode()
LINES = TEXT.decode().splitlines()


def lines_of(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return list(read_lines(path))


@pytest.mark.parametrize("compress", [pytest.param(bytes, id="plain"), *COMPRESSIONS])
def test_lines_come_out_as_they_went_in(tmp_path: Path, compress: Compress) -> None:
    assert lines_of(tmp_path / "list", compress(TEXT)) == LINES


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_the_name_of_a_file_says_nothing(tmp_path: Path, compress: Compress) -> None:
    """A download is often called as its address ends."""
    for name in ("list.txt", "list.gz", "list.zst", "list.bz2", "list.xz"):
        assert lines_of(tmp_path / name, compress(TEXT)) == LINES


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_several_compressed_files_one_behind_the_other_are_one(tmp_path: Path, compress: Compress) -> None:
    assert lines_of(tmp_path / "list", compress(TEXT) + compress(TEXT)) == LINES + LINES


@pytest.mark.parametrize("compress", [pytest.param(bytes, id="plain"), *COMPRESSIONS])
def test_an_empty_file_has_no_lines(tmp_path: Path, compress: Compress) -> None:
    assert lines_of(tmp_path / "list", compress(b"")) == []


@pytest.mark.parametrize("compress", [pytest.param(bytes, id="plain"), *COMPRESSIONS])
def test_more_than_one_chunk_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: Compress) -> None:
    monkeypatch.setattr(compressed, "CHUNK", 16)
    assert lines_of(tmp_path / "list", compress(TEXT)) == LINES


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"a\nb\n", ["a", "b"], id="unix"),
        pytest.param(b"a\r\nb\r\n", ["a", "b"], id="dos"),
        pytest.param(b"a\rb\r", ["a", "b"], id="old-mac"),
        pytest.param(b"a\nb", ["a", "b"], id="no-end-at-the-end"),
        pytest.param(b"\n\na\n\n", ["", "", "a", ""], id="blank-lines"),
        pytest.param(b"\xef\xbb\xbfa\n", ["a"], id="bom"),
        pytest.param(b"\xef\xbb\xbf", [], id="nothing-but-a-bom"),
        pytest.param("é\n".encode(), ["é"], id="utf-8"),
        pytest.param(b"caf\xe9\n", ["caf\udce9"], id="latin-1"),
        pytest.param("a\x0bb\x85c\u2028d\n".encode(), ["a\x0bb\x85c\u2028d"], id="no-line-ends"),
    ],
)
def test_lines_end_where_every_editor_ends_them(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    assert lines_of(tmp_path / "list", content) == expected


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_file_that_is_cut_off_is_told_wherever_it_is_cut(tmp_path: Path, compress: Compress) -> None:
    whole = compress(TEXT)
    for length in range(LONGEST_MAGIC, len(whole)):
        with pytest.raises(ImhelperError, match="cut off"):
            lines_of(tmp_path / "list", whole[:length])


def lines_or_error(path: Path, content: bytes) -> list[str] | str:
    try:
        return lines_of(path, content)
    except ImhelperError as error:
        return str(error)


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_damaged_file_is_told_or_read_as_it_was(tmp_path: Path, compress: Compress) -> None:
    """A changed byte is found by a checksum, unless it says nothing about the content."""
    path, whole = tmp_path / "list", compress(TEXT)
    flips = (whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(LONGEST_MAGIC, len(whole)))
    outcomes = [lines_or_error(path, damaged) for damaged in flips]
    told = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert all(str(path) in message for message in told)
    assert all(outcome == LINES for outcome in outcomes if not isinstance(outcome, str))
    assert len(told) > len(outcomes) * 0.9


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("a.example\nb.example\n".encode("utf-16"), id="utf-16"),
        pytest.param(b"\x7fELF\x02\x01\x01\x00\x00\x00", id="a-program"),
        pytest.param(gzip.compress(gzip.compress(TEXT)), id="compressed-twice"),
        pytest.param(gzip.compress(b"\x00" * 1000), id="zeros-compressed"),
    ],
)
def test_what_is_no_text_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ImhelperError, match="no text"):
        lines_of(tmp_path / "list", content)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda _: None, "No such file", id="missing"),
        pytest.param(make_folder, "it is no regular file", id="folder"),
        pytest.param(os.mkfifo, "it is no regular file", id="fifo"),
        pytest.param(make_socket, "it is no regular file", id="socket"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "it is no regular file", id="device"),
        pytest.param(make_loop, "Too many levels", id="link-to-itself"),
    ],
)
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    path = tmp_path / "l"
    make(path)
    with pytest.raises(ImhelperError, match=f"^cannot read {re.escape(str(path))}: {reason}"):
        list(read_lines(path))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "list/below"], ids=["too-long", "nul", "below-a-file"])
def test_a_name_that_no_file_can_have_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "list").write_bytes(TEXT)
    with pytest.raises(ImhelperError, match="cannot read"):
        list(read_lines(tmp_path / name))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_one_may_not_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "closed" / "list"
    path.parent.mkdir()
    path.write_bytes(TEXT)
    path.parent.chmod(0)
    try:
        with as_nobody(), pytest.raises(ImhelperError, match="Permission denied"):
            list(read_lines(path))
    finally:
        path.parent.chmod(0o700)


def test_a_file_is_closed_when_its_reader_stops(tmp_path: Path) -> None:
    """Warnings are errors here: one that stays open would be told."""
    path = tmp_path / "list"
    path.write_bytes(gzip.compress(TEXT))
    lines = read_lines(path)
    assert next(lines) == LINES[0]
    lines.close()  # type: ignore[attr-defined]  # a generator


MAGICS = st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"BZh", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"])


@given(MAGICS, st.binary(max_size=60))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_lines_or_an_error_of_ours(tmp_path: Path, magic: bytes, rest: bytes) -> None:
    with suppress(ImhelperError):
        lines_of(tmp_path / "list", magic + rest)


@given(st.lists(st.binary(max_size=12).filter(lambda line: not re.search(rb"[\0\r\n]", line)), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_byte_of_a_line_comes_through(tmp_path: Path, raw: list[bytes]) -> None:
    content = b"".join(line + b"\n" for line in raw)
    lines = lines_of(tmp_path / "list", b"#\n" + content)
    assert [os.fsencode(line) for line in lines] == [b"#", *raw]


# ---- what readers of other files use --------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [pytest.param(bytes, id="plain"), *COMPRESSIONS])
def test_a_file_is_unpacked_and_its_place_is_known(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "log"
    path.write_bytes(compress(TEXT))
    with open_content(path) as (content, file):
        assert content.read() == TEXT
        assert file.tell() == path.stat().st_size
    assert file.closed


@pytest.mark.parametrize(
    ("content", "packed"),
    [
        *(pytest.param(case.values[0](TEXT), True, id=str(case.id)) for case in COMPRESSIONS),  # type: ignore[operator]
        pytest.param(TEXT, False, id="plain"),
        pytest.param(b"", False, id="empty"),
        pytest.param(b"BZ", False, id="half-a-mark"),
        pytest.param(b"\x1f", False, id="half-a-mark-of-gzip"),
    ],
)
def test_a_file_is_packed_or_not_and_still_has_all_of_its_bytes(content: bytes, packed: bool) -> None:
    file = io.BufferedReader(io.BytesIO(content))  # type: ignore[arg-type]
    assert is_packed(file) is packed
    assert unpacked(file).read() == (TEXT if packed else content)


def test_what_comes_in_pieces_is_unpacked() -> None:
    """A pipe: its first read may give less than is asked for."""
    ours, theirs = os.pipe()
    with open(ours, "rb") as file, open(theirs, "wb", buffering=0) as writer:  # noqa: PTH123  # descriptors
        writer.write(gzip.compress(TEXT))
        writer.close()
        assert unpacked(file).read() == TEXT


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(EOFError(), "cannot read a/b: the file is cut off", id="cut-off"),
        pytest.param(
            FileNotFoundError(2, "No such file or directory"), "cannot read a/b: No such file or directory", id="os"
        ),
        pytest.param(gzip.BadGzipFile("CRC check failed"), "cannot read a/b: CRC check failed", id="gzip"),
        pytest.param(zlib.error("Error -3"), "cannot read a/b: Error -3", id="zlib"),
        pytest.param(lzma.LZMAError("Corrupt input data"), "cannot read a/b: Corrupt input data", id="xz"),
        pytest.param(ValueError("embedded null byte"), "cannot read a/b: embedded null byte", id="name"),
        pytest.param(ImhelperError("as it is"), "as it is", id="ours"),
    ],
)
def test_whatever_goes_wrong_is_told_in_a_sentence(error: Exception, message: str) -> None:
    with pytest.raises(ImhelperError) as caught, told_in_a_sentence(Path("a/b")):
        raise error
    assert str(caught.value) == message


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_what_ends_the_program_ends_it(error: type[BaseException]) -> None:
    with pytest.raises(error), told_in_a_sentence(Path("a/b")):
        raise error
