"""Site lists at run time: domains and URLs in static tries, however many; the few other things in tables.

A trie holds the keys of a list in a few bytes each, in one piece of memory that can be that of a file. One look-up
finds every key that a text begins with, so the keys are written in such a way that this is what a list means:

    domain example.com       moc.elpmaxe.        www.example.com is looked up as moc.elpmaxe.www./
    host   www.example.com   moc.elpmaxe.www./
    URL    example.com/chat  example.com/chat/   looked up for each parent domain, with a slash behind the path
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from squid_imhelper.base.addresses import as_number, embedded_ipv4
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Evidence, Interval, Request, SiteList
from squid_imhelper.matching.expressions import BURST, Account, Expressions, required_literals
from squid_imhelper.matching.matcher import suffixes
from squid_imhelper.matching.program import SiteTables

if TYPE_CHECKING:
    import marisa_trie

LONGEST_NAME: Final = 1024
"""Characters of a name, from its end, that are looked up: a client may send an SNI of 60 KB."""

_WHOLE: Final = "/"
"""Stands behind the name that was asked for, and in no name (`urls.normalise_host`)."""


def compile_site_list(sites: SiteList) -> SiteTables:
    """Builds the tables of a site list; the same list makes the same bytes."""
    domains = [_domain_key(name) for name in sites.domains]
    domains += [_domain_key(name) + _WHOLE for name in sites.hosts]
    return SiteTables(
        domains=_build(domains),
        urls=_build([f"{url}/" for url in sites.urls]),
        regex=tuple((pattern, tuple(sorted(required_literals(pattern)))) for pattern in sites.regex),
        networks=sites.networks,
        ports=sites.ports,
    )


def _domain_key(name: str) -> str:
    return f"{name[::-1]}."


def _build(keys: Sequence[str]) -> bytes:
    if not keys:
        return b""
    import marisa_trie  # a policy without site lists does without

    return bytes(marisa_trie.Trie(keys).tobytes())


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

    def __bool__(self) -> bool:
        return self._trie is not None

    def longest_prefix(self, text: str) -> str | None:
        """Returns the longest key that a text begins with."""
        found = self._trie.prefixes(text) if self._trie is not None else None
        return found[-1] if found else None


class AddressSet:
    """Addresses as sorted intervals that do not overlap, searched by halving."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self._starts = [interval[:2] for interval in intervals]
        self._ends = [(interval[0], interval[2]) for interval in intervals]

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __contains__(self, address: tuple[int, int]) -> bool:
        n = bisect_right(self._starts, address) - 1
        return n >= 0 and address <= self._ends[n]


class Sites:
    """One site list at work."""

    def __init__(self, tables: SiteTables, account: Account | None = None) -> None:
        """Opens the tables. Lists that work together share an account of the time that expressions take."""
        self._domains = KeyTrie(tables.domains)
        self._urls = KeyTrie(tables.urls)
        self._expressions = Expressions(tables.regex, account or Account(BURST)) if tables.regex else None
        self._networks = AddressSet(tables.networks)
        self._ports = frozenset(tables.ports)

    def evidence(self, request: Request, name: str, now: float) -> Evidence | None:
        """Returns what puts a request for this name on the list, or None.

        Raises:
            ExpressionTimeoutError: an expression took too long.
        """
        target = request.target
        entry = self._find_domain(name) or self._find_url(request, name)
        if entry:
            return Evidence("site", entry)
        if self._networks and any(as_number(text) in self._networks for text in (name, embedded_ipv4(name))):
            return Evidence("site", name)
        if target.port in self._ports:
            return Evidence("site", str(target.port))
        if self._expressions is None:
            return None
        pattern = self._expressions.search(target._replace(host=name).url, now)
        return Evidence("regex", pattern) if pattern else None

    def _find_domain(self, name: str) -> str | None:
        if not self._domains:
            return None
        key = self._domains.longest_prefix(_domain_key(name[-LONGEST_NAME:]) + _WHOLE)
        return key.rstrip(_WHOLE)[-2::-1] if key else None

    def _find_url(self, request: Request, name: str) -> str | None:
        target = request.target
        if not self._urls or target.path is None:
            return None
        for suffix in suffixes(name):
            authority = f"[{suffix}]" if ":" in suffix else suffix
            for host in (authority, f"{authority}:{target.port}"):
                if key := self._urls.longest_prefix(f"{host}{target.path}/"):
                    return key.removesuffix("/")
        return None


def any_evidence(lists: Iterable[Sites], request: Request, name: str, now: float) -> Evidence | None:
    """Returns what puts a request for this name on one of the lists, or None.

    Raises:
        ExpressionTimeoutError: an expression took too long.
    """
    return next((found for sites in lists if (found := sites.evidence(request, name, now))), None)
