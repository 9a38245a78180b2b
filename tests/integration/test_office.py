"""The day of an office is recorded anew, and is the one that the tests have; another day is what was sent."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from real_squid import HELPER, IS_ROOT

pytestmark = [pytest.mark.squid, pytest.mark.root]
PROJECT = Path(__file__).resolve().parents[2]
RECORDED = PROJECT / "tests" / "data" / "logs"
FAKETIME = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def record(folder: Path, requests: int, seed: int) -> dict[str, Any]:
    if not IS_ROOT or not FAKETIME:
        pytest.skip("needs root and libfaketime (apt-get install libfaketime)")
    words = [sys.executable, PROJECT / "benchmarks" / "office.py", "--out", folder]
    done = subprocess.run(
        [*words, "--requests", str(requests), "--seed", str(seed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return found


def test_the_same_day_again_is_the_same(tmp_path: Path) -> None:
    """The other logs have milliseconds and durations besides."""
    recorded = json.loads((RECORDED / "expected.json").read_text())
    assert record(tmp_path, recorded["lines"], recorded["seed"]) == recorded
    for name in ("combined.log", "common.log"):
        assert (tmp_path / name).read_bytes() == (RECORDED / name).read_bytes()


def test_another_day_is_what_was_sent(tmp_path: Path) -> None:
    expected = record(tmp_path, 700, 2006)
    words = [HELPER, "replay", "--json", "--policy", "built-in", tmp_path / "imhelper.log"]
    found = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert found["lines"] == expected["lines"] == 700
    assert found["by_service"] == expected["by_service"]
    assert found["by_client"] == expected["by_client"]
    assert (found["denied"], found["without_request"]) == (expected["denied"], expected["malformed"])
