"""From a policy and the catalogue to a program: names are resolved, and what no rule can count is left out."""

from squid_imhelper.catalogue import Catalogue
from squid_imhelper.model import Policy, Signature
from squid_imhelper.program import Program, ServiceName
from squid_imhelper.templates import expand
from squid_imhelper.urls import parse_url


def compile_policy(policy: Policy, catalogue: Catalogue) -> Program:
    """Builds the run-time tables of a policy."""
    included = {
        (flag, service) for rule in policy.rules for flag in rule.include for service in rule.services or frozenset()
    }

    def counts(signature: Signature) -> bool:
        return not signature.flag or (signature.flag, signature.service) in included

    services = catalogue.services.values()
    return Program(
        services={service.id: ServiceName(service.name, service.group) for service in services},
        signatures=tuple(s for service in services for s in service.signatures if counts(s)),
        exceptions=tuple((domain, service.id) for service in services for domain in service.exceptions),
        bots=tuple((text, service.id) for service in services for text in service.bots),
        rules=policy.rules,
        response=policy.response,
        open_targets=_open_targets(policy),
    )


def _open_targets(policy: Policy) -> frozenset[tuple[str, int]]:
    """Where blocked requests are sent must itself be open."""
    target = parse_url(expand(policy.response.redirect, {}, str))
    return frozenset({(target.host, target.port)} if target.port is not None else ())
