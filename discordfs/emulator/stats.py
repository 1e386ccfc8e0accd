"""What passed through the emulator since the last reset.

API traffic is counted in `requests`, `bytes_in` (request bodies as received) and `bytes_out` (response
bodies), CDN traffic apart, control traffic not at all. Threading: event loop only.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .database import Totals

_SNOWFLAKE = re.compile(r"(?<=/)\d{15,21}(?=/|$)")
_TOKEN = re.compile(r"^(/webhooks/[^/]+/)[^/]+")


def route_of(path: str) -> str:
    """A path with `{id}` in place of snowflakes, and `{token}` in place of a webhook's secret."""
    return _TOKEN.sub(r"\1{token}", _SNOWFLAKE.sub("{id}", path))


@dataclass(slots=True)
class Stats:
    """The counters. `uploads` are the message posts under way now; the peak is since the reset."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    cdn_requests: int = 0
    cdn_bytes_out: int = 0
    rate_limited: int = 0
    faults: int = 0
    uploads: int = 0
    peak_uploads: int = 0

    def reset(self) -> None:
        """Forgets all but what is under way."""
        self.requests.clear()
        self.statuses.clear()
        self.bytes_in = self.bytes_out = self.cdn_requests = self.cdn_bytes_out = 0
        self.rate_limited = self.faults = 0
        self.peak_uploads = self.uploads

    def upload_begins(self) -> None:
        self.uploads += 1
        self.peak_uploads = max(self.peak_uploads, self.uploads)

    def upload_ends(self) -> None:
        self.uploads -= 1

    def as_json(self, totals: Totals) -> dict[str, Any]:
        return {
            "requests": dict(sorted(self.requests.items())),
            "statuses": dict(sorted(self.statuses.items())),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "cdn": {"requests": self.cdn_requests, "bytes_out": self.cdn_bytes_out},
            "rate_limited": self.rate_limited,
            "faults": self.faults,
            "uploads": self.uploads,
            "peak_uploads": self.peak_uploads,
            "messages": totals.messages,
            "attachments": totals.attachments,
            "stored_bytes": totals.stored_bytes,
        }
