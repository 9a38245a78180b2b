"""Workloads: lines for the helper, for squidGuard and of an access log, with what must be answered to each.

All of it is made in chunks, by as many processes as there are cores, each chunk from its own seed: the same definition,
recording, names and policy make the same bytes. What has been made is kept until one of these changes.
"""

import hashlib
import json
import multiprocessing
import random
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.asked import Asked, acl_line, log_line, rewriter_line
from benchmarks.catalogued import patterns_of
from benchmarks.ground import HERE, Ground
from benchmarks.names import combined, parents
from benchmarks.oracle_answers import LISTED, MESSENGERS, Oracle
from benchmarks.patterns import Pattern, Web, fill, pattern_of, versions
from benchmarks.problems import Problem

CHUNK: Final = 10_000
CHECKED: Final = 2_000
"""Lines of a workload that is only checked."""
MORNING: Final = 1_773_615_600.0
FILES: Final = ("acl.txt", "acl.expected", "floor.expected", "rewriter.txt", "rewriter.expected", "access.log")


@dataclass(frozen=True, slots=True)
class Workload:
    """One that has been made: files below `folder`, and how much of what there is in them.

    `logged` is how many lines of the access log are to be blocked, `guarded` how many of the rewriter's.
    """

    folder: Path
    lines: int
    different: int
    logged: int
    guarded: int
    counts: dict[str, int]

    def path(self, name: str) -> Path:
        """Returns one of FILES."""
        return self.folder / name


class Share(NamedTuple):
    """How many lines of each kind; of a workload, or of one chunk of it."""

    messengers: int
    listed: int
    others: int

    def part(self, number: int, count: int) -> "Share":
        """Returns what falls to one of so many chunks."""
        return Share(*(total * (number + 1) // count - total * number // count for total in self))

    def before(self, number: int, count: int) -> int:
        """Returns how many lines stand before one of so many chunks."""
        return sum(total * number // count for total in self)


class Maker:
    """Makes chunks of one workload."""

    def __init__(self, ground: Ground, name: str) -> None:
        self._name, self._own = name, ground.workloads[name]
        lines = CHECKED if ground.check else self._own["lines"]
        messengers, listed = (self._own[key] * lines // self._own["lines"] for key in ("messengers", "listed"))
        self.share = Share(messengers, listed, lines - messengers - listed)
        self.lines = lines
        self.oracle = Oracle(ground.program, ground.listed)
        self._listed, self._names, self._making = ground.listed, ground.names, ground.making
        self._hosts = ground.names[: self._own["hosts"]]
        self._host_weights = list(accumulate(1 / rank for rank in range(1, len(self._hosts) + 1)))
        self._web = _web(ground)
        self._rules_of = lru_cache(None)(self._find_rules)
        self._guarded = frozenset(ground.blocked_names)
        self._sort(ground)

    def _sort(self, ground: Ground) -> None:
        """Sorts patterns into what is a messenger's and what is not, and what is CONNECT; what wavers is left out."""
        words, recorded = self._web.words, ground.recorded
        anywhere = [pattern_of(asked, words) for asked in recorded]
        there = [pattern_of(asked, words, asked.place) for asked in recorded]
        self._others = [
            (own, away)
            for own, away in zip(there, anywhere, strict=True)
            if self._rules_of(own) == self._rules_of(away) == {""}
        ]
        messengers = [own for own in {*there, *patterns_of(ground.program)} if self._rules_of(own) == {MESSENGERS}]
        self._messengers = _by_method(sorted(messengers, key=repr))
        self._other_connect = [pair for pair in self._others if pair[0].method == "CONNECT"]
        self._other_http = [pair for pair in self._others if pair[0].method != "CONNECT"]
        self._deep = [Pattern("GET", "http://{host}" + path, None) for path in self._making["paths"]]

    def _find_rules(self, pattern: Pattern) -> set[str]:
        pick = random.Random(1)  # noqa: S311
        return {self.oracle.verdict(fill(pattern, host, self._web, pick)).rule for host in self._names[:4]}

    def filled(self, pattern: Pattern) -> Asked:
        """Makes some request of a pattern."""
        return fill(pattern, self._names[0], self._web, random.Random(1))  # noqa: S311

    def requests(self, number: int, count: int) -> list[Asked]:
        """Makes the requests of one chunk."""
        pick = random.Random(f"{self._name} {number}")  # noqa: S311
        share = self.share.part(number, count)
        kinds = ["messenger"] * share.messengers + ["listed"] * share.listed + ["other"] * share.others
        pick.shuffle(kinds)
        hosts = self._draw_hosts(number, count, len(kinds), pick)
        return [self._request(kind, host, pick) for kind, host in zip(kinds, hosts, strict=True)]

    def _draw_hosts(self, number: int, count: int, lines: int, pick: random.Random) -> Sequence[str]:
        if self._hosts:
            return pick.choices(self._hosts, cum_weights=self._host_weights, k=lines)
        return combined(self._names, self.share.before(number, count), lines)

    def _request(self, kind: str, host: str, pick: random.Random) -> Asked:
        connect = pick.random() < self._own["connect"]
        if kind == "messenger":
            return fill(pick.choice(self._messengers[connect]), host, self._web, pick)
        own, anywhere = pick.choice(self._other_connect if connect else self._other_http)
        if kind == "listed":
            return fill(anywhere, pick.choice(("", "www.")) + pick.choice(self._listed), self._web, pick)
        if not connect and pick.random() < self._making["deep"]:
            return fill(pick.choice(self._deep), host, self._web, pick)
        goes_there = self._hosts and pick.random() < self._making["own_host"]
        return fill(own if goes_there else anywhere, host, self._web, pick)

    def chunk(self, number: int, count: int) -> "Chunk":
        """Makes the lines of one chunk, and what must be answered."""
        requests = self.requests(number, count)
        first = self.share.before(number, count) + 1
        verdicts, of_log = zip(*map(self.oracle.verdicts, requests), strict=True)
        guarded = [not self._guarded.isdisjoint(parents(asked.host)) for asked in requests]
        texts = (
            b"".join(acl_line(n, asked) for n, asked in enumerate(requests, first)),
            b"".join(b"%d %s\n" % (n, verdict.answer) for n, verdict in enumerate(verdicts, first)),
            b"".join(b"%d ERR\n" % n for n in range(first, first + len(requests))),
            b"".join(map(rewriter_line, requests)),
            b"".join(b"OK\n" if blocked else b"ERR\n" for blocked in guarded),
            b"".join(log_line(MORNING + 86_400 * n / self.lines, asked) for n, asked in enumerate(requests, first)),
        )
        counts = {rule: sum(verdict.rule == rule for verdict in verdicts) for rule in (MESSENGERS, LISTED, "")}
        logged = sum(bool(verdict.rule) for verdict in of_log)
        return Chunk(texts, counts, sum(guarded), logged, {hash(asked) for asked in requests})


class Chunk(NamedTuple):
    """Some thousand lines: the texts of FILES, and what was counted."""

    texts: tuple[bytes, ...]
    counts: dict[str, int]
    guarded: int
    logged: int
    hashes: set[int]


def _web(ground: Ground) -> Web:
    """Draws clients, and takes words and browsers from the recorded day; a browser that is a messenger's stays out."""
    day = tomllib.loads((HERE / "office" / "day.toml").read_text(encoding="utf-8"))
    pick = random.Random(7)  # noqa: S311
    clients = [f"10.20.{pick.randrange(4)}.{n + 1}" for n in range(ground.making["clients"])]
    oracle = Oracle(ground.program, ())
    browsers = sorted({asked.agent for asked in ground.recorded if asked.agent.startswith("Mozilla/")})
    plain = [agent for agent in browsers if not oracle.verdict(Asked("", "CONNECT", "host.invalid:443", agent)).service]
    return Web(day["words"], clients, *versions(plain, ground.making["agents"]))


def _by_method(patterns: Sequence[Pattern]) -> dict[bool, list[Pattern]]:
    return {connect: [p for p in patterns if (p.method == "CONNECT") is connect] for connect in (True, False)}


_maker: Maker


def _make_chunk(numbers: tuple[int, int]) -> Chunk:
    return _maker.chunk(*numbers)


def workload(ground: Ground, name: str) -> Workload:
    """Returns a workload, made anew where something that it is made of has changed.

    Raises:
        Problem: there are not as many lines of a kind as its definition says.
    """
    folder = ground.folder / "workloads" / name
    key = _key(ground, name)
    told = folder / "told.json"
    if not told.exists() or json.loads(told.read_text())["key"] != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        told.write_text(json.dumps({"key": key, **_make(ground, name, folder)}, indent=1))
    data: dict[str, Any] = json.loads(told.read_text())
    del data["key"]
    return Workload(folder, **data)


def _make(ground: Ground, name: str, folder: Path) -> dict[str, Any]:
    global _maker  # noqa: PLW0603  # what the processes get by fork
    maker = _maker = Maker(ground, name)
    count = -(-maker.lines // CHUNK)
    counts: dict[str, int] = {}
    hashes: set[int] = set()
    guarded = logged = 0
    context = multiprocessing.get_context("fork")
    files = [(folder / file).open("wb") for file in FILES]
    with context.Pool() as pool:
        for chunk in pool.imap(_make_chunk, [(number, count) for number in range(count)]):
            for file, text in zip(files, chunk.texts, strict=True):
                file.write(text)
            counts = {rule: counts.get(rule, 0) + n for rule, n in chunk.counts.items()}
            hashes |= chunk.hashes
            guarded, logged = guarded + chunk.guarded, logged + chunk.logged
    for file in files:
        file.close()
    wanted = {MESSENGERS: maker.share.messengers, LISTED: maker.share.listed, "": maker.share.others}
    if counts != wanted:
        raise Problem(f"{name}: the oracle counts {counts}, and the definition says {wanted}")
    different = len(hashes)
    return {"lines": maker.lines, "different": different, "logged": logged, "guarded": guarded, "counts": counts}


def _key(ground: Ground, name: str) -> str:
    """What a workload is made of, as one hash; of the program what the oracle looks at."""
    program, rules = ground.program, [sorted(rule.services or ()) for rule in ground.program.rules]
    asked = [name, ground.workloads[name], ground.making, ground.check, ground.names, ground.listed, rules]
    made_of = hashlib.sha256(json.dumps(asked).encode())
    made_of.update(repr((program.signatures, program.exceptions, program.bots)).encode())
    sources = [*(HERE / f"{stem}.py" for stem in _MAKERS), HERE.parent / "tests/oracle.py", HERE / "office/day.toml"]
    for path in (ground.recorded_log, *sources):
        made_of.update(hashlib.sha256(path.read_bytes()).digest())
    return made_of.hexdigest()


_MAKERS: Final = ("asked", "catalogued", "ground", "names", "oracle_answers", "patterns", "workloads")
