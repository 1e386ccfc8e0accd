"""Is the log whole, and does it still hold what this machine has put there?

Job: build an index of the log alone, in a scratch folder, as a machine would that has lost everything; say
what of the log is missing or cannot be read. Comparing the two indexes is comparing.py's. Limits: room on
the disk for a second index, memory as recovery.py. Errors: Discord's answers. Threading: one thread; asks
Discord.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.errors import MissingError, RemoteGone
from discordfs.fold import FoldState
from discordfs.follower import Follower
from discordfs.fsck.findings import Finding, Retell, Severity
from discordfs.index import Index
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

    def follow(self) -> None:
        """Goes on with what has settled meanwhile."""
        self._follower.follow()


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
    for gap in look.fold.gaps:
        is_open = gap == look.fold.gap
        text = f"records {gap.after_seq + 1} to {gap.seq - 1} are missing in the log"
        more = "" if is_open else "; a later snapshot makes up for it"
        severity = Severity.DAMAGE if is_open else Severity.NOTE
        yield Finding("log-gap", f"{text}{more}", repair=Retell() if is_open else None, severity=severity)


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
