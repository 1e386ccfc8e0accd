"""Files that only this machine has, after another one has taken the volume over.

Job: which they are. Threading: any thread.
"""

from __future__ import annotations

from discordfs.index import Index


def stranded_paths(index: Index) -> list[bytes]:
    """Paths from the root, without a slash before them, sorted."""
    return sorted(index.path(parent, entry.name) for parent, entry in index.unrecorded())
