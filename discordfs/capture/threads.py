"""Threads of a channel, and its pins: lists that are paged by time.

Two entries can have the same time, and a page may end between them. So each page is asked from a moment
behind the last entry of the one before; what was there already is known by its id.
Threading: the thread that captures the channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from discordfs.capture.asking import Asker, Recorder
from discordfs.capture.job import Job
from discordfs.capture.scope import Channel, channel_of
from discordfs.errors import Forbidden

_PAGE = 100
_PINS = 50
_OVERLAP = timedelta(milliseconds=1)

Json = Mapping[str, Any]


class Finds(Protocol):
    """Whoever looks for threads: how it asks, and what it does with those that it meets. A Job is one."""

    @property
    def asker(self) -> Asker: ...

    @property
    def enqueue(self) -> Callable[[Channel], object]: ...

    def failed(self, text: str, /) -> None: ...


def note(job: Finds, raw: Json, guild: int) -> None:
    """A thread was met: it is captured too."""
    try:
        thread = channel_of(raw, guild)
    except (KeyError, TypeError, ValueError) as error:
        job.failed(f"a thread that cannot be understood ({error!r})")
        return
    if thread.is_thread:
        job.enqueue(thread)


def find_archived(job: Finds, channel: Channel, record: Recorder) -> None:
    """Archived threads, public and private; of private ones those that one is in, where others are not
    shown."""
    base = f"/channels/{channel.id}"
    _by_time(job, f"{base}/threads/archived/public", record, channel)
    if channel.type != 0:
        return  # only text channels can have private threads
    try:
        _by_time(job, f"{base}/threads/archived/private", record, channel)
    except Forbidden:
        _joined(job, f"{base}/users/@me/threads/archived/private", record, channel)


def _by_time(job: Finds, route: str, record: Recorder, channel: Channel) -> None:
    def ask(before: str | None) -> tuple[Sequence[Json], bool]:
        params: dict[str, str | int] = {"limit": _PAGE} | ({"before": before} if before else {})
        body = job.asker.get(route, record, params)
        return body["threads"], bool(body.get("has_more"))

    for thread in paged_by_time(
        ask, lambda each: str(each["id"]), lambda each: str(each["thread_metadata"]["archive_timestamp"])
    ):
        note(job, thread, channel.guild)


def _joined(job: Finds, route: str, record: Recorder, channel: Channel) -> None:
    params: dict[str, str | int] = {"limit": _PAGE}
    while True:
        body = job.asker.get(route, record, params)
        for thread in body["threads"]:
            note(job, thread, channel.guild)
        if not body["threads"] or not body.get("has_more"):
            return
        params["before"] = min(int(each["id"]) for each in body["threads"])


def page_pins(job: Job, channel: Channel, record: Recorder) -> None:
    """All pins, with the times when they were pinned."""

    def ask(before: str | None) -> tuple[Sequence[Json], bool]:
        params: dict[str, str | int] = {"limit": _PINS} | ({"before": before} if before else {})
        body = job.asker.get(f"/channels/{channel.id}/messages/pins", record, params)
        return body["items"], bool(body.get("has_more"))

    for _pin in paged_by_time(
        ask, lambda each: str(each["message"]["id"]), lambda each: str(each["pinned_at"])
    ):
        pass  # the pages are recorded as they come


def paged_by_time(
    ask: Callable[[str | None], tuple[Sequence[Json], bool]],
    id_of: Callable[[Json], str],
    time_of: Callable[[Json], str],
) -> list[Json]:
    """All entries of a list that is paged by `before` a time, each once."""
    found: dict[str, Json] = {}
    before: str | None = None
    while True:
        page, has_more = ask(before)
        news = {id_of(each): each for each in page if id_of(each) not in found}
        found |= news
        if not has_more or not page:
            return list(found.values())
        last = min(time_of(each) for each in page)
        if not news and before == last:
            return list(found.values())
        before = _behind(last) if news else last  # where a page brings nothing new, without the overlap


def _behind(time: str) -> str:
    return (datetime.fromisoformat(time) + _OVERLAP).isoformat()
