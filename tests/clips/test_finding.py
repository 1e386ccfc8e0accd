"""Which attachments are clips, and what is said of them: none missed, and nothing taken for one."""

from __future__ import annotations

from typing import Any

import pytest

from discordfs.clipping.finding import TYPES, attachment_ids, came_empty, clips_in, is_clip, kinds_of
from discordfs.clipping.model import Place
from discordfs.clipping.wording import Known, clean_text
from discordfs.errors import UsageError

MP4 = kinds_of(",".join(TYPES))
MORE = kinds_of("mp4,mov,webm,mkv")
PLACE = Place(200, "general", 100, "Home")
ROLES = {10_000_000_000_000_001: "crew"}
CHANNELS = {10_000_000_000_000_002: "help"}
KNOWN = Known(ROLES, CHANNELS)


def attached(name: str, content: str | None = None, number: int = 5) -> dict[str, Any]:
    url = f"https://cdn.discordapp.com/attachments/200/{number}/{name}?ex=67&is=66&hm=1&"
    told = {"id": str(number), "filename": name, "size": 3, "url": url}
    return told | ({} if content is None else {"content_type": content})


def message(*attachments: dict[str, Any], **more: Any) -> dict[str, Any]:
    author = {"id": "7", "username": "ada", "global_name": "Ada L.", "avatar": "abc"}
    told = {
        "id": "4611686018427387904",
        "type": 0,
        "author": author,
        "content": "",
        "attachments": list(attachments),
    }
    return told | more


@pytest.mark.parametrize(
    ("name", "content", "mp4", "more"),
    [
        ("a.mp4", "video/mp4", True, True),
        ("a.MP4", None, True, True),
        ("SPOILER_a.mp4", "video/mp4", True, True),
        ("a.mp4", "application/octet-stream", True, True),
        ("a", "video/mp4; codecs=avc1", True, True),
        ("a.bin", "video/mp4", True, True),
        ("a.mov", "video/quicktime", False, True),
        ("a.Mov", None, False, True),
        ("a.webm", "video/webm", False, True),
        ("a.mkv", None, False, True),
        ("x.mp4.zip", "application/zip", False, False),
        ("x.mp4.zip", "video/mp4", False, False),
        ("amp4", None, False, False),
        (".mp4", None, True, True),
        ("mp4.txt", "text/plain", False, False),
        ("a.gif", "image/gif", False, False),
        ("", None, False, False),
    ],
)
def test_by_extension_and_content_type(name: str, content: str | None, mp4: bool, more: bool) -> None:
    assert (is_clip(attached(name, content), MP4), is_clip(attached(name, content), MORE)) == (mp4, more)


@pytest.mark.parametrize("names", ["", ",", "mp4,../x", "video/mp4"])
def test_types_that_are_none_are_refused(names: str) -> None:
    with pytest.raises(UsageError, match="types"):
        kinds_of(names)


def test_types_are_taken_as_people_write_them() -> None:
    assert kinds_of(" .MP4, mov ").extensions == {"mp4", "mov"}


def test_all_of_a_message_is_known_of_a_clip() -> None:
    edited = "2024-10-05T00:00:00+00:00"
    (found,) = clips_in(message(attached("a.mp4"), edited_timestamp=edited), PLACE, MP4, KNOWN)
    clip = found.clip
    assert (found.poster.id, found.poster.name, found.poster.display) == (7, "ada", "Ada L.")
    assert (found.poster.icon, clip.channel, clip.poster) == ("abc", 200, 7)
    assert (clip.id, clip.size, clip.filename, clip.expires_ns) == (5, 3, "a.mp4", 0x67 * 10**9)
    assert clip.edited_ns == 1_728_086_400 * 10**9


def test_forwarded_files_are_found_with_the_text_that_stood_there() -> None:
    inner = {"content": "look <@&10000000000000001>", "attachments": [attached("a.mp4")]}
    forward = message(message_snapshots=[{"message": inner}])
    (found,) = clips_in(forward, PLACE, MP4, KNOWN)
    assert (found.clip.is_forwarded, found.clip.poster, found.clip.description) == (
        True,
        7,
        "look @crew",
    )
    assert attachment_ids(forward) == {5}


@pytest.mark.parametrize(
    "broken",
    [{}, {"id": "x"}, {"id": "5", "author": None}, {"id": "5", "author": {"id": "7"}, "attachments": "no"}],
)
def test_what_is_no_message_has_no_clips(broken: dict[str, Any]) -> None:
    assert clips_in(broken, PLACE, MP4, KNOWN) == []


def test_mentions_are_names() -> None:
    people = [
        {"id": "10000000000000003", "username": "bob", "global_name": None},
        {"id": "10000000000000004", "username": "eve", "global_name": "Eve", "member": {"nick": "E."}},
    ]
    said = (
        "<@10000000000000003> <@!10000000000000004> <@10000000000000009> <@&10000000000000001>"
        " <@&10000000000000009> <#10000000000000002> <#10000000000000009> <@5> @everyone @here a@b"
    )
    told = clean_text(
        {"content": said, "mentions": people}, Known({10000000000000001: "crew"}, {10000000000000002: "help"})
    )
    assert told == (
        "@bob @E. @deleted-user @crew @deleted-role #help #deleted-channel"
        " <@5> @\u200beveryone @\u200bhere a@b"
    )


def test_a_name_calls_nobody() -> None:
    people = [{"id": "10000000000000003", "username": "x", "global_name": "everyone"}]
    assert clean_text({"content": "<@10000000000000003>", "mentions": people}, KNOWN) == "@\u200beveryone"


def test_what_came_empty_is_told_from_what_was_empty() -> None:
    assert came_empty(message(), 9) is True
    assert came_empty(message(content="x"), 9) is False
    assert came_empty(message(), 7) is None, "one's own messages come whole"
    assert came_empty(message(type=7), 9) is None
    assert came_empty(message(flags=4), 9) is None
