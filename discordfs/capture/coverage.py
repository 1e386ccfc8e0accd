"""What a run has covered so far, and what of a channel an incremental one asks for.

Threading: `Ledger` has a lock of its own; the rest is pure.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from discordfs.archived.coverage import FORMAT, NOWHERE, Covered
from discordfs.archived.ranges import Range, joined, lacking


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


def to_ask(covered: Sequence[Range], first: int, last: int, again_from: int) -> tuple[Range, ...]:
    """What an incremental run asks of [first, last]: all that is not covered, and once more what is as young
    as `again_from`."""
    gaps = lacking([(first, last)], covered)
    again = [(max(first, again_from), last)] if again_from <= last else []
    return joined([*gaps, *again])
