"""Files of logs: which there are, in which order, and what is in them, in blocks of whole lines.

A block is what one process counts at a time. Where one ends depends on what is in the file and on nothing else, so that
whatever is counted block by block comes out the same, however many processes there are.
"""

import io
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.logs.accesslog import MAX_LINE, LogFormat
from squid_imhelper.logs.recognition import SAMPLE, first_time, recognise, table_format
from squid_imhelper.sources.compressed import is_packed, open_content, told_in_a_sentence, unpacked

STDIN: Final = "-"
UNKNOWN: Final = "it looks like no access log; --log-format says what stands in it"
BLOCK: Final = MAX_LINE
"""Bytes of a block; a line that is longer is cut off there."""
_PIECE: Final = 1 << 13
"""Bytes that are read at a time: of a compressed file that is cut off, so many at most are lost."""
_LARGE_PIECE: Final = 1 << 18
"""Bytes of a file that is not compressed."""
_FIRST_LINE: Final = 2 * MAX_LINE
"""Bytes in which a line has to end, for its log to be looked at."""
_FIRST_LINES: Final = 20
"""Lines of a stream by which its format is told."""
_PAUSE: Final = 0.25
"""Seconds between two looks at a growing file."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log: where it is, its format (None where none fits), the time of its first line, and its bytes on disk.

    `zone` is that of times without one.
    """

    path: str
    log_format: LogFormat | None
    first: float | None
    size: int
    problem: str = ""
    zone: str = "UTC"


Progress = Callable[[int], None]
"""Is told how many bytes of a file on disk have been read so far."""


def no_progress(_: int) -> None:
    """For whom nobody waits."""


class Blocks:
    """Cuts what was read into blocks of whole lines."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Takes what was read and yields the blocks that are full now."""
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            self._skipping = not newline
        self._buffer += data
        while len(self._buffer) >= BLOCK:
            end = self._buffer.rfind(b"\n", 0, BLOCK) + 1
            if end:
                yield self._take(end)
                continue
            yield self._take(BLOCK) + b"\n"
            rest = self._buffer.find(b"\n")
            self._skipping = rest < 0
            del self._buffer[: rest + 1 if rest >= 0 else len(self._buffer)]

    def whole_lines(self) -> bytes:
        """Returns the lines that are complete, before a block is full."""
        return self._take(self._buffer.rfind(b"\n") + 1)

    def rest(self) -> bytes:
        """Returns what is left at the end."""
        return self._take(len(self._buffer))

    def _take(self, size: int) -> bytes:
        with memoryview(self._buffer) as whole, whole[:size] as part:
            block = bytes(part)
        del self._buffer[:size]
        return block


class _Stream(NamedTuple):
    """What was read of a stream, what comes next, and the file that it is read from."""

    beginning: bytes
    content: io.BufferedReader
    file: io.BufferedReader


def format_of(sample: bytes, log_format: LogFormat | None, zone: str) -> LogFormat | None:
    """Returns the format of a log by its beginning, as far as it is not given; None where none fits.

    Of blank lines and comments Squid's own says as much as any other.
    """
    if log_format is not None:
        return table_format(sample, zone) if log_format.name == "tsv" else log_format
    lines = sample.split(b"\n")
    if sample and not any(line.strip() and not line.startswith(b"#") for line in lines):
        return LogFormat("squid", zone=zone)
    return recognise(sample, zone)


class Logs:
    """The logs of one run. What cannot be read twice (standard input, a FIFO) stays open, with what was read of it."""

    def __init__(self, stdin: io.BufferedReader | None) -> None:
        self._stdin = stdin
        self._streams: dict[str, _Stream] = {}

    def in_time_order(self, paths: Sequence[str], log_format: LogFormat | None, zone: str) -> list[LogFile]:
        """Looks at the beginning of each log, and sorts them by the times there; one without stays where it is.

        Raises:
            ImhelperError: one is named twice.
        """
        real = [os.path.realpath(path) if path != STDIN else STDIN for path in paths]
        for path, place in zip(paths, real, strict=True):
            if real.count(place) > 1:
                raise ImhelperError(f"{path} is named twice")
        logs = [self._look_at(path, log_format, zone) for path in paths]
        dated = iter(sorted((log for log in logs if log.first is not None), key=lambda log: log.first or 0.0))
        return [log if log.first is None else next(dated) for log in logs]

    def _look_at(self, path: str, log_format: LogFormat | None, zone: str) -> LogFile:
        try:
            sample, size = self._sample(path)
        except ImhelperError as error:
            return LogFile(path, log_format, None, 0, str(error))
        found = format_of(sample, log_format, zone)
        if found is None:
            return LogFile(path, None, None, size, f"{path}: {UNKNOWN}" if sample.strip() else "", zone)
        return LogFile(path, found, first_time(sample, found), size, zone=zone)

    def _sample(self, path: str) -> tuple[bytes, int]:
        with told_in_a_sentence(Path(path)):
            if path == STDIN or Path(path).is_fifo() or Path(path).is_char_device():
                file = self._open_stream(path)
                content = unpacked(file)
                self._streams[path] = _Stream(_beginning(content, _FIRST_LINES), content, file)
                return self._streams[path].beginning, 0
            with open_content(Path(path)) as (content, file):
                return _beginning(content), os.fstat(file.fileno()).st_size

    def _open_stream(self, path: str) -> io.BufferedReader:
        if path != STDIN:
            return Path(path).open("rb")
        if self._stdin is None:
            raise ImhelperError("stdin is closed")
        return self._stdin

    def blocks(self, log: LogFile, progress: Progress = no_progress) -> Iterator[bytes]:
        """Yields what is in a log, block by block, and tells how many bytes of the file have been read.

        Raises:
            ImhelperError: it cannot be read, or not to its end; what was read before has been yielded.
        """
        cutter, problem = Blocks(), None
        try:
            with self._open(log.path) as (beginning, content, position, piece):
                yield from cutter.feed(beginning)
                while data := content.read1(piece):
                    yield from cutter.feed(data)
                    progress(position())
        except ImhelperError as error:
            problem = error
        if rest := cutter.rest():
            yield rest
        if problem:
            raise problem

    @contextmanager
    def _open(self, path: str) -> Iterator[tuple[bytes, io.BufferedReader, Callable[[], int], int]]:
        with told_in_a_sentence(Path(path)):
            if path in self._streams:
                stream = self._streams.pop(path)
                with stream.file:
                    yield stream.beginning, stream.content, lambda: 0, _PIECE
                return
            with open_content(Path(path)) as (content, file):
                yield b"", content, file.tell, (_PIECE if is_packed(file) else _LARGE_PIECE)


def follow(path: str) -> Iterator[bytes]:
    """Yields what is in a file, block by block, and then whole lines as they come; b"" while nothing does.

    A file that has been moved away is read to its end, and then the one that stands in its place.

    Raises:
        ImhelperError: it cannot be read, or is compressed.
    """
    cutter = Blocks()
    while True:
        with told_in_a_sentence(Path(path)), Path(path).open("rb") as file:
            if is_packed(file):
                raise ImhelperError(f"cannot follow {path}: it is compressed, and so does not grow")
            while not _is_replaced(Path(path), file):
                if os.fstat(file.fileno()).st_size < file.tell():  # it was cut off, as copytruncate does
                    file.seek(0)
                    yield cutter.rest()
                elif data := file.read(_PIECE):
                    yield from cutter.feed(data)
                else:
                    yield cutter.whole_lines()
                    time.sleep(_PAUSE)
            while data := file.read(_PIECE):
                yield from cutter.feed(data)
        if rest := cutter.rest():
            yield rest


def _is_replaced(path: Path, file: BinaryIO) -> bool:
    """Whether another file stands at a path; none at all does not count, since one will come."""
    try:
        there, ours = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)


def _beginning(content: io.BufferedReader, lines: float = math.inf) -> bytes:
    """Returns what can be read of the first SAMPLE bytes; where nothing can, whatever is wrong is raised.

    Of a stream, on which more may be long in coming, so many lines are enough.
    """
    pieces = b""
    try:
        while piece := content.read1(_PIECE):
            pieces += piece
            found = pieces.count(b"\n")
            if found >= lines or len(pieces) >= (SAMPLE if found > 1 else _FIRST_LINE):
                break
    except Exception:  # whoever reads it to its end will be told
        if not pieces:
            raise
    return pieces
