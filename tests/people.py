"""Other people: running the commands as nobody, from a checkout that nobody may read.

Its fixtures are known to all tests through tests/conftest.py, so that there is one of each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lacking import lacking
from tests.mounting import ROOT

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
def readable_house(as_root: None) -> Iterator[Path]:
    """This checkout at a path that every user may walk, wherever it lies: a bind mount."""
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
        lacking("the tests run without .venv, so nobody else could use its packages")
    path = f"{readable_house}:{packages}"
    pythons = (str(readable_house / ".venv" / "bin" / "python"), "/usr/bin/python3")
    command = next((as_nobody([each]) for each in pythons if _works(as_nobody([each]), path)), None)
    if command is None:
        lacking("there is no Python here that another user can run with these packages")
    return command, path


def _works(command: Sequence[str], path: str) -> bool:
    """It must be able to start itself once more, as a demo does."""
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    probe = [*command, "-c", f"import discordfs.cli.mount; {again}"]
    return subprocess.run(probe, env={"PYTHONPATH": path}, capture_output=True, check=False).returncode == 0
