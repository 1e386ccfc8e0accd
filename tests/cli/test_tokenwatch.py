"""A new token is taken up while everything runs, and Discord is left alone until there is one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from discordfs.cli.tokenwatch import TokenWatch
from discordfs.errors import RemoteError, Unauthorized
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from discordfs.tokens import ScrubbingFormatter, Token, find_token
from tests.contract.harness import TIMEOUTS, Discord, discord_on_loopback

PATIENCE_S = 20.0
ME = "GET /users/@me"
GATEWAY = "GET /gateway"

pytestmark = pytest.mark.expects_log("refuses the token", "no new token yet")


@dataclass
class Desk:
    """A remote under watch, and the file that its tokens come from."""

    discord: Discord
    loop: Loop
    remote: DiscordRemote
    token_file: Path
    looked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    taken: list[str] = field(default_factory=list)

    def find(self) -> Token:
        try:
            return find_token({}, Path("/nowhere"), token_file=self.token_file)
        finally:
            self.looked.release()

    def ask(self, route: str = "/users/@me") -> Any:
        return self.loop.call(self.remote.request("GET", route), PATIENCE_S)

    def revoke(self, token: str) -> None:
        """Discord takes this token from now on, and no other."""
        self.discord.user("discordfs", token=token)

    def looks(self, times: int) -> None:
        """Waits until the watch has looked so many times more."""
        for _ in range(times):
            assert self.looked.acquire(timeout=PATIENCE_S)

    def until_it_answers(self, route: str = "/users/@me") -> None:
        """The refusal is ours, made here: nothing goes over the wire until there is a new token."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.ask(route)
                return
            except Unauthorized:
                assert time.monotonic() < end, "the new token was not taken up"
                self.looks(1)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with discord_on_loopback(tmp_path / "discord") as discord, Loop() as loop:
        token = discord.address.token
        remote = DiscordRemote(token, api=discord.address.api, timeouts=TIMEOUTS)
        desk = Desk(discord, loop, remote, tmp_path / "token")
        desk.token_file.write_text(token)
        watch = TokenWatch(
            remote=remote,
            current=Token(token, "a test"),
            find=desk.find,
            taken=lambda token: desk.taken.append(token.reveal()),
            clock=time.time_ns,
            look_every_s=0.01,
        )
        watch.start()
        yield desk
        watch.stop()
        loop.call(remote.close(), PATIENCE_S)


def refused(question: Callable[[], object]) -> None:
    with pytest.raises(Unauthorized):
        question()


def test_while_all_is_well_nothing_is_looked_for(desk: Desk) -> None:
    for _ in range(5):
        desk.ask()
    desk.discord.fault(route="/users/@me", method="GET", kind="status", status=403)
    with pytest.raises(RemoteError):
        desk.ask()
    assert not desk.looked.acquire(blocking=False)


def test_a_new_token_is_taken_up_and_discord_left_alone_until_then(desk: Desk) -> None:
    desk.ask()
    desk.revoke("a.new.token")
    for _ in range(20):
        refused(desk.ask)
    desk.looks(20)
    assert desk.discord.count(ME) == 2, "one good answer, one refusal, and then silence"
    desk.token_file.write_text("a.new.token\n")
    desk.until_it_answers()
    assert desk.taken == ["a.new.token"]
    assert desk.discord.stats()["statuses"]["401"] == 1


def test_a_wrong_new_token_costs_one_request_and_the_right_one_still_helps(desk: Desk) -> None:
    desk.revoke("the.right.one")
    refused(desk.ask)
    desk.token_file.write_text("the.wrong.one")
    desk.looks(3)
    refused(desk.ask)
    desk.looks(20)
    for _ in range(20):
        refused(desk.ask)
    assert desk.discord.stats()["statuses"]["401"] == 2
    desk.token_file.write_text("the.right.one")
    desk.until_it_answers()


def test_a_token_file_that_is_half_written_or_gone_is_waited_for(desk: Desk) -> None:
    desk.revoke("the.right.one")
    refused(desk.ask)
    for spoil in (lambda: desk.token_file.write_text(""), desk.token_file.unlink):
        spoil()
        desk.looks(3)
    desk.token_file.write_text("the.right")
    desk.looks(3)
    desk.token_file.write_text("the.right.one")
    desk.until_it_answers()


def test_a_refusal_that_comes_late_does_not_stop_the_new_token(desk: Desk) -> None:
    """A request of the old token, answered after the new one is in use: the drive would wait for ever for a
    third."""
    desk.discord.fault(route="/gateway", method="GET", kind="hold")
    late = desk.loop.submit(_answer_of(desk.remote.request("GET", "/gateway")))
    _wait_for(lambda: desk.discord.count(GATEWAY) == 1)
    desk.revoke("a.new.token")
    refused(desk.ask)
    desk.token_file.write_text("a.new.token")
    desk.until_it_answers()
    desk.discord.control("POST", "/release")
    assert late.result(PATIENCE_S) == "Unauthorized"
    desk.until_it_answers()
    desk.until_it_answers("/gateway")
    assert desk.taken == ["a.new.token"]


def test_a_good_answer_to_an_older_request_does_not_end_the_search(desk: Desk) -> None:
    """It was under way as the token was refused: Discord is silent from then on."""
    desk.discord.fault(route="/gateway", method="GET", kind="slow", delay_s=0.5)
    early = desk.loop.submit(_answer_of(desk.remote.request("GET", "/gateway")))
    _wait_for(lambda: desk.discord.count(GATEWAY) == 1)
    desk.revoke("a.new.token")
    refused(desk.ask)
    assert early.result(PATIENCE_S) == "well"
    desk.looks(3)
    desk.token_file.write_text("a.new.token")
    desk.until_it_answers()


async def _answer_of(request: Coroutine[Any, Any, Any]) -> str:
    try:
        await request
    except RemoteError as error:
        return type(error).__name__
    return "well"


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end


def test_a_mount_that_ends_need_not_wait_for_the_next_look(desk: Desk) -> None:
    patient = TokenWatch(
        remote=desk.remote,
        current=Token(desk.discord.address.token, "a test"),
        find=desk.find,
        taken=lambda token: None,
        clock=time.time_ns,
        look_every_s=3600,
    )
    patient.start()
    desk.revoke("a.new.token")
    refused(desk.ask)
    patient.stop()


def test_no_token_gets_into_the_log_not_even_a_later_one() -> None:
    formatter = ScrubbingFormatter("%(message)s", "first.token")

    def line(text: str) -> str:
        return formatter.format(logging.LogRecord("x", logging.INFO, "x", 1, text, None, None))

    formatter.add("first.token.longer")
    formatter.add("second")
    formatter.add("")
    assert line("a first.token b second c first.token.longer") == "a [token] b [token] c [token]"
