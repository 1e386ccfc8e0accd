"""How long a worker waits after failures: longer each time, and never the same for two; and doing the same
again and again with that. Threading: one worker's."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from discordfs.errors import ConfigError, RateLimited, TimedOut, Unavailable

_FIRST_S, _MOST_S = 1.0, 300.0
_LATER = (Unavailable, RateLimited, TimedOut, ConfigError)
_log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Rounds:
    """Work that is done again and again, `pause_s` seconds after it went well. What goes wrong for now is
    logged after `what`, and `told`; "" once it goes well again."""

    what: str
    pause_s: float
    told: Callable[[str], None]
    backoff: Backoff

    def run(self, stop: threading.Event, work: Callable[[], None]) -> None:
        """Until `stop`, and then once more, for what came last."""
        is_last = False
        while not is_last:
            is_last = stop.is_set()
            if self._goes_well(work):
                stop.wait(self.pause_s)
            elif not is_last:
                self.backoff.rest(stop)

    def _goes_well(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except _LATER as error:
            _log.warning("%s: %s", self.what, error)
            self.told(str(error))
            return False
        self.backoff.succeeded()
        self.told("")
        return True
