"""Who uses which inode.

Job: one Node for each inode in use, shared by all who use it, gone with the last of them; and what
happens to an unlinked inode when that one leaves. Threading: any thread; `_lock` is a leaf, held for
dictionary work only (making a Node asks the index). A node's own lock is taken after, never inside.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from discordfs.errors import NoEntry
from discordfs.index import Index
from discordfs.node import Node
from discordfs.staging import Staging

log = logging.getLogger(__name__)


class NodeTable:
    """The inodes in use. `committed` is called after each commit that staged a file's bytes. `are_foreign`:
    another machine writes the volume."""

    def __init__(
        self, index: Index, staging: Staging, committed: Callable[[], None], are_foreign: bool = False
    ) -> None:
        self._index = index
        self._are_foreign = are_foreign
        self._staging = staging
        self._committed = committed
        self._nodes: dict[int, Node] = {}
        self._lock = threading.Lock()

    def get(self, ino: int) -> Node | None:
        """The node, if somebody uses it: for a look, which does not count as a use."""
        return self._nodes.get(ino)

    def take(self, ino: int) -> Node:
        """One more user. Raises NoEntry when the inode is gone."""
        with self._lock:
            node = self._nodes.get(ino)
            if node is None:
                node = self._nodes[ino] = Node(ino, self._index, self._staging, self._are_foreign)
            node.users += 1
            return node

    def give(self, node: Node) -> None:
        """One user less; the last one takes the node away, and with it an inode without names."""
        with self._lock:
            node.users -= 1
            if node.users:
                return
            del self._nodes[node.ino]
        with node.lock:
            if node.is_changed:
                log.error(
                    "inode %d: writes that could not be committed are lost with its last close", node.ino
                )
                node.abandon()
            node.rest()
        self.forget_if_unlinked(node.ino)

    @contextmanager
    def using(self, ino: int) -> Iterator[Node]:
        """The inode, locked."""
        node = self.take(ino)
        try:
            with node.lock:
                yield node
        finally:
            self.give(node)

    def is_any_changed(self) -> bool:
        """Whether somebody is writing: something is not committed yet."""
        with self._lock:
            return any(node.is_changed for node in self._nodes.values())

    def is_in_use(self, ino: int) -> bool:
        with self._lock:
            return ino in self._nodes

    def forget_if_unlinked(self, ino: int) -> None:
        """Whoever closes an inode and whoever unlinks it both call this, after they did so: the later one
        sees that nothing holds it any more."""
        try:
            if self._index.attr(ino).nlink or self.is_in_use(ino):
                return
        except NoEntry:
            return
        self._staging.release(self._index.forget(ino))

    def commit(self, node: Node) -> None:
        """The caller holds the node's lock."""
        if node.commit():
            self._committed()

    def settle(self) -> None:
        """Commits what open files hold and takes back what they reserved: staging needs room."""
        with self._lock:
            inodes = list(self._nodes)
        for ino in inodes:
            try:
                with self.using(ino) as node:
                    self.commit(node)
                    node.rest()
            except NoEntry:
                log.debug("inode %d was closed and removed meanwhile", ino)

    def reload(self, inodes: Iterable[int]) -> None:
        """Their extents have moved to a chunk."""
        for ino in inodes:
            with self._lock:
                node = self._nodes.get(ino)
            if node is not None:
                with node.lock:
                    node.reload()
