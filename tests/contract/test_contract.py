"""The MessageStore contract: what every implementation promises to the layers above."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from discordfs.errors import BadRequest, Damaged, RemoteGone, TooLarge
from discordfs.remote.base import Hint, UploadFile, snowflake_ns

from .harness import Rig

NOWHERE = 42 << 22
DATA = random.Random(1).randbytes(700_000)


def test_a_post_comes_back_with_names_sizes_and_nonce(rig: Rig) -> None:
    """Else an upload that Discord stored otherwise would be taken for safe."""
    message = rig.post(DATA[:1000], DATA[:2000], content="what it is", nonce="n1")
    assert (message.channel, message.content, message.nonce) == (rig.channel, "what it is", "n1")
    assert [(each.name, each.size) for each in message.attachments] == [
        ("part0.bin", 1000),
        ("part1.bin", 2000),
    ]
    assert len({each.id for each in message.attachments}) == 2


def test_the_same_nonce_never_makes_a_second_message(rig: Rig) -> None:
    """Else each lost answer would leave a twin of 24 MiB."""
    first = rig.post(DATA[:1000], nonce="same")
    again = rig.post(DATA[:1000], nonce="same")
    other = rig.post(DATA[:1000], nonce="other")
    assert again.id == first.id
    assert rig.ids()[:2] == [other.id, first.id]


def test_without_a_nonce_every_post_is_a_message(rig: Rig) -> None:
    assert rig.post(content="twice").id != rig.post(content="twice").id


def test_fetch_tells_the_same_as_post(rig: Rig) -> None:
    message = rig.post(DATA[:500])
    fetched = rig.call(rig.store.fetch(rig.channel, message.id))
    assert (fetched.id, fetched.author, fetched.attachments) == (
        message.id,
        message.author,
        message.attachments,
    )


def test_what_does_not_exist_is_gone(rig: Rig) -> None:
    with pytest.raises(RemoteGone):
        rig.call(rig.store.fetch(rig.channel, NOWHERE))
    with pytest.raises(RemoteGone):
        rig.call(rig.store.list(NOWHERE))
    with pytest.raises(RemoteGone):
        rig.call(rig.store.post(NOWHERE, "text", [], ""))
    with pytest.raises(RemoteGone):
        rig.call(rig.store.read(rig.channel, NOWHERE, NOWHERE, 0, 1))


def test_listings_are_newest_first_and_pages_touch(rig: Rig) -> None:
    """Replay of the log walks these pages: a page that skips loses records."""
    ids = [rig.post(content=f"number {number}").id for number in range(6)]
    assert rig.ids(limit=3) == [ids[5], ids[4], ids[3]]
    assert rig.ids(before=ids[3], limit=2) == [ids[2], ids[1]]
    assert rig.ids(after=ids[1], limit=2) == [ids[3], ids[2]]
    assert rig.ids(after=ids[5]) == []


@pytest.mark.parametrize(
    ("start", "length"), [(0, 700_000), (0, 1), (699_999, 1), (123_456, 262_144), (5, 0)]
)
def test_a_range_is_exactly_the_bytes_asked_for(rig: Rig, start: int, length: int) -> None:
    message = rig.post(b"another", DATA)
    assert rig.read(message, start, length, part=1) == DATA[start : start + length]


def test_a_range_beyond_the_end_is_refused_not_shortened(rig: Rig) -> None:
    """Else a short block would reach the codec as if Discord had lost bytes."""
    message = rig.post(DATA[:1000])
    for start, length in ((900, 101), (1000, 1), (5000, 10)):
        with pytest.raises(BadRequest):
            rig.read(message, start, length)


def test_reads_of_many_threads_do_not_mix(rig: Rig) -> None:
    message = rig.post(DATA)
    attachment = message.attachments[0].id

    async def all_of_them() -> list[bytes]:
        reads = (rig.store.read(rig.channel, message.id, attachment, n * 10_000, 10_000) for n in range(32))
        return await asyncio.gather(*reads)

    assert b"".join(rig.call(all_of_them())) == DATA[:320_000]


def test_deleting_takes_messages_and_their_files(rig: Rig) -> None:
    kept, *doomed = [rig.post(DATA[:100]) for _ in range(4)]
    rig.call(rig.store.delete(rig.channel, [message.id for message in doomed]))
    assert kept.id in rig.ids()
    assert not {message.id for message in doomed} & set(rig.ids())
    with pytest.raises(RemoteGone):
        rig.read(doomed[0], 0, 10)
    assert rig.read(kept, 0, 100) == DATA[:100]


def test_deleting_what_is_gone_already_is_no_error(rig: Rig) -> None:
    """gc repeats deletions after a crash."""
    first, second = rig.post(content="one"), rig.post(content="two")
    for ids in ([first.id], [first.id], [first.id, second.id], []):
        rig.call(rig.store.delete(rig.channel, ids))
    assert not {first.id, second.id} & set(rig.ids())


def test_a_file_over_the_limit_is_too_large_and_teaches(rig: Rig) -> None:
    """The chunk is laid out anew by what `limits` says afterwards, so it has to be less."""
    before = rig.call(rig.store.limits(rig.channel))
    size = before.file_bytes + 1
    there = rig.ids()
    with pytest.raises(TooLarge):
        rig.call(rig.store.post(rig.channel, "big", [rig.zeros(size)], "big"))
    assert rig.call(rig.store.limits(rig.channel)).file_bytes < size
    assert rig.ids() == there


def test_a_request_over_the_limit_is_too_large(rig: Rig) -> None:
    limits = rig.call(rig.store.limits(rig.channel))
    half = rig.zeros(limits.request_bytes // 2)
    with pytest.raises(TooLarge):
        rig.call(rig.store.post(rig.channel, "big", [half, half], "big"))
    assert rig.call(rig.store.limits(rig.channel)).file_bytes < limits.request_bytes // 2


def test_eleven_files_or_nothing_at_all_are_refused(rig: Rig) -> None:
    with pytest.raises(BadRequest):
        rig.post(*[b"x"] * 11)
    with pytest.raises(BadRequest):
        rig.call(rig.store.post(rig.channel, "", [], ""))


def test_a_file_shorter_than_told_is_never_posted(rig: Rig) -> None:
    """A truncated staging file must not become a chunk."""
    there = rig.ids()
    whole = rig.file(b"x" * 1000)
    short = UploadFile("short.bin", whole.path, 500, 1000)
    missing = UploadFile("missing.bin", whole.path.with_name("missing"), 0, 10)
    for file in (short, missing):
        with pytest.raises(Damaged):
            rig.call(rig.store.post(rig.channel, "text", [file], "short"))
    assert rig.ids() == there


def test_a_watcher_hears_of_posts_and_deletions_until_it_ends(rig: Rig) -> None:
    heard: list[Hint] = []
    news = threading.Condition()

    def listen(hint: Hint) -> None:
        with news:
            heard.append(hint)
            news.notify_all()

    def hear(kind: str, message: int = 0) -> None:
        with news:
            assert news.wait_for(
                lambda: any(each.kind == kind and {message} <= {0, *each.messages} for each in heard), 10
            ), heard

    end = rig.store.watch([rig.channel], listen)
    rig.ids()
    if rig.gateway:
        hear("resync")  # only then does the connection stand
    message = rig.post(content="news")
    hear("create", message.id)
    rig.call(rig.store.delete(rig.channel, [message.id]))
    hear("delete", message.id)
    end()
    end()
    count = len(heard)
    rig.post(content="unheard")
    assert len(heard) == count


def test_the_stores_time_is_that_of_its_messages(rig: Rig) -> None:
    """Grace before deletion, and where a listing begins to look, are counted in it."""
    message = rig.post(content="now")
    assert rig.store.knows_time()
    assert abs(rig.store.now_ns() - snowflake_ns(message.id)) < 5 * 10**9
    now = rig.store.now_ns()
    assert snowflake_ns(rig.post(content="later").id) > now - 2 * 10**9


def test_traffic_counts_requests_and_bytes(rig: Rig) -> None:
    message = rig.post(DATA)
    rig.read(message, 0, 1000)
    traffic = rig.store.traffic()
    assert traffic.requests["POST /channels/{id}/messages"] == 1
    assert traffic.requests["GET cdn"] == 1
    assert len(DATA) < traffic.bytes_up < len(DATA) + 2000
    assert 1000 <= traffic.bytes_down < 5000
