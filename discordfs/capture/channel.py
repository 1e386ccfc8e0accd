"""Captures one channel or thread: its pages from old to new, and what they and it entail.

A page is handed to the kernel before the next is asked for, and only then counts as covered. What comes with
a page (reactions, invites, media) is had before the mark moves on; so whoever resumes asks for the last page
again rather than leave something out. Nothing of a channel is kept in memory but its mark and its messages'
ids.

The order of ids is Discord's: with `after` the page nearest that cursor comes, newest first. A page with
fewer than 100 messages is the last. An empty one may also mean that the history may not be read (Discord's
documents, "Get Channel Messages"): then the newest message is asked for, and if it doesn't show either
although there was one, nothing counts as covered.
Threading: a thread for each channel; the mark is its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from discordfs.archived.observing import Observation, Seen, observe
from discordfs.archived.people import is_empty
from discordfs.archived.runs import folder_of
from discordfs.archived.tally import tally
from discordfs.capture import reactions, threads
from discordfs.capture.asking import FAILURES, REFUSALS, Recorder, into, told
from discordfs.capture.counting import Counting
from discordfs.capture.invites import look_up
from discordfs.capture.job import Job, Mark, Stamp
from discordfs.capture.recordfile import RecordFile
from discordfs.capture.renewing import renewed
from discordfs.capture.scope import HOLDS_MESSAGES, HOLDS_THREADS
from discordfs.errors import Forbidden, Unavailable
from discordfs.remote.base import Exchange, snowflake_at

PAGE = 100
LAG_NS = 10 * 10**9
"""How long a message may be on Discord before every listing shows it: nothing younger counts as covered."""

_THREAD_NOTICE = 18
_PLAIN = frozenset({0, 19, 20, 23})  # messages that people and applications write
_MAY_BE_EMPTY = 1 << 2 | 1 << 7  # flags: embeds suppressed, an answer still to come


class ChannelCapture:
    """One channel of a job, from its mark on."""

    def __init__(self, job: Job, mark: Mark) -> None:
        self._job = job
        self._mark = mark
        self._one = mark.channel
        self._is_whole = True

    def run(self) -> None:
        """To the end of what is wanted. Raises Interrupted, and RemoteErrors that end a run
        (Unauthorized)."""
        with self._mark.turn:
            self._run()

    def run_again(self) -> None:
        """Once more, for what is newer than what is covered."""
        with self._mark.turn:
            ranges = self._job.ledger.of(self._one.id).ranges
            first, last = self._job.settings.asked
            self._mark.todo = [(ranges[-1][1] + 1 if ranges else first, last)]
            self._run()

    def write_meta(self) -> None:
        """CHANNEL.meta.json, as far as the channel is."""
        one, mark = self._one, self._mark
        channel: dict[str, Any] = {"id": one.id, "name": one.name, "type": one.type}
        if one.is_thread:
            channel["parent_id"] = one.parent
        summary = {
            "num_messages": mark.messages,
            "oldest_message": mark.oldest,
            "newest_message": mark.newest,
        }
        body = {"channel": channel, "summary": summary}
        self._job.directory.write_meta(body, folder_of(one.guild), f"{one.id}.meta.json")

    # --- inside -----------------------------------------------------------------------------------

    def _run(self) -> None:
        file = self._job.directory.file(folder_of(self._one.guild), f"{self._one.id}.jsonl")
        is_new = not file.size
        self._counting = Counting(self._job.settings.asked)
        self._job.opened(file)
        try:
            self._capture(file)
        finally:
            self._mark.http, self._mark.ws = file.http, file.ws
            self._job.closed(file)
        self._count(None if is_new else file.path)
        self._mark.done = self._is_whole
        self.write_meta()

    def _count(self, path: Path | None) -> None:
        """What metadata says is what the file holds: pages overlap, pins bring older messages, and whoever
        resumes asks for a page again. `path`: the file, if there was something in it before."""
        counted = self._counting
        self._mark.messages, self._mark.oldest, self._mark.newest = (
            (counted.messages, counted.oldest, counted.newest) if path is None else self._recounted(path)
        )

    def _recounted(self, path: Path) -> tuple[int, Stamp | None, Stamp | None]:
        found = tally(observe(path, 0, Seen()), self._job.settings.asked)
        return found.messages, _stamp(found.oldest), _stamp(found.newest)

    def _into(self, file: RecordFile) -> Recorder:
        return self._counting.watching(into(file, self._job.form))

    def _capture(self, file: RecordFile) -> None:
        record = self._into(file)
        if self._one.type in HOLDS_THREADS and not self._job.settings.strict:
            self._attempt("archived threads", lambda: threads.find_archived(self._job, self._one, record))
        if self._one.type not in HOLDS_MESSAGES:
            return
        self._attempt("messages", lambda: self._pages(file), is_main=True)
        if self._one.has_pins and not self._job.settings.strict:
            self._attempt("pins", lambda: threads.page_pins(self._job, self._one, record))

    def _attempt(self, what: str, step: Callable[[], object], is_main: bool = False) -> None:
        """What is forbidden or gone is noted, and the channel goes on."""
        try:
            step()
        except REFUSALS as error:
            said = self._noted(what, error)
            if is_main:
                self._job.refused(said, self._one.id)
        except FAILURES as error:
            self._is_whole = False
            self._job.failed(self._noted(what, error))

    def _noted(self, what: str, error: Exception) -> str:
        """For people, with the channel."""
        self._job.ledger.fail(self._one.id, f"{what}: {told(error)}")
        return f"channel {self._one.id} ({self._one.name}): {what}: {told(error)}"

    # --- pages --------------------------------------------------------------------------------------

    def _pages(self, file: RecordFile) -> None:
        while self._mark.todo:
            first, last = self._mark.todo[0]
            self._page(file, first, last)

    def _page(self, file: RecordFile, first: int, last: int) -> None:
        """The page from `first` on; the mark moves behind what it covers."""
        asked_ns = self._job.server_now_ns()
        params: dict[str, str | int] = {"limit": PAGE, "after": first - 1}
        route, record = f"/channels/{self._one.id}/messages", self._into(file)
        body, exchange = self._job.asker.exchange(route, record, params)
        file.commit()
        ids = [int(each["id"]) for each in body]
        is_end = len(ids) < PAGE or max(ids) >= last
        newest = max(ids, default=0)
        if ids and newest < first:
            raise Unavailable(f"GET {route}: a page of older messages than those asked for")
        if not ids and not self._is_readable(file):
            raise Forbidden("no message is shown though there was one: READ_MESSAGE_HISTORY may be missing")
        messages = [each for each in reversed(body) if first <= int(each["id"]) <= last]
        self._entailed(file, messages, exchange)
        shown = last if len(ids) < PAGE else min(newest, last)
        covered = min(shown, snowflake_at(asked_ns - LAG_NS))
        self._job.ledger.cover(self._one.id, first, covered, min(newest, last))
        rest = self._mark.todo[1:]
        with self._job.lock:  # so that a checkpoint has both or neither
            for each in messages:
                self._mark.count(int(each["id"]), each["timestamp"])
            self._mark.todo = rest if is_end else [(newest + 1, last), *rest]

    def _is_readable(self, file: RecordFile) -> bool:
        if self._job.settings.strict or not self._one.last_message or self._mark.messages:
            return True
        route, record = f"/channels/{self._one.id}/messages", self._into(file)
        return bool(self._job.asker.get(route, record, {"limit": 1}))

    # --- what a page entails ------------------------------------------------------------------------

    def _entailed(self, file: RecordFile, messages: Sequence[Mapping[str, Any]], exchange: Exchange) -> None:
        job, record = self._job, self._into(file)
        codes: list[str] = []
        for message in messages:
            if message.get("reactions"):
                reactions.page_users(job, self._one.id, message, record)
        if not job.settings.strict:
            codes = look_up(job, exchange.data, record)
            for message in messages:
                if message.get("poll"):
                    reactions.page_voters(job, self._one.id, message, record)
                if message.get("thread"):
                    threads.note(job, message["thread"], self._one.guild)
                if message.get("type") == _THREAD_NOTICE:
                    job.told_threads.add(int((message.get("message_reference") or {}).get("channel_id") or 0))
        if job.media is not None:
            found = {item.key: item for message in messages for item in job.media.wants(message)}
            job.media.fetch_all(list(found.values()), partial(renewed, job, record))
        self._look_for_contents(messages)
        file.commit()
        job.looked_up(codes)

    def _look_for_contents(self, messages: Sequence[Mapping[str, Any]]) -> None:
        others = [
            each
            for each in messages
            if each.get("type") in _PLAIN
            and int(each["author"]["id"]) != self._job.me
            and not int(each.get("flags") or 0) & _MAY_BE_EMPTY
        ]
        empty = sum(map(is_empty, others))
        self._job.note_others(len(others), empty)


def _stamp(seen: Observation | None) -> Stamp | None:
    return None if seen is None else {"id": seen.id, "timestamp": json.loads(seen.body).get("timestamp")}
