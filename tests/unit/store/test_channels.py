"""What is in a channel, as the log and fsck see it: nothing is skipped, and Discord's time is the measure."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from discordfs.errors import RemoteGone
from discordfs.remote.base import Hint, Message, snowflake_ns
from discordfs.remote.memory import MemoryStore
from tests.unit.store.conftest import CHANNEL, Desk, MakeDesk, message_of

HOUR = 3600 * 10**9


def post_many(desk: Desk, count: int) -> list[int]:
    return [desk.loop.call(desk.remote.post(CHANNEL, f"{n}", [], ""), 5).id for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_a_listing_is_all_that_is_newer_in_order(desk: Desk, count: int) -> None:
    """A record that replay does not see is lost."""
    (first, *ids) = post_many(desk, count + 1)
    assert [it.id for it in desk.chunks.list_after(CHANNEL, first)] == ids
    assert [it.id for it in desk.chunks.list_after(CHANNEL, 0)] == [first, *ids]
    newest = [first, *ids][-1]
    assert desk.chunks.list_after(CHANNEL, newest) == []


@pytest.mark.parametrize("count", [0, 1, 100, 250])
def test_pages_are_the_whole_channel_newest_first_and_asked_for_one_by_one(desk: Desk, count: int) -> None:
    """A snapshot among the newest is found without walking through years."""
    ids = post_many(desk, count)
    pages = [[it.id for it in page] for page in desk.chunks.pages(CHANNEL)]
    assert [each for page in pages for each in page] == ids[::-1]
    assert all(0 < len(page) <= 100 for page in pages)
    before = desk.requests("GET /channels/{id}/messages")
    for _ in desk.chunks.pages(CHANNEL):
        break
    assert desk.requests("GET /channels/{id}/messages") == before + 1


def test_one_message_and_none(desk: Desk, noise: bytes) -> None:
    chunk = desk.post(noise[:1000])
    assert desk.chunks.message(CHANNEL, chunk.message) == message_of(desk, chunk)
    desk.chunks.delete(CHANNEL, [chunk.message])
    with pytest.raises(RemoteGone):
        desk.chunks.message(CHANNEL, chunk.message)
    for ask in (lambda: desk.chunks.list_after(99, 0), lambda: [*desk.chunks.pages(99)]):
        with pytest.raises(RemoteGone):
            ask()


def test_whoever_watches_hears_until_the_end(desk: Desk, noise: bytes) -> None:
    heard: list[Hint] = []
    came = threading.Event()

    def listen(hint: Hint) -> None:
        heard.append(hint)
        came.set()

    end = desk.chunks.watch([CHANNEL], listen)
    chunk = desk.post(noise[:100])
    assert came.wait(10)
    assert heard == [Hint("create", CHANNEL, (chunk.message,))]
    end()
    desk.post(noise[:100])
    assert len(heard) == 1


def test_a_post_is_found_by_discords_time(make_desk: MakeDesk, noise: bytes) -> None:
    """Here a day behind: by the local clock it would be looked for where it cannot be yet."""
    remote = MemoryStore([CHANNEL], clock=lambda: 1_700_000_000 * 10**9)
    desk = make_desk(remote)
    sealed = desk.seal(noise[:1000])
    since = desk.chunks.now_ns()
    chunk = desk.chunks.post(sealed, CHANNEL)
    assert abs(snowflake_ns(chunk.message) - since) < 10**9
    assert desk.chunks.find(sealed, CHANNEL, since) == chunk
    assert desk.chunks.find(sealed, CHANNEL, since + HOUR) is None


class Timeless(MemoryStore):
    """A Discord whose time is not known before its first answer: this machine's clock is an hour slow."""

    is_known = False

    def knows_time(self) -> bool:
        return self.is_known

    def now_ns(self) -> int:
        return super().now_ns() - (0 if self.is_known else HOUR)

    async def list(self, *arguments: Any, **more: Any) -> list[Message]:
        self.is_known = True
        return await super().list(*arguments, **more)


def test_what_a_listing_shows_is_judged_by_discords_time_from_the_first_one_on(make_desk: MakeDesk) -> None:
    desk = make_desk(Timeless([CHANNEL]))
    newest = post_many(desk, 3)[-1]
    assert desk.chunks.now_ns() < snowflake_ns(newest)
    assert desk.chunks.asking_ns(CHANNEL) >= snowflake_ns(newest)
    assert desk.requests("GET /channels/{id}/messages") == 1
    desk.chunks.asking_ns(CHANNEL)
    assert desk.requests("GET /channels/{id}/messages") == 1


def test_where_there_is_no_channel_that_is_said_at_once(make_desk: MakeDesk) -> None:
    with pytest.raises(RemoteGone):
        make_desk(Timeless([CHANNEL])).chunks.asking_ns(CHANNEL + 1)
