"""What users read is what there is: a command, option, setting or target that nobody documented fails."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest

from discordfs import config
from discordfs.cli import COMMANDS, cli
from discordfs.cli.options import IGNORED, KERNEL_FLAGS, KERNEL_NUMBERS, OUR_PATHS, OUR_SETTINGS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_help_of_every_command_is_written_down(tmp_path: Path) -> None:
    """`make docs` does it."""
    script = ROOT / "scripts" / "document_commands.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "page")], check=True, cwd=ROOT)
    assert (ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8") == (tmp_path / "page").read_text()


def test_the_life_of_an_extent_is_drawn_as_its_table_has_it() -> None:
    """`make docs` does it."""
    made = runpy.run_path(str(ROOT / "scripts" / "document_life.py"))
    assert (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8") == made["page"]()
    states = {state for state, _, _ in made["transitions"]()}
    assert states == {"dirty", "staged", "sealed", "posted", "remote"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_is_for(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_shows_every_command(name: str) -> None:
    assert f"discordfs {name}" in README


@pytest.mark.parametrize("name", sorted(OUR_SETTINGS | OUR_PATHS | {"uid", "gid", "umask"}))
def test_the_readme_has_every_setting(name: str) -> None:
    assert f"`{name}`" in README or f"`{name}=`" in README


def test_the_readme_has_the_flags_of_mount() -> None:
    for name in KERNEL_FLAGS - {"rw", "suid", "dev", "exec", "async", "dirsync", "atime"}:
        assert f"`{name}`" in README, name
    assert set(KERNEL_NUMBERS) == {"uid", "gid", "umask"}
    assert {"defaults", "nofail", "_netdev"} <= IGNORED


@pytest.mark.parametrize(
    "name", [config.STATE_DIR_VARIABLE, config.API_VARIABLE, "DISCORD_TOKEN", "DISCORD_TOKEN_FILE"]
)
def test_the_readme_has_every_variable(name: str) -> None:
    assert f"`{name}`" in README


def targets() -> list[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    return phony[1].split()


def test_every_make_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets():
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_that_documents_name_exist(document: Path) -> None:
    named = re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8"))
    named += re.findall(r"^make ([a-z-]+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= set(targets())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / link).exists(), f"{document.name} links to {link}"


TERMS = (
    *("attachment", "barrier", "block", "channel", "chunk", "dentry", "drive", "epoch", "extent", "handle"),
    *("index", "inode", "mount", "nonce", "orphan", "outbox", "piece", "record", "remote", "segment"),
    *("snapshot", "snowflake", "staged", "staging", "view", "volume", "writer"),
)


@pytest.mark.parametrize("term", TERMS)
def test_the_glossary_has_the_words_of_the_house(term: str) -> None:
    glossary = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
    assert f"| **{term}** |" in glossary


def test_the_glossary_is_in_order_and_has_each_word_once() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs" / "GLOSSARY.md").read_text(), re.MULTILINE)
    assert words == sorted(set(words))


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = README.partition("\n## ")[0]
    assert "\nmake demo\nmake test\n" in opening


def test_every_fields_of_status_is_documented() -> None:
    for key in (
        *("mountpoint", "state_dir", "pid", "api", "volume", "writer", "staged_files", "staged_bytes"),
        *("uploading_bytes", "remote_bytes", "bytes_up", "bytes_down", "cache", "requests", "errors"),
        *("oldest_chunk", "last_full_verification", "garbage_bytes", "damaged_files"),
    ):
        assert f"`{key}`" in README, key
