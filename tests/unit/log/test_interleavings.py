"""Two and three machines on one volume, thousands of ways: nothing that anybody was told is safe gets lost.

A failure names its seed: `check(seed)` runs it again."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise

import pytest

from discordfs.records import Header, RecordType
from tests.unit.log.simulation import LAG_S, Habits, World, look, ns

RUNS = 800
STEPS = 300


def check(seed: int, habits: Habits | None = None, steps: int = STEPS) -> list[str]:
    """What went wrong in this run."""
    world = World(seed, habits or Habits(), machines=2 + seed % 2)
    world.run(steps)
    return list(problems(world))


def problems(world: World) -> list[str]:
    found = []
    fold = world.read_all()
    chain = [entry.uid for entry in fold.take_settled()]
    headers = {posted.entry.uid: posted.entry.header for posted in world.log}
    values: dict[str, int] = {}
    for uid in chain:
        values.update(world.said[uid].values if uid in world.said else {})
    verified = [(machine.name, uid) for machine in world.machines for uid in machine.verified]
    found += [f"{name} was told that {uid.hex()} is safe" for name, uid in verified if uid not in chain]
    previous = [headers[uid].prev for _, uid in verified]
    if len(set(previous)) < len({uid for _, uid in verified}):
        found.append("two machines believed a record after the same one")
    found += [
        f"chunk {chunk} of {name} is deleted" for name, chunk in values.items() if chunk not in world.chunks
    ]
    for machine in world.machines:
        if not is_view(machine.replayed, chain, headers):
            found.append(f"{machine.name} showed what never was")
    if world.is_contradicted or fold.gaps:
        found.append("the log contradicts itself")
    return found + stragglers(world, values)


def is_view(replayed: list[bytes], chain: list[bytes], headers: dict[bytes, Header]) -> bool:
    """A beginning of the chain; what a snapshot says may be left out before it."""
    places = [-1, *(chain.index(uid) if uid in chain else -2 for uid in replayed)]
    return all(
        later == place + 1 or (later > place and headers[chain[later]].type is RecordType.SNAPSHOT)
        for place, later in pairwise(places)
    )


def stragglers(world: World, values: dict[str, int]) -> list[str]:
    """When all is quiet and everybody looks once more: one writer at most, and all see the same."""
    world.now_ns += ns(10_000)
    for machine in world.machines:
        for _ in look(machine, world):
            pass
    writers = [machine.name for machine in world.machines if machine.is_writer]
    found = [f"{machine.name} sees another volume" for machine in world.machines if machine.values != values]
    return found + ([f"{writers} all think that they write"] if len(writers) > 1 else [])


def test_whatever_happens_nothing_that_was_called_safe_is_lost() -> None:
    for seed in range(RUNS):
        found = check(seed)
        assert not found, f"seed {seed}: {found}"


@pytest.mark.long
def test_nor_in_runs_that_nobody_has_seen_before() -> None:
    begin = time.time_ns()
    for seed in range(begin, begin + 30 * RUNS):
        found = check(seed)
        assert not found, f"seed {seed}: {found}"


WRONG = {
    "waits for one lag in place of two": Habits(believed_lag_s=LAG_S / 2),
    "takes for settled what a claim may undo": Habits(trusts_provisional=True),
    "adopts what it had seen before it claimed": Habits(adopts_what_it_saw_before_claiming=True),
    "lists from the head on, so that it misses a claim that shows late": Habits(lists_from_the_head=True),
    "has a clock that lets claims lapse early": Habits(clock_ahead_s=600.0),
    "believes an answer without listing": Habits(believes_its_post=True),
    "deletes what no settled record condemns": Habits(condemns_by_itself=True),
}


@pytest.mark.parametrize("habits", WRONG.values(), ids=WRONG.keys())
def test_a_machine_with_one_bad_habit_is_found_out(habits: Habits) -> None:
    """Each part of the protocol is needed, and this simulation would notice if it were missing."""
    assert any(check(seed, habits) for seed in range(2 * RUNS))


def test_the_runs_have_everything_in_them() -> None:
    """Take-overs, claims that lapse or come too late, records that are rolled back, adopted, posted twice."""
    seen: Counter[str] = Counter()
    for seed in range(100):
        world = World(seed, Habits(), machines=2 + seed % 2)
        world.run(STEPS)
        fold = world.read_all()
        uids = Counter(posted.entry.uid for posted in world.log)
        for posted in world.log:
            kind = posted.entry.header.type
            seen[f"{kind.name} {fold.status(posted.entry.uid).name}"] += 1
            seen["twins"] += uids[posted.entry.uid] > 1
        seen["lapsed"] += fold.state().claim > 0
        seen["recovered"] += any(machine.lives > 1 for machine in world.machines)
        seen["deleted"] += len(world.chunks) < world.uploads
    for what in (
        *("RECORD SETTLED", "RECORD REJECTED", "SNAPSHOT SETTLED", "RELEASE SETTLED", "CLAIM SETTLED"),
        *("CLAIM REJECTED", "ADOPTION SETTLED", "twins", "lapsed", "recovered", "deleted"),
    ):
        assert seen[what] > 4, f"{what}: {seen[what]}"
