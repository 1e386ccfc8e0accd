"""The power goes at any moment: what was synced is there, and all else is as it was at one moment.

A user's history is recorded once, the disk is cut at many moments in many ways, and a drive begins from each
of them in the next run of the machine. The last tests show that the others would find damage: with a part of
the protection switched off they do.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from discordfs import errors, staging, unsynced
from discordfs.uploader import Triggers
from tests.crash.conftest import RecordedHouse, SurvivingHouse, WitnessedStore
from tests.crash.journal import Journal
from tests.crash.recorder import record
from tests.crash.user import History, User, tree_of
from tests.fs import audit
from tests.fs.conftest import NEVER

MIB = 1024**2
QUOTA = 64 * MIB
EAGER = Triggers(bytes=200_000, quiet_s=0.02, age_s=0.1)
"""Uploads at all times, beside what the user does."""

pytestmark = pytest.mark.expects_log("the machine went down", "cannot be used")


@dataclass(frozen=True, slots=True)
class Life:
    """What a user did, as a journal and as the user saw it, and the Discord it ended with."""

    journal: Journal
    history: History
    store: WitnessedStore

    def moments(self) -> range:
        """All after the drive was there."""
        return range(self.journal.at("begin 1"), len(self.journal) + 1)


def live(place: Path, seed: int, steps: int, triggers: Triggers = NEVER) -> Life:
    with record(place) as recording:
        house = RecordedHouse(recording, QUOTA, triggers)
        user = User(house, recording, seed)
        user.live(steps)
        house.close()
        house.loop.stop()
    return Life(Journal.load(recording.journal), user.history, house.witness)


def damage(life: Life, k: int, seed: int, place: Path) -> list[str]:
    """Cuts the power at moment k, begins anew, and says what is wrong."""
    life.journal.power_cut(k, seed, place)
    marks = [mark.text for mark in life.journal.marks if mark.at <= k]
    try:
        house = SurvivingHouse(place, QUOTA, life.store.as_of(marks))
    except errors.DiscordfsError as error:
        return [f"the drive does not begin: {error}"]
    try:
        found = [*_wrong(life, k, house)]
    finally:
        house.close()
        house.loop.stop()
    found += audit.problems(house.root / "index.sqlite", house.root / "staging")
    shutil.rmtree(place)
    return [f"{k} {seed}: {each}" for each in found]


def _wrong(life: Life, k: int, house: SurvivingHouse) -> Iterator[str]:
    steps = life.history.allowed(life.journal, k)
    try:
        tree = tree_of(house)
    except errors.DiscordfsError as error:
        yield f"a file cannot be read: {error!r}"
        return
    if tree not in [life.history.trees[step] for step in steps]:
        yield f"the drive is not as it was after any of {steps}: {_differences(life, steps, tree)}"
    with house.index._database.transaction():
        numbers = house.index._database.next("inode"), house.index._database.next("commit")
    if min(new - old for new, old in zip(numbers, life.history.numbers[steps[-1]], strict=True)) <= 0:
        yield f"numbers come twice: {numbers} after {life.history.numbers[steps[-1]]}"
    if k % 4:
        return
    house.put(b"/after", b"life goes on")
    house.barrier()
    if tree_of(house) != tree | {b"/after": b"life goes on"}:
        yield "the drive is another one after its upload"


def _differences(life: Life, steps: range, tree: dict[bytes, bytes | None]) -> list[str]:
    near = min(
        (life.history.trees[step] for step in steps), key=lambda each: len(each.items() ^ tree.items())
    )
    return [
        f"{path!r}: {_told(tree.get(path, 'absent'))}, not {_told(near.get(path, 'absent'))}"
        for path in sorted(near.keys() | tree.keys())
        if near.get(path, "absent") != tree.get(path, "absent")
    ]


def _told(content: bytes | str | None) -> str:
    if not isinstance(content, bytes):
        return str(content or "a directory")
    return f"{len(content)} bytes ({content.count(0)} zeros)"


def moments(life: Life, count: int, seed: int) -> list[int]:
    """Those right before and after syncs, and others drawn by the seed."""
    at_syncs = {
        k + beside for k in life.journal.syncs() for beside in (-1, 0) if k + beside in life.moments()
    }
    chance = random.Random(seed)
    chosen = chance.sample(sorted(at_syncs), min(count // 2, len(at_syncs)))
    return sorted({*chosen, *chance.sample(life.moments(), count - len(chosen))})


def damages(life: Life, ks: Iterable[int], seeds: Iterable[int], place: Path) -> Iterator[str]:
    for k in ks:
        for seed in seeds:
            yield from damage(life, k, seed, place / f"cut-{k}-{seed}")


def test_after_a_power_cut_the_drive_is_as_it_was_at_one_moment(fuse_available: None, tmp_path: Path) -> None:
    life = live(tmp_path / "life", seed=1, steps=60)
    found = list(damages(life, moments(life, 100, seed=1), [1], tmp_path))
    assert not found, "\n".join(found)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(6))
def test_many_lives_many_cuts(fuse_available: None, tmp_path: Path, seed: int) -> None:
    life = live(tmp_path / "life", seed=100 + seed, steps=120, triggers=EAGER if seed % 2 else NEVER)
    found = list(damages(life, moments(life, 500, seed), [1, 2], tmp_path))
    assert not found, "\n".join(found)


def without_checksums(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(unsynced, "note", lambda connection, sums: None)


def without_late_freeing(patch: pytest.MonkeyPatch) -> None:
    note_if_dead = staging.Staging._note_if_dead

    def delete_at_once(self: staging.Staging, segment: staging._Segment) -> None:
        note_if_dead(self, segment)
        segment.may_go = segment.is_dead
        self._delete_if_free(segment)

    patch.setattr(staging.Staging, "_note_if_dead", delete_at_once)


@pytest.mark.expects_log("")  # whatever a damaged drive has to say
@pytest.mark.parametrize("weaken", [without_checksums, without_late_freeing])
def test_without_its_protection_the_drive_would_be_damaged(
    fuse_available: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weaken: Callable[[pytest.MonkeyPatch], None],
) -> None:
    with monkeypatch.context() as patch:
        weaken(patch)
        life = live(tmp_path / "life", seed=1, steps=60)
    assert any(damages(life, moments(life, 150, seed=1), [1], tmp_path)), "these tests have no teeth"
