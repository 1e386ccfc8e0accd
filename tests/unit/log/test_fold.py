"""Which records count. Each rule, and what somebody would lose without it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from discordfs.fold import (
    CLAIM_LIFETIME_S,
    LISTING_LAG_S,
    Fold,
    FoldState,
    Gap,
    Link,
    LogEntry,
    Place,
    Status,
    Verdict,
    fold_listing,
)
from discordfs.records import NO_UID, Header, RecordType
from discordfs.remote.base import snowflake_at, snowflake_ns
from tests.unit.log.simulation import START_NS, Habits, World, ns

A, B, C = b"A" * 16, b"B" * 16, b"C" * 16
DUE_S = 2 * LISTING_LAG_S + LISTING_LAG_S / 5
LAPSE_S = CLAIM_LIFETIME_S + 2 * LISTING_LAG_S


def uid(name: str) -> bytes:
    return name.encode().ljust(16, b".")


def time_ns(seconds: float) -> int:
    return START_NS + ns(seconds)


def entry(
    name: str,
    seconds: float,
    kind: RecordType = RecordType.RECORD,
    *,
    owner: bytes = A,
    epoch: int = 1,
    seq: int = 1,
    prev: str = "",
    claim: str = "",
) -> LogEntry:
    """A record called `name`, posted so many seconds after the beginning."""
    before = uid(prev) if prev else NO_UID
    named = uid(claim) if claim else b""
    header = Header(kind, epoch, owner, owner[:1].decode(), seq, before, time_ns(seconds), named)
    return LogEntry(header, uid(name), snowflake_at(time_ns(seconds)))


def claim(
    name: str, seconds: float, owner: bytes = B, *, epoch: int = 2, seq: int = 1, prev: str = "1"
) -> LogEntry:
    return entry(name, seconds, RecordType.CLAIM, owner=owner, epoch=epoch, seq=seq, prev=prev)


def adoption(
    name: str, seconds: float, *, claim: str, seq: int, prev: str, owner: bytes = B, epoch: int = 2
) -> LogEntry:
    return entry(
        name, seconds, RecordType.ADOPTION, owner=owner, epoch=epoch, seq=seq, prev=prev, claim=claim
    )


FIRST = entry("1", 0)
SECOND = entry("2", 1, seq=2, prev="1")
THIRD = entry("3", 2, seq=3, prev="2")
CLAIM = claim("c", 10)


@dataclass
class Told:
    """A fold, and what it said of each record."""

    fold: Fold
    verdicts: list[Verdict]

    @property
    def settled(self) -> list[str]:
        return [taken.uid.rstrip(b".").decode() for taken in self.fold.take_settled()]


def tell(*entries: LogEntry, state: FoldState | None = None) -> Told:
    fold = Fold(state)
    return Told(fold, [fold.add(each) for each in entries])


# --- the beginning --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RecordType.RECORD, RecordType.SNAPSHOT])
def test_a_first_record_begins_the_chain(kind: RecordType) -> None:
    told = tell(entry("1", 0, kind), SECOND)
    assert told.verdicts == [Verdict.SETTLED, Verdict.SETTLED]
    state = told.fold.state()
    assert (state.head_uid, state.head_seq, state.head_message) == (uid("2"), 2, SECOND.message)
    assert (state.epoch, state.owner, state.holder) == (1, A, "A")
    assert state.since == FIRST.message


def test_the_oldest_snapshot_that_is_left_begins_it_too() -> None:
    """Behind the gc horizon a recovery begins with what is there."""
    kept = entry("8", 8, RecordType.SNAPSHOT, epoch=3, seq=8, prev="7")
    told = tell(entry("7", 7, epoch=3, seq=7, prev="6"), kept, entry("9", 9, epoch=3, seq=9, prev="8"))
    assert told.verdicts == [Verdict.IGNORED, Verdict.SETTLED, Verdict.SETTLED]
    assert told.settled == ["8", "9"]


@pytest.mark.parametrize(
    "stray",
    [
        entry("x", 0, seq=2, prev="1"),
        entry("x", 0, seq=1, prev="1"),
        entry("x", 0, RecordType.RELEASE),
        claim("x", 0, epoch=1),
        adoption("x", 0, claim="c", seq=1, prev="1"),
    ],
)
def test_nothing_else_begins_a_chain(stray: LogEntry) -> None:
    told = tell(stray, entry("1", 1))
    assert told.verdicts == [Verdict.IGNORED, Verdict.SETTLED]
    assert told.settled == ["1"]
    assert told.fold.claim is None


def test_of_two_beginnings_the_older_counts() -> None:
    other = entry("o", 0.5, owner=B)
    told = tell(FIRST, other, entry("p", 0.7, owner=B, seq=2, prev="o"), SECOND)
    assert told.verdicts == [Verdict.SETTLED, Verdict.REJECTED, Verdict.REJECTED, Verdict.SETTLED]
    assert not told.fold.is_contradicted


def test_who_began_second_learns_it_though_its_own_record_had_settled() -> None:
    """Two machines with one key on an empty log: the second must stop, or it would write into the void."""
    second = tell(entry("o", 0.5, owner=B)).fold.state()
    told = tell(FIRST, SECOND, state=second)
    assert told.fold.is_contradicted
    assert not told.fold.may_post(B)
    assert not told.settled


# --- the chain ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stray",
    [
        entry("x", 3, seq=3, prev="1"),
        entry("x", 3, seq=3, prev="9"),
        entry("x", 3, seq=2, prev="2"),
        entry("x", 3, seq=2, prev="1"),
        entry("x", 3, owner=B, seq=3, prev="2"),
        entry("x", 3, owner=B, seq=9, prev="8"),
        entry("x", 3, RecordType.SNAPSHOT, owner=B, seq=9, prev="8"),
        entry("x", 3, RecordType.SNAPSHOT, seq=3, prev="1"),
        entry("x", 3, RecordType.RELEASE, owner=B, seq=3, prev="2"),
        adoption("x", 3, claim="c", seq=3, prev="2"),
    ],
)
def test_what_does_not_continue_the_chain_is_a_losers(stray: LogEntry) -> None:
    """Else a writer that was stopped, and overtaken, would overwrite what was written since."""
    told = tell(FIRST, SECOND, stray, entry("3", 4, seq=3, prev="2"))
    assert told.verdicts[2:] == [Verdict.REJECTED, Verdict.SETTLED]
    assert told.fold.is_rejected(uid("x"))


def test_a_record_posted_twice_is_there_once() -> None:
    """An answer gets lost, the same bytes are posted again, and both arrive, late."""
    told = tell(FIRST, SECOND, replace(SECOND, message=SECOND.message + 1), THIRD)
    again = told.fold.add(replace(SECOND, message=THIRD.message + 1))
    assert [*told.verdicts, again] == [
        Verdict.SETTLED,
        Verdict.SETTLED,
        Verdict.DUPLICATE,
        Verdict.SETTLED,
        Verdict.DUPLICATE,
    ]
    assert told.settled == ["1", "2", "3"]
    assert told.fold.status(uid("2")) is Status.SETTLED


def test_also_after_the_state_was_saved() -> None:
    state = tell(FIRST, SECOND).fold.state()
    told = tell(FIRST, replace(SECOND, message=SECOND.message + 1), THIRD, state=state)
    assert told.verdicts == [Verdict.IGNORED, Verdict.DUPLICATE, Verdict.SETTLED]
    assert told.settled == ["3"]


def test_a_copy_of_this_writer_that_came_second_learns_it() -> None:
    """Two copies of a state directory write as one owner: the record whose place is taken is lost."""
    copied = entry("x", 3, seq=2, prev="1")
    assert tell(copied, state=tell(FIRST, SECOND).fold.state()).verdicts == [Verdict.REJECTED]
    told = tell(FIRST, CLAIM, entry("2", 11, seq=2, prev="1"), entry("x", 12, seq=2, prev="1"))
    assert told.verdicts[2:] == [Verdict.PROVISIONAL, Verdict.REJECTED]


def test_a_head_known_by_its_later_message_hides_nothing() -> None:
    """A listing showed only the second message of record 2, when record 3 stood between the two."""
    late = replace(SECOND, message=snowflake_at(time_ns(5)))
    state = tell(FIRST, late).fold.state()
    told = tell(FIRST, SECOND, THIRD, late, state=state)
    assert told.settled == ["3"]
    assert told.fold.tip == Link(uid("3"), 3)


def test_a_record_that_shows_too_late_asks_to_fold_anew() -> None:
    told = tell(FIRST, THIRD, SECOND, THIRD)
    assert told.verdicts[2:] == [Verdict.NEEDS_REFOLD, Verdict.DUPLICATE]
    assert tell(FIRST, SECOND, THIRD).settled == ["1", "2", "3"]


def test_who_writes_and_whether_it_ended_is_told() -> None:
    told = tell(FIRST, entry("2", 1, RecordType.RELEASE, seq=2, prev="1"))
    assert told.fold.state().released
    assert told.fold.may_post(A)
    assert not told.fold.may_post(B)
    told.fold.add(entry("3", 2, seq=3, prev="2"))
    assert not told.fold.state().released


def test_an_empty_log_is_anybodys() -> None:
    fold = Fold()
    assert fold.may_post(A)
    assert fold.next_record() == Place(1, 1, NO_UID)
    assert fold.tip == Link(NO_UID, 0)


def test_the_next_record_continues_the_tip() -> None:
    assert tell(FIRST, SECOND).fold.next_record() == Place(1, 3, uid("2"))


# --- claims ---------------------------------------------------------------------------------------


def test_what_comes_after_a_claim_waits_for_its_end() -> None:
    """A writer that sees it frees nothing: the claimant may not have seen its record."""
    told = tell(FIRST, SECOND, CLAIM, entry("3", 11, seq=3, prev="2"))
    assert told.verdicts[2:] == [Verdict.CLAIMED, Verdict.PROVISIONAL]
    assert told.settled == ["1", "2"]
    assert told.fold.state().head_uid == uid("2")
    assert told.fold.tip == Link(uid("3"), 3)
    assert told.fold.status(uid("3")) is Status.PROVISIONAL
    assert told.fold.status(uid("c")) is Status.PROVISIONAL
    assert told.fold.claim == CLAIM
    assert not told.fold.may_post(A)
    assert not told.fold.may_post(B)


def test_an_adoption_settles_up_to_what_it_names_and_nothing_after() -> None:
    """What the old writer saw settled is kept; what it posted later it can submit again."""
    told = tell(
        *(FIRST, SECOND, CLAIM, entry("3", 11, seq=3, prev="2"), entry("4", 29, seq=4, prev="3")),
        adoption("d", 35, claim="c", seq=4, prev="3"),
        entry("5", 36, seq=5, prev="4"),
        entry("e", 37, owner=B, epoch=2, seq=5, prev="d"),
    )
    assert told.verdicts[5:] == [Verdict.SETTLED, Verdict.REJECTED, Verdict.SETTLED]
    assert told.settled == ["1", "2", "3", "d", "e"]
    assert told.fold.is_rejected(uid("4"))
    assert told.fold.status(uid("c")) is Status.SETTLED
    state = told.fold.state()
    assert (state.epoch, state.owner, state.holder) == (2, B, "B")
    assert snowflake_ns(state.since) == time_ns(35)
    assert told.fold.may_post(B)
    assert not told.fold.may_post(A)


def test_an_adoption_may_name_the_head() -> None:
    told = tell(FIRST, CLAIM, entry("2", 29, seq=2, prev="1"), adoption("d", 35, claim="c", seq=2, prev="1"))
    assert told.settled == ["1", "d"]
    assert told.fold.is_rejected(uid("2"))


@pytest.mark.parametrize(
    "stray",
    [
        adoption("d", 10 + 2 * LISTING_LAG_S - 0.01, claim="c", seq=2, prev="1"),
        adoption("d", 10 + CLAIM_LIFETIME_S + 0.01, claim="c", seq=2, prev="1"),
        adoption("d", 40, claim="x", seq=2, prev="1"),
        adoption("d", 40, claim="c", seq=2, prev="x"),
        adoption("d", 40, claim="c", seq=3, prev="1"),
        adoption("d", 40, claim="c", seq=2, prev="1", owner=C),
        adoption("d", 40, claim="c", seq=2, prev="1", epoch=3),
        adoption("d", 40, claim="c", seq=1, prev=""),
    ],
    ids=["early", "late", "claim", "prev", "seq", "owner", "epoch", "beginning"],
)
def test_no_other_adoption_counts_and_the_claim_lives_on(stray: LogEntry) -> None:
    """Too early: the claimant's clock was wrong, and its listing need not have shown everything."""
    told = tell(FIRST, CLAIM, entry("2", 11, seq=2, prev="1"), stray)
    assert told.verdicts[3] is Verdict.REJECTED
    assert told.fold.claim == CLAIM
    assert told.settled == ["1"]


@pytest.mark.parametrize("seconds", [2 * LISTING_LAG_S, CLAIM_LIFETIME_S])
def test_the_bounds_of_an_adoptions_time_count(seconds: float) -> None:
    assert tell(FIRST, CLAIM, adoption("d", 10 + seconds, claim="c", seq=2, prev="1")).settled == ["1", "d"]


@pytest.mark.parametrize(
    "stray",
    [
        claim("x", 5, owner=A),
        claim("x", 5, epoch=1),
        claim("x", 5, epoch=3),
    ],
    ids=["owner", "epoch", "later epoch"],
)
def test_not_every_claim_counts(stray: LogEntry) -> None:
    told = tell(FIRST, stray, entry("2", 11, seq=2, prev="1"))
    assert told.verdicts == [Verdict.SETTLED, Verdict.REJECTED, Verdict.SETTLED]


def test_of_two_claims_the_first_counts() -> None:
    """Else two claimants would both adopt."""
    told = tell(FIRST, CLAIM, claim("x", 11, owner=C), adoption("d", 40, claim="x", seq=2, prev="1", owner=C))
    assert told.verdicts[2:] == [Verdict.REJECTED, Verdict.REJECTED]
    assert told.fold.add(adoption("e", 41, claim="c", seq=2, prev="1")) is Verdict.SETTLED


def test_a_claim_shows_later_than_the_head_that_was_saved() -> None:
    """The writer settled its record without seeing the claim; the writer must hear of it all the same."""
    state = tell(FIRST, entry("2", 11, seq=2, prev="1")).fold.state()
    assert state.list_after() < CLAIM.message
    told = tell(CLAIM, entry("2", 11, seq=2, prev="1"), entry("3", 12, seq=3, prev="2"), state=state)
    assert told.verdicts == [Verdict.CLAIMED, Verdict.DUPLICATE, Verdict.PROVISIONAL]
    assert not told.fold.may_post(A)


def test_when_a_claim_can_be_adopted_goes_by_its_latest_message() -> None:
    """Whichever of two messages somebody deletes: the adoption is late enough for the other."""
    told = tell(FIRST, CLAIM)
    assert told.fold.adoption_due_ns == time_ns(10 + DUE_S)
    told.fold.add(replace(CLAIM, message=snowflake_at(time_ns(15))))
    assert told.fold.adoption_due_ns == time_ns(15 + DUE_S)
    assert told.fold.next_adoption(uid("c")) == Place(2, 2, uid("1"), uid("c"))


def test_a_claim_names_the_next_epoch_and_the_head() -> None:
    assert tell(FIRST, SECOND).fold.next_claim() == Place(2, 2, uid("2"))


# --- claims that nobody adopts --------------------------------------------------------------------


def test_a_claim_lapses_when_no_adoption_can_show_any_more() -> None:
    """A claimant that died does not stop the writer for ever."""
    told = tell(FIRST, CLAIM, entry("2", 11, seq=2, prev="1"))
    told.fold.pass_time(time_ns(10 + LAPSE_S))
    assert told.settled == ["1"]
    told.fold.pass_time(time_ns(10 + LAPSE_S) + 1)
    assert told.settled == ["2"]
    assert told.fold.is_rejected(uid("c"))
    assert told.fold.claim is None
    assert told.fold.may_post(A)


def test_or_when_a_record_shows_that_so_much_time_has_passed() -> None:
    told = tell(FIRST, CLAIM, entry("2", 11, seq=2, prev="1"), entry("3", 12 + LAPSE_S, seq=3, prev="2"))
    assert told.settled == ["1", "2", "3"]


def test_an_adoption_of_a_lapsed_claim_does_not_count() -> None:
    told = tell(FIRST, CLAIM, adoption("d", 11 + LAPSE_S, claim="c", seq=2, prev="1"))
    assert told.verdicts[2] is Verdict.REJECTED


def test_after_it_there_can_be_another() -> None:
    told = tell(FIRST, CLAIM, claim("w", 10 + LAPSE_S, owner=C), claim("x", 11 + LAPSE_S, owner=C))
    assert told.verdicts[2:] == [Verdict.REJECTED, Verdict.CLAIMED]
    state = tell(FIRST, CLAIM, entry("2", 11 + LAPSE_S, seq=2, prev="1")).fold.state()
    again = tell(claim("w", 10 + LAPSE_S, owner=C), claim("x", 12 + LAPSE_S, owner=C), state=state)
    assert again.verdicts == [Verdict.REJECTED, Verdict.CLAIMED]


def test_a_claim_that_was_void_stays_void_for_who_reads_on_from_a_saved_state() -> None:
    """Everybody must see the same claims alive, or two adoptions would each count for somebody."""
    entries = (FIRST, CLAIM, entry("2", 300, seq=2, prev="1"), claim("x", 310, owner=C))
    told = tell(*entries)
    told.fold.pass_time(time_ns(11 + LAPSE_S))
    assert told.fold.is_rejected(uid("x"))
    state = told.fold.state()
    assert state.claim == CLAIM.message
    assert CLAIM.message < state.list_after() < entries[3].message
    again = tell(entries[3], adoption("d", 335, claim="x", seq=3, prev="2", owner=C), state=state)
    assert again.verdicts == [Verdict.REJECTED, Verdict.REJECTED]


def test_a_claim_posted_twice_is_one_also_once_it_has_lapsed() -> None:
    late = replace(CLAIM, message=snowflake_at(time_ns(30 + LAPSE_S)))
    assert tell(FIRST, CLAIM, late).verdicts[2] is Verdict.DUPLICATE


def test_a_claim_from_before_the_oldest_snapshot_lives() -> None:
    """The old writer's last record was a snapshot, it was adopted, and all before it has been deleted."""
    kept = entry("2", 11, RecordType.SNAPSHOT, seq=2, prev="1")
    told = tell(CLAIM, kept, adoption("d", 40, claim="c", seq=3, prev="2"))
    assert told.settled == ["2", "d"]


# --- gaps -----------------------------------------------------------------------------------------


def test_a_missing_record_is_a_gap_that_a_snapshot_heals() -> None:
    """Somebody deleted a message: what stands after it must not be applied to a drive without it."""
    told = tell(FIRST, THIRD, entry("4", 3, seq=4, prev="3"))
    assert told.verdicts[1:] == [Verdict.GAP, Verdict.GAP]
    assert told.fold.gap == Gap(1, 4, 1, THIRD.message)
    assert told.fold.next_record() == Place(1, 5, uid("1"))
    assert told.fold.may_post(A)
    healing = entry("5", 4, RecordType.SNAPSHOT, seq=5, prev="1")
    assert told.fold.add(healing) is Verdict.SETTLED
    assert told.fold.add(entry("6", 5, seq=6, prev="5")) is Verdict.SETTLED
    assert told.settled == ["1", "5", "6"]
    assert told.fold.gap is None
    assert [gap.after_seq for gap in told.fold.gaps] == [1]


def test_a_snapshot_may_be_the_first_thing_after_a_gap() -> None:
    told = tell(FIRST, entry("9", 9, RecordType.SNAPSHOT, seq=9, prev="8"))
    assert told.settled == ["1", "9"]
    assert len(told.fold.gaps) == 1


def test_beyond_a_gap_nothing_else_goes_on() -> None:
    told = tell(
        *(FIRST, THIRD, entry("2", 3, seq=2, prev="1")),
        entry("x", 4, RecordType.SNAPSHOT, owner=B, seq=9, prev="8"),
        entry("r", 5, RecordType.RELEASE, seq=4, prev="3"),
    )
    assert told.verdicts[2:] == [Verdict.GAP, Verdict.REJECTED, Verdict.GAP]
    assert told.settled == ["1"]


def test_a_volume_with_a_gap_can_be_taken_over() -> None:
    """Else a volume whose writer is gone could never be written again."""
    told = tell(FIRST, THIRD, CLAIM, adoption("d", 40, claim="c", seq=2, prev="1"))
    assert told.settled == ["1", "d"]
    assert told.fold.gap is None
    assert told.fold.may_post(B)


def test_a_snapshot_over_a_gap_waits_for_a_claim_as_well() -> None:
    told = tell(FIRST, CLAIM, entry("9", 11, RecordType.SNAPSHOT, seq=9, prev="8"))
    assert told.verdicts[2] is Verdict.PROVISIONAL
    assert told.fold.add(adoption("d", 40, claim="c", seq=10, prev="9")) is Verdict.SETTLED
    assert told.settled == ["1", "9", "d"]


def test_a_later_term_that_nobody_saw_begin_stops_the_writer() -> None:
    """Its adoption was deleted, or does not show yet: whoever wrote before writes no more."""
    later = entry("e", 50, owner=B, epoch=2, seq=5, prev="d")
    told = tell(FIRST, SECOND, CLAIM, entry("3", 11, seq=3, prev="2"), later)
    assert told.verdicts[4] is Verdict.GAP
    assert told.fold.gap == Gap(3, 5, 2, later.message)
    told.fold.pass_time(time_ns(10_000))
    assert not told.fold.may_post(A)
    assert not told.fold.may_post(B)
    assert told.fold.add(entry("4", 11_000, RecordType.SNAPSHOT, seq=4, prev="3")) is Verdict.REJECTED


def test_and_its_snapshot_goes_on() -> None:
    later_snapshot = entry("e", 50, RecordType.SNAPSHOT, owner=B, epoch=2, seq=5, prev="d")
    told = tell(
        *(FIRST, CLAIM, entry("2", 11, seq=2, prev="1"), later_snapshot),
        entry("f", 51, owner=B, epoch=2, seq=6, prev="e"),
    )
    assert told.settled == ["1", "e", "f"]
    assert (told.fold.state().epoch, told.fold.state().owner) == (2, B)
    assert [told.fold.status(uid(name)) for name in ("2", "c")] == [Status.UNKNOWN, Status.UNKNOWN]
    assert told.fold.claim is None
    assert tell(FIRST, later_snapshot).settled == ["1", "e"]


def test_a_claim_to_a_term_that_has_begun_is_void() -> None:
    later = entry("e", 5, owner=B, epoch=2, seq=5, prev="d")
    assert tell(FIRST, later, claim("x", 10, owner=C)).verdicts[2] is Verdict.REJECTED


# --- listings -------------------------------------------------------------------------------------


def test_a_listing_may_come_in_any_order() -> None:
    fold = fold_listing(FoldState(), [THIRD, FIRST, SECOND], time_ns(60))
    assert [taken.uid for taken in fold.take_settled()] == [uid("1"), uid("2"), uid("3")]


def test_what_came_with_a_late_page_waits_for_the_next_listing() -> None:
    """The first page was asked for at 12 s, and did not show the claim; the second, a minute later, shows
    record 3, which the claimant has not seen either: who called it settled would be wrong."""
    late = entry("3", 50, seq=3, prev="2")
    fold = fold_listing(FoldState(), [FIRST, SECOND, late], time_ns(12))
    assert fold.status(uid("3")) is Status.UNKNOWN
    assert fold.state().head_uid == uid("2")
    fold = fold_listing(fold.state(), [SECOND, CLAIM, late], time_ns(60))
    assert fold.status(uid("3")) is Status.PROVISIONAL


def test_ones_own_record_shows_in_the_listing_right_after_it() -> None:
    """Answers tell Discord's time to the second: a record just posted may seem to lie ahead."""
    fold = fold_listing(FoldState(), [FIRST, entry("2", 13.5, seq=2, prev="1")], time_ns(12))
    assert fold.status(uid("2")) is Status.SETTLED


def test_a_listing_passes_the_time_at_which_it_was_asked_for() -> None:
    entries = [FIRST, CLAIM, entry("2", 11, seq=2, prev="1")]
    assert fold_listing(FoldState(), entries, time_ns(10 + LAPSE_S)).claim == CLAIM
    assert fold_listing(FoldState(), entries, time_ns(11 + LAPSE_S)).claim is None


def test_listings_reach_back_before_the_head() -> None:
    state = tell(FIRST, entry("2", 100, seq=2, prev="1")).fold.state()
    assert abs(snowflake_ns(state.list_after()) - time_ns(100 - 2 * LISTING_LAG_S)) < ns(0.01)
    assert FoldState().list_after() == 0


def test_reading_on_from_any_saved_state_is_reading_it_all() -> None:
    """A machine that was restarted, at any moment, and one that recovers the volume see the same chain."""
    for seed in range(200):
        world = World(seed, Habits())
        world.run(200)
        entries = [posted.entry for posted in world.log]
        whole = world.read_all()
        chain = [taken.uid for taken in whole.take_settled()]
        for cut in range(len(entries) + 1):
            before = Fold()
            for each in entries[:cut]:
                before.add(each)
            state, settled = before.state(), [taken.uid for taken in before.take_settled()]
            rest = [each for each in entries if each.message > state.list_after()]
            after = fold_listing(state, rest, world.now_ns + ns(10_000))
            settled += [taken.uid for taken in after.take_settled()]
            assert (settled, after.state()) == (chain, whole.state()), f"seed {seed}, cut {cut}"
