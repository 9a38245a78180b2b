"""Names of real hosts: from the filter lists that Debian ships with uBlock Origin, or from a recording.

A literal scanner behaves otherwise on random letters than on names that people have given, so none are made up: what is
needed beyond those of a list is the first label of one name below another one.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.problems import Problem

PACKAGE: Final = "webext-ublock-origin-chromium"
_NAME: Final = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{1,61}"
_BLOCKED: Final = re.compile(rf"^(?:@@)?\|\|({_NAME})(?=[\^/$\n])", re.MULTILINE)
"""`||example.com^` of a filter list is a domain."""
_ABOUT: Final = re.compile(rf"^(?:~?{_NAME},)*{_NAME}(?=##|#@#|#\?#)", re.MULTILINE)
_OPTION: Final = re.compile(r"[,$](?:domain|from)=([^,\s]+)")
"""`example.com,example.org##.banner` and `$domain=example.com|~example.org` are about these sites."""
_RANDOM: Final = "easylist.txt"
"""Many of the domains that this list blocks are random letters; the sites that it is about are not."""
_WHOLE: Final = re.compile(_NAME)
_STEP: Final = 7919


def listed_names(folder: Path) -> list[str]:
    """Returns some 75,000 different names, sorted; the package is fetched from Debian, and not installed.

    Raises:
        Problem: it cannot be fetched.
    """
    if not (folder / "usr").exists():
        _fetch(folder)
    found: set[str] = set()
    for path in sorted(folder.glob("usr/share/**/assets/**/*.txt")):
        text = path.read_text(encoding="utf-8", errors="replace")
        about = [name for sites in _ABOUT.findall(text) for name in sites.split(",")]
        about += [name for sites in _OPTION.findall(text) for name in sites.split("|")]
        found.update(name for name in about if _WHOLE.fullmatch(name))
        if path.name != _RANDOM:
            found.update(_BLOCKED.findall(text))
    if len(found) < 20_000:
        raise Problem(f"only {len(found)} names in {PACKAGE}: has the format of its lists changed?")
    return sorted(found)


def _fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fetch = ["apt-get", "-q", "download", PACKAGE]
    try:
        if subprocess.run(fetch, cwd=folder, capture_output=True, check=False).returncode:  # noqa: S603
            subprocess.run(["apt-get", "-q", "update"], capture_output=True, check=True)  # noqa: S607
            subprocess.run(fetch, cwd=folder, check=True, capture_output=True)  # noqa: S603
        (package,) = folder.glob(f"{PACKAGE}_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True, capture_output=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise Problem(f"{PACKAGE} could not be fetched from Debian ({error})") from None


def combined(names: Sequence[str], first: int, count: int) -> list[str]:
    """Returns names that are all different, whatever is asked for together: first labels below other names.

    Args:
        names: of domains, more than ten.
        first: which of them all to begin with.
        count: how many to return; there are some hundred times as many as `names`.
    """
    labels = sorted({name.partition(".")[0] for name in names})
    size = len(labels)
    return [
        f"{labels[n % size]}.{names[(n % size + 1 + n // size * _STEP) % len(names)]}"
        for n in range(first, first + count)
    ]


def free_of(taken: Iterable[str]) -> Callable[[str], bool]:
    """Returns what tells whether a name is neither below nor above one of some others."""
    at = set(taken)
    above = {parent for name in at for parent in parents(name)}
    return lambda name: name not in above and not any(parent in at for parent in parents(name))


def parents(name: str) -> Iterator[str]:
    """Yields a name and all domains above it."""
    while name:
        yield name
        name = name.partition(".")[2]
