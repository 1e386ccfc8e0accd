"""fsck of a mount: what `discordfs fsck` asks it for, and a watch over what strangers delete.

Job: one check or repair at a time, on the thread that asks; and a thread that looks when a message of the
volume's is deleted. What the log needs is said again by a snapshot; what files lie in is sent anew from the
cache, and what nobody has is an error in `status` that names the files. Limits: a hint is only a hint: what
is deleted is what Discord does not give any more. Threading: any thread may ask; hints come on the loop's
thread, and are only noted there. No lock is held while Discord is asked.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from discordfs.errors import BusyError, DiscordfsError, Interrupted, RemoteGone
from discordfs.fsck.checking import Premises
from discordfs.fsck.findings import Heal
from discordfs.fsck.healing import Healer
from discordfs.fsck.local import paths_of
from discordfs.fsck.repairing import Parts, Repairer
from discordfs.remote.base import Hint

log = logging.getLogger(__name__)

_FLUSH_S = 600.0
_NAMED = 10

Progress = Callable[[Mapping[str, Any]], None]


class Doctor:
    """Answers `discordfs fsck` for a drive that runs."""

    def __init__(self, premises: Premises, parts: Parts) -> None:
        self._premises, self.parts = premises, parts
        self._guard = threading.Lock()
        self._is_busy = False

    def fsck(self, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """`repair`: bool, `read_percent`: how much of the chunks is read. The report as JSON. Raises
        BusyError where one is under way, or another machine writes what is to be repaired; and whatever
        `progress` raises, which ends it."""
        percent = float(arguments.get("read_percent") or 0)
        self._begin()
        try:
            repairer = Repairer(self._premises, self.parts, lambda text: progress({"doing": text}))
            wants_repair = bool(arguments.get("repair"))
            report = repairer.repair(percent) if wants_repair else repairer.checker.check(percent)
            return report.as_json()
        finally:
            self._end()

    def _begin(self) -> None:
        with self._guard:
            if self._is_busy:
                raise BusyError("fsck is at work on this drive already")
            self._is_busy = True

    def _end(self) -> None:
        with self._guard:
            self._is_busy = False


@dataclass(frozen=True, slots=True)
class _Needed:
    """What is lost with messages: chunks that files lie in (ids of rows), and whether the log is hurt."""

    chunks: tuple[int, ...]
    log: bool


class DeletionWatch:
    """Looks after a drive's messages while it runs, from `start` to `stop`."""

    def __init__(self, parts: Parts, log_channel: int) -> None:
        self._parts, self._log_channel = parts, log_channel
        self._hints: queue.SimpleQueue[Hint | None] = queue.SimpleQueue()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discordfs-deletions", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hint(self, hint: Hint) -> None:
        """Something happened in a channel of the volume."""
        if hint.kind == "delete" or (hint.kind == "resync" and hint.channel == self._log_channel):
            self._hints.put(hint)

    def stop(self) -> None:
        self._is_stopping.set()
        self._hints.put(None)
        if self._thread.is_alive():
            self._thread.join()

    # --- inside -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while (hint := self._hints.get()) is not None:
            try:
                self._look(hint)
            except Interrupted:
                return
            except (DiscordfsError, OSError) as error:
                log.info("whether something is missing cannot be told now: %s", error)
            except Exception:
                log.exception("looking after a deletion failed in a way that nobody foresaw")

    def _look(self, hint: Hint) -> None:
        if self._parts.uploader.lost:
            return
        messages = hint.messages if hint.kind == "delete" else self._log_messages_gone()
        needed = self._needed(hint.channel, messages)
        if needed.log and self._is_any_gone(messages):
            log.warning("somebody deleted messages of the log: a snapshot makes up for them")
            self._parts.uploader.ask_for_record(snapshot=True)
        for chunk in needed.chunks:
            self._heal(chunk)

    def _log_messages_gone(self) -> tuple[int, ...]:
        """Of those that are needed: after the connection was away, nobody told of deletions."""
        needed = self._log_messages()
        if not needed:
            return ()
        listed = self._parts.chunks.list_after(self._log_channel, min(needed) - 1)
        return tuple(needed - {message.id for message in listed})

    def _log_messages(self) -> set[int]:
        """The messages that a machine which recovers the volume would read."""
        with self._parts.index.changing() as connection:
            rows = connection.execute(
                "SELECT message FROM records WHERE state = 1 AND seq >= "
                "(SELECT MAX(seq) FROM records WHERE state = 1 AND type = 2) "
                "UNION SELECT record_parts.message FROM record_parts JOIN records ON records.id = record "
                "WHERE seq >= (SELECT MAX(seq) FROM records WHERE state = 1 AND type = 2)"
            )
            return {row[0] for row in rows.fetchall()}

    def _needed(self, channel: int, messages: Iterable[int]) -> _Needed:
        gone = set(messages)
        chunks: list[int] = []
        with self._parts.index.changing() as connection:
            for message in gone:
                rows = connection.execute(
                    "SELECT id FROM chunks WHERE channel = ? AND message = ? AND EXISTS "
                    "(SELECT 1 FROM extents WHERE extents.chunk = chunks.id AND home > 0)",
                    (channel, message),
                )
                chunks += [row[0] for row in rows.fetchall()]
        return _Needed(tuple(chunks), channel == self._log_channel and bool(gone & self._log_messages()))

    def _is_any_gone(self, messages: Iterable[int]) -> bool:
        return any(self._is_gone(self._log_channel, message) for message in messages)

    def _is_gone(self, channel: int, message: int) -> bool:
        try:
            self._parts.chunks.message(channel, message)
        except RemoteGone:
            return True
        return False

    def _heal(self, chunk: int) -> None:
        parts = self._parts
        ref = parts.index.ledger.chunk(chunk)
        if not self._is_gone(ref.channel, ref.message):
            return
        whole = ((0, ref.plain_size),)
        parts.index.upkeep.checked(chunk, parts.chunks.now_ns(), whole)
        healer = Healer(
            parts.index, parts.chunks, parts.drive, self._room, self._flush, self._is_stopping.is_set
        )
        saved = healer.heal(Heal(chunk, whole))
        parts.uploader.committed()
        self._tell(chunk, ref.channel, ref.message, saved)

    def _tell(self, chunk: int, channel: int, message: int, saved: int) -> None:
        left = dict.fromkeys(stretch.ino for stretch in self._parts.index.upkeep.damaged(chunk))
        with self._parts.index.changing() as connection:
            paths = [path for ino in left for path in paths_of(connection, ino)]
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        text = f"somebody deleted message {message} of channel {channel}: {saved} bytes are sent anew"
        if paths:
            log.error("%s; lost are bytes of %s%s", text, ", ".join(paths[:_NAMED]), more)
        else:
            log.warning("%s; nothing is lost", text)

    def _room(self) -> int:
        staging = self._parts.staging
        return max(0, staging.quota // 2 - staging.used)

    def _flush(self) -> None:
        def look(_status: object) -> None:
            if self._is_stopping.is_set():
                raise Interrupted("the mount ends")

        self._parts.uploader.barrier(_FLUSH_S, look)
