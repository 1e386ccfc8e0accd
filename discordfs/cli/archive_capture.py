"""`discordfs archive profile`, `channel` and `guild`: make a run, or go on with one.

The run's directory is the first line of standard output; how it goes is told on standard error. Exit codes: 1
when something that was named is not shown, or contents came empty; 75 when something could not be had for
now.
Threading: the main thread; Ctrl-C and SIGTERM end a run so that it can be resumed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from discordfs import archive as library
from discordfs.cli.archive import ArchiveOptions, archive_root
from discordfs.cli.archive_keeping import KEPT, check_volume, keep_on_drive
from discordfs.cli.archive_reading import refresh_views
from discordfs.cli.common import DONE, FAILED, UNREACHABLE, complain
from discordfs.config import DISCORD_API, StateDirectory, api_of
from discordfs.errors import ConfigError
from discordfs.tokens import Token, find_token

_PLAIN_EVERY_S = 10.0
_RISK = "a program that uses a person's account is against Discord's terms: Discord may close the account"
_HERE = "An archive is on this machine only: copy it elsewhere, or it is lost with this disk."
_MANY = 20  # problems that are shown


@click.command()
@click.pass_context
def profile(context: click.Context) -> None:
    """The account, and what the gateway tells it."""
    _do(context, "profile", ())


@click.command()
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID...")
@click.pass_context
def channel(context: click.Context, ids: tuple[int, ...]) -> None:
    """Channels, threads or direct messages by their ids, with the threads below them."""
    _do(context, "channel", ids)


@click.command()
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID...")
@click.pass_context
def guild(context: click.Context, ids: tuple[int, ...]) -> None:
    """Servers by their ids: all that one may read there."""
    _do(context, "guild", ids)


COMMANDS = (profile, channel, guild)


def _do(context: click.Context, mode: str, ids: tuple[int, ...]) -> None:
    options: ArchiveOptions = context.obj
    token, api = _token(options), _api(options.state)
    settings = library.CaptureSettings(
        mode=mode,
        targets=tuple(dict.fromkeys(ids)),
        after=options.after,
        before=options.before,
        no_scrub=options.no_scrub,
        gzip=options.gzip,
        is_user_account=options.is_user_account,
        strict=options.strict,
        media=library.media_kinds(options.media),
        incremental=options.incremental,
        window_s=options.window,
        resume=options.resume,
        live_s=options.live,
        command=tuple(sys.argv),
    )
    if options.is_user_account:
        complain(_RISK)
    if options.estimate:
        _show_estimate(
            library.estimate(token.reveal(), settings, api=api, requests_a_second=options.rate), options
        )
        return
    if options.to_drive:
        check_volume(options.state)
    result = _captured(settings, token, api, options)
    _bring_views_up(options)
    if options.to_drive:
        keep_on_drive(options.state, options.root)
    context.exit(_show(result, options))


def _bring_views_up(options: ArchiveOptions) -> None:
    """Not beside runs that somebody wants to have just as Discard leaves them."""
    if not options.strict or options.root == archive_root(options.state, None):
        refresh_views(options.root)


def _token(options: ArchiveOptions) -> Token:
    if options.token is None:
        return find_token(os.environ, options.state.path)
    if not options.token.strip():
        raise ConfigError("the token of -t is empty")
    return Token(options.token.strip(), "-t")


def _api(state: StateDirectory) -> str:
    """The one of the volume, where there is one."""
    configured = state.load().volume.api if state.has_volume() else ""
    return api_of(os.environ, configured or DISCORD_API)


def _captured(
    settings: library.CaptureSettings, token: Token, api: str, options: ArchiveOptions
) -> library.Result:
    place: list[Path] = []

    def began(path: Path) -> None:
        place.append(path)
        if not options.as_json:
            click.echo(str(path))
            sys.stdout.flush()

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _shown_capture() as shown:
            return library.capture(
                token.reveal(),
                settings,
                options.root,
                api=api,
                requests_a_second=options.rate,
                began=began,
                tell=shown,
            )
    except KeyboardInterrupt:
        if place:
            complain(
                f"ended before everything was there: the same command with --resume goes on in {place[0]}"
            )
            _bring_views_up(options)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


# --- what is shown ------------------------------------------------------------------------------------


class _PlainCapture:
    """A line every ten seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PLAIN_EVERY_S

    def __call__(self, now: library.Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PLAIN_EVERY_S
            click.echo(_line(now), err=True)


@contextmanager
def _shown_capture() -> Iterator[_PlainCapture | _Bar]:
    if not sys.stderr.isatty():
        yield _PlainCapture()
        return
    with Progress(BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("asking", total=None)

    def __call__(self, now: library.Progress) -> None:
        spent = now.seconds + (now.left_s or 0.0)
        total = spent if now.left_s is not None else None
        self._bar.update(self._task, description=_line(now), completed=now.seconds, total=total)


def _line(now: library.Progress) -> str:
    left = f", about {_time(now.left_s)} left" if now.left_s is not None else ""
    rate = f"{now.messages_a_second:.0f} a second"
    return f"{now.channels_done} of {now.channels} channels, {now.messages} messages ({rate}){left}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _show_estimate(found: library.Estimate, options: ArchiveOptions) -> None:
    if options.as_json:
        click.echo(json.dumps(asdict(found)))
        return
    click.echo(
        f"about {found.messages} messages in {found.channels} channels, {found.requests} requests for them,"
        f" {_time(found.seconds)}; reactions, archived threads and media come on top"
    )
    for each in found.unreadable:
        click.echo(f"channel {each} is not shown to this account")


def _show(result: library.Result, options: ArchiveOptions) -> int:
    """Says how it went; the exit code."""
    if options.as_json:
        click.echo(json.dumps(asdict(result) | {"directory": str(result.directory)}))
    for kind in (result.refusals, result.failures, result.media_problems):
        for problem in kind[:_MANY]:
            complain(problem)
        if len(kind) > _MANY:
            complain(f"and {len(kind) - _MANY} more of this kind (the run's files name all)")
    if result.contents_came_empty:
        complain(
            "the contents of others' messages came empty: allow the intent MESSAGE_CONTENT in Discord's"
            " developer portal, and capture again"
        )
    where = KEPT if options.to_drive else _HERE
    click.echo(f"{result.num_messages} messages, {result.num_http_requests} requests. {where}", err=True)
    if result.failures:
        return UNREACHABLE
    return FAILED if result.contents_came_empty or result.is_target_refused else DONE
