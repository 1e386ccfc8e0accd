"""The catalogue as files in the predecessor's form: messages/<Id>.json, thumb/<Id>.png and catalogue.jsonl.

Where Ids collide all but the first have the attachment's id behind theirs. What lies in the directory already
is replaced, file by file and each whole; nothing is removed.
Limits: one clip in memory. Errors: OSError. Threading: any.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.model import Clip
from discordfs.clipping.record import record_of, record_text
from discordfs.errors import UsageError

MESSAGES, THUMBS, CATALOGUE = "messages", "thumb", "catalogue.jsonl"


@dataclass(frozen=True, slots=True)
class Exported:
    """How many records and thumbnails were written."""

    clips: int
    thumbs: int


def export(
    catalogue: Catalogue,
    thumbs: Path,
    target: Path,
    *,
    with_deleted: bool = False,
    tell: Callable[[int], None] = lambda done: None,
) -> Exported:
    """Writes all clips to `target`; those that are deleted on Discord only `with_deleted`, unless a copy is
    kept. `thumbs`: where <attachment id>.png lie. Raises UsageError when `target` is no directory."""
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is no directory: name one for the export")
    for name in (MESSAGES, THUMBS):
        (target / name).mkdir(parents=True, exist_ok=True)
    count = pictures = 0
    draft = target / f"{CATALOGUE}.tmp"
    with draft.open("w", encoding="ascii") as listing:
        for clip, line in records(catalogue, with_deleted=with_deleted):
            name = file_name(catalogue, clip)
            _put(target / MESSAGES / f"{name}.json", line)
            listing.write(f"{line}\n")
            pictures += _copied(thumbs / f"{clip.id}.png", target / THUMBS / f"{name}.png")
            count += 1
            tell(count)
    os.replace(draft, target / CATALOGUE)
    return Exported(count, pictures)


def records(catalogue: Catalogue, *, with_deleted: bool = False) -> Iterator[tuple[Clip, str]]:
    """Each clip with its record as a line, the oldest first."""
    for each in catalogue.found(with_hidden=with_deleted):
        yield each.clip, record_text(record_of(each.clip, each.poster, each.place))


def file_name(catalogue: Catalogue, clip: Clip) -> str:
    """The Id; with the attachment's behind it for all but the first that have it."""
    same = catalogue.by_alias(clip.alias)
    return clip.alias if same and same[0].id == clip.id else f"{clip.alias}-{clip.id}"


def _put(path: Path, text: str) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(text, encoding="ascii")
    os.replace(draft, path)


def _copied(source: Path, target: Path) -> bool:
    if not source.exists():
        return False
    draft = target.with_suffix(".tmp")
    shutil.copyfile(source, draft)
    os.replace(draft, target)
    return True
