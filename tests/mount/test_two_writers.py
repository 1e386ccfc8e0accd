"""Two machines want to write one volume, and one of them is asleep at the worst moments.

What a `barrier` had acknowledged on either is there in the end, whoever has the volume then; the loser is
read-only, says so, and keeps what only it has. Discord's time runs ten times as fast here, so that taking
over lasts seconds, and its listings lag by more than half of what they may.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from discordfs import control
from discordfs.fold import CLAIM_LIFETIME_S
from tests.mount import scribe
from tests.mount.scribe import HANDS, Deed, Tree
from tests.mount.tools import MIB, hurry, settle_settings, snapshot, wait_until
from tests.mounting import ROOT, EmulatorProcess, MountedDrive

SETTINGS = ["rate_limits=off", "time_scale=10", "list_lag_ms=600"]
POSTS = "/channels/{id}/messages"
TAKE_OVER_S = 90.0

Contents = dict[str, bytes]


@dataclass(slots=True)
class Machines:
    """One volume, and two machines that have a state directory of it: `first` mounted as its writer."""

    emulator: EmulatorProcess
    root: Path
    first: MountedDrive
    second: MountedDrive

    def asleep(self) -> int:
        """Stops the first machine's process, as a laptop that is closed; its process id."""
        pid = self.first.pid()
        os.kill(pid, signal.SIGSTOP)
        return pid

    def take_over(self, drive: MountedDrive | None = None) -> None:
        """By the second machine, unless by another."""
        drive = drive or self.second
        drive.checked("mount", drive.mountpoint, "--take-over", timeout=TAKE_OVER_S)

    def beside(self, drive: MountedDrive, *arguments: str | Path) -> subprocess.Popen[str]:
        """A command that the test does not wait for."""
        environment = os.environ | self.emulator.environment() | {"DISCORDFS_STATE_DIR": str(drive.state_dir)}
        command = [sys.executable, "-m", "discordfs", *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

    def hold(self, method: str, route: str = POSTS, nth: int = 1, kind: str = "hold") -> None:
        """The nth such request from now on is held back before it is carried out, or (`slow`) its answer."""
        order = {"method": method, "route": route, "kind": kind, "nth": nth, "delay_s": 60}
        self.emulator.control("POST", "faults", order)

    def await_held(self) -> None:
        wait_until("a request is held back", lambda: not self.emulator.control("GET", "faults"))

    def release(self) -> None:
        """What was held back is carried out now, though whoever asked for it may sleep."""
        self.emulator.control("DELETE", "faults")

    def messages(self) -> int:
        return int(self.emulator.stats()["messages"])


@pytest.fixture
def machines(fuse_available: None, tmp_path: Path) -> Iterator[Machines]:
    with EmulatorProcess(tmp_path / "discord", SETTINGS) as emulator:
        first, second = (
            MountedDrive(emulator, tmp_path / "first"),
            MountedDrive(emulator, tmp_path / "second"),
        )
        try:
            first.init()
            first.mount()
            yield Machines(emulator, tmp_path, first, second)
        finally:
            for drive in (first, second):
                drive.close()


def put(drive: MountedDrive, **files: bytes) -> Contents:
    for name, data in files.items():
        (drive.mountpoint / name).write_bytes(data)
    return files


def contents(drive: MountedDrive) -> Contents:
    """All files by their paths."""
    found = scribe.found_in(drive.mountpoint)
    return {path: content for path, content in found.items() if content is not None}


def recovered(machines: Machines, drive: MountedDrive) -> None:
    """That machine gets the volume from Discord."""
    key = shutil.copy(machines.first.state_dir / "key", machines.root / "key")
    drive.checked("recover", "--key-file", key)


def check_winner(machines: Machines) -> None:
    """What the winner has is what Discord has, down to the last byte."""
    machines.second.barrier()
    machines.second.checked("fsck", machines.second.mountpoint, "--read-data")
    third = MountedDrive(machines.emulator, machines.root / "third")
    try:
        recovered(machines, third)
        third.mount("--read-only")
        assert snapshot(third.mountpoint) == snapshot(machines.second.mountpoint)
    finally:
        third.close()


def check_loser(machines: Machines, only_here: Contents) -> None:
    """It says that it has lost the volume, takes no more changes, and has and lists what is nowhere else; so
    it does when it is mounted again."""
    first = machines.first
    wait_until("the first has heard that it lost the volume", lambda: not first.status()["writer"])
    for _ in range(2):
        status = first.status()
        assert not status["writer"]
        assert "written by" in status["holder"]
        assert not unlisted(first, only_here)
        with pytest.raises(OSError, match="Read-only"):
            (first.mountpoint / "more").write_bytes(b"refused")
        assert contents(first).items() >= only_here.items()
        first.umount("--no-drain")
        if only_here:
            first.mount()
        else:
            refused = first.command("mount", first.mountpoint)
            assert (refused.returncode, "written by" in refused.stderr) == (1, True)
            first.mount("--read-only")


def unlisted(drive: MountedDrive, paths: Iterable[str]) -> list[str]:
    """Those of which it does not say that they, or a directory above them, are here alone."""
    listed = set(control.call(drive.state_dir, "stranded"))
    return [path for path in paths if not listed & {path, *map(str, Path(path).parents)}]


# --- the first is awake ---------------------------------------------------------------------------------


@contextmanager
def writing(machines: Machines) -> Iterator[Path]:
    """A user works on the first machine (scribe.py) until it is read-only; the notes."""
    notes, trees = machines.root / "notes", [{} for _ in range(HANDS)]
    for number in range(HANDS):
        (machines.first.mountpoint / f"hand{number}").mkdir()
    command = [sys.executable, "-m", "tests.mount.scribe", machines.first.mountpoint, notes, "1"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True) as user:
        try:
            assert user.stdin is not None
            json.dump(trees, user.stdin)
            user.stdin.close()
            wait_until("the user works", notes.exists)
            yield notes
            user.wait(TAKE_OVER_S)
        finally:
            user.kill()


def deeds(notes: Path, hand: int) -> tuple[list[Deed], int]:
    """What a hand has begun to do, in order, and how much of it has returned."""
    news = [each for number, each in map(json.loads, notes.read_text().splitlines()) if number == hand]
    begun = [Deed(**each | {"piece": tuple(each["piece"])}) for each in news if isinstance(each, dict)]
    return begun, news.count("done")


def trees(notes: Path, hand: int) -> list[Tree]:
    """The hand's tree after each of its deeds, the last of which may not have returned."""
    found: list[Tree] = [{}]
    for deed in deeds(notes, hand)[0]:
        found.append(scribe.after(found[-1], deed))
    return found


def last_acknowledged(drive: MountedDrive, notes: Path) -> list[int]:
    """Waits for Discord again and again, until that fails; how much of what each hand did was then there."""
    acknowledged = [0] * HANDS
    while True:
        done = [deeds(notes, hand)[1] for hand in range(HANDS)]
        if drive.command("barrier", drive.mountpoint).returncode:
            return acknowledged
        acknowledged = done


@pytest.mark.long
def test_a_take_over_while_the_first_writes(machines: Machines) -> None:
    """The second has everything that a barrier on the first had acknowledged, to the last moment, and of what
    came later a beginning; the first keeps all of it."""
    first, second = machines.first, machines.second
    with writing(machines) as notes:
        wait_until("the user has done something", lambda: deeds(notes, 0)[1] > 10)
        first.barrier()
        recovered(machines, second)
        with ThreadPoolExecutor(1) as beside:
            acknowledged = beside.submit(last_acknowledged, first, notes)
            machines.take_over()
            done = acknowledged.result()
    for hand in range(HANDS):
        check_is_of_one_moment(second.mountpoint / f"hand{hand}", notes, hand, done[hand])
        check_is_of_one_moment(first.mountpoint / f"hand{hand}", notes, hand, deeds(notes, hand)[1])
    put(second, after=b"the second goes on")
    check_winner(machines)
    theirs = {b"", *contents(second).values()}
    check_loser(machines, {path: data for path, data in contents(first).items() if data not in theirs})


def check_is_of_one_moment(place: Path, notes: Path, hand: int, least: int) -> None:
    """As after at least so many deeds, and perhaps a part of the next."""
    found = scribe.found_in(place)
    history, begun = trees(notes, hand), deeds(notes, hand)[0]
    for number in range(least, len(history)):
        if scribe.is_as(history[number], found):
            return
        if number < len(begun) and scribe.after_a_kill(history[number], begun[number], found) is not None:
            return
    wrong = scribe.differences(history[least], found)
    raise AssertionError(f"hand {hand} is not as it was after any of {least} to {len(begun)} deeds: {wrong}")


# --- the first sleeps -------------------------------------------------------------------------------------


def begun(machines: Machines) -> Contents:
    """A volume with something in it, which the second knows."""
    kept = put(machines.first, kept=os.urandom(300_000), older=b"older")
    machines.first.barrier()
    recovered(machines, machines.second)
    return kept


def check_end(machines: Machines, kept: Contents, only_first: Contents) -> None:
    """The winner has what was acknowledged and what it wrote itself; the loser what it alone has."""
    kept |= put(machines.second, kept=b"written by the second", newer=b"newer")
    check_winner(machines)
    assert contents(machines.second) == kept
    check_loser(machines, only_first)
    check_winner_again(machines, kept)


def check_winner_again(machines: Machines, kept: Contents) -> None:
    """The loser has been awake for a while: nothing that it did has changed anything."""
    machines.second.barrier()
    assert contents(machines.second) == kept


@pytest.mark.parametrize("size", [1000, pytest.param(3_000_000, marks=pytest.mark.long)])
def test_what_comes_after_the_take_over_does_not_count(machines: Machines, size: int) -> None:
    """The first sleeps while its record is on the way, or the bytes that a record is to name; they arrive
    after the second has the volume."""
    kept = begun(machines)
    machines.hold("POST")
    mine = put(machines.first, mine=os.urandom(size), older=b"changed by the first")
    hurry(machines.first)
    machines.await_held()
    pid = machines.asleep()
    machines.take_over()
    before = machines.messages()
    machines.release()
    if size > MIB:  # most of it is still to be sent
        os.kill(pid, signal.SIGCONT)
    wait_until("the late message is there", lambda: machines.messages() > before)
    os.kill(pid, signal.SIGCONT)
    check_end(machines, kept, mine)


@pytest.mark.long
def test_a_record_that_was_there_before_the_take_over_counts(machines: Machines) -> None:
    """The first sleeps between its post and the listing that would have told it so."""
    kept = begun(machines)
    machines.hold("GET")
    mine = put(machines.first, mine=b"of the first", older=b"changed by the first")
    hurry(machines.first)
    machines.await_held()
    pid = machines.asleep()
    machines.take_over()
    machines.release()
    os.kill(pid, signal.SIGCONT)
    check_end(machines, kept | mine, {})


@pytest.mark.long
def test_what_the_first_had_staged_in_its_sleep_is_kept(machines: Machines) -> None:
    """A laptop that was closed with changes in its queue, and wakes when another machine has the volume."""
    kept = begun(machines)
    settle_settings(machines.emulator, hold_uploads=True)
    mine = put(machines.first, mine=os.urandom(200_000), older=b"changed by the first")
    pid = machines.asleep()
    settle_settings(machines.emulator, hold_uploads=False)
    machines.take_over()
    os.kill(pid, signal.SIGCONT)
    check_end(machines, kept, mine)


@pytest.mark.long
def test_the_losers_barrier_acknowledges_no_more_than_the_winner_has(
    machines: Machines,
) -> None:
    """Not even that a file was deleted, or a directory moved."""
    (machines.first.mountpoint / "directory").mkdir()
    (machines.first.mountpoint / "directory" / "file").write_bytes(b"in a directory")
    kept = begun(machines)
    (machines.first.mountpoint / "older").unlink()
    (machines.first.mountpoint / "directory").rename(machines.first.mountpoint / "moved")
    pid = machines.asleep()
    machines.take_over()
    os.kill(pid, signal.SIGCONT)
    done = machines.first.command("barrier", machines.first.mountpoint)
    assert (done.returncode, "on this machine alone" in done.stderr) == (1, True), done.stderr
    assert contents(machines.second) == kept | {"older": b"older", "directory/file": b"in a directory"}


@pytest.mark.long
def test_a_deletion_that_comes_after_the_take_over_takes_nothing_that_is_alive(machines: Machines) -> None:
    """The first sleeps in the middle of gc; what it had asked for is carried out under the second."""
    begun(machines)
    for _ in range(4):
        put(machines.first, churn=os.urandom(1_500_000))
        machines.first.barrier()
    machines.emulator.control("POST", "clock", {"advance_s": 7200})
    put(machines.first, last=b"the grace time is over")
    machines.first.barrier()
    kept = contents(machines.first)
    machines.hold("DELETE", "*")
    machines.hold("POST", "/channels/{id}/messages/bulk-delete")
    with machines.beside(machines.first, "gc", machines.first.mountpoint) as gc:
        wait_until("a deletion is held", lambda: len(machines.emulator.control("GET", "faults")) < 2)
        pid = machines.asleep()
        machines.take_over()
        before = machines.messages()
        machines.release()
        wait_until("the late deletion is done", lambda: machines.messages() < before)
        os.kill(pid, signal.SIGCONT)
        gc.communicate(timeout=60)
    check_end(machines, kept, {})


# --- the second sleeps, and both in turn --------------------------------------------------------------------


@pytest.mark.long
def test_a_take_over_that_falls_asleep_changes_nothing(machines: Machines) -> None:
    """The second has claimed the volume, and its adoption comes too late: the first waited, and goes on."""
    kept = begun(machines)
    machines.hold("POST", nth=2)
    with machines.beside(machines.second, "mount", machines.second.mountpoint, "--take-over") as late:
        machines.await_held()
        kept |= put(machines.first, waiting=b"while the claim stands")
        waited = machines.first.command("barrier", machines.first.mountpoint, "--timeout", "3")
        assert waited.returncode == 75
        machines.emulator.control("POST", "clock", {"advance_s": CLAIM_LIFETIME_S + 30})
        machines.first.barrier()
        kept |= put(machines.first, on=b"it goes on")
        machines.release()
        said = late.communicate(timeout=TAKE_OVER_S)[1]
    assert late.returncode == 1, said
    machines.first.barrier()
    assert machines.first.status()["writer"]
    machines.take_over()
    assert contents(machines.second) == kept | {"older": b"older"}


@pytest.mark.long
@pytest.mark.parametrize("fate", ["lost", "committed unheard"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_take_over_that_is_killed_is_gone_on_with(machines: Machines, nth: int, fate: str) -> None:
    """It dies while its claim, or its adoption, is on the way, which is lost with it, or is there unheard."""
    kept = begun(machines)
    machines.hold("POST", nth=nth, kind="hold" if fate == "lost" else "slow")
    before = machines.messages()
    with machines.beside(machines.second, "mount", machines.second.mountpoint, "--take-over", "-f") as dying:
        machines.await_held()
        if fate != "lost":
            wait_until("it is there", lambda: machines.messages() == before + nth)
        dying.kill()
    machines.release()
    assert machines.messages() == before + nth - (fate == "lost")
    machines.take_over()
    check_end(machines, kept, {})


@pytest.mark.long
@pytest.mark.timeout(600)
def test_back_and_forth(machines: Machines) -> None:
    """Each takes the volume over from the other, again and again, while the other writes: what a barrier
    acknowledged on either is there for both, ever after."""
    kept = begun(machines) | {"older": b"older"}
    here, there = machines.first, machines.second
    for turn in range(4):
        kept |= put(here, **{f"turn{turn}": os.urandom(50_000), "each": b"turn %d" % turn})
        here.barrier()
        machines.take_over(there)
        wait_until("it has heard that it lost the volume", lambda drive=here: not drive.status()["writer"])
        assert contents(there) == kept
        here.umount("--no-drain")
        here, there = there, here
    here.barrier()
    assert contents(here) == kept
