"""The predecessor's records: whoever has programs for them finds what they know, and old ones are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from discordfs.clipping.model import Clip, Facts, Place, Poster
from discordfs.clipping.record import MOST, alias_of, expiry_of, read_record, record_of, record_text
from discordfs.errors import UsageError
from discordfs.remote.base import snowflake_at, snowflake_ns

AUTHOR = 83101988983668736
MESSAGE = snowflake_at(1_728_015_609_026 * 1_000_000) + 7
LINK = "https://cdn.discordapp.com/attachments/1180731401503506453/1291615821864501260/help.mp4"
SIGNED = f"{LINK}?ex=6700c0c9&is=66ff6f49&hm=0badcafe&"
CHANNEL, ATTACHMENT, GUILD = 1180731401503506453, 1291615821864501260, 1180731400000000000
POSTER = Poster(AUTHOR, "ada", "Ada L.")
PLACE = Place(CHANNEL, "general", GUILD, "Home")
TEXT = (
    '{"Id": "a2d3a331", "Discord_id": "MESSAGE", "Poster": "ada", "Date": 1728015609.026, "Link_to_message":'
    ' "https://discord.com/channels/1180731400000000000/1180731401503506453/MESSAGE", "Description":'
    ' "sch\\u00f6n \\ud83d\\ude00", "Attachment_URL": "SIGNED", "Filename": "help", "channelId":'
    ' "1180731401503506453", "Expire_Timestamp": 1728102601, "Runtime": 12.5}'
)


def clip(**more: Any) -> Clip:
    known: dict[str, Any] = {
        "id": ATTACHMENT,
        "alias": alias_of(AUTHOR, MESSAGE, SIGNED),
        "message": MESSAGE,
        "channel": CHANNEL,
        "poster": AUTHOR,
        "posted_ns": snowflake_ns(MESSAGE),
        "filename": "help.mp4",
        "content_type": "video/mp4",
        "size": 5,
        "url": SIGNED,
        "expires_ns": 0,
        "description": "schön 😀",
    }
    return Clip(**known | more)


def test_the_id_is_the_one_that_it_always_was() -> None:
    assert alias_of(AUTHOR, MESSAGE, LINK) == "a2d3a331"
    assert alias_of(AUTHOR, MESSAGE, SIGNED) == "a2d3a331", "without the signature"


def test_a_whole_second_has_no_fraction_in_an_id() -> None:
    """As Python prints it."""
    at_second = snowflake_at(1_728_015_609_000 * 1_000_000)
    assert alias_of(1, at_second, "u") == "09c0d015"


def test_a_record_is_byte_for_byte_the_predecessors() -> None:
    text = record_text(record_of(clip(facts=Facts(runtime=12.5)), POSTER, PLACE))
    assert text == TEXT.replace("MESSAGE", str(MESSAGE)).replace("SIGNED", SIGNED)


def test_the_runtime_comes_only_once_it_is_known_and_then_as_a_float() -> None:
    assert "Runtime" not in record_of(clip(), POSTER, PLACE)
    assert record_text(record_of(clip(facts=Facts(runtime=3)), POSTER, PLACE)).endswith('"Runtime": 3.0}')


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.mp4", "a"),
        ("a.mp4.mp4", "a.mp4"),
        ("a.MP4", "a.MP4"),
        ("a.mov", "a.mov"),
        ("a.mp4.mov", "a.mp4.mov"),
    ],
)
def test_only_the_predecessors_extension_is_cut(name: str, shown: str) -> None:
    assert record_of(clip(filename=name), POSTER, PLACE)["Filename"] == shown


def test_a_link_without_an_end_has_none() -> None:
    assert record_of(clip(url=LINK), POSTER, PLACE)["Expire_Timestamp"] is None
    assert expiry_of("https://[x") is None
    assert expiry_of("https://x/?ex=zz") is None


def test_direct_messages_are_linked_as_discord_does() -> None:
    record = record_of(clip(), POSTER, Place(CHANNEL, "ada"))
    assert record["Link_to_message"] == f"https://discord.com/channels/@me/{CHANNEL}/{MESSAGE}"


# --- reading ------------------------------------------------------------------------------------------


def test_what_is_written_is_read() -> None:
    record = read_record(record_text(record_of(clip(facts=Facts(runtime=12.5)), POSTER, PLACE)).encode())
    assert (record.alias, record.message, record.channel, record.guild) == (
        "a2d3a331",
        MESSAGE,
        CHANNEL,
        GUILD,
    )
    assert (record.attachment, record.filename, record.url) == (ATTACHMENT, "help.mp4", SIGNED)
    assert (record.poster, record.poster_name, record.description) == (0, "ada", "schön 😀")
    assert (record.runtime, record.posted_ns) == (12.5, snowflake_ns(MESSAGE))


def test_keys_may_be_missing() -> None:
    """Older versions of the predecessor had fewer."""
    link = f"https://discord.com/channels/@me/{CHANNEL}/{MESSAGE}"
    least = read_record(json.dumps({"Link_to_message": link, "Attachment_URL": LINK}).encode())
    assert (least.message, least.attachment, least.runtime, least.guild) == (MESSAGE, ATTACHMENT, None, 0)
    body = {"Discord_id": MESSAGE, "channelId": CHANNEL, "Filename": "help"}
    other = read_record(json.dumps(body).encode())
    assert (other.message, other.attachment, other.filename) == (MESSAGE, 0, "help.mp4")


def test_an_id_that_is_not_the_messages_is_the_posters() -> None:
    link = f"https://discord.com/channels/1/{CHANNEL}/{MESSAGE}"
    body = {"Link_to_message": link, "Discord_id": str(AUTHOR), "Attachment_URL": LINK}
    assert read_record(json.dumps(body).encode()).poster == AUTHOR


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "which message"),
        (b'{"channelId": "5", "Discord_id": "-3", "Filename": "x"}', "which message"),
        (b'{"channelId": "5", "Discord_id": "99999999999999999999", "Filename": "x"}', "which message"),
        (b'{"channelId": "5", "Discord_id": "3"}', "neither an attachment nor a file"),
        (b'{"channelId": "5", "Discord_id": "3", "Attachment_URL": "http://[x"}', "neither"),
        (b'{"channelId": "5", "Discord_id": "3", "Attachment_URL": "http://x/y.mp4"}', "neither"),
        (b" " * (MOST + 1), "larger"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_record(data)


@pytest.mark.parametrize("runtime", [True, "12", -1, float("inf"), float("nan"), 10**400, None, []])
def test_a_runtime_that_is_none_is_unknown(runtime: object) -> None:
    body = {"channelId": CHANNEL, "Discord_id": MESSAGE, "Attachment_URL": LINK, "Runtime": runtime}
    assert read_record(json.dumps(body).encode()).runtime is None
