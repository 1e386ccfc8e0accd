"""Messages with files' bytes that somebody deleted or changed: what is left is saved, the rest is named."""

from __future__ import annotations

import os

import pytest

from discordfs.errors import Damaged, RemoteError
from discordfs.model import BLOCK_SIZE
from tests.fs.conftest import CHANNELS
from tests.fsck.conftest import Patient, kinds

LARGE = os.urandom(3 * 1024**2)


@pytest.fixture
def stocked(patient: Patient) -> Patient:
    """Three files, each in a message of its own."""
    for name in (b"/a", b"/b", b"/c"):
        patient.put(name, LARGE + name)
        patient.barrier()
    return patient


def paths(patient: Patient, kind: str, read: float = 0.0) -> set[str]:
    """The files that faults of this kind touch."""
    return {path for each in patient.fsck(read).findings if each.kind == kind for path in each.paths}


def test_a_deleted_message_is_named_and_its_bytes_come_from_the_cache(stocked: Patient) -> None:
    before = stocked.picture()
    stocked.delete_chunk(b"/b")
    assert paths(stocked, "missing-chunk") == {"/b"}
    report = stocked.repair()
    assert kinds(report) == set()
    assert [finding.kind for finding in report.mended] == ["missing-chunk"]
    stocked.empty_caches()
    assert stocked.picture() == before
    assert kinds(stocked.fsck(read=100)) == set()


def test_what_nobody_has_is_named_and_the_rest_stays(stocked: Patient) -> None:
    stocked.delete_chunk(b"/b")
    stocked.empty_caches()
    report = stocked.repair()
    assert kinds(report) == {"missing-chunk"}
    assert paths(stocked, "missing-chunk") == {"/b"}
    with pytest.raises((Damaged, RemoteError)):
        stocked.get(b"/b")
    assert stocked.get(b"/a") == LARGE + b"/a"
    stocked.put(b"/b", b"anew")
    stocked.barrier()
    assert kinds(stocked.fsck()) == set()


def test_of_a_half_cached_chunk_half_is_saved(stocked: Patient) -> None:
    """Reading fails for just the ranges that are gone."""
    stocked.empty_caches()
    handle = stocked.drive.open(b"/b", os.O_RDONLY).handle
    stocked.drive.read(handle, 100, 0)
    stocked.drive.read(handle, 100, 2 * 1024**2)
    stocked.delete_chunk(b"/b")
    stocked.repair()
    stocked.empty_caches()
    handle = stocked.drive.open(b"/b", os.O_RDONLY).handle
    assert stocked.drive.read(handle, BLOCK_SIZE - 100, 0) == LARGE[: BLOCK_SIZE - 100]
    assert stocked.drive.read(handle, 1000, 2 * 1024**2) == LARGE[2 * 1024**2 :][:1000]
    with pytest.raises((Damaged, RemoteError)):
        stocked.drive.read(handle, 1000, 1024**2)


@pytest.mark.expects_log("came damaged")
def test_altered_bytes_are_found_by_reading_and_come_from_the_cache(stocked: Patient) -> None:
    stocked.spoil_chunk(b"/c", at=BLOCK_SIZE + 5000)
    assert kinds(stocked.fsck()) == set()
    assert paths(stocked, "damaged-chunk", read=100) == {"/c"}
    report = stocked.repair(read=100)
    assert kinds(report) == set(), report.findings
    stocked.empty_caches()
    assert stocked.get(b"/c") == LARGE + b"/c"


@pytest.mark.expects_log("came damaged")
def test_altered_bytes_that_nobody_has_fail_for_their_block_alone(stocked: Patient) -> None:
    stocked.spoil_chunk(b"/c", at=BLOCK_SIZE + 5000)
    stocked.empty_caches()
    report = stocked.repair(read=100)
    assert kinds(report) == {"damaged-chunk"}
    handle = stocked.drive.open(b"/c", os.O_RDONLY).handle
    assert stocked.drive.read(handle, 1000, 0) == LARGE[:1000]
    with pytest.raises(Damaged):
        stocked.drive.read(handle, 1000, BLOCK_SIZE + 1000)
    assert stocked.drive.read(handle, 1000, 3 * BLOCK_SIZE) == LARGE[3 * BLOCK_SIZE :][:1000]


@pytest.mark.expects_log("came damaged")
def test_a_sample_takes_those_first_that_were_read_longest_ago(stocked: Patient) -> None:
    stocked.fsck(read=34)  # two of three
    stocked.spoil_chunk(b"/c")
    assert paths(stocked, "damaged-chunk", read=30) == {"/c"}


def test_a_chunk_that_was_posted_twice_is_told_and_taken_when_the_first_goes(stocked: Patient) -> None:
    chunk = stocked.chunk_of(b"/a")
    copy = stocked.root / "copy.chunk"
    stocked.chunks.download(chunk, copy)
    stocked.chunks.post(stocked.chunks.reopen(copy), CHANNELS[2])
    assert "twins" in {finding.kind for finding in stocked.fsck().findings}
    stocked.delete_chunk(b"/a")
    stocked.empty_caches()
    assert paths(stocked, "misplaced-chunk") == {"/a"}
    assert kinds(stocked.repair()) == set()
    assert stocked.get(b"/a") == LARGE + b"/a"
    stocked.reopen()
    assert kinds(stocked.fsck(read=100)) == set()


def test_staging_gives_back_what_a_record_did_not_name_yet(patient: Patient) -> None:
    """The message is deleted between its post and the record: nothing was freed yet."""
    patient.triggers = type(patient.triggers)(bytes=1024**2, quiet_s=1e9, age_s=1e9)
    patient.reopen()
    patient.put(b"/a", LARGE)
    for _ in range(400):
        if patient.sql("SELECT 1 FROM chunks WHERE state = 1 AND message > 0"):
            break
        patient.uploader._stopping.wait(0.05)
    posted = patient.chunk_of(b"/a")
    patient.delete_chunk(b"/a")
    assert kinds(patient.fsck()) == {"missing-chunk"}
    assert kinds(patient.repair()) == set()
    assert patient.chunk_of(b"/a").uid != posted.uid
    patient.empty_caches()
    assert patient.get(b"/a") == LARGE


def test_a_channel_that_is_gone_is_named_with_its_files(stocked: Patient) -> None:
    chunk = stocked.chunk_of(b"/a")
    stocked.store.remove_channel(chunk.channel)
    assert "/a" in paths(stocked, "channel")
    assert stocked.get(b"/a") == LARGE + b"/a"  # the cache has it
