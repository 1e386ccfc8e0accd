"""Real trees, copied by the programs that people use, and compared by those programs after the cache is gone.

A user would lose: files, silently.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

from tests.mount.tools import (
    MIB,
    cold,
    copy_tree,
    differences,
    free_port,
    posts,
    random_file,
    record_figures,
    requests,
    reset,
    run,
)
from tests.mounting import EmulatorProcess, MountedDrive, run_command

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
PARTS = ("email", "json", "asyncio", "unittest", "test/test_email")
"""Of it, for a smaller copy. Debian keeps a library's tests in a package of their own: the last may lack."""


def library(destination: Path, parts: tuple[str, ...], hole: int) -> None:
    """The running Python's own library, and in it what a library has not: links, holes, attributes."""
    destination.mkdir()
    for part in filter(lambda part: (LIBRARY / part).is_dir(), parts or (".",)):
        (destination / part).mkdir(parents=True, exist_ok=True)
        run("rsync", "-aHAX", "--exclude=site-packages", f"{LIBRARY / part}/", f"{destination / part}/")
    folder = destination / "extra"
    folder.mkdir(mode=0o2775)
    modules = sorted(destination.rglob("*.py"))
    for number, module in enumerate(modules[:: max(1, len(modules) // 50)]):
        os.link(module, folder / f"hard-{number}")
        (folder / f"soft-{number}").symlink_to(os.path.relpath(module, folder))
    (folder / "dangling").symlink_to("/nowhere/\udcff at all")
    os.setxattr(modules[0], "user.comment", b"\0not text\xff")
    os.utime(modules[1], ns=(-1_000_000_001, -5_000_000_000_123_456_789))
    with (folder / "sparse").open("wb") as file:
        file.truncate(2 * hole)
        file.seek(hole + 12345)
        file.write(b"an island")
    (folder / os.fsdecode(b"new\nline \xff\xfe")).write_bytes(b"odd name")


def repository(path: Path, commits: int) -> None:
    """A git repository with so many commits over some hundred files."""
    stream = ["reset refs/heads/main\n"]
    for number in range(commits):
        text = "".join(f"{number} {line}\n" for line in range(40 + number % 100))
        stream.append(
            f"commit refs/heads/main\nmark :{number + 1}\n"
            f"committer A User <user@example.org> {1_700_000_000 + number} +0000\ndata 6\nchange\n"
            + (f"from :{number}\n" if number else "")
            + f"M 100644 inline dir{number % 7}/file{number % 211}\ndata {len(text)}\n{text}\n"
        )
    run("git", "init", "-q", "-b", "main", path)
    run("git", "fast-import", "--quiet", cwd=path, text="".join(stream))
    run("git", "checkout", "-q", "main", cwd=path)


def check_repository(original: Path, clone: Path) -> None:
    run("git", "-c", "safe.directory=*", "fsck", "--full", "--strict", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    heads = [run("git", "rev-parse", "HEAD", cwd=path) for path in (original, clone)]
    assert heads[0] == heads[1]


SIZES = pytest.mark.parametrize(
    ("parts", "mib", "commits"),
    [
        pytest.param(PARTS, 64, 150, id="small"),
        pytest.param((), 1024, 600, id="whole", marks=pytest.mark.long),
    ],
)


@SIZES
@pytest.mark.timeout(1500)
def test_what_was_copied_comes_back_without_the_cache(
    real_drive: MountedDrive, tmp_path: Path, parts: tuple[str, ...], mib: int, commits: int
) -> None:
    source, copy, clone = tmp_path / "source", real_drive.mountpoint / "copy", real_drive.mountpoint / "clone"
    library(source, parts, mib * MIB)
    random_file(source / "random", mib * MIB)
    repository(tmp_path / "origin", commits)
    copy.mkdir()
    copy_tree(source, copy, "-S")
    run("git", "clone", "-q", "--no-hardlinks", tmp_path / "origin", clone)
    real_drive.barrier(600)
    stats = real_drive.stats()
    allocated = int(run("du", "-s", "-B1", copy).split()[0])
    record_figures(
        f"library and {mib} MiB",
        files=sum(len(files) for _, _, files in os.walk(copy)),
        messages=posts(stats),
        bytes_in=stats["bytes_in"],
        rate_limited=stats["rate_limited"],
    )
    assert stats["rate_limited"] == 0
    assert allocated < 2 * stats["bytes_in"] + 400 * MIB, "the sparse file is not sparse here"

    cold(real_drive)
    assert differences(source, copy) == ""
    check_repository(tmp_path / "origin", clone)

    real_drive.umount()
    real_drive.emulator.stop()
    real_drive.emulator.start()
    real_drive.remount()
    cold(real_drive)
    assert differences(source, copy) == ""

    real_drive.barrier()  # git may have refreshed its index
    reset(real_drive.emulator)
    assert copy_tree(source, copy, "-i", "-S") == ""
    for command in (("ls", "-lR"), ("find",), ("du",)):
        run(*command, real_drive.mountpoint)
    real_drive.barrier()
    stats = real_drive.stats()
    record_figures("second rsync, ls -lR, find, du", messages=posts(stats), requests=requests(stats))
    assert requests(stats) == 0


def test_a_demo_keeps_what_was_copied(fuse_available: None, tmp_path: Path) -> None:
    state, mountpoint, source = tmp_path / "state", tmp_path / "mnt", tmp_path / "source"
    mountpoint.mkdir()
    library(source, PARTS[:2], 64 * MIB)
    try:
        for turn in range(2):
            done = run_command("mount", "--demo", "--state-dir", state, mountpoint)
            assert done.returncode == 0, done.stderr
            if turn == 0:
                copy_tree(source, mountpoint, "-S")
            assert differences(source, mountpoint) == ""
            done = run_command("umount", mountpoint)
            assert done.returncode == 0, done.stderr
            shutil.rmtree(state / "cache")
    finally:
        run_command("umount", "--no-drain", mountpoint)


def test_discord_may_restart_under_a_mount(fuse_available: None, tmp_path: Path) -> None:
    """At the same address, as the real one does: what was staged meanwhile goes up, and reads go on."""
    with EmulatorProcess(tmp_path / "discord", ["rate_limits=off"], free_port()) as emulator:
        drive = MountedDrive(emulator, tmp_path / "drive")
        try:
            _survive_a_restart(drive, emulator)
        finally:
            drive.close()


def _survive_a_restart(drive: MountedDrive, emulator: EmulatorProcess) -> None:
    drive.init()
    drive.mount()
    before, during = os.urandom(5 * MIB), os.urandom(MIB)
    (drive.mountpoint / "before").write_bytes(before)
    cold(drive)
    emulator.stop()
    (drive.mountpoint / "during").write_bytes(during)
    assert (drive.mountpoint / "during").read_bytes() == during
    emulator.start()
    drive.barrier()
    assert (drive.mountpoint / "before").read_bytes() == before
    cold(drive)
    assert (drive.mountpoint / "during").read_bytes() == during
