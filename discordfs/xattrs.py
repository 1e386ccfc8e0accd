"""Extended attributes: what users keep beside a file, and the one that tells where its bytes are.

Limits: the namespaces user, trusted and security (the kernel checks who may use which); names of 255 bytes,
values of 64 KiB (xattr(7)). Threading: any thread; takes the inode's lock for a change.
"""

from __future__ import annotations

import os
from dataclasses import replace

from discordfs.errors import AttributeTooBig, EntryExists, NoAttribute, NotPermitted, NotSupported
from discordfs.index import Index
from discordfs.model import NAME_MAX, Clock
from discordfs.nodes import NodeTable

STATE = b"user.discordfs.state"
"""Says `staged` or `remote`; answered, but never listed, as rsync -X would see a difference, nor set."""

_SPACES = (b"user.", b"trusted.", b"security.")
_LARGEST = 65_536
_CREATE, _REPLACE = 1, 2


class ExtendedAttributes:
    """Of the inodes of one index. Raises NoAttribute, EntryExists, NotPermitted, NotSupported,
    AttributeTooBig, NoEntry."""

    def __init__(self, index: Index, nodes: NodeTable, clock: Clock) -> None:
        self._index = index
        self._nodes = nodes
        self._clock = clock

    def get(self, ino: int, name: bytes) -> bytes:
        if name == STATE:
            return self._state(ino)
        _check(name)
        return self._index.xattr(ino, name)

    def _state(self, ino: int) -> bytes:
        if not self._index.attr(ino).is_regular:
            raise NoAttribute("only regular files have bytes that can be somewhere")
        node = self._nodes.get(ino)
        is_settled = node is None or not node.is_changed
        is_there = self._index.ledger.is_remote(ino) and self._index.logbook.is_recorded(ino)
        return b"remote" if is_settled and is_there else b"staged"

    def set(self, ino: int, name: bytes, value: bytes, flags: int) -> None:
        """`flags` as setxattr(2) has them: 1 must be new, 2 must be there."""
        _check_settable(name)
        if len(value) > _LARGEST:
            raise AttributeTooBig(f"a value of {len(value)} bytes")
        with self._nodes.using(ino) as node:
            exists = name in self._index.xattrs(ino)
            if exists and flags & _CREATE:
                raise EntryExists(os.fsdecode(name))
            if not exists and flags & _REPLACE:
                raise NoAttribute(os.fsdecode(name))
            self._nodes.commit(node)
            attr = replace(self._index.attr(ino), ctime_ns=self._clock())
            self._index.set_xattr(attr, name, value)

    def remove(self, ino: int, name: bytes) -> None:
        _check_settable(name)
        with self._nodes.using(ino) as node:
            self._nodes.commit(node)
            attr = replace(self._index.attr(ino), ctime_ns=self._clock())
            self._index.remove_xattr(attr, name)


def _check(name: bytes) -> None:
    if not name.startswith(_SPACES):
        raise NotSupported(f"extended attributes of this namespace: {os.fsdecode(name)}")
    if len(name) > NAME_MAX:
        raise AttributeTooBig(f"a name of {len(name)} bytes")


def _check_settable(name: bytes) -> None:
    _check(name)
    if name == STATE:
        raise NotPermitted(f"{os.fsdecode(name)} tells where a file's bytes are; it cannot be changed")
