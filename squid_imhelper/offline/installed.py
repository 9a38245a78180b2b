"""What is installed on this machine: a Squid and what it can do, and the certificate for its port."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from squid_imhelper.squid.intercepting import MAKE_CERTIFICATE

VERSIONS: Final = (5, 6, 7)
"""Of Squid, for which there are lines."""
_PLACES: Final = ("/usr/sbin", "/usr/local/sbin", "/usr/local/squid/sbin")
_SECONDS: Final = 10
_MAX_PEM: Final = 1 << 20


class FoundSquid(NamedTuple):
    """Where it is, its major version, and whether it can look into TLS."""

    path: str
    version: int
    openssl: bool


def find_squid() -> FoundSquid | None:
    """Returns the first Squid in PATH or in the places where it usually lies; None where there is none that answers."""
    path = shutil.which("squid", path=os.pathsep.join((os.environ.get("PATH", ""), *_PLACES)))
    if path is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  # what the administrator would start by that name
            [path, "-v"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = done.stdout.decode("utf-8", "replace")
    version = re.search(r"Squid Cache: Version (\d{1,3})\b", text)
    return FoundSquid(path, int(version[1]), "--with-openssl" in text) if version else None


def nearest_version(found: FoundSquid | None) -> int:
    """Returns the version whose lines fit best."""
    return VERSIONS[0] if found is None else min(VERSIONS, key=lambda version: abs(version - found.version))


def pem_problem(path: Path) -> str:
    """Returns what is wrong with the file of a certificate and its key, as far as one is allowed to know; or ""."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_PEM)
    except FileNotFoundError:
        return f"there is no {path} yet; this makes one: {MAKE_CERTIFICATE.format(path=path)}"
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    missing = [name for name, mark in _PARTS.items() if not re.search(mark, text)]
    return f"{path} holds no {' and no '.join(missing)}" if missing else ""


_PARTS: Final = {
    "certificate": rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----",
    "key": rb"-----BEGIN (?:[A-Z0-9]+ )?PRIVATE KEY-----",
}
