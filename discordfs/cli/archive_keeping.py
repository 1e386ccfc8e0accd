"""`discordfs archive --to-drive`: the archive kept on the volume, and brought back by `recover`.

Through the mount where there is one, else through the drive, opened for as long as it takes. Threading: the
main thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from discordfs import control
from discordfs.archived.ondrive import PLACE, Copied, bring_back, keep
from discordfs.cli.archive_reading import refresh_views
from discordfs.cli.common import human, shown_drain, shown_progress
from discordfs.cli.unmounted import take
from discordfs.compose import Account, open_drive
from discordfs.config import StateDirectory
from discordfs.copying import Tree
from discordfs.disk import boot_id
from discordfs.errors import BusyError, DiscordfsError, MissingError
from discordfs.index import Index
from discordfs.keys import VolumeKeys
from discordfs.localtree import LocalTree
from discordfs.model import ROOT_INO, Caller
from discordfs.tenure import Wish

KEPT = f"It is kept on the volume too, in {os.fsdecode(PLACE)}: 'discordfs recover' brings it back."


def check_volume(state: StateDirectory) -> None:
    """Before anything is captured: whether there is a volume here that takes it. Raises MissingError,
    BusyError."""
    state.load()
    _mountpoint(state)


def _mountpoint(state: StateDirectory) -> Path | None:
    try:
        status = control.call(state.path, "status")
    except MissingError:
        return None
    if not status["writer"]:
        raise BusyError(
            f"{status['mountpoint']} is read-only ({status['holder']}): nothing can be kept there"
        )
    return Path(status["mountpoint"])


def keep_on_drive(state: StateDirectory, root: Path) -> None:
    """Returns once everything is on Discord, and verified there."""
    mounted = _mountpoint(state)
    if mounted is not None:
        _told(_keep(root, LocalTree(mounted)))
        with shown_drain() as show:
            _check_taken(control.call(state.path, "barrier", {"verify": True}, show))
        return
    with ExitStack() as undo:
        volume = take(state, None, undo)
        drive = open_drive(state, volume.config, volume.config.settings, volume.account, volume.keys)
        undo.callback(drive.close)
        _told(_keep(root, drive.drive))
        with shown_drain() as show:
            _check_taken(drive.barrier({"verify": True}, show))


def _keep(root: Path, drive: Tree) -> Copied:
    with shown_progress("to the drive", "files") as progress:
        return keep(root, drive, Caller(os.geteuid(), os.getegid()), progress)


def _told(copied: Copied) -> None:
    click.echo(f"{copied.files} files ({human(copied.bytes)}) went to the drive", err=True)


def _check_taken(answer: Mapping[str, Any]) -> None:
    if answer["lost"]:
        raise BusyError(f"not everything could be kept on the volume: {answer['lost']}")


def bring_from_volume(state: StateDirectory, account: Account, keys: VolumeKeys) -> str:
    """What the volume has of an archive, with its views; the caller holds the state directory's lock. Returns
    what did not go well, in a sentence."""
    if not _has_archive(state):
        return ""
    config, root = state.load(), state.archive
    try:
        drive = open_drive(state, config, config.settings, account, keys, wish=Wish.READ)
        try:
            with shown_progress("bringing the archive back", "files") as progress:
                copied = bring_back(drive.drive, root, progress)
        finally:
            drive.close()
    except (DiscordfsError, OSError) as error:
        place = os.fsdecode(PLACE)
        return f"the archive is not back ({error}): 'discordfs archive import MOUNTPOINT{place}' goes on"
    refresh_views(root)
    click.echo(f"the archive is back: {copied.files} files, {human(copied.bytes)}")
    return ""


def _has_archive(state: StateDirectory) -> bool:
    owner = Caller(os.geteuid(), os.getegid())
    index = Index(state.index_file, time.time_ns(), owner, boot_id(), state.staging)
    try:
        return index.lookup(ROOT_INO, PLACE[1:]) is not None
    finally:
        index.close()
