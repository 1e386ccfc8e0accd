"""The drive without a kernel, as in tests/fs, and Discord alone to rebuild it from."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from discordfs.remote.memory import MemoryStore
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, House, house, make_house
from tests.log.picture import Picture, differences, picture
from tests.log.recovering import FastClock, RecordingStore, recovered

__all__ = ["house", "make_house"]  # fixtures of tests/fs

Recover = Callable[[House, MemoryStore], Picture]


@pytest.fixture
def recording(make_house: Callable[..., House]) -> House:
    """A drive whose Discord remembers the order of its messages."""
    return make_house(store=RecordingStore((LOG_CHANNEL, *CHANNELS)))


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


@pytest.fixture
def empty_machine(tmp_path: Path) -> Iterator[Path]:
    """Where a drive can be rebuilt: in memory where that can be, as hundreds of them are."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else tmp_path)) / "recovered"
    yield folder
    shutil.rmtree(folder.parent)


@pytest.fixture
def recover(empty_machine: Path) -> Recover:
    """The picture of a house's drive as this Discord gives it back to an empty machine."""

    def of(house: House, store: MemoryStore) -> Picture:
        with recovered(house, store, empty_machine) as found:
            return found.picture()

    return of


def seen(house: House) -> Picture:
    return picture(house.drive, house.index)


def assert_same(before: Picture, after: Picture) -> None:
    """Asserts that nothing of a drive has changed; says what has."""
    assert not differences(before, after), "\n".join(differences(before, after)[:20])
