"""Damage by the dice: rows become others, messages go, bytes flip. Whatever happens, fsck says it in words, a
repair makes nothing worse, and no file ever reads as something it never was."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from discordfs.errors import DiscordfsError
from discordfs.fsck.findings import Finding
from discordfs.fsck.tables import SOUND
from tests.fs.conftest import CALLER
from tests.fsck.conftest import Patient
from tests.fsck.test_offline import Bench, contents

SHORT, LONG = range(5), range(5, 80)

pytestmark = pytest.mark.expects_log("")  # whatever the drive finds out by itself

TABLES = ("inodes", "dentries", "xattrs", "extents", "chunks", "counters", "records", "garbage", "log")


class Time:
    """A clock that can be put on: what was damaged on Discord lies there for a while before fsck comes. (A
    log message that cannot be read may be a claim for eleven minutes, and a writer waits for that.)"""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead_ns


def seeds() -> list[object]:
    return [*SHORT, *(pytest.param(seed, marks=pytest.mark.long) for seed in LONG)]


@pytest.fixture
def make_lived_in(make_patient: Callable[..., Patient]) -> Callable[[random.Random], Bench]:
    """A closed drive that has been used, all of it recorded."""

    def make(dice: random.Random) -> Bench:
        patient = make_patient(clock=Time())
        for folder in (b"/d", b"/d/e"):
            patient.drive.mkdir(folder, 0o755, CALLER)
        for number in range(6):
            size = dice.choice((0, 10, 5000, 300_000, 700_000))
            patient.put(dice.choice((b"/", b"/d/", b"/d/e/")) + b"f%d" % number, dice.randbytes(size))
            if dice.random() < 0.6:
                patient.barrier()
        patient.drive.symlink(b"/link", b"d", CALLER)
        patient.drive.setxattr(b"/d", b"user.x", b"y", 0)
        patient.barrier()
        patient.close()
        return Bench(patient)

    return make


# --- damage -------------------------------------------------------------------------------------------


def spoil_rows(bench: Bench, dice: random.Random, times: int) -> list[str]:
    """Random changes of random rows, past the triggers; what was done."""
    done = []
    with closing(sqlite3.connect(bench.patient.root / "index.sqlite", isolation_level=None)) as index:
        triggers = index.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            index.execute(f"DROP TRIGGER {name}")
        for _ in range(times):
            done.append(spoil_row(index, dice))
        for _, sql in triggers:
            index.execute(sql)
    return done


def spoil_row(index: sqlite3.Connection, dice: random.Random) -> str:
    table = dice.choice(TABLES)
    columns = index.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
    keys = [name for name, is_key in columns if is_key]
    rows = index.execute(f"SELECT {', '.join(keys)} FROM {table}").fetchall()
    if not rows:
        return f"nothing in {table}"
    key = dice.choice(rows)
    where = " AND ".join(f"{name} IS ?" for name in keys)
    if dice.random() < 0.25 and table != "log":
        index.execute(f"DELETE FROM {table} WHERE {where}", key)
        return f"DELETE FROM {table} {key}"
    column = dice.choice([name for name, _ in columns if (table, name) != ("log", "me")])
    (old,) = index.execute(f"SELECT {column} FROM {table} WHERE {where}", key).fetchone()
    new = other(old, dice)
    try:
        index.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (new, *key))
    except sqlite3.Error as error:
        return f"{table}.{column} cannot be {new!r}: {error}"
    return f"{table}.{column} {key}: {old!r} -> {new!r}"


def other(value: object, dice: random.Random) -> object:
    if isinstance(value, int) and dice.random() < 0.8:
        flipped = value ^ (1 << dice.randrange(62))
        return dice.choice((flipped, value + 1, value - 1, 0, -1, 2**62, value * 2))
    if isinstance(value, bytes) and value and dice.random() < 0.8:
        at = dice.randrange(len(value))
        return value[:at] + bytes([value[at] ^ (1 << dice.randrange(8))]) + value[at + 1 :]
    return dice.choice((b"", b"x" * 300, "text", 7, 1.5, dice.randbytes(16)))


def spoil_discord(bench: Bench, dice: random.Random, times: int) -> None:
    """Messages are deleted, bytes of attachments change."""
    store = bench.patient.store
    bench.patient.clock.ahead_ns += 3600 * 10**9  # type: ignore[attr-defined]
    for _ in range(times):
        messages = [it for room in store._channels.values() for it in room.messages.values()]
        if not messages:
            return
        message = dice.choice(messages)
        if dice.random() < 0.4:
            store.delete_quietly(message.channel, [message.id])
            continue
        attachment = dice.choice(message.attachments)
        at = dice.randrange(attachment.size)
        store.replace_bytes(
            attachment.id, lambda data, at=at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        )


def readable(bench: Bench) -> dict[str, object]:
    """The files that can be read as they lie there, if the drive can be opened at all."""
    try:
        return files(contents(bench))
    except Exception:  # noqa: BLE001  # a damaged index may be anything to a drive
        if bench.patient.is_open:
            bench.patient.close()
        return {}


def files(picture: dict[str, object]) -> dict[str, object]:
    return {path: seen[1] for path, seen in picture.items() if seen[1] is not None}  # type: ignore[index]


# --- what holds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds())
def test_rows_of_the_index(make_lived_in: Callable[[random.Random], Bench], seed: int) -> None:
    """With log and chunks whole, everything comes back as it was."""
    dice = random.Random(seed)
    bench = make_lived_in(dice)
    before = contents(bench)
    done = spoil_rows(bench, dice, dice.choice((1, 1, 2, 5, 20)))
    bench.check(read=100)
    bench.repair()
    after = contents(bench)
    assert_all_is_back(before, after, done)
    left = bench.check(read=100)
    at_fault = [it for it in left.findings if it.is_damage and not is_found(it)]
    assert not at_fault, ([it.text for it in at_fault], done)


@pytest.mark.parametrize("seed", seeds())
def test_messages_and_their_bytes(make_lived_in: Callable[[random.Random], Bench], seed: int) -> None:
    """What can still be read is the same after a repair; what cannot is said, and nothing else."""
    dice = random.Random(seed)
    bench = make_lived_in(dice)
    before = contents(bench)
    spoil_discord(bench, dice, dice.choice((1, 2, 5)))
    if dice.random() < 0.5:
        empty_cache(bench)
    was = readable(bench)
    bench.check(read=100)
    report = bench.repair(read=100)
    after = contents(bench)
    assert set(after) == set(before)
    assert {path: files(after).get(path) for path in was} == was
    assert set(files(after).items()) <= set(files(before).items())
    lost = set(files(before)) - set(files(after))
    named = {path for finding in report.findings if finding.is_damage for path in finding.paths}
    assert lost <= named, report


@pytest.mark.parametrize("seed", seeds())
def test_both_at_once(make_lived_in: Callable[[random.Random], Bench], seed: int) -> None:
    """Nothing here can promise all of it. It must end in words, and what was right must stay."""
    dice = random.Random(seed)
    bench = make_lived_in(dice)
    before = files(contents(bench))
    done = spoil_rows(bench, dice, dice.choice((1, 3)))
    spoil_discord(bench, dice, dice.choice((1, 3)))
    was = {path: content for path, content in readable(bench).items() if before.get(path) == content}
    try:
        bench.check(read=100)
        bench.repair(read=100)
    except DiscordfsError:  # in words: the log cannot even say who writes it
        return
    found = set(files(contents(bench)).values())
    assert set(was.values()) <= found | {b""}, done
    bench.repair()


@pytest.mark.parametrize("seed", seeds())
def test_pages_of_the_database(make_lived_in: Callable[[random.Random], Bench], seed: int) -> None:
    """SQLite's own file is damaged: whatever it takes, the recorded files are there again."""
    dice = random.Random(seed)
    bench = make_lived_in(dice)
    before = files(contents(bench))
    path = bench.patient.root / "index.sqlite"
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice((1, 3, 30))):
        at = dice.randrange(len(data))
        data[at : at + dice.choice((1, 100, 4096))] = dice.randbytes(dice.choice((1, 100)))
    path.write_bytes(data[: len(data) // 4096 * 4096])
    bench.check()
    bench.repair()
    with closing(sqlite3.connect(path)) as index, index:
        index.execute("UPDATE log SET me = writer WHERE writer <> X''")  # as --take-over does
    after = files(contents(bench))
    assert {name: content for name, content in after.items() if name in before} == before


def assert_all_is_back(before: dict[str, object], after: dict[str, object], done: list[str]) -> None:
    """What there is more is what nobody can tell the place of, and reads as nothing that never was."""
    more = {path: seen for path, seen in after.items() if path not in before}
    wrong = [path for path, seen in before.items() if after.get(path) != seen]
    assert not wrong, (wrong, [(before[it], after.get(it)) for it in wrong], done)
    assert all(path.startswith("/lost+found") for path in more), more
    strange = [path for path, seen in files(more).items() if seen not in {b"", *files(before).values()}]
    assert not strange, (strange, done)


def is_found(finding: Finding) -> bool:
    """Whether it says that bytes are lost of a file that has no place, and is in `lost+found`."""
    return finding.kind == "lost" and all(path.startswith("/lost+found/") for path in finding.paths)


def empty_cache(bench: Bench) -> None:
    for place in sorted((bench.patient.root / "cache").rglob("*"), reverse=True):
        place.rmdir() if place.is_dir() else place.unlink()


def test_every_table_is_among_those_that_are_checked() -> None:
    assert set(TABLES) <= set(SOUND)
    assert os.fsencode("x")
