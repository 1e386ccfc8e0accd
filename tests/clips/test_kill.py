"""Whatever kills a collection, the next one goes on; in the end each clip is there once, none is missed, and
what was deleted is known to be. The emulator's own tables are the judge."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from discordfs.clipping.catalogue import Catalogue
from tests.mounting import ROOT

from .harness import ClipServer


def command(server: ClipServer, *options: str) -> list[str]:
    told = [sys.executable, "-m", "discordfs", "clips", "sync", "--guild", str(server.guild)]
    where = ("--state-dir", str(server.directory.path.parent))
    return [*told, "--fetch-history", "--no-thumbnails", "--rate", "100000", *where, *options]


def environment(server: ClipServer) -> dict[str, str]:
    given = {"DISCORDFS_API": server.discord.address.api, "DISCORD_TOKEN": server.token}
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | given


class Process:
    """`clips sync` as a process."""

    def __init__(self, server: ClipServer, *options: str) -> None:
        self._server = server
        self._before = seen(server)
        self._process = subprocess.Popen(
            command(server, *options),
            cwd=ROOT,
            env=environment(server),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._watch = os.pidfd_open(self._process.pid)

    def wait_for(self, requests: int) -> bool:
        """Until so many requests have come since it began, or there are no more; False when it ended
        before."""
        idle, last = 0, 0
        while last < requests and idle < 100:
            if select.select([self._watch], [], [], 0.005)[0]:
                return False
            now = seen(self._server) - self._before
            idle = 0 if now > last or not now else idle + 1
            last = now
        return True

    def end(self, number: int) -> tuple[int, str]:
        """The exit code, and what it said."""
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        _, told = self._process.communicate(timeout=60)
        os.close(self._watch)
        return self._process.returncode, told.decode()


def seen(server: ClipServer) -> int:
    return sum(server.discord.stats()["requests"].values())


def finished(server: ClipServer) -> None:
    done = subprocess.run(
        command(server),
        cwd=ROOT,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def check(server: ClipServer) -> None:
    """Against the emulator's own tables."""
    server.later()
    finished(server)
    catalogue = Catalogue(server.directory.catalogue, is_reader=True)
    try:
        named = list(catalogue.clips(with_hidden=True))
    finally:
        catalogue.close()
    ids = [each.clip.id for each in named]
    assert len(ids) == len(set(ids))
    assert {each.clip.id for each in named if not each.clip.deleted_ns} == server.truth()
    texts = {message["id"]: message["content"] for message in server.everything()["messages"]}
    for each in named:
        if not each.clip.deleted_ns and not each.clip.is_forwarded:
            assert each.clip.description == texts[str(each.clip.message)]


@pytest.mark.parametrize("requests", [1, 6, 9, 12])
def test_kill_9_and_again_is_the_whole_past(server: ClipServer, requests: int) -> None:
    for number in range(4):
        server.posts(40)
        server.clip(f"{number}.mp4", content=f"number {number}")
    other = server.new_channel("other")
    server.clip(channel=other)
    server.later()
    server.discord.settings(latency_ms=5)
    process = Process(server)
    process.wait_for(requests)
    process.end(signal.SIGKILL)
    check(server)


def test_sigterm_ends_a_live_collection_well(server: ClipServer) -> None:
    server.clip()
    process = Process(server, "--live")
    assert process.wait_for(8)
    code, told = process.end(signal.SIGTERM)
    assert code == 0, told
    assert "Traceback" not in told
    check(server)


def test_sigterm_before_the_end_says_how_to_go_on(server: ClipServer) -> None:
    server.posts(250)
    server.clip()
    server.later()
    server.discord.settings(latency_ms=200)
    process = Process(server)
    assert process.wait_for(7)
    code, told = process.end(signal.SIGTERM)
    assert code == 1, told
    assert "the same command goes on" in told
    assert "Traceback" not in told
    server.discord.settings(latency_ms=0)
    check(server)


class Crowd:
    """People who post, edit and delete at random."""

    def __init__(self, server: ClipServer, chance: random.Random) -> None:
        self._server, self._chance = server, chance
        self._posted: list[dict[str, Any]] = []
        self._channels = [server.channel, server.new_channel("other")]
        self._made = 0

    def act(self) -> None:
        chance = self._chance
        match chance.randrange(8):
            case 0 if self._posted:
                self._server.remove(self._posted.pop(chance.randrange(len(self._posted))))
            case 1 if self._posted:
                self._made += 1
                self._server.edit(chance.choice(self._posted), content=f"edit {self._made}")
            case 2 if self._posted:
                message = chance.choice(self._posted)
                kept = chance.choice(message["attachments"])
                self._server.edit(message, content="fewer", attachments=[{"id": kept["id"]}])
                message["attachments"] = [kept]
            case 3:
                self._server.post("just words", channel=chance.choice(self._channels))
            case 4 if len(self._channels) < 6:
                body = {"name": f"thread {len(self._channels)}", "type": 11}
                made = self._server.ask("POST", f"/channels/{self._channels[1]}/threads", body)
                self._channels.append(int(made["id"]))
            case 5 if self._posted:
                message = chance.choice(self._posted)
                reference = {"type": 1, "message_id": message["id"], "channel_id": message["channel_id"]}
                route = f"/channels/{chance.choice(self._channels)}/messages"
                self._server.ask("POST", route, {"message_reference": reference})
            case _:
                self._made += 1
                names = [f"clip {self._made}.mp4", f"clip {self._made}b.mp4"][: chance.randrange(1, 3)]
                more = {"content": f"text {self._made}", "channel": chance.choice(self._channels)}
                self._posted.append(self._server.upload(*names, **more))


def _campaign(server: ClipServer, rounds: int, seed: int, lag_ms: int = 0) -> None:
    """Posts before, while and after a collection runs that is killed at random, or ended; listings lag by up
    to `lag_ms`."""
    chance = random.Random(seed)
    crowd = Crowd(server, chance)
    for _ in range(40):
        crowd.act()
    server.posts(150)
    server.discord.settings(latency_ms=2, list_lag_ms=lag_ms)
    for _ in range(rounds):
        process = Process(server, "--live")
        for _ in range(chance.randrange(1, 25)):
            crowd.act()
        process.wait_for(chance.randrange(1, 60))
        code, told = process.end(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        assert code in (-signal.SIGKILL, -signal.SIGTERM, 0, 1), told
        for _ in range(chance.randrange(10)):
            crowd.act()
        if chance.random() < 0.5:
            server.later(20)
    check(server)


def test_past_and_present_together_killed_at_random(server: ClipServer) -> None:
    _campaign(server, 4, 1)


def test_listings_that_lag_hide_nothing_for_good(server: ClipServer) -> None:
    _campaign(server, 3, 10, lag_ms=4000)


@pytest.mark.long
@pytest.mark.parametrize("lag_ms", [0, 4000])
@pytest.mark.parametrize("seed", range(2, 8))
def test_past_and_present_together_killed_again_and_again(server: ClipServer, seed: int, lag_ms: int) -> None:
    _campaign(server, 25, seed, lag_ms)


def test_two_at_once_are_refused(server: ClipServer, tmp_path: Path) -> None:
    """They would write over each other."""
    with server.directory.held():
        done = subprocess.run(
            command(server), cwd=ROOT, env=environment(server), capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "another 'discordfs clips'" in done.stderr
