"""`[[expect]]`: what a policy says should come out, held against what does. One that fails its own tests is not used.

An expectation without a time must hold at any: it is tried at each instant of the coming week at which other rules
begin to apply.
"""

from collections.abc import Iterator, Sequence

from squid_imhelper.base.model import Expectation
from squid_imhelper.base.schedule import WEEK, common_zone, on_the_wall
from squid_imhelper.matching.engine import Engine
from squid_imhelper.offline.check import Finding, check
from squid_imhelper.sources.tomlfile import Document


def note_failures(engine: Engine, expectations: Sequence[Expectation], document: Document, now: float) -> None:
    """Notes an error in the document for each expectation that does not come true."""
    for number, expectation in enumerate(expectations):
        for instant in _instants(engine, expectation, now):
            finding = check(engine, expectation.url, expectation.circumstances, instant)
            if wrong := _difference(expectation, finding):
                when = "" if expectation.at is not None else _when(engine, instant, now)
                document.error(("expect", number, "url"), f"{wrong}{when}{_why(finding)}", expectation.url)
                break


def _instants(engine: Engine, expectation: Expectation, now: float) -> Iterator[float]:
    if expectation.at is not None:
        yield expectation.at
        return
    instant = now
    while instant < now + WEEK:
        yield instant
        instant = engine.next_change(instant)


def _difference(expectation: Expectation, finding: Finding) -> str:
    """What is other than expected; "" for nothing."""
    decision = finding.decision
    if finding.error is not None:
        return f"expected a decision: {finding.error}"
    if expectation.action is not None and decision.action != expectation.action:
        return f"expected {expectation.action}, and it is {decision.action}"
    if expectation.service is not None and (decision.service or "") != expectation.service:
        return f"expected {expectation.service or 'no service'}, and it is {decision.service or 'none'}"
    return ""


def _when(engine: Engine, instant: float, now: float) -> str:
    schedules = engine.program.schedules.values()
    if not schedules and all(rule.start is None and rule.end is None for rule in engine.program.rules):
        return ""
    zone = common_zone(schedules)
    when = "now" if instant == now else f"on {on_the_wall(instant, zone):%a %Y-%m-%d %H:%M} {zone}"
    return f" {when} (without 'at' it must hold at any time of the week)"


def _why(finding: Finding) -> str:
    rule = finding.decision.rule
    return f" by rule '{rule}'" if rule else ", since no rule holds"
