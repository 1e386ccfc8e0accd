"""Machines that write one volume, follow it and take it over, on a Discord whose listings lag; simulated.

Time is simulated, chance is seeded: a seed is a run. Each machine is a generator that follows the protocol of
fold.py step by step, with the real Fold, and may be stopped at each `yield` for milliseconds or minutes, or
killed and started again with what it had on disk. What it writes are values by name: each is a chunk, which
the next record that changes the name condemns. `Habits` are what a machine could do wrong; a test that has
teeth finds each of them.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from discordfs.fold import LISTING_LAG_S, Fold, FoldState, LogEntry, Place, Status, fold_listing
from discordfs.records import Header, RecordType
from discordfs.remote.base import snowflake_at, snowflake_ns

LAG_S = LISTING_LAG_S
GRACE_S = 60.0
START_NS = 1_700_000_000_000_000_000
NAMES = ("a", "b", "c")

Steps = Generator[float, None, None]
"""Between two steps anything may happen; the seconds are what the machine means to wait."""


def ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


@dataclass(frozen=True)
class Habits:
    """How machines go about it; the defaults are the protocol."""

    believed_lag_s: float = LAG_S
    clock_ahead_s: float = 0.0
    trusts_provisional: bool = False
    adopts_what_it_saw_before_claiming: bool = False
    lists_from_the_head: bool = False
    believes_its_post: bool = False
    condemns_by_itself: bool = False


@dataclass(frozen=True)
class Said:
    """What a record says: names and their chunks, and the chunks that nothing refers to any more."""

    values: dict[str, int]
    condemned: tuple[int, ...]


@dataclass
class Machine:
    """What a machine has on its disk. `replayed`: the chain as it showed it to its user, in order;
    `verified`: records of its own that it told its user were safe."""

    name: str
    state: FoldState = field(default_factory=FoldState)
    values: dict[str, int] = field(default_factory=dict)
    condemned: list[tuple[int, int]] = field(default_factory=list)
    intent: tuple[bytes, Header] | None = None
    replayed: list[bytes] = field(default_factory=list)
    verified: list[bytes] = field(default_factory=list)
    asked_ns: int = 0
    lives: int = 1

    @property
    def me(self) -> bytes:
        return f"{self.name}{self.lives}".encode().ljust(16, b".")

    def lose_disk(self) -> None:
        """The machine burns down; its user recovers the volume on a new one."""
        self.state, self.intent, self.lives = FoldState(), None, self.lives + 1
        for kept in (self.values, self.condemned, self.replayed):
            kept.clear()

    @property
    def is_writer(self) -> bool:
        return self.state.owner == self.me


@dataclass
class _Posted:
    entry: LogEntry
    born_ns: int
    delay_ns: int


class World:
    """One channel, its chunks, and the machines."""

    def __init__(self, seed: int, habits: Habits, machines: int = 3) -> None:
        self.random = random.Random(seed)
        self.habits = habits
        self.now_ns = START_NS
        self.log: list[_Posted] = []
        self.is_contradicted = False
        self._late: list[tuple[int, bytes, Header]] = []
        self.said: dict[bytes, Said] = {}
        self.chunks: set[int] = set()
        self.machines = [Machine(chr(ord("A") + n)) for n in range(machines)]
        self._flaps = self.random.random() < 0.5  # each listing shows another part of what is new
        self._page = self.random.choice((2, 5, 100))
        self._pace = self.random.choice((0.1, 0.3, 1.0, 3.0))
        self.uploads = self._uids = self._last_id = 0

    # --- Discord ----------------------------------------------------------------------------------

    def post(self, uid: bytes, header: Header) -> None:
        self._last_id = max(self._last_id + 1, snowflake_at(self.now_ns))
        delay = ns(self.random.choice((0.0, 0.2, LAG_S - 0.01, self.random.uniform(0, LAG_S))))
        self.log.append(_Posted(LogEntry(header, uid, self._last_id), self.now_ns, delay))

    def post_late(self, uid: bytes, header: Header) -> None:
        """The request hangs somewhere; nobody knows whether it will get there."""
        self._late.append((self.now_ns + ns(self.random.uniform(0, 60)), uid, header))

    def _land(self) -> None:
        due = [each for each in self._late if each[0] <= self.now_ns]
        self._late = [each for each in self._late if each[0] > self.now_ns]
        for _, uid, header in due:
            self.post(uid, header)

    def page(self, after: int) -> list[LogEntry]:
        """The next few messages that show, as `after` of Discord's listings gives them."""
        shown = (it.entry for it in self.log if it.entry.message > after and self._shows(it))
        return [entry for entry, _ in zip(shown, range(self._page), strict=False)]

    def is_last(self, page: list[LogEntry]) -> bool:
        return len(page) < self._page

    def _shows(self, posted: _Posted) -> bool:
        age = self.now_ns - posted.born_ns
        if self._flaps:
            return age >= ns(LAG_S) or self.random.random() < 0.5
        return age >= posted.delay_ns

    def upload(self) -> int:
        self.uploads += 1
        self.chunks.add(self.uploads)
        return self.uploads

    def uid(self) -> bytes:
        self._uids += 1
        return self._uids.to_bytes(16, "big")

    # --- time -------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """So many steps of all machines, in an order that chance decides; then everything stands still."""
        running = {machine.name: live(machine, self) for machine in self.machines}
        wake = dict.fromkeys(running, self.now_ns)
        self.run_alone(self.machines[0])
        for _ in range(steps):
            name = min(wake, key=lambda each: wake[each])
            self.now_ns = max(self.now_ns, wake[name])
            self._land()
            if self.random.random() < 0.01:
                running[name] = self._restart(name)
            wait_s = next(running[name])
            wake[name] = self.now_ns + ns(wait_s + self._stop_s())

    def _restart(self, name: str) -> Steps:
        """Killed, and started again; one time in five with nothing left."""
        machine = next(it for it in self.machines if it.name == name)
        if self.random.random() < 0.2:
            machine.lose_disk()
        return live(machine, self)

    def run_alone(self, machine: Machine) -> None:
        """The first machine makes the volume, before anybody else can know of it."""
        for steps in (write(machine, self), settle(machine, self)):
            for _ in steps:
                self.now_ns += ns(1)

    def _stop_s(self) -> float:
        """For how long a machine stands still between two steps."""
        longest = self.random.choices((0.1, 1.0, 4.0, 15.0, 60.0, 650.0), (30, 40, 20, 7, 2.5, 0.5))[0]
        return self._pace * self.random.uniform(0, longest)

    # --- afterwards -------------------------------------------------------------------------------

    def read_all(self) -> Fold:
        """The log as a machine finds it that knows nothing, long after."""
        fold = Fold()
        for posted in self.log:
            fold.add(posted.entry)
        fold.pass_time(self.now_ns + ns(10_000))
        return fold


# --- a machine ------------------------------------------------------------------------------------


def live(machine: Machine, world: World) -> Steps:
    """Follows, writes while it is the writer, takes over when somebody tells it to."""
    while True:
        fold = yield from look(machine, world)
        chance = world.random.random()
        if machine.is_writer and machine.intent:
            yield from settle(machine, world)
        elif machine.is_writer and fold.may_post(machine.me):
            yield from (write(machine, world) if chance < 0.7 else collect(machine, world))
        elif not machine.is_writer:
            machine.intent = None  # lost: what it was to say stays in staging
            if chance < 0.15:
                yield from take_over(machine, world)
        yield 0.0


def look(machine: Machine, world: World) -> Generator[float, None, Fold]:
    """Lists the log and folds it; what settled is replayed and saved in one step."""
    habits = world.habits
    asked_ns = world.now_ns - ns(world.random.uniform(0, 1)) + ns(habits.clock_ahead_s)
    after = machine.state.list_after(habits.believed_lag_s)
    if habits.lists_from_the_head:
        after = machine.state.head_message
    entries: list[LogEntry] = []
    while True:
        page = world.page(after)
        entries += page
        if world.is_last(page):
            break
        after = page[-1].message
        yield 0.0
    fold = fold_listing(machine.state, entries, asked_ns, habits.believed_lag_s)
    replay(machine, world, fold.take_settled())
    machine.state = fold.state()
    machine.asked_ns = asked_ns
    world.is_contradicted |= fold.is_contradicted
    return fold


def replay(machine: Machine, world: World, settled: Iterable[LogEntry]) -> None:
    for entry in settled:
        machine.replayed.append(entry.uid)
        said = world.said.get(entry.uid)
        if said is not None:
            machine.values.update(said.values)
            machine.condemned += [(chunk, snowflake_ns(entry.message)) for chunk in said.condemned]
        if machine.intent and entry.uid == machine.intent[0]:
            believe(machine, entry.uid)


def believe(machine: Machine, uid: bytes) -> None:
    """The user is told that this is safe; staging is freed."""
    machine.verified.append(uid)
    machine.intent = None


def seal(machine: Machine, world: World, kind: RecordType, place: Place) -> tuple[bytes, Header]:
    return world.uid(), Header(
        kind, place.epoch, machine.me, machine.name, place.seq, place.prev, world.now_ns, place.claim
    )


def post(world: World, uid: bytes, header: Header) -> Steps:
    """No answer tells anything here: the message may be there, twice, or later, or never."""
    fate = world.random.choices(("there", "twice", "late", "never"), (80, 5, 10, 5))[0]
    if fate == "late":
        world.post_late(uid, header)
    for _ in range({"there": 1, "twice": 2}.get(fate, 0)):
        world.post(uid, header)
    yield 0.0


def write(machine: Machine, world: World) -> Steps:
    """One record: a new value for a name, or one name's value for another as well."""
    fold = yield from look(machine, world)
    if not fold.may_post(machine.me) or machine.intent or fold.gap:
        return
    kind = world.random.choices((RecordType.RECORD, RecordType.SNAPSHOT, RecordType.RELEASE), (85, 10, 5))[0]
    kind = kind if machine.state.epoch else RecordType.SNAPSHOT
    name, other = world.random.choice(NAMES), world.random.choice(NAMES)
    chunk = machine.values.get(other) if world.random.random() < 0.3 else None
    said = {} if kind is RecordType.RELEASE else {name: chunk or world.upload()}
    yield 0.0
    after = {**machine.values, **said}
    gone = tuple(set(machine.values.values()) - set(after.values()))
    uid, header = seal(machine, world, kind, fold.next_record())
    world.said[uid] = Said(after if kind is RecordType.SNAPSHOT else said, gone)
    machine.intent = (uid, header)
    yield 0.0
    yield from post(world, uid, header)
    if world.habits.believes_its_post:
        believe(machine, uid)
    if world.habits.condemns_by_itself:
        machine.condemned += [(chunk, 0) for chunk in gone]


def settle(machine: Machine, world: World) -> Steps:
    """Until the record under way has settled, or never will."""
    waited_since = world.now_ns
    while machine.intent and (machine.is_writer or not machine.state.epoch):
        uid, header = machine.intent
        fold = yield from look(machine, world)
        status = fold.status(uid)
        if machine.intent and world.habits.trusts_provisional and status is Status.PROVISIONAL:
            believe(machine, uid)
        if status is Status.REJECTED:
            machine.intent = None
        is_overdue = world.now_ns - waited_since > ns(LAG_S)
        if status is Status.UNKNOWN and machine.intent and fold.may_post(machine.me) and is_overdue:
            yield from post(world, uid, header)
            waited_since = world.now_ns
        yield world.random.uniform(0, 2)


def collect(machine: Machine, world: World) -> Steps:
    """Deletes what was condemned long enough ago, if the volume is still ours."""
    due = [chunk for chunk, when in machine.condemned if when + ns(GRACE_S) < world.now_ns]
    yield from look(machine, world)
    if not machine.is_writer:
        return
    yield 0.0
    for chunk in due:
        world.chunks.discard(chunk)
        yield 0.0
    machine.condemned = [each for each in machine.condemned if each[0] not in due]


def take_over(machine: Machine, world: World) -> Steps:
    fold = yield from look(machine, world)
    state = fold.state()
    if not state.epoch or machine.is_writer or fold.claim or fold.gap:
        return
    before = fold.tip
    claim, header = seal(machine, world, RecordType.CLAIM, fold.next_claim())
    fold = yield from insist(machine, world, claim, header)
    while fold.status(claim) is Status.PROVISIONAL and machine.asked_ns <= fold.adoption_due_ns:
        yield world.random.uniform(0, 8)
        fold = yield from look(machine, world)
    if fold.status(claim) is not Status.PROVISIONAL or fold.gap:
        return
    place = fold.next_adoption(claim)
    if world.habits.adopts_what_it_saw_before_claiming:
        place = Place(place.epoch, before.seq + 1, before.uid, claim)
    adoption, header = seal(machine, world, RecordType.ADOPTION, place)
    yield 0.0
    yield from insist(machine, world, adoption, header)


def insist(machine: Machine, world: World, uid: bytes, header: Header) -> Generator[float, None, Fold]:
    """Posts until it shows, and returns the fold that shows it, or that shows another epoch."""
    epoch, posted_ns = machine.state.epoch, 0
    while True:
        if world.now_ns - posted_ns > ns(LAG_S):
            posted_ns = world.now_ns
            yield from post(world, uid, header)
        fold = yield from look(machine, world)
        if fold.status(uid) is not Status.UNKNOWN or machine.state.epoch != epoch:
            return fold
        yield world.random.uniform(0, 4)
