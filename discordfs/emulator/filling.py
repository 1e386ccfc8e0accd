"""Many messages, channels, threads, members or reactions at once: for tests of size, in seconds.

It goes past Discord's limit of 500 channels. Nobody hears of it over the gateway. Threading: event loop;
the work itself in the store's thread, which nothing else gets meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import snowflake
from .context import Context
from .database import Database
from .model import PUBLIC_THREAD, TEXT, Channel, Reaction, Thread, User
from .snowflake import SnowflakeMaker

MOST = 2_000_000
THUMB = "👍"
_GAP = 1000 << 22  # a second between two messages
_DAY_MS = 86_400_000
_AGE_MS = 300 * _DAY_MS  # of channels and threads that are made here
_INSERT = """
WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :count)
INSERT INTO messages (id, channel_id, author_id, content, kind, flags, tts, extra)
SELECT :first + n * :gap, :channel, :author, 'Message ' || n || ' of ' || :count, 0, 0, 0, '{}' FROM number
"""
_COUNT = "UPDATE channels SET last_message_id = ?, messages = messages + ?, sent = sent + ? WHERE id = ?"


async def messages(context: Context, channel_ids: Sequence[int], count: int) -> None:
    """`count` messages more for each channel, all by the guild's owner, the last of them as old as now.

    Between two are a second, or less if there was not as much time since the channel was made.
    """
    if not count:
        return
    author, last = context.world.guild.owner_id, context.ids.next()

    def work(database: Database) -> None:
        with database.transaction():
            for place, channel_id in enumerate(channel_ids):
                known = database.sql.execute(
                    "SELECT MAX(id) FROM messages WHERE channel_id = ?", (channel_id,)
                ).fetchone()[0]
                gap = max(1, min(_GAP, (last - max(known or 0, channel_id)) // (count + 1)))
                first = last - count * gap + place % gap  # no two channels have a message of one id
                values = {"count": count, "first": first, "gap": gap, "channel": channel_id, "author": author}
                database.sql.execute(_INSERT, values)
                database.sql.execute(_COUNT, (first + (count - 1) * gap, count, count, channel_id))

    await context.store.run(work)
    await context.world.load()


async def channels(context: Context, count: int) -> list[int]:
    """So many text channels; their ids."""
    ids = _earlier(context, context.world.guild.id)
    blanks = [Channel(ids.next(), TEXT, f"channel-{number}") for number in range(count)]
    return await _keep(context, blanks)


async def threads(context: Context, parent: Channel, count: int, archived: bool) -> list[int]:
    """So many public threads of a channel; their ids."""
    now, owner = context.clock.now_ms(), context.world.guild.owner_id
    ids = _earlier(context, parent.id)
    blanks = [
        Channel(
            id=ids.next(),
            kind=PUBLIC_THREAD,
            name=f"thread {number}",
            parent_id=parent.id,
            thread=Thread(owner, now, now - number, archived, members=((owner, now),)),
        )
        for number in range(count)
    ]
    return await _keep(context, blanks)


def _earlier(context: Context, least: int) -> SnowflakeMaker:
    """Ids from a while ago, above `least`, so that there is time for messages."""
    then = context.clock.now_ms() - _AGE_MS
    after = snowflake.first_of(then + _DAY_MS)
    known = [each for each in (*context.world.channels, *context.world.threads) if each < after]
    return SnowflakeMaker(lambda: then, max([least, *known]))


async def members(context: Context, count: int) -> None:
    """So many people more in the guild."""
    ids = SnowflakeMaker(lambda: context.clock.now_ms() - _AGE_MS, max(context.world.users))
    people = [User(each, f"member{each}", f"member.{each}", bot=False) for each in _some(ids, count)]

    def work(database: Database) -> None:
        with database.transaction():
            for each in people:
                database.put_user(each)

    await context.store.run(work)
    await context.world.load()


def _some(ids: SnowflakeMaker, count: int) -> Iterator[int]:
    return (ids.next() for _ in range(count))


async def reactions(context: Context, message_id: int, count: int) -> None:
    """A thumb under a message, by the first `count` users there are."""
    added, users = context.ids.next(), sorted(context.world.users)[:count]

    def work(database: Database) -> None:
        with database.transaction():
            for each in users:
                database.add_reaction(message_id, Reaction(THUMB, THUMB, normal=(each,)), added)

    await context.store.run(work)


async def _keep(context: Context, blanks: Sequence[Channel]) -> list[int]:
    def work(database: Database) -> None:
        with database.transaction():
            for each in blanks:
                database.put_channel(each)

    await context.store.run(work)
    await context.world.load()
    return [each.id for each in blanks]
