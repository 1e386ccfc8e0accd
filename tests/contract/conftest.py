"""Fixtures: each kind of store, and an emulator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop

from .harness import Discord, Rig, discord_on_loopback, remote, rig_of_kind

KINDS = ["memory", "memory-retrying", "emulator", "emulator-retrying"]
if os.environ.get("DISCORDFS_LIVE_TOKEN") and os.environ.get("DISCORDFS_LIVE_CHANNEL"):
    KINDS.append("live-retrying")


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.live if "live" in kind else ()) for kind in KINDS]
)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with rig_of_kind(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def discord(tmp_path: Path) -> Iterator[Discord]:
    with discord_on_loopback(tmp_path / "discord") as running:
        yield running


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as running:
        yield running


@pytest.fixture
def bot(discord: Discord, loop: Loop) -> Iterator[DiscordRemote]:
    """discord.py's store, bare."""
    with remote(discord, loop) as store:
        yield store


@pytest.fixture
def bare(discord: Discord, loop: Loop, bot: DiscordRemote, tmp_path: Path) -> Rig:
    """The same, with the means to post and read in one line."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    return Rig(bot, loop, discord.channels[0], uploads)
