"""What a server is: itself, its channels, roles, emojis, stickers, members, webhooks, invites and active
threads.

Each answer goes into guild.jsonl; what is forbidden is recorded there, and noted. Threading: one thread at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from discordfs.archived.coverage import NOWHERE
from discordfs.capture import media, threads
from discordfs.capture.asking import FAILURES, REFUSALS, Recorder, into, told
from discordfs.capture.job import Job
from discordfs.capture.renewing import renewed
from discordfs.capture.scope import WORTH_A_FILE, Channel, channel_of

_MEMBERS = 1000
_FURTHER = ("stickers", "webhooks", "invites", "scheduled-events", "bans")


def describe(job: Job, guild: int, *, is_whole: bool) -> list[Channel]:
    """Records all there is to know of a server but its channels' contents; its channels, those without
    contents left out. `is_whole`: also what has to do with no single channel, such as people and webhooks.
    Raises Forbidden and RemoteGone when the server itself is not shown."""
    file = job.guild_file(guild)
    record = into(file, job.form)
    job.guilds[guild] = ""
    server = job.asker.get(f"/guilds/{guild}", record)
    job.guilds[guild] = str(server["name"])
    raw = job.asker.get(f"/guilds/{guild}/channels", record)
    for part in ("roles", "emojis"):
        _part(job, guild, part, record)
    if is_whole and not job.settings.strict:
        _more(job, guild, record)
    file.commit()
    found = [channel_of(each, guild) for each in raw]
    return [each for each in found if each.type in WORTH_A_FILE]


def find_active_threads(job: Job, guild: int, of: frozenset[int] | None = None) -> None:
    """Threads that are not archived; `of`: only those of these channels."""
    file = job.guild_file(guild)

    def ask() -> None:
        answer = job.asker.get(f"/guilds/{guild}/threads/active", into(file, job.form))
        for raw in answer["threads"]:
            if of is None or int(raw.get("parent_id") or 0) in of:
                threads.note(job, raw, guild)

    _allowed(job, f"server {guild}: active threads", ask)
    file.commit()


def _more(job: Job, guild: int, record: Recorder) -> None:
    for part in _FURTHER:
        _part(job, guild, part, record)
    _allowed(job, f"server {guild}: members", lambda: _members(job, guild, record))


def _part(job: Job, guild: int, part: str, record: Recorder) -> None:
    def ask() -> None:
        found = job.asker.get(f"/guilds/{guild}/{part}", record)
        make = {"emojis": media.emoji, "stickers": media.sticker}.get(part)
        if make is not None and job.media is not None:
            _fetch(job, guild, [make(each, job.media.cdn) for each in found])

    _allowed(job, f"server {guild}: {part}", ask)


def _members(job: Job, guild: int, record: Recorder) -> None:
    after = 0
    while True:
        page: Sequence[Mapping[str, Any]] = job.asker.get(
            f"/guilds/{guild}/members", record, {"limit": _MEMBERS, "after": after}
        )
        job.guild_file(guild).commit()
        if job.media is not None:
            cdn = job.media.cdn
            _fetch(job, guild, [item for each in page for item in media.avatar(each["user"], cdn)])
        newest = max((int(each["user"]["id"]) for each in page), default=0)
        if len(page) < _MEMBERS or newest <= after:
            return
        after = newest


def _fetch(job: Job, guild: int, items: Sequence[media.Item]) -> None:
    if job.media is not None:
        lacking = job.media.lacking({each.key: each for each in items})
        job.media.fetch_all(lacking, partial(renewed, job, into(job.guild_file(guild), job.form)))


def _allowed(job: Job, what: str, step: Callable[[], None]) -> None:
    """What one may not see is noted; what could not be had is a failure; the run goes on."""
    try:
        step()
    except REFUSALS as error:
        job.ledger.fail(NOWHERE, f"{what}: {error}")
    except FAILURES as error:
        job.failed(f"{what}: {told(error)}")
