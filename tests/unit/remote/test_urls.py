"""How readers share listings: in virtual time, over a channel that counts what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from discordfs.errors import Forbidden, RemoteGone, Unavailable
from discordfs.remote.server_time import ServerTime
from discordfs.remote.urls import UrlCache, UrlFinder

from .virtual import VirtualTime

OWN, LATENCY = 77, 0.5


class CountingChannel:
    """Messages 10, 20, 30, … each with one attachment of the message's id plus one."""

    def __init__(self, time: VirtualTime, count: int) -> None:
        self.time = time
        self.messages = {number * 10: self._message(number * 10) for number in range(1, count + 1)}
        self.unlisted: set[int] = set()
        self.cache = UrlCache(ServerTime(time.ns, time.ns))
        self.finder = UrlFinder(self.cache, self.page, self.fetch, lambda: OWN, time.sleep)
        self.pages = 0
        self.fetches = 0
        self.broken = False

    def _message(self, number: int) -> dict[str, Any]:
        end = int(self.time.now) + 86_400
        url = f"https://cdn/{number + 1}?ex={end:x}&is={end - 86_400:x}"
        return {
            "id": str(number),
            "author": {"id": str(OWN)},
            "attachments": [{"id": str(number + 1), "url": url}],
        }

    async def page(self, channel: int, where: Mapping[str, int]) -> Sequence[Mapping[str, Any]]:
        self.pages += 1
        await self.time.sleep(LATENCY)
        if self.broken:
            raise Unavailable("down")
        newest = sorted((each for each in self.messages if each not in self.unlisted), reverse=True)
        if "before" in where:
            chosen = [each for each in newest if each < where["before"]][:100]
        else:
            newer = [each for each in newest if each > where["around"]][-50:]
            chosen = newer + [each for each in newest if each <= where["around"]][:50]
        found = [self.messages[each] for each in chosen]
        self.cache.feed(found)
        return found

    async def fetch(self, channel: int, message: int) -> Mapping[str, Any]:
        self.fetches += 1
        await self.time.sleep(LATENCY)
        if message not in self.messages:
            raise RemoteGone(f"no message {message}")
        self.cache.feed([self.messages[message]])
        return self.messages[message]

    async def read(self, message: int, after: float = 0.0) -> str:
        await self.time.sleep(after)
        return await self.finder.url(1, message, message + 1)

    def read_all(self, *readers: tuple[int, float]) -> list[Any]:
        async def together() -> list[Any]:
            return await asyncio.gather(*(self.read(*each) for each in readers), return_exceptions=True)

        return self.time.run(together())


def test_readers_who_come_within_a_moment_share_a_page_whatever_their_order() -> None:
    """The kernel's readers are threads: the first may well want the oldest."""
    channel = CountingChannel(VirtualTime(), 90)
    urls = channel.read_all(*((number * 10, number / 10_000) for number in range(1, 91)))
    assert all(isinstance(url, str) for url in urls)
    assert (channel.pages, channel.fetches) == (1, 0)


def test_readers_who_come_while_the_page_is_under_way_are_served_by_it() -> None:
    channel = CountingChannel(VirtualTime(), 90)
    began = channel.time.now
    channel.read_all((300, 0.0), (500, 0.2), (100, 0.3))
    assert channel.pages == 1
    assert channel.time.now - began < LATENCY + 0.1


def test_far_apart_readers_are_served_by_pages_side_by_side() -> None:
    """A random reader of a big drive: four pages at once, not one after the other."""
    channel = CountingChannel(VirtualTime(), 2000)
    channel.read_all((20_000, 0.0))
    began = channel.time.now
    channel.read_all(*((position, 0.0) for position in (1_000, 5_000, 9_000, 13_000)))
    assert channel.pages == 5
    assert channel.time.now - began < LATENCY + 0.1


@pytest.mark.parametrize("wanted", [[5], [5, 2000], [995, 1005, 15], list(range(5, 400, 10))])
def test_every_reader_gets_an_answer_even_for_what_never_was(wanted: list[int]) -> None:
    """A reader left waiting is a process that cannot be killed."""
    channel = CountingChannel(VirtualTime(), 200)
    results = channel.read_all(*((message, 0.0) for message in wanted))
    for message, result in zip(wanted, results, strict=True):
        assert isinstance(result, str if message in channel.messages else RemoteGone)


def test_what_listings_leave_out_is_asked_for_singly() -> None:
    channel = CountingChannel(VirtualTime(), 20)
    channel.unlisted = {100, 200}
    assert all(isinstance(url, str) for url in channel.read_all((100, 0.0), (200, 0.0), (150, 0.0)))
    assert channel.fetches == 2


def test_a_failed_page_fails_its_readers_and_the_next_ones_try_again() -> None:
    channel = CountingChannel(VirtualTime(), 20)
    channel.broken = True
    assert isinstance(channel.read_all((100, 0.0))[0], Unavailable)
    channel.broken = False
    assert isinstance(channel.read_all((100, 0.0))[0], str)


def test_an_attachment_that_the_message_lacks_is_gone_and_hidden_ones_are_not() -> None:
    channel = CountingChannel(VirtualTime(), 3)
    channel.messages[10] |= {"attachments": []}
    channel.messages[20] |= {"attachments": [], "author": {"id": "5"}}
    own, others = channel.read_all((10, 0.0), (20, 0.0))
    assert isinstance(own, RemoteGone)
    assert isinstance(others, Forbidden)
