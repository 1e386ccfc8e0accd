"""What the log says: a record's header, its entries, and their bytes.

Entries are states, not changes: an inode is so, a name leads there, these ranges of a file lie there. Saying
one twice is harmless. docs/FORMAT.md, "The log", is the specification. No I/O, no clock.

Limits: those of soundness.py; one entry in memory at a time, MAX_ENTRY bytes of it packed. Errors: Damaged
for bytes that are no entries, FormatError for a version, type or kind that this release does not know, and
nothing else; ValueError for packing what no reader would take. Threading: any thread; packers are kept by
thread.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from discordfs import soundness
from discordfs.errors import Damaged, FormatError
from discordfs.model import AttachmentRef, Attr

NO_UID = bytes(16)
"""`prev` of a volume's first record."""


class RecordType(enum.IntEnum):
    """What a record is in the chain. SNAPSHOT says everything, RECORD what changed since its `prev`;
    CLAIM, ADOPTION and RELEASE are about who may write (fold.py has the rules)."""

    RECORD = 1
    SNAPSHOT = 2
    CLAIM = 3
    ADOPTION = 4
    RELEASE = 5


@dataclass(frozen=True, slots=True)
class PartRef:
    """A message with an earlier part of a record's entries: the part's uid, and where it was posted."""

    uid: bytes
    message: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a record says of itself. `owner` is the writer's random 16-byte id, `holder` who that is for
    people ("user@host"); `seq` its place in the chain, from 1; `prev` the uid of the record before it
    (NO_UID for the first; of a CLAIM: the head that the claimant knew); `claim`: of an ADOPTION, the claim's
    uid, else b"". `written_ns`: the writer's clock. `parts`: earlier parts of the entries, in order; the
    entries that follow the header come after theirs."""

    type: RecordType
    epoch: int
    owner: bytes
    holder: str
    seq: int
    prev: bytes
    written_ns: int
    claim: bytes = b""
    parts: tuple[PartRef, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """A chunk that ranges of this record lie in, by a number that only counts within the record (all its
    parts). `message` 0: it is in the message of the record itself, whose attachments say the rest (then
    `channel` is 0 and `attachments` empty). Else as in ChunkRef."""

    number: int
    uid: bytes
    channel: int
    message: int
    attachments: tuple[AttachmentRef, ...]
    plain_size: int
    stored_size: int
    blocks: bytes
    sealed_ns: int


@dataclass(frozen=True, slots=True)
class InodeEntry:
    """An inode as it is: attributes (`attr.blocks` is 0 here: extents tell), a symlink's target, all
    extended attributes by name."""

    attr: Attr
    target: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class InodeGone:
    """There is no such inode (any more), nor extents or attributes of it."""

    ino: int


@dataclass(frozen=True, slots=True)
class NameEntry:
    """A name in a directory leads to this inode; `kind`: the file type bits of its mode."""

    parent: int
    name: bytes
    ino: int
    kind: int


@dataclass(frozen=True, slots=True)
class NameGone:
    parent: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes at `offset` of a file lie at `position` of the plaintext of chunk number `chunk`;
    `seq` is the commit that wrote them."""

    offset: int
    length: int
    chunk: int
    position: int
    seq: int


@dataclass(frozen=True, slots=True)
class RangeEntry:
    """Bytes [start, end) of a file are exactly these spans; what none covers is a hole."""

    ino: int
    start: int
    end: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class CountersEntry:
    """No inode number, and no commit number, at or above these has been used by what this log tells of."""

    next_ino: int
    next_commit: int


@dataclass(frozen=True, slots=True)
class CondemnedEntry:
    """Messages of a channel that nothing refers to from this record on; they are deleted after the grace
    time, and never referred to again."""

    channel: int
    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VolumeEntry:
    """What a volume is called and where it lives (in each snapshot, and where it changes)."""

    name: str
    guild: int
    log_channel: int
    data_channels: tuple[int, ...]


Entry = (
    ChunkEntry
    | InodeEntry
    | InodeGone
    | NameEntry
    | NameGone
    | RangeEntry
    | CountersEntry
    | CondemnedEntry
    | VolumeEntry
)


# --- headers --------------------------------------------------------------------------------------

VERSION = 1
"""Of header and entries; the first field of a header in every version."""

MAX_ENTRY = 64 * 1024**2
"""Bytes of one packed entry, at most."""

_MAX_HEADER = 4 * 1024**2
_HEADER_FIELDS = 10
_RUN = 256 * 1024  # bytes that are unpacked at once
_TYPES = frozenset(RecordType)

_Fields = soundness.Fields


class _Packer(threading.local):
    """A packer is not for sharing between threads, and a new one costs more than what it packs."""

    def __init__(self) -> None:
        self.pack: Callable[[Any], bytes] = msgpack.Packer().pack


_packer = _Packer()


def _unpacker(limit: int) -> msgpack.Unpacker:
    items = soundness.MAX_ITEMS
    return msgpack.Unpacker(use_list=False, max_buffer_size=limit, max_array_len=items, max_map_len=0)


def pack_header(header: Header) -> bytes:
    """The header's bytes; entries may follow. ValueError for what no header can hold."""
    fields = (
        int(header.type),
        header.epoch,
        header.owner,
        header.holder,
        header.seq,
        header.prev,
        header.written_ns,
        header.claim,
        tuple((part.uid, part.message) for part in header.parts),
    )
    if not _is_header(fields):
        raise ValueError(f"a header that no reader would take: {header}")
    return _packer.pack((VERSION, *fields))


def unpack_header(data: bytes) -> tuple[Header, int]:
    """The header that `data` begins with, and where its entries begin.

    Raises Damaged, and FormatError for a version or type that this release does not know."""
    unpacker = _unpacker(_MAX_HEADER)
    try:
        unpacker.feed(memoryview(data)[:_MAX_HEADER])
        count = unpacker.read_array_header()
        _check_version(unpacker.unpack() if count else None)
        if count != _HEADER_FIELDS:
            raise Damaged(f"a record's header has {count} fields, not {_HEADER_FIELDS}")
        fields = tuple(unpacker.unpack() for _ in range(count - 1))
    except (ValueError, msgpack.UnpackException) as error:
        raise Damaged(f"a record's header cannot be read: {_reason(error)}") from None
    return _header(fields), unpacker.tell()


def _check_version(version: Any) -> None:
    if not soundness.is_natural(version):
        raise Damaged("a record does not begin with its version")
    if version != VERSION:
        raise FormatError(f"a record of the log has version {version}: a newer release is needed")


def _header(fields: _Fields) -> Header:
    kind, epoch, owner, holder, seq, prev, written_ns, claim, parts = fields
    if soundness.is_natural(kind) and kind not in _TYPES:
        raise FormatError(f"a record of the log has type {kind}: a newer release is needed")
    if not _is_header(fields):
        raise Damaged("a record's header is not one that a writer could have written")
    refs = tuple(PartRef(*part) for part in parts)
    return Header(RecordType(kind), epoch, owner, holder, seq, prev, written_ns, claim, refs)


def _is_header(fields: _Fields) -> bool:
    kind, *rest = fields
    is_adoption = kind == RecordType.ADOPTION
    return soundness.is_natural(kind) and soundness.is_header(tuple(rest)) and bool(rest[6]) == is_adoption


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


# --- entries --------------------------------------------------------------------------------------


def pack_entry(entry: Entry) -> bytes:
    """ValueError for what no entry can hold: names, numbers and sizes beyond their limits."""
    kind, fields_of = _FIELDS[type(entry)]
    fields = fields_of(entry)
    if not _KINDS[kind][0](fields):
        raise ValueError(f"an entry that no reader would take: {str(entry)[:1000]}")
    packed = _packer.pack((kind, *fields))
    if len(packed) > MAX_ENTRY:
        raise ValueError(f"an entry of {len(packed)} bytes; {MAX_ENTRY} is the most")
    return packed


def unpack_entries(runs: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a record, from their bytes cut anywhere: those of its parts, then the rest.

    Raises Damaged, also for an end within an entry, and FormatError for a kind of entry that this release
    does not know. What was yielded until then is right, but it is not all."""
    unpacker, number = _unpacker(MAX_ENTRY), 0
    for run in runs:
        view = memoryview(run)
        for start in range(0, len(view), _RUN):
            for fields in _fed(unpacker, view[start : start + _RUN]):
                number += 1
                yield _entry(fields, number)
    # At the end of an entry a nil is a thing of its own; anywhere else it becomes part of another.
    if [fields is None for fields in _fed(unpacker, memoryview(b"\xc0"))] != [True]:
        raise Damaged(f"a record ends within entry {number + 1}")


def _fed(unpacker: msgpack.Unpacker, run: memoryview) -> Iterator[Any]:
    try:
        unpacker.feed(run)
        yield from unpacker
    except (ValueError, msgpack.UnpackException) as error:
        raise Damaged(f"a record's entries cannot be read: {_reason(error)}") from None


def _entry(fields: Any, number: int) -> Entry:
    kind = fields[0] if type(fields) is tuple and fields else None
    if not soundness.is_natural(kind):
        raise Damaged(f"entry {number} of a record is none")
    if kind not in _KINDS:
        raise FormatError(f"entry {number} of a record is of kind {kind}: a newer release is needed")
    is_sound, make = _KINDS[kind]
    if not is_sound(fields[1:]):
        raise Damaged(f"entry {number} of a record (kind {kind}) is not one that a writer could have written")
    return make(*fields[1:])


def _chunk_fields(entry: ChunkEntry) -> _Fields:
    attachments = tuple((each.id, each.size) for each in entry.attachments)
    place = (entry.channel, entry.message, attachments)
    sizes = (entry.plain_size, entry.stored_size, entry.blocks)
    return (entry.number, entry.uid, *place, *sizes, entry.sealed_ns)


def _make_chunk(number: int, uid: bytes, channel: int, message: int, refs: _Fields, *rest: Any) -> ChunkEntry:
    return ChunkEntry(number, uid, channel, message, tuple(AttachmentRef(*ref) for ref in refs), *rest)


def _inode_fields(entry: InodeEntry) -> _Fields:
    attr = entry.attr
    ids = (attr.ino, attr.mode, attr.nlink, attr.uid, attr.gid, attr.rdev, attr.size)
    return (*ids, attr.atime_ns, attr.mtime_ns, attr.ctime_ns, entry.target, entry.xattrs)


def _make_inode(
    ino: int, mode: int, nlink: int, uid: int, gid: int, rdev: int, size: int, *rest: Any
) -> InodeEntry:
    atime_ns, mtime_ns, ctime_ns, target, xattrs = rest
    attr = Attr(ino, mode, nlink, uid, gid, rdev, size, 0, atime_ns, mtime_ns, ctime_ns)
    return InodeEntry(attr, target, xattrs)


def _range_fields(entry: RangeEntry) -> _Fields:
    spans = tuple((it.offset, it.length, it.chunk, it.position, it.seq) for it in entry.spans)
    return (entry.ino, entry.start, entry.end, spans)


def _make_range(ino: int, start: int, end: int, spans: _Fields) -> RangeEntry:
    return RangeEntry(ino, start, end, tuple(Span(*span) for span in spans))


_KINDS: dict[int, tuple[Callable[[_Fields], bool], Callable[..., Entry]]] = {
    1: (soundness.is_chunk, _make_chunk),
    2: (soundness.is_inode, _make_inode),
    3: (soundness.is_inode_gone, InodeGone),
    4: (soundness.is_name, NameEntry),
    5: (soundness.is_name_gone, NameGone),
    6: (soundness.is_range, _make_range),
    7: (soundness.is_counters, CountersEntry),
    8: (soundness.is_condemned, CondemnedEntry),
    9: (soundness.is_volume, VolumeEntry),
}
"""By the number that an entry begins with: whether its fields are sound, and what they become."""

_FIELDS: dict[type, tuple[int, Callable[[Any], _Fields]]] = {
    ChunkEntry: (1, _chunk_fields),
    InodeEntry: (2, _inode_fields),
    InodeGone: (3, lambda entry: (entry.ino,)),
    NameEntry: (4, lambda entry: (entry.parent, entry.name, entry.ino, entry.kind)),
    NameGone: (5, lambda entry: (entry.parent, entry.name)),
    RangeEntry: (6, _range_fields),
    CountersEntry: (7, lambda entry: (entry.next_ino, entry.next_commit)),
    CondemnedEntry: (8, lambda entry: (entry.channel, entry.messages)),
    VolumeEntry: (9, lambda entry: (entry.name, entry.guild, entry.log_channel, entry.data_channels)),
}
