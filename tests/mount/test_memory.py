"""Large copies do not grow the processes that serve them.

A user would lose: their other programs, to the kernel's search for memory.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from discordfs import registry
from tests.mount.tools import MIB, record_figures
from tests.mounting import run_command

pytestmark = pytest.mark.long


def high_water(pid: int) -> int:
    """Bytes of memory that a process ever had at once (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


@pytest.mark.timeout(1800)
def test_four_gibibytes_in_and_out(fuse_available: None, tmp_path: Path) -> None:
    state, mountpoint = tmp_path / "state", tmp_path / "mnt"
    mountpoint.mkdir()
    try:
        for turn in ("in", "out"):
            done = run_command("mount", "--demo", "--state-dir", state, mountpoint)
            assert done.returncode == 0, done.stderr
            mount = registry.find(str(mountpoint)).pid
            (emulator,) = children(mount)
            if turn == "in":
                digest = write(mountpoint / "file", 4096)
                done = run_command("barrier", mountpoint, timeout=900)
                assert done.returncode == 0, done.stderr
            else:
                assert read(mountpoint / "file") == digest
            figures = {"mount": high_water(mount), "emulator": high_water(emulator)}
            record_figures(f"memory, 4 GiB {turn}", **figures)
            assert figures["mount"] < 400 * 1000**2
            assert figures["emulator"] < 300 * 1000**2
            done = run_command("umount", mountpoint)
            assert done.returncode == 0, done.stderr
    finally:
        run_command("umount", "--no-drain", mountpoint)


def write(path: Path, mib: int) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(mib):
            data = os.urandom(MIB)
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
