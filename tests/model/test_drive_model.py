"""The drive and a plain model in step: whatever sequence of calls, uploads and restarts, both agree.

The model is a dictionary of byte strings; its few lines are the definition of what is right.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from discordfs.errors import FilesystemError
from tests.fs.conftest import CALLER, House

NAMES = st.sampled_from([b"/a", b"/b", b"/d/a", b"/d/b"])
OFFSETS = st.integers(0, 700_000)
DATA = st.builds(lambda seed, length: bytes([seed]) * length, st.integers(1, 255), st.integers(0, 300_000))


class DriveAgainstModel(RuleBasedStateMachine):
    """Files by name; hard links share one bytearray."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.house = House(Path(self.directory.name) / "house")
        self.house.drive.mkdir(b"/d", 0o755, CALLER)
        self.files: dict[bytes, bytearray] = {}
        self.handles: list[tuple[int, bytearray]] = []

    @rule(path=NAMES, data=DATA)
    def rewrite(self, path: bytes, data: bytes) -> None:
        self.house.put(path, data)
        content = self.files.setdefault(path, bytearray())
        content[:] = data

    @rule(path=NAMES)
    def open_for_writing(self, path: bytes) -> None:
        if path in self.files and len(self.handles) < 3:
            self.handles.append((self.house.drive.open(path, os.O_RDWR).handle, self.files[path]))

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 2), data=DATA, offset=OFFSETS)
    def write(self, which: int, data: bytes, offset: int) -> None:
        handle, content = self.handles[which % len(self.handles)]
        self.house.drive.write(handle, data, offset)
        if data:
            content.extend(bytes(max(0, offset + len(data) - len(content))))
            content[offset : offset + len(data)] = data

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 2))
    def close(self, which: int) -> None:
        handle, _ = self.handles.pop(which % len(self.handles))
        self.house.drive.flush(handle)
        self.house.drive.release(handle)

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 2))
    def sync(self, which: int) -> None:
        self.house.drive.fsync(self.handles[which % len(self.handles)][0], datasync=False)

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 2), size=OFFSETS)
    def truncate_open(self, which: int, size: int) -> None:
        handle, content = self.handles[which % len(self.handles)]
        self.house.drive.ftruncate(handle, size)
        content.extend(bytes(max(0, size - len(content))))
        del content[size:]

    @rule(path=NAMES, size=OFFSETS)
    def truncate(self, path: bytes, size: int) -> None:
        if path in self.files:
            self.house.drive.truncate(path, size)
            content = self.files[path]
            content.extend(bytes(max(0, size - len(content))))
            del content[size:]

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: bytes, new: bytes) -> None:
        if old in self.files:
            self.house.drive.rename(old, new)
            if self.files.get(new) is not self.files[old]:
                self.files[new] = self.files.pop(old)

    @rule(source=NAMES, path=NAMES)
    def link(self, source: bytes, path: bytes) -> None:
        if source in self.files and path not in self.files:
            self.house.drive.link(source, path)
            self.files[path] = self.files[source]

    @rule(path=NAMES)
    def unlink(self, path: bytes) -> None:
        if path in self.files:
            self.house.drive.unlink(path)
            del self.files[path]

    @rule()
    def upload(self) -> None:
        self.house.barrier()

    @rule()
    def settle(self) -> None:
        self.house.drive._nodes.settle()

    @rule()
    def restart(self) -> None:
        self.handles.clear()
        self.house.reopen()

    @rule()
    def restart_without_cache(self) -> None:
        self.handles.clear()
        self.house.close()
        for path in sorted((self.house.root / "cache").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.house.open()

    @invariant()
    def same_names(self) -> None:
        drive = self.house.drive
        found = {b"/" + entry.name for entry in drive.readdir(b"/") if entry.name != b"d"}
        found |= {b"/d/" + entry.name for entry in drive.readdir(b"/d")}
        assert found == set(self.files)

    @invariant()
    def same_contents(self) -> None:
        for path, content in self.files.items():
            assert self.house.drive.getattr(path).size == len(content)
            assert self.house.get(path) == content
        for handle, content in self.handles:
            assert self.house.drive.read(handle, 2**21, 0) == content

    def teardown(self) -> None:
        try:
            for handle, _ in self.handles:
                self.house.drive.release(handle)
            self.house.check()
        except FilesystemError as error:
            raise AssertionError("closing failed") from error
        finally:
            self.house.loop.stop()
            self.directory.cleanup()


DriveAgainstModel.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestDriveAgainstModel = DriveAgainstModel.TestCase
