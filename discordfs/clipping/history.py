"""The past of a channel: its pages from old to new, each of which counts once it is in the catalogue.

With `after` the page nearest that cursor comes; one with fewer than 100 messages is the last. Nothing younger
than a few seconds counts as covered, as listings lag. An empty page may also mean that the history may not be
read (Discord's documents, "Get Channel Messages"): the channel's last message, asked for by its id, tells.
Threading: one thread for a channel at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from discordfs.archived.ranges import LAST, Range, lacking
from discordfs.capture.asking import Asker
from discordfs.capture.channel import LAG_NS, PAGE
from discordfs.capture.scope import Channel
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.model import Place
from discordfs.clipping.scope import unrecorded
from discordfs.clipping.taking import Taker
from discordfs.errors import RemoteGone, Unavailable
from discordfs.remote.base import snowflake_at


class ChannelHistory:
    """One channel's. `now_ns`: Discord's time. Each method raises RemoteError and Interrupted; what was
    covered before stays covered."""

    def __init__(
        self,
        asker: Asker,
        catalogue: Catalogue,
        taker: Taker,
        channel: Channel,
        place: Place,
        now_ns: Callable[[], int],
    ) -> None:
        self._asker = asker
        self._catalogue = catalogue
        self._taker = taker
        self._channel = channel
        self._place = place
        self._now_ns = now_ns
        self._before = catalogue.covered(channel.id)

    @property
    def _route(self) -> str:
        return f"/channels/{self._channel.id}/messages"

    def whole(self, *, is_quiet: bool) -> None:
        """All that no page has shown yet. `is_quiet`: nothing is newer than the last message that the
        channel names."""
        last = (self._channel.last_message or LAST) if is_quiet else LAST
        for span in lacking([(1, last)], self._catalogue.covered(self._channel.id)):
            self._fill(span[0], LAST if span[1] == last else span[1])

    def news(self, *, is_quiet: bool) -> None:
        """What is newer than what pages have shown; of a channel that is new here the newest page."""
        covered = self._catalogue.covered(self._channel.id)
        if not covered:
            self._newest()
        elif not is_quiet or covered[-1][1] < (self._channel.last_message or LAST):
            self._fill(covered[-1][1] + 1, LAST)

    def again(self, since: int) -> None:
        """Looks at the messages of known clips from the id `since` on that were covered before this was made:
        whether they are there, and what they say now. A page for each hundred messages at most, none where
        nothing is known."""
        cursor: int | None = since
        while cursor is not None and (first := self._known_from(cursor)) is not None:
            end = next((last for begin, last in self._before if begin <= first <= last), None)
            cursor = first + 1 if end is None else self._page(first, end) or end + 1

    def _known_from(self, first: int) -> int | None:
        return self._catalogue.next_present(self._channel.id, first)

    def _newest(self) -> None:
        asked_ns = self._now_ns()
        body = self._asker.get(self._route, unrecorded, {"limit": PAGE})
        if not body:
            self._check_emptiness(1, asked_ns)
        first = min(int(each["id"]) for each in body) if len(body) == PAGE else 1
        self._taker.page(self._place, body, (first, snowflake_at(asked_ns - LAG_NS)))

    def _fill(self, first: int, last: int) -> None:
        cursor: int | None = first
        while cursor is not None and cursor <= last:
            cursor = self._page(cursor, last)

    def _page(self, first: int, last: int) -> int | None:
        """The page from `first` on; what comes behind it, None when that was all up to `last`."""
        asked_ns = self._now_ns()
        params: dict[str, str | int] = {"limit": PAGE, "after": first - 1}
        body = self._asker.get(self._route, unrecorded, params)
        ids = [int(each["id"]) for each in body]
        newest = max(ids, default=0)
        if ids and newest < first:
            raise Unavailable(f"GET {self._route}: a page of older messages than those asked for")
        if not ids:
            self._check_emptiness(first, asked_ns)
        shown = last if len(ids) < PAGE else min(newest, last)
        span: Range = (first, min(shown, snowflake_at(asked_ns - LAG_NS)))
        self._taker.page(self._place, [each for each in body if first <= int(each["id"]) <= last], span)
        return None if len(ids) < PAGE or newest >= last else newest + 1

    def _check_emptiness(self, first: int, asked_ns: int) -> None:
        """Raises Forbidden when an empty page says nothing of what there is from `first` on, Unavailable when
        it lacks what is there."""
        known = self._known_from(first)
        witness = self._channel.last_message if known is None else known
        if not witness:
            return
        try:
            self._asker.get(f"{self._route}/{witness}", unrecorded)
        except RemoteGone:
            return  # it was deleted
        if first <= witness < snowflake_at(asked_ns - LAG_NS):
            raise Unavailable(f"GET {self._route}: a page without message {witness}, which is there")
