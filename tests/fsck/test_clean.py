"""A drive that is well is called well, whatever it is doing."""

from __future__ import annotations

import os
import stat

from tests.fs.conftest import CALLER
from tests.fsck.conftest import Patient, kinds


def live_a_little(patient: Patient) -> None:
    """Files of all kinds, large and small, some recorded, some not."""
    drive = patient.drive
    drive.mkdir(b"/d", 0o755, CALLER)
    drive.mkdir(b"/d/inner", 0o700, CALLER)
    patient.put(b"/d/small", b"small")
    patient.put(b"/d/large", os.urandom(3 * 1024**2))
    drive.symlink(b"/link", b"d/small", CALLER)
    drive.link(b"/d/small", b"/d/inner/second name")
    drive.mknod(b"/fifo", stat.S_IFIFO | 0o600, 0, CALLER)
    drive.setxattr(b"/d/small", b"user.a", b"value", 0)
    patient.barrier()
    patient.put(b"/d/small", b"smaller")
    patient.put(b"/d/gone", b"gone" * 1000)
    patient.barrier()
    drive.unlink(b"/d/gone")
    drive.rename(b"/d/large", b"/large")
    handle = drive.open(b"/large", os.O_RDWR).handle
    drive.write(handle, b"in the middle", 1_500_000)
    drive.ftruncate(handle, 2_500_000)
    drive.release(handle)


def test_an_empty_drive_is_well(patient: Patient) -> None:
    report = patient.fsck(read=100)
    assert (report.findings, report.undone) == ((), ())


def test_a_drive_with_all_kinds_of_things_is_well(patient: Patient) -> None:
    live_a_little(patient)
    assert kinds(patient.fsck(read=100)) == set()
    patient.barrier()
    report = patient.fsck(read=100)
    assert (kinds(report), report.undone) == (set(), ())


def test_a_drive_with_open_and_unlinked_files_is_well(patient: Patient) -> None:
    live_a_little(patient)
    handle = patient.drive.open(b"/large", os.O_RDWR).handle
    patient.drive.unlink(b"/large")
    patient.drive.write(handle, b"x" * 100_000, 0)
    assert kinds(patient.fsck()) == set()
    patient.barrier()
    assert kinds(patient.fsck()) == set()
    patient.drive.release(handle)


def test_there_is_nothing_to_repair_in_a_drive_that_is_well(patient: Patient) -> None:
    live_a_little(patient)
    patient.barrier()
    posts = patient.posts()
    report = patient.repair(read=100)
    assert not report.mended
    assert patient.posts() == posts
    assert not list(patient.root.glob("*before-fsck*"))
