"""What a mountpoint must be before anything is started, how it is unmounted, and who keeps it busy.

Threading: the main thread.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from discordfs import registry
from discordfs.errors import BusyError, DiscordfsError, UsageError

_MNT_DETACH = 2  # umount(2)


def check(mountpoint: str, state_dir: Path) -> None:
    """Raises UsageError or BusyError, with one line that says what is wrong with it; changes nothing but
    what a mount process that died left behind."""
    types = registry.mounted_types(mountpoint)
    if registry.FILESYSTEM_TYPE in types:
        _check_left_over(mountpoint)
    try:
        status = os.stat(mountpoint)
    except FileNotFoundError:
        raise UsageError(f"the mountpoint {mountpoint} does not exist: make the directory first") from None
    except OSError as error:
        raise UsageError(f"the mountpoint {mountpoint} cannot be used: {error.strerror}") from None
    if not os.path.isdir(mountpoint):
        raise UsageError(f"the mountpoint {mountpoint} is not a directory")
    if not os.access(mountpoint, os.W_OK | os.X_OK) or (os.geteuid() and status.st_uid != os.geteuid()):
        raise UsageError(f"the mountpoint {mountpoint} does not belong to you: chown it to whoever mounts")
    if os.listdir(mountpoint):
        raise UsageError(f"the mountpoint {mountpoint} is not empty: choose an empty directory")
    _check_apart(Path(mountpoint), state_dir)


def _check_apart(mountpoint: Path, state_dir: Path) -> None:
    if mountpoint == state_dir or state_dir in mountpoint.parents:
        raise UsageError(f"the mountpoint {mountpoint} lies inside the state directory {state_dir}")
    if mountpoint in state_dir.parents:
        raise UsageError(f"the state directory {state_dir} lies inside the mountpoint {mountpoint}")


def _check_left_over(mountpoint: str) -> None:
    """A drive is mounted there: refused if it is alive, taken away if its process is gone."""
    if is_alive(mountpoint):
        raise BusyError(f"a discordfs drive is mounted at {mountpoint} already")
    unmount(mountpoint, lazily=True)


def is_alive(mountpoint: str) -> bool:
    """Whether a process serves what is mounted there."""
    try:
        os.statvfs(mountpoint)
    except OSError:
        return False
    return True


def unmount(mountpoint: str, *, lazily: bool = False) -> None:
    """Unmounts by the system call as root, by fusermount as anybody else. Raises DiscordfsError."""
    trouble = _umount_call(mountpoint, lazily) if os.geteuid() == 0 else _fusermount(mountpoint, lazily)
    if trouble:
        raise DiscordfsError(f"{mountpoint} cannot be unmounted: {trouble}")


def _umount_call(mountpoint: str, lazily: bool) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mountpoint), _MNT_DETACH if lazily else 0) == 0:
        return ""
    return os.strerror(ctypes.get_errno())


def _fusermount(mountpoint: str, lazily: bool) -> str:
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        return "there is no fusermount: install the package fuse3"
    command = [program, "-u", *(["-z"] if lazily else []), "--", mountpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"{program} failed"


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses a mount."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def users_of(mountpoint: str) -> list[User]:
    """The processes with a file or a directory of the mount open, as far as we may see them."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _uses(process, mountpoint):
            found.append(User(int(process.name), _name(process)))
    return sorted(found, key=lambda user: user.pid)


def _uses(process: Path, mountpoint: str) -> bool:
    try:
        links = [process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()]
    except OSError:  # gone, or not ours to see
        return False
    return any(_is_within(link, mountpoint) for link in links) or _maps(process, mountpoint)


def _is_within(link: Path, mountpoint: str) -> bool:
    try:
        target = os.readlink(link)
    except OSError:
        return False
    return target == mountpoint or target.startswith(mountpoint + "/")


def _maps(process: Path, mountpoint: str) -> bool:
    try:
        text = (process / "maps").read_text(errors="surrogateescape")
    except OSError:
        return False
    return f" {mountpoint}/" in text


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
