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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import platformdirs

from discordfs.disk import finish_database
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

DEFAULT_GC_GRACE_S = 3600.0
DEFAULT_SWEEP_EVERY_S = 86_400.0
DEFAULT_VERIFY_PERCENT = 1.0

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of "10G", "512M", "4096". Raises ConfigError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no size: write it like 512M or 10G")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_duration(text: str) -> float:
    """Seconds of "90", "90s", "15m", "1h", "1d". Raises ConfigError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no time: write it like 90s, 15m, 1h or 1d")
    return float(match[1]) * _SECONDS[match[2].lower()]


def parse_percent(text: str) -> float:
    """The number of "1", "0.5", "10%". Raises ConfigError."""
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        raise ConfigError(f"{text!r} is no percentage: write it like 1 or 0.5") from None
    if not 0 <= percent <= 100:
        raise ConfigError(f"{text!r} is no percentage: it is 0 to 100")
    return percent


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
    """What a user may set in config.toml under [settings], and by -o. None: the default. `gc_grace` and
    `sweep_every` in seconds, `verify_percent` of the chunks a day."""

    cache_size: int | None = None
    staging_size: int | None = None
    fsync: str = "local"
    views: str = "archive+clips"
    gc_grace: float = DEFAULT_GC_GRACE_S
    sweep_every: float = DEFAULT_SWEEP_EVERY_S
    verify_percent: float = DEFAULT_VERIFY_PERCENT

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
    def archive(self) -> Path:
        return self.path / "archive"

    @property
    def clips(self) -> Path:
        return self.path / "clips"

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
    """Held while a process owns a state directory; the kernel drops it when the process dies. The index is
    the one that is meant to be there, also when the one before died as it replaced it.

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
        finish_database(state.index_file)

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
    if unknown := sorted(set(data) - set(_PARSERS)):
        raise ConfigError(f"unknown setting {unknown[0]}; known: {', '.join(sorted(_PARSERS))}")
    return settings_with(Settings(), {name: str(value) for name, value in data.items()})


_PARSERS: dict[str, Callable[[str], Any]] = {
    "cache_size": parse_size,
    "staging_size": parse_size,
    "fsync": str,
    "views": str,
    "gc_grace": parse_duration,
    "sweep_every": parse_duration,
    "verify_percent": parse_percent,
}
"""Each setting, and what reads its text."""


def settings_with(settings: Settings, given: Mapping[str, str]) -> Settings:
    """`settings` with these values (as text) in their place. Raises ConfigError."""
    values: dict[str, Any] = {name: _PARSERS[name](text) for name, text in given.items()}
    return replace(settings, **values)


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
    """All that are set, but what only repeats a default that may be another one in a later release."""
    values = {name: getattr(settings, name) for name in _PARSERS}
    usual = {name: getattr(Settings(), name) for name in _PARSERS if name not in ("fsync", "views")}
    return {name: value for name, value in values.items() if name not in usual or value != usual[name]}


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
