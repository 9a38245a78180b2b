"""Memos: the same answers, and no more memory than a client can be given."""

from squid_imhelper.base.memo import ENTRIES, LONGEST, memoised


def test_a_function_is_asked_once_for_a_key() -> None:
    asked: list[str] = []
    remembered = memoised(lambda key: asked.append(key) or len(key))  # type: ignore[func-returns-value]
    assert [remembered(key) for key in ("a", "bb", "a", "bb")] == [1, 2, 1, 2]
    assert asked == ["a", "bb"]


def test_long_keys_are_not_kept() -> None:
    asked: list[str] = []
    remembered = memoised(lambda key: asked.append(key) or len(key))  # type: ignore[func-returns-value]
    long = "x" * (LONGEST + 1)
    assert [remembered(long), remembered(long)] == [len(long)] * 2
    assert len(asked) == 2


def test_entries_are_bounded() -> None:
    asked: list[str] = []
    remembered = memoised(lambda key: asked.append(key) or key)  # type: ignore[func-returns-value]
    for number in range(ENTRIES + 1):
        remembered(str(number))
    remembered("0")
    assert asked.count("0") == 2


def test_failures_are_not_remembered() -> None:
    failures = iter([ValueError("first"), ValueError("second")])

    def fail(_: str) -> str:
        raise next(failures)

    remembered = memoised(fail)
    for text in ("first", "second"):
        try:
            remembered("key")
        except ValueError as error:
            told = str(error)
        assert told == text
