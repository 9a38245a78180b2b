"""`check`: single requests, decided by the code that answers Squid, each told in a line."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import Circumstances, Decision, Request, names_of
from squid_imhelper.base.urls import Target, UrlError, normalise_host, parse_connect, parse_url, to_text
from squid_imhelper.matching.engine import Engine


@dataclass(frozen=True, slots=True)
class Finding:
    """What would be decided about one input; `request` is None and `error` a sentence where no host is in it."""

    url: str
    client: str | None
    decision: Decision
    request: Request | None = None
    error: str | None = None


def check_all(engine: Engine, urls: Iterable[str], circumstances: Circumstances, now: float) -> Iterator[Finding]:
    """Decides every input that is not blank, in order, as at this instant."""
    for url in urls:
        if url.strip():
            yield check(engine, url, circumstances, now)


def check(engine: Engine, url: str, circumstances: Circumstances, now: float) -> Finding:
    """Decides one input; where no host can be found, and where the policy fails, as `on_error` says."""
    try:
        request = build_request(url, circumstances)
    except UrlError as error:
        return Finding(url, circumstances.client, Decision(engine.program.response.on_error), error=str(error))
    try:
        return Finding(url, circumstances.client, engine.decide(request, now), request)
    except ImhelperError as error:
        return Finding(url, circumstances.client, Decision(engine.program.response.on_error), request, str(error))


def build_request(url: str, circumstances: Circumstances) -> Request:
    """Builds the request that a client would have made.

    Raises:
        UrlError: there is no host in the URL.
    """
    text = to_text(os.fsencode(url))
    target = _read_connect(text) if circumstances.method == "CONNECT" else parse_url(text)
    sni = normalise_host(circumstances.sni or "")
    return Request(
        target=target,
        names=names_of(target, sni),
        method=circumstances.method,
        client=circumstances.client,
        user=circumstances.user,
        user_agent=circumstances.user_agent,
        content_type=circumstances.content_type,
    )


def _read_connect(text: str) -> Target:
    """Reads the target of a CONNECT as a person may write it: to Squid, anything before the port is a host."""
    if len(text.split()) > 1:
        raise UrlError(f"no host in {text!r}")
    if "://" not in text[1:]:
        return parse_connect(text)
    url = parse_url(text)
    return Target("", url.host, url.port, None, "")


def as_json(finding: Finding, *, dry_run: bool = False, **more: object) -> str:
    """One ASCII JSON object; what else is given stands at its end."""
    decision, request = finding.decision, finding.request
    return json.dumps(
        {
            "url": finding.url,
            "host": request.target.host if request else None,
            "port": request.target.port if request else None,
            "client": finding.client,
            "action": decision.action,
            "service": decision.service,
            "rule": decision.rule,
            "signature": decision.evidence._asdict() if decision.evidence else None,
            "dry_run": dry_run,
            "error": finding.error,
            **more,
        }
    )


def as_text(finding: Finding, *, dry_run: bool = False) -> str:
    """One line: action, service, URL, and why."""
    decision = finding.decision
    evidence = decision.evidence
    reasons = [
        finding.error or "",
        f"{evidence.kind} {evidence.value}" if evidence else "",
        f'rule "{decision.rule}"' if decision.rule else "",
        "dry run: let through" if dry_run and decision.action == "block" else "",
    ]
    why = ", ".join(reason for reason in reasons if reason)
    return printable(f"{decision.action:<8}{decision.service or '-':<24}{finding.url}{f'  ({why})' if why else ''}")


def printable(text: str) -> str:
    """Returns a text with everything escaped that is no letter, sign or blank: it may come from anybody."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
