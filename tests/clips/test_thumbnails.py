"""Thumbnails of clips on an emulator: what they cost, and what becomes of them when things go wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from discordfs.clipping.model import Look
from discordfs.clipping.thumbnails import Round, Thumbnailer
from discordfs.emulator import seed_films
from discordfs.emulator.films import Film, made
from discordfs.errors import Unauthorized

from .bench import Bench, bench_in
from .videos import as_read, frame_of, number_of


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with bench_in(tmp_path) as made_ready:
        yield made_ready


def thumbnailer_of(bench: Bench) -> Thumbnailer:
    return Thumbnailer(bench.catalogue, bench.read, bench.folder, bench.clock)


def finish(thumbnailer: Thumbnailer) -> Round:
    """All that can be done now."""
    total = Round()
    while not thumbnailer.is_idle():
        turn = thumbnailer.step()
        total = Round(total.looked + turn.looked, total.failed + turn.failed, total.put_off + turn.put_off)
    return total


def test_every_clip_of_a_seeded_server_is_shown_or_marked_with_the_reason(bench: Bench) -> None:
    """Forwarded ones too, in threads and direct messages; facts as PyAV reads them of the whole file."""
    bench.discord.control("POST", "/seed")
    judge = bench.discord.control("GET", "/everything")
    places = [each for each in judge["channels"] if each["kind"] in (0, 1, 11)]
    bench.take(*(int(each["id"]) for each in places))
    clips = [named.clip for named in bench.catalogue.clips()]
    assert len(clips) >= 20
    assert sum(clip.is_forwarded for clip in clips) == 1
    turn = finish(thumbnailer_of(bench))
    assert (turn.looked + turn.failed, turn.put_off) == (len(clips), 0)
    broken = {}
    for clip in map(bench.clip, clips):
        if clip.look is Look.FAILED:
            broken[clip.filename] = clip.look_error
            continue
        facts, numbers = as_read(seed_films.film(clip.filename, ""))
        assert clip.facts.runtime == pytest.approx(facts.runtime, abs=0.15)
        assert (clip.facts.codec, clip.facts.has_audio) == (facts.codec, facts.has_audio)
        shown = frame_of((bench.folder / f"{clip.id}.png").read_bytes())
        assert shown.width == 420
        if clip.filename != "upright.mp4":
            assert number_of(shown) in numbers
    assert broken.keys() == {"cut-off.mp4", "cut-off.webm", "garbage.mp4", "empty.mp4"}
    assert broken["empty.mp4"] == "it is empty"
    assert broken["cut-off.mp4"].startswith("it breaks off")
    assert len(list(bench.folder.iterdir())) == turn.looked


def test_100_mb_with_the_index_at_the_end_cost_2_mib(bench: Bench) -> None:
    """Counted by the content network: what it sent, read or not."""
    film = Film(
        seconds=17, rate=30, size=(640, 360), noise=True, gop=250, quality={"qp": "1"}, faststart=False
    )
    data = made(replace(film, audio="aac", black=10))
    assert len(data) > 100_000_000
    clip = bench.post("large.mp4", data)
    bench.discord.control("POST", "/stats/reset")
    thumbnailer = thumbnailer_of(bench)
    assert finish(thumbnailer).looked == 1
    assert bench.discord.stats()["cdn"]["bytes_out"] <= 2 * 1024**2
    assert thumbnailer.fetched <= bench.discord.stats()["cdn"]["bytes_out"]
    assert bench.clip(clip).facts.runtime == pytest.approx(17, abs=0.15)


def test_large_pictures_are_looked_at_one_by_one_and_read_once(bench: Bench) -> None:
    """Three of 4K at once are the memory of a small machine."""
    film = Film(seconds=0.3, size=(2560, 1600))
    clips = [bench.post(f"large-{number}.mp4", made(film)) for number in range(3)]
    thumbnailer = thumbnailer_of(bench)
    assert finish(thumbnailer).looked == 3
    assert {bench.clip(clip).facts.width for clip in clips} == {2560}
    assert thumbnailer.fetched <= sum(clip.size for clip in clips)


def test_an_expired_link_is_no_hindrance(bench: Bench) -> None:
    clip = bench.post("old.mp4", made(Film()))
    bench.discord.control("POST", "/clock", {"advance_s": 3 * 86_400})
    assert finish(thumbnailer_of(bench)).looked == 1
    assert bench.clip(clip).look is Look.DONE


def test_a_damaged_clip_is_read_once_and_never_again(bench: Bench) -> None:
    clip = bench.post("broken.mp4", b"\0" * 5000)
    thumbnailer = thumbnailer_of(bench)
    assert finish(thumbnailer).failed == 1
    assert "FFmpeg cannot read it as a video" in bench.clip(clip).look_error
    bench.discord.control("POST", "/stats/reset")
    bench.now += 10**18
    assert thumbnailer.step().wait_s > 0
    assert bench.discord.stats()["cdn"]["requests"] == 0


@pytest.mark.expects_log("cannot be looked at for now")
def test_an_outage_leaves_clips_waiting_and_asks_less_and_less(bench: Bench) -> None:
    """An hour without the content network must not cost 10,000 clips their pictures."""
    clips = [bench.post(f"clip-{number}.mp4", made(Film(name=str(number)))) for number in range(20)]
    bench.is_down = True
    thumbnailer = thumbnailer_of(bench)
    hour, steps = bench.now + 3600 * 10**9, 0
    while bench.now < hour:
        turn = thumbnailer.step()
        assert turn.looked == turn.failed == 0
        bench.now += max(1, int(turn.wait_s * 1e9))
        steps += 1
    assert steps < 150
    assert all(bench.clip(clip).look is Look.WAITING for clip in clips)
    bench.is_down = False
    day = bench.now + 86_400 * 10**9
    while bench.now < day and any(bench.clip(clip).look is Look.WAITING for clip in clips):
        bench.now += max(1, int(thumbnailer.step().wait_s * 1e9))
    assert all(bench.clip(clip).look is Look.DONE for clip in clips)


def test_a_clip_that_is_gone_holds_up_no_other(bench: Bench) -> None:
    gone = bench.post("gone.mp4", made(Film()))
    bench.loop.call(bench.store.delete(gone.channel, [gone.message]), 30)
    there = bench.post("there.mp4", made(Film()))
    turn = finish(thumbnailer_of(bench))
    assert (turn.looked, turn.failed, turn.put_off) == (1, 0, 1)
    assert bench.clip(there).look is Look.DONE
    assert bench.clip(gone).look is Look.WAITING


def test_a_file_that_is_shorter_than_was_said_is_marked(bench: Bench) -> None:
    data = made(Film())
    clip = bench.post("short.mp4", data, size=len(data) + 100_000)
    assert finish(thumbnailer_of(bench)).failed == 1
    assert "less than" in bench.clip(clip).look_error


def test_a_clip_without_a_size_waits_for_it(bench: Bench) -> None:
    """As one that was imported from the predecessor's records."""
    data = made(Film())
    clip = bench.post("unknown.mp4", data, size=0)
    thumbnailer = thumbnailer_of(bench)
    assert thumbnailer.step().put_off == 1
    bench.catalogue.sized(clip.id, len(data))
    bench.now += 3600 * 10**9
    assert thumbnailer.step().looked == 1


def test_a_token_that_is_no_good_ends_it(bench: Bench) -> None:
    """The supervisor says so, instead of every clip being put off."""
    bench.post("clip.mp4", made(Film()))

    def refused(*_: int) -> bytes:
        raise Unauthorized("Discord does not accept the token, give a new one")

    thumbnailer = Thumbnailer(bench.catalogue, refused, bench.folder, bench.clock)
    with pytest.raises(Unauthorized):
        thumbnailer.step()


def test_the_end_comes_with_the_next_range(bench: Bench) -> None:
    """SIGTERM must not wait for a hundred megabytes."""
    clip = bench.post("clip.mp4", made(Film(noise=True, faststart=False)))
    stop = threading.Event()

    def stopping(read: Callable[..., bytes]) -> Callable[..., bytes]:
        def once(*where: int) -> bytes:
            assert not stop.is_set()
            stop.set()
            return read(*where)

        return once

    thumbnailer = Thumbnailer(bench.catalogue, stopping(bench.read), bench.folder, bench.clock)
    thumbnailer.run(stop)
    assert bench.clip(clip).look is Look.WAITING
    assert not bench.folder.exists()
