"""A volume's life through the commands: what users and their scripts rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from discordfs import registry
from tests.mounting import (
    ROOT,
    EmulatorProcess,
    MountedDrive,
    run_command,
    wait_for_end,
)

STATUS_KEYS = {
    *("mountpoint", "state_dir", "pid", "api", "volume", "writer", "staged_files", "staged_bytes"),
    *("uploading_bytes", "remote_bytes", "bytes_up", "bytes_down", "cache", "requests", "errors"),
    *("holder", "stranded_files", "stranded"),
    *("oldest_chunk", "last_full_verification", "garbage_bytes", "damaged_files"),
    *("views", "views_kept", "clips"),
}


def fill(drive: MountedDrive, name: str = "file", size: int = 300_000) -> bytes:
    data = os.urandom(size)
    (drive.mountpoint / name).write_bytes(data)
    return data


def test_init_says_what_it_made(fuse_available: None, emulator: EmulatorProcess, tmp_path: Path) -> None:
    drive = MountedDrive(emulator, tmp_path)
    made = drive.init()
    assert set(made) == {"volume", "channels", "key_file", "recovery_code"}
    assert len(made["channels"]) == 5
    assert os.stat(made["key_file"]).st_mode & 0o777 == 0o600
    assert emulator.token not in (drive.state_dir / "config.toml").read_text()


def test_what_was_written_is_there_after_a_barrier_an_umount_and_a_mount(drive: MountedDrive) -> None:
    data = fill(drive)
    drive.barrier()
    path = drive.mountpoint / "file"
    assert os.getxattr(path, "user.discordfs.state") == b"remote"
    assert drive.stats()["stored_bytes"] >= len(data)
    drive.umount()
    assert not path.exists()
    drive.remount()
    assert path.read_bytes() == data


def test_status_has_every_key(drive: MountedDrive) -> None:
    fill(drive)
    found = drive.status()
    assert set(found) == STATUS_KEYS
    assert set(found["cache"]) == {"ram_bytes", "disk_bytes", "hits", "misses"}
    assert (found["mountpoint"], found["staged_files"]) == (str(drive.mountpoint), 1)
    everywhere = json.loads(drive.checked("status", "--json"))
    assert str(drive.mountpoint) in [each["mountpoint"] for each in everywhere]
    assert str(drive.mountpoint) in drive.checked("status")


def test_the_mount_is_of_its_own_type(drive: MountedDrive) -> None:
    assert registry.mounted_types(str(drive.mountpoint)) == [registry.FILESYSTEM_TYPE]
    assert "user.discordfs.state" not in os.listxattr(drive.mountpoint)


def test_umount_drains(drive: MountedDrive) -> None:
    fill(drive)
    drive.umount()
    assert drive.stats()["messages"] >= 1
    assert (drive.state_dir / "lock").exists()


def test_umount_without_draining_leaves_the_queue_for_the_next_mount(drive: MountedDrive) -> None:
    drive.emulator.control("POST", "settings", {"hold_uploads": True})
    data = fill(drive)
    drive.umount("--no-drain")
    drive.emulator.control("POST", "settings", {"hold_uploads": False})
    drive.remount()
    assert (drive.mountpoint / "file").read_bytes() == data
    drive.barrier()


def test_a_timeout_is_75_and_stays_mounted(drive: MountedDrive) -> None:
    drive.emulator.control("POST", "settings", {"hold_uploads": True})
    fill(drive)
    for command in ("barrier", "umount"):
        done = drive.command(command, drive.mountpoint, "--timeout", "0.5")
        assert done.returncode == 75, done.stderr
        assert "not everything is on Discord yet" in done.stderr
    assert os.path.ismount(drive.mountpoint)
    drive.emulator.control("POST", "settings", {"hold_uploads": False})


def test_a_busy_drive_stays_mounted_and_names_who_uses_it(drive: MountedDrive) -> None:
    fill(drive)
    with open(drive.mountpoint / "file", "rb"):
        done = drive.command("umount", drive.mountpoint)
    assert done.returncode == 1
    assert f"(pid {os.getpid()})" in done.stderr
    assert os.path.ismount(drive.mountpoint)
    drive.umount()


def test_a_kill_loses_nothing_that_was_closed(drive: MountedDrive) -> None:
    data = fill(drive)
    drive.kill9()
    drive.remount()
    assert (drive.mountpoint / "file").read_bytes() == data
    drive.barrier()


def test_a_dead_mount_is_taken_away_by_the_next(drive: MountedDrive) -> None:
    data = fill(drive)
    watch = os.pidfd_open(drive.pid())
    os.kill(drive.pid(), signal.SIGKILL)
    wait_for_end(watch)
    assert registry.mounted_types(str(drive.mountpoint))
    drive.remount()
    assert (drive.mountpoint / "file").read_bytes() == data


def test_a_dead_mount_can_be_unmounted(drive: MountedDrive) -> None:
    watch = os.pidfd_open(drive.pid())
    os.kill(drive.pid(), signal.SIGKILL)
    wait_for_end(watch)
    assert "had died" in drive.command("umount", drive.mountpoint).stderr
    assert not registry.mounted_types(str(drive.mountpoint))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_foreground_mount_and_keeps_the_queue(
    drive: MountedDrive, number: signal.Signals
) -> None:
    drive.umount()
    environment = os.environ | drive.emulator.environment() | {"DISCORDFS_STATE_DIR": str(drive.state_dir)}
    command = [sys.executable, "mount.py", "-f", str(drive.mountpoint)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Ctrl-C unmounts" in process.stderr.readline()
    data = fill(drive)
    process.send_signal(number)
    assert process.wait(30) == 0, process.stderr.read()
    process.stderr.close()
    assert not registry.mounted_types(str(drive.mountpoint))
    drive.remount()
    assert (drive.mountpoint / "file").read_bytes() == data


def test_read_only(drive: MountedDrive) -> None:
    fill(drive)
    drive.umount()
    drive.remount("--read-only")
    with pytest.raises(OSError, match="Read-only"):
        fill(drive)


def test_fsync_can_mean_discord(drive: MountedDrive) -> None:
    drive.umount()
    drive.remount("-o", "fsync=remote")
    path = drive.mountpoint / "file"
    with path.open("wb") as file:
        file.write(b"must be there")
        file.flush()
        os.fsync(file.fileno())
        assert os.getxattr(path, "user.discordfs.state") == b"remote"


def test_mount_as_fstab_calls_it(drive: MountedDrive) -> None:
    """mount.fuse runs `discordfs SOURCE MOUNTPOINT -o OPTIONS`."""
    drive.umount()
    options = f"rw,nosuid,nodev,_netdev,nofail,x-systemd.automount,state_dir={drive.state_dir}"
    done = run_command("discordfs", drive.mountpoint, "-o", options, env=drive.emulator.environment())
    assert done.returncode == 0, done.stderr
    fill(drive)


def test_discord_may_be_away_when_a_drive_is_mounted(drive: MountedDrive) -> None:
    data = fill(drive)
    drive.umount()
    drive.emulator.stop()
    drive.remount()
    assert (drive.mountpoint / "file").read_bytes() == data  # the cache has it
    more = fill(drive, "more")
    assert (drive.mountpoint / "more").read_bytes() == more
    drive.umount("--no-drain")


def test_no_token_in_any_file(drive: MountedDrive) -> None:
    fill(drive)
    drive.barrier()
    drive.umount()
    secret = drive.emulator.token.encode()
    for path in drive.state_dir.rglob("*"):
        assert path.is_dir() or secret not in path.read_bytes(), path
    assert secret not in Path(f"/proc/{os.getpid()}/cmdline").read_bytes()


# --- the demo ---------------------------------------------------------------------------------------------


def emulators_of(state: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"emulator" in words and os.fsencode(state / "emulator") in words:
            found.append(int(path.parent.name))
    return found


def test_the_demo_needs_nothing_and_leaves_nothing(fuse_available: None, tmp_path: Path) -> None:
    state, mountpoint = tmp_path / "state", tmp_path / "mnt"
    mountpoint.mkdir()
    data = os.urandom(100_000)
    for turn in range(2):
        done = run_command("mount", "--demo", "--state-dir", state, mountpoint)
        assert done.returncode == 0, done.stderr
        if turn == 0:
            (mountpoint / "file").write_bytes(data)
        assert (mountpoint / "file").read_bytes() == data
        assert len(emulators_of(state)) == 1
        assert run_command("umount", mountpoint).returncode == 0
        assert emulators_of(state) == []


def test_the_demos_emulator_dies_with_a_killed_mount(fuse_available: None, tmp_path: Path) -> None:
    state, mountpoint = tmp_path / "state", tmp_path / "mnt"
    mountpoint.mkdir()
    assert run_command("mount", "--demo", "--state-dir", state, mountpoint).returncode == 0
    (emulator,) = emulators_of(state)
    watch = os.pidfd_open(emulator)
    os.kill(registry.find(str(mountpoint)).pid, signal.SIGKILL)
    wait_for_end(watch)
    assert run_command("umount", mountpoint).returncode == 0


def test_commands_are_quick_to_start() -> None:
    """`status` in a prompt or a script must not take the half second that discord.py's import takes."""
    heavy = "import sys, discordfs.cli.status, discordfs.cli.umount; print('discord' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
