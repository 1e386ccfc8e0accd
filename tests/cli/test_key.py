"""Key, passphrase and recovery code through the commands: who has them gets at the drive, and nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from discordfs.cli.init import init
from discordfs.cli.key import key as key_commands
from discordfs.keys import KeyFile, passphrase_of, read_key_file
from discordfs.recoverycode import decode_recovery_code
from tests.mounting import ROOT, EmulatorProcess, MountedDrive

PASSPHRASE = "correct horse battery"
OTHER = "another one entirely"


@pytest.fixture
def drive(fuse_available: None, module_emulator: EmulatorProcess, tmp_path: Path) -> Iterator[MountedDrive]:
    """A drive that is neither made nor mounted yet."""
    drive = MountedDrive(module_emulator, tmp_path / "drive")
    yield drive
    drive.close()


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str], Path]:
    """secret(TEXT): a file for its owner's eyes with this line in it."""

    def write(text: str) -> Path:
        path = tmp_path / f"secret-{text.replace(' ', '-')}"
        path.touch(0o600)
        path.write_text(text + "\n")
        return path

    return write


def make(drive: MountedDrive, *options: str | Path) -> dict[str, Any]:
    """`init` over the one channel that is there."""
    channel = str(drive.emulator.channels[0])
    made: dict[str, Any] = json.loads(drive.checked("init", "--json", "--channel", channel, *options))
    return made


def refused(drive: MountedDrive, words: str, *arguments: str | Path) -> None:
    """The command fails for wrong usage with these words in one line, and changes nothing."""
    before = files(drive)
    done = drive.command(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert files(drive) == before


def files(drive: MountedDrive) -> dict[str, bytes]:
    found = (path for path in drive.state_dir.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path): path.read_bytes() for path in found}


def key_of(drive: MountedDrive, passphrase: str = "") -> KeyFile:
    return read_key_file(drive.state_dir / "key", None, lambda: passphrase_of(passphrase))


# --- the recovery code --------------------------------------------------------------------------------


def test_init_gives_the_code_of_the_key(drive: MountedDrive) -> None:
    made = make(drive)
    assert decode_recovery_code(made["recovery_code"]) == key_of(drive)
    assert key_of(drive).volume.hex() == made["volume"]


def test_the_code_needs_no_passphrase(drive: MountedDrive, secret: Callable[[str], Path]) -> None:
    """It is the way back for who forgot it."""
    made = make(drive, "--passphrase-file", secret(PASSPHRASE))
    assert decode_recovery_code(made["recovery_code"]) == key_of(drive, PASSPHRASE)


def test_the_sheet_has_all_that_recovery_needs_and_nothing_is_asked(drive: MountedDrive) -> None:
    channel = str(drive.emulator.channels[0])
    sheet = drive.checked("init", "--channel", channel)
    lines = [line.strip() for line in sheet.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.count("-") == 5)
    code = "\n".join(lines[at : at + 3])
    assert decode_recovery_code(code) == key_of(drive)
    assert f"discordfs recover --channel {channel}" in lines
    assert key_of(drive).volume.hex() in sheet
    assert "can\nread everything" in sheet


def test_neither_key_nor_code_nor_passphrase_stands_anywhere(
    drive: MountedDrive, secret: Callable[[str], Path]
) -> None:
    """But the plain key in a key file without a passphrase."""
    made = make(drive, "--passphrase-file", secret(PASSPHRASE))
    drive.mount("--debug", "-o", f"passphrase_file={secret(PASSPHRASE)}")
    (drive.mountpoint / "file").write_bytes(os.urandom(10_000))
    drive.barrier()
    process = Path(f"/proc/{drive.pid()}")
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    drive.umount()
    master = key_of(drive, PASSPHRASE).master
    group = made["recovery_code"].split("-")[9]
    for needle in (PASSPHRASE.encode(), master, master.hex().encode(), group.encode()):
        assert needle not in shown
        for path in drive.state_dir.rglob("*"):
            assert path.is_dir() or needle not in path.read_bytes(), path


# --- the passphrase -----------------------------------------------------------------------------------


def test_a_drives_life_with_a_passphrase(drive: MountedDrive, secret: Callable[[str], Path]) -> None:
    old, new = secret(PASSPHRASE), secret(OTHER)
    make(drive, "--passphrase-file", old)
    before = key_of(drive, PASSPHRASE)
    drive.mount("-o", f"passphrase_file={old}")
    path = drive.mountpoint / "file"
    path.write_bytes(b"precious")
    done = drive.checked("key", "passphrase", "--passphrase-file", old, "--new-passphrase-file", new)
    assert "another passphrase" in done
    path.write_bytes(b"more precious")  # the mount has its key
    drive.umount()
    refused(drive, "not the passphrase", "mount", drive.mountpoint, "-o", f"passphrase_file={old}")
    drive.mount("-o", f"passphrase_file={new}")
    assert path.read_bytes() == b"more precious"
    drive.umount()
    drive.checked("key", "passphrase", "--passphrase-file", new, "--remove")
    drive.mount()
    assert path.read_bytes() == b"more precious"
    drive.umount()
    assert key_of(drive) == before
    assert (drive.state_dir / "key").stat().st_mode & 0o777 == 0o600


def test_without_the_passphrase_nothing_is_touched(
    drive: MountedDrive, secret: Callable[[str], Path]
) -> None:
    right, wrong, open_to_all = secret(PASSPHRASE), secret(OTHER), secret("open")
    open_to_all.chmod(0o644)
    make(drive, "--passphrase-file", right)
    drive.emulator.control("POST", "stats/reset")
    place = drive.mountpoint
    refused(drive, "-o passphrase_file=FILE", "mount", place)
    refused(drive, "not the passphrase", "mount", place, "-o", f"passphrase_file={wrong}")
    refused(drive, "chmod 600", "mount", place, "-o", f"passphrase_file={open_to_all}")
    refused(drive, "no passphrase file", "mount", place, "-o", "passphrase_file=/nowhere")
    refused(drive, "--passphrase-file", "key", "passphrase", "--new-passphrase-file", wrong)
    change = ("key", "passphrase", "--passphrase-file")
    refused(drive, "not the passphrase", *change, wrong, "--new-passphrase-file", wrong)
    refused(drive, "not the passphrase", *change, wrong, "--remove")
    refused(drive, "name a file with --new-passphrase-file", *change, right)
    refused(drive, "chmod 600", *change, right, "--new-passphrase-file", open_to_all)
    refused(drive, "exclude each other", *change, right, "--new-passphrase-file", wrong, "--remove")
    assert sum(drive.stats()["requests"].values()) == 0


def test_a_passphrase_can_be_set_later(drive: MountedDrive, secret: Callable[[str], Path]) -> None:
    make(drive)
    assert "as before" in drive.checked("key", "passphrase", "--remove")
    assert "has a passphrase" in drive.checked("key", "passphrase", "--new-passphrase-file", secret(OTHER))
    refused(drive, "protected by a passphrase", "mount", drive.mountpoint)
    drive.mount("-o", f"passphrase_file={secret(OTHER)}")


def test_init_with_a_useless_passphrase_file_makes_nothing(
    drive: MountedDrive, secret: Callable[[str], Path]
) -> None:
    drive.emulator.control("POST", "stats/reset")
    refused(drive, "empty passphrase", "init", "--passphrase-file", secret(""))
    refused(drive, "no passphrase file", "init", "--passphrase-file", "/nowhere")
    assert sum(drive.stats()["requests"].values()) == 0
    assert not drive.state_dir.exists()


def test_keys_that_are_not_this_volumes_or_are_damaged(drive: MountedDrive, tmp_path: Path) -> None:
    other = MountedDrive(drive.emulator, tmp_path / "other")
    make(drive)
    make(other)
    path = drive.state_dir / "key"
    good = path.read_bytes()
    path.write_bytes((other.state_dir / "key").read_bytes())
    refused(drive, "is the key of volume", "mount", drive.mountpoint)
    path.write_bytes(good[:-20])
    refused(drive, "damaged", "mount", drive.mountpoint)
    refused(drive, "damaged", "key", "passphrase", "--remove")


def test_a_state_directory_without_a_volume_has_no_key(drive: MountedDrive) -> None:
    done = drive.command("key", "passphrase", "--remove")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr


def test_a_demo_may_have_a_passphrase_too(drive: MountedDrive, secret: Callable[[str], Path]) -> None:
    drive.mount("--demo")
    drive.checked("key", "passphrase", "--new-passphrase-file", secret(OTHER))
    drive.umount()
    refused(drive, "protected by a passphrase", "mount", "--demo", drive.mountpoint)
    drive.mount("--demo", "-o", f"passphrase_file={secret(OTHER)}")


def test_every_option_says_what_it_is_for() -> None:
    for command in (init, *key_commands.commands.values()):
        assert command.help
        assert all(getattr(option, "help", "") for option in command.params), command.name


# --- on a terminal ------------------------------------------------------------------------------------


def on_terminal(
    drive: MountedDrive, arguments: Sequence[str | Path], answers: Sequence[tuple[str, str]]
) -> tuple[int, str]:
    """Runs a command on a terminal of its own, typing each answer at its question; (exit code, what was
    shown)."""
    ours, theirs = os.openpty()
    environment = os.environ | drive.emulator.environment() | {"DISCORDFS_STATE_DIR": str(drive.state_dir)}
    process = subprocess.Popen(
        [sys.executable, "-m", "discordfs", *map(str, arguments)],
        cwd=ROOT,
        env=environment | {"COLUMNS": "200"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: os.login_tty(os.dup(0)),
    )
    os.close(theirs)
    shown = ""
    for question, answer in answers:
        shown += _until(ours, question)
        os.write(ours, f"{answer}\n".encode())
    shown += _until(ours, None)
    os.close(ours)
    return process.wait(60), shown


def _until(terminal: int, words: str | None) -> str:
    """What is shown up to these words, or to the end."""
    shown = ""
    while words is None or words not in shown:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            assert words is None, f"{words!r} was never shown: {shown}"
            break
        shown += data.decode()
    return shown


def test_on_a_terminal_passphrases_are_asked_for_and_not_shown(drive: MountedDrive) -> None:
    channel = str(drive.emulator.channels[0])
    asked = [("empty: ", PASSPHRASE), ("once more", PASSPHRASE)]
    code, sheet = on_terminal(drive, ["init", "--channel", channel], asked)
    assert code == 0, sheet
    code, mounted = on_terminal(drive, ["mount", drive.mountpoint], [("Passphrase of", PASSPHRASE)])
    assert code == 0, mounted
    assert os.path.ismount(drive.mountpoint)
    asked = [("Passphrase of", PASSPHRASE), ("New passphrase", OTHER), ("once more", OTHER)]
    code, changed = on_terminal(drive, ["key", "passphrase"], asked)
    assert code == 0, changed
    shown = sheet + mounted + changed
    assert PASSPHRASE not in shown
    assert OTHER not in shown
    assert key_of(drive, OTHER).volume.hex() in sheet


def test_two_passphrases_that_differ_make_nothing(drive: MountedDrive) -> None:
    drive.emulator.control("POST", "stats/reset")
    asked = [("New passphrase", PASSPHRASE), ("once more", OTHER)]
    code, shown = on_terminal(drive, ["init"], asked)
    assert code == 2
    assert "two different passphrases" in shown
    assert sum(drive.stats()["requests"].values()) == 0


def test_nothing_typed_at_init_means_no_passphrase(drive: MountedDrive) -> None:
    channel = str(drive.emulator.channels[0])
    assert on_terminal(drive, ["init", "--channel", channel], [("New passphrase", "")])[0] == 0
    assert key_of(drive)
    code, shown = on_terminal(
        drive,
        ["key", "passphrase"],
        [
            ("New passphrase", ""),
        ],
    )
    assert (code, "empty passphrase" in shown) == (2, True), shown


def test_a_wrong_passphrase_on_a_terminal(drive: MountedDrive, secret: Callable[[str], Path]) -> None:
    make(drive, "--passphrase-file", secret(PASSPHRASE))
    code, shown = on_terminal(drive, ["mount", drive.mountpoint], [("Passphrase of", OTHER)])
    assert (code, "not the passphrase" in shown) == (2, True), shown
    assert not os.path.ismount(drive.mountpoint)
