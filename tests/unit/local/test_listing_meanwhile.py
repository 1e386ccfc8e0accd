"""A directory that others change while it is listed: what is gone is left out, and the rest is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from discordfs.localtree import LocalTree
from tests.face.passthrough import Passthrough

TREES = {"local": LocalTree, "passthrough": lambda root: Passthrough(os.fsencode(root))}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
def test_an_entry_that_goes_in_the_midst_of_a_listing_fails_nothing(
    tree: Callable[[Path], LocalTree | Passthrough], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "going", "last"):
        (tmp_path / name).write_text(name)
    listed = os.scandir

    def going(path: bytes) -> nullcontext[list[os.DirEntry[bytes]]]:
        with listed(path) as entries:
            found = list(entries)
        (tmp_path / "going").unlink()
        return nullcontext(found)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", going)
        found = tree(tmp_path).readdir(b"/")
    assert {entry.name: entry.ino for entry in found} == {
        name.encode(): (tmp_path / name).stat().st_ino for name in ("first", "last")
    }
