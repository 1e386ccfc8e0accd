"""What a barrier looks at once the record has settled: that Discord shows what it said it took.

Job: every message with chunks that records named since the last check is in a listing, with the attachments
and sizes that the index knows, and the newest record reads back whole. Limits: no bytes of files are read
(fsck does that); a page of a listing for each hundred messages, and one request or two for the record.
Errors: Damaged, which names files. Threading: one thread at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Damaged, MissingError, RemoteGone
from discordfs.fold import FoldState
from discordfs.index import Index
from discordfs.model import ChunkRef
from discordfs.remote.base import Message, snowflake_at

_CHECKED = "barrier"  # the counter: Discord's time (epoch ns) until which all posts are checked
_SLACK_NS = 5 * 10**9  # Discord's time is known to a second or so
_NAMED = 3  # files in a message


class Verifier:
    """Checks the chunks of `index` in their channels, and its newest record in `log_channel`."""

    def __init__(self, index: Index, chunks: ChunkStore, log_channel: int) -> None:
        self._index, self._chunks, self._log_channel = index, chunks, log_channel
        self._verified = b""  # the newest record at the last check

    def verify(self) -> None:
        """Raises Damaged when something is not as it was posted, and as Discord answers. Nothing is asked
        when nothing was recorded since."""
        head = self._index.logbook.state()
        if head.head_uid == self._verified:
            return
        begin = self._next_begin()
        since = snowflake_at(self._begin())
        chunks = self._index.ledger.named_since(since)
        wrong: list[int] = []
        for channel in sorted({ref.channel for _, ref in chunks}):
            wrong += self._missing(channel, [(row, ref) for row, ref in chunks if ref.channel == channel])
        if wrong:
            raise Damaged(
                f"{len(wrong)} messages are not on Discord any more as they were posted; in them: "
                f"{self._files(wrong)}. 'discordfs fsck --repair' sends again what this machine still has"
            )
        self._read_record(head)
        with self._index.changing() as connection:
            connection.execute(
                "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET ceiling = ?2",
                (_CHECKED, begin),
            )
        self._verified = head.head_uid

    def _begin(self) -> int:
        with self._index.changing() as connection:
            row = connection.execute("SELECT ceiling FROM counters WHERE name = ?", (_CHECKED,)).fetchone()
        return 0 if row is None else int(row[0])

    def _next_begin(self) -> int:
        """Where the next check begins: what is posted and not named by now belongs to it."""
        with self._index.changing() as connection:
            (oldest,) = connection.execute("SELECT MIN(sealed_ns) FROM chunks WHERE state < 2").fetchone()
        now = self._chunks.now_ns()
        return (now if oldest is None else min(now, int(oldest))) - _SLACK_NS

    def _missing(self, channel: int, chunks: Iterable[tuple[int, ChunkRef]]) -> list[int]:
        """The rows of chunks whose messages are gone or others."""
        chunks = list(chunks)
        oldest = min(ref.message for _, ref in chunks)
        listed = {message.id: message for message in self._chunks.list_after(channel, oldest - 1)}
        return [row for row, ref in chunks if not self._is_there(ref, listed.get(ref.message))]

    def _is_there(self, ref: ChunkRef, message: Message | None) -> bool:
        """A message that no listing shows yet is asked for by its id."""
        if message is None:
            try:
                message = self._chunks.message(ref.channel, ref.message)
            except RemoteGone:
                return False
        sizes = {attachment.id: attachment.size for attachment in message.attachments}
        return all(sizes.get(each.id) == each.size for each in ref.attachments)

    def _read_record(self, state: FoldState) -> None:
        if not state.epoch:
            return
        try:
            message = self._chunks.message(self._log_channel, state.head_message)
            self._chunks.read_log(message, state.head_uid)
        except (RemoteGone, MissingError) as error:
            raise Damaged(
                f"record {state.head_seq} of the log is not on Discord any more: {error}"
            ) from error

    def _files(self, chunks: Iterable[int]) -> str:
        names: list[str] = []
        with self._index.changing() as connection:
            for chunk in chunks:
                rows = connection.execute(
                    "SELECT parent, name FROM dentries WHERE ino IN "
                    "(SELECT ino FROM extents WHERE chunk = ? AND home > 0) LIMIT ?",
                    (chunk, _NAMED + 1),
                ).fetchall()
                names += [os.fsdecode(self._index.path(*row)) for row in rows]
        return ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
