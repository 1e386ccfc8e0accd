"""The `-o` of mount(8) and fstab(5): which options there are, and who they are for.

Threading: values are frozen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from discordfs.config import Settings, settings_with
from discordfs.errors import UsageError

KERNEL_FLAGS = frozenset(
    {"ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync"}
    | {"atime", "noatime", "allow_other", "allow_root"}
)
"""Handed on to libfuse as they are."""

KERNEL_NUMBERS = {"uid": 10, "gid": 10, "umask": 8}
"""Handed on to libfuse with a number in this base; they change the view only."""

IGNORED = frozenset(
    {"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev", "nofail"}
    | {"relatime", "norelatime", "diratime", "nodiratime", "strictatime", "lazytime", "nolazytime"}
    | {"default_permissions"}
)
"""For mount(8), systemd or the kernel's defaults: taken, as fstab lines have them, and of no effect here."""

OUR_SETTINGS = frozenset(
    {"cache_size", "staging_size", "fsync", "views", "gc_grace", "sweep_every", "verify_percent"}
)
OUR_PATHS = frozenset({"state_dir", "token_file", "passphrase_file"})


@dataclass(frozen=True, slots=True)
class Options:
    """-o, read. `kernel` goes to libfuse, `settings` are ours, as text."""

    kernel: tuple[tuple[str, str | bool], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    state_dir: Path | None = None
    token_file: Path | None = None
    passphrase_file: Path | None = None

    def applied_to(self, settings: Settings) -> Settings:
        """config.toml's settings with these over them. Raises ConfigError."""
        return settings_with(settings, dict(self.settings))


def parse_options(texts: Iterable[str]) -> Options:
    """Options of one or more `-o a,b=c`. Raises UsageError at the first unknown or malformed one."""
    options = Options()
    for text in texts:
        for item in filter(None, text.split(",")):
            options = _with(options, item)
    options.applied_to(Settings())
    return options


def _with(options: Options, item: str) -> Options:
    name, sign, value = item.partition("=")
    if name in IGNORED or name.startswith(("x-", "comment")):
        return options
    if name in KERNEL_FLAGS and not sign:
        return replace(options, kernel=(*options.kernel, (name, True)))
    if name in KERNEL_NUMBERS and sign:
        return replace(options, kernel=(*options.kernel, (name, _number(item, value, KERNEL_NUMBERS[name]))))
    if name in OUR_SETTINGS and value:
        return replace(options, settings=(*options.settings, (name, value)))
    if name in OUR_PATHS and value:
        return _with_path(options, name, Path(value).expanduser())
    known = sorted(KERNEL_FLAGS | set(KERNEL_NUMBERS) | IGNORED | OUR_SETTINGS | OUR_PATHS)
    if name in known:
        raise UsageError(f"mount option {item!r}: {name} {'takes no value' if sign else 'needs a value'}")
    raise UsageError(f"unknown mount option {item!r}; known: {', '.join(known)}, x-*")


def _with_path(options: Options, name: str, path: Path) -> Options:
    match name:
        case "state_dir":
            return replace(options, state_dir=path)
        case "token_file":
            return replace(options, token_file=path)
        case _:
            return replace(options, passphrase_file=path)


def _number(item: str, value: str, base: int) -> str:
    try:
        number = int(value, base)
    except ValueError:
        raise UsageError(f"mount option {item!r}: {value!r} is no number in base {base}") from None
    if number < 0:
        raise UsageError(f"mount option {item!r}: below zero")
    return value
