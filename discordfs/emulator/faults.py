"""Faults on order: which request is hit, and by what.

A fault counts the requests it matches from the moment it is set. With `nth` it strikes from the nth on,
`count` times (default once); with `probability` each match by chance, `count` times at most (default
without end); with neither, as with nth 1. The first fault that strikes wins. Threading: event loop only.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from .stats import route_of

KINDS = frozenset(
    {"status", "page", "reset", "reset_after_commit", "timeout", "truncate", "corrupt", "slow", "hold"}
)  # fmt: skip
_NUMBERS: dict[str, tuple[type, float, float]] = {  # key: type, least, most
    "nth": (int, 1, 1e9),
    "probability": (float, 0, 1),
    "status": (int, 400, 599),
    "count": (int, 1, 1e9),
    "delay_s": (float, 0, 86400),
}


class FaultError(ValueError):
    """An order for a fault that makes no sense; the message says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One order. `route` is a path with {id} for ids, `cdn`, or `*`; `delay_s` is wall time, for slow
    and timeout.
    """

    route: str = "*"
    method: str = "*"
    kind: str = "status"
    nth: int = 1
    probability: float | None = None
    status: int = 500
    count: int | None = 1
    delay_s: float | None = None

    def matches(self, method: str, route: str) -> bool:
        return self.method in ("*", method) and self.route in ("*", route)


def parse(order: Mapping[str, object]) -> Fault:
    """A fault from the body of a control request; FaultError says what is wrong with it."""
    unknown = set(order) - {"route", "method", "kind", *_NUMBERS}
    if unknown:
        raise FaultError(f"unknown key {sorted(unknown)[0]!r}")
    kind, route, method = (str(order.get(key, "*")) for key in ("kind", "route", "method"))
    if kind not in KINDS:
        raise FaultError(f"kind {kind!r}: expected one of {', '.join(sorted(KINDS))}")
    if "nth" in order and "probability" in order:
        raise FaultError("nth and probability exclude each other")
    numbers = {key: _number(key, order[key]) for key in _NUMBERS if order.get(key) is not None}
    if "probability" in numbers:
        numbers.setdefault("count", None)
    return Fault(_route(route), method.upper(), kind, **numbers)  # type: ignore[arg-type]


def _route(route: str) -> str:
    return route_of(route.removeprefix("/api/v10"))


def _number(key: str, value: object) -> int | float | None:
    kind, least, most = _NUMBERS[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or (kind is int and value != int(value)):
        raise FaultError(f"{key}: expected a number")
    if not least <= value <= most:
        raise FaultError(f"{key}: expected {least:g} to {most:g}")
    return int(value) if kind is int else float(value)


@dataclass(slots=True)
class _Active:
    fault: Fault
    seen: int = 0
    struck: int = 0


class Faults:
    """The faults in force."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._active: list[_Active] = []

    def add(self, fault: Fault) -> None:
        self._active.append(_Active(fault))

    def clear(self) -> None:
        self._active.clear()

    def reseed(self, seed: int) -> None:
        self._random = random.Random(seed)

    def strike(self, method: str, route: str) -> Fault | None:
        """The fault that hits this request, if any; every matching fault counts it."""
        chosen: Fault | None = None
        for active in self._active:
            if not active.fault.matches(method, route):
                continue
            active.seen += 1
            if chosen is None and self._due(active):
                active.struck += 1
                chosen = active.fault
        self._active = [each for each in self._active if not _spent(each)]
        return chosen

    def _due(self, active: _Active) -> bool:
        if active.fault.probability is not None:
            return self._random.random() < active.fault.probability
        return active.seen >= active.fault.nth

    def as_json(self) -> list[dict[str, object]]:
        """The faults in force with what they have seen and done."""
        return [
            {
                "route": each.fault.route,
                "method": each.fault.method,
                "kind": each.fault.kind,
                "seen": each.seen,
                "struck": each.struck,
            }
            for each in self._active
        ]


def _spent(active: _Active) -> bool:
    return active.fault.count is not None and active.struck >= active.fault.count
