"""Chunks over attachments: whatever a server's limits are, the chunk fits or is refused before it is sent."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discordfs.chunks.layout import PartName, cut, message_text, nonce, parse_name, parts_of
from discordfs.codec import block_offsets, pack_table
from discordfs.errors import TooLarge
from discordfs.model import BLOCK_SIZE, CHUNK_SIZE, Limits
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
    for other in ("c-00-1-of-2.bin", str(name) + ".exe", "r" + str(name)[1:], str(name).upper(), ""):
        assert parse_name(other) is None
    for attempt in (0, 1, 9):
        assert len(nonce(bytes(16), attempt)) <= 25
    assert nonce(bytes(16), 0) != nonce(bytes(16), 1) != nonce(b"1" * 16, 1)
    text = message_text(b"v" * 16, b"u" * 16)
    assert "\n" not in text
    assert "do not delete" in text
    assert (b"v" * 16).hex() in text
    assert (b"u" * 16).hex() in text


def _message(*names: str) -> Message:
    return Message(9, 1, 1, "", tuple(Attachment(n, name, 10) for n, name in enumerate(names)))


def test_a_chunk_is_its_names_whatever_their_order_and_company() -> None:
    first, second = str(PartName(b"a" * 16, 1, 2)), str(PartName(b"a" * 16, 2, 2))
    found = parts_of(_message("r-0011.bin", second, first))
    assert found is not None
    assert (found[0], [it.name for it in found[1]]) == (b"a" * 16, [first, second])


@pytest.mark.parametrize(
    "names",
    [
        [],
        [PartName(b"a" * 16, 1, 2)],
        [PartName(b"a" * 16, 2, 2)],
        [PartName(b"a" * 16, 1, 2), PartName(b"a" * 16, 1, 2)],
        [PartName(b"a" * 16, 1, 2), PartName(b"a" * 16, 2, 3)],
        [PartName(b"a" * 16, 1, 2), PartName(b"b" * 16, 2, 2)],
        [PartName(b"a" * 16, 0, 1), PartName(b"a" * 16, 1, 1)],
    ],
)
def test_half_a_chunk_is_none(names: list[PartName]) -> None:
    assert parts_of(_message(*map(str, names))) is None
