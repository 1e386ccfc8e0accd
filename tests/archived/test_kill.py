"""Views are derived by a process that may die at any moment: the next one brings the same files about."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from discordfs.archived.views import update_views
from tests.archived.making import RunMaker, at, id_at, message
from tests.mounting import ROOT

KILLS = 12
PROGRAM = (
    "import sys; from pathlib import Path; from discordfs.archived.views import update_views; "
    "update_views(Path(sys.argv[1]))"
)


def tree(root: Path) -> dict[str, bytes]:
    files = (path for path in (root / "views").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def runs_of(root: Path) -> list[Path]:
    """Three days in three channels: new messages, edits and deletions in each."""
    made = []
    for day in range(3):
        run = RunMaker(root, at(f"2024-06-{10 + day}"))
        for channel in range(3):
            first = id_at("2024-01-03", channel)
            numbers = [first + (each << 44) for each in range(500 + 100 * day) if (each + day) % 97]
            shown = [message(each, f"{each % (50 - day)} words") for each in numbers]
            run.page(shown, channel=700 + channel, after=0, limit=1000)
        made.append(run.write())
    return made


def killed_in_the_middle(root: Path, seconds: float) -> bool:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, root], cwd=ROOT)
    try:
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def test_an_update_that_is_killed_anywhere_is_gone_on_with(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "runs")
    whole, root = tmp_path / "whole", tmp_path / "killed"
    chance, kills = random.Random(11), 0
    for run in runs:
        shutil.copytree(run, whole / run.name)
        shutil.copytree(run, root / run.name)
        for _ in range(KILLS // len(runs)):
            kills += killed_in_the_middle(root, chance.uniform(0.2, 1.0))
        update_views(root)
        update_views(whole)
        assert tree(root) == tree(whole)
    assert kills
    assert not list((root / "views").rglob(".*"))


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_million_messages_and_five_thousand_channels(tmp_path: Path) -> None:
    """In less than 200 MB of memory, however large a channel is or however many there are."""
    million, many = RunMaker(tmp_path / "a", at("2024-03-01")), RunMaker(tmp_path / "b", at("2024-03-01"))
    first = id_at("2023-01-01")
    for page in range(10_000):
        start = first + page * (3 << 34)
        million.page(
            [message(start + each, f"message {each} of {page}") for each in range(100)], after=start - 1
        )
    million.write()
    million.records.clear()
    for channel in range(5000):
        many.page([message(first + channel)], channel=1000 + channel, after=0)
    many.write()
    for root, count in ((tmp_path / "a", 1_000_000), (tmp_path / "b", 5000)):
        # Not ru_maxrss, which begins with what the process that started this one had.
        script = PROGRAM + "; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
        done = subprocess.run([sys.executable, "-c", script, root], cwd=ROOT, capture_output=True, check=True)
        assert int(done.stdout) < 200_000
        lines = sum(path.read_bytes().count(b"\n") for path in (root / "views").rglob("messages.jsonl"))
        assert lines == count
