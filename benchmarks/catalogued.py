"""Requests that name each service, one for each signature that a proxy can see."""

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from benchmarks.patterns import Pattern
from squid_imhelper.base.model import Kind, Match, Signature
from squid_imhelper.matching.program import Program

_AGENTS: Final[Mapping[Match, str]] = {
    Match.EXACT: "{}",
    Match.PREFIX: "{}4.2.1",
    Match.WORD: "Mozilla/5.0 (X11; Linux x86_64; {}) Gecko/20100101",
    Match.SUBSTRING: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) {}9.1 Safari",
}
_QUERIES: Final = ("", "?Action=poll&SessionID=785192002.25263", "?fmnumber=123456", "?callback=x&r={n}")


def patterns_of(program: Program) -> Iterator[Pattern]:
    """Yields requests for the signatures of a program; some may be those of another service, or of none."""
    for signature in program.signatures:
        if not signature.flag:
            yield from _BY_KIND[signature.kind](signature, program)


def _of_name(signature: Signature, _: Program) -> Iterator[Pattern]:
    for label in ("", "www.") if signature.kind is Kind.DOMAIN else ("",):
        yield Pattern("CONNECT", f"{label}{signature.value}:443", None)
        yield Pattern("GET", f"http://{label}{signature.value}/{{word}}/{{n}}?r={{hex}}", None)


def _of_url(signature: Signature, program: Program) -> Iterator[Pattern]:
    url = signature.url
    if url is None:
        return
    host = url.host or url.domain or "{host}"
    if url.in_networks:
        own = [s.value for s in program.signatures if s.kind is Kind.NETWORK and s.service == signature.service]
        host = _address_in(own[0])
    behind = "{id}" if url.match is Match.PREFIX else ""
    for query in _QUERIES:
        yield Pattern(url.method or "GET", f"http://{host}{url.path}{behind}{query}", None)


def _of_agent(signature: Signature, _: Program) -> Iterator[Pattern]:
    agent = _AGENTS[signature.match].format(signature.value)
    yield Pattern("CONNECT", "{host}:443", agent)
    yield Pattern("GET", "http://{host}/{word}/{n}.html", agent)


def _of_content_type(signature: Signature, _: Program) -> Iterator[Pattern]:
    kind = signature.value + ("x" if signature.match is Match.PREFIX else "")
    yield Pattern("POST", "http://{host}/{word}?id={n}", None, f"{kind}; charset=utf-8")


def _of_network(signature: Signature, _: Program) -> Iterator[Pattern]:
    yield Pattern("CONNECT", f"{_address_in(signature.value)}:443", None)


def _of_port(signature: Signature, _: Program) -> Iterator[Pattern]:
    yield Pattern("CONNECT", f"{{host}}:{signature.value}", None)


def _address_in(network: str) -> str:
    """Returns an address out of the middle of a network."""
    parsed = ipaddress.ip_network(network)
    address = parsed[parsed.num_addresses // 2]
    return f"[{address}]" if address.version == 6 else str(address)


_BY_KIND: Final[Mapping[Kind, Callable[[Signature, Program], Iterator[Pattern]]]] = {
    Kind.HOST: _of_name,
    Kind.DOMAIN: _of_name,
    Kind.URL: _of_url,
    Kind.USER_AGENT: _of_agent,
    Kind.CONTENT_TYPE: _of_content_type,
    Kind.NETWORK: _of_network,
    Kind.PORT: _of_port,
}
