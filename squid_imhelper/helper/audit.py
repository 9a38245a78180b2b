"""The audit log: one JSON object a line for each request that is blocked or monitored.

A log may cost lines, and never answers: nothing here waits, and nothing is raised. Children append to the same file,
each batch in one write, which Linux appends as a whole (O_APPEND).
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from squid_imhelper.base.addresses import client_network
from squid_imhelper.base.model import AuditSettings, Decision, Evidence, Request

SYSLOG: Final = "syslog:"
MAX_TEXT: Final = 2048
"""Characters of a URL, and of anything else that a client can make long."""

_PRIORITY: Final = 134
"""Facility local0, severity info (RFC 5424, 6.2.1)."""
_DEV_LOG: Final = "/dev/log"


def audit_line(
    settings: AuditSettings, request: Request, asked: str, decision: Decision, now: float, *, dry_run: bool
) -> str:
    """Returns one line, ASCII, without its LF.

    Args:
        settings: what may be told.
        request: what was asked.
        asked: its URL as it was asked for.
        decision: what was decided.
        now: when, in seconds since 1970.
        dry_run: whether a request that is blocked was let through all the same.
    """
    tells_host, tells_url = settings.log_urls != "none", settings.log_urls == "full"
    evidence = decision.evidence
    seconds, milliseconds = divmod(int(now * 1000), 1000)
    return json.dumps(
        {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03}Z",
            "action": decision.action,
            "dry_run": dry_run,
            "client": _CLIENTS[settings.log_clients](request.client) if request.client else None,
            "user": _cut(request.user) if settings.log_clients == "full" else None,
            "method": _cut(request.method),
            "host": _cut(request.target.host) if tells_host else None,
            "url": _cut(asked) if tells_url else None,
            "service": decision.service,
            "rule": decision.rule,
            "signature": _told(evidence, settings) if evidence else None,
        }
    )


_CLIENTS: Final[dict[str, Callable[[str], str | None]]] = {
    "full": str,
    "network": client_network,
    "none": lambda _: None,
}


def _told(evidence: Evidence, settings: AuditSettings) -> dict[str, str | None]:
    """Evidence as far as URLs may be told: a value may be a host, or a host and a path."""
    if settings.log_urls == "none":
        return {"kind": evidence.kind, "value": None}
    if settings.log_urls == "host" and evidence.kind in ("site", "url"):
        return {"kind": evidence.kind, "value": evidence.value.partition("/")[0]}
    return {"kind": evidence.kind, "value": _cut(evidence.value)}


def _cut(text: str | None) -> str | None:
    """Text of a client, bounded; bytes that are no UTF-8 are replaced, since not every reader of JSON takes them."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode() if text is not None else None


class Sink(Protocol):
    """Where lines go."""

    def write(self, lines: list[str]) -> int:
        """Writes lines and returns how many of them were lost."""

    def reopen(self) -> None:
        """Looks whether the log has been moved away."""


class FileSink:
    """Appends to a file, and opens it anew when it has been rotated or removed."""

    def __init__(self, path: str, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain = complain
        self._fd = -1
        self._broken_line = False
        self._open()

    def write(self, lines: list[str]) -> int:
        """Appends the lines in one write."""
        if self._fd < 0:
            return len(lines)
        data = "".join(f"{line}\n" for line in lines).encode("ascii")
        if self._broken_line:  # the one before was cut off by a full disk
            data = b"\n" + data
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            self._complain(f"cannot write the audit log {self._path}: {error.strerror}")
            self._broken_line = True  # what another child wrote last may have been cut off
            return len(lines)
        self._broken_line = written < len(data) and data[written - 1 : written] != b"\n"
        if self._broken_line:
            with suppress(OSError):  # so that what another child writes next begins a line
                os.write(self._fd, b"\n")
        if written < len(data):
            self._complain(f"cannot write all of the audit log {self._path}: the disk is full")
        return data[written:].count(b"\n")

    def reopen(self) -> None:
        """Opens the file anew when another one, or none, stands at its path."""
        with suppress(OSError):
            there, ours = os.stat(self._path), os.fstat(self._fd)  # noqa: PTH116  # without pathlib
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        self._open()

    def _open(self) -> None:
        try:
            # Without O_NONBLOCK a FIFO that nobody reads would stop the helper.
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
        except (OSError, ValueError) as error:
            self._complain(f"cannot open the audit log {self._path}: {getattr(error, 'strerror', error)}")
            if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:  # what is written there is lost, and counts as lost
                self._close()
            return
        self._close()
        self._fd = fd

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._broken_line = False


class SyslogSink:
    """Sends each line to the syslog daemon of this machine (RFC 3164, over its datagram socket)."""

    def __init__(self, path: str, complain: Callable[[str], None]) -> None:
        import socket  # a log that is a file does without

        self._path = path or _DEV_LOG
        self._complain = complain
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._tag = f"squid-imhelper[{os.getpid()}]"

    def write(self, lines: list[str]) -> int:
        """Sends the lines."""
        return sum(not self._send(line) for line in lines)

    def _send(self, line: str) -> bool:
        stamp = time.strftime("%b %e %H:%M:%S")
        try:
            self._socket.sendto(f"<{_PRIORITY}>{stamp} {self._tag}: {line}".encode("ascii"), self._path)
        except OSError as error:
            self._complain(f"cannot write the audit log to {self._path}: {error.strerror or error}")
            return False
        return True

    def reopen(self) -> None:
        """Nothing is kept open that could be rotated."""


def open_sink(name: str, complain: Callable[[str], None]) -> Sink:
    """Opens a file, or with `syslog:` the syslog; `syslog:PATH` is another socket than /dev/log."""
    if name.startswith(SYSLOG):
        return SyslogSink(name.removeprefix(SYSLOG), complain)
    return FileSink(name, complain)
