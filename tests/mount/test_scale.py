"""The loss of a machine with many files: what it costs to have them all back.

A user would lose: the drive, or days, if recovery asked Discord once for each file.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.mount.tools import record_figures, requests, reset, run
from tests.mounting import MountedDrive

IN_A_FOLDER = 100


def plant(root: Path, count: int) -> None:
    """Small files with modes and times of their own, a hundred in each folder, and some links."""
    for folder in range(count // IN_A_FOLDER):
        place = root / f"{folder // 100:02}" / f"{folder:04}"
        place.mkdir(parents=True)
        for number in range(IN_A_FOLDER):
            path = place / f"{number:02}"
            path.write_bytes(b"%d %d\n" % (folder, number))
            os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number))
        (place / "00").chmod(0o640)
        (place / "link").symlink_to("00")
        os.link(place / "01", place / "hard")


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_many_files_come_back_on_an_empty_machine(
    real_drive: MountedDrive, tmp_path: Path, count: int
) -> None:
    source = tmp_path / "source"
    plant(source, count)
    plant(real_drive.mountpoint, count)
    real_drive.barrier(300)
    key = tmp_path / "key"
    shutil.copy(real_drive.state_dir / "key", key)
    real_drive.umount()
    shutil.rmtree(real_drive.state_dir)
    reset(real_drive.emulator)
    begin = time.monotonic()
    real_drive.checked("recover", "--key-file", str(key), timeout=600)
    seconds = time.monotonic() - begin
    stats = real_drive.stats()
    record_figures(
        f"recovery of {count} files",
        seconds=round(seconds, 1),
        requests=stats["requests"],
        cdn=stats["cdn"],
    )
    assert requests(stats) <= 60
    real_drive.mount("--read-only")
    # both were planted, not copied: the times of folders and of links are not the same
    look = ("rsync", "-aHAXnOJ", "--delete", "-i", f"{source}/", f"{real_drive.mountpoint}/")
    assert run(*look, timeout=900) == ""
