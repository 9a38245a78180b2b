"""`python -m squid_imhelper`, and the console script."""

import sys

from squid_imhelper.cli import main

if __name__ == "__main__":
    sys.exit(main())
