"""Discord through discord.py: both contracts, over HTTP without the gateway until somebody watches.

discord.py brings the routes, the form of a message to be sent, login and the gateway (heartbeats, resuming,
zlib). Its `HTTPClient.request` is replaced by ours (http.py), because at that one place it limits, retries
and parses at once: the call that spends a bucket's last token returns only after the reset, there is no
global limit, several processes share nothing, 503 and resets are not repeated while other errors are five
times. All of its methods go through `request`, so nothing of discord.py fights limiting.py or retrying.py.

Neither `Route.BASE` nor `DEFAULT_GATEWAY` is touched: our `request` takes the path of a route alone, and
our `ws_connect` asks the API where its gateway is. So several clients in one process can talk to different
servers. Limits: one shard. Threading: the loop's thread, except `traffic` and `now_ns`.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp

from discordfs.errors import Forbidden, RemoteError, RemoteGone, TooLarge, Unauthorized
from discordfs.model import Clock, Limits, Traffic
from discordfs.remote.answers import MessageGone
from discordfs.remote.base import (
    Attachment,
    Exchange,
    Fetched,
    Hint,
    Message,
    UploadFile,
    snowflake_ns,
)
from discordfs.remote.capacity import Capacity
from discordfs.remote.cdn import Cdn, UrlRefused
from discordfs.remote.client.gateway import (  # imports discord without its warning
    Gateway,
    Identity,
    Routes,
    discord,
    handle_message_parameters,
)
from discordfs.remote.http import Http, Observer, Timeouts
from discordfs.remote.limiting import Limiter
from discordfs.remote.server_time import ServerTime
from discordfs.remote.traffic import TrafficCounter
from discordfs.remote.upload import UploadStream, check_upload
from discordfs.remote.urls import RawMessage, UrlCache, UrlFinder

_log = logging.getLogger(__name__)
DISCORD_API = "https://discord.com/api/v10"
DEFAULT_TIMEOUTS = Timeouts()
_BULK = range(2, 101)
_BULK_AGE_NS = 13 * 86_400 * 10**9  # bulk deletion ends at 14 days; a day of margin for clocks
_ELAPSED_NS = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
_GATEWAY_AGAIN = (5.0, 300.0)  # seconds, after the gateway or the login before it failed for good
_INTENTS = ("guilds", "guild_messages", "guild_reactions")
_PRIVILEGED = frozenset({"members", "presences", "message_content"})


class DiscordRemote:
    """A bot. Implements MessageStore and Api; asks nothing before the first call.

    `shared_directory` holds the limiter's file for all processes with this token (None: this process
    alone). `message_content` asks the gateway for other people's messages in full, which the bot's owner
    has to allow in Discord's developer portal; where it is not allowed, events come without. `intents`:
    names of further gateway intents, those that need leave (members, presences) under the same condition.
    `is_user_account`: the token is a person's own.
    """

    def __init__(
        self,
        token: str,
        *,
        api: str = DISCORD_API,
        shared_directory: Path | None = None,
        message_content: bool = False,
        intents: Sequence[str] = (),
        is_user_account: bool = False,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        clock: Clock = time.time_ns,
        elapsed_ns: Callable[[], int] = _ELAPSED_NS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._intents = (*_INTENTS, *(["message_content"] if message_content else []), *intents)
        self._identity = Identity()
        self._counter = TrafficCounter()
        self._server_time = ServerTime(clock, elapsed_ns)
        limiter = limiter or Limiter(api, token, shared_directory, clock=clock, sleep=sleep, rng=rng)
        self._http = Http(
            api,
            token,
            limiter,
            self._counter,
            self._server_time,
            timeouts=timeouts,
            clock=clock,
            is_user_account=is_user_account,
        )
        self._cdn = Cdn(
            self._counter,
            self._server_time,
            connect=timeouts.connect,
            silence=timeouts.silence,
            sleep=sleep,
            rng=rng,
        )
        self._cache = UrlCache(self._server_time)
        self._finder = UrlFinder(
            self._cache, self._list_raw, self._fetch_raw, lambda: self._identity.id, sleep
        )
        self._capacity = Capacity()
        self._routes_made: Routes | None = None
        self._watchers: list[tuple[frozenset[int], Callable[[Hint], None]]] = []
        self._gateway: asyncio.Task[None] | None = None
        self._gateway_wanted = False
        self._gateway_trouble = ""
        self._is_hearing = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"DiscordRemote({self._http.base})"

    # --- the account ---------------------------------------------------------------------------

    async def login(self) -> int:
        """The bot's user id. Unauthorized when the token is no good; asked once. Not needed before others."""
        me = await self._routes().static_login(self._http.token.reveal())
        return int(me["id"])

    def use_token(self, token: str) -> None:
        """Resumes with a new token after an Unauthorized."""
        self._identity.me = None
        self._http.use_token(token)

    async def close(self) -> None:
        self._closed = True
        self._watchers.clear()
        if self._gateway is not None:
            self._gateway.cancel()
            await asyncio.gather(self._gateway, return_exceptions=True)
        await self._finder.close()
        await self._cdn.close()
        await self._http.close()

    # --- MessageStore --------------------------------------------------------------------------

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        for file in files:
            check_upload(file)
        attached = [discord.File(cast(Any, UploadStream(file)), file.name) for file in files]
        with handle_message_parameters(
            content,
            files=attached or discord.utils.MISSING,
            nonce=nonce or None,
            allowed_mentions=discord.AllowedMentions.none(),
            flags=discord.MessageFlags(suppress_embeds=True),
        ) as parameters:
            try:
                raw = await self._routes().send_message(channel, params=parameters)
            except TooLarge:
                self._capacity.refused(channel, [file.length for file in files])
                raise
        return self._known(raw)

    async def fetch(self, channel: int, message: int) -> Message:
        return _message(await self._fetch_raw(channel, message))

    async def list(
        self, channel: int, *, before: int | None = None, after: int | None = None, limit: int = 100
    ) -> list[Message]:
        raw = await self._routes().logs_from(channel, limit, before=before, after=after)
        self._cache.feed(cast(Sequence[RawMessage], raw))
        return [_message(each) for each in raw]

    async def delete(self, channel: int, messages: Sequence[int]) -> None:
        """In bulk where there are several, none older than 14 days, and the bot may; else one by one."""
        oldest = self._server_time.now_ns() - _BULK_AGE_NS
        young = [message for message in messages if snowflake_ns(message) > oldest]
        singly = [message for message in messages if snowflake_ns(message) <= oldest]
        for at in range(0, len(young), _BULK[-1]):
            batch = young[at : at + _BULK[-1]]
            if len(batch) not in _BULK or not await self._delete_in_bulk(channel, batch):
                singly += batch
        for message in singly:
            await self._delete_one(channel, message)

    async def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        url = await self._finder.url(channel, message, attachment)
        try:
            return await self._cdn.read(url, start, length)
        except UrlRefused:
            url = await self._finder.renewed(channel, message, attachment, url)
        try:
            return await self._cdn.read(url, start, length)
        except UrlRefused as error:
            self._cache.refuse(attachment, url)
            raise RemoteGone(f"attachment {attachment} of message {message}: {error}") from None

    async def limits(self, channel: int) -> Limits:
        return self._capacity.of(channel)

    def watch(self, channels: Sequence[int], callback: Callable[[Hint], None]) -> Callable[[], None]:
        """Also says "resync" when the connection first stands, as hints begin only then. From any thread."""
        entry = (frozenset(channels), callback)
        self._watchers.append(entry)
        self.connect_gateway()

        def end() -> None:
            if entry in self._watchers:
                self._watchers.remove(entry)

        return end

    def now_ns(self) -> int:
        return self._server_time.now_ns()

    def knows_time(self) -> bool:
        return self._server_time.is_known

    def traffic(self) -> Traffic:
        return self._counter.snapshot()

    # --- Api -----------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        route: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
    ) -> Any:
        self._routes()
        body = None if json is None else jsonlib.dumps(json)
        return await self._http.request(method, route, params=params, json=body)

    async def exchange(
        self,
        method: str,
        route: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        attempt: int = 1,
    ) -> Exchange:
        """Who asked for /users/@me has logged in by it: the gateway does not ask again."""
        self._routes()
        body = None if json is None else jsonlib.dumps(json)
        exchange = await self._http.exchange(method, route, params=params, json=body, attempt=attempt)
        if (method, route, exchange.status) == ("GET", "/users/@me", 200):
            self._identity.me = jsonlib.loads(exchange.data)
            self._identity.id = int(self._identity.me["id"])
        return exchange

    async def download(self, url: str, sink: Callable[[bytes], object]) -> Fetched:
        return await self._cdn.download(url, sink)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Exchanges; gateway frames too, once `connect_gateway` or `watch` was called."""
        return self._http.observe(observer)

    def connect_gateway(self) -> None:
        """Connects the gateway for observers, if it is not. From any thread; before the first request has
        shown which loop this lives on, it connects with that."""
        self._gateway_wanted = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._start_gateway)

    async def disconnect_gateway(self) -> None:
        self._gateway_wanted = False
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.cancel()
            await asyncio.gather(gateway, return_exceptions=True)

    @property
    def is_hearing(self) -> bool:
        """Whether the gateway stands, so that whatever happens is heard of. From any thread."""
        return self._is_hearing

    # --- inside --------------------------------------------------------------------------------

    def _routes(self) -> Routes:
        if self._routes_made is None:
            self._routes_made = Routes(self._http, self._identity)
            self._loop = asyncio.get_running_loop()
            if self._gateway_wanted:
                self._start_gateway()
        return self._routes_made

    def _known(self, raw: Any) -> Message:
        self._cache.feed([raw])
        return _message(raw)

    async def _fetch_raw(self, channel: int, message: int) -> RawMessage:
        raw = cast(RawMessage, await self._routes().get_message(channel, message))
        self._cache.feed([raw])
        return raw

    async def _list_raw(self, channel: int, where: Mapping[str, int]) -> Sequence[RawMessage]:
        raw = await self._routes().logs_from(channel, 100, **where)
        self._cache.feed(cast(Sequence[RawMessage], raw))
        return cast(Sequence[RawMessage], raw)

    async def _delete_in_bulk(self, channel: int, messages: Sequence[int]) -> bool:
        try:
            await self._routes().delete_messages(channel, [*messages])
        except Forbidden:  # needs MANAGE_MESSAGES, while one's own can be deleted singly without it
            return False
        return True

    async def _delete_one(self, channel: int, message: int) -> None:
        try:
            await self._routes().delete_message(channel, message)
        except MessageGone:
            _log.debug("message %d was gone already", message)

    def _start_gateway(self) -> None:
        if self._closed:
            return
        if self._gateway is None or self._gateway.done():
            self._gateway = asyncio.create_task(self._stay_connected(), name="gateway")

    async def _stay_connected(self) -> None:
        """A client of discord.py, and another after it ended; it reconnects and resumes by itself."""
        names, pause = self._intents, _GATEWAY_AGAIN[0]
        while True:
            began = self._clock()
            client = Gateway(
                self._http, self._identity, self._tell, self._hear, names, self._clock, self._sleep
            )
            try:
                async with client:
                    await client.start(self._http.token.reveal())
            except discord.PrivilegedIntentsRequired:
                _log.warning("the bot may not use MESSAGE_CONTENT: others' messages come without content")
                names = tuple(name for name in names if name not in _PRIVILEGED)
                continue
            except Unauthorized as error:
                self._say(f"no gateway: {error}")
            except (discord.DiscordException, RemoteError, aiohttp.ClientError, OSError) as error:
                self._say(f"the gateway ended: {type(error).__name__}")
            finally:
                self._is_hearing = False
            lasted = (self._clock() - began) / 1e9
            pause = _GATEWAY_AGAIN[0] if lasted > _GATEWAY_AGAIN[1] else pause
            await self._sleep(pause)
            pause = min(2 * pause, _GATEWAY_AGAIN[1])

    def _say(self, trouble: str) -> None:
        """Once, until it stood again or it is something else."""
        if trouble != self._gateway_trouble:
            self._gateway_trouble = trouble
            _log.warning("%s: changes elsewhere are noticed later", trouble)

    def _hear(self, is_hearing: bool) -> None:
        self._is_hearing = is_hearing
        if is_hearing:
            self._gateway_trouble = ""

    def _tell(self, hint: Hint | None) -> None:
        """To the watchers of its channel; None is a resync for all."""
        for channels, callback in tuple(self._watchers):
            for channel in channels if hint is None else channels & {hint.channel}:
                callback(hint or Hint("resync", channel, ()))


def _message(raw: Any) -> Message:
    return Message(
        id=int(raw["id"]),
        channel=int(raw["channel_id"]),
        author=int(raw["author"]["id"]),
        content=str(raw["content"]),
        attachments=tuple(
            Attachment(int(each["id"]), str(each["filename"]), int(each["size"]))
            for each in raw["attachments"]
        ),
        nonce=str(raw.get("nonce") or ""),
    )
