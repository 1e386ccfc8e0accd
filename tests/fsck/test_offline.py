"""A state directory that no mount could open, or that lost its index, or its log too: what can be had."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from discordfs.cache import BlockCache
from discordfs.chunkstore import ChunkStore
from discordfs.fsck.findings import Report
from discordfs.fsck.offline import Identity, Offline
from discordfs.fsck.repairing import Parts
from tests.fs.conftest import CALLER, LOG_CHANNEL
from tests.fsck.conftest import Patient, kinds

LARGE = os.urandom(2 * 1024**2)


class Bench:
    """fsck of a patient that is not mounted; `said` is what it told."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.said: list[str] = []

    @contextmanager
    def doctor(self) -> Iterator[Offline]:
        patient = self.patient
        chunks = ChunkStore(
            store=patient.store,
            loop=patient.loop,
            cache=BlockCache(patient.root / "cache", ram_bytes=8 * 1024**2, disk_bytes=64 * 1024**2),
            keys=patient.keys,
            volume=patient.volume,
            random_bytes=os.urandom,
        )
        identity = Identity(CALLER, "tester@house", patient.boot_id)
        try:
            yield Offline(patient.premises(), chunks, time.time_ns, identity, self.said.append)
        finally:
            chunks.close()

    @contextmanager
    def opened(self) -> Iterator[Parts]:
        self.patient.open()
        try:
            yield self.patient.parts()
        finally:
            self.patient.close()

    def check(self, read: float = 0.0) -> Report:
        with self.doctor() as doctor:
            return doctor.check(read)

    def repair(self, read: float = 0.0) -> Report:
        with self.doctor() as doctor:
            return doctor.repair(self.opened, read)


@pytest.fixture
def make_bench(make_patient: Callable[..., Patient]) -> Callable[[], Bench]:
    """Of a drive with recorded files, and with one that is only staged."""

    def make() -> Bench:
        patient = make_patient()
        patient.drive.mkdir(b"/d", 0o750, CALLER)
        patient.put(b"/d/large", LARGE)
        patient.put(b"/small", b"small")
        patient.barrier()
        patient.put(b"/staged", b"staged" * 1000)
        patient.put(b"/d/large", LARGE[:1_000_000])
        patient.drive.chmod(b"/d", 0o700)
        patient.close()
        return Bench(patient)

    return make


@pytest.fixture
def bench(make_bench: Callable[[], Bench]) -> Bench:
    return make_bench()


def contents(bench: Bench) -> dict[str, object]:
    bench.patient.open()
    try:
        return bench.patient.picture()
    finally:
        bench.patient.close()


def test_a_drive_that_is_well_is_called_well(bench: Bench) -> None:
    report = bench.check(read=100)
    assert (kinds(report), report.undone) == (set(), ())
    assert not bench.repair().mended


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE inodes SET size = -1 WHERE ino = 3",
        "UPDATE extents SET home = 7",
        "UPDATE inodes SET nlink = 0 WHERE ino = 3",
        "DELETE FROM dentries",
        "DELETE FROM inodes WHERE ino > 1",
        "DELETE FROM counters",
        "UPDATE log SET head_seq = 'x'",
        "DROP TRIGGER dentries_insert",
        "DROP TABLE xattrs",
        "DROP INDEX dentries_ino",
    ],
)
def test_an_index_that_a_mount_would_stumble_over_is_mended_first(bench: Bench, statement: str) -> None:
    before = contents(bench)
    with closing(sqlite3.connect(bench.patient.root / "index.sqlite", isolation_level=None)) as index:
        for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            if statement.startswith(("UPDATE", "DELETE")):
                _, sql = index.execute(
                    "SELECT name, sql FROM sqlite_master WHERE name = ?", (name,)
                ).fetchone()
                index.execute(f"DROP TRIGGER {name}")
                index.create_function("remake", 1, lambda text: text)
                index.execute("CREATE TEMP TABLE IF NOT EXISTS triggers (sql TEXT)")
                index.execute("INSERT INTO triggers VALUES (?)", (sql,))
        index.execute(statement)
        if statement.startswith(("UPDATE", "DELETE")):
            for (sql,) in index.execute("SELECT sql FROM triggers").fetchall():
                index.execute(sql)
    assert kinds(bench.check())
    report = bench.repair()
    assert kinds(report) == set(), report.findings
    after = contents(bench)
    found = {path: after.pop(path) for path in list(after) if path.startswith("/lost+found")}
    assert {content for _, content in found.values()} <= {content for _, content in before.values()}
    assert set(after) <= set(before)
    for path in ("/d/large", "/small"):
        assert after[path] == before[path]
    assert "/staged" in after or b"staged" * 1000 in {content for _, content in found.values()}
    assert kinds(bench.check(read=100)) == set()


@pytest.mark.parametrize("damage", ["zeros", "torn", "noise"])
def test_a_damaged_database_is_made_anew_and_what_was_staged_is_saved(bench: Bench, damage: str) -> None:
    before = contents(bench)
    path = bench.patient.root / "index.sqlite"
    data = bytearray(path.read_bytes())
    if damage == "zeros":
        data[len(data) // 2 : len(data) // 2 + 8192] = bytes(8192)
    elif damage == "torn":
        del data[len(data) * 3 // 4 :]
    else:
        data[:16] = b"this is no index"
    path.write_bytes(data)
    assert kinds(bench.check()) == {"sqlite"}
    bench.repair()
    assert list(bench.patient.root.glob("damaged-*/index.sqlite"))
    assert kinds(bench.check()) <= {"lost"}
    take_over(bench)
    after = contents(bench)
    assert after["/small"] == before["/small"]
    everything = {content for _, content in after.values()}
    if damage == "zeros":
        assert b"staged" * 1000 in everything


def take_over(bench: Bench) -> None:
    """Whoever lost its index has lost who it was: it becomes the writer as another machine does."""
    with closing(sqlite3.connect(bench.patient.root / "index.sqlite")) as index, index:
        index.execute("UPDATE log SET me = writer WHERE writer <> X''")


def test_a_missing_index_is_built_from_the_log(bench: Bench) -> None:
    before = contents(bench)
    bench.patient.open()
    bench.patient.barrier()
    bench.patient.close()
    for path in bench.patient.root.glob("index.sqlite*"):
        path.unlink()
    assert kinds(bench.check()) == {"index"}
    report = bench.repair()
    assert kinds(report) == set()
    assert any("--take-over" in text for text in bench.said)
    take_over(bench)
    assert contents(bench) == before


@pytest.mark.expects_log("came damaged", "cannot be read")
def test_without_index_and_log_contents_come_back_from_the_chunks(bench: Bench) -> None:
    patient = bench.patient
    patient.open()
    patient.barrier()
    patient.close()
    for path in patient.root.glob("index.sqlite*"):
        path.unlink()
    shutil.rmtree(patient.root / "staging")
    log = list(patient.store._channels[LOG_CHANNEL].messages.values())
    patient.store.delete_quietly(
        LOG_CHANNEL, [it.id for it in log if not any(a.name.startswith("c-") for a in it.attachments)]
    )
    for message in log:  # records with files' bytes beside them: only the record is spoilt
        for attachment in message.attachments:
            if not attachment.name.startswith("c-") and attachment.id in patient.store._bytes:
                patient.store.replace_bytes(attachment.id, lambda data: bytes(len(data)))
    report = bench.repair()
    assert kinds(report) == set(), report
    found = {path: content for path, (_, content) in contents(bench).items() if content is not None}
    assert found["/lost+found/small"] == b"small"
    assert found["/lost+found/staged"] == b"staged" * 1000
    assert found["/lost+found/large"][:1_000_000] == LARGE[:1_000_000]  # type: ignore[index]
    assert kinds(bench.check(read=100)) == set()


def test_an_empty_index_over_chunks_without_a_log_is_not_taken_for_a_new_drive(bench: Bench) -> None:
    patient = bench.patient
    for path in patient.root.glob("index.sqlite*"):
        path.unlink()
    shutil.rmtree(patient.root / "staging")
    shutil.rmtree(patient.root / "outbox")
    patient.store.delete_quietly(LOG_CHANNEL, list(patient.store._channels[LOG_CHANNEL].messages))
    with bench.doctor():
        from discordfs.index import Index

        Index(patient.root / "index.sqlite", time.time_ns(), CALLER).close()
    assert "forgotten" in kinds(bench.check())
    report = bench.repair()
    assert kinds(report) == set()
    assert contents(bench)["/lost+found/large"]


class Neighbour(Patient):
    """Another volume in the same channels."""

    def open(self) -> None:
        self.volume = b"w" * 16
        super().open()


def test_chunks_of_another_volume_are_let_be(bench: Bench, tmp_path: Path) -> None:
    bench.patient.store.delete_quietly(LOG_CHANNEL, list(bench.patient.store._channels[LOG_CHANNEL].messages))
    other = Neighbour(tmp_path / "other", store=bench.patient.store)
    try:
        assert kinds(other.fsck()) == set()
        other.put(b"/mine", b"mine")
        other.barrier()
        assert kinds(other.fsck(read=100)) == set()
    finally:
        other.close()
        other.loop.stop()
