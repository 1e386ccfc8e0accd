"""make bench: ratios against a bare passthrough, counts of requests and bytes, memory.

Ratios are medians of alternating pairs within one run, because machines are noisy; absolute figures stand
beside them. Each row says its bound; the exit code is 1 when one is missed. --quick takes smaller data.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import archiving
from bench.mounts import DemoDrive, bare_mount, demo_drive
from bench.rows import Row

MIB = 1024**2
PAIRS = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller data, for a look")
    parser.add_argument("--dir", type=Path, help="where to work (default: the temporary directory)")
    parser.add_argument("--only", action="append", default=[], choices=[*DRIVE, *ARCHIVE], help="these alone")
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as name:
        rows = measure(Path(name), arguments.quick, arguments.only)
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0 if all(row.holds for row in rows) else 1


DRIVE = ("write", "read", "stat", "readers", "memory")
ARCHIVE = ("archive-long", "archive-wide", "archive-limits", "archive-limit")


def measure(directory: Path, quick: bool, only: list[str]) -> list[Row]:
    wanted = only or [*DRIVE, *ARCHIVE]
    rows = measure_drive(directory, quick, [name for name in DRIVE if name in wanted])
    archive = archiving.benches(directory, quick)
    return rows + [row for name in ARCHIVE if name in wanted for row in archive[name]()]


def measure_drive(directory: Path, quick: bool, wanted: list[str]) -> list[Row]:
    if not wanted:
        return []
    megabytes = 64 if quick else 512
    with demo_drive(directory) as drive, bare_mount(directory) as bare:
        benches: dict[str, Callable[[], Row]] = {
            "write": lambda: write_ratio(drive, bare, megabytes),
            "read": lambda: read_ratio(drive, bare, megabytes),
            "stat": lambda: stat_ratio(drive, bare, 500 if quick else 5000),
            "readers": lambda: cold_readers(drive),
            "memory": lambda: memory(drive, 256 if quick else 4096),
        }
        return [benches[name]() for name in wanted]


def show(rows: list[Row]) -> None:
    table = Table("what", "ours", "bare passthrough", "figure", "bound", "")
    for row in rows:
        table.add_row(
            row.name, row.ours, row.bare, f"{row.figure:.3g}", row.bound, "ok" if row.holds else "MISSED"
        )
    Console(width=120).print(table)


def ratio_row(name: str, unit: str, ours: list[float], bare: list[float], bound: float) -> Row:
    """`ours` and `bare` are speeds of alternating runs: the median of the pairs' ratios counts."""
    ratio = statistics.median(one / other for one, other in zip(ours, bare, strict=True))
    spread = f"{min(ours):.0f}..{max(ours):.0f} {unit}", f"{min(bare):.0f}..{max(bare):.0f} {unit}"
    return Row(name, *spread, ratio, f">= {bound}", ratio >= bound)


def pairs(ours: Callable[[], float], bare: Callable[[], float]) -> tuple[list[float], list[float]]:
    ours(), bare()
    mine, theirs = [], []
    for _ in range(PAIRS):
        mine.append(ours())
        theirs.append(bare())
    return mine, theirs


# --- ratios ---------------------------------------------------------------------------------------


def write_ratio(drive: DemoDrive, bare: Path, megabytes: int) -> Row:
    """Sequential writes of 1 MiB into staging, uploads held."""
    drive.control("POST", "settings", {"hold_uploads": True})
    try:
        mine, theirs = pairs(
            lambda: write_speed(drive.mountpoint / "w", megabytes), lambda: write_speed(bare / "w", megabytes)
        )
    finally:
        drive.control("POST", "settings", {"hold_uploads": False})
    (drive.mountpoint / "w").unlink()
    (bare / "w").unlink()
    drive.barrier()
    return ratio_row("sequential write into staging", "MiB/s", mine, theirs, 0.6)


def write_speed(path: Path, megabytes: int) -> float:
    block = random.Random(0).randbytes(MIB)
    path.unlink(missing_ok=True)
    begin = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(block)
    return megabytes / (time.perf_counter() - begin)


def read_ratio(drive: DemoDrive, bare: Path, megabytes: int) -> Row:
    """Sequential reads of what our cache has, after the kernel's pages of the mount were dropped."""
    rng = random.Random(1)
    for path in (drive.mountpoint / "r", bare / "r"):
        with path.open("wb", buffering=0) as file:
            for _ in range(megabytes):
                file.write(rng.randbytes(MIB))
    drive.barrier()
    mine, theirs = pairs(lambda: read_speed(drive.mountpoint / "r"), lambda: read_speed(bare / "r"))
    return ratio_row("warm sequential read", "MiB/s", mine, theirs, 0.6)


def read_speed(path: Path) -> float:
    """The kernel's pages of this mount go first, so that each byte passes through FUSE."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begin, size, buffer = time.perf_counter(), 0, bytearray(MIB)
        while count := file.readinto(buffer):
            size += count
    return size / MIB / (time.perf_counter() - begin)


def stat_ratio(drive: DemoDrive, bare: Path, files: int) -> Row:
    """lstat at random over all files of a tree with directories of 100."""
    for root in (drive.mountpoint / "s", bare / "s"):
        for number in range(files):
            directory = root / f"d{number // 100}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"file{number}").touch()
    mine, theirs = pairs(
        lambda: stat_speed(drive.mountpoint / "s", files), lambda: stat_speed(bare / "s", files)
    )
    return ratio_row("stat at random", "calls/s", mine, theirs, 0.4)


def stat_speed(root: Path, files: int) -> float:
    paths = [f"{root}/d{number // 100}/file{number}" for number in range(files)]
    random.Random(2).shuffle(paths)
    begin = time.perf_counter()
    for path in paths:
        os.lstat(path)
    return files / (time.perf_counter() - begin)


# --- latency and memory -----------------------------------------------------------------------------


def cold_readers(drive: DemoDrive) -> Row:
    """64 readers of different cold files, every answer of Discord 500 ms late."""
    folder = drive.mountpoint / "cold"
    folder.mkdir()
    for number in range(64):
        (folder / f"f{number}").write_bytes(random.Random(number).randbytes(2 * MIB))
    drive.umount()
    drive.drop_cache()
    drive.mount()
    drive.control("POST", "settings", {"latency_ms": 500})
    try:
        with ThreadPoolExecutor(64) as readers:
            begin = time.perf_counter()
            sizes = list(readers.map(read_head, [folder / f"f{number}" for number in range(64)]))
            seconds = time.perf_counter() - begin
    finally:
        drive.control("POST", "settings", {"latency_ms": 0})
    complete = all(size == 4096 for size in sizes)
    return Row(
        "64 cold readers, 500 ms latency",
        f"{seconds:.2f} s",
        "-",
        seconds,
        "<= 2 s",
        complete and seconds <= 2,
    )


def read_head(path: Path) -> int:
    with path.open("rb", buffering=0) as file:
        return len(file.read(4096))


def memory(drive: DemoDrive, megabytes: int) -> Row:
    """The mount's largest resident size, after that much went in and, cold, out again."""
    path = drive.mountpoint / "large"
    write_speed(path, megabytes)
    drive.barrier()
    before = peak_megabytes(drive.status()["pid"])
    drive.umount()
    drive.drop_cache()
    drive.mount()
    read_speed(path)
    peak = max(before, peak_megabytes(drive.status()["pid"]))
    path.unlink()
    return Row(f"memory, {megabytes} MiB in and out", f"{peak:.0f} MB", "-", peak, "< 400 MB", peak < 400)


def peak_megabytes(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
