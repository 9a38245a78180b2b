"""The options of a helper: what is read without argparse is what argparse reads, and all else is left to it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import squid_imhelper
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.cli import parse_helper
from squid_imhelper.helper.options import HELPERS, OPTIONS, Given, is_helper, read_options
from squid_imhelper.squid.wire import ACL, REWRITE

Run = Callable[..., subprocess.CompletedProcess[bytes]]

ROOT = Path(squid_imhelper.__file__).parents[1]

READ = [
    pytest.param(["acl"], Given(), id="nothing"),
    pytest.param(["rewrite"], Given(), id="rewrite"),
    pytest.param(["acl", "--policy", "p"], Given(policy="p"), id="policy"),
    pytest.param(["acl", "--policy", "p", "--policy", "q"], Given(policy="q"), id="twice"),
    pytest.param(["acl", "--dry-run", "--no-channel-id"], Given(dry_run=True, no_channel_id=True), id="flags"),
    pytest.param(["acl", "--on-error", "block"], Given(on_error="block"), id="choice"),
    pytest.param(["acl", "--format", "%>a", "%>ru"], Given(layout=["%>a", "%>ru"]), id="several-words"),
    pytest.param(
        ["acl", "--format", "%>a", "--intercepted"], Given(layout=["%>a"], intercepted=True), id="words-and-a-flag"
    ),
    pytest.param(["rewrite", "--extras", "%>a"], Given(layout=["%>a"]), id="extras"),
    pytest.param(
        ["acl", "--metrics", "m", "--metrics-period", "2"], Given(metrics="m", metrics_period=2.0), id="period"
    ),
    pytest.param(["acl", "--audit", "syslog:"], Given(audit="syslog:"), id="audit"),
    pytest.param(["acl", "--audit", ""], Given(), id="empty-audit"),
]

LEFT = [
    pytest.param(["acl", "--policy=p"], Given(policy="p"), id="as-one-word"),
    pytest.param(["acl", "--pol", "p"], None, id="shortened"),
    pytest.param(["acl", "--policy"], None, id="no-value"),
    pytest.param(["acl", "--policy", ""], None, id="empty-policy"),
    pytest.param(["acl", "--policy", "p", "q"], None, id="two-values"),
    pytest.param(["acl", "--policy", "-p"], None, id="value-like-an-option"),
    pytest.param(["acl", "stray"], None, id="stray-word"),
    pytest.param(["acl", "--dry-run", "yes"], None, id="value-of-a-flag"),
    pytest.param(["acl", "--format"], None, id="format-of-nothing"),
    pytest.param(["acl", "--on-error", "maybe"], None, id="no-choice"),
    pytest.param(["acl", "--metrics-period", "often"], None, id="no-number"),
    pytest.param(["acl", "--metrics-period", "0"], None, id="too-short"),
    pytest.param(["acl", "--metrics-period", "nan"], None, id="nan"),
    pytest.param(["acl", "--extras", "%>a"], None, id="of-the-other"),
    pytest.param(["rewrite", "--intercepted"], None, id="of-the-other-one"),
    pytest.param(["--policy", "p", "acl"], None, id="command-behind"),
]


@pytest.mark.parametrize(("arguments", "expected"), READ)
def test_what_squid_conf_may_say_is_read(arguments: list[str], expected: Given) -> None:
    assert read_options(arguments) == expected
    assert parse_helper(arguments) == expected


@pytest.mark.parametrize(("arguments", "expected"), LEFT)
def test_what_is_odd_or_wrong_is_left_to_argparse(arguments: list[str], expected: Given | None) -> None:
    assert read_options(arguments) is None
    if expected is None:
        with pytest.raises(ImhelperError):
            parse_helper(arguments)
    else:
        assert parse_helper(arguments) == expected


NAMES = sorted({option.name for options in OPTIONS.values() for option in options})
WORDS = st.sampled_from(
    [*NAMES, "p", "", "allow", "block", "2", "0", "%>a", "%#{User-Agent}>h", "-", "-1", "--", "a b"]
)


@given(st.sampled_from(sorted(HELPERS)), st.lists(WORDS, max_size=6))
@settings(deadline=None)
def test_what_is_read_is_what_argparse_reads(name: str, words: list[str]) -> None:
    found = read_options([name, *words])
    if found is not None:
        assert parse_helper([name, *words]) == found


@given(st.sampled_from(sorted(HELPERS)), st.data())
@settings(deadline=None)
def test_every_command_line_of_whole_options_is_read(name: str, data: st.DataObject) -> None:
    words = [name]
    for option in data.draw(st.lists(st.sampled_from(OPTIONS[name]), max_size=4)):
        value = option.choices[0] if option.choices else "2"
        words += [option.name] if option.is_flag else [option.name, value]
    found = read_options(words)
    assert found is not None
    assert parse_helper(words) == found


@pytest.mark.parametrize("name", HELPERS)
def test_the_help_tells_the_default_layout(name: str, run_cli: Run) -> None:
    text = run_cli(name, "--help", env={"COLUMNS": "300"}).stdout.decode()
    assert {"acl": ACL, "rewrite": REWRITE}[name].default_layout in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["acl"], True),
        (["rewrite", "--bogus"], True),
        (["--bogus", "acl"], True),
        (["--on-error", "block", "acl"], True),
        (["acl", "--help", "x"], True),
        (["acl", "--help"], False),
        (["acl", "-h"], False),
        (["check", "acl"], False),
        (["check"], False),
        (["--help"], False),
        ([], False),
    ],
)
def test_whether_squid_means_to_start_a_helper(arguments: list[str], expected: bool) -> None:
    assert is_helper(arguments) is expected


NEEDLESS = {
    "argparse", "dataclasses", "hashlib", "inspect", "tempfile", "regex", "socket", "random", "difflib", "datetime",
    "zoneinfo", "ipaddress", "marisa_trie", "squid_imhelper.cli", "squid_imhelper.commands", "squid_imhelper.sources",
}  # fmt: skip
"""What a helper with a program, and without site lists, schedules and expressions, starts without."""

STARTED = """
import sys
from squid_imhelper.__main__ import main
status = main()
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""


def test_a_helper_starts_without_what_it_does_not_need(run_cli: Run, tmp_path: Path) -> None:
    program = tmp_path / "program"
    assert run_cli("compile", "--policy", "built-in", "-o", program).returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", STARTED, "acl", "--policy", str(program)],
        input=b"1 10.0.0.1 GET http://web.whatsapp.com/ - - -\n",
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(b"1 OK tag=whatsapp ")
    assert set(done.stderr.decode().split()) & NEEDLESS == set()
