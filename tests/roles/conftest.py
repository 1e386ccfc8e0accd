"""Several machines with one volume, without a kernel: each a state directory of its own, one Discord in
memory, and one clock that everybody shares and that only the tests move."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from discordfs.cache import BlockCache
from discordfs.chunkstore import ChunkStore
from discordfs.index import Index
from discordfs.keys import VolumeKeys
from discordfs.logreading import LogReader
from discordfs.recovery import build_index, read_log
from discordfs.remote.loop import Loop
from discordfs.remote.memory import MemoryStore
from discordfs.tenure import Standing, Tenure, Wish
from tests.fs.conftest import CALLER, CHANNELS, LOG_CHANNEL, NEVER, House


class Clock:
    """Discord's time and everybody's; it stands still unless somebody waits."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * 10**9

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> bool:
        """As a wait that nothing interrupts."""
        self.now_ns += int(seconds * 1e9)
        return False


class Machine(House):
    """A state directory. `open` mounts it as the writer, whoever that is by the log; `assume` asks for a role
    first, as a mount does."""

    def __init__(self, root: Path, store: MemoryStore, clock: Clock) -> None:
        self.root, self.quota, self.triggers, self.clock = root, 256 * 1024**2, NEVER, clock
        self.time, self.store = clock, store
        self.loop = Loop()
        self.loop.start()
        self.keys = VolumeKeys(b"k" * 32)
        self.volume = b"v" * 16
        self.patience_s = 600.0
        self.boot_id = "the first run"
        self.is_open = False
        root.mkdir()

    def open(self) -> None:
        super().open()
        self.is_open = True

    def close(self) -> None:
        if self.is_open:
            super().close()
            self.is_open = False

    @contextmanager
    def parts(self) -> Iterator[tuple[Index, ChunkStore, LogReader]]:
        """Of a machine that is not mounted."""
        cache = BlockCache(self.root / "cache", ram_bytes=8 * 1024**2, disk_bytes=64 * 1024**2)
        chunks = ChunkStore(
            store=self.store,
            loop=self.loop,
            cache=cache,
            keys=self.keys,
            volume=self.volume,
            random_bytes=os.urandom,
        )
        place = self.root / "index.sqlite"
        index = Index(place, self.clock(), CALLER, self.boot_id, self.root / "staging")
        try:
            yield index, chunks, LogReader(chunks, LOG_CHANNEL)
        finally:
            index.close()
            chunks.close()

    def recover(self) -> None:
        """Its index, from Discord alone."""
        with self.parts() as (_, chunks, reader):
            look = read_log(chunks, reader, me=1, sees_others=True)
            place = self.root / "recovered.sqlite"
            build_index(place, reader, look, CALLER, self.clock())
        place.rename(self.root / "index.sqlite")

    def tenure(self, index: Index, chunks: ChunkStore, reader: LogReader) -> Tenure:
        return Tenure(
            index=index,
            chunks=chunks,
            reader=reader,
            outbox=self.root / "outbox",
            holder=f"somebody@{self.root.name}",
            clock=self.clock,
            random_bytes=os.urandom,
            wait=self.time.pass_s,
        )

    def assume(self, wish: Wish, is_reachable: bool = True) -> Standing:
        with self.parts() as (index, chunks, reader):
            tenure = self.tenure(index, chunks, reader)
            return tenure.assume(wish, is_reachable, lambda text: None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore((LOG_CHANNEL, *CHANNELS), clock=clock)


@pytest.fixture
def make_machine(tmp_path: Path, store: MemoryStore, clock: Clock) -> Iterator[Callable[[str], Machine]]:
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(Machine(tmp_path / name, store, clock))
        return made[-1]

    yield make
    for machine in made:
        machine.close()
        machine.loop.stop()


@pytest.fixture
def first(make_machine: Callable[[str], Machine]) -> Machine:
    """The volume's writer, mounted, with a file in it."""
    machine = make_machine("first")
    machine.open()
    machine.put(b"/a", b"from the first")
    machine.barrier()
    return machine


@pytest.fixture
def second(make_machine: Callable[[str], Machine], first: Machine) -> Machine:
    """Another machine that has recovered the volume, not mounted."""
    machine = make_machine("second")
    machine.recover()
    return machine
