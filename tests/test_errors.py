"""Errors: shown with place, source line, caret and suggestion, in the order of the file."""

import pytest

from squid_imhelper.base.errors import ImhelperError, Problem, ProtocolError, SourceError, suggest

SHOWN = [
    pytest.param(Problem("p.toml", 3, 1, "it is wrong"), "p.toml:3: error: it is wrong", id="bare"),
    pytest.param(
        Problem("p.toml", 3, 1, "it is wrong", "write 'x'"), "p.toml:3: error: it is wrong (write 'x')", id="hint"
    ),
    pytest.param(
        Problem("p.toml", 14, 6, "unknown", "did you mean 'b'?", 'a = ["c"]', "warning"),
        "p.toml:14: warning: unknown\n   14 | a = [\"c\"]\n      |      ^ did you mean 'b'?",
        id="source-and-hint",
    ),
    pytest.param(
        Problem("p.toml", 12345, 1, "unknown", "", "abc"),
        "p.toml:12345: error: unknown\n12345 | abc\n      | ^",
        id="long-line-number",
    ),
]


@pytest.mark.parametrize(("problem", "text"), SHOWN)
def test_a_problem_is_shown_like_this(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_the_caret_stands_below_its_column() -> None:
    source = "clients = [boss]"
    _, line, pointer = str(Problem("p", 1, source.index("boss") + 1, "m", "", source)).split("\n")
    assert line.index("boss") == pointer.index("^")


def test_the_caret_stands_below_its_column_behind_tabs() -> None:
    """A tab is as wide above the caret as in front of it."""
    _, line, pointer = str(Problem("p", 1, 3, "m", "", "\t\tboss = 1")).split("\n")
    assert line.index("boss") == pointer.index("^")
    assert line[: line.index("boss")].count("\t") == pointer.count("\t")


def test_problems_are_sorted_by_place_and_all_told() -> None:
    places = [("b", 1, 1), ("a", 2, 1), ("a", 1, 9), ("a", 1, 2)]
    error = SourceError(Problem(path, line, column, "m") for path, line, column in places)
    assert [(p.path, p.line, p.column) for p in error.problems] == sorted(places)
    assert str(error) == "a:1: error: m\na:1: error: m\na:2: error: m\nb:1: error: m"


@pytest.mark.parametrize("kind", [ProtocolError, SourceError])
def test_one_exception_stands_for_all(kind: type[Exception]) -> None:
    assert issubclass(kind, ImhelperError)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        pytest.param("telegrm", "did you mean 'telegram'?", id="near"),
        pytest.param("whatsapp", "did you mean 'whatsapp'?", id="same"),
        pytest.param("zzz", "", id="nothing-near"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_suggestion_is_the_nearest_known_word(word: str, expected: str) -> None:
    assert suggest(word, iter(["telegram", "whatsapp"])) == expected
