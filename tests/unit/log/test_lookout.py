"""When the log is looked at: nobody hears late that another machine has the volume, and nobody asks for
nothing."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from discordfs.errors import Unavailable
from discordfs.lookout import ANY_MESSAGE, Lookout
from discordfs.remote.base import Hint

AT_ONCE = (0.0, 0.0)
LONG_S = 1000.0
PATIENCE_S = 10.0


class Looks:
    """What a lookout asked for, as it asks."""

    def __init__(self) -> None:
        self.asked: queue.Queue[int] = queue.Queue()
        self.errors: queue.Queue[Exception] = queue.Queue()
        self.fails = False

    def look(self, message: int) -> None:
        self.asked.put(message)
        if self.fails:
            raise Unavailable("the network is down")

    def next(self) -> int:
        return self.asked.get(timeout=PATIENCE_S)


@contextmanager
def on_the_lookout(
    looks: Looks, hears: Callable[[], bool] = lambda: True, every_s: float = LONG_S, again: bool = True
) -> Iterator[Lookout]:
    lookout = Lookout(looks.look, hears, looks.errors.put, every_s, AT_ONCE if again else ())
    lookout.start()
    try:
        yield lookout
    finally:
        lookout.stop()


def test_a_hint_is_looked_after_and_once_more_when_every_listing_shows_it() -> None:
    """The listing lags behind the gateway: with one look a writer would not hear of a take-over."""
    looks = Looks()
    with on_the_lookout(looks) as lookout:
        lookout.hint(Hint("create", 1, (7,)))
        assert [looks.next(), looks.next(), looks.next()] == [7, 7, 7]
    assert looks.asked.empty()


def test_a_new_hint_is_about_the_newest_message() -> None:
    looks = Looks()
    with on_the_lookout(looks) as lookout:
        lookout.hint(Hint("create", 1, (7,)))
        lookout.hint(Hint("create", 1, (9, 8)))
        while looks.next() != 9:
            pass
        assert [looks.next(), looks.next()] == [9, 9]


def test_deletions_are_no_news() -> None:
    looks = Looks()
    with on_the_lookout(looks) as lookout:
        lookout.hint(Hint("delete", 1, (7,)))
        lookout.hint(Hint("create", 1, (8,)))
        assert looks.next() == 8


def test_nothing_is_asked_while_hints_can_come_and_none_does() -> None:
    looks, asked = Looks(), queue.Queue[None]()

    def hears() -> bool:
        asked.put(None)
        return True

    with on_the_lookout(looks, hears, every_s=0.0):
        for _ in range(5):
            asked.get(timeout=PATIENCE_S)
    assert looks.asked.empty()


def test_without_hints_it_looks_now_and_then() -> None:
    looks = Looks()
    with on_the_lookout(looks, lambda: False, every_s=0.0):
        assert [looks.next(), looks.next()] == [ANY_MESSAGE, ANY_MESSAGE]


def test_a_look_that_failed_is_told_and_tried_again() -> None:
    looks = Looks()
    looks.fails = True
    with on_the_lookout(looks, every_s=0.0, again=False) as lookout:
        lookout.hint(Hint("create", 1, (7,)))
        assert [looks.next(), looks.next()] == [7, ANY_MESSAGE]
        assert isinstance(looks.errors.get(timeout=PATIENCE_S), Unavailable)


def test_whoever_needs_a_look_now_gets_one_that_began_later() -> None:
    looks = Looks()
    with on_the_lookout(looks) as lookout:
        lookout.refresh(PATIENCE_S)
        assert looks.next() == ANY_MESSAGE


@pytest.mark.parametrize("again", [True, False])
def test_it_ends_at_once(again: bool) -> None:
    with on_the_lookout(Looks(), again=again):
        pass
