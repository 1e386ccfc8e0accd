"""Chunks over HTTP: what a message with a record and its data costs, and what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from discordfs.cache import BlockCache
from discordfs.chunkstore import ChunkStore
from discordfs.errors import Damaged
from discordfs.keys import VolumeKeys
from discordfs.model import Kind, Piece, SealedChunk
from discordfs.remote.base import MessageStore
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop

from .harness import Discord, remote

KEYS, VOLUME = VolumeKeys(bytes(32)), bytes(16)
DATA = os.urandom(3_000_000)
ENTRIES = b"entries of the log " * 1000


def over(store: MessageStore, loop: Loop) -> ChunkStore:
    cache = BlockCache(None, disk_bytes=0)
    return ChunkStore(store=store, loop=loop, cache=cache, keys=KEYS, volume=VOLUME, random_bytes=os.urandom)


@pytest.fixture
def chunks(bot: DiscordRemote, loop: Loop) -> Iterator[ChunkStore]:
    store = over(bot, loop)
    yield store
    store.close()


@pytest.fixture
def both(chunks: ChunkStore, tmp_path: Path) -> list[SealedChunk]:
    """A record and data, sealed."""
    (tmp_path / "entries").write_bytes(ENTRIES)
    piece = Piece(2, 0, len(DATA), 1, b"file", 0, 0)
    return [
        chunks.seal_log(tmp_path / "entries", 0, Kind.RECORD, 1, tmp_path),
        chunks.seal([piece], lambda _, position, length: DATA[position : position + length], tmp_path),
    ]


def test_a_machine_that_lists_the_log_reads_records_without_asking_the_api_again(
    discord: Discord, loop: Loop, chunks: ChunkStore, both: list[SealedChunk]
) -> None:
    """Recovery: a page of 100 records is one listing and 100 small reads."""
    channel = discord.channels[0]
    record, data = chunks.post_all(both, channel)
    with remote(discord, loop) as store, closing(over(store, loop)) as elsewhere:
        discord.control("POST", "/stats/reset")
        (message,) = elsewhere.list_after(channel, 0)
        assert elsewhere.read_log(message, record.uid) == ENTRIES
        assert discord.stats()["cdn"]["requests"] == 1
        assert elsewhere.locate(message) == data
        assert elsewhere.read(data, 0, len(DATA)) == DATA
        assert discord.stats()["requests"] == {"GET /channels/{id}/messages": 1}


def test_both_are_laid_out_anew_when_the_server_takes_less(
    discord: Discord, chunks: ChunkStore, both: list[SealedChunk], tmp_path: Path
) -> None:
    discord.settings(file_limit=8_500_000)
    pieces = [Piece(n, 0, len(DATA), 1, b"", 0, 0) for n in range(2, 6)]
    large = chunks.seal(pieces, lambda _, position, length: DATA[position : position + length], tmp_path)
    record, data = chunks.post_all([both[0], large], discord.channels[0])
    assert [len(it.attachments) for it in (record, data)] == [1, 2]
    assert chunks.find_all([both[0], large], discord.channels[0], 0) == [record, data]
    assert chunks.verify(data) == []
    assert chunks.verify(record) == []


@pytest.mark.expects_log("came damaged: once more")
@pytest.mark.parametrize("kind", ["flip", "truncate"])
def test_bytes_altered_at_discord_are_named_and_never_given_out(
    discord: Discord, chunks: ChunkStore, both: list[SealedChunk], tmp_path: Path, kind: str
) -> None:
    record, data = chunks.post_all(both, discord.channels[0])
    for chunk, offset in ((record, 10), (data, 300_000)):
        attachment = str(chunk.attachments[0].id)
        discord.control("POST", "/tamper", {"attachment_id": attachment, "kind": kind, "offset": offset})
    message = chunks.message(discord.channels[0], record.message)
    with pytest.raises(Damaged):
        chunks.read_log(message, record.uid)
    assert chunks.verify(record) == [(0, len(ENTRIES))]
    end = 524_288 if kind == "flip" else len(DATA)
    assert chunks.verify(data) == [(262_144, end - 262_144)]
    if kind == "flip":
        assert chunks.download(data, tmp_path / "copy") == [(262_144, 262_144)]
        assert chunks.reopen(tmp_path / "copy").uid == data.uid
    else:
        with pytest.raises(Damaged):
            chunks.download(data, tmp_path / "copy")
