"""The mount option fsync=remote: an fsync that returned is on Discord, and one that cannot be is an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from discordfs import remotesync
from discordfs.errors import Interrupted, TimedOut, Unavailable
from discordfs.remotesync import RemoteSyncDrive
from tests.fs.conftest import CALLER, House


class SyncingHouse(House):
    """A house with that option; `is_gone` says whether whoever called has gone away."""

    is_gone = False

    def open(self) -> None:
        super().open()
        self.drive.close()
        self.drive = RemoteSyncDrive(
            index=self.index,
            staging=self.staging,
            chunks=self.chunks,
            uploader=self.uploader,
            clock=self.clock,
            cancelled=lambda: self.is_gone,
        )


@pytest.fixture
def syncing(tmp_path: Path) -> Iterator[SyncingHouse]:
    house = SyncingHouse(tmp_path / "house")
    yield house
    house.check()
    house.loop.stop()


def cut_off(house: House) -> Callable[[], None]:
    """Discord cannot be reached until what this gives is called."""
    there = house.chunks.post_all

    def refuse(*arguments: object) -> None:
        raise Unavailable("the network is down")

    house.chunks.post_all = refuse  # type: ignore[method-assign,assignment]

    def back() -> None:
        house.chunks.post_all = there  # type: ignore[method-assign]

    return back


def test_an_fsync_that_returned_is_on_discord(syncing: SyncingHouse) -> None:
    handle = syncing.drive.create(b"/a", 0o644, os.O_RDWR, CALLER).handle
    syncing.drive.write(handle, b"precious", 0)
    syncing.drive.fsync(handle, datasync=False)
    assert syncing.drive.getxattr(b"/a", b"user.discordfs.state") == b"remote"
    syncing.drive.release(handle)


def test_an_fsync_in_an_outage_ends_and_its_data_goes_out_later(
    syncing: SyncingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remotesync, "PATIENCE_S", 0.2)
    back = cut_off(syncing)
    handle = syncing.drive.create(b"/a", 0o644, os.O_RDWR, CALLER).handle
    syncing.drive.write(handle, b"precious", 0)
    with pytest.raises(TimedOut, match="stay staged"):
        syncing.drive.fsync(handle, datasync=False)
    syncing.drive.release(handle)
    assert syncing.get(b"/a") == b"precious"
    back()
    syncing.barrier()
    assert syncing.drive.getxattr(b"/a", b"user.discordfs.state") == b"remote"


def test_an_fsync_that_waits_can_be_interrupted(syncing: SyncingHouse) -> None:
    back = cut_off(syncing)
    handle = syncing.drive.create(b"/a", 0o644, os.O_RDWR, CALLER).handle
    syncing.drive.write(handle, b"precious", 0)
    syncing.is_gone = True
    with pytest.raises(Interrupted):
        syncing.drive.fsync(handle, datasync=False)
    back()
    syncing.drive.release(handle)
