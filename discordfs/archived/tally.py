"""How many messages there are, each counted once, and which are the first and the last. Limits: eight bytes a
message in memory, five times that at the end. Threading: pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from discordfs.archived.observing import Observation
from discordfs.archived.ranges import Range


@dataclass(frozen=True, slots=True)
class Tally:
    """What observations come to: the number of messages, and one observation each of that with the smallest
    id and that with the largest, None without any."""

    messages: int = 0
    oldest: Observation | None = None
    newest: Observation | None = None


def tally(observations: Iterable[Observation], within: Range) -> Tally:
    """Of ids within a range, in any order: a page may reach beyond what was asked for. What was heard to be
    deleted does not count."""
    ids = array("q")
    oldest = newest = None
    for each in observations:
        if each.is_deletion or not within[0] <= each.id <= within[1]:
            continue
        ids.append(each.id)
        if oldest is None or each.id < oldest.id:
            oldest = each
        if newest is None or each.id > newest.id:
            newest = each
    return Tally(sum(1 for _ in groupby(sorted(ids))), oldest, newest)
