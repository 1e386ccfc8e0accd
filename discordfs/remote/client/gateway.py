"""discord.py's two halves, made ours: its routes over our HTTP, and its gateway connection.

`Gateway` is a client of discord.py that hands on hints and frames and keeps no cache of messages; `Routes` is
its HTTP client, whose every method goes through our `request`. Threading: the loop's thread.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import warnings
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl

from discordfs.errors import RemoteError
from discordfs.model import Clock
from discordfs.remote.base import GatewayFrame, Hint
from discordfs.remote.http import Http, Part
from discordfs.remote.upload import part_value

with warnings.catch_warnings():
    # Its voice part, which is never used here, imports audioop, and Python 3.11 and 3.12 warn of that.
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord
    from discord.gateway import DiscordClientWebSocketResponse, DiscordWebSocket
    from discord.http import HTTPClient, Route, handle_message_parameters

__all__ = ["Gateway", "Identity", "Routes", "discord", "handle_message_parameters"]

for _warning in ("warn_nacl", "warn_dave"):  # that voice will not work: nobody speaks here
    if hasattr(discord.VoiceClient, _warning):
        setattr(discord.VoiceClient, _warning, False)

_IDENTIFY_SECONDS = 5.0


class Identity:
    """Who the token belongs to: the id once it is known, and the answer where an archive asked for it."""

    def __init__(self) -> None:
        self.id = 0
        self.me: dict[str, Any] | None = None


class Routes(HTTPClient):
    """discord.py's routes over our HTTP."""

    def __init__(self, http: Http, identity: Identity) -> None:
        super().__init__(asyncio.get_running_loop())
        self._ours = http
        self._identity = identity
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
        if self._identity.me is not None:
            return self._identity.me
        me = await self.request(Route("GET", "/users/@me"))
        self._identity.id = int(me["id"])
        return me

    async def application_info(self) -> Any:
        """discord.py asks at login, which a person's account may not. An archive's log in is its own, and
        there nothing of the application matters."""
        me = self._identity.me
        if me is None:
            return await super().application_info()
        plain = dict.fromkeys(("description", "verify_key"), "") | {"id": me["id"], "name": me["username"]}
        return plain | {"icon": None, "bot_public": False, "bot_require_code_grant": False, "owner": me}

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


class Gateway(discord.Client):
    """The gateway connection: hints for watchers, frames for observers. Keeps no cache of messages."""

    def __init__(
        self,
        http: Http,
        identity: Identity,
        tell: Callable[[Hint | None], None],
        hear: Callable[[bool], None],
        intents: Sequence[str],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        super().__init__(
            intents=discord.Intents(**dict.fromkeys(intents, True)),
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            enable_debug_events=True,
        )
        self.http = self._connection.http = Routes(http, identity)
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
