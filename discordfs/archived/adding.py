"""Archives from elsewhere, copied in: each run whole and verified, or not at all.

A run is copied under a name that no reader looks at, read back and compared, brought to disk, and renamed.
One that is there already with the same bytes is left alone; another of the same name gets a name of its own.
Errors: MissingError, OSError; Damaged when what was copied is not what was read. Threading: one thread.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from discordfs.archived.root import MAKING
from discordfs.archived.runs import Run, runs_at
from discordfs.disk import sync_directory
from discordfs.errors import Damaged

_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Imported:
    """Names of runs: those that were copied, and those that were there. `left_out`: what is no plain file."""

    copied: tuple[str, ...]
    known: tuple[str, ...]
    left_out: tuple[str, ...]


def import_runs(root: Path, directory: Path) -> Imported:
    """Copies the runs in `directory`, or the run that it is, into the archive at `root`."""
    runs = runs_at(directory)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    copied, known, left_out = [], [], []
    for run in runs:
        name = _name_for(root, run)
        if (root / name).exists():
            known.append(name)
            continue
        left_out += _copy_run(run.path, root, name)
        copied.append(name)
    return Imported(tuple(copied), tuple(known), tuple(left_out))


def _name_for(root: Path, run: Run) -> str:
    """Its own, unless another run has it: then one that its contents decide."""
    name = run.path.name
    if not (root / name).exists() or _is_same(run.path, root / name):
        return name
    return f"{name}_{_digest(run.path)[:8]}"


def _is_same(one: Path, other: Path) -> bool:
    names = {path.relative_to(one) for path in _files(one)}
    if names != {path.relative_to(other) for path in _files(other)}:
        return False
    return all(filecmp.cmp(one / name, other / name, shallow=False) for name in names)


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(directory):
        digest.update(os.fsencode(path.relative_to(directory)) + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def _copy_run(source: Path, root: Path, name: str) -> list[str]:
    draft = root / f"{MAKING}{name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    try:
        for path in _files(source):
            _copy_file(path, draft / path.relative_to(source))
        for folder in [draft, *(path for path in draft.rglob("*") if path.is_dir())]:
            sync_directory(folder)
        os.rename(draft, root / name)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_directory(root)
    return list(_others(source))


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as old, target.open("wb") as new:
        while piece := old.read(_STEP):
            digest.update(piece)
            new.write(piece)
        new.flush()
        os.fsync(new.fileno())
    with target.open("rb") as copy:
        if hashlib.file_digest(copy, "sha256").digest() != digest.digest():
            raise Damaged(f"the copy of {source} is not what was read: look at the disk, and import again")
    shutil.copystat(source, target)


def _others(source: Path) -> Iterator[str]:
    for path in sorted(source.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield str(path)
