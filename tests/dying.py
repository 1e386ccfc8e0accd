"""A process that dies at one of its steps: a command's own, or, for one call, as an exception.

A command kills itself at what it does to a directory and to SQLite.

Steps are what the interpreter's audit hook tells of: files made or opened to be written, renamed, removed,
linked, directories made and removed, below one directory; and the statements of every database that change
it. The process dies right before the step. Threading: steps of any thread count.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

AT, UNDER, COUNT = "TEST_DIES_AT", "TEST_DIES_UNDER", "TEST_STEPS_FILE"
_CALLS = ("mkdir", "rename", "replace", "link", "unlink", "rmdir", "fsync", "utime")
_NAMES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
_READING = ("SELECT", "PRAGMA", "BEGIN", "ROLLBACK", "--", "SAVEPOINT")


def dies(at: int, under: Path, count: Path) -> dict[str, str]:
    """What stands in the environment of such a command: the step, from 0; where it writes how far it got."""
    return {AT: str(at), UNDER: str(under), COUNT: str(count)}


def steps(count: Path) -> int:
    """How many steps it did."""
    return int(count.read_text())


def arm(environment: Mapping[str, str]) -> None:
    """Does nothing unless the environment says so."""
    if AT in environment:
        _Steps(int(environment[AT]), environment[UNDER], environment[COUNT]).arm()


class _Steps:
    def __init__(self, at: int, under: str, count: str) -> None:
        self._left, self._under, self._done = at, os.fsencode(under), 0
        self._count = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def arm(self) -> None:
        sys.addaudithook(self._heard)
        connect = sqlite3.connect

        def connected(*arguments: Any, **more: Any) -> sqlite3.Connection:
            made = connect(*arguments, **more)
            made.set_trace_callback(self._statement)
            return made

        sqlite3.connect = connected

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_ACCMODE | os.O_CREAT)
        ) or event in _NAMES:
            self._on(arguments[0])

    def _statement(self, text: str) -> None:
        if not text.lstrip().upper().startswith(_READING):
            self._step()

    def _on(self, path: object) -> None:
        """Paths relative to a directory's descriptor are those of trees that are being removed."""
        if isinstance(path, str | bytes | os.PathLike):
            name = os.fsencode(path)
            if name.startswith(self._under) or not name.startswith(b"/"):
                self._step()

    def _step(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1
        self._done += 1
        os.pwrite(self._count, b"%d" % self._done, 0)


# --- for one call -----------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def dying(after: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process ends before its call to the system of this number."""
    left = after

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def carry_out(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return call(*arguments, **more)

        return carry_out

    with monkeypatch.context() as patched:
        for name in _CALLS:
            patched.setattr(os, name, counted(getattr(os, name)))
        yield
