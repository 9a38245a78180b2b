"""What a report says, however it is shown: the numbers, what a log cannot know, and what else is hit."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from squid_imhelper.base.model import Kind, Service
from squid_imhelper.dryrun.replay import Outcome
from squid_imhelper.dryrun.tally import OTHERS, Tally
from squid_imhelper.matching.program import Program
from squid_imhelper.squid.squidconf import TIMED_TTL

_NAMED: Final = 6
"""Services or rules that a note names before it only counts them."""


@dataclass(frozen=True, slots=True)
class Collateral:
    """What else is hit when a service is blocked, and how often it was."""

    service: str
    name: str
    count: int
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a dry run, and all that is needed to show it.

    `policy` and `against` are named as on the command line ("" for none); `zone` is that in which times are shown;
    `names` are the services' names by their ids; `notes` are sentences about what has to be known to read the numbers.
    """

    outcome: Outcome
    policy: str
    against: str
    zone: str
    names: Mapping[str, str]
    notes: tuple[str, ...]
    collateral: tuple[Collateral, ...]

    def name_of(self, service: str) -> str:
        """The name by which people know a service; what is none comes as it is."""
        return self.names.get(service, service)


def make_report(
    outcome: Outcome, program: Program, policy: str, against: str, zone: str, services: Mapping[str, Service]
) -> Report:
    """Puts together what there is to say."""
    return Report(
        outcome=outcome,
        policy=policy,
        against=against,
        zone=zone,
        names={id_: service.name for id_, service in program.services.items()},
        notes=tuple(note for make in _NOTES for note in make(outcome.tally, program)),
        collateral=tuple(_collateral(outcome.tally, services)),
    )


def _collateral(tally: Tally, services: Mapping[str, Service]) -> Iterator[Collateral]:
    blocked = tally.outcomes["blocked"].by_service
    for id_, count in blocked.top(len(blocked)):
        service = services.get(id_)
        if service is not None and service.collateral:
            yield Collateral(id_, service.name, count, service.collateral)


def _user_agents(tally: Tally, program: Program) -> Iterator[str]:
    services = _told_by(Kind.USER_AGENT, program)
    rules = [rule.name for rule in program.rules if rule.user_agents is not None]
    yield from _gap("user_agent", "the user agent", services, rules, tally)


def _content_types(tally: Tally, program: Program) -> Iterator[str]:
    yield from _gap("content_type", "the content type", _told_by(Kind.CONTENT_TYPE, program), [], tally)


def _for_an_acl_only(tally: Tally, program: Program) -> Iterator[str]:
    services = sorted({*_told_by(Kind.USER_AGENT, program), *_told_by(Kind.CONTENT_TYPE, program)})
    rules = [rule.name for rule in program.rules if rule.user_agents is not None]
    yield from _gap("acl_only", "user agent and content type", services, rules, tally, "A rewriter does not see")


def _clients(tally: Tally, program: Program) -> Iterator[str]:
    rules = [rule.name for rule in program.rules if rule.clients is not None]
    yield from _gap("client", "the client", [], rules, tally)
    yield from _gap("client_name", "the client's address, only its name,", [], rules, tally)


def _users(tally: Tally, program: Program) -> Iterator[str]:
    yield from _gap("user", "the user", [], [rule.name for rule in program.rules if rule.users is not None], tally)


def _gap(
    gap: str, what: str, services: list[str], rules: list[str], tally: Tally, who: str = "The log does not tell"
) -> Iterator[str]:
    """Says what cannot be seen for want of something, where it can change the answer."""
    number, asked = tally.gaps.get(gap, 0), tally.requests - tally.without_request
    if not number or not (services or rules):
        return
    parts = []
    if services:
        parts.append(f"what gives itself away by that alone is not counted ({_listed(services)})")
    if rules:
        parts.append(f"{'rule' if len(rules) == 1 else 'rules'} {_listed([repr(name) for name in rules])} cannot hold")
    share = "any request" if number == asked else f"{number:,} of {asked:,} requests"
    yield f"{who} {what} of {share}: {', and '.join(parts)}."


def _queries(tally: Tally, _: Program) -> Iterator[str]:
    if number := tally.gaps.get("query", 0):
        yield (
            f"{number:,} {_requests(number)} would be blocked if the query was what messengers send, but the log does "
            "not tell it: Squid cuts queries off unless squid.conf says strip_query_terms off."
        )


def _queries_for_expressions(tally: Tally, _: Program) -> Iterator[str]:
    if number := tally.gaps.get("query_for_expressions", 0):
        lost = "has lost its query" if number == 1 else "have lost their queries"
        yield f"{number:,} {_requests(number)} {lost} to Squid's strip_query_terms: no expression could look at that."


def _who_denied(tally: Tally, _: Program) -> Iterator[str]:
    if number := tally.gaps.get("who_denied", 0):
        yield (
            f"{number:,} of the newly allowed requests {_were(number)} denied when the log was written. It "
            "does not tell by whom: what Squid's own rules deny stays denied."
        )


def _times(tally: Tally, program: Program) -> Iterator[str]:
    number = tally.gaps.get("time", 0)
    if number and any(rule.timed for rule in program.rules):
        has = "has" if number == 1 else "have"
        yield f"{number:,} {_requests(number)} {has} no time in the log: decided as if made now."


def _tunnels(_: Tally, program: Program) -> Iterator[str]:
    if any(rule.timed for rule in program.rules):
        yield (
            "Each request is decided for the time at which it began. Live, a tunnel that is open stays open when a "
            f"schedule begins, and Squid keeps an answer for its ttl ({TIMED_TTL} seconds as squid-conf has it)."
        )


def _denied(tally: Tally, _: Program) -> Iterator[str]:
    blocked = tally.outcomes["denied"].total
    if tally.denied:
        own = " (its own work, if it was in force when the log was written)" if blocked else ""
        yield (
            f"{tally.denied:,} {_requests(tally.denied)} {_were(tally.denied)} denied by Squid itself, and not counted "
            f"as blocked. Of these, the policy would block {f'{blocked:,}' if blocked else 'none'}{own}."
        )


def _failed(tally: Tally, program: Program) -> Iterator[str]:
    if tally.failed:
        yield (
            f"{tally.failed:,} {_requests(tally.failed)} could not be decided and {_were(tally.failed)} answered as "
            f"on_error says: {program.response.on_error}."
        )


def _without_request(tally: Tally, _: Program) -> Iterator[str]:
    if number := tally.without_request:
        lines = "line asks" if number == 1 else "lines ask"
        yield (
            f"{number:,} {lines} for nothing that could be decided: an error: URL, a path alone, or the first line of "
            "an intercepted tunnel that has two."
        )


def _dry_run(_: Tally, program: Program) -> Iterator[str]:
    if program.response.dry_run:
        yield "The policy says dry_run = true: what would be blocked is let through and told as long as it does."


def _too_many(tally: Tally, _: Program) -> Iterator[str]:
    if any(OTHERS in counts for part in tally.outcomes.values() for counts in (part.by_client, part.by_host)):
        yield f"There are so many clients or hosts that the rare ones are counted together, as {OTHERS}."
    if any(part.rows_left_out for part in tally.outcomes.values()):
        yield "There are so many cases that the tables of cases leave out rare ones; all other numbers are whole."


def _told_by(kind: Kind, program: Program) -> list[str]:
    """Services that a rule asks for and that have signatures of a kind."""
    asked = frozenset().union(*(rule.services or () for rule in program.rules))
    ids = {s.service for s in program.signatures if s.kind is kind and s.service in asked}
    return sorted(program.services[id_].name for id_ in ids)


def _listed(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _requests(number: int) -> str:
    return "request" if number == 1 else "requests"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


_NOTES: Final[tuple[Callable[[Tally, Program], Iterator[str]], ...]] = (
    _dry_run,
    _user_agents,
    _content_types,
    _for_an_acl_only,
    _clients,
    _users,
    _queries,
    _queries_for_expressions,
    _who_denied,
    _times,
    _tunnels,
    _denied,
    _failed,
    _without_request,
    _too_many,
)
