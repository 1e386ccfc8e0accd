"""`discordfs gc`, mounted and not: what was removed leaves Discord, and a dry run changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.mounting import ROOT, MountedDrive

MIB = 1024**2


def gc(drive: MountedDrive, *options: str) -> dict[str, Any]:
    done: dict[str, Any] = json.loads(drive.checked("gc", "--json", *options))
    return done


def pass_time(drive: MountedDrive, seconds: float) -> None:
    drive.emulator.control("POST", "clock", {"advance_s": seconds})


def fill_and_empty(drive: MountedDrive) -> bytes:
    """Of twelve files of a MiB one is left."""
    data = os.urandom(MIB)
    for number in range(12):
        (drive.mountpoint / f"f{number}").write_bytes(data if not number else os.urandom(MIB))
    drive.barrier()
    for number in range(1, 12):
        (drive.mountpoint / f"f{number}").unlink()
    drive.barrier()
    return data


def state(drive: MountedDrive) -> dict[str, bytes]:
    """What the state directory holds, but for the lock, the log and SQLite's own files."""
    kept = ("outbox", "staging")
    files = [path for name in kept for path in (drive.state_dir / name).iterdir()]
    return {str(path): path.read_bytes() for path in files}


def test_a_mount_frees_what_is_asked_for(drive: MountedDrive) -> None:
    data = fill_and_empty(drive)
    assert drive.stats()["stored_bytes"] > 12 * MIB
    would = gc(drive, "--dry-run")
    assert would["dry_run"]
    assert would["moved_bytes"] == MIB
    assert gc(drive, "--dry-run") == would
    done = gc(drive)
    assert (done["moved_bytes"], done["moved_files"], done["deleted_messages"]) == (MIB, 1, 0)
    assert done["condemned_messages"] >= 1
    assert done["deleted_after"]
    assert drive.status()["garbage_bytes"] > 11 * MIB
    pass_time(drive, 3700)
    told = drive.checked("gc", drive.mountpoint)
    assert "1 message (12.0 MiB) deleted" in told
    assert drive.stats()["stored_bytes"] < 2 * MIB
    assert (drive.mountpoint / "f0").read_bytes() == data
    assert drive.status()["garbage_bytes"] == 0


def test_without_a_mount_it_opens_the_volume_itself(drive: MountedDrive) -> None:
    data = fill_and_empty(drive)
    (drive.mountpoint / "late").write_bytes(b"still in the queue")
    drive.umount("--no-drain")
    before, posts = state(drive), drive.stats()["messages"]
    would = gc(drive, "--dry-run")
    assert would["moved_bytes"] == MIB
    assert (state(drive), drive.stats()["messages"]) == (before, posts), "a dry run changes nothing"
    assert gc(drive)["moved_bytes"] == MIB
    pass_time(drive, 3700)
    assert gc(drive)["deleted_messages"] >= 1
    assert drive.stats()["stored_bytes"] < 2 * MIB
    drive.mount()
    assert (drive.mountpoint / "f0").read_bytes() == data
    assert (drive.mountpoint / "late").read_bytes() == b"still in the queue"


def test_interrupted_it_leaves_a_whole_drive(drive: MountedDrive) -> None:
    data = fill_and_empty(drive)
    drive.emulator.control("POST", "settings", {"hold_uploads": True})
    with start_gc(drive) as asked:
        assert asked.stderr is not None
        while b"waiting" not in asked.stderr.readline() and asked.poll() is None:
            pass
        asked.send_signal(signal.SIGINT)
        assert asked.wait(30) == 1
    drive.emulator.control("POST", "settings", {"hold_uploads": False})
    assert (drive.mountpoint / "f0").read_bytes() == data
    drive.barrier()
    assert gc(drive)["moved_bytes"] == 0, "what was moved before stands"
    assert (drive.mountpoint / "f0").read_bytes() == data


def start_gc(drive: MountedDrive) -> subprocess.Popen[bytes]:
    environment = drive.emulator.environment() | {"DISCORDFS_STATE_DIR": str(drive.state_dir)}
    return subprocess.Popen(
        [sys.executable, "-m", "discordfs", "gc", drive.mountpoint],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_the_grace_time_can_be_set(drive: MountedDrive) -> None:
    fill_and_empty(drive)
    drive.umount()
    drive.mount("-o", "gc_grace=1d")
    gc(drive)
    pass_time(drive, 2 * 3600)
    assert gc(drive)["deleted_messages"] == 0
    pass_time(drive, 86_400)
    assert gc(drive)["deleted_messages"] >= 1


def test_settings_that_make_no_sense_are_refused(drive: MountedDrive, tmp_path: Path) -> None:
    for option in ("gc_grace=soon", "sweep_every=-1", "verify_percent=200", "verify_percent=all"):
        done = drive.command("mount", tmp_path, "-o", option)
        assert done.returncode == 2
        assert option.partition("=")[2] in done.stderr
