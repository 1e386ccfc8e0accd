"""A MessageStore in a dict: a real implementation of the contract, for tests and benchmarks without HTTP.

Besides the contract it can be told to let listings lag behind posts, as Discord's do. Nothing is durable.
Threading: the loop's thread; `traffic`, `now_ns`, `delete_quietly` and `replace_bytes`: any.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from discordfs.errors import BadRequest, RemoteGone, TooLarge
from discordfs.model import Clock, Limits, Traffic
from discordfs.remote.base import Attachment, Hint, Message, UploadFile, snowflake_at
from discordfs.remote.capacity import DISCORD_LIMITS, Capacity
from discordfs.remote.traffic import TrafficCounter
from discordfs.remote.upload import read_upload

NONCE_SECONDS = 300.0
_FORM_OVERHEAD = 1024  # bytes of multipart framing, a file
_NONCE_MAX, _CONTENT_MAX, _PAGE_MAX = 25, 2000, 100


@dataclass(slots=True)
class _Channel:
    messages: dict[int, Message] = field(default_factory=dict)
    posted_ns: dict[int, int] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)


class MemoryStore:
    """Messages in a dict.

    `limits` is what it enforces; `assumed` what it says until a TooLarge has taught it (as the real one
    has to learn). `list_lag` seconds pass before a new message shows in listings. Channels are made by
    `channels` or `add_channel`; others are RemoteGone.
    """

    def __init__(
        self,
        channels: Iterable[int] = (),
        *,
        clock: Clock = time.time_ns,
        limits: Limits = DISCORD_LIMITS,
        assumed: Limits | None = None,
        list_lag: float = 0.0,
        nonce_seconds: float = NONCE_SECONDS,
        author: int = 1,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._capacity = Capacity(assumed or limits)
        self._nonce_ns = int(nonce_seconds * 1e9)
        self._author = author
        self._guard = threading.RLock()
        self._channels: dict[int, _Channel] = {}
        self._bytes: dict[int, bytes] = {}
        self._watchers: list[tuple[frozenset[int], Callable[[Hint], None]]] = []
        self._last_id = 0
        self._counter = TrafficCounter()
        self.list_lag = list_lag
        for channel in channels:
            self.add_channel(channel)

    def add_channel(self, channel: int) -> None:
        self._channels[channel] = _Channel()

    # --- the contract ---------------------------------------------------------------------------

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        self._counter.request("POST /channels/{id}/messages")
        room = self._room(channel)
        self._check(channel, content, files, nonce)
        bodies = [read_upload(file) for file in files]
        self._counter.up(len(content) + sum(map(len, bodies)))
        with self._guard:
            return self._known(room, nonce) or self._add(channel, content, files, bodies, nonce)

    async def fetch(self, channel: int, message: int) -> Message:
        self._counter.request("GET /channels/{id}/messages/{id}")
        return replace(self._message(channel, message), nonce="")

    async def list(
        self, channel: int, *, before: int | None = None, after: int | None = None, limit: int = 100
    ) -> list[Message]:
        self._counter.request("GET /channels/{id}/messages")
        if (before is not None and after is not None) or not 1 <= limit <= _PAGE_MAX:
            raise BadRequest(
                f"channel {channel}: before and after exclude one another; limit is 1 to 100", 50035
            )
        shown = [replace(message, nonce="") for message in self._shown(self._room(channel))]
        if after is not None:
            return [message for message in shown if message.id > after][-limit:]
        return [message for message in shown if before is None or message.id < before][:limit]

    async def delete(self, channel: int, messages: Sequence[int]) -> None:
        self._counter.request("DELETE /channels/{id}/messages/{id}")
        self._room(channel)
        self.delete_quietly(channel, messages)
        self._tell("delete", channel, messages)

    async def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        self._counter.request("GET cdn")
        with self._guard:
            if attachment not in {known.id for known in self._message(channel, message).attachments}:
                raise RemoteGone(f"message {message} has no attachment {attachment}")
            data = self._bytes[attachment]
        if start < 0 or length < 0 or start + length > len(data):
            raise BadRequest(f"attachment {attachment} has {len(data)} bytes, not {start} + {length}", 416)
        self._counter.down(length)
        return data[start : start + length]

    async def limits(self, channel: int) -> Limits:
        return self._capacity.of(channel)

    def watch(self, channels: Sequence[int], callback: Callable[[Hint], None]) -> Callable[[], None]:
        entry = (frozenset(channels), callback)
        self._watchers.append(entry)

        def end() -> None:
            if entry in self._watchers:
                self._watchers.remove(entry)

        return end

    def now_ns(self) -> int:
        return self._clock()

    def knows_time(self) -> bool:
        return True

    def traffic(self) -> Traffic:
        return self._counter.snapshot()

    async def close(self) -> None:
        self._watchers.clear()

    # --- what others may do to a channel, for tests ------------------------------------------------

    def delete_quietly(self, channel: int, messages: Sequence[int]) -> None:
        """Somebody deletes messages, and no hint comes."""
        with self._guard:
            room = self._room(channel)
            for message in messages:
                gone = room.messages.pop(message, None)
                for attachment in gone.attachments if gone else ():
                    del self._bytes[attachment.id]

    def remove_channel(self, channel: int) -> None:
        """Somebody deletes the channel and all in it."""
        with self._guard:
            self.delete_quietly(channel, list(self._room(channel).messages))
            del self._channels[channel]

    def replace_bytes(self, attachment: int, change: Callable[[bytes], bytes]) -> None:
        """The attachment's bytes become something else of the same length."""
        with self._guard:
            self._bytes[attachment] = change(self._bytes[attachment])

    # --- inside --------------------------------------------------------------------------------------

    def _room(self, channel: int) -> _Channel:
        try:
            return self._channels[channel]
        except KeyError:
            raise RemoteGone(f"there is no channel {channel}") from None

    def _message(self, channel: int, message: int) -> Message:
        try:
            return self._room(channel).messages[message]
        except KeyError:
            raise RemoteGone(f"channel {channel} has no message {message}") from None

    def _check(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> None:
        if len(nonce) > _NONCE_MAX or len(content) > _CONTENT_MAX or not (content or files):
            raise BadRequest(f"channel {channel}: empty message, or content or nonce too long", 50035)
        if len(files) > self._limits.files:
            raise BadRequest(f"channel {channel}: more than {self._limits.files} files", 30015)
        sizes = [file.length for file in files]
        total = sum(sizes) + _FORM_OVERHEAD * len(files)
        if max(sizes, default=0) > self._limits.file_bytes or total > self._limits.request_bytes:
            self._capacity.refused(channel, sizes)
            raise TooLarge(f"channel {channel}: {max(sizes)} bytes in a file, {total} in all is too much")

    def _known(self, room: _Channel, nonce: str) -> Message | None:
        message = room.nonces.get(nonce, 0)
        if message not in room.messages or self._clock() - room.posted_ns[message] > self._nonce_ns:
            return None
        return room.messages[message]

    def _add(
        self, channel: int, content: str, files: Sequence[UploadFile], bodies: Sequence[bytes], nonce: str
    ) -> Message:
        attachments = tuple(self._attach(file.name, body) for file, body in zip(files, bodies, strict=True))
        message = Message(self._next_id(), channel, self._author, content, attachments, nonce)
        room = self._channels[channel]
        room.messages[message.id] = message
        room.posted_ns[message.id] = self._clock()
        if nonce:
            room.nonces[nonce] = message.id
        self._tell("create", channel, [message.id])
        return message

    def _attach(self, name: str, body: bytes) -> Attachment:
        attachment = Attachment(self._next_id(), name, len(body))
        self._bytes[attachment.id] = body
        return attachment

    def _next_id(self) -> int:
        self._last_id = max(self._last_id + 1, snowflake_at(self._clock()))
        return self._last_id

    def _shown(self, room: _Channel) -> Sequence[Message]:
        horizon = self._clock() - int(self.list_lag * 1e9)
        with self._guard:
            newest_first = sorted(room.messages.values(), key=lambda message: -message.id)
            return [message for message in newest_first if room.posted_ns[message.id] <= horizon]

    def _tell(self, kind: Literal["create", "delete"], channel: int, messages: Sequence[int]) -> None:
        for channels, callback in tuple(self._watchers):
            if channel in channels:
                callback(Hint(kind, channel, tuple(messages)))
