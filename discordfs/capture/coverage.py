"""Which ids of a channel have been looked at: inclusive ranges without gaps, kept for each channel.

A range says that pages of a run showed every message with an id in it that there was then. So what is missing
between two ranges may exist, and a message is deleted only when a page that covers its id lacks it.
Threading: `Ledger` has a lock of its own; the rest is pure.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Range = tuple[int, int]
LAST = (1 << 63) - 1
"""No id is larger."""

FORMAT = 1
NOWHERE = 0
"""For `Ledger.fail`: what has to do with no one channel."""


def joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same ids in as few ranges as can be, in order."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return tuple(result)


def missing(ranges: Iterable[Range], first: int, last: int) -> tuple[Range, ...]:
    """What of [first, last] no range has."""
    gaps, start = [], first
    for begins, ends in joined(ranges):
        if begins > last:
            break
        if begins > start:
            gaps.append((start, begins - 1))
        start = max(start, ends + 1)
    return (*gaps, (start, last)) if start <= last else tuple(gaps)


@dataclass(frozen=True, slots=True)
class Covered:
    """A channel's part. `oldest`: the beginning was reached. `newest_id`: of the messages seen, 0 without."""

    ranges: tuple[Range, ...] = ()
    oldest: bool = False
    newest_id: int = 0
    errors: tuple[str, ...] = ()

    def with_range(self, first: int, last: int, newest_id: int) -> Covered:
        ranges = joined([*self.ranges, (first, last)]) if first <= last else self.ranges
        oldest = bool(ranges) and ranges[0][0] <= 1
        return Covered(ranges, oldest, max(self.newest_id, newest_id), self.errors)

    def with_error(self, error: str) -> Covered:
        return Covered(self.ranges, self.oldest, self.newest_id, (*self.errors, error))

    def as_json(self) -> dict[str, Any]:
        return {
            "ranges": [list(each) for each in self.ranges],
            "oldest": self.oldest,
            "newest_id": self.newest_id,
            "errors": list(self.errors),
        }


def covered_of(body: Mapping[str, Any]) -> Covered:
    """The reverse of as_json. Raises KeyError, TypeError, ValueError when it is something else."""
    return Covered(
        joined((int(first), int(last)) for first, last in body["ranges"]),
        bool(body["oldest"]),
        int(body["newest_id"]),
        tuple(str(each) for each in body["errors"]),
    )


@dataclass(slots=True)
class Ledger:
    """What a run has covered so far, by channel."""

    channels: dict[int, Covered] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cover(self, channel: int, first: int, last: int, newest_id: int) -> None:
        with self._lock:
            known = self.channels.get(channel, Covered())
            self.channels[channel] = known.with_range(first, last, newest_id)

    def fail(self, channel: int, error: str) -> None:
        with self._lock:
            self.channels[channel] = self.channels.get(channel, Covered()).with_error(error)

    def of(self, channel: int) -> Covered:
        with self._lock:
            return self.channels.get(channel, Covered())

    def snapshot(self) -> dict[str, Any]:
        """As coverage.json has it."""
        with self._lock:
            channels = dict(self.channels)
        errors = list(channels.pop(NOWHERE, Covered()).errors)
        told = {str(key): value.as_json() for key, value in channels.items()}
        return {"format": FORMAT, "channels": told, "errors": errors}


def read_coverage(path: Path) -> dict[int, Covered]:
    """A run's coverage.json; empty when there is none or it cannot be read: then nothing counts as
    covered."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            return {}
        found = {int(key): covered_of(value) for key, value in body["channels"].items()}
        return found | {NOWHERE: Covered(errors=tuple(str(each) for each in body["errors"]))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def to_ask(covered: Sequence[Range], first: int, last: int, again_from: int) -> tuple[Range, ...]:
    """What an incremental run asks of [first, last]: all that is not covered, and once more what is as young
    as `again_from`."""
    gaps = missing(covered, first, last)
    again = [(max(first, again_from), last)] if again_from <= last else []
    return joined([*gaps, *again])
