"""Discord has the message, and its answer never came: whatever is posted again, exactly one copy is referred
to, and nothing is said twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

import pytest

from discordfs.chunks import layout
from discordfs.errors import OutcomeUnknown
from discordfs.fold import LISTING_LAG_S
from discordfs.model import Kind
from discordfs.remote.base import Message, UploadFile
from discordfs.remote.memory import NONCE_SECONDS
from discordfs.uploader import Triggers
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, House
from tests.log.conftest import Recover, assert_same, seen
from tests.log.recovering import FastClock, RecordingStore
from tests.log.user import User

MIB = 1024**2
DATA, RECORD, RIDER = "chunk", "record", "record with rider"
WINDOWS = (NONCE_SECONDS, 0.0)
"""Seconds in which Discord knows a nonce again: as it is, and as if it never did."""


class ForgetfulStore(RecordingStore):
    """Loses the answer to the next post of a kind, after it was carried out; `lost` tells that it did."""

    def __init__(self, clock: FastClock, list_lag: float, nonce_seconds: float) -> None:
        super().__init__(
            (LOG_CHANNEL, *CHANNELS), clock=clock, list_lag=list_lag, nonce_seconds=nonce_seconds
        )
        self.loses = ""
        self.lost = threading.Event()

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        message = await super().post(channel, content, files, nonce)
        if self.loses == what_is_in(message):
            self.loses = ""
            self.lost.set()
            raise OutcomeUnknown("the connection broke before the answer came")
        return message


def what_is_in(message: Message) -> str:
    kinds = {held.kind for held in layout.held(message)}
    return {frozenset({Kind.DATA}): DATA, frozenset({Kind.RECORD}): RECORD}.get(frozenset(kinds), RIDER)


class LaggingStore(RecordingStore):
    """Shows each message after a time of its own, in no order; knows no nonce; loses some answers."""

    def __init__(self, clock: FastClock, seed: int) -> None:
        super().__init__((LOG_CHANNEL, *CHANNELS), clock=clock, nonce_seconds=0.0)
        self._random = random.Random(seed)
        self._shows_ns: dict[int, int] = {}
        self.loses = 0.0
        self.lost = threading.Event()

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        message = await super().post(channel, content, files, nonce)
        lag_ns = int(self._random.uniform(0, LISTING_LAG_S) * 1e9)
        self._shows_ns[message.id] = self._clock() + lag_ns
        if self._random.random() < self.loses:
            self.lost.set()
            raise OutcomeUnknown("the connection broke before the answer came")
        return message

    async def list(
        self, channel: int, *, before: int | None = None, after: int | None = None, limit: int = 100
    ) -> list[Message]:
        found = await super().list(channel, before=before, after=after, limit=limit)
        now = self._clock()
        return [message for message in found if self._shows_ns[message.id] <= now]


@pytest.fixture
def make_forgetful(make_house: Callable[..., House], clock: FastClock) -> Callable[[float, float], House]:
    def make(list_lag: float, nonce_seconds: float) -> House:
        store = ForgetfulStore(clock, list_lag, nonce_seconds)
        return make_house(store=store, clock=clock, triggers=Triggers(quiet_s=0.0, age_s=0.0))

    return make


def change(house: House, what: str) -> None:
    """Something that goes to Discord as a chunk and a record, a record alone, or both in one message."""
    if what == RECORD:
        house.drive.chmod(b"/before", 0o600)
    else:
        house.put(b"/file", random.Random(7).randbytes(1000 if what == RIDER else 2 * MIB))


def referenced(house: House) -> set[int]:
    """Messages that the index refers to."""
    with house.index._database.reading() as connection:
        rows = connection.execute(
            "SELECT message FROM chunks WHERE state = 2 UNION SELECT message FROM records WHERE state = 1"
        ).fetchall()
    return {message for (message,) in rows}


@pytest.mark.expects_log("the connection broke")
@pytest.mark.parametrize("nonce_seconds", WINDOWS)
@pytest.mark.parametrize("pause_s", [None, 1.0, NONCE_SECONDS + 1], ids=["running", "at once", "later"])
@pytest.mark.parametrize("what", [DATA, RECORD, RIDER])
def test_one_copy_counts_and_all_is_there(
    make_forgetful: Callable[[float, float], House],
    clock: FastClock,
    recover: Recover,
    what: str,
    pause_s: float | None,
    nonce_seconds: float,
) -> None:
    """The answer is lost; the mount goes on, or ends there and begins again so many seconds later. Listings
    lag as much as they ever may."""
    house = make_forgetful(LISTING_LAG_S, nonce_seconds)
    store = house.store
    assert isinstance(store, ForgetfulStore)
    house.put(b"/before", b"b")
    house.barrier()
    store.loses = what
    change(house, what)
    assert store.lost.wait(30)
    if pause_s is not None:
        house.close()
        clock.added_s += pause_s
        house.open()
    house.barrier()
    copies = copies_of_all(store.posted)
    assert {len(each & referenced(house)) for each in copies} == {1}
    if nonce_seconds:
        assert max(map(len, copies)) == 1, "posted twice, though Discord knew the nonce"
    assert_same(seen(house), recover(house, store))


def copies_of_all(messages: Sequence[Message]) -> list[set[int]]:
    """The messages of each chunk."""
    copies: dict[bytes, set[int]] = {}
    for message in messages:
        for held in layout.held(message):
            copies.setdefault(held.uid, set()).add(message.id)
    return list(copies.values())


@pytest.mark.expects_log("the connection broke")
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 10))])
def test_listings_in_any_order_and_answers_lost_all_the_time(
    make_house: Callable[..., House], clock: FastClock, recover: Recover, seed: int
) -> None:
    """A mount that is killed and started again whenever an answer was lost: what it posted may not show yet
    when it looks, and is posted twice."""
    store = LaggingStore(clock, seed)
    house = make_house(store=store, clock=clock, triggers=Triggers(quiet_s=0.0, age_s=0.0))
    store.loses = 0.5
    user = User(house, seed)
    for _ in range(12):
        user.act(4)
        if store.lost.wait(0.3):
            house.reopen()
            store.lost.clear()
    house.barrier()
    clock.added_s += LISTING_LAG_S
    assert {len(each & referenced(house)) for each in copies_of_all(store.log())} == {1}
    assert_same(seen(house), recover(house, store))
    assert seed or max(map(len, copies_of_all(store.posted))) > 1, "nothing was posted twice"
