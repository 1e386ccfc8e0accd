"""`discordfs clips sync`: collects clips, and with --live stays.

Exit codes: 1 when something that was named is not shown, or contents came empty; 75 when something could not
be had for now. Threading: the main thread supervises; Ctrl-C and SIGTERM end the workers in order.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn

from discordfs import clips as library
from discordfs.cli.clips_common import api_for, directory_of, token_for
from discordfs.cli.clips_storing import KEEP, storing
from discordfs.cli.common import (
    DONE,
    FAILED,
    UNREACHABLE,
    complain,
    json_option,
    state_of,
    state_option,
)
from discordfs.clipping.workers import Supervisor
from discordfs.config import parse_duration
from discordfs.tokens import ScrubbingFormatter, Token

LOG_BYTES = 4 * 1024**2
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s"
_PLAIN_EVERY_S = 10.0
_MANY = 20  # problems that are shown
_HIDDEN = (
    "others' messages came without their files: allow the intent MESSAGE_CONTENT in Discord's developer"
    " portal, and collect again"
)


@click.command()
@click.option("--channel", "channels", type=int, multiple=True, help="A channel by its id, with its threads.")
@click.option("--guild", "guilds", type=int, multiple=True, help="A server by its id: all that is readable.")
@click.option(
    "--fetch-history",
    "--fetch_history",
    "has_history",
    is_flag=True,
    help="All of the past; goes on where it was left. Without it, what is new since the last time.",
)
@click.option("--live", "is_live", is_flag=True, help="Then stay, and collect what is posted, until Ctrl-C.")
@click.option(
    "--types", help="Kinds of videos, like mp4,mov,webm,mkv (default: those of the last time, or mp4)."
)
@click.option(
    "--window", default="7d", show_default=True, help="How far back known clips are looked at again."
)
@click.option(
    "--store",
    default="",
    metavar="URL",
    help="Write records and thumbnails there too, like gs://BUCKET (default: BUCKET_NAME); none: no more.",
)
@click.option(
    "--keep",
    is_flag=False,
    flag_value="drive",
    default="",
    type=click.Choice(["", *KEEP]),
    metavar="drive|store|none",
    help="Keep the videos themselves, and the catalogue: on the drive (mounted), or in the store.",
)
@click.option("--no-thumbnails", is_flag=True, help="Look at no video: no pictures, nothing kept.")
@click.option(
    "--rate",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Requests a second at most, in all; Discord allows a bot 50.",
)
@json_option
@state_option
@click.pass_context
def sync(
    context: click.Context,
    channels: tuple[int, ...],
    guilds: tuple[int, ...],
    has_history: bool,
    is_live: bool,
    types: str | None,
    window: str,
    store: str,
    keep: str,
    no_thumbnails: bool,
    rate: int,
    as_json: bool,
    state_dir: Path | None,
) -> None:
    """Collects the clips of channels. Which ones is remembered: without --channel and --guild it is those of
    the last time, else the volume's server. They are catalogued in the state directory, which the mount
    shows as clips/."""
    state = state_of(state_dir)
    token, api, directory = token_for(state), api_for(state), directory_of(state)
    settings = library.SyncSettings(
        channels=frozenset(channels),
        guilds=frozenset(guilds),
        skipped=frozenset(state.load().volume.channels if state.has_volume() else ()),
        has_history=has_history,
        is_live=is_live,
        kinds=None if types is None else library.kinds_of(types),
        window_s=parse_duration(window),
    )
    home = state.load().volume.guild if state.has_volume() else 0
    place = storing(state, directory, api, store, keep)
    with (
        library.collecting(
            token.reveal(), directory, settings, home=home, api=api, requests_a_second=rate
        ) as work,
        _logged(directory, token),
    ):
        supervisor = library.crew(work, has_thumbnails=not no_thumbnails, more=place.plans)
        is_interrupted = _run(work, supervisor)
        code = _show(work, as_json, is_interrupted and not is_live, _undone(supervisor))
        click.echo(place.told(), err=True)
        context.exit(code)


def _undone(supervisor: Supervisor) -> list[str]:
    """What workers could not do by the end, in sentences."""
    told = [(each.name, each.trouble or each.error) for each in supervisor.standings()]
    return [f"{name}: {text}; the next sync goes on" for name, text in told if text]


def _run(work: library.Work, supervisor: Supervisor) -> bool:
    """The workers, until they are done. Whether somebody ended them."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        news = _News(work, supervisor)
        with _shown() as show:

            def tell() -> None:
                news.tell()
                show(partial(_line, work))

            supervisor.run(tell)
    except KeyboardInterrupt:
        return True
    finally:
        signal.signal(signal.SIGTERM, before)
    return False


@contextmanager
def _logged(directory: library.ClipsDirectory, token: Token) -> Iterator[None]:
    """What happens is written to a log beside the catalogue, without the token."""
    handler = logging.handlers.RotatingFileHandler(
        directory.log, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", errors="replace"
    )
    handler.setFormatter(ScrubbingFormatter(LOG_FORMAT, token.reveal()))
    handler.setLevel(logging.INFO)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _News:
    """Says at once, and once for each time, what should not wait for the end: that a worker died, and that
    videos are hidden from the bot."""

    def __init__(self, work: library.Work, supervisor: Supervisor) -> None:
        self._work = work
        self._supervisor = supervisor
        self._told: dict[str, int] = {}
        self._has_told_of_contents = False

    def tell(self) -> None:
        for each in self._supervisor.standings():
            if each.restarts > self._told.get(each.name, 0):
                self._told[each.name] = each.restarts
                complain(f"{each.name} ended ({each.error}) and is started again in {each.pause_s:g} s")
        if self._work.collector.contents_came_empty and not self._has_told_of_contents:
            self._has_told_of_contents = True
            complain(_HIDDEN)


# --- what is shown ------------------------------------------------------------------------------------


@contextmanager
def _shown() -> Iterator[Callable[[Callable[[], str]], None]]:
    if not sys.stderr.isatty():
        yield _Plain()
        return
    with Bar(SpinnerColumn(), TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("asking", total=None)
        yield lambda line: bar.update(task, description=line())


class _Plain:
    """A line every ten seconds, if it says something new."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PLAIN_EVERY_S
        self._last = ""

    def __call__(self, line: Callable[[], str]) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PLAIN_EVERY_S
        if (now := line()) != self._last:
            self._last = now
            click.echo(now, err=True)


def _line(work: library.Work) -> str:
    now = work.collector.progress()
    found = f"{now.new_clips} new clips in {now.messages} messages"
    if now.is_live:
        return f"listening to {now.channels} channels: {found}"
    if now.channels and now.channels_done == now.channels:
        return f"{found}, {work.catalogue.counts().get('waiting', 0)} clips still to be looked at"
    return f"{now.channels_done} of {now.channels} channels, {found}"


def _show(work: library.Work, as_json: bool, is_interrupted: bool, undone: Sequence[str]) -> int:
    """Says how it went; the exit code."""
    collector = work.collector
    now, counts, troubles = collector.progress(), work.catalogue.counts(), collector.troubles
    refusals, failures = list(troubles.refusals.values()), [*troubles.failures.values(), *undone]
    if as_json:
        told = asdict(now) | counts | {"contents_came_empty": collector.contents_came_empty}
        click.echo(json.dumps(told | {"refusals": refusals, "failures": failures}))
    for kind in (refusals, failures):
        for problem in kind[:_MANY]:
            complain(problem)
        if len(kind) > _MANY:
            complain(f"and {len(kind) - _MANY} more of this kind")
    if collector.contents_came_empty:
        complain(_HIDDEN)
    if is_interrupted:
        complain("ended before everything was there: the same command goes on where it was")
    click.echo(
        f"{now.new_clips} new clips; {counts.get('clips', 0)} are known,"
        f" {counts.get('deleted', 0)} of them deleted on Discord",
        err=True,
    )
    if failures:
        return UNREACHABLE
    return FAILED if is_interrupted or collector.contents_came_empty or troubles.named else DONE
