"""Whether the fields of a record's header or entry are what a writer could have written.

Asked of what was unpacked, before anything is made of it, and of what is about to be packed, so that no
record is posted that a reader would refuse. Fields come as tuples of integers, bytes, texts and tuples, in
the order of docs/FORMAT.md, "The log". Answers are yes or no; no errors. Threading: functions of their
arguments alone.
"""

from __future__ import annotations

import stat
from typing import Any

from discordfs.codec import UID_SIZE, block_count
from discordfs.model import NAME_MAX

MAX_NUMBER = 2**63 - 1
"""Of every number of a record: what SQLite and off_t hold."""

MAX_ITEMS = 2**18
"""Spans of a range, messages of a condemnation, attributes of an inode, at most: further ones go into
further entries."""

MAX_PARTS = 2**16
MAX_TEXT = 1000
"""Characters of a holder's or a volume's name, at most."""

_MAX_ID = 2**32 - 1
_MAX_TARGET = 4095
_MAX_XATTR = 65_536
_MAX_ATTACHMENTS = 10
_TYPES = frozenset(
    (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
)

Fields = tuple[Any, ...]


# --- single values --------------------------------------------------------------------------------


def is_natural(value: Any) -> bool:
    """An integer from 0 to MAX_NUMBER; True and False are none."""
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _are_naturals(*values: Any) -> bool:
    return {*map(type, values)} == {int} and min(values) >= 0 and max(values) <= MAX_NUMBER


def _are_positive(*values: Any) -> bool:
    return {*map(type, values)} == {int} and min(values) > 0 and max(values) <= MAX_NUMBER


def _are_times(*values: Any) -> bool:
    return {*map(type, values)} == {int} and min(values) >= -MAX_NUMBER - 1 and max(values) <= MAX_NUMBER


def _is_uid(value: Any) -> bool:
    return type(value) is bytes and len(value) == UID_SIZE


def _is_text(value: Any) -> bool:
    return type(value) is str and len(value) <= MAX_TEXT


def _is_name(value: Any) -> bool:
    return (
        type(value) is bytes
        and 0 < len(value) <= NAME_MAX
        and b"/" not in value
        and b"\0" not in value
        and value not in (b".", b"..")
    )


def _are_pairs(values: Any, most: int) -> bool:
    return (
        type(values) is tuple
        and len(values) <= most
        and all(type(pair) is tuple and len(pair) == 2 for pair in values)
    )


def _are_ids(values: Any) -> bool:
    """Ids of Discord, which are never 0."""
    return type(values) is tuple and len(values) <= MAX_ITEMS and (not values or _are_positive(*values))


# --- headers and entries --------------------------------------------------------------------------


def is_header(fields: Fields) -> bool:
    """The fields after version and type; a claim is checked by whoever knows the type."""
    if len(fields) != 8:
        return False
    epoch, owner, holder, seq, prev, written_ns, claim, parts = fields
    return (
        _are_positive(epoch, seq)
        and _is_uid(owner)
        and _is_text(holder)
        and _is_uid(prev)
        and is_natural(written_ns)
        and (claim == b"" or _is_uid(claim))
        and _are_pairs(parts, MAX_PARTS)
        and all(_is_uid(uid) and _are_positive(message) for uid, message in parts)
    )


def is_chunk(fields: Fields) -> bool:
    if len(fields) != 9:
        return False
    number, uid, channel, message, attachments, plain_size, stored_size, blocks, sealed_ns = fields
    return (
        _are_naturals(number, channel, message, sealed_ns)
        and _are_positive(plain_size, stored_size)
        and _is_uid(uid)
        and type(blocks) is bytes
        and len(blocks) == 4 * block_count(plain_size)
        and _are_pairs(attachments, _MAX_ATTACHMENTS)
        and all(_are_positive(*pair) for pair in attachments)
        and bool(message) == bool(channel) == bool(attachments)
    )


def is_inode(fields: Fields) -> bool:
    if len(fields) != 12:
        return False
    ino, mode, nlink, uid, gid, rdev, size, atime_ns, mtime_ns, ctime_ns, target, xattrs = fields
    return (
        _are_naturals(ino, mode, nlink, uid, gid, rdev, size)
        and ino > 0
        and mode <= 0xFFFF
        and stat.S_IFMT(mode) in _TYPES
        and max(nlink, uid, gid) <= _MAX_ID
        and _are_times(atime_ns, mtime_ns, ctime_ns)
        and type(target) is bytes
        and len(target) <= _MAX_TARGET
        and (xattrs == () or _are_xattrs(xattrs))
    )


def _are_xattrs(xattrs: Any) -> bool:
    return (
        _are_pairs(xattrs, MAX_ITEMS)
        and all(type(name) is type(value) is bytes for name, value in xattrs)
        and all(0 < len(name) <= NAME_MAX and len(value) <= _MAX_XATTR for name, value in xattrs)
        and len(dict(xattrs)) == len(xattrs)
    )


def is_inode_gone(fields: Fields) -> bool:
    return len(fields) == 1 and _are_positive(*fields)


def is_name(fields: Fields) -> bool:
    if len(fields) != 4:
        return False
    parent, name, ino, kind = fields
    return _are_positive(parent, ino, kind) and kind in _TYPES and _is_name(name)


def is_name_gone(fields: Fields) -> bool:
    return len(fields) == 2 and _are_positive(fields[0]) and _is_name(fields[1])


def is_range(fields: Fields) -> bool:
    if len(fields) != 4:
        return False
    ino, start, end, spans = fields
    return (
        _are_naturals(ino, start, end)
        and ino > 0
        and start <= end
        and type(spans) is tuple
        and len(spans) <= MAX_ITEMS
        and _are_spans(start, end, spans)
    )


def _are_spans(start: int, end: int, spans: Fields) -> bool:
    """Within [start, end), in order, none over another."""
    for span in spans:
        if type(span) is not tuple or len(span) != 5 or not _are_naturals(*span):
            return False
        offset, length, _chunk, position, _seq = span
        if not length or offset < start or offset + length > end or position + length > MAX_NUMBER:
            return False
        start = offset + length
    return True


def is_counters(fields: Fields) -> bool:
    return len(fields) == 2 and _are_naturals(*fields)


def is_condemned(fields: Fields) -> bool:
    return len(fields) == 2 and _are_positive(fields[0]) and _are_ids(fields[1])


def is_volume(fields: Fields) -> bool:
    if len(fields) != 4:
        return False
    name, guild, log_channel, data_channels = fields
    return (
        _is_text(name)
        and is_natural(guild)
        and _are_positive(log_channel)
        and _are_ids(data_channels)
        and len(data_channels) > 0
    )
