"""The runs of an archive and the files in them, as they lie on disk.

A run is a directory with run.meta.json or run.jsonl; what its metadata says is never trusted for more than
names. Channel files lie in directories named for a server's id, or "@me". Anything else in a run is none of
ours. Errors: OSError; MissingError where no run is. Threading: pure.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from discordfs.archived.coverage import Covered, read_coverage
from discordfs.archived.jsontext import DAMAGE
from discordfs.archived.lines import Trouble, read_lines
from discordfs.archived.ranges import LAST, Range
from discordfs.archived.records import Record, epoch_ns, parse_record, whole_number
from discordfs.errors import MissingError
from discordfs.remote.base import snowflake_at

RUN_META, COVERAGE, STATE = "run.meta.json", "coverage.json", "state.json"
DIRECT = "@me"
"""The directory of channels that belong to no server."""

THREAD_TYPES = frozenset({10, 11, 12})

_FILE = re.compile(r"(run|guild|\d{1,19})\.jsonl(?:\.gz)?$")
_META_MAX = 16 * 1024**2
_STAMP = re.compile(r"^(\d{8}T\d{6})")


@dataclass(frozen=True, slots=True)
class Source:
    """A record file. `guild` is 0 for direct messages and for the run's own file; `channel` is 0 for the
    files of runs and servers."""

    path: Path
    guild: int = 0
    channel: int = 0

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(".gz")

    @property
    def stem(self) -> str:
        return self.name.removesuffix(".jsonl")

    def meta(self) -> Mapping[str, Any]:
        """What stands beside it about it; empty when that is missing or no JSON object."""
        return read_meta(self.path.with_name(f"{self.stem}.meta.json"))


@dataclass(frozen=True)
class Run:
    """A run's directory. `name` is unique among the runs of an archive, and what views call it."""

    path: Path
    name: str

    @property
    def key(self) -> str:
        """The name as text, for databases and JSON: on disk it may be any bytes."""
        return os.fsencode(self.name).decode("utf-8", "backslashreplace")

    @cached_property
    def meta(self) -> Mapping[str, Any]:
        return read_meta(self.path / RUN_META)

    @cached_property
    def start_ns(self) -> int:
        """When it began: as it says, else as its name says, else 0."""
        said = epoch_ns(member(self.meta, "run").get("datetime_start"))
        match = _STAMP.match(self.path.name)
        return said or (epoch_ns(match[1]) if match else 0)

    @cached_property
    def asked(self) -> Range:
        """The ids of messages between `after` and `before`, as it was told."""
        settings = member(self.meta, "settings")
        before = epoch_ns(settings.get("before"))
        first = max(1, snowflake_at(epoch_ns(settings.get("after"))))
        return first, snowflake_at(before) - 1 if before else LAST

    @cached_property
    def covered(self) -> Mapping[int, Covered]:
        """What its coverage.json claims, by channel; empty when it says nothing."""
        return read_coverage(self.path / COVERAGE)

    def claimed(self, channel: int) -> tuple[Range, ...] | None:
        """The ranges of ids that it claims to cover; None where it says nothing."""
        return self.covered[channel].ranges if channel in self.covered else None

    def sources(self) -> Iterator[Source]:
        """The run's own file, then each server's and its channels', in the order of ids."""
        yield from self._in(self.path, 0, {"run"})
        for folder in sorted(_folders(self.path), key=_order):
            guild = 0 if folder.name == DIRECT else int(folder.name)
            yield from self._in(folder, guild, {"guild"})
            yield from self._in(folder, guild, None)

    def _in(self, folder: Path, guild: int, stems: set[str] | None) -> Iterator[Source]:
        found = []
        for entry in os.scandir(folder):
            match = _FILE.fullmatch(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            channel = whole_number(match[1])
            if (match[1] in stems) if stems else channel is not None:
                found.append(Source(Path(entry.path), guild, channel or 0))
        yield from sorted(found, key=lambda source: (source.channel, source.path.name))


def folder_of(guild: int) -> str:
    """The name of a server's directory in a run."""
    return str(guild) if guild else DIRECT


def _folders(path: Path) -> Iterator[Path]:
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False) and (
            entry.name == DIRECT or whole_number(entry.name) is not None
        ):
            yield Path(entry.path)


def _order(folder: Path) -> int:
    return 0 if folder.name == DIRECT else int(folder.name)


def is_run(path: Path) -> bool:
    """One that nobody lets us look into is known by its name."""
    try:
        return any((path / name).is_file() for name in (RUN_META, "run.jsonl", "run.jsonl.gz"))
    except PermissionError:
        return _STAMP.match(path.name) is not None


def runs_below(root: Path) -> list[Run]:
    """The runs that lie directly in `root`, by name."""
    if not root.is_dir():
        return []
    return [Run(path, path.name) for path in sorted(root.iterdir()) if path.is_dir() and is_run(path)]


def runs_at(path: Path) -> list[Run]:
    """The run at `path`, or those below it. Raises MissingError when there is none."""
    if is_run(path):
        return [Run(path, path.name)]
    found = runs_below(path)
    if not found:
        raise MissingError(f"{path} holds no run: a run is a directory with run.meta.json or run.jsonl")
    return found


@dataclass(frozen=True, slots=True)
class Located:
    """A record and where it stands: its offset in the uncompressed file."""

    offset: int
    record: Record


def read_records(path: Path, trouble: Trouble, begin: int = 0) -> Iterator[Located]:
    """The records of a file, streamed, from that at `begin` on. Lines that are none are told in `trouble`;
    one that nothing ends and that cannot be read was cut off."""
    last: tuple[int, str] | None = None
    for offset, line in read_lines(path, trouble, begin):
        if last is not None:
            trouble.damage.append(f"the line at byte {last[0]} is no record ({last[1]})")
            last = None
        if not line.strip():
            continue
        try:
            record = parse_record(line)
        except DAMAGE as error:
            last = (offset, str(error) or type(error).__name__)
            continue
        yield Located(offset, record)
    if last is not None:
        trouble.is_cut = True


def read_meta(path: Path) -> Mapping[str, Any]:
    """A JSON object, or nothing."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_META_MAX))
    except (OSError, *DAMAGE):
        return {}
    return value if isinstance(value, dict) else {}


def member(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object in an object; empty when it is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else {}
