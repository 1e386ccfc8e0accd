"""Attachment URLs: kept while they last, renewed a page of messages at a time. Never written to disk.

A signed URL lives about a day; `ex` in it says until when, judged by Discord's clock. Whoever needs one
that is missing or nearly over waits with all others of that channel for a listing of up to 100 messages:
64 readers cost one request, and its other URLs are kept for the readers to come. A message that should be
in the page and is not is asked for singly before it is called gone, since listings lag. A forwarded file
is asked for by the message that it was forwarded with.
Limits: the cache holds 65,536 URLs. Threading: the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yarl
from cachetools import LRUCache

from discordfs.errors import Forbidden, RemoteError, RemoteGone
from discordfs.remote.server_time import ServerTime

RawMessage = Mapping[str, Any]
ListPage = Callable[[int, Mapping[str, int]], Awaitable[Sequence[RawMessage]]]
FetchMessage = Callable[[int, int], Awaitable[RawMessage]]

_KEPT = 65_536
_PAGE = 100
_MARGIN_NS = 600 * 10**9  # renewed so long before the end, or at the last tenth of a short life
_GATHER_SECONDS = 0.01  # readers that come together share a page, whatever their order
_PARALLEL = 4  # pages of a channel at once
_FEW = 16  # wanted messages, for which a page around the newest serves those too who come a little later


@dataclass(frozen=True, slots=True)
class _Signed:
    url: str
    renew_ns: int


def attachments_of(message: RawMessage) -> list[Mapping[str, Any]]:
    """A message's own, and those of what it forwards (`message_snapshots`)."""
    found = list(message.get("attachments", ()))
    for snapshot in message.get("message_snapshots", ()):
        found += snapshot.get("message", {}).get("attachments", ())
    return found


class UrlCache:
    """Attachment id -> URL."""

    def __init__(self, server_time: ServerTime) -> None:
        self._server_time = server_time
        self._urls: LRUCache[int, _Signed] = LRUCache(_KEPT)

    def feed(self, messages: Iterable[RawMessage]) -> None:
        """Keeps the URLs of messages as the API gave them."""
        for message in messages:
            for attachment in attachments_of(message):
                url = str(attachment["url"])
                self._urls[int(attachment["id"])] = _Signed(url, _renew_ns(url))

    def get(self, attachment: int) -> str | None:
        """A URL that will last for a while yet."""
        signed = self._urls.get(attachment)
        if signed is None or self._server_time.now_ns() >= signed.renew_ns:
            return None
        return signed.url

    def newest(self, attachment: int) -> str | None:
        """The last URL there was, however near its end."""
        signed = self._urls.get(attachment)
        return signed.url if signed else None

    def refuse(self, attachment: int, url: str) -> None:
        """The CDN did not take this URL; a newer one that came meanwhile stays."""
        if self.newest(attachment) == url:
            self._urls.pop(attachment, None)


def _renew_ns(url: str) -> int:
    """When to ask for a new one; at once for a URL that says nothing about its life."""
    query = yarl.URL(url, encoded=True).query
    try:
        end, begin = int(query["ex"], 16) * 10**9, int(query["is"], 16) * 10**9
    except (KeyError, ValueError):
        return 0
    return end - max(0, min(_MARGIN_NS, (end - begin) // 10))


@dataclass(slots=True)
class _Room:
    """A channel's readers in wait: message id -> what they wait on."""

    wanted: dict[int, asyncio.Future[RawMessage]] = field(default_factory=dict)
    server: asyncio.Task[None] | None = None
    page_span: int = 0  # about how far apart in ids the ends of a full page are


class UrlFinder:
    """URLs for readers. `own_id` answers the bot's user id, 0 while that is unknown."""

    def __init__(
        self,
        cache: UrlCache,
        list_page: ListPage,
        fetch: FetchMessage,
        own_id: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cache = cache
        self._list_page = list_page
        self._fetch = fetch
        self._own_id = own_id
        self._sleep = sleep
        self._rooms: dict[int, _Room] = {}

    async def url(self, channel: int, message: int, attachment: int) -> str:
        """RemoteGone when there is no such message or attachment; Forbidden when it is hidden from us."""
        known = self._cache.get(attachment)
        if known is not None:
            return known
        found = await self._wait_for(channel, message)
        # One that was just given is used, however short it lives.
        url = self._cache.newest(attachment)
        if url is not None and any(int(each["id"]) == attachment for each in attachments_of(found)):
            return url
        raise self._absent(found, attachment)

    async def renewed(self, channel: int, message: int, attachment: int, refused: str) -> str:
        """Another URL after the CDN refused one. It can be the same: Discord signs in steps of minutes."""
        self._cache.refuse(attachment, refused)
        return await self.url(channel, message, attachment)

    async def close(self) -> None:
        servers = [room.server for room in self._rooms.values() if room.server is not None]
        for server in servers:
            server.cancel()
        await asyncio.gather(*servers, return_exceptions=True)

    # --- inside -----------------------------------------------------------------------------------

    def _absent(self, found: RawMessage, attachment: int) -> RemoteError:
        author = int(found["author"]["id"])
        if not attachments_of(found) and author != self._own_id():
            return Forbidden(
                f"message {found['id']} of {author} shows no attachments: others' are hidden from a bot"
                " without the MESSAGE_CONTENT intent, to be switched on in Discord's developer portal"
            )
        return RemoteGone(f"message {found['id']} has no attachment {attachment}")

    async def _wait_for(self, channel: int, message: int) -> RawMessage:
        room = self._rooms.setdefault(channel, _Room())
        future = room.wanted.get(message)
        if future is None:
            future = room.wanted[message] = asyncio.get_running_loop().create_future()
        if room.server is None or room.server.done():
            room.server = asyncio.create_task(self._serve(channel, room), name=f"urls of channel {channel}")
        return await asyncio.shield(future)  # one reader's cancellation is not the others'

    async def _serve(self, channel: int, room: _Room) -> None:
        """Pages until nobody waits."""
        try:
            await self._sleep(_GATHER_SECONDS)
            while room.wanted:
                groups = _groups(room.wanted, room.page_span)[:_PARALLEL]
                await asyncio.gather(*(self._serve_group(channel, room, group) for group in groups))
        finally:
            for future in room.wanted.values():
                future.cancel()
            room.wanted.clear()

    async def _serve_group(self, channel: int, room: _Room, group: Sequence[int]) -> None:
        """One page for these messages (newest first), and for whoever came to want others of it meanwhile.
        Those that it did not reach stay wanted."""
        newest, around = group[0], len(group) <= _FEW
        where = {"around": newest} if around else {"before": newest + 1}
        try:
            page = {int(each["id"]): each for each in await self._list_page(channel, where)}
        except RemoteError as error:
            for message in group:
                _fail(room, message, error)
            return
        if len(page) > 1:
            room.page_span = (max(page) - min(page)) * _PAGE // len(page)
        for message in page.keys() & room.wanted.keys():
            _give(room, message, page[message])
        whole = around or len(page) == _PAGE  # else it goes down to the channel's first message
        reached = min(page, default=newest) if whole else 0
        absent = [each for each in group if each in room.wanted and (each == newest or each >= reached)]
        await asyncio.gather(*(self._ask_singly(channel, room, message) for message in absent))

    async def _ask_singly(self, channel: int, room: _Room, message: int) -> None:
        try:
            _give(room, message, await self._fetch(channel, message))
        except RemoteError as error:
            _fail(room, message, error)


def _groups(wanted: Iterable[int], span: int) -> list[list[int]]:
    """Messages, newest first, cut into what a page each should reach."""
    groups: list[list[int]] = []
    for message in sorted(wanted, reverse=True):
        if groups and (not span or groups[-1][0] - message < span):
            groups[-1].append(message)
        else:
            groups.append([message])
    return groups


def _give(room: _Room, message: int, found: RawMessage) -> None:
    future = room.wanted.pop(message, None)
    if future is not None and not future.done():
        future.set_result(found)


def _fail(room: _Room, message: int, error: RemoteError) -> None:
    future = room.wanted.pop(message, None)
    if future is not None and not future.done():
        future.set_exception(error)
        future.exception()  # a reader that went away will not look; that is no oversight
