"""When the log is looked at: at once when something is heard, seldom when nothing can be, else never."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from discordfs.errors import TimedOut, Unavailable
from discordfs.lookout import ANY_MESSAGE, Lookout
from discordfs.remote.base import Hint

SOON_S = 0.02
NEVER_S = 1e6


class Looks:
    """Counts looks, and fails those it is told to."""

    def __init__(self) -> None:
        self.made: queue.Queue[int] = queue.Queue()
        self.failures: list[Exception] = []
        self.fails = False
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, newest: int) -> None:
        self.gate.wait(10)
        self.made.put(newest)
        if self.fails:
            raise Unavailable("no network")

    def next(self) -> int:
        return self.made.get(timeout=10)

    def none_comes(self) -> bool:
        try:
            self.made.get(timeout=10 * SOON_S)
        except queue.Empty:
            return True
        return False


@contextmanager
def looking(
    looks: Looks, hears: Callable[[], bool], every_s: float = SOON_S, again_s: tuple[float, ...] = ()
) -> Iterator[Lookout]:
    lookout = Lookout(looks, hears, looks.failures.append, every_s, again_s)
    lookout.start()
    try:
        yield lookout
    finally:
        looks.gate.set()
        lookout.stop()


def test_nothing_is_asked_while_the_gateway_would_tell() -> None:
    looks = Looks()
    with looking(looks, lambda: True):
        assert looks.none_comes()


def test_without_the_gateway_it_looks_now_and_then() -> None:
    looks = Looks()
    with looking(looks, lambda: False):
        assert [looks.next(), looks.next()] == [ANY_MESSAGE, ANY_MESSAGE]


def test_a_hint_is_looked_into_at_once_with_the_newest_message_that_was_heard_of() -> None:
    looks = Looks()
    with looking(looks, lambda: True, NEVER_S) as lookout:
        lookout.hint(Hint("create", 1, (5, 7)))
        assert looks.next() == 7
        looks.gate.clear()
        lookout.hint(Hint("create", 1, (8,)))
        lookout.hint(Hint("create", 1, (9,)))
        lookout.hint(Hint("delete", 1, (10,)))
        looks.gate.set()
        heard = [looks.next()]
        while heard[-1] != 9:
            heard.append(looks.next())
        assert len(heard) <= 2


def test_a_hint_is_looked_after_until_every_listing_has_to_show_it() -> None:
    """Listings lag: a claim that was heard of and not seen would not be looked for again otherwise."""
    looks = Looks()
    with looking(looks, lambda: True, NEVER_S, (SOON_S, 2 * SOON_S)) as lookout:
        lookout.hint(Hint("create", 1, (5,)))
        assert [looks.next(), looks.next(), looks.next()] == [5, 5, 5]
        assert looks.none_comes()


def test_a_new_connection_may_have_missed_anything() -> None:
    looks = Looks()
    with looking(looks, lambda: True, NEVER_S) as lookout:
        lookout.hint(Hint("resync", 1, ()))
        assert looks.next() == ANY_MESSAGE


def test_deletions_are_no_news_of_what_the_log_says() -> None:
    looks = Looks()
    with looking(looks, lambda: True) as lookout:
        lookout.hint(Hint("delete", 1, (5,)))
        assert looks.none_comes()


def test_what_failed_is_looked_at_again_though_no_hint_comes() -> None:
    """Else a hint whose look fell into an outage would be lost."""
    looks = Looks()
    looks.fails = True
    with looking(looks, lambda: True) as lookout:
        lookout.hint(Hint("create", 1, (5,)))
        assert looks.next() == 5
        assert looks.next() == ANY_MESSAGE
        looks.fails = False
        while not looks.none_comes():
            pass
    assert "no network" in str(looks.failures[0])


def test_refresh_waits_for_a_look_that_began_after_it() -> None:
    looks = Looks()
    with looking(looks, lambda: True, NEVER_S) as lookout:
        lookout.refresh(10.0)
        assert looks.next() == ANY_MESSAGE
        looks.gate.clear()
        with pytest.raises(TimedOut):
            lookout.refresh(0.05)


@pytest.mark.expects_log("nobody foresaw")
def test_a_fault_of_ours_does_not_end_the_looking() -> None:
    looks = Looks()
    broken = iter([True, False])

    def look(newest: int) -> None:
        looks(newest)
        if next(broken):
            raise RuntimeError("a fault")

    lookout = Lookout(look, lambda: True, looks.failures.append, SOON_S, ())
    lookout.start()
    try:
        lookout.hint(Hint("create", 1, (5,)))
        assert (looks.next(), looks.next()) == (5, ANY_MESSAGE)
    finally:
        lookout.stop()
