"""The program: the flat tables that a policy and the catalogue are compiled to, and all that answers need."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from squid_imhelper.base.errors import ImhelperError, suggest
from squid_imhelper.base.model import AuditSettings, Interval, Response, Rule, Schedule, Signature


class ServiceName(NamedTuple):
    """What is left of a service at run time."""

    name: str
    group: str


class SiteTables(NamedTuple):
    """A site list, compiled.

    `domains` and `urls` are tries, with the keys that `sites` describes; empty for none. Each expression of `regex`
    comes with the literals that it requires.
    """

    domains: bytes | memoryview = b""
    urls: bytes | memoryview = b""
    regex: tuple[tuple[str, tuple[str, ...]], ...] = ()
    networks: tuple[Interval, ...] = ()
    ports: tuple[int, ...] = ()


class Program(NamedTuple):
    """Compiled tables.

    `services` are all services of the catalogue by id. `signatures` are those that count by themselves, or that some
    rule includes, in the catalogue's order; `exceptions` are (domain, service id), `bots` (part of a user agent,
    service id). `open_targets` are (host, port) pairs that are never blocked: where blocked requests are sent. `files`
    are the absolute paths of what the policy was read from besides its own file.
    """

    services: Mapping[str, ServiceName]
    signatures: tuple[Signature, ...]
    exceptions: tuple[tuple[str, str], ...]
    bots: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...]
    response: Response
    open_targets: frozenset[tuple[str, int]]
    audit: AuditSettings = AuditSettings()
    sites: Mapping[str, SiteTables] = {}
    schedules: Mapping[str, Schedule] = {}
    files: tuple[str, ...] = ()


class UnknownNameError(ImhelperError):
    """A word that names no service and no group."""

    def __init__(self, word: str, known: Iterable[str]) -> None:
        self.word = word
        self._known = known
        kind = "group" if word.lstrip("-").startswith("@") else "service"
        super().__init__(f"unknown {kind} {word.removeprefix('-')[:60]!r}")

    @property
    def suggestion(self) -> str:
        """What may have been meant; found out only when it is asked for, since that takes its time."""
        known = list(self._known)
        bare = self.word.removeprefix("-")
        return f"did you mean '@{bare}'?" if f"@{bare}" in known else suggest(bare, known)


def select_services(words: Iterable[str], group_of: Mapping[str, str]) -> frozenset[str]:
    """Resolves `all`, ids, `@group`, and any of them behind a `-` to leave out what has been named before.

    Args:
        words: as they stand in a policy or behind an ACL.
        group_of: the group of each service id.

    Raises:
        UnknownNameError: a word names nothing, or there is nothing to leave it out of.
    """
    chosen: set[str] = set()
    named_something = False
    for word in words:
        name = word.removeprefix("-")
        if name == "all":
            members = set(group_of)
        elif name.startswith("@"):
            members = {service for service, group in group_of.items() if group == name[1:]}
        else:
            members = {name} & group_of.keys()
        if not members:
            raise UnknownNameError(word, [*group_of, *(f"@{group}" for group in group_of.values()), "all"])
        if name != word and not named_something:
            raise ImhelperError(f"'{word}' leaves out of nothing; write 'all' first")
        named_something = True
        chosen = chosen - members if name != word else chosen | members
    return frozenset(chosen)
