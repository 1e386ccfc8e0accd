"""Long use in short: files come, change and go, the housekeeper works, and is killed at bad moments.

What must come out of it: not one byte is wrong, and what Discord stores stays in proportion to what is there.
Time is simulated; Discord is the memory store; a killed process reaches it no more.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from discordfs import errors, logbook
from discordfs.gc.keeper import Habits
from discordfs.remote.memory import MemoryStore
from tests.fs.conftest import CALLER, CHANNELS, LOG_CHANNEL
from tests.fs.keeping import Clock, KeptHouse, drop_cache
from tests.log.picture import picture
from tests.log.recovering import recovered

MIB = 1024**2
PAGE = 4096
DATABASE = 3 * MIB
BUSY = Habits(quiet_s=0.0, sweep_every_s=6 * 3600.0, check_percent=50.0)


class Killed(BaseException):
    """The process dies here."""


class Line(MemoryStore):
    """One process's way to the same Discord, which ends with it."""

    __slots__ = ("is_cut",)

    def __init__(self, discord: MemoryStore) -> None:
        self.__dict__ = discord.__dict__
        self.is_cut = False

    def _check_line(self) -> None:
        if self.is_cut:
            raise errors.Unavailable("this process is dead")

    async def post(self, *arguments: Any) -> Any:
        self._check_line()
        return await super().post(*arguments)

    async def list(self, *arguments: Any, **cursors: Any) -> Any:
        self._check_line()
        return await super().list(*arguments, **cursors)

    async def delete(self, *arguments: Any) -> Any:
        self._check_line()
        return await super().delete(*arguments)

    async def read(self, *arguments: Any) -> Any:
        self._check_line()
        return await super().read(*arguments)


class Churn:
    """A user, what should be there, and a house that is replaced by its remains when it is killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder, self.lives = folder, 0
        self.clock = Clock()
        self.discord = MemoryStore((LOG_CHANNEL, *CHANNELS), clock=self.clock)
        self.house = self.begin(folder / "life0")
        self.files: dict[bytes, bytearray] = {}
        self.write(b"/database", bytearray(self.rng.randbytes(DATABASE)))

    def begin(self, root: Path) -> KeptHouse:
        self.line = Line(self.discord)
        return KeptHouse(root, habits=BUSY, quota=64 * MIB, store=self.line, clock=self.clock)

    # --- the user -----------------------------------------------------------------------------------

    def write(self, path: bytes, content: bytearray) -> None:
        self.house.put(path, bytes(content))
        self.files[path] = content

    def act(self) -> None:
        action = self.rng.choice(
            [self.create] * 4 + [self.overwrite] * 3 + [self.append, self.delete, self.cut, self.rename]
        )
        action()

    def any_file(self) -> bytes:
        return self.rng.choice(sorted(set(self.files) - {b"/database"}) or [b"/database"])

    def some_bytes(self) -> bytearray:
        return bytearray(self.rng.randbytes(int(10 ** self.rng.uniform(2, 6.8))))

    def create(self) -> None:
        if len(self.files) < 40:
            self.write(b"/f%d" % self.rng.randrange(10**6), self.some_bytes())

    def overwrite(self) -> None:
        self.write(self.any_file(), self.some_bytes())

    def append(self) -> None:
        path, more = self.any_file(), self.some_bytes()
        with self.opened(path) as handle:
            self.house.drive.write(handle, bytes(more), len(self.files[path]))
        self.files[path] += more

    def delete(self) -> None:
        path = self.any_file()
        if path != b"/database":
            self.house.drive.unlink(path)
            del self.files[path]

    def cut(self) -> None:
        path = self.any_file()
        size = self.rng.randrange(len(self.files[path]) + 1)
        self.house.drive.truncate(path, size)
        del self.files[path][size:]

    def rename(self) -> None:
        old, new = self.any_file(), self.any_file()
        if b"/database" not in (old, new) and old != new:
            self.house.drive.rename(old, new)
            self.files[new] = self.files.pop(old)

    def use_database(self, pages: int) -> None:
        """Pages at random, each synced by itself, as databases do."""
        content = self.files[b"/database"]
        with self.opened(b"/database") as handle:
            for _ in range(pages):
                at = self.rng.randrange(max(1, len(content) // PAGE)) * PAGE
                page = self.rng.randbytes(PAGE)
                self.house.drive.write(handle, page, at)
                self.house.drive.flush(handle)
                content[at : at + PAGE] = page

    @contextmanager
    def opened(self, path: bytes) -> Iterator[int]:
        handle = self.house.drive.open(path, os.O_RDWR).handle
        yield handle
        self.house.drive.flush(handle)
        self.house.drive.release(handle)

    # --- the housekeeper ------------------------------------------------------------------------------

    def keep(self, hours: float) -> None:
        """By himself, or because he is asked."""
        self.house.keep(hours * 3600)
        if self.rng.random() < 0.3:
            self.house.gc()

    def keep_and_die(self, hours: float) -> None:
        """He is killed before or after one of his steps on Discord or in the index."""
        house = self.house
        owner, name = self.rng.choice(
            [
                (house.index, "relocate"),
                (house.index, "relocate"),
                (house.chunks, "read"),
                (house.chunks, "delete"),
                (house.uploader, "ask_for_record"),
                (house.index.logbook.garbage, "deleted"),
                (house.index.upkeep, "checked"),
            ]
        )
        setattr(owner, name, self.deadly(getattr(owner, name)))
        try:
            self.keep(hours)
            house.gc()
            self.kill()
        except Killed:
            end_threads(house)
            self.house = self.begin(self.folder / f"life{self.lives}")

    def deadly(self, method: Any) -> Any:
        """It does not survive one of the next calls, which is carried out or not."""
        calls_left, is_carried_out = self.rng.randrange(2), self.rng.random() < 0.5

        def dying(*arguments: Any, **options: Any) -> Any:
            nonlocal calls_left
            calls_left -= 1
            if calls_left >= 0:
                return method(*arguments, **options)
            if is_carried_out:
                method(*arguments, **options)
            return self.kill()

        return dying

    def kill(self) -> None:
        """What another process would find is put aside, and this one reaches Discord no more."""
        if self.line.is_cut:
            return
        self.line.is_cut = True
        self.lives += 1
        shutil.copytree(self.house.root, self.folder / f"life{self.lives}")
        raise Killed

    # --- what must hold -------------------------------------------------------------------------------

    def check_contents(self) -> None:
        assert {b"/" + entry.name for entry in self.house.drive.readdir(b"/")} == set(self.files)
        for path, content in self.files.items():
            assert self.house.get(path) == content, path

    def check_recovery(self) -> None:
        """What Discord alone gives back is the drive, with all its times."""
        self.house.barrier()
        with recovered(self.house, self.discord, self.folder / "recovered") as found:
            assert not found.problems
            assert found.picture() == picture(self.house.drive, self.house.index)

    def live_bytes(self) -> int:
        return sum(map(len, self.files.values()))

    def check_cost(self) -> None:
        assert self.house.stored_bytes() <= 4 * self.live_bytes() + 64 * MIB

    def end(self) -> None:
        """Idle for a while; then everything is as it should be."""
        self.house.barrier()
        for _ in range(8):
            self.keep(1.1)
        self.check_cost()
        idle_bytes = 2 * self.live_bytes() + 24 * MIB  # half-used chunks, and what is let be as it is little
        assert self.house.stored_bytes() <= idle_bytes
        for path, content in self.files.items():
            ino = self.house.drive.getattr(path).ino
            extents = self.house.index.ledger.extents(ino)
            assert len(extents) <= 16 * -(-max(1, len(content)) // MIB), path
        drop_cache(self.house)
        self.check_contents()
        self.check_recovery()
        self.house.check()


def end_threads(house: KeptHouse) -> None:
    """The dead process's threads end; whatever they still do reaches nobody."""
    house.drive._handles.clear()
    house.close()
    house.loop.stop()


def churn(folder: Path, seed: int, rounds: int) -> Churn:
    user = Churn(folder, seed)
    for number in range(rounds):
        for _ in range(user.rng.randrange(40)):
            user.act()
            if user.rng.random() < 0.2:
                user.house.barrier()
        user.use_database(user.rng.randrange(60))
        if user.rng.random() < 0.7:
            user.house.barrier()
        if number % 2:
            user.keep_and_die(user.rng.uniform(0, 3))
            user.check_contents()
        else:
            user.keep(user.rng.uniform(0, 3))
        if number % 8 == 7:
            user.check_recovery()
        user.check_cost()
    return user


@pytest.mark.expects_log("housekeeping", "cannot be synced")
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_and_discord_stores_in_proportion(tmp_path: Path, seed: int) -> None:
    user = churn(tmp_path, seed, rounds=16)
    try:
        user.end()
    finally:
        user.house.loop.stop()


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.expects_log("housekeeping", "cannot be synced")
@pytest.mark.parametrize("seed", range(3, 9))
def test_nothing_is_lost_in_the_long_run(tmp_path: Path, seed: int) -> None:
    user = churn(tmp_path, seed, rounds=150)
    try:
        user.end()
    finally:
        user.house.loop.stop()


def test_the_log_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that come and go for years leave no more behind than two snapshots and what came after."""
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", 10)
    house = KeptHouse(tmp_path / "house", habits=BUSY)
    try:
        for number in range(60):
            house.drive.mkdir(b"/d%d" % number, 0o755, CALLER)
            if number:
                house.drive.rmdir(b"/d%d" % (number - 1))
            house.barrier()
            house.keep(3700)
        for _ in range(3):
            house.keep(3700)
        assert len(house.messages(LOG_CHANNEL)) <= 2 * 10 + 4
        assert [entry.name for entry in house.drive.readdir(b"/")] == [b"d59"]
        house.check()
    finally:
        house.loop.stop()
