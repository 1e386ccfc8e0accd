"""What housekeeping asks the index: which files are in shreds; and an older index is taken over whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import sqlite_utils
from hypothesis import given
from hypothesis import strategies as st

from discordfs import schema
from discordfs.config import Settings, parse_duration, parse_percent, settings_with
from discordfs.errors import ConfigError
from discordfs.gc.compacting import Allowance
from discordfs.upkeep import MOST_EXTENTS, WINDOW, Stretch, crowded_windows, joined

PAGE = 4096


def test_a_window_of_pages_is_crowded_and_its_neighbours_are_not() -> None:
    pages = [(WINDOW + at, WINDOW + at + PAGE) for at in range(0, WINDOW, PAGE)]
    extents = [(0, WINDOW), *pages, (2 * WINDOW, 9 * WINDOW)]
    assert list(crowded_windows(extents)) == [(WINDOW, 2 * WINDOW)]


def test_what_holes_keep_apart_is_not_crowded() -> None:
    assert not list(crowded_windows((at, at + PAGE) for at in range(0, WINDOW, 2 * PAGE)))


@given(st.lists(st.integers(1, WINDOW // 4), max_size=60), st.lists(st.booleans(), min_size=60, max_size=60))
def test_once_it_is_joined_nothing_is_crowded(lengths: list[int], gaps: list[bool]) -> None:
    """Else an idle mount would move the same bytes for ever."""
    extents, at = [], 0
    for length, has_gap in zip(lengths, gaps, strict=False):
        at += 1000 if has_gap else 0
        extents.append((at, at + length))
        at += length
    crowded = list(crowded_windows(extents))
    runs = joined(Stretch(1, start, end) for start, end in extents)
    after: list[tuple[int, int]] = []
    for run in runs:
        cuts = sorted({run.start, run.end, *(edge for window in crowded for edge in window)})
        cuts = [cut for cut in cuts if run.start <= cut <= run.end]
        after += pairwise(cuts)
    left = [window for window in crowded_windows(after) if window in crowded]
    assert not left
    for start, end in crowded:
        assert sum(start < last and first < end for first, last in extents) > MOST_EXTENTS


def test_an_allowance_is_an_hours_worth_at_most() -> None:
    now = [0.0]
    allowance = Allowance(3600, lambda: now[0])
    allowance.spend(3600)
    assert allowance.left() == 0
    now[0] = 10
    assert allowance.left() == 10
    now[0] = 100_000
    assert allowance.left() == 3600


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("0.5d", 43_200)]
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "1w", "1h30m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no time"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "all", "-1", "101", "nan"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no percentage"):
        parse_percent(text)


def test_settings_keep_what_is_not_given() -> None:
    settings = settings_with(Settings(gc_grace=5.0), {"verify_percent": "10%"})
    assert (settings.gc_grace, settings.verify_percent, settings.sweep_every) == (5.0, 10.0, 86_400.0)


@pytest.fixture
def older_index(tmp_path: Path) -> Callable[[], sqlite3.Connection]:
    """An index as it was before housekeeping came: two chunks, the newer of which goes."""
    path = tmp_path / "index.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrations.apply(sqlite_utils.Database(connection), stop_before="upkeep")
    connection.execute(f"PRAGMA user_version = {schema.FORMAT}")
    connection.executemany(
        "INSERT INTO chunks (uid, state, channel, message, attachments, plain_size, stored_size, blocks, "
        "sealed_ns, record) VALUES (?, 2, 11, ?, X'', 10, 10, X'', 5, 1)",
        [(b"a" * 16, 100), (b"b" * 16, 200)],
    )

    def take_over() -> sqlite3.Connection:
        schema.prepare(connection, path)
        return connection

    return take_over


def test_an_older_index_keeps_its_chunks_and_gives_no_row_twice(
    older_index: Callable[[], sqlite3.Connection],
) -> None:
    connection = older_index()
    rows = connection.execute("SELECT id, uid, message, record, verified_ns FROM chunks ORDER BY id")
    assert rows.fetchall() == [(1, b"a" * 16, 100, 1, 0), (2, b"b" * 16, 200, 1, 0)]
    connection.execute("DELETE FROM chunks WHERE id = 2")
    new = connection.execute(
        "INSERT INTO chunks (uid, state, channel, message, attachments, plain_size, stored_size, blocks, "
        "sealed_ns) VALUES (?, 0, 11, 0, X'', 10, 10, X'', 5)",
        (b"c" * 16,),
    )
    assert new.lastrowid == 3, "a read under way may still know chunk 2 by its row"
    connection.close()
