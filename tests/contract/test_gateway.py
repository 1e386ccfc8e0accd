"""Watching: hints come, a break is told, and nothing of the connection stays."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable

import pytest

from discordfs.remote.base import Exchange, GatewayFrame, Hint
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop

from .harness import CALL_SECONDS, Discord, Rig, remote


class Ear:
    """Collects hints, and waits for those it is asked for."""

    def __init__(self) -> None:
        self.heard: list[Hint] = []
        self._news = threading.Condition()

    def __call__(self, hint: Hint) -> None:
        with self._news:
            self.heard.append(hint)
            self._news.notify_all()

    def wait(self, condition: Callable[[list[Hint]], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: condition(self.heard), 15), self.heard

    def count(self, kind: str) -> int:
        return sum(hint.kind == kind for hint in self.heard)


@pytest.fixture
def ear(bot: DiscordRemote, bare: Rig) -> Ear:
    listening = Ear()

    bare.call(bot.login())
    bot.watch([bare.channel], listening)
    listening.wait(lambda heard: any(hint.kind == "resync" for hint in heard))
    return listening


def test_bulk_deletions_and_edits_are_heard(bare: Rig, bot: DiscordRemote, ear: Ear) -> None:
    """A read-only mount elsewhere follows the log by these."""
    ids = [bare.post(content=f"message {number}").id for number in range(3)]
    bare.call(bot.request("PATCH", f"/channels/{bare.channel}/messages/{ids[0]}", json={"content": "edited"}))
    ear.wait(lambda heard: Hint("update", bare.channel, (ids[0],)) in heard)
    bare.call(bot.delete(bare.channel, ids))
    ear.wait(lambda heard: Hint("delete", bare.channel, tuple(sorted(ids))) in heard)


@pytest.mark.expects_log("the gateway ended: ConnectionClosed")
def test_a_session_that_was_lost_is_told_as_a_resync(discord: Discord, bare: Rig, loop: Loop) -> None:
    """What happened meanwhile was missed: only a listing can tell. 4004 allows no resuming."""
    listening = Ear()

    async def hurry(seconds: float) -> None:
        await asyncio.sleep(0)

    with remote(discord, loop, sleep=hurry) as store:
        store.watch([bare.channel], listening)
        loop.call(store.login(), CALL_SECONDS)
        listening.wait(lambda heard: listening.count("resync") == 1)
        discord.control("POST", "/gateway", {"close": 4004})
        listening.wait(lambda heard: listening.count("resync") == 2)
        message = bare.post(content="afterwards")
        listening.wait(lambda heard: Hint("create", bare.channel, (message.id,)) in heard)


def test_a_resumed_session_has_missed_nothing(discord: Discord, bare: Rig, ear: Ear) -> None:
    discord.control("POST", "/gateway", {"close": 4000})
    message = bare.post(content="meanwhile")
    ear.wait(lambda heard: Hint("create", bare.channel, (message.id,)) in heard)
    assert ear.count("resync") == 1


def test_frames_and_exchanges_are_observed_without_the_token(
    discord: Discord, bare: Rig, bot: DiscordRemote
) -> None:
    """The archive keeps what it observes: a token in it would be published with it."""
    seen: list[Exchange | GatewayFrame] = []
    ready = threading.Event()

    def observe(event: Exchange | GatewayFrame) -> None:
        seen.append(event)
        if isinstance(event, GatewayFrame) and '"READY"' in event.data:
            ready.set()

    end = bot.observe(observe)
    bot.connect_gateway()
    bare.ids()
    assert ready.wait(15)
    bare.post(content="observed")
    end()
    count = len(seen)
    bare.post(content="not observed")
    assert len(seen) == count
    sent = [event for event in seen if isinstance(event, GatewayFrame) and event.direction == "send"]
    assert any(json.loads(event.data)["op"] == 2 for event in sent)
    post = next(event for event in seen if isinstance(event, Exchange) and event.method == "POST")
    assert (post.status, json.loads(post.data)["content"], post.attempt) == (200, "observed", 1)
    assert post.started_ns <= post.ended_ns
    assert not any(discord.address.token in repr(event) for event in seen)


@pytest.mark.expects_log("may not use MESSAGE_CONTENT")
def test_the_message_content_intent_is_done_without_where_it_is_not_allowed(
    discord: Discord, loop: Loop, bare: Rig
) -> None:
    other = discord.user("without-intent", bot=True, message_content=False)
    listening = Ear()
    with remote(discord, loop, token=other["token"], message_content=True) as store:
        store.watch([bare.channel], listening)
        loop.call(store.login(), CALL_SECONDS)
        listening.wait(lambda heard: any(hint.kind == "resync" for hint in heard))
