"""Passphrases from users: out of a file, or hidden on a terminal; never from an argument or a variable,
which others could see.

Threading: the main thread.
"""

from __future__ import annotations

import getpass
import sys
import warnings
from pathlib import Path

import click

from discordfs.errors import ConfigError, UsageError
from discordfs.keys import KeyFile, Passphrase, passphrase_of, read_key_file, read_passphrase_file


def is_interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def unlock(key_file: Path, volume: bytes | None, passphrase_file: Path | None, option: str) -> KeyFile:
    """The volume's key (None: whichever volume's it is); asks for the passphrase if there is one and no file
    that holds it. `option` is how the command names such a file. Raises ConfigError, FormatError."""
    return read_key_file(key_file, volume, lambda: _passphrase(key_file, passphrase_file, option))


def new_passphrase(file: Path | None, option: str, *, optional: bool = False) -> Passphrase | None:
    """A passphrase to protect a key with: from the file, or typed twice. None if it is `optional` and nothing
    was typed. Raises ConfigError when nobody can be asked, and UsageError when two are not the same."""
    if file is not None:
        return read_passphrase_file(file)
    if not is_interactive():
        raise ConfigError(f"there is no terminal to type a passphrase on: name a file with {option}")
    empty = " (empty: the key file needs none)" if optional else ""
    typed = _hidden(f"New passphrase for the key{empty}: ")
    if optional and not typed:
        return None
    passphrase = passphrase_of(typed)
    if _hidden("The same once more: ") != typed:
        raise UsageError("these were two different passphrases: nothing was changed, try again")
    return passphrase


def _passphrase(key_file: Path, file: Path | None, option: str) -> Passphrase:
    if file is not None:
        return read_passphrase_file(file)
    if not is_interactive():
        raise ConfigError(
            f"{key_file} is protected by a passphrase: name a file that holds it with {option}, "
            "or run this on a terminal"
        )
    return passphrase_of(_hidden(f"Passphrase of {key_file}: "))


def _hidden(prompt: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except getpass.GetPassWarning:
            raise ConfigError("this terminal would show the passphrase: put it into a file") from None
        except EOFError:
            raise click.Abort from None
