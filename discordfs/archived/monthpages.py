"""html/YYYY-MM.html, written as messages come by. Each takes its place by a rename when its month is over.

A page links the months beside it, so it is held open until the next one begins. Errors: OSError.
Threading: one thread.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from discordfs.archived import people
from discordfs.archived.catalogue import Month
from discordfs.archived.htmlview import Place, message_html
from discordfs.archived.merge import Merged
from discordfs.archived.pageframe import day_head, page_end, page_head
from discordfs.archived.tails import new_file
from discordfs.remote.base import snowflake_ns

_STEP = 1 << 20


class Pages:
    """The pages in `folder` from the month after `before` on ("": from the first)."""

    def __init__(self, folder: Path, place: Place, before: str) -> None:
        self._folder = folder
        self._place = place
        self._before = before
        self._month = ""
        self._day = -1
        self._body: IO[bytes] | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, month: str) -> None:
        """What is added now is of this month."""
        self._end(month)
        self._month, self._day = month, -1
        self._body = tempfile.TemporaryFile(dir=self._folder, buffering=_STEP)  # noqa: SIM115

    def add(self, merged: Merged) -> None:
        assert self._body is not None
        moment = people.moment(merged.id)
        if moment.day != self._day:
            self._day = moment.day
            self._put(day_head(f"{moment:%Y-%m-%d}"))
        self._put(message_html(merged, self._place))

    def _put(self, text: str) -> None:
        assert self._body is not None
        self._body.write(text.encode("utf-8", "replace"))

    def _end(self, after: str) -> None:
        body, self._body = self._body, None
        if body is None:
            return
        with body:
            place, beside = self._place, (self._before, after)
            head = page_head(place.channel, place.server, self._month, *beside).encode("utf-8", "replace")
            body.seek(0)
            with new_file(self._folder / f"{self._month}.html") as page:
                page.write(head)
                while piece := body.read(_STEP):
                    page.write(piece)
                page.write(page_end(*beside).encode())
        self._before = self._month

    def finish(self, months: Sequence[Month]) -> None:
        """The last page ends; each has the time of its newest message. `months`: all there are."""
        self._end("")
        for each in months:
            path = self._folder / f"{each.month}.html"
            if path.exists():
                mtime = snowflake_ns(each.newest_id)
                os.utime(path, ns=(mtime, mtime))
