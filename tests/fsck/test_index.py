"""Faults of the index, each done by hand: found, named, and mended with what the log, or other rows, tell."""

from __future__ import annotations

import os

import pytest

from discordfs.errors import Damaged, RemoteError
from tests.fs.conftest import CALLER
from tests.fsck.conftest import Patient, kinds

CONTENT = os.urandom(700_000)


@pytest.fixture
def settled(patient: Patient) -> Patient:
    """A drive of which the log says everything."""
    patient.drive.mkdir(b"/d", 0o755, CALLER)
    patient.drive.mkdir(b"/d/e", 0o755, CALLER)
    patient.put(b"/d/file", CONTENT)
    patient.put(b"/d/e/other", b"other" * 1000)
    patient.drive.setxattr(b"/d/file", b"user.color", b"blue", 0)
    patient.drive.symlink(b"/d/link", b"file", CALLER)
    patient.barrier()
    return patient


def ino(patient: Patient, path: bytes) -> int:
    return patient.drive.getattr(path).ino


FAULTS: dict[str, tuple[str, bytes | None, set[str]]] = {
    "an inode's links": ("UPDATE inodes SET nlink = 7 WHERE ino = ?", b"/d/file", {"nlink", "log-inode"}),
    "a directory's links": ("UPDATE inodes SET nlink = 1 WHERE ino = ?", b"/d", {"nlink"}),
    "links of none": ("UPDATE inodes SET nlink = 0 WHERE ino = ?", b"/d/file", {"nlink"}),
    "a size": ("UPDATE inodes SET size = 5 WHERE ino = ?", b"/d/file", {"size", "log-inode"}),
    "a larger size": ("UPDATE inodes SET size = size + 5 WHERE ino = ?", b"/d/file", {"log-inode"}),
    "a negative size": ("UPDATE inodes SET size = -5 WHERE ino = ?", b"/d/file", {"row"}),
    "a type": ("UPDATE inodes SET mode = 16877 WHERE ino = ?", b"/d/file", {"kind", "log-inode"}),
    "no type": ("UPDATE inodes SET mode = 'x' WHERE ino = ?", b"/d/file", {"row"}),
    "the bytes counted": ("UPDATE inodes SET allocated = 3 WHERE ino = ?", b"/d/file", {"allocated"}),
    "an inode gone": ("DELETE FROM inodes WHERE ino = ?", b"/d/file", {"missing-inode", "log-inode"}),
    "a directory gone": ("DELETE FROM inodes WHERE ino = ?", b"/d", {"missing-inode", "log-inode"}),
    "a link gone": ("DELETE FROM inodes WHERE ino = ?", b"/d/link", {"missing-inode", "log-inode"}),
    "the root gone": ("DELETE FROM inodes WHERE ino = ?", b"/", {"root"}),
    "a name gone": ("DELETE FROM dentries WHERE ino = ?", b"/d/file", {"orphan", "log-name"}),
    "a directory's name gone": ("DELETE FROM dentries WHERE ino = ?", b"/d", {"orphan", "log-name"}),
    "a name of nothing": ("UPDATE dentries SET ino = 999 WHERE ino = ?", b"/d/file", {"orphan"}),
    "a name with a slash": ("UPDATE dentries SET name = X'612F62' WHERE ino = ?", b"/d/file", {"row"}),
    "a name of another type": ("UPDATE dentries SET kind = 40960 WHERE ino = ?", b"/d/file", {"kind"}),
    "a circle": ("UPDATE dentries SET parent = (SELECT ino FROM dentries WHERE name = X'65') WHERE ino = ?",
        b"/d", {"directory", "log-name"}),
    "attributes gone": ("DELETE FROM xattrs WHERE ino = ?", b"/d/file", {"log-inode"}),
    "attributes of nothing": ("UPDATE xattrs SET ino = 999 WHERE ino = ?", b"/d/file", {"xattr"}),
    "an extent gone": ("DELETE FROM extents WHERE ino = ?", b"/d/file", {"allocated", "log-range"}),
    "an extent elsewhere": ("UPDATE extents SET chunk_position = 1 WHERE ino = ?", b"/d/file", {"log-range"}),
    "an extent beyond": ("UPDATE extents SET chunk_position = 99999999 WHERE ino = ?", b"/d/file", {"chunk"}),
    "an extent too long": ("UPDATE extents SET length = 999999 WHERE ino = ?", b"/d/file", {"chunk", "size"}),
    "an extent of no chunk": ("UPDATE extents SET chunk = 999 WHERE ino = ?", b"/d/file", {"chunk"}),
    "an extent's home": ("UPDATE extents SET home = 0 WHERE ino = ?", b"/d/file", {"staging", "log-range"}),
    "an extent of no sort": ("UPDATE extents SET home = 9 WHERE ino = ?", b"/d/file", {"row"}),
    "a chunk gone": ("DELETE FROM chunks", None, {"chunk", "log-range"}),
    "a chunk's message": ("UPDATE chunks SET message = message + 1", None, {"misplaced-chunk"}),
    "a chunk's channel": ("UPDATE chunks SET channel = 11", None, {"log-chunk"}),
    "a chunk's uid": ("UPDATE chunks SET uid = randomblob(16)", None, {"log-range", "missing-chunk"}),
    "a chunk's blocks": ("UPDATE chunks SET blocks = X'00'", None, {"row"}),
    "a chunk's attachments": ("UPDATE chunks SET attachments = X''", None, {"row"}),
    "a chunk intended": ("UPDATE chunks SET state = 0", None, {"chunk-state"}),
    "a chunk condemned": ("UPDATE chunks SET state = 3", None, {"chunk-state"}),
    "counters": ("UPDATE counters SET ceiling = 1", None, {"counter"}),
    "counters gone": ("DELETE FROM counters", None, {"counter"}),
    "the chain's end": ("UPDATE log SET head_uid = randomblob(16)", None, {"log-state"}),
    "the chain's place": ("UPDATE log SET head_seq = head_seq + 3", None, {"log-state"}),
    "the chain's message": ("UPDATE log SET head_message = 12345", None, {"log-state"}),
    "the chain's term": ("UPDATE log SET epoch = 9", None, {"log-state"}),
    "the chain's writer": ("UPDATE log SET writer = randomblob(16)", None, {"log-state"}),
    "a message to delete": (
        "INSERT INTO garbage SELECT DISTINCT channel, message, 2, 1, 5, 0 FROM chunks", None, {"garbage"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_log_knows_comes_back(settled: Patient, fault: str) -> None:
    statement, path, expected = FAULTS[fault]
    before = settled.picture()
    settled.sql(statement, *([ino(settled, path)] if path else []))
    found = settled.fsck()
    assert expected <= kinds(found), found.findings
    if path not in (None, b"/"):
        named = {name for finding in found.findings for name in finding.paths}
        assert any(name in os.fsdecode(path) or "inode" in name for name in named), named
    report = settled.repair()
    assert kinds(report) == set(), report.findings
    assert report.mended
    assert settled.picture() == before
    assert settled.drive.getxattr(b"/d/file", b"user.color") == b"blue"
    assert kinds(settled.fsck(read=100)) == set()
    assert list(settled.root.glob("index.sqlite.before-fsck-*"))


def test_changes_that_were_not_noted_reach_the_log(settled: Patient) -> None:
    """The note that a file changed is lost: without it no record would ever tell of the change."""
    settled.put(b"/d/file", b"new content")
    settled.put(b"/fresh", b"fresh")
    settled.drive.chmod(b"/d/e/other", 0o600)
    settled.drive.rename(b"/d/link", b"/link")
    before = settled.picture()
    for table in ("inodes", "names", "ranges"):
        settled.sql(f"DELETE FROM changed_{table}")
    assert {"log-inode", "log-name", "log-range"} <= kinds(settled.fsck())
    assert kinds(settled.repair()) == set()
    after = settled.picture()
    assert after.pop("/d/link")  # whether it was removed can no longer be told
    assert after == before


@pytest.mark.expects_log("gathering: segment")
def test_staged_bytes_that_are_gone_are_lost_and_nothing_else(settled: Patient) -> None:
    settled.put(b"/staged", b"s" * 100_000)
    settled.put(b"/d/file", b"t" * 1000)
    (extent,) = settled.index.ledger.extents(ino(settled, b"/staged"))
    settled.close()
    (settled.root / "staging" / f"{extent.segment:016x}.segment").unlink()
    settled.open()
    found = settled.fsck()
    assert kinds(found) == {"staging"}
    assert {path for each in found.findings for path in each.paths} >= {"/staged", "/d/file"}
    report = settled.repair()
    assert kinds(report) == {"lost"}
    for path in (b"/staged", b"/d/file"):
        with pytest.raises((Damaged, RemoteError)):
            settled.get(path)
    assert settled.get(b"/d/e/other") == b"other" * 1000
    settled.put(b"/staged", b"once more")
    settled.drive.unlink(b"/d/file")
    settled.barrier()
    assert settled.get(b"/staged") == b"once more"
    assert kinds(settled.fsck()) == set()


def test_without_the_log_what_is_lost_is_called_lost_and_never_a_hole(settled: Patient) -> None:
    """An extent that no record tells of yet is gone: the file must not read as zeros."""
    settled.put(b"/fresh", b"f" * 5000)
    settled.sql("DELETE FROM extents WHERE ino = ?", ino(settled, b"/fresh"))
    assert settled.get(b"/fresh") == bytes(5000)  # as long as nobody looks
    report = settled.repair()
    assert kinds(report) == {"lost"}
    assert [finding.paths for finding in report.findings if finding.is_damage] == [("/fresh",)]
    with pytest.raises((Damaged, RemoteError)):
        settled.get(b"/fresh")


def test_an_unrecorded_file_without_a_name_is_found_again(settled: Patient) -> None:
    settled.put(b"/fresh", b"fresh")
    number = ino(settled, b"/fresh")
    settled.sql("DELETE FROM dentries WHERE ino = ?", number)
    settled.repair()
    assert settled.get(b"/lost+found/#%d" % number) == b"fresh"


def test_a_name_that_is_taken_is_no_obstacle(settled: Patient) -> None:
    settled.put(b"/lost+found", b"a file of this name")
    settled.put(b"/fresh", b"fresh")
    number = ino(settled, b"/fresh")
    settled.sql("DELETE FROM dentries WHERE ino = ?", number)
    settled.repair()
    (folder,) = [each.name for each in settled.drive.readdir(b"/") if each.name.startswith(b"lost+found.")]
    assert settled.get(b"/%s/#%d" % (folder, number)) == b"fresh"
    assert settled.get(b"/lost+found") == b"a file of this name"


def test_a_repair_without_discord_changes_nothing(settled: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log could tell would have to be guessed."""
    from discordfs.errors import Unavailable

    settled.sql("DELETE FROM dentries WHERE ino = ?", ino(settled, b"/d/file"))

    def refuse(*_: object) -> None:
        raise Unavailable("the network is down")

    monkeypatch.setattr(settled.chunks, "list_after", refuse)
    monkeypatch.setattr(settled.chunks, "pages", refuse)
    report = settled.repair()
    assert report.is_offline
    assert "orphan" in kinds(report)
    assert not report.mended
    assert not list(settled.root.glob("*before-fsck*"))


def test_numbers_are_never_given_twice_after_a_repair(settled: Patient) -> None:
    settled.put(b"/one", b"1")
    settled.sql("UPDATE counters SET ceiling = 1 WHERE name IN ('inode', 'commit')")
    settled.repair()
    settled.put(b"/two", b"2")
    assert ino(settled, b"/two") > ino(settled, b"/one")
    assert settled.get(b"/one") == b"1"
