"""The log's bytes: what was said comes back, and what nobody said is never read out of them.

If these fail, a recovery on an empty machine gives a drive that is not the one that was lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from discordfs.errors import Damaged, FormatError
from discordfs.model import AttachmentRef, Attr
from discordfs.records import (
    MAX_ENTRY,
    NO_UID,
    ChunkEntry,
    CondemnedEntry,
    CountersEntry,
    Entry,
    Header,
    InodeEntry,
    InodeGone,
    NameEntry,
    NameGone,
    RangeEntry,
    RecordType,
    Span,
    VolumeEntry,
    pack_entry,
    pack_header,
    unpack_entries,
    unpack_header,
)
from discordfs.soundness import MAX_ITEMS, MAX_TEXT
from tests.unit.log.entries import LARGEST, entries, headers

UID = b"u" * 16
HEADER = Header(RecordType.RECORD, 1, b"o" * 16, "user@host", 7, UID, 1_700_000_000_000_000_000)
ATTR = Attr(2, 0o100644, 1, 1000, 1000, 0, 5, 0, -1, 0, 1)
INODE = InodeEntry(ATTR, b"", ((b"user.a", b"1"),))
CHUNK = ChunkEntry(1, UID, 5, 6, (AttachmentRef(7, 900),), 300_000, 900, b"12345678", 0)
RIDER = replace(CHUNK, channel=0, message=0, attachments=())
RANGE = RangeEntry(2, 10, 30, (Span(10, 5, 1, 0, 3), Span(20, 10, 1, 5, 4)))
VOLUME = VolumeEntry("photos", 1, 2, (2, 3))
ONE_OF_EACH: tuple[Entry, ...] = (
    *(CHUNK, RIDER, INODE, InodeGone(3), NameEntry(1, b"a", 2, 0o100000), NameGone(1, b"b"), RANGE),
    *(CountersEntry(4, 5), CondemnedEntry(5, (6, 7)), VOLUME),
)


def pack(said: tuple[Entry, ...] | list[Entry]) -> bytes:
    return b"".join(map(pack_entry, said))


def read(data: bytes) -> list[Entry]:
    return list(unpack_entries([data]))


# --- what was said comes back ---------------------------------------------------------------------


@given(headers(), st.binary(max_size=30))
def test_a_header_comes_back_and_says_where_the_entries_begin(header: Header, rest: bytes) -> None:
    packed = pack_header(header)
    assert unpack_header(packed + rest) == (header, len(packed))


@given(st.lists(entries, max_size=8))
def test_entries_come_back(said: list[Entry]) -> None:
    assert read(pack(said)) == said


@given(st.lists(entries, max_size=6), st.data())
def test_they_come_back_however_the_parts_were_cut(said: list[Entry], data: st.DataObject) -> None:
    packed = pack(said)
    cuts = data.draw(st.lists(st.integers(0, len(packed)), max_size=6))
    bounds = [0, *sorted(cuts), len(packed)]
    assert list(unpack_entries(packed[start:end] for start, end in pairwise(bounds))) == said


def test_byte_by_byte_as_well() -> None:
    packed = pack(ONE_OF_EACH)
    assert tuple(unpack_entries(packed[at : at + 1] for at in range(len(packed)))) == ONE_OF_EACH


def test_the_largest_there_may_be_comes_back() -> None:
    """What the drive takes at its limits, the log can say: else the queue would stop for ever."""
    attr = Attr(
        LARGEST, 0o107777, 2**32 - 1, 2**32 - 1, 2**32 - 1, LARGEST, LARGEST, 0, -(2**63), LARGEST, -1
    )
    spans = tuple(Span(n * 2, 1, LARGEST, n, LARGEST) for n in range(MAX_ITEMS))
    said = [
        InodeEntry(attr, b"t" * 4095, tuple((b"user.%03d" % n, bytes(65_536)) for n in range(64))),
        NameEntry(LARGEST, b"\xff" * 255, LARGEST, 0o120000),
        RangeEntry(LARGEST, 0, LARGEST, spans),
        CondemnedEntry(LARGEST, tuple(range(1, MAX_ITEMS + 1))),
        VolumeEntry("ü" * MAX_TEXT, 0, LARGEST, (LARGEST,)),
    ]
    assert read(pack(said)) == said


def test_blocks_are_not_said_as_extents_tell() -> None:
    assert read(pack([InodeEntry(replace(ATTR, blocks=8), b"", ())])) == [InodeEntry(ATTR, b"", ())]


def test_a_failing_source_is_told_from_a_damaged_record() -> None:
    """A network error while a record is read must be retried, not taken for damage."""

    def runs() -> Iterator[bytes]:
        yield pack([INODE])
        raise ValueError("the network")

    with pytest.raises(ValueError, match="the network"):
        list(unpack_entries(runs()))


def test_entries_stream() -> None:
    """A snapshot of any size is read in the memory of one entry."""
    packed, asked = pack_entry(INODE) * 1000, 0

    def runs() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield packed

    found = unpack_entries(runs())
    assert [next(found) for _ in range(10)] == [INODE] * 10
    assert asked == 1


# --- what nobody said -----------------------------------------------------------------------------


def test_an_end_within_an_entry_is_damage_at_every_byte() -> None:
    """A record cut short must not pass for a shorter record: files would be missing without a word."""
    packed = pack(ONE_OF_EACH)
    ends = {len(pack(ONE_OF_EACH[:count])) for count in range(len(ONE_OF_EACH) + 1)}
    for end in range(len(packed)):
        if end in ends:
            assert len(read(packed[:end])) < len(ONE_OF_EACH)
        else:
            with pytest.raises(Damaged):
                read(packed[:end])


def test_a_header_cut_short_is_damage_at_every_byte() -> None:
    packed = pack_header(HEADER)
    for end in range(len(packed)):
        with pytest.raises(Damaged):
            unpack_header(packed[:end])


@given(st.binary(max_size=200))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc1")
@example(b"\x91\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00")
@example(b"\x81\x90\x90")
@example(b"\x91" * 5000)
@example(b"\xc0")
def test_noise_is_damage_or_an_unknown_format_and_nothing_else(noise: bytes) -> None:
    for reader in (read, unpack_header):
        try:
            reader(noise)
        except (Damaged, FormatError):
            continue


@settings(max_examples=400)
@given(st.lists(entries, min_size=1, max_size=3), st.data())
def test_a_mutation_is_refused_or_is_itself_something_that_can_be_said(
    said: list[Entry], data: st.DataObject
) -> None:
    changed = mutated(pack(said), data)
    try:
        found = read(changed)
    except (Damaged, FormatError):
        return
    assert read(pack(found)) == found


@settings(max_examples=400)
@given(headers(), st.data())
def test_a_mutated_header_too(header: Header, data: st.DataObject) -> None:
    try:
        found, _ = unpack_header(mutated(pack_header(header), data))
    except (Damaged, FormatError):
        return
    assert unpack_header(pack_header(found))[0] == found


def mutated(packed: bytes, data: st.DataObject) -> bytes:
    """A few bytes changed, put in or taken out."""
    changed = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    return bytes(changed)


VALUES = (None, True, -1, 0, 2**63, 2**64 - 1, 1.5, b"", b"x", "x", b"x" * 16, [], [[]], [1], [[1, 2]], {})


@pytest.mark.parametrize("entry", ONE_OF_EACH, ids=lambda entry: type(entry).__name__)
def test_each_field_refuses_what_does_not_belong_there(entry: Entry) -> None:
    fields = msgpack.unpackb(pack_entry(entry))
    for at in range(1, len(fields)):
        for value in VALUES:
            other = msgpack.packb([*fields[:at], value, *fields[at + 1 :]])
            try:
                (found,) = read(other)
            except Damaged:
                continue
            assert msgpack.unpackb(pack_entry(found)) == msgpack.unpackb(other)
    for wrong in (fields[:-1], [*fields, 0], fields[:1]):
        with pytest.raises(Damaged):
            read(msgpack.packb(wrong))


def test_each_field_of_a_header_too() -> None:
    fields = msgpack.unpackb(pack_header(HEADER))
    for at in range(2, len(fields)):
        for value in VALUES:
            other = msgpack.packb([*fields[:at], value, *fields[at + 1 :]])
            try:
                found, _ = unpack_header(other)
            except Damaged:
                continue
            assert msgpack.unpackb(pack_header(found)) == msgpack.unpackb(other)


UNSOUND: tuple[Entry, ...] = (
    *(NameEntry(1, name, 2, 0o100000) for name in (b"", b".", b"..", b"a/b", b"a\0", b"n" * 256)),
    *(NameEntry(0, b"a", 2, 0o100000), NameEntry(1, b"a", 0, 0o100000), NameEntry(1, b"a", 2, 0o100644)),
    *(NameGone(1, b""), NameGone(0, b"a"), InodeGone(0), InodeGone(-1)),
    *(replace(INODE, attr=replace(ATTR, **{field: -1})) for field in ("ino", "nlink", "size", "uid", "rdev")),
    *(replace(INODE, attr=replace(ATTR, **{field: 2**63})) for field in ("ino", "mtime_ns", "size")),
    *(replace(INODE, attr=replace(ATTR, mode=mode)) for mode in (0o644, 0o1100644, 0o110644)),
    replace(INODE, target=b"t" * 4096),
    *(replace(INODE, xattrs=((name, b""),)) for name in (b"", b"n" * 256)),
    replace(INODE, xattrs=((b"a", b""), (b"a", b""))),
    replace(INODE, xattrs=((b"a", bytes(65_537)),)),
    *(replace(CHUNK, uid=uid) for uid in (b"", b"u" * 15, b"u" * 17)),
    *(replace(CHUNK, message=0), replace(CHUNK, channel=0), replace(CHUNK, attachments=())),
    *(replace(RIDER, channel=1), replace(RIDER, attachments=CHUNK.attachments)),
    *(replace(CHUNK, attachments=refs) for refs in ((AttachmentRef(0, 1),), (AttachmentRef(1, 0),))),
    replace(CHUNK, attachments=(AttachmentRef(1, 1),) * 11),
    *(replace(CHUNK, plain_size=0), replace(CHUNK, stored_size=0), replace(CHUNK, number=-1)),
    *(replace(CHUNK, blocks=blocks) for blocks in (b"", b"1234", b"1234567")),
    *(replace(RANGE, start=-1), replace(RANGE, end=29), replace(RANGE, start=11), replace(RANGE, end=5)),
    replace(RANGE, spans=RANGE.spans[::-1]),
    replace(RANGE, spans=(RANGE.spans[0], RANGE.spans[0])),
    *(replace(RANGE, spans=(replace(RANGE.spans[0], **{f: -1}),)) for f in ("length", "chunk", "position")),
    replace(RANGE, spans=(replace(RANGE.spans[0], length=0),)),
    replace(RANGE, spans=(replace(RANGE.spans[0], position=LARGEST),)),
    *(CountersEntry(-1, 0), CondemnedEntry(0, (1,)), CondemnedEntry(1, (0,)), CondemnedEntry(1, (-1,))),
    *(VolumeEntry("", 0, 0, (1,)), VolumeEntry("", 0, 1, ()), VolumeEntry("v" * 1001, 0, 1, (1,))),
)


@pytest.mark.parametrize("entry", UNSOUND, ids=lambda entry: type(entry).__name__)
def test_what_a_reader_refuses_is_never_packed(entry: Entry) -> None:
    """A record that nobody can read must not be posted: what it says would be lost with this machine."""
    with pytest.raises(ValueError, match="an entry that no reader would take"):
        pack_entry(entry)


def test_nor_an_entry_too_large_for_its_reader() -> None:
    xattrs = tuple((b"user.%d" % n, bytes(65_536)) for n in range(MAX_ENTRY // 65_536))
    with pytest.raises(ValueError, match="is the most"):
        pack_entry(InodeEntry(ATTR, b"", xattrs))


@pytest.mark.parametrize(
    "header",
    [
        *(replace(HEADER, epoch=0), replace(HEADER, seq=0), replace(HEADER, written_ns=-1)),
        *(replace(HEADER, owner=b""), replace(HEADER, prev=b"p"), replace(HEADER, holder="h" * 1001)),
        *(replace(HEADER, claim=UID), replace(HEADER, type=RecordType.ADOPTION)),
    ],
)
def test_nor_such_a_header(header: Header) -> None:
    with pytest.raises(ValueError, match="a header that no reader would take"):
        pack_header(header)


# --- newer releases -------------------------------------------------------------------------------


def test_a_newer_version_is_said_whatever_else_it_changed() -> None:
    """The user is told to take a newer release; nobody takes a newer record for a damaged one."""
    for data in ([2], [2, "else"], [99, {"quite": "different"}, *range(30)]):
        with pytest.raises(FormatError, match="newer release"):
            unpack_header(msgpack.packb(data))


def test_a_newer_type_is_said() -> None:
    fields = msgpack.unpackb(pack_header(HEADER))
    with pytest.raises(FormatError, match="type 6"):
        unpack_header(msgpack.packb([fields[0], 6, *fields[2:]]))


def test_a_newer_kind_of_entry_is_said_after_all_that_stands_before_it() -> None:
    found = unpack_entries([pack([INODE]), msgpack.packb([10, b"new"])])
    assert next(found) == INODE
    with pytest.raises(FormatError, match="entry 2 of a record is of kind 10"):
        next(found)


# --- speed ----------------------------------------------------------------------------------------


def test_two_hundred_thousand_entries_take_seconds_not_minutes() -> None:
    """Recovery of a drive of 100,000 files is a matter of the network."""
    said = [
        entry
        for n in range(66_667)
        for entry in (
            InodeEntry(replace(ATTR, ino=n + 2), b"", ()),
            NameEntry(1, b"file-%d" % n, n + 2, 0o100000),
            RangeEntry(n + 2, 0, 5, (Span(0, 5, n // 100, n, n),)),
        )
    ]
    begun = time.process_time()
    assert sum(1 for _ in unpack_entries([pack(said)])) == len(said)
    assert time.process_time() - begun < 20.0


def test_the_first_of_a_volume_points_at_nothing() -> None:
    header = replace(HEADER, seq=1, prev=NO_UID)
    assert unpack_header(pack_header(header))[0].prev == bytes(16)
