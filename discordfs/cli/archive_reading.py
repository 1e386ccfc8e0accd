"""`discordfs archive read`, `summary`, `search`, `add`, `import`: what has been archived is read. Discord is
not asked for anything here.

COMMANDS are for the group in cli/archive.py, which says where the archive is. Threading: the main thread.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from discordfs.archived.adding import import_runs
from discordfs.archived.audit import FileAudit, RunAudit, audit, day
from discordfs.archived.catalogue import Catalogue
from discordfs.archived.mediafiles import import_media
from discordfs.archived.people import moment
from discordfs.archived.reading import text_of
from discordfs.archived.root import CATALOGUE, VIEWS, remember_added
from discordfs.archived.runs import runs_at
from discordfs.archived.search import Filters, Hit
from discordfs.archived.search import search as find
from discordfs.archived.textview import harmless
from discordfs.archived.views import Updated, update_views
from discordfs.cli.common import DAMAGED, complain, shown_progress
from discordfs.errors import MissingError

_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_directory = click.Path(path_type=Path, file_okay=False, exists=True)


def _root(context: click.Context) -> Path:
    root: Path = context.obj.root
    return root


# --- read ------------------------------------------------------------------------------------------------


@click.command()
@click.argument("path")
@click.pass_context
def read(context: click.Context, path: str) -> None:
    """Shows messages on the terminal: of PATH, which is a run, a channel's file in one, or a directory of
    either; or of the channel in the archive that has this id or name."""
    place = Path(path)
    place = place if place.exists() else _channel_named(_root(context), path)
    with tempfile.TemporaryDirectory(prefix="discordfs-read-") as scratch:
        _show(text_of(place, Path(scratch)))


def _show(pieces: Iterator[str]) -> None:
    if sys.stdout.isatty():
        click.echo_via_pager(pieces)
        return
    output = sys.stdout.buffer
    for piece in pieces:
        output.write(piece.encode("utf-8", "replace"))
    output.flush()


def _channel_named(root: Path, name: str) -> Path:
    with _catalogue(root) as catalogue:
        built = catalogue.built()
    if name.isdigit() and int(name) in built:
        return root / VIEWS / built[int(name)]
    found = sorted(each for each in built.values() if name.lower() in each.rpartition("/")[2].lower())
    if len(found) == 1:
        return root / VIEWS / found[0]
    if not found:
        raise MissingError(f"{name} is neither a path nor a channel in {root}")
    raise MissingError(f"{name} may be any of: {'; '.join(map(harmless, found[:10]))}: give the id")


def _catalogue(root: Path) -> Catalogue:
    if not root.is_dir():
        raise MissingError(f"there is no archive at {root}: capture something first, or name it with -o")
    catalogue = Catalogue(root / CATALOGUE)
    if catalogue.is_empty:
        catalogue.close()
        refresh_views(root)
        return Catalogue(root / CATALOGUE)
    return catalogue


# --- summary ---------------------------------------------------------------------------------------------


@click.command()
@click.argument("path", required=False, type=_directory)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_context
def summary(context: click.Context, path: Path | None, as_json: bool) -> None:
    """Counts everything in the run or the runs at PATH (default: the archive) again, and says what their
    metadata claims wrongly, and where there are gaps. Exits with 4 when something cannot be read."""
    audits = [audit(run) for run in runs_at(path or _root(context))]
    if as_json:
        click.echo(json.dumps({"runs": [each.as_json() for each in audits]}))
    else:
        for each in audits:
            _tell(each)
    if any(each.damage() for each in audits):
        raise click.exceptions.Exit(DAMAGED)


def _tell(result: RunAudit) -> None:
    click.echo(f"{harmless(result.directory)}: {harmless(result.mode) or 'run'}, {result.state}")
    if result.exception:
        click.echo(f"  {harmless(result.exception)}")
    click.echo(
        f"  {result.http_requests} HTTP requests, {result.ws_packets} websocket packets, "
        f"{result.messages} messages"
    )
    for guild in result.guilds:
        click.echo(
            f"  {harmless(guild.name) or guild.id}: {guild.channels} channels, {guild.messages} messages"
        )
        for each in guild.files:
            if each.channel:
                _tell_channel(each)
    for text in result.all_wrong():
        click.echo(f"  wrong: {harmless(text)}")
    for text in result.damage():
        click.echo(f"  damaged: {harmless(text)}")


def _tell_channel(each: FileAudit) -> None:
    name = harmless(each.name) or "channel"
    span = f", {day(each.oldest)} to {day(each.newest)}" if each.messages else ""
    failed = "".join(f", {count} answers of {status}" for status, count in sorted(each.statuses.items()))
    click.echo(f"    {name} ({each.channel}): {each.messages} messages{span}{failed}")
    for first, last in each.gaps:
        click.echo(f"      gap: nothing is known of {day(first)} to {day(last)} (ids {first} to {last})")
    if each.is_cut:
        click.echo("      its end was cut off: --resume goes on from there")


# --- search ----------------------------------------------------------------------------------------------


@click.command()
@click.argument("words", nargs=-1, required=True)
@click.option("--channel", default="", help="Only in channels with this id or part of a name.")
@click.option("--author", default="", help="Only by people with this id or part of a name.")
@click.option("--after", type=click.DateTime(_DATES), help="Only from then on (UTC).")
@click.option("--before", type=click.DateTime(_DATES), help="Only of before (UTC).")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="So many at most.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: one object a line.")
@click.pass_context
def search(
    context: click.Context,
    words: tuple[str, ...],
    channel: str,
    author: str,
    after: datetime | None,
    before: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """Finds messages that have all WORDS, newest first. "A phrase" is quoted, a beginning ends in *; after a
    --, -WORD must not be there. Exits with 1 when there are none."""
    filters = Filters(channel, author, _ns(after), _ns(before), limit)
    count = 0
    with _catalogue(_root(context)) as catalogue:
        query = " ".join(f'"{word}"' if " " in word and '"' not in word else word for word in words)
        for hit in find(catalogue, query, filters):
            count += 1
            click.echo(json.dumps(_as_json(hit)) if as_json else _line(hit))
    if not count:
        raise click.exceptions.Exit(1)


def _ns(given: datetime | None) -> int | None:
    return None if given is None else int(given.replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def _as_json(hit: Hit) -> dict[str, Any]:
    return {**asdict(hit), "timestamp": moment(hit.id).isoformat()}


def _line(hit: Hit) -> str:
    gone = " (deleted)" if hit.is_deleted else ""
    text = harmless(" ".join(hit.text.split()))
    place = harmless(hit.directory)
    return f"[{moment(hit.id):%Y-%m-%d %H:%M}] {place} {harmless(hit.author)}{gone}: {text} ({hit.id})"


# --- add and import --------------------------------------------------------------------------------------


@click.command()
@click.argument("directory", type=_directory)
@click.pass_context
def add(context: click.Context, directory: Path) -> None:
    """Shows the run or the runs in DIRECTORY as part of the archive, in place: nothing is copied, so it must
    stay where it is. Runs of any version of Discard will do."""
    root = _root(context)
    count = remember_added(root, directory.resolve())
    click.echo(f"{count} runs in {directory.resolve()} are part of {root} from now on, in place")
    _tell_update(refresh_views(root))


@click.command("import")
@click.argument("directory", type=_directory)
@click.pass_context
def import_(context: click.Context, directory: Path) -> None:
    """Copies the run or the runs in DIRECTORY into the archive, verified. Runs of any version of Discard will
    do."""
    root = _root(context)
    done = import_runs(root, directory.resolve())
    for name in done.copied:
        click.echo(str(root / name))
    for name in done.known:
        click.echo(f"{name} is there already")
    for name in done.left_out:
        complain(f"{name} is no plain file, and was left out")
    if count := import_media(root, directory.resolve()):
        click.echo(f"{count} files of messages")
    _tell_update(refresh_views(root))


def refresh_views(root: Path) -> Updated:
    """What the mount shows of the archive, brought up to its runs. Whatever cannot be read is told."""
    with shown_progress("views", "channels") as progress:
        done = update_views(root, progress)
    for text in done.trouble:
        complain(f"cannot be read: {text}")
    return done


def _tell_update(done: Updated) -> None:
    click.echo(
        f"{done.messages} messages in {done.channels} channels of {done.runs} runs; on this machine only"
    )


COMMANDS: list[click.Command] = [read, summary, search, add, import_]
"""What `discordfs archive` gets of this module."""
