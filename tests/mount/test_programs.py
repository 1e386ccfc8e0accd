"""Programs that people keep on drives: tar, cp, mv, git, sqlite and a disk tester, on a real mount.

A user would lose: the ability to use the drive as any other.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.tools import (
    MIB,
    cold,
    differences,
    python,
    random_file,
    run,
    running,
    sha256,
    snapshot,
)
from tests.mounting import MountedDrive


def tree(root: Path) -> None:
    """A small tree with one of everything."""
    (root / "folder" / "below").mkdir(parents=True)
    (root / "folder").chmod(0o2750)
    (root / "file").write_bytes(os.urandom(300_000))
    (root / "file").chmod(0o4711)
    (root / "empty").touch()
    os.link(root / "file", root / "folder" / "hard")
    (root / "folder" / "soft").symlink_to("../file")
    os.mkfifo(root / "fifo")
    with (root / "sparse").open("wb") as file:
        file.truncate(40 * MIB)
        file.seek(20 * MIB)
        file.write(b"island")
    os.setxattr(root / "file", "user.note", b"value")
    os.setxattr(root / "folder", "user.note", b"of a folder")
    (root / os.fsdecode(b"bytes \xff\n")).write_bytes(b"x")
    os.utime(root / "empty", ns=(-1_500_000_000, 1_234_567_890))


def test_tar_brings_everything_back(place: Path, tmp_path: Path) -> None:
    source, out, back = tmp_path / "source", place / "out", tmp_path / "back"
    for path in (source, out, back):
        path.mkdir()
    tree(source)
    flags = ("--format=posix", "--sparse", "--xattrs", "--xattrs-include=*")
    run("tar", *flags, "-C", source, "-cf", place / "one.tar", ".")
    run("tar", *flags, "-xpf", place / "one.tar", "-C", out)
    assert (out / "sparse").stat().st_blocks * 512 < MIB
    assert differences(source, out) == ""
    run("tar", *flags, "-C", out, "-cf", place / "two.tar", ".")
    run("tar", *flags, "-xpf", place / "two.tar", "-C", back)
    assert differences(source, back) == ""


def test_cp_and_mv(place: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    tree(source)
    run("cp", "-a", source, place / "copy")
    assert differences(source, place / "copy") == ""
    run("cp", "-a", place / "copy", place / "again")
    assert differences(source, place / "again") == ""
    before = snapshot(place / "copy")
    run("mv", place / "copy", place / "moved")
    assert snapshot(place / "moved") == before
    run("mv", place / "moved", tmp_path / "out")
    assert differences(source, tmp_path / "out") == ""
    assert os.listdir(place) == ["again"]
    run("rm", "-r", place / "again")


def test_git_works_on_the_drive(place: Path, shared_drive: MountedDrive) -> None:
    repository = place / "repository"

    def git(*arguments: str) -> str:
        user = ("-c", "user.name=A User", "-c", "user.email=user@example.org", "-c", "safe.directory=*")
        return run("git", *user, *arguments, cwd=repository)

    run("git", "init", "-q", "-b", "main", repository)
    for number in range(25):
        (repository / f"file{number % 10}").write_text(f"{number}\n" * (number + 1))
        git("add", ".")
        git("commit", "-q", "-m", f"change {number}")
    git("checkout", "-q", "-b", "side", "HEAD~10")
    (repository / "other").write_text("side")
    git("add", ".")
    git("commit", "-q", "-m", "side")
    git("checkout", "-q", "main")
    git("merge", "-q", "-m", "merge", "side")
    git("gc", "-q", "--prune=now")
    shared_drive.barrier()
    git("fsck", "--full", "--strict")
    assert len(git("log", "--oneline").splitlines()) == 27
    assert git("status", "--porcelain") == ""
    run(
        "git",
        "clone",
        "-q",
        repository,
        place / "clone",
        env={"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
    )
    run("git", "-c", "safe.directory=*", "fsck", "--full", cwd=place / "clone")


@pytest.mark.parametrize(
    ("pattern", "engine", "extra"),
    [
        ("randwrite", "psync", ("--bsrange=512-64k", "--numjobs=3", "--size=8M")),
        ("randrw", "psync", ("--bs=4k", "--size=8M", "--numjobs=1", "--fsync=100")),
        ("write", "mmap", ("--bs=64k", "--size=16M", "--numjobs=1")),
    ],
)
def test_a_disk_tester_finds_its_own_bytes(
    place: Path, tmp_path: Path, pattern: str, engine: str, extra: tuple[str, ...]
) -> None:
    run(
        *("fio", "--name=verify", f"--directory={place}", f"--rw={pattern}", f"--ioengine={engine}"),
        *("--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--randseed=11", "--thread"),
        *("--fallocate=none", "--output-format=terse", *extra),
        cwd=tmp_path,  # where it leaves its state
    )


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist"])
def test_a_database_on_the_drive(place: Path, journal: str) -> None:
    path = place / "data.sqlite"
    database = sqlite3.connect(path)
    try:
        assert database.execute(f"pragma journal_mode = {journal}").fetchone() == (journal,)
        database.execute("create table t (k integer primary key, v blob)")
        for number in range(40):
            with database:
                rows = [(number * 10 + each, os.urandom(500)) for each in range(10)]
                database.executemany("insert into t values (?, ?)", rows)
        database.execute("delete from t")
        database.rollback()
        assert database.execute("select count(*) from t").fetchone() == (400,)
        database.execute("vacuum")
    finally:
        database.close()
    code = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
print(database.execute("pragma integrity_check").fetchone()[0])
print(database.execute("select count(*) from t").fetchone()[0])
"""
    assert python(code, path) == "ok\n400\n"


def test_a_database_survives_kills(real_drive: MountedDrive) -> None:
    """What was committed to it, with its fsyncs, is there after each kill of the mount."""
    path = real_drive.mountpoint / "data.sqlite"
    code = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("create table if not exists t (v integer)")
try:
    for number in range(100_000):
        with database:
            database.execute("insert into t values (?)", (number,))
        print(database.execute("select count(*) from t").fetchone()[0], flush=True)
except sqlite3.Error:
    sys.exit(3)
"""
    for _ in range(3):
        with running([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            committed = 0
            for _ in range(20):
                committed = int(writer.stdout.readline())
            real_drive.kill9()
            rest = writer.stdout.read().split()
            committed = int(rest[-1]) if rest else committed
        real_drive.remount()
        database = sqlite3.connect(path)
        try:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
            assert database.execute("select count(*) from t").fetchone()[0] >= committed
        finally:
            database.close()
    cold(real_drive)
    assert (
        python(
            "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1])"
            ".execute('pragma integrity_check').fetchone())",
            path,
        )
        == "ok\n"
    )


def test_programs_at_the_same_time(place: Path, shared_drive: MountedDrive, tmp_path: Path) -> None:
    """Several copies in and out at once, with uploads under way."""
    digests = [random_file(tmp_path / str(number), 12 * MIB) for number in range(4)]
    commands = [["cp", tmp_path / str(number), place / str(number)] for number in range(4)]
    with (
        running(commands[0]) as one,
        running(commands[1]) as two,
        running(commands[2]) as three,
        running(commands[3]) as four,
    ):
        shared_drive.barrier()
        assert [each.wait(60) for each in (one, two, three, four)] == [0, 0, 0, 0]
    shared_drive.barrier()
    assert [sha256(place / str(number)) for number in range(4)] == digests
