"""From the word behind --policy to an engine."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from squid_imhelper import loading
from squid_imhelper.base.errors import ImhelperError, SourceError
from squid_imhelper.base.model import Circumstances
from squid_imhelper.loading import BUILT_IN, build_program, load_engine, policy_name, read_checked_policy
from squid_imhelper.matching.programfile import save_program
from squid_imhelper.offline.check import check

NOW = 1_795_426_200.0
ALLOW = '[[rule]]\nname = "open"\naction = "allow"\n'


def decided(policy: str | None) -> tuple[str, str | None]:
    decision = check(load_engine(policy, pytest.fail), "https://web.whatsapp.com/", Circumstances(), NOW).decision
    return decision.action, decision.rule


def test_built_in_is_a_policy() -> None:
    assert decided(BUILT_IN) == ("block", "built-in")


def test_a_file_is_a_policy(policy_file: Callable[[str], Path]) -> None:
    assert decided(str(policy_file(ALLOW))) == ("allow", "open")


def test_a_program_is_a_policy(policy_file: Callable[[str], Path], tmp_path: Path) -> None:
    """Whatever its name, and whatever has become of what it was compiled from."""
    policy = policy_file(ALLOW)
    program = tmp_path / "program.toml"
    save_program(build_program(str(policy), pytest.fail), program)
    policy.unlink()
    assert decided(str(program)) == ("allow", "open")


def test_a_program_is_known_by_what_is_in_it(policy_file: Callable[[str], Path], tmp_path: Path) -> None:
    """Not by its name: a policy may be called policy.program."""
    policy = policy_file(ALLOW).rename(tmp_path / "policy.program")
    assert decided(str(policy)) == ("allow", "open")


def test_a_damaged_program_is_an_error_and_not_read_as_a_policy(tmp_path: Path) -> None:
    program = tmp_path / "program"
    save_program(build_program(BUILT_IN, pytest.fail), program)
    program.write_bytes(program.read_bytes()[:-1])
    with pytest.raises(ImhelperError, match="is no whole program"):
        load_engine(str(program), pytest.fail)


EXPECTING = ALLOW + '[[expect]]\nurl = "https://web.whatsapp.com/"\naction = "{action}"\n'


def test_a_policy_that_fails_its_own_tests_is_an_error(policy_file: Callable[[str], Path]) -> None:
    assert decided(str(policy_file(EXPECTING.format(action="allow")))) == ("allow", "open")
    with pytest.raises(SourceError, match="expected block, and it is allow"):
        load_engine(str(policy_file(EXPECTING.format(action="block"))), pytest.fail)


@pytest.mark.parametrize("action", ["allow", "block"])
def test_a_policy_that_is_read_for_something_else_is_held_to_its_own_tests_too(
    policy_file: Callable[[str], Path], action: str
) -> None:
    path = policy_file(EXPECTING.format(action=action))
    if action == "allow":
        assert [rule.name for rule in read_checked_policy(path, pytest.fail).policy.rules] == ["open"]
    else:
        with pytest.raises(SourceError, match="expected block, and it is allow"):
            read_checked_policy(path, pytest.fail)


def test_what_is_odd_in_a_policy_that_is_read_is_handed_over(policy_file: Callable[[str], Path]) -> None:
    said: list[str] = []
    read = read_checked_policy(policy_file('[clients]\nlan = ["10.0.0.1/8"]\n'), said.append)
    assert read.policy.rules == ()
    (warning,) = said
    assert "'10.0.0.1/8' has host bits set" in warning


def test_without_a_word_the_default_file_counts_if_it_is_there(
    policy_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "DEFAULT_POLICY", str(tmp_path / "policy.toml"))
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
    assert imported_by("import squid_imhelper.helper.starting") == []


def test_loading_a_program_imports_nothing_that_reads_sources(tmp_path: Path) -> None:
    program = tmp_path / "program"
    save_program(build_program(BUILT_IN, pytest.fail), program)
    assert imported_by(f"from squid_imhelper import loading; loading.load_engine({str(program)!r}, print)") == []


def imported_by(code: str) -> list[str]:
    """The modules, of those that only reading sources needs, that are there when some code has been run."""
    tell = "import sys; print(*(m for m in sys.modules if m.startswith(tuple(sys.argv[1:]))))"
    words = ["squid_imhelper.sources", "squid_imhelper.offline", "rich", "tomllib", "zoneinfo"]
    done = subprocess.run([sys.executable, "-c", f"{code}; {tell}", *words], capture_output=True, text=True, check=True)
    return done.stdout.split()
