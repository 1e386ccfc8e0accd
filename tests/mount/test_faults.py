"""Discord fails in the ways it does: each chunk ends there exactly once, and no reader gets wrong bytes.

A user would lose: bytes, or trust in them.
"""

from __future__ import annotations

import errno
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.mount.test_posix_names import fails
from tests.mount.tools import (
    MIB,
    cold,
    known_messages,
    posts,
    random_file,
    record_figures,
    settle_settings,
    sha256,
    wait_until,
)
from tests.mounting import MountedDrive

MESSAGES = "/channels/{id}/messages"


def fault(drive: MountedDrive, **order: Any) -> None:
    drive.emulator.control("POST", "faults", order)


def mend(drive: MountedDrive) -> None:
    drive.emulator.control("DELETE", "faults")


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("reset", {}),
        ("reset_after_commit", {}),
        ("status", {"status": 500}),
        pytest.param("status", {"status": 502}, marks=pytest.mark.long),
        ("status", {"status": 503}),
        pytest.param("status", {"status": 429}, marks=pytest.mark.long),
        pytest.param("truncate", {}, marks=pytest.mark.long),
        pytest.param("slow", {"delay_s": 3}, marks=pytest.mark.long),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else str(value.get("status", "")),
)
def test_a_post_that_fails_ends_as_one_message(
    real_drive: MountedDrive, tmp_path: Path, kind: str, more: dict[str, Any]
) -> None:
    real_drive.barrier()
    base, known = real_drive.stats()["messages"], known_messages(real_drive)
    fault(real_drive, route=MESSAGES, method="POST", kind=kind, nth=1, count=3, **more)
    digest = random_file(tmp_path / "source", 40 * MIB)
    path = real_drive.mountpoint / "file"
    path.write_bytes((tmp_path / "source").read_bytes())
    real_drive.barrier(120)
    stats = real_drive.stats()
    landed = stats["messages"] - base
    record_figures(f"3 x {kind} {more}", messages=landed, posts=posts(stats), faults=stats["faults"])
    assert stats["faults"] == 3
    assert landed == 3 == known_messages(real_drive) - known, "two chunks and their record, once each"
    cold(real_drive)
    assert sha256(path) == digest


@pytest.mark.long
def test_faults_by_chance_all_the_way(real_drive: MountedDrive, tmp_path: Path) -> None:
    real_drive.barrier()
    base, known = real_drive.stats()["messages"], known_messages(real_drive)
    settle_settings(real_drive.emulator, fault_seed=1)
    for kind in ("reset", "reset_after_commit", "status"):
        fault(real_drive, route=MESSAGES, method="POST", kind=kind, probability=0.15)
    fault(real_drive, route="cdn", kind="reset", probability=0.1)
    fault(real_drive, route="cdn", kind="truncate", probability=0.1)
    digests = {}
    for number in range(8):
        digests[number] = random_file(real_drive.mountpoint / str(number), 20 * MIB)
        real_drive.command("barrier", real_drive.mountpoint, "--timeout", "0.5")
    real_drive.barrier(240)
    stats = real_drive.stats()
    landed = stats["messages"] - base
    assert landed == known_messages(real_drive) - known
    assert posts(stats) > landed, "no fault struck a post"
    cold(real_drive)
    for number, digest in digests.items():
        assert sha256(real_drive.mountpoint / str(number)) == digest
    stats = real_drive.stats()
    record_figures("faults by chance", messages=landed, faults=stats["faults"], posts=posts(stats))
    assert stats["faults"] > 0
    mend(real_drive)


@pytest.mark.parametrize("kind", ["corrupt", "truncate", "reset"])
def test_a_read_that_fails_once_gives_the_right_bytes(real_drive: MountedDrive, kind: str) -> None:
    path = real_drive.mountpoint / "file"
    data = os.urandom(2 * MIB)
    path.write_bytes(data)
    cold(real_drive)
    fault(real_drive, route="cdn", kind=kind, nth=1, count=1)
    assert path.read_bytes() == data
    assert real_drive.stats()["faults"] == 1


def test_bytes_that_come_damaged_every_time_are_an_error_and_nothing_else(
    real_drive: MountedDrive,
) -> None:
    path = real_drive.mountpoint / "file"
    data = os.urandom(2 * MIB)
    path.write_bytes(data)
    cold(real_drive)
    fault(real_drive, route="cdn", kind="corrupt", probability=1.0)
    answers = [_read_at(path, offset) for offset in range(0, len(data), 256 * 1024)]
    for number, answer in enumerate(answers):
        # A block in the middle of a larger answer may have been spared by the damage.
        assert answer in (b"EIO", data[number * 256 * 1024 :][:4096])
    assert b"EIO" in answers
    fails(errno.EIO, path.read_bytes)
    mend(real_drive)
    assert path.read_bytes() == data
    assert path.stat().st_size == len(data)


def _read_at(path: Path, offset: int) -> bytes:
    """4 KiB, or the name of the error."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, 4096, offset)
    except OSError as error:
        return errno.errorcode[error.errno].encode()
    finally:
        os.close(descriptor)


def test_urls_that_ran_out(real_drive: MountedDrive) -> None:
    path = real_drive.mountpoint / "file"
    data = os.urandom(3 * MIB)
    path.write_bytes(data)
    cold(real_drive)
    with path.open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 4096, 0) == data[:4096]
        for _ in range(2):
            real_drive.emulator.control("POST", "clock", {"advance_s": 2 * 86_400})
            assert os.pread(file.fileno(), 4096, 2 * MIB) == data[2 * MIB : 2 * MIB + 4096]
    assert path.read_bytes() == data


class Stranger:
    """Somebody with the API and the right to delete messages."""

    def __init__(self, drive: MountedDrive) -> None:
        self._drive = drive

    def _call(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self._drive.emulator.api.rstrip('/')}{path}", method=method)
        request.add_header("Authorization", f"Bot {self._drive.emulator.token}")
        request.add_header("User-Agent", "DiscordBot (https://example.org, 1)")
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def messages(self) -> dict[tuple[str, str], int]:
        """(channel, message) of everything that has attachments, and how many bytes they are."""
        found = {}
        for channel in self._call("GET", f"/guilds/{self._drive.emulator.guild}/channels"):
            if channel["type"] == 0:
                for message in self._call("GET", f"/channels/{channel['id']}/messages?limit=100"):
                    if message["attachments"]:
                        sizes = [attachment["size"] for attachment in message["attachments"]]
                        found[channel["id"], message["id"]] = sum(sizes)
        return found

    def delete(self, message: tuple[str, str]) -> None:
        self._call("DELETE", f"/channels/{message[0]}/messages/{message[1]}")


def test_a_message_deleted_by_a_stranger_damages_only_its_file(real_drive: MountedDrive) -> None:
    real_drive.emulator.control("POST", "settings", {"rate_limits": False})  # for the stranger
    stranger, data = Stranger(real_drive), os.urandom(MIB)
    for name in ("one", "two", "three"):
        before = stranger.messages()
        (real_drive.mountpoint / name).write_bytes(name.encode() + data)
        real_drive.barrier()
        new = {key: size for key, size in stranger.messages().items() if key not in before}
        if name == "two":  # its chunk; the other message is the record of it
            victim = max(new, key=lambda key: new[key])
    cold(real_drive)  # else it would be mended from the cache
    stranger.delete(victim)
    path = real_drive.mountpoint / "two"
    fails(errno.EIO, path.read_bytes)
    for name in ("one", "three"):
        assert (real_drive.mountpoint / name).read_bytes() == name.encode() + data
    assert path.stat().st_size == len(data) + 3
    with path.open("r+b") as file:  # what is written anew is whole again
        file.write(b"TWO" + data)
    cold(real_drive)
    assert path.read_bytes() == b"TWO" + data
    path.unlink()


def test_an_outage_leaves_the_drive_usable_and_drains_by_itself(real_drive: MountedDrive) -> None:
    path = real_drive.mountpoint / "file"
    data = os.urandom(MIB)
    path.write_bytes(data)
    cold(real_drive)
    assert path.read_bytes() == data
    fault(real_drive, kind="status", status=503, probability=1.0)
    (real_drive.mountpoint / "new").write_bytes(data)
    os.rename(real_drive.mountpoint / "new", real_drive.mountpoint / "renamed")
    assert real_drive.command("barrier", real_drive.mountpoint, "--timeout", "1").returncode == 75
    assert sorted(os.listdir(real_drive.mountpoint)) == ["file", "renamed"]
    assert path.read_bytes() == data
    mend(real_drive)
    remote = real_drive.mountpoint / "renamed"
    wait_until("the queue drained", lambda: os.getxattr(remote, "user.discordfs.state") == b"remote", 120)
