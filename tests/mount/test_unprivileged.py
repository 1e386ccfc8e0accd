"""The drive of an ordinary user: made, used and ended with no more rights than nobody has; and what one
user may do to the files of another.

A user would lose: the drive altogether, where they are not root; or their privacy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.conftest import limited_drive
from tests.mounting import wait_for_end
from tests.people import NOBODY, Person, as_nobody

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture
def nobody(
    fuse_available: None,
    readable_house: Path,
    nobodys_python: tuple[tuple[str, ...], str],
) -> Iterator[Person]:
    """nobody, in a home directory of theirs."""
    command, path = nobodys_python
    home = readable_house.parent / "home-of-nobody"
    home.mkdir(mode=0o755)
    os.chown(home, NOBODY, NOBODY)
    yield Person(home, command, path)
    subprocess.run(["umount", "-l", home / "mnt"], capture_output=True, check=False)
    shutil.rmtree(home)


def act(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """A program run by nobody."""
    return subprocess.run(
        as_nobody(list(map(str, command))), capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )


def test_a_demo_of_an_ordinary_user(nobody: Person) -> None:
    mountpoint, data = nobody.folder("mnt"), os.urandom(3_000_000)
    source = nobody.home / "source"
    source.write_bytes(data)
    nobody.give(source)
    for turn in range(2):
        done = nobody.run("mount", "--demo", mountpoint)
        assert done.returncode == 0, done.stderr
        if turn == 0:
            assert act("cp", "-p", source, mountpoint / "copy").returncode == 0
            assert act("mkdir", mountpoint / "folder").returncode == 0
            assert nobody.run("barrier", mountpoint).returncode == 0
        assert act("cmp", source, mountpoint / "copy").returncode == 0
        assert act("stat", "-c", "%u %g", mountpoint / "copy").stdout == f"{NOBODY} {NOBODY}\n"
        assert act("stat", "-c", "%u", mountpoint).stdout == f"{NOBODY}\n"
        # Not even root looks into another user's mount without allow_other.
        with pytest.raises(PermissionError):
            os.listdir(mountpoint)
        assert '"staged_files": 0' in nobody.run("status", mountpoint, "--json").stdout
        done = nobody.run("umount", mountpoint)
        assert done.returncode == 0, done.stderr
        assert os.listdir(mountpoint) == []
        shutil.rmtree(nobody.state / "cache")


def test_bad_input_of_an_ordinary_user(nobody: Person) -> None:
    theirs, roots = nobody.folder("mnt"), nobody.home / "of-root"
    roots.mkdir()
    for code, words, arguments in (
        (2, "does not belong to you", ("mount", "--demo", roots)),
        (2, "does not exist", ("mount", "--demo", nobody.home / "nowhere")),
        (3, "no volume", ("mount", theirs)),
        (3, "no discordfs drive is mounted", ("umount", theirs)),
        (3, "no discordfs drive is mounted", ("barrier", theirs)),
    ):
        done = nobody.run(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert words in done.stderr
    done = nobody.run("mount", "--demo", "-o", "allow_other", theirs)
    assert done.returncode in (0, 1), done.stderr
    if done.returncode:  # as /etc/fuse.conf has it
        assert "allow_other" in done.stderr
        assert done.stderr.count("\n") == 1


@dataclass(frozen=True)
class OpenHouse:
    """A mount of root's that everybody may use."""

    root: Path


@pytest.fixture
def open_house(fuse_available: None, readable_house: Path) -> Iterator[OpenHouse]:
    base = readable_house.parent / "open"
    base.mkdir(mode=0o755)
    try:
        with limited_drive(base, "-o", "allow_other") as drive:
            drive.mountpoint.chmod(0o777)
            yield OpenHouse(drive.mountpoint)
    finally:
        shutil.rmtree(base)


def test_another_users_files_are_refused(open_house: OpenHouse) -> None:
    root = open_house.root
    secret, shown, folder = root / "secret", root / "shown", root / "folder"
    for path in (secret, shown):
        path.write_text("of root")
    secret.chmod(0o600)
    folder.mkdir(mode=0o700)
    (folder / "file").touch()
    assert act("cat", shown).stdout == "of root"
    for command in (
        ("cat", secret),
        ("ls", folder),
        ("cat", folder / "file"),
        ("chmod", "777", shown),
        ("chown", str(NOBODY), shown),
        ("setfattr", "-n", "user.x", "-v", "y", shown),
        ("sh", "-c", 'echo x >> "$1"', "sh", shown),
        ("truncate", "-s", "0", shown),
        ("touch", "-d", "2000-01-01", shown),
        ("touch", folder / "new"),
    ):
        assert act(*command).returncode != 0, command
    assert shown.read_text() == "of root"
    assert act("rm", "-f", secret).returncode == 0, "the directory is everybody's"
    root.chmod(0o1777)
    assert act("rm", "-f", shown).returncode != 0, "but not with the sticky bit"


def test_a_new_file_belongs_to_whoever_makes_it(open_house: OpenHouse) -> None:
    root = open_house.root
    shared = root / "shared"
    shared.mkdir()
    os.chown(shared, 0, 4242)
    shared.chmod(0o2777)
    for command in (
        ("touch", root / "file"),
        ("mkdir", root / "folder"),
        ("ln", "-s", "x", root / "link"),
        ("mkfifo", root / "fifo"),
    ):
        assert act(*command).returncode == 0, command
    for name in ("file", "folder", "link", "fifo"):
        status = (root / name).lstat()
        assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY), name
    assert act("touch", shared / "file").returncode == 0
    assert ((shared / "file").stat().st_uid, (shared / "file").stat().st_gid) == (NOBODY, 4242)
    assert act("chmod", "600", root / "file").returncode == 0
    assert act("chown", "0", root / "file").returncode != 0
    assert act("rm", root / "file").returncode == 0


def test_writing_takes_the_setuid_bit_away(open_house: OpenHouse) -> None:
    """Whoever may write to a program must not get its owner's rights by that."""
    path = open_house.root / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o6777)
    assert act("sh", "-c", 'echo x >> "$1"', "sh", path).returncode == 0
    assert path.stat().st_mode & 0o6000 == 0


def test_a_drive_ends_when_its_user_kills_it(nobody: Person) -> None:
    """And its next mount takes away what is left in the mount table."""
    mountpoint = nobody.folder("mnt")
    assert nobody.run("mount", "--demo", mountpoint).returncode == 0
    assert act("sh", "-c", 'echo kept > "$1"', "sh", mountpoint / "file").returncode == 0
    pid = _pid(nobody, mountpoint)
    watch = os.pidfd_open(pid)
    assert act("kill", "-9", str(pid)).returncode == 0
    wait_for_end(watch)
    done = nobody.run("mount", "--demo", mountpoint)
    assert done.returncode == 0, done.stderr
    assert act("cat", mountpoint / "file").stdout == "kept\n"
    assert nobody.run("umount", mountpoint).returncode == 0


def _pid(person: Person, mountpoint: Path) -> int:
    return int(json.loads(person.run("status", mountpoint, "--json").stdout)["pid"])
