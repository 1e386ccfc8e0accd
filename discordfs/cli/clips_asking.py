"""`discordfs clips refresh` and `import`: links renewed, and the predecessor's records taken in, with what
Discord says of them.

COMMANDS are for the group in cli/clips.py. Threading: the main thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from discordfs import clips as library
from discordfs.cli.clips_common import api_for, directory_of, token_for
from discordfs.cli.common import DONE, FAILED, complain, json_option, shown_progress, state_of, state_option
from discordfs.config import StateDirectory
from discordfs.errors import MissingError

_MANY = 20  # problems that are shown


@contextmanager
def _connected(state: StateDirectory) -> Iterator[library.Connection]:
    directory = directory_of(state)
    with library.connected(token_for(state).reveal(), directory, api=api_for(state)) as to:
        yield to


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@json_option
@state_option
def refresh(ids: tuple[str, ...], as_json: bool, state_dir: Path | None) -> None:
    """Renews the links of clips now: of those with these ids (or the predecessor's Ids), else of all. 'clips
    sync --live' does so by itself before they end."""
    state = state_of(state_dir)
    if not directory_of(state).catalogue.exists():
        raise MissingError(f"there are no clips in {state.path}: 'discordfs clips sync' collects some")
    with _connected(state) as to, shown_progress("renewing", "links") as show:
        chosen = [clip for each in ids for clip in _of(to.catalogue, each)] if ids else None
        done = library.refresh(to, chosen, tell=show)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(f"{done.renewed} of {done.clips} links renewed; {done.gone} clips are gone from Discord")


def _of(catalogue: library.Catalogue, name: str) -> list[int]:
    found = [each.id for each in catalogue.by_alias(name)]
    if not found and name.isascii() and name.isdigit() and len(name) < 20:
        found = [int(name)] if catalogue.clip(int(name)) is not None else []
    if not found:
        raise MissingError(f"there is no clip {name}: 'discordfs clips list' shows the ids")
    return found


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@json_option
@state_option
@click.pass_context
def import_(context: click.Context, folder: Path, as_json: bool, state_dir: Path | None) -> None:
    """Takes in a FOLDER of the predecessor's records, or one that 'clips export' made. Discord is asked for
    their messages, so that links and posters are real; of those that are gone from there the record is kept.
    Nothing is taken twice. Exits with 1 when records were refused."""
    with _connected(state_of(state_dir)) as to, shown_progress("asking for", "records") as show:
        result = library.take_in(to, folder, show)
    if as_json:
        click.echo(json.dumps(asdict(result)))
    else:
        click.echo(
            f"{result.taken} taken, {result.known} known already, {result.gone} gone from Discord and kept as"
            f" deleted, {len(result.refused)} refused"
        )
    for problem in result.refused[:_MANY]:
        complain(problem)
    if len(result.refused) > _MANY:
        complain(f"and {len(result.refused) - _MANY} more")
    context.exit(FAILED if result.refused else DONE)


COMMANDS = [refresh, import_]
