"""`discordfs archive`: channels kept in archival quality. The options stand before the subcommand, as in
Discard.

Each subcommand is in a module of its own, imported when it is used. Threading: the main thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from discordfs.cli.common import state_of, state_option
from discordfs.cli.lazy import LazyGroup
from discordfs.config import StateDirectory, parse_duration
from discordfs.errors import UsageError

_CAPTURE, _READING = "discordfs.cli.archive_capture", "discordfs.cli.archive_reading"

COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("profile", "channel", "guild"), _CAPTURE),
    **dict.fromkeys(("read", "summary", "search", "add", "import"), _READING),
}
"""Each subcommand's module."""

_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """What stands before the subcommand. `root`: where the archive is. Times are aware, `window` and `live`
    in seconds (`live` None: until it is ended, 0: not at all)."""

    state: StateDirectory
    root: Path
    token: str | None
    is_user_account: bool
    after: datetime | None
    before: datetime | None
    no_scrub: bool
    gzip: bool
    strict: bool
    media: str
    resume: bool
    incremental: bool
    window: float
    live: float | None
    estimate: bool
    rate: int
    as_json: bool
    to_drive: bool


def archive_root(state: StateDirectory, given: Path | None) -> Path:
    """Where an archive is unless it is said where: in the state directory, so that the mount shows it."""
    return given.resolve() if given is not None else state.archive


@click.group(cls=LazyGroup, modules=COMMANDS)
@click.option("-t", "--token", help="A token, for scripts of Discard's users; better is DISCORD_TOKEN.")
@click.option(
    "-U",
    "--is-user-account",
    is_flag=True,
    help="The token is a person's own. Discord may close accounts that are used so: it is your risk.",
)
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the archive is (default: archive/ in the state directory, which the mount shows).",
)
@click.option("--after", type=click.DateTime(_DATES), help="Only messages from then on (UTC).")
@click.option("--before", type=click.DateTime(_DATES), help="Only messages of before (UTC).")
@click.option("--no-scrub", is_flag=True, help="Leave tokens in the records and in the metadata.")
@click.option("--gzip", is_flag=True, help="Compress the records.")
@click.option(
    "--strict-discard", is_flag=True, help="Ask, and write, exactly what Discard does, and nothing else."
)
@click.option(
    "--media",
    default="none",
    show_default=True,
    help="Files to fetch: all, none, or some of attachments,embeds,avatars,emojis,stickers.",
)
@click.option("--resume", is_flag=True, help="Go on with the newest such run that has not ended well.")
@click.option(
    "--incremental", is_flag=True, help="Take what no earlier run has, and look again at what is young."
)
@click.option(
    "--window",
    default="7d",
    show_default=True,
    help="How far back --incremental looks again.",
)
@click.option("--live", is_flag=True, help="Then stay, and record what happens, until Ctrl-C.")
@click.option("--live-for", help="The same for so long, like 90s or 8h.")
@click.option("--estimate", is_flag=True, help="Say how much it would be, and capture nothing.")
@click.option(
    "--rate",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Requests a second at most, in all; Discord allows a bot 50.",
)
@click.option(
    "--to-drive", is_flag=True, help="Keep the archive on the volume too, so that 'recover' brings it back."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts: the result as one line of JSON.")
@state_option
@click.pass_context
def archive(
    context: click.Context,
    token: str | None,
    is_user_account: bool,
    output_dir: Path | None,
    after: datetime | None,
    before: datetime | None,
    no_scrub: bool,
    gzip: bool,
    strict_discard: bool,
    media: str,
    resume: bool,
    incremental: bool,
    window: str,
    live: bool,
    live_for: str | None,
    estimate: bool,
    rate: int,
    to_drive: bool,
    as_json: bool,
    state_dir: Path | None,
) -> None:
    """Keeps channels in archival quality: everything that Discord answers, as it came. Options stand before
    the subcommand."""
    state = state_of(state_dir)
    if to_drive and output_dir is not None:
        raise UsageError("--to-drive keeps the state directory's own archive: leave out -o")
    context.obj = ArchiveOptions(
        state=state,
        root=archive_root(state, output_dir),
        token=token,
        is_user_account=is_user_account,
        after=_utc(after),
        before=_utc(before),
        no_scrub=no_scrub,
        gzip=gzip,
        strict=strict_discard,
        media=media,
        resume=resume,
        incremental=incremental,
        window=parse_duration(window),
        live=parse_duration(live_for) if live_for else None if live else 0.0,
        estimate=estimate,
        rate=rate,
        as_json=as_json,
        to_drive=to_drive,
    )


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
