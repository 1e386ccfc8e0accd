"""The drive without a kernel, as in tests/fs, and Discord alone to rebuild it from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from discordfs.remote.memory import MemoryStore
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, House, house, make_house
from tests.log.picture import Picture, differences, picture
from tests.log.recovering import RecordingStore, recovered

__all__ = ["house", "make_house"]  # fixtures of tests/fs

Recover = Callable[[House, MemoryStore], Picture]


@pytest.fixture
def recording(make_house: Callable[..., House]) -> House:
    """A drive whose Discord remembers the order of its messages."""
    return make_house(store=RecordingStore((LOG_CHANNEL, *CHANNELS)))


@pytest.fixture
def recover(tmp_path: Path) -> Recover:
    """The picture of a house's drive as this Discord gives it back to an empty machine."""
    numbers = itertools.count()

    def of(house: House, store: MemoryStore) -> Picture:
        with recovered(house, store, tmp_path / f"recovered{next(numbers)}") as found:
            return found.picture()

    return of


def seen(house: House) -> Picture:
    return picture(house.drive, house.index)


def assert_same(before: Picture, after: Picture) -> None:
    """Asserts that nothing of a drive has changed; says what has."""
    assert not differences(before, after), "\n".join(differences(before, after)[:20])
