"""Where a bot's token comes from, and that it goes nowhere else.

Sources, the first that has one: DISCORD_TOKEN, the file named by DISCORD_TOKEN_FILE (or the option
token_file), the keyring (optional extra), `token` in the state directory (only if 0600), `.env` in the
current directory. Threading: values are frozen.
"""

from __future__ import annotations

import importlib
import logging
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import dotenv

from discordfs.errors import ConfigError

TOKEN_VARIABLE = "DISCORD_TOKEN"
TOKEN_FILE_VARIABLE = "DISCORD_TOKEN_FILE"
KEYRING_SERVICE = "discordfs"

_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Token:
    """A token; only `reveal` shows it. `source` says where it was found."""

    _secret: str = field(repr=False)
    source: str

    def reveal(self) -> str:
        return self._secret


def find_token(
    environment: Mapping[str, str],
    state_dir: Path,
    volume: str = "",
    token_file: Path | None = None,
    directory: Path = Path(),
) -> Token:
    """The token to use. `token_file` goes before everything else; `directory` is the one that the command was
    run in, where `.env` is. Raises ConfigError, which names all the places where there was none."""
    if token_file is not None:
        return _from_file(token_file)
    if environment.get(TOKEN_VARIABLE):
        return _token(environment[TOKEN_VARIABLE], TOKEN_VARIABLE)
    if environment.get(TOKEN_FILE_VARIABLE):
        return _from_file(directory / environment[TOKEN_FILE_VARIABLE])
    found = _from_keyring(volume) or _from_state(state_dir) or _from_dotenv(directory / ".env")
    if found is None:
        raise ConfigError(
            "no bot token: set DISCORD_TOKEN or DISCORD_TOKEN_FILE "
            f"(also looked in the keyring, {state_dir / 'token'} and .env)"
        )
    return found


def _token(text: str, source: str) -> Token:
    text = text.strip()
    if not _PRINTABLE.fullmatch(text):
        raise ConfigError(f"the token in {source} is empty or has characters that no token has")
    return Token(text, source)


def _from_file(path: Path) -> Token:
    try:
        return _token(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"the token file {path} cannot be read: {reason}") from None


def _from_state(state_dir: Path) -> Token | None:
    path = state_dir / "token"
    if not path.exists():
        return None
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path} can be read by others, so it is not used: chmod 600 {path}")
    return _from_file(path)


def _from_dotenv(path: Path) -> Token | None:
    value = dotenv.dotenv_values(path).get(TOKEN_VARIABLE) if path.is_file() else None
    return _token(value, str(path)) if value else None


def _keyring() -> ModuleType | None:
    try:
        return importlib.import_module("keyring")
    except ImportError:
        return None


def _from_keyring(volume: str) -> Token | None:
    """Optional: the extra `keyring`. A keyring that cannot be opened is passed over, and said so."""
    keyring = _keyring()
    if keyring is None:
        return None
    try:
        value = keyring.get_password(KEYRING_SERVICE, volume or "token")
    except Exception as error:  # noqa: BLE001  # each backend has errors of its own
        logging.getLogger(__name__).info("the keyring cannot be read: %s", error)
        return None
    return _token(value, "the keyring") if value else None


class ScrubbingFormatter(logging.Formatter):
    """A log format that no token gets through, wherever in a record it stands, tracebacks included. Any
    thread may add another."""

    def __init__(self, text: str, secret: str) -> None:
        super().__init__(text)
        self._secrets: tuple[str, ...] = ()
        self.add(secret)

    def add(self, secret: str) -> None:
        """From now on this one does not get through either. The longest is looked for first, as one token may
        begin as another does."""
        self._secrets = tuple(sorted({*self._secrets, secret} - {""}, key=len, reverse=True))

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "[token]")
        return line
