"""What the directory keeps: across restarts, across kill -9, and against a second emulator."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from discordfs.emulator import DirectoryBusy, Emulator, Settings, SettingsError, schema

from .harness import NO_LIMITS, Client, Emulate, check, client_of


@contextmanager
def process(directory: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """`python -m discordfs.emulator`, ended at the latest with the block."""
    command = [sys.executable, "-m", "discordfs.emulator", "--dir", str(directory), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as running:
        try:
            assert running.stdout is not None
            yield running, json.loads(running.stdout.readline())
        finally:
            running.kill()


def test_a_restart_keeps_everything(emulate: Emulate) -> None:
    seen: list[Any] = []

    async def before(client: Client) -> None:
        await client.control("POST", "/clock", advance_s=1000)
        seen.extend((await client.posted("kept", {"a.bin": b"abc"}), client.address))

    async def after(client: Client) -> None:
        message, address = seen
        assert (client.address.token, client.address.channel_ids) == (address.token, address.channel_ids)
        (listed,) = (await client.ask("GET", client.messages)).json
        assert listed["id"] == message["id"]
        assert (await client.fetch("GET", listed["attachments"][0]["url"])).data == b"abc"
        assert int((await client.posted("new"))["id"]) > int(message["id"])

    emulate(before, NO_LIMITS)
    emulate(after, NO_LIMITS)


def test_committed_messages_survive_kill_9(tmp_path: Path) -> None:
    async def post(address: Any) -> list[str]:
        url = f"{address['api']}/channels/{address['channel_ids'][0]}/messages"
        headers = {"Authorization": f"Bot {address['token']}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            made = []
            for _ in range(20):
                async with session.post(url, json={"content": "x"}) as answer:
                    made.append((await answer.json())["id"])
            return made

    with process(tmp_path, "--set", NO_LIMITS) as (running, address):
        made = asyncio.run(post(address))
        os.kill(running.pid, signal.SIGKILL)
        running.wait()

    async def look() -> None:
        async with client_of(tmp_path, NO_LIMITS) as client:
            listed = (await client.ask("GET", client.messages)).json
            assert [each["id"] for each in listed] == made[::-1]

    asyncio.run(look())


def test_what_a_crash_leaves_is_swept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(tmp_path, NO_LIMITS) as client:
            await client.posted("", {"a.bin": b"abc"})
        orphans = [tmp_path / "incoming" / "half", tmp_path / "attachments" / "00" / "12345"]
        for orphan in orphans:
            orphan.parent.mkdir(exist_ok=True)
            orphan.write_bytes(b"x")
        async with client_of(tmp_path, NO_LIMITS) as client:
            assert not any(orphan.exists() for orphan in orphans)
            (message,) = (await client.ask("GET", client.messages)).json
            assert (await client.fetch("GET", message["attachments"][0]["url"])).data == b"abc"

    asyncio.run(scenario())


def test_one_directory_has_one_emulator(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(tmp_path):
            with pytest.raises(DirectoryBusy, match="another emulator"):
                await Emulator(tmp_path).start()
        async with client_of(tmp_path):
            pass

    asyncio.run(scenario())


def test_the_command_announces_itself_and_ends_at_sigterm(tmp_path: Path) -> None:
    with process(tmp_path, "--seed", "--set", "url_lifetime=60") as (running, address):
        assert set(address) == {"api", "gateway", "cdn", "token", "guild_id", "channel_ids"}
        assert address["api"].endswith("/api/v10")
        assert len(address["channel_ids"]) > 1
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
        assert running.stderr is not None
        assert running.stderr.read() == ""


def test_settings_say_what_is_wrong() -> None:
    parsed = Settings.parse(["file_limit=8MiB", "rate_limits=off", "url_lifetime=1.5"])
    assert (parsed.file_limit, parsed.rate_limits, parsed.url_lifetime) == (8 << 20, False, 1.5)
    for wrong in (
        "nothing=1",
        "file_limit",
        "file_limit=x",
        "time_scale=0",
        "rate_limits=maybe",
        "latency_ms=-1",
    ):
        with pytest.raises(SettingsError, match=wrong.partition("=")[0]):
            Settings.parse([wrong])


def test_a_directory_of_the_first_format_is_brought_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a demo from an earlier release keeps it."""
    without_comments = re.sub("--.*", "", schema.SCHEMA)  # which DROP COLUMN trips over
    monkeypatch.setattr(schema, "SCHEMA", without_comments)

    async def before() -> None:
        async with client_of(tmp_path, NO_LIMITS) as client:
            await client.posted("kept", {"a.bin": b"abc"})

    def taken_back() -> None:
        with closing(sqlite3.connect(tmp_path / "emulator.sqlite")) as database:
            for table in ("reactions", "votes", "things"):
                database.execute(f"DROP TABLE {table}")
            columns = ["users facts", "roles facts", "channels facts", "channels messages", "channels sent"]
            for each in (*columns, "attachments forwarded"):
                database.execute("ALTER TABLE {} DROP COLUMN {}".format(*each.split()))
            database.execute("PRAGMA user_version=1")

    async def after() -> None:
        async with client_of(tmp_path, NO_LIMITS) as client:
            (message,) = (await client.ask("GET", client.messages)).json
            check(message, "MessageResponse")
            assert (await client.fetch("GET", message["attachments"][0]["url"])).data == b"abc"
            thumb = f"{client.messages}/{message['id']}/reactions/%F0%9F%91%8D/@me"
            assert (await client.ask("PUT", thumb)).status == 204

    asyncio.run(before())
    taken_back()
    asyncio.run(after())
