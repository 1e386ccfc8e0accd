"""Discord's clock, as far as the Date of its answers tells it: to the second.

Between two answers it goes on by a clock that nobody sets, so that a step of the local time is no step of
Discord's. Threading: the loop's thread learns, any may ask.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Mapping

from discordfs.model import Clock


class ServerTime:
    """Epoch ns by what the last answer's Date said; by the local clock before the first. `elapsed_ns` counts
    from anywhere, never steps, and goes on while the machine sleeps."""

    def __init__(self, clock: Clock, elapsed_ns: Callable[[], int]) -> None:
        self._clock = clock
        self._elapsed_ns = elapsed_ns
        self._began_ns: int | None = None

    def learn(self, headers: Mapping[str, str]) -> None:
        """From an answer that just came; one without a Date that can be read teaches nothing."""
        try:
            date = email.utils.parsedate_to_datetime(headers.get("Date", ""))
        except ValueError:
            return
        self._began_ns = int(date.timestamp() * 1e9) - self._elapsed_ns()

    @property
    def is_known(self) -> bool:
        return self._began_ns is not None

    def now_ns(self) -> int:
        began = self._began_ns
        return self._clock() if began is None else began + self._elapsed_ns()
