"""Attachments by URL: ranges, expiry, renewal, and the ways a CDN may misbehave."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from discordfs.emulator.cdn import Span, span_of

from .harness import NO_LIMITS, Client, Emulate

DATA = bytes(range(256)) * 20


async def url_of(client: Client) -> str:
    return str((await client.posted("", {"a.bin": DATA}))["attachments"][0]["url"])


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, Span(0, 100)),
        ("bytes=0-9", Span(0, 10, True)),
        ("bytes=90-", Span(90, 100, True)),
        ("bytes=-10", Span(90, 100, True)),
        ("bytes=-1000", Span(0, 100, True)),
        ("bytes=50-1000", Span(50, 100, True)),
        ("bytes=9-5", Span(0, 100)),
        ("bytes=0-1,5-6", Span(0, 100)),
        ("lines=0-1", Span(0, 100)),
    ],
)
def test_ranges(header: str | None, span: Span) -> None:
    assert span_of(header, 100) == span


def test_a_range_is_answered_with_just_that(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        url = await url_of(client)
        part = await client.fetch("GET", url, headers={"Range": "bytes=100-299"})
        assert (part.status, part.data) == (206, DATA[100:300])
        assert part.headers["Content-Range"] == f"bytes 100-299/{len(DATA)}"
        beyond = await client.fetch("GET", url, headers={"Range": f"bytes={len(DATA)}-"})
        assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")
        head = await client.fetch("HEAD", url)
        assert (head.status, head.data, head.headers["Content-Length"]) == (200, b"", str(len(DATA)))
        await client.control("POST", "/settings", range="off")
        whole = await client.fetch("GET", url, headers={"Range": "bytes=100-299"})
        assert (whole.status, whole.data) == (200, DATA)

    emulate(scenario, NO_LIMITS)


def test_urls_expire_and_are_renewed(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        url = await url_of(client)
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        assert re.fullmatch(r"[0-9a-f]{64}", query["hm"][0])
        assert int(query["ex"][0], 16) - int(query["is"][0], 16) == 86400
        assert (await client.ask("GET", client.messages)).json[0]["attachments"][0]["url"] == url
        await client.control("POST", "/clock", advance_s=86401)
        gone = await client.fetch("GET", url)
        assert (gone.status, gone.data) == (404, b"This content is no longer available.")
        for renewed in (
            (await client.ask("GET", client.messages)).json[0]["attachments"][0]["url"],
            (await client.ask("POST", "/attachments/refresh-urls", json={"attachment_urls": [url]})).json[
                "refreshed_urls"
            ][0]["refreshed"],
        ):
            assert renewed != url
            assert (await client.fetch("GET", renewed)).data == DATA

    emulate(scenario, NO_LIMITS)


def test_the_date_of_answers_tells_the_time_urls_expire_by(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        before = (await client.ask("GET", "/users/@me")).headers["Date"]
        await client.control("POST", "/clock", advance_s=400 * 86400)
        after = (await client.ask("GET", "/users/@me")).headers["Date"]
        assert int(after.split()[3]) == int(before.split()[3]) + 1

    emulate(scenario, NO_LIMITS)


def test_unsigned_and_forged_urls_are_refused(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        url = await url_of(client)
        forged = url.replace("ex=", "ex=f")
        for bad in (url.partition("?")[0], forged, url.replace("a.bin", "b.bin")):
            assert (await client.fetch("GET", bad)).status == 403
        proxy = url.replace("/attachments/", "/media/attachments/")
        assert (await client.fetch("GET", proxy)).status == 415

    emulate(scenario, NO_LIMITS, "gone_status=403")


def test_short_lifetimes_work(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        url = await url_of(client)
        assert (await client.fetch("GET", url)).status == 200
        await client.control("POST", "/clock", advance_s=10)
        assert (await client.fetch("GET", url)).status == 404

    emulate(scenario, NO_LIMITS, "url_lifetime=10")
