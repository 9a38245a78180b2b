"""The vocabulary: frozen records that every other module speaks in, and no behaviour beyond reading them."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal, NamedTuple

from squid_imhelper.base.urls import Target

Action = Literal["block", "allow", "monitor"]
ACTIONS: Final[tuple[Action, ...]] = ("block", "allow", "monitor")

BUILT_IN: Final = "built-in"
"""The word for the policy that is no file, and the name of its only rule."""

Flag = Literal["", "stale", "shared", "self_hosted"]
FLAGS: Final[tuple[Flag, ...]] = ("stale", "shared", "self_hosted")
"""Why a signature is off unless a rule includes it: its address has changed hands, other products use it too, or it
marks a kind of server that is often the company's own. The empty flag is a signature that counts by itself."""


class Kind(Enum):
    """What of a request a signature looks at; the value is the word that `check --json` shows."""

    HOST = "host"
    URL = "url"
    DOMAIN = "domain"
    CONTENT_TYPE = "content_type"
    USER_AGENT = "user_agent"
    NETWORK = "network"
    PORT = "port"

    __hash__ = object.__hash__  # by identity, as members are compared; `Enum` hashes their names, in Python


class Match(Enum):
    """How the text of a signature is held against the text of a request; the order is from precise to loose."""

    EXACT = "exact"
    PREFIX = "prefix"
    SEGMENT = "segment"  # equal, or followed by a slash
    WORD = "word"  # at the start, or behind a blank, an opening bracket or a semicolon
    SUBSTRING = "substring"

    __hash__ = object.__hash__


class UrlPattern(NamedTuple):
    """What a URL must look like: where it points (at most one of the three), its path, and what else must hold.

    `host` is one exact name, `domain` a suffix on a label boundary, `in_networks` means an address inside the service's
    own networks; none of them means any host. `query` is a regular expression searched in the raw query.
    """

    path: str
    match: Match
    host: str = ""
    domain: str = ""
    in_networks: bool = False
    query: str = ""
    method: str = ""
    ignore_case: bool = False

    @property
    def bound(self) -> bool:
        """Whether the pattern is tied to certain hosts."""
        return bool(self.host or self.domain or self.in_networks)


class Signature(NamedTuple):
    """One sign of one service. `value` is its text: a name, a CIDR, a port number, a path, a part of a header."""

    kind: Kind
    value: str
    service: str
    flag: Flag = ""
    match: Match = Match.EXACT
    url: UrlPattern | None = None


class Service(NamedTuple):
    """A messenger: what it is called, what is known of it, and its signatures.

    `exceptions` are domains below the service's own ones that do not count; a user agent that contains one of `bots`
    is a crawler and does not count either. UDP ports never reach a proxy and matter to the firewall only.
    """

    id: str
    name: str
    group: str
    status: Literal["active", "legacy", "retired"]
    year: int | None
    note: str
    collateral: str
    hidden: str
    signatures: tuple[Signature, ...]
    exceptions: tuple[str, ...] = ()
    bots: tuple[str, ...] = ()
    udp_ports: tuple[int, ...] = ()

    @property
    def visible(self) -> dict[str, bool]:
        """By which means the service can be told apart from everything else, by signatures that are on by default."""
        return self.visible_with("")

    def visible_with(self, flag: Flag) -> dict[str, bool]:
        """The same by the signatures with a flag alone."""
        kinds = {s.kind for s in self.signatures if s.flag == flag}
        names = {Kind.HOST, Kind.DOMAIN}
        return {
            "proxy": bool(kinds & (names | {Kind.NETWORK, Kind.PORT})),
            "sni": bool(kinds & names),
            "decrypted": bool(kinds & (names | {Kind.URL, Kind.USER_AGENT, Kind.CONTENT_TYPE})),
            "firewall": bool(kinds & {Kind.NETWORK, Kind.PORT} or (self.udp_ports and not flag)),
        }


class Request(NamedTuple):
    """What is asked, normalised once.

    `None` means unknown: a condition on an unknown value is not met, but for the method, on which it is. `names` are
    the host, the SNI and, of intercepted traffic, the address to which it goes, as far as there are any.
    `client` is an address in its shortest spelling; `destination_port` is known of intercepted traffic only.
    """

    target: Target
    names: tuple[str, ...]
    method: str | None = None
    client: str | None = None
    user: str | None = None
    user_agent: str | None = None
    content_type: str | None = None
    destination_port: int | None = None


def names_of(target: Target, *others: str | None) -> tuple[str, ...]:
    """Returns the names that a request shows: its host and the others, as far as there are any and they differ."""
    if not any(others):
        return (target.host,) if target.host else ()
    return tuple(dict.fromkeys(name for name in (target.host, *others) if name))


class Evidence(NamedTuple):
    """What made a decision: the kind is that of a signature, or `site` or `regex` for a list of the administrator's."""

    kind: str
    value: str


class Decision(NamedTuple):
    """The answer to a request: what to do, what it is, which rule said so, and the evidence for what it is.

    `message` and `redirect` are the templates that count for it.
    """

    action: Action
    service: str | None = None
    rule: str | None = None
    evidence: Evidence | None = None
    message: str = ""
    redirect: str = ""


Interval = tuple[int, int, int]
"""Addresses from one to another, both included: (4 or 6, first, last)."""


class SiteList(NamedTuple):
    """An administrator's own sites. A request is on the list when any one of its entries fits.

    `domains` stand for their sub-domains too, `hosts` for themselves only. `urls` are "host/path" or "host:port/path",
    the host a domain or an address (of IPv6 in brackets), the path without a slash at its end. `networks` hold for an
    address in place of a host name.
    """

    name: str
    domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    networks: tuple[Interval, ...] = ()
    ports: tuple[int, ...] = ()


class Schedule(NamedTuple):
    """Stretches of the week by the clock on the wall of a time zone (IANA name), in seconds since Monday, 0:00.

    They are sorted and do not touch; each ends before the second it names.
    """

    name: str
    zone: str
    stretches: tuple[tuple[int, int], ...]


class Rule(NamedTuple):
    """One rule: an action, and the conditions that must all hold. `None` stands for a condition that is not there.

    An empty collection is a condition that nothing meets. Schedules and site lists are named; any one of them will do.
    `start` and `end` are instants, the second one not included. `redirect` and `message` are those of the response
    where they are empty. Without `firewall` a rule is for Squid only. `line` is where the rule stands in its policy, 0
    for none.
    """

    name: str
    action: Action
    clients: tuple[Interval, ...] | None = None
    users: frozenset[str] | None = None
    services: frozenset[str] | None = None
    include: frozenset[Flag] = frozenset()
    user_agents: tuple[str, ...] | None = None
    sites: tuple[str, ...] | None = None
    except_sites: tuple[str, ...] = ()
    schedules: tuple[str, ...] | None = None
    start: float | None = None
    end: float | None = None
    message: str = ""
    redirect: str = ""
    firewall: bool = True
    line: int = 0

    @property
    def timed(self) -> bool:
        """Whether it holds at some times only."""
        return (self.schedules, self.start, self.end) != (None, None, None)


class Response(NamedTuple):
    """How a blocked request is answered. `connect` is "host:port" or empty."""

    redirect: str = "http://blocked.invalid/?service={service}&rule={rule}&url={url}"
    message: str = "{service_name} is blocked here"
    connect: str = ""
    on_error: Literal["allow", "block"] = "allow"
    dry_run: bool = False


class AuditSettings(NamedTuple):
    """What an audit log may tell: how much of a URL, and of a client's address."""

    log_urls: Literal["full", "host", "none"] = "full"
    log_clients: Literal["full", "network", "none"] = "full"


class Circumstances(NamedTuple):
    """What is known of the requests besides their URLs; None is unknown."""

    client: str | None = None
    user: str | None = None
    method: str | None = None
    user_agent: str | None = None
    content_type: str | None = None
    sni: str | None = None


class Expectation(NamedTuple):
    """What a policy says should come out for a request. None: not asked for; `at` is an instant, None for any.

    `service` is "" where the request should be no messenger.
    """

    url: str
    circumstances: Circumstances
    action: Action | None = None
    service: str | None = None
    at: float | None = None


class Limits(NamedTuple):
    """How much one source may do in a second before the rest of it is dropped; 0 for no limit."""

    syn: int = 100
    rst: int = 50
    ping: int = 5


class FirewallSettings(NamedTuple):
    """The `[firewall]` table: what the router looks like, what it lets pass, and how drops are logged.

    `quic` is "" where interception decides: Squid sees no UDP, so that browsers must come back to TCP then.
    """

    wan: str = ""
    lan: str = ""
    default: Literal["accept", "drop"] = "accept"
    reject: bool = False
    admin_ports: tuple[int, ...] = ()
    proxy_ports: tuple[int, ...] = (3128,)
    schedules: Literal["always", "never", "refuse"] = "refuse"
    log_prefix: tuple[tuple[str, str], ...] = ()
    intercept: Literal["no", "redirect", "tproxy"] = "no"
    intercept_http: int = 3129
    intercept_https: int = 3130
    intercept_exempt: bool = False
    quic: Literal["", "allow", "reject"] = ""
    encrypted_dns: Literal["allow", "reject"] = "allow"
    calls: Literal["allow", "reject"] = "allow"
    masquerade: bool = False
    limits: Limits = Limits()


class Policy(NamedTuple):
    """The ordered rules and settings, resolved against the catalogue. `path` is the file, or "built-in".

    `files` are those that were read besides it.
    """

    path: str
    rules: tuple[Rule, ...]
    response: Response = Response()
    firewall: FirewallSettings = FirewallSettings()
    audit: AuditSettings = AuditSettings()
    sites: Mapping[str, SiteList] = {}
    schedules: Mapping[str, Schedule] = {}
    files: tuple[str, ...] = ()
