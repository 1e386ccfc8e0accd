"""A real drive for tests: the emulator as a process, `init` and `mount` through the commands.

Whatever a test does to them, nothing stays: `close` unmounts lazily, kills by process id, and looks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from discordfs import registry
from discordfs.cli import mountpoint as places
from tests.nursery import Nursery

ROOT = Path(__file__).resolve().parents[1]
COMMAND_TIMEOUT_S = 120.0
_nursery = Nursery()


class EmulatorProcess:
    """Discord on loopback over `directory`."""

    def __init__(self, directory: Path, settings: Sequence[str] = (), port: int = 0) -> None:
        self._arguments = ["--dir", str(directory), "--port", str(port)]
        self._arguments += [part for setting in settings for part in ("--set", setting)]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "discordfs", "emulator", "--until-eof", *self._arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.api: str = told["api"]
        self.token: str = told["token"]
        self.guild = int(told["guild_id"])
        self.channels = [int(each) for each in told["channel_ids"]]
        self._base = self.api.partition("/api/")[0]

    def stop(self) -> None:
        """As a power cut is to Discord: gone until `start`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """GET, POST or DELETE /_emulator/PATH."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._base}/_emulator/{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=90) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self.control("GET", "stats")
        return found

    def environment(self) -> dict[str, str]:
        return {"DISCORDFS_API": self.api, "DISCORD_TOKEN": self.token}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self.stop()


def run_command(
    *arguments: str | Path,
    env: dict[str, str] | None = None,
    timeout: float = COMMAND_TIMEOUT_S,
    typed: str = "",
    cwd: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """`discordfs ARGUMENTS`, with only what a command needs of this environment; `typed` is its input."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return _nursery.run([*map(str, arguments)], keep | (env or {}), cwd, typed, timeout)


class MountedDrive:
    """A volume in `state_dir` and its mount at `mountpoint`."""

    def __init__(self, emulator: EmulatorProcess, root: Path) -> None:
        self.emulator = emulator
        self.state_dir = root / "state"
        self.mountpoint = root / "mnt"
        self.mountpoint.mkdir(parents=True)
        self.variables: dict[str, str] = {}

    def command(
        self, *arguments: str | Path, timeout: float = COMMAND_TIMEOUT_S, typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        environment = self.emulator.environment() | {"DISCORDFS_STATE_DIR": str(self.state_dir)}
        return run_command(*arguments, env=environment | self.variables, timeout=timeout, typed=typed)

    def checked(self, *arguments: str | Path, timeout: float = COMMAND_TIMEOUT_S) -> str:
        done = self.command(*arguments, timeout=timeout)
        assert done.returncode == 0, f"{arguments} gave {done.returncode}: {done.stderr}{self.log()}"
        return done.stdout

    def init(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.checked("init", "--json"))
        return made

    def mount(self, *options: str) -> None:
        self.checked("mount", self.mountpoint, *options)

    def remount(self, *options: str) -> None:
        self.mount(*options)

    def barrier(self, timeout: float = 60) -> None:
        self.checked("barrier", self.mountpoint, "--timeout", str(timeout))

    def umount(self, *options: str) -> None:
        self.checked("umount", self.mountpoint, *options)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.checked("status", self.mountpoint, "--json"))
        return found

    def stats(self) -> dict[str, Any]:
        """The emulator's."""
        return self.emulator.stats()

    def pid(self) -> int:
        return registry.find(str(self.mountpoint)).pid

    def kill9(self) -> None:
        """The mount process dies at once; what it leaves in the mount table goes too."""
        pid = self.pid()
        watch = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(watch)
        places.unmount(str(self.mountpoint), lazily=True)

    def log(self) -> str:
        path = self.state_dir / "discordfs.log"
        return "\n" + path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def close(self) -> None:
        """Whatever the test did, nothing stays."""
        for mount in registry.running():
            if mount.mountpoint == str(self.mountpoint):
                watch = os.pidfd_open(mount.pid)
                places.unmount(mount.mountpoint, lazily=True)
                wait_for_end(watch, mount.pid)
        while registry.mounted_types(str(self.mountpoint)):
            places.unmount(str(self.mountpoint), lazily=True)


def wait_for_end(watch: int, kill: int = 0, seconds: float = 30) -> None:
    """Waits for the process behind a pidfd; kills it if it takes too long, and fails then."""
    import select

    ended = bool(select.select([watch], [], [], seconds)[0])
    os.close(watch)
    if not ended and kill:
        os.kill(kill, signal.SIGKILL)
    assert ended, f"a mount process did not end within {seconds} s"


@contextmanager
def new_drive(emulator: EmulatorProcess, root: Path, *options: str) -> Iterator[MountedDrive]:
    """init and mount, and the end of both in every case."""
    drive = MountedDrive(emulator, root)
    try:
        drive.init()
        drive.mount(*options)
        yield drive
    finally:
        drive.close()
