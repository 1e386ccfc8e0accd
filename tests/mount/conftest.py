"""Drives for the tests on real mounts: an emulator that limits rates as Discord does. Only while a volume
is made it does not, as a server's channels may be made at one a second.

`place` is a directory of its own on a mount that the tests of a module share; when they are done, all that
they left must come back from Discord unchanged.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mount.tools import cold, settle_settings, snapshot
from tests.mounting import EmulatorProcess, MountedDrive, new_drive

_numbers = itertools.count(1)


@contextmanager
def limited_drive(root: Path, *options: str) -> Iterator[MountedDrive]:
    """A volume over four data channels, mounted; from now on with Discord's rate limits."""
    with (
        EmulatorProcess(root / "discord", ["rate_limits=off"]) as process,
        new_drive(process, root / "drive", *options) as mounted,
    ):
        settle_settings(process, rate_limits=True)
        yield mounted


@pytest.fixture
def real_drive(fuse_available: None, tmp_path: Path) -> Iterator[MountedDrive]:
    """Such a drive for one test."""
    with limited_drive(tmp_path) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def shared_drive(fuse_available: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountedDrive]:
    """The same for a module's tests; at the end everything they left is compared with what a mount
    without any cache shows."""
    with limited_drive(tmp_path_factory.mktemp("shared")) as mounted:
        yield mounted
        before = snapshot(mounted.mountpoint)
        cold(mounted)
        after = snapshot(mounted.mountpoint)
        changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
        assert not changed, [(name, before.get(name), after.get(name)) for name in changed[:5]]


@pytest.fixture
def place(shared_drive: MountedDrive) -> Path:
    """An empty directory of this test's own, on the drive."""
    path = shared_drive.mountpoint / f"test-{next(_numbers)}"
    path.mkdir()
    return path
