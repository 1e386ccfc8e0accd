"""Counts of requests and bytes, for `status`.

Threading: counted on the loop's thread, read from any.
"""

from __future__ import annotations

import re
import threading
from collections import Counter

from discordfs.model import Traffic

_ID = re.compile(r"(?<=/)\d+(?=/|$)")
_SECRET = re.compile(r"(/(?:webhooks|interactions)/\{id\}/)[^/]+")
_EMOJI = re.compile(r"(/reactions/)[^/@]+")


def label(method: str, route: str) -> str:
    """Such as "GET /channels/{id}/messages": what requests are counted by. No id, emoji or token is left."""
    path = _ID.sub("{id}", route.partition("?")[0])
    path = _EMOJI.sub(r"\1{emoji}", _SECRET.sub(r"\1{token}", path))
    return f"{method} {path}"


class TrafficCounter:
    """Adds up; `snapshot` is what status shows."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._up = 0
        self._down = 0

    def request(self, name: str) -> None:
        with self._guard:
            self._requests[name] += 1

    def up(self, size: int) -> None:
        with self._guard:
            self._up += size

    def down(self, size: int) -> None:
        with self._guard:
            self._down += size

    def snapshot(self) -> Traffic:
        with self._guard:
            return Traffic(dict(self._requests), self._up, self._down)
