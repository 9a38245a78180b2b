"""What the documentation names is there: files, tests, commands."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from squid_imhelper.cli import build_parser

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / name for name in ("README.md", "DESIGN.md", "docs/network.md", "docs/services.md")]
INTEGRATION = PROJECT / "tests/integration"


def named_tests(text: str) -> list[tuple[str, str]]:
    """Pairs of file and test, or row of a table of tests, as the tables of the guide write them."""
    found = []
    file = ""
    for name, test, rows in re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?`((?: [a-z][\w-]*(?:\.\.\.)?,?)*)", text):
        file = name or file
        found += [(file, part) for part in (test, *rows.replace(",", " ").split()) if part not in ("", "each", "row")]
    return found


def test_the_tests_that_the_guide_names_are_there() -> None:
    named = named_tests((PROJECT / "docs/network.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    sources = {name: (INTEGRATION / name).read_text(encoding="utf-8") for name, _ in named}
    missing = [
        (name, test)
        for name, test in named
        if not re.search(
            rf"def {test}\(" if test.startswith("test_") else rf'"{re.escape(test.rstrip("."))}', sources[name]
        )
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_readme_has_every_command() -> None:
    commands = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    table = (PROJECT / "README.md").read_text(encoding="utf-8").partition("## Commands")[2]
    assert commands
    assert [name for name in commands or () if f"`{name}" not in table] == []


# ---- what the consoles show -----------------------------------------------------------------------------------------

FILES = {
    "wrong.toml": '[[rule]]\naction = "block"\nservices = ["telegrm"]\n',
    "refused.toml": (
        '[sites]\nours = { domains = ["chat.example"] }\n\n[[rule]]\nname = "our own chat"\nsites = ["ours"]\n'
        'action = "allow"\n\n[[rule]]\nname = "no messengers"\nservices = ["all"]\nschedule = "office"\n'
        'action = "block"\n\n[schedules]\noffice = { days = "mon-fri", hours = ["08:00-18:00"] }\n'
    ),
}
"""Policies that are shown at work, and not themselves."""


def shown() -> Iterator[tuple[str, list[str]]]:
    """Yields each command that the pages show, with the lines that follow it."""
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                first, *lines = command.rstrip("\n").split("\n")
                yield first, lines


@pytest.mark.parametrize(("line", "expected"), list(shown()))
def test_what_the_pages_show_is_what_comes_out(
    line: str, expected: list[str], tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    """In order, line by line; `...` stands for lines that are left out."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("conf", "tests"):
        (tmp_path / name).symlink_to(PROJECT / name)
    program, *words = line.split()
    assert program == "squid-imhelper"
    done = run_cli(*words, env={"TZ": "Etc/UTC", "COLUMNS": "120"})
    lines = [text.rstrip() for text in (done.stdout + done.stderr).decode().splitlines()]
    place = 0
    for text in expected:
        if text.strip() == "...":
            continue
        assert text.rstrip() in lines[place:], f"{text!r} does not come, or not behind the lines above it"
        place += lines[place:].index(text.rstrip()) + 1
