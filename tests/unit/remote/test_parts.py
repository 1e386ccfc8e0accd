"""The small rooms: capacity, answers, URLs' lives, upload bodies, labels, and what the memory store adds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discordfs.errors import (
    BadRequest,
    Damaged,
    Forbidden,
    OutcomeUnknown,
    RateLimited,
    RemoteError,
    RemoteGone,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from discordfs.model import Limits
from discordfs.remote.answers import Answer, MessageGone, error_of
from discordfs.remote.base import UploadFile, snowflake_at, snowflake_ns
from discordfs.remote.capacity import MIB, Capacity
from discordfs.remote.memory import MemoryStore
from discordfs.remote.server_time import ServerTime
from discordfs.remote.traffic import label
from discordfs.remote.upload import check_upload, read_upload
from discordfs.remote.urls import UrlCache

from .virtual import VirtualTime

# --- capacity --------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 10), min_size=1, max_size=12))
def test_each_413_leaves_less_than_was_refused(counts: list[int]) -> None:
    """Else the same chunk would be sent and refused for ever."""
    capacity = Capacity()
    for count in counts:
        known = capacity.of(1)
        size = min(known.file_bytes, known.request_bytes // count)
        capacity.refused(1, [size] * count)
        learned = capacity.of(1)
        assert learned.file_bytes < size or learned.request_bytes < known.request_bytes or size <= MIB


def test_a_413_says_nothing_of_other_channels() -> None:
    capacity = Capacity(Limits(20 * MIB, 25 * MIB, 10))
    capacity.refused(1, [12 * MIB, 12 * MIB])
    assert capacity.of(1).file_bytes == 10 * MIB
    assert capacity.of(2).file_bytes == 20 * MIB


# --- answers ---------------------------------------------------------------------------------------


def error(method: str, status: int, **body: object) -> RemoteError:
    return error_of(method, f"{method} /x", Answer(status, {}, json.dumps(body) if body else "<html>"))


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, 50035, BadRequest),
        (400, 40005, TooLarge),
        (401, 0, Unauthorized),
        (403, 50013, Forbidden),
        (404, 10003, RemoteGone),
        (404, 10008, MessageGone),
        (413, 0, TooLarge),
        (429, 0, RateLimited),
        (500, 0, OutcomeUnknown),
        (524, 0, OutcomeUnknown),
    ],
)
def test_what_an_answer_means(status: int, code: int, expected: type[RemoteError]) -> None:
    assert type(error("POST", status, code=code, message="said")) is expected


def test_a_failed_get_is_no_doubt_just_unavailable() -> None:
    assert type(error("GET", 502)) is Unavailable


@pytest.mark.parametrize(
    ("text", "headers", "seconds"),
    [
        ('{"retry_after": 1.5, "global": false}', {}, 1.5),
        ("error code: 1015", {"Retry-After": "120"}, 120.0),
        ("error code: 1015", {}, 60.0),
        ('{"retry_after": "soon"}', {"Retry-After": "3"}, 3.0),
        ("[]", {"Retry-After": "3"}, 3.0),
    ],
)
def test_how_long_a_429_lasts(text: str, headers: dict[str, str], seconds: float) -> None:
    assert Answer(429, headers, text).retry_after() == seconds


# --- URLs and clocks -------------------------------------------------------------------------------


def signed(end: float, life: float = 86_400) -> list[dict[str, object]]:
    url = f"https://cdn/attachments/1/5/a.bin?ex={int(end):x}&is={int(end - life):x}&hm=00"
    return [{"attachments": [{"id": "5", "url": url}]}]


def test_a_url_is_renewed_before_its_end_by_discords_clock() -> None:
    """A laptop whose clock is an hour off reads all the same."""
    time = VirtualTime(1_800_000_000.0)
    server = ServerTime(time.ns, time.ns)
    cache = UrlCache(server)
    cache.feed(signed(time.now + 86_400))
    assert cache.get(5) is not None
    time.now += 86_400 - 599
    assert cache.get(5) is None
    assert cache.newest(5) is not None
    server.learn({"Date": "Fri, 15 Jan 2027 08:00:10 GMT"})  # in truth only ten seconds have passed
    assert cache.get(5) is not None


def test_a_url_that_tells_no_end_is_asked_for_anew() -> None:
    cache = UrlCache(ServerTime(VirtualTime().ns, VirtualTime().ns))
    cache.feed([{"attachments": [{"id": "5", "url": "https://cdn/attachments/1/5/a.bin?ex=zz"}]}])
    assert cache.get(5) is None


def test_a_newer_url_survives_the_refusal_of_an_older_one() -> None:
    time = VirtualTime()
    cache = UrlCache(ServerTime(time.ns, time.ns))
    cache.feed(signed(time.now + 10_000))
    old = cache.get(5)
    cache.feed(signed(time.now + 80_000))
    assert old is not None
    cache.refuse(5, old)
    assert cache.get(5) is not None


@pytest.mark.parametrize("date", ["", "tomorrow", "Fri, 99 Jan 2027 99:00:10 GMT"])
def test_a_date_that_cannot_be_read_changes_nothing(date: str) -> None:
    time = VirtualTime()
    server = ServerTime(time.ns, time.ns)
    server.learn({"Date": date})
    assert server.now_ns() == time.ns()


def test_snowflakes_and_times_agree() -> None:
    moment = 1_800_000_000_123_000_000
    assert snowflake_ns(snowflake_at(moment)) == moment


# --- uploads and labels ----------------------------------------------------------------------------


def test_an_upload_is_the_range_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_upload(UploadFile("a.bin", path, 3, 4)) == b"3456"
    check_upload(UploadFile("a.bin", path, 10, 0))
    with pytest.raises(Damaged):
        check_upload(UploadFile("a.bin", path, 3, 8))


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("/channels/123/messages/456", "/channels/{id}/messages/{id}"),
        ("/users/@me", "/users/@me"),
        ("/webhooks/1/s3cret-t0ken/messages/2", "/webhooks/{id}/{token}/messages/{id}"),
        ("/channels/1/messages/2/reactions/%F0%9F%98%80", "/channels/{id}/messages/{id}/reactions/{emoji}"),
    ],
)
def test_labels_hold_no_ids_and_no_tokens(route: str, expected: str) -> None:
    assert label("GET", route) == f"GET {expected}"


# --- what the memory store adds ----------------------------------------------------------------------


def test_listings_lag_as_told_while_fetch_sees_at_once() -> None:
    """What must hold against Discord's lag can be tested without Discord."""
    time = VirtualTime()
    store = MemoryStore([1], clock=time.ns, list_lag=5.0)
    message = asyncio.run(store.post(1, "text", [], ""))
    assert asyncio.run(store.list(1)) == []
    assert asyncio.run(store.fetch(1, message.id)).id == message.id
    time.now += 5.0
    assert [each.id for each in asyncio.run(store.list(1))] == [message.id]


def test_a_nonce_is_forgotten_after_its_window() -> None:
    time = VirtualTime()
    store = MemoryStore([1], clock=time.ns, nonce_seconds=300.0)
    first = asyncio.run(store.post(1, "text", [], "n"))
    time.now += 299
    assert asyncio.run(store.post(1, "text", [], "n")).id == first.id
    time.now += 2
    assert asyncio.run(store.post(1, "text", [], "n")).id != first.id


def test_ids_carry_the_clocks_time_and_always_grow() -> None:
    time = VirtualTime()
    store = MemoryStore([1], clock=time.ns)
    ids = [asyncio.run(store.post(1, "text", [], "")).id for _ in range(3)]
    assert ids == sorted(set(ids))
    assert abs(snowflake_ns(ids[0]) - time.ns()) < 2_000_000


def test_strangers_can_delete_damage_and_remove(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    store = MemoryStore([1])
    file = UploadFile("a.bin", path, 0, 10)
    message, other = (asyncio.run(store.post(1, "text", [file], "")) for _ in range(2))
    attachment = message.attachments[0].id
    store.replace_bytes(attachment, lambda data: b"y" * len(data))
    assert asyncio.run(store.read(1, message.id, attachment, 0, 10)) == b"y" * 10
    store.delete_quietly(1, [message.id])
    with pytest.raises(RemoteGone):
        asyncio.run(store.read(1, message.id, attachment, 0, 10))
    store.remove_channel(1)
    with pytest.raises(RemoteGone):
        asyncio.run(store.fetch(1, other.id))


def test_limits_it_keeps_may_be_less_than_it_says() -> None:
    store = MemoryStore([1], limits=Limits(10 * MIB, 25 * MIB, 10), assumed=Limits(20 * MIB, 25 * MIB, 10))
    assert asyncio.run(store.limits(1)).file_bytes == 20 * MIB
