"""Identification told a second time, slowly: every signature of a program is held against a request, one by one.

No table, no automaton, and nothing of `matcher` is used, so that a mistake there is not made here too. The order is
the written one: eight steps; within a step the names as they stand (the host, then the SNI, then the destination), the
more precise match, the longer text (of networks the longer prefix), the catalogue's order.
"""

import ipaddress
import re
from collections.abc import Iterator

from squid_imhelper.model import Kind, Match, Request, Signature, UrlPattern
from squid_imhelper.program import Program

PRECISION = [Match.EXACT, Match.PREFIX, Match.SEGMENT, Match.WORD, Match.SUBSTRING]
SortKey = tuple[int, int, int, int, int]


def identify(program: Program, request: Request) -> list[Signature]:
    """Returns the signatures that a request carries, strongest first, each once."""
    hits = [hit for signature in program.signatures for hit in _hits(program, request, signature)]
    return list(dict.fromkeys(signature for _, signature in sorted(hits, key=lambda hit: hit[0])))


def _hits(program: Program, request: Request, signature: Signature) -> Iterator[tuple[SortKey, Signature]]:
    """Yields the signature once for each part of the request that carries it, with its place in the order."""
    order = program.signatures.index(signature)
    for step, part, length in _places(program, request, signature):
        yield (step, part, PRECISION.index(signature.match), -length, order), signature


def _places(program: Program, request: Request, signature: Signature) -> Iterator[tuple[int, int, int]]:
    """Yields (step, number of the part within the step, length of what fits)."""
    value = signature.value
    if signature.kind is Kind.HOST:
        for part, name in enumerate(request.names):
            if name == value:
                yield 1, part, len(value)
    elif signature.kind is Kind.DOMAIN:
        for part, name in enumerate(request.names):
            if below(name, value) and not _excepted(program, signature.service, name):
                yield 3, part, len(value)
    elif signature.kind is Kind.URL:
        pattern = signature.url
        assert pattern is not None
        if _url_fits(program, request, signature.service, pattern):
            yield (2 if pattern.host or pattern.domain or pattern.in_networks else 4), 0, len(value)
    elif signature.kind is Kind.CONTENT_TYPE:
        given = (request.content_type or "").split(";")[0].strip().lower()
        if request.content_type and text_fits(signature.match, value, given):
            yield 5, 0, len(value)
    elif signature.kind is Kind.USER_AGENT:
        agent = request.user_agent or ""
        crawler = any(part in agent for part, service in program.bots if service == signature.service)
        if agent and not crawler and text_fits(signature.match, value, agent):
            yield 6, 0, len(value)
    elif signature.kind is Kind.NETWORK:
        for part, name in enumerate((*request.names, request.destination)):
            if name is not None and in_network(name, value):
                yield 7, part, ipaddress.ip_network(value).prefixlen
    elif signature.kind is Kind.PORT:
        for part, port in enumerate((request.target.port, request.destination_port)):
            if port is not None and str(port) == value:
                yield 8, part, len(value)


def below(name: str, domain: str) -> bool:
    """Whether the labels of a name end in those of a domain."""
    wanted = domain.split(".")
    return name.split(".")[-len(wanted) :] == wanted


def in_network(name: str, network: str) -> bool:
    """Whether a name is an address, and inside."""
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(network)
    except ValueError:
        return False


def text_fits(match: Match, wanted: str, given: str) -> bool:
    """Whether a text is what a signature wants, position by position."""
    places = [n for n in range(len(given) + 1) if given[n : n + len(wanted)] == wanted]
    if match is Match.EXACT:
        return given == wanted
    if match is Match.PREFIX:
        return 0 in places
    if match is Match.SEGMENT:
        stem = wanted[:-1] if wanted.endswith("/") else wanted
        return given == wanted or given[: len(stem) + 1] == stem + "/"
    if match is Match.WORD:
        return any(n == 0 or given[n - 1] in " (;" for n in places)
    return bool(places)


def _excepted(program: Program, service: str, name: str) -> bool:
    return any(owner == service and below(name, domain) for domain, owner in program.exceptions)


def _url_fits(program: Program, request: Request, service: str, pattern: UrlPattern) -> bool:
    path = request.target.path
    if path is None:
        return False
    wanted, given = pattern.path, path
    if pattern.ignore_case:
        wanted, given = wanted.lower(), given.lower()
    return (
        text_fits(pattern.match, wanted, given)
        and (not pattern.method or request.method is None or request.method == pattern.method)
        and (not pattern.query or re.search(pattern.query, request.target.query) is not None)
        and _place_fits(program, request, service, pattern)
    )


def _place_fits(program: Program, request: Request, service: str, pattern: UrlPattern) -> bool:
    if pattern.host:
        return pattern.host in request.names
    if pattern.domain:
        return any(below(name, pattern.domain) for name in request.names)
    if pattern.in_networks:
        own = [s.value for s in program.signatures if s.kind is Kind.NETWORK and s.service == service]
        return any(in_network(name, network) for name in request.names for network in own)
    return True
