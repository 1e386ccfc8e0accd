"""Runs that take what is new, look again at what is young, and call missing only what they looked for."""

from __future__ import annotations

import json

from .harness import Server

DAY = 86_400.0


def test_a_second_run_takes_only_what_is_new(server: Server) -> None:
    old = server.posts(250)
    server.later(30 * DAY)
    first = server.run("channel", server.channel)
    assert first.result.num_messages == 250
    new = server.posts(3)
    server.discord.control("POST", "/stats/reset")
    second = server.run("channel", server.channel, incremental=True, window_s=1.0)
    assert second.ids(server.channel) == new[::-1]
    assert server.discord.count("GET /channels/{id}/messages") == 1
    assert not second.path.name.endswith("_full")
    assert not second.covers(server.channel, old[0])


def test_edits_and_deletions_within_the_window_show(server: Server) -> None:
    said = server.posts(5)
    server.later()
    server.run("channel", server.channel)
    server.ask("PATCH", f"/channels/{server.channel}/messages/{said[1]}", {"content": "changed"})
    server.delete(said[2])
    again = server.run("channel", server.channel, incremental=True, window_s=400 * DAY)
    found = {int(each["id"]): each["content"] for each in again.messages(server.channel)}
    assert found[said[1]] == "changed"
    assert said[2] not in found
    assert again.covers(server.channel, said[2]), "so it is known to be deleted"


def test_the_newest_message_can_be_known_to_be_deleted(server: Server) -> None:
    """Its page covers up to when it was asked for, less what a listing may lag."""
    said = server.posts(3)
    server.later()
    server.run("channel", server.channel)
    server.delete(said[-1])
    again = server.run("channel", server.channel, incremental=True)
    assert said[-1] not in again.ids(server.channel)
    assert again.covers(server.channel, said[-1])


def test_what_a_listing_may_still_lack_is_not_covered_and_asked_for_again(server: Server) -> None:
    """A message may show up to ten seconds late, behind one that is younger."""
    said = server.posts(2)
    first = server.run("channel", server.channel)
    assert first.result.num_messages == 2
    assert not first.covers(server.channel, said[0])
    server.later()
    again = server.run("channel", server.channel, incremental=True, window_s=0.001)
    assert sorted(again.ids(server.channel)) == said
    assert all(again.covers(server.channel, each) for each in said)


def test_gaps_of_earlier_runs_are_filled(server: Server) -> None:
    said = server.posts(30)
    server.later()
    run = server.run("channel", server.channel)
    path = run.path / "coverage.json"
    coverage = json.loads(path.read_text())
    coverage["channels"][str(server.channel)]["ranges"] = [[1, said[9]], [said[20], said[29]]]
    path.write_text(json.dumps(coverage))
    again = server.run("channel", server.channel, incremental=True, window_s=0.001)
    found = set(again.ids(server.channel))
    assert set(said[10:20]) <= found
    assert again.result.num_messages == len(found)


def test_runs_without_coverage_count_as_far_as_their_metadata_goes(server: Server) -> None:
    """Discard's, and strict ones."""
    said = server.posts(4)
    server.later()
    first = server.run("channel", server.channel, strict=True)
    assert not (first.path / "coverage.json").exists()
    new = server.posts(2)
    second = server.run("channel", server.channel, incremental=True, window_s=0.001)
    assert second.ids(server.channel) == new[::-1]
    assert said[0] not in second.ids(server.channel)


def test_a_run_that_failed_covers_what_it_has(server: Server) -> None:
    said = server.posts(150)
    server.later()
    route = "/channels/{id}/messages"
    server.discord.fault(route=route, method="GET", nth=2, kind="status", status=403)
    first = server.run("channel", server.channel)
    assert first.result.is_target_refused
    assert first.coverage(server.channel)["ranges"] == [[1, said[99]]]
    second = server.run("channel", server.channel, incremental=True, window_s=0.001)
    assert sorted(second.ids(server.channel)) == said[100:]
