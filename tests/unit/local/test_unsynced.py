"""Checksums of staged bytes: wrong ones would undo a user's work for nothing, or let damage through."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from discordfs import unsynced
from discordfs.database import Database
from discordfs.ledger import Released
from discordfs.staging import Run, Staging
from discordfs.unsynced import Sum

MIB = 1024**2


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    made = Staging(tmp_path / "staging", 1024 * MIB, {}, lambda: 0.0)
    yield made
    made.close()


def check(staging: Staging, sums: list[Sum]) -> None:
    for each in sums:
        data = staging.read(each.segment, each.position, each.length)
        assert unsynced.digest(data) == each.digest


def test_the_sums_cover_everything_that_was_written_in_few_stretches(staging: Staging) -> None:
    run, total = Run(), 0
    for number in range(300):
        data = bytes([number % 251 + 1]) * (number * 200 + 1)
        staging.write(run, data)
        total += len(data)
    sums = staging.sums(run)
    check(staging, sums)
    assert sum(each.length for each in sums) == total
    assert len(sums) <= 8


def test_what_was_written_again_has_the_sum_of_what_is_there_now(staging: Staging) -> None:
    """A program that goes back and fills in a header: the old checksum would undo its file."""
    run, chance = Run(), random.Random(1)
    placed = [each for _ in range(40) for each in staging.write(run, chance.randbytes(300_000))]
    for _ in range(50):
        place = chance.choice(placed)
        at = chance.randrange(place.length)
        data = chance.randbytes(min(place.length - at, 5000))
        staging.overwrite(run, place.segment, place.position + at, data)
    sums = staging.sums(run)
    check(staging, sums)
    assert sum(each.length for each in sums) == 40 * 300_000


def test_an_overwrite_across_stretches_spoils_all_of_them(staging: Staging) -> None:
    run = Run()
    (place, *_) = staging.write(run, bytes(4 * MIB))
    staging.write(run, b"x" * 1000)
    before = staging.sums(run)
    staging.overwrite(run, place.segment, place.position, b"y" * (4 * MIB))
    staging.overwrite(run, place.segment, place.position + 4 * MIB - 500, b"z" * 1000)
    sums = staging.sums(run)
    check(staging, sums)
    assert {each.digest for each in before}.isdisjoint(each.digest for each in sums)


def test_bytes_that_nothing_refers_to_any_more_need_no_sum(staging: Staging) -> None:
    run = Run()
    placed = staging.write(run, b"a" * 1000)
    staging.overwrite(run, placed[0].segment, placed[0].position, b"b")
    staging.close_run(run)
    staging.release(Released(each.segment, each.length) for each in placed)
    staging.sync()()
    assert staging.sums(run) == []


def test_only_what_a_file_rests_on_is_compared(tmp_path: Path) -> None:
    """Bytes of a file that is gone again may be missing: that is no reason to go back."""
    database = Database(tmp_path / "index.sqlite")
    rows = [Sum(7, position, 100, b"12345678") for position in (0, 100, 200, 300, 400)]
    extents = [(1, 0, 150), (2, 220, 30), (3, 390, 5)]  # in segment 7; of segment 8 at 400
    with database.transaction() as connection:
        unsynced.note(connection, rows)
        for ino, position, length in extents:
            connection.execute(
                "INSERT INTO extents VALUES (?, 0, ?, 0, 7, ?, 0, 0, 1)", (ino, length, position)
            )
        connection.execute("INSERT INTO extents VALUES (4, 0, 100, 0, 8, 400, 0, 0, 1)")
        connection.execute("INSERT INTO extents VALUES (5, 0, 100, 2, 7, 400, 1, 0, 1)")
        found = {each.position for each in unsynced.live(connection)}
    assert found == {0, 100, 200, 300}
    database.close()
