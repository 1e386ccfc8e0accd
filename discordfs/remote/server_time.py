"""Discord's clock, as far as the Date of its answers tells it: to the second.

Threading: the loop's thread.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping

from discordfs.model import Clock


class ServerTime:
    """The local clock, shifted by what the last answer's Date said. `now_ns` in epoch ns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ns = 0

    def learn(self, headers: Mapping[str, str]) -> None:
        """From an answer that just came; one without a Date that can be read teaches nothing."""
        try:
            date = email.utils.parsedate_to_datetime(headers.get("Date", ""))
        except ValueError:
            return
        self._ahead_ns = int(date.timestamp() * 1e9) - self._clock()

    def now_ns(self) -> int:
        return self._clock() + self._ahead_ns
