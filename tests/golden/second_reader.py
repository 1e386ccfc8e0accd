"""Another implementation of recovery, written from docs/FORMAT.md alone and with nothing of ours: from a
volume's messages and its master key to names, attributes and bytes. Short rather than fast; it stops at what
a sound volume does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.unit.log.test_golden_record import read_header, read_record
from tests.unit.store.test_golden import read_chunk

NAME = re.compile(r"([crsp])-([0-9a-f]{32})-([0-9]+)-of-([0-9]+)\.bin")
KINDS = {"c": 1, "r": 2, "s": 3, "p": 4}
RECORD, SNAPSHOT, CLAIM, ADOPTION, RELEASE = range(1, 6)
LAG_S, CLAIM_LIFETIME_S = 10, 600


@dataclass
class Chunk:
    """Found in a message by its names: kind, uid, and its bytes as posted."""

    kind: int
    uid: bytes
    stored: bytes


@dataclass
class Message:
    """As Discord lists it, with the chunks in it."""

    channel: int
    id: int
    chunks: list[Chunk]

    @property
    def seconds(self) -> float:
        return ((self.id >> 22) + 1_420_070_400_000) / 1000


@dataclass
class Inode:
    fields: list[Any]
    bytes: bytearray = field(default_factory=bytearray)
    data: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Volume:
    """What was read: inodes by number, names by (directory, name)."""

    inodes: dict[int, Inode] = field(default_factory=dict)
    names: dict[tuple[int, bytes], int] = field(default_factory=dict)


def chunks_of(files: Sequence[tuple[str, bytes]]) -> Iterator[Chunk]:
    """ "Chunks in a message"."""
    parts: dict[tuple[str, str, int], dict[int, bytes]] = {}
    for name, data in files:
        match = NAME.fullmatch(name)
        if match:
            letter, uid, number, count = match.groups()
            parts.setdefault((letter, uid, int(count)), {})[int(number)] = data
    for (letter, uid, count), found in parts.items():
        if sorted(found) == [*range(1, count + 1)]:
            stored = b"".join(found[number] for number in range(1, count + 1))
            yield Chunk(KINDS[letter], bytes.fromhex(uid), stored)


def plaintext(master: bytes, chunk: Chunk) -> bytes:
    pieces = read_chunk(master, chunk.stored, chunk.kind)
    return b"".join(data for *_, data in pieces)


# --- "Which records count" --------------------------------------------------------------------------------


@dataclass
class Record:
    message: Message
    uid: bytes
    said: dict[str, Any]

    @property
    def header(self) -> dict[str, Any]:
        return dict(self.said["header"])


def read_records(master: bytes, log: Mapping[int, Message]) -> Iterator[Record]:
    for number in sorted(log):
        for chunk in log[number].chunks:
            if chunk.kind in (2, 3):
                own = plaintext(master, chunk)
                header, _ = read_header(own)
                parts = [the_chunk(log[place], uid) for uid, place in header["parts"]]
                before = b"".join(plaintext(master, part) for part in parts)
                yield Record(log[number], chunk.uid, read_record(own, before))


def the_chunk(message: Message, uid: bytes) -> Chunk:
    (found,) = (chunk for chunk in message.chunks if chunk.uid == uid)
    return found


def the_chain(records: Sequence[Record]) -> list[Record]:
    """Rules 1 to 8, for a log without gaps, and claims that were adopted."""
    chain: list[Record] = []
    claim: Record | None = None
    provisional: list[Record] = []
    for record in records:
        header = record.header
        newest = (chain + provisional)[-1] if chain else None
        if newest is None:
            if header["type"] == SNAPSHOT:
                chain.append(record)
        elif header["type"] == CLAIM:
            if header["epoch"] == chain[-1].header["epoch"] + 1 and claim is None:
                claim = record
        elif header["type"] == ADOPTION:
            kept = [*chain[-1:], *provisional]
            places = [number for number, each in enumerate(kept) if each.uid == header["prev"]]
            if claim is not None and places and is_in_time(record, claim):
                chain += [*provisional[: places[0]], record]
                claim, provisional = None, []
        elif continues(header, newest):
            (provisional if claim is not None else chain).append(record)
    assert claim is None
    return chain


def is_in_time(adoption: Record, claim: Record) -> bool:
    after = adoption.message.seconds - claim.message.seconds
    return adoption.header["claim"] == claim.uid and 2 * LAG_S <= after <= CLAIM_LIFETIME_S


def continues(header: Mapping[str, Any], newest: Record) -> bool:
    tip = newest.header
    return (header["epoch"], header["owner"], header["prev"], header["seq"]) == (
        tip["epoch"],
        tip["owner"],
        newest.uid,
        tip["seq"] + 1,
    )


# --- "Entries" ----------------------------------------------------------------------------------------------


def read_volume(master: bytes, messages: Sequence[Message]) -> Volume:
    places = {(message.channel, message.id): message for message in messages}
    channel = next(message.channel for message in messages if any(it.kind == 3 for it in message.chunks))
    log = {message.id: message for message in messages if message.channel == channel}
    volume = Volume()
    for record in the_chain([*read_records(master, log)]):
        if record.header["type"] == SNAPSHOT:
            volume = Volume()
        apply(volume, record, master, places)
    return volume


def apply(volume: Volume, record: Record, master: bytes, places: Mapping[tuple[int, int], Message]) -> None:
    said = record.said
    texts: dict[int, bytes] = {}
    for number, uid, channel, message, attachments, size, *_ in said.get("chunk", ()):
        holder = places[channel, message] if message else record.message
        texts[number] = plaintext(master, the_chunk(holder, uid))
        assert len(texts[number]) == size
        assert bool(attachments) == bool(message)
    for fields in said.get("inode", ()):
        volume.inodes.setdefault(fields[0], Inode(fields)).fields = fields
    for parent, name, ino, _ in said.get("name", ()):
        volume.names[parent, name] = ino
    for parent, name in said.get("name gone", ()):
        volume.names.pop((parent, name), None)
    for (ino,) in said.get("inode gone", ()):
        volume.inodes.pop(ino, None)
    for ino, start, end, spans in said.get("range", ()):
        if ino in volume.inodes:
            put(volume.inodes[ino], start, end, spans, texts)


def put(
    inode: Inode, start: int, end: int, spans: Sequence[Sequence[int]], texts: Mapping[int, bytes]
) -> None:
    inode.data = [
        (begin, finish)
        for low, high in inode.data
        for begin, finish in ((low, min(high, start)), (max(low, end), high))
        if begin < finish
    ]
    last = max([len(inode.bytes), *(offset + length for offset, length, *_ in spans)])
    inode.bytes.extend(bytes(last - len(inode.bytes)))
    finish = min(end, last)
    inode.bytes[start:finish] = bytes(max(0, finish - start))
    for offset, length, chunk, position, _ in spans:
        inode.bytes[offset : offset + length] = texts[chunk][position : position + length]
        inode.data.append((offset, offset + length))
    inode.data.sort()


def contents(inode: Inode) -> bytes:
    """All bytes of a file; its size decides, what is beyond is nothing, what is missing a hole."""
    size = int(inode.fields[6])
    return bytes(inode.bytes[:size]) + bytes(size - len(inode.bytes[:size]))


def paths(volume: Volume) -> dict[bytes, int]:
    found = {b"/": 1}

    def walk(above: bytes, directory: int) -> None:
        for (parent, name), ino in volume.names.items():
            if parent == directory:
                path = above + b"/" + name
                found[path] = ino
                walk(path, ino)

    walk(b"", 1)
    return found
