"""The keys of a volume: one random master key, what is derived from it, and the file it lives in.

The master key seals nothing itself: each purpose has a key of its own (HKDF-SHA256, RFC 5869), so that one
may be given away or changed in meaning without the others. In the file the master key is plain, or wrapped
by a passphrase (scrypt, RFC 7914, and AES-256-GCM). docs/FORMAT.md, "Keys" and "The key file", is the
specification.

Limits: checking a passphrase takes 128 MiB and about half a second, which is the point of it. Nothing here
prints a key or a passphrase, in a repr or an error.
Threading: values never change; key files are written atomically, one writer at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from discordfs.disk import sync_directory
from discordfs.errors import ConfigError, FormatError
from discordfs.model import RandomBytes

MASTER_SIZE = 32
"""Bytes of a master key."""

VOLUME_SIZE = 16
"""Bytes of a volume id."""

_FIRST_LINE = "discordfs key "
_VERSION = 1
_LARGEST_FILE = 64 * 1024  # bytes; whatever is larger is no key file, and no passphrase
_LINE = re.compile(r"([a-z]+): ([0-9a-z]+)")
_SALT_SIZE = 16
_TAG = 16  # bytes that AES-GCM adds
_LARGEST_MEMORY = 1024**3  # bytes that a key file may ask for
_LARGEST_P = 16
_WRAP_NONCE = bytes(12)  # the salt, and so the wrapping key, is fresh each time
_WRAP_PURPOSE = b"discordfs 1 wrap"


class VolumeKeys:
    """The keys of one volume, by purpose, each 32 bytes.

    `data` gives each chunk its block key, `footer` its footer key, `hash` keys the hashes of pieces (the
    same for the whole volume, so that equal pieces are found), `log` is what records have in their place.
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

    def __post_init__(self) -> None:
        if len(self.master) != MASTER_SIZE or len(self.volume) != VOLUME_SIZE:
            raise ConfigError(f"a key is {MASTER_SIZE} bytes and its volume's id {VOLUME_SIZE}")


# --- passphrases --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Passphrase:
    """What a user calls the key's passphrase, as bytes; text in UTF-8 is in its composed form (NFC), so that
    every keyboard types the same. Not empty. Never in the repr."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.secret:
            raise ConfigError("an empty passphrase protects nothing: choose another")


def passphrase_of(given: str | bytes) -> Passphrase:
    """The passphrase that was typed, or stands in a file. Raises ConfigError when it is empty."""
    raw = given if isinstance(given, bytes) else given.encode("utf-8", "surrogateescape")
    try:
        return Passphrase(unicodedata.normalize("NFC", raw.decode("utf-8")).encode("utf-8"))
    except UnicodeDecodeError:  # any bytes will do
        return Passphrase(raw)


def read_passphrase_file(path: Path) -> Passphrase:
    """What a file or a pipe holds, but for one line's end behind it. Raises ConfigError (missing, readable by
    others, empty, over 64 KiB)."""
    data = _read_private(path, "passphrase file", pipes=True)
    return passphrase_of(re.sub(rb"\r?\n\Z", b"", data))


@dataclass(frozen=True, slots=True)
class Cost:
    """scrypt's parameters; they stand in each key file, so that they can grow. Takes 128 * n * r bytes."""

    n: int = 2**17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if self.n < 2 or self.n & (self.n - 1) or self.r < 1 or not 1 <= self.p <= _LARGEST_P:
            raise ConfigError(f"scrypt cannot have n={self.n}, r={self.r}, p={self.p}")
        if 128 * self.n * self.r > _LARGEST_MEMORY:
            raise ConfigError(f"n={self.n}, r={self.r} of scrypt take more memory than is allowed")


DEFAULT_COST = Cost()


@dataclass(frozen=True, slots=True)
class Protection:
    """How a key file is to be protected: by this passphrase, with a fresh salt (16 bytes)."""

    passphrase: Passphrase
    salt: bytes
    cost: Cost = DEFAULT_COST


def protection(passphrase: Passphrase, random_bytes: RandomBytes, cost: Cost = DEFAULT_COST) -> Protection:
    """A fresh one: no salt may be used twice."""
    return Protection(passphrase, random_bytes(_SALT_SIZE), cost)


def _wrapping(protected: Protection) -> AESGCM:
    cost = protected.cost
    try:
        kdf = Scrypt(salt=protected.salt, length=32, n=cost.n, r=cost.r, p=cost.p)
        return AESGCM(kdf.derive(protected.passphrase.secret))
    except MemoryError:
        needed = 128 * cost.n * cost.r // 1024**2
        raise ConfigError(f"a passphrase takes {needed} MiB of memory, which is not free now") from None


# --- files --------------------------------------------------------------------------------------------


def write_key_file(
    path: Path, key: KeyFile, *, protected: Protection | None = None, replace: bool = False
) -> None:
    """Writes the file (mode 0600), whole or not at all, on disk when this returns.

    A file that is there already is another volume's only way to its data: ConfigError, unless `replace`,
    which goes where a link leads and keeps the owner. OSError as the disk gives it."""
    text = _format(key, protected)
    path = path.resolve() if replace else path
    draft = path.with_name(f".{path.name}.tmp")
    with _writing_in(path.parent):
        draft.unlink(missing_ok=True)  # of a write that was killed
        try:
            _write_synced(draft, text.encode("ascii"))
            if replace:
                _take_owner(draft, path)
                os.replace(draft, path)
            else:
                _link_new(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)


def read_key_file(
    path: Path, volume: bytes | None = None, passphrase: Callable[[], Passphrase] | None = None
) -> KeyFile:
    """Reads it; with `volume`, checks that it is that volume's. `passphrase` is called only when the key is
    protected by one, and after all else was found good.

    Raises ConfigError (missing, readable by others, damaged, another volume's, a wrong passphrase) or
    FormatError (a version or protection this release does not know)."""
    stored = _stored(path)
    if volume is not None and stored.volume != volume:
        raise ConfigError(f"{path} is the key of volume {stored.volume.hex()}, not of {volume.hex()}")
    if stored.lock is None:
        return KeyFile(stored.volume, stored.master)
    if passphrase is None:
        raise ConfigError(f"{path} is protected by a passphrase, and none was given")
    wrapping = _wrapping(Protection(passphrase(), stored.lock.salt, stored.lock.cost))
    try:
        master = wrapping.decrypt(_WRAP_NONCE, stored.master, _WRAP_PURPOSE + stored.volume)
    except InvalidTag:
        raise ConfigError(f"this is not the passphrase of {path}: nothing was changed") from None
    return KeyFile(stored.volume, master)


def is_protected(path: Path) -> bool:
    """Whether it takes a passphrase to read it. Raises what read_key_file does."""
    return _stored(path).lock is not None


def _format(key: KeyFile, protected: Protection | None) -> str:
    lines = [f"{_FIRST_LINE}{_VERSION}", f"volume: {key.volume.hex()}"]
    if protected is None:
        lines += ["protection: none", f"master: {key.master.hex()}"]
    else:
        cost, purpose = protected.cost, _WRAP_PURPOSE + key.volume
        wrapped = _wrapping(protected).encrypt(_WRAP_NONCE, key.master, purpose)
        lines += ["protection: scrypt", f"n: {cost.n}", f"r: {cost.r}", f"p: {cost.p}"]
        lines += [f"salt: {protected.salt.hex()}", f"wrapped: {wrapped.hex()}"]
    body = "".join(f"{line}\n" for line in lines)
    return f"{body}checksum: {_checksum(body)}\n"


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:16]


def _checked(text: str, path: Path) -> Mapping[str, str]:
    """The fields of a whole file of a version and protection that we know."""
    first, _, _ = text.partition("\n")
    if not first.startswith(_FIRST_LINE):
        raise ConfigError(f"{path} is no key file of discordfs")
    if first != f"{_FIRST_LINE}{_VERSION}":
        raise FormatError(f"{path} has a version this release does not know: {first[:40]!r}")
    body, _, last = text.rpartition("checksum: ")
    if last != f"{_checksum(body)}\n":
        raise ConfigError(f"{path} is damaged: its checksum does not match; restore it from a copy")
    fields = dict(_LINE.findall(body))
    if fields.get("protection") not in ("none", "scrypt"):
        raise FormatError(f"{path} is protected in a way this release does not know: upgrade discordfs")
    return fields


@dataclass(frozen=True, slots=True)
class _Lock:
    salt: bytes
    cost: Cost


@dataclass(frozen=True, slots=True)
class _Stored:
    """A key file's fields; `master` is wrapped when there is a lock."""

    volume: bytes
    master: bytes = field(repr=False)
    lock: _Lock | None


def _stored(path: Path) -> _Stored:
    hint = ": copy it there, or recover with the code"
    try:
        text = _read_private(path, "key file", hint).decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no key file of discordfs") from None
    fields = _checked(text, path)
    try:
        stored = _unpacked(fields)
    except (KeyError, ValueError):
        raise ConfigError(f"{path} is incomplete: restore it from a copy") from None
    if len(stored.volume) != VOLUME_SIZE or len(stored.master) != MASTER_SIZE + (_TAG if stored.lock else 0):
        raise ConfigError(f"{path} is incomplete: restore it from a copy")
    return stored


def _unpacked(fields: Mapping[str, str]) -> _Stored:
    volume = bytes.fromhex(fields["volume"])
    if fields["protection"] == "none":
        return _Stored(volume, bytes.fromhex(fields["master"]), None)
    cost = Cost(*(int(fields[name]) for name in ("n", "r", "p")))
    return _Stored(volume, bytes.fromhex(fields["wrapped"]), _Lock(bytes.fromhex(fields["salt"]), cost))


def _read_private(path: Path, what: str, hint: str = "", *, pipes: bool = False) -> bytes:
    """Its bytes, if they are for their owner's eyes alone. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) and not (pipes and stat.S_ISFIFO(mode)):
                raise ConfigError(f"the {what} {path} is no regular file")
            if mode & 0o077:
                raise ConfigError(f"the {what} {path} can be read by others: chmod 600 {path}")
            data = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no {what} {path}{hint}") from None
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_FILE:
        raise ConfigError(
            f"the {what} {path} is larger than {_LARGEST_FILE // 1024} KiB: it is something else"
        )
    return data


@contextlib.contextmanager
def _writing_in(folder: Path) -> Iterator[None]:
    """Alone among the processes that write a key in this directory; the kernel ends it with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _take_owner(draft: Path, path: Path) -> None:
    """Root may change the passphrase of somebody's key, who must be able to read it afterwards."""
    if os.geteuid() == 0 and path.exists():
        status = path.stat()
        os.chown(draft, status.st_uid, status.st_gid)


def _link_new(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise ConfigError(f"{path} exists already: it may be the only key of another volume") from None
