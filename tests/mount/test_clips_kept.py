"""`clips sync --keep drive`: a clip outlives its message and the machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips.shown import delete, film, post
from tests.mounting import EmulatorProcess, MountedDrive

pytestmark = pytest.mark.usefixtures("fuse_available")


@pytest.fixture
def drives(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[tuple[MountedDrive, MountedDrive]]:
    """A mounted volume, and an empty machine."""
    made = MountedDrive(emulator, tmp_path / "home"), MountedDrive(emulator, tmp_path / "other")
    try:
        made[0].init()
        made[0].mount()
        yield made
    finally:
        for drive in made:
            drive.close()


def synced(drive: MountedDrive, *options: str) -> str:
    channel = str(drive.emulator.channels[0])
    done = drive.command("clips", "sync", "--rate", "100000", "--channel", channel, *options)
    assert done.returncode == 0, done.stderr
    return done.stderr


def shown(drive: MountedDrive) -> dict[str, bytes]:
    folder = drive.mountpoint / "clips"
    clips = [path for path in folder.rglob("*.mp4") if not path.is_symlink()]
    return {path.name.partition(" - ")[2]: path.read_bytes() for path in clips}


def test_a_kept_clip_outlives_its_message_and_the_machine(
    drives: tuple[MountedDrive, MountedDrive], tmp_path: Path
) -> None:
    home, other = drives
    kept, lost = film(2.0, "kept"), film(1.0, "lost")
    message = post(home.emulator, "kept.mp4", kept)
    assert "on the drive" in synced(home, "--fetch-history", "--keep")
    assert len(list((home.mountpoint / ".clips" / "kept").rglob("*"))) == 2
    delete(home.emulator, message)
    unkept = post(home.emulator, "lost.mp4", lost)
    synced(home, "--keep", "none")
    delete(home.emulator, unkept)
    home.emulator.control("POST", "clock", {"advance_s": 60})  # what is younger may be late in listings
    synced(home)
    assert shown(home) == {"kept.mp4": kept}
    synced(home, "--keep")  # so that the catalogue that is kept knows of all that
    home.barrier()
    key = Path(shutil.copy(home.state_dir / "key", tmp_path / "key"))
    home.kill9()
    shutil.rmtree(home.state_dir)
    done = other.command("recover", "--key-file", key)
    assert done.returncode == 0, done.stderr
    assert "the catalogue of clips is back" in done.stdout
    other.mount("--read-only")
    assert shown(other) == {"kept.mp4": kept}
    assert len(list((other.mountpoint / "clips" / "thumbs").iterdir())) == 1


def test_who_loses_the_catalogue_gets_it_back_from_the_drive(
    drives: tuple[MountedDrive, MountedDrive],
) -> None:
    """With the next sync: it must not put its own poor one in the place of what was kept."""
    home, _ = drives
    kept = film(1.0, "kept")
    message = post(home.emulator, "kept.mp4", kept)
    synced(home, "--fetch-history", "--keep")
    delete(home.emulator, message)
    home.emulator.control("POST", "clock", {"advance_s": 60})
    synced(home)
    shutil.rmtree(home.state_dir / "clips")
    post(home.emulator, "new.mp4", film(1.0, "new"))
    synced(home, "--keep")
    assert shown(home).keys() == {"kept.mp4", "new.mp4"}
    assert shown(home)["kept.mp4"] == kept
