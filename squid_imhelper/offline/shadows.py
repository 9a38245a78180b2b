"""Whether one rule hides another: whatever meets the conditions of the later one meets those of the earlier one too.

Said only where it is certain. Each condition is asked by itself, so a rule hidden by two others together is not found.
"""

from collections.abc import Sequence

from squid_imhelper.base.model import Interval, Policy, Rule


def covers(earlier: Rule, later: Rule, policy: Policy) -> bool:
    """Whether the later rule can never be asked."""
    if (
        earlier.action == "allow"
        and later.action != "allow"
        and (earlier.services is not None or earlier.sites is not None)
    ):
        return False  # to be let through every name of a request must fit, and to be blocked any
    return (
        _in_time(earlier, later, policy)
        and (earlier.clients is None or (later.clients is not None and _within(later.clients, earlier.clients)))
        and (earlier.users is None or (later.users is not None and later.users <= earlier.users))
        and _services(earlier, later)
        and _agents(earlier, later)
        and (earlier.sites is None or (later.sites is not None and set(later.sites) <= set(earlier.sites)))
        and set(earlier.except_sites) <= set(later.except_sites)
    )


def _services(earlier: Rule, later: Rule) -> bool:
    if earlier.services is None:
        return True
    return later.services is not None and later.services <= earlier.services and later.include <= earlier.include


def _agents(earlier: Rule, later: Rule) -> bool:
    if earlier.user_agents is None:
        return True
    wanted = earlier.user_agents
    return later.user_agents is not None and all(any(text in agent for text in wanted) for agent in later.user_agents)


def _in_time(earlier: Rule, later: Rule, policy: Policy) -> bool:
    starts = earlier.start is None or (later.start is not None and earlier.start <= later.start)
    ends = earlier.end is None or (later.end is not None and later.end <= earlier.end)
    return starts and ends and _scheduled(earlier, later, policy)


def _scheduled(earlier: Rule, later: Rule, policy: Policy) -> bool:
    if earlier.schedules is None:
        return True
    if later.schedules is None:
        return False
    schedules = [policy.schedules[name] for name in earlier.schedules]
    return all(
        any(own.zone == s.zone and _stretches_within(s.stretches, own.stretches) for own in schedules)
        for s in (policy.schedules[name] for name in later.schedules)
    )


def _stretches_within(inner: Sequence[tuple[int, int]], outer: Sequence[tuple[int, int]]) -> bool:
    return all(any(start <= first and last <= end for start, end in outer) for first, last in inner)


def _within(inner: Sequence[Interval], outer: Sequence[Interval]) -> bool:
    return all(any(v == version and a <= first and last <= b for v, a, b in outer) for version, first, last in inner)
