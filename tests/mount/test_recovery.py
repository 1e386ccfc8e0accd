"""The machine is lost, and everything on it: what Discord and a copy of the key give back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mount.tools import copy_tree, differences, snapshot
from tests.mounting import ROOT, EmulatorProcess, MountedDrive

pytestmark = pytest.mark.usefixtures("fuse_available")

INTENT = "Message Content Intent"


def plant(root: Path) -> None:
    """A tree with everything that a tree can have."""
    root.mkdir()
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir()
    for number in range(40):
        (root / "deep" / f"small {number}").write_bytes(os.urandom(number * 700))
    (root / "large").write_bytes(os.urandom(5_000_000))
    with (root / "holes").open("wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    for name in (b"\xff\xfe", b"new\nline", " leading", "ä", "a\u0308", b"x" * 255):
        (root / os.fsdecode(name)).write_bytes(os.fsencode(name))
    os.link(root / "large", root / "deep" / "the same")
    os.symlink("../nowhere", root / "deep" / "link")
    os.mkfifo(root / "fifo", 0o640)
    os.setxattr(root / "large", "user.comment", b"\0\xffbinary")
    os.setxattr(root / "deep", "user.empty", b"")
    os.chmod(root / "holes", 0o4751)
    os.utime(root / "deep" / "small 1", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "empty", ns=(-5, -1_000_000_007))
    if os.geteuid() == 0:
        os.chown(root / "deep" / "small 2", 1234, 4321)
        os.lchown(root / "deep" / "link", 12, 34)


@pytest.fixture
def made(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[tuple[MountedDrive, dict[str, Any]]]:
    """A mounted volume, and what `init` said of it."""
    drive = MountedDrive(emulator, tmp_path / "drive")
    try:
        told = drive.init()
        drive.mount()
        yield drive, told
    finally:
        drive.close()


def lose(drive: MountedDrive) -> None:
    """The machine burns: the process dies, the state directory is gone."""
    drive.kill9()
    shutil.rmtree(drive.state_dir)


@pytest.fixture
def other(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[MountedDrive]:
    """An empty machine."""
    drive = MountedDrive(emulator, tmp_path / "other")
    try:
        yield drive
    finally:
        drive.close()


def test_a_whole_tree_comes_back_from_the_code_alone(
    made: tuple[MountedDrive, dict[str, Any]], other: MountedDrive, tmp_path: Path
) -> None:
    """With nothing but a token and the sheet of paper."""
    drive, told = made
    plant(tmp_path / "tree")
    copy_tree(tmp_path / "tree", drive.mountpoint)
    drive.barrier()
    before = snapshot(drive.mountpoint)
    lose(drive)
    code = told["recovery_code"].lower().replace("-", " ")
    done = other.command("recover", typed=f"{code[:60]}\n{code[60:]}\n")
    assert done.returncode == 0, done.stderr
    assert f"volume {told['volume']}" in done.stderr
    files = sum(path.is_file() and not path.is_symlink() for path in (tmp_path / "tree").rglob("*")) - 1
    for expected in (f"recovered {files} files", "newest record", "--read-only", "--take-over"):
        assert expected in done.stdout, done.stdout
    assert os.stat(other.state_dir / "key").st_mode & 0o777 == 0o600
    other.mount("--read-only")
    assert not differences(tmp_path / "tree", other.mountpoint)
    assert snapshot(other.mountpoint) == before


def test_after_taking_over_it_goes_on_where_it_was(
    made: tuple[MountedDrive, dict[str, Any]], other: MountedDrive, tmp_path: Path
) -> None:
    drive, _ = made
    (drive.mountpoint / "old").write_bytes(b"old")
    drive.barrier()
    key = shutil.copy(drive.state_dir / "key", tmp_path / "key")
    lose(drive)
    other.checked("recover", "--key-file", key, "--channel", *channels_of(made)[:1])
    refused = other.command("mount", other.mountpoint)
    assert refused.returncode == 1
    assert "--take-over" in refused.stderr
    drive.emulator.control("POST", "settings", {"time_scale": 10})
    done = other.command("mount", other.mountpoint, "--take-over")
    assert done.returncode == 0, done.stderr
    assert "taking over from" in done.stderr
    (other.mountpoint / "new").write_bytes(b"new")
    os.rename(other.mountpoint / "old", other.mountpoint / "older")
    other.barrier()
    inos = {path.name: path.stat().st_ino for path in other.mountpoint.iterdir()}
    assert len(set(inos.values())) == 2
    assert other.status()["writer"]


def channels_of(made: tuple[MountedDrive, dict[str, Any]]) -> list[str]:
    return list(made[1]["channels"])


# --- not without the right key ------------------------------------------------------------------------


def test_a_wrong_code_is_said_before_anything_is_touched(
    made: tuple[MountedDrive, dict[str, Any]], other: MountedDrive
) -> None:
    code = made[1]["recovery_code"]
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    done = other.command("recover", typed=wrong)
    assert done.returncode == 2
    assert "mistake" in done.stderr
    assert not other.state_dir.exists()


def test_the_right_volume_is_taken_of_two_in_one_server(
    made: tuple[MountedDrive, dict[str, Any]], other: MountedDrive, tmp_path: Path
) -> None:
    """And a key of a third volume finds none of them."""
    drive, told = made
    (drive.mountpoint / "mine").write_bytes(b"mine")
    drive.barrier()
    second, third = (MountedDrive(drive.emulator, tmp_path / name) for name in ("second", "third"))
    try:
        theirs = second.init()
        second.mount()
        (second.mountpoint / "theirs").write_bytes(b"theirs")
        second.barrier()
        stranger = third.init()
        done = other.command("recover", typed=theirs["recovery_code"])
        assert done.returncode == 0, done.stderr
        assert told["volume"] in done.stderr
        assert theirs["volume"] in done.stderr
        other.mount("--read-only")
        assert [path.name for path in other.mountpoint.iterdir()] == ["theirs"]
        other.umount()
        shutil.rmtree(other.state_dir)
        done = other.command("recover", typed=stranger["recovery_code"])
        assert done.returncode == 3
        assert f"no volume {stranger['volume']}" in done.stderr
        assert told["volume"] in done.stderr
        assert not other.state_dir.exists()
    finally:
        second.close()


def test_a_state_directory_with_a_volume_is_left_alone(
    made: tuple[MountedDrive, dict[str, Any]], tmp_path: Path
) -> None:
    drive, told = made
    drive.umount()
    before = (drive.state_dir / "index.sqlite").read_bytes()
    done = drive.command("recover", typed=told["recovery_code"])
    assert done.returncode == 2
    assert "holds a volume already" in done.stderr
    assert (drive.state_dir / "index.sqlite").read_bytes() == before


# --- other bots ---------------------------------------------------------------------------------------


def another_bot(emulator: EmulatorProcess, message_content: bool) -> dict[str, str]:
    made = emulator.control("POST", "users", {"name": "another", "message_content": message_content})
    return {"DISCORD_TOKEN": made["token"], "id": made["id"]}


def test_another_bot_needs_the_intent_and_is_told_so(
    made: tuple[MountedDrive, dict[str, Any]], other: MountedDrive
) -> None:
    """Without it the log looks empty: that must not be called damage, nor a volume that is not there."""
    drive, told = made
    (drive.mountpoint / "file").write_bytes(b"contents")
    drive.barrier()
    token = another_bot(drive.emulator, False)["DISCORD_TOKEN"]
    other.variables["DISCORD_TOKEN"] = token
    for channel in ((), ("--channel", channels_of(made)[0])):
        done = other.command("recover", *channel, typed=told["recovery_code"])
        assert done.returncode == 1
        assert INTENT in done.stderr
        assert "damage" not in done.stderr
    assert not other.state_dir.exists()
    another_bot(drive.emulator, True)
    assert other.command("recover", typed=told["recovery_code"]).returncode == 0
    other.mount("--read-only")
    assert (other.mountpoint / "file").read_bytes() == b"contents"
    other.umount()
    another_bot(drive.emulator, False)
    done = other.command("mount", other.mountpoint, "--read-only")
    assert done.returncode == 1
    assert INTENT in done.stderr


@pytest.mark.parametrize(
    ("denied", "named"), [("view", "VIEW_CHANNEL"), ("read_history", "READ_MESSAGE_HISTORY")]
)
def test_a_missing_permission_is_named_with_its_channel(
    made: tuple[MountedDrive, dict[str, Any]], other: MountedDrive, denied: str, named: str
) -> None:
    drive, told = made
    (drive.mountpoint / "file").write_bytes(b"contents")
    drive.barrier()
    bot = another_bot(drive.emulator, True)
    other.variables["DISCORD_TOKEN"] = bot["DISCORD_TOKEN"]
    for channel in channels_of(made):
        rule = {"channel_id": channel, "user_id": bot["id"], denied: False}
        drive.emulator.control("POST", "permissions", rule)
    done = other.command("recover", typed=told["recovery_code"])
    assert done.returncode == 1
    assert f"channel {channels_of(made)[0]}" in done.stderr
    assert named in done.stderr
    for channel in channels_of(made)[:1]:
        drive.emulator.control(
            "POST", "permissions", {"channel_id": channel, "user_id": bot["id"], denied: None}
        )
    done = other.command("recover", typed=told["recovery_code"])
    assert done.returncode == 0, done.stderr
    assert f"channel {channels_of(made)[1]}: permission {named} is missing" in done.stdout


# --- half made ----------------------------------------------------------------------------------------


def test_a_volume_that_lost_its_index_never_begins_anew(
    made: tuple[MountedDrive, dict[str, Any]],
) -> None:
    """An empty drive in its place would let gc delete everything. `recover` mends it where it is."""
    drive, _ = made
    (drive.mountpoint / "file").write_bytes(b"contents")
    drive.umount()
    (drive.state_dir / "index.sqlite").unlink()
    done = drive.command("mount", drive.mountpoint)
    assert done.returncode == 3
    assert "discordfs recover" in done.stderr
    assert not (drive.state_dir / "index.sqlite").exists()
    drive.emulator.stop()
    assert drive.command("mount", drive.mountpoint).returncode == 75
    drive.emulator.start()
    done = drive.command("recover")
    assert done.returncode == 0, done.stderr
    drive.emulator.control("POST", "settings", {"time_scale": 10})
    drive.mount()
    assert (drive.mountpoint / "file").read_bytes() == b"contents"


def test_the_wal_of_a_lost_index_is_not_carried_out_on_the_recovered_one(
    made: tuple[MountedDrive, dict[str, Any]],
) -> None:
    """SQLite takes any WAL of the right name for the database's own."""
    drive, _ = made
    for number in range(300):
        (drive.mountpoint / f"file {number}").write_bytes(b"contents %d" % number)
    drive.barrier()
    for number in range(150):
        (drive.mountpoint / f"file {number}").unlink()
    drive.kill9()
    index = drive.state_dir / "index.sqlite"
    assert index.with_name("index.sqlite-wal").stat().st_size > 0
    index.unlink()
    done = drive.command("recover")
    assert done.returncode == 0, done.stderr
    (aside,) = drive.state_dir.glob("before-recovery-*")
    assert (aside / "index.sqlite-wal").stat().st_size > 0, "it may be all that is left of something"
    drive.emulator.control("POST", "settings", {"time_scale": 10})
    drive.mount("--take-over")
    found = {path.name: path.read_bytes() for path in drive.mountpoint.iterdir()}
    assert found == {f"file {number}": b"contents %d" % number for number in range(300)}
    drive.umount()
    assert drive.command("fsck").returncode == 0


def test_what_was_recovered_is_sound_though_the_clock_is_slow(
    emulator: EmulatorProcess, other: MountedDrive, tmp_path: Path
) -> None:
    """What the log says is judged by Discord's time, from the first question on."""
    emulator.control("POST", "clock", {"advance_s": 900})
    drive = MountedDrive(emulator, tmp_path / "drive")
    try:
        told = drive.init()
        drive.mount()
        (drive.mountpoint / "file").write_bytes(b"contents")
        drive.umount()
    finally:
        drive.close()
    emulator.control("POST", "clock", {"advance_s": 60})
    done = other.command("recover", typed=told["recovery_code"])
    assert done.returncode == 0, done.stderr
    done = other.command("fsck")
    assert done.returncode == 0, done.stdout


def test_a_recovery_that_is_killed_leaves_nothing_that_a_mount_takes_for_whole(
    made: tuple[MountedDrive, dict[str, Any]], other: MountedDrive
) -> None:
    drive, told = made
    for number in range(5):
        (drive.mountpoint / f"file {number}").write_bytes(b"contents")
        drive.barrier()
    drive.emulator.control("POST", "settings", {"latency_ms": 60})
    environment = os.environ | drive.emulator.environment() | {"DISCORDFS_STATE_DIR": str(other.state_dir)}
    for patience in (0.5, 1.0, 1.5, 2.0, 3.0):
        process = subprocess.Popen(
            [sys.executable, "-m", "discordfs", "recover"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        process.stdin.write(told["recovery_code"].encode())
        process.stdin.close()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait(30)
        if not (other.state_dir / "index.sqlite").exists():
            assert other.command("mount", other.mountpoint, "--read-only").returncode == 3
    drive.emulator.control("POST", "settings", {"latency_ms": 0})
    if not (other.state_dir / "index.sqlite").exists():
        done = other.command("recover", typed=told["recovery_code"])
        assert done.returncode == 0, done.stderr
    other.mount("--read-only")
    assert len(list(other.mountpoint.iterdir())) == 5


def test_gaps_of_the_log_are_told(made: tuple[MountedDrive, dict[str, Any]], other: MountedDrive) -> None:
    """Somebody deleted a record: what can be had is had, and what not is said."""
    drive, told = made
    for number in range(4):
        (drive.mountpoint / f"file {number}").write_bytes(b"contents")
        drive.barrier()
    with sqlite3.connect(f"file:{drive.state_dir / 'index.sqlite'}?mode=ro", uri=True) as database:
        records = [row[0] for row in database.execute("select message from records order by seq")]
    drive.kill9()  # a mounted drive would write the log anew
    log = channels_of(made)[0]
    delete_message(drive.emulator, log, records[3])
    done = other.command("recover", typed=told["recovery_code"])
    assert done.returncode == 0, done.stderr
    assert "note: record 4 is missing in the log" in done.stdout
    other.mount("--read-only")
    assert sorted(path.name for path in other.mountpoint.iterdir()) == ["file 0", "file 1"]


def delete_message(emulator: EmulatorProcess, channel: str, message: int) -> None:
    import urllib.request

    request = urllib.request.Request(f"{emulator.api}/channels/{channel}/messages/{message}", method="DELETE")
    request.add_header("Authorization", f"Bot {emulator.token}")
    with urllib.request.urlopen(request, timeout=30):
        pass
