"""Somebody meddles with the messages: whatever they do, no byte comes back wrong, what can be told apart from
damage is told, and the drive's own writer goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from discordfs.errors import ConfigError, DiscordfsError
from discordfs.fold import CLAIM_LIFETIME_S, LISTING_LAG_S
from discordfs.follower import Follower
from discordfs.keys import VolumeKeys
from discordfs.logreading import LogReader
from discordfs.remote.base import Attachment, Message, UploadFile
from discordfs.remote.memory import MemoryStore
from tests.fs.conftest import CALLER, CHANNELS, LOG_CHANNEL, House
from tests.log.conftest import Recover, assert_same, seen
from tests.log.picture import UNREADABLE, Picture
from tests.log.recovering import FastClock, RecordingStore, copied, recovered

KIB, MIB = 1024, 1024**2
STRANGER = 99
TOO_OLD_FOR_A_CLAIM_S = CLAIM_LIFETIME_S + 3 * LISTING_LAG_S
pytestmark = pytest.mark.expects_log("came damaged: once more")


@pytest.fixture
def diary(recording: House) -> tuple[House, list[Picture]]:
    """A drive with a few records, each with a file's bytes in its message, and what it was after each."""
    pictures = [seen(recording)]
    for number in range(4):
        recording.put(b"/day%d" % number, os.urandom(700))
        recording.put(b"/newest", b"%d" % number * 3000)
        recording.barrier()
        pictures.append(seen(recording))
    return recording, pictures


def log_of(house: House) -> list[Message]:
    assert isinstance(house.store, RecordingStore)
    return house.store.log()


def places(size: int) -> Iterator[int]:
    """Bytes all over an attachment: its begin, its blocks, its footer, all of its trailer."""
    yield from sorted({0, 1, size // 4, size // 2, *range(max(0, size - 64), size, 5), size - 1})


def flipped(store: MemoryStore, attachment: Attachment, at: int) -> MemoryStore:
    copy = copied(store)
    copy.replace_bytes(attachment.id, lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    return copy


def without_contents(picture: Picture, *paths: bytes) -> Picture:
    return {
        path: replace(sight, contents=UNREADABLE) if path in paths else sight
        for path, sight in picture.items()
    }


# --- bytes that change ----------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_record_costs_that_record_and_is_said(
    diary: tuple[House, list[Picture]], empty_machine: Path
) -> None:
    house, pictures = diary
    for number, message in enumerate(log_of(house)[1:], 1):
        record = message.attachments[0]
        assert record.name.startswith("r-")
        for at in places(record.size):
            with recovered(house, flipped(house.store, record, at), empty_machine) as found:
                assert_same(pictures[number - 1], found.picture())
                assert any(str(message.id) in problem for problem in found.problems)


@pytest.mark.long
def test_a_flipped_bit_anywhere_in_a_record_or_snapshot(
    diary: tuple[House, list[Picture]], empty_machine: Path
) -> None:
    house, pictures = diary
    house.uploader.ask_for_record(snapshot=True)
    house.barrier()
    for message in log_of(house)[-2:]:
        record = message.attachments[0]
        expected = pictures[-1] if record.name.startswith("s-") else seen(house)
        for at in range(0, record.size, 3):
            with recovered(house, flipped(house.store, record, at), empty_machine) as found:
                assert_same(expected, found.picture())


def test_a_flipped_bit_in_the_only_snapshot_is_an_error(
    diary: tuple[House, list[Picture]], empty_machine: Path
) -> None:
    house, _ = diary
    snapshot = log_of(house)[0].attachments[0]
    for at in places(snapshot.size):
        store = flipped(house.store, snapshot, at)
        with pytest.raises(DiscordfsError, match="damaged"), recovered(house, store, empty_machine):
            pass


def test_a_flipped_bit_in_a_later_snapshot_leaves_the_state_before_it(
    recording: House, empty_machine: Path
) -> None:
    recording.put(b"/a", b"x" * 1000)
    recording.barrier()
    before = seen(recording)
    recording.put(b"/b", b"y" * 1000)
    recording.uploader.ask_for_record(snapshot=True)
    recording.barrier()
    (snapshot,) = (
        attachment
        for each in log_of(recording)[1:]
        for attachment in each.attachments
        if attachment.name[0] == "s"
    )
    for at in places(snapshot.size):
        with recovered(recording, flipped(recording.store, snapshot, at), empty_machine) as found:
            assert_same(before, found.picture())
            assert found.problems


def test_a_flipped_bit_in_a_files_bytes_is_an_error_for_that_file_alone(
    diary: tuple[House, list[Picture]], recover: Recover
) -> None:
    """Where it hits a block. The footer is not needed to read what the index knows."""
    house, pictures = diary
    rider = log_of(house)[1].attachments[1]
    hurt = without_contents(pictures[-1], b"/day0")
    assert rider.name.startswith("c-")
    found = [recover(house, flipped(house.store, rider, at)) for at in places(rider.size)]
    assert all(picture in (hurt, pictures[-1]) for picture in found)
    assert found[0] == hurt


def test_only_the_ranges_of_a_damaged_block_cannot_be_read(recording: House, empty_machine: Path) -> None:
    block = 256 * KIB
    data = os.urandom(4 * block)
    recording.put(b"/a", data)
    recording.barrier()
    (message,) = (each for each in recording.store.posted if each.channel != LOG_CHANNEL)  # type: ignore[attr-defined]
    store = flipped(recording.store, message.attachments[0], block + 1000)
    with recovered(recording, store, empty_machine) as found:
        handle = found.drive.open(b"/a", os.O_RDONLY).handle
        for number in (0, 2, 3):
            assert found.drive.read(handle, block, number * block) == data[number * block :][:block]
        with pytest.raises(DiscordfsError):
            found.drive.read(handle, 1, block)
        found.drive.release(handle)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_an_attachment_that_was_cut_is_damage(
    diary: tuple[House, list[Picture]], recover: Recover, kept: float
) -> None:
    """Shorter than Discord says that it is."""
    house, pictures = diary
    last = log_of(house)[-1].attachments[0]
    store = copied(house.store)
    store.replace_bytes(last.id, lambda data: data[: int(len(data) * kept)])
    assert_same(pictures[-2], recover(house, store))


# --- messages that change places --------------------------------------------------------------------------


def test_attachments_of_two_messages_swapped(diary: tuple[House, list[Picture]], empty_machine: Path) -> None:
    """Records out of their order are a gap, whoever moved them."""
    house, pictures = diary
    messages = log_of(house)
    for number in range(1, len(messages) - 1):
        store = swapped(house.store, messages[number], messages[number + 1])
        with recovered(house, store, empty_machine) as found:
            assert_same(pictures[number - 1], found.picture())
            assert found.problems


def swapped(store: MemoryStore, one: Message, other: Message) -> MemoryStore:
    copy = copied(store)
    for mine, theirs in ((one, other), (other, one)):
        messages = copy._channels[mine.channel].messages
        messages[mine.id] = replace(mine, attachments=theirs.attachments)
    return copy


def test_bytes_of_two_chunks_swapped_are_an_error(recording: House, recover: Recover) -> None:
    """Equal in length, each rightly sealed, and not what the index says."""
    for name in (b"/a", b"/b"):
        recording.put(name, os.urandom(2 * MIB))
        recording.barrier()
    one, other = (each for each in recording.store.posted if each.channel != LOG_CHANNEL)  # type: ignore[attr-defined]
    store = copied(recording.store)
    mine, theirs = one.attachments[0], other.attachments[0]
    assert mine.size == theirs.size
    store._bytes[mine.id], store._bytes[theirs.id] = store._bytes[theirs.id], store._bytes[mine.id]
    assert_same(without_contents(seen(recording), b"/a", b"/b"), recover(recording, store))


# --- messages that a stranger posts -------------------------------------------------------------------------


def posted_by_a_stranger(store: MemoryStore, of: Message, attachments: Sequence[Attachment]) -> Message:
    """A message with these attachments' names and bytes, as anybody who may write in the channel can post."""
    copies = tuple(store._attach(each.name, store._bytes[each.id]) for each in attachments)
    number = store._next_id()
    message = Message(number, of.channel, STRANGER, of.content, copies, "")
    store._channels[of.channel].messages[number] = message
    store._channels[of.channel].posted_ns[number] = store._clock()
    return message


@pytest.mark.parametrize("with_rider", [True, False])
def test_an_old_record_posted_again_changes_nothing(
    diary: tuple[House, list[Picture]], recover: Recover, with_rider: bool
) -> None:
    house, pictures = diary
    for message in log_of(house):
        posted_by_a_stranger(house.store, message, message.attachments[: 2 if with_rider else 1])
    assert_same(pictures[-1], recover(house, house.store))
    house.put(b"/after", b"the writer goes on")
    house.barrier()
    house.reopen()
    house.put(b"/later", b"also when it begins again")
    house.barrier()
    assert not house.uploader.lost
    assert_same(seen(house), recover(house, house.store))


def test_a_record_moved_without_the_data_beside_it_is_not_half_a_record(
    diary: tuple[House, list[Picture]], empty_machine: Path
) -> None:
    house, pictures = diary
    newest = log_of(house)[-1]
    store = copied(house.store)
    posted_by_a_stranger(store, newest, newest.attachments[:1])
    store.delete_quietly(LOG_CHANNEL, [newest.id])
    with recovered(house, store, empty_machine) as found:
        assert_same(pictures[-2], found.picture())
        assert found.problems


def test_a_damaged_copy_of_a_record_does_not_hide_the_good_one(
    diary: tuple[House, list[Picture]], recover: Recover
) -> None:
    """Before it or after it, by a stranger or by a retry that went wrong."""
    house, pictures = diary
    newest = log_of(house)[-1]
    for spoiled in (0, 1):
        store = copied(house.store)
        copy = posted_by_a_stranger(store, newest, newest.attachments)
        hurt = (newest, copy)[spoiled]
        for attachment in hurt.attachments:
            store.replace_bytes(attachment.id, lambda data: bytes(len(data)))
        assert_same(pictures[-1], recover(house, store))


@pytest.mark.expects_log("may be another machine's claim")
def test_nonsense_under_the_names_of_records_is_passed_over(
    make_house: Callable[..., House], clock: FastClock, recover: Recover
) -> None:
    """Once it is too old to be a claim that cannot be read just now: until then the writer believes nothing,
    and says so."""
    store = RecordingStore((LOG_CHANNEL, *CHANNELS), clock=clock)
    house = make_house(store=store, clock=clock)
    before = seen(house)
    names = (
        "r-" + "0" * 32 + "-1-of-1.bin",
        "s-" + "1" * 32 + "-1-of-2.bin",
        "p-" + "2" * 32 + "-1-of-1.bin",
        "r-" + "3" * 32 + "-99-of-99.bin",
        "r-" + "4" * 32 + "-0-of-0.bin",
        "R-" + "5" * 32 + "-1-of-1.bin",
    )
    for size in (0, 1, 63, 64, 65, 10_000):
        for name in names:
            post_file(house.store, name, os.urandom(size))
    assert_same(before, recover(house, house.store))
    house.put(b"/after", b"x")
    assert not house.uploader.barrier(1.0, lambda status: None)
    assert "claim" in house.uploader.errors[-1]
    clock.added_s += TOO_OLD_FOR_A_CLAIM_S
    house.barrier()
    assert_same(seen(house), recover(house, house.store))


def post_file(store: MemoryStore, name: str, data: bytes) -> None:
    number = store._next_id()
    attachment = store._attach(name, data)
    message = Message(number, LOG_CHANNEL, STRANGER, "", (attachment,), "")
    store._channels[LOG_CHANNEL].messages[number] = message
    store._channels[LOG_CHANNEL].posted_ns[number] = store._clock()


# --- other volumes in the same channels ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("volume", "master"), [(b"w" * 16, b"l" * 32), (b"w" * 16, b"k" * 32)], ids=["other key", "same key"]
)
def test_two_volumes_share_channels_and_nothing_else(
    make_house: Callable[..., House], recover: Recover, volume: bytes, master: bytes
) -> None:
    store = RecordingStore((LOG_CHANNEL, *CHANNELS))
    houses = [make_house(store=store), make_house(store=store, volume=volume, master=master)]
    for number in range(3):
        for house in houses:
            house.put(b"/same name", b"%d of %s" % (number, house.volume) * 500)
            house.barrier()
    for house in houses:
        house.reopen()
        house.drive.mkdir(b"/d", 0o755, CALLER)
        house.barrier()
        assert_same(seen(house), recover(house, store))


@pytest.mark.expects_log("may be another machine's claim")
def test_a_volume_with_our_name_and_another_key_is_not_believed(
    make_house: Callable[..., House], clock: FastClock, recover: Recover
) -> None:
    """What a stranger can make who has read our messages: the id stands in them in the plain."""
    store = RecordingStore((LOG_CHANNEL, *CHANNELS), clock=clock)
    ours = make_house(store=store, clock=clock)
    ours.put(b"/a", b"ours" * 500)
    ours.barrier()
    theirs = RecordingStore((LOG_CHANNEL, *CHANNELS))
    forged = make_house(store=theirs, master=b"l" * 32)
    forged.put(b"/a", b"forged" * 500)
    forged.barrier()
    for message in theirs.log():
        for attachment in message.attachments:
            post_file(store, attachment.name, theirs._bytes[attachment.id])
    ours.put(b"/b", b"more" * 500)
    assert not ours.uploader.barrier(1.0, lambda status: None)
    clock.added_s += TOO_OLD_FOR_A_CLAIM_S
    ours.barrier()
    assert not ours.uploader.lost
    assert_same(seen(ours), recover(ours, store))


def test_a_key_of_another_volume_is_refused(diary: tuple[House, list[Picture]], empty_machine: Path) -> None:
    house, _ = diary
    house.keys = VolumeKeys(b"x" * 32)
    with pytest.raises(ConfigError, match="key"), recovered(house, house.store, empty_machine):
        pass


# --- an older log put back ----------------------------------------------------------------------------------


def forget_newest(house: House, count: int) -> None:
    newest = [message.id for message in log_of(house)[-count:]]
    house.store.delete_quietly(LOG_CHANNEL, newest)


@pytest.mark.expects_log("is gone from the log", "all is said again")
@pytest.mark.parametrize("restarted", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_a_writer_whose_newest_records_are_gone_says_everything_again(
    make_house: Callable[..., House], clock: FastClock, recover: Recover, count: int, restarted: bool
) -> None:
    """Somebody deleted messages, or put back what the channel once held. What rode in them is lost; nothing
    else is, and what comes after counts."""
    house = make_house(store=RecordingStore((LOG_CHANNEL, *CHANNELS), clock=clock), clock=clock)
    for number in range(5):
        house.drive.mkdir(b"/day%d" % number, 0o755, CALLER)
        house.barrier()
    clock.added_s += 2 * LISTING_LAG_S
    forget_newest(house, count)
    if restarted:
        house.reopen()
    house.put(b"/after", b"the gap")
    house.barrier()
    house.put(b"/later", b"still")
    house.barrier()
    assert not house.uploader.lost
    assert_same(seen(house), recover(house, house.store))


@pytest.mark.expects_log("is gone from the log", "all is said again")
def test_a_writer_finds_out_when_it_begins_and_nothing_is_to_be_said(
    make_house: Callable[..., House], clock: FastClock, recover: Recover
) -> None:
    house = make_house(store=RecordingStore((LOG_CHANNEL, *CHANNELS), clock=clock), clock=clock)
    house.drive.mkdir(b"/d", 0o755, CALLER)
    house.barrier()
    clock.added_s += 2 * LISTING_LAG_S
    forget_newest(house, 2)
    house.reopen()
    house.barrier()
    assert_same(seen(house), recover(house, house.store))


@pytest.mark.expects_log("all is said again")
def test_a_writer_that_is_cut_off_from_the_log_goes_on_with_a_snapshot(
    make_house: Callable[..., House], clock: FastClock, recover: Recover
) -> None:
    """An index that was put back by a record, which somebody deleted, too; a later one of ours is there."""
    house = make_house(store=RecordingStore((LOG_CHANNEL, *CHANNELS), clock=clock), clock=clock)
    for number in range(5):
        house.drive.mkdir(b"/day%d" % number, 0o755, CALLER)
        house.barrier()
    clock.added_s += 2 * LISTING_LAG_S
    with house.index.changing() as connection:
        newest = connection.execute("SELECT seq, uid, message FROM records ORDER BY seq DESC LIMIT 3")
        _, (lost_seq, _, lost), head = newest.fetchall()
        connection.execute("DELETE FROM records WHERE seq >= ?", (lost_seq,))
        connection.execute("UPDATE log SET head_seq = ?, head_uid = ?, head_message = ?", head)
    house.store.delete_quietly(LOG_CHANNEL, [lost])
    house.reopen()
    house.put(b"/after", b"the gap")
    house.barrier()
    house.put(b"/later", b"still")
    house.barrier()
    assert_same(seen(house), recover(house, house.store))


@pytest.mark.expects_log("is gone from the log", "all is said again")
def test_a_follower_does_not_go_back(
    make_house: Callable[..., House], clock: FastClock, empty_machine: Path
) -> None:
    """It has seen record 6; that the log ends with record 3 now is no reason to show an older drive."""
    house = make_house(store=RecordingStore((LOG_CHANNEL, *CHANNELS), clock=clock), clock=clock)
    for number in range(5):
        house.drive.mkdir(b"/day%d" % number, 0o755, CALLER)
        house.barrier()
    with recovered(house, house.store, empty_machine) as found:
        newest = found.picture()
        clock.added_s += 2 * LISTING_LAG_S
        forget_newest(house, 3)
        follower = Follower(found.index, LogReader(found.chunks, LOG_CHANNEL))
        for _ in range(2):
            assert not follower.follow().settled
        assert_same(newest, found.picture())
        house.put(b"/newer", b"n")
        house.barrier()
        house.barrier()
        follower.follow()
        assert_same(seen(house), found.picture())


# --- a copy that shows before the original ------------------------------------------------------------------


@pytest.mark.expects_log("without its data", "is not the chunk that was posted")
def test_a_copy_that_shows_first_does_not_stand_for_what_was_posted(
    make_house: Callable[..., House],
    clock: FastClock,
    recover: Recover,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the listing lags, a stranger's copies of a record show, and it does not: one without the data
    beside it, one with others."""
    store = CopiedStore(clock)
    house = make_house(store=store, clock=clock)
    store.is_copied = True
    house.put(b"/a", b"precious" * 100)
    house.barrier()
    house.put(b"/b", b"more" * 100)
    house.barrier()
    assert "without its data" in caplog.text
    assert house.uploader.status().staged_bytes == 0
    for message in store.copies:
        assert message.id not in {ref.message for ref in house.chunk_refs()}
    assert_same(seen(house), recover(house, store))


class CopiedStore(RecordingStore):
    """Hides each message for as long as listings may lag, and shows what a stranger made of it at once."""

    def __init__(self, clock: FastClock) -> None:
        super().__init__((LOG_CHANNEL, *CHANNELS), clock=clock, list_lag=LISTING_LAG_S)
        self.is_copied = False
        self.copies: list[Message] = []

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        message = await super().post(channel, content, files, nonce)
        if self.is_copied and channel == LOG_CHANNEL:
            self._copy(message, message.attachments[:1])
            copy = self._copy(message, message.attachments)
            for attachment in copy.attachments[1:]:
                self.replace_bytes(attachment.id, lambda data: bytes(len(data)))
        return message

    def _copy(self, message: Message, attachments: Sequence[Attachment]) -> Message:
        copy = posted_by_a_stranger(self, message, attachments)
        self._channels[LOG_CHANNEL].posted_ns[copy.id] = 0
        self.copies.append(copy)
        return copy
