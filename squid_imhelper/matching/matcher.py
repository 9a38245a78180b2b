r"""Identification: which signatures does a request carry, strongest first?

The order of precedence, and where each step is settled:

1. exact host                          a table
2. URL signature bound to certain hosts    automaton over the path, then verified
3. longest domain                      a table, asked suffix by suffix on label boundaries
4. URL signature on any host           as 2
5. content type                        a table, and the few that are prefixes
6. user agent                          automaton over the header, then verified; exact, prefix, word, substring
7. network                             a table for each prefix length, the longest first; for addresses only
8. port                                a table

Host, SNI and the address of intercepted traffic are all names: any of them may be the messenger's. Within a step they
come in this order, and for one name the more precise match first, then the longer text, then the catalogue's order.

An exception of a service takes away its domains (step 3) on the hosts below it, nothing else: what path and user agent
say still counts, and so does a domain of another service.

The automata find candidates: a text between two sentinels is searched once for all patterns, `\x01/notify` being a
prefix and `\x01/hello\x02` the whole of a path. A client can put a sentinel into a user agent, and paths are searched
in lower case, so every candidate is verified against its signature.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Final, NamedTuple, TypeVar

import ahocorasick

from squid_imhelper.base.addresses import as_number, embedded_ipv4, leading_bits
from squid_imhelper.base.memo import memoised
from squid_imhelper.base.model import Kind, Match, Request, Signature, UrlPattern
from squid_imhelper.matching.program import Program

START: Final = "\x01"
END: Final = "\x02"
MAX_NAME: Final = 253
_Key = TypeVar("_Key")

_BITS: Final = {4: 32, 6: 128}

_PATTERNS: Final[dict[Match, Callable[[str], tuple[str, ...]]]] = {
    Match.EXACT: lambda text: (START + text + END,),
    Match.PREFIX: lambda text: (START + text,),
    Match.SEGMENT: lambda text: (START + text + END, START + text.rstrip("/") + "/"),
    Match.WORD: lambda text: (START + text, " " + text, "(" + text, ";" + text),
    Match.SUBSTRING: lambda text: (text,),
}

_HOLDS: Final[dict[Match, Callable[[str, str], bool]]] = {
    Match.EXACT: lambda text, subject: subject == text,
    Match.PREFIX: lambda text, subject: subject.startswith(text),
    Match.SEGMENT: lambda text, subject: subject == text or subject.startswith(text.rstrip("/") + "/"),
    Match.WORD: lambda text, subject: (
        subject.startswith(text) or any(before + text in subject for before in (" ", "(", ";"))
    ),
    Match.SUBSTRING: lambda text, subject: text in subject,
}


def text_fits(match: Match, text: str, subject: str) -> bool:
    """Whether the text of a signature fits a text of a request."""
    return _HOLDS[match](text, subject)


_PRECISION: Final = {match: n for n, match in enumerate(Match)}


class NameEvidence(NamedTuple):
    """What a name alone tells."""

    hosts: tuple[Signature, ...]
    domains: tuple[Signature, ...]
    networks: tuple[Signature, ...]


NOBODY: Final = NameEvidence((), (), ())


class _BoundPatterns:
    """To which names URL patterns are bound."""

    def __init__(self, patterns: Iterable[UrlPattern]) -> None:
        patterns = list(patterns)
        self._hosts = frozenset(pattern.host for pattern in patterns if pattern.host)
        self._domains = frozenset(pattern.domain for pattern in patterns if pattern.domain)
        self._networks = any(pattern.in_networks for pattern in patterns)
        self.names = self._hosts | self._domains

    def fit(self, name: str, networks: Sequence[Signature]) -> bool:
        """Whether any of them is bound to a name, which is in these networks."""
        if name in self._hosts or (networks and self._networks):
            return True
        return not self._domains.isdisjoint(suffixes(name))


class Automaton:
    """All texts of some signatures, searched at once."""

    def __init__(self, signatures: Iterable[tuple[Signature, str]]) -> None:
        by_pattern: defaultdict[str, list[Signature]] = defaultdict(list)
        for signature, text in signatures:
            for pattern in _PATTERNS[signature.match](text):
                by_pattern[pattern].append(signature)
        self._automaton = ahocorasick.Automaton()
        for pattern, found in by_pattern.items():
            self._automaton.add_word(pattern, tuple(found))
        self._automaton.make_automaton()
        self._empty = not by_pattern

    def search(self, subject: str) -> set[Signature]:
        """Returns every signature that may be in the subject."""
        if self._empty:
            return set()
        return {signature for _, found in self._automaton.iter(START + subject + END) for signature in found}


class Texts:
    """Some texts, of which the first one that is in another text is looked for; in one pass, however many there are."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._otherwise = "" if "" in texts else None  # which is in every text
        texts = list(dict.fromkeys(takewhile(bool, texts)))
        self._automaton = ahocorasick.Automaton()
        for order, text in enumerate(texts):
            self._automaton.add_word(text, (order, text))
        if texts:
            self._automaton.make_automaton()
        self._empty = not texts

    def first_in(self, subject: str) -> str | None:
        """Returns the first of the texts, in the order they were given, that is in a subject."""
        if self._empty or not subject:
            return self._otherwise
        found: list[tuple[int, str]] = [hit for _, hit in self._automaton.iter(subject)]
        return min(found)[1] if found else self._otherwise


class Matcher:
    """The signatures of a program, indexed."""

    def __init__(self, program: Program) -> None:
        self._rank = {
            signature: (_PRECISION[signature.match], -len(signature.value), order)
            for order, signature in enumerate(program.signatures)
        }
        of_kind: defaultdict[Kind, list[Signature]] = defaultdict(list)
        for signature in program.signatures:
            of_kind[signature.kind].append(signature)
        self._hosts = _index((s.value, s) for s in of_kind[Kind.HOST])
        self._domains = _index((s.value, s) for s in of_kind[Kind.DOMAIN])
        self.unbound_patterns = [s.url for s in of_kind[Kind.URL] if s.url and not s.url.bound]
        self._bound = _BoundPatterns(s.url for s in of_kind[Kind.URL] if s.url and s.url.bound)
        self._exceptions = frozenset(program.exceptions)
        self._names = frozenset((*self._hosts, *self._domains, *(domain for domain, _ in program.exceptions)))
        somebody = self._names | self._bound.names
        self._roots = frozenset(map(_root, somebody)) if all("." in name for name in somebody) else None
        self._content_types = of_kind[Kind.CONTENT_TYPE]
        self._bots = program.bots
        self._ports = _index((int(s.value), s) for s in of_kind[Kind.PORT])
        self._networks = _index_networks(of_kind[Kind.NETWORK])
        self._paths = Automaton((s, s.url.path.lower()) for s in of_kind[Kind.URL] if s.url)
        self._agents = Automaton((s, s.value) for s in of_kind[Kind.USER_AGENT])
        self.look_up_name = memoised(self._look_up_name)
        self._by_agent = memoised(self._search_agent)
        self._by_content_type = memoised(self._look_up_content_type)

    def signatures(self, request: Request) -> list[Signature]:
        """Returns the signatures that a request carries, strongest first."""
        names = [self.look_up_name(name) for name in request.names]
        urls = self.search_path(request) if request.target.path is not None else []
        found = [signature for name in names for signature in name.hosts]
        found += [signature for signature in urls if signature.url and signature.url.bound]
        found += [signature for name in names for signature in name.domains]
        found += [signature for signature in urls if signature.url and not signature.url.bound]
        found += self.signatures_of_headers(request)
        found += [signature for name in names for signature in name.networks]
        found += self.signatures_of_port(request.target.port)
        found += self.signatures_of_port(request.destination_port)
        return found

    def signatures_of_headers(self, request: Request) -> list[Signature]:
        """Returns the signatures of content type and user agent, strongest first."""
        found: list[Signature] = []
        if request.content_type:
            found += self._by_content_type(request.content_type)
        if request.user_agent:
            found += self._by_agent(request.user_agent)
        return found

    def signatures_of_port(self, port: int | None) -> tuple[Signature, ...]:
        """Returns the signatures of a port."""
        return self._ports.get(port, ()) if port is not None else ()

    def is_nobody(self, name: str) -> bool:
        """Whether it is plain that no signature holds for a name, be it for some paths only."""
        return not (may_be_address(name) or self._roots is None or _root(name) in self._roots)

    def path_matters(self, name: str) -> bool:
        """Whether there are URL signatures for this name, which hold for some paths on it and not for others."""
        return self._bound.fit(name, self.look_up_name(name).networks)

    def signatures_of_name(self, name: str) -> tuple[Signature, ...]:
        """Returns the signatures that a name has by itself, strongest first."""
        return sum(self.look_up_name(name), ())

    def _look_up_name(self, name: str) -> NameEvidence:
        known = [suffix for suffix in suffixes(name) if suffix in self._names]
        networks = tuple(self._look_up_networks(name)) if may_be_address(name) else ()
        if not known:
            return NameEvidence((), (), networks) if networks else NOBODY
        domains = [signature for suffix in known for signature in self._domains.get(suffix, ())]
        excepted = {service for domain, service in self._exceptions if domain in known}
        if excepted:
            domains = [signature for signature in domains if signature.service not in excepted]
        return NameEvidence(self._hosts.get(name, ()), tuple(domains), networks)

    def _look_up_networks(self, name: str) -> Iterator[Signature]:
        """Longest prefix first; of an IPv4 address inside an IPv6 one, too."""
        for version, number in (as_number(name), as_number(embedded_ipv4(name))):
            for length, networks in self._networks.get(version, ()):
                yield from networks.get(number >> (_BITS[version] - length), ())

    def _look_up_content_type(self, value: str) -> list[Signature]:
        kind = value.partition(";")[0].strip().lower()
        return self._sorted(s for s in self._content_types if text_fits(s.match, s.value, kind))

    def _search_agent(self, agent: str) -> list[Signature]:
        found = [s for s in self._agents.search(agent) if text_fits(s.match, s.value, agent)]
        crawls = {service for text, service in self._bots if text in agent} if found else set()
        return self._sorted(s for s in found if s.service not in crawls)

    def search_path(self, request: Request) -> list[Signature]:
        """Returns the signatures of a URL's path, query and method, strongest first."""
        path = request.target.path or ""
        found = self._paths.search(path.lower())
        return self._sorted(s for s in found if s.url and self._url_holds(s.service, s.url, request)) if found else []

    def _url_holds(self, service: str, url: UrlPattern, request: Request) -> bool:
        path = request.target.path or ""
        if url.ignore_case:
            holds = text_fits(url.match, url.path.lower(), path.lower())
        else:
            holds = text_fits(url.match, url.path, path)
        if not holds or (url.method and request.method not in (None, url.method)):
            return False
        if url.query and not re.search(url.query, request.target.query):  # `re` remembers what it has compiled
            return False
        return not url.bound or any(self._points_at(service, url, name) for name in request.names)

    def _points_at(self, service: str, url: UrlPattern, name: str) -> bool:
        if url.in_networks:
            return any(network.service == service and not network.flag for network in self.look_up_name(name).networks)
        return name == url.host or (bool(url.domain) and is_below(name, url.domain))

    def _sorted(self, signatures: Iterable[Signature]) -> list[Signature]:
        return sorted(signatures, key=self._rank.__getitem__)


def suffixes(name: str) -> list[str]:
    """Returns a name and its parent domains, the longest first; an address has no parents.

    Those longer than any name can be (RFC 1035, 2.3.4) are left out: a client may send an SNI of 60 KB of dots.
    """
    found = [name]
    if ":" in name:
        return found
    dot = name.find(".", max(0, len(name) - MAX_NAME - 1))
    while dot >= 0:
        found.append(name[dot + 1 :])
        dot = name.find(".", dot + 1)
    return found


def may_be_address(name: str) -> bool:
    """Whether a normalised name may be an address: one of IPv4 ends in a digit, and one of IPv6 has colons."""
    return name[-1:].isdigit() or ":" in name


def is_below(name: str, domain: str) -> bool:
    """Whether a name is a domain or a sub-domain of it."""
    return name == domain or name.endswith("." + domain)


def _root(name: str) -> str:
    """The last two labels of a name: a name below another one has the same, unless that one is a single label."""
    head, _, last = name.rpartition(".")
    return f"{head[head.rfind('.') + 1 :]}.{last}"


def _index(pairs: Iterable[tuple[_Key, Signature]]) -> dict[_Key, tuple[Signature, ...]]:
    found: defaultdict[_Key, list[Signature]] = defaultdict(list)
    for key, signature in pairs:
        found[key].append(signature)
    return {key: tuple(signatures) for key, signatures in found.items()}


def _index_networks(signatures: Iterable[Signature]) -> dict[int, list[tuple[int, dict[int, tuple[Signature, ...]]]]]:
    """Returns, by IP version, the prefix lengths from long to short, each with its networks by leading bits."""
    by_length: defaultdict[tuple[int, int], list[tuple[int, Signature]]] = defaultdict(list)
    for signature in signatures:
        version, length, bits = leading_bits(signature.value)
        by_length[version, length].append((bits, signature))
    indexed: dict[int, list[tuple[int, dict[int, tuple[Signature, ...]]]]] = {4: [], 6: []}
    for (version, length), pairs in sorted(by_length.items(), reverse=True):
        indexed[version].append((length, _index(pairs)))
    return indexed
