"""How far to read ahead of one handle's reads.

Job: tell a sequential reader from a random one, and say which range to ask for next. The first read asks
for nothing (a look at a file's start costs one block); each further one in sequence doubles the window; a
seek resets it. The kernel sends the parts of one large read a little out of order, so a step back or
forward of up to 1 MiB still counts as in sequence. Threading: a race between readers of one handle makes a
worse guess, never a wrong read; so no lock.
"""

from __future__ import annotations

_MIB = 1024**2
_SMALLEST = _MIB // 2
_LARGEST = 16 * _MIB
_TOLERANCE = _MIB


class Readahead:
    """One handle's history. `window` is in bytes."""

    __slots__ = ("_asked_until", "_expected", "_window")

    def __init__(self) -> None:
        self._expected = -1
        self._window = 0
        self._asked_until = 0

    def next_range(self, start: int, end: int) -> tuple[int, int] | None:
        """After a read of [start, end): the range to prefetch now, or None."""
        in_sequence = self._expected >= 0 and abs(start - self._expected) <= _TOLERANCE
        self._expected = end
        if not in_sequence:
            self._window, self._asked_until = 0, end
            return None
        if self._window and end + self._window // 2 <= self._asked_until:
            return None
        self._window = min(_LARGEST, max(_SMALLEST, self._window * 2))
        first = max(end, self._asked_until)
        self._asked_until = end + self._window
        return (first, self._asked_until) if first < self._asked_until else None
