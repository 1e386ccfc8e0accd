"""`discordfs fsck`: is the drive as it should be, and what can be mended. The mount does it if there is one.

Threading: the main thread. Ctrl-C ends it at any point: what is done stands, and is sound.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from discordfs import control, registry
from discordfs.cli.common import (
    DAMAGED,
    DONE,
    FAILED,
    UNREACHABLE,
    absolute,
    complain,
    json_option,
    passphrase_option,
    state_of,
    state_option,
)
from discordfs.cli.unmounted import Unmounted, take
from discordfs.compose import connect, holder, open_drive
from discordfs.config import StateDirectory
from discordfs.disk import boot_id
from discordfs.errors import MissingError
from discordfs.fsck.findings import Finding, Report, report_of
from discordfs.fsck.offline import Identity, Offline, premises_of
from discordfs.fsck.repairing import Parts
from discordfs.model import Caller

_SHOWN = 20  # paths of a finding, on a terminal


class Percent(click.ParamType):  # type: ignore[type-arg]
    """ "10%" or "10": a share."""

    name = "N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            percent = float(str(value).removesuffix("%"))
        except ValueError:
            percent = -1.0
        if not 0 < percent <= 100:
            self.fail(f"{value!r} is no share: write it like 10% or 100%", param, ctx)
        return percent


@click.command()
@click.argument("mountpoint", type=click.Path(), required=False)
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@click.option(
    "--read-data",
    type=Percent(),
    is_flag=False,
    flag_value="100%",
    help="Read what is stored on Discord, all of it or N%, and compare it with its seals.",
)
@json_option
@passphrase_option
@state_option
@click.pass_context
def fsck(
    context: click.Context,
    mountpoint: str | None,
    repair: bool,
    read_data: float | None,
    as_json: bool,
    passphrase_file: Path | None,
    state_dir: Path | None,
) -> None:
    """Checks index, log and chunks, and names the files that are hurt. Exit code 4: damage was found (after
    --repair: and could not be mended); 75: Discord could not be asked."""
    place = registry.find(absolute(mountpoint)).state_dir if mountpoint is not None else None
    state = StateDirectory(Path(place)) if place is not None else state_of(state_dir)
    arguments = {"repair": repair, "read_percent": read_data or 0.0}
    try:
        report = report_of(control.call(state.path, "fsck", arguments, _Progress().update))
    except MissingError:  # nothing is mounted: this process owns the volume for a while
        report = _unmounted(state, passphrase_file, repair, read_data or 0.0)
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        _show(report)
    context.exit(_code(report))


def _code(report: Report) -> int:
    if report.is_damaged:
        return DAMAGED
    return UNREACHABLE if report.is_offline else FAILED if report.undone else DONE


# --- without a mount --------------------------------------------------------------------------------


def _unmounted(state: StateDirectory, passphrase_file: Path | None, repair: bool, percent: float) -> Report:
    with ExitStack() as undo:
        volume = take(state, passphrase_file, undo, must_answer=False)
        there = connect(undo, volume.account, volume.keys, volume.config.volume.uid, None, 0)
        config = volume.config.volume
        offline = Offline(
            premises_of(state.path, config.log_channel, config.data_channels),
            there.chunks,
            time.time_ns,
            Identity(Caller(os.geteuid(), os.getegid()), holder(), boot_id()),
            _Progress().tell,
            volume.is_reachable,
        )
        if not repair:
            return offline.check(percent)
        return offline.repair(lambda: _opened(state, volume), percent)


@contextmanager
def _opened(state: StateDirectory, volume: Unmounted) -> Iterator[Parts]:
    config = volume.config
    drive = open_drive(state, config, config.settings, volume.account, volume.keys)
    try:
        yield drive.doctor.parts
    finally:
        drive.close()


# --- what is said -----------------------------------------------------------------------------------


class _Progress:
    """A line for each thing that is begun."""

    def __init__(self) -> None:
        self._last = ""

    def update(self, news: Mapping[str, Any]) -> None:
        self.tell(str(news.get("doing", self._last)))

    def tell(self, doing: str) -> None:
        if doing != self._last:
            click.echo(f"fsck: {doing}", err=True)
            self._last = doing


def _show(report: Report) -> None:
    for finding in report.mended:
        click.echo(f"mended: {_said(finding)}")
    for finding in report.findings:
        click.echo(f"{'damage' if finding.is_damage else 'note'}: {_said(finding)}")
    for text in report.undone:
        complain(text)
    if not report.is_damaged and not report.undone:
        click.echo("the drive is as it should be")


def _said(finding: Finding) -> str:
    shown = ", ".join(finding.paths[:_SHOWN])
    more = (
        f" and {len(finding.paths) - _SHOWN} more (--json names all)" if len(finding.paths) > _SHOWN else ""
    )
    return f"{finding.text}: {shown}{more}" if shown else finding.text
