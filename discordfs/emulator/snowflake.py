"""Snowflakes: 64-bit ids that carry their time of making, strictly growing (Discord's documents).

Threading: a maker belongs to the event loop; the functions are pure.
"""

from __future__ import annotations

from collections.abc import Callable

DISCORD_EPOCH_MS = 1420070400000
_PER_MS = 1 << 22


def first_of(epoch_ms: int) -> int:
    """The smallest snowflake of this millisecond."""
    return max(0, epoch_ms - DISCORD_EPOCH_MS) * _PER_MS


def time_of(snowflake: int) -> int:
    """Epoch milliseconds at which this snowflake was made."""
    return snowflake // _PER_MS + DISCORD_EPOCH_MS


class SnowflakeMaker:
    """Makes ids by a clock, each greater than the one before, also across restarts (`last`)."""

    def __init__(self, now_ms: Callable[[], int], last: int = 0) -> None:
        self._now_ms = now_ms
        self._last = last

    def next(self) -> int:
        """A new id; when one millisecond runs out of ids, it borrows from the next."""
        self._last = max(self._last + 1, first_of(self._now_ms()))
        return self._last
