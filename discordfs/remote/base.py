"""The two contracts that everything above speaks to Discord through.

MessageStore is what the drive needs: post, fetch, list, delete a message; read a range of an attachment;
watch channels. Api is what the archive, the clips and `init` need: any route, raw, and gateway events,
with each exchange observable.

Every implementation (memory.py, client.py) and every wrapper (retrying.py) is held to one suite,
tests/contract/. Methods are coroutines of the loop in loop.py; callers on other threads use Loop.call.

Errors are those of errors.py and nothing else: Unavailable (try again), OutcomeUnknown (may have
happened), RateLimited, Unauthorized, Forbidden, RemoteGone, TooLarge, BadRequest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from discordfs.model import Limits, Traffic

ATTEMPT: ContextVar[int] = ContextVar("attempt", default=1)
"""Which attempt at a request the current task is making: set by what repeats, read for `Exchange.attempt`."""

DISCORD_EPOCH_MS = 1_420_070_400_000
"""2015-01-01T00:00:00Z, where snowflakes begin (Discord's API reference, "Snowflakes")."""


def snowflake_ns(snowflake: int) -> int:
    """Epoch ns at which Discord made this id."""
    return ((snowflake >> 22) + DISCORD_EPOCH_MS) * 1_000_000


def snowflake_at(epoch_ns: int) -> int:
    """The smallest id that Discord could have made at this time: a cursor for listings."""
    return max(0, epoch_ns // 1_000_000 - DISCORD_EPOCH_MS) << 22


@dataclass(frozen=True, slots=True)
class UploadFile:
    """A file to attach: bytes [start, start + length) of the file at `path`, under `name`
    (only [a-z0-9.-], an alphanumeric first, with an extension: Discord rewrites others)."""

    name: str
    path: Path
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attachment as Discord reports it. No URL: the store knows how to reach it."""

    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the drive needs it. `nonce` is "" where Discord does not give it back (listings)."""

    id: int
    channel: int
    author: int
    content: str
    attachments: tuple[Attachment, ...]
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something happened to messages of a channel. A hint only: listings decide."""

    kind: Literal["create", "update", "delete", "resync"]
    channel: int
    messages: tuple[int, ...]


class MessageStore(Protocol):
    """Messages with attachments, in channels."""

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        """Posts one message and returns it as Discord reports it.

        With the same nonce within a few minutes the message posted first comes back and no second one is
        made. The caller checks names and sizes. Raises OutcomeUnknown when the message may exist."""

    async def fetch(self, channel: int, message: int) -> Message:
        """Raises RemoteGone when there is no such message."""

    async def list(
        self, channel: int, *, before: int | None = None, after: int | None = None, limit: int = 100
    ) -> list[Message]:
        """One page of at most 100, newest first; with `after`, the page nearest that cursor. A listing may
        lag behind posts."""

    async def delete(self, channel: int, messages: Sequence[int]) -> None:
        """Deletes messages, in bulk where Discord allows it. One that is gone already is no error."""

    async def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        """Exactly `length` bytes of an attachment. URLs are found, kept and renewed in here (once per
        read); RemoteGone when message or attachment do not exist any more."""

    async def limits(self, channel: int) -> Limits:
        """What a message in this channel may carry, as far as is known: learned downwards from a 413."""

    def watch(self, channels: Sequence[int], callback: Callable[[Hint], None]) -> Callable[[], None]:
        """Calls back, on the loop's thread, as hints come in; returns what ends it. After a disconnect a
        "resync" hint says that some may have been missed. Callable from any thread."""

    def now_ns(self) -> int:
        """Discord's time (epoch ns) as its answers tell it, to a second or so; the local clock before the
        first answer. May step back by as much. Callable from any thread."""

    def knows_time(self) -> bool:
        """Whether an answer has told Discord's time. Callable from any thread."""

    def traffic(self) -> Traffic:
        """Counts since the store was made. Callable from any thread."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP exchange, as it went over the wire, for whoever observes. `data` is the body as text;
    `error` names what went wrong without an answer ("" if there was one)."""

    method: str
    url: str
    params: Mapping[str, str | int]
    status: int
    headers: Mapping[str, str]
    data: str
    attempt: int
    started_ns: int
    ended_ns: int
    error: str = ""


SCRUBBED = "[SCRUBBED]"


@dataclass(frozen=True, slots=True)
class GatewayFrame:
    """One websocket text, as received or sent; in what is sent `[SCRUBBED]` stands for the token."""

    direction: Literal["recv", "send"]
    data: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of fetching a whole file from the CDN. `status` is 0 without an answer; the bytes count only
    when it is 200 and `error` is ""."""

    status: int
    headers: Mapping[str, str]
    size: int
    error: str = ""


class Api(Protocol):
    """Any route of API v10, raw, under the same limiter."""

    async def request(
        self,
        method: str,
        route: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
    ) -> Any:
        """`route` such as "/guilds/123/channels"; returns the decoded body (None for 204)."""

    async def exchange(
        self,
        method: str,
        route: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        attempt: int = 1,
    ) -> Exchange:
        """One attempt, as it went over the wire, whatever the answer is: status and error tell, and
        answers.failure_of makes an error of them. `attempt` is only noted. Raises where nothing was sent:
        Unauthorized after a 401, RateLimited when the budget of refusals is used up, RemoteError when closed.
        """

    def observe(self, observer: Callable[[Exchange | GatewayFrame], None]) -> Callable[[], None]:
        """Every exchange and frame from now on, on the loop's thread; returns what ends it."""

    async def download(self, url: str, sink: Callable[[bytes], object]) -> Fetched:
        """A whole file from the CDN, by a URL that Discord gave, in pieces into `sink`. One attempt, and no
        token goes along."""

    async def close(self) -> None: ...


class GatewayApi(Api, Protocol):
    """An Api with its gateway: frames come to observers while it is connected."""

    def connect_gateway(self) -> None:
        """From any thread; before the first request it connects with that."""

    async def disconnect_gateway(self) -> None:
        """No frame comes any more when this returns, until it is connected again."""

    def watch(self, channels: Sequence[int], callback: Callable[[Hint], None]) -> Callable[[], None]:
        """As MessageStore has it; connects the gateway."""

    def now_ns(self) -> int:
        """Discord's time, as MessageStore has it."""
