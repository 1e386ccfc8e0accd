"""Any run is read as far as its bytes go: what was captured must not be lost to a strict reader."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from discordfs.archived.lines import Trouble
from discordfs.archived.observing import Seen, observe
from discordfs.archived.runs import Run, read_records, runs_below
from tests.archived.making import CHANNEL, GUILD, RunMaker, at, id_at, message

FIRST = id_at("2024-01-05")


def made(root: Path, compressed: bool = False, ordinary: bool = True, pages: int = 3) -> Path:
    run = RunMaker(root, at("2024-03-01"), compressed=compressed, ordinary=ordinary)
    for page in range(pages):
        run.page(
            [message(FIRST + 10 * page + each) for each in range(10)], after=FIRST + 10 * page - 1, limit=10
        )
    return run.write()


def ids(path: Path) -> tuple[list[int], Seen]:
    seen = Seen()
    return [each.id for each in observe(path, 0, seen)], seen


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ordinary", [False, True])
def test_both_forms_plain_and_compressed(tmp_path: Path, compressed: bool, ordinary: bool) -> None:
    run = Run(made(tmp_path, compressed, ordinary), "run")
    sources = {source.name: source for source in run.sources()}
    assert list(sources) == ["run.jsonl", "guild.jsonl", f"{CHANNEL}.jsonl"]
    found, seen = ids(sources[f"{CHANNEL}.jsonl"].path)
    assert sorted(found) == list(range(FIRST, FIRST + 30))
    assert seen.ranges() == ((FIRST, FIRST + 29),)
    assert not seen.trouble.is_cut
    assert not seen.trouble.damage


def test_a_run_that_was_killed_is_read_up_to_its_last_page(tmp_path: Path) -> None:
    path = made(tmp_path) / str(GUILD) / f"{CHANNEL}.jsonl"
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) - 2, len(whole) - 500, len(whole) // 2, 1, 0):
        path.write_bytes(whole[:size])
        found, seen = ids(path)
        assert len(found) == 10 * (whole[:size] + b"\n").count(b"}\n")
        assert seen.trouble.is_cut == (size not in (0, len(whole) - 1))
        assert not seen.trouble.damage


def test_members_of_gzip_are_read_up_to_the_last_whole_one(tmp_path: Path) -> None:
    path = made(tmp_path) / str(GUILD) / f"{CHANNEL}.jsonl"
    pages = path.read_bytes().splitlines(keepends=True)
    members = [gzip.compress(page) for page in pages]
    path.write_bytes(members[0] + members[1] + members[2][:-9])
    found, seen = ids(path)
    assert len(found) >= 20
    assert seen.trouble.is_cut
    broken = bytearray(members[1])
    broken[20:40] = bytes(20)
    path.write_bytes(members[0] + broken + members[2])
    found, seen = ids(path)
    assert set(found) >= {*range(FIRST, FIRST + 10), *range(FIRST + 20, FIRST + 30)}
    assert seen.trouble.damage


def test_a_bad_line_costs_no_other(tmp_path: Path) -> None:
    path = made(tmp_path) / str(GUILD) / f"{CHANNEL}.jsonl"
    pages = path.read_bytes().splitlines(keepends=True)
    deep = b"[" * 100_000 + b"\n"
    path.write_bytes(
        pages[0] + b'{"type": "http", \n' + b"\xff\xfe\n" + deep + b"[]\n\n" + pages[1] + pages[2]
    )
    found, seen = ids(path)
    assert len(found) == 30
    assert len(seen.trouble.damage) == 4


def test_bodies_come_back_byte_for_byte(tmp_path: Path) -> None:
    """Numbers, spaces, unknown fields, escapes, and bytes that are no UTF-8."""
    odd = (
        f'[{{"id": "{FIRST}", "big": 12345678901234567890123, "f": 1.50, "e": 1E5,  '
        '"u": "\\u00e9\\ud800\udcff",'
        '"content" : "a\\/b", "id2":[ ] , "x":{"y":null}}]'
    )
    run = RunMaker(tmp_path, at("2024-03-01"))
    run.http(f"{GUILD}/{CHANNEL}.jsonl", f"/channels/{CHANNEL}/messages", odd, limit=100)
    path = run.write() / str(GUILD) / f"{CHANNEL}.jsonl"
    (found,) = observe(path, 0, Seen())
    assert found.body == odd[1:-1].encode("utf-8", "surrogateescape")


def test_keys_may_be_in_any_order_and_missing(tmp_path: Path) -> None:
    body = json.dumps(
        {
            "response": {"data": [message(FIRST)]},
            "request": {"url": f"/channels/{CHANNEL}/messages"},
            "type": "http",
        }
    )
    path = tmp_path / f"{CHANNEL}.jsonl"
    path.write_text(body + "\n")
    found, seen = ids(path)
    assert found == [FIRST]
    assert seen.ranges() == ()


def test_old_websocket_records_have_naive_times(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(
        '{"type": "ws", "datetime": "2020-01-01T00:00:00.5", "direction": "send", "data": "text"}\n'
    )
    (located,) = read_records(path, Trouble())
    assert located.record.at_ns == 1577836800_500_000_000


def test_metadata_that_lies_or_is_missing_changes_nothing(tmp_path: Path) -> None:
    run = made(tmp_path)
    (run / str(GUILD) / f"{CHANNEL}.meta.json").write_text("[1")
    (run / "run.meta.json").write_text('{"run": 5, "summary": []}')
    (run / str(GUILD) / "notes.txt").write_text("mine")
    (run / "elsewhere").mkdir()
    (found,) = runs_below(tmp_path)
    assert [source.name for source in found.sources()] == ["run.jsonl", "guild.jsonl", f"{CHANNEL}.jsonl"]
    assert found.start_ns == int(at("2024-03-01").timestamp()) * 1_000_000_000


class TestCoverage:
    """A message is called deleted on this ground alone."""

    def ranges(self, tmp_path: Path, *pages: tuple[list[int], dict[str, int]]) -> tuple[tuple[int, int], ...]:
        run = RunMaker(tmp_path, at("2024-03-01"))
        for numbers, params in pages:
            run.page([message(each) for each in numbers], **params)
        return ids(run.write() / str(GUILD) / f"{CHANNEL}.jsonl")[1].ranges()

    def test_a_full_page_covers_what_is_between_its_ends(self, tmp_path: Path) -> None:
        assert self.ranges(tmp_path, ([FIRST, FIRST + 5], {"limit": 2, "after": 9})) == ((10, FIRST + 5),)

    def test_backwards_too(self, tmp_path: Path) -> None:
        pages = ([FIRST, FIRST + 5], {"limit": 2, "before": FIRST + 9})
        assert self.ranges(tmp_path, pages) == ((FIRST, FIRST + 8),)

    def test_a_page_that_is_not_full_ends_the_channel(self, tmp_path: Path) -> None:
        ((first, last),) = self.ranges(tmp_path, ([FIRST], {"limit": 2, "after": 9}))
        assert first == 10
        assert id_at("2024-02-29T23:58:30") < last < id_at("2024-02-29T23:59:30")

    def test_an_empty_page_alone_proves_nothing(self, tmp_path: Path) -> None:
        """Discord gives one to whoever may not read the history: all would be called deleted."""
        assert self.ranges(tmp_path, ([], {"limit": 100, "after": 0})) == ()

    def test_refusals_prove_nothing(self, tmp_path: Path) -> None:
        run = RunMaker(tmp_path, at("2024-03-01"))
        run.http(f"{GUILD}/{CHANNEL}.jsonl", f"/channels/{CHANNEL}/messages", {"code": 50001}, 403, limit=100)
        found, seen = ids(run.write() / str(GUILD) / f"{CHANNEL}.jsonl")
        assert (found, seen.ranges()) == ([], ())
