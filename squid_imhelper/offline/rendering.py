"""Explanations as text for people and as JSON for programs."""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Final

from squid_imhelper.base.schedule import on_the_wall
from squid_imhelper.offline import check
from squid_imhelper.offline.check import printable
from squid_imhelper.offline.explain import Explanation, SeenSignature
from squid_imhelper.offline.verdicts import RuleVerdict

WIDTH: Final = 118
SHOWN_SEEN: Final = 8
SHOWN_NEAR: Final = 5
SHOWN_RULES: Final = 20
LONGEST_TEXT: Final = 1000
"""Characters of a text that are shown."""

_LONG_WORD: Final = re.compile(r"(\S{160})\S+")
_MARGIN: Final = 10
_HANGING: Final = 2
_MARKS: Final = {"decides": "->", "does not hold": "no", "not asked": "..", "holds": "??"}


def as_json(explanation: Explanation) -> str:
    """The object of `check --json`, with one more key."""
    data = {
        "request": _request(explanation),
        "seen": [_seen(seen) for seen in explanation.seen],
        "near": [
            {"kind": s.kind.value, "value": s.value, "service": s.service, "reason": reason}
            for s, reason in explanation.near
        ],
        "rules": [_rule(verdict, explanation) for verdict in explanation.rules],
        "winner": _winner(explanation),
        "tunnel": _tunnel(explanation),
        "remedies": [
            {"change": remedy.change, "action": remedy.decision.action, "rule": remedy.decision.rule}
            for remedy in explanation.remedies
        ],
    }
    return check.as_json(explanation.finding, dry_run=explanation.dry_run, explanation=data)


def _request(explanation: Explanation) -> dict[str, object] | None:
    request = explanation.finding.request
    if request is None:
        return None
    target = request.target
    return {
        "url": target.url,
        "scheme": target.scheme or None,
        "host": target.host,
        "port": target.port,
        "path": target.path,
        "query": target.query,
        "names": list(request.names),
        "method": request.method,
        "client": request.client,
        "user": request.user,
        "user_agent": request.user_agent,
        "content_type": request.content_type,
        "sni": explanation.sni,
        "at": _iso(explanation.now, explanation),
        "unknown": {unknown.what: unknown.consequence for unknown in explanation.unknown},
    }


def _seen(seen: SeenSignature) -> dict[str, object]:
    signature, identity, note = seen
    return {
        "kind": signature.kind.value,
        "value": signature.value,
        "service": signature.service,
        "flag": signature.flag,
        "identity": identity,
        "note": note,
    }


def _rule(verdict: RuleVerdict, explanation: Explanation) -> dict[str, object]:
    return {
        "number": verdict.number,
        "name": verdict.rule.name,
        "action": verdict.rule.action,
        "place": explanation.place(verdict.rule),
        "state": verdict.state,
        "conditions": [condition._asdict() for condition in verdict.conditions],
    }


def _winner(explanation: Explanation) -> dict[str, object]:
    winner, decision = explanation.winner, explanation.finding.decision
    return {
        "rule": winner.rule.name if winner.rule else None,
        "place": explanation.place(winner.rule) if winner.rule else "",
        "action": decision.action,
        "reason": winner.reason,
        "evidence": decision.evidence._asdict() if decision.evidence else None,
        "schedules": {name: None if until is None else _iso(until, explanation) for name, until in winner.schedules},
        "dry_run": explanation.dry_run and decision.action == "block",
    }


def _tunnel(explanation: Explanation) -> dict[str, object] | None:
    tunnel = explanation.tunnel
    return {"action": tunnel.action, "service": tunnel.service, "rule": tunnel.rule} if tunnel else None


def _iso(instant: float, explanation: Explanation) -> str:
    return on_the_wall(instant, explanation.zone).isoformat()


# ---- text -----------------------------------------------------------------------------------------------------------


def as_text(explanation: Explanation) -> str:
    """A block of lines, the first of them that of `check`."""
    lines = [check.as_text(explanation.finding, dry_run=explanation.dry_run)]
    for title, texts in _SECTIONS.items():
        lines += _section(title, texts(explanation))
    return "\n".join(lines)


def _section(title: str, texts: Iterable[str]) -> Iterator[str]:
    """A title in the margin and texts beside it, folded where they are too long; blanks before a text indent it."""
    margin = f"  {title}"
    for text in texts:
        words = printable(_cut(text.lstrip(" ")))
        indent = len(text) - len(text.lstrip(" "))
        yield textwrap.fill(
            words,
            WIDTH,
            initial_indent=f"{margin:<{_MARGIN}}" + " " * indent,
            subsequent_indent=" " * (_MARGIN + indent + _HANGING),
            break_long_words=False,
            break_on_hyphens=False,
        )
        margin = ""


def _cut(text: str) -> str:
    """A text that can be read in one go: who asks may have sent a megabyte."""
    text = _LONG_WORD.sub(lambda found: f"{found[1]}...", text)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


def _why(explanation: Explanation) -> Iterator[str]:
    winner = explanation.winner
    if winner.rule is None:
        yield winner.reason
    else:
        place = explanation.place(winner.rule)
        yield f'rule "{winner.rule.name}" {f"({place}) " if place else ""}{winner.reason}'
    for name, until in winner.schedules:
        yield f"schedule {name} holds " + (f"until {_clock(until, explanation)}" if until else "all week")
    if tunnel := explanation.tunnel:
        it_is = f" ({tunnel.service})" if tunnel.service else ""
        yield f"but where TLS is not decrypted, only a tunnel to the host is seen: {tunnel.action}{it_is}"
    if explanation.dry_run and explanation.finding.decision.action == "block":
        yield "dry run: it is let through, and only recorded"


def _request_lines(explanation: Explanation) -> Iterator[str]:
    request = explanation.finding.request
    if request is None:
        return
    target = request.target
    values = {
        "host": target.host,
        "port": target.port,
        "method": request.method,
        "client": request.client,
        "user": request.user,
        "user agent": request.user_agent,
        "content type": request.content_type,
        "SNI": explanation.sni,
    }
    yield target.url
    yield ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    if explanation.timed:
        yield f"at {_clock(explanation.now, explanation)}"
    by_consequence: dict[str, list[str]] = {}
    for what, consequence in explanation.unknown:
        by_consequence.setdefault(consequence, []).append(what)
    if by_consequence:
        yield "unknown: " + "; ".join(f"{', '.join(things)} ({why})" for why, things in by_consequence.items())


def _seen_lines(explanation: Explanation) -> Iterator[str]:
    if explanation.finding.request is not None and not explanation.seen:
        yield "no signature of any messenger"
    for signature, identity, note in explanation.seen[:SHOWN_SEEN]:
        text = f"{signature.kind.value} {signature.value}"
        more = f"so it is {signature.service}" if identity else note
        yield f"{text:<36} {signature.service:<22} {more}".rstrip()
    yield from _more(explanation.seen, SHOWN_SEEN)


def _near_lines(explanation: Explanation) -> Iterator[str]:
    for signature, reason in explanation.near[:SHOWN_NEAR]:
        yield f"{signature.kind.value} {signature.value} ({signature.service}) does not count: {reason}"
    yield from _more(explanation.near, SHOWN_NEAR)


def _more(items: Sized, shown: int) -> Iterator[str]:
    if len(items) > shown:
        yield f"and {len(items) - shown} more"


def _rule_lines(explanation: Explanation) -> Iterator[str]:
    asked = [verdict for verdict in explanation.rules if verdict.state != "not asked"]
    shown = asked if len(asked) <= SHOWN_RULES else [*asked[: SHOWN_RULES - 1], asked[-1]]
    for verdict in shown:
        if verdict is asked[-1] and len(shown) < len(asked):
            yield f"no  {len(asked) - len(shown)} more"
        yield from _verdict_lines(verdict, explanation)
    if behind := len(explanation.rules) - len(asked):
        yield f"..  {behind} rule{'' if behind == 1 else 's'} behind it not asked"


def _verdict_lines(verdict: RuleVerdict, explanation: Explanation) -> Iterator[str]:
    rule = verdict.rule
    place = explanation.place(rule)
    yield f'{_MARKS[verdict.state]}  {rule.action:<7} "{rule.name}"' + (f"  ({place})" if place else "")
    for condition in verdict.failed or verdict.conditions:
        yield f"    {condition.name} {condition.wanted}: {condition.found}"
    if verdict.state == "holds":
        yield "    it holds, but only a rule that blocks may decide behind one that could not be looked at"


def _remedy_lines(explanation: Explanation) -> Iterator[str]:
    if explanation.remedies:
        aim = "to let it through" if explanation.finding.decision.action == "block" else "to block it"
        yield f"{aim}:" if explanation.policy else f"{aim}, in a policy of your own:"
    for remedy in explanation.remedies:
        yield f"- {remedy.change}"


def _clock(instant: float, explanation: Explanation) -> str:
    return f"{on_the_wall(instant, explanation.zone):%a %Y-%m-%d %H:%M} {explanation.zone}"


_SECTIONS: Final[Mapping[str, Callable[[Explanation], Iterator[str]]]] = {
    "why": _why,
    "request": _request_lines,
    "seen": _seen_lines,
    "near": _near_lines,
    "rules": _rule_lines,
    "change": _remedy_lines,
}
