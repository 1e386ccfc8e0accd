"""What goes wrong between here and Discord, and what becomes of it: over HTTP, with the emulator's faults."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from discordfs.errors import (
    Forbidden,
    OutcomeUnknown,
    RateLimited,
    RemoteError,
    RemoteGone,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from discordfs.remote.base import snowflake_ns
from discordfs.remote.client import DiscordRemote
from discordfs.remote.http import Timeouts
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import Patience, RetryingStore

from .harness import CALL_SECONDS, Discord, Rig, remote

POST = "/channels/{id}/messages"
DATA = random.Random(2).randbytes(1_000_000)
QUICK = Patience(deadline=20.0, first=0.01, longest=0.05)


@pytest.fixture
def patient(bare: Rig, loop: Loop) -> Rig:
    return Rig(RetryingStore(bare.store, QUICK), loop, bare.channel, bare.directory)


@contextmanager
def impatient(discord: Discord, loop: Loop, directory: Path) -> Iterator[Rig]:
    """A store that waits for answers for a moment only."""
    timeouts = Timeouts(connect=1.0, silence=0.2, total=5.0)
    with remote(discord, loop, timeouts=timeouts) as store:
        directory.mkdir()
        yield Rig(store, loop, discord.channels[0], directory)


@pytest.mark.expects_log("429 for POST")
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "reset"}, OutcomeUnknown),
        ({"kind": "reset_after_commit"}, OutcomeUnknown),
        ({"kind": "truncate"}, OutcomeUnknown),
        ({"kind": "status", "status": 500}, OutcomeUnknown),
        ({"kind": "status", "status": 503}, OutcomeUnknown),
        ({"kind": "status", "status": 502}, OutcomeUnknown),
        ({"kind": "status", "status": 413}, TooLarge),
        ({"kind": "status", "status": 403}, Forbidden),
        ({"kind": "status", "status": 404}, RemoteGone),
        ({"kind": "status", "status": 429}, RateLimited),
    ],
)
def test_a_failed_post_says_what_is_known(
    discord: Discord, bare: Rig, fault: dict[str, object], error: type[RemoteError]
) -> None:
    """Whether it may have happened decides between repeating and looking."""
    discord.fault(route=POST, method="POST", **fault)
    with pytest.raises(error) as caught:
        bare.post(DATA, nonce="n")
    assert type(caught.value).__mro__.index(error) <= 1
    assert discord.count(f"POST {POST}") == 1  # once: nothing below retrying.py repeats


@pytest.mark.parametrize("kind", ["reset", "reset_after_commit", "truncate", "status"])
def test_a_repeated_post_is_one_message_with_whole_files(discord: Discord, patient: Rig, kind: str) -> None:
    """A file sent from the middle, or a twin, would each be somebody's data."""
    discord.fault(route=POST, method="POST", kind=kind, count=2)
    message = patient.post(DATA, b"second", nonce="n")
    assert discord.count(f"POST {POST}") == 3
    assert [each.size for each in message.attachments] == [len(DATA), 6]
    assert patient.read(message, 0, len(DATA)) == DATA
    assert patient.ids() == [message.id]


def test_a_silent_server_is_given_up(discord: Discord, loop: Loop, tmp_path: Path) -> None:
    with impatient(discord, loop, tmp_path / "impatient") as rig:
        message = rig.post(DATA)
        discord.fault(route=POST, method="POST", kind="timeout", delay_s=20)
        with pytest.raises(OutcomeUnknown):
            rig.post(DATA, nonce="n")
        discord.fault(route=f"{POST}/{{id}}", method="GET", kind="timeout", delay_s=20)
        with pytest.raises(Unavailable) as caught:
            rig.call(rig.store.fetch(rig.channel, message.id))
        assert not isinstance(caught.value, OutcomeUnknown)


def test_a_server_that_is_not_there_is_unavailable_for_certain(loop: Loop, tmp_path: Path) -> None:
    """Nothing was sent: the caller may post anew without looking."""
    store = DiscordRemote("token", api="http://127.0.0.1:9/api/v10")
    try:
        with pytest.raises(Unavailable) as caught:
            loop.call(store.post(1 << 22, "text", [], "n"), CALL_SECONDS)
        assert not isinstance(caught.value, OutcomeUnknown)
    finally:
        loop.call(store.close(), CALL_SECONDS)


def test_closing_ends_what_is_under_way_and_refuses_what_comes(
    discord: Discord, patient: Rig, bot: DiscordRemote
) -> None:
    """Unmounting must not wait for a server that does not answer."""
    discord.fault(route=POST, method="GET", kind="timeout", delay_s=20)

    async def close_under_it() -> BaseException | None:
        listing = asyncio.ensure_future(patient.store.list(patient.channel))
        while not bot.traffic().requests:
            await asyncio.sleep(0)
        await bot.close()
        await asyncio.wait([listing], timeout=5)
        return listing.exception()

    assert isinstance(patient.call(close_under_it()), RemoteError)
    with pytest.raises(RemoteError, match="closed"):
        patient.ids()
    with pytest.raises(RemoteError, match="closed"):
        patient.call(patient.store.read(patient.channel, 1, 1, 0, 1))


# --- 401 -----------------------------------------------------------------------------------------


def test_a_wrong_token_is_asked_once(discord: Discord, loop: Loop) -> None:
    with remote(discord, loop, token="wrong.token.here") as store:
        for _ in range(3):
            with pytest.raises(Unauthorized):
                loop.call(store.login(), CALL_SECONDS)
    assert discord.count("GET /users/@me") == 1


def test_after_a_401_the_api_is_left_alone_until_there_is_a_token(
    discord: Discord, bot: DiscordRemote, bare: Rig
) -> None:
    message = bare.post(DATA)
    discord.fault(route=POST, method="GET", kind="status", status=401)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            bare.ids()
    assert discord.count(f"GET {POST}") == 1
    assert bare.read(message, 0, 100) == DATA[:100]  # its URL is known: the CDN needs no token
    bot.use_token(discord.address.token)
    assert bare.ids() == [message.id]


def test_requests_in_the_queue_when_the_401_comes_are_not_sent(
    discord: Discord, bot: DiscordRemote, loop: Loop
) -> None:
    discord.fault(route=POST, method="GET", kind="status", status=401, count=10)
    channel = discord.channels[0]

    async def burst() -> list[object]:
        lists = (bot.list(channel) for _ in range(10))
        return [*await asyncio.gather(*lists, return_exceptions=True)]

    assert all(isinstance(each, Unauthorized) for each in loop.call(burst(), CALL_SECONDS))
    assert discord.count(f"GET {POST}") == 1


@pytest.mark.expects_log("429 for GET")
def test_the_token_shows_in_no_error_and_no_log(
    discord: Discord, bot: DiscordRemote, loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has the token has the drive, and logs are pasted into bug reports."""
    errors: list[str] = []

    def attempt(order: dict[str, object]) -> None:
        discord.fault(route="/users/@me", **order)
        try:
            loop.call(bot.login(), CALL_SECONDS)
        except RemoteError:
            errors.append(traceback.format_exc())
        discord.control("DELETE", "/faults")

    with caplog.at_level(logging.DEBUG):
        for kind in ("reset", "truncate", "reset_after_commit"):
            attempt({"kind": kind})
        for status in (500, 429, 403, 401):
            attempt({"kind": "status", "status": status})
    assert len(errors) == 7
    for text in (*errors, caplog.text, repr(bot), repr(vars(bot))):
        assert discord.address.token not in text


# --- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reset", "truncate", "status"])
def test_a_read_that_breaks_is_taken_up_again(discord: Discord, bare: Rig, kind: str) -> None:
    message = bare.post(DATA)
    discord.fault(route="cdn", kind=kind, count=2)
    assert bare.read(message, 1000, 900_000) == DATA[1000:901_000]


def test_a_cdn_that_stays_broken_is_unavailable(discord: Discord, bare: Rig) -> None:
    message = bare.post(DATA)
    discord.fault(route="cdn", kind="reset", count=50)
    with pytest.raises(Unavailable):
        bare.read(message, 0, 1000)


def test_a_server_that_ignores_ranges_still_gives_the_right_bytes(discord: Discord, bare: Rig) -> None:
    discord.settings(range=False)
    message = bare.post(DATA)
    assert bare.read(message, 700_000, 1000) == DATA[700_000:701_000]
    assert bare.store.traffic().requests["GET cdn (whole file, as Range was ignored)"] == 1


def test_expired_urls_are_renewed_before_use(discord: Discord, bare: Rig) -> None:
    """A drive that is mounted for longer than a day reads on."""
    message = bare.post(DATA)
    discord.control("POST", "/clock", {"advance_s": 90_000})
    bare.call(bare.store.list(bare.channel, limit=1))  # any answer tells the time
    assert bare.read(message, 0, 100) == DATA[:100]
    assert discord.stats()["cdn"]["requests"] == 1


def test_a_url_that_the_cdn_refuses_is_renewed_once(discord: Discord, bare: Rig) -> None:
    message = bare.post(DATA)
    discord.control("POST", "/clock", {"advance_s": 90_000})
    assert bare.read(message, 0, 100) == DATA[:100]
    assert discord.count(f"GET {POST}") == 1
    assert discord.stats()["cdn"]["requests"] == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_file_that_is_gone_is_gone_after_one_renewal(discord: Discord, bare: Rig, status: int) -> None:
    message = bare.post(DATA)
    discord.settings(gone_status=status)
    discord.fault(route="cdn", kind="status", status=status, count=10)
    with pytest.raises(RemoteGone):
        bare.read(message, 0, 100)
    assert discord.stats()["cdn"]["requests"] == 2
    assert discord.count(f"GET {POST}") == 1


def test_a_file_cut_short_on_the_server_is_an_error_not_short_data(discord: Discord, bare: Rig) -> None:
    message = bare.post(DATA)
    attachment = message.attachments[0].id
    discord.control("POST", "/tamper", {"attachment_id": str(attachment), "kind": "truncate", "offset": 500})
    with pytest.raises(RemoteError):
        bare.read(message, 0, 1000)


def test_others_attachments_without_message_content_are_hidden_not_damaged(
    discord: Discord, loop: Loop, bare: Rig
) -> None:
    """Recovery with another bot's token: the user is told which switch is missing."""
    message = bare.post(DATA)
    other = discord.user("second-bot", bot=True, message_content=False)
    with (
        remote(discord, loop, token=other["token"]) as store,
        pytest.raises(Forbidden, match="MESSAGE_CONTENT"),
    ):
        loop.call(store.read(bare.channel, message.id, message.attachments[0].id, 0, 1), CALL_SECONDS)


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_wrong_local_clock_does_not_matter_after_the_first_answer(
    discord: Discord, loop: Loop, tmp_path: Path, hours: int
) -> None:
    """Else a post would be looked for on the wrong day, and a second one made."""
    wrong = hours * 3600 * 10**9
    with remote(discord, loop, clock=lambda: time.time_ns() + wrong) as store:
        assert abs(store.now_ns() - time.time_ns() - wrong) < 10**9
        message = Rig(store, loop, discord.channels[0], tmp_path).post(content="now")
        assert abs(store.now_ns() - snowflake_ns(message.id)) < 5 * 10**9


def test_the_time_is_discords_even_where_discord_is_ahead(discord: Discord, bare: Rig) -> None:
    discord.control("POST", "/clock", {"advance_s": 90_000})
    message = bare.post(content="tomorrow")
    assert abs(bare.store.now_ns() - snowflake_ns(message.id)) < 5 * 10**9
