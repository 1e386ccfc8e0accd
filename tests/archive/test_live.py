"""Staying on: what happens is recorded as it happens, and what a lost session hid is fetched."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mounting import ROOT

from .harness import Run, Server


class LiveRun:
    """`archive --live` as a process, and what it has written so far."""

    def __init__(self, server: Server) -> None:
        command = [sys.executable, "-m", "discordfs", "archive", "-o", str(server.root), "--live"]
        self._server = server
        self._process = subprocess.Popen(
            [*command, "--rate", "100000", "guild", str(server.guild)],
            cwd=ROOT,
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.path = Path(self._process.stdout.readline().strip())

    def wait(self, condition: Callable[[], bool]) -> None:
        watch = os.pidfd_open(self._process.pid)
        try:
            for _ in range(1500):
                if condition():
                    return
                assert not select.select([watch], [], [], 0.02)[0], self._process.stderr
            raise AssertionError("what was waited for did not come")
        finally:
            os.close(watch)

    def events(self) -> list[tuple[str, Any]]:
        lines = (self.path / "run.jsonl").read_text().split("\n")[:-1]
        frames = [json.loads(line) for line in lines]
        return [
            (each["data"]["t"], each["data"]["d"])
            for each in frames
            if each["type"] == "ws" and each["direction"] == "recv" and each["data"]["t"]
        ]

    def heard(self, event: str, **data: Any) -> bool:
        return any(
            name == event and all(body.get(key) == value for key, value in data.items())
            for name, body in self.events()
        )

    def is_staying(self) -> bool:
        state = json.loads((self.path / "state.json").read_text())
        return bool(state["channels"]) and all(each["done"] for each in state["channels"])

    def end(self) -> Run:
        self._process.send_signal(signal.SIGINT)
        _, told = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, told
        return Run(self.path, None)  # type: ignore[arg-type]

    def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()


def environment(server: Server) -> dict[str, str]:
    given = {"DISCORDFS_API": server.discord.address.api, "DISCORD_TOKEN": server.token}
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | given


@pytest.fixture
def live(server: Server) -> Any:
    server.posts(3)
    running = LiveRun(server)
    try:
        running.wait(running.is_staying)
        yield running
    finally:
        running.close()


def test_what_happens_is_recorded_and_a_page_covers_it_in_the_end(server: Server, live: LiveRun) -> None:
    said = server.post("while you watch")
    live.wait(lambda: live.heard("MESSAGE_CREATE", id=str(said), content="while you watch"))
    server.delete(said)
    live.wait(lambda: live.heard("MESSAGE_DELETE", id=str(said)))
    other = server.post("stays")
    live.wait(lambda: live.heard("MESSAGE_CREATE", id=str(other)))
    run = live.end()
    assert other in run.ids(server.channel)
    assert run.meta()["summary"]["num_messages"] == 4
    assert run.meta()["run"]["completed"] is True
    assert not (run.path / "state.json").exists()


def test_what_a_lost_session_hid_is_fetched(server: Server, live: LiveRun) -> None:
    server.discord.control("POST", "/gateway", {"close": 4004, "forget": True})
    missed = server.post("nobody heard this")
    live.wait(lambda: missed in ids(live, server.channel))
    assert not live.heard("MESSAGE_CREATE", id=str(missed))
    live.end()


def test_a_channel_that_was_made_while_nobody_listened_is_captured(server: Server, live: LiveRun) -> None:
    server.discord.control("POST", "/gateway", {"close": 4004, "forget": True})
    channel = server.new_channel("made-meanwhile")
    said = server.post("nobody heard this", channel=channel)
    live.wait(lambda: bool(list(live.path.rglob(f"{channel}.jsonl"))) and said in ids(live, channel))
    live.end()


def ids(live: LiveRun, channel: int) -> list[int]:
    (path,) = live.path.rglob(f"{channel}.jsonl")
    whole = [line for line in path.read_text().split("\n")[:-1] if line]
    pages = [json.loads(line)["response"]["data"] for line in whole]
    return [int(each["id"]) for page in pages if isinstance(page, list) for each in page]


def test_new_channels_are_captured_as_they_appear(server: Server, live: LiveRun) -> None:
    channel = server.new_channel("brand-new")
    said = server.post("first", channel=channel)
    live.wait(lambda: live.heard("MESSAGE_CREATE", id=str(said)))
    run = live.end()
    assert run.ids(channel) == [said]


def test_a_run_that_stays_for_a_while_ends_by_itself(server: Server) -> None:
    said = server.posts(3)
    run = server.run("channel", server.channel, live_s=0.5)
    assert run.result.completed
    assert run.ids(server.channel) == said[::-1]
