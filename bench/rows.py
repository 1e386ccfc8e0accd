"""What a bench comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`ours` and `bare` are figures for people, `bare` of the yardstick or "-"; `figure` is what `bound` is
    about."""

    name: str
    ours: str
    bare: str
    figure: float
    bound: str
    holds: bool
