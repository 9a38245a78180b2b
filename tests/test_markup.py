"""What is text is escaped, whatever it holds; what is markup is not escaped again."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.dryrun.markup import Column, Html, escaped, make_table, tag
from squid_imhelper.offline.check import printable


class Reader(HTMLParser):
    """Elements in order, and all text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('"><img onerror=x>', "&quot;&gt;&lt;img onerror=x&gt;"),
        ("a & b's", "a &amp; b&#x27;s"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202eevil", "\\u202eevil"),
        ("\ud800", "\\ud800"),
    ],
)
def test_text_is_escaped(text: str, expected: str) -> None:
    assert tag("p", text) == f"<p>{expected}</p>"


def test_markup_is_put_in_as_it_is() -> None:
    assert tag("p", tag("b", "<"), " ", Html("<br>"), "<") == "<p><b>&lt;</b> <br>&lt;</p>"


def test_attributes_are_named_as_in_html() -> None:
    assert tag("i", class_="a b", aria_label='say "x"') == '<i class="a b" aria-label="say &quot;x&quot;"></i>'


@given(st.lists(st.text(), min_size=1, max_size=4), st.text())
def test_text_makes_no_element_and_no_attribute(texts: list[str], value: str) -> None:
    read = Reader(tag("p", *texts, title=value))
    assert [name for name, _ in read.elements] == ["p"]
    assert read.elements[0][1] == {"title": printable(value)}
    assert read.text == printable("".join(texts))
    assert escaped("".join(texts)).isprintable()


def test_a_table_has_a_caption_a_head_and_a_last_row() -> None:
    columns = [Column("Host"), Column("Requests", "n")]
    read = Reader(make_table("Hosts", columns, [["a<b", "1"], ["c", "2"]], ["all", "3"]))
    names = [name for name, _ in read.elements]
    assert names == ["div", "table", "caption", "thead", "tr", "th", "th", "tbody", *["tr", "th", "td"] * 2,
                     "tfoot", "tr", "th", "td"]  # fmt: skip
    assert read.elements[1][1] == {"class": "n2"}
    assert [attributes["scope"] for name, attributes in read.elements if name == "th"] == ["col", "col", *["row"] * 3]
    assert read.text.split() == ["HostsHostRequestsa<b1", "c2", "all3"]
