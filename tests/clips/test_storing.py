"""`clips sync --store` and `--keep`, as they are typed: what is asked for once is remembered, and a wrong
setting is named before anything is collected."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips.shown import film, post
from tests.clips.stores import Gcs
from tests.lostwal import leave_wal
from tests.mounting import EmulatorProcess, run_command


@pytest.fixture(scope="module")
def gcs() -> Iterator[Gcs]:
    made = Gcs()
    try:
        yield made
    finally:
        made.stop()


def sync(
    emulator: EmulatorProcess, state: Path, more: dict[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    env = emulator.environment() | {"DISCORDFS_STATE_DIR": str(state)} | more
    chosen = ("--channel", str(emulator.channels[0]), "--fetch-history", "--rate", "100000")
    return run_command("clips", "sync", *chosen, *options, env=env)


def test_the_bucket_of_the_settings_has_it_all_and_another_machine_goes_on(
    emulator: EmulatorProcess, gcs: Gcs, tmp_path: Path
) -> None:
    """The predecessor's settings; and the laptop may be lost."""
    video = film(1.0, "kept")
    posted = post(emulator, "kept.mp4", video)
    done = sync(emulator, tmp_path / "one", gcs.environment, "--keep", "store")
    assert done.returncode == 0, done.stderr
    assert "gs://clips" in done.stderr
    (record,) = [json.loads(gcs.get(name)) for name in gcs.names() if name.startswith("messages/")]
    assert record["Discord_id"] == posted["id"]
    assert record["Runtime"] == pytest.approx(1.0, abs=0.2)
    sha256 = hashlib.sha256(video).hexdigest()
    assert gcs.get(f"kept/{sha256[:2]}/{sha256}") == video
    assert f"thumb/{record['Id']}.png" in gcs.names()
    leave_wal(tmp_path / "two" / "clips" / "catalogue.sqlite")
    other = sync(emulator, tmp_path / "two", gcs.environment)
    assert other.returncode == 0, other.stderr
    assert "0 new clips; 1 are known" in other.stderr
    assert "the videos and a copy of it there too" in other.stderr
    env = emulator.environment() | {"DISCORDFS_STATE_DIR": str(tmp_path / "two")}
    listed = run_command("clips", "list", "--json", env=env)
    assert posted["attachments"][0]["id"] in listed.stdout


def test_what_was_chosen_is_remembered_until_it_is_ended(emulator: EmulatorProcess, tmp_path: Path) -> None:
    post(emulator, "first.mp4", film(1.0, "first"))
    there = tmp_path / "there"
    assert sync(emulator, tmp_path / "state", {}, "--store", there.as_uri()).returncode == 0
    post(emulator, "second.mp4", film(1.0, "second"))
    assert sync(emulator, tmp_path / "state", {}).returncode == 0
    assert len(list((there / "messages").iterdir())) == 2
    post(emulator, "third.mp4", film(1.0, "third"))
    done = sync(emulator, tmp_path / "state", {}, "--store", "none")
    assert done.returncode == 0
    assert "on this machine only" in done.stderr
    assert len(list((there / "messages").iterdir())) == 2


def test_a_store_that_is_down_is_75_and_nothing_is_lost(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """It is found down before, or in the middle."""
    post(emulator, "first.mp4", film(1.0, "first"))
    there = tmp_path / "there"
    there.mkdir(mode=0o700)
    (there / "messages").write_text("in the way of the folder")
    done = sync(emulator, tmp_path / "state", {}, "--store", there.as_uri())
    assert done.returncode == 75
    assert "writer: " in done.stderr
    assert "1 new clips" in done.stderr
    (there / "messages").unlink()
    assert sync(emulator, tmp_path / "state", {}).returncode == 0
    assert len(list((there / "messages").iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "more", "code", "said"),
    [
        (
            ("--store", "gs://x"),
            {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"},
            2,
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
        ((), {"BUCKET_NAME": "x", "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}, 2, "/nowhere"),
        (("--store", "nonsense://x"), {}, 2, "nonsense://"),
        (("--keep", "drive"), {}, 2, "discordfs init"),
        (("--keep", "somewhere"), {}, 2, "somewhere"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_collected(
    emulator: EmulatorProcess,
    tmp_path: Path,
    options: tuple[str, ...],
    more: dict[str, str],
    code: int,
    said: str,
) -> None:
    done = sync(emulator, tmp_path / "state", more, *options)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "state" / "clips" / "catalogue.sqlite").exists()


def test_settings_may_stand_in_a_file(emulator: EmulatorProcess, gcs: Gcs, tmp_path: Path) -> None:
    """As the predecessor's users have them."""
    post(emulator, "first.mp4", film(1.0, "first"))
    lines = [f"TOKEN={emulator.token}", *(f"{name}={value}" for name, value in gcs.environment.items())]
    (tmp_path / ".env").write_text("\n".join(lines))
    env = emulator.environment() | {"DISCORDFS_STATE_DIR": str(tmp_path / "state")}
    del env["DISCORD_TOKEN"]
    chosen = ("--channel", str(emulator.channels[0]), "--fetch-history", "--rate", "100000")
    before = gcs.names()
    done = run_command("clips", "sync", *chosen, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert any(name.startswith("messages/") for name in gcs.names() - before)
