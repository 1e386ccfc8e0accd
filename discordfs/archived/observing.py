"""What a channel's file shows: messages as they were seen, and which ids its pages cover.

A page of the listing proves two things: each message in it was there, and no other was between its ends. An
empty page proves nothing by itself, as Discord gives one to whoever may not read the history. What is
younger than the lag proves nothing by being absent. Coverage is taken from the pages alone, never from what
a run claims. Limits: one page in memory. Errors: OSError. Threading: pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from discordfs.archived.jsontext import DAMAGE, Members, Value, array_at, starts_with
from discordfs.archived.lines import Trouble, read_lines
from discordfs.archived.ranges import LAST, Range, joined
from discordfs.archived.records import Record, parse_record, whole_number
from discordfs.archived.runs import Located, read_records
from discordfs.remote.base import snowflake_at

LAG_NS = 60 * 1_000_000_000
"""How young a message may be for a listing to lack it though it is there; and the clock may be wrong."""

Mark = tuple[int, int]
"""Where a record begins in a file's uncompressed bytes, and the largest id of a message before it."""

MARK_BYTES = 1 << 20
"""How far apart marks are, at least."""

_LISTING = re.compile(r"/channels/\d+/messages$")
_ONE = re.compile(r"/channels/\d+/messages/\d+$")
_PINS = re.compile(r"/channels/\d+/(?:messages/)?pins$")
_EVENT = b'"MESSAGE_'
_MAKES = frozenset({"MESSAGE_CREATE", "MESSAGE_UPDATE"})
_WHOLE = ("id", "timestamp", "author", "content")
"""What a message has that came whole: some updates of the gateway bring only parts."""


class Observation(NamedTuple):
    """A message at one moment. `source` is a number that the caller gave the file, `offset` that of the
    record in it; `body` the JSON as received, empty where the message was heard to be deleted. Sorts by id,
    then by time."""

    id: int
    at_ns: int
    source: int
    offset: int
    body: bytes

    @property
    def is_deletion(self) -> bool:
        return not self.body


@dataclass(slots=True)
class Seen:
    """What a file came to, filled while its observations are read. Times in epoch ns, 0: none."""

    trouble: Trouble = field(default_factory=Trouble)
    pages: list[Range] = field(default_factory=list)
    low: int = LAST
    high: int = 0
    count: int = 0
    begin_ns: int = 0
    end_ns: int = 0
    odd: int = 0
    marks: list[Mark] = field(default_factory=list)

    def ranges(self) -> tuple[Range, ...]:
        return joined(self.pages)

    def reach(self) -> Range:
        """The smallest and the largest id that this file says anything of; (LAST, 0) if none."""
        low = min([self.low, *(first for first, _ in self.pages)])
        return low, max([self.high, *(last for _, last in self.pages)])

    def note_record(self, offset: int) -> None:
        if offset - (self.marks[-1][0] if self.marks else 0) >= MARK_BYTES:
            self.marks.append((offset, self.high))

    def note_time(self, at_ns: int) -> None:
        if at_ns:
            self.begin_ns = min(self.begin_ns or at_ns, at_ns)
            self.end_ns = max(self.end_ns, at_ns)

    def note_page(self, page: Range) -> None:
        if page[0] > page[1]:
            return
        self.pages.append(page)
        if len(self.pages) > 4096:
            self.pages = list(joined(self.pages))


def observe(path: Path, source: int, seen: Seen, begin: int = 0) -> Iterator[Observation]:
    """Everything the file shows of messages from the record at `begin` on, in its own order; `seen` is
    complete when this ends. `path` is a channel's own file."""
    return _observed(read_records(path, seen.trouble, begin), source, seen)


def observe_heard(path: Path, source: int, seen: Seen, channel: int, begin: int = 0) -> Iterator[Observation]:
    """The same of one channel in a file of the gateway's events of all."""
    return _observed(_events(path, seen.trouble, f'"{channel}"'.encode(), channel, begin), source, seen)


def place_of(marks: Sequence[Mark], start: int) -> int:
    """Where to begin reading so that no message from the id `start` on is missed."""
    return max((offset for offset, highest in marks if highest < start), default=0)


def channels_heard(path: Path) -> dict[int, int]:
    """The channels of whose messages the events of a file tell, and their servers (0: none)."""
    found: dict[int, int] = {}
    for located in _events(path, Trouble(), b"", None):
        body = _event_of(located.record)[1]
        channel = whole_number(body.get("channel_id"))
        if channel is not None:
            found[channel] = whole_number(body.get("guild_id")) or found.get(channel, 0)
    return found


def _events(
    path: Path, trouble: Trouble, wanted: bytes, channel: int | None, begin: int = 0
) -> Iterator[Located]:
    """Of messages, in the channel if one is given. Lines without `wanted` are not looked into."""
    for offset, line in read_lines(path, trouble, begin):
        if _EVENT not in line or wanted not in line:
            continue
        try:
            record = parse_record(line)
        except DAMAGE:  # said by whoever audits the file
            continue
        kind, body = _event_of(record)
        if kind.startswith("MESSAGE_") and channel in (None, whole_number(body.get("channel_id"))):
            yield Located(offset, record)


def _observed(records: Iterable[Located], source: int, seen: Seen) -> Iterator[Observation]:
    for located in records:
        record = located.record
        seen.note_record(located.offset)
        seen.note_time(record.at_ns)
        for body in _messages(record, seen):
            found = _observation(record, located, source, body)
            if found is None:
                seen.odd += 1
                continue
            seen.low, seen.high = min(seen.low, found.id), max(seen.high, found.id)
            seen.count += not found.is_deletion
            yield found


def _observation(record: Record, located: Located, source: int, found: Value | int) -> Observation | None:
    if isinstance(found, int):
        return Observation(found, record.at_ns, source, located.offset, b"")
    number = whole_number(found.value.get("id")) if isinstance(found.value, dict) else None
    if number is None:
        return None
    body = record.verbatim(found).encode("utf-8", "surrogateescape")
    return Observation(number, record.at_ns, source, located.offset, body)


def _messages(record: Record, seen: Seen) -> Iterator[Value | int]:
    """Messages, and ids of deleted ones."""
    if record.kind == "ws":
        yield from _heard(record)
    elif not record.is_answer:
        return
    elif _LISTING.search(record.path) and record.items is not None:
        page = _covered(record, bool(seen.pages) or bool(record.items))
        if page is not None:
            seen.note_page(page)
        yield from record.items
    elif _ONE.search(record.path) and record.data is not None:
        yield record.data
    elif _PINS.search(record.path):
        yield from record.items or _pinned(record)


def _pinned(record: Record) -> Iterator[Value]:
    if record.data is None or not starts_with(record.text, record.data.start, "{"):
        return
    for place in _places(record.text, record.data.start, "items", "["):
        for item in array_at(record.text, place)[0]:
            members = Members(record.text, item.start)
            for key, start in members:
                if key == "message":
                    yield members.take(start)


def _heard(record: Record) -> Iterator[Value | int]:
    kind, body = _event_of(record)
    if kind in _MAKES and all(key in body for key in _WHOLE):
        assert record.data is not None
        for place in _places(record.text, record.data.start, "d", "{"):
            yield Value(body, place, _end_of(record.text, place))
    elif kind == "MESSAGE_DELETE":
        yield from _ids([body.get("id")])
    elif kind == "MESSAGE_DELETE_BULK" and isinstance(body.get("ids"), list):
        yield from _ids(body["ids"])


def _event_of(record: Record) -> tuple[str, dict[str, Any]]:
    event = record.data.value if record.data is not None and record.is_received else None
    if not isinstance(event, dict) or not isinstance(event.get("d"), dict):
        return "", {}
    return str(event.get("t")), event["d"]


def _ids(values: list[Any]) -> Iterator[int]:
    yield from (number for number in map(whole_number, values) if number is not None)


def _places(text: str, at: int, wanted: str, bracket: str) -> list[int]:
    return [place for key, place in Members(text, at) if key == wanted and starts_with(text, place, bracket)]


def _end_of(text: str, at: int) -> int:
    members = Members(text, at)
    for _ in members:
        pass
    return members.end


def _covered(record: Record, may_read: bool) -> Range | None:
    """The ids that this page of the listing decides on; None if it proves nothing."""
    assert record.items is not None
    ids = [number for item in record.items if (number := _id_of(item)) is not None]
    if not may_read or not record.at_ns or len(ids) != len(record.items):
        return None
    params = record.params or {}
    is_end = len(ids) < (whole_number(params.get("limit")) or 50)
    newest = snowflake_at(record.at_ns - LAG_NS) - 1
    first, last = _span(params, ids, is_end)
    return first, min(last, newest)


def _span(params: Any, ids: list[int], is_end: bool) -> Range:
    after, before = whole_number(params.get("after")), whole_number(params.get("before"))
    if "around" in params:
        return (min(ids), max(ids)) if ids else (1, 0)
    if after is not None:
        return after + 1, LAST if is_end else max(ids)
    last = LAST if before is None else before - 1
    return (0 if is_end else min(ids)), last


def _id_of(item: Value) -> int | None:
    return whole_number(item.value.get("id")) if isinstance(item.value, dict) else None
