"""A drive's messages are records like all others, but its chunks are not fetched: an archive with all media
would hold the whole drive a second time, sealed, for nobody."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from discordfs.archive import media_kinds
from discordfs.capture.media import holds_chunks
from discordfs.records import VolumeEntry
from discordfs.remote.client import DiscordRemote
from tests.fs.conftest import House

from .harness import Server
from .test_media import Uploads, kept, rows, uploads

__all__ = ["uploads"]

SIZE = 3_000_000
COLUMNS = "key, kind, sha256, size, content_type, name, url_path, status, error, at"
OLDER = f"""
ALTER TABLE media RENAME TO newer;
CREATE TABLE media (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
    content_type TEXT NOT NULL, name TEXT NOT NULL, url_path TEXT NOT NULL, status INTEGER NOT NULL,
    error TEXT NOT NULL,
    at TEXT NOT NULL       -- when it was last tried
);
INSERT INTO media SELECT {COLUMNS} FROM newer;
DROP TABLE newer;
"""
"""The table as it was before files knew their messages."""


class Volume(House):
    """A drive in two channels of the server."""

    def __init__(self, server: Server, root: Path, data_channel: int) -> None:
        self.entry = VolumeEntry("drive", server.guild, server.channel, (data_channel,))
        store: Any = DiscordRemote(server.token, api=server.discord.address.api)
        super().__init__(root, store=store)

    def end(self) -> None:
        self.check()
        self.loop.call(self.store.close(), 20)
        self.loop.stop()


@pytest.fixture
def volume(server: Server, tmp_path: Path) -> Iterator[Volume]:
    made = Volume(server, tmp_path / "drive", server.new_channel("data"))
    yield made
    made.end()


def test_chunks_of_a_drive_are_not_fetched_and_its_messages_are_records(
    server: Server, volume: Volume
) -> None:
    volume.put(b"/film", os.urandom(SIZE))
    volume.barrier()
    server.later()
    server.discord.control("POST", "/stats/reset")
    run = server.run("guild", media=media_kinds("all"))
    assert server.discord.stats()["cdn"]["requests"] == 0
    messages = [message for channel in server.discord_channels() for message in run.messages(channel)]
    assert sum(each["size"] for message in messages for each in message["attachments"]) > SIZE
    assert all(holds_chunks(message) for message in messages)
    assert rows(server) == {}
    assert run.result.media_problems == ()


def test_whatever_people_post_beside_a_drive_is_fetched(
    server: Server, volume: Volume, uploads: Uploads
) -> None:
    """Also a file that is called like a part of a chunk, or comes with a text like a drive's."""
    name = f"c-{'0' * 32}-1-of-1.bin"
    (alone,) = uploads.post({name: b"my own"})
    (other,) = uploads.post({"notes.txt": b"words"})
    server.run("guild", media=media_kinds("attachments"))
    assert kept(server, f"attachment:{alone}") == b"my own"
    assert kept(server, f"attachment:{other}") == b"words"


def test_only_a_message_that_names_the_chunk_that_it_holds_is_a_drives(
    server: Server, volume: Volume
) -> None:
    volume.put(b"/film", os.urandom(SIZE))
    volume.barrier()
    message = server.ask("GET", f"/channels/{server.channel}/messages")[0]
    assert holds_chunks(message)
    assert not holds_chunks(message | {"content": "look what I have found"})
    assert not holds_chunks(message | {"content": message["content"].replace("Record ", "Record 0")})
    more = [*message["attachments"], {"id": "1", "filename": "mine.txt", "url": "", "size": 1}]
    assert not holds_chunks(message | {"attachments": more})
    assert not holds_chunks({"id": "1", "content": message["content"], "attachments": []})
    assert not holds_chunks({"id": "1"})


def test_an_older_table_of_files_is_taken_over(server: Server, uploads: Uploads) -> None:
    """A release before knew no messages of files: what it fetched is not fetched again."""
    (one,) = uploads.post({"one.bin": b"bytes"})
    server.run("channel", server.channel, media=media_kinds("attachments"))
    with closing(sqlite3.connect(server.root / "media" / "media.sqlite")) as db:
        db.executescript(OLDER)
    server.discord.control("POST", "/stats/reset")
    (two,) = uploads.post({"two.bin": b"others"})
    server.run("channel", server.channel, media=media_kinds("attachments"))
    assert server.discord.stats()["cdn"]["requests"] == 1
    assert kept(server, f"attachment:{one}") == b"bytes"
    assert rows(server)[f"attachment:{two}"]["message"] > 0
