"""A log that strangers had their hands in: found, and made whole by a snapshot; the drive is not touched."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest

from discordfs.fsck.logcheck import log_copy
from discordfs.fsck.repairing import live_checker
from tests.fs.conftest import LOG_CHANNEL
from tests.fsck.conftest import Patient, kinds


@pytest.fixture
def recorded(patient: Patient) -> Patient:
    """A drive with a snapshot and four records."""
    for number in range(4):
        patient.put(b"/file%d" % number, os.urandom(500 + number))
        patient.barrier()
    return patient


def messages(patient: Patient) -> list[int]:
    """The messages of the log, oldest first."""
    return [message.id for message in patient.chunks.list_after(LOG_CHANNEL, 0)]


def assert_whole(patient: Patient) -> None:
    """A machine that had nothing but Discord would have this drive."""
    checker = live_checker(patient.premises(), patient.parts(), lambda text: None)
    with log_copy(patient.chunks, LOG_CHANNEL, patient.root / "scratch", patient.clock) as found:
        assert not found.problem
        assert not found.left_out
        assert checker.can_compare(found)
        assert not checker.differences(found)


@pytest.mark.parametrize("which", [0, 2, -1], ids=["the snapshot", "a record", "the newest"])
def test_a_deleted_log_message_is_made_up_for(recorded: Patient, which: int) -> None:
    before = recorded.picture()
    recorded.store.delete_quietly(LOG_CHANNEL, [messages(recorded)[which]])
    found = recorded.fsck()
    assert kinds(found) & {"log-start", "log-gap", "log-head", "log-record"}
    report = recorded.repair()
    assert kinds(report) == set(), report.findings
    assert {finding.kind for finding in report.mended} >= kinds(found) - {"missing-chunk"}
    assert recorded.picture() == before
    assert_whole(recorded)


def test_all_of_the_log_is_gone(recorded: Patient) -> None:
    before = recorded.picture()
    recorded.store.delete_quietly(LOG_CHANNEL, messages(recorded))
    assert {"log-start", "log-head"} <= kinds(recorded.fsck())
    assert kinds(recorded.repair()) == set()
    assert recorded.picture() == before
    assert_whole(recorded)


def test_an_old_log_put_back_is_gone_on_from_where_the_drive_is(recorded: Patient) -> None:
    """Whoever can write to the channel puts it back to what it was: nothing here goes back with it."""
    before = recorded.picture()
    recorded.store.delete_quietly(LOG_CHANNEL, messages(recorded)[-2:])
    recorded.reopen()
    recorded.barrier()
    assert recorded.picture() == before
    assert "log-head" in kinds(recorded.fsck())
    recorded.put(b"/more", b"more")
    recorded.barrier()
    assert kinds(recorded.repair()) == set()
    before["/more"] = recorded.picture()["/more"]
    assert recorded.picture() == before
    assert_whole(recorded)


@pytest.mark.expects_log("came damaged", "cannot be read")
def test_a_record_with_other_bytes_is_made_up_for(recorded: Patient) -> None:
    (message,) = [it for it in recorded.chunks.list_after(LOG_CHANNEL, 0) if it.id == messages(recorded)[2]]
    for attachment in message.attachments:
        recorded.store.replace_bytes(attachment.id, lambda data: bytes([data[0] ^ 1]) + data[1:])
    assert kinds(recorded.fsck()) & {"log-gap", "log-record"}
    report = recorded.repair()
    assert not kinds(report) & {"log-gap", "log-record", "log-start", "log-head"}
    assert_whole(recorded)


def test_the_wish_for_a_snapshot_survives_a_crash(recorded: Patient) -> None:
    recorded.store.delete_quietly(LOG_CHANNEL, messages(recorded)[:1])
    recorded.index.logbook.want_snapshot()
    recorded.reopen()
    recorded.barrier()
    assert_whole(recorded)


def test_a_damaged_index_and_a_damaged_log_make_nothing_worse(recorded: Patient) -> None:
    """The log cannot be held against the index: what rows say of each other is all there is."""
    before: dict[str, Any] = copy.deepcopy(recorded.picture())
    recorded.store.delete_quietly(LOG_CHANNEL, messages(recorded))
    number = recorded.drive.getattr(b"/file1").ino
    recorded.sql("UPDATE inodes SET nlink = 9, allocated = 1 WHERE ino = ?", number)
    report = recorded.repair()
    assert kinds(report) == set()
    assert recorded.picture() == before
    assert_whole(recorded)
