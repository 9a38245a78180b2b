"""Choosing services by words, as a policy and an ACL do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.matching.program import UnknownNameError, select_services

GROUPS = {"telegram": "im", "whatsapp": "im", "aim": "legacy_im", "slack": "work_chat"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("telegram", "telegram", id="one"),
        pytest.param("telegram aim telegram", "aim telegram", id="some, one of them twice"),
        pytest.param("@im", "telegram whatsapp", id="a group"),
        pytest.param("@im slack", "slack telegram whatsapp", id="a group and one more"),
        pytest.param("all", "aim slack telegram whatsapp", id="all"),
        pytest.param("all -slack", "aim telegram whatsapp", id="all but one"),
        pytest.param("all -@im", "aim slack", id="all but a group"),
        pytest.param("all -@im whatsapp", "aim slack whatsapp", id="read from left to right"),
        pytest.param("@im -whatsapp -telegram", "", id="nothing is left"),
        pytest.param("telegram -slack", "telegram", id="leaving out what is not in it"),
        pytest.param("all -all", "", id="all but all"),
    ],
)
def test_select_services(words: str, expected: str) -> None:
    assert select_services(words.split(), GROUPS) == frozenset(expected.split())


@pytest.mark.parametrize(
    ("words", "message", "suggestion"),
    [
        pytest.param(["telegrm"], "unknown service 'telegrm'", "did you mean 'telegram'?", id="a service"),
        pytest.param(["@imm"], "unknown group '@imm'", "did you mean '@im'?", id="a group"),
        pytest.param(["all", "-slak"], "unknown service 'slak'", "did you mean 'slack'?", id="left out"),
        pytest.param(["all", "-@work"], "unknown group '@work'", "", id="a group left out"),
        pytest.param(["al"], "unknown service 'al'", "did you mean 'all'?", id="the word all"),
        pytest.param(["Telegram"], "unknown service 'Telegram'", "did you mean 'telegram'?", id="upper case"),
        pytest.param(["@telegram"], "unknown group '@telegram'", "did you mean 'telegram'?", id="no group"),
        pytest.param(["work_chat"], "unknown service 'work_chat'", "did you mean '@work_chat'?", id="no service"),
        pytest.param([""], "unknown service ''", "", id="empty"),
    ],
)
def test_unknown_names(words: list[str], message: str, suggestion: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        select_services(words, GROUPS)
    assert str(caught.value) == message
    assert suggestion in ("", caught.value.suggestion)
    assert caught.value.word == words[-1]


def test_leaving_out_comes_second() -> None:
    with pytest.raises(ImhelperError, match="'-slack' leaves out of nothing; write 'all' first"):
        select_services(["-slack", "all"], GROUPS)


words_ = st.lists(st.sampled_from(["all", "@im", "@legacy_im", *GROUPS]), min_size=1)


@given(words_, words_)
def test_selection_is_a_set_expression(chosen: list[str], left_out: list[str]) -> None:
    """What is chosen, without what is left out; the order of each does not matter."""
    both = select_services([*chosen, *(f"-{word}" for word in left_out)], GROUPS)
    assert both == select_services(chosen, GROUPS) - select_services(left_out, GROUPS)
    assert both == select_services([*chosen[::-1], *(f"-{word}" for word in left_out[::-1])], GROUPS)
