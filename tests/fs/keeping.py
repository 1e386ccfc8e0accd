"""A house with a housekeeper, and a clock that tests move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from discordfs.gc.keeper import Habits, Housekeeper
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, VOLUME, House

HOUR_S = 3700.0
AT_ONCE = Habits(quiet_s=0.0, sweep_every_s=86_400.0, check_percent=0.0)


class Clock:
    """Discord's, and everybody's."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * 10**9

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def monotonic(self) -> float:
        return self.now_ns / 1e9


class KeptHouse(House):
    """A house with a housekeeper, who does a step when he is told to."""

    def __init__(
        self, root: Path, habits: Habits = AT_ONCE, clock: Clock | None = None, **settings: Any
    ) -> None:
        self.habits = habits
        self.time = clock or Clock()
        super().__init__(root, clock=self.time, **settings)

    def open(self) -> None:
        super().open()
        self.keeper = Housekeeper(
            index=self.index,
            staging=self.staging,
            chunks=self.chunks,
            uploader=self.uploader,
            drive=self.drive,
            volume=VOLUME,
            outbox=self.root / "outbox",
            habits=self.habits,
            monotonic=self.time.monotonic,
        )

    def close(self) -> None:
        self.keeper.stop()
        super().close()

    def die(self) -> None:
        """The process ends without a word: what the housekeeper noted at his start still stands."""
        self.index.upkeep.set_marks(running=1)
        super().close()

    def keep(self, seconds: float = HOUR_S, steps: int = 40) -> None:
        """Time passes, and the housekeeper does what there is to do."""
        self.time.pass_s(seconds)
        for _ in range(steps):
            did = self.keeper.step()
            self.settle()
            if not did:
                return

    def settle(self) -> None:
        """What was asked for has become a record."""
        self.keeper._chores.flush(lambda: False)

    def messages(self, channel: int | None = None) -> set[int]:
        channels = (LOG_CHANNEL, *CHANNELS) if channel is None else (channel,)
        return {message for each in channels for message in self.store._channels[each].messages}

    def stored_bytes(self) -> int:
        return sum(map(len, self.store._bytes.values()))

    def requests(self) -> int:
        return sum(self.store.traffic().requests.values())

    def rows(self, sql: str) -> list[Any]:
        with self.index._database.reading() as connection:
            return connection.execute(sql).fetchall()

    def gc(self, dry_run: bool = False, takes_older: bool = False) -> dict[str, Any]:
        """As `discordfs gc` does, on this thread."""
        chores = self.keeper._chores
        done = (chores.look if dry_run else chores.clean)(lambda: False, lambda news: None, takes_older)
        return {name: getattr(done, name) for name in done.__dataclass_fields__}


def drop_cache(house: KeptHouse) -> None:
    """So that what is read comes from Discord."""
    house.close()
    for path in sorted((house.root / "cache").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    house.open()
