"""Rate limits: a client that keeps to the headers is never refused, one that does not is, in Discord's
form.
"""

from __future__ import annotations

import asyncio

from .harness import Client, Emulate, check


def test_a_bucket_runs_out_and_fills_again(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        left = []
        for _ in range(5):
            answer = await client.post("x")
            left.append(int(answer.headers["X-RateLimit-Remaining"]))
        assert left == [4, 3, 2, 1, 0]
        assert answer.headers["X-RateLimit-Limit"] == "5"
        assert 0 < float(answer.headers["X-RateLimit-Reset-After"]) <= 5
        refused = await client.post("x")
        assert refused.status == 429
        check(refused.json, "RatelimitedResponse")
        assert refused.json["global"] is False
        assert 0 < refused.json["retry_after"] <= 5
        assert refused.headers["X-RateLimit-Scope"] == "user"
        assert refused.headers["X-RateLimit-Bucket"] == answer.headers["X-RateLimit-Bucket"]
        assert refused.headers["Retry-After"].isdigit()
        assert refused.headers["Via"]
        await client.control("POST", "/clock", advance_s=5)
        assert (await client.post("x")).status == 200
        assert (await client.stats())["rate_limited"] == 1

    emulate(scenario)


def test_buckets_are_apart_by_channel_and_route(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        guild = f"/guilds/{client.address.guild_id}/channels"
        other = (await client.ask("POST", guild, json={"name": "other"})).json["id"]
        for _ in range(5):
            await client.post("x")
        assert (await client.post("x")).status == 429
        assert (await client.ask("POST", f"/channels/{other}/messages", json={"content": "x"})).status == 200
        assert (await client.ask("GET", client.messages)).status == 200

    emulate(scenario)


def test_old_messages_have_a_slower_bucket(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        old = (await client.posted("old"))["id"]
        await client.control("POST", "/clock", advance_s=15 * 86400)
        young = (await client.posted("young"))["id"]
        first, second = [await client.ask("DELETE", f"{client.messages}/{each}") for each in (old, young)]
        assert (first.headers["X-RateLimit-Limit"], second.headers["X-RateLimit-Limit"]) == ("30", "5")
        assert first.headers["X-RateLimit-Bucket"] != second.headers["X-RateLimit-Bucket"]

    emulate(scenario)


def test_the_global_limit(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        answers = await asyncio.gather(*(client.ask("GET", "/users/@me") for _ in range(11)))
        refused = [each for each in answers if each.status == 429]
        assert len(refused) == 1
        assert refused[0].json["global"] is True
        assert refused[0].headers["X-RateLimit-Global"] == "true"
        assert refused[0].headers["X-RateLimit-Scope"] == "global"
        check(refused[0].json, "RatelimitedResponse")

    emulate(scenario, "global_limit=10", "global_window=3600", "read_limit=100")


def test_a_fast_clock_shortens_the_client_s_wait(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        answer = await client.post("x")
        assert float(answer.headers["X-RateLimit-Reset-After"]) <= 3600 / 1000

    emulate(scenario, "post_window=3600", "time_scale=1000")


def test_too_many_invalid_answers_are_blocked_by_cloudflare(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        client.authorization = "Bot wrong"
        for _ in range(10):
            assert (await client.ask("GET", "/users/@me")).status == 401
        client.authorization = f"Bot {client.address.token}"
        blocked = await client.ask("GET", "/users/@me")
        assert (blocked.status, blocked.data) == (429, b"error code: 1015")
        assert "Via" not in blocked.headers
        assert blocked.headers["Content-Type"].startswith("text/plain")
        await client.control("POST", "/clock", advance_s=601)
        assert (await client.ask("GET", "/users/@me")).status == 200

    emulate(scenario, "invalid_limit=10")
