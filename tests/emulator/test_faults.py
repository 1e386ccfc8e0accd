"""Faults on order: each does what its name says, as often as asked, and nothing else."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from .harness import NO_LIMITS, Client, Emulate

POSTS = {"route": "/channels/{id}/messages", "method": "POST"}


def test_a_status_strikes_the_nth_time(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/faults", **POSTS, kind="status", status=502, nth=2, count=2)
        assert [(await client.post("x")).status for _ in range(4)] == [200, 502, 502, 200]
        assert (await client.stats())["messages"] == 2

    emulate(scenario, NO_LIMITS)


@pytest.mark.parametrize(("kind", "kept"), [("reset", 0), ("reset_after_commit", 1)])
def test_a_reset_before_or_after_the_commit(emulate: Emulate, kind: str, kept: int) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/faults", **POSTS, kind=kind)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await client.post("x", {"a.bin": bytes(1 << 20)})
        assert (await client.stats())["messages"] == kept

    emulate(scenario, NO_LIMITS)


def test_timeouts_end_with_the_client(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/faults", kind="timeout")
        with pytest.raises(asyncio.TimeoutError):
            await client.ask("GET", "/users/@me", timeout=aiohttp.ClientTimeout(total=0.1))
        assert (await client.ask("GET", "/users/@me")).status == 200

    emulate(scenario, NO_LIMITS)


def test_answers_are_cut_or_spoilt(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        data = bytes(100_000)
        url = (await client.posted("", {"a.bin": data}))["attachments"][0]["url"]
        for route, target in (
            ("cdn", url),
            ("/channels/{id}", f"{client.address.api}/channels/{client.channel}"),
        ):
            headers = {"Authorization": client.authorization}
            good = (await client.fetch("GET", target, headers=headers)).data
            await client.control("POST", "/faults", route=route, kind="corrupt")
            spoilt = (await client.fetch("GET", target, headers=headers)).data
            assert sum(a != b for a, b in zip(good, spoilt, strict=True)) == 1
            await client.control("POST", "/faults", route=route, kind="truncate")
            with pytest.raises(aiohttp.ClientPayloadError):
                await client.fetch("GET", target, headers=headers)
            await client.control("POST", "/faults", route=route, kind="slow", delay_s=0.05)
            assert (await client.fetch("GET", target, headers=headers)).data == good
        assert (await client.stats())["faults"] == 6

    emulate(scenario, NO_LIMITS)


def test_chance_is_repeatable_and_faults_can_be_cleared(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/faults", kind="status", status=500, probability=0.5)
        statuses = [(await client.ask("GET", "/users/@me")).status for _ in range(40)]
        assert 5 < statuses.count(500) < 35
        await client.control("POST", "/settings", fault_seed=1)
        await client.control("POST", "/settings", fault_seed=0)
        assert [(await client.ask("GET", "/users/@me")).status for _ in range(40)] == statuses
        await client.control("DELETE", "/faults")
        assert (await client.ask("GET", "/users/@me")).status == 200

    emulate(scenario, NO_LIMITS)


def test_orders_that_make_no_sense_are_refused(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        for order in ({"kind": "nothing"}, {"kind": "status", "nth": 0}, {"kind": "reset", "oops": 1}):
            assert (await client.control("POST", "/faults", **order)).status == 400

    emulate(scenario, NO_LIMITS)


def test_uploads_are_held_until_released(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/settings", hold_uploads=True)
        posts = [asyncio.ensure_future(client.post("x", {"a.bin": b"x"})) for _ in range(3)]
        while (await client.stats())["uploads"] < 3:
            await asyncio.sleep(0)
        assert not any(post.done() for post in posts)
        assert (await client.stats())["messages"] == 0
        await client.control("POST", "/release")
        assert {answer.status for answer in await asyncio.gather(*posts)} == {200}
        assert (await client.stats())["peak_uploads"] == 3
        assert (await client.post("x")).status == 200

    emulate(scenario, NO_LIMITS)


def test_a_held_request_is_released_too(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/faults", kind="hold", route="/users/@me")
        held = asyncio.ensure_future(client.ask("GET", "/users/@me"))
        while not (await client.stats())["faults"]:
            await asyncio.sleep(0)
        await client.control("POST", "/release")
        assert (await held).status == 200

    emulate(scenario, NO_LIMITS)


def test_latency_and_bandwidth(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        loop = asyncio.get_running_loop()
        url = (await client.posted("", {"a.bin": bytes(20_000)}))["attachments"][0]["url"]
        await client.control("POST", "/settings", latency_ms=100)
        start = loop.time()
        await client.ask("GET", "/users/@me")
        assert loop.time() - start >= 0.1
        await client.control("POST", "/settings", latency_ms=0, bandwidth_bps=1_600_000)
        start = loop.time()
        await client.fetch("GET", url)
        assert loop.time() - start >= 0.09

    emulate(scenario, NO_LIMITS)


def test_stored_bytes_can_be_tampered_with(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        one = (await client.posted("", {"a.bin": bytes(100)}))["attachments"][0]
        await client.control("POST", "/tamper", attachment_id=one["id"], offset=50)
        assert (await client.fetch("GET", one["url"])).data[50] == 0xFF
        await client.control("POST", "/tamper", attachment_id=one["id"], kind="truncate", offset=10)
        assert len((await client.fetch("GET", one["url"])).data) == 10
        await client.control("POST", "/tamper", attachment_id=one["id"], kind="delete")
        assert (await client.fetch("GET", one["url"])).status == 404

    emulate(scenario, NO_LIMITS)
