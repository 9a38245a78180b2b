"""What several test files share: golden files, policies on disk, and the program as a user starts it."""

import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

import squid_imhelper

PROJECT = Path(squid_imhelper.__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"

# A test is no benchmark: no example has a deadline. Where a change is judged, it is judged by the same examples.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what came out over the golden files")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with a golden file, byte by byte; `--update-golden` writes the file instead."""

    def compare(name: str, actual: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_bytes(actual.encode())
            return
        expected = path.read_bytes().decode() if path.exists() else ""
        if actual != expected:
            lines = difflib.unified_diff(expected.splitlines(True), actual.splitlines(True), name, "actual")
            pytest.fail("".join(lines) + "\nif that is meant: pytest --update-golden", pytrace=False)

    return compare


@pytest.fixture
def policy_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a policy and returns where it is."""

    def write(text: str) -> Path:
        path = tmp_path / "policy.toml"
        path.write_bytes(text.encode())
        return path

    return write


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Writes a file into the folder in which `command` starts the program."""

    def write_file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts `python -m squid_imhelper` away from the checkout, with its output in pipes unless told otherwise."""

    def start(*arguments: str | bytes | Path, **options: object) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), **options.pop("env", {})}  # type: ignore[dict-item]
        words = [sys.executable, "-m", "squid_imhelper", *arguments]
        return subprocess.Popen(words, cwd=tmp_path, env=environment, **{**pipes, **options})  # type: ignore[call-overload]

    return start


@pytest.fixture
def run_cli(command: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the program to its end."""

    def run(
        *arguments: str | bytes | Path, stdin: bytes | None = None, **options: object
    ) -> subprocess.CompletedProcess[bytes]:
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        with command(*arguments, **options) as process:
            out, err = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
