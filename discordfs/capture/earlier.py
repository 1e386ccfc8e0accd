"""What earlier runs of an archive have covered, for a run that is to take only what is new.

Our runs say it in coverage.json. One without (Discard's, and strict ones) covers a channel from the beginning
to the newest message that it names, if it was a full one that ended well. Threading: pure but for reading
files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from discordfs.archived.ranges import Range, joined
from discordfs.archived.records import whole_number
from discordfs.archived.root import listed_runs
from discordfs.archived.runs import COVERAGE, Run, member


def coverage_of(root: Path) -> dict[int, tuple[Range, ...]]:
    """By channel: the ids that some run of the archive at `root` has seen, those that were added in place
    too."""
    found: dict[int, list[Range]] = {}
    for run in listed_runs(root):
        for channel, part in _of_run(run):
            found.setdefault(channel, []).extend(part)
    return {channel: joined(ranges) for channel, ranges in found.items()}


def _of_run(run: Run) -> Iterator[tuple[int, tuple[Range, ...]]]:
    if (run.path / COVERAGE).exists():
        for channel, covered in run.covered.items():
            yield channel, covered.ranges
    elif _was_full(run):
        for source in run.sources():
            if source.channel and (last := _newest(source.meta())):
                yield source.channel, ((1, last),)


def _was_full(run: Run) -> bool:
    settings = member(run.meta, "settings")
    is_whole = settings.get("after") is None and settings.get("before") is None
    return bool(settings) and is_whole and bool(member(run.meta, "run").get("completed"))


def _newest(meta: Mapping[str, Any]) -> int:
    """Some versions of Discard had oldest and newest the wrong way round."""
    summary = member(meta, "summary")
    ends = (member(summary, f"{which}_message").get("id") for which in ("oldest", "newest"))
    return max((whole_number(each) or 0 for each in ends), default=0)
