"""What a check says: faults, whom they hurt, and how each is mended.

Job: the value types of fsck. No I/O. Threading: values are frozen.
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class Severity(enum.Enum):
    """NOTE: worth telling, nothing is wrong. DAMAGE: something is not as it must be."""

    NOTE = "note"
    DAMAGE = "damage"


@dataclass(frozen=True, slots=True)
class Mend:
    """Puts the index's tables right; `apply` runs within the one transaction of a repair."""

    apply: Callable[[sqlite3.Connection], object]


@dataclass(frozen=True, slots=True)
class Heal:
    """Bytes of a chunk that Discord lost: what staging or the cache still holds is uploaded anew. `ranges`:
    (position, length) in the plaintext of the chunk with row id `chunk`; `is_there`: Discord may still give
    some of them."""

    chunk: int
    ranges: tuple[tuple[int, int], ...]
    is_there: bool = False


@dataclass(frozen=True, slots=True)
class Retell:
    """The log is told everything again, by a snapshot."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The index is made anew, from what can be read of it and from the log; or (`from_chunks`) from what the
    chunks say of themselves, as nothing else tells of them."""

    from_chunks: bool = False


Repair = Mend | Heal | Retell | Rebuild


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, or a note. `kind` is one word for scripts; `text` a sentence; `paths` the files it touches,
    as the drive names them (surrogateescape); `repair` None where nothing can be done about it."""

    kind: str
    text: str
    paths: tuple[str, ...] = ()
    repair: Repair | None = None
    severity: Severity = Severity.DAMAGE

    @property
    def is_damage(self) -> bool:
        return self.severity is Severity.DAMAGE


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of fsck found and did. `findings` as they are now, after a repair; `mended` what there was
    before it and is no more; `undone` says in sentences what could not be checked, and why; `is_offline`:
    that was because Discord could not be reached."""

    findings: tuple[Finding, ...] = ()
    mended: tuple[Finding, ...] = ()
    undone: tuple[str, ...] = ()
    is_offline: bool = False

    @property
    def is_damaged(self) -> bool:
        return any(finding.is_damage for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For control.py and --json."""
        return {
            "clean": not self.is_damaged and not self.undone,
            "offline": self.is_offline,
            "findings": [_as_json(finding) for finding in self.findings],
            "mended": [_as_json(finding) for finding in self.mended],
            "undone": list(self.undone),
        }


def report_of(answer: Mapping[str, Any]) -> Report:
    """What `as_json` gave, as a report again; its repairs are gone."""
    return Report(
        tuple(_finding(each) for each in answer["findings"]),
        tuple(_finding(each) for each in answer["mended"]),
        tuple(answer["undone"]),
        bool(answer["offline"]),
    )


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "severity": finding.severity.value,
        "text": finding.text,
        "paths": [_printable(path) for path in finding.paths],
        "repairable": finding.repair is not None,
    }


def _finding(answer: Mapping[str, Any]) -> Finding:
    paths = tuple(answer["paths"])
    return Finding(answer["kind"], answer["text"], paths, severity=Severity(answer["severity"]))


def _printable(path: str) -> str:
    """JSON and terminals take no lone surrogates: bytes that are no UTF-8 are shown as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def damage(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.is_damage]
