"""The keys of a volume: one random master key, what is derived from it, and the file it lives in.

The master key seals nothing itself: each purpose has a key of its own (HKDF-SHA256, RFC 5869), so that one
may be given away or changed in meaning without the others. docs/FORMAT.md, "Keys", is the specification;
its version of the key file leaves room for a master key wrapped by a passphrase or a recovery code.

Limits: no passphrase yet. Nothing here prints a key, in a repr or an error.
Threading: VolumeKeys never changes; key files are written atomically.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from discordfs.disk import sync_directory
from discordfs.errors import ConfigError, FormatError
from discordfs.model import RandomBytes

MASTER_SIZE = 32
"""Bytes of a master key."""

VOLUME_SIZE = 16
"""Bytes of a volume id."""

_FIRST_LINE = "discordfs key "
_VERSION = 1
_PROTECTION = "none"
_LARGEST_FILE = 64 * 1024  # bytes; whatever is larger is no key file
_LINE = re.compile(r"([a-z]+): ([0-9a-z]+)")


class VolumeKeys:
    """The keys of one volume, by purpose, each 32 bytes.

    `data` gives each chunk its block key, `footer` its footer key, `hash` keys the hashes of pieces (the
    same for the whole volume, so that equal pieces are found), `log` is reserved for records.
    """

    __slots__ = ("data", "footer", "hash", "log")

    def __init__(self, master: bytes) -> None:
        if len(master) != MASTER_SIZE:
            raise ConfigError(f"a master key has {MASTER_SIZE} bytes, this one has {len(master)}")
        self.data = derive(master, b"", b"discordfs 1 data")
        self.footer = derive(master, b"", b"discordfs 1 footer")
        self.hash = derive(master, b"", b"discordfs 1 hash")
        self.log = derive(master, b"", b"discordfs 1 log")


def derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    """32 bytes by HKDF-SHA256; an empty salt is RFC 5869's default of zeros."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt or None, info=info).derive(key)


def new_master(random_bytes: RandomBytes) -> bytes:
    """A fresh master key."""
    return random_bytes(MASTER_SIZE)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file says: whose key it is (16 bytes), and the key (32 bytes; never in the repr)."""

    volume: bytes
    master: bytes = field(repr=False)


def write_key_file(path: Path, key: KeyFile, *, replace: bool = False) -> None:
    """Writes the file (mode 0600), whole or not at all, on disk when this returns.

    A file that is there already is another volume's only way to its data: ConfigError, unless `replace`.
    OSError as the disk gives it."""
    text = _format(key)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    try:
        _write_synced(draft, text.encode("ascii"))
        if replace:
            os.replace(draft, path)
        else:
            _link_new(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def read_key_file(path: Path, volume: bytes | None = None) -> KeyFile:
    """Reads it; with `volume`, checks that it is that volume's.

    Raises ConfigError (missing, readable by others, damaged, another volume's) or FormatError (a version
    or protection this release does not know)."""
    key = _parse(_read_private(path), path)
    if volume is not None and key.volume != volume:
        raise ConfigError(f"{path} is the key of volume {key.volume.hex()}, not of {volume.hex()}")
    return key


def _format(key: KeyFile) -> str:
    if len(key.master) != MASTER_SIZE or len(key.volume) != VOLUME_SIZE:
        raise ConfigError(f"a key file holds a {MASTER_SIZE}-byte key and a {VOLUME_SIZE}-byte volume id")
    body = (
        f"{_FIRST_LINE}{_VERSION}\n"
        f"volume: {key.volume.hex()}\n"
        f"protection: {_PROTECTION}\n"
        f"master: {key.master.hex()}\n"
    )
    return f"{body}checksum: {_checksum(body)}\n"


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:16]


def _parse(text: str, path: Path) -> KeyFile:
    first, _, _ = text.partition("\n")
    if not first.startswith(_FIRST_LINE):
        raise ConfigError(f"{path} is no key file of discordfs")
    if first != f"{_FIRST_LINE}{_VERSION}":
        raise FormatError(f"{path} has a version this release does not know: {first[:40]!r}")
    body, _, last = text.rpartition("checksum: ")
    if last != f"{_checksum(body)}\n":
        raise ConfigError(f"{path} is damaged: its checksum does not match; restore it from a copy")
    return _from_fields(dict(_LINE.findall(body)), path)


def _from_fields(fields: dict[str, str], path: Path) -> KeyFile:
    if fields.get("protection") != _PROTECTION:
        raise FormatError(f"{path} is protected in a way this release does not know")
    try:
        key = KeyFile(bytes.fromhex(fields["volume"]), bytes.fromhex(fields["master"]))
    except (KeyError, ValueError):
        raise ConfigError(f"{path} is incomplete: restore it from a copy") from None
    if len(key.master) != MASTER_SIZE or len(key.volume) != VOLUME_SIZE:
        raise ConfigError(f"{path} is incomplete: restore it from a copy")
    return key


def _read_private(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is no regular file")
            if status.st_mode & 0o077:
                raise ConfigError(f"{path} can be read by others: chmod 600 {path}")
            return file.read(_LARGEST_FILE).decode("ascii")
    except FileNotFoundError:
        raise ConfigError(f"there is no key file {path}: copy it there, or recover with the code") from None
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no key file of discordfs") from None


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link_new(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise ConfigError(f"{path} exists already: it may be the only key of another volume") from None
