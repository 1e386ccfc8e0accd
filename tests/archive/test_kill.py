"""Whatever kills a capture, it goes on from there, and in the end everything is there."""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from discordfs.capture.recordfile import RecordFile
from tests.mounting import ROOT

from .harness import Server, lines_of

MESSAGES = 450


def command(server: Server, *options: str) -> list[str]:
    told = [
        sys.executable,
        "-m",
        "discordfs",
        "archive",
        "-o",
        str(server.root),
        "--rate",
        "100000",
        *options,
    ]
    return [*told, "--resume", "guild", str(server.guild)]


def environment(server: Server) -> dict[str, str]:
    given = {"DISCORDFS_API": server.discord.address.api, "DISCORD_TOKEN": server.token}
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | given


def killed_at(server: Server, requests: int, *options: str) -> bool:
    """Kills the capture when so many requests have come since it began; False when it ended before."""
    before = seen(server)
    process = subprocess.Popen(
        command(server, *options), cwd=ROOT, env=environment(server), stdout=subprocess.DEVNULL
    )
    watch = os.pidfd_open(process.pid)
    try:
        while seen(server) - before < requests:
            if select.select([watch], [], [], 0.005)[0]:
                return False
        os.kill(process.pid, signal.SIGKILL)
        return True
    finally:
        os.close(watch)
        process.wait()


def seen(server: Server) -> int:
    return sum(server.discord.stats()["requests"].values())


def finished(server: Server, *options: str) -> Path:
    done = subprocess.run(
        command(server, *options),
        cwd=ROOT,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def union(path: Path, channel: int) -> set[int]:
    """Ids of all messages in a channel's file; every line has to be whole."""
    found = set()
    for file in path.rglob(f"{channel}.jsonl*"):
        for line in lines_of(file):
            record = json.loads(line)
            if record["request"]["url"].endswith("/messages") and isinstance(
                record["response"]["data"], list
            ):
                found |= {int(each["id"]) for each in record["response"]["data"]}
    return found


def fill(server: Server) -> dict[int, set[int]]:
    """Two channels with messages, some with reactions."""
    other = server.new_channel("other")
    said = {server.channel: set(server.posts(MESSAGES)), other: set(server.posts(40, channel=other))}
    for each in sorted(said[server.channel])[::40]:
        server.react(each, "👍")
    server.later()
    return said


def check(server: Server, said: dict[int, set[int]], path: Path) -> None:
    assert [each.name for each in server.root.glob("2*")] == [path.name], "it went on in the same directory"
    for channel, ids in said.items():
        assert union(path, channel) == ids
        coverage = json.loads((path / "coverage.json").read_text())["channels"][str(channel)]
        assert len(coverage["ranges"]) == 1
        assert coverage["oldest"]
    meta = json.loads((path / "run.meta.json").read_text())
    assert meta["summary"]["num_messages"] == sum(map(len, said.values()))
    records = [json.loads(line) for file in path.rglob("*.jsonl*") for line in lines_of(file)]
    assert meta["summary"]["num_http_requests"] == sum(each["type"] == "http" for each in records)


@pytest.mark.parametrize("options", [(), ("--gzip",)], ids=["plain", "gzip"])
@pytest.mark.parametrize("requests", [1, 12, 20, 25])
def test_kill_9_and_resume_is_a_whole_run(server: Server, options: tuple[str, ...], requests: int) -> None:
    said = fill(server)
    server.discord.settings(latency_ms=5)
    killed_at(server, requests, *options)
    check(server, said, finished(server, *options))


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--gzip",)], ids=["plain", "gzip"])
def test_kill_9_at_fifty_random_moments(server: Server, options: tuple[str, ...]) -> None:
    said = fill(server)
    server.discord.settings(latency_ms=5)
    chance = random.Random(4)
    for _ in range(25):
        killed_at(server, chance.randrange(1, 30), *options)
        if not list(server.root.glob("*/state.json")):
            for path in server.root.iterdir():
                check(server, said, path)
                path.rename(server.root.parent / f"{path.name}-{chance.random()}")
    check(server, said, finished(server, *options))


def test_ctrl_c_ends_a_run_so_that_it_says_why_and_can_be_gone_on_with(server: Server) -> None:
    said = fill(server)
    server.discord.settings(latency_ms=20)
    before = seen(server)
    process = subprocess.Popen(
        command(server),
        cwd=ROOT,
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while seen(server) - before < 18:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    told, complained = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--resume" in complained
    assert "Traceback" not in complained
    meta = json.loads((Path(told.strip()) / "run.meta.json").read_text())["run"]
    assert (meta["finished"], meta["completed"], meta["errors"]) == (True, False, True)
    assert meta["exception"] == "KeyboardInterrupt: "
    check(server, said, finished(server))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_is_read_to_its_last_whole_commit(tmp_path: Path, compressed: bool) -> None:
    """As a kill in the middle of a write leaves it, or a disk that was full."""
    file = RecordFile(tmp_path / "x.jsonl", compressed)
    file.open()
    ends = [0]
    for number in range(5):
        file.add(f'{{"type": "http", "number": {number}}}')
        file.commit()
        ends.append(file.size)
    file.close()
    whole = file.path.read_bytes()
    for cut in range(len(whole) + 1):
        file.path.write_bytes(whole[:cut])
        again = RecordFile(tmp_path / "x.jsonl", compressed)
        again.open()
        kept = max(number for number, end in enumerate(ends) if end <= cut)
        assert (again.http, again.size) == (kept, ends[kept])
        again.add('{"type": "ws", "number": "last"}')
        again.close()
        lines = list(lines_of(again.path))
        assert len(lines) == kept + 1
        assert json.loads(lines[-1])["number"] == "last"


@pytest.mark.parametrize("compressed", [False, True])
def test_a_full_disk_leaves_no_half_record_behind(tmp_path: Path, compressed: bool) -> None:
    """What is written once there is room again must not follow it."""
    file = RecordFile(tmp_path / "x.jsonl", compressed)
    file.open()
    file.add('{"type": "http", "number": 1}')
    file.commit()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.size + 10, before[1]))
    try:
        file.add(f'{{"type": "http", "number": "{random.Random(1).randbytes(400).hex()}"}}')
        with pytest.raises(OSError):
            file.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    file.add('{"type": "http", "number": 3}')
    file.close()
    assert [json.loads(line)["number"] for line in lines_of(file.path)] == [1, 3]
