"""What the log says: a record's header, its entries, and their bytes.

Entries are states, not changes: an inode is so, a name leads there, these ranges of a file lie there. Saying
one twice is harmless. docs/FORMAT.md, "The log", is the specification. No I/O beyond the binary stream that
is passed in, no clock.

Limits: one entry in memory at a time. Errors: Damaged for bytes that are no entries, FormatError for a
version that this release does not know. Threading: functions of their arguments alone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

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
