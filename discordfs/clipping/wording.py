"""A message's text as people read it: mentions by name, as discord.py's clean_content has it.

Of users the name that they have on the server, as far as the message tells; whoever nobody knows is
"deleted", as there. Nothing in the result mentions anybody. Threading: pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from discordfs.archived.people import text, thing, things, user_name
from discordfs.archived.records import whole_number

_MENTION = re.compile(r"<(@[!&]?|#)(\d{15,20})>")
_CALL = re.compile(r"@(?=everyone|here|[!&]?\d{17,20})")
_APART = "@\u200b"
"""A sign that nobody sees, so that the word behind it calls nobody."""


@dataclass(frozen=True, slots=True)
class Known:
    """Names of roles and channels by their ids."""

    roles: Mapping[int, str] = field(default_factory=dict)
    channels: Mapping[int, str] = field(default_factory=dict)


def clean_text(message: Mapping[str, Any], known: Known) -> str:
    """The text of a message or of a forwarded one."""
    people = {whole_number(each.get("id")): _called(each) for each in things(message, "mentions")}
    crossed = {
        whole_number(each.get("id")): text(each, "name") for each in things(message, "mention_channels")
    }

    def named(match: re.Match[str]) -> str:
        number = int(match[2])
        if match[1] == "#":
            return f"#{known.channels.get(number) or crossed.get(number) or 'deleted-channel'}"
        if match[1] == "@&":
            return f"@{known.roles.get(number) or 'deleted-role'}"
        return f"@{people.get(number) or 'deleted-user'}"

    return _CALL.sub(_APART, _MENTION.sub(named, text(message, "content")))


def _called(user: Mapping[str, Any]) -> str:
    return text(thing(user, "member"), "nick") or user_name(user)
