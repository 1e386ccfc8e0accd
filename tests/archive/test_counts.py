"""What metadata says of a channel is what its file holds, however its messages came into it: whoever audits
an archive, or goes on from it, relies on that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from discordfs.archived.observing import Seen, observe
from discordfs.archived.tally import tally
from discordfs.remote.base import snowflake_ns

from .harness import Run, Server

DAY = 86_400.0


def check(run: Run, channel: int, within: tuple[int, int] = (1, 1 << 62)) -> int:
    """How many messages the file holds; the metadata has to say the same."""
    (path,) = run.path.rglob(f"{channel}.jsonl*")
    found = tally(observe(path, 0, Seen()), within)
    summary = run.meta(path.parent.name, f"{channel}.meta.json")["summary"]
    assert summary["num_messages"] == found.messages
    told = [summary[which] and summary[which]["id"] for which in ("oldest_message", "newest_message")]
    assert told == [each and each.id for each in (found.oldest, found.newest)]
    assert run.meta()["summary"]["num_messages"] == run.result.num_messages
    return found.messages


@pytest.mark.parametrize("settings", [{}, {"gzip": True}, {"strict": True}], ids=["plain", "gzip", "strict"])
def test_of_a_whole_run(server: Server, settings: dict[str, Any]) -> None:
    said = server.posts(230)
    for each in said[::50]:
        server.ask("PUT", f"/channels/{server.channel}/messages/pins/{each}")
    assert check(server.run(**settings), server.channel) == 230 + 5  # and that they were pinned


def test_with_pins_that_are_older_than_what_was_asked_for(server: Server) -> None:
    old = server.posts(5)
    server.later(30 * DAY)
    server.run("channel", server.channel)
    server.posts(3)
    server.ask("PUT", f"/channels/{server.channel}/messages/pins/{old[2]}")
    run = server.run("channel", server.channel, incremental=True, window_s=0.001)
    assert check(run, server.channel) == 3 + 1 + 1


def test_within_bounds_that_pages_and_pins_reach_beyond(server: Server) -> None:
    old = server.posts(3)
    server.later(DAY)
    middle = server.posts(4)
    server.later(DAY)
    server.posts(3)
    for each in (old[0], middle[1]):
        server.ask("PUT", f"/channels/{server.channel}/messages/pins/{each}")
    begin = datetime.fromtimestamp(snowflake_ns(middle[0]) / 1e9, UTC)
    run = server.run("channel", server.channel, after=begin, before=begin + timedelta(hours=1))
    assert check(run, server.channel, (middle[0], middle[-1])) == 4


def test_with_a_gap_before_much_that_is_new(server: Server) -> None:
    """An empty gap makes the run look whether anything may be read: that message is the newest."""
    server.later(DAY)
    server.run("channel", server.channel)
    server.later(DAY)
    said = server.posts(120)
    server.later()
    run = server.run("channel", server.channel, incremental=True, window_s=0.001)
    assert check(run, server.channel) == len(said)


def test_of_a_run_that_was_gone_on_with(server: Server) -> None:
    said = server.posts(250)
    order = {"route": "/channels/{id}/messages", "method": "GET", "kind": "status", "status": 500}
    server.discord.fault(**order, nth=3, count=1000)
    broken = server.run("channel", server.channel)
    assert not broken.result.completed
    server.discord.control("DELETE", "/faults")
    run = server.run("channel", server.channel, resume=True)
    assert run.path == broken.path
    assert check(run, server.channel) == len(said)


def test_of_a_run_that_stayed_and_asked_again(server: Server) -> None:
    server.posts(3)
    run = server.run("channel", server.channel, live_s=0.5)
    assert check(run, server.channel) == 3
