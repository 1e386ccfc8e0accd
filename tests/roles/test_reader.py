"""A machine that follows another one's log: what it shows is always something that the writer's drive was."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from discordfs.errors import BusyError, NoEntry, ReadOnly
from discordfs.follower import Follower
from discordfs.fs import Drive
from discordfs.index import Index
from discordfs.lookout import Lookout
from discordfs.staging import Staging
from discordfs.tenure import Wish
from discordfs.uploader import Uploader
from tests.fs.conftest import CALLER, LOG_CHANNEL, VOLUME
from tests.roles.conftest import Machine


@dataclass
class Reader:
    """A read-only mount, as compose builds it."""

    drive: Drive
    index: Index
    follower: Follower
    lookout: Lookout

    def read(self, path: bytes) -> bytes:
        opened = self.drive.open(path, os.O_RDONLY)
        try:
            return bytes(self.drive.read(opened.handle, 2**20, 0))
        finally:
            self.drive.release(opened.handle)


@contextmanager
def reading(machine: Machine, looks: bool = True) -> Iterator[Reader]:
    with machine.parts() as (index, chunks, log), ExitStack() as undo:
        staging = Staging(machine.root / "staging", 2**24, {}, time.monotonic)
        undo.callback(staging.close)
        uploader = Uploader(
            index=index,
            staging=staging,
            chunks=chunks,
            volume=VOLUME,
            holder="nobody",
            outbox=machine.root / "outbox",
            clock=machine.clock,
            monotonic=time.monotonic,
        )
        uploader.lost = "another machine writes this volume"
        undo.callback(uploader.stop)
        follower = Follower(index, log)

        def look(_message: int) -> None:
            follower.follow()

        failures: list[Exception] = []
        lookout = Lookout(look, lambda: True, failures.append)
        drive = Drive(
            index=index,
            staging=staging,
            chunks=chunks,
            uploader=uploader,
            clock=machine.clock,
            refresh=lambda: lookout.refresh(30.0),
        )
        undo.callback(drive.close)
        if looks:
            undo.callback(lookout.stop)
            lookout.start()
            undo.callback(chunks.watch([LOG_CHANNEL], lookout.hint))
        yield Reader(drive, index, follower, lookout)
    assert not failures


def test_it_shows_what_the_writer_recorded_and_takes_no_change(first: Machine, second: Machine) -> None:
    with reading(second, looks=False) as reader:
        assert reader.read(b"/a") == b"from the first"
        first.put(b"/b", b"new")
        first.barrier()
        with pytest.raises(NoEntry):
            reader.read(b"/b")
        reader.follower.follow()
        assert reader.read(b"/b") == b"new"
        for change in (
            lambda: reader.drive.unlink(b"/a"),
            lambda: reader.drive.open(b"/a", os.O_WRONLY),
            lambda: reader.drive.rename(b"/a", b"/c"),
        ):
            with pytest.raises(ReadOnly):
                change()


def test_an_open_file_sees_what_the_writer_did_to_it(first: Machine, second: Machine) -> None:
    """Longer, shorter, other bytes: and never the zeros of a size that is older than the contents."""
    with reading(second, looks=False) as reader:
        opened = reader.drive.open(b"/a", os.O_RDONLY)
        for contents in (b"x" * 5000, b"short", b"y" * 300_000, b""):
            first.put(b"/a", contents)
            first.barrier()
            reader.follower.follow()
            assert bytes(reader.drive.read(opened.handle, 2**20, 0)) == contents
            assert reader.drive.fgetattr(opened.handle).size == len(contents)
        reader.drive.release(opened.handle)


def test_a_file_that_the_writer_removes_is_read_on_by_whoever_has_it_open(
    first: Machine, second: Machine
) -> None:
    """As on any disk, as long as Discord still has its bytes; so a program that reads a file while it is
    replaced reads one version of it."""
    with reading(second, looks=False) as reader:
        opened = reader.drive.open(b"/a", os.O_RDONLY)
        first.put(b"/new", b"another version")
        first.drive.rename(b"/new", b"/a")
        first.barrier()
        reader.follower.follow()
        assert reader.read(b"/a") == b"another version"
        assert bytes(reader.drive.read(opened.handle, 100, 0)) == b"from the first"
        status = reader.drive.fgetattr(opened.handle)
        assert (status.size, status.nlink) == (14, 0)
        reader.drive.release(opened.handle)


def test_nothing_that_is_kept_beside_the_tables_is_older_than_they_are(
    first: Machine, second: Machine
) -> None:
    """Names, attributes, places of chunks: after a rename over a file the name leads to the new one."""
    first.drive.mkdir(b"/d", 0o755, CALLER)
    first.put(b"/d/x", b"one")
    first.barrier()
    with reading(second, looks=False) as reader:
        reader.follower.follow()
        assert reader.read(b"/d/x") == b"one"
        first.put(b"/d/new", b"two!")
        first.drive.rename(b"/d/new", b"/d/x")
        first.drive.chmod(b"/d", 0o700)
        first.barrier()
        reader.follower.follow()
        assert reader.read(b"/d/x") == b"two!"
        assert reader.drive.getattr(b"/d/x").size == 4
        assert reader.drive.getattr(b"/d").mode & 0o777 == 0o700
        assert [entry.name for entry in reader.drive.readdir(b"/d")] == [b"x"]


def test_a_snapshot_in_between_brings_what_is_new_in_it(
    first: Machine, second: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot says what changed since the record before it, too."""
    with reading(second, looks=False) as reader:
        first.put(b"/b", b"in the snapshot")
        monkeypatch.setattr(first.index.logbook, "is_snapshot_due", lambda: True)
        first.barrier()
        monkeypatch.undo()
        first.put(b"/c", b"after it")
        first.barrier()
        reader.follower.follow()
        assert (reader.read(b"/b"), reader.read(b"/c")) == (b"in the snapshot", b"after it")


def test_no_pair_is_ever_seen_the_wrong_way_round(first: Machine, second: Machine) -> None:
    """The writer writes a_n, then b_n. Whoever sees b_n sees a_n, at any moment and in every cache."""
    wrong: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    done = threading.Event()
    first.put(b"/b", b"0")
    first.put(b"/a", b"0")
    first.barrier()

    with reading(second) as reader:
        reader.lookout.refresh(30.0)

        def look() -> None:
            while not done.is_set():
                b = reader.read(b"/b")
                a = reader.read(b"/a")
                seen.add(b)
                if int(a) < int(b):
                    wrong.append((a, b))

        watcher = threading.Thread(target=look)
        watcher.start()
        for number in range(1, 40):
            for name in (b"a", b"b"):
                first.put(b"/new", b"%d" % number)
                first.drive.rename(b"/new", b"/" + name)
                first.barrier()
        reader.lookout.refresh(30.0)
        done.set()
        watcher.join()
        assert (reader.read(b"/a"), reader.read(b"/b")) == (b"39", b"39")
    assert not wrong
    assert len(seen) > 5


def test_a_read_whose_chunk_the_writer_has_deleted_looks_again(first: Machine, second: Machine) -> None:
    """Else a reader that is a moment behind would see I/O errors in files that are quite all right."""
    with reading(second) as reader:
        reader.lookout.refresh(30.0)
        opened = reader.drive.open(b"/a", os.O_RDONLY)
        before = {ref.message: ref.channel for ref in first.chunk_refs()}
        unhint = second.store._watchers[:]
        second.store._watchers.clear()  # no hint comes: it is behind
        first.put(b"/a", b"other bytes, elsewhere")
        first.barrier()
        for message, channel in before.items():
            first.store.delete_quietly(channel, [message])
        assert bytes(reader.drive.read(opened.handle, 100, 0)) == b"other bytes, elsewhere"
        reader.drive.release(opened.handle)
        second.store._watchers.extend(unhint)


def test_rows_of_chunks_are_never_given_to_other_chunks(first: Machine, second: Machine) -> None:
    """An open file that knows its bytes by a row must not read another file's there."""
    with reading(second, looks=False) as reader:
        seen: set[int] = set()
        for number in range(4):
            first.put(b"/only", os.urandom(50_000))
            first.barrier()
            reader.follower.follow()
            ino = reader.index.lookup(1, b"only")
            assert ino is not None
            rows = {extent.chunk for extent in reader.index.ledger.extents(ino)}
            assert not rows & seen, number
            seen |= rows


def test_an_index_with_files_of_its_own_never_follows(first: Machine, second: Machine) -> None:
    """A record of another writer replayed into it would take away the only copy."""
    first.close()
    second.assume(Wish.TAKE_OVER)
    second.open()
    second.put(b"/mine", b"nowhere else")
    second.close()
    first.assume(Wish.TAKE_OVER)
    with second.parts() as (index, _, log):
        with pytest.raises(BusyError, match="resubmit"):
            Follower(index, log).follow()
        assert index.lookup(1, b"mine") is not None
