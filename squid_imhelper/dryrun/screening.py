"""Which requests are nothing: none of their parts is a sign of anything, so that no rule can block or record them.

Requests are made of parts in endless ways, and the parts repeat: a host, a user agent or a content type is looked at
once and remembered. Where a policy blocks whoever asks, by client or user alone, who asks is such a part, too. What is
nothing is so at any time, since schedules and dates only take rules away.
"""

from collections.abc import Callable
from typing import Final

from squid_imhelper.base.memo import LONGEST
from squid_imhelper.base.model import Request
from squid_imhelper.base.urls import NOWHERE, Target
from squid_imhelper.logs.plain import PathText
from squid_imhelper.matching.engine import Engine
from squid_imhelper.matching.matcher import NOBODY

ENTRIES: Final = 1 << 16
"""Values of a kind that are remembered: a large office asks for tens of thousands of hosts in a day."""


class Known(dict[bytes, bool]):
    """Whether something holds for a value, found out when it is first asked for; only short values are remembered.

    For None, the value of what could not be read, it does not hold.
    """

    def __init__(self, holds: Callable[[bytes], bool]) -> None:
        self._holds = holds

    def __missing__(self, value: bytes) -> bool:
        found = value is not None and self._holds(value)
        if value is None or len(value) <= LONGEST:
            if len(self) >= ENTRIES:
                self.clear()
            self[value] = found
        return found


class Screen:
    """The signs that an engine knows, held against parts of requests."""

    def __init__(self, engine: Engine) -> None:
        rules = [rule for rule in engine.rules if rule.rule.action != "allow" and rule.rule.services is None]
        bare = [rule for rule in rules if rule.rule.sites is None]
        self._matcher = engine.matcher
        self._lists = [sites for rule in rules if rule.rule.sites is not None for sites in rule.lists]
        self._lists_of_urls = [sites for sites in self._lists if sites.urls]
        self._all_lists = [sites for rule in engine.rules for sites in rule.lists]
        self._by_client = [rule for rule in engine.rules if rule.rule.clients is not None]
        self._agents = [rule for rule in bare if rule.rule.user_agents is not None]
        self._askers = [rule for rule in bare if rule.rule.user_agents is None]
        patterns = engine.matcher.unbound_patterns
        self.paths = frozenset(PathText(url.path, url.match) for url in patterns)
        self.paths_of_any_query = frozenset(PathText(url.path, url.match) for url in patterns if not url.query)
        self.queries = frozenset(url.query for url in patterns if url.query)
        """Expressions for the queries of the other paths."""

    @property
    def is_of_use(self) -> bool:
        """Whether anything can be nothing: not where expressions look at whole URLs, or a rule needs no sign at all."""
        expressions = any(sites.expressions is not None for sites in self._lists)
        everyone = any(rule.rule.clients is None and rule.rule.users is None for rule in self._askers)
        return not (expressions or everyone) and self.is_no_agent(None)

    @property
    def asks_who(self) -> bool:
        """Whether who asks can be a sign."""
        return bool(self._askers)

    def is_no_target(self, target: Target) -> bool:
        """Whether host and port are no sign, whatever the path, as long as none of `paths` is in that."""
        name, port = target.host, target.port
        if self._matcher.signatures_of_port(port) or not self._is_nobody(name):
            return False
        if any(sites.has(name, port) for sites in self._lists):
            return False
        return not any(sites.has_urls(name) for sites in self._lists_of_urls)

    def _is_nobody(self, name: str) -> bool:
        if self._matcher.is_nobody(name):
            return True
        return self._matcher.look_up_name(name) == NOBODY and not self._matcher.path_matters(name)

    def is_no_path(self, target: Target) -> bool:
        """Whether all paths on a host are alike to the policy, as long as none of `paths` is in them."""
        if self._matcher.path_matters(target.host):
            return False
        return not any(sites.expressions is not None or sites.has_urls(target.host) for sites in self._all_lists)

    def is_no_agent(self, agent: str | None) -> bool:
        """Whether a user agent is no sign, or none."""
        known = self._matcher.signatures_of_headers(Request(NOWHERE, (), user_agent=agent))
        return not known and all(rule.part_of_agent(agent) is None for rule in self._agents)

    def is_no_content_type(self, content_type: str) -> bool:
        """Whether a content type is no sign."""
        return not self._matcher.signatures_of_headers(Request(NOWHERE, (), content_type=content_type))

    def is_no_client(self, client: str | None) -> bool:
        """Whether it is no sign that this client asks; of rules that name clients and users, users do not count."""
        return not any(rule.rule.clients is not None and rule.fits_client(client) for rule in self._askers)

    def rules_of_client(self, client: str | None) -> tuple[bool, ...]:
        """Which rules that name clients may hold for this one: all of whom that is the same are alike to it."""
        return tuple([rule.fits_client(client) for rule in self._by_client])

    def is_no_user(self, user: str | None) -> bool:
        """Whether it is no sign that this user asks, where a rule names no clients."""
        return not any(rule.rule.clients is None and rule.fits_user(user) for rule in self._askers)
