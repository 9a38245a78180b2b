"""Near misses: signatures that a request would carry if one thing were otherwise.

Near is what the matcher itself sees once one condition is loosened, of a signature or of what is looked at: a table of
loosenings, each with its own small matcher and a sentence. What misses by two things is not near. A service of
which something is seen that counts needs no near misses; of the others each is named once.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from squid_imhelper.base.addresses import as_number
from squid_imhelper.base.model import Kind, Match, Request, Service, Signature, UrlPattern
from squid_imhelper.base.urls import NOWHERE, normalise_host
from squid_imhelper.matching.matcher import MAX_NAME, Matcher
from squid_imhelper.matching.program import Program
from squid_imhelper.sources.catalogue import Catalogue

LOOKED_AT: Final = 8192
"""Characters of a path or a query in which hosts are looked for."""
HOSTS: Final = 20
"""Hosts in a path or a query that are looked at."""

_HOST: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")
_ADDRESS: Final = re.compile(r"(?<![0-9])(\d{1,3})[.-](\d{1,3})[.-](\d{1,3})[.-](\d{1,3})(?![0-9])", re.ASCII)


class NearMiss(NamedTuple):
    """A signature that is nearly there, and why it is not."""

    signature: Signature
    reason: str


Change = Callable[[Signature], Signature | None]
"""A signature as it is looked for; None where it is not concerned."""
Views = Callable[[Request], Iterable[Request]]
"""What is looked at in place of a request."""
Reason = Callable[[Signature, Request, Request], str]
"""A sentence about a signature, the request, and that of its views in which it was seen."""


class Loosening(NamedTuple):
    """One thing that might be otherwise. Where it is not `strict`, no service has exceptions or crawlers."""

    change: Change
    views: Views
    reason: Reason
    strict: bool = True


class Nearby:
    """Finds the signatures of a program that are near; what is off by default misses by one thing already."""

    def __init__(self, program: Program, catalogue: Catalogue) -> None:
        """Takes the catalogue for the ports over UDP, which no program has."""
        udp = (port for service in catalogue.services.values() for port in _over_udp(service))
        signatures = (*program.signatures, *udp)
        self._counting = frozenset(program.signatures)
        self._looks = [_Look(loosening, program, signatures) for loosening in LOOSENINGS]

    def misses(self, request: Request, seen: Sequence[Signature]) -> list[NearMiss]:
        """Returns a near miss for each service of which nothing that counts is seen, the nearest first."""
        known = {signature.service for signature in seen if signature in self._counting}
        found: dict[str, NearMiss] = {}
        for look in self._looks:
            for miss in look.misses(request):
                if miss.signature.service not in known:
                    found.setdefault(miss.signature.service, miss)
        return list(found.values())


class _Look:
    """One loosening, and the matcher that sees what it lets through."""

    def __init__(self, loosening: Loosening, program: Program, signatures: Iterable[Signature]) -> None:
        self._loosening = loosening
        self._originals: dict[Signature, Signature] = {}
        for signature in signatures:
            changed = loosening.change(signature)
            if changed is not None:
                self._originals.setdefault(changed, signature)
        self._places = {changed: place for place, changed in enumerate(self._originals)}
        program = program._replace(signatures=tuple(self._originals))
        self._matcher = Matcher(program if loosening.strict else program._replace(exceptions=(), bots=()))

    def misses(self, request: Request) -> Iterator[NearMiss]:
        """Yields what is seen, view by view, in the catalogue's order: there the most telling stands first."""
        for view in self._loosening.views(request):
            for changed in sorted(self._matcher.signatures(view), key=self._places.__getitem__):
                original = self._originals[changed]
                yield NearMiss(original, self._loosening.reason(original, request, view))


def _over_udp(service: Service) -> Iterator[Signature]:
    """The ports that a proxy never sees, as if it did; told from the others by their match."""
    for port in service.udp_ports:
        yield Signature(Kind.PORT, str(port), service.id, match=Match.SUBSTRING)


# ---- signatures, loosened -------------------------------------------------------------------------------------------


def _of(*kinds: Kind) -> Change:
    return lambda signature: signature if signature.kind in kinds else None


_HOSTS_ONLY: Final = (Kind.HOST, Kind.DOMAIN, Kind.NETWORK)
_names: Final = _of(Kind.HOST, Kind.DOMAIN)


def _host_as_domain(signature: Signature) -> Signature | None:
    return signature._replace(kind=Kind.DOMAIN) if signature.kind is Kind.HOST else None


def _udp_port(signature: Signature) -> Signature | None:
    return signature if signature.kind is Kind.PORT and signature.match is Match.SUBSTRING else None


def _url(change: Callable[[UrlPattern], UrlPattern | None]) -> Change:
    """Loosens the pattern of a URL; None leaves it alone, and one that is not changed is not near."""

    def loosen(signature: Signature) -> Signature | None:
        pattern = change(signature.url) if signature.url else None
        if pattern is None or pattern == signature.url:
            return None
        return signature._replace(match=pattern.match, url=pattern)

    return loosen


_any_query = _url(lambda url: url._replace(query=""))
_any_method = _url(lambda url: url._replace(method=""))
_any_case = _url(lambda url: url._replace(ignore_case=True))
_any_path = _url(lambda url: url._replace(path="/", match=Match.PREFIX) if url.host or url.domain else None)
# The paths of what is bound to networks are too common to mean something elsewhere.
_any_host = _url(lambda url: url._replace(host="", domain="") if url.host or url.domain else None)


def _agent_in_lower_case(signature: Signature) -> Signature | None:
    return signature._replace(value=signature.value.lower()) if signature.kind is Kind.USER_AGENT else None


def _anywhere(kind: Kind) -> Change:
    return lambda s: s._replace(match=Match.SUBSTRING) if s.kind is kind and s.match is not Match.SUBSTRING else None


# ---- what is looked at ----------------------------------------------------------------------------------------------


def _itself(request: Request) -> Iterator[Request]:
    yield request


def _only(name: str) -> Request:
    return Request(NOWHERE._replace(host=name), (name,))


def _plain_names(request: Request) -> Iterator[str]:
    """The names that are no addresses, as much of them as can be one."""
    return (name[-MAX_NAME:] for name in request.names if as_number(name) == (0, 0))


def _by_name(request: Request) -> Iterator[Request]:
    yield from (_only(name) for name in request.names)


def _cut_in_a_label(request: Request) -> Iterator[Request]:
    """Names without their first characters: `meebo.com` of `notmeebo.com`."""
    for name in _plain_names(request):
        last = name.rfind(".")
        yield from (_only(name[n:]) for n in range(1, last) if name[n - 1] != "." and name[n] != ".")


def _cut_behind(request: Request) -> Iterator[Request]:
    """Names without their last labels: `meebo.com` of `meebo.com.evil.example`."""
    for name in _plain_names(request):
        labels = name.split(".")
        yield from (_only(".".join(labels[:n])) for n in range(len(labels) - 1, 1, -1))


def _in_path(request: Request) -> Iterator[Request]:
    yield from _hosts_in(request.target.path or "")


def _in_query(request: Request) -> Iterator[Request]:
    yield from _hosts_in(request.target.query)


def _hosts_in(text: str) -> Iterator[Request]:
    hosts = dict.fromkeys(_HOST.findall(unquote(text[:LOOKED_AT]).lower()))
    yield from (_only(normalise_host(host)) for host in list(hosts)[:HOSTS])


def _addresses_in_names(request: Request) -> Iterator[Request]:
    """The addresses that names spell: `149-154-167-50.example.net`."""
    for name in _plain_names(request):
        yield from (_only(".".join(found)) for found in _ADDRESS.findall(name))


def _as_if_decrypted(request: Request) -> Iterator[Request]:
    if request.target.path is None:
        yield request._replace(target=request.target._replace(scheme="https", path="/"))


def _with_path(request: Request) -> Iterator[Request]:
    if request.target.path is not None:
        yield request


def _lower_agent(request: Request) -> Iterator[Request]:
    if request.user_agent:
        yield Request(NOWHERE, (), user_agent=request.user_agent.lower())


def _only_agent(request: Request) -> Iterator[Request]:
    if request.user_agent:
        yield Request(NOWHERE, (), user_agent=request.user_agent)


# ---- why not --------------------------------------------------------------------------------------------------------


def _says(text: str) -> Reason:
    """A sentence into which the signature's value and service, the host, and what was looked at are filled."""
    return lambda s, request, view: text.format(
        value=s.value, service=s.service, host=request.target.host, seen=view.target.host, agent=request.user_agent
    )


def _path_differs(signature: Signature, request: Request, _: Request) -> str:
    url = signature.url
    wanted = f"{'' if url and url.match is Match.EXACT else 'at or below '}{url.path if url else ''}"
    return f"the host fits; the path is {request.target.path}, and not {wanted}"


def _path_unknown(signature: Signature, _request: Request, _: Request) -> str:
    return f"the host fits; of a tunnel no path is seen, and it asks for {signature.url.path if signature.url else ''}"


def _host_differs(signature: Signature, request: Request, _: Request) -> str:
    url = signature.url
    wanted = "" if url is None else url.host or f"{url.domain} or below it"
    return f"the path fits; the host is {request.target.host}, and not {wanted}"


def _query_differs(signature: Signature, request: Request, _: Request) -> str:
    wanted = signature.url.query if signature.url else ""
    return f"the path fits; in the query there is no {wanted}"


def _method_differs(signature: Signature, request: Request, _: Request) -> str:
    wanted = signature.url.method if signature.url else ""
    return f"the URL fits; the method is {request.method}, and not {wanted}"


LOOSENINGS: Final = (
    Loosening(_names, _by_name, _says("{host} is an exception of {service}"), strict=False),
    Loosening(_host_as_domain, _by_name, _says("it stands for this very host, and not for what is below it")),
    Loosening(_names, _cut_in_a_label, _says("{host} ends in it in the middle of a label")),
    Loosening(_names, _cut_behind, _says("it is in {host}, but not at its end")),
    Loosening(_any_case, _itself, _says("the path is there in another case")),
    Loosening(_any_query, _itself, _query_differs),
    Loosening(_any_method, _itself, _method_differs),
    Loosening(_of(Kind.USER_AGENT), _only_agent, _says("the user agent is a crawler of {service}"), strict=False),
    Loosening(_anywhere(Kind.USER_AGENT), _only_agent, _says("in the user agent it is not where it has to be")),
    Loosening(_agent_in_lower_case, _lower_agent, _says("in the user agent it is there in another case")),
    Loosening(_anywhere(Kind.CONTENT_TYPE), _itself, _says("the content type is more than that")),
    Loosening(_udp_port, _itself, _says("the port is one of {service} over UDP only, which passes no proxy")),
    Loosening(_of(Kind.NETWORK), _addresses_in_names, _says("{seen} is part of a name, and names are not resolved")),
    Loosening(_of(*_HOSTS_ONLY), _in_query, _says("{seen} stands in the query, and only the host is compared")),
    Loosening(_of(*_HOSTS_ONLY), _in_path, _says("{seen} stands in the path, and only the host is compared")),
    Loosening(_any_path, _with_path, _path_differs),
    Loosening(_any_path, _as_if_decrypted, _path_unknown),
    Loosening(_any_host, _itself, _host_differs),
)
"""From the nearest on: names, what a URL or an agent lacks, what stands elsewhere, and half a URL."""
