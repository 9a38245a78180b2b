"""Markup that cannot be forgotten to escape: text is escaped when it is put into an element, markup is not.

Names, URLs and lines come from logs, and from whoever wrote into them. `tag` is the way to markup.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from squid_imhelper.offline.check import printable


class Html(str):
    """Markup that is meant as such. Any other text is escaped when it is put into a page."""


def tag(name: str, *content: str, **attributes: str) -> Html:
    """An element; the attribute `class_` stands for `class`, `aria_label` for `aria-label`."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{words}>{''.join(map(escaped, content))}</{name}>")


def escaped(text: str) -> str:
    """The text as it stands in a page; control characters are shown as escapes, and what turns writing around."""
    return text if isinstance(text, Html) else escape(printable(text))


class Column(NamedTuple):
    """A title, and what its cells hold: n numbers, s shares, t times, u URLs or lines, "" any other text."""

    title: str
    kind: str = ""


def make_table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], last: Sequence[str] = ()
) -> Html:
    """A table in a box that scrolls, with a last row apart."""
    kinds = " ".join(f"{column.kind}{place}" for place, column in enumerate(columns, 1) if column.kind)
    parts = (
        tag("caption", caption),
        tag("thead", tag("tr", *(tag("th", column.title, scope="col", class_=column.kind) for column in columns))),
        tag("tbody", *map(_row, rows)),
        tag("tfoot", _row(last)) if last else "",
    )
    return tag("div", tag("table", *parts, class_=kinds), class_="box")


def _row(cells: Sequence[str]) -> Html:
    return Html(f"{tag('tr', tag('th', cells[0], scope='row'), *(tag('td', cell) for cell in cells[1:]))}\n")
