"""Is the log whole, and does it still hold what this machine has put there?

Job: build an index of the log alone, in a scratch folder, as a machine would that has lost everything; say
what of the log is missing or cannot be read. Comparing the two indexes is comparing.py's. Limits: room on
the disk for a second index, memory as recovery.py. Errors: Discord's answers. Threading: one thread; asks
Discord.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.errors import MissingError, RemoteGone
from discordfs.fold import FoldState
from discordfs.follower import Follower
from discordfs.fsck.bytesmap import forget_record
from discordfs.fsck.findings import Finding, Mend, Retell, Severity
from discordfs.fsck.local import Local, open_view
from discordfs.index import Index
from discordfs.logbook import save_state, state_in
from discordfs.logreading import LogReader, Look, when
from discordfs.model import Caller, Clock


@dataclass(slots=True)
class LogCopy:
    """An index built of the log alone. `problem` says why there is none; `left_out` what it lacks."""

    file: Path
    look: Look
    left_out: list[str]
    problem: str
    _index: Index
    _follower: Follower

    def state(self) -> FoldState:
        """How far it goes: as if nothing had been read where there is a problem."""
        return FoldState() if self.problem else self._index.logbook.state()

    def keep(self, place: Path) -> None:
        """The copy as a file of its own at `place`."""
        with closing(open_view(self.file)) as view, closing(sqlite3.connect(place)) as copy:
            view.backup(copy)

    def goes_as_far_as(self, known: FoldState) -> bool:
        """Whether an index whose chain ends there can be held against it: else it knows too little."""
        said = self.state()
        return known.epoch > 0 and known.head_seq <= said.head_seq and known.head_uid in self.look.messages

    def follow(self) -> bool:
        """Goes on with what has settled meanwhile; whether there was anything."""
        look = self._follower.follow()
        self.look.messages.update(look.messages)
        return bool(look.settled)


@contextmanager
def log_copy(chunks: ChunkStore, channel: int, scratch: Path, clock: Clock) -> Iterator[LogCopy]:
    """The copy, gone afterwards. Raises as the listing does: RemoteGone when there is no such channel."""
    reader = LogReader(chunks, channel)
    look = reader.look(FoldState())
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    try:
        index = Index(scratch / "index.sqlite", clock(), Caller(0, 0))
        try:
            follower = Follower(index, reader)
            left_out, problem = _rebuild(follower, look)
            yield LogCopy(scratch / "index.sqlite", look, left_out, problem, index, follower)
        finally:
            index.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _rebuild(follower: Follower, look: Look) -> tuple[list[str], str]:
    if not look.settled:
        return [], "no record of it can be read"
    try:
        return follower.rebuild(look), ""
    except MissingError as error:
        return [], str(error)


# --- checks ---------------------------------------------------------------------------------------


def check_chain(copy: LogCopy, known: FoldState, chunks: ChunkStore, channel: int) -> Iterator[Finding]:
    """Gaps, records that cannot be read, and a log that is older than what this machine knows. `known`: the
    end of the chain as the index has it."""
    if known.epoch and copy.problem:
        yield Finding("log-start", f"a drive cannot be built of the log: {copy.problem}", repair=Retell())
    yield from _gaps(copy.look)
    for text in copy.left_out:
        yield Finding("log-record", text, repair=Retell())
    for text in copy.look.unreadable:
        yield Finding("log-unreadable", text, severity=Severity.NOTE)
    yield from _head(copy.look, known, chunks, channel)


def _gaps(look: Look) -> Iterator[Finding]:
    last = look.fold.gap
    for gap in look.fold.gaps:
        is_open = last is not None and (gap.after_seq, gap.epoch) == (last.after_seq, last.epoch)
        text = f"records {gap.after_seq + 1} to {gap.seq - 1} are missing in the log"
        more = "" if is_open else "; a later snapshot makes up for it"
        severity = Severity.DAMAGE if is_open else Severity.NOTE
        yield Finding("log-gap", f"{text}{more}", repair=Retell() if is_open else None, severity=severity)


def check_state(local: Local, copy: LogCopy) -> Iterator[Finding]:
    """Where the chain ends, as the index has it, beside the log: records that go on from a wrong place would
    count for nobody else. `local.connection` has the copy attached as `log`."""
    known = state_in(local.connection)
    said = copy.look.fold.state() if copy.problem or copy.left_out else copy.state()
    ((me,),) = local.rows("SELECT me FROM main.log")
    if not said.epoch:
        said = _as_noted(local, known, me)
    if said.owner != me or _is_on_chain(local, known, said):
        return
    text = f"the index has record {known.head_seq} for the log's newest; the log ends with {said.head_seq}"
    yield Finding("log-state", text, repair=Mend(partial(_set_state, known=known, said=said)))


def _is_on_chain(local: Local, known: FoldState, said: FoldState) -> bool:
    if known.head_uid == said.head_uid:
        return _end(known) == _end(said)
    rows = local.rows(
        "SELECT uid, seq, message FROM log.records WHERE uid = ? OR message = ?",
        known.head_uid,
        known.head_message,
    )
    if rows:
        is_it = (known.head_uid, known.head_seq, known.head_message) in rows
        return is_it and known.owner == said.owner and 0 < known.epoch <= said.epoch
    is_ours = _is_noted(local, known) and (known.owner, known.epoch) == (said.owner, said.epoch)
    return is_ours and known.head_seq > said.head_seq  # gone from the channel


def _is_noted(local: Local, known: FoldState) -> bool:
    """Whether the end of the chain is a record that the index has."""
    end = (known.head_uid, known.head_seq, known.head_message)
    return end in local.rows("SELECT uid, seq, message FROM main.records WHERE state = 1")


def _as_noted(local: Local, known: FoldState, me: bytes) -> FoldState:
    """The end of the chain where no record of the log can be read: the newest that the index has."""
    rows = local.rows("SELECT uid, seq, message FROM main.records WHERE state = 1 ORDER BY seq DESC LIMIT 1")
    if known.owner != me or not rows or (known.epoch and _is_noted(local, known)):
        return known
    uid, seq, message = rows[0]
    return replace(known, head_uid=uid, head_seq=seq, head_message=message, epoch=max(known.epoch, 1))


def _end(state: FoldState) -> tuple[object, ...]:
    """What everybody sees alike, wherever they began to read."""
    return (state.head_seq, state.head_message, state.epoch, state.owner, state.released)


def _set_state(connection: sqlite3.Connection, known: FoldState, said: FoldState) -> None:
    if state_in(connection) != known:
        return  # it has moved on since it was looked at
    save_state(connection, said)
    connection.execute("UPDATE records SET type = 1 WHERE type = 2 AND seq > ?", (said.head_seq,))
    connection.execute(  # beyond a gap nothing but a snapshot counts
        "INSERT INTO counters VALUES ('snapshot', ?) "
        "ON CONFLICT (name) DO UPDATE SET ceiling = excluded.ceiling",
        (said.head_seq + 1,),
    )
    for (record,) in connection.execute("SELECT id FROM records WHERE state = 0").fetchall():
        forget_record(connection, record)


def _head(look: Look, known: FoldState, chunks: ChunkStore, channel: int) -> Iterator[Finding]:
    """The newest record that this machine knows: a log that was put back to what it was before lacks it."""
    if not known.epoch or known.head_uid in look.messages:
        return
    try:
        chunks.message(channel, known.head_message)
        what = "cannot be read"
    except RemoteGone:
        what = "is gone: the log is older than the drive"
    yield Finding(
        "log-head",
        f"record {known.head_seq} of {when(known.head_message)}, the newest this machine knows, {what}",
        repair=Retell(),
    )
