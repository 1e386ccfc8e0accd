"""Which bytes a reader sees: the writer's last ones, wherever they are at the moment.

A user would lose: the newest version of a file, or get a mixture of two.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.tools import (
    MIB,
    cold,
    hurry,
    record_figures,
    running,
    settle_settings,
    sha256,
    state,
    wait_until,
)
from tests.mounting import MountedDrive

READER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
for line in sys.stdin:
    offset, length = map(int, line.split())
    sys.stdout.write(os.pread(fd, length, offset).hex() + "\\n")
    sys.stdout.flush()
"""


class Reader:
    """Another process that has a file open, and reads from it when asked to."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._questions, self._answers = process.stdin, process.stdout

    def read(self, offset: int, length: int) -> bytes:
        self._questions.write(f"{offset} {length}\n".encode())
        self._questions.flush()
        return bytes.fromhex(self._answers.readline().decode())


def test_a_reader_sees_the_writers_bytes_at_once(real_drive: MountedDrive) -> None:
    path = real_drive.mountpoint / "file"
    path.write_bytes(b"." * MIB)
    real_drive.barrier()
    command = [sys.executable, "-c", READER, path]
    with (
        running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        path.open("r+b", buffering=0) as file,
    ):
        reader = Reader(process)
        for turn in range(100):
            offset, data = turn * 7919, os.urandom(100 + turn)
            os.pwrite(file.fileno(), data, offset)
            assert reader.read(offset, len(data)) == data
            if turn % 25 == 10:  # what was staged goes to Discord, the file still open
                os.fsync(file.fileno())
                real_drive.barrier()
                assert reader.read(offset, len(data)) == data
        os.ftruncate(file.fileno(), 10)
        assert reader.read(0, 100) == path.read_bytes()
        assert reader.read(10, 100) == b""
        os.pwrite(file.fileno(), b"end", 2 * MIB)
        assert reader.read(2 * MIB - 3, 100) == b"\0\0\0end"


@pytest.mark.parametrize("size", [100_000, pytest.param(60 * MIB, marks=pytest.mark.long)])
def test_a_file_rewritten_while_its_old_version_uploads_ends_as_the_new_one(
    real_drive: MountedDrive, size: int
) -> None:
    path, emulator = real_drive.mountpoint / "file", real_drive.emulator
    old, new = b"old." * (size // 4), b"new!" * (size // 4)
    settle_settings(emulator, hold_uploads=True)
    path.write_bytes(old)
    hurry(real_drive)
    wait_until("an upload is under way", lambda: emulator.stats()["uploads"] >= 1)
    path.write_bytes(new)
    assert path.read_bytes() == new
    assert state(path) == "staged"
    settle_settings(emulator, hold_uploads=False)
    real_drive.barrier()
    assert state(path) == "remote"
    assert path.read_bytes() == new
    cold(real_drive)
    assert path.read_bytes() == new


def test_no_chunk_holds_a_mixture_of_two_versions(real_drive: MountedDrive) -> None:
    """A file whose every 4 KiB say the same version is rewritten over and over while uploads are under
    way; after each cut of the power it is one version whole."""
    path, emulator = real_drive.mountpoint / "file", real_drive.emulator
    pages = 512
    for version in range(12):
        settle_settings(emulator, hold_uploads=version % 3 == 0)
        path.write_bytes(version.to_bytes(4, "big") * 1024 * pages)
        if version % 3 == 0:
            hurry(real_drive)
            wait_until("an upload is under way", lambda: emulator.stats()["uploads"] >= 1)
        if version % 4 == 2:
            real_drive.kill9()
            settle_settings(emulator, hold_uploads=False)
            real_drive.remount()
        assert path.read_bytes() == version.to_bytes(4, "big") * 1024 * pages
    settle_settings(emulator, hold_uploads=False)
    cold(real_drive)
    assert path.read_bytes() == (11).to_bytes(4, "big") * 1024 * pages


def test_parts_rewritten_in_place_while_they_upload(real_drive: MountedDrive) -> None:
    path, emulator = real_drive.mountpoint / "file", real_drive.emulator
    expected = bytearray(os.urandom(8 * MIB))
    settle_settings(emulator, hold_uploads=True)
    path.write_bytes(expected)
    hurry(real_drive)
    wait_until("an upload is under way", lambda: emulator.stats()["uploads"] >= 1)
    with path.open("r+b", buffering=0) as file:
        for offset in range(0, 8 * MIB, 300_007):
            data = os.urandom(5000)
            expected[offset : offset + 5000] = data
            os.pwrite(file.fileno(), data, offset)
            del expected[8 * MIB :]
        os.ftruncate(file.fileno(), 8 * MIB)
    settle_settings(emulator, hold_uploads=False)
    real_drive.barrier()
    assert path.read_bytes() == expected
    cold(real_drive)
    assert path.read_bytes() == expected


@pytest.mark.parametrize("staging", [8, 64])
def test_a_file_four_times_the_size_of_staging_goes_through(real_drive: MountedDrive, staging: int) -> None:
    real_drive.umount()
    real_drive.remount("-o", f"staging_size={staging}M")
    path, digest, most = real_drive.mountpoint / "file", hashlib.sha256(), 0
    with path.open("wb") as file:
        for _ in range(4 * staging):
            data = os.urandom(MIB)
            digest.update(data)
            file.write(data)
            most = max(most, _bytes_in(real_drive.state_dir / "staging"))
    cold(real_drive)
    assert sha256(path) == digest.hexdigest()
    record_figures(f"{4 * staging} MiB through {staging} MiB of staging", most_staged_bytes=most)
    assert most <= (staging + 1) * MIB
    assert real_drive.stats()["rate_limited"] == 0


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # freed meanwhile
            continue
    return total
