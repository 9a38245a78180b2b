"""A policy replaced again and again, while four helpers of a busy Squid answer by it.

Each version of the policy marks its answers: the rule says which version it is, so does the message, and odd versions
block what even ones let through. So each answer tells by which version it was given, and whether by the whole of it.
"""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from load import (
    CHILDREN,
    Exchange,
    Load,
    LogLine,
    log_lines,
    rate,
    read_metrics,
    send_all,
    wait_until_ready,
    with_four_helpers,
)
from real_squid import Network, Squid, children_of, helpers_of, rendered, wait_for

from squid_imhelper.loading import build_program
from squid_imhelper.matching.programfile import save_program

pytestmark = pytest.mark.squid
Start = Callable[..., Squid]
VERSIONS = 54
RATE = 2000
"""Requests a second: enough to show, and some time is left for what compiles the policies."""
MIX = ["http://web.telegram.org/"] * 14 + ["http://discord.com/", "http://app.slack.com/"]


def policy_text(version: int) -> str:
    return f"""
[[rule]]
name = "version {version}"
services = ["telegram", "{"discord" if version % 2 else "slack"}"]
action = "block"
message = "blocked by version {version}"

[[rule]]
name = "version {version}, let through"
action = "monitor"
"""


def broken_text(version: int) -> str:
    """One of the ways in which an administrator may get it wrong."""
    whole = policy_text(version)
    return (
        whole.replace("action = ", "action "),
        whole.replace('"telegram"', '"telegrm"'),
        f'{whole}\n[[expect]]\nurl = "http://web.telegram.org/"\naction = "allow"\n',
        whole[: whole.index("blocked by")],
    )[version % 4]


def broken_program(whole: bytes, version: int) -> bytes:
    """A program that was cut off, damaged, written by a newer version, or is none."""
    return (
        whole[: len(whole) // 2],
        whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:],
        whole[:19] + b"\x7f" + whole[20:],
        whole.replace(b"\r\n", b"\n", 1),
    )[version % 4]


def put(path: Path, content: bytes) -> None:
    """Replaces a file as a whole."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


class Fleet:
    """A Squid with four helpers, all of which have their policy."""

    def __init__(self, squid: Squid, policy: Path) -> None:
        self.squid = squid
        self.policy = policy
        self.pids = wait_until_ready(squid)

    def replace(self, content: bytes, *, hang_up: bool = True) -> None:
        put(self.policy, content)
        if hang_up:
            self.hang_up()

    def hang_up(self) -> None:
        for pid in self.pids:
            os.kill(int(pid), signal.SIGHUP)

    def said(self, text: str) -> Counter[str]:
        """How often each helper has said something."""
        return Counter(re.findall(rf"squid-imhelper\[(\d+)\]: [^\n]*{text}", self.squid.cache_log))

    def wait_until_seen(self, version: int) -> None:
        """Waits for an answer by this version."""
        wait_for(lambda: f"version%20{version}" in last_lines(self.squid), f"an answer by version {version}")

    def wait_until_refused(self, times: int) -> None:
        """Waits until every helper has refused so many versions."""

        def refused() -> bool:
            said = self.said("is refused")
            return all(said[pid] >= times for pid in self.pids)

        wait_for(refused, f"refusal {times}")


def last_lines(squid: Squid) -> str:
    with (squid.folder / "access.log").open("rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - 20_000))
        return log.read().decode(errors="replace")


def start_fleet(start_squid: Start, policy: Path, text: str) -> Fleet:
    """Starts a Squid with a policy; what is put in its place may be a program."""
    put(policy, text.encode())
    return Fleet(start_squid(with_four_helpers(policy)), policy)


def version_of(line: LogLine) -> int:
    """By which version a request was decided; its rule is that of exactly one."""
    found = re.fullmatch(r"version (\d+)(, let through)?", line.rule)
    assert found, line
    version = int(found[1])
    blocked = "telegram" in line.url or ("discord" if version % 2 else "slack") in line.url
    assert bool(found[2]) != blocked, f"{line} is decided by no version as a whole"
    assert line.status == (403 if blocked else 200)
    assert line.tag in line.url
    return version


def check_every_answer(squid: Squid, answers: list[Exchange]) -> list[int]:
    """No request is lost, each is answered once and by one version; returns the versions in the order of the log."""
    lines = log_lines(squid, len(answers))
    of_url = {line.url: line for line in lines}
    assert len(of_url) == len(lines) == len(answers)
    assert {answer.url for answer in answers} == set(of_url)
    for answer in answers:
        line = of_url[answer.url]
        assert answer.status == line.status
        if answer.status == 403:
            assert answer.rule == line.rule
            assert answer.message == f"blocked by {line.rule}"
        else:
            assert answer.body == f"origin GET {answer.url}"
    return [version_of(line) for line in lines]


def check_the_last_version(fleet: Fleet, version: int, answered: int) -> None:
    """The last version is in force in every helper, none of which has died."""

    def versions(requests: int) -> set[int]:
        nonlocal answered
        before, answered = answered, answered + len(send_all(fleet.squid, MIX, requests))
        return {version_of(line) for line in log_lines(fleet.squid, answered)[before:]}

    wait_for(
        lambda: versions(400) == {version}, "the last version"
    )  # it was one helper's, and may not be all of them's
    assert versions(1000) == {version}
    wait_for(lambda: counted(fleet.squid) == answered, "the counters of every request")
    for counters in read_metrics(fleet.squid).values():
        assert sum(n for name, n in counters.items() if f'rule="version {version}"' in name) > 0
    assert helpers_of(fleet.squid) == fleet.pids
    assert fleet.squid.process.poll() is None
    for trouble in ("FATAL", "assertion", "unexpected", "exited", "Traceback", "internal fault", "queue full"):
        assert trouble not in fleet.squid.cache_log


def counted(squid: Squid) -> float:
    return sum(counters["requests_total"] for counters in read_metrics(squid).values())


def replace_under_load(fleet: Fleet, content: Callable[[int], bytes], broken: Callable[[int], bytes]) -> None:
    """Replaces the policy again and again, now and then by a broken one, and looks at every answer."""
    refused: set[int] = set()
    waited_for = {0}
    with Load(fleet.squid, MIX, rate=RATE) as load:
        fleet.wait_until_seen(0)
        for version in range(1, VERSIONS + 1):
            if version % 7 == 3:
                refused.add(version)
                fleet.replace(broken(version))
                fleet.wait_until_refused(len(refused))
                continue
            wait = version % 3 == 0  # the others are replaced at once, and may be seen or not
            fleet.replace(content(version), hang_up=wait and version % 9 > 0)
            if wait:
                waited_for.add(version)
                fleet.wait_until_seen(version)
        answers = load.stop()
    print(f"{len(answers)} requests, {rate(answers)} a second")
    seen = check_every_answer(fleet.squid, answers)
    assert waited_for <= set(seen) <= set(range(VERSIONS + 1)) - refused
    check_the_last_version(fleet, VERSIONS, len(answers))
    # Each broken version was told once by each helper, and counted once.
    assert fleet.said("is refused") == dict.fromkeys(fleet.pids, len(refused))
    for pid in fleet.pids:
        assert read_metrics(fleet.squid)[pid]['reloads_total{result="refused"}'] == len(refused)
        assert read_metrics(fleet.squid)[pid]['reloads_total{result="taken"}'] > 0


def test_a_hang_up_while_the_helpers_start_ends_none_of_them(start_squid: Start) -> None:
    """As when a rotation of logs has Squid start them anew, and tells them so: Squid would end with them."""
    squid = start_squid(with_four_helpers(Path("built-in")))
    hung_up: set[str] = set()

    def all_hung_up() -> bool:
        assert squid.process.poll() is None
        for pid in helpers_of(squid) - hung_up:
            if b"ahocorasick" in Path(f"/proc/{pid}/maps").read_bytes():  # Python is up, and reads its modules
                os.kill(int(pid), signal.SIGHUP)
                hung_up.add(pid)
        return len(hung_up) == CHILDREN

    wait_for(all_hung_up, "the helpers")
    assert squid.get("http://discord.com/").status == 403
    assert wait_until_ready(squid) == hung_up


def test_a_policy_is_replaced_more_than_fifty_times_under_load(start_squid: Start, network: Network) -> None:
    fleet = start_fleet(start_squid, network.folder / "reloaded.toml", policy_text(0))
    replace_under_load(fleet, lambda version: policy_text(version).encode(), lambda n: broken_text(n).encode())


def test_a_program_is_replaced_more_than_fifty_times_under_load(start_squid: Start, network: Network) -> None:
    programs = [compiled(policy_text(version), network.folder) for version in range(VERSIONS + 1)]
    fleet = start_fleet(start_squid, network.folder / "compiled.policy", policy_text(0))
    fleet.replace(programs[0])
    replace_under_load(fleet, programs.__getitem__, lambda version: broken_program(programs[version], version))


def compiled(text: str, folder: Path) -> bytes:
    source, program = folder / "source.toml", folder / "source.program"
    source.write_text(text)
    save_program(build_program(str(source), print), program)
    return program.read_bytes()


def test_a_policy_that_is_written_piece_by_piece_is_taken_up_as_a_whole(start_squid: Start, network: Network) -> None:
    """Its first rule would be a policy by itself; what follows comes soon enough for the file not to rest."""
    fleet = start_fleet(start_squid, network.folder / "pieces.toml", policy_text(0))
    text = policy_text(1)
    second_rule = text.index("[[rule]]", 20)
    with Load(fleet.squid, MIX, rate=RATE) as load:
        fleet.wait_until_seen(0)
        with fleet.policy.open("w") as file:
            for piece in (text[:second_rule], *["# more is to come\n"] * 8, text[second_rule:]):
                file.write(piece)
                file.flush()
                time.sleep(0.2)
        fleet.wait_until_seen(1)
        answers = load.stop()
    assert set(check_every_answer(fleet.squid, answers)) == {0, 1}
    check_the_last_version(fleet, 1, len(answers))


def test_a_policy_that_vanishes_stays_in_force_until_there_is_a_new_one(start_squid: Start, network: Network) -> None:
    fleet = start_fleet(start_squid, network.folder / "vanishing.toml", policy_text(0))
    fleet.policy.unlink()
    answers = send_all(fleet.squid, MIX, 2 * RATE)  # long enough for a look at the file
    assert set(check_every_answer(fleet.squid, answers)) == {0}
    fleet.replace(policy_text(1).encode(), hang_up=False)
    wait_for(lambda: fleet.said("is in force now") == dict.fromkeys(fleet.pids, 1), "the new policy")
    check_the_last_version(fleet, 1, len(answers))
    assert not fleet.said("is refused")


def test_requests_are_answered_while_a_policy_is_compiled(start_squid: Start, network: Network) -> None:
    """What compiles it is held up, and killed, as for want of memory; the next time it is held up, and goes on."""
    fleet = start_fleet(start_squid, network.folder / "big.toml", policy_text(0))
    domains = network.folder / "big.txt"
    domains.write_text("".join(f"www{n}.big.example\n" for n in range(50_000)))
    sites = f'[sites]\nbig = {{ file = "{domains}" }}\n[[rule]]\nname = "big"\nsites = ["big"]\naction = "block"\n'
    put(fleet.policy, (sites + policy_text(1)).encode())
    answered = 0
    for end in (signal.SIGKILL, signal.SIGCONT):
        fleet.hang_up()
        with compilers_held_up(fleet, end):
            answers = send_all(fleet.squid, MIX, RATE // 2)
            lines = log_lines(fleet.squid, answered + len(answers))[answered:]
            answered += len(answers)
            assert {version_of(line) for line in lines} == {0}
        if end == signal.SIGKILL:
            fleet.wait_until_refused(1)
            assert f"ended by signal {end}" in fleet.squid.cache_log
    wait_for(lambda: fleet.said("is in force now") == dict.fromkeys(fleet.pids, 1), "the big policy")
    assert fleet.squid.get("http://www49999.big.example/").status == 403
    assert fleet.squid.get("http://www50000.big.example/").status == 200
    check_the_last_version(fleet, 1, answered + 2)


@contextmanager
def compilers_held_up(fleet: Fleet, end: int) -> Iterator[None]:
    """Stops the child in which each helper compiles a policy, as soon as there is one; then sends them a signal."""
    stopped: set[str] = set()

    def all_stopped() -> bool:
        for pid in {child for helper in fleet.pids for child in children_of(helper)} - stopped:
            os.kill(int(pid), signal.SIGSTOP)
            stopped.add(pid)
        return len(stopped) == CHILDREN

    try:
        wait_for(all_stopped, "the compilers")
        yield
    finally:
        for pid in stopped:
            os.kill(int(pid), end)


def test_a_list_that_is_replaced_is_taken_up_like_a_policy(start_squid: Start, network: Network) -> None:
    domains = network.folder / "list.txt"
    put(domains, b"old.example\n")
    policy = network.folder / "with-list.toml"
    policy.write_text('[sites]\nown = { file = "list.txt" }\n[[rule]]\nsites = ["own"]\naction = "block"\n')
    squid = start_squid(rendered(policy))
    assert [squid.get(f"http://{name}.example/").status for name in ("old", "new")] == [403, 200]
    put(domains, b"new.example\n")
    wait_for(lambda: squid.get("http://new.example/").status == 403, "the new list")
    assert squid.get("http://old.example/").status == 200


LISTED = '[sites]\nown = { file = "own.txt" }\n[[rule]]\nname = "lists"\nsites = ["own"]\naction = "block"\n'
UNLISTED = '[[rule]]\nname = "no more lists"\nservices = ["discord"]\naction = "block"\n'


@pytest.mark.parametrize("as_program", [False, True], ids=["policy", "program"])
def test_a_policy_is_replaced_whose_list_has_vanished(start_squid: Start, network: Network, as_program: bool) -> None:
    """An administrator takes a list away, and then its entry; or compiles where the lists are, and Squid is not."""
    own = network.folder / "own.txt"
    put(own, b"own.example\n")
    policy = network.folder / f"vanished-list-{as_program}.toml"
    put(policy, UNLISTED.encode())
    lines = rendered(policy)

    def content(text: str) -> bytes:
        return compiled(text, network.folder) if as_program else text.encode()

    put(policy, content(LISTED))
    squid = start_squid(lines)
    assert squid.get("http://own.example/").status == 403
    new = content(UNLISTED)
    own.unlink()
    put(policy, new)
    wait_for(lambda: squid.get("http://discord.com/").status == 403, "the new policy", 8)
    assert squid.get("http://own.example/").status == 200


def test_a_list_that_is_replaced_while_a_policy_is_compiled_is_not_missed(start_squid: Start, network: Network) -> None:
    """The compiler has read the short list, and is held up in the long one, when the short one is replaced."""
    short, long = network.folder / "short.txt", network.folder / "long.txt"
    put(short, b"old.example\n")
    put(long, b"".join(b"www%d.long.example\n" % number for number in range(200_000)))
    policy = network.folder / "two-lists.toml"
    text = (
        '[sites]\nshort = { file = "short.txt" }\nlong = { file = "long.txt" }\n'
        '[[rule]]\nname = "NAME"\nsites = ["short", "long"]\naction = "block"\n'
    )
    put(policy, text.encode())
    squid = start_squid(rendered(policy))
    assert [squid.get(f"http://{name}.example/").status for name in ("old", "new")] == [403, 200]
    put(policy, text.replace("NAME", "another").encode())
    compilers: list[str] = []

    def reads_the_long_list() -> bool:
        for helper in helpers_of(squid):
            compilers[:] = [pid for pid in children_of(helper) if has_open(pid, long)]
        return bool(compilers)

    wait_for(reads_the_long_list, "the compiler")
    os.kill(int(compilers[0]), signal.SIGSTOP)
    try:
        assert has_open(compilers[0], long)
        put(short, b"new.example\n")
    finally:
        os.kill(int(compilers[0]), signal.SIGCONT)
    wait_for(lambda: squid.get("http://new.example/").status == 403, "the new list", 8)
    assert squid.get("http://old.example/").status == 200


def has_open(pid: str, path: Path) -> bool:
    with suppress(OSError):
        return any(link.readlink() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    return False
