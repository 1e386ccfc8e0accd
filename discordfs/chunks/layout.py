"""How chunks lie in a message: cuts, names, the text beside them, and how they are known again.

A message may hold several: a record, and a chunk of data that it refers to. docs/FORMAT.md, "Chunks in a
message", is the specification. No I/O.
Limits: attachments are cut between blocks only, so no block is ever in two; the footer and the trailer stay
together, in the last one.
Threading: functions of their arguments alone.
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from discordfs.codec import Footer, block_offsets
from discordfs.errors import MissingError, TooLarge
from discordfs.model import AttachmentRef, ChunkRef, Kind, Limits, SealedChunk
from discordfs.remote.base import Attachment, Message, UploadFile

_LETTERS = {Kind.DATA: "c", Kind.RECORD: "r", Kind.SNAPSHOT: "s", Kind.PART: "p"}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}
_WORDS = {
    Kind.DATA: ("a drive", "Chunk"),
    Kind.RECORD: ("the log of a drive", "Record"),
    Kind.SNAPSHOT: ("the log of a drive", "Snapshot"),
    Kind.PART: ("the log of a drive", "Part"),
}
_NAME = re.compile(r"([crsp])-([0-9a-f]{32})-([0-9]{1,2})-of-([0-9]{1,2})\.bin")
_REQUEST_FRAME = 4096  # bytes of a request that are neither file nor part header, at most
_PART_FRAME = 1024  # bytes of multipart framing for one file, at most


@dataclass(frozen=True, slots=True)
class PartName:
    """What an attachment's name says: part `number` (from 1) of `count` of chunk `uid`."""

    uid: bytes
    number: int
    count: int
    kind: Kind = Kind.DATA

    def __str__(self) -> str:
        return f"{_LETTERS[self.kind]}-{self.uid.hex()}-{self.number}-of-{self.count}.bin"


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk that a message holds, by its attachments' names, which are `attachments`, in order."""

    kind: Kind
    uid: bytes
    attachments: tuple[Attachment, ...]


def parse_name(name: str) -> PartName | None:
    """None for whatever is no part of a chunk."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    letter, uid, number, count = match.groups()
    return PartName(bytes.fromhex(uid), int(number), int(count), _KINDS[letter])


def message_text(volume: bytes, uid: bytes, kind: Kind = Kind.DATA) -> str:
    """One line for people who meet the message."""
    whole, what = _WORDS[kind]
    return f"discordfs: part of {whole}, please do not delete. {what} {uid.hex()} of volume {volume.hex()}."


def nonce(uid: bytes, attempt: int) -> str:
    """At most 25 characters: 22 of the uid (URL-safe base64), and the attempt where it is not the first."""
    text = base64.urlsafe_b64encode(uid).decode("ascii").rstrip("=")
    return f"{text}.{attempt}" if attempt else text


# --- cutting --------------------------------------------------------------------------------------


def cut(blocks: bytes, stored_size: int, limits: Limits) -> list[int]:
    """The sizes of the attachments for a chunk: as few as may be, and as even as the blocks allow.

    TooLarge when no message within these limits can carry it."""
    places = block_offsets(blocks)
    least = max(1, -(-stored_size // limits.file_bytes))
    for count in range(least, limits.files + 1):
        if stored_size + _REQUEST_FRAME + count * _PART_FRAME > limits.request_bytes:
            break
        sizes = _even(places, stored_size, count)
        if max(sizes) <= limits.file_bytes:
            return sizes
    raise TooLarge(
        f"a chunk of {stored_size} bytes fits into no message here: {limits.files} files of "
        f"{limits.file_bytes} bytes, {limits.request_bytes} in all"
    )


def cut_all(chunks: Sequence[SealedChunk], limits: Limits) -> list[list[int]]:
    """The sizes of the attachments for chunks that go into one message, each cut as if it were alone.

    TooLarge when no message within these limits can carry them together."""
    sizes = [cut(sealed.blocks, sealed.stored_size, limits) for sealed in chunks]
    files, stored = sum(map(len, sizes)), sum(map(sum, sizes))
    if files > limits.files or stored + _REQUEST_FRAME + files * _PART_FRAME > limits.request_bytes:
        raise TooLarge(
            f"{len(chunks)} chunks of {stored} bytes together fit into no message here: {limits.files} files "
            f"of {limits.file_bytes} bytes, {limits.request_bytes} in all"
        )
    return sizes


def _even(places: Sequence[int], stored_size: int, count: int) -> list[int]:
    """At most `count` sizes whose largest is as small as it can be: bisects for that largest."""
    low, high = -(-stored_size // count), stored_size
    while low < high:
        middle = (low + high) // 2
        sizes = _greedy(places, stored_size, middle)
        if len(sizes) <= count and max(sizes) <= middle:
            high = middle
        else:
            low = middle + 1
    return _greedy(places, stored_size, low)


def _greedy(places: Sequence[int], stored_size: int, most: int) -> list[int]:
    """Fills each up to `most`; one unit that is larger by itself still goes in (the caller sees it)."""
    sizes, begin, index = [], 0, 0
    while begin < stored_size:
        index = max(index + 1, bisect_right(places, begin + most) - 1)
        end = stored_size if begin + most >= stored_size or index >= len(places) else places[index]
        sizes.append(end - begin)
        begin = end
    return sizes


def upload_files(sealed: SealedChunk, sizes: Sequence[int]) -> list[UploadFile]:
    """The attachments of the sealed chunk, cut into `sizes`."""
    files, start = [], 0
    for number, size in enumerate(sizes, 1):
        name = PartName(sealed.uid, number, len(sizes), sealed.kind)
        files.append(UploadFile(str(name), sealed.path, start, size))
        start += size
    return files


# --- recognising ----------------------------------------------------------------------------------


def held(message: Message) -> tuple[Held, ...]:
    """The chunks whose attachments are all in the message, by name; several in the order of their first.

    Attachments with other names are none of a chunk's business, nor is another chunk's half."""
    parts: dict[tuple[Kind, bytes], list[tuple[PartName, Attachment]]] = {}
    for attachment in message.attachments:
        name = parse_name(attachment.name)
        if name is not None:
            parts.setdefault((name.kind, name.uid), []).append((name, attachment))
    for named in parts.values():
        named.sort(key=lambda pair: pair[0].number)
    return tuple(
        Held(kind, uid, tuple(attachment for _, attachment in named))
        for (kind, uid), named in parts.items()
        if _is_whole([name for name, _ in named])
    )


def _is_whole(names: Sequence[PartName]) -> bool:
    count = names[0].count
    return [(name.number, name.count) for name in names] == [(n, count) for n in range(1, count + 1)]


def choose(message: Message, uid: bytes | None) -> Held:
    """The chunk of this uid in a message; for None the one chunk of data. MissingError unless there is
    exactly one, and whole."""
    found = [it for it in held(message) if (it.kind is Kind.DATA if uid is None else it.uid == uid)]
    if len(found) != 1:
        what = "one whole chunk of data" if uid is None else f"the whole chunk {uid.hex()}"
        raise MissingError(f"message {message.id} in channel {message.channel} does not hold {what}")
    return found[0]


def recognise(message: Message, sealed: SealedChunk) -> ChunkRef | None:
    """The sealed chunk as it lies in this message; None unless all of it does, cut between its blocks."""
    for chunk in held(message):
        if (chunk.kind, chunk.uid) == (sealed.kind, sealed.uid):
            return _reference(message, chunk, sealed.stored_size, sealed.plain_size, sealed.blocks)
    return None


def recognise_all(message: Message, chunks: Sequence[SealedChunk]) -> list[ChunkRef] | None:
    """As `recognise`, for each; None unless the message holds them all."""
    found = [chunk for sealed in chunks if (chunk := recognise(message, sealed)) is not None]
    return found if len(found) == len(chunks) else None


def locate(message: Message, chunk: Held, footer: Footer, stored_size: int) -> ChunkRef:
    """A chunk that its footer describes, as it lies in the message the footer was read from.

    MissingError when the message does not hold all of it, cut between its blocks."""
    found = _reference(message, chunk, stored_size, footer.plain_size, footer.blocks)
    if found is None:
        raise MissingError(f"message {message.id} does not hold the whole of chunk {footer.uid.hex()}")
    return found


def _reference(
    message: Message, chunk: Held, stored_size: int, plain_size: int, blocks: bytes
) -> ChunkRef | None:
    places = set(block_offsets(blocks))
    end = 0
    for attachment in chunk.attachments:
        if end and end not in places:
            return None
        end += attachment.size
    if end != stored_size or not all(attachment.size for attachment in chunk.attachments):
        return None
    refs = tuple(AttachmentRef(attachment.id, attachment.size) for attachment in chunk.attachments)
    return ChunkRef(chunk.uid, message.channel, message.id, refs, plain_size, blocks)
