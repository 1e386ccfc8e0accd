"""Keys: who loses or mixes them up loses a drive, so each mistake is noticed and said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from discordfs.errors import ConfigError, FormatError
from discordfs.keys import KeyFile, VolumeKeys, new_master, read_key_file, write_key_file

KEY = KeyFile(bytes(range(16)), bytes(range(32)))


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


def test_a_newer_version_or_a_protected_key_is_refused_as_such(path: Path) -> None:
    import hashlib

    def write(body: str) -> None:
        path.write_text(f"{body}checksum: {hashlib.sha256(body.encode()).hexdigest()[:16]}\n")

    body = path.read_text().partition("checksum")[0]
    write(body)
    assert read_key_file(path) == KEY
    write(body + "hint: something\n")
    assert read_key_file(path) == KEY
    for old, new in (("key 1", "key 2"), ("protection: none", "protection: scrypt")):
        write(body.replace(old, new))
        with pytest.raises(FormatError):
            read_key_file(path)
    write(body.replace("master", "master2"))
    with pytest.raises(ConfigError):
        read_key_file(path)
