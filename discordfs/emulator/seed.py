"""Fills a new server with a little of everything, for trials and screenshots; a second call changes
nothing.

What is made is a table at the top; it grows there. Everything goes the way that a client's posts go, so
that nothing seeded can be what Discord would not have. Threading: event loop only.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import channels, posting, snowflake
from .bodies import Form
from .context import Context
from .drafts import draft
from .files import Upload
from .model import CATEGORY, TEXT, Channel, User
from .permissions import ALL
from .snowflake import SnowflakeMaker
from .world import new_token

_DAY_MS = 86_400_000
_MARK = "seeded"  # the key of the fact that this was done


@dataclass(frozen=True, slots=True)
class Post:
    """A message to be made: by whom, so many days ago, with files by name."""

    channel: str
    author: str
    days_ago: float
    content: str
    files: tuple[str, ...] = ()


PEOPLE = ("anna", "bruno")
CATEGORIES: dict[str, tuple[str, ...]] = {"Talk": ("lounge", "clips"), "Work": ("notes",)}
POSTS = (
    Post("general", "anna", 40, "Hello, is this thing on?"),
    Post("general", "bruno", 39.9, "It is. Files go to clips, everything else stays here."),
    Post("lounge", "anna", 20, "A picture from the trip.", ("harbour.png",)),
    Post("lounge", "bruno", 19, "Nice! Was it that cold?"),
    Post("clips", "bruno", 12, "First try", ("first-try.mp4",)),
    Post("clips", "anna", 11, "Two takes, pick one", ("take-1.MP4", "take-2.webm")),
    Post("clips", "bruno", 3, "Not a clip at all", ("sources.mp4.zip",)),
    Post("notes", "anna", 2, "Shopping list", ("list.txt",)),
    Post("notes", "bruno", 1, "Done: everything but the coffee."),
)


async def seed_server(context: Context) -> None:
    """Makes channels, people, and messages with files, unless this directory has them already."""
    if await context.store.run(lambda database: database.meta(_MARK)) is not None:
        return
    people = {name: await _person(context, name) for name in PEOPLE}
    places = await _places(context)
    for post in sorted(POSTS, key=lambda each: -each.days_ago):
        await _post(context, places[post.channel], people[post.author], post)
    await context.store.run(lambda database: database.set_meta(_MARK, "1"))


async def _person(context: Context, name: str) -> User:
    user = User(context.ids.next(), name, new_token(), bot=False)
    await context.world.put_user(user)
    return user


async def _places(context: Context) -> dict[str, Channel]:
    for category, names in CATEGORIES.items():
        parent = await _channel(context, {"name": category, "type": CATEGORY})
        for name in names:
            await _channel(context, {"name": name, "type": TEXT, "parent_id": str(parent.id)})
    return {each.name: each for each in context.world.channels.values()}


async def _channel(context: Context, body: dict[str, object]) -> Channel:
    channel = channels.new(context.ids.next(), body, context.world, ALL)
    await context.world.put_channel(channel)
    return channel


async def _post(context: Context, channel: Channel, author: User, post: Post) -> None:
    """Posts as a client would, but with ids of the day it is said to be from."""
    uploads = await asyncio.get_running_loop().run_in_executor(None, _uploads, context, post.files)
    form = Form({"content": post.content}, {f"files[{n}]": each for n, each in enumerate(uploads)})
    then = context.clock.now_ms() - int(post.days_ago * _DAY_MS)
    ids, context.ids = context.ids, SnowflakeMaker(lambda: then, snowflake.first_of(then))
    try:
        await posting.create(context, author, channel, draft(form))
    finally:
        context.ids = ids


def _uploads(context: Context, names: Sequence[str]) -> list[Upload]:
    return [_upload(context.files.new_incoming(), name) for name in names]


def _upload(path: Path, name: str) -> Upload:
    content = _png() if name.endswith(".png") else f"{name}: made up by the emulator\n".encode() * 400
    path.write_bytes(content)
    return Upload(path, name, len(content), None)


def _png(width: int = 160, height: int = 90) -> bytes:
    """A picture of a sky over water."""
    rows = b"".join(b"\0" + bytes((90 + y, 130 + y // 2, 220 - y)) * width for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in parts)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
