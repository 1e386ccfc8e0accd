"""Who may write: decided by everybody alike, from the log's messages in the order of their ids.

Job: fold the headers of records into the chain of those that count. docs/FORMAT.md, "Which records count",
has the rules for whoever writes another reader. No I/O and no clock: times are those that Discord put into
its ids. Limits: the headers since the saved state, in memory. Errors: none, each record gets a verdict.
Threading: one thread at a time.

Two facts carry everything. Ids of messages grow with Discord's time. A listing shows a message at the latest
LISTING_LAG_S after it was posted; which messages it shows before that, in what order, nobody knows.

**The writer** seals a record once (`next_record`), posts it, and only then lists the log and folds the
listing (`fold_listing`). SETTLED: the record counts; what it says is remote, staging may be freed, what it
condemns may be deleted after the grace time. PROVISIONAL: a claim is alive; post nothing, list again.
UNKNOWN: list again, and one lag after the post post it again, byte for byte: twice the same record is once.
REJECTED, another owner, or `is_contradicted`: another machine has the volume; nothing is written any more.

**A claimant** lists, folds, posts a claim (`next_claim`), waits until Discord's time is past
`adoption_due_ns`, lists again *after that*, folds, and posts an adoption of the newest record it then sees
(`next_adoption`). It is the writer once a listing shows the adoption SETTLED. Records after the claim are
provisional: those up to the one that is adopted settle, later ones never will.

Why twice the lag: a writer that took record R for settled had not seen the claim in a listing made after R
was posted; so R came less than a lag after the claim, and a lag later R shows in every listing, the
claimant's too. The writer need not be asked, or be alive, or have a clock.

**A claim that nobody adopts** lapses. An adoption later than CLAIM_LIFETIME_S after its claim never counts,
and two lags after that everybody can know that none will come. Until then the writer waits.

**A gap** is a record whose author must have seen the one before it settled, which we lack: somebody deleted
messages (or a listing lags, and a later one shows it). Only a snapshot, which says everything, goes on.

**What a settled record condemns** is named by no later record of anybody: whoever adopts has it, and its
condemnations, in the chain. So a delete that comes late, even from a writer that lost the volume meanwhile,
takes nothing that is referred to. Before it deletes, a writer lists once more and must still be the owner.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from discordfs.records import NO_UID, Header, RecordType
from discordfs.remote.base import snowflake_at, snowflake_ns

LISTING_LAG_S = 10.0
"""A listing shows a message at the latest so long after it was posted. Part of the format: all who use a
volume must fold with the same value."""

CLAIM_LIFETIME_S = 600.0
"""An adoption counts until so long after its claim. Deleting from the log must wait for longer (gc)."""

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A record as a listing shows it: `message` is the one with its header (of a large record: the last)."""

    header: Header
    uid: bytes
    message: int


@dataclass(frozen=True, slots=True)
class FoldState:
    """The settled end of the chain: what is saved, and where folding goes on.

    `epoch` is 0 as long as there is no record. `since` is the message that began the epoch, `released`
    whether its writer has said that it ended, `claim` the message of the last claim of this epoch that
    lapsed (0: none): claims that were void because of it stay void."""

    head_uid: bytes = NO_UID
    head_seq: int = 0
    head_message: int = 0
    epoch: int = 0
    owner: bytes = b""
    holder: str = ""
    since: int = 0
    released: bool = False
    claim: int = 0

    def list_after(self, listing_lag_s: float = LISTING_LAG_S) -> int:
        """Listings that are folded onto this state begin after this message: some lags before the head, as
        a claim that is older than the head may show later."""
        return max(0, snowflake_at(snowflake_ns(self.head_message) - int(2 * listing_lag_s * _NS)) - 1)


@dataclass(frozen=True, slots=True)
class Link:
    """A record's place in the chain."""

    uid: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class Place:
    """What the header of a new record has to say: fields as in records.Header."""

    epoch: int
    seq: int
    prev: bytes
    claim: bytes = b""


@dataclass(frozen=True, slots=True)
class Gap:
    """Records between `after_seq` and `seq` are missing; `epoch` and `message` are those of the record that
    shows it. A later record that shows the same gap moves `seq` on."""

    after_seq: int
    seq: int
    epoch: int
    message: int


class Status(enum.Enum):
    """What has become of a record. A live claim is PROVISIONAL, an adopted one SETTLED, a lapsed one
    REJECTED. UNKNOWN: not seen, or seen beyond a gap, where nothing can be said."""

    SETTLED = enum.auto()
    PROVISIONAL = enum.auto()
    REJECTED = enum.auto()
    UNKNOWN = enum.auto()


class Verdict(enum.Enum):
    """What `Fold.add` says of a record. DUPLICATE: a record posted twice, harmless. IGNORED: before the first
    snapshot, or decided before the saved state. GAP: beyond a gap. NEEDS_REFOLD: not taken, as it is older
    than one already added; fold anew from the saved state."""

    SETTLED = enum.auto()
    PROVISIONAL = enum.auto()
    CLAIMED = enum.auto()
    REJECTED = enum.auto()
    DUPLICATE = enum.auto()
    IGNORED = enum.auto()
    GAP = enum.auto()
    NEEDS_REFOLD = enum.auto()


_STATUS = {
    Verdict.SETTLED: Status.SETTLED,
    Verdict.PROVISIONAL: Status.PROVISIONAL,
    Verdict.CLAIMED: Status.PROVISIONAL,
    Verdict.REJECTED: Status.REJECTED,
}


class Fold:
    """The chain from a settled state on. `listing_lag_s` as LISTING_LAG_S, for tests."""

    def __init__(self, state: FoldState | None = None, listing_lag_s: float = LISTING_LAG_S) -> None:
        self._state = state or FoldState()
        self._base = (self._state.epoch, self._state.head_seq)
        self._lag_ns = int(listing_lag_s * _NS)
        self._due_ns = 2 * self._lag_ns + _slack_ns(listing_lag_s)
        self._provisional: list[LogEntry] = []
        self._claim: LogEntry | None = None
        self._claim_last = 0
        self._early_claims: list[LogEntry] = []
        self._gap: Gap | None = None
        self._gaps: list[Gap] = []
        self._is_contradicted = False
        self._status = {self._state.head_uid: Status.SETTLED} if self._state.epoch else {}
        self._settled: list[LogEntry] = []
        self._last = (0, b"")

    # --- what it says -----------------------------------------------------------------------------

    def state(self) -> FoldState:
        """The settled part, to be saved in one transaction with what `take_settled` gave."""
        return self._state

    def status(self, uid: bytes) -> Status:
        return self._status.get(uid, Status.UNKNOWN)

    def is_rejected(self, uid: bytes) -> bool:
        return self.status(uid) is Status.REJECTED

    def take_settled(self) -> list[LogEntry]:
        """What has settled since the last call, in order: records, snapshots (also one that goes on after a
        gap), adoptions and releases; claims are not in the chain."""
        taken, self._settled = self._settled, []
        return taken

    @property
    def tip(self) -> Link:
        """The newest record of the chain, provisional ones included."""
        if self._provisional:
            return Link(self._provisional[-1].uid, self._provisional[-1].header.seq)
        return Link(self._state.head_uid, self._state.head_seq)

    @property
    def claim(self) -> LogEntry | None:
        """The claim that is alive: somebody takes the volume over."""
        return self._claim

    @property
    def gap(self) -> Gap | None:
        """The gap at which the chain ends for now."""
        return self._gap

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Every gap that was met, also those that a snapshot has healed: for the report of a recovery."""
        return tuple(self._gaps)

    @property
    def is_contradicted(self) -> bool:
        """An older first record has turned up than the one that this chain begins with: two machines began
        the log at once. Whoever writes must stop; the older one is the volume's."""
        return self._is_contradicted

    def may_post(self, owner: bytes) -> bool:
        """Whether this writer may post records now; beyond a gap, only a snapshot (`gap`)."""
        overtaken = self._gap is not None and self._gap.epoch > self._state.epoch
        is_its_turn = not self._state.epoch or self._state.owner == owner
        return is_its_turn and self._claim is None and not overtaken and not self._is_contradicted

    # --- what may be posted next ------------------------------------------------------------------

    def next_record(self) -> Place:
        """Of a record, snapshot or release, if `may_post`. Beyond a gap it must be a snapshot."""
        newest = max(self.tip.seq, self._gap.seq if self._gap else 0)
        return Place(max(1, self._state.epoch), newest + 1, self.tip.uid)

    def next_claim(self) -> Place:
        """Of a claim: there must be a record, of another writer, and no live claim."""
        return Place(self._state.epoch + 1, max(1, self._state.head_seq), self._state.head_uid)

    @property
    def adoption_due_ns(self) -> int:
        """The live claim can be adopted after a listing that was begun later than this (Discord's time)."""
        return snowflake_ns(self._claim_last) + self._due_ns

    def next_adoption(self, claim: bytes) -> Place:
        """Of the adoption of this live claim, if this fold's listing was begun after `adoption_due_ns`."""
        return Place(self._state.epoch + 1, self.tip.seq + 1, self.tip.uid, claim)

    # --- what it is told --------------------------------------------------------------------------

    def add(self, entry: LogEntry) -> Verdict:
        """The next record, in the order of messages (of two in one message: of uids)."""
        place = (entry.message, entry.uid)
        if place <= self._last:
            return Verdict.DUPLICATE if place == self._last else Verdict.NEEDS_REFOLD
        self._last = place
        self.pass_time(snowflake_ns(entry.message))
        if self._claim is not None and entry.uid == self._claim.uid:
            self._claim_last = entry.message
        if entry.uid in self._status:
            return Verdict.DUPLICATE
        verdict = self._judge(entry)
        if verdict in _STATUS:
            self._status[entry.uid] = _STATUS[verdict]
        return verdict

    def pass_time(self, now_ns: int) -> None:
        """Everything that shows in a listing begun at `now_ns` (Discord's time, epoch ns, rather too early
        than too late) has been added: a claim that is older than its lifetime and two lags lapses."""
        if self._claim is not None and now_ns > self._lapse_ns(self._claim.message):
            self._lapse(self._claim)

    def _lapse_ns(self, claim: int) -> int:
        return snowflake_ns(claim) + int(CLAIM_LIFETIME_S * _NS) + 2 * self._lag_ns

    def _lapse(self, claim: LogEntry) -> None:
        self._claim = None
        self._status[claim.uid] = Status.REJECTED
        self._settle_provisional(len(self._provisional))
        self._state = replace(self._state, claim=claim.message)

    # --- verdicts ---------------------------------------------------------------------------------

    def _judge(self, entry: LogEntry) -> Verdict:
        if not self._state.epoch:
            return self._begin(entry)
        if entry.header.type is RecordType.CLAIM:
            return self._judge_claim(entry)
        if self._is_past(entry.header):
            return self._judge_past(entry)
        if entry.header.type is RecordType.ADOPTION:
            return self._judge_adoption(entry)
        return self._judge_record(entry)

    def _begin(self, entry: LogEntry) -> Verdict:
        """A volume's first record, or the oldest snapshot that is left."""
        if entry.header.type is RecordType.CLAIM:
            self._early_claims.append(entry)
        if not _is_first(entry.header) and entry.header.type is not RecordType.SNAPSHOT:
            return Verdict.IGNORED
        self._settle(entry)
        for claim in self._early_claims:
            self.pass_time(snowflake_ns(claim.message))
            if claim.uid not in self._status:
                self._status[claim.uid] = _STATUS[self._judge_claim(claim)]
        self.pass_time(snowflake_ns(entry.message))
        return Verdict.SETTLED

    def _judge_claim(self, entry: LogEntry) -> Verdict:
        header, state = entry.header, self._state
        is_current = header.epoch == state.epoch + 1 and header.owner != state.owner
        is_free = self._claim is None and (self._gap is None or self._gap.epoch == state.epoch)
        was_void = state.claim and snowflake_ns(entry.message) <= self._lapse_ns(state.claim)
        if not is_current or not is_free or was_void:
            return Verdict.REJECTED
        self._claim, self._claim_last = entry, entry.message
        return Verdict.CLAIMED

    def _is_past(self, header: Header) -> bool:
        """Of a place in the chain that is taken. Whether its message is older than the head's tells nothing:
        the head may be known by the later of two messages."""
        state = self._state
        return (header.epoch, header.seq) <= (state.epoch, state.head_seq)

    def _judge_past(self, entry: LogEntry) -> Verdict:
        """Decided, before the saved state or now; unless it shows that this was not the beginning."""
        header, state = entry.header, self._state
        is_older_beginning = _is_first(header) and header.epoch == state.epoch and entry.message < state.since
        self._is_contradicted |= is_older_beginning and header.owner != state.owner
        return Verdict.IGNORED if (header.epoch, header.seq) < self._base else Verdict.REJECTED

    def _judge_adoption(self, entry: LogEntry) -> Verdict:
        header, claim = entry.header, self._claim
        kept = self._count_up_to(header.prev, header.seq - 1)
        if claim is None or kept is None or not self._is_of_claim(entry, claim):
            return Verdict.REJECTED
        self._settle_provisional(kept)
        self._end_claim(Status.REJECTED)
        self._status[claim.uid] = Status.SETTLED
        self._settle(entry)
        return Verdict.SETTLED

    def _is_of_claim(self, entry: LogEntry, claim: LogEntry) -> bool:
        after_ns = snowflake_ns(entry.message) - snowflake_ns(claim.message)
        mine, claimed = entry.header, claim.header
        return (mine.claim, mine.owner, mine.epoch) == (
            claim.uid,
            claimed.owner,
            claimed.epoch,
        ) and 2 * self._lag_ns <= after_ns <= CLAIM_LIFETIME_S * _NS

    def _count_up_to(self, uid: bytes, seq: int) -> int | None:
        """How many provisional records there are up to this one; 0: it is the head; None: it is neither."""
        if (uid, seq) == (self._state.head_uid, self._state.head_seq):
            return 0
        for count, entry in enumerate(self._provisional, 1):
            if (uid, seq) == (entry.uid, entry.header.seq):
                return count
        return None

    def _judge_record(self, entry: LogEntry) -> Verdict:
        """A record, a snapshot or a release, newer than the head."""
        header, tip = entry.header, self.tip
        known_epoch = self._gap.epoch if self._gap else self._state.epoch
        if header.epoch < known_epoch or (
            header.epoch == self._state.epoch and header.owner != self._state.owner
        ):
            return Verdict.REJECTED
        if header.epoch > self._state.epoch:
            return self._judge_later_term(entry)
        if self._gap is None and (header.prev, header.seq) == (tip.uid, tip.seq + 1):
            return self._take(entry)
        if header.seq <= tip.seq or (self._gap is None and header.seq == tip.seq + 1):
            return Verdict.REJECTED
        self._open_gap(entry)
        return self._heal(entry) if header.type is RecordType.SNAPSHOT else Verdict.GAP

    def _judge_later_term(self, entry: LogEntry) -> Verdict:
        """Of a writer whose adoption we lack, and whose author saw it settled."""
        self._open_gap(entry)
        if entry.header.type is not RecordType.SNAPSHOT:
            return Verdict.GAP
        if self._claim is not None:
            self._status[self._claim.uid] = Status.UNKNOWN
        self._end_claim(Status.UNKNOWN)
        return self._heal(entry)

    # --- the chain --------------------------------------------------------------------------------

    def _take(self, entry: LogEntry) -> Verdict:
        if self._claim is not None:
            self._provisional.append(entry)
            return Verdict.PROVISIONAL
        self._settle(entry)
        return Verdict.SETTLED

    def _open_gap(self, entry: LogEntry) -> None:
        header = entry.header
        if self._gap is not None and self._gap.epoch == header.epoch:
            self._gap = replace(self._gap, seq=max(self._gap.seq, header.seq))
            return
        self._gap = Gap(self.tip.seq, header.seq, header.epoch, entry.message)
        self._gaps.append(self._gap)

    def _heal(self, entry: LogEntry) -> Verdict:
        self._gap = None
        return self._take(entry)

    def _end_claim(self, late: Status) -> None:
        """The claim is over; what is still provisional becomes this."""
        for entry in self._provisional:
            self._status[entry.uid] = late
        self._provisional.clear()
        self._claim = self._gap = None

    def _settle_provisional(self, count: int) -> None:
        for entry in self._provisional[:count]:
            self._settle(entry)
        del self._provisional[:count]

    def _settle(self, entry: LogEntry) -> None:
        header, state = entry.header, self._state
        same_term = header.epoch == state.epoch
        self._state = FoldState(
            head_uid=entry.uid,
            head_seq=header.seq,
            head_message=entry.message,
            epoch=header.epoch,
            owner=header.owner,
            holder=header.holder,
            since=state.since if same_term else entry.message,
            released=header.type is RecordType.RELEASE,
            claim=state.claim if same_term else 0,
        )
        self._status[entry.uid] = Status.SETTLED
        self._settled.append(entry)


def _is_first(header: Header) -> bool:
    is_record = header.type in (RecordType.RECORD, RecordType.SNAPSHOT)
    return is_record and header.seq == 1 and header.prev == NO_UID


def _slack_ns(listing_lag_s: float) -> int:
    """By how much records of a listing may be newer than the time it was asked for: answers tell Discord's
    time to the second only."""
    return int(listing_lag_s * _NS / 5)


def fold_listing(
    state: FoldState, entries: Iterable[LogEntry], asked_ns: int, listing_lag_s: float = LISTING_LAG_S
) -> Fold:
    """All records that a listing of the log after `state.list_after()` showed, in any order, folded.

    `asked_ns`: Discord's time (epoch ns) when the listing's first page was asked for, or earlier, never
    later. What is newer than that by more than a fifth of the lag waits for the next listing: it may have
    come with a later page, while an earlier page did not show yet what lies before it."""
    fold = Fold(state, listing_lag_s)
    newest = asked_ns + _slack_ns(listing_lag_s)
    for entry in sorted(entries, key=lambda entry: (entry.message, entry.uid)):
        if snowflake_ns(entry.message) <= newest:
            fold.add(entry)
    fold.pass_time(asked_ns)
    return fold
