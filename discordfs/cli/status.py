"""`discordfs status`: what the running mounts do, and whoever collects clips.

Threading: the main thread.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from discordfs import control, registry
from discordfs.cli.clips_common import CLIPS
from discordfs.cli.common import absolute, human, json_option, state_of, state_option
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.standing import standing
from discordfs.errors import MissingError

WATCH_S = 1.0


@click.command()
@click.argument("mountpoint", type=click.Path(), required=False)
@json_option
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
@state_option
def status(mountpoint: str | None, as_json: bool, watch: bool, state_dir: Path | None) -> None:
    """Mounts, queue, speeds, cache, errors, clips and their workers: of MOUNTPOINT, or of all."""
    while True:
        _show(_ask(mountpoint, state_dir), as_json, single=mountpoint is not None)
        if not watch:
            return
        time.sleep(WATCH_S)


def _ask(mountpoint: str | None, state_dir: Path | None) -> list[dict[str, Any]]:
    if mountpoint is not None:
        return [_told(Path(registry.find(absolute(mountpoint)).state_dir))]
    if state_dir is not None:
        path = state_of(state_dir).path
        return [_unmounted(path) or _told(path)]
    answers = []
    for mount in registry.running():
        try:
            answers.append(_told(Path(mount.state_dir)))
        except MissingError:  # ended between the two questions
            continue
    usual = state_of(None).path
    if not any(answer["state_dir"] == str(usual) for answer in answers):
        answers += filter(None, [_unmounted(usual)])
    return answers


def _told(state_dir: Path) -> dict[str, Any]:
    """By the process of a mount. Raises MissingError."""
    answer: dict[str, Any] = control.call(state_dir, "status")
    return answer | {"clips": standing(ClipsDirectory(state_dir / CLIPS))}


def _unmounted(state_dir: Path) -> dict[str, Any] | None:
    """Of a state directory that no mount uses, if there are clips in it."""
    found = standing(ClipsDirectory(state_dir / CLIPS))
    is_mounted = any(Path(mount.state_dir) == state_dir for mount in registry.running())
    if found is None or is_mounted:
        return None
    return {"mountpoint": None, "state_dir": str(state_dir), "clips": found}


def _show(answers: list[dict[str, Any]], as_json: bool, single: bool) -> None:
    if as_json:
        click.echo(json.dumps(answers[0] if single else answers))
        return
    if all(answer["mountpoint"] is None for answer in answers):
        click.echo("nothing is mounted")
    for answer in answers:
        Console().print(_table(answer) if answer["mountpoint"] is not None else _unmounted_table(answer))


def _new_table(title: str) -> Table:
    return Table(title=title, title_justify="left", show_header=False, box=None)


def _unmounted_table(answer: dict[str, Any]) -> Table:
    table = _new_table(f"clips in {answer['state_dir']}")
    _add_clips(table, answer["clips"])
    return table


def _add_clips(table: Table, clips: dict[str, Any] | None) -> None:
    """What there is, and each worker in a row."""
    if clips is None:
        return
    table.add_row(
        "clips",
        f"{clips.get('clips', 0)} known, {clips.get('deleted', 0)} of them deleted on Discord;"
        f" {clips.get('waiting', 0)} to be looked at, {clips.get('failed', 0)} that cannot be",
    )
    sync = clips["sync"]
    if sync is None:
        return
    table.add_row("clips sync", _process(sync))
    for each in sync["workers"]:
        table.add_row(f"  {each['name']}", _worker(each))


def _process(sync: dict[str, Any]) -> str:
    if sync["died"]:
        return f"process {sync['pid']} is gone without having ended: 'discordfs clips sync' goes on"
    if not sync["running"]:
        return "not running"
    now = sync["progress"] or {}
    what = "listening" if now.get("is_live") else "collecting"
    hidden = ", but others' files are hidden from the bot" if now.get("contents_came_empty") else ""
    return (
        f"process {sync['pid']}, {what}: {now.get('channels_done', 0)} of {now.get('channels', 0)} channels,"
        f" {now.get('new_clips', 0)} new clips in {now.get('messages', 0)} messages{hidden}"
    )


def _worker(each: dict[str, Any]) -> str:
    parts = [str(each["state"])]
    if each["restarts"]:
        parts.append(f"started again {each['restarts']} times")
    parts += filter(None, [each["trouble"], each["error"]])
    return "; ".join(parts)


def _table(answer: dict[str, Any]) -> Table:
    table = _new_table(answer["mountpoint"])
    cache = answer["cache"]
    rows = {
        "volume": answer["volume"],
        "written by": "this mount" if answer["writer"] else answer["holder"],
        "only here": f"{answer['stranded_files']} files: 'discordfs resubmit' saves them",
        "Discord": answer["api"],
        "state": f"{answer['state_dir']} (process {answer['pid']})",
        "to go": f"{human(answer['staged_bytes'])} in {answer['staged_files']} files, "
        f"{human(answer['uploading_bytes'])} under way",
        "on Discord": human(answer["remote_bytes"]),
        "sent, received": f"{human(answer['bytes_up'])}, {human(answer['bytes_down'])}",
        "cache": f"{human(cache['ram_bytes'])} in RAM, {human(cache['disk_bytes'])} on disk, "
        f"{cache['hits']} hits, {cache['misses']} misses",
        "requests": str(sum(answer["requests"].values())),
        "last error": answer["errors"][-1] if answer["errors"] else "none",
    }
    for name, how in answer["views"].items():
        where = (
            f"a copy is on the volume, in /.{name}"
            if name in answer.get("views_kept", ())
            else "on this machine only"
        )
        rows[f"{name}/"] = f"{how}, {where}" if how == "shown" else how
    if not answer["stranded_files"]:
        del rows["only here"]
    for name, value in rows.items():
        table.add_row(name, value)
    _add_clips(table, answer["clips"])
    return table
