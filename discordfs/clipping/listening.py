"""The gateway's events, as far as clips are concerned, from the loop's thread into a bounded queue.

Whoever is too slow loses events and is told of a gap, as after a session that was lost and not resumed: then
the channels are asked again over HTTP. Threading: frames come on the loop's thread, which only notes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from discordfs.capture.lines import NoJson, decoded
from discordfs.remote.base import Exchange, GatewayApi, GatewayFrame

_ROOM = 10_000
_WANTED = frozenset(
    {"MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE", "MESSAGE_DELETE_BULK"}
    | {"CHANNEL_CREATE", "CHANNEL_UPDATE", "CHANNEL_DELETE"}
    | {"THREAD_CREATE", "THREAD_UPDATE", "THREAD_DELETE", "THREAD_LIST_SYNC"}
    | {"GUILD_CREATE", "GUILD_UPDATE", "GUILD_ROLE_CREATE", "GUILD_ROLE_UPDATE"}
)


@dataclass(frozen=True, slots=True)
class Event:
    """A dispatch of the gateway, by Discord's name."""

    name: str
    data: dict[str, Any]


class Listener:
    """Hears from `begin` until what that returns is called. `room`: events that wait at most."""

    def __init__(self, api: GatewayApi, room: int = _ROOM) -> None:
        self._api = api
        self._events: queue.Queue[Event] = queue.Queue(room)
        self._waiting: set[str] | None = None
        self._sessions = 0
        self._ready = threading.Event()
        self._gap = threading.Event()

    def begin(self) -> Callable[[], None]:
        """Connects."""
        end = self._api.observe(self._observe)
        self._api.connect_gateway()
        return end

    @property
    def is_ready(self) -> bool:
        """The first session stands, and all servers have been told."""
        return self._ready.is_set()

    def be_late(self) -> None:
        """The pages are asked for before the first session stands: what it hid counts as a gap."""
        self._sessions += 1

    def next(self, seconds: float) -> Event | None:
        """The next event within so many seconds."""
        try:
            return self._events.get(timeout=seconds) if seconds > 0 else self._events.get_nowait()
        except queue.Empty:
            return None

    def had_gap(self) -> bool:
        """Whether events may have been missed since this was asked last."""
        found = self._gap.is_set()
        self._gap.clear()
        return found

    # --- on the loop's thread -----------------------------------------------------------------------

    def _observe(self, event: Exchange | GatewayFrame) -> None:
        if not isinstance(event, GatewayFrame) or event.direction == "send":
            return
        try:
            body = decoded(event.data)
        except NoJson:
            return
        if isinstance(body, dict) and isinstance(body.get("d"), dict):
            self._dispatch(str(body.get("t")), body["d"])

    def _dispatch(self, name: str, data: dict[str, Any]) -> None:
        if name == "READY":
            self._sessions += 1
            if self._sessions > 1:
                self._gap.set()
            self._waiting = {str(each["id"]) for each in data.get("guilds") or () if each.get("unavailable")}
        if name in _WANTED:
            try:
                self._events.put_nowait(Event(name, data))
            except queue.Full:
                self._gap.set()
        if name == "GUILD_CREATE" and self._waiting is not None:
            self._waiting.discard(str(data.get("id")))
        if self._waiting is not None and not self._waiting:
            self._ready.set()
