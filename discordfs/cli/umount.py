"""`discordfs umount` and `discordfs barrier`: wait for the queue, then (umount) take the mount away.

Threading: the main thread. Ctrl-C ends the waiting, never the mount.
"""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import click

from discordfs import control, registry
from discordfs.cli import mountpoint as places
from discordfs.cli.common import absolute, human, shown_drain, state_option
from discordfs.errors import BusyError, DiscordfsError, MissingError
from discordfs.registry import Mount

END_TIMEOUT_S = 60.0
"""Seconds that the mount process may take to close its files once it is unmounted."""


@click.command()
@click.argument("mountpoint", type=click.Path())
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most; exit code 75 then.")
@state_option
def barrier(mountpoint: str, timeout: float | None, state_dir: Path | None) -> None:
    """Waits until all that was closed before is on Discord, and looks whether it is."""
    answer = _drain(registry.find(absolute(mountpoint)), timeout, verify=True)
    if not answer["is_all_said"]:
        raise BusyError(_lost(answer))


@click.command()
@click.argument("mountpoint", type=click.Path())
@click.option("--no-drain", is_flag=True, help="Leave the queue for the next mount.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to drain at most; exit code 75 then.")
@state_option
def umount(mountpoint: str, no_drain: bool, timeout: float | None, state_dir: Path | None) -> None:
    """Waits for the queue, then unmounts MOUNTPOINT."""
    place = absolute(mountpoint)
    mount = _find(place)
    if mount is None:
        places.unmount(place, lazily=True)
        click.echo(f"the mount process of {place} had died; its queue stays for the next mount", err=True)
        return
    _refuse_if_busy(place)
    answer = {} if no_drain else _drain(mount, timeout)
    _unmount(mount)
    if answer.get("stranded_files"):
        raise BusyError(f"unmounted, but {_lost(answer)}")


def _find(place: str) -> Mount | None:
    """The running mount, or None for what a dead one left in the mount table. Raises MissingError."""
    try:
        return registry.find(place)
    except MissingError:
        if registry.FILESYSTEM_TYPE in registry.mounted_types(place) and not places.is_alive(place):
            return None
        raise


def _drain(mount: Mount, timeout: float | None, verify: bool = False) -> dict[str, Any]:
    with shown_drain() as show:
        asked = {"timeout": timeout, "verify": verify}
        answer: dict[str, Any] = control.call(Path(mount.state_dir), "barrier", asked, show)
        return answer


def _lost(answer: dict[str, Any]) -> str:
    if not answer["stranded_files"]:
        return f"what was deleted or moved last is so on this machine alone: {answer['lost']}"
    return (
        f"{answer['stranded_files']} files stay on this machine alone ({answer['lost']}): "
        "'discordfs resubmit' saves them"
    )


def _refuse_if_busy(place: str) -> None:
    users = places.users_of(place)
    if users:
        raise BusyError(f"{place} is in use by {', '.join(map(str, users))}: it stays mounted")


def _unmount(mount: Mount) -> None:
    watch = os.pidfd_open(mount.pid)
    try:
        try:
            places.unmount(mount.mountpoint)
        except DiscordfsError:
            _refuse_if_busy(mount.mountpoint)
            raise
        ended, _, _ = select.select([watch], [], [], END_TIMEOUT_S)
    finally:
        os.close(watch)
    if not ended:
        raise DiscordfsError(
            f"{mount.mountpoint} is unmounted, but process {mount.pid} still closes its files"
        )


def describe(figures: dict[str, object]) -> str:
    """A queue in words, for people."""
    return f"{human(int(str(figures['staged_bytes'])))} in {figures['staged_files']} files to go"
