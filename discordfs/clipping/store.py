"""Where records, thumbnails and kept videos go beside the catalogue: a directory, or any place that fsspec
reaches, such as a bucket of Google Cloud Storage.

An object appears whole or not at all: object stores give that, a directory gets it by rename. What fails for
now is Unavailable, a setting that is wrong is ConfigError and names itself.
Limits: objects that `put` writes are held in memory; videos go through files. Threading: any (fsspec's own
thread does the waiting for network stores).
"""

from __future__ import annotations

import importlib
import logging
import os
import posixpath
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import fsspec
from fsspec.core import url_to_fs

from discordfs.disk import remove_drafts, whole_file
from discordfs.errors import ConfigError, MissingError, Unavailable

log = logging.getLogger(__name__)

BUCKET, CREDENTIALS = "BUCKET_NAME", "GOOGLE_APPLICATION_CREDENTIALS"
"""The predecessor's settings."""

NOWHERE = "none"
"""The store of those who want none."""

_NEEDS = {"gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_STAMPS = ("size", "etag", "ETag", "generation", "mtime", "updated", "ino")  # in the words of several
SLOWEST = 50_000
"""Bytes a second, that a store is waited for."""

T = TypeVar("T")


def store_url(given: str, environment: Mapping[str, str], default: Path) -> str:
    """What was given, else the bucket of the environment, else a directory here."""
    if given:
        return given
    if environment.get(BUCKET):
        return f"gs://{environment[BUCKET]}"
    return default.absolute().as_uri()


class Store:
    """The place at `url`. `patience_s`: how long an operation may take, and a second more for each
    SLOWEST bytes. Raises ConfigError for one that cannot be, or whose program is missing."""

    def __init__(self, url: str, environment: Mapping[str, str], patience_s: float = 20.0) -> None:
        self.url = url
        self._patience_s = patience_s
        self.is_local = urlsplit(url).scheme in ("", "file")
        try:
            self._fs, self._root = url_to_fs(url, **_options(url, environment))
        except (ImportError, ValueError, OSError) as error:
            raise ConfigError(f"the store {url} cannot be used: {error}") from error

    def check(self) -> None:
        """Whether it can be reached. Raises ConfigError where a setting is wrong, Unavailable else."""
        if not self.is_local:
            self._try("", lambda: self._fs.ls(self._root, **self._limit()))

    def sweep(self, before_s: float) -> None:
        """Removes what was left half made in a directory, and changed last before that time (epoch seconds):
        others may write there too."""
        if not self.is_local:
            return
        try:
            remove_drafts(Path(self._root), before_s)
        except OSError as error:  # another user's: it is in nobody's way
            log.warning("what was left half made in %s cannot be removed: %s", self.url, error)

    def put(self, name: str, data: bytes) -> None:
        """The object `name` (with slashes) is `data` from now on."""
        path = self._path(name)
        if not self.is_local:
            self._try(name, lambda: self._fs.pipe_file(path, data, **self._limit(len(data))))
            return
        self._into_directory(name, lambda file: file.write(data))

    def put_file(self, name: str, source: Path) -> None:
        """The same with a file's contents."""
        path = self._path(name)
        if not self.is_local:
            limit = self._limit(source.stat().st_size)
            self._try(name, lambda: self._fs.put_file(str(source), path, **limit))
            return
        with source.open("rb") as old:
            self._into_directory(name, lambda file: shutil.copyfileobj(old, file))

    def get_file(self, name: str, target: Path) -> None:
        """The object's bytes into a local file. Raises MissingError when there is none."""
        limit = self._limit(self.size(name) or 0)
        self._try(name, lambda: self._fs.get_file(self._path(name), str(target), **limit))

    def is_directory(self, path: Path) -> bool:
        """Whether it is this local directory."""
        return self.is_local and Path(self._root).resolve() == path.resolve()

    def read(self, name: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length) of an object; fewer at its end. Raises MissingError."""
        path, limit = self._path(name), self._limit(length)
        data: bytes = self._try(
            name, lambda: self._fs.cat_file(path, start=start, end=start + length, **limit)
        )
        return data

    def size(self, name: str) -> int | None:
        """Bytes; None when there is no such object."""
        found = self._info(name)
        return int(found["size"]) if found else None

    def stamp(self, name: str) -> str:
        """Another one whenever the object is another; "" when there is none."""
        return " ".join(f"{key}={value}" for key, value in self._info(name).items() if key in _STAMPS)

    def remove(self, name: str) -> None:
        """Harmless when there is none."""
        try:
            self._try(name, lambda: self._fs.rm_file(self._path(name), **self._limit()))
        except MissingError:
            return

    # --- inside ---------------------------------------------------------------------------------------

    def _info(self, name: str) -> Mapping[str, Any]:
        """What the store says of an object; nothing when there is none."""
        try:
            found: Mapping[str, Any] = self._try(
                name, lambda: self._fs.info(self._path(name), **self._limit())
            )
        except MissingError:
            return {}
        return found

    def _limit(self, size: int = 0) -> dict[str, float]:
        """Such programs repeat for a minute by themselves; whoever writes does that too, and says so."""
        return {"timeout": self._patience_s + size / SLOWEST} if self._fs.async_impl else {}

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name)

    def _into_directory(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        try:
            with whole_file(Path(self._path(name))) as file:
                write(file)
        except OSError as error:
            raise Unavailable(
                f"{name} could not be written to {self.url}: {error.strerror or error}"
            ) from error

    def _try(self, name: str, step: Callable[[], T]) -> T:
        try:
            return step()
        except FileNotFoundError as error:
            raise MissingError(f"{self.url} has no {name or 'such place'}") from error
        except Exception as error:  # a store's program has errors of its own
            if _is_refused(error):
                text = f"{self.url} refuses {name or 'us'}: {error}; look at {CREDENTIALS}"
                raise ConfigError(text) from error
            raise Unavailable(f"{self.url}: {name}: {type(error).__name__}: {error}"[:500]) from error


def _is_refused(error: Exception) -> bool:
    is_said = isinstance(error, OSError) and str(error).startswith("Forbidden")  # as gcsfs puts it
    return is_said or isinstance(error, PermissionError) or getattr(error, "code", None) in (401, 403)


def _options(url: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the store's program is told. Raises ConfigError."""
    scheme = urlsplit(url).scheme
    if scheme and scheme not in fsspec.available_protocols():
        raise ConfigError(f"the store {url} cannot be used: nothing here speaks {scheme}://")
    if scheme not in _NEEDS:
        return {}
    _import(url, *_NEEDS[scheme])
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if host := environment.get("STORAGE_EMULATOR_HOST"):
        return options | {"endpoint_url": host if "://" in host else f"http://{host}", "token": "anon"}
    if path := environment.get(CREDENTIALS):
        if not Path(path).is_file():
            raise ConfigError(f"{CREDENTIALS} names {path}, which is no file")
        options["token"] = path
    return options


def _import(url: str, module: str, extra: str) -> None:
    # Its newest releases ask each bucket over gRPC what kind it is, a minute long where nobody answers.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    logging.getLogger(module).setLevel(logging.CRITICAL)  # what goes wrong is told by us
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"the store {url} needs {module}: pip install 'discordfs[{extra}]'") from error
