"""Making a volume: channels, key, config.toml. `init` does it on Discord, `mount --demo` on the emulator.

Threading: the main thread; Discord is asked through a loop that lives as long as the call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from discordfs.compose import Account
from discordfs.config import Config, Settings, StateDirectory, Volume
from discordfs.errors import ConfigError, DiscordfsError, Forbidden, MissingError
from discordfs.keys import VOLUME_SIZE, KeyFile, Protection, new_master, write_key_file
from discordfs.remote import setup
from discordfs.remote.base import Api
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import RetryingApi

CHANNEL_NAMES = ("discordfs-log", *(f"discordfs-data-{number}" for number in range(1, 5)))
"""The log, and four to post to: Discord takes about one message a second in each."""

ASK_TIMEOUT_S = 120.0


@contextmanager
def asking(account: Account) -> Iterator[Callable[[Callable[[Api], Coroutine[Any, Any, Any]]], Any]]:
    """Gives ask(question): a coroutine of an Api, carried out, its answer returned."""
    with Loop("discordfs-init") as loop:
        remote = DiscordRemote(account.token.reveal(), api=account.api, shared_directory=account.shared)
        api = RetryingApi(remote)
        try:
            yield lambda question: loop.call(question(api), ASK_TIMEOUT_S)
        finally:
            loop.call(remote.close(), ASK_TIMEOUT_S)


def choose_channels(account: Account, given: Sequence[int], guild: int | None) -> tuple[int, list[int]]:
    """(server, channels), the log first: those given once they were checked, else new ones. Nothing is
    made when something is missing. Raises Unauthorized, MissingError, Forbidden, ConfigError."""
    with asking(account) as ask:
        ask(setup.who_am_i)
        if given:
            return _check_given(ask, given)
        server = _choose_guild(ask(setup.find_guilds), guild)
        return server, ask(lambda api: setup.make_channels(api, server, CHANNEL_NAMES))


def make_data_channels(api: Api, guild: int) -> Coroutine[Any, Any, list[int]]:
    """Makes the channels but the log."""
    return setup.make_channels(api, guild, CHANNEL_NAMES[1:])


def _check_given(ask: Callable[..., Any], channels: Sequence[int]) -> tuple[int, list[int]]:
    for channel in channels:
        problems = ask(lambda api, channel=channel: setup.check_channel(api, channel))
        if problems:
            kind = MissingError if "does not exist" in problems[0] else Forbidden
            raise kind("; ".join(problems))
    found = ask(lambda api: api.request("GET", f"/channels/{channels[0]}"))
    return int(found["guild_id"]), list(channels)


def _choose_guild(guilds: Sequence[setup.Guild], wanted: int | None) -> int:
    ids = [guild.id for guild in guilds]
    if wanted is not None:
        if wanted not in ids:
            raise MissingError(f"the bot is in no server {wanted}: invite it there first")
        return wanted
    if not guilds:
        raise MissingError("the bot is in no server yet: invite it to one first (the README says how)")
    if len(guilds) > 1:
        names = ", ".join(f"{guild.id} ({guild.name})" for guild in guilds)
        raise ConfigError(f"the bot is in several servers, choose one with --guild: {names}")
    return ids[0]


def check_free(state: StateDirectory) -> None:
    """Raises ConfigError when there is a volume, or a key of one, in this state directory already."""
    if state.config_file.exists():
        raise ConfigError(
            f"{state.config_file} exists already: choose another --state-dir for another volume"
        )
    if state.key_file.exists():
        raise ConfigError(
            f"{state.key_file} exists already, without config.toml: 'discordfs recover' brings the volume "
            "back that it opens; one of an 'init' that never came to its end opens none, and may be removed"
        )


def new_key() -> KeyFile:
    """A new volume's id and key."""
    return KeyFile(os.urandom(VOLUME_SIZE), new_master(os.urandom))


def make_volume(
    state: StateDirectory,
    guild: int,
    channels: Sequence[int],
    key: KeyFile,
    *,
    api: str,
    name: str,
    protected: Protection | None = None,
    demo: bool = False,
) -> Config:
    """Writes key and config.toml. The key first: a volume without its key must never be. With one channel
    it is log and data in one."""
    if not channels:
        raise DiscordfsError("a volume needs a channel")
    write_key_file(state.key_file, key, protected=protected)
    data = tuple(channels[1:]) or (channels[0],)
    config = Config(Volume(key.volume.hex(), name, api, guild, channels[0], data, demo), Settings())
    state.save(config)
    return config
