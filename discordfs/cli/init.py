"""`discordfs init`: checks token and permissions, makes or takes channels, makes the key, prints the sheet.

Threading: the main thread.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click

from discordfs.cli import volumes
from discordfs.cli.common import state_of, state_option
from discordfs.cli.passphrase import is_interactive, new_passphrase
from discordfs.compose import Account
from discordfs.config import StateDirectory, StateLock, Volume, api_of
from discordfs.keys import Passphrase, protection
from discordfs.recoverycode import encode_recovery_code, lines_of_code
from discordfs.registry import runtime_dir
from discordfs.tokens import find_token


@click.command()
@click.option(
    "--channel", "channels", type=int, multiple=True, help="Use this channel; the first is the log."
)
@click.option("--guild", type=int, help="Make the channels in this server.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Holds a passphrase for the key file. Without it a terminal asks; elsewhere none is set.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts; asks nothing.")
@state_option
def init(
    channels: tuple[int, ...],
    guild: int | None,
    passphrase_file: Path | None,
    as_json: bool,
    state_dir: Path | None,
) -> None:
    """Makes a volume: channels on Discord, a key here. Prints once the recovery code, which is that key."""
    state = state_of(state_dir)
    volumes.check_free(state)
    account = Account(api_of(os.environ), find_token(os.environ, state.path), runtime_dir(os.geteuid()))
    passphrase = _passphrase(passphrase_file, may_ask=not as_json)
    protected = protection(passphrase, os.urandom) if passphrase else None
    server, chosen = volumes.choose_channels(account, channels, guild)
    key = volumes.new_key()
    state.create()
    with StateLock(state):
        volumes.check_free(state)
        config = volumes.make_volume(
            state, server, chosen, key, api=account.api, name="discordfs", protected=protected
        )
    show = _show_json if as_json else _show_sheet
    show(state, config.volume, encode_recovery_code(key))


def _passphrase(file: Path | None, *, may_ask: bool) -> Passphrase | None:
    """Before anything is made, so that a mistake leaves nothing behind."""
    if file is None and not (may_ask and is_interactive()):
        return None
    return new_passphrase(file, "--passphrase-file", optional=True)


def _show_json(state: StateDirectory, volume: Volume, code: str) -> None:
    told = {
        "volume": volume.id,
        "channels": [str(each) for each in volume.channels],
        "key_file": str(state.key_file),
        "recovery_code": code,
    }
    click.echo(json.dumps(told))


def _show_sheet(state: StateDirectory, volume: Volume, code: str) -> None:
    command = ["discordfs", "recover"]
    command += [part for channel in volume.channels for part in ("--channel", str(channel))]
    indented = "\n".join(f"    {line}" for line in lines_of_code(code))
    click.echo(
        f"""\
volume    {volume.id}
channels  {" ".join(map(str, volume.channels))} (the first is the log)
key file  {state.key_file}

Recovery code, shown this once. Print this sheet and keep it apart from this machine. Whoever has the code can
read everything, without any passphrase; without code and key file nobody can, you included.

{indented}

To have the drive back on an empty machine, with a token of the same bot in DISCORD_TOKEN, type the code into

    {shlex.join(command)}"""
    )
