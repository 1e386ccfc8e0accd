"""archive/ as a tree by itself, asked what the kernel would not ask: nothing leads out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from discordfs.archived.tree import ArchiveTree
from discordfs.archived.views import update_views
from discordfs.errors import InvalidArgument, IsADirectory, NoEntry, NotADirectory
from tests.archived.making import CHANNEL, GUILD, RunMaker, at, id_at, message

CHANNEL_FILE = f"{GUILD}/{CHANNEL}.jsonl".encode()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    maker = RunMaker(tmp_path / "archive", at("2024-03-10"))
    maker.page([message(id_at("2024-01-05"))], after=0)
    path = maker.write()
    update_views(tmp_path / "archive")
    return path


@pytest.fixture
def tree(run: Path) -> ArchiveTree:
    return ArchiveTree(run.parent)


def test_no_path_leads_out(tree: ArchiveTree, run: Path) -> None:
    """Whoever can place a run here must not show others' files by it."""
    here = b"/runs/" + os.fsencode(run.name)
    (run / "link").symlink_to(run.parents[1] / "secret")
    (run / "file").symlink_to(run.parents[1] / "secret" / "file")
    (run.parent / "views" / "link").symlink_to(run.parents[1] / "secret")
    for path in (
        b"/../secret/file",
        b"/runs/../../secret/file",
        here + b"/../../secret/file",
        here + b"/link/file",
        b"/link/file",
        b"/runs/.importing-x/file",
    ):
        for ask in (tree.getattr, tree.readdir, tree.open, tree.readlink):
            with pytest.raises((NoEntry, NotADirectory)):
                ask(path)
    for path in (here + b"/file", here + b"/link"):
        with pytest.raises(OSError, match="symbolic links"):
            tree.open(path)
        assert b"secret" in tree.readlink(path)


def test_what_is_asked_of_the_wrong_thing_is_refused(tree: ArchiveTree, run: Path) -> None:
    here = b"/runs/" + os.fsencode(run.name)
    with pytest.raises(IsADirectory):
        tree.open(here)
    with pytest.raises(NotADirectory):
        tree.readdir(here + b"/" + CHANNEL_FILE)
    with pytest.raises(NoEntry):
        tree.getattr(here + b"/nothing")
    with pytest.raises(InvalidArgument):
        tree.readlink(here + b"/" + CHANNEL_FILE)


def test_what_is_being_written_is_not_shown(tree: ArchiveTree, run: Path) -> None:
    """A half of a file would be taken for the whole."""
    shown = [entry.name for entry in tree.readdir(b"/")]
    (run.parent / "views" / ".new-x").write_text("half")
    (run.parent / ".importing-y").mkdir()
    (run.parent / ".importing-y" / "run.jsonl").write_text("")
    assert [entry.name for entry in tree.readdir(b"/")] == shown
    assert [entry.name for entry in tree.readdir(b"/runs")] == [os.fsencode(run.name)]
