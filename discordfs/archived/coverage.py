"""A run's coverage.json: which ids of each channel it has looked at, and what it could not see.

A range says that pages of the run showed every message with an id in it that there was then. So what is
missing between two ranges may exist, and a message is deleted only when a page that covers its id lacks it.
Threading: pure but for reading a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from discordfs.archived.ranges import Range, joined

FORMAT = 1
NOWHERE = 0
"""The place of what has to do with no one channel."""


@dataclass(frozen=True, slots=True)
class Covered:
    """A channel's part. `oldest`: the beginning was reached. `newest_id`: of the messages seen, 0 without."""

    ranges: tuple[Range, ...] = ()
    oldest: bool = False
    newest_id: int = 0
    errors: tuple[str, ...] = ()

    def with_range(self, first: int, last: int, newest_id: int) -> Covered:
        ranges = joined([*self.ranges, (first, last)]) if first <= last else self.ranges
        oldest = bool(ranges) and ranges[0][0] <= 1
        return Covered(ranges, oldest, max(self.newest_id, newest_id), self.errors)

    def with_error(self, error: str) -> Covered:
        return Covered(self.ranges, self.oldest, self.newest_id, (*self.errors, error))

    def as_json(self) -> dict[str, Any]:
        return {
            "ranges": [list(each) for each in self.ranges],
            "oldest": self.oldest,
            "newest_id": self.newest_id,
            "errors": list(self.errors),
        }


def covered_of(body: Mapping[str, Any]) -> Covered:
    """The reverse of as_json. Raises KeyError, TypeError, ValueError when it is something else."""
    return Covered(
        joined((int(first), int(last)) for first, last in body["ranges"]),
        bool(body["oldest"]),
        int(body["newest_id"]),
        tuple(str(each) for each in body["errors"]),
    )


def read_coverage(path: Path) -> dict[int, Covered]:
    """A run's coverage.json; empty when there is none or it cannot be read: then nothing counts as
    covered."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            return {}
        found = {int(key): covered_of(value) for key, value in body["channels"].items()}
        return found | {NOWHERE: Covered(errors=tuple(str(each) for each in body["errors"]))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
