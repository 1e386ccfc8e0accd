"""Links are alive whenever somebody reads them, and cost Discord little: in simulated weeks, and against the
emulator."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.links import Renewer, Turn
from discordfs.clipping.model import Clip
from discordfs.emulator.films import Film, made
from discordfs.errors import Unauthorized
from discordfs.remote.loop import Loop

from .bench import Bench, bench_in
from .shown import made_up
from .signing import DAY_S, Signing, ends_ns

REFRESH = "POST /attachments/refresh-urls"
PAGE = "GET /channels/{id}/messages"
DOWN = pytest.mark.expects_log("links cannot be renewed for now")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path / "catalogue.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as running:
        yield running


class Weeks:
    """A renewer at work in simulated time."""

    def __init__(self, api: Signing, loop: Loop, catalogue: Catalogue, **more: Any) -> None:
        self.api, self.catalogue = api, catalogue
        self.told: list[str] = []
        self.renewer = Renewer(
            api, loop, catalogue, api.clock, rng=random.Random(2), told=self.told.append, **more
        )
        self.turns: list[Turn] = []
        self.soonest_s = float("inf")

    def run(self, seconds: float) -> None:
        """Every step that falls into them; between two, no link may have ended."""
        end = self.api.now + seconds
        while self.api.now < end:
            self.turns.append(self.renewer.step())
            self.api.now += max(0.001, self.turns[-1].wait_s)
            expiry = self.catalogue.next_expiry()
            if expiry is not None:
                self.soonest_s = min(self.soonest_s, expiry / 1e9 - self.api.now)


# --- weeks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "days", "spread_s"),
    [
        (2000, 3, DAY_S * 0.9),
        pytest.param(10_000, 7, DAY_S * 0.9, marks=pytest.mark.long),
        pytest.param(10_000, 7, 0.0, marks=pytest.mark.long),
    ],
)
def test_no_link_ever_ends_and_250_requests_a_day_do_for_10_000(
    catalogue: Catalogue, loop: Loop, count: int, days: int, spread_s: float
) -> None:
    api = Signing()
    catalogue.merge(api.clips(count, spread_s))
    weeks = Weeks(api, loop, catalogue)
    weeks.run(days * DAY_S)
    assert weeks.soonest_s > 3600
    assert max(api.requests()[:days]) <= count / 40
    assert catalogue.counts()["deleted"] == 0


@DOWN
@pytest.mark.parametrize(
    ("count", "days", "failures"), [(1000, 3, 50), pytest.param(10_000, 7, 1000, marks=pytest.mark.long)]
)
def test_failures_lose_no_link(
    catalogue: Catalogue, loop: Loop, count: int, days: int, failures: int
) -> None:
    """The predecessor dropped a link for good when one renewal failed."""
    api = Signing(failing=0.45, most_failures=failures)
    catalogue.merge(api.clips(count, DAY_S * 0.9))
    weeks = Weeks(api, loop, catalogue)
    weeks.run(days * DAY_S)
    assert api.failures == failures
    assert weeks.soonest_s > 3600
    assert max(api.requests()[:days]) <= count / 40
    assert all(clip.expires_ns > api.clock() for clip in all_of(catalogue))
    assert len(all_of(catalogue)) == count


@DOWN
def test_an_outage_is_asked_through_more_and_more_seldom(catalogue: Catalogue, loop: Loop) -> None:
    """And when it ends, so does the wait: within minutes."""
    api = Signing()
    catalogue.merge(api.clips(500))
    weeks = Weeks(api, loop, catalogue)
    weeks.run(21.9 * 3600)
    api.is_down = True
    weeks.run(3600)
    assert api.failures < 40
    assert weeks.told[-1]
    api.is_down = False
    weeks.run(600)
    assert weeks.told[-1] == ""
    assert weeks.soonest_s > 1800
    assert sum(api.requests()) == 10
    assert not weeks.renewer.is_idle() or weeks.renewer.renewed == 500


def all_of(catalogue: Catalogue) -> list[Clip]:
    return [named.clip for named in catalogue.clips(with_hidden=True)]


def test_those_that_end_first_go_first(catalogue: Catalogue, loop: Loop) -> None:
    """After a long pause the ones still alive are saved, and the dead come back too."""
    api = Signing()
    clips = api.clips(200, 2.5 * DAY_S)
    catalogue.merge(clips)
    weeks = Weeks(api, loop, catalogue)
    weeks.run(60)
    ends = [ends_ns(url) for url in api.order]
    assert ends == sorted(ends)
    assert ends[0] < api.began * 1e9
    assert all(clip.expires_ns > (api.now + 2 * 3600) * 1e9 for clip in all_of(catalogue))


def test_links_of_short_life_are_renewed_at_its_last_tenth(catalogue: Catalogue, loop: Loop) -> None:
    api = Signing()
    api.settings = api.settings.changed({"url_lifetime": 600.0})
    catalogue.merge(api.clips(10))
    weeks = Weeks(api, loop, catalogue)
    weeks.run(3600)
    assert weeks.soonest_s > 30
    assert sum(api.requests()) <= 12


def test_a_link_that_comes_back_as_it_was_is_not_asked_for_in_a_loop(
    catalogue: Catalogue, loop: Loop
) -> None:
    """At last its message is asked for, which has the newer one."""
    api = Signing()
    clips = api.clips(30, gap=1000)
    catalogue.merge(clips)
    api.stubborn = {clips[7].clip.id}
    weeks = Weeks(api, loop, catalogue)
    weeks.run(30 * 3600)
    assert weeks.soonest_s > 0
    assert sum(api.requests()) <= 12
    assert weeks.renewer.gone == 0


def test_a_link_that_says_nothing_of_its_end_is_asked_for_now_and_then(
    catalogue: Catalogue, loop: Loop
) -> None:
    api = Signing()
    found = made_up(1, url="https://cdn.discordapp.com/attachments/501/1152921504611041280/a.mp4")
    api.stubborn = {found.clip.id}
    api.hidden = {found.clip.message}
    api.messages = {501: {found.clip.message: [found.clip.id]}}
    catalogue.merge([found])
    Weeks(api, loop, catalogue).run(2 * DAY_S)
    assert sum(api.requests()) < 20


# --- where links are not renewed by themselves --------------------------------------------------------------


def test_messages_are_asked_for_where_links_are_refused(catalogue: Catalogue, loop: Loop) -> None:
    """A page renews a hundred; what was refused is tried again the next day, not each time."""
    api = Signing(refuses=True)
    catalogue.merge(api.clips(1000))
    weeks = Weeks(api, loop, catalogue)
    weeks.run(3 * DAY_S)
    assert weeks.soonest_s > 3600
    assert sum(n for (_, route), n in api.asked.items() if route == "refresh-") <= 3
    assert max(api.requests()[:3]) <= 45


def test_only_what_its_own_message_lacks_is_gone(catalogue: Catalogue, loop: Loop) -> None:
    """Somebody who lost access to a channel, or the bot its intent, must not lose the catalogue."""
    api = Signing(refuses=True)
    here = api.clips(6)
    there = [replace(each, clip=replace(each.clip, id=each.clip.id + 1)) for each in here]
    for each in here:
        api.messages[501][each.clip.message].append(each.clip.id + 1)
    catalogue.merge([*here, *there])
    deleted, stripped, hidden = (each.clip.message for each in here[:3])
    del api.messages[501][deleted]
    api.messages[501][stripped] = [here[1].clip.id]
    api.hidden = {hidden}
    api.now += 23 * 3600
    Weeks(api, loop, catalogue).run(600)
    gone = {clip.id for clip in all_of(catalogue) if clip.deleted_ns}
    assert gone == {here[0].clip.id, there[0].clip.id, there[1].clip.id}
    api.shut = {501}
    Weeks(api, loop, catalogue).run(2 * DAY_S)
    assert {clip.id for clip in all_of(catalogue) if clip.deleted_ns} == gone


def test_the_size_of_an_imported_clip_is_learned(catalogue: Catalogue, loop: Loop) -> None:
    api = Signing()
    (found,) = api.clips(1)
    catalogue.merge([replace(found, clip=replace(found.clip, size=0, expires_ns=0))])
    Weeks(api, loop, catalogue).run(60)
    assert [clip.size for clip in all_of(catalogue)] == [5]


# --- against the emulator -----------------------------------------------------------------------------------


class Time:
    """The emulator's clock, which tests move."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._ahead = bench, 0

    def __call__(self) -> int:
        return time.time_ns() + self._ahead

    def go(self, seconds: float) -> None:
        self._bench.discord.control("POST", "/clock", {"advance_s": seconds})
        self._ahead += int(seconds * 1e9)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with bench_in(tmp_path) as ready:
        yield ready


def played(bench: Bench, clip: Clip) -> bool:
    """By the link that the catalogue has, and by nothing else."""
    got: list[bytes] = []
    answer = bench.loop.call(bench.store.download(bench.clip(clip).url, got.append), 30)
    return answer.status == 200 and len(b"".join(got)) == clip.size


def test_a_link_lives_on_from_day_to_day(bench: Bench) -> None:
    clip, now = bench.post("clip.mp4", made(Film())), Time(bench)
    renewer = Renewer(bench.store, bench.loop, bench.catalogue, now)
    assert renewer.step().wait_s > 0
    for day in range(1, 4):
        now.go(22.5 * 3600)
        assert not renewer.is_idle()
        assert renewer.step().renewed == 1
        assert renewer.is_idle()
        now.go(3 * 3600)
        assert played(bench, clip), f"day {day}"
    assert bench.discord.count(REFRESH) == 3


def test_what_was_dead_comes_alive_and_a_forwarded_file_too(bench: Bench) -> None:
    clip, now = bench.post("clip.mp4", made(Film())), Time(bench)
    reference = {"type": 1, "channel_id": str(clip.channel), "message_id": str(clip.message)}
    route = f"/channels/{clip.channel}/messages"
    bench.loop.call(bench.store.request("POST", route, json={"message_reference": reference}), 30)
    bench.take(clip.channel)
    now.go(5 * DAY_S)
    clips = all_of(bench.catalogue)
    assert not any(played(bench, each) for each in clips)
    assert Renewer(bench.store, bench.loop, bench.catalogue, now).step().renewed == 2
    assert all(played(bench, each) for each in clips)
    bench.discord.settings(refresh_urls=False)
    now.go(5 * DAY_S)
    assert Renewer(bench.store, bench.loop, bench.catalogue, now).step().renewed == 2
    assert all(played(bench, each) for each in clips)
    assert bench.discord.count(PAGE) >= 1


def test_a_clip_that_was_deleted_meanwhile_is_marked(bench: Bench) -> None:
    gone, now = bench.post("gone.mp4", made(Film())), Time(bench)
    there = bench.post("there.mp4", made(Film()))
    bench.loop.call(bench.store.delete(gone.channel, [gone.message]), 30)
    bench.discord.settings(refresh_urls=False)
    now.go(DAY_S)
    turn = Renewer(bench.store, bench.loop, bench.catalogue, now).step()
    assert (turn.renewed, turn.gone) == (1, 1)
    assert bench.clip(gone).deleted_ns
    assert not bench.clip(there).deleted_ns


@DOWN
def test_a_failure_is_told_and_tried_again(bench: Bench) -> None:
    clip, now, told = bench.post("clip.mp4", made(Film())), Time(bench), list[str]()
    renewer = Renewer(bench.store, bench.loop, bench.catalogue, now, told=told.append)
    now.go(23 * 3600)
    bench.discord.fault(route="/attachments/refresh-urls", kind="status", status=503, nth=1)
    turn = renewer.step()
    assert "503" in turn.failure
    assert 0 < turn.wait_s <= 1
    assert "503" in renewer.step().failure  # asked for too early, it only says so again
    assert "503" in told[-1]
    now.go(turn.wait_s)
    assert renewer.step().renewed == 1
    assert told[-1] == ""
    assert played(bench, clip)


def test_a_token_that_is_no_good_ends_it(bench: Bench) -> None:
    bench.post("clip.mp4", made(Film()))
    now = Time(bench)
    now.go(DAY_S)
    bench.discord.fault(route="/attachments/refresh-urls", kind="status", status=401)
    with pytest.raises(Unauthorized):
        Renewer(bench.store, bench.loop, bench.catalogue, now).step()
