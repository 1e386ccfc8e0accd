"""What runs say together: each message once, its newest version, its past, and no false deletion."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from discordfs.archived.merge import Covering, Merged, merge
from discordfs.archived.observing import Observation
from discordfs.archived.ranges import gaps, joined, lacking
from discordfs.archived.sorting import Sorter
from tests.archived.making import message

SECOND = 1_000_000_000


def seen(number: int, when: int, source: int = 0, **more: Any) -> Observation:
    return Observation(number, when * SECOND, source, 0, json.dumps(message(number, **more)).encode())


def union(*observations: Observation, coverings: tuple[Covering, ...] = ()) -> list[Merged]:
    return list(merge(sorted(observations), coverings))


def covering(source: int, when: int, *ranges: tuple[int, int]) -> Covering:
    return Covering(source, when * SECOND, (when + 1) * SECOND, ranges)


def test_each_message_once_oldest_first() -> None:
    found = union(seen(3, 1), seen(1, 1), seen(3, 2, 1), seen(2, 2, 1))
    assert [each.id for each in found] == [1, 2, 3]
    assert not any(each.has_history for each in found)


def test_an_edit_is_a_version_and_the_newest_is_shown() -> None:
    (found,) = union(
        seen(1, 1, 0, content="a"),
        seen(1, 3, 2, content="c", edited_timestamp="2024-01-03"),
        seen(1, 2, 1, content="b", edited_timestamp="2024-01-02"),
    )
    assert [json.loads(each.first.body)["content"] for each in found.versions] == ["a", "b", "c"]
    assert found.value["content"] == "c"


def test_discords_clock_decides_not_this_machines() -> None:
    """A run whose clock was behind must not bring an old version back."""
    (found,) = union(
        seen(1, 9, 0, content="old"), seen(1, 2, 1, content="new", edited_timestamp="2024-01-02")
    )
    assert found.value["content"] == "new"


def test_reactions_and_signatures_are_no_versions() -> None:
    url = "https://cdn/a.png?ex=1"
    (found,) = union(
        seen(1, 1, attachments=[{"id": "5", "url": url}]),
        seen(1, 2, 1, attachments=[{"id": "5", "url": url.replace("1", "2")}], reactions=[{"count": 3}]),
    )
    assert len(found.versions) == 1
    assert found.value["reactions"] == [{"count": 3}]
    assert found.versions[0].first.at_ns == SECOND


def test_contents_that_were_withheld_take_nothing_away() -> None:
    """A run without MESSAGE_CONTENT must not empty the archive."""
    (found,) = union(seen(1, 1, content="words"), seen(1, 2, 1, content=""))
    assert found.value["content"] == "words"


def test_deleted_is_what_a_later_page_covers_and_lacks() -> None:
    first, second = covering(0, 1, (1, 9)), covering(1, 5, (1, 9))
    found = union(seen(1, 1), seen(2, 1), seen(2, 5, 1), coverings=(first, second))
    assert [each.deleted is not None for each in found] == [True, False]
    assert found[0].deleted is not None
    assert (found[0].deleted.after_ns, found[0].deleted.source) == (SECOND, 1)


def test_what_no_page_covers_is_not_deleted() -> None:
    (found,) = union(seen(5, 1), coverings=(covering(0, 1, (1, 9)), covering(1, 5, (1, 4), (6, 9))))
    assert found.deleted is None


def test_an_earlier_page_deletes_nothing() -> None:
    (found,) = union(seen(5, 9, 1), coverings=(covering(0, 1, (1, 9)),))
    assert found.deleted is None


def test_seen_again_is_not_deleted() -> None:
    pages = tuple(covering(source, 1 + 4 * source, (1, 9)) for source in range(3))
    (found,) = union(seen(5, 1), seen(5, 9, 2), coverings=pages)
    assert found.deleted is None


def test_the_gateway_tells_deletions() -> None:
    (found,) = union(seen(5, 1), Observation(5, 3 * SECOND, 0, 0, b""))
    assert found.deleted is not None
    assert union(Observation(6, 3 * SECOND, 0, 0, b"")) == []


ranges = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (min(pair), max(pair))), max_size=4
)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=20), st.lists(ranges, max_size=5))
def test_deletions_are_those_of_a_plain_model(places: list[tuple[int, int]], covered: list[Any]) -> None:
    pages = tuple(covering(source, source, *joined(each)) for source, each in enumerate(covered))
    observations = {Observation(number, source * SECOND, source, 0, b"{}") for number, source in places}
    found = {each.id: each.deleted is not None for each in union(*observations, coverings=pages)}
    expected = {}
    for number, _ in places:
        last = max(source for other, source in places if other == number)
        expected[number] = any(
            page.source > last and any(first <= number <= end for first, end in page.ranges) for page in pages
        )
    assert found == expected


@given(ranges, ranges)
def test_ranges(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    def ids(pairs: Any) -> set[int]:
        return {number for first, last in pairs for number in range(first, last + 1)}

    assert ids(joined(one)) == ids(one)
    assert ids(lacking(one, other)) == ids(one) - ids(other)
    between = ids(gaps(one))
    assert not between & ids(one)
    assert not one or between | ids(one) == set(range(min(one)[0], max(ids(one)) + 1))


def test_more_than_fits_into_memory_is_sorted(tmp_path: Path) -> None:
    observations = [Observation(number, 0, 0, 0, b"x" * (number % 50)) for number in range(5000)]
    shuffled = random.Random(1).sample(observations, len(observations))
    with Sorter(tmp_path, memory=8000) as sorter:
        for each in shuffled:
            sorter.add(each)
        assert list(sorter) == observations
    assert list(tmp_path.iterdir()) == []
