"""The map of a file's extents: a wrong cut would hand one file's bytes to another."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from discordfs.extents import ExtentMap
from discordfs.model import Extent, Home

SIZE = 60
RANGES = st.tuples(st.integers(0, SIZE - 1), st.integers(1, 20))
STEPS = st.lists(st.tuples(st.sampled_from(["insert", "remove"]), RANGES), max_size=25)


def bytes_of(extents: list[Extent]) -> dict[int, tuple[int, int]]:
    """file byte -> (segment, position in it): what the map means."""
    return {
        extent.offset + step: (extent.segment, extent.segment_position + step)
        for extent in extents
        for step in range(extent.length)
    }


@given(STEPS, RANGES)
def test_it_means_what_a_byte_by_byte_map_means(
    steps: list[tuple[str, tuple[int, int]]], look: tuple[int, int]
) -> None:
    extents, model = ExtentMap(), dict[int, tuple[int, int]]()
    for number, (what, (start, length)) in enumerate(steps):
        covered = {byte: model[byte] for byte in range(start, start + length) if byte in model}
        if what == "insert":
            gone = extents.insert(Extent(start, length, Home.STAGED, number, number * 7))
            model |= {start + step: (number, number * 7 + step) for step in range(length)}
        else:
            gone = extents.remove(start, start + length)
            for byte in covered:
                del model[byte]
        assert bytes_of(gone) == covered
    assert bytes_of(list(extents)) == model
    assert extents.total == len(model)
    start, end = look[0], look[0] + look[1]
    assert bytes_of(extents.slice(start, end)) == {b: at for b, at in model.items() if start <= b < end}
    listed = list(extents)
    assert all(one.end <= other.offset for one, other in itertools.pairwise(listed))


def test_sequential_writes_stay_one_extent() -> None:
    extents = ExtentMap()
    for number in range(100):
        extents.insert(Extent(number * 10, 10, Home.STAGED, 1, number * 10))
    assert len(extents) == 1


def test_neighbours_in_a_chunk_are_not_joined() -> None:
    extents = ExtentMap([Extent(0, 10, Home.REMOTE, chunk=1, chunk_position=0)])
    extents.insert(Extent(10, 10, Home.REMOTE, chunk=1, chunk_position=10))
    assert len(extents) == 2
