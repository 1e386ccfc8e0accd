"""What copying costs on Discord, by the emulator's own counts, and with its rate limits in force.

A user would lose: days of waiting (a message a file), the drive (a bot that runs into limits is blocked),
or the patience to look into a file.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.mount.tools import (
    MIB,
    cold,
    copy_tree,
    posts,
    random_file,
    record_figures,
    requests,
    reset,
    run,
    settle_settings,
    sha256,
)
from tests.mounting import MountedDrive


@pytest.mark.parametrize("count", [3000, pytest.param(10_000, marks=pytest.mark.long)])
def test_small_files_are_a_few_messages(real_drive: MountedDrive, tmp_path: Path, count: int) -> None:
    source = tmp_path / "source"
    rng = random.Random(7)
    for folder in range(count // 100):
        (source / f"{folder:02}").mkdir(parents=True)
        for name in range(100):
            (source / f"{folder:02}" / f"{name:02}").write_bytes(rng.randbytes(4096))
    reset(real_drive.emulator)
    copy_tree(source, real_drive.mountpoint)
    real_drive.barrier(180)
    stats = real_drive.stats()
    record_figures(f"{count} files of 4 KiB", messages=posts(stats), **_traffic(stats, count * 4096))
    assert posts(stats) <= max(3, count * 8 // 10_000)
    assert stats["rate_limited"] == 0

    reset(real_drive.emulator)
    began_s = time.monotonic()
    assert copy_tree(source, real_drive.mountpoint, "-i") == ""
    run("ls", "-lR", real_drive.mountpoint)
    run("find", real_drive.mountpoint, "-type", "f", "-size", "+1k")
    run("du", "-a", real_drive.mountpoint)
    real_drive.barrier()
    stats = real_drive.stats()
    record_figures("looking over them", requests=requests(stats))
    assert set(stats["requests"]) <= {"GET /channels/{id}/messages"}  # the log, which is looked at anyway
    assert requests(stats) <= 1 + (time.monotonic() - began_s) // 60


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mib", [256, pytest.param(1024, marks=pytest.mark.long)])
def test_a_large_file_goes_up_once_and_is_read_in_small_parts(
    real_drive: MountedDrive, tmp_path: Path, mib: int
) -> None:
    source, copy, large = tmp_path / "source", real_drive.mountpoint / "large", mib * MIB
    digest = random_file(source, large)
    reset(real_drive.emulator)
    settle_settings(real_drive.emulator, bandwidth_bps=100_000_000)  # so that some must be under way at once
    run("cp", source, copy)
    real_drive.barrier(400)
    settle_settings(real_drive.emulator, bandwidth_bps=0)
    stats = real_drive.stats()
    record_figures(
        f"{mib} MiB of random bytes",
        messages=posts(stats),
        peak_uploads=stats["peak_uploads"],
        **_traffic(stats, large),
    )
    assert posts(stats) <= mib * 48 // 1024
    assert stats["bytes_in"] <= 1.01 * large
    assert 2 <= stats["peak_uploads"] <= 4
    assert stats["rate_limited"] == 0

    cold(real_drive)
    reset(real_drive.emulator)
    with copy.open("rb", buffering=0) as file, source.open("rb") as original:
        original.seek(large // 2)
        assert os.pread(file.fileno(), 4096, large // 2) == original.read(4096)
    stats = real_drive.stats()
    record_figures("cold read of 4 KiB", cdn=stats["cdn"], requests=stats["requests"])
    assert stats["cdn"]["bytes_out"] <= 528 * 1024
    assert sum(stats["requests"].values()) <= 1
    assert stats["rate_limited"] == 0

    reset(real_drive.emulator)
    assert sha256(copy) == digest
    stats = real_drive.stats()
    record_figures("all of it read cold", cdn=stats["cdn"], requests=stats["requests"])
    assert stats["cdn"]["bytes_out"] <= 1.02 * large
    assert stats["rate_limited"] == 0


def _traffic(stats: dict[str, object], payload: int) -> dict[str, object]:
    return {
        "bytes_in": stats["bytes_in"],
        "bytes_up_a_byte": round(int(str(stats["bytes_in"])) / payload, 5),
        "rate_limited": stats["rate_limited"],
    }
