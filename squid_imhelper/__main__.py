"""`python -m squid_imhelper`, and the console script.

A SIGHUP that comes while a helper still reads its modules would end it, and Squid with it: it waits until
`Chores.install` lets it through.
"""

import signal
import sys


def main() -> int:
    """Runs one command and returns its exit status."""
    if {"acl", "rewrite"} & set(sys.argv):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGUSR1})
    try:
        from squid_imhelper import cli

        return cli.main()
    except KeyboardInterrupt:  # while modules are still read
        return 130


if __name__ == "__main__":
    sys.exit(main())
