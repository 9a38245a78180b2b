"""TOML with places: where each key and value stands, and which types are let through."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError, SourceError
from squid_imhelper.sources.places import Where
from squid_imhelper.sources.tomlfile import Document, Table, read_document

HERE = "»"
"""Marks, in the cases below, the character that must be found."""


def place(marked: str) -> tuple[int, int]:
    before = marked[: marked.index(HERE)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


PLACES = [
    pytest.param("a = 1\n»b = 2\n", ("b",), None, id="key"),
    pytest.param("a = 1\n  »b = 2\n", ("b",), None, id="key-indented"),
    pytest.param('»"a" = 1\n', ("a",), "a", id="key-quoted-value"),
    pytest.param('x = 0\n»"a b" = 1\n', ("a b",), None, id="key-quoted"),
    pytest.param("x = 0\n»'a=b' = 1\n", ("a=b",), None, id="key-with-equals-sign"),
    pytest.param('x = 0\n»"a\\"b" = 1\n', ('a"b',), None, id="key-with-escaped-quote"),
    pytest.param('x = 0\n»"a#b" = 1\n', ("a#b",), None, id="key-with-hash"),
    pytest.param('x = 0\n»"\\u0061" = 1\n', ("a",), None, id="key-with-escape"),
    pytest.param("[t]\nb = 1\n»[u]\nb = 2\n", ("u",), None, id="table"),
    pytest.param("[t]\nb = 1\n[u]\n»b = 2\n", ("u", "b"), None, id="key-in-table"),
    pytest.param("[t.u]\nb = 1\n[ t . v ] # x\n»b = 2\n", ("t", "v", "b"), None, id="key-in-table-with-blanks"),
    pytest.param('["t]"]\nb = 1\n["t#]"."[u"]\n»b = 2\n', ("t#]", "[u", "b"), None, id="header-with-brackets"),
    pytest.param("x = 1\n»[t.u]\nb = 1\n", ("t",), None, id="table-implied-by-its-child"),
    pytest.param("x = 1\n»t.u.b = 1\n", ("t",), None, id="table-implied-by-a-dotted-key"),
    pytest.param("x = 1\n»t.u.b = 1\n", ("t", "u", "b"), None, id="dotted-key"),
    pytest.param('[t]\n»"u v" . b = 1\n', ("t", "u v", "b"), None, id="dotted-quoted-key"),
    pytest.param("x = 1\n»[[r]]\na = 1\n[[r]]\na = 2\n", ("r",), None, id="array-of-tables"),
    pytest.param("[[r]]\na = 1\n»[[r]]\na = 2\n", ("r", 1), None, id="second-table-of-an-array"),
    pytest.param("[[r]]\na = 1\n[[r]]\n»a = 2\n", ("r", 1, "a"), None, id="key-in-array-of-tables"),
    pytest.param("[[r]]\na = 1\n»[[r]]\nb = 2\n", ("r", 1, "a"), None, id="missing-key-is-its-table"),
    pytest.param("[[r]]\n[r.s]\na = 1\n[[r]]\n[r.s]\n»a = 2\n", ("r", 1, "s", "a"), None, id="table-below-an-array"),
    pytest.param("[[r]]\n[[r.s]]\n[[r.s]]\n»a = 2\n", ("r", 0, "s", 1, "a"), None, id="array-below-an-array"),
    pytest.param("t = { a = 1, »b = 2 }\n", ("t", "b"), None, id="inline-table"),
    pytest.param("t = { ab = 1, »b = 2 }\n", ("t", "b"), None, id="inline-table-key-in-a-key"),
    pytest.param('t = { a = "b = 1", »b = 2 }\n', ("t", "b"), None, id="inline-table-key-in-a-value"),
    pytest.param("t = { a = { c = 1 }, b = { »c = 2 } }\n", ("t", "b", "c"), None, id="inline-tables-nested"),
    pytest.param("r = [\n  { a = 1 },\n  { »a = 2 },\n]\n", ("r", 1, "a"), None, id="inline-tables-in-an-array"),
    pytest.param('a = "x"\nb = "»x"\n', ("b",), "x", id="value"),
    pytest.param('b = "»b"\n', ("b",), "b", id="value-like-its-key"),
    pytest.param('b = "»"\n', ("b",), "", id="value-empty"),
    pytest.param('b = ["xy", "»x"]\n', ("b",), "x", id="value-in-array"),
    pytest.param('b = [\n  "y", # "x"\n  "»x",\n]\nx = 1\n', ("b",), "x", id="value-behind-a-comment"),
    pytest.param("b = [180, 8080, »80]\n", ("b",), 80, id="number-in-array"),
    pytest.param('b = ["»\\u0078"]\n', ("b",), "x", id="value-written-with-an-escape"),
    pytest.param('b = [ # [ { "\n  1, \']\', "}",\n]\n»c = 1\n', ("c",), None, id="brackets-in-comments-and-strings"),
    pytest.param('a = """\n[t]\nb = 1\n"""\n[t]\n»b = 2\n', ("t", "b"), None, id="multi-line-string"),
    pytest.param("a = '''\n[t]\nb = 1 # '\n'''\n[t]\n»b = 2\n", ("t", "b"), None, id="multi-line-literal"),
    pytest.param('a = """x\\""""\nc = ["""]"""]\n»b = 2\n', ("b",), None, id="escaped-quote-at-the-end"),
    pytest.param("[t]\na = '''x''''\nc = 'y'\n»b = '''z'''\n", ("t", "b"), None, id="literal-that-ends-in-a-quote"),
    pytest.param('[t]\na = """x"""""\nc = "["\n»b = "z"\n', ("t", "b"), None, id="string-that-ends-in-two-quotes"),
    pytest.param('[t]\na = """x""""\nc = "["\n»b = "]"\n', ("t", "b"), None, id="string-that-ends-in-a-quote"),
    pytest.param("# [t] b = 1\n[t] # b = 1\n»b = 2 # b\n", ("t", "b"), None, id="comments"),
    pytest.param("[t]\r\na = '''\r\n[t]'''\r\n»b = 2\r\n", ("t", "b"), None, id="crlf"),
    pytest.param("\n\n\n»b = 1", ("b",), None, id="no-line-end-at-the-end"),
]


@pytest.mark.parametrize(("marked", "where", "value"), PLACES)
def test_a_key_or_value_is_found_where_it_stands(marked: str, where: Where, value: object) -> None:
    text = marked.replace(HERE, "")
    line, column, source = Document("f.toml", text).locate(where, value)
    assert (line, column) == place(marked), source
    assert source == text.split("\n")[line - 1].rstrip("\r")


def test_a_number_beyond_all_bounds_can_be_located() -> None:
    document = Document("f.toml", f"a = 1\nb = 0x{'f' * 6000}\n")
    assert document.locate(("b",), document.data["b"])[0] == 2


SYNTAX = [
    pytest.param("a = 1\nb = »\n", "invalid value", id="no-value"),
    pytest.param("a = 1\na = 2»\n", "cannot overwrite a value", id="twice"),
    pytest.param("[a]\n[a»]\n", "twice", id="table-twice"),
    pytest.param("a = [1\n»", "unclosed array", id="end-of-document"),
    pytest.param('a = "x»\n', "illegal character", id="string-not-closed"),
]


@pytest.mark.parametrize(("marked", "message"), SYNTAX)
def test_a_syntax_error_is_located(marked: str, message: str) -> None:
    text = marked.replace(HERE, "")
    with pytest.raises(SourceError) as caught:
        Document("f.toml", text)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == place(marked)
    assert message in problem.message
    assert problem.source == text.split("\n")[problem.line - 1]


def test_a_syntax_error_keeps_names_as_they_are_written() -> None:
    with pytest.raises(SourceError, match="Lan"):
        Document("f.toml", "[Lan]\n[Lan]\n")


FILES = [
    pytest.param(b"\xef\xbb\xbfa = 1\nb = 2\n", 2, id="bom"),
    pytest.param(b"a = 1\r\nb = 2\r\n", 2, id="crlf"),
    pytest.param(b"a = 1\r\n\r\n# x\r\nb = 2", 4, id="crlf-comments"),
    pytest.param("a = 'é'\nb = 2\n".encode(), 2, id="utf-8"),
]


@pytest.mark.parametrize(("raw", "line"), FILES)
def test_a_file_is_read_as_editors_write_it(tmp_path: Path, raw: bytes, line: int) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(raw)
    document = read_document(path)
    assert document.data["b"] == 2
    assert document.locate(("b",)) == (line, 1, "b = 2")


def make_nothing(_: Path) -> None: ...


UNREADABLE = [
    pytest.param(make_nothing, "No such file", id="missing"),
    pytest.param(Path.mkdir, "Is a directory", id="directory"),
    pytest.param(lambda path: path.write_bytes(b"# ok\n\xff"), r"not UTF-8 text \(byte 5\)", id="not-utf-8"),
    pytest.param(lambda path: path.write_text("a = " + "9" * 5000), "f.toml", id="number-too-long"),
    pytest.param(
        lambda path: path.write_text("a = " + "[" * 9000), "nested too deeply|not valid TOML", id="nested-too-deeply"
    ),
]


@pytest.mark.parametrize(("make", "message"), UNREADABLE)
def test_what_cannot_be_read_is_told_in_a_sentence(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "f.toml"
    make(path)
    with pytest.raises(ImhelperError, match=message) as caught:
        read_document(path)
    assert "f.toml" in str(caught.value)


def test_a_path_with_a_nul_byte_is_told_in_a_sentence() -> None:
    with pytest.raises(ImhelperError, match="cannot read"):
        read_document(Path("a\0b"))


def table(text: str) -> Table:
    return Document("f.toml", text).root


def messages(root: Table) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in root.document.problems]


Read = Callable[[Table], object]

GOOD = [
    pytest.param('k = "x"', lambda t: t.text("k"), "x", id="text"),
    pytest.param("", lambda t: t.text("k", "d"), "d", id="text-default"),
    pytest.param("k = true", lambda t: t.flag("k"), True, id="flag"),
    pytest.param("", lambda t: t.flag("k", default=True), True, id="flag-default"),
    pytest.param("k = 7", lambda t: t.integer("k"), 7, id="integer"),
    pytest.param("", lambda t: t.integer("k"), None, id="integer-default"),
    pytest.param('k = "b"', lambda t: t.choice("k", ("a", "b"), "a"), "b", id="choice"),
    pytest.param("", lambda t: t.choice("k", ("a", "b"), "a"), "a", id="choice-default"),
    pytest.param('k = ["a", "b"]', lambda t: t.texts("k"), ["a", "b"], id="texts"),
    pytest.param("", lambda t: t.texts("k"), [], id="texts-default"),
    pytest.param('k = "a"', lambda t: t.one_or_more("k"), ["a"], id="one"),
    pytest.param('k = ["a", "b"]', lambda t: t.one_or_more("k"), ["a", "b"], id="or-more"),
    pytest.param("", lambda t: t.one_or_more("k"), [], id="one-or-more-default"),
    pytest.param("k = 2026-12-24", lambda t: t.moment("k"), date(2026, 12, 24), id="date"),
    pytest.param('k = "2026-12-24"', lambda t: t.moment("k"), date(2026, 12, 24), id="date-in-a-string"),
    pytest.param("k = 2026-12-24T10:30:00", lambda t: t.moment("k"), datetime(2026, 12, 24, 10, 30), id="time"),
    pytest.param("k = 2026-12-24 10:30:00", lambda t: t.moment("k"), datetime(2026, 12, 24, 10, 30), id="time-blank"),
    pytest.param('k = "2026-12-24T10:30"', lambda t: t.moment("k"), datetime(2026, 12, 24, 10, 30), id="time-string"),
    pytest.param(
        "k = 2026-12-24T10:30:00Z",
        lambda t: t.moment("k"),
        datetime(2026, 12, 24, 10, 30, tzinfo=UTC),
        id="time-with-an-offset",
    ),
    pytest.param("", lambda t: t.moment("k"), None, id="moment-default"),
    pytest.param('k = [1, "2-3"]', lambda t: t.texts_or_integers("k"), [1, "2-3"], id="texts-or-integers"),
    pytest.param("[[k]]\na = 1\n[[k]]", lambda t: [x.data for x in t.tables("k")], [{"a": 1}, {}], id="tables"),
    pytest.param("[a]\n[b]", lambda t: [name for name, _ in t.rest()], ["a", "b"], id="rest"),
]


@pytest.mark.parametrize(("text", "read", "expected"), GOOD)
def test_what_fits_is_returned(text: str, read: Read, expected: object) -> None:
    root = table(text)
    assert read(root) == expected
    assert messages(root) == []


BAD = [
    pytest.param("\nk = 1", lambda t: t.text("k"), "'k' must be a string", id="text"),
    pytest.param("\nk = true", lambda t: t.integer("k"), "'k' must be a whole number", id="true-is-no-number"),
    pytest.param("\nk = 1.5", lambda t: t.integer("k"), "'k' must be a whole number", id="fraction"),
    pytest.param("\nk = 1", lambda t: t.flag("k"), "'k' must be true or false", id="one-is-no-flag"),
    pytest.param("\nk = 'c'", lambda t: t.choice("k", ("a", "b"), "a"), "'k' is one of a, b", id="choice"),
    pytest.param("\nk = 1", lambda t: t.choice("k", ("a", "b"), "a"), "'k' must be a string", id="choice-number"),
    pytest.param("\nk = 'a'", lambda t: t.texts("k"), "'k' must be a list of strings", id="texts"),
    pytest.param("\nk = ['a', [ ]]", lambda t: t.texts("k"), "'k' holds strings only", id="texts-list"),
    pytest.param("\nk = [' ']", lambda t: t.texts("k"), "'k' holds strings only", id="texts-blank"),
    pytest.param("\nk = 5", lambda t: t.one_or_more("k"), "'k' must be a list of strings", id="one-or-more-number"),
    pytest.param("\nk = ['']", lambda t: t.one_or_more("k"), "'k' holds strings only", id="one-or-more-empty"),
    pytest.param("\nk = 'x'", lambda t: t.moment("k"), "'k' must be a date, as in 2026-12-24", id="moment-word"),
    pytest.param("\nk = ''", lambda t: t.moment("k"), "'k' must be a date", id="moment-empty"),
    pytest.param("\nk = 20261224", lambda t: t.moment("k"), "'k' must be a date", id="moment-number"),
    pytest.param("\nk = true", lambda t: t.moment("k"), "'k' must be a date", id="moment-flag"),
    pytest.param("\nk = 10:30:00", lambda t: t.moment("k"), "'k' must be a date", id="moment-without-a-date"),
    pytest.param("\nk = '2026-02-30'", lambda t: t.moment("k"), "'k' must be a date", id="moment-30-february"),
    pytest.param("\nk = ['2026-02-03']", lambda t: t.moment("k"), "'k' must be a date", id="moment-list"),
    pytest.param("\nk = [1.5]", lambda t: t.texts_or_integers("k"), "'k' holds numbers", id="texts-or-integers"),
    pytest.param("\nk = 1", lambda t: t.table("k").data, "'k' must be a table", id="table"),
    pytest.param("\nk = [1]", lambda t: t.tables("k"), "'k' must be a list of tables", id="tables"),
    pytest.param("\nk = 1", lambda t: t.finish(), "unknown key 'k'", id="unknown"),
]


@pytest.mark.parametrize(("text", "read", "message"), BAD)
def test_what_does_not_fit_is_noted_once_with_its_line(text: str, read: Read, message: str) -> None:
    root = table(text)
    read(root)
    ((line, said),) = messages(root)
    assert line == 2
    assert message in said
    with pytest.raises(SourceError):
        root.document.check()


@given(st.dates() | st.datetimes(timezones=st.none() | st.just(UTC)))
def test_any_date_and_time_is_read_as_it_is_written(moment: date) -> None:
    """As TOML has it, and as a string."""
    text = moment.isoformat()
    for written in (text, f'"{text}"'):
        root = table(f"k = {written}")
        assert (root.moment("k"), messages(root)) == (moment, [])


@given(st.text(max_size=30))
def test_any_string_is_a_moment_or_noted(text: str) -> None:
    root = Table(Document("f.toml", "k = 'x'"), (), {"k": text})
    assert (root.moment("k") is None) == bool(messages(root))


def test_a_key_that_was_asked_for_is_known_whatever_its_type() -> None:
    root = table("a = 1\nb = []\nc = 2026-12-24\nd = 'x'\n")
    for read in (root.text, root.flag, root.moment, root.one_or_more):
        read("a")
    asked = len(root.document.problems)
    root.moment("c")
    root.one_or_more("d")
    root.finish()
    assert [problem.message for problem in root.document.problems[asked:]] == ["unknown key 'b'"]


def test_a_missing_key_is_noted_at_its_table() -> None:
    root = table("a = 1\n[t]\n")
    root.table("t").text("k", required=True)
    assert messages(root) == [(2, "'k' is missing")]


def test_a_key_that_may_be_there_is_suggested_for_a_misspelt_one() -> None:
    root = table("nmae = 'x'")
    root.text("name")
    root.finish()
    assert root.document.problems[0].suggestion == "did you mean 'name'?"


def test_warnings_do_not_stop_anybody() -> None:
    document = Document("f.toml", "a = 1")
    document.warning(("a",), "odd")
    document.check()
    assert [problem.severity for problem in document.problems] == ["warning"]


BARE = st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True)
QUOTED = st.text("ab.[]{}#='= ", max_size=5).map(lambda text: f'"{text}"')
KEYS = st.lists(st.one_of(BARE, QUOTED), min_size=1, max_size=4, unique_by=lambda key: key.strip('"'))
VALUES = st.sampled_from(
    [
        *("1", "true", '"x"', "'['", '"#"', "[]", "{}", "[1, 2] # ]", "[\n 1,\n # ]\n 2,\n]", "[[1], ['\"']]"),
        *('"""\n[t]\nx = 1\n"""', "'''\n[[t]]\n'''", "'''it''''", '"""it"""""', '"\\""', "1979-05-27T07:32:00Z"),
        *("{ x = [1], y = '}' }", '"\\\\"', "''", '""', '""""""', "''''''"),
    ]
)
HEADERS = st.sampled_from(["[{}]", "[[{}]]", "[ {} ] # ]", "  [[{}]]"])
TABLES = st.lists(
    st.tuples(HEADERS, KEYS.flatmap(lambda keys: st.tuples(*(st.tuples(st.just(k), VALUES) for k in keys))))
)
GAPS = st.sampled_from(["", "\n", "# x = 1 [\n", "  \n"])


@given(TABLES, st.data())
@settings(max_examples=200)
def test_every_key_is_found_on_the_line_on_which_it_was_written(
    tables: list[tuple[str, tuple[tuple[str, str], ...]]], data: st.DataObject
) -> None:
    text, places = "", {}
    for number, (header, pairs) in enumerate(tables):
        name = f"table{number}"
        where: Where = (name, 0) if "[[" in header else (name,)
        text += data.draw(GAPS)
        places[where] = text.count("\n") + 1
        text += header.format(name) + "\n"
        for key, value in pairs:
            text += data.draw(GAPS)
            places[*where, key.strip('"')] = text.count("\n") + 1
            text += f"{key} = {value}\n"
    document = Document("f.toml", text)
    assert {where: document.line(where) for where in places} == places


@given(st.text() | st.text("[]{}\"'=#.,a1\n \\"))
@settings(max_examples=300)
def test_any_text_is_a_document_or_an_error_of_ours(text: str) -> None:
    with suppress(ImhelperError):
        document = Document("f.toml", text)
        document.root.finish()


def test_a_number_too_long_is_an_error_of_ours() -> None:
    with pytest.raises(ImhelperError):
        Document("f.toml", "a = " + "9" * 5000)
