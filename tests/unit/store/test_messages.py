"""Messages that hold a record, its data, or both: what was posted together is found and read, each for
itself, and nothing that came back wrong is taken for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from discordfs.chunks import layout
from discordfs.errors import ConfigError, Damaged, MissingError, OutcomeUnknown, RemoteGone, TooLarge
from discordfs.model import BLOCK_SIZE, ChunkRef, Kind, Limits, SealedChunk
from discordfs.remote.base import Attachment, Message, UploadFile
from tests.unit.store.conftest import CHANNEL, Desk, MakeDesk, Troubled, flip, message_of

MIB = 1024**2
ENTRIES = b"".join(b"inode %d, name %d\n" % (n, n) for n in range(1000))


def post_both(desk: Desk, noise: bytes) -> tuple[list[SealedChunk], list[ChunkRef], Message]:
    """A record and 4 MiB of data in one message."""
    both = [desk.seal_log(ENTRIES), desk.seal(noise)]
    refs = desk.chunks.post_all(both, CHANNEL)
    return both, refs, message_of(desk, refs[0])


# --- there and back -------------------------------------------------------------------------------


def test_a_record_and_its_data_are_one_message_and_each_is_read(desk: Desk, noise: bytes) -> None:
    both, refs, message = post_both(desk, noise)
    assert desk.requests("POST /channels/{id}/messages") == 1
    assert [ref.uid for ref in refs] == [sealed.uid for sealed in both]
    assert refs[0].message == refs[1].message
    assert not {it.id for it in refs[0].attachments} & {it.id for it in refs[1].attachments}
    assert desk.chunks.read_log(message, refs[0].uid) == ENTRIES
    assert desk.chunks.read(refs[1], 100, MIB) == noise[100 : 100 + MIB]


def test_the_message_of_a_record_says_so(desk: Desk, noise: bytes) -> None:
    _, refs, message = post_both(desk, noise)
    assert "do not delete" in message.content
    assert f"Record {refs[0].uid.hex()}" in message.content


def test_either_is_located_by_its_uid_and_data_without_one(desk: Desk, noise: bytes) -> None:
    _, (record, data), message = post_both(desk, noise)
    assert desk.chunks.locate(message) == desk.chunks.locate(message, data.uid) == data
    assert desk.chunks.locate(message, record.uid) == record
    assert desk.chunks.read_footer(message).pieces[0].ino == 7
    footer = desk.chunks.read_footer(message, record.uid)
    (piece,) = footer.pieces
    assert (footer.kind, piece.ino, piece.offset, piece.length, piece.seq) == (
        Kind.RECORD,
        0,
        0,
        len(ENTRIES),
        9,
    )


@pytest.mark.parametrize("kind", [Kind.RECORD, Kind.SNAPSHOT, Kind.PART])
def test_a_small_chunk_of_the_log_is_one_request_to_the_cdn_and_none_to_the_api(
    desk: Desk, kind: Kind
) -> None:
    """Replay reads thousands of them."""
    ref = desk.chunks.post(desk.seal_log(ENTRIES, kind), CHANNEL)
    message = message_of(desk, ref)
    before = dict(desk.remote.traffic().requests)
    assert desk.chunks.read_log(message, ref.uid) == ENTRIES
    after = dict(desk.remote.traffic().requests)
    assert {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name)} == {
        "GET cdn": 1
    }


def test_a_large_snapshot_is_read_in_runs_of_4_mib(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled(limits=Limits(8 * MIB, 25 * MIB, 10))
    desk = make_desk(remote)
    ref = desk.chunks.post(desk.seal_log(noise * 3, Kind.SNAPSHOT), CHANNEL)
    assert [it.size // MIB for it in ref.attachments] == [6, 6]
    assert desk.chunks.read_log(message_of(desk, ref), ref.uid) == noise * 3
    assert len(remote.reads) == 4
    assert max(length for _, length in remote.reads) <= 4 * MIB


def test_entries_are_not_given_out_as_files_nor_the_other_way_round(desk: Desk, noise: bytes) -> None:
    _, (record, data), message = post_both(desk, noise)
    with pytest.raises(MissingError):
        desk.chunks.read_log(message, data.uid)
    with pytest.raises(MissingError):
        desk.chunks.read_log(message, bytes(16))
    with pytest.raises(Damaged):
        desk.chunks.read(record, 0, 100)


# --- posting --------------------------------------------------------------------------------------


def test_a_limit_is_learned_and_both_are_laid_out_anew(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled(limits=Limits(8 * MIB, 25 * MIB, 10), assumed=Limits(500 * MIB, 500 * MIB, 10))
    desk = make_desk(remote)
    both = [desk.seal_log(ENTRIES), desk.seal(noise * 5)]
    record, data = desk.chunks.post_all(both, CHANNEL)
    assert [len(it.attachments) for it in (record, data)] == [1, 3]
    assert desk.chunks.read_log(message_of(desk, record), record.uid) == ENTRIES
    assert desk.chunks.read(data, 8 * MIB - 10, 100) == (noise * 5)[8 * MIB - 10 :][:100]


def test_what_no_message_can_hold_together_is_refused_and_can_go_alone(desk: Desk, noise: bytes) -> None:
    both = [desk.seal_log(noise * 4), desk.seal(noise * 4)]
    with pytest.raises(TooLarge):
        desk.chunks.post_all(both, CHANNEL)
    assert desk.requests("POST /channels/{id}/messages") == 0
    refs = [desk.chunks.post(sealed, CHANNEL) for sealed in both]
    assert desk.chunks.read_log(message_of(desk, refs[0]), refs[0].uid) == noise * 4
    with pytest.raises(ValueError):
        desk.chunks.post_all([], CHANNEL)


def _without(number: int) -> Callable[[Message], Message]:
    return lambda it: replace(it, attachments=it.attachments[:number] + it.attachments[number + 1 :])


def _changed(number: int, **fields: Any) -> Callable[[Message], Message]:
    def alter(message: Message) -> Message:
        attachments = list(message.attachments)
        attachments[number] = replace(attachments[number], **fields)
        return replace(message, attachments=tuple(attachments))

    return alter


def _swapped(message: Message) -> Message:
    """The bytes of either under the other's name and size."""
    first, second = message.attachments
    return replace(
        message,
        attachments=(
            Attachment(second.id, first.name, second.size),
            Attachment(first.id, second.name, first.size),
        ),
    )


@pytest.mark.parametrize(
    "alter",
    [_without(0), _without(1), _changed(0, size=1), _changed(1, size=1), _changed(1, name="x.bin"), _swapped],
    ids=["no record", "no data", "record cut", "data cut", "data renamed", "swapped"],
)
@pytest.mark.expects_log("is not the chunk that was posted")
def test_an_answer_that_is_not_all_that_was_sent_is_never_taken_for_it(
    make_desk: MakeDesk, noise: bytes, alter: Callable[[Message], Message]
) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    both = [desk.seal_log(ENTRIES), desk.seal(noise)]
    remote.alter = alter
    with pytest.raises(Damaged):
        desk.chunks.post_all(both, CHANNEL)
    answers = iter([alter, lambda message: message])
    remote.alter = lambda message: next(answers)(message)
    assert len(desk.chunks.post_all(both, CHANNEL)) == 2  # the second nonce helped


# --- finding --------------------------------------------------------------------------------------


def test_a_lost_answer_is_found_only_where_both_are(make_desk: MakeDesk, noise: bytes) -> None:
    """A record whose data did not arrive with it would name what is not there."""

    class Silent(Troubled):
        async def post(self, *arguments: Any) -> Message:
            await super().post(*arguments)
            raise OutcomeUnknown("the connection was reset")

    desk = make_desk(Silent())
    both = [desk.seal_log(ENTRIES), desk.seal(noise)]
    for alone in both:
        with pytest.raises(OutcomeUnknown):
            desk.chunks.post(alone, CHANNEL)
    assert desk.chunks.find(both[0], CHANNEL, 0) is not None
    assert desk.chunks.find_all(both, CHANNEL, 0) is None
    desk = make_desk(Silent())
    with pytest.raises(OutcomeUnknown):
        desk.chunks.post_all(both, CHANNEL)
    found = desk.chunks.find_all(both, CHANNEL, 0)
    assert found is not None
    assert desk.chunks.read_log(message_of(desk, found[0]), both[0].uid) == ENTRIES
    assert desk.chunks.read(found[1], 0, 100) == noise[:100]
    assert desk.chunks.find(both[1], CHANNEL, 0) == found[1]


def test_of_twins_the_older_counts(desk: Desk, noise: bytes) -> None:
    both = [desk.seal_log(ENTRIES), desk.seal(noise)]
    files = [file for it in both for file in layout.upload_files(it, [it.stored_size])]
    ids = [desk.loop.call(desk.remote.post(CHANNEL, "", files, ""), 5).id for _ in range(2)]
    found = desk.chunks.find_all(both, CHANNEL, 0)
    assert found is not None
    assert {ref.message for ref in found} == {min(ids)}


# --- when it goes wrong ---------------------------------------------------------------------------


@pytest.mark.expects_log("came damaged: once more")
def test_every_flipped_byte_of_a_record_is_damage(desk: Desk) -> None:
    ref = desk.chunks.post(desk.seal_log(b"entries"), CHANNEL)
    message, (attachment,) = message_of(desk, ref), ref.attachments
    for at in range(attachment.size):
        desk.remote.replace_bytes(attachment.id, lambda data, at=at: _flipped(data, at))  # type: ignore[misc]
        with pytest.raises(Damaged):
            desk.chunks.read_log(message, ref.uid)
        desk.remote.replace_bytes(attachment.id, lambda data, at=at: _flipped(data, at))  # type: ignore[misc]
    assert desk.chunks.read_log(message, ref.uid) == b"entries"


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("spoil", [flip, lambda data: data[:-1], lambda data: b"", lambda data: data[::-1]])
@pytest.mark.expects_log("came damaged: once more")
def test_a_damaged_answer_is_asked_for_once_more(
    make_desk: MakeDesk, spoil: Callable[[bytes], bytes]
) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    ref = desk.chunks.post(desk.seal_log(ENTRIES), CHANNEL)
    message = message_of(desk, ref)
    remote.spoil, remote.spoiled = spoil, 1
    assert desk.chunks.read_log(message, ref.uid) == ENTRIES
    assert len(remote.reads) == 2
    remote.spoiled = 2
    with pytest.raises(Damaged):
        desk.chunks.read_log(message, ref.uid)


@pytest.mark.expects_log("came damaged: once more")
def test_records_under_each_others_names_are_damage(desk: Desk) -> None:
    """Whoever may post in the channel can post old bytes again under new names."""
    one, two = desk.seal_log(b"one" * 100), desk.seal_log(b"two" * 100)
    part = desk.seal_log(b"two" * 100, Kind.PART)
    assert one.stored_size == two.stored_size == part.stored_size
    for bytes_of, named in ((two, one), (one, two), (part, replace(part, kind=Kind.RECORD))):
        (file,) = layout.upload_files(named, [named.stored_size])
        forged = UploadFile(file.name, bytes_of.path, 0, bytes_of.stored_size)
        message = desk.loop.call(desk.remote.post(CHANNEL, "", [forged], ""), 5)
        with pytest.raises(Damaged):
            desk.chunks.read_log(message, named.uid)
        with pytest.raises(Damaged):
            desk.chunks.locate(message, named.uid)


@pytest.mark.expects_log("came damaged: once more")
def test_the_halves_of_two_records_do_not_make_one(desk: Desk, noise: bytes) -> None:
    one, two = desk.seal_log(noise), desk.seal_log(noise)
    sizes = [8 * (BLOCK_SIZE + 17), one.stored_size - 8 * (BLOCK_SIZE + 17)]
    first, second = layout.upload_files(one, sizes)
    other = layout.upload_files(two, sizes)[0]
    mixed = [replace(other, name=first.name), second]
    message = desk.loop.call(desk.remote.post(CHANNEL, "", mixed, ""), 5)
    with pytest.raises(Damaged):
        desk.chunks.read_log(message, one.uid)
    whole = desk.loop.call(desk.remote.post(CHANNEL, "", [second, first], ""), 5)
    assert desk.chunks.read_log(whole, one.uid) == noise


@pytest.mark.expects_log("came damaged: once more")
def test_a_record_that_was_cut_is_never_read(desk: Desk, noise: bytes) -> None:
    sealed = desk.seal_log(noise[:MIB])
    name = str(layout.PartName(sealed.uid, 1, 1, Kind.RECORD))
    for start, length in ((0, sealed.stored_size - 1), (1, sealed.stored_size - 1), (0, 100), (0, MIB)):
        file = UploadFile(name, sealed.path, start, length)
        message = desk.loop.call(desk.remote.post(CHANNEL, "", [file], ""), 5)
        for read in (desk.chunks.read_log, desk.chunks.read_footer):
            with pytest.raises(Damaged):
                read(message, sealed.uid)
    ref = desk.chunks.post(sealed, CHANNEL)
    message = message_of(desk, ref)
    desk.remote.replace_bytes(ref.attachments[0].id, lambda data: data[:-1000])
    for read in (desk.chunks.read_log, desk.chunks.read_footer):
        with pytest.raises(Damaged):
            read(message, sealed.uid)


@pytest.mark.expects_log("came damaged: once more")
@pytest.mark.parametrize("where", [-64, -65, -100, -1])
def test_a_footer_that_was_cut_is_damage_whatever_it_belongs_to(desk: Desk, noise: bytes, where: int) -> None:
    """Ten bytes missing before the trailer, or in it; the sizes that Discord tells agree."""
    for sealed in (desk.seal_log(ENTRIES), desk.seal(noise[:MIB])):
        data = sealed.path.read_bytes()
        sealed.path.write_bytes(data[: where - 10] + data[where:])
        name = str(layout.PartName(sealed.uid, 1, 1, sealed.kind))
        file = UploadFile(name, sealed.path, 0, len(data) - 10)
        message = desk.loop.call(desk.remote.post(CHANNEL, "", [file], ""), 5)
        with pytest.raises(Damaged):
            desk.chunks.locate(message, sealed.uid)
        with pytest.raises((Damaged, MissingError)):
            desk.chunks.read_log(message, sealed.uid)
        with pytest.raises(Damaged):
            desk.chunks.reopen(sealed.path)


@pytest.mark.expects_log("came damaged: once more")
def test_data_swapped_between_messages_is_never_read(desk: Desk, noise: bytes) -> None:
    """Two messages of two attachments each; the second of either goes under the other's name."""
    one, two = desk.seal(noise), desk.seal(noise[::-1])
    sizes = [8 * (BLOCK_SIZE + 17), one.stored_size - 8 * (BLOCK_SIZE + 17)]
    files, others = layout.upload_files(one, sizes), layout.upload_files(two, sizes)
    end = replace(others[1], name=files[1].name)
    message = desk.loop.call(desk.remote.post(CHANNEL, "", [files[0], end], ""), 5)
    with pytest.raises(Damaged):
        desk.chunks.locate(message)
    chunk = layout.recognise(message, one)  # names and sizes are as they should be
    assert chunk is not None
    assert desk.chunks.read(chunk, 0, 100) == noise[:100]
    with pytest.raises(Damaged):
        desk.chunks.read(chunk, 8 * BLOCK_SIZE, 1)
    assert desk.chunks.verify(chunk) == [(8 * BLOCK_SIZE, 8 * BLOCK_SIZE)]
    begin = replace(others[0], name=files[0].name)
    message = desk.loop.call(desk.remote.post(CHANNEL, "", [begin, files[1]], ""), 5)
    chunk = desk.chunks.locate(message)
    assert desk.chunks.verify(chunk) == [(0, 8 * BLOCK_SIZE)]
    with pytest.raises(Damaged):
        desk.chunks.read(chunk, BLOCK_SIZE, 1)


def test_a_record_cut_within_a_block_is_not_whole(desk: Desk, noise: bytes) -> None:
    sealed = desk.seal_log(noise[:MIB])
    files = layout.upload_files(sealed, [1000, sealed.stored_size - 1000])
    message = desk.loop.call(desk.remote.post(CHANNEL, "", files, ""), 5)
    with pytest.raises(MissingError):
        desk.chunks.read_log(message, sealed.uid)


def test_a_record_whose_message_is_gone_is_said_to_be(desk: Desk) -> None:
    ref = desk.chunks.post(desk.seal_log(ENTRIES), CHANNEL)
    message = message_of(desk, ref)
    desk.chunks.delete(CHANNEL, [ref.message])
    with pytest.raises(RemoteGone):
        desk.chunks.read_log(message, ref.uid)


def test_another_volumes_record_is_noticed(desk: Desk, make_desk: MakeDesk) -> None:
    ref = desk.chunks.post(desk.seal_log(ENTRIES), CHANNEL)
    stranger = make_desk(desk.remote, volume=bytes(16))
    with pytest.raises(ConfigError):
        stranger.chunks.read_log(message_of(desk, ref), ref.uid)
