"""Counts the messages that a channel's file shows, each once, while its records are written.

What is counted is what archived/tally.py finds in the file: pages, single messages, pins. Pages come in the
order of ids, so almost all of them are one growing array; the few that do not fit (pins, a page that is asked
for again) are kept apart and looked up in it at the end.
Limits: eight bytes a message in memory. Threading: any thread; a lock of its own.
"""

from __future__ import annotations

import re
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from discordfs.archived.ranges import Range
from discordfs.archived.records import whole_number
from discordfs.capture.asking import Recorder
from discordfs.capture.job import Stamp
from discordfs.remote.base import Exchange

_PAGE = re.compile(r"/channels/\d+/messages$")
_ONE = re.compile(r"/channels/\d+/messages/\d+$")
_PINS = re.compile(r"/channels/\d+/messages/pins$")


class Counting:
    """Of ids `within` a range, both ends included."""

    def __init__(self, within: Range) -> None:
        self._within = within
        self._lock = threading.Lock()
        self._ids = array("q")
        self._others: set[int] = set()
        self.oldest: Stamp | None = None
        self.newest: Stamp | None = None

    def watching(self, record: Recorder) -> Recorder:
        """The same recorder, whose exchanges are counted."""

        def watched(exchange: Exchange, body: Any, is_json: bool) -> None:
            record(exchange, body, is_json)
            if is_json and 200 <= exchange.status < 300:
                self._note(exchange, body)

        return watched

    def _note(self, exchange: Exchange, body: Any) -> None:
        is_in_turn = "after" in exchange.params
        with self._lock:
            for each in _shown(urlsplit(exchange.url).path, body):
                number = whole_number(each.get("id")) if isinstance(each, dict) else None
                if number is not None and self._within[0] <= number <= self._within[1]:
                    self._add(number, each, is_in_turn)

    def _add(self, number: int, message: Mapping[str, Any], is_in_turn: bool) -> None:
        if is_in_turn and (not self._ids or number > self._ids[-1]):
            self._ids.append(number)
        else:
            self._others.add(number)
        if self.oldest is None or number < self.oldest["id"]:
            self.oldest = _stamp(number, message)
        if self.newest is None or number > self.newest["id"]:
            self.newest = _stamp(number, message)

    @property
    def messages(self) -> int:
        """How many there are, each counted once."""
        with self._lock:
            return len(self._ids) + sum(not self._has(each) for each in self._others)

    def _has(self, number: int) -> bool:
        place = bisect_left(self._ids, number)
        return place < len(self._ids) and self._ids[place] == number


def _shown(path: str, body: Any) -> Iterator[Any]:
    """The messages of an answer, the oldest of a page first."""
    if _PAGE.search(path):
        yield from reversed(body) if isinstance(body, list) else ()
    elif _ONE.search(path):
        yield body
    elif _PINS.search(path) and isinstance(body, dict):
        items = body.get("items")
        yield from (each.get("message") for each in items or () if isinstance(each, dict))


def _stamp(number: int, message: Mapping[str, Any]) -> Stamp:
    return {"id": number, "timestamp": message.get("timestamp")}
