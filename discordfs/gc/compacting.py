"""Moving what is hardly used: chunks of which less than half is in use, many small ones, files in shreds.

Job: choose, move a batch of stretches through the drive (relocation.py), and have a record made, which
condemns the chunks that nothing is in any more. Each stretch is moved by itself, in one transaction, so a
kill at any point loses nothing. What cannot be moved now is let be for an hour. Limits: a batch is at most
64 MiB and a quarter of staging's quota; nothing is moved while more than that is staged. Threading: one
thread; asks Discord.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from discordfs.errors import Damaged, Interrupted, NoEntry, RemoteGone
from discordfs.fs import Drive
from discordfs.index import Index
from discordfs.staging import Staging
from discordfs.upkeep import Holding, Stretch, Upkeep, joined

_STEP = 4 * 1024**2
_BATCH = 64 * 1024**2
_MANY_SMALL = 64  # small chunks that are worth being one
_WORTH_ASKED = 8  # the same, when somebody has asked for it
_DEAD_BYTES = 4 * 1024**2  # in hardly used chunks, that are let be
_LET_BE_S = 3600.0


@dataclass(slots=True)
class Moved:
    """What a batch moved; `files` are inodes. `troubles` are sentences about what could not be read."""

    bytes: int = 0
    files: set[int] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)

    def add(self, other: Moved) -> None:
        self.bytes += other.bytes
        self.files |= other.files
        self.troubles += other.troubles


class Allowance:
    """So many bytes an hour, and no more than an hour's worth at once. `monotonic` gives seconds."""

    def __init__(self, bytes_an_hour: int, monotonic: Callable[[], float]) -> None:
        self._an_hour, self._monotonic = bytes_an_hour, monotonic
        self._left, self._then = float(bytes_an_hour), monotonic()

    def left(self) -> int:
        now = self._monotonic()
        self._left = min(self._an_hour, self._left + (now - self._then) / 3600 * self._an_hour)
        self._then = now
        return int(self._left)

    def spend(self, size: int) -> None:
        self._left -= size


class Compactor:
    """Moves what is worth moving in one drive."""

    def __init__(self, index: Index, staging: Staging, drive: Drive, monotonic: Callable[[], float]) -> None:
        self._index, self._staging, self._drive = index, staging, drive
        self._monotonic = monotonic
        self._let_be: dict[int, float] = {}
        self.step = min(_STEP, staging.quota // 8)
        """Bytes that are read and staged at once."""

    def plan(self, is_asked: bool) -> list[Stretch]:
        """What is worth moving now; as `worth_moving`, without what could not be moved lately."""
        now = self._monotonic()
        stretches = worth_moving(self._index.upkeep, is_asked)
        return [each for each in stretches if self._let_be.get(each.ino, now) <= now]

    def room(self) -> int:
        """Bytes that a batch may have now."""
        quarter = self._staging.quota // 4
        return max(0, min(_BATCH, quarter - self._staging.used))

    def move(self, stretches: Iterable[Stretch], most: int, cancelled: Callable[[], bool]) -> Moved:
        """Moves stretches until `most` bytes are staged, or `cancelled`. Raises Unavailable and Discord's
        other answers, NoSpace, OSError; what was moved until then is as good as anything that was written."""
        moved = Moved()
        for stretch in chain.from_iterable(each.steps(self.step) for each in stretches):
            if cancelled() or moved.bytes + min(self.step, stretch.end - stretch.start) > most:
                break
            try:
                moved_bytes = self._drive.relocate(stretch.ino, stretch.start, stretch.end, cancelled)
            except Interrupted:
                break
            except NoEntry:
                continue
            except (Damaged, RemoteGone) as error:
                moved.troubles.append(f"{self._index.upkeep.path(stretch.ino)} cannot be moved: {error}")
                moved_bytes = 0
            if moved_bytes:
                moved.bytes += moved_bytes
                moved.files.add(stretch.ino)
            else:
                self._let_be[stretch.ino] = self._monotonic() + _LET_BE_S
        return moved


def worth_moving(upkeep: Upkeep, is_asked: bool) -> list[Stretch]:
    """What lies in chunks that are hardly used or small, or is in shreds; `is_asked`: also where all of it is
    not much."""
    chunks = [holding.chunk for holding in _chosen(upkeep.holdings(), is_asked)]
    return joined([*upkeep.stretches_in(chunks), *upkeep.crowded()])


def _chosen(holdings: Sequence[Holding], is_asked: bool) -> Iterator[Holding]:
    hardly_used = [holding for holding in holdings if holding.is_wasteful]
    small = [holding for holding in holdings if not holding.is_wasteful]
    dead = sum(holding.dead for holding in hardly_used)
    if is_asked or dead >= _DEAD_BYTES or len(hardly_used) >= _MANY_SMALL:
        yield from hardly_used
    if len(small) >= (_WORTH_ASKED if is_asked else _MANY_SMALL):
        yield from small
