"""What can go wrong, said so that its reader can mend it.

Three exceptions, and `Problem`: one finding at one place of a file the administrator wrote. Anything else that is
raised is a fault of the program itself.
"""

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


SHOWN: Final = 160
"""Characters of a source line that are shown around a problem."""


class ImhelperError(Exception):
    """Anything that is told to the user in a sentence."""


class ProtocolError(ImhelperError):
    """A line, a FORMAT or a URL that Squid, or somebody else, got wrong."""


class Problem(NamedTuple):
    """One finding: where it is, what is wrong, and what may have been meant. `line` and `column` count from 1."""

    path: str
    line: int
    column: int
    message: str
    suggestion: str = ""
    source: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        text = f"{self.path}:{self.line}: {self.severity}: {self.message}"
        if self.source:
            margin = f"{self.line:5} | "
            cut = max(0, self.column - SHOWN // 2)
            source = self.source[cut : cut + SHOWN]
            before = "".join("\t" if c == "\t" else " " for c in source[: self.column - 1 - cut])
            pointer = " " * 5 + " | " + before + "^"
            hint = f" {self.suggestion}" if self.suggestion else ""
            return f"{text}\n{margin}{source}\n{pointer}{hint}"
        return f"{text} ({self.suggestion})" if self.suggestion else text


class SourceError(ImhelperError):
    """A file that cannot be used, with everything that is wrong in it."""

    def __init__(self, problems: "Iterable[Problem]") -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.path, p.line, p.column)))
        super().__init__("\n".join(map(str, self.problems)))


def suggest(word: str, known: "Iterable[str]") -> str:
    """Returns "did you mean 'x'?" for the nearest known word, or nothing."""
    from difflib import get_close_matches  # only who has got a word wrong waits for it

    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else ""
