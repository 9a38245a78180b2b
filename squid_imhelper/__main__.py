"""`python -m squid_imhelper`, and the console script.

A SIGHUP that comes while a helper still reads its modules would end it, and Squid with it: it waits until
`Chores.install` lets it through.
"""

import gc
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from squid_imhelper.helper.options import Given


def main() -> int:
    """Runs one command and returns its exit status."""
    gc.disable()  # while modules are read: nothing of them is garbage
    if {"acl", "rewrite"} & set(sys.argv):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGUSR1})
    try:
        from squid_imhelper.helper import options

        if options.is_helper(sys.argv[1:]):  # for which Squid waits: it needs nothing of the other commands
            from squid_imhelper.helper.starting import start_helper

            return start_helper(sys.argv[1:], _parse)
        from squid_imhelper import cli

        gc.enable()
        return cli.main()
    except KeyboardInterrupt:  # while modules are still read
        return 130


def _parse(arguments: list[str]) -> "Given":
    from squid_imhelper import cli

    return cli.parse_helper(arguments)


if __name__ == "__main__":
    sys.exit(main())
