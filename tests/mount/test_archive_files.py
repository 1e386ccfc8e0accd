"""The files of archive/ as tools use them: names, sizes, times, seeks and speed, on a real mount.

A user would lose patience: `tail` or `grep` on years of messages must not read them all from somewhere.
"""

from __future__ import annotations

import os
import subprocess
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from discordfs.archived.views import update_views
from discordfs.remote.base import snowflake_ns
from tests.archived.making import CHANNEL, GUILD, RunMaker, at, id_at, message
from tests.mounting import MountedDrive

pytestmark = pytest.mark.usefixtures("fuse_available")

MB = 1_000_000
FIRST = id_at("2024-01-05")
HOSTILE = {
    201: "..",
    202: "CON",
    203: "é" * 150,
    204: "\u202egnp.exe",
    205: "a/b\nc\x1b[31m",
    206: "twins",
    207: "twins",
    208: "",
    209: "\ud800",
}


def archive(drive: MountedDrive) -> Path:
    return drive.state_dir / "archive"


def test_hostile_names_are_harmless_and_stay_distinct(drive: MountedDrive) -> None:
    run = RunMaker(archive(drive), at("2024-03-10"))
    for number in HOSTILE:
        run.page([message(FIRST, str(number))], channel=number, after=0)
    run.write(guild_name="../..", names=HOSTILE)
    update_views(archive(drive))
    shown = drive.mountpoint / "archive"
    (server,) = (each for each in shown.iterdir() if each.name != "runs")
    assert server.name == f"___ ({GUILD})"
    found = {each.name for each in server.iterdir() if each.is_dir()}
    assert len(found) == len(HOSTILE)
    for name in found:
        assert len(name.encode()) <= 255
        assert not [each for each in name if unicodedata.category(each) in ("Cc", "Cf", "Cs")]
        number = int(name.rpartition("(")[2].rstrip(")"))
        assert f"    {number}\n" in (server / name / "messages.txt").read_text()
    listed = subprocess.run(["find", shown, "-type", "f"], capture_output=True, check=True).stdout
    assert len(listed.splitlines()) == listed.count(b"/archive/") == sum(1 for _ in files(shown))


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_all_that_is_derived_is_as_old_as_its_newest_message(drive: MountedDrive) -> None:
    """`find -newer` and `rsync` go by it. A month's page has the time of that month's newest."""
    months = [id_at("2024-01-05"), id_at("2024-02-05", 7)]
    run = RunMaker(archive(drive), at("2024-03-10"))
    run.page([message(number) for number in months], after=0)
    run.write()
    update_views(archive(drive))
    shown = drive.mountpoint / "archive" / f"The server ({GUILD})" / f"general ({CHANNEL})"
    newest = {"html/2024-01.html": months[0]}
    for path in files(shown):
        expected = snowflake_ns(newest.get(path.relative_to(shown).as_posix(), months[-1]))
        assert path.stat().st_mtime_ns == expected, path


def test_status_says_where_it_lives(drive: MountedDrive) -> None:
    """Whoever sees it on a mount that is on Discord may think that it is there too."""
    run = RunMaker(archive(drive), at("2024-03-10"))
    run.page([message(FIRST)], after=0)
    run.write()
    said = drive.checked("status", drive.mountpoint)
    (line,) = (line for line in said.splitlines() if line.strip().startswith("archive/"))
    assert "shown, on this machine only" in line


# --- what reading costs ------------------------------------------------------------------------------------


@pytest.fixture
def big(drive: MountedDrive) -> Path:
    """A messages.jsonl of 200 MB, on the mount; nothing of it is in the kernel's cache for the mount."""
    run = RunMaker(archive(drive), at("2024-03-10"))
    run.page([message(FIRST)], after=0)
    run.write()
    update_views(archive(drive))
    place = Path(f"The server ({GUILD})") / f"general ({CHANNEL})" / "messages.jsonl"
    with (archive(drive) / "views" / place).open("wb") as file:
        for number in range(200):
            file.write((b"%09d" % number + b"x" * 990 + b"\n") * 1000)
    return drive.mountpoint / "archive" / place


def bytes_read(drive: MountedDrive, use: Callable[[], object]) -> int:
    """By the mount's process, whatever the kernel had of it."""

    def read() -> int:
        said = Path(f"/proc/{drive.status()['pid']}/io").read_text()
        return int(said.partition("rchar: ")[2].split()[0])

    before = read()
    use()
    return read() - before


def test_the_last_line_and_the_middle_are_had_without_the_rest(drive: MountedDrive, big: Path) -> None:
    def tail() -> None:
        done = subprocess.run(["tail", "-n", "1", big], capture_output=True, check=True)
        assert done.stdout.startswith(b"000000199x")

    def middle() -> None:
        with big.open("rb", buffering=0) as file:
            file.seek(100 * MB)
            assert file.read(10) == b"000000100x"

    def listing() -> None:
        done = subprocess.run(["ls", "-l", big.parent], capture_output=True, text=True, check=True)
        assert " 200000000 " in done.stdout

    for use in (tail, middle, listing):
        assert bytes_read(drive, use) < MB, use.__name__


@pytest.mark.long
def test_grep_is_as_fast_as_a_disk_would_be(big: Path, drive: MountedDrive) -> None:
    """200 MB/s or more, warm; where grep itself is slow, a quarter of what it does on plain files."""
    plain = archive(drive) / "views" / big.relative_to(drive.mountpoint / "archive")
    speeds = {path: max(grepped(path) for _ in range(5)) for path in (plain, big)}
    print({str(path): f"{speed / MB:,.0f} MB/s" for path, speed in speeds.items()})
    assert speeds[big] > min(200 * MB, speeds[plain] / 4)


def grepped(path: Path) -> float:
    """Bytes a second."""
    begin = time.monotonic()
    done = subprocess.run(["grep", "-c", "zzz", path], capture_output=True, check=False)
    assert done.stdout == b"0\n"
    return os.stat(path).st_size / (time.monotonic() - begin)
