"""Collecting: every clip of the past is found once, whatever became of the run before, and what happens to
its message is known."""

from __future__ import annotations

from discordfs.archived.ranges import LAST
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.finding import kinds_of

from .harness import ClipServer


def test_the_whole_past_is_found_and_each_clip_once(server: ClipServer) -> None:
    """In pages of 100, threads included."""
    server.posts(130)
    clips = {server.clip(f"{number}.mp4") for number in range(3)}
    server.posts(90)
    clips.add(server.clip("LAST.MP4"))
    server.clip("notes.txt", kind="text/plain")
    server.clip("x.mp4.zip", kind="application/zip")
    server.later()
    first = server.sync(has_history=True)
    assert first.there == clips == server.truth()
    assert first.collector.counts.messages >= 226
    assert server.sync(has_history=True).there == clips


def test_threads_come_with_their_channels_archived_ones_too(server: ClipServer) -> None:
    parent = server.post("look")
    route = f"/channels/{server.channel}"
    active = int(server.ask("POST", f"{route}/threads", {"name": "active", "type": 11})["id"])
    archived = int(server.ask("POST", f"{route}/messages/{parent}/threads", {"name": "old"})["id"])
    clips = {server.clip(channel=active), server.clip(channel=archived), server.clip()}
    server.ask("PATCH", f"/channels/{archived}", {"archived": True})
    other = server.new_channel("other")
    server.clip(channel=other)
    server.later()
    found = server.sync(channels=frozenset({server.channel}), has_history=True)
    assert found.there == clips
    assert {each.channel for each in found.named} >= {"active", "old"}


def test_an_archived_thread_costs_nothing_once_it_is_known(server: ClipServer) -> None:
    """Old servers have thousands of them."""
    route = f"/channels/{server.channel}"
    threads = [
        int(server.ask("POST", f"{route}/threads", {"name": f"t{number}", "type": 11})["id"])
        for number in range(3)
    ]
    clips = {server.clip(channel=each) for each in threads}
    for each in threads:
        server.ask("PATCH", f"/channels/{each}", {"archived": True})
    server.later()
    assert server.sync(has_history=True).there == clips
    server.discord.control("POST", "/stats/reset")
    server.sync(has_history=True, window_s=0.0)
    assert server.discord.count("GET /channels/{id}/messages") == 1, "the channel's own"
    server.ask("PATCH", f"/channels/{threads[0]}", {"archived": False})
    clips.add(server.clip("new.mp4", channel=threads[0]))
    server.ask("PATCH", f"/channels/{threads[0]}", {"archived": True})
    server.later()
    assert server.sync().there == clips


def test_without_history_a_sync_takes_the_newest_page_and_then_what_is_new(server: ClipServer) -> None:
    old = server.clip("old.mp4")
    server.posts(100)
    new = {server.clip("new.mp4")}
    server.later()
    assert server.sync().there == new
    server.posts(150)
    new.add(server.clip("newer.mp4"))
    server.posts(150)
    server.later()
    assert server.sync().there == new
    assert server.sync(has_history=True).there == new | {old}


def test_what_is_too_young_to_show_everywhere_is_asked_for_again(server: ClipServer) -> None:
    """Listings lag: whoever took a page for the whole truth would miss a clip for ever."""
    clip = server.clip()
    server.sync(has_history=True)
    catalogue = Catalogue(server.directory.catalogue)
    try:
        assert catalogue.clip(clip) is not None
        assert not any(first <= clip <= last for first, last in catalogue.covered(server.channel))
    finally:
        catalogue.close()


def test_a_deleted_message_is_marked_when_a_page_lacks_it(server: ClipServer) -> None:
    stays = server.upload("stays.mp4")
    goes = server.upload("goes.mp4")
    server.later()
    server.sync(has_history=True)
    server.remove(goes)
    server.later()
    found = server.sync()
    assert found.there == {int(stays["attachments"][0]["id"])}
    assert found.gone == {int(goes["attachments"][0]["id"])}


def test_edits_bring_the_text_up_to_date_and_tell_which_files_are_left(server: ClipServer) -> None:
    message = server.upload("one.mp4", "two.mp4", content="first")
    server.later()
    server.sync(has_history=True)
    kept, dropped = (int(each["id"]) for each in message["attachments"])
    server.edit(message, content="second", attachments=[{"id": str(kept)}])
    server.later()
    found = server.sync()
    assert (found.there, found.gone) == ({kept}, {dropped})
    assert found.of(kept).clip.description == "second"


def test_forwarded_clips_count_and_belong_to_whoever_forwarded_them(server: ClipServer) -> None:
    ada = server.person("ada")
    me = server.ask("GET", "/users/@me", by=ada)["id"]
    message = server.upload("a.mp4", content=f"look, <@{me}>", by=ada)
    reference = {"type": 1, "message_id": message["id"], "channel_id": message["channel_id"]}
    other = server.new_channel("other")
    forward = server.ask("POST", f"/channels/{other}/messages", {"message_reference": reference})
    server.later()
    found = server.sync(has_history=True)
    inner = int(forward["message_snapshots"][0]["message"]["attachments"][0]["id"])
    clip = found.of(inner).clip
    assert found.there == server.truth() == {inner, int(message["attachments"][0]["id"])}
    assert (clip.is_forwarded, clip.message, clip.channel) == (True, int(forward["id"]), other)
    assert clip.poster == int(forward["author"]["id"])
    assert clip.description == "look, @Ada"
    original = found.of(int(message["attachments"][0]["id"]))
    assert (original.clip.is_forwarded, original.poster) == (False, "ada")


def test_kinds_that_are_asked_for_are_found_too(server: ClipServer) -> None:
    mov, mkv = server.clip("a.MOV", kind="video/quicktime"), server.clip("a.mkv", kind="video/x-matroska")
    mp4 = server.clip("a.mp4")
    server.clip("a.webm", kind="video/webm")
    server.posts(120)
    server.later()
    assert server.sync(has_history=True).there == {mp4}
    more = server.sync(has_history=True, kinds=kinds_of("mp4,mov,mkv"))
    assert more.there == {mp4, mov, mkv}, "of other kinds no page has shown anything yet"
    assert server.sync(has_history=True).collector.counts.messages <= 100, "kinds are remembered"
    server.posts(120)
    new = server.clip("b.webm", kind="video/webm")
    server.posts(120)
    server.later()
    assert server.sync(kinds=kinds_of("mp4,webm")).there == {mp4, mov, mkv, new}, "from where it was left"


def test_a_channel_that_is_refused_ends_nothing_and_is_said(server: ClipServer) -> None:
    closed = server.new_channel("closed")
    server.clip(channel=closed)
    clip = server.clip()
    server.discord.control("POST", "/permissions", {"channel_id": str(closed), "view": False})
    server.later()
    found = server.sync(has_history=True, channels=frozenset({closed, server.channel, 12345}))
    assert found.there == {clip}
    assert found.collector.troubles.named
    assert any(str(closed) in text for text in found.collector.troubles.refusals.values())
    assert any("12345" in text for text in found.collector.troubles.refusals.values())


def test_an_empty_page_of_a_channel_that_may_not_be_read_deletes_nothing(server: ClipServer) -> None:
    """Discord shows nothing to whoever may not read the history: that is no deletion."""
    clip = server.clip()
    server.later()
    server.sync(has_history=True)
    server.discord.control("POST", "/permissions", {"channel_id": str(server.channel), "read_history": False})
    server.clip("later.mp4", by=server.person("ada"))
    server.later()
    found = server.sync(has_history=True)
    assert found.there == {clip}
    assert not found.gone
    assert found.collector.troubles.refusals
    catalogue = Catalogue(server.directory.catalogue)
    try:
        assert catalogue.covered(server.channel)[-1][1] < LAST
    finally:
        catalogue.close()


def test_without_message_content_it_is_said_and_nothing_counts_as_deleted(server: ClipServer) -> None:
    clip = server.clip(by=server.person("ada"))
    server.later()
    assert server.sync(has_history=True).there == {clip}
    server.discord.user(server.ask("GET", "/users/@me")["username"], message_content=False)
    server.posts(3, by="ada")
    server.later()
    found = server.sync(has_history=True)
    assert found.collector.contents_came_empty
    assert found.there == {clip}
