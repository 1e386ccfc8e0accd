"""Fills a new server with a little of everything, for trials, screenshots and whoever claims to read it all;
a second call changes nothing.

What is made stands in `seed_data`. Everything goes the way that a client's posts go, so that nothing seeded
can be what Discord would not have. The emulator's clock stands in the past meanwhile. Threading: event loop
only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import (
    channels,
    emojis,
    forwards,
    payloads,
    permissions,
    posting,
    routes_pins,
    routes_polls,
    seed_data,
    threads,
)
from .bodies import Form
from .clock import Clock
from .context import Context
from .drafts import Addition, draft
from .files import Upload
from .model import (
    DM,
    POST_CHANNELS,
    PRIVATE_THREAD,
    THREAD_NOTICE,
    Ban,
    Channel,
    Emoji,
    Invite,
    Message,
    Overwrite,
    Role,
    Sticker,
    User,
    Webhook,
)
from .pictures import png
from .routes_reactions import react
from .routes_threads import start_at
from .routes_webhooks import signed
from .seed_data import Notice, Person, Place, Post, Talk
from .snowflake import SnowflakeMaker
from .urls import HERE
from .world import new_token

_DAY_S = 86_400.0
_OLDEST = 399.0  # days; the guild is from the day before
_MARK = "seeded"  # the key of the fact that this was done
_PERSON = re.compile(r"\{person:(\w+)\}")
_NAMED = re.compile(r"\{(\w+):([^{}]+)\}")
_ICON = "0123456789abcdef0123456789abcdef"


async def seed_server(context: Context) -> None:
    """Makes people, channels, threads and messages of all kinds, unless this directory has them already."""
    if await context.store.run(lambda database: database.meta(_MARK)) is not None:
        return
    with _past(context) as clock:
        seeding = _Seeding(context, clock)
        await seeding.people()
        await seeding.places()
        await seeding.belongings()
        happenings: list[Post | Talk | Notice] = []
        happenings += (*seed_data.POSTS, *seed_data.TALKS, *seed_data.NOTICES)
        for each in sorted(happenings, key=lambda each: -each.days_ago):
            await seeding.happen(each)
        await seeding.end()
    await context.store.run(lambda database: database.set_meta(_MARK, "1"))


class _Past:
    """A clock that stands, and is set forward to days that lie closer and closer."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.now()
        self.clock = Clock(self._now - _OLDEST * _DAY_S, monotonic=lambda: 0.0)

    def go_to(self, days_ago: float) -> None:
        self.clock.advance(max(0.0, self._now - days_ago * _DAY_S - self.clock.now()))


@contextmanager
def _past(context: Context) -> Iterator[_Past]:
    """Within it, ids and times are those of the past."""
    clock, ids, past = context.clock, context.ids, _Past(context.clock)
    context.clock, context.ids = past.clock, SnowflakeMaker(past.clock.now_ms)
    try:
        yield past
    finally:
        context.clock, context.ids = clock, ids


class _Seeding:
    """What has been made so far, by the names that it has in the tables."""

    def __init__(self, context: Context, past: _Past) -> None:
        self._context = context
        self._world = context.world
        self._past = past
        self._users: dict[str, User] = {context.world.bot.name: context.world.bot}
        self._roles: dict[str, Role] = {}
        self._channels: dict[str, int] = {each.name: each.id for each in context.world.channels.values()}
        self._invites: dict[str, str] = {}
        self._hooks: dict[tuple[str, str], Webhook] = {}
        self._messages: dict[str, Message] = {}
        self._crowd: list[User] = []

    # --- people and places

    async def people(self) -> None:
        """Roles, then who has them; the bot may read all that there is, but for what shuts it out."""
        for name, color in seed_data.ROLES.items():
            icon = _ICON if name == "Choir" else None
            self._roles[name] = Role(
                self._context.ids.next(), name, 0, color=color, icon=icon, hoist=bool(color)
            )
            await self._world.put_role(self._roles[name])
        own = self._world.roles[self._world.bot.role_ids[0]]
        await self._world.put_role(replace(own, permissions=own.permissions | permissions.ARCHIVIST))
        await self._world.put_guild(replace(self._world.guild, icon=_ICON))
        for person in seed_data.PEOPLE:
            self._users[person.name] = await self._person(person)
        for number in range(seed_data.CROWD):
            self._crowd.append(await self._person(Person(f"crowd{number:03}")))

    async def _person(self, person: Person) -> User:
        user = User(
            id=self._context.ids.next(),
            name=person.name,
            token=new_token(),
            bot=person.bot,
            role_ids=tuple(self._roles[each].id for each in person.roles),
            display=person.display,
            nick=person.nick,
            avatar=person.avatar,
            guild_avatar=_ICON if person.boosts else None,
            boosting_ms=self._context.clock.now_ms() if person.boosts else None,
        )
        await self._world.put_user(user)
        return user

    async def places(self) -> None:
        """Channels of every kind, and direct messages between the bot and one person."""
        for place in seed_data.PLACES:
            await self._place(place)
        pair = (self._world.bot.id, self._users["anna"].id)
        private = Channel(self._context.ids.next(), DM, "", recipients=pair)
        await self._world.put_channel(private)
        self._channels["dm:anna"] = private.id

    async def _place(self, place: Place) -> None:
        body: dict[str, object] = {"name": place.name, "type": place.kind, "nsfw": place.nsfw}
        body |= {"topic": place.topic} if place.topic is not None else {}
        body |= {"parent_id": str(self._channels[place.parent])} if place.parent is not None else {}
        body |= {"available_tags": [{"name": each, "emoji_name": "🏷️"} for each in place.tags]}
        made = channels.new(self._context.ids.next(), body, self._world, permissions.ALL)
        shut = 0
        for each in place.shut:
            shut |= permissions.NAMED[each]
        if shut:
            made = replace(made, overwrites=(Overwrite(self._world.bot.role_ids[0], 0, deny=shut),))
        await self._world.put_channel(made)
        self._channels[place.key or place.name] = made.id

    async def belongings(self) -> None:
        """Emojis, stickers, webhooks, invites, a ban."""
        ids, anna = self._context.ids, self._users["anna"].id
        for name, animated in seed_data.EMOJIS.items():
            await self._world.emojis.put(Emoji(ids.next(), name, anna, animated))
        for name, form in seed_data.STICKERS.items():
            await self._world.stickers.put(Sticker(ids.next(), name, anna, form, f"A {name}", name))
        for channel, name in {
            (each.channel, each.author[5:]) for each in seed_data.POSTS if each.author[:5] == "hook:"
        }:
            hook = Webhook(ids.next(), self._channels[channel], name, anna, new_token(), _ICON)
            self._hooks[channel, name] = hook
            await self._world.webhooks.put(hook)
        follower = Webhook(
            ids.next(), self._channels["twins-1"], "Elsewhere #news", anna, kind=2, source_id=1
        )
        await self._world.webhooks.put(follower)
        await self._invite("home", "general", max_age=0)
        await self._invite("expired", "general", max_age=3600)
        await self._invite("limited", "lounge", max_age=0, max_uses=10, uses=3)
        await self._invite("away", "general", max_age=0, elsewhere=f"Elsewhere {seed_data.SCRIPT}")

    async def _invite(self, name: str, channel: str, **more: Any) -> None:
        place = self._context.ids.next() if "elsewhere" in more else self._channels[channel]
        code = f"{name}{self._world.guild.id % 10**6}"
        now = self._context.clock.now_ms()
        await self._world.invites.put(Invite(code, place, self._users["anna"].id, now, **more))
        self._invites[name] = code

    # --- what happened, day by day

    async def happen(self, what: Post | Talk | Notice) -> None:
        """Goes to its day, and makes it."""
        self._past.go_to(what.days_ago)
        if isinstance(what, Post):
            await self._post(what)
        elif isinstance(what, Talk):
            await self._talk(what)
        else:
            channel, author = self._channel(what.channel), self._users[what.author]
            more = self._filled(what.more)
            await posting.system(self._context, author, channel, what.kind, more, what.content)

    def _channel(self, key: str) -> Channel:
        """The channel or thread as it is now."""
        found = self._world.find(self._channels[key])
        assert found is not None, key
        return found

    async def _post(self, post: Post) -> None:
        channel = self._channel(post.channel)
        author, addition = self._author(post)
        body = self._filled(dict(post.more) | {"content": post.content})
        if post.stickers:
            by_name = {each.name: str(each.id) for each in self._world.stickers}
            body["sticker_ids"] = [by_name[each] for each in post.stickers]
        if post.reply_to:
            body["message_reference"] = {"message_id": str(self._messages[post.reply_to].id)}
        if post.forward_of:
            source = self._messages[post.forward_of]
            body["message_reference"] = {
                "type": 1, "channel_id": str(source.channel_id), "message_id": str(source.id),
            }  # fmt: skip
            addition = await forwards.prepared(self._context, author, body["message_reference"])
        checked = draft(await self._form(body, post.files))
        await threads.enter(self._context, author, channel)
        message = await posting.create(self._context, author, channel, checked, addition)
        self._messages[post.key or f"{post.channel} {post.days_ago}"] = message
        await self._after(post, self._channel(post.channel), author, message)

    def _author(self, post: Post) -> tuple[User, Addition]:
        if not post.author.startswith("hook:"):
            return self._users[post.author], Addition()
        hook = self._hooks[post.channel, post.author[5:]]
        author = User(hook.id, hook.name, "", avatar=hook.avatar)
        return author, Addition(signed(author, post.more))

    async def _after(self, post: Post, channel: Channel, author: User, message: Message) -> None:
        """What others made of a post, soon after it."""
        for symbol, names in post.reactions:
            text = self._emoji(symbol.removeprefix("!"))
            one = emojis.named(text, self._world)
            for user in self._some(names):
                await react(self._context, channel, message, user, one, symbol.startswith("!"))
        for name, answers in post.votes:
            for user in self._some((name,)):
                current = await self._now(message)
                await routes_polls.cast(self._context, channel, current, user, answers)
        self._past.clock.advance(60)
        if post.edited is not None:
            await posting.edit(self._context, message, draft(Form({"content": post.edited})))
        if post.pinned:
            await routes_pins.pin_now(self._context, author, channel, message)
        if post.ended:
            await routes_polls.end(self._context, author, channel, await self._now(message))

    def _some(self, names: Sequence[str]) -> list[User]:
        return [user for name in names for user in (self._crowd if name == "*" else [self._users[name]])]

    async def _now(self, message: Message) -> Message:
        key = message.channel_id, message.id
        return await self._context.store.run(lambda database: database.message(*key)) or message

    async def _talk(self, talk: Talk) -> None:
        """Starts a thread the way that its channel has it."""
        context, parent, owner = self._context, self._channel(talk.parent), self._users[talk.owner]
        tags = [str(each.id) for each in parent.tags if each.name in talk.tags]
        body: dict[str, Any] = {"name": talk.name, "applied_tags": tags}
        message = None if talk.of is None else await self._now(self._messages[talk.of])
        if message is not None:
            thread = await start_at(context, parent, owner, message, body)
        else:
            thread = threads.new(
                context, parent, owner, threads.kind_for(parent, talk.kind), body, context.ids.next()
            )
            await threads.keep(context, thread)
        self._channels[talk.key] = thread.id
        if parent.kind in POST_CHANNELS:
            checked = draft(await self._form({"content": talk.first}, talk.files))
            await posting.create(context, owner, thread, checked, message_id=thread.id)
        elif message is None and talk.kind != PRIVATE_THREAD:
            reference = {"type": 0, "channel_id": str(thread.id), "guild_id": str(self._world.guild.id)}
            extra = {"message_reference": reference}
            await posting.system(context, owner, parent, THREAD_NOTICE, extra, thread.name)
        for name in talk.members:
            await threads.join(context, self._channel(talk.key), self._users[name].id)

    async def end(self) -> None:
        """What is archived, deleted or left in the end, on the last day."""
        self._past.go_to(0.5)
        for post in seed_data.POSTS:
            if post.deleted:
                message = self._messages[post.key or f"{post.channel} {post.days_ago}"]
                await posting.delete(self._context, self._channel(post.channel), [message.id])
        owner = self._world.users[self._world.guild.owner_id]
        for talk in seed_data.TALKS:
            thread = self._channel(talk.key)
            if talk.archived and thread.thread is not None:
                self._past.clock.advance(60)
                body = {"archived": True, "locked": talk.locked}
                changed = threads.changed(self._context, owner, thread, body, thread.thread)
                await threads.change(self._context, changed)
        for person in seed_data.PEOPLE:
            if not person.member:
                user = self._users[person.name]
                await self._world.leave(user)
                await self._world.bans.put(Ban(user.id, f"Left {seed_data.SCRIPT}"))

    # --- bodies

    def _emoji(self, symbol: str) -> str:
        """How a path names this emoji: one of the guild's by its name."""
        own = next((each for each in self._world.emojis if each.name == symbol), None)
        return symbol if own is None else f"{own.name}:{own.id}"

    def _filled(self, value: Any) -> Any:
        """With what the names in braces stand for."""
        if isinstance(value, dict):
            return {key: self._filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._filled(each) for each in value]
        if not isinstance(value, str):
            return value
        person = _PERSON.fullmatch(value)
        if person is not None:
            return payloads.user(self._users[person[1]])
        return _NAMED.sub(self._meant, value).replace("{cdn}", HERE)

    def _meant(self, match: re.Match[str]) -> str:
        kind, name = match[1], match[2]
        if kind == "emoji":
            own = next(each for each in self._world.emojis if each.name == name)
            return f"<{'a' if own.animated else ''}:{own.name}:{own.id}>"
        if kind == "invite":
            return self._invites[name]
        if kind == "channel":
            return str(self._channels[name])
        return str(self._users[name].id if kind == "user" else self._roles[name].id)

    async def _form(self, body: dict[str, Any], names: Sequence[str]) -> Form:
        uploads = await asyncio.get_running_loop().run_in_executor(None, self._uploads, names)
        return Form(body, {f"files[{number}]": each for number, each in enumerate(uploads)})

    def _uploads(self, names: Sequence[str]) -> list[Upload]:
        return [_upload(self._context.files.new_incoming(), name, n) for n, name in enumerate(names)]


def _upload(path: Path, name: str, number: int) -> Upload:
    """A file that fits its name; files of one name have not the same bytes."""
    from . import seed_films  # here, as FFmpeg's libraries are large, and few emulators seed

    name, _, version = name.partition("#")
    content = (
        b"" if name.startswith("empty") else f"{name} {number}: made up by the emulator\n".encode() * 400
    )
    if name in seed_films.FILMS:
        content = seed_films.film(name, version)
    path.write_bytes(_sea() if name.endswith(".png") else content)
    return Upload(path, name, path.stat().st_size, seed_films.claimed(name))


def _sea(width: int = 160, height: int = 90) -> bytes:
    """A picture of a sky over water."""
    return png(width, [bytes((90 + y, 130 + y // 2, 220 - y)) * width for y in range(height)])
