"""The log as it stands on Discord: listed, its headers opened, folded; and the entries of its records.

Job: from messages to what fold.py decides about, and from a record's messages to its entries. Limits: a
record's plaintext in memory, part by part; headers are kept by uid. What cannot be opened counts as if it
were not there, and is told in `unreadable`. Threading: one thread at a time for each reader; asks Discord,
so no lock may be held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from cachetools import LRUCache

from discordfs.chunks import layout
from discordfs.chunkstore import ChunkStore
from discordfs.errors import ConfigError, Damaged, FormatError, MissingError, RemoteGone
from discordfs.fold import CLAIM_LIFETIME_S, LISTING_LAG_S, Fold, FoldState, LogEntry, fold_listing
from discordfs.model import Kind
from discordfs.records import Header, unpack_header
from discordfs.remote.base import Message, snowflake_ns

log = logging.getLogger(__name__)

_READERS = 8
_CLAIMS_END_NS = int((CLAIM_LIFETIME_S + 2 * LISTING_LAG_S) * 1e9)
_KEPT_BYTES = 16 * 1024**2  # of records that were just read for their headers


@dataclass(frozen=True, slots=True)
class Look:
    """The log from a settled point on, folded. `settled` are the records that settled since, in order;
    `messages` where each record lies; `unreadable` says what could not be opened, in sentences.
    `is_doubtful`: one of these is so young that it may be a claim which is still to be adopted; a writer
    believes nothing until it can be read or is old. `lacks_head`: the newest record that was settled before
    is not in the log any more, or not to be read."""

    fold: Fold
    settled: tuple[LogEntry, ...]
    messages: dict[bytes, Message] = field(repr=False)
    unreadable: tuple[str, ...] = ()
    is_doubtful: bool = False
    lacks_head: bool = False


class LogReader:
    """The log in one channel. `progress` hears how many of how many records have been read."""

    def __init__(
        self, chunks: ChunkStore, channel: int, progress: Callable[[int, int], None] = lambda done, of: None
    ) -> None:
        self._chunks, self._progress = chunks, progress
        self.channel = channel
        self._headers: LRUCache[bytes, Header] = LRUCache(4096)
        self._bodies: LRUCache[bytes, bytes] = LRUCache(_KEPT_BYTES, getsizeof=len)
        self._missed = b""

    def look(self, state: FoldState) -> Look:
        """What the log says from that settled point on. Raises as the listing does."""
        asked_ns = self._chunks.asking_ns(self.channel)
        return self.fold(state, self._chunks.list_after(self.channel, state.list_after()), asked_ns)

    def fold(self, state: FoldState, messages: Iterable[Message], asked_ns: int) -> Look:
        """These messages, of a listing that was asked for at that time (Discord's), folded; headers that
        are not known yet are read, several at a time."""
        records = [
            (message, held.uid)
            for message in messages
            for held in layout.held(message)
            if held.kind in (Kind.RECORD, Kind.SNAPSHOT)
        ]
        unreadable: list[str] = []
        newest_unread = 0
        copies: dict[bytes, list[Message]] = {}
        entries: list[LogEntry] = []
        headers, damaged = self._read_headers(records)
        for message, uid in records:
            header = headers[uid]
            if isinstance(header, str):
                if header:
                    unreadable.append(header)
                    newest_unread = max(newest_unread, message.id)
                continue
            copies.setdefault(uid, []).append(message)
            entries.append(LogEntry(header, uid, message.id))
        found = {uid: _best(messages, damaged) for uid, messages in copies.items()}
        fold = fold_listing(state, entries, asked_ns)
        is_doubtful = newest_unread > 0 and asked_ns - snowflake_ns(newest_unread) < _CLAIMS_END_NS
        settled = tuple(fold.take_settled())
        lacks_head = _lacks_head(state, found, asked_ns)
        if lacks_head and not settled:
            self._tell_of_missing(state)
        return Look(fold, settled, found, tuple(unreadable), is_doubtful, lacks_head)

    def _tell_of_missing(self, state: FoldState) -> None:
        """Once for each head. With newer records there is nothing to tell: it may have been collected."""
        if state.head_uid != self._missed:
            self._missed = state.head_uid
            log.warning(
                "record %d of %s, the newest that was read here, is gone from the log: somebody deleted "
                "messages in channel %d, or put back what it once held",
                state.head_seq,
                when(state.head_message),
                self.channel,
            )

    def remember(self, uid: bytes, header: Header) -> None:
        """A record of our own: its header need not be read."""
        self._headers[uid] = header

    def _read_headers(
        self, records: list[tuple[Message, bytes]]
    ) -> tuple[dict[bytes, Header | str], set[int]]:
        """By uid: the header, or a sentence about why there is none ("" for another volume's record). And
        the messages that could not be read."""
        headers: dict[bytes, Header | str] = {}
        damaged: set[int] = set()
        headers |= {uid: self._headers[uid] for _, uid in records if uid in self._headers}
        unknown = [record for record in records if record[1] not in headers]
        for count, ((message, uid), read) in enumerate(zip(unknown, self._read_all(unknown), strict=True), 1):
            self._progress(count, len(unknown))
            if isinstance(read, str):
                headers.setdefault(uid, read)
                damaged.add(message.id)
                continue
            headers[uid] = self._headers[uid] = read[0]
            if len(read[1]) <= _KEPT_BYTES:
                self._bodies[uid] = read[1]
        return headers, damaged

    def _read_all(self, records: list[tuple[Message, bytes]]) -> Iterator[tuple[Header, bytes] | str]:
        if len(records) < 2:
            yield from map(self._read, records)
            return
        with ThreadPoolExecutor(_READERS, thread_name_prefix="discordfs-log") as readers:
            yield from readers.map(self._read, records)

    def _read(self, record: tuple[Message, bytes]) -> tuple[Header, bytes] | str:
        message, uid = record
        try:
            data = self._chunks.read_log(message, uid)
            return unpack_header(data)[0], data
        except FormatError:
            raise
        except ConfigError as error:
            log.debug("message %d: %s", message.id, error)
            return ""
        except (Damaged, MissingError, RemoteGone) as error:
            return f"log message {message.id} cannot be read: {error}"

    # --- entries --------------------------------------------------------------------------------------

    def runs(self, entry: LogEntry, message: Message) -> Iterator[bytes]:
        """What a record says, packed (records.unpack_entries). Raises Damaged, MissingError, RemoteGone
        where parts of it are gone."""
        for part in entry.header.parts:
            holder = self._chunks.message(self.channel, part.message)
            yield self._chunks.read_log(holder, part.uid)
        data = self._bodies.get(entry.uid) or self._chunks.read_log(message, entry.uid)
        yield data[unpack_header(data)[1] :]

    def stored_size(self, entry: LogEntry, message: Message) -> int:
        """Bytes of the record's own attachments (its parts are whole messages: not counted)."""
        return sum(
            attachment.size
            for held in layout.held(message)
            if held.uid == entry.uid
            for attachment in held.attachments
        )


def when(message: int) -> str:
    """A message's time, for people."""
    return f"{datetime.fromtimestamp(snowflake_ns(message) / 1e9).astimezone():%Y-%m-%d %H:%M:%S}"


def describe_holder(state: FoldState) -> str:
    """Who writes a volume and since when, for people who wanted to."""
    return (
        f"the volume is written by {state.holder} since {when(state.since)} "
        f"(last record {when(state.head_message)})"
    )


def _lacks_head(state: FoldState, found: Container[bytes], asked_ns: int) -> bool:
    """Whether the settled head is missing where every listing has to show it."""
    age_ns = asked_ns - snowflake_ns(state.head_message)
    return state.epoch > 0 and state.head_uid not in found and age_ns > LISTING_LAG_S * 1e9


def _best(copies: list[Message], damaged: set[int]) -> Message:
    """Of the messages with one record: one that could be read, with the data beside it, the oldest such."""
    return max(copies, key=lambda copy: (copy.id not in damaged, len(layout.held(copy)), -copy.id))
