"""`check --explain`: why a request is decided as it is, and what would change that.

First what is found out, as records; `rendering` makes text and JSON of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Circumstances, Decision, Flag, Request, Rule, Signature
from squid_imhelper.base.urls import NOWHERE, Target, normalise_host
from squid_imhelper.matching.program import Program
from squid_imhelper.offline.check import Finding, check
from squid_imhelper.offline.nearby import Nearby, NearMiss
from squid_imhelper.offline.remedies import Remedy, Subject, remedies
from squid_imhelper.offline.variants import Variants
from squid_imhelper.offline.verdicts import Case, RuleVerdict, alone, judge, turns
from squid_imhelper.sources.catalogue import Catalogue


class Unknown(NamedTuple):
    """Something that is not known of a request, and what follows from that."""

    what: str
    consequence: str


class SeenSignature(NamedTuple):
    """A signature that the request carries; at most one makes it what it is. `note` says why one is off."""

    signature: Signature
    identity: bool
    note: str


class Lasting(NamedTuple):
    """A schedule that holds, and until when (an instant; None: for longer than a week)."""

    schedule: str
    until: float | None


@dataclass(frozen=True, slots=True)
class Winner:
    """What decided, and why, in words; no rule where none did."""

    rule: Rule | None
    reason: str
    schedules: tuple[Lasting, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known about one decision. `request` is None where no host is in the input.

    `tunnel` is what is decided where TLS is not decrypted and only a tunnel to the host is seen, if that is something
    else. `policy` and `compiled` are those of the Explainer. `now` is the instant for which it was asked, `zone` that
    in which times are told, `timed` whether they matter.
    """

    finding: Finding
    winner: Winner
    policy: str
    compiled: bool
    now: float
    zone: str
    timed: bool
    dry_run: bool
    sni: str | None = None
    tunnel: Decision | None = None
    unknown: tuple[Unknown, ...] = ()
    seen: tuple[SeenSignature, ...] = ()
    near: tuple[NearMiss, ...] = ()
    rules: tuple[RuleVerdict, ...] = ()
    remedies: tuple[Remedy, ...] = ()

    def place(self, rule: Rule) -> str:
        """Where a rule stands, "" for nowhere; of a program the line of the policy that it was compiled from."""
        if not rule.line or not self.policy:
            return ""
        return f"{self.policy}, line {rule.line} of its policy" if self.compiled else f"{self.policy}:{rule.line}"


FLAG_NOTES: Final[Mapping[Flag, str]] = {
    "stale": "the address has changed hands",
    "shared": "other products use it too",
    "self_hosted": "often the company's own",
}


NOT_MET: Final = "what asks for it cannot hold"


class Explainer:
    """Explains requests under one policy; what it needs for all of them is built once."""

    def __init__(self, program: Program, catalogue: Catalogue, policy: str = "", *, compiled: bool = False) -> None:
        """Takes a program and where it comes from.

        Args:
            program: what decides.
            catalogue: for what the program does not count.
            policy: the file of the policy or, compiled, of the program; "" for none.
            compiled: whether that is a program; the lines are those of the policy that it was compiled from.
        """
        self._variants = Variants(program, catalogue)
        self._nearby = Nearby(program, catalogue)
        self._policy = policy
        self._compiled = compiled

    def explain_all(self, urls: Iterator[str], circumstances: Circumstances, now: float) -> Iterator[Explanation]:
        """Explains every input that is not blank, in order, as at this instant."""
        for url in urls:
            if url.strip():
                yield self.explain(url, circumstances, now)

    def explain(self, url: str, circumstances: Circumstances, now: float) -> Explanation:
        """Explains what is decided about one input; the decision is that of `check`."""
        self._variants.forget()
        finding = check(self._variants.engine, url, circumstances, now)
        request = finding.request
        seen = self._variants.everything.signatures(request) if request else []
        case = Case(self._variants, request or Request(NOWHERE, ()), now, seen)
        program = self._variants.program
        winner = Winner(None, f"{finding.error}; on_error says {finding.decision.action}")
        explanation = Explanation(
            finding,
            winner,
            self._policy,
            self._compiled,
            now,
            case.zone,
            timed=any(rule.schedules or rule.start or rule.end for rule in program.rules),
            dry_run=program.response.dry_run,
            sni=normalise_host(circumstances.sni or "") or None,
        )
        if request is None:
            return explanation
        is_open = self._variants.engine.is_open(request)
        verdicts = judge(case, finding.decision, asked=not is_open)
        subject = Subject(case, finding.decision, verdicts)
        return replace(
            explanation,
            winner=winner if finding.error else _winner(subject, is_open=is_open),
            tunnel=_tunnel(subject),
            unknown=tuple(_unknown(request, circumstances, program.rules)),
            seen=tuple(self._seen(subject)),
            near=tuple(self._nearby.misses(request, seen)),
            rules=verdicts,
            remedies=() if finding.error else remedies(subject),
        )

    def _seen(self, subject: Subject) -> Iterator[SeenSignature]:
        """Each signature once, strongest first."""
        identity = _identity(subject)
        for signature in dict.fromkeys(subject.case.seen):
            yield SeenSignature(signature, signature == identity, self._note(signature, subject))

    def _note(self, signature: Signature, subject: Subject) -> str:
        if not signature.flag:
            return "" if self._variants.counts(signature) else "not in this program: compile it again"
        rules = [
            rule
            for rule in subject.rules
            if signature.flag in rule.include and signature.service in (rule.services or ())
        ]
        if rules:
            names = ", ".join(f'"{rule.name}"' for rule in rules[:2])
            return f"counts only in rules that include {signature.flag}: {names}"
        return f"off: {signature.flag} ({FLAG_NOTES[signature.flag]})"


def _tunnel(subject: Subject) -> Decision | None:
    """What is decided if the same host is asked for by CONNECT; None where that is the same, or all is seen anyway."""
    request, decision = subject.case.request, subject.decision
    if request.target.scheme not in _ENCRYPTED:
        return None
    target = Target("", request.target.host, request.target.port, None, "")
    asked = request._replace(target=target, method="CONNECT", user_agent=None, content_type=None)
    try:
        found = subject.case.variants.decide(subject.with_rules(subject.rules, request=asked))
    except ImhelperError:
        return None
    return found if (found.action, found.service) != (decision.action, decision.service) else None


_ENCRYPTED: Final = ("https", "wss")
_DOES: Final = {"block": "blocks", "allow": "allows", "monitor": "lets through and records"}


def _winner(subject: Subject, *, is_open: bool) -> Winner:
    if is_open:
        return Winner(None, "blocked requests are sent there, so it is open before any rule is asked")
    if subject.winner is None:
        return Winner(None, _without_rule(subject))
    rule = subject.winner.rule
    return Winner(rule, f"{_DOES[rule.action]} {_what(subject)}", tuple(_lasting(subject.case, rule)))


def _identity(subject: Subject) -> Signature | None:
    """The signature that makes the request what the decision says."""
    decision, case = subject.decision, subject.case
    if decision.service is None:
        return None
    winner = subject.winner
    holds = case.variants.holds(alone(winner.rule, "services"), case.request, case.now) if winner else None
    if holds and holds.signature:
        return holds.signature
    return next((s for s in case.seen if case.variants.counts(s) and s.service == decision.service), None)


def _what(subject: Subject) -> str:
    """What a request is, and by which sign; a rule may have asked for something else."""
    decision, identity = subject.decision, _identity(subject)
    if decision.evidence is None:
        return "it, whatever it is"
    sign = f"{decision.evidence.kind} {decision.evidence.value}"
    if identity and decision.evidence == (identity.kind.value, identity.value):
        return f"{identity.service}, told by {sign}"
    return f"{decision.service or 'it'} for its {sign}"


def _without_rule(subject: Subject) -> str:
    """Why no rule decides."""
    service = subject.decision.service
    if service is None:
        seen = "and all that is seen of messengers is off by default" if subject.case.seen else ""
        return f"no rule holds, {seen or 'and it is no messenger that is known'}"
    asking = [v for v in subject.verdicts if v.rule.action == "block" and service in (v.rule.services or ())]
    if not asking:
        return f"it is {service}, and no rule blocks that"
    return f"it is {service}, and no rule that blocks it holds"


def _lasting(case: Case, rule: Rule) -> Iterator[Lasting]:
    for name in rule.schedules or ():
        own = alone(Rule(rule.name, rule.action, schedules=(name,)), "schedule")
        if case.variants.holds(own, case.request, case.now):
            yield Lasting(name, turns(case, own))


def _unknown(request: Request, circumstances: Circumstances, rules: Sequence[Rule]) -> Iterator[Unknown]:
    """What is not known, where it matters."""

    def asked(field: str) -> bool:
        return any(getattr(rule, field) is not None for rule in rules)

    tunnel = request.target.path is None
    for what, is_unknown, consequence in (
        ("client", request.client is None and asked("clients"), NOT_MET),
        ("user", request.user is None and asked("users"), NOT_MET),
        ("user agent", request.user_agent is None, NOT_MET),
        ("content type", request.content_type is None, NOT_MET),
        ("path", tunnel, NOT_MET),
        ("method", request.method is None, "what asks for it counts as met"),
        ("SNI", tunnel and not circumstances.sni, "another name in the TLS handshake would count too"),
    ):
        if is_unknown:
            yield Unknown(what, consequence)
