"""The loop between Squid and the engine: read a batch, answer each line, write once.

This is the only module that touches the wire's file descriptors. Squid gives a helper one socket as fd 0 and fd 1
(ipc.cc) and cache.log as fd 2. fd 1 is put aside at once and pointed at stderr, so that no stray print can reach Squid,
to which it would be fatal. The helper ends when Squid closes its side, and for no other reason.
"""

import os
import select
import sys
from typing import Final

from squid_imhelper.helper.answering import Helper
from squid_imhelper.helper.chores import Chores
from squid_imhelper.squid.wire import LineBuffer

READ_SIZE: Final = 1 << 15
"""Bytes. What is made of more does not fit into the processor's nearest caches, and takes longer for each line."""


def guard_descriptors() -> int:
    """Takes stdout for the wire and points everything else that writes there at stderr.

    Returns:
        The descriptor to answer on.
    """
    for fd in (0, 1, 2):  # one that is closed would be given to the next file that is opened
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    wire = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return wire


def serve(helper: Helper, read_fd: int, write_fd: int, chores: Chores) -> None:
    """Answers until the other side closes."""
    buffer = LineBuffer()
    try:
        chores.begin_waiting()
        while data := _read(read_fd):
            chores.end_waiting()
            _answer(helper, buffer.feed(data), write_fd)
            chores.begin_waiting()
        chores.end_waiting()
        if rest := buffer.rest():
            _answer(helper, rest + b"\n", write_fd)
    except OSError:
        chores.end_waiting()  # Squid is gone, and nobody waits for an answer


def _answer(helper: Helper, block: bytes, write_fd: int) -> None:
    """Answers a batch; the log comes second, so that nobody waits for it."""
    try:
        _write(write_fd, helper.answer_all(block))
    finally:
        helper.write_audit()


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, READ_SIZE)
        except BlockingIOError:
            select.select([fd], [], [])


def _write(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
