"""Ranges of ids, both ends included: put together, and what lies between them. Threading: pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

Range = tuple[int, int]

LAST = (1 << 63) - 1
"""No id is larger."""


def joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same ids in as few ranges as can be, in order."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        elif first <= last:
            result.append((first, last))
    return tuple(result)


def gaps(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """What lies between the first and the last of them and is in none."""
    whole = joined(ranges)
    return tuple((before[1] + 1, after[0] - 1) for before, after in pairwise(whole))


def lacking(claimed: Iterable[Range], proven: Iterable[Range]) -> tuple[Range, ...]:
    """What of `claimed` is not in `proven`."""
    known, left = joined(proven), []
    for first, last in joined(claimed):
        start = first
        for begins, ends in known:
            if ends < start or begins > last:
                continue
            if begins > start:
                left.append((start, begins - 1))
            start = ends + 1
        if start <= last:
            left.append((start, last))
    return tuple(left)
