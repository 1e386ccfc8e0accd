"""Leaving a channel that dies: what lies there is copied, byte for byte, and the log says where it is now.

The order, which is the safety: each chunk is posted to the new channel, and only then does the index point
there; when all that can be copied is, the index is made ready for a snapshot (in a new term, if the log
moves, so that nobody mistakes the old one for it), and only then does config.toml name the new channels.
Nothing is deleted. Interrupted at any point, the next attempt goes on: what was posted is recognised, what
was noted is not looked at again. What no message gives any more comes from the disk cache (`rescue`), and
else is named.

Job: steps of that, on an index that no uploader works on; the commands put them together. Limits: one chunk
on the disk at a time. Errors: Discord's answers about the new channel; OSError. Threading: one thread; asks
Discord, so no lock may be held.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from discordfs.chunks import layout
from discordfs.chunkstore import ChunkStore
from discordfs.config import Volume
from discordfs.disk import make_directory
from discordfs.errors import (
    BusyError,
    ConfigError,
    Damaged,
    Forbidden,
    OutcomeUnknown,
    RemoteGone,
    Unavailable,
)
from discordfs.fsck import messages
from discordfs.fsck.findings import Heal
from discordfs.fsck.healing import Healer
from discordfs.fsck.local import Local, open_view
from discordfs.fsck.messages import Stored, inodes_in, stored_chunks
from discordfs.fsck.repairing import Parts
from discordfs.index import Index
from discordfs.logreading import LogReader, describe_holder
from discordfs.model import ChunkRef, SealedChunk
from discordfs.remote.base import Message

log = logging.getLogger(__name__)

_TRIES = 5  # of a post whose answer got lost
_OUT_OF_REACH = (RemoteGone, Forbidden, Damaged)

Told = Callable[[str], object]


@dataclass(slots=True)
class Salvaged:
    """What was done. `lost`: paths of files with bytes that nobody could give; `damaged`: of those that were
    copied as damaged as they are. Sizes in bytes."""

    moved_chunks: int = 0
    moved_bytes: int = 0
    rescued_bytes: int = 0
    lost: tuple[str, ...] = ()
    damaged: set[str] = field(default_factory=set)


class Salvager:
    """Moves what lies in `sources` to the channel `to`. `index_file` is the index itself, `folder` takes a
    chunk at a time."""

    def __init__(
        self,
        index: Index,
        chunks: ChunkStore,
        index_file: Path,
        folder: Path,
        sources: Collection[int],
        to: int,
        told: Told,
    ) -> None:
        self._index, self._chunks, self._index_file, self._folder = index, chunks, index_file, folder
        self._sources, self._to, self._told = frozenset(sources) - {to}, to, told
        self.result = Salvaged()

    def check_writer(self, reader: LogReader) -> None:
        """Raises BusyError when another machine writes the volume. A log that is gone cannot say so: then
        what the index remembers counts."""
        book = self._index.logbook
        try:
            state = reader.look(book.state()).fold.state()
        except (RemoteGone, Forbidden):
            state = book.state()
        if (state.epoch and state.owner != book.me) or book.is_lost():
            raise BusyError(f"{describe_holder(state)}: only the writer can move a volume")

    # --- copying ----------------------------------------------------------------------------------

    def copy(self) -> None:
        """Every chunk with files' bytes that can be had is in the new channel when this returns, and the
        index knows. Raises Unavailable, and what the new channel answers."""
        waiting = self.left()
        if not waiting:
            return
        make_directory(self._folder)
        there = self._already_there()
        for number, chunk in enumerate(waiting, 1):
            self._told(f"chunk {number} of {len(waiting)}")
            self._copy(chunk, there)

    def left(self) -> list[Stored]:
        """The chunks with files' bytes that lie in a channel to be left."""
        return stored_in(self._index_file, self._sources, self._to)

    def _already_there(self) -> dict[bytes, Message]:
        """What an attempt before this one has posted."""
        return {
            held.uid: message
            for page in self._chunks.pages(self._to)
            for message in page
            for held in layout.held(message)
        }

    def _copy(self, chunk: Stored, there: dict[bytes, Message]) -> None:
        path = self._folder / f"{chunk.ref.uid.hex()}.chunk"
        try:
            damaged = self._chunks.download(chunk.ref, path)
            sealed = self._chunks.reopen(path)
        except _OUT_OF_REACH as error:
            log.info("chunk %s cannot be copied: %s", chunk.ref.uid.hex(), error)
            return
        try:
            known = there.get(chunk.ref.uid)
            ref = layout.recognise(known, sealed) if known is not None else None
            self._note(chunk, ref or self._post(sealed))
        finally:
            path.unlink(missing_ok=True)
        self.result.moved_chunks += 1
        self.result.moved_bytes += sealed.stored_size
        with closing(open_view(self._index_file)) as view:
            local = _local(view)
            self.result.damaged.update(local.paths(messages.hurt_by(local, chunk.id, damaged)))

    def _post(self, sealed: SealedChunk) -> ChunkRef:
        since = self._chunks.now_ns()
        for attempt in range(_TRIES):
            try:
                found = self._chunks.find(sealed, self._to, since) if attempt else None
                return found or self._chunks.post(sealed, self._to)
            except OutcomeUnknown as error:
                log.info("posting chunk %s: %s", sealed.uid.hex(), error)
        raise Unavailable(f"channel {self._to} gives no answer: what was moved stands, try again later")

    def _note(self, chunk: Stored, ref: ChunkRef) -> None:
        with self._index.changing() as connection:
            messages.place(connection, chunk.id, ref)
        self._index.ledger.forget_chunks()

    # --- the new channels -------------------------------------------------------------------------

    def switch(self, volume: Volume) -> Volume:
        """Makes the index ready for the new channels; the volume with them. Whoever calls saves that as
        config.toml, and opens the drive: its next record is a snapshot."""
        moves_log = volume.log_channel in self._sources
        kept = tuple(each for each in volume.data_channels if each not in self._sources)
        channels = kept if self._to in kept else (*kept, self._to)
        log_channel = self._to if moves_log else volume.log_channel
        with self._index.changing() as connection:
            for source in self._sources:
                connection.execute(
                    "UPDATE chunks SET channel = ? WHERE state = 0 AND channel = ?", (self._to, source)
                )
                connection.execute("DELETE FROM garbage WHERE channel = ?", (source,))
            if moves_log:
                connection.execute("UPDATE chunks SET state = 2 WHERE state = 3")
                connection.execute("UPDATE chunks SET record = 0 WHERE state < 2")
                connection.execute("DELETE FROM records")
                connection.execute("DELETE FROM record_parts")
                connection.execute(
                    "UPDATE log SET epoch = epoch + (epoch > 0), released = 0, claim = 0, channel = ?",
                    (self._to,),
                )
        self._index.logbook.want_snapshot()
        self._index.sync()
        return replace(volume, log_channel=log_channel, data_channels=channels)


def _local(view: sqlite3.Connection) -> Local:
    """For what asks the tables alone."""
    return Local(view, Path(), Path(), is_live=True)


def stored_in(index_file: Path, sources: Collection[int], to: int) -> list[Stored]:
    """The chunks with files' bytes that lie in channels to be left."""
    with closing(open_view(index_file)) as view:
        return [
            it for it in stored_chunks(_local(view)) if it.ref.channel in sources and it.ref.channel != to
        ]


# --- what only the cache has ------------------------------------------------------------------------


def rescue(parts: Parts, left: Iterable[Stored], told: Told) -> int:
    """Bytes of chunks that could not be copied, from the disk cache: staged anew in a drive that runs, and so
    sent to the new channels."""

    def room() -> int:
        return max(0, parts.staging.quota // 2 - parts.staging.used)

    def flush() -> None:
        told("sending what the cache had")
        parts.uploader.barrier(None, lambda status: None)

    healer = Healer(parts.index, parts.chunks, parts.drive, room, flush)
    rescued = 0
    for chunk in left:
        rescued += healer.heal(Heal(chunk.id, ((0, chunk.ref.plain_size),)))
    parts.uploader.committed()
    flush()
    return rescued


def lost_files(index_file: Path, sources: Collection[int], to: int) -> tuple[str, ...]:
    """The files that still have bytes in the channels that were left."""
    gone = stored_in(index_file, sources, to)
    with closing(open_view(index_file)) as view:
        local = _local(view)
        return local.paths(inodes_in(local, (each.id for each in gone)))


def check_sources(sources: Collection[int], to: int) -> None:
    """Raises ConfigError for what makes no sense."""
    if set(sources) <= {to}:
        raise ConfigError(f"channel {to} is the one to leave and the one to go to: name another with --to")
