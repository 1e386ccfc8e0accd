"""Saving and discarding end at each of their steps: what is pending is whole, and nothing is left over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from discordfs.localtree import LocalTree
from discordfs.stranded import BEFORE, PutBack, discard, free_place, pending, save, sweep
from tests.dying import Killed, dying

FILES = {"a": b"one", "folder/b": b"two", "folder/deep/\udcff odd": b"three"}


Deed = Callable[[Path], object]


def endings(begin: Deed, deed: Deed, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Directories that `begin` has prepared, in which `deed` died at one step after the other; the last one,
    in which it came to its end."""
    for step in range(1000):
        home = place / str(step)
        home.mkdir()
        begin(home)
        try:
            with dying(step, monkeypatch):
                deed(home)
        except Killed:
            yield home
        else:
            yield home
            return
    raise AssertionError("it never ends")


@pytest.fixture
def source(tmp_path: Path) -> LocalTree:
    for name, content in FILES.items():
        place = tmp_path / "source" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return LocalTree(tmp_path / "source")


def save_all(source: LocalTree, home: Path) -> Path:
    place = home / "one"
    assert save(source, [os.fsencode(name) for name in FILES], place, lambda done, total: None) == []
    return place


def back(saved: Path, to: Path) -> dict[str, bytes]:
    """What is put back out of a saved directory."""
    to.mkdir()
    PutBack(saved, LocalTree(to), b".beside", strictly=False).run(lambda done, total: None)
    return {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()}


def test_what_was_discarded_half_is_not_put_back_again(
    tmp_path: Path, source: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_aside(home: Path) -> None:
        save_all(source, home)
        (home / f"one{BEFORE}").mkdir()
        (home / f"one{BEFORE}" / "index.sqlite").write_bytes(b"the old index")

    outcomes = []
    for home in endings(set_aside, lambda home: discard(home / "one"), tmp_path, monkeypatch):
        sweep(home)
        outcomes.append(len(pending(home)))
        if pending(home):
            assert back(home / "one", tmp_path / f"{home.name}.back") == FILES
            assert (home / f"one{BEFORE}" / "index.sqlite").exists()
        else:
            assert not list(home.iterdir())
    assert outcomes[0] == 1
    assert outcomes[-1] == 0
    assert len(outcomes) > 8, "it was not ended in the midst of it"


def test_what_was_saved_half_does_not_count_and_does_not_stay(
    tmp_path: Path, source: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for home in endings(lambda home: None, lambda home: save_all(source, home), tmp_path, monkeypatch):
        sweep(home)
        outcomes.append(len(pending(home)))
        if pending(home):
            assert back(home / "one", tmp_path / f"{home.name}.back") == FILES
        else:
            assert not list(home.iterdir())
    assert (outcomes[0], outcomes[-1]) == (0, 1)
    assert len(outcomes) > 12, "it was not ended in the midst of it"


def test_two_of_the_same_second_are_two(tmp_path: Path, source: LocalTree) -> None:
    for _ in range(3):
        save(source, [b"a"], free_place(tmp_path / "home", "now"), lambda done, total: None)
    assert [saved.name for saved in pending(tmp_path / "home")] == ["now", "now-2", "now-3"]
    assert all(
        back(saved, tmp_path / f"{saved.name}.back") == {"a": b"one"} for saved in pending(tmp_path / "home")
    )
