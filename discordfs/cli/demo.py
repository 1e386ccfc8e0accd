"""The demo's Discord: the embedded emulator as a child process that cannot outlive its parent.

The child watches its standard input, whose other end only the mount process has: when that ends, in
whatever way, kill -9 included, the child reads the end of the file and ends too.
Threading: one thread starts and stops it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from discordfs.errors import DiscordfsError

STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where an emulator is, and what it starts with."""

    api: str
    token: str
    guild: int
    channels: tuple[int, ...]


class DemoServer:
    """An emulator over `directory`, from `start` to the end of the with block. Raises DiscordfsError when
    it does not start."""

    def __init__(self, directory: Path, errors_to: IO[bytes] | int) -> None:
        self._directory = directory
        self._errors_to = errors_to
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Address:
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "discordfs", "emulator", "--dir", str(self._directory), "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors_to,
            start_new_session=True,  # a Ctrl-C in the terminal is for the mount, which still needs it
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DiscordfsError(f"the emulator did not start in {self._directory}")
        told = json.loads(line)
        channels = tuple(int(each) for each in told["channel_ids"])
        return Address(str(told["api"]), str(told["token"]), int(told["guild_id"]), channels)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
