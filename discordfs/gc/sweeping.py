"""Looking for messages that nothing refers to: what crashes, lost answers and overtaken writers left.

Job: list the channels of a volume, and tell of each message with chunks of ours whether any table knows it.
In doubt a message stays:

- younger than the grace time: it may be about to be referred to;
- not readable, of another volume, or of a newer release: not ours to judge;
- of the log, and not older than the oldest snapshot by an hour: the chain may need it. A claim that was
  adopted is in no table, and neither is a copy of a record that another reader may have taken;
- a chunk on its way, in whichever of its copies; a copy in another channel than the chunk's (garbage.py);
- from before our own time as the writer, unless somebody asks for that: where records of the former writer
  were deleted or cannot be read, the chunks are all that is left of what they told.

Limits: a page of messages in memory, and what was found; one request a page, two for each stray. Threading:
one thread; asks Discord.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from discordfs.chunks import layout
from discordfs.chunkstore import ChunkStore
from discordfs.errors import ConfigError, Damaged, FormatError, MissingError, RemoteGone
from discordfs.garbage import Garbage, Stray
from discordfs.gc.collecting import LOG_GRACE_S
from discordfs.logbook import Logbook
from discordfs.model import Kind
from discordfs.records import VolumeEntry
from discordfs.remote.base import Message, snowflake_at, snowflake_ns

_LOG_MARGIN_NS = 3600 * 10**9  # a claim before the snapshot may be adopted after it


@dataclass(slots=True)
class Found:
    """What a look through the channels found: strays by channel; those from before our time, which stay;
    how many messages are of other volumes; and sentences about what could not be read. `is_complete`: it
    came to its end."""

    strays: dict[int, list[Stray]] = field(default_factory=dict)
    older: list[Stray] = field(default_factory=list)
    foreign: int = 0
    troubles: list[str] = field(default_factory=list)
    is_complete: bool = False
    log_is_damaged: bool = False

    def counts(self) -> tuple[int, int]:
        """Stray messages, and their bytes."""
        strays = [stray for found in self.strays.values() for stray in found]
        return len(strays), sum(stray.bytes for stray in strays)


class Sweeper:
    """Looks through the channels of one volume; `grace_s` is the least age of what may be a stray."""

    def __init__(self, chunks: ChunkStore, book: Logbook, volume: VolumeEntry, grace_s: float) -> None:
        self._chunks, self._book, self._volume = chunks, book, volume
        self._age_ns = int(max(grace_s, LOG_GRACE_S) * 1e9)

    def sweep(self, since_ns: int, cancelled: Callable[[], bool], takes_older: bool = False) -> Found:
        """Looks at the messages since that time (Discord's, epoch ns); changes nothing. `takes_older`: what
        is from before our time counts too, if the log can be read whole. So the log goes first. Raises as
        listings do."""
        found, log_channel = Found(), self._volume.log_channel
        for channel in dict.fromkeys((log_channel, *self._volume.data_channels)):
            for page in self._pages(channel, since_ns):
                if cancelled():
                    return found
                self._judge(channel, page, found, takes_older)
        found.is_complete = True
        return found

    def note(self, found: Found) -> tuple[int, int]:
        """The next record condemns what nothing refers to by now either: messages and bytes."""
        noted = [
            stray
            for channel, strays in found.strays.items()
            for stray in self._book.garbage.find(channel, strays)
        ]
        return len(noted), sum(stray.bytes for stray in noted)

    def horizon_ns(self, before_ns: int) -> int:
        """From when on a sweep has to look when the last one was at that time; never before our own time as
        the writer."""
        return max(snowflake_ns(self._book.state().since), before_ns - 2 * self._age_ns)

    def _pages(self, channel: int, since_ns: int) -> Iterator[list[Message]]:
        oldest = snowflake_at(since_ns)
        for page in self._chunks.pages(channel):
            yield [message for message in page if message.id >= oldest]
            if page[-1].id < oldest:
                return

    def _judge(self, channel: int, page: list[Message], found: Found, takes_older: bool) -> None:
        newest, since = snowflake_at(self._chunks.now_ns() - self._age_ns), self._book.state().since
        old = {message.id: message for message in page if message.id < newest}
        strays = [stray for message in old.values() if (stray := _stray(message)) is not None]
        for stray in self._garbage.unknown(channel, strays):
            if not self._is_useless(old[stray.message], found, takes_older):
                continue
            if stray.message >= since or (takes_older and not found.log_is_damaged):
                found.strays.setdefault(channel, []).append(stray)
            else:
                found.older.append(stray)

    @property
    def _garbage(self) -> Garbage:
        return self._book.garbage

    def _is_useless(self, message: Message, found: Found, takes_older: bool) -> bool:
        """Whether it is ours, and of no use to anybody. What of the log is needed is read only where that
        decides about what is older."""
        if not _is_of_log(message):
            return self._is_ours(message, found)
        is_old = message.id < snowflake_at(snowflake_ns(self._garbage.horizon()) - _LOG_MARGIN_NS)
        return (is_old or takes_older) and self._is_ours(message, found) and is_old

    def _is_ours(self, message: Message, found: Found) -> bool:
        try:
            self._check(message)
        except RemoteGone:
            return False
        except (FormatError, Damaged, MissingError) as error:
            found.log_is_damaged |= _is_of_log(message)
            found.troubles.append(
                f"message {message.id} in channel {message.channel} is in no table and cannot be read, so it "
                f"stays: {error}"
            )
            return False
        except ConfigError:
            found.foreign += 1
            return False
        return True

    def _check(self, message: Message) -> None:
        """Reads what says whose it is: of a chunk its footer, of the log all."""
        chunks = layout.held(message)
        if {held.uid for held in chunks} != {name.uid for name in _names(message)}:
            raise MissingError("not all attachments of its chunks are there")
        for held in chunks:
            if held.kind is Kind.DATA:
                self._chunks.read_footer(message, held.uid)
            else:
                self._chunks.read_log(message, held.uid)


def _names(message: Message) -> list[layout.PartName]:
    return [name for each in message.attachments if (name := layout.parse_name(each.name)) is not None]


def _is_of_log(message: Message) -> bool:
    return any(name.kind is not Kind.DATA for name in _names(message))


def _stray(message: Message) -> Stray | None:
    """None for a message without chunks: none of our business."""
    uids = {name.uid for name in _names(message)}
    return Stray(message.id, tuple(uids), sum(each.size for each in message.attachments)) if uids else None
