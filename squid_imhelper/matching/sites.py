"""Site lists at run time: domains and URLs in static tries, however many; the few other things in tables.

A trie holds the keys of a list in a few bytes each, in one piece of memory that can be that of a file. One look-up
finds every key that a text begins with, so the keys are written in such a way that this is what a list means:

    domain example.com       moc.elpmaxe.        www.example.com is looked up as moc.elpmaxe.www./
    host   www.example.com   moc.elpmaxe.www./
    URL    example.com/chat  example.com/chat/   looked up for each parent domain, with a slash behind the path
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from squid_imhelper.base.addresses import as_number, embedded_ipv4
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Evidence, Interval, Request, SiteList
from squid_imhelper.matching.expressions import BURST, Account, Expressions, required_literals
from squid_imhelper.matching.matcher import may_be_address, suffixes
from squid_imhelper.matching.program import SiteTables

if TYPE_CHECKING:
    import marisa_trie

LONGEST_NAME: Final = 1024
"""Characters of a name, from its end, that are looked up: a client may send an SNI of 60 KB."""

_WHOLE: Final = "/"
"""Stands behind the name that was asked for, and in no name (`urls.normalise_host`)."""


def compile_site_list(sites: SiteList) -> SiteTables:
    """Builds the tables of a site list; the same list makes the same bytes."""
    # One key after the other: a list of millions is in memory twice already, as text and as a trie that grows.
    domains = (_domain_key(name) for name in sites.domains)
    hosts = (_domain_key(name) + _WHOLE for name in sites.hosts)
    return SiteTables(
        domains=_build(chain(domains, hosts)),
        urls=_build(f"{url}/" for url in sites.urls),
        regex=tuple((pattern, tuple(sorted(required_literals(pattern)))) for pattern in sites.regex),
        networks=sites.networks,
        ports=sites.ports,
    )


def _domain_key(name: str) -> str:
    return f"{name[::-1]}."


def _build(keys: Iterator[str]) -> bytes:
    first = next(keys, None)
    if first is None:
        return b""
    import marisa_trie  # a policy without site lists does without

    return bytes(marisa_trie.Trie(chain((first,), keys)).tobytes())


def _open(data: bytes | memoryview) -> "marisa_trie.Trie":
    import marisa_trie

    trie = marisa_trie.Trie()
    try:
        trie.map(data)
    except RuntimeError as error:
        raise ImhelperError(f"a site list of the program is damaged ({error}); compile it again") from None
    return trie


class KeyTrie:
    """The keys of a trie in memory that it does not own, and has to keep alive."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._trie = _open(data) if data else None
        self.prefixes: Callable[[str], list[str]] = self._trie.prefixes if self._trie is not None else _no_prefixes
        """Returns the keys that a text begins with, the longest last."""

    def __bool__(self) -> bool:
        return self._trie is not None

    def begins_any(self, text: str) -> bool:
        """Whether any key begins with a text."""
        return self._trie is not None and next(self._trie.iterkeys(text), None) is not None


def _no_prefixes(_: str) -> list[str]:
    return []


class AddressSet:
    """Addresses as sorted intervals that do not overlap, searched by halving."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self._starts = [interval[:2] for interval in intervals]
        self._ends = [(interval[0], interval[2]) for interval in intervals]

    def __contains__(self, address: tuple[int, int]) -> bool:
        n = bisect_right(self._starts, address) - 1
        return n >= 0 and address <= self._ends[n]


class Sites:
    """One site list at work."""

    def __init__(self, tables: SiteTables, account: Account | None = None) -> None:
        """Opens the tables. Lists that work together share an account of the time that expressions take."""
        self._domains = KeyTrie(tables.domains)
        self.urls = KeyTrie(tables.urls)
        self.expressions = Expressions(tables.regex, account or Account(BURST)) if tables.regex else None
        self._networks = AddressSet(tables.networks)
        self._has_addresses = bool(tables.networks)
        self.ports = frozenset(tables.ports)

    def evidence(self, request: Request, name: str, now: float) -> Evidence | None:
        """Returns what puts a request for this name on the list, or None.

        Raises:
            ExpressionTimeoutError: an expression took too long.
        """
        target = request.target
        entry = self._find_domain(name) or self._find_url(request, name)
        if entry:
            return Evidence("site", entry)
        if self._has_address(name):
            return Evidence("site", name)
        if target.port in self.ports:
            return Evidence("site", str(target.port))
        if self.expressions is None:
            return None
        pattern = self.expressions.search(target._replace(host=name).url, now)
        return Evidence("regex", pattern) if pattern else None

    def has(self, name: str, port: int | None) -> bool:
        """Whether every request for this name and port is on the list, whatever its path."""
        if self._domains.prefixes(f"{name[: -LONGEST_NAME - 1 : -1]}.{_WHOLE}") or port in self.ports:
            return True
        return self._has_addresses and self._has_address(name)

    def has_urls(self, name: str) -> bool:
        """Whether there are URLs on the list that requests for this name may have."""
        return any(self.urls.begins_any(_authority(suffix) + mark) for suffix in suffixes(name) for mark in "/:")

    def _has_address(self, name: str) -> bool:
        if not self._has_addresses or not may_be_address(name):
            return False
        return any(as_number(text) in self._networks for text in (name, embedded_ipv4(name)))

    def _find_domain(self, name: str) -> str | None:
        keys = self._domains.prefixes(f"{name[: -LONGEST_NAME - 1 : -1]}.{_WHOLE}")
        return keys[-1].rstrip(_WHOLE)[-2::-1] if keys else None

    def _find_url(self, request: Request, name: str) -> str | None:
        target = request.target
        if not self.urls or target.path is None:
            return None
        for suffix in suffixes(name):
            authority = _authority(suffix)
            for host in (authority, f"{authority}:{target.port}"):
                if keys := self.urls.prefixes(f"{host}{target.path}/"):
                    return keys[-1].removesuffix("/")
        return None


def _authority(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def any_evidence(lists: Iterable[Sites], request: Request, name: str, now: float) -> Evidence | None:
    """Returns what puts a request for this name on one of the lists, or None.

    Raises:
        ExpressionTimeoutError: an expression took too long.
    """
    return next((found for sites in lists if (found := sites.evidence(request, name, now))), None)
