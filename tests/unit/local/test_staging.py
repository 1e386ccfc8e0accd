"""Staging: the only place where bytes are until Discord has them."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from discordfs.errors import Damaged, Interrupted, NoSpace
from discordfs.ledger import Released
from discordfs.staging import Moved, Run, Staging

MIB = 1024**2


class Time:
    """Seconds: one at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def make(directory: Path, live: dict[int, int] | None = None, quota: int = 64 * MIB) -> Staging:
    return Staging(directory, quota, live or {}, Time())


def index_synced(staging: Staging) -> None:
    """What the index does at each of its syncs."""
    delete_dead = staging.sync()
    delete_dead()


def test_bytes_come_back_and_stay_where_they_are(tmp_path: Path) -> None:
    staging, run = make(tmp_path), Run()
    placed = [(data, staging.write(run, data)) for data in (b"a" * 5, b"b" * 300_000, b"c" * (9 * MIB))]
    for data, placements in placed:
        assert b"".join(staging.read(p.segment, p.position, p.length) for p in placements) == data
    staging.close()


def test_two_files_never_share_a_byte(tmp_path: Path) -> None:
    staging, runs = make(tmp_path), (Run(), Run())
    ranges: list[tuple[int, int, int]] = []
    for turn in range(200):
        for run in runs:
            for each in staging.write(run, b"x" * (1000 + turn)):
                ranges.append((each.segment, each.position, each.position + each.length))
        if turn % 7 == 0:
            staging.close_run(runs[0])
    ranges.sort()
    for (segment, _, end), (other, start, _) in itertools.pairwise(ranges):
        assert segment != other or end <= start
    staging.close()


def test_a_segment_goes_with_the_last_reference_and_not_before(tmp_path: Path) -> None:
    staging, run = make(tmp_path), Run()
    first = staging.write(run, b"a" * 1000)[0]
    second = staging.write(run, b"b" * 1000)[0]
    staging.close_run(run)
    staging.release([Released(first.segment, 1000)])
    assert staging.read(second.segment, second.position, 1000) == b"b" * 1000
    index_synced(staging)
    assert staging.read(second.segment, second.position, 1000) == b"b" * 1000
    staging.release([Released(second.segment, 1000)])
    assert staging.read(second.segment, second.position, 1000) == b"b" * 1000, "the index on disk names it"
    index_synced(staging)
    with pytest.raises(Moved):
        staging.read(second.segment, second.position, 1000)
    assert list(tmp_path.iterdir()) == []
    assert staging.used == 0
    staging.close()


def test_nothing_goes_while_it_is_held(tmp_path: Path) -> None:
    staging, run = make(tmp_path), Run()
    placed = staging.write(run, b"a" * 1000)[0]
    staging.close_run(run)
    with staging.hold():
        staging.release([Released(placed.segment, 1000)])
        index_synced(staging)
        assert staging.read(placed.segment, placed.position, 1000) == b"a" * 1000
    with pytest.raises(Moved):
        staging.read(placed.segment, placed.position, 1000)
    staging.close()


def test_a_restart_keeps_what_the_index_names_and_nothing_else(tmp_path: Path) -> None:
    staging, kept, dropped = make(tmp_path, quota=16 * MIB), Run(), Run()
    keep = staging.write(kept, b"k" * (2 * MIB))
    staging.write(dropped, b"d" * (3 * MIB))
    staging.close()
    live = {each.segment: each.length for each in keep}
    staging = make(tmp_path, live, quota=16 * MIB)
    index_synced(staging)
    assert b"".join(staging.read(p.segment, p.position, p.length) for p in keep) == b"k" * (2 * MIB)
    assert {int(path.stem, 16) for path in tmp_path.iterdir()} == set(live)
    fresh = staging.write(Run(), b"new")[0]
    assert fresh.segment not in live
    staging.close()


def test_a_short_segment_is_damage_and_not_zeros(tmp_path: Path) -> None:
    staging, run = make(tmp_path), Run()
    placed = staging.write(run, b"a" * 1000)[0]
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.truncate(500)
    with pytest.raises(Damaged):
        staging.read(placed.segment, placed.position, 1000)
    staging.close()


def test_a_writer_at_the_quota_waits_until_something_is_freed(tmp_path: Path) -> None:
    staging, run = make(tmp_path, quota=4 * MIB), Run()
    placed = staging.write(run, bytes(4 * MIB))
    staging.close_run(run)
    waits, done = threading.Event(), threading.Event()
    staging.on_pressure(waits.set)

    def write_more() -> None:
        staging.admit(MIB, lambda: False)
        done.set()

    thread = threading.Thread(target=write_more)
    thread.start()
    assert waits.wait(30)
    assert not done.is_set()
    wakes = threading.Event()
    staging.on_dying(wakes.set)
    staging.release([Released(each.segment, each.length) for each in placed])
    assert wakes.wait(30), "nobody was told that a sync would make room"
    assert not done.is_set()
    index_synced(staging)
    thread.join(30)
    assert done.is_set()
    staging.close()


def test_waiting_ends_with_no_space_or_with_the_caller(tmp_path: Path) -> None:
    staging = Staging(tmp_path, 4 * MIB, {}, Time(), patience_s=2.0)
    staging.write(Run(), bytes(4 * MIB))
    with pytest.raises(NoSpace):
        staging.admit(MIB, lambda: False)
    with pytest.raises(Interrupted):
        staging.admit(MIB, lambda: True)
    staging.close()


def test_what_failed_to_be_synced_once_is_never_called_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the kernel forgets the error and the bytes: the next one would lie."""
    staging, run, other = make(tmp_path), Run(), Run()
    placed = staging.write(run, b"a" * 1000)
    staging.close_run(run)

    def broken_disk(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", broken_disk)
        with pytest.raises(OSError, match="Input/output"):
            staging.sync()
    with pytest.raises(OSError, match="must be uploaded"):
        staging.sync()
    staging.release(Released(each.segment, each.length) for each in placed)
    staging.write(other, b"b")
    index_synced(staging)
    assert staging.read(2, 0, 1) == b"b"
    staging.close()
