"""A user with several hands, who writes down what has returned: what a killed mount is held to.

    python -m tests.mount.scribe MOUNTPOINT NOTES SEED < trees.json

Each hand has a directory of its own and goes on from the tree that it is given. Before each deed it notes
what it is going to do, and after it that this returned: of a write the fsync or the close, of a rename the
rename. It works until the mount is gone. `Tree` is what a hand's directory holds: paths with the pieces of
their bytes, or None for a directory; `after` says what a deed makes of it, and `after_a_kill` what became of
the deed that was under way.

Threading: one thread a hand; a line of the notes is one write.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import shake_128
from pathlib import Path

HANDS = 4
MIB = 1024**2
_STEP = 128 * 1024
_MANY = 25

Piece = tuple[int, int]
"""(seed, bytes): that many of a stream that depends on the seed; fewer of them are a beginning of more."""

Tree = dict[str, list[Piece] | None]


@dataclass(frozen=True, slots=True)
class Deed:
    """`kind`: create, rewrite or append `piece` to `path`, with an fsync or not; move `path` to `other`;
    remove, mkdir."""

    kind: str
    path: str
    other: str = ""
    piece: Piece = (0, 0)
    synced: bool = False


# --- what a deed makes of a tree ---------------------------------------------------------------------------


def after(tree: Tree, deed: Deed) -> Tree:
    """The tree once the deed has returned."""
    changed = dict(tree)
    match deed.kind:
        case "create" | "rewrite":
            changed[deed.path] = [deed.piece]
        case "append":
            changed[deed.path] = [*(tree[deed.path] or []), deed.piece]
        case "remove":
            del changed[deed.path]
        case "mkdir":
            changed[deed.path] = None
        case "move":
            for path in [path for path in tree if path == deed.path or path.startswith(f"{deed.path}/")]:
                changed[deed.other + path[len(deed.path) :]] = changed.pop(path)
    return changed


def after_a_kill(tree: Tree, deed: Deed, found: dict[str, bytes | None]) -> Tree | None:
    """What a kill made of the deed that was under way, as it was found: all of it, nothing, or of what was
    written a beginning. None if it is none of these."""
    partly = []
    content = found.get(deed.path)
    if deed.kind in ("create", "rewrite", "append") and content is not None:
        kept = (tree.get(deed.path) or []) if deed.kind == "append" else []
        length = len(content) - sum(piece[1] for piece in kept)
        if 0 <= length <= deed.piece[1]:
            beginning = [(deed.piece[0], length)] if length else []
            partly = [tree | {deed.path: [*kept, *beginning]}]
    return next((each for each in (tree, after(tree, deed), *partly) if is_as(each, found)), None)


def is_as(tree: Tree, found: dict[str, bytes | None]) -> bool:
    return tree.keys() == found.keys() and not differences(tree, found)


def differences(tree: Tree, found: dict[str, bytes | None]) -> list[str]:
    """Paths that are not as they should be."""
    return [
        path
        for path in sorted(tree.keys() | found.keys())
        if path not in tree or path not in found or not _holds(tree[path], found[path])
    ]


def _holds(pieces: list[Piece] | None, content: bytes | None) -> bool:
    if pieces is None or content is None:
        return pieces is None and content is None
    return content == b"".join(stream(*piece) for piece in pieces)


@lru_cache(512)
def stream(seed: int, length: int) -> bytes:
    return shake_128(b"%d" % seed).digest(length)


def found_in(root: Path) -> dict[str, bytes | None]:
    """All that a directory holds."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
    }


# --- the hands ---------------------------------------------------------------------------------------------


class Hand:
    """One of the user's hands, at work in `place`."""

    def __init__(self, place: Path, tree: Tree, seed: str, note: Callable[[object], None]) -> None:
        self._place, self._tree, self._note = place, tree, note
        self._chance = random.Random(seed)
        self._names = self._chance.randrange(10**9)

    def work(self) -> None:
        """Until the mount is gone."""
        try:
            while True:
                for deed in self._plan():
                    self._note(asdict(deed))
                    self._do(deed)
                    self._note("done")
                    self._tree = after(self._tree, deed)
        except OSError as error:
            self._note(f"ended: {error}")

    def _plan(self) -> Iterator[Deed]:
        files = [path for path, pieces in self._tree.items() if pieces is not None]
        if len(files) > _MANY:
            yield Deed("remove", self._chance.choice(files))
            return
        plans = [self._create] * 4 + [self._make_directory, self._move_directory]
        plans += (
            ([self._append] * 4 + [self._rewrite] * 2 + [self._replace] * 3 + [self._move]) if files else []
        )
        yield from self._chance.choice(plans)(files)

    def _create(self, files: list[str]) -> Iterator[Deed]:
        is_large = self._chance.random() < 0.04
        piece = self._piece(self._chance.randint(4, 12) * MIB) if is_large else self._piece()
        yield Deed("create", self._fresh(), "", piece, self._chance.random() < 0.3)

    def _append(self, files: list[str]) -> Iterator[Deed]:
        yield Deed("append", self._chance.choice(files), "", self._piece(), synced=True)

    def _rewrite(self, files: list[str]) -> Iterator[Deed]:
        yield Deed("rewrite", self._chance.choice(files), "", self._piece(), self._chance.random() < 0.3)

    def _replace(self, files: list[str]) -> Iterator[Deed]:
        """As careful programs do."""
        path, draft = self._chance.choice(files), self._fresh()
        yield Deed("create", draft, "", self._piece(), self._chance.random() < 0.5)
        yield Deed("move", draft, path)

    def _move(self, files: list[str]) -> Iterator[Deed]:
        yield Deed("move", self._chance.choice(files), self._fresh())

    def _make_directory(self, files: list[str]) -> Iterator[Deed]:
        path = self._fresh()
        if path.count("/") < 5:
            yield Deed("mkdir", path)

    def _move_directory(self, files: list[str]) -> Iterator[Deed]:
        directories = [path for path, pieces in self._tree.items() if pieces is None]
        if directories:
            self._names += 1
            yield Deed("move", self._chance.choice(directories), f"d{self._names}")

    def _fresh(self) -> str:
        self._names += 1
        directories = ["", *(f"{path}/" for path, pieces in self._tree.items() if pieces is None)]
        return f"{self._chance.choice(directories)}n{self._names}"

    def _piece(self, length: int = 0) -> Piece:
        sizes = (0, 100, 4096, 30_000, 130_000, 500_000)
        return self._chance.randrange(2**60), length or self._chance.choice(sizes)

    def _do(self, deed: Deed) -> None:
        path = self._place / deed.path
        match deed.kind:
            case "create" | "rewrite":
                self._write(path, os.O_CREAT | os.O_TRUNC, deed)
            case "append":
                self._write(path, os.O_APPEND, deed)
            case "move":
                path.rename(self._place / deed.other)
            case "remove":
                path.unlink()
            case "mkdir":
                path.mkdir()

    def _write(self, path: Path, flags: int, deed: Deed) -> None:
        data = memoryview(stream(*deed.piece))
        descriptor = os.open(path, os.O_WRONLY | flags, 0o644)
        try:
            for at in range(0, len(data), _STEP):
                os.write(descriptor, data[at : at + _STEP])
            if deed.synced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _main(mountpoint: str, notes: str, seed: str) -> None:
    trees: list[Tree] = json.load(sys.stdin)
    paper = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(hand: int) -> Callable[[object], None]:
        return lambda news: _put(paper, [hand, news])

    hands = [
        Hand(Path(mountpoint) / f"hand{number}", tree, f"{seed} {number}", note(number))
        for number, tree in enumerate(trees)
    ]
    threads = [threading.Thread(target=hand.work) for hand in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _put(paper: int, news: object) -> None:
    os.write(paper, json.dumps(news).encode() + b"\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
