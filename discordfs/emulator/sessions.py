"""Gateway sessions: their intents, their numbered events, and the buffer that a RESUME is served from.

A session outlives its connection for a while, and then only in memory: after a restart of the emulator
every RESUME is answered with INVALID_SESSION, as Discord does now and then. Threading: event loop only.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
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
_SESSION_LIFE = 300.0  # seconds that a session waits for a RESUME
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """A dispatch: its number within the session, its name, its data."""

    number: int
    name: str
    data: Json

    def payload(self) -> Json:
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

    def dispatch(self, name: str, data: Json) -> None:
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


class Sessions:
    """All sessions."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self.identifies: list[float] = []  # when sessions were begun, for the daily limit
        self.hang_ups: set[Callable[[int], None]] = set()  # closes one connection with this code

    def begin(self, user: User, intents: int, now: float) -> Session:
        """A new session."""
        self._forget_old(now)
        session = Session(user, intents)
        self._sessions[session.id] = session
        return session

    def find(self, session_id: str, user: User, now: float) -> Session | None:
        """The session to resume, if it is this user's and still alive."""
        self._forget_old(now)
        session = self._sessions.get(session_id)
        return session if session is not None and session.user.id == user.id else None

    def end(self, session: Session) -> None:
        """Ends a session for good."""
        self._sessions.pop(session.id, None)

    def _forget_old(self, now: float) -> None:
        for session in list(self._sessions.values()):
            if session.queue is None and session.left_at < now - _SESSION_LIFE:
                self.end(session)

    def forget_all(self) -> None:
        """No session can be resumed any more, those whose connection is just being closed included."""
        self._sessions.clear()

    def starts_left(self, now: float, limit: int) -> int:
        """How many sessions may still be begun today."""
        self.identifies = [each for each in self.identifies if each > now - 86_400]
        return max(0, limit - len(self.identifies))

    def hang_up(self, code: int) -> int:
        """Closes every connection with this code; how many there were."""
        closers = list(self.hang_ups)
        for close in closers:
            close(code)
        return len(closers)

    @property
    def connected(self) -> int:
        return sum(session.queue is not None for session in self._sessions.values())

    def tell(self, name: str, intent: int, data: Json) -> None:
        """An event of the guild as a whole, to those with this intent."""
        for session in self.with_intent(intent):
            session.dispatch(name, data)

    def tell_user(self, user_id: int, name: str, data: Json, without: int = 0) -> None:
        """An event that is about this user, whatever their intents; not to sessions with the intent
        `without`, which hear of it as others do.
        """
        for session in self.with_intent(GUILDS):
            if session.user.id == user_id and not session.intents & without:
                session.dispatch(name, data)

    def tell_all(self, name: str, data: Json) -> int:
        """Any event to everybody; how many sessions there are."""
        for session in self._sessions.values():
            session.dispatch(name, data)
        return len(self._sessions)

    def with_intent(self, intent: int) -> list[Session]:
        return [session for session in self._sessions.values() if session.intents & intent]


def disallowed(user: User, intents: int) -> bool:
    """Whether these intents include a privileged one that this application was not granted."""
    refused = (0 if user.message_content else MESSAGE_CONTENT) | (
        0 if user.members else GUILD_MEMBERS | GUILD_PRESENCES
    )
    return user.bot and bool(intents & refused)
