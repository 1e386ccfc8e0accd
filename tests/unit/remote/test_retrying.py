"""What is repeated, how often, and above all what is not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from discordfs.errors import (
    BadRequest,
    Forbidden,
    OutcomeUnknown,
    RateLimited,
    RemoteError,
    RemoteGone,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from discordfs.remote.base import ATTEMPT, Message, UploadFile
from discordfs.remote.memory import MemoryStore
from discordfs.remote.retrying import Patience, RetryingApi, RetryingStore

from .virtual import VirtualTime

CHANNEL = 7
Fault = Callable[[Awaitable[Any]], Awaitable[Any]]


class Flaky(MemoryStore):
    """A store whose next operations fail as told: before they happen, or with the answer lost."""

    def __init__(self, time: VirtualTime, *faults: RemoteError, lasts: float = 0.0) -> None:
        super().__init__([CHANNEL], clock=time.ns)
        self.time = time
        self.lasts = lasts
        self.faults: Iterator[RemoteError] = iter(faults)
        self.attempts: list[tuple[float, int]] = []

    async def _fail(self, carried_out: Callable[[], Awaitable[Any]]) -> None:
        self.attempts.append((self.time.now, ATTEMPT.get()))
        if self.lasts:
            await self.time.sleep(self.lasts)
        fault = next(self.faults, None)
        if fault is not None:
            if isinstance(fault, OutcomeUnknown):
                await carried_out()
            raise fault

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        await self._fail(lambda: MemoryStore.post(self, channel, content, files, nonce))
        return await super().post(channel, content, files, nonce)

    async def fetch(self, channel: int, message: int) -> Message:
        async def nothing() -> None:
            return None

        await self._fail(nothing)
        return await super().fetch(channel, message)

    async def delete(self, channel: int, messages: Sequence[int]) -> None:
        await self._fail(lambda: MemoryStore.delete(self, channel, messages))
        await super().delete(channel, messages)


def wrap(store: Flaky, **patience: float) -> RetryingStore:
    time = store.time
    return RetryingStore(store, Patience(**patience), clock=time.ns, sleep=time.sleep, rng=random.Random(1))


def test_what_is_unavailable_is_tried_again_with_growing_pauses() -> None:
    time = VirtualTime()
    store = Flaky(time, *[Unavailable("down")] * 5)
    time.run(wrap(store).post(CHANNEL, "text", [], "n"))
    times = [at for at, _ in store.attempts]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [attempt for _, attempt in store.attempts] == [1, 2, 3, 4, 5, 6]
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses))


def test_the_deadline_ends_it_with_the_last_error() -> None:
    time = VirtualTime()
    store = Flaky(time, *[Unavailable("down")] * 1000)
    began = time.now
    with pytest.raises(Unavailable, match="down"):
        time.run(wrap(store, deadline=60.0).post(CHANNEL, "text", [], "n"))
    assert time.now - began <= 60.0
    assert len(store.attempts) < 20


def test_a_rate_limit_is_waited_out_and_not_less() -> None:
    time = VirtualTime()
    store = Flaky(time, RateLimited("wait", 12.0))
    time.run(wrap(store).post(CHANNEL, "text", [], "n"))
    assert 12.0 <= store.attempts[1][0] - store.attempts[0][0] <= 12.5


@pytest.mark.parametrize(
    "error", [Forbidden("no"), RemoteGone("no"), TooLarge("no"), BadRequest("no"), Unauthorized("no")]
)
def test_a_refusal_is_not_argued_with(error: RemoteError) -> None:
    """Repeating these is how a bot gets blocked."""
    time = VirtualTime()
    store = Flaky(time, error)
    for operation in (wrap(store).post(CHANNEL, "text", [], "n"), wrap(store).delete(CHANNEL, [1])):
        store.faults = iter([error])
        store.attempts.clear()
        with pytest.raises(type(error)):
            time.run(operation)
        assert len(store.attempts) == 1


def test_a_lost_answer_to_a_post_makes_no_twin() -> None:
    time = VirtualTime()
    store = Flaky(time, OutcomeUnknown("lost"), OutcomeUnknown("lost"))
    message = time.run(wrap(store).post(CHANNEL, "text", [], "n"))
    assert [each.id for each in time.run(store.list(CHANNEL))] == [message.id]


def test_the_same_bytes_go_out_again(tmp_path: Path) -> None:
    """A retry that sent the rest of a half-read file has cost others their data."""
    time = VirtualTime()
    path = tmp_path / "chunk"
    path.write_bytes(b"0123456789")
    store = Flaky(time, Unavailable("down"))
    message = time.run(wrap(store).post(CHANNEL, "text", [UploadFile("a.bin", path, 2, 5)], "n"))
    assert time.run(store.read(CHANNEL, message.id, message.attachments[0].id, 0, 5)) == b"23456"


def test_after_the_nonce_is_forgotten_the_caller_has_to_look() -> None:
    """A repeat that may come too late would make a twin nobody knows of."""
    time = VirtualTime()
    store = Flaky(time, *[OutcomeUnknown("lost")] * 100)
    began = time.now
    with pytest.raises(OutcomeUnknown):
        time.run(wrap(store, deadline=3600.0, nonce_sure=120.0).post(CHANNEL, "text", [], "n"))
    assert time.now - began < 120.0
    assert len(time.run(store.list(CHANNEL))) == 1


def test_a_slow_upload_is_repeated_only_if_it_fits_as_a_whole() -> None:
    time = VirtualTime()
    store = Flaky(time, *[OutcomeUnknown("lost")] * 100, lasts=50.0)
    with pytest.raises(OutcomeUnknown):
        time.run(wrap(store, deadline=3600.0, nonce_sure=120.0).post(CHANNEL, "text", [], "n"))
    assert len(store.attempts) == 2


def test_without_a_nonce_a_lost_answer_is_never_repeated() -> None:
    time = VirtualTime()
    store = Flaky(time, OutcomeUnknown("lost"))
    with pytest.raises(OutcomeUnknown):
        time.run(wrap(store).post(CHANNEL, "text", [], ""))
    assert len(store.attempts) == 1


@pytest.mark.parametrize("last", [Unavailable("down"), RateLimited("wait", 99.0), Forbidden("no")])
def test_doubt_stays_whatever_comes_after_it(last: RemoteError) -> None:
    """ "Unavailable" would let the caller post anew under another id."""
    time = VirtualTime()
    store = Flaky(time, OutcomeUnknown("lost"), *[last] * 100)
    with pytest.raises(OutcomeUnknown):
        time.run(wrap(store).post(CHANNEL, "text", [], "n"))


def test_too_large_after_doubt_is_certain() -> None:
    """The same bytes were refused: no earlier attempt can have passed."""
    time = VirtualTime()
    store = Flaky(time, Unavailable("down"), TooLarge("no"))
    with pytest.raises(TooLarge):
        time.run(wrap(store).post(CHANNEL, "text", [], "n"))


def test_deletions_and_reads_are_repeated_without_ado() -> None:
    time = VirtualTime()
    store = Flaky(time, OutcomeUnknown("lost"))
    store.faults = iter([])
    message = time.run(store.post(CHANNEL, "text", [], ""))
    store.faults = iter([Unavailable("down"), OutcomeUnknown("lost")])
    time.run(wrap(store).fetch(CHANNEL, message.id))
    time.run(wrap(store).delete(CHANNEL, [message.id]))
    assert time.run(store.list(CHANNEL)) == []


class FlakyApi:
    """An Api that fails as told."""

    def __init__(self, *faults: RemoteError) -> None:
        self.faults = iter(faults)
        self.calls = 0

    async def request(self, method: str, route: str, *, params: Any = None, json: Any = None) -> Any:
        self.calls += 1
        fault = next(self.faults, None)
        if fault is not None:
            raise fault
        return {"ok": True}

    def observe(self, observer: Callable[[Any], None]) -> Callable[[], None]:
        return lambda: None

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("method", "repeated"), [("GET", True), ("PUT", True), ("DELETE", True), ("POST", False)]
)
def test_raw_requests_are_repeated_where_that_is_harmless(method: str, repeated: bool) -> None:
    time = VirtualTime()
    api = FlakyApi(OutcomeUnknown("lost"))
    wrapped = RetryingApi(api, clock=time.ns, sleep=time.sleep, rng=random.Random(1))
    if repeated:
        assert time.run(wrapped.request(method, "/guilds/1")) == {"ok": True}
    else:
        with pytest.raises(OutcomeUnknown):
            time.run(wrapped.request(method, "/guilds/1/channels"))
        assert api.calls == 1
