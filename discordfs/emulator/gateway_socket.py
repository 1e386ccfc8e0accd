"""One gateway connection: HELLO, IDENTIFY or RESUME, heartbeats, and the stream of events (Discord's
documents).

Compression as asked for: `zlib-stream`, `zstd-stream` (one context for the connection, flushed at each
payload), or none. Threading: event loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import zstandard
from aiohttp import WSCloseCode, WSMsgType, web

from . import payloads
from .context import Context, context_of
from .errors import ApiError
from .gateway import guild_create, ready
from .model import User
from .sessions import KNOWN_INTENTS, Event, Session, disallowed

_MOST_PAYLOAD = 4096
_GRACE = 1.5  # heartbeats may be late by this factor before the connection is given up

UNKNOWN_OPCODE, DECODE_ERROR, NOT_AUTHENTICATED, AUTHENTICATION_FAILED, ALREADY_AUTHENTICATED = range(
    4001, 4006
)
INVALID_SEQUENCE, RATE_LIMITED, SESSION_TIMED_OUT = 4007, 4008, 4009
INVALID_INTENTS, DISALLOWED_INTENTS = 4013, 4014


class Op(IntEnum):
    """The opcodes of payloads."""

    HEARTBEAT = 1
    IDENTIFY = 2
    PRESENCE = 3
    VOICE = 4
    RESUME = 6
    MEMBERS = 8
    INVALID_SESSION = 9
    HELLO = 10
    ACK = 11


class _Closed(Exception):
    """The connection is to be closed with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def connect(request: web.Request) -> web.StreamResponse:
    """The handler of the gateway's path."""
    socket = web.WebSocketResponse(max_msg_size=1 << 20, compress=False)
    await socket.prepare(request)
    connection = _Connection(context_of(request), socket, _compressor(request.query.get("compress", "")))
    await connection.serve()
    return socket


def _compressor(kind: str) -> Callable[[bytes], bytes] | None:
    if kind == "zlib-stream":
        stream = zlib.compressobj()
        return lambda data: stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
    if kind == "zstd-stream":
        frame = zstandard.ZstdCompressor().compressobj()
        return lambda data: frame.compress(data) + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return None


class _Connection:
    """The state of one connection."""

    def __init__(
        self, context: Context, socket: web.WebSocketResponse, compress: Callable[[bytes], bytes] | None
    ) -> None:
        self._context = context
        self._socket = socket
        self._compress = compress
        self._session: Session | None = None
        self._queue: asyncio.Queue[Event] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._received: deque[float] = deque()
        self._interval = context.settings.heartbeat_interval_ms
        self._closing: asyncio.Task[bool] | None = None

    async def serve(self) -> None:
        """Talks until either side hangs up."""
        self._context.sessions.hang_ups.add(self._hang_up)
        code: int = WSCloseCode.OK
        try:
            await self._send({"op": Op.HELLO, "s": None, "t": None, "d": self._hello()})
            await self._receive()
        except _Closed as closed:
            code = closed.code
        except ConnectionError:
            code = WSCloseCode.ABNORMAL_CLOSURE  # the client went away in the middle of a payload
        finally:
            self._context.sessions.hang_ups.discard(self._hang_up)
            await self._leave(code)

    def _hello(self) -> dict[str, Any]:
        return {"heartbeat_interval": self._interval, "_trace": []}

    def _hang_up(self, code: int) -> None:
        self._closing = asyncio.ensure_future(self._socket.close(code=code))

    async def _leave(self, code: int) -> None:
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self._sender
        session = self._session
        if session is not None and session.queue is self._queue:
            session.queue, session.left_at = None, self._context.clock.now()
            if self._socket.close_code in (1000, 1001) and self._closing is None:
                self._context.sessions.end(session)  # the client closed for good (Discord's documents)
        if self._closing is not None:
            await self._closing
        elif not self._socket.closed:
            await self._socket.close(code=code)

    async def _receive(self) -> None:
        patience = self._interval / 1000 * _GRACE
        while True:
            try:
                message = await self._socket.receive(timeout=patience)
            except TimeoutError:
                raise _Closed(SESSION_TIMED_OUT) from None
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            await self._take(message.data)

    async def _take(self, text: str | bytes) -> None:
        self._count()
        if len(text.encode() if isinstance(text, str) else text) > _MOST_PAYLOAD:
            raise _Closed(DECODE_ERROR)
        try:
            payload = json.loads(text)
            op, data = payload["op"], payload.get("d")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise _Closed(DECODE_ERROR) from None
        await self._handle(op, data)

    def _count(self) -> None:
        now = asyncio.get_running_loop().time()
        self._received.append(now)
        while self._received[0] < now - 60:
            self._received.popleft()
        if len(self._received) > self._context.settings.gateway_sends:
            raise _Closed(RATE_LIMITED)

    async def _handle(self, op: object, data: Any) -> None:
        match op:
            case Op.HEARTBEAT:
                await self._send({"op": Op.ACK, "s": None, "t": None, "d": None})
            case Op.IDENTIFY:
                await self._identify(_object(data))
            case Op.RESUME:
                await self._resume(_object(data))
            case Op.PRESENCE | Op.VOICE if self._session is not None:
                pass  # presence and voice state are of no consequence here
            case Op.MEMBERS if self._session is not None:
                self._members(self._session, _object(data))
            case Op.PRESENCE | Op.VOICE | Op.MEMBERS:
                raise _Closed(NOT_AUTHENTICATED)
            case _:
                raise _Closed(UNKNOWN_OPCODE)

    async def _identify(self, data: dict[str, Any]) -> None:
        if self._session is not None:
            raise _Closed(ALREADY_AUTHENTICATED)
        context, now = self._context, self._context.clock.now()
        user = self._user(data)
        intents = data.get("intents")
        if not isinstance(intents, int) or not 0 <= intents <= KNOWN_INTENTS:
            raise _Closed(INVALID_INTENTS)
        if disallowed(user, intents):
            raise _Closed(DISALLOWED_INTENTS)
        if not context.sessions.starts_left(now, context.settings.identify_limit):
            raise _Closed(AUTHENTICATION_FAILED)  # Discord resets the token of a bot that gets here
        context.sessions.identifies.append(now)
        session = context.sessions.begin(user, intents, now)
        self._stream(session, [])
        session.dispatch("READY", ready(context, session))
        session.dispatch("GUILD_CREATE", guild_create(context, session))

    def _user(self, data: dict[str, Any]) -> User:
        token = str(data.get("token", "")).removeprefix("Bot ")
        for prefix in ("Bot ", ""):
            with contextlib.suppress(ApiError):
                return self._context.world.by_token(prefix + token)
        raise _Closed(AUTHENTICATION_FAILED)

    async def _resume(self, data: dict[str, Any]) -> None:
        if self._session is not None:
            raise _Closed(ALREADY_AUTHENTICATED)
        user, seen = self._user(data), data.get("seq")
        session = self._context.sessions.find(str(data.get("session_id")), user, self._context.clock.now())
        if not isinstance(seen, int) or (session is not None and seen > session.number):
            raise _Closed(INVALID_SEQUENCE)
        missed = None if session is None else session.missed(seen)
        if session is None or missed is None:
            await self._send({"op": Op.INVALID_SESSION, "s": None, "t": None, "d": False})
            return
        self._stream(session, missed)
        session.dispatch("RESUMED", {"_trace": []})

    def _stream(self, session: Session, missed: list[Event]) -> None:
        """Takes the session over, from an earlier connection too; no event can slip in before those
        missed.
        """
        self._session = session
        self._queue = session.attach()
        for event in missed:
            self._queue.put_nowait(event)
        self._sender = asyncio.ensure_future(self._events(self._queue))

    async def _events(self, queue: asyncio.Queue[Event]) -> None:
        while True:
            await self._send((await queue.get()).payload())

    def _members(self, session: Session, data: dict[str, Any]) -> None:
        users = self._context.world.members
        wanted = data.get("user_ids")
        if isinstance(wanted, list):
            users = [user for user in users if str(user.id) in {str(each) for each in wanted}]
        chunk: dict[str, Any] = {
            "guild_id": str(self._context.world.guild.id),
            "members": [payloads.member(user) for user in users],
            "chunk_index": 0,
            "chunk_count": 1,
        }
        session.dispatch("GUILD_MEMBERS_CHUNK", chunk | ({"nonce": data["nonce"]} if "nonce" in data else {}))

    async def _send(self, payload: dict[str, Any]) -> None:
        text = json.dumps(payload, separators=(",", ":"))
        if self._compress is None:
            await self._socket.send_str(text)
        else:
            await self._socket.send_bytes(self._compress(text.encode()))


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _Closed(DECODE_ERROR)
    return data
