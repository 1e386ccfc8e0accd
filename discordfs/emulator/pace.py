"""A connection's speed limit, in wall time. Threading: event loop only."""

from __future__ import annotations

import asyncio


class Pace:
    """Lets `bits_per_second` pass; 0 lets everything pass at once."""

    def __init__(self, bits_per_second: int) -> None:
        self._bytes_per_second = bits_per_second / 8
        self._free_at = 0.0

    @property
    def piece(self) -> int:
        """How many bytes to send at once, so that the flow is even: a tenth of a second's worth, 1 MiB
        at most.
        """
        return (
            1 << 20
            if not self._bytes_per_second
            else max(256, min(1 << 20, int(self._bytes_per_second / 10)))
        )

    async def spend(self, size: int) -> None:
        """Returns when `size` bytes more have had their time."""
        if not self._bytes_per_second:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / self._bytes_per_second
        await asyncio.sleep(self._free_at - now)
