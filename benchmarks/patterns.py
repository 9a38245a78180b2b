"""Recorded requests made into patterns, and patterns filled in: other numbers, words, agents, the rest as it was."""

import random
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from benchmarks.asked import Asked

_HOLE: Final = re.compile(r"\{(n|hex|id|word|host|label)\}")
_VARYING: Final = re.compile(r"[0-9a-f]{32}|[0-9]{2,}|[a-z]{4,}")
_VERSION: Final = re.compile(r"(Chrome/|Edg/|Firefox/|rv:|Version/)([0-9]{2,3})")
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Pattern(NamedTuple):
    """A request with holes in its URL: {n}, {hex}, {id}, {word}, and {host} or {label} for where it goes."""

    method: str
    url: str
    agent: str | None
    """None: that of whoever asks."""
    content_type: str = ""


class Web(NamedTuple):
    """What holes are filled with."""

    words: Sequence[str]
    clients: Sequence[str]
    agents: Sequence[str]
    agent_weights: Sequence[float]


def pattern_of(asked: Asked, words: Sequence[str], host: str = "{host}") -> Pattern:
    """Makes a pattern of a recorded request: the host goes, and so do numbers and words that were filled in once."""
    known = set(words)

    def hole(found: re.Match[str]) -> str:
        text = found[0]
        if len(text) == 32:
            return "{hex}"
        return "{n}" if text.isdigit() else "{word}" if text in known else text

    if asked.method == "CONNECT":
        return Pattern("CONNECT", f"{host}:{asked.url.rpartition(':')[2]}", asked.agent or None, asked.content_type)
    scheme, _, rest = asked.url.partition("://")
    _, slash, path = rest.partition("/")
    agent = None if _VERSION.search(asked.agent) else asked.agent
    return Pattern(asked.method, f"{scheme}://{host}{slash}{_VARYING.sub(hole, path)}", agent, asked.content_type)


def fill(pattern: Pattern, host: str, web: Web, pick: random.Random) -> Asked:
    """Makes a request of a pattern."""

    def value(found: re.Match[str]) -> str:
        hole = found[1]
        if hole == "n":
            return str(int(10 ** (1 + 5 * pick.random())))
        if hole == "hex":
            return f"{pick.getrandbits(128):032x}"
        if hole == "id":
            return "".join(pick.choices(_ALPHABET, k=11))
        return host if hole == "host" else pick.choice(web.words)

    agent = pattern.agent
    if agent is None:
        (agent,) = pick.choices(web.agents, cum_weights=web.agent_weights)
    return Asked(pick.choice(web.clients), pattern.method, _HOLE.sub(value, pattern.url), agent, pattern.content_type)


def versions(agents: Sequence[str], count: int) -> tuple[list[str], list[float]]:
    """Returns browsers in so many versions each, and cumulated weights: the newest is the most frequent."""
    found: dict[str, float] = {}
    for agent in agents:
        for back in range(count if _VERSION.search(agent) else 1):
            older = _VERSION.sub(lambda m, back=back: f"{m[1]}{int(m[2]) - back}", agent)  # type: ignore[misc]
            found[older] = found.get(older, 0.0) + 1 / (1 + back) ** 1.5
    total, weights = 0.0, []
    for weight in found.values():
        total += weight
        weights.append(total)
    return list(found), weights
