"""One HTTP request to the API: under the limiter, observed, counted, and once. Knows no discord.py.

Never repeats anything: that is retrying.py's. After a 401 nothing is sent until there is a new token.
The token is shown by no error, log line or repr: errors of aiohttp, which can carry request headers, are
turned into ours without their text where that could hold one.
Limits: JSON bodies and multipart uploads; answers are held in memory whole. Threading: the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp

from discordfs import __version__
from discordfs.errors import Damaged, RemoteError, Unauthorized, Unavailable
from discordfs.model import Clock
from discordfs.remote.answers import Answer, error_of, lost
from discordfs.remote.base import ATTEMPT, SCRUBBED, Exchange, GatewayFrame
from discordfs.remote.limiting import Limiter, Slot
from discordfs.remote.server_time import ServerTime
from discordfs.remote.traffic import TrafficCounter, label

_logger = logging.getLogger(__name__)

USER_AGENT = f"DiscordBot (https://pypi.org/project/discordfs, {__version__})"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect; of silence before an answer (an upload's time does not count); and in all, where
    an upload gets a second more for each `slowest` bytes."""

    connect: float = 10.0
    silence: float = 30.0
    total: float = 90.0
    slowest: int = 50_000


class Token:
    """A bot token that does not show itself."""

    def __init__(self, value: str) -> None:
        self._value = value.strip()

    def __repr__(self) -> str:
        return "Token(…)"

    def reveal(self) -> str:
        return self._value

    def scrub(self, text: str) -> str:
        return text.replace(self._value, SCRUBBED) if self._value else text


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a multipart body; `value` is a str or an aiohttp Payload that knows its size."""

    name: str
    value: Any
    filename: str | None = None
    content_type: str | None = None


Observer = Callable[[Exchange | GatewayFrame], None]
BodyMaker = Callable[[], Iterable[Part]]


class Http:
    """Requests to the API at `base` (such as https://discord.com/api/v10)."""

    def __init__(
        self,
        base: str,
        token: str,
        limiter: Limiter,
        counter: TrafficCounter,
        server_time: ServerTime,
        *,
        timeouts: Timeouts,
        clock: Clock = time.time_ns,
        is_user_account: bool = False,
    ) -> None:
        self._scheme = "" if is_user_account else "Bot "
        self.base = base.rstrip("/")
        self.token = Token(token)
        self._limiter = limiter
        self._counter = counter
        self._server_time = server_time
        self._timeouts = timeouts
        self._clock = clock
        self._refused = False
        self._closed = False
        self._session: aiohttp.ClientSession | None = None
        self._observers: list[Observer] = []

    def use_token(self, token: str) -> None:
        """A new token: what a 401 had stopped goes on."""
        self.token = Token(token)
        self._refused = False

    def observe(self, observer: Observer) -> Callable[[], None]:
        self._observers.append(observer)

        def end() -> None:
            if observer in self._observers:
                self._observers.remove(observer)

        return end

    @property
    def observed(self) -> bool:
        return bool(self._observers)

    def show(self, event: Exchange | GatewayFrame) -> None:
        """To every observer. One that fails is not allowed to break what it watches."""
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception:
                _logger.exception("an observer of the API failed")

    async def close(self) -> None:
        """Requests under way fail; later ones are refused with a RemoteError, which nobody repeats."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._limiter.close()

    async def request(
        self,
        method: str,
        route: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: str | None = None,
        parts: BodyMaker | None = None,
        reason: str | None = None,
    ) -> Any:
        """The decoded body (None for 204). `route` begins with "/"; `json` is encoded already; `reason` is
        percent-encoded already, for the audit log."""
        _, outcome = await self._once(method, route, params, json, parts, reason, ATTEMPT.get())
        if isinstance(outcome, RemoteError):
            raise outcome
        return self._result(method, route, outcome)

    async def exchange(
        self,
        method: str,
        route: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: str | None = None,
        attempt: int = 1,
    ) -> Exchange:
        """One attempt as it went; raises only where nothing was sent (base.Api says more)."""
        exchange, _ = await self._once(method, route, params, json, None, None, attempt)
        return exchange

    # --- inside -----------------------------------------------------------------------------------

    async def _once(
        self,
        method: str,
        route: str,
        params: Mapping[str, str | int] | None,
        json: str | None,
        parts: BodyMaker | None,
        reason: str | None,
        attempt: int,
    ) -> tuple[Exchange, Answer | RemoteError]:
        """What went over the wire, and the answer or what came in its place."""
        self._check_open()
        async with self._limiter.slot(method, route, self._server_time.now_ns()) as slot:
            try:
                self._check_open()  # others may have learned better while this one waited
            except RemoteError:
                slot.not_sent()
                raise
            exchanging = _Exchanging(method, self.base + route, dict(params or {}), self._clock, attempt)
            outcome: Answer | RemoteError
            try:
                outcome = await self._send(slot, exchanging, json, parts, reason)
            except RemoteError as error:
                outcome = error
            exchange = exchanging.ended(outcome)
            self.show(exchange)
        if exchange.status == 401:
            self._refused = True
        return exchange, outcome

    def _check_open(self) -> None:
        if self._closed:
            raise RemoteError("the connection to Discord was closed")
        if self._refused:
            raise Unauthorized("Discord does not accept the token; nothing is asked until there is a new one")

    def _result(self, method: str, route: str, answer: Answer) -> Any:
        what = _name(method, route)
        if not 200 <= answer.status < 300:
            raise error_of(method, what, answer)
        try:
            return answer.body()
        except ValueError:
            raise lost(method, f"{what}: an answer that is no JSON") from None

    async def _send(
        self, slot: Slot, exchange: _Exchanging, json: str | None, parts: BodyMaker | None, reason: str | None
    ) -> Answer:
        """One attempt; tells the slot what came of it."""
        self._counter.request(label(exchange.method, exchange.url.removeprefix(self.base)))
        what = _name(exchange.method, exchange.url.removeprefix(self.base))
        try:
            answer = await self._exchange(slot, exchange, self._headers(json, reason), json, parts)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            slot.not_sent()
            raise Unavailable(f"{what}: no connection ({type(error).__name__})") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error.__cause__, Damaged):
                raise error.__cause__ from None
            raise lost(exchange.method, f"{what}: no answer ({type(error).__name__})") from None
        slot.answered(answer.status, answer.headers, answer.retry_after() if answer.status == 429 else 0.0)
        return answer

    async def _exchange(
        self,
        slot: Slot,
        exchange: _Exchanging,
        headers: dict[str, str],
        json: str | None,
        parts: BodyMaker | None,
    ) -> Answer:
        body = _form(parts()) if parts is not None else json.encode() if json is not None else None
        size = getattr(body, "size", 0) or 0
        async with asyncio.timeout(self._timeouts.total + size / self._timeouts.slowest):
            async with self._open_session().request(
                exchange.method,
                exchange.url,
                params=exchange.params,
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                slot.heard()
                text = await response.text(encoding="utf-8", errors="replace")
        self._counter.down(len(text.encode()))
        self._server_time.learn(response.headers)
        return Answer(response.status, response.headers, text)

    def _headers(self, json: str | None, reason: str | None) -> dict[str, str]:
        headers = {"Authorization": f"{self._scheme}{self.token.reveal()}", "User-Agent": USER_AGENT}
        if json is not None:
            headers["Content-Type"] = "application/json"
        if reason:
            headers["X-Audit-Log-Reason"] = reason
        return headers

    def _open_session(self) -> aiohttp.ClientSession:
        """Made by the first request: on the loop, after any fork."""
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_chunk_sent.append(self._on_sent)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._timeouts.connect, sock_read=self._timeouts.silence
                ),
                trace_configs=[trace],
            )
            # aiohttp repeats GET, PUT and DELETE after a reset by itself, unseen by the limiter. It has no
            # public switch for that; its own test tools use this one.
            self._session._retry_connection = False
        return self._session

    async def _on_sent(
        self,
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestChunkSentParams,
    ) -> None:
        self._counter.up(len(params.chunk))


class _Exchanging:
    """An exchange that is going on, for the observers."""

    def __init__(
        self, method: str, url: str, params: dict[str, str | int], clock: Clock, attempt: int
    ) -> None:
        self._attempt = attempt
        self.method = method
        self.url = url
        self.params = params
        self._clock = clock
        self._started = clock()

    def ended(self, outcome: Answer | RemoteError) -> Exchange:
        if isinstance(outcome, RemoteError):
            return self._made(0, {}, "", str(outcome))
        return self._made(outcome.status, dict(outcome.headers), outcome.text, "")

    def _made(self, status: int, headers: dict[str, str], data: str, error: str) -> Exchange:
        times = (self._started, self._clock())
        return Exchange(
            self.method, self.url, self.params, status, headers, data, self._attempt, *times, error
        )


def _form(parts: Iterable[Part]) -> aiohttp.MultipartWriter:
    """Written by hand, as FormData would quote the brackets of "files[0]", which Discord does not take."""
    writer = aiohttp.MultipartWriter("form-data")
    for part in parts:
        payload = writer.append(part.value)
        if part.content_type:
            payload.headers["Content-Type"] = part.content_type
        names = {"name": part.name} | ({"filename": part.filename} if part.filename else {})
        payload.set_content_disposition("form-data", quote_fields=False, **names)
    return writer


def _name(method: str, route: str) -> str:
    """For messages: with ids, but without the tokens of webhooks and interactions."""
    secret = route.startswith(("/webhooks/", "/interactions/"))
    return label(method, route) if secret else f"{method} {route}"
