"""Files that messages name, kept once for all runs of an archive: `media/<sha256[:2]>/<sha256>`.

Which file is whose stands in media/media.sqlite, by key: `attachment:ID`, `avatar:USER:HASH`, `emoji:ID`,
`sticker:ID`, `embed:SHA256 OF THE ADDRESS`. A file gets its name only when the answer was 200, as long as it
said and, of an attachment, as long as Discord's message says: so a page that says "gone" is never taken for a
file. A key that has its file is not asked for again.
Limits: what an embed shows is taken from Discord's own copy, as outside addresses are nobody's business here.
Threading: any thread; one connection under a lock, which is never held across a request.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from discordfs.archived.mediafiles import DATABASE, SCHEMA, place_in
from discordfs.archived.records import iso
from discordfs.disk import make_directory, sync_directory
from discordfs.model import Clock
from discordfs.remote.base import Fetched

_OFFICIAL_CDN = "https://cdn.discordapp.com"
_CUSTOM_EMOJI = re.compile(r"<(a?):(\w{1,64}):(\d{15,20})>")
_ATTEMPTS, _PAUSE_S = 4, 0.5
_AT_ONCE = 8  # downloads, in all channels
_STICKER_ENDINGS = {1: "png", 2: "png", 3: "json", 4: "gif"}


@dataclass(frozen=True, slots=True)
class Item:
    """A file to have. `size`: bytes, as the message says, None when it says nothing."""

    key: str
    kind: str
    url: str
    name: str
    size: int | None = None


def cdn_of(api: str) -> str:
    """Where avatars, emojis and stickers are for an API: Discord's CDN, or an emulator's own address."""
    parts = urlsplit(api)
    return (
        _OFFICIAL_CDN
        if (parts.hostname or "").endswith("discord.com")
        else f"{parts.scheme}://{parts.netloc}"
    )


def items_of(message: Mapping[str, Any], cdn: str) -> Iterator[Item]:
    """All that a message shows, forwarded parts included. What is not formed as Discord's is passed over."""
    shown = [message, *(each.get("message") or {} for each in message.get("message_snapshots") or ())]
    for one in shown:
        for raw in one.get("attachments") or ():
            yield Item(
                f"attachment:{raw['id']}", "attachments", raw["url"], raw.get("filename", ""), raw.get("size")
            )
        for raw in one.get("embeds") or ():
            yield from _of_embed(raw)
        for raw in one.get("sticker_items") or ():
            yield sticker(raw, cdn)
        for animated, name, number in _CUSTOM_EMOJI.findall(one.get("content") or ""):
            yield emoji({"id": number, "name": name, "animated": bool(animated)}, cdn)
    for raw in message.get("reactions") or ():
        if raw["emoji"].get("id"):
            yield emoji(raw["emoji"], cdn)
    if message.get("author"):
        yield from avatar(message["author"], cdn)


def _of_embed(raw: Mapping[str, Any]) -> Iterator[Item]:
    for part in ("image", "thumbnail", "video"):
        url = (raw.get(part) or {}).get("proxy_url")
        if url:
            path = urlsplit(url).path
            name = hashlib.sha256(path.encode()).hexdigest()
            yield Item(f"embed:{name}", "embeds", url, path.rpartition("/")[2])


def avatar(user: Mapping[str, Any], cdn: str) -> Iterator[Item]:
    """A user's picture, in the largest size; none where they have none of their own."""
    if user.get("avatar"):
        ending = "gif" if str(user["avatar"]).startswith("a_") else "png"
        name = f"{user['avatar']}.{ending}"
        url = f"{cdn}/avatars/{user['id']}/{name}?size=4096"
        yield Item(f"avatar:{user['id']}:{user['avatar']}", "avatars", url, name)


def emoji(raw: Mapping[str, Any], cdn: str) -> Item:
    """An emoji of some server."""
    name = f"{raw['id']}.{'gif' if raw.get('animated') else 'png'}"
    return Item(f"emoji:{raw['id']}", "emojis", f"{cdn}/emojis/{name}", f"{raw.get('name')}-{name}")


def sticker(raw: Mapping[str, Any], cdn: str) -> Item:
    """A sticker, in the format it has."""
    name = f"{raw['id']}.{_STICKER_ENDINGS.get(int(raw.get('format_type') or 1), 'png')}"
    return Item(f"sticker:{raw['id']}", "stickers", f"{cdn}/stickers/{name}", f"{raw.get('name')}-{name}")


Download = Callable[[str, Callable[[bytes], object]], Fetched]
"""Fetches an address into a sink: Api.download, from a plain thread."""


class MediaStore:
    """`directory` is the archive's media/. `download` blocks, `wait` sleeps."""

    def __init__(
        self,
        directory: Path,
        kinds: frozenset[str],
        cdn: str,
        download: Download,
        clock: Clock,
        rng: random.Random,
        wait: Callable[[float], object],
    ) -> None:
        self._directory = directory
        self._kinds = kinds
        self._download = download
        self._clock = clock
        self._rng = rng
        self._wait = wait
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self.cdn = cdn
        self.fetched = 0
        self.problems: list[str] = []
        self._pool = ThreadPoolExecutor(_AT_ONCE, "discordfs-media")
        make_directory(directory)
        self._db = sqlite3.connect(
            directory / DATABASE, isolation_level=None, timeout=60.0, check_same_thread=False
        )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._db.close()

    def wants(self, message: Mapping[str, Any]) -> list[Item]:
        """What of a message is to be had and is not here yet."""
        try:
            found = {item.key: item for item in items_of(message, self.cdn) if item.kind in self._kinds}
        except (KeyError, TypeError, ValueError, AttributeError):
            self._note(f"message {message.get('id')}: what it shows cannot be understood")
            return []
        return self.lacking(found)

    def wants_again(self, message: Mapping[str, Any]) -> list[Item]:
        """All that a message shows, whether it is here or not."""
        return list(items_of(message, self.cdn))

    def lacking(self, found: Mapping[str, Item]) -> list[Item]:
        """Those of the items, by key, whose kind is wanted and that are not here."""
        with self._lock:
            return [
                item
                for item in found.values()
                if item.kind in self._kinds and item.key not in self._busy and not self._has(item.key)
            ]

    def _has(self, key: str) -> bool:
        row = self._db.execute("SELECT sha256 FROM media WHERE key = ?", (key,)).fetchone()
        return row is not None and row[0] != ""

    def fetch_all(self, wanted: Sequence[tuple[Item, Callable[[], str | None]]]) -> None:
        """Several at once; `fetch` says what of each. Returns when all were tried."""
        for _ in self._pool.map(lambda one: self.fetch(*one), wanted):
            pass  # what it raised is raised here

    def fetch(self, item: Item, renew: Callable[[], str | None]) -> None:
        """Has an item's file, or notes why not. An address that is refused is renewed once: by `renew`, which
        gives None when there is none any more."""
        with self._lock:
            if item.key in self._busy or self._has(item.key):
                return
            self._busy.add(item.key)
        try:
            self._insist(item, renew)
        finally:
            with self._lock:
                self._busy.discard(item.key)

    def _insist(self, item: Item, renew: Callable[[], str | None]) -> None:
        """What may pass is tried again, what is refused is renewed once."""
        failures, is_renewed = 0, False
        while (outcome := self._try(item)).error:
            if outcome.status in (401, 403, 404, 410) and not is_renewed:
                url, is_renewed = renew(), True
                if url is None:
                    return
                item = replace(item, url=url)
                continue
            failures += 1
            if failures >= _ATTEMPTS or (400 <= outcome.status < 500 and outcome.status not in (408, 429)):
                return
            self._wait(_PAUSE_S * 2**failures)

    def _try(self, item: Item) -> Fetched:
        """One attempt; with the error that it came to."""
        draft = self._directory / f".{item.kind}-{self._rng.getrandbits(64):016x}.tmp"
        digest = hashlib.sha256()
        try:
            with draft.open("wb") as file:

                def sink(piece: bytes) -> None:
                    digest.update(piece)
                    file.write(piece)

                fetched = self._download(item.url, sink)
                file.flush()
                os.fsync(file.fileno())
            error = _trouble(item, fetched)
            if not error:
                self._keep(draft, digest.hexdigest())
        finally:
            draft.unlink(missing_ok=True)
        self._write_down(item, fetched, "" if error else digest.hexdigest(), error)
        return replace(fetched, error=error)

    def _keep(self, draft: Path, sha256: str) -> None:
        place = place_in(self._directory, sha256)
        make_directory(place.parent)
        os.replace(draft, place)
        sync_directory(place.parent)

    def _write_down(self, item: Item, fetched: Fetched, sha256: str, error: str) -> None:
        path, kind = urlsplit(item.url).path, fetched.headers.get("content-type", "")
        at, size = iso(self._clock()), fetched.size
        row = (item.key, item.kind, sha256, size, kind, item.name, path, fetched.status, error, at)
        with self._lock:
            self._db.execute(f"INSERT OR REPLACE INTO media VALUES ({','.join('?' * len(row))})", row)
            self.fetched += not error

    def failing(self) -> list[str]:
        """What was tried and is not here, for people."""
        with self._lock:
            rows = self._db.execute(
                "SELECT key, name, error FROM media WHERE sha256 = '' ORDER BY key"
            ).fetchall()
        return [*self.problems, *(f"{key} ({name}): {error}" for key, name, error in rows)]

    def _note(self, problem: str) -> None:
        with self._lock:
            self.problems.append(problem)


def _trouble(item: Item, fetched: Fetched) -> str:
    """Why what came is not the file, "" if it is."""
    if fetched.error:
        return fetched.error
    if fetched.status != 200:
        return f"the CDN answered {fetched.status}"
    length = fetched.headers.get("content-length")
    if length is not None and length.isdecimal() and int(length) != fetched.size:
        return f"{fetched.size} bytes came of {length}"
    if item.size is not None and item.size != fetched.size:
        return f"{fetched.size} bytes came, the message says {item.size}"
    return ""
