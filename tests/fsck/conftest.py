"""A drive without a kernel that is damaged on purpose: its index, its log, its chunks."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from discordfs.errors import Damaged, RemoteError
from discordfs.fsck.checking import Premises
from discordfs.fsck.findings import Report
from discordfs.fsck.repairing import Parts, Repairer, live_checker
from discordfs.model import ROOT_INO, ChunkRef
from tests.fs.conftest import House

LARGEST = 2**24
"""Bytes of a file that a picture reads: more than any test writes."""


class Patient(House):
    """A house with a doctor."""

    is_open = False

    def open(self) -> None:
        super().open()
        self.chunks._fetcher._read_timeout = 3.0  # what a damaged index asks for may never come
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        super().close()

    def premises(self) -> Premises:
        return Premises(
            index=self.root / "index.sqlite",
            staging=self.root / "staging",
            outbox=self.root / "outbox",
            scratch=self.root / "scratch",
            log_channel=self.entry.log_channel,
            channels=self.entry.data_channels,
        )

    def parts(self) -> Parts:
        return Parts(self.index, self.staging, self.chunks, self.uploader, self.drive, time.time_ns)

    def fsck(self, read: float = 0.0) -> Report:
        """Looks, while the drive runs."""
        return live_checker(self.premises(), self.parts(), lambda text: None).check(read)

    def repair(self, read: float = 0.0) -> Report:
        return Repairer(self.premises(), self.parts()).repair(read)

    # --- what happens to it -----------------------------------------------------------------------

    def sql(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """Somebody's hand in the index, past all triggers."""
        with self.index._database.transaction() as connection:
            triggers = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            rows = connection.execute(statement, arguments).fetchall()
            for _, sql in triggers:
                connection.execute(sql)
        self.index._forget_all()
        self.index.ledger.forget_chunks()
        return rows

    def chunk_of(self, path: bytes) -> ChunkRef:
        """The chunk with a file's first byte."""
        ino = self.drive.getattr(path).ino
        (extent, *_) = self.index.ledger.extents(ino)
        return self.index.ledger.chunk(extent.chunk)

    def delete_chunk(self, path: bytes) -> None:
        """Somebody deletes the message with a file's bytes."""
        chunk = self.chunk_of(path)
        self.store.delete_quietly(chunk.channel, [chunk.message])

    def spoil_chunk(self, path: bytes, at: int = 100) -> None:
        """Bytes of the message with a file's bytes become others."""
        chunk = self.chunk_of(path)

        def flip(data: bytes) -> bytes:
            return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]

        self.store.replace_bytes(chunk.attachments[0].id, flip)

    def empty_caches(self) -> None:
        """As on another machine: nothing is at hand."""
        self.close()
        for path in sorted((self.root / "cache").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.open()

    def picture(self) -> dict[str, object]:
        """All that a user can see and read, by path; None for what cannot be read, or is far too large."""
        seen: dict[str, object] = {}
        waiting, been = [b"/"], {ROOT_INO}
        while waiting:
            path = waiting.pop()
            for entry in self.drive.readdir(path):
                inner = path.rstrip(b"/") + b"/" + entry.name
                attr = self.drive.getattr(inner)
                if attr.is_dir and attr.ino not in been:  # a damaged tree may have circles
                    been.add(attr.ino)
                    waiting.append(inner)
                is_read = attr.is_regular and attr.size <= LARGEST
                seen[os.fsdecode(inner)] = (attr.mode, self._content(inner) if is_read else None)
        return seen

    def _content(self, path: bytes) -> bytes | None:
        try:
            return self.get(path)
        except (Damaged, RemoteError):
            return None


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings if finding.is_damage}


@pytest.fixture
def make_patient(tmp_path: Path) -> Iterator[Callable[..., Patient]]:
    made: list[Patient] = []

    def make(**settings: object) -> Patient:
        patient = Patient(tmp_path / f"patient{len(made)}", **settings)  # type: ignore[arg-type]
        made.append(patient)
        return patient

    yield make
    for patient in made:
        if patient.is_open:
            patient.close()
        patient.loop.stop()


@pytest.fixture
def patient(make_patient: Callable[..., Patient]) -> Patient:
    return make_patient()


def index_of(patient: Patient) -> closing[sqlite3.Connection]:
    """The index of a closed drive, to be damaged."""
    return closing(sqlite3.connect(patient.root / "index.sqlite", isolation_level=None))
