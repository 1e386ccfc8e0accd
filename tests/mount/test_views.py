"""archive/ in the root of a real mount: beside the drive, read-only, and as the files are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from discordfs.archived.views import update_views
from tests.archived.making import CHANNEL, RunMaker, at, id_at, message
from tests.mounting import EmulatorProcess, MountedDrive, new_drive

pytestmark = pytest.mark.usefixtures("fuse_available")

SERVER = "The server (100)"


def archive(drive: MountedDrive) -> Path:
    return drive.state_dir / "archive"


def capture(root: Path, day: str, *messages: str, name: str = "general") -> Path:
    """A run of that day with messages of the day before it."""
    run = RunMaker(root, at(day))
    first = id_at(day) - (1 << 40)
    run.page([message(first + number, text) for number, text in enumerate(messages)], after=first - 1)
    path = run.write(name)
    update_views(root)
    return path


def test_a_new_run_appears_without_a_remount_and_reads_as_it_is(drive: MountedDrive) -> None:
    """Else a user would have to unmount to see what was captured, or would read something else than was."""
    assert not (drive.mountpoint / "archive").exists()
    assert drive.status()["views"] == {"archive": "empty", "clips": "empty"}
    run = capture(archive(drive), "2024-03-01", "hello", "world")
    shown = drive.mountpoint / "archive"
    assert sorted(os.listdir(drive.mountpoint)) == ["archive"]
    assert sorted(os.listdir(shown)) == [SERVER, "runs"]
    channel = shown / SERVER / f"general ({CHANNEL})"
    assert channel.joinpath("messages.txt").read_text().count("ada:") == 2
    for path in filter(Path.is_file, run.rglob("*")):
        assert (shown / "runs" / run.name / path.relative_to(run)).read_bytes() == path.read_bytes()
    second = capture(archive(drive), "2024-03-02", "again")
    assert sorted(os.listdir(shown / "runs")) == [run.name, second.name]
    assert channel.joinpath("messages.jsonl").read_bytes().count(b"\n") == 3
    assert drive.status()["views"] == {"archive": "shown", "clips": "empty"}


def test_sizes_and_times_are_exact(drive: MountedDrive) -> None:
    """`tail`, `rsync` and `ls` go by them."""
    capture(archive(drive), "2024-03-01", "hello", "world")
    real = archive(drive) / "views" / SERVER / f"general ({CHANNEL})"
    shown = drive.mountpoint / "archive" / SERVER / f"general ({CHANNEL})"
    for name in ("messages.jsonl", "messages.txt", "coverage.json", "html/2024-02.html"):
        assert (
            (shown / name).stat().st_size == (real / name).stat().st_size == len((shown / name).read_bytes())
        )
        assert (shown / name).stat().st_mtime_ns == (real / name).stat().st_mtime_ns
    newest = (shown / "messages.jsonl").read_bytes().splitlines()[-1]
    last = subprocess.run(["tail", "-n", "1", shown / "messages.jsonl"], capture_output=True, check=True)
    assert last.stdout == newest + b"\n"
    assert abs((shown / "messages.jsonl").stat().st_mtime - at("2024-02-29").timestamp()) < 86_400


def test_nothing_is_written_there(drive: MountedDrive) -> None:
    """An archive that programs could change would be none."""
    run = capture(archive(drive), "2024-03-01", "hello")
    shown = drive.mountpoint / "archive"
    file = shown / "runs" / run.name / "run.meta.json"
    (drive.mountpoint / "mine").write_text("mine")
    for attempt in (
        lambda: file.write_text("x"),
        lambda: file.unlink(),
        lambda: (shown / "new").mkdir(),
        lambda: (shown / "new").write_text("x"),
        lambda: os.rename(file, drive.mountpoint / "taken"),
        lambda: os.rename(drive.mountpoint / "mine", shown / "mine"),
        lambda: os.link(file, drive.mountpoint / "linked"),
        lambda: os.symlink("x", shown / "link"),
        lambda: os.truncate(file, 0),
        lambda: os.chmod(file, 0o600),
        lambda: os.utime(file),
        lambda: os.setxattr(file, "user.x", b"y"),
    ):
        with pytest.raises(OSError, match="Read-only file system"):
            attempt()
    assert (drive.mountpoint / "mine").read_text() == "mine"
    assert os.listxattr(file) == []


def test_a_drive_entry_of_that_name_is_never_hidden(drive: MountedDrive) -> None:
    """What somebody put on the drive as archive/ must not vanish behind a view."""
    (drive.mountpoint / "archive").mkdir()
    (drive.mountpoint / "archive" / "mine").write_text("mine")
    capture(archive(drive), "2024-03-01", "hello")
    assert os.listdir(drive.mountpoint) == ["archive"]
    assert (drive.mountpoint / "archive" / "mine").read_text() == "mine"
    assert drive.status()["views"]["archive"] == "hidden: the drive has an entry of this name"
    os.rename(drive.mountpoint / "archive", drive.mountpoint / "moved")
    assert "runs" in os.listdir(drive.mountpoint / "archive")


def test_a_pure_drive_has_none(fuse_available: None, emulator: EmulatorProcess, tmp_path: Path) -> None:
    """For `rsync --delete` into the root."""
    with new_drive(emulator, tmp_path, "-o", "views=none") as drive:
        capture(archive(drive), "2024-03-01", "hello")
        assert os.listdir(drive.mountpoint) == []
        (drive.mountpoint / "archive").mkdir()
        assert drive.status()["views"] == {}


@pytest.fixture
def big(drive: MountedDrive) -> Path:
    """A run's file of 200 MB, on the mount."""
    run = capture(archive(drive), "2024-03-01", "hello")
    line = b"x" * 999 + b"\n"
    with (run / "100" / f"{CHANNEL}.jsonl").open("ab") as file:
        for _ in range(200):
            file.write(line * 1000)
    return drive.mountpoint / "archive" / "runs" / run.name / "100" / f"{CHANNEL}.jsonl"


def test_a_large_file_is_read_whole_and_in_its_middle(big: Path) -> None:
    found = subprocess.run(["grep", "-c", "zzz", big], capture_output=True, check=False)
    assert found.stdout == b"0\n"
    with big.open("rb") as file:
        file.seek(100_000_000)
        assert len(file.read(10)) == 10
