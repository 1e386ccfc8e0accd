"""Makes examples/archive: what a mount shows as archive/ after one run over a channel of the seeded emulator.

    scripts/make_examples.py [DIRECTORY]        (default: examples)

Whoever makes it again gets the same bytes, as a test says: the clocks stand, what the emulator draws by
chance comes from a seed, and the port that it got is written as PORT. Threading: emulator and capture have a
loop and a thread each.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from discordfs.archive import Capture, CaptureSettings, media_kinds
from discordfs.archived.tree import ArchiveTree
from discordfs.archived.views import update_views
from discordfs.emulator.clock import Clock
from discordfs.emulator.seed import seed_server
from discordfs.emulator.server import Emulator
from discordfs.emulator.settings import Settings
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, ARCHIVE, CHANNEL = "examples", "archive", "lounge"
NOW_S = 1_767_268_800  # 2026-01-01 12:00:00 UTC
PORT = 50000
TIMEOUT_S = 60


def main(arguments: list[str]) -> None:
    target = Path(arguments[0] if arguments else ROOT / EXAMPLES).resolve() / ARCHIVE
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        run_of_the_channel(Path(directory))
        update_views(Path(ARCHIVE))
        shutil.rmtree(target, ignore_errors=True)
        copy(ArchiveTree(Path(ARCHIVE)), b"", target)


def run_of_the_channel(directory: Path) -> None:
    with standing(), emulator(directory / "discord") as discord, Loop("archive") as loop:
        address = discord.address
        remote = DiscordRemote(
            address.token, api=address.api, message_content=True, clock=now_ns, elapsed_ns=lambda: 0
        )
        (channel,) = (each.id for each in discord.context.world.channels.values() if each.name == CHANNEL)
        settings = CaptureSettings("channel", (channel,), media=media_kinds("all"), parallel=1)
        here = Path(ARCHIVE)  # relative, as it stands in the run's metadata
        run = Capture(
            *(remote, loop, settings, here),
            api_url=address.api,
            secrets=(address.token,),
            clock=now_ns,
            rng=random.Random(0),
        )
        try:
            result = run.run()
        finally:
            loop.call(remote.close(), TIMEOUT_S)
    port = address.cdn.rpartition(":")[2].encode()
    for path in result.directory.rglob("*.json*"):
        path.write_bytes(re.sub(rb"(?<=127\.0\.0\.1:)" + port, b"%d" % PORT, path.read_bytes()))


def now_ns() -> int:
    return NOW_S * 1_000_000_000


@contextlib.contextmanager
def standing() -> Iterator[None]:
    """Within it the time is NOW_S, and chance comes from a seed."""
    chance = random.Random(0)
    with (
        patch("time.time", lambda: float(NOW_S)),
        patch("discordfs.emulator.server.Clock", lambda *_: Clock(NOW_S, monotonic=lambda: 0.0)),
        patch("secrets.token_hex", lambda size: chance.randbytes(size).hex()),
        patch("secrets.token_urlsafe", lambda size: chance.randbytes(size).hex()),
    ):
        yield


@contextlib.contextmanager
def emulator(directory: Path) -> Iterator[Emulator]:
    discord = Emulator(directory, Settings().changed({"rate_limits": False}))
    with Loop("emulator") as loop:
        loop.call(discord.start(), TIMEOUT_S)
        try:
            loop.call(seed_server(discord.context), TIMEOUT_S)
            yield discord
        finally:
            loop.call(discord.stop(), TIMEOUT_S)


def copy(tree: ArchiveTree, path: bytes, target: Path) -> None:
    target.mkdir(parents=True)
    for entry in tree.readdir(path):
        below, place = path + b"/" + entry.name, target / entry.name.decode()
        if tree.getattr(below).is_dir:
            copy(tree, below, place)
        else:
            handle = tree.open(below).handle
            place.write_bytes(tree.read(handle, tree.fgetattr(handle).size, 0))
            tree.release(handle)


if __name__ == "__main__":
    main(sys.argv[1:])
