"""The union of a channel's runs: each message once, oldest first, with what is known of its past.

A message's **newest version** is the one with the latest `edited_timestamp` (Discord's clock), among equals
the one that was seen last; one whose contents were withheld (no MESSAGE_CONTENT) counts only where there is
no other. Two observations are one **version** while all that an author can change is the same: signatures
of links, reactions, counts and people's names are no new version. A message is **deleted** when the gateway
said so, or when a file that began after it was last seen covers its id and lacks it; seen again later, it
is not.

Limits: what is in memory is one message's observations and the ranges of the files. Bodies are never
serialised again. Errors: jsontext.DAMAGE for bodies that are no JSON cannot come, as they were read before.
Threading: pure.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from discordfs.archived.observing import Observation
from discordfs.archived.people import is_empty
from discordfs.archived.ranges import Range
from discordfs.archived.records import json_value

_SIGNED = ("url", "proxy_url")
_SAID = (
    *("edited_timestamp", "content", "type", "pinned", "flags", "embeds", "attachments", "components"),
    *("sticker_items", "message_snapshots", "poll"),
)


@dataclass(frozen=True, slots=True)
class Covering:
    """What one file covers: it began at `begin_ns`, and says of every id in `ranges` whether it was there."""

    source: int
    begin_ns: int
    end_ns: int
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """What a message was. `first` and `last`: when this was seen."""

    first: Observation
    last: Observation


def body_of(version: Version) -> Mapping[str, Any]:
    """What it said, decoded."""
    found = json_value(version.last.body.decode("utf-8", "surrogateescape"))
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The message was there at `after_ns` and is known to be gone at `by_ns` from file number `source`."""

    after_ns: int
    by_ns: int
    source: int


@dataclass(frozen=True, slots=True)
class Merged:
    """A message. `versions` in the order of their edits; `newest` is the body to show, which is decoded in
    `value`; `deleted` says when it went, if it did and was not seen again."""

    id: int
    newest: Observation
    value: Mapping[str, Any]
    versions: tuple[Version, ...]
    deleted: Tombstone | None

    @property
    def has_history(self) -> bool:
        return len(self.versions) > 1 or self.deleted is not None


def merge(observations: Iterable[Observation], coverings: Sequence[Covering]) -> Iterator[Merged]:
    """`observations` sorted, as Sorter gives them. Deletions of messages that nobody saw say nothing."""
    sweep = _Sweep(coverings)
    for number, group in groupby(observations, key=attrgetter("id")):
        found = list(group)
        active = sweep.at(number)
        merged = _merged(number, found, active)
        if merged is not None:
            yield merged


def _merged(number: int, found: list[Observation], active: Sequence[Covering]) -> Merged | None:
    bodies = [each for each in found if each.body]
    if not bodies:
        return None
    deleted = _deleted(found, bodies, active)
    if len(bodies) == 1:
        only = bodies[0]
        return Merged(number, only, _decoded(only), (Version(only, only),), deleted)
    versions, newest, value = _versions(bodies)
    return Merged(number, newest, value, versions, deleted)


def _deleted(
    found: Sequence[Observation], bodies: Sequence[Observation], active: Sequence[Covering]
) -> Tombstone | None:
    last = bodies[-1].at_ns
    for each in found:
        if each.is_deletion:  # final, whatever the clocks say: Discord gives no id twice
            return Tombstone(last, each.at_ns, each.source)
    if not active:
        return None
    showing = {each.source for each in bodies}
    lacking = [each for each in active if each.source not in showing and each.begin_ns > last]
    if not lacking:
        return None
    first = min(lacking, key=attrgetter("begin_ns"))
    return Tombstone(last, first.end_ns, first.source)


def _versions(bodies: Sequence[Observation]) -> tuple[tuple[Version, ...], Observation, Mapping[str, Any]]:
    seen: dict[bytes, tuple[Version, Mapping[str, Any]]] = {}
    last_text, last_key = b"", b""
    for body in bodies:
        if body.body == last_text:
            known, value = seen[last_key]
            seen[last_key] = Version(known.first, body), value
            continue
        value = _decoded(body)
        key = fingerprint(value)
        first = seen[key][0].first if key in seen else body
        seen[key] = Version(first, body), value
        last_text, last_key = body.body, key
    ordered = sorted(seen.values(), key=_rank)
    newest = ordered[-1]
    return tuple(version for version, _ in ordered), newest[0].last, newest[1]


def _rank(pair: tuple[Version, Mapping[str, Any]]) -> tuple[str, bool, int]:
    version, value = pair
    return edited(value), not is_empty(value), version.last.at_ns


def edited(value: Mapping[str, Any]) -> str:
    """ISO, Discord's clock; empty for a message that never was."""
    found = value.get("edited_timestamp")
    return found if isinstance(found, str) else ""


def fingerprint(value: Mapping[str, Any]) -> bytes:
    """Equal for two observations of one version."""
    said = {key: value[key] for key in _SAID if key in value}
    try:
        text = json.dumps({key: _unsigned(each) for key, each in said.items()}, sort_keys=True)
    except RecursionError:  # nested as no message of Discord's is: then only what is equal is the same
        text = repr(sorted(said))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _unsigned(value: Any) -> Any:
    """Without what changes by itself: signatures of links, votes."""
    if isinstance(value, list):
        return [_unsigned(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: each.partition("?")[0] if key in _SIGNED and isinstance(each, str) else _unsigned(each)
        for key, each in value.items()
        if key != "results"
    }


def _decoded(observation: Observation) -> Mapping[str, Any]:
    value = json_value(observation.body.decode("utf-8", "surrogateescape"))
    return value if isinstance(value, dict) else {}


class _Sweep:
    """Which files cover an id, asked in ascending order."""

    def __init__(self, coverings: Sequence[Covering]) -> None:
        self._coming = [
            (first, index, last, each) for index, each in enumerate(coverings) for first, last in each.ranges
        ]
        heapq.heapify(self._coming)
        self._active: list[tuple[int, Covering]] = []
        self._found: tuple[Covering, ...] = ()
        self._until = -1

    def at(self, number: int) -> Sequence[Covering]:
        if number < self._until:
            return self._found
        coming, active = self._coming, [pair for pair in self._active if pair[0] >= number]
        while coming and coming[0][0] <= number:
            _first, _index, last, covering = heapq.heappop(coming)
            if last >= number:
                active.append((last, covering))
        self._active, self._found = active, tuple(covering for _, covering in active)
        ends = [last + 1 for last, _ in active]
        self._until = min([*ends, *([coming[0][0]] if coming else [1 << 63])])
        return self._found
