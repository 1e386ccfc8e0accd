"""Staying on the gateway: what happens is recorded as it happens, in run.jsonl, until the run is ended.

Channels and threads that appear are captured. Where a session was lost and not resumed events may be missing:
then each channel is asked over HTTP for what is newer than what is covered; so are, at the end, those in
which something happened. Only pages count as covered.
Threading: frames come on the loop's thread, which only notes; the run's thread does the asking.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from discordfs.capture.job import Job
from discordfs.capture.profile import GatewayRecorder
from discordfs.capture.scope import HOLDS_MESSAGES, WORTH_A_FILE, Channel, channel_of
from discordfs.errors import Interrupted

_TURN_S = 0.5
_NEW = frozenset({"CHANNEL_CREATE", "THREAD_CREATE", "THREAD_LIST_SYNC"})


class Live:
    """Listens from its making on, so that nothing is missed between the pages and the events.

    `again` has a channel asked for what is new in it, `wait` until all that was asked for is here, `turn`
    does what is due now and then."""

    def __init__(
        self,
        job: Job,
        recorder: GatewayRecorder,
        again: Callable[[Channel], None],
        wait: Callable[[], None],
        turn: Callable[[], None],
    ) -> None:
        self._job = job
        self._again = again
        self._wait = wait
        self._turn = turn
        self._met: queue.SimpleQueue[Channel] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stirred: set[int] = set()
        self._has_gap = threading.Event()
        self._sessions = 0
        recorder.listener = self._hear

    def stay(self, seconds: float | None, is_resumed: bool) -> None:
        """So many seconds (None: until ^C, which is a good end here). `is_resumed`: events of before may be
        missing. Raises Interrupted when the run is stopped."""
        if is_resumed:
            self._has_gap.set()
        try:
            turns = None if seconds is None else max(1, round(seconds / _TURN_S))
            while turns is None or turns > 0:
                turns = None if turns is None else turns - 1
                self._rest()
        except KeyboardInterrupt:
            self._turn()
        self._fill()

    def _rest(self) -> None:
        """One turn."""
        if self._job.asker.pause(_TURN_S):
            raise Interrupted("the run was ended")
        self._job.run_file.commit()
        while not self._met.empty():
            self._job.enqueue(self._met.get())
        if self._has_gap.is_set():
            self._fill()
        self._turn()
        self._wait()

    def _fill(self) -> None:
        """What is newer than what is covered: everywhere after a gap, else where something happened."""
        with self._lock:
            stirred, self._stirred = self._stirred, set()
        has_gap = self._has_gap.is_set()
        self._has_gap.clear()
        for mark in list(self._job.marks.values()):
            if mark.channel.type in HOLDS_MESSAGES and (has_gap or mark.channel.id in stirred):
                self._again(mark.channel)
        self._wait()

    # --- on the loop's thread -----------------------------------------------------------------------

    def _hear(self, event: str, data: Any) -> None:
        if event == "READY":
            self._sessions += 1
            if self._sessions > 1:
                self._has_gap.set()
        if not isinstance(data, dict):
            return
        if event == "GUILD_CREATE":  # again after each lost session: what appeared meanwhile is in it
            for raw in (*(data.get("channels") or ()), *(data.get("threads") or ())):
                self._meet(raw, int(data["id"]))
        if event in _NEW:
            for raw in data.get("threads") or [data]:
                self._meet(raw)
        channel = str(data.get("channel_id") or "")
        if channel.isdecimal() and int(channel) in self._job.marks:
            with self._lock:
                self._stirred.add(int(channel))

    def _meet(self, raw: Any, guild: int = 0) -> None:
        try:
            channel = channel_of(raw, guild)
        except (KeyError, TypeError, ValueError):
            return
        settings = self._job.settings
        is_ours = (
            channel.guild in settings.targets
            if settings.mode == "guild"
            else channel.parent in settings.targets
        )
        if is_ours and channel.type in WORTH_A_FILE:
            self._met.put(channel)
