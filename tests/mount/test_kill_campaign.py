"""kill -9, again and again, at moments that nobody chose: all that had returned is there each time.

A user with several hands (scribe.py) writes small files, appends with fsync, files renamed over others,
large files and trees of directories, and notes what has returned. A user would lose: what a program was told
is safe. Discord's time runs ten times as fast here, so that garbage is deleted all the while.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from discordfs.fsck.indexcheck import inspect
from discordfs.fsck.local import Local, open_view
from tests.mount import scribe
from tests.mount.conftest import limited_drive
from tests.mount.scribe import HANDS, Deed, Tree
from tests.mount.tools import record_figures, settle_settings, snapshot, wait_until
from tests.mounting import ROOT, MountedDrive, wait_for_end

OPTIONS = ("-o", "gc_grace=20s")


@dataclass(slots=True)
class Campaign:
    """Kills of one drive. `trees` is what each hand's directory must hold; the counts are for the figures."""

    drive: MountedDrive
    notes: Path
    chance: random.Random
    trees: list[Tree] = field(default_factory=lambda: [{} for _ in range(HANDS)])
    entries: int = 0
    kills: int = 0
    in_an_upload: int = 0
    with_a_queue: int = 0

    def begin(self) -> None:
        for number in range(HANDS):
            (self.drive.mountpoint / f"hand{number}").mkdir()

    def kill_once(self) -> None:
        """The user works, the mount dies, and another one must show all that had returned. Now and then that
        one dies as it begins to go on with what it found."""
        self.notes.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.mount.scribe", str(self.drive.mountpoint), str(self.notes)]
        with subprocess.Popen(
            [*command, str(self.kills)], cwd=ROOT, stdin=subprocess.PIPE, text=True
        ) as user:
            assert user.stdin is not None
            json.dump(self.trees, user.stdin)
            user.stdin.close()
            self._await_a_moment()
            self._kill()
            user.wait(60)
        self.drive.remount(*OPTIONS)
        if self.chance.random() < 0.2:
            self._kill()
            self.drive.remount(*OPTIONS)
        for number in range(HANDS):
            self._check(number)
        self._check_index()
        if self.chance.random() < 0.1:
            self.drive.checked("fsck", self.drive.mountpoint)

    def _await_a_moment(self) -> None:
        """So many things have returned; or, every other time, an upload is under way."""
        deeds = self.chance.randint(1, 120)
        wait_until("the user works", lambda: self.notes.exists() and len(self._lines()) > deeds)
        if self.kills % 2:
            wait_until("an upload is under way", self._uploads)

    def _uploads(self) -> bool:
        return bool(self.drive.stats()["uploads"])

    def _kill(self) -> None:
        """The process only: what it leaves in the mount table stays, so that the user writes nowhere else."""
        pid = self.drive.pid()
        watch = os.pidfd_open(pid)
        self.in_an_upload += self._uploads()
        os.kill(pid, signal.SIGKILL)
        wait_for_end(watch)
        self.kills += 1
        with closing(open_view(self.drive.state_dir / "index.sqlite")) as left:
            queue = left.execute("SELECT EXISTS (SELECT 1 FROM extents WHERE home < 2)")
            self.with_a_queue += queue.fetchone()[0]

    def _lines(self) -> list[str]:
        return self.notes.read_text().splitlines()

    def _check(self, number: int) -> None:
        """One hand's directory: with every deed that had returned, and of the last one all, nothing, or a
        beginning."""
        tree, under_way = self.trees[number], None
        for hand, news in map(json.loads, self._lines()):
            if hand != number:
                continue
            if isinstance(news, dict):
                under_way = Deed(**news | {"piece": tuple(news["piece"])})
            elif news == "done" and under_way is not None:
                tree, under_way = scribe.after(tree, under_way), None
                self.entries += 1
        found = scribe.found_in(self.drive.mountpoint / f"hand{number}")
        left = scribe.after_a_kill(tree, under_way, found) if under_way else tree
        left = tree if left is None else left
        wrong = scribe.differences(left, found)
        assert not wrong, f"kill {self.kills}, hand {number}, {under_way}: {wrong}"
        self.trees[number] = left

    def _check_index(self) -> None:
        state = self.drive.state_dir
        with closing(open_view(state / "index.sqlite")) as view:
            found = inspect(Local(view, state / "staging", state / "outbox", is_live=True))
        assert not found, "\n".join(finding.text for finding in found)


def campaign(drive: MountedDrive, place: Path, kills: int, seed: int) -> Campaign:
    """So many kills; then the machine is lost, and Discord gives back what it had."""
    settle_settings(drive.emulator, bandwidth_bps=60_000_000, time_scale=10.0)
    held = Campaign(drive, place / "notes", random.Random(seed))
    held.begin()
    while held.kills < kills:
        held.kill_once()
    settle_settings(drive.emulator, bandwidth_bps=0)
    drive.barrier()
    drive.checked("gc", drive.mountpoint)
    drive.checked("fsck", drive.mountpoint, "--read-data")
    check_recovered(drive, place)
    record_figures(
        f"{kills} kills",
        entries=held.entries,
        in_an_upload=held.in_an_upload,
        with_a_queue=held.with_a_queue,
        deleted=deletions(drive.stats()),
    )
    return held


def deletions(stats: dict[str, Any]) -> int:
    """Requests that deleted messages."""
    return sum(
        count
        for route, count in stats["requests"].items()
        if route.startswith("DELETE ") or route.endswith("/bulk-delete")
    )


def check_recovered(drive: MountedDrive, place: Path) -> None:
    """The state directory is gone but for a copy of the key."""
    before = snapshot(drive.mountpoint)
    key = shutil.copy(drive.state_dir / "key", place / "key")
    drive.kill9()
    other = MountedDrive(drive.emulator, place / "another machine")
    try:
        other.checked("recover", "--key-file", key)
        other.mount("--read-only")
        assert snapshot(other.mountpoint) == before
    finally:
        other.close()


@pytest.fixture
def tidy_drive(fuse_available: None, tmp_path: Path) -> Iterator[MountedDrive]:
    with limited_drive(tmp_path, *OPTIONS) as drive:
        yield drive


def test_all_that_returned_outlives_kills(tidy_drive: MountedDrive, tmp_path: Path) -> None:
    held = campaign(tidy_drive, tmp_path, kills=6, seed=1)
    assert held.in_an_upload, "no upload was cut off: this shows less than it should"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_that_returned_outlives_a_hundred_kills(tidy_drive: MountedDrive, tmp_path: Path) -> None:
    held = campaign(tidy_drive, tmp_path, kills=100, seed=2)
    assert held.in_an_upload > 20
    assert held.with_a_queue > 50
