"""The values of the catalogue: clips, who posted them, where. Threading: pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Look(enum.StrEnum):
    """How far a clip's frames have been looked at."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    """It cannot be read as a video: `look_error` says why, and it is not tried again."""


@dataclass(frozen=True, slots=True)
class Poster:
    """Who posted clips. `icon`: the hash of the avatar as Discord names it, "" without one; `name` is the
    user's name, `display` what people see."""

    id: int
    name: str
    display: str = ""
    icon: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A channel or thread with clips. `parent`: of a thread its channel, else 0; `guild` 0: direct
    messages."""

    channel: int
    name: str
    guild: int = 0
    guild_name: str = ""
    parent: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the frames tell. Seconds, pixels; None where it is not known."""

    runtime: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str = ""
    has_audio: bool | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """One video. `id` is the attachment's: the key. `alias` is the predecessor's `Id`: eight hex digits,
    which collide. `message` and `channel`: where it was met (of a forwarded one: where it was forwarded to),
    `poster` who posted that. Times in epoch ns of Discord (`edited_ns`, `deleted_ns` 0: never; `expires_ns`
    0: unknown). `url` is the newest link, with its signature: good until `expires_ns`, never the truth.
    `kept`: the SHA-256 of the copy of the video that was kept, "" without one."""

    id: int
    alias: str
    message: int
    channel: int
    poster: int
    posted_ns: int
    filename: str
    content_type: str
    size: int
    url: str
    expires_ns: int
    description: str = ""
    is_forwarded: bool = False
    edited_ns: int = 0
    deleted_ns: int = 0
    facts: Facts = field(default_factory=Facts)
    look: Look = Look.WAITING
    look_error: str = ""
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A clip as it was met in a message, with who posted it and where."""

    clip: Clip
    poster: Poster
    place: Place


@dataclass(frozen=True, slots=True)
class Named:
    """A clip and the names of its directories and file in clips/."""

    clip: Clip
    guild: str
    channel: str
    name: str
    poster: str
