"""The log of one volume, as its writer uses it: records are posted, and count once the log says so.

Job: seal a record, note the intent, post it (a small chunk of data may ride in its message), list the log
again and fold it: only a settled record makes data remote, frees staging, or condemns. Who may write is
decided in fold.py; how a machine becomes the writer is `take_over` in tenure.py.

The order, which is the safety: the index is on disk before a record is posted; all data that a record names
is acknowledged before; the record is sealed once and posted any number of times, byte for byte; nothing is
freed before the listing has shown it settled.

Threading: one thread writes. Waits go through `wait`, which says False when everything ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from discordfs.chunks import layout
from discordfs.chunkstore import ChunkStore
from discordfs.errors import (
    BusyError,
    Damaged,
    DiscordfsError,
    FormatError,
    OutcomeUnknown,
    RemoteGone,
    TimedOut,
    Unavailable,
)
from discordfs.fold import LISTING_LAG_S, Fold, FoldState, Status
from discordfs.ledger import Ledger, Released
from discordfs.logbook import Logbook, Plan, RecordIntent
from discordfs.logreading import LogReader, Look, describe_holder
from discordfs.model import ChunkRef, Clock, Kind, SealedChunk
from discordfs.records import Header, PartRef, RecordType, pack_header
from discordfs.remote.base import Message, snowflake_ns

log = logging.getLogger(__name__)

PART_BYTES = 16 * 1024**2
"""Plaintext of a record beyond which earlier parts of it go into messages of their own."""

_PAUSES = (0.2, 0.5, 1.0, 2.0)
_LOOKS = 10  # that do not show a record, before it is looked for again and, if need be, posted again


class Lost(BusyError):
    """Another writer holds the volume now."""


class Stopped(DiscordfsError):
    """The mount ends; what was begun goes on at the next one."""


@dataclass(frozen=True, slots=True)
class Rider:
    """A small chunk of data that is posted in the message of a record; `id`: its row."""

    id: int
    sealed: SealedChunk


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an accepted record changed: inodes whose bytes are remote now, and staging to free."""

    inodes: tuple[int, ...] = ()
    released: tuple[Released, ...] = ()

    def __add__(self, more: Accepted) -> Accepted:
        return Accepted(self.inodes + more.inodes, self.released + more.released)


class Log:
    """The writer's side. `holder` says who writes, for people; `outbox` is where sealed things wait; `sync`
    brings the index to disk: what Discord is told in a record, this machine must not forget in a power cut;
    `failed` hears of a failure and the last pause, and says how long to pause (seconds)."""

    def __init__(
        self,
        *,
        chunks: ChunkStore,
        reader: LogReader,
        book: Logbook,
        ledger: Ledger,
        outbox: Path,
        holder: str,
        clock: Clock,
        wait: Callable[[float], bool],
        failed: Callable[[str, Exception, float], float],
        sync: Callable[[], None],
    ) -> None:
        self._chunks, self._reader, self._book, self._ledger = chunks, reader, book, ledger
        self._outbox, self._holder, self._clock = outbox, holder, clock
        self._wait, self._failed, self._sync = wait, failed, sync
        self._is_claimed = False

    # --- looking ----------------------------------------------------------------------------------

    def catch_up(self) -> Accepted:
        """Reads what the log says since the last look, and takes note of what of ours has settled.

        Raises Lost when another writer holds the volume."""
        return self._look()[1]

    def _look(self, posted: Collection[int] = ()) -> tuple[Look, Accepted]:
        """`posted`: messages that this process posted, and whose answers said that all was in them."""
        look = self._reader.look(self._book.state())
        if look.is_doubtful:
            raise Unavailable(f"{look.unreadable[-1]}; it may be another machine's claim: waiting")
        self._check_beginning(look)  # what stands on a beginning that does not count is not accepted
        accepted = self._take_note(look, posted)
        self._check_holder(look)
        if look.lacks_head or self._is_cut_off(look):
            log.warning("the log lacks records that count: all is said again")
            self._book.want_snapshot()
        self._is_claimed = look.fold.claim is not None
        return look, accepted

    def _look_in_time(self, posted: Collection[int] = ()) -> tuple[Look, Accepted]:
        """A look, as soon as there can be one."""
        backoff = 0.0
        while True:
            try:
                return self._look(posted)
            except Lost:
                raise
            except (DiscordfsError, OSError) as error:
                backoff = self._failed("reading the log", error, backoff)
                self._pause(backoff)

    def _take_note(self, look: Look, posted: Collection[int]) -> Accepted:
        intents = {intent.uid: intent for intent in self._book.intents()}
        done = Accepted()
        for entry in look.settled:
            intent = intents.get(entry.uid)
            if intent is None:
                self._lose(look.fold.state())
                raise self._lost(look.fold.state())
            message = look.messages[entry.uid]
            if not self._is_whole(intent, message, posted):
                break
            parts = [part.message for part in entry.header.parts]
            state = look.fold.state() if entry is look.settled[-1] else None
            inodes, released = self._book.accepted(intent, message.id, parts, state)
            done += Accepted(tuple(inodes), tuple(released))
            (self._outbox / f"{intent.uid.hex()}.chunk").unlink(missing_ok=True)
        return done

    def _is_whole(self, intent: RecordIntent, message: Message, posted: Collection[int]) -> bool:
        """Whether the chunk that rides with this record is in the message as well: then it has landed. A
        message that we do not know to be ours may be anybody's copy: it is read."""
        chunk = self._book.chunk_with(intent.id)
        if chunk is None:
            return True
        entry = self._ledger.entry(chunk, rides=True)
        sealed = SealedChunk(entry.uid, Path(), entry.stored_size, entry.plain_size, entry.blocks)
        ref = layout.recognise(message, sealed)
        if ref is None or (message.id not in posted and not self._can_be_read(ref)):
            log.warning("message %d holds record %d without its data: it is not ours", message.id, intent.seq)
            return False
        self._ledger.landed(chunk, ref)
        return True

    def _can_be_read(self, ref: ChunkRef) -> bool:
        try:
            return not self._chunks.verify(ref)
        except (Damaged, FormatError, RemoteGone) as error:
            log.warning("message %d: %s", ref.message, error)
            return False

    def _check_beginning(self, look: Look) -> None:
        if look.fold.is_contradicted:
            self._lose(look.fold.state())
            raise Lost(
                "another machine had begun this volume's log before: what was written here counts nowhere;"
                " this one is read-only from here on"
            )

    def _check_holder(self, look: Look) -> None:
        state = look.fold.state()
        if state.epoch and state.owner != self._book.me:
            self._lose(state)
            raise self._lost(state)

    def _is_cut_off(self, look: Look) -> bool:
        """Whether records are missing before the newest, and no listing will show them any more: then nothing
        but a snapshot counts."""
        gap = look.fold.gap
        return gap is not None and self._chunks.now_ns() - snowflake_ns(gap.message) > LISTING_LAG_S * 1e9

    def _lose(self, state: FoldState) -> None:
        if self._book.state().owner == self._book.me:
            self._book.set_lost(True)

    def _lost(self, state: FoldState) -> Lost:
        if state.owner == self._book.me:
            return Lost(
                "a copy of this state directory writes to the volume as well: two mounts must not share one; "
                "this one is read-only from here on"
            )
        return Lost(describe_holder(state))

    # --- writing ----------------------------------------------------------------------------------

    def write(self, kind: RecordType, entries: Path, plan: Plan, rider: Rider | None = None) -> Accepted:
        """Posts a record with these packed entries, and returns once it has settled.

        All chunks that it names are on Discord already but the rider. Raises Lost, Stopped, and whatever
        will not pass by itself; what was to be said is then still to be said."""
        done = self.resume()
        while self._is_claimed:
            self._pause(_PAUSES[-1])
            done += self._look_in_time()[1]
        sealed, intent = self._seal(kind, entries, plan)
        return done + self._until_settled(intent, sealed, rider, may_have_landed=False)

    def go_on(self) -> Accepted:
        """A writer that had said that it ended is back: a record without entries says so, before another
        machine takes the volume over without being told to."""
        return self._write_empty(RecordType.RECORD) if self._book.state().released else Accepted()

    def end(self) -> None:
        """Says that this writer has ended, with all else settled: the next one need not be told to take over.
        Raises what `write` does; whatever became of it, the next `resume` goes on from there."""
        self._write_empty(RecordType.RELEASE)

    def _write_empty(self, kind: RecordType) -> Accepted:
        nothing = self._outbox / "nothing.tmp"
        nothing.write_bytes(b"")
        try:
            return self.write(kind, nothing, Plan(cut=0))
        finally:
            nothing.unlink()

    def resume(self) -> Accepted:
        """Goes on with the records that an earlier process left on their way."""
        done = Accepted()
        for intent in self._book.intents():
            try:
                rider = self._rider_of(intent)
                sealed = self._chunks.reopen(self._outbox / f"{intent.uid.hex()}.chunk")
            except (OSError, Damaged, FormatError) as error:
                log.warning("record %d cannot be posted (%s): it is made anew", intent.seq, error)
                done += self._give_up(intent)
                continue
            done += self._until_settled(intent, sealed, rider, may_have_landed=True)
        return done

    def _give_up(self, intent: RecordIntent) -> Accepted:
        """A record that cannot be posted again may have been posted before: it is abandoned only when a
        listing must show it, and does not. Else one made anew could settle before it, and not for others."""
        begin, done = self._chunks.now_ns(), Accepted()
        while True:
            asked = self._chunks.now_ns()
            look, more = self._look_in_time()
            done += more
            if look.fold.status(intent.uid) is Status.SETTLED and intent not in self._book.intents():
                return done
            if asked - begin > int(LISTING_LAG_S * 1e9) and intent.uid not in look.messages:
                self._book.abandon(intent)
                return done
            self._pause(_PAUSES[-1])

    def _rider_of(self, intent: RecordIntent) -> Rider | None:
        chunk = self._book.chunk_with(intent.id)
        if chunk is None:
            return None
        uid = next(each.uid for each in self._ledger.intents() if each.id == chunk)
        return Rider(chunk, self._chunks.reopen(self._outbox / f"{uid.hex()}.chunk"))

    def _seal(self, kind: RecordType, entries: Path, plan: Plan) -> tuple[SealedChunk, RecordIntent]:
        place = Fold(self._book.state()).next_record()
        body = self._outbox / "record.tmp"
        parts, begin = self._post_parts(entries, place.seq)
        now = self._clock()
        header = Header(
            kind, place.epoch, self._book.me, self._holder, place.seq, place.prev, now, parts=parts
        )
        with body.open("wb") as file, entries.open("rb") as rest:
            file.write(pack_header(header))
            rest.seek(begin)
            file.write(rest.read())
        sealed = self.seal_header(kind, body, header.seq)
        self._reader.remember(sealed.uid, header)
        now = self._chunks.now_ns()
        row = self._book.intend(sealed, kind, header.seq, now, plan)
        return sealed, RecordIntent(row, sealed.uid, kind, header.seq, now)

    def seal_header(self, kind: RecordType, body: Path, seq: int) -> SealedChunk:
        """A record's last part (header first) as a chunk in the outbox."""
        of = Kind.SNAPSHOT if kind is RecordType.SNAPSHOT else Kind.RECORD
        try:
            sealed = self._chunks.seal_log(body, 0, of, seq, self._outbox)
            if sealed.plain_size != body.stat().st_size:
                raise RuntimeError(f"record {seq} does not fit a chunk: nobody could read the half of it")
            return sealed
        finally:
            body.unlink()

    def _post_parts(self, entries: Path, seq: int) -> tuple[tuple[PartRef, ...], int]:
        """What is too much for one message goes ahead; the parts, and where the rest begins."""
        size, begin, parts = entries.stat().st_size, 0, []
        while size - begin > PART_BYTES:
            sealed = self._chunks.seal_log(entries, begin, Kind.PART, seq, self._outbox)
            (ref,) = self._post([sealed], self._chunks.now_ns(), may_have_landed=False)
            parts.append(PartRef(sealed.uid, ref))
            begin += sealed.pieces[0].length
            sealed.path.unlink()
        return tuple(parts), begin

    def _until_settled(
        self, intent: RecordIntent, sealed: SealedChunk, rider: Rider | None, may_have_landed: bool
    ) -> Accepted:
        together = [sealed, *([rider.sealed] if rider else [])]
        self._sync()
        posted = self._post(together, intent.sealed_ns, may_have_landed)
        for attempt, pause in enumerate(_pauses(), 1):
            if attempt % _LOOKS == 0:
                posted += self._post(together, intent.sealed_ns, may_have_landed=True)
            look, accepted = self._look_in_time(posted)
            if look.fold.status(intent.uid) is Status.SETTLED and intent not in self._book.intents():
                self._seed(rider)
                return accepted
            if look.fold.is_rejected(intent.uid):
                self._book.abandon(intent)
                raise DiscordfsError(f"record {intent.seq} was overtaken by another of ours: made anew")
            if intent.type is not RecordType.SNAPSHOT and self._is_cut_off(look):
                self._book.abandon(intent)
                raise DiscordfsError(f"records before {intent.seq} are missing in the log: all is said again")
            self._pause(pause)
        raise AssertionError("pauses never end")

    def _seed(self, rider: Rider | None) -> None:
        if rider is not None:
            self._chunks.seed(rider.sealed)
            rider.sealed.path.unlink(missing_ok=True)

    def _post(self, together: list[SealedChunk], since_ns: int, may_have_landed: bool) -> list[int]:
        """Until Discord has it; the messages. What may have landed is looked for first."""
        backoff = 0.0
        while True:
            try:
                refs = self._find(together, since_ns) if may_have_landed else None
                refs = refs or self._chunks.post_all(together, self._reader.channel)
                return [ref.message for ref in refs]
            except (DiscordfsError, OSError) as error:
                may_have_landed = may_have_landed or isinstance(error, OutcomeUnknown | TimedOut)
                backoff = self._failed("writing the log", error, backoff)
                self._pause(backoff)

    def _find(self, together: list[SealedChunk], since_ns: int) -> list[ChunkRef] | None:
        """Where a post landed whose answer was lost. Names and sizes can be copied by anybody: it is read."""
        refs = self._chunks.find_all(together, self._reader.channel, since_ns)
        return refs if refs and all(map(self._can_be_read, refs)) else None

    def _pause(self, seconds: float) -> None:
        if self._wait(seconds):
            raise Stopped("the mount ends")


def _pauses() -> Iterable[float]:
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]
