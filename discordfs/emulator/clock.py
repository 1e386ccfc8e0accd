"""The emulator's clock: it may run faster than the wall clock, and may be set forward, never back.

Threading: event loop only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Seconds since the epoch, `scale` times as fast as the monotonic clock, from `start` on."""

    def __init__(
        self, start: float, scale: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._base = start
        self._origin = monotonic()
        self._scale = scale

    @property
    def scale(self) -> float:
        """Emulator seconds per wall second."""
        return self._scale

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._base + (self._monotonic() - self._origin) * self._scale

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.now() * 1000)

    def set_scale(self, scale: float) -> None:
        """Run faster or slower from now on; the present moment does not jump."""
        self._base, self._origin, self._scale = self.now(), self._monotonic(), scale

    def advance(self, seconds: float) -> None:
        """Jump ahead."""
        if seconds < 0:
            raise ValueError("the clock goes forward only")
        self._base += seconds

    def wall(self, seconds: float) -> float:
        """How long a client must wait, by its own clock, for `seconds` of this one to pass."""
        return seconds / self._scale


def iso(milliseconds: int) -> str:
    """Epoch milliseconds as Discord writes a time: ISO 8601, microseconds, +00:00."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    return moment.isoformat(timespec="microseconds")
