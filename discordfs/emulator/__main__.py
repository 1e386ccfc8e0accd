"""`python -m discordfs.emulator --dir DIR [--port N] [--seed] [--set KEY=VALUE …]`.

The first line on standard output is JSON: api, gateway, cdn, token, guild_id, channel_ids. Ends at SIGTERM
or SIGINT with 0; 1 if it cannot run, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from . import DirectoryBusy, NewerFormat, Settings, SettingsError, run


def main() -> int:
    """Parses the arguments and serves; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m discordfs.emulator", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="where the state is kept")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", action="store_true", help="fill a new server")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting")
    arguments = parser.parse_args()
    try:
        settings = Settings.parse(arguments.set)
    except SettingsError as error:
        parser.error(str(error))
    try:
        run(arguments.dir, arguments.port, settings, arguments.seed, ready=_announce)
    except (DirectoryBusy, NewerFormat, OSError) as error:
        print(f"emulator: {error}", file=sys.stderr)
        return 1
    return 0


def _announce(address: Mapping[str, object]) -> None:
    print(json.dumps(address), flush=True)


if __name__ == "__main__":
    sys.exit(main())
