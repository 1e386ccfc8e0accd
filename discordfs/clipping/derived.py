"""Files of clips/ that are made of the whole catalogue: catalogue.jsonl, and the gallery's data.

They are made in a directory of their own, on the local disk, and get its name when they are whole. The two
newest makings stay, since whoever has looked at a name may open it a moment later; files that are open stay
readable in any case. At the start all are made anew.
Limits: what one making takes in memory is its own affair. Errors: OSError as the disk gives it. Threading:
any; a lock counts, and guards the sweeping.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

_DRAFT = "."
_KEPT = 2


class Derived:
    """Makings in `directory`, which is made when it is needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._guard = threading.Lock()
        self._count = 0

    def make(self, name: str, write: Callable[[Path], None]) -> Path:
        """A directory with what `write` wrote into it."""
        number = self._next()
        draft = self._directory / f"{_DRAFT}{name}-{number}"
        draft.mkdir(mode=0o700)
        try:
            write(draft)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        made = draft.with_name(f"{name}-{number}")
        draft.rename(made)
        self._sweep(name)
        return made

    def _next(self) -> int:
        with self._guard:
            if not self._count:
                shutil.rmtree(self._directory, ignore_errors=True)
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may go while it is used
            self._count += 1
            return self._count

    def _sweep(self, name: str) -> None:
        with self._guard:
            made = sorted(self._directory.glob(f"{name}-*"), key=_number)
        for path in made[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)  # another thread may be at it as well


def _number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
