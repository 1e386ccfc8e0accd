"""Headers and entries of every kind, drawn by Hypothesis."""

from __future__ import annotations

import stat

from hypothesis import strategies as st

from discordfs.codec import block_count
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
)

LARGEST = 2**63 - 1

uids = st.binary(min_size=16, max_size=16)
naturals = st.integers(0, LARGEST)
ids = st.integers(1, LARGEST)
times = st.integers(-(2**63), LARGEST)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = (
    st.binary(min_size=1, max_size=255)
    .map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda name: name not in (b".", b".."))
)
kinds = st.sampled_from(
    [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK]
)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    kind = draw(st.sampled_from(RecordType))
    return Header(
        type=kind,
        epoch=draw(ids),
        owner=draw(uids),
        holder=draw(texts),
        seq=draw(ids),
        prev=draw(uids),
        written_ns=draw(naturals),
        claim=draw(uids) if kind is RecordType.ADOPTION else b"",
        parts=tuple(draw(st.lists(st.builds(PartRef, uids, ids), max_size=3))),
    )


@st.composite
def chunks(draw: st.DrawFn) -> ChunkEntry:
    plain_size = draw(st.integers(1, 3_000_000))
    blocks = block_count(plain_size) * 4
    is_rider = draw(st.booleans())
    refs = st.lists(st.builds(AttachmentRef, ids, ids), min_size=1, max_size=10)
    return ChunkEntry(
        number=draw(naturals),
        uid=draw(uids),
        channel=0 if is_rider else draw(ids),
        message=0 if is_rider else draw(ids),
        attachments=() if is_rider else tuple(draw(refs)),
        plain_size=plain_size,
        stored_size=draw(ids),
        blocks=draw(st.binary(min_size=blocks, max_size=blocks)),
        sealed_ns=draw(naturals),
    )


@st.composite
def inodes(draw: st.DrawFn) -> InodeEntry:
    small = st.integers(0, 2**32 - 1)
    attr = Attr(
        ino=draw(ids),
        mode=draw(kinds) | draw(st.integers(0, 0o7777)),
        nlink=draw(small),
        uid=draw(small),
        gid=draw(small),
        rdev=draw(naturals),
        size=draw(naturals),
        blocks=0,
        atime_ns=draw(times),
        mtime_ns=draw(times),
        ctime_ns=draw(times),
    )
    xattrs = draw(st.dictionaries(st.binary(min_size=1, max_size=255), st.binary(max_size=300), max_size=3))
    return InodeEntry(attr, draw(st.binary(max_size=300)), tuple(xattrs.items()))


@st.composite
def ranges(draw: st.DrawFn) -> RangeEntry:
    """Spans one behind the other, with holes between some."""
    start = at = draw(st.integers(0, 2**40))
    spans = []
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2**30)), max_size=4)):
        spans.append(Span(at + gap, length, draw(naturals), draw(st.integers(0, 2**28)), draw(naturals)))
        at += gap + length
    return RangeEntry(draw(ids), start, at + draw(st.integers(0, 9)), tuple(spans))


entries: st.SearchStrategy[Entry] = st.one_of(
    chunks(),
    inodes(),
    st.builds(InodeGone, ids),
    st.builds(NameEntry, ids, names, ids, kinds),
    st.builds(NameGone, ids, names),
    ranges(),
    st.builds(CountersEntry, naturals, naturals),
    st.builds(CondemnedEntry, ids, st.lists(ids, max_size=5).map(tuple)),
    st.builds(VolumeEntry, texts, naturals, ids, st.lists(ids, min_size=1, max_size=3).map(tuple)),
)
