"""What the clips' commands share: where they are, the token and the server to ask. Threading: the main
thread."""

from __future__ import annotations

import os
from pathlib import Path

import dotenv

from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.place import ClipsDirectory
from discordfs.config import DISCORD_API, StateDirectory, api_of
from discordfs.errors import ConfigError, MissingError
from discordfs.tokens import Token, find_token

CLIPS = "clips"


def directory_of(state: StateDirectory) -> ClipsDirectory:
    return ClipsDirectory(state.path / CLIPS)


def catalogue_to_read(directory: ClipsDirectory) -> Catalogue:
    """Raises MissingError when nothing was ever collected."""
    if not directory.catalogue.exists():
        raise MissingError(f"there are no clips in {directory.path}: 'discordfs clips sync' collects some")
    return Catalogue(directory.catalogue, is_reader=True)


def api_for(state: StateDirectory) -> str:
    """The one of the volume, where there is one."""
    configured = state.load().volume.api if state.has_volume() else ""
    return api_of(os.environ, configured or DISCORD_API)


def token_for(state: StateDirectory, directory: Path = Path()) -> Token:
    """As all commands find it, and last the TOKEN of .env, as the predecessor's users have it."""
    try:
        return find_token(os.environ, state.path, directory=directory)
    except ConfigError as error:
        file = directory / ".env"
        value = dotenv.dotenv_values(file).get("TOKEN") if file.is_file() else None
        if value is None or "no bot token" not in str(error):
            raise
        if not value.strip():
            raise ConfigError(f"TOKEN in {file} is empty: write the bot's token there") from None
        return Token(value.strip(), str(file))
