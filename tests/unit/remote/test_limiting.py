"""Rate limits are kept, not run into: no answer of 429, and little time lost over it."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discordfs.errors import RateLimited
from discordfs.remote.ledger import EVERYWHERE, Bucket, Ledger, Rules, Wait, ledger_path
from discordfs.remote.limiting import Limiter, route_key

from .virtual import VirtualTime, WindowServer

ROUTE = "/channels/123456789/messages"
TOKEN = "a-token-that-nobody-may-see"


_made: list[Limiter | Ledger] = []


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    """Python 3.13 warns of a database that nobody closes."""
    yield
    while _made:
        _made.pop().close()


def limiter_of(time: VirtualTime, directory: Path | None = None, speed: float = 1.0, **more: int) -> Limiter:
    """`speed`: of the client's clock, by the server's."""
    began = time.ns()

    def clock() -> int:
        return began + int((time.ns() - began) * speed)

    made = Limiter(
        "http://api", TOKEN, directory, clock=clock, sleep=time.sleep, rng=random.Random(1), **more
    )
    _made.append(made)
    return made


def ledger_of(path: Path | None) -> Ledger:
    made = Ledger(path, Rules())
    _made.append(made)
    return made


class Client:
    """Sends through a limiter to a server, with latency either way drawn by chance."""

    def __init__(
        self, time: VirtualTime, server: WindowServer, limiter: Limiter, seed: int, latency: float
    ) -> None:
        self.time, self.server, self.limiter = time, server, limiter
        self.rng = random.Random(seed)
        self.latency = latency

    async def send(self, route: str = ROUTE, lost: bool = False) -> int:
        async with self.limiter.slot("POST", route) as slot:
            await self.time.sleep(self.rng.uniform(0, self.latency))
            status, headers = self.server.take(route.split("/")[2])
            await self.time.sleep(self.rng.uniform(0, self.latency))
            if not lost:
                slot.answered(status, headers, 1.0)
            return status

    async def send_many(self, count: int, route: str = ROUTE, lost_share: float = 0.0) -> None:
        await asyncio.gather(*(self.send(route, self.rng.random() < lost_share) for _ in range(count)))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 8),
    span=st.sampled_from([0.5, 1.0, 5.0]),
    latency=st.sampled_from([0.0, 0.05, 0.5, 3.0]),
    lost_share=st.sampled_from([0.0, 0.3]),
    speed=st.sampled_from([0.9995, 1.0, 1.0005]),
)
def test_no_429_whatever_the_latency(
    seed: int, size: int, span: float, latency: float, lost_share: float, speed: float
) -> None:
    """Each 429 is one of 10,000 steps to a block of the user's whole address."""
    time = VirtualTime()
    server = WindowServer(time, size, span)
    client = Client(time, server, limiter_of(time, speed=speed), seed, latency)
    # A lost answer says nothing of its window: it is taken to last as long as the longest that was seen,
    # at least what is assumed for a route that never answered.
    time.run(client.send())
    time.run(client.send_many(25, lost_share=lost_share))
    assert server.refused == 0
    assert server.passed == 26


def test_four_channels_run_side_by_side_at_nearly_full_speed() -> None:
    """1 GiB in 24 MiB chunks is 43 posts: they must not wait for one channel's window only."""
    time = VirtualTime()
    server = WindowServer(time, 5, 5.0)
    client = Client(time, server, limiter_of(time), 1, 0.1)

    async def all_channels() -> None:
        await asyncio.gather(
            *(client.send_many(25, f"/channels/{n}00000000000/messages") for n in range(1, 5))
        )

    began = time.now
    time.run(all_channels())
    assert server.refused == 0
    assert server.passed == 100
    assert time.now - began < 4 * 5.0 + 4 * 0.5  # five windows of five, each channel


def test_the_global_limit_holds_over_many_routes() -> None:
    time = VirtualTime()
    server = WindowServer(time, 5, 5.0)
    client = Client(time, server, limiter_of(time), 3, 0.02)

    async def everywhere() -> None:
        await asyncio.gather(*(client.send(f"/channels/{n}00000000000/messages") for n in range(1, 201)))

    began = time.now
    time.run(everywhere())
    assert server.refused == 0
    assert time.now - began < 6.0


@pytest.mark.parametrize("speed", [0.9995, 1.0, 1.0005])
def test_the_global_limit_is_used_up_but_for_a_twentieth(speed: float) -> None:
    """An archive run of hours is that much shorter."""
    time = VirtualTime()
    server = WindowServer(time, 1000, 1.0)
    client = Client(time, server, limiter_of(time, speed=speed), 3, 0.01)

    async def everywhere() -> None:
        await asyncio.gather(*(client.send(f"/channels/{n}00000000000/messages") for n in range(1, 1001)))

    began = time.now
    time.run(everywhere())
    assert server.refused == 0
    assert (1000 / 50) / (time.now - began) >= 0.95


def test_how_long_a_body_takes_costs_no_quota() -> None:
    """The server counts a request before it answers, and a page of messages may take long to come."""
    time = VirtualTime()
    server = WindowServer(time, 5, 5.0)
    limiter = limiter_of(time)

    async def send() -> None:
        async with limiter.slot("GET", ROUTE) as slot:
            status, headers = server.take("123456789")
            slot.heard()
            await time.sleep(4.0)
            slot.answered(status, headers)

    async def nine() -> None:
        await asyncio.gather(*(send() for _ in range(9)))

    time.run(send())
    began = time.now
    time.run(nine())  # four at once, the others when those are through
    assert server.refused == 0
    assert time.now - began < 2 * 4.0 + 0.1


def test_the_first_request_goes_alone_then_the_bucket_is_used() -> None:
    """Before a bucket's size is known, a burst would be a gamble."""
    time = VirtualTime()
    server = WindowServer(time, 5, 5.0)
    client = Client(time, server, limiter_of(time), 0, 0.0)
    client.latency = 1.0
    time.run(client.send_many(5))
    assert server.refused == 0
    assert time.now - 1_800_000_000 < 5.0


def test_without_headers_only_the_global_limit_binds() -> None:
    time = VirtualTime()
    limiter = limiter_of(time)

    async def send() -> None:
        async with limiter.slot("GET", "/gateway") as slot:
            await time.sleep(0.1)
            slot.answered(200, {})

    async def burst() -> None:
        await asyncio.gather(*(send() for _ in range(40)))

    time.run(send())
    began = time.now
    time.run(burst())
    assert time.now - began < 0.2


def test_strangers_on_the_bucket_are_counted() -> None:
    """Another machine with this token: the headers tell what it has used."""
    time = VirtualTime()
    server = WindowServer(time, 5, 5.0)
    client = Client(time, server, limiter_of(time), 1, 0.0)
    for _ in range(3):
        server.take("123456789")
    time.run(client.send_many(10))
    assert server.refused == 0


@pytest.mark.expects_log("429 for")
def test_a_429_is_waited_out_by_all_requests_of_the_route() -> None:
    time = VirtualTime()
    limiter = limiter_of(time)

    async def send(status: int) -> None:
        async with limiter.slot("GET", ROUTE) as slot:
            slot.answered(status, {"X-RateLimit-Scope": "shared"}, 7.0)

    time.run(send(429))
    began = time.now
    time.run(send(200))
    assert 7.0 <= time.now - began < 8.0


@pytest.mark.expects_log("429 for")
def test_a_wall_before_the_api_stops_every_route() -> None:
    """Cloudflare's 429 has no header of the API and no JSON: it means the address."""
    time = VirtualTime()
    limiter = limiter_of(time)

    async def send(route: str, status: int) -> None:
        async with limiter.slot("GET", route) as slot:
            slot.answered(status, {"Retry-After": "60"}, 60.0)

    time.run(send(ROUTE, 429))
    began = time.now
    time.run(send("/users/@me", 200))
    assert time.now - began >= 60


@pytest.mark.expects_log("429 for")
@pytest.mark.parametrize(
    ("status", "headers", "counts"), [(403, {}, 1), (401, {}, 1), (404, {}, 0), (429, {}, 1)]
)
def test_which_answers_count_as_invalid(status: int, headers: dict[str, str], counts: int) -> None:
    time = VirtualTime()
    limiter = limiter_of(time, invalid_budget=1)

    async def send() -> None:
        async with limiter.slot("GET", ROUTE) as slot:
            slot.answered(status, headers, 0.0)

    time.run(send())
    if counts:
        with pytest.raises(RateLimited, match="Discord refused 1 requests"):
            time.run(send())
    else:
        time.run(send())


@pytest.mark.expects_log("Discord refused")
def test_the_budget_of_invalid_answers_stops_us_and_frees_us_again() -> None:
    """At 10,000 Discord blocks the address; at half of that nothing is sent any more."""
    time = VirtualTime()
    limiter = limiter_of(time, invalid_budget=20)

    async def send() -> None:
        async with limiter.slot("GET", ROUTE) as slot:
            slot.answered(403, {})

    for _ in range(20):
        time.run(send())
    with pytest.raises(RateLimited) as stopped:
        time.run(send())
    assert 0 < stopped.value.retry_after <= 600
    time.now += stopped.value.retry_after + 1
    time.run(send())


def test_two_limiters_on_one_token_share_their_buckets(tmp_path: Path) -> None:
    """`discordfs archive` beside a mount: two processes, one bot."""
    time = VirtualTime()
    server = WindowServer(time, 5, 5.0)
    clients = [Client(time, server, limiter_of(time, tmp_path), seed, 0.2) for seed in (1, 2)]

    async def both() -> None:
        await asyncio.gather(*(client.send_many(20) for client in clients))

    time.run(both())
    assert server.refused == 0
    assert server.passed == 40
    for client in clients:
        client.limiter.close()


def test_the_file_reveals_neither_token_nor_address(tmp_path: Path) -> None:
    time = VirtualTime()
    client = Client(time, WindowServer(time, 5, 5.0), limiter_of(time, tmp_path), 1, 0.0)
    time.run(client.send())
    client.limiter.close()
    for path in tmp_path.iterdir():
        assert TOKEN not in path.name
        assert TOKEN.encode() not in path.read_bytes()


@pytest.mark.expects_log("not shared with other processes")
@pytest.mark.parametrize("spoil", ["directory is a file", "file is garbage"])
def test_an_unusable_directory_means_this_process_alone(
    tmp_path: Path, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A read-only runtime directory must not stop a mount."""
    directory = tmp_path / "runtime"
    if spoil == "directory is a file":
        directory.write_text("")
    else:
        directory.mkdir()
        ledger_path(directory, "http://api", TOKEN).write_bytes(b"garbage" * 1000)
    time = VirtualTime()
    server = WindowServer(time, 2, 1.0)
    client = Client(time, server, limiter_of(time, directory), 1, 0.0)
    with caplog.at_level(logging.WARNING):
        time.run(client.send_many(6))
    assert (server.refused, server.passed) == (0, 6)
    assert "not shared with other processes" in caplog.text
    client.limiter.close()


def test_another_process_in_a_transaction_is_waited_for(tmp_path: Path) -> None:
    time = VirtualTime()
    limiter = limiter_of(time, tmp_path)
    client = Client(time, WindowServer(time, 5, 5.0), limiter, 1, 0.0)
    time.run(client.send())
    other = ledger_of(ledger_path(tmp_path, "http://api", TOKEN))

    async def sends_when_it_ends() -> int:
        with other._transaction():
            task = asyncio.ensure_future(client.send())
            for _ in range(5):
                await asyncio.sleep(0)
            assert not task.done()
        return await task

    assert time.run(sends_when_it_ends()) == 200
    other.close()
    limiter.close()


def _reserve_and_die(path: Path, count: int) -> None:
    ledger = ledger_of(path)
    for _ in range(count):
        ledger.reserve("route", 1000.0)


def test_what_a_killed_process_had_in_flight_frees_itself(tmp_path: Path) -> None:
    """kill -9 during an upload must not block the channel for the next mount."""
    path = tmp_path / "ledger.sqlite"
    ledger = ledger_of(path)
    lease = ledger.reserve("route", 999.0)
    assert isinstance(lease, int)
    ledger.settle(lease, "route", Bucket("b", 2, 1, 0.0), sent=True, counted=True, now=999.0)
    child = multiprocessing.get_context("spawn").Process(target=_reserve_and_die, args=(path, 2))
    child.start()
    child.join(30)
    child.close()
    waited = ledger.reserve("route", 1000.1)
    assert isinstance(waited, Wait)
    assert isinstance(ledger.reserve("route", 1000.1 + waited.seconds + 0.3), int)
    ledger.close()


def test_routes_have_limits_of_their_own_by_channel_and_age() -> None:
    now_ns = 1_800_000_000 * 10**9
    old, new = 1 << 22, (1_800_000_000_000 - 1_420_070_400_000) << 22
    keys = {
        route_key("POST", "/channels/1/messages", now_ns),
        route_key("POST", "/channels/2/messages", now_ns),
        route_key("GET", "/channels/1/messages", now_ns),
        route_key("DELETE", f"/channels/1/messages/{old}", now_ns),
        route_key("DELETE", f"/channels/1/messages/{new}", now_ns),
    }
    assert len(keys) == 5
    assert route_key("GET", "/channels/1/messages/8", 0) == route_key("GET", "/channels/1/messages/9", 0)


def test_a_pause_everywhere_outlasts_a_shorter_one() -> None:
    ledger = ledger_of(None)
    ledger.pause(EVERYWHERE, 30.0)
    ledger.pause(EVERYWHERE, 20.0)
    waited = ledger.reserve("any", 10.0)
    assert isinstance(waited, Wait)
    assert waited.seconds == 20.0
    ledger.close()
