"""Does each chunk lie where the index says, whole? And what else lies in the channels?

Job: list every channel of the volume and compare. A chunk that is missing hurts files, which are named; its
bytes may still be in another message (a twin), in staging or in the cache. Messages that nothing refers to
are counted: they are gc's. Limits: memory for the chunks' places; what a listing lacks is asked for one by
one. Errors: Discord's answers, but for a channel that is gone or closed to us. Threading: one thread; asks
Discord.
"""

from __future__ import annotations

import math
import re
import sqlite3
import struct
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from discordfs.chunks import layout
from discordfs.chunks.layout import Held
from discordfs.chunkstore import ChunkStore
from discordfs.errors import ConfigError, Damaged, Forbidden, MissingError, RemoteGone
from discordfs.fsck import lost
from discordfs.fsck.findings import Finding, Heal, Mend, Rebuild, Severity
from discordfs.fsck.local import Local
from discordfs.model import AttachmentRef, ChunkRef
from discordfs.remote.base import Message

Ranges = Sequence[tuple[int, int]]

_VOLUME = re.compile("of volume ([0-9a-f]{32})")  # in the text beside a chunk: a hint


@dataclass(frozen=True, slots=True)
class Stored:
    """A chunk that files have bytes in: the id of its row, and where it is."""

    id: int
    ref: ChunkRef


@dataclass(slots=True)
class Seen:
    """What the listings showed: of each uid the messages that hold it, how many messages with chunks nothing
    refers to, and how many came without what is in them."""

    copies: dict[bytes, list[Message]] = field(default_factory=dict)
    strangers: int = 0
    hidden: int = 0


def stored_chunks(local: Local) -> list[Stored]:
    """All chunks on Discord that files have bytes in, those first that were read and compared longest ago."""
    rows = local.rows(
        "SELECT id, uid, channel, message, attachments, plain_size, blocks FROM chunks WHERE state > 0 "
        "AND uid <> ? AND EXISTS (SELECT 1 FROM extents WHERE extents.chunk = chunks.id AND home > 0) "
        "ORDER BY verified_ns, id",
        lost.UID,
    )
    return [Stored(row[0], _ref(*row[1:])) for row in rows]


def _ref(
    uid: bytes, channel: int, message: int, attachments: bytes, plain_size: int, blocks: bytes
) -> ChunkRef:
    refs = tuple(AttachmentRef(*pair) for pair in struct.iter_unpack("<QQ", attachments))
    return ChunkRef(uid, channel, message, refs, plain_size, blocks)


# --- are they there -------------------------------------------------------------------------------


def check_messages(
    local: Local, chunks: ChunkStore, channels: Iterable[int], is_current: Callable[[Stored], bool]
) -> Iterator[Finding]:
    """`is_current` tells whether the index still has a chunk there, for a drive that is at work."""
    stored = stored_chunks(local)
    missing: list[Stored] = []
    seen = Seen()
    for channel in sorted({*channels, *(each.ref.channel for each in stored)}):
        here = [each for each in stored if each.ref.channel == channel]
        try:
            missing += _look(local, chunks, channel, here, seen)
        except (RemoteGone, Forbidden) as error:
            yield _closed(local, channel, here, error)
    for each in missing:
        if is_current(each):
            yield _missing(local, chunks, each, seen)
    yield from _forgotten(local, chunks, seen)
    yield from _notes(local, stored, seen)


def _look(local: Local, chunks: ChunkStore, channel: int, here: Iterable[Stored], seen: Seen) -> list[Stored]:
    """The chunks that are not in the messages of this channel that they should be in."""
    wanted: dict[int, list[Stored]] = {}
    for each in here:
        wanted.setdefault(each.ref.message, []).append(each)
    known = {row[0] for row in local.rows(_KNOWN)}
    missing = []
    for page in chunks.pages(channel):
        for message in page:
            missing += _match(message, wanted.pop(message.id, []), seen)
            held = layout.held(message)
            seen.strangers += bool(held) and message.id not in known
            for copy in held:
                seen.copies.setdefault(copy.uid, []).append(message)
    for message_id, those in wanted.items():
        try:
            missing += _match(chunks.message(channel, message_id), those, seen)
        except RemoteGone:
            missing += those
    return missing


_KNOWN = (
    "SELECT message FROM chunks UNION SELECT message FROM records UNION SELECT message FROM record_parts "
    "UNION SELECT message FROM garbage"
)


def _match(message: Message, wanted: Iterable[Stored], seen: Seen) -> list[Stored]:
    """Those of the chunks that the message does not hold as the index says."""
    if not message.content and not message.attachments:  # ours all have a text
        seen.hidden += 1
        return []
    held = {each.uid: each for each in layout.held(message)}
    return [each for each in wanted if not _is_as_said(each.ref, held.get(each.ref.uid))]


def _is_as_said(ref: ChunkRef, held: Held | None) -> bool:
    return held is not None and ref.attachments == tuple(
        AttachmentRef(attachment.id, attachment.size) for attachment in held.attachments
    )


def _closed(local: Local, channel: int, here: Sequence[Stored], error: Exception) -> Finding:
    what = "does not exist any more" if isinstance(error, RemoteGone) else "may not be read by this bot"
    text = f"channel {channel} {what} ({len(here)} chunks of files lie there)"
    return Finding("channel", text, local.paths(inodes_in(local, (each.id for each in here))))


def _missing(local: Local, chunks: ChunkStore, chunk: Stored, seen: Seen) -> Finding:
    ref, paths = chunk.ref, local.paths(inodes_in(local, [chunk.id]))
    where = f"chunk {ref.uid.hex()} is not in message {ref.message} of channel {ref.channel}"
    for message in seen.copies.get(ref.uid, ()):
        found = _located(chunks, message, ref.uid)
        if found is not None:
            text = f"{where}, but in message {message.id} of channel {message.channel}"
            return Finding("misplaced-chunk", text, paths, Mend(partial(place, chunk=chunk.id, ref=found)))
    heal = Heal(chunk.id, ((0, ref.plain_size),))
    return Finding("missing-chunk", f"{where} any more", paths, heal)


def _located(chunks: ChunkStore, message: Message, uid: bytes) -> ChunkRef | None:
    try:
        return chunks.locate(message, uid)
    except (MissingError, Damaged, ConfigError, RemoteGone):
        return None


def _forgotten(local: Local, chunks: ChunkStore, seen: Seen) -> Iterator[Finding]:
    """Chunks of this volume though the index is a new one, and no record tells of anything."""
    if local.rows("SELECT 1 FROM log WHERE epoch > 0 UNION SELECT 1 FROM inodes WHERE ino > 1"):
        return
    groups: dict[str, tuple[Message, bytes]] = {}
    for uid, copies in seen.copies.items():
        hint = _VOLUME.search(copies[0].content)
        groups.setdefault(hint[1] if hint else "", (copies[0], uid))
    if any(_located(chunks, message, uid) is not None for message, uid in groups.values()):
        text = f"the index is empty, and the channels hold chunks of this volume (up to {len(seen.copies)})"
        yield Finding("forgotten", text, repair=Rebuild(from_chunks=True))


def _notes(local: Local, stored: Iterable[Stored], seen: Seen) -> Iterator[Finding]:
    if seen.strangers:
        text = (
            f"{seen.strangers} messages hold chunks that this drive does not refer to: its own leftovers, "
            "which gc deletes, or another volume's"
        )
        yield Finding("unreferred", text, severity=Severity.NOTE)
    twins = sum(len(seen.copies.get(each.ref.uid, ())) > 1 for each in stored)
    if twins:
        yield Finding("twins", f"{twins} chunks were posted more than once", severity=Severity.NOTE)
    if seen.hidden:
        text = (
            f"{seen.hidden} messages came without what is in them: another bot posted them, and this one "
            "lacks the MESSAGE_CONTENT intent"
        )
        yield Finding("hidden", text, severity=Severity.NOTE)


def place(connection: sqlite3.Connection, chunk: int, ref: ChunkRef) -> None:
    """The chunk is there; the next record says so."""
    attachments = b"".join(struct.pack("<QQ", each.id, each.size) for each in ref.attachments)
    stored = sum(each.size for each in ref.attachments)
    connection.execute(
        "UPDATE chunks SET state = 1, record = 0, channel = ?, message = ?, attachments = ?, plain_size = ?, "
        "stored_size = ?, blocks = ? WHERE id = ?",
        (ref.channel, ref.message, attachments, ref.plain_size, stored, ref.blocks, chunk),
    )


# --- are they what was sealed ---------------------------------------------------------------------


def check_contents(
    local: Local,
    chunks: ChunkStore,
    percent: float,
    verified: Callable[[int, Ranges], object],
    told: Callable[[int, int], object],
    without: Container[int] = (),
) -> Iterator[Finding]:
    """Reads so many percent of the chunks, all that is in them, those first that were read longest ago; none
    of those `without` (ids of rows). `verified` hears of each that was read whole; `told` how many are done,
    and of how many."""
    stored = stored_chunks(local)
    stored = [each for each in stored[: math.ceil(len(stored) * percent / 100)] if each.id not in without]
    for done, each in enumerate(stored):
        told(done, len(stored))
        yield from _verify(local, chunks, each, verified)


def _verify(
    local: Local, chunks: ChunkStore, chunk: Stored, verified: Callable[[int, Ranges], object]
) -> Iterator[Finding]:
    uid = chunk.ref.uid.hex()
    try:
        ranges = chunks.verify(chunk.ref)
    except Damaged as error:
        paths = local.paths(inodes_in(local, [chunk.id]))
        whole = Heal(chunk.id, ((0, chunk.ref.plain_size),), is_there=True)
        yield Finding("damaged-footer", f"all of chunk {uid} can be read, but: {error}", paths, whole)
        return
    except (RemoteGone, Forbidden):  # its channel: that is told already
        return
    verified(chunk.id, ranges)
    hurt = hurt_by(local, chunk.id, ranges)
    if hurt:
        size = sum(length for _, length in ranges)
        text = f"{size} bytes of chunk {uid} (message {chunk.ref.message}) are not what was sealed"
        yield Finding("damaged-chunk", text, local.paths(hurt), Heal(chunk.id, tuple(ranges), is_there=True))
    elif ranges:
        text = f"chunk {uid} is damaged where no file has bytes"
        yield Finding("damaged-unused", text, severity=Severity.NOTE)


def inodes_in(local: Local, chunks: Iterable[int]) -> set[int]:
    """The files with bytes in these chunks (ids of rows)."""
    return {
        row[0]
        for chunk in chunks
        for row in local.rows("SELECT DISTINCT ino FROM extents WHERE chunk = ? AND home > 0", chunk)
    }


def hurt_by(local: Local, chunk: int, ranges: Ranges) -> set[int]:
    """The files with bytes in these ranges (position, length) of a chunk's plaintext."""
    return {
        row[0]
        for position, length in ranges
        for row in local.rows(
            "SELECT DISTINCT ino FROM extents WHERE chunk = ? AND home > 0 AND chunk_position < ? "
            "AND chunk_position + length > ?",
            chunk,
            position + length,
            position,
        )
    }
