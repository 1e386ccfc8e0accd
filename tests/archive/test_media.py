"""Files are fetched once, checked, and never a page that says "gone" instead."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from discordfs.capture.media import cdn_of, items_of
from discordfs.capture.settings import media_kinds
from discordfs.errors import UsageError
from discordfs.remote.base import UploadFile
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from tests.contract.harness import remote

from .harness import Server

ATTACHMENTS = frozenset({"attachments"})


class Uploads:
    """Posts files as the bot."""

    def __init__(self, server: Server, loop: Loop, store: DiscordRemote, directory: Path) -> None:
        self._server, self._loop, self._store, self._directory = server, loop, store, directory

    def post(self, files: Mapping[str, bytes]) -> list[int]:
        """Ids of the attachments."""
        uploads = []
        for name, data in files.items():
            path = self._directory / hashlib.sha256(data).hexdigest()
            path.write_bytes(data)
            uploads.append(UploadFile(name, path, 0, len(data)))
        posted = self._loop.call(self._store.post(self._server.channel, "files", uploads, ""), 20)
        return [each.id for each in posted.attachments]


@pytest.fixture
def uploads(server: Server, tmp_path: Path) -> Any:
    directory = tmp_path / "uploads"
    directory.mkdir()
    with Loop() as loop, remote(server.discord, loop) as store:
        yield Uploads(server, loop, store, directory)


def rows(server: Server) -> dict[str, sqlite3.Row]:
    with closing(sqlite3.connect(server.root / "media" / "media.sqlite")) as db:
        db.row_factory = sqlite3.Row
        return {row["key"]: row for row in db.execute("SELECT * FROM media")}


def kept(server: Server, key: str) -> bytes:
    sha256 = rows(server)[key]["sha256"]
    data = (server.root / "media" / sha256[:2] / sha256).read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    return data


def test_attachments_are_kept_by_their_contents_and_fetched_once(server: Server, uploads: Uploads) -> None:
    one, same = uploads.post({"one.bin": b"bytes" * 1000, "same.bin": b"bytes" * 1000})
    (empty,) = uploads.post({"empty.txt": b""})
    run = server.run("channel", server.channel, media=ATTACHMENTS)
    assert run.result.media_problems == ()
    assert kept(server, f"attachment:{one}") == b"bytes" * 1000
    assert rows(server)[f"attachment:{same}"]["sha256"] == rows(server)[f"attachment:{one}"]["sha256"]
    assert kept(server, f"attachment:{empty}") == b""
    server.discord.control("POST", "/stats/reset")
    server.run("channel", server.channel, media=ATTACHMENTS)
    assert server.discord.stats()["cdn"]["requests"] == 0


def test_a_file_that_was_lost_here_is_fetched_anew(server: Server, uploads: Uploads) -> None:
    """The table alone is no proof: a disk was repaired, or a folder tidied up."""
    one, two, three = uploads.post({"one": b"first", "two": b"second", "three": b"third"})
    server.run("channel", server.channel, media=ATTACHMENTS)
    for key, left in ((one, None), (two, b"sec")):
        sha256 = rows(server)[f"attachment:{key}"]["sha256"]
        path = server.root / "media" / sha256[:2] / sha256
        path.unlink()
        if left is not None:
            path.write_bytes(left)
    server.discord.control("POST", "/stats/reset")
    server.run("channel", server.channel, media=ATTACHMENTS)
    assert server.discord.stats()["cdn"]["requests"] == 2
    wanted = {one: b"first", two: b"second", three: b"third"}
    assert {key: kept(server, f"attachment:{key}") for key in wanted} == wanted


def test_what_was_lost_here_and_is_gone_there_is_said_and_not_forgotten(
    server: Server, uploads: Uploads
) -> None:
    """The file may turn up again, and then has to have its name."""
    (one,) = uploads.post({"one": b"first"})
    server.run("channel", server.channel, media=ATTACHMENTS)
    sha256 = rows(server)[f"attachment:{one}"]["sha256"]
    (server.root / "media" / sha256[:2] / sha256).unlink()
    server.discord.control("POST", "/tamper", {"attachment_id": str(one), "kind": "delete"})
    run = server.run("channel", server.channel, media=ATTACHMENTS)
    assert any(str(one) in problem for problem in run.result.media_problems)
    assert rows(server)[f"attachment:{one}"]["sha256"] == sha256


def test_an_expired_link_is_renewed_through_its_message(server: Server, uploads: Uploads) -> None:
    (one,) = uploads.post({"one.bin": b"still there"})
    server.discord.fault(route="cdn", method="GET", nth=1, kind="status", status=404)
    run = server.run("channel", server.channel, media=ATTACHMENTS)
    assert kept(server, f"attachment:{one}") == b"still there"
    assert run.http(server.channel, f"/messages/{run.ids(server.channel)[0]}")


def test_what_is_gone_is_said_and_no_file(server: Server, uploads: Uploads) -> None:
    (one,) = uploads.post({"one.bin": b"soon gone"})
    server.discord.control("POST", "/tamper", {"attachment_id": str(one), "kind": "delete"})
    run = server.run("channel", server.channel, media=ATTACHMENTS)
    assert run.result.completed
    assert any(str(one) in problem for problem in run.result.media_problems)
    assert rows(server)[f"attachment:{one}"]["sha256"] == ""
    files = [path for path in (server.root / "media").rglob("*") if path.is_file()]
    assert not [path for path in files if "sqlite" not in path.name]


def test_a_page_as_long_as_the_file_is_no_file(server: Server, uploads: Uploads) -> None:
    """What the CDN says of a file that is gone can have any length."""
    page = b"This content is no longer available."
    (one,) = uploads.post({"one.bin": b"x" * len(page)})
    server.discord.control("POST", "/tamper", {"attachment_id": str(one), "kind": "delete"})
    run = server.run("channel", server.channel, media=ATTACHMENTS)
    assert rows(server)[f"attachment:{one}"]["size"] == len(page)
    assert rows(server)[f"attachment:{one}"]["sha256"] == ""
    assert run.result.media_problems


def test_a_body_that_is_cut_short_is_tried_again_and_never_kept(server: Server, uploads: Uploads) -> None:
    (one,) = uploads.post({"one.bin": b"0123456789" * 5000})
    server.discord.fault(route="cdn", method="GET", nth=1, kind="truncate")
    server.run("channel", server.channel, media=ATTACHMENTS)
    assert kept(server, f"attachment:{one}") == b"0123456789" * 5000


def test_a_file_of_another_length_than_its_message_says_is_not_kept(server: Server, uploads: Uploads) -> None:
    (one,) = uploads.post({"one.bin": b"0123456789" * 50})
    server.discord.control("POST", "/tamper", {"attachment_id": str(one), "kind": "truncate", "offset": 7})
    run = server.run("channel", server.channel, media=ATTACHMENTS)
    assert rows(server)[f"attachment:{one}"]["sha256"] == ""
    assert run.result.media_problems


def test_what_a_message_shows_is_found_wherever_it_stands() -> None:
    attachment = {"id": "1", "filename": "a.png", "url": "https://cdn/a", "size": 3}
    message = {
        "id": "9",
        "content": "look <:fox:123456789012345678> <a:run:123456789012345679>",
        "author": {"id": "7", "avatar": "a_0123"},
        "attachments": [attachment],
        "embeds": [{"image": {"url": "https://elsewhere/x", "proxy_url": "https://images/x.png"}}],
        "sticker_items": [{"id": "5", "name": "wave", "format_type": 3}],
        "reactions": [{"emoji": {"id": "6", "name": "yes"}}, {"emoji": {"id": None, "name": "👍"}}],
        "message_snapshots": [{"message": {"attachments": [attachment | {"id": "2"}], "content": ""}}],
    }
    found = {item.key: item.url for item in items_of(message, "https://cdn.discordapp.com")}
    assert found.pop("emoji:123456789012345679") == "https://cdn.discordapp.com/emojis/123456789012345679.gif"
    assert found.pop("avatar:7:a_0123") == "https://cdn.discordapp.com/avatars/7/a_0123.gif?size=4096"
    assert found.pop("sticker:5") == "https://cdn.discordapp.com/stickers/5.json"
    assert {key.partition(":")[0] for key in found} == {"attachment", "embed", "emoji"}
    assert "https://elsewhere/x" not in found.values(), "nobody outside hears of it"


def test_kinds_and_where_they_are() -> None:
    assert media_kinds("all") == {"attachments", "embeds", "avatars", "emojis", "stickers"}
    assert media_kinds("none") == frozenset()
    assert media_kinds("avatars, emojis") == {"avatars", "emojis"}
    with pytest.raises(UsageError):
        media_kinds("pictures")
    assert cdn_of("https://discord.com/api/v10") == "https://cdn.discordapp.com"
    assert cdn_of("http://127.0.0.1:99/api/v10") == "http://127.0.0.1:99"


def test_what_many_messages_show_is_fetched_once(server: Server) -> None:
    """An avatar stands in each message of its owner."""
    server.discord.control("POST", "/seed")
    server.run("guild", media=media_kinds("avatars"))
    fetched = server.discord.stats()["cdn"]["requests"]
    people = {key for key in rows(server) if key.startswith("avatar:")}
    assert people
    assert fetched <= 2 * len(people)
