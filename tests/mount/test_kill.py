"""kill -9 at the worst moments: what was closed is there, and each chunk is on Discord exactly once.

A user would lose: files they had saved; or pay twice for what goes up again.
"""

from __future__ import annotations

import os
import signal

import pytest

from discordfs import registry
from tests.mount.tools import (
    MIB,
    cold,
    known_messages,
    posts,
    record_figures,
    reset,
    settle_settings,
    snapshot,
    wait_until,
)
from tests.mounting import MountedDrive, wait_for_end


def fill(drive: MountedDrive, files: int, size: int) -> None:
    """Files closed, not synced, with names and attributes changed after that."""
    for number in range(files):
        path = drive.mountpoint / f"draft-{number}"
        path.write_bytes(os.urandom(size))
        path.chmod(0o600 + number % 64)
        path.rename(drive.mountpoint / f"file-{number}")
    os.link(drive.mountpoint / "file-0", drive.mountpoint / "link")
    (drive.mountpoint / "soft").symlink_to("file-0")
    os.setxattr(drive.mountpoint / "file-1", "user.note", b"value")
    (drive.mountpoint / "gone").write_bytes(b"gone")
    (drive.mountpoint / "gone").unlink()


def kill(drive: MountedDrive) -> None:
    """The process only: what it leaves in the mount table stays there."""
    pid = drive.pid()
    watch = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(watch)


def test_a_kill_with_everything_staged(real_drive: MountedDrive) -> None:
    settle_settings(real_drive.emulator, hold_uploads=True)
    fill(real_drive, 50, 30_000)
    before = snapshot(real_drive.mountpoint)
    kill(real_drive)
    settle_settings(real_drive.emulator, hold_uploads=False)
    assert registry.mounted_types(str(real_drive.mountpoint)), "the dead mount stands in the table"
    real_drive.remount()
    assert snapshot(real_drive.mountpoint) == before
    cold(real_drive)
    assert snapshot(real_drive.mountpoint) == before


def messages_of_all_channels(drive: MountedDrive) -> int:
    return int(drive.stats()["messages"])


@pytest.mark.parametrize("fate", ["lost", "committed unheard", pytest.param("slow", marks=pytest.mark.long)])
def test_a_kill_during_uploads(real_drive: MountedDrive, fate: str) -> None:
    """The posts under way are lost with the connection; or they land and nobody hears of it; or they are
    killed at some byte."""
    emulator = real_drive.emulator
    real_drive.barrier()
    base = messages_of_all_channels(real_drive)
    strangers = base - known_messages(real_drive)
    if fate == "committed unheard":
        fault = {"route": "/channels/{id}/messages", "method": "POST", "kind": "slow", "delay_s": 30}
        emulator.control("POST", "faults", fault | {"nth": 1, "count": 8})
    elif fate == "lost":
        settle_settings(emulator, hold_uploads=True)
    else:
        settle_settings(emulator, bandwidth_bps=40_000_000)
    fill(real_drive, 4, 24 * MIB)
    before = snapshot(real_drive.mountpoint)
    if fate == "committed unheard":
        wait_until("posts have landed", lambda: messages_of_all_channels(real_drive) >= base + 2)
    else:
        wait_until("uploads are under way", lambda: emulator.stats()["uploads"] >= 2)
    kill(real_drive)
    emulator.control("DELETE", "faults")
    settle_settings(emulator, hold_uploads=False, bandwidth_bps=0)
    wait_until("the emulator saw them end", lambda: emulator.stats()["uploads"] == 0)
    reset(emulator)
    real_drive.remount()
    assert snapshot(real_drive.mountpoint) == before
    real_drive.barrier()
    sealed = -(-4 * 24 * MIB // (24 * MIB)) + 1  # each chunk keeps room for its footer
    landed = messages_of_all_channels(real_drive) - base
    record_figures(f"kill -9, uploads {fate}", messages=landed, posted_again=posts(emulator.stats()))
    assert landed in (sealed, sealed + 1), "the chunks, and a record that the last may ride with, once each"
    assert messages_of_all_channels(real_drive) == strangers + known_messages(real_drive)
    cold(real_drive)
    assert snapshot(real_drive.mountpoint) == before


def test_kill_after_kill(real_drive: MountedDrive) -> None:
    """Again and again at whatever moment it is, without a pause: nothing that was closed is missing."""
    written: dict[str, bytes] = {}
    real_drive.barrier()
    strangers = messages_of_all_channels(real_drive) - known_messages(real_drive)
    for turn in range(8):
        for number in range(5):
            data = os.urandom(700_000)
            (real_drive.mountpoint / f"{turn}-{number}").write_bytes(data)
            written[f"{turn}-{number}"] = data
        if turn % 2:
            real_drive.command("barrier", real_drive.mountpoint, "--timeout", "0")
        kill(real_drive)
        real_drive.remount()
    real_drive.barrier()
    assert messages_of_all_channels(real_drive) == strangers + known_messages(real_drive)
    cold(real_drive)
    found = {path.name: path.read_bytes() for path in real_drive.mountpoint.iterdir()}
    assert found == written


def test_an_emptied_file_is_the_old_one_until_it_is_closed(real_drive: MountedDrive) -> None:
    path = real_drive.mountpoint / "file"
    path.write_bytes(b"old" * 1000)
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, b"new" * 500)
    kill(real_drive)
    with pytest.raises(OSError, match="not connected"):
        os.close(descriptor)
    real_drive.remount()
    assert path.read_bytes() == b"old" * 1000
