"""What this state directory is to its volume: the writer, a reader, or one that lost it; and how it becomes
the writer of a volume that another machine wrote.

Job: decide the role at a mount; take over: claim, wait until every listing must show what came between, adopt
it (fold.py has the rules and the reasons). Until the adoption has settled nothing is written here, and what
the former writer saw verified is kept. An attempt that was interrupted is gone on with. Limits: taking over
lasts a little over twice the listings' lag. Errors: BusyError when somebody else has the volume; Discord's
answers. Threading: one thread; it waits by `wait`, which says True when everything ends.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.disk import make_directory
from discordfs.errors import BusyError, OutcomeUnknown, Unavailable
from discordfs.fold import CLAIM_LIFETIME_S, LISTING_LAG_S, FoldState, Place, Status
from discordfs.follower import UNREADABLE, Follower
from discordfs.index import Index
from discordfs.log import Stopped
from discordfs.logreading import LogReader, Look, describe_holder, when
from discordfs.model import Clock, Kind, RandomBytes, SealedChunk
from discordfs.records import Header, RecordType, pack_header

log = logging.getLogger(__name__)

_POLL_S, _LONGEST_POLL_S = 0.5, 4.0
_POSTS = 5  # of a claim or an adoption whose answer got lost
_SAYS_MORE = (RecordType.RECORD, RecordType.SNAPSHOT, RecordType.RELEASE)


class Wish(enum.Enum):
    """What a mount wants to be: the writer if nobody else is; the writer in any case; a reader."""

    WRITE = enum.auto()
    TAKE_OVER = enum.auto()
    READ = enum.auto()


class Role(enum.Enum):
    """WRITER may change the volume, READER follows another writer. LOSER: another machine has taken the
    volume over, and this one has files that are nowhere else: it shows them, and changes nothing."""

    WRITER = enum.auto()
    READER = enum.auto()
    LOSER = enum.auto()


@dataclass(frozen=True, slots=True)
class Standing:
    """The role that a mount has; `why` says for people why it is not the writer's."""

    role: Role
    why: str = ""


class Tenure:
    """This state directory's way to be the writer. `lag_s`: listings show everything after so long."""

    def __init__(
        self,
        *,
        index: Index,
        chunks: ChunkStore,
        reader: LogReader,
        outbox: Path,
        holder: str,
        clock: Clock,
        random_bytes: RandomBytes,
        wait: Callable[[float], bool],
        lag_s: float = LISTING_LAG_S,
    ) -> None:
        self._index, self._book, self._chunks, self._reader = index, index.logbook, chunks, reader
        self._follower = Follower(index, reader)
        self._outbox, self._holder = outbox, holder
        self._clock, self._random_bytes, self._wait = clock, random_bytes, wait
        self._lag_s = lag_s

    # --- which role -------------------------------------------------------------------------------

    def assume(self, wish: Wish, is_reachable: bool, progress: Callable[[str], None]) -> Standing:
        """The role at this mount; what has to be taken over is when this returns. Without Discord
        (`is_reachable`) by what the index remembers. Raises BusyError, which says who has the volume and
        what can be done, and Unavailable where that cannot be found out."""
        state = self._look(wish) if is_reachable else self._remembered()
        is_ours = not state.epoch or state.owner == self._book.me
        if is_reachable and self._book.is_lost() is is_ours:
            self._book.set_lost(not is_ours)  # what is remembered without Discord
        if is_ours:
            return Standing(Role.WRITER)
        if self._index.unrecorded():
            return self._lost(wish, state)
        if wish is Wish.READ:
            return Standing(Role.READER, describe_holder(state))
        if wish is Wish.WRITE and not state.released:
            raise BusyError(
                f"{describe_holder(state)}: look at it with --read-only, or take it over with --take-over, "
                "which makes the other one read-only"
            )
        if not is_reachable:
            raise Unavailable("Discord cannot be reached now, so the volume cannot be taken over")
        self.take_over(progress, forced=wish is Wish.TAKE_OVER)
        return Standing(Role.WRITER)

    def _look(self, wish: Wish) -> FoldState:
        """Where the chain is, with the index brought there if it is ours."""
        look = self._reader.look(self._book.state())
        if look.fold.is_contradicted and not self._index.unrecorded():
            log.warning("what this machine took for settled was not: the index is built anew from the log")
            look = self._reader.look(FoldState())
            self._follower.rebuild(look)
            return look.fold.state()
        unknown = self._unknown_of_ours(look)
        if any(kind in _SAYS_MORE for kind in unknown):
            log.warning("this state directory is an older copy of one that went on: it is another writer now")
            self._book.become(self._random_bytes(16))
        elif unknown and not self._index.unrecorded():
            self._replay(look, forced=wish is Wish.TAKE_OVER)  # a take-over that was interrupted at its end
        return look.fold.state()

    def _unknown_of_ours(self, look: Look) -> list[RecordType]:
        """What was written under our id, and the index knows nothing of."""
        known = {intent.uid for intent in self._book.intents()}
        return [
            entry.header.type
            for entry in look.settled
            if entry.header.owner == self._book.me and entry.uid not in known
        ]

    def _remembered(self) -> FoldState:
        state = self._book.state()
        is_lost = self._book.is_lost() and state.owner == self._book.me
        return replace(state, owner=b"", holder="another machine") if is_lost else state

    def _lost(self, wish: Wish, state: FoldState) -> Standing:
        if wish is Wish.TAKE_OVER:
            raise BusyError(
                f"{describe_holder(state)}, and this machine has files that are nowhere else: "
                "'discordfs resubmit --take-over' saves them and takes the volume over"
            )
        return Standing(Role.LOSER, describe_holder(state))

    # --- taking over ------------------------------------------------------------------------------

    def take_over(self, progress: Callable[[str], None], *, forced: bool) -> None:
        """Returns as the writer. `forced`: records that Discord does not have whole any more are given up,
        else they are an error. Raises BusyError when somebody else got ahead; then nothing has changed."""
        look = self._reader.look(self._book.state())
        self._replay(look, forced)
        state = look.fold.state()
        if state.owner == self._book.me:
            return
        progress(f"taking over from {state.holder}: this lasts about {2 * self._lag_s:.0f} seconds")
        self._claim(look)
        look = self._await_due()
        if look.fold.claim is not None:
            place = look.fold.next_adoption(look.fold.claim.uid)
            look = self._settle(self._post(RecordType.ADOPTION, place))
        self._replay(look, forced)
        self._book.set_lost(False)
        progress("this machine is the writer now")

    def _replay(self, look: Look, forced: bool) -> None:
        try:
            self._follower.replay(look)
        except UNREADABLE as error:
            if not forced:
                raise BusyError(
                    f"the newest records cannot be read ({error}): --take-over goes on without what they say"
                ) from error
            log.warning("what the newest records say is lost: %s", error)
            self._follower.skip(look)

    def _claim(self, look: Look) -> None:
        """Ours is posted, unless an attempt that was interrupted has left one."""
        self._refuse_others(look)
        if look.fold.claim is None:
            self._post(RecordType.CLAIM, look.fold.next_claim())

    def _refuse_others(self, look: Look) -> None:
        alive = look.fold.claim
        if alive is not None and alive.header.owner != self._book.me:
            raise BusyError(
                f"{alive.header.holder} is taking the volume over since {when(alive.message)}: "
                f"try again in {CLAIM_LIFETIME_S / 60:.0f} minutes"
            )

    def _await_due(self) -> Look:
        """A look begun when every listing has to show all that was written before our claim; without a claim
        when the volume is ours meanwhile, by an attempt that was interrupted."""
        end_ns = self._chunks.now_ns() + int(4 * self._lag_s * 1e9)
        while True:
            asked_ns = self._chunks.asking_ns(self._reader.channel)
            look = self._reader.look(self._book.state())
            self._refuse_others(look)
            if look.fold.claim is None and self._is_ours(look):
                return look
            due_ns = look.fold.adoption_due_ns if look.fold.claim else end_ns
            if look.fold.claim is None and asked_ns > end_ns:
                raise BusyError("the claim to the volume did not count: try again later")
            if asked_ns > due_ns:
                return look
            left_s = (due_ns - asked_ns) / 1e9 if look.fold.claim else 0.0
            self._pause(min(max(_POLL_S, left_s), _LONGEST_POLL_S))

    def _settle(self, adoption: bytes) -> Look:
        """The look that makes the volume ours. Our adoption is rejected as well when one of ours from before,
        of an attempt that was interrupted, has settled: then it is ours by that."""
        while True:
            look = self._reader.look(self._book.state())
            status = look.fold.status(adoption)
            if status is Status.REJECTED and not self._is_ours(look):
                raise BusyError("another machine has the volume by now, or this one was too slow: try again")
            if status in (Status.SETTLED, Status.REJECTED):
                return look
            self._pause(_POLL_S)

    def _is_ours(self, look: Look) -> bool:
        return look.fold.state().owner == self._book.me

    def _post(self, kind: RecordType, place: Place) -> bytes:
        """The record's uid; it is on Discord when this returns."""
        header = Header(
            kind, place.epoch, self._book.me, self._holder, place.seq, place.prev, self._clock(), place.claim
        )
        make_directory(self._outbox)
        body = self._outbox / "tenure.tmp"
        body.write_bytes(pack_header(header))
        sealed = self._chunks.seal_log(body, 0, Kind.RECORD, place.seq, self._outbox)
        try:
            self._post_until_there(sealed)
        finally:
            sealed.path.unlink()
            body.unlink()
        return sealed.uid

    def _post_until_there(self, sealed: SealedChunk) -> None:
        since_ns = self._chunks.now_ns()
        for _ in range(_POSTS):
            try:
                self._chunks.post(sealed, self._reader.channel)
                return
            except OutcomeUnknown as error:
                log.warning("whether the post passed is not known (%s): it is looked for", error)
            self._pause(_POLL_S)
            if self._chunks.find(sealed, self._reader.channel, since_ns) is not None:
                return
        raise Unavailable("Discord's answers get lost now: try again later")

    def _pause(self, seconds: float) -> None:
        if self._wait(seconds):
            raise Stopped("the mount ends")
