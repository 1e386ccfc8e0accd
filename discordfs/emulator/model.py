"""The things that the emulator keeps: users, roles, channels, threads, messages, attachments, reactions,
emojis, stickers, webhooks, invites.

Times are epoch milliseconds of the emulator's clock. Threading: all immutable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DM, GROUP_DM = 1, 3
TEXT, VOICE, CATEGORY, ANNOUNCEMENT, STAGE, FORUM, MEDIA = 0, 2, 4, 5, 13, 15, 16
ANNOUNCEMENT_THREAD, PUBLIC_THREAD, PRIVATE_THREAD = 10, 11, 12
CHANNEL_TYPES = frozenset({TEXT, VOICE, CATEGORY, ANNOUNCEMENT, STAGE, FORUM, MEDIA})  # made in a guild
THREADS = frozenset({ANNOUNCEMENT_THREAD, PUBLIC_THREAD, PRIVATE_THREAD})
PRIVATE = frozenset({DM, GROUP_DM})
POST_CHANNELS = frozenset({FORUM, MEDIA})  # they hold threads alone
THREAD_PARENTS = frozenset({TEXT, ANNOUNCEMENT, FORUM, MEDIA})
# Those that messages can be posted in.
MESSAGE_CHANNELS = frozenset({TEXT, VOICE, ANNOUNCEMENT, STAGE}) | THREADS | PRIVATE

# Types of messages, of which there are more: these are the ones that the emulator makes by itself.
DEFAULT_MESSAGE, PIN_NOTICE, THREAD_NOTICE, REPLY, THREAD_STARTER, POLL_RESULT = 0, 6, 18, 19, 21, 46
HAS_THREAD, HAS_SNAPSHOT = 1 << 5, 1 << 14  # flags of messages


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
    display: str | None = None  # the global name
    nick: str | None = None
    avatar: str | None = None  # hash of a picture that the CDN has
    guild_avatar: str | None = None
    boosting_ms: int | None = None
    member: bool = True  # False: has left the guild, or never was there


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the guild; @everyone has the guild's id."""

    id: int
    name: str
    permissions: int
    managed: bool = False
    color: int = 0
    hoist: bool = False
    mentionable: bool = False
    icon: str | None = None  # hash of a picture
    symbol: str | None = None  # an emoji in place of a picture


@dataclass(frozen=True, slots=True)
class Overwrite:
    """A channel's exception for a role (kind 0) or a member (kind 1): bits allowed and denied."""

    id: int
    kind: int
    allow: int = 0
    deny: int = 0


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that posts of a forum can have."""

    id: int
    name: str
    moderated: bool = False
    emoji: str | None = None  # Unicode


@dataclass(frozen=True, slots=True)
class Thread:
    """What a thread has beyond a channel. It is archived when somebody says so, never by itself."""

    owner_id: int
    created_ms: int
    archived_ms: int  # when `archived` was last changed; at first when it was made
    archived: bool = False
    auto_archive: int = 4320  # minutes; told, not done
    locked: bool = False
    invitable: bool = True
    tag_ids: tuple[int, ...] = ()
    members: tuple[tuple[int, int], ...] = ()  # ids of users, and when they joined

    def has(self, user_id: int) -> bool:
        """Whether this user is a member."""
        return any(member == user_id for member, _ in self.members)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of the guild, a thread (its parent in `parent_id`), or one of direct messages.

    `last_message_id` only grows, as on Discord: it may name a deleted message.
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
    messages: int = 0  # of a thread, those there now; what it was started from does not count
    sent: int = 0  # of a thread, those ever there
    tags: tuple[Tag, ...] = ()
    recipients: tuple[int, ...] = ()
    thread: Thread | None = None


@dataclass(frozen=True, slots=True)
class Guild:
    """The one server of the emulator."""

    id: int
    name: str
    owner_id: int
    icon: str | None = None  # hash of a picture


@dataclass(frozen=True, slots=True)
class Emoji:
    """An emoji of the guild."""

    id: int
    name: str
    user_id: int
    animated: bool = False
    role_ids: tuple[int, ...] = ()
    available: bool = True


@dataclass(frozen=True, slots=True)
class Sticker:
    """A sticker of the guild. `form`: 1 PNG, 2 APNG, 3 Lottie (JSON), 4 GIF."""

    id: int
    name: str
    user_id: int
    form: int = 1
    description: str = ""
    tags: str = "smile"
    available: bool = True


@dataclass(frozen=True, slots=True)
class Webhook:
    """A way to post into a channel without being anybody. `kind`: 1 incoming, 2 follows `source_id`."""

    id: int
    channel_id: int
    name: str
    user_id: int
    token: str = ""
    avatar: str | None = None
    kind: int = 1
    source_id: int | None = None


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation. `elsewhere` is the name of the other server that it leads to, if it leads to one."""

    code: str
    channel_id: int
    user_id: int
    created_ms: int
    max_age: int = 86400  # seconds; 0: for ever
    max_uses: int = 0  # 0: any number
    uses: int = 0
    temporary: bool = False
    elsewhere: str | None = None


@dataclass(frozen=True, slots=True)
class Ban:
    """Somebody who may not come back."""

    id: int  # the user's
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reaction:
    """One emoji under a message, and the users behind it in the order of their ids. `key` is the id of a
    custom emoji, else the emoji itself.
    """

    key: str
    name: str
    animated: bool = False
    normal: tuple[int, ...] = ()
    burst: tuple[int, ...] = ()


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
    forwarded: bool = False  # belongs to the snapshot in a message, not to the message itself


@dataclass(frozen=True, slots=True)
class Message:
    """A message with all that belongs to it. `extra` holds the parts of the JSON that hardly anything
    looks into: embeds, components, poll, message_reference, message_snapshots, author of a webhook's …
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
    reactions: tuple[Reaction, ...] = ()
    votes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # of a poll: answer to users
    referenced: Message | None = None  # what it replies to, while that is there
