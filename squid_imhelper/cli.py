"""The command line: one small function for each command, errors as one sentence, no traceback.

Exit status: 0 done, 1 findings, 2 usage or bad input. `acl` and `rewrite` are started by Squid and do not give up:
what is wrong with their options or their policy is said on stderr, and lines are answered as `--on-error` says until
Squid closes.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from squid_imhelper import __version__
from squid_imhelper.base.errors import ImhelperError
from squid_imhelper.base.urls import normalise_address
from squid_imhelper.commands import (
    run_check,
    run_compile,
    run_firewall,
    run_lint,
    run_services,
    run_squid_conf,
)
from squid_imhelper.helper.options import OPTIONS, POLICY, Given, Option, is_helper, not_empty
from squid_imhelper.helper.starting import start_helper
from squid_imhelper.replaying import run_replay

_USAGE: Final = 2
_INTERRUPTED: Final = 130
_MOST_JOBS: Final = 256

_HELPERS: Final = {"acl": "external ACL helper on stdin and stdout", "rewrite": "URL rewriter on stdin and stdout"}


class UsageError(ImhelperError):
    """The command line cannot be understood."""


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would exit for, and takes no option for a longer one."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["allow_abbrev"] = False
        super().__init__(**kwargs)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = _Parser(prog="squid-imhelper", description="Keeps instant messengers out of a network, for Squid.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    policy = _Parser(add_help=False)
    _add_option(policy, POLICY)
    for name, text in _HELPERS.items():
        helper = commands.add_parser(name, help=text)
        for option in OPTIONS[name]:
            _add_option(helper, option)
    _check_options(commands.add_parser("check", parents=[policy], help="what would be decided about a URL, and why"))
    _replay_options(commands.add_parser("replay", parents=[policy], help="what would be decided about recorded logs"))
    _compile_options(commands.add_parser("compile", parents=[policy], help="policy, catalogue and lists in one file"))
    commands.add_parser("lint", parents=[policy], help="every problem of a policy at once").set_defaults(run=run_lint)
    _services_options(commands.add_parser("services", help="the catalogue of messengers"))
    _firewall_options(commands.add_parser("firewall", parents=[policy], help="prints the rules for the router"))
    _squid_conf_options(commands.add_parser("squid-conf", parents=[policy], help="prints the lines for squid.conf"))
    return parser


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    text = option.help.replace("%", "%%")
    if option.is_flag:
        parser.add_argument(option.name, dest=option.field, action="store_true", help=text)
        return
    parser.add_argument(
        option.name,
        dest=option.field,
        metavar=option.metavar or None,
        choices=option.choices or None,
        nargs="+" if option.many else None,
        type=_argument(option.read),
        default=Given._field_defaults[option.field],
        help=text,
    )


def _check_options(check: argparse.ArgumentParser) -> None:
    check.add_argument("urls", nargs="+", metavar="URL", help="a URL, host:port with --method CONNECT, or - for stdin")
    check.add_argument(
        "--client", metavar="IP", type=_argument(_address), help="the client's address (default: unknown)"
    )
    check.add_argument("--user", metavar="NAME", help="the name that Squid knows (default: unknown)")
    check.add_argument("--at", metavar="TIME", help="when, in ISO 8601 (default: now)")
    check.add_argument("--user-agent", metavar="UA", help="the User-Agent header (default: unknown)")
    check.add_argument("--method", metavar="M", help="the request method (default: unknown)")
    check.add_argument("--content-type", metavar="T", help="the Content-Type header (default: unknown)")
    check.add_argument("--sni", metavar="NAME", help="the name in the TLS ClientHello (default: none)")
    check.add_argument("--json", action="store_true", help="one JSON object a line")
    check.add_argument("--explain", action="store_true", help="what was seen, each rule's part, what would change it")
    check.add_argument("--exit-code", action="store_true", help="exit with 1 when something is blocked")
    check.set_defaults(run=run_check)


def _replay_options(replay: argparse.ArgumentParser) -> None:
    formats = "squid, combined, common, json, tsv, or the definition of a logformat (default: told by the first lines)"
    replay.add_argument("logs", nargs="+", metavar="LOG", help="plain, .gz, .bz2, .xz or .zst, or - for stdin")
    replay.add_argument(
        "--against", metavar="FILE", type=_argument(not_empty), help="the policy in force: what would change?"
    )
    replay.add_argument("--log-format", metavar="FORMAT", help=formats)
    replay.add_argument(
        "--with",
        dest="interface",
        choices=("acl", "rewrite"),
        default="acl",
        help=("what would be seen: a rewriter sees no user agent and no content type (default: acl)"),
    )
    replay.add_argument("--json", action="store_true", help="one JSON object")
    replay.add_argument(
        "--html", metavar="FILE", type=_argument(not_empty), help="write a report to look at, in one file"
    )
    replay.add_argument(
        "--jobs", metavar="N", type=_argument(_jobs), default=1, help="processes (default: %(default)s)"
    )
    replay.add_argument("--follow", action="store_true", help="go on with what is added to the last log, until Ctrl-C")
    replay.set_defaults(run=run_replay)


def _compile_options(compiler: argparse.ArgumentParser) -> None:
    compiler.add_argument("-o", dest="output", metavar="PROGRAM", required=True, help="where the program goes")
    compiler.set_defaults(run=run_compile)


def _services_options(services: argparse.ArgumentParser) -> None:
    services.add_argument("names", nargs="*", metavar="NAME", help="a service, or @group")
    services.add_argument("--json", action="store_true", help="one JSON array")
    services.set_defaults(run=run_services)


def _firewall_options(firewall: argparse.ArgumentParser) -> None:
    backends = ("iptables", "ip6tables", "nftables")
    firewall.add_argument(
        "--backend",
        choices=backends,
        required=True,
        help="what the rules are for: iptables-restore, ip6tables-restore, or nft -f",
    )
    what = firewall.add_mutually_exclusive_group()
    what.add_argument(
        "--chains", action="store_true", help="only our own chains and the jumps to them, for a router that has rules"
    )
    what.add_argument(
        "--conntrack", action="store_true", help="not the rules, but the commands that end what is open already"
    )
    firewall.set_defaults(run=run_firewall)


def _squid_conf_options(conf: argparse.ArgumentParser) -> None:
    modes, interfaces = ("explicit", "intercept"), ("acl", "rewrite")
    with_help = "by what Squid asks: external ACL, or URL rewriter (default: acl)"
    mode_help = "how clients reach Squid (default: explicit); how 'intercept' does it, the policy's [firewall] says"
    conf.add_argument("--mode", choices=modes, default="explicit", help=mode_help)
    conf.add_argument("--with", dest="interface", choices=interfaces, default="acl", help=with_help)
    conf.add_argument(
        "--tls-cert",
        metavar="PEM",
        type=_argument(not_empty),
        help="certificate and key for the port that intercepts TLS, which it does not open without",
    )
    version_help = "(default: that of the Squid found here, or 5)"
    conf.add_argument("--squid-version", type=int, choices=(5, 6, 7), help=version_help)
    conf.set_defaults(run=run_squid_conf)


def parse_helper(arguments: list[str]) -> Given:
    """Reads a helper's command line, however it is spelt.

    Raises:
        UsageError: it cannot be understood.
        SystemExit: it asks for help, which is printed.
    """
    given = vars(build_parser().parse_args(arguments))
    return Given(**{field: value for field, value in given.items() if field in Given._fields})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except ImhelperError as error:
        _complain(str(error))
        return _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        _forget_stdout()
        return 0
    except OSError as error:  # stdout: a full disk
        _forget_stdout()
        _complain(error.strerror or str(error))
        return _USAGE


def _run(arguments: list[str]) -> int:
    if is_helper(arguments):
        return start_helper(arguments, parse_helper)
    if sys.stdout is None:
        raise ImhelperError("stdout is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack a character
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = build_parser().parse_args(arguments)
        status: int = options.run(options)
        return status
    finally:  # argparse prints its help and ends
        sys.stdout.flush()


def _complain(text: str) -> None:
    if sys.stderr is not None:  # print() would take stdout instead
        print(f"squid-imhelper: {text}", file=sys.stderr)


def _forget_stdout() -> None:
    """Keeps the interpreter from complaining, at exit, about what it cannot write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _argument(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Returns what reads a word for argparse, which shows the sentence of no other error."""

    def read_word(word: str) -> Any:
        try:
            return read(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_word


def _address(text: str) -> str:
    address = normalise_address(text)
    if address is None:
        raise ValueError(f"'{text}' is no IP address")
    return address


def _jobs(text: str) -> int:
    jobs = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= jobs <= _MOST_JOBS:
        raise ValueError(f"1 to {_MOST_JOBS} processes")
    return jobs
