"""Ranged reads from the CDN: exactly the bytes that were asked for, or an error; and whole files.

Copes with servers that answer a Range request with the whole file, with bodies that end early (the rest is
asked for), resets, and answers to another range than the one asked for. What the bytes mean is checked by
the layers above, by their seals.
Limits: a range is held in memory once. Threading: the loop's thread.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable

import aiohttp

from discordfs.errors import BadRequest, RateLimited, RemoteError, RemoteGone, Unavailable
from discordfs.remote.base import Fetched
from discordfs.remote.server_time import ServerTime
from discordfs.remote.traffic import TrafficCounter

Sleep = Callable[[float], Awaitable[None]]

CONNECTIONS = 128
_STEP = 256 * 1024
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PAUSE = 0.25


class UrlRefused(RemoteGone):
    """401, 403 or 404: expired, unsigned, or the file is gone."""


class Cdn:
    """Reads by URL. `attempts`: how often a read that brings nothing new is tried."""

    def __init__(
        self,
        counter: TrafficCounter,
        server_time: ServerTime,
        *,
        connect: float = 10.0,
        silence: float = 20.0,
        attempts: int = 3,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._counter = counter
        self._server_time = server_time
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=silence)
        self._attempts = attempts
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._closed = False
        self._session: aiohttp.ClientSession | None = None

    async def read(self, url: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length). UrlRefused; BadRequest when the file is shorter; RateLimited;
        Unavailable after several attempts."""
        got = bytearray()
        failures = 0
        while len(got) < length:
            before = len(got)
            try:
                await self._read_on(url, start + before, length - before, got)
            except Unavailable:
                # A body that broke off has brought something: that is progress, not a failure.
                failures = 0 if len(got) > before else failures + 1
                if failures >= self._attempts:
                    raise
                await self._sleep(_PAUSE * 2**failures * (0.5 + self._rng.random() / 2))
        return bytes(got)

    async def download(self, url: str, sink: Callable[[bytes], object]) -> Fetched:
        """The whole file into `sink`, in one attempt. A body that is shorter than its Content-Length is an
        error, as is one that broke off: what the sink took then is to be thrown away."""
        if self._closed:
            raise RemoteError("the connection to Discord was closed")
        self._counter.request("GET cdn")
        status, headers, size = 0, dict[str, str](), 0
        try:
            async with self._open_session().get(
                url, headers={"Accept-Encoding": "identity"}, allow_redirects=False
            ) as response:
                self._server_time.learn(response.headers)
                status = response.status
                headers = {name.lower(): value for name, value in response.headers.items()}
                async for piece in response.content.iter_chunked(_STEP):
                    self._counter.down(len(piece))
                    size += len(piece)
                    if status == 200:
                        sink(piece)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Fetched(
                status, headers, size, f"the CDN broke off at byte {size} ({type(error).__name__})"
            )
        return Fetched(status, headers, size)

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- inside -----------------------------------------------------------------------------------

    async def _read_on(self, url: str, start: int, length: int, got: bytearray) -> None:
        """One request; what came stays in `got` even when it breaks off (Unavailable)."""
        if self._closed:
            raise RemoteError("the connection to Discord was closed")
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        self._counter.request("GET cdn")
        try:
            async with self._open_session().get(url, headers=headers) as response:
                self._server_time.learn(response.headers)
                skip = self._check(response, start)
                await self._take(response, skip, length, got)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Their text can hold the URL, which is as good as the file.
            raise Unavailable(f"the CDN broke off at byte {start} ({type(error).__name__})") from None

    def _check(self, response: aiohttp.ClientResponse, start: int) -> int:
        """How many bytes come before those that were asked for."""
        if response.status == 206:
            match = _RANGE.match(response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != start:
                raise Unavailable("the CDN answered with another range than the one asked for")
            return 0
        if response.status == 200:
            self._counter.request("GET cdn (whole file, as Range was ignored)")
            return start
        raise _error(response, start)

    async def _take(self, response: aiohttp.ClientResponse, skip: int, length: int, got: bytearray) -> None:
        enough = len(got) + length
        while len(got) < enough:
            data = await response.content.read(_STEP)
            if not data:
                raise BadRequest(
                    f"the attachment ends {enough - len(got)} bytes before the range asked for", 416
                )
            self._counter.down(len(data))
            got += data[skip : skip + enough - len(got)]
            skip = max(0, skip - len(data))
        if response.content.at_eof():
            return
        if skip or response.status == 200 or not await _ends(response):
            response.close()  # the rest of the file is not wanted

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
            )
        return self._session


async def _ends(response: aiohttp.ClientResponse) -> bool:
    """Whether nothing more comes: then the connection can be used again."""
    return not await response.content.read(1)


def _error(response: aiohttp.ClientResponse, start: int) -> Exception:
    if response.status in (401, 403, 404):
        return UrlRefused(f"the CDN does not have the file ({response.status})")
    if response.status == 416:
        return BadRequest(f"the attachment ends before byte {start}", 416)
    if response.status == 429:
        return RateLimited("the CDN asks to wait", _seconds(response.headers.get("Retry-After", "")))
    return Unavailable(f"the CDN answered {response.status}")


def _seconds(header: str) -> float:
    try:
        return max(0.0, float(header))
    except ValueError:
        return 1.0
