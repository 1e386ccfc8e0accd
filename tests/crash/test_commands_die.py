"""Commands die at each of their steps: the same command goes on, and ends as if nothing had been.

A step is what a command does to its state directory or to a database in it (tests/dying.py). Before each
death all is as it was before the command; after it the command is given again, as people do.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.archived.making import RunMaker, at, id_at, message
from tests.dying import dies, steps
from tests.mounting import EmulatorProcess, MountedDrive, new_drive, run_command

FILES = {f"folder {number % 3}/file {number}": b"contents %d" % number for number in range(30)}


@dataclass(frozen=True, slots=True)
class Stage:
    """An emulator, and a state directory as it is before the command."""

    emulator: EmulatorProcess
    before: Path
    guild: str = ""


@dataclass(frozen=True, slots=True)
class Play:
    """`arguments` are given, and after a death `again`, or the same; what `outcome` says then is the same
    wherever the process died. `had_ended`: what is said to whoever had been done with it. `{root}` stands for
    the directory that holds the state directory, `{guild}` for the server."""

    stage: Callable[[Path], Iterator[Stage]]
    arguments: tuple[str, ...]
    outcome: Callable[[Scene], object]
    again: tuple[str, ...] = ()
    had_ended: str = ""
    times: int = 40


@dataclass(frozen=True, slots=True)
class Scene:
    """One time of a play, in a directory of its own."""

    play: Play
    stage: Stage
    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    def run(self, *arguments: str, at: int = -1) -> subprocess.CompletedProcess[str]:
        guild = self.stage.guild
        given = [each.replace("{root}", str(self.root)).replace("{guild}", guild) for each in arguments]
        env = self.stage.emulator.environment() | {"DISCORDFS_STATE_DIR": str(self.state)}
        if at >= 0:
            env |= dies(at, self.root, self.root / "steps")
        return run_command(*given, env=env)

    def begin(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.stage.before, self.root, symlinks=True)

    def whole(self) -> int:
        """To its end, and how many steps that takes."""
        self.begin()
        done = self.run(*self.play.arguments, at=sys.maxsize)
        assert done.returncode == 0, done.stderr
        return steps(self.root / "steps")

    def dies(self, at: int) -> None:
        self.begin()
        done = self.run(*self.play.arguments, at=at)
        assert done.returncode in (-signal.SIGKILL, 0), done.stderr
        if done.returncode != -signal.SIGKILL:
            return
        done = self.run(*(self.play.again or self.play.arguments))
        is_late = bool(self.play.had_ended) and self.play.had_ended in done.stderr
        assert is_late or done.returncode == 0, f"after its death at step {at}: {done.stderr}"


class SeededEmulator(EmulatorProcess):
    """A server with a little of everything."""

    def start(self) -> None:
        self._arguments = [*self._arguments, "--seed"]
        super().start()


# --- where they play --------------------------------------------------------------------------------------


def volume(place: Path) -> Iterator[tuple[EmulatorProcess, MountedDrive]]:
    with (
        EmulatorProcess(place / "discord", ["rate_limits=off", "time_scale=10"]) as emulator,
        new_drive(emulator, place / "home") as drive,
    ):
        for name, data in FILES.items():
            (drive.mountpoint / name).parent.mkdir(exist_ok=True)
            (drive.mountpoint / name).write_bytes(data)
        drive.barrier()
        yield emulator, drive


def empty_machine(place: Path) -> Iterator[Stage]:
    for emulator, drive in volume(place):
        drive.umount()
        (place / "before").mkdir()
        shutil.copy(drive.state_dir / "key", place / "before" / "key")
        yield Stage(emulator, place / "before")


def lost_index(place: Path) -> Iterator[Stage]:
    """The mount was killed, and the index is gone, without its WAL."""
    for emulator, drive in volume(place):
        (drive.mountpoint / "new").write_bytes(b"not sent")
        drive.kill9()
        kept_state(drive, place / "before")
        (place / "before" / "state" / "index.sqlite").unlink()
        yield Stage(emulator, place / "before")


def damaged_index(place: Path) -> Iterator[Stage]:
    for emulator, drive in volume(place):
        drive.umount()
        kept_state(drive, place / "before")
        with (place / "before" / "state" / "index.sqlite").open("r+b") as file:
            file.seek(100)
            file.write(random.Random(1).randbytes(20_000))
        yield Stage(emulator, place / "before")


def with_garbage(place: Path) -> Iterator[Stage]:
    for emulator, drive in volume(place):
        for name in sorted(FILES)[::2]:
            (drive.mountpoint / name).unlink()
        drive.barrier()
        drive.umount()
        kept_state(drive, place / "before")
        emulator.control("POST", "clock", {"advance_s": 86_400})
        yield Stage(emulator, place / "before")


def runs(place: Path) -> Iterator[Stage]:
    """Two runs of an archive, in a directory of their own."""
    with EmulatorProcess(place / "discord") as emulator:
        for day in ("2024-03-01", "2024-03-02"):
            (place / "before" / "runs").mkdir(parents=True, exist_ok=True)
            maker = RunMaker(place / "before" / "runs", at(day))
            maker.page([message(id_at(day) + number, f"text {number}") for number in range(50)], after=0)
            maker.write()
        yield Stage(emulator, place / "before")


def loser(place: Path) -> Iterator[Stage]:
    """Another machine took the volume over, before what is new here was sent."""
    for emulator, drive in volume(place):
        winner = MountedDrive(emulator, place / "winner")
        try:
            winner.checked("recover", "--key-file", drive.state_dir / "key")
            os.kill(drive.pid(), signal.SIGSTOP)
            winner.mount("--take-over")
            os.kill(drive.pid(), signal.SIGCONT)
            emulator.stop()
            (drive.mountpoint / "new").write_bytes(b"only here")
            drive.kill9()
            emulator.start()
        finally:
            winner.close()
        kept_state(drive, place / "before")
        (place / "before" / "target").mkdir()
        yield Stage(emulator, place / "before")


def server(place: Path) -> Iterator[Stage]:
    """A server with a little of everything, and no volume."""
    with SeededEmulator(place / "discord", ["rate_limits=off", "time_scale=10"]) as emulator:
        (place / "before").mkdir()
        yield Stage(emulator, place / "before", guild=str(emulator.guild))


def kept_state(drive: MountedDrive, place: Path) -> None:
    sockets = shutil.ignore_patterns("*.sock", "cache")
    shutil.copytree(drive.state_dir, place / "state", ignore=sockets)


# --- what is the same in the end --------------------------------------------------------------------------


def on_the_drive(scene: Scene) -> object:
    """Files and their contents, and whether the drive is sound."""
    done = scene.run("fsck")
    assert done.returncode == 0, done.stdout + done.stderr
    drive = MountedDrive(scene.stage.emulator, scene.root)
    try:
        drive.mount("--read-only")
        return contents(drive.mountpoint)
    finally:
        drive.close()


def in_the_target(scene: Scene) -> object:
    assert not list((scene.state / "stranded").iterdir())
    return contents(scene.root / "target")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def clips_known(scene: Scene) -> object:
    listed = scene.run("clips", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    known = [json.loads(line) for line in listed.stdout.splitlines()]
    kept = contents(scene.state / "clips" / "kept")
    thumbs = sorted(path.name for path in (scene.state / "clips" / "thumb").iterdir())
    return sorted(each["id"] for each in known), kept, thumbs


def archived(scene: Scene) -> object:
    """Each message once, in its channel."""
    views = scene.state / "archive" / "views"
    return {
        str(path.relative_to(views)): [json.loads(line)["id"] for line in path.read_text().splitlines()]
        for path in views.rglob("messages.jsonl")
    }


PLAYS = {
    "gc": Play(with_garbage, ("gc",), on_the_drive, times=8),
    "archive-import": Play(runs, ("archive", "import", "{root}/runs"), archived),
    "recover": Play(
        empty_machine,
        ("recover", "--key-file", "{root}/key"),
        on_the_drive,
        had_ended="holds a volume already",
    ),
    "recover-lost-index": Play(lost_index, ("recover",), on_the_drive, had_ended="holds a volume already"),
    "resubmit": Play(loser, ("resubmit", "--to", "{root}/target"), in_the_target),
    "fsck": Play(damaged_index, ("fsck", "--repair"), on_the_drive),
    "clips": Play(
        server,
        ("clips", "sync", "--guild", "{guild}", "--fetch-history", "--keep", "store", "--rate", "100000"),
        clips_known,
        times=15,
    ),
    "archive": Play(
        server,
        ("archive", "--rate", "100000", "guild", "{guild}"),
        archived,
        again=("archive", "--rate", "100000", "--incremental", "guild", "{guild}"),
    ),
}


@pytest.fixture(params=PLAYS)
def scene(request: pytest.FixtureRequest, fuse_available: None, tmp_path: Path) -> Iterator[Scene]:
    play = PLAYS[request.param]
    for stage in play.stage(tmp_path):
        yield Scene(play, stage, tmp_path / "scene")


def campaign(scene: Scene, count: int, seed: str) -> None:
    """Dies at so many of its steps."""
    total, expected = scene.whole(), scene.play.outcome(scene)
    assert total > 20, "the steps are not heard of"
    for step in sorted(random.Random(seed).sample(range(total), count)):
        scene.dies(step)
        assert scene.play.outcome(scene) == expected, f"after its death at step {step} of {total}"


@pytest.mark.parametrize("scene", ["recover-lost-index", "resubmit"], indirect=True)
def test_a_command_that_dies_at_a_step_goes_on(scene: Scene) -> None:
    campaign(scene, 4, "each time the same")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_each_command_goes_on_wherever_it_died(scene: Scene) -> None:
    """Others each day."""
    campaign(scene, scene.play.times, time.strftime("%F"))
