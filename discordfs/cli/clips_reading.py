"""`discordfs clips list` and `export`: what is in the catalogue. Discord is not asked for anything here.

COMMANDS are for the group in cli/clips.py. Threading: the main thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from discordfs.archived.textview import harmless
from discordfs.cli.clips_common import catalogue_to_read, directory_of
from discordfs.cli.common import human, json_option, state_of, state_option
from discordfs.clipping.catalogue import Catalogue, Named
from discordfs.clipping.exporting import export
from discordfs.clipping.record import message_link

_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@dataclass(frozen=True, slots=True)
class _Filter:
    """Which clips are shown. Times in epoch ns."""

    channel: str
    poster: str
    text: str
    since_ns: int | None
    until_ns: int | None
    deleted: bool

    def takes(self, each: Named) -> bool:
        clip = each.clip
        return (
            bool(clip.deleted_ns) == self.deleted
            and (self.since_ns is None or clip.posted_ns >= self.since_ns)
            and (self.until_ns is None or clip.posted_ns < self.until_ns)
            and _fits(self.channel, clip.channel, each.channel)
            and _fits(self.poster, clip.poster, each.poster)
            and (not self.text or self.text.lower() in f"{clip.filename}\n{clip.description}".lower())
        )


def _fits(wanted: str, number: int, name: str) -> bool:
    return not wanted or wanted == str(number) or wanted.lower() in name.lower()


@click.command("list")
@click.option("--channel", default="", help="Only of channels with this id or part of a name.")
@click.option("--poster", default="", help="Only of posters with this id or part of a name.")
@click.option("--since", type=click.DateTime(_DATES), help="Only those posted from then on (UTC).")
@click.option("--until", type=click.DateTime(_DATES), help="Only those posted before (UTC).")
@click.option("--text", default="", help="Only those with this in their name or description.")
@click.option("--deleted", is_flag=True, help="Those that are deleted on Discord, instead of the others.")
@json_option
@state_option
def list_(
    channel: str,
    poster: str,
    since: datetime | None,
    until: datetime | None,
    text: str,
    deleted: bool,
    as_json: bool,
    state_dir: Path | None,
) -> None:
    """Lists the clips of the catalogue, the oldest first."""
    chosen = _Filter(channel, poster, text, _ns(since), _ns(until), deleted)
    catalogue = catalogue_to_read(directory_of(state_of(state_dir)))
    try:
        found = (each for each in catalogue.clips(with_hidden=True) if chosen.takes(each))
        for line in _json_lines(catalogue, found) if as_json else map(_line, found):
            click.echo(line)
    finally:
        catalogue.close()


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def _line(each: Named) -> str:
    clip = each.clip
    runtime = f"{clip.facts.runtime:.0f} s, " if clip.facts.runtime is not None else ""
    where = f"{each.guild}/{each.channel}/{each.name}"
    text = harmless(" ".join(clip.description.split()))
    return f"{clip.id}  {harmless(where)} ({runtime}{human(clip.size)}){'  ' + text if text else ''}"


def _json_lines(catalogue: Catalogue, found: Iterator[Named]) -> Iterator[str]:
    guilds: dict[int, int] = {}
    for each in found:
        if each.clip.channel not in guilds:
            place = catalogue.place(each.clip.channel)
            guilds[each.clip.channel] = place.guild if place else 0
        yield json.dumps(_told(each, guilds[each.clip.channel]), ensure_ascii=False)


def _told(each: Named, guild: int) -> dict[str, Any]:
    clip, facts = each.clip, each.clip.facts
    return {
        "id": str(clip.id),
        "alias": clip.alias,
        "path": f"{each.guild}/{each.channel}/{each.name}",
        "link": message_link(guild, clip.channel, clip.message),
        "guild": str(guild),
        "channel": str(clip.channel),
        "message": str(clip.message),
        "poster": str(clip.poster),
        "posted": clip.posted_ns / 1e9,
        "filename": clip.filename,
        "content_type": clip.content_type,
        "size": clip.size,
        "url": clip.url,
        "expires": clip.expires_ns // 1_000_000_000,
        "description": clip.description,
        "forwarded": clip.is_forwarded,
        "deleted": bool(clip.deleted_ns),
        "kept": clip.kept,
        "runtime": facts.runtime,
        "width": facts.width,
        "height": facts.height,
        "codec": facts.codec,
        "has_audio": facts.has_audio,
        "look": str(clip.look),
        "look_error": clip.look_error,
    }


@click.command("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--deleted", is_flag=True, help="Those that are deleted on Discord too.")
@json_option
@state_option
def export_(folder: Path, deleted: bool, as_json: bool, state_dir: Path | None) -> None:
    """Writes the catalogue to FOLDER in the predecessor's form: messages/<Id>.json, thumb/<Id>.png and
    catalogue.jsonl. Where Ids collide the second has the clip's id behind its own."""
    directory = directory_of(state_of(state_dir))
    catalogue = catalogue_to_read(directory)
    try:
        done = export(catalogue, directory.thumbs, folder, with_deleted=deleted)
    finally:
        catalogue.close()
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(f"{done.clips} records and {done.thumbs} thumbnails are in {folder}")


COMMANDS = [list_, export_]
