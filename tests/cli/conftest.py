"""The commands as two users see them: whoever runs the tests, and (where that is root) nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from discordfs import registry
from discordfs.cli import mountpoint as places
from tests.mounting import ROOT, EmulatorProcess

NOBODY = 65534
TIMEOUT_S = 60


@dataclass(frozen=True)
class Person:
    """Runs commands as somebody, in a directory of that somebody's."""

    home: Path
    command: tuple[str, ...]
    python_path: str

    def run(
        self, *arguments: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": self.python_path}
        environment["DISCORDFS_STATE_DIR"] = str(self.state)
        return subprocess.run(
            [*self.command, "-m", "discordfs", *map(str, arguments)],
            cwd=self.home,
            env=environment | (env or {}),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @property
    def state(self) -> Path:
        return self.home / "state"

    def folder(self, name: str) -> Path:
        """A directory of this person's."""
        path = self.home / name
        path.mkdir()
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        if os.geteuid() == 0:
            owner = self.home.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def everything(self) -> list[tuple[str, int, bytes]]:
        """What stands in the home directory, but for logs and locks: name, mode, contents."""
        found = []
        for path in sorted(self.home.rglob("*")):
            if path.suffix == ".log" or path.name == "lock":
                continue
            content = path.read_bytes() if path.is_file() else b""
            found.append((str(path.relative_to(self.home)), path.lstat().st_mode, content))
        return found


@pytest.fixture(scope="session")
def readable_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """This checkout at a path that every user may walk, wherever it lies: a bind mount."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    base = Path("/tmp") / f"discordfs-tests-{os.getpid()}"
    house = base / "house"
    house.mkdir(parents=True, mode=0o755)
    base.chmod(0o755)
    subprocess.run(["mount", "--bind", ROOT, house], check=True)
    yield house
    subprocess.run(["umount", "-l", house], check=True)
    shutil.rmtree(base)


def as_nobody(command: Sequence[str]) -> tuple[str, ...]:
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return (*become, *command)


@pytest.fixture(scope="session")
def nobodys_python(readable_house: Path) -> tuple[tuple[str, ...], str]:
    """(command, PYTHONPATH) with which nobody can run the package."""
    packages = next((readable_house / ".venv" / "lib").glob("python3.*/site-packages"), None)
    if packages is None:
        pytest.skip("the tests run without .venv, so nobody else could use its packages")
    path = f"{readable_house}:{packages}"
    for python in (str(readable_house / ".venv" / "bin" / "python"), "/usr/bin/python3"):
        command = as_nobody([python])
        # It must be able to start itself once more, as a demo does.
        again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
        probe = [*command, "-c", f"import discordfs.cli.mount; {again}"]
        if subprocess.run(probe, env={"PYTHONPATH": path}, capture_output=True, check=False).returncode == 0:
            return command, path
    pytest.skip("there is no Python here that another user can run with these packages")


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
