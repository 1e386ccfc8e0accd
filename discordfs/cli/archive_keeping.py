"""`discordfs archive --to-drive`: the archive kept on the volume.

Through the mount where there is one, else through the drive, opened for as long as it takes. Threading: the
main thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from discordfs import control
from discordfs.archived.ondrive import PLACE, Copied, keep
from discordfs.cli.common import human, shown_drain, shown_progress
from discordfs.cli.unmounted import take
from discordfs.compose import open_drive
from discordfs.config import StateDirectory
from discordfs.copying import Tree
from discordfs.errors import BusyError, Damaged, MissingError
from discordfs.localtree import LocalTree
from discordfs.model import Caller

KEPT = f"It is kept on the volume too, in {os.fsdecode(PLACE)}: 'discordfs recover' brings it back."
_SHOWN = 5


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
    """Returns once everything is on Discord, and verified there. Raises Damaged when something that is there
    already has changed here."""
    mounted = _mountpoint(state)
    if mounted is not None:
        copied = _keep(root, LocalTree(mounted))
        with shown_drain() as show:
            _check_taken(control.call(state.path, "barrier", {"verify": True}, show))
    else:
        with ExitStack() as undo:
            volume = take(state, None, undo)
            drive = open_drive(state, volume.config, volume.config.settings, volume.account, volume.keys)
            undo.callback(drive.close)
            copied = _keep(root, drive.drive)
            with shown_drain() as show:
                _check_taken(drive.barrier({"verify": True}, show))
    _check_unchanged(root, copied)


def _keep(root: Path, drive: Tree) -> Copied:
    with shown_progress("to the drive", "files") as progress:
        copied = keep(root, drive, Caller(os.geteuid(), os.getegid()), progress)
    click.echo(f"{copied.files} files ({human(copied.bytes)}) went to the drive", err=True)
    return copied


def _check_taken(answer: Mapping[str, Any]) -> None:
    if answer["lost"]:
        raise BusyError(f"not everything could be kept on the volume: {answer['lost']}")


def _check_unchanged(root: Path, copied: Copied) -> None:
    if not copied.others:
        return
    shown = ", ".join(copied.others[:_SHOWN])
    more = f" and {len(copied.others) - _SHOWN} more" if len(copied.others) > _SHOWN else ""
    raise Damaged(
        f"files in {root} have changed that never should: {shown}{more}. What the volume has of them, in"
        f" {os.fsdecode(PLACE)}, was left as it is: copy it over them"
    )
