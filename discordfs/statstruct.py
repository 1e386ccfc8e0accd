"""Attributes as the bytes of a C `struct stat`: one pack in place of some twenty field assignments.

The layout is read from the ctypes structure it is given, so it is right on every machine that structure
is right on. No I/O; instances are immutable after construction and safe to share between threads.
"""

from __future__ import annotations

import ctypes
import operator
import struct

from discordfs.model import Attr

_UNSIGNED = ("st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_rdev")
_SIGNED = ("st_size", "st_blksize", "st_blocks")
_TIMES = ("st_atimespec", "st_mtimespec", "st_ctimespec")
_SECOND = 1_000_000_000


class StatPacker:
    """Packs an Attr the way `c_stat` (with its `c_timespec`) lies in memory."""

    def __init__(
        self, c_stat: type[ctypes.Structure], c_timespec: type[ctypes.Structure], io_size: int
    ) -> None:
        self.size = ctypes.sizeof(c_stat)
        self._io_size = io_size
        places = [self._place(c_stat, name, "IQ") for name in _UNSIGNED]
        places += [self._place(c_stat, name, "iq") for name in _SIGNED]
        for name in _TIMES:
            start = getattr(c_stat, name).offset
            for part in ("tv_sec", "tv_nsec"):
                offset, letter = self._place(c_timespec, part, "iq")
                places.append((start + offset, letter))
        order = sorted(range(len(places)), key=lambda index: places[index][0])
        self._in_order = operator.itemgetter(*order)
        self._struct = struct.Struct(self._format([places[index] for index in order]))

    @staticmethod
    def _place(structure: type[ctypes.Structure], name: str, letters: str) -> tuple[int, str]:
        field = getattr(structure, name)
        return field.offset, letters[field.size == 8]

    def _format(self, places: list[tuple[int, str]]) -> str:
        text, at = "=", 0
        for offset, letter in places:
            text += f"{offset - at}x{letter}"
            at = offset + struct.calcsize("=" + letter)
        return text + f"{self.size - at}x"

    def pack(self, attr: Attr) -> bytes:
        """The bytes of a struct stat for `attr`; times before 1970 are negative seconds."""
        values = (
            attr.ino,
            attr.mode,
            attr.nlink,
            attr.uid,
            attr.gid,
            attr.rdev,
            attr.size,
            self._io_size,
            attr.blocks,
            *divmod(attr.atime_ns, _SECOND),
            *divmod(attr.mtime_ns, _SECOND),
            *divmod(attr.ctime_ns, _SECOND),
        )
        return self._struct.pack(*self._in_order(values))
