"""history.jsonl: the past of each message that has one, in the order of ids. Threading: pure.

One JSON object a line. A version: {"id", "event": "version", "first_seen", "last_seen", "run", "file",
"offset", "message"}, where `message` is the body as received and the three before it say where it stands. A
tombstone: {"id", "event": "deleted", "last_seen", "known_at", "run", "file"}. Times are UTC, null when
nothing tells. Versions come in the order of their edits, a tombstone last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from discordfs.archived.merge import Merged, Version
from discordfs.archived.records import iso


def history_lines(merged: Merged, origins: Sequence[tuple[str, str]]) -> Iterator[bytes]:
    """`origins`: (run, file) of each source number."""
    for version in merged.versions:
        yield _version(merged.id, version, origins)
    if merged.deleted is not None:
        run, file = origins[merged.deleted.source]
        body = {
            "id": merged.id,
            "event": "deleted",
            "last_seen": _time(merged.deleted.after_ns),
            "known_at": _time(merged.deleted.by_ns),
            "run": run,
            "file": file,
        }
        yield json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def _version(number: int, version: Version, origins: Sequence[tuple[str, str]]) -> bytes:
    run, file = origins[version.last.source]
    head = {
        "id": number,
        "event": "version",
        "first_seen": _time(version.first.at_ns),
        "last_seen": _time(version.last.at_ns),
        "run": run,
        "file": file,
        "offset": version.last.offset,
    }
    start = json.dumps(head, ensure_ascii=False)[:-1].encode("utf-8", "surrogateescape")
    return start + b', "message": ' + version.last.body + b"}\n"


def _time(at_ns: int) -> str | None:
    return iso(at_ns) if at_ns else None
