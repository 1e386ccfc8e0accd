"""Who may do what where: permission bits, and how roles and overwrites combine (Discord's documents,
"Permissions").

Threading: pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from .model import Overwrite, Role, User

CREATE_INVITE = 1 << 0
BAN_MEMBERS = 1 << 2
ADMINISTRATOR = 1 << 3
MANAGE_CHANNELS = 1 << 4
MANAGE_GUILD = 1 << 5
ADD_REACTIONS = 1 << 6
VIEW_CHANNEL = 1 << 10
SEND_MESSAGES = 1 << 11
MANAGE_MESSAGES = 1 << 13
EMBED_LINKS = 1 << 14
ATTACH_FILES = 1 << 15
READ_MESSAGE_HISTORY = 1 << 16
MANAGE_ROLES = 1 << 28
MANAGE_WEBHOOKS = 1 << 29
MANAGE_EXPRESSIONS = 1 << 30
MANAGE_THREADS = 1 << 34
CREATE_PUBLIC_THREADS = 1 << 35
CREATE_PRIVATE_THREADS = 1 << 36
SEND_MESSAGES_IN_THREADS = 1 << 38
SEND_POLLS = 1 << 49
PIN_MESSAGES = 1 << 51
ALL = (1 << 53) - 1

_WORDS = VIEW_CHANNEL | SEND_MESSAGES | EMBED_LINKS | ATTACH_FILES | READ_MESSAGE_HISTORY | ADD_REACTIONS
EVERYONE = (
    _WORDS
    | CREATE_INVITE
    | CREATE_PUBLIC_THREADS
    | CREATE_PRIVATE_THREADS
    | SEND_MESSAGES_IN_THREADS
    | SEND_POLLS
)
DEFAULT_BOT = EVERYONE | MANAGE_CHANNELS | MANAGE_MESSAGES | MANAGE_ROLES | MANAGE_THREADS | PIN_MESSAGES
ARCHIVIST = DEFAULT_BOT | MANAGE_GUILD | MANAGE_WEBHOOKS | MANAGE_EXPRESSIONS | BAN_MEMBERS
IN_PRIVATE = _WORDS | PIN_MESSAGES | SEND_POLLS  # what two who write to each other may do
# The names that the control endpoint takes for one channel.
NAMED = {
    "view": VIEW_CHANNEL,
    "send": SEND_MESSAGES,
    "attach": ATTACH_FILES,
    "read_history": READ_MESSAGE_HISTORY,
    "manage_messages": MANAGE_MESSAGES,
    "manage_channel": MANAGE_CHANNELS,
    "pin": PIN_MESSAGES,
    "react": ADD_REACTIONS,
    "manage_threads": MANAGE_THREADS,
    "manage_webhooks": MANAGE_WEBHOOKS,
}


def in_guild(user: User, roles: Iterable[Role], guild_id: int, owner_id: int) -> int:
    """A member's permissions before any channel has its say."""
    if user.id == owner_id:
        return ALL
    if not user.member:
        return 0
    held = {guild_id, *user.role_ids}
    granted = 0
    for role in roles:
        if role.id in held:
            granted |= role.permissions
    return ALL if granted & ADMINISTRATOR else granted


def in_channel(base: int, user: User, guild_id: int, overwrites: Iterable[Overwrite]) -> int:
    """`base` after a channel's overwrites: @everyone's, then those of all roles together, then the
    member's.
    """
    if base == ALL:
        return ALL
    everyone, roles, member = Overwrite(0, 0), Overwrite(0, 0), Overwrite(0, 1)
    for overwrite in overwrites:
        if overwrite.kind == 1:
            member = overwrite if overwrite.id == user.id else member
        elif overwrite.id == guild_id:
            everyone = overwrite
        elif overwrite.id in user.role_ids:
            roles = Overwrite(0, 0, roles.allow | overwrite.allow, roles.deny | overwrite.deny)
    for layer in (everyone, roles, member):
        base = base & ~layer.deny | layer.allow
    return _implied(base)


def in_thread(held: int) -> int:
    """What `held` in a channel comes to in its threads."""
    writes = SEND_MESSAGES if held & SEND_MESSAGES_IN_THREADS else 0
    return held & ~SEND_MESSAGES | writes


def _implied(permissions: int) -> int:
    if not permissions & VIEW_CHANNEL:
        return 0
    if not permissions & SEND_MESSAGES:
        return permissions & ~(ATTACH_FILES | EMBED_LINKS)
    return permissions
