"""What earlier runs of an archive have covered, for a run that is to take only what is new.

Our runs say it in coverage.json. One without (Discard's, and strict ones) covers a channel from the beginning
to the newest message that it names, if it was a full one that ended well. Threading: pure but for reading
files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from discordfs.capture.coverage import Range, joined, read_coverage
from discordfs.capture.rundir import COVERAGE, RUN_META, read_json

_CHANNEL_META = ".meta.json"


def coverage_of(root: Path) -> dict[int, tuple[Range, ...]]:
    """By channel: the ids that some run in `root` has seen."""
    found: dict[int, list[Range]] = {}
    for meta in root.glob(f"*/{RUN_META}"):
        for channel, part in _of_run(meta.parent):
            found.setdefault(channel, []).extend(part)
    return {channel: joined(ranges) for channel, ranges in found.items()}


def _of_run(run: Path) -> Iterator[tuple[int, tuple[Range, ...]]]:
    if (run / COVERAGE).exists():
        for channel, covered in read_coverage(run / COVERAGE).items():
            yield channel, covered.ranges
    elif _was_full(read_json(run / RUN_META)):
        for path in run.glob(f"*/*{_CHANNEL_META}"):
            if last := _newest(read_json(path)):
                yield int(path.name.removesuffix(_CHANNEL_META)), ((1, last),)


def _was_full(meta: dict[str, Any]) -> bool:
    settings, run = meta.get("settings"), meta.get("run")
    if not isinstance(settings, dict) or not isinstance(run, dict):
        return False
    return bool(run.get("completed")) and settings.get("after") is None and settings.get("before") is None


def _newest(meta: dict[str, Any]) -> int:
    """Some versions of Discard had oldest and newest the wrong way round."""
    summary = meta.get("summary")
    if not isinstance(meta.get("channel"), dict) or not isinstance(summary, dict):
        return 0
    ends = [summary.get("oldest_message"), summary.get("newest_message")]
    return max((int(each["id"]) for each in ends if isinstance(each, dict)), default=0)
