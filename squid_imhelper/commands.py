"""The commands that run offline, one small function each; what a command alone needs is imported by it."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.model import BUILT_IN
from squid_imhelper.loading import DEFAULT_POLICY, build_program, load_engine, policy_name, read_checked_policy

if TYPE_CHECKING:
    from squid_imhelper.base.model import Circumstances, FirewallSettings, Rule
    from squid_imhelper.matching.engine import Engine
    from squid_imhelper.offline.check import Finding
    from squid_imhelper.squid.squidconf import Installation

FINDINGS: Final = 1
"""The exit status of `check --exit-code` when something is blocked."""


def run_check(options: argparse.Namespace) -> int:
    """Decides URLs offline."""
    from squid_imhelper.base.model import Circumstances
    from squid_imhelper.base.schedule import common_zone, parse_instant

    engine = load_engine(options.policy, _warn)
    now = (
        time.time() if options.at is None else parse_instant(options.at, common_zone(engine.program.schedules.values()))
    )
    circumstances = Circumstances(
        client=options.client,
        user=options.user,
        method=options.method.upper() if options.method else None,
        user_agent=options.user_agent,
        content_type=options.content_type,
        sni=options.sni,
    )
    answers = _explained if options.explain else _checked
    checked = blocked = 0
    for finding, text in answers(options, engine, circumstances, now):
        print(text)
        checked += finding.error is None
        blocked += finding.decision.action == "block"
    if not checked:
        raise ImhelperError("nothing could be checked: there is no URL in the input")
    return FINDINGS if options.exit_code and blocked else 0


def _checked(
    options: argparse.Namespace, engine: "Engine", circumstances: "Circumstances", now: float
) -> "Iterator[tuple[Finding, str]]":
    """Yields what is found out about each input, and the line that tells it."""
    from squid_imhelper.offline.check import as_json, as_text, check_all

    render = as_json if options.json else as_text
    for finding in check_all(engine, _inputs(options.urls), circumstances, now):
        yield finding, render(finding, dry_run=engine.program.response.dry_run)


def _explained(
    options: argparse.Namespace, engine: "Engine", circumstances: "Circumstances", now: float
) -> "Iterator[tuple[Finding, str]]":
    """Yields what is found out about each input, and what tells why."""
    from squid_imhelper.matching.programfile import is_program
    from squid_imhelper.offline.explain import Explainer
    from squid_imhelper.offline.rendering import as_json, as_text
    from squid_imhelper.sources.catalogue import load_catalogue

    name = policy_name(options.policy)
    policy, compiled = ("", False) if name == BUILT_IN else (name, is_program(Path(name)))
    explainer = Explainer(engine.program, load_catalogue(), policy, compiled=compiled)
    for explanation in explainer.explain_all(_inputs(options.urls), circumstances, now):
        yield explanation.finding, as_json(explanation) if options.json else f"{as_text(explanation)}\n"


def run_compile(options: argparse.Namespace) -> int:
    """Writes the program of a policy."""
    from squid_imhelper.matching.programfile import is_program, save_program, verify_program

    name, output = policy_name(options.policy), Path(options.output)
    if name != BUILT_IN and is_program(Path(name)):
        raise ImhelperError(f"{name} is a program already; 'lint' verifies it")
    program = build_program(name, _warn)
    sources = program.files if name == BUILT_IN else (name, *program.files)
    if output.exists() and any(output.samefile(source) for source in sources):
        raise ImhelperError(f"{output} is the policy itself, or a file that it reads")
    save_program(program, output)
    verify_program(output)
    return 0


def run_lint(options: argparse.Namespace) -> int:
    """Prints every problem of a policy, and what it cannot do."""
    from squid_imhelper.matching.programfile import is_program, verify_program
    from squid_imhelper.offline.lint import lint
    from squid_imhelper.sources.catalogue import load_catalogue

    name = policy_name(options.policy)
    if name != BUILT_IN and is_program(Path(name)):
        verify_program(Path(name))
        print(f"{name}: every digest fits")
        return 0
    if options.policy is None and name == BUILT_IN:
        _warn(f"there is no {DEFAULT_POLICY}: this is about the built-in policy; --policy FILE names another")
    report = lint(name, load_catalogue(), time.time())
    for problem in report.problems:
        print(problem)
    for line in report.summary:
        print(line)
    return FINDINGS if report.errors else 0


def run_services(options: argparse.Namespace) -> int:
    """Prints the catalogue, or part of it."""
    from rich.console import Console

    from squid_imhelper.matching.program import UnknownNameError
    from squid_imhelper.offline import listing
    from squid_imhelper.sources.catalogue import load_catalogue

    catalogue = load_catalogue()
    known = [*catalogue.services, *(f"@{group}" for group in catalogue.groups)]
    for name in options.names:
        if name not in known:
            error = UnknownNameError(name, known)
            raise ImhelperError(f"{error}, {error.suggestion}" if error.suggestion else str(error))
    wanted = [
        service
        for service in catalogue.services.values()
        if not options.names or {service.id, f"@{service.group}"} & set(options.names)
    ]
    if options.json:
        print(listing.as_json(wanted))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False)
    with console.capture() as text:  # and not straight away: rich has its own way to end when a reader has gone
        if options.names and not any(name.startswith("@") for name in options.names):
            for service in wanted:
                listing.print_service(service, catalogue, console)
        else:
            listing.print_table(wanted, console)
    print(text.get(), end="")
    return 0


def run_firewall(options: argparse.Namespace) -> int:
    """Prints the rules for a router, or the commands that end what is open."""
    from squid_imhelper.firewall import conntrack
    from squid_imhelper.firewall.backends import BACKENDS
    from squid_imhelper.firewall.plan import plan_firewall
    from squid_imhelper.matching.programfile import is_program
    from squid_imhelper.sources.catalogue import load_catalogue
    from squid_imhelper.sources.policy import built_in_policy

    name, catalogue = policy_name(options.policy), load_catalogue()
    if name == BUILT_IN:
        policy, document = built_in_policy(catalogue), None
        if options.policy is None:
            _warn(f"there is no {DEFAULT_POLICY}: this blocks every messenger for everybody; --policy FILE names one")
    elif is_program(Path(name)):
        raise ImhelperError(f"{name} is a program, which has no [firewall]: name the policy that it was compiled from")
    else:
        read = read_checked_policy(Path(name), _warn)
        policy, document = read.policy, read.document
    backend = BACKENDS[options.backend]
    plan = plan_firewall(policy, catalogue, backend.max_log_prefix)
    if document is not None:
        for refusal in plan.refusals:
            document.error(refusal.where, refusal.message, None, refusal.suggestion)
        document.check()
    if not plan.blocks:
        _warn("nothing is blocked: no rule of the policy names what a firewall can tell")
    if options.conntrack:
        print(conntrack.render(plan, backend.families), end="")
    else:
        print(backend.write(plan, chains_only=options.chains), end="")
    return 0


def run_squid_conf(options: argparse.Namespace) -> int:
    """Prints the lines for squid.conf."""
    from squid_imhelper.offline.installed import find_squid, nearest_version
    from squid_imhelper.squid.intercepting import CERTIFICATE, MAKE_CERTIFICATE
    from squid_imhelper.squid.squidconf import Installation, render

    if options.mode == "intercept" and not options.tls_cert:
        raise ImhelperError(
            "Squid opens no port for TLS without a certificate, though it shows it to nobody: make one with"
            f" '{MAKE_CERTIFICATE.format(path=CERTIFICATE)}' and name it: --tls-cert {CERTIFICATE}"
        )
    name = policy_name(options.policy)
    rules, settings = _rules_and_settings(name)
    installation = Installation(
        helper=_own_path(),
        policy=BUILT_IN if name == BUILT_IN else str(Path(name).absolute()),
        error_page=_error_page(),
    )
    found = find_squid()
    version = options.squid_version or nearest_version(found)
    if found and not options.squid_version and found.version != version:
        _warn(f"{found.path} is Squid {found.version}: these lines are for Squid {version}")
    if options.mode == "intercept":
        text = _intercepting(options, installation, rules, version, settings)
        if found and not found.openssl:
            _warn(f"{found.path} was built without OpenSSL, so it cannot look into TLS; Debian's squid-openssl can")
    else:
        text = render(installation, rules, options.interface, version)
    print(text, end="")
    return 0


def _intercepting(
    options: argparse.Namespace,
    installation: "Installation",
    rules: "Sequence[Rule]",
    version: int,
    settings: "FirewallSettings",
) -> str:
    """The lines for interception; a certificate that is not there yet is told and no error."""
    from squid_imhelper.offline.installed import pem_problem
    from squid_imhelper.squid.intercepting import interception_of, render_intercepting

    certificate = Path(options.tls_cert).absolute()
    interception = interception_of(settings, str(certificate))
    text = render_intercepting(installation, rules, options.interface, version, interception)
    if problem := pem_problem(certificate):
        _warn(f"--tls-cert: {problem}")
    return text


def _rules_and_settings(name: str) -> "tuple[Sequence[Rule], FirewallSettings]":
    """The rules and the `[firewall]` of a policy; a compiled program has none of the latter."""
    from squid_imhelper.base.model import FirewallSettings
    from squid_imhelper.matching.programfile import is_program

    if name == BUILT_IN or is_program(Path(name)):
        return load_engine(name, _warn).program.rules, FirewallSettings()
    policy = read_checked_policy(Path(name), _warn).policy
    return policy.rules, policy.firewall


def _own_path() -> str:
    """The console script that belongs to this installation."""
    for path in (Path(sys.argv[0]), Path(sys.executable).with_name("squid-imhelper")):
        if path.name == "squid-imhelper" and path.is_file():
            return str(path.absolute())
    raise ImhelperError("Squid needs a program to start: install the package first (pip install .)")


def _error_page() -> str:
    """The error page that has been installed with the package, or lies beside it in a checkout; "" for neither."""
    for path in (Path(sys.prefix) / "share/squid-imhelper", Path(__file__).absolute().parent.parent / "conf"):
        if (path / "ERR_MESSENGER").is_file():
            return str(path / "ERR_MESSENGER")
    return ""


def _inputs(urls: Sequence[str]) -> Iterator[str]:
    for url in urls:
        if url == "-" and sys.stdin is None:
            raise ImhelperError("stdin is closed")
        if url == "-":
            yield from (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
        else:
            yield url


def _warn(text: str) -> None:
    if sys.stderr is not None:
        print(text, file=sys.stderr)
