"""Chunks over attachments: whatever a server's limits are, the chunk fits or is refused before it is sent."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discordfs.chunks.layout import (
    PartName,
    choose,
    cut,
    cut_all,
    held,
    message_text,
    nonce,
    parse_name,
)
from discordfs.codec import block_offsets, pack_table
from discordfs.errors import MissingError, TooLarge
from discordfs.model import BLOCK_SIZE, CHUNK_SIZE, Kind, Limits, SealedChunk
from discordfs.remote.base import Attachment, Message

MIB = 1024**2
FULL = pack_table([BLOCK_SIZE + 17] * 95 + [CHUNK_SIZE - 95 * (BLOCK_SIZE + 17) - 300])


def _limits(file_mib: float, request_mib: float = 25, files: int = 10) -> Limits:
    return Limits(int(file_mib * MIB), int(request_mib * MIB), files)


@pytest.mark.parametrize(
    ("file_mib", "parts"), [(20, 2), (24, 1), (25, 1), (500, 1), (12.5, 2), (10, 3), (8, 4), (5, 5), (3, 9)]
)
def test_a_full_chunk_is_as_few_and_even_attachments_as_the_limit_allows(file_mib: float, parts: int) -> None:
    sizes = cut(FULL, CHUNK_SIZE, _limits(file_mib))
    assert len(sizes) == parts
    assert sum(sizes) == CHUNK_SIZE
    assert max(sizes) <= file_mib * MIB
    assert max(sizes) - CHUNK_SIZE / parts <= BLOCK_SIZE + 17


def test_at_20_mib_a_full_chunk_is_twice_12_mib() -> None:
    sizes = cut(FULL, CHUNK_SIZE, _limits(20))
    assert [round(size / MIB, 1) for size in sizes] == [12.0, 12.0]


@pytest.mark.parametrize("limits", [_limits(2), _limits(20, 24), _limits(20, files=1), _limits(0.2)])
def test_what_no_message_can_carry_is_refused(limits: Limits) -> None:
    with pytest.raises(TooLarge):
        cut(FULL, CHUNK_SIZE, limits)


@given(
    st.lists(st.integers(18, BLOCK_SIZE + 17), min_size=1, max_size=96),
    st.integers(64, 200_000),
    st.integers(1, 25 * MIB),
    st.integers(1, 10),
)
def test_cuts_are_between_blocks_and_within_the_limit(
    lengths: list[int], tail: int, file_bytes: int, files: int
) -> None:
    blocks, stored = pack_table(lengths), sum(lengths) + tail
    try:
        sizes = cut(blocks, stored, Limits(file_bytes, 100 * MIB, files))
    except TooLarge:
        assert file_bytes * files < stored + files * (BLOCK_SIZE + 17) or file_bytes < tail
        return
    assert sum(sizes) == stored
    assert 0 < len(sizes) <= files
    assert 0 < min(sizes) <= max(sizes) <= file_bytes
    assert set(list(accumulate(sizes))[:-1]) <= set(block_offsets(blocks))
    assert sizes[-1] >= tail


def test_names_and_nonces_are_what_discord_leaves_alone() -> None:
    name = PartName(bytes(range(16)), 1, 2)
    assert str(name) == "c-000102030405060708090a0b0c0d0e0f-1-of-2.bin"
    assert parse_name(str(name)) == name
    letters = {kind: str(replace(name, kind=kind))[:2] for kind in Kind}
    assert letters == {Kind.DATA: "c-", Kind.RECORD: "r-", Kind.SNAPSHOT: "s-", Kind.PART: "p-"}
    for kind in Kind:
        assert parse_name(str(replace(name, kind=kind))) == replace(name, kind=kind)
    for other in ("c-00-1-of-2.bin", str(name) + ".exe", "x" + str(name)[1:], str(name).upper(), ""):
        assert parse_name(other) is None
    for attempt in (0, 1, 9):
        assert len(nonce(bytes(16), attempt)) <= 25
    assert nonce(bytes(16), 0) != nonce(bytes(16), 1) != nonce(b"1" * 16, 1)
    for kind in Kind:
        text = message_text(b"v" * 16, b"u" * 16, kind)
        assert "\n" not in text
        assert "do not delete" in text
        assert (b"v" * 16).hex() in text
        assert (b"u" * 16).hex() in text
        assert ("log" in text) == (kind is not Kind.DATA)


def _message(*names: str) -> Message:
    return Message(9, 1, 1, "", tuple(Attachment(n, name, 10) for n, name in enumerate(names)))


def test_a_chunk_is_its_names_whatever_their_order_and_company() -> None:
    first, second = str(PartName(b"a" * 16, 1, 2)), str(PartName(b"a" * 16, 2, 2))
    (found,) = held(_message("r-0011.bin", second, "hello.png", first))
    assert (found.kind, found.uid) == (Kind.DATA, b"a" * 16)
    assert [it.name for it in found.attachments] == [first, second]


def test_a_message_holds_a_record_and_its_data_and_says_which_is_which() -> None:
    names = [PartName(b"d" * 16, 2, 2), PartName(b"r" * 16, 1, 1, Kind.RECORD), PartName(b"d" * 16, 1, 2)]
    message = _message(*map(str, names))
    assert [(it.kind, it.uid, len(it.attachments)) for it in held(message)] == [
        (Kind.DATA, b"d" * 16, 2),
        (Kind.RECORD, b"r" * 16, 1),
    ]
    assert choose(message, None) == choose(message, b"d" * 16) == held(message)[0]
    assert choose(message, b"r" * 16) == held(message)[1]
    with pytest.raises(MissingError):
        choose(message, b"x" * 16)


@pytest.mark.parametrize(
    "names",
    [
        [],
        [PartName(b"a" * 16, 1, 1, Kind.RECORD)],
        [PartName(b"a" * 16, 1, 1), PartName(b"b" * 16, 1, 1)],
        [PartName(b"a" * 16, 1, 1, kind) for kind in Kind][1:],
    ],
)
def test_which_chunk_is_meant_is_never_guessed(names: list[PartName]) -> None:
    with pytest.raises(MissingError):
        choose(_message(*map(str, names)), None)
    both = _message(*map(str, [PartName(b"a" * 16, 1, 1), PartName(b"a" * 16, 1, 1, Kind.PART)]))
    with pytest.raises(MissingError):
        choose(both, b"a" * 16)


@pytest.mark.parametrize(
    "names",
    [
        [],
        [PartName(b"a" * 16, 1, 2)],
        [PartName(b"a" * 16, 2, 2)],
        [PartName(b"a" * 16, 1, 2), PartName(b"a" * 16, 1, 2)],
        [PartName(b"a" * 16, 1, 2), PartName(b"a" * 16, 2, 3)],
        [PartName(b"a" * 16, 1, 2), PartName(b"b" * 16, 2, 2)],
        [PartName(b"a" * 16, 1, 2), PartName(b"a" * 16, 2, 2, Kind.RECORD)],
        [PartName(b"a" * 16, 0, 1), PartName(b"a" * 16, 1, 1)],
        [PartName(b"a" * 16, 0, 0)],
    ],
)
def test_half_a_chunk_is_none(names: list[PartName]) -> None:
    assert held(_message(*map(str, names))) == ()


# --- several in a message ---------------------------------------------------------------------------


def _sealed(stored: int, kind: Kind = Kind.DATA) -> SealedChunk:
    count = -(-stored // (BLOCK_SIZE + 17))
    blocks = pack_table([stored // count] * (count - 1) + [stored - stored // count * (count - 1) - 200])
    return SealedChunk(bytes(16), Path("nowhere"), stored, count * BLOCK_SIZE, blocks, (), kind)


def test_a_record_rides_with_its_data_where_both_fit() -> None:
    record, data = _sealed(5000, Kind.RECORD), _sealed(20 * MIB)
    sizes = cut_all([record, data], _limits(8))
    assert [len(parts) for parts in sizes] == [1, 3]
    assert [sum(parts) for parts in sizes] == [5000, 20 * MIB]


@pytest.mark.parametrize(
    ("stored", "limits"),
    [
        ([5000, 20 * MIB], _limits(8, files=3)),
        ([5000, 20 * MIB], _limits(20, 20)),
        ([13 * MIB, 13 * MIB], _limits(20)),
        ([1000] * 11, _limits(20)),
    ],
    ids=["files", "request", "both large", "eleven"],
)
def test_what_does_not_fit_together_is_refused_before_it_is_sent(stored: list[int], limits: Limits) -> None:
    with pytest.raises(TooLarge):
        cut_all([_sealed(size) for size in stored], limits)
