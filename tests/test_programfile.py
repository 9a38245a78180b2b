"""The file of a program: what was compiled comes back, and what is not whole is a sentence and never an engine."""

import ast
import json
import os
import resource
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import squid_imhelper
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import (
    ACTIONS,
    FLAGS,
    AuditSettings,
    Circumstances,
    Kind,
    Match,
    Response,
    Rule,
    Schedule,
    Signature,
    SiteList,
    UrlPattern,
)
from squid_imhelper.loading import build_program, load_engine
from squid_imhelper.matching import programfile
from squid_imhelper.matching.program import Program, ServiceName, SiteTables
from squid_imhelper.matching.programfile import (
    MAGIC,
    VERSION,
    is_program,
    load_program,
    save_program,
    verify_program,
    write_program,
)
from squid_imhelper.matching.sites import compile_site_list
from squid_imhelper.offline.check import check

PROJECT = Path(squid_imhelper.__file__).parents[1]
HEADER = struct.Struct(">16sIQQI")

EVERYTHING = r"""
[clients]
office = ["192.0.2.0/24", "2001:db8::/32"]

[schedules]
work = { days = "mon-fri", hours = ["08:00-12:00", "13:00-17:00"], timezone = "Europe/Brussels" }
night = { hours = ["22:00-06:00"], timezone = "Europe/Brussels" }

[sites]
company = { domains = ["intranet.example"], urls = ["partner.example/webchat"] }
bulk = { file = "domains.txt" }
names = { file = "hosts.txt", format = "hosts" }
rest = { regex = ['^https?://chat[0-9]+\.example\.net/'], networks = ["198.51.100.0/24"], ports = [6667, "7000-7002"] }
nobody_uses = { domains = ["unused.example"] }

[[rule]]
name = "company"
sites = ["company"]
action = "allow"

[[rule]]
name = "people"
users = { names = ["ann", "bj\u00f6rn"], file = "users.txt" }
services = ["slack"]
schedule = ["work", "night"]
from = 2026-01-01
until = 2026-12-31T12:00:00+01:00
action = "monitor"

[[rule]]
name = "agents"
user_agents = ["Chatty/"]
clients = ["office"]
except_sites = ["names"]
action = "block"
message = "{service_name} \"quoted\" \u20ac"
redirect = "http://proxy.example:8080/?{url}"

[[rule]]
name = "lists"
sites = ["bulk", "rest"]
action = "block"

[[rule]]
name = "shared"
services = ["whatsapp"]
include = ["shared", "stale"]
action = "block"

[response]
redirect = "http://proxy.example/blocked?url={url}"
message = "no"
connect = "proxy.example:443"
on_error = "block"
dry_run = true

[audit]
log_urls = "host"
log_clients = "network"

[[expect]]
url = "http://a.bulk0.example/"
action = "block"
"""
POLICIES = {
    "everything": EVERYTHING,
    "nothing": "[clients]",
    "one-rule": '[[rule]]\nservices = ["whatsapp"]\naction = "block"\n',
    "one-list": '[sites]\nx = { domains = ["x.example"] }\n[[rule]]\nsites = ["x"]\naction = "block"\n',
    "an-expression": '[sites]\nx = { regex = [\'x+\'] }\n[[rule]]\nsites = ["x"]\naction = "block"\n',
}


def write_everything(folder: Path, text: str = EVERYTHING) -> Path:
    (folder / "domains.txt").write_text("".join(f"bulk{n}.example\n" for n in range(500)))
    (folder / "hosts.txt").write_text("0.0.0.0 host.example\n")
    (folder / "users.txt").write_bytes(b"carl\ninvalid-\xff\n")
    (folder / "policy.toml").write_text(text, encoding="utf-8")
    return folder / "policy.toml"


def compiled(folder: Path, text: str = EVERYTHING) -> Program:
    return build_program(str(write_everything(folder, text)), lambda warning: None)


def small_program(version: str = "v1", domains: int = 3) -> Program:
    """A program in which everything is there once."""
    url = UrlPattern("/chat", Match.SEGMENT, domain="x.example", query="a=1", method="GET")
    sites = SiteList(
        "own",
        domains=tuple(f"d{n}.{version}.example" for n in range(domains)),
        hosts=("host.example",),
        urls=("x.example/a",),
        regex=("a+b",),
        networks=((4, 1, 2), (6, 2**127, 2**128 - 1)),
        ports=(1, 65535),
    )
    return Program(
        services={"one": ServiceName("One", "im")},
        signatures=(Signature(Kind.DOMAIN, "one.example", "one"), Signature(Kind.URL, "/chat", "one", url=url)),
        exceptions=(("not.one.example", "one"),),
        bots=(("Bot/", "one"),),
        rules=(Rule(version, "block", services=frozenset({"one"})), Rule("sites", "block", sites=("own",), start=1.5)),
        response=Response(message=version),
        open_targets=frozenset({("blocked.invalid", 80)}),
        sites={"own": compile_site_list(sites)},
        schedules={"s": Schedule("s", "UTC", ((0, 1), (2, 3)))},
        files=("/etc/x",),
    )


def as_bytes(program: Program) -> bytes:
    file = BytesIO()
    write_program(program, file)
    return file.getvalue()


# ---- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("load", [load_program, verify_program])
def test_a_policy_comes_back_as_it_was_compiled(text: str, load: Callable[[Path], Program], tmp_path: Path) -> None:
    program = compiled(tmp_path, text)
    save_program(program, tmp_path / "program")
    assert load(tmp_path / "program") == program


def test_the_built_in_policy_comes_back(tmp_path: Path) -> None:
    program = build_program("built-in", pytest.fail)
    save_program(program, tmp_path / "program")
    assert load_program(tmp_path / "program") == program


_text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(["\udcff", "\udc80"]), max_size=8)
_texts = st.lists(_text, max_size=3).map(tuple)
_names = st.lists(_text, max_size=3).map(frozenset)
_intervals = st.lists(
    st.tuples(st.sampled_from([4, 6]), st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1)), max_size=2
).map(tuple)
_instants = st.none() | st.floats(0, 1e11)
_patterns = st.builds(
    UrlPattern,
    path=_text,
    match=st.sampled_from(Match),
    host=_text,
    domain=_text,
    in_networks=st.booleans(),
    query=_text,
    method=_text,
    ignore_case=st.booleans(),
)
_signatures = st.builds(
    Signature,
    kind=st.sampled_from(Kind),
    value=_text,
    service=_text,
    flag=st.sampled_from(["", *FLAGS]),
    match=st.sampled_from(Match),
    url=st.none() | _patterns,
)
_rules = st.builds(
    Rule,
    name=_text,
    action=st.sampled_from(ACTIONS),
    clients=st.none() | _intervals,
    users=st.none() | _names,
    services=st.none() | _names,
    include=st.frozensets(st.sampled_from(FLAGS)),
    user_agents=st.none() | _texts,
    sites=st.none() | _texts,
    except_sites=_texts,
    schedules=st.none() | _texts,
    start=_instants,
    end=_instants,
    message=_text,
    redirect=_text,
    firewall=st.booleans(),
    line=st.integers(0, 10**6),
)
_tries = st.just(b"") | st.binary(max_size=20) | st.binary(min_size=1, max_size=1).map(lambda byte: byte * 4096)
_tables = st.builds(
    SiteTables,
    domains=_tries,
    urls=_tries,
    regex=st.lists(st.tuples(_text, _texts), max_size=2).map(tuple),
    networks=_intervals,
    ports=st.lists(st.integers(1, 65535), max_size=3).map(tuple),
)
_schedules = st.builds(
    Schedule,
    name=_text,
    zone=_text,
    stretches=st.lists(st.tuples(st.integers(0, 604800), st.integers(0, 604800)), max_size=2).map(tuple),
)
_programs = st.builds(
    Program,
    services=st.dictionaries(_text, st.builds(ServiceName, _text, _text), max_size=3),
    signatures=st.lists(_signatures, max_size=3).map(tuple),
    exceptions=st.lists(st.tuples(_text, _text), max_size=2).map(tuple),
    bots=st.lists(st.tuples(_text, _text), max_size=2).map(tuple),
    rules=st.lists(_rules, max_size=3).map(tuple),
    response=st.builds(
        Response,
        redirect=_text,
        message=_text,
        connect=_text,
        on_error=st.sampled_from(["allow", "block"]),
        dry_run=st.booleans(),
    ),
    open_targets=st.frozensets(st.tuples(_text, st.integers(1, 65535)), max_size=3),
    audit=st.builds(AuditSettings, st.sampled_from(["full", "host", "none"]), st.sampled_from(["full", "none"])),
    sites=st.dictionaries(_text, _tables, max_size=3),
    schedules=st.lists(_schedules, max_size=2).map(lambda some: {one.name: one for one in some}),
    files=_texts,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs") / "program"


@settings(max_examples=200)
@given(program=_programs)
def test_any_program_comes_back(program: Program, scratch: Path) -> None:
    """Whatever stands in it, in whatever order; and its order is kept, since the first rule that holds decides."""
    scratch.write_bytes(as_bytes(program))
    found = verify_program(scratch)
    assert found == program
    assert [list(getattr(found, name)) for name in ("services", "sites", "schedules")] == [
        list(getattr(program, name)) for name in ("services", "sites", "schedules")
    ]
    assert as_bytes(found) == as_bytes(program)


def test_a_program_decides_as_its_policy_does(tmp_path: Path) -> None:
    policy = write_everything(tmp_path)
    save_program(compiled(tmp_path), tmp_path / "program")
    engines = [load_engine(str(path), lambda warning: None) for path in (policy, tmp_path / "program")]
    for url in (
        "http://a.bulk7.example/",
        "http://web.whatsapp.com/",
        "http://chat1.example.net/",
        "http://x.example/",
    ):
        one, other = (check(engine, url, Circumstances(client="192.0.2.7"), 1.8e9) for engine in engines)
        assert one == other


# ---- the same bytes -------------------------------------------------------------------------------------------------


def test_the_same_policy_makes_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """Sets and dictionaries come in another order with each hash seed."""
    policy = write_everything(tmp_path)
    programs = set()
    for seed in ("0", "1", "2", "random"):
        output = tmp_path / f"program-{seed}"
        words = [sys.executable, "-m", "squid_imhelper", "compile", "--policy", policy, "-o", output]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(words, cwd=PROJECT, env=environment, check=True, timeout=60, capture_output=True)
        programs.add(output.read_bytes())
    assert len(programs) == 1


def test_the_file_is_laid_out_as_it_says() -> None:
    program = small_program()
    data = as_bytes(program)
    magic, version, length, tables_length, digest = HEADER.unpack_from(data)
    tables = data[HEADER.size : HEADER.size + tables_length]
    assert (magic, version, length) == (b"squid-imhelper\r\n", VERSION, len(data))
    assert digest == crc32(data[: HEADER.size - 4] + tables)
    first_page = -(-(HEADER.size + tables_length) // 4096) * 4096
    domains, urls, *_ = json.loads(tables)["sites"]["own"]
    for (offset, size, own_digest), trie in (
        (domains, program.sites["own"].domains),
        (urls, program.sites["own"].urls),
    ):
        start = first_page + offset
        assert start % 4096 == 0
        assert data[start : start + size] == trie
        assert own_digest == crc32(trie)


# ---- what is no whole program ---------------------------------------------------------------------------------------


def assert_refused(path: Path, words: str, load: Callable[[Path], Program] = load_program) -> None:
    with pytest.raises(ImhelperError) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    assert words in text
    assert "\n" not in text


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(as_bytes(small_program()))
    return path


def sealed(tables: bytes, version: int = VERSION, more: bytes = b"") -> bytes:
    """A file whose digest fits, whatever stands in it."""
    numbers = HEADER.pack(MAGIC, version, HEADER.size + len(tables) + len(more), len(tables), 0)[:-4]
    return numbers + crc32(numbers + tables).to_bytes(4, "big") + tables + more


def test_every_truncation_is_noticed(small: Path) -> None:
    for length in reversed(range(small.stat().st_size)):
        os.truncate(small, length)
        with pytest.raises(ImhelperError, match="is no whole program: it has"):
            load_program(small)


def test_every_flipped_bit_of_header_and_tables_is_noticed(small: Path) -> None:
    data = small.read_bytes()
    end = HEADER.size + HEADER.unpack_from(data)[3]
    with small.open("r+b", buffering=0) as file:
        for place in range(end):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([data[place] ^ 1 << bit]), place)
                with pytest.raises(ImhelperError):
                    load_program(small)
            os.pwrite(file.fileno(), data[place : place + 1], place)
    assert load_program(small) == small_program()


def test_every_flipped_byte_of_a_trie_is_found_by_who_looks(small: Path) -> None:
    data = small.read_bytes()
    places = json.loads(data[HEADER.size : HEADER.size + HEADER.unpack_from(data)[3]])["sites"]["own"][:2]
    first_page = -(-(HEADER.size + HEADER.unpack_from(data)[3]) // 4096) * 4096
    assert all(size for _, size, _ in places)
    with small.open("r+b", buffering=0) as file:
        for offset, size, _ in places:
            for place in range(first_page + offset, first_page + offset + size):
                os.pwrite(file.fileno(), bytes([data[place] ^ 1 << place % 8]), place)
                with pytest.raises(ImhelperError, match="the digest of site list 'own' is wrong"):
                    verify_program(small)
                with pytest.raises(ImhelperError, match="damaged"):  # a small one is read anyway
                    load_program(small)
                os.pwrite(file.fileno(), data[place : place + 1], place)
    assert verify_program(small) == small_program()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "it has 0 bytes only", id="empty"),
        pytest.param(MAGIC, "it has 16 bytes only", id="magic-alone"),
        pytest.param(bytes(5000), "is no program", id="zeros"),
        pytest.param(b"\x7fELF" + bytes(5000), "is no program", id="foreign"),
        pytest.param(b"[[rule]]\n" * 100, "is no program", id="a-policy"),
        pytest.param(sealed(b"{}", version=VERSION + 1), "a newer squid-imhelper (format 4, not 3)", id="newer"),
        pytest.param(sealed(b"{}", version=0), "an older squid-imhelper (format 0, not 3)", id="older"),
        pytest.param(sealed(b"{}"), "is damaged", id="no-tables"),
        pytest.param(sealed(b"[]"), "is damaged", id="a-list"),
        pytest.param(sealed(b"null"), "is damaged", id="null"),
        pytest.param(sealed(b""), "is damaged", id="empty-tables"),
        pytest.param(sealed(b"\xff"), "is damaged", id="no-text"),
    ],
)
@pytest.mark.parametrize("load", [load_program, verify_program])
def test_what_is_none_is_refused(data: bytes, words: str, load: Callable[[Path], Program], tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(data)
    assert_refused(path, words, load)


def damaged_tables() -> Iterator[Any]:
    data = as_bytes(small_program())
    tables = json.loads(data[HEADER.size : HEADER.size + HEADER.unpack_from(data)[3]])
    for key in tables:
        yield pytest.param({name: value for name, value in tables.items() if name != key}, id=f"without-{key}")
        yield pytest.param({**tables, key: 5}, id=f"{key}-is-a-number")
    yield pytest.param({**tables, "response": {"unknown": 1}}, id="unknown-setting")
    yield pytest.param({**tables, "rules": [{"name": "x"}]}, id="rule-without-an-action")
    yield pytest.param({**tables, "signatures": [["smell", "x", "one", "", "exact", None]]}, id="unknown-kind")


@pytest.mark.parametrize("tables", list(damaged_tables()))
def test_tables_of_another_make_are_refused(tables: object, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(sealed(json.dumps(tables).encode()))
    assert_refused(path, "is damaged")


def test_what_stands_behind_the_end_is_noticed(small: Path) -> None:
    with small.open("ab") as file:
        file.write(b"x")
    assert_refused(small, "it has")


TRANSFERS = [
    pytest.param(b"\r\n", b"\n", id="cr-lf-to-lf"),
    pytest.param(b"\n", b"\r\n", id="lf-to-cr-lf"),
    pytest.param(b"\r", b"\n", id="cr-to-lf"),
    pytest.param(b"\r\n", b"\r", id="cr-lf-to-cr"),
]


@pytest.mark.parametrize(("before", "after"), TRANSFERS)
def test_a_transfer_as_text_is_called_by_its_name(before: bytes, after: bytes, small: Path) -> None:
    """From the command line too, where the file could be taken for a policy."""
    small.write_bytes(small.read_bytes().replace(before, after))
    assert_refused(small, "copied as text")
    with pytest.raises(ImhelperError, match="copied as text"):
        load_engine(str(small), pytest.fail)


@pytest.mark.parametrize("load", [load_program, verify_program])
def test_what_is_no_file_is_refused(load: Callable[[Path], Program], tmp_path: Path) -> None:
    assert_refused(tmp_path, "Is a directory", load)
    assert_refused(tmp_path / "missing", "No such file", load)
    assert_refused(Path("/dev/null"), "it has 0 bytes only", load)
    assert_refused(Path("/dev/zero"), "it has 0 bytes only", load)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_program_that_may_not_be_read_is_refused(small: Path) -> None:
    small.chmod(0)
    assert_refused(small, "Permission denied")


# ---- telling one from a policy --------------------------------------------------------------------------------------


@pytest.mark.timeout(20)
def test_a_program_is_known_by_its_first_bytes(small: Path, tmp_path: Path) -> None:
    assert is_program(small)
    os.truncate(small, 16)
    assert is_program(small), "a damaged one is one too, or it would be read as a policy"
    os.truncate(small, 12)
    assert not is_program(small)
    (tmp_path / "policy.toml").write_text(EVERYTHING, encoding="utf-8")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(tmp_path / "socket"))
    for other in ("policy.toml", "fifo", "socket", "missing", "policy.toml/below", "x" * 5000, "nul\0"):
        assert not is_program(tmp_path / other)
    assert not is_program(tmp_path)
    assert not is_program(Path("/dev/zero"))


def test_what_is_no_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """A helper asks about its policy once a second, whatever stands there."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        assert not is_program(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ---- writing --------------------------------------------------------------------------------------------------------


def folder_of(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_others_can_read_a_program_and_not_write_it(umask: int, tmp_path: Path) -> None:
    """The user that Squid runs as must read what root has compiled."""
    before = os.umask(umask)
    try:
        save_program(small_program(), tmp_path / "program")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "program").stat().st_mode) == 0o644
    assert folder_of(tmp_path / "program") == ["program"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Makes every write beyond a size fail, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 5000])
@pytest.mark.parametrize("there", [False, True], ids=["new", "over-another"])
def test_a_disk_that_is_full_leaves_nothing_behind_and_the_old_one_in_place(
    size: int, there: bool, tmp_path: Path
) -> None:
    path = tmp_path / "program"
    if there:
        save_program(small_program("old"), path)
    new = small_program("new")
    assert len(as_bytes(new)) > 5000
    with files_of_at_most(size), pytest.raises(ImhelperError, match=r"cannot write .*program: File too large"):
        save_program(new, path)
    assert folder_of(path) == ["program"] * there
    assert not there or verify_program(path) == small_program("old")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("folder", "it is no regular file", id="directory"),
        pytest.param("fifo", "it is no regular file", id="fifo"),
        pytest.param("missing/program", "No such file", id="missing-folder"),
        pytest.param("file/program", "Not a directory", id="below-a-file"),
        pytest.param("x" * 300, "File name too long", id="long-name"),
        pytest.param("nul\0", "null byte", id="nul"),
    ],
)
def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing_behind(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    before = folder_of(tmp_path / "x")
    with pytest.raises(ImhelperError, match=words):
        save_program(small_program(), tmp_path / name)
    assert folder_of(tmp_path / "x") == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    with pytest.raises(ImhelperError, match="Permission denied"):
        save_program(small_program(), folder / "program")


def test_a_reader_sees_one_program_or_the_other_and_never_a_part(tmp_path: Path) -> None:
    """And keeps the one that it has opened, though another has taken its place."""
    path = tmp_path / "program"
    versions = [small_program(f"v{n}", domains=2000 * (n % 2) + 1) for n in range(4)]
    save_program(versions[0], path)
    first = load_program(path)
    found: list[str] = []
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            program = load_program(path)
            number = int(program.rules[0].name[1:])
            found.append(program.rules[0].name)
            if program != versions[number]:
                wrong.append(program.rules)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for round_ in range(100):
            save_program(versions[round_ % 4], path)
    finally:
        done.set()
        reader.join()
    assert wrong == []
    assert len(set(found)) > 1
    assert first == versions[0]


# ---- what it takes to open one --------------------------------------------------------------------------------------


def test_nothing_that_could_name_code_is_used() -> None:
    tree = ast.parse(Path(programfile.__file__).read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not (names | modules) & {"pickle", "marshal", "shelve", "dill", "eval", "exec", "compile", "__import__"}


LOADED = """
import sys
from squid_imhelper.matching.programfile import load_program
load_program(__import__("pathlib").Path(sys.argv[1]))
print("pickle" in sys.modules, "marisa_trie" in sys.modules)
"""


def test_opening_a_program_needs_no_pickle(small: Path) -> None:
    words = [sys.executable, "-c", LOADED, small]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False False\n"


HELPER = """
import sys
from squid_imhelper import cli
status = cli.main(sys.argv[1:])
print(sorted(name for name in sys.modules if name.startswith("squid_imhelper.")), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize("command", ["acl", "rewrite"])
def test_a_helper_with_a_program_imports_nothing_that_reads_sources(command: str, tmp_path: Path) -> None:
    """Nor while it answers, takes the program up anew, and ends."""
    save_program(compiled(tmp_path)._replace(schedules={}), tmp_path / "program")
    words = [sys.executable, "-c", HELPER, command, "--policy", tmp_path / "program", "--no-channel-id"]
    sent = {
        "acl": b"10.0.0.1 GET http://web.whatsapp.com/ - - -\n",
        "rewrite": b"http://bulk1.example/ 10.0.0.1/- - GET myip=- myport=-\n",
    }
    done = subprocess.run(words, cwd=PROJECT, input=sent[command], capture_output=True, check=True, timeout=60)
    assert done.stdout.startswith(b"ERR tag=" if command == "acl" else b"ERR log=lists"), "a dry run"
    modules = ast.literal_eval(done.stderr.decode().splitlines()[-1])
    assert "squid_imhelper.matching.programfile" in modules
    assert [name for name in modules if name.startswith(("squid_imhelper.sources", "squid_imhelper.offline"))] == []


def test_a_helper_with_a_program_opens_no_other_file_of_the_policy(tmp_path: Path) -> None:
    """The lists are in it."""
    folder = tmp_path / "sources"
    folder.mkdir()
    save_program(compiled(folder), tmp_path / "program")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    program = load_program(tmp_path / "program")
    engine = load_engine(str(tmp_path / "program"), pytest.fail)
    assert program.files
    assert check(engine, "http://a.bulk7.example/", Circumstances(), 1.8e9).decision.rule == "lists"


def test_a_program_that_is_there_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    link, path = tmp_path / "link", tmp_path / "program"
    link.symlink_to(path)
    save_program(small_program(), link)
    assert (link.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == (True, 0o644)
    path.chmod(0o640)
    save_program(small_program("v2"), link)
    assert (link.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == (True, 0o640)
    assert load_program(path) == small_program("v2")
