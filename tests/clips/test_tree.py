"""clips/ shows what the catalogue has, under names that harm nobody, exactly, and as it is by now."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discordfs.clipping.listing import Entry, Kind, Listing, Listings
from discordfs.clipping.model import Place, Poster
from discordfs.clipping.record import read_record, record_of, record_text
from discordfs.clipping.tree import GONE_S
from discordfs.errors import (
    BadHandle,
    InvalidArgument,
    IsADirectory,
    NoEntry,
    NotADirectory,
    RemoteGone,
)
from tests.clips.shown import ADA, BOB, made_up
from tests.clips.trees import CHANNEL, Tree, new_tree

FOLDER = "/The server/general"
FIXED = {"by-poster", "thumbs", "posters", "gallery", "catalogue.jsonl", "index.html"}
UNINDEXED = ".nomedia"
OTHER = Place(502, "memes", 100, "The server")
THREAD = Place(503, "a thread", 100, "The server", parent=501)
HOSTILE = [
    "../../etc/passwd",
    "/",
    "..",
    ".",
    "a/b\0c",
    "con",
    "x" * 400 + ".mp4",
    "\u202egnp.mp4",
    "-rf",
    "‮ \n",
    "",
]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with new_tree(tmp_path) as made:
        yield made


def name_of(number: int, poster: str = "ada") -> str:
    posted = made_up(number).clip.posted_ns
    return f"{time.strftime('%Y-%m-%d', time.gmtime(posted // 10**9))} {poster} - clip-{number}.mp4"


# --- what is where ------------------------------------------------------------------------------------


def test_nothing_is_shown_until_there_is_something(tree: Tree) -> None:
    """A view without content would only be in the way."""
    assert not tree.clips.has_content
    with tree.catalogue():
        assert not tree.clips.has_content
    tree.take(made_up(1))
    assert set(tree.names()) == FIXED | {"The server", UNINDEXED}


def test_each_clip_lies_in_its_channel_and_below_its_poster(tree: Tree) -> None:
    tree.take(made_up(1), made_up(2, poster=BOB), made_up(3, place=OTHER), made_up(4, place=THREAD))
    assert tree.names("/The server") == ["a thread", "general", "memes"]
    assert tree.names(FOLDER) == [name_of(1), name_of(2, "bob")]
    assert tree.names("/by-poster") == ["ada", "bob"]
    assert tree.names("/by-poster/ada") == [name_of(1), name_of(3), name_of(4)]
    link = f"/by-poster/bob/{name_of(2, 'bob')}"
    target = tree.clips.readlink(os.fsencode(link)).decode()
    assert os.path.normpath(PurePosixPath(link).parent / target) == f"{FOLDER}/{name_of(2, 'bob')}"


def test_attributes_are_exact(tree: Tree) -> None:
    """Players seek by the size, and people sort by the time."""
    found = made_up(1)
    tree.take(found)
    attr = tree.attr(f"{FOLDER}/{name_of(1)}")
    assert (attr.size, attr.mtime_ns, attr.nlink) == (found.clip.size, found.clip.posted_ns, 1)
    assert stat.filemode(attr.mode) == "-r--r--r--"
    assert (attr.uid, attr.gid) == (1234, 5678)
    assert attr.blocks == -(-attr.size // 512)
    assert stat.filemode(tree.attr(FOLDER).mode) == "dr-xr-xr-x"
    link = tree.attr(f"/by-poster/ada/{name_of(1)}")
    assert stat.S_ISLNK(link.mode)
    assert link.size == len(tree.clips.readlink(f"/by-poster/ada/{name_of(1)}".encode()))


def test_links_of_directories_are_counted(tree: Tree) -> None:
    """`find` goes by that: with too few it would leave directories out."""
    tree.take(made_up(1), made_up(2, poster=BOB), made_up(3, place=OTHER))
    for path, attr in [("/", tree.attr("/")), *tree.walk()]:
        if attr.is_dir:
            below = [entry for entry in tree.clips.readdir(os.fsencode(path)) if stat.S_ISDIR(entry.mode)]
            assert attr.nlink == 2 + len(below), path


def test_inode_numbers_are_distinct_and_stay(tree: Tree, tmp_path: Path) -> None:
    """Programs take two names with one number for one file."""
    tree.take(*(made_up(number, place=OTHER if number % 3 else None) for number in range(50)))
    before = {path: attr.ino for path, attr in tree.walk()}
    assert len(set(before.values())) == len(before)
    assert all(number >> 62 == 3 for number in before.values()), "else one is the drive's, or the archive's"
    with new_tree(tmp_path) as again:
        assert {path: attr.ino for path, attr in again.walk()} == before


def test_whatever_is_no_such_thing_is_said(tree: Tree) -> None:
    tree.take(made_up(1))
    for path in (
        "/x",
        f"{FOLDER}/x",
        "/by-poster/x",
        "/thumbs/1.png",
        "/posters/x",
        "/gallery/x",
        "/The server/x/y",
    ):
        with pytest.raises(NoEntry):
            tree.attr(path)
    with pytest.raises(NotADirectory):
        tree.names(f"{FOLDER}/{name_of(1)}")
    with pytest.raises(NotADirectory):
        tree.attr(f"{FOLDER}/{name_of(1)}/x")
    with pytest.raises(IsADirectory):
        tree.clips.open(b"/by-poster")
    with pytest.raises(InvalidArgument):
        tree.clips.readlink(b"/thumbs")
    with pytest.raises(BadHandle):
        tree.clips.read(7, 1, 0)


# --- names --------------------------------------------------------------------------------------------


def test_hostile_names_lead_nowhere(tree: Tree) -> None:
    """Names are chosen by strangers."""
    posters = [Poster(900 + number, name) for number, name in enumerate(HOSTILE)]
    places = [Place(600 + number, name, 200 + number, name) for number, name in enumerate(HOSTILE)]
    for number, (poster, place) in enumerate(zip(posters, places, strict=True)):
        tree.take(made_up(number, poster=poster, place=place, filename=HOSTILE[-number]))
    seen = dict(tree.walk())
    assert sum(
        path.startswith("/by-poster/") and stat.S_ISLNK(attr.mode) for path, attr in seen.items()
    ) == len(HOSTILE)
    for path, attr in seen.items():
        name = PurePosixPath(path).name
        assert len(name.encode()) <= 255
        assert not name.startswith(".") or path == f"/{UNINDEXED}"
        assert not set(name) & {"/", "\0", "\n", "\u202e"}
        if stat.S_ISLNK(attr.mode):
            target = os.path.normpath(
                PurePosixPath(path).parent / tree.clips.readlink(os.fsencode(path)).decode()
            )
            assert seen[target].is_regular, "a link out of the tree"


def test_those_that_are_alike_stay_two(tree: Tree) -> None:
    """One of them would be hidden for ever."""
    one = made_up(1, filename="help.mp4")
    two = made_up(2, filename="HELP.mp4", posted_ns=one.clip.posted_ns)
    elsewhere = made_up(3, filename="help.mp4", posted_ns=one.clip.posted_ns, place=OTHER)
    tree.take(one, two, elsewhere)
    assert len(tree.names(FOLDER)) == 2
    assert len(tree.names("/by-poster/ada")) == 3
    assert len({name.lower() for name in tree.names("/by-poster/ada")}) == 3
    assert {tree.attr(f"{FOLDER}/{name}").size for name in tree.names(FOLDER)} == {
        one.clip.size,
        two.clip.size,
    }


def test_a_server_cannot_take_the_name_of_what_is_beside_it(tree: Tree) -> None:
    for number, name in enumerate(sorted(FIXED)):
        tree.take(made_up(number, place=Place(700 + number, "c", 300 + number, name.upper())))
    names = tree.names()
    assert len({name.lower() for name in names}) == len(names) == 2 * len(FIXED) + 1
    assert tree.attr("/index.html").is_regular


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30), st.text(max_size=8)), max_size=6))
def test_any_names_at_all_can_be_walked(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str, str]]
) -> None:
    with new_tree(tmp_path_factory.mktemp("tree")) as tree:
        for number, (filename, server, poster) in enumerate(said):
            place = Place(600 + number, filename[:5], 200 + number, server)
            tree.take(made_up(number, filename=filename, place=place, poster=Poster(900 + number, poster)))
        clips = [path for path, attr in tree.walk() if path.count("/") == 3 and attr.is_regular]
        assert len(clips) == len(said)


# --- as it is by now ----------------------------------------------------------------------------------


def test_new_clips_appear(tree: Tree) -> None:
    tree.take(made_up(1))
    assert tree.names(FOLDER) == [name_of(1)]
    tree.take(made_up(2))
    assert tree.names(FOLDER) == [name_of(1), name_of(2)]
    assert tree.attr(f"{FOLDER}/{name_of(2)}").size


def test_a_deleted_clip_leaves(tree: Tree) -> None:
    """Whoever takes a clip back must not find it on others' disks; unless they chose to keep it."""
    first, second = made_up(1), made_up(2)
    tree.take(first, second)
    tree.names(FOLDER)
    with tree.catalogue() as known:
        known.kept(second.clip.id, "ab" * 32)
        known.deleted(CHANNEL, [first.clip.message, second.clip.message], 5)
    assert tree.names(FOLDER) == [name_of(2)]
    assert tree.names("/by-poster/ada") == [name_of(2)]
    with pytest.raises(NoEntry):
        tree.attr(f"{FOLDER}/{name_of(1)}")


def test_an_old_look_at_a_directory_opens_no_deleted_clip(tree: Tree) -> None:
    found = made_up(1)
    tree.take(found)
    tree.names(FOLDER)
    with tree.catalogue(then=0.0) as known:
        known.deleted(CHANNEL, [found.clip.message], 5)
    assert tree.names(FOLDER) == [name_of(1)]
    with pytest.raises(NoEntry):
        tree.clips.open(f"{FOLDER}/{name_of(1)}".encode())


def test_a_clip_that_turns_out_to_be_deleted_stays_away_for_a_while(tree: Tree) -> None:
    found = tree.posted(b"video" * 100_000)
    path = f"{FOLDER}/{tree.names(FOLDER)[0]}"
    tree.store.delete_quietly(CHANNEL, [found.clip.message])
    with pytest.raises(RemoteGone):
        tree.bytes(path)
    with pytest.raises(NoEntry):
        tree.attr(path)
    tree.time[0] += 1.0
    assert tree.names(FOLDER) == []
    tree.time[0] += GONE_S
    assert tree.attr(path).size == found.clip.size


def test_a_catalogue_that_is_put_in_its_place_is_shown(tree: Tree, tmp_path: Path) -> None:
    """As `recover` does, and whoever copies a backup back."""
    tree.take(made_up(1))
    assert tree.names(FOLDER) == [name_of(1)]
    with new_tree(tmp_path / "other") as other:
        other.take(made_up(2))
    path = tree.directory.catalogue
    for old in path.parent.glob("catalogue.sqlite-*"):
        old.unlink()
    os.replace(tmp_path / "other" / "clips" / path.name, path)
    tree.time[0] += 100.0
    assert tree.names(FOLDER) == [name_of(2)]
    path.unlink()
    tree.time[0] += 1.0
    assert not tree.clips.has_content


@pytest.mark.expects_log("the catalogue of clips cannot be read")
@pytest.mark.parametrize("kind", ["garbage", "newer", "other tables"])
def test_a_catalogue_that_cannot_be_read_hides_the_view_and_nothing_else(tree: Tree, kind: str) -> None:
    """The drive's root goes through this at each look: it must not fail with it."""
    path = tree.directory.catalogue
    path.parent.mkdir()
    if kind == "garbage":
        path.write_bytes(b"no database" * 1000)
    else:
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {99 if kind == 'newer' else 1}")
            db.execute("CREATE TABLE counter(value)")
            db.execute("INSERT INTO counter VALUES (3)")
        db.close()
    assert not tree.clips.has_content
    tree.time[0] += 1.0
    assert not tree.clips.has_content


# --- the other directories ----------------------------------------------------------------------------


def test_thumbnails_are_those_of_clips_that_are_shown(tree: Tree) -> None:
    first, second = made_up(1), made_up(2)
    tree.take(first, second)
    tree.directory.thumbs.mkdir()
    for found in (first, second):
        (tree.directory.thumbs / f"{found.clip.id}.png").write_bytes(b"a picture")
    (tree.directory.thumbs / f".{first.clip.id}.png.part").write_bytes(b"half")
    (tree.directory.thumbs / "99.png").write_bytes(b"of a clip that nobody knows")
    with tree.catalogue() as known:
        known.deleted(CHANNEL, [second.clip.message], 5)
    assert tree.names("/thumbs") == [f"{first.clip.id}.png"]
    assert tree.bytes(f"/thumbs/{first.clip.id}.png") == b"a picture"


def test_posters_have_a_card_and_the_picture_that_there_is(tree: Tree) -> None:
    tree.take(made_up(1), made_up(2, poster=BOB))
    tree.directory.icons.mkdir()
    (tree.directory.icons / f"{ADA.id}.png").write_bytes(b"a face")
    assert tree.names("/posters") == ["ada.json", "ada.png", "bob.json"]
    assert tree.bytes("/posters/ada.png") == b"a face"
    card = json.loads(tree.bytes("/posters/ada.json"))
    assert card == {"id": str(ADA.id), "name": "ada", "display": "Ada L.", "icon": "ada.png"}
    assert "icon" not in json.loads(tree.bytes("/posters/bob.json"))


def test_the_catalogue_is_there_as_the_predecessor_had_it(tree: Tree) -> None:
    """Scripts that read its records go on."""
    all_found = [
        made_up(number, poster=BOB if number % 2 else ADA, description=f'say "{number}"\n')
        for number in range(20)
    ]
    tree.take(*all_found)
    size = tree.attr("/catalogue.jsonl").size
    text = tree.bytes("/catalogue.jsonl")
    assert len(text) == size
    assert text.decode().splitlines() == [
        record_text(record_of(each.clip, each.poster, each.place)) for each in all_found
    ]
    assert [read_record(line).message for line in text.splitlines()] == [
        each.clip.message for each in all_found
    ]


def test_what_is_made_is_made_anew_when_the_catalogue_has_changed(tree: Tree) -> None:
    tree.take(made_up(1))
    handle = tree.clips.open(b"/catalogue.jsonl").handle
    old = tree.bytes("/catalogue.jsonl")
    for number in range(2, 6):
        tree.take(made_up(number))
        assert tree.bytes("/catalogue.jsonl").count(b"\n") == number
        assert tree.attr("/catalogue.jsonl").size == len(tree.bytes("/catalogue.jsonl"))
    assert tree.clips.read(handle, 10_000, 0) == old, "an open file stays what it was"
    tree.clips.release(handle)
    left = os.listdir(tree.directory.path / "derived")
    assert len(left) <= 2, left


def test_a_disk_without_room_fails_what_is_made_and_nothing_else(tree: Tree) -> None:
    tree.take(made_up(1))
    (tree.directory.path / "derived").write_bytes(b"in the way")
    with pytest.raises(OSError, match="derived"):
        tree.attr("/catalogue.jsonl")
    assert tree.names(FOLDER) == [name_of(1)]


def test_every_file_has_the_size_that_it_says(tree: Tree) -> None:
    data = b"0123456789" * 50_000
    tree.posted(data)
    for path, attr in tree.walk():
        if attr.is_regular:
            assert len(tree.bytes(path)) == attr.size, path


# --- kept copies --------------------------------------------------------------------------------------


def keep(tree: Tree, clip: int, data: bytes) -> Path:
    name = hashlib.sha256(data).hexdigest()
    path = tree.directory.path / "kept" / name[:2] / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with tree.catalogue() as known:
        known.kept(clip, name)
    return path


def test_a_kept_copy_plays_when_the_message_is_gone(tree: Tree) -> None:
    """That is what keeping is for."""
    data = os.urandom(300_000)
    found = tree.posted(data)
    keep(tree, found.clip.id, data)
    tree.store.delete_quietly(CHANNEL, [found.clip.message])
    with tree.catalogue() as known:
        known.deleted(CHANNEL, [found.clip.message], 5)
    assert tree.bytes(f"{FOLDER}/{tree.names(FOLDER)[0]}") == data
    assert tree.bytes_down == 0


def test_a_kept_copy_that_is_not_whole_is_no_copy(tree: Tree) -> None:
    data = os.urandom(300_000)
    found = tree.posted(data)
    keep(tree, found.clip.id, data).write_bytes(data[:-1])
    assert tree.bytes(f"{FOLDER}/{tree.names(FOLDER)[0]}") == data


# --- many ---------------------------------------------------------------------------------------------


def test_a_channel_of_10_000_clips_is_listed_within_a_second(tree: Tree) -> None:
    """`ls -l`: every entry's attributes."""
    tree.take(*(made_up(number) for number in range(10_000)))
    began = time.process_time()
    entries = tree.clips.readdir(FOLDER.encode())
    sizes = {tree.clips.getattr(f"{FOLDER}/".encode() + entry.name).size for entry in entries}
    assert time.process_time() - began < 1.0
    assert len(entries) == len(sizes) == 10_000


def test_while_the_catalogue_changes_all_the_time_a_listing_serves_for_a_while() -> None:
    """Else `ls` of a large channel would read it anew for each entry, while a history is fetched."""
    now, made = [0.0], []

    def listed() -> Listing:
        now[0] += 0.1  # what making it takes
        made.append(now[0])
        return {b"%d" % number: Entry(Kind.CLIP, number) for number in range(1000)}

    listings = Listings(lambda: now[0], entries=2500)
    for version in range(100):
        assert len(listings.get("a", version, listed)) == 1000
        now[0] += 0.01
    assert len(made) == 1
    now[0] += 60
    listings.get("a", 100, listed)
    assert len(made) == 2
    for key in "bcd":
        listings.get(key, 100, listed)
    listings.get("a", 100, listed)
    assert len(made) == 6, "with more than there is room for, the oldest went"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_100_000_clips_take_little_memory(tree: Tree) -> None:
    with tree.catalogue() as known:
        for first in range(0, 100_000, 10_000):
            numbers = range(first, first + 10_000)
            known.merge(
                [
                    made_up(number, place=Place(500 + number % 10, f"c{number % 10}", 100, "S"))
                    for number in numbers
                ]
            )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in tree.walk()) > 200_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 120 * 1024, f"{grown // 1024} MiB more"
