"""Bytes that are not on Discord yet.

The life of an extent. Each row is a state, what its bytes rest on, and what may happen to it; nothing
else ever happens to an extent. (`home` is a column of extents, `state` one of chunks.)

| state  | the bytes are in             | recorded in         | becomes | when                             |
|--------|------------------------------|---------------------|---------|----------------------------------|
| dirty  | staging                      | the open file       | staged  | close, fsync, settling           |
| dirty  |                              |                     | gone    | overwritten, cut, unlinked       |
| staged | staging                      | home = 0            | sealed  | sealed into a chunk on disk      |
| staged |                              |                     | gone    | overwritten, cut, unlinked       |
| sealed | staging; sealed in outbox/   | home = 1, state = 0 | posted  | message there, sizes agree       |
| sealed |                              |                     | staged  | sealed bytes lost: seal anew     |
| sealed |                              |                     | gone    | as staged (dead bytes in chunk)  |
| posted | staging; the chunk's message | home = 1, state = 1 | remote  | a record that names it settled   |
| posted |                              |                     | gone    | as staged                        |
| remote | the chunk's message          | home = 2, state = 2 | staged  | relocated by gc, healed by fsck  |
| remote |                              |                     | gone    | as staged; the chunk is condemned |

Staged bytes are immutable: a later write gets a new range of staging, so that a chunk never mixes two
versions. Only a dirty range may be written again in place. Staging is freed last, after the commit that
stopped referring to it, and after the sync of that commit: after a power cut the index before may be the one
that counts, and needs the bytes that it names.

Job of this module: the segments. A segment is a file that is filled from its start. It is dead once nothing
refers to it, and deleted by the next sync of the index (`sync`). Limits: the quota, in bytes of segments;
who writes waits for room in `admit`, with no lock held. Threading: any thread; `_lock` guards the table of
segments and is held across no read or write of data.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from discordfs.disk import make_directory, sync_directory
from discordfs.errors import Damaged, DiscordfsError, Interrupted, NoSpace
from discordfs.ledger import Released
from discordfs.unsynced import Sum, Sums

_MIB = 1024**2
_LARGEST_RUN = 4 * _MIB
_PRESSURE = 0.5
_SLOW_DOWN = 0.9
_POLL_S = 0.25
_MUCH_DEAD = 64 * _MIB
"""Bytes of dead segments that are worth a sync of their own."""


class Moved(DiscordfsError):
    """The bytes are in staging no more: the extent that said so is old; look it up again."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a part of what was written went."""

    segment: int
    position: int
    length: int


@dataclass(slots=True)
class Run:
    """A stretch of a segment reserved for one file's next writes, and the checksums of what it wrote since
    its last commit. Guarded by that file's lock."""

    segment: int = 0
    position: int = 0
    end: int = 0
    next_size: int = 0
    sums: Sums = field(default_factory=Sums)


@dataclass(slots=True)
class _Segment:
    """`filled`: bytes handed out from its start; `live`: of those, reserved or referred to. `is_dead`:
    none, and never again. `may_go`: and no index on disk names it. `is_lost`: a sync of it failed, after
    which the kernel calls clean what it never wrote."""

    number: int
    path: Path
    fd: int
    filled: int
    live: int
    is_full: bool
    unsynced: bool = False
    is_dead: bool = False
    may_go: bool = False
    is_lost: bool = False
    pins: int = 0


class Staging:
    """The segments in `directory` (made if absent), at most `quota` bytes of them.

    `live` says how many bytes the index refers to in each segment; segments it does not name are dead.
    `patience_s`: how long a writer waits at the quota without any progress before
    NoSpace. `monotonic` gives seconds.
    """

    def __init__(
        self,
        directory: Path,
        quota: int,
        live: Mapping[int, int],
        monotonic: Callable[[], float],
        patience_s: float = 600.0,
    ) -> None:
        self.quota = quota
        self.used = 0
        self._directory = directory
        self._monotonic = monotonic
        self._patience_s = patience_s
        self._segment_size = max(_MIB, min(64 * _MIB, quota // 16))
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._sync_lock = threading.Lock()
        self._segments: dict[int, _Segment] = {}
        self._filling: _Segment | None = None
        self._holds = 0
        self._progress = 0
        self._dead_bytes = 0
        self._directory_unsynced = True
        self._pressed: Callable[[], None] = lambda: None
        self._dying: Callable[[], None] = lambda: None
        make_directory(directory)
        self._load(live)

    def _load(self, live: Mapping[int, int]) -> None:
        last = 0
        for path in sorted(self._directory.glob("*.segment")):
            number = int(path.stem, 16)
            last = max(last, number)
            self._open(number, path, live.get(number, 0))
        self._next_number = max(last, *live, 0) + 1 if live else last + 1

    def _open(self, number: int, path: Path, live: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        filled = os.fstat(fd).st_size
        self._segments[number] = segment = _Segment(
            number, path, fd, filled, live, is_full=True, unsynced=True
        )
        self.used += filled
        self._note_if_dead(segment)

    # --- writing ------------------------------------------------------------------------------------

    def admit(self, length: int, cancelled: Callable[[], bool]) -> None:
        """Waits until `length` more bytes fit in the quota. Call it with no lock held.

        Raises NoSpace when nothing was freed for `patience_s` (or it can never fit), Interrupted."""
        if self.used + length <= self.quota * _PRESSURE:
            return
        self._pressed()
        self._ask_for_sync()
        if self.used + length > self.quota * _SLOW_DOWN:
            self._wait_for_room(length, cancelled)

    def _wait_for_room(self, length: int, cancelled: Callable[[], bool]) -> None:
        with self._room:
            self._room.wait(timeout=min(0.05, max(0.0, self.used / self.quota - _SLOW_DOWN) / 2))
            progress, since = self._progress, self._monotonic()
            while self.used + length > self.quota:
                self._ask_for_sync()
                self._room.wait(timeout=_POLL_S)
                if cancelled():
                    raise Interrupted("the write was interrupted while it waited for room in staging")
                if self._progress != progress:
                    progress, since = self._progress, self._monotonic()
                elif self._monotonic() - since > self._patience_s:
                    raise NoSpace(
                        f"staging is at its quota of {self.quota} bytes and nothing could be uploaded for "
                        f"{self._patience_s:.0f} s"
                    )

    def on_pressure(self, callback: Callable[[], None]) -> None:
        """Called, with no lock held, by each writer that finds staging half full."""
        self._pressed = callback

    def on_dying(self, callback: Callable[[], None]) -> None:
        """Called when room is wanted that the next sync of the index gives back; staging's lock may be
        held, so it must only wake somebody."""
        self._dying = callback

    def _ask_for_sync(self) -> None:
        if self._dead_bytes:
            self._dying()

    def progressed(self) -> None:
        """A chunk has landed: room will come, even if it takes long. Who waits for room goes on waiting."""
        with self._room:
            self._progress += 1

    def is_pressed(self) -> bool:
        """Whether uploads should make room (what is dead only waits for a sync)."""
        return self.used - self._dead_bytes > self.quota * _PRESSURE

    def write(self, run: Run, data: bytes | memoryview) -> list[Placement]:
        """Puts `data` into fresh ranges, in order; whoever calls holds the lock of the file that owns
        `run`. An OSError of the disk passes through; nothing refers to what was written then."""
        placements: list[Placement] = []
        view = memoryview(data)
        try:
            while view:
                placements.append(self._write_part(run, view))
                view = view[placements[-1].length :]
        except OSError:
            self.release(Released(placed.segment, placed.length) for placed in placements)
            raise
        return placements

    def _write_part(self, run: Run, data: memoryview) -> Placement:
        """As much of `data` as the run has room for."""
        if run.position == run.end:
            self._reserve(run, len(data))
        placed = Placement(run.segment, run.position, min(len(data), run.end - run.position))
        part = data[: placed.length]
        self._put(placed.segment, placed.position, part)
        run.sums.add(placed.segment, placed.position, part)
        run.position += placed.length
        return placed

    def overwrite(self, run: Run, segment: int, position: int, data: bytes | memoryview) -> None:
        """Writes again over a dirty range of the file that owns `run`: one that nobody else knows of."""
        run.sums.spoil(segment, position, len(data))
        self._put(segment, position, memoryview(data))

    def sums(self, run: Run) -> list[Sum]:
        """The checksums of all that the file wrote since they were cleared. Raises OSError, Damaged."""
        return run.sums.totals(self._read_again)

    def _read_again(self, segment: int, position: int, length: int) -> bytes | None:
        try:
            return self.read(segment, position, length)
        except Moved:
            return None

    def _put(self, number: int, position: int, data: memoryview) -> None:
        segment = self._segments[number]
        done = 0
        while done < len(data):
            done += os.pwrite(segment.fd, data[done:], position + done)
        segment.unsynced = True

    def _reserve(self, run: Run, wanted: int) -> None:
        size = max(wanted, min(run.next_size, _LARGEST_RUN))
        with self._lock:
            segment = self._filling
            if segment is None or segment.filled >= self._segment_size:
                segment = self._start_segment()
            size = min(size, self._segment_size - segment.filled)
            run.segment, run.position, run.end = segment.number, segment.filled, segment.filled + size
            segment.filled += size
            segment.live += size
            self.used += size
        run.next_size = 2 * size

    def _start_segment(self) -> _Segment:
        number = self._next_number
        path = self._directory / f"{number:016x}.segment"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        previous, self._filling = self._filling, _Segment(number, path, fd, 0, 0, is_full=False)
        self._segments[number] = self._filling
        self._next_number += 1
        self._directory_unsynced = True
        if previous is not None:
            previous.is_full = True
            self._note_if_dead(previous)
        return self._filling

    def close_run(self, run: Run) -> None:
        """Gives back what the file reserved and did not use."""
        unused = run.end - run.position
        if not unused:
            return
        with self._room:
            segment = self._segments[run.segment]
            if segment.filled == run.end:
                segment.filled = run.position
                self.used -= unused
            self._drop(segment, unused)
        run.end = run.position

    # --- reading ------------------------------------------------------------------------------------

    def read(self, number: int, position: int, length: int) -> bytes:
        """Raises Moved when the segment is gone, Damaged when it is shorter than the index says."""
        with self._pinned(number) as segment:
            data = os.pread(segment.fd, length, position)
            if len(data) != length:
                raise Damaged(f"staging segment {segment.path} ends before byte {position + length}")
            return data

    @contextmanager
    def _pinned(self, number: int) -> Iterator[_Segment]:
        with self._lock:
            segment = self._segments.get(number)
            if segment is None:
                raise Moved(f"segment {number:x}")
            segment.pins += 1
        try:
            yield segment
        finally:
            with self._room:
                segment.pins -= 1
                self._delete_if_free(segment)

    # --- freeing ------------------------------------------------------------------------------------

    def release(self, released: Iterable[Released]) -> None:
        """Nothing refers to these bytes any more, and the commit that says so is done."""
        with self._room:
            for each in released:
                segment = self._segments.get(each.segment)
                if segment is not None:
                    self._drop(segment, each.length)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """No segment is deleted within: for whoever looks extents up and reads them a little later."""
        with self._lock:
            self._holds += 1
        try:
            yield
        finally:
            with self._room:
                self._holds -= 1
                for segment in list(self._segments.values()):
                    self._delete_if_free(segment)

    def _drop(self, segment: _Segment, length: int) -> None:
        segment.live -= length
        self._note_if_dead(segment)

    def _note_if_dead(self, segment: _Segment) -> None:
        if segment.live > 0 or segment.is_dead:
            return
        if self._filling is segment:
            self._filling = None
        segment.is_dead = True
        self._dead_bytes += segment.filled
        if self._dead_bytes >= min(_MUCH_DEAD, self.quota // 4):
            self._dying()

    def _delete_if_free(self, segment: _Segment) -> None:
        if not segment.may_go or segment.pins or self._holds or segment.number not in self._segments:
            return
        del self._segments[segment.number]
        os.close(segment.fd)
        segment.path.unlink()
        self.used -= segment.filled
        self._dead_bytes -= segment.filled
        self._progress += segment.filled
        self._room.notify_all()

    def _delete(self, dead: Iterable[_Segment]) -> None:
        with self._room:
            for segment in dead:
                segment.may_go = True
                self._delete_if_free(segment)

    # --- to disk ------------------------------------------------------------------------------------

    def sync(self, only: Set[int] | None = None) -> Callable[[], None]:
        """Everything written before the call (to the segments `only`), and not dead, is on disk when it
        returns. What it gives is to be called when the index has been synced after it: that deletes what
        was dead before. Raises OSError; once a segment could not be synced, it does so until that segment
        has been uploaded, as nobody knows what of it is on disk."""
        with self._sync_lock:
            with self._lock:
                dead = [segment for segment in self._segments.values() if segment.is_dead]
                unsynced = [each for each in self._segments.values() if each.unsynced and not each.is_dead]
            if only is not None:
                unsynced = [each for each in unsynced if each.number in only]
            for segment in unsynced:
                # One that went meanwhile needs no sync.
                with suppress(Moved), self._pinned(segment.number):
                    self._sync_segment(segment)
            self._sync_names()
        return partial(self._delete, dead)

    def _sync_segment(self, segment: _Segment) -> None:
        if segment.is_lost:
            raise OSError(
                f"{segment.path} could not be written to disk before: what it holds must be uploaded"
            )
        segment.unsynced = False
        try:
            os.fdatasync(segment.fd)
        except OSError:
            segment.unsynced = segment.is_lost = True
            raise

    def _sync_names(self) -> None:
        if not self._directory_unsynced:
            return
        self._directory_unsynced = False
        try:
            sync_directory(self._directory)
        except OSError:
            self._directory_unsynced = True
            raise

    def room(self) -> int:
        """Bytes that can still be staged."""
        return max(0, self.quota - self.used + self._dead_bytes)

    def close(self) -> None:
        with self._lock:
            for segment in self._segments.values():
                os.close(segment.fd)
            self._segments.clear()
            self._filling = None
