"""What Discord loses or alters is noticed before anybody needs it, told by file, mended from the cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from discordfs import errors
from discordfs.gc.keeper import Habits, figures
from discordfs.model import BLOCK_SIZE
from tests.fs.keeping import KeptHouse, drop_cache

MIB = 1024**2
DAY_S = 86_400.0
CHECKING = Habits(quiet_s=0.0, sweep_every_s=0.0, check_percent=100.0)


@pytest.fixture
def make_kept(tmp_path: Path) -> Iterator[Callable[..., KeptHouse]]:
    made: list[KeptHouse] = []

    def make(**settings: Any) -> KeptHouse:
        made.append(KeptHouse(tmp_path / f"kept{len(made)}", **{"habits": CHECKING} | settings))
        return made[-1]

    yield make
    for house in made:
        house.check()
        house.loop.stop()


@pytest.fixture
def kept(make_kept: Callable[..., KeptHouse]) -> KeptHouse:
    return make_kept()


def fill(house: KeptHouse, count: int = 1, size: int = 2 * MIB) -> dict[bytes, bytes]:
    """Files, each in a chunk of its own."""
    data = {b"/f%d" % number: os.urandom(size) for number in range(count)}
    for path, content in data.items():
        house.put(path, content)
        house.barrier()
    return data


def keep_for(house: KeptHouse, days: float) -> None:
    for _ in range(int(days * 24)):
        house.keep(DAY_S / 24)


def alter(house: KeptHouse, number: int = 0, at: int = 100) -> None:
    """A bit of a chunk changes on Discord."""
    chunk = house.chunk_refs()[number]
    flip = lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]  # noqa: E731
    house.store.replace_bytes(chunk.attachments[0].id, flip)


def test_all_that_is_there_is_read_back_within_the_time_that_is_set(kept: KeptHouse) -> None:
    fill(kept, 6)
    assert figures(kept.index)["last_full_verification"] is None
    reads = watch_checks(kept)
    keep_for(kept, 1.5)
    assert set(reads) == {ref.uid for ref in kept.chunk_refs()}
    assert 6 <= len(reads) <= 9
    begun = figures(kept.index)["last_full_verification"]
    assert begun is not None
    keep_for(kept, 1.5)
    assert figures(kept.index)["last_full_verification"] > begun


def watch_checks(house: KeptHouse) -> list[bytes]:
    checked: list[bytes] = []
    verify = house.chunks.verify

    def watched(chunk: Any) -> Any:
        checked.append(chunk.uid)
        return verify(chunk)

    house.chunks.verify = watched  # type: ignore[method-assign]
    return checked


def test_one_percent_a_day_is_one_percent_a_day(make_kept: Callable[..., KeptHouse]) -> None:
    kept = make_kept(habits=Habits(quiet_s=0.0, sweep_every_s=0.0, check_percent=10.0))
    fill(kept, 5, size=1_200_000)
    checked = watch_checks(kept)
    keep_for(kept, 10.2)
    assert len(checked) == 5


def test_a_volume_that_grows_is_checked_faster_at_once(make_kept: Callable[..., KeptHouse]) -> None:
    kept = make_kept(habits=Habits(quiet_s=0.0, sweep_every_s=0.0, check_percent=10.0))
    fill(kept, 1)
    keep_for(kept, 0.2)  # the next one would be due in ten days
    fill(kept, 10)
    checked = watch_checks(kept)
    keep_for(kept, 2.2)
    assert len(checked) == 2


def test_a_mount_that_was_away_for_long_makes_up_for_a_day_at_most(kept: KeptHouse) -> None:
    fill(kept, 4)
    keep_for(kept, 1)
    checked = watch_checks(kept)
    kept.keep(30 * DAY_S)
    assert 4 <= len(checked) <= 5


@pytest.mark.expects_log("is damaged or gone")
def test_damage_is_mended_from_the_cache(kept: KeptHouse) -> None:
    ((path, content),) = fill(kept).items()
    alter(kept)
    keep_for(kept, 1.2)
    assert kept.rows("SELECT * FROM chunks WHERE state = 2")
    drop_cache(kept)
    assert kept.get(path) == content
    assert figures(kept.index)["damaged_files"] == []


@pytest.mark.expects_log("is damaged or gone")
def test_a_message_that_somebody_deleted_is_sent_anew_from_the_cache(kept: KeptHouse) -> None:
    ((path, content),) = fill(kept).items()
    (chunk,) = kept.chunk_refs()
    kept.store.delete_quietly(chunk.channel, [chunk.message])
    keep_for(kept, 1.2)
    drop_cache(kept)
    assert kept.get(path) == content


@pytest.mark.expects_log("is damaged or gone", "came damaged")
def test_what_no_cache_has_is_told_by_file_and_the_rest_can_be_read(kept: KeptHouse) -> None:
    data = fill(kept, 2)
    drop_cache(kept)
    alter(kept, number=1)
    keep_for(kept, 1.2)
    assert figures(kept.index)["damaged_files"] == ["/f1"]
    assert kept.get(b"/f0") == data[b"/f0"]
    with pytest.raises(errors.Damaged):
        kept.get(b"/f1")
    handle = kept.drive.open(b"/f1", os.O_RDONLY).handle
    rest = b"".join(kept.drive.read(handle, BLOCK_SIZE, at) for at in range(BLOCK_SIZE, 2 * MIB, BLOCK_SIZE))
    kept.drive.release(handle)
    assert rest == data[b"/f1"][BLOCK_SIZE:]
    kept.put(b"/f1", b"restored")
    kept.barrier()
    assert figures(kept.index)["damaged_files"] == []


@pytest.mark.expects_log("is damaged or gone", "came damaged")
def test_half_of_a_chunk_in_the_cache_saves_that_half(kept: KeptHouse) -> None:
    ((path, content),) = fill(kept).items()
    (chunk,) = kept.chunk_refs()
    drop_cache(kept)
    handle = kept.drive.open(path, os.O_RDONLY).handle
    assert kept.drive.read(handle, BLOCK_SIZE, 0) == content[:BLOCK_SIZE]
    kept.drive.release(handle)
    kept.store.delete_quietly(chunk.channel, [chunk.message])
    keep_for(kept, 1.2)
    assert figures(kept.index)["damaged_files"] == [path.decode()]
    drop_cache(kept)
    handle = kept.drive.open(path, os.O_RDONLY).handle
    assert kept.drive.read(handle, BLOCK_SIZE, 0) == content[:BLOCK_SIZE]
    kept.drive.release(handle)


@pytest.mark.expects_log("can be read but its end", "came damaged")
def test_a_chunk_without_its_end_is_renewed(kept: KeptHouse) -> None:
    """Its files can be read as long as there is an index; recovery without one needs the footer."""
    ((path, content),) = fill(kept).items()
    (chunk,) = kept.chunk_refs()
    alter(kept, at=chunk.attachments[0].size - 1)
    keep_for(kept, 1.2)
    (renewed,) = kept.chunk_refs()
    assert renewed.uid != chunk.uid
    assert kept.chunks.verify(renewed) == []
    drop_cache(kept)
    assert kept.get(path) == content


@pytest.mark.expects_log("other bytes than were hashed", "is damaged or gone")
def test_bytes_that_were_sealed_wrongly_are_told_and_not_copied(kept: KeptHouse) -> None:
    """A copy would have a fitting hash, and nobody would ever know."""
    fill(kept)
    (chunk,) = kept.chunk_refs()
    kept.chunks.verify = lambda ref: [(0, 1000)]  # type: ignore[method-assign,assignment]
    keep_for(kept, 1.2)
    assert [ref.uid for ref in kept.chunk_refs()] == [chunk.uid]
    assert figures(kept.index)["damaged_files"] == ["/f0"]


def test_while_discord_is_away_nothing_is_called_damaged(kept: KeptHouse) -> None:
    fill(kept)

    def away(*_arguments: object) -> None:
        raise errors.Unavailable("the network is down")

    verify = kept.chunks.verify
    kept.chunks.verify = away  # type: ignore[method-assign]
    keep_for(kept, 2)
    assert figures(kept.index)["damaged_files"] == []
    assert not kept.rows("SELECT * FROM chunks WHERE verified_ns > 0")
    kept.chunks.verify = verify  # type: ignore[method-assign]
