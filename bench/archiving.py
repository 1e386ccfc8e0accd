"""How fast the archive captures, and in how much memory: the emulator and the capture in a process each.

With limits off, pages of one channel are asked for one after another, so this is the time that a page takes
on its way to the disk. With limits on, what counts is the share of the requests that the emulator would
have let pass, between the first seconds and the end; and that it never had to refuse one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.rows import Row

REPO = Path(__file__).parent.parent
_AT_ONCE, _IN_A_CHANNEL = 50, 5  # requests a second, as the emulator has them
_ENDED = re.compile(r'"datetime_end": "([^"]+)"')
_WARM_S = 3.0

_CAPTURE = """
import json, sys, time
from pathlib import Path
from discordfs.archive import CaptureSettings, capture

token, api, root, rate, mode, target = sys.argv[1:]
began = time.perf_counter()
settings = CaptureSettings(mode, (int(target),))
result = capture(token, settings, Path(root), api=api, requests_a_second=int(rate))
seconds = time.perf_counter() - began
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
told = {"seconds": seconds, "messages": result.num_messages, "peak_mb": peak * 1024 / 1e6}
print(json.dumps(told | {"path": str(result.directory), "completed": result.completed}))
"""
_NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class Server:
    """An emulator in a process of its own, and where captures of it go."""

    address: dict[str, Any]
    root: Path

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.address['cdn']}/_emulator/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=600) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def capture(self, mode: str, target: str, rate: int = _NO_LIMIT) -> dict[str, Any]:
        told = [
            self.address["token"],
            self.address["api"],
            str(self.root / "archive"),
            str(rate),
            mode,
            target,
        ]
        done = subprocess.run(
            [sys.executable, "-c", _CAPTURE, *told],
            cwd=REPO,
            env=os.environ | {"XDG_RUNTIME_DIR": str(self.root)},
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            timeout=3600,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextmanager
def server(directory: Path, *, limits: bool) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(dir=directory) as name:
        root = Path(name)
        setting = f"rate_limits={'on' if limits else 'off'}"
        command = [sys.executable, "-m", "discordfs.emulator", "--dir", str(root / "discord")]
        process = subprocess.Popen([*command, "--set", setting], cwd=REPO, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield Server(json.loads(process.stdout.readline()), root)
        finally:
            process.terminate()
            process.communicate(timeout=60)


def benches(directory: Path, quick: bool) -> dict[str, Callable[[], list[Row]]]:
    return {
        "archive-long": lambda: long_channel(directory, 100_000 if quick else 1_000_000),
        "archive-wide": lambda: many_channels(directory, 500 if quick else 5000),
        "archive-limits": lambda: limits_of_all(directory, 1000 if quick else 3000),
        "archive-limit": lambda: limit_of_one(directory, 10_000 if quick else 30_000),
    }


def long_channel(directory: Path, messages: int) -> list[Row]:
    with server(directory, limits=False) as running:
        channel = running.address["channel_ids"][0]
        running.control("POST", "fill", {"channel_id": channel, "count": messages})
        told = running.capture("channel", channel)
    rate, is_whole = told["messages"] / told["seconds"], told["messages"] == messages
    name = f"archive, {messages} messages in a channel"
    return [
        Row(name, f"{rate:.0f} /s", "-", rate, ">= 8000 /s", is_whole and rate >= 8000),
        memory_row(name, told),
    ]


def many_channels(directory: Path, channels: int) -> list[Row]:
    with server(directory, limits=False) as running:
        running.control("POST", "fill", {"channels": channels, "count": 20})
        told = running.capture("guild", running.address["guild_id"])
    rate, is_whole = channels / told["seconds"], told["messages"] == 20 * channels
    name = f"archive, {channels} channels"
    seconds = f"{told['seconds']:.0f} s"
    return [
        Row(name, seconds, "-", rate, ">= 25 channels/s", is_whole and rate >= 25),
        memory_row(name, told),
    ]


def memory_row(name: str, told: dict[str, Any]) -> Row:
    peak = told["peak_mb"]
    return Row(f"{name}, memory", f"{peak:.0f} MB", "-", peak, "< 200 MB", peak < 200)


def limits_of_all(directory: Path, messages: int) -> list[Row]:
    """100 channels: the limit over all requests is what binds."""
    with server(directory, limits=True) as running:
        running.control("POST", "fill", {"channels": 100, "count": messages})
        told = running.capture("guild", running.address["guild_id"], _AT_ONCE)
        return [limit_row("archive, limits on, 100 channels", running, told, _AT_ONCE)]


def limit_of_one(directory: Path, messages: int) -> list[Row]:
    """One channel: its own limit is what binds."""
    with server(directory, limits=True) as running:
        channel = running.address["channel_ids"][0]
        running.control("POST", "fill", {"channel_id": channel, "count": messages})
        told = running.capture("channel", channel, _AT_ONCE)
        return [limit_row("archive, limits on, one channel", running, told, _IN_A_CHANNEL)]


def limit_row(name: str, running: Server, told: dict[str, Any], allowed: int) -> Row:
    refused, (count, seconds) = (
        running.control("GET", "stats")["rate_limited"],
        answered(Path(told["path"]), allowed),
    )
    share = count / (seconds * allowed)
    ours = f"{count} of {seconds * allowed:.0f} requests, {refused} refused"
    return Row(name, ours, "-", share, ">= 0.95, 0 refused", share >= 0.95 and not refused)


def answered(run: Path, allowed: int) -> tuple[int, float]:
    """How many answers came in how many seconds, of what channels are asked for: from the third second on
    until nine tenths of all had come, as too few channels are left then to use up a limit. Whole windows'
    worth of them, so that it does not matter where in a window this begins."""
    times = sorted(
        datetime.fromisoformat(found[1]).timestamp()
        for path in run.glob("*/[0-9]*.jsonl")
        for line in path.open()
        if (found := _ENDED.search(line[:200]))
    )
    middle = [each for each in times[: len(times) * 9 // 10] if each >= times[0] + _WARM_S]
    count = (len(middle) - 1) // allowed * allowed
    return count, middle[count] - middle[0]
