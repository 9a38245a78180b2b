"""TOML with places: reads a file, checks types, and says for every problem on which line it stands.

`tomllib` reads the file; where its values stand is only asked once something is wrong with one of them (`places.py`).

A `Table` is asked for what it may hold, key by key, and notes a problem for whatever does not fit; `finish` reports the
keys that nobody asked for. So all problems of a file are told at once.
"""

import re
import tomllib
from collections.abc import Callable, Iterable
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, TypeVar

from squid_imhelper.base.errors import ImhelperError, Problem, SourceError, suggest
from squid_imhelper.sources.places import Places, Where

_Choice = TypeVar("_Choice", bound=str)
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

_LONGEST_DATE: Final = 10
_AT: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Document:
    """A TOML file, its text, the problems found in it so far, and the places of those that are errors."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.problems: list[Problem] = []
        self.wrong: list[Where] = []
        try:
            self.data: dict[str, object] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SourceError([self._syntax_problem(str(error))]) from None
        except RecursionError:
            raise ImhelperError(f"{path} is nested too deeply") from None
        except ValueError as error:  # a number of thousands of digits
            raise ImhelperError(f"{path} cannot be read: {error}") from None

    @property
    def root(self) -> "Table":
        """The whole file as one table."""
        return Table(self, (), self.data)

    @cached_property
    def _places(self) -> Places:
        return Places(self.text)

    def error(self, where: Where, message: str, value: object = None, suggestion: str = "") -> None:
        """Notes an error at `where`; `value` is what stands there and is wrong."""
        self._note(where, message, value, suggestion, "error")

    def warning(self, where: Where, message: str, value: object = None, suggestion: str = "") -> None:
        """Notes something that is legal and probably not meant."""
        self._note(where, message, value, suggestion, "warning")

    def check(self) -> None:
        """Raises SourceError when an error has been noted."""
        if any(problem.severity == "error" for problem in self.problems):
            raise SourceError(self.problems)

    def line(self, where: Where) -> int:
        """The line on which the statement for `where` begins."""
        return self.locate(where)[0]

    def locate(self, where: Where, value: object = None) -> tuple[int, int, str]:
        """Returns line, column (both from 1) and the source line of a value, or of the nearest thing around it."""
        start = self._places.find(where, value)
        line_start = self.text.rfind("\n", 0, start) + 1
        source = self.text[line_start:].partition("\n")[0].rstrip("\r")
        return self.text.count("\n", 0, start) + 1, start - line_start + 1, source

    def _note(
        self, where: Where, message: str, value: object, suggestion: str, severity: Literal["error", "warning"]
    ) -> None:
        line, column, source = self.locate(where, value)
        if severity == "error":
            self.wrong.append(where)
        self.problems.append(Problem(self.path, line, column, message, suggestion, source, severity))

    def _syntax_problem(self, message: str) -> Problem:
        at = _AT.search(message)
        lines = self.text.split("\n")
        line, column = (int(at[1]), int(at[2])) if at and at[1] else (len(lines), len(lines[-1]) + 1)
        text = message[: at.start()] if at else message
        return Problem(self.path, line, column, f"not valid TOML: {text.lower()}", source=lines[line - 1])


class Table:
    """One table of a document, asked key by key for what it may hold."""

    def __init__(self, document: Document, where: Where, data: dict[str, object]) -> None:
        self.document = document
        self.where = where
        self.data = data
        self._asked: set[str] = set()

    def at(self, key: str) -> Where:
        """The place of a key."""
        return (*self.where, key)

    def has(self, key: str) -> bool:
        """Whether the key is there at all."""
        return key in self.data

    def error(self, key: str, message: str, value: object = None, suggestion: str = "") -> None:
        """Notes an error at a key of this table."""
        self.document.error(self.at(key), message, value, suggestion)

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """A string."""
        value = self._get(key, str, "a string")
        if value is None and required and key not in self.data:
            self.document.error(self.where, f"'{key}' is missing")
        return default if value is None else value

    def choice(self, key: str, choices: tuple[_Choice, ...], default: _Choice, *, required: bool = False) -> _Choice:
        """One of a few words."""
        value = self.text(key, required=required)
        for word in choices:
            if word == value:
                return word
        if key in self.data and isinstance(self.data[key], str):
            self.error(key, f"'{key}' is one of {', '.join(choices)}", value, suggest(value, choices))
        return default

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self._get(key, bool, "true or false")
        return default if value is None else value

    def integer(self, key: str) -> int | None:
        """A whole number."""
        return self._get(key, int, "a whole number")

    def texts(self, key: str) -> list[str]:
        """A list of strings, none of them empty."""
        items = self._get(key, list, "a list of strings") or []
        good = [item for item in items if isinstance(item, str) and item.strip()]
        if len(good) < len(items):
            bad = next(item for item in items if item not in good)
            self.error(key, f"'{key}' holds strings only, and none that is empty", bad if bad != "" else None)
        return good

    def one_or_more(self, key: str) -> list[str]:
        """A string, or a list of strings."""
        return [self.text(key)] if isinstance(self.data.get(key), str) else self.texts(key)

    def moment(self, key: str) -> date | None:
        """A date, or a date and a time, as TOML has them or as a string in ISO 8601."""
        self._asked.add(key)
        value = self.data.get(key)
        if value is None or isinstance(value, date):
            return value
        try:
            text = value if isinstance(value, str) else ""
            return date.fromisoformat(text) if len(text) <= _LONGEST_DATE else datetime.fromisoformat(text)
        except ValueError:
            self.error(key, f"'{key}' must be a date, as in 2026-12-24, or a date and a time", value)
            return None

    def texts_or_integers(self, key: str) -> list[str | int]:
        """A list of strings and whole numbers."""
        items = self._get(key, list, "a list") or []
        good = [item for item in items if isinstance(item, str | int) and not isinstance(item, bool)]
        if len(good) < len(items):
            self.error(key, f"'{key}' holds numbers and ranges only")
        return good

    def parsed(self, key: str, items: Iterable[_Item], parse: Callable[[_Item], _Value]) -> list[_Value]:
        """What a parser makes of items of a key; for one that it raises ValueError of, that is noted as an error."""
        found = []
        for item in items:
            try:
                found.append(parse(item))
            except ValueError as error:
                self.error(key, str(error), item)
        return found

    def table(self, key: str) -> "Table":
        """A table below this one; an empty one where there is none."""
        value = self._get(key, dict, "a table")
        return Table(self.document, self.at(key), value or {})

    def tables(self, key: str) -> "list[Table]":
        """A list of tables."""
        items = self._get(key, list, "a list of tables") or []
        if not all(isinstance(item, dict) for item in items):
            self.error(key, f"'{key}' must be a list of tables")
        return [
            Table(self.document, (*self.at(key), n), item) for n, item in enumerate(items) if isinstance(item, dict)
        ]

    def rest(self) -> "list[tuple[str, Table]]":
        """Every key that has not been asked for; each of them must be a table, and what is none is left out."""
        found = [(key, self.table(key)) for key in self.data if key not in self._asked]
        return [(key, table) for key, table in found if isinstance(self.data[key], dict)]

    def finish(self) -> None:
        """Reports the keys that nobody has asked for."""
        for key in self.data:
            if key not in self._asked:
                self.document.error(self.at(key), f"unknown key '{key}'", suggestion=suggest(key, self._asked))

    def _get(self, key: str, kind: type[_Value], called: str) -> _Value | None:
        self._asked.add(key)
        value = self.data.get(key)
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        if value is None:
            return None
        self.error(key, f"'{key}' must be {called}", value if isinstance(value, str | int) else None)
        return None


def read_document(path: Path) -> Document:
    """Reads a TOML file.

    Raises:
        SourceError: it is no TOML.
        ImhelperError: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ImhelperError(f"cannot read {path}: it is no regular file")
        return Document(str(path), path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ImhelperError(f"{path} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ImhelperError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:  # a path with a NUL byte
        raise ImhelperError(f"cannot read {str(path)!r}: {error}") from None
