"""Takes in a folder of the predecessor's records, by asking Discord for their messages.

So ids, links and posters are real. A page of 100 messages serves all records in it. What a page lacks is
asked for by itself; only where Discord says that it does not exist is the record kept as it is, as that of a
deleted clip. Nothing is taken twice, however often a folder is imported.
Limits: the records' places are in memory, their texts are read again. Errors: RemoteError, OSError.
Threading: one thread.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from discordfs.archived.people import is_empty
from discordfs.archived.ranges import LAST
from discordfs.capture.asking import REFUSALS, Asker
from discordfs.clipping.catalogue import Catalogue, Found
from discordfs.clipping.finding import LATEST_S, Kinds, attachment_ids, clips_in, kinds_of
from discordfs.clipping.model import Clip, Facts, Place, Poster
from discordfs.clipping.record import MOST, Record, alias_of, expiry_of, read_record
from discordfs.clipping.scope import Scope, unrecorded
from discordfs.errors import RemoteGone, UsageError

ALL_KINDS = kinds_of("mp4,mov,webm,mkv,m4v,avi")
_PAGE = 100
_ALIAS = re.compile("[0-9a-f]{8}")
Json = Mapping[str, Any]


@dataclass(slots=True)
class Imported:
    """What became of the records. `refused`: sentences that begin with the file's name."""

    taken: int = 0
    known: int = 0
    gone: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.taken + self.known + self.gone + len(self.refused)


@dataclass(frozen=True, slots=True)
class _Wanted:
    message: int
    path: Path


class Importer:
    """Brings records into `catalogue`. `scope` learns channels' names; `now_ns`: Discord's time."""

    def __init__(
        self,
        asker: Asker,
        scope: Scope,
        catalogue: Catalogue,
        now_ns: Callable[[], int],
        kinds: Kinds = ALL_KINDS,
    ) -> None:
        self._asker = asker
        self._scope = scope
        self._catalogue = catalogue
        self._now_ns = now_ns
        self._kinds = kinds
        self.result = Imported()

    def run(self, folder: Path, tell: Callable[[int, int], None] = lambda done, total: None) -> Imported:
        """All records of `folder`: in its messages/ and deleted/ if it has these, else in itself. `tell`
        hears how many of how many are done. Raises UsageError when it is no directory."""
        wanted: dict[int, list[_Wanted]] = {}
        for path in _files(folder):
            record = self._read(path)
            if record is not None and not self._is_known(record):
                wanted.setdefault(record.channel, []).append(_Wanted(record.message, path))
        total = self.result.total + sum(map(len, wanted.values()))
        for channel, each in sorted(wanted.items()):
            for _ in self._channel(channel, sorted(each, key=lambda one: (one.message, one.path))):
                tell(self.result.total, total)
        return self.result

    # --- what is asked ----------------------------------------------------------------------------------

    def _channel(self, channel: int, wanted: Sequence[_Wanted]) -> Iterator[None]:
        """One at a time."""
        try:
            place = self._place(channel)
        except RemoteGone:
            for each in wanted:
                self._keep(each, None)
                yield
            return
        except REFUSALS as error:
            for each in wanted:
                self._refuse(each.path, f"channel {channel}: {error}")
                yield
            return
        while wanted:
            page, upto = self._page(channel, wanted[0].message)
            for each in (one for one in wanted if one.message <= upto):
                self._settle(each, place, page.get(each.message))
                yield
            wanted = [one for one in wanted if one.message > upto]

    def _page(self, channel: int, first: int) -> tuple[dict[int, Json], int]:
        """Messages from `first` on, and up to which id that is all there are."""
        params: dict[str, str | int] = {"limit": _PAGE, "after": first - 1}
        try:
            body = self._asker.get(f"/channels/{channel}/messages", unrecorded, params)
        except REFUSALS:
            return {}, first  # each is asked for by itself, and refused by itself
        found = {int(each["id"]): each for each in body}
        return found, max(found) if len(found) == _PAGE else LAST

    def _settle(self, wanted: _Wanted, place: Place, message: Json | None) -> None:
        try:
            if message is None:
                route = f"/channels/{place.channel}/messages/{wanted.message}"
                message = self._asker.get(route, unrecorded)
        except RemoteGone:
            self._keep(wanted, place)
        except REFUSALS as error:
            self._refuse(wanted.path, str(error))
        else:
            self._take(wanted, place, message)

    def _place(self, channel: int) -> Place:
        found = self._scope.ask_for(channel)
        if found.guild:
            self._scope.learn_once(found.guild)
        return self._scope.place(found)

    # --- what comes of it -------------------------------------------------------------------------------

    def _take(self, wanted: _Wanted, place: Place, message: Json) -> None:
        record = self._read(wanted.path)
        if record is None or self._is_known(record):
            return
        found = clips_in(message, place, self._kinds, self._scope.known)
        match = next((each for each in found if _is_of(each.clip, record)), None)
        if match is not None:
            alias = record.alias if _ALIAS.fullmatch(record.alias) else match.clip.alias
            clip = replace(match.clip, alias=alias, facts=Facts(runtime=record.runtime))
            self._catalogue.merge([replace(match, clip=clip)])
            self.result.taken += 1
        elif is_empty(message):
            self._refuse(
                wanted.path, "its message came without its files: is the intent MESSAGE_CONTENT allowed?"
            )
        elif record.attachment in attachment_ids(message):
            self._refuse(wanted.path, f"{record.filename} is no video")
        else:
            self._keep(wanted, place)

    def _keep(self, wanted: _Wanted, place: Place | None) -> None:
        """Gone from Discord: what the record says is all that there is."""
        record = self._read(wanted.path)
        if record is None or self._is_known(record):
            return
        if not record.attachment:
            self._refuse(
                wanted.path, "its message is gone, and it does not say which file of it was the clip"
            )
            return
        poster = self._poster(record)
        known = self._catalogue.place(record.channel)
        where = place or known or Place(record.channel, "", record.guild)
        self._catalogue.merge([Found(_clip_of(record, poster.id, self._now_ns()), poster, where)])
        self.result.gone += 1

    def _poster(self, record: Record) -> Poster:
        """Of whoever is known by that name; else with an id below 0, which no user has."""
        known = record.poster or self._catalogue.poster_called(record.poster_name)
        if known:
            return self._catalogue.poster(known) or Poster(known, record.poster_name)
        mark = hashlib.blake2b(record.poster_name.encode("utf-8", "surrogatepass"), digest_size=6).digest()
        return Poster(-int.from_bytes(mark) - 1, record.poster_name)

    def _is_known(self, record: Record) -> bool:
        """In the catalogue already, which may yet learn how long it is."""
        clip = self._catalogue.clip(record.attachment) if record.attachment else None
        if clip is None and not record.attachment:
            same = self._catalogue.by_alias(record.alias)
            clip = next((each for each in same if each.message == record.message), None)
        if clip is None:
            return False
        if record.runtime is not None and clip.facts.runtime is None:
            self._catalogue.lasts(clip.id, record.runtime)
        self.result.known += 1
        return True

    def _read(self, path: Path) -> Record | None:
        try:
            with path.open("rb") as file:
                return read_record(file.read(MOST + 1))
        except UsageError as error:
            self._refuse(path, str(error))
        except OSError as error:
            self._refuse(path, f"it cannot be read ({error.strerror})")
        return None

    def _refuse(self, path: Path, why: str) -> None:
        self.result.refused.append(f"{path.name}: {why}")


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no directory: name the one with the records")
    inner = [folder / name for name in ("messages", "deleted") if (folder / name).is_dir()]
    return sorted(path for place in inner or [folder] for path in place.glob("*.json"))


def _is_of(clip: Clip, record: Record) -> bool:
    """By the attachment's id; where the record has none by its Id, or its file's name."""
    if record.attachment:
        return clip.id == record.attachment
    return clip.alias == record.alias or clip.filename == record.filename


def _clip_of(record: Record, poster: int, now_ns: int) -> Clip:
    is_alias = bool(_ALIAS.fullmatch(record.alias))
    return Clip(
        id=record.attachment,
        alias=record.alias if is_alias else alias_of(poster, record.message, record.url),
        message=record.message,
        channel=record.channel,
        poster=poster,
        posted_ns=record.posted_ns,
        filename=record.filename,
        content_type="",
        size=0,
        url=record.url,
        expires_ns=min(expiry_of(record.url) or 0, LATEST_S) * 1_000_000_000,
        description=record.description,
        deleted_ns=now_ns,
        facts=Facts(runtime=record.runtime),
    )
