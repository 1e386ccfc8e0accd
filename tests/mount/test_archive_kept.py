"""`archive --to-drive`: a channel's history outlives the machine that captured it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounting import EmulatorProcess, MountedDrive

pytestmark = pytest.mark.usefixtures("fuse_available")


@pytest.fixture
def home(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[MountedDrive]:
    """A volume with a file, not mounted."""
    drive = MountedDrive(emulator, tmp_path / "home")
    try:
        drive.init()
        yield drive
    finally:
        drive.close()


@pytest.fixture
def other(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[MountedDrive]:
    """An empty machine."""
    drive = MountedDrive(emulator, tmp_path / "other")
    try:
        yield drive
    finally:
        drive.close()


def contents(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def captured(drive: MountedDrive) -> Path:
    done = drive.command(
        "archive", "--to-drive", "--rate", "100000", "channel", str(drive.emulator.channels[0])
    )
    assert done.returncode == 0, done.stderr
    assert "on this machine only" not in done.stderr
    return Path(done.stdout.strip())


def recovered(drive: MountedDrive, key: Path) -> None:
    done = drive.command("recover", "--key-file", key)
    assert done.returncode == 0, done.stderr
    assert "the archive is back" in done.stdout


@pytest.mark.parametrize("is_mounted", [False, True])
def test_recover_brings_the_archive_back(
    home: MountedDrive, other: MountedDrive, tmp_path: Path, is_mounted: bool
) -> None:
    if is_mounted:
        home.mount()
        (home.mountpoint / "file").write_bytes(b"file")
    runs = [captured(home), captured(home)]
    before = {run.name: contents(run) for run in runs}
    key = Path(shutil.copy(home.state_dir / "key", tmp_path / "key"))
    if is_mounted:
        status = home.command("status", home.mountpoint)
        assert "a copy is on the volume" in " ".join(status.stdout.split())
        home.kill9()
    shutil.rmtree(home.state_dir)
    recovered(other, key)
    root = other.state_dir / "archive"
    assert {run.name: contents(root / run.name) for run in runs} == before
    other.mount("--read-only")
    shown = other.mountpoint / "archive"
    assert {run: contents(shown / "runs" / run) for run in before} == before
    assert len(list(shown.rglob("messages.jsonl"))) == 1


def test_what_cannot_keep_is_said_before_anything_is_asked_for(other: MountedDrive, tmp_path: Path) -> None:
    """Else hours of capturing would end in an error."""
    channel = str(other.emulator.channels[0])
    done = other.command("archive", "--to-drive", "channel", channel)
    assert done.returncode == 3
    assert "there is no volume" in done.stderr
    done = other.command("archive", "--to-drive", "-o", tmp_path / "out", "channel", channel)
    assert done.returncode == 2
    assert "leave out -o" in done.stderr
    assert not (tmp_path / "out").exists()
    assert not other.state_dir.exists() or not any(other.state_dir.iterdir())


def test_what_changed_here_is_told_and_stays_whole_there(home: MountedDrive) -> None:
    home.mount()
    run = captured(home)
    (records,) = run.rglob(f"{home.emulator.channels[0]}.jsonl")
    whole = records.read_bytes()
    records.write_bytes(whole[:-10])
    done = home.command("archive", "--to-drive", "channel", str(home.emulator.channels[0]))
    assert done.returncode == 4
    name = records.relative_to(run.parent)
    assert f"have changed that never should: {name}" in " ".join(done.stderr.split())
    assert (home.mountpoint / ".archive" / name).read_bytes() == whole
