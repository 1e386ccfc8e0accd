"""What must hold in every index, whatever happened before: the check each filesystem test ends in."""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter
from pathlib import Path

from discordfs.model import ROOT_INO

EXTENTS = "SELECT ino, offset, length, home, segment, segment_position, chunk, chunk_position FROM extents"


def problems(index: Path, staging: Path) -> list[str]:
    """Sentences about what is wrong; none when all is well."""
    connection = sqlite3.connect(index)
    try:
        return [
            *_integrity(connection),
            *_names(connection),
            *_extents(connection),
            *_staging(connection, staging),
            *_chunks(connection),
        ]
    finally:
        connection.close()


def _integrity(connection: sqlite3.Connection) -> list[str]:
    (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    return [] if verdict == "ok" else [f"sqlite: {verdict}"]


def _names(connection: sqlite3.Connection) -> list[str]:
    inodes = {row[0]: row for row in connection.execute("SELECT ino, mode, nlink, size FROM inodes")}
    dentries = connection.execute("SELECT parent, name, ino, kind FROM dentries").fetchall()
    names, subdirectories = Counter(row[2] for row in dentries), Counter[int]()
    found = []
    for parent, name, ino, kind in dentries:
        if parent not in inodes or not stat.S_ISDIR(inodes[parent][1]):
            found.append(f"{name!r} stands in {parent}, which is no directory")
        if ino not in inodes:
            found.append(f"{name!r} names inode {ino}, which does not exist")
        elif stat.S_IFMT(inodes[ino][1]) != kind:
            found.append(f"{name!r}: its kind is not that of inode {ino}")
        subdirectories[parent] += stat.S_ISDIR(kind)
    for ino, mode, nlink, _ in inodes.values():
        expected = 2 + subdirectories[ino] if stat.S_ISDIR(mode) else names[ino]
        if nlink != expected:
            found.append(f"inode {ino} has nlink {nlink}, should be {expected}")
        if ino != ROOT_INO and nlink and not names[ino]:
            found.append(f"inode {ino} has no name")
    return found


def _extents(connection: sqlite3.Connection) -> list[str]:
    allocated = dict(connection.execute("SELECT ino, allocated FROM inodes"))
    sizes = dict(connection.execute("SELECT ino, size FROM inodes"))
    found, sums, last = [], Counter[int](), (0, 0)
    for ino, offset, length, *_ in connection.execute(f"{EXTENTS} ORDER BY ino, offset"):
        if ino not in allocated:
            found.append(f"an extent of inode {ino}, which does not exist")
            continue
        if length < 1 or offset < 0 or offset + length > sizes[ino]:
            found.append(f"inode {ino}: extent [{offset}, +{length}) outside its size {sizes[ino]}")
        if last[0] == ino and offset < last[1]:
            found.append(f"inode {ino}: extents overlap at {offset}")
        last = (ino, offset + length)
        sums[ino] += length
    return found + [
        f"inode {ino}: allocated {bytes_}, its extents hold {sums[ino]}"
        for ino, bytes_ in allocated.items()
        if bytes_ != sums[ino]
    ]


def _staging(connection: sqlite3.Connection, staging: Path) -> list[str]:
    sizes = {int(path.stem, 16): path.stat().st_size for path in staging.glob("*.segment")}
    found = [
        f"inode {ino}: staged bytes beyond segment {segment:x}"
        for ino, _, length, _, segment, position, _, _ in connection.execute(f"{EXTENTS} WHERE home < 2")
        if position + length > sizes.get(segment, 0)
    ]
    named = {row[0] for row in connection.execute("SELECT DISTINCT segment FROM extents WHERE home < 2")}
    return found + [f"segment {number:x} holds nothing and is still there" for number in sizes.keys() - named]


def _chunks(connection: sqlite3.Connection) -> list[str]:
    chunks = {row[0]: row[1:] for row in connection.execute("SELECT id, state, plain_size FROM chunks")}
    found = []
    for ino, _, length, home, _, _, chunk, position in connection.execute(f"{EXTENTS} WHERE home > 0"):
        state, plain_size = chunks.get(chunk, (None, 0))
        if state not in ((0, 1) if home == 1 else (2,)):
            found.append(f"inode {ino}: home {home}, but its chunk {chunk} is in state {state}")
        if position + length > plain_size:
            found.append(f"inode {ino}: beyond the end of chunk {chunk}")
    return found
