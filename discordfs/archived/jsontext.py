"""JSON values where they stand in a text: what is read is decoded, what is kept is copied as it came.

Job: the members of an object and the elements of an array with their places, each decoded once. Errors:
ValueError for what is no JSON, and RecursionError for what is nested too deeply. Threading: pure.
"""

from __future__ import annotations

import json
import json.scanner
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_scan: Any = json.scanner.make_scanner(json.JSONDecoder(strict=False))  # type: ignore[arg-type]
_space = re.compile(r"[ \t\r\n]*").match
DAMAGE = (ValueError, RecursionError)
"""What these functions raise at a text that is no JSON."""


class Value(NamedTuple):
    """A decoded value and where it stands: text[start:end]."""

    value: Any
    start: int
    end: int


def value_at(text: str, at: int) -> Value:
    """The value that begins at `at` or behind the spaces there."""
    start = _skip(text, at)
    try:
        value, end = _scan(text, start)
    except StopIteration:
        raise ValueError(f"no JSON at character {start}") from None
    return Value(value, start, end)


def starts_with(text: str, at: int, bracket: str) -> bool:
    return text.startswith(bracket, _skip(text, at))


def array_at(text: str, at: int) -> tuple[list[Value], int]:
    """The elements of the array at `at`, and where it ends."""
    found: list[Value] = []
    position = _skip(text, _after(text, at, "["))
    while not text.startswith("]", position):
        if found:
            position = _after(text, position, ",")
        found.append(value_at(text, position))
        position = _skip(text, found[-1].end)
    return found, position + 1


class Members:
    """Of the object at `at`: iterates over (key, place of its value). Whoever has not called `take` for a
    value when the next key is asked for has it taken then; `end` is behind the object once all are
    taken."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._position = _skip(text, _after(text, at, "{"))
        self.end = -1

    def __iter__(self) -> Iterator[tuple[str, int]]:
        text = self._text
        if text.startswith("}", self._position):
            self.end = self._position + 1
            return
        while True:
            key = value_at(text, self._position)
            if not isinstance(key.value, str):
                raise ValueError(f"no key at character {key.start}")
            start = _skip(text, _after(text, key.end, ":"))
            self._position = -1
            yield key.value, start
            if self._position < 0:
                self.take(start)
            position = _skip(text, self._position)
            if text.startswith("}", position):
                self.end = position + 1
                return
            self._position = _after(text, position, ",")

    def take(self, start: int) -> Value:
        """The value of the key that was just yielded."""
        found = value_at(self._text, start)
        self._position = found.end
        return found

    def taken(self, end: int) -> None:
        """The caller has read the value itself, up to `end`."""
        self._position = end


def _skip(text: str, at: int) -> int:
    match = _space(text, at)
    return match.end() if match else at


def _after(text: str, at: int, sign: str) -> int:
    position = _skip(text, at)
    if not text.startswith(sign, position):
        raise ValueError(f"no {sign} at character {position}")
    return position + 1
