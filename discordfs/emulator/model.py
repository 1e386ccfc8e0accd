"""The things that the emulator keeps: users, roles, channels, messages, attachments.

Times are epoch milliseconds of the emulator's clock. Threading: all immutable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TEXT, VOICE, CATEGORY, ANNOUNCEMENT, FORUM = 0, 2, 4, 5, 15
CHANNEL_TYPES = frozenset({TEXT, VOICE, CATEGORY, ANNOUNCEMENT, FORUM})
MESSAGE_CHANNELS = frozenset({TEXT, VOICE, ANNOUNCEMENT})  # those that messages can be posted in
DEFAULT_MESSAGE, PIN_NOTICE = 0, 6  # message types


@dataclass(frozen=True, slots=True)
class User:
    """A bot or a person. Bots authenticate with `Bot TOKEN`, people with the bare token."""

    id: int
    name: str
    token: str
    bot: bool = True
    message_content: bool = True  # the privileged intent: without it, what others wrote arrives empty
    members: bool = True  # the privileged intents for members and presences
    role_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the guild; @everyone has the guild's id."""

    id: int
    name: str
    permissions: int
    managed: bool = False


@dataclass(frozen=True, slots=True)
class Overwrite:
    """A channel's exception for a role (kind 0) or a member (kind 1): bits allowed and denied."""

    id: int
    kind: int
    allow: int = 0
    deny: int = 0


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of the guild. `last_message_id` only grows, as on Discord: it may name a deleted
    message.
    """

    id: int
    kind: int
    name: str
    position: int = 0
    parent_id: int | None = None
    topic: str | None = None
    nsfw: bool = False
    rate_limit_per_user: int = 0
    last_message_id: int | None = None
    last_pin_ms: int | None = None
    overwrites: tuple[Overwrite, ...] = ()


@dataclass(frozen=True, slots=True)
class Guild:
    """The one server of the emulator."""

    id: int
    name: str
    owner_id: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """A stored file; its bytes lie in the attachment folder under its id."""

    id: int
    filename: str
    size: int  # bytes, as stored
    content_type: str | None = None
    description: str | None = None
    title: str | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message with its attachments. `extra` holds the parts of the JSON nothing here looks into
    (embeds …).
    """

    id: int
    channel_id: int
    author_id: int
    content: str = ""
    kind: int = DEFAULT_MESSAGE
    flags: int = 0
    tts: bool = False
    nonce: str | None = None
    edited_ms: int | None = None
    pinned_ms: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
