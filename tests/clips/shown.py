"""Clips for the tests of clips/: posted to an emulator as people do, and put into a volume's catalogue.

Threading: the test's own thread.
"""

from __future__ import annotations

import functools
import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from discordfs.clipping.catalogue import Catalogue, Found
from discordfs.clipping.model import Clip, Place, Poster
from discordfs.clipping.record import alias_of
from discordfs.emulator.films import Film, made
from discordfs.remote.base import snowflake_ns
from tests.mounting import EmulatorProcess, MountedDrive

ADA = Poster(7001, "ada", "Ada L.")
BOB = Poster(7002, "bob")
SECOND_NS = 1_000_000_000


@functools.cache
def film(seconds: float = 2.0, name: str = "a", **more: Any) -> bytes:
    """A small real video; the same bytes each time."""
    return made(Film(name=name, seconds=seconds, **more))


def post(
    emulator: EmulatorProcess, name: str, data: bytes, *, channel: int = 0, text: str = ""
) -> dict[str, Any]:
    """A message with a file, posted by the bot; as Discord answers."""
    border = uuid.uuid4().hex
    payload = json.dumps({"content": text, "attachments": [{"id": 0, "filename": name}]})
    head = (
        f'--{border}\r\nContent-Disposition: form-data; name="payload_json"\r\n'
        f"Content-Type: application/json\r\n\r\n{payload}\r\n"
        f'--{border}\r\nContent-Disposition: form-data; name="files[0]"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + data + f"\r\n--{border}--\r\n".encode()
    route = f"/channels/{channel or emulator.channels[0]}/messages"
    request = urllib.request.Request(f"{emulator.api}{route}", body, method="POST")
    request.add_header("Authorization", f"Bot {emulator.token}")
    request.add_header("Content-Type", f"multipart/form-data; boundary={border}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        posted: dict[str, Any] = json.load(answer)
    return posted


def delete(emulator: EmulatorProcess, message: dict[str, Any]) -> None:
    route = f"/channels/{message['channel_id']}/messages/{message['id']}"
    request = urllib.request.Request(f"{emulator.api}{route}", method="DELETE")
    request.add_header("Authorization", f"Bot {emulator.token}")
    urllib.request.urlopen(request, timeout=60).close()


def ask(emulator: EmulatorProcess, route: str, body: dict[str, Any]) -> dict[str, Any]:
    """POSTs as the bot."""
    request = urllib.request.Request(f"{emulator.api}{route}", json.dumps(body).encode(), method="POST")
    request.add_header("Authorization", f"Bot {emulator.token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        answered: dict[str, Any] = json.load(answer)
    return answered


def found(message: dict[str, Any], *, poster: Poster = ADA, place: Place | None = None, **more: Any) -> Found:
    """The message's first file as a clip; `more` are other values of it."""
    attachment = message["attachments"][0]
    number = int(message["id"])
    where = place or Place(int(message["channel_id"]), "general", 100, "The server")
    clip = Clip(
        id=int(attachment["id"]),
        alias=alias_of(poster.id, number, attachment["url"]),
        message=number,
        channel=int(message["channel_id"]),
        poster=poster.id,
        posted_ns=snowflake_ns(number),
        filename=attachment["filename"],
        content_type=attachment.get("content_type", ""),
        size=attachment["size"],
        url=attachment["url"],
        expires_ns=0,
        description=message["content"],
    )
    return Found(replace(clip, **more), poster, where)


def made_up(number: int, *, poster: Poster = ADA, place: Place | None = None, **more: Any) -> Found:
    """A clip that no server has: for what is looked at and never played."""
    where = place or Place(501, "general", 100, "The server")
    id_ = (1 << 60) + (number << 22)
    clip = Clip(
        id=id_,
        alias=f"{number:08x}",
        message=id_ + 1,
        channel=where.channel,
        poster=poster.id,
        posted_ns=snowflake_ns(id_ + 1),
        filename=f"clip-{number}.mp4",
        content_type="video/mp4",
        size=1_000_000 + number,
        url=f"https://cdn.discordapp.com/attachments/{where.channel}/{id_}/clip-{number}.mp4?ex=1&is=1&hm=1&",
        expires_ns=0,
    )
    return Found(replace(clip, **more), poster, where)


def catalogue_of(state_dir: Path) -> Catalogue:
    return Catalogue(state_dir / "clips" / "catalogue.sqlite")


@contextmanager
def catalogue(drive: MountedDrive) -> Iterator[Catalogue]:
    """The volume's, as `clips sync` has it."""
    opened = catalogue_of(drive.state_dir)
    try:
        yield opened
    finally:
        opened.close()


def take(drive: MountedDrive, *all_found: Found) -> None:
    with catalogue(drive) as known:
        known.merge(all_found)


def until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for what another process does."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Down:
    """What the content network gave since `of` was called, by the emulator's count."""

    emulator: EmulatorProcess
    before: int

    @classmethod
    def of(cls, emulator: EmulatorProcess) -> Down:
        return cls(emulator, _bytes_out(emulator))

    @property
    def bytes(self) -> int:
        return _bytes_out(self.emulator) - self.before


def _bytes_out(emulator: EmulatorProcess) -> int:
    return int(emulator.stats()["cdn"]["bytes_out"])
