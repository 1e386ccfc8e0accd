"""Single attempts as they went, and whole files: what an archive is made of."""

from __future__ import annotations

import json

import pytest

from discordfs.errors import RateLimited, RemoteError, RemoteGone, Unauthorized, Unavailable
from discordfs.remote.answers import failure_of
from discordfs.remote.base import Exchange, GatewayFrame
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import RetryingApi

from .harness import CALL_SECONDS, Discord, Rig, remote


def test_an_exchange_is_given_whatever_the_answer_is(bare: Rig, bot: DiscordRemote) -> None:
    """A refusal is as much a part of an archive as a page."""
    good = bare.call(bot.exchange("GET", f"/channels/{bare.channel}/messages", params={"limit": 3}))
    assert (good.status, good.data, good.attempt, failure_of("x", good)) == (200, "[]", 1, None)
    gone = bare.call(bot.exchange("GET", "/channels/1", attempt=4))
    assert (gone.status, gone.attempt) == (404, 4)
    assert json.loads(gone.data)["code"] == 10003
    assert isinstance(failure_of("x", gone), RemoteGone)


def test_an_attempt_without_an_answer_says_so(discord: Discord, bare: Rig, bot: DiscordRemote) -> None:
    route = f"/channels/{bare.channel}/messages"
    discord.fault(route="/channels/{id}/messages", method="GET", kind="reset", nth=1)
    lost = bare.call(bot.exchange("GET", route))
    assert (lost.status, lost.data) == (0, "")
    assert lost.error
    assert isinstance(failure_of("x", lost), Unavailable)


@pytest.mark.expects_log("429 for")
def test_a_429_is_an_exchange_and_says_how_long_to_wait(
    discord: Discord, bare: Rig, bot: DiscordRemote
) -> None:
    discord.fault(route="/channels/{id}/messages", method="GET", kind="status", status=429, nth=1)
    told = bare.call(RetryingApi(bot).exchange("GET", f"/channels/{bare.channel}/messages"))
    assert told.status == 429
    assert isinstance(failure_of("x", told), RateLimited)


def test_observers_see_single_attempts_too(bare: Rig, bot: DiscordRemote) -> None:
    seen: list[Exchange | GatewayFrame] = []
    end = bot.observe(seen.append)
    exchange = bare.call(bot.exchange("GET", f"/channels/{bare.channel}"))
    end()
    assert seen == [exchange]


def test_after_a_401_nothing_is_sent(discord: Discord, loop: Loop) -> None:
    with remote(discord, loop, token="none.at.all") as store:
        refused = loop.call(store.exchange("GET", "/users/@me"), CALL_SECONDS)
        assert refused.status == 401
        with pytest.raises(Unauthorized):
            loop.call(store.exchange("GET", "/users/@me"), CALL_SECONDS)


def test_a_persons_token_goes_as_it_is(discord: Discord, loop: Loop) -> None:
    anna = discord.user("anna", bot=False)
    with remote(discord, loop, token=str(anna["token"]), is_user_account=True) as store:
        me = loop.call(store.request("GET", "/users/@me"), CALL_SECONDS)
    assert me["username"] == "anna"


def test_a_whole_file_comes_in_pieces(discord: Discord, bare: Rig, bot: DiscordRemote) -> None:
    message = bare.post(b"0123456789" * 100_000)
    raw = bare.call(bot.request("GET", f"/channels/{bare.channel}/messages/{message.id}"))
    url, got = raw["attachments"][0]["url"], bytearray()
    fetched = bare.call(bot.download(url, got.extend))
    assert (fetched.status, fetched.size, fetched.error) == (200, 1_000_000, "")
    assert bytes(got) == b"0123456789" * 100_000
    assert bot.traffic().bytes_down >= 1_000_000


def test_no_page_that_says_gone_gets_into_a_file(bare: Rig, bot: DiscordRemote) -> None:
    message = bare.post(b"bytes")
    raw = bare.call(bot.request("GET", f"/channels/{bare.channel}/messages/{message.id}"))
    unsigned, got = raw["attachments"][0]["url"].partition("?")[0], bytearray()
    fetched = bare.call(bot.download(unsigned, got.extend))
    assert fetched.status == 404
    assert not got


def test_a_file_that_breaks_off_says_so(discord: Discord, bare: Rig, bot: DiscordRemote) -> None:
    message = bare.post(b"0123456789" * 10_000)
    raw = bare.call(bot.request("GET", f"/channels/{bare.channel}/messages/{message.id}"))
    discord.fault(route="cdn", method="GET", kind="truncate", nth=1)
    got = bytearray()
    fetched = bare.call(bot.download(raw["attachments"][0]["url"], got.extend))
    assert fetched.error or fetched.size != 100_000 == int(fetched.headers["content-length"])


def test_a_gateway_that_was_left_is_silent(discord: Discord, bare: Rig, bot: DiscordRemote) -> None:
    seen: list[Exchange | GatewayFrame] = []
    bare.call(bot.exchange("GET", "/users/@me"))
    end = bot.observe(seen.append)
    bot.connect_gateway()
    bare.call(bot.disconnect_gateway())
    seen.clear()
    bare.post(content="nobody hears this")
    assert not [event for event in seen if isinstance(event, GatewayFrame)]
    end()


def test_a_closed_connection_is_an_error(discord: Discord, loop: Loop) -> None:
    with remote(discord, loop) as store:
        loop.call(store.close(), CALL_SECONDS)
        with pytest.raises(RemoteError):
            loop.call(store.exchange("GET", "/users/@me"), CALL_SECONDS)
        with pytest.raises(RemoteError):
            loop.call(store.download(discord.address.cdn, lambda piece: None), CALL_SECONDS)
