"""The predecessor's records taken in: with what Discord says of them, and with what only they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.importing import Imported
from discordfs.clips import connected, take_in
from discordfs.errors import UsageError
from tests.archive.harness import HASTE, NO_LIMIT

from .harness import ClipServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "records"
    path.mkdir()
    return path


def record(folder: Path, message: dict[str, Any], name: str = "a2d3a331", **more: Any) -> Path:
    """As the predecessor kept it, with a link that ended long ago."""
    channel, number, file = message["channel_id"], message["id"], message["attachments"][0]
    body = {
        "Id": name,
        "Discord_id": number,
        "Poster": message["author"]["username"],
        "Date": 1728015609.026,
        "Link_to_message": f"https://discord.com/channels/5/{channel}/{number}",
        "Description": "as it was then",
        "Attachment_URL": f"https://cdn.discordapp.com/attachments/{channel}/{file['id']}/a%20b.mp4?ex=1&is=0&hm=0&",
        "Filename": "a b",
        "channelId": channel,
        "Expire_Timestamp": 1,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(body | more))
    return path


def taken(server: ClipServer, folder: Path) -> tuple[Imported, Catalogue]:
    api = server.discord.address.api
    with connected(server.token, server.directory, api=api, requests_a_second=NO_LIMIT, patience=HASTE) as to:
        result = take_in(to, folder)
    return result, Catalogue(server.directory.catalogue, is_reader=True)


def test_ids_links_and_posters_are_real_and_the_runtime_is_kept(server: ClipServer, folder: Path) -> None:
    message = server.upload("a.mp4", content="as it is now", by=server.person("ada"))
    record(folder, message, Runtime=12.5)
    result, catalogue = taken(server, folder)
    assert (result.taken, result.total) == (1, 1)
    clip = catalogue.clip(int(message["attachments"][0]["id"]))
    assert clip is not None
    assert (clip.alias, clip.description, clip.facts.runtime) == ("a2d3a331", "as it is now", 12.5)
    assert clip.poster == int(message["author"]["id"])
    assert clip.expires_ns > 10**18
    place = catalogue.place(server.channel)
    assert place is not None
    assert place.guild == server.guild
    assert place.guild_name
    catalogue.close()


def test_a_page_serves_all_records_in_it(server: ClipServer, folder: Path) -> None:
    """Ten thousand records are not ten thousand requests."""
    for number in range(60):
        record(folder, server.upload("a.mp4"), f"{number:08x}")
    server.posts(120)
    far = server.upload("b.mp4")
    record(folder, far, "ffffffff")
    server.discord.control("POST", "/stats/reset")
    result, catalogue = taken(server, folder)
    assert result.taken == 61
    assert server.discord.count("GET /channels/{id}/messages") == 2
    catalogue.close()


def test_what_is_gone_is_kept_as_the_record_has_it(server: ClipServer, folder: Path) -> None:
    message = server.upload("a.mp4")
    server.post("after it")
    record(folder, message, Poster="nobody knows", Runtime=3)
    server.remove(message)
    result, catalogue = taken(server, folder)
    assert (result.gone, result.total) == (1, 1)
    clip = catalogue.clip(int(message["attachments"][0]["id"]))
    assert clip is not None
    assert clip.deleted_ns
    assert (clip.description, clip.filename, clip.facts.runtime) == ("as it was then", "a b.mp4", 3.0)
    poster = catalogue.poster(clip.poster)
    assert poster is not None
    assert (poster.name, poster.id < 0) == ("nobody knows", True)
    assert taken(server, folder)[0].known == 1
    catalogue.close()


def test_a_channel_that_is_gone_takes_no_record_with_it(server: ClipServer, folder: Path) -> None:
    channel = server.new_channel("doomed")
    message = server.upload("a.mp4", channel=channel)
    record(folder, message)
    server.ask("DELETE", f"/channels/{channel}")
    result, catalogue = taken(server, folder)
    assert result.gone == 1
    place = catalogue.place(channel)
    assert place is not None
    assert place.guild == 5, "as the record's link says"
    catalogue.close()


def test_what_may_not_be_read_is_refused_and_not_called_gone(server: ClipServer, folder: Path) -> None:
    channel = server.new_channel("closed")
    record(folder, server.upload("a.mp4", channel=channel))
    server.discord.control("POST", "/permissions", {"channel_id": str(channel), "view": False})
    result, catalogue = taken(server, folder)
    assert (result.gone, len(result.refused)) == (0, 1)
    assert "a2d3a331.json" in result.refused[0]
    assert catalogue.counts()["clips"] == 0
    catalogue.close()


def test_a_message_whose_files_are_hidden_is_refused_with_the_reason(
    server: ClipServer, folder: Path
) -> None:
    record(folder, server.upload("a.mp4", by=server.person("ada")))
    server.discord.user(server.ask("GET", "/users/@me")["username"], message_content=False)
    result, catalogue = taken(server, folder)
    assert "MESSAGE_CONTENT" in result.refused[0]
    catalogue.close()


def test_records_of_the_first_versions_are_found_by_their_file(server: ClipServer, folder: Path) -> None:
    message = server.upload("x.mp4", "help.mp4")
    record(folder, message, "00000000", Attachment_URL=None, Filename="help")
    result, catalogue = taken(server, folder)
    assert result.taken == 1
    assert catalogue.clip(int(message["attachments"][1]["id"])) is not None
    catalogue.close()
    assert taken(server, folder)[0].known == 1


def test_only_the_records_of_a_buckets_folder_are_read(server: ClipServer, tmp_path: Path) -> None:
    for name in ("messages", "userData"):
        (tmp_path / "bucket" / name).mkdir(parents=True)
    (tmp_path / "bucket" / "userData" / "7.json").write_text("{}")
    record(tmp_path / "bucket" / "messages", server.upload("a.mp4"))
    result, catalogue = taken(server, tmp_path / "bucket")
    assert (result.taken, result.total) == (1, 1)
    catalogue.close()
    with pytest.raises(UsageError, match="no directory"):
        taken(server, tmp_path / "nothing")
