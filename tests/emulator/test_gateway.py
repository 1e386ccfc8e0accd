"""The gateway, spoken to by hand: what discord.py hides, and what it never does wrong."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import zstandard

from .harness import NO_LIMITS, Client, Emulate, check

GUILDS, MESSAGES, CONTENT = 1 << 0, 1 << 9, 1 << 15
Socket = aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def gateway(client: Client, query: str = "v=10&encoding=json") -> AsyncIterator[Socket]:
    async with client.session.ws_connect(f"{client.address.gateway}?{query}") as socket:
        yield socket


async def receive(socket: Socket) -> Any:
    return await socket.receive_json(timeout=5)


async def identify(socket: Socket, token: str, intents: int = GUILDS | MESSAGES | CONTENT) -> Any:
    """The data of READY; GUILD_CREATE is read too."""
    assert (await receive(socket))["op"] == 10
    properties = {"os": "linux", "browser": "test", "device": "test"}
    data = {"token": token, "intents": intents, "properties": properties}
    await socket.send_json({"op": 2, "d": data})
    ready = await receive(socket)
    if intents & GUILDS:
        assert (await receive(socket))["t"] == "GUILD_CREATE"
    assert (ready["t"], ready["s"]) == ("READY", 1)
    return ready["d"]


async def close_code(socket: Socket) -> int | None:
    while (await socket.receive(timeout=5)).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
        pass
    return socket.close_code


def test_events_of_messages_and_channels(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            ready = await identify(socket, client.address.token)
            check(ready["user"], "UserPIIResponse")
            assert ready["resume_gateway_url"] == client.address.gateway
            message = await client.posted("hello", {"a.bin": b"x"}, nonce="abc")
            created = await receive(socket)
            assert created["t"] == "MESSAGE_CREATE"
            assert created["d"]["nonce"] == "abc"
            assert created["d"]["guild_id"] == client.address.guild_id
            check({key: created["d"][key] for key in message}, "MessageResponse")
            path = f"{client.messages}/{message['id']}"
            await client.ask("PATCH", path, json={"content": "y"})
            await client.ask("DELETE", path)
            others = [(await client.posted("z"))["id"] for _ in range(2)]
            await client.ask("POST", f"{client.messages}/bulk-delete", json={"messages": others})
            guild = f"/guilds/{client.address.guild_id}/channels"
            made = (await client.ask("POST", guild, json={"name": "new"})).json
            await client.ask("PATCH", f"/channels/{made['id']}", json={"name": "renamed"})
            await client.ask("DELETE", f"/channels/{made['id']}")
            names = [(await receive(socket))["t"] for _ in range(8)]
            expected = ["UPDATE", "DELETE", "CREATE", "CREATE", "DELETE_BULK"]
            assert names == [f"MESSAGE_{each}" for each in expected] + [
                f"CHANNEL_{each}" for each in ("CREATE", "UPDATE", "DELETE")
            ]

    emulate(scenario, NO_LIMITS)


def test_intents_choose_the_events(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as quiet, gateway(client) as blind:
            await identify(quiet, client.address.token, GUILDS)
            await identify(blind, client.address.token, GUILDS | MESSAGES)
            user = (await client.control("POST", "/users", name="anna", bot=False)).json
            await client.as_user(user).posted("hidden")
            event = await receive(blind)
            assert (event["t"], event["d"]["content"]) == ("MESSAGE_CREATE", "")
            await client.ask("PATCH", f"/channels/{client.channel}", json={"topic": "t"})
            assert (await receive(quiet))["t"] == "CHANNEL_UPDATE"

    emulate(scenario, NO_LIMITS)


def test_nobody_hears_of_a_channel_they_cannot_see(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        owner = next(each for each in (await client.control("GET", "/users")).json if each["name"] == "owner")
        async with gateway(client) as socket:
            await identify(socket, client.address.token)
            await client.control("POST", "/permissions", channel_id=client.channel, view=False)
            assert (await receive(socket))["t"] == "CHANNEL_UPDATE"
            await client.as_user(owner).posted("unheard")
            await client.control("POST", "/permissions", channel_id=client.channel, view=True)
            assert (await receive(socket))["t"] == "CHANNEL_UPDATE"

    emulate(scenario, NO_LIMITS)


def test_heartbeats_are_acknowledged(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            hello = await receive(socket)
            assert hello["d"]["heartbeat_interval"] == 41250
            await socket.send_json({"op": 1, "d": None})
            assert (await receive(socket))["op"] == 11

    emulate(scenario, NO_LIMITS)


def test_a_connection_without_heartbeats_is_given_up(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            assert await close_code(socket) == 4009

    emulate(scenario, NO_LIMITS, "heartbeat_interval_ms=50")


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"op": 2, "d": {"token": "wrong", "intents": 1}}, 4004),
        ({"op": 2, "d": {"token": "TOKEN", "intents": 1 << 15}}, 4014),
        ({"op": 2, "d": {"token": "TOKEN", "intents": -1}}, 4013),
        ({"op": 2, "d": None}, 4002),
        ({"op": 3, "d": {}}, 4003),
        ({"op": 99, "d": {}}, 4001),
        ("not json", 4002),
        ({"op": 1, "d": "x" * 4096}, 4002),
        ({"op": 6, "d": {"token": "TOKEN", "session_id": "x", "seq": "1"}}, 4007),
    ],
)
def test_wrong_payloads_close_with_their_code(emulate: Emulate, payload: Any, code: int) -> None:
    async def scenario(client: Client) -> None:
        body = {"name": "second", "message_content": False}
        token = (await client.control("POST", "/users", **body)).json["token"]
        text = payload if isinstance(payload, str) else json.dumps(payload).replace("TOKEN", token)
        async with gateway(client) as socket:
            await receive(socket)
            await socket.send_str(text)
            assert await close_code(socket) == code

    emulate(scenario, NO_LIMITS)


def test_more_than_120_sends_a_minute_are_too_many(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            for _ in range(121):
                await socket.send_json({"op": 1, "d": None})
            assert await close_code(socket) == 4008

    emulate(scenario, NO_LIMITS)


def test_resume_brings_what_was_missed(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            session = (await identify(socket, client.address.token))["session_id"]
            await client.control("POST", "/gateway", close=4000)
            assert await close_code(socket) == 4000
        made = [(await client.posted(str(number)))["id"] for number in range(3)]
        async with gateway(client) as socket:
            await receive(socket)
            data = {"token": client.address.token, "session_id": session, "seq": 2}
            await socket.send_json({"op": 6, "d": data})
            events = [await receive(socket) for _ in range(4)]
            assert [each["d"].get("id") for each in events[:3]] == made
            assert [each["s"] for each in events] == [3, 4, 5, 6]
            assert events[3]["t"] == "RESUMED"

    emulate(scenario, NO_LIMITS)


def test_a_forgotten_session_is_invalid(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            session = (await identify(socket, client.address.token))["session_id"]
            await client.control("POST", "/gateway", close=4000, forget=True)
            assert await close_code(socket) == 4000
        async with gateway(client) as socket:
            await receive(socket)
            data = {"token": client.address.token, "session_id": session, "seq": 2}
            await socket.send_json({"op": 6, "d": data})
            assert await receive(socket) == {"op": 9, "s": None, "t": None, "d": False}

    emulate(scenario, NO_LIMITS)


@pytest.mark.parametrize("kind", ["zlib-stream", "zstd-stream"])
def test_compression_is_one_stream(emulate: Emulate, kind: str) -> None:
    async def scenario(client: Client) -> None:
        unpack = (
            zlib.decompressobj() if kind == "zlib-stream" else zstandard.ZstdDecompressor().decompressobj()
        )
        async with gateway(client, f"v=10&compress={kind}") as socket:
            for _ in range(3):
                data = await socket.receive_bytes(timeout=5)
                assert json.loads(unpack.decompress(data))["op"] in (10, 11)
                await socket.send_json({"op": 1, "d": None})

    emulate(scenario, NO_LIMITS)


def test_the_last_events_before_the_end_arrive(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            await identify(socket, client.address.token)
            await asyncio.gather(*(client.posted(str(number)) for number in range(20)))
            ids = [int((await receive(socket))["d"]["id"]) for _ in range(20)]
            listed = [int(each["id"]) for each in (await client.ask("GET", client.messages)).json]
            assert sorted(ids) == ids == listed[::-1]

    emulate(scenario, NO_LIMITS)


def test_any_event_can_be_sent(emulate: Emulate) -> None:
    """What the emulator does not do by itself, such as an interaction with its secret token."""

    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            await identify(socket, client.address.token)
            data = {"token": "secret"}
            told = await client.control("POST", "/gateway", event="INTERACTION_CREATE", data=data)
            assert told.json == {"told": 1}
            event = await receive(socket)
            assert (event["t"], event["d"]) == ("INTERACTION_CREATE", data)

    emulate(scenario, NO_LIMITS)
