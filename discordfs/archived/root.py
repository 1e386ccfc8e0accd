"""An archive's directory: the runs in it, those that are shown in place, and the lock of whoever derives
files.

<root>/<run>/, <root>/media/, <root>/views/, <root>/catalogue.sqlite, and <root>/added.json: the directories
with runs that lie elsewhere, as `archive add` was told them. Errors: OSError; MissingError. Threading: any
process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from discordfs.archived.runs import Run, is_run, read_meta, runs_at, runs_below
from discordfs.archived.tails import new_file

ADDED, VIEWS, CATALOGUE, LOCK = "added.json", "views", "catalogue.sqlite", "views.lock"
MAKING = ".importing-"
"""How the name of a run begins that is not whole yet."""


def added_directories(root: Path) -> list[Path]:
    """As `archive add` was told them; they may be gone."""
    found = read_meta(root / ADDED).get("directories")
    return [Path(each) for each in found if isinstance(each, str)] if isinstance(found, list) else []


def own_runs(root: Path) -> list[Run]:
    """Those that lie in the archive itself, by name; not what is still being copied in."""
    return [run for run in runs_below(root) if not run.name.startswith(MAKING)]


def known_runs(root: Path) -> list[Run]:
    """All runs of the archive, the oldest first, each under a name of its own."""
    return sorted(listed_runs(root), key=lambda run: (run.start_ns, run.name))


def listed_runs(root: Path) -> list[Run]:
    """The same in any order, without a look into them."""
    runs = own_runs(root)
    taken = {run.name for run in runs}
    for directory in added_directories(root):
        for run in _present(directory):
            name = run.name if run.name not in taken else f"{run.name}~{_mark(run.path)}"
            if name not in taken:
                runs.append(Run(run.path, name))
            taken.add(name)
    return runs


def find_run(root: Path, name: str) -> Path | None:
    """Where the run of this name lies; None if there is none."""
    if not name.startswith(MAKING) and is_run(root / name):
        return root / name
    if not (root / ADDED).exists():
        return None
    return next((run.path for run in listed_runs(root) if run.name == name), None)


def _present(directory: Path) -> list[Run]:
    return [Run(directory, directory.name)] if is_run(directory) else runs_below(directory)


def _mark(path: Path) -> str:
    return hashlib.blake2b(bytes(path), digest_size=4).hexdigest()


def remember_added(root: Path, directory: Path) -> int:
    """Shows a directory with runs in place from now on; how many runs it holds. Raises MissingError when it
    holds none."""
    count = len(runs_at(directory))
    known = [str(each) for each in added_directories(root)]
    if str(directory) not in known:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new_file(root / ADDED) as file:
            file.write(json.dumps({"format": 1, "directories": [*known, str(directory)]}, indent=1).encode())
    return count


@contextmanager
def deriving(root: Path) -> Iterator[None]:
    """Held by who writes views and catalogue; another process waits. The kernel drops it with the process."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
