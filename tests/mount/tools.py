"""What the tests on real mounts share: real programs, digests of trees, figures, and patience.

Limits: nothing here knows how the drive works inside. Threading: the test's own thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.mounting import EmulatorProcess, MountedDrive

MIB = 1024**2
STATE = "user.discordfs.state"
FIGURES = "DISCORDFS_FIGURES"
"""Environment variable: a file that takes what the tests measured, one JSON object a line."""

_DEADLINE_S = 60.0
_POLL_S = 0.02


# --- programs ------------------------------------------------------------------------------------------


def run(
    *command: str | Path,
    cwd: Path | None = None,
    text: str | None = None,
    timeout: float = 240,
    env: dict[str, str] | None = None,
) -> str:
    """A program's output; fails with what it said on stderr."""
    done = attempt(*command, cwd=cwd, text=text, timeout=timeout, env=env)
    assert done.returncode == 0, (
        f"{command} gave {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    )
    return done.stdout


def attempt(
    *command: str | Path,
    cwd: Path | None = None,
    text: str | None = None,
    timeout: float = 240,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """The same, whatever the exit code."""
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        input=text,
        env=None if env is None else os.environ | env,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=timeout,
        check=False,
    )


@contextmanager
def running(command: Sequence[str | Path], **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program beside the test, killed at the end of the block if it still runs."""
    process = subprocess.Popen(list(map(str, command)), **more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def python(code: str, *arguments: str | Path, timeout: float = 120) -> str:
    """Another process that runs this code."""
    return run(sys.executable, "-c", code, *arguments, timeout=timeout)


def copy_tree(source: Path, destination: Path, *options: str, timeout: float = 600) -> str:
    """rsync of the directory's contents, with everything that a file has."""
    return run("rsync", "-aHAX", *options, f"{source}/", f"{destination}/", timeout=timeout)


def differences(source: Path, destination: Path, timeout: float = 900) -> str:
    """What rsync would have to change, by checksums: nothing, if the copy is good."""
    return copy_tree(source, destination, "-nci", "--delete", timeout=timeout)


def wait_until(what: str, condition: Callable[[], bool], seconds: float = _DEADLINE_S) -> None:
    """Asks again and again, and fails at the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(_POLL_S)  # between two looks, not instead of one


# --- contents ------------------------------------------------------------------------------------------


def random_file(path: Path, size: int) -> str:
    """Writes random bytes; their sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            data = os.urandom(min(MIB, size - start))
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def snapshot(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything that a tree says of itself: names, attributes, times, xattrs, contents."""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, os.fsencode(root))] = _described(path)
    return found


def _described(path: bytes) -> tuple[Any, ...]:
    status = os.lstat(path)
    content = ""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.fsdecode(os.readlink(path))
    names = sorted(os.listxattr(path, follow_symlinks=False))
    attributes = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    size = status.st_size if not stat.S_ISDIR(status.st_mode) else 0
    times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
    who = (status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_rdev)
    return (*who, size, *times, attributes, content)


def state(path: Path) -> str:
    """`staged` or `remote`."""
    return os.getxattr(path, STATE).decode()


# --- the drive -----------------------------------------------------------------------------------------


def cold(drive: MountedDrive, *options: str) -> None:
    """Everything to Discord, then a new mount with nothing in the cache: what is read comes from there."""
    drive.umount()
    shutil.rmtree(drive.state_dir / "cache")
    drive.remount(*options)


def hurry(drive: MountedDrive) -> None:
    """The queue begins at once, as before a barrier; it need not get anywhere."""
    drive.command("barrier", drive.mountpoint, "--timeout", "0.3")


def reset(emulator: EmulatorProcess) -> None:
    """Counts begin anew."""
    emulator.control("POST", "stats/reset")


def settle_settings(emulator: EmulatorProcess, **settings: Any) -> None:
    emulator.control("POST", "settings", settings)


def free_port() -> int:
    """A TCP port on loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def known_messages(drive: MountedDrive) -> int:
    """The messages on Discord that the index knows of: chunks, records, and what is to be deleted."""
    database = sqlite3.connect(f"file:{drive.state_dir / 'index.sqlite'}?mode=ro", uri=True)
    try:
        return int(
            database.execute(
                "select count(*) from (select message from chunks where state > 0 union select message from "
                "records where state = 1 union select message from record_parts "
                "union select message from garbage)"
            ).fetchone()[0]
        )
    finally:
        database.close()


def posts(stats: dict[str, Any]) -> int:
    """Messages posted, by the emulator's own count."""
    return sum(count for route, count in stats["requests"].items() if _is_post(route))


def _is_post(route: str) -> bool:
    return route.startswith("POST ") and route.endswith("/messages")


def requests(stats: dict[str, Any]) -> int:
    """All that was asked of the API and of the CDN."""
    return sum(stats["requests"].values()) + int(stats["cdn"]["requests"])


def record_figures(test: str, **figures: Any) -> None:
    """Prints what was measured, and appends it to the file that the environment names."""
    line = json.dumps({"test": test, **figures})
    print(line)
    if FIGURES in os.environ:
        with open(os.environ[FIGURES], "a", encoding="utf-8") as file:
            file.write(line + "\n")
