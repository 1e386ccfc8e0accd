"""What several rooms need of the local disk. Threading: any thread; nothing is kept."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """The names in a directory are on disk when this returns (fsync(2): a file's own sync is not enough)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
