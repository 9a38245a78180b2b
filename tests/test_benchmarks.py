"""The benchmarks: each of them once and small, and a wrong answer, a wrong count or a wrong definition fails one."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import pytest

PROJECT = Path(__file__).resolve().parent.parent
sys.path.append(str(PROJECT))

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import contenders, record, tables  # noqa: E402
from benchmarks.asked import Asked, acl_line, log_line, rewriter_line  # noqa: E402
from benchmarks.bench import Bench  # noqa: E402
from benchmarks.catalogued import patterns_of  # noqa: E402
from benchmarks.contenders import Contender, ours_with, without_messages  # noqa: E402
from benchmarks.definitions import Goal, Result, read_definitions  # noqa: E402
from benchmarks.ground import HELPER, Ground  # noqa: E402
from benchmarks.measures import big_list, memory, ping_pong, pipe, real_squid, replaying  # noqa: E402
from benchmarks.names import combined, free_of, parents  # noqa: E402
from benchmarks.oracle_answers import MESSENGERS  # noqa: E402
from benchmarks.patterns import Pattern  # noqa: E402
from benchmarks.problems import Problem, WrongAnswer  # noqa: E402
from benchmarks.workloads import CHECKED, Maker, Workload, workload  # noqa: E402
from squid_imhelper.base.model import Kind  # noqa: E402

INSTALLED = pytest.mark.skipif(not HELPER.exists(), reason=f"{HELPER} is not installed (pip install .)")
DEFINITIONS = read_definitions()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("bench"), check=True)


@pytest.fixture(scope="module")
def office(ground: Ground) -> Workload:
    return workload(ground, "office")


# ---- all of them ----------------------------------------------------------------------------------------------------


@INSTALLED
def test_every_benchmark_gets_right_answers(tmp_path: Path) -> None:
    """As `make bench-check` does it; who is not installed here is left out by name."""
    words = [sys.executable, "-m", "benchmarks", "--check", "--folder", tmp_path]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    for definition in DEFINITIONS:
        assert f"\n{definition.name}: every answer right" in f"\n{done.stdout}" or (
            f"\n{definition.name}: left out: " in f"\n{done.stdout}"
        )
    assert "per_second" not in done.stdout


def test_what_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["no-such"]) == 2
    assert "no benchmark 'no-such'" in capsys.readouterr().err


def test_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [own.name for own in DEFINITIONS]


# ---- wrong answers --------------------------------------------------------------------------------------------------


def spoilt(one: Contender, program: str) -> Contender:
    """The same contender with a filter behind it, a line of Python about `line`."""
    code = f"import sys\nfor n, line in enumerate(sys.stdin, 1):\n {program}\n sys.stdout.write(line)"
    words = " ".join(f"'{word}'" for word in one.command)
    return replace(one, command=("/bin/sh", "-c", f"""{words} | '{sys.executable}' -c "$0" """, code))


SPOILT = [
    pytest.param(
        "if n == 1999: line = line.replace('ERR', 'OK log=messengers')", "answer 1999 is", id="blocks-too-much"
    ),
    pytest.param("line = line.replace('tag=', 'tag=x')", "tag=x", id="another-service"),
    pytest.param("line = line.replace('log=listed', 'log=messengers')", "log=messengers", id="another-rule"),
    pytest.param("if n == 2: line = line.replace('2 ', '3 ', 1)", "answer 2 is '3 ", id="another-channel"),
    pytest.param("if n == 2000: break", "answers, and must be", id="one-too-few"),
    pytest.param("if n == 2000: line += line", "answers, and must be", id="one-too-many"),
]


@INSTALLED
@pytest.mark.parametrize(("program", "told"), SPOILT)
def test_a_wrong_answer_fails(
    program: str, told: str, ground: Ground, office: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ours_with(ground.program_path)
    assert pipe.pass_lines(ground.folder, ours, office, CHECKED)["lines_per_second"] > 0
    monkeypatch.setitem(contenders._CONTENDERS, "ours", lambda _: spoilt(ours, program))  # type: ignore[index]
    (definition,) = (own for own in DEFINITIONS if own.name == "pipe-office")
    with pytest.raises(WrongAnswer) as wrong:
        pipe.measure(Bench(ground), replace(definition.small(), contenders=["ours"]))
    assert told in str(wrong.value)
    assert "\n" not in str(wrong.value)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("measured", ["ping_pong", "memory"])
def test_a_wrong_answer_fails_where_a_socket_is_asked(measured: str, ground: Ground, office: Workload) -> None:
    """The floor blocks nothing, which is wrong for whom the oracle's answers count."""
    bench, floor = Bench(ground), contenders.contender(ground, "floor")
    for one, what in ((floor, nullcontext()), (replace(floor, expected="acl.expected"), pytest.raises(WrongAnswer))):
        with what:
            if measured == "memory":
                assert memory.size_behind(bench, one, office, CHECKED)["pss_mb"] > 0
            else:
                assert len(ping_pong.ask_one_by_one(bench, one, office, 0, CHECKED, -1)[0]) == CHECKED


@INSTALLED
def test_a_wrong_count_fails_a_replay(ground: Ground, office: Workload) -> None:
    assert replaying.replay(Bench(ground), office, 1)["lines_per_second"] > 0
    with pytest.raises(WrongAnswer, match=rf"must be \({CHECKED}, {CHECKED}, {office.logged + 1}\)"):
        replaying.replay(Bench(ground), replace(office, logged=office.logged + 1), 1)


def test_another_status_fails_a_squid() -> None:
    real_squid.verify("ours", [410, 403], [410, 403])
    with pytest.raises(WrongAnswer, match="request 2 got status 410, and must get 403"):
        real_squid.verify("ours", [410, 410], [410, 403])


def test_more_domains_than_a_list_has_change_an_answer() -> None:
    """The long list blocks what is below its domains, and was not blocked for another reason."""
    lines = [
        "1 c CONNECT a.b.example:443 - - -\n",
        "2 c GET http://b.example:81/a.c.example - - -\n",
        "3 c GET http://c.example/ - - -\n",
    ]
    pairs = list(zip(lines, ["1 ERR\n", "2 OK tag=x log=messengers\n", "3 ERR\n"], strict=True))
    assert list(big_list.answers(pairs, {"b.example"})) == ["1 OK log=more\n", "2 OK tag=x log=messengers\n", "3 ERR\n"]


def test_the_long_list_blocks_next_to_nothing_but_something() -> None:
    pairs = [(f"{n} c CONNECT {host}:443 - - -\n", f"{n} ERR\n") for n, host in enumerate(["a.x.y", "b.x.y", "c.z.y"])]
    assert big_list.without_asked(["x.y", "z.y", "q.y"], pairs) == ["z.y", "q.y"]
    with pytest.raises(Problem, match="no request goes to"):
        big_list.without_asked(["x.y", "q.y"], pairs)


def test_another_count_than_the_definition_has_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here some requests that nobody blocks are taken for a messenger's."""
    find = Maker._find_rules

    def wrong(self: Maker, pattern: Pattern) -> set[str]:
        found = find(self, pattern)
        return {MESSENGERS} if found == {""} and pattern.method in ("HEAD", "POST") else found

    monkeypatch.setattr(Maker, "_find_rules", wrong)
    with pytest.raises(Problem, match=r"half: the oracle counts .* and the definition says .*'messengers': 1000"):
        workload(Ground(tmp_path, check=True), "half")


# ---- lines ----------------------------------------------------------------------------------------------------------

ODD = Asked(
    "10.0.0.1", "GET", "http://a.example/a%20b/[c]?x=1&y='", 'Moz/5.0 (X11; "q" %20 \\ [b] ü)', "text/plain; charset=x"
)


def test_a_helper_line_is_as_squid_writes_it() -> None:
    """The line is put together from those that were captured from a Squid; one decoding gives back what there was."""
    assert acl_line(7, ODD) == (
        b"7 10.0.0.1 GET http://a.example/a%2520b/%5Bc%5D?x=1&y=%27 "
        b"Moz/5.0%20(X11;%20%22q%22%20%2520%20%5C%20%5Bb%5D%20%C3%BC) text/plain;%20charset=x -\n"
    )
    assert [unquote_to_bytes(word).decode() for word in acl_line(7, ODD).split()[3:6]] == list(ODD[2:])
    assert acl_line(1, Asked("::1", "CONNECT", "[2001:db8::1]:443")) == b"1 ::1 CONNECT %5B2001:db8::1%5D:443 - - -\n"


def test_other_lines_have_no_blanks_in_their_urls() -> None:
    assert rewriter_line(ODD) == b"http://a.example/a%20b/%5Bc%5D?x=1&y=%27 10.0.0.1/- - GET\n"
    assert log_line(1.5, ODD).split()[6] == b"http://a.example/a%20b/%5Bc%5D?x=1&y=%27"


@pytest.mark.parametrize("name", ["office", "half", "new_hosts"])
def test_a_workload_is_what_its_definition_says(name: str, ground: Ground) -> None:
    own = workload(ground, name)
    answers = own.path("acl.expected").read_bytes().splitlines()
    wanted = ground.workloads[name]
    assert len(answers) == own.lines == CHECKED
    assert sum(b" log=messengers" in answer for answer in answers) * wanted["lines"] == wanted["messengers"] * CHECKED
    assert sum(b" log=listed" in answer for answer in answers) * wanted["lines"] == wanted["listed"] * CHECKED
    lines = own.path("acl.txt").read_bytes().splitlines()
    assert [line.split()[0] for line in lines] == [answer.split()[0] for answer in answers]
    connects = sum(line.split()[2] == b"CONNECT" for line in lines)
    assert 0.4 < connects / CHECKED < 0.6
    assert own.different > CHECKED * 0.9
    hosts = {line.split()[3].removeprefix(b"http://").split(b"/")[0].split(b":")[0] for line in lines}
    assert (len(hosts) > CHECKED * 0.9) == (name == "new_hosts")


def test_the_same_workload_again_is_the_same(ground: Ground, office: Workload, tmp_path: Path) -> None:
    again = workload(Ground(tmp_path, check=True), "office")
    for file in ("acl.txt", "acl.expected", "rewriter.txt", "access.log"):
        assert again.path(file).read_bytes() == office.path(file).read_bytes()


def test_half_of_it_has_every_service_and_every_kind_of_evidence(ground: Ground) -> None:
    """Two thousand lines are not enough for all, so it is what they are drawn from that is looked at."""
    maker = Maker(ground, "half")
    drawn = {pattern for patterns in maker._messengers.values() for pattern in patterns}
    services, kinds = set(), set()
    for pattern in drawn & set(patterns_of(ground.program)):
        asked = maker.filled(pattern)
        services.add(maker.oracle.verdict(asked).service)
    for signature in ground.program.signatures:
        if signature.service in services:
            kinds.add(signature.kind)
    visible = {s.service for s in ground.program.signatures if s.service in (ground.program.rules[0].services or ())}
    assert services == visible
    assert kinds == set(Kind)


# ---- names, goals, records ------------------------------------------------------------------------------------------


def test_combined_names_are_all_different() -> None:
    names = [f"{label}.{domain}" for label in "abcdefghijk" for domain in ("one.example", "two.example")]
    assert len(set(combined(names, 0, 150)) | set(combined(names, 150, 50))) == 200


def test_what_is_free_is_neither_above_nor_below() -> None:
    is_free = free_of(["b.example"])
    assert [name for name in ("a.b.example", "b.example", "example", "ab.example", "c.example") if is_free(name)] == [
        "ab.example",
        "c.example",
    ]
    assert list(parents("a.b.c")) == ["a.b.c", "b.c", "c"]


GOALS = [("more", 5.0, "met, and the aim"), ("more", 3.0, "met"), ("more", 2.0, "not met"),
         ("less", 5.0, "not met"), ("less", 2.0, "met"), ("less", 1.0, "met, and the aim")]  # fmt: skip


@pytest.mark.parametrize(("better", "value", "verdict"), GOALS)
def test_a_goal_is_met_or_not(better: str, value: float, verdict: str) -> None:
    must, aim = (2.5, 5.0) if better == "more" else (4.0, 1.0)
    goal = Goal("what", "rate", "ours", better, "theirs", must, aim)  # type: ignore[arg-type]
    samples = {"ours": {"rate": [value * 10, 0.1, value * 100]}, "theirs": {"rate": [10.0, 10.0, 90.0]}}
    assert goal.value(samples) == pytest.approx(value)
    assert goal.verdict(goal.value(samples)) == verdict
    assert goal.value({"ours": samples["ours"]}) is None


def test_the_tables_are_those_of_the_newest_record() -> None:
    newest = record.newest()
    if newest is None:
        pytest.skip("there is no record yet")
    text = tables.README.read_text(encoding="utf-8")
    assert tables.filled(text, newest) == text


def test_tables_tell_what_a_record_has() -> None:
    goal = {"what": "speed", "value": 2.504, "unit": "x", "must": 2.5, "aim": 5.0, "better": "more", "verdict": "met"}
    own = {"ours": {"cpu_us": {"median": 1234.5, "runs": 3}}}
    benchmark = {"title": "A title", "runs": 3, "notes": ["a note"], "figures": own, "series": {}, "goals": [goal]}
    text = "<!-- goals -->\nold\n<!-- end of goals -->\n<!-- figures -->\n<!-- end of figures -->\n"
    filled = tables.filled(text, {"benchmarks": {"b": benchmark}})
    assert "| speed | 2.5 x | ≥ 2.5 | ≥ 5 | met |\n" in filled
    assert (
        "**A title** (`b`; medians of 3 runs; a note)\n\n| | µs CPU a request |\n|---|---|\n| ours | 1,230 |\n"
        in filled
    )
    assert "old" not in filled


def test_a_record_is_added_to_and_told(tmp_path: Path) -> None:
    """From samples to record, tables and plots; what was measured before on the same day stays."""
    (pipes,) = (own for own in DEFINITIONS if own.name == "pipe-office")
    (pings,) = (own for own in DEFINITIONS if own.name == "ping-pong")
    rates = {"ours": {"lines_per_second": [9e5, 1.1e6, 1e6]}, "squidguard": {"lines_per_second": [4e5, 3e5, 5e5]}}
    record.write({pipes: Result(rates, notes=["a note"])}, {}, tmp_path, added=False)
    series = {"ours": [(50.0, 11.5), (99.0, 20.0)], "floor": [(50.0, 9.0), (99.0, 10.0)]}
    whole = record.write(
        {pings: Result({"ours": {"median_us": [11.5]}}, series)}, {"obvious": "why"}, tmp_path, added=True
    )
    assert json.loads(json.dumps(whole)) == record.newest(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in ("goals", "figures", "machine")))
    tables.refresh(record.newest(tmp_path) or {}, readme)
    text = readme.read_text()
    assert "| lines a second against squidGuard | 2.5 x | ≥ 2.5 | ≥ 5 | met |\n" in text
    assert "| median round trip against the floor | - | ≤ 1.3 | ≤ 1.1 | not measured |\n" in text
    assert "| ours | 1,000,000 |\n" in text
    assert "Left out: obvious (why)." in text
    latency = (tmp_path / "latency.svg").read_text()
    assert ElementTree.fromstring(latency).tag.endswith("svg")
    assert ">ours</text>" in latency
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", latency)


def test_messages_are_not_compared() -> None:
    assert without_messages(b"1 OK tag=x log=y message=z%20z\n2 ERR\n") == b"1 OK tag=x log=y\n2 ERR\n"


def test_answers_are_lines(office: Workload) -> None:
    with office.path("acl.expected").open("rb") as file:
        assert contenders.first_lines(office.path("acl.expected"), 3) == b"".join(islice(file, 3))
