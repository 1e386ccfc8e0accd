"""Workers and their supervisor: started, watched, started again after a pause when they die, ended in order.

A worker is a thread that runs until it is told to stop, or has done its work. What lies between two of them
is in the catalogue, so whoever dies, even all of them by kill -9, loses nothing. The first one leads: when it
has done its work the others finish theirs, and all is over.
How they are stands in a small file, written by rename every few seconds, for `status`.
Errors: what is fatal to one ends all, and is raised. Threading: `run` belongs to one thread; each worker has
one of its own.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from discordfs.errors import FormatError, Unauthorized
from discordfs.model import Clock

log = logging.getLogger(__name__)

FORMAT = 1
REPORT_S = 2.0
_TURN_S = 0.2
_WELL_S = 300.0
"""A worker that ran for so long was well: its next pause is a short one."""


class Worker(Protocol):
    """Anything with a `run` that ends soon after `stop` is set."""

    def run(self, stop: threading.Event) -> None: ...


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    PAUSING = "pausing"
    """It died, and is started again after a pause."""
    DONE = "done"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Plan:
    """A worker and its name. `fatal`: errors that starting again does not mend. `is_idle`: whether it has
    nothing left to do; asked once those before it have ended."""

    name: str
    worker: Worker
    fatal: tuple[type[BaseException], ...] = (Unauthorized, FormatError)
    is_idle: Callable[[], bool] = lambda: True


@dataclass(slots=True)
class Standing:
    """How a worker is. `trouble`: what it cannot do for now, in its own words; `error`: what it died of last;
    `pause_s`: how long it pauses now."""

    name: str
    state: str = State.WAITING
    restarts: int = 0
    trouble: str = ""
    error: str = ""
    pause_s: float = 0.0


@dataclass(slots=True)
class Board:
    """Where workers say what they cannot do for now. Any thread."""

    said: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> Callable[[str], None]:
        """For one worker to write on; "" when all is well again."""
        return lambda text: self.said.__setitem__(name, text)


@dataclass(slots=True)
class _Kept:
    plan: Plan
    standing: Standing
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Supervisor:
    """Keeps workers. `file` tells how they are, with what `facts` answers beside it. Pauses double from
    `first_s` to `longest_s` seconds, each cut to a random part of itself."""

    def __init__(
        self,
        plans: Sequence[Plan],
        file: Path,
        *,
        board: Board | None = None,
        facts: Callable[[], Mapping[str, Any]] = dict,
        first_s: float = 1.0,
        longest_s: float = 300.0,
        clock: Clock = time.time_ns,
        monotonic_ns: Clock = time.monotonic_ns,
        rng: random.Random | None = None,
    ) -> None:
        self._kept = [_Kept(plan, Standing(plan.name)) for plan in plans]
        self._file = file
        self._facts = facts
        self._board = board or Board()
        self._first_s, self._longest_s = first_s, longest_s
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self._rng = rng or random.Random()
        self._fatal: BaseException | None = None
        self._changed = threading.Event()
        self._written_ns = 0

    def standings(self) -> list[Standing]:
        """How all are now."""
        return [
            replace(each.standing, trouble=self._board.said.get(each.plan.name, "")) for each in self._kept
        ]

    def run(self, tell: Callable[[], None] = lambda: None) -> None:
        """Until the leader has done its work and the others theirs; `tell` is called a few times a second.
        KeyboardInterrupt ends them in order, and is raised then. Raises what was fatal."""
        try:
            for kept in self._kept:
                self._start(kept)
            for place, kept in enumerate(self._kept):
                self._watch(kept, place == 0, tell)
        finally:
            self._end_all()
            self._report(is_over=True)
        if self._fatal is not None:
            raise self._fatal

    # --- the thread of `run` ----------------------------------------------------------------------------

    def _start(self, kept: _Kept) -> None:
        name = f"discordfs-{kept.plan.name}"
        kept.thread = threading.Thread(target=self._keep, args=(kept,), name=name)
        kept.thread.start()

    def _watch(self, kept: _Kept, is_leader: bool, tell: Callable[[], None]) -> None:
        """Until this one is over: the leader by itself, others once they are idle."""
        while self._fatal is None and kept.thread is not None and kept.thread.is_alive():
            if not is_leader and kept.plan.is_idle():
                return
            self._changed.wait(_TURN_S)
            self._changed.clear()
            tell()
            self._report()

    def _end_all(self) -> None:
        """In order: whoever fills what the next one empties ends before it."""
        for kept in self._kept:
            kept.stop.set()
            if kept.thread is not None:
                kept.thread.join()

    # --- a worker's own thread ----------------------------------------------------------------------------

    def _keep(self, kept: _Kept) -> None:
        standing, pause_s = kept.standing, self._first_s
        while not kept.stop.is_set():
            begun = self._monotonic_ns()
            standing.state, standing.pause_s = State.RUNNING, 0.0
            try:
                kept.plan.worker.run(kept.stop)
            except kept.plan.fatal as error:
                standing.state, standing.error = State.FAILED, str(error)
                self._fatal = error
                self._changed.set()
                return
            except Exception as error:
                log.exception("the worker %s died and is started again", kept.plan.name)
                standing.error = f"{type(error).__name__}: {error}"
            else:
                standing.state = State.ENDED if kept.stop.is_set() else State.DONE
                self._changed.set()
                return
            if self._monotonic_ns() - begun > _WELL_S * 1e9:
                pause_s = self._first_s
            standing.restarts += 1
            standing.state = State.PAUSING
            standing.pause_s = round(self._rng.uniform(pause_s / 2, pause_s), 1)
            self._changed.set()
            kept.stop.wait(standing.pause_s)
            pause_s = min(2 * pause_s, self._longest_s)
        standing.state = State.ENDED

    # --- the file -----------------------------------------------------------------------------------------

    def _report(self, is_over: bool = False) -> None:
        now = self._monotonic_ns()
        if not is_over and self._written_ns and now - self._written_ns < REPORT_S * 1e9:
            return
        self._written_ns = now
        body = {
            "format": FORMAT,
            "pid": os.getpid(),
            "at_ns": self._clock(),
            "is_over": is_over,
            "workers": [asdict(standing) for standing in self.standings()],
            **self._facts(),
        }
        draft = self._file.with_suffix(".tmp")
        try:
            draft.write_text(json.dumps(body), encoding="utf-8")
            os.replace(draft, self._file)
        except OSError as error:  # a full disk stops no worker
            log.warning("%s cannot be written: %s", self._file, error.strerror)


def read_report(file: Path) -> dict[str, Any] | None:
    """What a supervisor wrote last; None where there is none that can be read."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) and body.get("format") == FORMAT else None
