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
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import yarl

from discordfs.errors import Forbidden, RemoteError, RemoteGone, TooLarge, Unauthorized
from discordfs.model import Clock, Limits, Traffic
from discordfs.remote.answers import MessageGone
from discordfs.remote.base import Attachment, GatewayFrame, Hint, Message, UploadFile, snowflake_ns
from discordfs.remote.capacity import Capacity
from discordfs.remote.cdn import Cdn, UrlRefused
from discordfs.remote.http import Http, Observer, Part, Timeouts
from discordfs.remote.limiting import Limiter
from discordfs.remote.server_time import ServerTime
from discordfs.remote.traffic import TrafficCounter
from discordfs.remote.upload import UploadStream, check_upload, part_value
from discordfs.remote.urls import RawMessage, UrlCache, UrlFinder

with warnings.catch_warnings():
    # Its voice part, which is never used here, imports audioop, and Python 3.11 and 3.12 warn of that.
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord
    from discord.gateway import DiscordClientWebSocketResponse, DiscordWebSocket
    from discord.http import HTTPClient, Route, handle_message_parameters

_log = logging.getLogger(__name__)
for _warning in ("warn_nacl", "warn_dave"):  # that voice will not work: nobody speaks here
    if hasattr(discord.VoiceClient, _warning):
        setattr(discord.VoiceClient, _warning, False)

DISCORD_API = "https://discord.com/api/v10"
DEFAULT_TIMEOUTS = Timeouts()
_BULK = range(2, 101)
_BULK_AGE_NS = 13 * 86_400 * 10**9  # bulk deletion ends at 14 days; a day of margin for clocks
_ELAPSED_NS = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
_GATEWAY_AGAIN = (5.0, 300.0)  # seconds, after the gateway or the login before it failed for good
_IDENTIFY_SECONDS = 5.0


class DiscordRemote:
    """A bot. Implements MessageStore and Api; asks nothing before the first call.

    `shared_directory` holds the limiter's file for all processes with this token (None: this process
    alone). `message_content` asks the gateway for other people's messages in full, which the bot's owner
    has to allow in Discord's developer portal; where it is not allowed, events come without.
    """

    def __init__(
        self,
        token: str,
        *,
        api: str = DISCORD_API,
        shared_directory: Path | None = None,
        message_content: bool = False,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        clock: Clock = time.time_ns,
        elapsed_ns: Callable[[], int] = _ELAPSED_NS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._message_content = message_content
        self._counter = TrafficCounter()
        self._server_time = ServerTime(clock, elapsed_ns)
        limiter = limiter or Limiter(api, token, shared_directory, clock=clock, sleep=sleep, rng=rng)
        self._http = Http(
            api, token, limiter, self._counter, self._server_time, timeouts=timeouts, clock=clock
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
        self._finder = UrlFinder(self._cache, self._list_raw, self._fetch_raw, lambda: self._own_id, sleep)
        self._capacity = Capacity()
        self._own_id = 0
        self._routes_made: _Routes | None = None
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

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Exchanges; gateway frames too, once `connect_gateway` or `watch` was called."""
        return self._http.observe(observer)

    def connect_gateway(self) -> None:
        """Connects the gateway for observers, if it is not. From any thread; before the first request has
        shown which loop this lives on, it connects with that."""
        self._gateway_wanted = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._start_gateway)

    @property
    def is_hearing(self) -> bool:
        """Whether the gateway stands, so that whatever happens is heard of. From any thread."""
        return self._is_hearing

    # --- inside --------------------------------------------------------------------------------

    def _routes(self) -> _Routes:
        if self._routes_made is None:
            self._routes_made = _Routes(self._http, self._note_identity)
            self._loop = asyncio.get_running_loop()
            if self._gateway_wanted:
                self._start_gateway()
        return self._routes_made

    def _note_identity(self, own_id: int) -> None:
        self._own_id = own_id

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
        content, pause = self._message_content, _GATEWAY_AGAIN[0]
        while True:
            began = self._clock()
            client = _GatewayClient(
                self._http, self._note_identity, self._tell, self._hear, content, self._clock, self._sleep
            )
            try:
                async with client:
                    await client.start(self._http.token.reveal())
            except discord.PrivilegedIntentsRequired:
                _log.warning("the bot may not use MESSAGE_CONTENT: others' messages come without content")
                content = False
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


class _Routes(HTTPClient):
    """discord.py's routes over our HTTP."""

    def __init__(self, http: Http, note_identity: Callable[[int], None]) -> None:
        super().__init__(asyncio.get_running_loop())
        self._ours = http
        self._note_identity = note_identity
        self._sockets: aiohttp.ClientSession | None = None
        self._gateway: yarl.URL | None = None

    async def request(
        self,
        route: Route,
        *,
        files: Sequence[discord.File] | None = None,
        form: Iterable[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> Any:
        fields = [*form] if form else []
        return await self._ours.request(
            route.method,
            route.url.removeprefix(Route.BASE),
            params=kwargs.get("params"),
            json=jsonlib.dumps(kwargs["json"]) if kwargs.get("json") is not None else None,
            parts=(lambda: _parts(fields)) if fields else None,
            reason=quote(kwargs["reason"], safe="/ ") if kwargs.get("reason") else None,
        )

    async def static_login(self, token: str) -> Any:
        """discord.py's makes a session that we do not use."""
        self.token = token
        me = await self.request(Route("GET", "/users/@me"))
        self._note_identity(int(me["id"]))
        return me

    async def ws_connect(self, url: str, *, compress: int = 0) -> Any:
        """To the API's own gateway, unless it is one that the gateway itself named for resuming."""
        target = yarl.URL(url)
        if target.host == DiscordWebSocket.DEFAULT_GATEWAY.host:
            target = await self._gateway_url(target)
        if self._sockets is None:
            self._sockets = aiohttp.ClientSession(ws_response_class=DiscordClientWebSocketResponse)
        return await self._sockets.ws_connect(
            target,
            max_msg_size=0,
            autoclose=False,
            compress=compress,
            headers={"User-Agent": self.user_agent},
        )

    async def _gateway_url(self, asked: yarl.URL) -> yarl.URL:
        """Asked for once, as Discord wants it (its documents, "Get Gateway")."""
        if self._gateway is None:
            try:
                answer = await self.request(Route("GET", "/gateway"))
            except RemoteError as error:
                raise OSError(str(error)) from error  # what discord.py's reconnecting understands
            self._gateway = yarl.URL(str(answer["url"]))
        return self._gateway.with_query(asked.query)

    async def close(self) -> None:
        if self._sockets is not None:
            await self._sockets.close()
            self._sockets = None

    def clear(self) -> None:
        """Nothing of discord.py's own is open."""


class _GatewayClient(discord.Client):
    """The gateway connection: hints for watchers, frames for observers. Keeps no cache of messages."""

    def __init__(
        self,
        http: Http,
        note_identity: Callable[[int], None],
        tell: Callable[[Hint | None], None],
        hear: Callable[[bool], None],
        message_content: bool,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, guild_reactions=True)
        intents.message_content = message_content
        super().__init__(
            intents=intents,
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            enable_debug_events=True,
        )
        self.http = self._connection.http = _Routes(http, note_identity)
        self._ours = http
        self._tell = tell
        self._hear = hear
        self._now = clock
        self._pause = sleep

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Discord allows one IDENTIFY in 5 seconds."""
        if not initial:
            await self._pause(_IDENTIFY_SECONDS)

    async def on_connect(self) -> None:
        self._hear(True)
        self._tell(None)  # a new session, not a resumed one: what happened before it was missed

    async def on_resumed(self) -> None:
        self._hear(True)  # what was missed has come by now

    async def on_disconnect(self) -> None:
        self._hear(False)

    async def on_message(self, message: discord.Message) -> None:
        self._tell(Hint("create", message.channel.id, (message.id,)))

    async def on_raw_message_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        self._tell(Hint("update", event.channel_id, (event.message_id,)))

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        self._tell(Hint("delete", event.channel_id, (event.message_id,)))

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        self._tell(Hint("delete", event.channel_id, tuple(sorted(event.message_ids))))

    async def on_socket_raw_receive(self, text: str) -> None:
        self._ours.show(GatewayFrame("recv", text, self._now()))

    async def on_socket_raw_send(self, text: str) -> None:
        if isinstance(text, str):
            self._ours.show(GatewayFrame("send", self._ours.token.scrub(text), self._now()))


def _parts(fields: Iterable[dict[str, Any]]) -> Iterable[Part]:
    for each in fields:
        yield Part(each["name"], part_value(each["value"]), each.get("filename"), each.get("content_type"))


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
