"""The commands as users have them, after a power cut: the mount looks, goes back, and says so."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.mounting import EmulatorProcess, MountedDrive


def begin_another_run(index: Path) -> None:
    """As if the machine had gone down since. SQLite must not tidy up as we close: hence the second one."""
    with closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)) as last:
        last.execute("SELECT * FROM machine").fetchall()
        with closing(sqlite3.connect(index)) as connection, connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("UPDATE machine SET boot_id = 'an earlier one'")


def lose(staging: Path, data: bytes) -> None:
    """These bytes never came to the disk."""
    for path in staging.glob("*.segment"):
        path.write_bytes(path.read_bytes().replace(data, bytes(len(data))))


def test_a_mount_after_a_power_cut(drive: MountedDrive, emulator: EmulatorProcess) -> None:
    emulator.control("POST", "settings", {"hold_uploads": True})
    synced, lost = os.urandom(20_000), os.urandom(20_000)
    with (drive.mountpoint / "synced").open("wb") as file:
        file.write(synced)
        file.flush()
        os.fsync(file.fileno())
    (drive.mountpoint / "lost").write_bytes(lost)
    drive.kill9()
    lose(drive.state_dir / "staging", lost)
    begin_another_run(drive.state_dir / "index.sqlite")
    emulator.control("POST", "settings", {"hold_uploads": False})
    drive.mount()
    assert (drive.mountpoint / "synced").read_bytes() == synced
    assert not (drive.mountpoint / "lost").exists() or (drive.mountpoint / "lost").read_bytes() == b""
    assert "(/lost)" in drive.log()
    (drive.mountpoint / "lost").write_bytes(lost)
    drive.barrier()
    drive.umount()
    drive.mount()
    assert (drive.mountpoint / "lost").read_bytes() == lost
    assert "before-power-cut" not in " ".join(os.listdir(drive.state_dir))
