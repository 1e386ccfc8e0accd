"""Whoever gets something wrong loses nothing: one line that says what, the right exit code, no change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discordfs.cli.options import parse_options
from discordfs.errors import UsageError
from tests.mounting import EmulatorProcess
from tests.people import Person

Refused = Callable[..., str]

pytestmark = pytest.mark.usefixtures("fuse_available")


def test_a_mountpoint_that_is_not_there(person: Person, volume: dict[str, str], refused: Refused) -> None:
    refused(2, "does not exist", "mount", person.home / "nowhere", env=volume)


def test_a_mountpoint_that_is_a_file(person: Person, volume: dict[str, str], refused: Refused) -> None:
    path = person.home / "file"
    path.write_text("precious")
    person.give(path)
    refused(2, "is not a directory", "mount", path, env=volume)


def test_a_mountpoint_with_files_in_it(person: Person, volume: dict[str, str], refused: Refused) -> None:
    (person.folder("mnt") / "file").write_text("would be hidden")
    refused(2, "is not empty", "mount", person.home / "mnt", env=volume)


def test_a_mountpoint_inside_the_state_directory(
    person: Person, volume: dict[str, str], refused: Refused
) -> None:
    refused(2, "inside the state directory", "mount", person.folder("state/mnt"), env=volume)


def test_a_state_directory_inside_the_mountpoint(person: Person, refused: Refused) -> None:
    mountpoint = person.folder("mnt")
    refused(2, "inside the mountpoint", "mount", mountpoint, "--demo", "--state-dir", mountpoint / "state")


def test_what_is_mounted_already_and_a_state_directory_in_use(
    person: Person, volume: dict[str, str], refused: Refused
) -> None:
    mountpoint, other = person.folder("mnt"), person.folder("other")
    done = person.run("mount", mountpoint, env=volume)
    assert done.returncode == 0, done.stderr
    for arguments, words in (
        (("mount", mountpoint), "already"),
        (("mount", other), "in use by another mount"),
    ):
        failed = person.run(*arguments, env=volume)
        assert (failed.returncode, failed.stderr.count("\n")) == (1, 1), failed.stderr
        assert words in failed.stderr
    assert person.run("umount", mountpoint).returncode == 0


def test_no_volume(person: Person, refused: Refused) -> None:
    refused(3, "no volume", "mount", person.folder("mnt"), env={"DISCORD_TOKEN": "x"})


def test_no_token(person: Person, volume: dict[str, str], refused: Refused) -> None:
    without = {name: value for name, value in volume.items() if name != "DISCORD_TOKEN"}
    refused(2, "no bot token", "mount", person.folder("mnt"), env=without)
    refused(2, "no bot token", "init", "--state-dir", person.home / "new", env=without)


def test_a_token_file_that_others_can_read_is_not_used(
    person: Person, volume: dict[str, str], refused: Refused
) -> None:
    path = person.state / "token"
    path.write_text(volume["DISCORD_TOKEN"])
    path.chmod(0o644)
    without = {name: value for name, value in volume.items() if name != "DISCORD_TOKEN"}
    refused(2, "can be read by others", "mount", person.folder("mnt"), env=without)


def test_a_wrong_token_is_asked_about_once(
    person: Person, volume: dict[str, str], refused: Refused, module_emulator: EmulatorProcess
) -> None:
    wrong = volume | {"DISCORD_TOKEN": "not.the.token"}
    for arguments in (("init", "--state-dir", person.home / "new"), ("mount", person.folder("mnt"))):
        module_emulator.control("POST", "stats/reset")
        said = refused(1, "does not accept the token", *arguments, env=wrong)
        assert "not.the.token" not in said
        assert sum(module_emulator.stats()["requests"].values()) == 1


def test_a_channel_that_does_not_exist(
    person: Person, refused: Refused, module_emulator: EmulatorProcess
) -> None:
    refused(3, "does not exist", "init", "--channel", "1234", env=module_emulator.environment())


def test_a_channel_that_the_bot_may_not_see(
    person: Person, refused: Refused, module_emulator: EmulatorProcess
) -> None:
    fault = {
        "route": "/channels/{id}",
        "method": "GET",
        "kind": "status",
        "status": 403,
        "count": 1,
        "nth": 1,
    }
    module_emulator.control("POST", "faults", fault)
    channel = str(module_emulator.channels[0])
    try:
        refused(1, "VIEW_CHANNEL", "init", "--channel", channel, env=module_emulator.environment())
    finally:
        module_emulator.control("DELETE", "faults")


def test_a_second_volume_in_a_state_directory(
    person: Person, volume: dict[str, str], refused: Refused
) -> None:
    refused(2, "exists already", "init", env=volume)
    (person.state / "config.toml").unlink()  # as an init leaves it that was killed before its end
    refused(2, "'discordfs recover' brings the volume back", "init", env=volume)


def test_a_machine_without_libfuse(person: Person, volume: dict[str, str], refused: Refused) -> None:
    missing = volume | {"FUSE_LIBRARY_PATH": "/nowhere/libfuse.so.2"}
    said = refused(1, "libfuse2", "mount", person.folder("mnt"), env=missing)
    assert "fuse3" in said


def test_a_state_directory_of_a_newer_release(
    person: Person, volume: dict[str, str], refused: Refused
) -> None:
    config = person.state / "config.toml"
    config.write_text(config.read_text().replace("format = 1", "format = 2"))
    refused(2, "newer discordfs", "mount", person.folder("mnt"), env=volume)


def test_a_config_that_is_no_config(person: Person, volume: dict[str, str], refused: Refused) -> None:
    (person.state / "config.toml").write_text("format = [")
    refused(2, "config.toml", "mount", person.folder("mnt"), env=volume)


def test_a_lost_key(person: Person, volume: dict[str, str], refused: Refused) -> None:
    (person.state / "key").unlink()
    refused(2, "key file", "mount", person.folder("mnt"), env=volume)


def test_a_mount_option_that_does_not_exist(person: Person, volume: dict[str, str], refused: Refused) -> None:
    refused(2, "unknown mount option", "mount", person.folder("mnt"), "-o", "rw,nonsense", env=volume)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("cache_size=much", "no size"),
        ("staging_size=1M", "at least 8M"),
        ("fsync=never", "local or remote"),
        ("views=some", "archive\\+clips or none"),
        ("uid=me", "no number"),
        ("umask=9", "no number"),
        ("gid=-1", "below zero"),
        ("ro=yes", "takes no value"),
        ("state_dir", "needs a value"),
    ],
)
def test_values_that_mount_options_cannot_have(options: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_options([options])


def test_fstab_options_are_taken() -> None:
    line = "defaults,rw,ro,nosuid,nodev,noexec,noatime,allow_other,uid=1,gid=2,umask=022"
    taken = dict(parse_options([line, "_netdev,nofail,user,x-a=b", "cache_size=2G"]).kernel)
    assert taken["umask"] == "022"
    assert "_netdev" not in taken


def test_wrong_usage(person: Person, refused: Refused) -> None:
    refused(2, "No such option", "mount", "--nonsense", person.home)
    refused(2, "No such command", "mound")
    refused(2, "Missing argument", "umount")
    refused(2, "unknown setting", "emulator", "--dir", person.home, "--set", "speed=fast")


def test_nothing_is_mounted_there(person: Person, refused: Refused) -> None:
    for command in ("umount", "barrier", "status"):
        refused(3, "no discordfs drive is mounted", command, person.home)
