"""`python mount.py MOUNTPOINT …`: the same as `discordfs mount MOUNTPOINT …`."""

import sys

from discordfs.cli import main

if __name__ == "__main__":
    sys.exit(main(["mount", *sys.argv[1:]]))
