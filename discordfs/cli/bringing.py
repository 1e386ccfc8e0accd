"""What `recover` brings back beside the drive: the archive and the catalogue of clips, where the volume keeps
them.

Threading: the main thread.
"""

from __future__ import annotations

import os
import time

import click

from discordfs.archived import ondrive
from discordfs.cli.archive_reading import refresh_views
from discordfs.cli.common import human, shown_progress
from discordfs.clipping import keeping
from discordfs.compose import Account, open_drive
from discordfs.config import StateDirectory
from discordfs.copying import Tree
from discordfs.disk import boot_id
from discordfs.errors import DiscordfsError
from discordfs.index import Index
from discordfs.keys import VolumeKeys
from discordfs.model import ROOT_INO, Caller
from discordfs.tenure import Wish

_ARCHIVE, _CLIPS = ondrive.PLACE[1:], os.fsencode(keeping.DRIVE)


def bring_from_volume(state: StateDirectory, account: Account, keys: VolumeKeys) -> str:
    """Brings back what the volume has, with an archive's views; the caller holds the state directory's lock.
    Returns what did not go well, in a sentence."""
    kept = _kept(state)
    if not kept:
        return ""
    config = state.load()
    try:
        drive = open_drive(state, config, config.settings, account, keys, wish=Wish.READ)
        try:
            if _ARCHIVE in kept:
                _bring_archive(drive.drive, state)
            if _CLIPS in kept and keeping.bring_back(drive.drive, state.clips):
                click.echo("the catalogue of clips is back; what was kept of them is on the drive")
        finally:
            drive.close()
    except (DiscordfsError, OSError) as error:
        place = os.fsdecode(ondrive.PLACE)
        return (
            f"the archive or the catalogue of clips is not back ({error}):"
            f" 'discordfs archive import MOUNTPOINT{place}' goes on with the archive"
        )
    if _ARCHIVE in kept:
        refresh_views(state.archive)
    return ""


def _bring_archive(drive: Tree, state: StateDirectory) -> None:
    with shown_progress("bringing the archive back", "files") as progress:
        copied = ondrive.bring_back(drive, state.archive, progress)
    click.echo(f"the archive is back: {copied.files} files, {human(copied.bytes)}")


def _kept(state: StateDirectory) -> set[bytes]:
    """Which of the two the drive has, by the index alone."""
    owner = Caller(os.geteuid(), os.getegid())
    index = Index(state.index_file, time.time_ns(), owner, boot_id(), state.staging)
    try:
        return {name for name in (_ARCHIVE, _CLIPS) if index.lookup(ROOT_INO, name) is not None}
    finally:
        index.close()
