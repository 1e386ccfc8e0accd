"""What `read` shows: the messages of a file, a run, or a directory of runs, as harmless text, streamed.

Errors: MissingError where nothing can be read, OSError. Threading: pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from discordfs.archived.channelview import TEXT
from discordfs.archived.merge import Covering, merge
from discordfs.archived.observing import Seen, observe
from discordfs.archived.runs import Run, Source, member, runs_at
from discordfs.archived.sorting import Sorter
from discordfs.archived.textview import harmless, message_text
from discordfs.errors import MissingError


def text_of(path: Path, scratch: Path) -> Iterator[str]:
    """Lines with their ends, in pieces. `path`: a channel's record file, a run, a directory with runs, or a
    directory among the views. `scratch` takes what does not fit into memory."""
    if path.is_file():
        yield from _messages([Source(path)], scratch)
    elif (path / TEXT).is_file():
        with (path / TEXT).open(encoding="utf-8", errors="replace") as file:
            yield from file
    elif path.is_dir():
        yield from _runs(runs_at(path), scratch)
    else:
        raise MissingError(f"{path} is not there")


def _runs(runs: list[Run], scratch: Path) -> Iterator[str]:
    channels: dict[tuple[int, int], list[Source]] = {}
    for run in runs:
        for source in run.sources():
            if source.channel:
                channels.setdefault((source.guild, source.channel), []).append(source)
    for (guild, channel), sources in channels.items():
        yield f"=== {_title(sources)} ({channel}), {f'server {guild}' if guild else 'direct messages'} ===\n"
        yield from _messages(sources, scratch)
        yield "\n"


def _title(sources: list[Source]) -> str:
    name = member(sources[-1].meta(), "channel").get("name")
    return harmless(name) if isinstance(name, str) else "channel"


def _messages(sources: list[Source], scratch: Path) -> Iterator[str]:
    coverings, trouble = [], []
    with Sorter(scratch) as sorter:
        for number, source in enumerate(sources):
            seen = Seen()
            for observation in observe(source.path, number, seen):
                sorter.add(observation)
            coverings.append(Covering(number, seen.begin_ns, seen.end_ns, seen.ranges()))
            trouble += [f"!!! {source.path.name}: {text}\n" for text in seen.trouble.damage]
        yield from (message_text(each) for each in merge(iter(sorter), coverings))
    yield from map(str, trouble)
