"""How long a worker waits after failures: longer each time, and never the same for two. Threading: one
worker's."""

from __future__ import annotations

import random
import threading

_FIRST_S, _MOST_S = 1.0, 300.0


class Backoff:
    """Seconds from `first` on, doubled after each failure, up to `most`."""

    def __init__(
        self, first_s: float = _FIRST_S, most_s: float = _MOST_S, rng: random.Random | None = None
    ) -> None:
        self._first, self._most, self._rng = first_s, most_s, rng or random.Random()
        self.failures = 0

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self) -> float:
        """Another failure: how long to wait now, in seconds."""
        span = min(self._most, self._first * float(2**self.failures))
        self.failures = min(self.failures + 1, 30)
        return span * (0.5 + self._rng.random() / 2)

    def rest(self, stop: threading.Event) -> bool:
        """Waits after another failure; True when `stop` was set meanwhile."""
        return stop.wait(self.failed())
