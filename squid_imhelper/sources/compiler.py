"""From a policy and the catalogue to a program: names are resolved, and what no rule can count is left out."""

from squid_imhelper.base.model import Policy, Signature
from squid_imhelper.base.templates import expand
from squid_imhelper.base.urls import parse_url
from squid_imhelper.matching.program import Program, ServiceName
from squid_imhelper.matching.sites import compile_site_list
from squid_imhelper.sources.catalogue import Catalogue


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
        audit=policy.audit,
        sites={name: compile_site_list(policy.sites[name]) for name in sorted(_named_lists(policy))},
        schedules={name: policy.schedules[name] for rule in policy.rules for name in rule.schedules or ()},
        files=policy.files,
    )


def _named_lists(policy: Policy) -> set[str]:
    return {name for rule in policy.rules for name in (*(rule.sites or ()), *rule.except_sites)}


def _open_targets(policy: Policy) -> frozenset[tuple[str, int]]:
    """Where blocked requests are sent must itself be open."""
    redirects = {rule.redirect for rule in policy.rules if rule.redirect} | {policy.response.redirect}
    targets = [parse_url(expand(redirect, {}, str)) for redirect in redirects]
    return frozenset((target.host, target.port) for target in targets if target.port is not None)
