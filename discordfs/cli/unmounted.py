"""A volume that is not mounted, for commands that need its parts for a while: a demo's with its emulator.

Threading: the main thread.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from discordfs.cli.demo import DemoServer
from discordfs.cli.passphrase import unlock
from discordfs.compose import Account, check_token
from discordfs.config import Config, StateDirectory, StateLock, api_of
from discordfs.errors import RateLimited, TimedOut, Unavailable
from discordfs.keys import VolumeKeys
from discordfs.registry import runtime_dir
from discordfs.tokens import Token, find_token


@dataclass(frozen=True, slots=True)
class Unmounted:
    """What opening the volume takes."""

    config: Config
    account: Account
    keys: VolumeKeys
    is_reachable: bool = True


def take(
    state: StateDirectory, passphrase_file: Path | None, undo: ExitStack, *, must_answer: bool = True
) -> Unmounted:
    """Locks the state directory until `undo` ends, finds token and key, and asks Discord whether the token is
    good. Raises MissingError, BusyError, ConfigError, Unauthorized; Unavailable and TimedOut if Discord
    `must_answer`."""
    config = state.load()
    undo.enter_context(StateLock(state))
    key = unlock(state.key_file, config.volume.uid, passphrase_file, "--passphrase-file")
    account = _demo_account(state, undo) if config.volume.demo else _account(state, config)
    is_reachable = True
    try:
        check_token(account)
    except (Unavailable, RateLimited, TimedOut):
        if must_answer:
            raise
        is_reachable = False
    return Unmounted(config, account, VolumeKeys(key.master), is_reachable)


def _account(state: StateDirectory, config: Config) -> Account:
    token = find_token(os.environ, state.path, config.volume.id)
    return Account(api_of(os.environ, config.volume.api), token, runtime_dir(os.geteuid()))


def _demo_account(state: StateDirectory, undo: ExitStack) -> Account:
    output = undo.enter_context((state.path / "emulator.log").open("ab"))
    address = undo.enter_context(DemoServer(state.emulator, output)).start()
    return Account(address.api, Token(address.token, "the emulator"), None)
