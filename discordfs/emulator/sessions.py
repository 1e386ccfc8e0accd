"""Gateway sessions: their intents, their numbered events, and the buffer that a RESUME is served from.

A session outlives its connection for a while, and then only in memory: after a restart of the emulator
every RESUME is answered with INVALID_SESSION, as Discord does now and then. Threading: event loop only.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .model import User

GUILDS = 1 << 0
GUILD_MEMBERS = 1 << 1
GUILD_EXPRESSIONS = 1 << 3
GUILD_WEBHOOKS = 1 << 5
GUILD_PRESENCES = 1 << 8
GUILD_MESSAGES = 1 << 9
GUILD_MESSAGE_REACTIONS = 1 << 10
DIRECT_MESSAGES = 1 << 12
DIRECT_MESSAGE_REACTIONS = 1 << 13
MESSAGE_CONTENT = 1 << 15
GUILD_MESSAGE_POLLS = 1 << 24
DIRECT_MESSAGE_POLLS = 1 << 25
# Direct messages have intents of their own.
IN_PRIVATE = {
    GUILD_MESSAGES: DIRECT_MESSAGES,
    GUILD_MESSAGE_REACTIONS: DIRECT_MESSAGE_REACTIONS,
    GUILD_MESSAGE_POLLS: DIRECT_MESSAGE_POLLS,
    GUILDS: DIRECT_MESSAGES,
}
KNOWN_INTENTS = (1 << 27) - 1
_KEPT_EVENTS = 2000


@dataclass(frozen=True, slots=True)
class Event:
    """A dispatch: its number within the session, its name, its data."""

    number: int
    name: str
    data: dict[str, Any]

    def payload(self) -> dict[str, Any]:
        return {"op": 0, "s": self.number, "t": self.name, "d": self.data}


@dataclass(slots=True, eq=False)
class Session:
    """One session. `queue` is what the present connection has still to send; None: nobody is connected."""

    user: User
    intents: int
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    number: int = 0
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=_KEPT_EVENTS))
    queue: asyncio.Queue[Event] | None = None
    left_at: float = 0.0  # when the connection was lost, by the emulator's clock

    def dispatch(self, name: str, data: dict[str, Any]) -> None:
        """Numbers an event, keeps it for a RESUME, and hands it to the connection if there is one."""
        self.number += 1
        event = Event(self.number, name, data)
        self.events.append(event)
        if self.queue is not None:
            self.queue.put_nowait(event)

    def attach(self) -> asyncio.Queue[Event]:
        """A new connection takes over."""
        self.queue = asyncio.Queue()
        return self.queue

    def missed(self, seen: int) -> list[Event] | None:
        """The events after number `seen`; None if they are no longer all there."""
        if seen > self.number or (self.events and seen < self.events[0].number - 1):
            return None
        return [event for event in self.events if event.number > seen]


def disallowed(user: User, intents: int) -> bool:
    """Whether these intents include a privileged one that this application was not granted."""
    refused = (0 if user.message_content else MESSAGE_CONTENT) | (
        0 if user.members else GUILD_MEMBERS | GUILD_PRESENCES
    )
    return user.bot and bool(intents & refused)
