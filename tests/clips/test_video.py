"""What a video tells about itself, against PyAV's own reading of the whole file; and what strangers' files
cannot do."""

from __future__ import annotations

import contextlib
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from discordfs.clipping.video import RangeFile, look
from discordfs.emulator.films import Film, made
from discordfs.emulator.pictures import picture
from discordfs.errors import Unavailable, VideoError

from .videos import Counted, as_read, frame_of, number_of, number_turned, unlike

MIB = 1024 * 1024
KINDS = {
    "h264": Film(),
    "h264 with its index last": Film(faststart=False, audio="aac", seconds=4),
    "h265": Film(codec="libx265"),
    "mpeg4 in mov": Film(codec="mpeg4", container="mov", audio="aac"),
    "vp8": Film(codec="libvpx", container="webm"),
    "vp9 with sound": Film(codec="libvpx-vp9", container="webm", audio="libopus"),
    "matroska": Film(container="matroska", audio="aac"),
    "avi": Film(codec="mpeg4", container="avi"),
    "upright": Film(size=(180, 320)),
    "one frame": Film(seconds=0.1),
    "an hour": Film(seconds=3600, rate=1, gop=60),
}


def noisy(film: Film) -> Film:
    """The same in 100 MB and more."""
    return replace(film, noise=True, size=(640, 360), rate=30, gop=250, quality={"qp": "1"}, audio="aac")


# --- as PyAV reads it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_facts_are_those_of_the_whole_file(kind: str) -> None:
    data = made(KINDS[kind])
    facts, _ = as_read(data)
    seen = look(Counted(data).file()).facts
    assert seen.runtime == pytest.approx(facts.runtime, abs=0.15)
    assert replace(seen, runtime=None) == replace(facts, runtime=None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_thumbnail_is_the_first_frame_420_wide(kind: str) -> None:
    film = KINDS[kind]
    data = made(film)
    shown = frame_of(look(Counted(data).file()).thumbnail)
    assert (shown.width, shown.height) == (420, round(420 * film.size[1] / film.size[0]))
    assert number_of(shown) == 0
    assert unlike(shown, frame_of(data).reformat(shown.width, shown.height)) < 6


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_video_of_a_phone_held_upright_is_turned(turn: int) -> None:
    """Else everybody in it lies on their side."""
    seen = look(Counted(made(Film(turn=turn))).file())
    size = (320, 180) if turn == 180 else (180, 320)
    assert (seen.facts.width, seen.facts.height) == size
    shown = frame_of(seen.thumbnail)
    assert (shown.width, shown.height) == (420, round(420 * size[1] / size[0]))
    assert number_turned(shown, turn) == 0
    dark = look(Counted(made(Film(turn=turn, black=12, seconds=4))).file())
    assert number_turned(frame_of(dark.thumbnail), turn) == 12


def test_pixels_that_are_not_square_are_shown_as_they_are_meant() -> None:
    seen = look(Counted(made(Film(size=(160, 180), aspect=Fraction(2)))).file())
    assert (seen.facts.width, seen.facts.height) == (320, 180)
    assert frame_of(seen.thumbnail).height == 236


# --- which picture ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("film", "number"),
    [
        (Film(seconds=4, black=8, gop=10), 10),  # the next key frame further on is bright
        (Film(seconds=4, black=8, gop=1000), 8),  # there is one key frame: read on
        (Film(seconds=4, black=39, gop=1000), 39),
        (Film(seconds=20, black=160, gop=10), 160),
        (Film(seconds=4, black=8, gop=1000, codec="libvpx", container="webm"), 8),
    ],
)
def test_a_dark_beginning_is_passed_over(film: Film, number: int) -> None:
    """A page of black rectangles tells nobody which clip is which."""
    seen = look(Counted(made(film)).file())
    assert number_of(frame_of(seen.thumbnail)) == number


def test_a_video_that_is_all_dark_has_a_picture_all_the_same() -> None:
    film = Film(seconds=2, black=20)
    seen = look(Counted(made(film)).file())
    assert frame_of(seen.thumbnail).width == 420
    assert seen.facts.runtime == pytest.approx(2.0)


# --- what it costs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "film",
    [
        noisy(Film(seconds=17, faststart=False)),
        noisy(Film(seconds=17, faststart=False, black=30)),
        noisy(Film(seconds=17, container="matroska")),
    ],
    ids=["index last", "index last, dark", "matroska"],
)
def test_100_mb_cost_at_most_2_mib(film: Film) -> None:
    """A catalogue of 10,000 clips must not cost 1 TB."""
    counted = Counted(made(film))
    assert len(counted.data) > 100_000_000
    seen = look(counted.file())
    assert counted.fetched <= 2 * MIB
    assert number_of(frame_of(seen.thumbnail)) >= film.black
    assert seen.facts.runtime == pytest.approx(17, abs=0.15)


def test_a_dark_file_without_any_end_of_it_keeps_to_its_budget() -> None:
    film = noisy(Film(seconds=17, black=1000, gop=1000))
    counted = Counted(made(replace(film, size=(320, 180), quality={"crf": "23"})))
    counted.data += bytes(100_000_000)
    assert look(counted.file()).facts.width == 320
    assert counted.fetched <= 2 * MIB


@pytest.mark.long
def test_the_large_index_of_a_long_video_is_read_all_the_same() -> None:
    """275,000 frames, as in three hours of a lecture."""
    film = Film(seconds=5500, rate=50, size=(32, 32), gop=500, faststart=False, quality={"bf": "2"})
    counted = Counted(made(film))
    assert look(counted.file()).facts.runtime == pytest.approx(5500, abs=1)
    assert 2 * MIB < counted.fetched <= 4 * MIB


def test_ranges_grow_from_64_to_256_kib_and_none_is_asked_for_twice() -> None:
    counted = Counted(random.Random(1).randbytes(3 * MIB + 5))
    file = counted.file()
    file.budget = 4 * MIB
    got = b""
    while piece := file.read(32_768):
        got += piece
    assert got == counted.data
    assert counted.fetched == file.fetched == len(counted.data)
    lengths = [length for _, length in counted.asked]
    assert lengths[:3] == [65_536, 131_072, 262_144]
    assert max(lengths) == 262_144
    file.seek(-10, 2)
    assert file.read() + file.read() == counted.data[-10:]
    assert file.read() == b""
    assert counted.fetched == len(counted.data)


# --- files that are no videos -------------------------------------------------------------------------------


def sound_alone() -> bytes:
    """A WAV of a second."""
    samples = bytes(16_000)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, 8000,
                       16_000, 2, 16, b"data", len(samples))  # fmt: skip
    return head + samples


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\0", "FFmpeg cannot read it as a video"),
        (b"not a video at all\n" * 5000, "FFmpeg cannot read it as a video"),
        (picture("x", "png"), "FFmpeg cannot read it as a video"),
        (sound_alone(), "FFmpeg cannot read it as a video"),
        (made(Film(faststart=False))[:3000], "it breaks off: 3,000 of at least"),
        (made(Film(audio="aac", seconds=4))[:48_000], "it breaks off: 48,000 of at least"),
        (made(Film(codec="libvpx", container="webm", seconds=4))[:5000], "it breaks off: 5,000 of at least"),
        (made(Film(faststart=False))[:-500], "it breaks off"),
        (made(Film(container="matroska"))[:30], "FFmpeg cannot read it as a video"),
        (b"\xff" * 64 + made(Film())[64:], "FFmpeg cannot read it as a video"),
    ],
    ids=[
        "empty",
        "byte",
        "text",
        "png",
        "wav",
        "no index",
        "cut mp4",
        "cut webm",
        "cut index",
        "30 bytes",
        "header",
    ],
)
def test_what_is_no_video_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(VideoError, match=reason):
        look(Counted(data).file())


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{path}'\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{path}</BaseURL></MPD>',
    ],
    ids=["playlist", "concat", "dash"],
)
def test_a_file_that_names_others_leads_nowhere(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Else whoever posts a clip sees pictures of this machine's own videos."""
    path = tmp_path_factory.mktemp("private") / "film.mp4"
    path.write_bytes(made(Film()))
    with pytest.raises(VideoError):
        look(Counted(text.format(path=path).encode() * 3).file())


def test_a_picture_of_absurd_size_is_refused() -> None:
    data = bytearray(made(Film(codec="mjpeg", container="mov", faststart=False)))
    for at in (
        data.index(b"\xff\xc0"),
        *(index for index in range(len(data)) if data[index : index + 2] == b"\xff\xc0"),
    ):
        data[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(VideoError):
        look(Counted(bytes(data)).file())


def test_what_reading_says_is_not_taken_for_damage() -> None:
    """A network that is down for a minute must not mark 10,000 clips as broken for ever."""
    data = made(Film(audio="aac", seconds=60, faststart=False, black=100, gop=20))
    whole = Counted(data)
    look(whole.file())
    for good in range(len(whole.asked)):
        left = [good]

        def read(start: int, length: int, left: list[int] = left) -> bytes:
            left[0] -= 1
            if left[0] < 0:
                raise Unavailable("the network is down")
            return data[start : start + length]

        with pytest.raises(Unavailable, match="the network is down"):
            look(RangeFile(read, len(data)))


def test_an_end_of_the_budget_is_said_as_such() -> None:
    """Not as damage, and no more is fetched."""
    data = made(Film(seconds=600, rate=10, faststart=False))
    for budget in range(65_536, len(data), 65_536):
        counted = Counted(data)
        file = RangeFile(counted.read, len(data), budget)
        with contextlib.suppress(VideoError):
            look(file)
        assert counted.fetched <= budget
    with pytest.raises(VideoError, match="take more than 64 KiB to read"):
        look(RangeFile(Counted(data).read, len(data), 65_536))


def chaos(data: bytes, rng: random.Random) -> bytes:
    """With some bytes changed, some moved, perhaps an end that is missing."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 3, 30, 300))):
        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
    if rng.random() < 0.3:
        at, size = rng.randrange(len(spoilt)), rng.randrange(2000)
        spoilt[at : at + size] = spoilt[:size]
    return bytes(spoilt[: rng.randrange(len(spoilt))] if rng.random() < 0.2 else spoilt)


SPOILERS: dict[str, Callable[[bytes, random.Random], bytes]] = {"anywhere": chaos}
SPOILERS["in the first KiB"] = lambda data, rng: chaos(data[:1024], rng) + data[1024:]


@pytest.mark.parametrize("spoiler", SPOILERS)
@pytest.mark.parametrize("kind", ["h264 with its index last", "vp9 with sound", "avi", "mpeg4 in mov"])
def test_spoilt_files_are_seen_or_refused_and_never_hang(kind: str, spoiler: str) -> None:
    data = made(KINDS[kind])
    rng = random.Random(zlib.crc32(kind.encode()))
    seen = 0
    for _ in range(60):
        counted = Counted(SPOILERS[spoiler](data, rng))
        with contextlib.suppress(VideoError):
            seen += frame_of(look(counted.file()).thumbnail).width == 420
        assert counted.fetched <= len(counted.data)
    assert 0 < seen < 60
