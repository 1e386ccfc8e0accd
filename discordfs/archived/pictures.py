"""What a message shows beside its words, by the keys that the media store has it under.

The same keys as a capture keeps files under (docs/FORMAT.md, "media"): attachments, embeds' pictures,
avatars, custom emojis, stickers; those of what it forwards and answers too. Threading: pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from discordfs.archived import people
from discordfs.archived.records import whole_number

_CUSTOM_EMOJI = re.compile(r"<a?:\w{1,64}:(\d{15,20})>")
_PICTURE = re.compile(r"[A-Za-z0-9_]{1,100}")


def keys_of(value: Mapping[str, Any]) -> list[str]:
    """Each once, in the order in which the message shows them."""
    return list(dict.fromkeys(_keys(value)))


def _keys(value: Mapping[str, Any]) -> Iterator[str]:
    own = (value, *people.snapshots(value))
    for body in filter(None, (*own, people.thing(value, "referenced_message"))):
        yield avatar_key(people.author(body))
        yield from map(emoji_key, _CUSTOM_EMOJI.findall(people.text(body, "content")))
    for body in own:
        yield from map(attachment_key, people.things(body, "attachments"))
        yield from (
            embed_key(embed, part)
            for embed in people.things(body, "embeds")
            for part in ("image", "thumbnail")
        )
        yield from map(sticker_key, people.things(body, "sticker_items"))
    for reaction in people.things(value, "reactions"):
        yield emoji_key(people.thing(reaction, "emoji").get("id"))


def attachment_key(attachment: Mapping[str, Any]) -> str:
    """Empty, as with the others, where there is nothing that could have a file."""
    number = whole_number(attachment.get("id"))
    return "" if number is None else f"attachment:{number}"


def avatar_key(user: Mapping[str, Any]) -> str:
    picture = people.text(user, "avatar")
    number = whole_number(user.get("id")) if picture else None
    return f"avatar:{number}:{picture}" if number is not None and _PICTURE.fullmatch(picture) else ""


def emoji_key(number: object) -> str:
    found = whole_number(number)
    return "" if found is None else f"emoji:{found}"


def sticker_key(sticker: Mapping[str, Any]) -> str:
    number = whole_number(sticker.get("id"))
    return "" if number is None else f"sticker:{number}"


def embed_key(embed: Mapping[str, Any], part: str) -> str:
    """Of Discord's own copy of a picture, which is what captures keep."""
    url = people.text(people.thing(embed, part), "proxy_url")
    try:
        path = urlsplit(url).path
    except ValueError:  # brackets that are no address
        return ""
    return f"embed:{hashlib.sha256(path.encode('utf-8', 'replace')).hexdigest()}" if path else ""
