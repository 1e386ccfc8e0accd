"""`discordfs gc`: frees what nothing refers to, now; the mount does it if there is one.

Threading: the main thread. Ctrl-C ends it at any point: what is done stands.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from discordfs import control, registry
from discordfs.cli.common import (
    absolute,
    complain,
    human,
    json_option,
    passphrase_option,
    state_of,
    state_option,
)
from discordfs.cli.unmounted import take
from discordfs.compose import connect, open_drive, volume_entry
from discordfs.config import StateDirectory
from discordfs.disk import boot_id
from discordfs.errors import MissingError
from discordfs.gc.chores import preview_of
from discordfs.index import Index
from discordfs.model import Caller


@click.command()
@click.argument("mountpoint", type=click.Path(), required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--all", "all_", is_flag=True, help="Also what is from before this machine wrote the volume.")
@json_option
@passphrase_option
@state_option
def gc(
    mountpoint: str | None,
    dry_run: bool,
    all_: bool,
    as_json: bool,
    passphrase_file: Path | None,
    state_dir: Path | None,
) -> None:
    """Frees what nothing refers to on Discord: looks for it, condemns it, and deletes what was condemned
    longer than gc_grace ago; moves what is left of chunks that are hardly used. A mount does all of that by
    itself in idle hours."""
    place = registry.find(absolute(mountpoint)).state_dir if mountpoint is not None else None
    state = StateDirectory(Path(place)) if place is not None else state_of(state_dir)
    done = _ask_or_do(state, {"dry_run": dry_run, "all": all_}, passphrase_file)
    if as_json:
        click.echo(json.dumps(done))
    else:
        _show(done)


def _ask_or_do(
    state: StateDirectory, how: Mapping[str, bool], passphrase_file: Path | None
) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = control.call(state.path, "gc", how, _Progress().update)
        return answer
    except MissingError:  # nothing is mounted: this process owns the volume for a while
        return (_look if how["dry_run"] else _do)(state, how, passphrase_file)


def _do(state: StateDirectory, how: Mapping[str, bool], passphrase_file: Path | None) -> dict[str, Any]:
    with ExitStack() as undo:
        volume = take(state, passphrase_file, undo)
        drive = open_drive(state, volume.config, volume.config.settings, volume.account, volume.keys)
        undo.callback(drive.close)
        return drive.gc(how, _Progress().update)


def _look(state: StateDirectory, how: Mapping[str, bool], passphrase_file: Path | None) -> dict[str, Any]:
    """Without an uploader: even what waits in the queue stays where it is."""
    with ExitStack() as undo:
        volume = take(state, passphrase_file, undo)
        config = volume.config
        there = connect(undo, volume.account, volume.keys, config.volume.uid, None, 0)
        if not state.index_file.exists():
            raise MissingError(f"the index {state.index_file} is missing: 'discordfs recover' builds it anew")
        owner = Caller(os.geteuid(), os.getegid())
        index = Index(state.index_file, time.time_ns(), owner, boot_id(), state.staging)
        undo.callback(index.close)
        entry, grace = volume_entry(config.volume), config.settings.gc_grace
        return asdict(preview_of(index, there.chunks, entry, grace, _Progress().update, how["all"]))


class _Progress:
    """A line for each thing that is begun."""

    def __init__(self) -> None:
        self._last = ""

    def update(self, news: Mapping[str, Any]) -> None:
        doing = news.get("doing", self._last)
        if doing != self._last:
            click.echo(f"{doing} …", err=True)
            self._last = doing


def _show(done: Mapping[str, Any]) -> None:
    would = "would be " if done["dry_run"] else ""
    click.echo(f"{_messages(done, 'deleted')} {would}deleted")
    click.echo(f"{_messages(done, 'found')} to which nothing refers {would}condemned")
    click.echo(f"{human(done['moved_bytes'])} in {_count(done['moved_files'], 'file')} {would}moved")
    if done["condemned_messages"]:
        click.echo(f"{_messages(done, 'condemned')} condemned, to be deleted by {done['deleted_after']}")
    if done["older_messages"]:
        click.echo(
            f"{_messages(done, 'older')} from before this machine wrote the volume left alone: "
            "--all takes them as well"
        )
    if done["foreign_messages"]:
        click.echo(f"{_count(done['foreign_messages'], 'message')} of other volumes left alone")
    for trouble in done["troubles"]:
        complain(trouble)


def _messages(done: Mapping[str, Any], which: str) -> str:
    return f"{_count(done[f'{which}_messages'], 'message')} ({human(done[f'{which}_bytes'])})"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
