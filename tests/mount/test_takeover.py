"""A volume is taken over while its writer has files that are not on Discord yet: what becomes of them.

Discord's time runs ten times as fast here, so that taking over lasts seconds. What machines do to each other
at the worst moments stands in test_two_writers.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.tools import wait_until
from tests.mounting import ROOT, EmulatorProcess, MountedDrive, new_drive

pytestmark = pytest.mark.usefixtures("fuse_available")

SUFFIX = ".resubmitted-"


@dataclass
class Pair:
    """`loser` had the volume until `winner` took it over; both are mounted."""

    loser: MountedDrive
    winner: MountedDrive

    def stranded(self) -> list[str]:
        return self.loser.checked("resubmit", "--list").splitlines()

    def saved(self) -> list[Path]:
        return sorted((self.loser.state_dir / "stranded").glob("*"))

    def beside(self, name: str, drive: MountedDrive) -> Path:
        """The file that lies beside this one."""
        (found,) = drive.mountpoint.glob(f"{name}{SUFFIX}*")
        return found


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Each has changed `both` since, and has files that the other has not."""
    with (
        EmulatorProcess(tmp_path / "discord", ["rate_limits=off", "time_scale=10"]) as emulator,
        new_drive(emulator, tmp_path / "loser") as loser,
    ):
        winner = MountedDrive(emulator, tmp_path / "winner")
        try:
            for name in ("both", "same", "kept"):
                (loser.mountpoint / name).write_bytes(b"before")
            loser.barrier()
            winner.checked("recover", "--key-file", loser.state_dir / "key")
            change(loser.mountpoint)
            os.kill(loser.pid(), signal.SIGSTOP)  # before it has sent anything
            winner.mount("--take-over")
            (winner.mountpoint / "both").write_bytes(b"the winner's")
            agree(winner.mountpoint)
            winner.barrier()
            os.kill(loser.pid(), signal.SIGCONT)
            wait_until("it heard of it", lambda: not loser.status()["writer"])
            yield Pair(loser, winner)
        finally:
            winner.close()


def agree(place: Path) -> None:
    """What both do alike."""
    (place / "same").write_bytes(b"agreed")
    os.utime(place / "same", ns=(1, 42 * 10**9))


def change(place: Path) -> None:
    """What the loser does before it falls asleep."""
    (place / "new").mkdir(mode=0o751)
    (place / "new" / "empty").mkdir()
    (place / "new" / "file").write_bytes(os.urandom(700_000))
    os.link(place / "new" / "file", place / "new" / "link")
    os.symlink("file", place / "new" / "symlink")
    os.setxattr(place / "new" / "file", "user.x", b"\xff")
    os.chmod(place / "new" / "file", 0o4604)
    os.utime(place / "new" / "file", ns=(1, 123_456_789_123_456_789))
    (place / os.fsdecode(b"\xff odd")).write_bytes(b"odd")
    (place / "both").write_bytes(b"the loser's")
    agree(place)


def check_new(place: Path, contents: bytes) -> None:
    """The loser's directory, with all that belongs to it."""
    file = place / "new" / "file"
    status = file.stat()
    assert file.read_bytes() == contents
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o4604, 123_456_789_123_456_789)
    assert status.st_ino == (place / "new" / "link").stat().st_ino
    assert os.getxattr(file, "user.x") == b"\xff"
    assert os.readlink(place / "new" / "symlink") == "file"
    assert stat.S_IMODE((place / "new").stat().st_mode) == 0o751
    assert list((place / "new" / "empty").iterdir()) == []
    assert (place / os.fsdecode(b"\xff odd")).read_bytes() == b"odd"


def test_the_loser_says_what_only_it_has_and_umount_says_so_too(pair: Pair) -> None:
    status = pair.loser.status()
    expected = {"new/file", "new/link", "new/symlink", "new/empty", "both", "same", os.fsdecode(b"\xff odd")}
    assert set(status["stranded"]) == expected
    assert status["stranded_files"] == len(expected)
    assert "is written by" in status["holder"]
    with pytest.raises(OSError, match="Read-only"):
        (pair.loser.mountpoint / "more").write_bytes(b"")
    done = pair.loser.command("barrier", pair.loser.mountpoint)
    assert done.returncode == 1
    assert "resubmit" in done.stderr
    done = pair.loser.command("resubmit")
    assert done.returncode == 1
    assert "unmount that first" in done.stderr
    done = pair.loser.command("umount", pair.loser.mountpoint)
    assert done.returncode == 1
    assert f"{len(expected)} files stay on this machine alone" in done.stderr
    assert not os.path.ismount(pair.loser.mountpoint)
    assert len(pair.stranded()) == len(expected)
    done = pair.loser.command("mount", pair.loser.mountpoint)
    assert done.returncode == 0
    assert f"{len(expected)} files are on this machine alone" in done.stderr
    assert (pair.loser.mountpoint / "both").read_bytes() == b"the loser's"
    assert pair.loser.command("umount", pair.loser.mountpoint, "--no-drain").returncode == 0


def test_everything_goes_back_beside_what_is_there(pair: Pair) -> None:
    contents = (pair.loser.mountpoint / "new" / "file").read_bytes()
    pair.loser.command("umount", pair.loser.mountpoint)
    done = pair.loser.command("resubmit")
    assert done.returncode == 1
    assert "--take-over" in done.stderr
    assert pair.saved()
    assert len(pair.stranded()) == 7
    pair.winner.umount()
    done = pair.loser.command("resubmit")
    assert done.returncode == 0, done.stderr
    assert not pair.saved()
    assert pair.stranded() == []
    pair.loser.mount()
    check_new(pair.loser.mountpoint, contents)
    assert (pair.loser.mountpoint / "both").read_bytes() == b"the winner's"
    assert pair.beside("both", pair.loser).read_bytes() == b"the loser's"
    assert (pair.loser.mountpoint / "kept").read_bytes() == b"before"
    assert not list(pair.loser.mountpoint.glob(f"same{SUFFIX}*"))
    assert not list(pair.loser.mountpoint.glob(".discordfs*"))


def test_resubmit_may_take_the_volume_back(pair: Pair) -> None:
    pair.loser.command("umount", pair.loser.mountpoint)
    done = pair.loser.command("resubmit", "--take-over")
    assert done.returncode == 0, done.stderr
    wait_until("the winner heard of it", lambda: not pair.winner.status()["writer"])
    assert pair.winner.status()["stranded_files"] == 0
    pair.winner.umount()
    pair.winner.mount()  # the loser's resubmit has ended, and said so
    assert pair.beside("both", pair.winner).read_bytes() == b"the loser's"


def test_into_a_directory_such_as_the_other_mount(pair: Pair, tmp_path: Path) -> None:
    contents = (pair.loser.mountpoint / "new" / "file").read_bytes()
    pair.loser.command("umount", pair.loser.mountpoint)
    done = pair.loser.command("resubmit", "--to", pair.winner.mountpoint)
    assert done.returncode == 0, done.stderr
    check_new(pair.winner.mountpoint, contents)
    assert (pair.winner.mountpoint / "both").read_bytes() == b"the winner's"
    assert pair.beside("both", pair.winner).read_bytes() == b"the loser's"
    assert not pair.saved()
    third = MountedDrive(pair.winner.emulator, tmp_path / "third")
    try:
        third.checked("recover", "--key-file", pair.loser.state_dir / "key")
        third.mount("--read-only")
        check_new(third.mountpoint, contents)
    finally:
        third.close()


def test_an_interruption_at_any_moment_loses_nothing(pair: Pair, tmp_path: Path) -> None:
    """Killed again and again, and begun again: in the end all is there, once."""
    contents = (pair.loser.mountpoint / "new" / "file").read_bytes()
    pair.loser.command("umount", pair.loser.mountpoint)
    target = tmp_path / "rescued"
    target.mkdir()
    variables = pair.loser.emulator.environment() | {"DISCORDFS_STATE_DIR": str(pair.loser.state_dir)}
    command = [sys.executable, "-m", "discordfs", "resubmit", "--to", str(target)]
    pair.loser.emulator.control("POST", "settings", {"latency_ms": 40})
    for patience in (0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0):
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait(30)
    pair.loser.emulator.control("POST", "settings", {"latency_ms": 0})
    done = pair.loser.command("resubmit", "--to", target)
    assert done.returncode == 0, done.stderr
    check_new(target, contents)
    assert (target / "both").read_bytes() == b"the loser's"
    assert sorted(path.name for path in target.iterdir()) == sorted(["new", "\udcff odd", "both", "same"])
    assert not pair.saved()


def test_whoever_unmounted_is_followed_without_being_told_to(pair: Pair) -> None:
    """And one with nothing of its own does not stay behind as a loser."""
    shutil.rmtree(pair.loser.state_dir / "cache", ignore_errors=True)
    pair.winner.umount()
    third = MountedDrive(pair.winner.emulator, pair.winner.state_dir.parent / "third")
    try:
        third.checked("recover", "--key-file", pair.loser.state_dir / "key")
        done = third.command("mount", third.mountpoint)
        assert done.returncode == 0, done.stderr
        assert "taking over" in done.stderr
        done = pair.winner.command("mount", pair.winner.mountpoint)
        assert done.returncode == 1
        assert "is written by" in done.stderr
        third.emulator.stop()
        assert pair.winner.command("mount", pair.winner.mountpoint, "--take-over").returncode == 75
        done = pair.winner.command("mount", pair.winner.mountpoint, "--read-only")
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in pair.winner.mountpoint.iterdir()) == ["both", "kept", "same"]
        third.emulator.start()
    finally:
        third.close()
