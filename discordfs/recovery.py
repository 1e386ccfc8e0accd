"""A volume, back from Discord alone: found in channels, its log read, an index built of it.

Job: say which volumes the messages of a channel belong to (their trailers tell it in the plain), read a log
from its beginning, and build the index of a drive as of its newest record, beside the place where it is to be
and there at once, by a rename. Limits: memory for the names of the log's messages, and as follower.py.
Errors: ConfigError for a key that does not open the log, MissingError for a log with nothing to begin with,
and Discord's answers. Threading: one thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from discordfs.chunks import layout
from discordfs.chunks.layout import Held
from discordfs.chunkstore import ChunkStore
from discordfs.codec import TRAILER_SIZE, parse_trailer
from discordfs.disk import put_database
from discordfs.errors import (
    ConfigError,
    Damaged,
    DiscordfsError,
    Forbidden,
    FormatError,
    MissingError,
    RemoteGone,
)
from discordfs.fold import FoldState, Gap
from discordfs.follower import Follower
from discordfs.index import Index
from discordfs.logreading import LogReader, Look, when
from discordfs.model import Caller, Kind
from discordfs.records import VolumeEntry
from discordfs.remote.base import Message, MessageStore
from discordfs.remote.loop import Loop

NO_INTENT = (
    "messages in channel {channel} come without their content: another bot wrote them, and this one may not "
    "see what others write. Turn on 'Message Content Intent' for it (Bot, at "
    "https://discord.com/developers/applications), or use the token of the bot that wrote them"
)
"""What to tell a user about a bot without MESSAGE_CONTENT: nothing is damaged."""

_READ_TIMEOUT_S = 60.0
_LOST_NUMBERS = 1024**2
"""More inode and commit numbers than a writer may have given since its last record: none is used twice."""

_HINT = re.compile(r"of volume ([0-9a-f]{32})\.")
_LOG = (Kind.RECORD, Kind.SNAPSHOT, Kind.PART)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Chunks of a volume (its id) among the messages that were looked at: the newest message with any, and
    the newest with a record, 0 without."""

    volume: bytes
    newest: int
    newest_record: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the new index holds: `problems` are sentences about what could not be had back."""

    volume: VolumeEntry
    state: FoldState
    files: int
    bytes: int
    problems: tuple[str, ...]


# --- which volumes there are --------------------------------------------------------------------------


def sightings(messages: Iterable[Message], store: MessageStore, loop: Loop) -> list[Sighting]:
    """The volumes whose chunks these messages hold. One of each volume is looked into, as the text beside it
    is a hint only. Raises Discord's answers."""
    groups: dict[tuple[str, bool], list[tuple[Message, Held]]] = {}
    for message in messages:
        hint = _HINT.search(message.content)
        for held in layout.held(message):
            groups.setdefault((hint[1] if hint else "", held.kind in _LOG), []).append((message, held))
    found: dict[bytes, Sighting] = {}
    for (_, is_log), group in groups.items():
        volume = _first_volume(group, store, loop)
        if volume is not None:
            newest = max(message.id for message, _ in group)
            known = found.get(volume, Sighting(volume, 0, 0))
            record = newest if is_log else 0
            found[volume] = Sighting(volume, max(known.newest, newest), max(known.newest_record, record))
    return list(found.values())


def _first_volume(group: Iterable[tuple[Message, Held]], store: MessageStore, loop: Loop) -> bytes | None:
    """Of the first chunk whose trailer can be read; one that is damaged says nothing of the others."""
    for message, held in group:
        last = held.attachments[-1]
        if last.size < TRAILER_SIZE:
            continue
        reading = store.read(message.channel, message.id, last.id, last.size - TRAILER_SIZE, TRAILER_SIZE)
        try:
            return parse_trailer(loop.call(reading, _READ_TIMEOUT_S)).volume
        except (Damaged, FormatError, RemoteGone):
            continue
    return None


def hidden(messages: Iterable[Message], me: int) -> int:
    """How many of these messages came without text and attachments, and are somebody else's: what Discord
    gives to a bot without MESSAGE_CONTENT."""
    return sum(
        1 for message in messages if message.author != me and not message.content and not message.attachments
    )


# --- the index ----------------------------------------------------------------------------------------


def read_log(chunks: ChunkStore, reader: LogReader, me: int, sees_others: bool) -> Look:
    """All of the log. `me` is the bot, `sees_others` whether it may see what others write. Raises Forbidden
    where it may not and others wrote, ConfigError when the key opens nothing, MissingError without a log."""
    asked_ns = chunks.asking_ns(reader.channel)
    messages = chunks.list_after(reader.channel, 0)
    if not sees_others and hidden(messages, me):
        raise Forbidden(NO_INTENT.format(channel=reader.channel))
    look = reader.fold(FoldState(), messages, asked_ns)
    if not look.settled and look.unreadable:
        raise ConfigError(
            f"this key opens nothing of the log in channel {reader.channel}: it is not the volume's key, or "
            f"all of the log is damaged ({look.unreadable[0]}); nothing was changed"
        )
    if not look.settled:
        raise MissingError(f"channel {reader.channel} holds no log of this volume that can be read")
    return look


def build_index(place: Path, reader: LogReader, look: Look, owner: Caller, now_ns: int) -> Recovered:
    """The index of the drive as this look at the whole log has it, at `place` when this returns, on disk."""
    draft = place.with_name(f"{place.name}.recovering")
    _remove(draft)
    index = Index(draft, now_ns, owner)
    try:
        follower = Follower(index, reader)
        said = follower.rebuild(look)
        if follower.volume is None:
            raise MissingError("the log's snapshot does not say which channels the volume has")
        files, size = _count(index)
        recovered = Recovered(
            follower.volume, index.logbook.state(), files, size, (*_gaps(look), *look.unreadable, *said)
        )
    finally:
        index.close()
    _move(draft, place)
    return recovered


def _count(index: Index) -> tuple[int, int]:
    """Files and their bytes. Numbers that the writer gave and no record tells of are left out from now on."""
    with index.changing() as connection:
        connection.execute(
            "UPDATE counters SET ceiling = ceiling + ? WHERE name IN ('inode', 'commit')", (_LOST_NUMBERS,)
        )
        files, size = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM inodes WHERE mode & 61440 = 32768"
        ).fetchone()
    return int(files), int(size)


def _move(draft: Path, place: Path) -> None:
    if draft.with_name(f"{draft.name}-wal").exists():
        raise DiscordfsError(
            f"{draft} cannot be brought to disk: see whether the disk is full, and try again"
        )
    put_database(draft, place)
    _remove(draft)


def _remove(draft: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-ballast"):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _gaps(look: Look) -> Iterator[str]:
    for gap in look.fold.gaps:
        yield f"{_missing(gap)}: {_what_it_means(gap, look.fold.gap)}"


def _missing(gap: Gap) -> str:
    first, last = gap.after_seq + 1, gap.seq - 1
    what = f"record {first} is" if first >= last else f"records {first} to {last} are"
    return f"{what} missing in the log (it shows in a record of {when(gap.message)})"


def _what_it_means(gap: Gap, last: Gap | None) -> str:
    if last is not None and (gap.after_seq, gap.epoch) == (last.after_seq, last.epoch):
        return f"nothing after record {gap.after_seq} could be used, as no snapshot came later"
    return "a later snapshot made up for it"
