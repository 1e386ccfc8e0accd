"""`discordfs emulator`: Discord on loopback, alone.

Threading: the main thread serves; with --until-eof another watches standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import click

from discordfs.cli.common import state_option
from discordfs.errors import BusyError, FormatError, UsageError


@click.command()
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), required=True, help="Its data."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.")
@click.option("--seed", is_flag=True, help="Fill a new server with people, channels and messages.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting, such as rate_limits=off."
)
@click.option("--until-eof", is_flag=True, help="End when standard input does.")
@state_option
def emulator(
    directory: Path,
    port: int,
    seed: bool,
    settings: tuple[str, ...],
    until_eof: bool,
    state_dir: Path | None,
) -> None:
    """Runs the emulator of Discord until Ctrl-C. Its first line is JSON: where it is, and a token."""
    from discordfs.emulator import DirectoryBusy, NewerFormat, Settings, SettingsError, run

    if until_eof:
        threading.Thread(target=_end_with_stdin, name="until-eof", daemon=True).start()
    try:
        run(directory, port, Settings.parse(settings), seed, _announce)
    except SettingsError as error:
        raise UsageError(str(error)) from error
    except DirectoryBusy as error:
        raise BusyError(str(error)) from error
    except NewerFormat as error:
        raise FormatError(str(error)) from error


def _announce(address: Mapping[str, object]) -> None:
    print(json.dumps(address), flush=True)


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
