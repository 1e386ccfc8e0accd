"""`discordfs key`: what can be done to a volume's key file.

The master key never changes, so all of it works while the volume is mounted: the mount has its keys.
Threading: the main thread.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from discordfs.cli.common import state_of, state_option
from discordfs.cli.passphrase import new_passphrase, unlock
from discordfs.errors import UsageError
from discordfs.keys import is_protected, protection, write_key_file

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(no_args_is_help=False)
def key() -> None:
    """The volume's key file."""


@key.command()
@click.option(
    "--passphrase-file", type=FILE, metavar="OLD", help="Holds the present passphrase, if there is one."
)
@click.option("--new-passphrase-file", type=FILE, metavar="NEW", help="Holds the new passphrase.")
@click.option("--remove", is_flag=True, help="Leave the key file without a passphrase.")
@state_option
def passphrase(
    passphrase_file: Path | None, new_passphrase_file: Path | None, remove: bool, state_dir: Path | None
) -> None:
    """Sets, changes or removes the key's passphrase; asks for what no file holds. Works while the volume is
    mounted."""
    if remove and new_passphrase_file is not None:
        raise UsageError("--remove and --new-passphrase-file exclude each other")
    state = state_of(state_dir)
    volume = state.load().volume
    had_one = is_protected(state.key_file)
    unlocked = unlock(state.key_file, volume.uid, passphrase_file, "--passphrase-file")
    new = None if remove else new_passphrase(new_passphrase_file, "--new-passphrase-file")
    protected = None if new is None else protection(new, os.urandom)
    write_key_file(state.key_file, unlocked, protected=protected, replace=True)
    click.echo(_said(state.key_file, had_one, new is not None))


def _said(path: Path, had_one: bool, has_one: bool) -> str:
    if not has_one:
        return f"{path} needs no passphrase" + (" any more" if had_one else ", as before")
    changed = f"{path} has {'another' if had_one else 'a'} passphrase now"
    return f"{changed}; copies of it that were made before keep what they had"
