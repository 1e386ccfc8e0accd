"""What the README says of the archive is what there is: its commands are typed, its library lines tested."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import discordfs.archive as library
from tests.archived.test_whole import SeededServer
from tests.mounting import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## The archive\n")[2].partition("\n## ")[0]
SERVER, CHANNEL = "1180731401503506450", "1180731401503506453"


def commands() -> list[str]:
    """Those of the section, without what a shell makes of the rest."""
    found = re.findall(r"discordfs archive .*", "\n".join(re.findall(r"```\n(.*?)```", SECTION, re.DOTALL)))
    return [re.sub(r"\s+#.*", "", each) for each in found]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SeededServer]:
    with SeededServer(tmp_path / "discord", ["rate_limits=off"]) as server:
        ada = server.control("POST", "users", {"name": "ada", "bot": False})
        post(server, server.channels[0], "good bye", ada["token"])
        yield server


def post(server: SeededServer, channel: int, text: str, token: str) -> None:
    request = urllib.request.Request(
        f"{server.api}/channels/{channel}/messages", json.dumps({"content": text}).encode()
    )
    request.add_header("Authorization", token)
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=20).close()


def test_every_command_of_the_readme_does_what_it_says(server: SeededServer, tmp_path: Path) -> None:
    """Typed one after the other, as a newcomer does."""
    state = {"DISCORDFS_STATE_DIR": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    environment = {"PATH": os.environ["PATH"], **server.environment(), **state}
    said: dict[str, Any] = {}
    for line in commands():
        typed = line.replace(SERVER, str(server.guild)).replace(CHANNEL, str(server.channels[0]))
        words = shlex.split(typed.replace("--live ", "--live-for 1s "))[1:]
        done = subprocess.run(
            [sys.executable, "-m", "discordfs", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{typed}: {done.stderr}"
        said[line] = done.stdout
    assert len(said) >= 12
    (found,) = [text for line, text in said.items() if " search " in line]
    assert json.loads(found)["text"] == "good bye"
    (shown,) = [text for line, text in said.items() if " read " in line]
    assert "Ada:\n    good bye" in shown


def test_the_library_lines_are_those_that_are_tested() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    assert library.__doc__
    tested = [line[4:] for line in library.__doc__.split("\n") if line.startswith("    ")]
    assert [line for line in program.splitlines() if line] == tested


def test_each_file_that_the_readme_names_is_in_the_example() -> None:
    made = {path.name for path in (ROOT / "examples").rglob("*")}
    for name in ("messages.jsonl", "history.jsonl", "index.html", "messages.txt", "media", "coverage.json"):
        assert name in SECTION
        assert name in made
    assert {"threads", "guild.json", "runs"} <= made
