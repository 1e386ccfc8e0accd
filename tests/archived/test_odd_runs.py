"""Whatever else lies in an archive, what is sound in it is shown: no bad run takes the others away."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from discordfs.archived.audit import audit
from discordfs.archived.runs import runs_below
from discordfs.archived.tree import ArchiveTree
from discordfs.archived.views import update_views
from tests.archived.making import CHANNEL, GUILD, RunMaker, at, id_at, lines, message
from tests.people import NOBODY

JANUARY = id_at("2024-01-05")
SHOWN = Path("views") / f"The server ({GUILD})" / f"general ({CHANNEL})" / "messages.jsonl"


def run(root: Path) -> Path:
    """Another run, to be harmed."""
    maker = RunMaker(root, at("2024-03-11"), "guild")
    maker.page([message(JANUARY + 5, "from the odd one")], after=JANUARY + 4, limit=1)
    return maker.write()


def files(odd: Path, *names: str) -> list[Path]:
    return [
        odd / name for name in (names or (f"{GUILD}/{CHANNEL}.jsonl", "run.jsonl", f"{GUILD}/guild.jsonl"))
    ]


def put_all(data: bytes) -> Callable[[Path], None]:
    def harm(odd: Path) -> None:
        for path in files(odd):
            path.write_bytes(data)

    return harm


def bodies(text: str) -> Callable[[Path], None]:
    """A record of the listing that holds this."""

    def harm(odd: Path) -> None:
        url = f"https://discord.com/api/v10/channels/{CHANNEL}/messages"
        head = '{"type": "http", "datetime_start": "2024-03-11T00:00:00+00:00", "datetime_end": "x"'
        request = f'"request": {{"method": "GET", "url": "{url}", "params": {{"limit": 100}}}}'
        record = f'{head}, {request}, "response": {{"data": {text}}}}}\n'
        files(odd)[0].write_text(record)

    return harm


def metadata(text: str) -> Callable[[Path], None]:
    def harm(odd: Path) -> None:
        for path in odd.rglob("*.meta.json"):
            path.write_text(text)
        (odd / "coverage.json").write_text(text)

    return harm


def squeezed(cut: int) -> Callable[[Path], None]:
    def harm(odd: Path) -> None:
        for path in files(odd):
            data = gzip.compress(path.read_bytes())
            path.unlink()
            path.with_name(f"{path.name}.gz").write_bytes(data[:cut] + b"\xff" * 20)

    return harm


def beside(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something with the name of a channel's file."""
    return lambda odd: (make(odd / str(GUILD) / "201.jsonl"), None)[1]


def renamed(name: bytes) -> Callable[[Path], None]:
    return lambda odd: os.rename(odd, os.path.join(os.fsencode(odd.parent), name))


def channel_named(name: str) -> Callable[[Path], None]:
    def harm(odd: Path) -> None:
        for ending in (".jsonl", ".meta.json"):
            os.rename(odd / str(GUILD) / f"{CHANNEL}{ending}", odd / str(GUILD) / f"{name}{ending}")

    return harm


ODD: dict[str, Callable[[Path], None]] = {
    "garbage": put_all(bytes(range(256)) * 40),
    "empty files": put_all(b""),
    "zeros": put_all(bytes(100_000)),
    "brackets": put_all(b"[" * 100_000 + b"\n"),
    "no objects": put_all(b'1\n"x"\nnull\n[]\n{}\n{"type": "http"}\n{"type": 5, "request": []}\n'),
    "a cut gzip": squeezed(40),
    "no gzip": squeezed(3),
    "messages that are none": bodies('[1, null, "x", [], {}, {"id": []}, {"id": -5}, {"id": "9e99"}]'),
    "ids beyond all bounds": bodies('[{"id": "99999999999999999999999"}, {"id": 18446744073709551615}]'),
    "strange values": bodies(
        f'[{{"id": "{JANUARY + 5}", "content": {{}}, "author": 5, "edited_timestamp": NaN}}]'
    ),
    "half a character": bodies(
        f'[{{"id": "{JANUARY + 5}", "content": "\\ud800", "author": {{"username": "\\udfff"}}}}]'
    ),
    "a body that is no list": bodies('{"code": 0}'),
    "metadata that is none": metadata("{"),
    "metadata of other kinds": metadata(
        '{"run": 5, "channel": [], "guild": "x", "channels": {"200": 7, "x": []}}'
    ),
    "names that are none": metadata(
        '{"channel": {"name": 5, "type": 11, "parent_id": 200}, "guild": {"name": []}}'
    ),
    "a thread of itself": metadata('{"channel": {"name": "x", "type": 11, "parent_id": "200"}}'),
    "a directory for a file": beside(Path.mkdir),
    "a pipe for a file": beside(os.mkfifo),
    "a link to nowhere": beside(lambda path: path.symlink_to("nowhere")),
    "a link to itself": beside(lambda path: path.symlink_to(path)),
    "a name that is no text": renamed(b"20240311T000000_\xff\xfe_guild"),
    "a name of another day": renamed("\u202enur\nx".encode()),
    "a channel beyond all bounds": channel_named("9" * 19),
    "a channel of no number": channel_named("0"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_run_takes_nothing_from_the_others(tmp_path: Path, name: str) -> None:
    good = RunMaker(tmp_path, at("2024-03-10"))
    good.page([message(JANUARY, "good")], after=0)
    kept = good.write()
    ODD[name](run(tmp_path))
    (tmp_path / "neither").mkdir()
    (tmp_path / "nor").write_text("a run")
    for _ in range(2):
        update_views(tmp_path)
        assert lines(tmp_path / SHOWN)[0]["content"] == "good"
    tree = ArchiveTree(tmp_path)
    assert tree.has_content
    assert {entry.name for entry in tree.readdir(b"/runs")} >= {os.fsencode(kept.name)}
    walk(tree, b"")
    for each in runs_below(tmp_path):
        assert isinstance(json.dumps(audit(each).as_json()), str)


def walk(tree: ArchiveTree, path: bytes) -> None:
    for entry in tree.readdir(path):
        below = path + b"/" + entry.name
        attr = tree.getattr(below)
        if attr.is_dir:
            walk(tree, below)
        elif attr.is_regular:
            handle = tree.open(below).handle
            assert len(tree.read(handle, attr.size + 1, 0)) == attr.size
            tree.release(handle)


@pytest.fixture
def nobodys_archive(as_root: None) -> Iterator[Path]:
    """An archive that somebody else than root reads."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


def test_a_run_that_may_not_be_read_takes_nothing_from_the_others(nobodys_archive: Path) -> None:
    """Such as one that root captured. It is named."""
    good = RunMaker(nobodys_archive, at("2024-03-10"))
    good.page([message(JANUARY, "good")], after=0)
    good.write()
    shut = run(nobodys_archive)
    for path in (nobodys_archive, *nobodys_archive.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    for path in (shut, *(each for each in shut.rglob("*") if each.is_dir())):
        os.chown(path, 0, 0)
        path.chmod(0o700)
    os.seteuid(NOBODY)
    try:
        updated = update_views(nobodys_archive)
        tree = ArchiveTree(nobodys_archive)
        assert os.fsencode(shut.name) in {entry.name for entry in tree.readdir(b"/runs")}
        with pytest.raises(PermissionError):
            tree.readdir(b"/runs/" + os.fsencode(shut.name))
    finally:
        os.seteuid(0)
    assert [str(shut) in text for text in updated.trouble] == [True]
    assert lines(nobodys_archive / SHOWN)[0]["content"] == "good"
