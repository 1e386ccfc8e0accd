"""What there is to capture: kinds of channels, and what a channel's object says of it. Threading: pure.

Source: Discord's documents, "Channel Types".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from discordfs.archived.runs import THREAD_TYPES

DIRECT_MESSAGES = frozenset({1, 3})
HOLDS_MESSAGES = frozenset({0, 1, 2, 3, 5, 13}) | THREAD_TYPES
HOLDS_THREADS = frozenset({0, 5, 15, 16})
WORTH_A_FILE = HOLDS_MESSAGES | HOLDS_THREADS


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel or thread. `guild`: 0 for direct messages; `parent`: of a thread, else 0; `last_message`: 0
    when it says that there was never one, None when it says nothing; `has_pins`: False when it says that
    nothing was ever pinned."""

    id: int
    guild: int
    name: str
    type: int
    parent: int = 0
    last_message: int | None = None
    has_pins: bool = True

    @property
    def is_thread(self) -> bool:
        return self.type in THREAD_TYPES


def channel_of(raw: Mapping[str, Any], guild: int = 0) -> Channel:
    """What Discord says of a channel. Raises KeyError, TypeError, ValueError when it is no channel."""
    kind = int(raw["type"])
    last = int(raw["last_message_id"] or 0) if "last_message_id" in raw else None
    return Channel(
        id=int(raw["id"]),
        guild=int(raw.get("guild_id") or guild),
        name=str(raw.get("name") or _people(raw)),
        type=kind,
        parent=int(raw.get("parent_id") or 0) if kind in THREAD_TYPES else 0,
        last_message=last,
        has_pins=raw.get("last_pin_timestamp", "unknown") is not None,
    )


def _people(raw: Mapping[str, Any]) -> str:
    """Direct messages are called after whom they are with."""
    return ", ".join(str(each.get("username", "")) for each in raw.get("recipients") or ())
