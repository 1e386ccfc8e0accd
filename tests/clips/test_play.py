"""Clips on a real mount play as what was posted, seek, and cost hardly more than is watched."""

from __future__ import annotations

import io
import mmap
import os
import random
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import InputContainer

from discordfs.clipping.blocks import CLIP_BLOCK
from discordfs.clipping.model import Place
from tests.clips.shown import Down, ask, catalogue, delete, film, found, made_up, post, take, until
from tests.mounting import EmulatorProcess, MountedDrive, new_drive

pytestmark = pytest.mark.usefixtures("fuse_available")

FOLDER = Path("clips", "The server", "general")
DAY_S = 86_400
KINDS: dict[str, dict[str, Any]] = {
    "index first": {"seconds": 20, "noise": True, "gop": 10, "audio": "aac"},
    "index last": {"seconds": 20, "noise": True, "gop": 50, "audio": "aac", "faststart": False},
    "upright, silent": {"seconds": 20, "noise": True, "size": (180, 320)},
    "webm": {"seconds": 8, "noise": True, "codec": "libvpx", "container": "webm"},
    "quiet": {"seconds": 300, "rate": 5, "gop": 25},
}


def clip_at(drive: MountedDrive, name: str) -> Path:
    (path,) = (drive.mountpoint / FOLDER).glob(f"* - {name}")
    return path


def posted(drive: MountedDrive, name: str, data: bytes) -> Path:
    take(drive, found(post(drive.emulator, name, data)))
    return clip_at(drive, name)


# --- playing ------------------------------------------------------------------------------------------


@dataclass
class Recorded(io.BytesIO):
    """A file that knows which of its bytes were read."""

    data: bytes
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.data)

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.ranges.append((start, self.tell()))
        return data

    @property
    def bytes_read(self) -> int:
        """Those read more than once count once."""
        total, end = 0, 0
        for start, stop in sorted(self.ranges):
            total += max(0, stop - max(start, end))
            end = max(end, stop)
        return total


def opened(source: Path | Recorded) -> InputContainer:
    return av.open(source if isinstance(source, Recorded) else str(source), "r")


def played(source: Path | Recorded) -> list[bytes]:
    """All frames, from the first on."""
    with opened(source) as video:
        return [bytes(frame.planes[0]) for frame in video.decode(video=0)]


def seeked(source: Path | Recorded, count: int, seed: int) -> list[tuple[int | None, bytes]]:
    """The frames at so many moments, drawn at random."""
    draw, frames = random.Random(seed), []
    with opened(source) as video:
        stream = video.streams.video[0]
        assert stream.time_base is not None
        length = (video.duration or 0) / av.time_base
        for _ in range(count):
            moment = draw.random() * length * 0.99
            video.seek(int(moment / stream.time_base), stream=stream)
            frames.append(_frame_at(video, stream, moment))
    return frames


def _frame_at(video: Any, stream: Any, moment: float) -> tuple[int | None, bytes]:
    frame = None
    for frame in video.decode(stream):
        if frame.time is not None and frame.time >= moment - 0.2:
            break
    assert frame is not None
    return frame.pts, bytes(frame.planes[0])


@pytest.mark.parametrize("kind", KINDS)
def test_it_plays_and_seeks_as_what_was_posted_and_costs_little_more(drive: MountedDrive, kind: str) -> None:
    """A hundred jumps, cold, and once more while every link has expired: the same frames, for at most one and
    a half times the bytes that the player needs."""
    data = film(name=kind, **KINDS[kind])
    path = posted(drive, "film.mp4", data)
    original = Recorded(data)
    wanted = seeked(original, 100, seed=1)
    down = Down.of(drive.emulator)
    assert seeked(path, 100, seed=1) == wanted
    assert down.bytes <= 1.5 * original.bytes_read
    assert played(path) == played(Recorded(data))
    drive.emulator.control("POST", "clock", {"advance_s": 3 * DAY_S})
    other = Recorded(data)
    wanted = seeked(other, 100, seed=2)
    cold(drive)
    down = Down.of(drive.emulator)
    assert seeked(path, 100, seed=2) == wanted
    assert down.bytes <= 1.5 * other.bytes_read


def cold(drive: MountedDrive) -> None:
    """The same mount, without anything in its cache."""
    drive.umount()
    for path in (drive.state_dir / "cache").rglob("*"):
        if path.is_file():
            path.unlink()
    drive.mount()


@pytest.mark.parametrize("jumps", [3, 20])
def test_few_jumps_in_a_long_clip_cost_little(fuse_available: None, tmp_path: Path, jumps: int) -> None:
    """Where hardly any of it is watched, reading ahead would cost the most."""
    settings = ["rate_limits=off", "file_limit=200000000", "request_limit=200000000"]
    with EmulatorProcess(tmp_path / "discord", settings) as emulator, new_drive(emulator, tmp_path) as drive:
        data = film(name="long", seconds=60, noise=True, gop=10)
        path = posted(drive, "long.mp4", data)
        original = Recorded(data)
        wanted = seeked(original, jumps, seed=3)
        down = Down.of(emulator)
        assert seeked(path, jumps, seed=3) == wanted
        assert down.bytes <= 1.5 * original.bytes_read
        assert down.bytes < len(data) / 3


def test_links_that_die_while_a_clip_is_open_are_renewed(drive: MountedDrive) -> None:
    """A player that was paused overnight goes on."""
    data = film(name="paused", seconds=30, noise=True)
    path = posted(drive, "paused.mp4", data)
    with path.open("rb", buffering=0) as file:
        begin = file.read(100_000)
        drive.emulator.control("POST", "clock", {"advance_s": 2 * DAY_S})
        rest = file.read()
    assert begin + rest == data


def test_a_clip_is_copied_whole_and_once(drive: MountedDrive) -> None:
    data = film(name="copy", seconds=30, noise=True)
    path = posted(drive, "copy.mp4", data)
    down = Down.of(drive.emulator)
    copy = drive.state_dir / "copy.mp4"
    subprocess.run(["cp", "--preserve=all", path, copy], check=True)
    assert copy.read_bytes() == data
    assert path.read_bytes() == data
    assert down.bytes <= len(data) + CLIP_BLOCK
    assert copy.stat().st_mtime_ns == path.stat().st_mtime_ns


def test_copies_play_without_the_mount_having_fetched_anything_before(drive: MountedDrive) -> None:
    """A remount plays from the disk's cache, verified."""
    data = film(name="again", seconds=30, noise=True)
    path = posted(drive, "again.mp4", data)
    assert path.read_bytes() == data
    until(lambda: drive.status()["cache"]["disk_bytes"] >= len(data))
    drive.umount()
    drive.mount()
    down = Down.of(drive.emulator)
    assert path.read_bytes() == data
    assert down.bytes == 0


# --- cheap to look at -----------------------------------------------------------------------------------


def looked_at(drive: MountedDrive, command: str, *options: str) -> str:
    clips = str(drive.mountpoint / "clips")
    arguments = [command, clips, *options] if command == "find" else [command, *options, clips]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=400)
    assert not done.stderr
    return done.stdout


@pytest.fixture
def many(drive: MountedDrive) -> list[Path]:
    """500 clips."""
    data = film(name="many", seconds=20, noise=True, size=(160, 90))
    assert len(data) > 4 * CLIP_BLOCK
    take(drive, *(found(post(drive.emulator, f"clip-{number}.mp4", data)) for number in range(500)))
    paths = sorted((drive.mountpoint / FOLDER).iterdir())
    assert len(paths) == 500
    return paths


def test_looking_costs_nothing_and_a_beginning_costs_little(drive: MountedDrive, many: list[Path]) -> None:
    """File managers, backups and indexers look at all of it, and read the beginnings."""
    down = Down.of(drive.emulator)
    assert looked_at(drive, "find").count(".mp4") == 1000
    assert sum(".mp4" in line for line in looked_at(drive, "ls", "-lR").splitlines()) == 1000
    assert looked_at(drive, "find", "-type", "f").count(".mp4") == 500
    size = int(looked_at(drive, "du", "-s", "--apparent-size", "-B1").split()[0])
    assert size > 500 * many[0].stat().st_size
    looked_at(drive, "du", "-a")
    assert down.bytes == 0
    before = down.bytes
    for path in many:
        with path.open("rb", buffering=0) as file:
            assert len(file.read(4096)) == 4096
    assert down.bytes - before <= 500 * 264 * 1024


# --- the view ---------------------------------------------------------------------------------------------


def test_clips_come_and_go_without_a_remount(drive: MountedDrive) -> None:
    assert drive.status()["views"]["clips"] == "empty"
    assert not (drive.mountpoint / "clips").exists()
    first = post(drive.emulator, "first.mp4", film())
    take(drive, found(first))
    assert drive.status()["views"]["clips"] == "shown"
    assert clip_at(drive, "first.mp4").read_bytes() == film()
    take(drive, found(post(drive.emulator, "second.mp4", film())))
    until(lambda: len(os.listdir(drive.mountpoint / FOLDER)) == 2)
    with catalogue(drive) as known:
        known.deleted(int(first["channel_id"]), [int(first["id"])], 1)
    until(lambda: len(os.listdir(drive.mountpoint / FOLDER)) == 1)
    assert clip_at(drive, "second.mp4").read_bytes() == film()


def test_what_sync_collects_plays(drive: MountedDrive) -> None:
    """From the command to the player, with the names and runtimes that it found."""
    data = film(name="found", seconds=5, audio="aac")
    post(drive.emulator, "Found.MP4", data, text="look at this")
    drive.checked("clips", "sync", "--fetch-history", "--guild", str(drive.emulator.guild))
    (path,) = (drive.mountpoint / "clips").glob("[!b]*/*/* - Found.MP4")
    assert path.read_bytes() == data
    (thumb,) = (drive.mountpoint / "clips" / "thumbs").iterdir()
    assert thumb.read_bytes().startswith(b"\x89PNG")
    text = (drive.mountpoint / "clips" / "gallery" / "data-0.js").read_text()
    assert "look at this" in text
    assert thumb.stem in text


def test_a_forwarded_clip_plays_from_where_it_was_forwarded_to(drive: MountedDrive) -> None:
    """Its file does not stand in the forward itself, where a reader would look first."""
    data, emulator = film(name="forwarded", seconds=5), drive.emulator
    first = post(emulator, "first.mp4", data)
    order = {"message_reference": {"type": 1, "message_id": first["id"], "channel_id": first["channel_id"]}}
    other = int(ask(emulator, f"/guilds/{emulator.guild}/channels", {"name": "elsewhere"})["id"])
    ask(emulator, f"/channels/{other}/messages", order)
    drive.checked("clips", "sync", "--fetch-history", "--channel", str(other))
    (path,) = (drive.mountpoint / "clips").glob("[!b]*/*/* - first.mp4")
    assert path.read_bytes() == data


def test_a_clip_that_somebody_deleted_is_an_error_and_leaves(drive: MountedDrive) -> None:
    """An error, never other bytes."""
    message = post(drive.emulator, "gone.mp4", film())
    take(drive, found(message))
    path = clip_at(drive, "gone.mp4")
    delete(drive.emulator, message)
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()
    until(lambda: not path.exists())


@pytest.mark.parametrize("kind", ["reset", "truncate", "status", "timeout"])
def test_a_network_that_stumbles_alters_nothing(drive: MountedDrive, kind: str) -> None:
    data = film(name="stumbling", seconds=20, noise=True)
    path = posted(drive, "stumbling.mp4", data)
    order = {"route": "cdn", "method": "GET", "kind": kind, "count": 3, "probability": 0.5, "status": 503}
    drive.emulator.control("POST", "faults", order | {"delay_s": 0.1})
    assert path.read_bytes() == data
    assert drive.stats()["faults"] > 0


def test_nothing_is_written_there(drive: MountedDrive) -> None:
    path = posted(drive, "mine.mp4", film())
    for attempt in (
        lambda: path.write_bytes(b"x"),
        path.unlink,
        lambda: (path.parent / "new").mkdir(),
        lambda: (path.parent / "new").write_text("x"),
        lambda: path.rename(drive.mountpoint / "taken"),
        lambda: os.symlink("x", path.parent / "link"),
        lambda: os.truncate(path, 0),
        lambda: path.chmod(0o600),
        lambda: os.utime(path),
        lambda: (drive.mountpoint / "clips").rmdir(),
    ):
        with pytest.raises(OSError, match="Read-only file system"):
            attempt()
    assert os.listxattr(path) == []


def test_what_the_drive_calls_clips_is_never_hidden(drive: MountedDrive) -> None:
    (drive.mountpoint / "clips").mkdir()
    (drive.mountpoint / "clips" / "mine").write_text("mine")
    take(drive, found(post(drive.emulator, "a.mp4", film())))
    assert (drive.mountpoint / "clips" / "mine").read_text() == "mine"
    assert drive.status()["views"]["clips"] == "hidden: the drive has an entry of this name"


def test_it_can_be_mapped_privately(drive: MountedDrive) -> None:
    """Sharing a map is what the price of small jumps is: it is refused, and gives no wrong bytes."""
    data = film(name="mapped", seconds=20, noise=True)
    with posted(drive, "mapped.mp4", data).open("rb") as file:
        with pytest.raises(OSError, match="No such device"):
            mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == data


def test_a_pure_drive_has_none(fuse_available: None, emulator: EmulatorProcess, tmp_path: Path) -> None:
    with new_drive(emulator, tmp_path, "-o", "views=none") as drive:
        take(drive, found(post(emulator, "a.mp4", film())))
        assert os.listdir(drive.mountpoint) == []


def test_hostile_names_on_a_real_mount(drive: MountedDrive) -> None:
    """What strangers typed must not reach a shell or a terminal as more than a name."""
    for number, name in enumerate(["-rf", "a\nb", "../x", "\x1b[2J", "con", "\u202e4pm.exe"]):
        message = post(drive.emulator, f"{number}.mp4", film())
        place = Place(int(message["channel_id"]) + number, name, 300 + number, name)
        take(drive, found(message, place=place, filename=name, channel=int(message["channel_id"])))
    names = [path.name for path in (drive.mountpoint / "clips").glob("[!.]*/**/*")]
    assert all(name.isprintable() and not name.startswith(".") for name in names)
    clips = [
        path
        for path in (drive.mountpoint / "clips").glob("*/*/*")
        if path.is_file() and not path.is_symlink()
    ]
    assert sum(path.read_bytes() == film() for path in clips if "by-poster" not in path.parts) >= 5


# --- many ---------------------------------------------------------------------------------------------


def test_a_channel_of_10_000_clips_is_listed_within_a_second(drive: MountedDrive) -> None:
    """As fast as the best of three, as other programs run here too."""
    take(drive, *(made_up(number) for number in range(10_000)))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert len(os.listdir(drive.mountpoint / FOLDER)) == 10_000
        times.append(time.perf_counter() - began)
    assert min(times) < 1.0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_100_000_clips_take_little_memory(drive: MountedDrive) -> None:
    """All of it looked at, and all that is made of it made."""
    for first in range(0, 100_000, 10_000):
        places = [Place(600 + number, f"c{number}", 100, "S") for number in range(10)]
        numbers = range(first, first + 10_000)
        take(drive, *(made_up(number, place=places[number % 10]) for number in numbers))
    assert looked_at(drive, "find", "-type", "f").count(".mp4") == 100_000
    looked_at(drive, "find", "-type", "l")
    records = (drive.mountpoint / "clips" / "catalogue.jsonl").read_bytes()
    assert records.count(b"\n") == 100_000
    assert len(os.listdir(drive.mountpoint / "clips" / "gallery")) > 50
    status = Path(f"/proc/{drive.pid()}/status").read_text()
    (most,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert most < 300 * 1024, f"{most // 1024} MiB"
