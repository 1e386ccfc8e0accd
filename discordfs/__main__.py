"""`python -m discordfs`: the same as `discordfs`."""

import sys

from discordfs.cli import main

if __name__ == "__main__":
    sys.exit(main())
