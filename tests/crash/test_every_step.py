"""The process dies at any step: of what it does to its disk, and of what it does to Discord.

One user's life is recorded, with everything in it that goes to Discord: chunks ahead, riders, snapshots in
parts, files replaced, rewritten and removed, garbage condemned and deleted. Every operation on the state
directory and every effect on Discord is a moment of one sequence. From each of them a drive begins, on the
directory and the Discord of that moment, and must have all that had returned; and Discord alone, when the
machine is lost as well, must have all that a barrier had acknowledged.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from discordfs import errors, log, logbook, uploader
from discordfs.chunks import layout, packing
from discordfs.gc.chores import Chores
from discordfs.remote.base import snowflake_ns
from discordfs.remote.memory import MemoryStore
from discordfs.uploader import Triggers
from tests.crash.conftest import RecordedHouse, SurvivingHouse
from tests.crash.journal import Journal, Mark
from tests.crash.recorder import Recording, record
from tests.crash.user import History, Tree, User, tree_in, tree_of
from tests.fs import audit
from tests.fs.conftest import VOLUME, House
from tests.log.recovering import recovered

QUOTA = 64 * 1024**2
SAME_RUN = "the first run"
GRACE_S = 3600.0
NONCE_FORGOTTEN_S = 600.0
BUSY = Triggers(bytes=150_000, quiet_s=0.0, age_s=0.0)
"""Chunks go ahead and cuts are made while the user works."""

pytestmark = pytest.mark.expects_log("cannot be posted", "cannot be used")


class Clock:
    """Discord's time: this machine's, and as much more as a test lets pass."""

    def __init__(self) -> None:
        self._ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self._ahead_ns

    def advance(self, seconds: float) -> None:
        self._ahead_ns += int(seconds * 1e9)

    def set(self, now_ns: int) -> None:
        self._ahead_ns = now_ns - time.time_ns()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of everything there is more than one: chunks of a cut, parts of a snapshot, snapshots."""
    monkeypatch.setattr(packing, "MAX_PLAIN", 200_000)
    monkeypatch.setattr(uploader, "_RIDER_BYTES", 60_000)
    monkeypatch.setattr(log, "PART_BYTES", 200)
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", 4)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a sync costs nothing, if there is such a place: there are thousands here, and no power goes."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK | os.X_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


def chores_of(house: House) -> Chores:
    return Chores(
        index=house.index,
        staging=house.staging,
        chunks=house.chunks,
        uploader=house.uploader,
        drive=house.drive,
        volume=VOLUME,
        outbox=house.root / "outbox",
        grace_s=GRACE_S,
        monotonic=time.monotonic,
    )


# --- a life ----------------------------------------------------------------------------------------------


class Busy(User):
    """A user with all that goes to Discord in his life. `barrier N` is marked when one has returned after
    step N."""

    def __init__(self, house: House, recording: Recording, seed: int, clock: Clock) -> None:
        super().__init__(house, recording, seed)
        self._clock = clock

    def upload(self) -> None:
        super().upload()
        self._recording.mark(f"barrier {len(self.history.trees) - 1}")

    def clean(self) -> None:
        """`discordfs gc`, an hour later, and once more, after the grace time of what it found."""
        chores = chores_of(self._house)
        for _ in range(2):
            self._clock.advance(GRACE_S + 60)
            self._step(lambda: chores.clean(lambda: False, lambda news: None))

    def restart(self) -> None:
        """A mount that ends, says so in the log, and is back."""
        self.upload()
        self._step(self._restart, synced=True)
        self._drive = self._house.drive

    def _restart(self) -> None:
        house = self._house
        house.drive.close()
        house.uploader.stop()
        house.uploader.log.end()
        house.reopen()

    def live_a_day(self) -> None:
        self.make_directory()
        for deeds in (
            [self.write_new, self.write_new, self.upload, self.replace, self.edit],
            [self.rewrite, self.write_new, self.rename, self.upload, self.remove, self.upload],
            [self.write_new, self.replace, self.cut, self.upload, self.rewrite, self.clean],
            [self.restart, self.edit],
            [self.edit, self.remove, self.write_new, self.upload, self.remove, self.clean],
            [self.write_new, self.replace, self.edit],
        ):
            for deed in deeds:
                deed()


@dataclass(frozen=True, slots=True)
class Moment:
    """So many operations on the directory, and so many marks."""

    operations: int
    marks: int


@dataclass(frozen=True, slots=True)
class Life:
    """What a user did, as a journal and as the user saw it, and the Discord it ended with."""

    journal: Journal
    history: History
    house: RecordedHouse

    def moments(self) -> list[Moment]:
        """All from the first step on: after each operation, and after each effect on Discord."""
        first = self.journal.at("begin 1")
        marks = self.journal.marks
        found = []
        for number, k in enumerate_marks(len(self.journal), marks):
            is_new = number == 0 or marks[number - 1].at < k or is_effect(marks[number - 1])
            if k >= first and is_new:
                found.append(Moment(k, number))
        return found

    def done(self, moment: Moment) -> list[str]:
        return [mark.text for mark in self.journal.marks[: moment.marks]]

    def allowed(self, moment: Moment) -> list[Tree]:
        """After the step that had returned, or the one that was under way."""
        marks = self.done(moment)
        last = sum(text.startswith("end ") for text in marks)
        begun = sum(text.startswith("begin ") for text in marks)
        return self.history.trees[last : begun + 1]

    def acknowledged(self, moment: Moment) -> list[Tree]:
        """Those that may come back when the machine is lost: from the last barrier that had returned on."""
        marks = self.done(moment)
        begun = sum(text.startswith("begin ") for text in marks)
        barriers = [int(text.split()[1]) for text in marks if text.startswith("barrier ")]
        return self.history.trees[max(barriers, default=0) : begun + 1]


def is_effect(mark: Mark) -> bool:
    return mark.text.startswith(("posted ", "deleted "))


def enumerate_marks(operations: int, marks: Sequence[Mark]) -> Iterator[tuple[int, int]]:
    """(marks so far, operations so far), step by step."""
    number = 0
    for k in range(operations + 1):
        yield number, k
        while number < len(marks) and marks[number].at == k:
            number += 1
            yield number, k


def live(place: Path, seed: int) -> Life:
    clock = Clock()
    with record(place) as recording:
        house = RecordedHouse(recording, QUOTA, BUSY, clock)
        user = Busy(house, recording, seed, clock)
        user.live_a_day()
        house.close()
        house.loop.stop()
    return Life(Journal.load(recording.journal), user.history, house)


# --- what is wrong after a death --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Death:
    """One moment, in a place of its own; `chance` draws what comes after."""

    life: Life
    moment: Moment
    place: Path
    chance: random.Random

    def wrongs(self) -> list[str]:
        clock = Clock()
        store = self.life.house.witness.as_of(self.life.done(self.moment), clock)
        clock.set(self._next_start_ns(store))
        self.life.journal.state_after(self.moment.operations, self.place)
        try:
            found = [*self._of_the_machine(store)]
            store.list_lag = self.chance.choice((0.0, 0.0, 0.4))
            found += self._of_the_process(store, clock)
        except (errors.DiscordfsError, AssertionError) as error:
            found = [repr(error)]
        shutil.rmtree(self.place)
        return [f"{self.moment}: {each}" for each in found]

    def _next_start_ns(self, store: MemoryStore) -> int:
        """At once, while Discord still knows the nonces of the last posts, or after it has forgotten them."""
        pause_s = self.chance.choice((0.1, NONCE_FORGOTTEN_S))
        return snowflake_ns(store._last_id) + int(pause_s * 1e9)

    def _of_the_machine(self, store: MemoryStore) -> Iterator[str]:
        """All of it is lost, and Discord is left."""
        with recovered(self.life.house, store, self.place.with_name("machine")) as found:
            if tree_in(found.drive) not in self.life.acknowledged(self.moment):
                yield "Discord alone gives back what never was, or not what a barrier had acknowledged"

    def _of_the_process(self, store: MemoryStore, clock: Clock) -> Iterator[str]:
        house = SurvivingHouse(self.place, QUOTA, store, SAME_RUN)
        try:
            yield from self._as_it_begins(house)
            yield from self._as_it_goes_on(house, clock)
        finally:
            house.close()
            house.loop.stop()
        yield from audit.problems(house.root / "index.sqlite", house.root / "staging")

    def _as_it_begins(self, house: House) -> Iterator[str]:
        tree = tree_of(house)
        if tree not in self.life.allowed(self.moment):
            yield f"what had returned is not there: {sorted(tree)}"
        if self.chance.random() < 0.3:
            house.reopen()
        house.barrier()
        house.store.list_lag = 0.0
        if tree_of(house) != tree:
            yield "the drive is another one after its upload"

    def _as_it_goes_on(self, house: House, clock: Clock) -> Iterator[str]:
        tree = tree_of(house)
        yield from references(house)
        with recovered(self.life.house, house.store, self.place.with_name("elsewhere")) as found:
            if tree_in(found.drive) != tree:
                yield "another machine recovers another drive"
        if self.chance.random() < 0.8:
            return
        yield from left_over(house, clock)
        if tree_of(house) != tree | {b"/after": AFTER}:
            yield "the drive is another one after gc"


def references(house: House) -> Iterator[str]:
    """Wrong is a chunk that files are in and no record names, or that is not where the index says."""
    with house.index._database.reading() as connection:
        rows = connection.execute(
            "SELECT uid, state, channel, message FROM chunks WHERE EXISTS "
            "(SELECT 1 FROM extents WHERE chunk = chunks.id)"
        ).fetchall()
        homes = {row[0] for row in connection.execute("SELECT DISTINCT home FROM extents")}
    if homes - {2}:
        yield f"after a barrier extents are not on Discord: {homes}"
    for uid, state, channel, message in rows:
        there = house.store._channels[channel].messages.get(message)
        if state != 2 or there is None or uid not in {held.uid for held in layout.held(there)}:
            yield f"chunk {uid.hex()} (state {state}) is not in message {message}"


AFTER = b"life goes on"


def left_over(house: House, clock: Clock) -> Iterator[str]:
    """After some more records, and gc with the grace time passed: messages that nothing refers to."""
    dead = unreferred(house)
    chores = chores_of(house)
    for _ in range(3):
        for number in range(logbook.SNAPSHOT_RECORDS + 2):
            house.put(b"/after", AFTER + b"%d" % number)
            house.put(b"/after", AFTER)
            house.barrier()
        clock.advance(2 * GRACE_S)
        chores.sweep(0, lambda: False)
    house.put(b"/after", AFTER)
    house.barrier()
    clock.advance(2 * GRACE_S)
    chores.collector.collect(lambda: False)
    for message in sorted(dead & unreferred(house)):
        yield f"message {message} is left, and nothing refers to it"


def unreferred(house: House) -> set[int]:
    """Messages of which no table knows why they should stay."""
    with house.index._database.reading() as connection:
        known = {
            row[0]
            for row in connection.execute(
                "SELECT message FROM chunks UNION SELECT message FROM records "
                "UNION SELECT message FROM record_parts"
            )
        }
    there = {message for room in house.store._channels.values() for message in room.messages}
    return there - known


# --- the tests ---------------------------------------------------------------------------------------------


def wrongs(life: Life, moments: Iterable[Moment], place: Path) -> list[str]:
    return [
        wrong
        for moment in moments
        for wrong in Death(life, moment, place / "left", random.Random(str(moment))).wrongs()
    ]


def sorts(life: Life) -> Counter[str]:
    """Messages of this life by what is in them, and how many were deleted."""
    found: Counter[str] = Counter()
    for message, _ in life.house.witness._all:
        kinds = {held.kind for held in layout.held(message)}
        found[" with ".join(sorted(kind.name.lower() for kind in kinds))] += 1
    found["deleted"] = sum(mark.text.startswith("deleted ") for mark in life.journal.marks)
    return found


def some(life: Life, count: int, seed: int) -> list[Moment]:
    """Those right before and after effects on Discord, and as many others."""
    all_of_them = life.moments()
    marks = life.journal.marks
    near = [
        moment
        for moment in all_of_them
        if any(is_effect(mark) and mark.at == moment.operations for mark in marks[moment.marks - 1 :][:2])
    ]
    chance = random.Random(seed)
    chosen = {*chance.sample(near, min(len(near), count // 2)), *chance.sample(all_of_them, count // 2)}
    return sorted(chosen, key=lambda moment: (moment.operations, moment.marks))


def test_a_process_that_dies_at_any_step_loses_nothing(fuse_available: None, place: Path) -> None:
    life = live(place / "life", seed=1)
    assert sorts(life).keys() == {"data", "data with record", "record", "snapshot", "part", "deleted"}
    found = wrongs(life, some(life, 60, seed=1), place)
    assert not found, "\n".join(found)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_at_each_of_all_steps(fuse_available: None, place: Path) -> None:
    life = live(place / "life", seed=2)
    found = wrongs(life, life.moments(), place)
    assert not found, "\n".join(found)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10, 16))
def test_in_other_lives(fuse_available: None, place: Path, seed: int) -> None:
    """The threads meet in another order in each of them."""
    life = live(place / "life", seed)
    found = wrongs(life, some(life, 200, seed), place)
    assert not found, "\n".join(found)


@pytest.mark.long
def test_a_drive_that_forgot_what_changed_while_its_record_was_on_the_way_would_be_found(
    fuse_available: None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These tests have teeth."""
    accepted = logbook.Logbook.accepted

    def forget(self: logbook.Logbook, *arguments: Any) -> Any:
        done = accepted(self, *arguments)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM changed_ranges")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(logbook.Logbook, "accepted", forget)
        life = live(place / "life", seed=1)
    assert wrongs(life, some(life, 60, seed=1), place)
