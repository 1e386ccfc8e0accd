"""Settings: the state directory, its lock, config.toml, sizes with units.

Limits: one volume a state directory. config.toml holds no secret. A newer format is refused before
anything is touched.
Threading: values are frozen; StateLock belongs to whoever made it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import platformdirs

from discordfs.errors import BusyError, ConfigError, FormatError, MissingError

FORMAT = 1
"""The format of config.toml that this release writes, and the newest that it reads."""

STATE_DIR_VARIABLE = "DISCORDFS_STATE_DIR"
API_VARIABLE = "DISCORDFS_API"
DISCORD_API = "https://discord.com/api/v10"

DEFAULT_CACHE_SIZE = 10 * 1024**3
DEFAULT_STAGING_SIZE = 20 * 1024**3
"""Bytes; each is also bounded to a quarter of what is free, so that a full disk is never our doing."""

SMALLEST_STAGING_SIZE = 8 * 1024**2
"""Bytes; a chunk is sealed while its extents still lie in staging, so there is room for two at least."""

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of "10G", "512M", "4096". Raises ConfigError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no size: write it like 512M or 10G")
    return int(match[1]) * _UNITS[match[2].upper()]


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Where state lives unless told otherwise (DISCORDFS_STATE_DIR, else the platform's place)."""
    given = environment.get(STATE_DIR_VARIABLE)
    return Path(given) if given else Path(platformdirs.user_state_dir("discordfs"))


def api_of(environment: Mapping[str, str], configured: str = DISCORD_API) -> str:
    """The base URL to talk to: DISCORDFS_API, else what the volume was made with."""
    return environment.get(API_VARIABLE, "").rstrip("/") or configured


@dataclass(frozen=True, slots=True)
class Volume:
    """One drive, as config.toml has it. `id` is 16 bytes in hex; `api` is empty for a demo, whose emulator
    says at each start where it is."""

    id: str
    name: str
    api: str
    guild: int
    log_channel: int
    data_channels: tuple[int, ...]
    demo: bool = False

    @property
    def uid(self) -> bytes:
        return bytes.fromhex(self.id)

    @property
    def channels(self) -> tuple[int, ...]:
        """All channels, the log first."""
        return (self.log_channel, *(each for each in self.data_channels if each != self.log_channel))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may set in config.toml under [settings], and by -o. None: the default."""

    cache_size: int | None = None
    staging_size: int | None = None
    fsync: str = "local"
    views: str = "archive+clips"

    def __post_init__(self) -> None:
        if self.fsync not in ("local", "remote"):
            raise ConfigError(f"fsync={self.fsync}: it is local or remote")
        if self.views not in ("archive+clips", "none"):
            raise ConfigError(f"views={self.views}: it is archive+clips or none")
        if self.staging_size is not None and self.staging_size < SMALLEST_STAGING_SIZE:
            raise ConfigError(f"staging_size={self.staging_size}: it is at least 8M")

    def cache_bytes(self, free: int) -> int:
        """Bytes the block cache may take on a disk with `free` bytes."""
        return min(self.cache_size if self.cache_size is not None else DEFAULT_CACHE_SIZE, free // 4)

    def staging_bytes(self, free: int) -> int:
        """Bytes staging may take; never less than what a chunk needs."""
        wanted = self.staging_size if self.staging_size is not None else DEFAULT_STAGING_SIZE
        return max(SMALLEST_STAGING_SIZE, min(wanted, free // 4))


@dataclass(frozen=True, slots=True)
class Config:
    """config.toml, read."""

    volume: Volume
    settings: Settings


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The paths of a state directory; making one touches nothing."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.toml"

    @property
    def key_file(self) -> Path:
        return self.path / "key"

    @property
    def index_file(self) -> Path:
        return self.path / "index.sqlite"

    @property
    def staging(self) -> Path:
        return self.path / "staging"

    @property
    def outbox(self) -> Path:
        return self.path / "outbox"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def emulator(self) -> Path:
        return self.path / "emulator"

    @property
    def log_file(self) -> Path:
        return self.path / "discordfs.log"

    def has_volume(self) -> bool:
        return self.config_file.exists()

    def create(self) -> None:
        """Makes the directory (0700) if it is not there. Raises ConfigError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the state directory {self.path} cannot be made: {error.strerror}") from error

    def free_bytes(self) -> int:
        """Free bytes of its disk, what our own cache takes counted as free."""
        ours = sum(_disk_bytes(path) for path in (self.cache, self.staging))
        return shutil.disk_usage(self.path).free + ours

    def load(self) -> Config:
        """Raises MissingError (no volume here), FormatError (a newer release's), ConfigError."""
        try:
            text = self.config_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise MissingError(
                f"there is no volume in {self.path}: make one with 'discordfs init', or add --demo"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.config_file} cannot be read: {error}") from error
        return _parse(text, self.config_file)

    def save(self, config: Config) -> None:
        """Writes config.toml, whole or not at all, on disk when this returns."""
        draft = self.config_file.with_suffix(".toml.tmp")
        with open(draft, "w", encoding="utf-8") as file:
            file.write(_format(config))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.config_file)


class StateLock:
    """Held while a process owns a state directory; the kernel drops it when the process dies.

    Raises BusyError when another process has it."""

    def __init__(self, state: StateDirectory) -> None:
        self._file = open(state.path / "lock", "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise BusyError(
                f"the state directory {state.path} is in use by another mount: "
                "unmount that first, or choose another with --state-dir"
            ) from None

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _disk_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


# --- config.toml --------------------------------------------------------------------------------------


def _parse(text: str, path: Path) -> Config:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    number = data.get("format")
    if not isinstance(number, int):
        raise ConfigError(f"{path} names no format")
    if number > FORMAT:
        raise FormatError(
            f"{path} has format {number}, a newer discordfs made it; this one knows up to {FORMAT}: upgrade"
        )
    try:
        return Config(_volume(data["volume"]), _settings(data.get("settings", {})))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is incomplete or wrong: {error}") from error


def _volume(data: Mapping[str, Any]) -> Volume:
    if len(bytes.fromhex(data["id"])) != 16:
        raise ValueError("volume.id has 32 hex digits")
    return Volume(
        id=data["id"],
        name=str(data["name"]),
        api=str(data["api"]),
        guild=int(data["guild"]),
        log_channel=int(data["log_channel"]),
        data_channels=tuple(int(each) for each in data["data_channels"]),
        demo=bool(data.get("demo", False)),
    )


def _settings(data: Mapping[str, Any]) -> Settings:
    known = {"cache_size", "staging_size", "fsync", "views"}
    if unknown := sorted(set(data) - known):
        raise ConfigError(f"unknown setting {unknown[0]}; known: {', '.join(sorted(known))}")
    return settings_with(Settings(), {name: str(value) for name, value in data.items()})


def settings_with(settings: Settings, given: Mapping[str, str]) -> Settings:
    """`settings` with these values (as text) in their place. Raises ConfigError."""
    values: dict[str, Any] = {
        "cache_size": settings.cache_size,
        "staging_size": settings.staging_size,
        "fsync": settings.fsync,
        "views": settings.views,
    }
    for name, text in given.items():
        values[name] = parse_size(text) if name.endswith("_size") else text
    return Settings(**values)


def _format(config: Config) -> str:
    volume, settings = config.volume, config.settings
    lines = [
        "# A discordfs volume. The key lies beside this file; without it nobody reads the volume.",
        f"format = {FORMAT}",
        "",
        "[volume]",
        f"id = {_quote(volume.id)}",
        f"name = {_quote(volume.name)}",
        f"api = {_quote(volume.api)}",
        f"guild = {volume.guild}",
        f"log_channel = {volume.log_channel}",
        f"data_channels = [{', '.join(map(str, volume.data_channels))}]",
        f"demo = {'true' if volume.demo else 'false'}",
        "",
        "[settings]",
        *(f"{name} = {_quote(str(value))}" for name, value in _chosen(settings).items()),
    ]
    return "\n".join(lines) + "\n"


def _chosen(settings: Settings) -> dict[str, int | str]:
    sizes = {"cache_size": settings.cache_size, "staging_size": settings.staging_size}
    chosen: dict[str, int | str] = {name: size for name, size in sizes.items() if size is not None}
    return chosen | {"fsync": settings.fsync, "views": settings.views}


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
