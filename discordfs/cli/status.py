"""`discordfs status`: what the running mounts do.

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
from discordfs.cli.common import absolute, human, json_option, state_of, state_option
from discordfs.errors import MissingError

WATCH_S = 1.0


@click.command()
@click.argument("mountpoint", type=click.Path(), required=False)
@json_option
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
@state_option
def status(mountpoint: str | None, as_json: bool, watch: bool, state_dir: Path | None) -> None:
    """Mounts, queue, speeds, cache, errors: of MOUNTPOINT, or of all."""
    while True:
        _show(_ask(mountpoint, state_dir), as_json, single=mountpoint is not None)
        if not watch:
            return
        time.sleep(WATCH_S)


def _ask(mountpoint: str | None, state_dir: Path | None) -> list[dict[str, Any]]:
    if mountpoint is not None:
        return [control.call(Path(registry.find(absolute(mountpoint)).state_dir), "status")]
    if state_dir is not None:
        return [control.call(state_of(state_dir).path, "status")]
    answers = []
    for mount in registry.running():
        try:
            answers.append(control.call(Path(mount.state_dir), "status"))
        except MissingError:  # ended between the two questions
            continue
    return answers


def _show(answers: list[dict[str, Any]], as_json: bool, single: bool) -> None:
    if as_json:
        click.echo(json.dumps(answers[0] if single else answers))
        return
    if not answers:
        click.echo("nothing is mounted")
    for answer in answers:
        Console().print(_table(answer))


def _table(answer: dict[str, Any]) -> Table:
    table = Table(title=answer["mountpoint"], title_justify="left", show_header=False, box=None)
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
    for name, standing in answer["views"].items():
        rows[f"{name}/"] = f"{standing}, on this machine only" if standing == "shown" else standing
    if not answer["stranded_files"]:
        del rows["only here"]
    for name, value in rows.items():
        table.add_row(name, value)
    return table
