"""A run's directory: what it is called, what lies where in it, and its metadata files, as Discard has them.

Metadata is written by rename, so that no reader meets half a file. Threading: any thread, each file by one.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from discordfs.archived.root import own_runs
from discordfs.archived.runs import STATE
from discordfs.capture.recordfile import RecordFile
from discordfs.disk import sync_directory
from discordfs.errors import BusyError, MissingError

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_IDENT_LENGTH = 24


def new_ident(rng: random.Random) -> str:
    """24 letters that tell runs apart."""
    return "".join(rng.choice(_LETTERS) for _ in range(_IDENT_LENGTH))


def write_json(path: Path, body: Mapping[str, Any], indent: int | None = 4) -> None:
    """By rename, and on disk when this returns."""
    draft = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(body, file, indent=indent, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    sync_directory(path.parent)


class RunDirectory:
    """One run's directory. Held by this process alone until `close`."""

    def __init__(self, path: Path, compressed: bool) -> None:
        self.path = path
        self._compressed = compressed
        self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise BusyError(f"{path} is being captured by another process: wait for its end") from None

    def close(self) -> None:
        """Lets others have it."""
        os.close(self._lock)

    def file(self, *names: str) -> RecordFile:
        """An open record file, such as file("123", "456.jsonl"); goes on behind what is there."""
        path = self.path.joinpath(*names)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        made = RecordFile(path, self._compressed)
        made.open()
        return made

    def write_meta(self, body: Mapping[str, Any], *names: str) -> None:
        """A metadata file, such as write_meta(body, "123", "guild.meta.json")."""
        path = self.path.joinpath(*names)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_json(path, body)


def new_run(
    root: Path, mode: str, is_full: bool, ident: str, started: datetime, compressed: bool
) -> RunDirectory:
    """Makes `<time>_<mode>[_full][_<ident[:5]>]` in `root`; the last part only where the name is taken."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{started:%Y%m%dT%H%M%S}_{mode}{'_full' if is_full else ''}"
    path = root / name
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        path = root / f"{name}_{ident[:5]}"
        path.mkdir(mode=0o700)
    sync_directory(root)
    return RunDirectory(path, compressed)


def unfinished_run(root: Path, identity: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The newest run in `root` that has not ended well and was asked for the same, and its state.json. Raises
    MissingError."""
    for run in reversed(own_runs(root)):
        try:
            state = json.loads((run.path / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(state, dict) and state.get("asked") == identity:
            return run.path, state
    raise MissingError(f"{root} has no unfinished run of this kind")
