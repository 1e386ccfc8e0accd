"""Staying on: what happens is known as it happens, and what a lost session hid is fetched."""

from __future__ import annotations

import threading

import pytest

from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.collector import Progress
from discordfs.errors import Unavailable
from discordfs.remote.retrying import Patience

from .harness import ClipServer


def test_what_is_posted_edited_and_deleted_is_known_at_once(server: ClipServer) -> None:
    with server.live() as live:
        message = server.upload("one.mp4", "two.mp4", content="first")
        one, two = (int(each["id"]) for each in message["attachments"])
        live.wait(lambda: live.there() == {one, two})
        server.edit(message, content="second", attachments=[{"id": str(one)}])
        live.wait(lambda: live.there() == {one})
        clip = live.catalogue.clip(one)
        assert clip is not None
        assert clip.description == "second"
        server.remove(message)
        live.wait(lambda: not live.there())
    found = server.sync(has_history=True)
    assert (found.there, found.gone) == (set(), {one, two})


def test_many_deleted_at_once_are_known(server: ClipServer) -> None:
    with server.live() as live:
        messages = [server.upload(f"{number}.mp4") for number in range(3)]
        live.wait(lambda: len(live.there()) == 3)
        body = {"messages": [each["id"] for each in messages[:2]]}
        server.ask("POST", f"/channels/{server.channel}/messages/bulk-delete", body)
        live.wait(lambda: live.there() == {int(messages[2]["attachments"][0]["id"])})


@pytest.mark.expects_log("the gateway ended")
def test_what_a_lost_session_hid_is_fetched(server: ClipServer) -> None:
    known = server.upload("known.mp4")
    server.later()
    with server.live(has_history=True) as live:
        live.wait(lambda: len(live.there()) == 1)
        server.discord.control("POST", "/gateway", {"close": 4004, "forget": True})
        missed = server.clip("missed.mp4")
        server.remove(known)
        server.later()
        live.wait(lambda: live.there() == {missed})


def test_new_channels_and_threads_are_watched_as_they_appear(server: ClipServer) -> None:
    with server.live() as live:
        channel = server.new_channel("brand-new")
        first = server.clip(channel=channel)
        live.wait(lambda: live.there() == {first})
        thread = int(server.ask("POST", f"/channels/{channel}/threads", {"name": "t", "type": 11})["id"])
        second = server.clip(channel=thread)
        live.wait(lambda: live.there() == {first, second})
        place = live.catalogue.place(thread)
        assert place is not None
        assert (place.parent, place.name) == (channel, "t")


def test_the_clips_of_a_deleted_channel_go_with_it_and_its_threads(server: ClipServer) -> None:
    channel = server.new_channel("doomed")
    thread = int(server.ask("POST", f"/channels/{channel}/threads", {"name": "t", "type": 11})["id"])
    clips = {server.clip(channel=channel), server.clip(channel=thread)}
    stays = server.clip()
    server.later()
    with server.live(has_history=True) as live:
        live.wait(lambda: live.there() == {*clips, stays})
        server.ask("DELETE", f"/channels/{channel}")
        live.wait(lambda: live.there() == {stays})


def test_a_channel_that_is_only_hidden_takes_nothing_with_it(server: ClipServer) -> None:
    """Discord says that a channel is gone to whoever may not see it any more."""
    channel = server.new_channel("hidden")
    clips = {server.clip(channel=channel), server.clip()}
    server.later()
    with server.live(has_history=True) as live:
        live.wait(lambda: live.there() == clips)
        server.discord.control("POST", "/permissions", {"channel_id": str(channel), "view": False})
        last = server.clip()
        live.wait(lambda: live.there() == {*clips, last})


def test_the_past_is_fetched_while_the_present_goes_on(server: ClipServer) -> None:
    clips = set()
    for number in range(4):
        server.posts(99)
        clips.add(server.clip(f"{number}.mp4"))
    server.later()
    server.discord.settings(latency_ms=20)
    with server.live(has_history=True) as live:
        for number in range(5):
            clips.add(server.clip(f"live-{number}.mp4"))
        live.wait(lambda: live.there() == clips)
    assert clips == server.truth()


def test_a_collector_that_died_of_an_outage_goes_on_when_it_is_started_again(server: ClipServer) -> None:
    clip = server.clip()
    server.later()
    server.discord.fault(route="*", method="GET", probability=1.0, kind="status", status=500, count=100_000)
    with server.collecting(server.settings(), patience=Patience(0.2, 0.01, 0.02)) as (collector, catalogue):
        with pytest.raises(Unavailable):
            collector.run(threading.Event())
        server.discord.control("DELETE", "/faults")
        collector.run(threading.Event())
        assert [each.clip.id for each in catalogue.clips()] == [clip]
        assert not collector.troubles.failures


class Story:
    """Dies once it listens; started again it has what was posted meanwhile, and hears what is posted then."""

    def __init__(self, server: ClipServer) -> None:
        self.server = server
        self.stop = threading.Event()
        self.clips: list[int] = []
        self.catalogue: Catalogue | None = None

    def turn(self, now: Progress) -> None:
        if not now.is_live:
            return
        if not self.clips:
            self.clips.append(self.server.clip("missed.mp4"))
            raise ValueError("out of luck")
        if self.catalogue is not None and self.catalogue.clip(self.clips[-1]) is not None:
            if len(self.clips) == 2:
                self.stop.set()
            else:
                self.clips.append(self.server.clip("heard.mp4"))


def test_a_live_collector_that_died_has_what_it_missed_and_hears_again(server: ClipServer) -> None:
    story = Story(server)
    with server.collecting(server.settings(is_live=True), story.turn) as (collector, story.catalogue):
        with pytest.raises(ValueError):
            collector.run(story.stop)
        collector.run(story.stop)
    assert len(story.clips) == 2


def test_a_channel_that_could_not_be_had_is_asked_again(server: ClipServer) -> None:
    clip = server.clip()
    server.later()
    route = "/channels/{id}/messages"
    server.discord.fault(route=route, method="GET", probability=1.0, kind="status", status=500, count=100_000)
    patience = Patience(0.2, 0.01, 0.02)
    with server.live(has_history=True, patience=patience, settle_s=0.1) as live:
        live.wait(lambda: bool(live.collector.troubles.failures))
        assert not live.there()
        server.discord.control("DELETE", "/faults")
        live.wait(lambda: live.there() == {clip} and not live.collector.troubles.failures)
