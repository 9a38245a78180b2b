"""The tree polices itself: layers, who does I/O, sizes, and that tests and golden files have what they belong to."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import squid_imhelper

PACKAGE = Path(squid_imhelper.__file__).parent
TESTS = Path(__file__).parent

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

PACKAGES = ("base", "squid", "matching", "sources", "firewall", "offline", "logs", "dryrun", "", "helper", "")
"""The packages, from the bottom up: a module imports from its own and from those before it. Between them stands
`loading`, by which `helper` is given its policy, and above them the command line."""

MODULES_BETWEEN = {"loading": 8, "commands": 10, "replaying": 10, "cli": 10, "__main__": 10}

OFFLINE = {"sources", "firewall", "offline", "logs", "dryrun"}
"""What reads sources, and what looks at them; the process that Squid starts does without."""

STREAMS = {"serve", "reloading", "notices", "audit", "counters", "commands", "replaying", "cli", "__main__"}
"""Modules that may touch descriptors 0 to 2, `sys.stdin`, `sys.stdout` and `sys.stderr`."""
PRINTERS = {"commands", "replaying", "cli"}
CLOCKS = {"answering", "reloading", "counters", "notices", "loading", "commands", "replaying"}
FILES = {
    "tomlfile", "compressed", "logfiles", "programfile", "loading", "commands", "replaying", "reloading", "counters",
    "audit",
}  # fmt: skip
"""Modules that may open files or look at them."""

WITHOUT_TEST = {"__main__"}
WITHOUT_MODULE = {"recorded", "samples", "tree", "conf", "docs", "benchmarks"}


def name_of(path: Path) -> str:
    """`base.urls`, `cli`; a package by its own name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name: tree for name, tree in TREES.items() if name and name not in PACKAGES}
STEMS = {name.rpartition(".")[2]: name for name in MODULES}


def rank(module: str) -> int:
    package, _, stem = module.rpartition(".")
    return PACKAGES.index(package) if package else MODULES_BETWEEN[stem]


def imported(tree: ast.AST) -> set[str]:
    """Modules of the package that are imported anywhere in a tree, functions and TYPE_CHECKING included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("squid_imhelper.") for name in found} & set(MODULES)


def imported_at_start(tree: ast.Module) -> set[str]:
    """Modules of the package that are imported as soon as the module is."""
    return set().union(*(imported(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)))


def reached_from(module: str) -> set[str]:
    """Modules that are imported with a module, those imported later left out."""
    reached: set[str] = set()
    todo = [module]
    while todo:
        for other in imported_at_start(MODULES[todo.pop()]) - reached:
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


def test_every_module_has_its_own_name_and_its_place() -> None:
    assert len(STEMS) == len(MODULES)
    assert {name.rpartition(".")[0] for name in MODULES} == set(PACKAGES)
    assert {name for name in MODULES if "." not in name} == set(MODULES_BETWEEN)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    assert {other for other in imported(MODULES[module]) if rank(other) > rank(module)} == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: imported(tree) for module, tree in MODULES.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("module", ["helper.starting", "loading"])
def test_what_answers_squid_does_not_import_what_reads_sources(module: str) -> None:
    assert {other for other in reached_from(module) if other.partition(".")[0] in OFFLINE} == set()


def test_only_loading_hands_the_helper_what_reads_sources() -> None:
    for module, tree in MODULES.items():
        if module.startswith(("helper.", "matching.", "squid.")):
            assert {other for other in imported(tree) if other.partition(".")[0] in OFFLINE} == set()


IO_RULES = [
    pytest.param(STREAMS, {"sys.stdin", "sys.stdout", "sys.stderr"}, id="standard-streams"),
    pytest.param(STREAMS, {"os.read", "os.write", "os.dup", "os.dup2", "os.open", "select.select"}, id="descriptors"),
    pytest.param(PRINTERS, {"print("}, id="print"),
    pytest.param(CLOCKS, {"time.time", "time.monotonic", "datetime.datetime.now", "datetime.now"}, id="clock"),
    pytest.param(FILES, {"open(", "io.open"}, id="open"),
    pytest.param({"cli", "__main__", "reloading"}, {"sys.exit", "exit(", "SystemExit", "os._exit"}, id="exit"),
]


@pytest.mark.parametrize(("allowed", "names"), IO_RULES)
def test_only_these_modules_do_io(allowed: set[str], names: set[str]) -> None:
    guilty = {stem for stem, module in STEMS.items() if used_names(MODULES[module]) & names}
    assert guilty <= allowed


def test_only_these_modules_touch_files() -> None:
    methods = ("exists", "is_file", "is_dir", "stat", "read_text", "read_bytes", "write_text", "write_bytes", "glob")
    called = tuple(f".{method}(" for method in methods)
    guilty = {
        stem
        for stem, module in STEMS.items()
        if any(name.endswith(called) and not name.startswith("os.") for name in used_names(MODULES[module]))
    }
    assert guilty <= FILES | {"catalogue", "starting", "listfiles"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_file_can_be_read_in_one_go(module: str) -> None:
    lines = (PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE_LINES


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_function_is_longer_than_a_screen(module: str) -> None:
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(MODULES[module])}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_module_has_its_tests_and_every_test_its_module() -> None:
    tested = {path.stem.removeprefix("test_") for path in TESTS.glob("test_*.py")}
    assert set(STEMS) - WITHOUT_TEST - tested == set()
    assert tested - set(STEMS) - WITHOUT_MODULE == set()


def test_every_golden_file_is_read_by_a_test() -> None:
    """And named in it as it is called, so that it can be found."""
    source = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    golden = [path.name for path in sorted((TESTS / "golden").iterdir())]
    assert golden
    assert [name for name in golden if f'"{name}"' not in source] == []
