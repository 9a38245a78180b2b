"""What was answered before need not be found out again: batches, line by line, out of memory.

A line is taken apart (`squid.rows`), each of its parts stands for a trait (`matching.traits`), and lines with the same
traits have the same answer. So a few look-ups answer a line, as long as nothing in it is new:

    who[before], where[place], what[after]  -->  replies         and its path begins like no signature

Where all three are quiet, the answer is ERR, and four sets tell so. What is new, or has no trait, is answered as a line
by itself; its answer is kept if it is that of all lines with its traits. Nothing is decided here. Each memo has a size,
and forgets all that it knows when it is full.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.memo import ENTRIES, LONGEST
from squid_imhelper.base.model import Request
from squid_imhelper.base.urls import Target
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.traits import NOBODY, Traits
from squid_imhelper.squid.rows import HEAD, Row, Rows, plain_targets
from squid_imhelper.squid.wire import Query

LONGEST_REPLY: Final = 2048
"""Bytes of a reply that is kept. How a longer one is shortened depends on its channel-ID."""

_NORMALISED: Final = re.compile(rb"//|/\.|\\|^[^?]*%")
"""What path and query have in them where the URL would be normalised to another one."""

_SPELT_OUT: Final = re.compile(rb"(?:/(?![/.])[A-Za-z0-9._~:=&+,;@!$()*-]*)*(?:\?[A-Za-z0-9._~:=&+,;@!$()*/-]*)?")
"""A path and a query that no normalising changes."""

_OF_ANY: Final = frozenset({"service", "rule", "time"})
_OF_A_HOST: Final = _OF_ANY | {"host", "service_name"}
"""Values that requests with the same traits have in common; the time, as long as it is the same."""

FEW: Final = 8
"""Lines of a batch up to which it does not pay to look for what they have in common."""

PLACES: Final = 32_768
"""Places that are remembered: an office goes to ten thousand in a day."""


class Answered(NamedTuple):
    """A reply with its channel-ID and LF, and what it is made of.

    `counted` counts the decision; None where the reply is for this line only. `shows` are the values of the request
    that stand in it.
    """

    reply: bytes
    request: Request | None = None
    counted: list[int] | None = None
    shows: frozenset[str] = frozenset()


class Reply(NamedTuple):
    """The text of a reply behind its channel-ID, and what counts the decision."""

    text: bytes
    counted: list[int]


class Memo:
    """The traits of texts that have been met, no more of them than `size`; `quiet` are those texts that are quiet."""

    def __init__(self, size: int, find: Callable[[bytes], int | None], is_quiet: Callable[[int | None], bool]) -> None:
        self._size = size
        self._find = find
        self._is_quiet = is_quiet
        self.traits: dict[bytes, int | None] = {}
        self.quiet: set[bytes] = set()

    def learn(self, text: bytes) -> int | None:
        """Returns the trait of a text, be it new; None where it cannot be read."""
        if text in self.traits:
            return self.traits[text]
        if len(text) > LONGEST:
            return None
        try:
            trait = self._find(text)
        except ImhelperError:
            trait = None
        self.keep(text, trait)
        return trait

    def keep(self, text: bytes, trait: int | None) -> None:
        """Remembers a trait."""
        if len(self.traits) >= self._size:
            self.forget()
        self.traits[text] = trait
        if self._is_quiet(trait):
            self.quiet.add(text)

    def forget(self) -> None:
        """Forgets all."""
        self.traits.clear()
        self.quiet.clear()


class Recall:
    """Answers batches for one engine."""

    def __init__(
        self,
        rows: Rows,
        engine: Engine,
        decode: Callable[[bytes], Query],
        answer: Callable[[bytes], Answered],
        quiet: Reply,
    ) -> None:
        """Takes what it asks about what is new.

        Args:
            rows: how lines are taken apart.
            engine: the engine in force.
            decode: reads a line without its channel-ID; raises ImhelperError where that cannot be done.
            answer: answers a line.
            quiet: the reply where no rule holds.
        """
        self._rows = rows
        self._engine = engine
        self._decode = decode
        self._answer_line = answer
        self._quiet = quiet
        self._traits = Traits(engine)
        self._who = Memo(ENTRIES, self._trait_of_who, self._is_quiet)
        self._where = Memo(PLACES, self._trait_of_where, self._is_quiet)
        self._what = Memo(ENTRIES, self._trait_of_what, self._is_quiet)
        self._heads: set[bytes] = set()
        self._replies: dict[tuple[int | None, ...], Reply] = {}
        self._fresh_from = self._fresh_until = 0.0

    def answer(self, block: bytes, now: float) -> list[bytes]:
        """Returns the answers to the lines of a block, in their order.

        Args:
            block: whole lines, each with its LF.
            now: the instant for which they are asked.
        """
        if not self._fresh_from <= now < self._fresh_until:
            self._replies.clear()
            self._fresh_from, self._fresh_until = self._engine.settle(now)
        rows = self._rows.read(block)
        if len(rows) < FEW or self._traits.expressions:
            return [self._answer_row(row, now) for row in rows]
        self._learn_places({row[2] for row in rows}.difference(self._where.traits))
        answers: list[bytes] = []
        for n in self._settle(rows, answers):
            answers[n] = self._answer_row(rows[n], now)
        return answers

    def _settle(self, rows: list[Row], answers: list[bytes]) -> list[int]:
        """Answers the rows in which everything is quiet, and returns the numbers of the others."""
        who, where, what, heads = self._who.quiet, self._where.quiet, self._what.quiet, self._heads
        turning, add = self._rows.turning, answers.append
        text, counted = self._quiet
        others: list[int] = []
        for channel, before, place, head, rest, after, _ in rows:
            if (
                place in where
                and after in what
                and before in who
                and head in heads
                and b".." not in rest
                and not (b"%" in rest and turning(rest))
            ):
                add(channel + text)
            else:
                others.append(len(answers))
                add(b"")
        counted[0] += len(rows) - len(others)
        return others

    def _answer_row(self, row: Row, now: float) -> bytes:
        channel, before, place, head, rest, after, _ = row
        try:
            reply = self._replies[self._who.traits[before], self._where.traits[place], self._what.traits[after]]
        except KeyError:
            return self._look(row, now)
        may_turn = (b"%" in rest or b".." in rest) and self._rows.turning(rest)
        if head not in self._heads or may_turn or self._traits.expressions:
            return self._look(row, now)
        reply.counted[0] += 1
        return channel + reply.text

    def _look(self, row: Row, now: float) -> bytes:
        """Answers a line in which something is new, or must be looked at each time."""
        channel, before, place, head, rest, after, odd = row
        if not place:
            return self._answer_line(odd).reply
        key = self._key(row)
        if key in self._replies:
            text, counted = self._replies[key]
            counted[0] += 1
            return channel + text
        answered = self._answer_line(
            b"".join((channel, self._rows.behind_channel, before, place, head, rest, b" ", after))
        )
        if None not in key:
            self._keep(key, answered, channel, place, now)
        return answered.reply

    def _keep(self, key: tuple[int | None, ...], answered: Answered, channel: bytes, place: bytes, now: float) -> None:
        reply, request, counted, shows = answered
        if counted is None or request is None or len(reply) > LONGEST_REPLY:
            return
        if not shows <= (_OF_A_HOST if key[1] in self._traits.of_one_host else _OF_ANY):
            return
        if (request.target.path is None) != (b"://" not in place):  # CONNECT to a URL, which Squid never writes
            return
        if "time" in shows:
            self._fresh_from = max(self._fresh_from, now // 1)
            self._fresh_until = min(self._fresh_until, now // 1 + 1)
        if len(self._replies) >= ENTRIES:
            self._replies.clear()
        self._replies[key] = Reply(reply[len(channel) :], counted)

    # ---- what is new ------------------------------------------------------------------------------------------------

    def _key(self, row: Row) -> tuple[int | None, ...]:
        """Returns the traits of all parts, that of the path among them where it counts; a None where there is none."""
        _, before, place, head, rest, after, _ = row
        if len(self._traits) >= ENTRIES:
            self._replies.clear()
            for memo in (self._who, self._where, self._what):
                memo.forget()
            self._traits = Traits(self._engine)
        who, where, what = self._who.learn(before), self._where.learn(place), self._what.learn(after)
        if who is None or where is None or what is None or not self._is_plain(place, head + rest):
            return (None,)
        if where in self._traits.by_path or not self._is_plain_head(head):
            return who, where, what, self._trait_of_path(place, head + rest, who, what)
        return who, where, what

    def _learn_places(self, places: set[bytes]) -> None:
        """Finds out about new places, as far as they are spelt as they would be normalised."""
        new = [place for place in places if 0 < len(place) <= LONGEST]
        if len(self._where.traits) + len(new) > PLACES:
            self._where.forget()
        traits, quiet, of_target = self._where.traits, self._where.quiet, self._traits.of_target
        for place, (host, port) in zip(new, plain_targets(new), strict=True):
            if port:
                trait = of_target(host, port, tunnel=b"://" not in place)
                traits[place] = trait
                if trait in NOBODY:
                    quiet.add(place)

    def _is_quiet(self, trait: int | None) -> bool:
        return trait in self._traits.quiet and (self._rows.guarded or self._traits.methods.get(trait or 0) != "CONNECT")

    def _trait_of_who(self, before: bytes) -> int | None:
        return self._traits.of_rest(self._decode(self._rows.probe.line(before=before)).request)

    def _trait_of_where(self, place: bytes) -> int | None:
        tunnel = b"://" not in place
        [(host, port)] = plain_targets([place])
        if port:
            return self._traits.of_target(host, port, tunnel=tunnel)
        target = self._decode(self._rows.probe.line(place=place if tunnel else place + b"/")).request.target
        if self._traits.expressions:  # they are searched in another spelling of the URL
            return None
        return self._traits.of_target(target.host, target.port, tunnel=tunnel)

    def _trait_of_what(self, after: bytes) -> int | None:
        if not self._rows.fits(after):
            return None
        query = self._decode(self._rows.probe.line(after=after))
        return None if query.arguments else self._traits.of_rest(query.request)

    def _trait_of_path(self, place: bytes, path: bytes, who: int, what: int) -> int | None:
        [(host, port)] = plain_targets([place])
        rests = {who, what}
        if not port or not _SPELT_OUT.fullmatch(path) or not self._traits.with_names.isdisjoint(rests):
            return None
        path_only, _, query = path.decode("ascii").partition("?")
        target = Target(place.partition(b":")[0].decode("ascii"), host, port, path_only or "/", query)
        method = next((method for rest in rests if (method := self._traits.methods.get(rest))), None)
        return self._traits.of_path(Request(target, (host,), method))

    def _is_plain(self, place: bytes, path: bytes) -> bool:
        """Whether a path begins as it does when it is normalised, and no expression can hold."""
        if not self._traits.expressions:
            return not self._rows.turning(path)
        if _NORMALISED.search(path) or self._rows.turning(path):
            return False
        return not self._traits.may_hold((place + path).decode("ascii"))

    def _is_plain_head(self, head: bytes) -> bool:
        if head in self._heads:
            return True
        if not self._traits.is_plain_path(head.decode("ascii"), whole=len(head) < HEAD):
            return False
        if len(self._heads) >= ENTRIES:
            self._heads.clear()
        self._heads.add(head)
        return True
