"""Whatever is left of the log gives back a drive that there once was: every prefix of it, and every log of
which somebody deleted a message."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from discordfs import log, logbook
from discordfs.chunks import layout, packing
from discordfs.errors import MissingError
from discordfs.log import Lost
from discordfs.model import Kind
from discordfs.remote.base import Message
from discordfs.tenure import Wish
from discordfs.uploader import Triggers
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, House
from tests.log.conftest import Recover, assert_same
from tests.log.picture import UNREADABLE, Picture
from tests.log.recovering import RecordingStore, as_of, recovered, without
from tests.log.user import User
from tests.roles.conftest import Clock, Machine

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 12))]
EAGER = Triggers(quiet_s=0.0, age_s=0.0)
"""A cut after each commit, or as soon as the last record has settled."""


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots come often."""
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", 7)


@pytest.fixture
def small_parts(small_records: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what they say is spread over messages, as are the files."""
    monkeypatch.setattr(log, "PART_BYTES", 5000)
    monkeypatch.setattr(packing, "MAX_PLAIN", 8000)


def spread_out(house: House, seed: int, barriers: int = 24, heavy: bool = False) -> User:
    """A user who waits for Discord now and then; the last thing is a barrier. `heavy`: each record has more
    to say than goes into one message."""
    user = User(house, seed)
    for _ in range(barriers):
        user.act(user.random.randrange(1, 5))
        if heavy:
            user.label(b"/d", 12_000)
        house.barrier()
    return user


def log_of(house: House) -> list[Message]:
    assert isinstance(house.store, RecordingStore)
    return house.store.log()


def kind_of(message: Message) -> Kind:
    """Of the log's chunk in a message."""
    (kind,) = {held.kind for held in layout.held(message)} - {Kind.DATA}
    return kind


def prefixes(house: House, user: User, recover: Recover) -> list[Picture]:
    """What each prefix of the log gives back: each a state that was, in the order in which they were."""
    found: list[Picture] = []
    place = 0
    for message in log_of(house):
        if not found and kind_of(message) is Kind.PART:
            continue
        picture = recover(house, as_of(house.store, message.id))
        later = [n for n in range(place, len(user.history)) if user.history[n] == picture]
        assert later, f"after message {message.id}: a drive that never was"
        place = later[0]
        found.append(picture)
    assert user.history[place] == user.history[-1], "the newest record does not say the newest state"
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_every_prefix_of_the_log_is_a_drive_that_there_was(
    recording: House, recover: Recover, small_records: None, seed: int
) -> None:
    user = spread_out(recording, seed)
    prefixes(recording, user, recover)
    kinds = [kind_of(message) for message in log_of(recording)]
    assert kinds.count(Kind.SNAPSHOT) > 2
    assert kinds.count(Kind.RECORD) > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_also_when_records_are_made_while_the_user_works(
    make_house: Callable[..., House], recover: Recover, small_records: None, seed: int
) -> None:
    house = make_house(store=RecordingStore((LOG_CHANNEL, *CHANNELS)), triggers=EAGER)
    user = User(house, seed)
    while len(log_of(house)) < 16:
        user.act(3)
    house.barrier()
    prefixes(house, user, recover)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_prefix_of_records_in_parts(
    recording: House, recover: Recover, small_parts: None, seed: int
) -> None:
    user = spread_out(recording, seed, barriers=12, heavy=True)
    prefixes(recording, user, recover)
    assert [kind_of(message) for message in log_of(recording)].count(Kind.PART) > 5


@pytest.mark.expects_log("read-only from here")
@pytest.mark.parametrize("seed", SEEDS)
def test_also_across_a_take_over(tmp_path: Path, recover: Recover, small_records: None, seed: int) -> None:
    """Claim and adoption change nothing of the drive; nothing that came too late ever shows."""
    clock = Clock()
    store = RecordingStore((LOG_CHANNEL, *CHANNELS), clock=clock)
    with (
        machine(tmp_path / "first", store, clock) as first,
        machine(tmp_path / "second", store, clock) as second,
    ):
        first.open()
        user = User(first, seed)
        work(user, clock)
        second.recover()
        second.assume(Wish.TAKE_OVER)
        first.put(b"/too late", b"x" * 1000)
        with pytest.raises(Lost):
            first.uploader.barrier(10, lambda status: None)
        second.open()
        successor = User(second, seed + 1, list(user.history))
        work(successor, clock)
        prefixes(second, successor, recover)
    kinds = [kind_of(message) for message in store.log()]
    assert len(kinds) > 10


@contextmanager
def machine(folder: Path, store: RecordingStore, clock: Clock) -> Iterator[Machine]:
    made = Machine(folder, store, clock)
    try:
        yield made
    finally:
        made.close()
        made.loop.stop()


def work(user: User, clock: Clock) -> None:
    for _ in range(8):
        user.act(3)
        clock.pass_s(1)
        user.house.barrier()


# --- a message is missing ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_message_that_somebody_deleted_costs_no_more_than_it_must(
    recording: House, recover: Recover, small_records: None, empty_machine: Path, seed: int
) -> None:
    """Records go on at the next snapshot; without one, the drive is as it was before the gap. What is gone
    is said."""
    user = spread_out(recording, seed)
    pictures = prefixes(recording, user, recover)
    messages = log_of(recording)
    for number in range(len(messages)):
        check_without(recording, messages, number, pictures, empty_machine)


def check_without(
    house: House, messages: Sequence[Message], number: int, pictures: Sequence[Picture], folder: Path
) -> None:
    gone = messages[number]
    is_bridged = any(kind_of(message) is Kind.SNAPSHOT for message in messages[number + 1 :])
    store = without(house.store, gone.id)
    if not number and not is_bridged:
        with pytest.raises(MissingError, match="no snapshot"), recovered(house, store, folder):
            pass
        return
    with recovered(house, store, folder) as found:
        expected = lacking(pictures[-1], house, gone) if is_bridged else pictures[number - 1]
        assert_same(expected, found.picture())
        is_inside = 0 < number < len(messages) - 1
        assert ("missing in the log" in " ".join(found.problems)) is is_inside, f"{number}: {found.problems}"


def lacking(picture: Picture, house: House, gone: Message) -> Picture:
    """The drive, but the bytes that lay in this message cannot be read."""
    with closing(sqlite3.connect(house.root / "index.sqlite")) as index:
        inodes = {
            ino
            for (ino,) in index.execute(
                "SELECT ino FROM extents JOIN chunks ON chunks.id = extents.chunk WHERE message = ?",
                (gone.id,),
            )
        }
    return {
        path: replace(sight, contents=UNREADABLE) if sight.ino in inodes else sight
        for path, sight in picture.items()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_counts_only_with_all_its_parts(
    recording: House, recover: Recover, small_parts: None, empty_machine: Path, seed: int
) -> None:
    """Each message of the log missing, parts among them: the state before, or all of it from a snapshot."""
    user = spread_out(recording, seed, barriers=12, heavy=True)
    pictures = prefixes(recording, user, recover)
    final = user.history[-1]
    for number, gone in enumerate(log_of(recording)):
        store = without(recording.store, gone.id)
        try:
            with recovered(recording, store, empty_machine) as found:
                picture, told = found.picture(), bool(found.problems)
        except MissingError:
            assert number <= snapshot_parts(log_of(recording))
            continue
        complete = lacking(final, recording, gone)
        assert picture in (complete, *pictures[:number]), f"message {number}: a mixture"
        assert told or picture == complete or number == len(log_of(recording)) - 1


def snapshot_parts(messages: Sequence[Message]) -> int:
    """The number of the message that completes the first snapshot."""
    kinds: Iterator[Kind] = map(kind_of, messages)
    return next(number for number, kind in enumerate(kinds) if kind is Kind.SNAPSHOT)
