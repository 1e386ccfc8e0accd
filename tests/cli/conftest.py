"""The commands as two users see them: whoever runs the tests, and (where that is root) nobody."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from discordfs import registry
from discordfs.cli import mountpoint as places
from tests.mounting import ROOT, EmulatorProcess
from tests.people import NOBODY, Person


@pytest.fixture(params=["self", "nobody"])
def person(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Person]:
    if request.param == "self":
        home = tmp_path / "home"
        home.mkdir()
        yield Person(home, (sys.executable,), str(ROOT))
        _unmount_below(home)
        return
    command, path = request.getfixturevalue("nobodys_python")
    house: Path = request.getfixturevalue("readable_house")
    home = house.parent / f"home-{request.node.nodeid.encode().hex()[-16:]}"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    yield Person(home, command, path)
    _unmount_below(home)
    shutil.rmtree(home)


def _unmount_below(home: Path) -> None:
    from tests.mounting import wait_for_end

    for mount in registry.running():
        if Path(mount.mountpoint).is_relative_to(home):
            watch = os.pidfd_open(mount.pid)
            places.unmount(mount.mountpoint, lazily=True)
            wait_for_end(watch, mount.pid)


@pytest.fixture
def volume(person: Person, module_emulator: EmulatorProcess) -> dict[str, str]:
    """A volume of this person's; the environment that its mount needs."""
    channel = str(module_emulator.channels[0])
    done = person.run("init", "--channel", channel, env=module_emulator.environment())
    assert done.returncode == 0, done.stderr
    return module_emulator.environment()


@pytest.fixture
def refused(person: Person) -> Callable[..., str]:
    """refused(code, "words", ARGS…): the command fails so, says why in one line, and changes nothing."""

    def check(code: int, words: str, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
        before = person.everything()
        done = person.run(*arguments, env=env)
        assert done.returncode == code, f"{done.returncode}: {done.stderr}"
        assert words in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        assert person.everything() == before
        return done.stderr

    return check
