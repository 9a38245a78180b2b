"""From the word behind --policy to an engine."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from squid_imhelper import loading
from squid_imhelper.base.errors import ImhelperError, SourceError
from squid_imhelper.loading import BUILT_IN, load_engine, policy_name
from squid_imhelper.offline.check import Circumstances, check

ALLOW = '[[rule]]\nname = "open"\naction = "allow"\n'


def decided(policy: str | None) -> tuple[str, str | None]:
    decision = check(load_engine(policy, pytest.fail), "https://web.whatsapp.com/", Circumstances()).decision
    return decision.action, decision.rule


def test_built_in_is_a_policy() -> None:
    assert decided(BUILT_IN) == ("block", "built-in")


def test_a_file_is_a_policy(policy_file: Callable[[str], Path]) -> None:
    assert decided(str(policy_file(ALLOW))) == ("allow", "open")


def test_without_a_word_the_default_file_counts_if_it_is_there(
    policy_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "DEFAULT_POLICY", tmp_path / "policy.toml")
    assert policy_name(None) == BUILT_IN
    assert decided(None) == ("block", "built-in")
    path = policy_file(ALLOW)
    assert policy_name(None) == str(path)
    assert decided(None) == ("allow", "open")


@pytest.mark.parametrize("word", ["", "x.toml", BUILT_IN])
def test_a_word_that_is_given_counts(word: str) -> None:
    assert policy_name(word) == word


def test_warnings_are_handed_over(policy_file: Callable[[str], Path]) -> None:
    said: list[str] = []
    load_engine(str(policy_file('[clients]\nlan = ["10.0.0.1/8"]\n')), said.append)
    (warning,) = said
    assert ":2: warning: '10.0.0.1/8' has host bits set" in warning


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("rule = 5\n", SourceError, id="problems"),
        pytest.param(None, ImhelperError, id="missing"),
    ],
)
def test_a_policy_that_cannot_be_used_is_an_error(
    policy_file: Callable[[str], Path], tmp_path: Path, text: str | None, error: type[Exception]
) -> None:
    path = tmp_path / "policy.toml" if text is None else policy_file(text)
    with pytest.raises(error):
        load_engine(str(path), pytest.fail)


def test_starting_a_helper_imports_nothing_that_reads_sources() -> None:
    """Until it has to read some."""
    lean = "import sys, squid_imhelper.helper.starting; print([m for m in sys.modules if m in sys.argv[1:]])"
    words = [f"squid_imhelper.{module}" for module in ("policy", "catalogue", "compiler", "tomlfile")]
    done = subprocess.run([sys.executable, "-c", lean, *words, "rich"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
