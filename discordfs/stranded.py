"""Files that only this machine has, after another one has taken the volume over: which, saved, put back.

Job: `save` copies them out of the drive as this machine has it, whole, into a directory beside the index, and
writes down all that a file is (a plain directory may not be able to keep it). `PutBack` copies a saved
directory into a tree, where nothing is ever overwritten: what is there and the same is let be, beside what is
there and another the saved one gets a new name. `discard` removes a saved directory that is not needed any
more. Each can be begun again after an interruption, and `sweep` clears away what that left. Limits:
deletions, and changes of directories, are nobody's files: they are not saved. Errors: those of the trees;
Damaged and RemoteGone of a file are told, and the others go on. Threading: one thread.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from discordfs.copying import Description, Tree, copy, describe, dress, is_same
from discordfs.disk import sync_directory
from discordfs.errors import Damaged, EntryExists, NoEntry, RemoteGone
from discordfs.index import Index
from discordfs.localtree import LocalTree
from discordfs.model import NAME_MAX, Attr, Caller

MANIFEST = ".json"
"""Beside a saved directory: its entries, in the order in which they are put back. With it, it is whole."""
BEFORE = ".before"
"""Beside a saved directory: what it was saved out of, the old index and what was staged."""

_PARTIAL = ".partial"
_GONE = ".gone"
_DRAFT_SUFFIX = ".tmp"

Progress = Callable[[int, int], None]

_DRAFT = b".discordfs-resubmit.tmp"


def stranded_paths(index: Index) -> list[bytes]:
    """Paths from the root, without a slash before them, sorted."""
    return sorted(index.path(parent, entry.name) for parent, entry in index.unrecorded())


def shown(path: bytes) -> str:
    """A path for people, whatever its bytes are."""
    return path.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a saved directory. `is_parent`: a directory that is only there for what is in it. `link`:
    the path of an entry before that is the same file; empty for none."""

    path: bytes
    said: Description
    is_parent: bool
    link: bytes


# --- saving -------------------------------------------------------------------------------------------


def save(drive: Tree, paths: Iterable[bytes], place: Path, progress: Progress) -> list[str]:
    """Saves these of the drive into the directory `place`, whole and on disk when it has that name. Returns
    sentences about those of which not all bytes could be read: they are not in it."""
    draft = _beside(place, _PARTIAL)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    tree, entries = LocalTree(draft), []
    failed: dict[bytes, str] = {}
    wanted = sorted(paths)
    for count, entry in enumerate(_entries(drive, wanted), 1):
        try:
            if entry.link in failed:
                raise Damaged(failed[entry.link])
            _save_one(drive, tree, entry)
            entries.append(entry)
        except (Damaged, RemoteGone) as error:
            failed[entry.path] = str(error)
            (draft / os.fsdecode(entry.path)).unlink(missing_ok=True)
        progress(min(count, len(wanted)), len(wanted))
    _sync_tree(draft)
    said = [f"{shown(path)} cannot be read whole: {error}" for path, error in failed.items()]
    _write_manifest(_beside(place, MANIFEST), entries, said)
    draft.rename(place)
    sync_directory(place.parent)
    return said


def _entries(drive: Tree, paths: Iterable[bytes]) -> Iterator[Entry]:
    """With the directories above each, before it."""
    known: set[bytes] = set()
    first: dict[int, bytes] = {}
    for path in paths:
        for parent in reversed(_parents(path)):
            if parent not in known:
                known.add(parent)
                yield Entry(parent, describe(drive, b"/" + parent), is_parent=True, link=b"")
        said = describe(drive, b"/" + path)
        link = b"" if said.attr.is_dir else first.setdefault(said.attr.ino, path)
        known.add(path)
        yield Entry(path, said, is_parent=False, link=b"" if link == path else link)


def _parents(path: bytes) -> list[bytes]:
    """The directories above, the nearest first."""
    found = []
    while path := path.rpartition(b"/")[0]:
        found.append(path)
    return found


def _save_one(drive: Tree, tree: LocalTree, entry: Entry) -> None:
    """What this user may not make here (a device node) is in the manifest alone. All can be read again, if
    only by whoever saved it: the true mode is in the manifest as well."""
    place, attr = b"/" + entry.path, entry.said.attr
    if entry.link:
        tree.link(b"/" + entry.link, place)
    elif attr.is_dir:
        tree.mkdir(place, 0o700, _owner(attr))
    elif attr.is_regular or stat.S_ISLNK(attr.mode):
        readable = replace(attr, mode=attr.mode | stat.S_IRUSR)
        copy(drive, place, tree, place, replace(entry.said, attr=readable))


def _sync_tree(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        sync_directory(Path(folder))


# --- the manifest ---------------------------------------------------------------------------------------


def _write_manifest(path: Path, entries: Iterable[Entry], failed: Iterable[str]) -> None:
    draft = _beside(path, _DRAFT_SUFFIX)
    with draft.open("w", encoding="ascii") as file:
        json.dump({"entries": [_packed(entry) for entry in entries], "failed": list(failed)}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _packed(entry: Entry) -> dict[str, Any]:
    xattrs = {os.fsdecode(name): base64.b64encode(it).decode() for name, it in entry.said.xattrs.items()}
    return {
        "path": os.fsdecode(entry.path),
        "attr": asdict(entry.said.attr),
        "target": os.fsdecode(entry.said.target),
        "xattrs": xattrs,
        "is_parent": entry.is_parent,
        "link": os.fsdecode(entry.link),
    }


def _unpacked(data: dict[str, Any]) -> Entry:
    xattrs = {os.fsencode(name): base64.b64decode(it) for name, it in data["xattrs"].items()}
    said = Description(Attr(**data["attr"]), os.fsencode(data["target"]), xattrs)
    return Entry(os.fsencode(data["path"]), said, data["is_parent"], os.fsencode(data["link"]))


def read_manifest(saved: Path) -> tuple[list[Entry], list[str]]:
    """The entries of a saved directory, and sentences about what could not be saved."""
    data = json.loads(_beside(saved, MANIFEST).read_text(encoding="ascii"))
    return [_unpacked(entry) for entry in data["entries"]], data["failed"]


# --- what is saved --------------------------------------------------------------------------------------


def free_place(home: Path, name: str) -> Path:
    """A place in `home` that no other saved directory has: by this name, or with a number."""
    number, place = 1, home / name
    while any(_beside(place, suffix).exists() for suffix in ("", MANIFEST, BEFORE, _GONE)):
        number += 1
        place = home / f"{name}-{number}"
    return place


def pending(home: Path) -> list[Path]:
    """The saved directories in `home` that are whole, the oldest first."""
    return sorted(saved for saved in _named(home) if saved.is_dir())


def discard(saved: Path) -> None:
    """Removes a saved directory, at one stroke, and what it was saved out of. What could not be read whole is
    still in that: it stays then."""
    saved.rename(_beside(saved, _GONE))
    sync_directory(saved.parent)
    _remove_rest(saved)


def sweep(home: Path) -> None:
    """Removes what interrupted runs left in `home` of saving and discarding."""
    for saved in _named(home):
        if not saved.is_dir():
            _remove_rest(saved)
    for draft in home.glob(f"*{_PARTIAL}"):
        shutil.rmtree(draft)
    for draft in home.glob(f"*{MANIFEST}{_DRAFT_SUFFIX}"):
        draft.unlink()


def _remove_rest(saved: Path) -> None:
    """The manifest last: by it the rest is found again."""
    _, failed = read_manifest(saved)
    for rest in (_beside(saved, _GONE), *([] if failed else [_beside(saved, BEFORE)])):
        if rest.exists():
            shutil.rmtree(rest)
    _beside(saved, MANIFEST).unlink()


def _named(home: Path) -> list[Path]:
    """What manifests name, be it there or not."""
    return [path.with_name(path.name.removesuffix(MANIFEST)) for path in home.glob(f"*{MANIFEST}")]


def _beside(saved: Path, suffix: str) -> Path:
    return saved.with_name(saved.name + suffix)


# --- putting back ---------------------------------------------------------------------------------------


class PutBack:
    """Copies a saved directory into `target`. `suffix` stands behind the names of what found its place taken.
    `strictly`: whether the target keeps owners and extended attributes."""

    def __init__(self, saved: Path, target: Tree, suffix: bytes, strictly: bool) -> None:
        self._saved, self._target = LocalTree(saved), target
        self._suffix, self._strictly = suffix, strictly
        self._entries, _ = read_manifest(saved)
        self._places: dict[bytes, bytes] = {b"": b""}
        self._parents_made: list[Entry] = []

    def run(self, progress: Progress) -> dict[bytes, bytes]:
        """Where each entry is now: path by its path in the saved directory. Raises what the trees do; what
        was copied until then is let be by the next run."""
        for count, entry in enumerate(self._entries, 1):
            if entry.is_parent:
                self._places[entry.path] = self._directory(entry)
            else:
                self._places[entry.path] = self._put(entry)
            progress(count, len(self._entries))
        for folder in {place.rpartition(b"/")[0] for place in self._places.values()}:
            self._remove_draft(folder)
        for entry in reversed(self._parents_made):
            dress(self._target, b"/" + self._places[entry.path], entry.said)
        return {each.path: self._places[each.path] for each in self._entries if not each.is_parent}

    def _directory(self, entry: Entry) -> bytes:
        """A directory to put things into: one that is there will do, whatever its mode."""
        attr = entry.said.attr
        for place in self._candidates(entry.path):
            try:
                if self._target.getattr(b"/" + place).is_dir:
                    return place
            except NoEntry:
                self._target.mkdir(b"/" + place, stat.S_IMODE(attr.mode) | stat.S_IRWXU, _owner(attr))
                self._target.chown(b"/" + place, attr.uid, attr.gid)
                self._parents_made.append(entry)
                return place
        raise AssertionError("there are candidates without end")

    def _put(self, entry: Entry) -> bytes:
        for place in self._candidates(entry.path):
            try:
                if self._is_there(entry, b"/" + place):
                    return place
            except NoEntry:
                try:
                    self._make(entry, b"/" + place)
                    return place
                except EntryExists:  # somebody was faster
                    continue
        raise AssertionError("there are candidates without end")

    def _is_there(self, entry: Entry, place: bytes) -> bool:
        """Whether this very thing lies there. Raises NoEntry for a free place."""
        mine = b"/" + (entry.link or entry.path)
        return is_same(self._saved, mine, self._target, place, entry.said, self._strictly)

    def _make(self, entry: Entry, place: bytes) -> None:
        """Whole, or not at all: a file gets its name once all of it is there."""
        if entry.link:
            self._target.link(b"/" + self._places[entry.link], place)
        elif entry.said.attr.is_dir:
            copy(self._saved, b"/" + entry.path, self._target, place, entry.said)
        else:
            draft = self._remove_draft(place[1:].rpartition(b"/")[0])
            copy(self._saved, b"/" + entry.path, self._target, draft, entry.said)
            self._target.link(draft, place)
            self._target.unlink(draft)

    def _remove_draft(self, folder: bytes) -> bytes:
        """What an interrupted run may have left; its path."""
        draft = b"/" + _joined(folder, _DRAFT)
        with suppress(NoEntry):
            self._target.unlink(draft)
        return draft

    def _candidates(self, path: bytes) -> Iterator[bytes]:
        """Its own place, then names beside it."""
        parent, _, name = path.rpartition(b"/")
        folder = self._places[parent]
        yield _joined(folder, name)
        number = 1
        while True:
            suffix = self._suffix + (b"-%d" % number if number > 1 else b"")
            yield _joined(folder, name[: NAME_MAX - len(suffix)] + suffix)
            number += 1


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _owner(attr: Attr) -> Caller:
    return Caller(attr.uid, attr.gid)
