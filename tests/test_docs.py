"""What the documentation names is there: files, tests, commands."""

import re
from pathlib import Path

import pytest
from conftest import PROJECT

from squid_imhelper.cli import build_parser

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
