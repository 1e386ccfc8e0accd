"""A hundred thousand clips: collected with few requests, in little memory."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from discordfs.clipping.catalogue import Catalogue
from tests.mounting import ROOT

from .harness import ClipServer
from .test_kill import environment

CHANNELS = 20
ELSEWHERE = 15 + 5 * CHANNELS
"""Requests that are for no page: who one is, the server; of each channel archived threads, beginning and
end."""

PROGRAM = (
    "import resource, sys; from discordfs.cli import main; code = main(sys.argv[1:]);"
    " most = open('/proc/self/status').read().split('VmHWM:')[1].split()[0];"
    " used = resource.getrusage(resource.RUSAGE_SELF); print(most, used.ru_utime + used.ru_stime);"
    " sys.exit(code)"
)
"""The resident size that rusage tells would be that of the process which started this one."""


def fill(server: ClipServer, clips: int) -> None:
    """Channels in which each message has a video, put past the API into the emulator's own tables."""
    server.discord.control("POST", "/fill", {"channels": CHANNELS, "count": clips // CHANNELS})
    database = sqlite3.connect(server.root.parent / "discord" / "emulator.sqlite", isolation_level=None)
    try:
        database.execute(
            "INSERT INTO attachments (id, message_id, channel_id, filename, size, content_type)"
            " SELECT id, id, channel_id, 'clip-' || id || '.mp4', 1000000, 'video/mp4' FROM messages"
        )
    finally:
        database.close()
    server.later()


def collect(server: ClipServer, *options: str) -> int:
    """How many requests a collection in a process of its own takes; in little memory."""
    before = requests(server)
    state = server.directory.path.parent
    arguments = ["clips", "sync", "--guild", str(server.guild), "--state-dir", str(state), "--no-thumbnails"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--rate", "100000", *options],
        cwd=ROOT,
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    memory, seconds = done.stdout.split()[-2:]
    print(f"{memory} kB, {float(seconds):.1f} s of a processor")
    assert int(memory) < 300_000
    return requests(server) - before


def requests(server: ClipServer) -> int:
    return sum(server.discord.control("GET", "/stats")["requests"].values())


def check(server: ClipServer, clips: int) -> None:
    """All of them, a hundred with one request."""
    fill(server, clips)
    asked = collect(server, "--fetch-history")
    catalogue = Catalogue(server.directory.catalogue, is_reader=True)
    try:
        assert catalogue.counts()["clips"] == clips
    finally:
        catalogue.close()
    assert asked <= clips // 100 + ELSEWHERE


def test_ten_thousand_clips(server: ClipServer) -> None:
    check(server, 10_000)


@pytest.mark.long
def test_a_hundred_thousand_clips(server: ClipServer) -> None:
    check(server, 100_000)
    asked = collect(server, "--window", "0s")
    assert asked <= ELSEWHERE, "what is known is not asked for again"
