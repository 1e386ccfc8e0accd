"""How far a run is, for people: counts, rate, and the time that is left.

The time is guessed from ids, which hold their time: of each channel the share of its span that is behind it.
Threading: values are frozen; made by the thread that waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from discordfs.archived.ranges import LAST
from discordfs.capture.job import Mark

_LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a run. `seconds` since its start; `left_s` None while nothing can be said."""

    channels_done: int
    channels: int
    messages: int
    requests: int
    seconds: float
    left_s: float | None

    @property
    def messages_a_second(self) -> float:
        return self.messages / self.seconds if self.seconds > 0 else 0.0


def progress_of(marks: Iterable[Mark], requests: int, seconds: float) -> Progress:
    """Sums up."""
    all_marks = list(marks)
    share = sum(_share(mark) for mark in all_marks) / len(all_marks) if all_marks else 0.0
    left = seconds * (1 - share) / share if share >= _LEAST_SHARE else None
    messages = sum(mark.messages for mark in all_marks)
    return Progress(sum(mark.done for mark in all_marks), len(all_marks), messages, requests, seconds, left)


def _share(mark: Mark) -> float:
    """How much of a channel is behind us, from 0 to 1, by the time in its ids."""
    if mark.done:
        return 1.0
    first, last = mark.channel.id >> 22, (mark.channel.last_message or 0) >> 22
    if not mark.todo or last <= first:
        return 0.0
    begins = max(first, mark.todo[0][0] >> 22)
    ends = min(last, mark.todo[-1][1] >> 22) if mark.todo[-1][1] != LAST else last
    return min(1.0, max(0.0, 1 - (ends - begins) / (last - first)))
