"""Read-only mounts elsewhere, which follow the writer: never a mixture, never an error that is none."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.tools import wait_until
from tests.mounting import EmulatorProcess, MountedDrive, new_drive

pytestmark = pytest.mark.usefixtures("fuse_available")


@dataclass
class Two:
    writer: MountedDrive
    reader: MountedDrive

    def hears(self) -> bool:
        """Whether the reader's gateway stands."""
        return int(self.writer.stats()["gateway_connections"]) >= 2

    def await_same(self, name: str) -> None:
        """Until the reader has what the writer has under this name."""
        ours, theirs = self.writer.mountpoint / name, self.reader.mountpoint / name
        wait_until("the reader follows", lambda: theirs.exists() and theirs.read_bytes() == ours.read_bytes())


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with (
        EmulatorProcess(tmp_path / "discord", ["rate_limits=off"]) as emulator,
        new_drive(emulator, tmp_path / "writer", "-o", "gc_grace=1") as writer,
    ):
        reader = MountedDrive(emulator, tmp_path / "reader")
        try:
            (writer.mountpoint / "first").write_bytes(b"one")
            writer.barrier()
            reader.checked("recover", "--key-file", writer.state_dir / "key")
            reader.mount("--read-only")
            found = Two(writer, reader)
            wait_until("both hear", found.hears)
            yield found
        finally:
            reader.close()


def test_open_files_and_names_see_what_the_writer_does(two: Two) -> None:
    path = two.reader.mountpoint / "first"
    with path.open("rb", buffering=0) as file:
        for contents in (b"longer than one", b"2", os.urandom(400_000), b""):
            (two.writer.mountpoint / "first").write_bytes(contents)
            two.writer.barrier()
            two.await_same("first")
            assert os.pread(file.fileno(), 2**20, 0) == contents
            assert os.fstat(file.fileno()).st_size == path.stat().st_size == len(contents)
    (two.writer.mountpoint / "new").write_bytes(b"renamed over it")
    os.rename(two.writer.mountpoint / "new", two.writer.mountpoint / "first")
    two.writer.barrier()
    two.await_same("first")
    assert os.listdir(two.reader.mountpoint) == ["first"]


def test_nothing_can_be_changed_and_nothing_waits(two: Two) -> None:
    for change in (
        lambda: (two.reader.mountpoint / "x").write_bytes(b""),
        lambda: (two.reader.mountpoint / "first").unlink(),
        lambda: os.chmod(two.reader.mountpoint / "first", 0o600),
    ):
        with pytest.raises(OSError, match="Read-only"):
            change()
    two.reader.barrier()
    status = two.reader.status()
    assert (status["writer"], status["stranded_files"]) == (False, 0)
    assert "is written by" in status["holder"]
    with (
        (two.reader.mountpoint / "first").open("rb") as file,
        mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped,
    ):
        assert mapped[:] == b"one"
    two.reader.umount()


def test_no_newer_file_without_the_older_one_and_no_error(two: Two) -> None:
    """The writer writes pairs and removes what was, and its housekeeping deletes that from Discord at once;
    the reader reads all the time."""
    problems: list[str] = []
    seen: set[int] = set()
    done = threading.Event()
    place = two.reader.mountpoint
    for name in ("a", "b"):
        (two.writer.mountpoint / name).write_bytes(b"0" * 3000)
    two.writer.barrier()
    two.await_same("b")

    def value(name: str) -> int:
        with (place / name).open("rb", buffering=0) as file:
            read = os.read(file.fileno(), 100_000)
        assert len(read) == 3000, len(read)
        assert len(set(read)) == 1, "a mixture"
        return read[0]

    def read() -> None:
        while not done.is_set():
            try:
                b = value("b")
                a = value("a")
            except (OSError, AssertionError) as error:
                problems.append(str(error))
                continue
            seen.add(b)
            if (a - b) % 256 > 100:
                problems.append(f"b is {b}, and a {a}")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(25):
            for name in ("a", "b"):
                contents = bytes([48 + number]) * 3000
                if number % 2:
                    (two.writer.mountpoint / "draft").write_bytes(contents)
                    os.rename(two.writer.mountpoint / "draft", two.writer.mountpoint / name)
                else:
                    with (two.writer.mountpoint / name).open("r+b") as file:
                        file.write(contents)
                two.writer.barrier()
            if number % 8 == 7:
                two.writer.checked("gc", two.writer.mountpoint)
        two.await_same("b")
    finally:
        done.set()
        thread.join()
    assert not problems, problems[:5]
    assert len(seen) > 5


def test_without_discord_it_shows_what_it_had(two: Two) -> None:
    assert (two.reader.mountpoint / "first").read_bytes() == b"one"
    two.reader.umount()
    two.writer.emulator.stop()
    done = two.reader.command("mount", two.reader.mountpoint, "--read-only")
    assert done.returncode == 0, done.stderr
    assert (two.reader.mountpoint / "first").read_bytes() == b"one"
    assert two.reader.command("mount", two.reader.mountpoint, "--take-over").returncode == 1
    two.reader.umount()
    assert two.reader.command("mount", two.reader.mountpoint, "--take-over").returncode == 75
    two.writer.emulator.start()


def test_an_idle_pair_asks_nothing_of_discord(two: Two) -> None:
    """The gateway tells them what happens: looking now and then is for when it does not stand."""

    def is_quiet(seconds: float) -> bool:
        before = two.writer.stats()["requests"]
        threading.Event().wait(seconds)
        return bool(two.writer.stats()["requests"] == before)

    wait_until("what came of the beginning is over", lambda: is_quiet(1.0))
    assert is_quiet(4.0)
