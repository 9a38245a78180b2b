"""The tree polices itself: layers, who does I/O, sizes, and that tests and golden files have what they belong to."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import squid_imhelper

PACKAGE = Path(squid_imhelper.__file__).parent
TESTS = Path(__file__).parent

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

LAYERS = (
    ("errors", "memo", "places"),
    ("urls",),
    ("model",),
    ("addresses", "templates", "layout"),
    ("wire", "program", "tomlfile"),
    ("matcher",),
    ("catalogue", "engine"),
    ("policy", "compiler", "serve", "check", "squidconf", "listing"),
    ("loading",),
    ("starting", "commands"),
    ("cli",),
    ("__main__",),
)
"""A module imports from layers above its own line only, and from no other of its line. `__init__` stands outside: it
imports nothing, and everything may ask it for the version."""

RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}

OFFLINE = {"policy", "catalogue", "compiler"}
"""What reads sources; the process that Squid starts does without it when it is given a compiled program."""

STREAMS = {"serve", "commands", "cli", "__main__"}
"""Modules that may touch descriptors 0 to 2, `sys.stdin`, `sys.stdout` and `sys.stderr`."""
PRINTERS = {"commands", "cli"}
CLOCKS = {"serve"}
FILES = {"tomlfile", "loading", "commands", "serve"}
"""Modules that may open files or look at them."""

WITHOUT_TEST = {"__init__", "__main__"}
WITHOUT_MODULE = {"tree"}


def modules() -> dict[str, ast.Module]:
    return {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.glob("*.py"))}


TREES = modules()


def imported(tree: ast.AST) -> set[str]:
    """Modules of the package that are imported anywhere in a tree, functions and TYPE_CHECKING included."""
    found = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        found |= {name.split(".")[1] for name in names if name.startswith("squid_imhelper.")}
        assert not any(name.startswith(".") for name in names), "imports are absolute"
    return found & set(TREES)


def reached_from(module: str) -> set[str]:
    reached: set[str] = set()
    todo = [module]
    while todo:
        for other in imported(TREES[todo.pop()]) - reached:
            reached.add(other)
            todo.append(other)
    return reached


def used_names(tree: ast.AST) -> set[str]:
    """Dotted names like `sys.stdout`, and the names of what is called."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.Call):
            found.add(ast.unparse(node.func) + "(")
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_module_has_its_layer() -> None:
    assert set(TREES) - {"__init__"} == set(RANK)


@pytest.mark.parametrize("module", sorted(RANK))
def test_imports_point_one_way(module: str) -> None:
    allowed = {other for other in RANK if RANK[other] < RANK[module]}
    assert imported(TREES[module]) <= allowed


@pytest.mark.parametrize("module", ["engine", "serve"])
def test_what_answers_squid_does_not_reach_what_reads_sources(module: str) -> None:
    assert reached_from(module).isdisjoint(OFFLINE | {"tomlfile", "loading", "commands", "cli"})


IO_RULES = [
    pytest.param(STREAMS, {"sys.stdin", "sys.stdout", "sys.stderr"}, id="standard-streams"),
    pytest.param(STREAMS, {"os.read", "os.write", "os.dup", "os.dup2", "os.open", "select.select"}, id="descriptors"),
    pytest.param(PRINTERS, {"print("}, id="print"),
    pytest.param(CLOCKS, {"time.time", "time.monotonic", "datetime.datetime.now", "datetime.now"}, id="clock"),
    pytest.param(FILES, {"open(", "io.open"}, id="open"),
    pytest.param({"cli", "__main__"}, {"sys.exit", "exit(", "SystemExit", "os._exit"}, id="exit"),
]


@pytest.mark.parametrize(("allowed", "names"), IO_RULES)
def test_only_these_modules_do_io(allowed: set[str], names: set[str]) -> None:
    guilty = {module for module, tree in TREES.items() if used_names(tree) & names}
    assert guilty <= allowed


def test_only_these_modules_touch_files() -> None:
    methods = ("exists", "is_file", "is_dir", "stat", "read_text", "read_bytes", "write_text", "write_bytes", "glob")
    called = tuple(f".{method}(" for method in methods)
    guilty = {
        m for m, tree in TREES.items() if any(n.endswith(called) and not n.startswith("os.") for n in used_names(tree))
    }
    assert guilty <= FILES | {"catalogue", "starting"}


@pytest.mark.parametrize("module", sorted(TREES))
def test_a_file_can_be_read_in_one_go(module: str) -> None:
    lines = (PACKAGE / f"{module}.py").read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE_LINES


@pytest.mark.parametrize("module", sorted(TREES))
def test_no_function_is_longer_than_a_screen(module: str) -> None:
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(TREES[module])}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_module_has_its_tests_and_every_test_its_module() -> None:
    tested = {path.stem.removeprefix("test_") for path in TESTS.glob("test_*.py")}
    assert set(TREES) - WITHOUT_TEST - tested == set()
    assert tested - set(TREES) - WITHOUT_MODULE == set()


def test_every_golden_file_is_read_by_a_test() -> None:
    """And named in it as it is called, so that it can be found."""
    source = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    golden = [path.name for path in sorted((TESTS / "golden").iterdir())]
    assert golden
    assert [name for name in golden if f'"{name}"' not in source] == []
