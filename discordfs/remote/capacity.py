"""What a message may carry, learned downwards from 413 answers.

Discord has moved its file limit four times (8, 25, 10, 20 MiB) and says in a 413 neither which limit was
hit nor its value. So: a file limit steps down the values that Discord has used; below them the request
limit shrinks by quarters. Limits: never learns upwards; a restart asks again from the top.
Threading: the loop's thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from discordfs.model import Limits

MIB = 1024**2
DISCORD_LIMITS = Limits(file_bytes=20 * MIB, request_bytes=25 * MIB, files=10)
"""A plain server in autumn 2026 (Discord's documents, "Uploading Files")."""

_STEPS = tuple(size * MIB for size in (500, 100, 50, 25, 20, 10, 8))
_LEAST_REQUEST = MIB


class Capacity:
    """Limits by channel: `assumed` until a 413 teaches better."""

    def __init__(self, assumed: Limits = DISCORD_LIMITS) -> None:
        self._assumed = assumed
        self._learned: dict[int, Limits] = {}

    def of(self, channel: int) -> Limits:
        return self._learned.get(channel, self._assumed)

    def refused(self, channel: int, sizes: Sequence[int]) -> None:
        """A post with files of these sizes got a 413."""
        if sizes:
            self._learned[channel] = _below(self.of(channel), max(sizes), sum(sizes))


def _below(known: Limits, largest: int, total: int) -> Limits:
    smaller = [step for step in _STEPS if step < min(largest, known.file_bytes + 1)]
    if smaller:
        return Limits(smaller[0], known.request_bytes, known.files)
    request = max(_LEAST_REQUEST, min(known.request_bytes, total) * 3 // 4)
    return Limits(min(known.file_bytes, request), request, known.files)
