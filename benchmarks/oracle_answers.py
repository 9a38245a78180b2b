"""What the answers must be: each request held against every signature of the program, by the tests' own slow oracle.

Nothing of the matcher or the engine is used, and no helper line is read: the request is taken as it was made. A part of
a request (host and port, agent, type) that has been looked at before is not looked at again.
"""

import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.asked import Asked
from benchmarks.names import parents
from squid_imhelper.base.model import Kind, Request, Signature, names_of
from squid_imhelper.base.urls import NOWHERE, Target, parse_connect, parse_squid_url
from squid_imhelper.matching.program import Program

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from oracle import identify, is_bound  # type: ignore[import-not-found]  # which is beside the tests

MESSENGERS: Final = "messengers"
LISTED: Final = "listed"
"""The rules of the policy, by name."""
LET_THROUGH: Final = b"ERR"
_NAMES: Final = (Kind.HOST, Kind.DOMAIN)


class Verdict(NamedTuple):
    """What is blocked, and why: of service and rule, one or both are empty."""

    service: str
    rule: str

    @property
    def answer(self) -> bytes:
        """What follows the channel-ID, the message for people left out."""
        tag = f" tag={self.service}" if self.service else ""
        return f"OK{tag} log={self.rule}".encode() if self.rule else LET_THROUGH


class Oracle:
    """A policy of two rules: the services of the first, and the domains of the second."""

    def __init__(self, program: Program, listed: Iterable[str]) -> None:
        self._services = program.rules[0].services or frozenset()
        self._listed = frozenset(listed)
        own = {Kind.URL, Kind.NETWORK}  # a URL may be bound to the networks of its service
        urls = program._replace(signatures=tuple(s for s in program.signatures if s.kind in own and not s.flag))
        rest = tuple(s for s in program.signatures if s.kind is not Kind.URL and not s.flag)
        ends = frozenset(_end(s.value) for s in rest if s.kind in _NAMES)
        below = lru_cache(None)(lambda own: program._replace(signatures=tuple(s for s in rest if _may_fit(s, own))))
        self._urls = lru_cache(16)(lambda request: identify(urls, request))  # the same is asked twice, see `verdicts`
        self._rest = lru_cache(1 << 16)(lambda request: identify(below(ends & {_end(request.target.host)}), request))
        self._is_listed = lru_cache(1 << 16)(lambda host: not self._listed.isdisjoint(parents(host)))

    def verdict(self, asked: Asked, *, url_only: bool = False) -> Verdict:
        """Returns what must be answered; `url_only` where agent and content type are not told."""
        target = parse_connect(asked.url) if asked.method == "CONNECT" else parse_squid_url(asked.url)
        known = self.identity(target, asked, url_only)
        if known and known in self._services:
            return Verdict(known, MESSENGERS)
        return Verdict(known, LISTED) if self._is_listed(target.host) else Verdict(known, "")

    def verdicts(self, asked: Asked) -> tuple[Verdict, Verdict]:
        """Returns what must be answered to a helper's line, and what replayed from a log that has URLs only."""
        return self.verdict(asked), self.verdict(asked, url_only=True)

    def identity(self, target: Target, asked: Asked, url_only: bool) -> str:
        """Returns the service of the strongest signature, or ""."""
        place = target._replace(scheme="", path=None, query="")
        found = [*self._rest(Request(place, names_of(target)))]
        if target.path is not None:
            request = Request(target, names_of(target), asked.method)
            found += [signature for signature in self._urls(request) if signature.kind is Kind.URL]
        if not url_only and asked.content_type:
            found += self._rest(Request(NOWHERE, (), content_type=asked.content_type))
        if not url_only and asked.agent:
            found += self._rest(Request(NOWHERE, (), user_agent=asked.agent))
        return min(found, key=_step).service if found else ""


def _end(name: str) -> str:
    """The last two labels of a name."""
    return ".".join(name.split(".")[-2:])


def _may_fit(signature: Signature, ends: frozenset[str]) -> bool:
    """Whether a signature may be that of a name with one of these ends: no name of the catalogue is a single label."""
    return signature.kind not in _NAMES or _end(signature.value) in ends


def _step(signature: Signature) -> int:
    """The step of the oracle's order that a signature belongs to; within one it has sorted them."""
    if signature.kind is Kind.URL:
        return 1 if is_bound(signature.url) else 3
    return _STEPS[signature.kind]


_STEPS: Final = {
    Kind.HOST: 0,
    Kind.DOMAIN: 2,
    Kind.CONTENT_TYPE: 4,
    Kind.USER_AGENT: 5,
    Kind.NETWORK: 6,
    Kind.PORT: 7,
}
