"""Files that messages name, kept once for all runs of an archive: `media/<sha256[:2]>/<sha256>`.

Which file is whose stands in media/media.sqlite, by key: `attachment:ID`, `avatar:USER:HASH`, `emoji:ID`,
`sticker:ID`, `embed:SHA256 OF THE ADDRESS`. A file gets its name only when the answer was 200, as long as it
said and, of an attachment, as long as Discord's message says: so a page that says "gone" is never taken for a
file. A key that has its file is not asked for again. One that has none is tried once in each run, until a
fresh address was refused in three of them, or its message is gone.
Limits: what an embed shows is taken from Discord's own copy, as outside addresses are nobody's business here.
Threading: any thread; one connection under a lock, which is never held across a request.
"""

from __future__ import annotations

import contextlib
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

from discordfs.archived.mediafiles import DATABASE, open_store, place_in
from discordfs.archived.records import iso
from discordfs.capture.asking import REFUSALS
from discordfs.chunks import layout
from discordfs.disk import make_directory, sync_directory
from discordfs.errors import RemoteError, RemoteGone
from discordfs.model import Clock
from discordfs.remote.base import Fetched

_OFFICIAL_CDN = "https://cdn.discordapp.com"
_CUSTOM_EMOJI = re.compile(r"<(a?):(\w{1,64}):(\d{15,20})>")
_ATTEMPTS, _PAUSE_S = 4, 0.5
_AT_ONCE = 8  # downloads, in all channels
_REFUSED = frozenset({401, 403, 404, 410, 415})
"""What the CDN answers where the address is out of date, or the file gone."""

_REFUSALS = 3
"""In how many runs that has to be said of fresh addresses until the file counts as gone."""

_LASTING = frozenset({"avatars", "emojis", "stickers"})
"""Kinds whose addresses are made of ids, and so never out of date."""

_LARGEST = "?size=4096"
_DRAFT_NS = 86_400 * 10**9
_LEFT_OVER = f"""
SELECT * FROM media WHERE sha256 = '' AND refused < {_REFUSALS} AND (at, key) > (?, ?)
AND (message != 0 OR kind IN ('avatars', 'emojis', 'stickers')) ORDER BY at, key LIMIT 64
"""
_WRITE = """
INSERT INTO media (key, kind, sha256, size, content_type, name, url_path, status, error, at, channel, message,
refused) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, sha256 = excluded.sha256, size = excluded.size,
content_type = excluded.content_type, name = excluded.name, url_path = excluded.url_path,
status = excluded.status, error = excluded.error, at = excluded.at, channel = excluded.channel,
message = excluded.message, refused = iif(excluded.sha256 = '', media.refused + excluded.refused, 0)
WHERE media.sha256 = '' OR excluded.sha256 != ''
"""
_WRITE_LOST = "UPDATE media SET error = ?, at = ?, message = ? WHERE key = ? AND sha256 = ''"
_STICKER_ENDINGS = {1: "png", 2: "png", 3: "json", 4: "gif"}


@dataclass(frozen=True, slots=True)
class Item:
    """A file to have. `size`: bytes, as the message says, None when it says nothing; `url` "": to be asked
    for. `channel`, `message`: what shows it, 0 when it is no message."""

    key: str
    kind: str
    url: str
    name: str
    size: int | None = None
    channel: int = 0
    message: int = 0


def cdn_of(api: str) -> str:
    """Where avatars, emojis and stickers are for an API: Discord's CDN, or an emulator's own address."""
    parts = urlsplit(api)
    return (
        _OFFICIAL_CDN
        if (parts.hostname or "").endswith("discord.com")
        else f"{parts.scheme}://{parts.netloc}"
    )


def items_of(message: Mapping[str, Any], cdn: str) -> Iterator[Item]:
    """All that a message shows, forwarded parts included, but for chunks of a drive: those are the volume's
    own business. What is not formed as Discord's is passed over."""
    channel, number = int(message.get("channel_id") or 0), int(message["id"])
    for item in _shown(message, cdn):
        yield replace(item, channel=channel, message=number)


def _shown(message: Mapping[str, Any], cdn: str) -> Iterator[Item]:
    parts = [message, *(each.get("message") or {} for each in message.get("message_snapshots") or ())]
    for one in parts:
        for raw in () if holds_chunks(one) else one.get("attachments") or ():
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


def holds_chunks(message: Mapping[str, Any]) -> bool:
    """Whether a drive posted it: all its files are parts of chunks by their names, and its text names one of
    them. In doubt it is somebody's message."""
    names = [layout.parse_name(str(raw.get("filename"))) for raw in message.get("attachments") or ()]
    known = [each for each in names if each is not None]
    text = str(message.get("content"))
    return bool(known) and len(known) == len(names) and any(_is_told(text, each) for each in known)


def _is_told(text: str, name: layout.PartName) -> bool:
    """Whether the line that goes with a chunk begins a text, whatever the volume."""
    told = layout.message_text(b"", name.uid, name.kind)
    return text.startswith(told.partition(" of volume ")[0])


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
        url = f"{cdn}/avatars/{user['id']}/{name}{_LARGEST}"
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

Renew = Callable[[Item], Item]
"""Gives an item a fresh address. Raises RemoteGone when there is none any more, Forbidden or BadRequest when
it is not shown now."""


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
        self._failed: dict[str, str] = {}  # in this run, and why: once is enough
        self.cdn = cdn
        self.fetched = 0
        self.problems: list[str] = []
        self._pool = ThreadPoolExecutor(_AT_ONCE, "discordfs-media")
        make_directory(directory)
        self._db = open_store(directory / DATABASE)
        self._drop_drafts()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._db.close()

    def _drop_drafts(self) -> None:
        """Those that a kill has left; what is younger may be another run's."""
        for path in self._directory.glob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if self._clock() - path.stat().st_mtime_ns > _DRAFT_NS:
                    path.unlink()

    # --- what is lacking ----------------------------------------------------------------------------

    def wants(self, message: Mapping[str, Any]) -> list[Item]:
        """What of a message is to be had and is not here yet."""
        try:
            found = {item.key: item for item in items_of(message, self.cdn) if item.kind in self._kinds}
        except (KeyError, TypeError, ValueError, AttributeError):
            self._note(f"message {message.get('id')}: what it shows cannot be understood")
            return []
        return self.lacking(found)

    def lacking(self, found: Mapping[str, Item]) -> list[Item]:
        """Those of the items, by key, whose kind is wanted and that are to be fetched in this run."""
        with self._lock:
            return [
                item
                for item in found.values()
                if item.kind in self._kinds and item.key not in self._busy and not self._is_settled(item.key)
            ]

    def _is_settled(self, key: str) -> bool:
        """It is here, or was tried in this run, or is gone for good."""
        query = "SELECT sha256, size, refused FROM media WHERE key = ?"
        digest, size, refused = self._db.execute(query, (key,)).fetchone() or ("", 0, 0)
        return key in self._failed or (self._has(digest, size) if digest else refused >= _REFUSALS)

    def _has(self, sha256: str, size: int) -> bool:
        """Whether the file is still there, and whole."""
        try:
            return place_in(self._directory, sha256).stat().st_size == size
        except OSError:
            return False

    def left_over(self) -> Iterator[list[Item]]:
        """What earlier runs could not have and this one has not tried, longest ago first, some at a time.
        Attachments and embeds come without an address: only their message has one that is fresh."""
        last = ("", "")
        while rows := self._failing_after(last):
            last = rows[-1]["at"], rows[-1]["key"]
            yield self.lacking({row["key"]: self._left_over(row) for row in rows})

    def _failing_after(self, last: tuple[str, str]) -> list[sqlite3.Row]:
        with self._lock:
            cursor = self._db.execute(_LEFT_OVER, last)
            cursor.row_factory = sqlite3.Row
            return cursor.fetchall()

    def _left_over(self, row: sqlite3.Row) -> Item:
        url = ""
        if row["kind"] in _LASTING:
            url = self.cdn + row["url_path"] + (_LARGEST if row["kind"] == "avatars" else "")
        return Item(row["key"], row["kind"], url, row["name"], None, row["channel"], row["message"])

    # --- fetching -----------------------------------------------------------------------------------

    def fetch_all(self, wanted: Sequence[Item], renew: Renew) -> None:
        """Several at once; `fetch` says what of each. Returns when all were tried."""
        for _ in self._pool.map(lambda item: self.fetch(item, renew), wanted):
            pass  # what it raised is raised here

    def fetch(self, item: Item, renew: Renew) -> None:
        """Has an item's file, or notes why not. An address that is refused is renewed once. Raises what
        `renew` raises but for refusals."""
        with self._lock:
            if item.key in self._busy or self._is_settled(item.key):
                return
            self._busy.add(item.key)
        try:
            self._insist(item, renew)
        finally:
            with self._lock:
                self._busy.discard(item.key)

    def _insist(self, item: Item, renew: Renew) -> None:
        """What may pass is tried again, what is refused is renewed once."""
        failures, is_fresh = 0, item.kind in _LASTING
        while True:
            if item.url:
                outcome = self._try(item, is_fresh)
                if not outcome.error:
                    return
                if is_fresh or outcome.status not in _REFUSED:
                    failures += 1
                    if failures >= _ATTEMPTS or _is_final(outcome.status):
                        return
                    self._wait(_PAUSE_S * 2**failures)
                    continue
            try:
                item, is_fresh = renew(item), True
            except REFUSALS as error:
                self._write_lost(item, error)
                return

    def _try(self, item: Item, is_fresh: bool) -> Fetched:
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
        self._write_down(item, fetched, "" if error else digest.hexdigest(), error, is_fresh)
        return replace(fetched, error=error)

    def _keep(self, draft: Path, sha256: str) -> None:
        place = place_in(self._directory, sha256)
        make_directory(place.parent)
        os.replace(draft, place)
        sync_directory(place.parent)

    # --- writing down -------------------------------------------------------------------------------

    def _write_down(self, item: Item, fetched: Fetched, sha256: str, error: str, is_fresh: bool) -> None:
        path, kind = urlsplit(item.url).path, fetched.headers.get("content-type", "")
        at, refused = iso(self._clock()), is_fresh and fetched.status in _REFUSED
        tried = (item.kind, sha256, fetched.size, kind, item.name, path, fetched.status, error, at)
        with self._lock:
            self._db.execute(_WRITE, (item.key, *tried, item.channel, item.message, refused))
            self.fetched += not error
            if error:
                self._failed[item.key] = error
            else:
                self._failed.pop(item.key, None)

    def _write_lost(self, item: Item, error: RemoteError) -> None:
        """No fresh address is to be had. Where the message is gone, nobody will be asked again."""
        is_gone, at = isinstance(error, RemoteGone), iso(self._clock())
        with self._lock:
            self._db.execute(_WRITE_LOST, (str(error), at, 0 if is_gone else item.message, item.key))
            self._failed[item.key] = str(error)

    def failing(self) -> list[str]:
        """What is not here and was tried in this run or is to be tried by the next, for people."""
        with self._lock:
            rows = self._db.execute(
                "SELECT key, name, error FROM media WHERE sha256 = '' AND refused < ?", (_REFUSALS,)
            ).fetchall()
            told = {key: f"{key} ({name}): {error}" for key, name, error in rows}
            told |= {key: f"{key} ({self._name(key)}): {error}" for key, error in self._failed.items()}
        return [*self.problems, *(told[key] for key in sorted(told))]

    def _name(self, key: str) -> str:
        row = self._db.execute("SELECT name FROM media WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def _note(self, problem: str) -> None:
        with self._lock:
            self.problems.append(problem)


def _is_final(status: int) -> bool:
    """Asking at once again would not help."""
    return 400 <= status < 500 and status not in (408, 429)


def _trouble(item: Item, fetched: Fetched) -> str:
    """Why what came is not the file, "" if it is."""
    if fetched.error:
        return fetched.error
    if fetched.status != 200:
        return f"the CDN answered {fetched.status}"
    if item.kind != "attachments" and fetched.headers.get("content-type", "").startswith("text/"):
        return "the CDN answered with a page, not with a picture"
    length = fetched.headers.get("content-length")
    if length is not None and length.isdecimal() and int(length) != fetched.size:
        return f"{fetched.size} bytes came of {length}"
    if item.size is not None and item.size != fetched.size:
        return f"{fetched.size} bytes came, the message says {item.size}"
    return ""
