"""The plaintext of a record of version 1, kept as bytes, and a second reader written from docs/FORMAT.md
alone: what any release has said stays readable by all later ones, and the document is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack

from discordfs.model import AttachmentRef, Attr
from discordfs.records import (
    ChunkEntry,
    CondemnedEntry,
    CountersEntry,
    Entry,
    Header,
    InodeEntry,
    InodeGone,
    NameEntry,
    NameGone,
    PartRef,
    RangeEntry,
    RecordType,
    Span,
    VolumeEntry,
    pack_entry,
    pack_header,
    unpack_entries,
    unpack_header,
)

GOLDEN = Path(__file__).parent / "golden" / "record-1.bin"
UID, OTHER = bytes(range(16)), bytes(range(100, 116))
T = 1_700_000_000_123_456_789
HEADER = Header(
    type=RecordType.ADOPTION,
    epoch=2,
    owner=b"o" * 16,
    holder="zoë@laptop",
    seq=300,
    prev=UID,
    written_ns=T,
    claim=OTHER,
    parts=(PartRef(OTHER, 1_180_000_000_000_000_001),),
)
ENTRIES: tuple[Entry, ...] = (
    VolumeEntry("Fotos ü", 11, 12, (12, 13)),
    ChunkEntry(
        7,
        UID,
        13,
        1_180_000_000_000_000_002,
        (AttachmentRef(3, 400), AttachmentRef(4, 97)),
        5,
        497,
        b"\x16\0\0\0",
        T,
    ),
    ChunkEntry(8, OTHER, 0, 0, (), 262_145, 300_000, b"\x11\0\4\0\x12\0\0\0", T),
    InodeEntry(Attr(1, 0o040755, 3, 0, 0, 0, 0, 0, 0, 0, 0), b"", ()),
    InodeEntry(
        Attr(2, 0o104644, 2, 1000, 1001, 0, 2**40, 0, -1, T, T + 1),
        b"",
        ((b"user.a", b"\xff"), (b"user.b", b"")),
    ),
    InodeEntry(Attr(3, 0o120777, 1, 0, 0, 0, 4, 0, T, T, T), b"to\xfft", ()),
    InodeEntry(Attr(4, 0o020600, 1, 0, 0, 259, 0, 0, T, T, T), b"", ()),
    InodeGone(5),
    NameEntry(1, b"Ger\xe4usch", 2, 0o100000),
    NameEntry(1, b"link", 3, 0o120000),
    NameGone(1, b"old"),
    RangeEntry(2, 0, 2**40, (Span(0, 5, 7, 0, 40), Span(2**40 - 9, 9, 8, 262_136, 41))),
    CountersEntry(6, 42),
    CondemnedEntry(13, (1_180_000_000_000_000_000, 1_180_000_000_000_000_003)),
)


def test_the_golden_record_is_still_read() -> None:
    data = GOLDEN.read_bytes()
    header, begin = unpack_header(data)
    assert header == HEADER
    assert tuple(unpack_entries([data[begin:]])) == ENTRIES


def test_what_is_written_today_is_the_same_bytes() -> None:
    assert pack_header(HEADER) + b"".join(map(pack_entry, ENTRIES)) == GOLDEN.read_bytes()


def test_a_reader_written_from_the_document_reads_it() -> None:
    said = read_record(GOLDEN.read_bytes())
    identity = [1, 4, 2, b"o" * 16, "zoë@laptop", 300]
    parts = [[OTHER, 1_180_000_000_000_000_001]]
    assert list(said["header"].values()) == [*identity, UID, T, OTHER, parts]
    assert said["volume"] == [["Fotos ü", 11, 12, [12, 13]]]
    assert said["chunk"][0][4] == [[3, 400], [4, 97]]
    assert said["chunk"][1][:5] == [8, OTHER, 0, 0, []]
    assert said["inode"][1][:10] == [2, 0o104644, 2, 1000, 1001, 0, 2**40, -1, T, T + 1]
    assert said["inode"][1][11] == [[b"user.a", b"\xff"], [b"user.b", b""]]
    assert said["inode"][2][10] == b"to\xfft"
    assert said["inode gone"] == [[5]]
    assert said["name"] == [[1, b"Ger\xe4usch", 2, 0o100000], [1, b"link", 3, 0o120000]]
    assert said["name gone"] == [[1, b"old"]]
    assert said["range"] == [[2, 0, 2**40, [[0, 5, 7, 0, 40], [2**40 - 9, 9, 8, 262_136, 41]]]]
    assert said["counters"] == [[6, 42]]
    assert said["condemned"] == [[13, [1_180_000_000_000_000_000, 1_180_000_000_000_000_003]]]


# --- the second reader, without anything of ours --------------------------------------------------

FIELDS = ("version", "type", "epoch", "owner", "holder", "seq", "prev", "written", "claim", "parts")
NUMBERS = ("chunk", "inode", "inode gone", "name", "name gone", "range", "counters", "condemned", "volume")


def read_header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header, and where the entries begin."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    fields = unpacker.unpack()
    assert len(fields) == len(FIELDS)
    return dict(zip(FIELDS, fields, strict=True)), unpacker.tell()


def read_record(data: bytes, parts: bytes = b"") -> dict[str, Any]:
    """What a record says; `parts`: the entries that went ahead."""
    header, begin = read_header(data)
    said: dict[str, Any] = {"header": header}
    entries = msgpack.Unpacker()
    entries.feed(parts + data[begin:])
    for number, *fields in entries:
        said.setdefault(NUMBERS[number - 1], []).append(fields)
    return said


if __name__ == "__main__":  # makes the golden record; once for each version of the format, never again
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(pack_header(HEADER) + b"".join(map(pack_entry, ENTRIES)))
