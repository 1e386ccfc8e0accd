"""A file's bytes: whatever was written is what is read, staged, sealed or on Discord."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable

import pytest

from discordfs import errors
from discordfs.model import Caller
from tests.fs.conftest import CALLER, House

MIB = 1024**2


def test_a_file_reads_the_same_before_and_after_its_upload(house: House) -> None:
    data = random.Random(1).randbytes(3 * MIB + 17)
    house.put(b"/a", data)
    assert house.get(b"/a") == data
    assert house.drive.getxattr(b"/a", b"user.discordfs.state") == b"staged"
    house.barrier()
    assert house.drive.getxattr(b"/a", b"user.discordfs.state") == b"remote"
    assert house.get(b"/a") == data
    house.reopen()
    assert house.get(b"/a") == data


def test_many_small_files_share_one_chunk_and_one_record(house: House) -> None:
    files = {b"/f%d" % number: os.urandom(4096) for number in range(500)}
    for path, data in files.items():
        house.put(path, data)
    house.barrier()
    assert house.posts() == 2
    assert {path: house.get(path) for path in files} == files


def test_staging_is_empty_once_everything_is_on_discord(house: House) -> None:
    house.put(b"/a", os.urandom(5 * MIB))
    house.barrier()
    assert house.uploader.status().staged_bytes == 0
    assert list((house.root / "staging").glob("*.segment")) == []
    assert list((house.root / "outbox").iterdir()) == []


def test_random_writes_leave_the_newest_bytes(house: House) -> None:
    rng, model = random.Random(2), bytearray(2 * MIB)
    handle = house.drive.create(b"/db", 0o600, os.O_RDWR, CALLER).handle
    house.drive.ftruncate(handle, len(model))
    for step in range(400):
        at, data = rng.randrange(len(model) - 9000), rng.randbytes(rng.randrange(1, 9000))
        house.drive.write(handle, data, at)
        model[at : at + len(data)] = data
        if step % 100 == 50:
            house.drive.flush(handle)
        if step % 150 == 149:
            house.barrier()
    house.drive.release(handle)
    assert house.get(b"/db") == model
    house.barrier()
    house.reopen()
    assert house.get(b"/db") == model


def test_holes_are_zeros_and_take_no_room(house: House) -> None:
    handle = house.drive.create(b"/sparse", 0o644, os.O_RDWR, CALLER).handle
    house.drive.write(handle, b"end", 10 * 2**40)
    house.drive.release(handle)
    attr = house.drive.getattr(b"/sparse")
    assert attr.size == 10 * 2**40 + 3
    assert attr.blocks == 1
    handle = house.drive.open(b"/sparse", os.O_RDONLY).handle
    assert house.drive.read(handle, 4096, 5 * 2**40) == bytes(4096)
    assert house.drive.read(handle, 4096, 10 * 2**40 - 10) == bytes(10) + b"end"
    house.drive.release(handle)


def test_truncating_down_and_up_again_leaves_zeros(house: House) -> None:
    house.put(b"/a", b"x" * 100_000)
    house.barrier()
    house.drive.truncate(b"/a", 10)
    house.drive.truncate(b"/a", 50)
    assert house.get(b"/a") == b"x" * 10 + bytes(40)
    house.reopen()
    assert house.get(b"/a") == b"x" * 10 + bytes(40)


def test_writing_goes_on_after_an_open_file_was_cut_and_synced(house: House) -> None:
    """A cut counts once, for the commit that follows it, and never for what is written later."""
    house.put(b"/a", b"x" * 100_000)
    handle = house.drive.open(b"/a", os.O_RDWR).handle
    house.drive.ftruncate(handle, 10)
    house.drive.flush(handle)
    house.drive.write(handle, b"y" * 50_000, 20_000)
    house.drive.flush(handle)
    house.drive.write(handle, b"z", 5)
    house.drive.release(handle)
    house.reopen()
    assert house.get(b"/a") == b"xxxxxz" + b"x" * 4 + bytes(19_990) + b"y" * 50_000


def test_the_reader_sees_what_the_writer_has_not_closed_yet(house: House) -> None:
    writer = house.drive.create(b"/a", 0o644, os.O_WRONLY, CALLER).handle
    reader = house.drive.open(b"/a", os.O_RDONLY).handle
    house.drive.write(writer, b"hello", 0)
    assert house.drive.read(reader, 100, 0) == b"hello"
    assert house.drive.getattr(b"/a").size == 5
    house.drive.release(writer)
    house.drive.release(reader)


def test_appending_always_goes_to_the_end(house: House) -> None:
    house.put(b"/log", b"one\n")
    handle = house.drive.open(b"/log", os.O_WRONLY | os.O_APPEND).handle
    house.drive.write(handle, b"two\n", 0)
    house.drive.release(handle)
    assert house.get(b"/log") == b"one\ntwo\n"


def test_an_unlinked_open_file_lives_until_its_last_close(house: House) -> None:
    house.put(b"/a", b"still here")
    handle = house.drive.open(b"/a", os.O_RDONLY).handle
    house.drive.unlink(b"/a")
    assert house.drive.read(handle, 100, 0) == b"still here"
    assert house.drive.fgetattr(handle).nlink == 0
    house.drive.release(handle)
    assert house.index.inodes == 1


def test_a_file_rewritten_while_its_old_version_uploads_ends_as_the_new_one(house: House) -> None:
    """The old bytes are sealed and on their way when the file changes: no chunk may mix the two, and the
    upload that ends late may not bring the old ones back."""
    old, new = b"o" * (2 * MIB), b"n" * (2 * MIB)
    house.put(b"/a", old)
    posting, go_on = threading.Event(), threading.Event()
    post = house.chunks.post_all

    def slow_post(*arguments: object) -> object:
        posting.set()
        assert go_on.wait(30)
        return post(*arguments)  # type: ignore[arg-type]

    house.chunks.post_all = slow_post  # type: ignore[method-assign,assignment]
    waiting = threading.Thread(target=house.barrier)
    waiting.start()
    assert posting.wait(30)
    house.put(b"/a", new[:MIB] + new[:MIB])
    assert house.get(b"/a") == new
    go_on.set()
    waiting.join()
    assert house.get(b"/a") == new
    house.barrier()
    assert house.get(b"/a") == new
    for ref in house.chunk_refs():
        plain = house.chunks.read(ref, 0, ref.plain_size)
        assert plain in (old, new)


def test_a_file_four_times_the_size_of_staging_goes_through(make_house: Callable[..., House]) -> None:
    house = make_house(quota=16 * MIB)
    data = random.Random(3).randbytes(64 * MIB)
    house.put(b"/big", data)
    assert house.get(b"/big") == data
    assert house.staging.used <= house.quota


def test_a_full_staging_is_no_space_once_nothing_moves(make_house: Callable[..., House]) -> None:
    house = make_house(quota=16 * MIB)
    house.staging._patience_s = 0.0
    house.chunks.post_all = _refuse  # type: ignore[method-assign,assignment]
    with pytest.raises(errors.NoSpace):
        house.put(b"/big", bytes(os.urandom(32 * MIB)))
    house.drive.unlink(b"/big")
    del house.chunks.post_all
    assert house.drive.readdir(b"/") == []


def _refuse(*arguments: object) -> None:
    raise errors.Unavailable("the network is down")


def test_an_outage_keeps_reads_and_writes_going_and_drains_afterwards(house: House) -> None:
    house.chunks.post_all = _refuse  # type: ignore[method-assign,assignment]
    house.put(b"/a", b"written in the outage")
    assert not house.uploader.barrier(0.5, lambda status: None)
    assert house.get(b"/a") == b"written in the outage"
    assert not house.uploader.is_working
    assert house.drive.statfs().free <= house.quota
    assert any("network is down" in error for error in house.uploader.errors)
    del house.chunks.post_all
    house.barrier()
    assert house.drive.statfs().free == 2**50


def test_what_was_staged_goes_on_after_a_restart(house: House) -> None:
    house.put(b"/a", b"abc" * 1000)
    house.reopen()
    assert house.get(b"/a") == b"abc" * 1000
    house.barrier()
    assert house.posts() == 1


def test_a_sealed_chunk_that_was_never_posted_is_posted_after_a_restart(house: House) -> None:
    data = os.urandom(300_000)
    house.put(b"/a", data)
    house.chunks.post_all = _refuse  # type: ignore[method-assign,assignment]
    assert not house.uploader.barrier(0.3, lambda status: None)
    assert len(house.index.ledger.intents()) == 1
    house.reopen()
    house.barrier()
    assert house.posts() == 1
    assert house.get(b"/a") == data


def test_a_chunk_that_landed_unknown_to_us_is_not_posted_twice(house: House) -> None:
    """The answer was lost after the post, and then the machine went down."""
    data = os.urandom(300_000)
    house.put(b"/a", data)
    post = house.chunks.post_all

    def lose_the_answer(*arguments: object) -> None:
        post(*arguments)  # type: ignore[arg-type]
        house.uploader._stopping.set()
        raise errors.OutcomeUnknown("the connection ended before the answer came")

    house.chunks.post_all = lose_the_answer  # type: ignore[method-assign,assignment]
    assert not house.uploader.barrier(5.0, lambda status: None)
    house.reopen()
    house.barrier()
    assert house.posts() == 1
    assert house.get(b"/a") == data


def test_lost_sealed_bytes_are_sealed_again_from_staging(house: House) -> None:
    data = os.urandom(300_000)
    house.put(b"/a", data)
    house.chunks.post_all = _refuse  # type: ignore[method-assign,assignment]
    assert not house.uploader.barrier(0.3, lambda status: None)
    house.close()
    for sealed in (house.root / "outbox").iterdir():
        sealed.write_bytes(sealed.read_bytes()[:100])
    house.open()
    house.barrier()
    assert house.get(b"/a") == data


def test_many_threads_write_and_read_their_own_files(house: House) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            rng = random.Random(number)
            for turn in range(10):
                path, data = b"/t%d-%d" % (number, turn), rng.randbytes(rng.randrange(200_000))
                house.put(path, data)
                assert house.get(path) == data
                if turn % 3 == 0:
                    house.barrier()
        except BaseException as error:  # noqa: BLE001 - reported in the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_empty_file_costs_one_record(house: House) -> None:
    house.put(b"/empty", b"")
    house.barrier()
    assert house.posts() == 1
    assert house.get(b"/empty") == b""


def test_a_new_entry_belongs_to_its_caller_and_a_setgid_directory_gives_its_group(house: House) -> None:
    house.drive.mkdir(b"/d", 0o2775, Caller(5, 6))
    house.drive.mkdir(b"/d/e", 0o755, Caller(7, 8))
    attr = house.drive.getattr(b"/d/e")
    assert (attr.uid, attr.gid, attr.mode & 0o2000) == (7, 6, 0o2000)


def test_a_file_that_changes_while_it_is_being_sealed_keeps_what_was_written_last(house: House) -> None:
    """Gathered with its old bytes, then overwritten in part, cut and overwritten at its very place before
    the chunk is noted: only what is still the same may point into that chunk."""
    old = random.Random(5).randbytes(MIB)
    house.put(b"/part", old)
    house.put(b"/cut", old)
    house.put(b"/all", old)
    house.put(b"/gone", old)
    seal = house.chunks.seal

    def change_meanwhile(*arguments: object) -> object:
        sealed = seal(*arguments)  # type: ignore[arg-type]
        handle = house.drive.open(b"/part", os.O_RDWR).handle
        house.drive.write(handle, b"N" * 1000, 5000)
        house.drive.release(handle)
        house.drive.truncate(b"/cut", 3000)
        house.put(b"/all", b"A" * MIB)
        house.drive.unlink(b"/gone")
        house.chunks.seal = seal  # type: ignore[method-assign]
        return sealed

    house.chunks.seal = change_meanwhile  # type: ignore[method-assign,assignment]
    expected = {
        b"/part": old[:5000] + b"N" * 1000 + old[6000:],
        b"/cut": old[:3000],
        b"/all": b"A" * MIB,
    }
    house.barrier()
    assert {path: house.get(path) for path in expected} == expected
    house.reopen()
    assert {path: house.get(path) for path in expected} == expected


def test_reads_go_on_while_bytes_move_from_staging_to_discord(house: House) -> None:
    """A reader that looked where the bytes were, just before they left, finds them where they went."""
    data = random.Random(6).randbytes(2 * MIB)
    house.put(b"/a", data)
    handle = house.drive.open(b"/a", os.O_RDONLY).handle
    read = house.staging.read
    moved = threading.Event()

    def move_first(*arguments: int) -> bytes:
        if not moved.is_set():
            moved.set()
            house.barrier()
        return read(*arguments)

    house.drive._staging.read = move_first  # type: ignore[method-assign]
    assert house.drive.read(handle, MIB, 100) == data[100 : 100 + MIB]
    assert moved.is_set()
    del house.drive._staging.read
    house.drive.release(handle)
