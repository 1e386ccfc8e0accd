"""Records, thumbnails and kept videos beside the catalogue: in a directory, in a bucket, on the drive."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import fsspec.asyn
import pytest

from discordfs.clipping.backoff import Backoff
from discordfs.clipping.catalogue import Catalogue, Found
from discordfs.clipping.keeping import Keeper, OnDrive, bring_back, kept_name
from discordfs.clipping.kept import ChosenStore, StorePlace
from discordfs.clipping.model import Clip, Facts, Place, Poster
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.record import alias_of, record_of
from discordfs.clipping.store import CREDENTIALS, Store, store_url
from discordfs.clipping.writer import Writer
from discordfs.clips import connected
from discordfs.errors import BusyError, ConfigError, FormatError, MissingError, RemoteGone, Unavailable
from discordfs.localtree import LocalTree
from tests.clips.stores import Gcs
from tests.lostwal import leave_wal

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body")  # gcsfs does so, a part at a time

ADA = Poster(7001, "ada", "Ada L.", "f00d")
HERE = Place(11, "videos", 9, "The server")
SOON = Backoff(0.001, 0.002)


@pytest.fixture(scope="module", autouse=True)
def fsspecs_own_thread() -> None:
    """One for the whole process, for ever."""
    fsspec.asyn.get_loop()


@pytest.fixture
def gcs() -> Iterator[Gcs]:
    made = Gcs()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    made = Catalogue(tmp_path / "clips" / "catalogue.sqlite")
    try:
        yield made
    finally:
        made.close()


def clip(number: int, **more: object) -> Clip:
    message = (number + 1000) << 22
    url = f"https://cdn.discordapp.com/attachments/11/{number}/clip{number}.mp4?ex=670ad8f9&is=1&hm=2"
    made = Clip(
        id=number,
        alias=alias_of(ADA.id, message, url),
        message=message,
        channel=HERE.channel,
        poster=ADA.id,
        posted_ns=1_700_000_000_000_000_000 + number,
        filename=f"clip{number}.mp4",
        content_type="video/mp4",
        size=len(video(number)),
        url=url,
        expires_ns=0x670AD8F9 * 10**9,
        description=f"clip {number}",
    )
    return replace(made, **more)  # type: ignore[arg-type]


def video(number: int) -> bytes:
    return number.to_bytes(8, "big") * 700_000


def take_in(catalogue: Catalogue, *numbers: int) -> list[Clip]:
    clips = [clip(number) for number in numbers]
    catalogue.merge([Found(each, ADA, HERE) for each in clips])
    folder = catalogue_folder(catalogue)
    for name, data in ((f"thumb/{each.id}.png", b"png %d" % each.id) for each in clips):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "icons").mkdir(exist_ok=True)
    (folder / "icons" / f"{ADA.id}.png").write_bytes(b"icon")
    for each in clips:
        catalogue.looked(each.id, Facts(runtime=1.5))
    return clips


def catalogue_folder(catalogue: Catalogue) -> Path:
    return catalogue._path.parent


def read(channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
    assert (channel, message) == (HERE.channel, (attachment + 1000) << 22)
    return video(attachment)[start : start + length]


def bucket(gcs: Gcs) -> Store:
    return Store(store_url("", gcs.environment, Path("/nowhere")), gcs.environment, patience_s=3)


def test_the_bucket_has_what_the_catalogue_has_key_by_key(gcs: Gcs, catalogue: Catalogue) -> None:
    """Whoever read the predecessor's bucket goes on reading it."""
    clips = take_in(catalogue, 1, 2, 3)
    writer = Writer(catalogue, bucket(gcs), catalogue_folder(catalogue))
    while writer.step():
        pass
    wanted = {f"userData/{ADA.id}.json", f"userData/{ADA.id}.png"}
    for each in clips:
        wanted |= {f"messages/{each.alias}.json", f"thumb/{each.alias}.png"}
        known = catalogue.clip(each.id)
        assert known is not None
        assert json.loads(gcs.get(f"messages/{each.alias}.json")) == record_of(known, ADA, HERE)
        assert list(json.loads(gcs.get(f"messages/{each.alias}.json"))) == list(record_of(known, ADA, HERE))
        assert gcs.get(f"thumb/{each.alias}.png") == b"png %d" % each.id
    assert gcs.names() == wanted
    assert json.loads(gcs.get(f"userData/{ADA.id}.json"))["name"] == "ada"
    assert writer.step() == 0


def test_changes_go_there_and_deletions_move_aside(gcs: Gcs, catalogue: Catalogue) -> None:
    first, second = take_in(catalogue, 1, 2)
    writer = Writer(catalogue, bucket(gcs), catalogue_folder(catalogue))
    writer.step()
    catalogue.renewed([(first.id, first.url.replace("670ad8f9", "670bd8f9"), 0x670BD8F9 * 10**9)])
    catalogue.deleted(HERE.channel, [second.message], 5)
    assert writer.step() == 2
    assert json.loads(gcs.get(f"messages/{first.alias}.json"))["Expire_Timestamp"] == 0x670BD8F9
    names = gcs.names()
    assert f"deleted/{second.alias}.json" in names
    assert not {f"messages/{second.alias}.json", f"thumb/{second.alias}.png"} & names


def test_ids_that_collide_are_two_objects(gcs: Gcs, catalogue: Catalogue) -> None:
    """One of the two would else be gone from the bucket."""
    both = [replace(clip(number), alias="a2d3a331") for number in (1, 2)]
    catalogue.merge([Found(each, ADA, HERE) for each in both])
    Writer(catalogue, bucket(gcs), catalogue_folder(catalogue)).step()
    assert {"messages/a2d3a331.json", "messages/a2d3a331-2.json"} <= gcs.names()


@pytest.mark.expects_log("are not written to")
def test_a_store_that_is_down_is_told_and_loses_nothing(gcs: Gcs, catalogue: Catalogue) -> None:
    take_in(catalogue, 1, 2)
    store = bucket(gcs)
    gcs.stop()
    said, stop, is_down, is_well = [], threading.Event(), threading.Event(), threading.Event()

    def told(text: str) -> None:
        said.append(text)
        (is_down if text else is_well).set()

    writer = Writer(catalogue, store, catalogue_folder(catalogue), told, SOON)
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    try:
        assert is_down.wait(60)
        assert "gs://clips" in next(filter(None, said))
        assert catalogue.counts()["unwritten"] == 2
        gcs.start()
        assert is_well.wait(60)
    finally:
        stop.set()
        thread.join()
    assert len([name for name in gcs.names() if name.startswith("messages/")]) == 2
    assert catalogue.counts()["unwritten"] == 0


def test_another_store_gets_everything(gcs: Gcs, catalogue: Catalogue, tmp_path: Path) -> None:
    take_in(catalogue, 1, 2)
    Writer(catalogue, bucket(gcs), catalogue_folder(catalogue)).step()
    other = Store((tmp_path / "other").as_uri(), {})
    writer = Writer(catalogue, other, catalogue_folder(catalogue))
    while writer.step():
        pass
    found = {path.relative_to(tmp_path / "other").as_posix() for path in (tmp_path / "other").rglob("*.*")}
    assert found == gcs.names()


@pytest.mark.parametrize(
    ("url", "environment", "said"),
    [
        (
            "gs://clips",
            {CREDENTIALS: "/nowhere/key.json"},
            CREDENTIALS,
        ),
        ("nonsense://clips", {}, "nonsense://"),
    ],
)
def test_a_wrong_setting_is_named(url: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Store(url, environment)


def test_a_bucket_that_is_not_there_is_said(gcs: Gcs) -> None:
    with pytest.raises((ConfigError, MissingError), match="gs://nobodys"):
        Store("gs://nobodys", gcs.environment).check()
    bucket(gcs).check()


def test_a_directory_has_whole_files_only(tmp_path: Path) -> None:
    store = Store((tmp_path / "there").as_uri(), {})
    store.put("a/b", b"old")
    store.put("a/b", b"newer")
    store.get_file("a/b", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"newer"
    assert store.read("a/b", 1, 3) == b"ewe"
    assert [path.name for path in (tmp_path / "there" / "a").iterdir()] == ["b"]
    assert store.size("a/c") is None
    store.remove("a/b")
    store.remove("a/b")
    with pytest.raises(MissingError):
        store.get_file("a/b", tmp_path / "got")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        Store((tmp_path / "file").as_uri(), {}).put("a/b", b"x")


# --- keeping -----------------------------------------------------------------------------------------------


def keep(catalogue: Catalogue, place: object, reader: object = read) -> Keeper:
    keeper = Keeper(catalogue, place, reader, catalogue_folder(catalogue), lambda: 77, backoff=SOON)  # type: ignore[arg-type]
    while keeper.step():
        pass
    keeper.keep_catalogue()
    return keeper


def standing(catalogue: Catalogue) -> dict[int, tuple[int, str]]:
    """When each clip was deleted, and its kept copy."""
    return {
        each.clip.id: (each.clip.deleted_ns, each.clip.kept) for each in catalogue.clips(with_hidden=True)
    }


def sha(number: int) -> str:
    return hashlib.sha256(video(number)).hexdigest()


def test_kept_videos_are_in_the_bucket_byte_for_byte(gcs: Gcs, catalogue: Catalogue) -> None:
    take_in(catalogue, 1, 2)
    keep(catalogue, bucket(gcs))
    for number in (1, 2):
        assert gcs.get(kept_name(sha(number))) == video(number)
        known = catalogue.clip(number)
        assert known is not None
        assert known.kept == sha(number)
        assert gcs.get(f"thumb/{number}.png") == b"png %d" % number
    assert "catalogue.sqlite" in gcs.names()


def test_what_is_gone_is_deleted_and_what_fails_waits(catalogue: Catalogue, tmp_path: Path) -> None:
    """A video counts as kept only when the place has it."""
    take_in(catalogue, 1, 2, 3)
    is_down = [True]

    def failing(channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        if attachment == 1:
            raise RemoteGone("deleted")
        if attachment == 3 and start and is_down[0]:
            raise Unavailable("no answer")
        return read(channel, message, attachment, start, length)

    place = Store((tmp_path / "there").as_uri(), {})
    with pytest.raises(Unavailable):
        keep(catalogue, place, failing)
    assert standing(catalogue) == {1: (77, ""), 2: (0, sha(2)), 3: (0, "")}
    assert not list((catalogue_folder(catalogue) / "keeping").iterdir())
    is_down[0] = False
    keep(catalogue, place, failing)
    assert standing(catalogue)[3] == (0, sha(3))


def test_what_a_store_keeps_is_played_from_there(gcs: Gcs, catalogue: Catalogue) -> None:
    """Also once Discord has it no more."""
    take_in(catalogue, 1)
    Writer(catalogue, bucket(gcs), catalogue_folder(catalogue)).step()
    keep(catalogue, bucket(gcs))
    place = StorePlace(ChosenStore(catalogue_folder(catalogue) / "catalogue.sqlite", gcs.environment))
    known = catalogue.clip(1)
    assert known is not None
    assert place.open(known) is None
    catalogue.set("keep", "store")
    copy = place.open(known)
    assert copy is not None
    for size, offset in ((10, 0), (131_072, 5_500_000), (131_072, 1_000_000), (5, 1_000_100)):
        assert copy.read(size, offset) == video(1)[offset : offset + size]
    copy.close()
    gcs.stop()
    impatient = StorePlace(lambda: bucket(gcs))
    assert impatient.open(known) is None
    with pytest.raises(Unavailable):
        impatient.open(replace(known, deleted_ns=1))


@pytest.mark.expects_log("clips are not kept for now")
def test_on_the_drive_it_waits_for_the_mount_and_comes_back(catalogue: Catalogue, tmp_path: Path) -> None:
    """The laptop is lost: catalogue, thumbnails and videos are on the drive."""
    take_in(catalogue, 1, 2)
    mounted: list[Path | None] = [None]
    said, stop, is_kept = [], threading.Event(), threading.Event()

    def told(text: str) -> None:
        said.append(text)
        if text:
            mounted[0] = tmp_path
        else:
            is_kept.set()

    keeper = Keeper(
        catalogue, OnDrive(lambda: mounted[0]), read, catalogue_folder(catalogue), lambda: 1, told, SOON
    )
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        assert is_kept.wait(60)
    finally:
        stop.set()
        thread.join()
    assert "not mounted" in said[0]
    assert (tmp_path / ".clips" / kept_name(sha(1))).read_bytes() == video(1)
    other = tmp_path / "other machine"
    leave_wal(other / "catalogue.sqlite")
    assert bring_back(LocalTree(tmp_path), other) == 3
    restored = Catalogue(other / "catalogue.sqlite")
    try:
        assert [named.clip.kept for named in restored.clips()] == [sha(1), sha(2)]
    finally:
        restored.close()
    assert (other / "thumb" / "1.png").read_bytes() == b"png 1"
    assert bring_back(LocalTree(tmp_path), other) == 0
    assert not list((catalogue_folder(catalogue) / "keeping").iterdir())


def another(tmp_path: Path, number: int) -> Catalogue:
    made = Catalogue(tmp_path / "another" / "catalogue.sqlite")
    take_in(made, number)
    return made


def test_who_begins_anew_replaces_nothing_that_is_kept(catalogue: Catalogue, tmp_path: Path) -> None:
    """The place has the only word of clips that are deleted on Discord: a new catalogue takes it in before it
    goes there, and the first one the new one's after that."""
    place = Store((tmp_path / "there").as_uri(), {})
    take_in(catalogue, 1)
    keeper = keep(catalogue, place)
    catalogue.deleted(HERE.channel, [each.clip.message for each in catalogue.clips()], 55)
    keeper.keep_catalogue()
    gone = standing(catalogue)
    with closing(another(tmp_path, 2)) as new:
        keep(new, place)
        assert standing(new) == gone | {2: (0, sha(2))}
    take_in(catalogue, 3)
    keep(catalogue, place)
    kept = Catalogue(tmp_path / "there" / "catalogue.sqlite", is_reader=True)
    with closing(kept):
        assert standing(kept) == gone | {2: (0, sha(2)), 3: (0, sha(3))}
    assert not list((catalogue_folder(catalogue) / "keeping").iterdir())


def test_a_catalogue_that_has_not_changed_goes_nowhere(catalogue: Catalogue, tmp_path: Path) -> None:
    """Also in the next run: `clips sync` may stand in a crontab."""
    place = Store((tmp_path / "there").as_uri(), {})
    take_in(catalogue, 1)
    assert keep(catalogue, place).keep_catalogue() == 0
    assert keep(catalogue, place).keep_catalogue() == 0
    before = (tmp_path / "there" / "catalogue.sqlite").stat().st_ino
    keep(catalogue, place)
    assert (tmp_path / "there" / "catalogue.sqlite").stat().st_ino == before
    take_in(catalogue, 2)
    assert Keeper(catalogue, place, read, catalogue_folder(catalogue), lambda: 77).keep_catalogue() > 0


def test_what_is_no_catalogue_of_this_release_is_never_replaced(catalogue: Catalogue, tmp_path: Path) -> None:
    place = Store((tmp_path / "there").as_uri(), {})
    with closing(another(tmp_path, 2)) as new:
        new.backup(tmp_path / "newer.sqlite")
    with closing(sqlite3.connect(tmp_path / "newer.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    place.put_file("catalogue.sqlite", tmp_path / "newer.sqlite")
    take_in(catalogue, 1)
    with pytest.raises(FormatError, match="take a newer discordfs"):
        keep(catalogue, place)
    place.put("catalogue.sqlite", b"something else")
    with pytest.raises(sqlite3.DatabaseError):
        keep(catalogue, place)
    assert (tmp_path / "there" / "catalogue.sqlite").read_bytes() == b"something else"


def test_beside_the_catalogue_itself_only_videos_are_kept(catalogue: Catalogue) -> None:
    """Its own file must stay the one that is open."""
    take_in(catalogue, 1)
    file = catalogue_folder(catalogue) / "catalogue.sqlite"
    before = file.stat().st_ino
    keep(catalogue, Store(catalogue_folder(catalogue).as_uri(), {}))
    assert file.stat().st_ino == before
    assert (catalogue_folder(catalogue) / kept_name(sha(1))).read_bytes() == video(1)


def test_a_drive_without_clips_brings_nothing(tmp_path: Path) -> None:
    assert bring_back(LocalTree(tmp_path), tmp_path / "other") == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.expects_log("cannot be removed")
def test_what_killed_processes_left_half_made_goes_once_nobody_can_be_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may write to the same directory."""
    store = Store((tmp_path / "there").as_uri(), {})
    store.put("kept/aa/whole", b"whole")
    young, old = tmp_path / "there" / "kept" / "aa" / ".new-young", tmp_path / "there" / ".new-old"
    for draft in (young, old):
        draft.write_bytes(b"half")
    os.utime(old, (99, 99))
    store.sweep(100.0)
    assert not old.exists()
    assert (young.exists(), store.size("kept/aa/whole")) == (True, 5)
    os.utime(young, (99, 99))

    def refused(self: Path) -> None:
        raise PermissionError(13, "not yours")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refused)
        store.sweep(100.0)
    assert young.exists()


def test_in_a_state_directory_it_goes_at_once_as_nobody_else_works_there(tmp_path: Path) -> None:
    directory = ClipsDirectory(tmp_path / "clips")
    left = directory.path / "kept" / "aa" / ".new-left"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    with directory.held(), pytest.raises(BusyError), connected("token", directory):
        raise AssertionError("another one works here")
    assert left.exists()
    with connected("token", directory):
        assert not left.exists()
