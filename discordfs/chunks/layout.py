"""How a chunk lies in a message: cuts, names, the text beside it, and how it is known again.

docs/FORMAT.md, "A chunk in a message", is the specification. No I/O.
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
from discordfs.model import AttachmentRef, ChunkRef, Limits, SealedChunk
from discordfs.remote.base import Attachment, Message, UploadFile

_NAME = re.compile(r"c-([0-9a-f]{32})-([0-9]{1,2})-of-([0-9]{1,2})\.bin")
_REQUEST_FRAME = 4096  # bytes of a request that are neither file nor part header, at most
_PART_FRAME = 1024  # bytes of multipart framing for one file, at most


@dataclass(frozen=True, slots=True)
class PartName:
    """What an attachment's name says: part `number` (from 1) of `count` of chunk `uid`."""

    uid: bytes
    number: int
    count: int

    def __str__(self) -> str:
        return f"c-{self.uid.hex()}-{self.number}-of-{self.count}.bin"


def parse_name(name: str) -> PartName | None:
    """None for whatever is no part of a chunk."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    uid, number, count = match.groups()
    return PartName(bytes.fromhex(uid), int(number), int(count))


def message_text(volume: bytes, uid: bytes) -> str:
    """One line for people who meet the message."""
    return f"discordfs: part of a drive, please do not delete. Chunk {uid.hex()} of volume {volume.hex()}."


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
        name = PartName(sealed.uid, number, len(sizes))
        files.append(UploadFile(str(name), sealed.path, start, size))
        start += size
    return files


# --- recognising ----------------------------------------------------------------------------------


def parts_of(message: Message) -> tuple[bytes, tuple[Attachment, ...]] | None:
    """The uid of the chunk in a message and its attachments in order; None unless all of it is there.

    Attachments with other names are none of a chunk's business."""
    named = [(name, it) for it in message.attachments if (name := parse_name(it.name)) is not None]
    named.sort(key=lambda pair: pair[0].number)
    numbers = [name.number for name, _ in named]
    if not named or numbers != list(range(1, named[0][0].count + 1)):
        return None
    if any((name.uid, name.count) != (named[0][0].uid, named[0][0].count) for name, _ in named):
        return None
    return named[0][0].uid, tuple(attachment for _, attachment in named)


def recognise(message: Message, sealed: SealedChunk) -> ChunkRef | None:
    """The sealed chunk as it lies in this message; None unless all of it does, cut between its blocks."""
    found = parts_of(message)
    if found is None or found[0] != sealed.uid:
        return None
    return _reference(message, found[1], sealed.stored_size, sealed.plain_size, sealed.blocks)


def locate(message: Message, footer: Footer, stored_size: int) -> ChunkRef:
    """The chunk that a footer describes, as it lies in the message the footer was read from.

    MissingError when the message does not hold all of it."""
    found = parts_of(message)
    if found is not None and found[0] == footer.uid:
        chunk = _reference(message, found[1], stored_size, footer.plain_size, footer.blocks)
        if chunk is not None:
            return chunk
    raise MissingError(f"message {message.id} does not hold the whole of chunk {footer.uid.hex()}")


def _reference(
    message: Message, attachments: Sequence[Attachment], stored_size: int, plain_size: int, blocks: bytes
) -> ChunkRef | None:
    places = set(block_offsets(blocks))
    end = 0
    for attachment in attachments:
        if end and end not in places:
            return None
        end += attachment.size
    if end != stored_size or not all(attachment.size for attachment in attachments):
        return None
    refs = tuple(AttachmentRef(attachment.id, attachment.size) for attachment in attachments)
    uid = parts_of_uid(attachments)
    return ChunkRef(uid, message.channel, message.id, refs, plain_size, blocks)


def parts_of_uid(attachments: Sequence[Attachment]) -> bytes:
    name = parse_name(attachments[0].name)
    assert name is not None  # parts_of let it through
    return name.uid
