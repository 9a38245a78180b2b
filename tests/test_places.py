"""Places in TOML: what `find` says is where the key or value was written. More stands in test_tomlfile.py."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.sources.places import Places


@pytest.mark.parametrize(
    ("text", "where", "value", "expected"),
    [
        pytest.param("a = 1\nb = [1, 2]\n", ("b", 1), 2, "2]", id="item"),
        pytest.param("a = { b = { c = 1 } }", ("a", "b", "c"), None, "c = 1", id="nested inline tables"),
        pytest.param("[[r]]\nx = 1\n[[r]]\nx = 2\n", ("r", 1, "x"), None, "x = 2", id="second of an array of tables"),
        pytest.param(
            "[[r]]\n[r.s]\nx = 1\n[[r]]\n[r.s]\nx = 2", ("r", 1, "s", "x"), None, "x = 2", id="table below it"
        ),
        pytest.param("[a]\n[a.b]\nc = 1", ("a", "b"), None, "[a.b]", id="header"),
        pytest.param('a = """x"""""\nb = 1', ("b",), None, "b = 1", id="quotes before the closing ones"),
        pytest.param("a = 1979-05-27 07:32:00\nb = 1", ("b",), None, "b = 1", id="a blank in a date"),
        pytest.param("# a = 1\na = 1", ("a",), None, "a = 1", id="comment"),
        pytest.param("a = 1", ("x", "y"), None, "a = 1", id="nothing there: the file"),
        pytest.param("[t]\na = 1", ("t", "y"), None, "[t]", id="nothing there: the table"),
    ],
)
def test_places(text: str, where: tuple[str | int, ...], value: object, expected: str) -> None:
    assert text[Places(text).find(where, value) :].startswith(expected)


@given(st.text("a.=[]{}\"'\\\n #,1x", max_size=40))
def test_any_valid_toml_can_be_followed(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    places = Places(text)
    for key in data:
        assert 0 <= places.find((key,)) < len(text)
