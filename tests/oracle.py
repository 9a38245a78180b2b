"""Identification told a second time, slowly: every signature of a program is held against a request, one by one.

No table, no automaton, and nothing of `matcher` is used, so that a mistake there is not made here too. The order is
the written one: eight steps; within a step the names as they stand (the host, then the SNI, then the destination), the
more precise match, the longer text (of networks the longer prefix), the catalogue's order.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import cache

from squid_imhelper.base.model import Kind, Match, Request, Signature, UrlPattern
from squid_imhelper.matching.program import Program

PRECISION = [Match.EXACT, Match.PREFIX, Match.SEGMENT, Match.WORD, Match.SUBSTRING]

Fit = tuple[int, int]
"""Which of several parts of the request carries a signature (the host, the SNI ...), and how long what fits is."""


def identify(program: Program, request: Request) -> list[Signature]:
    """Returns the signatures that a request carries, strongest first, each once."""
    found: list[Signature] = []
    for kind, fits in STEPS:
        hits = [
            ((part, PRECISION.index(signature.match), -length, order), signature)
            for order, signature in enumerate(program.signatures)
            if signature.kind is kind
            for part, length in fits(program, request, signature)
        ]
        found += [signature for _, signature in sorted(hits, key=lambda hit: hit[0])]
    return list(dict.fromkeys(found))


def host(_: Program, request: Request, signature: Signature) -> Iterator[Fit]:
    """Step 1: one of the names, exactly."""
    for part, name in enumerate(request.names):
        if name == signature.value:
            yield part, len(name)


def bound_url(program: Program, request: Request, signature: Signature) -> Iterator[Fit]:
    """Step 2: a URL on certain hosts."""
    if is_bound(signature.url) and url_fits(program, request, signature):
        yield 0, len(signature.value)


def domain(program: Program, request: Request, signature: Signature) -> Iterator[Fit]:
    """Step 3: one of the names, or a domain above it, unless an exception of the service says otherwise."""
    for part, name in enumerate(request.names):
        exceptions = [text for text, service in program.exceptions if service == signature.service]
        if below(name, signature.value) and not any(below(name, text) for text in exceptions):
            yield part, len(signature.value)


def any_url(program: Program, request: Request, signature: Signature) -> Iterator[Fit]:
    """Step 4: a URL on any host."""
    if not is_bound(signature.url) and url_fits(program, request, signature):
        yield 0, len(signature.value)


def content_type(_: Program, request: Request, signature: Signature) -> Iterator[Fit]:
    """Step 5: without parameters and case."""
    given = (request.content_type or "").split(";")[0].strip().lower()
    if request.content_type and text_fits(signature.match, signature.value, given):
        yield 0, len(signature.value)


def user_agent(program: Program, request: Request, signature: Signature) -> Iterator[Fit]:
    """Step 6: unless it is a crawler of the service."""
    given = request.user_agent or ""
    bots = [text for text, service in program.bots if service == signature.service]
    if given and not any(text in given for text in bots) and text_fits(signature.match, signature.value, given):
        yield 0, len(signature.value)


def network(_: Program, request: Request, signature: Signature) -> Iterator[Fit]:
    """Step 7: an address in place of a name, or the one to which the client had connected."""
    for part, name in enumerate(request.names):
        if in_network(name, signature.value):
            yield part, parse_network(signature.value).prefixlen


def port(_: Program, request: Request, signature: Signature) -> Iterator[Fit]:
    """Step 8: that of the URL, or the one to which the client had connected."""
    for part, given in enumerate((request.target.port, request.destination_port)):
        if given is not None and str(given) == signature.value:
            yield part, len(signature.value)


STEPS: tuple[tuple[Kind, Callable[[Program, Request, Signature], Iterator[Fit]]], ...] = (
    (Kind.HOST, host),
    (Kind.URL, bound_url),
    (Kind.DOMAIN, domain),
    (Kind.URL, any_url),
    (Kind.CONTENT_TYPE, content_type),
    (Kind.USER_AGENT, user_agent),
    (Kind.NETWORK, network),
    (Kind.PORT, port),
)


def below(name: str, above: str) -> bool:
    """Whether the labels of a name end in those of a domain."""
    wanted = above.split(".")
    return name.split(".")[-len(wanted) :] == wanted


def in_network(name: str, wanted: str) -> bool:
    """Whether a name is an address, and inside."""
    address = parse_address(name)
    return address is not None and address in parse_network(wanted)


@cache
def parse_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Returns the address that a name is, if it is one."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


@cache
def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Returns the network of a CIDR."""
    return ipaddress.ip_network(text)


def text_fits(match: Match, wanted: str, given: str) -> bool:
    """Whether a text is what a signature wants."""
    if match is Match.EXACT:
        return given == wanted
    if match is Match.PREFIX:
        return given[: len(wanted)] == wanted
    if match is Match.SEGMENT:
        return given == wanted or given[: len(wanted.removesuffix("/")) + 1] == wanted.removesuffix("/") + "/"
    places = [n for n in range(len(given)) if given.startswith(wanted, n)] if wanted in given else []
    if match is Match.WORD:
        return any(n == 0 or given[n - 1] in " (;" for n in places)
    return bool(places)


def is_bound(pattern: UrlPattern | None) -> bool:
    """Whether a pattern is tied to hosts."""
    return pattern is not None and bool(pattern.host or pattern.domain or pattern.in_networks)


def url_fits(program: Program, request: Request, signature: Signature) -> bool:
    """Whether path, method, query and place all fit; nothing fits a path that is not known."""
    pattern, path = signature.url, request.target.path
    if pattern is None or path is None:
        return False
    wanted = pattern.path.lower() if pattern.ignore_case else pattern.path
    return (
        text_fits(pattern.match, wanted, path.lower() if pattern.ignore_case else path)
        and (not pattern.method or request.method is None or request.method == pattern.method)
        and (not pattern.query or re.search(pattern.query, request.target.query) is not None)
        and place_fits(program, request, signature.service, pattern)
    )


def place_fits(program: Program, request: Request, service: str, pattern: UrlPattern) -> bool:
    """Whether one of the names is where a pattern points."""
    if pattern.host:
        return pattern.host in request.names
    if pattern.domain:
        return any(below(name, pattern.domain) for name in request.names)
    if pattern.in_networks:
        own = [s.value for s in program.signatures if s.kind is Kind.NETWORK and s.service == service]
        return any(in_network(name, text) for name in request.names for text in own)
    return True
