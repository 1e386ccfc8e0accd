"""The two mounts that are compared, each in a process of its own, ended in every case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "discordfs"]


@dataclass(frozen=True)
class DemoDrive:
    """A demo mount: the drive over the embedded emulator."""

    mountpoint: Path
    state: Path

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=REPO, check=True, text=True, stdout=subprocess.PIPE, timeout=3600
        )
        return done.stdout

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", str(self.mountpoint), "--json"))

    def barrier(self) -> None:
        self.run("barrier", str(self.mountpoint))

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A request to the emulator's control."""
        base = self.status()["api"].removesuffix("/api/v10")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{base}/_emulator/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def umount(self) -> None:
        self.run("umount", str(self.mountpoint))

    def mount(self, options: str = "") -> None:
        extra = ["-o", options] if options else []
        self.run("mount", "--demo", "--state-dir", str(self.state), *extra, str(self.mountpoint))

    def drop_cache(self) -> None:
        """Deletes the block cache: only while the drive is not mounted."""
        subprocess.run(["rm", "-rf", str(self.state / "cache")], check=True)


@contextmanager
def demo_drive(directory: Path, options: str = "") -> Iterator[DemoDrive]:
    mountpoint, state = directory / "drive", directory / "state"
    mountpoint.mkdir(parents=True)
    drive = DemoDrive(mountpoint, state)
    drive.mount(options)
    try:
        yield drive
    finally:
        if mountpoint.is_mount():
            drive.run("umount", "--no-drain", str(mountpoint))


@contextmanager
def bare_mount(directory: Path) -> Iterator[Path]:
    """The passthrough of `directory`/backing."""
    backing, mountpoint = directory / "backing", directory / "bare"
    backing.mkdir(parents=True)
    mountpoint.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare", str(backing), str(mountpoint)],
        cwd=REPO,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not mountpoint.is_mount():
            if process.poll() is not None:
                raise RuntimeError("the passthrough did not mount")
            os.sched_yield()
        yield mountpoint
    finally:
        subprocess.run(
            ["umount" if os.geteuid() == 0 else "fusermount", *_user_flag(), str(mountpoint)], check=False
        )
        process.wait(30)


def _user_flag() -> list[str]:
    return [] if os.geteuid() == 0 else ["-u"]
