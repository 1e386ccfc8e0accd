"""Runs an emulator and a client for one test, and checks answers against Discord's own description of
its API.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import io
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator
from yarl import URL

from discordfs.emulator import Address, Emulator, Settings

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "discord-openapi-v10.json"
OPENAPI = Path(os.environ.get("DISCORD_OPENAPI", _BESIDE))
NO_LIMITS = "rate_limits=off"


@dataclass(frozen=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> int:
        """Discord's error code."""
        return int(self.json["code"])


class Client:
    """Speaks to one emulator as one user; the default bot unless told otherwise."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.address: Address = emulator.address
        self.session = session
        self.authorization = f"Bot {self.address.token}"
        self.channel = self.address.channel_ids[0]
        self.messages = f"/channels/{self.channel}/messages"

    def as_user(self, user: Mapping[str, Any]) -> Client:
        """The same connection as somebody else."""
        other = Client(self.emulator, self.session)
        other.authorization = ("Bot " if user["bot"] else "") + str(user["token"])
        return other

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """An API request by its path."""
        headers = {"Authorization": self.authorization, **more.pop("headers", {})}
        return await self.fetch(method, self.address.api + path, headers=headers, **more)

    async def fetch(self, method: str, url: str, **more: Any) -> Answer:
        """Any request by its URL."""
        async with self.session.request(method, URL(url, encoded=True), **more) as response:
            return Answer(response.status, response.headers, await response.read())

    async def control(self, method: str, path: str, /, **body: Any) -> Answer:
        """A request to the control endpoints."""
        return await self.fetch(method, f"{self.address.cdn}/_emulator{path}", json=body or None)

    async def stats(self) -> Any:
        return (await self.control("GET", "/stats")).json

    async def post(
        self, content: str = "", files: Mapping[str, bytes] | None = None, **fields: Any
    ) -> Answer:
        """Posts a message, by multipart if there are files (name to bytes)."""
        payload = {"content": content, **fields}
        if files is None:
            return await self.ask("POST", self.messages, json=payload)
        return await self.ask("POST", self.messages, data=form(payload, files))

    async def posted(self, content: str = "", files: Mapping[str, bytes] | None = None, **fields: Any) -> Any:
        """The JSON of a message whose posting must succeed."""
        answer = await self.post(content, files, **fields)
        assert answer.status == 200, answer
        return answer.json


def form(payload: Mapping[str, Any], files: Mapping[str, bytes]) -> aiohttp.FormData:
    """A multipart body the way clients of Discord build it."""
    data = aiohttp.FormData(quote_fields=False)
    data.add_field("payload_json", json.dumps(payload), content_type="application/json")
    for number, (name, content) in enumerate(files.items()):
        kind = "application/octet-stream"
        data.add_field(f"files[{number}]", io.BytesIO(content), filename=name, content_type=kind)
    return data


@asynccontextmanager
async def client_of(directory: Path, *settings: str) -> AsyncIterator[Client]:
    """A started emulator with a client."""
    emulator = Emulator(directory, Settings.parse(settings))
    await emulator.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(emulator, session)
    finally:
        await emulator.stop()


Scenario = Callable[[Client], Awaitable[None]]
Emulate = Callable[..., None]


def emulate_in(directory: Path) -> Emulate:
    """Runs scenarios, each with its own emulator on this directory."""

    def emulate(scenario: Scenario, *settings: str) -> None:
        async def whole() -> None:
            async with client_of(directory, *settings) as client:
                await scenario(client)

        asyncio.run(asyncio.wait_for(whole(), 60))

    return emulate


@functools.cache
def _document() -> dict[str, Any]:
    if not OPENAPI.exists():
        pytest.skip(f"Discord's OpenAPI file is not at {OPENAPI}")
    document: dict[str, Any] = json.loads(OPENAPI.read_text())
    return document


@functools.cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**_document(), **json.loads(schema)})


def check(body: Any, name: str, many: bool = False) -> None:
    """Fails unless `body` (or each of its items) is what the schema of this name describes."""
    reference = {"$ref": f"#/components/schemas/{name}"}
    schema = {"type": "array", "items": reference} if many else reference
    problems = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in _validator(json.dumps(schema)).iter_errors(as_described(body))
    ]
    assert not problems, problems


def as_described(body: Any) -> Any:
    """A copy without what Discord sends and its own description rejects: width and height of null, media
    channels (told as forums), forwards (told as replies).
    """
    body = copy.deepcopy(body)
    for attachment in _attachments(body):
        for key in ("width", "height"):
            if attachment.get(key, 0) is None:
                del attachment[key]
    for each in _objects(body):
        if each.get("type") == 16:
            each["type"] = 15
        if each.get("message_reference", {}).get("type") == 1:
            each["message_reference"]["type"] = 0
    return body


def _objects(body: Any) -> list[dict[str, Any]]:
    """All objects in a body."""
    if isinstance(body, list):
        return [each for item in body for each in _objects(item)]
    if not isinstance(body, dict):
        return []
    return [body, *(each for value in body.values() for each in _objects(value))]


def _attachments(body: Any) -> list[dict[str, Any]]:
    return [one for each in _objects(body) for one in each.get("attachments", []) if isinstance(one, dict)]
