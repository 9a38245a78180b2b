"""Traits: what of one part of a request can change what is decided about it.

Hosts, clients and user agents come in any number, and yet to a policy nearly all of them are alike: a host that is
nobody's is like any other that is nobody's. So each part of a request is given the number of its trait, and requests
whose parts have the same traits are decided alike, as long as the same rules apply: same action, same service, same
rule. Only the evidence may be spelt otherwise.

    target      host, domain and network signatures of its name; signatures of its port; the site lists it is on; the
                name itself if there is any of these
    the path    URL signatures, where there are any for the target or for all of them
    the rest    rules that its client, its user and its user agent fit; signatures of agent and type; other names

A trait is quiet if it meets no condition of any rule: by far the most common case, and settled once and for all.
None is the trait of what must be looked at each time.
"""

from collections.abc import Hashable
from typing import Final

from squid_imhelper.base.addresses import as_number
from squid_imhelper.base.model import Match, Request
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.matcher import text_fits

NOBODY_TUNNEL: Final = 0
NOBODY_WEB: Final = 1
NOBODY: Final = (NOBODY_TUNNEL, NOBODY_WEB)
"""The traits of nearly all targets."""

_WEB_PORTS: Final = (80, 443)

_MAY_BE_NORMALISED: Final = ("%", "//", "/.", "\\")


class Traits:
    """The traits that an engine tells apart."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._matcher = engine.matcher
        self._lists = list({id(sites): sites for rule in engine.rules for sites in rule.lists}.values())
        self._lists_of_urls = [sites for sites in self._lists if sites.urls]
        self._open_hosts = {host for host, _ in engine.program.open_targets}
        self._expressions = [sites.expressions for sites in self._lists if sites.expressions is not None]
        self.expressions = bool(self._expressions)
        """Whether there are expressions, so that each URL must be looked at (`may_hold`)."""
        self._special = bool(self._lists_of_urls) or any(map(self._matcher.signatures_of_port, _WEB_PORTS))
        self._numbers: dict[Hashable, int] = {"a tunnel to nobody": NOBODY_TUNNEL, "a URL of nobody": NOBODY_WEB}
        self._without_evidence = [rule for rule in engine.rules if not rule.needs_evidence]
        self.of_one_host: set[int] = set()
        """The traits that only one host has."""
        self.by_path: set[int] = set()
        """The traits of targets for which there are URL signatures, so that `of_path` counts, too."""
        self.methods: dict[int, str | None] = {}
        """The methods of the traits of the rest."""
        self.with_names: set[int] = set()
        """The traits of the rest that show names."""
        self.quiet: set[int | None] = {*NOBODY}
        """The traits that no rule asks for: where each part of a request has one of these, it is allowed by no rule."""

    def __len__(self) -> int:
        """How many there have been so far."""
        return len(self._numbers)

    def may_hold(self, url: str) -> bool:
        """Whether an expression may be found in a URL, which is spelt as it would be normalised but for its case."""
        return any(expressions.may_hold(url) for expressions in self._expressions)

    def of_target(self, name: str, port: int | None, *, tunnel: bool) -> int | None:
        """Returns the trait of a target, whatever its path. A host that is somebody's has a trait of its own.

        Args:
            name: its host, normalised.
            port: its port.
            tunnel: whether it has no path, since the request is a CONNECT.
        """
        if port in _WEB_PORTS and not self._special and name not in self._open_hosts and self._matcher.is_nobody(name):
            for sites in self._lists:
                if sites.has(name, port):
                    break
            else:  # by far the most
                return NOBODY_TUNNEL if tunnel else NOBODY_WEB
        return self._of_any_target(name, port, tunnel=tunnel)

    def _of_any_target(self, name: str, port: int | None, *, tunnel: bool) -> int | None:
        if not name or (name, port) in self._engine.program.open_targets:
            return None
        if not tunnel and any(sites.has_urls(name) for sites in self._lists_of_urls):
            return None
        evidence = self._matcher.look_up_name(name)
        ports = self._matcher.signatures_of_port(port)
        lists = tuple(n for n, sites in enumerate(self._lists) if sites.has(name, port))
        lists_of_port = tuple(n for n in lists if port in self._lists[n].ports)
        known: Hashable = name if any(evidence) or lists else as_number(name) != (0, 0)
        by_path = not tunnel and self._matcher.path_matters(name)
        if not (known or ports or by_path):
            return NOBODY_TUNNEL if tunnel else NOBODY_WEB
        number = self._number((tunnel, evidence, ports, lists, lists_of_port, known, by_path))
        if known is name:
            self.of_one_host.add(number)
        if by_path:
            self.by_path.add(number)
        return number

    def of_rest(self, request: Request) -> int | None:
        """Returns the trait of all that a request shows besides its target, as far as it is known."""
        others = request.names[1:] if request.target.host else request.names
        if others and (self._expressions or any(map(self._path_matters, others))):
            return None
        rules = self._engine.rules
        clients = tuple([n for n, rule in enumerate(rules) if rule.fits_client(request.client)])
        users = tuple([n for n, rule in enumerate(rules) if rule.fits_user(request.user)])
        agents = tuple([n for n, rule in enumerate(rules) if rule.part_of_agent(request.user_agent)])
        seen = (
            tuple(self._matcher.signatures_of_headers(request)),
            tuple(map(self._trait_of_other, others)),
            self._matcher.signatures_of_port(request.destination_port),
        )
        number = self._number((request.method, clients, users, agents, seen))
        self.methods[number] = request.method
        persons = (rule.fits_person(request.client, request.user) for rule in self._without_evidence)
        if not (any(seen) or agents or any(persons)):
            self.quiet.add(number)
        if others:
            self.with_names.add(number)
        return number

    def of_path(self, request: Request) -> int:
        """Returns the trait of path, query and method, for this target."""
        return self._number(("path", *self._matcher.search_path(request)))

    def is_plain_path(self, head: str, *, whole: bool) -> bool:
        """Whether no signature can hold for a path on just any host.

        Args:
            head: how the path begins, as it was asked for; with its query, if it is short.
            whole: whether that is all of it.
        """
        if any(text in head for text in _MAY_BE_NORMALISED):
            return False
        path, mark, _ = (head or "/").replace("#", "?").lower().partition("?")
        for pattern in self._matcher.unbound_patterns:
            wanted = pattern.path.lower()
            if whole or mark:
                if text_fits(pattern.match, wanted, path):
                    return False
            elif wanted.startswith(path) or (pattern.match is not Match.EXACT and path.startswith(wanted)):
                return False
        return True

    def _path_matters(self, name: str) -> bool:
        return self._matcher.path_matters(name) or any(sites.has_urls(name) for sites in self._lists_of_urls)

    def _trait_of_other(self, name: str) -> Hashable:
        """A name that is nobody's is like any other, as long as it is no address."""
        known = any(self._matcher.look_up_name(name)) or any(sites.has(name, None) for sites in self._lists)
        return name if known else as_number(name) != (0, 0)

    def _number(self, trait: Hashable) -> int:
        return self._numbers.setdefault(trait, len(self._numbers))
