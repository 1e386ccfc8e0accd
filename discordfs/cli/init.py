"""`discordfs init`: checks token and permissions, makes or takes channels, makes the key.

Threading: the main thread.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from discordfs.cli import volumes
from discordfs.cli.common import state_of, state_option
from discordfs.compose import Account
from discordfs.config import Config, StateDirectory, StateLock, api_of
from discordfs.registry import runtime_dir
from discordfs.tokens import find_token


@click.command()
@click.option(
    "--channel", "channels", type=int, multiple=True, help="Use this channel; the first is the log."
)
@click.option("--guild", type=int, help="Make the channels in this server.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@state_option
def init(channels: tuple[int, ...], guild: int | None, as_json: bool, state_dir: Path | None) -> None:
    """Makes a volume: channels on Discord, a key here."""
    state = state_of(state_dir)
    volumes.check_free(state)
    account = Account(api_of(os.environ), find_token(os.environ, state.path), runtime_dir(os.geteuid()))
    server, chosen = volumes.choose_channels(account, channels, guild)
    state.create()
    with StateLock(state):
        volumes.check_free(state)
        config = volumes.make_volume(state, server, chosen, api=account.api, name="discordfs")
    _show(state, config, as_json)


def _show(state: StateDirectory, config: Config, as_json: bool) -> None:
    volume = config.volume
    if as_json:
        told = {
            "volume": volume.id,
            "channels": [str(each) for each in volume.channels],
            "key_file": str(state.key_file),
            "recovery_code": None,
        }
        click.echo(json.dumps(told))
        return
    click.echo(f"volume    {volume.id}")
    click.echo(f"channels  {' '.join(map(str, volume.channels))} (the first is the log)")
    click.echo(f"key file  {state.key_file}")
    click.echo("Keep a copy of the key file somewhere else: without it nobody can read this volume.")
