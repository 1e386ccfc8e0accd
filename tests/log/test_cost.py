"""What a change costs: messages, requests and bytes, as the memory store counts them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from discordfs import logbook
from tests.fs.conftest import CALLER, House

KIB, MIB = 1024, 1024**2
POST, LIST = "POST /channels/{id}/messages", "GET /channels/{id}/messages"


@dataclass
class Bill:
    """What was spent since the last look: requests by route, and bytes of all messages."""

    house: House
    _before: dict[str, int] = field(default_factory=dict)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self.take()

    def take(self) -> tuple[dict[str, int], int]:
        traffic = self.house.store.traffic()
        spent = {
            route: count - self._before.get(route, 0)
            for route, count in traffic.requests.items()
            if count != self._before.get(route, 0)
        }
        up, self._before, self._bytes = (
            traffic.bytes_up - self._bytes,
            dict(traffic.requests),
            traffic.bytes_up,
        )
        return spent, up

    def of(self, change: Callable[[], object]) -> tuple[dict[str, int], int]:
        """What a change and a barrier after it cost."""
        self.take()
        change()
        self.house.barrier()
        return self.take()


@pytest.fixture
def bill(house: House) -> Bill:
    return Bill(house)


def test_four_kib_in_a_large_file_are_one_message_of_less_than_eight(house: House, bill: Bill) -> None:
    house.put(b"/a", random.Random(8).randbytes(MIB))
    house.barrier()

    def overwrite() -> None:
        handle = house.drive.open(b"/a", os.O_RDWR).handle
        house.drive.write(handle, random.Random(9).randbytes(4 * KIB), 300_000)
        house.drive.release(handle)

    requests, up = bill.of(overwrite)
    assert requests[POST] == 1
    assert 4 * KIB < up < 8 * KIB


def test_a_small_file_is_one_message(house: House, bill: Bill) -> None:
    requests, up = bill.of(lambda: house.put(b"/a", b"small" * 100))
    assert requests == {POST: 1, LIST: 1}
    assert up < 2 * KIB


def test_thousands_of_small_files_are_a_chunk_and_a_record(house: House, bill: Bill) -> None:
    rng = random.Random(10)

    def unpack_an_archive() -> None:
        for number in range(2000):
            house.put(b"/f%d" % number, rng.randbytes(4 * KIB))

    requests, up = bill.of(unpack_an_archive)
    assert requests[POST] == 2
    assert up < 2000 * 4 * KIB * 1.06


def test_many_new_attributes_are_one_small_record(house: House, bill: Bill) -> None:
    for number in range(500):
        house.drive.mkdir(b"/d%d" % number, 0o755, CALLER)
    house.barrier()

    def chmod_all() -> None:
        for number in range(500):
            house.drive.chmod(b"/d%d" % number, 0o700)
            house.drive.utimens(b"/d%d" % number, 1, 2)

    requests, up = bill.of(chmod_all)
    assert requests[POST] == 1
    assert up < 500 * 40


def test_a_rename_of_a_large_tree_says_one_name(house: House, bill: Bill) -> None:
    house.drive.mkdir(b"/d", 0o755, CALLER)
    for number in range(500):
        house.drive.mkdir(b"/d/%d" % number, 0o755, CALLER)
    house.barrier()
    requests, up = bill.of(lambda: house.drive.rename(b"/d", b"/e"))
    assert requests[POST] == 1
    assert up < KIB


def test_nothing_costs_nothing(house: House, bill: Bill) -> None:
    house.put(b"/a", b"x")
    house.barrier()
    assert bill.of(lambda: house.get(b"/a")) == ({}, 0)
    assert bill.of(lambda: house.drive.rename(b"/a", b"/a")) == ({}, 0)


def test_an_access_time_alone_is_no_reason_for_a_record(house: House, bill: Bill) -> None:
    """`tar --atime-preserve` and its like over a whole drive send nothing."""
    house.put(b"/a", b"x")
    house.barrier()
    house.uploader._triggers = type(house.uploader._triggers)(quiet_s=0.0, age_s=0.0)
    house.drive.utimens(b"/a", 12345, None)
    assert not house.uploader._is_cut_due()
    assert not house.uploader._news
    house.drive.utimens(b"/a", 12345, 1)
    house.barrier()
    assert bill.take()[0][POST] >= 1


def test_snapshots_cost_no_more_than_what_they_replace(
    house: House, bill: Bill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file changed again and again beside a thousand that rest: the drive is not told anew each time."""
    monkeypatch.setattr(logbook, "SNAPSHOT_BYTES", 16 * KIB)
    for number in range(1000):
        house.drive.mkdir(b"/rests%d" % number, 0o755, CALLER)
    house.uploader.ask_for_record(snapshot=True)
    house.barrier()
    _, changed = bill.of(lambda: house.put(b"/a", b"0" * 4000))
    bill.take()
    for number in range(100):
        house.put(b"/a", b"%d" % number * 4000)
        house.barrier()
    _, up = bill.take()
    assert up < 3 * 100 * changed
