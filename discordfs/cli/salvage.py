"""`discordfs salvage`: leaves a channel that dies, with everything that can be had from it.

Threading: the main thread. Ctrl-C ends it at any point: the same command goes on later.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from discordfs import control
from discordfs.cli.common import (
    DAMAGED,
    DONE,
    human,
    json_option,
    passphrase_option,
    state_of,
    state_option,
)
from discordfs.cli.unmounted import Unmounted, take
from discordfs.compose import Connection, connect, open_drive
from discordfs.config import Config, StateDirectory, Volume
from discordfs.disk import boot_id
from discordfs.errors import BusyError, Forbidden, MissingError
from discordfs.index import Index
from discordfs.logreading import LogReader
from discordfs.model import Caller
from discordfs.remote import setup
from discordfs.remote.retrying import RetryingApi
from discordfs.salvage import Salvaged, Salvager, check_sources, lost_files, rescue, stored_in

ASK_TIMEOUT_S = 120.0
_SHOWN = 100  # files, on a terminal


@click.command()
@click.option("--to", "to", type=int, required=True, help="The channel that takes what can be had.")
@click.option(
    "--from",
    "sources",
    type=int,
    multiple=True,
    help="The channel to leave (default: those of the volume that are gone or closed to the bot).",
)
@json_option
@passphrase_option
@state_option
@click.pass_context
def salvage(
    context: click.Context,
    to: int,
    sources: tuple[int, ...],
    as_json: bool,
    passphrase_file: Path | None,
    state_dir: Path | None,
) -> None:
    """Copies what lies in a dying channel to another one, byte for byte, and has the volume go on there; its
    log too, if that was in it. The volume must not be mounted. Exit code 4: some bytes could not be saved."""
    state = state_of(state_dir)
    _refuse_if_mounted(state)
    with ExitStack() as undo:
        volume = take(state, passphrase_file, undo)
        leaving, result = _move(state, volume, sources, to)
        if leaving:
            _go_on(state, volume, leaving, to, result)
    if as_json:
        click.echo(json.dumps(_as_json(leaving, result)))
    else:
        _show(leaving, to, result)
    context.exit(DAMAGED if result.lost or result.damaged else DONE)


def _refuse_if_mounted(state: StateDirectory) -> None:
    try:
        mounted = control.call(state.path, "status")["mountpoint"]
    except MissingError:
        return
    raise BusyError(f"{mounted} is mounted: 'discordfs umount --no-drain {mounted}' first")


# --- moving -------------------------------------------------------------------------------------------


def _move(
    state: StateDirectory, volume: Unmounted, given: Sequence[int], to: int
) -> tuple[Collection[int], Salvaged]:
    """The channels that were left, with all that could be copied in the new one; none when none is dying."""
    config = volume.config
    with ExitStack() as undo:
        free = state.free_bytes()
        cache = config.settings.cache_bytes(free)
        there = connect(undo, volume.account, volume.keys, config.volume.uid, state.cache, cache)
        owner = Caller(os.geteuid(), os.getegid())
        index = Index(state.index_file, time.time_ns(), owner, boot_id(), state.staging)
        undo.callback(index.close)
        leaving = _sources(there, config.volume, given, to)
        if not leaving:
            return (), Salvaged()
        folder = state.path / "salvage"
        salvager = Salvager(index, there.chunks, state.index_file, folder, leaving, to, _tell)
        salvager.check_writer(LogReader(there.chunks, config.volume.log_channel))
        salvager.copy()
        state.save(Config(salvager.switch(config.volume), config.settings))
    return leaving, salvager.result


def _sources(there: Connection, volume: Volume, given: Sequence[int], to: int) -> frozenset[int]:
    api = RetryingApi(there.remote)

    def problems(channel: int) -> list[str]:
        found: list[str] = there.loop.call(setup.check_channel(api, channel), ASK_TIMEOUT_S)
        return found

    if trouble := problems(to):
        raise Forbidden(f"nothing can be moved there: {'; '.join(trouble)}")
    if given:
        check_sources(given, to)
        return frozenset(given)
    dying = {channel: said for channel in volume.channels if channel != to and (said := problems(channel))}
    for said in dying.values():
        _tell("; ".join(said))
    return frozenset(dying)


def _go_on(
    state: StateDirectory, volume: Unmounted, leaving: Collection[int], to: int, result: Salvaged
) -> None:
    """The drive says where everything is now; what only the cache had goes out anew."""
    config = state.load()
    _tell("telling the log")
    drive = open_drive(state, config, config.settings, volume.account, volume.keys)
    try:
        parts = drive.doctor.parts
        left = stored_in(state.index_file, leaving, to)
        result.rescued_bytes = rescue(parts, left, _tell)
    finally:
        drive.close()
    result.lost = lost_files(state.index_file, leaving, to)


# --- what is said ---------------------------------------------------------------------------------------


def _tell(text: str) -> None:
    click.echo(f"salvage: {text}", err=True)


def _as_json(leaving: Collection[int], result: Salvaged) -> dict[str, object]:
    return {
        "channels": sorted(leaving),
        "moved_chunks": result.moved_chunks,
        "moved_bytes": result.moved_bytes,
        "rescued_bytes": result.rescued_bytes,
        "lost": list(result.lost),
        "damaged": sorted(result.damaged),
    }


def _show(leaving: Collection[int], to: int, result: Salvaged) -> None:
    if not leaving:
        click.echo("all channels of the volume can be used: name the one to leave with --from")
        return
    click.echo(
        f"{result.moved_chunks} chunks ({human(result.moved_bytes)}) moved to channel {to}, "
        f"{human(result.rescued_bytes)} from the cache"
    )
    for what, paths in (("lost are bytes of", result.lost), ("damaged already", sorted(result.damaged))):
        for path in paths[:_SHOWN]:
            click.echo(f"{what}: {path}")
        if len(paths) > _SHOWN:
            click.echo(f"and {len(paths) - _SHOWN} more (--json names all)")
