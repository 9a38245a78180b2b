"""Who is measured: how each is set up and started, which lines it reads, and what it must have answered."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.ground import HELPER, HERE, Ground
from benchmarks.problems import Missing, Problem, WrongAnswer
from benchmarks.workloads import Workload

_MESSAGE: Final = re.compile(rb" message=[^ \n]*")
_REDIRECT: Final = re.compile(rb"OK rewrite-url=[^\n]*")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

GUARD_CONF: Final = """\
dbhome {folder}
logdir {folder}
dest blocked {{
    domainlist domains
}}
acl {{
    default {{
        pass !blocked any
        redirect http://blocked.invalid/
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that answers lines.

    `asked` and `expected` are the files of a workload that it reads and that tell its answers; `cleaned` takes from the
    answers what is not compared. Without `expected`, its answers are its own business.
    """

    name: str
    command: tuple[str | Path, ...]
    asked: str = "acl.txt"
    expected: str = "acl.expected"
    cleaned: Callable[[bytes], bytes] = bytes

    def verify(self, answers: Path, workload: Workload, lines: int) -> None:
        """Holds the answers to the first lines of a workload to what they must be.

        Raises:
            WrongAnswer: one of them is another, or there are too many or too few.
        """
        given = self.cleaned(answers.read_bytes())
        self.compare(given, first_lines(workload.path(self.expected), lines))

    def compare(self, given: bytes, wanted: bytes) -> None:
        """Holds answers to what they must be.

        Raises:
            WrongAnswer: one of them is another, or there are too many or too few.
        """
        if given == wanted:
            return
        ours, theirs = given.splitlines(), wanted.splitlines()
        for number, (one, other) in enumerate(zip(ours, theirs, strict=False), 1):
            if one != other:
                raise WrongAnswer(f"{self.name}: answer {number} is {_shown(one)} and must be {_shown(other)}")
        raise WrongAnswer(f"{self.name}: {len(ours)} answers, and must be {len(theirs)}")


def _shown(answer: bytes) -> str:
    return repr(answer[:200].decode("utf-8", "replace"))


def first_lines(path: Path, count: int) -> bytes:
    """Returns the first lines of a file."""
    with path.open("rb") as file:
        return b"".join(islice(file, count))


def contender(ground: Ground, name: str) -> Contender:
    """Sets a contender up, and returns it.

    Raises:
        Missing: it is not installed here.
        Problem: it cannot be set up.
    """
    return _CONTENDERS[name](ground)


def compiled(ground: Ground, name: str) -> Path:
    """Compiles one of the C programs, unless that has been done, and returns where it is.

    Raises:
        Missing: there is no compiler.
        Problem: it cannot be compiled.
    """
    source, target = HERE / "contenders" / f"{name}.c", ground.folder / name
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        if shutil.which("gcc") is None:
            raise Missing("gcc is not installed")
        ground.folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["gcc", "-O2", "-o", target, source], capture_output=True, text=True, check=False)  # noqa: S603, S607
        if done.returncode:
            raise Problem(f"{source.name} cannot be compiled: {done.stderr}")
    return target


def _ours(ground: Ground) -> Contender:
    return ours_with(ground.program_path)


def ours_with(program: Path, name: str = "ours") -> Contender:
    """The helper with a program."""
    return Contender(name, (HELPER, "acl", "--policy", program), cleaned=without_messages)


def without_messages(answers: bytes) -> bytes:
    """Takes the texts for people out of answers."""
    return _MESSAGE.sub(b"", answers)


def _floor(ground: Ground) -> Contender:
    """Its answers differ from those of others in that nothing is blocked."""
    return Contender("floor", (compiled(ground, "floor"),), expected="floor.expected")


def _guard(ground: Ground) -> Contender:
    program = shutil.which("squidGuard", path=_PATH)
    if program is None:
        raise Missing("squidGuard is not installed (apt-get install squidguard)")
    folder = ground.folder / "squidguard"
    names = "".join(f"{name}\n" for name in ground.blocked_names)
    domains, conf = folder / "domains", folder / "squidGuard.conf"
    if not domains.exists() or domains.read_text() != names or not (folder / "domains.db").exists():
        folder.mkdir(parents=True, exist_ok=True)
        domains.write_text(names, encoding="ascii")
        conf.write_text(GUARD_CONF.format(folder=folder), encoding="utf-8")
        subprocess.run([program, "-c", conf, "-C", "all"], check=True, capture_output=True)  # noqa: S603
    return Contender(
        "squidguard",
        (program, "-c", conf),
        asked="rewriter.txt",
        expected="rewriter.expected",
        cleaned=lambda answers: _REDIRECT.sub(b"OK", answers),
    )


def _obvious(ground: Ground) -> Contender:
    names = ground.folder / "obvious.txt"
    names.write_text("\n".join(ground.blocked_names), encoding="ascii")
    command = (sys.executable, HERE / "contenders" / "obvious.py", names)
    return Contender(
        "obvious", command, expected="floor.expected", cleaned=lambda answers: answers.replace(b"OK", b"ERR")
    )


_CONTENDERS: Final[Mapping[str, Callable[[Ground], Contender]]] = {
    "ours": _ours,
    "floor": _floor,
    "squidguard": _guard,
    "obvious": _obvious,
}
