"""Text files as they lie about: plain, .gz, .bz2, .xz or .zst, told apart by their first bytes, not by their name."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from squid_imhelper.base.errors import ImhelperError

CHUNK: Final = 1 << 20


def _open_gzip(file: BinaryIO) -> BinaryIO:
    import gzip

    return cast(BinaryIO, gzip.open(file))


def _open_bz2(file: BinaryIO) -> BinaryIO:
    import bz2

    return cast(BinaryIO, bz2.open(file))


def _open_xz(file: BinaryIO) -> BinaryIO:
    import lzma

    return cast(BinaryIO, lzma.open(file))


def _open_zstd(file: BinaryIO) -> BinaryIO:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
    except ImportError:
        from backports import zstd
    return cast(BinaryIO, zstd.open(file))


_MAGIC: Final[tuple[tuple[bytes, Callable[[BinaryIO], BinaryIO]], ...]] = (
    (b"\x1f\x8b", _open_gzip),
    (b"BZh", _open_bz2),
    (b"\xfd7zXZ\x00", _open_xz),
    (b"\x28\xb5\x2f\xfd", _open_zstd),
)


def read_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a file without their ends. What is no UTF-8 comes as surrogates.

    Raises:
        ImhelperError: it cannot be read, is damaged or cut off, or is no text.
    """
    with told_in_a_sentence(path), open_content(path) as (content, _):
        if b"\x00" in content.peek(1024)[:1024]:
            raise ImhelperError(f"cannot read {path}: it is no text")
        with io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape") as text:
            yield from (line.rstrip("\n") for line in text)


@contextmanager
def told_in_a_sentence(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong with a file inside of it into an ImhelperError."""
    try:
        yield
    except EOFError:
        raise ImhelperError(f"cannot read {path}: the file is cut off") from None
    except OSError as error:
        raise ImhelperError(f"cannot read {path}: {error.strerror or error}") from None
    except ImhelperError:
        raise
    except Exception as error:  # each compression has errors of its own (zlib.error, LZMAError, ZstdError)
        raise ImhelperError(f"cannot read {path}: {error}") from None


@contextmanager
def open_content(path: Path) -> Iterator[tuple[io.BufferedReader, io.BufferedReader]]:
    """Opens a regular file; yields what is in it, unpacked, and the file itself."""
    if not path.is_file() and path.exists():
        raise ImhelperError(f"cannot read {path}: it is no regular file")
    with path.open("rb") as file, unpacked(file) as content:
        yield content, file


def unpacked(file: io.BufferedReader) -> io.BufferedReader:
    """Returns what is in a file that has not been read yet."""
    opener = _opener(file)
    return io.BufferedReader(opener(file) if opener else file, CHUNK)  # type: ignore[arg-type]


def is_packed(file: io.BufferedReader) -> bool:
    """Whether a file that has not been read yet is compressed."""
    return _opener(file) is not None


def _opener(file: io.BufferedReader) -> Callable[[BinaryIO], BinaryIO] | None:
    start = file.peek(8)
    return next((opener for magic, opener in _MAGIC if start.startswith(magic)), None)
