"""From a server with everything in it to the views: nothing missed, nothing twice, over real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from discordfs.archived.audit import audit
from discordfs.archived.runs import runs_below
from discordfs.archived.views import update_views
from tests.archived.making import lines
from tests.mounting import EmulatorProcess, run_command


class SeededServer(EmulatorProcess):
    def start(self) -> None:
        self._arguments = [*self._arguments, "--seed"]
        super().start()


def captured(tmp_path: Path, *options: str) -> tuple[Path, dict[str, Any]]:
    """The archive of the whole server, and all that is there by the emulator's own word."""
    with SeededServer(tmp_path / "discord", ["rate_limits=off"]) as server:
        state = {"DISCORDFS_STATE_DIR": str(tmp_path / "state")}
        arguments = ["archive", *options, "guild", str(server.guild)]
        done = run_command(*arguments, env=server.environment() | state)
        assert "an archive is on this machine only" in (done.stdout + done.stderr).lower()
        return tmp_path / "state" / "archive", server.control("GET", "everything")


@pytest.mark.parametrize("options", [["--media", "all"], ["--gzip", "--strict-discard"]])
def test_every_message_that_a_capture_has_is_in_the_views_once(tmp_path: Path, options: list[str]) -> None:
    root, everything = captured(tmp_path, *options)
    update_views(root)
    shown: dict[str, dict[str, Any]] = {}
    for path in (root / "views").rglob("messages.jsonl"):
        found = lines(path)
        ids = [int(each["id"]) for each in found]
        assert ids == sorted(set(ids)), path
        shown |= {f"{each['channel_id']}/{each['id']}": each for each in found}
    (run,) = runs_below(root)
    counted = audit(run)
    assert len(shown) == counted.messages
    assert not counted.damage()
    readable = {each.channel for each in counted.files() if each.messages}
    there = {f"{each['channel_id']}/{each['id']}": each for each in everything["messages"]}
    expected = {key for key in there if int(key.partition("/")[0]) in readable}
    assert expected <= set(shown)
    for key in expected:
        assert shown[key]["content"] == there[key]["content"]
    for path in (root / "views").rglob("coverage.json"):
        assert not json.loads(path.read_text())["gaps"]
