"""Keys: who loses or mixes them up loses a drive, so each mistake is noticed and said."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from discordfs import keys
from discordfs.errors import ConfigError, FormatError
from discordfs.keys import (
    Cost,
    KeyFile,
    Passphrase,
    Protection,
    VolumeKeys,
    is_protected,
    new_master,
    passphrase_of,
    protection,
    read_key_file,
    read_passphrase_file,
    write_key_file,
)

KEY = KeyFile(bytes(range(16)), bytes(range(32)))
CHEAP = Cost(n=16, r=1)
SECRET = passphrase_of("correct horse")
GOLDEN = """discordfs key 1
volume: 000102030405060708090a0b0c0d0e0f
protection: scrypt
n: 16
r: 1
p: 1
salt: 73737373737373737373737373737373
wrapped: ba0745b143714be09a7a158f079c3a503f46e0c351195d443b7f1a0f199776c996836213ea10b0dde7acb61b7be34e03
checksum: 6048b737f0c20d37
"""


def protected_by(passphrase: Passphrase, cost: Cost = CHEAP) -> Protection:
    return protection(passphrase, os.urandom, cost)


def signed(body: str) -> str:
    return f"{body}checksum: {hashlib.sha256(body.encode()).hexdigest()[:16]}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    write_key_file(path, KEY)
    return path


def test_a_key_comes_back_and_nobody_else_can_read_it(path: Path) -> None:
    assert read_key_file(path) == KEY
    assert read_key_file(path, KEY.volume) == KEY
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["key"]


def test_keys_differ_by_purpose_and_master() -> None:
    one, other = VolumeKeys(KEY.master), VolumeKeys(bytes(32))
    keys = {one.data, one.footer, one.hash, one.log, other.data, other.footer, other.hash, other.log}
    assert len(keys) == 8
    assert one.data == VolumeKeys(KEY.master).data
    with pytest.raises(ConfigError):
        VolumeKeys(b"short")


def test_a_new_master_is_drawn_from_the_source_given() -> None:
    assert new_master(bytes) == bytes(32)


def test_no_key_shows_in_a_repr() -> None:
    assert KEY.master.hex() not in repr(KEY)
    assert str(KEY.master) not in repr(KEY)


def test_another_key_is_never_overwritten_by_mistake(path: Path) -> None:
    other = KeyFile(b"o" * 16, b"m" * 32)
    with pytest.raises(ConfigError, match="exists"):
        write_key_file(path, other)
    assert read_key_file(path) == KEY
    write_key_file(path, other, replace=True)
    assert read_key_file(path) == other


def test_the_wrong_volumes_key_is_noticed(path: Path) -> None:
    with pytest.raises(ConfigError, match="is the key of volume"):
        read_key_file(path, b"x" * 16)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_key_file(path)


def test_a_missing_key_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no key file"):
        read_key_file(tmp_path / "nowhere")
    with pytest.raises(ConfigError):
        read_key_file(tmp_path)


def test_any_change_to_the_file_is_noticed(path: Path) -> None:
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(ConfigError):
            read_key_file(path)
        path.write_bytes(good[:at])
        with pytest.raises(ConfigError):
            read_key_file(path)


def test_a_newer_version_or_protection_is_refused_as_such(path: Path) -> None:
    body = path.read_text().partition("checksum")[0]
    path.write_text(signed(body + "hint: something\n"))
    assert read_key_file(path) == KEY
    for old, new in (("key 1", "key 2"), ("protection: none", "protection: argon")):
        path.write_text(signed(body.replace(old, new)))
        with pytest.raises(FormatError):
            read_key_file(path)
    for old, new in (
        ("master", "name"),
        ("volume: 00", "volume: "),
        ("protection: none", "protection: scrypt"),
    ):
        path.write_text(signed(body.replace(old, new)))
        with pytest.raises(ConfigError, match="incomplete"):
            read_key_file(path)


# --- passphrases --------------------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    path = tmp_path / "locked"
    write_key_file(path, KEY, protected=protected_by(SECRET))
    return path


def test_a_passphrase_opens_the_key_and_the_file_shows_neither(locked: Path) -> None:
    assert read_key_file(locked, KEY.volume, lambda: SECRET) == KEY
    assert is_protected(locked)
    text = locked.read_bytes()
    for secret in (KEY.master, SECRET.secret):
        assert secret not in text
        assert secret.hex().encode() not in text
    assert locked.stat().st_mode & 0o777 == 0o600


def test_the_cost_of_a_real_key_file_is_what_was_chosen(tmp_path: Path) -> None:
    """128 MiB for each guess of whoever finds the file."""
    path = tmp_path / "key"
    write_key_file(path, KEY, protected=protection(SECRET, os.urandom))
    assert "\nn: 131072\nr: 8\np: 1\n" in path.read_text()
    assert read_key_file(path, KEY.volume, lambda: SECRET) == KEY


def test_key_files_that_were_written_once_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(GOLDEN)
    assert read_key_file(path, KEY.volume, lambda: SECRET) == KEY
    write_key_file(path, KEY, protected=Protection(SECRET, b"s" * 16, CHEAP), replace=True)
    assert path.read_text() == GOLDEN


@pytest.mark.parametrize("typed", ["correct hors", "correct horse ", "Correct horse", "x"])
def test_a_wrong_passphrase_is_said(locked: Path, typed: str) -> None:
    """Else its wrong key would make every chunk look damaged."""
    with pytest.raises(ConfigError, match="not the passphrase of") as refused:
        read_key_file(locked, KEY.volume, lambda: passphrase_of(typed))
    assert typed == "x" or typed not in str(refused.value)


def test_without_a_passphrase_it_stays_shut(locked: Path) -> None:
    with pytest.raises(ConfigError, match="protected by a passphrase"):
        read_key_file(locked)


def test_nobody_is_asked_for_a_passphrase_in_vain(path: Path, locked: Path) -> None:
    def ask() -> Passphrase:
        raise AssertionError("asked")

    assert read_key_file(path, passphrase=ask) == KEY
    with pytest.raises(ConfigError, match="is the key of volume"):
        read_key_file(locked, b"x" * 16, ask)
    locked.write_bytes(locked.read_bytes()[:-30])
    with pytest.raises(ConfigError, match="damaged"):
        read_key_file(locked, passphrase=ask)


def test_any_change_to_a_protected_file_is_noticed(locked: Path) -> None:
    good = locked.read_bytes()
    for at in range(len(good)):
        for bad in (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], good[:at]):
            locked.write_bytes(bad)
            with pytest.raises(ConfigError):
                read_key_file(locked, passphrase=lambda: SECRET)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n: 16", "n: 15"),
        ("n: 16", "n: 1073741824"),
        ("n: 16", f"n: {2**20}\nr: 9"),
        ("r: 1", "r: 0"),
        ("p: 1", "p: 99"),
        ("salt: 73", "salt: 74"),
        ("volume: 00", "volume: 01"),
        ("wrapped", "master"),
        ("wrapped: ", "wrapped: 00"),
    ],
)
def test_a_file_with_other_fields_opens_nothing_and_takes_no_memory(
    tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    body = GOLDEN.partition("checksum")[0].replace("r: 1\n" if "r: 9" in new else "\0", "")
    path.write_text(signed(body.replace(old, new, 1)))
    with pytest.raises(ConfigError):
        read_key_file(path, passphrase=lambda: SECRET)


def test_each_protection_has_a_salt_of_its_own() -> None:
    assert len({protected_by(SECRET).salt for _ in range(20)}) == 20


def test_no_passphrase_shows_in_a_repr() -> None:
    assert "horse" not in repr(SECRET) + repr(protected_by(SECRET)) + str(SECRET)


def test_one_passphrase_however_it_is_typed() -> None:
    """macOS and Linux compose letters differently; a user would be locked out."""
    assert passphrase_of("gru\u0308n") == passphrase_of("gr\u00fcn") == passphrase_of("gru\u0308n".encode())
    assert passphrase_of(b"\xff\xfe") == Passphrase(b"\xff\xfe")
    with pytest.raises(ConfigError, match="empty"):
        passphrase_of("")


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b" two words ", b" two words "),
    ],
)
def test_the_line_end_of_a_passphrase_file_is_no_part_of_it(
    tmp_path: Path, content: bytes, meant: bytes
) -> None:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_bytes(content)
    assert read_passphrase_file(path) == Passphrase(meant)


def test_a_passphrase_may_come_through_a_pipe() -> None:
    """As the shell's <(pass show discordfs) gives it."""
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)
    assert read_passphrase_file(Path(f"/dev/fd/{reading}")) == Passphrase(b"secret")
    os.close(reading)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"secret", 0o644, "chmod 600"),
        (b"secret", 0o640, "chmod 600"),
        (b"", 0o600, "empty"),
        (b"\n", 0o600, "empty"),
        (bytes(70_000), 0o600, "larger than"),
    ],
)
def test_a_passphrase_file_that_cannot_be_used(tmp_path: Path, content: bytes, mode: int, words: str) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=words):
        read_passphrase_file(path)


def test_a_passphrase_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no passphrase file"):
        read_passphrase_file(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="directory"):
        read_passphrase_file(tmp_path)


def test_a_key_kept_elsewhere_is_changed_there(locked: Path, tmp_path: Path) -> None:
    """A link to a stick must not become a copy on the disk."""
    (tmp_path / "disk").mkdir()
    link = tmp_path / "disk" / "key"
    link.symlink_to(locked)
    write_key_file(link, KEY, protected=protected_by(passphrase_of("new")), replace=True)
    assert link.is_symlink()
    assert read_key_file(locked, passphrase=lambda: passphrase_of("new")) == KEY
    assert os.listdir(link.parent) == ["key"]


@pytest.mark.usefixtures("as_root")
def test_a_key_keeps_its_owner(locked: Path) -> None:
    os.chown(locked, 12345, 23456)
    write_key_file(locked, KEY, replace=True)
    assert (locked.stat().st_uid, locked.stat().st_gid) == (12345, 23456)


# --- crashes ------------------------------------------------------------------------------------------


def killed_at(line: int, work: Callable[[], None]) -> bool:
    """Carries out `work` in another process, which dies (SIGKILL) as it comes to its n-th line in keys.py;
    whether it did."""
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename == keys.__file__ and event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            sys.settrace(trace)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("remove", [False, True])
def test_a_crash_while_the_passphrase_changes_leaves_the_old_or_the_new(locked: Path, remove: bool) -> None:
    """The key file may be the only one: at each line of the change it must open with one of the two."""
    new = passphrase_of("battery staple")
    before = locked.read_bytes()

    def change() -> None:
        write_key_file(locked, KEY, protected=None if remove else protected_by(new), replace=True)

    seen, line = set(), 1
    while killed_at(line, change):
        if locked.read_bytes() == before:
            assert read_key_file(locked, passphrase=lambda: SECRET) == KEY
            seen.add("old")
        else:
            assert read_key_file(locked, passphrase=lambda: new) == KEY
            seen.add("new")
            locked.write_bytes(before)
        line += 1
    assert seen == {"old", "new"}
    assert line > 20
    assert os.listdir(locked.parent) == ["locked"], "what a crash left is taken away by the next change"


def test_a_crash_while_the_first_key_is_written_leaves_none_or_all(tmp_path: Path) -> None:
    path, line = tmp_path / "key", 1
    while killed_at(line, lambda: write_key_file(path, KEY)):
        if path.exists():
            assert read_key_file(path) == KEY
            path.unlink()
        line += 1
    assert line > 20
    assert os.listdir(tmp_path) == ["key"]
