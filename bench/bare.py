"""The yardstick: a bare fusepy passthrough of os calls on kept descriptors. bare.py ROOT MOUNTPOINT.

Nothing of the drive is in it but the kernel options, so that both mounts speak to the kernel alike.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import fuse

from discordfs.operations import KERNEL_OPTIONS


class Bare(fuse.Operations):  # type: ignore[misc]
    """What fusepy's own example of a passthrough does."""

    use_ns = True
    flag_nullpath_ok = 1
    flag_nopath = 1

    def __init__(self, root: str) -> None:
        self.root = root

    def __call__(self, op: str, path: str | None, *arguments: Any) -> Any:
        return getattr(self, op)(None if path is None else self.root + path, *arguments)

    def getattr(self, path: str | None, handle: int | None = None) -> dict[str, int]:
        found = os.lstat(path) if path is not None else os.fstat(handle or 0)
        keys = ("mode", "ino", "nlink", "uid", "gid", "size", "blocks")
        attrs = {f"st_{key}": getattr(found, f"st_{key}") for key in keys}
        return attrs | {f"st_{key}": getattr(found, f"st_{key}_ns") for key in ("atime", "mtime", "ctime")}

    def readdir(self, path: str, handle: int) -> Iterator[str]:
        yield from (".", "..")
        yield from os.listdir(path)

    def create(self, path: str, mode: int) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(path, flags)

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:
        return os.pread(handle, size, offset)

    def write(self, path: str, data: bytes, offset: int, handle: int) -> int:
        return os.pwrite(handle, data, offset)

    def truncate(self, path: str, size: int, handle: int | None = None) -> None:
        os.truncate(path if handle is None else handle, size)

    def release(self, path: str, handle: int) -> None:
        os.close(handle)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def unlink(self, path: str) -> None:
        os.unlink(path)


if __name__ == "__main__":
    fuse.FUSE(Bare(sys.argv[1]), sys.argv[2], foreground=True, **KERNEL_OPTIONS | {"subtype": "bare"})
