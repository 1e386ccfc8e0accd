"""What pages and events say, brought into the catalogue in an order that loses nothing.

An event may be newer than a page that is still on its way. So what events said last of a message is kept for
a while, and goes before what an older page says. A page's deletions are written before it counts as covered:
whoever is killed between asks for it again.
Limits: remembers the last 65,536 messages that events told of. Threading: any; one writes at a time, and
nothing is asked of Discord meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cachetools import LRUCache

from discordfs.archived.people import author_id
from discordfs.archived.ranges import Range
from discordfs.archived.records import whole_number
from discordfs.clipping.catalogue import Catalogue, Found
from discordfs.clipping.finding import Kinds, attachment_ids, came_empty, clips_in, edited_at
from discordfs.clipping.model import Place
from discordfs.clipping.wording import Known, clean_text

Json = Mapping[str, Any]
_REMEMBERED = 65_536
_FOR_EVER = 1 << 63


@dataclass(slots=True)
class Counts:
    """So far. `others`: messages of others, `empty`: of those, the ones without anything in them."""

    messages: int = 0
    clips: int = 0
    others: int = 0
    empty: int = 0


@dataclass(frozen=True, slots=True)
class _Last:
    """What an event said of a message: edited when, and which files it has; no more at all when deleted."""

    edited_ns: int
    files: frozenset[int]


class Taker:
    """Takes messages into `catalogue`, and counts them in `counts`. `now_ns`: Discord's time. `me`: the bot's
    user id, once known."""

    def __init__(
        self, catalogue: Catalogue, kinds: Kinds, known: Known, now_ns: Callable[[], int], counts: Counts
    ) -> None:
        self._catalogue = catalogue
        self._kinds = kinds
        self._known = known
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._last: LRUCache[int, _Last] = LRUCache(_REMEMBERED)
        self.counts = counts
        self.me = 0

    def page(self, place: Place, messages: Sequence[Json], span: Range) -> int:
        """Messages of a page, which shows all of `span` (none where its first id is behind its last). How
        many clips were new."""
        found = [each for message in messages for each in clips_in(message, place, self._kinds, self._known)]
        shown = {int(message["id"]): message for message in messages}
        with self._lock:
            self._count(messages)
            at_ns = self._now_ns()
            known = self._catalogue.present(place.channel, *span)
            gone = known.keys() - shown.keys()
            if gone:
                self._catalogue.deleted(place.channel, gone, at_ns)
            for number in known.keys() & shown.keys():
                self._compare(known[number], shown[number], at_ns)
            new = self._catalogue.cover(place.channel, *span, [self._as_it_is(each, at_ns) for each in found])
            self.counts.clips += new
            return new

    def heard(self, place: Place, message: Json) -> int:
        """A message that an event tells of, whole or in part. How many clips were new."""
        number = whole_number(message.get("id")) or 0
        with self._lock:
            if "attachments" in message and author_id(message):
                return self._take_whole(place, number, message)
            if "content" in message and edited_at(message):
                described = clean_text(message, self._known)
                self._catalogue.edited(place.channel, number, described, edited_at(message))
            return 0

    def deleted(self, channel: int, messages: Sequence[int]) -> int:
        """Messages that an event says are gone. How many clips went with them."""
        with self._lock:
            for number in messages:
                self._last[number] = _Last(_FOR_EVER, frozenset())
            return self._catalogue.deleted(channel, messages, self._now_ns())

    # --- inside: with the lock ------------------------------------------------------------------------

    def _take_whole(self, place: Place, number: int, message: Json) -> int:
        self._count([message])
        at_ns = self._now_ns()
        if came_empty(message, self.me) is not True:
            self._remember(number, message)
        self._compare(self._catalogue.present(place.channel, number, number).get(number, ()), message, at_ns)
        found = clips_in(message, place, self._kinds, self._known)
        new = self._catalogue.merge([self._as_it_is(each, at_ns) for each in found]) if found else 0
        self.counts.clips += new
        return new

    def _remember(self, number: int, message: Json) -> None:
        before = self._last.get(number)
        if before is None or before.edited_ns <= edited_at(message):
            self._last[number] = _Last(edited_at(message), attachment_ids(message))

    def _compare(self, known: Sequence[int], message: Json, at_ns: int) -> None:
        """Files that an edit took away. A message that came empty says nothing of its files."""
        if came_empty(message, self.me) is True:
            return
        for clip in set(known) - attachment_ids(message):
            before = self._catalogue.clip(clip)
            if before is not None and before.edited_ns <= edited_at(message):
                self._catalogue.attachment_gone(clip, at_ns)

    def _as_it_is(self, found: Found, at_ns: int) -> Found:
        """Deleted, if an event has said so since."""
        clip = found.clip
        last = self._last.get(clip.message)
        if last is None or last.edited_ns <= clip.edited_ns or clip.id in last.files:
            return found
        return replace(found, clip=replace(clip, deleted_ns=at_ns))

    def _count(self, messages: Sequence[Json]) -> None:
        empties = [came_empty(message, self.me) for message in messages]
        self.counts.messages += len(messages)
        self.counts.others += sum(each is not None for each in empties)
        self.counts.empty += sum(each is True for each in empties)
