"""Contents out of the chunks themselves, when neither the index nor the log tells of them any more.

Job: the footer of each chunk says what is in it: pieces of inodes, their offsets, the commits that wrote
them, and a name hint. For each byte of an inode the piece with the highest commit counts (docs/FORMAT.md); so
files come back in `lost+found`, by hints of their names. What a footer cannot say: directories, attributes,
sizes that end in a hole, and that a file was removed or cut: it may come back longer, or at all. Limits:
memory for all pieces. Errors: Discord's answers; what cannot be read is told and left out. Threading: one
thread; asks Discord, so no lock may be held.
"""

from __future__ import annotations

import re
import sqlite3
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from discordfs.chunks import layout
from discordfs.chunkstore import ChunkStore
from discordfs.codec import Footer
from discordfs.errors import ConfigError, Damaged, FormatError, MissingError, RemoteGone
from discordfs.extents import ExtentMap
from discordfs.fold import FoldState
from discordfs.fsck import lost, tree
from discordfs.fsck.logtables import SLACK
from discordfs.logbook import save_state
from discordfs.logreading import LogReader
from discordfs.model import ChunkRef, Extent, Home, Kind, SealedChunk
from discordfs.records import Header, unpack_header
from discordfs.remote.base import Message

_UNREADABLE = (Damaged, FormatError, MissingError, RemoteGone)
_BAD = re.compile(rb"[/\x00]")

Told = Callable[[str], object]


class Hinted(NamedTuple):
    """A piece: `length` bytes at `offset` of an inode, as a commit left them, at `position` of a chunk's
    plaintext (the row of it); `name` is a hint."""

    seq: int
    ino: int
    offset: int
    length: int
    chunk: int
    position: int
    name: bytes


@dataclass(slots=True)
class Loot:
    """Chunks of the volume that were found, with what their footers say; `unreadable` in sentences."""

    chunks: dict[bytes, tuple[ChunkRef, Footer]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


# --- looking --------------------------------------------------------------------------------------


def search(chunks: ChunkStore, channels: Iterable[int], told: Told) -> Loot:
    """Every chunk with files' bytes that lies in these channels; one of each, of those posted twice."""
    loot = Loot()
    for channel in dict.fromkeys(channels):
        try:
            for page in chunks.pages(channel):
                for message in page:
                    _take(chunks, message, loot)
                told(f"{len(loot.chunks)} chunks found")
        except RemoteGone as error:
            loot.unreadable.append(f"channel {channel}: {error}")
    return loot


def _take(chunks: ChunkStore, message: Message, loot: Loot) -> None:
    for held in layout.held(message):
        if held.kind is not Kind.DATA or held.uid in loot.chunks:
            continue
        try:
            footer = chunks.read_footer(message, held.uid)
            stored = sum(attachment.size for attachment in held.attachments)
            loot.chunks[held.uid] = layout.locate(message, held, footer, stored), footer
        except ConfigError as error:
            if isinstance(error, FormatError):
                loot.unreadable.append(f"message {message.id}: {error}")
        except _UNREADABLE as error:
            loot.unreadable.append(f"message {message.id}: {error}")


def end_of_chain(chunks: ChunkStore, channel: int) -> FoldState:
    """Where a new chain must begin so that none of the records that are left goes on with it: above all their
    terms and places."""
    look = LogReader(chunks, channel).look(FoldState())
    headers = [*_headers(chunks, look.messages)]
    epoch = max((header.epoch for header in headers), default=0)
    return FoldState(
        epoch=epoch + 1 if epoch else 0,
        head_seq=max((header.seq for header in headers), default=0),
        head_message=max((message.id for message in look.messages.values()), default=0),
    )


def _headers(chunks: ChunkStore, messages: dict[bytes, Message]) -> Iterator[Header]:
    for uid, message in messages.items():
        yield unpack_header(chunks.read_log(message, uid))[0]


# --- bringing back --------------------------------------------------------------------------------


def bring_back(connection: sqlite3.Connection, loot: Loot, end: FoldState, holder: str) -> list[str]:
    """Puts all of it into an empty index; the names that came back. `end`: of the log as it is left; a new
    chain goes on above it, by us. Links and bytes are counted later (indexcheck.mend)."""
    pieces = sorted(
        piece for ref, footer in loot.chunks.values() for piece in _pieces(connection, ref, footer)
    )
    _raise_counters(connection, pieces)
    _begin_chain(connection, end, holder)
    names = []
    by_inode: dict[int, list[Hinted]] = {}
    for piece in pieces:
        by_inode.setdefault(piece.ino, []).append(piece)
    folder = tree.lost_and_found(connection) if by_inode else 0
    for ino, its in sorted(by_inode.items()):
        names.append(_make_file(connection, folder, ino, its))
    connection.execute(
        "DELETE FROM chunks WHERE NOT EXISTS (SELECT 1 FROM extents WHERE extents.chunk = chunks.id)"
    )
    return [name.decode("utf-8", "backslashreplace") for name in names]


def _pieces(connection: sqlite3.Connection, ref: ChunkRef, footer: Footer) -> Iterator[Hinted]:
    chunk, position = add_chunk(connection, ref), 0
    for piece in footer.pieces:
        yield Hinted(piece.seq, piece.ino, piece.offset, piece.length, chunk, position, piece.name)
        position += piece.length


def add_chunk(connection: sqlite3.Connection, ref: ChunkRef) -> int:
    """A chunk that is on Discord, and that no record names yet; its row."""
    attachments = b"".join(struct.pack("<QQ", each.id, each.size) for each in ref.attachments)
    cursor = connection.execute(
        "INSERT INTO chunks (uid, state, channel, message, attachments, plain_size, stored_size, blocks, "
        "sealed_ns) VALUES (?, 1, ?, ?, ?, ?, ?, ?, 0)",
        (
            ref.uid,
            ref.channel,
            ref.message,
            attachments,
            ref.plain_size,
            sum(each.size for each in ref.attachments),
            ref.blocks,
        ),
    )
    return int(cursor.lastrowid or 0)


def add_intent(connection: sqlite3.Connection, sealed: SealedChunk, channel: int, now_ns: int) -> int:
    """A sealed chunk in the outbox that is to be posted; its row. `now_ns`: Discord's time."""
    cursor = connection.execute(
        "INSERT INTO chunks (uid, state, channel, message, attachments, plain_size, stored_size, blocks, "
        "sealed_ns) VALUES (?, 0, ?, 0, X'', ?, ?, ?, ?)",
        (sealed.uid, channel, sealed.plain_size, sealed.stored_size, sealed.blocks, now_ns),
    )
    return int(cursor.lastrowid or 0)


def _raise_counters(connection: sqlite3.Connection, pieces: Iterable[Hinted]) -> None:
    highest = [(piece.ino, piece.seq) for piece in pieces]
    for name, used in (
        ("inode", max((ino for ino, _ in highest), default=1)),
        ("commit", max((seq for _, seq in highest), default=1)),
    ):
        connection.execute(
            "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT (name) "
            "DO UPDATE SET ceiling = MAX(ceiling, excluded.ceiling)",
            (name, used + SLACK),
        )


def _begin_chain(connection: sqlite3.Connection, end: FoldState, holder: str) -> None:
    (me,) = connection.execute("SELECT me FROM log").fetchone()
    if end.epoch:
        mine = FoldState(
            head_seq=end.head_seq,
            head_message=end.head_message,
            epoch=end.epoch,
            owner=me,
            holder=holder,
            since=end.head_message,
        )
        save_state(connection, mine)
    connection.execute("INSERT OR REPLACE INTO counters SELECT 'snapshot', head_seq + 1 FROM log")


def _make_file(connection: sqlite3.Connection, folder: int, ino: int, pieces: Iterable[Hinted]) -> bytes:
    """One inode's file: its pieces laid down in the order of their commits. The name it got."""
    contents, name, seq = ExtentMap(), b"", 0
    for piece in pieces:
        contents.insert(
            Extent(piece.offset, piece.length, Home.REMOTE, chunk=piece.chunk, chunk_position=piece.position)
        )
        name, seq = piece.name or name, piece.seq
    size = max(extent.end for extent in contents)
    is_taken = connection.execute("SELECT 1 FROM inodes WHERE ino = ?", (ino,)).fetchone() is not None
    number = tree.new_number(connection) if is_taken else ino
    owner = connection.execute("SELECT uid, gid FROM inodes WHERE ino = 1").fetchone() or (0, 0)
    connection.execute(
        "INSERT INTO inodes VALUES (?, ?, 1, ?, ?, 0, ?, ?, 0, 0, 0, X'')",
        (number, stat.S_IFREG | 0o600, *owner, size, contents.total),
    )
    connection.executemany(
        "INSERT INTO extents VALUES (?, ?, ?, 2, 0, 0, ?, ?, ?)",
        ((number, it.offset, it.length, it.chunk, it.chunk_position, seq) for it in contents),
    )
    lost.note(connection, number, 0, size)
    return tree.add_name(connection, folder, _sound_name(name, ino), number, stat.S_IFREG)


def _sound_name(hint: bytes, ino: int) -> bytes:
    name = _BAD.sub(b"_", hint)[:255]
    return b"#%d" % ino if name in (b"", b".", b"..") else name


def from_outbox(
    connection: sqlite3.Connection, sealed: Iterable[SealedChunk], channel: int, now_ns: int
) -> list[str]:
    """Sealed chunks that no index tells of, and that may never have been posted: they are posted, and what is
    in them comes back in `lost+found`. The names that came back."""
    names = []
    for chunk in sealed:
        row, position = add_intent(connection, chunk, channel, now_ns), 0
        by_inode: dict[int, list[Hinted]] = {}
        for piece in chunk.pieces:
            found = Hinted(piece.seq, piece.ino, piece.offset, piece.length, row, position, piece.name)
            by_inode.setdefault(piece.ino, []).append(found)
            position += piece.length
        folder = tree.lost_and_found(connection)
        names += [_make_file(connection, folder, ino, sorted(its)) for ino, its in by_inode.items()]
    return [name.decode("utf-8", "backslashreplace") for name in names]
