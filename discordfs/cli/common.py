"""What all commands share: errors to one line and an exit code, paths, and how a wait is shown.

Threading: the main thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TransferSpeedColumn,
)

from discordfs import errors
from discordfs.config import StateDirectory, default_state_dir

F = TypeVar("F", bound=Callable[..., Any])

DONE, FAILED, USAGE, MISSING, DAMAGED, UNREACHABLE = 0, 1, 2, 3, 4, 75

_EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.BusyError, FAILED),
    (errors.UsageError, USAGE),
    (errors.MissingError, MISSING),
    (errors.RemoteGone, MISSING),
    (errors.Unavailable, UNREACHABLE),
    (errors.RateLimited, UNREACHABLE),
    (errors.TimedOut, UNREACHABLE),
    (errors.Damaged, DAMAGED),
)


def exit_code(error: BaseException) -> int:
    """The exit code that stands for an error."""
    for cls, code in _EXIT_CODES:
        if isinstance(error, cls):
            return code
    return FAILED


def explain(error: BaseException) -> str:
    """One line that says what happened."""
    text = " ".join(str(error).split())
    if isinstance(error, errors.Unauthorized):
        return f"Discord does not accept the token ({text}): check DISCORD_TOKEN, or make a new token"
    if isinstance(error, errors.DiscordfsError | OSError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text} (--debug shows where)"


def complain(message: str) -> None:
    """One line on stderr."""
    click.echo(f"discordfs: {message}", err=True)


def state_option(command: F) -> F:
    """--state-dir, which every command takes."""
    return click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where the volume's state lives (default: DISCORDFS_STATE_DIR, else the user's own place).",
    )(command)


def json_option(command: F) -> F:
    """--json, for what a script would want."""
    return click.option("--json", "as_json", is_flag=True, help="For scripts.")(command)


def passphrase_option(command: F) -> F:
    """--passphrase-file, of commands that open a volume which is not mounted."""
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Holds the passphrase of the key file (while nothing is mounted).",
    )(command)


def state_of(given: Path | None) -> StateDirectory:
    """The state directory, absolute, with links followed."""
    return StateDirectory((given or default_state_dir(os.environ)).resolve())


def absolute(mountpoint: str) -> str:
    """A mountpoint as the kernel names it: absolute, links followed; it need not exist or be alive."""
    return os.path.realpath(mountpoint)


def human(size: int) -> str:
    """12345678 -> "11.8 MiB"."""
    value, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


@contextmanager
def shown_drain() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Shows a queue that empties: a bar on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield _PlainDrain().update
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("to Discord", total=None)
        most = 0

        def update(news: Mapping[str, Any]) -> None:
            nonlocal most
            most = max(most, news["staged_bytes"])
            trouble = news.get("errors") or ["to Discord"]
            bar.update(task, total=most, completed=most - news["staged_bytes"], description=trouble[-1][:60])

        yield update


@contextmanager
def shown_progress(doing: str, things: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how many of how many things are done: a bar on a terminal, a line for each tenth elsewhere."""
    if not sys.stderr.isatty():
        yield _PlainProgress(doing, things).update
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(things))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _PlainProgress:
    def __init__(self, doing: str, things: str) -> None:
        self._doing, self._things = doing, things
        self._last = 0

    def update(self, done: int, total: int) -> None:
        if done == total or done >= self._last + max(10, total / 10):
            self._last = done
            click.echo(f"{self._doing}: {done} of {total} {self._things}", err=True)


class _PlainDrain:
    """A line whenever about a tenth more is done."""

    def __init__(self) -> None:
        self._last = -1
        self._trouble: list[str] = []

    def update(self, news: Mapping[str, Any]) -> None:
        left = news["staged_bytes"]
        if self._last < 0 or left < self._last * 0.9:
            click.echo(f"{human(left)} in {news['staged_files']} files still to go", err=True)
            self._last = left
        if news.get("errors") and news["errors"] != self._trouble:
            self._trouble = news["errors"]
            click.echo(self._trouble[-1], err=True)
