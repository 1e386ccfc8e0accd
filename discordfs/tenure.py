"""Becoming the writer of a volume that another machine wrote, and saying that one ends.

Job: claim, wait until every listing must show what came between, adopt it (fold.py has the rules and the
reasons). Until the adoption has settled nothing is written here, and whatever the former writer saw verified
is kept. Limits: takes a little over twice the listings' lag. Threading: one thread; asks Discord, waits by
`wait`, which says True when everything ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.errors import BusyError
from discordfs.fold import LISTING_LAG_S, FoldState, Status
from discordfs.follower import Follower
from discordfs.index import Index
from discordfs.log import Stopped
from discordfs.logreading import Look, LogReader
from discordfs.model import Clock, Kind
from discordfs.records import Header, RecordType, pack_header
from discordfs.remote.base import snowflake_ns

_POLL_S = 0.5


def describe_holder(state: FoldState) -> str:
    """Who writes a volume and since when, for people who wanted to."""
    since = datetime.fromtimestamp(snowflake_ns(state.since) / 1e9).astimezone()
    newest = datetime.fromtimestamp(snowflake_ns(state.head_message) / 1e9).astimezone()
    return (
        f"{state.holder} writes this volume since {since:%Y-%m-%d %H:%M} "
        f"(last record {newest:%Y-%m-%d %H:%M:%S})"
    )


class Tenure:
    """This state directory's way to be the writer."""

    def __init__(
        self,
        *,
        index: Index,
        chunks: ChunkStore,
        reader: LogReader,
        follower: Follower,
        outbox: Path,
        holder: str,
        clock: Clock,
        wait: Callable[[float], bool],
        lag_s: float = LISTING_LAG_S,
    ) -> None:
        self._index, self._chunks, self._reader, self._follower = index, chunks, reader, follower
        self._outbox, self._holder, self._clock, self._wait = outbox, holder, clock, wait
        self._lag_ns = int(lag_s * 1e9)

    def take_over(self, progress: Callable[[str], None]) -> None:
        """Returns as the writer. Raises BusyError when somebody else got ahead; then nothing has changed."""
        look = self._follower.follow()
        state = look.fold.state()
        if state.owner == self._index.logbook.me:
            return
        progress(f"taking over from {state.holder}: about {2 * self._lag_ns / 1e9:.0f} seconds")
        claim, message = self._post(RecordType.CLAIM, state.epoch + 1, state.head_seq + 1, state.head_uid)
        self._wait_until(snowflake_ns(message) + 2 * self._lag_ns)
        look = self._look()
        if look.fold.status(claim) is not Status.PROVISIONAL:
            raise BusyError("another machine is taking this volume over at the same time: try again later")
        tip = look.fold.tip
        adoption, _ = self._post(RecordType.ADOPTION, state.epoch + 1, tip.seq + 1, tip.uid, claim)
        self._settle(adoption)

    def release(self) -> None:
        """Says that this writer has ended: the next one need not take over. Call it with all else settled;
        what it said counts once somebody reads it."""
        state = self._index.logbook.state()
        self._post(RecordType.RELEASE, state.epoch, state.head_seq + 1, state.head_uid)

    def _settle(self, adoption: bytes) -> None:
        while True:
            look = self._look()
            status = look.fold.status(adoption)
            if status is Status.SETTLED:
                self._follower.replay(look)
                self._index.logbook.set_lost(False)
                return
            if status is Status.REJECTED:
                raise BusyError("another machine has taken this volume over at the same time")
            self._pause(_POLL_S)

    def _look(self) -> Look:
        return self._reader.look(self._index.logbook.state())

    def _post(
        self, kind: RecordType, epoch: int, seq: int, prev: bytes, claim: bytes = b""
    ) -> tuple[bytes, int]:
        """The record's uid and its message."""
        header = Header(kind, epoch, self._index.logbook.me, self._holder, seq, prev, self._clock(), claim)
        body = self._outbox / "tenure.tmp"
        self._outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        body.write_bytes(pack_header(header))
        sealed = self._chunks.seal_log(body, 0, Kind.RECORD, seq, self._outbox)
        try:
            return sealed.uid, self._chunks.post(sealed, self._reader.channel).message
        finally:
            sealed.path.unlink()
            body.unlink()

    def _wait_until(self, discord_ns: int) -> None:
        while self._chunks.now_ns() <= discord_ns:
            self._pause(_POLL_S)

    def _pause(self, seconds: float) -> None:
        if self._wait(seconds):
            raise Stopped("the mount ends")
