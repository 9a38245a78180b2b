"""Where things stand in a TOML file: the place of each key and each value.

The text is known to be valid TOML, since `tomllib` has read it. So a few kinds of tokens and their nesting are enough
to follow it, and what a key or a value means is asked of `tomllib` itself.
"""

import re
import tomllib
from collections.abc import Iterator
from typing import Final

Where = tuple[str | int, ...]
"""The keys, and the numbers of list items, that lead to a value."""

_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?""""{0,2}'
    r"|'''.*?''''{0,2}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'"
    r"|[\[\]{}=,\n]"
    r"|#[^\n]*"
    r"|[^\s#,=\[\]{}\"']+",
    re.DOTALL,
)
_OPENING: Final = re.compile("\"\"\"\n?|'''\n?|[\"']|")


class Places:
    """The places of a valid TOML text, found in one pass."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [token for token in _TOKEN.finditer(text) if token[0][0] != "#"]
        self._next = 0
        self._keys: dict[Where, int] = {(): 0}
        self._values: dict[Where, tuple[int, int]] = {}
        self._last_item: dict[Where, int] = {}
        self._read_file()

    def find(self, where: Where, value: object = None) -> int:
        """Returns the offset of what stands at `where`, of the item there that is `value`, or of what is around it."""
        if value is not None:
            for place in (where, *self._items(where)):
                start, end = self._values.get(place, (0, 0))
                if end and self._means(start, end, value):
                    opening = _OPENING.match(self._text, start)
                    return opening.end() if opening else start
        depth = next(n for n in range(len(where), -1, -1) if where[:n] in self._keys)
        return self._keys[where[:depth]]

    def _items(self, where: Where) -> Iterator[Where]:
        number = 0
        while (*where, number) in self._values:
            yield (*where, number)
            number += 1

    def _means(self, start: int, end: int, value: object) -> bool:
        try:
            return bool(tomllib.loads(f"x = {self._text[start:end]}")["x"] == value)
        except ValueError:  # a number of thousands of digits
            return False

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _skip(self, words: str) -> None:
        while self._peek() and self._peek() in words:
            self._next += 1

    def _read_file(self) -> None:
        table: Where = ()
        self._skip("\n")
        while self._next < len(self._tokens):
            table = self._read_header() if self._peek() == "[" else self._read_pair(table)
            self._skip("\n")

    def _read_header(self) -> Where:
        """Reads `[a.b]` or `[[a.b]]`; returns the table that it opens."""
        start = self._tokens[self._next].start()
        self._skip("[")
        many = self._text[start : start + 2] == "[["
        *outer, name = self._read_key("]")
        self._skip("]")
        where: Where = ()
        for key in outer:
            where = (*where, key)
            self._keys.setdefault(where, start)
            if where in self._last_item:
                where = (*where, self._last_item[where])
        where = (*where, name)
        self._keys.setdefault(where, start)
        if many:
            self._last_item[where] = self._last_item.get(where, -1) + 1
        if where in self._last_item:
            where = (*where, self._last_item[where])
        self._keys[where] = start
        return where

    def _read_key(self, end: str) -> list[str]:
        """Reads a dotted key up to the token behind it."""
        first = self._tokens[self._next].start()
        while self._peek() != end:
            self._next += 1
        level: object = tomllib.loads(f"{self._text[first : self._tokens[self._next].start()]} = 0")
        path: list[str] = []
        while isinstance(level, dict):
            ((key, level),) = level.items()
            path.append(key)
        return path

    def _read_pair(self, table: Where) -> Where:
        """Reads `key = value`; returns the table again."""
        start = self._tokens[self._next].start()
        where = table
        for key in self._read_key("="):
            where = (*where, key)
            self._keys.setdefault(where, start)
        self._next += 1
        self._read_value(where)
        return table

    def _read_value(self, where: Where) -> None:
        start = self._tokens[self._next].start()
        opening = self._peek()
        self._next += 1
        if opening == "[":
            number = 0
            self._skip(",\n")
            while self._peek() != "]":
                self._keys[(*where, number)] = self._tokens[self._next].start()
                self._read_value((*where, number))
                number += 1
                self._skip(",\n")
            self._next += 1
        elif opening == "{":
            self._skip(",\n")
            while self._peek() != "}":
                self._read_pair(where)
                self._skip(",\n")
            self._next += 1
        else:
            while self._peek() not in ("", "\n", ",", "]", "}"):  # a date and a time with a blank between them
                self._next += 1
        self._values[where] = (start, self._tokens[self._next - 1].end())
