"""A hundred thousand clips: collected as fast as Discord's limits let it, in little memory."""

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
RATE = 50
"""Requests that Discord allows a second."""

START_S = 4.0
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


def collect(server: ClipServer, *options: str) -> tuple[int, float]:
    """(kB of memory at most, seconds of a processor) of a collection in a process of its own."""
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
    return int(memory), float(seconds)


def check(server: ClipServer, clips: int) -> None:
    """All of them; and this machine never waits for us: a page of 100 takes less of a processor than the
    limits give time for."""
    fill(server, clips)
    memory, seconds = collect(server, "--fetch-history")
    print(f"{clips} clips: {memory} kB, {seconds:.1f} s of a processor")
    catalogue = Catalogue(server.directory.catalogue, is_reader=True)
    try:
        assert catalogue.counts()["clips"] == clips
    finally:
        catalogue.close()
    assert memory < 300_000
    assert seconds < START_S + clips / 100 / RATE


def test_ten_thousand_clips(server: ClipServer) -> None:
    check(server, 10_000)


@pytest.mark.long
def test_a_hundred_thousand_clips(server: ClipServer) -> None:
    check(server, 100_000)
    memory, seconds = collect(server, "--window", "0s")
    assert memory < 300_000
    assert seconds < START_S, "what is known is not asked for again"
