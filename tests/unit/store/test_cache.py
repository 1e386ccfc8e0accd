"""The cache: never more than its bounds, never in the way of a read, found again after a restart."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from discordfs.cache import BlockCache
from discordfs.diskcache import TAG, DiskCache
from discordfs.errors import Unavailable

PAGE = 4096
BLOCK = 10_000


def taken(folder: Path) -> int:
    """Bytes that the cached blocks take on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob("chunks-*/*"))


def uid(n: int) -> bytes:
    return n.to_bytes(16, "big")


def sealed(n: int, number: int) -> bytes:
    return random.Random(n * 1000 + number).randbytes(BLOCK)


def write(disk: DiskCache, n: int, number: int, count: int = 1) -> None:
    data = b"".join(sealed(n, number + i) for i in range(count))
    disk.write(uid(n), range(number, number + count), number * BLOCK, data)


def read(disk: DiskCache, n: int, number: int) -> bytes | None:
    offsets = range(0, (number + 2) * BLOCK, BLOCK)
    (found,) = disk.read(uid(n), range(number, number + 1), offsets)
    return None if found is None else bytes(found)


def test_ram_keeps_to_its_bound_and_the_least_used_goes_first() -> None:
    cache = BlockCache(None, disk_bytes=0, ram_bytes=300)
    for n in range(3):
        cache.put((b"u", n), bytes(100))
    assert cache.get((b"u", 0)) == bytes(100)
    cache.put((b"u", 3), bytes(100))
    assert [cache.holds((b"u", n)) for n in range(4)] == [True, False, True, True]
    cache.put((b"u", 4), bytes(301))
    assert not cache.holds((b"u", 4))
    assert cache.status().ram_bytes == 300
    assert cache.status().hits == 1


def test_a_cache_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "cache", disk_bytes=0, ram_bytes=0)
    cache.put((b"u" * 16, 0), b"x")
    cache.store(b"u" * 16, range(1), 0, b"x" * 100)
    assert cache.get((b"u" * 16, 0)) is None
    assert cache.load(b"u" * 16, range(1), [0, 100]) == [None]
    assert not (tmp_path / "cache").exists()


def test_disk_blocks_are_found_again_after_a_restart(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, 10**6)
    write(disk, 1, 2, count=3)
    write(disk, 2, 0)
    assert read(disk, 1, 1) is None
    again = DiskCache(tmp_path, 10**6)
    assert again.total == taken(tmp_path) > 0
    assert [read(again, 1, n) for n in (2, 3, 4)] == [sealed(1, n) for n in (2, 3, 4)]
    assert read(again, 2, 0) == sealed(2, 0)
    assert read(again, 1, 0) is None  # a hole
    assert read(again, 1, 5) is None  # beyond the end
    assert read(again, 3, 0) is None
    assert "8a477f597d28d172789f06886806bc55" in (tmp_path / TAG).read_text()


def test_a_smaller_bound_holds_from_the_next_start(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, 10**6)
    for n in range(10):
        write(disk, n, 0)
    for limit in (5 * 12288, 0):
        assert DiskCache(tmp_path, limit).total == taken(tmp_path) <= limit


def test_the_least_recently_used_chunk_goes_first_even_after_a_restart(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, 10**6)
    for n in range(4):
        write(disk, n, 0)
        os.utime(tmp_path / "chunks-1" / uid(n).hex(), (n, n))
    each = disk.total // 4
    disk = DiskCache(tmp_path, 4 * each + PAGE)
    assert read(disk, 0, 0) is not None
    write(disk, 4, 0)
    os.utime(tmp_path / "chunks-1" / uid(4).hex(), (5, 5))
    assert [read(disk, n, 0) is not None for n in (4, 3, 2, 1)] == [True, True, True, False]
    disk = DiskCache(tmp_path, 3 * each)  # 4's time was put back: by now 0, 2 and 3 are used later
    assert [read(disk, n, 0) is not None for n in (0, 2, 3, 4)] == [True, True, True, False]


def test_one_chunk_larger_than_the_cache_still_uses_it(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, 100_000)
    for number in range(50):
        write(disk, 1, number)
        assert read(disk, 1, number) == sealed(1, number)
        assert taken(tmp_path) <= 100_000
    disk.write(uid(1), range(99), 0, bytes(200_000))
    assert disk.total == taken(tmp_path)


def test_bounds_hold_under_random_load_from_threads(tmp_path: Path) -> None:
    limit = 600_000
    over: list[int] = []
    disk = DiskCache(tmp_path, limit)

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(300):
            n, number = rng.randrange(12), rng.randrange(20)
            if rng.random() < 0.5:
                write(disk, n, number, rng.randrange(1, 5))
            else:
                found = read(disk, n, number)
                assert found is None or found == sealed(n, number)
            if disk.total > limit:
                over.append(disk.total)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert not over
    assert taken(tmp_path) <= disk.total <= limit


@pytest.mark.expects_log("reads go on without it")
def test_a_chunk_is_adopted_without_copying(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache", 10**6)
    chunk = tmp_path / "chunk"
    chunk.write_bytes(sealed(1, 0) + sealed(1, 1) + b"footer")
    for _ in range(2):
        disk.adopt(uid(1), chunk, 2, 2 * BLOCK)
    assert chunk.stat().st_nlink == 2
    chunk.unlink()
    assert [read(disk, 1, n) for n in range(3)] == [sealed(1, 0), sealed(1, 1), None]
    assert disk.total == taken(tmp_path / "cache")
    disk.adopt(uid(2), tmp_path / "nowhere", 2, 2 * BLOCK)
    assert read(disk, 2, 0) is None


def test_a_dropped_block_is_gone_until_it_is_written_again(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, 10**6)
    write(disk, 1, 0, count=2)
    disk.drop(uid(1), 0)
    assert [read(disk, 1, n) is not None for n in range(2)] == [False, True]
    write(disk, 1, 0)
    assert read(disk, 1, 0) == sealed(1, 0)


def _delete(folder: Path) -> None:
    shutil.rmtree(folder)


def _replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no directory")


@pytest.mark.parametrize("break_it", [_delete, _replace_by_file])
@pytest.mark.expects_log("reads go on without it", "of the cache cannot be")
def test_a_broken_cache_is_no_error(
    tmp_path: Path, break_it: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    disk = DiskCache(tmp_path / "cache", 10**6)
    write(disk, 1, 0)
    break_it(tmp_path / "cache")
    assert read(disk, 1, 0) is None
    for number in range(100):
        write(disk, 1, number)
    assert "reads go on without it" in caplog.text
    assert len([record for record in caplog.records if "writing" in record.message]) <= 2
    assert disk.total <= 10**6


@pytest.mark.expects_log("reads go on without it")
def test_a_cache_that_cannot_begin_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("no directory")
    cache = BlockCache(tmp_path / "cache", disk_bytes=10**6)
    cache.store(uid(1), range(1), 0, b"x" * 100)
    assert cache.load(uid(1), range(1), [0, 100]) == [None]
    assert "opening the cache failed" in caplog.text


@pytest.mark.expects_log("reads go on without it")
def test_a_full_disk_is_given_something_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskCache(tmp_path, 10**6)
    for n in range(16):
        write(disk, n, 0)
    before = disk.total

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        write(disk, 99, 0)
    assert disk.total == taken(tmp_path) <= before * 7 // 8
    assert "No space left" in caplog.text
    assert read(disk, 99, 0) is None
    assert read(disk, 15, 0) == sealed(15, 0)


# --- flights ----------------------------------------------------------------------------------------------


def test_of_many_one_brings_the_block_and_all_get_it() -> None:
    cache = BlockCache(None, disk_bytes=0)
    start, firsts = threading.Barrier(32), []

    def want(_: int) -> bytes:
        start.wait()
        flight, first = cache.claim((b"u", 1))
        if first:
            firsts.append(flight)
            cache.land((b"u", 1), flight, b"block")
        return flight.result(10)

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(want, range(32))) == {b"block"}
    assert firsts
    assert cache.get((b"u", 1)) == b"block"


def test_a_failed_flight_says_so_and_the_next_tries_anew() -> None:
    cache = BlockCache(None, disk_bytes=0)
    old, _ = cache.claim((b"u", 1))
    cache.fail((b"u", 1), old, Unavailable("down"))
    with pytest.raises(Unavailable):
        old.result(0)
    new, first = cache.claim((b"u", 1))
    assert first
    cache.fail((b"u", 1), old, Unavailable("late"))  # an old failure does not reach a new flight
    assert not new.done()
    assert cache.claim((b"u", 1)) == (new, False)
    cache.land((b"u", 1), old, b"late, but good")
    assert cache.get((b"u", 1)) == b"late, but good"
    cache.abandon(Unavailable("the end"))
    assert isinstance(new.exception(0), Unavailable)
