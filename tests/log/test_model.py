"""The drive and a plain model in step, as in tests/model, and now and then the machine is lost: whatever the
calls were, what Discord gives back is the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from discordfs.fs import Drive
from tests.log.conftest import assert_same, seen
from tests.log.picture import Picture
from tests.log.recovering import recovered
from tests.model.test_drive_model import DriveAgainstModel


class RecoveredAgainstModel(DriveAgainstModel):
    @rule()
    def lose_the_machine(self) -> None:
        """Files that are open keep what they have not committed to themselves."""
        for handle, _ in self.handles:
            self.house.drive.flush(handle)
        self.house.barrier()
        folder = Path(self.directory.name) / "recovered"
        with recovered(self.house, self.house.store, folder) as found:
            after = found.picture()
            contents = read_all(found.drive, self.files)
        assert contents == {path: bytes(content) for path, content in self.files.items()}
        assert_same(seen(self.house), after)
        assert names_of(after) == set(self.files)


def read_all(drive: Drive, paths: Mapping[bytes, object]) -> dict[bytes, bytes]:
    contents = {}
    for path in paths:
        handle = drive.open(path, os.O_RDONLY).handle
        contents[path] = bytes(drive.read(handle, 2**21, 0))
        drive.release(handle)
    return contents


def names_of(picture: Picture) -> set[bytes]:
    return set(picture) - {b"/", b"/d"}


ONCE = settings(
    max_examples=4,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class TestRecoveredAgainstModel(RecoveredAgainstModel.TestCase):  # type: ignore[valid-type,misc]
    settings = ONCE


@pytest.mark.long
class TestRecoveredAgainstModelForLong(RecoveredAgainstModel.TestCase):  # type: ignore[valid-type,misc]
    settings = settings(ONCE, max_examples=25, stateful_step_count=30)
