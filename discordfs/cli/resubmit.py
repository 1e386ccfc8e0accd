"""`discordfs resubmit`: what only this machine has of a volume that another one took over, saved and put
back.

The order: each file whole into stranded/DATE in the state directory; then the old index and what was staged
go aside, whole, to stranded/DATE.before; then the index is built anew from the log; then the files are put
into the drive (or a directory), beside what is there; and once they are on Discord, all that was saved goes.
Begun again after an interruption it goes on where it was. Threading: the main thread.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from discordfs import control, registry
from discordfs.cli.common import (
    absolute,
    passphrase_option,
    shown_drain,
    shown_progress,
    state_of,
    state_option,
)
from discordfs.cli.unmounted import Unmounted, take
from discordfs.compose import OpenDrive, connect, open_drive
from discordfs.config import StateDirectory, StateLock
from discordfs.copying import Tree
from discordfs.disk import boot_id, sync_directory
from discordfs.errors import BusyError, Damaged, MissingError, UsageError
from discordfs.index import Index
from discordfs.localtree import LocalTree
from discordfs.logreading import LogReader
from discordfs.model import Caller
from discordfs.recovery import build_index, read_log
from discordfs.remote.retrying import RetryingApi
from discordfs.remote.setup import sees_others, who_am_i
from discordfs.stranded import (
    BEFORE,
    PutBack,
    discard,
    free_place,
    pending,
    read_manifest,
    save,
    stranded_paths,
    sweep,
)
from discordfs.tenure import Role, Wish

ASK_TIMEOUT_S = 120.0


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Say which files these are, and do nothing.")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Copy them into this directory, such as the drive mounted elsewhere here.",
)
@click.option("--take-over", is_flag=True, help="Become the volume's writer to put them back.")
@passphrase_option
@state_option
def resubmit(
    only_list: bool, to: Path | None, take_over: bool, passphrase_file: Path | None, state_dir: Path | None
) -> None:
    """Saves the files that only this machine has after another one took the volume over, and puts them back.
    What is there already is never overwritten: the file gets a name beside it."""
    state = state_of(state_dir)
    if only_list:
        for path in _listed(state):
            click.echo(os.fsencode(path))
        return
    if to is not None and take_over:
        raise UsageError("--to copies the files elsewhere, so nothing has to be taken over")
    with ExitStack() as undo:
        volume = take(state, passphrase_file, undo)
        sweep(_home(state))
        _save(state, volume)
        if not pending(_home(state)):
            click.echo("there is nothing that only this machine has")
            return
        problems = [text for saved in pending(_home(state)) for text in read_manifest(saved)[1]]
        _rebuild(state, volume)
        if to is None:
            _put_into_drive(state, volume, take_over)
        else:
            _put_into_directory(state, to)
    if problems:
        raise Damaged(f"{'; '.join(problems)} (what was staged and the old index are kept in {_home(state)})")


# --- which ------------------------------------------------------------------------------------------------


def _listed(state: StateDirectory) -> list[str]:
    """Of a mount, or of a state directory without one; what is saved already as well."""
    try:
        found: list[str] = control.call(state.path, "stranded")
        return found
    except MissingError:
        state.load()
    with StateLock(state):
        saved = [
            os.fsdecode(entry.path)
            for folder in pending(_home(state))
            for entry in read_manifest(folder)[0]
            if not entry.is_parent
        ]
        return sorted({*saved, *_unsaved(state)})


def _unsaved(state: StateDirectory) -> list[str]:
    if not state.index_file.exists():
        return []
    owner = Caller(os.geteuid(), os.getegid())
    index = Index(state.index_file, time.time_ns(), owner, boot_id(), state.staging)
    try:
        book = index.logbook
        is_ours = book.state().owner == book.me and not book.is_lost()
        is_new = not book.state().epoch
        return [] if is_ours or is_new else [os.fsdecode(path) for path in stranded_paths(index)]
    finally:
        index.close()


def _home(state: StateDirectory) -> Path:
    return state.path / "stranded"


# --- saving -----------------------------------------------------------------------------------------------


def _save(state: StateDirectory, volume: Unmounted) -> None:
    """Saves what the index here has and no other machine; then the index goes aside."""
    if not state.index_file.exists():
        return
    drive = _open(state, volume, Wish.READ)
    try:
        if drive.standing.role is not Role.LOSER:
            return
        paths = stranded_paths(drive.index)
        place = free_place(_home(state), f"{datetime.now():%Y-%m-%d-%H%M%S}")
        with shown_progress("saving", "files") as progress:
            problems = save(drive.drive, paths, place, progress)
    finally:
        drive.close()
    click.echo(f"{len(paths) - len(problems)} files are saved in {place}", err=True)
    _set_aside(state, place.with_name(place.name + BEFORE))


def _set_aside(state: StateDirectory, aside: Path) -> None:
    """The index first: without it nobody looks for what is staged."""
    aside.mkdir(mode=0o700, exist_ok=True)
    index = state.index_file
    for name in (f"{index.name}-wal", f"{index.name}-shm", index.name):
        if (index.parent / name).exists():
            (index.parent / name).rename(aside / name)
    for place in (state.staging, state.outbox):
        if place.is_dir():
            place.rename(aside / place.name)
    sync_directory(aside)
    sync_directory(state.path)


def _open(state: StateDirectory, volume: Unmounted, wish: Wish) -> OpenDrive:
    settings = volume.config.settings
    return open_drive(state, volume.config, settings, volume.account, volume.keys, wish=wish, progress=_tell)


def _tell(text: str) -> None:
    click.echo(text, err=True)


# --- the index anew ---------------------------------------------------------------------------------------


def _rebuild(state: StateDirectory, volume: Unmounted) -> None:
    """From the log, where the index went aside; also in a run that was interrupted then."""
    if state.index_file.exists():
        return
    newest = pending(_home(state))[-1]
    _set_aside(state, newest.with_name(newest.name + BEFORE))
    with ExitStack() as undo:
        there = connect(undo, volume.account, volume.keys, volume.config.volume.uid, None, 0)
        api = RetryingApi(there.remote)
        me = there.loop.call(who_am_i(api), ASK_TIMEOUT_S).id
        sees = there.loop.call(sees_others(api), ASK_TIMEOUT_S)
        progress = undo.enter_context(shown_progress("reading the log", "records"))
        reader = LogReader(there.chunks, volume.config.volume.log_channel, progress)
        look = read_log(there.chunks, reader, me, sees)
        owner = Caller(os.geteuid(), os.getegid())
        recovered = build_index(state.index_file, reader, look, owner, time.time_ns())
    for problem in recovered.problems:
        _tell(f"note: {problem}")


# --- putting back -----------------------------------------------------------------------------------------


def _put_into_drive(state: StateDirectory, volume: Unmounted, take_over: bool) -> None:
    try:
        drive = _open(state, volume, Wish.TAKE_OVER if take_over else Wish.WRITE)
    except BusyError as error:
        raise BusyError(
            f"{error}. The files are saved in {_home(state)}: 'discordfs resubmit --take-over' puts them "
            "into the drive, 'discordfs resubmit --to DIRECTORY' elsewhere"
        ) from error
    try:
        for saved in pending(_home(state)):
            _put(saved, drive.drive, strictly=True)
        with shown_drain() as show:
            drive.barrier({"verify": True}, show)
        if not drive.is_writer:
            raise BusyError(f"{drive.uploader.lost}: the files stay in {_home(state)}")
        for saved in pending(_home(state)):
            discard(saved)
    finally:
        drive.close()


def _put_into_directory(state: StateDirectory, to: Path) -> None:
    to = to.resolve()
    if to == state.path or state.path in to.parents:
        raise UsageError(f"{to} lies inside the state directory")
    tree = LocalTree(to)
    for saved in pending(_home(state)):
        _put(saved, tree, strictly=os.geteuid() == 0)
    if tree.left_out:
        _tell(f"not kept in {to}: {', '.join(sorted(tree.left_out))}")
    os.sync()
    for mount in registry.running():
        if absolute(str(to)).startswith((mount.mountpoint, f"{mount.mountpoint}/")):
            with shown_drain() as show:
                _check_taken(control.call(Path(mount.state_dir), "barrier", {"verify": True}, show))
    for saved in pending(_home(state)):
        discard(saved)


def _check_taken(answer: dict[str, Any]) -> None:
    if answer["lost"]:
        raise BusyError(answer["lost"])


def _put(saved: Path, target: Tree, strictly: bool) -> None:
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
    suffix = f".resubmitted-{host}-{saved.name}".encode()
    with shown_progress("putting back", "files") as progress:
        places = PutBack(saved, target, suffix, strictly).run(progress)
    for line in _described(places):
        click.echo(line)


def _described(places: dict[bytes, bytes]) -> Iterator[bytes]:
    for path, place in places.items():
        yield path if path == place else path + b" lies beside what is there, as " + place
